//! The one thread with the one runtime that runs every step of an exchange.
//!
//! The caller of a step returns at its deadline, even when the worker is blocked in a system call, such as a read from a file
//! system that hangs. The worker starts with the first step and ends when nobody can send it another one.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::http::LastRequest;
use crate::code::Code;
use crate::error::Failure;
use crate::platform;

/// How long after the deadline the caller still waits for the worker to report the timeout itself.
pub(super) const GRACE: Duration = Duration::from_millis(200);

/// The time that an answer may take whose lack is to be reported by the request itself.
pub(super) fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).saturating_sub(GRACE)
}

/// A worker. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Worker(Arc<Mutex<Option<UnboundedSender<Step>>>>);

type Step = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Worker {
    /// Runs a step until `deadline` at the latest.
    pub(super) fn run<T: Send + 'static>(
        &self,
        last: &LastRequest,
        deadline: Instant,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let left = || deadline.saturating_duration_since(Instant::now());
        let (send, receive) = mpsc::sync_channel(1);
        let budget = left();
        let step = async move {
            // The caller may have left.
            let _ = send.send(tokio::time::timeout(budget, work).await.ok());
        };
        let sent = self.steps()?.send(Box::pin(step)).is_ok();
        let answer = if sent { receive.recv_timeout(left() + GRACE).ok().flatten() } else { None };
        let result = answer.unwrap_or_else(|| Err(last.timed_out()));
        result.map_err(|failure| Failure {
            what: last.without_tokens(failure.what),
            quote: failure.quote.map(|quote| last.without_tokens(quote)),
            ..failure
        })
    }

    /// Where the worker takes its steps from.
    fn steps(&self) -> Result<UnboundedSender<Step>, Failure> {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(steps) = &*steps {
            return Ok(steps.clone());
        }
        Ok(steps.insert(start().map_err(|error| cannot_start(&error))?).clone())
    }
}

fn start() -> io::Result<UnboundedSender<Step>> {
    let (steps, mut queue) = unbounded_channel();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.thread_stack_size(platform::STACK).enable_all().build()?;
    platform::spawn_thread(move || {
        runtime.block_on(async {
            while let Some(step) = queue.recv().await {
                tokio::spawn(step);
            }
        });
        runtime.shutdown_background();
    })?;
    Ok(steps)
}

fn cannot_start(error: &io::Error) -> Failure {
    Failure::new(
        Code::SystemLimits,
        format!("cannot start a thread or runtime for the request to AWS: {error}"),
        "raise the limits on processes, open files and memory ('ulimit -u', 'ulimit -n', 'ulimit -v', 'ulimit -d')",
    )
}
