//! Opens files for writing, on Windows: no other module does. The directories of a user's profile admit nobody else, and
//! creating links requires a privilege, so owners and links are not judged.
//!
//! Windows refuses to replace, remove or lock a file that another process, e.g. a virus scanner, has open. The attempt is
//! repeated for a limited time.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::writing::{Access, TEMPORARY, check_path, retry, temporary_name};
use super::{read_within, with_command};

/// The time limit for attempts on a file that another process has open.
const LONGEST_USE: Duration = Duration::from_secs(2);

/// The lock file of a directory.
const LOCK_FILE: &str = ".ecr-login.lock";

/// The place of a file.
#[derive(Clone, Debug)]
pub struct Destination(PathBuf);

impl Destination {
    /// The place at `path`, in a directory that exists.
    pub fn at(path: &Path) -> io::Result<Self> {
        check_path(path)?;
        let dir = directory(path);
        match fs::metadata(dir) {
            Ok(metadata) if metadata.is_dir() => Ok(Self(path.to_owned())),
            Ok(_) => {
                let why = format!("{} is not a directory", dir.display());
                Err(io::Error::new(io::ErrorKind::NotADirectory, why))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let fix = with_command("create it", "mkdir {}", &[dir]);
                let why = format!("there is no directory {}; {fix}", dir.display());
                Err(io::Error::new(io::ErrorKind::NotFound, why))
            }
            Err(error) => Err(error),
        }
    }

    /// The place to which symbolic links at `path` lead, in a directory that exists.
    pub fn behind(path: &Path) -> io::Result<Self> {
        Self::at(&resolve_links(path)?)
    }

    /// The same for a file that the user asked for by name.
    pub fn asked_for(path: &Path, _: Option<&Path>) -> io::Result<Self> {
        Self::behind(path)
    }

    /// The same, with the directory created where it is missing.
    pub fn asked_for_created(path: &Path, _: Option<&Path>) -> io::Result<Self> {
        Self::in_private_dir(&resolve_links(path)?)
    }

    /// The same for a file that everybody may read. A link at the path is not followed.
    pub fn asked_for_public(path: &Path, _: Option<&Path>) -> io::Result<Self> {
        Self::in_private_dir(path)
    }

    /// The place at `path`, in a directory that is created where it is missing.
    pub fn in_private_dir(path: &Path) -> io::Result<Self> {
        check_path(path)?;
        DirBuilder::new().recursive(true).create(directory(path))?;
        Self::at(path)
    }

    /// The place of another name in the same directory.
    pub fn beside(&self, name: impl Into<OsString>) -> io::Result<Self> {
        Ok(Self(directory(&self.0).join(name.into())))
    }

    /// Whether there is anything.
    pub fn exists(&self) -> bool {
        self.0.symlink_metadata().is_ok()
    }

    /// Reads the file; `None` if there is none. A larger one than `limit` is an error of the kind `FileTooLarge`.
    pub fn read(&self, limit: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        match fs::metadata(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(metadata) if metadata.is_file() => Ok(Some(read_within(&File::open(&self.0)?, limit)?)),
            Ok(_) => Err(io::Error::other("it is not a regular file")),
        }
    }

    /// Opens the file, or creates it, to write at its end. On Unix, others may move files there that are not as expected.
    pub fn append(&self, _is_expected: impl Fn(&[u8]) -> bool) -> io::Result<File> {
        self.open(OpenOptions::new().append(true))
    }

    /// Opens the file, or creates it, for a lock.
    pub fn open_lock(&self) -> io::Result<File> {
        self.open(OpenOptions::new().write(true).truncate(false))
    }

    fn open(&self, options: &mut OpenOptions) -> io::Result<File> {
        let file = options.create(true).open(&self.0)?;
        let is_file = file.metadata()?.is_file();
        if is_file { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
    }

    /// What is there is replaced, if the system lets this user.
    pub fn check_replaceable(_: &Path, _: Option<&Path>) -> io::Result<()> {
        Ok(())
    }

    /// Creates a temporary file in the directory, which is to replace the file.
    pub fn create(&self, access: Access) -> io::Result<NewFile> {
        self.create_named(access, TEMPORARY)
    }

    /// The same with a name that begins with `prefix`.
    pub fn create_named(&self, _: Access, prefix: &str) -> io::Result<NewFile> {
        loop {
            let path = directory(&self.0).join(temporary_name(prefix));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                file => {
                    let (destination, existed) = (self.clone(), self.exists());
                    return Ok(NewFile { destination, existed, path, file: Some(file?) });
                }
            }
        }
    }

