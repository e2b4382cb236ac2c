//! Real clients: docker, podman, buildah, skopeo, helm and oras-py against Debian's docker-registry under an ECR host name, with TLS
//! and a password that only the API knows. Everything runs in a private mount namespace whose hosts file maps the name to
//! loopback, so the machine's own files do not change.
//!
//! The API is the suite's stand-in where tests count calls, and moto where they require an independent one.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::HOST;
use crate::action::served;
use crate::fallback::KEEPER;
use crate::issuers::jwt;
use crate::namespace::{Daemon, newer};
use crate::process::{end, output, start};
use crate::real_clients::{ADDRESS, ClientMachine, OTHER, PASSWORD, finish, possible};
use crate::recipes::{VERSION, sum};
use crate::support::aws::{Aws, Plan};

const MOTO: &str = "127.83.67.82:5000";

/// Returns a machine and the AWS that its helper calls; `None` where the tests cannot run.
fn machine(test: &str) -> Option<(ClientMachine, Aws)> {
    if !possible(test, &[]) {
        return None;
    }
    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    Some((ClientMachine::start(&aws.url()), aws))
}

#[test]
fn real_clients_push_and_pull_through_the_helper() {
    let Some((site, aws)) = machine("clients") else { return };
    let image = format!("{HOST}/team/app:1");
    site.import(&image);
    site.with_helper(|| site.docker(&["push", &image]));
    site.docker(&["rmi", &image]);
    site.with_helper(|| site.docker(&["pull", &image]));
    site.with_helper(|| site.docker(&["manifest", "inspect", &image]));

    let storage = |name: &str| site.dir.path().join(name).display().to_string();
    let (podman_root, podman_run) = (storage("podman"), storage("podman-run"));
    let podman = ["--root", &podman_root, "--runroot", &podman_run, "--storage-driver", "vfs"];
    let mine = format!("{HOST}/team/podman:1");
    site.with_helper(|| site.run("podman", &[&podman[..], &["pull", &image]].concat()));
    site.with_helper(|| site.run("podman", &[&podman[..], &["push", &image, &mine]].concat()));
    site.run("podman", &[&podman[..], &["rmi", &image]].concat());
    site.with_helper(|| site.run("podman", &[&podman[..], &["pull", &image]].concat()));

    let (buildah_root, buildah_run) = (storage("buildah"), storage("buildah-run"));
    let buildah = ["--root", &buildah_root, "--runroot", &buildah_run, "--storage-driver", "vfs"];
    let mine = format!("{HOST}/team/buildah:1");
    site.run("buildah", &[&buildah[..], &["from", "--name", "made", "scratch"]].concat());
    site.run("buildah", &[&buildah[..], &["config", "--label", "made=here", "made"]].concat());
    site.run("buildah", &[&buildah[..], &["commit", "made", &mine]].concat());
    site.with_helper(|| site.run("buildah", &[&buildah[..], &["push", &mine]].concat()));
    site.with_helper(|| site.run("buildah", &[&buildah[..], &["pull", "--policy", "always", &mine]].concat()));

    let copy = format!("docker://{HOST}/team/skopeo:1");
    let original = format!("docker://{image}");
    site.with_helper(|| site.run("skopeo", &["copy", &original, &copy]));
    let inspected = site.with_helper(|| site.run("skopeo", &["inspect", &copy]));
    assert!(inspected.contains(&format!("{HOST}/team/skopeo")), "{inspected}");
    assert_eq!(aws.count(), 1, "one call for all of them");

    let doctor = site.run("docker-credential-ecr-login", &["doctor"]);
    assert!(doctor.contains(&format!("ok       {HOST}  token valid for")), "{doctor}");
    assert!(doctor.ends_with(" ok, 0 failed\n"), "all is well: {doctor}");
}

