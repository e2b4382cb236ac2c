//! The protocol by which the processes that need the token of one key share one request, as a value: what a process knows, and what its last
//! operation returned, decide its next operation. Nothing here reads a file or a clock. [`single_flight`](super::single_flight) carries the
//! operations out on files; the suite's explorer carries them out in a model of files, locks and time, in every order.
//!
//! - A fresh entry is the answer. A stale one is served at once while its refresh is postponed or another process refreshes it.
//! - The process that holds the key's lock is the leader. It looks again, then requests a token, and renews the time of the lock file
//!   meanwhile. Whoever finds the lock held waits. A leader whose heartbeat stays the same for [`Timing::heartbeat_timeout`] was stopped,
//!   e.g. by SIGSTOP; the others then elect another leader by a second lock. When that one was stopped too, each asks for itself.
//! - A leader that gets a token saves it before it releases the lock, so that the others find it.
//! - A request that fails is reported, and the report is the answer of every process that has started before it was written, however
//!   late that process reads it, and of every process that starts within about a second after it ([`counts`]). So many processes and a
//!   failing AWS make one request, however slowly the machine starts them. Whoever comes later asks again.
//! - A refresh that fails leaves a valid token, which is served; the report also postpones the next refresh, except in the last tenth
//!   of the token's lifetime. A refusal ([`Failure::is_refusal`](crate::error::Failure)) ends it: the entry goes, and the cause is the answer.
//! - A save begins before the request, with a temporary file. Erasing a key removes these files first and the entry then, so that a
//!   save that began before it has nothing left to rename.
//! - A failed operation on the cache never fails a request: the process goes on without what the operation was for.

use std::time::{Duration, SystemTime};

/// The locks of a key: one for the leader, and one for its successor when the leader was stopped.
pub const LOCKS: u8 = 2;

/// For how many whole seconds since boot a report counts for processes that start after it.
const COUNTS_FOR: u64 = 1;

/// What a token is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// The answer to a request.
    Answer,
    /// A list, which has less time than a request, so that its failures are the answer of nobody else. It asks AWS only if no
    /// failure has postponed that.
    List,
}

/// The limits on time. The explorer has others than the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// How long the time of a lock file may stay the same before its holder counts as stopped.
    pub heartbeat_timeout: Duration,
    /// How long after its own deadline a process still waits, so that a leader with the same deadline can report its failure.
    pub grace: Duration,
    /// How long a refresh may take while a valid token is in the cache.
    pub refresh: Duration,
}

impl Timing {
    /// The limits of the program.
    pub const REAL: Self = Self {
        heartbeat_timeout: Duration::from_secs(3),
        grace: Duration::from_millis(300),
        refresh: Duration::from_millis(1500),
    };
}

/// An operation on the cache, on AWS or on time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Read the entry: [`Seen::Cached`].
    LookUp,
    /// Read the report of the last failure: [`Seen::Report`].
    ReadReport,
    /// Try one of the locks: [`Seen::Lock`].
    TryLock(u8),
    /// Sleep for a moment: [`Seen::Done`].
    Wait,
    /// Create the temporary file of the entry: [`Seen::Begun`].
    BeginSave,
    /// Request a token, which may take until this time: [`Seen::Requested`].
    Request(Duration),
    /// Rename the temporary file, unless an erasure has removed it: [`Seen::Done`].
    Save,
    /// Report the failure: [`Seen::Done`].
    Report {
        /// Whether it postpones the next refresh: a valid token stays in the cache.
        postpones: bool,
        /// Whether it is the answer of other processes, too.
        is_shared: bool,
    },
    /// Remove the entry: [`Seen::Done`].
    RemoveEntry,
    /// Remove the report: [`Seen::Done`].
    RemoveReport,
    /// Remove the lock file and release the lock: [`Seen::Done`].
    Unlock,
    /// Answer; the last step.
    Answer(Answer),
}

