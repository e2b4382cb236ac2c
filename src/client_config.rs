//! Where docker gets the credentials of a registry, read from its settings, and the file format that podman and others share
//! with it. This module writes nothing; see [`setup`](crate::commands::setup).
//!
//! docker reads one file, and from version 28.3 on first the variable `DOCKER_AUTH_CONFIG`: an entry of `credHelpers` for exactly the host, else `credsStore`, else the password under
//! `auths` (docker CLI reference, "Credential helpers").

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::platform::{Destination, shell_word};
use crate::registry::Host;

/// The helper's name in the settings of clients.
pub const HELPER_NAME: &str = "ecr-login";

/// The size limit of a settings file.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The name of docker's file before version 1.7, which podman still reads.
pub const DOCKERCFG: &str = ".dockercfg";

/// The variable from which docker 28.3 and later takes passwords before it reads its file.
pub const DOCKER_AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";

/// Where a client gets the credentials of a host.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The client calls a credential helper.
    Helper {
        /// The helper's name, without `docker-credential-`.
        name: String,
        /// The setting that names it.
        setting: &'static str,
        /// The file with this setting.
        file: PathBuf,
    },
    /// The client uses a password that a login left in this file.
    Password(PathBuf),
    /// The client has no credentials.
    Nothing,
}

/// A settings file in docker's format.
#[derive(Debug, Default)]
pub struct AuthFile {
    /// The path that it was read from.
    pub path: PathBuf,
    content: Map<String, Value>,
}

impl AuthFile {
    /// Reads the file. A file that does not exist counts as empty. `.dockercfg` holds what other files have below `auths`.
    pub fn read(path: PathBuf) -> Result<Self, Failure> {
        let file = Self::read_object(path)?;
        if file.path.file_name().is_some_and(|name| name == DOCKERCFG) {
            let content = Map::from_iter([("auths".to_owned(), Value::Object(file.content))]);
            return Ok(Self { content, ..file });
        }
        match wrong_type(&file.content) {
            None => Ok(file),
            Some(what) => Err(invalid(&file.path, format!("{}: {what}", file.path.display()))),
        }
    }

    fn read_object(path: PathBuf) -> Result<Self, Failure> {
        let text = text(&path)?;
        if text.trim_ascii().is_empty() {
            return Ok(Self { path, content: Map::new() });
        }
        match serde_json::from_str(&text) {
            Ok(Value::Object(content)) => Ok(Self { path, content }),
            Ok(_) => Err(invalid(&path, format!("{} is not a JSON object", path.display()))),
            Err(_) if text.starts_with('\u{feff}') => {
                let what = format!("{} begins with a byte-order mark, which docker does not read", path.display());
                Err(invalid(&path, what))
            }
            // The error's own text may quote a password.
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                Err(invalid(&path, format!("{}, line {line}, column {column}: not JSON", path.display())))
            }
        }
    }

    /// Returns a member. Clients match its name without case, as Go's decoder does.
    fn field(&self, name: &str) -> Option<&Value> {
        let other = || self.content.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        self.content.get(name).or_else(other)
    }

    /// Returns the helper that `credHelpers` names for the host.
    pub fn helper(&self, host: &str) -> Option<&str> {
        self.field("credHelpers")?.get(host)?.as_str().filter(|name| !name.is_empty())
    }

    /// Returns a key for the host that no client finds: one with a scheme, a path or capital letters.
    pub fn misspelt_key(&self, host: &str) -> Option<&str> {
        self.helper_keys().find(|key| is_misspelling(key, host))
    }

    /// Returns a member that no client reads, and the one that its name is meant for.
    pub fn misspelt_member(&self) -> Option<(&str, &'static str)> {
        self.content.keys().find_map(|key| {
            let lower = key.to_ascii_lowercase();
            let is_read = ["credsstore", "credhelpers"].contains(&lower.as_str());
            let meant = if lower.contains("store") { "credsStore" } else { "credHelpers" };
            (lower.starts_with("cred") && !is_read).then_some((key.as_str(), meant))
        })
    }

    /// Returns the keys of all entries.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.field("credHelpers").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.as_str())
    }

    /// Returns the keys of all entries that name the helper, in any spelling of the key and of the name.
    pub fn helper_keys(&self) -> impl Iterator<Item = &str> {
        let helpers = self.field("credHelpers").and_then(Value::as_object).into_iter().flatten();
        helpers
            .filter(|(_, name)| matches!(name.as_str(), Some(HELPER_NAME | crate::NAME)))
            .map(|(key, _)| key.as_str())
    }

    /// Returns the helper that `credsStore` names for all registries without an entry of their own.
    pub fn store(&self) -> Option<&str> {
        self.field("credsStore")?.as_str().filter(|name| !name.is_empty())
    }

    /// Reports whether the file holds a password for the host, in any of the spellings that docker uses.
    pub fn has_password(&self, host: &str) -> bool {
        self.passwords().any(|key| Host::parse(key).is_some_and(|known| *known == *host))
    }

    /// Returns the keys of the passwords.
    pub fn passwords(&self) -> impl Iterator<Item = &str> {
        let auths = self.field("auths").and_then(Value::as_object).into_iter().flatten();
        let holds = |entry: &Value| {
            ["auth", "password", "identitytoken"]
                .iter()
                .any(|field| entry[field].as_str().is_some_and(|s| !s.is_empty()))
        };
        auths.filter(move |(_, entry)| holds(entry)).map(|(key, _)| key.as_str())
    }

    /// Returns the keys for which clients call the helper.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let helpers = self.field("credHelpers").and_then(Value::as_object).into_iter().flatten();
        helpers.filter(|(_, name)| name.as_str() == Some(HELPER_NAME)).map(|(host, _)| host.as_str())
    }
}

