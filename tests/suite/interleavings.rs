//! Every order in which the processes of a cache can meet, explored to the end: each step of each process between any two of another,
//! with a kill, a stop, a failed write, a full disk, a lock that does not work, a clock that is set and an erasure at every point.
//!
//! [`world`] has the files, locks and time; the processes are the program's own `cache::protocol`. The search is breadth-first, so that
//! what it finds is the shortest way there. It is written here because it needs forty lines: the model checker `stateright` would bring
//! a web server and, by the features of shared crates, another build of the program than the one that is released.
//!
//! Each promise has been seen to fail: [`Broken`] lists steps that are wrong, and the search finds each of them.

mod world;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use docker_credential_ecr_login::cache::Cached;
use docker_credential_ecr_login::cache::protocol::{Locked, Requested, Seen};

use crate::namespace::note;
use world::{Action, Before, Faults, World};

/// A step that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    ReadsAnotherKey,
    ServesExpired,
    WaitsWithoutEnd,
    IgnoresLocks,
    TrustsAnyLockFile,
    IgnoresLastTenth,
    NoHeartbeat,
    TrustsStopped,
    SharesForever,
    SharesNothing,
    PostponesForever,
    ErasesEntryFirst,
    LeavesLockFile,
    KeepsRefusedToken,
    TakesRefusalForOutage,
    LooksOnce,
}

impl Broken {
    /// What a process sees that reads wrongly.
    pub fn distort(self, seen: Seen) -> Seen {
        match (self, seen) {
            (Self::SharesNothing, Seen::Report(_)) => Seen::Report(None),
            (Self::TakesRefusalForOutage, Seen::Requested(Requested::Failed { .. })) => {
                Seen::Requested(Requested::Failed { is_refusal: false })
            }
            (Self::TrustsStopped, Seen::Lock(Locked::Held(_))) => {
                // A heartbeat that always seems to be another one.
                let now = std::time::SystemTime::now();
                Seen::Lock(Locked::Held(Some(now)))
            }
            (Self::IgnoresLastTenth, Seen::Cached(Cached::ExpiresSoon)) => Seen::Cached(Cached::Stale),
            (Self::LooksOnce, Seen::Cached(Cached::Fresh)) => Seen::Cached(Cached::Missing),
            (_, seen) => seen,
        }
    }
}

pub fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What a search has found: the number of states, and the way to the first broken promise.
struct Found {
    states: usize,
    violation: Option<(&'static str, Vec<Action>)>,
}

/// Visits every state that can be reached from `start`.
fn explore(start: World, broken: Option<Broken>) -> Found {
    let mut visited = HashSet::from([fingerprint(&start)]);
    // How each state was reached: the number of the one before, and the action.
    let mut ways: Vec<(usize, Option<Action>)> = vec![(0, None)];
    let mut frontier = vec![(0, start)];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for (number, world) in frontier {
            for action in world.actions() {
                let after = world.after(action, broken);
                if !visited.insert(fingerprint(&after)) {
                    continue;
                }
                ways.push((number, Some(action)));
                if let Some(promise) = after.violation {
                    return Found { states: ways.len(), violation: Some((promise, way(&ways, ways.len() - 1))) };
                }
                next.push((ways.len() - 1, after));
            }
        }
        frontier = next;
    }
    Found { states: ways.len(), violation: None }
}

fn way(ways: &[(usize, Option<Action>)], mut number: usize) -> Vec<Action> {
    let mut way = Vec::new();
    while let (before, Some(action)) = ways[number] {
        way.push(action);
        number = before;
    }
    way.reverse();
    way
}

/// The way to a state, a line for each action, with the steps that the processes are about to carry out.
fn describe(start: &World, way: &[Action]) -> String {
    let mut world = start.clone();
    let mut lines = Vec::new();
    for action in way {
        lines.push(format!("{action:?}, where {}", world.describe()));
        world = world.after(*action, None);
    }
    lines.join("\n")
}

/// Everything that can go wrong, each kind `each` times and `any` in all.
fn faults(each: u8, any: u8) -> Faults {
    Faults { kills: each, stops: each, writes: each, locks: each, full: 1, clocks: 1, erasures: 1, sweeps: 0, any }
}

const BEFORE: [Before; 7] = [
    Before::Empty,
    Before::Failure,
    Before::Token { age: 4, is_postponed: false },
    Before::Token { age: 5, is_postponed: true },
    Before::Token { age: 8, is_postponed: true },
    Before::Token { age: 9, is_postponed: false },
    Before::Token { age: 10, is_postponed: false },
];

