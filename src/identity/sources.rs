//! Which source of credentials the settings lead to, and what of it enters the key. The order is that of the SDK's
//! default chain (AWS SDK for Rust developer guide, "Credential providers"): environment, profile, web identity,
//! container, instance. Where this walk is less exact than the SDK it adds more to the key, never less.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::files::{Profiles, Section, content, paths};
use super::key::Parts;
use crate::env::Env;
use crate::error::Failure;
use crate::platform;

/// Where the credentials of an identity come from first, before any role is assumed with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `AWS_ACCESS_KEY_ID` and the secret beside it.
    Environment,
    /// Keys in this profile.
    Keys(String),
    /// This profile's sign-in through IAM Identity Center; with the name of its `[sso-session …]`, if it has one.
    Sso(String, Option<String>),
    /// This profile's `aws login` session.
    Login(String),
    /// This profile's `credential_process`.
    Process(String),
    /// A token of another identity provider.
    WebIdentity,
    /// The token that a kubelet sent for a service account.
    ServiceAccount,
    /// The endpoint of ECS or EKS.
    Container,
    /// The role of the instance, or nothing at all.
    Instance,
}

impl fmt::Display for Source {
    /// In words, as the object of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("the environment (AWS_ACCESS_KEY_ID)"),
            Self::Keys(profile) | Self::Sso(profile, _) | Self::Login(profile) | Self::Process(profile) => {
                write!(f, "profile '{profile}'")
            }
            Self::WebIdentity => f.write_str("the web identity"),
            Self::ServiceAccount => f.write_str("the service account"),
            Self::Container => f.write_str("the container's role"),
            Self::Instance => f.write_str("the instance's role"),
        }
    }
}

/// Whether an identity is bound to this machine's present run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// Good on any.
    Any,
    /// Its key holds the boot.
    This,
    /// It should be, and the system does not say which it is.
    Unknown,
}

/// Terminal and shell bookkeeping, which no credential process goes by.
const BOOKKEEPING: &[&str] = &[
    "_",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "TERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TERM_SESSION_ID",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "WINDOWID",
    "SSH_TTY",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "XDG_SESSION_ID",
    "GPG_TTY",
    "TMUX",
    "TMUX_PANE",
    "STY",
    "WINDOW",
    "LS_COLORS",
    "PS1",
    "VTE_VERSION",
];

/// The walk along the chain.
pub(super) struct Walk<'a> {
    env: &'a Env,
    profiles: &'a Profiles,
    seen: BTreeSet<String>,
    pub(super) parts: Parts,
    pub(super) not_before: Option<SystemTime>,
    pub(super) machine: Machine,
}

impl<'a> Walk<'a> {
    pub(super) fn new(env: &'a Env, profiles: &'a Profiles, parts: Parts) -> Self {
        Self { env, profiles, seen: BTreeSet::new(), parts, not_before: None, machine: Machine::Any }
    }

    /// Goes along the chain, or to the profile that a registry is mapped to.
    pub(super) fn start(&mut self, mapped: Option<&str>) -> Result<Source, Failure> {
        if let Some(name) = mapped {
            self.require(name, "which the configuration maps this registry to")?;
            return Ok(self.profile(name).unwrap_or_else(|| Source::Keys(name.to_owned())));
        }
        let set = |name: &str| self.env.text(name).is_some_and(|value| !value.trim().is_empty());
        if set("AWS_ACCESS_KEY_ID") && (set("AWS_SECRET_ACCESS_KEY") || set("SECRET_ACCESS_KEY")) {
            return Ok(Source::Environment);
        }
        let name = self.env.text("AWS_PROFILE").unwrap_or("default");
        if name != "default" {
            self.require(name, "which AWS_PROFILE names")?;
        }
        if let Some(source) = self.profile(name) {
            return Ok(source);
        }
        if let (Some(file), Some(_)) = (self.env.path("AWS_WEB_IDENTITY_TOKEN_FILE"), self.env.os("AWS_ROLE_ARN")) {
            self.token_file(&file);
            return Ok(Source::WebIdentity);
        }
        Ok(self.container().unwrap_or_else(|| self.instance()))
    }

    fn require(&self, name: &str, why: &str) -> Result<(), Failure> {
        if self.profiles.profile(name).is_some() {
            return Ok(());
        }
        let [config, credentials] = paths(self.env);
        Err(Failure::new(
            format!("the profile '{name}', {why}, is in neither {} nor {}", config.display(), credentials.display()),
            format!("add it with 'aws configure --profile {name}' or 'aws configure sso', or correct the name"),
        ))
    }

