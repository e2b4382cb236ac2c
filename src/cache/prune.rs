//! Removes what is over: expired and damaged entries, locks without an entry, manifests that lead to none, temporary files of
//! killed processes.
//! A bounded amount at each write, from a place in the directory that chance picks, so that all of it has its turn.

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

/// How many keys are looked at each time.
const MOST: usize = 96;

/// A file that nobody has touched for so long belongs to a process that is gone: no request lasts as long.
const ABANDONED: Duration = Duration::from_hours(2);

/// A manifest of this age has its entry, or has none any more.
const NEW: Duration = Duration::from_mins(1);

/// Looks at some keys of the cache in `dir`.
pub(super) fn sweep(dir: &Path) {
    // A key's files by their endings, and the temporary ones each by itself.
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
    // The standard library's seed for hash maps is chance enough.
    let chance = RandomState::new().build_hasher().finish();
    let start = usize::try_from(chance % keys.len() as u64).unwrap_or(0);
    for (stem, endings) in keys.iter().cycle().skip(start).take(MOST.min(keys.len())) {
        if stem.starts_with(TEMPORARY) {
            if is_abandoned(&dir.join(stem)) {
                let _ = fs::remove_file(dir.join(stem));
            }
        } else if endings.iter().any(|ending| ending == MANIFEST) {
            manifest(dir, stem);
        } else if is_key(stem) {
            prune_key(dir, stem, endings);
        }
    }
}

/// Removes a key whose entry is over, or that never had one, unless somebody is asking for it.
fn prune_key(dir: &Path, stem: &str, endings: &[String]) {
    let path = |ending: &str| dir.join(format!("{stem}.{ending}"));
    let is_over = || {
        if endings.iter().any(|ending| ending == "json") {
            let entry = read(&path("json")).and_then(|bytes| Entry::decode(&bytes, stem));
            entry.is_none_or(|entry| entry.freshness() == Freshness::Expired)
        } else {
            endings.iter().all(|ending| is_abandoned(&path(ending)))
        }
    };
    if !is_over() {
        return;
    }
    let Ok(Some(_lock)) = Lock::try_take(&path("lock")) else { return };
    // It may have been replaced before the lock was ours.
    if !is_over() {
        return;
    }
    for ending in endings.iter().map(String::as_str).chain(["lock"]) {
        let _ = fs::remove_file(path(ending));
    }
}

/// Removes a manifest whose entry is gone. One that has just been written may be ahead of its entry.
fn manifest(dir: &Path, stem: &str) {
    let path = dir.join(format!("{stem}.{MANIFEST}"));
    let entry = read(&path).and_then(|bytes| Manifest::decode(&bytes, stem)).map(|manifest| manifest.entry);
    let leads_on = entry.is_some_and(|entry| is_key(&entry) && dir.join(format!("{entry}.json")).exists());
    if !leads_on && is_older(&path, NEW) {
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
