//! One profile on the way of [`chain`](super::chain): the role in it, what it gives itself, and what is wrong with it.

use std::path::{Path, PathBuf};

use aws_runtime::env_config::section::Profile;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::chain::{CONTAINER_URIS, Resolver};
use super::source::{IdentityToken, Source, Sso, WebIdentity};
use crate::code::Code;
use crate::config::{Keys, Role, SESSION_NAME};
use crate::env::Env;
use crate::error::Failure;
use crate::platform::shell_word;

/// A profile on the way.
pub(super) struct Section<'a> {
    pub(super) resolver: &'a Resolver<'a>,
    pub(super) profile: &'a Profile,
    pub(super) name: &'a str,
}

impl Section<'_> {
    /// The role of the profile and the profile that it is assumed with; without one it is the profile itself.
    pub(super) fn role(&self) -> Result<Option<(Role, Option<String>)>, Failure> {
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
            mfa_serial: self.get("mfa_serial")?.map(str::to_owned),
        };
        Ok(Some((role, next)))
    }

    /// What the profile itself gives, in the order of the SDK's `base_provider`.
    pub(super) fn source(&self) -> Result<Option<Source>, Failure> {
        let name = || self.name.to_owned();
        if let Some(source) = self.get("credential_source")? {
            return self.named_source(source).map(Some);
        }
        if let Some(file) = self.get("web_identity_token_file")? {
            let Some(role_arn) = self.get("role_arn")? else {
                return Err(self.wrong("it has web_identity_token_file and no role_arn", "add role_arn"));
            };
            return Ok(Some(Source::WebIdentity(WebIdentity {
                token: IdentityToken::File {
                    path: self.resolver.env.expand(Path::new(file)),
                    setting: format!("web_identity_token_file of profile '{}'", self.name),
                },
                role_arn: role_arn.to_owned(),
                session_name: self.get("role_session_name")?.unwrap_or(SESSION_NAME).to_owned(),
                region: None,
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
                    let hint = format!("move it to [sso-session {session}]");
                    return Err(self.wrong(&format!("it has sso_session, so {key} does not belong in it"), &hint));
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
        let run = format!("add it, or run 'aws configure sso --profile {}'", shell_word(self.name));
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
            file: home.join(".aws").join("sso").join("cache").join(file),
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
                return Err(Failure::new(
                    Code::SettingInvalid,
                    what,
                    "set it to one, or unset AWS_LOGIN_CACHE_DIRECTORY",
                ));
            }
            None => {
                let home = env.home().ok_or_else(|| self.homeless("the 'aws login' session"))?;
                home.join(".aws").join("login").join("cache")
            }
        };
        Ok(dir.join(format!("{:x}.json", Sha256::digest(arn.trim()))))
    }

    /// Whether an access key and a secret key are in it.
    pub(super) fn has_keys(&self) -> bool {
        ["aws_access_key_id", "aws_secret_access_key"].iter().all(|key| self.profile.get(key).is_some())
    }

    pub(super) fn keys(&self) -> Result<Option<Keys>, Failure> {
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
    pub(super) fn wrong(&self, what: &str, hint: &str) -> Failure {
        let file = self.resolver.profiles.file_of(self.name);
        Failure::new(
            Code::ProfileInvalid,
            format!("the profile '{}' in {file} cannot be used: {what}", self.name),
            hint,
        )
    }

    pub(super) fn empty(&self, by: Option<&str>) -> Failure {
        let because = match by {
            Some(by) => format!(", which profile '{by}' names as its source_profile,"),
            None => self.resolver.selected.because(),
        };
        let (name, file) = (self.name, self.resolver.profiles.file_of(self.name));
        Failure::new(
            Code::ProfileInvalid,
            format!("the profile '{name}'{because} in {file} has no credentials"),
            format!(
                "add keys, a role or a sign-in to it: 'aws configure --profile {word}' or 'aws configure sso --profile {word}'",
                word = shell_word(name)
            ),
        )
    }

    fn homeless(&self, what: &str) -> Failure {
        self.wrong(
            &format!("there is no home directory for {what}: {} is unset or not an absolute path", Env::HOME),
            &format!("set {} to the home directory of the user who signed in", Env::HOME),
        )
    }
}
