//! What the checks of several registries share, so that nothing is requested twice: whether an endpoint answers, and the principals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use super::report::Check;
use crate::aws::Session;
use crate::error::Failure;

/// What is known of the endpoint that several groups share.
#[derive(Default)]
pub(super) enum EndpointState {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// It answers, even with an error.
    Answers,
    /// It did not answer; the failed check.
    Silent(Check),
}

/// The principals that STS has reported, by access key, so that STS is asked once for each.
#[derive(Default)]
pub(super) struct Principals(Mutex<BTreeMap<String, Principal>>);

/// An ARN, or why STS did not report one, once it has answered.
type Principal = Arc<OnceLock<Result<String, Failure>>>;

impl Principals {
    pub(super) fn of(&self, session: &Session, deadline: Instant) -> Result<String, Failure> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = Arc::clone(all.entry(session.access_key_id().to_owned()).or_default());
        drop(all);
        known.get_or_init(|| session.principal(deadline)).clone()
    }
}