    /// What a profile leads to; `None` when it has no credentials and the chain goes on.
    fn profile(&mut self, name: &str) -> Option<Source> {
        let profile = self.profiles.profile(name)?;
        let first_visit = self.seen.insert(name.to_owned());
        let get = |key: &str| profile.get(key).map(String::as_str).filter(|value| !value.is_empty());
        if let (Some(_), true) = (get("role_arn"), first_visit) {
            if let Some(source) = get("credential_source") {
                return Some(match source.to_ascii_lowercase().as_str() {
                    "environment" => Source::Environment,
                    "ecscontainer" => self.container().unwrap_or(Source::Container),
                    _ => self.instance(),
                });
            }
            if let Some(file) = get("web_identity_token_file") {
                self.token_file(Path::new(file));
                return Some(Source::WebIdentity);
            }
            if let Some(source) = get("source_profile") {
                return self.profile(source).or(Some(Source::Keys(source.to_owned())));
            }
        }
        let mut source = None;
        if get("aws_access_key_id").is_some() {
            source = Some(Source::Keys(name.to_owned()));
        }
        if let Some(command) = get("credential_process") {
            self.process(command);
            source = Some(Source::Process(name.to_owned()));
        }
        if let Some(session) = get("login_session") {
            self.login(session);
            source = Some(Source::Login(name.to_owned()));
        }
        if get("sso_account_id").is_some() && (get("sso_session").is_some() || get("sso_start_url").is_some()) {
            self.sso(&profile);
            source = Some(Source::Sso(name.to_owned(), get("sso_session").map(str::to_owned)));
        }
        source
    }

    fn sso(&mut self, profile: &Section) {
        let Some(path) = sso_session_file(self.env, profile) else { return };
        self.session_file(&path, &["clientId", "registrationExpiresAt", "startUrl", "region"]);
    }

    fn login(&mut self, session: &str) {
        let name = format!("{:x}.json", Sha256::digest(session.trim()));
        let dir =
            self.env.path("AWS_LOGIN_CACHE_DIRECTORY").or_else(|| Some(self.env.home()?.join(".aws/login/cache")));
        self.session_file(&dir.unwrap_or_default().join(name), &["clientId", "dpopKey"]);
    }

    /// A sign-in kept by the AWS CLI. Its tokens change when they are refreshed, so only what stays enters the key;
    /// who else signs in rewrites the file, so what was cached before is not served any more.
    fn session_file(&mut self, path: &Path, stable: &[&str]) {
        let Ok(bytes) = content(path) else { return self.parts.add("session", "gone") };
        let session: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        for field in stable {
            self.parts.add(field, session[field].as_str().unwrap_or_default());
        }
        self.not_before = self.not_before.max(path.metadata().and_then(|metadata| metadata.modified()).ok());
    }

    /// A token of another identity provider: of a JWT the issuer and the subject, which outlive its rotation.
    fn token_file(&mut self, path: &Path) {
        self.parts.add("token file", path.as_os_str().as_encoded_bytes());
        let Ok(bytes) = content(path) else { return self.parts.add("token", "none") };
        match issuer_and_subject(&bytes) {
            Some((issuer, subject)) => {
                self.parts.add("issuer", issuer);
                self.parts.add("subject", subject);
            }
            None => self.parts.add("token", bytes.as_slice()),
        }
    }

    fn process(&mut self, command: &str) {
        self.parts.add("process", command);
        for word in command.split_whitespace().map(|word| word.trim_matches(['"', '\''])) {
            let Ok(metadata) = Path::new(word).metadata() else { continue };
            if Path::new(word).is_absolute() && metadata.is_file() {
                let changed = metadata.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
                self.parts.add(word, format!("{} {changed:?}", metadata.len()));
            }
        }
        let env = self.env;
        for (name, value) in env.iter() {
            let skipped = name.to_str().is_some_and(|name| BOOKKEEPING.contains(&name) || name.starts_with("AWS_ECR_"));
            if !skipped {
                self.parts.add(name.as_encoded_bytes(), value.as_encoded_bytes());
            }
        }
        self.bind_to_machine();
    }

    fn container(&mut self) -> Option<Source> {
        let uris = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
        uris.iter().find(|uri| self.env.os(uri).is_some())?;
        if let Some(file) = self.env.path("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            self.token_file(&file);
        }
        self.bind_to_machine();
        Some(Source::Container)
    }

    fn instance(&mut self) -> Source {
        self.bind_to_machine();
        Source::Instance
    }

    fn bind_to_machine(&mut self) {
        match platform::boot() {
            Some(boot) => {
                self.parts.add("boot", boot);
                self.machine = Machine::This;
            }
            None => self.machine = Machine::Unknown,
        }
    }
}

/// Where the AWS CLI keeps the sign-in that a profile refers to: named after the SHA-1 of the session's name, in the
/// legacy form of the start URL.
pub fn sso_session_file(env: &Env, profile: &Section) -> Option<PathBuf> {
    let name = profile.get("sso_session").or_else(|| profile.get("sso_start_url"))?;
    Some(env.home()?.join(".aws/sso/cache").join(format!("{:x}.json", Sha1::digest(name))))
}

/// Who a JWT is about, by its own account.
pub fn issuer_and_subject(token: &[u8]) -> Option<(String, String)> {
    let payload = std::str::from_utf8(token).ok()?.trim().split('.').nth(1)?;
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()?;
    Some((claims["iss"].as_str()?.to_owned(), claims["sub"].as_str()?.to_owned()))
}
