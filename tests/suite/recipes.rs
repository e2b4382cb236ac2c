//! Runs the other parts of `packaging/`: the Homebrew formula, the Scoop manifest, and the check of a release's tag.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::action::served;
use crate::namespace::{missing, skip};
use crate::process::output;
use crate::real_clients::shell;

pub const NAME: &str = "docker-credential-ecr-login";
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
pub const HOMEPAGE: &str = "https://github.com/example/ecr-login";
pub const IMAGE: &str = "ghcr.io/example/ecr-login";
const PLATFORMS: [&str; 6] =
    ["linux-x86_64", "linux-aarch64", "macos-x86_64", "macos-aarch64", "windows-x86_64", "windows-aarch64"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: String,
    description: String,
    homepage: String,
    license: String,
    architecture: BTreeMap<String, Download>,
    notes: String,
    bin: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Download {
    url: String,
    hash: String,
    extract_dir: String,
}

#[test]
fn the_scoop_manifest_names_the_archives_of_windows() {
    let release = release();
    let text = fs::read_to_string(release.path().join(format!("{NAME}.json"))).expect("a manifest");
    let manifest: Manifest = serde_json::from_str(&text).expect("a manifest");
    assert_eq!((manifest.version.as_str(), manifest.homepage.as_str()), (VERSION, HOMEPAGE));
    assert_eq!((manifest.license.as_str(), manifest.bin), ("MIT|Apache-2.0", format!("bin\\{NAME}.exe")));
    assert_eq!(manifest.description, env!("CARGO_PKG_DESCRIPTION"));
    assert!(manifest.notes.contains(&format!("\\share\\powershell\\{NAME}.ps1")), "{}", manifest.notes);
    let machines: Vec<_> = manifest.architecture.keys().map(String::as_str).collect();
    assert_eq!(machines, ["64bit", "arm64"]);
    for (machine, platform) in [("64bit", "windows-x86_64"), ("arm64", "windows-aarch64")] {
        let Download { url, hash, extract_dir } = &manifest.architecture[machine];
        let directory = format!("{NAME}-{VERSION}-{platform}");
        assert_eq!(*url, format!("{HOMEPAGE}/releases/download/v{VERSION}/{directory}.zip"));
        assert_eq!(*hash, sum(&release.path().join(format!("{directory}.zip"))));
        assert_eq!(*extract_dir, directory);
    }
}

/// The part of Homebrew that a formula uses. It prints the URL to fetch and installs from the working directory.
const HOMEBREW: &str = r##"
require "fileutils"
require "json"
class Place
  def initialize(path) = @path = path
  def install(file) = FileUtils.mkdir_p(@path) && FileUtils.cp(file, @path)
end
class Formula
  FOUND = {}
  class << self
    def desc(text) = FOUND["desc"] = text
    def homepage(text) = FOUND["homepage"] = text
    def version(text) = FOUND["version"] = text
    def license(any_of:) = FOUND["license"] = any_of
    def conflicts_with(_name, because:) = because
    def on_macos = (@system = "macos") && yield
    def on_linux = (@system = "linux") && yield
    def on_arm = (@machine = "aarch64") && yield
    def on_intel = (@machine = "x86_64") && yield
    def url(text) = FOUND["#{@system}-#{@machine}"] = [text]
    def sha256(text) = FOUND["#{@system}-#{@machine}"] << text
    def test = nil
  end
  def initialize(prefix) = @prefix = prefix
  { bin: "bin", man1: "share/man/man1", man5: "share/man/man5", bash_completion: "etc/bash_completion.d",
    zsh_completion: "share/zsh/site-functions", fish_completion: "share/fish/vendor_completions.d",
    doc: "share/doc/docker-credential-ecr-login" }.each do |name, path|
    define_method(name) { Place.new("#{@prefix}/#{path}") }
  end
end
load ARGV[0]
DockerCredentialEcrLogin.new(ARGV[1]).install
puts JSON.dump(Formula::FOUND)
"##;

#[test]
fn the_homebrew_formula_installs_the_archive_that_it_names() {
    if let Some(program) = missing(&["ruby"]) {
        return skip("the Homebrew formula", &format!("{program} is not installed"));
    }
    let release = release();
    let formula = release.path().join(format!("{NAME}.rb"));
    shell(&format!("ruby -wc {} >/dev/null", formula.display()));
    let directory = release.path().join(format!("unpacked/{NAME}-{VERSION}-linux-x86_64"));
    shell(&format!(
        "cd {}; mkdir unpacked; tar -x -C unpacked -f {NAME}-{VERSION}-linux-x86_64.tar.gz",
        release.path().display()
    ));
    let prefix = release.path().join("prefix");
    let mut ruby = Command::new("ruby");
    let output = output(ruby.args(["-e", HOMEBREW]).arg(&formula).arg(&prefix).current_dir(directory));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&found["version"], &found["homepage"]), (&VERSION.into(), &HOMEPAGE.into()));
    assert_eq!(found["license"], json!(["MIT", "Apache-2.0"]));
    for platform in PLATFORMS.iter().filter(|platform| !platform.starts_with("windows")) {
        let file = format!("{NAME}-{VERSION}-{platform}.tar.gz");
        let url = format!("{HOMEPAGE}/releases/download/v{VERSION}/{file}");
        assert_eq!(found[platform], json!([url, sum(&release.path().join(file))]), "{platform}");
    }
    let licences = LICENCES.map(|file| format!("share/doc/{NAME}/{file}"));
    let files = [format!("bin/{NAME}"), format!("share/man/man1/{NAME}.1")];
    for file in files.iter().chain(&licences) {
        assert!(prefix.join(file).exists(), "{file}");
    }
}

