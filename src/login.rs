//! The use case: a server URL in, a token out, from the cache or from AWS.
//!
//! A fresh entry is served at once. Otherwise one process at a time has the turn to ask AWS ([`cache`](crate::cache)); the
//! others wait for what comes of it, or serve the stale token that is still valid. Every wait ends at one deadline.
//! When the cache cannot be used, AWS is asked without it.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, info, warn};

use crate::aws::{self, Issued, Session};
use crate::cache::{Age, Cache, Entry, Wait};
use crate::config::{Config, Target};
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::identity::{Identity, Key};
use crate::registry;
use crate::token::Token;

/// How long a refresh may take while a valid token is at hand: its user waits for nothing that they need.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the lock is tried for when only the name of a host is to be added, and the pause between.
const MOST_TRIES: usize = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(1);

/// A token and for how long it is good.
#[derive(Debug)]
pub struct Grant {
    /// What clients log in with.
    pub token: Token,
    /// How much longer AWS accepts it; `None` when it did not say, or said that it does not.
    pub left: Option<Duration>,
}

/// The answer to a client: a token for `target`, by `deadline`.
pub fn get(env: &Env, target: &Target, deadline: Instant) -> Result<Token, Error> {
    match grant(env, target, deadline) {
        Ok(grant) => Ok(grant.token),
        // Images of ECR Public need no credentials, so whatever goes wrong leaves the anonymous way open.
        Err(_) if target.registry.is_public() => Err(Error::NotFound),
        Err(failure) => Err(Error::failed(sentence(target, &failure))),
    }
}

/// A token for `target`, by `deadline`. A failure is also in the log.
pub fn grant(env: &Env, target: &Target, deadline: Instant) -> Result<Grant, Failure> {
    fetch(env, target, deadline).inspect_err(|failure| warn!("{}", sentence(target, failure)))
}

/// A failure with the registry that it is about.
pub fn sentence(target: &Target, failure: &Failure) -> String {
    let Failure { what, next } = failure;
    format!("ecr-login: no token for {} (region {}): {what}; {next}", target.host, target.registry.region)
}

/// What the cache has for an identity: where, and the entry with its age if there is one. `Err` says why it has no
/// place there, or cannot keep or use what it has.
pub fn cached(env: &Env, identity: &Identity) -> Result<(PathBuf, Option<(Age, Entry)>), String> {
    let cache = open_cache(env, identity)?;
    let dir = cache.dir().display();
    cache.probe().map_err(|error| format!("{dir} cannot be written: {error}; mend it, or set AWS_ECR_CACHE_DIR"))?;
    let entry = cache.look_up(&identity.key).map(|entry| (age(&entry, identity), entry));
    if entry.is_none() && cache.holds(&identity.key) {
        return Err(format!("what is in {dir} for this identity is damaged, or others could have written it"));
    }
    Ok((cache.dir().to_owned(), entry))
}

/// Drops the cached token of `target`, if there is one.
pub fn forget(env: &Env, target: &Target) -> Result<(), Error> {
    let Some(dir) = env.cache_dir() else { return Ok(()) };
    // Settings that lead to no identity have no entry.
    let Ok(identity) = Identity::of(env, target) else { return Ok(()) };
    let Ok(cache) = Cache::open(dir) else { return Ok(()) };
    cache.remove(&identity.key).map_err(|error| {
        let dir = cache.dir().display();
        Error::failed(format!(
            "ecr-login: cannot remove the cached token of {} from {dir}: {error}; remove it by hand",
            target.host
        ))
    })
}

/// The hosts whose cached token would be served now, each with its user name.
pub fn list(env: &Env, config: &Config) -> Result<Vec<(String, String)>, Error> {
    let Some(dir) = env.cache_dir() else { return Ok(Vec::new()) };
    let Ok(cache) = Cache::open(dir) else { return Ok(Vec::new()) };
    let mut hosts = Vec::new();
    for entry in cache.entries() {
        let served = |host: &&String| {
            if host.starts_with(registry::ANY_ACCOUNT) {
                return false;
            }
            let identity = config.target(env, host).ok().and_then(|target| Identity::of(env, &target).ok());
            identity
                .is_some_and(|identity| identity.key.to_string() == entry.key() && age(&entry, &identity) != Age::Dead)
        };
        let mine: Vec<String> = entry.hosts().iter().filter(served).cloned().collect();
        let username = entry.into_token().username;
        hosts.extend(mine.into_iter().map(|host| (host, username.clone())));
    }
    Ok(hosts)
}

/// The settings, and what they say of the registry at `server_url`. What is no URL of a registry is refused before any
/// file is read.
pub fn target(env: &Env, server_url: &str) -> Result<(Config, Target), Error> {
    registry::host(server_url).ok_or(Error::NotFound)?;
    let config = Config::load(env)?;
    let target = config.target(env, server_url)?;
    Ok((config, target))
}

