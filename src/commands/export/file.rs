//! The file that `export --output` writes.
//!
//! Readers see the old file or the new one, never a part: a temporary file in the same directory gets the text and replaces
//! the old file. The new file has mode 0600, whatever the umask and the mode of the old file, and belongs to the user who runs
//! the command. A symbolic link at the path stays, and the file that it leads to is replaced. A link, a file or a directory of another
//! user than root is refused; root writes below its own `HOME` for the owner of that. A file that is not regular, e.g. `/dev/null`
//! or a pipe, is refused, because a rename would remove it. So is an object of JSON with more than `export` writes, as docker's own
//! settings: they would be lost.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::NAME;
use crate::client_config::Members;
use crate::code::Code;
use crate::error::Error;
use crate::input;
use crate::platform::{Access, Destination, NewFile};
use crate::token::Token;

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
        self.begin().map(drop)
    }

    /// Replaces the file. A failure leaves the old file as it is.
    pub(super) fn write(&self, text: &str) -> Result<(), Error> {
        if text.len() as u64 >= LARGEST {
            let why = format!("it would exceed {}, the limit", input::size(LARGEST));
            return Err(self.failed(why, "export fewer registries at once"));
        }
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
        let place = Destination::asked_for(&self.path, self.home.as_deref());
        // Another program may have written there since the last time.
        if place.as_ref().is_ok_and(|place| has_settings(place.read(LARGEST))) {
            let hint = format!("{OTHER_FILE}, or have docker call the helper: '{NAME} setup HOST'");
            return Err(
                self.failed("it has settings or logins that export would not keep, or is too large to tell", &hint)
            );
        }
        place.and_then(|place| place.create(Access::Private)).map_err(|error| {
            Error::unwritable(format_args!("cannot write {}", self.path.display()), &error, OTHER_FILE)
        })
    }

    fn failed(&self, why: impl std::fmt::Display, hint: &str) -> Error {
        Error::failed(Code::WriteFailed, format!("cannot write {}: {why}", self.path.display()), hint)
    }
}

/// The fix where the system refuses the write.
const OTHER_FILE: &str = "name another file with --output";

/// The size limit of a file that is looked into: one with the passwords of thousands of registries.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Whether a file begins as an object of JSON and has more than the passwords that `export` writes.
fn has_settings(old: io::Result<Option<Zeroizing<Vec<u8>>>>) -> bool {
    fn object(text: &str) -> Option<Members<'_>> {
        serde_json::from_str(text).ok()
    }
    let old = match old {
        Ok(old) => old.unwrap_or_default(),
        Err(error) => return error.kind() == io::ErrorKind::FileTooLarge,
    };
    let is_ours = |login: &RawValue| {
        let auth = object(login.get()).filter(|members| members.0.len() == 1).and_then(|login| login.text("auth").ok());
        auth.and_then(|auth| Token::decode(&auth)).is_some_and(|token| token.username == "AWS")
    };
    let are_ours = |logins: Members| logins.0.iter().all(|(_, login)| is_ours(login));
    let all_ours =
        |all: Members| all.0.iter().all(|(name, value)| name == "auths" && object(value.get()).is_some_and(are_ours));
    let text = old.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&old).trim_ascii_start();
    text.starts_with(b"{") && !str::from_utf8(text).ok().and_then(object).is_some_and(all_ours)
}
