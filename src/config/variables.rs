//! The variables that decide who calls: for the registries of one account, and for all registries in a CI job.

use super::target::{Caller, Choice, Keys, MappedProfile, Role, TokenOrigin, TokenProvider};
use super::values::{GITHUB, ROLE_ARN_FORM, is_role_arn, is_variable_name};
use super::{SESSION_NAME, invalid};
use crate::env::Env;
use crate::error::Failure;
use crate::registry::Account;
use crate::secret::Secret;

/// Names the provider of the CI job's identity token that roles are assumed with.
pub(crate) const WEB_IDENTITY: &str = "AWS_ECR_WEB_IDENTITY";

/// Names the role for accounts without one of their own.
const ROLE_FOR_ALL: &str = "AWS_ECR_ROLE_ARN";

const PROFILE: &str = "AWS_ECR_PROFILE_";
const ROLE: &str = "AWS_ECR_ROLE_ARN_";
const KEY_ID: &str = "AWS_ECR_ACCESS_KEY_ID_";
const SECRET: &str = "AWS_ECR_SECRET_ACCESS_KEY_";
const SESSION_TOKEN: &str = "AWS_ECR_SESSION_TOKEN_";

/// The caller for the registries of an account; `None` when no variable is set for the account.
pub(super) fn choice_for_account(env: &Env, account: Account) -> Result<Option<Choice>, Failure> {
    let name = |prefix: &str| format!("{prefix}{account}");
    let get = |prefix: &str| env.setting(&name(prefix)).map(str::to_owned);
    let keys = keys(env, account)?;
    let profile = get(PROFILE).map(|profile| MappedProfile { name: profile, setting: name(PROFILE) });
    let role = get(ROLE).map(|arn| role(&name(ROLE), arn)).transpose()?;
    let (prefix, caller) = match (keys, profile, role) {
        (Some(_), Some(_), _) => {
            let what = format!(
                "{KEY_ID}{account} and {PROFILE}{account} are both set, and only one of them can decide who calls"
            );
            return Err(invalid(what, "unset one of them"));
        }
        (Some(keys), None, role) => (KEY_ID, Caller::AccountKeys { account, keys, role }),
        (None, Some(profile), role) => (PROFILE, Caller::AwsSettings { profile: Some(profile), role }),
        (None, None, Some(role)) => (ROLE, Caller::AwsSettings { profile: None, role: Some(role) }),
        (None, None, None) => return Ok(None),
    };
    Ok(Some(Choice { caller, setting: Some(name(prefix)) }))
}

/// The keys for an account.
fn keys(env: &Env, account: Account) -> Result<Option<Keys>, Failure> {
    let get = |prefix| env.setting(&format!("{prefix}{account}")).map(|value| Secret::from(value.trim().to_owned()));
    let (set, missing) = match [KEY_ID, SECRET, SESSION_TOKEN].map(get) {
        [Some(id), Some(secret), token] => return Ok(Some(Keys { id: id.expose().to_owned(), secret, token })),
        [None, None, None] => return Ok(None),
        [Some(_), None, _] => (KEY_ID, SECRET),
        [None, Some(_), _] => (SECRET, KEY_ID),
        [None, None, Some(_)] => (SESSION_TOKEN, KEY_ID),
    };
    Err(invalid(
        format!("{set}{account} is set and {missing}{account} is not"),
        format!("set {missing}{account} too, or unset {set}{account}"),
    ))
}

/// Parses `AWS_ECR_WEB_IDENTITY`. Errors do not quote the value: a user may have set it to the token itself.
pub(super) fn web_identity(env: &Env) -> Result<Option<TokenOrigin>, Failure> {
    let Some(value) = env.setting(WEB_IDENTITY) else { return Ok(None) };
    let provider = token_provider(value).ok_or_else(|| {
        let hint = format!("set it to {GITHUB}, or to env:NAME with the name of the variable that holds the token");
        invalid(format!("{WEB_IDENTITY} has an unknown value"), hint)
    })?;
    Ok(Some(TokenOrigin { provider, setting: WEB_IDENTITY.to_owned() }))
}

/// The provider that this value of [`WEB_IDENTITY`] names.
pub(crate) fn token_provider(value: &str) -> Option<TokenProvider> {
    match value.split_once(':') {
        None if value == GITHUB => Some(TokenProvider::GitHub),
        Some(("env", name)) if is_variable_name(name) => Some(TokenProvider::Variable(name.to_owned())),
        _ => None,
    }
}

/// The role for registries whose account has none of its own, from `AWS_ECR_ROLE_ARN`.
pub(super) fn role_for_all(env: &Env) -> Result<Option<Role>, Failure> {
    env.setting(ROLE_FOR_ALL).map(|arn| role(ROLE_FOR_ALL, arn.to_owned())).transpose()
}

fn role(name: &str, arn: String) -> Result<Role, Failure> {
    if !is_role_arn(&arn) {
        return Err(invalid(format!("{name} is '{arn}', not the ARN of a role"), format!("write {ROLE_ARN_FORM}")));
    }
    Ok(Role { arn, external_id: None, session_name: SESSION_NAME.to_owned(), region: None, mfa_serial: None })
}
