//! Reads the settings of a target, renews its sign-in, resolves its credentials, and starts over when the settings change
//! meanwhile. `get`, `login`, `doctor`, `setup` and `export` all do it here.

use std::cell::Cell;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, info};
use time::OffsetDateTime;

use super::stored::forget_if_refused;
use crate::aws::{Exchange, IssuedToken, MfaCode, Renewal, Session, SourceKeys};
use crate::cache::{Entry, Stop};
use crate::code::Code;
use crate::config::Target;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::{CacheKey, Identity, Watch};
use crate::platform;

/// The limit on attempts. A request starts over when the settings change while it runs.
pub const MOST_CHANGES: usize = 3;

/// Credentials, with those of the roles unless they are a [`SourceKeys`], and what their token may be cached for.
pub struct Resolved<S = Session> {
    pub(super) session: S,
    /// The key of the identity, or, if it is not proven whose credentials they are, that of the credentials themselves.
    pub(super) key: Option<CacheKey>,
}

impl Resolved<SourceKeys> {
    /// Assumes the roles, with the codes of MFA devices.
    pub(super) fn assume_roles(&self, codes: &[MfaCode], deadline: Instant) -> Result<Resolved, Failure> {
        Ok(Resolved { session: self.session.assume_roles(codes, deadline)?, key: self.key })
    }
}

impl Resolved {
    /// The entry for a token that these credentials have requested, or why it cannot be cached.
    pub(super) fn new_entry(&self, target: &Target, issued: &IssuedToken) -> Result<Entry, Failure> {
        let key = self.key.ok_or_else(|| {
            let what = "the settings changed while the credentials were resolved";
            Failure::new(Code::CacheUnused, what, "run the command again")
        })?;
        let (token, now) = (issued.token.clone(), OffsetDateTime::now_utc());
        let entry = issued.valid_for.and_then(|life| Entry::new(&key, &target.registry, token, life, now));
        let mut entry = entry.ok_or_else(|| {
            let what = "it came expired or without an expiry time";
            Failure::new(Code::TokenUncacheable, what, "check AWS_ENDPOINT_URL and the clock")
        })?;
        entry.credentials = self.session.cache_key().copied();
        entry.lasting_credentials = self.session.lasting_cache_key().copied();
        Ok(entry)
    }
}

/// How long a refused renewal waits for the sign-in of another process, which may have been given it and have to store it yet: services
/// accept each refresh token once, and neither the AWS CLI nor the SDK takes a lock.
const STORED_WITHIN: Duration = Duration::from_secs(1);

/// The settings changed during each attempt.
pub fn unsettled() -> Failure {
    Failure::new(
        Code::Busy,
        "the sign-in changed during each attempt",
        "try again when no other program renews the sign-in",
    )
}

/// The way from the settings of a target to its credentials.
pub struct Authenticator<'a> {
    env: &'a Env,
    target: &'a Target,
    exchange: Exchange,
    /// A service may give a sign-in that expires at once.
    has_renewed: Cell<bool>,
}

impl<'a> Authenticator<'a> {
    /// An authenticator whose requests are steps of `exchange`.
    pub fn new(env: &'a Env, target: &'a Target, exchange: Exchange) -> Self {
        platform::end_on_signals_as_first();
        Self { env, target, exchange, has_renewed: Cell::new(false) }
    }

    /// Reads the settings, and renews the sign-in if it expires soon.
    pub fn identity(&self, deadline: Instant) -> Result<Arc<Identity>, Failure> {
        let identity = self.read(deadline)?;
        let renewal = self.renew(&identity, deadline);
        match renewal.inspect_err(|failure| _ = forget_if_refused(self.env, &identity, None, failure))? {
            Renewal::Renewed => self.read(deadline),
            Renewal::Unchanged => Ok(identity),
        }
    }

    /// Asks STS for the account of the caller.
    pub fn account(&self, deadline: Instant) -> Result<String, Failure> {
        let identity = self.identity(deadline)?;
        let source = self.exchange.ask_source(self.target, &identity, deadline);
        let credentials = source.as_ref().ok().and_then(SourceKeys::cache_key);
        let session = source.as_ref().map_err(Clone::clone).and_then(|keys| keys.assume_roles(&[], deadline));
        let account = session.and_then(|session| session.account(deadline));
        account.inspect_err(|failure| _ = forget_if_refused(self.env, &identity, credentials, failure))
    }

