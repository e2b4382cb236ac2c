//! Reads where the credentials of one profile come from, for [`chain`](super::chain). Reports what is wrong with it.

use super::inputs::ProfileSection;
use super::selected::Selected;
use super::sources::{Container, Instance, Login, Process, ROLE_ARN, Source, Sso, StaticKeys, WebIdentity};
use crate::error::Failure;

/// Where a profile's credentials come from, before its role is assumed.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Link {
    /// This source.
    Source(Source),
    /// The chain of this profile.
    Profile(String),
}

/// Settings of a profile that need `role_arn`.
const OF_ROLE: [&str; 3] = ["web_identity_token_file", "source_profile", "credential_source"];

impl ProfileSection<'_> {
    /// Where the credentials of the profile come from; `None` when the profile has none. A profile that is reached again by
    /// `source_profile` stands for its own credentials alone.
    pub(super) fn link(&self, is_again: bool, passed_over: &mut Vec<String>) -> Result<Option<Link>, Failure> {
        // Half of a pair is an error also where a role makes the keys of the profile superfluous.
        StaticKeys::in_profile(self)?;
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
                None => self.web_identity(file, role_arn).map(Some),
            },
            (Some(file), _, _) => self.web_identity(file, role_arn).map(Some),
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
        let is_named = self.is_source || matches!(self.inputs.selected, Selected::Mapped(..));
        let Some(role_arn) = self.inputs.env.text(ROLE_ARN).filter(|_| !is_named) else {
            return Err(self.wrong("it has web_identity_token_file and no role_arn", "add role_arn"));
        };
        if let Some(source) = self.source_of_keys(passed_over)? {
            return Ok(source);
        }
        passed_over.push(format!("profile '{}' has no role_arn, so {ROLE_ARN} names the role", self.name));
        self.web_identity(file, role_arn)
    }

    fn web_identity(&self, file: &str, role_arn: &str) -> Result<Source, Failure> {
        WebIdentity::in_profile(self, file, role_arn).map(Source::WebIdentity)
    }

    /// The source in the profile itself: keys, a sign-in, an `aws login` session or a process.
    fn own_source(&self, passed_over: &mut Vec<String>, has_link: bool) -> Result<Option<Source>, Failure> {
        if let Some(source) = self.source_of_keys(passed_over)? {
            return Ok(Some(source));
        }
        if let Some(sso) = Sso::in_profile(self, passed_over)? {
            return Ok(Some(Source::Sso(sso)));
        }
        if let Some(login) = Login::in_profile(self)? {
            return Ok(Some(Source::Login(login)));
        }
        if let Some(process) = Process::in_profile(self) {
            return Ok(Some(Source::Process(process)));
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
        let Some(keys) = StaticKeys::in_profile(self)? else { return Ok(None) };
        let other = OTHERS.into_iter().find(|key| self.get(key).is_some());
        passed_over
            .extend(other.map(|key| format!("{key} of profile '{}' is not used: the profile has keys", self.name)));
        Ok(Some(Source::Keys(keys)))
    }

    fn named_source(&self, source: &str) -> Result<Source, Failure> {
        match source.to_ascii_lowercase().as_str() {
            "environment" => StaticKeys::in_environment(self.inputs)?.map(Source::Keys).ok_or_else(|| {
                self.wrong(
                    "credential_source is Environment, and the environment has no keys",
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                )
            }),
            "ecscontainer" if !Container::is_set(self.inputs) => Err(self.wrong(
                "credential_source is EcsContainer, and this is no container of ECS or EKS",
                "use the profile in such a container, where AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set",
            )),
            "ecscontainer" => Container::named(self.inputs).map(Source::Container),
            "ec2instancemetadata" => Instance::in_settings(self.inputs).map(Source::Instance),
            _ => Err(self.wrong(
                &format!("credential_source is '{source}'"),
                "write Environment, Ec2InstanceMetadata or EcsContainer",
            )),
        }
    }
}
