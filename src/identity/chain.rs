//! Decides which credentials the settings lead to: one source, and the roles that are assumed with it.
//!
//! No other module decides it: `aws::credentials` asks exactly the source that was decided here. People write their settings
//! for the AWS CLI and the AWS SDK for Go, so the order is theirs: environment, web identity of the environment, profile,
//! container, instance. Five rules decide where the two differ:
//!
//! 1. Where both lead to the same caller, that is the caller.
//! 2. Where only one of them accepts the settings, they mean what they mean to that one.
//! 3. Where they lead to different callers, the SDK for Go decides.
//! 4. A profile that the helper's own settings name for a registry is never replaced: without credentials it is an error.
//! 5. Half of a pair, e.g. an access key without its secret, is an error that names the other half.
//!
//! What was passed over on the way is part of the result, for the log and for `doctor`.

use super::machine::{ROLE_ARN, Resolver};
use super::profile_section::{Link, ProfileSection};
use super::profiles::Profiles;
use super::source::{
    CredentialChain, GITHUB_TOKEN, GITHUB_URL, GitHubJob, IdentityToken, Selected, Source, WebIdentity,
};
use crate::code::Code;
use crate::config::{Caller, MappedProfile, Role, SESSION_NAME, Target, TokenOrigin, TokenProvider, is_url};
use crate::env::Env;
use crate::error::Failure;
use crate::platform::shell_word;
use crate::registry::Registry;
use crate::spelling;

/// The most profiles that may follow each other by `source_profile`. Each has a role that costs a request.
const LONGEST_CHAIN: usize = 50;

/// The variable with the path of a web identity's token file.
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";

