//! This process: standard streams, signals, core dumps, threads.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread::{JoinHandle, Scope};

#[cfg(unix)]
use rustix::process::Signal;

/// Disables core dumps, and access to this process's memory by other processes of the same user. Linux only.
pub fn disable_core_dumps() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
}

/// Prevents children from inheriting the standard streams of this process by accident. On Windows, every child inherits
/// every inheritable handle, and a client reads until the last process has closed standard output, so it would wait for a
/// slow `credential_process`. Other systems need no such step.
pub fn keep_streams() {
    #[cfg(windows)]
    {
        use filedescriptor::{FileDescriptor, StdioDescriptor};
        use std::os::windows::io::AsRawHandle;
        let (output, error) = (io::stdout(), io::stderr());
        let is_shared = output.as_raw_handle() == error.as_raw_handle();
        // Replaces each stream by a copy that is not inherited. The originals stay open until both are copied, since they
        // may be the same.
        let original_output = FileDescriptor::redirect_stdio(&output, StdioDescriptor::Stdout);
        let original_error = FileDescriptor::redirect_stdio(&error, StdioDescriptor::Stderr);
        if is_shared {
            std::mem::forget(original_error);
        }
        drop(original_output);
    }
}

/// Calls `stop`, once and in another thread, on SIGTERM or SIGINT, on Windows on Ctrl-C. Without a handler, a process with
/// the id 1, e.g. in a container, would ignore SIGTERM. SIGHUP ends a process without a handler. A signal that this process was
/// started to ignore stays ignored.
pub fn on_stop_signal(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[cfg(unix)]
    {
        unblock(&[Signal::HUP]);
        let signals = [Signal::TERM, Signal::INT];
        on_signal(&heeded(&signals).unwrap_or(signals.to_vec()), |_| stop())
    }
    #[cfg(not(unix))]
    in_thread(
        || {
            let mut interrupt = tokio::signal::windows::ctrl_c()?;
            Ok(async move { interrupt.recv().await })
        },
        |_| stop(),
    )
}

/// Calls `act`, once and in another thread, with the first of these signals that comes, except those for which this was called before.
#[cfg(unix)]
pub(super) fn on_signal(signals: &[Signal], act: impl FnOnce(Signal) + Send + 'static) -> io::Result<()> {
    use std::task::Poll;
    use tokio::signal::unix::{SignalKind, signal};
    static TAKEN: Mutex<Vec<Signal>> = Mutex::new(Vec::new());
    unblock(signals);
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let new: Vec<Signal> = signals.iter().copied().filter(|signal| !taken.contains(signal)).collect();
    if new.is_empty() {
        return Ok(());
    }
    taken.extend(&new);
    let listen = move || {
        let listen_to = |one: Signal| Ok((one, signal(SignalKind::from_raw(one.as_raw()))?));
        let mut all = new.into_iter().map(listen_to).collect::<io::Result<Vec<_>>>()?;
        Ok(std::future::poll_fn(move |context| {
            let came = all.iter_mut().find_map(|(one, signal)| signal.poll_recv(context).is_ready().then_some(*one));
            came.map_or(Poll::Pending, Poll::Ready)
        }))
    };
    in_thread(listen, act)
}

/// Lets these signals come to this thread, and to the threads and programs that it starts: a process has those blocked that the one
/// that started it had.
#[cfg(unix)]
fn unblock(signals: &[Signal]) {
    use nix::sys::signal;
    let signals: signal::SigSet =
        signals.iter().filter_map(|one| signal::Signal::try_from(one.as_raw()).ok()).collect();
    let _ = signals.thread_unblock();
}

/// Calls `act` in another thread when what `listen` returns has come.
fn in_thread<F: Future + Send + 'static>(
    listen: impl FnOnce() -> io::Result<F>,
    act: impl FnOnce(F::Output) + Send + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let asked = {
        // Listens from here on, before the caller starts work that must not be interrupted.
        let _inside = runtime.enter();
        listen()?
    };
    spawn_thread(move || act(runtime.block_on(asked)))?;
    Ok(())
}

