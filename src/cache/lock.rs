//! A kernel lock on a file. It belongs to the open file, not to the file's existence: it ends with the process that
//! holds it, however that process ends, and nobody ever has to remove a lock file.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use fs2::FileExt;

use crate::platform;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock at `path` if nobody has it; `Ok(None)` means that somebody does.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        let file = match platform::open_private(path, options.write(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = platform::open_private(path, options.create(true).truncate(false))?;
                platform::make_private(&file)?;
                file
            }
            opened => opened?,
        };
        match FileExt::try_lock_exclusive(&file) {
            // Between our opening and locking, it may have been removed as an old one, and another be in its place.
            Ok(()) if platform::is_same_file(&file, path) => Ok(Some(Self { file })),
            Ok(()) => Ok(None),
            // By its number: Windows has no kind of error for it.
            Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews the modification time of the lock file, for others to see that its holder is alive.
    pub fn touch(&self) {
        let _ = self.file.set_modified(SystemTime::now());
    }
}
