//! What `packaging/` renders and ships beside packages, carried out: kubelet's configuration, the DaemonSet, the Homebrew
//! formula, the Scoop manifest, and the check of a release's tag.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::HOST;
use crate::helper::{Ran, program};
use crate::kubelet::{ROLE, V1, credential, image};
use crate::namespace::{missing, skip};
use crate::site::shell;
use crate::sources::jwt;
use crate::support::aws::Aws;

pub const NAME: &str = "docker-credential-ecr-login";
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
const HOMEPAGE: &str = "https://github.com/example/ecr-login";
const IMAGE: &str = "ghcr.io/example/ecr-login";
const PLATFORMS: [&str; 6] =
    ["linux-x86_64", "linux-aarch64", "macos-x86_64", "macos-aarch64", "windows-x86_64", "windows-aarch64"];

/// `CredentialProviderConfig` of kubelet.config.k8s.io/v1. Like kubelet's decoder it takes no other fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    api_version: String,
    kind: String,
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Provider {
    name: String,
    match_images: Vec<String>,
    default_cache_duration: String,
    api_version: String,
    args: Vec<String>,
    env: Vec<Variable>,
    token_attributes: Option<TokenAttributes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TokenAttributes {
    service_account_token_audience: String,
    cache_type: String,
    require_service_account: bool,
    required_service_account_annotation_keys: Vec<String>,
}

#[test]
fn kubelet_calls_the_plugin_as_its_configuration_says() {
    let Some(config) = yaml::<Config>("packaging/kubelet/credential-provider-config.yaml") else { return };
    assert_eq!(
        (config.api_version.as_str(), config.kind.as_str()),
        ("kubelet.config.k8s.io/v1", "CredentialProviderConfig")
    );
    let names: Vec<_> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, [NAME, "ecr-credential-provider"]);
    let aws = Aws::start();
    let bin = tempfile::tempdir().expect("a directory");
    for Provider { name, match_images, default_cache_duration, api_version, args, env, token_attributes } in
        config.providers
    {
        assert_eq!((default_cache_duration.as_str(), api_version.as_str()), ("0s", V1));
        for host in [
            HOST,
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "111122223333.dkr.ecr-fips.us-east-1.amazonaws.com",
            "111122223333.dkr-ecr.us-east-1.on.aws",
            "public.ecr.aws",
        ] {
            assert!(match_images.iter().any(|pattern| matches(pattern, host)), "{host}");
        }
        let mut request = json!({"kind": "CredentialProviderRequest", "apiVersion": api_version, "image": image()});
        if let Some(attributes) = &token_attributes {
            assert_eq!((attributes.cache_type.as_str(), attributes.require_service_account), ("ServiceAccount", true));
            assert_eq!(attributes.service_account_token_audience, "sts.amazonaws.com");
            request["serviceAccountToken"] = jwt("system:serviceaccount:team:app", 1).into();
            for key in &attributes.required_service_account_annotation_keys {
                request["serviceAccountAnnotations"][key] = ROLE.into();
            }
        }
        assert_eq!(token_attributes.is_some(), name == NAME, "the node's own token is the second");

        symlink(program(), bin.path().join(&name)).expect("a link");
        let cache = bin.path().join("cache");
        let mut command = Command::new(bin.path().join(&name));
        command.args(args).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for Variable { name, value } in env {
            assert_eq!(
                (name.as_str(), value.as_str()),
                ("AWS_ECR_CACHE_DIR", "/var/cache/docker-credential-ecr-login")
            );
            command.env(name, &cache);
        }
        // What the node is: an endpoint, and for itself alone credentials.
        command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_EC2_METADATA_DISABLED", "true");
        if token_attributes.is_none() {
            command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "stand-in");
        }
        let before = crate::helper::entries(&cache).len();
        let mut child = command.spawn().expect("it starts");
        child.stdin.take().expect("a pipe").write_all(request.to_string().as_bytes()).expect("a write");
        let ran = Ran::new(child.wait_with_output().expect("an end"), std::time::Duration::ZERO);
        credential(&ran, V1, HOST);
        assert_eq!(crate::helper::entries(&cache).len(), before + 1, "kept where the configuration says");
    }
}

/// kubelet's rule: as many parts, and each matches as a glob.
fn matches(pattern: &str, host: &str) -> bool {
    let (pattern, host): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len() && pattern.iter().zip(host).all(|(pattern, part)| *pattern == "*" || *pattern == part)
}

