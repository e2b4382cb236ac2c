//! A file in the format of docker's config.json, which podman and others share with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;

use super::members::Members;
use super::settings_file::{invalid, text};
use crate::NAME;
use crate::env::Env;
use crate::error::Failure;
use crate::platform;
use crate::registry::Host;

/// The helper's name in the settings of clients.
pub const HELPER_NAME: &str = "ecr-login";

/// The name of docker's file before version 1.7, which podman still reads.
pub const DOCKERCFG: &str = ".dockercfg";

/// What clients read of a settings file in docker's format, and nothing else, since that may be anything.
#[derive(Debug, Default)]
pub struct AuthFile {
    /// The path that it was read from.
    pub path: PathBuf,
    /// `credHelpers`.
    pub helpers: BTreeMap<String, Option<String>>,
    /// `credsStore`.
    store: String,
    /// The keys of `auths` with a password, by the host that they mean in any of the spellings that docker uses. Of thousands
    /// of hosts, each is looked up.
    pub passwords: BTreeMap<Host, Vec<String>>,
    /// A key of `credHelpers` that names the helper for the host and that no client finds: it has a scheme, a path or capital
    /// letters.
    pub misspelt_keys: BTreeMap<Host, String>,
    /// A member that no client reads, and the one that its name is meant for.
    pub misspelt_member: Option<(String, &'static str)>,
    /// What is of another type than docker expects, which then warns with every command and goes on. cosign stops.
    pub wrong_type: Option<String>,
}

/// A file with the state in which it was read.
type Known = ([u64; 5], Arc<AuthFile>);

/// The files that were read: `doctor` asks about each of the thousands of registries that one may name.
static READ: Mutex<BTreeMap<PathBuf, Known>> = Mutex::new(BTreeMap::new());

impl AuthFile {
    /// Reads the file, unless it is as it was when it was read before. A file that does not exist counts as empty.
    pub fn read(env: &Env, path: PathBuf) -> Result<Arc<Self>, Failure> {
        let Ok(state) = fs::metadata(&path).map(|metadata| platform::file_state(&metadata)) else {
            return Self::read_anew(env, path);
        };
        let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
        match read.get(&path) {
            Some((before, file)) if *before == state => Ok(file.clone()),
            _ => {
                let file = Self::read_anew(env, path.clone())?;
                read.insert(path, (state, file.clone()));
                Ok(file)
            }
        }
    }

    /// Reads the file.
    fn read_anew(env: &Env, path: PathBuf) -> Result<Arc<Self>, Failure> {
        let text = text(env, &path)?;
        let is_old = path.file_name().is_some_and(|name| name == DOCKERCFG);
        let read = |members: Members<'_>| {
            if is_old { Ok(Self::old(members.0.into_iter().collect())) } else { Self::new(&members) }
        };
        match parse(&text).and_then(read) {
            Ok(file) => Ok(Arc::new(Self { path, ..file })),
            Err(what) => Err(invalid(env, &path, format!("{}: {what}", path.display()))),
        }
    }

    fn new(members: &Members<'_>) -> Result<Self, String> {
        let auths: BTreeMap<String, &RawValue> = members.object("auths", "an object of objects")?;
        auths.values().try_for_each(|entry| holds_password(entry).map(drop))?;
        let misspelt_member = members.0.iter().find_map(|(key, _)| {
            let lower = key.to_ascii_lowercase();
            let is_read = ["credsstore", "credhelpers"].contains(&lower.as_str());
            let meant = if lower.contains("store") { "credsStore" } else { "credHelpers" };
            (lower.starts_with("cred") && !is_read).then(|| (key.clone(), meant))
        });
        let (helpers, store) = (members.object("credHelpers", "an object of texts")?, members.text("credsStore")?);
        let wrong_type = members.0.iter().find_map(|(key, value)| wrong_type(key, value));
        let file = Self { helpers, store, misspelt_member, wrong_type, ..Self::old(auths) };
        let misspelt_keys = file.helper_keys().filter_map(|key| Some((misspelt_host(key)?, key.to_owned()))).collect();
        Ok(Self { misspelt_keys, ..file })
    }