/// AWS Labs' helper refuses both.
#[test]
fn docker_login_works_and_logout_drops_the_token() {
    let Some((site, _aws)) = machine("docker login") else { return };
    let login = site.with_helper(|| site.docker(&["login", HOST]));
    assert!(login.contains("Login Succeeded"), "{login}");
    site.docker_in(&["login", "-u", "AWS", "--password-stdin", HOST], PASSWORD);
    let wrong = output(&mut site.docker_command(&["login", "-u", "AWS", "-p", "wrong", HOST]));
    assert!(!wrong.status.success(), "the registry checks passwords");
    assert_eq!(crate::helper::entries(&site.cache()).len(), 1);
    let logout = site.docker(&["logout", HOST]);
    assert!(!logout.contains("WARNING"), "{logout}");
    assert_eq!(crate::helper::entries(&site.cache()).len(), 0, "logout drops the token");
    let config = fs::read_to_string(site.home().join(".docker/config.json")).expect("a config");
    assert!(!config.contains("auth\""), "no password in {config}");
}

/// The API is moto, which issues expired tokens.
#[test]
fn a_token_that_comes_expired_serves_one_pull_and_is_not_kept() {
    let moto = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "target/venv/bin/moto_server".to_owned());
    let moto = fs::canonicalize(&moto).unwrap_or(PathBuf::from(moto));
    if !possible("moto", &[moto.to_str().expect("UTF-8")]) {
        return;
    }
    let site = ClientMachine::start(&format!("http://{MOTO}"));
    let mut command = site.namespace.command(&moto);
    command.args(["-H", ADDRESS, "-p", "5000"]);
    let _moto = Daemon::start(command, &site.dir.path().join("moto.log"), || TcpStream::connect(MOTO).is_ok());
    let image = format!("{HOST}/team/app:1");
    site.import(&image);
    for _ in 0..2 {
        site.with_helper(|| site.docker(&["push", &image]));
        site.with_helper(|| site.docker(&["pull", &image]));
    }
    site.with_helper(|| site.run("skopeo", &["inspect", &format!("docker://{image}")]));
    assert_eq!(crate::helper::entries(&site.cache()).len(), 0, "an expired token is not kept");
}

/// Follows helm's recipe: helm and other programs with oras's library require docker's entry alone.
#[test]
fn helm_and_oras_push_and_pull_without_a_login() {
    let moto = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "target/venv/bin/moto_server".to_owned());
    let bin = Path::new(&moto).parent().expect("a directory");
    let installed = |name: &str| bin.canonicalize().unwrap_or_default().join(name).display().to_string();
    let (helm, python) = (installed("helm"), installed("python"));
    if !possible("helm and oras", &[&helm, &python]) {
        return;
    }
    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    let site = ClientMachine::start(&aws.url());
    let work = site.dir.path().join("work");
    fs::create_dir_all(work.join("app")).expect("a directory");
    fs::write(work.join("app/Chart.yaml"), "apiVersion: v2\nname: app\nversion: 1.2.3\n").expect("a write");
    let run = |program: &str, args: &[&str]| {
        let mut command = site.command_in(&work, program, args);
        // The Python client reads certificates from its own variable.
        finish(command.env("REQUESTS_CA_BUNDLE", site.dir.path().join("cert.pem")))
    };
    run(&helm, &["package", "app"]);
    let remote = format!("oci://{HOST}/charts");
    site.with_helper(|| run(&helm, &["push", "app-1.2.3.tgz", &remote]));
    fs::remove_file(work.join("app-1.2.3.tgz")).expect("a chart");
    let chart = format!("{remote}/app");
    site.with_helper(|| run(&helm, &["pull", &chart, "--version", "1.2.3"]));
    assert!(work.join("app-1.2.3.tgz").exists());
    let shown = site.with_helper(|| run(&helm, &["show", "chart", &chart]));
    assert!(shown.contains("version: 1.2.3"), "{shown}");
    assert!(!site.home().join(".config/helm/registry/config.json").exists(), "no login");

    let target = format!("{HOST}/team/artifact:1");
    let (push, pull) = (
        "import oras.client, sys; oras.client.OrasClient(auth_backend='basic').push(target=sys.argv[1], files=['note.txt'])",
        "import oras.client, sys; oras.client.OrasClient(auth_backend='basic').pull(target=sys.argv[1], outdir='pulled')",
    );
    fs::write(work.join("note.txt"), "a note").expect("a write");
    site.with_helper(|| run(&python, &["-c", push, &target]));
    site.with_helper(|| run(&python, &["-c", pull, &target]));
    assert_eq!(fs::read_to_string(work.join("pulled/note.txt")).expect("a file"), "a note");
    assert_eq!(aws.count(), 1, "one token for all of it");
}

