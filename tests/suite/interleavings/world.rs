//! A model of files, locks, time and AWS, in which processes carry out the protocol of the cache. A tick is a second.
//!
//! The processes are those of the program: `cache::protocol` decides each step. The model carries a step out, with every result that it
//! can have, and notes where a promise is broken. Time passes when every process that runs waits for something, so that a process that
//! the scheduler neglects is one that was stopped.
//!
//! What nobody else can see or disturb is no step of its own: a process starts with its first step, and answers with its last one.

mod actions;
mod alike;
mod files;
mod promises;
mod steps;

use std::rc::Rc;
use std::time::Duration;

use docker_credential_ecr_login::cache::Freshness;
use docker_credential_ecr_login::cache::protocol::{LOCKS, Need, Process, Step, Timing};

use super::search::fingerprint;
pub use actions::Action;

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
    /// Which request gave it.
    request: u8,
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
    is_shared: bool,
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
    /// The entry of the credentials.
    of_credentials: Option<Token>,
    report: Option<Failure>,
    locks: [Option<LockFile>; LOCKS as usize],
    failures: u8,
    /// How far an erasure has come, and whether it has seen an entry, which names the one of the credentials.
    erasing: Option<(u8, bool)>,
    /// How far a sweep has come, and the lock file whose lock it holds.
    sweeping: Option<(u8, u8)>,
    erasures: u8,
    /// Whether the last request failed.
    has_failed: bool,
    has_issued: bool,
    requests: u8,
    /// The last request whose token was saved in all steps.
    saved: u8,
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
    need: Need,
    started: u8,
    process: Process,
    step: Step,
    is_stopped: bool,
    /// The lock file that it has opened, and whether it holds its lock.
    opened: Option<(u8, u8)>,
    holds: bool,
    /// Its temporary file, as long as nobody removes it: the erasures that had begun before.
    begun: Option<u8>,
    /// The same for the entry of the credentials, which it writes last.
    has_second: bool,
    /// How many steps of its save it has done.
    saved: u8,
    request: u8,
    read: Option<(Token, Freshness)>,
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
    New(u8, Need),
    Running(Rc<Actor>),
    Ended,
    Killed,
}

impl Slot {
    fn key(&self) -> Option<u8> {
        match self {
            Self::New(key, _) => Some(*key),
            Self::Running(actor) => Some(actor.key),
            Self::Ended | Self::Killed => None,
        }
    }
}

#[derive(Clone, Debug)]
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
    /// The fingerprints of the slots.
    prints: Vec<u64>,
    pub violation: Option<&'static str>,
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
    pub fn new(processes: &[(u8, Need)], before: Before, latest_start: u8, faults: Faults) -> Self {
        let count = 1 + processes.iter().map(|(key, _)| usize::from(*key)).max().expect("a process");
        let mut files = vec![Files::default(); count];
        let (is_refusal, is_shared, is_regular) = (false, true, true);
        let failure = Failure { id: 1, at: 0, wall: 0, refresh_after: None, is_refusal, is_shared, is_regular };
        match before {
            Before::Empty => {}
            Before::Failure => (files[0].report, files[0].failures, files[0].has_failed) = (Some(failure), 1, true),
            Before::Token { age, is_postponed } => {
                files[0].entry = Some(Token { key: 0, at: -age, wall: -age, request: 0, erasures: 0 });
                if is_postponed {
                    let refresh_after = Some(POSTPONED);
                    files[0].report = Some(Failure { wall: -2, refresh_after, ..failure });
                    (files[0].failures, files[0].has_failed) = (1, true);
                }
            }
        }
        let slots: Vec<Slot> = processes.iter().map(|(key, need)| Slot::New(*key, *need)).collect();
        let prints = slots.iter().map(fingerprint).collect();
        let (now, wall, is_full, had_fault, clock_was_set) = (0, 0, false, false, false);
        Self {
            now,
            wall,
            is_full,
            faults,
            had_fault,
            clock_was_set,
            latest_start,
            files,
            slots,
            prints,
            violation: None,
        }
    }

    /// The time and what each process is about to do.
    pub fn describe(&self) -> String {
        let steps: Vec<String> = self.running().map(|actor| format!("{:?}", actor.step)).collect();
        format!("at {}, {}", self.now, steps.join(" and "))
    }

    fn actor(&mut self, number: usize) -> &mut Actor {
        match &mut self.slots[number] {
            Slot::Running(actor) => Rc::make_mut(actor),
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
