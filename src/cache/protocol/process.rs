//! One process on its way through the protocol.

use std::time::{Duration, SystemTime};

use super::step::{Answer, Locked, Report, Requested, Seen, Step};
use super::{Need, Timing};
use crate::cache::entry::Freshness;

/// Where a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// It has not tried a lock.
    Start,
    /// It holds a lock.
    Leading,
    /// Another process holds the lock.
    Following,
    /// It reports the failure of its request, which may have been a refresh, for a token in the place of a valid one.
    Failing { is_refusal: bool, is_refresh: bool },
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
    cached: Freshness,
    /// The report that existed at the start, which belongs to an earlier request.
    earlier: Option<i128>,
    /// Whether there was a report when it looked last.
    is_reported: bool,
    lock: u8,
    holds_lock: bool,
    can_save: bool,
    /// The last heartbeat of the process that it waits for, and when it first saw it.
    heartbeat: (Option<SystemTime>, Duration),
    /// The last heartbeat of the leader that was stopped.
    stopped: Option<SystemTime>,
}

impl Process {
    /// A process that has to answer until `deadline`, and its first step. All times are measured from one point, e.g. its start.
    pub fn start(timing: Timing, deadline: Duration, need: Need) -> (Self, Step) {
        let process = Self {
            timing,
            deadline,
            need,
            phase: Phase::Start,
            cached: Freshness::Expired,
            earlier: None,
            is_reported: false,
            lock: 0,
            holds_lock: false,
            can_save: false,
            heartbeat: (None, Duration::ZERO),
            stopped: None,
        };
        (process, if need == Need::Login { Step::TryLock(0) } else { Step::LookUp })
    }

    /// The step after the one that returned `seen`, at `now`.
    pub fn next(&mut self, seen: Seen, now: Duration) -> Step {
        match seen {
            Seen::Cached(cached) => self.after_look_up(cached),
            Seen::Report(report) => self.after_report(report, now),
            Seen::Lock(locked) => self.after_lock(locked, now),
            Seen::Tested(locked) => self.after_test(locked, now),
            Seen::Begun(can_save) => {
                self.can_save = can_save;
                // A failed refresh could not be postponed for the next process.
                if !can_save && self.cached == Freshness::Stale {
                    return self.end(Answer::Cached);
                }
                // Nobody can share a token that is not saved.
                if !can_save && std::mem::take(&mut self.holds_lock) { Step::Unlock } else { self.request(now) }
            }
            Seen::Requested(requested) => self.after_request(requested),
            Seen::Done => match self.phase {
                Phase::Following if self.holds_lock => Step::TestLock(1),
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
                Phase::Leading => self.request(now),
                Phase::Start => unreachable!("no operation of this phase returns nothing"),
            },
        }
    }

    fn after_look_up(&mut self, cached: Freshness) -> Step {
        self.cached = cached;
        match self.phase {
            _ if cached == Freshness::Fresh && self.need != Need::Login => self.end(Answer::Cached),
            // Even if it reads none that it may serve: others accept older ones.
            Phase::Failing { is_refusal: true, .. } => {
                self.phase = Phase::Ending(Answer::Failed);
                self.is_reported = false;
                Step::RemoveEntry
            }
            Phase::Failing { is_refresh: false, .. } => self.end_with_failure(false),
            Phase::Failing { .. } if self.has_token() => {
                (self.phase, self.is_reported) = (Phase::Ending(Answer::Cached), false);
                self.report(true)
            }
            // It has expired meanwhile, and the refresh had less time than the answer.
            Phase::Failing { .. } => {
                self.phase = Phase::Leading;
                Step::BeginSave
            }
            _ => Step::ReadReport,
        }
    }

