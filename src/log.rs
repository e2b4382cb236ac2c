//! The log: off unless asked for, to standard error or to a file that only its owner can read, never to standard
//! output, which belongs to the protocol.
//!
//! Only this crate's events are written. Those of the SDK and of the HTTP stack hold requests and responses, and in
//! them session tokens.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::warn;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::time::UtcTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, fmt};

use crate::env::Env;
use crate::platform;

/// When a log file is moved aside, in bytes. With the one before, the log takes twice as much at the most.
const LARGEST: u64 = 1024 * 1024;

/// Another process moves a file in less than a millisecond.
const LONGEST_LOCK: Duration = Duration::from_millis(200);

/// Starts the log that `AWS_ECR_LOG` and `AWS_ECR_LOG_FILE` ask for. A file that cannot be opened leaves the log
/// off: it must not cost the pull.
pub fn start(env: &Env) {
    let file = env.path("AWS_ECR_LOG_FILE");
    let (level, unknown) = match (env.text("AWS_ECR_LOG"), &file) {
        (None, None) => return,
        (None, Some(_)) => (LevelFilter::INFO, false),
        (Some(text), _) => text.trim().parse().map_or((LevelFilter::INFO, true), |level| (level, false)),
    };
    let filter = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    let layer = fmt::layer().with_ansi(false).with_target(false).with_timer(UtcTime::rfc_3339());
    let started = match file {
        None => tracing::subscriber::set_global_default(
            Registry::default().with(filter).with(layer.with_writer(io::stderr)),
        ),
        Some(path) => match open(&path) {
            Ok(file) => tracing::subscriber::set_global_default(
                Registry::default().with(filter).with(layer.with_writer(Mutex::new(file))),
            ),
            Err(_) => return,
        },
    };
    if started.is_ok() && unknown {
        warn!("AWS_ECR_LOG is none of off, error, warn, info, debug, trace; taken as info");
    }
    env.misspelt().for_each(|what| warn!("{what}"));
}

/// Opens the file, and first moves one that has grown large to `<name>.old`, over the one before. Only a regular file of
/// this user is a log: whatever else is at the path is left alone, its mode too.
fn open(path: &Path) -> io::Result<File> {
    let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !platform::is_own_regular_file(&metadata) {
            return Err(refused());
        }
        if metadata.len() > LARGEST {
            rotate(path)?;
        }
    }
    platform::survive_file_size_limit();
    let file = platform::open_private(path, OpenOptions::new().append(true).create(true))?;
    if !platform::is_own_regular_file(&file.metadata()?) {
        return Err(refused());
    }
    // One that was there already may be open to others.
    platform::make_private(&file)?;
    Ok(file)
}

/// Moves a large file aside. Of several processes that find it large, one moves it; the others find a small one once they have
/// the lock, which they would otherwise move over the large one. A process without the lock appends to the large file.
fn rotate(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(_lock) = platform::lock_dir(dir, LONGEST_LOCK) else { return Ok(()) };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.len() > LARGEST => {
            let mut old = path.as_os_str().to_owned();
            old.push(".old");
            std::fs::rename(path, old)
        }
        _ => Ok(()),
    }
}
