//! One attempt to get a token for one identity: the cache, the single flight, AWS.
//!
//! The source of the credentials is asked within the flight of the identity. The roles are assumed, and ECR is asked, within that of the
//! keys that the source gave: who has a token by the same keys and the same roles asks neither STS nor ECR.
//!
//! While a valid token is in the cache, a refresh is advisory, as in the AWS SDKs: one process tries it, for a short time. After
//! a failure no process tries again for some minutes, until the last tenth of the token's lifetime. The order of all this is
//! [`protocol`](crate::cache::protocol)'s.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use super::authenticator::{Authenticator, Resolved};
use super::{IssuedToken, Purpose, log_entry};
use crate::aws::{Renewal, SourceKeys};
use crate::cache::{Cache, Entry, Flight, Freshness, Need, Outcome, Stop};
use crate::code::Code;
use crate::config::Target;
use crate::identity::{CacheKey, Identity};

/// How long the renewal of a sign-in may take while a valid token is in the cache. One that is cut off has used up the token of the next
/// one, so that the person would have to sign in again.
const RENEWAL: Duration = Duration::from_secs(5);

/// A request for a token, as one identity.
pub(super) struct TokenRequest<'a> {
    pub(super) authenticator: &'a Authenticator<'a>,
    pub(super) target: &'a Target,
    pub(super) identity: &'a Arc<Identity>,
    pub(super) deadline: Instant,
    pub(super) purpose: Purpose<'a>,
    /// Whether the log has the cached token.
    pub(super) is_logged: Cell<bool>,
}

