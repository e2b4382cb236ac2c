//! The use case: a server URL in, a token out, from the cache or from AWS.
//!
//! A fresh entry is served at once. Otherwise one process at a time holds the entry's lock and asks AWS; the others
//! watch for the entry to appear, or serve the stale one that is still valid. Every wait ends at one deadline. When
//! the cache cannot be used, AWS is asked without it.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, info, warn};

use crate::aws::{Issued, Session};
use crate::cache::{Age, Cache, Entry, Lock};
use crate::config::{Config, Target};
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::identity::{Identity, Key};
use crate::registry;
use crate::token::Token;

/// How long a refresh may take while a valid token is at hand: its user waits for nothing that they need.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a waiting process looks for the entry; doubles from the first to the second.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(16));

/// How often the lock is tried for when only the name of a host is to be added.
const MOST_TRIES: usize = 50;

/// A token for the registry at `server_url` under the settings of `env`.
pub fn get(env: &Env, server_url: &str) -> Result<Token, Error> {
    let started = Instant::now();
    let (config, target) = target(env, server_url)?;
    let deadline = started + config.timeout();
    fetch(env, &target, deadline).map_err(|failure| explain(&target, &failure))
}

/// Whether `server_url` is an ECR registry or named in the configuration.
pub fn serves(env: &Env, server_url: &str) -> Result<bool, Error> {
    match target(env, server_url) {
        Ok(_) => Ok(true),
        Err(Error::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Drops the cached token of the registry at `server_url`, if there is one.
pub fn forget(env: &Env, server_url: &str) -> Result<(), Error> {
    let (_, target) = target(env, server_url)?;
    let Some(dir) = env.cache_dir() else { return Ok(()) };
    // Settings that lead to no identity have no entry.
    let Ok(identity) = Identity::of(env, &target) else { return Ok(()) };
    let cache = Cache::at(dir);
    cache.remove(&identity.key).map_err(|error| {
        let dir = cache.dir().display();
        Error::failed(format!(
            "ecr-login: cannot remove the cached token of {} from {dir}: {error}; remove it by hand",
            target.host
        ))
    })
}

/// The hosts whose cached token would be served now, each with its user name.
pub fn list(env: &Env) -> Result<Vec<(String, String)>, Error> {
    let config = Config::load(env)?;
    let Some(dir) = env.cache_dir() else { return Ok(Vec::new()) };
    let mut hosts = Vec::new();
    for entry in Cache::at(dir).entries() {
        let served = |host: &&String| {
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

/// What is no URL of a registry is refused before any file is read.
fn target(env: &Env, server_url: &str) -> Result<(Config, Target), Error> {
    registry::host(server_url).ok_or(Error::NotFound)?;
    let config = Config::load(env)?;
    let target = config.target(env, server_url)?;
    Ok((config, target))
}

fn fetch(env: &Env, target: &Target, deadline: Instant) -> Result<Token, Failure> {
    let mut identity = Identity::of(env, target)?;
    let session = if env.verifies_identity() {
        let session = Session::open(env, target, &identity.source, deadline)?;
        identity.key = identity.key.with_access_key(session.access_key_id());
        Some(session)
    } else {
        None
    };
    let ask = |deadline: Instant| {
        let session = match session {
            Some(session) => session,
            None => Session::open(env, target, &identity.source, deadline)?,
        };
        session.request_token(deadline)
    };
    let Some(dir) = env.cache_dir().filter(|_| identity.cacheable) else {
        info!(host = target.host, "not cached: turned off, no directory for it, or nothing binds it to this machine");
        return ask(deadline).map(|issued| issued.token);
    };
    let slot = Slot { cache: Cache::at(dir), identity: &identity, host: &target.host };
    let stale = match slot.look_up(None) {
        Cached::Fresh(token) => return Ok(token),
        Cached::Stale(token) => Some(token),
        Cached::Nothing => None,
    };
    let lock = match slot.wait(deadline, stale.is_some()) {
        Turn::Ours(lock) => lock,
        Turn::Served(token) => return Ok(token),
        Turn::GiveUp => return stale.ok_or_else(busy),
    };
    let soon = Instant::now() + REFRESH_TIMEOUT;
    let answer = match (&stale, ask(if stale.is_some() { deadline.min(soon) } else { deadline })) {
        (_, Ok(issued)) => {
            slot.save(&issued);
            Ok(issued.token)
        }
        // It was valid when it was read, and asking took time: look again.
        (Some(_), Err(failure)) => match slot.look_up(lock.as_ref()) {
            Cached::Nothing => Err(failure),
            Cached::Fresh(token) | Cached::Stale(token) => {
                warn!(host = target.host, why = failure.what, "cannot refresh the token; serving the cached one");
                Ok(token)
            }
        },
        (None, Err(failure)) => Err(failure),
    };
    drop(lock);
    answer
}

/// Another process has been asking for all the time that there was.
fn busy() -> Failure {
    Failure::new(
        "another process has been asking AWS for this token all the time",
        "try again; AWS_ECR_DISABLE_CACHE=1 asks without waiting for it",
    )
}

/// Images of ECR Public need no credentials, so whatever goes wrong there leaves the anonymous way open.
fn explain(target: &Target, failure: &Failure) -> Error {
    let Failure { what, next } = failure;
    let Target { host, registry, .. } = target;
    let text = format!("ecr-login: no token for {host} (region {}): {what}; {next}", registry.region);
    warn!("{text}");
    if registry.is_public() { Error::NotFound } else { Error::failed(text) }
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
    Fresh(Token),
    Stale(Token),
    Nothing,
}

enum Turn {
    /// Ask AWS. Without a lock when the cache cannot be locked at all.
    Ours(Option<Lock>),
    /// Somebody else did.
    Served(Token),
    /// Somebody else is at it, and longer than we may wait.
    GiveUp,
}

impl Slot<'_> {
    fn key(&self) -> &Key {
        &self.identity.key
    }

    /// What the cache has now.
    fn look_up(&self, held: Option<&Lock>) -> Cached {
        let Some(entry) = self.cache.look_up(self.key()) else { return Cached::Nothing };
        match age(&entry, self.identity) {
            Age::Fresh => {
                self.remember_host(&entry, held);
                debug!(host = self.host, "token served from the cache");
                Cached::Fresh(entry.into_token())
            }
            Age::Stale => Cached::Stale(entry.into_token()),
            Age::Dead => Cached::Nothing,
        }
    }

    /// Adds the host to the entry, for `list`: another registry of the region may have fetched it. Happens once for
    /// each host, and is left out when too many others are at the same.
    fn remember_host(&self, entry: &Entry, held: Option<&Lock>) {
        if entry.with_host(self.host).is_none() {
            return;
        }
        let lock = match held {
            Some(_) => None,
            None => (0..MOST_TRIES).find_map(|_| {
                let lock = self.cache.try_lock(self.key()).ok().flatten();
                if lock.is_none() {
                    thread::sleep(POLL.0);
                }
                lock
            }),
        };
        if held.or(lock.as_ref()).is_some()
            && let Some(extended) = self.cache.look_up(self.key()).and_then(|entry| entry.with_host(self.host))
            && let Err(error) = self.cache.save(&extended)
        {
            debug!(%error, "cannot add the host to the cached entry");
        }
    }

    /// Waits for the lock or for the entry, whichever comes first; with a stale token at hand not at all.
    fn wait(&self, deadline: Instant, have_stale: bool) -> Turn {
        let mut pause = POLL.0;
        loop {
            let lock = match self.cache.try_lock(self.key()) {
                Ok(lock) => lock,
                Err(error) => {
                    let dir = self.cache.dir().display();
                    warn!(%dir, %error, "the cache cannot be locked; asking AWS without it");
                    return Turn::Ours(None);
                }
            };
            if let Cached::Fresh(token) = self.look_up(lock.as_ref()) {
                return Turn::Served(token);
            }
            if lock.is_some() {
                return Turn::Ours(lock);
            }
            if have_stale || Instant::now() >= deadline {
                return Turn::GiveUp;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(POLL.1);
        }
    }

    fn save(&self, issued: &Issued) {
        let entry = issued
            .expires_at
            .and_then(|at| Entry::new(self.key(), self.host, issued.token.clone(), at, SystemTime::now()));
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
