//! The use case: a server URL in, a token out, from the cache or from AWS.
//!
//! Who asks is told from the settings ([`identity`](crate::identity)), and with that a fresh entry is served at once. For a
//! request that was answered before, not even the settings are read: its manifest leads to the entry, if nothing that it
//! lists has changed. Otherwise one process at a time has the turn to ask AWS ([`cache`](crate::cache)); the others wait
//! for what comes of it, or serve the stale token that is still valid. Every wait ends at one deadline. When the cache
//! cannot be used, AWS is asked without it.
//!
//! A sign-in that AWS's side renews on the way changes the settings, and with them the key: then everything starts over,
//! so that whoever asked meanwhile finds the token under the key that now counts.

mod attempt;

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tracing::{Level, debug, enabled, warn};

use crate::aws::{self, Issued};
use crate::cache::{Cache, Decided, Entry, Freshness, Manifest, Outcome};
use crate::code::Code;
use crate::config::{Config, Target};
use crate::display_time::describe_duration;
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::identity::{CacheKey, Identity, Observed, request_key};
use crate::registry;
use crate::token::Token;
use attempt::{Attempt, TokenRequest};

/// How often it starts over because the settings have changed under it.
const MOST_CHANGES: usize = 3;

/// A token and for how long it is good.
#[derive(Debug)]
pub struct IssuedToken {
    /// What clients log in with.
    pub token: Token,
    /// How much longer AWS accepts it; `None` when it did not say, or said that it does not.
    pub valid_for: Option<Duration>,
}

/// The answer to a client when it takes no reading of settings: the fresh token of a request that was answered before,
/// under settings that are still the same.
pub fn cached_answer(env: &Env, server_url: &str) -> Option<IssuedToken> {
    if env.verifies_identity() {
        return None;
    }
    let host = registry::host(server_url)?;
    let cache = Cache::open(env.cache_dir()?).ok()?;
    let manifest = cache.manifest(&request_key(env, &host)).filter(|manifest| manifest.host == host)?;
    // The entry first: where it has expired, there is nothing to observe anything for.
    let entry = cache.look_up_named(&manifest.entry).filter(|entry| entry.freshness() == Freshness::Fresh)?;
    if !manifest.holds(env) {
        debug!(host, "settings have changed since this registry's last token");
        return None;
    }
    let Decided { region, credentials, chosen_by } = &manifest.decided;
    debug!(host, region, credentials, chosen_by, "settings unchanged since this registry's last token");
    log_entry(&entry);
    debug!(host, "token served from the cache");
    Some(entry.into())
}

/// The answer to a client: a token for `target`, by `deadline`. A valid token whose refresh is tried first goes to `hold`.
pub fn get(
    env: &Env,
    config: &Config,
    target: &Target,
    deadline: Instant,
    hold: &dyn Fn(&Token),
) -> Result<IssuedToken, Error> {
    match fetch(env, target, deadline, hold).inspect_err(|failure| log(target, failure)) {
        Ok((grant, identity)) => {
            if let Some(identity) = identity {
                save_manifest(env, config, target, &identity);
            }
            Ok(grant)
        }
        // Images of ECR Public need no credentials, so whatever goes wrong leaves the anonymous way open.
        Err(_) if target.registry.is_public() => Err(Error::NotFound),
        Err(failure) => Err(Error::failed(describe_failure(target, &failure))),
    }
}

/// A token for `target`, by `deadline`. A failure is also in the log.
pub fn issue(env: &Env, target: &Target, deadline: Instant) -> Result<IssuedToken, Failure> {
    let fetched = fetch(env, target, deadline, &|_| ()).inspect_err(|failure| log(target, failure))?;
    Ok(fetched.0)
}

/// A failure with the registry that it is about.
pub fn describe_failure(target: &Target, failure: &Failure) -> String {
    let region = &target.registry.region;
    if target.host.starts_with(registry::ANY_ACCOUNT) {
        return format!("no token for the registries of region {region}: {failure}");
    }
    format!("no token for {} (region {region}): {failure}", target.host)
}

/// What was found in the cache, for the log.
fn log_entry(entry: &Entry) {
    if enabled!(Level::DEBUG) {
        let (age, valid_for) = (describe_duration(entry.lived()), describe_duration(entry.left()));
        let state = match entry.freshness() {
            Freshness::Fresh => "fresh",
            Freshness::Stale => "stale: to be refreshed",
            Freshness::Expired => "expired",
        };
        debug!(key = short(entry.key()), age, valid_for, state, "cached token");
    }
}

/// Enough of a key to tell it from others.
fn short(key: &str) -> &str {
    &key[..12.min(key.len())]
}

/// The log gets nothing that others said.
fn log(target: &Target, failure: &Failure) {
    warn!("{}", describe_failure(target, &failure.clone().without_quote()));
}

