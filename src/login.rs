//! The use case: a server URL in, a token out, from the cache or from AWS.
//!
//! Who asks is told from the settings ([`identity`](crate::identity)), and with that a fresh entry is served at once. For a
//! request that was answered before, not even the settings are read: its manifest leads to the entry, if nothing that it
//! lists has changed. Otherwise one process at a time has the turn to ask AWS ([`cache`](crate::cache)); the others wait
//! for what comes of it, or serve the stale token that is still valid. Every wait ends at one deadline. When the cache
//! cannot be used, AWS is asked without it.
//!
//! While a valid token is at hand, a refresh is advisory, as in the AWS SDKs: one process tries it, for a short time, and after a
//! failure nobody tries again for some minutes, until the last tenth of the token's life.
//!
//! A sign-in that AWS's side renews on the way changes the settings, and with them the key: then everything starts over,
//! so that whoever asked meanwhile finds the token under the key that now counts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, info, warn};

use crate::aws::{self, Issued, Session};
use crate::cache::{Age, Cache, Entry, Manifest, Wait};
use crate::config::{Config, Target};
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::identity::{Identity, Observed, Source, request_key};
use crate::registry;
use crate::token::Token;

/// How long a refresh may take while a valid token is at hand: its user waits for nothing that they need.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(1500);

/// How often it starts over because the settings have changed under it.
const MOST_CHANGES: usize = 3;

/// A token and for how long it is good.
#[derive(Debug)]
pub struct Grant {
    /// What clients log in with.
    pub token: Token,
    /// How much longer AWS accepts it; `None` when it did not say, or said that it does not.
    pub left: Option<Duration>,
}

/// The answer to a client when it takes no reading of settings: the fresh token of a request that was answered before,
/// under settings that are still the same.
pub fn known(env: &Env, server_url: &str) -> Option<Token> {
    if env.verifies_identity() {
        return None;
    }
    let host = registry::host(server_url)?;
    let cache = Cache::open(env.cache_dir()?).ok()?;
    let manifest = cache.manifest(&request_key(env, &host)).filter(|manifest| manifest.host == host)?;
    // The entry first: where it is over, there is nothing to observe anything for.
    let entry = cache.look_up_named(&manifest.entry).filter(|entry| entry.age(SystemTime::now()) == Age::Fresh)?;
    if !manifest.holds(env) {
        debug!(host, "settings have changed since this registry was last asked for");
        return None;
    }
    debug!(host, "token served from the cache");
    Some(entry.into_token())
}

/// The answer to a client: a token for `target`, by `deadline`.
pub fn get(env: &Env, config: &Config, target: &Target, deadline: Instant) -> Result<Token, Error> {
    match fetch(env, target, deadline).inspect_err(|failure| log(target, failure)) {
        Ok((grant, identity)) => {
            if let Some(identity) = identity {
                remember(env, config, target, &identity);
            }
            Ok(grant.token)
        }
        // Images of ECR Public need no credentials, so whatever goes wrong leaves the anonymous way open.
        Err(_) if target.registry.is_public() => Err(Error::NotFound),
        Err(failure) => Err(Error::failed(sentence(target, &failure))),
    }
}

/// A token for `target`, by `deadline`. A failure is also in the log.
pub fn grant(env: &Env, target: &Target, deadline: Instant) -> Result<Grant, Failure> {
    let fetched = fetch(env, target, deadline).inspect_err(|failure| log(target, failure))?;
    Ok(fetched.0)
}

/// A failure with the registry that it is about.
pub fn sentence(target: &Target, failure: &Failure) -> String {
    let region = &target.registry.region;
    if target.host.starts_with(registry::ANY_ACCOUNT) {
        return format!("ecr-login: no token for the registries of region {region}: {failure}");
    }
    format!("ecr-login: no token for {} (region {region}): {failure}", target.host)
}

/// The log gets nothing that others said.
fn log(target: &Target, failure: &Failure) {
    warn!("{}", sentence(target, &failure.clone().without_quote()));
}

/// What the cache has for an identity: where, and the entry with its age if there is one. `Err` says why it has no
/// place there, or cannot keep or use what it has.
pub fn cached(env: &Env, identity: &Identity) -> Result<(PathBuf, Option<(Age, Entry)>), String> {
    let cache = open_cache(env, identity)?;
    let dir = cache.dir().display();
    cache.probe().map_err(|error| format!("{dir} cannot be written: {error}; mend it, or set AWS_ECR_CACHE_DIR"))?;
    let entry = cache.look_up(&identity.key).map(|entry| (entry.age(SystemTime::now()), entry));
    if entry.is_none() && cache.holds(&identity.key) {
        return Err(format!("what is in {dir} for this identity is damaged, or others could have written it"));
    }
    Ok((cache.dir().to_owned(), entry))
}

