//! The GitHub Action's script, with a release on a loopback server.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::HOST;
use crate::namespace::{missing, skip};
use crate::process::output;
use crate::recipes::{NAME, VERSION, release, sum};

/// A release on a server, the server's address, and the checksum that pins the release; `None` where the action cannot run.
pub fn served() -> Option<(TempDir, String, String)> {
    if let Some(program) = missing(&["curl"]) {
        skip("the GitHub Action", &format!("{program} is not installed"));
        return None;
    }
    let release = release();
    let (url, checksums) = (serve(release.path()), sum(&release.path().join("SHA256SUMS")));
    Some((release, url, checksums))
}

const ROLE: &str = "arn:aws:iam::111122223333:role/team/Deploy";

fn by_role(checksums: &str) -> Value {
    json!({
        "CHECKSUMS": checksums, "ROLE": ROLE, "REGION": "eu-west-1", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://id.example"
    })
}

/// Runs the action where it has to fail, and leave nothing; what it says.
#[track_caller]
fn fails(served: &str, settings: &Value) -> String {
    let runner = Runner::new(served);
    let output = runner.run(settings);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && said.starts_with("::error "), "{settings}: {said}");
    assert_eq!((runner.left(), runner.text("path") + &runner.text("env")), (0, String::new()), "{settings}");
    said
}

#[test]
fn the_action_installs_the_program_and_sets_up_the_registries() {
    let Some((_release, served, checksums)) = served() else { return };
    let good = json!({"CHECKSUMS": checksums, "REGISTRIES": format!("{HOST}\n public.ecr.aws\n")});
    let runner = Runner::new(&served);
    let output = runner.run(&good);
    assert!(output.status.success(), "{output:?}");
    let path = runner.text("path");
    let bin = runner.temp().join(format!("{NAME}-{VERSION}-linux-x86_64/bin"));
    assert_eq!(path.trim_end(), bin.to_str().expect("UTF-8"));
    assert_eq!(runner.text("output").trim_end(), format!("path={}", path.trim_end()));
    assert!(bin.join(NAME).exists());
    assert_eq!(runner.text("calls"), format!("setup -- {HOST} public.ecr.aws\n"));
    assert_eq!(runner.left(), 1, "the scratch directory is gone");
    let cache = runner.temp().join(format!("{NAME}-cache"));
    assert_eq!(runner.text("env"), format!("AWS_ECR_CACHE_DIR={}\n", cache.display()), "the runner empties its parent");
    let setup_s_path = runner.text("path-of-setup");
    assert!(setup_s_path.starts_with(&format!("{}:", bin.display())), "or setup would warn: {setup_s_path}");
    assert!(runner.run(&good).status.success(), "and once more in the same job");
}

#[test]
fn the_action_takes_an_account_and_a_region_for_its_registry() {
    let Some((_release, served, checksums)) = served() else { return };
    let runner = Runner::new(&served);
    let account = json!({
        "CHECKSUMS": checksums, "ACCOUNT": "111122223333", "REGION": "eu-west-1", "PUBLIC": "true", "VERSION": VERSION
    });
    assert!(runner.run(&account).status.success());
    assert_eq!(runner.text("calls"), "setup --account 111122223333 --region eu-west-1 --public\n");
}

#[test]
fn the_action_takes_a_region_for_the_account_of_the_job() {
    let Some((_release, served, checksums)) = served() else { return };
    let runner = Runner::new(&served);
    assert!(runner.run(&json!({"CHECKSUMS": checksums, "REGION": "eu-west-1"})).status.success());
    assert_eq!(runner.text("calls"), "setup --region eu-west-1\n");
}

#[test]
fn the_action_has_the_helper_assume_a_role() {
    let Some((_release, served, checksums)) = served() else { return };
    let runner = Runner::new(&served);
    let mut by_role = by_role(&checksums);
    by_role["AWS_ECR_CACHE_DIR"] = "/cache".into();
    assert!(runner.run(&by_role).status.success());
    assert_eq!(runner.text("calls"), "setup --account 111122223333 --region eu-west-1\n");
    let variables =
        format!("AWS_ECR_WEB_IDENTITY=github\nAWS_ECR_ROLE_ARN={ROLE}\nAWS_ECR_ROLE_ARN_111122223333={ROLE}\n");
    assert_eq!(runner.text("env"), variables, "the cache that the job has chosen stays");
    let runner = Runner::new(&served);
    let mut of_others = by_role.clone();
    of_others["REGISTRIES"] = "222233334444.dkr.ecr.us-east-1.amazonaws.com".into();
    assert!(runner.run(&of_others).status.success());
    assert_eq!(runner.text("calls"), "setup -- 222233334444.dkr.ecr.us-east-1.amazonaws.com\n");
    // Another use does not take the first one's accounts over.
    assert!(runner.text("env").contains(&format!("AWS_ECR_ROLE_ARN_222233334444={ROLE}\n")), "{}", runner.text("env"));
}

