//! The names of the files of the cache. Only a file with a name that the cache itself makes is ever removed: a directory that the user
//! names may hold files of others, also ones that are named by the hash of their content.

use std::fmt;

use crate::identity::CacheKey;
use crate::platform::{TEMPORARY, is_temporary_name};

/// The extension of manifests.
pub(super) const MANIFEST: &str = "manifest";

/// The extension of entries.
pub(super) const ENTRY: &str = "json";

/// The extension of reports.
pub(super) const FAILURE: &str = "failure";

/// The extensions of the locks of a key.
pub(super) const LOCK: &str = "lock";
pub(super) const LOCK_OF_SUCCESSOR: &str = "lock2";

/// The key and the extension in the name of a file of a key; `None` for every other name.
pub(super) fn key_and_extension(name: &str) -> Option<(&str, &str)> {
    let (key, extension) = name.split_once('.')?;
    let is_own = [ENTRY, MANIFEST, FAILURE, LOCK, LOCK_OF_SUCCESSOR].contains(&extension);
    (is_own && key.parse::<CacheKey>().is_ok()).then_some((key, extension))
}

/// The start of the names of the temporary files of a key's entry, and of the one of its credentials.
pub(super) fn begun(key: impl fmt::Display) -> String {
    format!("{TEMPORARY}{key}-")
}

/// The key in the name of a temporary file.
pub(super) fn begun_for(name: &str) -> Option<CacheKey> {
    name.strip_prefix(TEMPORARY)?.split_once('-')?.0.parse().ok()
}

/// Whether a name is one that temporary files of the cache have.
pub(super) fn is_temporary(name: &str) -> bool {
    let prefix = begun_for(name).map_or_else(|| TEMPORARY.to_owned(), begun);
    is_temporary_name(name, &prefix)
}