/// What an operation returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// The entry.
    Cached(Cached),
    /// The report of the last failure, if there is one.
    Report(Option<Report>),
    /// The lock.
    Lock(Locked),
    /// Whether a save could begin.
    Begun(bool),
    /// The result of the request.
    Requested(Requested),
    /// The operation has ended, with or without success.
    Done,
}

/// The entry of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cached {
    /// To be served as it is.
    Fresh,
    /// Valid, but to be refreshed.
    Stale,
    /// The same, in the last tenth of its lifetime.
    ExpiresSoon,
    /// There is none that may be served.
    Missing,
}

/// The report of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Report {
    /// Distinguishes it from others: when it was written, in nanoseconds.
    pub id: i128,
    /// Whether it is the answer of other processes.
    pub is_shared: bool,
    /// Whether it counts for a process that starts now: [`counts`].
    pub counts: bool,
    /// Whether it postpones the next refresh beyond now.
    pub postpones: bool,
    /// Whether AWS refused, so that no other token of this identity counts either.
    pub is_refusal: bool,
}

/// What came of an attempt to take a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Locked {
    /// This process has it.
    Taken,
    /// Another process has it; its last heartbeat.
    Held(Option<SystemTime>),
    /// Locks do not work here.
    Failed,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Requested {
    /// A token.
    Issued {
        /// Whether it may be cached.
        is_cacheable: bool,
    },
    /// The identity was derived from settings that have changed since.
    SettingsChanged,
    /// None.
    Failed {
        /// Whether AWS refused.
        is_refusal: bool,
    },
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// With the token that it read last from the cache.
    Cached,
    /// With the token that it requested.
    Issued,
    /// With its own failure, or the one whose report it read last.
    Failed,
    /// Another process is still asking.
    Busy,
    /// The settings have changed.
    SettingsChanged,
}

/// Where a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// It has not tried a lock.
    Start,
    /// It holds a lock.
    Leading,
    /// Another process holds the lock.
    Following,
    /// It reports the failure of its request.
    Failing { is_refusal: bool },
    /// It ends.
    Ending(Answer),
}

/// One process that needs the token of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    timing: Timing,
    deadline: Duration,
    need: Need,
    phase: Phase,
    cached: Cached,
    /// The report that existed at the start, which belongs to an earlier request.
    earlier: Option<i128>,
    /// Whether there was a report when it looked last.
    is_reported: bool,
    lock: u8,
    holds_lock: bool,
    can_save: bool,
    /// The leader's last heartbeat, and when this process first saw it.
    heartbeat: (Option<SystemTime>, Duration),
}

impl Process {
    /// A process that has to answer until `deadline`, and its first step. All times are measured from one point, e.g. its start.
    pub fn start(timing: Timing, deadline: Duration, need: Need) -> (Self, Step) {
        let process = Self {
            timing,
            deadline,
            need,
            phase: Phase::Start,
            cached: Cached::Missing,
            earlier: None,
            is_reported: false,
            lock: 0,
            holds_lock: false,
            can_save: false,
            heartbeat: (None, Duration::ZERO),
        };
        (process, Step::LookUp)
    }

    /// The step after the one that returned `seen`, at `now`.
    pub fn next(&mut self, seen: Seen, now: Duration) -> Step {
        match seen {
            Seen::Cached(cached) => self.after_look_up(cached),
            Seen::Report(report) => self.after_report(report, now),
            Seen::Lock(locked) => self.after_lock(locked, now),
            Seen::Begun(can_save) => {
                self.can_save = can_save;
                // A new token could not be cached, and a failed refresh could not be postponed for the next process.
                if !can_save && self.has_token() {
                    return self.end(Answer::Cached);
                }
                let refresh = if self.has_token() { now + self.timing.refresh } else { self.deadline };
                Step::Request(refresh.min(self.deadline))
            }
            Seen::Requested(requested) => self.after_request(requested),
            Seen::Done => match self.phase {
                Phase::Following => Step::TryLock(self.lock),
                Phase::Failing { .. } => Step::LookUp,
                Phase::Ending(_) if self.is_reported => {
                    self.is_reported = false;
                    Step::RemoveReport
                }
                Phase::Ending(_) if self.holds_lock => {
                    self.holds_lock = false;
                    Step::Unlock
                }
                Phase::Ending(answer) => Step::Answer(answer),
                Phase::Start | Phase::Leading => unreachable!("no operation of this phase returns nothing"),
            },
        }
    }

