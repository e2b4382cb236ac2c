//! `cargo bench`: the packaged program as a whole process, in turn with `/bin/true` and with the incumbent where that is
//! installed (Debian's `amazon-ecr-credential-helper`), against a stand-in for AWS with TLS on loopback, in a private
//! network whose names and certificates are those of AWS. Needs root and iproute2.
//!
//! Candidates alternate round by round, and a ratio is taken within each round, so that a machine whose speed drifts
//! does not show in it. Prints the table that the README has, and writes it to target/bench.md. Where two sides did not
//! do the same work, the same answer with as many calls, there is no ratio but a failure.

#![expect(clippy::disallowed_methods, reason = "a benchmark is told things by the environment")]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use support::aws::{Aws, Plan};
use support::tls::Authority;

const HOST: &str = "111122223333.dkr.ecr.us-east-1.amazonaws.com";
const PASSWORD: &str = "a password as long as it is, for the sake of the same answer";
const INCUMBENT: &str = "/usr/bin/docker-credential-ecr-login";
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const NAMES: &[&str] = &["api.ecr.us-east-1.amazonaws.com", "sts.us-east-1.amazonaws.com", "sts.amazonaws.com", HOST];

/// A program in a home of its own.
struct Side {
    /// In the table.
    name: &'static str,
    program: PathBuf,
    home: PathBuf,
}

struct Bench {
    aws: Aws,
    table: String,
}

fn main() {
    // `cargo test --benches` and the like only want to know that it builds.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    match std::env::var("BENCH_DIR") {
        Err(_) => outside(),
        Ok(dir) => inside(Path::new(&dir)),
    }
}

/// Starts this program again in a network and with files of its own.
fn outside() {
    let built = Command::new("packaging/build").stderr(Stdio::inherit()).output().expect("the build runs");
    let ours = String::from_utf8(built.stdout).expect("UTF-8").lines().last().expect("a path").to_owned();
    let dir = tempfile::tempdir().expect("a directory");
    let hosts =
        NAMES.iter().fold("127.0.0.1 localhost\n".to_owned(), |hosts, name| hosts + "127.83.0.1 " + name + "\n");
    fs::write(dir.path().join("hosts"), hosts).expect("a write");
    // The system's certificates, to be shadowed by themselves and the stand-in's authority in their midst.
    fs::copy(CERTIFICATES, dir.path().join("bundle.pem")).expect("the system's certificates");
    let enter = format!(
        "ip link set lo up; mount --bind hosts /etc/hosts; mount --bind bundle.pem {CERTIFICATES}; cd \"$BACK\"; exec \"$@\""
    );
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "sh", "-ec", &enter, "sh"])
        .arg(std::env::current_exe().expect("this program"))
        .current_dir(dir.path())
        .env("BACK", std::env::current_dir().expect("a directory"))
        .env("BENCH_DIR", dir.path())
        .env("BENCH_PROGRAM", ours)
        .status();
    assert!(status.expect("unshare runs").success());
}

