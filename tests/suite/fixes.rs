//! The fixes of `doctor`: each command and each `unset` of a fix runs as printed, in a shell, and removes the finding.
//!
//! Stand-ins for other programs record their arguments and write the files that the real ones would write.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::HOST;
use crate::doctor::{Healthy, report};
use crate::doctor_report::images;
use crate::helper::{Helper, SECRET_KEY, lacks_kernel, program};
use crate::issuers::sign_in;
use crate::namespace::{missing, skip};
use crate::support::aws::{Aws, Plan};

/// What a fix begins its commands with.
const PROGRAMS: &[&str] =
    &["docker-credential-ecr-login ", "chmod ", "install ", "aws ", "sudo ", "rmdir ", "timedatectl "];

/// The commands that are run below, and those that only show or concern another machine.
const TRIED: &[&str] = &[
    "docker-credential-ecr-login setup ",
    "docker-credential-ecr-login login ",
    "aws configure",
    "aws sso login --profile ",
    "aws login --profile ",
    "aws ecr create-repository ",
    "aws ecr list-images ",
    "aws sts get-caller-identity",
    "aws ec2 modify-instance-metadata-options --instance-id ID ",
    "install -m 755 ",
    "sudo install -m 755 ",
    "sudo chown ",
    "rmdir ",
    "chmod 700 ",
    "chmod u+rw ",
    "chmod u+rwx ",
    "timedatectl set-ntp true",
];

/// A fix of any test names no command that was not tried here.
#[track_caller]
pub fn has_only_tried_commands(report: &Value) {
    for (_, code, fix) in findings(report) {
        for command in commands(&fix) {
            assert!(TRIED.iter().any(|tried| command.starts_with(tried)), "{code}: '{command}' is not in the tests");
        }
    }
}

/// The findings of a report that are not ok: check, code and fix.
fn findings(report: &Value) -> Vec<(String, String, String)> {
    let of_registries = report["registries"].as_array().expect("registries").iter().map(|registry| &registry["checks"]);
    let all = of_registries.chain([&report["checks"]]).flat_map(|checks| checks.as_array().expect("checks"));
    let text = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
    let bad = all.filter(|check| check["status"] != "ok");
    bad.map(|check| (text(check, "check"), text(check, "code"), text(check, "fix"))).collect()
}

/// The commands that a fix names.
fn commands(fix: &str) -> impl Iterator<Item = &str> {
    let starts = fix.match_indices('\'').map(|(at, _)| &fix[at + 1..]);
    let commands = starts.filter(|rest| PROGRAMS.iter().any(|program| rest.starts_with(program)));
    commands.map(|rest| rest.split('\'').next().expect("a first part"))
}

/// The first of them.
fn command(fix: &str) -> Option<&str> {
    commands(fix).next()
}

/// A program of somebody else.
fn stand_in(helper: &Helper, name: &str, script: &str) {
    let script = format!("#!/bin/sh\necho {name} \"$@\" >> \"$HOME/ran\"\n{script}\n");
    helper.write_program(&format!("bin/{name}"), &script);
}

/// Runs a command as its reader would, on a terminal if something is `typed`.
fn run(helper: &Helper, command: &str, typed: &str) {
    let mut shell = if typed.is_empty() { Command::new("sh") } else { Command::new("script") };
    if typed.is_empty() {
        shell.args(["-ec", command])
    } else {
        shell.args(["-qec", command, "/dev/null"])
    };
    shell.env_clear();
    shell.envs(helper.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), typed.as_bytes()).expect("a write");
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{command}: {output:?}");
}

/// A machine whose clients find the program, with a way to change what is on the PATH.
fn machine(aws: &Aws) -> Helper {
    let helper = Helper::without_registry(aws);
    let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
    let helper = helper.var("PATH", &path);
    symlink(program(), helper.write("bin/docker", "").with_file_name("docker-credential-ecr-login")).expect("a link");
    stand_in(&helper, "sudo", "exec \"$@\"");
    helper
}

/// Asserts that `doctor` reports the finding, runs its fix, and asserts that the finding does not reappear.
#[track_caller]
fn is_fixed(helper: Helper, subject: &str, code: &str, typed: &str) -> Helper {
    is_fixed_as(helper, subject, code, typed, |_| ())
}

/// The same where the rest of the world changes with the command.
#[track_caller]
fn is_fixed_as(mut helper: Helper, subject: &str, code: &str, typed: &str, then: impl Fn(&Helper)) -> Helper {
    let subjects: Vec<&str> = Some(subject).filter(|subject| !subject.is_empty()).into_iter().collect();
    let (before, _) = report(&helper, &subjects);
    let finding = findings(&before).into_iter().find(|(_, found, _)| found == code);
    let (check, _, fix) = finding.unwrap_or_else(|| panic!("no {code} in {before:#}"));
    if let Some(command) = command(&fix) {
        run(&helper, command, typed);
    } else {
        let (_, rest) = fix.split_once("unset ").unwrap_or_else(|| panic!("nothing to do in: {fix}"));
        let name = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().expect("a name");
        helper.set(name, "");
    }
    then(&helper);
    let (after, _) = report(&helper, &subjects);
    let left: Vec<_> =
        findings(&after).into_iter().filter(|(name, found, _)| *name == check || found == code).collect();
    assert!(left.is_empty(), "after '{fix}': {left:?}");
    helper
}

fn ran(helper: &Helper) -> String {
    fs::read_to_string(helper.home().join("ran")).unwrap_or_default()
}