/// Finds a member with a type that clients refuse, since they decode the file into Go types.
fn wrong_type(content: &Map<String, Value>) -> Option<String> {
    let is_map_of = |value: &Value, is_right: fn(&Value) -> bool| match value {
        Value::Object(members) => members.values().all(|member| member.is_null() || is_right(member)),
        value => value.is_null(),
    };
    content.iter().find_map(|(key, value)| {
        let (is_right, kind) = match key.to_ascii_lowercase().as_str() {
            "credhelpers" => (is_map_of(value, Value::is_string), "an object of texts"),
            "auths" => (is_map_of(value, Value::is_object), "an object of objects"),
            "credsstore" => (value.is_string() || value.is_null(), "a text"),
            _ => return None,
        };
        (!is_right).then(|| format!("{key} is not {kind}"))
    })
}

/// Reads the text of a settings file. A file that does not exist counts as empty.
pub fn text(path: &Path) -> Result<String, Failure> {
    match fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) => return Err(unreadable(path, &error)),
        Ok(metadata) if !metadata.is_file() => return Err(unusable(path, "it is not a regular file")),
        Ok(metadata) if metadata.len() > LARGEST => return Err(unusable(path, "it exceeds the 16 MiB limit")),
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    String::from_utf8(bytes).map_err(|_| unusable(path, "it is not UTF-8"))
}

/// Reads the text of the settings file at `path` where it is to be written. A file that does not exist counts as empty.
pub fn text_at(destination: &Destination, path: &Path) -> Result<String, Failure> {
    let bytes = destination.read(LARGEST).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => unusable(path, "it exceeds the 16 MiB limit"),
        _ => unreadable(path, &error),
    })?;
    let text = bytes.as_ref().map_or(Ok(""), |bytes| std::str::from_utf8(bytes));
    text.map(str::to_owned).map_err(|_| unusable(path, "it is not UTF-8"))
}

/// The failure for a settings file that the system does not let this user read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return unusable(path, &error.to_string());
    }
    let is_closed =
        |path: &Path| fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    if !is_closed(path) {
        let what = format!("{} belongs to another user, and this user has no permission to read it", path.display());
        return Failure::new(Code::ClientConfigUnreadable, what, give_back("", path));
    }
    // After 'sudo docker login' the directory may belong to root too, and then the file cannot even be looked up.
    let dir = path.ancestors().skip(1).find(|dir| !is_closed(dir)).unwrap_or(path);
    let what = format!("{} belongs to another user, and this user has no permission to enter it", dir.display());
    // podman's directory for users without a login session.
    let hint = if dir.starts_with("/run") {
        "set XDG_RUNTIME_DIR to a directory of this user, e.g. by logging in without su or sudo".to_owned()
    } else {
        give_back("-R ", dir)
    };
    Failure::new(Code::ClientConfigUnreadable, what, hint)
}