    /// Repeats a step with the identity of the settings until these do not change meanwhile.
    pub fn repeat<T>(
        &self,
        deadline: Instant,
        mut step: impl FnMut(&Arc<Identity>) -> Result<T, Stop>,
    ) -> Result<(T, Arc<Identity>), Failure> {
        for _ in 0..MOST_CHANGES {
            let identity = self.read(deadline)?;
            match step(&identity) {
                Ok(result) => return Ok((result, identity)),
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::SettingsChanged) => {
                    debug!(host = self.target.host; "the settings have changed meanwhile; starting over");
                }
            }
        }
        Err(unsettled())
    }

    /// Resolves the credentials of an identity whose sign-in has been renewed, with the codes of MFA devices.
    pub fn resolve(&self, identity: &Arc<Identity>, codes: &[MfaCode], deadline: Instant) -> Result<Resolved, Stop> {
        let forget = |credentials: Option<&CacheKey>, failure: &Failure| {
            forget_if_refused(self.env, identity, credentials, failure);
        };
        let source = self.ask_source(identity, deadline).inspect_err(|stop| {
            if let Stop::Failed(failure) = stop {
                forget(None, failure);
            }
        })?;
        Ok(source.assume_roles(codes, deadline).inspect_err(|failure| forget(source.session.cache_key(), failure))?)
    }

    /// The same up to the source, before the roles. A refusal is for the caller to act on.
    pub(super) fn ask_source(&self, identity: &Arc<Identity>, deadline: Instant) -> Result<Resolved<SourceKeys>, Stop> {
        let watch = identity.source().reads_itself().then(|| Watch::start(identity));
        self.exchange.preconnect(self.target, identity, deadline)?;
        let session = self.exchange.ask_source(self.target, identity, deadline);
        let session = session.map_err(|failure| self.stop(identity, failure, deadline))?;
        let is_cacheable = identity.uncacheable.is_none();
        if is_cacheable && watch.is_none_or(|watch| watch.saw_nothing()) {
            return Ok(Resolved { session, key: Some(identity.key) });
        }
        if is_cacheable {
            let when = "while they were resolved or a moment before";
            info!(host = self.target.host; "not cached: settings of the credentials or files beside them changed {when}");
        }
        Ok(Resolved { key: session.cache_key().copied(), session })
    }

    /// What a failure to resolve credentials means.
    fn stop(&self, identity: &Identity, failure: Failure, deadline: Instant) -> Stop {
        let source = identity.source();
        let is_over = matches!(failure.code, Code::SsoExpired | Code::LoginExpired);
        // For that of an expired one, its renewal has waited.
        let is_refused = source.needs_renewal() && !source.is_expired();
        let is_replaced = is_over && self.is_replaced(identity, is_refused, deadline);
        if is_replaced { Stop::SettingsChanged } else { failure.into() }
    }

    fn read(&self, deadline: Instant) -> Result<Arc<Identity>, Failure> {
        Identity::read(self.env, self.target, deadline).map(Arc::new)
    }

    /// Renews the sign-in once, if it expires soon. Another process may have renewed it since the settings were read.
    pub(super) fn renew(&self, identity: &Arc<Identity>, deadline: Instant) -> Result<Renewal, Failure> {
        if self.has_renewed.get() || !identity.source().needs_renewal() {
            return Ok(Renewal::Unchanged);
        }
        self.has_renewed.set(true);
        if self.read(deadline)?.key != identity.key {
            return Ok(Renewal::Renewed);
        }
        let renewal = self.exchange.renew_sign_in(self.target, identity, deadline);
        let is_over = identity.source().is_expired() && !matches!(renewal, Ok(Renewal::Renewed));
        let is_refused = renewal.as_ref().map_or_else(|failure| failure.is_refusal, |_| true);
        if is_over && self.is_replaced(identity, is_refused, deadline) { Ok(Renewal::Renewed) } else { renewal }
    }

    /// Whether another sign-in has taken the place of one. What a service answered to the old one says nothing about it.
    fn is_replaced(&self, old: &Identity, is_refused: bool, deadline: Instant) -> bool {
        let until = deadline.min(Instant::now() + if is_refused { STORED_WITHIN } else { Duration::ZERO });
        loop {
            if !old.holds() && self.read(deadline).is_ok_and(|now| !now.source().is_expired()) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
