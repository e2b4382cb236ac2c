//! Decides which credentials the settings lead to: one source, and the roles that are assumed with it.
//!
//! No other module decides it. `aws::credentials` asks exactly the provider of the SDK that was decided here, so that the
//! cache key and the SDK cannot disagree. The order is that of the SDK's default chain (AWS SDK for Rust developer guide,
//! "Credential providers"): environment, profile, web identity, container, instance; within a profile it is that of the
//! SDK's `profile::credentials`. `identity` in the tests compares this chain with the SDK's.
//!
//! A profile that a setting names is never replaced: everything that is wrong with it is an error here, where the SDK goes
//! on to the next provider in some cases, and in the end to the role of the instance.

use super::profile_section::{ProfileSection, RoleOfProfile};
use super::profiles::Profiles;
use super::source::{CredentialChain, GitHubJob, IdentityToken, Selected, Source, WebIdentity};
use crate::code::Code;
use crate::config::{Caller, Keys, Role, SESSION_NAME, Target, TokenOrigin, TokenProvider, is_url};
use crate::env::Env;
use crate::error::Failure;
use crate::platform::shell_word;
use crate::registry::Registry;
use crate::secret::Secret;
use crate::spelling;

/// Decides the chain.
pub(super) struct Resolver<'a> {
    pub(super) env: &'a Env,
    pub(super) profiles: &'a Profiles,
    pub(super) selected: &'a Selected,
}

/// The variables with which a job of GitHub Actions requests its identity token.
pub(super) const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
pub(super) const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

