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

use std::fmt;
use std::time::Instant;

use super::inputs::{Inputs, ProfileSection};
use super::profiles::{Profile, Profiles};
use super::selected::Selected;
use super::sources::{Container, Instance, ROLE_ARN, Source, StaticKeys, TOKEN_FILE, WebIdentity};
use crate::code::Code;
use crate::config::{Caller, Role, Target};
use crate::env::Env;
use crate::error::Failure;
use crate::platform::aws_command;
use crate::spelling;

/// The role for the identity tokens of CI jobs and service accounts.
const ROLE_FOR_TOKENS: &str = "AWS_ECR_ROLE_ARN";

/// The most profiles that may follow each other by `source_profile`. Each has a role that costs a request.
pub const LONGEST_CHAIN: usize = 50;

/// A source and the roles on top of it, in the order in which they are assumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialChain {
    /// Gives the first credentials.
    pub source: Source,
    /// Each role is assumed with the credentials before it.
    pub roles: Vec<Role>,
    /// Settings that were passed over, a clause each.
    pub passed_over: Vec<String>,
}

impl CredentialChain {
    /// The chain for a registry.
    pub(super) fn decide(target: &Target, inputs: &Inputs<'_>) -> Result<Self, Failure> {
        let (source, role) = match &target.caller {
            Caller::AwsSettings { profile: _, role } => {
                let mut chain = inputs.chain()?;
                chain.roles.extend(role.clone());
                let account = target.registry.account().filter(|_| target.chosen_by.is_none());
                if let Some(account) = account.filter(|_| inputs.env.setting(ROLE_FOR_TOKENS).is_some()) {
                    chain.passed_over.push(format!(
                        "{ROLE_FOR_TOKENS} has no effect without AWS_ECR_WEB_IDENTITY: \
                         {ROLE_FOR_TOKENS}_{account} names the role for this account"
                    ));
                }
                return Ok(chain);
            }
            Caller::AccountKeys { account, keys, role } => {
                (Source::Keys(StaticKeys::for_account(*account, keys)), role.clone())
            }
            Caller::WebIdentity { token, role } => {
                let web_identity = WebIdentity::for_job(token, role.as_ref(), &target.registry, inputs)?;
                (Source::WebIdentity(web_identity), None)
            }
            Caller::ServiceAccount(account) => (Source::WebIdentity(WebIdentity::for_account(account)), None),
        };
        Ok(Self { source, roles: role.into_iter().collect(), passed_over: Vec::new() })
    }

    /// The role whose credentials it leads to, where the settings name it.
    pub fn role_arn(&self) -> Option<&str> {
        self.roles.last().map(|role| role.arn.as_str()).or_else(|| self.source.role_arn())
    }

    /// Describes it as the object of a sentence, and what was passed over on the way to it.
    pub fn with_passed_over(&self) -> String {
        std::iter::once(self.to_string()).chain(self.passed_over.iter().cloned()).collect::<Vec<_>>().join("; ")
    }

    /// Describes it as the object of a sentence. Keys from settings add the end of the access key.
    pub fn with_access_key(&self) -> String {
        let end = match &self.source {
            Source::Keys(keys) => keys.end_of_id(),
            _ => None,
        };
        end.map_or_else(|| self.to_string(), |end| format!("{self}, access key …{end}"))
    }
}

impl fmt::Display for CredentialChain {
    /// Describes it as the object of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.roles.last() {
            Some(role) => write!(f, "the role {}, assumed with {}", role.arn, self.source),
            None => self.source.fmt(f),
        }
    }
}

