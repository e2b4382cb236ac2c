//! Compares what doctor reports about docker's config.json with what docker does with the same file. `docker logout` calls the
//! helper for the host as a pull does, and requires no daemon.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::HOST;
use crate::helper::{Helper, program};
use crate::namespace::{newer, skip};
use crate::process::output;

/// What docker does with a file.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    calls_helper: bool,
    warns: bool,
}

/// The dockers of this machine: Debian's, that of Debian's next release, and another one.
fn dockers() -> Vec<PathBuf> {
    let places = [Some("/usr/bin/docker".to_owned()), Some("/usr/local/bin/docker".to_owned()), newer("docker")];
    let found: Vec<_> = places.into_iter().flatten().map(PathBuf::from).filter(|path| path.exists()).collect();
    if found.is_empty() {
        skip("docker's settings", "docker is not installed");
    }
    found
}

struct Machine {
    helper: Helper,
    docker: PathBuf,
}

impl Machine {
    fn new(docker: &Path) -> Self {
        let helper = Helper::bare().var("AWS_EC2_METADATA_DISABLED", "true");
        let bin = helper.home().join("bin");
        fs::create_dir(&bin).expect("a directory");
        symlink(docker, bin.join("docker")).expect("a link");
        let helper = helper.var("PATH", bin.to_str().expect("UTF-8"));
        Self { helper, docker: docker.to_owned() }
    }

    /// What docker does, with a stub in place of the helper under test.
    fn docker(&self) -> Seen {
        let calls = self.helper.home().join("calls");
        let _ = fs::remove_file(&calls);
        let name = "bin/docker-credential-ecr-login";
        let stub = format!("#!/bin/sh\nread host; echo $1 $host >> {}\n", calls.display());
        self.helper.write_program(name, &stub);
        let mut command = std::process::Command::new(&self.docker);
        let home = self.helper.home();
        command.args(["logout", HOST]).env_clear().env("HOME", home).env("PATH", home.join("bin"));
        let warnings = String::from_utf8_lossy(&output(&mut command).stderr).into_owned();
        fs::remove_file(home.join(name)).expect("a stub");
        symlink(program(), home.join(name)).expect("a link");
        let calls = fs::read_to_string(calls).unwrap_or_default();
        Seen {
            calls_helper: calls.lines().any(|call| call == format!("erase {HOST}")),
            warns: warnings.contains("WARNING: Error"),
        }
    }

    /// What docker does according to doctor.
    fn doctor(&self) -> Seen {
        let ran = self.helper.run(&["doctor", "--json", HOST], "");
        let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        let checks = report["registries"][0]["checks"].as_array().expect("checks");
        let check = checks.iter().find(|check| check["check"] == "docker").expect("a check");
        let is_about_file = check["what"].as_str().is_some_and(|what| what.contains("config.json"));
        let calls_helper = check["status"] == "ok";
        assert!(is_about_file || check["code"] == "E-CLIENT-NOT-SET-UP", "{check}");
        Seen { calls_helper, warns: report["checks"].to_string().contains("docker warns with every command") }
    }
}

#[test]
fn doctor_reports_what_docker_does_with_each_value_of_its_settings() {
    let entry = format!(r#""credHelpers": {{"{HOST}": "ecr-login"}}"#);
    let members = [
        r#""x": 1"#,
        r#""credsStore": 5"#,
        r#""cliPluginsExtraDirs": "a""#,
        r#""cliPluginsExtraDirs": ["a", null]"#,
        r#""pruneFilters": [1]"#,
        r#""features": {"a": true}"#,
        r#""plugins": {"a": {"b": true}}"#,
        r#""proxies": {"default": {"httpProxy": null}}"#,
        r#""HTTPHEADERS": {"a": ["b"]}"#,
        r#""experimental": true"#,
        r#""networksFormat": 1"#,
        r#""servicesFormat": null"#,
        r#""aliases": 1"#,
        r#""aliases": {"builder": "buildx"}"#,
        r#""aliases": {"p": "pull"}"#,
        r#""aliases": {"builder": ""}"#,
        r#""auths": {"a.example": {"username": 1}}"#,
        r#""auths": {"a.example": {"auth": "user:password"}}"#,
        r#""auths": {"a.example": {"auth": "dXNlcg=="}}"#,
        r#""auths": {"a.example": {"auth": "dXNl\ncjpw"}, "b.example": {"auth": "", "x": 1}}"#,
    ];
    let mut configs: Vec<Vec<u8>> = members.iter().map(|member| format!("{{{member}, {entry}}}").into()).collect();
    configs.extend([&b"null"[..], b" \n", b"[]"].map(<[u8]>::to_vec));
    configs.extend(
        ["null", "\"\"", "\"ecr-login\""]
            .map(|name| format!(r#"{{"credsStore": "ecr-login", "credHelpers": {{"{HOST}": {name}}}}}"#).into()),
    );
    configs.push(format!("{{{entry}}} x").into());
    configs.push(format!("{{{entry}}}\n{{\"credsStore\": 5}}").into());
    configs.push([b"{\"x\": \"caf\xe9\", ", entry.as_bytes(), b"}"].concat());
    for docker in dockers() {
        let machine = Machine::new(&docker);
        let mut kinds = Vec::new();
        for config in &configs {
            let shown = String::from_utf8_lossy(config);
            let path = machine.helper.write(".docker/config.json", "");
            fs::write(path, config).expect("a file");
            // docker may write the file anew.
            let (said, seen) = (machine.doctor(), machine.docker());
            // Docker 20.10 and older do not read it.
            if shown.contains("features") && !seen.warns {
                continue;
            }
            // A file that is no object at all is a failure of its own.
            let said = Seen { warns: said.warns || shown == "[]", ..said };
            assert_eq!(said, seen, "{}: {shown}", docker.display());
            if !kinds.contains(&seen) {
                kinds.push(seen);
            }
        }
        assert_eq!(kinds.len(), 4, "{kinds:?}");
    }
}