#[test]
fn the_action_refuses_a_role_or_region_that_is_none() {
    let Some((_release, served, checksums)) = served() else { return };
    for (setting, value, words) in [
        ("ROLE", "Deploy", "ARN of a role"),
        ("ROLE", "arn:aws:iam::111122223333:role/a\nX=y", "ARN of a role"),
        ("REGION", "", "region must be"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "", "id-token: write"),
    ] {
        let mut wrong = by_role(&checksums);
        wrong[setting] = value.into();
        let said = fails(&served, &wrong);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn the_action_installs_nothing_that_the_checksum_does_not_promise() {
    let Some((release, served, checksums)) = served() else { return };
    fails(&served, &json!({"CHECKSUMS": ""}));
    let said = fails(&served, &json!({"CHECKSUMS": sum(&release.path().join("daemonset.yaml"))}));
    assert!(said.contains(&format!("take it from the notes of v{VERSION}")), "{said}");
    fails(&served, &json!({"CHECKSUMS": checksums, "VERSION": "99.0.0"}));
    fails(&served, &json!({"CHECKSUMS": checksums, "RUNNER_ARCH": "X86"}));
    fails(&served, &json!({"CHECKSUMS": checksums, "REGISTRIES": "refused.example"}));
    fs::write(release.path().join(format!("{NAME}-{VERSION}-linux-x86_64.tar.gz")), "other bytes").expect("a write");
    let said = fails(&served, &json!({"CHECKSUMS": checksums, "REGISTRIES": HOST}));
    assert!(said.contains(&format!("{NAME}-{VERSION}-linux-x86_64.tar.gz has the checksum")), "{said}");
}

/// A job's machine, as the action's script sees it.
struct Runner {
    dir: TempDir,
    releases: String,
}

impl Runner {
    fn new(releases: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("temp")).expect("a directory");
        Self { dir, releases: releases.to_owned() }
    }

    fn temp(&self) -> PathBuf {
        self.dir.path().join("temp")
    }

    /// How much the action has left in the job's temporary directory.
    fn left(&self) -> usize {
        fs::read_dir(self.temp()).expect("a directory").count()
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }

    fn run(&self, settings: &Value) -> Output {
        let action = fs::canonicalize("packaging/github-action").expect("the action");
        let mut command = Command::new(action.join("install"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("GITHUB_ACTION_PATH", &action);
        command.env("RUNNER_OS", "Linux").env("RUNNER_ARCH", "X64").env("RUNNER_TEMP", self.temp());
        for (variable, file) in [
            ("GITHUB_PATH", "path"),
            ("GITHUB_OUTPUT", "output"),
            ("GITHUB_ENV", "env"),
            ("CALLS", "calls"),
            ("PATHS", "path-of-setup"),
        ] {
            command.env(variable, self.dir.path().join(file));
        }
        for input in ["VERSION", "REGISTRIES", "ROLE", "ACCOUNT", "REGION", "PUBLIC"] {
            command.env(input, "");
        }
        for (name, value) in settings.as_object().expect("settings") {
            command.env(name, value.as_str().expect("text"));
        }
        output(command.env("RELEASES", &self.releases))
    }
}

/// Serves the files of a release at their addresses, for as long as the tests run.
pub fn serve(dir: &Path) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let dir = dir.to_owned();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n")
                && std::io::Read::read(&mut stream, &mut byte).is_ok_and(|read| read == 1)
            {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request);
            let path = request.split(' ').nth(1).unwrap_or_default();
            let file = path.strip_prefix(&format!("/v{VERSION}/")).and_then(|name| fs::read(dir.join(name)).ok());
            let (status, body) = file.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    format!("http://{address}")
}
