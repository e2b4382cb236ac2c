//! The file that `export --output` writes.
//!
//! Readers see the old file or the new one, never a part: a temporary file in the same directory gets the text and replaces
//! the old file. The new file has mode 0600, whatever the umask and the mode of the old file, and belongs to the user who runs
//! the command. A symbolic link at the path stays, and the file that it leads to is replaced; a link of another user than root is
//! refused. A file that is not regular, e.g.
//! `/dev/null` or a pipe, is refused, because a rename would remove it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::Error;
use crate::platform;

/// The destination of the text.
#[derive(Debug)]
pub(super) struct OutputFile {
    path: PathBuf,
}

impl OutputFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Returns the path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks the path before there is a text to write.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.destination().map(|_| ())
    }

    /// Replaces the file. A failure leaves the old file as it is.
    pub(super) fn write(&self, text: &str) -> Result<(), Error> {
        let destination = self.destination()?;
        replace(&destination, text).map_err(|error| {
            self.failed(match error.kind() {
                io::ErrorKind::ResourceBusy => "it is a mount point by itself; mount its directory instead".to_owned(),
                _ => format!("{error}; the old file, if there is one, is unchanged"),
            })
        })
    }

    /// Returns the path of the file itself, with symbolic links resolved.
    fn destination(&self) -> Result<PathBuf, Error> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => return Err(self.failed("it is a directory; name a file in it")),
            Ok(metadata) if !metadata.is_file() => {
                return Err(self.failed("it is not a regular file; use '--output -' for standard output"));
            }
            _ => {}
        }
        let destination = platform::resolve_links(&self.path).map_err(|error| self.failed(error))?;
        let directory = directory(&destination);
        match fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => Ok(destination),
            Ok(_) => Err(self.failed(format!("{} is not a directory; name another file", directory.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = directory.display();
                let mkdir = if cfg!(windows) { "mkdir" } else { "mkdir -p" };
                Err(self.failed(format!("there is no directory {directory}; create it with '{mkdir} {directory}'")))
            }
            Err(error) => Err(self.failed(format!("its directory cannot be used: {error}"))),
        }
    }

    fn failed(&self, why: impl std::fmt::Display) -> Error {
        Error::failed(format!("cannot write {}: {why}", self.path.display()))
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn replace(destination: &Path, text: &str) -> io::Result<()> {
    let mut new = NamedTempFile::with_prefix_in(".ecr-login-", directory(destination))?;
    platform::make_private(new.as_file())?;
    new.write_all(text.as_bytes())?;
    new.write_all(b"\n")?;
    new.as_file().sync_all()?;
    platform::replace(new, destination)
}
