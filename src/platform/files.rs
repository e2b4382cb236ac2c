//! Opens, creates and compares files and directories.

#[cfg(not(unix))]
use std::fs::DirBuilder;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::check_private_dir;

/// Opens a file that only its owner may read, and creates it with that mode if `options` allow it. Does not follow a link,
/// and does not block, e.g. on a FIFO.
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

/// Opens a file of any owner for reading. Follows links, and does not wait for the writer of a FIFO.
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

/// The state of a file, without its content, for comparison with a later state: on Unix device, inode, size and the change
/// time in nanoseconds, which no program can set.
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

/// Gives an open file of this user the mode 0600. The umask may have removed bits of it.
pub fn make_private(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Creates a directory and its missing parents with mode 0700.
///
/// On Unix, each is created and opened relative to its open parent and not through a link, so that nobody can replace it by
/// a link between two steps.
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
            // The umask may have removed bits of the mode.
            fchmod(&open, Mode::RWXU)?;
        }
    }
    Ok(())
}

/// Gives a new file the mode of another, and its owner where that is allowed.
pub fn copy_mode_and_owner(file: &File, other: &std::fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        if file.metadata()?.uid() != other.uid() || file.metadata()?.gid() != other.gid() {
            // Errors are ignored, as docker does: a user who may replace a file may not be allowed to change its owner.
            let _ = fchown(file, Some(other.uid()), Some(other.gid()));
        }
        file.set_permissions(other.permissions())?;
    }
    #[cfg(not(unix))]
    let _ = (file, other);
    Ok(())
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

/// The path of an executable file: `path` itself, or on Windows `path` with one of the `endings` of programs.
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
            // Not `with_extension`, which would replace the part of a name after a dot.
            let mut path = path.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        };
        let as_it_is = Some(path.to_owned()).filter(|path| has_ending(path));
        as_it_is.into_iter().chain(endings.iter().map(with)).find(|path| path.is_file())
    }
}

/// Whether `path` still names this open file. On Windows, where the standard library has no safe call for it, the answer is
/// always yes: there, a lock on a file that was removed at the same moment costs one more call to AWS.
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
        // What an attacker would put there between the check and the creation.
        symlink(dir.path().join("not there yet"), &link).expect("a link");
        assert!(create_private_dir(&link.join("cache")).is_err());
        assert!(!dir.path().join("not there yet").exists());
        fs::remove_file(&link).and_then(|()| symlink(&elsewhere, &link)).expect("a link");
        assert!(create_private_dir(&link).is_err(), "a link is not trusted");
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
