//! A newcomer's machine: on a fresh Debian with nothing but git, Rust and a C compiler, an ordinary user follows the documents from
//! the top, each line as it is written (`tests/container`). Where a line says which package it lacks, the user installs that and
//! repeats it. AWS and the registry are stand-ins. `./tests/run --packages`; builds are quick instead of small, unless FULL is set.
//! NEWCOMER names a directory in which the container stays, so that the next run goes on with what this one has built.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::HOST;
use crate::action::serve;
use crate::clients::{Recipe, buildkite_agent};
use crate::namespace::note;
use crate::real_clients::{ClientMachine, PASSWORD, possible};
use crate::recipes::{NAME, VERSION};
use crate::support::aws::{Aws, Plan};

/// How the blocks begin that are not run, and why.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("packaging/image/README.md", "services:\n  watchtower:", "Watchtower's image is in no package registry"),
    (
        "packaging/kubelet/README.md",
        "sudo rm /etc/systemd/",
        "a node of EKS; clusters:: runs what installs the helper there",
    ),
    (
        "packaging/kubelet/README.md",
        "apiVersion: node.eks.aws/",
        "a node of EKS; clusters:: compares it with the schema",
    ),
    (
        "packaging/kubelet/README.md",
        "cd /var/lib/rancher/",
        "a node of k3s; clusters:: runs what installs the helper there",
    ),
    (
        "packaging/kubelet/README.md",
        "cd target/local\nkubectl apply",
        "a cluster; clusters:: renders and checks the files",
    ),
    (
        "packaging/kubelet/README.md",
        "apiVersion: v1\nkind: ServiceAccount",
        "a cluster; clusters:: compares it with the schema",
    ),
    (
        "packaging/kubelet/README.md",
        "apiVersion: kubelet.config.k8s.io/",
        "a cluster; clusters:: compares it with the schema",
    ),
    ("packaging/kubelet/README.md", "apiVersion: kustomize.config.k8s.io/", "a cluster; clusters:: renders it"),
];
/// What other systems would show.
const SYSTEMS: &str = "fresh Fedora and Amazon Linux: no package registry of theirs is reached here; the workflow CI runs the README's lines there";

struct Newcomer {
    site: ClientMachine,
    changes: PathBuf,
    _changes: TempDir,
}

impl Newcomer {
    fn arrive(aws: &Aws) -> Self {
        let site = ClientMachine::start(&aws.url());
        let dir = site.dir.path();
        // Where a file system can be laid over another, as it cannot in the directories that are laid so themselves.
        let new = tempfile::tempdir_in("target").expect("a directory");
        let absolute = fs::canonicalize(new.path()).expect("a path");
        let changes = std::env::var_os("NEWCOMER").map_or(absolute, PathBuf::from);
        // An ordinary user reaches docker's socket.
        for (path, mode) in [(dir.to_owned(), 0o755), (dir.join("socket"), 0o666)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
        }
        Self { site, changes, _changes: new }
    }

