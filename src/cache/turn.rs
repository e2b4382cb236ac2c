//! Whose turn it is to ask AWS. One process holds the key's lock and asks; the others wait for what comes of it.
//!
//! Beside the lock the holder keeps a status file: first a count that it raises twice a second, later, if AWS gave no
//! token, the reason. From the count the others see that the holder is alive, however slow AWS is. A count that
//! stands still for [`PATIENCE`] means a holder that was stopped; they then go on to a second lock, where again one
//! asks and the others wait. The reason answers everybody who was waiting when it came, so that many processes and a
//! failing AWS make one request and not one each. For those who are only just starting, the holder stays a moment
//! longer if there are others. A process that comes later finds the lock free, and asks for itself.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::lock::Lock;
use crate::error::Failure;
use crate::platform;

/// How long a holder may give no sign of life.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it gives one.
const BEAT: Duration = Duration::from_millis(500);
/// How long a failing holder with others around keeps the lock, for those who are only just starting.
const LINGER: Duration = Duration::from_millis(200);
/// How much longer than the deadline a process waits for the reason of one that started before it.
const GRACE: Duration = Duration::from_millis(300);
/// How often a waiting process looks; doubles from the first to the second.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// The locks of a key, one after the other.
const LOCKS: [&str; 2] = ["lock", "lock2"];
/// The longest status that is read.
const LONGEST: u64 = 16 * 1024;

/// What came of waiting.
pub enum Wait<T> {
    /// Ask AWS. Without a turn when the cache cannot be locked, or both holders were stopped.
    Ask(Option<Turn>),
    /// Somebody else got it.
    Got(T),
    /// Somebody else asked while this process was waiting, in vain.
    Failed(Failure),
    /// Somebody else is at it, and longer than this process may wait.
    TooLong,
}

/// The right to ask AWS for a key, until dropped.
pub struct Turn {
    status: PathBuf,
    file: Option<Arc<Mutex<File>>>,
    /// Ends the signs of life when dropped.
    _alive: mpsc::Sender<()>,
    _lock: Lock,
}

/// A reason as it is passed on.
#[derive(Serialize, Deserialize)]
struct Reason {
    /// Milliseconds since 1970.
    at: u64,
    what: String,
    next: String,
}

/// Waits for the turn at `stem`, the path of an entry without its ending, or until `look` finds what it is about. Without
/// `patient` nobody is waited for.
pub fn wait<T>(stem: &Path, deadline: Instant, patient: bool, look: impl Fn() -> Option<T>) -> io::Result<Wait<T>> {
    let started = milliseconds(SystemTime::now());
    for ending in LOCKS {
        let (path, status) = (stem.with_extension(ending), stem.with_extension(format!("{ending}-status")));
        let (mut pause, mut waited) = (POLL.0, false);
        let mut sign = (String::new(), Instant::now());
        loop {
            if let Some(lock) = Lock::try_take(&path)? {
                if let Some(found) = look() {
                    return Ok(Wait::Got(found));
                }
                return Ok(match reason(&read(&status), started).filter(|_| waited) {
                    Some(failure) => Wait::Failed(failure),
                    None => Wait::Ask(Some(Turn::begin(status, lock))),
                });
            }
            if let Some(found) = look() {
                return Ok(Wait::Got(found));
            }
            if !patient || Instant::now() >= deadline + GRACE {
                return Ok(Wait::TooLong);
            }
            if !waited {
                waited = true;
                // Tells the holder that it is not alone.
                let mark = platform::open_private(&status, OpenOptions::new().append(true));
                let _ = mark.and_then(|mut file| file.write_all(b"+"));
            }
            let text = read(&status);
            // One from before this process began to wait counts while its writer lingers, and no longer.
            if let Some(failure) = reason(&text, started.saturating_sub(milliseconds(UNIX_EPOCH + LINGER))) {
                return Ok(Wait::Failed(failure));
            }
            let count = text.lines().next().unwrap_or_default().trim_end_matches('+').to_owned();
            if count != sign.0 {
                sign = (count, Instant::now());
            } else if sign.1.elapsed() > PATIENCE {
                break;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(POLL.1);
        }
    }
    Ok(Wait::Ask(None))
}

impl Turn {
    fn begin(status: PathBuf, lock: Lock) -> Self {
        let mut options = OpenOptions::new();
        let opened = platform::open_private(&status, options.read(true).write(true).create(true).truncate(true));
        let file = opened.and_then(|file| platform::make_private(&file).map(|()| Arc::new(Mutex::new(file)))).ok();
        let (alive, ended) = mpsc::channel::<()>();
        if let Some(file) = file.clone() {
            beat(&file, 0);
            let beats = move || {
                let mut count = 0;
                while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                    count += 1;
                    beat(&file, count);
                }
            };
            // Without it the others lose patience after a while, and no more.
            let _ = thread::Builder::new().spawn(beats);
        }
        Self { status, file, _alive: alive, _lock: lock }
    }

    /// Ends the turn with a token in the cache.
    pub fn succeeded(self) {
        let _ = std::fs::remove_file(&self.status);
    }

    /// Ends the turn with a reason for all who wait.
    pub fn failed(self, failure: &Failure) {
        let Some(file) = &self.file else { return };
        let alone = !read(&self.status).contains('+');
        // What others said is not for other processes: it may hold more than is seen of it.
        let Failure { what, next, quote: _ } = failure.clone();
        let reason = Reason { at: milliseconds(SystemTime::now()), what, next };
        let text = serde_json::to_string(&reason).expect("strings and numbers always serialise");
        {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(format!("\n{text}\n").as_bytes()));
        }
        if !alone {
            thread::sleep(LINGER);
        }
    }
}

/// The count has a fixed width, so that it overwrites itself and nothing else.
fn beat(file: &Mutex<File>, count: u32) {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(format!("{count:08}\n").as_bytes()));
}

fn read(status: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = platform::open_private(status, OpenOptions::new().read(true))
        && platform::trusted(&file).is_ok()
    {
        let _ = file.take(LONGEST).read_to_string(&mut text);
    }
    text
}

/// The reason in a status, if it came at `since` or later.
fn reason(text: &str, since: u64) -> Option<Failure> {
    let json = text.lines().find(|line| line.starts_with('{'))?;
    let Reason { at, what, next } = serde_json::from_str(json).ok()?;
    (at >= since).then(|| Failure::new(what, next))
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