/// What the cache has for an identity: where, and the entry with its age if there is one. `Err` says why it has no
/// place there, or cannot keep or use what it has.
pub fn cached(
    env: &Env,
    target: &Target,
    identity: &Identity,
) -> Result<(PathBuf, Option<(Freshness, Entry)>), String> {
    let cache = open_cache(env, identity)?;
    let key = key_as_noted(&cache, target, identity);
    let dir = cache.dir().display();
    cache.probe().map_err(|error| format!("{dir} cannot be written: {error}; fix that, or set AWS_ECR_CACHE_DIR"))?;
    let entry = cache.look_up(&key).map(|entry| (entry.freshness(), entry));
    if entry.is_none() && cache.holds(&key) {
        return Err(format!("what is in {dir} for this identity is damaged, or others could have written it"));
    }
    Ok((cache.dir().to_owned(), entry))
}

/// Keeps a token that was asked for outside of a `get`, so that one finds it. `Err` says why it cannot be kept.
pub fn keep(env: &Env, config: &Config, target: &Target, identity: &Identity, issued: &Issued) -> Result<(), String> {
    let cache = open_cache(env, identity)?;
    let now = OffsetDateTime::now_utc();
    let entry = issued
        .life
        .and_then(|life| Entry::new(&identity.key, &issued.access_key_id, issued.token.clone(), life, now))
        .ok_or_else(|| "it came expired or without an expiry".to_owned())?;
    cache.save(&entry).map_err(|error| format!("{} cannot be written: {error}", cache.dir().display()))?;
    save_manifest(env, config, target, identity);
    Ok(())
}

/// Drops the cached token of `target`; whether there was one.
pub fn erase(env: &Env, target: &Target, deadline: Instant) -> Result<bool, Error> {
    let Some(dir) = env.cache_dir() else { return Ok(false) };
    // Settings that lead to no identity have no entry.
    let Ok(identity) = Identity::of(env, target, deadline) else { return Ok(false) };
    let Ok(cache) = Cache::open(dir) else { return Ok(false) };
    let key = key_as_noted(&cache, target, &identity);
    let removed = cache.remove(&key).inspect(|removed| {
        debug!(host = target.host, key = short(&key.to_string()), removed, "cached token of this identity");
    });
    removed.map_err(|error| {
        let dir = cache.dir().display();
        Error::failed(format!(
            "cannot remove the cached token of {} from {dir}: {error}; remove it by hand",
            target.host
        ))
    })
}

/// The hosts whose cached token would be served now, each with its user name.
pub fn list(env: &Env, config: &Config, deadline: Instant) -> Result<Vec<(String, String)>, Error> {
    let Some(dir) = env.cache_dir() else { return Ok(Vec::new()) };
    let Ok(cache) = Cache::open(dir) else { return Ok(Vec::new()) };
    let mut hosts = Vec::new();
    for manifest in cache.manifests().filter(|manifest| !manifest.host.starts_with(registry::ANY_ACCOUNT)) {
        let Manifest { host, entry, .. } = &manifest;
        let Some(entry) = cache.look_up_named(entry).filter(|entry| entry.freshness() != Freshness::Expired) else {
            continue;
        };
        let is_mine = || {
            let target = config.target(env, host).ok()?;
            let identity = Identity::of(env, &target, deadline).ok()?;
            Some(key_as_noted(&cache, &target, &identity).to_string() == entry.key())
        };
        if is_mine().unwrap_or(false) {
            hosts.push((host.clone(), entry.username().to_owned()));
        }
    }
    Ok(hosts)
}

/// The settings, and what they say of the registry at `server_url`. What is no URL of a registry is refused before any
/// file is read.
pub fn target(env: &Env, server_url: &str, started: Instant) -> Result<(Config, Target), Error> {
    registry::host(server_url).ok_or(Error::NotFound)?;
    let config = Config::load(env, crate::config::deadline(env, started))?;
    let target = config.target(env, server_url)?;
    Ok((config, target))
}

/// The settings for a registry that a person named: naming one that is not ECR's is a mistake.
pub fn named_target(env: &Env, host: &str, started: Instant) -> Result<(Config, Target), Error> {
    target(env, host, started).map_err(|error| match error {
        Error::NotFound => Error::failed(format!(
            "{host} is not an ECR registry, and the configuration does not name it; \
             expected as in 111122223333.dkr.ecr.us-east-1.amazonaws.com"
        )),
        error => error,
    })
}

/// A token, and the identity that it is cached for.
fn fetch(
    env: &Env,
    target: &Target,
    deadline: Instant,
    hold: &dyn Fn(&Token),
) -> Result<(IssuedToken, Option<Arc<Identity>>), Failure> {
    for _ in 0..MOST_CHANGES {
        let identity = Arc::new(Identity::of(env, target, deadline)?);
        let cache = open_cache(env, &identity);
        let identity = match &cache {
            Ok(cache) => with_subject_of_job(cache, env, target, identity, deadline)?,
            Err(_) => identity,
        };
        log_identity(target, &identity);
        let request = TokenRequest { env, target, identity: &identity, deadline, hold };
        let attempt = match cache {
            Ok(cache) => request.with_cache(&cache)?,
            Err(why) => {
                warn!(host = target.host, "not cached: {why}");
                request.without_cache()?
            }
        };
        match attempt {
            Attempt::Issued(grant) => return Ok((grant, Some(identity))),
            Attempt::SettingsChanged => {
                debug!(host = target.host, "the settings have changed meanwhile; starting over");
            }
        }
    }
    Err(Failure::new(Code::Busy, "the sign-in changes all the time", "find out what else renews it, and try again"))
}

