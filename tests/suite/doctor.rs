//! `doctor`: its checks of a healthy machine, and of problems that it finds before a request to AWS. `errors` has the
//! failures of AWS and the network.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use serde_json::Value;

use crate::HOST;
use crate::helper::{Helper, SECRET_KEY, lacks_kernel, make_older, program};
use crate::namespace::{Namespace, missing, skip};
use crate::support::aws::{Aws, Plan};
use crate::support::tls::Authority;

pub const PASSWORD: &str = "the-password-of-the-registry";

/// A healthy machine: docker is set up, AWS answers, and so does the registry, with TLS.
pub struct Healthy {
    pub aws: Aws,
    pub helper: Helper,
}

impl Healthy {
    pub fn start(test: &str) -> Option<Self> {
        Self::with(test, &[HOST], registry())
    }

    /// The same with registries of a test's own behind these names.
    pub fn with(test: &str, names: &[&str], registry: Router) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip(test, "network namespaces need root");
            return None;
        }
        if let Some(program) = missing(&["ip"]) {
            skip(test, &format!("{program} is not installed"));
            return None;
        }
        let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
        let helper = Helper::of(&aws).var("AWS_ENDPOINT_URL", "http://127.0.0.1:8000").var("AWS_ECR_TIMEOUT", "5s");
        let hosts = helper.write("hosts", &format!("127.0.0.1 localhost\n127.83.0.1 {}\n", names.join(" ")));
        let network = Rc::new(Namespace::of_network(&format!("mount --bind {} /etc/hosts", hosts.display())));
        crate::support::serve(network.listen("127.0.0.1:8000"), aws.app());
        let authority = Authority::for_names(names);
        authority.serve(network.listen("127.83.0.1:443"), registry);
        let pem = std::fs::read_to_string(authority.bundle()).expect("a bundle");
        let bundle = helper.write("ca.pem", &pem);
        let helper = helper.inside(&network).var("AWS_EC2_METADATA_DISABLED", "true");
        let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
        let helper = helper.var("SSL_CERT_FILE", bundle.to_str().expect("UTF-8")).var("PATH", &path);
        let link = helper.write("bin/docker", "").with_file_name("docker-credential-ecr-login");
        symlink(program(), link).expect("a link");
        let healthy = Self { aws, helper };
        healthy.docker(&format!(r#"{{"credHelpers": {{"{HOST}": "ecr-login"}}}}"#));
        Some(healthy)
    }

    pub fn docker(&self, config: &str) {
        self.helper.write(".docker/config.json", config);
    }
}

/// A registry that knows one password.
pub fn registry() -> Router {
    use base64::Engine;
    let expected = format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("AWS:{PASSWORD}")));
    let answer = move |headers: HeaderMap| async move {
        let given = headers.get("authorization").and_then(|value| value.to_str().ok());
        if given == Some(&expected) { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
    };
    Router::new().route("/v2/", get(answer))
}

/// The report and the exit code.
#[track_caller]
pub fn report(helper: &Helper, hosts: &[&str]) -> (Value, Option<i32>) {
    let ran = helper.run(&[&["doctor", "--json"], hosts].concat(), "");
    assert_eq!(ran.stderr, "");
    for secret in [SECRET_KEY, PASSWORD] {
        assert!(!ran.stdout.contains(secret), "{}", ran.stdout);
    }
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    crate::fixes::has_only_tried_commands(&report);
    assert_eq!(report["summary"]["failed"] == 0, ran.code == Some(0), "{report:#}");
    (report, ran.code)
}

