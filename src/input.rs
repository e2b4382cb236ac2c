//! Reads files with a time limit and a size limit.
//!
//! The calling thread reads regular files. Everything else that a path can name (a FIFO, a device) can block, so another
//! thread reads it, and the caller stops waiting at the deadline. Files may hold keys, so their bytes are zeroed when
//! dropped, and a buffer never grows in place.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use zeroize::{Zeroize, Zeroizing};

use crate::platform;

/// The size limit of AWS files and of CA bundles. A larger file is an error, and is not truncated. Twice the limit fits into little
/// memory, e.g. that of a container for a job.
pub const LARGEST: u64 = 8 * MIB;

/// The size limit of tokens and of sign-ins.
pub const LARGEST_TOKEN: u64 = MIB;

/// The size limit of the helper's own settings, which hold thousands of tables in that. Their parser takes up to 60 times as much
/// memory.
pub const LARGEST_SETTINGS: u64 = MIB / 2;

/// As much of a file is hashed that the helper itself does not read, e.g. a program.
const MOST_HASHED: u64 = 64 * MIB;

const MIB: u64 = 1024 * 1024;

/// The content of a path.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// The whole file.
    Bytes(Zeroizing<Vec<u8>>),
    /// The path does not exist.
    Absent,
    /// The path exists and cannot be read, e.g. a directory, or this user cannot see whether it exists; the reason, for messages.
    Unreadable(String),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "[{} bytes]", bytes.len()),
            Self::Absent => f.write_str("[absent]"),
            Self::Unreadable(why) => write!(f, "[unreadable: {why}]"),
        }
    }
}

impl Content {
    /// The bytes of a file that was read.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether the path is below a directory that this user cannot see.
    pub fn is_out_of_sight(&self) -> bool {
        matches!(self, Self::Unreadable(why) if why.ends_with(OUT_OF_SIGHT))
    }
}

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The content.
    pub content: Content,
    /// Why another reading may differ although no user edited the file: it is not a regular file, or it changed during the
    /// reading. `None` for files that a hash describes.
    pub unsteady: Option<&'static str>,
}

/// Why a file could not be read to its end.
#[derive(Debug)]
pub enum ReadError {
    /// The file is larger than this limit.
    TooLarge(u64),
    /// The file is not a regular file, and reading it did not end by the deadline.
    TimedOut,
    /// The system refused a thread to read it.
    NoThread(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "it is larger than {}, the limit", size(*limit)),
            Self::TimedOut => f.write_str("it is not a regular file, and reading it did not end in time"),
            Self::NoThread(error) => error.fmt(f),
        }
    }
}

/// A limit in its unit.
pub fn size(limit: u64) -> String {
    if limit < MIB { format!("{} KiB", limit / 1024) } else { format!("{} MiB", limit / MIB) }
}

/// Reads a file of at most `limit` bytes to its end by `deadline`.
pub fn file(path: &Path, limit: u64, deadline: Instant) -> Result<Reading, ReadError> {
    if is_null_device(path) {
        return Ok(Reading { content: Content::Bytes(Zeroizing::default()), unsteady: None });
    }
    if let Some(reading) = regular_file(path, limit)? {
        return Ok(reading);
    }
    platform::end_on_signals_as_first();
    let (send, receive) = mpsc::sync_channel(1);
    let name = path.to_owned();
    let reader = move || send.send(File::open(name).and_then(|file| read_all(file, 0, limit)));
    platform::spawn_thread(reader).map_err(ReadError::NoThread)?;
    let read =
        receive.recv_timeout(deadline.saturating_duration_since(Instant::now())).map_err(|_| ReadError::TimedOut)?;
    let content = match read {
        Ok(bytes) if bytes.len() as u64 > limit => return Err(ReadError::TooLarge(limit)),
        Ok(bytes) => Content::Bytes(bytes),
        Err(error) => Content::Unreadable(error.to_string()),
    };
    Ok(Reading { content, unsteady: Some("it is not a regular file") })
}