fn fetch(env: &Env, target: &Target, deadline: Instant) -> Result<Grant, Failure> {
    let mut identity = Identity::of(env, target)?;
    let session = if env.verifies_identity() {
        let session = Session::open(env, target, &identity.source, deadline)?;
        identity.key = identity.key.with_access_key(session.access_key_id());
        Some(session)
    } else {
        None
    };
    let ask = |deadline: Instant| match session {
        Some(session) => session.request_token(deadline),
        None => aws::request_token(env, target, &identity.source, deadline),
    };
    let slot = match open_cache(env, &identity) {
        Ok(cache) => Slot { cache, identity: &identity, host: &target.host },
        Err(why) => {
            warn!(host = target.host, "not cached: {why}");
            return ask(deadline).map(Grant::from);
        }
    };
    let stale = match slot.look_up(false) {
        Cached::Fresh(grant) => return Ok(grant),
        Cached::Stale(grant) => Some(grant),
        Cached::Nothing => None,
    };
    let fresh = |held| match slot.look_up(held) {
        Cached::Fresh(grant) => Some(grant),
        _ => None,
    };
    let turn = match slot.cache.wait(&identity.key, deadline, stale.is_none(), fresh) {
        Ok(Wait::Ask(turn)) => turn,
        Ok(Wait::Got(grant)) => return Ok(grant),
        Ok(Wait::Failed(failure)) => return Err(failure),
        Ok(Wait::TooLong) => return stale.ok_or_else(busy),
        Err(error) => {
            debug!(dir = %slot.cache.dir().display(), %error, "the cache cannot be locked; asking AWS without it");
            None
        }
    };
    let soon = Instant::now() + REFRESH_TIMEOUT;
    match ask(if stale.is_some() { deadline.min(soon) } else { deadline }) {
        Ok(issued) => {
            slot.save(&issued);
            if let Some(turn) = turn {
                turn.succeeded();
            }
            Ok(issued.into())
        }
        Err(failure) => {
            if let Some(turn) = turn {
                turn.failed(&failure);
            }
            // A stale one was valid when it was read, and asking took time: look again.
            match (stale, slot.look_up(false)) {
                (Some(_), Cached::Fresh(grant) | Cached::Stale(grant)) => {
                    warn!(host = target.host, why = failure.what, "cannot refresh the token; serving the cached one");
                    Ok(grant)
                }
                _ => Err(failure),
            }
        }
    }
}

/// The cache, or why this identity's tokens are not kept there.
fn open_cache(env: &Env, identity: &Identity) -> Result<Cache, String> {
    if !identity.cacheable {
        return Err("nothing on this system tells which machine the credentials are good on".to_owned());
    }
    let Some(dir) = env.cache_dir() else {
        return Err("the cache is turned off, or there is no home directory for it; see AWS_ECR_CACHE_DIR".to_owned());
    };
    Cache::open(dir)
}

/// Another process has been asking for all the time that there was.
fn busy() -> Failure {
    Failure::new(
        "another process has been asking AWS for this token all the time",
        "try again; AWS_ECR_DISABLE_CACHE=1 asks without waiting for it",
    )
}

/// How an entry's age looks to an identity.
fn age(entry: &Entry, identity: &Identity) -> Age {
    if identity.not_before.is_some_and(|changed| entry.is_older_than(changed)) {
        return Age::Dead;
    }
    entry.age(SystemTime::now())
}

/// The place of one identity in the cache, and for whom it is asked.
struct Slot<'a> {
    cache: Cache,
    identity: &'a Identity,
    host: &'a str,
}

enum Cached {
    Fresh(Grant),
    Stale(Grant),
    Nothing,
}

impl From<Issued> for Grant {
    fn from(Issued { token, life }: Issued) -> Self {
        Self { token, left: life }
    }
}

impl From<Entry> for Grant {
    fn from(entry: Entry) -> Self {
        let left = entry.left();
        Self { token: entry.into_token(), left: Some(left) }
    }
}

impl Slot<'_> {
    fn key(&self) -> &Key {
        &self.identity.key
    }

    /// What the cache has now.
    fn look_up(&self, held: bool) -> Cached {
        let Some(entry) = self.cache.look_up(self.key()) else { return Cached::Nothing };
        match age(&entry, self.identity) {
            Age::Fresh => {
                self.remember_host(&entry, held);
                debug!(host = self.host, "token served from the cache");
                Cached::Fresh(entry.into())
            }
            Age::Stale => Cached::Stale(entry.into()),
            Age::Dead => Cached::Nothing,
        }
    }

    /// Adds the host to the entry, for `list`: another registry of the region may have fetched it. Happens once for
    /// each host, and is left out when too many others are at the same.
    fn remember_host(&self, entry: &Entry, held: bool) {
        if entry.with_host(self.host).is_none() {
            return;
        }
        let lock = if held {
            None
        } else {
            (0..MOST_TRIES).find_map(|_| {
                let lock = self.cache.try_lock(self.key()).ok().flatten();
                if lock.is_none() {
                    thread::sleep(BETWEEN_TRIES);
                }
                lock
            })
        };
        if (held || lock.is_some())
            && let Some(extended) = self.cache.look_up(self.key()).and_then(|entry| entry.with_host(self.host))
            && let Err(error) = self.cache.save(&extended)
        {
            debug!(%error, "cannot add the host to the cached entry");
        }
    }

    fn save(&self, issued: &Issued) {
        let now = SystemTime::now();
        let entry = issued.life.and_then(|life| Entry::new(self.key(), self.host, issued.token.clone(), life, now));
        let Some(entry) = entry else {
            info!(host = self.host, "not cached: the token came expired or without an expiry");
            return;
        };
        match self.cache.save(&entry) {
            Ok(()) => debug!(host = self.host, "token asked for and cached"),
            Err(error) => {
                let dir = self.cache.dir().display();
                warn!(%dir, %error, "not cached: the cache cannot be written");
            }
        }
    }
}
