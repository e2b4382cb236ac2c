//! A file with a sign-in or a token, as it was read for the cache key. Nothing reads it a second time.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::code::Code;
use crate::error::Failure;
use crate::input::{self, Content};

/// A file of a source, and its content.
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
    /// Reads a file by `deadline`.
    pub(super) fn read(path: PathBuf, deadline: Instant) -> Result<Self, Failure> {
        let reading = input::file(&path, input::LARGEST_TOKEN, deadline).map_err(|why| unusable(&path, why))?;
        let unsteady = reading.unsteady.map(|why| unsteady(&path, why));
        Ok(Self { path, content: reading.content, unsteady })
    }
}

/// The reason not to cache a token that depends on a file of which another reading may differ.
pub(super) fn unsteady(path: &Path, why: &str) -> Failure {
    Failure::new(
        Code::CacheUnused,
        format!("{}: {why}", path.display()),
        "use a regular file, and write it by a rename",
    )
}

/// The failure for a file that cannot be read to its end.
pub(super) fn unusable(path: &Path, why: impl Display) -> Failure {
    let what = format!("the file {} cannot be used: {why}", path.display());
    Failure::new(Code::SourceFile, what, "correct the file, or the setting that names it")
}
