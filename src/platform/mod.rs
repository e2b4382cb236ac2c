//! Code that differs between operating systems: files and their owners, locks, processes, the time since boot.
//!
//! On Unix, private files and directories have mode 0600 and 0700, whatever the umask, and are not opened through a symbolic
//! link in the last component. On Windows, the inherited access lists of the user's profile directories make them private,
//! and creating links requires a privilege, so owners and modes are not checked (`owner`). A cache directory elsewhere is as private as the
//! directory above it.
//!
//! Other differences, by the platforms' documentation:
//!
//! - Locks (`cache::lock`) are `flock` on Unix and `LockFileEx` on Windows, which is mandatory: no process can read a locked
//!   file. Locks therefore have files of their own. Both kinds end with the process.
//! - Ctrl-C reaches all processes of a console or terminal. It may leave a temporary file behind.
//! - On Windows, `cmd.exe` runs a `credential_process`. A job object ends it at the deadline with its descendants, and it
//!   inherits none of the streams that a client reads. `family` describes the other systems.

#[cfg(target_os = "linux")]
mod access_list;
mod child;
#[cfg_attr(not(unix), path = "destination_windows.rs")]
mod destination;
mod family;
mod files;
mod machine;
#[cfg(unix)]
mod new_file;
mod owner;
mod process;
#[cfg(target_os = "linux")]
mod process_table;
mod shell;
mod standard_input;
#[cfg(unix)]
mod terminal_settings;
mod trust;
mod users;
#[cfg(unix)]
mod way;
mod writing;

pub use child::*;
pub use destination::*;
pub use family::*;
pub use files::*;
pub use machine::*;
#[cfg(unix)]
pub use new_file::NewFile;
pub use owner::{is_channel, own_id};
pub use process::*;
#[cfg(target_os = "linux")]
pub use process_table::ancestors_with_this_program;
pub use shell::*;
pub use standard_input::StandardInput;
pub use trust::*;
pub use users::*;
pub use writing::*;
