//! Removes unused files: expired and damaged entries, locks without an entry, manifests without an entry, and temporary files of
//! killed processes.
//!
//! Each write of an entry examines a limited number of keys, from a random position in the directory, so that over time all are examined.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::entry::{Entry, Freshness};
use super::lock::Lock;
use super::{MANIFEST, Manifest, read};

/// What the names of temporary files begin with.
pub(super) const TEMPORARY: &str = ".entry-";

/// How many keys each write examines.
const MOST: usize = 96;

/// A file that has not changed for this long belongs to a process that has ended: no request takes as long.
const ABANDONED: Duration = Duration::from_hours(2);

/// A manifest may be written this long before its entry.
const NEW: Duration = Duration::from_mins(1);

/// Examines some keys of the cache in `dir`, and removes what is unused.
pub(super) fn sweep(dir: &Path) {
    // Groups the files of a key by their extensions. Each temporary file is a group of its own.
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|file| file.file_name().into_string().ok())
    {
        let (stem, ending) = match name.split_once('.') {
            Some((stem, ending)) if !stem.is_empty() => (stem.to_owned(), ending.to_owned()),
            _ if name.starts_with(TEMPORARY) => (name, String::new()),
            _ => continue,
        };
        keys.entry(stem).or_default().push(ending);
    }
    if keys.is_empty() {
        return;
    }
    // The standard library seeds its hash maps at random.
    let random = RandomState::new().build_hasher().finish();
    let start = usize::try_from(random % keys.len() as u64).unwrap_or(0);
    for (stem, endings) in keys.iter().cycle().skip(start).take(MOST.min(keys.len())) {
        if stem.starts_with(TEMPORARY) {
            if is_abandoned(&dir.join(stem)) {
                let _ = fs::remove_file(dir.join(stem));
            }
        } else if endings.iter().any(|ending| ending == MANIFEST) {
            prune_manifest(dir, stem);
        } else if is_key(stem) {
            prune_key(dir, stem, endings);
        }
    }
}

/// Removes the files of a key whose entry has expired or that has no entry, unless a process is asking AWS for it.
fn prune_key(dir: &Path, stem: &str, endings: &[String]) {
    let path = |ending: &str| dir.join(format!("{stem}.{ending}"));
    let is_unused = || {
        if endings.iter().any(|ending| ending == "json") {
            let entry = read(&path("json")).and_then(|bytes| Entry::decode(&bytes, stem));
            entry.is_none_or(|entry| entry.freshness() == Freshness::Expired)
        } else {
            endings.iter().all(|ending| is_abandoned(&path(ending)))
        }
    };
    if !is_unused() {
        return;
    }
    let Ok(Some(_lock)) = Lock::try_take(&path("lock")) else { return };
    // Another process may have replaced the entry before this one took the lock.
    if !is_unused() {
        return;
    }
    for ending in endings.iter().map(String::as_str).chain(["lock"]) {
        let _ = fs::remove_file(path(ending));
    }
}

/// Removes a manifest without an entry. A new one may be written before its entry.
fn prune_manifest(dir: &Path, stem: &str) {
    let path = dir.join(format!("{stem}.{MANIFEST}"));
    let entry = read(&path).and_then(|bytes| Manifest::decode(&bytes, stem)).map(|manifest| manifest.entry);
    let has_entry = entry.is_some_and(|entry| is_key(&entry) && dir.join(format!("{entry}.json")).exists());
    if !has_entry && is_older(&path, NEW) {
        let _ = fs::remove_file(path);
    }
}

pub(super) fn is_key(stem: &str) -> bool {
    stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_abandoned(path: &Path) -> bool {
    is_older(path, ABANDONED)
}

fn is_older(path: &Path, limit: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > limit))
}
