//! Current versions of oras, cosign, docker compose and docker buildx against a registry with TLS: one entry in docker's
//! settings, no login, and one call to AWS for a whole test. `tests/newer-clients` downloads the programs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::HOST;
use crate::namespace::newer;
use crate::process::output;
use crate::real_clients::{ClientMachine, PASSWORD, finish, possible};
use crate::support::aws::{Aws, Plan};

/// The docker of this system.
const DOCKER: &str = "/usr/bin/docker";

/// A user's machine with the entry that `setup` writes, and nothing else.
struct User {
    site: ClientMachine,
    aws: Aws,
    work: PathBuf,
}

impl User {
    /// Returns the machine and the paths of these programs; `None` where the tests cannot run.
    fn with<const N: usize>(test: &str, programs: [&str; N]) -> Option<(Self, [String; N])> {
        if !possible(test, &[]) {
            return None;
        }
        let found = programs.map(newer);
        if found.iter().any(Option::is_none) {
            return None;
        }
        let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
        let site = ClientMachine::start(&aws.url());
        let docker = site.home().join(".docker");
        fs::remove_dir_all(&docker).expect("no settings");
        site.run("docker-credential-ecr-login", &["setup", HOST]);
        fs::create_dir(docker.join("cli-plugins")).expect("a directory");
        for plugin in ["docker-buildx", "docker-compose"] {
            if let Some(path) = newer(plugin) {
                symlink(path, docker.join("cli-plugins").join(plugin)).expect("a link");
            }
        }
        let work = site.dir.path().join("work");
        fs::create_dir(&work).expect("a directory");
        Some((Self { site, aws, work }, found.map(|path| path.expect("a program"))))
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.site.command_in(&self.work, program, args);
        // No request may go to another host than the registry.
        command.env("HTTPS_PROXY", "http://127.0.0.1:1").env("NO_PROXY", HOST);
        command
    }

    /// Runs a client that has to call the helper.
    fn run(&self, program: &str, args: &[&str]) -> String {
        self.site.with_helper(|| finish(&mut self.command(program, args)))
    }

    /// Pushes images to the registry and removes them from docker.
    fn push(&self, images: &[&str]) {
        for image in images {
            self.site.import(image);
            self.run(DOCKER, &["push", image]);
            self.site.docker(&["rmi", image]);
        }
    }

    /// Reports whether docker's daemon has an image.
    fn has(&self, image: &str) -> bool {
        output(&mut self.site.docker_command(&["image", "inspect", image])).status.success()
    }

    /// Expects one call to AWS and no password in the settings.
    fn asked_once(&self) {
        assert_eq!(self.aws.count(), 1, "one call to AWS for all of it");
        let settings = fs::read(self.site.home().join(".docker/config.json")).expect("settings");
        let settings: Value = serde_json::from_slice(&settings).expect("JSON");
        assert_eq!(settings["credHelpers"], json!({HOST: "ecr-login"}));
        assert!(settings["auths"].as_object().is_none_or(serde_json::Map::is_empty), "no login: {settings}");
    }
}

#[test]
fn oras_pushes_pulls_copies_and_lists_without_a_login() {
    let Some((user, [oras])) = User::with("oras", ["oras"]) else { return };
    let artifact = format!("{HOST}/team/artifact:1");
    fs::write(user.work.join("note.txt"), "a note").expect("a write");
    user.run(&oras, &["push", &artifact, "note.txt:text/plain"]);
    user.run(&oras, &["pull", &artifact, "--output", "pulled"]);
    assert_eq!(fs::read_to_string(user.work.join("pulled/note.txt")).expect("a file"), "a note");
    user.run(&oras, &["copy", &artifact, &format!("{HOST}/team/copy:2")]);
    for (repository, tag) in [("artifact", "1"), ("copy", "2")] {
        let tags = user.run(&oras, &["repo", "tags", &format!("{HOST}/team/{repository}")]);
        assert_eq!(tags, format!("{tag}\n"));
    }
    user.asked_once();
}

#[test]
fn cosign_signs_and_verifies_without_a_login() {
    let Some((user, [cosign])) = User::with("cosign", ["cosign"]) else { return };
    let image = format!("{HOST}/team/app:1");
    user.push(&[&image]);
    let cosign = |args: &[&str], helper: bool| {
        let mut command = user.command(&cosign, args);
        command.env("COSIGN_PASSWORD", "");
        if helper { user.site.with_helper(|| finish(&mut command)) } else { finish(&mut command) }
    };
    cosign(&["generate-key-pair"], false);
    // No transparency log, which would not be on loopback.
    cosign(&["signing-config", "create", "--out", "signing.json"], false);
    cosign(&["sign", "--key", "cosign.key", "--signing-config", "signing.json", "--yes", &image], true);
    let verified = cosign(&["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", &image], true);
    assert!(verified.contains(&format!("{HOST}/team/app")), "{verified}");
    let tree = cosign(&["tree", &image], true);
    assert!(tree.contains(&format!("{HOST}/team/app")), "{tree}");
    user.asked_once();
}

