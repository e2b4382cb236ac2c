//! A program with its descendants, which is killed together, and nothing else: other children of this process may be older than the
//! helper, e.g. those of an entrypoint that started them before it became the helper, and as process 1 of a container the helper
//! adopts every orphan.
//!
//! On Linux, a descendant has the program among its ancestors, or the program's mark in its environment, which it keeps when its
//! parent ends. Where /proc is missing or is that of other processes, the program gets a process group of its own, which is killed.
//! On Windows, a job object holds the program and its descendants. On macOS the program alone is killed.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};
#[cfg(target_os = "linux")]
use rustix::process::{WaitOptions, waitpid};

use super::process::notice_children;
#[cfg(unix)]
use super::process::{heeded, on_signal};
use super::random;

/// Begins the name of the variable that marks a program and its descendants. The rest of the name differs for each program, so
/// that a program that calls the helper again keeps its mark.
pub const MARK: &str = "DOCKER_CREDENTIAL_ECR_LOGIN_CHILD_";

/// How often the descendants are looked for, since one may start another meanwhile, and their end.
pub(super) const MOST_ROUNDS: usize = 20;
/// For one look at the processes of the machine.
#[cfg(target_os = "linux")]
const LONGEST_LOOK: std::time::Duration = std::time::Duration::from_millis(100);
/// For ending a program with its descendants: less than what is left after its deadline.
#[cfg(target_os = "linux")]
const LONGEST_CHASE: std::time::Duration = std::time::Duration::from_millis(50);

/// A program that runs now.
struct Running {
    #[cfg(unix)]
    pid: Pid,
    mark: String,
    /// Whether it leads a process group.
    #[cfg(target_os = "linux")]
    has_group: bool,
    #[cfg(windows)]
    job: Option<win32job::Job>,
}

/// The programs that run now.
static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<Running>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills the programs that run now, with their descendants, since they would outlive this process, which `end` ends. Meanwhile no
/// other thread notices that a program has ended, and says that it failed.
pub fn end_with_children(end: impl FnOnce()) {
    let mut all = running();
    all.iter_mut().for_each(Running::kill);
    end();
}

/// Has a signal that ends this process end the programs too.
#[cfg(unix)]
fn listen() {
    // All that end a process and that no fault of its own sends: a supervisor or a limit does.
    let signals = heeded(&[
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::ABORT,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::TERM,
        Signal::XCPU,
        Signal::VTALARM,
        Signal::PROF,
    ]);
    let end = |signal: Signal| {
        if !running().is_empty() {
            // A terminal sends the signal to its programs too. They get a moment, e.g. to show again what is typed.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        end_with_children(|| {
            // As process 1, a process cannot end by such a signal.
            if rustix::process::getpid() != Pid::INIT {
                let _ = signal_hook::low_level::emulate_default_handler(signal.as_raw());
            }
            std::process::exit(128 + signal.as_raw());
        });
    };
    // Without it, the programs end by themselves.
    let _ = on_signal(&signals, end);
}

/// A program that was started, with its descendants, by its mark.
pub(super) struct Family(String);

impl Family {
    /// Starts a program.
    pub(super) fn start(command: &mut Command) -> io::Result<(Child, Self)> {
        #[cfg(unix)]
        listen();
        notice_children();
        let mark = format!("{MARK}{}_{:016x}", std::process::id(), random());
        // Held until the program is in the list, where a signal's handler finds it.
        let mut all = running();
        #[cfg(target_os = "linux")]
        let has_group = !shows_processes();
        #[cfg(target_os = "linux")]
        if has_group {
            std::os::unix::process::CommandExt::process_group(command, 0);
        }
        let child = command.env(&mark, "1").spawn()?;
        all.push(Running {
            #[cfg(unix)]
            pid: Pid::from_child(&child),
            mark: mark.clone(),
            #[cfg(target_os = "linux")]
            has_group,
            #[cfg(windows)]
            job: job_of(&child),
        });
        Ok((child, Self(mark)))
    }

    /// The status of the program if it has ended. Another process may have its id from then on.
    pub(super) fn try_wait(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let mut all = running();
        let status = child.try_wait()?;
        if status.is_some() {
            all.retain(|running| running.mark != self.0);
        }
        Ok(status)
    }

