//! The processes of this machine, as Linux shows them in /proc (proc(5)).

use rustix::process::{Pid, getpid};

/// For one look at the processes of the machine.
const LONGEST_LOOK: std::time::Duration = std::time::Duration::from_millis(100);

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
    /// Whether it waits for its parent to take notice.
    pub(super) has_ended: bool,
}

/// A process and its descendants as far as their parents live, which takes no look at the other processes of the machine.
pub(super) fn descendants(root: Pid) -> Vec<Pid> {
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

/// Every process.
pub(super) fn processes() -> Vec<Process> {
    // A program that forks without end makes this directory one without end.
    let started = std::time::Instant::now();
    let directories = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let directories = directories.take_while(|_| started.elapsed() < LONGEST_LOOK);
    let pid = |entry: std::fs::DirEntry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
    directories.filter_map(pid).filter_map(process).collect()
}

fn process(pid: Pid) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // "pid (name) state parent …", where the name may contain any byte, even parentheses.
    let stat = String::from_utf8_lossy(&stat);
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
    Some(Process { pid, name: name.to_owned(), parent: Pid::from_raw(parent), has_ended: matches!(state, "Z" | "X") })
}

/// How many of this process's ancestors run the same program, as far as the system shows it: what it runs leads back to it.
pub fn ancestors_with_this_program() -> usize {
    use std::os::unix::fs::MetadataExt as _;
    const MOST: usize = 1000;
    let program = |pid: Pid| {
        let file = std::fs::metadata(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok()?;
        Some((file.dev(), file.ino()))
    };
    let Some(own) = process(getpid()) else { return 0 };
    let own_program = program(own.pid);
    // The file of a process that is not dumpable, as this one, is shown to root alone.
    let is_same =
        |other: &Process| program(other.pid).map_or(other.name == own.name, |found| Some(found) == own_program);
    let parent = |process: &Process| process.parent.and_then(self::process);
    std::iter::successors(parent(&own), parent).take(MOST).filter(is_same).count()
}

/// Whether the environment that the process began with has the mark.
pub(super) fn has_mark(pid: Pid, mark: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).map(zeroize::Zeroizing::new);
    let is_mark = |variable: &[u8]| variable.strip_prefix(mark.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    environment.is_ok_and(|environment| environment.split(|byte| *byte == 0).any(is_mark))
}
