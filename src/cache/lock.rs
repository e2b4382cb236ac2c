//! A kernel lock on a file. The lock belongs to the open file: the kernel releases it when its process ends in any way, so that
//! a lock file that is left behind locks nothing. Who releases a lock removes its file first, while it holds the lock; who opened
//! that file before and then locks it finds that the path names another file or none, and tries again, a few times: where the path never
//! names the file that was opened, as with a file system that makes up its numbers, locks do not work.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs2::FileExt;

use crate::platform::{self, Destination};

/// How often a lock whose file was exchanged meanwhile is tried.
const MOST_TRIES: u32 = 10;

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
        for _ in 0..MOST_TRIES {
            let file = destination.open_lock()?;
            match FileExt::try_lock_exclusive(&file) {
                // Between the calls that open and lock it, another process may have removed or replaced the file.
                Ok(()) if platform::is_same_file(&file, path)? => {
                    return Ok(Some(Self { file, path: path.to_owned() }));
                }
                Ok(()) => {}
                // By its number: the standard library has no kind for this error on Windows.
                Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("its path names another file each time"))
    }

    /// Renews the modification time of the lock file, which shows others that its holder is running.
    pub fn touch(&self) {
        let _ = self.file.set_modified(SystemTime::now());
    }

    /// Removes the lock file before the lock is released. On Windows the file stays, since a removed file keeps its name from others
    /// until its last handle is closed.
    pub fn remove_file(&self) {
        if cfg!(unix) && platform::is_same_file(&self.file, &self.path).unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Destination, Lock};

    #[test]
    fn a_lock_that_is_another_file_each_time_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, other) = (dir.path().join("lock"), dir.path().join("other"));
        std::fs::write(&other, "").expect("a file");
        let destination = Destination::at(&path).expect("a place");
        assert!(Lock::try_take(&destination, &path).expect("a lock").is_some());
        assert!(Lock::try_take(&destination, &other).is_err());
    }
}