    /// Kills it.
    pub(super) fn kill(&self) {
        running().iter_mut().filter(|running| running.mark == self.0).for_each(Running::kill);
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        running().retain(|running| running.mark != self.0);
        #[cfg(target_os = "linux")]
        reap_orphans();
    }
}

impl Running {
    #[cfg(target_os = "linux")]
    fn kill(&mut self) {
        if self.has_group {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            return;
        }
        let started = std::time::Instant::now();
        let mut killed = std::collections::HashSet::new();
        for _ in 0..MOST_ROUNDS {
            if started.elapsed() > LONGEST_CHASE {
                break;
            }
            let mut now = family(self.pid, &self.mark);
            now.retain(|pid| kill_process(*pid, Signal::KILL).is_ok());
            if now.is_empty() {
                break;
            }
            killed.extend(now);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // As process 1 of a container, this process has become the parent of those whose own parent was killed. Whoever started
        // the program itself waits for it.
        killed.remove(&self.pid);
        for pid in killed {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }

    #[cfg(windows)]
    fn kill(&mut self) {
        // The job ends its processes when it is closed.
        drop(self.job.take());
    }

    #[cfg(not(any(target_os = "linux", windows)))]
    fn kill(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

/// As process 1 of a container, this process is the parent of what others left behind, and nobody else waits for its end.
#[cfg(target_os = "linux")]
fn reap_orphans() {
    let own = rustix::process::getpid();
    if own != Pid::INIT {
        return;
    }
    // Held, so that no program starts meanwhile: whoever starts it waits for it.
    let running = running();
    let is_orphan = |process: &Process| {
        process.has_ended && process.parent == Some(own) && running.iter().all(|running| running.pid != process.pid)
    };
    for orphan in processes().iter().filter(|process| is_orphan(process)) {
        let _ = waitpid(Some(orphan.pid), WaitOptions::NOHANG);
    }
}

/// Whether /proc shows the processes of this process's namespace.
#[cfg(target_os = "linux")]
fn shows_processes() -> bool {
    std::fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() == std::process::id().to_string().as_str())
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
    pid: Pid,
    parent: Option<Pid>,
    /// Whether it waits for its parent to take notice.
    has_ended: bool,
}

/// A process and its descendants as far as their parents live, which takes no look at the other processes of the machine.
#[cfg(target_os = "linux")]
fn descendants(root: Pid) -> Vec<Pid> {
    const MOST: usize = 1000;
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).filter(|_| found.len() < MOST) {
        let id = parent.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)));
        next += 1;
    }
    found
}

/// The process `root` and its descendants, without those that have ended and wait for their parents: children of children, and
/// processes with the mark.
#[cfg(target_os = "linux")]
fn family(root: Pid, mark: &str) -> Vec<Pid> {
    let (mut family, mut all) = (descendants(root), processes());
    family.retain(|pid| !all.iter().any(|process| process.pid == *pid && process.has_ended));
    all.retain(|process| !process.has_ended);
    let is_marked = |process: &&Process| !family.contains(&process.pid) && has_mark(process.pid, mark);
    let marked: Vec<Pid> = all.iter().filter(is_marked).map(|process| process.pid).collect();
    family.extend(marked);
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        let children = all.iter().filter(|process| process.parent == Some(parent)).map(|process| process.pid);
        let new: Vec<Pid> = children.filter(|pid| !family.contains(pid)).collect();
        family.extend(new);
        next += 1;
    }
    family
}

/// Every process.
#[cfg(target_os = "linux")]
fn processes() -> Vec<Process> {
    // A program that forks without end makes this directory one without end.
    let started = std::time::Instant::now();
    let directories = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let directories = directories.take_while(|_| started.elapsed() < LONGEST_LOOK);
    let process = |entry: std::fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let stat = std::fs::read(entry.path().join("stat")).ok()?;
        // "pid (name) state parent …", where the name may contain any byte, even parentheses.
        let stat = String::from_utf8_lossy(&stat);
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
        Some(Process { pid, parent: Pid::from_raw(parent), has_ended: matches!(state, "Z" | "X") })
    };
    directories.filter_map(process).collect()
}

/// Whether the environment that the process began with has the mark.
#[cfg(target_os = "linux")]
fn has_mark(pid: Pid, mark: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).map(zeroize::Zeroizing::new);
    let is_mark = |variable: &[u8]| variable.strip_prefix(mark.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    environment.is_ok_and(|environment| environment.split(|byte| *byte == 0).any(is_mark))
}
