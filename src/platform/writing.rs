//! What writing a file has in common on all systems.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, is_separator};
use std::thread;
use std::time::{Duration, Instant};

/// The start of the names of temporary files.
pub const TEMPORARY: &str = ".ecr-login-";

/// The pause between two attempts on a file that another process uses.
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// The owner, the mode and the access list of a file that is written. On Windows the directory decides about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone reads and writes it, whatever was there and whatever the umask: this user, and in a directory of another
    /// user that one.
    Private,
    /// Those of the file that it replaces. A new file is private, and in a directory of another user it is that user's.
    AsBefore,
    /// Everybody reads it, and this user writes it.
    Public,
}

/// A random number: the standard library seeds its hash maps at random.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// A new name for a temporary file.
pub(super) fn temporary_name(prefix: &str) -> String {
    format!("{prefix}{:016x}.tmp", random())
}

/// Whether a name is one that [`temporary_name`] makes with this prefix.
pub fn is_temporary_name(name: &str, prefix: &str) -> bool {
    let random = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".tmp"));
    random.is_some_and(|random| random.len() == 16 && random.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')))
}

/// Refuses the path of a directory, whether there is one or not: the file would get the name of that. So it does one with a directory
/// that is missing and by whose name a person means another one, e.g. `$HOME`.
pub(super) fn check_path(path: &Path) -> io::Result<()> {
    let text = path.as_os_str().as_encoded_bytes();
    let before = text.strip_suffix(b".").unwrap_or(text);
    if before.last().is_some_and(|last| is_separator(char::from(*last))) {
        let why = "it ends as a directory does; name a file in it";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, why));
    }
    let is_meant = |name: &OsStr| matches!(name.as_encoded_bytes(), [b'~' | b'$' | b'%', ..]);
    for dir in path.ancestors().skip(1) {
        if let Some(name) = dir.file_name().filter(|name| is_meant(name) && dir.symlink_metadata().is_err()) {
            let why = format!("nothing has replaced '{}' by a directory; write the whole path", name.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
    }
    Ok(())
}

/// Repeats `act` for `longest` while its error says that another process uses the file.
pub(super) fn retry<T>(
    longest: Duration,
    is_in_use: impl Fn(&io::Error) -> bool,
    act: impl Fn() -> io::Result<T>,
) -> io::Result<T> {
    let until = Instant::now() + longest;
    loop {
        match act() {
            Err(error) if is_in_use(&error) && Instant::now() < until => thread::sleep(BETWEEN_TRIES),
            result => return result,
        }
    }
}
