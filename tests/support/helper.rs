//! Runs the helper as a process with an environment that inherits nothing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::namespace::{Namespace, note};
use crate::process;
use crate::support::aws::Aws;

/// The program under test: the one in `HELPER`, which `tests/run` sets to the packaged binary, else cargo's.
pub fn program() -> PathBuf {
    std::env::var_os("HELPER").map_or_else(|| env!("CARGO_BIN_EXE_docker-credential-ecr-login").into(), PathBuf::from)
}

/// A limit on the time that something takes: longer by `TIME_FACTOR` where the program runs in an emulator.
pub fn limit(time: Duration) -> Duration {
    time * std::env::var("TIME_FACTOR").map_or(1, |factor| factor.parse().expect("TIME_FACTOR is a number"))
}

/// Says that a test is left out where the program under test is one for Windows, and whether it is.
pub fn lacks_unix(test: &str) -> bool {
    is_left_out_on("windows", &format!("{test}: needs Unix"))
}

/// Says that a test is left out where an emulator stands between the program under test and the kernel, and whether it does.
pub fn lacks_kernel(test: &str) -> bool {
    is_left_out_on("aarch64", &format!("{test}: would be the emulator's"))
}

/// Whether the program under test is that for Windows.
pub fn is_on_windows() -> bool {
    is_on("windows")
}

/// `TEST_PLATFORM` is what the scripts in `tests/platforms` set.
fn is_on(platform: &str) -> bool {
    std::env::var("TEST_PLATFORM").is_ok_and(|this| this == platform)
}

fn is_left_out_on(platform: &str, line: &str) -> bool {
    let left_out = is_on(platform);
    if left_out {
        note(line);
    }
    left_out
}

/// A home directory and an environment for the program.
pub struct Helper {
    home: TempDir,
    vars: Vec<(String, String)>,
    namespace: Option<Rc<Namespace>>,
}

/// What a run printed.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
    pub took: Duration,
}

