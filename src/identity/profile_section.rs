//! Reads one profile for [`chain`](super::chain): its role and its source of credentials. Reports what is wrong with it.

use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::machine::{CONTAINER_URIS, ROLE_ARN, Resolver};
use super::profiles::Profile;
use super::source::{IdentityToken, Selected, Source, Sso, WebIdentity};
use crate::code::Code;
use crate::config::{Keys, Role, SESSION_NAME};
use crate::env::Env;
use crate::error::Failure;
use crate::platform::shell_word;

/// A profile, with what its settings refer to.
pub(super) struct ProfileSection<'a> {
    pub(super) resolver: &'a Resolver<'a>,
    pub(super) profile: Profile<'a>,
    pub(super) name: &'a str,
    /// Whether another profile names it as its `source_profile`.
    pub(super) is_source: bool,
}

/// Where a profile's credentials come from, before its role is assumed.
pub(super) enum Link {
    /// This source.
    Source(Source),
    /// The chain of this profile.
    Profile(String),
}

/// The keys that describe a sign-in through IAM Identity Center.
struct SignInKeys<'a> {
    session: Option<&'a str>,
    start_url: Option<&'a str>,
    region: Option<&'a str>,
    /// The section with the keys, for messages.
    section: String,
}

/// Settings of a profile that need `role_arn`.
const OF_ROLE: [&str; 3] = ["web_identity_token_file", "source_profile", "credential_source"];

