//! A kernel lock on a file. The lock belongs to the open file: the kernel releases it when its process ends in any way, so that
//! a lock file that is left behind locks nothing. Who releases a lock removes its file first, while it holds the lock; who opened
//! that file before and then locks it finds that the path names another file or none, and tries again.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs2::FileExt;

use crate::platform::{self, Destination};

/// A lock that is held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// Nobody else can put another file there, and an open directory would cost a file descriptor for as long as the lock.
    path: PathBuf,
}

impl Lock {
    /// Takes the lock at `path`, which is `destination`; `Ok(None)` when another open file holds it.
    pub fn try_take(destination: &Destination, path: &Path) -> io::Result<Option<Self>> {
        let file = destination.open_lock()?;
        match FileExt::try_lock_exclusive(&file) {
            // Between the calls that open and lock it, another process may have removed or replaced the file.
            Ok(()) if platform::is_same_file(&file, path) => Ok(Some(Self { file, path: path.to_owned() })),
            Ok(()) => Ok(None),
            // By its number: the standard library has no kind for this error on Windows.
            Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews the modification time of the lock file, which shows others that its holder is running.
    pub fn touch(&self) {
        let _ = self.file.set_modified(SystemTime::now());
    }

    /// Removes the lock file before the lock is released. On Windows the file stays, since a removed file keeps its name from others
    /// until its last handle is closed.
    pub fn remove_file(&self) {
        if cfg!(unix) && platform::is_same_file(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
