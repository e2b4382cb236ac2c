//! Changes to a file that other programs change too, none of which takes a lock.
//!
//! docker and podman read their settings and later replace the file. This module therefore writes the new text to a temporary
//! file in the same directory, reads the old file again, and replaces it only if it has not changed. If it has changed, the
//! edit is repeated on the new text. A race remains between that last read and the replacement, as in docker itself.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::error::Error;
use crate::{client_config, platform};

/// The limit on attempts. Each failed one means that another program changed the file between reading and replacing.
const MOST_ATTEMPTS: usize = 100;

/// The time limit for the lock. Another `setup` holds it for milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The text of a file before and after an edit.
pub(super) struct TextChange {
    pub(super) old: String,
    pub(super) new: String,
}

impl TextChange {
    /// Reads the file and edits its text.
    pub(super) fn read(path: &Path, edit: impl Fn(&str) -> Result<String, Error>) -> Result<Self, Error> {
        let old = client_config::text(path)?;
        let new = edit(&old)?;
        Ok(Self { old, new })
    }

    /// Reports whether the edit leaves the text as it is.
    pub(super) fn is_empty(&self) -> bool {
        self.old == self.new
    }
}

/// Edits a file, whatever other programs do to it meanwhile. Mode, owner and links stay as they are; a new file is private;
/// a file whose new text is empty is removed.
pub(super) fn change(path: &Path, edit: impl Fn(&str) -> Result<String, Error>) -> Result<TextChange, Error> {
    let failed = |error: io::Error| {
        // E.g. config.json as a volume of a container.
        let of_mount = "; it is mounted, and only its content could be changed: change the file that is mounted";
        let hint = if error.kind() == io::ErrorKind::ResourceBusy { of_mount } else { "" };
        Error::failed(format!("{} cannot be replaced: {error}{hint}", path.display()))
    };
    // Two setups run one after the other, since some systems cannot replace a file that another process reads. Without a
    // lock, or when another process holds it too long, the change proceeds all the same.
    let locked = lock(path);
    let mut change = TextChange::read(path, &edit)?;
    if change.is_empty() {
        return Ok(change);
    }
    let target = Destination::prepare(path).map_err(failed)?;
    // The directory may have been created just now.
    let _locked = locked.or_else(|| lock(path));
    for _ in 0..MOST_ATTEMPTS {
        let new = target.temporary_file(&change.new).map_err(failed)?;
        if client_config::text(path)? == change.old && target.replace_by(new).map_err(failed)? == Replacement::Done {
            return Ok(change);
        }
        change = TextChange::read(path, &edit)?;
        if change.is_empty() {
            return Ok(change);
        }
    }
    Err(Error::failed(format!("other programs keep changing {}; try again", path.display())))
}

/// Locks the directory of the file that `path` leads to.
fn lock(path: &Path) -> Option<fs::File> {
    platform::lock_dir(directory(&platform::resolve_links(path).ok()?), LOCK_TIMEOUT)
}

fn directory(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file to replace, after links were resolved.
struct Destination(PathBuf);

/// The result of one attempt to replace a file.
#[derive(PartialEq, Eq)]
enum Replacement {
    Done,
    /// Another program has created or removed the file meanwhile.
    Conflict,
}

impl Destination {
    /// Resolves links and creates the directory if it is missing.
    fn prepare(path: &Path) -> io::Result<Self> {
        let target = platform::resolve_links(path)?;
        let dir = directory(&target);
        if !dir.is_dir() {
            platform::create_private_dir(dir)?;
        }
        Ok(Self(target))
    }

    /// Writes a temporary file in the same directory, with the mode and owner of the file that it is to replace; `None` for an
    /// empty text, which removes the file.
    fn temporary_file(&self, text: &str) -> io::Result<Option<NamedTempFile>> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut new = NamedTempFile::with_prefix_in(".ecr-login-", directory(&self.0))?;
        if let Ok(metadata) = fs::metadata(&self.0) {
            platform::copy_mode_and_owner(new.as_file(), &metadata)?;
        }
        new.write_all(text.as_bytes())?;
        new.as_file().sync_all()?;
        Ok(Some(new))
    }

    /// Replaces the file by a new one, or removes it.
    fn replace_by(&self, new: Option<NamedTempFile>) -> io::Result<Replacement> {
        let replaced = match new {
            None => platform::remove(&self.0),
            Some(new) if self.0.exists() => platform::replace(new, &self.0),
            Some(new) => new.persist_noclobber(&self.0).map(|_| ()).map_err(|error| error.error),
        };
        match replaced {
            Ok(()) => Ok(Replacement::Done),
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
                Ok(Replacement::Conflict)
            }
            Err(error) => Err(error),
        }
    }
}
