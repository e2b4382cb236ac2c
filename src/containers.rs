//! What podman, buildah and skopeo do for a registry, read from their settings. Nothing is written here; see
//! [`setup`](crate::commands::setup).
//!
//! They ask the helpers that `credential-helpers` in registries.conf and its drop-ins names, in order.
//! `containers-auth.json` among them, which is the default, means several files one after the other, docker's last, and in
//! each first `credHelpers`, then `auths`; `credsStore` means nothing to them (containers-auth.json(5),
//! containers-registries.conf(5)).
//!
//! Where registries.conf is looked for has changed with podman 6, buildah 1.44 and skopeo 1.23 (containers-config(5)):
//!
//! | | up to podman 5 | from podman 6 on |
//! | --- | --- | --- |
//! | the user's directory | `~/.config/containers` | `$XDG_CONFIG_HOME/containers`, else `~/.config/containers` |
//! | registries.conf | the first of the user's and /etc's | the first of the user's, /etc's and /usr/share's |
//! | drop-ins | /etc's, unless there is a registries.conf of the user's, then the user's | of /usr/share, /etc and the user by their base names together; of one name the user's counts, then /etc's; in both directories of the system also `registries.rootful.conf.d`, or `registries.rootless.conf.d` and below it the user's id |
//! | `CONTAINERS_REGISTRIES_CONF` | for podman alone: instead of registries.conf; with it drop-ins of /etc and the user | instead of registries.conf and all drop-ins |
//! | `CONTAINERS_REGISTRIES_CONF_OVERRIDE` | | last |
//!
//! `REGISTRY_AUTH_FILE`, or `DOCKER_CONFIG`, names the only file with passwords; up to podman 4.3 the first of them.
//!
//! A later file overrides an earlier one, and an empty list means the default. `containers` in the tests holds all this against
//! the programs themselves.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use crate::client_config::{self, AuthFile, Broken, HELPER_NAME, Lookup};
use crate::env::Env;
use crate::{platform, registry};

/// A file of settings, or nothing where the environment leads to none.
type Files = Vec<PathBuf>;

/// The helper that stands for the files with passwords.
const AUTH_FILES: &str = "containers-auth.json";

/// The variable that names registries.conf.
pub const REGISTRIES_CONF: &str = "CONTAINERS_REGISTRIES_CONF";

/// The longest time for a program to tell its version.
const LIMIT: Duration = Duration::from_secs(2);

/// The rules by which settings are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The time of the program.
    pub era: Era,
    /// Whether it is podman, which alone heeded `CONTAINERS_REGISTRIES_CONF` before podman 6.
    pub program: Program,
}

/// Who reads the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// podman.
    Podman,
    /// buildah or skopeo.
    Other,
}

/// The times at which the rules changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Those up to podman 4.3, as Debian 12 has it.
    UpTo43,
    /// Those up to podman 5.
    UpTo5,
    /// Those from podman 6 on.
    From6,
}

/// The programs that read the settings: each with the first versions of [`Era::UpTo5`] and of [`Era::From6`].
const PROGRAMS: [(&str, Program, [[u32; 2]; 2]); 3] = [
    ("podman", Program::Podman, [[4, 4], [6, 0]]),
    ("buildah", Program::Other, [[1, 29], [1, 44]]),
    ("skopeo", Program::Other, [[1, 11], [1, 23]]),
];

/// The first of the programs that is on the PATH.
pub fn program(env: &Env) -> Option<PathBuf> {
    PROGRAMS.iter().find_map(|(name, ..)| client_config::on_path(env, name))
}

impl Rules {
    /// The rules of the first program on the PATH, by its version, which is asked for once; the newer ones where there is none.
    pub fn of_installed(env: &Env) -> Self {
        static FOUND: OnceLock<Rules> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let installed =
                |&(name, program, firsts): &(&str, _, _)| Some((client_config::on_path(env, name)?, program, firsts));
            let Some((path, program, [of_5, of_6])) = PROGRAMS.iter().find_map(installed) else {
                return Self { era: Era::From6, program: Program::Podman };
            };
            let era = match printed(env, &path).and_then(|text| version(&text)) {
                Some(version) if version < of_5 => Era::UpTo43,
                Some(version) if version < of_6 => Era::UpTo5,
                _ => Era::From6,
            };
            Self { era, program }
        })
    }
}

