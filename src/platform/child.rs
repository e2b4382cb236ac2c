//! Runs another program, such as a `credential_process` or a fallback helper, under limits of time and of output.
//!
//! What the program prints is read up to [`LONGEST_OUTPUT`], and its standard error is passed on as it comes if the caller asks for
//! that. Its standard input is closed, or has the input that the caller gives.
//! It stays in the session and process group of the helper, so that it may ask a person at the terminal (`/dev/tty`).
//!
//! When the program exceeds a limit, it is killed together with its descendants, and nothing else: other children of this process
//! may be older than the helper, e.g. those of an entrypoint that started them before it became the helper, and as process 1 of a
//! container the helper adopts every orphan. On Linux, a descendant has the program among its ancestors, or the program's mark in its
//! environment, which it keeps when its parent ends. Where /proc is missing or is that of other processes, the program gets a process
//! group of its own, which is killed. On Windows, a job object holds the program and its descendants. On macOS the program alone is
//! killed.

use std::fmt;
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::spawn_thread;

/// How much of each stream is read, in bytes. A list of a thousand registries has a tenth of it.
pub const LONGEST_OUTPUT: usize = 1024 * 1024;

/// Begins the name of the variable that marks a program and its descendants. The rest of the name differs for each program, so
/// that a program that calls the helper again keeps its mark.
pub const MARK: &str = "DOCKER_CREDENTIAL_ECR_LOGIN_CHILD_";

/// How often the descendants are looked for, since one may start another meanwhile, and their end.
const MOST_ROUNDS: usize = 20;

/// The longest pause between two checks whether the program has ended, after the end of its output.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// How long the end of a relayed standard error is waited for once the program has ended: a daemon that it leaves behind may hold it.
const LINGER: Duration = Duration::from_millis(100);

/// Gets standard error piece by piece.
pub type Relay = Box<dyn FnMut(&[u8]) + Send>;

/// What a program printed, and how it ended.
pub struct Finished {
    /// Its standard output.
    pub output: Zeroizing<Vec<u8>>,
    /// Its standard error; empty if it is relayed and a process that the program left behind holds it open.
    pub errors: Zeroizing<Vec<u8>>,
    /// Its exit code, or the signal that ended it.
    pub status: ExitStatus,
}

