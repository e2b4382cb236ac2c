//! Every order in which the processes of a cache can meet, explored to the end: each step of each process between any two of another,
//! with a kill, a stop, a failed write, a full disk, a lock that does not work, a clock that is set and an erasure at every point.
//!
//! [`world`] has the files, locks and time; the processes are the program's own `cache::protocol`. [`search`] is breadth-first, so that
//! what it finds is the shortest way there. It is written here because it needs forty lines: the model checker `stateright` would bring
//! a web server and, by the features of shared crates, another build of the program than the one that is released.
//!
//! Bounds: two processes that start within a second of each other, with one fault of any kind in any place, always; three that start
//! at once with one fault, and two with two faults of different kinds, with `--full`: 30 million states. Two processes of another
//! key beside the three add no state to theirs, as a test shows. A process that was stopped goes on within twelve seconds, or not at
//! all, and tokens live for ten. `get`, `list` and `login` differ for the protocol; `export` and `kubelet` do what `get` does.
//!
//! Each promise has been seen to fail: [`broken`] lists steps that are wrong, and the search finds each of them.

mod broken;
mod search;
mod world;

use std::time::Instant;

use docker_credential_ecr_login::cache::protocol::Need;

use crate::namespace::note;
use broken::{CASES, GET, LOGIN, OTHER, STALE};
use search::{Found, describe, explore};
use world::{Before, Faults, World};

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

const LIST: (u8, Need) = (0, Need::List);

/// Explores from each of these states of the cache, on all processors, and returns the number of states.
fn explore_all(befores: &[Before], processes: &[(u8, Need)], latest_start: u8, faults: Faults) -> usize {
    let started = Instant::now();
    let found: Vec<(Before, Found)> = std::thread::scope(|scope| {
        let search = |before| (before, explore(World::new(processes, before, latest_start, faults), None, &mut |_| ()));
        let searches: Vec<_> = befores.iter().map(|before| scope.spawn(move || search(*before))).collect();
        searches.into_iter().map(|search| search.join().expect("an end")).collect()
    });
    let states: usize = found.iter().map(|(_, found)| found.states).sum();
    println!("{states} states of {processes:?} with {} faults in {:?}", faults.any, started.elapsed());
    for (before, Found { violation, .. }) in found {
        if let Some((promise, way)) = violation {
            let start = World::new(processes, before, latest_start, faults);
            panic!("not kept: {promise}, from {before:?}:\n{}", describe(&start, &way));
        }
    }
    states
}

#[test]
fn every_order_of_two_processes_keeps_every_promise() {
    let started = Instant::now();
    let sweeps = Faults { sweeps: 1, ..Faults::NONE };
    let states = explore_all(&BEFORE, &[GET, GET], 2, Faults::NONE)
        + explore_all(&BEFORE, &[GET, LIST], 1, Faults::NONE)
        + explore_all(&BEFORE, &[GET, LOGIN], 1, Faults::NONE)
        + explore_all(&BEFORE, &[GET, OTHER], 1, Faults::NONE)
        + explore_all(&BEFORE, &[GET, GET], 1, sweeps)
        + explore_all(&BEFORE, &[GET, GET], 1, faults(1, 1))
        + explore_all(&[Before::Empty, STALE], &[GET, LOGIN], 0, faults(1, 1));
    println!("{states} states in {:?}", started.elapsed());
    assert!(states > 1_000_000, "{states}");
}

#[test]
fn every_order_of_three_processes_and_of_two_faults_keeps_every_promise() {
    if std::env::var_os("FULL").is_none() {
        return note("all orders of three processes and of two faults: take long; ./tests/run --full");
    }
    explore_all(&BEFORE, &[GET, GET, GET], 1, Faults::NONE);
    let three = explore_all(&BEFORE, &[GET, GET, GET], 0, faults(1, 1));
    // Those of another key meet nobody else: the next test.
    let two = explore_all(&[Before::Empty], &[GET, GET], 1, faults(1, 1));
    println!("{three} states of three processes, beside each of which two of another key have one of {two}");
    explore_all(&[Before::Empty], &[GET, GET, LOGIN], 0, faults(1, 1));
    explore_all(&BEFORE, &[GET, LIST, LOGIN], 0, Faults::NONE);
    explore_all(&[Before::Empty, STALE], &[GET, GET], 0, faults(1, 2));
    explore_all(&BEFORE, &[GET, GET], 0, Faults { sweeps: 1, ..faults(1, 1) });
}

/// An action is either about one key, and changes nothing that those of another key see, or about all, such as the passing of time,
/// and does to each key what it does when there is no other. So to explore each key alone is to explore all of them.
#[test]
fn processes_of_two_keys_share_nothing_but_time_and_disk() {
    let start = World::new(&[GET, OTHER], Before::Empty, 0, Faults { stops: 0, ..faults(1, 1) });
    let mut checked = 0;
    let found = explore(start, None, &mut |world| {
        let alone = [0, 1].map(|key| world.of_key(key));
        for action in world.actions() {
            let after = world.after(action, None);
            for (key, alone) in (0..).zip(&alone) {
                let now = after.of_key(key).fingerprint_without_faults();
                if world.key_of(action).is_none_or(|of_action| of_action == key) {
                    // Where all processes of a key have ended, nothing is left to see.
                    assert!(alone.is_over() || alone.actions().contains(&action), "{action:?} in {world:?}");
                    let same = alone.after(action, None).of_key(key);
                    assert_eq!(same.fingerprint_without_faults(), now, "{action:?} in {world:?}");
                } else {
                    assert_eq!(alone.fingerprint_without_faults(), now, "{action:?} in {world:?}");
                }
                checked += 1;
            }
        }
    });
    assert!(found.violation.is_none() && checked > 10_000, "{checked}");
}

/// A promise is only worth as much as the search for its breach.
#[test]
fn each_promise_is_seen_to_break_when_a_step_is_wrong() {
    for (broken, processes, before, latest_start, faults, promise) in CASES {
        let start = World::new(processes, *before, *latest_start, *faults);
        let Found { violation, states } = explore(start.clone(), Some(*broken), &mut |_| ());
        let found = violation.as_ref().map(|(promise, _)| *promise);
        assert_eq!(found, Some(*promise), "{broken:?} after {states} states");
        // The orders of three processes take long.
        let is_kept = || explore(start, None, &mut |_| ()).violation.is_none();
        assert!(processes.len() == 3 || is_kept(), "{broken:?} was not the cause");
    }
}
