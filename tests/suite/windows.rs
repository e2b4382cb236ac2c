//! Behaviour that is specific to Windows, by the program for Windows in wine: `tests/platforms/windows`. The rest of the
//! suite that does not require Unix runs there too.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::HOST;
use crate::helper::{Helper, Ran, limit, many, printed, program};
use crate::process::{settle, wait_until};
use crate::support::aws::{Aws, Plan};
use crate::support::tls::Authority;

/// A path as Windows writes it; wine's drive Z: is the root directory here.
fn windows(path: &Path) -> String {
    format!("Z:{}", path.display()).replace('/', "\\")
}

/// The program in `tests/platforms/tool.rs`, with arguments.
fn tool(args: &str) -> String {
    let tool = std::env::var("WINDOWS_TOOL").expect("tests/platforms/windows builds it");
    format!("{} {args}", windows(Path::new(&tool)))
}

fn with_process(helper: Helper, args: &str) -> Helper {
    helper.write(".aws/config", &format!("[default]\ncredential_process = {}\n", tool(args)));
    helper
}

/// No credentials but those that a process prints.
fn without_keys(aws: &Aws) -> Helper {
    Helper::bare().var("AWS_ENDPOINT_URL", &aws.url())
}

/// A number of seconds that no other process waits for.
fn unique_seconds() -> String {
    format!("9{}", std::process::id() % 1000)
}

/// Whether a process of the tool still waits for that time.
fn is_waiting(seconds: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).any(|line| {
        let words: Vec<&str> = line.split('\0').collect();
        words.windows(2).any(|pair| pair == ["sleep", seconds])
    })
}

#[track_caller]
fn ends(seconds: &str) {
    wait_until("the process ends", Duration::from_secs(5), || !is_waiting(seconds));
}

#[test]
#[ignore = "tests/platforms/windows"]
fn a_slow_credential_process_does_not_keep_the_client_waiting() {
    let aws = Aws::start();
    let seconds = format!("{}1", unique_seconds());
    let helper = without_keys(&aws).var("AWS_ECR_TIMEOUT", "3s");
    let started = windows(&helper.home().join("started"));
    let helper = with_process(helper, &format!("wait {seconds} {started}"));
    // Until standard output is closed, as docker waits.
    let ran = helper.get(HOST);
    assert!(ran.took < limit(Duration::from_secs(6)), "{:?}", ran.took);
    assert!(helper.home().join("started").exists(), "it ran");
    let line = ran.error();
    assert!(line.contains("credential_process of profile 'default'") && line.contains("stopped"), "{line}");
    ends(&seconds);
}

#[test]
#[ignore = "tests/platforms/windows"]
fn a_fallback_helper_that_hangs_is_stopped_with_what_it_started() {
    let seconds = format!("{}2", unique_seconds());
    let helper = Helper::bare().var("AWS_ECR_TIMEOUT", "3s");
    let started = windows(&helper.home().join("started"));
    let command = tool(&format!("wait {seconds} {started}"));
    let helper = with_fallback(helper, &format!("@{command}\r\n"));
    let ran = helper.get("ghcr.io");
    assert!(ran.took < limit(Duration::from_secs(6)), "{:?}", ran.took);
    assert!(ran.error().contains("docker-credential-fake did not answer in time"), "{ran:?}");
    assert!(helper.home().join("started").exists(), "it ran");
    ends(&seconds);
}

/// A fallback helper that is a script of cmd.exe, as PATHEXT allows.
fn with_fallback(helper: Helper, script: &str) -> Helper {
    helper.write(".config/docker-credential-ecr-login/config.toml", "fallback = 'fake'");
    helper.write("bin/docker-credential-fake.cmd", script);
    let path = helper.home().join("bin").display().to_string();
    helper.var("PATH", &path)
}

#[test]
#[ignore = "tests/platforms/windows"]
fn a_fallback_helper_may_be_a_script() {
    let answer = r#"{"ServerURL":"ghcr.io","Username":"me","Secret":"s"}"#;
    let helper = with_fallback(Helper::bare(), &format!("@echo {answer}\r\n"));
    let ran = helper.get("ghcr.io");
    assert_eq!((ran.code, ran.stdout.trim_end()), (Some(0), answer), "{ran:?}");
}

#[test]
#[ignore = "tests/platforms/windows"]
fn tokens_of_a_credential_process_are_cached() {
    let aws = Aws::start();
    let helper = without_keys(&aws);
    let calls = helper.home().join("calls").display().to_string();
    let helper = with_process(helper.var("TOOL_CALLS", &calls), "credentials");
    settle(&[&helper.home().join(".aws/config")]);
    let first = helper.get(HOST).password_for(HOST);
    assert_eq!(helper.get(HOST).password_for(HOST), first);
    assert_eq!(fs::read_to_string(helper.home().join("calls")).expect("a file"), "x");
    assert_eq!(aws.count(), 1);
}

#[test]
#[ignore = "tests/platforms/windows"]
fn tokens_of_a_credential_process_with_a_directory_are_not_cached() {
    let aws = Aws::start();
    let helper = without_keys(&aws);
    let calls = helper.home().join("calls").display().to_string();
    // Changes of files in it would not be noticed.
    let helper = with_process(helper.var("TOOL_CALLS", &calls), r"credentials Z:\usr");
    settle(&[&helper.home().join(".aws/config")]);
    helper.get(HOST).password_for(HOST);
    helper.get(HOST).password_for(HOST);
    assert_eq!(fs::read_to_string(helper.home().join("calls")).expect("a file"), "xx");
}

