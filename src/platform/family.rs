//! A program with its descendants, which is killed together, and nothing else: other children of this process may be older than the
//! helper, e.g. those of an entrypoint that started them before it became the helper, and as process 1 of a container the helper
//! adopts every orphan.
//!
//! On Linux, a descendant has the program among its ancestors, or its parent has ended and the program's mark is in its environment:
//! a service that was there before may start a job of its own with that environment. While the program is the only child, this process
//! also becomes the parent of every descendant whose own parent ends, which shows those without the mark. Each is killed by a handle,
//! since its id may go to another process. Where /proc is missing or is that of other processes, the program gets a process group of
//! its own, which is killed. On Windows, a job object holds the program and its descendants. On macOS the program alone is killed.
//!
//! Then the terminal, where there is one, is set as before and goes back to the process group that had it, and so it is when the
//! program fails, e.g. by a crash at its prompt.

#[cfg(target_os = "linux")]
use std::collections::{HashMap, HashSet};
use std::io;
use std::process::{Child, Command, ExitStatus};
#[cfg(unix)]
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(target_os = "linux")]
use rustix::process::{WaitId, WaitIdOptions, WaitOptions, set_child_subreaper, wait, waitid, waitpid};
#[cfg(unix)]
use rustix::{
    io::Errno,
    process::{Pid, Signal, getpid},
};

use super::process::notice_children;
#[cfg(unix)]
use super::process::{heeded, on_signal};
#[cfg(target_os = "linux")]
use super::process_table::{Process, adopters, descendants, has_mark, processes, shows_processes};
use super::random;
#[cfg(unix)]
use super::terminal_settings::TerminalSettings;

/// Begins the name of the variable that marks a program and its descendants. The rest of the name differs for each program, so
/// that a program that calls the helper again keeps its mark.
pub const MARK: &str = "DOCKER_CREDENTIAL_ECR_LOGIN_CHILD_";

/// How often the descendants are looked for, since one may start another meanwhile, and their end.
pub(super) const MOST_ROUNDS: usize = 20;
/// For ending a program with its descendants: less than what is left after its deadline.
#[cfg(target_os = "linux")]
const LONGEST_CHASE: std::time::Duration = std::time::Duration::from_millis(50);

/// A program that runs now.
struct Running {
    #[cfg(unix)]
    pid: Pid,
    mark: String,
    /// The terminal before it was started, or the first of those that it runs beside: they may have changed it.
    #[cfg(unix)]
    terminal: Option<Arc<TerminalSettings>>,
    /// Whether it leads a process group.
    #[cfg(target_os = "linux")]
    has_group: bool,
    /// Whether every child of this process is it or an orphan that it left.
    #[cfg(target_os = "linux")]
    has_orphans: bool,
    /// How it ended. Another process may have its id from then on.
    #[cfg(target_os = "linux")]
    status: Option<ExitStatus>,
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
    kill_and(&mut running(), end);
}

fn kill_and(all: &mut [Running], end: impl FnOnce()) {
    for program in all {
        let is_all = program.kill();
        program.restore_terminal(is_all);
    }
    end();
}

/// Waits for the orphans that have ended. As long as nobody does, they count as processes.
pub fn reap_orphans() {
    #[cfg(target_os = "linux")]
    reap(&mut running());
}

/// Has a signal that ends this process end the programs too.
#[cfg(unix)]
fn listen() {
    // All that end a process and that no fault of its own sends: a supervisor or a limit does.
    let all = [
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
    ];
    let Some(signals) = heeded(&all) else { return };
    let end = |signal: Signal| {
        let mut all = running();
        if !all.is_empty() {
            // A terminal sends the signal to its programs too. They get a moment, e.g. to show again what is typed. The list is
            // held, so that their end is no failure of theirs, which other processes would hear of.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        kill_and(&mut all, || {
            // As process 1, a process cannot end by such a signal.
            if getpid() != Pid::INIT {
                let _ = signal_hook::low_level::emulate_default_handler(signal.as_raw());
            }
            std::process::exit(128 + signal.as_raw());
        });
    };
    // Without it, the programs end by themselves.
    let _ = on_signal(&signals, end);
}

