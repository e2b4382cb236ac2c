//! A model of files, locks, time and AWS, in which processes carry out the protocol of the cache. A tick is a second.
//!
//! The processes are those of the program: `cache::protocol` decides each step. The model carries a step out, with every result that it
//! can have, and notes where a promise is broken. Time passes when every process that runs waits for something, so that a process that
//! the scheduler neglects is one that was stopped.

mod promises;
mod steps;

use std::time::Duration;

use docker_credential_ecr_login::cache::Cached;
use docker_credential_ecr_login::cache::protocol::{LOCKS, Process, Requested, Step, Timing};

use super::{Broken, fingerprint};

/// How long a process has for its answer, in ticks.
const DEADLINE: u8 = 5;
/// The lifetime of a token: it is stale after half of it, and expires soon in the last tenth.
const LIFETIME: i8 = 10;
/// How long a failed refresh postpones the next one.
const POSTPONED: i8 = 2;
const TIMING: Timing = Timing {
    heartbeat_timeout: Duration::from_secs(2),
    grace: Duration::from_secs(1),
    refresh: Duration::from_secs(2),
};
/// After this time, a process that was stopped goes on, or not at all.
const END: u8 = 12;

/// What may still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Faults {
    pub kills: u8,
    pub stops: u8,
    pub writes: u8,
    pub locks: u8,
    pub full: u8,
    pub clocks: u8,
    pub erasures: u8,
    /// Sweeps, which are no fault.
    pub sweeps: u8,
    /// All of them together.
    pub any: u8,
}

impl Faults {
    pub const NONE: Self =
        Self { kills: 0, stops: 0, writes: 0, locks: 0, full: 0, clocks: 0, erasures: 0, sweeps: 0, any: 0 };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    key: u8,
    /// When it was issued: ticks since boot, and by the wall clock.
    at: i8,
    wall: i8,
    /// How many erasures had begun when its save did.
    erasures: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Failure {
    id: u8,
    at: u8,
    wall: i8,
    refresh_after: Option<i8>,
    is_refusal: bool,
    /// Whether a leader wrote it that was never stopped.
    is_regular: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LockFile {
    inode: u8,
    heartbeat: i8,
}

/// The files of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Files {
    entry: Option<Token>,
    report: Option<Failure>,
    locks: [Option<LockFile>; LOCKS as usize],
    inodes: u8,
    failures: u8,
    /// How far an erasure has come.
    erasing: Option<u8>,
    /// How far a sweep has come, and the lock file whose lock it holds.
    sweeping: Option<(u8, u8)>,
    erasures: u8,
    /// Whether the last request failed.
    has_failed: bool,
    issued: u8,
}

/// What a process did that its answer is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
struct Past {
    asked: bool,
    was_refused: bool,
    was_held: bool,
    is_without_lock: bool,
    could_not_save: bool,
    was_stopped: bool,
    waited_for_nobody: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Actor {
    key: u8,
    started: u8,
    process: Process,
    step: Step,
    is_stopped: bool,
    /// The lock file that it has opened, and whether it holds its lock.
    opened: Option<(u8, u8)>,
    holds: bool,
    /// Its temporary file, as long as nobody removes it: the erasures that had begun before.
    begun: Option<u8>,
    read: Option<(Token, Cached)>,
    issued: Option<Token>,
    report: Option<Failure>,
    /// The number of failures when it first read the report.
    failures: Option<u8>,
    past: Past,
}

impl Actor {
    /// Whether it was never stopped, and asks as a leader.
    fn is_regular(&self) -> bool {
        !self.past.was_stopped && !self.past.is_without_lock
    }
}

/// A process that has not started, runs, or has ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Slot {
    New(u8),
    Running(Box<Actor>),
    Ended,
    Killed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    now: u8,
    wall: i8,
    is_full: bool,
    faults: Faults,
    had_fault: bool,
    clock_was_set: bool,
    /// Until when every process has started.
    latest_start: u8,
    files: Vec<Files>,
    slots: Vec<Slot>,
    pub violation: Option<&'static str>,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    Start(usize),
    /// The process carries out its step.
    Run(usize),
    /// The same, and it fails.
    Fail(usize),
    Request(usize, Requested),
    Kill(usize),
    Stop(usize),
    Continue(usize),
    FillDisk,
    SetClock(i8),
    /// The next step of an erasure.
    Erase(u8),
    /// The next step of a sweep.
    Sweep(u8),
}

/// What a first look at the cache may find.
#[derive(Clone, Copy, Debug)]
pub enum Before {
    Empty,
    /// A token of this age, after a failed refresh or not.
    Token {
        age: i8,
        is_postponed: bool,
    },
    /// The report of a failure.
    Failure,
}

impl World {
    pub fn new(keys: &[u8], before: Before, latest_start: u8, faults: Faults) -> Self {
        let count = usize::from(keys.iter().max().expect("a process") + 1);
        let mut files = vec![Files::default(); count];
        let failure = Failure { id: 1, at: 0, wall: 0, refresh_after: None, is_refusal: false, is_regular: true };
        match before {
            Before::Empty => {}
            Before::Failure => (files[0].report, files[0].failures, files[0].has_failed) = (Some(failure), 1, true),
            Before::Token { age, is_postponed } => {
                files[0].entry = Some(Token { key: 0, at: -age, wall: -age, erasures: 0 });
                if is_postponed {
                    let refresh_after = Some(POSTPONED);
                    files[0].report = Some(Failure { wall: -2, refresh_after, ..failure });
                    (files[0].failures, files[0].has_failed) = (1, true);
                }
            }
        }
        let slots = keys.iter().map(|key| Slot::New(*key)).collect();
        let (now, wall, is_full, had_fault, clock_was_set) = (0, 0, false, false, false);
        Self { now, wall, is_full, faults, had_fault, clock_was_set, latest_start, files, slots, violation: None }
    }

