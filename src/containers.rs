//! Where podman, buildah and skopeo get the credentials of a registry, read from their settings. This module writes nothing;
//! see [`setup`](crate::commands::setup).
//!
//! These programs call the helpers that `credential-helpers` in registries.conf and its drop-ins names, in order. The default
//! is `containers-auth.json`, which stands for several files in a fixed order, docker's last. In each file they read
//! `credHelpers`, then `auths`; they ignore `credsStore` (containers-auth.json(5), containers-registries.conf(5)).
//!
//! podman 6, buildah 1.44 and skopeo 1.23 changed where these programs look for registries.conf (containers-config(5)):
//!
//! | | up to podman 5 | from podman 6 on |
//! | --- | --- | --- |
//! | the user's directory | `~/.config/containers` | `$XDG_CONFIG_HOME/containers`, else `~/.config/containers` |
//! | registries.conf | the first of the user's file and /etc's | the first of the user's file, /etc's and /usr/share's |
//! | drop-ins | those in /etc, or the user's if the user has a registries.conf | those in /usr/share, /etc and the user's directory, sorted together by base name; of two with one name the user's applies, then /etc's; both system directories may also have `registries.rootful.conf.d`, or `registries.rootless.conf.d` and below it one named after the user's id |
//! | `CONTAINERS_REGISTRIES_CONF` | read by podman alone: replaces registries.conf, and adds the drop-ins of /etc and the user | replaces registries.conf and all drop-ins |
//! | `CONTAINERS_REGISTRIES_CONF_OVERRIDE` | | read last |
//!
//! `REGISTRY_AUTH_FILE`, or `DOCKER_CONFIG`, names the only file with passwords; up to podman 4.3 it names the first one.
//!
//! A later file overrides an earlier one, and an empty list means the default. `tests/suite/containers.rs` compares all of
//! this with the programs themselves.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::client_config::{self, AuthFile, DOCKERCFG, HELPER_NAME, Lookup, invalid};
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::platform;
use crate::registry::{Host, Registry};

/// The helper that stands for the files with passwords.
const AUTH_FILES: &str = "containers-auth.json";

/// The variable that names registries.conf.
pub const REGISTRIES_CONF: &str = "CONTAINERS_REGISTRIES_CONF";

/// The time limit for a program that prints its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// The rules by which a program finds its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The generation of the rules.
    pub era: Era,
    /// The program, since only podman read `CONTAINERS_REGISTRIES_CONF` before podman 6.
    pub program: Program,
}

/// A program that reads the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// podman.
    Podman,
    /// buildah or skopeo.
    Other,
}

/// The generations of the rules, by podman's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// The rules up to podman 4.3, e.g. in Debian 12.
    UpTo43,
    /// The rules up to podman 5.
    UpTo5,
    /// The rules from podman 6 on.
    From6,
}

/// A major and a minor version.
type Version = [u32; 2];

/// A program that may be installed, with the first versions that follow newer rules.
struct Known {
    name: &'static str,
    program: Program,
    first_up_to_5: Version,
    first_from_6: Version,
}

const PROGRAMS: [Known; 3] = [
    Known { name: "podman", program: Program::Podman, first_up_to_5: [4, 4], first_from_6: [6, 0] },
    Known { name: "buildah", program: Program::Other, first_up_to_5: [1, 29], first_from_6: [1, 44] },
    Known { name: "skopeo", program: Program::Other, first_up_to_5: [1, 11], first_from_6: [1, 23] },
];

/// Finds the first of podman, buildah and skopeo on the PATH.
pub fn program(env: &Env) -> Option<PathBuf> {
    PROGRAMS.iter().find_map(|known| env.find_program(known.name))
}

impl Known {
    fn era(&self, version: Version) -> Era {
        match version {
            version if version < self.first_up_to_5 => Era::UpTo43,
            version if version < self.first_from_6 => Era::UpTo5,
            _ => Era::From6,
        }
    }
}

