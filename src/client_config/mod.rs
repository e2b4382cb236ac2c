//! Where docker gets the credentials of a registry, read from its settings, and the file format that podman and others share
//! with it. This module writes nothing; see [`setup`](crate::commands::setup).
//!
//! docker reads one file: an entry of `credHelpers` for exactly the host, else `credsStore`, else the password under `auths` (docker
//! CLI reference, "Credential helpers"). From version 28.3 on, a password in `DOCKER_AUTH_CONFIG` comes before all of these.

mod auth_file;
mod environment;
mod members;
mod settings_file;

use std::path::PathBuf;
use std::sync::Arc;

use crate::env::Env;
use crate::error::Failure;
pub use auth_file::{AuthFile, DOCKERCFG, HELPER_NAME, misspelt_host, parse};
pub use environment::{DOCKER_AUTH_CONFIG, hosts_of_environment};
pub use members::Members;
pub(crate) use settings_file::{LARGEST, check_replaceable, invalid, obstacle, unreadable, unwritable};
pub use settings_file::{text, text_at};

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

/// Returns the path of docker's config.json; `None` without a home directory.
pub fn docker_config(env: &Env) -> Option<PathBuf> {
    let dir = env.path_as_it_is("DOCKER_CONFIG").or_else(|| Some(env.home()?.join(".docker")))?;
    Some(dir.join("config.json"))
}

/// Finds where docker gets the credentials of `host`.
pub fn docker_lookup(env: &Env, host: &str) -> Result<Lookup, Failure> {
    let Some(path) = docker_config(env) else { return Ok(Lookup::Nothing) };
    let file = docker_file(env, path)?;
    let found = |name: &str, setting| Lookup::Helper { name: name.to_owned(), setting, file: file.path.clone() };
    Ok(match (file.helper(host), file.store().filter(|_| !file.names_no_helper(host))) {
        (Some(name), _) => found(name, "credHelpers"),
        (None, Some(name)) => found(name, "credsStore"),
        (None, None) if !file.passwords_for(host).is_empty() => Lookup::Password(file.path.clone()),
        (None, None) => Lookup::Nothing,
    })
}

/// Reads docker's config.json as docker does, which stops at some values.
pub fn docker_file(env: &Env, path: PathBuf) -> Result<Arc<AuthFile>, Failure> {
    let file = AuthFile::read(env, path)?;
    match file.stops_docker {
        Some(what) => Err(invalid(env, &file.path, format!("{}: {what}", file.path.display()))),
        None => Ok(file),
    }
}
