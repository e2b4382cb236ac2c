//! Versions and variables for a bug report, without secrets.

use std::fmt;
use std::path::PathBuf;
use std::thread::JoinHandle;

use serde::Serialize;

use crate::client_config;
use crate::config::{TokenProvider, WEB_IDENTITY, is_url, token_provider};
use crate::containers;
use crate::env::{Env, VARIABLES};
use crate::error::one_line;
use crate::identity::issuer_and_subject;
use crate::platform;
use crate::quote::{hide_tokens, may_hold_token, variable, without_path};
use crate::registry::Account;
use crate::{C_LIBRARY, COMMIT, NAME, TARGET, TLS, VERSION};

/// Clients whose versions matter.
const CLIENTS: [&str; 2] = ["docker", "podman"];

/// Variables that hold no secret, in capital letters: those that locate or select something for clients and for the SDK.
const HARMLESS: &[&str] = &[
    "ALL_PROXY",
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_DISABLE_HOST_PREFIX_INJECTION",
    "AWS_EXECUTION_ENV",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_LOGIN_CACHE_DIRECTORY",
    "AWS_MAX_ATTEMPTS",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_RETRY_MODE",
    "AWS_SDK_LOAD_CONFIG",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "DOCKER_CONFIG",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "REGISTRY_AUTH_FILE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "SUDO_USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
];

/// How the names of others like these begin.
const HARMLESS_PREFIXES: [&str; 6] =
    ["AWS_CONTAINER_CREDENTIALS_", "AWS_DEFAULT_", "AWS_EC2_METADATA_", "AWS_ENDPOINT_URL", "AWS_ROLE_", "AWS_USE_"];

/// Versions and settings.
#[derive(Default, Serialize)]
pub(super) struct BugReport {
    program: String,
    commit: &'static str,
    target: &'static str,
    c_library: &'static str,
    tls: &'static str,
    /// As the clients print them.
    clients: Vec<String>,
    /// `NAME=value`, or `NAME (set)` where the value may be secret.
    variables: Vec<String>,
}

/// The version of a client, once it has printed it.
pub(super) type Version = JoinHandle<Option<String>>;

/// Starts the clients to print their versions, in the background.
pub(super) fn versions(env: &Env) -> Vec<Version> {
    let start = |program: PathBuf| {
        let env = env.clone();
        platform::spawn_thread(move || containers::version_output(&env, &program)).ok()
    };
    CLIENTS.into_iter().filter_map(|name| env.find_program(name)).filter_map(start).collect()
}

impl BugReport {
    pub(super) fn new(env: &Env, versions: Vec<Version>) -> Self {
        let printed = versions.into_iter().filter_map(|version| version.join().ok()?);
        let mut clients: Vec<String> = printed.map(|text| one_line(&text)).filter(|text| !text.is_empty()).collect();
        clients.sort();
        let variables = env.iter().filter_map(|(name, value)| describe(name.to_str()?, &value.to_string_lossy()));
        let variables = variables.collect();
        Self {
            program: format!("{NAME} {VERSION}"),
            commit: COMMIT,
            target: TARGET,
            c_library: C_LIBRARY,
            tls: TLS,
            clients,
            variables,
        }
    }
}

/// A line for a variable, without a value that may be secret; `None` for one that does not matter.
fn describe(name: &str, value: &str) -> Option<String> {
    let is_harmless = is_harmless(name);
    let is_other = name.starts_with("ACTIONS_ID_TOKEN_") || name == client_config::DOCKER_AUTH_CONFIG;
    if !is_harmless && !is_other && !name.starts_with("AWS_") {
        return None;
    }
    let is_location = is_location(name);
    let may_be_secret = ["SECRET", "TOKEN", "ACCESS_KEY", "PASSWORD"].iter().any(|word| name.contains(word))
        || issuer_and_subject(value.as_bytes()).is_some()
        || may_hold_token(value)
        || hide_tokens(value) != value
        || (is_location && !is_url(value))
        || (name == WEB_IDENTITY && !names_provider(value));
    if may_be_secret || !is_harmless {
        return Some(format!("{name} (set)"));
    }
    let value = one_line(value);
    Some(format!("{name}={}", if is_location { without_path(&value) } else { value }))
}

/// Whether this value of [`WEB_IDENTITY`] names where the token comes from, and is not the token.
fn names_provider(value: &str) -> bool {
    match token_provider(value) {
        Some(TokenProvider::GitHub) => true,
        Some(TokenProvider::Variable(name)) => variable(&name) == name,
        None => false,
    }
}

/// Whether a variable is known to hold no secret. Those of proxies may be in small letters.
fn is_harmless(name: &str) -> bool {
    let is_own = |known: &str| match known.strip_suffix("<account>") {
        Some(stem) => name.strip_prefix(stem).is_some_and(|account| account.parse::<Account>().is_ok()),
        None => known == name,
    };
    HARMLESS.contains(&&*name.to_ascii_uppercase())
        || HARMLESS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || VARIABLES.iter().any(|(known, _)| is_own(known))
}

/// Whether a variable holds a URL, which may contain a secret.
fn is_location(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name != "NO_PROXY" && ["ENDPOINT_URL", "_URI", "_PROXY", "SERVICE_ENDPOINT"].iter().any(|word| name.contains(word))
}

impl fmt::Display for BugReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, commit, target, c_library, tls, clients, variables } = self;
        write!(f, "For a bug report:\n  {program} (commit {commit}, {target}, C library {c_library})\n  TLS {tls}")?;
        clients.iter().chain(variables).try_for_each(|line| write!(f, "\n  {}", one_line(line)))
    }
}
