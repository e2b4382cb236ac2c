//! Limits on the cost of a cached answer, in counts instead of times: system calls, files, threads, memory, instructions; on
//! the calls to AWS in each scenario; on the size of the helper. A change that needs more has to raise a limit here.
//!
//! All tests except those of calls to AWS require the static program that packaging/build makes, since the counts of a
//! dynamic one would include the C library's loader.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};

use crate::HOST;
use crate::dns::is_static;
use crate::helper::{Helper, many, program};
use crate::issuers::{SSO, sign_in};
use crate::namespace::{has_unique_mounts, missing, skip};
use crate::process::settle;
use crate::support::aws::Aws;

const LARGEST: u64 = 6_000_000;
/// Of every source, with all the files that it can have. One of them is root's, which looks whose home directory it is in.
const SYSTEM_CALLS: usize = 54;
/// What nothing else depends on than a process: of the one in the test three programs, the directory of one, a directory of the PATH that
/// lacks one of them, the current directory, which takes two, and the three folders of the AWS CLI's sessions.
const SYSTEM_CALLS_OF_PROCESS: usize = 8;
/// What only a machine with a tag of its board takes, and what a sandbox takes on Linux before 6.8, which has no ids of mounts that it
/// never gives again.
const SYSTEM_CALLS_OF_TAG: usize = 1;
const SYSTEM_CALLS_OF_OLDER_KERNEL: usize = 5;
/// Of memory of its own (`RssAnon`): four fifths are pages with addresses that the loader adjusts. The pages of the program's
/// file, which all processes share, are not in there.
const KILOBYTES: [u64; 2] = [400, 440];
/// By callgrind on x86-64; a tenth more is too much. Half of the first are addresses that the loader adjusts.
const INSTRUCTIONS: [u64; 2] = [370_000, 1_700_000];

/// Minor page faults, which no load changes: 100 and 105 when this was written, and up to ten more on another machine, by how the
/// file lies in the page cache. 55 are pages with addresses that the loader adjusts. `/bin/true` has 55. Where the code is split or
/// renamed, `packaging/order` puts what runs side by side again.
const PAGE_FAULTS: [u64; 2] = [120; 2];

