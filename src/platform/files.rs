//! Files and directories: private ones, and whom to trust.

use std::fmt;
#[cfg(not(unix))]
use std::fs::DirBuilder;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(unix)]
use fs2::FileExt;
use tempfile::NamedTempFile;

use super::shell_word;

/// The pause between two tries at a file that another process holds.
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// For how long a file that another process has open for a moment, such as a virus scanner, keeps a replacement waiting.
#[cfg(not(unix))]
const LONGEST_USE: Duration = Duration::from_secs(2);

/// The lock of a directory on Windows.
#[cfg(not(unix))]
const LOCK_FILE: &str = ".ecr-login.lock";

/// Opens a file that only its owner may read, creating it if `options` say so; never through a link, and never one
/// that would make us wait, such as a pipe.
pub fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }
    options.open(path)
}

/// Opens a file of any owner for reading, through links too, but never one that would make us wait for a writer.
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed());
    }
    options.open(path)
}

/// What differs between two states of a file, as far as the file system tells without a look at its content: on Unix
/// device, inode, size and the time of the last change in nanoseconds, which nobody can set.
pub fn file_state(metadata: &std::fs::Metadata) -> [u64; 5] {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
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

/// Whether a file is a regular one of this user: the only kind whose mode is ours to change, or that a log is
/// written to.
pub fn is_own_regular_file(metadata: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        metadata.is_file() && metadata.uid() == own_id()
    }
    #[cfg(not(unix))]
    metadata.is_file()
}

/// Gives an open file of ours the mode 0600, which a umask may have cut.
pub fn make_private(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Makes a directory, and those above it that are missing, with the mode 0700.
///
/// On Unix each is made and opened below the open directory above it, and never through a link, so that nobody can put
/// one in its place between two steps.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            #[cfg(unix)]
            create_below(dir)?;
            #[cfg(not(unix))]
            DirBuilder::new().recursive(true).create(dir)?;
        }
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    check_private_dir(dir).map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why.to_string()))
}

#[cfg(unix)]
fn create_below(dir: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, Mode, OFlags, fchmod, mkdirat, openat};
    use rustix::io::Errno;

    let existing = dir.ancestors().skip(1).find(|above| above.as_os_str().is_empty() || above.exists());
    let existing = existing.unwrap_or(Path::new(""));
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let start = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let mut open = openat(CWD, start, directory, Mode::empty())?;
    for name in dir.strip_prefix(existing).map_err(io::Error::other)?.components() {
        let created = match mkdirat(&open, name.as_os_str(), Mode::RWXU) {
            Err(Errno::EXIST) => false,
            result => result.map(|()| true)?,
        };
        open = openat(&open, name.as_os_str(), directory | OFlags::NOFOLLOW, Mode::empty())?;
        if created {
            // What the umask cut.
            fchmod(&open, Mode::RWXU)?;
        }
    }
    Ok(())
}

/// Puts a finished temporary file in the place of whatever `path` names, so that readers see the one or the other.
///
/// Windows refuses the call behind `persist` while another process reads the old file. The standard library's rename asks for
/// POSIX semantics first, which NTFS has. Where another process has the file open in a way that forbids either, the
/// replacement is tried again for a while.
pub fn replace(file: NamedTempFile, path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    file.persist(path)?;
    #[cfg(not(unix))]
    {
        // Nothing is left at the temporary path for its drop to remove.
        let file = file.into_temp_path();
        unless_in_use(|| std::fs::rename(&file, path))?;
    }
    Ok(())
}

/// Removes a file, on Windows as soon as no other process has it open.
pub fn remove(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::fs::remove_file(path);
    #[cfg(not(unix))]
    unless_in_use(|| std::fs::remove_file(path))
}

/// Does what another process may forbid for a moment by having the file open.
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

/// Whether an error may mean that another process has the file open. Windows says so in two ways, and a file that is being
/// removed denies access until its last handle is closed.
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

/// The file that a chain of symbolic links leads to, which need not be there yet. A link that somebody else has put into a
/// directory in which everybody may put files, such as `/tmp`, is an error, as it is for open(2) under Linux's
/// `protected_symlinks`.
pub fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    // As many as Linux follows.
    for _ in 0..40 {
        // Not a link, or nothing there.
        let Ok(next) = std::fs::read_link(&path) else { return Ok(path) };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if is_planted(&path, dir)? {
            let why = format!("the symbolic link {} belongs to another user; remove it", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        path = dir.join(next);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Whether a link may have been put there by somebody who wants it to be followed.
fn is_planted(link: &Path, dir: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (link, dir) = (std::fs::symlink_metadata(link)?, std::fs::metadata(dir)?);
        // Sticky, and everybody may write.
        let is_shared = dir.mode() & 0o1002 == 0o1002;
        Ok(is_shared && link.uid() != own_id() && link.uid() != dir.uid())
    }
    #[cfg(not(unix))]
    {
        let _ = (link, dir);
        Ok(false)
    }
}

/// Why the cache does not use a directory, and the fix.
#[derive(Debug, PartialEq, Eq)]
pub struct NotPrivate {
    /// The reason.
    pub what: &'static str,
    /// The fix.
    pub hint: String,
}

impl fmt::Display for NotPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.hint)
    }
}