impl Resolver<'_> {
    /// The chain for a registry.
    pub(super) fn chain_for(&self, target: &Target) -> Result<CredentialChain, Failure> {
        let chain = |source, roles| CredentialChain { source, roles, passed_over: Vec::new() };
        match &target.caller {
            Caller::AwsSettings { profile: _, role } => {
                let mut chain = self.chain()?;
                chain.roles.extend(role.clone());
                Ok(chain)
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
        // The environment does not replace a mapped profile.
        if matches!(self.selected, Selected::Mapped(..)) {
            if let Some(problem) = self.profiles.problem() {
                return Err(problem.clone());
            }
            return self.profile_chain(&mut Vec::new())?.ok_or_else(|| self.empty(self.selected.name(), None));
        }
        let mut passed_over: Vec<String> = self.selected.passed_over(self.env).into_iter().collect();
        let of_environment = match self.environment()? {
            Some(keys) => Some(keys),
            None => self.web_identity_of_environment()?.map(Source::WebIdentity),
        };
        if let Some(source) = of_environment {
            if let Selected::Named(variable, name) = self.selected {
                let is_missing = self.profiles.profile(name).is_none() && self.profiles.problem().is_none();
                let missing = if is_missing { "does not exist and " } else { "" };
                passed_over.push(format!("profile '{name}' ({variable}) {missing}is not used"));
            }
            return Ok(CredentialChain { source, roles: Vec::new(), passed_over });
        }
        if let Some(problem) = self.profiles.problem() {
            return Err(problem.clone());
        }
        let mut chain = match self.profile_chain(&mut passed_over)? {
            Some(chain) => chain,
            None => CredentialChain { source: self.machine()?, roles: Vec::new(), passed_over: Vec::new() },
        };
        if let Some(role_arn) = self.env.text(ROLE_ARN)
            && !matches!(&chain.source, Source::WebIdentity(of) if of.role_arn == role_arn)
        {
            passed_over.push(format!("{ROLE_ARN} has no effect without {TOKEN_FILE}"));
        }
        chain.passed_over = passed_over;
        Ok(chain)
    }

    fn web_identity_of_environment(&self) -> Result<Option<WebIdentity>, Failure> {
        let (path, role_arn) = match (self.env.path(TOKEN_FILE), self.env.text(ROLE_ARN)) {
            (Some(path), Some(role_arn)) => (path, role_arn.to_owned()),
            (Some(_), None) => return Err(self.half(TOKEN_FILE, ROLE_ARN)),
            (None, _) => return Ok(None),
        };
        let session_name = self.env.text("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION_NAME).to_owned();
        let token = IdentityToken::File { path, setting: TOKEN_FILE.to_owned() };
        Ok(Some(WebIdentity { token, role_arn, session_name, region: None }))
    }

    /// The chain of the selected profile; `None` when it gives no credentials and nothing in it is half of something.
    fn profile_chain(&self, passed_over: &mut Vec<String>) -> Result<Option<CredentialChain>, Failure> {
        let (mut roles, mut visited) = (Vec::new(), Vec::<String>::new());
        let mut name = self.selected.name().to_owned();
        let source = loop {
            let named_by = visited.last().map(String::as_str);
            let Some(profile) = self.profiles.profile(&name) else {
                if named_by.is_none() && self.selected.need_not_exist() {
                    if let Selected::Named(variable, _) = self.selected {
                        passed_over.push(format!("profile '{name}' ({variable}) is in neither file"));
                    }
                    return Ok(None);
                }
                return Err(self.missing_profile(&name, named_by));
            };
            let section = ProfileSection { resolver: self, profile, name: &name, is_source: named_by.is_some() };
            if visited.len() == LONGEST_CHAIN {
                let what = format!("it is the {LONGEST_CHAIN}th after '{}' by source_profile", visited[0]);
                return Err(section.wrong(&what, "shorten the chain"));
            }
            let is_again = visited.contains(&name);
            let link = section.link(is_again, passed_over)?;
            if !is_again && !matches!(link, Some(Link::Source(Source::WebIdentity(_)))) {
                roles.extend(section.role());
            }
            match link {
                Some(Link::Source(source)) => break source,
                Some(Link::Profile(next)) => visited.push(std::mem::replace(&mut name, next)),
                None if is_again => {
                    return Err(section.wrong("source_profile leads back to it", "break the cycle of source_profile"));
                }
                None if named_by.is_some() || matches!(self.selected, Selected::Mapped(..)) => {
                    return Err(self.empty(&name, named_by));
                }
                None => {
                    let with_role =
                        if roles.is_empty() { "" } else { ", and its role is assumed with those of the machine" };
                    if *self.selected != Selected::Default || !roles.is_empty() {
                        passed_over.push(format!(
                            "profile '{name}'{} has no credentials of its own{with_role}",
                            self.selected.in_brackets()
                        ));
                    }
                    if roles.is_empty() {
                        return Ok(None);
                    }
                    break self.machine()?;
                }
            }
        };
        roles.reverse();
        Ok(Some(CredentialChain { source, roles, passed_over: Vec::new() }))
    }

    /// The failure for a profile without credentials; `named_by` is the profile that has it as its `source_profile`.
    fn empty(&self, name: &str, named_by: Option<&str>) -> Failure {
        let (file, word) = (self.profiles.file_of(name), shell_word(name));
        Failure::new(
            Code::ProfileInvalid,
            format!("the profile '{name}'{} in {file} has no credentials", self.named_by(named_by)),
            format!(
                "add keys, a role or a sign-in to it: 'aws configure --profile {word}' or 'aws configure sso --profile {word}'"
            ),
        )
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
}

/// Why a `get` for a registry that is mapped to this profile has no credentials; `None` when it may have some.
pub fn profile_failure(env: &Env, profiles: &Profiles, name: &str) -> Option<Failure> {
    let mapped = MappedProfile { name: name.to_owned(), setting: "the [[registry]] table".to_owned() };
    let selected = Selected::Mapped(mapped);
    Resolver { env, profiles, selected: &selected }.chain().err()
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
    let of_account = match registry.account() {
        Some(account) => format!("AWS_ECR_ROLE_ARN_{account}, or AWS_ECR_ROLE_ARN for all accounts,"),
        None => "AWS_ECR_ROLE_ARN".to_owned(),
    };
    Failure::new(
        Code::SettingInvalid,
        format!("{setting} is set, and no setting names the role to assume"),
        format!("set {of_account} to the ARN of the role that trusts the CI system"),
    )
}