/// docker up to 28.2, and some commands of every docker, drop a failing helper's standard output; podman, buildah and skopeo
/// pass on both streams.
#[test]
fn a_person_reads_the_cause_and_the_command_to_run_whatever_client_waits() {
    if !possible("what a person reads", &[]) {
        return;
    }
    let aws = Aws::start();
    let site = ClientMachine::start(&aws.url());
    let image = format!("{HOST}/team/app:1");
    let aws_dir = site.home().join(".aws");
    fs::create_dir_all(&aws_dir).expect("a directory");
    let config = format!("[profile dev]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
    fs::write(aws_dir.join("config"), config).expect("a write");
    let storage = |name: &str| site.dir.path().join(name).display().to_string();
    let (root, run) = (storage("images-of-podman"), storage("run-of-podman"));
    let pull = ["--root", &root, "--runroot", &run, "--storage-driver", "vfs", "pull", &image];
    let remote = format!("docker://{image}");
    let look = ["inspect", remote.as_str()];
    let mut clients: Vec<(&str, &[&str])> = vec![("podman", &pull), ("buildah", &pull), ("skopeo", &look)];
    // Debian's docker, that of Debian's next release, and another one if the machine has it.
    let newest = newer("docker");
    let (pull, login, inspect) = (["pull", image.as_str()], ["login", HOST], ["manifest", "inspect", image.as_str()]);
    for docker in [Some("/usr/bin/docker"), Some("/usr/local/bin/docker"), newest.as_deref()].into_iter().flatten() {
        if std::path::Path::new(docker).exists() {
            clients.extend([(docker, &pull[..]), (docker, &login), (docker, &inspect)]);
        }
    }
    for (client, args) in clients {
        let mut command = site.command(client, args);
        command.env("AWS_PROFILE", "dev").env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        let output = output(&mut command);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success(), "{client} {args:?}: {said}");
        for words in
            ["the SSO sign-in of profile 'dev' has expired or is gone", "run 'aws sso login --profile dev'", HOST]
        {
            assert!(said.contains(words), "{client} {args:?}: '{words}' in {said}");
        }
    }
}

/// docker uses the helper as `credsStore`, and a fallback helper stores the passwords of all other registries.
#[test]
fn one_store_serves_ecr_and_an_ordinary_registry() {
    let Some((site, _aws)) = machine("credsStore") else { return };
    let image = &format!("{HOST}/team/app:1");
    site.import(image);
    let path = |name: &str| site.dir.path().join(name).display().to_string();
    let _registry = site.other_registry();
    let docker_config = site.home().join(".docker/config.json");
    fs::write(&docker_config, "{\"credsStore\":\"ecr-login\"}").expect("a write");
    let settings = site.home().join(".config/docker-credential-ecr-login");
    fs::create_dir_all(&settings).expect("a directory");
    fs::write(settings.join("config.toml"), "fallback = 'keeper'").expect("a write");
    let keeper = path("bin/docker-credential-keeper");
    crate::process::write_program(&keeper, KEEPER);

    let other_image = format!("{OTHER}/team/app:1");
    let fails = |args: &[&str]| !output(&mut site.docker_command(args)).status.success();
    site.docker(&["tag", image, &other_image]);
    assert!(fails(&["push", &other_image]), "it requires a password");
    assert!(fails(&["login", "-u", "me", "-p", "wrong", OTHER]), "and the right one");
    let login = site.docker_in(&["login", "-u", "me", "--password-stdin", OTHER], "hunter2");
    assert!(login.contains("Login Succeeded"), "{login}");
    site.with_helper(|| site.docker(&["login", HOST]));
    let config = fs::read_to_string(&docker_config).expect("a config");
    assert!(!config.contains("auth\""), "no password in {config}");
    for _ in 0..2 {
        site.docker(&["push", &other_image]);
        site.with_helper(|| site.docker(&["push", image]));
        site.docker(&["rmi", &other_image, image]);
        site.docker(&["pull", &other_image]);
        site.with_helper(|| site.docker(&["pull", image]));
    }
    let listed = site.run("docker-credential-ecr-login", &["list"]);
    assert_eq!(listed, format!("{{\"{HOST}\":\"AWS\",\"{OTHER}\":\"me\"}}\n"));
    site.docker(&["logout", OTHER]);
    assert!(fails(&["push", &other_image]), "logout reaches the fallback");
    site.with_helper(|| site.docker(&["push", image]));
}

