//! Single flight: of many processes that need the same token at once, one asks AWS and the others wait for its result.
//!
//! - The process that holds a key's lock is the leader. While it asks AWS, it renews the lock file's modification time twice a
//!   second. A leader whose time does not change for [`HEARTBEAT_TIMEOUT`] was stopped, e.g. by SIGSTOP; the others then elect
//!   another leader by a second lock.
//! - A leader that gets a token saves it in the cache, where the others find it.
//! - A leader that fails writes the reason to `<key>.failure` before it releases the lock. Every process that was waiting at
//!   that time returns the same failure, so that many processes and a failing AWS make one request. A process that starts later
//!   asks again.
//! - A process that waits creates `<key>.waiting`. A failing leader then keeps the lock a moment longer, so that processes that
//!   are still starting return its failure too.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::debug;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::lock::Lock;
use super::{Cache, read};
use crate::code::Code;
use crate::error::Failure;
use crate::identity::CacheKey;
use crate::platform;

/// How often a leader renews the time of its lock file.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long the time of a lock file may stay the same before its leader counts as stopped.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long after its own deadline a process still waits, so that a leader with the same deadline can write its failure.
const GRACE: Duration = Duration::from_millis(300);
/// How long a leader that failed keeps the lock when others wait.
const LINGER: Duration = Duration::from_millis(200);
/// The first pause of a waiting process. Each further pause is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause of a waiting process.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// The locks of a key: one for the leader, one for its successor when the leader was stopped.
const LOCKS: [&str; 2] = ["lock", "lock2"];

/// What a process that needs a token does next.
pub enum Outcome<'a, T> {
    /// Ask AWS: as the leader, or without a lock when every leader so far was stopped.
    Ask(Option<Leader<'a>>),
    /// Use what another process got.
    Found(T),
    /// Return the failure of the process that asked AWS meanwhile.
    Failed(Failure),
    /// Give up: another process is still asking AWS.
    Busy,
}

/// The right to ask AWS for a key, until dropped.
pub struct Leader<'a> {
    cache: &'a Cache,
    files: Files,
    _lock: Arc<Lock>,
}

/// The files by which the processes that need a key coordinate.
#[derive(Clone)]
struct Files {
    /// The report of the leader that failed last.
    failure: PathBuf,
    /// Exists while a process waits.
    waiting: PathBuf,
}

/// A process that waits to become the leader or for the leader's result.
struct Follower<'a> {
    cache: &'a Cache,
    files: Files,
    /// The time in the report that existed at the start, which belongs to an earlier request.
    earlier_report: Option<OffsetDateTime>,
    /// Until when it waits; `None` does not wait at all.
    deadline: Option<Instant>,
    is_announced: bool,
}

/// The content of `<key>.failure`.
#[derive(Serialize, Deserialize)]
struct FailureReport {
    /// When it was written, which distinguishes it from the next one.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    code: String,
    what: String,
    hint: String,
}

impl Cache {
    /// Becomes the leader for `key`, or waits until `look_up` finds what a leader got. Waits until shortly after `deadline`,
    /// and not at all without one.
    pub fn single_flight<T>(
        &self,
        key: &CacheKey,
        deadline: Option<Instant>,
        look_up: impl Fn() -> Option<T>,
    ) -> io::Result<Outcome<'_, T>> {
        platform::create_private_dir(&self.dir)?;
        let path = |extension: &str| self.dir.join(format!("{key}.{extension}"));
        let files = Files { failure: path("failure"), waiting: path("waiting") };
        let earlier_report = FailureReport::read(&files.failure).map(|report| report.at);
        let mut follower = Follower { cache: self, files, earlier_report, deadline, is_announced: false };
        for lock in LOCKS.map(path) {
            if let Some(outcome) = follower.follow(&lock, &look_up)? {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Ask(None))
    }
}

impl<'a> Follower<'a> {
    /// Waits for the lock or for its holder's result; `None` when the holder was stopped.
    fn follow<T>(&mut self, lock: &Path, look_up: &impl Fn() -> Option<T>) -> io::Result<Option<Outcome<'a, T>>> {
        let mut heartbeat = HeartbeatMonitor::new(Instant::now());
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(outcome) = self.poll(lock, look_up)? {
                return Ok(Some(outcome));
            }
            self.announce();
            let last = fs::metadata(lock).and_then(|metadata| metadata.modified()).ok();
            if heartbeat.has_stopped(last, Instant::now()) {
                return Ok(None);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tries the lock, the cache and the leader's report once; `None` if the process has to wait.
    fn poll<T>(&self, lock: &Path, look_up: impl Fn() -> Option<T>) -> io::Result<Option<Outcome<'a, T>>> {
        // Takes the lock first, so that the look-up finds a token that the last holder saved.
        let taken = Lock::try_take(lock)?;
        if let Some(found) = look_up() {
            return Ok(Some(Outcome::Found(found)));
        }
        let is_answer =
            |report: &FailureReport| self.earlier_report != Some(report.at) || (taken.is_none() && report.is_recent());
        if let Some(report) = FailureReport::read(&self.files.failure).filter(is_answer) {
            return Ok(Some(Outcome::Failed(report.into_failure())));
        }
        if let Some(taken) = taken {
            return Ok(Some(Outcome::Ask(Some(Leader::start(self.cache, self.files.clone(), taken)))));
        }
        let is_late = self.deadline.is_none_or(|deadline| Instant::now() >= deadline + GRACE);
        Ok(is_late.then_some(Outcome::Busy))
    }

