//! The one answer of the process, and who gives it.
//!
//! An answer of the protocol is one, whatever happens: a thread that panics while another is answering must not add a second
//! line, and nobody may wait for a lock that a panicking thread holds. The first thread that wants to answer does, and ends
//! the process; every other one stands still from then on.
//!
//! A failure goes to standard output, where the protocol has it, and to standard error too: docker up to 28.2, oras-py and
//! the devcontainers CLI drop the former and show the latter. Not so the sentence that means "not found": there nobody
//! waits for an explanation.

use std::any::Any;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};

use zeroize::Zeroizing;

use crate::error::Error;

/// Whether the answer belongs to standard output, as the protocol's does.
static PROTOCOL: AtomicBool = AtomicBool::new(false);

/// The thread that answers.
static ANSWERING: Mutex<Option<ThreadId>> = Mutex::new(None);

/// What is answered instead of a panic.
static IN_HAND: Mutex<Option<Zeroizing<Vec<u8>>>> = Mutex::new(None);

/// Keeps a valid answer for the case that the attempt at a better one panics.
pub fn hold(answer: Zeroizing<Vec<u8>>) {
    *IN_HAND.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
}

/// From now on a failure belongs to standard output too.
pub fn by_protocol() {
    PROTOCOL.store(true, Ordering::Relaxed);
}

/// From now on a failure belongs to standard error alone.
pub fn by_standard_error() {
    PROTOCOL.store(false, Ordering::Relaxed);
}

/// Standard output, for the thread that is the first to answer.
pub struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wait_for_ever_unless_first();
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Prints a failure. That nobody may be left to read it is no reason to fail in another way.
pub fn fail(error: &Error) {
    wait_for_ever_unless_first();
    let protocol = PROTOCOL.load(Ordering::Relaxed);
    if protocol {
        let _ = writeln!(io::stdout(), "{error}");
    }
    if !protocol || !matches!(error, Error::NotFound) {
        let _ = writeln!(io::stderr(), "{error}");
    }
}

/// Has a panic, in any thread, end the process with one line.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let in_hand = IN_HAND.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(answer) = in_hand
            && Output.write_all(&answer).and_then(|()| Output.flush()).is_ok()
        {
            std::process::exit(0);
        }
        fail(&Error::failed(explain(panic)));
        std::process::exit(1);
    }));
}

fn wait_for_ever_unless_first() {
    let first = {
        let mut answering = ANSWERING.lock().unwrap_or_else(PoisonError::into_inner);
        *answering.get_or_insert_with(|| thread::current().id()) == thread::current().id()
    };
    if !first {
        loop {
            thread::park();
        }
    }
}

/// The place, and what the system lacks, if that is it. A panic's own text may hold data.
fn explain(panic: &PanicHookInfo) -> String {
    let text = text(panic.payload());
    for (sign, lack) in [
        ("Too many open files", "too many open files; raise the limit ('ulimit -n'), or close some"),
        (
            "Resource temporarily unavailable",
            "no more threads or processes can be started; raise the limit ('ulimit -u')",
        ),
        ("Cannot allocate memory", "out of memory"),
    ] {
        if text.contains(sign) {
            return format!("the system refuses what is needed: {lack}");
        }
    }
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    format!("internal error at {place}; please report it")
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default()
}