impl Resolver<'_> {
    /// The chain for a registry.
    pub(super) fn chain_for(&self, target: &Target) -> Result<CredentialChain, Failure> {
        let chain = |source, roles| CredentialChain { source, roles };
        match &target.caller {
            Caller::AwsSettings { profile: _, role } => {
                let CredentialChain { source, mut roles } = self.chain()?;
                roles.extend(role.clone());
                Ok(chain(source, roles))
            }
            Caller::AccountKeys { keys, role } => {
                Ok(chain(Source::Account(keys.clone()), role.clone().into_iter().collect()))
            }
            Caller::WebIdentity { token, role } => {
                let role = role.as_ref().ok_or_else(|| no_role(&token.setting, &target.registry))?;
                Ok(chain(Source::WebIdentity(self.web_identity(token, role)?), Vec::new()))
            }
            Caller::ServiceAccount(account) => Ok(chain(Source::ServiceAccount(account.clone()), Vec::new())),
        }
    }

    /// The role of a registry, with the token of a CI job.
    fn web_identity(&self, origin: &TokenOrigin, role: &Role) -> Result<WebIdentity, Failure> {
        let setting = &origin.setting;
        let token = match &origin.provider {
            TokenProvider::Variable(name) => IdentityToken::Variable { name: name.clone(), setting: setting.clone() },
            TokenProvider::GitHub => IdentityToken::GitHub(self.github_job(setting)?),
        };
        let Role { arn, session_name, region, .. } = role.clone();
        Ok(WebIdentity { token, role_arn: arn, session_name, region })
    }

    /// The request for the identity token of this GitHub Actions job.
    fn github_job(&self, setting: &str) -> Result<GitHubJob, Failure> {
        let get = |name| self.env.text(name).map(str::trim).filter(|value| !value.is_empty());
        let (Some(url), Some(bearer)) = (get(GITHUB_URL), get(GITHUB_TOKEN)) else {
            let what = if self.env.text("GITHUB_ACTIONS") == Some("true") {
                "this GitHub Actions job may not request its identity token"
            } else {
                "this is not a GitHub Actions job, or one that may not request its identity token"
            };
            return Err(Failure::new(
                Code::IdentityTokenMissing,
                format!("{what} ({setting}): {GITHUB_URL} and {GITHUB_TOKEN} are not both set"),
                "give the job 'permissions: id-token: write' (workflows from forks cannot have it), and pass both \
                 variables on to containers",
            ));
        };
        if !is_url(url) || !is_private(url) {
            return Err(Failure::new(
                Code::SettingInvalid,
                format!("{GITHUB_URL} is not a URL with https"),
                "do not change the value that GitHub Actions sets",
            ));
        }
        Ok(GitHubJob { url: url.to_owned(), bearer: bearer.to_owned().into() })
    }

    /// The chain that the AWS settings lead to.
    fn chain(&self) -> Result<CredentialChain, Failure> {
        let alone = |source| Ok(CredentialChain { source, roles: Vec::new() });
        // The keys in the environment do not replace a mapped profile.
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
            let token = IdentityToken::File { path: token_file, setting };
            return alone(Source::WebIdentity(WebIdentity { token, role_arn, session_name, region: None }));
        }
        if CONTAINER_URIS.iter().any(|name| self.env.os(name).is_some()) {
            return alone(self.container()?);
        }
        alone(self.instance()?)
    }

    /// Keys in the environment, read as the SDK's provider reads them: a blank value counts as unset.
    pub(super) fn environment(&self) -> Option<Keys> {
        let get = |name| self.env.text(name).filter(|value| !value.trim().is_empty());
        let secret = get("AWS_SECRET_ACCESS_KEY").or_else(|| get("SECRET_ACCESS_KEY"));
        let (id, token) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SESSION_TOKEN"));
        let secret_of = |text: &str| Secret::from(text.to_owned());
        Some(Keys { id: id?.to_owned(), secret: secret_of(secret?), token: token.map(|token| secret_of(token.trim())) })
    }

    /// The chain of the selected profile; `None` when it is the default one that no setting names, and gives no credentials.
    fn profile_chain(&self) -> Result<Option<CredentialChain>, Failure> {
        let is_optional = *self.selected == Selected::Default;
        let (mut roles, mut visited) = (Vec::new(), Vec::<String>::new());
        let mut name = self.selected.name().to_owned();
        let source = loop {
            let named_by = visited.last().map(String::as_str);
            let Some(profile) = self.profiles.profile(&name) else {
                let is_unnamed = is_optional && named_by.is_none();
                return if is_unnamed { Ok(None) } else { Err(self.missing_profile(&name, named_by)) };
            };
            let section = ProfileSection { resolver: self, profile, name: &name };
            if visited.contains(&name) {
                return Err(section.wrong("source_profile leads back to it", "break the cycle of source_profile"));
            }
            // The SDK prefers keys to a role in every profile except the first, when both are there, empty or not.
            if named_by.is_some()
                && section.has_keys()
                && let Some(keys) = section.keys()?
            {
                break Source::Profile(name, keys);
            }
            let next = match section.role()? {
                Some(RoleOfProfile { role, source_profile }) => {
                    roles.push(role);
                    source_profile
                }
                None => None,
            };
            if let Some(next) = next {
                visited.push(std::mem::replace(&mut name, next));
                continue;
            }
            match section.source()? {
                Some(source) => break source,
                None if is_optional && named_by.is_none() && roles.is_empty() => return Ok(None),
                None => return Err(section.empty(named_by)),
            }
        };
        roles.reverse();
        Ok(Some(CredentialChain { source, roles }))
    }

    /// The failure for a profile that is in neither file; `named_by` is the profile that has it as its `source_profile`.
    fn missing_profile(&self, name: &str, named_by: Option<&str>) -> Failure {
        if let Some(failure) = self.profiles.misspelt(name) {
            return failure;
        }
        let word = shell_word(name);
        let meant =
            spelling::nearest(name, self.profiles.names().into_iter()).map(|meant| format!(": is '{meant}' meant?"));
        let hint = format!(
            "add it with 'aws configure --profile {word}' or 'aws configure sso --profile {word}', or correct the name{}",
            meant.unwrap_or_default()
        );
        let (named_by, files) = (self.named_by(named_by), self.profiles.neither());
        Failure::new(Code::ProfileMissing, format!("the profile '{name}'{named_by} is in neither {files}"), hint)
    }

    /// The setting or the profile that names a profile, as a relative clause.
    pub(super) fn named_by(&self, profile: Option<&str>) -> String {
        match profile {
            Some(profile) => format!(", which profile '{profile}' names as its source_profile,"),
            None => self.selected.named_by(),
        }
    }

    /// The role of the container. Its endpoint is checked here, and asked in `aws`.
    pub(super) fn container(&self) -> Result<Source, Failure> {
        let [relative, full] = CONTAINER_URIS;
        let wrong = |name: &str, form: &str| {
            Err(Failure::new(
                Code::SettingInvalid,
                format!("{name} is not {form}"),
                "correct or unset it: ECS and EKS set it themselves",
            ))
        };
        match (self.env.text(relative), self.env.text(full)) {
            (Some(path), _) if !path.starts_with('/') || path.parse::<http::Uri>().is_err() => {
                wrong(relative, "a path")
            }
            (None, Some(url)) if !is_url(url) => wrong(full, "a URL"),
            _ => Ok(Source::Container),
        }
    }

    /// The role of the instance, from the endpoint in the order of the SDK's client: variable, profile, mode.
    pub(super) fn instance(&self) -> Result<Source, Failure> {
        let setting = |variable: &'static str, key: &'static str| {
            let of_profile = || Some((self.profiles.profile(self.selected.name())?.get(key)?, key));
            self.env.text(variable).map(|value| (value, variable)).or_else(of_profile)
        };
        if let Some((url, name)) = setting("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint") {
            if is_url(url) {
                return Ok(Source::Instance(url.to_owned()));
            }
            return Err(Failure::new(
                Code::SettingInvalid,
                format!("{name} is not a URL"),
                format!("correct it, or unset {name} for the default address"),
            ));
        }
        match setting("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode") {
            Some((mode, _)) if mode.eq_ignore_ascii_case("ipv6") => {
                Ok(Source::Instance("http://[fd00:ec2::254]".to_owned()))
            }
            Some((mode, name)) if !mode.eq_ignore_ascii_case("ipv4") => Err(Failure::new(
                Code::SettingInvalid,
                format!("{name} is neither IPv4 nor IPv6"),
                format!("correct or unset {name}"),
            )),
            _ => Ok(Source::Instance("http://169.254.169.254".to_owned())),
        }
    }

    /// Refuses variables that are set and empty and that a provider of the SDK reads itself, since it does not treat them as
    /// unset.
    pub(super) fn refuse_empty(&self, variables: &[&str]) -> Result<(), Failure> {
        match variables.iter().find(|name| self.env.is_empty(name)) {
            None => Ok(()),
            Some(name) => Err(Failure::new(
                Code::SettingInvalid,
                format!("{name} is set and empty, which the AWS SDK does not treat as unset"),
                format!("unset {name}"),
            )),
        }
    }
}

/// Whether nobody on the way sees a request to this URL.
fn is_private(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else { return false };
    let host = url.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    url.scheme_str() == Some("https") || host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The failure for a web identity without a role to assume.
fn no_role(setting: &str, registry: &Registry) -> Failure {
    let of_account = match &registry.account {
        Some(account) => format!("AWS_ECR_ROLE_ARN_{account}, or AWS_ECR_ROLE_ARN for all accounts,"),
        None => "AWS_ECR_ROLE_ARN".to_owned(),
    };
    Failure::new(
        Code::SettingInvalid,
        format!("{setting} is set, and no setting names the role to assume"),
        format!("set {of_account} to the ARN of the role that trusts the CI system"),
    )
}

/// The variables that ECS and EKS set for a container with a role.
pub(super) const CONTAINER_URIS: [&str; 2] =
    ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
