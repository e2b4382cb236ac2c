//! Opens files for writing, and what is there before: no other module does.
//!
//! Another user who owns a directory or a symbolic link on the way to a file could lead it elsewhere, also between two steps.
//! So a path is followed from one open directory to the next, and each step judges what it has opened, not a name:
//!
//! - A symbolic link is followed if both it and its directory belong to this user or to root, and nobody else may move files there.
//! - A file is created, opened, replaced and removed by its name in the open directory, never through a link.
//! - The old content of a file that is edited is read in the open directory too, and never through a link at the end.
//! - Where others may move files of this user, one is appended to only if it begins as expected: it could be another one.
//! - A file that another user owns is not appended to, nor replaced where that user could have put it, and one with a second name
//!   is not appended to.
//! - In a directory of another user, nothing is created: its owner could exchange it. root may write what it was asked for by
//!   name below its own `HOME`, where that is another user's, as under `sudo -E` and in container jobs. What it creates there
//!   is that user's.
//!
//! A file with content appears by a rename of a finished temporary file, so that readers see the old one or the new one.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use fs2::FileExt;
use rustix::fs::{Access as Rights, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::fs::{accessat, fchmod, fstat, openat, renameat, statat, unlinkat};
use rustix::io::{Errno, pread};
use zeroize::Zeroizing;

use super::files::link_refused;
use super::way::{self, DIRECTORY, Dirs, LastLink, Place, is_foreign_dir, refused};
use super::writing::{Access, retry};
use super::{check_private_dir, own_id, owner_of_home, read_within};

/// The mode of files that only this user reads and writes.
pub(super) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The mode of directories whose files everybody may read.
const PUBLIC_DIR: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);

/// The place of a file: a name in an open directory.
#[derive(Debug)]
pub struct Destination {
    pub(super) dir: OwnedFd,
    pub(super) of_dir: Stat,
    pub(super) name: OsString,
    /// Whether another user than root may move files of this one to the path.
    is_shared: bool,
    /// The user in whose home directory this one, root, is a guest.
    pub(super) guest_of: Option<u32>,
}

