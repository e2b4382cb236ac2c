//! The GitHub Action's script, on a release that a loopback server has.

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

#[test]
fn the_action_installs_what_the_checksum_promises_and_nothing_else() {
    if let Some(program) = missing(&["curl"]) {
        return skip("the GitHub Action", &format!("{program} is not installed"));
    }
    let release = release();
    let served = serve(release.path());
    let checksums = sum(&release.path().join("SHA256SUMS"));
    let good = json!({"CHECKSUMS": checksums, "REGISTRIES": format!("{HOST}\n public.ecr.aws\n")});

    let runner = Runner::new(&served);
    let output = runner.run(&good);
    assert!(output.status.success(), "{output:?}");
    let path = runner.text("path");
    let bin = runner.temp().join(format!("{NAME}-{VERSION}-linux-x86_64/bin"));
    assert_eq!(path.trim_end(), bin.to_str().expect("UTF-8"));
    assert_eq!(runner.text("output").trim_end(), format!("path={}", path.trim_end()));
    assert!(bin.join(NAME).exists());
    assert_eq!(runner.text("calls"), format!("setup {HOST} public.ecr.aws\n"));
    assert_eq!(runner.left(), 1, "the scratch directory is gone");
    assert!(runner.run(&good).status.success(), "and once more in the same job");

    let runner = Runner::new(&served);
    let account = json!({
        "CHECKSUMS": checksums, "ACCOUNT": "111122223333", "REGION": "eu-west-1", "PUBLIC": "true", "VERSION": VERSION
    });
    assert!(runner.run(&account).status.success());
    assert_eq!(runner.text("calls"), "setup --account 111122223333 --region eu-west-1 --public\n");

    let runner = Runner::new(&served);
    let role = "arn:aws:iam::111122223333:role/team/Deploy";
    let by_role = json!({
        "CHECKSUMS": checksums, "ROLE": role, "REGION": "eu-west-1", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://id.example"
    });
    assert!(runner.run(&by_role).status.success());
    assert_eq!(runner.text("calls"), "setup --account 111122223333 --region eu-west-1\n");
    let variables =
        format!("AWS_ECR_WEB_IDENTITY=github\nAWS_ECR_ROLE_ARN={role}\nAWS_ECR_ROLE_ARN_111122223333={role}\n");
    assert_eq!(runner.text("env"), variables);
    let runner = Runner::new(&served);
    let mut of_others = by_role.clone();
    of_others["REGISTRIES"] = HOST.into();
    assert!(runner.run(&of_others).status.success());
    assert_eq!(runner.text("calls"), format!("setup {HOST}\n"));

    let fails = |what: &str, settings: &Value| {
        let runner = Runner::new(&served);
        let output = runner.run(settings);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!output.status.success() && said.starts_with("::error "), "{what}: {said}");
        assert_eq!(
            (runner.left(), runner.text("path") + &runner.text("env")),
            (0, String::new()),
            "{what} leaves nothing"
        );
        said
    };
    fails("no pin", &json!({"CHECKSUMS": ""}));
    fails("another pin", &json!({"CHECKSUMS": sum(&release.path().join("daemonset.yaml"))}));
    for (setting, value, words) in [
        ("ROLE", "Deploy", "ARN of a role"),
        ("ROLE", "arn:aws:iam::111122223333:role/a\nX=y", "ARN of a role"),
        ("REGION", "", "region is to be"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "", "id-token: write"),
    ] {
        let mut wrong = by_role.clone();
        wrong[setting] = value.into();
        let said = fails(setting, &wrong);
        assert!(said.contains(words), "{said}");
    }
    fails("no such version", &json!({"CHECKSUMS": checksums, "VERSION": "99.0.0"}));
    fails("no such machine", &json!({"CHECKSUMS": checksums, "RUNNER_ARCH": "X86"}));
    let mut refused = good.clone();
    refused["REGISTRIES"] = "refused.example".into();
    fails("setup", &refused);
    fs::write(release.path().join(format!("{NAME}-{VERSION}-linux-x86_64.tar.gz")), "other bytes").expect("a write");
    let said = fails("another archive", &good);
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
        for (variable, file) in
            [("GITHUB_PATH", "path"), ("GITHUB_OUTPUT", "output"), ("GITHUB_ENV", "env"), ("CALLS", "calls")]
        {
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
fn serve(dir: &Path) -> String {
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
