//! `setup`: the changes that it makes to the settings of docker and podman, and what it leaves as it is.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::HOST;
use crate::helper::{Helper, Ran, complaint, lacks_kernel, program};
use crate::namespace::{Namespace, missing, skip};
use crate::process::{SOON, end, run, start, wait_until};
use crate::support::aws::Aws;

pub const OTHER: &str = "222233334444.dkr.ecr.eu-west-1.amazonaws.com";
pub const CONFIG: &str = ".docker/config.json";
pub const AUTH: &str = ".config/containers/auth.json";
const ADDITION: &str = ".config/containers/registries.conf.d/ecr-login.conf";
pub const NO_WARNING: &str = "";

/// A home whose PATH leads to the program.
pub fn home() -> Helper {
    let helper = Helper::bare();
    let link = helper.write("bin/x", "").with_file_name("docker-credential-ecr-login");
    symlink(program(), link).expect("a link");
    let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
    // Without it, podman would read the login of this machine's user.
    let runtime = helper.home().join("run").display().to_string();
    helper.var("PATH", &path).var("XDG_RUNTIME_DIR", &runtime)
}

/// Runs `setup` with these words as its arguments.
pub fn setup(helper: &Helper, args: &str) -> Ran {
    let args: Vec<&str> = ["setup"].into_iter().chain(args.split_whitespace()).collect();
    helper.run(&args, "")
}

#[track_caller]
pub fn succeeds(helper: &Helper, args: &str, warning: &str) -> String {
    let ran = setup(helper, args);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), warning), "{ran:?}");
    ran.stdout
}

#[track_caller]
pub fn fails(helper: &Helper, args: &str) -> String {
    let ran = setup(helper, args);
    assert!(ran.code == Some(1) && ran.stdout.is_empty() && ran.stderr.lines().count() == 1, "{ran:?}");
    ran.stderr
}

/// Runs it with arguments that can never be right.
#[track_caller]
pub fn refuses(helper: &Helper, args: &str) -> String {
    crate::helper::misuse(&setup(helper, args)).to_owned()
}