    /// Moves the file to the same name with `ending`, in place of what is there.
    pub fn rename_with(&self, ending: &str) -> io::Result<()> {
        let mut name = self.0.clone().into_os_string();
        name.push(ending);
        fs::rename(&self.0, name)
    }

    /// Removes the file.
    pub fn remove(&self) -> io::Result<()> {
        retry(LONGEST_USE, is_in_use, || fs::remove_file(&self.0))
    }

    /// The size of the file, if it is one that [`Self::append`] opens.
    pub fn size(&self) -> Option<u64> {
        fs::symlink_metadata(&self.0).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
    }

    /// Locks the directory against other processes of the helper that change files in it, until the result is dropped; `None`
    /// where that is not possible, or another process holds the lock for `longest`. Windows cannot lock a directory, so the
    /// lock is a file that no other process can open and that is removed with its last handle.
    pub fn lock_dir(&self, longest: Duration) -> Option<File> {
        let path = directory(&self.0).join(LOCK_FILE);
        retry(longest, is_in_use, || open_alone(&path)).ok()
    }
}

/// A finished or unfinished file beside the one that it is to replace. It is removed unless it gets there.
#[derive(Debug)]
pub struct NewFile {
    destination: Destination,
    existed: bool,
    path: PathBuf,
    file: Option<File>,
}

impl NewFile {
    /// The open file, for its content.
    pub fn file(&mut self) -> &mut File {
        self.file.as_mut().expect("it is closed when it is put in its place")
    }

    /// Whether the file that it replaces is still there with this content, or there is none and the content is empty.
    pub fn replaces(&self, content: &[u8]) -> io::Result<bool> {
        match self.destination.read(content.len() as u64) {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(false),
            now => Ok(now?.map_or(content.is_empty() && !self.existed, |now| *now == content && self.existed)),
        }
    }

    /// The directory decides about owners and access.
    pub fn keep_owner_and_mode(&self) -> io::Result<()> {
        Ok(())
    }

    /// Puts the file in its place, atomically. A file that another program has put there meanwhile, where there was none, is
    /// an error of the kind `AlreadyExists`.
    pub fn put(self) -> io::Result<()> {
        if !self.existed && self.destination.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.replace()
    }

    /// Chooses another place for it in the same directory.
    #[must_use]
    pub fn renamed(mut self, name: &OsStr) -> Self {
        self.destination.0.set_file_name(name);
        self
    }

    /// Puts the file in its place, atomically, whatever is there. The standard library's rename requests POSIX semantics
    /// first, which NTFS supports.
    pub fn replace(mut self) -> io::Result<()> {
        self.file = None;
        retry(LONGEST_USE, is_in_use, || fs::rename(&self.path, &self.destination.0))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        self.file = None;
        let _ = fs::remove_file(&self.path);
    }
}

/// The file that a chain of symbolic links leads to, which need not exist.
fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        // Not a link, or the path does not exist.
        let Ok(next) = fs::read_link(&path) else { return Ok(path) };
        path = directory(&path).join(next);
    }
    Err(io::Error::other("too many symbolic links"))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether an error may mean that another process has the file open. Windows reports it as a sharing violation, or as denied
/// access while a removed file still has an open handle.
fn is_in_use(error: &io::Error) -> bool {
    const ACCESS_DENIED: i32 = 5;
    const SHARING_VIOLATION: i32 = 32;
    matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION))
}

/// Creates a file that no other process can open and that is removed with its last handle.
fn open_alone(path: &Path) -> io::Result<File> {
    const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;
    const GENERIC_WRITE: u32 = 0x4000_0000;
    const DELETE: u32 = 0x0001_0000;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options.access_mode(GENERIC_WRITE | DELETE).share_mode(0).custom_flags(FILE_FLAG_DELETE_ON_CLOSE).open(path)
}
