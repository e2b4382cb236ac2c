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
//! - `cmd.exe` runs a `credential_process` on Windows. It is not killed at the deadline, but does not keep the answer.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

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

/// Gives an open file of ours the mode 0600, which a umask may have cut.
pub fn make_private(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Makes a directory, and those above it, with the mode 0700.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_private_dir(parent)?;
    }
    #[cfg(unix)]
    let created = std::os::unix::fs::DirBuilderExt::mode(&mut DirBuilder::new(), 0o700).create(dir);
    #[cfg(not(unix))]
    let created = DirBuilder::new().create(dir);
    match created {
        // Somebody was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            #[cfg(unix)]
            std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
            Ok(())
        }
    }
}

/// Puts a finished temporary file in the place of whatever `path` names, so that readers see the one or the other.
pub fn replace(file: NamedTempFile, path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    file.persist(path)?;
    // Windows refuses the call behind `persist` while somebody reads the old file. The standard library then asks for
    // POSIX semantics, which NTFS has. Nothing is left at the temporary path for its drop to remove.
    #[cfg(not(unix))]
    std::fs::rename(file.into_temp_path(), path)?;
    Ok(())
}

/// Why a directory may not hold tokens, or what is in it may not be believed: others could read, replace or plant
/// them. `None` when it is ours alone, or not there yet.
pub fn distrust_dir(dir: &Path) -> Option<String> {
    let metadata = std::fs::symlink_metadata(dir).ok()?;
    if metadata.is_symlink() {
        return Some("it is a symbolic link; set AWS_ECR_CACHE_DIR to the directory itself".to_owned());
    }
    if !metadata.is_dir() {
        return Some("it is not a directory; remove it or set AWS_ECR_CACHE_DIR to another place".to_owned());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Some("it belongs to another user; set AWS_ECR_CACHE_DIR to a directory of your own".to_owned());
        }
        if metadata.mode() & 0o022 != 0 {
            return Some(format!("others may write to it; run 'chmod 700 {}'", dir.display()));
        }
    }
    None
}

/// What is known of an open file that may be believed; `Err` says why it may not, as for a directory.
pub fn trusted(file: &File) -> Result<std::fs::Metadata, &'static str> {
    let metadata = file.metadata().map_err(|_| "it cannot be examined")?;
    if !metadata.is_file() {
        return Err("it is not a regular file");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err("it belongs to another user");
        }
        if metadata.mode() & 0o077 != 0 {
            return Err("others may read or write it");
        }
    }
    Ok(metadata)
}

/// Exchanges two files in one step; an error of kind `Unsupported` where system or file system cannot.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(|error| match error {
            Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => io::ErrorKind::Unsupported.into(),
            error => error.into(),
        })
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    {
        let _ = (one, other);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Gives a new file of ours the mode of another, and its owner where that is allowed.
pub fn resemble(file: &File, other: &std::fs::Metadata) -> io::Result<()> {
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

/// Where podman keeps logins for as long as the machine runs, when the environment names no directory for such.
pub fn podman_runtime_dir() -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    return Some(PathBuf::from(format!("/run/containers/{}", rustix::process::getuid().as_raw())));
    #[cfg(not(target_os = "linux"))]
    None
}

/// The path of a program that can be run, as it is or with the ending that programs have here.
pub fn as_program(path: &Path) -> Option<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = std::fs::metadata(path).ok()?;
        (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then(|| path.to_owned())
    }
    #[cfg(not(unix))]
    {
        // Not `with_extension`, which would take the end of a name with a dot for one.
        let mut with_ending = path.as_os_str().to_owned();
        with_ending.push(".exe");
        [path.to_owned(), with_ending.into()].into_iter().find(|path| path.is_file())
    }
}

/// Whether `path` still names this open file. The standard library has no safe call for it on Windows; a lock on a file
/// that was removed at the same moment costs one more call to AWS there.
pub fn is_at(file: &File, path: &Path) -> bool {
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

/// Seconds since this machine booted, sleep included; `None` where no safe call tells, as on Windows.
pub fn seconds_since_boot() -> Option<u64> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::time::{ClockId, clock_gettime};
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        // Unlike Linux's, it goes on while the system sleeps: clock_gettime(3) of macOS.
        #[cfg(target_vendor = "apple")]
        let clock = ClockId::Monotonic;
        u64::try_from(clock_gettime(clock).tv_sec).ok()
    }
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    None
}

/// This boot of this machine: Linux makes a random id at every boot, and EC2 shows the instance's id as the asset tag
/// of its board (Amazon EC2 user guide, "Identify EC2 instances"). `None` where the system does not tell.
pub fn boot() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let boot = read("/proc/sys/kernel/random/boot_id").filter(|boot| !boot.is_empty())?;
    Some(format!("{boot} {}", read("/sys/devices/virtual/dmi/id/board_asset_tag").unwrap_or_default()))
}

/// Keeps what this process holds in memory out of core dumps and from other processes of the same user.
pub fn hide_memory() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
}

/// Kills all descendants of this process, such as a `credential_process` whose time is up; says whether there were
/// any. Linux only, where /proc shows them through whatever shells lie between; elsewhere they end by themselves.
pub fn kill_descendants() -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Pid, Signal, kill_process};
        let mut killed = false;
        let mut family = vec![std::process::id()];
        let parents = parents();
        while let Some(parent) = family.pop() {
            for (child, _) in parents.iter().filter(|(_, of)| *of == parent) {
                family.push(*child);
                let pid = i32::try_from(*child).ok().and_then(Pid::from_raw);
                killed |= pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
            }
        }
        killed
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Every process with its parent.
#[cfg(target_os = "linux")]
fn parents() -> Vec<(u32, u32)> {
    let directories = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parent = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // "pid (name) state parent …", where the name may hold anything, parentheses too.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    };
    directories.filter_map(parent).collect()
}
