//! Opens, creates and compares files and directories.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use super::owner::Owned;

/// Opens a file for reading. Does not follow a link, and does not block, e.g. on a FIFO.
pub fn open_private(path: &Path) -> io::Result<File> {
    open(path, false).map_err(|error| if path.is_symlink() { link_refused() } else { error })
}

/// In place of the system's error, which speaks of too many levels of links.
pub(super) fn link_refused() -> io::Error {
    io::Error::other("it is a symbolic link")
}

/// Opens a file of any owner for reading. Follows links, and does not wait for the writer of a FIFO.
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    open(path, true)
}

fn open(path: &Path, follows: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let link = if follows { OFlags::empty() } else { OFlags::NOFOLLOW };
        options.custom_flags((link | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed());
    }
    #[cfg(not(unix))]
    let _ = follows;
    options.open(path)
}

/// The files that were read for an answer, and whether more are kept.
static KEPT: Mutex<(Vec<File>, bool)> = Mutex::new((Vec::new(), false));

/// Keeps the files that are read open. A cached answer ends the process, which closes them without a system call for each.
pub struct KeptOpen(());

impl KeptOpen {
    /// Keeps those that are read from here on, and closes them when it is dropped.
    pub fn start() -> Self {
        *kept() = (Vec::new(), true);
        Self(())
    }

    /// Leaves them to the end of the process.
    pub fn until_the_end(self) {
        kept().1 = false;
        std::mem::forget(self);
    }
}

impl Drop for KeptOpen {
    fn drop(&mut self) {
        *kept() = (Vec::new(), false);
    }
}

/// Closes a file that was read: now, or with the others that are kept.
pub fn close_later(file: File) {
    let mut kept = kept();
    if kept.1 {
        kept.0.push(file);
    }
}

fn kept() -> MutexGuard<'static, (Vec<File>, bool)> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a regular file. A larger one than `limit` is an error of the kind `FileTooLarge`.
pub fn read_within(file: &File, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
    let length = file.metadata()?.len();
    if length > limit {
        return Err(too_large());
    }
    // The buffer has its final size, unless the file grows meanwhile: one that grows leaves copies in freed memory.
    let room = usize::try_from(length).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

/// The state of a file, without its content, for comparison with a later state: on Unix device, inode, size and the change
/// time in nanoseconds, which no program can set.
pub fn file_state(metadata: &Metadata) -> [u64; 5] {
    #[cfg(unix)]
    {
        let (seconds, nanoseconds) = (metadata.ctime().cast_unsigned(), metadata.ctime_nsec().cast_unsigned());
        [metadata.dev(), metadata.ino(), metadata.size(), seconds, nanoseconds]
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::MetadataExt;
        let (created, written) = (metadata.creation_time(), metadata.last_write_time());
        [metadata.file_size(), created, written, u64::from(metadata.file_attributes()), 0]
    }
}

/// When a file last changed, by the clock that [`file_state`] has.
pub fn changed_at(metadata: &Metadata) -> Option<std::time::SystemTime> {
    #[cfg(unix)]
    {
        let nanoseconds = u32::try_from(metadata.ctime_nsec()).ok()?;
        let since_1970 = std::time::Duration::new(u64::try_from(metadata.ctime()).ok()?, nanoseconds);
        std::time::UNIX_EPOCH.checked_add(since_1970)
    }
    #[cfg(not(unix))]
    metadata.modified().ok()
}

/// When a directory was last moved or given another owner or mode; `None` when its content has changed since, or the system does
/// not tell.
pub fn moved_at(metadata: &Metadata) -> Option<std::time::SystemTime> {
    changed_at(metadata).filter(|changed_at| metadata.modified().ok() != Some(*changed_at))
}

/// Whether everybody may put files into a directory, as into /tmp.
pub fn is_for_everybody(dir: &Metadata) -> bool {
    dir.mode() & 0o1002 == 0o1002
}

/// The symbolic link on the way to a path that leads to nothing, e.g. to a volume that is not mounted.
pub fn dangling_link(path: &Path) -> Option<&Path> {
    let nearest = path.ancestors().find(|path| path.symlink_metadata().is_ok())?;
    Some(nearest).filter(|nearest| !nearest.exists())
}

/// The directory in which podman keeps logins: on Linux one that does not survive a reboot, below `runtime_dir` if there is
/// one; elsewhere one below the home directory.
pub fn podman_login_dir(runtime_dir: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        let _ = home;
        let of_user = || PathBuf::from(format!("/run/containers/{}", rustix::process::getuid().as_raw()));
        Some(runtime_dir.map_or_else(of_user, |dir| dir.join("containers")))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = runtime_dir;
        Some(home?.join(".config/containers"))
    }
}

/// The directory that podman and buildah have made for a user of Linux without a runtime directory. `None` for root.
pub fn podman_runtime_dir(temporary: &Path) -> Option<PathBuf> {
    let id = super::own_id();
    // The last one since podman 4.4.
    let names = [format!("podman-run-{id}"), format!("storage-run-{id}")].map(|name| temporary.join(name));
    let mut dirs = std::iter::once(PathBuf::from(format!("/run/user/{id}"))).chain(names);
    dirs.find(|dir| cfg!(target_os = "linux") && id != 0 && super::owner(dir) == Some(id))
}

/// An executable file: `path` itself, or on Windows `path` with one of the `endings` of programs.
pub fn executable(path: &Path, endings: &[String]) -> Option<(PathBuf, Metadata)> {
    let has_ending = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase();
        endings.iter().any(|ending| name.ends_with(&ending.to_ascii_lowercase()))
    };
    let with = |ending: &String| {
        // Not `with_extension`, which would replace the part of a name after a dot.
        let mut path = path.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let as_it_is = Some(path.to_owned()).filter(|path| cfg!(unix) || has_ending(path));
    let is_program = |file: &Metadata| file.is_file() && file.mode() & 0o111 != 0;
    let file = |path: PathBuf| path.metadata().ok().filter(is_program).map(|metadata| (path, metadata));
    as_it_is.into_iter().chain(endings.iter().map(with)).find_map(file)
}

/// A stream that the caller has opened for what the process says.
#[derive(Clone, Copy)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Whether a stream goes to this regular file. On Windows, where the standard library has no safe call for it, never.
pub fn goes_to(stream: Stream, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let opened = match stream {
            Stream::Output => io::stdout().as_fd().try_clone_to_owned(),
            Stream::Error => io::stderr().as_fd().try_clone_to_owned(),
        };
        let identity = |file: Metadata| (file.is_file(), file.dev(), file.ino());
        opened
            .and_then(|file| File::from(file).metadata())
            .is_ok_and(|file| file.is_file() && path.metadata().is_ok_and(|named| identity(named) == identity(file)))
    }
    #[cfg(windows)]
    {
        let _ = (stream, path);
        false
    }
}

/// Whether two paths lead to one file, also through two mounts of its directory. On Windows, where the standard library has no safe
/// call for it, never.
pub fn are_same_file(path: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    {
        let identity = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino())).ok();
        identity(path).is_some_and(|file| identity(other) == Some(file))
    }
    #[cfg(windows)]
    {
        let _ = (path, other);
        false
    }
}

/// Whether `path` still names this open file. On Windows, where the standard library has no safe call for it, whether it names any:
/// there, a lock on a file that was replaced at the same moment costs one more call to AWS.
pub fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok(identity(there) == identity(file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