/// The identity with the issuer and subject of the job of GitHub Actions that it is of: as noted in the cache, or as GitHub
/// tells. One process asks, and the others wait for the note.
fn with_subject_of_job(
    cache: &Cache,
    env: &Env,
    target: &Target,
    identity: Arc<Identity>,
    deadline: Instant,
) -> Result<Arc<Identity>, Failure> {
    let Some(job) = identity.unknown_job().copied() else { return Ok(identity) };
    let with_subject =
        |identity: Arc<Identity>, subject: &str| Arc::new(Arc::unwrap_or_clone(identity).with_subject(target, subject));
    let noted = || if env.verifies_identity() { None } else { cache.subject(&job) };
    if let Some(subject) = noted() {
        return Ok(with_subject(identity, &subject));
    }
    let leader = match cache.single_flight(&job, Some(deadline), noted) {
        Ok(Outcome::Found(subject)) => return Ok(with_subject(identity, &subject)),
        Ok(Outcome::Failed(failure)) => return Err(failure),
        Ok(Outcome::Ask(leader)) => leader,
        Ok(Outcome::Busy) | Err(_) => None,
    };
    match aws::job_token(target, &identity, deadline) {
        Ok(Some(token)) => {
            let (identity, subject) = Arc::unwrap_or_clone(identity).with_token(target, &token);
            if let Err(error) = cache.save_subject(&job, &subject) {
                debug!(%error, "who this job is cannot be noted; each get asks GitHub");
            }
            Ok(Arc::new(identity))
        }
        Ok(None) => Ok(identity),
        Err(failure) => {
            if let Some(leader) = leader {
                leader.fail(&failure);
            }
            Err(failure)
        }
    }
}

/// The key of the identity's entry, by the issuer and subject of its job as far as the cache knows them.
fn key_as_noted(cache: &Cache, target: &Target, identity: &Identity) -> CacheKey {
    let subject = identity.unknown_job().and_then(|job| cache.subject(job));
    subject.map_or(identity.key, |subject| identity.key_of(target, &subject))
}

/// Whose credentials will be asked for, and which setting chose them, for the log.
fn log_identity(target: &Target, identity: &Identity) {
    let (profile, chosen_by) = (identity.selected.name(), identity.selected.setting());
    let (credentials, key) = (identity.chain.to_string(), identity.key.to_string());
    debug!(host = target.host, profile, chosen_by, credentials, key = short(&key), "identity decided");
}

/// The cache, or why this identity's tokens are not kept there. [`cached_answer`] does without these checks, since it only reads.
fn open_cache(env: &Env, identity: &Identity) -> Result<Cache, String> {
    if let Some(why) = &identity.uncacheable {
        return Err(why.clone());
    }
    let Some(dir) = env.cache_dir() else {
        return Err(env.why_no_cache().to_owned());
    };
    if let Some(kaniko) = env.kaniko_dir().filter(|kaniko| !is_below(&dir, kaniko)) {
        let (dir, kaniko) = (dir.display(), kaniko.display());
        return Err(format!(
            "kaniko would push {dir} as part of the image that it builds; set AWS_ECR_CACHE_DIR to {kaniko}/cache"
        ));
    }
    Cache::open(dir)
}

/// Whether `path` leads below `dir`, as it is written.
fn is_below(path: &Path, dir: &Path) -> bool {
    path.starts_with(dir) && !path.components().any(|part| part == Component::ParentDir)
}

/// Keeps the way from the request to its entry, for [`cached_answer`] and [`list`].
fn save_manifest(env: &Env, config: &Config, target: &Target, identity: &Identity) {
    let Ok(cache) = open_cache(env, identity) else { return };
    if !config.is_steady() {
        return;
    }
    let mut observed: Vec<Observed> =
        config.source().map(|(path, content)| Observed::file(path, content)).into_iter().collect();
    observed.extend(identity.observed.iter().cloned());
    let (request, entry) = (request_key(env, &target.host), identity.key.to_string());
    let decided = Decided {
        region: target.registry.region.clone(),
        credentials: identity.chain.to_string(),
        chosen_by: config.decision(env, target).unwrap_or_else(|| identity.selected.setting().to_owned()),
    };
    let manifest = Manifest::new(&request.to_string(), &target.host, decided, &entry, observed);
    // It leads nowhere when the token could not be kept.
    if cache.holds(&identity.key)
        && let Err(error) = cache.save_manifest(&request, &manifest)
    {
        debug!(%error, "the way to the cached token cannot be kept");
    }
}

impl From<Issued> for IssuedToken {
    fn from(Issued { token, life, .. }: Issued) -> Self {
        Self { token, valid_for: life }
    }
}

impl From<Entry> for IssuedToken {
    fn from(entry: Entry) -> Self {
        let left = entry.left();
        Self { token: entry.into_token(), valid_for: Some(left) }
    }
}