/// Has the signals that end a process end this one as process 1 too, which gets none that it has no handler for. Call it before
/// anything is waited for.
pub fn end_on_signals_as_first() {
    #[cfg(unix)]
    if getpid() == Pid::INIT {
        listen();
    }
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
        reap(&mut all);
        #[cfg(target_os = "linux")]
        let has_group = !shows_processes();
        #[cfg(target_os = "linux")]
        let has_orphans = !has_group && adopts_orphans();
        #[cfg(target_os = "linux")]
        if has_group {
            std::os::unix::process::CommandExt::process_group(command, 0);
        }
        #[cfg(unix)]
        let terminal =
            all.iter().find_map(|earlier| earlier.terminal.clone()).or_else(|| TerminalSettings::read().map(Arc::new));
        let child = command.env(&mark, "1").spawn()?;
        // From now on, an orphan may be that of either.
        #[cfg(target_os = "linux")]
        all.iter_mut().for_each(|other| other.has_orphans = false);
        all.push(Running {
            #[cfg(unix)]
            pid: Pid::from_child(&child),
            mark: mark.clone(),
            #[cfg(unix)]
            terminal,
            #[cfg(target_os = "linux")]
            has_group,
            #[cfg(target_os = "linux")]
            has_orphans,
            #[cfg(target_os = "linux")]
            status: None,
            #[cfg(windows)]
            job: job_of(&child),
        });
        Ok((child, Self(mark)))
    }

    /// The status of the program if it has ended. Another process may have its id from then on.
    pub(super) fn try_wait(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let mut all = running();
        #[cfg(target_os = "linux")]
        reap(&mut all);
        #[cfg(target_os = "linux")]
        let known = all.iter().find(|running| running.mark == self.0).and_then(|running| running.status);
        #[cfg(not(target_os = "linux"))]
        let known = None;
        let status = if known.is_some() { known } else { child.try_wait()? };
        if let Some(status) = status {
            // Another one may be at its prompt.
            if let [own] = &mut all[..] {
                own.leave_terminal(status);
            }
            all.retain(|running| running.mark != self.0);
        }
        Ok(status)
    }

    /// Kills it, and tells whether nothing of it is left that this process may not kill.
    pub(super) fn kill(&self, child: &mut Child) -> bool {
        let mut all = running();
        let Some(own) = all.iter_mut().find(|running| running.mark == self.0) else { return true };
        let is_all = own.kill();
        #[cfg(target_os = "linux")]
        let has_ended = own.status.is_some();
        #[cfg(not(target_os = "linux"))]
        let has_ended = false;
        if !has_ended {
            // Where the former finds no process.
            let _ = child.kill();
        }
        own.restore_terminal(is_all);
        is_all
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let mut all = running();
        all.retain(|running| running.mark != self.0);
        #[cfg(target_os = "linux")]
        {
            reap(&mut all);
            // What it leaves behind may go on for long, and leave orphans of its own.
            if all.is_empty() && ADOPTS.swap(false, Relaxed) {
                let _ = set_child_subreaper(None);
            }
        }
    }
}

impl Running {
    /// Puts the terminal back, once, after its end. What goes on as another user, e.g. `sudo`, may still read a password there.
    fn restore_terminal(&mut self, has_all_ended: bool) {
        #[cfg(unix)]
        if let Some(terminal) = self.terminal.take().filter(|_| has_all_ended) {
            terminal.restore();
        }
        #[cfg(not(unix))]
        let _ = (self, has_all_ended);
    }

    /// Puts the terminal back after a failure.
    fn leave_terminal(&mut self, status: ExitStatus) {
        #[cfg(unix)]
        if let Some(terminal) = self.terminal.clone() {
            terminal.leave(status);
        }
        #[cfg(not(unix))]
        let _ = (self, status);
    }

