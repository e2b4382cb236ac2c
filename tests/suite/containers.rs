//! Compares what doctor and setup report about podman, buildah and skopeo with what these programs do, in the versions of podman
//! 4, 5 and 6. `login --get-login` finds credentials as a pull does and requires no registry. A mount namespace replaces the
//! system's settings.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::HOST;
use crate::helper::{Chance, Helper, program};
use crate::namespace::{Namespace, missing, skip};
use crate::process::output;

/// What a client gets for a host.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// From the helper under test.
    Helper,
    /// From another helper.
    Other,
    Password,
    Nothing,
    /// A file that it cannot read.
    Broken,
}

/// A machine on which one client is installed.
struct Machine {
    client: PathBuf,
    helper: Helper,
}

impl Machine {
    fn new(client: &Path) -> Self {
        let helper = Helper::bare();
        let at = |path: &str| helper.home().join(path).display().to_string();
        for dir in ["bin", "etc", "share", "run", "state"] {
            fs::create_dir(helper.home().join(dir)).expect("a directory");
        }
        symlink(program(), helper.home().join("bin/docker-credential-ecr-login")).expect("a link");
        symlink(client, helper.home().join("bin").join(client.file_name().expect("a name"))).expect("a link");
        let stub = |name: &str, script: &str| {
            helper.write_program(&format!("bin/docker-credential-{name}"), &format!("#!/bin/sh\n{script}\n"));
        };
        stub("other", "read host; echo '{\"ServerURL\":\"'$host'\",\"Username\":\"other\",\"Secret\":\"s\"}'");
        stub("none", "echo 'credentials not found in native keychain'; exit 1");
        let mounts = [("etc", "/etc/containers"), ("share", "/usr/share/containers")];
        let mut script: String = mounts.iter().fold(String::new(), |script, (from, to)| {
            script + &format!("mkdir -p {to}\nmount --bind {} {to}\n", at(from))
        });
        // podman must not change its storage on this machine.
        script += &["/var/lib/containers", "/run/containers", "/run/libpod"]
            .map(|dir| format!("mkdir -p {dir}\nmount -t tmpfs none {dir}\n"))
            .concat();
        // The PATH has no other client; podman requires other programs.
        let more = if client.starts_with("/usr/bin") { ":/usr/sbin:/usr/bin:/sbin:/bin" } else { "" };
        let (path, runtime) = (at("bin") + more, at("run"));
        let namespace = Rc::new(Namespace::of_mounts(&script));
        let helper = helper.inside(&namespace).var("PATH", &path).var("XDG_RUNTIME_DIR", &runtime);
        let helper = helper.var("AWS_EC2_METADATA_DISABLED", "true");
        Self { client: client.to_owned(), helper }
    }

    fn write(&self, path: &str, content: &str) {
        self.helper.write(path, content);
    }

