//! Decides which files and directories the helper trusts, by their owner and mode.

use std::fmt;
use std::fs::File;
use std::path::Path;

use super::owner::{Owned, own_id};
use super::{is_in_own_home, with_command};

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

/// What to do where a path leads to something that has another name too, as a symbolic link on it can in what others have made, e.g. a
/// checkout: with the rights that fix the one, root would give away the other. Those in the root directory are the system's.
pub fn detour(path: &Path) -> Option<String> {
    let is_of_system = |path: &Path| path.has_root() && path.parent().is_none_or(|dir| dir.parent().is_none());
    let is_link = |path: &&Path| path.is_symlink() && !is_of_system(path);
    if let Some(link) = path.ancestors().filter(is_link).last() {
        let target = link.canonicalize().or_else(|_| link.read_link()).unwrap_or_default();
        return Some(format!("{} is a link to {}: remove it, or name another file", link.display(), target.display()));
    }
    let has_second_name = path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.nlink() > 1);
    has_second_name.then(|| format!("{} has a second name: remove it, or name another file", path.display()))
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

/// Checks that other users cannot write to a directory. A directory that does not exist passes. `home` is the home directory.
pub fn check_private_dir(dir: &Path, home: Option<&Path>) -> Result<(), NotPrivate> {
    let Ok(metadata) = std::fs::symlink_metadata(dir) else { return Ok(()) };
    let not_private = |what, hint: &str| Err(NotPrivate { what, hint: hint.to_owned() });
    if metadata.is_symlink() {
        return not_private("it is a symbolic link", "set AWS_ECR_CACHE_DIR to the directory itself");
    }
    if !metadata.is_dir() {
        return not_private("it is not a directory", "remove it, or name another directory with AWS_ECR_CACHE_DIR");
    }
    let other = "set AWS_ECR_CACHE_DIR to a directory of this user alone";
    if metadata.uid() != own_id() {
        return not_private("it belongs to another user", other);
    }
    if metadata.mode() & 0o022 != 0 {
        // Others need what is sticky or gives its group to files, as /tmp, and what lies elsewhere may be theirs too.
        let is_shared = metadata.mode() & 0o3000 != 0 || !is_in_own_home(dir, home);
        let private = || with_command("make it private", "chmod 700 {}", &[dir]);
        let fix = if is_shared { other.to_owned() } else { detour(dir).unwrap_or_else(private) };
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
