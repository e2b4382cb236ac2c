//! The cache key: a SHA-256 in the making, and done.

use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::files::{Content, content};

/// Names the cache entry of one identity in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of the same settings when this access key was seen to answer for them.
    #[must_use]
    pub fn with_access_key(&self, id: &str) -> Self {
        let mut parts = Parts::default();
        parts.add("key", self.to_string());
        parts.add("access key", id);
        parts.into_key()
    }

    /// A key for tests of code that only passes keys on.
    #[cfg(test)]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What enters a key. Every name and value enters with its length, so that no two lists of parts look alike.
#[derive(Default)]
pub(super) struct Parts(Sha256);

impl Parts {
    pub(super) fn add(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        for part in [name.as_ref(), value.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    /// A file whole: where it is, whether it can be read, and what is in it.
    pub(super) fn add_file(&mut self, name: &str, path: &Path) -> Content {
        self.add(name, path.as_os_str().as_encoded_bytes());
        let content = content(path);
        match &content {
            Ok(bytes) => self.add("content", bytes.as_slice()),
            Err(state) => self.add("no content", state),
        }
        content
    }

    pub(super) fn into_key(self) -> Key {
        Key(self.0.finalize().into())
    }
}