/// Drops the cached token of `target`, if there is one.
pub fn forget(env: &Env, target: &Target, deadline: Instant) -> Result<(), Error> {
    let Some(dir) = env.cache_dir() else { return Ok(()) };
    // Settings that lead to no identity have no entry.
    let Ok(identity) = Identity::of(env, target, deadline) else { return Ok(()) };
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
pub fn list(env: &Env, config: &Config, deadline: Instant) -> Result<Vec<(String, String)>, Error> {
    let Some(dir) = env.cache_dir() else { return Ok(Vec::new()) };
    let Ok(cache) = Cache::open(dir) else { return Ok(Vec::new()) };
    let mut hosts = Vec::new();
    for manifest in cache.manifests().filter(|manifest| !manifest.host.starts_with(registry::ANY_ACCOUNT)) {
        let Manifest { host, entry, .. } = &manifest;
        let Some(entry) = cache.look_up_named(entry).filter(|entry| entry.age(SystemTime::now()) != Age::Dead) else {
            continue;
        };
        let is_mine = || {
            let target = config.target(env, host).ok()?;
            Some(Identity::of(env, &target, deadline).ok()?.key.to_string() == entry.key())
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

/// What came of one round.
enum Round {
    Granted(Grant),
    /// The settings are others now.
    Changed,
}

/// A token, and the identity that it is cached for.
fn fetch(env: &Env, target: &Target, deadline: Instant) -> Result<(Grant, Option<Arc<Identity>>), Failure> {
    for _ in 0..MOST_CHANGES {
        let identity = Arc::new(Identity::of(env, target, deadline)?);
        let asking = Asking { env, target, identity: &identity, deadline };
        let round = match open_cache(env, &identity) {
            Ok(cache) => asking.with_cache(&cache)?,
            Err(why) => {
                warn!(host = target.host, "not cached: {why}");
                asking.without_cache()?
            }
        };
        match round {
            Round::Granted(grant) => return Ok((grant, Some(identity))),
            Round::Changed => debug!(host = target.host, "the settings have changed meanwhile; starting over"),
        }
    }
    Err(Failure::new("the sign-in changes all the time", "find out what else renews it, and try again"))
}

/// The cache, or why this identity's tokens are not kept there.
fn open_cache(env: &Env, identity: &Identity) -> Result<Cache, String> {
    if let Some(why) = &identity.uncacheable {
        return Err(why.clone());
    }
    let Some(dir) = env.cache_dir() else {
        return Err("the cache is turned off, or there is no home directory for it; see AWS_ECR_CACHE_DIR".to_owned());
    };
    Cache::open(dir)
}

/// Keeps the way from the request to its entry, for [`known`] and [`list`].
fn remember(env: &Env, config: &Config, target: &Target, identity: &Identity) {
    let Ok(cache) = open_cache(env, identity) else { return };
    if !config.is_steady() {
        return;
    }
    let mut observed: Vec<Observed> =
        config.source().map(|(path, content)| Observed::file(path, content)).into_iter().collect();
    observed.extend(identity.observed.iter().cloned());
    let (request, entry) = (request_key(env, &target.host), identity.key.to_string());
    let manifest =
        Manifest::new(&request.to_string(), &target.host, identity.chain.source.to_string(), &entry, observed);
    // It leads nowhere when the token could not be kept.
    if cache.holds(&identity.key)
        && let Err(error) = cache.save_manifest(&request, &manifest)
    {
        debug!(%error, "the way to the cached token cannot be kept");
    }
}

/// Another process has been asking for all the time that there was.
fn busy() -> Failure {
    Failure::new(
        "another process has been asking AWS for this token all the time",
        "try again; AWS_ECR_DISABLE_CACHE=1 asks without waiting for it",
    )
}

/// One identity that asks for a token.
struct Asking<'a> {
    env: &'a Env,
    target: &'a Target,
    identity: &'a Arc<Identity>,
    deadline: Instant,
}

/// What the cache has for an identity.
enum Cached {
    Fresh(Grant),
    /// Whether a refresh may be left for later.
    Stale(Grant, bool),
    Nothing,
}

impl From<Issued> for Grant {
    fn from(Issued { token, life, .. }: Issued) -> Self {
        Self { token, left: life }
    }
}

impl From<Entry> for Grant {
    fn from(entry: Entry) -> Self {
        let left = entry.left();
        Self { token: entry.into_token(), left: Some(left) }
    }
}

impl Asking<'_> {
    fn without_cache(&self) -> Result<Round, Failure> {
        if aws::renew_sign_in(self.target, self.identity, self.deadline)? {
            return Ok(Round::Changed);
        }
        Ok(Round::Granted(aws::request_token(self.target, self.identity, self.deadline)?.into()))
    }

    fn with_cache(&self, cache: &Cache) -> Result<Round, Failure> {
        let Self { env, target, identity, deadline } = *self;
        // Strict mode: the credentials first, and an entry counts only when the same access key asked for it.
        let mut session = None;
        if env.verifies_identity() {
            session = self.open_session()?;
            if session.is_none() {
                return Ok(Round::Changed);
            }
        }
        let access_key = session.as_ref().map(|session| session.access_key_id().to_owned());
        let look_up = || self.look_up(cache, access_key.as_deref());
        let stale = match look_up() {
            Cached::Fresh(grant) => return Ok(Round::Granted(grant)),
            Cached::Stale(grant, true) if cache.is_refresh_postponed(&identity.key) => {
                debug!(host = target.host, "token served from the cache; its refresh has failed lately");
                return Ok(Round::Granted(grant));
            }
            Cached::Stale(grant, _) => Some(grant),
            Cached::Nothing => None,
        };
        let fresh = || match look_up() {
            Cached::Fresh(grant) => Some(grant),
            _ => None,
        };
        let turn = match cache.wait(&identity.key, deadline, stale.is_none(), fresh) {
            Ok(Wait::Ask(turn)) => turn,
            Ok(Wait::Got(grant)) => return Ok(Round::Granted(grant)),
            Ok(Wait::Failed(failure)) => return Err(failure),
            Ok(Wait::TooLong) => return stale.map(Round::Granted).ok_or_else(busy),
            Err(error) => {
                debug!(dir = %cache.dir().display(), %error, "the cache cannot be locked; asking AWS without it");
                None
            }
        };
        let soon = Instant::now() + REFRESH_TIMEOUT;
        let by = if stale.is_some() { deadline.min(soon) } else { deadline };
        let issued = match self.ask(session, by) {
            Ok(issued) => issued,
            Err(failure) => {
                if stale.is_some()
                    && let Err(error) = cache.postpone_refresh(&identity.key)
                {
                    debug!(%error, "the next refresh cannot be postponed");
                }
                if let Some(turn) = turn {
                    turn.failed(&failure.clone().without_quote());
                }
                // A stale one was valid when it was read, and asking took time: look again.
                return match (stale, look_up()) {
                    (Some(_), Cached::Fresh(grant) | Cached::Stale(grant, _)) => {
                        warn!(
                            host = target.host,
                            why = failure.what,
                            "cannot refresh the token; serving the cached one"
                        );
                        Ok(Round::Granted(grant))
                    }
                    _ => Err(failure),
                };
            }
        };
        if let Some(issued) = &issued {
            self.save(cache, issued);
        }
        if let Some(turn) = turn {
            turn.succeeded();
        }
        Ok(issued.map_or(Round::Changed, |issued| Round::Granted(issued.into())))
    }

    /// Asks AWS; `None` when that has shown the settings to be others now.
    fn ask(&self, session: Option<Session>, deadline: Instant) -> Result<Option<Issued>, Failure> {
        let Self { target, identity, .. } = *self;
        if let Some(session) = session {
            return session.request_token(deadline).map(Some);
        }
        match identity.source() {
            // Whoever had the turn before may have renewed the sign-in; else it may be time to.
            Source::Sso(_) if !self.is_unchanged() || aws::renew_sign_in(target, identity, deadline)? => {
                return Ok(None);
            }
            Source::Login { .. } => {
                let session = self.open_session()?;
                return session.map(|session| session.request_token(deadline)).transpose();
            }
            _ => {}
        }
        aws::request_token(target, identity, deadline).map(Some)
    }

    /// Resolves the credentials; `None` when the settings are others now.
    fn open_session(&self) -> Result<Option<Session>, Failure> {
        let Self { target, identity, deadline, .. } = *self;
        if aws::renew_sign_in(target, identity, deadline)? {
            return Ok(None);
        }
        let session = Session::open(target, identity, deadline)?;
        Ok(self.is_unchanged().then_some(session))
    }

    /// What the cache has now, for this access key where one is given.
    fn look_up(&self, cache: &Cache, access_key: Option<&str>) -> Cached {
        let entry = cache.look_up(&self.identity.key);
        let entry = entry.filter(|entry| access_key.is_none_or(|access_key| entry.is_of(access_key)));
        let Some(entry) = entry else { return Cached::Nothing };
        match entry.age(SystemTime::now()) {
            Age::Fresh => {
                debug!(host = self.target.host, "token served from the cache");
                Cached::Fresh(entry.into())
            }
            Age::Stale => {
                let can_wait = !entry.ends_soon();
                Cached::Stale(entry.into(), can_wait)
            }
            Age::Dead => Cached::Nothing,
        }
    }

    fn is_unchanged(&self) -> bool {
        let now = Identity::of(self.env, self.target, self.deadline);
        now.is_ok_and(|now| now.key == self.identity.key)
    }

    fn save(&self, cache: &Cache, issued: &Issued) {
        let (host, key) = (&self.target.host, &self.identity.key);
        if !issued.as_foreseen {
            info!(host, "not cached: another provider of credentials answered than the settings say");
            return;
        }
        // These read files for themselves, and may have seen others than those in the key.
        if matches!(self.identity.source(), Source::Process { .. } | Source::Container) && !self.is_unchanged() {
            info!(host, "not cached: what the credentials depend on changed while they were asked for");
            return;
        }
        let now = SystemTime::now();
        let entry =
            issued.life.and_then(|life| Entry::new(key, &issued.access_key_id, issued.token.clone(), life, now));
        let Some(entry) = entry else {
            info!(host, "not cached: the token came expired or without an expiry");
            return;
        };
        match cache.save(&entry) {
            Ok(()) => debug!(host, "token asked for and cached"),
            Err(error) => {
                let dir = cache.dir().display();
                warn!(%dir, %error, "not cached: the cache cannot be written");
            }
        }
    }
}
