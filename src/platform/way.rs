//! Follows a path from one open directory to the next, as [`destination`](super::destination) says.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[cfg(not(target_os = "linux"))]
use rustix::fs::statat;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::fs::{fchmod, fchown, fstat, mkdirat, openat, readlinkat, unlinkat};
use rustix::io::Errno;
use rustix::process::{getegid, umask};

use super::writing::check_path;
use super::{own_id, with_command};

/// The number of symbolic links that Linux follows.
const MOST_LINKS: usize = 40;

/// Opens a directory itself.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory on the way, even one that this user may enter and not read. The flag for directories has an automounter
/// mount them.
#[cfg(target_os = "linux")]
const WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const WAY: OFlags = DIRECTORY;

/// In which directories a file may be.
#[derive(Clone, Copy)]
pub(super) enum Dirs {
    /// In any that exists.
    Existing,
    /// In those of this user, of root, and of the user whose home directory this user is a guest in. Those that are missing are
    /// created with a mode, for the owner of the one above, or are an error.
    Judged { guest_of: Option<u32>, created: Option<Mode> },
    /// The same, but where one is missing, the place is that of the first of these.
    Nearest { guest_of: Option<u32> },
}

/// Whether the path itself may be a symbolic link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLink {
    Kept,
    Followed,
}

/// Where a path leads to.
pub(super) struct Place {
    /// The directory of the last name.
    pub(super) dir: OwnedFd,
    pub(super) of_dir: Stat,
    pub(super) name: OsString,
    /// Whether another user than root may move files or directories of this one to a name on the way.
    pub(super) is_shared: bool,
}

/// Follows a path to the directory of its last name, which is opened.
pub(super) fn follow(path: &Path, last: LastLink, dirs: Dirs) -> io::Result<Place> {
    check_path(path)?;
    let mut way = Way::start(path)?;
    loop {
        let Some(name) = way.rest.pop_front() else {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory; name a file in it"));
        };
        let is_shared = way.is_shared_here();
        way.is_shared |= is_shared;
        let is_last = way.rest.is_empty() && name != "..";
        if is_last && last == LastLink::Kept {
            return way.arrive(name, dirs);
        }
        match way.look(&name)? {
            Found::Link(_) if is_shared => {
                let link = way.path.join(name);
                let why = "others may write to the directory of the symbolic link";
                return Err(refused(format!("{why} {}; name its target", link.display())));
            }
            Found::Link(target) => way.follow(&target)?,
            _ if is_last => return way.arrive(name, dirs),
            Found::Directory(dir, of_dir) => way.enter(name, dir, of_dir),
            Found::Nothing => match dirs {
                Dirs::Judged { guest_of, created: Some(mode) } => way.create(name, guest_of, mode)?,
                Dirs::Nearest { .. } => return way.arrive(name, dirs),
                _ => return Err(way.is_missing(&name)),
            },
            Found::Other => {
                let why = format!("{} is not a directory", way.path.join(name).display());
                return Err(io::Error::new(io::ErrorKind::NotADirectory, why));
            }
        }
    }
}

/// What has a name in a directory.
enum Found {
    Nothing,
    /// A symbolic link of this user or of root, by its target.
    Link(PathBuf),
    Directory(OwnedFd, Stat),
    Other,
}

/// The way to a file: the directory that has been reached, and the names that are left.
struct Way {
    dir: OwnedFd,
    of_dir: Stat,
    /// The path of the directory, for messages.
    path: PathBuf,
    rest: VecDeque<OsString>,
    links: usize,
    is_shared: bool,
}

impl Way {
    fn start(path: &Path) -> io::Result<Self> {
        let start = if path.is_absolute() { "/" } else { "." };
        let dir = openat(CWD, start, WAY, Mode::empty())?;
        let of_dir = fstat(&dir)?;
        if of_dir.st_nlink == 0 {
            return Err(refused("the current directory was removed; change to one that exists".to_owned()));
        }
        let path_of_dir = if path.is_absolute() { PathBuf::from("/") } else { PathBuf::new() };
        Ok(Self { dir, of_dir, path: path_of_dir, rest: names(path).collect(), links: 0, is_shared: false })
    }

