//! A file with settings, a sign-in or a token, as it was read for the cache key. Nothing reads it a second time.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::code::Code;
use crate::error::Failure;
use crate::input::{self, Content, ReadError, Reading};
use crate::quote;

/// A file, and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path.
    pub path: PathBuf,
    /// What it held.
    pub content: Content,
    /// Why another reading may differ, as a failure to cache its token.
    pub(super) unsteady: Option<Failure>,
}

impl SourceFile {
    /// Reads a file with a token or a sign-in, by `deadline`.
    pub(super) fn read(path: &Path, deadline: Instant) -> Result<Self, Failure> {
        Self::read_within(path, input::LARGEST_TOKEN, deadline).map_err(|why| unusable(path, why))
    }

    /// Reads a file with a token, which has to exist. The failure calls it by `name` and by the setting that names it.
    pub(super) fn read_token(path: &Path, name: &str, setting: &str, deadline: Instant) -> Result<Self, Failure> {
        let file = Self::read(path, deadline)?;
        let (why, hint) = match &file.content {
            Content::Bytes(_) => return Ok(file),
            Content::Absent => {
                ("does not exist".to_owned(), "check its path, and that the token is mounted or written there")
            }
            Content::Unreadable(why) => {
                (format!("cannot be read: {why}{}", input::obstacle(path)), "check its owner, mode and kind")
            }
        };
        Err(Failure::new(Code::SourceFile, format!("the {name} {} ({setting}) {why}", quote::path(path)), hint))
    }

    /// Reads a file of at most `limit` bytes, by `deadline`.
    pub(super) fn read_within(path: &Path, limit: u64, deadline: Instant) -> Result<Self, ReadError> {
        let Reading { content, unsteady } = input::file(path, limit, deadline)?;
        let unsteady = unsteady.map(|why| {
            let hint = "use a regular file, and write it by a rename";
            Failure::new(Code::CacheUnused, format!("{}: {why}", path.display()), hint)
        });
        Ok(Self { path: path.to_owned(), content, unsteady })
    }
}

/// The failure for a file that cannot be read to its end.
pub(super) fn unusable(path: &Path, why: impl Display) -> Failure {
    let what = format!("the file {} cannot be used: {why}", quote::path(path));
    Failure::new(Code::SourceFile, what, "correct the file, or the setting that names it")
}