/// Whether a key of `credHelpers` means the host, but no client looks it up: it has a scheme, a path, capital letters or a
/// dot at the end. A port is part of the key that clients look up.
pub fn is_misspelling(key: &str, host: &str) -> bool {
    let is_ignored = key.contains('/') || key.ends_with('.') || key.bytes().any(|byte| byte.is_ascii_uppercase());
    is_ignored && Host::parse(key).as_deref() == Some(host)
}

/// Describes how to make this user the owner again.
fn give_back(option: &str, path: &Path) -> String {
    let path = path.display().to_string();
    if cfg!(windows) {
        return format!("give it back as an administrator: 'icacls {} /reset'", shell_word(&path));
    }
    format!("change its owner: 'sudo chown {option}\"$(id -un)\" {}'", shell_word(&path))
}

fn unusable(path: &Path, why: &str) -> Failure {
    invalid(path, format!("{} cannot be read: {why}", path.display()))
}

/// Returns the failure for a settings file whose content no client can use either.
pub(crate) fn invalid(path: &Path, what: String) -> Failure {
    let word = |path: &Path| shell_word(&path.display().to_string()).into_owned();
    let hint = if path.is_dir() {
        format!("remove it: 'rmdir {}'", word(path))
    } else {
        format!("correct it, or move it out of the way: 'mv {} {}'", word(path), word(&path.with_extension("broken")))
    };
    Failure::new(Code::ClientConfigInvalid, what, hint)
}

/// Returns the path of docker's config.json; `None` without a home directory.
pub fn docker_config(env: &Env) -> Option<PathBuf> {
    let dir = env.path("DOCKER_CONFIG").or_else(|| Some(env.home()?.join(".docker")))?;
    Some(dir.join("config.json"))
}

/// Finds where docker gets the credentials of `host`.
pub fn docker_lookup(env: &Env, host: &str) -> Result<Lookup, Failure> {
    let Some(path) = docker_config(env) else { return Ok(Lookup::Nothing) };
    let file = AuthFile::read(path)?;
    let found = |name: &str, setting| Lookup::Helper { name: name.to_owned(), setting, file: file.path.clone() };
    Ok(match (file.helper(host), file.store()) {
        (Some(name), _) => found(name, "credHelpers"),
        (None, Some(name)) => found(name, "credsStore"),
        (None, None) if file.has_password(host) => Lookup::Password(file.path),
        (None, None) => Lookup::Nothing,
    })
}

/// What docker 28.3 and later read in `DOCKER_AUTH_CONFIG` (docker CLI, `cli/config/configfile/file.go`).
#[derive(Debug, PartialEq, Eq)]
pub enum EnvironmentPasswords {
    /// The hosts that it has a password for, as docker looks them up. Empty if the variable is not set.
    Hosts(BTreeSet<String>),
    /// docker complains about it with every command, and goes on as if it were not set.
    Refused,
}

impl EnvironmentPasswords {
    /// Reads the variable.
    pub fn read(env: &Env) -> Self {
        let hosts = || -> Option<BTreeSet<String>> {
            let text = env.text(DOCKER_AUTH_CONFIG).unwrap_or("{}");
            // Go's decoder takes null for an empty object, and ignores the case of names; docker has it refuse other names.
            let content: Option<Map<String, Value>> = serde_json::from_str(text).ok()?;
            let mut hosts = BTreeSet::new();
            for (name, auths) in content.unwrap_or_default() {
                if !name.eq_ignore_ascii_case("auths") {
                    return None;
                }
                let auths: Option<Map<String, Value>> = serde_json::from_value(auths).ok()?;
                for (host, entry) in auths.unwrap_or_default() {
                    let members = entry.as_object().filter(|members| members.len() == 1)?;
                    let (name, auth) = members.iter().next()?;
                    let decoded = Zeroizing::new(BASE64_STANDARD.decode(auth.as_str()?).ok()?);
                    let has_user = decoded.iter().position(|byte| *byte == b':').is_some_and(|end| end > 0);
                    if !name.eq_ignore_ascii_case("auth") || !has_user {
                        return None;
                    }
                    hosts.insert(host);
                }
            }
            Some(hosts)
        };
        hosts().map_or(Self::Refused, Self::Hosts)
    }

    /// Whether docker uses a password of the variable for the host.
    pub fn have(&self, host: &str) -> bool {
        matches!(self, Self::Hosts(hosts) if hosts.contains(host))
    }
}