impl Helper {
    /// An empty home and no AWS settings at all; metadata services are turned off so that no test asks for them
    /// unawares.
    pub fn bare() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let vars = vec![
            ("HOME".to_owned(), home.path().display().to_string()),
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned()),
        ];
        Self { home, vars, namespace: None }
    }

    /// Credentials in the environment, and `aws` as the endpoint.
    pub fn of(aws: &Aws) -> Self {
        Self::bare()
            .var("AWS_ENDPOINT_URL", &aws.url())
            .var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .var("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    }

    /// The same for doctor, which also asks the registry itself: by a proxy that is not there, and no further.
    pub fn without_registry(aws: &Aws) -> Self {
        Self::of(aws).var("HTTPS_PROXY", "http://127.0.0.1:1")
    }

    /// The same home with one more variable, or another value for it; an empty value unsets it.
    #[must_use]
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// The same home without keys in the environment.
    #[must_use]
    pub fn without_keys(self) -> Self {
        self.var("AWS_ACCESS_KEY_ID", "").var("AWS_SECRET_ACCESS_KEY", "").var("AWS_SESSION_TOKEN", "")
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.vars.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.vars.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Runs the program in there, with the instance metadata service on.
    #[must_use]
    pub fn inside(mut self, namespace: &Rc<Namespace>) -> Self {
        self.namespace = Some(namespace.clone());
        self.var("AWS_EC2_METADATA_DISABLED", "")
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn cache_dir(&self) -> PathBuf {
        let caches = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        self.home().join(caches).join("docker-credential-ecr-login")
    }

    /// The cached entries.
    pub fn entries(&self) -> Vec<PathBuf> {
        entries(&self.cache_dir())
    }

    /// Writes a file below the home.
    pub fn write(&self, path: &str, content: &str) -> PathBuf {
        let path = self.home().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// Writes a program below the home directory.
    pub fn write_program(&self, path: &str, content: &str) -> PathBuf {
        let path = self.home().join(path);
        crate::process::write_program(&path, content);
        path
    }

    /// A command of the program, in this environment.
    pub fn command(&self) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => namespace.command(program()),
            None => Command::new(program()),
        };
        command.env_clear().envs(self.vars.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A command of another program in this environment, outside of any namespace.
    pub fn tool(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(name);
        command.env_clear().envs(self.vars.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the program with `input` on its standard input.
    pub fn start(&self, args: &[&str], input: &[u8]) -> Child {
        process::start(self.command().args(args), input)
    }

    pub fn run(&self, args: &[&str], input: impl AsRef<[u8]>) -> Ran {
        process::run(self.command().args(args), input)
    }

    /// Runs `get` for a host under strace with these options; the trace comes back.
    pub fn traced(&self, host: &str, options: &[&str]) -> (Ran, String) {
        let trace = self.home().join("trace");
        let _ = std::fs::remove_file(&trace);
        let output = self.under("strace", &["-f", "-o", trace.to_str().expect("UTF-8")], options, host);
        (Ran::new(output, Duration::ZERO), std::fs::read_to_string(trace).expect("a trace"))
    }

    /// Runs `get` for a host as an argument of another program.
    pub fn under(&self, tool: &str, args: &[&str], more: &[&str], host: &str) -> Output {
        process::end(self.start_under(tool, args, more, host))
    }

    /// Starts it.
    pub fn start_under(&self, tool: &str, args: &[&str], more: &[&str], host: &str) -> Child {
        let mut command = self.tool(tool);
        process::start(command.args(args).args(more).arg(program()).arg("get"), host)
    }

    /// Runs the program on a terminal of its own, by script(1), with `typed` on the keyboard; what the terminal showed.
    pub fn on_terminal(&self, args: &[&str], typed: &str) -> (String, Option<i32>) {
        let words: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
        let mut command = self.tool("script");
        command.args(["-qec", &format!("{} {}", program().display(), words.join(" ")), "/dev/null"]);
        let ran = process::run(&mut command, typed);
        (ran.stdout.replace("\r\n", "\n"), ran.code)
    }

    pub fn get(&self, server_url: impl AsRef<[u8]>) -> Ran {
        self.run(&["get"], server_url)
    }
}

/// Starts `count` processes at once, each asking for `host`, and waits for all.
pub fn many(helper: &Helper, count: usize, host: &str) -> (Vec<Ran>, Duration) {
    let started = Instant::now();
    let children: Vec<_> = (0..count).map(|_| helper.start(&["get"], host.as_bytes())).collect();
    let ended = |child: Child| Ran::new(process::end(child), started.elapsed());
    let runs = children.into_iter().map(ended).collect();
    (runs, started.elapsed())
}

/// What was printed, of a run that went well.
#[track_caller]
pub fn printed(ran: &Ran) -> &str {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    ran.stdout.strip_suffix('\n').expect("a line")
}

/// What a command for people says on standard error when it fails.
#[track_caller]
pub fn complaint(ran: &Ran) -> &str {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    ran.stderr.strip_suffix('\n').expect("a line")
}

/// What a command for people says on standard error about wrong arguments.
#[track_caller]
pub fn misuse(ran: &Ran) -> &str {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    ran.stderr.strip_suffix('\n').expect("a line")
}

/// Sets the creation time of the cached entries to `age` ago, with the same lifetime.
pub fn make_older(helper: &Helper, age: Duration) {
    for path in helper.entries() {
        let mut entry: Value = serde_json::from_slice(&std::fs::read(&path).expect("an entry")).expect("JSON");
        let life = instant(&entry["expires_at"]) - instant(&entry["created_at"]);
        let created = OffsetDateTime::now_utc().replace_nanosecond(0).expect("a second") - age;
        set_times(&mut entry, created, created + life);
        std::fs::write(&path, entry.to_string()).expect("a write");
    }
}

/// Removes the reports of failures, which count for processes that start within a second.
pub fn outlive_failures(helper: &Helper) {
    for file in std::fs::read_dir(helper.cache_dir()).into_iter().flatten().flatten() {
        if file.path().extension().is_some_and(|ending| ending == "failure") {
            std::fs::remove_file(file.path()).expect("a report");
        }
    }
}

/// An instant in an entry.
pub fn instant(text: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(text.as_str().expect("a text"), &Rfc3339).expect("RFC 3339")
}

/// Sets the times of an entry.
pub fn set_times(entry: &mut Value, created: OffsetDateTime, expires: OffsetDateTime) {
    entry["created_at"] = created.format(&Rfc3339).expect("a time").into();
    entry["expires_at"] = expires.format(&Rfc3339).expect("a time").into();
}

/// Numbers that follow from a seed, which is printed: `SEED=… cargo test …` repeats a run.
pub struct Chance(u64);

impl Chance {
    pub fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now.as_secs());
        println!("SEED={seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The same numbers in every run, unless `SEED` or `FULL` ask for others.
    pub fn with_seed(usual: u64) -> Self {
        let is_other = ["SEED", "FULL"].iter().any(|name| std::env::var_os(name).is_some());
        if is_other { Self::new() } else { Self(usual.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1) }
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// One of several.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).expect("an index")]
    }
}

/// Of [`Helper::of`]; no output may hold it.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI-stand-in-secret-key";

/// The entry files in a cache directory.
pub fn entries(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|file| file.path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect()
}

/// Removes the lines that wine itself writes to the standard error of the program for Windows.
fn without_wine(text: String) -> String {
    if !is_on_windows() {
        return text;
    }
    let is_wines = |line: &str| {
        // For example "0024:err:module:load_dll …", "wineserver: …" and "wine client error:24: …".
        let class = line.split_once(':').filter(|(thread, _)| thread.len() == 4).map_or("", |(_, rest)| rest);
        ["wine: ", "wine client error:", "wineserver: "].iter().any(|start| line.starts_with(start))
            || ["err:", "fixme:", "warn:"].iter().any(|start| class.starts_with(start))
    };
    text.split_inclusive('\n').filter(|line| !is_wines(line)).collect()
}

impl Ran {
    pub fn new(output: Output, took: Duration) -> Self {
        Self {
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: without_wine(String::from_utf8(output.stderr).expect("UTF-8")),
            code: output.status.code(),
            took,
        }
    }

    /// The password of a successful `get`, after a look at all the rest of the answer.
    #[track_caller]
    pub fn password_for(&self, server_url: &str) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        let answer: Value = serde_json::from_str(&self.stdout).expect("JSON");
        let password = answer["Secret"].as_str().expect("a secret").to_owned();
        let expected = serde_json::json!({"ServerURL": server_url, "Username": "AWS", "Secret": password});
        assert_eq!(answer, expected);
        assert_eq!(self.stdout.matches('\n').count(), 1, "one line: {:?}", self.stdout);
        assert!(self.stdout.ends_with("}\n"));
        password
    }

    /// The single line of an error, after a look at all the rest of the answer. It is on standard error too, but for the
    /// sentence that means "not found".
    #[track_caller]
    pub fn error(&self) -> &str {
        let repeated = if self.stdout.trim_end() == crate::NOT_FOUND { "" } else { self.stdout.as_str() };
        assert_eq!((self.code, self.stderr.as_str()), (Some(1), repeated), "{self:?}");
        let line = self.stdout.strip_suffix('\n').expect("a line");
        assert!(!line.contains(['\n', '\r']), "one line: {line:?}");
        line
    }

    /// Success without a word.
    #[track_caller]
    pub fn silent(&self) {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (Some(0), "", ""));
    }
}
