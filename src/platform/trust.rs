//! Decides which files and directories the helper trusts, by their owner and mode.

use std::fmt;
use std::fs::File;
use std::path::Path;

use super::owner::{Owned, own_id};
#[cfg(unix)]
use super::way::{Dirs, LastLink, follow};
use super::with_command;

/// Whether `path` leads below the directory `dir`, with symbolic links resolved.
pub fn is_below(path: &Path, dir: &Path) -> bool {
    let real = || {
        let path = std::path::absolute(path).ok()?;
        let existing = path.ancestors().find(|path| path.exists())?;
        Some(existing.canonicalize().ok()?.join(path.strip_prefix(existing).ok()?))
    };
    let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
    !climbs && dir.canonicalize().is_ok_and(|dir| real().is_some_and(|path| path.starts_with(dir)))
}

/// Why the cache does not use a directory, and the fix.
#[derive(Debug, PartialEq, Eq)]
pub struct NotPrivate {
    /// The reason.
    pub what: &'static str,
    /// The fix.
    pub hint: String,
}

impl fmt::Display for NotPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.hint)
    }
}

/// Checks that other users cannot write to a directory. A directory that does not exist passes.
pub fn check_private_dir(dir: &Path) -> Result<(), NotPrivate> {
    let Ok(metadata) = std::fs::symlink_metadata(dir) else { return Ok(()) };
    let not_private = |what, hint: &str| Err(NotPrivate { what, hint: hint.to_owned() });
    let other = "set AWS_ECR_CACHE_DIR to a directory of this user alone";
    if metadata.is_symlink() {
        return not_private("it is a symbolic link", "set AWS_ECR_CACHE_DIR to the directory itself");
    }
    if !metadata.is_dir() {
        return not_private("it is not a directory", other);
    }
    if metadata.uid() != own_id() {
        return not_private("it belongs to another user", other);
    }
    if metadata.mode() & 0o022 != 0 {
        // Another one than the helper itself makes may hold files of others.
        let is_of_helper = dir.ends_with(crate::NAME) && dir.parent().is_some_and(is_out_of_reach_of_others);
        let private = || with_command("make it private", "chmod 700 {}", &[dir]);
        let fix = if is_of_helper { private() } else { other.to_owned() };
        return not_private("others may write to it", &fix);
    }
    Ok(())
}

/// Returns the metadata of an open file that only this user can read and write; `Err` has the reason for any other file.
pub fn check_private_file(file: &File) -> Result<std::fs::Metadata, &'static str> {
    let metadata = file.metadata().map_err(|_| "its owner and mode cannot be read")?;
    if !metadata.is_file() {
        return Err("it is not a regular file");
    }
    if metadata.uid() != own_id() {
        return Err("it belongs to another user");
    }
    if metadata.mode() & 0o077 != 0 {
        return Err("others may read or write it");
    }
    Ok(metadata)
}

/// Whether it is a regular file of this user that has no second name, e.g. in a directory of another user.
pub fn is_own_file(metadata: &std::fs::Metadata) -> bool {
    metadata.is_file() && metadata.uid() == own_id() && metadata.nlink() < 2
}

/// Whether nobody but this user and root can change what is at `path`, which is no link, or put another file in its place, as they could
/// before a command is run.
pub fn is_out_of_reach_of_others(path: &Path) -> bool {
    let is_closed = |there: std::fs::Metadata| [own_id(), 0].contains(&there.uid()) && there.mode() & 0o022 == 0;
    #[cfg(unix)]
    if follow(path, LastLink::Kept, Dirs::Existing).map_or(true, |place| place.is_shared) {
        return false;
    }
    path.symlink_metadata().is_ok_and(is_closed)
}
