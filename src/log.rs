//! The log: off by default. `AWS_ECR_LOG` and `AWS_ECR_LOG_FILE` send it to standard error or to a file that only its owner can
//! read, but never to standard output, which belongs to the protocol.
//!
//! The log holds only the events of this crate. Those of the SDK and of the HTTP stack hold requests and responses with session
//! tokens.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing::warn;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::UtcTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, fmt};

use crate::env::Env;
use crate::platform;

/// The size in bytes from which a log file is rotated. With the previous file, the log takes at most twice as much.
const LARGEST: u64 = 1024 * 1024;

/// How long to wait while another process rotates the log, which takes less than a millisecond.
const LONGEST_LOCK: Duration = Duration::from_millis(200);

/// Starts the log as `AWS_ECR_LOG` and `AWS_ECR_LOG_FILE` set it. A file that cannot be opened turns the log off, so that
/// the pull does not fail.
pub fn start(env: &Env) {
    let file = env.path("AWS_ECR_LOG_FILE");
    let level = env.text("AWS_ECR_LOG").map(|level| level.trim().parse());
    if level.is_none() && file.is_none() {
        return;
    }
    let is_unknown = matches!(level, Some(Err(_)));
    let level = level.and_then(Result::ok).unwrap_or(LevelFilter::INFO);
    let started = match file.map(|path| open(&path)) {
        None => start_at(level, io::stderr),
        Some(Ok(file)) => start_at(level, Mutex::new(file)),
        Some(Err(_)) => return,
    };
    if started.is_ok() && is_unknown {
        warn!("AWS_ECR_LOG is none of off, error, warn, info, debug, trace; logging at level info");
    }
    env.misspelt().for_each(|what| warn!("{what}"));
}

fn start_at(
    level: LevelFilter,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Result<(), SetGlobalDefaultError> {
    let filter = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    let layer = fmt::layer().with_ansi(false).with_target(false).with_timer(UtcTime::rfc_3339());
    tracing::subscriber::set_global_default(Registry::default().with(filter).with(layer.with_writer(writer)))
}

/// Opens the log file, and first rotates one that has grown large to `<name>.old`, which replaces the previous one. Only a regular
/// file of this user is a log: anything else at the path is left unchanged, and so is its mode.
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
    // A file that existed before may have another mode.
    platform::make_private(&file)?;
    Ok(file)
}

/// Rotates a large log file. Of several processes that find it large, the first one with the lock moves it. The others examine
/// the file again under the lock, since they would move the new file over the large one. A process that gets no lock appends to
/// the large file.
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
