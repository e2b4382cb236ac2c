//! One cached token: its format on disk, and how long it may be served.
//!
//! JSON with a format number. Whatever does not read back as exactly this, names another key, or claims times
//! that no token of ECR can have, is treated as absent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::serde::rfc3339;
use zeroize::Zeroizing;

use crate::identity::CacheKey;
use crate::platform;
use crate::token::Token;

/// Raised when the meaning of a field changes; entries of another format are misses.
const FORMAT: u32 = 3;

/// Tokens of ECR live 12 hours (Amazon ECR API reference, GetAuthorizationToken). An entry that claims more was
/// not written by us, or under a clock that was wrong.
const LONGEST_LIFE: Duration = Duration::from_hours(12);

/// What one cache file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    format: u32,
    /// The key it was saved under, so that a file copied or renamed to another key's name is not that key's.
    key: String,
    token: Token,
    /// A hash of the access key that asked for it.
    access_key: String,
    /// To the second.
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "rfc3339")]
    expires_at: OffsetDateTime,
    /// Seconds since boot when it was made, where the system tells: a clock that no one can set.
    made_at_uptime: Option<u64>,
}

/// What may be done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Less than half its life has passed: served as it is.
    Fresh,
    /// Still valid, but to be refreshed; served only when that fails.
    Stale,
    /// Expired, or from a time that has not come yet: never served.
    Expired,
}

impl Entry {
    /// An entry for a token that this access key was given at `now` and that lives for `life` more; `None` when that is less
    /// than a second.
    pub fn new(key: &CacheKey, access_key: &str, token: Token, life: Duration, now: OffsetDateTime) -> Option<Self> {
        let created_at = now.replace_nanosecond(0).expect("less than a second");
        let life = Duration::from_secs(life.min(LONGEST_LIFE).as_secs());
        (!life.is_zero()).then(|| Self {
            format: FORMAT,
            key: key.to_string(),
            token,
            access_key: hash(access_key),
            created_at,
            expires_at: created_at + life,
            made_at_uptime: platform::seconds_since_boot(),
        })
    }

    /// Reads an entry that was saved under `key`; `None` for anything else.
    pub fn decode(bytes: &[u8], key: &str) -> Option<Self> {
        let entry: Self = serde_json::from_slice(bytes).ok()?;
        let usable = entry.format == FORMAT && entry.key == key && entry.token.is_usable();
        let life = entry.expires_at - entry.created_at;
        (usable && life.is_positive() && life <= LONGEST_LIFE).then_some(entry)
    }

    /// The bytes to write; they hold the token and are zeroed when dropped.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec(self).expect("strings and numbers always serialise"))
    }

    /// Whether it may be served now.
    pub fn freshness(&self) -> Freshness {
        self.freshness_at(OffsetDateTime::now_utc(), platform::seconds_since_boot())
    }

    /// How much longer it is valid.
    pub fn left(&self) -> Duration {
        self.life().saturating_sub(self.lived())
    }

    /// When it expires, by the wall clock.
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }

    /// Whether the last tenth of its life has come.
    pub fn ends_soon(&self) -> bool {
        self.left() <= self.life() / 10
    }

    /// How long ago it was made; all its life when that is in the future.
    pub fn lived(&self) -> Duration {
        let lived = self.lived_at(OffsetDateTime::now_utc(), platform::seconds_since_boot());
        lived.unwrap_or(self.life())
    }

    fn life(&self) -> Duration {
        (self.expires_at - self.created_at).unsigned_abs()
    }

    /// By the wall clock, or by the time since boot where that says more: a wall clock can be set back. After a reboot
    /// the time since boot says less, and is no less true. `None` when it was made in the future.
    fn lived_at(&self, now: OffsetDateTime, uptime: Option<u64>) -> Option<Duration> {
        let lived = Duration::try_from(now - self.created_at).ok()?;
        let since_boot = uptime.zip(self.made_at_uptime).and_then(|(now, then)| now.checked_sub(then));
        Some(lived.max(Duration::from_secs(since_boot.unwrap_or(0))))
    }

    /// Whether it may be served at `now`, so many seconds after boot.
    pub fn freshness_at(&self, now: OffsetDateTime, uptime: Option<u64>) -> Freshness {
        match self.lived_at(now, uptime) {
            Some(lived) if lived < self.life() / 2 => Freshness::Fresh,
            Some(lived) if lived < self.life() => Freshness::Stale,
            _ => Freshness::Expired,
        }
    }

    /// Whether it was this access key that asked for it.
    pub fn is_of(&self, access_key: &str) -> bool {
        self.access_key == hash(access_key)
    }

    /// The key it was saved under.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The token's user, for `list`.
    pub fn username(&self) -> &str {
        &self.token.username
    }

    /// The token, without the rest.
    pub fn into_token(self) -> Token {
        self.token
    }
}

fn hash(access_key: &str) -> String {
    format!("{:x}", Sha256::digest(access_key))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::{Entry, Freshness};
    use crate::identity::CacheKey;
    use crate::token::Token;

    const HOUR: Duration = Duration::from_hours(1);

    fn entry(life: Duration) -> Option<Entry> {
        let now = OffsetDateTime::UNIX_EPOCH + 1000 * HOUR;
        let token = Token::decode("QVdTOnBhc3N3b3Jk").expect("AWS:password");
        Entry::new(&CacheKey::of("k"), "AKIA", token, life, now)
    }

    #[test]
    fn served_for_half_its_life_then_only_while_valid() {
        let entry = entry(12 * HOUR).expect("an entry");
        for (hours, age) in [
            (999, Freshness::Expired),
            (1000, Freshness::Fresh),
            (1005, Freshness::Fresh),
            (1006, Freshness::Stale),
            (1011, Freshness::Stale),
            (1012, Freshness::Expired),
            (2000, Freshness::Expired),
        ] {
            assert_eq!(entry.freshness_at(OffsetDateTime::UNIX_EPOCH + hours * HOUR, None), age, "{hours}");
        }
    }

    #[test]
    fn a_token_without_time_left_makes_no_entry_and_a_long_one_is_cut() {
        assert_eq!(entry(Duration::ZERO), None);
        let long = entry(100 * HOUR).expect("an entry");
        assert_eq!(long.freshness_at(OffsetDateTime::UNIX_EPOCH + 1012 * HOUR, None), Freshness::Expired);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_token_younger() {
        let mut entry = entry(12 * HOUR).expect("an entry");
        entry.made_at_uptime = Some(100);
        let hour = |hours: u64| Some(100 + hours * HOUR.as_secs());
        for (wall, uptime, age) in [
            (1001, hour(13), Freshness::Expired),
            (1001, hour(7), Freshness::Stale),
            (1001, hour(1), Freshness::Fresh),
            // Rebooted since.
            (1007, Some(5), Freshness::Stale),
            (1001, None, Freshness::Fresh),
        ] {
            assert_eq!(entry.freshness_at(OffsetDateTime::UNIX_EPOCH + wall * HOUR, uptime), age, "{wall} {uptime:?}");
        }
    }

    #[test]
    fn reads_back_only_under_its_own_key() {
        let entry = entry(HOUR).expect("an entry");
        let bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes, &CacheKey::of("k").to_string()), Some(entry));
        assert_eq!(Entry::decode(&bytes, &CacheKey::of("other").to_string()), None);
        assert_eq!(Entry::decode(&bytes[..bytes.len() - 1], &CacheKey::of("k").to_string()), None);
    }
}
