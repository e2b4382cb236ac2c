//! Carries out the [`protocol`](super::protocol) on files: of many processes that need the same token at once, one asks AWS and the others wait
//! for its result.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use log::{debug, warn};

use super::failure::FailureReport;
use super::lock::Lock;
use super::name::{LOCK, LOCK_OF_SUCCESSOR};
use super::protocol::{Answer, Locked, Need, Process, Requested, Seen, Step, Timing};
use super::{Cache, Entry, Freshness};
use crate::code::Code;
use crate::error::Failure;
use crate::identity::CacheKey;
use crate::platform::{self, NewFile};

/// How often a leader renews the time of its lock file.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// The first pause of a waiting process. Each further pause is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause of a waiting process.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// The extensions of a key's locks.
const LOCKS: [&str; super::protocol::LOCKS as usize] = [LOCK, LOCK_OF_SUCCESSOR];

/// The need for the token of a key.
pub struct Flight<'a, T> {
    /// The key.
    pub key: &'a CacheKey,
    /// The key whose erasure meanwhile leaves nothing to save.
    pub saved_for: &'a CacheKey,
    /// When the answer is due.
    pub deadline: Instant,
    /// What the token is for.
    pub need: Need,
    /// Reads the token from the cache; `None` when there is none that may be served.
    pub look_up: &'a dyn Fn() -> Option<(Freshness, T)>,
    /// Requests a token from AWS, until the given time. The token has an entry if it may be cached.
    pub request: &'a mut dyn FnMut(Instant) -> Result<(T, Option<Entry>), Stop>,
}

/// Why there is no token.
pub enum Stop {
    /// The identity was derived from settings that have changed since.
    SettingsChanged,
    /// The failure of this process, or of the one that asked AWS meanwhile.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Where the token of a flight comes from.
#[derive(Debug)]
pub enum Outcome<T> {
    /// From the cache, and why it could not be refreshed, if this process tried that.
    Cached(T, Option<Failure>),
    /// From AWS, and why it is not in the cache where that has failed.
    Issued(T, io::Result<()>),
}

/// Another process was requesting the token until the deadline.
pub fn busy() -> Failure {
    Failure::new(
        Code::Busy,
        "another process was requesting this token from AWS until the time limit",
        "try again; with AWS_ECR_DISABLE_CACHE=1 the helper does not wait for other processes",
    )
}

/// One process on its way through the protocol.
struct Run<'a, T> {
    cache: &'a Cache,
    flight: Flight<'a, T>,
    started: Instant,
    pause: Duration,
    cached: Option<T>,
    issued: Option<(T, Option<Entry>)>,
    /// The failure of its own request.
    failure: Option<Failure>,
    /// How much time its request had.
    limit: Duration,
    /// The failure whose report it read last.
    reported: Option<Failure>,
    lock: Option<Arc<Lock>>,
    /// Ends the heartbeat at once when it is dropped.
    heartbeat: Option<mpsc::Sender<()>>,
    save: Option<io::Result<NewFile>>,
    saved: io::Result<()>,
}

impl Cache {
    /// Gets a token from the cache, from AWS, or from the process that asks AWS meanwhile.
    pub fn single_flight<'a, T>(&'a self, flight: Flight<'a, T>) -> Result<Outcome<T>, Stop> {
        let started = Instant::now();
        let deadline = flight.deadline.saturating_duration_since(started);
        let mut run = Run {
            cache: self,
            flight,
            started,
            pause: FIRST_PAUSE,
            cached: None,
            issued: None,
            failure: None,
            limit: Duration::ZERO,
            reported: None,
            lock: None,
            heartbeat: None,
            save: None,
            saved: Ok(()),
        };
        let (mut process, mut step) = Process::start(Timing::REAL, deadline, run.flight.need);
        loop {
            if let Step::Answer(answer) = step {
                return run.answer(answer);
            }
            let seen = run.carry_out(step);
            step = process.next(seen, started.elapsed());
        }
    }
}

