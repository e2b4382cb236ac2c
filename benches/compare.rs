//! `cargo bench`: the packaged program as a whole process, in turn with `/bin/true` and with other helpers: the incumbent
//! where that is installed (Debian's `amazon-ecr-credential-helper`), and those that `INCUMBENT=PATH:PATH` names. `HELPER=PATH`
//! is measured instead of what packaging/build makes. They ask a
//! stand-in for AWS with TLS on loopback, in a private network whose names and certificates are those of AWS. Requires
//! iproute2, and root or a system that lets users make namespaces.
//!
//! Each program is a copy, as installing makes it: a linker writes its output in small pieces, which Linux keeps as such in its page
//! cache, and each start of that file takes a tenth of a millisecond more.
//!
//! Candidates alternate round by round, and a ratio is taken within each round, so that a machine whose speed drifts
//! does not show in it. Prints the tables that benches/README.md has, and writes them to target/bench.md; progress goes to
//! standard error. Where two sides did not do the same work, the same answer with as many calls, there is no ratio but a
//! failure.

#![expect(clippy::disallowed_methods, reason = "variables are the options of a benchmark")]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use support::aws::{Aws, Plan};
use support::tls::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const HOST: &str = "111122223333.dkr.ecr.us-east-1.amazonaws.com";
const PASSWORD: &str = "a-password-as-long-as-it-is-for-the-sake-of-the-same-answer";
const INCUMBENT: &str = "/usr/bin/docker-credential-ecr-login";
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const NAMES: &[&str] = &[
    "api.ecr.us-east-1.amazonaws.com",
    "sts.us-east-1.amazonaws.com",
    "sts.amazonaws.com",
    "portal.sso.us-east-1.amazonaws.com",
    HOST,
];
/// Where the names lead to, at first and for the part about round trips.
const NEAR: &str = "127.83.0.1";
const FAR: &str = "127.83.0.2";
const INSTANCE: &str = "169.254.169.254";
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// A program in a home of its own.
struct Side {
    /// In the table.
    name: String,
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
    let helper = std::env::var("HELPER").unwrap_or_else(|_| {
        let built = Command::new("packaging/build").stderr(Stdio::inherit()).output().expect("the build runs");
        String::from_utf8(built.stdout).expect("UTF-8").lines().last().expect("a path").to_owned()
    });
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("hosts"), hosts(NEAR)).expect("a write");
    // The system's certificates, to be shadowed by themselves and the stand-in's authority in their midst.
    fs::copy(CERTIFICATES, dir.path().join("bundle.pem")).expect("the system's certificates");
    let enter = format!(
        "ip link set lo up; ip address add {INSTANCE}/32 dev lo; mount --bind hosts /etc/hosts; mount --bind bundle.pem {CERTIFICATES}; cd \"$BACK\"; exec \"$@\""
    );
    // Whoever is not root becomes it in there.
    let user: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let status = Command::new("unshare")
        .args(user)
        .args(["--net", "--mount", "--propagation", "private", "sh", "-ec", &enter, "sh"])
        .arg(std::env::current_exe().expect("this program"))
        .current_dir(dir.path())
        .env("BACK", std::env::current_dir().expect("a directory"))
        .env("BENCH_DIR", dir.path())
        .env("BENCH_PROGRAM", helper)
        .status();
    assert!(status.expect("unshare runs").success(), "unshare requires root, or namespaces for users");
}

/// The hosts file, with all names at one address.
fn hosts(address: &str) -> String {
    NAMES.iter().fold("127.0.0.1 localhost\n".to_owned(), |hosts, name| format!("{hosts}{address} {name}\n"))
}