/// Two users whose token is cached: one with keys in the environment, and one who assumes a role by a config file of
/// two hundred profiles, with fifty registries in the helper's configuration.
fn users(aws: &Aws) -> [(&'static str, Helper); 2] {
    let plain = Helper::of(aws);
    let large = Helper::of(aws).without_keys();
    let mut config = "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = stand-in\n".to_owned();
    for number in 0..200 {
        let role = format!("role_arn = arn:aws:iam::111122223333:role/R{number}\nsource_profile = base\n");
        let _ = write!(config, "[profile p{number}]\n{role}region = us-east-1\n");
    }
    large.write(".aws/config", &config);
    let mut registries = String::new();
    for number in 0..49 {
        let _ = write!(registries, "[[registry]]\nmatch = \"{:012}.*\"\nprofile = \"p{number}\"\n", 5_000 + number);
    }
    registries += "[[registry]]\nmatch = \"111122223333.*\"\nprofile = \"p150\"\n";
    large.write(".config/docker-credential-ecr-login/config.toml", &registries);
    for user in [&plain, &large] {
        user.get(HOST).password_for(HOST);
        user.get(HOST).password_for(HOST);
    }
    [("plain", plain), ("large", large)]
}

/// Whether the packaged program is under test, and the tool is here.
fn possible(test: &str, tool: &str) -> bool {
    if missing(&[tool, "readelf"]).is_some() {
        skip(test, &format!("{tool} or readelf is not installed"));
    } else if !is_static(&program()) {
        skip(test, "this program is dynamic; packaging/build makes the static one");
    } else {
        return true;
    }
    false
}

#[test]
fn a_hit_makes_few_system_calls_opens_what_it_must_and_has_one_thread() {
    if !possible("system calls", "strace") {
        return;
    }
    let aws = Aws::start();
    let files = [&[][..], &[".config/docker-credential-ecr-login/config.toml", ".aws/config"]];
    for ((name, user), files) in users(&aws).into_iter().zip(files) {
        let (ran, trace) = user.traced(HOST, &[]);
        ran.password_for(HOST);
        assert_few_calls(name, &trace, SYSTEM_CALLS);
        let home = user.home().display().to_string();
        let opened: Vec<&str> = trace
            .lines()
            .filter(|line| line.contains(" open") || line.contains("creat("))
            .map(|line| line.split('"').nth(1).expect("a path"))
            .map(|path| path.strip_prefix(&format!("{home}/")).unwrap_or(path))
            .collect();
        let cache = user.cache_dir().strip_prefix(&home).expect("in the home").display().to_string();
        let mut expected = Vec::new();
        for ending in ["manifest", "json"] {
            let files = fs::read_dir(user.cache_dir()).expect("a cache").flatten().map(|file| file.file_name());
            let name = files.map(|name| name.into_string().expect("UTF-8")).find(|name| name.ends_with(ending));
            expected.push(format!("{cache}/{}", name.expect("a file")));
        }
        expected.extend(files.iter().map(|file| (*file).to_owned()));
        assert_eq!(opened, expected, "{name}");
        for word in ["socket", "connect", "clone", "fork", "epoll", "eventfd", "timerfd", "pipe", "execveat"] {
            assert!(!trace.contains(&format!(" {word}")), "{name}: {word} in {trace}");
        }
    }
}

fn assert_few_calls(name: &str, trace: &str, limit: usize) {
    let calls = trace.lines().filter(|line| !line.contains("+++")).count();
    println!("{name}: {calls} system calls");
    assert!(calls <= limit, "{name}: {calls} system calls: {trace}");
}

#[test]
fn a_hit_of_every_other_source_makes_few_system_calls_too() {
    if !possible("system calls of all sources", "strace") {
        return;
    }
    let aws = Aws::start();
    let helper = || Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let instance = helper().var("AWS_EC2_METADATA_DISABLED", "");
    let instance = instance.var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &aws.url());
    let container = helper().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/v1/sidecar", aws.url()));
    let process = helper();
    let keys = r#"{"Version":1,"AccessKeyId":"AKIAPROCESS","SecretAccessKey":"s"}"#;
    let script = process.write_program("process", &format!("#!/bin/sh\necho '{keys}'\n"));
    let config = process.write(".aws/config", &format!("[default]\ncredential_process = {}\n", script.display()));
    settle(&[&script, &config]);
    let sso = helper();
    sso.write(".aws/config", &format!("[default]\n{SSO}sso_region = eu-west-1\nsso_start_url = u\n"));
    sign_in(&sso, "u", "2099-01-01T00:00:00Z");
    let web_identity = helper().var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R");
    let token = web_identity.write("token", "token").display().to_string();
    let web_identity = web_identity.var("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
    web_identity.write(".aws/config", "[default]\nregion = us-east-1\n");
    for user in [&sso, &web_identity] {
        user.write(".aws/credentials", "[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s\n");
        user.write(".config/docker-credential-ecr-login/config.toml", "timeout = \"9s\"\n");
    }
    let has_tag = Path::new("/sys/devices/virtual/dmi/id/board_asset_tag").exists();
    let tag = if has_tag { SYSTEM_CALLS_OF_TAG } else { 0 };
    let sandbox = tag + if has_unique_mounts() { 0 } else { SYSTEM_CALLS_OF_OLDER_KERNEL };
    for (name, user, more) in [
        ("instance", instance, sandbox),
        ("container", container, sandbox),
        ("process", process, sandbox + SYSTEM_CALLS_OF_PROCESS),
        ("SSO", sso, tag),
        ("web identity", web_identity, tag),
    ] {
        user.get(HOST).password_for(HOST);
        let before = aws.count();
        let (ran, trace) = user.traced(HOST, &[]);
        ran.password_for(HOST);
        assert_eq!(aws.count(), before, "{name}: a hit");
        assert_few_calls(name, &trace, SYSTEM_CALLS + more);
    }
}

#[test]
fn a_hit_takes_little_memory() {
    if !possible("memory", "strace") {
        return;
    }
    let aws = Aws::start();
    for ((name, user), limit) in users(&aws).into_iter().zip(KILOBYTES) {
        // A full pipe holds it up in its last step, when it has all the memory that it will ever have.
        let (reader, mut writer) = io::pipe().expect("a pipe");
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
        while writer.write(&[0; 4096]).is_ok() {}
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("a flag");
        let mut child = user.command().arg("get").stdout(Stdio::from(writer)).spawn().expect("the program starts");
        child.stdin.take().expect("a pipe").write_all(HOST.as_bytes()).expect("a write");
        let status = loop {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it still runs");
            // The number of the system call that it is in: write.
            let call = fs::read_to_string(format!("/proc/{}/syscall", child.id())).unwrap_or_default();
            if call.starts_with("1 ") || call.starts_with("64 ") || (call.is_empty() && status.contains("State:\tS")) {
                break status;
            }
            thread::yield_now();
        };
        drop(reader);
        child.kill().and_then(|()| child.wait()).expect("an end");
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().expect("a number")
        };
        assert!(field("RssAnon") <= limit, "{name}: {} kB", field("RssAnon"));
        assert_eq!(field("Threads"), 1);
    }
}