/// A machine for `setup`, with an ordinary registry as well as an ECR one.
struct SetUp {
    site: ClientMachine,
    aws: Aws,
    _registry: Daemon,
    image: String,
    other_image: String,
}

impl SetUp {
    fn start(test: &str) -> Option<Self> {
        let (site, aws) = machine(test)?;
        let registry = site.other_registry();
        fs::remove_file(site.home().join(".docker/config.json")).expect("a file");
        let (image, other_image) = (format!("{HOST}/team/app:1"), format!("{OTHER}/team/app:1"));
        site.import(&image);
        site.docker(&["tag", &image, &other_image]);
        Some(Self { site, aws, _registry: registry, image, other_image })
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.site.home().join(path)).expect(path)).expect("JSON")
    }

    fn setup(&self, args: &[&str]) -> String {
        self.site.run("docker-credential-ecr-login", &[&["setup"], args].concat())
    }

    fn docker_fails(&self, args: &[&str]) -> bool {
        !output(&mut self.site.docker_command(args)).status.success()
    }
}

/// docker's file holds logins of both registries.
#[test]
fn docker_uses_the_helper_after_setup_and_logins_after_its_removal() {
    let Some(machine) = SetUp::start("setup of docker") else { return };
    let SetUp { site, image, other_image, .. } = &machine;
    let docker = ".docker/config.json";
    site.docker_in(&["login", "-u", "me", "--password-stdin", OTHER], "hunter2");
    site.docker_in(&["login", "-u", "AWS", "--password-stdin", HOST], PASSWORD);
    let written = machine.json(docker);
    let said = machine.setup(&[HOST]);
    assert!(said.contains("earlier login"), "{said}");
    let mut expected = written.clone();
    expected["credHelpers"] = json!({HOST: "ecr-login"});
    assert_eq!(machine.json(docker), expected);
    site.with_helper(|| site.docker(&["push", image]));
    machine.setup(&[HOST, "--remove-auths"]);
    // docker rewrites the file and keeps the helper's entry.
    site.docker(&["push", other_image]);
    site.docker(&["logout", OTHER]);
    assert!(machine.docker_fails(&["push", other_image]));
    site.docker_in(&["login", "-u", "me", "--password-stdin", OTHER], "hunter2");
    site.docker(&["rmi", image]);
    site.with_helper(|| site.docker(&["pull", image]));
    machine.setup(&["--remove"]);
    let mut expected = written;
    expected["auths"].as_object_mut().expect("logins").remove(HOST);
    assert_eq!(machine.json(docker), expected);
    assert!(machine.docker_fails(&["push", image]), "nobody is asked any more");
    assert_eq!(machine.aws.count(), 1, "one call for all of this");
}

