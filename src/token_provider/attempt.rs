//! One attempt to get a token for one identity: the cache, the single flight, AWS.
//!
//! While a valid token is in the cache, a refresh is advisory, as in the AWS SDKs: one process tries it, for a short time. After
//! a failure no process tries again for some minutes, until the last tenth of the token's lifetime. The order of all this is
//! [`protocol`](crate::cache::protocol)'s.

use std::sync::Arc;
use std::time::Instant;

use log::{debug, info, warn};

use super::{IssuedToken, Purpose, log_entry, new_entry};
use crate::aws::{self, Issued, Renewal, Session};
use crate::cache::{Cache, Cached, Entry, Flight, Freshness, Need, Outcome, Reply};
use crate::code::Code;
use crate::config::Target;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::{Identity, Source, Touched, Watch};

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

impl TokenRequest<'_> {
    /// Asks AWS. A token that is not cached for the identity may still be one that `cache` has for its credentials.
    pub(super) fn without_entry(&self, cache: Option<&Cache>) -> Result<Attempt<IssuedToken>, Failure> {
        Ok(match self.request(cache, self.deadline)? {
            Attempt::Done(requested) => {
                if let (Some(cache), Some(entry)) = (cache, self.cacheable(&requested)) {
                    cache.save_or_warn(&entry);
                }
                Attempt::Done(requested.into())
            }
            Attempt::SettingsChanged => Attempt::SettingsChanged,
        })
    }

    /// Serves the cached token, or requests a new one.
    pub(super) fn with_cache(&self, cache: &Cache) -> Result<Attempt<IssuedToken>, Failure> {
        self.log_cached(cache);
        let outcome = cache.single_flight(Flight {
            key: &self.identity.key,
            deadline: self.deadline,
            need: if matches!(self.purpose, Purpose::List) { Need::List } else { Need::Answer },
            look_up: &|| self.look_up(cache),
            request: &mut |deadline| match self.request(Some(cache), deadline) {
                Ok(Attempt::Done(requested)) => {
                    let entry = self.cacheable(&requested);
                    Reply::Issued(requested.into(), entry)
                }
                Ok(Attempt::SettingsChanged) => Reply::SettingsChanged,
                Err(failure) => Reply::Failed(failure),
            },
        });
        let host = &self.target.host;
        match outcome {
            Outcome::Cached(token, None) => {
                debug!(host; "token served from the cache");
                Ok(Attempt::Done(token))
            }
            Outcome::Cached(token, Some(failure)) => {
                warn!(host, why = failure.what; "cannot refresh the token; serving the cached one");
                Ok(Attempt::Done(token))
            }
            Outcome::Issued(token) => Ok(Attempt::Done(token)),
            Outcome::SettingsChanged => Ok(Attempt::SettingsChanged),
            Outcome::Failed(failure) => Err(failure),
            Outcome::Busy => Err(busy()),
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
    fn look_up(&self, cache: &Cache) -> Option<(Cached, IssuedToken)> {
        let entry = cache.look_up(&self.identity.key)?;
        let cached = match entry.freshness() {
            Freshness::Fresh => Cached::Fresh,
            Freshness::Stale if entry.expires_soon() => Cached::ExpiresSoon,
            Freshness::Stale => Cached::Stale,
            Freshness::Expired => return None,
        };
        let token = IssuedToken::from(entry);
        if let (Purpose::Answer(on_stale), true) = (self.purpose, cached != Cached::Fresh) {
            on_stale(&token.token);
        }
        Some((cached, token))
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

    /// The entry for a token, if it may be cached.
    fn cacheable(&self, requested: &Requested) -> Option<Entry> {
        let host = &self.target.host;
        let (entry, proof) = match requested {
            Requested::Cached(entry, proof) => (Some(entry.under(&self.identity.key.to_string())), *proof),
            Requested::Issued(issued, _) if !issued.is_from_expected_provider => {
                info!(host; "not cached: the credentials did not come from the provider that the settings lead to");
                return None;
            }
            Requested::Issued(issued, proof) => (new_entry(self.identity, self.target, issued), *proof),
        };
        let Some(entry) = entry else {
            info!(host; "not cached: the token came expired or without an expiry time");
            return None;
        };
        match proof {
            Proof::Complete => Some(entry),
            Proof::OfCredentials => Some(entry.under(entry.credentials()?)),
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

/// Another process was requesting the token until the deadline.
pub(super) fn busy() -> Failure {
    Failure::new(
        Code::Busy,
        "another process was requesting this token from AWS until the time limit",
        "try again; with AWS_ECR_DISABLE_CACHE=1 the helper does not wait for other processes",
    )
}
