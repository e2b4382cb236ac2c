//! Runs one piece of asynchronous work in a thread and a runtime of its own, under one deadline.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::code::Code;
use crate::error::Failure;
use crate::identity::{Identity, IdentityToken, Source, WebIdentity};
use crate::platform;

/// How long after the deadline the caller still waits for the worker to report the timeout itself.
pub(super) const GRACE: Duration = Duration::from_millis(200);

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

/// Runs `work` until `deadline` at the latest. The caller returns then even when the worker is blocked in a system call.
pub(super) fn run<T: Send + 'static>(
    deadline: Instant,
    identity: &Identity,
    pending: &PendingRequest,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    let (send, receive) = mpsc::sync_channel(1);
    let left = || deadline.saturating_duration_since(Instant::now());
    let budget = left();
    let worker = platform::spawn_thread(move || {
        let runtime =
            match tokio::runtime::Builder::new_current_thread().thread_stack_size(platform::STACK).enable_all().build()
            {
                Ok(runtime) => runtime,
                Err(error) => return send.send(Some(Err(cannot_start(&error)))),
            };
        let answer = runtime.block_on(async { tokio::time::timeout(budget, work).await });
        let sent = send.send(answer.ok());
        runtime.shutdown_background();
        sent
    });
    match worker {
        Ok(_) => receive
            .recv_timeout(left() + GRACE)
            .ok()
            .flatten()
            .unwrap_or_else(|| Err(timed_out(identity.source(), pending))),
        Err(error) => Err(cannot_start(&error)),
    }
}

fn cannot_start(error: &io::Error) -> Failure {
    Failure::new(
        Code::SystemLimits,
        format!("cannot start a thread or runtime for the request to AWS: {error}"),
        "raise the limits on processes and open files ('ulimit -u', 'ulimit -n')",
    )
}

/// The failure when the time is over.
pub(super) fn timed_out(source: &Source, pending: &PendingRequest) -> Failure {
    match source {
        Source::WebIdentity(WebIdentity { token: IdentityToken::GitHub(_), .. }) => Failure::new(
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
