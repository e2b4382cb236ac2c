//! Replaces and removes files that other processes use, and locks their directory.

use std::fs::File;
#[cfg(not(unix))]
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

#[cfg(unix)]
use fs2::FileExt;
use tempfile::NamedTempFile;

/// The pause between two attempts on a file that another process uses.
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// The time limit for attempts on a file that another process, e.g. a virus scanner, has open.
#[cfg(not(unix))]
const LONGEST_USE: Duration = Duration::from_secs(2);

/// The lock file of a directory on Windows.
#[cfg(not(unix))]
const LOCK_FILE: &str = ".ecr-login.lock";

/// Replaces the file at `path` by a finished temporary file, atomically.
///
/// On Windows, the call behind `persist` fails while another process reads the old file. The standard library's rename requests
/// POSIX semantics first, which NTFS supports. Where another process has the file open in a way that forbids both, the
/// replacement is repeated for a limited time.
pub fn replace(file: NamedTempFile, path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    file.persist(path)?;
    #[cfg(not(unix))]
    {
        // After the rename, nothing is left at the temporary path for its drop to remove.
        let file = file.into_temp_path();
        unless_in_use(|| std::fs::rename(&file, path))?;
    }
    Ok(())
}

/// Removes a file. On Windows, waits a limited time for other processes to close it.
pub fn remove(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::fs::remove_file(path);
    #[cfg(not(unix))]
    unless_in_use(|| std::fs::remove_file(path))
}

/// Repeats `act` while it fails because another process has the file open.
#[cfg(not(unix))]
fn unless_in_use(act: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let until = Instant::now() + LONGEST_USE;
    loop {
        match act() {
            Err(error) if is_in_use(&error) && Instant::now() < until => std::thread::sleep(BETWEEN_TRIES),
            result => return result,
        }
    }
}

/// Whether an error may mean that another process has the file open. Windows reports it as a sharing violation, or as denied
/// access while a removed file still has an open handle.
#[cfg(not(unix))]
fn is_in_use(error: &io::Error) -> bool {
    const ACCESS_DENIED: i32 = 5;
    const SHARING_VIOLATION: i32 = 32;
    matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION))
}

/// Creates a file that no other process can open and that is removed with its last handle.
#[cfg(not(unix))]
fn open_alone(path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;
    const GENERIC_WRITE: u32 = 0x4000_0000;
    const DELETE: u32 = 0x0001_0000;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options.access_mode(GENERIC_WRITE | DELETE).share_mode(0).custom_flags(FILE_FLAG_DELETE_ON_CLOSE).open(path)
}

/// Locks a directory against other processes of the helper that change files in it, until the result is dropped; `None` where
/// that is not possible, or another process holds the lock for `longest`.
///
/// On Unix the lock is on the directory itself, so that no lock file remains. Windows cannot lock a directory: there the lock
/// is a file that no other process can open and that is removed with its last handle.
pub fn lock_dir(dir: &Path, longest: Duration) -> Option<File> {
    let until = Instant::now() + longest;
    #[cfg(unix)]
    let file = File::open(dir).ok()?;
    #[cfg(unix)]
    let try_lock = || match FileExt::try_lock_exclusive(&file) {
        Ok(()) => Some(Ok(())),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => None,
        Err(error) => Some(Err(error)),
    };
    #[cfg(not(unix))]
    let try_lock = || match open_alone(&dir.join(LOCK_FILE)) {
        Err(error) if is_in_use(&error) => None,
        opened => Some(opened),
    };
    loop {
        if let Some(locked) = try_lock() {
            #[cfg(unix)]
            return locked.ok().map(|()| file);
            #[cfg(not(unix))]
            return locked.ok();
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
}
