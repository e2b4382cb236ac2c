//! Private namespaces, so that a test can rename hosts and take over fixed addresses without touching the machine,
//! and the daemons that run in them.

#[cfg(target_os = "linux")]
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::process::{stop, wait_until};

/// A set of namespaces that lives as long as this value, or as the test process.
pub struct Namespace {
    holder: Child,
    _open: ChildStdin,
}

impl Namespace {
    /// Makes a mount namespace and runs `setup` in it, a shell script that changes what is mounted there.
    pub fn of_mounts(setup: &str) -> Self {
        Self::new(&["--mount", "--propagation", "private"], setup)
    }

    /// Makes a network without any other machine, and a mount namespace; `setup` adds addresses to it.
    pub fn of_network(setup: &str) -> Self {
        Self::new(&["--net", "--mount", "--propagation", "private"], &format!("ip link set lo up\n{setup}"))
    }

    fn new(kinds: &[&str], setup: &str) -> Self {
        // The holder ends when its standard input does, so it cannot outlive the tests.
        let mut holder = Command::new("unshare")
            .args(kinds)
            .args(["sh", "-ec", &format!("{setup}\necho ready\nexec cat")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let open = holder.stdin.take().expect("a pipe");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "the namespace is set up");
        Self { holder, _open: open }
    }

    /// A command that runs `program` inside, at the root and with an empty environment.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        self.command_in(Path::new("/"), program)
    }

    /// The same in a directory, which the command's own `current_dir` could not name: that is left on the way in.
    pub fn command_in(&self, dir: &Path, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        for kind in ["net", "mnt"] {
            let flag = if kind == "mnt" { "mount" } else { kind };
            command.arg(format!("--{flag}=/proc/{}/ns/{kind}", self.holder.id()));
        }
        command.arg(format!("--wdns={}", dir.display())).arg("--").arg(program.as_ref());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// A socket that listens inside, for a server of this process.
    pub fn listen(&self, address: &str) -> TcpListener {
        let address = address.to_owned();
        self.inside(move || TcpListener::bind(&address).expect("the address is there"))
    }

    /// A socket for datagrams inside.
    pub fn datagrams(&self, address: &str) -> UdpSocket {
        let address = address.to_owned();
        self.inside(move || UdpSocket::bind(&address).expect("the address is there"))
    }

    #[cfg(target_os = "linux")]
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        use nix::sched::{CloneFlags, setns};
        let network = File::open(format!("/proc/{}/ns/net", self.holder.id())).expect("a network");
        // A thread of its own: what it enters it cannot leave.
        let thread = std::thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).expect("the thread enters it");
            work()
        });
        thread.join().expect("a socket")
    }

    /// Other systems have no such namespaces.
    #[cfg(not(target_os = "linux"))]
    fn inside<T>(&self, _work: impl FnOnce() -> T) -> T {
        unreachable!("{} is no namespace", self.holder.id())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A server that is asked to end when this value goes.
pub struct Daemon(Child);

impl Daemon {
    /// Starts it with its output in `log`, and waits until `ready` says so.
    pub fn start(mut command: Command, log: &Path, ready: impl Fn() -> bool) -> Self {
        let log_file = std::fs::File::create(log).expect("a log");
        let copy = log_file.try_clone().expect("a log");
        let child = command.stdin(Stdio::null()).stdout(log_file).stderr(copy).spawn().expect("it starts");
        let mut daemon = Self(child);
        wait_until(&format!("{command:?} is ready, see {}", log.display()), Duration::from_mins(3), || {
            let ended = daemon.0.try_wait().expect("a child");
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            assert!(ended.is_none(), "{command:?} has ended: {}", said());
            ready()
        });
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        stop(&mut self.0);
    }
}

/// Says that a test is left out and why; it is repeated at the end. Where `CI` is set it is a failure.
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} may not be skipped in CI: {reason}");
    note(&format!("{test}: {reason}"));
}

/// Whether the kernel gives mounts ids that it never gives again, as Linux does since 6.8.
pub fn has_unique_mounts() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(8))
}

/// Puts a line on the list of what was left out, which `tests/run` and `tests/summary.rs` print at the end.
pub fn note(line: &str) {
    // Not by a macro, whose output the test harness hides where a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {line}");
    let usual = || Path::new(env!("CARGO_TARGET_TMPDIR")).join("left-out");
    let list = std::env::var_os("SKIPPED_LIST").map_or_else(usual, Into::into);
    let open = std::fs::OpenOptions::new().append(true).create(true).open(&list);
    // Another user may run the tests than the one who built them.
    match open.and_then(|mut list| writeln!(list, "{line}")) {
        Err(error) if list != usual() => panic!("{}: {error}", list.display()),
        _ => {}
    }
}

/// The first of `programs` that is not installed.
pub fn missing<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let found = |name: &str| {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|dir| Path::new(dir).join(name).exists())
            || Path::new(name).is_absolute() && Path::new(name).exists()
    };
    programs.iter().find(|name| !found(name)).copied()
}

/// A client that `tests/newer-clients` has unpacked.
pub fn newer(name: &str) -> Option<String> {
    let Ok(dir) = std::env::var("NEWER_CLIENTS") else {
        skip(name, "NEWER_CLIENTS does not say where it is; see tests/newer-clients");
        return None;
    };
    let paths =
        ["usr/bin", "usr/libexec/docker/cli-plugins", "containers-5"].map(|below| format!("{dir}/{below}/{name}"));
    let found = paths.into_iter().find(|path| Path::new(path).exists());
    if found.is_none() {
        skip(name, "not among the newer clients");
    }
    found
}
