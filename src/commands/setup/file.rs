//! Changes to a file that other programs change too, none of which takes a lock.
//!
//! docker and podman read their settings, and some time later put a new file in the old one's place. So the new text is
//! written to a file beside the old one, the old one is read again, and only when it is as before does the new file take
//! its place. Otherwise the change is made anew to what is there now. What is left is the moment between that look and
//! the replacement, as for docker itself.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::{client_config, platform};

/// Others would have to change the file each time between reading and replacing.
const MOST_TRIES: usize = 100;

/// Another `setup` takes milliseconds.
const LONGEST_LOCK: Duration = Duration::from_secs(10);

/// Makes the change that `edit` makes to the file's text, whatever others do to it meanwhile; returns the text before
/// and after it. Mode, owner and links stay; what is new is for the user alone; what is empty is removed.
pub(super) fn change(path: &Path, edit: impl Fn(&str) -> Result<String, String>) -> Result<(String, String), String> {
    let failed = |error: io::Error| format!("{} cannot be replaced: {error}", path.display());
    let directory = |target: &Path| {
        let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty());
        dir.unwrap_or(Path::new(".")).to_owned()
    };
    // One setup after the other, before the first look: on some systems a file that another process reads cannot be replaced.
    // Where there is no lock, or another process holds it too long, the change is made without.
    let lock = || platform::lock_dir(&directory(&platform::resolve_links(path).ok()?), LONGEST_LOCK);
    let locked = lock();
    let mut old = client_config::text(path)?;
    let mut new = edit(&old)?;
    if new == old {
        return Ok((old, new));
    }
    let target = platform::resolve_links(path).map_err(failed)?;
    let dir = directory(&target);
    if !dir.is_dir() {
        platform::create_private_dir(&dir).map_err(failed)?;
    }
    // The directory may have been made only now.
    let _locked = locked.or_else(lock);
    for _ in 0..MOST_TRIES {
        let beside = if new.is_empty() { None } else { Some(beside(&target, &dir, &new).map_err(failed)?) };
        let now = client_config::text(path)?;
        if now == old && replace(beside, &target).map_err(failed)? {
            return Ok((old, new));
        }
        old = client_config::text(path)?;
        new = edit(&old)?;
        if new == old {
            return Ok((old, new));
        }
    }
    Err(format!("{} is changed by others all the time; try again", path.display()))
}

/// Puts the new file in the place of the old one, or removes the old one; `false` when somebody else has made or removed
/// it meanwhile.
fn replace(new: Option<NamedTempFile>, target: &Path) -> io::Result<bool> {
    let replaced = match new {
        None => platform::remove(target),
        Some(new) if target.exists() => platform::replace(new, target),
        Some(new) => new.persist_noclobber(target).map(|_| ()).map_err(|error| error.error),
    };
    match replaced {
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => Ok(false),
        replaced => replaced.map(|()| true),
    }
}

/// A file with that text in the same directory, with the mode and the owner of the one that it is to replace.
fn beside(target: &Path, dir: &Path, text: &str) -> io::Result<NamedTempFile> {
    let mut new = NamedTempFile::with_prefix_in(".ecr-login-", dir)?;
    if let Ok(metadata) = fs::metadata(target) {
        platform::copy_mode_and_owner(new.as_file(), &metadata)?;
    }
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    Ok(new)
}
