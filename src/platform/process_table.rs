//! The processes of this machine, as Linux shows them in /proc (proc(5)).

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal};

/// For one look at the processes of the machine.
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// Whether /proc shows the processes of this process's namespace.
pub(super) fn shows_processes() -> bool {
    std::fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() == std::process::id().to_string().as_str())
}

/// A process and its parent.
pub(super) struct Process {
    pub(super) pid: Pid,
    /// The beginning of its program's name.
    name: String,
    pub(super) parent: Option<Pid>,
    group: Option<Pid>,
    /// Whether it waits for its parent to take notice.
    pub(super) has_ended: bool,
    /// When it began, in the system's ticks since the boot: another process with its id has begun later.
    began: u64,
}

impl Process {
    /// Kills it by a handle that is open while its beginning shows that it is still the same one: an id goes to another process as soon
    /// as the first one has ended. Where the kernel has no handles (before Linux 5.3), a filter of system calls forbids them or no more
    /// files may be open, the id remains.
    pub(super) fn kill(&self) -> Result<(), Errno> {
        let handle = pidfd_open(self.pid, PidfdFlags::empty());
        if process(self.pid).is_none_or(|now| now.began != self.began) {
            return Err(Errno::SRCH);
        }
        match handle.and_then(|handle| pidfd_send_signal(handle, Signal::KILL)) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(_) => kill_process(self.pid, Signal::KILL),
        }
    }
}

/// A process and its descendants as far as their parents live, which takes no look at the other processes of the machine.
pub(super) fn descendants(root: Pid) -> Vec<Process> {
    const MOST: usize = 1000;
    let mut found = Vec::from_iter(process(root));
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|process| process.pid).filter(|_| found.len() < MOST) {
        let id = parent.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| process(Pid::from_raw(child.parse().ok()?)?));
        found.extend(children.filter(|child| child.parent == Some(parent)));
        next += 1;
    }
    found
}

/// Every process.
pub(super) fn processes() -> Vec<Process> {
    // A program that forks without end makes this directory one without end.
    let started = Instant::now();
    each_process().take_while(|_| started.elapsed() < LONGEST_LOOK).collect()
}

/// Whether a process of this group lives, or may do so.
pub(super) fn may_live(group: Pid) -> bool {
    let started = Instant::now();
    let is_member = |process: &Process| process.group == Some(group) && !process.has_ended;
    !shows_processes() || each_process().any(|process| is_member(&process) || started.elapsed() > LONGEST_LOOK)
}

fn each_process() -> impl Iterator<Item = Process> {
    let directories = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: std::fs::DirEntry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
    directories.filter_map(pid).filter_map(process)
}

fn process(pid: Pid) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // "pid (name) state parent group …", where the name may contain any byte, even parentheses.
    let stat = String::from_utf8_lossy(&stat);
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    let mut id = || fields.next()?.parse().ok();
    let (parent, group) = (Pid::from_raw(id()?), Pid::from_raw(id()?));
    // The state is that of the first thread. Others may go on without it.
    let has_ended = fields.nth(14)?.parse::<u32>().is_ok_and(|threads| threads < 2) && is_zombie;
    let began = fields.nth(1)?.parse().ok()?;
    Some(Process { pid, name: name.to_owned(), parent, group, has_ended, began })
}

/// This process and its ancestors, as far as the system shows them.
fn lineage() -> impl Iterator<Item = Process> {
    const MOST: usize = 1000;
    std::iter::successors(process(getpid()), |process| process.parent.and_then(self::process)).take(MOST)
}

/// The processes that may become parents of an orphan that this one leaves: it, process 1, and those between.
pub(super) fn adopters() -> Vec<Pid> {
    [getpid(), Pid::INIT].into_iter().chain(lineage().filter_map(|process| process.parent)).collect()
}

/// How many of this process's ancestors run the same program, as far as the system shows it: what it runs leads back to it.
pub fn ancestors_with_this_program() -> usize {
    use std::os::unix::fs::MetadataExt as _;
    let program = |pid: Pid| {
        let file = std::fs::metadata(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok()?;
        Some((file.dev(), file.ino()))
    };
    let mut lineage = lineage();
    let Some(own) = lineage.next() else { return 0 };
    let own_program = program(own.pid);
    // The file of a process that is not dumpable, as this one, is shown to root alone.
    let is_same =
        |other: &Process| program(other.pid).map_or(other.name == own.name, |found| Some(found) == own_program);
    lineage.filter(is_same).count()
}

/// Whether the environment that the process began with has the mark.
pub(super) fn has_mark(pid: Pid, mark: &str) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    let mut environments = threads.filter_map(|thread| std::fs::read(thread.path().join("environ")).ok());
    // A thread that has ended shows none.
    let environment = environments.find(|environment| !environment.is_empty()).map(zeroize::Zeroizing::new);
    let is_mark = |variable: &[u8]| variable.strip_prefix(mark.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    environment.is_some_and(|environment| environment.split(|byte| *byte == 0).any(is_mark))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Errno, Pid, Process, process};

    #[test]
    fn another_process_with_the_id_of_one_that_has_ended_is_not_killed() {
        let mut child = Command::new("sleep").arg("30").spawn().expect("a program");
        let now = process(Pid::from_child(&child)).expect("a process");
        let ended = Process { began: now.began - 1, ..process(now.pid).expect("a process") };
        assert_eq!(ended.kill(), Err(Errno::SRCH));
        assert!(child.try_wait().expect("a state").is_none(), "it is another one");
        assert_eq!(now.kill(), Ok(()));
        assert!(!child.wait().expect("an end").success());
    }
}
