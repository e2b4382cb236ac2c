//! Tokens on disk, one file for each entry, shared by all processes of a user.
//!
//! | file | content |
//! | --- | --- |
//! | `<key>.json` | an entry: a token and its times ([`entry`]) |
//! | `<key>.lock`, `.lock2`, `.failure`, `.waiting` | coordinate the processes that need the entry ([`single_flight`]) |
//! | `<key>.postponed` | when the next refresh may be tried after a failed one |
//! | `<request>.manifest` | the entry that answers a request ([`manifest`]) |
//!
//! `identity` derives the key. A file with content appears by a rename of a finished temporary file, so that readers need no lock and
//! never read half of one. Directories have mode 0700 and files 0600, whatever the umask. The cache ignores a directory or file that
//! others could have written to, and opens nothing through a link. It calls no fsync: an entry that a power failure cut short
//! does not decode, and costs one API call.
//!
//! Each write of an entry removes some unused files ([`prune`]).
//!
//! The cache is an optimisation: its errors are logged, and no pull fails because of them.

mod entry;
mod lock;
mod manifest;
mod prune;
mod single_flight;

pub use entry::{Entry, Freshness};
pub use manifest::{Decided, Manifest};
pub use single_flight::{Leader, Outcome};

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs2::FileExt;
use log::warn;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::CacheKey;
use crate::platform::{self, NotPrivate};

/// The size limit of a file, in bytes. A token has about 4 KiB.
const LARGEST: u64 = 256 * 1024;

/// The extension of manifests.
const MANIFEST: &str = "manifest";

/// The shortest time between a failed refresh and the next one.
const SHORTEST_POSTPONEMENT: Duration = Duration::from_mins(5);

/// The longest time between a failed refresh and the next one.
const LONGEST_POSTPONEMENT: Duration = Duration::from_mins(10);

/// What [`Cache::erase`] removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// The cached token.
    Token,
    /// Nothing: there was no cached token.
    Nothing,
}