impl Rules {
    /// Returns the rules of the first program on the PATH, by the version that it prints; without any, or with a version that
    /// cannot be parsed, the newest rules. The program runs once per process.
    pub fn of_installed(env: &Env) -> Self {
        static FOUND: OnceLock<Rules> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let installed = |known: &'static Known| Some((known, env.find_program(known.name)?));
            let Some((known, path)) = PROGRAMS.iter().find_map(installed) else {
                return Self { era: Era::From6, program: Program::Podman };
            };
            let version = version_output(env, &path).and_then(|text| parse_version(&text));
            Self { era: version.map_or(Era::From6, |version| known.era(version)), program: known.program }
        })
    }
}

/// Reports whether the installed skopeo does not read `CONTAINERS_REGISTRIES_CONF`, while another program here may.
pub fn skopeo_ignores_variable(env: &Env) -> bool {
    let [_, _, known] = &PROGRAMS;
    let is_old = |path: PathBuf| {
        let version = version_output(env, &path).and_then(|text| parse_version(&text));
        version.is_some_and(|version| known.era(version) != Era::From6)
    };
    Rules::of_installed(env).program == Program::Podman && env.find_program(known.name).is_some_and(is_old)
}

/// Returns what a program prints for `--version`; `None` if it prints nothing within the time limit.
pub fn version_output(env: &Env, program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").env_clear().envs(env.iter());
    let finished = platform::run_child(command, None, None, Instant::now() + VERSION_TIMEOUT).ok()?;
    Some(String::from_utf8_lossy(&finished.output).into_owned())
}

/// Parses the first two numbers of a version, e.g. of "podman version 5.8.6".
pub fn parse_version(text: &str) -> Option<Version> {
    let word = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}

/// Finds where these programs get the credentials of `host`.
pub fn lookup(env: &Env, rules: Rules, host: &str) -> Result<Lookup, Failure> {
    let mut unusable = None;
    for CredentialHelper { name, file } in credential_helpers(env, rules)? {
        if name == AUTH_FILES {
            match auth_file_lookup(env, rules, host) {
                Ok(Lookup::Nothing) => {}
                // Another helper may still answer.
                Err(failure) => unusable = Some(failure),
                found => return found,
            }
        } else if name == HELPER_NAME {
            return Ok(Lookup::Helper { name, setting: "credential-helpers", file });
        }
        // The answer of any other helper is unknown here.
    }
    unusable.map_or(Ok(Lookup::Nothing), Err)
}

fn auth_file_lookup(env: &Env, rules: Rules, host: &str) -> Result<Lookup, Failure> {
    for path in auth_files(env, rules) {
        let file = read(path)?;
        if let Some(name) = file.helper(host) {
            return Ok(Lookup::Helper { name: name.to_owned(), setting: "credHelpers", file: file.path.clone() });
        }
        if file.passwords().any(|key| repository(key).is_none() && Host::parse(key).as_deref() == Some(host)) {
            return Ok(Lookup::Password(file.path));
        }
    }
    Ok(Lookup::Nothing)
}

/// Returns the repository, or the prefix of repositories, that a key of `auths` is for; `None` for a whole registry. Only
/// logins of docker write a URL, and its path means nothing.
pub fn repository(key: &str) -> Option<&str> {
    if key.contains("://") {
        return None;
    }
    let (_, repository) = key.split_once('/')?;
    (!repository.is_empty()).then_some(key)
}

/// Reports whether the programs read the files with passwords and `credHelpers`: `credential-helpers` may leave them out.
pub fn reads_auth_files(env: &Env, rules: Rules) -> bool {
    credential_helpers(env, rules).is_ok_and(|helpers| helpers.iter().any(|helper| helper.name == AUTH_FILES))
}

/// Reads a file with passwords. Unlike docker, these programs fail on a file that exists and is empty.
fn read(path: PathBuf) -> Result<AuthFile, Failure> {
    if fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
        return Err(invalid(&path, format!("{} is empty, which is not JSON", path.display())));
    }
    AuthFile::read(path)
}

