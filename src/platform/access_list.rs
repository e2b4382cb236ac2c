//! Access lists of files and directories on Linux (acl(5)), which grant rights to more users and groups than the mode names.
//!
//! With such a list, the group's rights in the mode are the mask of the list. A directory may have a second list, which new files and
//! directories in it inherit. Access lists of another kind stay as the system makes them: on macOS, where they add to the mode and no
//! safe call reads them, and those of NFS version 4.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, XattrFlags, fgetxattr, fremovexattr, fsetxattr, openat};
use rustix::io::{Errno, Result};

const LIST: &str = "system.posix_acl_access";
const INHERITED: &str = "system.posix_acl_default";
/// The size limit of an attribute in Linux.
const LARGEST: usize = 65536;

/// Gives a new file the access list of the old one, and none if that has none or there is no old one.
pub(super) fn copy_access_list(old: Option<&File>, new: &File) -> Result<()> {
    let mut list = Vec::with_capacity(LARGEST);
    match old.map_or(Err(Errno::NODATA), |old| fgetxattr(old, LIST, spare_capacity(&mut list))) {
        Ok(_) => fsetxattr(new, LIST, &list, XattrFlags::empty()),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => remove(new, LIST),
        Err(error) => Err(error),
    }
}

/// Removes the access lists that a new directory has inherited.
pub(super) fn remove_access_lists(dir: &OwnedFd) -> Result<()> {
    remove(dir, LIST).and_then(|()| remove(dir, INHERITED))
}

fn remove(file: impl AsFd, list: &str) -> Result<()> {
    match fremovexattr(file, list) {
        // There is none, or the file system has none.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        removed => removed,
    }
}

/// Whether another user than this one and root may write to a directory whose mode lets its group: with an access list, by the mask
/// alone. In one that is open only to be entered, that is not known and taken to be so.
pub(super) fn is_open_to_others(dir: &OwnedFd, is_private_group: bool) -> bool {
    let mut list = Vec::with_capacity(LARGEST);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(dir, ".", flags, Mode::empty()).and_then(|dir| fgetxattr(dir, LIST, spare_capacity(&mut list))) {
        // In the form of linux/posix_acl_xattr.h: a version, then a tag, rights and the number of a user or group for each entry.
        Ok(_) => list.get(4..).unwrap_or_default().as_chunks().0.iter().any(|&[tag, _, rights, _, a, b, c, d]| {
            let is_foreign = || ![0, super::own_id()].contains(&u32::from_le_bytes([a, b, c, d]));
            rights & 2 != 0 && ((tag == 2 && is_foreign()) || (tag == 4 && !is_private_group) || tag == 8)
        }),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => !is_private_group,
        Err(_) => true,
    }
}
