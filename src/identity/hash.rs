//! Hashes lists of parts, and names files of the cache by these hashes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The SHA-256 that names a file of the cache. Its text has 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CacheKey([u8; 32]);

/// A text that is no key.
#[derive(Debug)]
pub struct NoKey;

impl CacheKey {
    /// A key for tests of code that only passes keys on.
    #[cfg(test)]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |value: u8| -> char { b"0123456789abcdef"[usize::from(value)].into() };
        let digits: String = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect();
        f.write_str(&digits)
    }
}

impl FromStr for CacheKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let digit = |byte: u8| (byte as char).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
        let mut key = [0; 32];
        if text.len() != 2 * key.len() {
            return Err(NoKey);
        }
        for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let value = digit(pair[0]).zip(digit(pair[1])).and_then(|(high, low)| u8::try_from(16 * high + low).ok());
            *byte = value.ok_or(NoKey)?;
        }
        Ok(Self(key))
    }
}

impl TryFrom<String> for CacheKey {
    type Error = NoKey;

    fn try_from(text: String) -> Result<Self, NoKey> {
        text.parse()
    }
}

impl From<CacheKey> for String {
    fn from(key: CacheKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected 64 hexadecimal digits")
    }
}

/// Hashes the parts of a key. Every name and value is hashed with its length, so that no two lists of parts give the same
/// bytes.
#[derive(Default)]
pub(super) struct KeyHasher(Sha256);

impl KeyHasher {
    pub(super) fn add(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        for part in [name.as_ref(), value.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    pub(super) fn into_key(self) -> CacheKey {
        CacheKey(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::CacheKey;

    #[test]
    fn a_key_reads_back_and_no_other_text_is_one() {
        let key = CacheKey::of("a");
        let text = key.to_string();
        assert_eq!(text.parse().ok(), Some(key));
        assert_eq!(serde_json::from_str::<CacheKey>(&format!("\"{text}\"")).ok(), Some(key));
        for other in [
            "",
            &text[1..],
            &format!("{text}0"),
            &text.to_uppercase(),
            &text.replace(&text[..2], "+f"),
            &"é".repeat(32),
        ] {
            assert!(other.parse::<CacheKey>().is_err(), "{other}");
        }
    }
}