/// One of podman's files holds a login that podman itself has written.
#[test]
fn podman_uses_the_helper_after_setup_and_logins_after_its_removal() {
    let Some(machine) = SetUp::start("setup of podman") else { return };
    let SetUp { site, image, other_image, .. } = &machine;
    machine.setup(&[HOST]);
    site.docker(&["push", image]);
    site.docker_in(&["login", "-u", "me", "--password-stdin", OTHER], "hunter2");
    site.docker(&["push", other_image]);
    fs::remove_file(site.home().join(".docker/config.json")).expect("a file");

    site.run("podman", &["login", "--tls-verify=false", "-u", "me", "-p", "hunter2", OTHER]);
    let login = machine.json("containers/auth.json");
    let inspect =
        |image: &str| site.command("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{image}")]);
    let works = |image: &str| output(&mut inspect(image)).status.success();
    assert!(works(other_image) && !works(image), "one login");
    for set_up in [&["--podman", HOST][..], &["--podman"]] {
        machine.setup(set_up);
        site.with_helper(|| site.run("skopeo", &["inspect", &format!("docker://{image}")]));
        assert!(works(other_image));
        machine.setup(&["--podman", "--remove"]);
        assert!(works(other_image) && !works(image), "as before");
    }
    assert_eq!(machine.json("containers/auth.json"), login);
    // The same with a file that a variable names.
    let auth_file = site.home().join("auth.json").display().to_string();
    fs::rename(site.home().join("containers/auth.json"), &auth_file).expect("a rename");
    let with_file = |program: &str, args: &[&str]| {
        output(site.command(program, args).env("REGISTRY_AUTH_FILE", &auth_file)).status.success()
    };
    assert!(with_file("docker-credential-ecr-login", &["setup", "--podman", HOST]));
    assert!(with_file("podman", &["logout", OTHER]), "podman writes it anew");
    assert_eq!(machine.json("auth.json")["credHelpers"], json!({HOST: "ecr-login"}));
    assert!(with_file("skopeo", &["inspect", &format!("docker://{image}")]));
    assert_eq!(machine.aws.count(), 1, "one call for all of this");
}

