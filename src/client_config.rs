//! What docker would do for a registry, read from its settings, and the format of files that podman and the like share with it.
//! Nothing is written here; see [`setup`](crate::commands::setup).
//!
//! docker reads one file: an entry of `credHelpers` for exactly the host, else `credsStore`, else the password under
//! `auths` (docker CLI reference, "Credential helpers").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::env::Env;
use crate::{platform, registry};

/// What we are called in the settings of clients.
pub const HELPER_NAME: &str = "ecr-login";

/// More is no file of settings.
const LONGEST: u64 = 16 * 1024 * 1024;

/// The variable that docker from 28.3 on takes passwords from before it looks into its file.
pub const DOCKER_AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";

/// A file that cannot be used.
#[derive(Debug)]
pub struct Broken {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it, the path included.
    pub what: String,
}

impl From<Broken> for String {
    fn from(broken: Broken) -> Self {
        broken.what
    }
}

/// Where a client gets the credentials of a host.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// From the helper of this name, by this setting of this file.
    Helper(String, &'static str, PathBuf),
    /// From a password that a login left in this file.
    Password(PathBuf),
    /// From nowhere.
    Nothing,
}

/// A file of docker's format.
#[derive(Debug, Default)]
pub struct AuthFile {
    /// Where it is.
    pub path: PathBuf,
    content: Map<String, Value>,
}

impl AuthFile {
    /// Reads it; one that does not exist is empty. `Err` says what is wrong.
    pub fn read(path: PathBuf) -> Result<Self, String> {
        let text = text(&path)?;
        if text.trim_ascii().is_empty() {
            return Ok(Self { path, content: Map::new() });
        }
        match serde_json::from_str(&text) {
            Ok(Value::Object(content)) => match wrong_type(&content) {
                None => Ok(Self { path, content }),
                Some(what) => Err(format!("{}: {what}", path.display())),
            },
            Ok(_) => Err(format!("{} is not a JSON object", path.display())),
            // The error's own text may quote a password.
            Err(error) => {
                Err(format!("{}, line {}, column {}: not JSON", path.display(), error.line(), error.column()))
            }
        }
    }

    /// A member, whose name clients match without case, as Go's decoder does.
    fn field(&self, name: &str) -> Option<&Value> {
        let other = || self.content.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        self.content.get(name).or_else(other)
    }

    /// The helper that it names for the host.
    pub fn helper(&self, host: &str) -> Option<&str> {
        self.field("credHelpers")?.get(host)?.as_str().filter(|name| !name.is_empty())
    }

    /// Another key that is meant for the host: with a scheme, a path or capital letters, so that no client finds it.
    pub fn other_spelling(&self, host: &str) -> Option<&str> {
        self.meant().find(|key| *key != host && registry::host(key).as_deref() == Some(host))
    }

    /// The keys that are meant for this program, however they and its name are spelled.
    pub fn meant(&self) -> impl Iterator<Item = &str> {
        let helpers = self.field("credHelpers").and_then(Value::as_object).into_iter().flatten();
        helpers
            .filter(|(_, name)| matches!(name.as_str(), Some(HELPER_NAME | crate::NAME)))
            .map(|(key, _)| key.as_str())
    }

    /// The helper that it names for all registries without an entry of their own.
    pub fn store(&self) -> Option<&str> {
        self.field("credsStore")?.as_str().filter(|name| !name.is_empty())
    }

    /// Whether a password for the host is in it, under any of the spellings that clients use.
    pub fn has_password(&self, host: &str) -> bool {
        let Some(Value::Object(auths)) = self.field("auths") else { return false };
        let holds = |entry: &Value| {
            ["auth", "password", "identitytoken"]
                .iter()
                .any(|field| entry[field].as_str().is_some_and(|s| !s.is_empty()))
        };
        auths.iter().any(|(key, entry)| registry::host(key).is_some_and(|known| known == host) && holds(entry))
    }

    /// The hosts that it gives to us.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let helpers = self.field("credHelpers").and_then(Value::as_object).into_iter().flatten();
        helpers.filter(|(_, name)| name.as_str() == Some(HELPER_NAME)).map(|(host, _)| host.as_str())
    }
}

/// What clients, which decode the file into types of Go, refuse in it.
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

/// What is in a file of settings, nothing when there is none. `Err` says what is wrong with it.
pub fn text(path: &Path) -> Result<String, String> {
    let failed = |what: &str| format!("{} cannot be read: {what}", path.display());
    match fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) => return Err(failed(&error.to_string())),
        Ok(metadata) if !metadata.is_file() => return Err(failed("it is not a regular file")),
        Ok(metadata) if metadata.len() > LONGEST => return Err(failed("it is longer than 16 MiB")),
        Ok(_) => {}
    }
    let bytes = fs::read(path).map_err(|error| failed(&error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8"))
}

/// Docker's config.json; `None` without a home.
pub fn docker_config(env: &Env) -> Option<PathBuf> {
    let dir = env.path("DOCKER_CONFIG").or_else(|| Some(env.home()?.join(".docker")))?;
    Some(dir.join("config.json"))
}

/// Where docker gets the credentials of `host`.
pub fn docker(env: &Env, host: &str) -> Result<Lookup, Broken> {
    let Some(path) = docker_config(env) else { return Ok(Lookup::Nothing) };
    let file = read(path)?;
    Ok(match (file.helper(host), file.store()) {
        (Some(name), _) => Lookup::Helper(name.to_owned(), "credHelpers", file.path.clone()),
        (None, Some(name)) => Lookup::Helper(name.to_owned(), "credsStore", file.path.clone()),
        (None, None) if file.has_password(host) => Lookup::Password(file.path),
        (None, None) => Lookup::Nothing,
    })
}

fn read(path: PathBuf) -> Result<AuthFile, Broken> {
    AuthFile::read(path.clone()).map_err(|what| Broken { path, what })
}

/// Whether `DOCKER_AUTH_CONFIG` has a password for the host.
pub fn is_in_auth_config(env: &Env, host: &str) -> bool {
    let content = env.text(DOCKER_AUTH_CONFIG).and_then(|text| serde_json::from_str(text).ok());
    content.is_some_and(|content| AuthFile { path: PathBuf::new(), content }.has_password(host))
}

/// Where the PATH leads to for a program.
pub fn on_path(env: &Env, program: &str) -> Option<PathBuf> {
    let path = env.os("PATH")?;
    let endings = env.program_endings();
    std::env::split_paths(path).map(|dir| dir.join(program)).find_map(|path| platform::executable(&path, &endings))
}