#[test]
fn a_hit_takes_as_many_instructions_as_are_on_record() {
    if !cfg!(target_arch = "x86_64") {
        return skip("instructions", "the record is for x86-64");
    }
    if !possible("instructions", "valgrind") {
        return;
    }
    let aws = Aws::start();
    for ((name, user), record) in users(&aws).into_iter().zip(INSTRUCTIONS) {
        let output = user.under("valgrind", &["--tool=callgrind", "--callgrind-out-file=/dev/null"], &[], HOST);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.stdout.starts_with(b"{\"ServerURL\""), "{said}");
        let count = said.split("Collected : ").nth(1).and_then(|rest| rest.lines().next()).expect("a count");
        let count: u64 = count.parse().expect("a number");
        println!("{name}: {count} instructions, {record} on record");
        assert!(count <= record + record / 10, "{name}: {count} instructions instead of {record}");
    }
}

#[test]
fn a_hit_has_as_many_page_faults_as_are_on_record() {
    // Without the faults of a fork, and with the standard streams of this process.
    const COUNT: &str = "import os, sys; child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); \
                         print(os.wait4(child, 0)[2].ru_minflt, file=sys.stderr)";
    if !possible("page faults", "python3") {
        return;
    }
    let aws = Aws::start();
    for ((name, user), limit) in users(&aws).into_iter().zip(PAGE_FAULTS) {
        let fewest = (0..5).map(|_| {
            let output = user.under("python3", &["-c", COUNT], &[], HOST);
            assert!(output.stdout.starts_with(b"{\"ServerURL\""), "{output:?}");
            String::from_utf8_lossy(&output.stderr).trim().parse::<u64>().expect("a number")
        });
        let fewest = fewest.min().expect("five runs");
        println!("{name}: {fewest} page faults");
        assert!(fewest <= limit, "{name}: {fewest} page faults");
    }
}

/// Writes `packaging/hit.ld` from what a program with symbols runs through: `packaging/order`.
#[test]
#[ignore = "writes a file of the source: packaging/order"]
fn functions_of_a_hit() {
    let (aws, profile) = (Aws::start(), tempfile::NamedTempFile::new().expect("a file"));
    let into = format!("--callgrind-out-file={}", profile.path().display());
    let mut functions = BTreeSet::new();
    for (_, user) in users(&aws) {
        let output = user.under("valgrind", &["--tool=callgrind", "--demangle=no", &into], &[], HOST);
        assert!(output.stdout.starts_with(b"{\"ServerURL\""), "{output:?}");
        let profile = fs::read_to_string(profile.path()).expect("a profile");
        let names = profile.lines().filter(|line| line.contains("fn=(")).filter_map(|line| line.split_once(") "));
        functions.extend(names.filter_map(|(_, name)| without_hashes(name)));
    }
    assert!(functions.len() > 200, "{functions:?}");
    let lines: Vec<String> = functions.iter().map(|name| format!("*(.text.*{name})\n")).collect();
    fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/hit.ld"), lines.concat()).expect("a write");
}

/// A function's name in the program, of either of Rust's manglings, as a pattern: what another compiler or another version of a
/// crate changes in it is `*`.
fn without_hashes(name: &str) -> Option<String> {
    if let Some((path, _)) = name.strip_prefix("_ZN").and_then(|rest| rest.split_once("17h")) {
        return Some(format!("_ZN{path}17h*"));
    }
    let mut crates = name.strip_prefix("_R")?.split("Cs");
    let mut pattern = format!("_R{}", crates.next()?);
    for part in crates {
        // The crate's hash ends with an underscore: "CsjrHSEGnQ3l9_3std".
        pattern = format!("{pattern}Cs*_{}", part.split_once('_').map_or(part, |(_, rest)| rest));
    }
    let (pattern, _) = pattern.split_once('.').unwrap_or((&pattern, ""));
    Some(format!("{pattern}*"))
}