#[test]
fn a_release_without_an_archive_or_with_an_unknown_word_is_not_rendered() {
    let release = release();
    let render = |template: &Path| {
        let mut command = Command::new("packaging/render");
        command.arg(template).args([HOMEPAGE, IMAGE]).env("DIST", release.path());
        output(&mut command).status.success()
    };
    let formula = Path::new("packaging/homebrew/docker-credential-ecr-login.rb.in");
    // assemble writes all checksums to one file.
    assert!(!render(formula), "no checksums, no formula");
    let template = release.path().join("template.in");
    fs::write(&template, "@VERSION@").expect("a write");
    assert!(render(&template));
    fs::write(&template, "@VERSON@").expect("a write");
    assert!(!render(&template));
}

const LICENCES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "THIRD-PARTY-LICENSES"];

/// Creates a release in a directory: the archives of all platforms, and the files that `packaging/assemble` makes from them.
/// The program in the archive of this platform records how it is called.
pub fn release() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for platform in PLATFORMS {
        let directory = format!("{NAME}-{VERSION}-{platform}");
        let ending = if platform.starts_with("windows") { "zip" } else { "tar.gz" };
        let package = dir.path().join(&directory);
        for (file, content) in [
            (format!("bin/{NAME}"), FAKE),
            (format!("share/man/man1/{NAME}.1"), "a page"),
            (format!("share/man/man5/{NAME}-config.5"), "a page"),
            (format!("share/bash-completion/completions/{NAME}"), "words"),
            (format!("share/zsh/site-functions/_{NAME}"), "words"),
            (format!("share/fish/vendor_completions.d/{NAME}.fish"), "words"),
            ("platform".to_owned(), platform),
        ]
        .into_iter()
        .chain(LICENCES.map(|file| (format!("share/doc/{NAME}/{file}"), "a licence")))
        {
            let file = package.join(file);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            crate::process::write_program(&file, content);
        }
        let at = dir.path().display();
        shell(&format!(
            "cd {at}; tar -c -z -f {directory}.{ending} {directory}; rm -r {directory}; \
             sha256sum {directory}.{ending} > {directory}.{ending}.sha256"
        ));
    }
    let output = output(Command::new("packaging/assemble").args([HOMEPAGE, IMAGE]).env("DIST", dir.path()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    shell(&format!("cd {}; sha256sum --quiet --strict -c SHA256SUMS", dir.path().display()));
    dir
}

const FAKE: &str = "#!/bin/sh\necho \"$PATH\" >> \"${PATHS:-/dev/null}\"\necho \"$@\" >> \"$CALLS\"\ncase \"$*\" in *refused.example*) exit 1 ;; esac\n";

#[test]
fn a_release_needs_one_version_in_tag_manifest_and_changelog() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("packaging")).expect("a directory");
    for file in ["Cargo.toml", "Cargo.lock", "packaging/check-release"] {
        fs::copy(file, dir.path().join(file)).expect("a copy");
    }
    let check = |tag: &str, heading: &str| {
        let changelog = format!("# Changelog\n\n## {heading}\n\n- News.\n\n## 0.0.1 - 2020-01-01\n\n- Old.\n");
        fs::write(dir.path().join("CHANGELOG.md"), changelog).expect("a write");
        let output = output(Command::new(dir.path().join("packaging/check-release")).arg(tag));
        output.status.success().then(|| String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (tag, dated) = (format!("v{VERSION}"), format!("{VERSION} - 2026-12-01"));
    assert_eq!(check(&tag, &dated).expect("a release").trim(), "- News.");
    assert_eq!(check(VERSION, &dated), None, "a tag begins with v");
    assert_eq!(check(&format!("{tag}1"), &dated), None);
    assert_eq!(check(&tag, &format!("{VERSION} - unreleased")), None);
    assert_eq!(check(&tag, "99.0.0 - 2026-12-01"), None);
    let lock = fs::read_to_string("Cargo.lock").expect("a lock file");
    let other = lock.replace(
        &format!("name = \"{NAME}\"\nversion = \"{VERSION}\""),
        &format!("name = \"{NAME}\"\nversion = \"99.0.0\""),
    );
    fs::write(dir.path().join("Cargo.lock"), other).expect("a write");
    assert_eq!(check(&tag, &dated), None, "Cargo.lock too");
}

/// The images in which jobs run are often Alpine's, with busybox and without curl.
#[test]
fn runners_and_nodes_with_nothing_but_busybox_install_the_helper() {
    if let Some(program) = missing(&["busybox"]) {
        return skip("busybox", &format!("{program} is not installed"));
    }
    let Some((release, served, _)) = served() else { return };
    let recipes = fs::read_to_string("packaging/recipes/README.md").expect("the recipes");
    let block = recipes.split("```sh\n").nth(1).and_then(|rest| rest.split("\ndocker-").next()).expect("a block");
    let archive = release.path().join(format!("{NAME}-{VERSION}-linux-x86_64.tar.gz"));
    let nodes = fs::read_to_string(release.path().join("k3s-rke2-user-data.sh")).expect("a script");
    for (script, place) in [(block, "bin"), (&nodes, "var/lib/rancher/credentialprovider/bin")] {
        let root = tempfile::tempdir().expect("a directory");
        let at = root.path().display();
        shell(&format!("mkdir -p {at}/bin {at}/work {at}/tools && busybox --install -s {at}/tools"));
        // Debian's busybox lacks it, and Alpine's has it.
        shell(&format!("test -e {at}/tools/install || ln -s /usr/bin/install {at}/tools/"));
        let script = script
            .replace("https://github.com/OWNER/REPO/releases/download", &served)
            .replace(&format!("{HOMEPAGE}/releases/download"), &served)
            .replace("VERSION", VERSION)
            .replace("SHA256", &sum(&archive))
            .replace("/usr/local/bin", &format!("{at}/bin"))
            .replace("=/var/lib", &format!("={at}/var/lib"));
        let run = |script: &str| {
            let mut command = Command::new("busybox");
            command
                .args(["sh", "-ec", script])
                .env_clear()
                .env("PATH", format!("{at}/tools"))
                .env("CALLS", "/dev/null");
            output(command.current_dir(root.path().join("work")))
        };
        let program = root.path().join(place).join(NAME);
        let wrong = run(&script.replace(&sum(&archive), &"0".repeat(64)));
        assert!(!wrong.status.success() && !program.exists(), "what has another checksum is not installed");
        let ran = run(&script);
        assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(fs::metadata(&program).expect(place).permissions().mode() & 0o777, 0o755);
    }
}

#[test]
fn a_missing_tool_is_named_before_anything_is_built() {
    let dir = tempfile::tempdir().expect("a directory");
    let has = |tools: &str| {
        shell(&format!(
            "cd {}; for tool in {tools}; do ln -s \"$(command -v $tool)\" $tool; done",
            dir.path().display()
        ));
    };
    has("bash dirname uname");
    for (script, tool, fedora) in [("rpm", "rpmbuild", "rpm-build"), ("image", "buildah", "buildah")] {
        let mut build = Command::new(format!("packaging/{script}/build"));
        let ran = output(build.env("PATH", dir.path()).env("HELPER", "/bin/false"));
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && said.contains(&format!("requires {tool}, which is not installed")), "{said}");
        assert!(said.contains(&format!("dnf install {fedora}")) && said.lines().count() == 1, "{said}");
    }
    // A C compiler that links no static program, as Fedora's without glibc-static.
    has("sed tr mktemp rm rustc");
    shell(&format!("ln -s \"$(command -v false)\" {}/cc", dir.path().display()));
    let mut build = Command::new("packaging/build");
    let ran = output(build.env("PATH", dir.path()).env_remove("CARGO_BUILD_TARGET"));
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && said.contains("requires a C compiler and a static C library"), "{said}");
    assert!(said.contains("dnf install gcc glibc-static") && said.lines().count() == 1, "{said}");
}