/// Why a program gave no answer.
#[derive(Debug)]
pub enum ChildError {
    /// It cannot be started.
    NotStarted(io::Error),
    /// It did not end in time, and was killed.
    TimedOut,
    /// It printed more than [`LONGEST_OUTPUT`] to this stream, and was killed.
    TooMuchOutput(&'static str),
    /// Its output or its end cannot be read.
    Unreadable(io::Error),
}

impl fmt::Display for ChildError {
    /// Completes a sentence that begins with the name of the program.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => write!(f, "cannot be started: {error}"),
            Self::TimedOut => f.write_str("did not answer in time and was stopped"),
            Self::TooMuchOutput(stream) => write!(f, "printed more than 1 MiB on {stream}, the limit, and was stopped"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// Runs `command` with `input` until `deadline` at the latest, and passes its standard error to `relay` as it comes.
pub fn run_child(
    mut command: Command,
    input: Option<Zeroizing<Vec<u8>>>,
    relay: Option<Relay>,
    deadline: Instant,
) -> Result<Finished, ChildError> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut child, mark) = Running::start(&mut command).map_err(ChildError::NotStarted)?;
    let finished = converse(&mut child, &mark, input, relay, deadline);
    if finished.is_err() {
        running().iter_mut().filter(|running| running.mark == mark).for_each(kill_family);
        // Where the former finds no process, and to leave no zombie.
        let _ = child.kill();
        for _ in 0..MOST_ROUNDS {
            if !matches!(child.try_wait(), Ok(None)) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    running().retain(|running| running.mark != mark);
    #[cfg(target_os = "linux")]
    reap_orphans();
    finished
}

/// A stream of the program that was read to its end or to the limit.
struct Printed {
    name: &'static str,
    bytes: io::Result<Zeroizing<Vec<u8>>>,
}

fn converse(
    child: &mut Child,
    mark: &str,
    input: Option<Zeroizing<Vec<u8>>>,
    relay: Option<Relay>,
    deadline: Instant,
) -> Result<Finished, ChildError> {
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A failed write is no error: the program may answer without reading all of its input.
        let _ = spawn_thread(move || stdin.write_all(&input)).map_err(ChildError::Unreadable)?;
    }
    let (sender, receiver) = mpsc::channel();
    let is_relayed = relay.is_some();
    read(child.stdout.take(), OUTPUT, None, &sender)?;
    read(child.stderr.take(), ERRORS, relay, &sender)?;
    // The channel ends with the last reader.
    drop(sender);
    let (mut output, mut errors) = (None, None);
    let mut ended: Option<(ExitStatus, Instant)> = None;
    let mut pause = Duration::from_millis(1);
    loop {
        let now = Instant::now();
        let is_read = output.is_some() && (errors.is_some() || is_relayed);
        if is_read && ended.is_none() {
            let status = try_wait(child, mark).map_err(ChildError::Unreadable)?;
            ended = status.map(|status| (status, deadline.min(now + LINGER)));
        }
        let wait = match ended {
            Some((status, until)) if errors.is_some() || now >= until => {
                return Ok(Finished { output: output.unwrap_or_default(), errors: errors.unwrap_or_default(), status });
            }
            Some((_, until)) => until - now,
            None if now >= deadline => return Err(ChildError::TimedOut),
            None if is_read => pause,
            None => deadline - now,
        };
        match receiver.recv_timeout(wait) {
            Ok(Printed { name, bytes }) => {
                let bytes = bytes.map_err(ChildError::Unreadable)?;
                if bytes.len() > LONGEST_OUTPUT {
                    return Err(ChildError::TooMuchOutput(name));
                }
                *(if name == OUTPUT { &mut output } else { &mut errors }) = Some(bytes);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => pause = (pause * 2).min(LONGEST_PAUSE),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                thread::sleep(wait);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

const OUTPUT: &str = "standard output";
const ERRORS: &str = "standard error";

/// Reads a stream in a thread of its own, since any of them may block.
fn read(
    stream: Option<impl Read + Send + 'static>,
    name: &'static str,
    mut relay: Option<Relay>,
    sender: &mpsc::Sender<Printed>,
) -> Result<(), ChildError> {
    let (Some(mut stream), sender) = (stream, sender.clone()) else { return Ok(()) };
    let read = move || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
        let mut piece = Zeroizing::new([0; 8 * 1024]);
        let end = loop {
            match stream.read(&mut *piece) {
                Ok(0) => break Ok(()),
                Ok(length) => {
                    bytes.extend_from_slice(&piece[..length]);
                    if let Some(relay) = &mut relay {
                        relay(&piece[..length]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if bytes.len() > LONGEST_OUTPUT {
                break Ok(());
            }
        };
        sender.send(Printed { name, bytes: end.map(|()| bytes) })
    };
    spawn_thread(read).map(drop).map_err(ChildError::Unreadable)
}

/// A program that runs now.
struct Running {
    #[cfg_attr(windows, expect(dead_code, reason = "the job has the program"))]
    pid: u32,
    mark: String,
    /// Whether it leads a process group.
    #[cfg(target_os = "linux")]
    has_group: bool,
    #[cfg(windows)]
    job: Option<win32job::Job>,
}

/// The programs that run now.
static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

/// How many programs were started.
static STARTED: AtomicU64 = AtomicU64::new(0);

fn running() -> MutexGuard<'static, Vec<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills the programs that run now, with their descendants, since they would outlive this process.
pub fn kill_children() {
    running().iter_mut().for_each(kill_family);
}

impl Running {
    /// Starts a program, and returns its mark.
    fn start(command: &mut Command) -> io::Result<(Child, String)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{MARK}{}_{now}_{number}", std::process::id());
        // Held until the program is in the list, where a signal's handler finds it.
        let mut all = running();
        #[cfg(target_os = "linux")]
        let has_group = !shows_processes();
        #[cfg(target_os = "linux")]
        if has_group {
            std::os::unix::process::CommandExt::process_group(command, 0);
        }
        let child = command.env(&mark, "1").spawn()?;
        all.push(Self {
            pid: child.id(),
            mark: mark.clone(),
            #[cfg(target_os = "linux")]
            has_group,
            #[cfg(windows)]
            job: job_of(&child),
        });
        Ok((child, mark))
    }
}

/// The status of the program if it has ended. Another process may have its id from then on.
fn try_wait(child: &mut Child, mark: &str) -> io::Result<Option<ExitStatus>> {
    let mut all = running();
    let status = child.try_wait()?;
    if status.is_some() {
        all.retain(|running| running.mark != mark);
    }
    Ok(status)
}

#[cfg(target_os = "linux")]
fn kill_family(running: &mut Running) {
    use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};
    let pid = |pid: u32| i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(root) = pid(running.pid) else { return };
    if running.has_group {
        let _ = kill_process_group(root, Signal::KILL);
        return;
    }
    let mut killed = std::collections::BTreeSet::new();
    for _ in 0..MOST_ROUNDS {
        let family = family(running.pid, &running.mark);
        let is_killed = |pid: &Pid| kill_process(*pid, Signal::KILL).is_ok();
        let now: Vec<Pid> = family.into_iter().filter_map(pid).filter(is_killed).collect();
        if now.is_empty() {
            break;
        }
        killed.extend(now.iter().map(|pid| pid.as_raw_nonzero()));
        thread::sleep(Duration::from_millis(1));
    }
    // As process 1 of a container, this process has become the parent of those whose own parent was killed. Whoever started the
    // program itself waits for it.
    for pid in killed.into_iter().filter_map(|pid| Pid::from_raw(pid.get())).filter(|pid| *pid != root) {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// As process 1 of a container, this process is the parent of what others left behind, and nobody else waits for its end.
#[cfg(target_os = "linux")]
fn reap_orphans() {
    use rustix::process::{Pid, WaitOptions, waitpid};
    let own = std::process::id();
    if own != 1 {
        return;
    }
    // Held, so that no program starts meanwhile: whoever starts it waits for it.
    let running = running();
    let is_orphan = |process: &Process| {
        process.has_ended && process.parent == own && running.iter().all(|running| running.pid != process.pid)
    };
    for orphan in processes().iter().filter(|process| is_orphan(process)) {
        let pid = i32::try_from(orphan.pid).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
    }
}

/// Whether /proc shows the processes of this process's namespace.
#[cfg(target_os = "linux")]
fn shows_processes() -> bool {
    std::fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() == std::process::id().to_string().as_str())
}

#[cfg(windows)]
fn kill_family(running: &mut Running) {
    // The job ends its processes when it is closed.
    drop(running.job.take());
}

#[cfg(not(any(target_os = "linux", windows)))]
fn kill_family(running: &mut Running) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = i32::try_from(running.pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// A job object with the program, which ends all its processes when it is closed while it has this limit.
#[cfg(windows)]
fn job_of(child: &Child) -> Option<win32job::Job> {
    use std::os::windows::io::AsRawHandle;
    let job = win32job::Job::create().ok()?;
    job.assign_process(child.as_raw_handle() as isize).ok()?;
    let mut limits = win32job::ExtendedLimitInfo::new();
    job.set_extended_limit_info(limits.limit_kill_on_job_close()).ok()?;
    Some(job)
}

/// A program that ends by itself may leave processes behind.
#[cfg(windows)]
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            let _ = job.set_extended_limit_info(&win32job::ExtendedLimitInfo::new());
        }
    }
}

/// A process and its parent.
#[cfg(target_os = "linux")]
struct Process {
    pid: u32,
    parent: u32,
    /// Whether it waits for its parent to take notice.
    has_ended: bool,
}

/// The process `root` and its descendants, without those that have ended and wait for their parents: children of children, and
/// processes with the mark.
#[cfg(target_os = "linux")]
fn family(root: u32, mark: &str) -> Vec<u32> {
    let all: Vec<Process> = processes().into_iter().filter(|process| !process.has_ended).collect();
    let marked = |process: &&Process| has_mark(process.pid, mark);
    let mut family: Vec<u32> = all.iter().filter(marked).map(|process| process.pid).collect();
    family.extend(all.iter().map(|process| process.pid).find(|pid| *pid == root && !family.contains(pid)));
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        let children = all.iter().filter(|process| process.parent == parent).map(|process| process.pid);
        let new: Vec<u32> = children.filter(|pid| !family.contains(pid)).collect();
        family.extend(new);
        next += 1;
    }
    family
}

/// Every process.
#[cfg(target_os = "linux")]
fn processes() -> Vec<Process> {
    let directories = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let process = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read(entry.path().join("stat")).ok()?;
        // "pid (name) state parent …", where the name may contain any byte, even parentheses.
        let stat = String::from_utf8_lossy(&stat);
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
        Some(Process { pid, parent, has_ended: matches!(state, "Z" | "X") })
    };
    directories.filter_map(process).collect()
}

/// Whether the environment that the process began with has the mark.
#[cfg(target_os = "linux")]
fn has_mark(pid: u32, mark: &str) -> bool {
    let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")).map(Zeroizing::new) else { return false };
    let named = |variable: &[u8]| variable.strip_prefix(mark.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    environment.split(|byte| *byte == 0).any(named)
}