impl Inputs<'_> {
    /// The chain that the AWS settings lead to.
    fn chain(&self) -> Result<CredentialChain, Failure> {
        let problem = || self.profiles.problem().cloned().map_or(Ok(()), Err);
        // The environment does not replace a mapped profile.
        if self.selected.is_mapped {
            problem()?;
            let (source, roles) = self.profile_chain()?.ok_or_else(|| self.empty(self.selected.name(), None))?;
            return Ok(CredentialChain { source, roles, passed_over: Vec::new() });
        }
        self.passed_over.borrow_mut().extend(self.selected.passed_over(self.env));
        let in_environment = match StaticKeys::in_environment(self)? {
            Some(keys) => Some(Source::Keys(keys)),
            None => WebIdentity::in_environment(self)?.map(Source::WebIdentity),
        };
        let (source, roles) = if let Some(source) = in_environment {
            if let Some(variable) = self.selected.variable() {
                let name = self.selected.name();
                let is_missing = self.profiles.profile(name).is_none() && self.profiles.problem().is_none();
                let missing = if is_missing { "does not exist and " } else { "" };
                self.pass_over(format!("profile '{name}' ({variable}) {missing}is not used"));
            }
            (source, Vec::new())
        } else {
            problem()?;
            let (source, roles) = match self.profile_chain()? {
                Some(chain) => chain,
                None => (self.machine()?, Vec::new()),
            };
            if self.env.text(ROLE_ARN).is_some_and(|role_arn| source.role_arn() != Some(role_arn)) {
                self.pass_over(format!("{ROLE_ARN} has no effect without {TOKEN_FILE}"));
            }
            (source, roles)
        };
        Ok(CredentialChain { source, roles, passed_over: self.passed_over.take() })
    }

    /// The role of the container or of the instance.
    fn machine(&self) -> Result<Source, Failure> {
        match Container::in_environment(self, Container::IN_CHAIN)? {
            Some(container) => Ok(Source::Container(container)),
            None => Instance::in_settings(self).map(Source::Instance),
        }
    }

    /// The source that the selected profile leads to, and its roles; `None` when it gives no credentials and nothing in it is half of
    /// something.
    fn profile_chain(&self) -> Result<Option<(Source, Vec<Role>)>, Failure> {
        let (mut roles, mut visited) = (Vec::new(), Vec::<String>::new());
        let mut name = self.selected.name().to_owned();
        loop {
            let named_by = visited.last().map(String::as_str);
            let Some(profile) = self.profiles.profile(&name) else {
                if named_by.is_some() || !self.selected.need_not_exist() {
                    return Err(self.missing_profile(&name, named_by));
                }
                if let Some(variable) = self.selected.variable() {
                    self.pass_over(format!("profile '{name}' ({variable}) is in neither file"));
                }
                return Ok(None);
            };
            let is_source = named_by.is_some();
            let mut section = ProfileSection { inputs: self, profile, name: &name, is_source, keys: None };
            if visited.len() == LONGEST_CHAIN {
                let what = format!("it is the {LONGEST_CHAIN}th after '{}' by source_profile", visited[0]);
                return Err(section.wrong(&what, "shorten the chain"));
            }
            // Half of a pair is an error also where a role makes the keys of the profile superfluous.
            section.keys = section.read_keys()?;
            let is_again = visited.contains(&name);
            if let Some(next) = section.source_profile(is_again).map(str::to_owned) {
                roles.extend(section.role());
                visited.push(std::mem::replace(&mut name, next));
                continue;
            }
            let source = section.source(is_again)?;
            if !is_again && !matches!(source, Some(Source::WebIdentity(_))) {
                roles.extend(section.role());
            }
            let source = match source {
                Some(source) => source,
                None if is_again => {
                    return Err(section.wrong("source_profile leads back to it", "break the cycle of source_profile"));
                }
                None if named_by.is_some() || self.selected.is_mapped => return Err(self.empty(&name, named_by)),
                None => {
                    profile
                        .foreign_key()
                        .into_iter()
                        .for_each(|clause| self.pass_over(format!("in profile '{name}', {clause}")));
                    let with_role =
                        if roles.is_empty() { "" } else { ", and its role is assumed with those of the machine" };
                    if !self.selected.is_default() || !roles.is_empty() {
                        let named = self.selected.variable().map_or_else(String::new, |name| format!(" ({name})"));
                        self.pass_over(format!("profile '{name}'{named} has no credentials of its own{with_role}"));
                    }
                    if roles.is_empty() {
                        return Ok(None);
                    }
                    self.machine()?
                }
            };
            roles.reverse();
            return Ok(Some((source, roles)));
        }
    }

    /// The failure for a profile without credentials; `named_by` is the profile that has it as its `source_profile`.
    fn empty(&self, name: &str, named_by: Option<&str>) -> Failure {
        let file = self.profiles.file_of(name);
        let foreign = self.profiles.profile(name).and_then(Profile::foreign_key);
        let foreign = foreign.map_or_else(String::new, |clause| format!("; {clause}"));
        Failure::new(
            Code::ProfileInvalid,
            format!("the profile '{name}'{} in {file} has no credentials{foreign}", self.named_by(named_by)),
            format!("add keys, a role or a sign-in to it: {}", configure(name)),
        )
    }

    /// The failure for a profile that is in neither file; `named_by` is the profile that has it as its `source_profile`.
    fn missing_profile(&self, name: &str, named_by: Option<&str>) -> Failure {
        if let Some(failure) = self.guesses.then(|| self.profiles.misspelt(name)).flatten() {
            return failure;
        }
        let nearest = || spelling::nearest(name, self.profiles.names().into_iter());
        let meant = self.guesses.then(nearest).flatten().map(|meant| format!(": did you mean '{meant}'?"));
        let hint = format!("add it with {}, or correct the name{}", configure(name), meant.unwrap_or_default());
        let (named_by, files) = (self.named_by(named_by), self.profiles.neither());
        Failure::new(Code::ProfileMissing, format!("the profile '{name}'{named_by} is in neither {files}"), hint)
    }

    /// The setting or the profile that names a profile, as a relative clause.
    fn named_by(&self, profile: Option<&str>) -> String {
        match profile {
            Some(profile) => format!(", which profile '{profile}' names as its source_profile,"),
            None => self.selected.named_by(),
        }
    }
}

/// The commands that make a profile.
fn configure(name: &str) -> String {
    format!("{} or {}", aws_command("configure", name), aws_command("configure sso", name))
}

/// Why a `get` for a registry that is mapped to this profile has no credentials; `None` when it may have some, since its token or
/// sign-in may come later.
pub fn profile_failure(env: &Env, profiles: &Profiles, name: &str) -> Option<Failure> {
    let selected = Selected::mapped(name);
    // A file may have thousands of profiles without the one that they name: a guess for each would take minutes.
    let inputs = Inputs { guesses: false, ..Inputs::new(env, profiles, &selected, Instant::now()) };
    inputs.chain().err().filter(|failure| failure.code != Code::SourceFile)
}
