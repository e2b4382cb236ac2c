//! Steps that are wrong, to see that the search finds each promise broken.

use std::time::{Duration, SystemTime};

use docker_credential_ecr_login::cache::Freshness;
use docker_credential_ecr_login::cache::protocol::{Locked, Need, Requested, Seen};

use super::world::{Before, Faults};

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
    KeepsLockInVain,
    TrustsStopped,
    TestsNoOtherLock,
    SharesForever,
    SharesNothing,
    PostponesForever,
    ErasesEntryFirst,
    SavesForCredentialsFirst,
    KeepsEarlierSaves,
    LeavesLockFile,
    KeepsRefusedToken,
    TakesRefusalForOutage,
    LooksOnce,
    LoginTakesWhatIsCached,
    LoginWaitsForNobody,
}

impl Broken {
    /// What a process sees that reads wrongly.
    pub fn distort(self, need: Need, now: Duration, seen: Seen) -> Seen {
        match (self, seen) {
            (Self::SharesNothing, Seen::Report(_)) => Seen::Report(None),
            (Self::TakesRefusalForOutage, Seen::Requested(Requested::Failed { .. })) => {
                Seen::Requested(Requested::Failed { is_refusal: false })
            }
            (Self::TrustsStopped, Seen::Lock(Locked::Held(_))) => {
                // A heartbeat that seems to be another one each time.
                Seen::Lock(Locked::Held(SystemTime::UNIX_EPOCH.checked_add(now)))
            }
            (Self::KeepsLockInVain, Seen::Begun(false)) => Seen::Begun(true),
            (Self::TestsNoOtherLock, Seen::Tested(_)) => Seen::Tested(Locked::Taken),
            (Self::IgnoresLastTenth, Seen::Cached(Freshness::ExpiresSoon)) => Seen::Cached(Freshness::Stale),
            (Self::LooksOnce, Seen::Cached(Freshness::Fresh)) => Seen::Cached(Freshness::Expired),
            (Self::LoginWaitsForNobody, Seen::Lock(Locked::Held(_))) if need == Need::Login => {
                Seen::Lock(Locked::Failed)
            }
            (_, seen) => seen,
        }
    }
}

pub const GET: (u8, Need) = (0, Need::Answer);
pub const OTHER: (u8, Need) = (1, Need::Answer);
pub const LOGIN: (u8, Need) = (0, Need::Login);

pub const STALE: Before = Before::Token { age: 5, is_postponed: false };
const POSTPONED: Before = Before::Token { age: 5, is_postponed: true };
const LATE: Before = Before::Token { age: 9, is_postponed: true };
const NEARLY_EXPIRED: Before = Before::Token { age: 9, is_postponed: false };
const EXPIRED: Before = Before::Token { age: 10, is_postponed: false };

const NONE: Faults = Faults::NONE;
const STOP: Faults = Faults { stops: 1, any: 1, ..NONE };
const KILL: Faults = Faults { kills: 1, any: 1, ..NONE };
const FULL: Faults = Faults { full: 1, any: 1, ..NONE };
const ERASURE: Faults = Faults { erasures: 1, any: 1, ..NONE };

/// A wrong step, the processes, the cache before, the latest start, the faults, and the promise that the search finds broken.
pub type Case = (Broken, &'static [(u8, Need)], Before, u8, Faults, &'static str);

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    (Broken::ReadsAnotherKey, &[GET, OTHER], Before::Empty, 1, NONE, "no token of another key"),
    (Broken::ServesExpired, &[GET], EXPIRED, 0, NONE, "no expired token"),
    (Broken::WaitsWithoutEnd, &[GET, GET], Before::Empty, 0, NONE, "whoever asks is answered by its deadline"),
    (Broken::IgnoresLocks, &[GET, GET], Before::Empty, 0, NONE, "while the leader lives, it alone asks"),
    (Broken::TrustsAnyLockFile, &[GET, GET, GET], Before::Empty, 0, NONE, "while the leader lives, it alone asks"),
    (Broken::NoHeartbeat, &[GET, GET], Before::Empty, 0, NONE, "while the leader lives, it alone asks"),
    (Broken::KeepsLockInVain, &[GET], Before::Empty, 0, FULL, "nobody waits for a token that cannot be saved"),
    (Broken::IgnoresLastTenth, &[GET], NEARLY_EXPIRED, 0, FULL, "a postponed refresh is tried when it is due, and in the last tenth"),
    (Broken::LooksOnce, &[GET, GET], Before::Empty, 0, NONE, "one request serves all who need the token at once"),
    (Broken::TrustsStopped, &[GET, GET], Before::Empty, 0, STOP, "after a leader dies or stops, another one asks within three seconds"),
    (Broken::TestsNoOtherLock, &[GET, GET, GET], Before::Empty, 0, STOP, "while the leader lives, it alone asks"),
    (Broken::SharesForever, &[GET], Before::Failure, 3, NONE, "a failure is the answer of nobody who comes later"),
    (Broken::SharesNothing, &[GET, GET], Before::Empty, 0, NONE, "a failure is the answer of those who waited for it"),
    (Broken::PostponesForever, &[GET], POSTPONED, 3, NONE, "a postponed refresh is tried when it is due, and in the last tenth"),
    (Broken::IgnoresLastTenth, &[GET], LATE, 0, NONE, "a postponed refresh is tried when it is due, and in the last tenth"),
    (Broken::ErasesEntryFirst, &[GET], Before::Empty, 0, ERASURE, "an erasure wins over a save that began before it"),
    (Broken::SavesForCredentialsFirst, &[GET], Before::Empty, 0, KILL, "nothing but entries is left after the last process"),
    (Broken::KeepsEarlierSaves, &[GET, GET], Before::Empty, 0, STOP, "no older request replaces the token of a newer one"),
    (Broken::LeavesLockFile, &[GET], Before::Empty, 0, NONE, "nothing but entries is left after the last process"),
    (Broken::KeepsRefusedToken, &[GET], STALE, 0, NONE, "a refused token goes"),
    (Broken::TakesRefusalForOutage, &[GET], STALE, 0, NONE, "a refusal is the answer"),
    (Broken::LoginTakesWhatIsCached, &[LOGIN], STALE, 0, NONE, "a login asks itself"),
    (Broken::LoginWaitsForNobody, &[LOGIN, LOGIN], Before::Empty, 0, NONE, "no older request replaces the token of a newer one"),
];