    /// The time and what each process is about to do.
    pub fn describe(&self) -> String {
        let steps: Vec<String> = self.running().map(|actor| format!("{:?}", actor.step)).collect();
        format!("at {}, {}", self.now, steps.join(" and "))
    }

    /// Everything that can happen next.
    pub fn actions(&self) -> Vec<Action> {
        let mut all = Vec::new();
        let Faults { any, .. } = self.faults;
        let may = |count: u8| count > 0 && any > 0;
        let mut may_tick = self.now < END;
        let mut is_alive = false;
        for (number, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::New(_) => {
                    // Of processes that are alike, the first starts first.
                    if number == 0 || self.slots[number - 1] != *slot {
                        all.push(Action::Start(number));
                    }
                    may_tick &= self.now < self.latest_start;
                    is_alive = true;
                }
                Slot::Running(actor) => {
                    is_alive = true;
                    if actor.is_stopped {
                        all.push(Action::Continue(number));
                    } else {
                        may_tick &= self.steps(number, actor, &mut all);
                        if may(self.faults.stops) {
                            all.push(Action::Stop(number));
                        }
                    }
                    if may(self.faults.kills) {
                        all.push(Action::Kill(number));
                    }
                }
                Slot::Ended | Slot::Killed => {}
            }
        }
        if !is_alive {
            let swept = (0u8..).zip(&self.files).filter(|(_, files)| files.sweeping.is_some());
            all.extend(swept.map(|(key, _)| Action::Sweep(key)));
            return all;
        }
        if may(self.faults.full) {
            all.push(Action::FillDisk);
        }
        if may(self.faults.clocks) {
            all.extend([-1, 3].map(Action::SetClock));
        }
        for key in 0..u8::try_from(self.files.len()).expect("few") {
            let Files { erasing, sweeping, .. } = self.files[usize::from(key)];
            may_tick &= erasing.is_none() && sweeping.is_none();
            if sweeping.is_some() || (key == 0 && self.faults.sweeps > 0) {
                all.push(Action::Sweep(key));
            }
            let is_erasing = erasing.is_some();
            if is_erasing || (key == 0 && may(self.faults.erasures)) {
                all.push(Action::Erase(key));
            }
        }
        if may_tick {
            all.push(Action::Tick);
        }
        all
    }

