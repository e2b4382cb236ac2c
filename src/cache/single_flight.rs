//! Single flight: of many processes that want the same token at once, one asks AWS and the others wait for what comes of it.
//!
//! The process that holds a key's lock is the leader. While it asks, it renews the lock file's modification time twice a
//! second, so that the others see it alive however slow AWS is. When the time stands still for [`HEARTBEAT_TIMEOUT`], the
//! leader was stopped; the others then elect another one by a second lock. A leader that gets a token leaves it in the
//! cache. One that fails leaves the reason in the file `<key>.failure` before it releases the lock, and every process that
//! has been waiting since before then takes that for its own answer: many processes and a failing AWS make one request.
//! When processes wait (they leave a file `<key>.waiting`), a failing leader keeps the lock a moment longer for those that
//! are still being started. A process that starts later asks again.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tracing::debug;

use super::lock::Lock;
use super::{Cache, read};
use crate::code::Code;
use crate::error::Failure;
use crate::identity::CacheKey;
use crate::platform;

/// How often a leader renews the time of its lock file.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long the time of a lock file may stand still before its leader counts as stopped.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);
/// How much longer than its own deadline a process waits for a leader with the same deadline to leave its reason.
const GRACE: Duration = Duration::from_millis(300);
/// How long a leader that failed keeps the lock when others wait.
const LINGER: Duration = Duration::from_millis(200);
/// How often a waiting process looks; doubles from the first to the second.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// The locks of a key: one for the leader, one for its successor should it be stopped.
const LOCKS: [&str; 2] = ["lock", "lock2"];

/// What a process that wants a token is to do.
pub enum Outcome<'a, T> {
    /// Ask AWS. Without a lock when every leader so far was stopped.
    Ask(Option<Leader<'a>>),
    /// Another process got the token.
    Found(T),
    /// Another process asked meanwhile, in vain.
    Failed(Failure),
    /// Another process is still asking.
    Busy,
}

/// The right to ask AWS for a key, until dropped.
pub struct Leader<'a> {
    cache: &'a Cache,
    failure: PathBuf,
    waiting: PathBuf,
    _lock: Arc<Lock>,
}

/// The content of `<key>.failure`.
#[derive(Serialize, Deserialize)]
struct Report {
    /// Tells one failure from the next.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    code: String,
    what: String,
    hint: String,
}

impl Cache {
    /// Becomes the leader for `key`, or waits until `look_up` finds what a leader got. Waits until shortly after `deadline`;
    /// with `None` it does not wait.
    pub fn single_flight<T>(
        &self,
        key: &CacheKey,
        deadline: Option<Instant>,
        look_up: impl Fn() -> Option<T>,
    ) -> io::Result<Outcome<'_, T>> {
        platform::create_private_dir(&self.dir)?;
        let path = |extension: &str| self.dir.join(format!("{key}.{extension}"));
        let (failure, waiting) = (path("failure"), path("waiting"));
        let before = Report::read(&failure).map(|report| report.at);
        let mut is_waiting = false;
        for lock in LOCKS.map(path) {
            let mut heartbeat = Heartbeat::of(lock.clone());
            let mut pause = POLL.0;
            loop {
                let taken = Lock::try_take(&lock)?;
                if let Some(found) = look_up() {
                    return Ok(Outcome::Found(found));
                }
                // One that was not there at the start is that of a process that was asking meanwhile.
                let report = Report::read(&failure)
                    .filter(|report| before != Some(report.at) || (taken.is_none() && report.is_recent()));
                if let Some(report) = report {
                    return Ok(Outcome::Failed(report.into_failure()));
                }
                if let Some(taken) = taken {
                    return Ok(Outcome::Ask(Some(Leader::begin(self, failure, waiting, taken))));
                }
                if deadline.is_none_or(|deadline| Instant::now() >= deadline + GRACE) {
                    return Ok(Outcome::Busy);
                }
                if !is_waiting {
                    is_waiting = true;
                    let _ =
                        platform::open_private(&waiting, OpenOptions::new().write(true).create(true).truncate(true));
                }
                if heartbeat.has_stopped() {
                    break;
                }
                thread::sleep(pause);
                pause = (pause * 2).min(POLL.1);
            }
        }
        Ok(Outcome::Ask(None))
    }
}

impl<'a> Leader<'a> {
    fn begin(cache: &'a Cache, failure: PathBuf, waiting: PathBuf, lock: Lock) -> Self {
        let _ = fs::remove_file(&waiting);
        let lock = Arc::new(lock);
        let held = Arc::downgrade(&lock);
        let heartbeat = move || {
            loop {
                thread::sleep(HEARTBEAT);
                let Some(lock) = held.upgrade() else { return };
                lock.touch();
            }
        };
        // Without a heartbeat the others elect another leader after a while, and no more.
        let _ = thread::Builder::new().spawn(heartbeat);
        Self { cache, failure, waiting, _lock: lock }
    }

    /// Leaves the reason for all processes that wait, before the lock goes.
    pub fn fail(self, failure: &Failure) {
        // What others said is not for other processes: it may hold more than is seen of it.
        let Failure { code, what, hint, quote: _ } = failure.clone();
        let report = Report { at: OffsetDateTime::now_utc(), code: code.name().to_owned(), what, hint };
        if let Ok(bytes) = serde_json::to_vec(&report)
            && let Err(error) = self.cache.write(&bytes, &self.failure)
        {
            debug!(%error, "the failure cannot be reported to the processes that wait; each asks AWS itself");
        }
        if self.waiting.exists() {
            thread::sleep(LINGER);
        }
    }
}

impl Report {
    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&read(path)?).ok()
    }

    fn into_failure(self) -> Failure {
        Failure::new(Code::named(&self.code).unwrap_or(Code::ServiceError), self.what, self.hint)
    }

    /// Whether the leader that wrote it may still keep the lock.
    fn is_recent(&self) -> bool {
        (OffsetDateTime::now_utc() - self.at).abs() <= LINGER
    }
}

/// The signs of life of whoever holds a lock.
struct Heartbeat {
    lock: PathBuf,
    last: Option<SystemTime>,
    since: Instant,
}

impl Heartbeat {
    fn of(lock: PathBuf) -> Self {
        Self { lock, last: None, since: Instant::now() }
    }

    fn has_stopped(&mut self) -> bool {
        let last = fs::metadata(&self.lock).and_then(|metadata| metadata.modified()).ok();
        if last != self.last {
            (self.last, self.since) = (last, Instant::now());
        }
        self.since.elapsed() > HEARTBEAT_TIMEOUT
    }
}
