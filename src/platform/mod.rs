//! What differs between operating systems: private files, whom to trust, the time since boot. All `cfg` of the program
//! is in here.
//!
//! On Unix, files and directories are private by their mode, whatever the umask is, and nothing is opened through a
//! symbolic link in its last component. On Windows the user's profile directories are private by their inherited
//! access lists, and links take a privilege to make, so nothing is checked there. A cache directory that the user put
//! elsewhere is as private as what it inherits from the directory above it.
//!
//! What else was weighed, by the platforms' documentation:
//!
//! - Locks (`cache::lock`) are `flock` on Unix and `LockFileEx` on Windows, which is mandatory: nobody could read a
//!   locked file. Locks have files of their own, which nobody reads. Both end with the process.
//! - Ctrl-C reaches all processes of a console or terminal; what it would leave behind is a temporary file.
//! - Nothing is synced to disk, so `F_FULLFSYNC` of macOS has no part in this.
//! - `cmd.exe` runs a `credential_process` on Windows. A job object ends it at the deadline, with all that it has started, and
//!   it inherits none of the streams that a client reads.

mod files;
mod machine;
mod process;
mod shell;

pub use files::*;
pub use machine::*;
pub use process::*;
pub use shell::*;
