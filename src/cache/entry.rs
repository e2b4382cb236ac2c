//! One cached token: its format on disk, and how long it may be served.
//!
//! The format is JSON with a format number. An entry of another format, of another key, or with times that no token of ECR can
//! have counts as absent. [`Entry::freshness`] decides the token's age.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;
use zeroize::Zeroizing;

use crate::identity::CacheKey;
use crate::platform;
use crate::registry::{Account, Region, Registry};
use crate::token::Token;

/// Raised when the meaning of a field changes; entries of another format are misses.
const FORMAT: u32 = 4;

/// The lifetime of a token of ECR (Amazon ECR API reference, GetAuthorizationToken). An entry with a longer one was written by
/// another program, or while the clock was wrong.
const LONGEST_LIFETIME: Duration = Duration::from_hours(12);

/// The content of one cache file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    format: u32,
    /// The key that it was saved under, which detects a copied or renamed file.
    pub key: CacheKey,
    /// Whether the token opens ECR Public, or private registries.
    is_public: bool,
    /// The region whose registries the token opens.
    region: Region,
    /// The token.
    pub token: Token,
    /// The key of the credentials that requested it, by source and roles, where another identity may be given the same ones. The
    /// token has a second entry of that key.
    pub credentials: Option<CacheKey>,
    /// The same where the credentials stand in the settings. There is no second entry for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasting_credentials: Option<CacheKey>,
    /// When the token was issued, to the second.
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
    /// When it expires, by the wall clock.
    #[serde(with = "rfc3339")]
    pub expires_at: OffsetDateTime,
    /// Seconds since boot when it was created, where the system counts them. Unlike the wall clock, this clock cannot be set.
    made_at_uptime: Option<u64>,
}

/// What may be done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Less than half of its lifetime has passed: it is served as it is.
    Fresh,
    /// Still valid, but to be refreshed: it is served only when the refresh fails.
    Stale,
    /// The same, in the last tenth of its lifetime.
    ExpiresSoon,
    /// Expired, or created in the future: it is never served, as if there were none.
    Expired,
}

impl Entry {
    /// An entry for a token for `registry` that was issued at `now` for `lifetime`; `None` when that is less than a second.
    pub fn new(
        key: &CacheKey,
        registry: &Registry,
        token: Token,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Option<Self> {
        let created_at = now.replace_nanosecond(0).expect("less than a second");
        let lifetime = Duration::from_secs(lifetime.min(LONGEST_LIFETIME).as_secs());
        (!lifetime.is_zero()).then(|| Self {
            format: FORMAT,
            key: *key,
            is_public: registry.is_public(),
            region: registry.region(),
            token,
            credentials: None,
            lasting_credentials: None,
            created_at,
            expires_at: created_at + lifetime,
            made_at_uptime: platform::seconds_since_boot(),
        })
    }

    /// Reads an entry that was saved under `key`; `None` for anything else.
    pub fn decode(bytes: &[u8], key: &CacheKey) -> Option<Self> {
        let entry: Self = serde_json::from_slice(bytes).ok()?;
        let usable = entry.format == FORMAT && entry.key == *key && entry.token.is_usable();
        let lifetime = entry.expires_at - entry.created_at;
        (usable && lifetime.is_positive() && lifetime <= LONGEST_LIFETIME).then_some(entry)
    }

    /// The bytes to write; they hold the token and are zeroed when dropped.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec(self).expect("strings and numbers always serialise"))
    }

    /// How fresh it is now.
    pub fn freshness(&self) -> Freshness {
        self.freshness_at(OffsetDateTime::now_utc(), platform::seconds_since_boot())
    }

    /// The same for who accepts no entry older than `max_age`.
    pub fn freshness_within(&self, max_age: Option<Duration>) -> Freshness {
        if max_age.is_some_and(|max_age| self.age() >= max_age) { Freshness::Expired } else { self.freshness() }
    }

    /// How much longer it is valid.
    pub fn remaining(&self) -> Duration {
        self.lifetime().saturating_sub(self.age())
    }

    /// How long ago it was created; its whole lifetime when that is in the future.
    pub fn age(&self) -> Duration {
        let age = self.age_at(OffsetDateTime::now_utc(), platform::seconds_since_boot());
        age.unwrap_or(self.lifetime())
    }

    fn lifetime(&self) -> Duration {
        (self.expires_at - self.created_at).unsigned_abs()
    }

    /// Its age by the wall clock, or by the time since boot where that is longer: a wall clock can be set back. After a reboot
    /// the time since boot is the shorter one. `None` when it was created in the future.
    fn age_at(&self, now: OffsetDateTime, uptime: Option<u64>) -> Option<Duration> {
        let age = Duration::try_from(now - self.created_at).ok()?;
        let since_boot = uptime.zip(self.made_at_uptime).and_then(|(now, then)| now.checked_sub(then));
        Some(age.max(Duration::from_secs(since_boot.unwrap_or(0))))
    }

