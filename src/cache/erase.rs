//! Removes files of the cache on request. [`prune`](super::prune) removes those that nobody uses.

use std::fs;
use std::io;
use std::path::Path;

use log::warn;

use super::name::{ENTRY, FAILURE, begun, is_temporary, key_and_extension};
use super::protocol::{ERASURE, Erase};
use super::{Cache, Entry};
use crate::identity::CacheKey;
use crate::platform::TEMPORARY;

impl Cache {
    /// Erases the token of a key, perhaps one that a manifest names, and the one of its credentials. A save that began before does
    /// not succeed. Returns whether there was one.
    pub fn erase(&self, key: &CacheKey) -> io::Result<bool> {
        let was_there = self.remove_entry(key)?;
        self.remove_report(key);
        Ok(was_there)
    }

    /// The same without the report.
    fn remove_entry(&self, key: &CacheKey) -> io::Result<bool> {
        let mut was_there = false;
        let mut credentials = None;
        for step in ERASURE {
            let entry = self.look_up(key);
            credentials = entry.and_then(|entry| entry.credentials).or(credentials);
            match step {
                Erase::BegunSaves => self.remove_temporary_files(&begun(key))?,
                Erase::OfCredentials => {
                    if let Some(named) = credentials {
                        remove_if_there(&self.path(named, ENTRY))?;
                    }
                }
                Erase::Entry => was_there = remove_if_there(&self.path(key, ENTRY))?,
                Erase::Report => {}
            }
        }
        Ok(was_there)
    }

    /// Erases the entries that cannot be read, whose tokens nobody knows: they are served again once they can, e.g. with another mode.
    pub fn erase_unreadable(&self) -> io::Result<()> {
        for path in self.files(ENTRY) {
            let key = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if key.is_some_and(|key| self.look_up(&key).is_none() && !path.is_dir()) {
                remove_if_there(&path)?;
            }
        }
        Ok(())
    }

    /// Removes a token that AWS no longer accepts: that of a key, and whatever its credentials were given for other identities.
    /// Logs a failure.
    pub fn remove_refused(&self, key: &CacheKey) {
        let of = |entry: &Entry| entry.credentials.or(entry.lasting_credentials);
        let credentials = self.look_up(key).as_ref().and_then(of).unwrap_or(*key);
        let theirs = self.entries().filter(|(entry, _)| of(entry) == Some(credentials));
        let others = theirs.map(|(entry, _)| entry.key);
        for key in others.chain([*key]) {
            if let Err(error) = self.remove_entry(&key) {
                warn!(error:%; "the cached token, which AWS no longer accepts, cannot be removed");
            }
        }
    }

    /// Makes all saves that have begun fail, whatever their keys.
    pub fn cancel_saves(&self) -> io::Result<()> {
        self.remove_temporary_files(TEMPORARY)
    }

    fn remove_temporary_files(&self, prefix: &str) -> io::Result<()> {
        for file in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let is_dir = file.file_type().is_ok_and(|kind| kind.is_dir());
            let is_meant = |name: &str| name.starts_with(prefix) && is_temporary(name);
            if !is_dir && file.file_name().to_str().is_some_and(is_meant) {
                remove_if_there(&file.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn remove_report(&self, key: &CacheKey) {
        let _ = fs::remove_file(self.path(key, FAILURE));
    }

    /// Removes every file of the cache, and returns how many tokens there were.
    pub fn clear(&self) -> io::Result<usize> {
        let count = self.tokens().len();
        // First the saves that have begun, as in the erasure of one key.
        self.cancel_saves()?;
        for file in fs::read_dir(&self.dir).into_iter().flatten() {
            let file = file?;
            if file.file_name().to_str().and_then(key_and_extension).is_none() {
                continue;
            }
            // A link to a directory is no directory, and one with content is not the cache's.
            if file.file_type().is_ok_and(|kind| kind.is_dir()) {
                let _ = fs::remove_dir(file.path());
            } else {
                remove_if_there(&file.path())?;
            }
        }
        Ok(count)
    }
}

/// Removes a file, and returns whether it was there.
fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}