/// The blocks of commands in the documents: how many there are, and which tests run them, or why none does.
const BLOCKS: &[(&str, &str, usize, &str)] = &[
    ("README.md", "sh", 2, "newcomer::each_line_of_the_documents_works_on_a_fresh_debian"),
    (
        "packaging/recipes/README.md",
        "sh",
        7,
        "clients::the_recipes_work, newcomer::each_line_of_the_documents_works_on_a_fresh_debian",
    ),
    (
        "packaging/recipes/README.md",
        "yaml",
        5,
        "clients::the_recipes_work, newcomer::each_line_of_the_documents_works_on_a_fresh_debian",
    ),
    ("packaging/recipes/README.md", "groovy", 1, "clients::the_recipes_work"),
    (
        "packaging/image/README.md",
        "sh",
        4,
        "newcomer::each_line_of_the_documents_works_on_a_fresh_debian, packages::the_images_serve_jobs_and_fill_volumes",
    ),
    ("packaging/image/README.md", "yaml", 1, "not run: Watchtower's image is in no package registry"),
    (
        "packaging/kubelet/README.md",
        "sh",
        4,
        "packages::the_templates_are_rendered_without_a_release, clusters::user_data_installs_the_helper_where_kubelets_look; \
         not run: `kubectl apply` needs a cluster, clusters::a_changed_configuration_replaces_the_daemon_set_s_pods renders it",
    ),
    (
        "packaging/kubelet/README.md",
        "yaml",
        4,
        "clusters::all_yaml_is_what_kubernetes_knows, clusters::the_cron_job_assumes_a_role_or_serves_argo_cd_by_patches",
    ),
];