    /// Runs a script in the checkout; whether it succeeded, and what it said.
    fn runs(&self, script: &str, vars: &[(&str, &str)]) -> (bool, String) {
        let dir = std::env::current_dir().expect("a directory");
        let mut command = self.site.namespace.command_in(&dir, "unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "tests/container"]);
        command.arg(dir.join("target/newcomer")).args([&self.changes, self.site.dir.path()]);
        command.args(["bash", "-euo", "pipefail", "-c", script]);
        for name in ["PATH", "HOME", "CARGO_HOME"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        if std::env::var_os("FULL").is_none() {
            for (name, value) in [("LTO", "off"), ("OPT_LEVEL", "0"), ("CODEGEN_UNITS", "16")] {
                command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
            }
        }
        command.env("DOCKER_HOST", format!("unix://{}/socket", self.site.dir.path().display()));
        command.env("AWS_ENDPOINT_URL", &self.site.endpoint);
        command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "stand-in");
        let output = command.envs(vars.iter().copied()).output().expect("unshare runs");
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (output.status.success(), said)
    }

    /// Follows a line, and the advice that it gives about what it lacks.
    #[track_caller]
    fn follows(&self, script: &str, vars: &[(&str, &str)]) -> String {
        let mut followed = Vec::new();
        loop {
            eprintln!("$ {script}");
            let (succeeded, said) = self.runs(script, vars);
            if succeeded {
                return said;
            }
            let advice = said.lines().find_map(|line| line.split_once("on Debian: ")?.1.split(';').next());
            let advice = advice.map(|advice| advice.replace("apt-get install ", "sudo apt-get install -y -qq "));
            let advice =
                advice.filter(|advice| !followed.contains(advice)).unwrap_or_else(|| panic!("{script}: {said}"));
            eprintln!("  advice: {advice}");
            let (succeeded, said) = self.runs(&advice, &[]);
            assert!(succeeded, "{advice}: {said}");
            followed.push(advice);
        }
    }

    /// Where a path of the checkout is on this machine.
    fn checkout(&self, path: &str) -> PathBuf {
        self.changes.join("upper/home/newcomer/checkout").join(path)
    }
}

/// The blocks of commands in a document, and the spans of code in it that build something.
fn lines(document: &str) -> Vec<String> {
    let text = fs::read_to_string(document).expect(document);
    let mut lines = Vec::new();
    for (number, part) in text.split("\n```").enumerate() {
        if number % 2 == 1 {
            let (language, block) = part.split_once('\n').expect("a block");
            if ["sh", "yaml"].contains(&language) {
                lines.push(block.to_owned());
            }
        } else {
            // The demo is a step of `tests/run` itself.
            let builds = |code: &&str| code.contains("/build)\"") || code.starts_with("packaging/image/build");
            lines.extend(part.split('`').skip(1).step_by(2).filter(builds).map(str::to_owned));
        }
    }
    lines
}

#[test]
#[ignore = "builds everything on a fresh Debian: ./tests/run --packages"]
fn each_line_of_the_documents_works_on_a_fresh_debian() {
    if !possible("a fresh Debian", &["debootstrap", "git", "setpriv"]) {
        return;
    }
    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    let newcomer = Newcomer::arrive(&aws);
    let site = &newcomer.site;
    let image = format!("{HOST}/team/app:1");
    site.import(&image);
    site.with_helper(|| site.docker(&["push", &image]));
    site.docker(&["rmi", &image]);
    // The clients that the pages are about.
    newcomer.follows("sudo apt-get update -qq && sudo apt-get install -y -qq docker-cli curl skopeo >&2", &[]);

    let mut left_out = Vec::new();
    for document in ["README.md", "packaging/image/README.md", "packaging/kubelet/README.md"] {
        for line in lines(document) {
            if let Some(&(_, start, reason)) =
                LEFT_OUT.iter().find(|(of, start, _)| *of == document && line.starts_with(start))
            {
                let first = line.lines().next().unwrap_or_default();
                note(&format!("{document}: {first} …: needs {reason}"));
                left_out.push(start);
                continue;
            }
            // Debian's rpm installs into other roots alone; and a page names images of a release, which were built under other names.
            let line = line
                .replace("sudo rpm -U", "sudo mkdir -p /rpm && sudo rpm --root /rpm --dbpath /var/lib/rpm -U")
                .replace("IMAGE:VERSION-docker", "ecr-login:docker")
                .replace("IMAGE:VERSION", "ecr-login:local");
            newcomer.follows(&line, &[]);
        }
        if document == "README.md" {
            sudo_works(&newcomer);
            with_docker(&newcomer);
        }
    }
    assert_eq!(left_out.len(), LEFT_OUT.len(), "each reason belongs to a block: {left_out:?}");
    recipes(&newcomer, &aws, &image);
    for args in ["setup --remove", "setup --podman --remove", "logout --all"] {
        newcomer.follows(&format!("docker-credential-ecr-login {args}"), &[]);
    }
    note(SYSTEMS);
}

/// The README's row for `sudo`.
fn sudo_works(newcomer: &Newcomer) {
    let readme = fs::read_to_string("README.md").expect("a readme");
    let row = readme.lines().find(|line| line.starts_with("| works, but not with `sudo`")).expect("a row");
    let lines: Vec<&str> = row.split('`').filter(|code| code.starts_with("sudo ") && code.contains(NAME)).collect();
    assert_eq!(lines.len(), 2, "{row}");
    newcomer.follows(&lines.join("\n").replace("HOST", HOST), &[]);
    newcomer.follows(&format!("sudo --preserve-env=DOCKER_HOST,AWS_ENDPOINT_URL,AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY docker pull {HOST}/team/app:1"), &[]);
}

/// The second image, by the lines of the first.
fn with_docker(newcomer: &Newcomer) {
    let page = lines("packaging/image/README.md");
    let load = page.iter().find(|line| line.contains("docker load")).expect("lines");
    let load = load.replace("$(packaging/image/build)", "$(packaging/image/build --with-docker)");
    newcomer.follows(&load.replace("ecr-login:local", "ecr-login:docker"), &[]);
    let text = fs::read_to_string("packaging/image/README.md").expect("a page");
    let push = text.split('`').find(|code| code.contains(" docker://REGISTRY/")).expect("a line");
    let push = push.replace("REGISTRY", HOST);
    newcomer.follows(&format!("archive=\"$(packaging/image/build)\"\n{push}"), &[]);
}

/// The recipes, with the archive that was built as the release, for a user who has no settings yet.
fn recipes(newcomer: &Newcomer, aws: &Aws, image: &str) {
    let release = newcomer.checkout("target/dist");
    let archive = release.join(format!("{NAME}-{VERSION}-linux-x86_64.tar.gz"));
    let text = fs::read_to_string("packaging/recipes/README.md").expect("the recipes");
    let (agent, token) = buildkite_agent();
    fs::write(newcomer.changes.join("upper/usr/bin/buildkite-agent"), agent).expect("a write");
    newcomer.follows("sudo chmod 755 /usr/bin/buildkite-agent", &[]);
    for recipe in Recipe::all(&text, &serve(&release), &archive) {
        newcomer.follows(&format!("docker rmi {image} || true; rm -rf ~/.docker ~/.config ~/.cache"), &[]);
        // The user is not root.
        let script = format!("cd ~\n{}", recipe.script.replace("install -m 755", "sudo install -m 755"));
        let calls = aws.count();
        let id_token = recipe.text.contains("id_tokens:").then_some(("ECR_ID_TOKEN", token.as_str()));
        let vars: Vec<_> = id_token.into_iter().chain([("CIRCLE_OIDC_TOKEN_V2", token.as_str())]).collect();
        newcomer.follows(&script, &vars);
        assert!(aws.count() > calls, "the helper was called: {}", recipe.text);
    }
}
