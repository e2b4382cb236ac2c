//! One round of asking for a token, for one identity: the cache, the turn to ask AWS, AWS.
//!
//! While a valid token is at hand, a refresh is advisory, as in the AWS SDKs: one process tries it, for a short time, and after a
//! failure nobody tries again for some minutes, until the last tenth of the token's life.

use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tracing::{debug, info, warn};

use super::{IssuedToken, log_entry};
use crate::aws::{self, Issued, Session};
use crate::cache::{Cache, Entry, Freshness, Outcome};
use crate::code::Code;
use crate::config::Target;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::{Identity, Source};
use crate::token::Token;

/// How long a refresh may take while a valid token is at hand: its user waits for nothing that they need.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(1500);

/// What came of one round.
pub(super) enum Attempt {
    Issued(IssuedToken),
    /// The settings are others now.
    SettingsChanged,
}

/// One identity that asks for a token.
pub(super) struct TokenRequest<'a> {
    pub(super) env: &'a Env,
    pub(super) target: &'a Target,
    pub(super) identity: &'a Arc<Identity>,
    pub(super) deadline: Instant,
    /// Gets a valid token before its refresh is tried.
    pub(super) hold: &'a dyn Fn(&Token),
}

/// What the cache has for an identity.
enum Cached {
    Fresh(IssuedToken),
    /// Whether a refresh may be left for later.
    Stale(IssuedToken, bool),
    Nothing,
}

impl TokenRequest<'_> {
    pub(super) fn without_cache(&self) -> Result<Attempt, Failure> {
        if aws::renew_sign_in(self.target, self.identity, self.deadline)? {
            return Ok(Attempt::SettingsChanged);
        }
        Ok(Attempt::Issued(aws::request_token(self.target, self.identity, self.deadline)?.into()))
    }

    pub(super) fn with_cache(&self, cache: &Cache) -> Result<Attempt, Failure> {
        let Self { env, target, identity, deadline, hold } = *self;
        // Strict mode: the credentials first, and an entry counts only when the same access key asked for it.
        let mut session = None;
        if env.verifies_identity() {
            session = self.open_session(deadline)?;
            if session.is_none() {
                return Ok(Attempt::SettingsChanged);
            }
        }
        if let Some(entry) = cache.look_up(&identity.key) {
            log_entry(&entry);
        } else {
            debug!(host = target.host, dir = %cache.dir().display(), "no cached token");
        }
        let access_key = session.as_ref().map(|session| session.access_key_id().to_owned());
        let look_up = || self.look_up(cache, access_key.as_deref());
        let stale = match look_up() {
            Cached::Fresh(grant) => return Ok(Attempt::Issued(grant)),
            Cached::Stale(grant, true) if cache.is_refresh_postponed(&identity.key) => {
                debug!(host = target.host, "token served from the cache; its refresh has failed lately");
                return Ok(Attempt::Issued(grant));
            }
            // A new token could not be kept, nor could others be told that the refresh failed.
            Cached::Stale(grant, true) if cache.probe().is_err() => {
                warn!(host = target.host, "the cache cannot be written; serving the cached token without a refresh");
                return Ok(Attempt::Issued(grant));
            }
            Cached::Stale(grant, _) => {
                hold(&grant.token);
                Some(grant)
            }
            Cached::Nothing => None,
        };
        let fresh = || match look_up() {
            Cached::Fresh(grant) => Some(grant),
            _ => None,
        };
        // With a valid token at hand nobody is waited for.
        let wait_until = stale.is_none().then_some(deadline);
        let leader = match cache.single_flight(&identity.key, wait_until, fresh) {
            Ok(Outcome::Ask(leader)) => leader,
            Ok(Outcome::Found(grant)) => return Ok(Attempt::Issued(grant)),
            Ok(Outcome::Failed(failure)) => return Err(failure),
            Ok(Outcome::Busy) => return stale.map(Attempt::Issued).ok_or_else(busy),
            Err(error) => {
                debug!(dir = %cache.dir().display(), %error, "the cache cannot be locked; asking AWS without it");
                None
            }
        };
        let soon = Instant::now() + REFRESH_TIMEOUT;
        let by = if stale.is_some() { deadline.min(soon) } else { deadline };
        match self.ask(session, by) {
            Ok(issued) => {
                if let Some(issued) = &issued {
                    self.save(cache, issued);
                }
                // Whoever waits now finds the token in the cache.
                drop(leader);
                Ok(issued.map_or(Attempt::SettingsChanged, |issued| Attempt::Issued(issued.into())))
            }
            Err(failure) => {
                if let Some(leader) = leader {
                    leader.fail(&failure);
                }
                if stale.is_some() { self.serve_stale(cache, &look_up, failure) } else { Err(failure) }
            }
        }
    }

    /// After a refresh that failed: the cached token, if it is valid still. TokenRequest took time, so it is looked up again.
    fn serve_stale(&self, cache: &Cache, look_up: &dyn Fn() -> Cached, failure: Failure) -> Result<Attempt, Failure> {
        if let Err(error) = cache.postpone_refresh(&self.identity.key) {
            debug!(%error, "the next refresh cannot be postponed");
        }
        match look_up() {
            Cached::Fresh(grant) | Cached::Stale(grant, _) => {
                warn!(host = self.target.host, why = failure.what, "cannot refresh the token; serving the cached one");
                Ok(Attempt::Issued(grant))
            }
            Cached::Nothing => Err(failure),
        }
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
                let session = self.open_session(deadline)?;
                return session.map(|session| session.request_token(deadline)).transpose();
            }
            _ => {}
        }
        aws::request_token(target, identity, deadline).map(Some)
    }

    /// Resolves the credentials; `None` when the settings are others now.
    fn open_session(&self, deadline: Instant) -> Result<Option<Session>, Failure> {
        let Self { target, identity, .. } = *self;
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
        match entry.freshness() {
            Freshness::Fresh => {
                debug!(host = self.target.host, "token served from the cache");
                Cached::Fresh(entry.into())
            }
            Freshness::Stale => {
                let can_wait = !entry.ends_soon();
                Cached::Stale(entry.into(), can_wait)
            }
            Freshness::Expired => Cached::Nothing,
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
        let now = OffsetDateTime::now_utc();
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

/// Another process has been asking for all the time that there was.
fn busy() -> Failure {
    Failure::new(
        Code::Busy,
        "another process has been asking AWS for this token all the time",
        "try again; AWS_ECR_DISABLE_CACHE=1 asks without waiting for it",
    )
}