impl<T> Run<'_, T> {
    fn carry_out(&mut self, step: Step) -> Seen {
        let Self { cache, flight: Flight { key, .. }, .. } = *self;
        match step {
            Step::LookUp => return Seen::Cached(self.look_up()),
            Step::ReadReport => {
                let report = cache.failure_report(key);
                let mut left = self.flight.deadline.saturating_duration_since(Instant::now());
                if self.cached.is_some() {
                    left = left.min(Timing::REAL.refresh);
                }
                let seen = report.as_ref().map(|report| report.seen(left));
                self.reported = report.map(FailureReport::into_failure);
                return Seen::Report(seen);
            }
            Step::TryLock(number) => return Seen::Lock(self.try_lock(number)),
            Step::TestLock(number) => return Seen::Tested(self.test_lock(number)),
            Step::Wait => {
                thread::sleep(self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
            Step::BeginSave => {
                return Seen::Begun(self.save.insert(cache.begin_save(self.flight.saved_for)).is_ok());
            }
            Step::Request(limit) => return Seen::Requested(self.request(limit)),
            Step::Save => self.save(),
            Step::Report { postpones, is_shared } => {
                if let Some(failure) = self.failure.as_ref().filter(|failure| postpones || !failure.is_own)
                    && let Err(error) = cache.report_failure(key, failure, postpones, is_shared, self.limit)
                {
                    debug!(error:%; "the failure cannot be reported to other processes; each asks AWS itself");
                }
            }
            Step::RemoveEntry => cache.remove_refused(key),
            Step::RemoveReport => cache.remove_report(key),
            Step::Unlock => {
                self.heartbeat = None;
                if let Some(lock) = self.lock.take() {
                    lock.remove_file();
                }
            }
            Step::Answer(_) => {}
        }
        Seen::Done
    }

    fn look_up(&mut self) -> Freshness {
        let (cached, token) = (self.flight.look_up)().unzip();
        self.cached = token;
        cached.unwrap_or(Freshness::Expired)
    }

    fn try_lock(&mut self, number: u8) -> Locked {
        match take_lock(self.cache, &self.lock_path(number)) {
            Ok(lock) => {
                // The file may be that of a leader that was killed.
                lock.touch();
                self.lock = Some(Arc::new(lock));
                Locked::Taken
            }
            Err(why) => why,
        }
    }

    fn test_lock(&self, number: u8) -> Locked {
        let path = self.lock_path(number);
        if path.symlink_metadata().is_err() {
            return Locked::Taken;
        }
        match take_lock(self.cache, &path) {
            Ok(unused) => {
                unused.remove_file();
                Locked::Taken
            }
            Err(why) => why,
        }
    }

    fn lock_path(&self, number: u8) -> PathBuf {
        self.cache.path(self.flight.key, LOCKS[usize::from(number)])
    }

    fn request(&mut self, limit: Duration) -> Requested {
        if let Some(lock) = &self.lock {
            let held = Arc::downgrade(lock);
            let (heart, stopped) = mpsc::channel();
            self.heartbeat = Some(heart);
            let heartbeat = move || {
                while stopped.recv_timeout(HEARTBEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let Some(lock) = held.upgrade() else { return };
                    lock.touch();
                }
            };
            // Without a heartbeat, the others elect another leader after the timeout, at the cost of a second request.
            let _ = platform::spawn_thread(heartbeat);
        }
        let until = self.started.checked_add(limit).unwrap_or(self.flight.deadline);
        self.limit = until.saturating_duration_since(Instant::now());
        match (self.flight.request)(until) {
            Ok((token, entry)) => {
                let is_cacheable = entry.is_some();
                self.issued = Some((token, entry));
                if let (true, Some(Err(error))) = (is_cacheable, &self.save) {
                    self.cache.warn_unwritten(error);
                }
                Requested::Issued { is_cacheable }
            }
            Err(Stop::SettingsChanged) => Requested::SettingsChanged,
            Err(Stop::Failed(failure)) => {
                let is_refusal = failure.is_refusal;
                // Closes the temporary file: the process may be at its limit of open files.
                (self.failure, self.save) = (Some(failure), None);
                Requested::Failed { is_refusal }
            }
        }
    }

    fn save(&mut self) {
        let Some(Ok(file)) = self.save.take() else { return };
        let Some((_, Some(entry))) = &self.issued else { return };
        self.saved = self.cache.commit(file, self.flight.saved_for, entry);
        match &self.saved {
            Ok(()) => debug!("token requested and cached"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                debug!("not cached: the token of this identity was erased or replaced while this one was requested");
            }
            Err(error) => self.cache.warn_unwritten(error),
        }
    }

    fn answer(self, answer: Answer) -> Result<Outcome<T>, Stop> {
        match (answer, self.cached, self.issued, self.failure, self.reported) {
            (Answer::Cached, Some(token), _, failure, _) => {
                if let (Some(Err(error)), None) = (&self.save, &failure) {
                    let dir = self.cache.dir().display();
                    warn!(dir:%, error:%; "the cache cannot be written; serving the cached token without a refresh");
                }
                Ok(Outcome::Cached(token, failure))
            }
            (Answer::Issued, _, Some((token, _)), ..) => {
                Ok(Outcome::Issued(token, self.save.map_or(self.saved, |begun| begun.map(drop))))
            }
            (Answer::Failed, _, _, Some(failure), _) | (Answer::Failed, _, _, None, Some(failure)) => {
                Err(failure.into())
            }
            (Answer::SettingsChanged, ..) => Err(Stop::SettingsChanged),
            _ => Err(busy().into()),
        }
    }
}

/// Takes a lock, or says why not: another process has it, with its last heartbeat, or locks do not work here.
fn take_lock(cache: &Cache, path: &Path) -> Result<Lock, Locked> {
    let there = path.symlink_metadata();
    let is_new = there.is_err();
    if there.is_ok_and(|file| file.is_file() && file.permissions().readonly()) {
        warn!(path:% = path.display(); "a lock of the cache may not be written; it is removed");
        let _ = fs::remove_file(path);
    }
    match cache.destination(path).and_then(|destination| Lock::try_take(&destination, path)) {
        Ok(lock) => lock.ok_or_else(|| Locked::Held(fs::metadata(path).and_then(|file| file.modified()).ok())),
        Err(error) => {
            debug!(path:% = path.display(), error:%; "the cache cannot be locked; asking AWS without it");
            if is_new {
                let _ = fs::remove_file(path);
            }
            Err(Locked::Failed)
        }
    }
}
