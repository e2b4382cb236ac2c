//! One attempt to get a token for one identity: the cache, the single flight, AWS.
//!
//! While a valid token is in the cache, a refresh is advisory, as in the AWS SDKs: one process tries it, for a short time. After
//! a failure no process tries again for some minutes, until the last tenth of the token's lifetime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::{IssuedToken, log_entry, new_entry};
use crate::aws::{self, Issued, Renewal, Session};
use crate::cache::{Cache, Freshness, Outcome};
use crate::code::Code;
use crate::config::Target;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::{Identity, Source};
use crate::token::Token;

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
    /// Gets a valid token before its refresh is tried.
    pub(super) on_stale: &'a dyn Fn(&Token),
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
    pub(super) fn without_cache(&self) -> Result<Attempt<IssuedToken>, Failure> {
        if aws::renew_sign_in(self.target, self.identity, self.deadline)? == Renewal::Renewed {
            return Ok(Attempt::SettingsChanged);
        }
        Ok(Attempt::Done(aws::request_token(self.target, self.identity, self.deadline)?.into()))
    }

    pub(super) fn with_cache(&self, cache: &Cache) -> Result<Attempt<IssuedToken>, Failure> {
        if !self.env.verifies_identity() {
            return self.with_cache_of(cache, None);
        }
        // Strict mode: an entry counts only if the access key that the credentials have now requested it.
        match self.open_session(self.deadline)? {
            Attempt::Done(session) => self.with_cache_of(cache, Some(session)),
            Attempt::SettingsChanged => Ok(Attempt::SettingsChanged),
        }
    }

    /// Serves the cached token, which the access key of `session` requested where one is given, or requests a new one.
    fn with_cache_of(&self, cache: &Cache, session: Option<Session>) -> Result<Attempt<IssuedToken>, Failure> {
        self.log_cached(cache);
        let access_key = session.as_ref().map(|session| session.access_key_id().to_owned());
        let look_up = || self.look_up(cache, access_key.as_deref());
        let stale = match look_up() {
            Cached::Fresh(token) => return Ok(Attempt::Done(token)),
            Cached::Stale(token) if self.skips_refresh(cache) => return Ok(Attempt::Done(token)),
            Cached::Stale(token) | Cached::ExpiresSoon(token) => {
                (self.on_stale)(&token.token);
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
        let refresh_deadline = self.deadline.min(Instant::now() + REFRESH_TIMEOUT);
        let deadline = if stale.is_some() { refresh_deadline } else { self.deadline };
        let requested = self.request(session, deadline).inspect(|attempt| {
            if let Attempt::Done(issued) = attempt {
                self.save(cache, issued);
            }
        });
        match (requested, leader) {
            // The leader's lock is released after the token is in the cache, where the waiting processes find it.
            (Ok(Attempt::Done(issued)), _) => Ok(Attempt::Done(issued.into())),
            (Ok(Attempt::SettingsChanged), _) => Ok(Attempt::SettingsChanged),
            (Err(failure), leader) => {
                if let Some(leader) = leader {
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
        if let Err(error) = cache.postpone_refresh(&self.identity.key) {
            debug!(error:%; "the next refresh cannot be postponed");
        }
        match look_up() {
            Cached::Fresh(token) | Cached::Stale(token) | Cached::ExpiresSoon(token) => {
                warn!(host = self.target.host, why = failure.what; "cannot refresh the token; serving the cached one");
                Ok(Attempt::Done(token))
            }
            Cached::Missing => Err(failure),
        }
    }

    /// Requests a token from AWS.
    fn request(&self, session: Option<Session>, deadline: Instant) -> Result<Attempt<Issued>, Failure> {
        let Self { target, identity, .. } = *self;
        if let Some(session) = session {
            return session.request_token(deadline).map(Attempt::Done);
        }
        match identity.source() {
            // The leader before this one may have renewed the sign-in.
            Source::Sso(_)
                if !self.is_unchanged() || aws::renew_sign_in(target, identity, deadline)? == Renewal::Renewed =>
            {
                Ok(Attempt::SettingsChanged)
            }
            Source::Login { .. } => match self.open_session(deadline)? {
                Attempt::Done(session) => session.request_token(deadline).map(Attempt::Done),
                Attempt::SettingsChanged => Ok(Attempt::SettingsChanged),
            },
            _ => aws::request_token(target, identity, deadline).map(Attempt::Done),
        }
    }

    /// Resolves the credentials.
    fn open_session(&self, deadline: Instant) -> Result<Attempt<Session>, Failure> {
        let Self { target, identity, .. } = *self;
        if aws::renew_sign_in(target, identity, deadline)? == Renewal::Renewed {
            return Ok(Attempt::SettingsChanged);
        }
        let session = Session::open(target, identity, deadline)?;
        Ok(if self.is_unchanged() { Attempt::Done(session) } else { Attempt::SettingsChanged })
    }

    /// Reads the cached token, which `access_key` requested where one is given.
    fn look_up(&self, cache: &Cache, access_key: Option<&str>) -> Cached {
        let entry = cache.look_up(&self.identity.key);
        let entry = entry.filter(|entry| access_key.is_none_or(|access_key| entry.is_of(access_key)));
        let Some(entry) = entry else { return Cached::Missing };
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

    fn save(&self, cache: &Cache, issued: &Issued) {
        let host = &self.target.host;
        if !issued.is_from_expected_provider {
            info!(host; "not cached: the credentials did not come from the provider that the settings lead to");
            return;
        }
        // The SDK reads the settings of these sources itself, and may have read others than those in the cache key.
        if matches!(self.identity.source(), Source::Process { .. } | Source::Container) && !self.is_unchanged() {
            info!(host; "not cached: the settings of the credentials changed while they were resolved");
            return;
        }
        let Some(entry) = new_entry(self.identity, issued) else {
            info!(host; "not cached: the token came expired or without an expiry time");
            return;
        };
        match cache.save(&entry) {
            Ok(()) => debug!(host; "token requested and cached"),
            Err(error) => {
                let dir = cache.dir().display();
                warn!(dir:%, error:%; "not cached: the cache cannot be written");
            }
        }
    }
}

/// Another process was requesting the token until the deadline.
fn busy() -> Failure {
    Failure::new(
        Code::Busy,
        "another process was requesting this token from AWS until the time limit",
        "try again; with AWS_ECR_DISABLE_CACHE=1 the helper does not wait for other processes",
    )
}