    /// Whether another user may move any file of this one to any name in the directory. In a sticky one, such as /tmp, only its owner
    /// may. A group with the number of its user has no other members.
    fn is_shared_here(&self) -> bool {
        let mode = Mode::from_raw_mode(self.of_dir.st_mode);
        let is_private = || {
            let is_private = self.of_dir.st_gid == own_id() && getegid().as_raw() == own_id();
            #[cfg(target_os = "linux")]
            let is_private = !super::access_list::is_open_to_others(&self.dir, is_private);
            is_private
        };
        let is_open = || mode.contains(Mode::WOTH) || (mode.contains(Mode::WGRP) && !is_private());
        is_foreign(self.of_dir.st_uid) || (!mode.contains(Mode::SVTX) && is_open())
    }

    /// What has a name in the directory. The link that is judged is the one that is read, and the directory is the one that is
    /// entered.
    fn look(&self, name: &OsStr) -> io::Result<Found> {
        match openat(&self.dir, name, WAY, Mode::empty()) {
            Ok(dir) => {
                let of_dir = fstat(&dir)?;
                return Ok(Found::Directory(dir, of_dir));
            }
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(error.into()),
        }
        let Some((owner, target)) = self.link(name)? else { return Ok(Found::Other) };
        if is_foreign(owner) {
            let link = self.path.join(name);
            return Err(refused(format!("the symbolic link {} belongs to another user", link.display())));
        }
        Ok(Found::Link(target))
    }

    /// The owner and the target of a symbolic link; `None` for everything else.
    fn link(&self, name: &OsStr) -> io::Result<Option<(u32, PathBuf)>> {
        #[cfg(target_os = "linux")]
        let (stat, target) = {
            let link = openat(&self.dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            let stat = fstat(&link)?;
            if !is_link(&stat) {
                return Ok(None);
            }
            (stat, readlinkat(&link, "", Vec::new())?)
        };
        #[cfg(not(target_os = "linux"))]
        let (stat, target) = {
            let look = || statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW);
            let stat = look()?;
            if !is_link(&stat) {
                return Ok(None);
            }
            let target = readlinkat(&self.dir, name, Vec::new())?;
            let after = look()?;
            if (stat.st_dev, stat.st_ino) != (after.st_dev, after.st_ino) {
                return Err(refused("a symbolic link changed while it was read".to_owned()));
            }
            (stat, target)
        };
        Ok(Some((stat.st_uid, PathBuf::from(OsString::from_vec(target.into_bytes())))))
    }

    fn follow(&mut self, target: &Path) -> io::Result<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(io::Error::other("too many symbolic links"));
        }
        let rest: VecDeque<OsString> = names(target).chain(self.rest.drain(..)).collect();
        if target.is_absolute() {
            let Self { dir, of_dir, path, .. } = Self::start(Path::new("/"))?;
            (self.dir, self.of_dir, self.path) = (dir, of_dir, path);
        }
        self.rest = rest;
        Ok(())
    }

    /// Goes on to a directory in this one.
    fn enter(&mut self, name: OsString, dir: OwnedFd, of_dir: Stat) {
        (self.dir, self.of_dir) = (dir, of_dir);
        self.path.push(name);
    }

    /// Ends the way at a name in the directory.
    fn arrive(self, name: OsString, dirs: Dirs) -> io::Result<Place> {
        if let Dirs::Judged { guest_of, .. } | Dirs::Nearest { guest_of } = dirs {
            self.check_owner(guest_of)?;
        }
        Ok(Place { dir: self.dir, of_dir: self.of_dir, name, is_shared: self.is_shared })
    }

    /// Refuses a directory that another user owns.
    fn check_owner(&self, guest_of: Option<u32>) -> io::Result<()> {
        let owner = self.of_dir.st_uid;
        if !is_foreign_dir(&self.of_dir) || guest_of == Some(owner) {
            return Ok(());
        }
        let dir = std::path::absolute(Path::new(".").join(&self.path)).unwrap_or_else(|_| self.path.clone());
        let dir = dir.display();
        Err(refused(format!("the directory {dir} belongs to another user, {owner}, who can run this command there")))
    }

    /// Creates a directory in this one, and goes on to it.
    fn create(&mut self, name: OsString, guest_of: Option<u32>, mode: Mode) -> io::Result<()> {
        self.check_owner(guest_of)?;
        let is_new = match make_directory(&self.dir, &name) {
            // Another process may have created it at the same moment.
            Err(Errno::EXIST) => false,
            result => result.map(|()| true)?,
        };
        let dir = openat(&self.dir, &name, DIRECTORY, Mode::empty())?;
        if is_new {
            if is_foreign(self.of_dir.st_uid) {
                // The owner of the directory above may have put another one in its place.
                if !is_just_made(&dir)? {
                    return Err(refused(format!(
                        "{} was exchanged while it was created",
                        self.path.join(&name).display()
                    )));
                }
                if let Err(error) = give(&dir, &self.of_dir) {
                    // It would be closed to the user to whom the home directory belongs.
                    let _ = unlinkat(&self.dir, &name, AtFlags::REMOVEDIR);
                    return Err(error);
                }
            }
            #[cfg(target_os = "linux")]
            super::access_list::remove_access_lists(&dir)?;
            fchmod(&dir, mode)?;
        }
        let of_dir = fstat(&dir)?;
        self.enter(name, dir, of_dir);
        Ok(())
    }

    fn is_missing(&self, name: &OsStr) -> io::Error {
        let mut dir = self.path.join(name);
        dir.extend(self.rest.iter().take(self.rest.len().saturating_sub(1)));
        let fix = with_command("create it", "mkdir -p {}", &[&dir]);
        let why = format!("there is no directory {}; {fix}", dir.display());
        io::Error::new(io::ErrorKind::NotFound, why)
    }
}

