//! The use case: gets a token for a server URL, from the cache or from AWS.
//!
//! 1. [`cached_answer`] serves a request that was answered before without reading settings: its manifest names the entry, which
//!    counts if nothing that the manifest lists has changed.
//! 2. Otherwise the settings determine the [`identity`](crate::identity), and its cache key. A fresh entry of this key is
//!    served ([`attempt`]); [`Entry::freshness`] decides the token's age.
//! 3. Otherwise one process at a time asks AWS ([`single_flight`](crate::cache::Cache::single_flight)). The others wait for its result, or serve a stale
//!    token that is still valid. Of all identities whose sources gave the same keys, for the same roles, one asks STS and ECR.
//!
//! Every wait ends at the deadline of the request, which is later where a program may ask a person. A process that waits for the result
//! of another one lets that one report its failure first. When the cache cannot be used, each process asks AWS.
//!
//! The renewal of a sign-in changes the settings and with them the cache key. The request then starts over, so that processes
//! with the new settings find the token under the new key.

mod attempt;
mod authenticator;
mod list;
mod login;
mod stored;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{Level, debug, info, log_enabled, warn};
use time::OffsetDateTime;

use crate::aws::Exchange;
pub use crate::aws::IssuedToken;
pub use crate::cache::Stop;
use crate::cache::{Decided, Entry, Freshness};
use crate::code::Code;
use crate::config::{Config, Target};
use crate::display_time::describe_duration;
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::identity::{CacheKey, Identity, request_key};
use crate::platform::KeptOpen;
use crate::quote::mask_user_info;
use crate::registry::{self, Host};
use crate::token::Token;
use attempt::TokenRequest;
pub use authenticator::{Authenticator, MOST_CHANGES, Resolved, unsettled};
pub use list::{default_region, list};
pub use login::log_in;
pub use stored::{erase, erase_all, erase_of_everyone, forget_if_refused, inspect_cache, writable_cache};

/// What a token is requested for.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    /// The answer to a request. Gets a valid token before its refresh is tried.
    Answer(&'a dyn Fn(&Token)),
    /// The list of hosts, which has less time than other requests: its failures mean nothing to them.
    List,
    /// A token for one caller alone, whatever the cache holds.
    New,
}

/// The fresh token for a request that was answered before under the same settings. Reads no settings.
pub fn cached_answer(env: &Env, server_url: &str) -> Option<IssuedToken> {
    let host = Host::requested(server_url)?;
    let cache = stored::trusted_cache(env)?;
    let files = KeptOpen::start();
    let manifest = cache.manifest(&request_key(env, &host)).filter(|manifest| manifest.host == host)?;
    // The entry first: if it is not fresh, the settings do not matter.
    let is_fresh = |entry: &Entry| entry.freshness_within(manifest.max_age) == Freshness::Fresh;
    let entry = cache.look_up(&manifest.entry).filter(is_fresh)?;
    if !manifest.holds(env) {
        debug!(host; "settings have changed since this registry's last token");
        return None;
    }
    let Decided { region, credentials, chosen_by } = &manifest.decided;
    debug!(host, region, credentials, chosen_by; "settings unchanged since this registry's last token");
    log_entry(&entry);
    debug!(host; "token served from the cache");
    files.until_the_end();
    Some(IssuedToken::cached(entry, manifest.max_age))
}

/// Gets a token for a client's `get`, by `deadline`. Passes a valid token to `on_stale` before its refresh is tried.
pub fn get(
    env: &Env,
    config: &Config,
    target: &Target,
    deadline: Instant,
    on_stale: &dyn Fn(&Token),
) -> Result<IssuedToken, Error> {
    match fetch(env, target, deadline, Purpose::Answer(on_stale)) {
        Ok((token, identity)) => {
            stored::save_manifest(env, config, target, &identity);
            Ok(token)
        }
        // Images of ECR Public need no credentials: after a failure, clients pull anonymously.
        Err(failure) if target.registry.is_public() => {
            warn!("{}", in_context(target, failure).without_quote());
            Err(Error::NotFound)
        }
        Err(failure) => Err(in_context(target, failure).into()),
    }
}

/// Gets a token for `target`, by `deadline`. A failure names the registry.
pub fn issue(env: &Env, target: &Target, deadline: Instant) -> Result<IssuedToken, Failure> {
    issue_for(env, target, deadline, Purpose::Answer(&|_| ()))
}

/// The same for a token that comes neither from the cache nor into it.
pub fn issue_new(env: &Env, target: &Target, deadline: Instant) -> Result<IssuedToken, Failure> {
    issue_for(env, target, deadline, Purpose::New)
}

fn issue_for(env: &Env, target: &Target, deadline: Instant, purpose: Purpose<'_>) -> Result<IssuedToken, Failure> {
    let (token, _) = fetch(env, target, deadline, purpose).map_err(|failure| in_context(target, failure))?;
    Ok(token)
}

/// Names the registry in a failure.
pub fn in_context(target: &Target, failure: Failure) -> Failure {
    let region = target.registry.region();
    if target.registry.names_region_alone() {
        return failure.with_context(format!("no token for the registries of region {region}"));
    }
    failure.with_context(format!("no token for {} (region {region})", target.host))
}

