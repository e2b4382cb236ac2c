//! What a process may do next, and what it may see by that.

use std::time::{Duration, SystemTime};

use crate::cache::entry::Freshness;

/// An operation on the cache, on AWS or on time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Read the entry: [`Seen::Cached`].
    LookUp,
    /// Read the report of the last failure: [`Seen::Report`].
    ReadReport,
    /// Try one of the locks: [`Seen::Lock`].
    TryLock(u8),
    /// Test whether another process holds the other lock: [`Seen::Tested`].
    TestLock(u8),
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
    /// The entry; [`Freshness::Expired`] if there is none that may be served.
    Cached(Freshness),
    /// The report of the last failure, if there is one.
    Report(Option<Report>),
    /// The lock.
    Lock(Locked),
    /// Who holds the other lock; [`Locked::Taken`] if nobody does.
    Tested(Locked),
    /// Whether a save could begin.
    Begun(bool),
    /// The result of the request.
    Requested(Requested),
    /// The operation has ended, with or without success.
    Done,
}

/// The report of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Report {
    /// Distinguishes it from others: when it was written, in nanoseconds.
    pub id: i128,
    /// Whether it is the answer of other processes.
    pub is_shared: bool,
    /// Whether it counts for a process that starts now: [`counts`](super::counts).
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
