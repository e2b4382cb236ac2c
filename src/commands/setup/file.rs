//! Changes to a file that other programs change too, none of which takes a lock.
//!
//! docker and podman read their settings and later replace the file. This module therefore writes the new text to a temporary
//! file in the same directory, reads the old file again, and replaces it only if it has not changed. If it has changed, the
//! edit is repeated on the new text. A race remains between that last read and the replacement, as in docker itself.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::effect::{Edited, Effect};
use crate::client_config;
use crate::code::Code;
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::input;
use crate::platform::{Access, Destination, NewFile};

/// The limit on attempts. Each failed one means that another program changed the file between reading and replacing.
const MOST_ATTEMPTS: usize = 100;

/// The time limit for the lock. Another `setup` holds it for milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// An edit of a file's text.
pub(super) type Edit<'a> = dyn Fn(&str) -> Result<Edited, Error> + 'a;

/// The text of a file before and after an edit, and what the edit did.
pub(super) struct TextChange {
    pub(super) old: String,
    pub(super) new: String,
    pub(super) effects: Vec<Effect>,
}

impl TextChange {
    /// Reads the file and edits its text.
    pub(super) fn read(env: &Env, path: &Path, edit: &Edit<'_>) -> Result<Self, Error> {
        Self::read_at(env, find(env, path)?.as_ref(), path, edit)
    }

    /// The same in a directory that was opened.
    fn read_at(env: &Env, destination: Option<&Destination>, path: &Path, edit: &Edit<'_>) -> Result<Self, Error> {
        let old =
            destination.map_or(Ok(String::new()), |destination| client_config::text_at(env, destination, path))?;
        let Edited { text: new, effects } = edit(&old)?;
        Ok(Self { old, new, effects })
    }

    /// Fails for a text that has grown beyond what is read again.
    pub(super) fn check_size(&self, path: &Path) -> Result<(), Failure> {
        if self.new.len() > self.old.len() { check_size(path, &self.new, client_config::LARGEST) } else { Ok(()) }
    }

    /// Reports whether the edit leaves the text as it is.
    pub(super) fn is_empty(&self) -> bool {
        self.old == self.new
    }
}

/// Fails for a text that would not be read again for its size.
pub(super) fn check_size(path: &Path, text: &str, limit: u64) -> Result<(), Failure> {
    if text.len() as u64 <= limit {
        return Ok(());
    }
    let what = format!("with this change, {} would exceed {}, the limit", path.display(), input::size(limit));
    Err(Failure::new(Code::ClientConfigInvalid, what, "name fewer registries, or remove what the file does not need"))
}

/// Edits a file, whatever other programs do to it meanwhile. Mode, owner and links stay as they are; a new file is private;
/// a file whose new text is empty is removed.
pub(super) fn change(env: &Env, path: &Path, edit: &Edit<'_>) -> Result<TextChange, Error> {
    let found = find(env, path)?;
    // Two setups run one after the other, since some systems cannot replace a file that another process reads. Without a
    // lock, or when another process holds it too long, the change proceeds all the same.
    let locked = found.as_ref().and_then(|file| file.lock_dir(LOCK_TIMEOUT));
    let mut change = TextChange::read_at(env, found.as_ref(), path, edit)?;
    if change.is_empty() {
        return Ok(change);
    }
    let failed = |error| Error::from(client_config::unwritable(env, path, &error));
    let destination =
        found.map_or_else(|| Destination::asked_for_created(path, env.home().as_deref()), Ok).map_err(failed)?;
    // The directory may have been created just now.
    let _locked = locked.or_else(|| destination.lock_dir(LOCK_TIMEOUT));
    for _ in 0..MOST_ATTEMPTS {
        change.check_size(path)?;
        let new = new_file(&destination, &change.new).map_err(failed)?;
        let is_as_before = match &new {
            Some(new) => new.replaces(change.old.as_bytes()).map_err(failed)?,
            None => client_config::text_at(env, &destination, path)? == change.old,
        };
        if is_as_before && replace(&destination, new).map_err(failed)? {
            return Ok(change);
        }
        change = TextChange::read_at(env, Some(&destination), path, edit)?;
        if change.is_empty() {
            return Ok(change);
        }
    }
    let what = format!("other programs keep changing {}", path.display());
    Err(Error::failed(Code::WriteFailed, what, "try again"))
}

/// The place of the file; `None` if its directory does not exist. The text is read where it is written: between two looks at the
/// path, another user could exchange a directory on the way for a link to a file that only this user may read.
fn find(env: &Env, path: &Path) -> Result<Option<Destination>, Error> {
    match Destination::asked_for(path, env.home().as_deref()) {
        Ok(destination) => Ok(Some(destination)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) if error.raw_os_error().is_some() => Err(client_config::unreadable(env, path, &error).into()),
        Err(error) => Err(client_config::unwritable(env, path, &error).into()),
    }
}

/// Writes a temporary file in the same directory; `None` for an empty text, which removes the file.
fn new_file(destination: &Destination, text: &str) -> io::Result<Option<NewFile>> {
    let mut new = destination.create(Access::AsBefore)?;
    if text.is_empty() {
        return Ok(None);
    }
    new.file().write_all(text.as_bytes())?;
    new.file().sync_all()?;
    Ok(Some(new))
}

/// Replaces the file by a new one, or removes it. Returns `false` if another program has created or removed it meanwhile.
fn replace(destination: &Destination, new: Option<NewFile>) -> io::Result<bool> {
    match new.map_or_else(|| destination.remove(), NewFile::put) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{Edited, Env, change};

    #[test]
    fn the_old_text_is_that_of_the_directory_that_is_written_whatever_the_path_names_meanwhile() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |path: &str| dir.path().join(path);
        for (name, text) in [("way", "{}"), ("roots", "secret")] {
            fs::create_dir(at(name)).and_then(|()| fs::write(at(name).join("config.json"), text)).expect("a file");
        }
        let edit = |old: &str| {
            assert_eq!(old, "{}");
            fs::rename(at("way"), at("aside")).and_then(|()| symlink(at("roots"), at("way"))).expect("a swap");
            Ok(Edited::new("{\"a\":1}", []))
        };
        change(&Env::default(), &at("way/config.json"), &edit).expect("a change");
        let read = |path: &str| fs::read_to_string(at(path)).expect("a file");
        assert_eq!(
            (read("aside/config.json"), read("roots/config.json")),
            ("{\"a\":1}".to_owned(), "secret".to_owned())
        );
    }
}