#[test]
fn the_daemon_set_puts_both_names_on_the_node_and_replaces_old_ones() {
    let release = release();
    let Some(set) = yaml::<Value>(release.path().join("daemonset.yaml")) else { return };
    let pod = &set["spec"]["template"]["spec"];
    let volume = |name: &str| {
        let mut volumes = pod["volumes"].as_array().expect("volumes").iter();
        volumes.find(|volume| volume["name"] == name).expect("a volume").clone()
    };
    assert_eq!(volume("image")["image"]["reference"], format!("{IMAGE}:{VERSION}"));
    assert_eq!(set["spec"]["selector"]["matchLabels"], set["spec"]["template"]["metadata"]["labels"]);
    let node_path = volume("node")["hostPath"]["path"].as_str().expect("a path").to_owned();
    let text = fs::read_to_string(release.path().join("daemonset.yaml")).expect("a file");
    assert!(text.contains(&format!("--image-credential-provider-bin-dir={node_path}/bin\n")));
    let config_flag = format!("--image-credential-provider-config={node_path}/credential-provider-config.yaml\n");
    assert!(text.contains(&config_flag));

    // Its script, with the mounts of the container as directories of ours.
    let install = &pod["initContainers"][0];
    let command: Vec<_> = install["command"].as_array().expect("a command").iter().map(|word| word.as_str()).collect();
    assert_eq!(command, [Some("sh"), Some("-euc")]);
    let mut script = install["args"][0].as_str().expect("a script").to_owned();
    let root = tempfile::tempdir().expect("a directory");
    for mount in install["volumeMounts"].as_array().expect("mounts") {
        let path = mount["mountPath"].as_str().expect("a path");
        let here = root.path().join(mount["name"].as_str().expect("a name"));
        fs::create_dir(&here).expect("a directory");
        script = script.replace(&format!("{path}/"), &format!("{}/", here.display()));
    }
    let at = |path: &str| root.path().join(path);
    fs::create_dir_all(at("image/usr/bin")).expect("a directory");
    fs::copy(program(), at("image/usr/bin").join(NAME)).expect("a copy");
    fs::copy("packaging/kubelet/credential-provider-config.yaml", at("config/credential-provider-config.yaml"))
        .expect("a copy");
    fs::create_dir_all(at("node/bin")).expect("a directory");
    fs::write(at("node/bin/ecr-credential-provider"), "an old one").expect("a write");
    shell(&script);
    let mut names: Vec<_> =
        fs::read_dir(at("node/bin")).expect("a directory").map(|file| file.expect("a file").file_name()).collect();
    names.sort();
    assert_eq!(names, [NAME, "ecr-credential-provider"]);
    let program = fs::read(program()).expect("a program");
    for file in names.iter().map(|name| at("node/bin").join(name)) {
        assert!(fs::read(&file).expect("a file") == program, "{}", file.display());
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o755);
    }
    assert!(at("node/credential-provider-config.yaml").exists());
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: String,
    description: String,
    homepage: String,
    license: String,
    architecture: BTreeMap<String, Download>,
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

/// As much of Homebrew as a formula sees. Prints what it would fetch, and installs what the working directory holds.
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
    zsh_completion: "share/zsh/site-functions", fish_completion: "share/fish/vendor_completions.d" }.each do |name, path|
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
    let output = Command::new("ruby").args(["-e", HOMEBREW]).arg(&formula).arg(&prefix).current_dir(directory).output();
    let output = output.expect("ruby runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&found["version"], &found["homepage"]), (&VERSION.into(), &HOMEPAGE.into()));
    assert_eq!(found["license"], json!(["MIT", "Apache-2.0"]));
    for platform in PLATFORMS.iter().filter(|platform| !platform.starts_with("windows")) {
        let file = format!("{NAME}-{VERSION}-{platform}.tar.gz");
        let url = format!("{HOMEPAGE}/releases/download/v{VERSION}/{file}");
        assert_eq!(found[platform], json!([url, sum(&release.path().join(file))]), "{platform}");
    }
    for file in ["bin/docker-credential-ecr-login", "share/man/man1/docker-credential-ecr-login.1"] {
        assert!(prefix.join(file).exists(), "{file}");
    }
}

#[test]
fn a_release_without_an_archive_or_with_an_unknown_word_is_not_rendered() {
    let release = release();
    let render = |template: &Path| {
        let mut command = Command::new("packaging/render");
        command.arg(template).args([HOMEPAGE, IMAGE]).env("DIST", release.path());
        command.output().expect("it runs").status.success()
    };
    let formula = Path::new("packaging/homebrew/docker-credential-ecr-login.rb.in");
    // assemble has put all checksums into one file.
    assert!(!render(formula), "no checksums, no formula");
    let template = release.path().join("template.in");
    fs::write(&template, "@VERSION@").expect("a write");
    assert!(render(&template));
    fs::write(&template, "@VERSON@").expect("a write");
    assert!(!render(&template));
}

/// A release in a directory: the archives of all platforms, that of this one with a program in it which writes down how
/// it was called, and what `packaging/assemble` makes of them.
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
        ] {
            let file = package.join(file);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            fs::write(&file, content).expect("a write");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        let at = dir.path().display();
        shell(&format!(
            "cd {at}; tar -c -z -f {directory}.{ending} {directory}; rm -r {directory}; \
             sha256sum {directory}.{ending} > {directory}.{ending}.sha256"
        ));
    }
    let output =
        Command::new("packaging/assemble").args([HOMEPAGE, IMAGE]).env("DIST", dir.path()).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    shell(&format!("cd {}; sha256sum --quiet --strict -c SHA256SUMS", dir.path().display()));
    dir
}

const FAKE: &str = "#!/bin/sh\necho \"$@\" >> \"$CALLS\"\n! [ \"$2\" = refused.example ]\n";

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
        let output = Command::new(dir.path().join("packaging/check-release")).arg(tag).output().expect("it runs");
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

#[test]
fn no_file_but_cargos_carries_the_version() {
    let files = Command::new("git").args(["ls-files", "packaging", ".github", "tests/run", "README.md"]).output();
    let files = String::from_utf8(files.expect("git runs").stdout).expect("UTF-8");
    assert!(files.lines().count() > 15, "{files}");
    for file in files.lines() {
        let text = fs::read_to_string(file).expect(file);
        assert!(!text.contains(VERSION), "{file}");
    }
}

/// A YAML file as kubelet and others read it: as JSON. `None` where no reader of YAML is installed.
fn yaml<T: DeserializeOwned>(path: impl AsRef<Path>) -> Option<T> {
    let moto = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "target/venv/bin/moto_server".to_owned());
    // moto brings PyYAML.
    let python = Path::new(&moto).with_file_name("python");
    let convert = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let Ok(output) = Command::new(python).args(["-c", convert]).arg(path.as_ref()).output() else {
        skip("YAML files", "moto is not installed");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("what Kubernetes knows"))
}

pub fn sum(file: &Path) -> String {
    format!("{:x}", Sha256::digest(fs::read(file).expect("a file")))
}
