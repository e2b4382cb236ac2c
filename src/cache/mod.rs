//! Tokens on disk, one file an entry, shared by all processes of a user.
//!
//! An entry `<key>.json` only ever appears by a rename of a finished temporary file, so readers need no lock and
//! never see half of one. Beside it lie the locks of those who ask AWS ([`single_flight`]), and for each request a manifest
//! `<request>.manifest` that leads to its entry ([`manifest`]), and for each job of GitHub Actions a note `<job>.subject` of who
//! it is. Directories have mode 0700 and
//! files 0600, whatever the umask; a directory or file that others could have written to is not believed, and nothing
//! is opened through a link. There is no fsync: an entry torn by a power cut does not decode, and costs one API call.
//!
//! Each write removes some of what is over: expired or damaged entries with their locks, and temporary files of
//! processes that were killed.
//!
//! The cache is an optimisation. Its errors are for the log; no caller fails because of them.

mod entry;
mod lock;
mod manifest;
mod prune;
mod single_flight;

pub use entry::{Entry, Freshness};
pub use manifest::{Decided, Manifest};
pub use single_flight::{Leader, Outcome};

use std::collections::hash_map::RandomState;
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs2::FileExt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::warn;
use zeroize::Zeroizing;

use crate::identity::CacheKey;
use crate::platform;

/// A longer file is neither entry nor manifest: a token has some 4 KiB.
const LARGEST: u64 = 256 * 1024;

/// What the names of manifests end in.
const MANIFEST: &str = "manifest";

/// For how long a refresh is left alone after one that failed, at the least and at the most.
const POSTPONED: (Duration, Duration) = (Duration::from_mins(5), Duration::from_mins(10));