    /// Kills it, and tells whether nothing is left that belongs to another user, e.g. of `sudo`.
    #[cfg(target_os = "linux")]
    fn kill(&mut self) -> bool {
        if self.has_group {
            return rustix::process::kill_process_group(self.pid, Signal::KILL) != Err(Errno::PERM);
        }
        let started = std::time::Instant::now();
        let mut is_all = true;
        let mut killed = HashSet::new();
        for _ in 0..MOST_ROUNDS {
            if started.elapsed() > LONGEST_CHASE {
                break;
            }
            let results: Vec<_> = self.family().iter().map(|process| (process.pid, process.kill())).collect();
            is_all = results.iter().all(|(_, result)| *result != Err(Errno::PERM));
            if results.iter().all(|(_, result)| *result == Err(Errno::PERM)) {
                break;
            }
            killed.extend(results.into_iter().filter(|(_, result)| result.is_ok()).map(|(pid, _)| pid));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // This process may have become the parent of those whose own parent was killed. Whoever started the program itself waits
        // for it.
        killed.remove(&self.pid);
        for pid in killed {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        is_all
    }

    #[cfg(windows)]
    fn kill(&mut self) -> bool {
        // The job ends its processes when it is closed.
        drop(self.job.take());
        true
    }

    #[cfg(not(any(target_os = "linux", windows)))]
    fn kill(&mut self) -> bool {
        rustix::process::kill_process(self.pid, Signal::KILL) != Err(Errno::PERM)
    }

    /// The program and its descendants, without those that have ended and wait for their parents: children of children, and orphans that
    /// have the mark or that nobody else has left.
    #[cfg(target_os = "linux")]
    fn family(&self) -> Vec<Process> {
        let own = getpid();
        let mut all = processes();
        // Those that have been started meanwhile, or that the look at all did not reach.
        let mut known: HashSet<Pid> = all.iter().map(|process| process.pid).collect();
        let roots = [(self.status.is_none(), self.pid), (self.has_orphans, own)];
        let more = roots.into_iter().filter(|(is_root, _)| *is_root).flat_map(|(_, root)| descendants(root));
        all.extend(more.filter(|process| known.insert(process.pid)));
        all.retain(|process| !process.has_ended);
        let adopters = adopters();
        let is_first = |process: &Process| {
            self.status.is_none() && process.pid == self.pid
                || self.has_orphans && process.parent == Some(own)
                || process.parent.is_some_and(|parent| adopters.contains(&parent)) && has_mark(process.pid, &self.mark)
        };
        let (mut family, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_first);
        let mut children: HashMap<Option<Pid>, Vec<Process>> = HashMap::new();
        for other in others {
            children.entry(other.parent).or_default().push(other);
        }
        let mut next = 0;
        while let Some(parent) = family.get(next) {
            family.extend(children.remove(&Some(parent.pid)).unwrap_or_default());
            next += 1;
        }
        family
    }
}

/// Whether this process has made itself the parent of orphans.
#[cfg(target_os = "linux")]
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Makes this process the parent of its descendants whose own parents end, and tells whether there are no other orphans: not as
/// process 1, which gets those of everybody, nor while it has a child, e.g. the daemon of an entrypoint.
#[cfg(target_os = "linux")]
fn adopts_orphans() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let has_no_child = matches!(waitid(WaitId::All, look), Err(Errno::CHILD));
    let adopts = has_no_child && getpid() != Pid::INIT && set_child_subreaper(Some(getpid())).is_ok();
    ADOPTS.fetch_or(adopts, Relaxed);
    adopts
}

/// Waits for all children that have ended, since nobody else waits for orphans. Programs get their status.
#[cfg(target_os = "linux")]
fn reap(running: &mut [Running]) {
    // For a program that leaves orphans without end.
    const MOST: usize = 1000;
    // The id of a group is that of its first process, which must not go to another one.
    if running.iter().any(|program| program.has_group) {
        return;
    }
    for _ in 0..MOST {
        let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) else { return };
        if let Some(program) = running.iter_mut().find(|program| program.pid == pid) {
            program.status = Some(std::os::unix::process::ExitStatusExt::from_raw(status.as_raw()));
        }
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

/// How many of this process's ancestors run the same program: these systems do not show it.
#[cfg(not(target_os = "linux"))]
pub fn ancestors_with_this_program() -> usize {
    0
}
