//! A new file, and how it gets to its place.
//!
//! The mode goes with the group: where the file cannot get that of the one that it replaces, nobody but its owner has rights.
//!
//! A mode is only set together with the access list that belongs to it: that of the file that is replaced, or none, also where the
//! directory has one that new files inherit.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, Mode, OFlags, RawMode, Stat};
use rustix::fs::{fchmod, fstat, linkat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::destination::{Destination, PRIVATE, is_regular};
#[cfg(target_os = "linux")]
use super::users::mount_at;
use super::way::{give, is_foreign, refused};
use super::writing::{Access, TEMPORARY, temporary_name};

impl Destination {
    /// What a new file is to replace, opened where it gets the same owner and mode, or why none can.
    pub(super) fn replaceable(&self, access: Access) -> io::Result<(Option<File>, Option<Stat>)> {
        let (old, existing) = match access {
            Access::AsBefore => self.open_existing()?.unzip(),
            Access::Private | Access::Public => (None, self.existing()?),
        };
        if let Some(existing) = &existing {
            if !is_regular(existing) {
                return Err(io::Error::other("it is not a regular file"));
            }
            #[cfg(target_os = "linux")]
            if mount_at(&self.dir, self.name.as_ref())
                .is_some_and(|mount| mount_at(&self.dir, ".".as_ref()) != Some(mount))
            {
                let why = "it is a mount point by itself; mount its directory instead";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            let is_of_dir = self.is_foreign() && existing.st_uid == self.of_dir.st_uid;
            let is_of_host = is_of_dir || self.guest_of == Some(existing.st_uid);
            // Into a private directory, only this user or root has put it.
            if is_foreign(existing.st_uid) && !is_of_host && !self.is_private() {
                return Err(refused(format!("it belongs to another user, {}", existing.st_uid)));
            }
        }
        Ok((old, existing))
    }

    /// Creates a temporary file in the directory, which is to replace the file.
    pub fn create(&self, access: Access) -> io::Result<NewFile> {
        self.create_named(access, TEMPORARY)
    }

    /// The same with a name that begins with `prefix`.
    pub fn create_named(&self, access: Access, prefix: &str) -> io::Result<NewFile> {
        let (old, existing) = self.replaceable(access)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = OsString::from(temporary_name(prefix));
            match openat(&self.dir, &name, flags, PRIVATE) {
                Err(Errno::EXIST) => {}
                file => {
                    let file = File::from(file?);
                    return Ok(NewFile {
                        destination: self.beside(&self.name)?,
                        access,
                        old,
                        existing,
                        name,
                        file,
                        is_in_place: false,
                    });
                }
            }
        }
    }
}

/// A finished or unfinished file beside the one that it is to replace. It is removed unless it gets there.
#[derive(Debug)]
pub struct NewFile {
    destination: Destination,
    access: Access,
    /// The file whose access list it gets.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "Linux has the lists"))]
    old: Option<File>,
    /// The file that it replaces.
    existing: Option<Stat>,
    name: OsString,
    file: File,
    is_in_place: bool,
}

impl NewFile {
    /// The open file, for its content.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Whether the file that it replaces is still there with this content, or there is none and the content is empty. Who makes a
    /// new text of an old one asks this before putting it in its place, so that it goes to those alone who could read the old one:
    /// the new file has the owner of the file that is compared.
    pub fn replaces(&self, content: &[u8]) -> io::Result<bool> {
        let now = match self.destination.read_with_state(content.len() as u64) {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Ok(false),
            now => now?,
        };
        Ok(match (now, &self.existing) {
            (Some((now, stat)), Some(before)) => {
                *now == content && (stat.st_dev, stat.st_ino) == (before.st_dev, before.st_ino)
            }
            (None, None) => content.is_empty(),
            _ => false,
        })
    }

    /// Puts the file in its place, atomically. A file that another program has put there meanwhile, where there was none, or
    /// has removed, is an error of the kind `AlreadyExists` or `NotFound`.
    pub fn put(mut self) -> io::Result<()> {
        if self.existing.is_some() {
            return self.replace();
        }
        self.set_owner_and_mode()?;
        self.put_where_nothing_is()?;
        self.is_in_place = true;
        Ok(())
    }

    /// Chooses another place for it in the same directory.
    #[must_use]
    pub fn renamed(mut self, name: &OsStr) -> Self {
        name.clone_into(&mut self.destination.name);
        self
    }

    /// Puts the file in its place, atomically, whatever is there.
    pub fn replace(mut self) -> io::Result<()> {
        self.set_owner_and_mode()?;
        renameat(&self.destination.dir, &self.name, &self.destination.dir, &self.destination.name)?;
        self.is_in_place = true;
        Ok(())
    }

    fn put_where_nothing_is(&self) -> io::Result<()> {
        let Destination { dir, name, .. } = &self.destination;
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        match rustix::fs::renameat_with(dir, &self.name, dir, name, rustix::fs::RenameFlags::NOREPLACE) {
            // An old file system or kernel.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            result => return Ok(result?),
        }
        linkat(dir, &self.name, dir, name, AtFlags::empty())?;
        Ok(unlinkat(dir, &self.name, AtFlags::empty())?)
    }

    /// Gives it the owner, the mode and the access list that it is to have, as far as this user may.
    fn set_owner_and_mode(&self) -> io::Result<()> {
        let of_dir = &self.destination.of_dir;
        let owner_of_new = Some(of_dir).filter(|_| self.destination.is_foreign());
        let (owner, mode) = match (self.access, &self.existing) {
            (Access::AsBefore, Some(old)) => (Some(old), Mode::from_raw_mode(old.st_mode as RawMode)),
            (Access::Public, _) => (owner_of_new, PRIVATE | Mode::RGRP | Mode::ROTH),
            _ => (owner_of_new, PRIVATE),
        };
        let is_given = owner.map_or(Ok(true), |owner| give(&self.file, owner))?;
        // The rights of another group or of those in another list are nobody's here.
        #[cfg(target_os = "linux")]
        let is_given = is_given && super::access_list::copy_access_list(self.old.as_ref(), &self.file).is_ok();
        Ok(fchmod(&self.file, if is_given { mode } else { mode & Mode::RWXU })?)
    }

    /// Does so before it is in its place, for who has something to lose then: the owner of the file that it replaces must stay.
    pub fn keep_owner_and_mode(&self) -> io::Result<()> {
        self.set_owner_and_mode()?;
        let now = fstat(&self.file)?.st_uid;
        match &self.existing {
            Some(old) if old.st_uid != now => Err(refused(format!("it belongs to another user, {}", old.st_uid))),
            _ => Ok(()),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_in_place {
            let _ = unlinkat(&self.destination.dir, &self.name, AtFlags::empty());
        }
    }
}