    fn after_report(&mut self, report: Option<Report>, now: Duration) -> Step {
        self.is_reported = report.is_some();
        let is_start = self.phase == Phase::Start;
        if is_start {
            self.earlier = report.map(|report| report.id);
        }
        if let Some(report) = report.filter(|_| self.need != Need::Login) {
            let is_new = if is_start { report.counts } else { self.earlier != Some(report.id) };
            let is_postponed = is_start
                && report.postpones
                && (self.cached == Freshness::Stale || (self.need == Need::List && !self.has_token()));
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
                (self.holds_lock, self.heartbeat) = (true, (None, now));
                Step::TestLock(1 - self.lock)
            }
            Locked::Held(heartbeat) => self.wait_for(heartbeat, now),
            Locked::Failed => {
                self.phase = Phase::Leading;
                Step::BeginSave
            }
        }
    }

    /// What a process does that has a lock, by who holds the other one.
    fn after_test(&mut self, locked: Locked, now: Duration) -> Step {
        match locked {
            // The successor of a leader that is gone by now.
            Locked::Held(heartbeat) if self.lock == 0 => self.wait_for(heartbeat, now),
            // Another leader than the one that was stopped.
            Locked::Held(heartbeat) if heartbeat != self.stopped => {
                (self.lock, self.holds_lock, self.phase) = (0, false, Phase::Following);
                self.heartbeat = (heartbeat, now);
                Step::Unlock
            }
            // The last holder may have saved a token, or reported a failure, before it released the lock.
            _ => {
                self.phase = Phase::Leading;
                if self.need == Need::Login { Step::ReadReport } else { Step::LookUp }
            }
        }
    }

    fn wait_for(&mut self, heartbeat: Option<SystemTime>, now: Duration) -> Step {
        if self.phase != Phase::Following || heartbeat != self.heartbeat.0 {
            self.heartbeat = (heartbeat, now);
        }
        self.phase = Phase::Following;
        if self.need == Need::Login { self.follow(now) } else { Step::LookUp }
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
        if !self.holds_lock && self.lock == 0 {
            (self.lock, self.stopped, self.heartbeat) = (1, self.heartbeat.0, (None, now));
            return Step::TryLock(1);
        }
        self.phase = Phase::Leading;
        Step::BeginSave
    }

    fn request(&self, now: Duration) -> Step {
        let refresh = if self.has_token() { now + self.timing.refresh } else { self.deadline };
        Step::Request(refresh.min(self.deadline))
    }

    fn after_request(&mut self, requested: Requested) -> Step {
        match requested {
            Requested::Issued { is_cacheable } => {
                self.phase = Phase::Ending(Answer::Issued);
                if is_cacheable && self.can_save { Step::Save } else { self.next(Seen::Done, Duration::ZERO) }
            }
            Requested::SettingsChanged => self.end(Answer::SettingsChanged),
            Requested::Failed { is_refusal } => {
                let has_valid = self.has_token() && !is_refusal;
                let is_refresh = has_valid && self.need != Need::Login;
                self.phase = Phase::Failing { is_refusal, is_refresh };
                if is_refresh { Step::LookUp } else { self.report(has_valid) }
            }
        }
    }

    fn report(&self, postpones: bool) -> Step {
        let is_shared = self.need != Need::List;
        Step::Report { postpones: !is_shared || postpones, is_shared }
    }

    /// Ends with a valid token if there is one, else with the failure. A refusal is the answer in any case, as is that of a login.
    fn end_with_failure(&mut self, is_refusal: bool) -> Step {
        let is_served = self.has_token() && !is_refusal && self.need != Need::Login;
        self.end(if is_served { Answer::Cached } else { Answer::Failed })
    }

    fn end(&mut self, answer: Answer) -> Step {
        (self.phase, self.is_reported) = (Phase::Ending(answer), false);
        self.next(Seen::Done, Duration::ZERO)
    }

    /// Whether a token may be served when it cannot be refreshed.
    fn has_token(&self) -> bool {
        self.cached != Freshness::Expired
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Answer, Freshness, Locked, Need, Process, Report, Requested, Seen, Step, Timing};

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
    fn rest(cached: Freshness, requested: Requested) -> Vec<Step> {
        let cached = Seen::Cached(cached);
        let (mut process, _) = Process::start(Timing::REAL, Duration::from_mins(1), Need::Answer);
        let (free, nobody) = (Seen::Lock(Locked::Taken), Seen::Tested(Locked::Taken));
        for seen in [cached, Seen::Report(None), free, nobody, cached, Seen::Report(None), Seen::Begun(true)] {
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
            (Freshness::Expired, Seen::Report(None), Step::TryLock(0)),
            (Freshness::Expired, report(true, false, false), Step::Answer(Answer::Failed)),
            (Freshness::Expired, report(false, true, true), Step::TryLock(0)),
            (Freshness::Stale, Seen::Report(None), Step::TryLock(0)),
            (Freshness::Stale, report(false, true, false), Step::Answer(Answer::Cached)),
            (Freshness::Stale, report(true, false, false), Step::Answer(Answer::Cached)),
            (Freshness::Stale, report(true, false, true), Step::Answer(Answer::Failed)),
            (Freshness::ExpiresSoon, report(false, true, false), Step::TryLock(0)),
            (Freshness::ExpiresSoon, report(true, true, false), Step::Answer(Answer::Cached)),
        ] {
            assert_eq!(after(&[Seen::Cached(cached), seen]), step, "{cached:?} {seen:?}");
        }
        assert_eq!(after(&[Seen::Cached(Freshness::Fresh)]), Step::Answer(Answer::Cached));
    }

    #[test]
    fn what_was_cached_and_what_aws_said_decide_the_answer() {
        let (unlock, failed) = (Step::Unlock, Step::Answer(Answer::Failed));
        let report = |postpones| Step::Report { postpones, is_shared: true };
        for cached in [Freshness::Expired, Freshness::Stale, Freshness::ExpiresSoon] {
            let issued = [Step::Save, unlock, Step::Answer(Answer::Issued)];
            assert_eq!(rest(cached, Requested::Issued { is_cacheable: true }), issued);
            assert_eq!(rest(cached, Requested::Issued { is_cacheable: false }), issued[1..]);
            let changed = [unlock, Step::Answer(Answer::SettingsChanged)];
            assert_eq!(rest(cached, Requested::SettingsChanged), changed);
        }
        assert_eq!(rest(Freshness::Expired, OUTAGE), [report(false), Step::LookUp, unlock, failed]);
        for cached in [Freshness::Stale, Freshness::ExpiresSoon] {
            assert_eq!(rest(cached, OUTAGE), [Step::LookUp, report(true), unlock, Step::Answer(Answer::Cached)]);
        }
        for cached in [Freshness::Expired, Freshness::Stale, Freshness::ExpiresSoon] {
            assert_eq!(rest(cached, REFUSED), [report(false), Step::LookUp, Step::RemoveEntry, unlock, failed]);
        }
    }

    #[test]
    fn a_token_that_expires_during_its_refresh_is_requested_with_all_the_time_that_is_left() {
        let (cached, nothing) = (Seen::Cached(Freshness::ExpiresSoon), Seen::Report(None));
        let leads = [cached, nothing, Seen::Lock(Locked::Taken), Seen::Tested(Locked::Taken), cached, nothing];
        let refreshed = [Seen::Begun(true), Seen::Requested(OUTAGE), Seen::Cached(Freshness::Expired)];
        let all = [&leads[..], &refreshed[..]].concat();
        assert_eq!(after(&all), Step::BeginSave);
        assert_eq!(after(&[&all[..], &[Seen::Begun(true)]].concat()), Step::Request(Duration::from_mins(1)));
    }

    #[test]
    fn a_refresh_waits_for_no_other_process() {
        let (stale, nothing) = (Seen::Cached(Freshness::Stale), Seen::Report(None));
        let held = [stale, nothing, Seen::Lock(Locked::Held(None)), stale, nothing];
        assert_eq!(after(&held), Step::Answer(Answer::Cached));
        let missing = Seen::Cached(Freshness::Expired);
        assert_eq!(after(&[missing, nothing, Seen::Lock(Locked::Held(None)), missing, nothing]), Step::Wait);
    }

    #[test]
    fn what_cannot_be_saved_is_asked_for_when_it_is_needed_and_without_a_lock() {
        let (free, nothing, begun) = (Seen::Lock(Locked::Taken), Seen::Report(None), Seen::Begun(false));
        for (cached, then) in [
            (Freshness::Expired, Step::Request(Duration::from_mins(1))),
            (Freshness::Stale, Step::Answer(Answer::Cached)),
            (Freshness::ExpiresSoon, Step::Request(NOW + Timing::REAL.refresh)),
        ] {
            let cached_now = Seen::Cached(cached);
            let held = [cached_now, nothing, free, Seen::Tested(Locked::Taken), cached_now, nothing, begun];
            let without = [cached_now, nothing, Seen::Lock(Locked::Failed), begun];
            assert_eq!(after(&held), Step::Unlock, "{cached:?}");
            assert_eq!(after(&[&held[..], &[Seen::Done]].concat()), then, "{cached:?}");
            assert_eq!(after(&without), then, "{cached:?}");
        }
    }
}