fn inside(dir: &Path) {
    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    let authority = Authority::for_names(NAMES);
    let bundle = fs::OpenOptions::new().append(true).open(CERTIFICATES);
    let added = bundle.and_then(|mut file| file.write_all(&fs::read(authority.bundle())?));
    added.expect("the authority is trusted here");
    authority.serve(TcpListener::bind("127.83.0.1:443").expect("a port"), aws.app());
    let ours = std::env::var("BENCH_PROGRAM").expect("set outside");

    let side = |name: &'static str, program: &str| {
        let home = dir.join(name.trim_start_matches("`/bin/").trim_end_matches('`'));
        fs::create_dir(&home).expect("a directory");
        Side { name, program: program.into(), home }
    };
    let (crowded, ours) = (side("crowded", &ours), side("one entry", &ours));
    let nothing = side("`/bin/true`", "/bin/true");
    let incumbent = Path::new(INCUMBENT).exists().then(|| side("incumbent", INCUMBENT));
    let mut bench = Bench { aws, table: String::new() };
    bench.line(
        "| what | against | time, median ratio [middle half] | CPU, ratio | ours, ms | theirs, ms |\n\
         | --- | --- | --- | --- | --- | --- |",
    );

    let keys: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "stand-in")];
    bench.compare("cached get", 400, keys, &ours, &nothing, Work::Cached);
    bench.compare("cached get among 10,000 entries", 400, keys, &crowded, &ours, Work::Crowded(10_000));
    let role = "[default]\nrole_arn = arn:aws:iam::111122223333:role/Pull\nsource_profile = base\nregion = us-east-1\n\
                [profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = stand-in\n";
    let mut config = role.to_owned();
    for number in 0..200 {
        let _ = write!(
            config,
            "[profile p{number}]\nrole_arn = arn:aws:iam::111122223333:role/R{number}\nsource_profile = base\n"
        );
    }
    for side in [Some(&ours), Some(&nothing), incumbent.as_ref()].into_iter().flatten() {
        fs::create_dir_all(side.home.join(".aws")).expect("a directory");
        fs::write(side.home.join(".aws/config"), &config).expect("a write");
    }
    let mut registries = String::new();
    for number in 0..50 {
        let _ = write!(
            registries,
            "[[registry]]\nmatch = \"{:012}.*\"\nprofile = \"p{number}\"\n",
            500_000_000_000_u64 + number
        );
    }
    let ours_config = ours.home.join(".config/docker-credential-ecr-login");
    fs::create_dir_all(&ours_config).expect("a directory");
    fs::write(ours_config.join("config.toml"), registries).expect("a write");
    bench.compare("cached get, assumed role, 200 profiles, 50 registries", 400, &[], &ours, &nothing, Work::Cached);
    fs::remove_dir_all(&ours_config).expect("a directory");
    if let Some(incumbent) = &incumbent {
        bench.compare("cached get", 200, keys, &ours, incumbent, Work::Cached);
        bench.compare("cold get over TLS, the system's certificates", 60, keys, &ours, incumbent, Work::Cold(1));
        bench.compare("cold get over TLS, assumed role", 60, &[], &ours, incumbent, Work::Cold(2));
        bench.storm(keys, &ours, incumbent);
    } else {
        println!("no comparison with the incumbent: {INCUMBENT} is not installed");
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let machine = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = machine.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().expect("a number");
    let date = Command::new("date").arg("+%Y-%m-%d").output().expect("a date");
    let date = String::from_utf8_lossy(&date.stdout).trim().to_owned();
    bench.line(&format!("\nMeasured on {date}, {cores} cores of {}.", model.trim_start_matches([' ', '\t', ':'])));
    fs::write(Path::new(&target).join("bench.md"), &bench.table).expect("a write");
}

#[derive(Clone, Copy)]
enum Work {
    /// From the cache, which a run before has filled.
    Cached,
    /// The same, with as many other entries as this in the cache of the first side.
    Crowded(usize),
    /// From an empty cache, with as many calls as this.
    Cold(usize),
}

impl Bench {
    fn line(&mut self, line: &str) {
        println!("{line}");
        self.table.push_str(line);
        self.table.push('\n');
    }

    fn compare(&mut self, what: &str, rounds: usize, vars: &[(&str, &str)], ours: &Side, theirs: &Side, work: Work) {
        let (mut times, mut cpu) = ([Vec::new(), Vec::new()], [Duration::ZERO; 2]);
        let mut ratios = Vec::new();
        for round in 0..=rounds {
            let mut took = [Duration::ZERO; 2];
            for (index, side) in [ours, theirs].into_iter().enumerate() {
                let silent = side.program == Path::new("/bin/true");
                if matches!(work, Work::Cold(_)) || round == 0 {
                    clear(side);
                }
                let (before, cpu_before) = (self.aws.count(), cpu_of_children());
                took[index] = once(vars, side, !silent);
                if round > 0 {
                    cpu[index] += cpu_of_children().saturating_sub(cpu_before);
                }
                let calls = self.aws.count() - before;
                let expected = match work {
                    _ if silent => 0,
                    Work::Cold(calls) => calls,
                    _ if round == 0 => calls,
                    _ => 0,
                };
                assert_eq!(calls, expected, "calls of {} for {what}", side.program.display());
            }
            if let (0, Work::Crowded(entries)) = (round, work) {
                crowd(ours, entries);
            }
            if round > 0 {
                times[0].push(took[0]);
                times[1].push(took[1]);
                ratios.push(took[0].as_secs_f64() / took[1].as_secs_f64());
            }
        }
        self.row(what, theirs, &mut ratios, times, cpu);
    }

