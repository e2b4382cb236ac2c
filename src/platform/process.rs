//! This process and its children: standard streams, signals, core dumps, and the end of child processes.

use std::io::{self, Read};
#[cfg(windows)]
use std::sync::LazyLock;
use std::time::Instant;

/// Standard input with a deadline. A read that does not end by then fails with the kind `TimedOut`.
pub struct StandardInput {
    deadline: Instant,
    #[cfg(not(unix))]
    whole: Option<io::Cursor<zeroize::Zeroizing<Vec<u8>>>>,
}

impl StandardInput {
    /// Standard input until `deadline`.
    pub fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            #[cfg(not(unix))]
            whole: None,
        }
    }
}

#[cfg(unix)]
impl Read for StandardInput {
    /// Reads without the buffer of the standard library, which poll(2) cannot see.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::io::Errno;
        let input = io::stdin();
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(rustix::io::read(&input, buffer)?),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(not(unix))]
impl Read for StandardInput {
    /// The first read starts a thread that reads everything: Windows cannot wait for every kind of input.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.whole.is_none() {
            let (send, receive) = std::sync::mpsc::sync_channel(1);
            let read = move || {
                let mut bytes = zeroize::Zeroizing::new(Vec::new());
                let read = io::stdin().lock().read_to_end(&mut bytes);
                send.send(read.map(|_| bytes))
            };
            std::thread::Builder::new().spawn(read)?;
            let left = self.deadline.saturating_duration_since(Instant::now());
            let bytes = receive.recv_timeout(left).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            self.whole = Some(io::Cursor::new(bytes));
        }
        self.whole.as_mut().map_or(Ok(0), |whole| io::Read::read(whole, buffer))
    }
}

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

/// Makes [`kill_descendants`] find the processes that are started from now on. Linux does not need it.
pub fn gather_descendants() {
    #[cfg(windows)]
    LazyLock::force(&JOB);
}

/// The job object of this process and its children. It is closed with the process.
#[cfg(windows)]
static JOB: LazyLock<Option<win32job::Job>> = LazyLock::new(|| {
    let job = win32job::Job::create().ok()?;
    job.assign_current_process().ok()?;
    Some(job)
});

/// Calls `stop`, once and in another thread, on SIGTERM or SIGINT, on Windows on Ctrl-C. Without a handler, a process with
/// the id 1, e.g. in a container, would ignore SIGTERM.
pub fn on_stop_signal(stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let asked = {
        // Listens from here on, before the caller starts work that must not be interrupted.
        let _inside = runtime.enter();
        stop_signals()?
    };
    let wait = move || {
        runtime.block_on(asked);
        stop();
    };
    std::thread::Builder::new().spawn(wait)?;
    Ok(())
}

#[cfg(unix)]
fn stop_signals() -> io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signals() -> io::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

/// Kills all descendants of this process, e.g. a `credential_process` that exceeds the deadline. Returns whether there were
/// any. Linux lists them in /proc, including those behind shells. Windows ends those that were started after
/// [`gather_descendants`] when this process ends. On macOS they are not killed.
pub fn kill_descendants() -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Pid, Signal, kill_process};
        let mut killed = false;
        let mut family = vec![std::process::id()];
        let parents = parents();
        while let Some(parent) = family.pop() {
            for (child, _) in parents.iter().filter(|(_, of)| *of == parent) {
                family.push(*child);
                let pid = i32::try_from(*child).ok().and_then(Pid::from_raw);
                killed |= pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
            }
        }
        killed
    }
    #[cfg(windows)]
    {
        let Some(job) = &*JOB else { return false };
        let others = job.query_process_id_list().is_ok_and(|pids| pids.len() > 1);
        let mut limits = win32job::ExtendedLimitInfo::new();
        others && job.set_extended_limit_info(limits.limit_kill_on_job_close()).is_ok()
    }
    #[cfg(not(any(target_os = "linux", windows)))]
    false
}

/// Every process with its parent.
#[cfg(target_os = "linux")]
fn parents() -> Vec<(u32, u32)> {
    let directories = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parent = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // "pid (name) state parent …", where the name may contain any character, even parentheses.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    };
    directories.filter_map(parent).collect()
}

/// Makes a write beyond the limit on file sizes fail instead of ending the process. Call it before a file is written, not at
/// the start, since it costs system calls.
pub fn survive_file_size_limit() {
    #[cfg(unix)]
    {
        use std::sync::Arc;
        use std::sync::atomic::AtomicBool;
        // Any handler of the signal is enough: the write then fails with EFBIG (setrlimit(2)).
        let _ = signal_hook::flag::register(rustix::process::Signal::XFSZ.as_raw(), Arc::new(AtomicBool::new(false)));
    }
}