/// Reads a regular file of at most `limit` bytes, or observes that the path does not exist. `None` for everything that could block. Such a path is not
/// opened, since opening a FIFO already lets its writer continue. The call waits for the file system alone.
pub fn regular_file(path: &Path, limit: u64) -> Result<Option<Reading>, ReadError> {
    let steady = |content| Ok(Some(Reading { content, unsteady: None }));
    let before = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return steady(Content::Unreadable(DIRECTORY.to_owned())),
        Ok(metadata) if !metadata.is_file() => return Ok(None),
        Ok(metadata) if metadata.len() > limit => return Err(ReadError::TooLarge(limit)),
        Ok(metadata) => metadata,
        Err(error) => return steady(missing(path, &error)),
    };
    let read = platform::open_without_waiting(path).and_then(|file| {
        let (bytes, after) = (read_all(&file, before.len(), limit)?, platform::file_state(&file.metadata()?));
        platform::close_later(file);
        Ok((bytes, after))
    });
    match read {
        Ok((bytes, _)) if bytes.len() as u64 > limit => Err(ReadError::TooLarge(limit)),
        Ok((bytes, after)) => {
            let unsteady = (platform::file_state(&before) != after).then_some("it changed while it was read");
            Ok(Some(Reading { content: Content::Bytes(bytes), unsteady }))
        }
        Err(error) => steady(missing(path, &error)),
    }
}

/// Why a directory has no content, in [`Content::Unreadable`].
pub const DIRECTORY: &str = "it is a directory";

/// How the reason ends in [`Content::Unreadable`] for a path below a directory that this user cannot see.
const OUT_OF_SIGHT: &str = " on the way";

/// The directory on the way to a path that this user cannot enter, for messages.
pub fn closed_dir(path: &Path) -> Option<&Path> {
    let is_closed = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    is_closed.then(|| path.ancestors().find(|dir| dir.symlink_metadata().is_ok())).flatten()
}

/// The file that is on the way to a path in the place of a directory, for messages.
pub fn file_on_the_way(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|dir| dir.symlink_metadata().is_ok()).filter(|dir| dir.is_file())
}

/// The owner of a file that cannot be read, or the directory that hides it, as the end of a sentence that says why.
pub fn obstacle(path: &Path) -> String {
    if let Some(dir) = closed_dir(path) {
        return format!(": the directory {} cannot be entered", dir.display());
    }
    platform::other_owner(path).map_or_else(String::new, |owner| format!(": it belongs to another user, {owner}"))
}

/// The size of the pieces in which a file is hashed.
const PIECE: usize = 24 * 1024;

/// The size of the first buffer when the size of the file is not known.
const FIRST: usize = 8 * 1024;

fn is_null_device(path: &Path) -> bool {
    path == Path::new(if cfg!(windows) { "NUL" } else { "/dev/null" })
}

/// Passes a regular file to `take`, a piece at a time, for a caller that only needs its hash. `Err` has the content of a path
/// that does not exist or cannot be read; `None` for everything that could block.
pub fn pieces(path: &Path, mut take: impl FnMut(&[u8])) -> Option<Result<(), Content>> {
    // Reads no further than the size at the start: what is appended meanwhile is for the next reading. Files of /proc have
    // the size 0.
    let size = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Some(Err(Content::Unreadable(DIRECTORY.to_owned()))),
        Ok(metadata) if !metadata.is_file() => return is_null_device(path).then_some(Ok(())),
        Ok(metadata) => metadata.len(),
        Err(error) => return Some(Err(missing(path, &error))),
    };
    let (mut piece, mut filled, mut taken) = (vec![0; PIECE], 0, 0);
    let read = platform::open_without_waiting(path).and_then(|mut file| {
        loop {
            match file.read(&mut piece) {
                Ok(count) => {
                    take(&piece[..count]);
                    (filled, taken) = (filled.max(count), taken + count as u64);
                    if count == 0 || (taken >= size && size > 0) || taken > MOST_HASHED {
                        platform::close_later(file);
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    });
    piece[..filled].zeroize();
    Some(read.map_err(|error| missing(path, &error)))
}

fn missing(path: &Path, error: &io::Error) -> Content {
    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
        return Content::Absent;
    }
    // Who reads a default path may take this for absent: the home directory of another user is not one's own. It differs from a directory
    // that this user sees and may not enter.
    let is_out_of_sight = path.parent().is_some_and(|parent| parent.symlink_metadata().is_err());
    Content::Unreadable(format!("{error}{}", if is_out_of_sight { OUT_OF_SIGHT } else { "" }))
}

/// Reads up to one byte more than `limit`, or no further than an expected size that is not 0: who asks for one compares the states
/// before and after. A buffer that a larger one replaces is zeroed.
fn read_all(mut file: impl Read, expected: u64, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX - 1) + 1;
    let room = usize::try_from(expected).map_or(FIRST, |expected| expected.saturating_add(1).max(FIRST)).min(most);
    let mut bytes = Zeroizing::new(vec![0; room]);
    let mut filled = 0;
    loop {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if filled == most || (expected > 0 && filled as u64 >= expected) {
            break;
        }
        if filled == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; (filled * 2).min(most)]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