/// What a program prints about its version, within [`LIMIT`].
pub fn printed(env: &Env, program: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").env_clear().envs(env.iter()).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().ok()?;
    let mut output = child.stdout.take()?.take(4096);
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let _ = output.read_to_string(&mut text);
        let _ = send.send(text);
    });
    let text = receive.recv_timeout(LIMIT).ok();
    let _ = child.kill();
    let _ = child.wait();
    text
}

/// The first two numbers of a version, e.g. of "podman version 5.8.6".
pub fn version(text: &str) -> Option<[u32; 2]> {
    let word = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}

/// Where they get the credentials of `host`.
pub fn way(env: &Env, rules: Rules, host: &str) -> Result<Lookup, Broken> {
    let mut broken = None;
    for (name, conf) in credential_helpers(env, rules)? {
        if name == AUTH_FILES {
            match way_by_auth_files(env, rules, host) {
                Ok(Lookup::Nothing) => {}
                // Another helper may still answer.
                Err(why) => broken = Some(why),
                found => return found,
            }
        } else if name == HELPER_NAME {
            return Ok(Lookup::Helper(name, "credential-helpers", conf));
        }
        // What any other helper answers is not known here.
    }
    broken.map_or(Ok(Lookup::Nothing), Err)
}

fn way_by_auth_files(env: &Env, rules: Rules, host: &str) -> Result<Lookup, Broken> {
    for path in auth_files(env, rules) {
        let file = read(&path)?;
        if let Some(name) = file.helper(host) {
            return Ok(Lookup::Helper(name.to_owned(), "credHelpers", file.path.clone()));
        }
        if file.has_password(host) {
            return Ok(Lookup::Password(file.path));
        }
    }
    Ok(Lookup::Nothing)
}

/// Reads a file with passwords. One that is there and empty ends the search of these programs, unlike docker's.
fn read(path: &Path) -> Result<AuthFile, Broken> {
    let broken = |what| Broken { path: path.to_owned(), what };
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
        return Err(broken(format!("{} is empty, which is not JSON", path.display())));
    }
    AuthFile::read(path.to_owned()).map_err(broken)
}

