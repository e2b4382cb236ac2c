//! Hashes lists of parts, and names files of the cache by these hashes.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The SHA-256 that names a file of the cache. Its text has 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CacheKey([u8; 32]);

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
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let parse = || {
            let pairs: &[[u8; 2]; 32] = text.as_bytes().as_chunks().0.try_into().ok()?;
            let mut key = [0; 32];
            for (byte, [high, low]) in key.iter_mut().zip(pairs) {
                *byte = digit(*high)? << 4 | digit(*low)?;
            }
            (text.len() == 64).then_some(Self(key))
        };
        parse().ok_or("expected 64 hexadecimal digits")
    }
}

impl TryFrom<String> for CacheKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CacheKey> for String {
    fn from(key: CacheKey) -> Self {
        key.to_string()
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

    pub(super) fn add_variables<'a>(&mut self, variables: impl Iterator<Item = (&'a OsStr, &'a OsStr)>) {
        variables.for_each(|(name, value)| self.add(name.as_encoded_bytes(), value.as_encoded_bytes()));
    }

    pub(super) fn into_key(self) -> CacheKey {
        CacheKey(self.0.finalize().into())
    }

    /// The hash of these texts, as a text.
    pub(super) fn digest<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> String {
        let mut parts = Self::default();
        for text in texts {
            parts.add("", text);
        }
        parts.into_key().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::CacheKey;

    #[test]
    fn a_key_reads_back_and_no_other_text_is_one() {
        let key = CacheKey::of("a");
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
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
