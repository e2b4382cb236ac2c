//! What the cache holds for a registry: opens the cache, and reads, saves and erases tokens outside of a request.

use std::io;
use std::iter;
use std::path::PathBuf;
use std::time::Instant;

use log::debug;

use super::{named_host, named_target, short};
use crate::cache::{Cache, Decided, Entry, Manifest};
use crate::code::Code;
use crate::config::{Config, Target};
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::identity::{CacheKey, Identity, Observed, request_key};
use crate::platform;
use crate::registry::{Host, Registry};

/// Reads what the cache holds for an identity, fresh or not: the directory, the entry, and why no other can be written. Fails with the
/// reason why the cache does not serve it.
pub fn inspect_cache(env: &Env, identity: &Identity) -> Result<(PathBuf, Option<Entry>, Option<Failure>), Failure> {
    let cache = open_cache_for(env, identity)?;
    let key = &identity.key;
    let dir = cache.dir().display();
    let entry = cache.look_up(key);
    if entry.is_none() && cache.holds(key) {
        let what = format!("the entry in {dir} for this identity is damaged, or others could have written it");
        return Err(Failure::new(
            Code::CacheUnused,
            what,
            "the next get replaces the entry; if it cannot, remove it by hand",
        ));
    }
    let unwritable = cache.probe().err().map(|error| unwritable(&cache, &error));
    Ok((cache.dir().to_owned(), entry, unwritable))
}

/// Erases the cached token of `target` for the identity of the settings. Without one, or a directory, there is nothing to do.
pub fn erase(env: &Env, target: &Target, deadline: Instant) -> Result<(), Error> {
    if env.dir_of_tokens().is_none() {
        return Ok(());
    }
    let cache = whole_cache(env)?;
    // There is none, or it is out of reach in a home directory of another user.
    if cache.dir().join(".").symlink_metadata().is_err() {
        return Ok(());
    }
    // Settings that lead to no identity have no entry.
    let Ok(identity) = Identity::read(env, target, deadline) else { return Ok(()) };
    erase_entry(&cache, &target.host, &identity.key)
}

/// After a refusal by AWS, removes the cached token of an identity, and those that other identities have of its credentials, whose
/// key is known if their source was asked. Returns whether there was one of the identity.
pub fn forget_if_refused(env: &Env, identity: &Identity, credentials: Option<&CacheKey>, failure: &Failure) -> bool {
    let keys = iter::once(&identity.key).chain(credentials);
    let Some(cache) = trusted_cache(env).filter(|_| failure.is_refusal) else { return false };
    let was_there = cache.holds(&identity.key);
    keys.for_each(|key| cache.remove_refused(key));
    was_there
}

/// Erases every cached token that opens the registry which a person named, whichever settings it was requested with. A custom domain is
/// every registry whose token was served for it, and the one that it is mapped to. Returns the host, the directory, and how many
/// there were.
pub fn erase_of_everyone(env: &Env, named: &str) -> Result<(Host, PathBuf, usize), Error> {
    let host = named_host(named)?;
    let cache = whole_cache(env)?;
    // Tokens that are being requested meanwhile: their hosts are not known yet.
    if let Err(error) = cache.cancel_saves() {
        debug!(error:%; "a token that is being requested may still be cached");
    }
    let registries = match Registry::parse(&host) {
        Some(registry) => vec![registry],
        None => registries_behind(env, &cache, &host)?,
    };
    let mut tokens = cache.tokens();
    tokens.retain(|(entry, _)| registries.iter().any(|registry| entry.opens(registry)));
    for (entry, _) in &tokens {
        erase_entry(&cache, &host, &entry.key)?;
    }
    cache.erase_unreadable().map_err(|error| not_erased(&cache, &host, &error))?;
    Ok((host, cache.dir().to_owned(), tokens.len()))
}