#[test]
fn of_docker() {
    let aws = Aws::start();
    let password = r#"{"auth": "QVdTOmE="}"#;
    for (code, config) in [
        ("E-CLIENT-NOT-SET-UP", "{}".to_owned()),
        ("E-CLIENT-NOT-SET-UP", r#"{"auths": {}, "detachKeys": "ctrl-a"}"#.to_owned()),
        ("E-CLIENT-OTHER-HELPER", r#"{"credsStore": "desktop"}"#.to_owned()),
        ("E-CLIENT-OTHER-HELPER", format!(r#"{{"credHelpers": {{"{HOST}": "gcloud"}}}}"#)),
        ("E-CLIENT-PASSWORD", format!(r#"{{"auths": {{"https://{HOST}/v1/": {password}}}}}"#)),
        ("E-CLIENT-PASSWORD", format!(r#"{{"auths": {{"{HOST}": {password}}}}}"#)),
        ("E-CLIENT-HELPER-NAME", format!(r#"{{"credHelpers": {{"{HOST}": "docker-credential-ecr-login"}}}}"#)),
        ("E-CLIENT-HELPER-NAME", r#"{"credsStore": "docker-credential-ecr-login"}"#.to_owned()),
        ("E-CLIENT-KEY-SCHEME", format!(r#"{{"credHelpers": {{"https://{HOST}": "ecr-login"}}}}"#)),
        ("E-CLIENT-KEY-SCHEME", format!(r#"{{"credHelpers": {{"{HOST} ": "ecr-login"}}}}"#)),
        ("E-CLIENT-CONFIG-INVALID", "{\n  \"credHelpers\": oops".to_owned()),
        // Whatever the clients do not take is no healthy file.
        ("E-CLIENT-CONFIG-INVALID", r#"{"credHelpers": []}"#.to_owned()),
        ("E-CLIENT-CONFIG-INVALID", format!(r#"{{"credHelpers": {{"gcr.io": 5, "{HOST}": "ecr-login"}}}}"#)),
        ("E-CLIENT-CONFIG-INVALID", format!(r#"{{"auths": [], "credHelpers": {{"{HOST}": "ecr-login"}}}}"#)),
        (
            "W-CLIENT-LEFTOVER-PASSWORD",
            format!(r#"{{"credHelpers": {{"{HOST}": "ecr-login"}}, "auths": {{"{HOST}": {password}}}}}"#),
        ),
    ] {
        let helper = machine(&aws);
        helper.write(".docker/config.json", &config);
        // A file that is corrected leaves a client that is not set up: the next finding, with its own fix.
        let helper = match code {
            "E-CLIENT-CONFIG-INVALID" => {
                let (before, _) = report(&helper, &[HOST]);
                let (_, _, fix) = findings(&before).into_iter().find(|(_, found, _)| found == code).expect("a finding");
                assert_eq!(fix, "correct it, or set DOCKER_CONFIG to a directory of this user");
                helper.write(".docker/config.json", "{}");
                is_fixed(helper, HOST, "E-CLIENT-NOT-SET-UP", "")
            }
            _ => is_fixed(helper, HOST, code, ""),
        };
        let config: Value = serde_json::from_str(
            &fs::read_to_string(helper.home().join(".docker/config.json")).expect("docker's settings"),
        )
        .expect("JSON");
        assert_eq!(config["credHelpers"][HOST], "ecr-login", "{code}: {config}");
    }
    let auth_config = format!(r#"{{"auths": {{"{HOST}": {password}}}}}"#);
    let helper = machine(&aws).var("DOCKER_AUTH_CONFIG", &auth_config);
    stand_in(&helper, "docker", "echo Docker version 28.5.2, build x");
    helper.write(".docker/config.json", &format!(r#"{{"credHelpers": {{"{HOST}": "ecr-login"}}}}"#));
    is_fixed(helper, HOST, "E-DOCKER-AUTH-CONFIG", "");
}

#[test]
fn of_podman() {
    let aws = Aws::start();
    // Whatever docker or podman the machine has is out of the way.
    let podman = || {
        let helper = machine(&aws);
        fs::remove_file(helper.home().join("bin/docker")).expect("no docker");
        for name in ["sh", "cat", "rm"] {
            symlink(format!("/bin/{name}"), helper.home().join("bin").join(name)).expect("a link");
        }
        stand_in(&helper, "podman", "echo podman version 4.9.3");
        let path = format!("{}/bin", helper.home().display());
        helper.var("PATH", &path)
    };
    let stale = format!(r#"{{"auths": {{"{HOST}": {{"auth": "QVdTOmE="}}}}}}"#);
    let other = format!(r#"{{"credHelpers": {{"{HOST}": "gcloud"}}}}"#);
    let scheme = format!(r#"{{"credHelpers": {{"https://{HOST}": "ecr-login"}}}}"#);
    let (auth, docker, login) = (".config/containers/auth.json", ".docker/config.json", "run/containers/auth.json");
    let of_repository = |helpers: &str| format!(r#"{{"auths": {{"{HOST}/team": {{"auth": "QVdTOmE="}}}}{helpers}}}"#);
    let with_helper = of_repository(&format!(r#", "credHelpers": {{"{HOST}": "ecr-login"}}"#));
    for (code, path, content) in [
        ("E-CLIENT-NOT-SET-UP", auth, "{}"),
        ("E-CLIENT-PASSWORD", auth, &stale),
        ("E-CLIENT-OTHER-HELPER", auth, &other),
        ("E-CLIENT-KEY-SCHEME", auth, &scheme),
        // podman logout changes the file of podman login alone.
        ("W-CLIENT-LEFTOVER-PASSWORD", auth, &with_helper),
        ("W-CLIENT-LEFTOVER-PASSWORD", docker, &with_helper),
        ("W-CLIENT-LEFTOVER-PASSWORD", login, &of_repository("")),
    ] {
        let mut helper = podman();
        let runtime = format!("{}/run", helper.home().display());
        helper.set("XDG_RUNTIME_DIR", &runtime);
        helper.write(path, content);
        is_fixed(helper, HOST, code, "");
    }
    // No command changes a file that docker itself does not read any more.
    for text in [r#"{"HOST": {"auth": "QVdTOmE="}}"#, r#"{"HOST/team": {"auth": "QVdTOmE="}}"#] {
        let helper = podman();
        helper.write(".dockercfg", &text.replace("HOST", HOST));
        let (doctor, _) = report(&helper, &[HOST]);
        let setup = helper.run(&["setup", "--podman", HOST], "").stderr;
        let found = findings(&doctor);
        let fix = found.iter().map(|(_, _, fix)| fix.as_str()).find(|fix| fix.contains("from the file"));
        assert!(fix.is_some_and(|fix| command(fix).is_none()), "{text}: {found:?}");
        assert!(setup.contains(".dockercfg") && command(&setup).is_none(), "{text}: {setup}");
    }
    // Without a host, for all registries.
    is_fixed(podman(), "", "E-CLIENT-NOT-SET-UP", "");
}

#[test]
fn of_a_file_or_a_directory_of_another_user() {
    if !nix::unistd::geteuid().is_root() || missing(&["setpriv"]).is_some() {
        return skip("the fix of a file of another user", "only root can leave one");
    }
    for (file, dir) in [(0o600, 0o755), (0o600, 0o700)] {
        let helper = machine(&Aws::start());
        let runtime = helper.home().display().to_string();
        let helper = helper.var("XDG_RUNTIME_DIR", &runtime);
        chown(helper.home(), Some(65534), None).expect("an owner");
        fs::set_permissions(helper.home(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let config = helper.write(".docker/config.json", &format!(r#"{{"credHelpers": {{"{HOST}": "ecr-login"}}}}"#));
        fs::set_permissions(&config, fs::Permissions::from_mode(file)).expect("a mode");
        fs::set_permissions(config.with_file_name(""), fs::Permissions::from_mode(dir)).expect("a mode");
        let copy = helper.home().join("copy");
        crate::process::copy_program(&copy);
        let doctor = || {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
            command.args(["doctor", "--json", HOST]).env_clear();
            command.envs(helper.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
            let report: Value = serde_json::from_slice(&command.output().expect("setpriv runs").stdout).expect("JSON");
            findings(&report).into_iter().find(|(check, _, _)| check == "docker")
        };
        stand_in(&helper, "id", "echo 65534");
        // Each names one closed file or directory: the file is seen once the directory is open.
        for closed in [Some(&*config.with_file_name("")).filter(|_| dir == 0o700), Some(&*config)].into_iter().flatten()
        {
            let (_, code, fix) = doctor().expect("a finding");
            assert_eq!(code, "E-CLIENT-CONFIG-UNREADABLE");
            let path = closed.display().to_string();
            let expected = format!("sudo chown \"$(id -un)\" {}", path.trim_end_matches('/'));
            assert_eq!(command(&fix), Some(&*expected));
            run(&helper, &expected, "");
        }
        assert_eq!(doctor(), None);
    }
}

/// In a checkout of somebody else, whose links lead to files of others: no fix gives them away.
#[test]
fn of_links_to_what_this_user_may_not_read() {
    if !nix::unistd::geteuid().is_root() || missing(&["setpriv"]).is_some() {
        return skip("the fix of a link to a file of another user", "only root can leave one");
    }
    let helper = Helper::bare();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    mode(helper.home(), 0o755);
    let secret = helper.write("secret/config.json", "secret");
    mode(&secret, 0o600);
    let copy = helper.home().join("copy");
    crate::process::copy_program(&copy);
    for kind in ["file", "directory", "file behind a directory", "second name", "loop"] {
        let checkout = helper.home().join(kind);
        fs::create_dir(&checkout).expect("a directory");
        let (docker, config) = (checkout.join(".docker"), checkout.join(".docker/config.json"));
        let closed = kind == "directory";
        mode(secret.parent().expect("a directory"), if closed { 0o700 } else { 0o755 });
        match kind {
            "loop" => symlink(&docker, &docker).expect("a link"),
            "file" => fs::create_dir(&docker).and_then(|()| symlink(&secret, &config)).expect("a link"),
            "second name" => fs::create_dir(&docker).and_then(|()| fs::hard_link(&secret, &config)).expect("a link"),
            _ => symlink("../secret", &docker).expect("a link"),
        }
        for command in ["setup", "doctor"] {
            let mut setpriv = helper.tool("setpriv");
            setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args([command, HOST]);
            let ran = crate::process::run(setpriv.current_dir(&checkout).env("DOCKER_CONFIG", ".docker"), "");
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(said.contains("correct DOCKER_CONFIG, which leads there"), "{kind}: {said}");
            has_no_command(&said);
        }
    }
}

/// What the program says for another user than root, who has the home directory.
fn said_to_another(helper: &Helper, vars: &[(&str, &str)], args: &[&str]) -> String {
    let copy = helper.home().join("copy");
    if !copy.exists() {
        crate::process::copy_program(&copy);
        fs::set_permissions(helper.home(), fs::Permissions::from_mode(0o755)).expect("a mode");
        chown(helper.home(), Some(65534), None).expect("an owner");
    }
    let mut setpriv = helper.tool("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args(args);
    let ran = crate::process::run(setpriv.envs(vars.iter().copied()), "");
    format!("{}{}", ran.stdout, ran.stderr)
}

/// The words that take something away from others.
#[track_caller]
fn has_no_command(said: &str) {
    for command in ["chown", "chmod", "'mv", "'cp", "'rm", "icacls", "remove it", "move it"] {
        assert!(!said.contains(command), "{command}: {said}");
    }
}

/// E.g. root's home directory after `su`, or a variable with a slip: a command would give away what belongs to others.
#[test]
fn of_what_is_not_in_the_home_directory_of_this_user() {
    if !nix::unistd::geteuid().is_root() || missing(&["setpriv"]).is_some() {
        return skip("the fix of what belongs to others", "only root can leave it");
    }
    let (helper, others) = (Helper::bare(), tempfile::tempdir().expect("a directory"));
    let runtime = helper.home().display().to_string();
    let helper = helper.var("XDG_RUNTIME_DIR", &runtime);
    let at = |path: &str| others.path().join(path).display().to_string();
    let mode = |path: &str, mode| fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).expect("a mode");
    mode("", 0o755);
    for dir in ["closed", "open", "open/.docker", "open/containers"] {
        fs::create_dir(at(dir)).expect("a directory");
        mode(dir, if dir == "open" { 0o755 } else { 0o700 });
    }
    fs::write(at("shadow"), "root:*:1::::::\n").expect("a file");
    mode("shadow", 0o600);
    let home = "set HOME to the home directory of the user who runs this";
    let runtime = "set XDG_RUNTIME_DIR to a directory of this user";
    let podman = ["setup", "--podman", HOST];
    for (name, path, args, fix) in [
        ("HOME", "closed", &["setup", HOST][..], home),
        ("HOME", "open", &["setup", HOST], home),
        ("HOME", "closed", &["setup", "--remove"], home),
        ("DOCKER_CONFIG", "closed/.docker", &["setup", HOST], "correct DOCKER_CONFIG, which leads there"),
        ("DOCKER_CONFIG", "closed", &["doctor", HOST], "correct DOCKER_CONFIG, which leads there"),
        ("REGISTRY_AUTH_FILE", "shadow", &podman, "correct REGISTRY_AUTH_FILE, which leads there"),
        ("REGISTRY_AUTH_FILE", "closed/auth.json", &podman, "correct REGISTRY_AUTH_FILE, which leads there"),
        ("XDG_CONFIG_HOME", "open", &podman, "correct XDG_CONFIG_HOME, which leads there"),
        ("XDG_RUNTIME_DIR", "closed", &podman, runtime),
        ("XDG_RUNTIME_DIR", "closed", &["setup", "--remove", "--dry-run"], runtime),
        ("UNUSED", "", &["setup", "--kubelet", &at("shadow")], "name another file"),
    ] {
        let said = said_to_another(&helper, &[(name, &at(path))], args);
        assert!(said.contains("this user has no permission to") && said.contains(fix), "{name} {args:?}: {said}");
        has_no_command(&said);
    }
    // root may read it, and would move it out of the way of everybody.
    for (name, path, args, fix) in [
        ("REGISTRY_AUTH_FILE", "shadow", &podman[..], "correct it, or correct REGISTRY_AUTH_FILE, which leads there"),
        ("REGISTRY_AUTH_FILE", "closed", &podman, "correct it, or correct REGISTRY_AUTH_FILE, which leads there"),
        (
            "CONTAINERS_REGISTRIES_CONF",
            "shadow",
            &["setup", "--podman"],
            "CONTAINERS_REGISTRIES_CONF, which leads there",
        ),
    ] {
        let mut command = helper.command();
        let ran = crate::process::run(command.args(args).env(name, at(path)), "");
        assert!(ran.stderr.contains(fix), "{name}: {ran:?}");
        has_no_command(&ran.stderr);
    }
}

/// E.g. the directory of the machine's user in a container for development.
#[test]
fn of_what_is_mounted_into_the_home_directory() {
    if lacks_kernel("which mount a file is in") {
        return;
    }
    if !nix::unistd::geteuid().is_root() || missing(&["setpriv", "unshare"]).is_some() {
        return skip("the fix of what is mounted", "only root can mount it");
    }
    let (helper, others) = (Helper::bare(), tempfile::tempdir().expect("a directory"));
    let config = helper.home().join(".docker");
    fs::create_dir(&config).expect("a directory");
    fs::set_permissions(others.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o700)).expect("a mode");
    let said = said_to_another(&helper, &[], &["setup", HOST]);
    assert!(said.contains("this user has no permission to") && said.contains("sudo chown"), "{said}");
    let script =
        "mount --bind \"$0\" .docker && exec setpriv --reuid=65534 --regid=65534 --clear-groups ./copy setup \"$1\"";
    let mut unshare = helper.tool("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(others.path()).arg(HOST);
    let said = crate::process::run(unshare.current_dir(helper.home()), "").stderr;
    let fix = "this user has no permission to enter it; set DOCKER_CONFIG to a directory of this user";
    assert!(said.contains(fix), "{said}");
    has_no_command(&said);
}

/// A message has a blank in their place, and the command would have two paths.
#[test]
fn of_paths_with_characters_that_are_not_shown() {
    if !nix::unistd::geteuid().is_root() || missing(&["setpriv"]).is_some() {
        return skip("the fix of a path with what is not shown", "only root can leave it");
    }
    let helper = Helper::bare();
    let closed = |name: &str| {
        let dir = helper.home().join(name).join("etc");
        fs::create_dir_all(&dir).expect("a directory");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("a mode");
        said_to_another(&helper, &[("DOCKER_CONFIG", dir.to_str().expect("UTF-8"))], &["setup", HOST])
    };
    let shown = closed("x y");
    let path = helper.home().join("x y/etc").display().to_string();
    assert!(shown.contains(&format!("'sudo chown \"$(id -un)\" \"{path}\"'")), "{shown}");
    for c in "\u{3164}\u{115f}\u{1160}\u{ffa0}\u{17b4}\u{200b}\u{2800}\u{3000}\u{2003}\u{85}\u{13441}".chars() {
        let said = closed(&format!("x{c}"));
        assert!(said.contains("change the owner of ") && !said.contains("chown"), "{c:?}: {said}");
    }
    assert!(!closed("x  ").contains("chown"));
}

/// The cause is said with a fix that harms nobody and does not lead from doctor to setup and back.
#[test]
fn of_what_keeps_this_user_from_its_settings() {
    if !nix::unistd::geteuid().is_root() || missing(&["setpriv"]).is_some() {
        return skip("the fix of what keeps a user from its settings", "only root can leave it");
    }
    let another = "set DOCKER_CONFIG to a directory of this user";
    let correct = "correct DOCKER_CONFIG, which leads there";
    let own = "mkdir -p .docker && echo '{}' > .docker/config.json && chown -R 65534 .docker";
    let (own_dir, own_file) = (format!("{own}; chmod 600 .docker"), format!("{own}; chmod 0 .docker/config.json"));
    let (open_dir, open_file) = ("'chmod u+rwx HOME/.docker'", "'chmod u+rw HOME/.docker/config.json'");
    let bobs = "mkdir -p bob/.docker; chown 12345 bob; chmod 700 bob/.docker";
    let link = "mkdir .docker; ln -s /nowhere/config.json .docker/config.json; chown -hR 65534 .docker";
    let shared = "mkdir shared; chmod 2777 shared; echo '{}' > shared/config.json; chown 12345 shared/config.json";
    for (world, variable, value, fixes) in [
        ("mkdir .docker; chmod 1700 .docker", "", "", &["belongs to root", another][..]),
        ("mkdir .docker; chmod 2700 .docker", "", "", &["belongs to root", another]),
        ("mkdir -m 700 .docker; chown 12345 .docker", "", "", &["belongs to another user, 12345", another]),
        ("mkdir -m 755 .docker; chown 12345 .docker", "", "", &["belongs to another user, 12345", another]),
        ("mkdir .docker; chmod 755 .docker", "", "", &["change the owner of HOME/.docker: 'sudo chown"]),
        (&own_dir, "", "", &["belongs to this user", open_dir]),
        (&own_file, "", "", &["belongs to this user", open_file]),
        (bobs, "DOCKER_CONFIG", "HOME/bob/.docker", &["belongs to root", correct]),
        (link, "", "", &["is a link to /nowhere/config.json", "mount or create", another]),
        ("ln -s /nowhere/docker .docker", "", "", &["is a link to /nowhere/docker", "mount or create", another]),
        ("echo '{}' > config.json", "DOCKER_CONFIG", "HOME/config.json", &["config.json is not a directory", correct]),
        ("true", "HOME", "/nonexistent", &["set HOME to the home directory"]),
        ("mkdir .docker; echo '{ ' > .docker/config.json", "", "", &["not JSON; correct it, or set DOCKER_CONFIG"]),
        ("mkdir -m 700 .docker; ln -s . link", "HOME", "HOME/link", &["'sudo chown \"$(id -un)\" HOME/link/.docker'"]),
        (shared, "DOCKER_CONFIG", "HOME/shared", &["belongs to another user, 12345;", correct]),
    ] {
        let helper = Helper::bare();
        let home = helper.home().display().to_string();
        assert_eq!(crate::process::run(helper.tool("sh").current_dir(&home).args(["-ec", world]), "").code, Some(0));
        let value = value.replace("HOME", &home);
        let variables = &[(if variable.is_empty() { "UNUSED" } else { variable }, &*value)];
        let foretold = said_to_another(&helper, variables, &["setup", "--dry-run", HOST]);
        let said = said_to_another(&helper, variables, &["setup", HOST]);
        assert_eq!(foretold, said, "{world}");
        for fix in fixes {
            assert!(said.contains(&fix.replace("HOME/", &format!("{home}/"))), "{world}: {fix} in {said}");
        }
        assert!(
            !["-R", "remove it", "move it", "'mv", "name another file"].iter().any(|word| said.contains(word)),
            "{said}"
        );
        if !fixes.iter().any(|fix| fix.contains('\'')) {
            has_no_command(&said);
        }
        if fixes.contains(&"mount or create") || fixes.contains(&correct) && !world.contains("shared") {
            let said = said_to_another(&helper, &[("DOCKER_CONFIG", &value)], &["doctor", HOST]);
            let docker: String = said.lines().skip_while(|line| !line.contains(" docker ")).take(2).collect();
            assert!(fixes[1..].iter().all(|fix| docker.contains(fix)) && !docker.contains("setup"), "{world}: {said}");
        }
    }
    // root in a container, with the directory of the machine's user.
    let helper = Helper::bare();
    fs::create_dir(helper.home().join(".docker"))
        .and_then(|()| chown(helper.home().join(".docker"), Some(12345), None))
        .expect("a directory");
    let said = helper.run(&["setup", HOST], "").stderr;
    assert!(said.contains("belongs to another user, 12345") && said.contains(another), "{said}");
    // What no helper has made.
    for (variable, value, args) in [
        ("AWS_ECR_CACHE_DIR", "/dev/null", &["logout", HOST][..]),
        ("AWS_ECR_CACHE_DIR", "/etc/passwd", &["doctor", HOST]),
        ("XDG_CONFIG_HOME", "/dev/null", &["doctor", HOST]),
        ("AWS_ECR_CONFIG_FILE", "/etc", &["doctor", HOST]),
    ] {
        let said = said_to_another(&helper, &[(variable, value)], args);
        assert!(said.contains(value), "{said}");
        has_no_command(&said);
    }
}

/// Who may move files in a directory on the way could move another one to the path before the command is run.
#[test]
fn of_what_others_may_exchange() {
    if !nix::unistd::geteuid().is_root() || missing(&["setpriv"]).is_some() {
        return skip("the fix of what others may exchange", "only root can leave it");
    }
    let (setup, docker) = (&["setup", HOST][..], "set DOCKER_CONFIG to a directory of this user");
    let file = "mkdir .docker; echo '{}' > .docker/config.json; chmod 600 .docker/config.json; chown 65534 .docker";
    let own = "mkdir .docker; echo '{}' > .docker/config.json; chmod 0 .docker/config.json; chown -R 65534 .docker";
    let closed = "mkdir -m 700 .docker";
    let empty = "mkdir -p .docker/config.json; chown -R 65534 .docker";
    let cache = "mkdir -p .cache/docker-credential-ecr-login; chmod 777 .cache/*; chown -R 65534 .cache";
    for (world, args, command, opened, fix) in [
        (file, setup, "sudo chown", ".docker", docker),
        (file, setup, "sudo chown", ".", docker),
        (closed, setup, "sudo chown", ".", docker),
        (own, setup, "chmod u+rw ", ".docker", docker),
        (own, setup, "chmod u+rw ", ".", docker),
        (empty, setup, "rmdir", ".docker", docker),
        (cache, &["cache"], "chmod 700", ".cache", "set AWS_ECR_CACHE_DIR to a directory of this user alone"),
        (cache, &["cache"], "chmod 700", ".", "set AWS_ECR_CACHE_DIR to a directory of this user alone"),
    ] {
        let helper = Helper::bare();
        let mut sh = helper.tool("sh");
        assert_eq!(crate::process::run(sh.current_dir(helper.home()).args(["-ec", world]), "").code, Some(0));
        let said = said_to_another(&helper, &[], args);
        assert!(said.contains(&format!("'{command}")), "{world}: {said}");
        for (mode, group) in [(0o777, 0), (0o775, 54321), (0o2770, 54321)] {
            let opened = helper.home().join(opened);
            chown(&opened, None, Some(group)).expect("a group");
            fs::set_permissions(&opened, fs::Permissions::from_mode(mode)).expect("a mode");
            let said = said_to_another(&helper, &[], args);
            assert!(said.contains(fix), "{world}: {opened:?} {mode:o}: {said}");
            has_no_command(&said);
        }
    }
}

/// The whole machine needs /tmp, and a group what it shares.
#[test]
fn of_a_cache_in_a_directory_that_others_need() {
    let aws = Aws::start();
    let others = tempfile::tempdir().expect("a directory");
    let elsewhere = others.path().display().to_string();
    for (cache, modes) in [
        ("~/shared", &[0o1777, 0o1770, 0o2775, 0o3777, 0o775, 0o770][..]),
        (&elsewhere, &[0o777, 0o775, 0o1777]),
        ("~", &[0o777]),
    ] {
        let helper = Helper::without_registry(&aws).var("AWS_ECR_CACHE_DIR", cache);
        fs::create_dir(helper.home().join("shared")).expect("a directory");
        for mode in modes {
            let dir = cache.replace('~', &helper.home().display().to_string());
            fs::set_permissions(&dir, fs::Permissions::from_mode(*mode)).expect("a mode");
            for args in [&["doctor", HOST][..], &["cache"], &["logout", "--all"], &["logout", HOST]] {
                let ran = helper.run(args, "");
                let said = format!("{}{}", ran.stdout, ran.stderr);
                let fix = "set AWS_ECR_CACHE_DIR to a directory of this user alone";
                assert!(said.contains("others may write to it") && said.contains(fix), "{cache} {mode:o}: {said}");
                assert!(!said.contains("chmod"), "{cache} {mode:o}: {said}");
            }
        }
    }
}

#[test]
fn of_what_is_in_the_place_of_dockers_settings() {
    let aws = Aws::start();
    // As `docker run -v` makes one.
    let helper = machine(&aws);
    fs::create_dir_all(helper.home().join(".docker/config.json")).expect("a directory");
    let (all, _) = report(&helper, &[HOST]);
    let found = findings(&all).into_iter().find(|(check, _, _)| check == "docker").expect("a finding");
    run(&helper, command(&found.2).expect("a command"), "");
    is_fixed(helper, HOST, "E-CLIENT-NOT-SET-UP", "");
    // A FIFO that nobody writes to keeps nobody waiting.
    let helper = machine(&aws);
    fs::create_dir_all(helper.home().join(".docker")).expect("a directory");
    let fifo = helper.home().join(".docker/config.json");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
    let (all, _) = report(&helper, &[HOST]);
    assert!(findings(&all).iter().any(|(_, code, _)| code == "E-CLIENT-CONFIG-INVALID"), "{all}");
    // Go matches names of members without case, and so do the clients.
    let helper = machine(&aws);
    helper.write(".docker/config.json", &format!(r#"{{"CredHelpers": {{"{HOST}": "ecr-login"}}}}"#));
    let (all, _) = report(&helper, &[HOST]);
    assert!(!findings(&all).iter().any(|(check, _, _)| check == "docker"), "{all}");
}

#[test]
fn of_a_program_that_is_not_on_the_path() {
    if lacks_kernel("doctor of the program on the PATH") {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        return skip("the fix of a program that is not on the PATH", "mounts need root");
    }
    let helper = machine(&Aws::start());
    fs::remove_file(helper.home().join("bin/docker-credential-ecr-login")).expect("no program");
    let bin = helper.home().join("local bin");
    fs::create_dir(&bin).expect("a directory");
    let copy = bin.join("the program");
    crate::process::copy_program(&copy);
    // In place of /usr/local/bin.
    let local = helper.home().join("local");
    fs::create_dir(&local).expect("a directory");
    let namespace = crate::namespace::Namespace::of_mounts(&format!("mount --bind {} /usr/local/bin", local.display()));
    let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin", helper.home().display());
    let inside = |program: &Path, args: &[&str]| {
        let mut command = namespace.command(program);
        command.args(args);
        command.envs(helper.command().get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PATH", &path);
        command.output().expect("it runs")
    };
    let found = |output: &[u8]| {
        let report: Value = serde_json::from_slice(output).expect("JSON");
        findings(&report).into_iter().find(|(check, _, _)| check == "program")
    };
    let (_, code, fix) = found(&inside(&copy, &["doctor", "--json", HOST]).stdout).expect("a finding");
    assert_eq!(code, "E-PROGRAM-NOT-ON-PATH");
    let command = command(&fix).expect("a command");
    // What is there is not replaced, nor what it leads to written, and what others may exchange gets nowhere.
    let in_place = local.join("docker-credential-ecr-login");
    let (written, mode) =
        (|| fs::write(&in_place, "x"), |mode| fs::set_permissions(&bin, PermissionsExt::from_mode(mode)));
    for obstacle in ["file", "link", "open directory"] {
        match obstacle {
            "file" => written(),
            "link" => symlink("/nowhere", &in_place),
            _ => mode(0o777),
        }
        .expect("an obstacle");
        let (_, _, fix) = found(&inside(&copy, &["doctor", "--json", HOST]).stdout).expect("a finding");
        assert!(fix.ends_with("or add its directory to the PATH"), "{obstacle}: {fix}");
        let _ = fs::remove_file(&in_place);
        mode(0o755).expect("a mode");
    }
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).expect("a mode of umask 077");
    let copied = inside(Path::new("/bin/sh"), &["-ec", command]);
    assert!(copied.status.success(), "{command}: {copied:?}");
    assert_eq!(fs::metadata(&in_place).expect("a copy").permissions().mode() & 0o777, 0o755, "{command}");
    let there = Path::new("/usr/local/bin/docker-credential-ecr-login");
    assert_eq!(found(&inside(there, &["doctor", "--json", HOST]).stdout), None);
    // Where it is not searched, as by sudo's PATH on some systems, a copy there would change nothing.
    for (path, place) in [
        ("/usr/bin:/bin", Some("/usr/bin")),
        ("/sbin:/bin:/usr/sbin", Some("/bin")),
        ("usr/local/bin:/opt/x/bin:/bin/:/usr/bin", Some("/usr/bin")),
        ("/opt/x/bin:/usr/sbin", None),
    ] {
        let mut command = namespace.command(&copy);
        let output = command.args(["doctor", "--json"]).env("PATH", path).output().expect("it runs");
        let (_, _, fix) = found(&output.stdout).expect("a finding");
        assert_eq!(self::command(&fix).is_some(), place.is_some(), "{path}: {fix}");
        match place {
            Some(place) => assert!(fix.ends_with(&format!(" {place}/docker-credential-ecr-login'")), "{path}: {fix}"),
            None => assert!(fix.ends_with("or add its directory to the PATH"), "{path}: {fix}"),
        }
    }
}

#[test]
fn of_profiles_and_sign_ins() {
    if missing(&["script"]).is_some() {
        return skip("the fixes of profiles and sign-ins", "script is not installed");
    }
    let keys = format!("aws_access_key_id = AKIABASE\naws_secret_access_key = {SECRET_KEY}");
    let aws = Aws::start();
    let nobody = || machine(&aws).without_keys();

    // `aws configure [--profile NAME]` asks for keys and writes them.
    let configure = format!(
        "test \"$1\" = configure\nif test \"$2\" = --profile; then name=$3; else name=default; fi\n\
         printf '[%s]\\n{}\\n' \"$name\" >> \"$HOME/.aws/credentials\"",
        keys.replace('\n', "\\n")
    );
    let helper = nobody().var("AWS_PROFILE", "prdo");
    helper.write(".aws/config", "[profile prod]\n");
    stand_in(&helper, "aws", &configure);
    let helper = is_fixed(helper, HOST, "E-PROFILE-MISSING", "");
    assert_eq!(ran(&helper), "aws configure --profile prdo\n");
    // Any name is one.
    let helper = nobody().var("AWS_PROFILE", "my team");
    helper.write(".aws/config", "[profile prod]\n");
    stand_in(&helper, "aws", &configure);
    let helper = is_fixed(helper, HOST, "E-PROFILE-MISSING", "");
    assert_eq!(ran(&helper), "aws configure --profile my team\n");
    let helper = nobody().var("AWS_PROFILE", "empty");
    helper.write(".aws/config", "[profile empty]\nregion = eu-west-1\n");
    stand_in(&helper, "aws", &configure);
    is_fixed(helper, HOST, "E-CREDENTIALS-MISSING", "");
    let helper = nobody();
    helper.write(".aws/config", "");
    stand_in(&helper, "aws", &configure);
    is_fixed(helper, HOST, "E-CREDENTIALS-MISSING", "");

    // `aws sso login --profile NAME` leaves a token.
    let helper = nobody().var("AWS_PROFILE", "dev");
    helper.write(
        ".aws/config",
        &format!("[profile dev]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO),
    );
    let token = sign_in(&helper, "u", "2099-01-01T00:00:00Z");
    let kept = helper.write("token", &fs::read_to_string(&token).expect("a token"));
    fs::remove_file(&token).expect("no token");
    let login = "test \"$1 $2 $3 $4\" = 'sso login --profile dev'";
    stand_in(&helper, "aws", &format!("{login}\ncp {} {}", kept.display(), token.display()));
    is_fixed(helper, HOST, "E-SSO-EXPIRED", "");

    // A role with MFA: the helper's `login`, which prompts on the terminal and then caches the token.
    let aws = Aws::with(Plan { mfa_code: Some("123456"), ..Plan::default() });
    let helper = machine(&aws).without_keys().var("AWS_PROFILE", "dev");
    helper.write(
        ".aws/config",
        &format!(
            "[profile dev]\nrole_arn = arn:aws:iam::111122223333:role/Pull\nsource_profile = base\n\
             mfa_serial = arn:aws:iam::111122223333:mfa/me\n[profile base]\n{keys}\n"
        ),
    );
    let helper = is_fixed(helper, HOST, "E-MFA-REQUIRED", "123456\n");
    helper.get(HOST).password_for(HOST);
}

/// Names that come from files: a command with one that a shell expands, or that is not shown as it is, would be another command.
#[test]
fn of_names_that_make_another_command() {
    let aws = Aws::start();
    for name in ["dev\u{200b}prod", "dev\u{3164}prod", "dev  prod", "!x", "-x", "a'b", "~"] {
        let sections = format!("[profile {name}]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
        for content in [sections.as_str(), "", &format!("[profile {name}]\n")] {
            let helper = Helper::without_registry(&aws).without_keys().var("AWS_PROFILE", name);
            helper.write(".aws/config", content);
            let said = helper.get(HOST).stdout;
            assert!(!said.contains("--profile") && said.contains("E-"), "{name:?}: {said}");
        }
    }
    let helper = machine(&aws);
    stand_in(&helper, "podman", "echo podman version 4.9.3");
    let keys = [format!("{HOST}/$(touch${{IFS}}x)"), format!("{HOST}/a;b"), format!("{HOST}/`x`")];
    for key in keys {
        let config =
            format!(r#"{{"auths": {{"{key}": {{"auth": "eDp5"}}}}, "credHelpers": {{"{HOST}": "ecr-login"}}}}"#);
        helper.write(".docker/config.json", &config);
        let (all, _) = report(&helper, &[&format!("{HOST}/team/app")]);
        let found = findings(&all).into_iter().filter(|(_, code, _)| code == "W-CLIENT-LEFTOVER-PASSWORD");
        let fixes: Vec<String> = found.map(|(_, _, fix)| fix).collect();
        assert!(!fixes.is_empty(), "{key}: {all}");
        assert!(fixes.iter().all(|fix| !fix.contains(&key)), "{fixes:?}");
    }
}

#[test]
fn of_settings_and_the_clock() {
    let aws = Aws::start();
    let helper = machine(&aws).var("AWS_ENDPOINT_URL_ECR", "not a url");
    is_fixed(helper, HOST, "E-SETTING-INVALID", "");
    let helper = machine(&aws);
    helper.write(".config/docker-credential-ecr-login/config.toml", "");
    let helper = helper.var("AWS_ECR_DISABLE_CACHE", "1");
    is_fixed(helper, HOST, "W-CACHE-UNUSED", "");
    let helper = machine(&aws);
    helper.get(HOST).password_for(HOST);
    fs::set_permissions(helper.cache_dir(), fs::Permissions::from_mode(0o777)).expect("a mode");
    is_fixed(helper, HOST, "W-CACHE-UNUSED", "");

    let aws = Aws::with(Plan { ahead: 620, ..Plan::default() });
    let helper = machine(&aws);
    stand_in(&helper, "timedatectl", "test \"$*\" = 'set-ntp true'");
    is_fixed_as(helper, HOST, "W-CLOCK-OFF", "", |helper| {
        assert_eq!(ran(helper), "timedatectl set-ntp true\n");
        aws.change(|plan| plan.ahead = 0);
    });
}

#[test]
fn of_a_repository_that_does_not_exist() {
    let Some(Healthy { helper, .. }) = Healthy::with("the fix of a repository", &[HOST], images()) else { return };
    stand_in(&helper, "aws", "");
    let (all, _) = report(&helper, &[&format!("{HOST}/nothing:1")]);
    let (_, _, fix) =
        findings(&all).into_iter().find(|(_, code, _)| code == "E-REPOSITORY-MISSING").expect("a finding");
    run(&helper, command(&fix).expect("a command"), "");
    assert_eq!(
        ran(&helper),
        "aws ecr create-repository --repository-name nothing --registry-id 111122223333 --region us-east-1\n"
    );
}