/// Returns the hosts for which a client is to call the helper, by the files of all clients, sorted: those of the entries that name it,
/// and the ECR registries that have another entry or a password.
pub fn hosts(env: &Env) -> Vec<String> {
    let files = client_config::docker_config(env).into_iter().chain(auth_files(env, Rules::of_installed(env)));
    let files: Vec<AuthFile> = files.filter_map(|path| AuthFile::read(path).ok()).collect();
    let name = |key: &str| Host::parse(key).map_or_else(|| key.to_owned(), |host| host.to_string());
    let private = |key: &&str| Registry::parse(key).is_some_and(|registry| !registry.is_public());
    let others = files.iter().flat_map(|file| file.keys().chain(file.passwords()).filter(private));
    let mut hosts: Vec<String> = files.iter().flat_map(AuthFile::helper_keys).chain(others).map(name).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Returns the files that `containers-auth.json` stands for, in order. With `DOCKER_CONFIG`, podman and buildah read docker's
/// file alone; skopeo does so only for its own login.
pub fn auth_files(env: &Env, rules: Rules) -> Vec<PathBuf> {
    let (runtime, home) = (env.path("XDG_RUNTIME_DIR"), env.home());
    let login = || Some(platform::podman_login_dir(runtime.as_deref(), home.as_deref())?.join("auth.json"));
    let named = named_auth_file(env);
    if let (Some(path), Era::UpTo5 | Era::From6) = (&named, rules.era) {
        return vec![path.clone()];
    }
    let config = user_config(env).map(|config| config.join("auth.json"));
    let old = env.home().map(|home| home.join(DOCKERCFG));
    [named.or_else(login), config, client_config::docker_config(env), old].into_iter().flatten().collect()
}

/// Returns the one of these files that survives a reboot, so that entries belong into it.
pub fn lasting_auth_file(env: &Env) -> Option<PathBuf> {
    named_auth_file(env).or_else(|| Some(user_config(env)?.join("auth.json")))
}

/// Returns the file that a variable names instead of all others.
fn named_auth_file(env: &Env) -> Option<PathBuf> {
    env.path("REGISTRY_AUTH_FILE").or_else(|| Some(env.path("DOCKER_CONFIG")?.join("config.json")))
}

fn user_config(env: &Env) -> Option<PathBuf> {
    let config = env.path("XDG_CONFIG_HOME").or_else(|| Some(env.home()?.join(".config")))?;
    Some(config.join("containers"))
}

/// Returns the user's directory with registries.conf.
fn user_dir(env: &Env, era: Era) -> Option<PathBuf> {
    match era {
        Era::UpTo43 | Era::UpTo5 => Some(env.home()?.join(".config/containers")),
        // The programs take an empty value for a relative path.
        Era::From6 if env.is_empty("XDG_CONFIG_HOME") => None,
        Era::From6 => user_config(env),
    }
}

/// Returns the directory of the user's drop-ins.
pub fn user_drop_ins(env: &Env, era: Era) -> Option<PathBuf> {
    Some(user_dir(env, era)?.join("registries.conf.d"))
}

/// A helper that `credential-helpers` names.
#[derive(Debug)]
pub struct CredentialHelper {
    /// The helper's name, without `docker-credential-`.
    pub name: String,
    /// The file that names it; empty for the default.
    pub file: PathBuf,
}

/// Returns the effective `credential-helpers` of registries.conf and its drop-ins.
pub fn credential_helpers(env: &Env, rules: Rules) -> Result<Vec<CredentialHelper>, Failure> {
    let mut helpers = Vec::new();
    for path in registries_conf(env, rules)? {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let conf: toml::Table = toml::from_str(&text)
            .map_err(|error| invalid(&path, format!("{}: {}", path.display(), error.message())))?;
        if let Some(names) = conf.get("credential-helpers").and_then(toml::Value::as_array) {
            let names = names.iter().filter_map(toml::Value::as_str);
            helpers = names.map(|name| CredentialHelper { name: name.to_owned(), file: path.clone() }).collect();
        }
    }
    if helpers.is_empty() {
        helpers.push(CredentialHelper { name: AUTH_FILES.to_owned(), file: PathBuf::new() });
    }
    Ok(helpers)
}

/// Returns registries.conf and its drop-ins, in the order in which a program reads them.
fn registries_conf(env: &Env, rules: Rules) -> Result<Vec<PathBuf>, Failure> {
    let user = user_dir(env, rules.era);
    match rules {
        Rules { era: Era::From6, .. } => files_from_6(env, user),
        Rules { program: Program::Podman, .. } => Ok(files_up_to_5(user, file_from_variable(env, REGISTRIES_CONF)?)),
        Rules { program: Program::Other, .. } => Ok(files_up_to_5(user, None)),
    }
}

const SYSTEM: &str = "/etc/containers";
const SHARED: &str = "/usr/share/containers";

fn files_up_to_5(user: Option<PathBuf>, named: Option<PathBuf>) -> Vec<PathBuf> {
    let system = PathBuf::from(SYSTEM);
    let user_conf = user.as_ref().and_then(|dir| first_conf(&[dir]));
    let has_user_conf = named.is_none() && user_conf.is_some();
    let conf = named.or(user_conf).or_else(|| first_conf(&[&system]));
    let dirs = (!has_user_conf).then_some(system).into_iter().chain(user);
    conf.into_iter().chain(dirs.flat_map(|dir| conf_files(&dir.join("registries.conf.d")).into_values())).collect()
}

fn files_from_6(env: &Env, user: Option<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    if let Some(named) = file_from_variable(env, REGISTRIES_CONF)? {
        files.push(named);
    } else {
        let [shared, system] = [SHARED, SYSTEM].map(PathBuf::from);
        let dirs: Vec<&PathBuf> = user.iter().chain([&system, &shared]).collect();
        files.extend(first_conf(&dirs));
        let of_system = [&shared, &system].into_iter().flat_map(|dir| system_drop_ins(dir));
        let dirs = of_system.chain(user.map(|dir| dir.join("registries.conf.d")));
        // A later file replaces an earlier one of the same name.
        let by_name: BTreeMap<OsString, PathBuf> = dirs.flat_map(|dir| conf_files(&dir)).collect();
        files.extend(by_name.into_values());
    }
    files.extend(file_from_variable(env, "CONTAINERS_REGISTRIES_CONF_OVERRIDE")?);
    Ok(files)
}

/// Returns the first registries.conf that exists in these directories.
fn first_conf(dirs: &[&PathBuf]) -> Option<PathBuf> {
    dirs.iter().map(|dir| dir.join("registries.conf")).find(|path| path.exists())
}

/// Returns the file that a variable names. The file has to exist.
fn file_from_variable(env: &Env, variable: &str) -> Result<Option<PathBuf>, Failure> {
    match env.os(variable).map(PathBuf::from) {
        Some(path) if !path.exists() => Err(Failure::new(
            Code::ClientConfigInvalid,
            format!("{}, which {variable} names, does not exist", path.display()),
            format!("correct or unset {variable}"),
        )),
        path => Ok(path),
    }
}

/// Returns the directories of drop-ins below a directory of the system.
fn system_drop_ins(dir: &Path) -> Vec<PathBuf> {
    let mut dirs = vec![dir.join("registries.conf.d")];
    match platform::user_id() {
        Some(0) | None => dirs.push(dir.join("registries.rootful.conf.d")),
        Some(user) => {
            let rootless = dir.join("registries.rootless.conf.d");
            dirs.push(rootless.clone());
            dirs.push(rootless.join(user.to_string()));
        }
    }
    dirs
}

/// Returns the drop-ins of a directory by their base names.
fn conf_files(dir: &Path) -> BTreeMap<OsString, PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let named = files.map(|entry| (entry.file_name(), entry.path()));
    named.filter(|(name, _)| name.as_encoded_bytes().ends_with(b".conf")).collect()
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_parsed_as_the_programs_print_them() {
        for (text, expected) in [
            ("podman version 5.8.6", Some([5, 8])),
            ("podman version 6.1.1-dev\n", Some([6, 1])),
            ("buildah version 1.45.0 (image-spec 1.1.1, runtime-spec 1.2.1)", Some([1, 45])),
            ("skopeo version 1.9.3 commit: x", Some([1, 9])),
            ("", None),
            ("podman", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }
}