/// The commands of a recipe for bash: those of a block of `sh`; the `script` lines of a system's YAML, with the variables that it
/// sets before them; the `sh` steps of a Jenkinsfile, with the variables that it binds.
fn commands(language: &str, block: &str) -> String {
    let script = "import re, shlex, sys, yaml
language, text = sys.argv[1], sys.stdin.read()
if language == 'groovy':
    for kind, variable in re.findall(r\"(usernameVariable|passwordVariable): '(\\w+)'\", text):
        print(f'export {variable}=' + ('AKIAOFJENKINS' if kind == 'usernameVariable' else 'stand-in'))
    print('\\n'.join(re.findall(r\"^ *sh '(.*)'$\", text, re.M)))
def walk(node):
    for key, value in node.items() if isinstance(node, dict) else []:
        if key in ('variables', 'env', 'environment'):
            for name, setting in value.items():
                print(f'export {name}={shlex.quote(setting)}')
        elif key in ('script', 'commands', 'run'):
            print('\\n'.join([value] if isinstance(value, str) else value))
        else:
            walk(value)
    for value in node if isinstance(node, list) else []:
        walk(value)
if language == 'yaml':
    walk(yaml.safe_load(text))";
    if language == "sh" {
        return block.to_owned();
    }
    let moto = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "target/venv/bin/moto_server".to_owned());
    let python = Path::new(&moto).with_file_name("python");
    let output = end(start(Command::new(python).args(["-c", script, language]), block));
    assert!(output.status.success(), "{block}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A recipe as a script for bash, with what its readers fill in: where a release is, its version, and the archive's checksum.
pub struct Recipe {
    pub text: String,
    pub script: String,
}

impl Recipe {
    /// Each block of commands in a text, with the release that is served at this address.
    pub fn all(text: &str, served: &str, archive: &Path) -> Vec<Self> {
        let blocks = text.split("\n```").skip(1).step_by(2).map(|block| block.split_once('\n').expect("a block"));
        let blocks = blocks.filter(|(language, _)| ["sh", "yaml", "groovy"].contains(language));
        let recipe = |(language, text): (&str, &str)| {
            let script = commands(language, text)
                .replace("https://github.com/OWNER/REPO/releases/download", served)
                .replace("VERSION", VERSION)
                .replace("SHA256", &sum(archive))
                // The service of a GitLab job; here docker is at the machine's socket.
                .replace("export DOCKER_HOST=tcp://docker:2375\n", "");
            // What the action does, which has tests of its own.
            let action = text
                .contains("uses: OWNER/REPO/packaging/github-action@TAG")
                .then_some("docker-credential-ecr-login setup --account 111122223333 --region us-east-1\n");
            Self { text: text.to_owned(), script: action.unwrap_or_default().to_owned() + &script }
        };
        blocks.map(recipe).collect()
    }

    pub fn downloads(&self) -> bool {
        self.text.contains("OWNER/REPO/releases")
    }
}

/// A program that gives a job of Buildkite its identity token, and the token.
pub fn buildkite_agent() -> (String, String) {
    let token = jwt("a-job", 1);
    let agent = format!("#!/bin/sh\ntest \"$*\" = 'oidc request-token --audience sts.amazonaws.com' && echo {token}\n");
    (agent, token)
}

/// Runs the commands of packaging/recipes, and the README's first, on a machine without any settings, with a release on a server and the variables that CI
/// systems set.
#[test]
fn the_recipes_work() {
    let Some((site, aws)) = machine("recipes") else { return };
    let Some((release, served, _)) = served() else { return };
    let readme = fs::read_to_string("README.md").expect("a readme");
    // The helper is there already.
    let quick_start = readme.split("\n```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let quick_start = format!("cargo() {{ test \"$*\" = 'install --locked --path .'; }}\n{quick_start}");
    let text = fs::read_to_string("packaging/recipes/README.md").expect("the recipes");
    let text = format!("{text}\n```sh\n{quick_start}```\n");
    let archive = release.path().join(format!("docker-credential-ecr-login-{VERSION}-linux-x86_64.tar.gz"));
    let recipes = Recipe::all(&text, &served, &archive);
    assert!(recipes.len() >= 14, "{}", recipes.len());
    let image = format!("{HOST}/team/app:1");
    site.import(&image);
    site.with_helper(|| site.docker(&["push", &image]));
    let installed = site.dir.path().join("installed");
    let agent = site.dir.path().join("bin/buildkite-agent");
    let (content, token) = buildkite_agent();
    crate::process::write_program(&agent, content);
    for recipe in recipes {
        site.docker(&["rmi", &image]);
        for part in [".docker", ".config", "containers", ".cache"] {
            let _ = fs::remove_dir_all(site.home().join(part));
        }
        let _ = fs::remove_dir_all(&installed);
        fs::create_dir_all(installed.join("bin")).expect("a directory");
        let script = recipe.script.replace("/usr/local/bin", &format!("{}/bin", installed.display()));
        assert!(script.contains("docker") || script.contains("skopeo"), "{script}");
        let calls = aws.count();
        let mut bash = site.command_in(&site.home(), "bash", &["-euo", "pipefail", "-c", &script]);
        bash.env("CIRCLE_OIDC_TOKEN_V2", &token);
        if recipe.text.contains("id_tokens:") {
            bash.env("ECR_ID_TOKEN", &token);
        }
        finish(&mut bash);
        let text = &recipe.text;
        assert_eq!(installed.join("bin/docker-credential-ecr-login").exists(), recipe.downloads(), "{text}");
        assert!(aws.count() > calls, "the helper was called: {text}");
        assert!(aws.count() - calls <= 3, "two tokens and a role are the most: {text}");
        let asked: Vec<_> = aws.calls()[calls..].iter().map(|call| call.operation.clone()).collect();
        let by_token = text.contains("AWS_ECR_WEB_IDENTITY: env:");
        assert_eq!(asked.iter().any(|name| name == "AssumeRoleWithWebIdentity"), by_token, "{asked:?}: {text}");
        // The next recipe removes the image, which most recipes have pulled.
        fs::create_dir_all(site.home().join(".docker")).expect("a directory");
        site.run("docker-credential-ecr-login", &["setup", HOST]);
        site.docker(&["pull", &image]);
    }
}
