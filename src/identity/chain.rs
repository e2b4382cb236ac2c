//! Whose credentials the settings lead to: one source, and the roles that are assumed with it.
//!
//! This is the only place that decides it. The SDK is then told what was decided, provider by provider (`aws::credentials`),
//! and never looks for another, so that what the cache key says and what the SDK does cannot part. The order is that of
//! the SDK's default chain (AWS SDK for Rust developer guide, "Credential providers"): environment, profile, web identity,
//! container, instance; and within a profile that of its `profile::credentials`. `identity` in the tests holds the two
//! together.
//!
//! A profile that somebody names is a promise: it answers, or nobody does. Whatever is wrong with it is an error here,
//! where the SDK goes on to the next provider for some of it, in the end to the role of the instance.

use super::profile_section::Section;
use super::profiles::{Profiles, is_valid_name};
use super::source::{CredentialChain, GitHubJob, IdentityToken, Selected, Source, WebIdentity};
use crate::code::Code;
use crate::config::{Caller, Keys, Role, SESSION_NAME, Target, TokenOrigin, TokenProvider, is_url};
use crate::env::Env;
use crate::error::Failure;
use crate::platform::shell_word;
use crate::registry::Registry;
use crate::secret::Secret;

/// Finds the chain.
pub(super) struct Resolver<'a> {
    pub(super) env: &'a Env,
    pub(super) profiles: &'a Profiles,
    pub(super) selected: &'a Selected,
}

/// The variables by which a job of GitHub Actions asks for its identity token.
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

    fn github_job(&self, setting: &str) -> Result<GitHubJob, Failure> {
        let get = |name| self.env.text(name).map(str::trim).filter(|value| !value.is_empty());
        let (Some(url), Some(bearer)) = (get(GITHUB_URL), get(GITHUB_TOKEN)) else {
            let what = if self.env.text("GITHUB_ACTIONS") == Some("true") {
                "this GitHub Actions job may not ask for its identity token"
            } else {
                "this is no GitHub Actions job, or one that may not ask for its identity token"
            };
            return Err(Failure::new(
                Code::IdentityTokenMissing,
                format!("{what} ({setting}): {GITHUB_URL} and {GITHUB_TOKEN} are not both set"),
                "give the job 'permissions: id-token: write' (workflows from forks cannot have it), and pass both \
                 variables on to containers",
            ));
        };
        if !is_url(url) {
            return Err(Failure::new(
                Code::SettingInvalid,
                format!("{GITHUB_URL} is not a URL"),
                "leave it as GitHub Actions sets it",
            ));
        }
        Ok(GitHubJob { url: url.to_owned(), bearer: bearer.to_owned().into() })
    }

    fn chain(&self) -> Result<CredentialChain, Failure> {
        let alone = |source| Ok(CredentialChain { source, roles: Vec::new() });
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

    /// Keys in the environment, as the SDK's provider for them reads them: blank is unset.
    pub(super) fn environment(&self) -> Option<Keys> {
        let get = |name| self.env.text(name).filter(|value| !value.trim().is_empty());
        let secret = get("AWS_SECRET_ACCESS_KEY").or_else(|| get("SECRET_ACCESS_KEY"));
        let (id, token) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SESSION_TOKEN"));
        let secret_of = |text: &str| Secret::from(text.to_owned());
        Some(Keys { id: id?.to_owned(), secret: secret_of(secret?), token: token.map(|token| secret_of(token.trim())) })
    }

    /// The chain of the selected profile; `None` when nobody named it and it has no credentials.
    fn profile_chain(&self) -> Result<Option<CredentialChain>, Failure> {
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
            // The SDK prefers keys to a role in every profile but the first, when both are there, empty or not.
            if visited.len() > 1
                && section.has_keys()
                && let Some(keys) = section.keys()?
            {
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
        Ok(Some(CredentialChain { source, roles }))
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
            Code::ProfileMissing,
            format!("the profile '{name}'{because} is in neither {}", self.profiles.neither()),
            if is_valid_name(name) {
                let word = shell_word(name);
                format!(
                    "add it with 'aws configure --profile {word}' or 'aws configure sso --profile {word}', or correct \
                     the name"
                )
            } else {
                "correct the name: the AWS SDK takes letters, digits and _-/.%@:+ in the name of a profile".to_owned()
            },
        )
    }

    pub(super) fn container(&self) -> Result<Source, Failure> {
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
                Code::SettingInvalid,
                format!("{} is not {form}", CONTAINER_URIS[number]),
                "correct it: ECS and EKS set it by themselves",
            )),
        }
    }

    /// The endpoint in the order of the SDK's client: variable, profile, mode.
    pub(super) fn instance(&self) -> Result<Source, Failure> {
        let setting = |variable: &'static str, key: &'static str| {
            let of_profile = || Some((self.profiles.profile(self.selected.name())?.get(key)?, key));
            self.env.text(variable).map(|value| (value, variable)).or_else(of_profile)
        };
        let endpoint = setting("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
        if let Some((url, name)) = endpoint {
            return if is_url(url) {
                Ok(Source::Instance(url.to_owned()))
            } else {
                Err(Failure::new(
                    Code::SettingInvalid,
                    format!("{name} is not a URL"),
                    format!("correct it, or unset {name} for the usual address"),
                ))
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
            Some((_, name)) => Err(Failure::new(
                Code::SettingInvalid,
                format!("{name} is neither IPv4 nor IPv6"),
                format!("correct or unset {name}"),
            )),
        }
    }

    /// Variables that are set to nothing and that a provider of the SDK reads for itself: it would not take them for unset.
    pub(super) fn refuse_empty(&self, variables: &[&str]) -> Result<(), Failure> {
        match variables.iter().find(|name| self.env.is_empty(name)) {
            None => Ok(()),
            Some(name) => Err(Failure::new(
                Code::SettingInvalid,
                format!("{name} is set and empty, which the AWS SDK does not take for unset"),
                format!("unset {name}"),
            )),
        }
    }
}

/// A web identity without a role to assume.
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

/// Either means that a container's role is wanted.
pub(super) const CONTAINER_URIS: [&str; 2] =
    ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