/// The directory that holds the entries.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The directory of the cache, by the environment. Fails with the reason why there is none.
    pub fn dir_of(env: &Env) -> Result<PathBuf, Failure> {
        env.cache_dir().ok_or_else(|| {
            if env.disables_cache() {
                return Failure::new(Code::CacheUnused, "the cache is disabled", "unset AWS_ECR_DISABLE_CACHE");
            }
            let hint = format!("set {} or AWS_ECR_CACHE_DIR", Env::HOME);
            Failure::new(Code::CacheUnused, "there is no home directory", hint)
        })
    }

    /// Opens the cache in `dir`, which need not exist until something is written. Fails when others may write to the directory.
    pub fn open(dir: PathBuf) -> Result<Self, Failure> {
        match platform::check_private_dir(&dir) {
            Ok(()) => Ok(Self { dir }),
            Err(NotPrivate { what, hint }) => Err(Failure::new(Code::CacheUnused, what, hint)
                .with_context(format!("the cache {} is not trusted", dir.display()))),
        }
    }

    /// The directory, for messages.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The entry of `key`, fresh or not; `None` when there is none that decodes under that key.
    pub fn look_up(&self, key: &CacheKey) -> Option<Entry> {
        self.look_up_named(&key.to_string())
    }

    /// The entry of a key that a manifest names.
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

    /// All manifests that decode, in no order.
    pub fn manifests(&self) -> impl Iterator<Item = Manifest> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|file| file.path());
        files.filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(MANIFEST)?.strip_suffix('.')?;
            Manifest::decode(&read(&path)?, name)
        })
    }

    /// Writes the manifest of a request, unless the same one is there already.
    pub fn save_manifest(&self, request: &CacheKey, manifest: &Manifest) -> io::Result<()> {
        if self.manifest(request).as_ref() == Some(manifest) {
            return Ok(());
        }
        match manifest.encode() {
            Some(bytes) => self.write(&bytes, &self.dir.join(format!("{request}.{MANIFEST}"))),
            None => Ok(()),
        }
    }

    /// Whether there is an entry file for `key`, usable or not.
    pub fn holds(&self, key: &CacheKey) -> bool {
        self.entry_path(&key.to_string()).symlink_metadata().is_ok()
    }

    /// Tests whether an entry can be written and locked, by means of an unnamed file in the directory or in the parent in which
    /// the directory would be created.
    pub fn probe(&self) -> io::Result<()> {
        let existing = self.dir.ancestors().find(|dir| dir.exists()).unwrap_or(&self.dir);
        let mut file = tempfile::tempfile_in(existing)?;
        file.write_all(&[0; 8 * 1024])?;
        FileExt::try_lock_exclusive(&file)
    }

    /// Writes an entry, which replaces the one of the same key, and the one of its credentials, and removes some unused files.
    pub fn save(&self, entry: &Entry) -> io::Result<()> {
        self.write(&entry.encode(), &self.entry_path(entry.key()))?;
        if let Some(credentials) = entry.credentials().filter(|credentials| *credentials != entry.key()) {
            self.write(&entry.under(credentials).encode(), &self.entry_path(credentials))?;
        }
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

    /// Records a failed refresh, so that no process tries the next one for five to ten minutes. The time is random, so that
    /// the keys of a machine do not all ask AWS at once.
    pub fn postpone_refresh(&self, key: &CacheKey) -> io::Result<()> {
        let spread = LONGEST_POSTPONEMENT.saturating_sub(SHORTEST_POSTPONEMENT).as_secs();
        // The standard library seeds its hash maps at random.
        let random = RandomState::new().build_hasher().finish() % (spread + 1);
        let until = OffsetDateTime::now_utc() + SHORTEST_POSTPONEMENT + Duration::from_secs(random);
        let until = until.format(&Rfc3339).map_err(io::Error::other)?;
        self.write(until.as_bytes(), &self.dir.join(format!("{key}.postponed")))
    }

    /// Whether a recent refresh of the key has failed. A time beyond the longest postponement was recorded while the clock was
    /// wrong, and does not count.
    pub fn is_refresh_postponed(&self, key: &CacheKey) -> bool {
        let until = || {
            let bytes = read(&self.dir.join(format!("{key}.postponed")))?;
            OffsetDateTime::parse(std::str::from_utf8(&bytes).ok()?, &Rfc3339).ok()
        };
        let remaining = until().map(|until| until - OffsetDateTime::now_utc());
        remaining.is_some_and(|remaining| remaining.is_positive() && remaining <= LONGEST_POSTPONEMENT)
    }

    /// Removes the entry of a key, and the one of its credentials.
    pub fn erase(&self, key: &str) -> io::Result<Erased> {
        let credentials = self.look_up_named(key).and_then(|entry| entry.credentials().map(str::to_owned));
        if let Some(credentials) = credentials.filter(|credentials| credentials != key) {
            self.remove(&credentials)?;
        }
        self.remove(key)
    }

    fn remove(&self, key: &str) -> io::Result<Erased> {
        if !prune::is_key(key) {
            return Ok(Erased::Nothing);
        }
        match fs::remove_file(self.entry_path(key)) {
            Ok(()) => Ok(Erased::Token),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Erased::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// Every cached token once, with the size of its file in bytes, in no order.
    pub fn tokens(&self) -> Vec<(Entry, u64)> {
        let mut all: Vec<_> = self.entries().collect();
        let is_own = |entry: &Entry| entry.credentials().is_some_and(|credentials| credentials != entry.key());
        let named = all.iter().map(|(entry, _)| entry).filter(|entry| is_own(entry)).filter_map(Entry::credentials);
        let named: HashSet<String> = named.map(str::to_owned).collect();
        all.retain(|(entry, _)| !named.contains(entry.key()));
        all
    }

    /// All entries that decode, each with the size of its file in bytes, in no order.
    fn entries(&self) -> impl Iterator<Item = (Entry, u64)> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|file| file.path());
        files.filter_map(|path| {
            let key = path.file_name()?.to_str()?.strip_suffix(".json")?;
            let bytes = read(&path)?;
            Some((Entry::decode(&bytes, key)?, u64::try_from(bytes.len()).ok()?))
        })
    }

    /// Removes every file of the cache, and returns how many tokens there were.
    pub fn clear(&self) -> io::Result<usize> {
        let count = self.tokens().len();
        for file in fs::read_dir(&self.dir).into_iter().flatten() {
            let path = file?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let stem = name.split('.').next().unwrap_or_default();
            if prune::is_key(stem) || name.starts_with(prune::TEMPORARY) {
                fs::remove_file(&path)?;
            }
        }
        Ok(count)
    }

    fn entry_path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }
}

/// Reads a file of the cache; `None` when it is missing, too large, or others could have written it.
fn read(path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let mut file = match platform::open_private(path, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                warn!(path:% = path.display(), error:%; "a cached entry cannot be read; it will be replaced");
            }
            return None;
        }
    };
    let length = match platform::check_private_file(&file) {
        Ok(metadata) => metadata.len(),
        Err(why) => {
            warn!(path:% = path.display(), why; "a cached entry is not trusted; it will be replaced");
            return None;
        }
    };
    if length > LARGEST {
        return None;
    }
    // The buffer has its final size: one that grows leaves copies of the token in freed memory.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(length).ok()?]);
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}