    fn after_look_up(&mut self, cached: Cached) -> Step {
        self.cached = cached;
        match self.phase {
            _ if cached == Cached::Fresh => self.end(Answer::Cached),
            Phase::Failing { is_refusal: true } if self.has_token() => {
                self.phase = Phase::Ending(Answer::Failed);
                self.is_reported = false;
                Step::RemoveEntry
            }
            Phase::Failing { .. } => self.end_with_failure(false),
            _ => Step::ReadReport,
        }
    }

    fn after_report(&mut self, report: Option<Report>, now: Duration) -> Step {
        self.is_reported = report.is_some();
        let is_start = self.phase == Phase::Start;
        if is_start {
            self.earlier = report.map(|report| report.id);
        }
        if let Some(report) = report {
            let is_new = if is_start { report.counts } else { self.earlier != Some(report.id) };
            let is_postponed = is_start
                && report.postpones
                && (self.cached == Cached::Stale || (self.need == Need::List && !self.has_token()));
            if is_postponed || (is_new && report.is_shared) {
                return self.end_with_failure(report.is_refusal);
            }
        }
        match self.phase {
            Phase::Start => Step::TryLock(0),
            Phase::Following => self.follow(now),
            _ => Step::BeginSave,
        }
    }

    fn after_lock(&mut self, locked: Locked, now: Duration) -> Step {
        match locked {
            Locked::Taken => {
                (self.phase, self.holds_lock) = (Phase::Leading, true);
                // The last holder may have saved a token, or reported a failure, before it released the lock.
                Step::LookUp
            }
            Locked::Held(heartbeat) => {
                if self.phase != Phase::Following || heartbeat != self.heartbeat.0 {
                    self.heartbeat = (heartbeat, now);
                }
                self.phase = Phase::Following;
                Step::LookUp
            }
            Locked::Failed => {
                self.phase = Phase::Leading;
                Step::BeginSave
            }
        }
    }

    /// What a process does that has found the lock held, and neither a fresh token nor a new failure.
    fn follow(&mut self, now: Duration) -> Step {
        if self.has_token() {
            return self.end(Answer::Cached);
        }
        if now >= self.deadline + self.timing.grace {
            return self.end(Answer::Busy);
        }
        if now.saturating_sub(self.heartbeat.1) <= self.timing.heartbeat_timeout {
            return Step::Wait;
        }
        self.lock += 1;
        self.heartbeat = (None, now);
        if self.lock < LOCKS {
            return Step::TryLock(self.lock);
        }
        self.phase = Phase::Leading;
        Step::BeginSave
    }

    fn after_request(&mut self, requested: Requested) -> Step {
        match requested {
            Requested::Issued { is_cacheable } => {
                self.phase = Phase::Ending(Answer::Issued);
                if is_cacheable && self.can_save { Step::Save } else { self.next(Seen::Done, Duration::ZERO) }
            }
            Requested::SettingsChanged => self.end(Answer::SettingsChanged),
            Requested::Failed { is_refusal } => {
                self.phase = Phase::Failing { is_refusal };
                let is_shared = self.need == Need::Answer;
                Step::Report { postpones: !is_shared || (self.has_token() && !is_refusal), is_shared }
            }
        }
    }

