//! The use case: a registry in, a token out, from the cache or from AWS.
//!
//! A fresh entry is served at once. Otherwise one process at a time holds the entry's lock and asks AWS; the others
//! watch for the entry to appear, or serve the stale one that is still valid. Every wait ends at one deadline. When
//! the cache cannot be used, AWS is asked without it.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, info, warn};

use crate::aws::{self, Failure, Issued};
use crate::cache::{Age, Cache, Entry, Lock};
use crate::env::Env;
use crate::error::Error;
use crate::identity::Key;
use crate::registry::Registry;
use crate::token::Token;

/// The whole of one `get`.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long a refresh may take while a valid token is at hand: its user waits for nothing that they need.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a waiting process looks for the entry; doubles from the first to the second.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(16));

/// A token for `registry` under the settings of `env`.
pub fn get(env: &Env, registry: &Registry) -> Result<Token, Error> {
    let deadline = Instant::now() + TIMEOUT;
    let Some(dir) = env.cache_dir() else {
        info!(registry = registry.host, "not cached: the cache is turned off or has no directory");
        return ask(env, registry, TIMEOUT).map(|issued| issued.token);
    };
    let cache = Cache::at(dir);
    let key = Key::new(env, registry);
    let stale = match cached(&cache, &key, registry) {
        Cached::Fresh(token) => return Ok(token),
        Cached::Stale(token) => Some(token),
        Cached::Nothing => None,
    };
    let lock = match wait(&cache, &key, registry, deadline, stale.is_some()) {
        Turn::Ours(lock) => lock,
        Turn::Served(token) => return Ok(token),
        Turn::GiveUp => return stale.ok_or_else(|| failed(registry, &aws::Failure::busy(TIMEOUT))),
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let budget = if stale.is_some() { left.min(REFRESH_TIMEOUT) } else { left };
    let answer = match (ask(env, registry, budget), stale) {
        (Ok(issued), _) => {
            save(&cache, &key, registry, &issued);
            Ok(issued.token)
        }
        (Err(error), Some(token)) => {
            warn!(registry = registry.host, %error, "cannot refresh the token; serving the cached one, which is still valid");
            // It was valid when it was read, and asking took time.
            match cached(&cache, &key, registry) {
                Cached::Nothing => Err(error),
                _ => Ok(token),
            }
        }
        (Err(error), None) => Err(error),
    };
    drop(lock);
    answer
}

/// Drops the cached token of `registry`, if there is one.
pub fn forget(env: &Env, registry: &Registry) -> Result<(), Error> {
    let Some(dir) = env.cache_dir() else { return Ok(()) };
    let cache = Cache::at(dir);
    cache.remove(&Key::new(env, registry)).map_err(|error| {
        let dir = cache.dir().display();
        Error::failed(format!("ecr-login: cannot remove the cached token of {} from {dir}: {error}", registry.host))
    })
}

/// The hosts whose cached token would be served now, each with its user name.
pub fn list(env: &Env) -> Vec<(String, String)> {
    let Some(dir) = env.cache_dir() else { return Vec::new() };
    let now = SystemTime::now();
    let mut hosts = Vec::new();
    for entry in Cache::at(dir).entries().filter(|entry| entry.age(now) != Age::Dead) {
        let served = |host: &&String| {
            Registry::parse(host).is_some_and(|registry| Key::new(env, &registry).to_string() == entry.key())
        };
        let (mine, entry): (Vec<String>, _) = (entry.hosts().iter().filter(served).cloned().collect(), entry);
        let username = entry.into_token().username;
        hosts.extend(mine.into_iter().map(|host| (host, username.clone())));
    }
    hosts
}

enum Cached {
    Fresh(Token),
    Stale(Token),
    Nothing,
}

/// What the cache has for `key` now.
fn cached(cache: &Cache, key: &Key, registry: &Registry) -> Cached {
    let Some(entry) = cache.look_up(key) else { return Cached::Nothing };
    match entry.age(SystemTime::now()) {
        Age::Fresh => {
            remember_host(cache, key, &entry, registry);
            debug!(registry = registry.host, "token served from the cache");
            Cached::Fresh(entry.into_token())
        }
        Age::Stale => Cached::Stale(entry.into_token()),
        Age::Dead => Cached::Nothing,
    }
}

/// Adds the host to the entry, for `list`: another registry of the region may have fetched it. Left out when the
/// entry is being replaced just now.
fn remember_host(cache: &Cache, key: &Key, entry: &Entry, registry: &Registry) {
    let Some(extended) = entry.with_host(&registry.host) else { return };
    let Ok(Some(_lock)) = cache.try_lock(key) else { return };
    if cache.look_up(key).as_ref() == Some(entry)
        && let Err(error) = cache.save(&extended)
    {
        debug!(%error, "cannot add the host to the cached entry");
    }
}

enum Turn {
    /// Ask AWS. Without a lock when the cache cannot be locked at all.
    Ours(Option<Lock>),
    /// Somebody else did.
    Served(Token),
    /// Somebody else is at it, and longer than we may wait.
    GiveUp,
}

/// Waits for the lock or for the entry, whichever comes first; with a stale token at hand it does not wait at all.
fn wait(cache: &Cache, key: &Key, registry: &Registry, deadline: Instant, have_stale: bool) -> Turn {
    let mut pause = POLL.0;
    loop {
        let lock = match cache.try_lock(key) {
            Ok(lock) => lock,
            Err(error) => {
                warn!(dir = %cache.dir().display(), %error, "the cache cannot be locked; asking AWS without it");
                return Turn::Ours(None);
            }
        };
        if let Cached::Fresh(token) = cached(cache, key, registry) {
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

fn save(cache: &Cache, key: &Key, registry: &Registry, issued: &Issued) {
    let entry =
        issued.expires_at.and_then(|at| Entry::new(key, &registry.host, issued.token.clone(), at, SystemTime::now()));
    let Some(entry) = entry else {
        info!(registry = registry.host, "not cached: the token came expired or without an expiry");
        return;
    };
    if let Err(error) = cache.save(&entry) {
        warn!(dir = %cache.dir().display(), %error, "not cached: the cache cannot be written");
    }
}

fn ask(env: &Env, registry: &Registry, budget: Duration) -> Result<Issued, Error> {
    aws::request_token(env, registry, budget).map_err(|failure| failed(registry, &failure))
}

/// Images of ECR Public need no credentials, so whatever goes wrong there leaves the anonymous way open.
fn failed(registry: &Registry, failure: &Failure) -> Error {
    let Failure { what, next } = failure;
    let (host, region) = (&registry.host, &registry.region);
    let text = format!("ecr-login: no token for {host} (region {region}): {what}; {next}");
    if registry.is_public() {
        warn!("{text}; going on without credentials");
        return Error::NotFound;
    }
    warn!("{text}");
    Error::failed(text)
}