/// Every host that a client's file gives to this program, or is meant to, sorted.
pub fn hosts(env: &Env) -> Vec<String> {
    let files = client_config::docker_config(env).into_iter().chain(auth_files(env, Rules::of_installed(env)));
    let files: Vec<AuthFile> = files.filter_map(|path| AuthFile::read(path).ok()).collect();
    let name = |key: &str| registry::host(key).unwrap_or_else(|| key.to_owned());
    let mut hosts: Vec<String> = files.iter().flat_map(AuthFile::meant).map(name).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The files behind `containers-auth.json`, in order. With `DOCKER_CONFIG`, podman and buildah read docker's file alone; skopeo
/// does so only for its own login.
pub fn auth_files(env: &Env, rules: Rules) -> Files {
    let (runtime, home) = (env.path("XDG_RUNTIME_DIR"), env.home());
    let login = || Some(platform::podman_login_dir(runtime.as_deref(), home.as_deref())?.join("auth.json"));
    let named = named_auth_file(env);
    if let (Some(path), Era::UpTo5 | Era::From6) = (&named, rules.era) {
        return vec![path.clone()];
    }
    let config = user_config(env).map(|config| config.join("auth.json"));
    let old = env.home().map(|home| home.join(".dockercfg"));
    [named.or_else(login), config, client_config::docker_config(env), old].into_iter().flatten().collect()
}

/// The one of them that outlives the machine's next start: where an entry belongs.
pub fn lasting_auth_file(env: &Env) -> Option<PathBuf> {
    named_auth_file(env).or_else(|| Some(user_config(env)?.join("auth.json")))
}

/// The file that takes the place of all others.
fn named_auth_file(env: &Env) -> Option<PathBuf> {
    env.path("REGISTRY_AUTH_FILE").or_else(|| Some(env.path("DOCKER_CONFIG")?.join("config.json")))
}

fn user_config(env: &Env) -> Option<PathBuf> {
    let config = env.path("XDG_CONFIG_HOME").or_else(|| Some(env.home()?.join(".config")))?;
    Some(config.join("containers"))
}

/// The user's directory with registries.conf.
fn user_dir(env: &Env, era: Era) -> Option<PathBuf> {
    match era {
        Era::UpTo43 | Era::UpTo5 => Some(env.home()?.join(".config/containers")),
        // Set to nothing, it leads to a relative path.
        Era::From6 if env.is_empty("XDG_CONFIG_HOME") => None,
        Era::From6 => user_config(env),
    }
}

/// The directory of the user's drop-ins.
pub fn drop_ins(env: &Env, era: Era) -> Option<PathBuf> {
    Some(user_dir(env, era)?.join("registries.conf.d"))
}

/// `credential-helpers` of registries.conf and its drop-ins, each with the file that says so.
pub fn credential_helpers(env: &Env, rules: Rules) -> Result<Vec<(String, PathBuf)>, Broken> {
    let mut helpers = Vec::new();
    for path in registries_conf(env, rules)? {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let conf: toml::Table = toml::from_str(&text).map_err(|error| {
            let what = format!("{}: {}", path.display(), error.message());
            Broken { path: path.clone(), what }
        })?;
        if let Some(names) = conf.get("credential-helpers").and_then(toml::Value::as_array) {
            let names = names.iter().filter_map(toml::Value::as_str);
            helpers = names.map(|name| (name.to_owned(), path.clone())).collect();
        }
    }
    if helpers.is_empty() {
        helpers.push((AUTH_FILES.to_owned(), PathBuf::new()));
    }
    Ok(helpers)
}

/// registries.conf and its drop-ins, in the order in which they are read.
fn registries_conf(env: &Env, rules: Rules) -> Result<Files, Broken> {
    let user = user_dir(env, rules.era);
    let named = match rules {
        Rules { era: Era::UpTo43 | Era::UpTo5, program: Program::Other } => None,
        _ => named(env, REGISTRIES_CONF)?,
    };
    let [share, etc] = ["/usr/share/containers", "/etc/containers"].map(PathBuf::from);
    let first = |dirs: &[Option<&PathBuf>]| {
        let mut candidates = dirs.iter().flatten().map(|dir| dir.join("registries.conf"));
        candidates.find(|path| path.exists())
    };
    let mut files: Files = named.clone().into_iter().collect();
    match rules.era {
        Era::UpTo43 | Era::UpTo5 => {
            files.extend(first(&[user.as_ref(), Some(&etc)]).filter(|_| named.is_none()));
            let has_own = named.is_none() && first(&[user.as_ref()]).is_some();
            let dirs = [Some(&etc).filter(|_| !has_own), user.as_ref()];
            for dir in dirs.into_iter().flatten() {
                files.extend(conf_files(&dir.join("registries.conf.d")).into_values());
            }
        }
        Era::From6 => {
            if named.is_none() {
                files.extend(first(&[user.as_ref(), Some(&etc), Some(&share)]));
                let system = [share, etc].into_iter().flat_map(|dir| system_drop_ins(&dir));
                let dirs = system.chain(user.map(|dir| dir.join("registries.conf.d")));
                // Of one name, the last counts.
                let by_name: BTreeMap<OsString, PathBuf> = dirs.flat_map(|dir| conf_files(&dir)).collect();
                files.extend(by_name.into_values());
            }
            files.extend(self::named(env, "CONTAINERS_REGISTRIES_CONF_OVERRIDE")?);
        }
    }
    Ok(files)
}

/// The file that a variable names, which has to be there.
fn named(env: &Env, variable: &str) -> Result<Option<PathBuf>, Broken> {
    match env.os(variable).map(PathBuf::from) {
        Some(path) if !path.exists() => {
            let what = format!("{}, which {variable} names, does not exist", path.display());
            Err(Broken { path, what })
        }
        path => Ok(path),
    }
}

/// Where the system has drop-ins below one of its directories.
fn system_drop_ins(dir: &Path) -> Files {
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

/// The files of a directory that count, by their names.
fn conf_files(dir: &Path) -> BTreeMap<OsString, PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let named = files.map(|entry| (entry.file_name(), entry.path()));
    named.filter(|(name, _)| name.as_encoded_bytes().ends_with(b".conf")).collect()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read_as_the_programs_print_them() {
        for (text, expected) in [
            ("podman version 5.8.6", Some([5, 8])),
            ("podman version 6.1.1-dev\n", Some([6, 1])),
            ("buildah version 1.45.0 (image-spec 1.1.1, runtime-spec 1.2.1)", Some([1, 45])),
            ("skopeo version 1.9.3 commit: x", Some([1, 9])),
            ("", None),
            ("podman", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}