#[test]
fn the_program_is_static_and_small() {
    if !possible("size", "readelf") {
        return;
    }
    let size = fs::metadata(program()).expect("a program").len();
    assert!(size <= LARGEST, "{size} bytes");
}

/// Off the headers of the program under test; `packages` looks at the programs in packages in the same way.
#[test]
fn the_program_is_position_independent_and_hardened() {
    if !possible("hardening", "readelf") {
        return;
    }
    assert_hardened(&program());
}

/// That a program for Linux is loaded at a random address, has no memory that is writable and executable at once, no
/// executable stack, and nothing left to relocate once it runs.
pub fn assert_hardened(program: &Path) {
    let output = Command::new("readelf").args(["--file-header", "-l", "-d", "-W"]).arg(program).output();
    let output = output.expect("readelf runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |what: &str| {
        let line = text.lines().find(|line| line.split_whitespace().any(|word| word.trim_end_matches(':') == what));
        line.unwrap_or_else(|| panic!("no {what} in {}: {text}", program.display()))
    };
    assert!(line("Type").contains("DYN"), "{text}");
    assert!(line("(FLAGS)").contains("BIND_NOW") && line("(FLAGS_1)").contains("PIE"), "{text}");
    assert!(line("GNU_STACK").contains(" RW "), "{text}");
    line("GNU_RELRO");
    line("(RELR)");
    for absent in [" RWE ", "(TEXTREL)"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
}

/// That scanners find the crates in a program: `cargo auditable` lists them in a section.
pub fn assert_auditable(program: &Path) {
    let output = Command::new("readelf").args(["-S", "-W"]).arg(program).output().expect("readelf runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(" .dep-v0 "), "{}: {text}", program.display());
}

/// An instance's metadata service is asked three times, and here ECR is at the same address.
#[test]
fn requests_to_one_place_share_a_connection() {
    if missing(&["strace"]).is_some() {
        return skip("connections", "strace is not installed");
    }
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_EC2_METADATA_DISABLED", "").var("AWS_ENDPOINT_URL", &aws.url());
    let helper = helper.var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &aws.url());
    let (ran, trace) = helper.traced(HOST, &["-e", "trace=connect"]);
    ran.password_for(HOST);
    assert_eq!((aws.count(), trace.matches("connect(").count()), (4, 1), "{trace}");
}

#[test]
fn a_get_that_misses_reads_each_file_of_aws_once_and_starts_one_runtime() {
    if missing(&["strace"]).is_some() {
        return skip("files and runtimes of a miss", "strace is not installed");
    }
    let aws = Aws::start();
    let role = "role_arn = arn:aws:iam::111122223333:role/R\nsource_profile = dev\n";
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_PROFILE", "top");
    let config = format!("[profile top]\n{role}[profile dev]\nsso_session = corp\n{}", crate::issuers::SSO);
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    let config = helper.write(".aws/config", &format!("{config}{session}"));
    let keys = helper.write(".aws/credentials", "");
    let sign_in = crate::issuers::sign_in(&helper, "corp", "2099-01-01T00:00:00Z");
    let (ran, trace) = helper.traced(HOST, &["-e", "trace=openat,epoll_create1"]);
    ran.password_for(HOST);
    for file in [config, keys, sign_in] {
        assert_eq!(trace.matches(&format!("\"{}\"", file.display())).count(), 1, "{}: {trace}", file.display());
    }
    assert_eq!((aws.count(), trace.matches("epoll_create1(").count()), (3, 1), "{trace}");
    // Tokens in files: for STS, and for the endpoint of a container.
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let token = helper.write("token", "token").display().to_string();
    let uri = format!("{}/v1/pod", aws.url());
    let role = "arn:aws:iam::111122223333:role/R";
    for vars in [
        [("AWS_WEB_IDENTITY_TOKEN_FILE", &*token), ("AWS_ROLE_ARN", role)],
        [("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &*token), ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*uri)],
    ] {
        let helper = vars.into_iter().fold(Helper::bare(), |helper, (name, value)| helper.var(name, value));
        let helper = helper.var("AWS_ENDPOINT_URL", &aws.url());
        let (ran, trace) = helper.traced(HOST, &["-e", "trace=openat,epoll_create1"]);
        ran.password_for(HOST);
        let count = |text: &str| trace.matches(text).count();
        assert_eq!((count(&format!("\"{token}\"")), count("epoll_create1(")), (1, 1), "{vars:?}: {trace}");
    }
}

#[test]
fn doctor_starts_one_runtime() {
    if missing(&["strace"]).is_some() {
        return skip("runtimes of doctor", "strace is not installed");
    }
    let aws = Aws::start();
    // Without the clients, whose programs doctor runs.
    let helper = Helper::without_registry(&aws).var("PATH", "/nonexistent");
    let trace = helper.home().join("trace");
    let mut command = helper.tool("/usr/bin/strace");
    command.args(["-f", "-e", "trace=epoll_create1", "-o"]).arg(&trace).arg(crate::helper::program());
    let ran = crate::process::run(command.args(["doctor", HOST]), "");
    let trace = std::fs::read_to_string(trace).expect("a trace");
    assert_eq!(trace.matches("epoll_create1(").count(), 1, "{ran:?}: {trace}");
}

/// What AWS is asked, scenario by scenario.
#[test]
fn calls_to_aws() {
    let host = |account: u64, region: &str| format!("{account:012}.dkr.ecr.{region}.amazonaws.com");
    let aws = Aws::start();
    let asked = |scenario: &str, expected: &[&str], run: &dyn Fn()| {
        let before = aws.count();
        run();
        let calls: Vec<String> =
            aws.calls()[before..].iter().map(|call| format!("{} {}", call.service, call.operation)).collect();
        assert_eq!(calls, expected, "{scenario}");
    };
    let ecr = "ecr GetAuthorizationToken";
    let role = ["sts AssumeRole", ecr];
    let user = Helper::without_registry(&aws);
    asked("the first get", &[ecr], &|| drop(user.get(HOST).password_for(HOST)));
    asked("the second", &[], &|| drop(user.get(HOST).password_for(HOST)));
    asked("other accounts of the region", &[], &|| {
        for account in 1..=20 {
            user.get(host(account, "us-east-1")).password_for(&host(account, "us-east-1"));
        }
    });
    asked("two more regions", &[ecr, ecr], &|| {
        for region in ["eu-west-1", "cn-north-1"] {
            let host = format!("{}{}", host(1, region), if region.starts_with("cn") { ".cn" } else { "" });
            user.get(&host).password_for(&host);
        }
    });
    asked("list, version, help, store", &[], &|| {
        for args in [&["list"][..], &["version"], &["--help"]] {
            assert_eq!(user.run(args, "").code, Some(0));
        }
        let login = json!({"ServerURL": HOST, "Username": "AWS", "Secret": "s"}).to_string();
        user.run(&["store"], login).silent();
    });
    asked("get-login-password, export and kubelet after get", &[], &|| {
        let kubelet = json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "kind": "CredentialProviderRequest",
            "image": format!("{HOST}/team/app:1"),
        });
        for (args, input) in [
            (&["get-login-password", "--region", "us-east-1"][..], Value::Null),
            (&["export", HOST, &host(7, "us-east-1"), &host(8, "eu-west-1")], Value::Null),
            (&["kubelet"], kubelet),
        ] {
            let ran = user.run(args, input.to_string());
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    });
    asked("erase, then get", &[ecr], &|| {
        user.run(&["erase"], HOST).silent();
        user.get(HOST).password_for(HOST);
    });
    asked("doctor", &[ecr, "sts GetCallerIdentity"], &|| drop(user.run(&["doctor", HOST], "")));
    asked("an assumed role, twice", &role, &|| {
        let user = Helper::of(&aws).var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/Pull");
        user.get(HOST).password_for(HOST);
        user.get(HOST).password_for(HOST);
    });
    asked("ECR Public, twice", &["ecr-public GetAuthorizationToken"], &|| {
        user.get("public.ecr.aws").password_for("public.ecr.aws");
        user.get("public.ecr.aws").password_for("public.ecr.aws");
    });
    asked("twenty at once", &[ecr], &|| {
        let (runs, _) = many(&Helper::of(&aws), 20, HOST);
        for ran in runs {
            ran.password_for(HOST);
        }
    });
    asked("hosts that are not ECR's", &[], &|| {
        for host in ["ghcr.io", "", "https://index.docker.io/v1/"] {
            user.get(host).error();
        }
    });
}