impl ProfileSection<'_> {
    /// The role of the profile. It is assumed with the credentials that [`link`](Self::link) leads to.
    pub(super) fn role(&self) -> Option<Role> {
        Some(Role {
            arn: self.get("role_arn")?.to_owned(),
            external_id: self.get("external_id").map(str::to_owned),
            session_name: self.session_name(),
            region: None,
            mfa_serial: self.get("mfa_serial").map(str::to_owned),
        })
    }

    fn session_name(&self) -> String {
        self.get("role_session_name").unwrap_or(SESSION_NAME).to_owned()
    }

    /// Where the credentials of the profile come from; `None` when the profile has none. A profile that is reached again by
    /// `source_profile` stands for its own credentials alone.
    pub(super) fn link(&self, is_again: bool, passed_over: &mut Vec<String>) -> Result<Option<Link>, Failure> {
        // Half of a pair is an error also where a role makes the keys of the profile superfluous.
        self.keys()?;
        let [token_file, source_profile, credential_source] = OF_ROLE.map(|key| self.get(key));
        let role_arn = self.get("role_arn");
        if let (Some(file), None) = (token_file, role_arn) {
            return self.with_role_of_environment(file, passed_over).map(|source| Some(Link::Source(source)));
        }
        let (Some(role_arn), false) = (role_arn, is_again) else {
            return self.own_source(passed_over, is_again).map(|source| source.map(Link::Source));
        };
        // The SDK for Go takes the keys of a source profile before it looks for anything else.
        if self.is_source
            && let Some(source) = self.source_of_keys(passed_over)?
        {
            return Ok(Some(Link::Source(source)));
        }
        match (token_file, source_profile, credential_source) {
            (Some(file), None, None) => match self.source_of_keys(passed_over)? {
                Some(source) => Ok(Some(source)),
                None => Ok(Some(self.web_identity(file, role_arn))),
            },
            (Some(file), _, _) => Ok(Some(self.web_identity(file, role_arn))),
            (None, Some(_), Some(_)) => {
                Err(self.wrong("it has both source_profile and credential_source", "remove one of them"))
            }
            (None, Some(next), None) if next != self.name => return Ok(Some(Link::Profile(next.to_owned()))),
            (None, Some(_), None) => match self.own_source(passed_over, true)? {
                Some(source) => Ok(Some(source)),
                None => Err(self.wrong(
                    "it has role_arn and names itself as its source_profile, and has no credentials",
                    "add keys, or name another profile as source_profile",
                )),
            },
            (None, None, Some(named)) => match self.source_of_keys(passed_over)? {
                Some(source) => Ok(Some(source)),
                None => self.named_source(named).map(Some),
            },
            (None, None, None) => self.own_source(passed_over, false),
        }
        .map(|source| source.map(Link::Source))
    }

    /// The source of a profile with a token file and no role, which has one in the environment as in the AWS CLI. A profile that
    /// another profile or the helper's own configuration names stands for itself.
    fn with_role_of_environment(&self, file: &str, passed_over: &mut Vec<String>) -> Result<Source, Failure> {
        let is_named = self.is_source || matches!(self.resolver.selected, Selected::Mapped(..));
        let Some(role_arn) = self.resolver.env.text(ROLE_ARN).filter(|_| !is_named) else {
            return Err(self.wrong("it has web_identity_token_file and no role_arn", "add role_arn"));
        };
        if let Some(source) = self.source_of_keys(passed_over)? {
            return Ok(source);
        }
        passed_over.push(format!("profile '{}' has no role_arn, so {ROLE_ARN} names the role", self.name));
        Ok(self.web_identity(file, role_arn))
    }

    fn web_identity(&self, file: &str, role_arn: &str) -> Source {
        Source::WebIdentity(WebIdentity {
            token: IdentityToken::File {
                path: self.resolver.env.expand(Path::new(file)),
                setting: format!("web_identity_token_file of profile '{}'", self.name),
            },
            role_arn: role_arn.to_owned(),
            session_name: self.session_name(),
            region: None,
        })
    }

    /// The source in the profile itself: keys, a sign-in, an `aws login` session or a process.
    fn own_source(&self, passed_over: &mut Vec<String>, has_link: bool) -> Result<Option<Source>, Failure> {
        let name = || self.name.to_owned();
        if let Some(source) = self.source_of_keys(passed_over)? {
            return Ok(Some(source));
        }
        if let Some(sso) = self.sso(passed_over)? {
            return Ok(Some(Source::Sso(sso)));
        }
        if let Some(arn) = self.get("login_session") {
            let file = self.login_file(arn)?;
            return Ok(Some(Source::Login { profile: name(), arn: arn.to_owned(), file }));
        }
        if let Some(command) = self.get("credential_process") {
            return Ok(Some(Source::Process { profile: name(), command: command.to_owned() }));
        }
        // Without credentials of its own, the profile would lead to another identity.
        match OF_ROLE.into_iter().find(|key| self.get(key).is_some()) {
            Some(half) if !has_link && self.get("role_arn").is_none() => {
                Err(self.wrong(&format!("it has {half} and no role_arn"), "add role_arn"))
            }
            _ => Ok(None),
        }
    }

    /// The keys in the profile, which have precedence over all else in it.
    fn source_of_keys(&self, passed_over: &mut Vec<String>) -> Result<Option<Source>, Failure> {
        const OTHERS: [&str; 7] = [
            "sso_session",
            "sso_start_url",
            "sso_account_id",
            "login_session",
            "credential_process",
            "credential_source",
            "web_identity_token_file",
        ];
        let Some(keys) = self.keys()? else { return Ok(None) };
        let other = OTHERS.into_iter().find(|key| self.get(key).is_some());
        passed_over
            .extend(other.map(|key| format!("{key} of profile '{}' is not used: the profile has keys", self.name)));
        Ok(Some(Source::Profile(self.name.to_owned(), keys)))
    }

    fn named_source(&self, source: &str) -> Result<Source, Failure> {
        let resolver = self.resolver;
        match source.to_ascii_lowercase().as_str() {
            "environment" => resolver.environment()?.ok_or_else(|| {
                self.wrong(
                    "credential_source is Environment, and the environment has no keys",
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                )
            }),
            "ecscontainer" if CONTAINER_URIS.iter().all(|name| resolver.env.os(name).is_none()) => Err(self.wrong(
                "credential_source is EcsContainer, and this is no container of ECS or EKS",
                "use the profile in such a container, where AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set",
            )),
            "ecscontainer" => resolver.container(CONTAINER_URIS),
            "ec2instancemetadata" => resolver.instance(),
            _ => Err(self.wrong(
                &format!("credential_source is '{source}'"),
                "write Environment, Ec2InstanceMetadata or EcsContainer",
            )),
        }
    }

    /// The sign-in of the profile. Without account and role it is one for other programs, and passed over.
    fn sso(&self, passed_over: &mut Vec<String>) -> Result<Option<Sso>, Failure> {
        let [account_id, role_name] = [self.get("sso_account_id"), self.get("sso_role_name")];
        if account_id.is_none() && role_name.is_none() {
            let key = ["sso_session", "sso_start_url", "sso_region"].into_iter().find(|key| self.get(key).is_some());
            passed_over.extend(key.map(|key| {
                format!("{key} of profile '{}' is not used: there is no sso_account_id and no sso_role_name", self.name)
            }));
            return Ok(None);
        }
        let SignInKeys { session, start_url, region, section } = self.sign_in()?;
        let required = |key: &str, value: Option<&'_ str>, section: &str| {
            let hint = || format!("add it, or run 'aws configure sso --profile {}'", shell_word(self.name));
            value.map(str::to_owned).ok_or_else(|| self.wrong(&format!("{key} is missing in {section}"), &hint()))
        };
        let own = format!("profile '{}'", self.name);
        let account_id = required("sso_account_id", account_id, &own)?;
        let role_name = required("sso_role_name", role_name, &own)?;
        let region = required("sso_region", region, &section)?;
        let start_url = required("sso_start_url", start_url, &section)?;
        let home = self.resolver.env.home().ok_or_else(|| self.homeless("the sign-in"))?;
        // The AWS CLI names the file by the SHA-1 of the session's name; in the legacy form, of the start URL.
        let file = format!("{:x}.json", Sha1::digest(session.unwrap_or(&start_url)));
        Ok(Some(Sso {
            profile: self.name.to_owned(),
            session: session.map(str::to_owned),
            region,
            account_id,
            role_name,
            file: home.join(".aws").join("sso").join("cache").join(file),
        }))
    }

    /// The sign-in that the profile refers to: its `[sso-session …]`, or in the legacy form its own keys.
    fn sign_in(&self) -> Result<SignInKeys<'_>, Failure> {
        let (start_url, region) = (self.get("sso_start_url"), self.get("sso_region"));
        let Some(session) = self.get("sso_session") else {
            return Ok(SignInKeys { session: None, start_url, region, section: format!("profile '{}'", self.name) });
        };
        let Some(found) = self.resolver.profiles.sso_session(session) else {
            return Err(self.wrong(
                &format!("the config file has no section [sso-session {session}]"),
                "add it with 'aws configure sso-session', or correct sso_session",
            ));
        };
        // 'aws configure sso' leaves the keys of the older form beside sso_session.
        for (key, value) in [("sso_start_url", start_url), ("sso_region", region)] {
            if value.is_some() && found.get(key).is_some_and(|other| Some(other) != value) {
                let what = format!("its {key} is not that of [sso-session {session}]");
                return Err(self.wrong(&what, &format!("remove {key} from the profile, or correct it")));
            }
        }
        Ok(SignInKeys {
            session: Some(session),
            start_url: found.get("sso_start_url"),
            region: found.get("sso_region"),
            section: format!("[sso-session {session}]"),
        })
    }

    /// The file of an `aws login` session. The SDK's provider also reads it, and these variables.
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

    /// The keys of the profile. A pair is in one file; half of a pair is an error.
    pub(super) fn keys(&self) -> Result<Option<Keys>, Failure> {
        const ID: &str = "aws_access_key_id";
        const SECRET: &str = "aws_secret_access_key";
        for (index, section) in self.profile.sections().enumerate() {
            let missing = |key: &str, other: &str| {
                let what = format!("it has {other} without {key} beside it in the same file");
                self.wrong(&what, &format!("add {key}, or remove {other}"))
            };
            let (id, secret) = match (section.get(ID), section.get(SECRET)) {
                (Some(id), Some(secret)) => (id, secret),
                (Some(_), None) => return Err(missing(SECRET, ID)),
                (None, Some(_)) => return Err(missing(ID, SECRET)),
                (None, None) => continue,
            };
            // As in the SDK for Go, the token of keys in the credentials file may be in the config file.
            let token = ["aws_session_token", "aws_security_token"]
                .into_iter()
                .find_map(|key| self.profile.sections().skip(index).find_map(|section| section.get(key)));
            return Ok(Some(Keys {
                id: id.to_owned(),
                secret: secret.to_owned().into(),
                token: token.map(|token| token.to_owned().into()),
            }));
        }
        Ok(None)
    }

    /// The value of a setting; an empty one counts as absent.
    fn get(&self, key: &str) -> Option<&str> {
        self.profile.get(key)
    }

    /// The failure for a profile with a mistake.
    pub(super) fn wrong(&self, what: &str, hint: &str) -> Failure {
        let file = self.resolver.profiles.file_of(self.name);
        Failure::new(
            Code::ProfileInvalid,
            format!("the profile '{}' in {file} cannot be used: {what}", self.name),
            hint,
        )
    }

    fn homeless(&self, what: &str) -> Failure {
        self.wrong(
            &format!("there is no home directory for {what}: {} is unset or not an absolute path", Env::HOME),
            &format!("set {} to the home directory of the user who signed in", Env::HOME),
        )
    }
}