/// The directory that holds the entries.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// A cache in `dir`, which need not exist until something is written. Fails with what is to be mended when others
    /// have their hands in it.
    pub fn open(dir: PathBuf) -> Result<Self, String> {
        match platform::check_private_dir(&dir) {
            Some(why) => Err(format!("the cache {} is not trusted: {why}", dir.display())),
            None => Ok(Self { dir }),
        }
    }

    /// The directory, for messages.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The entry of `key`, whatever its age; `None` when there is none that can be read and is that key's.
    pub fn look_up(&self, key: &CacheKey) -> Option<Entry> {
        self.look_up_named(&key.to_string())
    }

    /// The same for a key as a manifest names it.
    pub fn look_up_named(&self, key: &str) -> Option<Entry> {
        if !prune::is_key(key) {
            return None;
        }
        Entry::decode(&read(&self.entry_path(key))?, key)
    }

    /// The manifest of a request.
    pub fn manifest(&self, request: &CacheKey) -> Option<Manifest> {
        let name = request.to_string();
        Manifest::decode(&read(&self.dir.join(format!("{name}.{MANIFEST}")))?, &name)
    }

    /// All manifests that can be read, in no order.
    pub fn manifests(&self) -> impl Iterator<Item = Manifest> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|file| file.path());
        files.filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(MANIFEST)?.strip_suffix('.')?;
            Manifest::decode(&read(&path)?, name)
        })
    }

    /// Writes the manifest of a request, unless the one that is there says the same.
    pub fn save_manifest(&self, request: &CacheKey, manifest: &Manifest) -> io::Result<()> {
        if self.manifest(request).as_ref() == Some(manifest) {
            return Ok(());
        }
        match manifest.encode() {
            Some(bytes) => self.write(&bytes, &self.dir.join(format!("{request}.{MANIFEST}"))),
            None => Ok(()),
        }
    }

    /// Whether there is a file for `key`, usable or not.
    pub fn holds(&self, key: &CacheKey) -> bool {
        self.entry_path(&key.to_string()).symlink_metadata().is_ok()
    }

    /// Whether an entry could be written and locked: tried with a file that has no name, in the directory or in the one
    /// in which it would be made.
    pub fn probe(&self) -> io::Result<()> {
        let there = self.dir.ancestors().find(|dir| dir.exists()).unwrap_or(&self.dir);
        let mut file = tempfile::tempfile_in(there)?;
        file.write_all(&[0; 8 * 1024])?;
        FileExt::try_lock_exclusive(&file)
    }

    /// Writes an entry over the one of the same key, and removes some of what is over.
    pub fn save(&self, entry: &Entry) -> io::Result<()> {
        self.write(&entry.encode(), &self.entry_path(entry.key()))?;
        prune::sweep(&self.dir);
        Ok(())
    }

    fn write(&self, bytes: &[u8], path: &Path) -> io::Result<()> {
        platform::survive_file_size_limit();
        platform::create_private_dir(&self.dir)?;
        let mut file = tempfile::Builder::new().prefix(prune::TEMPORARY).suffix(".tmp").tempfile_in(&self.dir)?;
        platform::make_private(file.as_file())?;
        file.write_all(bytes)?;
        file.flush()?;
        platform::replace(file, path)
    }

    /// Who a job of GitHub Actions is, as noted earlier in the job.
    pub fn subject(&self, job: &CacheKey) -> Option<String> {
        let bytes = read(&self.dir.join(format!("{job}.subject")))?;
        std::str::from_utf8(&bytes).ok().filter(|subject| prune::is_key(subject)).map(str::to_owned)
    }

    /// Notes who a job of GitHub Actions is.
    pub fn save_subject(&self, job: &CacheKey, subject: &str) -> io::Result<()> {
        self.write(subject.as_bytes(), &self.dir.join(format!("{job}.subject")))
    }

    /// Notes that a refresh has failed: nobody need try again for five to ten minutes, each key for another time, so that
    /// many keys do not all ask at once.
    pub fn postpone_refresh(&self, key: &CacheKey) -> io::Result<()> {
        let (shortest, longest) = POSTPONED;
        let spread = longest.saturating_sub(shortest).as_secs();
        // The standard library's seed for hash maps is chance enough.
        let chance = RandomState::new().build_hasher().finish() % (spread + 1);
        let until = OffsetDateTime::now_utc() + shortest + Duration::from_secs(chance);
        let until = until.format(&Rfc3339).map_err(io::Error::other)?;
        self.write(until.as_bytes(), &self.dir.join(format!("{key}.postponed")))
    }

    /// Whether a refresh of the key has failed lately. A time that is further off than any can be was noted under another
    /// clock.
    pub fn is_refresh_postponed(&self, key: &CacheKey) -> bool {
        let until = || {
            let bytes = read(&self.dir.join(format!("{key}.postponed")))?;
            OffsetDateTime::parse(std::str::from_utf8(&bytes).ok()?, &Rfc3339).ok()
        };
        let left = until().map(|until| until - OffsetDateTime::now_utc());
        left.is_some_and(|left| left.is_positive() && left <= POSTPONED.1)
    }

    /// Removes the key's entry; whether there was one.
    pub fn remove(&self, key: &CacheKey) -> io::Result<bool> {
        match fs::remove_file(self.entry_path(&key.to_string())) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All entries that can be read, each with the size of its file in bytes, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (Entry, u64)> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|file| file.path());
        files.filter_map(|path| {
            let key = path.file_name()?.to_str()?.strip_suffix(".json")?;
            let bytes = read(&path)?;
            Some((Entry::decode(&bytes, key)?, u64::try_from(bytes.len()).ok()?))
        })
    }

    /// Removes every file of the cache; how many entries there were.
    pub fn clear(&self) -> io::Result<usize> {
        let mut entries = 0;
        for file in fs::read_dir(&self.dir).into_iter().flatten() {
            let path = file?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let stem = name.split('.').next().unwrap_or_default();
            if prune::is_key(stem) || name.starts_with(prune::TEMPORARY) {
                entries += usize::from(path.extension().is_some_and(|extension| extension == "json"));
                fs::remove_file(&path)?;
            }
        }
        Ok(entries)
    }

    fn entry_path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }
}

/// The content of a file that may be an entry.
fn read(path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let mut file = match platform::open_private(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                warn!(path = %path.display(), %error, "a cached entry cannot be read; it will be replaced");
            }
            return None;
        }
    };
    let length = match platform::trusted(&file) {
        Ok(metadata) => metadata.len(),
        Err(why) => {
            warn!(path = %path.display(), why, "a cached entry is not trusted; it will be replaced");
            return None;
        }
    };
    if length > LARGEST {
        return None;
    }
    // Room for the whole file at once: growing would leave copies of the token in freed memory.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(length).ok()?]);
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}