#[test]
fn docker_compose_pulls_the_images_of_two_services_with_one_call() {
    let Some((user, [compose, docker])) = User::with("docker compose", ["docker-compose", "docker"]) else { return };
    let [app, db] = ["app", "db"].map(|name| format!("{HOST}/team/{name}:1"));
    user.push(&[&app, &db]);
    fs::write(user.work.join("compose.yaml"), format!("services:\n  app:\n    image: {app}\n  db:\n    image: {db}\n"))
        .expect("a write");
    for (program, args) in
        [(compose.as_str(), &["pull"][..]), (&docker, &["compose", "pull"]), (DOCKER, &["compose", "pull"])]
    {
        user.run(program, args);
        for image in [&app, &db] {
            assert!(user.has(image), "{image} by {program}");
            user.site.docker(&["rmi", image]);
        }
    }
    user.asked_once();
}

#[test]
fn docker_compose_builds_on_a_private_image_and_pushes() {
    let Some((user, [_, _, docker])) =
        User::with("docker compose build", ["docker-compose", "docker-buildx", "docker"])
    else {
        return;
    };
    let [base, built] = ["base:1", "built:1"].map(|image| format!("{HOST}/team/{image}"));
    user.push(&[&base]);
    let write = |name: &str, text: &str| fs::write(user.work.join(name), text).expect("a write");
    write("Dockerfile", &format!("FROM {base}\nCOPY compose.yaml /\n"));
    write("compose.yaml", &format!("services:\n  built:\n    build: .\n    image: {built}\n"));
    user.run(&docker, &["compose", "build"]);
    user.run(&docker, &["compose", "push"]);
    user.site.docker(&["rmi", &built]);
    user.run(&docker, &["compose", "pull"]);
    assert!(user.has(&built));
    user.asked_once();
}

#[test]
fn docker_buildx_builds_on_a_private_image_and_pushes() {
    let Some((user, [_, docker])) = User::with("docker buildx", ["docker-buildx", "docker"]) else { return };
    let [base, built, retagged] = ["base:1", "built:1", "built:2"].map(|image| format!("{HOST}/team/{image}"));
    user.push(&[&base]);
    fs::write(user.work.join("Dockerfile"), format!("FROM {base}\nCOPY note.txt /\n")).expect("a write");
    fs::write(user.work.join("note.txt"), "a note").expect("a write");
    for docker in [docker.as_str(), DOCKER] {
        user.run(docker, &["buildx", "build", "--push", "--tag", &built, "."]);
        user.run(docker, &["buildx", "imagetools", "create", "--tag", &retagged, &built]);
        for image in [&built, &retagged] {
            let shown = user.run(docker, &["buildx", "imagetools", "inspect", image]);
            assert!(shown.contains(&format!("Name:      {image}")) && shown.contains("Digest:"), "{shown}");
        }
    }
    user.run(DOCKER, &["pull", &retagged]);
    user.asked_once();
}

/// The password in the variable overrides the entry for its registry, and doctor reports this.
#[test]
fn current_docker_reads_docker_auth_config_before_it_calls_the_helper() {
    let Some((user, [docker])) = User::with("DOCKER_AUTH_CONFIG", ["docker"]) else { return };
    let image = format!("{HOST}/team/app:1");
    user.push(&[&image]);
    let auths = |host: &str, password: &str| {
        json!({"auths": {host: {"auth": BASE64_STANDARD.encode(format!("AWS:{password}"))}}}).to_string()
    };
    let pull = |docker: &str, variable: &str| {
        let _ = fs::remove_file(user.site.log());
        let mut command = user.command(docker, &["pull", &image]);
        let pulled = output(command.env("DOCKER_AUTH_CONFIG", variable)).status.success();
        (pulled, user.site.log().exists())
    };
    assert_eq!(pull(&docker, &auths(HOST, PASSWORD)), (true, false), "the variable's password is taken");
    assert_eq!(pull(&docker, &auths(HOST, "expired")), (false, false), "and the helper is not asked after it");
    assert_eq!(pull(&docker, &auths("registry.example.com", "x")), (true, true), "another registry's changes nothing");
    assert_eq!(pull(DOCKER, &auths(HOST, "expired")), (true, true), "an older docker does not know it");
    user.asked_once();
    let mut doctor = user.command("docker-credential-ecr-login", &["doctor", HOST]);
    // With the newer docker first on the PATH: doctor uses its version.
    let newer = std::path::Path::new(&docker).with_file_name("").display().to_string();
    let path = format!("{newer}:{}/bin:/usr/bin:/bin", user.site.dir.path().display());
    let doctor = output(doctor.env("DOCKER_AUTH_CONFIG", auths(HOST, "expired")).env("PATH", path));
    let report = String::from_utf8_lossy(&doctor.stdout);
    assert!(report.contains("E-DOCKER-AUTH-CONFIG") && report.contains("unset DOCKER_AUTH_CONFIG"), "{report}");
}
