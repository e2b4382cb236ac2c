//! One attempt to get a token for one identity: the cache, the single flight, AWS.
//!
//! While a valid token is in the cache, a refresh is advisory, as in the AWS SDKs: one process tries it, for a short time. After
//! a failure no process tries again for some minutes, until the last tenth of the token's lifetime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::{IssuedToken, Purpose, log_entry, new_entry};
use crate::aws::{self, Issued, Renewal, Session};
use crate::cache::{Cache, Entry, Freshness, Outcome};
use crate::code::Code;
use crate::config::Target;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::{Identity, Source, Touched, Watch};

/// How long a refresh may take while a valid token is in the cache.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(1500);

/// The result of a step during which the settings may change.
pub(super) enum Attempt<T> {
    Done(T),
    /// The identity was derived from settings that have changed since.
    SettingsChanged,
}

/// A request for a token, as one identity.
pub(super) struct TokenRequest<'a> {
    pub(super) env: &'a Env,
    pub(super) target: &'a Target,
    pub(super) identity: &'a Arc<Identity>,
    pub(super) deadline: Instant,
    pub(super) purpose: Purpose<'a>,
}

/// The usable token that the cache has for an identity.
enum Cached {
    Fresh(IssuedToken),
    Stale(IssuedToken),
    /// Stale, and in the last tenth of its lifetime.
    ExpiresSoon(IssuedToken),
    Missing,
}

