//! Writes the files of the cache.

use std::fmt;
use std::fs;
use std::io::{self, Seek, Write};
use std::path::Path;

use fs2::FileExt;
use log::warn;

use super::name::{ENTRY, MANIFEST, begun};
use super::protocol::{SAVING, Save};
use super::{Cache, Entry, LARGEST, Manifest, prune};
use crate::identity::CacheKey;
use crate::input::ReadError;
use crate::platform::{self, Access, Destination, NewFile, TEMPORARY};

/// The bytes that a temporary file for an entry takes from the start: more than an entry has, so that a full disk is noticed before the
/// request to AWS.
const ROOM: usize = 8 * 1024;

/// The content of a file that keeps a directory out of backups, by <https://bford.info/cachedir/>.
const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n# The token cache of docker-credential-ecr-login.\n";

impl Cache {
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

    /// Tests whether an entry can be written and locked, by means of a file in the directory or in the parent in which
    /// the directory would be created, with the same judgement of the way there.
    pub fn probe(&self) -> io::Result<()> {
        check_length(&self.path(format_args!("{:064}", 0), ENTRY))?;
        if let Some(link) = platform::dangling_link(&self.dir) {
            return Err(io::Error::other(format!(
                "the symbolic link {} leads nowhere; mount or create what it leads to, or remove it",
                link.display()
            )));
        }
        let existing = self.dir.ancestors().find(|dir| dir.exists()).unwrap_or(&self.dir);
        // The name stands for any file.
        let mut new = Destination::asked_for(&existing.join("entry"), None)?.create(Access::Private)?;
        new.file().write_all(&[0; ROOM])?;
        FileExt::try_lock_exclusive(new.file())
    }

    /// Writes an entry, which replaces the one of the same key, and the one of its credentials, and removes some unused files.
    pub fn save(&self, entry: &Entry) -> io::Result<()> {
        let file = self.begin_save(entry.key)?;
        self.commit(file, &entry.key, entry)
    }

    /// Begins to save an entry of this key. Fails if the cache has no room for one.
    pub(super) fn begin_save(&self, key: impl fmt::Display) -> io::Result<NewFile> {
        let mut file = self.new_file(&self.path(&key, ENTRY), &begun(&key))?;
        file.file().write_all(&[0; ROOM])?;
        file.file().rewind()?;
        Ok(file)
    }

    /// Ends to save an entry, which began for this key. Fails with [`io::ErrorKind::NotFound`] if the key was erased in between.
    pub(super) fn commit(&self, mut file: NewFile, begun_for: &CacheKey, entry: &Entry) -> io::Result<()> {
        let begun_at = file.file().metadata()?.modified()?;
        let bytes = entry.encode();
        check_size(&bytes)?;
        file.file().write_all(&bytes)?;
        file.file().set_len(bytes.len() as u64)?;
        // An entry of the credentials alone has another key than the one that the file was begun for.
        let place = self.path(entry.key, ENTRY);
        let mut file = Some(file.renamed(place.file_name().unwrap_or_default()));
        let mut second = None;
        if let Some(key) = entry.key_of_second() {
            let mut file = self.new_file(&self.path(key, ENTRY), &begun(entry.key))?;
            file.file().write_all(&entry.under(&key).encode())?;
            second = Some(file);
        }
        for step in SAVING {
            match step {
                Save::Entry => file.take().map_or(Ok(()), NewFile::replace)?,
                Save::OfCredentials => second.take().map_or(Ok(()), NewFile::replace)?,
                Save::EarlierSaves => prune::sweep(&self.dir, &begun(begun_for), begun_at),
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, bytes: &[u8], path: &Path) -> io::Result<()> {
        check_size(bytes)?;
        let mut file = self.new_file(path, TEMPORARY)?;
        file.file().write_all(bytes)?;
        file.replace()
    }

    /// Begins to write a file.
    fn new_file(&self, path: &Path, prefix: &str) -> io::Result<NewFile> {
        self.destination(path)?.create_named(Access::Private, prefix)
    }

    /// The place of a file in the directory, which is created where it is missing. What is there and is no file of this user, e.g. a link
    /// or a pipe, is removed, and a directory that is not empty is moved aside: the cache could neither read nor replace it, and would
    /// ask AWS each time.
    pub(super) fn destination(&self, path: &Path) -> io::Result<Destination> {
        platform::survive_file_size_limit();
        check_length(path)?;
        let (is_new, tag) = (!self.dir.exists(), self.dir.join("CACHEDIR.TAG"));
        let destination = Destination::in_private_dir(path)?;
        if (is_new || self.dir.ends_with(crate::NAME)) && path != tag && !tag.exists() {
            let _ = self.write(TAG, &tag);
        }
        if let Ok(squatter) = path.symlink_metadata() {
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
    pub(super) fn warn_unwritten(&self, error: &io::Error) {
        warn!(dir:% = self.dir.display(), error:%; "not cached: the cache cannot be written");
    }
}

/// Fails for a file that would not be read again for its size.
fn check_size(bytes: &[u8]) -> io::Result<()> {
    let fits = bytes.len() as u64 <= LARGEST;
    let error = || io::Error::new(io::ErrorKind::FileTooLarge, ReadError::TooLarge(LARGEST).to_string());
    fits.then_some(()).ok_or_else(error)
}

/// Fails for a path that is too long for the system: step by step, a file could be written there that nobody reads again.
fn check_length(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Err(error),
        _ => Ok(()),
    }
}