    /// How fresh it is at `now`, which is `uptime` seconds after boot.
    pub fn freshness_at(&self, now: OffsetDateTime, uptime: Option<u64>) -> Freshness {
        let lifetime = self.lifetime();
        match self.age_at(now, uptime) {
            Some(age) if age < lifetime / 2 => Freshness::Fresh,
            Some(age) if age < lifetime.saturating_sub(lifetime / 10) => Freshness::Stale,
            Some(age) if age < lifetime => Freshness::ExpiresSoon,
            _ => Freshness::Expired,
        }
    }

    /// The same token under another key.
    #[must_use]
    pub fn under(&self, key: &CacheKey) -> Self {
        Self { key: *key, ..self.clone() }
    }

    /// The key of the second entry of its token.
    pub fn key_of_second(&self) -> Option<CacheKey> {
        self.credentials.filter(|credentials| *credentials != self.key)
    }

    /// One that stands for all registries which the token opens.
    pub fn registry(&self) -> Registry {
        if self.is_public { Registry::PUBLIC } else { Registry::private(Account::ANY, self.region.clone()) }
    }

    /// Whether the token opens this registry, as far as its identity may. One token opens all registries of a region.
    pub fn opens(&self, registry: &Registry) -> bool {
        self.is_public == registry.is_public() && self.region == registry.region()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::{Entry, Freshness};
    use crate::identity::CacheKey;
    use crate::registry::Registry;
    use crate::token::Token;

    const HOUR: Duration = Duration::from_hours(1);
    const MINUTE: Duration = Duration::from_mins(1);

    fn entry(lifetime: Duration) -> Option<Entry> {
        let now = OffsetDateTime::UNIX_EPOCH + 1000 * HOUR;
        let token = Token::decode("QVdTOnBhc3N3b3Jk").expect("AWS:password");
        let registry = Registry::parse("111122223333.dkr.ecr.us-east-1.amazonaws.com").expect("a registry");
        Entry::new(&CacheKey::of("k"), &registry, token, lifetime, now)
    }

    #[test]
    fn fresh_for_half_its_lifetime_then_stale_until_it_expires() {
        let entry = entry(12 * HOUR).expect("an entry");
        for (hours, age) in [
            (999, Freshness::Expired),
            (1000, Freshness::Fresh),
            (1005, Freshness::Fresh),
            (1006, Freshness::Stale),
            (1010, Freshness::Stale),
            (1011, Freshness::ExpiresSoon),
            (1012, Freshness::Expired),
            (2000, Freshness::Expired),
        ] {
            assert_eq!(entry.freshness_at(OffsetDateTime::UNIX_EPOCH + hours * HOUR, None), age, "{hours}");
        }
    }

    #[test]
    fn a_greatest_age_ends_an_entry_earlier_and_its_refresh_depends_on_its_life_alone() {
        for (minutes, max_age, expected) in [
            (0, None, Freshness::Fresh),
            (4, None, Freshness::Fresh),
            (6, None, Freshness::Stale),
            (8, None, Freshness::Stale),
            (9, None, Freshness::ExpiresSoon),
            (10, None, Freshness::Expired),
            (3, Some(4), Freshness::Fresh),
            (4, Some(4), Freshness::Expired),
            (6, Some(7), Freshness::Stale),
            (6, Some(60), Freshness::Stale),
            (10, Some(60), Freshness::Expired),
        ] {
            let created_at = OffsetDateTime::now_utc() - minutes * MINUTE;
            let entry = Entry { created_at, expires_at: created_at + 10 * MINUTE, ..entry(HOUR).expect("an entry") };
            let max_age = max_age.map(|minutes| minutes * MINUTE);
            assert_eq!(entry.freshness_within(max_age), expected, "{minutes} minutes of {max_age:?}");
        }
    }

    #[test]
    fn a_lifetime_of_zero_makes_no_entry_and_a_long_one_is_limited() {
        assert_eq!(entry(Duration::ZERO), None);
        let long = entry(100 * HOUR).expect("an entry");
        assert_eq!(long.freshness_at(OffsetDateTime::UNIX_EPOCH + 1012 * HOUR, None), Freshness::Expired);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_token_fresher() {
        let mut entry = entry(12 * HOUR).expect("an entry");
        entry.made_at_uptime = Some(100);
        let hour = |hours: u64| Some(100 + hours * HOUR.as_secs());
        for (wall, uptime, age) in [
            (1001, hour(13), Freshness::Expired),
            (1001, hour(7), Freshness::Stale),
            (1001, hour(1), Freshness::Fresh),
            // After a reboot.
            (1007, Some(5), Freshness::Stale),
            (1001, None, Freshness::Fresh),
        ] {
            assert_eq!(entry.freshness_at(OffsetDateTime::UNIX_EPOCH + wall * HOUR, uptime), age, "{wall} {uptime:?}");
        }
    }

    #[test]
    fn an_entry_decodes_only_under_its_own_key() {
        let entry = entry(HOUR).expect("an entry");
        let bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes, &CacheKey::of("k")), Some(entry));
        assert_eq!(Entry::decode(&bytes, &CacheKey::of("other")), None);
        assert_eq!(Entry::decode(&bytes[..bytes.len() - 1], &CacheKey::of("k")), None);
    }
}
