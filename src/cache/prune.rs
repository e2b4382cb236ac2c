//! Removes unused files: expired and damaged entries, locks that nobody holds, old reports, manifests without an entry or that no
//! request has needed for days, and temporary files of killed processes.
//!
//! Each write of an entry examines a limited number of keys for a limited time, from a random position in the directory, so that over time
//! all are examined. Files that are not the cache's cost no more than their names, and stay, also those that hashes name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::entry::{Entry, Freshness};
use super::failure::LONGEST_POSTPONEMENT;
use super::lock::Lock;
use super::name::{ENTRY, FAILURE, LOCK, LOCK_OF_SUCCESSOR, MANIFEST, begun_for, is_temporary, key_and_extension};
use super::{Manifest, read};
use crate::platform::{self, Destination};

/// How many keys each write examines.
const MOST: usize = 96;

/// How long each write examines them, two thirds of it for their names.
const LONGEST: Duration = Duration::from_millis(300);

/// A file that has not changed for this long belongs to a process that has ended: no request takes as long.
const ABANDONED: Duration = Duration::from_hours(2);

/// A manifest may be written this long before its entry, and a save may take this long without a lock.
const NEW: Duration = Duration::from_mins(1);

/// A manifest is written anew when a request needs it and it is gone, so that after this time only those in use are left.
const OLD: Duration = Duration::from_hours(48);

/// Examines some keys of the cache in `dir`, and removes what is unused, and the temporary files with the prefix `own` that began before
/// `begun_at`.
pub(super) fn sweep(dir: &Path, own: &str, begun_at: SystemTime) {
    let started = Instant::now();
    // Groups the files of a key by their extensions. Each temporary file is a group of its own.
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in fs::read_dir(dir).into_iter().flatten().flatten().take_while(|_| started.elapsed() < LONGEST * 2 / 3) {
        let Ok(name) = file.file_name().into_string() else { continue };
        if let Some((stem, ending)) = key_and_extension(&name) {
            keys.entry(stem.to_owned()).or_default().push(ending.to_owned());
        } else if is_temporary(&name) {
            if name.starts_with(own) && changed_at(&file.path()).is_some_and(|at| at < begun_at) {
                let _ = fs::remove_file(file.path());
            } else {
                keys.insert(name, Vec::new());
            }
        }
    }
    // The name stands for any file.
    let (false, Ok(open)) = (keys.is_empty(), Destination::in_private_dir(&dir.join(LOCK))) else { return };
    let start = usize::try_from(platform::random() % keys.len() as u64).unwrap_or(0);
    for (stem, endings) in keys.iter().cycle().skip(start).take(MOST.min(keys.len())) {
        if started.elapsed() > LONGEST {
            return;
        }
        if is_temporary(stem) {
            prune_temporary(dir, &open, stem);
        } else if endings.iter().any(|ending| ending == MANIFEST) {
            prune_manifest(dir, stem);
        } else {
            prune_key(dir, &open, stem, endings);
        }
    }
}

/// Removes the temporary file of a process that was killed: it is old, or the lock of its key is free.
fn prune_temporary(dir: &Path, open: &Destination, name: &str) {
    let path = dir.join(name);
    let free = || {
        let lock = format!("{}.{LOCK}", begun_for(name)?);
        Lock::try_take(&open.beside(&lock).ok()?, &dir.join(&lock)).ok()?
    };
    if is_older(&path, ABANDONED) {
        let _ = fs::remove_file(path);
    } else if is_older(&path, NEW)
        && let Some(lock) = free()
    {
        let _ = fs::remove_file(path);
        lock.remove_file();
    }
}

/// Removes the unused files of a key, unless a process is asking AWS for it.
fn prune_key(dir: &Path, open: &Destination, stem: &str, endings: &[String]) {
    let path = |ending: &str| dir.join(format!("{stem}.{ending}"));
    let is_unused = |ending: &str| match ending {
        ENTRY => {
            let entry = read(&path(ENTRY)).zip(stem.parse().ok()).and_then(|(bytes, key)| Entry::decode(&bytes, &key));
            entry.is_none_or(|entry| entry.freshness() == Freshness::Expired)
        }
        FAILURE => is_older(&path(FAILURE), LONGEST_POSTPONEMENT),
        // Whether anybody holds a lock shows when it is tried.
        _ => true,
    };
    if !endings.iter().any(|ending| is_unused(ending)) {
        return;
    }
    let try_take = |ending: &str| Lock::try_take(&open.beside(format!("{stem}.{ending}"))?, &path(ending));
    let Ok(Some(lock)) = try_take(LOCK) else { return };
    // Another process may have replaced a file before this one took the lock.
    for ending in endings.iter().filter(|ending| *ending != LOCK && is_unused(ending)) {
        if ending != LOCK_OF_SUCCESSOR || matches!(try_take(LOCK_OF_SUCCESSOR), Ok(Some(_))) {
            let _ = fs::remove_file(path(ending));
        }
    }
    lock.remove_file();
    drop(lock);
    // On Windows, where its holder leaves it.
    if cfg!(not(unix)) {
        let _ = fs::remove_file(path(LOCK));
    }
}

/// Removes a manifest without an entry, and an old one. A new one may be written before its entry.
fn prune_manifest(dir: &Path, stem: &str) {
    let path = dir.join(format!("{stem}.{MANIFEST}"));
    if !is_older(&path, NEW) {
        return;
    }
    let manifest = read(&path).and_then(|bytes| Manifest::decode(&bytes, &stem.parse().ok()?));
    let has_entry = manifest.is_some_and(|manifest| dir.join(format!("{}.{ENTRY}", manifest.entry)).exists());
    if !has_entry || is_older(&path, OLD) {
        let _ = fs::remove_file(path);
    }
}

fn is_older(path: &Path, limit: Duration) -> bool {
    changed_at(path).is_some_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > limit))
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()
}
