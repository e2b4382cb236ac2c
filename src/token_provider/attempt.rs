//! One attempt to get a token for one identity: the cache, the single flight, AWS.
//!
//! While a valid token is in the cache, a refresh is advisory, as in the AWS SDKs: one process tries it, for a short time. After
//! a failure no process tries again for some minutes, until the last tenth of the token's lifetime. The order of all this is
//! [`protocol`](crate::cache::protocol)'s.

use std::sync::Arc;
use std::time::Instant;

use log::{debug, info, warn};

use super::authenticator::{Authenticator, Stop};
use super::stored::{new_entry, proven};
use super::{IssuedToken, Purpose, log_entry};
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
    pub(super) fn without_entry(&self, cache: Option<&Cache>) -> Result<IssuedToken, Stop> {
        let (token, entry) = self.request(cache, self.deadline)?;
        if let (Some(cache), Some(entry)) = (cache, entry) {
            cache.save_or_warn(&entry);
        }
        Ok(token)
    }

    /// Serves the cached token, or requests a new one.
    pub(super) fn with_cache(&self, cache: &Cache) -> Result<IssuedToken, Stop> {
        self.log_cached(cache);
        let outcome = cache.single_flight(Flight {
            key: &self.identity.key,
            deadline: self.deadline,
            need: if matches!(self.purpose, Purpose::List) { Need::List } else { Need::Answer },
            look_up: &|| self.look_up(cache),
            request: &mut |deadline| match self.request(Some(cache), deadline) {
                Ok((token, entry)) => Reply::Issued(token, entry),
                Err(Stop::SettingsChanged) => Reply::SettingsChanged,
                Err(Stop::Failed(failure)) => Reply::Failed(failure),
            },
        });
        let host = &self.target.host;
        match outcome {
            Outcome::Cached(token, why) => {
                match why {
                    None => debug!(host; "token served from the cache"),
                    Some(why) => warn!(host, why = why.what; "cannot refresh the token; serving the cached one"),
                }
                Ok(token)
            }
            Outcome::Issued(token, _) => Ok(token),
            Outcome::SettingsChanged => Err(Stop::SettingsChanged),
            Outcome::Failed(failure) => Err(failure.into()),
            Outcome::Busy => Err(busy().into()),
        }
    }

    /// Requests a token from AWS, unless `cache` has one that the same credentials requested. Returns its entry, if it may be cached.
    fn request(&self, cache: Option<&Cache>, deadline: Instant) -> Result<(IssuedToken, Option<Entry>), Stop> {
        let host = &self.target.host;
        let (session, proof) = self.authenticator.resolve(self.identity, &[], deadline)?;
        let cached = cache.zip(session.cache_key()).and_then(|(cache, key)| cache.look_up(key));
        let cached = cached.filter(|entry| entry.freshness_within(self.target.max_age) == Freshness::Fresh);
        let (token, entry) = if let Some(entry) = cached {
            debug!(host; "the credentials are those of a cached token");
            let own = entry.under(&self.identity.key);
            (IssuedToken::cached(entry, self.target.max_age), Some(own))
        } else {
            let issued = session.request_token(deadline)?;
            let entry = new_entry(self.identity, self.target, &issued);
            if entry.is_none() {
                info!(host; "not cached: the token came expired or without an expiry time");
            }
            (IssuedToken::new(issued, self.target.max_age), entry)
        };
        Ok((token, entry.and_then(|entry| proven(entry, proof))))
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
        let token = IssuedToken::cached(entry, self.target.max_age);
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
}

/// Another process was requesting the token until the deadline.
pub(super) fn busy() -> Failure {
    Failure::new(
        Code::Busy,
        "another process was requesting this token from AWS until the time limit",
        "try again; with AWS_ECR_DISABLE_CACHE=1 the helper does not wait for other processes",
    )
}