impl TokenRequest<'_> {
    /// Asks AWS. A token that is not cached for the identity may still be one that `cache` has for its credentials.
    pub(super) fn without_entry(&self, cache: Option<&Cache>) -> Result<Attempt<IssuedToken>, Failure> {
        Ok(match self.request(cache, self.deadline)? {
            Attempt::Done(requested) => {
                if let Some(cache) = cache {
                    self.save(cache, &requested);
                }
                Attempt::Done(requested.into())
            }
            Attempt::SettingsChanged => Attempt::SettingsChanged,
        })
    }

    /// Serves the cached token, or requests a new one.
    pub(super) fn with_cache(&self, cache: &Cache) -> Result<Attempt<IssuedToken>, Failure> {
        self.log_cached(cache);
        let look_up = || self.look_up(cache);
        let stale = match look_up() {
            Cached::Fresh(token) => return Ok(Attempt::Done(token)),
            Cached::Stale(token) if self.skips_refresh(cache) => return Ok(Attempt::Done(token)),
            Cached::Stale(token) | Cached::ExpiresSoon(token) => {
                if let Purpose::Answer(on_stale) = self.purpose {
                    on_stale(&token.token);
                }
                Some(token)
            }
            Cached::Missing => None,
        };
        let fresh = || match look_up() {
            Cached::Fresh(token) => Some(token),
            _ => None,
        };
        // A refresh waits for no other process: the cache has a valid token.
        let wait_until = stale.is_none().then_some(self.deadline);
        let leader = match cache.single_flight(&self.identity.key, wait_until, fresh) {
            Ok(Outcome::Ask(leader)) => leader,
            Ok(Outcome::Found(token)) => return Ok(Attempt::Done(token)),
            Ok(Outcome::Failed(failure)) => return stale.map(Attempt::Done).ok_or(failure),
            Ok(Outcome::Busy) => return stale.map(Attempt::Done).ok_or_else(busy),
            Err(error) => {
                debug!(dir:% = cache.dir().display(), error:%; "the cache cannot be locked; asking AWS without it");
                None
            }
        };
        let is_for_list = matches!(self.purpose, Purpose::List);
        if is_for_list && cache.is_refresh_postponed(&self.identity.key) {
            return Err(postponed());
        }
        let refresh_deadline = self.deadline.min(Instant::now() + REFRESH_TIMEOUT);
        let deadline = if stale.is_some() { refresh_deadline } else { self.deadline };
        let requested = self.request(Some(cache), deadline).inspect(|attempt| {
            if let Attempt::Done(requested) = attempt {
                self.save(cache, requested);
            }
        });
        match (requested, leader) {
            // The leader's lock is released after the token is in the cache, where the waiting processes find it.
            (Ok(Attempt::Done(requested)), _) => Ok(Attempt::Done(requested.into())),
            (Ok(Attempt::SettingsChanged), _) => Ok(Attempt::SettingsChanged),
            (Err(failure), leader) => {
                if is_for_list {
                    self.postpone(cache);
                } else if let Some(leader) = leader {
                    leader.fail(&failure);
                }
                if stale.is_some() { self.serve_stale(cache, &look_up, failure) } else { Err(failure) }
            }
        }
    }

    /// Whether a stale token is served without a refresh.
    fn skips_refresh(&self, cache: &Cache) -> bool {
        let host = &self.target.host;
        if cache.is_refresh_postponed(&self.identity.key) {
            debug!(host; "token served from the cache; a recent refresh has failed");
            return true;
        }
        // A new token could not be cached, and a failed refresh could not be postponed for the next process.
        if cache.probe().is_err() {
            warn!(host; "the cache cannot be written; serving the cached token without a refresh");
            return true;
        }
        false
    }

    /// Serves the cached token after a failed refresh, if it is still valid: the refresh took time.
    fn serve_stale(
        &self,
        cache: &Cache,
        look_up: &dyn Fn() -> Cached,
        failure: Failure,
    ) -> Result<Attempt<IssuedToken>, Failure> {
        self.postpone(cache);
        match look_up() {
            Cached::Fresh(token) | Cached::Stale(token) | Cached::ExpiresSoon(token) => {
                warn!(host = self.target.host, why = failure.what; "cannot refresh the token; serving the cached one");
                Ok(Attempt::Done(token))
            }
            Cached::Missing => Err(failure),
        }
    }

    fn postpone(&self, cache: &Cache) {
        if let Err(error) = cache.postpone_refresh(&self.identity.key) {
            debug!(error:%; "the next refresh cannot be postponed");
        }
    }

    /// Requests a token from AWS, unless `cache` has one that the same credentials requested.
    fn request(&self, cache: Option<&Cache>, deadline: Instant) -> Result<Attempt<Requested>, Failure> {
        let Self { target, identity, .. } = *self;
        if let Source::Sso(_) = identity.source()
            // The leader before this one may have renewed the sign-in.
            && (!self.is_unchanged() || aws::renew_sign_in(target, identity, deadline)? == Renewal::Renewed)
        {
            return Ok(Attempt::SettingsChanged);
        }
        let reads_itself = matches!(identity.source(), Source::Login { .. } | Source::Process { .. });
        if !reads_itself && !identity.may_give_same_credentials() {
            let issued = aws::request_token(target, identity, deadline)?;
            return Ok(Attempt::Done(Requested::Issued(issued, Proof::of(identity))));
        }
        let watch = reads_itself.then(|| Watch::start(identity));
        let session = Session::open(target, identity, deadline)?;
        let mut proof = Proof::of(identity);
        match watch.filter(|_| proof == Proof::Complete).map_or(Touched::No, |watch| watch.touched()) {
            Touched::No => {}
            Touched::Yes if matches!(identity.source(), Source::Login { .. }) => return Ok(Attempt::SettingsChanged),
            Touched::Yes => {
                info!(host = target.host; "not cached: the settings of the credentials changed while they were resolved");
                proof = Proof::OfCredentials;
            }
            Touched::Unknown => {
                info!(host = target.host; "not cached: the settings of the credentials changed a moment ago");
                proof = Proof::OfCredentials;
            }
        }
        let entry = cache.zip(session.cache_key()).and_then(|(cache, key)| cache.look_up(key));
        if let Some(entry) = entry.filter(|entry| entry.freshness() == Freshness::Fresh) {
            debug!(host = target.host; "the credentials are those of a cached token");
            return Ok(Attempt::Done(Requested::Cached(entry, proof)));
        }
        session.request_token(deadline).map(|issued| Attempt::Done(Requested::Issued(issued, proof)))
    }

    /// Reads the cached token.
    fn look_up(&self, cache: &Cache) -> Cached {
        let Some(entry) = cache.look_up(&self.identity.key) else { return Cached::Missing };
        match entry.freshness() {
            Freshness::Fresh => {
                debug!(host = self.target.host; "token served from the cache");
                Cached::Fresh(entry.into())
            }
            Freshness::Stale if entry.expires_soon() => Cached::ExpiresSoon(entry.into()),
            Freshness::Stale => Cached::Stale(entry.into()),
            Freshness::Expired => Cached::Missing,
        }
    }

    fn log_cached(&self, cache: &Cache) {
        if let Some(entry) = cache.look_up(&self.identity.key) {
            log_entry(&entry);
        } else {
            debug!(host = self.target.host, dir:% = cache.dir().display(); "no cached token");
        }
    }

    fn is_unchanged(&self) -> bool {
        let now = Identity::of(self.env, self.target, self.deadline);
        now.is_ok_and(|now| now.key == self.identity.key)
    }

    fn save(&self, cache: &Cache, requested: &Requested) {
        let host = &self.target.host;
        let (entry, proof) = match requested {
            Requested::Cached(entry, proof) => (Some(entry.under(&self.identity.key.to_string())), *proof),
            Requested::Issued(issued, _) if !issued.is_from_expected_provider => {
                info!(host; "not cached: the credentials did not come from the provider that the settings lead to");
                return;
            }
            Requested::Issued(issued, proof) => (new_entry(self.identity, self.target, issued), *proof),
        };
        let Some(mut entry) = entry else {
            info!(host; "not cached: the token came expired or without an expiry time");
            return;
        };
        if proof == Proof::OfCredentials {
            let Some(credentials) = entry.credentials().map(str::to_owned) else { return };
            entry = entry.under(&credentials);
        }
        match cache.save(&entry) {
            Ok(()) => debug!(host; "token requested and cached"),
            Err(error) => {
                let dir = cache.dir().display();
                warn!(dir:%, error:%; "not cached: the cache cannot be written");
            }
        }
    }
}

/// A token that AWS was asked for.
enum Requested {
    Issued(Issued, Proof),
    /// The credentials had requested it before.
    Cached(Entry, Proof),
}

/// Whose token it is for certain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// That of the identity, and of its credentials.
    Complete,
    /// That of the credentials: the settings changed while these were resolved, or no hash describes them.
    OfCredentials,
}

impl Proof {
    fn of(identity: &Identity) -> Self {
        if identity.uncacheable.is_some() { Self::OfCredentials } else { Self::Complete }
    }
}

impl From<Requested> for IssuedToken {
    fn from(requested: Requested) -> Self {
        match requested {
            Requested::Issued(issued, _) => issued.into(),
            Requested::Cached(entry, _) => entry.into(),
        }
    }
}

/// A list asked AWS in vain some minutes ago.
fn postponed() -> Failure {
    Failure::new(
        Code::Busy,
        "a recent request failed, and the next one is made some minutes after it",
        "run 'docker-credential-ecr-login doctor', which names the cause",
    )
}

/// Another process was requesting the token until the deadline.
fn busy() -> Failure {
    Failure::new(
        Code::Busy,
        "another process was requesting this token from AWS until the time limit",
        "try again; with AWS_ECR_DISABLE_CACHE=1 the helper does not wait for other processes",
    )
}