    fn storm(&mut self, vars: &[(&str, &str)], ours: &Side, theirs: &Side) {
        let (mut times, mut cpu) = ([Vec::new(), Vec::new()], [Duration::ZERO; 2]);
        let (mut ratios, mut calls) = (Vec::new(), [0; 2]);
        for _ in 0..7 {
            let mut took = [Duration::ZERO; 2];
            for (index, side) in [ours, theirs].into_iter().enumerate() {
                clear(side);
                let (before, cpu_before) = (self.aws.count(), cpu_of_children());
                let started = Instant::now();
                let children: Vec<_> = (0..50).map(|_| start(vars, side)).collect();
                for child in children {
                    let output = child.wait_with_output().expect("an end");
                    assert!(String::from_utf8_lossy(&output.stdout).contains(PASSWORD));
                }
                took[index] = started.elapsed();
                cpu[index] += cpu_of_children().saturating_sub(cpu_before);
                calls[index] = self.aws.count() - before;
                // The incumbent makes as many calls as it makes; that is the difference.
                assert!(index == 1 || calls[0] == 1, "one call for all of ours");
            }
            times[0].push(took[0]);
            times[1].push(took[1]);
            ratios.push(took[0].as_secs_f64() / took[1].as_secs_f64());
        }
        let what = format!("50 cold gets at once over TLS, all of them; 1 call to AWS, theirs {}", calls[1]);
        self.row(&what, theirs, &mut ratios, times, cpu);
    }

    fn row(
        &mut self,
        what: &str,
        theirs: &Side,
        ratios: &mut [f64],
        mut times: [Vec<Duration>; 2],
        cpu: [Duration; 2],
    ) {
        ratios.sort_by(f64::total_cmp);
        times[0].sort();
        times[1].sort();
        let at = |part: usize| ratios[ratios.len() * part / 4];
        let [ours, other] = times.map(|times| times[times.len() / 2].as_secs_f64() * 1000.0);
        let (name, cpu) = (theirs.name, cpu[0].as_secs_f64() / cpu[1].as_secs_f64());
        let row = format!(
            "| {what} | {name} | **{:.2}** [{:.2}–{:.2}] | {cpu:.2} | {ours:.2} | {other:.2} |",
            at(2),
            at(1),
            at(3)
        );
        self.line(&row);
    }
}

/// What all processes that have ended so far took.
fn cpu_of_children() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage");
    let micros = |time: TimeVal| u64::try_from(time.num_microseconds()).expect("a time span");
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

/// Puts copies of a side's one entry beside it.
fn crowd(side: &Side, entries: usize) {
    let cache = side.home.join(".cache/docker-credential-ecr-login");
    let files = fs::read_dir(&cache).expect("a cache").flatten().map(|entry| entry.path());
    let entry = files.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "json"));
    let (name, text) = entry.map(|path| (path.clone(), fs::read_to_string(path).expect("an entry"))).expect("an entry");
    let key = name.file_stem().expect("a name").to_string_lossy().into_owned();
    for number in 0..entries {
        let other = format!("{number:064x}");
        fs::write(cache.join(format!("{other}.json")), text.replace(&key, &other)).expect("a write");
    }
}

/// Empties the cache.
fn clear(side: &Side) {
    for cache in [".cache", ".ecr"] {
        let _ = fs::remove_dir_all(side.home.join(cache));
    }
}

fn start(vars: &[(&str, &str)], side: &Side) -> Child {
    let mut command = Command::new(&side.program);
    command.env_clear().env("HOME", &side.home).env("PATH", "/usr/bin:/bin").env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(vars.iter().copied()).arg("get").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // `/bin/true` may end before it is written to.
    let _ = child.stdin.take().expect("a pipe").write_all(HOST.as_bytes());
    child
}

fn once(vars: &[(&str, &str)], side: &Side, answers: bool) -> Duration {
    let started = Instant::now();
    let output = start(vars, side).wait_with_output().expect("an end");
    let took = started.elapsed();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(answer.contains(PASSWORD), answers, "{}: {answer}{}", side.program.display(), log(side));
    took
}

/// What the incumbent has to say, which it says nowhere else.
fn log(side: &Side) -> String {
    fs::read_to_string(side.home.join(".ecr/log/ecr-login.log")).unwrap_or_default()
}
