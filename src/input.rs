//! Bounded reading of what comes from outside: standard input and files.
//!
//! Nothing here waits past a deadline or reads without end. A regular file is read where it is; whatever else a path
//! names (a FIFO, a device) can block, so a thread reads it, and the caller stops waiting at the deadline. Files may
//! hold keys, so their bytes are zeroed when dropped and never grow in place.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use zeroize::{Zeroize, Zeroizing};

use crate::platform;

/// The largest file that any setting may name. More is an error, not a truncated file.
pub const LARGEST: u64 = 64 * 1024 * 1024;

/// What a path gave.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// The whole file.
    Bytes(Zeroizing<Vec<u8>>),
    /// Nothing is there.
    Absent,
    /// Something is there that has no content to read, such as a directory; the reason in words.
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
    /// The bytes, if there are any.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What was read.
    pub content: Content,
    /// Why another reading might give something else although nobody edited the file: it is no regular file, or it
    /// changed meanwhile. `None` for files that a hash describes.
    pub unsteady: Option<&'static str>,
}

/// Why a file could not be read to its end.
#[derive(Debug)]
pub enum ReadError {
    /// The file is larger than [`LARGEST`].
    TooLarge,
    /// The file is no regular file, and reading it did not end by the deadline.
    TimedOut,
    /// The system refused a thread to read it.
    NoThread(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("it is larger than 64 MiB"),
            Self::TimedOut => f.write_str("it is no regular file, and reading it did not end in time"),
            Self::NoThread(error) => error.fmt(f),
        }
    }
}

/// Reads a file to its end by `deadline`. `Err` says in words why that was not possible: the time was up, or the file
/// has no end.
pub fn file(path: &Path, deadline: Instant) -> Result<Reading, ReadError> {
    if is_null_device(path) {
        return Ok(Reading { content: Content::Bytes(Zeroizing::default()), unsteady: None });
    }
    if let Some(reading) = regular_file(path)? {
        return Ok(reading);
    }
    let (send, receive) = mpsc::sync_channel(1);
    let name = path.to_owned();
    let reader = move || send.send(File::open(name).and_then(|file| read_all(file, 0)));
    thread::Builder::new().spawn(reader).map_err(ReadError::NoThread)?;
    let read =
        receive.recv_timeout(deadline.saturating_duration_since(Instant::now())).map_err(|_| ReadError::TimedOut)?;
    let content = match read {
        Ok(bytes) if bytes.len() as u64 > LARGEST => return Err(ReadError::TooLarge),
        Ok(bytes) => Content::Bytes(bytes),
        Err(error) => Content::Unreadable(error.to_string()),
    };
    Ok(Reading { content, unsteady: Some("it is no regular file") })
}

/// Reads a regular file, or learns that nothing is there. `None` for everything that could block, which is not even
/// opened: that alone would let a writer at the other end of a FIFO go on. The caller waits for the file system and for
/// nothing else.
pub fn regular_file(path: &Path) -> Result<Option<Reading>, ReadError> {
    let steady = |content| Ok(Some(Reading { content, unsteady: None }));
    let before = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return steady(Content::Unreadable(DIRECTORY.to_owned())),
        Ok(metadata) if !metadata.is_file() => return Ok(None),
        Ok(metadata) if metadata.len() > LARGEST => return Err(ReadError::TooLarge),
        Ok(metadata) => metadata,
        Err(error) => return steady(missing(path, &error)),
    };
    let read = platform::open_without_waiting(path)
        .and_then(|file| Ok((read_all(&file, before.len())?, platform::file_state(&file.metadata()?))));
    match read {
        Ok((bytes, _)) if bytes.len() as u64 > LARGEST => Err(ReadError::TooLarge),
        Ok((bytes, after)) => {
            let unsteady = (platform::file_state(&before) != after).then_some("it changed while it was read");
            Ok(Some(Reading { content: Content::Bytes(bytes), unsteady }))
        }
        Err(error) => steady(missing(path, &error)),
    }
}

/// Why a directory has no content, in [`Content::Unreadable`].
pub const DIRECTORY: &str = "it is a directory";

/// What is read of a file at once where only its hash is wanted.
const PIECE: usize = 16 * 1024;

/// The room for a first read where the size is not known.
const FIRST: usize = 8 * 1024;

fn is_null_device(path: &Path) -> bool {
    path == Path::new(if cfg!(windows) { "NUL" } else { "/dev/null" })
}

/// Passes a regular file through `take`, a piece at a time, for those who only want a hash of it. What is not there or has no
/// content comes back instead; `None` for what could block.
pub fn pieces(path: &Path, mut take: impl FnMut(&[u8])) -> Option<Result<(), Content>> {
    // As long as it was a moment ago: what is being added is for the next look. Files of /proc do not tell.
    let size = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Some(Err(Content::Unreadable(DIRECTORY.to_owned()))),
        Ok(metadata) if !metadata.is_file() => return is_null_device(path).then_some(Ok(())),
        Ok(metadata) => metadata.len(),
        Err(error) => return Some(Err(missing(path, &error))),
    };
    let (mut piece, mut filled, mut taken) = ([0; PIECE], 0, 0);
    let read = platform::open_without_waiting(path).and_then(|mut file| {
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    take(&piece[..count]);
                    (filled, taken) = (filled.max(count), taken + count as u64);
                    if (taken >= size && size > 0) || taken > LARGEST {
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
    let is_absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    // In a home that is closed to this user there is nothing, as far as this user can tell; in a directory that can be seen
    // and not entered there may be.
    let is_out_of_sight = || path.parent().is_some_and(|parent| parent.symlink_metadata().is_err());
    if is_absent || is_out_of_sight() { Content::Absent } else { Content::Unreadable(error.to_string()) }
}

/// Everything up to one byte more than [`LARGEST`]. What is read before the buffer is replaced by a larger one is zeroed.
fn read_all(mut file: impl Read, expected: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let room = usize::try_from(expected).map_or(FIRST, |expected| (expected + 1).max(FIRST));
    let mut bytes = Zeroizing::new(vec![0; room]);
    let mut filled = 0;
    loop {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if filled as u64 > LARGEST {
            break;
        }
        if filled == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; filled * 2]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
