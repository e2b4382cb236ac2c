//! Tokens on disk, one file for each entry, shared by all processes of a user.
//!
//! | file | content |
//! | --- | --- |
//! | `<key>.json` | an entry: a token and its times ([`entry`]) |
//! | `<key>.lock`, `.lock2` | coordinate the processes that need the entry ([`protocol`]), and go with the last of them |
//! | `<key>.failure` | why the last request failed, and when the next refresh may be tried ([`failure`]) |
//! | `.ecr-login-<key>-….tmp` | a save that has begun |
//! | `<request>.manifest` | the entry that answers a request ([`manifest`]) |
//!
//! `identity` derives the key. A file with content appears by a rename of a finished temporary file, so that readers need no lock and
//! never read half of one. Directories have mode 0700 and files 0600, whatever the umask. The cache ignores a directory or file that
//! others could have written to, and opens nothing through a link. It calls no fsync: an entry that a power failure cut short
//! does not decode, and costs one API call.
//!
//! Each write of an entry removes some unused files ([`prune`]). A directory of the helper's name, or one that it creates, has a
//! `CACHEDIR.TAG`, which keeps it out of backups. Any other that was there may hold other files, and gets none.
//!
//! The cache is an optimisation: its errors are logged, and no pull fails because of them.

mod entry;
mod erase;
mod failure;
mod lock;
mod manifest;
mod name;
pub mod protocol;
mod prune;
mod save;
mod single_flight;

pub use entry::{Entry, Freshness};
pub use manifest::{Decided, Manifest};
pub use protocol::Need;
pub use single_flight::{Flight, Outcome, Stop, busy};

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::warn;
use zeroize::Zeroizing;

use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::CacheKey;
use crate::platform::{self, NotPrivate};
use name::{ENTRY, MANIFEST};

/// The size limit of a file, in bytes. A token has about 4 KiB.
const LARGEST: u64 = 256 * 1024;

/// The directory that holds the entries.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The directory of the cache, by the environment. Fails with the reason why there is none.
    pub fn dir_of(env: &Env) -> Result<PathBuf, Failure> {
        if env.disables_cache() {
            return Err(Failure::new(Code::CacheUnused, "the cache is disabled", "unset AWS_ECR_DISABLE_CACHE"));
        }
        Self::dir_of_tokens(env)
    }

    /// The same for what removes tokens, which may be from before the cache was disabled.
    pub fn dir_of_tokens(env: &Env) -> Result<PathBuf, Failure> {
        env.dir_of_tokens().ok_or_else(|| {
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

    /// Opens the cache to list or remove what is in it: one that cannot be trusted or read may have tokens, which are served again once
    /// it can. In a home directory of another user that is closed to this one, no request of this user can have put any.
    pub fn open_whole(env: &Env, dir: PathBuf) -> Result<Self, Failure> {
        let cache = Self::open(dir)?;
        let closed_to_this_user = |home: &PathBuf| {
            cache.dir.starts_with(home)
                && platform::other_owner_of_home(home).is_some()
                && home.join(".").symlink_metadata().is_err()
        };
        if env.home().as_ref().is_some_and(closed_to_this_user) {
            return Ok(cache);
        }
        let unread = |why: &str, hint: &str| {
            let what = format!("the cache {} cannot be read: {why}", cache.dir.display());
            Err(Failure::new(Code::CacheUnused, what, hint))
        };
        // By this name, a directory that may be read and not entered cannot be read either.
        match fs::read_dir(cache.dir.join(".")) {
            Err(_) if let Some(link) = platform::dangling_link(&cache.dir) => {
                let what = format!("the symbolic link {} leads nowhere", link.display());
                unread(&what, "mount or create what it leads to, or remove it")
            }
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                unread(&error.to_string(), "let this user read that directory, and enter those above it")
            }
            _ => Ok(cache),
        }
    }

    /// The directory, for messages.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The entry of `key`, fresh or not; `None` when there is none that decodes under that key.
    pub fn look_up(&self, key: &CacheKey) -> Option<Entry> {
        Entry::decode(&read(&self.path(key, ENTRY))?, key)
    }

    /// The manifest of a request.
    pub fn manifest(&self, request: &CacheKey) -> Option<Manifest> {
        Manifest::decode(&read(&self.path(request, MANIFEST))?, request)
    }

    /// The paths of all manifests, in no order.
    pub fn manifest_files(&self) -> Vec<PathBuf> {
        self.files(MANIFEST).collect()
    }

    fn files(&self, extension: &'static str) -> impl Iterator<Item = PathBuf> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|file| file.path());
        files.filter(move |path| path.extension().is_some_and(|ending| ending == extension))
    }

    /// The manifest in a file, if it decodes.
    pub fn manifest_in(path: &Path) -> Option<Manifest> {
        Manifest::decode(&read(path)?, &path.file_stem()?.to_str()?.parse().ok()?)
    }

    /// Whether there is an entry file for `key`, usable or not.
    pub fn holds(&self, key: &CacheKey) -> bool {
        self.path(key, ENTRY).symlink_metadata().is_ok()
    }

    /// Every cached token once, with the size of its file in bytes, in no order.
    pub fn tokens(&self) -> Vec<(Entry, u64)> {
        let mut all: Vec<_> = self.entries().collect();
        let named: HashSet<CacheKey> = all.iter().filter_map(|(entry, _)| entry.key_of_second()).collect();
        all.retain(|(entry, _)| !named.contains(&entry.key));
        all
    }

    /// The fresh entry, no older than `max_age`, of a token that these credentials have requested where they stand in settings, if it is
    /// found at once: a directory may hold many files.
    pub fn of_lasting(&self, credentials: &CacheKey, max_age: Option<Duration>) -> Option<Entry> {
        const LONGEST: Duration = Duration::from_millis(100);
        let started = Instant::now();
        let is_fresh = |entry: &Entry| entry.freshness_within(max_age) == Freshness::Fresh;
        let is_theirs = |entry: &Entry| entry.lasting_credentials == Some(*credentials) && is_fresh(entry);
        let entries = self.files(ENTRY).take_while(|_| started.elapsed() < LONGEST).filter_map(|path| entry_in(&path));
        entries.map(|(entry, _)| entry).find(is_theirs)
    }

    /// All entries that decode, each with the size of its file in bytes, in no order.
    fn entries(&self) -> impl Iterator<Item = (Entry, u64)> {
        self.files(ENTRY).filter_map(|path| entry_in(&path))
    }

    /// The path of a file of a key.
    fn path(&self, key: impl fmt::Display, extension: &str) -> PathBuf {
        self.dir.join(format!("{key}.{extension}"))
    }
}

/// The entry in a file, and its size in bytes.
fn entry_in(path: &Path) -> Option<(Entry, u64)> {
    let key = path.file_stem()?.to_str()?.parse().ok()?;
    let bytes = read(path)?;
    Some((Entry::decode(&bytes, &key)?, u64::try_from(bytes.len()).ok()?))
}

/// Reads a file of the cache; `None` when it is missing, too large, or others could have written it.
fn read(path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let mut file = match platform::open_private(path) {
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
    platform::close_later(file);
    Some(bytes)
}