/// The registries behind a custom domain. Its configuration may be gone, or have a mistake.
fn registries_behind(env: &Env, cache: &Cache, domain: &Host) -> Result<Vec<Registry>, Error> {
    let files = cache.manifest_files();
    let manifests = files.iter().filter_map(|path| Cache::manifest_in(path)).filter(|one| one.host == *domain);
    let keys = manifests.flat_map(|one| iter::once(one.entry).chain(one.earlier));
    let mut served: Vec<_> = keys.filter_map(|key| Some(cache.look_up(&key)?.registry())).collect();
    match named_target(env, domain, Instant::now()) {
        Ok((_, target)) => served.push(target.registry),
        Err(Error::Failed(failure)) if served.is_empty() => {
            let hint = format!("{}; '{} logout --all' removes every token", failure.hint, crate::NAME);
            return Err(Failure { hint, ..failure }.into());
        }
        Err(error) if served.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(served)
}

/// Erases every cached token. Returns the directory, and how many there were.
pub fn erase_all(env: &Env) -> Result<(PathBuf, usize), Error> {
    let cache = whole_cache(env)?;
    let dir = cache.dir().to_owned();
    let count = cache.clear().map_err(|error| {
        let what = format!("{} cannot be cleared: {error}", dir.display());
        Error::failed(Code::CacheNotCleared, what, "remove the tokens in it by hand")
    })?;
    Ok((dir, count))
}

/// The cache for what removes tokens.
fn whole_cache(env: &Env) -> Result<Cache, Failure> {
    let cache = Cache::dir_of_tokens(env).and_then(|dir| Cache::open_whole(env, dir));
    cache.map_err(|failure| Failure { code: Code::CacheNotCleared, ..failure })
}

fn not_erased(cache: &Cache, host: &Host, error: &io::Error) -> Error {
    let what = format!("cannot remove the cached token of {host} from {}: {error}", cache.dir().display());
    Error::failed(Code::CacheNotCleared, what, "remove it by hand")
}

fn erase_entry(cache: &Cache, host: &Host, key: &CacheKey) -> Result<(), Error> {
    let removed = cache.erase(key).map_err(|error| not_erased(cache, host, &error))?;
    debug!(host, key = short(key), removed; "cached token");
    Ok(())
}

/// Opens the cache for a token of this identity, and checks that it can be written.
pub fn writable_cache(env: &Env, identity: &Identity) -> Result<Cache, Failure> {
    let cache = open_cache_for(env, identity)?;
    cache.probe().map_err(|error| unwritable(&cache, &error))?;
    Ok(cache)
}

pub(super) fn unwritable(cache: &Cache, error: &io::Error) -> Failure {
    let other = "name another directory with AWS_ECR_CACHE_DIR";
    let what = format!("{} cannot be written", cache.dir().display());
    Failure::unwritable(Code::CacheUnused, what, error, other)
}

/// Opens the cache for a token of this identity. Fails with the reason why its tokens are not cached.
pub(super) fn open_cache_for(env: &Env, identity: &Identity) -> Result<Cache, Failure> {
    identity.uncacheable.clone().map_or_else(|| open_cache(env), Err)
}

/// The cache for what writes nothing to it; `None` when there is none that can be trusted.
pub(super) fn trusted_cache(env: &Env) -> Option<Cache> {
    Cache::open(env.cache_dir()?).ok()
}

/// Opens the cache for a token. Fails with the reason why no token is cached.
pub(super) fn open_cache(env: &Env) -> Result<Cache, Failure> {
    let dir = Cache::dir_of(env)?;
    if let Some(kaniko) = env.kaniko_dir().filter(|kaniko| !platform::is_below(&dir, kaniko)) {
        let (dir, kaniko) = (dir.display(), kaniko.display());
        return Err(Failure::new(
            Code::CacheUnused,
            format!("kaniko would push {dir} as part of the image that it builds"),
            format!("set AWS_ECR_CACHE_DIR to {kaniko}/cache"),
        ));
    }
    Cache::open(dir)
}

/// How many earlier registries of a host are remembered.
const MOST_MAPPINGS: usize = 16;

/// Saves which entry answers the request, for [`cached_answer`](super::cached_answer) and [`list`](fn@super::list).
pub(super) fn save_manifest(env: &Env, config: &Config, target: &Target, identity: &Identity) {
    let Ok(cache) = open_cache_for(env, identity) else { return };
    let mut observed: Vec<Observed> = Vec::new();
    if let Some((path, reading)) = &config.source {
        if reading.unsteady.is_some() {
            return;
        }
        observed.push(Observed::configuration(path, &reading.content));
    }
    observed.extend(identity.observed.iter().cloned());
    let request = request_key(env, &target.host);
    let decided = Decided {
        region: target.registry.region(),
        credentials: identity.chain.with_access_key(),
        chosen_by: target.chosen_by.clone().unwrap_or_else(|| identity.selected.setting().to_owned()),
    };
    let mut manifest = Manifest::new(request, &target.host, decided, identity.key, observed);
    manifest.max_age = target.max_age;
    let is_other = |key: &CacheKey| cache.look_up(key).is_some_and(|entry| !entry.opens(&target.registry));
    let before = cache.manifest(&request).into_iter().flat_map(|one| iter::once(one.entry).chain(one.earlier));
    manifest.earlier = before.filter(is_other).take(MOST_MAPPINGS).collect();
    // A token that could not be cached has no entry.
    if cache.holds(&identity.key)
        && let Err(error) = cache.save_manifest(&request, &manifest)
    {
        debug!(error:%; "the manifest of the cached token cannot be saved");
    }
}