impl TokenRequest<'_> {
    /// Asks AWS. A token that is not cached for the identity may still be one that `cache` has for its credentials.
    pub(super) fn without_entry(&self, cache: Option<&Cache>) -> Result<IssuedToken, Stop> {
        Ok(self.request(cache, self.deadline)?.0)
    }

    /// Serves the cached token, or requests a new one.
    pub(super) fn with_cache(&self, cache: &Cache) -> Result<IssuedToken, Stop> {
        let request = |deadline| self.request(Some(cache), deadline);
        let host = &self.target.host;
        match self.flight(cache, &self.identity.key, self.deadline, request)? {
            Outcome::Cached((token, _), why) => {
                match why {
                    None => debug!(host; "token served from the cache"),
                    Some(why) => warn!(host, why = why.what; "cannot refresh the token; serving the cached one"),
                }
                Ok(token)
            }
            Outcome::Issued((token, _), _) => Ok(token),
        }
    }

    /// Requests a token from AWS, unless `cache` has one that the same credentials requested. Returns its entry, if it may be cached and
    /// is not yet.
    fn request(&self, cache: Option<&Cache>, deadline: Instant) -> Result<Requested, Stop> {
        let renewed_by = deadline.max(self.deadline.min(Instant::now() + RENEWAL));
        if self.authenticator.renew(self.identity, renewed_by)? == Renewal::Renewed {
            return Err(Stop::SettingsChanged);
        }
        let source = self.authenticator.ask_source(self.identity, deadline)?;
        let Some((cache, credentials)) = cache.zip(source.session.cache_key()) else {
            return self.issue(&source, deadline);
        };
        let host = &self.target.host;
        let max_age = self.target.max_age;
        if let Some(entry) = cache.of_lasting(credentials, max_age) {
            debug!(host; "the credentials are those of a cached token, and stand in other settings");
            return Ok((IssuedToken::cached(entry.clone(), max_age), source.key.map(|key| entry.under(&key))));
        }
        // Of all identities with these keys and roles, one asks.
        match self.flight(cache, credentials, deadline, |deadline| self.issue(&source, deadline))? {
            Outcome::Issued((token, _), _) => Ok((token, None)),
            // The flight of this identity serves its own token, and postpones its next refresh.
            Outcome::Cached((_, Some(entry)), Some(why))
                if entry.freshness() != Freshness::Fresh && self.look_up(cache, &self.identity.key).is_some() =>
            {
                Err(why.into())
            }
            Outcome::Cached((token, entry), why) => {
                match why {
                    None => debug!(host; "the credentials are those of a cached token"),
                    Some(why) => {
                        warn!(host, why = why.what; "no new token; serving the cached one of the same credentials");
                    }
                }
                Ok((token, entry.zip(source.key).map(|(entry, key)| entry.under(&key))))
            }
        }
    }

    /// Gets the token of a key from the cache, with its entry, or from `request`.
    fn flight(
        &self,
        cache: &Cache,
        key: &CacheKey,
        deadline: Instant,
        request: impl Fn(Instant) -> Result<Requested, Stop>,
    ) -> Result<Outcome<Requested>, Stop> {
        cache.single_flight(Flight {
            key,
            saved_for: &self.identity.key,
            deadline,
            need: if matches!(self.purpose, Purpose::List) { Need::List } else { Need::Answer },
            look_up: &|| {
                let (freshness, entry) = self.look_up(cache, key)?;
                Some((freshness, (IssuedToken::cached(entry.clone(), self.target.max_age), Some(entry))))
            },
            request: &mut |deadline| request(deadline).map(|(token, entry)| ((token, None), entry)),
        })
    }

    fn issue(&self, source: &Resolved<SourceKeys>, deadline: Instant) -> Result<Requested, Stop> {
        let resolved = source.assume_roles(&[], deadline)?;
        let issued = resolved.session.request_token(deadline)?;
        let entry = resolved.new_entry(self.target, &issued);
        if entry.as_ref().is_err_and(|why| why.code == Code::TokenUncacheable) {
            info!(host = self.target.host; "not cached: the token came expired or without an expiry time");
        }
        Ok((issued.within(self.target.max_age), entry.ok()))
    }

    /// The entry of a key, if it may be served, and how fresh it is. A valid one that is to be refreshed may be served before that.
    fn look_up(&self, cache: &Cache, key: &CacheKey) -> Option<(Freshness, Entry)> {
        let entry = cache.look_up(key);
        if *key == self.identity.key && !self.is_logged.replace(true) {
            match &entry {
                Some(entry) => log_entry(entry),
                None => debug!(host = self.target.host, dir:% = cache.dir().display(); "no cached token"),
            }
        }
        let entry = entry?;
        let freshness = entry.freshness_within(self.target.max_age);
        match (self.purpose, freshness) {
            (_, Freshness::Expired) => return None,
            (Purpose::Answer(on_stale), Freshness::Stale | Freshness::ExpiresSoon) => on_stale(&entry.token),
            _ => {}
        }
        Some((freshness, entry))
    }
}

/// A token, and its entry if it is one of the cache or may become one.
type Requested = (IssuedToken, Option<Entry>);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use crate::cache::Entry;
    use crate::identity::CacheKey;
    use crate::registry::Registry;
    use crate::token::Token;
    use crate::token_provider::IssuedToken;

    const MINUTE: Duration = Duration::from_mins(1);

    /// An entry that lives for ten minutes, and was created this long ago.
    fn entry(age: Duration) -> Entry {
        let token = Token::decode("QVdTOnBhc3N3b3Jk").expect("AWS:password");
        let registry = Registry::parse("111122223333.dkr.ecr.us-east-1.amazonaws.com").expect("a registry");
        let created_at = OffsetDateTime::now_utc() - age;
        Entry::new(&CacheKey::of("identity"), &registry, token, 10 * MINUTE, created_at).expect("an entry")
    }

    #[test]
    fn a_client_is_told_what_is_left_of_the_token_or_of_the_greatest_age() {
        for (minutes, max_age, left) in
            [(0, None, 10), (4, None, 6), (4, Some(5), 1), (4, Some(60), 6), (4, Some(2), 0)]
        {
            let token = IssuedToken::cached(entry(minutes * MINUTE), max_age.map(|minutes| minutes * MINUTE));
            let valid_for = token.valid_for.expect("a time");
            assert!(valid_for <= left * MINUTE && valid_for + MINUTE > left * MINUTE, "{minutes}: {valid_for:?}");
        }
    }
}