fn inside(dir: &Path) {
    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    let authority = Authority::for_names(NAMES);
    let bundle = fs::OpenOptions::new().append(true).open(CERTIFICATES);
    let added = bundle.and_then(|mut file| file.write_all(&fs::read(authority.bundle())?));
    added.expect("the authority is trusted here");
    authority.serve(TcpListener::bind((NEAR, 443)).expect("a port"), aws.app());
    let helper = std::env::var("BENCH_PROGRAM").expect("set outside");

    let side = |name: &str, program: &str| {
        assert!(Path::new(program).exists(), "{program} does not exist");
        let home = dir.join(format!("home of {}", name.replace(['`', '/'], "-")));
        fs::create_dir(&home).expect("a directory");
        let installed = home.join("program");
        fs::write(&installed, fs::read(program).expect("a program")).expect("a write");
        fs::set_permissions(&installed, fs::Permissions::from_mode(0o755)).expect("a mode");
        Side { name: name.to_owned(), program: installed, home }
    };
    let (crowded, helper) = (side("crowded", &helper), side("one entry", &helper));
    let nothing = side("`/bin/true`", "/bin/true");
    let mut others = Vec::new();
    if Path::new(INCUMBENT).exists() {
        others.push(side("incumbent", INCUMBENT));
    } else {
        println!("no comparison with Debian's incumbent: {INCUMBENT} is not installed");
    }
    let named = std::env::var("INCUMBENT").unwrap_or_default();
    others.extend(named.split(':').filter(|path| !path.is_empty()).map(|path| side(&format!("`{path}`"), path)));
    let mut bench = Bench { aws, table: String::new() };
    bench.line(
        "| what | against | time, median ratio [middle half] | CPU, ratio | helper, ms | other, ms |\n\
         | --- | --- | --- | --- | --- | --- |",
    );

    let keys: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "stand-in")];
    bench.compare("cached get", 400, keys, &helper, &nothing, Work::Cached);
    bench.compare("cached get among 10,000 entries", 400, keys, &crowded, &helper, Work::Crowded(10_000));
    let role = "[default]\nrole_arn = arn:aws:iam::111122223333:role/Pull\nsource_profile = base\nregion = us-east-1\n\
                [profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = stand-in\n";
    let mut config = role.to_owned();
    for number in 0..200 {
        let _ = write!(
            config,
            "[profile p{number}]\nrole_arn = arn:aws:iam::111122223333:role/R{number}\nsource_profile = base\n"
        );
    }
    for side in [&helper, &nothing].into_iter().chain(&others) {
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
    let ours_config = helper.home.join(".config/docker-credential-ecr-login");
    fs::create_dir_all(&ours_config).expect("a directory");
    fs::write(ours_config.join("config.toml"), registries).expect("a write");
    bench.compare("cached get, assumed role, 200 profiles, 50 registries", 400, &[], &helper, &nothing, Work::Cached);
    fs::remove_dir_all(&ours_config).expect("a directory");
    for other in &others {
        bench.compare("cached get", 200, keys, &helper, other, Work::Cached);
        bench.compare("cold get over TLS, the system's certificates", 60, keys, &helper, other, Work::Cold(1));
        bench.compare("cold get over TLS, assumed role", 60, &[], &helper, other, Work::Cold(2));
        bench.parallel(keys, &helper, other);
    }
    bench.round_trips(keys, role, &helper, &others);
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
        eprint!("\r{:79}\r", "");
        println!("{line}");
        self.table.push_str(line);
        self.table.push('\n');
    }

    /// Cold gets with the same round trip to every endpoint, by each kind of credentials.
    fn round_trips(&mut self, keys: &[(&str, &str)], role: &str, helper: &Side, others: &[Side]) {
        fs::write("/etc/hosts", hosts(FAR)).expect("a write");
        delay((FAR, 443), format!("{NEAR}:443"));
        delay((INSTANCE, 80), self.aws.url().trim_start_matches("http://").to_owned());
        let sso = "[default]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Developer\nregion = us-east-1\n\
                   [sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.example/start\n";
        // Connection, TLS and call are one each; the connection to ECR is there when the credentials are.
        let instance = [("AWS_EC2_METADATA_DISABLED", "false")];
        let kinds = [
            ("keys in the environment: connect, TLS, ECR", 3, keys, ""),
            ("an assumed role: connect, TLS, STS, ECR", 4, &[][..], role),
            ("IAM Identity Center: connect, TLS, SSO, ECR", 4, &[], sso),
            ("an instance role: connect, IMDS's token, role and keys, ECR", 5, &instance, ""),
        ];
        let names = others.iter().fold(String::new(), |names, other| format!("{names} {}, ms |", other.name));
        let rule = " --- |".repeat(others.len());
        self.line(&format!(
            "\nWith a round trip of {} ms to every endpoint:\n\n\
             | cold get with | round trips of a minimal client | their time, ms | helper, ms |{names}\n\
             | --- | --- | --- | --- |{rule}",
            ROUND_TRIP.as_millis()
        ));
        for (what, trips, vars, config) in kinds {
            let mut row = format!("| {what} | {trips} | {} |", trips * 50);
            for side in [helper].into_iter().chain(others) {
                fs::create_dir_all(side.home.join(".aws/sso/cache")).expect("a directory");
                fs::write(side.home.join(".aws/config"), config).expect("a write");
                let sign_in = r#"{"startUrl":"https://corp.example/start","region":"us-east-1","accessToken":"a","expiresAt":"2099-01-01T00:00:00Z"}"#;
                let name = format!("{:x}.json", <sha1::Sha1 as sha1::Digest>::digest("corp"));
                fs::write(side.home.join(".aws/sso/cache").join(name), sign_in).expect("a write");
                let mut times = Vec::new();
                for round in 0..15 {
                    progress(what, round, 15);
                    clear(side);
                    let started = Instant::now();
                    let output = start(vars, side).wait_with_output().expect("an end");
                    if String::from_utf8_lossy(&output.stdout).contains(PASSWORD) {
                        times.push(started.elapsed());
                    }
                }
                assert!(!times.is_empty() || side.name != helper.name, "{what} works");
                times.sort();
                // The 0.6.0 of Debian knows no `sso_session`, for one.
                let median = times.get(times.len() / 2).map_or("fails".to_owned(), |time| time.as_millis().to_string());
                let _ = write!(row, " {median} |");
            }
            self.line(&row);
        }
    }

    fn compare(&mut self, what: &str, rounds: usize, vars: &[(&str, &str)], helper: &Side, other: &Side, work: Work) {
        let (mut times, mut cpu) = ([Vec::new(), Vec::new()], [Duration::ZERO; 2]);
        let mut ratios = Vec::new();
        for round in 0..=rounds {
            progress(what, round, rounds);
            let mut took = [Duration::ZERO; 2];
            for (index, side) in [helper, other].into_iter().enumerate() {
                let silent = side.name == "`/bin/true`";
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
                crowd(helper, entries);
            }
            if round > 0 {
                times[0].push(took[0]);
                times[1].push(took[1]);
                ratios.push(took[0].as_secs_f64() / took[1].as_secs_f64());
            }
        }
        self.row(what, other, &mut ratios, times, cpu);
    }

    fn parallel(&mut self, vars: &[(&str, &str)], helper: &Side, other: &Side) {
        let (mut times, mut cpu) = ([Vec::new(), Vec::new()], [Duration::ZERO; 2]);
        let (mut ratios, mut calls) = (Vec::new(), [0; 2]);
        for round in 0..7 {
            progress("50 cold gets at once", round, 7);
            let mut took = [Duration::ZERO; 2];
            for (index, side) in [helper, other].into_iter().enumerate() {
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
                assert!(index == 1 || calls[0] == 1, "one call for all processes of the helper");
            }
            times[0].push(took[0]);
            times[1].push(took[1]);
            ratios.push(took[0].as_secs_f64() / took[1].as_secs_f64());
        }
        let what = format!("50 cold gets at once over TLS, all of them; 1 call to AWS, the other {}", calls[1]);
        self.row(&what, other, &mut ratios, times, cpu);
    }

    fn row(&mut self, what: &str, other: &Side, ratios: &mut [f64], mut times: [Vec<Duration>; 2], cpu: [Duration; 2]) {
        ratios.sort_by(f64::total_cmp);
        times[0].sort();
        times[1].sort();
        let at = |part: usize| ratios[ratios.len() * part / 4];
        let [helper_ms, other_ms] = times.map(|times| times[times.len() / 2].as_secs_f64() * 1000.0);
        let (name, cpu) = (&other.name, cpu[0].as_secs_f64() / cpu[1].as_secs_f64());
        let row = format!(
            "| {what} | {name} | **{:.2}** [{:.2}–{:.2}] | {cpu:.2} | {helper_ms:.2} | {other_ms:.2} |",
            at(2),
            at(1),
            at(3)
        );
        self.line(&row);
    }
}