    /// Ends with a valid token if there is one, else with the failure. A refusal is the answer in any case.
    fn end_with_failure(&mut self, is_refusal: bool) -> Step {
        self.end(if self.has_token() && !is_refusal { Answer::Cached } else { Answer::Failed })
    }

    fn end(&mut self, answer: Answer) -> Step {
        (self.phase, self.is_reported) = (Phase::Ending(answer), false);
        self.next(Seen::Done, Duration::ZERO)
    }

    /// Whether a token may be served when it cannot be refreshed.
    fn has_token(&self) -> bool {
        self.cached != Cached::Missing
    }
}

/// Whether a failure counts for a process that starts `age` after its report was written, by the wall clock and in seconds since boot.
/// Both clocks must agree: a wall clock can be set, and the time since boot starts over with each boot.
pub fn counts(age: time::Duration, seconds_since_boot: Option<(u64, u64)>) -> bool {
    let since_boot = seconds_since_boot.map(|(then, now)| now.checked_sub(then));
    age.unsigned_abs() <= Duration::from_secs(COUNTS_FOR)
        && since_boot.is_none_or(|age| age.is_some_and(|age| age <= COUNTS_FOR))
}

/// Erasing the token of a key, in this order: after the first step no save that began before it can succeed, and the second
/// removes what it has saved before.
pub const ERASURE: [Erase; 3] = [Erase::BegunSaves, Erase::Entry, Erase::Report];

/// A step of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Erase {
    /// Remove the temporary files of the key.
    BegunSaves,
    /// Remove the entry.
    Entry,
    /// Remove the report, so that the next process asks AWS.
    Report,
}

/// Sweeping the files of a key, in this order: nothing is removed while a process asks AWS for it.
pub const SWEEP: [Sweep; 3] = [Sweep::Lock, Sweep::RemoveUnused, Sweep::Unlock];

