//! Hashes lists of parts, and names files of the cache by these hashes.

use std::fmt;

use sha2::{Digest, Sha256};

/// The SHA-256 that names a file of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
