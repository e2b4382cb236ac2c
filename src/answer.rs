//! Prints exactly one answer of the process, even after a panic.
//!
//! A thread that panics while another prints the answer must not add a second line, and must not hold a lock that the other
//! waits for. The first thread that prints is the only one: it also ends the process, and every other thread blocks.
//!
//! A failure of an action goes to standard output, as the protocol requires, and to standard error: docker up to 28.2, oras-py and
//! the devcontainers CLI drop the former and show the latter. The line that means "not found" goes to standard output alone, since
//! it is no failure to the user. On a terminal, which shows both, each line goes to standard error alone.

use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};

use serde::Serialize;
use zeroize::Zeroizing;

use crate::code::Code;
use crate::error::{Error, Failure, system_limit};

/// Whether failures go to standard output too.
static PROTOCOL: AtomicBool = AtomicBool::new(false);

/// The thread that prints the answer.
static ANSWERING: Mutex<Option<ThreadId>> = Mutex::new(None);

/// The answer to print after a panic.
static ON_PANIC: Mutex<Option<Zeroizing<Vec<u8>>>> = Mutex::new(None);

/// Sets the answer to print if the search for a better one panics.
pub fn set_answer_on_panic(answer: Zeroizing<Vec<u8>>) {
    *ON_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
}

/// Makes later failures go to standard output too, as the protocol requires.
pub fn fail_on_both_streams() {
    PROTOCOL.store(true, Ordering::Relaxed);
}

/// Makes later failures go to standard error alone.
pub fn fail_on_standard_error() {
    PROTOCOL.store(false, Ordering::Relaxed);
}

/// Standard output, for the first thread that writes to it.
pub struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        block_unless_first();
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// An answer in JSON, on a line.
pub fn line(answer: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Error> {
    // Large enough, since growing would leave copies of a password in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
    serde_json::to_writer(&mut *bytes, answer).map_err(|error| Error::unanswered(&error.into()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Prints a failure. Ignores closed streams.
pub fn fail(error: &Error) {
    block_unless_first();
    let protocol = PROTOCOL.load(Ordering::Relaxed);
    // On a terminal the user sees both streams.
    let once = io::stdout().is_terminal() && io::stderr().is_terminal();
    if protocol && !once {
        let _ = writeln!(io::stdout(), "{error}");
    }
    if matches!(error, Error::ReaderGone) {
        return;
    }
    if !protocol || once || !matches!(error, Error::NotFound) {
        let _ = writeln!(io::stderr(), "{error}");
    }
}

/// Makes a panic in any thread end the process with one line.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let answer = ON_PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(answer) = answer
            && Output.write_all(&answer).and_then(|()| Output.flush()).is_ok()
        {
            std::process::exit(0);
        }
        fail(&describe(panic));
        std::process::exit(1);
    }));
}

fn block_unless_first() {
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

/// Describes a panic by its location, or by the system's limit that caused it. The text of the panic may hold data.
fn describe(panic: &PanicHookInfo) -> Error {
    let text = panic.payload_as_str().unwrap_or_default();
    if let Some(failure) = system_limit(text) {
        return failure.into();
    }
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    Failure::usual(Code::Internal, format!("internal error at {location}")).into()
}