/// A step of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sweep {
    /// Take the first lock, or end.
    Lock,
    /// Remove an expired entry, an old report, and a lock file that nobody holds.
    RemoveUnused,
    /// Remove the lock file and release the lock.
    Unlock,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Answer, Cached, Locked, Need, Process, Report, Requested, Seen, Step, Timing, counts};

    const NOW: Duration = Duration::from_secs(1);
    const REFUSED: Requested = Requested::Failed { is_refusal: true };
    const OUTAGE: Requested = Requested::Failed { is_refusal: false };

    fn report(counts: bool, postpones: bool, is_refusal: bool) -> Seen {
        Seen::Report(Some(Report { id: 1, is_shared: true, counts, postpones, is_refusal }))
    }

    /// A process that saw all this in order, and its last step.
    fn after(seen: &[Seen]) -> Step {
        let (mut process, mut step) = Process::start(Timing::REAL, Duration::from_mins(1), Need::Answer);
        for seen in seen {
            step = process.next(*seen, NOW);
        }
        step
    }

    /// The steps of a leader that finds `cached`, and whose request gives `requested`, from the report of its failure or from saving.
    fn rest(cached: Cached, requested: Requested) -> Vec<Step> {
        let cached = Seen::Cached(cached);
        let (mut process, _) = Process::start(Timing::REAL, Duration::from_mins(1), Need::Answer);
        for seen in
            [cached, Seen::Report(None), Seen::Lock(Locked::Taken), cached, Seen::Report(None), Seen::Begun(true)]
        {
            process.next(seen, NOW);
        }
        let mut steps = vec![process.next(Seen::Requested(requested), NOW)];
        while !matches!(steps.last(), Some(Step::Answer(_))) {
            let seen = if steps.last() == Some(&Step::LookUp) { cached } else { Seen::Done };
            steps.push(process.next(seen, NOW));
        }
        steps
    }

    #[test]
    fn what_is_cached_and_what_was_reported_decide_whether_to_ask() {
        for (cached, seen, step) in [
            (Cached::Missing, Seen::Report(None), Step::TryLock(0)),
            (Cached::Missing, report(true, false, false), Step::Answer(Answer::Failed)),
            (Cached::Missing, report(false, true, true), Step::TryLock(0)),
            (Cached::Stale, Seen::Report(None), Step::TryLock(0)),
            (Cached::Stale, report(false, true, false), Step::Answer(Answer::Cached)),
            (Cached::Stale, report(true, false, false), Step::Answer(Answer::Cached)),
            (Cached::Stale, report(true, false, true), Step::Answer(Answer::Failed)),
            (Cached::ExpiresSoon, report(false, true, false), Step::TryLock(0)),
            (Cached::ExpiresSoon, report(true, true, false), Step::Answer(Answer::Cached)),
        ] {
            assert_eq!(after(&[Seen::Cached(cached), seen]), step, "{cached:?} {seen:?}");
        }
        assert_eq!(after(&[Seen::Cached(Cached::Fresh)]), Step::Answer(Answer::Cached));
    }

    #[test]
    fn what_was_cached_and_what_aws_said_decide_the_answer() {
        let (unlock, failed) = (Step::Unlock, Step::Answer(Answer::Failed));
        let report = |postpones| Step::Report { postpones, is_shared: true };
        for cached in [Cached::Missing, Cached::Stale, Cached::ExpiresSoon] {
            let issued = [Step::Save, unlock, Step::Answer(Answer::Issued)];
            assert_eq!(rest(cached, Requested::Issued { is_cacheable: true }), issued);
            assert_eq!(rest(cached, Requested::Issued { is_cacheable: false }), issued[1..]);
            let changed = [unlock, Step::Answer(Answer::SettingsChanged)];
            assert_eq!(rest(cached, Requested::SettingsChanged), changed);
        }
        assert_eq!(rest(Cached::Missing, OUTAGE), [report(false), Step::LookUp, unlock, failed]);
        assert_eq!(rest(Cached::Missing, REFUSED), [report(false), Step::LookUp, unlock, failed]);
        for cached in [Cached::Stale, Cached::ExpiresSoon] {
            assert_eq!(rest(cached, OUTAGE), [report(true), Step::LookUp, unlock, Step::Answer(Answer::Cached)]);
            assert_eq!(rest(cached, REFUSED), [report(false), Step::LookUp, Step::RemoveEntry, unlock, failed]);
        }
    }

    #[test]
    fn a_refresh_waits_for_no_other_process_and_is_not_tried_when_it_cannot_be_saved() {
        let (stale, nothing) = (Seen::Cached(Cached::Stale), Seen::Report(None));
        let held = [stale, nothing, Seen::Lock(Locked::Held(None)), stale, nothing];
        assert_eq!(after(&held), Step::Answer(Answer::Cached));
        assert_eq!(
            after(&[stale, nothing, Seen::Lock(Locked::Failed), Seen::Begun(false)]),
            Step::Answer(Answer::Cached)
        );
        let missing = Seen::Cached(Cached::Missing);
        assert_eq!(after(&[missing, nothing, Seen::Lock(Locked::Held(None)), missing, nothing]), Step::Wait);
        let limit = Step::Request(Duration::from_mins(1));
        assert_eq!(after(&[missing, nothing, Seen::Lock(Locked::Failed), Seen::Begun(false)]), limit);
    }

    #[test]
    fn a_failure_counts_for_about_a_second_by_both_clocks() {
        let seconds = time::Duration::seconds;
        for (age, since_boot, expected) in [
            (seconds(0), Some((100, 100)), true),
            (seconds(1), Some((100, 101)), true),
            (seconds(2), Some((100, 101)), false),
            (seconds(0), None, true),
            // The clock was set back, and the machine has started anew.
            (seconds(-100), Some((100, 100)), false),
            (seconds(0), Some((100, 200)), false),
            (seconds(0), Some((100, 5)), false),
        ] {
            assert_eq!(counts(age, since_boot), expected, "{age} {since_boot:?}");
        }
    }
}