    /// Of `.dockercfg`, which holds what other files have below `auths`.
    fn old(auths: BTreeMap<String, &RawValue>) -> Self {
        let mut passwords: BTreeMap<Host, Vec<String>> = BTreeMap::new();
        for (key, _) in auths.into_iter().filter(|(_, entry)| holds_password(entry) == Ok(true)) {
            if let Some(host) = Host::parse(&key) {
                passwords.entry(host).or_default().push(key);
            }
        }
        Self { passwords, ..Self::default() }
    }

    /// Returns the keys of the entries of `credHelpers` that name one of these helpers.
    fn keys_of(&self, names: &'static [&str]) -> impl Iterator<Item = &str> {
        let is_named = |name: &Option<String>| name.as_deref().is_some_and(|name| names.contains(&name));
        self.helpers.iter().filter(move |(_, name)| is_named(name)).map(|(key, _)| key.as_str())
    }

    /// Returns the helper that `credHelpers` names for the host.
    pub fn helper(&self, host: &str) -> Option<&str> {
        self.helpers.get(host)?.as_deref().filter(|name| !name.is_empty())
    }

    /// Returns the helper that `credsStore` names for all registries without an entry of their own.
    pub fn store(&self) -> Option<&str> {
        Some(self.store.as_str()).filter(|name| !name.is_empty())
    }

    /// Returns the keys of all entries that name the helper, in any spelling of the key and of the name.
    pub fn helper_keys(&self) -> impl Iterator<Item = &str> {
        self.keys_of(&[HELPER_NAME, NAME])
    }

    /// Returns the keys for which clients call the helper. No client looks up a key with a scheme, a path or capital letters.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.keys_of(&[HELPER_NAME]).filter(|key| Host::parse(key).as_deref() == Some(key))
    }

    /// Returns the keys of the passwords for a host.
    pub fn passwords_for(&self, host: &str) -> &[String] {
        self.passwords.get(host).map_or(&[], Vec::as_slice)
    }
}

/// Parses the text of a file, which may be blank. The error says what docker does not read, and quotes nothing, since the
/// text may hold passwords.
pub fn parse(text: &str) -> Result<Members<'_>, String> {
    if text.trim_ascii().is_empty() {
        return Ok(Members(Vec::new()));
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

/// Whether an entry of `auths` holds a password. The error is what all clients but docker stop at.
fn holds_password(entry: &RawValue) -> Result<bool, String> {
    let fields = serde_json::from_str::<Option<Members>>(entry.get());
    let fields = fields.map_err(|_| "auths is not an object of objects")?.unwrap_or(Members(Vec::new()));
    let texts = ["auth", "identitytoken"].map(|name| fields.text(name));
    for text in texts {
        if !text.map_err(|what| format!("in auths, {what}"))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(fields.text("password").is_ok_and(|text| !text.is_empty()))
}

/// Describes a member of another type than docker expects, of those that people write (docker CLI, `cli/config/configfile/file.go`).
fn wrong_type(name: &str, value: &RawValue) -> Option<String> {
    let levels = match name.to_ascii_lowercase().as_str() {
        "currentcontext" | "detachkeys" | "experimental" | "psformat" | "imagesformat" | "statsformat" => 0,
        "aliases" | "httpheaders" => 1,
        "plugins" | "proxies" => 2,
        _ => return None,
    };
    let kind = ["a string", "an object of strings", "an object of objects of strings"][levels];
    (!holds_texts(value, levels)).then(|| format!("{name} is not {kind}"))
}

/// Whether a value is a text, or an object of so many levels of texts. null is a value of any type.
fn holds_texts(value: &RawValue, levels: usize) -> bool {
    let holds = |members: Members| members.0.iter().all(|(_, value)| holds_texts(value, levels - 1));
    match levels {
        0 => value.get().starts_with(['"', 'n']),
        _ => serde_json::from_str::<Option<Members>>(value.get()).is_ok_and(|members| members.is_none_or(holds)),
    }
}

/// The host that a key of `credHelpers` means, if no client looks the key up: it has a scheme, a path, capital letters, blanks
/// or a dot at the end. A port is part of the key that clients look up.
pub fn misspelt_host(key: &str) -> Option<Host> {
    let is_ignored =
        key.ends_with('.') || key.contains(|c: char| c == '/' || c.is_ascii_uppercase() || c.is_whitespace());
    Host::parse(key.trim()).filter(|_| is_ignored)
}