/// Logs the entry that the cache holds.
fn log_entry(entry: &Entry) {
    if log_enabled!(Level::Debug) {
        let (age, valid_for) = (describe_duration(entry.age()), describe_duration(entry.remaining()));
        let state = match entry.freshness() {
            Freshness::Fresh => "fresh",
            Freshness::Stale | Freshness::ExpiresSoon => "stale: to be refreshed",
            Freshness::Expired => "expired",
        };
        debug!(key = short(&entry.key), age, valid_for, state; "cached token");
    }
}

/// A prefix of a key that distinguishes it from others.
fn short(key: &CacheKey) -> String {
    key.to_string()[..12].to_owned()
}

/// Reads the settings, and resolves the target of a registry that a person named, by a host, a URL or an image. Rejects other
/// text before it reads a file. A registry that is not ECR's is an error.
pub fn named_target(env: &Env, named: &str, started: Instant) -> Result<(Config, Target), Error> {
    named_host(named)?;
    let config = Config::load(env, crate::config::deadline(env, started))?;
    let target = config.target(env, registry::typed(named))?.ok_or_else(|| unknown_host(named))?;
    Ok((config, target))
}

/// The name of a registry that a person named.
pub fn named_host(named: &str) -> Result<Host, Error> {
    check_named(named)?;
    let not_a_host = || Error::usage(format!("{} is not the host of a registry", mask_user_info(named)));
    Host::parse(registry::typed(named)).ok_or_else(not_a_host)
}

/// Refuses what a person did not mean as a registry: nothing, and one of ECR's without TLS.
pub fn check_named(named: &str) -> Result<(), Error> {
    if named.trim().is_empty() {
        return Err(Error::usage("the host of the registry is empty; is the variable set that should name it?"));
    }
    let typed = registry::typed(named);
    if Host::parse(typed) != Host::requested(typed) {
        return Err(Error::usage(format!("{named}: ECR has no registry without TLS; leave 'http://' out")));
    }
    Ok(())
}

/// The error for a registry that a person named, and that the helper does not serve.
pub fn unknown_host(named: &str) -> Error {
    if let Some(wrong) = Host::parse(registry::typed(named)).and_then(|host| registry::wrong_part(&host)) {
        return Error::usage(format!("{named} is not an ECR registry: {wrong}"));
    }
    let what = format!("{named} is not an ECR registry, and the configuration does not name it");
    Failure::usual(Code::HostUnknown, what).into()
}

/// Gets a token, from the cache or from AWS, and the identity that it was issued to.
fn fetch(
    env: &Env,
    target: &Target,
    deadline: Instant,
    purpose: Purpose<'_>,
) -> Result<(IssuedToken, Arc<Identity>), Failure> {
    let authenticator = Authenticator::new(env, target, Exchange::default());
    authenticator.repeat(deadline, |identity| {
        log_identity(target, identity);
        let deadline = match purpose {
            Purpose::Answer(_) | Purpose::New => identity.deadline(target, deadline),
            Purpose::List => deadline,
        };
        let request = TokenRequest {
            authenticator: &authenticator,
            target,
            identity,
            deadline,
            purpose,
            is_logged: Cell::default(),
        };
        if matches!(purpose, Purpose::New) {
            return request.without_entry(None).inspect_err(|stop| {
                if let Stop::Failed(failure) = stop {
                    forget_if_refused(env, identity, None, failure);
                }
            });
        }
        let cache = stored::open_cache(env);
        match (&cache, &identity.uncacheable) {
            (Ok(cache), None) => return request.with_cache(cache),
            (Ok(_), Some(why)) | (Err(why), _) => warn!(host = target.host; "not cached: {why}"),
        }
        request.without_entry(cache.ok().as_ref())
    })
}

/// The limit on logged lines of the AWS files that were passed over.
const LOGGED_LINES: usize = 20;

/// Logs which credentials will be used, the setting that chose them, and what was passed over.
fn log_identity(target: &Target, identity: &Identity) {
    let (profile, chosen_by) = (identity.selected.name(), identity.selected.setting());
    let (credentials, key) = (identity.chain.with_passed_over(), short(&identity.key));
    info!(host = target.host, profile, chosen_by, credentials, key; "identity decided");
    for line in identity.profiles.passed_over().take(LOGGED_LINES) {
        info!(line; "a line of an AWS file was passed over");
    }
}

impl IssuedToken {
    /// When it expires, by the clock of this machine.
    pub fn expires_at(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::now_utc().checked_add(self.valid_for?.try_into().ok()?)
    }

    /// A new token. Clients that keep it themselves, such as kubelet, may do so for `max_age`.
    fn within(self, max_age: Option<Duration>) -> Self {
        Self { valid_for: self.valid_for.map(|left| left.min(max_age.unwrap_or(left))), ..self }
    }

    /// A cached token, with what is left of `max_age`.
    fn cached(entry: Entry, max_age: Option<Duration>) -> Self {
        let left = max_age.map_or(Duration::MAX, |max_age| max_age.saturating_sub(entry.age()));
        Self { valid_for: Some(entry.remaining().min(left)), token: entry.token }
    }
}
