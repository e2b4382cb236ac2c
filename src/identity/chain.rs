//! Whose credentials the settings lead to: one source, and the roles that are assumed with it.
//!
//! This is the only place that decides it. The SDK is then told what was decided, provider by provider (`aws::credentials`),
//! and never looks for another, so that what the cache key says and what the SDK does cannot part. The order is that of
//! the SDK's default chain (AWS SDK for Rust developer guide, "Credential providers"): environment, profile, web identity,
//! container, instance; and within a profile that of its `profile::credentials`. `worlds` in the tests holds the two
//! together.
//!
//! A profile that somebody names is a promise: it answers, or nobody does. Whatever is wrong with it is an error here,
//! where the SDK goes on to the next provider for some of it, in the end to the role of the instance.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_runtime::env_config::section::Profile;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::profiles::Profiles;
use crate::config::{Role, SESSION_NAME, is_url};
use crate::env::Env;
use crate::error::Failure;
use crate::secret::Secret;

/// A source and the roles on top of it, in the order in which they are assumed.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Gives the first credentials.
    pub source: Source,
    /// Each is assumed with the credentials before it.
    pub roles: Vec<Role>,
}

/// Where the credentials of an identity come from first, before any role is assumed with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `AWS_ACCESS_KEY_ID` and the secret beside it.
    Environment(Keys),
    /// Keys in a profile.
    Profile(String, Keys),
    /// A profile's sign-in through IAM Identity Center.
    Sso(Sso),
    /// A profile's `aws login` session: its ARN, and the file that keeps it.
    Login {
        /// The profile.
        profile: String,
        /// Names the session.
        arn: String,
        /// Where the AWS CLI keeps it.
        file: PathBuf,
    },
    /// A profile's `credential_process`.
    Process {
        /// The profile.
        profile: String,
        /// For the shell.
        command: String,
    },
    /// A token of another identity provider.
    WebIdentity(WebIdentity),
    /// The token that a kubelet sent for a service account.
    ServiceAccount,
    /// The endpoint of ECS or EKS.
    Container,
    /// The role of the instance, from this endpoint.
    Instance(String),
}

/// An access key with its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: Secret,
    /// The session token, if the keys are temporary.
    pub token: Option<Secret>,
}

/// A sign-in through IAM Identity Center.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sso {
    /// The profile that refers to it.
    pub profile: String,
    /// The name of the `[sso-session …]`; `None` in the legacy form.
    pub session: Option<String>,
    /// The region of the service.
    pub region: String,
    /// The account whose role is wanted.
    pub account_id: String,
    /// The role, a permission set.
    pub role_name: String,
    /// Where the AWS CLI keeps the sign-in.
    pub file: PathBuf,
}

/// A role for a token of another identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebIdentity {
    /// Where the token is.
    pub token_file: PathBuf,
    /// The setting that named the file, for messages.
    pub setting: String,
    /// `arn:<partition>:iam::<account>:role/<name>`.
    pub role_arn: String,
    /// Shown in CloudTrail.
    pub session_name: String,
}

impl fmt::Display for Source {
    /// In words, as the object of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(_) => f.write_str("the environment (AWS_ACCESS_KEY_ID)"),
            Self::Profile(profile, _)
            | Self::Sso(Sso { profile, .. })
            | Self::Login { profile, .. }
            | Self::Process { profile, .. } => write!(f, "profile '{profile}'"),
            Self::WebIdentity(_) => f.write_str("the web identity"),
            Self::ServiceAccount => f.write_str("the service account"),
            Self::Container => f.write_str("the container's role"),
            Self::Instance(_) => f.write_str("the instance's role"),
        }
    }
}

/// Which profile applies, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// The configuration, a variable of this program or an option maps the registry to it: the name, and which of them.
    Mapped(String, String),
    /// This variable names it.
    Named(&'static str, String),
    /// Nobody names one, so it is `default`, which need not exist.
    Default,
}

