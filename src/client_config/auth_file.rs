//! A file in the format of docker's config.json, which podman and others share with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::settings_file::{invalid, text};
use crate::NAME;
use crate::error::Failure;
use crate::platform;
use crate::registry::Host;

/// The helper's name in the settings of clients.
pub const HELPER_NAME: &str = "ecr-login";

/// The name of docker's file before version 1.7, which podman still reads.
pub const DOCKERCFG: &str = ".dockercfg";

/// A settings file in docker's format.
#[derive(Clone, Debug, Default)]
pub struct AuthFile {
    /// The path that it was read from.
    pub path: PathBuf,
    content: Arc<Map<String, Value>>,
}

/// The files that were read, each with its state: `doctor` asks about each of the thousands of registries that one may name.
static READ: Mutex<BTreeMap<PathBuf, ([u64; 5], AuthFile)>> = Mutex::new(BTreeMap::new());

impl AuthFile {
    /// Reads the file, unless it is as it was when it was read before. A file that does not exist counts as empty.
    pub fn read(path: PathBuf) -> Result<Self, Failure> {
        let Ok(state) = fs::metadata(&path).map(|metadata| platform::file_state(&metadata)) else {
            return Self::read_anew(path);
        };
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        match read.get(&path) {
            Some((before, file)) if *before == state => Ok(file.clone()),
            _ => {
                let file = Self::read_anew(path.clone())?;
                read.insert(path, (state, file.clone()));
                Ok(file)
            }
        }
    }

    /// Reads the file. `.dockercfg` holds what other files have below `auths`.
    fn read_anew(path: PathBuf) -> Result<Self, Failure> {
        let text = text(&path)?;
        let content = parse(&text).map_err(|what| invalid(&path, format!("{}: {what}", path.display())))?;
        if path.file_name().is_some_and(|name| name == DOCKERCFG) {
            let content = Arc::new(Map::from_iter([("auths".to_owned(), Value::Object(content))]));
            return Ok(Self { path, content });
        }
        match wrong_type(&content) {
            None => Ok(Self { path, content: Arc::new(content) }),
            Some(what) => Err(invalid(&path, format!("{}: {what}", path.display()))),
        }
    }

    /// Returns a member. Clients match its name without case, as Go's decoder does.
    fn field(&self, name: &str) -> Option<&Value> {
        let other = || self.content.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        self.content.get(name).or_else(other)
    }

    /// Returns the entries of a member that is an object.
    fn entries(&self, name: &str) -> impl Iterator<Item = (&str, &Value)> {
        let entries = self.field(name).and_then(Value::as_object).into_iter().flatten();
        entries.map(|(key, value)| (key.as_str(), value))
    }

    /// Returns the helper that `credHelpers` names for the host.
    pub fn helper(&self, host: &str) -> Option<&str> {
        self.field("credHelpers")?.get(host)?.as_str().filter(|name| !name.is_empty())
    }

    /// Returns the helper that `credsStore` names for all registries without an entry of their own.
    pub fn store(&self) -> Option<&str> {
        self.field("credsStore")?.as_str().filter(|name| !name.is_empty())
    }

    /// Returns a key for the host that no client finds: one with a scheme, a path or capital letters.
    pub fn misspelt_key(&self, host: &str) -> Option<&str> {
        self.helper_keys().find(|key| misspelt_host(key).as_deref() == Some(host))
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

    /// Returns the keys of all entries of `credHelpers`.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries("credHelpers").map(|(key, _)| key)
    }

    /// Returns the keys of all entries that name the helper, in any spelling of the key and of the name.
    pub fn helper_keys(&self) -> impl Iterator<Item = &str> {
        self.entries("credHelpers")
            .filter(|(_, name)| [HELPER_NAME, NAME].map(Some).contains(&name.as_str()))
            .map(|(key, _)| key)
    }

    /// Returns the keys for which clients call the helper. No client looks up a key with a scheme, a path or capital letters.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let entries = self.entries("credHelpers").filter(|(_, name)| name.as_str() == Some(HELPER_NAME));
        entries.map(|(key, _)| key).filter(|key| Host::parse(key).as_deref() == Some(key))
    }

    /// Returns the keys of the passwords.
    pub fn passwords(&self) -> impl Iterator<Item = &str> {
        let holds = |entry: &Value, field: &str| entry[field].as_str().is_some_and(|text| !text.is_empty());
        let fields = ["auth", "password", "identitytoken"];
        self.entries("auths")
            .filter(move |(_, entry)| fields.iter().any(|field| holds(entry, field)))
            .map(|(key, _)| key)
    }

    /// Returns the hosts that the file holds passwords for, in any of the spellings that docker uses.
    pub fn password_hosts(&self) -> BTreeSet<Host> {
        self.passwords().filter_map(Host::parse).collect()
    }
}

/// Parses the text of a file, which may be blank. The error says what docker does not read, and quotes nothing, since the
/// text may hold passwords.
pub fn parse(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let error = match serde_json::from_str(text) {
        Ok(content) => return Ok(content),
        Err(error) if error.is_data() => return Err("not a JSON object".to_owned()),
        Err(error) => error,
    };
    let line: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let (before, at) = text.split_at_checked(line + error.column().saturating_sub(1)).unwrap_or((text, ""));
    let why = if at.starts_with("//") || at.starts_with("/*") {
        ": a comment, which docker does not read"
    } else if at.starts_with(['}', ']']) && before.trim_end().ends_with(',') {
        ": a comma after the last member, which docker does not read"
    } else if at.starts_with('\u{feff}') {
        ": a byte-order mark, which docker does not read"
    } else {
        ""
    };
    Err(format!("line {}, column {}: not JSON{why}", error.line(), error.column()))
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

/// The host that a key of `credHelpers` means, if no client looks the key up: it has a scheme, a path, capital letters or a
/// dot at the end. A port is part of the key that clients look up.
pub fn misspelt_host(key: &str) -> Option<Host> {
    let is_ignored = key.contains('/') || key.ends_with('.') || key.bytes().any(|byte| byte.is_ascii_uppercase());
    Host::parse(key).filter(|_| is_ignored)
}
