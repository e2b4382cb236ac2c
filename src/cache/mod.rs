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
//! Each write of an entry removes some unused files ([`prune`]). A directory that the cache creates has a `CACHEDIR.TAG`, which keeps
//! it out of backups; one that was there may hold other files, and gets none.
//!
//! The cache is an optimisation: its errors are logged, and no pull fails because of them.

mod entry;
mod failure;
mod lock;
mod manifest;
pub mod protocol;
mod prune;
mod single_flight;

pub use entry::{Entry, Freshness};
pub use manifest::{Decided, Manifest};
pub use protocol::{Cached, Need};
pub use single_flight::{Flight, Outcome, Reply};

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use failure::FAILURE;
use fs2::FileExt;
use log::{debug, warn};
use protocol::Erase;
use zeroize::Zeroizing;

use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::CacheKey;
use crate::platform::{self, Access, Destination, NewFile, NotPrivate, TEMPORARY};

/// The size limit of a file, in bytes. A token has about 4 KiB.
const LARGEST: u64 = 256 * 1024;

/// The extension of manifests.
const MANIFEST: &str = "manifest";

/// The extension of entries.
const ENTRY: &str = "json";

/// The bytes that a temporary file for an entry takes from the start: more than an entry has, so that a full disk is noticed before the
/// request to AWS.
const ROOM: usize = 8 * 1024;

