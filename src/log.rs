//! The log: off by default. `AWS_ECR_LOG` and `AWS_ECR_LOG_FILE` send it to standard error or to a file that only its owner can
//! read, but never to standard output, which belongs to the protocol.
//!
//! The log holds only the events of this crate. Those of the SDK and of the HTTP stack hold requests and responses with session
//! tokens.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{LevelFilter, Log, Metadata, Record, SetLoggerError, warn};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::env::Env;
use crate::platform::{self, Destination};
use crate::quote::hide_tokens;
use crate::text::acts_on_terminal;

/// The size in bytes from which a log file is rotated. With the previous file, the log takes at most twice as much.
const LARGEST: u64 = 1024 * 1024;

/// How long to wait while another process rotates the log, which takes less than a millisecond.
const LONGEST_LOCK: Duration = Duration::from_millis(200);

/// Starts the log as `AWS_ECR_LOG` and `AWS_ECR_LOG_FILE` set it, or at the level of an option. A file that cannot be opened turns the log off, so that
/// the pull does not fail.
pub fn start(env: &Env, option: Option<LevelFilter>) {
    let file = env.path("AWS_ECR_LOG_FILE");
    let level = env.text("AWS_ECR_LOG").map(|level| level.trim().parse()).or(option.map(Ok));
    if level.is_none() && file.is_none() {
        return;
    }
    let is_unknown = matches!(level, Some(Err(_)));
    let level = level.and_then(Result::ok).unwrap_or(LevelFilter::Info);
    let started = match file.map(|path| open(&path)) {
        None => start_at(level, io::stderr()),
        Some(Ok(file)) => start_at(level, file),
        Some(Err(_)) => return,
    };
    if started.is_ok() && is_unknown {
        warn!("AWS_ECR_LOG is none of off, error, warn, info, debug, trace; taken as info");
    }
    env.misspelt().for_each(|what| warn!("{what}"));
}

/// The file that `AWS_ECR_LOG_FILE` names, and why there is no log in it, for `doctor`: other commands go on without it.
pub fn unwritable(env: &Env) -> Option<(PathBuf, io::Error)> {
    // Who names that wants none.
    let path = env.path("AWS_ECR_LOG_FILE").filter(|path| path != Path::new("/dev/null"))?;
    let error = open(&path).err()?;
    Some((path, error))
}

fn start_at(level: LevelFilter, output: impl Write + Send + 'static) -> Result<(), SetLoggerError> {
    log::set_boxed_logger(Box::new(Lines(Mutex::new(output))))?;
    log::set_max_level(level);
    Ok(())
}

/// Writes each event as a line, in one call: processes share the file.
struct Lines<W>(Mutex<W>);

impl<W: Write + Send> Log for Lines<W> {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let at = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let mut line = format!("{at} {:>5} {}", record.level(), record.args());
        // Writing to a string cannot fail.
        let _ = record.key_values().visit(&mut Fields(&mut line));
        let line = hide_tokens(&line).replace(acts_on_terminal, " ") + "\n";
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Adds fields to a line as ` name=value`, text in quotes. Absent values are left out.
struct Fields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        value.visit(Field { line: self.0, key })
    }
}

/// The field that is being added.
struct Field<'a, 'kvs> {
    line: &'a mut String,
    key: Key<'kvs>,
}

impl VisitValue<'_> for Field<'_, '_> {
    fn visit_any(&mut self, value: Value) -> Result<(), kv::Error> {
        Ok(write!(self.line, " {}={value}", self.key)?)
    }

    fn visit_null(&mut self) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_str(&mut self, text: &str) -> Result<(), kv::Error> {
        Ok(write!(self.line, " {}={text:?}", self.key)?)
    }
}

/// Opens the log file, and first rotates one that has grown large to `<name>.old`, which replaces the previous one. Only a regular
/// file of this user is a log, and where others may move files one that begins with a time or is empty: anything else at the path is left
/// unchanged, and so is its mode.
fn open(path: &Path) -> io::Result<File> {
    platform::survive_file_size_limit();
    let destination = Destination::at(path)?;
    let file = destination.append(is_log)?;
    if !is_large(&destination) {
        return Ok(file);
    }
    rotate(&destination)?;
    destination.append(is_log)
}

/// Whether a file that begins so is a log of this program.
fn is_log(first: &[u8]) -> bool {
    let time = first.split(|byte| *byte == b' ').next().and_then(|word| str::from_utf8(word).ok());
    time.is_some_and(|time| OffsetDateTime::parse(time, &Rfc3339).is_ok())
}

fn is_large(log: &Destination) -> bool {
    log.size().is_some_and(|size| size > LARGEST)
}

/// Rotates a large log file. Of several processes that find it large, the first one with the lock moves it. The others examine
/// the file again under the lock, since they would move the new file over the large one. A process that gets no lock appends to
/// the large file.
fn rotate(log: &Destination) -> io::Result<()> {
    let Some(_lock) = log.lock_dir(LONGEST_LOCK) else { return Ok(()) };
    if is_large(log) { log.rename_with(".old") } else { Ok(()) }
}
