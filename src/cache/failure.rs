//! The report of a request that failed: the answer of all processes that needed the same token meanwhile, and the time until which no
//! process refreshes the cached token again.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::name::FAILURE;
use super::{Cache, protocol, read};
use crate::code::Code;
use crate::error::Failure;
use crate::identity::CacheKey;
use crate::platform;
use crate::terminal;

/// The shortest time between a failed refresh and the next one.
const SHORTEST_POSTPONEMENT: Duration = Duration::from_mins(5);

/// The longest time between a failed refresh and the next one.
pub(super) const LONGEST_POSTPONEMENT: Duration = Duration::from_mins(10);

/// The content of `<key>.failure`.
#[derive(Serialize, Deserialize)]
pub(super) struct FailureReport {
    /// When it was written, which distinguishes it from the next one.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// The same in seconds since boot, where the system counts them.
    uptime: Option<u64>,
    /// When the next refresh may be tried.
    #[serde(with = "time::serde::rfc3339::option")]
    refresh_after: Option<OffsetDateTime>,
    is_refusal: bool,
    /// Whether it is the answer of other processes.
    is_shared: bool,
    /// How long the request had.
    limit: Duration,
    /// Whether a program failed that had no terminal to ask at.
    lacked_terminal: bool,
    code: String,
    what: String,
    hint: String,
}

impl Cache {
    /// The report of the last failure.
    pub(super) fn failure_report(&self, key: &CacheKey) -> Option<FailureReport> {
        serde_json::from_slice(&read(&self.path(key, FAILURE))?).ok()
    }

    /// Reports a failure, and postpones the next refresh by five to ten minutes if so. The time is random, so that the keys of a
    /// machine do not all ask AWS at once.
    pub(super) fn report_failure(
        &self,
        key: &CacheKey,
        failure: &Failure,
        postpones: bool,
        is_shared: bool,
        limit: Duration,
    ) -> io::Result<()> {
        // Omits the quote: the text of another program, or of a service that got a secret, may hold one that the mask does not
        // recognize. ECR gets none, and its text is part of what happened, for all that share the failure.
        let Failure { code, what, hint, is_refusal, quote: _, is_own: _ } = failure.clone();
        let at = OffsetDateTime::now_utc();
        let spread = LONGEST_POSTPONEMENT.saturating_sub(SHORTEST_POSTPONEMENT).as_secs();
        let random = Duration::from_secs(platform::random() % (spread + 1));
        let refresh_after = postpones.then(|| at + SHORTEST_POSTPONEMENT + random);
        let lacked_terminal = code == Code::CredentialProcess && !terminal::is_there();
        let (uptime, code) = (platform::seconds_since_boot(), code.name().to_owned());
        let report = FailureReport {
            at,
            uptime,
            refresh_after,
            is_refusal,
            is_shared,
            limit,
            lacked_terminal,
            code,
            what,
            hint,
        };
        self.write(&serde_json::to_vec(&report)?, &self.path(key, FAILURE))
    }
}

impl FailureReport {
    /// What the protocol sees of it now, for a process whose request would have so much time. Who has more than twice the time may have an answer
    /// where the other one had none: a short time limit is nobody else's. Nor is the lack of a terminal. A refusal depends on neither.
    pub(super) fn seen(&self, left: Duration) -> protocol::Report {
        let could_not_ask = self.lacked_terminal && terminal::is_there();
        let is_for_all = self.is_refusal || (left <= self.limit * 2 && !could_not_ask);
        let now = OffsetDateTime::now_utc();
        let remaining = self.refresh_after.map(|until| until - now);
        protocol::Report {
            is_shared: self.is_shared && is_for_all,
            id: self.at.unix_timestamp_nanos(),
            counts: protocol::counts(now - self.at, self.uptime.zip(platform::seconds_since_boot())),
            // A time beyond the longest postponement was recorded while the clock was wrong.
            postpones: is_for_all && remaining.is_some_and(|left| left.is_positive() && left <= LONGEST_POSTPONEMENT),
            is_refusal: self.is_refusal,
        }
    }

    pub(super) fn into_failure(self) -> Failure {
        let code = Code::named(&self.code).unwrap_or(Code::ServiceError);
        Failure { is_refusal: self.is_refusal, ..Failure::new(code, self.what, self.hint) }
    }
}
