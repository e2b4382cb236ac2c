//! Waits for child processes and for conditions, each with a time limit, so that a test that would wait forever fails with
//! the name of the condition.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::helper::{Ran, limit, program};

/// No process takes this long, even on a busy machine.
const LIMIT: Duration = Duration::from_mins(5);

/// The limit for conditions that hold within a moment on a quiet machine.
pub const SOON: Duration = Duration::from_mins(1);

/// Checks a condition every few milliseconds until it holds.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the last change of these files is so long ago that their times prove their content.
pub fn settle(files: &[&std::path::Path]) {
    use std::os::unix::fs::MetadataExt;
    let age = |file: &std::path::Path| {
        let changed = file.symlink_metadata().expect("a file").ctime();
        time::OffsetDateTime::now_utc().unix_timestamp() - changed
    };
    wait_until("the files are old enough", SOON, || files.iter().all(|file| age(file) >= 3));
}

/// Measures up to three times, until the time is within the bound: other load on the machine makes a run slower, and nothing
/// makes it faster.
#[track_caller]
pub fn best_of_three(bound: Duration, measure: impl FnMut() -> Duration) {
    best_of(3, bound, measure);
}

/// Measures up to so many times.
#[track_caller]
pub fn best_of(tries: usize, bound: Duration, mut measure: impl FnMut() -> Duration) {
    let bound = limit(bound);
    let mut all = Vec::new();
    while all.last().is_none_or(|took| *took >= bound) {
        assert!(all.len() < tries, "not within {bound:?}: {all:?}");
        all.push(measure());
    }
}

/// Writes a file that anybody may run. A process of its own does: what this one has open for writing, a child that another thread
/// starts at that moment has open too until it runs its program, and until then the system runs no file that is open for writing
/// (ETXTBSY).
pub fn write_program(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let mut install = Command::new("install");
    let ran = run(install.args(["-D", "-m", "755", "/dev/stdin"]).arg(path.as_ref()), content);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// A copy of the program under test that anybody may run.
pub fn copy_program(to: impl AsRef<Path>) {
    let content = std::fs::read(program()).expect("the program");
    write_program(to, content);
}

/// Starts a program with this input, and closes its standard input after that.
pub fn start(command: &mut Command, input: impl AsRef<[u8]>) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may answer and end without reading all of a hostile input, or read none of what no pipe holds.
    let input = input.as_ref();
    if input.len() <= 4096 {
        let _ = stdin.write_all(input);
    } else {
        let input = input.to_vec();
        thread::spawn(move || stdin.write_all(&input));
    }
    child
}

/// Waits for the end of a child that prints into pipes.
#[track_caller]
pub fn end(child: Child) -> Output {
    let id = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    if let Ok(output) = receiver.recv_timeout(LIMIT) {
        return output.expect("an end");
    }
    let words = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default().replace('\0', " ");
    send(id, Signal::SIGKILL);
    panic!("process {id} does not end within {LIMIT:?}: {words}");
}

/// Runs a program with this input.
#[track_caller]
pub fn run(command: &mut Command, input: impl AsRef<[u8]>) -> Ran {
    let started = Instant::now();
    let output = end(start(command, input));
    Ran::new(output, started.elapsed())
}

/// Runs a program without input.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    end(start(command, ""))
}

/// Ends a server by SIGTERM, or kills it after a time limit.
pub fn stop(child: &mut Child) {
    send(child.id(), Signal::SIGTERM);
    let deadline = Instant::now() + SOON;
    while child.try_wait().is_ok_and(|ended| ended.is_none()) {
        if Instant::now() > deadline {
            let _ = child.kill();
        }
        thread::sleep(Duration::from_millis(2));
    }
}

pub fn send(id: u32, signal: Signal) {
    // It may have ended already.
    let _ = kill(Pid::from_raw(id.cast_signed()), signal);
}