/// Status, and code, text and fix of one check of the first registry.
#[track_caller]
pub fn check(report: &Value, name: &str) -> (String, String) {
    let checks = report["registries"][0]["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("{name} in {report}"));
    let text = |name: &str| check[name].as_str().unwrap_or_default();
    let what = format!("{} {} {}", text("code"), text("what"), text("fix")).trim().to_owned();
    (check["status"].as_str().expect("a status").to_owned(), what)
}

/// A variable or a service may give any text for the id of a key.
#[test]
fn an_access_key_id_without_end_is_not_shown() {
    let helper = Helper::of(&Aws::start()).var("AWS_ACCESS_KEY_ID", &"A".repeat(100_000));
    let ran = helper.run(&["doctor", HOST], "");
    assert!(ran.stdout.contains("has not the form of one") && ran.stdout.contains("user/AAA"));
    assert!(ran.stdout.lines().all(|line| line.len() < 1200));
}

#[test]
fn a_healthy_machine_is_ok_in_every_step() {
    let Some(Healthy { aws, helper }) = Healthy::start("doctor") else { return };
    let (all, code) = report(&helper, &[HOST]);
    assert_eq!((code, &all["ok"], &all["schema"]), (Some(0), &Value::Bool(true), &Value::from(1)), "{all:#}");
    for (name, words) in [
        ("docker", &["calls the helper", "credHelpers", ".docker/config.json"][..]),
        ("host", &["111122223333", "us-east-1"]),
        ("mapping", &["none"]),
        ("credentials", &["AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"]),
        ("principal", &["arn:aws:iam::111122223333:user/AKIAEXAMPLE"]),
        ("endpoint", &["http://127.0.0.1:8000", "directly", "ca.pem (SSL_CERT_FILE)"]),
        ("clock", &["agrees"]),
        ("cache", &["nothing for this identity"]),
        ("token", &["ms", "11 h 59 min"]),
        ("registry", &[HOST, "/v2/"]),
    ] {
        let (status, what) = check(&all, name);
        assert_eq!(status, "ok", "{name}: {what}");
        for word in words {
            // The twelve hours may be whole.
            let found = what.contains(word) || (*word == "11 h 59 min" && what.contains("12 h 0 min"));
            assert!(found, "{word} in {what}");
        }
    }
    assert_eq!(helper.entries().len(), 0, "nothing is changed");
    // Without a host, it checks those for which docker calls the helper.
    let (all, code) = report(&helper, &[]);
    assert_eq!((code, &all["registries"][0]["host"]), (Some(0), &Value::from(HOST)));
    helper.get(HOST).password_for(HOST);
    make_older(&helper, Duration::from_hours(2));
    assert!(check(&report(&helper, &[HOST]).0, "cache").1.contains("2 h 0 min old, refreshed in "));
    make_older(&helper, Duration::from_hours(7));
    assert!(check(&report(&helper, &[HOST]).0, "cache").1.contains("refreshed by the next get"));
    // A token that AWS gives and the registry refuses.
    aws.change(|plan| plan.password = Some("another".to_owned()));
    let (all, code) = report(&helper, &[HOST]);
    let (status, what) = check(&all, "registry");
    assert!((code, status.as_str()) == (Some(1), "failure") && what.contains("E-REGISTRY-DENIED"), "{what}");
    aws.change(|plan| plan.ahead = 620);
    let (status, what) = check(&report(&helper, &[HOST]).0, "clock");
    assert!(status == "warning" && what.contains("10 min behind") && what.contains("W-CLOCK-OFF"), "{what}");
}

#[test]
fn settings_of_podman_that_no_program_reads_are_no_failure() {
    let Some(Healthy { helper, .. }) = Healthy::start("doctor without podman") else { return };
    let bin = helper.home().join("bin").display().to_string();
    let helper = helper.var("PATH", &bin);
    helper.write(".config/containers/registries.conf", "[[");
    helper.write(".config/containers/policy.json", "{");
    for hosts in [&[HOST][..], &[]] {
        let (all, code) = report(&helper, hosts);
        assert!(code == Some(0) && !all["checks"].to_string().contains("registries.conf"), "{all:#}");
    }
}

#[test]
fn doctor_names_what_keeps_docker_from_calling_the_helper() {
    let Some(healthy) = Healthy::start("doctor of clients") else { return };
    let elsewhere = healthy.helper.write("elsewhere/config.json", "{}").with_file_name("");
    for (config, words) in [
        (r#"{"credsStore": "desktop"}"#.to_owned(), &["docker-credential-desktop", "credsStore", "setup"][..]),
        (format!(r#"{{"credHelpers": {{"{HOST}": "gcloud"}}}}"#), &["docker-credential-gcloud", "credHelpers"]),
        (
            format!(r#"{{"auths": {{"https://{HOST}/v1/": {{"auth": "QVdTOmE="}}}}}}"#),
            &["earlier login", "--remove-auths"],
        ),
        ("{}".to_owned(), &["names no credential helper", "setup"]),
        (
            format!(r#"{{"credHelpers": {{"{HOST}": "docker-credential-ecr-login"}}}}"#),
            &["E-CLIENT-HELPER-NAME", "docker-credential-docker-"],
        ),
        (
            format!(r#"{{"credHelpers": {{"https://{HOST}": "ecr-login"}}}}"#),
            &["E-CLIENT-KEY-SCHEME", "the key 'https://"],
        ),
        // It keeps docker from credsStore too.
        (
            format!(r#"{{"credsStore": "ecr-login", "credHelpers": {{"{HOST}": ""}}}}"#),
            &["credHelpers in ", "without the name of a helper"],
        ),
        (
            format!(r#"{{"credHelpers": {{"{HOST}": "ecr-login"}}, "aliases": {{"p": "pull"}}}}"#),
            &["E-CLIENT-CONFIG-INVALID", "config.json: aliases", "docker stops"],
        ),
        ("{\n  \"credHelpers\": oops".to_owned(), &["line 2", "not JSON"]),
        ("[]".to_owned(), &["not a JSON object"]),
    ] {
        healthy.docker(&config);
        let (all, code) = report(&healthy.helper, &[HOST]);
        let (status, what) = check(&all, "docker");
        assert_eq!((status.as_str(), code), ("failure", Some(1)), "{config}: {what}");
        for word in words {
            assert!(what.contains(word), "{word} in {what}");
        }
        assert_eq!(check(&all, "token").0, "ok", "the rest goes on");
        // The fix that it prints works.
        if let Some((_, fix)) = what.split_once("run 'docker-credential-ecr-login ") {
            let args: Vec<&str> = fix.trim_end_matches('\'').split(' ').collect();
            let ran = healthy.helper.run(&args, "");
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert_eq!(check(&report(&healthy.helper, &[HOST]).0, "docker").0, "ok", "{config}: {what}");
        }
    }
    healthy.docker(r#"{"credsStore": "ecr-login"}"#);
    let (all, code) = report(&healthy.helper, &[HOST]);
    assert_eq!((check(&all, "docker").0.as_str(), code), ("ok", Some(0)));
    let moved = healthy.helper.var("DOCKER_CONFIG", elsewhere.to_str().expect("UTF-8"));
    let (_, what) = check(&report(&moved, &[HOST]).0, "docker");
    assert!(what.contains("names no credential helper"), "{what}");
    let sudo = moved.var("DOCKER_CONFIG", "").var("SUDO_USER", "me");
    let (status, what) = check(&report(&sudo, &[HOST]).0, "user");
    assert!(status == "warning" && what.contains("me's"), "{what}");
    let lost = sudo.var("SUDO_USER", "").var("PATH", "/nonexistent");
    let (status, what) = check(&report(&lost, &[HOST]).0, "program");
    assert!(status == "failure" && what.contains("not on the PATH"), "{what}");
}

#[test]
fn members_that_no_client_reads_and_a_docker_that_reads_another_file_are_pointed_out() {
    let helper = Helper::bare();
    let path = format!("{}/snap/bin:/usr/bin:/bin", helper.home().display());
    let helper = helper.var("PATH", &path);
    for (member, meant) in [
        ("credStore", "'credsStore'"),
        ("credentialsStore", "'credsStore'"),
        ("credHelper", "'credHelpers'"),
        ("credsHelpers", "'credHelpers'"),
    ] {
        helper.write(".docker/config.json", &format!("{{\"{member}\": \"ecr-login\"}}"));
        for hosts in [&[HOST][..], &[]] {
            let (all, _) = report(&helper, hosts);
            let checks = all["checks"].as_array().expect("checks");
            let found = checks.iter().find(|check| check["fix"].as_str().is_some_and(|fix| fix.contains(meant)));
            let found = found.unwrap_or_else(|| panic!("{member}: {all:#}"));
            let what = found["what"].as_str().expect("a text");
            assert!(found["status"] == "warning" && what.contains(&format!("'{member}'")), "{what}");
            assert!(what.contains(".docker/config.json"), "{what}");
        }
    }
    helper.write(".docker/config.json", "{\"CREDSSTORE\": \"ecr-login\", \"credHelpers\": {}}");
    let read = helper.home().join("snap/docker/current/.docker");
    let snaps = |helper: &Helper| {
        let text = report(helper, &[HOST]).0["checks"].to_string();
        assert!(!text.contains("rename it"), "{text}");
        text.contains("is a snap") && text.contains(&format!("{}/config.json and not", read.display()))
    };
    assert!(!snaps(&helper));
    shell(&format!("mkdir -p {0}/snap/bin; cp /bin/true {0}/snap/bin/docker", helper.home().display()));
    assert!(snaps(&helper));
    assert!(!snaps(&helper.var("DOCKER_CONFIG", read.to_str().expect("UTF-8"))));
}

#[test]
fn a_root_without_proc_is_no_program_without_a_path() {
    if lacks_kernel("a root without /proc") {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        return skip("doctor without /proc", "mounts need root");
    }
    let namespace = Rc::new(Namespace::of_mounts("mount -t tmpfs tmpfs /proc"));
    let helper = Helper::bare().inside(&namespace).var("AWS_EC2_METADATA_DISABLED", "true");
    let check = |helper: &Helper| {
        let text = helper.run(&["doctor"], "").stdout;
        let lines: Vec<&str> = text.lines().skip_while(|line| !line.contains("program")).take(2).collect();
        lines.join("\n")
    };
    let lost = check(&helper);
    assert!(lost.contains("not on the PATH") && lost.contains("copy this program into a directory"), "{lost}");
    let bin = helper.write("bin/x", "").with_file_name("docker-credential-ecr-login");
    symlink(program(), &bin).expect("a link");
    let helper = helper.var("PATH", bin.parent().and_then(Path::to_str).expect("UTF-8"));
    let found = check(&helper);
    assert!(found.starts_with(&format!("ok       program      {}", bin.display())), "{found}");
}

#[test]
fn podman_goes_by_its_own_files_first() {
    let Some(healthy) = Healthy::start("doctor of podman") else { return };
    healthy.helper.write_program("bin/podman", "");
    let (all, code) = report(&healthy.helper, &[HOST]);
    assert_eq!((check(&all, "podman").0.as_str(), code), ("ok", Some(0)), "podman reads docker's file");
    let stale = format!(r#"{{"auths": {{"{HOST}": {{"auth": "QVdTOmE="}}}}}}"#);
    healthy.helper.write(".config/containers/auth.json", &stale);
    let (all, code) = report(&healthy.helper, &[HOST]);
    let (status, what) = check(&all, "podman");
    assert!(status == "warning" && what.contains("earlier login") && what.contains("containers/auth.json"), "{what}");
    assert_eq!(code, Some(0), "docker works");
    healthy.helper.write(
        ".config/containers/registries.conf",
        "credential-helpers = [\"ecr-login\", \"containers-auth.json\"]\n",
    );
    let (status, what) = check(&report(&healthy.helper, &[HOST]).0, "podman");
    assert!(status == "ok" && what.contains("credential-helpers in"), "{what}");
}

#[test]
fn a_host_or_a_configuration_that_is_wrong() {
    let helper = Helper::bare();
    let (all, code) = report(&helper, &["1111.dkr.ecr.us-east-1.amazonaws.com"]);
    assert_eq!((check(&all, "host").0.as_str(), code), ("failure", Some(1)));
    helper.write(".config/docker-credential-ecr-login/config.toml", "timeot = '1s'\n");
    let (_, what) = check(&report(&helper, &[HOST]).0, "mapping");
    assert!(what.contains("line 1") && what.contains("timeot"), "{what}");
}

#[test]
fn doctor_names_the_fallback_helper_of_a_registry() {
    let helper = Helper::bare();
    let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
    let helper = helper.var("PATH", &path);
    helper.write(".config/docker-credential-ecr-login/config.toml", "fallback = 'keeper'\n");
    let (status, what) = check(&report(&helper, &["ghcr.io"]).0, "host");
    assert!(status == "failure" && what.contains("docker-credential-keeper") && what.contains("PATH"), "{what}");
    let printed = helper.run(&["doctor"], "").stdout;
    assert!(printed.contains("the fallback helper docker-credential-keeper is not on the PATH"), "{printed}");
    symlink(program(), helper.write("bin/x", "").with_file_name("docker-credential-keeper")).expect("a link");
    let (status, what) = check(&report(&helper, &["ghcr.io"]).0, "host");
    assert!(status == "ok" && what.contains("docker-credential-keeper"), "{what}");
}

/// The directory that podman has for users without a login session may be root's.
#[test]
fn a_podman_that_is_not_there_fails_no_report() {
    if !nix::unistd::geteuid().is_root() || missing(&["setpriv"]).is_some() {
        return skip("a podman that is not there", "only root can close its directory");
    }
    let aws = Aws::start();
    let network = Namespace::of_mounts("mount -t tmpfs none /run\nmkdir -m 700 /run/containers");
    let helper = Helper::without_registry(&aws);
    fs::set_permissions(helper.home(), fs::Permissions::from_mode(0o755)).expect("a mode");
    std::os::unix::fs::chown(helper.home(), Some(65534), None).expect("an owner");
    let copy = helper.write("bin/docker", "").with_file_name("docker-credential-ecr-login");
    crate::process::copy_program(&copy);
    let bin = copy.with_file_name("").display().to_string();
    for args in [&["doctor"][..], &["doctor", HOST], &["setup", "--remove"]] {
        let mut command = network.command("/usr/bin/setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(args).env_clear();
        command.envs(helper.command().get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PATH", &bin);
        let ran = crate::process::run(&mut command, "");
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("/run/containers"), "{args:?}: {ran:?}");
    }
}

/// podman makes a directory of its own for a user without a login session.
#[test]
fn a_closed_directory_for_logins_keeps_skopeo_from_credentials_and_not_podman() {
    if !nix::unistd::geteuid().is_root() || missing(&["setpriv"]).is_some() {
        return skip("a closed directory for logins", "only root can close it");
    }
    let aws = Aws::start();
    let network = Namespace::of_mounts("mount -t tmpfs none /run\nmkdir -m 700 /run/containers");
    let helper = Helper::without_registry(&aws);
    fs::set_permissions(helper.home(), fs::Permissions::from_mode(0o755)).expect("a mode");
    std::os::unix::fs::chown(helper.home(), Some(65534), None).expect("an owner");
    helper.write(".docker/config.json", &format!(r#"{{"credHelpers": {{"{HOST}": "ecr-login"}}}}"#));
    let copy = helper.write("bin/x", "").with_file_name("docker-credential-ecr-login");
    crate::process::copy_program(&copy);
    let bin = copy.with_file_name("").display().to_string();
    let own = helper.write("tmp/storage-run-65534/containers/auth.json", "{}");
    std::os::unix::fs::chown(own.ancestors().nth(2).expect("a directory"), Some(65534), None).expect("an owner");
    let doctor = || {
        let mut command = network.command("/usr/bin/setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(["doctor", "-v", HOST]);
        command.env_clear().envs(helper.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
        let tmp = helper.home().join("tmp");
        crate::process::run(command.env("PATH", &bin).env("TMPDIR", tmp), "").stdout
    };
    let (calls, closed) = ("calls the helper: credHelpers in ", "/run/containers belongs to root");
    helper.write_program("bin/skopeo", "#!/bin/sh\necho skopeo version 1.9.3\n");
    let alone = doctor();
    assert!(alone.contains(&format!("failed   podman       {closed}")), "{alone}");
    helper.write_program("bin/podman", "#!/bin/sh\necho podman version 4.3.1\n");
    let both = doctor();
    let warning = format!("warning  skopeo       {closed}, and this user has no permission to enter it");
    assert!(both.contains(&warning) && both.contains("so skopeo finds no credentials"), "{both}");
    assert!(both.contains(&format!("ok       podman       {calls}")), "{both}");
    // A login of podman is in its own directory.
    std::fs::write(&own, format!(r#"{{"auths": {{"{HOST}": {{"auth": "QVdTOmE="}}}}}}"#)).expect("a file");
    let login = doctor();
    assert!(login.contains("storage-run-65534/containers/auth.json, and calls no helper"), "{login}");
    fs::remove_file(copy.with_file_name("skopeo")).expect("a program");
    assert!(!doctor().contains("/run/containers"), "{}", doctor());
}

/// What the report says of the cache holds after the run.
#[test]
fn a_token_that_doctor_removes_after_a_refusal_is_reported_as_removed() {
    for args in [&["doctor", "-v", HOST][..], &["doctor", "--json", HOST], &["doctor"], &["doctor", "--json"]] {
        let aws = Aws::start();
        let helper = Helper::without_registry(&aws).without_keys().var("AWS_REGION", "us-east-1");
        let sso = format!("[default]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
        helper.write(".aws/config", &sso);
        crate::issuers::sign_in(&helper, "u", "2099-01-01T00:00:00Z");
        helper.get(HOST).password_for(HOST);
        let before = helper.run(args, "").stdout;
        assert!(before.contains("a token ") && before.contains("refreshed in"), "{before}");
        aws.change(|plan| {
            (plan.failures, plan.failure, plan.service) = (usize::MAX, (403, "ForbiddenException", "no"), "sso");
        });
        let after = helper.run(args, "").stdout;
        assert!(helper.entries().is_empty(), "{args:?}: {after}");
        assert!(after.contains("the token of this identity is removed") && !after.contains("refreshed in"), "{after}");
    }
}

#[test]
fn a_cache_that_keeps_nothing_is_named_with_the_cause() {
    let aws = Aws::start();
    let cache = |helper: &Helper, words: &[&str]| {
        let (status, what) = check(&report(helper, &[HOST]).0, "cache");
        assert!(status == "warning" && words.iter().all(|word| what.contains(word)), "{words:?} in {what}");
    };
    let helper = Helper::without_registry(&aws);
    helper.get(HOST).password_for(HOST);
    let [entry] = helper.entries().try_into().expect("one entry");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    mode(&entry, 0o644);
    cache(&helper, &["others could have written it"]);
    mode(&entry, 0o600);
    fs::write(&entry, "{\"format\":1").expect("a write");
    cache(&helper, &["damaged"]);
    assert_eq!(fs::read_to_string(&entry).expect("an entry"), "{\"format\":1", "nothing is changed");
    fs::remove_file(&entry).expect("a file");
    assert_eq!(check(&report(&helper, &[HOST]).0, "cache").0, "ok");
    let left = fs::read_dir(helper.cache_dir()).expect("a cache").flatten().map(|file| file.path());
    let is_usual = |path: &Path| path.extension().is_some_and(|ending| ending == "TAG" || ending == "manifest");
    assert_eq!(left.filter(|path| !is_usual(path)).count(), 0, "nothing is left behind");
    mode(&helper.cache_dir(), 0o777);
    cache(&helper, &["others may write", "chmod 700"]);
    cache(&Helper::without_registry(&aws).var("AWS_ECR_DISABLE_CACHE", "1"), &["disabled"]);
    cache(&Helper::without_registry(&aws).var("HOME", "relative"), &["no home directory"]);
    let helper = Helper::without_registry(&aws).var("AWS_ECR_CACHE_DIR", "~/file");
    helper.write("file", "");
    cache(&helper, &["not a directory"]);

    if !nix::unistd::geteuid().is_root() {
        return skip("doctor of disks", "mounts need root");
    }
    let mount = tempfile::tempdir().expect("a directory");
    let at = mount.path().display();
    let namespace = Rc::new(Namespace::of_mounts(&format!(
        "mkdir {at}/full {at}/fixed\nmount -t tmpfs -o size=16k,mode=700 tmpfs {at}/full\n\
         mount -t tmpfs -o ro tmpfs {at}/fixed\n! head -c 1000000 /dev/zero 2>/dev/null > {at}/full/filler"
    )));
    for (dir, words) in [("full", "No space left"), ("fixed/not/yet", "Read-only file system")] {
        let helper = Helper::without_registry(&aws).inside(&namespace).var("AWS_EC2_METADATA_DISABLED", "true");
        cache(&helper.var("AWS_ECR_CACHE_DIR", &format!("{at}/{dir}")), &[words]);
    }
}

/// The file that setup would write is below it.
#[test]
fn without_a_home_directory_that_comes_before_setup() {
    let ran = Helper::bare().var("HOME", "relative").run(&["doctor", HOST], "");
    let fixes: Vec<&str> = ran.stdout.lines().filter(|line| line.contains(" setup ")).collect();
    assert!(!fixes.is_empty(), "{ran:?}");
    for fix in fixes {
        assert!(fix.trim_start().starts_with("fix: set HOME, then run 'docker-credential-ecr-login setup "), "{fix}");
    }
}

#[test]
fn what_a_mapping_decides_is_shown_with_its_place() {
    let helper = Helper::bare().var("AWS_EC2_METADATA_DISABLED", "true");
    helper.write(
        ".config/docker-credential-ecr-login/config.toml",
        "timeout = '2s'\n\n[[registry]]\nmatch = '111122223333.*'\nprofile = 'prod'\n",
    );
    let (_, what) = check(&report(&helper, &[HOST]).0, "mapping");
    assert!(what.contains("config.toml, line 3") && what.contains("profile 'prod'"), "{what}");
    let helper = helper.var("AWS_ECR_PROFILE_111122223333", "ci");
    let (_, what) = check(&report(&helper, &[HOST]).0, "mapping");
    assert!(what.contains("AWS_ECR_PROFILE_111122223333") && what.contains("profile 'ci'"), "{what}");
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let helper = Helper::bare();
    let plain = helper.run(&["doctor", HOST], "").stdout;
    assert!(plain.contains("ok       endpoint") && plain.contains("fix: ") && !plain.contains('\x1b'), "{plain}");
    for (name, value, coloured) in [("TERM", "xterm", true), ("NO_COLOR", "1", false), ("TERM", "dumb", false)] {
        let mut helper = Helper::bare();
        helper.set(name, value);
        let (text, code) = helper.on_terminal(&["doctor", HOST], "");
        assert_eq!(code, Some(1));
        assert_eq!(text.contains("\x1b[3"), coloured, "{name}={value}: {text}");
    }
}

fn shell(script: &str) {
    assert!(Command::new("sh").args(["-ec", script]).status().expect("a shell").success(), "{script}");
}