    /// What a process can do. Returns whether it waits meanwhile.
    fn steps(&self, number: usize, actor: &Actor, all: &mut Vec<Action>) -> bool {
        let may = |count: u8| count > 0 && self.faults.any > 0;
        if let Step::Request(limit) = actor.step {
            let is_late = Duration::from_secs(self.now.into()) >= limit;
            let failed = |is_refusal| Requested::Failed { is_refusal };
            let issued = Requested::Issued { is_cacheable: true };
            let results = [issued, failed(true), failed(false), Requested::SettingsChanged];
            all.extend(results.map(|requested| Action::Request(number, requested)));
            return !is_late;
        }
        all.push(Action::Run(number));
        let may_fail = match actor.step {
            Step::TryLock(_) => actor.opened.is_none() && may(self.faults.locks),
            Step::BeginSave | Step::Save | Step::Report { .. } => !self.is_full && may(self.faults.writes),
            _ => false,
        };
        if may_fail {
            all.push(Action::Fail(number));
        }
        actor.step == Step::Wait
    }

    /// The state after an action.
    pub fn after(&self, action: Action, broken: Option<Broken>) -> Self {
        let mut world = self.clone();
        match action {
            Action::Tick => world.tick(broken),
            Action::Start(number) => world.start(number, broken),
            Action::Run(number) => world.run(number, None, true, broken),
            Action::Fail(number) => {
                match world.actor(number).step {
                    Step::TryLock(_) => world.faults.locks -= 1,
                    _ => world.faults.writes -= 1,
                }
                world.spend();
                world.run(number, None, false, broken);
            }
            Action::Request(number, requested) => world.run(number, Some(requested), true, broken),
            Action::Kill(number) => {
                world.faults.kills -= 1;
                world.spend();
                world.slots[number] = Slot::Killed;
            }
            Action::Stop(number) => {
                world.faults.stops -= 1;
                world.spend();
                let actor = world.actor(number);
                (actor.is_stopped, actor.past.was_stopped) = (true, true);
            }
            Action::Continue(number) => world.actor(number).is_stopped = false,
            Action::FillDisk => {
                world.faults.full -= 1;
                world.spend();
                world.is_full = true;
            }
            Action::SetClock(by) => {
                world.faults.clocks -= 1;
                world.spend();
                world.wall += by;
                world.clock_was_set = true;
            }
            Action::Erase(key) => world.erase(key, broken),
            Action::Sweep(key) => world.sweep(key),
        }
        // Processes of one key are alike.
        for key in 0..world.files.len() {
            let key = u8::try_from(key).expect("few");
            let of_key = |slot: &Slot| matches!(slot, Slot::Running(actor) if actor.key == key);
            let mut alike: Vec<Slot> = world.slots.iter().filter(|slot| of_key(slot)).cloned().collect();
            alike.sort_by_cached_key(fingerprint);
            let mut alike = alike.into_iter();
            for slot in world.slots.iter_mut().filter(|slot| of_key(slot)) {
                *slot = alike.next().expect("as many");
            }
        }
        world.check_end();
        world
    }

    fn spend(&mut self) {
        self.faults.any -= 1;
        if self.faults.any == 0 {
            self.faults = Faults { sweeps: self.faults.sweeps, ..Faults::NONE };
        }
        self.had_fault = true;
    }

    fn actor(&mut self, number: usize) -> &mut Actor {
        match &mut self.slots[number] {
            Slot::Running(actor) => actor,
            other => panic!("{other:?}"),
        }
    }

    fn running(&self) -> impl Iterator<Item = &Actor> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Running(actor) => Some(&**actor),
            _ => None,
        })
    }

    fn wall_now(&self) -> i8 {
        self.now.cast_signed() + self.wall
    }

    fn violate(&mut self, promise: &'static str) {
        self.violation.get_or_insert(promise);
    }
}