/// Those of these signals that this process was not started to ignore, e.g. by nohup or as a background job of a script; `None` where
/// the system does not tell.
#[cfg(unix)]
pub(super) fn heeded(signals: &[Signal]) -> Option<Vec<Signal>> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok())?;
    Some(signals.iter().copied().filter(|signal| ignored >> (signal.as_raw() - 1) & 1 == 0).collect())
}

/// The stack of a thread. Set for each, since otherwise `RUST_MIN_STACK` sets it, and with a small one the process would abort.
pub const STACK: usize = 2 * 1024 * 1024;

/// Starts a thread.
pub fn spawn_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().stack_size(STACK).spawn(work)
}

/// Starts a thread that moves bytes and needs little stack: each program has two.
pub(super) fn spawn_reader(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().stack_size(STACK / 8).spawn(work).map(drop)
}

/// Starts a thread of a scope.
pub fn spawn_scoped<'scope>(scope: &'scope Scope<'scope, '_>, work: impl FnOnce() + Send + 'scope) -> io::Result<()> {
    std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).map(drop)
}

/// Does the work on a stack of a known size, whatever `ulimit -s` leaves the first thread, and here where no thread can be started.
pub fn with_enough_stack<T: Send>(work: impl Fn() -> T + Sync) -> T {
    let done = Mutex::new(None);
    let work_there = || *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(work());
    let _ = std::thread::scope(|scope| spawn_scoped(scope, work_there));
    done.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(work)
}

/// The threads that [`for_each`] may start, in all calls together: their stacks, and the programs that they wait for, fit into
/// 64 MiB of memory.
static SPARE_THREADS: AtomicUsize = AtomicUsize::new(3);

/// Does the work for each item: in this thread, and in others while there are some to spare.
pub fn for_each<T: Send>(items: Vec<T>, work: impl Fn(T) + Sync) {
    let mut items = items.into_iter();
    let Some(own) = items.next() else { return };
    let items = Mutex::new(items);
    let left = || items.lock().unwrap_or_else(PoisonError::into_inner);
    let work_off = || {
        let next = || left().next();
        std::iter::from_fn(next).for_each(&work);
    };
    std::thread::scope(|scope| {
        let one_less = |spare: usize| spare.checked_sub(1);
        while left().len() > 0 && SPARE_THREADS.fetch_update(Relaxed, Relaxed, one_less).is_ok() {
            let work_off_and_end = || {
                work_off();
                SPARE_THREADS.fetch_add(1, Relaxed);
            };
            if spawn_scoped(scope, work_off_and_end).is_err() {
                SPARE_THREADS.fetch_add(1, Relaxed);
                break;
            }
        }
        work(own);
        work_off();
    });
}

/// Makes a write beyond the limit on file sizes fail instead of ending the process. Call it before a file is written, not at
/// the start, since it costs system calls.
pub fn survive_file_size_limit() {
    // Any handler of the signal is enough: the write then fails with EFBIG (setrlimit(2)).
    #[cfg(unix)]
    handle(Signal::XFSZ);
}

/// Lets this process learn how its children end, even if it was started to ignore the signal: then the system would forget them at
/// once (waitpid(2)). Call it before a child is started.
pub fn notice_children() {
    #[cfg(unix)]
    handle(Signal::CHILD);
}

/// Has a handler for a signal, which does nothing.
#[cfg(unix)]
fn handle(signal: Signal) {
    let _ = signal_hook::flag::register(signal.as_raw(), std::sync::Arc::default());
}

/// Ends this process, whose output is written, with an exit code. On Unix at once: what Rust does at the end for its stacks takes system
/// calls. Elsewhere the caller has to return the result.
pub fn end(code: u8) -> ExitCode {
    #[cfg(unix)]
    signal_hook::low_level::exit(code.into());
    #[cfg(not(unix))]
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::{AtomicUsize, Relaxed, SPARE_THREADS, for_each};

    #[test]
    fn each_item_is_done_once_and_the_threads_for_them_are_given_back() {
        let (spare, done) = (SPARE_THREADS.load(Relaxed), AtomicUsize::new(0));
        let count = |_| {
            done.fetch_add(1, Relaxed);
        };
        for_each((0..50).collect(), |_| for_each((0..50).collect(), count));
        assert_eq!((done.load(Relaxed), SPARE_THREADS.load(Relaxed)), (2500, spare));
    }
}