/// Checks that other users cannot write to a directory. A directory that does not exist passes.
pub fn check_private_dir(dir: &Path) -> Result<(), NotPrivate> {
    let Ok(metadata) = std::fs::symlink_metadata(dir) else { return Ok(()) };
    let not_private = |what, hint: &str| Err(NotPrivate { what, hint: hint.to_owned() });
    if metadata.is_symlink() {
        return not_private("it is a symbolic link", "set AWS_ECR_CACHE_DIR to the directory itself");
    }
    if !metadata.is_dir() {
        return not_private("it is not a directory", "remove it, or set AWS_ECR_CACHE_DIR to a directory");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if metadata.uid() != own_id() {
            return not_private("it belongs to another user", "set AWS_ECR_CACHE_DIR to a directory of this user");
        }
        if metadata.mode() & 0o022 != 0 {
            let chmod = format!("run 'chmod 700 {}'", shell_word(&dir.display().to_string()));
            return not_private("others may write to it", &chmod);
        }
    }
    Ok(())
}

/// Returns the metadata of an open file that only this user can read and write; `Err` has the reason for any other file.
pub fn check_private_file(file: &File) -> Result<std::fs::Metadata, &'static str> {
    let metadata = file.metadata().map_err(|_| "its owner and mode cannot be read")?;
    if !metadata.is_file() {
        return Err("it is not a regular file");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if metadata.uid() != own_id() {
            return Err("it belongs to another user");
        }
        if metadata.mode() & 0o077 != 0 {
            return Err("others may read or write it");
        }
    }
    Ok(metadata)
}

/// Locks the files of a directory against other processes of this program that change them, until the result is dropped;
/// `None` where that is not possible, or another process holds the lock for `longest`.
///
/// On Unix the lock is on the directory itself, so that nothing is left behind. Windows locks no directory: there the lock is
/// a file that nobody else can open and that goes with its last handle.
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

/// Gives a new file of ours the mode of another, and its owner where that is allowed.
pub fn copy_mode_and_owner(file: &File, other: &std::fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        if file.metadata()?.uid() != other.uid() || file.metadata()?.gid() != other.gid() {
            // As docker does when it writes the file: somebody who may replace a file need not be able to give it away.
            let _ = fchown(file, Some(other.uid()), Some(other.gid()));
        }
        file.set_permissions(other.permissions())?;
    }
    #[cfg(not(unix))]
    let _ = (file, other);
    Ok(())
}

/// The directory of podman's logins: on Linux one that goes with the machine's next start, in the user's `runtime_dir` if there
/// is one; elsewhere the one in the home.
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

/// The user that this process runs as, for all its life: asked for once.
#[cfg(unix)]
fn own_id() -> u32 {
    static ID: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *ID.get_or_init(|| rustix::process::geteuid().as_raw())
}

/// The id of the user that this process runs as; `None` where users have no such numbers.
pub fn user_id() -> Option<u32> {
    #[cfg(unix)]
    return Some(own_id());
    #[cfg(not(unix))]
    None
}

/// The path of a program that can be run: as it is, or on Windows with one of the `endings` that programs have there.
pub fn executable(path: &Path, endings: &[String]) -> Option<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = endings;
        let metadata = std::fs::metadata(path).ok()?;
        (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then(|| path.to_owned())
    }
    #[cfg(not(unix))]
    {
        let has_ending = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase();
            endings.iter().any(|ending| name.ends_with(&ending.to_ascii_lowercase()))
        };
        let with = |ending: &String| {
            // Not `with_extension`, which would take the end of a name with a dot for one.
            let mut path = path.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        };
        let as_it_is = Some(path.to_owned()).filter(|path| has_ending(path));
        as_it_is.into_iter().chain(endings.iter().map(with)).find(|path| path.is_file())
    }
}

/// Whether `path` still names this open file. The standard library has no safe call for it on Windows; a lock on a file
/// that was removed at the same moment costs one more call to AWS there.
pub fn is_same_file(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        match (file.metadata(), std::fs::symlink_metadata(path)) {
            (Ok(open), Ok(there)) => identity(open) == identity(there),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::create_private_dir;

    #[test]
    fn no_directory_is_made_through_a_link_that_took_the_place_of_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (elsewhere, link) = (dir.path().join("elsewhere"), dir.path().join("link"));
        fs::create_dir(&elsewhere).expect("a directory");
        // What an attacker would put there between a look and the making.
        symlink(dir.path().join("not there yet"), &link).expect("a link");
        assert!(create_private_dir(&link.join("cache")).is_err());
        assert!(!dir.path().join("not there yet").exists());
        fs::remove_file(&link).and_then(|()| symlink(&elsewhere, &link)).expect("a link");
        assert!(create_private_dir(&link).is_err(), "a link is no directory of ours");
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o777)).expect("a mode");
        assert!(create_private_dir(&elsewhere).is_err(), "others may write to it");
        let deep = dir.path().join("a/b/c");
        create_private_dir(&deep).expect("a directory");
        for made in ["a", "a/b", "a/b/c"] {
            let mode = fs::metadata(dir.path().join(made)).expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{made}");
        }
    }
}