/// Says on standard error how far it is, on one line.
fn progress(what: &str, round: usize, rounds: usize) {
    if round.is_multiple_of(5) {
        eprint!("\r{:79}\r{what}: {round} of {rounds}", "");
    }
}

/// Passes on what comes to `here`, as if it were as far away as [`ROUND_TRIP`] says. The kernel takes a connection at once,
/// so that the round trip of its beginning is added to what is sent first.
fn delay(here: (&str, u16), to: String) {
    let listener = TcpListener::bind(here).expect("a port");
    listener.set_nonblocking(true).expect("a non-blocking listener");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            loop {
                let Ok((near, _)) = listener.accept().await else { continue };
                let (to, begun) = (to.clone(), tokio::time::Instant::now() + ROUND_TRIP);
                tokio::spawn(async move {
                    let far = tokio::net::TcpStream::connect(to).await.ok()?;
                    near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).ok()?;
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::spawn(pass(near_in, far_out, begun));
                    tokio::spawn(pass(far_in, near_out, begun));
                    Some(())
                });
            }
        });
    });
}

/// One direction of a connection that begins at `begun`.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, begun: tokio::time::Instant) {
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let arrives = tokio::time::Instant::now().max(begun) + ROUND_TRIP / 2;
            if send.send((arrives, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    while let Some((arrives, bytes)) = receive.recv().await {
        tokio::time::sleep_until(arrives).await;
        if to.write_all(&bytes).await.is_err() {
            break;
        }
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
