//! One attempt to get a token for one identity: the cache, the single flight, AWS.
//!
//! While a valid token is in the cache, a refresh is advisory, as in the AWS SDKs: one process tries it, for a short time. After
//! a failure no process tries again for some minutes, until the last tenth of the token's lifetime. The order of all this is
//! [`protocol`](crate::cache::protocol)'s.

use std::sync::Arc;
use std::time::Instant;

use log::{debug, info, warn};

use super::authenticator::{Attempt, Authenticator, Proof};
use super::stored::{new_entry, proven};
use super::{IssuedToken, Purpose, log_entry};
use crate::aws::Issued;
use crate::cache::{Cache, Cached, Entry, Flight, Freshness, Need, Outcome, Reply};
use crate::code::Code;
use crate::config::Target;
use crate::error::Failure;
use crate::identity::Identity;

/// A request for a token, as one identity.
pub(super) struct TokenRequest<'a> {
    pub(super) authenticator: &'a Authenticator<'a>,
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
            Outcome::Issued(token, _) => Ok(Attempt::Done(token)),
            Outcome::SettingsChanged => Ok(Attempt::SettingsChanged),
            Outcome::Failed(failure) => Err(failure),
            Outcome::Busy => Err(busy()),
        }
    }

    /// Requests a token from AWS, unless `cache` has one that the same credentials requested.
    fn request(&self, cache: Option<&Cache>, deadline: Instant) -> Result<Attempt<Requested>, Failure> {
        let Attempt::Done((session, proof)) = self.authenticator.resolve(self.identity, &[], deadline)? else {
            return Ok(Attempt::SettingsChanged);
        };
        let entry = cache.zip(session.cache_key()).and_then(|(cache, key)| cache.look_up(key));
        if let Some(entry) = entry.filter(|entry| entry.freshness_within(self.target.max_age) == Freshness::Fresh) {
            debug!(host = self.target.host; "the credentials are those of a cached token");
            return Ok(Attempt::Done(Requested::Cached(entry, proof)));
        }
        session.request_token(deadline).map(|issued| Attempt::Done(Requested::Issued(issued, proof)))
    }

    /// Reads the cached token.
    fn look_up(&self, cache: &Cache) -> Option<(Cached, IssuedToken)> {
        let entry = cache.look_up(&self.identity.key)?;
        let cached = match entry.freshness_within(self.target.max_age) {
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
        proven(entry, proof)
    }
}

/// A token that AWS was asked for.
enum Requested {
    Issued(Issued, Proof),
    /// The credentials had requested it before.
    Cached(Entry, Proof),
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