    /// Creates the file that shows a failing leader that others wait.
    fn announce(&mut self) {
        if !self.is_announced {
            self.is_announced = true;
            let mut options = OpenOptions::new();
            let _ = platform::open_private(&self.files.waiting, options.write(true).create(true).truncate(true));
        }
    }
}

impl<'a> Leader<'a> {
    fn start(cache: &'a Cache, files: Files, lock: Lock) -> Self {
        let _ = fs::remove_file(&files.waiting);
        let lock = Arc::new(lock);
        let held = Arc::downgrade(&lock);
        let heartbeat = move || {
            loop {
                thread::sleep(HEARTBEAT);
                let Some(lock) = held.upgrade() else { return };
                lock.touch();
            }
        };
        // Without a heartbeat, the others elect another leader after the timeout, at the cost of a second request.
        let _ = platform::spawn_thread(heartbeat);
        Self { cache, files, _lock: lock }
    }

    /// Reports the failure to all processes that wait, then releases the lock.
    pub fn fail(self, failure: &Failure) {
        // Omits the quote: the text of another program may hold a secret that the mask does not recognize.
        let Failure { code, what, hint, quote: _ } = failure.clone();
        let report = FailureReport { at: OffsetDateTime::now_utc(), code: code.name().to_owned(), what, hint };
        if let Ok(bytes) = serde_json::to_vec(&report)
            && let Err(error) = self.cache.write(&bytes, &self.files.failure)
        {
            debug!(error:%; "the failure cannot be reported to the processes that wait; each asks AWS itself");
        }
        if self.files.waiting.exists() {
            thread::sleep(LINGER);
        }
    }
}

impl FailureReport {
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

/// Decides whether the holder of a lock was stopped.
struct HeartbeatMonitor {
    last: Option<SystemTime>,
    last_changed: Instant,
}

impl HeartbeatMonitor {
    fn new(now: Instant) -> Self {
        Self { last: None, last_changed: now }
    }

    /// Whether the heartbeat, which was `last` at `now`, has been the same for too long.
    fn has_stopped(&mut self, last: Option<SystemTime>, now: Instant) -> bool {
        if last != self.last {
            (self.last, self.last_changed) = (last, now);
        }
        now - self.last_changed > HEARTBEAT_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::{Duration, Instant, SystemTime};

    use super::{HEARTBEAT_TIMEOUT, HeartbeatMonitor, Leader, Lock, Outcome};
    use crate::cache::Cache;
    use crate::code::Code;
    use crate::error::Failure;
    use crate::identity::CacheKey;

    const LONG: Duration = Duration::from_mins(1);

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(dir.path().join("cache")).expect("a cache");
        (dir, cache)
    }

    fn key() -> CacheKey {
        CacheKey::of("key")
    }

    fn nothing() -> Option<u32> {
        None
    }

    fn soon() -> Instant {
        Instant::now() + LONG
    }

    fn lead(cache: &Cache) -> Leader<'_> {
        match cache.single_flight(&key(), None, nothing).expect("a lock") {
            Outcome::Ask(Some(leader)) => leader,
            other => panic!("{}", describe(&other)),
        }
    }

    fn describe(outcome: &Outcome<u32>) -> String {
        match outcome {
            Outcome::Ask(leader) => format!("ask, as the leader: {}", leader.is_some()),
            Outcome::Found(found) => format!("found {found}"),
            Outcome::Failed(failure) => format!("failed: {failure}"),
            Outcome::Busy => "busy".to_owned(),
        }
    }