impl Destination {
    /// The place at `path`, in a directory that exists. A link there is not followed.
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::find(path, LastLink::Kept, Dirs::Existing)
    }

    /// The place to which symbolic links at `path` lead, in a directory that exists.
    pub fn behind(path: &Path) -> io::Result<Self> {
        Self::find(path, LastLink::Followed, Dirs::Existing)
    }

    /// The place of a file that the user asked for by name, with links followed. Its directory exists, and is one of this user or
    /// of root, or for root one of the owner of `home`, the home directory, below that.
    pub fn asked_for(path: &Path, home: Option<&Path>) -> io::Result<Self> {
        Self::find(path, LastLink::Followed, Dirs::Judged { guest_of: owner_of_home(path, home), created: None })
    }

    /// The same, with the directory created where it is missing, with mode 0700.
    pub fn asked_for_created(path: &Path, home: Option<&Path>) -> io::Result<Self> {
        let guest_of = owner_of_home(path, home);
        Self::find(path, LastLink::Followed, Dirs::Judged { guest_of, created: Some(Mode::RWXU) })
    }

    /// The same for a file that everybody may read: the directory is created with mode 0755. A link at the path is not followed.
    pub fn asked_for_public(path: &Path, home: Option<&Path>) -> io::Result<Self> {
        let guest_of = owner_of_home(path, home);
        Self::find(path, LastLink::Kept, Dirs::Judged { guest_of, created: Some(PUBLIC_DIR) })
    }

    /// The place at `path` in a directory that only this user can write to. It is created where it is missing, as its parents
    /// are, with mode 0700.
    pub fn in_private_dir(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            check_private_dir(dir).map_err(|why| refused(why.to_string()))?;
        }
        let created = Some(Mode::RWXU);
        let found = Self::find(path, LastLink::Kept, Dirs::Judged { guest_of: None, created })?;
        if found.is_private() {
            Ok(found)
        } else {
            Err(refused("the directory is not private to this user".to_owned()))
        }
    }

    /// Fails as [`Self::asked_for_created`] and a replacement of the file there would, as far as the system knows that beforehand.
    pub fn check_replaceable(path: &Path, home: Option<&Path>) -> io::Result<()> {
        let nearest = Self::find(path, LastLink::Followed, Dirs::Nearest { guest_of: owner_of_home(path, home) })?;
        nearest.replaceable(Access::AsBefore)?;
        let allowed = accessat(&nearest.dir, ".", Rights::WRITE_OK | Rights::EXEC_OK, AtFlags::EACCESS);
        Ok(allowed.or_else(|why| if matches!(why, Errno::ACCESS | Errno::ROFS) { Err(why) } else { Ok(()) })?)
    }

    fn find(path: &Path, last: LastLink, dirs: Dirs) -> io::Result<Self> {
        let Place { dir, of_dir, name, is_shared } = way::follow(path, last, dirs)?;
        let guest_of = match dirs {
            Dirs::Existing => None,
            Dirs::Judged { guest_of, .. } | Dirs::Nearest { guest_of } => guest_of,
        };
        Ok(Self { dir, of_dir, name, is_shared, guest_of })
    }

    /// The place of another name in the same directory.
    pub fn beside(&self, name: impl Into<OsString>) -> io::Result<Self> {
        Ok(Self { dir: self.dir.try_clone()?, name: name.into(), ..*self })
    }

    /// Whether nobody else can put anything into the directory.
    pub(super) fn is_private(&self) -> bool {
        self.of_dir.st_uid == own_id() && self.of_dir.st_mode & 0o022 == 0
    }

    /// Whether the directory belongs to another user than this one and root.
    pub(super) fn is_foreign(&self) -> bool {
        is_foreign_dir(&self.of_dir)
    }

    /// What is there; `None` if nothing is.
    pub(super) fn existing(&self) -> io::Result<Option<Stat>> {
        match statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is anything.
    pub fn exists(&self) -> bool {
        self.existing().is_ok_and(|stat| stat.is_some())
    }

    /// Reads the file, which may be another user's, without following a link; `None` if there is none. A larger one than `limit`
    /// is an error of the kind `FileTooLarge`.
    pub fn read(&self, limit: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        Ok(self.read_with_state(limit)?.map(|(content, _)| content))
    }

    pub(super) fn read_with_state(&self, limit: u64) -> io::Result<Option<(Zeroizing<Vec<u8>>, Stat)>> {
        let Some((file, stat)) = self.open_existing()? else { return Ok(None) };
        Ok(Some((read_within(&file, limit)?, stat)))
    }

    /// Opens the regular file that is there, without following a link.
    pub(super) fn open_existing(&self) -> io::Result<Option<(File, Stat)>> {
        let irregular = || io::Error::other("it is not a regular file");
        // Before it is opened: that alone can have effects on a device.
        if !self.existing()?.as_ref().is_none_or(is_regular) {
            return Err(irregular());
        }
        let file = match self.open_here(OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let stat = fstat(&file)?;
        if is_regular(&stat) { Ok(Some((file, stat))) } else { Err(irregular()) }
    }

    /// Opens what is there, and no link.
    fn open_here(&self, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.dir, &self.name, flags, PRIVATE) {
            Err(Errno::LOOP) => Err(link_refused()),
            file => Ok(File::from(file?)),
        }
    }

    /// Opens the file, or creates it, to write at its end, with mode 0600. Where others may have moved it there, leaves one as
    /// it is whose first bytes are not as expected.
    pub fn append(&self, is_expected: impl Fn(&[u8]) -> bool) -> io::Result<File> {
        self.open(OFlags::RDWR | OFlags::APPEND, is_expected)
    }

    /// Opens the file, or creates it, with mode 0600, for a lock.
    pub fn open_lock(&self) -> io::Result<File> {
        self.open(OFlags::WRONLY, |_| true)
    }

    fn open(&self, flags: OFlags, is_expected: impl Fn(&[u8]) -> bool) -> io::Result<File> {
        // Whoever owns the directory may have put any file there.
        if self.is_foreign() {
            return Err(refused("its directory belongs to another user".to_owned()));
        }
        let opened = self.open_here(flags);
        let is_new = opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        // Another process may create it at the same moment.
        let file = if is_new { self.open_here(flags | OFlags::CREATE)? } else { opened? };
        let stat = fstat(&file)?;
        if !is_own(&stat) {
            return Err(refused("it is not a file of this user with one name".to_owned()));
        }
        let mut first = [0; 64];
        let count = if self.is_shared && stat.st_size > 0 { pread(&file, &mut first, 0)? } else { 0 };
        if count > 0 && !is_expected(&first[..count]) {
            return Err(refused("it is another file of this user".to_owned()));
        }
        #[cfg(target_os = "linux")]
        if is_new {
            super::access_list::copy_access_list(None, &file)?;
        }
        // A file that existed before may have another mode, and the umask may have removed bits of a new one.
        if stat.st_mode & 0o777 != PRIVATE.bits() {
            fchmod(&file, PRIVATE)?;
        }
        Ok(file)
    }

    /// Moves the file to the same name with `ending`, in place of what is there.
    pub fn rename_with(&self, ending: &str) -> io::Result<()> {
        let mut name = self.name.clone();
        name.push(ending);
        Ok(renameat(&self.dir, &self.name, &self.dir, name)?)
    }

    /// Removes the file.
    pub fn remove(&self) -> io::Result<()> {
        Ok(unlinkat(&self.dir, &self.name, AtFlags::empty())?)
    }

    /// The size of the file, if it is one that [`Self::append`] opens.
    pub fn size(&self) -> Option<u64> {
        let stat = self.existing().ok()?.filter(is_own)?;
        u64::try_from(stat.st_size).ok()
    }

    /// Locks the directory against other processes of the helper that change files in it, until the result is dropped; `None`
    /// where that is not possible, or another process holds the lock for `longest`. The lock is on the directory itself, so
    /// that no lock file remains.
    pub fn lock_dir(&self, longest: Duration) -> Option<File> {
        let dir = File::from(openat(&self.dir, ".", DIRECTORY, Mode::empty()).ok()?);
        let is_held = |error: &io::Error| error.raw_os_error() == fs2::lock_contended_error().raw_os_error();
        retry(longest, is_held, || FileExt::try_lock_exclusive(&dir)).ok()?;
        Some(dir)
    }
}