#[test]
fn each_block_of_commands_in_the_documents_is_run_or_has_a_reason() {
    let files = output(Command::new("git").args(["ls-files", "README.md", "packaging/*.md"]));
    for document in String::from_utf8(files.stdout).expect("UTF-8").lines() {
        let text = fs::read_to_string(document).expect(document);
        for language in ["sh", "bash", "yaml", "groovy", "powershell"] {
            let found = text.matches(&format!("\n```{language}\n")).count();
            let known = BLOCKS.iter().find(|(file, kind, ..)| (*file, *kind) == (document, language));
            assert_eq!(
                found,
                known.map_or(0, |(.., count, _)| *count),
                "{document}: {language}: a test for each block"
            );
        }
    }
    for (document, .., tests) in BLOCKS {
        for name in tests.split([' ', ',', ';']).filter(|word| word.contains("::")) {
            let (module, test) = name.split_once("::").expect("a module");
            let source = fs::read_to_string(format!("tests/suite/{module}.rs")).expect(name);
            assert!(source.contains(&format!("fn {test}(")), "{document}: {name}");
        }
    }
}

#[test]
fn no_file_but_cargos_carries_the_version() {
    let files = output(Command::new("git").args(["ls-files", "packaging", ".github", "tests/run", "README.md"]));
    let files = String::from_utf8(files.stdout).expect("UTF-8");
    assert!(files.lines().count() > 15, "{files}");
    for file in files.lines() {
        // Pictures contain a program's output.
        if Path::new(file).extension().is_some_and(|ending| ending == "svg") {
            continue;
        }
        let text = fs::read_to_string(file).expect(file);
        let expected = usize::from(file == "README.md");
        assert_eq!(text.matches(VERSION).count(), expected, "{file}");
    }
}

pub fn sum(file: &Path) -> String {
    format!("{:x}", Sha256::digest(fs::read(file).expect("a file")))
}