    /// Removes all settings.
    fn clear(&self) {
        for dir in ["etc", "share", "run", "xdg", "dc", ".config", ".docker"] {
            let dir = self.helper.home().join(dir);
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
                removed.expect("a removal");
            }
        }
        // buildah requires this file.
        self.write("etc/policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    }

    /// Returns what the client finds. A stub replaces the helper under test, since it requires no AWS.
    fn finds(&self) -> Found {
        let link = self.helper.home().join("bin/docker-credential-ecr-login");
        fs::remove_file(&link).expect("a link");
        self.helper.write_program(
            "bin/docker-credential-ecr-login",
            "#!/bin/sh\nread host; echo '{\"ServerURL\":\"'$host'\",\"Username\":\"helper\",\"Secret\":\"s\"}'\n",
        );
        let output = self.run_client(&["login", "--get-login", HOST]);
        fs::remove_file(&link).expect("a stub");
        symlink(program(), &link).expect("a link");
        let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        match said.trim() {
            "helper" => Found::Helper,
            "other" => Found::Other,
            "password" => Found::Password,
            "" if error.contains("not logged in") => Found::Nothing,
            "" => Found::Broken,
            said => panic!("{said} {error}"),
        }
    }

    /// Runs the client with these arguments.
    fn run_client(&self, with: &[&str]) -> Output {
        let plain = self.helper.command();
        let mut command = std::process::Command::new(plain.get_program());
        // The arguments before the program enter the namespace.
        let args: Vec<_> = plain.get_args().map(ToOwned::to_owned).collect();
        command.args(&args[..args.len() - 1]).arg(&self.client).args(with);
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        output(&mut command)
    }

    /// Returns what the client says when it is to pull an image, whose registry does not exist.
    fn tries(&self) -> String {
        let image = "image.invalid/a:1";
        let inspect = format!("docker://{image}");
        let args = if self.client.ends_with("skopeo") { ["inspect", &inspect] } else { ["pull", image] };
        String::from_utf8_lossy(&self.run_client(&args).stderr).into_owned()
    }

    /// Returns what the client finds according to doctor.
    fn doctor(&self) -> (Found, String) {
        let ran = self.helper.run(&["doctor", "--json", HOST], "");
        let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        let checks = report["registries"][0]["checks"].as_array().expect("checks");
        let check = checks.iter().find(|check| check["check"] == "podman").map(ToString::to_string).unwrap_or_default();
        let patterns = [
            ("calls the helper", Found::Helper),
            ("calls docker-credential-other", Found::Other),
            ("password that an earlier login left", Found::Password),
            ("names no credential helper", Found::Nothing),
            ("names neither the helper", Found::Nothing),
            ("E-CLIENT-CONFIG-INVALID", Found::Broken),
        ];
        let found = patterns.into_iter().find(|(pattern, _)| check.contains(pattern)).map(|(_, found)| found);
        (found.unwrap_or_else(|| panic!("{check} in {ran:?}")), check)
    }
}

/// Returns the clients on this machine.
fn clients() -> Vec<PathBuf> {
    if !nix::unistd::geteuid().is_root() || missing(&["unshare"]).is_some() {
        skip("containers", "directories of the system need root");
        return Vec::new();
    }
    let newer = std::env::var("NEWER_CLIENTS").map(PathBuf::from).unwrap_or_default();
    let all = [PathBuf::from("/usr/bin/podman"), newer.join("containers-5/skopeo"), newer.join("containers-6/buildah")];
    let (there, absent): (Vec<_>, Vec<_>) = all.into_iter().partition(|path| path.exists());
    for client in absent {
        skip("containers", &format!("{} is not there; see tests/newer-clients", client.display()));
    }
    there
}

const CONFS: &[&str] = &[
    "etc/registries.conf",
    "share/registries.conf",
    ".config/containers/registries.conf",
    "xdg/containers/registries.conf",
    "etc/registries.conf.d/a.conf",
    "etc/registries.conf.d/z.conf",
    "etc/registries.conf.d/z.txt",
    "etc/registries.rootful.conf.d/m.conf",
    "etc/registries.rootless.conf.d/z.conf",
    "share/registries.conf.d/m.conf",
    "share/registries.conf.d/z.conf",
    "share/registries.rootful.conf.d/b.conf",
    ".config/containers/registries.conf.d/a.conf",
    ".config/containers/registries.conf.d/n.conf",
    ".config/containers/registries.rootful.conf.d/z.conf",
    "xdg/containers/registries.conf.d/a.conf",
    "xdg/containers/registries.conf.d/y.conf",
    "named.conf",
    "override.conf",
];

const HELPERS: &[&str] = &[
    "credential-helpers = [\"ecr-login\"]",
    "credential-helpers = [\"containers-auth.json\"]",
    "credential-helpers = [\"none\"]",
    "credential-helpers = [\"none\", \"containers-auth.json\"]",
    "credential-helpers = [\"containers-auth.json\", \"ecr-login\"]",
    "credential-helpers = []",
    "short-name-mode = \"permissive\"",
    "Credential-Helpers = [\"ecr-login\"]",
    "credential_helpers = [\"ecr-login\"]",
    "[registries]\ncredential-helpers = [\"ecr-login\"]",
    "aliases = 1",
];

/// What these programs do not read, since it is of another type than they expect.
const WRONG_TYPES: &[&str] = &[
    "credential-helpers = \"ecr-login\"",
    "credential-helpers = [1]",
    "Credential-Helpers = true",
    "unqualified-search-registries = \"docker.io\"",
    "short-name-mode = 1",
    "registries = 1",
    "[registry]\nlocation = \"a.example\"",
    "[registries]\nsearch = [\"docker.io\"]",
    "[registries.block]\nregistries = [1]",
    "[[registry]]\nlocation = \"a.example\"\ninsecure = \"true\"",
    "[[registry]]\nlocation = 1",
    "[[registry]]\nlocation = \"a.example\"\nmirror-by-digest-only = \"true\"",
    "[[registry]]\nlocation = \"a.example\"\nmirror = \"b.example\"",
    "[[registry]]\nlocation = \"a.example\"\n[[registry.mirror]]\nlocation = 1",
    "[aliases]\ncredential-helpers = [\"ecr-login\"]",
];

/// Values that they refuse in any of the files.
const WRONG_VALUES: &[&str] = &[
    "short-name-mode = 'Permissive'",
    "short-name-mode = 'permissive'\n[registries.search]\nregistries = ['docker.io']",
    "credential-helpers = ['ecr-login']\n[Registries.Insecure]\nRegistries = ['a.example']",
    "unqualified-search-registries = ['docker.io', 'docker.io/library']",
    "unqualified-search-registries = ['https://docker.io']",
    "unqualified-search-registries = ['']",
    "unqualified-search-registries = ['a_b']",
    "unqualified-search-registries = ['a..b']",
    "unqualified-search-registries = ['a.b:c']",
    "unqualified-search-registries = ['-a']",
    "[registries.search]\nregistries = ['docker.io/library']",
    "[[registry]]\ninsecure = true",
    "[[registry]]\nlocation = '/'",
    "[[registry]]\nprefix = 'a.example'",
    "[[registry]]\nprefix = '*.a.example/b'",
    "[[registry]]\nlocation = 'https://a.example'",
    "[[Registry]]\nLocation = 'a.example'\nPrefix = 'http://a.example'",
    "[[registry]]\nlocation = 'a.example'\npull-from-mirror = 'all'",
    "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\ninsecure = true",
    "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\nlocation = 'https://b.example'",
    "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\nlocation = 'b.example'\npull-from-mirror = 'tag'",
    "[[registry]]\nlocation = 'a.example'\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = 'b.example'\npull-from-mirror = 'all'",
    "[[registry]]\nlocation = 'a.example'\n[[registry]]\nlocation = 'a.example/'\nprefix = 'b.example'\ninsecure = true",
    "[[registry]]\nlocation = 'a.example'\nblocked = true\n[[registry]]\nlocation = 'a.example'",
    "[aliases]\n'a.example/a' = 'b.example/a'",
    "[aliases]\n'localhost/a' = 'b.example/a'",
    "[aliases]\n'a:1' = 'b.example/a'",
    "[aliases]\nA = 'b.example/a'",
    "[aliases]\na-_b = 'b.example/a'",
    "[aliases]\na = 'b.example/a:1'",
    "[aliases]\na = 'library/a'",
    "[aliases]\na = 'docker.io'",
    "[aliases]\na = 'https://b.example/a'",
    "[aliases]\na = 'b.example/A'",
];

/// Values that resemble those, and that they read, in one file.
const RIGHT_VALUES: &str = "short-name-mode = ''
unqualified-search-registries = ['docker.io/', 'A.b:1', 'localhost']
[[registry]]
prefix = '*.a.example'
[[registry]]
location = 'HTTPS://a.example'
[[registry]]
location = 'b.example/c'
prefix = '/'
blocked = true
[[registry]]
location = 'b.example/c/'
prefix = 'b.example'
blocked = true
[[registry.mirror]]
location = 'c.example:5000/d'
pull-from-mirror = 'tag-only'
[registries]
other = 1
[registries.search]
[aliases]
'a/b' = 'docker.io/library/b'
'A/b' = 'localhost/a'
'a.b' = 'a:5000/b/c__d/e---f'
'a_b.c' = ''
";

/// Members of which docker expects another type, and these programs some.
const WRONG_MEMBERS: &[&str] = &[
    r#""auths":{"a.example":{"auth":1}}"#,
    r#""auths":{"a.example":{"identitytoken":true}}"#,
    r#""auths":{"a.example":{"username":1}}"#,
    r#""proxies":{"httpProxy":"http://a.example"}"#,
    r#""credsStore":5"#,
    r#""credHelpers":{"a.example":1}"#,
    r#""credHelpers":{"a.example":null}"#,
];

const AUTHS: &[&str] = &[
    "run/containers/auth.json",
    ".config/containers/auth.json",
    "xdg/containers/auth.json",
    ".docker/config.json",
    "dc/config.json",
    "named.json",
    ".dockercfg",
];

#[test]
fn doctor_reports_what_podman_buildah_and_skopeo_do() {
    let rounds = if std::env::var_os("FULL").is_some() { 300 } else { 40 };
    let chance = &mut Chance::new();
    for client in clients() {
        let machine = Machine::new(&client);
        let home = machine.helper.home().display().to_string();
        let mut machine = machine;
        let mut kinds = std::collections::BTreeMap::new();
        for _ in 0..rounds {
            machine.clear();
            let mut shown = Vec::new();
            for conf in CONFS {
                let always = ["named.conf", "override.conf"].contains(conf);
                if always || chance.below(4) == 0 {
                    let contents = match chance.below(40) {
                        0 => WRONG_TYPES,
                        1 => WRONG_VALUES,
                        _ => HELPERS,
                    };
                    let content = *chance.of(contents);
                    machine.write(conf, &format!("{content}\n"));
                    shown.push(format!("{conf}: {content}"));
                }
            }
            for auth in AUTHS {
                let mut content = match chance.below(7) {
                    6 => format!(r#"{{"credHelpers":{{"{HOST}":{}}}}}"#, chance.of(&["\"\"", "null", "\"other\""])),
                    0 => json!({"credHelpers": {HOST: "ecr-login"}}).to_string(),
                    1 => json!({"credHelpers": {HOST: "other"}}).to_string(),
                    2 => json!({"auths": {HOST: {"auth": "cGFzc3dvcmQ6cw=="}}}).to_string(),
                    3 => json!({"auths": {HOST: {}}}).to_string(),
                    _ => "{}".to_owned(),
                };
                if *auth == ".dockercfg" && chance.below(2) == 0 {
                    content = json!({HOST: {"auth": "cGFzc3dvcmQ6cw=="}}).to_string();
                }
                // Go's decoder makes one object of all members of a name.
                if content.contains("credHelpers") && chance.below(3) == 0 {
                    let entry = json!({HOST: "other"}).to_string();
                    let second =
                        *chance.of(&[r#""credHelpers":{}"#, r#""CREDHELPERS":null"#, r#""CredHelpers":ENTRY"#]);
                    content.insert_str(content.len() - 1, &format!(",{}", second.replace("ENTRY", &entry)));
                }
                if chance.below(20) == 0 {
                    content = (*chance.of(&["", " \n", "null"])).to_owned();
                } else if chance.below(20) == 0 && *auth != ".dockercfg" {
                    let more = *chance.of(WRONG_MEMBERS);
                    let comma = if content == "{}" { "" } else { "," };
                    content.insert_str(1, &format!("{more}{comma}"));
                }
                machine.write(auth, &content);
                shown.push(format!("{auth}: {content}"));
            }
            for (name, value, odds) in [
                ("XDG_CONFIG_HOME", "xdg", 2),
                ("DOCKER_CONFIG", "dc", 5),
                ("REGISTRY_AUTH_FILE", "named.json", 6),
                ("CONTAINERS_REGISTRIES_CONF", "named.conf", 4),
                ("CONTAINERS_REGISTRIES_CONF_OVERRIDE", "override.conf", 4),
            ] {
                let value = if chance.below(odds) == 0 { format!("{home}/{value}") } else { String::new() };
                machine.helper.set(name, &value);
                shown.push(format!("{name}={value}"));
            }
            let (said, check) = machine.doctor();
            let found = machine.finds();
            assert_eq!(said, found, "{}: {check}\n{}", client.display(), shown.join("\n"));
            *kinds.entry(format!("{found:?}")).or_insert(0) += 1;
        }
        println!("{}: {kinds:?}", client.display());
        assert!(kinds.len() >= 3, "{kinds:?}");
    }
}

#[test]
fn doctor_refuses_the_values_in_registries_conf_that_they_refuse() {
    let (conf, drop_in) = (".config/containers/registries.conf", ".config/containers/registries.conf.d/a.conf");
    let old = "[registries.search]\nregistries = ['docker.io']\n";
    let empty = old.replace("'docker.io'", "");
    for client in clients() {
        let machine = Machine::new(&client);
        let read = |path: &str, content: &str| {
            machine.clear();
            machine.write(".docker/config.json", &json!({"credHelpers": {HOST: "ecr-login"}}).to_string());
            machine.write(conf, "");
            machine.write(path, content);
            let found = machine.finds();
            let (said, check) = machine.doctor();
            assert_eq!(said, found, "{}: {check}\n{content}", client.display());
            assert!(found == Found::Helper || check.contains("conf"), "{check}");
            found
        };
        assert_eq!(read(conf, RIGHT_VALUES), Found::Helper);
        for content in WRONG_TYPES.iter().chain(WRONG_VALUES) {
            assert_eq!(read(conf, content), Found::Broken, "{content}");
        }
        assert_eq!(read(drop_in, WRONG_VALUES[0]), Found::Broken);
        // Whether version 1 is read, and what counts as its presence, depends on the program.
        assert_eq!(read(drop_in, old), Found::Broken);
        for content in
            [old, &empty, &format!("credential-helpers = []\n{old}"), &format!("short-name-mode = ''\n{old}")]
        {
            read(conf, content);
        }
        read(conf, &format!("short-name-mode = 'disabled'\n{empty}"));
        read(conf, &format!("[aliases]\n{old}"));
        read(drop_in, &empty);
    }
}

#[test]
fn doctor_reads_the_directories_of_registries_conf_as_they_do() {
    let link = |target: &str, path: &Path| symlink(target, path).expect("a link");
    let named = "credential-helpers = ['ecr-login']\n";
    for client in clients() {
        let machine = Machine::new(&client);
        let config = machine.helper.home().join(".config/containers");
        let dir = config.join("registries.conf.d");
        let read = |shown: &str, prepare: &dyn Fn(), expected: &[Found]| {
            machine.clear();
            machine.write(".docker/config.json", &json!({"credHelpers": {HOST: "ecr-login"}}).to_string());
            machine.write(".config/containers/real/a.conf", "");
            prepare();
            let found = machine.finds();
            let (said, check) = machine.doctor();
            assert_eq!(said, found, "{}: {shown}: {check}", client.display());
            assert!(expected.contains(&found), "{}: {shown}: {found:?}", client.display());
            assert!(found != Found::Broken || check.contains("registries.conf"), "{check}");
        };
        let drop_in = |target: &str| {
            fs::create_dir(&dir).expect("a directory");
            link(target, &dir.join("x.conf"));
        };
        read("a drop-in that links to nothing", &|| drop_in("nowhere"), &[Found::Broken, Found::Helper]);
        read("one that links to itself", &|| drop_in("x.conf"), &[Found::Broken]);
        read("one below a file", &|| drop_in("../real/a.conf/b"), &[Found::Broken]);
        read("one that links to a directory", &|| drop_in("../real"), &[Found::Broken]);
        read("one that links to a file", &|| drop_in("../real/a.conf"), &[Found::Helper]);
        read(
            "a registries.conf that links to nothing",
            &|| link("no", &config.join("registries.conf")),
            &[Found::Helper],
        );
        read("a directory that is a file", &|| fs::write(&dir, "").expect("a file"), &[Found::Helper, Found::Broken]);
        read("a directory that links to nothing", &|| link("no", &dir), &[Found::Helper]);
        let linked = || {
            machine.write(".docker/config.json", "{}");
            machine.write(".config/containers/real/a.conf", named);
            link("real", &dir);
        };
        read("a directory that is a link", &linked, &[Found::Helper, Found::Nothing]);
        let marked = || machine.write(".config/containers/registries.conf", &format!("\u{feff}{named}"));
        read("a byte-order mark", &marked, &[Found::Broken, Found::Helper]);
    }
}

#[test]
fn doctor_names_a_policy_by_which_podman_and_buildah_refuse_every_image() {
    let accepts = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
    for client in clients() {
        let machine = Machine::new(&client);
        for (path, content) in [
            (".config/containers/policy.json", "{"),
            ("etc/policy.json", ""),
            ("etc/policy.json", "{}"),
            ("etc/policy.json", "null"),
            ("etc/policy.json", &format!("{accepts} x")),
            (".config/containers/policy.json", accepts),
        ] {
            machine.clear();
            machine.write(".docker/config.json", &json!({"credHelpers": {HOST: "ecr-login"}}).to_string());
            if path.starts_with(".config") {
                machine.write("etc/policy.json", if content == accepts { "{" } else { accepts });
            }
            machine.write(path, content);
            let said = machine.tries();
            let check = machine.doctor().1;
            // Only some commands of skopeo read it.
            let is_refused = said.contains("policy") || (client.ends_with("skopeo") && content != accepts);
            assert_eq!(check.contains("refuse every image"), is_refused, "{}: {check}\n{said}", client.display());
            assert!(!is_refused || check.contains("policy.json"), "{check}");
        }
    }
}

#[test]
fn a_file_behind_the_one_that_names_the_helper_is_not_read() {
    for client in clients() {
        let machine = Machine::new(&client);
        machine.clear();
        machine.write(".docker/config.json", &json!({"credHelpers": {HOST: "ecr-login"}}).to_string());
        machine.write(".dockercfg", "{");
        assert_eq!((machine.finds(), machine.doctor().0), (Found::Helper, Found::Helper), "{}", client.display());
        for args in [&["doctor", "--json", HOST][..], &["doctor", "--json"]] {
            let ran = machine.helper.run(args, "");
            let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
            let checks = report["checks"].as_array().expect("checks");
            let check = checks.iter().find(|check| check["check"] == "podman").expect("a check");
            assert_eq!(check["status"], "ok", "{check}");
        }
        fs::remove_file(machine.helper.home().join(".dockercfg")).expect("a file");
    }
}

#[test]
fn doctor_names_the_file_that_decides_which_helpers_are_called_and_its_fix_works() {
    let (conf, none) = (".config/containers/registries.conf", "credential-helpers = ['none']\n");
    for client in clients() {
        let mut machine = Machine::new(&client);
        let home = machine.helper.home().display().to_string();
        for (path, variable) in [
            (conf, ""),
            (".config/containers/registries.conf.d/a.conf", ""),
            (".config/containers/registries.conf.d/x.conf", ""),
            ("etc/registries.conf.d/x.conf", ""),
            ("override.conf", "CONTAINERS_REGISTRIES_CONF_OVERRIDE"),
            ("named.conf", "CONTAINERS_REGISTRIES_CONF"),
        ] {
            machine.clear();
            if !path.starts_with("etc") {
                machine.write(conf, "credential-helpers = ['ecr-login']\n");
            }
            machine.write(path, none);
            if !variable.is_empty() {
                machine.helper.set(variable, &format!("{home}/{path}"));
            }
            let said = [machine.doctor().1, machine.helper.run(&["doctor"], "").stdout];
            if machine.finds() == Found::Nothing {
                // In a namespace, /etc has another name.
                let file = path.strip_prefix("etc/").unwrap_or(path);
                for said in &said {
                    assert!(said.contains(&format!("{file} names neither the helper")), "{}: {said}", client.display());
                }
                if said[0].contains("add ecr-login to credential-helpers in it") {
                    machine.write(path, &none.replace("'none'", "'none', 'ecr-login'"));
                } else {
                    assert!(said[0].contains("setup --podman'"), "{}", said[0]);
                    machine.helper.run(&["setup", "--podman"], "");
                }
                assert_eq!(machine.finds(), Found::Helper, "{}: {path}: {}", client.display(), said[0]);
                assert_eq!(machine.doctor().0, Found::Helper);
            }
            if !variable.is_empty() {
                machine.helper.set(variable, "");
            }
        }
    }
}

#[test]
fn doctor_names_a_file_that_a_variable_names_and_that_is_not_there() {
    for client in clients() {
        let mut machine = Machine::new(&client);
        let home = machine.helper.home().display().to_string();
        for (variable, value, names_all) in
            [("REGISTRY_AUTH_FILE", "named.json", false), ("DOCKER_CONFIG", "dc", false), ("DOCKER_CONFIG", "dc", true)]
        {
            machine.clear();
            machine.write(".config/containers/auth.json", &json!({"credHelpers": {HOST: "ecr-login"}}).to_string());
            if names_all {
                machine.write(".config/containers/registries.conf", "credential-helpers = ['ecr-login']\n");
            }
            machine.helper.set(variable, &format!("{home}/{value}"));
            let ran = machine.tries();
            let is_refused = ran.contains("no such file or directory");
            let check = machine.doctor().1;
            let what = format!("which {variable} names, does not exist");
            assert_eq!(check.contains(&what), is_refused, "{}: {check}\n{ran}", client.display());
            let warned = machine.helper.run(&["setup", "--podman"], "");
            assert_eq!(warned.stderr.contains(&what), is_refused, "{}: {warned:?}", client.display());
            if is_refused {
                let fix = machine.helper.run(&["setup", "--podman", HOST], "");
                assert!(fix.code == Some(0) && check.contains(&format!("setup --podman {HOST}'")), "{check} {fix:?}");
                assert!(!machine.tries().contains("no such file or directory"));
                assert_eq!(machine.doctor().0, Found::Helper);
            }
            machine.helper.set(variable, "");
            let _ = fs::remove_dir_all(machine.helper.home().join("dc"));
            let _ = fs::remove_file(machine.helper.home().join("named.json"));
        }
    }
}

#[test]
fn doctor_reads_files_with_passwords_as_they_do() {
    let entry = format!(r#""credHelpers":{{"{HOST}":"ecr-login"}}"#);
    let text = |text: String| text.into_bytes();
    for client in clients() {
        let machine = Machine::new(&client);
        for (content, expected) in [
            (text(" \n".to_owned()), Found::Broken),
            (text("null".to_owned()), Found::Helper),
            (text(format!(r#"{{"credHelpers":{{"{HOST}":""}}}}"#)), Found::Broken),
            (text(format!(r#"{{"credHelpers":{{"{HOST}":null}}}}"#)), Found::Broken),
            (text(r#"{"credHelpers":{"a.example":""}}"#.to_owned()), Found::Helper),
            (text(r#"{"credsStore":5}"#.to_owned()), Found::Helper),
            (text(r#"{"aliases":{"p":"pull"}}"#.to_owned()), Found::Helper),
            (b"{\"x\":\"caf\xe9\"}".to_vec(), Found::Helper),
            (b"{\"x\":1\xe9}".to_vec(), Found::Broken),
            (text(format!("{{{entry}}} x")), Found::Broken),
            (text(format!("{{{entry}}}\n{{}}")), Found::Broken),
        ] {
            machine.clear();
            machine.write(".config/containers/auth.json", &format!("{{{entry}}}"));
            machine.write("run/containers/auth.json", "");
            let shown = String::from_utf8_lossy(&content).into_owned();
            fs::write(machine.helper.home().join("run/containers/auth.json"), &content).expect("a file");
            assert_eq!(machine.finds(), expected, "{}: {shown}", client.display());
            let (said, check) = machine.doctor();
            assert_eq!(said, expected, "{}: {check}\n{shown}", client.display());
            assert!(expected == Found::Helper || check.contains("run/containers/auth.json"), "{check}");
        }
    }
}

#[test]
fn setup_makes_each_of_them_call_the_helper() {
    for client in clients() {
        let mut machine = Machine::new(&client);
        let home = machine.helper.home().display().to_string();
        for (variables, args) in [
            (&[][..], vec!["setup", "--podman"]),
            (&[("XDG_CONFIG_HOME", "xdg")], vec!["setup", "--podman"]),
            (&[], vec!["setup", "--podman", HOST]),
            (&[("XDG_CONFIG_HOME", "xdg")], vec!["setup", "--podman", HOST]),
            (&[("DOCKER_CONFIG", "dc")], vec!["setup", "--podman", HOST]),
            (&[("REGISTRY_AUTH_FILE", "named.json")], vec!["setup", "--podman", HOST]),
        ] {
            machine.clear();
            for name in ["XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"] {
                let value = variables.iter().find(|(known, _)| *known == name);
                let value = value.map(|(_, value)| format!("{home}/{value}")).unwrap_or_default();
                machine.helper.set(name, &value);
            }
            let _ = fs::remove_file(machine.helper.home().join("named.json"));
            machine
                .write("etc/registries.conf.d/a.conf", "credential-helpers = [\"none\", \"containers-auth.json\"]\n");
            let ran = machine.helper.run(&args, "");
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?} {ran:?}");
            assert_eq!(machine.finds(), Found::Helper, "{} {variables:?} {args:?}", client.display());
            assert_eq!(machine.doctor().0, Found::Helper, "{} {variables:?} {args:?}", client.display());
            let ran = machine.helper.run(&[&args[..], &["--remove"]].concat(), "");
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert_eq!(machine.finds(), Found::Nothing, "{} {variables:?} {args:?}", client.display());
        }
    }
}
