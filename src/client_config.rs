//! What docker, podman and the like would do for a registry, read from their settings. Nothing is written here; see
//! [`setup`](crate::setup).
//!
//! docker reads one file: an entry of `credHelpers` for exactly the host, else `credsStore`, else the password under
//! `auths` (docker CLI reference, "Credential helpers"). podman, buildah and skopeo ask the helpers that
//! `credential-helpers` in registries.conf names, in order; `containers-auth.json` among them, which is the default,
//! means several files one after the other, docker's last, and in each first `credHelpers`, then `auths`; `credsStore`
//! means nothing to them (containers-auth.json(5), containers-registries.conf(5)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::env::Env;
use crate::{platform, registry};

/// What we are called in the settings of clients.
pub const OURS: &str = "ecr-login";

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
pub enum Way {
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
            Ok(Value::Object(content)) => Ok(Self { path, content }),
            Ok(_) => Err(format!("{} is not a JSON object", path.display())),
            // The error's own text may quote a password.
            Err(error) => {
                Err(format!("{}, line {}, column {}: not JSON", path.display(), error.line(), error.column()))
            }
        }
    }

    /// The helper that it names for the host.
    pub fn helper(&self, host: &str) -> Option<&str> {
        self.content.get("credHelpers")?.get(host)?.as_str().filter(|name| !name.is_empty())
    }

    /// Another key that is meant for the host: with a scheme, a path or capital letters, so that no client finds it.
    pub fn other_spelling(&self, host: &str) -> Option<&str> {
        self.meant().find(|key| *key != host && registry::host(key).as_deref() == Some(host))
    }

    /// The keys that are meant for this program, however they and its name are spelled.
    fn meant(&self) -> impl Iterator<Item = &str> {
        let helpers = self.content.get("credHelpers").and_then(Value::as_object).into_iter().flatten();
        helpers.filter(|(_, name)| matches!(name.as_str(), Some(OURS | crate::NAME))).map(|(key, _)| key.as_str())
    }

    /// The helper that it names for all registries without an entry of their own.
    pub fn store(&self) -> Option<&str> {
        self.content.get("credsStore")?.as_str().filter(|name| !name.is_empty())
    }

    /// Whether a password for the host is in it, under any of the spellings that clients use.
    pub fn has_password(&self, host: &str) -> bool {
        let Some(Value::Object(auths)) = self.content.get("auths") else { return false };
        let holds = |entry: &Value| {
            ["auth", "password", "identitytoken"]
                .iter()
                .any(|field| entry[field].as_str().is_some_and(|s| !s.is_empty()))
        };
        auths.iter().any(|(key, entry)| registry::host(key).is_some_and(|known| known == host) && holds(entry))
    }

    /// The hosts that it gives to us.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let helpers = self.content.get("credHelpers").and_then(Value::as_object).into_iter().flatten();
        helpers.filter(|(_, name)| name.as_str() == Some(OURS)).map(|(host, _)| host.as_str())
    }
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
pub fn docker(env: &Env, host: &str) -> Result<Way, Broken> {
    let Some(path) = docker_config(env) else { return Ok(Way::Nothing) };
    let file = read(path)?;
    Ok(match (file.helper(host), file.store()) {
        (Some(name), _) => Way::Helper(name.to_owned(), "credHelpers", file.path.clone()),
        (None, Some(name)) => Way::Helper(name.to_owned(), "credsStore", file.path.clone()),
        (None, None) if file.has_password(host) => Way::Password(file.path),
        (None, None) => Way::Nothing,
    })
}

/// Where podman, buildah and skopeo get the credentials of `host`.
pub fn podman(env: &Env, host: &str) -> Result<Way, Broken> {
    for (name, conf) in credential_helpers(env)? {
        if name != "containers-auth.json" {
            // Its answer for the host is not known here; only for our own is it.
            if name == OURS {
                return Ok(Way::Helper(name, "credential-helpers", conf));
            }
            continue;
        }
        for path in podman_files(env) {
            let file = read(path)?;
            if let Some(name) = file.helper(host) {
                return Ok(Way::Helper(name.to_owned(), "credHelpers", file.path.clone()));
            }
            if file.has_password(host) {
                return Ok(Way::Password(file.path));
            }
        }
    }
    Ok(Way::Nothing)
}

fn read(path: PathBuf) -> Result<AuthFile, Broken> {
    AuthFile::read(path.clone()).map_err(|what| Broken { path, what })
}

/// Whether `DOCKER_AUTH_CONFIG` has a password for the host.
pub fn is_in_auth_config(env: &Env, host: &str) -> bool {
    let content = env.text(DOCKER_AUTH_CONFIG).and_then(|text| serde_json::from_str(text).ok());
    content.is_some_and(|content| AuthFile { path: PathBuf::new(), content }.has_password(host))
}

/// Every host that a client's file gives to this program, or is meant to, sorted.
pub fn hosts(env: &Env) -> Vec<String> {
    let files = docker_config(env).into_iter().chain(podman_files(env));
    let files: Vec<AuthFile> = files.filter_map(|path| AuthFile::read(path).ok()).collect();
    let name = |key: &str| registry::host(key).unwrap_or_else(|| key.to_owned());
    let mut hosts: Vec<String> = files.iter().flat_map(AuthFile::meant).map(name).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The files behind `containers-auth.json`, in podman's order.
pub fn podman_files(env: &Env) -> Vec<PathBuf> {
    if let Some(path) = env.path("REGISTRY_AUTH_FILE") {
        return vec![path];
    }
    let runtime = env.path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers")).or_else(platform::podman_runtime_dir);
    let runtime = runtime.map(|dir| dir.join("auth.json"));
    let old = env.home().map(|home| home.join(".dockercfg"));
    [runtime, podman_config(env), docker_config(env), old].into_iter().flatten().collect()
}

/// The one of them that outlives the machine's next start and is podman's alone.
pub fn podman_config(env: &Env) -> Option<PathBuf> {
    env.path("REGISTRY_AUTH_FILE").or_else(|| {
        let config = env.path("XDG_CONFIG_HOME").or_else(|| Some(env.home()?.join(".config")))?;
        Some(config.join("containers/auth.json"))
    })
}

/// The directory of the user's additions to registries.conf.
pub fn registries_conf_d(env: &Env) -> Option<PathBuf> {
    Some(env.home()?.join(".config/containers/registries.conf.d"))
}

/// `credential-helpers` of registries.conf and its drop-ins, each with the file that says so.
pub fn credential_helpers(env: &Env) -> Result<Vec<(String, PathBuf)>, Broken> {
    let own = env.home().map(|home| home.join(".config/containers"));
    let system = PathBuf::from("/etc/containers");
    let main = env.path("CONTAINERS_REGISTRIES_CONF").or_else(|| {
        let candidates = own.iter().chain([&system]).map(|dir| dir.join("registries.conf"));
        candidates.into_iter().find(|path| path.exists())
    });
    let mut files: Vec<PathBuf> = main.into_iter().collect();
    for dir in [Some(&system), own.as_ref()].into_iter().flatten() {
        let entries = fs::read_dir(dir.join("registries.conf.d")).into_iter().flatten().flatten();
        let mut parts: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_conf(path)).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut helpers = vec![("containers-auth.json".to_owned(), PathBuf::new())];
    for path in files {
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
    Ok(helpers)
}

/// Where the PATH leads to for a program.
pub fn on_path(env: &Env, program: &str) -> Option<PathBuf> {
    let path = env.os("PATH")?;
    std::env::split_paths(path).map(|dir| dir.join(program)).find_map(|path| platform::as_program(&path))
}

fn is_conf(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "conf")
}
