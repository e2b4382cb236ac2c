//! A file in the format of docker's config.json, which podman and others share with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;

use super::environment::is_login;
use super::members::Members;
use super::settings_file::{bytes, invalid};
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
    /// What docker stops at, with every command.
    pub stops_docker: Option<&'static str>,
    /// The file has no text, or does not exist.
    pub is_blank: bool,
    /// What is wrong with a text behind the object, which docker does not read.
    pub text_behind: Option<String>,
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
        // Go's decoder replaces in strings what is not UTF-8.
        let bytes = bytes(env, &path)?;
        let text = String::from_utf8_lossy(&bytes);
        let is_old = path.file_name().is_some_and(|name| name == DOCKERCFG);
        let read = |members: Members<'_>| {
            if is_old { Ok(Self::old(members.0.into_iter().collect())) } else { Self::new(&members) }
        };
        let mut text_behind = None;
        let parsed = parse(&text).or_else(|what| {
            let first = serde_json::Deserializer::from_str(&text).into_iter().next();
            text_behind = Some(what.clone());
            first.and_then(Result::ok).ok_or(what)
        });
        match parsed.and_then(read) {
            Ok(file) => Ok(Arc::new(Self { path, is_blank: bytes.trim_ascii().is_empty(), text_behind, ..file })),
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
        let helpers = members.object("credHelpers", "an object of texts")?;
        let store = members.text("credsStore").unwrap_or_default();
        let wrong_type =
            members.0.iter().find_map(|(key, value)| wrong_type(key, value)).or_else(|| wrong_login(auths.values()));
        let aliases: BTreeMap<String, &RawValue> = members.object("aliases", "").unwrap_or_default();
        let is_allowed = |(key, value): (&String, &&RawValue)| {
            key == "builder" && value.get().len() > 2 && value.get().starts_with('"')
        };
        let stops_docker = (!aliases.iter().all(is_allowed))
            .then_some("aliases may only name what 'builder' stands for, and docker stops at anything else");
        let file = Self { helpers, store, misspelt_member, wrong_type, stops_docker, ..Self::old(auths) };
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

    /// Reports whether `credHelpers` has an entry for the host without a name: docker then calls no helper, and podman stops.
    pub fn names_no_helper(&self, host: &str) -> bool {
        self.helpers.contains_key(host) && self.helper(host).is_none()
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
        let parsed = Host::parse(host);
        parsed.and_then(|host| self.passwords.get(&host)).map_or(&[], Vec::as_slice)
    }
}

/// Parses the text of a file, which may be blank or null. The error says what docker does not read, and quotes nothing, since the
/// text may hold passwords.
pub fn parse(text: &str) -> Result<Members<'_>, String> {
    if text.trim_ascii().is_empty() {
        return Ok(Members(Vec::new()));
    }
    let error = match serde_json::from_str::<Option<_>>(text) {
        Ok(content) => return Ok(content.unwrap_or(Members(Vec::new()))),
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

/// Describes a login that docker does not read, and warns of.
fn wrong_login<'a>(mut auths: impl Iterator<Item = &'a &'a RawValue>) -> Option<String> {
    let what = auths.find_map(|entry| {
        let login: Members = serde_json::from_str::<Option<_>>(entry.get()).ok()??;
        let wrong =
            ["username", "password", "email", "serveraddress", "registrytoken"].map(|name| login.text(name).err());
        let auth = login.text("auth").ok().filter(|auth| !auth.is_empty() && !is_login(auth));
        wrong
            .into_iter()
            .flatten()
            .next()
            .or_else(|| auth.map(|_| "auth is not the base64 of USER:PASSWORD".to_owned()))
    });
    what.map(|what| format!("in auths, {what}"))
}

/// A type that docker expects.
#[derive(Clone, Copy)]
enum Type {
    Text,
    List,
    Object,
    ObjectOfObjects,
}

/// The members of docker's file but `auths` and `credHelpers` (docker CLI, `cli/config/configfile/file.go`).
const TYPES: [(Type, &[&str]); 4] = [
    (
        Type::Text,
        &[
            "configFormat",
            "credsStore",
            "currentContext",
            "detachKeys",
            "experimental",
            "imagesFormat",
            "networksFormat",
            "nodesFormat",
            "pluginsFormat",
            "psFormat",
            "secretFormat",
            "serviceInspectFormat",
            "servicesFormat",
            "statsFormat",
            "tasksFormat",
            "volumesFormat",
        ],
    ),
    (Type::List, &["cliPluginsExtraDirs", "pruneFilters"]),
    (Type::Object, &["aliases", "features", "HttpHeaders"]),
    (Type::ObjectOfObjects, &["plugins", "proxies"]),
];

/// Describes a member of another type than docker expects.
fn wrong_type(name: &str, value: &RawValue) -> Option<String> {
    let is_known = |(_, names): &&(Type, &[&str])| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let (expected, _) = TYPES.iter().find(is_known)?;
    let kind = match expected {
        Type::Text => "a string",
        Type::List => "a list of strings",
        Type::Object => "an object of strings",
        Type::ObjectOfObjects => "an object of objects of strings",
    };
    (!expected.fits(value)).then(|| format!("{name} is not {kind}"))
}

impl Type {
    /// Whether a value is of this type. null is a value of any type.
    fn fits(self, value: &RawValue) -> bool {
        let holds = |inner: Self| {
            let members = serde_json::from_str::<Option<Members>>(value.get());
            members.is_ok_and(|all| all.is_none_or(|all| all.0.iter().all(|(_, value)| inner.fits(value))))
        };
        match self {
            Self::Text => value.get().starts_with(['"', 'n']),
            Self::List => serde_json::from_str::<Option<Vec<Option<String>>>>(value.get()).is_ok(),
            Self::Object => holds(Self::Text),
            Self::ObjectOfObjects => holds(Self::Object),
        }
    }
}

/// The host that a key of `credHelpers` means, if no client looks the key up: it has a scheme, a path, capital letters, blanks
/// or a dot at the end. A port is part of the key that clients look up.
pub fn misspelt_host(key: &str) -> Option<Host> {
    let is_ignored =
        key.ends_with('.') || key.contains(|c: char| c == '/' || c.is_ascii_uppercase() || c.is_whitespace());
    Host::parse(key.trim()).filter(|_| is_ignored)
}