pub fn read(helper: &Helper, path: &str) -> String {
    fs::read_to_string(helper.home().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn mode(helper: &Helper, path: &str) -> u32 {
    fs::metadata(helper.home().join(path)).expect("a file").permissions().mode() & 0o7777
}

/// Adds a program that does nothing.
fn install(helper: &Helper, name: &str) {
    helper.write_program(&format!("bin/{name}"), "");
}

#[test]
fn a_new_file_is_private_and_a_second_run_leaves_it_alone() {
    let helper = home();
    install(&helper, "docker");
    let printed = succeeds(&helper, HOST, NO_WARNING);
    let file = helper.home().join(CONFIG).display().to_string();
    assert_eq!(printed, format!("added 1 credHelper to {file}\nnext: docker pull {HOST}/REPOSITORY:TAG\n"));
    let expected = format!("{{\n\t\"credHelpers\": {{\n\t\t\"{HOST}\": \"ecr-login\"\n\t}}\n}}\n");
    assert_eq!(read(&helper, CONFIG), expected);
    assert_eq!((mode(&helper, CONFIG), mode(&helper, ".docker")), (0o600, 0o700));
    let inode = || fs::metadata(helper.home().join(CONFIG)).expect("a file").ino();
    let before = inode();
    let again = succeeds(&helper, HOST, NO_WARNING);
    let check = format!("check with: docker-credential-ecr-login doctor {HOST}");
    assert_eq!(again, format!("nothing to change in {file}\n{check}\n"));
    assert_eq!((inode(), read(&helper, CONFIG)), (before, expected));
    let files: Vec<_> = fs::read_dir(helper.home().join(".docker")).expect("files").collect();
    assert_eq!(files.len(), 1, "nothing left behind: {files:?}");
}

#[test]
fn the_next_command_is_one_of_a_client_that_is_installed() {
    for (args, clients, next) in [
        ("", &["docker", "podman"][..], "next: docker pull HOST/REPOSITORY:TAG"),
        ("", &["podman"], "next: podman pull HOST/REPOSITORY:TAG"),
        ("", &["buildah", "skopeo"], "next: buildah pull HOST/REPOSITORY:TAG"),
        ("", &["skopeo"], "next: skopeo inspect docker://HOST/REPOSITORY:TAG"),
        ("", &[], "check with: docker-credential-ecr-login doctor HOST"),
        ("--podman", &["docker", "podman"], "next: podman pull HOST/REPOSITORY:TAG"),
        ("--podman", &["docker"], "check with: docker-credential-ecr-login doctor HOST"),
    ] {
        let helper = home();
        for client in clients {
            install(&helper, client);
        }
        let bin = helper.home().join("bin").display().to_string();
        let printed = succeeds(&helper.var("PATH", &bin), &format!("{args} {HOST}"), NO_WARNING);
        assert_eq!(printed.lines().last(), Some(&*next.replace("HOST", HOST)), "{args} {clients:?}: {printed}");
    }
    // A podman that is told to read another file calls no helper by docker's.
    let helper = home();
    install(&helper, "podman");
    let bin = helper.home().join("bin").display().to_string();
    let helper = helper.var("PATH", &bin).var("REGISTRY_AUTH_FILE", "/nonexistent/auth.json");
    assert!(succeeds(&helper, HOST, NO_WARNING).contains("check with: "));
}

/// Each file is read a few times, not once for each of its hosts.
#[test]
fn ten_thousand_hosts_take_seconds_and_little_memory() {
    if lacks_kernel("a limit on memory") {
        return;
    }
    let hosts: Vec<String> = (0..10_000).map(|n| format!("{n:012}.dkr.ecr.eu-west-1.amazonaws.com")).collect();
    let auths: Map<String, Value> = hosts.iter().map(|host| (host.clone(), json!({"auth": "QVdTOmE="}))).collect();
    let helpers: Map<String, Value> = hosts.iter().map(|host| (host.clone(), json!("ecr-login"))).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    for config in [json!({ "auths": auths }), json!({ "credHelpers": helpers })] {
        let helper = home();
        helper.write(CONFIG, &config.to_string());
        let remove = [&["--remove"][..], &hosts].concat();
        for args in [&["--podman"][..], &["--remove"], &[HOST], &hosts, &remove] {
            let mut shell = helper.tool("sh");
            let limits = "ulimit -t 20; ulimit -d 65536; exec \"$@\"";
            shell.args(["-c", limits, "sh"]).arg(program()).arg("setup").args(args);
            let ran = run(if *args == remove { &mut shell } else { shell.arg("--dry-run") }, "");
            assert!(ran.code == Some(0) && !ran.stdout.is_empty(), "{:?}: {:?}", args.first(), ran.code);
            // Of the warnings, the first few, and how many more there are.
            assert!(ran.stderr.lines().count() < 10, "{:?}: {} lines", args.first(), ran.stderr.lines().count());
            let told = "ecr-login: warning: and 9995 more like that [W-CLIENT-LEFTOVER-PASSWORD]\n";
            let has_passwords = config["auths"].is_object() && ![&["--remove"][..], &[HOST]].contains(&args);
            assert_eq!(ran.stderr.contains(told), has_passwords, "{:?}: {}", args.first(), ran.stderr);
        }
    }
}

/// The helper would refuse to read it, and neither `doctor` nor `--remove` would work any more.
#[test]
fn a_file_that_would_exceed_the_limit_is_not_written() {
    let padded = |form: &str, size: usize| form.replace('@', &"x".repeat(size - form.len() + 1));
    let helper = Helper::bare();
    let kubelet = helper.home().join("kubelet.json").display().to_string();
    let providers =
        r#"{"kind":"CredentialProviderConfig","apiVersion":"kubelet.config.k8s.io/v1","x":"@","providers":[]}"#;
    for (path, form, args) in [
        (".docker/config.json", r#"{"x":"@"}"#, &["setup", HOST][..]),
        (".config/containers/auth.json", r#"{"x":"@"}"#, &["setup", "--podman", HOST]),
        ("kubelet.json", providers, &["setup", "--kubelet", &kubelet]),
    ] {
        let old = padded(form, (1 << 20) - 20);
        let file = helper.write(path, &old);
        let words = format!("{} would exceed 1 MiB, the limit", file.display());
        let dry = helper.run(&[args, &["--dry-run"]].concat(), "");
        assert!(dry.stderr.contains(&format!("warning: setup would fail: with this change, {words}")), "{dry:?}");
        let ran = helper.run(args, "");
        assert!(complaint(&ran).contains(&words), "{ran:?}");
        assert!(fs::read_to_string(&file).expect("a file") == old, "{path}");
        fs::remove_file(&file).expect("no file");
        helper.write(path, &padded(form, 1 << 19));
        assert_eq!(helper.run(args, "").code, Some(0), "{path}");
    }
    // podman reads less of its own settings.
    let helpers: Vec<String> = (0..8000).map(|number| format!("'another-helper-{number:05}'")).collect();
    let list = format!("credential-helpers = [{}]\n", helpers.join(","));
    helper.write(".config/containers/registries.conf", &list);
    let ran = helper.run(&["setup", "--podman"], "");
    assert!(complaint(&ran).contains("would exceed 256 KiB, the limit"), "{ran:?}");
}

#[test]
fn every_other_byte_stays() {
    for (before, after) in [
        ("{}", "{\n\t\"credHelpers\": {\n\t\t\"HOST\": \"ecr-login\"\n\t}\n}"),
        (" \n", "{\n\t\"credHelpers\": {\n\t\t\"HOST\": \"ecr-login\"\n\t}\n}\n"),
        (
            "{\"z\":1.50e3,\"a\":\"\\u00e9\"}",
            "{\"z\":1.50e3,\"a\":\"\\u00e9\",\"credHelpers\":{\"HOST\":\"ecr-login\"}}",
        ),
        (
            "{\n  \"b\" : [ 1,2 ],\n  \"a\" : 12345678901234567890123\n}\n\n",
            "{\n  \"b\" : [ 1,2 ],\n  \"a\" : 12345678901234567890123,\n  \"credHelpers\" : {\n    \"HOST\" : \"ecr-login\"\n  }\n}\n\n",
        ),
        (
            "{\r\n\t\"credHelpers\": {\r\n\t\t\"gcr.io\": \"gcloud\"\r\n\t},\r\n\t\"psFormat\": \"x\"\r\n}",
            "{\r\n\t\"credHelpers\": {\r\n\t\t\"gcr.io\": \"gcloud\",\r\n\t\t\"HOST\": \"ecr-login\"\r\n\t},\r\n\t\"psFormat\": \"x\"\r\n}",
        ),
        (
            "{\"credHelpers\": {}, \"auths\": {}, \"auths\": {\"a\\\"b\": {}}}",
            "{\"credHelpers\": { \"HOST\": \"ecr-login\" }, \"auths\": {}, \"auths\": {\"a\\\"b\": {}}}",
        ),
        (
            "{\n\t\"credHelpers\": { \"gcr.io\" : \"gcloud\" }\n}\n",
            "{\n\t\"credHelpers\": { \"gcr.io\" : \"gcloud\", \"HOST\" : \"ecr-login\" }\n}\n",
        ),
        (
            "{\"HttpHeaders\": {}, \"a\": [1,  2]}",
            "{\"HttpHeaders\": {}, \"a\": [1,  2], \"credHelpers\": { \"HOST\": \"ecr-login\" }}",
        ),
        ("{ \"a\": 1 }", "{ \"a\": 1, \"credHelpers\": { \"HOST\": \"ecr-login\" } }"),
        ("{\"credhelpers\":null}", "{\"credhelpers\":{\"HOST\":\"ecr-login\"}}"),
        ("{\"credHelpers\":{\"HOST\":\"\"}}", "{\"credHelpers\":{\"HOST\":\"ecr-login\"}}"),
    ] {
        let helper = home();
        helper.write(CONFIG, &before.replace("HOST", HOST));
        succeeds(&helper, HOST, NO_WARNING);
        assert_eq!(read(&helper, CONFIG), after.replace("HOST", HOST), "{before}");
        assert!(succeeds(&helper, HOST, NO_WARNING).starts_with("nothing to change in "));
    }
}

#[test]
fn mode_owner_and_links_stay() {
    let helper = home();
    let file = helper.write("dotfiles/docker.json", "{}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
    let root = nix::unistd::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&file, Some(12345), Some(54321)).expect("an owner");
    }
    fs::create_dir(helper.home().join(".docker")).expect("a directory");
    symlink("../link", helper.home().join(CONFIG)).expect("a link");
    symlink("dotfiles/docker.json", helper.home().join("link")).expect("a link");
    succeeds(&helper, HOST, NO_WARNING);
    assert!(fs::read_to_string(&file).expect("a file").contains(HOST));
    for (link, to) in [(CONFIG, "../link"), ("link", "dotfiles/docker.json")] {
        assert_eq!(fs::read_link(helper.home().join(link)).expect("a link"), Path::new(to));
    }
    let metadata = fs::metadata(&file).expect("a file");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    assert!(!root || (metadata.uid(), metadata.gid()) == (12345, 54321));

    // A dangling link is followed too.
    let helper = home();
    fs::create_dir(helper.home().join(".docker")).expect("a directory");
    symlink("../later/config.json", helper.home().join(CONFIG)).expect("a link");
    succeeds(&helper, &format!("{HOST} --dry-run"), NO_WARNING);
    assert!(!helper.home().join("later").exists());
    succeeds(&helper, HOST, NO_WARNING);
    assert!(read(&helper, "later/config.json").contains(HOST));
    assert!(fs::symlink_metadata(helper.home().join(CONFIG)).expect("a link").is_symlink());
}

/// As home-manager makes it: a link into a directory that nobody writes to.
#[test]
fn a_link_to_a_file_that_cannot_be_changed_is_reported_with_a_way_out() {
    if !nix::unistd::geteuid().is_root() {
        return skip("a link to a read-only file", "mounts need root");
    }
    let helper = home();
    let store = helper.home().join("store");
    fs::create_dir(&store).expect("a directory");
    let at = store.display();
    let namespace = std::rc::Rc::new(Namespace::of_mounts(&format!(
        "mount -t tmpfs tmpfs {at}\necho '{{}}' > {at}/config.json\nmount -o remount,ro {at}"
    )));
    fs::create_dir(helper.home().join(".docker")).expect("a directory");
    symlink(store.join("config.json"), helper.home().join(CONFIG)).expect("a link");
    let helper = helper.inside(&namespace);
    let ran = setup(&helper, HOST);
    let (path, target) = (helper.home().join(CONFIG), store.join("config.json"));
    let link = format!("it is a link to {}, which this user cannot change", target.display());
    let fix = "add the entry where that file is made, or set DOCKER_CONFIG to a directory of this user";
    for word in [path.to_str().expect("UTF-8"), "Read-only file system", &link, fix] {
        assert!(ran.code == Some(1) && ran.stderr.contains(word), "{word}: {ran:?}");
    }
}

#[test]
fn a_dry_run_shows_a_diff_without_secrets_and_changes_nothing() {
    let helper = home();
    let before = format!(
        "{{\n\t\"auths\": {{\n\t\t\"{HOST}\": {{\n\t\t\t\"auth\": \"c2VjcmV0\"\n\t\t}}\n\t}},\n\t\"HttpHeaders\": {{\n\t\t\"X\": \"c2VjcmV0\"\n\t}},\n\t\
         \"credHelpers\": {{\n\t\t\"gcr.io\": \"gcloud\"\n\t}}\n}}"
    );
    helper.write(CONFIG, &before);
    let diff = succeeds(&helper, &format!("{HOST} --remove-auths --dry-run"), NO_WARNING);
    for line in ["--- ", "+++ ", "@@ ", &format!("-\t\t\"{HOST}\": {{"), &format!("+\t\t\"{HOST}\": \"ecr-login\"")] {
        assert!(diff.lines().any(|known| known.starts_with(line)), "{line} in {diff}");
    }
    assert!(diff.contains(CONFIG) && diff.contains("\"gcr.io\": \"gcloud\"") && !diff.contains("c2VjcmV0"), "{diff}");
    assert_eq!(read(&helper, CONFIG), before);
    let fresh = home();
    let diff = succeeds(&fresh, &format!("{HOST} --dry-run"), NO_WARNING);
    assert!(diff.starts_with("--- /dev/null\n") && !fresh.home().join(".docker").exists(), "{diff}");
}

#[test]
fn passwords_of_earlier_logins_are_reported_and_removed_on_request() {
    let helper = home();
    let auth = json!({"auth": "QVdTOnNlY3JldA=="});
    let config = json!({"auths": {HOST: auth, format!("https://{HOST}/v1/"): auth, OTHER: {}, "ghcr.io": auth}});
    helper.write(CONFIG, &config.to_string());
    let warning = setup(&helper, &format!("{HOST} {OTHER}")).stderr;
    assert_eq!(warning.lines().count(), 1, "{warning}");
    assert!(warning.contains(HOST) && warning.contains("--remove-auths") && !warning.contains("QVdT"), "{warning}");
    succeeds(&helper, &format!("{HOST} --remove-auths"), NO_WARNING);
    let config: Value = serde_json::from_str(&read(&helper, CONFIG)).expect("JSON");
    assert_eq!(config["auths"], json!({OTHER: {}, "ghcr.io": auth}));

    let helper = home().var("PATH", "/usr/bin:/bin");
    let warning = setup(&helper, HOST).stderr;
    assert!(
        warning.contains("not on the PATH") || Path::new("/usr/bin/docker-credential-ecr-login").exists(),
        "{warning}"
    );
    let helper = home().var("SUDO_USER", "me");
    let warning = setup(&helper, HOST).stderr;
    assert!(warning.contains("sudo") && warning.contains("me's"), "{warning}");
}

#[test]
fn entries_of_other_helpers_stay_unless_forced() {
    let helper = home();
    let before = json!({"credHelpers": {HOST: "pass", "gcr.io": "gcloud"}}).to_string();
    helper.write(CONFIG, &before);
    let line = fails(&helper, &format!("{OTHER} {HOST}"));
    assert!(line.contains("docker-credential-pass") && line.contains("--force") && line.contains(HOST), "{line}");
    assert_eq!(read(&helper, CONFIG), before);
    let file = helper.home().join(CONFIG).display().to_string();
    assert_eq!(succeeds(&helper, &format!("{HOST} --remove"), NO_WARNING), format!("nothing to change in {file}\n"));
    let forced = succeeds(&helper, &format!("{HOST} --force"), NO_WARNING);
    assert!(forced.starts_with(&format!("added 1 credHelper to {file}\n")), "{forced}");
    assert_eq!(read(&helper, CONFIG), before.replace("pass", "ecr-login"));
    assert_eq!(succeeds(&helper, "--remove", NO_WARNING), format!("removed 1 credHelper from {file}\n"));
    assert_eq!(read(&helper, CONFIG), json!({"credHelpers": {"gcr.io": "gcloud"}}).to_string());
}

#[test]
fn a_file_that_cannot_be_parsed_stays_as_it_is() {
    for (text, named) in [
        ("{\n  \"auths\": {\"x\": {\"auth\": \"c2VjcmV0\"}},\n}", "line 3"),
        ("\n\n{\"auths\": c2VjcmV0}", "line 3"),
        ("[]", "not a JSON object"),
        ("\"c2VjcmV0\"", "not a JSON object"),
        ("{\"credHelpers\": [\"c2VjcmV0\"]}", "credHelpers"),
        ("{} {}", "line 1"),
        ("\u{feff}{}", "line 1"),
        ("{\n  // c2VjcmV0\n}", "line 2, column 3: not JSON: a comment"),
        ("{\n\n/* c2VjcmV0 */}", "line 3, column 1: not JSON: a comment"),
        ("{\"auths\": {},\n}", "a comma after the last member"),
        ("{'auths': {}}", "line 1"),
        ("{\"a\": 0x1f}", "line 1"),
    ] {
        for args in [HOST.to_owned(), "--remove".to_owned(), format!("{HOST} --dry-run --remove-auths")] {
            let helper = home();
            helper.write(CONFIG, text);
            let line = fails(&helper, &args);
            assert!(line.contains(CONFIG) && line.contains(named) && !line.contains("c2VjcmV0"), "{text}: {line}");
            assert_eq!(read(&helper, CONFIG), text);
        }
    }
    let helper = home();
    fs::create_dir_all(helper.home().join(CONFIG)).expect("a directory");
    assert!(fails(&helper, HOST).contains(CONFIG));
    let helper = home();
    fs::create_dir(helper.home().join(".docker")).expect("a directory");
    fs::write(helper.home().join(CONFIG), b"{\"a\": \"\xff\"}").expect("a write");
    assert!(fails(&helper, HOST).contains("UTF-8"));
    nix::unistd::mkfifo(&helper.home().join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    fs::rename(helper.home().join("pipe"), helper.home().join(CONFIG)).expect("a pipe in its place");
    assert!(fails(&helper, HOST).contains("not a regular file"));
    // A file of megabytes that says that it is empty.
    let symbols = "/proc/kallsyms";
    if fs::read(symbols).is_ok_and(|symbols| symbols.len() > 1 << 20) {
        fs::remove_file(helper.home().join(CONFIG)).expect("a pipe");
        symlink(symbols, helper.home().join(CONFIG)).expect("a link");
        assert!(fails(&helper, HOST).contains("it is larger than 1 MiB, the limit"));
    }
    assert!(fails(&Helper::bare().var("HOME", "relative"), HOST).contains("HOME"));
}

/// Neither is waited for.
#[test]
fn what_is_in_place_of_podmans_settings_is_one_line() {
    for name in ["registries.conf", "registries.conf.d/x.conf"] {
        for kind in ["pipe", "device", "directory"] {
            let helper = home();
            let path = helper.write(&format!(".config/containers/{name}"), "");
            // A directory among the drop-ins is none of them.
            let is_error = kind != "directory" || name == "registries.conf";
            fs::remove_file(&path).expect("a file");
            match kind {
                "pipe" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe"),
                "device" => symlink("/dev/zero", &path).expect("a link"),
                _ => fs::create_dir(&path).expect("a directory"),
            }
            if is_error {
                let line = fails(&helper, "--podman");
                assert!(line.contains(name) && line.contains("it is "), "{line}");
            }
            for args in [&["doctor", HOST][..], &["setup", HOST]] {
                let ran = helper.run(args, "");
                assert!(ran.took < crate::helper::limit(std::time::Duration::from_secs(10)), "{ran:?}");
            }
        }
    }
}

#[test]
fn podman_is_set_up_in_its_own_files() {
    let helper = home();
    succeeds(&helper, &format!("--podman {HOST}"), NO_WARNING);
    assert_eq!(read(&helper, AUTH), format!("{{\n\t\"credHelpers\": {{\n\t\t\"{HOST}\": \"ecr-login\"\n\t}}\n}}\n"));
    assert_eq!(mode(&helper, AUTH), 0o600);
    // podman reads this login first.
    helper.write("run/containers/auth.json", &json!({"auths": {HOST: {"auth": "YTpi"}}}).to_string());
    helper.write(CONFIG, &json!({"auths": {HOST: {"auth": "YTpi"}}, "credHelpers": {OTHER: "ecr-login"}}).to_string());
    let warning = setup(&helper, &format!("--podman {HOST}")).stderr;
    assert!(warning.lines().count() == 2 && warning.contains("run/containers/auth.json"), "{warning}");
    succeeds(&helper, &format!("--podman {HOST} --remove-auths"), NO_WARNING);
    assert_eq!(read(&helper, "run/containers/auth.json"), "{\"auths\":{}}");

    let file = helper.home().join("a.json").display().to_string();
    let helper = home().var("REGISTRY_AUTH_FILE", &file);
    succeeds(&helper, &format!("--podman {HOST}"), NO_WARNING);
    assert!(fs::read_to_string(file).expect("a file").contains(HOST));
}

#[test]
fn podman_is_set_up_for_all_registries_in_a_file_of_its_own() {
    let helper = home();
    succeeds(&helper, &format!("--podman {HOST}"), NO_WARNING);
    helper.write(CONFIG, &json!({"credHelpers": {OTHER: "ecr-login"}}).to_string());
    // For all registries, the helper comes after the existing ones.
    succeeds(&helper, "--podman", NO_WARNING);
    assert!(read(&helper, ADDITION).contains("\ncredential-helpers = [\"containers-auth.json\",\"ecr-login\"]"));
    assert!(succeeds(&helper, "--podman", NO_WARNING).starts_with("nothing to change in "));
    // A line that somebody has added stays.
    helper.write(ADDITION, &(read(&helper, ADDITION) + "unqualified-search-registries = ['quay.io']\n"));
    succeeds(&helper, "--podman", NO_WARNING);
    let removed = succeeds(&helper, "--podman --remove", NO_WARNING);
    assert!(removed.contains("removed credential-helpers from "), "{removed}");
    assert_eq!(read(&helper, ADDITION), "unqualified-search-registries = ['quay.io']\n");
    fs::remove_file(helper.home().join(ADDITION)).expect("a file");
    succeeds(&helper, "--podman", NO_WARNING);
    succeeds(&helper, "--podman --remove", NO_WARNING);
    assert!(!helper.home().join(ADDITION).exists());
    assert_eq!(read(&helper, AUTH), "{}\n");
    assert!(read(&helper, CONFIG).contains(OTHER), "docker's own entries stay");

    helper.write(".config/containers/registries.conf", "credential-helpers = ['pass']\n");
    let mine = "credential-helpers = ['mine']\n";
    helper.write(ADDITION, mine);
    succeeds(&helper, "--podman --remove", NO_WARNING);
    assert_eq!(read(&helper, ADDITION), mine, "not a file of the helper");
    assert!(fails(&helper, "--podman").contains("is not by setup"));
    assert_eq!(read(&helper, ADDITION), mine, "not a file of the helper");
    fs::remove_file(helper.home().join(ADDITION)).expect("a file");
    helper.write(".config/containers/registries.conf.d/z.conf", mine);
    let warning = setup(&helper, "--podman").stderr;
    assert!(warning.contains("z.conf overrides"), "{warning}");
    assert!(read(&helper, ADDITION).contains("[\"mine\",\"ecr-login\"]"));
    let warning = setup(&helper, &format!("--podman {HOST}")).stderr;
    assert!(
        warning.lines().count() == 1 && warning.contains("neither the helper nor containers-auth.json"),
        "{warning}"
    );
}

/// The helper would be called for them after it is uninstalled.
#[test]
fn entries_in_the_files_of_the_other_client_are_named_with_the_command_that_removes_them() {
    for (other, removal, command) in [
        ("--podman", "", "podman's entries stay: run 'docker-credential-ecr-login setup --podman --remove'"),
        ("--podman HOST", "", "podman's entries stay: run 'docker-credential-ecr-login setup --podman --remove'"),
        (
            "--podman HOST",
            "HOST",
            "podman's entries stay: run 'docker-credential-ecr-login setup --podman --remove HOST'",
        ),
        ("HOST", "--podman", "docker's entries stay: run 'docker-credential-ecr-login setup --remove'"),
        ("HOST", "--podman HOST", "docker's entries stay: run 'docker-credential-ecr-login setup --remove HOST'"),
        ("--podman", "HOST", ""),
        ("OTHER", "--podman HOST", ""),
    ] {
        let in_full = |text: &str| text.replace("HOST", HOST).replace("OTHER", OTHER);
        let helper = home();
        setup(&helper, &in_full(other));
        let named = |dry_run: &str| {
            let lines = setup(&helper, &in_full(&format!("--remove {removal} {dry_run}"))).stdout;
            lines.lines().find(|line| line.contains("stay")).unwrap_or_default().to_owned()
        };
        assert_eq!(named("--dry-run"), in_full(command), "{other}, {removal}");
        let named = named("");
        assert_eq!(named, in_full(command), "{other}, {removal}");
        let Some((_, command)) = named.split_once("setup ") else { continue };
        setup(&helper, command.trim_end_matches('\''));
        let again = setup(&helper, &in_full(&format!("--remove {removal}"))).stdout;
        assert!(again.starts_with("nothing to change in ") && again.lines().count() == 1, "{again}");
    }
    // A file that both read is not named once more.
    let shared = tempfile::tempdir().expect("a directory");
    let helper = home().var("DOCKER_CONFIG", shared.path().to_str().expect("UTF-8"));
    succeeds(&helper, HOST, NO_WARNING);
    let shown = succeeds(&helper, "--remove --dry-run", NO_WARNING);
    assert!(shown.contains(HOST) && !shown.contains("stay"), "{shown}");
}

/// Nobody knows what is in them.
#[test]
fn files_of_the_other_client_that_cannot_be_read_are_named_with_the_fix_that_comes_before_the_command() {
    for (removal, file, content, why) in [
        ("", "run/containers/auth.json", None, "cannot be read: it is not a regular file"),
        ("HOST", AUTH, Some("{ "), ": not JSON"),
        ("--podman", CONFIG, Some("[]"), "not a JSON object"),
    ] {
        let in_full = |text: &str| text.replace("HOST", HOST);
        let helper = home();
        match content {
            Some(content) => drop(helper.write(file, content)),
            None => fs::create_dir_all(helper.home().join(file)).expect("a directory"),
        }
        let (other, podman) = if removal == "--podman" { ("docker", "") } else { ("podman", " --podman") };
        let host = in_full(removal.trim_start_matches("--podman"));
        let command = format!("run 'docker-credential-ecr-login setup{podman} --remove {host}").trim_end().to_owned();
        for dry_run in ["", "--dry-run"] {
            let ran = setup(&helper, &in_full(&format!("--remove {removal} {dry_run}")));
            let line = ran.stdout.lines().find(|line| line.contains("stay")).unwrap_or_default();
            let begin = format!("{other}'s entries may stay: {}", helper.home().join(file).display());
            assert!(line.starts_with(&begin) && line.contains(why), "{removal}: {ran:?}");
            assert!(line.ends_with(&format!("; then {command}'")), "{removal}: {ran:?}");
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    }
}

/// Somebody has added a helper to setup's own line, which may span several lines then.
#[test]
fn a_helper_that_a_person_has_added_to_podmans_list_stays() {
    let helper = home();
    succeeds(&helper, "--podman", NO_WARNING);
    let first = read(&helper, ADDITION);
    let comment = first.lines().next().expect("a line");
    let edited = |names: &str| format!("{comment}\ncredential-helpers = {names}\nshort-name-mode = 'disabled'\n");
    let kept = |names: &str| edited(&format!("{names} # instead of [\"containers-auth.json\"]"));
    for list in
        [r#"["containers-auth.json","ecr-login","pass"]"#, "[\n  'containers-auth.json',\n  'ecr-login', 'pass',\n]"]
    {
        helper.write(ADDITION, &edited(list));
        let removed = succeeds(&helper, "--podman --remove", NO_WARNING);
        assert!(removed.starts_with("changed ") && removed.contains(ADDITION), "{removed}");
        assert_eq!(read(&helper, ADDITION), kept(r#"["containers-auth.json","pass"]"#), "{list}");
        assert!(succeeds(&helper, "--podman --remove", NO_WARNING).starts_with("nothing to change in "));
    }
    succeeds(&helper, "--podman", NO_WARNING);
    assert_eq!(read(&helper, ADDITION), kept(r#"["containers-auth.json","pass","ecr-login"]"#));
    // Without it, nothing but what the person has added stays.
    helper.write(ADDITION, &edited("[\n'containers-auth.json',\n'ecr-login']"));
    succeeds(&helper, "--podman --remove", NO_WARNING);
    assert_eq!(read(&helper, ADDITION), "short-name-mode = 'disabled'\n");
}

/// The list that setup has added the helper to is no longer the one that podman would read without it.
#[test]
fn podmans_list_goes_with_the_helper_whatever_a_person_has_changed_beside_it() {
    let conf = ".config/containers/registries.conf";
    for (before, after) in [
        (None, Some("['secretservice']")),
        (Some("['pass']"), Some("['secretservice']")),
        (Some("['pass']"), None),
        (Some("['pass', 'containers-auth.json']"), Some("['pass']")),
        (Some("[]"), Some("['pass']")),
    ] {
        let helper = home();
        for (list, args) in [(before, "--podman"), (after, "--podman --remove")] {
            helper.write(conf, &list.map_or_else(String::new, |list| format!("credential-helpers = {list}\n")));
            assert_eq!(setup(&helper, args).code, Some(0), "{before:?} {after:?}");
        }
        assert!(!helper.home().join(ADDITION).exists(), "{before:?} {after:?}: {}", read(&helper, ADDITION));
    }
    // What a person has added to the list itself stays, after any change.
    let helper = home();
    succeeds(&helper, "--podman", NO_WARNING);
    helper.write(ADDITION, &read(&helper, ADDITION).replace("[\"containers-auth.json\",\"ecr", "[\"pass\",\"ecr"));
    helper.write(conf, "credential-helpers = ['secretservice']\n");
    succeeds(&helper, "--podman --remove", NO_WARNING);
    assert!(read(&helper, ADDITION).contains("\ncredential-helpers = [\"pass\"]"));
}

/// What still keeps a client from calling the helper.
#[test]
fn what_comes_before_the_new_entry_is_a_warning() {
    let auths = json!({"auths": {HOST: {"auth": "QVdTOmE="}}}).to_string();
    let helper = home().var("DOCKER_AUTH_CONFIG", &auths);
    let ran = setup(&helper, HOST);
    assert!(
        ran.stderr.contains("DOCKER_AUTH_CONFIG has a password for") && ran.stdout.contains("check with:"),
        "{ran:?}"
    );
    succeeds(&helper, OTHER, NO_WARNING);

    let helper = home();
    helper.write(".config/containers/registries.conf", "no TOML");
    let ran = setup(&helper, &format!("--podman {HOST}"));
    assert!(ran.stderr.contains("registries.conf") && ran.stdout.contains("check with:"), "{ran:?}");

    // podman stops at a value of another type, and so would it beside a new file.
    for (conf, what) in [
        ("credential-helpers = 'ecr-login'", "credential-helpers is not a list of strings"),
        ("credential-helpers = [1]", "credential-helpers is not a list of strings"),
        ("unqualified-search-registries = 'docker.io'", "unqualified-search-registries is not a list of strings"),
        ("short-name-mode = 1", "short-name-mode is not a string"),
        ("[registry]\nlocation = 'a.example'", "registry is not a list of tables"),
        ("[[registry]]\nlocation = 'a.example'\ninsecure = 'true'", "insecure is not true or false"),
        ("[aliases]\na = ['b.example/a']", "aliases is not a table of strings"),
    ] {
        let helper = home();
        helper.write(".config/containers/registries.conf", conf);
        let line = fails(&helper, "--podman");
        assert!(line.contains(&format!("registries.conf: {what}; correct it")), "{line}");
        assert!(!helper.home().join(ADDITION).exists(), "{conf}");
        let warning = setup(&helper, &format!("--podman {HOST}")).stderr;
        assert!(warning.contains(what), "{warning}");
    }

    let helper = home();
    helper.write(AUTH, &auths);
    let warning = setup(&helper, "--podman").stderr;
    assert!(warning.contains("left a password") && warning.contains(HOST), "{warning}");

    // With ecr-login in a file of the user's own.
    let helper = home();
    helper.write(".config/containers/registries.conf", "credential-helpers = ['ecr-login']\n");
    let warning = setup(&helper, "--podman --remove").stderr;
    assert!(
        warning.contains("podman still calls the helper: credential-helpers in ")
            && warning.contains("registries.conf; "),
        "{warning}"
    );

    // With ecr-login for all registries, which setup did not write.
    let helper = home();
    helper.write(CONFIG, r#"{"credsStore": "ecr-login", "credHelpers": {"a.example": "docker-credential-ecr-login"}}"#);
    for args in ["--remove".to_owned(), format!("--remove {HOST}")] {
        let warning = setup(&helper, &args).stderr;
        assert!(warning.contains("docker still calls the helper: credsStore in "), "{warning}");
        assert_eq!(read(&helper, CONFIG), r#"{"credsStore": "ecr-login"}"#);
    }
}

/// A second writer behaves like docker: it reads the file and later replaces it.
#[test]
fn other_writers_see_whole_files_and_do_not_make_setup_fail() {
    let helper = home();
    let file = helper.home().join(CONFIG);
    helper.write(CONFIG, "{}");
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..200 {
                let mut config: Value =
                    serde_json::from_slice(&fs::read(&file).expect("a file")).expect("always whole");
                config["auths"][format!("{number}.example.com")] = json!({"auth": "YTpi"});
                let scratch = file.with_extension("docker");
                fs::write(&scratch, config.to_string()).expect("a write");
                fs::rename(&scratch, &file).expect("a rename");
                thread::yield_now();
            }
        });
        for round in 0..20 {
            let change = if round % 2 == 0 { "" } else { "--remove" };
            let ran = setup(&helper, &format!("{HOST} {change}"));
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    });
    succeeds(&helper, HOST, NO_WARNING);
    let config: Value = serde_json::from_str(&read(&helper, CONFIG)).expect("JSON");
    assert_eq!(config["credHelpers"], json!({HOST: "ecr-login"}));
}

#[test]
fn concurrent_setups_keep_the_entries_of_each_other() {
    let helper = home();
    let set_up = |number: usize| {
        let mut command = helper.command();
        command.args(["setup", "--account", &format!("{number:012}"), "--region", "us-east-1"]);
        start(&mut command, "")
    };
    let children: Vec<_> = (0..20).map(set_up).collect();
    assert!(children.into_iter().all(|child| end(child).status.success()));
    let config: Value = serde_json::from_str(&read(&helper, CONFIG)).expect("JSON");
    assert_eq!(config["credHelpers"].as_object().expect("entries").len(), 20);
}

/// While strace delays the write of the new text, another program replaces the file.
#[test]
fn a_change_between_reading_and_replacing_is_kept() {
    if missing(&["strace"]).is_some() {
        return skip("setup", "strace is not installed");
    }
    let helper = home();
    let file = helper.write(CONFIG, "{}");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync"]);
    strace.args(["-e", "inject=fsync:delay_enter=2000000:when=1"]).arg(program()).args(["setup", HOST]);
    let mut strace = start(strace.env("HOME", helper.home()), "");
    let is_ready = |entry: std::io::Result<fs::DirEntry>| {
        let Ok(entry) = entry else { return false };
        let new = entry.file_name().to_string_lossy().starts_with(".ecr-login-");
        new && entry.metadata().is_ok_and(|metadata| metadata.len() > 0)
    };
    wait_until("a new file appears", SOON, || {
        assert!(strace.try_wait().expect("a look").is_none(), "it ended without a new file");
        fs::read_dir(file.parent().expect("a directory")).expect("files").any(is_ready)
    });
    let new = helper.write(".docker/new", r#"{"auths":{"ghcr.io":{"auth":"YTpi"}}}"#);
    fs::rename(new, &file).expect("a rename");
    assert!(end(strace).status.success());
    let config: Value = serde_json::from_str(&read(&helper, CONFIG)).expect("JSON");
    let expected = json!({"auths": {"ghcr.io": {"auth": "YTpi"}}, "credHelpers": {HOST: "ecr-login"}});
    assert_eq!(config, expected);
}

/// Generates any JSON value of an unknown member.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"\\\\{},: ]{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn setup_and_its_removal_change_nothing_else(
        members in prop::collection::btree_map("[A-Za-z\"\\\\{},: ]{1,8}", anything(), 0..5),
        helpers in prop::option::of(prop::collection::btree_map("[a-z.]{1,9}", "[a-z]{1,5}", 0..3)),
        pretty in any::<bool>(),
    ) {
        let mut before: Map<String, Value> = members.into_iter().collect();
        before.retain(|name, _| !name.eq_ignore_ascii_case("credHelpers"));
        if let Some(helpers) = &helpers {
            before.insert("credHelpers".to_owned(), json!(helpers));
        }
        let before = Value::Object(before);
        let text = if pretty { serde_json::to_string_pretty(&before).unwrap() } else { before.to_string() };
        let helper = home();
        helper.write(CONFIG, &text);
        let parsed = || serde_json::from_str::<Value>(&read(&helper, CONFIG)).expect("JSON");

        succeeds(&helper, &format!("{HOST} {OTHER}"), NO_WARNING);
        let mut expected = before.clone();
        expected["credHelpers"][HOST] = "ecr-login".into();
        expected["credHelpers"][OTHER] = "ecr-login".into();
        prop_assert_eq!(parsed(), expected);

        succeeds(&helper, "--remove", NO_WARNING);
        let mut expected = before.clone();
        if helpers.as_ref().is_some_and(std::collections::BTreeMap::is_empty) {
            expected.as_object_mut().unwrap().remove("credHelpers");
        } else {
            prop_assert_eq!(read(&helper, CONFIG), if before == json!({}) { "{}".to_owned() } else { text });
        }
        prop_assert_eq!(parsed(), expected);
    }
}

/// Such as those in env files, units and CI settings. docker and podman take it for a directory of that name.
#[test]
fn what_nothing_has_replaced_in_a_variable_of_a_client_is_what_the_client_takes_it_for() {
    let (docker, podman) = (&["setup", HOST][..], &["setup", "--podman", HOST][..]);
    for (name, value, args) in [
        ("DOCKER_CONFIG", "~/elsewhere", docker),
        ("DOCKER_CONFIG", "$HOME/elsewhere", docker),
        ("DOCKER_CONFIG", "%h/elsewhere", &["setup", "--remove"]),
        ("DOCKER_CONFIG", "%USERPROFILE%/elsewhere", docker),
        ("REGISTRY_AUTH_FILE", "~/elsewhere", podman),
        ("REGISTRY_AUTH_FILE", "x/${HOME}/elsewhere", podman),
        ("XDG_CONFIG_HOME", "~/elsewhere", podman),
        ("XDG_CONFIG_HOME", "~me/elsewhere", podman),
    ] {
        let helper = home().var(name, value);
        let current = helper.home().join("current");
        fs::create_dir(&current).expect("a directory");
        let in_current = |args: &[&str]| run(helper.command().args(args).current_dir(&current), "");
        let ran = in_current(args);
        let first = value.split('/').find(|first| first.starts_with(['~', '$', '%'])).expect("a name");
        for words in [value, &format!("nothing has replaced '{first}' by a directory"), "write the whole path"] {
            assert!(complaint(&ran).contains(words), "{name}: {words} in {ran:?}");
        }
        assert!(!ran.stderr.contains("mkdir"), "{ran:?}");
        assert!(fs::read_dir(&current).expect("a directory").next().is_none(), "{name}");
        let report = in_current(&["doctor", HOST]).stdout;
        let words = format!("{name} is '{value}', a relative path, which clients look for in the current directory");
        assert!(report.contains(&words) && report.contains("write the whole path"), "{report}");
        // One of that name that is there is meant.
        fs::create_dir_all(current.join(value)).expect("a directory");
        if (name, args) == ("DOCKER_CONFIG", docker) {
            assert_eq!(in_current(args).code, Some(0));
            let text = fs::read_to_string(current.join(value).join("config.json")).expect("a file");
            assert!(text.contains(HOST), "{text}");
        }
        assert!(!helper.home().join("elsewhere").exists(), "{name}");
    }
}

/// As docker does. In another directory, it finds other settings.
#[test]
fn a_relative_path_in_a_variable_of_a_client_is_one_below_the_current_directory() {
    for (name, value, podman, file) in [
        ("DOCKER_CONFIG", "settings", "", "settings/config.json"),
        ("REGISTRY_AUTH_FILE", "./auth.json", "--podman ", "auth.json"),
        ("XDG_CONFIG_HOME", "deep/settings", "--podman ", "deep/settings/containers/auth.json"),
    ] {
        let helper = home().var(name, value);
        let current = helper.home().join("current");
        fs::create_dir(&current).expect("a directory");
        for args in
            [format!("setup {podman}{HOST}"), format!("setup {podman}--remove {HOST}"), format!("doctor {HOST}")]
        {
            let ran = run(helper.command().args(args.split(' ')).current_dir(&current), "");
            let is_there = fs::read_to_string(current.join(file)).is_ok_and(|text| text.contains(HOST));
            assert_eq!(is_there, args == format!("setup {podman}{HOST}"), "{args}: {ran:?}");
            let words =
                format!("{name} is '{value}', a relative path, which clients look for in the current directory");
            assert_eq!(format!("{}{}", ran.stdout, ran.stderr).matches(&words).count(), 1, "{args}: {ran:?}");
        }
    }
}

/// As in `--output=~/file`, in which most shells replace nothing.
#[test]
fn a_tilde_in_a_path_that_is_an_argument_is_the_home_directory() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let current = helper.home().join("current");
    fs::create_dir(&current).expect("a directory");
    let in_current = |args: &[&str]| run(helper.command().args(args).current_dir(&current), "");
    for (args, made) in [
        (&["export", "--output=~/password", HOST][..], "password"),
        (&["generate", "~/man"], "man/docker-credential-ecr-login.1"),
        (&["setup", "--kubelet=~/kubelet.json"], "kubelet.json"),
    ] {
        assert_eq!(in_current(args).code, Some(0), "{args:?}");
        assert!(helper.home().join(made).exists(), "{args:?}");
    }
    let ran = in_current(&["export", "--output=~/out/password", HOST]);
    let fix = format!("'mkdir -p {}/out'", helper.home().display());
    assert!(complaint(&ran).contains(&fix), "{fix} in {ran:?}");
    let without_home = ["export", "--output=~/password", HOST];
    let ran = run(helper.command().args(without_home).current_dir(&current).env("HOME", "relative"), "");
    assert!(complaint(&ran).contains("nothing has replaced '~' by a directory"), "{ran:?}");
    assert!(fs::read_dir(&current).expect("a directory").next().is_none());
}