/// Makes a directory with this user's own rights, which are not for the umask to remove: without them, it could not be opened.
fn make_directory(dir: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    // All threads have one umask: two at once would leave that of the other.
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    let _one = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let usual = umask(Mode::RWXG | Mode::RWXO);
    let made = mkdirat(dir, name, Mode::RWXU);
    umask(usual);
    made
}

/// The names in a path that have a meaning.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    let is_step = |part: &Component| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_step).map(|part| part.as_os_str().to_owned())
}

/// Gives a file to the owner and the group of another one, and returns whether it is theirs now. Who is not root may not be allowed
/// to, and keeps the file then, as with docker.
pub(super) fn give(file: &impl std::os::fd::AsFd, other: &Stat) -> io::Result<bool> {
    let now = fstat(file)?;
    if (now.st_uid, now.st_gid) == (other.st_uid, other.st_gid) {
        return Ok(true);
    }
    match fchown(file, Some(Uid::from_raw(other.st_uid)), Some(Gid::from_raw(other.st_gid))) {
        // A group of outside of the user namespace.
        Err(Errno::INVAL) if now.st_uid == other.st_uid => Ok(false),
        Err(error) if own_id() == 0 => Err(error.into()),
        given => Ok(given.is_ok()),
    }
}

pub(super) fn is_foreign(owner: u32) -> bool {
    owner != own_id() && owner != 0
}

/// Whether another user could exchange what this one puts into the directory. In a sticky one, such as /tmp, only its owner could.
/// Where that is the machine's root, a container without root sees the owner as one from outside (user_namespaces(7)).
pub(super) fn is_foreign_dir(dir: &Stat) -> bool {
    const OUTSIDE: u32 = 65534;
    let is_sticky = Mode::from_raw_mode(dir.st_mode).contains(Mode::SVTX);
    is_foreign(dir.st_uid) && !(is_sticky && dir.st_uid == OUTSIDE)
}

/// Whether a directory is empty, of this user alone and, where the file system knows that, some seconds old.
fn is_just_made(dir: &OwnedFd) -> io::Result<bool> {
    let stat = fstat(dir)?;
    let is_private = stat.st_uid == own_id() && !Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO);
    let mut files = Dir::read_from(dir)?.filter_map(Result::ok);
    Ok(is_private && files.all(|file| matches!(file.file_name().to_bytes(), b"." | b"..")) && is_new(dir))
}

fn is_new(dir: &OwnedFd) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, StatxFlags, statx};
        const LONGEST: i64 = 5;
        let Ok(state) = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME) else { return true };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let age = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_sub(state.stx_btime.tv_sec);
        state.stx_mask & StatxFlags::BTIME.bits() == 0 || age.abs() <= LONGEST
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        true
    }
}

fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

pub(super) fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_put_in_the_place_of_a_new_one_is_told_from_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let is_just_made = |mode| {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).expect("a mode");
            is_just_made(&openat(CWD, dir.path(), DIRECTORY, Mode::empty()).expect("a directory")).expect("a state")
        };
        assert!(is_just_made(0o700));
        assert!(!is_just_made(0o755), "others may enter it");
        std::fs::write(dir.path().join("secret"), "").expect("a file");
        assert!(!is_just_made(0o700), "it has a file");
    }
}
