//! The file that `export --output` writes.
//!
//! Readers see the old file or the new one, never a part: a temporary file in the same directory gets the text and replaces
//! the old file. The new file has mode 0600, whatever the umask and the mode of the old file, and belongs to the user who runs
//! the command. A symbolic link at the path stays, and the file that it leads to is replaced. A link, a
//! file or a directory of another user than root is refused; root writes below its own `HOME` for the owner of that. A file that is not regular, e.g. `/dev/null` or a pipe, is refused, because a rename would remove it.
//! So is one that is there at the start and has what `export` does not write: settings or lines of others would be lost. Later, the file
//! is its own.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use super::format::could_have_written;
use crate::NAME;
use crate::code::Code;
use crate::error::Error;
use crate::platform::{Access, Destination, NewFile};

/// The destination of the text.
#[derive(Debug)]
pub(super) struct OutputFile {
    pub(super) path: PathBuf,
    /// The home directory.
    pub(super) home: Option<PathBuf>,
}

impl OutputFile {
    /// Checks the path before there is a text to write: creates the new file and removes it again.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.begin()?;
        let old = match self.place().and_then(|place| place.read(LARGEST)) {
            Err(error) if error.kind() != io::ErrorKind::FileTooLarge => return Err(self.unwritable(&error)),
            old => old.ok().map(Option::unwrap_or_default),
        };
        if old.is_some_and(|old| str::from_utf8(&old).is_ok_and(could_have_written)) {
            return Ok(());
        }
        let hint = format!("{OTHER_FILE}, or have docker call the helper: '{NAME} setup HOST'");
        Err(self.failed("export has not written it, and would lose what is in it", &hint))
    }

    /// Replaces the file. A failure leaves the old file as it is.
    pub(super) fn write(&self, text: &str) -> Result<(), Error> {
        let mut new = self.begin()?;
        let mut write = || {
            let file = new.file();
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        };
        write()
            .and_then(|()| new.replace())
            .map_err(|error| self.failed(format!("{error} (the old file, if there is one, is unchanged)"), OTHER_FILE))
    }

    /// Creates the new file beside the old one, with symbolic links resolved.
    fn begin(&self) -> Result<NewFile, Error> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => return Err(self.failed("it is a directory", "name a file in it")),
            Ok(metadata) if !metadata.is_file() => {
                return Err(self.failed("it is not a regular file", "use '--output -' for standard output"));
            }
            _ => {}
        }
        self.place().and_then(|place| place.create(Access::Private)).map_err(|error| self.unwritable(&error))
    }

    fn place(&self) -> io::Result<Destination> {
        Destination::asked_for(&self.path, self.home.as_deref())
    }

    fn unwritable(&self, error: &io::Error) -> Error {
        Error::unwritable(format_args!("cannot write {}", self.path.display()), error, OTHER_FILE)
    }

    fn failed(&self, why: impl std::fmt::Display, hint: &str) -> Error {
        Error::failed(Code::WriteFailed, format!("cannot write {}: {why}", self.path.display()), hint)
    }
}

/// The fix where the system refuses the write.
const OTHER_FILE: &str = "name another file with --output";

/// The size limit of a file that is taken for one that `export` has written: one with thousands of registries.
const LARGEST: u64 = 16 * 1024 * 1024;