/// Explores from every state of the cache, on all processors, and returns the number of states.
fn explore_all(keys: &[u8], latest_start: u8, faults: Faults) -> usize {
    let started = Instant::now();
    let found: Vec<(Before, Found)> = std::thread::scope(|scope| {
        let search = |before| (before, explore(World::new(keys, before, latest_start, faults), None));
        let searches = BEFORE.map(|before| scope.spawn(move || search(before)));
        searches.into_iter().map(|search| search.join().expect("an end")).collect()
    });
    let states: usize = found.iter().map(|(_, found)| found.states).sum();
    println!("{states} states of {} processes with {} faults in {:?}", keys.len(), faults.any, started.elapsed());
    for (before, Found { violation, .. }) in found {
        if let Some((promise, way)) = violation {
            panic!(
                "not kept: {promise}, from {before:?}:\n{}",
                describe(&World::new(keys, before, latest_start, faults), &way)
            );
        }
    }
    states
}

#[test]
fn every_order_of_two_processes_keeps_every_promise() {
    let started = Instant::now();
    let sweeps = Faults { sweeps: 1, ..Faults::NONE };
    let states = explore_all(&[0, 0], 2, Faults::NONE)
        + explore_all(&[0, 0], 1, sweeps)
        + explore_all(&[0, 0], 1, faults(1, 1))
        + explore_all(&[0, 1], 0, faults(1, 1));
    println!("{states} states in {:?}", started.elapsed());
    assert!(states > 100_000, "{states}");
}

#[test]
fn every_order_of_five_processes_and_of_two_faults_keeps_every_promise() {
    if std::env::var_os("FULL").is_none() {
        return note("all orders of three processes and of two faults: take long; ./tests/run --full");
    }
    explore_all(&[0, 0, 0], 1, Faults::NONE);
    explore_all(&[0, 0, 0, 1, 1], 0, Faults::NONE);
    explore_all(&[0, 0, 0], 0, faults(1, 1));
    explore_all(&[0, 0], 0, faults(2, 2));
    explore_all(&[0, 0], 0, Faults { sweeps: 1, ..faults(1, 1) });
}

/// A promise is only worth as much as the search for its breach.
#[test]
fn each_promise_is_seen_to_break_when_a_step_is_wrong() {
    let (cold, stale, late) =
        (Before::Empty, Before::Token { age: 5, is_postponed: false }, Before::Token { age: 9, is_postponed: true });
    let expired = Before::Token { age: 10, is_postponed: false };
    let with = |change: &dyn Fn(&mut Faults)| {
        let mut faults = Faults { any: 2, ..Faults::NONE };
        change(&mut faults);
        faults
    };
    let (none, stops, erasures) = (Faults::NONE, with(&|faults| faults.stops = 1), with(&|faults| faults.erasures = 1));
    let failures = Before::Failure;
    for (broken, keys, before, latest_start, faults, promise) in [
        (Broken::ReadsAnotherKey, &[0, 1][..], cold, 1, none, "no token of another key"),
        (Broken::ServesExpired, &[0], expired, 0, none, "no expired token"),
        (Broken::WaitsWithoutEnd, &[0, 0], cold, 0, none, "whoever asks is answered by its deadline"),
        (Broken::IgnoresLocks, &[0, 0], cold, 0, none, "while the leader lives, it alone asks"),
        (Broken::TrustsAnyLockFile, &[0, 0, 0], cold, 0, none, "while the leader lives, it alone asks"),
        (Broken::NoHeartbeat, &[0, 0], cold, 0, none, "while the leader lives, it alone asks"),
        (Broken::LooksOnce, &[0, 0], cold, 0, none, "one request serves all who need the token at once"),
        (
            Broken::TrustsStopped,
            &[0, 0],
            cold,
            0,
            stops,
            "after a leader dies or stops, another one asks within three seconds",
        ),
        (Broken::SharesForever, &[0], failures, 3, none, "a failure is the answer of nobody who comes later"),
        (Broken::SharesNothing, &[0, 0], cold, 0, none, "a failure is the answer of those who waited for it"),
        (
            Broken::PostponesForever,
            &[0],
            Before::Token { age: 5, is_postponed: true },
            3,
            none,
            "a postponed refresh is tried when it is due, and in the last tenth",
        ),
        (
            Broken::IgnoresLastTenth,
            &[0],
            late,
            0,
            none,
            "a postponed refresh is tried when it is due, and in the last tenth",
        ),
        (Broken::ErasesEntryFirst, &[0], cold, 0, erasures, "an erasure wins over a save that began before it"),
        (Broken::LeavesLockFile, &[0], cold, 0, none, "nothing but entries is left after the last process"),
        (Broken::KeepsRefusedToken, &[0], stale, 0, none, "a refused token goes"),
        (Broken::TakesRefusalForOutage, &[0], stale, 0, none, "a refusal is the answer"),
    ] {
        let start = World::new(keys, before, latest_start, faults);
        let Found { violation, states } = explore(start.clone(), Some(broken));
        let found = violation.as_ref().map(|(promise, _)| *promise);
        assert_eq!(found, Some(promise), "{broken:?} after {states} states");
        // The orders of three processes take minutes.
        assert!(keys.len() == 3 || explore(start, None).violation.is_none(), "{broken:?} was not the cause");
    }
}