    /// Waits for another thread, for a limited time.
    fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let limit = soon();
        while !condition() {
            assert!(Instant::now() < limit, "{what}");
            thread::yield_now();
        }
    }

    fn failure() -> Failure {
        Failure::new(Code::EcrDenied, "denied", "allow it").quoting("said elsewhere")
    }

    #[test]
    fn of_many_at_once_one_leads_and_all_others_find_what_it_got() {
        let (_dir, cache) = cache();
        let (stored, leaders) = (Mutex::new(None), AtomicUsize::new(0));
        let look_up = || *stored.lock().expect("a value");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| match cache.single_flight(&key(), Some(soon()), look_up).expect("an outcome") {
                    Outcome::Ask(Some(_leader)) => {
                        let number = leaders.fetch_add(1, Ordering::SeqCst);
                        *stored.lock().expect("a value") = Some(u32::try_from(number).expect("a few"));
                    }
                    other => assert_eq!(describe(&other), "found 0"),
                });
            }
        });
        assert_eq!(leaders.into_inner(), 1);
    }

    #[test]
    fn the_failure_of_a_leader_is_the_answer_of_who_waits_but_without_its_quote() {
        let (_dir, cache) = cache();
        let leader = lead(&cache);
        let waiting = leader.files.waiting.clone();
        thread::scope(|scope| {
            let follower =
                scope.spawn(|| match cache.single_flight(&key(), Some(soon()), nothing).expect("an outcome") {
                    Outcome::Failed(failure) => failure,
                    other => panic!("{}", describe(&other)),
                });
            wait_until("the follower waits", || waiting.exists());
            leader.fail(&failure());
            assert_eq!(follower.join().expect("a failure"), failure().without_quote());
        });
        for file in fs::read_dir(cache.dir()).expect("a cache").flatten() {
            let content = fs::read_to_string(file.path()).expect("text");
            assert!(!content.contains("elsewhere"), "{content}");
        }
    }

    #[test]
    fn a_process_that_starts_after_a_failure_asks_itself() {
        let (_dir, cache) = cache();
        lead(&cache).fail(&failure());
        lead(&cache);
    }

    #[test]
    fn a_process_that_may_not_wait_gets_busy_at_once() {
        let (_dir, cache) = cache();
        let leader = lead(&cache);
        let waiting = leader.files.waiting.clone();
        for deadline in [None, Some(Instant::now())] {
            let outcome = cache.single_flight(&key(), deadline, nothing).expect("an outcome");
            assert_eq!(describe(&outcome), "busy");
            assert_eq!(waiting.exists(), deadline.is_some(), "who waits announces it");
        }
    }

    #[test]
    fn a_leader_that_is_dropped_without_a_result_leaves_the_lock_to_the_next() {
        let (_dir, cache) = cache();
        let leader = lead(&cache);
        let waiting = leader.files.waiting.clone();
        thread::scope(|scope| {
            let follower = scope.spawn(|| {
                let outcome = cache.single_flight(&key(), Some(soon()), nothing).expect("an outcome");
                describe(&outcome)
            });
            wait_until("the follower waits", || waiting.exists());
            drop(leader);
            assert_eq!(follower.join().expect("an outcome"), "ask, as the leader: true");
        });
    }

    #[test]
    fn when_the_holder_of_each_lock_was_stopped_a_process_asks_without_one() {
        let (_dir, cache) = cache();
        drop(lead(&cache));
        // Locks without a heartbeat.
        let path = |name: &str| cache.dir().join(format!("{}.{name}", key()));
        let held = super::LOCKS.map(|name| Lock::try_take(&path(name)).expect("a lock").expect("a free lock"));
        let outcome = cache.single_flight(&key(), Some(soon()), nothing).expect("an outcome");
        assert_eq!(describe(&outcome), "ask, as the leader: false");
        drop(held);
    }

    #[test]
    fn a_leader_renews_the_time_of_its_lock() {
        let (_dir, cache) = cache();
        let leader = lead(&cache);
        let lock = cache.dir().join(format!("{}.lock", key()));
        let modified = || fs::metadata(&lock).and_then(|metadata| metadata.modified()).expect("a time");
        File::options().write(true).open(&lock).expect("a file").set_modified(SystemTime::UNIX_EPOCH).expect("a time");
        wait_until("a heartbeat", || modified() > SystemTime::UNIX_EPOCH);
        drop(leader);
    }

    #[test]
    fn a_leader_counts_as_stopped_when_its_heartbeat_stays_the_same_for_the_timeout() {
        let (start, last_heartbeat) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut monitor = HeartbeatMonitor::new(start);
        assert!(!monitor.has_stopped(Some(last_heartbeat), start + 10 * HEARTBEAT_TIMEOUT), "the first look");
        let seen = start + 10 * HEARTBEAT_TIMEOUT;
        assert!(!monitor.has_stopped(Some(last_heartbeat), seen + HEARTBEAT_TIMEOUT));
        assert!(monitor.has_stopped(Some(last_heartbeat), seen + HEARTBEAT_TIMEOUT + Duration::from_millis(1)));
        assert!(!monitor.has_stopped(Some(last_heartbeat + LONG), seen + 2 * HEARTBEAT_TIMEOUT), "it goes on");
    }
}
