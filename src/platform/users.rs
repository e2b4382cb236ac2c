//! Whose home directory this is.
//!
//! On macOS `/etc/passwd` has the accounts of the system alone, root's among them; those of people are in Directory Services,
//! where the C library asks. It is always the system's own there: only programs for Linux are static.

#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::owner::{Owned, own_id};

/// The size limit of the user database. A line has some tens of bytes.
#[cfg(unix)]
const LARGEST: u64 = 16 * 1024 * 1024;

/// The home directory of this user in `/etc/passwd`. Other sources of the C library's user database are not asked: that can load
/// modules of another C library into a static program, and wait for a server.
pub fn home_in_user_database() -> Option<PathBuf> {
    #[cfg(unix)]
    {
        // What is there in place of a file is not waited for.
        let database = super::open_without_waiting(Path::new("/etc/passwd")).ok()?;
        let is_file = database.metadata().ok()?.is_file();
        let database = is_file.then(|| super::files::read_within(&database, LARGEST))?.ok()?;
        let id = own_id().to_string();
        let home = database.split(|byte| *byte == b'\n').find_map(|line| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            (fields.get(2)? == &id.as_bytes()).then(|| fields.get(5).copied())?
        })?;
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(home))).filter(|home| home.is_absolute())
    }
    #[cfg(not(unix))]
    None
}

/// The owner of the home directory, where this process is root's, the directory is another user's, and `path` leads below it. Whether
/// it does is asked by name: what matters is judged later, that the directory of the file is this user's.
#[cfg(unix)]
pub(super) fn owner_of_home(path: &Path, home: Option<&Path>) -> Option<u32> {
    let home = home.filter(|home| own_id() == 0 && super::is_below(path, home))?;
    home.metadata().ok().map(|metadata| metadata.uid()).filter(|owner| *owner != 0)
}

/// The user to whom a path belongs, with links followed.
pub fn owner(path: &Path) -> Option<u32> {
    path.metadata().ok().map(|metadata| metadata.uid())
}

/// The same, if that is not this one.
pub fn other_owner(path: &Path) -> Option<u32> {
    owner(path).filter(|owner| *owner != own_id())
}

/// The user to whom a home directory belongs, if that is not this one, nor the user database names it as this one's: a server may
/// show another owner for a while.
pub fn other_owner_of_home(home: &Path) -> Option<u32> {
    other_owner(home).filter(|_| home_in_user_database().as_deref() != Some(home))
}

/// The user to whom a file belongs, if that is neither this one nor root and has had a directory of theirs to put it in, as with
/// `HOME=/tmp`. In a closed one, this user or root has given it, e.g. as a volume of a container.
pub fn planted_by(path: &Path) -> Option<u32> {
    let other = |path: &Path| other_owner(path).filter(|owner| *owner != 0);
    let path = std::path::absolute(path).ok()?;
    let dir = path.ancestors().find(|dir| other(dir).is_none())?;
    other(&path).filter(|_| dir.metadata().is_ok_and(|metadata| metadata.mode() & 0o022 != 0))
}

/// Whether a message may name a command that changes the owner of what is at `path`, or removes it. It lies below `home`, the home
/// directory of this user; on the way from there, everything is this user's or root's and nothing is a link, or is sticky or gives its
/// group to files, as directories are that others need. It has one name, which others can give to nothing else, and is not mounted there.
pub fn is_plain_below(path: &Path, home: Option<&Path>) -> bool {
    let is_own = |home: &&Path| owner(home) == Some(own_id()) && home.parent().is_some();
    let Some(home) = home.filter(is_own) else { return false };
    let is_plain = |step: &Path| {
        step.symlink_metadata().is_ok_and(|there| {
            let has_one_name = there.is_dir() || (there.is_file() && there.nlink() == 1);
            has_one_name && there.mode() & 0o3000 == 0 && [own_id(), 0].contains(&there.uid())
        })
    };
    let mut steps = path.ancestors().take_while(|step| *step != home);
    let is_below = path.strip_prefix(home).is_ok_and(|rest| {
        rest.components().next().is_some() && rest.components().all(|part| matches!(part, Component::Normal(_)))
    });
    let is_of_home = home.canonicalize().is_ok_and(|home| mount_of(path) == mount_of(&home));
    is_below && steps.all(is_plain) && is_of_home && super::is_out_of_reach_of_others(path)
}

/// The mount that holds a path, or the nearest directory above it that can be seen.
#[cfg(target_os = "linux")]
fn mount_of(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| mount_at(rustix::fs::CWD, path))
}

/// The mount that holds what has a name in a directory; 0 on Linux before 5.8.
#[cfg(target_os = "linux")]
pub(super) fn mount_at(dir: impl std::os::fd::AsFd, name: &Path) -> Option<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID).ok().map(|stat| stat.stx_mnt_id)
}

/// The device that holds a path: a directory of the same one is mounted nowhere else.
#[cfg(all(unix, not(target_os = "linux")))]
fn mount_of(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    path.ancestors().find_map(|path| path.symlink_metadata().ok()).map(|metadata| metadata.dev())
}

/// Nothing is mounted into a home directory.
#[cfg(not(unix))]
fn mount_of(_path: &Path) -> Option<u64> {
    None
}

/// Whether this process is root's and `path`, or the nearest directory above it that exists, is another user's, as the home
/// directory under `sudo -E` and in container jobs.
pub fn is_root_elsewhere(path: &Path) -> bool {
    own_id() == 0 && path.ancestors().find_map(|path| path.metadata().ok()).is_some_and(|metadata| metadata.uid() != 0)
}
