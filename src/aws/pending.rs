//! The request that has no answer yet, for the message of a timeout.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::code::Code;
use crate::error::Failure;
use crate::identity::{IdentityToken, Source, WebIdentity};

/// The request that has no answer yet, for the message of a timeout. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingRequest(Arc<Mutex<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    /// Empty before the first request.
    host: String,
    /// The role that is requested from STS.
    role: Option<String>,
}

impl PendingRequest {
    pub(super) fn set_host(&self, host: &str) {
        host.clone_into(&mut self.lock().host);
    }

    pub(super) fn set_role(&self, arn: Option<&str>) {
        self.lock().role = arn.map(str::to_owned);
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for PendingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pending { host, role } = &*self.lock();
        match role {
            _ if host.is_empty() => f.write_str("AWS"),
            Some(role) => write!(f, "STS at {host}, asked for the role {role},"),
            None => write!(f, "AWS at {host}"),
        }
    }
}

/// The failure when the time is over.
pub(super) fn timed_out(source: &Source, pending: &PendingRequest) -> Failure {
    match source {
        Source::WebIdentity(WebIdentity { token: IdentityToken::GitHub { .. }, .. }) => Failure::new(
            Code::Timeout,
            "GitHub and AWS did not answer in time",
            "check the network and HTTPS_PROXY, or raise AWS_ECR_TIMEOUT",
        ),
        _ => Failure::new(
            Code::Timeout,
            format!("{pending} did not answer in time"),
            "check the network, HTTPS_PROXY and a VPC endpoint if there is one, or raise AWS_ECR_TIMEOUT",
        ),
    }
}
