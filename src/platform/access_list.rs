//! Access lists of files and directories on Linux (acl(5)), which grant rights to more users and groups than the mode names.
//!
//! With such a list, the group's rights in the mode are the mask of the list. A directory may have a second list, which new files in
//! it inherit. Access lists of another kind stay as the system makes them: on macOS, where they add to the mode and no safe call reads
//! them, and those of NFS version 4.

use std::os::fd::{AsFd, OwnedFd};

#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags, XattrFlags, fgetxattr, fremovexattr, fsetxattr, openat};
use rustix::io;

#[cfg(target_os = "linux")]
const LIST: &str = "system.posix_acl_access";

/// Gives a new file the access list of the old one, and none if that has none or there is no old one.
#[cfg(target_os = "linux")]
pub(super) fn copy_access_list(old: Option<&impl AsFd>, new: &impl AsFd) -> io::Result<()> {
    /// The size limit of an attribute in Linux.
    const LARGEST: usize = 65536;
    let mut list = Vec::with_capacity(LARGEST);
    let of_old =
        old.map_or(Err(io::Errno::NODATA), |old| fgetxattr(old, LIST, rustix::buffer::spare_capacity(&mut list)));
    let copied = match of_old {
        Ok(_) => fsetxattr(new, LIST, &list, XattrFlags::empty()),
        Err(io::Errno::NODATA) => fremovexattr(new, LIST),
        Err(error) => Err(error),
    };
    match copied {
        // There is none, or the file system has none.
        Err(io::Errno::NODATA | io::Errno::OPNOTSUPP) => Ok(()),
        copied => copied,
    }
}

/// Other systems have other lists.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "Linux needs it")]
pub(super) fn copy_access_list(_old: Option<&impl AsFd>, _new: &impl AsFd) -> io::Result<()> {
    Ok(())
}

/// Whether a directory has an access list, or does not let this user know.
#[cfg(target_os = "linux")]
pub(super) fn has_access_list(dir: &OwnedFd) -> bool {
    // One on the way may be open only to be entered.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let list = openat(dir, ".", flags, Mode::empty()).and_then(|dir| fgetxattr(dir, LIST, &mut [0; 0]));
    !matches!(list, Err(io::Errno::NODATA | io::Errno::OPNOTSUPP))
}

/// Elsewhere, none is seen.
#[cfg(not(target_os = "linux"))]
pub(super) fn has_access_list(_dir: &OwnedFd) -> bool {
    false
}