impl Selected {
    /// The variables are read as the AWS CLI reads them (botocore, `configprovider.py`).
    pub fn new(env: &Env, mapped: Option<(&str, &str)>) -> Self {
        if let Some((name, by)) = mapped {
            return Self::Mapped(name.to_owned(), by.to_owned());
        }
        ["AWS_DEFAULT_PROFILE", "AWS_PROFILE"]
            .into_iter()
            .find_map(|variable| Some(Self::Named(variable, env.text(variable)?.to_owned())))
            .unwrap_or(Self::Default)
    }

    /// The profile's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Mapped(name, _) | Self::Named(_, name) => name,
            Self::Default => "default",
        }
    }

    fn because(&self) -> String {
        match self {
            Self::Mapped(_, by) => format!(", which {by} names,"),
            Self::Named(variable, _) => format!(", which {variable} names,"),
            Self::Default => String::new(),
        }
    }
}

/// Finds the chain.
pub(super) struct Resolver<'a> {
    pub(super) env: &'a Env,
    pub(super) profiles: &'a Profiles,
    pub(super) selected: &'a Selected,
}

impl Resolver<'_> {
    pub(super) fn chain(&self) -> Result<Chain, Failure> {
        let alone = |source| Ok(Chain { source, roles: Vec::new() });
        if !matches!(self.selected, Selected::Mapped(..))
            && let Some(keys) = self.environment()
        {
            return alone(Source::Environment(keys));
        }
        if let Some(problem) = self.profiles.problem() {
            return Err(problem.clone());
        }
        if let Some(chain) = self.profile_chain()? {
            return Ok(chain);
        }
        if let (Some(token_file), Some(role_arn)) =
            (self.env.path("AWS_WEB_IDENTITY_TOKEN_FILE"), self.env.text("AWS_ROLE_ARN"))
        {
            let session_name = self.env.text("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION_NAME).to_owned();
            let (setting, role_arn) = ("AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(), role_arn.to_owned());
            return alone(Source::WebIdentity(WebIdentity { token_file, setting, role_arn, session_name }));
        }
        if CONTAINER_URIS.iter().any(|name| self.env.os(name).is_some()) {
            return alone(self.container()?);
        }
        alone(self.instance()?)
    }

    /// Keys in the environment, as the SDK's provider for them reads them: blank is unset.
    fn environment(&self) -> Option<Keys> {
        let get = |name| self.env.text(name).filter(|value| !value.trim().is_empty());
        let secret = get("AWS_SECRET_ACCESS_KEY").or_else(|| get("SECRET_ACCESS_KEY"));
        let (id, token) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SESSION_TOKEN"));
        let secret_of = |text: &str| Secret::from(text.to_owned());
        Some(Keys { id: id?.to_owned(), secret: secret_of(secret?), token: token.map(|token| secret_of(token.trim())) })
    }

    /// The chain of the selected profile; `None` when nobody named it and it has no credentials.
    fn profile_chain(&self) -> Result<Option<Chain>, Failure> {
        let (mut name, mut by) = (self.selected.name().to_owned(), None);
        let (mut roles, mut visited) = (Vec::new(), Vec::<String>::new());
        let source = loop {
            let Some(profile) = self.profiles.profile(&name) else {
                let unasked = *self.selected == Selected::Default && by.is_none();
                return if unasked { Ok(None) } else { Err(self.absent(&name, by.as_deref())) };
            };
            if let Some(failure) = self.profiles.two_spellings(&name) {
                return Err(failure);
            }
            let section = Section { resolver: self, profile, name: &name };
            if visited.contains(&name) {
                return Err(section.wrong("source_profile leads back to it", "end the circle of source_profile"));
            }
            visited.push(name.clone());
            // The SDK prefers keys to a role in every profile but the first.
            if let (2.., Some(keys)) = (visited.len(), section.keys().ok().flatten()) {
                break Source::Profile(name, keys);
            }
            let next = match section.role()? {
                Some((role, next)) => {
                    roles.push(role);
                    next
                }
                None => None,
            };
            if let Some(next) = next {
                (by, name) = (Some(std::mem::take(&mut name)), next);
                continue;
            }
            match section.source()? {
                Some(source) => break source,
                None if *self.selected == Selected::Default && by.is_none() && roles.is_empty() => return Ok(None),
                None => return Err(section.empty(by.as_deref())),
            }
        };
        roles.reverse();
        Ok(Some(Chain { source, roles }))
    }

    fn absent(&self, name: &str, by: Option<&str>) -> Failure {
        if let Some(failure) = self.profiles.misspelt(name) {
            return failure;
        }
        let because = match by {
            Some(by) => format!(", which profile '{by}' names as its source_profile,"),
            None => self.selected.because(),
        };
        Failure::new(
            format!("the profile '{name}'{because} is in neither {}", self.profiles.neither()),
            format!("add it with 'aws configure --profile {name}' or 'aws configure sso', or correct the name"),
        )
    }

    fn container(&self) -> Result<Source, Failure> {
        let variables =
            [&CONTAINER_URIS[..], &["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN"]];
        self.refuse_empty(&variables.concat())?;
        let [relative, full] = CONTAINER_URIS.map(|name| self.env.text(name));
        let wrong = match (relative, full) {
            (Some(path), _) => (!path.starts_with('/') || path.parse::<http::Uri>().is_err()).then_some((0, "a path")),
            (None, Some(url)) => (!is_url(url)).then_some((1, "a URL")),
            (None, None) => None,
        };
        match wrong {
            None => Ok(Source::Container),
            Some((number, form)) => Err(Failure::new(
                format!("{} is not {form}", CONTAINER_URIS[number]),
                "correct it: ECS and EKS set it by themselves",
            )),
        }
    }

    /// The endpoint in the order of the SDK's client: variable, profile, mode.
    fn instance(&self) -> Result<Source, Failure> {
        let setting = |variable: &'static str, key: &'static str| {
            let of_profile = || Some((self.profiles.profile(self.selected.name())?.get(key)?, key));
            self.env.text(variable).map(|value| (value, variable)).or_else(of_profile)
        };
        let endpoint = setting("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
        if let Some((url, name)) = endpoint {
            return if is_url(url) {
                Ok(Source::Instance(url.to_owned()))
            } else {
                Err(Failure::new(format!("{name} is not a URL"), "correct it, or unset it for the usual address"))
            };
        }
        let mode = setting("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode");
        match mode {
            None => Ok(Source::Instance("http://169.254.169.254".to_owned())),
            Some((mode, _)) if mode.eq_ignore_ascii_case("ipv4") => {
                Ok(Source::Instance("http://169.254.169.254".to_owned()))
            }
            Some((mode, _)) if mode.eq_ignore_ascii_case("ipv6") => {
                Ok(Source::Instance("http://[fd00:ec2::254]".to_owned()))
            }
            Some((_, name)) => Err(Failure::new(format!("{name} is neither IPv4 nor IPv6"), "correct or unset it")),
        }
    }

    /// Variables that are set to nothing and that a provider of the SDK reads for itself: it would not take them for unset.
    fn refuse_empty(&self, variables: &[&str]) -> Result<(), Failure> {
        match variables.iter().find(|name| self.env.is_empty(name)) {
            None => Ok(()),
            Some(name) => Err(Failure::new(
                format!("{name} is set and empty, which the AWS SDK does not take for unset"),
                format!("unset {name}"),
            )),
        }
    }
}

/// Either means that a container's role is wanted.
const CONTAINER_URIS: [&str; 2] = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

/// A profile on the way.
struct Section<'a> {
    resolver: &'a Resolver<'a>,
    profile: &'a Profile,
    name: &'a str,
}

impl Section<'_> {
    /// The role of the profile and the profile that it is assumed with; without one it is the profile itself.
    fn role(&self) -> Result<Option<(Role, Option<String>)>, Failure> {
        let (Some(arn), None) = (self.get("role_arn")?, self.get("web_identity_token_file")?) else { return Ok(None) };
        let next = match (self.get("source_profile")?, self.get("credential_source")?) {
            (Some(_), Some(_)) => {
                return Err(self.wrong("it has both source_profile and credential_source", "take one of them out"));
            }
            (None, None) => {
                return Err(self.wrong(
                    "it has role_arn, and neither source_profile nor credential_source",
                    "add source_profile, the profile that the role is assumed with",
                ));
            }
            (Some(source), None) => Some(source.to_owned()).filter(|source| source != self.name),
            (None, Some(_)) => None,
        };
        let role = Role {
            arn: arn.to_owned(),
            external_id: self.get("external_id")?.map(str::to_owned),
            session_name: self.get("role_session_name")?.unwrap_or(SESSION_NAME).to_owned(),
            region: None,
        };
        Ok(Some((role, next)))
    }

    /// What the profile itself gives, in the order of the SDK's `base_provider`.
    fn source(&self) -> Result<Option<Source>, Failure> {
        let name = || self.name.to_owned();
        if let Some(source) = self.get("credential_source")? {
            return self.named_source(source).map(Some);
        }
        if let Some(file) = self.get("web_identity_token_file")? {
            let Some(role_arn) = self.get("role_arn")? else {
                return Err(self.wrong("it has web_identity_token_file and no role_arn", "add role_arn"));
            };
            return Ok(Some(Source::WebIdentity(WebIdentity {
                token_file: self.resolver.env.expand(Path::new(file)),
                setting: format!("web_identity_token_file of profile '{}'", self.name),
                role_arn: role_arn.to_owned(),
                session_name: self.get("role_session_name")?.unwrap_or(SESSION_NAME).to_owned(),
            })));
        }
        if let Some(sso) = self.sso()? {
            return Ok(Some(Source::Sso(sso)));
        }
        if let Some(arn) = self.get("login_session")? {
            let file = self.login_file(arn)?;
            return Ok(Some(Source::Login { profile: name(), arn: arn.to_owned(), file }));
        }
        if let Some(command) = self.get("credential_process")? {
            return Ok(Some(Source::Process { profile: name(), command: command.to_owned() }));
        }
        Ok(self.keys()?.map(|keys| Source::Profile(name(), keys)))
    }

    fn named_source(&self, source: &str) -> Result<Source, Failure> {
        let resolver = self.resolver;
        match source.to_ascii_lowercase().as_str() {
            "environment" => resolver.environment().map(Source::Environment).ok_or_else(|| {
                self.wrong(
                    "credential_source is Environment, and there are no keys in the environment",
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                )
            }),
            "ecscontainer" if CONTAINER_URIS.iter().all(|name| resolver.env.os(name).is_none()) => Err(self.wrong(
                "credential_source is EcsContainer, and this is no container of ECS or EKS",
                "use it in such a container, where AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set",
            )),
            "ecscontainer" => resolver.container(),
            "ec2instancemetadata" => resolver.instance(),
            _ => Err(self.wrong(
                &format!("credential_source is '{source}'"),
                "write Environment, Ec2InstanceMetadata or EcsContainer",
            )),
        }
    }

    fn sso(&self) -> Result<Option<Sso>, Failure> {
        let get = |key| self.get(key);
        let (account_id, role_name) = (get("sso_account_id")?, get("sso_role_name")?);
        let (mut start_url, mut region) = (get("sso_start_url")?, get("sso_region")?);
        let session = get("sso_session")?;
        if [account_id, role_name, start_url, region, session].iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut section = format!("profile '{}'", self.name);
        if let Some(session) = session {
            for (key, value) in [("sso_start_url", start_url), ("sso_region", region)] {
                if value.is_some() {
                    let next = format!("move it to [sso-session {session}]");
                    return Err(self.wrong(&format!("it has sso_session, so {key} does not belong in it"), &next));
                }
            }
            let Some(found) = self.resolver.profiles.sso_session(session) else {
                return Err(self.wrong(
                    &format!("there is no section [sso-session {session}] in the config file"),
                    "add it with 'aws configure sso-session', or correct sso_session",
                ));
            };
            section = format!("[sso-session {session}]");
            (start_url, region) = (found.get("sso_start_url"), found.get("sso_region"));
        }
        let run = format!("add it, or run 'aws configure sso --profile {}'", self.name);
        let missing = |key: &str, section: &str| self.wrong(&format!("{key} is missing in {section}"), &run);
        let own = format!("profile '{}'", self.name);
        let account_id = account_id.ok_or_else(|| missing("sso_account_id", &own))?.to_owned();
        let role_name = role_name.ok_or_else(|| missing("sso_role_name", &own))?.to_owned();
        let region = region.filter(|value| !value.is_empty()).ok_or_else(|| missing("sso_region", &section))?;
        let start_url = start_url.filter(|value| !value.is_empty());
        let start_url = start_url.ok_or_else(|| missing("sso_start_url", &section))?;
        let home = self.resolver.env.home().ok_or_else(|| self.homeless("the sign-in"))?;
        // Named after the SHA-1 of the session's name, in the legacy form of the start URL.
        let file = format!("{:x}.json", Sha1::digest(session.unwrap_or(start_url)));
        Ok(Some(Sso {
            profile: self.name.to_owned(),
            session: session.map(str::to_owned),
            region: region.to_owned(),
            account_id,
            role_name,
            file: home.join(".aws/sso/cache").join(file),
        }))
    }

    /// The SDK's provider reads this file and the variables for itself.
    fn login_file(&self, arn: &str) -> Result<PathBuf, Failure> {
        let env = self.resolver.env;
        self.resolver.refuse_empty(&["AWS_LOGIN_CACHE_DIRECTORY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SIGNIN"])?;
        let dir = match env.os("AWS_LOGIN_CACHE_DIRECTORY").map(PathBuf::from) {
            Some(dir) if dir.is_absolute() => dir,
            Some(_) => {
                let what = "AWS_LOGIN_CACHE_DIRECTORY is not an absolute path";
                return Err(Failure::new(what, "set it to one, or unset it"));
            }
            None => env.home().ok_or_else(|| self.homeless("the 'aws login' session"))?.join(".aws/login/cache"),
        };
        Ok(dir.join(format!("{:x}.json", Sha256::digest(arn.trim()))))
    }

    fn keys(&self) -> Result<Option<Keys>, Failure> {
        let [id, secret, token] = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
        let (id_value, secret_value, token_value) = (self.get(id)?, self.get(secret)?, self.profile.get(token));
        let missing = |key: &str| self.wrong(&format!("it has keys, but no {key}"), "add it");
        if [id_value, secret_value, token_value].iter().all(Option::is_none) {
            return Ok(None);
        }
        Ok(Some(Keys {
            id: id_value.ok_or_else(|| missing(id))?.to_owned(),
            secret: secret_value.ok_or_else(|| missing(secret))?.to_owned().into(),
            token: token_value.filter(|token| !token.is_empty()).map(|token| token.to_owned().into()),
        }))
    }

    /// The value of a key. One without a value is a mistake.
    fn get(&self, key: &str) -> Result<Option<&str>, Failure> {
        match self.profile.get(key) {
            Some(value) if value.trim().is_empty() => {
                Err(self.wrong(&format!("{key} has no value"), "give it one, or take it out"))
            }
            value => Ok(value),
        }
    }

    /// Something that is wrong in this profile.
    fn wrong(&self, what: &str, next: &str) -> Failure {
        let file = self.resolver.profiles.file_of(self.name);
        Failure::new(format!("the profile '{}' in {file} cannot be used: {what}", self.name), next)
    }

    fn empty(&self, by: Option<&str>) -> Failure {
        let because = match by {
            Some(by) => format!(", which profile '{by}' names as its source_profile,"),
            None => self.resolver.selected.because(),
        };
        let (name, file) = (self.name, self.resolver.profiles.file_of(self.name));
        Failure::new(
            format!("the profile '{name}'{because} in {file} has no credentials"),
            format!("add keys, a role or a sign-in to it: 'aws configure --profile {name}' or 'aws configure sso'"),
        )
    }

    fn homeless(&self, what: &str) -> Failure {
        self.wrong(
            &format!("there is no home directory for {what}: HOME is unset or not an absolute path"),
            "set HOME to the home directory of the user who signed in",
        )
    }
}