/// The content of a file that keeps a directory out of backups, by <https://bford.info/cachedir/>.
const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n# The token cache of docker-credential-ecr-login.\n";

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
        Entry::decode(&read(&self.path(key, ENTRY))?, key)
    }

    /// The manifest of a request.
    pub fn manifest(&self, request: &CacheKey) -> Option<Manifest> {
        let name = request.to_string();
        Manifest::decode(&read(&self.path(&name, MANIFEST))?, &name)
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
            Some(bytes) => self.write(&bytes, &self.path(request, MANIFEST)),
            None => Ok(()),
        }
    }

    /// Whether there is an entry file for `key`, usable or not.
    pub fn holds(&self, key: &CacheKey) -> bool {
        self.path(key, ENTRY).symlink_metadata().is_ok()
    }

    /// Tests whether an entry can be written and locked, by means of a file in the directory or in the parent in which
    /// the directory would be created.
    pub fn probe(&self) -> io::Result<()> {
        let existing = self.dir.ancestors().find(|dir| dir.exists()).unwrap_or(&self.dir);
        // The name stands for any file.
        let mut new = Destination::at(&existing.join("entry"))?.create(Access::Private)?;
        new.file().write_all(&[0; ROOM])?;
        FileExt::try_lock_exclusive(new.file())
    }

    /// Writes an entry, which replaces the one of the same key, and the one of its credentials, and removes some unused files.
    pub fn save(&self, entry: &Entry) -> io::Result<()> {
        let file = self.begin_save(entry.key())?;
        self.commit(file, entry)
    }

    /// Writes an entry, and logs a failure.
    pub fn save_or_warn(&self, entry: &Entry) {
        match self.save(entry) {
            Ok(()) => debug!("token requested and cached"),
            Err(error) => self.warn_unwritten(&error),
        }
    }

    /// Begins to save an entry of this key. Fails if the cache has no room for one.
    fn begin_save(&self, key: impl fmt::Display) -> io::Result<NewFile> {
        let mut file = self.new_file(&self.path(&key, ENTRY), &format!("{TEMPORARY}{key}-"))?;
        file.file().write_all(&[0; ROOM])?;
        file.file().rewind()?;
        Ok(file)
    }

    /// Ends to save an entry. Fails with [`io::ErrorKind::NotFound`] if the key was erased in between.
    fn commit(&self, mut file: NewFile, entry: &Entry) -> io::Result<()> {
        let bytes = entry.encode();
        file.file().write_all(&bytes)?;
        file.file().set_len(bytes.len() as u64)?;
        // The one of the credentials first: whoever erases the other one finds this one by it.
        let credentials = entry.credentials().filter(|credentials| *credentials != entry.key());
        if let Some(credentials) = credentials {
            self.write(&entry.under(credentials).encode(), &self.path(credentials, ENTRY))?;
        }
        // An entry of the credentials alone has another key than the one that the file was begun for.
        let place = self.path(entry.key(), ENTRY);
        if let Err(error) = file.renamed(place.file_name().unwrap_or_default()).replace() {
            credentials.map(|credentials| remove_if_there(&self.path(credentials, ENTRY)));
            return Err(error);
        }
        prune::sweep(&self.dir);
        Ok(())
    }

    fn write(&self, bytes: &[u8], path: &Path) -> io::Result<()> {
        let mut file = self.new_file(path, TEMPORARY)?;
        file.file().write_all(bytes)?;
        file.replace()
    }

    /// Begins to write a file.
    fn new_file(&self, path: &Path, prefix: &str) -> io::Result<NewFile> {
        self.destination(path)?.create_named(Access::Private, prefix)
    }

    /// The place of a file in the directory. A missing directory is created, with a tag that keeps it out of backups. What is there
    /// and is no file of this user, e.g. a link or a pipe, is removed, and a directory that is not empty is moved aside: the cache
    /// could neither read nor replace it, and would ask AWS each time.
    fn destination(&self, path: &Path) -> io::Result<Destination> {
        platform::survive_file_size_limit();
        let is_new = !self.dir.exists();
        let destination = Destination::in_private_dir(path)?;
        if is_new {
            let _ = self.write(TAG, &self.dir.join("CACHEDIR.TAG"));
        } else if let Ok(squatter) = path.symlink_metadata() {
            if squatter.is_dir() && fs::remove_dir(path).is_err() {
                warn!(dir:% = path.display(); "a directory is in the place of a file of the cache; it is moved to the same name with .moved");
                // One that was moved earlier may be there, and not empty either.
                let again = || format!(".moved-{}", time::OffsetDateTime::now_utc().unix_timestamp_nanos());
                destination.rename_with(".moved").or_else(|_| destination.rename_with(&again()))?;
            } else if !squatter.is_dir() && !platform::is_own_file(&squatter) {
                warn!(path:% = path.display(); "what is in the place of a file of the cache is no file of this user with one name; it is removed");
                destination.remove()?;
            }
        }
        Ok(destination)
    }

    /// Logs that a token could not be cached.
    fn warn_unwritten(&self, error: &io::Error) {
        warn!(dir:% = self.dir.display(), error:%; "not cached: the cache cannot be written");
    }

    /// Erases the token of a key, perhaps one that a manifest names, and the one of its credentials. A save that began before does
    /// not succeed.
    pub fn erase(&self, key: &str) -> io::Result<Erased> {
        let mut erased = Erased::Nothing;
        if !prune::is_key(key) {
            return Ok(erased);
        }
        for step in protocol::ERASURE {
            match step {
                Erase::BegunSaves => self.remove_begun_saves(key)?,
                Erase::Entry => erased = self.remove_entry(key)?,
                Erase::Report => self.remove_report(key),
            }
        }
        Ok(erased)
    }

    /// Makes all saves that have begun fail, whatever their keys.
    pub fn cancel_saves(&self) -> io::Result<()> {
        self.remove_temporary_files(TEMPORARY)
    }

    fn remove_begun_saves(&self, key: &str) -> io::Result<()> {
        self.remove_temporary_files(&format!("{TEMPORARY}{key}-"))
    }

    fn remove_temporary_files(&self, prefix: &str) -> io::Result<()> {
        for file in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let is_dir = file.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_dir && file.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
                remove_if_there(&file.path())?;
            }
        }
        Ok(())
    }

    /// Removes the entry of a key, and the one of its credentials.
    fn remove_entry(&self, key: &str) -> io::Result<Erased> {
        let entry = self.look_up_named(key);
        if let Some(credentials) = entry.as_ref().and_then(Entry::credentials).filter(|named| prune::is_key(named)) {
            remove_if_there(&self.path(credentials, ENTRY))?;
        }
        let was_there = remove_if_there(&self.path(key, ENTRY))?;
        Ok(if was_there { Erased::Token } else { Erased::Nothing })
    }

    fn remove_report(&self, key: &str) {
        let _ = fs::remove_file(self.path(key, FAILURE));
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
        // First the saves that have begun, as in the erasure of one key.
        self.cancel_saves()?;
        for file in fs::read_dir(&self.dir).into_iter().flatten() {
            let path = file?.path();
            let stem = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
            // A link to a directory is no directory.
            match stem.filter(|stem| prune::is_key(stem)).and_then(|_| path.symlink_metadata().ok()) {
                // One with content is not the cache's.
                Some(file) if file.is_dir() => drop(fs::remove_dir(path)),
                Some(_) => drop(remove_if_there(&path)?),
                None => {}
            }
        }
        Ok(count)
    }

    /// The path of a file of a key.
    fn path(&self, key: impl fmt::Display, extension: &str) -> PathBuf {
        self.dir.join(format!("{key}.{extension}"))
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
    Some(bytes)
}
