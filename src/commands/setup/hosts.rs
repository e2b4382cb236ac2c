//! The hosts that the arguments name, as clients look them up.
//!
//! An argument is a host, a URL or an image reference. Without an account, STS reports the caller's: GetCallerIdentity requires no
//! permission (AWS STS API reference).

use std::time::Instant;

use crate::aws::Exchange;
use crate::code::Code;
use crate::config::{Config, MappedProfile};
use crate::env::Env;
use crate::error::Error;
use crate::registry::{Account, Region, Registry};
use crate::token_provider::{self, Authenticator};

/// Refuses a host for which the helper has no token.
pub(super) fn check(env: &Env, config: &Config, host: &str) -> Result<(), Error> {
    config.target(env, host)?.map(drop).ok_or_else(|| token_provider::unknown_host(host))
}

/// Returns the account of the caller's credentials, or of a profile's.
pub(super) fn account_of_caller(
    env: &Env,
    region: Region,
    profile: Option<&str>,
    deadline: Instant,
) -> Result<Account, Error> {
    let host = Registry::private(Account::ANY, region).host();
    let mut target = Config::default().target(env, &host)?.ok_or(Error::NotFound)?;
    target.call_as_profile(profile.map(MappedProfile::by_option));
    let account = Authenticator::new(env, &target, Exchange::default()).account(deadline);
    let account = account.map_err(|mut failure| {
        failure.hint += ", or name the account with --account";
        failure.with_context("the account of the caller is unknown")
    })?;
    account.parse().map_err(|_| {
        let what = "the account of the caller is unknown: the answer of STS names none";
        Error::failed(Code::AnswerInvalid, what, "name the account with --account")
    })
}
