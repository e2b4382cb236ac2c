//! The protocol by which the processes that need the token of one key share one request, as a value: what a process knows, and what its last
//! operation returned, decide its next operation. Nothing here reads a file or a clock. [`single_flight`](super::single_flight) carries the
//! operations out on files; the suite's explorer carries them out in a model of files, locks and time, in every order.
//!
//! - A fresh entry is the answer. A stale one is served at once while its refresh is postponed or another process refreshes it.
//! - The process that holds the key's lock is the leader. It looks again, then requests a token, and renews the time of the lock file
//!   meanwhile. Whoever finds the lock held waits. A leader whose heartbeat stays the same for [`Timing::heartbeat_timeout`] was stopped,
//!   e.g. by SIGSTOP; the others then elect a successor by a second lock. When that one was stopped too, each asks for itself.
//! - Whoever has one of the locks looks at the other one: the leader waits while a successor asks, and the successor goes back where
//!   the lock has another heartbeat than when it gave up waiting. So one process asks at a time, even if a leader that was stopped
//!   goes on or dies at this moment.
//! - A leader that gets a token saves it before it releases the lock, so that the others find it. A save begins before the request, with
//!   a temporary file. Where it cannot begin, as on a full disk, nobody could share the token: the leader releases the lock first, so
//!   that all ask at once, and does not refresh a token before its last tenth, since it could not postpone that for the others.
//! - A request that fails is reported, and the report is the answer of every process that has started before it was written, however
//!   late that process reads it, and of every process that starts within about a second after it ([`counts`]). So many processes and a
//!   failing AWS make one request, however slowly the machine starts them. Whoever comes later asks again,
//!   and so does who has more than twice the time of the request that failed, unless that was refused.
//! - A refresh that fails leaves a valid token, which is served; the report also postpones the next refresh, except in the last tenth
//!   of the token's lifetime. Where the token has expired meanwhile, the process asks again, until its deadline: a refresh has less
//!   time. A refusal ([`Failure::is_refusal`](crate::error::Failure)) ends it: the entry goes, and the cause is the answer.
//! - A `login` asks AWS whatever is cached, for a person who has just signed in. It does so as a leader, so that the others wait for
//!   its token instead of asking, and no older request saves after it.
//! - Erasing a key removes the temporary files of saves first and the entry then, so that a save that began before it has nothing left
//!   to rename.
//! - A token may have a second entry, under the key of its credentials. Whoever erases it finds it by the first, which is why
//!   the first one is saved first and removed last: [`SAVING`], [`ERASURE`].
//! - Whoever has keys of a source that other identities may have too goes the way of these keys and its roles inside of that of its
//!   identity, and so many identities with the same keys and roles make one request. Nobody takes the lock of an identity inside of that of credentials.
//! - A failed operation on the cache never fails a request: the process goes on without what the operation was for.
//!
//! Every command takes the same way: `get`, `get-login-password`, `export`, with `--every` again and again, and `kubelet` each need
//! an answer ([`Need::Answer`]), `list` and `login` differ as [`Need`] says.

mod process;
mod step;

use std::time::Duration;

pub use process::Process;
pub use step::{Answer, Locked, Report, Requested, Seen, Step};

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
    /// A `login`, for which no cached token counts and no failure of another process.
    Login,
}

/// The limits on time. The explorer has others than the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// How long the time of a lock file may stay the same before its holder counts as stopped.
    pub heartbeat_timeout: Duration,
    /// How long after its own deadline a process still waits, so that a leader with the same deadline can report its failure.
    pub grace: Duration,
    /// How long a refresh may take while a valid token is in the cache, without the renewal of a sign-in, which must not be cut off.
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

/// Whether a failure counts for a process that starts `age` after its report was written, by the wall clock and in seconds since boot.
/// Both clocks must agree: a wall clock can be set, and the time since boot starts over with each boot.
pub fn counts(age: time::Duration, seconds_since_boot: Option<(u64, u64)>) -> bool {
    let since_boot = seconds_since_boot.map(|(then, now)| now.checked_sub(then));
    age.unsigned_abs() <= Duration::from_secs(COUNTS_FOR)
        && since_boot.is_none_or(|age| age.is_some_and(|age| age <= COUNTS_FOR))
}

/// Saving a token, in this order: a process that is killed in between leaves no entry that an erasure would not find. The last step
/// leaves the processes that have begun before nothing to rename: they were killed, or have an older token.
pub const SAVING: [Save; 3] = [Save::Entry, Save::OfCredentials, Save::EarlierSaves];

/// A step of a save, whose temporary files an erasure removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Save {
    /// Rename the temporary file of the entry, or end.
    Entry,
    /// Rename that of the entry of the credentials.
    OfCredentials,
    /// Remove the temporary files of saves that began earlier.
    EarlierSaves,
}

/// Erasing the token of a key, in this order: after the first step no save that began before it can succeed, and the next two
/// remove what it has saved before. They are repeated for a save that begins meanwhile, of which nothing or its entry remains.
pub const ERASURE: [Erase; 6] =
    [Erase::BegunSaves, Erase::OfCredentials, Erase::Entry, Erase::BegunSaves, Erase::OfCredentials, Erase::Report];

/// A step of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Erase {
    /// Remove the temporary files of the key.
    BegunSaves,
    /// Remove the entry of the credentials that the entry names, or has named before.
    OfCredentials,
    /// Remove the entry.
    Entry,
    /// Remove the report, so that the next process asks AWS.
    Report,
}

#[cfg(test)]
mod tests {
    use super::counts;

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