/// Whether it is a regular file of this user that has no second name, which might be one in a directory of another user. It has
/// none at all once another process has removed it, e.g. a lock.
fn is_own(stat: &Stat) -> bool {
    is_regular(stat) && stat.st_uid == own_id() && stat.st_nlink < 2
}

pub(super) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::{Access, Destination};

    #[test]
    fn a_new_text_replaces_only_the_very_file_that_has_the_old_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        let at_path = Destination::behind(&path).expect("a place");
        let new = at_path.create(Access::AsBefore).expect("a file");
        assert!(new.replaces(b"").expect("an answer"), "there is none");
        fs::write(&path, "old").and_then(|()| fs::write(&other, "old")).expect("files");
        assert!(!new.replaces(b"").expect("an answer"), "it is there by now");
        let new = at_path.create(Access::AsBefore).expect("a file");
        assert!(new.replaces(b"old").expect("an answer"));
        assert!(!new.replaces(b"ol").expect("an answer") && !new.replaces(b"odd").expect("an answer"));
        fs::rename(&other, &path).expect("a move");
        assert!(!new.replaces(b"old").expect("an answer"), "another file, perhaps of another owner");
        fs::remove_file(&path).and_then(|()| symlink("/etc/passwd", &path)).expect("a link");
        assert!(new.replaces(b"old").is_err() && at_path.read(1 << 20).is_err(), "no link is followed");
    }

    #[test]
    fn a_private_directory_is_no_link_and_nobody_else_may_write_to_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (elsewhere, link) = (dir.path().join("elsewhere"), dir.path().join("link"));
        fs::create_dir(&elsewhere).and_then(|()| symlink(&elsewhere, &link)).expect("a link");
        assert!(Destination::in_private_dir(&link.join("file")).is_err(), "a link is not trusted");
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o777)).expect("a mode");
        assert!(Destination::in_private_dir(&elsewhere.join("file")).is_err(), "others may write to it");
        Destination::in_private_dir(&dir.path().join("a/b/c/file")).expect("a directory");
        for made in ["a", "a/b", "a/b/c"] {
            let mode = fs::metadata(dir.path().join(made)).expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{made}");
        }
    }
}