#[test]
#[ignore = "tests/platforms/windows"]
fn a_private_authority_is_trusted_by_name() {
    let aws = Aws::start();
    let authority = Authority::for_names(&["localhost"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    authority.serve(listener, aws.app());
    let helper = Helper::of(&aws).var("AWS_ENDPOINT_URL", &url).var("AWS_ECR_DISABLE_CACHE", "1");
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains("not trusted") && line.contains("AWS_CA_BUNDLE"), "{line}");
    helper.var("AWS_CA_BUNDLE", authority.bundle().to_str().expect("UTF-8")).get(HOST).password_for(HOST);
}

#[test]
#[ignore = "tests/platforms/windows"]
fn many_gets_at_once_make_one_call() {
    for count in [20, 60] {
        let aws = Aws::with(Plan { delay: Duration::from_millis(300), ..Plan::default() });
        let helper = Helper::of(&aws);
        let (runs, _) = many(&helper, count, HOST);
        let passwords: BTreeSet<String> = runs.iter().map(|ran| ran.password_for(HOST)).collect();
        assert_eq!((aws.count(), passwords.len()), (1, 1), "{count}");
    }
}

#[test]
#[ignore = "tests/platforms/windows"]
fn refreshes_at_once_replace_an_entry_that_others_read() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    crate::helper::make_older(&helper, Duration::from_hours(7));
    let (runs, _) = many(&helper, 20, HOST);
    for ran in &runs {
        ran.password_for(HOST);
    }
    assert_eq!(aws.count(), 2);
}

#[test]
#[ignore = "tests/platforms/windows"]
fn many_setups_at_once_lose_nothing_of_each_other() {
    let helper = Helper::bare();
    for round in ["", "--remove"] {
        let start = |number: usize| {
            let mut command = helper.command();
            command.args(["setup", "--account", &format!("{number:012}"), "--region", "us-east-1"]);
            if !round.is_empty() {
                command.arg(round);
            }
            command.stdin(Stdio::null()).spawn().expect("a start")
        };
        let children: Vec<_> = (0..20).map(start).collect();
        for child in children {
            let output = child.wait_with_output().expect("an end");
            assert!(output.status.success(), "{output:?}");
        }
        let count = fs::read(helper.home().join(".docker/config.json")).map_or(0, |config| {
            let config: Value = serde_json::from_slice(&config).expect("JSON");
            config["credHelpers"].as_object().map_or(0, serde_json::Map::len)
        });
        assert_eq!(count, if round.is_empty() { 20 } else { 0 });
    }
    let left: Vec<_> = fs::read_dir(helper.home().join(".docker")).into_iter().flatten().flatten().collect();
    assert!(left.iter().all(|file| file.file_name() == "config.json"), "{left:?}");
}

#[test]
#[ignore = "tests/platforms/windows"]
fn the_home_is_docker_s() {
    let aws = Aws::start();
    let helper = without_keys(&aws);
    let keys = |id: &str| format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s\n");
    helper.write(".aws/credentials", &keys("AKIAUSERPROFILE"));
    helper.write("other/.aws/credentials", &keys("AKIAHOME"));
    let other = helper.home().join("other").display().to_string();
    let helper = helper.var("WINDOWS_HOME", &other);
    helper.get(HOST).password_for(HOST);
    let callers: Vec<String> = aws.calls().into_iter().map(|call| call.access_key).collect();
    assert_eq!(callers, ["AKIAUSERPROFILE"]);
}

#[test]
#[ignore = "tests/platforms/windows"]
fn the_plugin_s_name_may_be_in_any_case() {
    let aws = Aws::start();
    for name in ["ecr-credential-provider.exe", "ECR-CREDENTIAL-PROVIDER.EXE"] {
        let helper = Helper::of(&aws);
        let link = helper.write("bin/x", "").with_file_name(name);
        symlink(program(), &link).expect("a link");
        let request = format!(
            r#"{{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"{HOST}/a"}}"#
        );
        let mut command = std::process::Command::new(&link);
        command.env_clear().envs(helper.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a start");
        std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), request.as_bytes()).expect("a write");
        let ran = Ran::new(child.wait_with_output().expect("an end"), Duration::ZERO);
        let answer: Value = serde_json::from_str(printed(&ran)).expect("JSON");
        assert_eq!(answer["kind"], "CredentialProviderResponse", "{name}");
    }
}

#[test]
#[ignore = "tests/platforms/windows"]
fn advice_is_for_windows() {
    let aws = Aws::start();
    let helper = without_keys(&aws).var("AWS_PROFILE", "absent");
    let line = helper.get(HOST).error().to_owned();
    let path = windows(&helper.home().join(".aws").join("config"));
    assert!(line.contains(&path), "{path}: {line}");
    let doctor = helper.run(&["doctor"], "").stdout;
    assert!(doctor.contains("is not on the PATH") && doctor.contains("copy Z:\\"), "{doctor}");
    for foreign in ["sudo", "/usr/local/bin", "chmod"] {
        assert!(!doctor.contains(foreign), "{foreign}: {doctor}");
    }
    helper.write(".aws/config", "[profile absent]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\nsso_region = us-east-1\nsso_start_url = u\n");
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains("aws sso login") && !line.contains('/'), "{line}");
}
