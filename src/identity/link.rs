//! Reads where the credentials of one profile come from, for [`chain`](super::chain). Reports what is wrong with it.

use super::inputs::ProfileSection;
use super::sources::{Container, Instance, Login, Process, ROLE_ARN, Source, Sso, StaticKeys, WebIdentity};
use crate::error::Failure;

/// Settings of a profile that need `role_arn`.
const OF_ROLE: [&str; 3] = ["web_identity_token_file", "source_profile", "credential_source"];

impl ProfileSection<'_> {
    /// The profile whose credentials its role is assumed with. A profile that is reached again by `source_profile` stands for its own
    /// credentials alone.
    pub(super) fn source_profile(&self, is_again: bool) -> Option<&str> {
        // The SDK for Go takes the keys of a source profile before it looks for anything else.
        let has_precedence = self.is_source && self.keys.is_some();
        let is_reference = self.get("role_arn").is_some()
            && self.get("web_identity_token_file").is_none()
            && self.get("credential_source").is_none();
        let next = self.get("source_profile").filter(|next| *next != self.name)?;
        (is_reference && !is_again && !has_precedence).then_some(next)
    }

    /// The source of a profile that names no other; `None` when it has none.
    pub(super) fn source(&self, is_again: bool) -> Result<Option<Source>, Failure> {
        let [token_file, source_profile, credential_source] = OF_ROLE.map(|key| self.get(key));
        match (self.get("role_arn"), token_file, source_profile, credential_source) {
            (None, Some(file), _, _) => self.with_role_of_environment(file).map(Some),
            (None, None, _, _) => self.own_source(is_again),
            _ if is_again => self.own_source(true),
            _ if self.is_source && self.keys.is_some() => Ok(self.source_of_keys()),
            (Some(role_arn), Some(file), Some(_), _) | (Some(role_arn), Some(file), _, Some(_)) => {
                self.web_identity(file, role_arn).map(Some)
            }
            (_, _, Some(_), Some(_)) => {
                Err(self.wrong("it has both source_profile and credential_source", "remove one of them"))
            }
            (_, _, Some(_), None) => match self.own_source(true)? {
                None => Err(self.wrong(
                    "it has role_arn and names itself as its source_profile, and has no credentials",
                    "add keys, or name another profile as source_profile",
                )),
                own => Ok(own),
            },
            _ if self.keys.is_some() => Ok(self.source_of_keys()),
            (Some(role_arn), Some(file), None, None) => self.web_identity(file, role_arn).map(Some),
            (_, None, None, Some(named)) => self.named_source(named).map(Some),
            (_, None, None, None) => self.own_source(false),
        }
    }

    /// The source of a profile with a token file and no role, which has one in the environment as in the AWS CLI. A profile that
    /// another profile or the helper's own configuration names stands for itself.
    fn with_role_of_environment(&self, file: &str) -> Result<Source, Failure> {
        let is_named = self.is_source || self.inputs.selected.is_mapped;
        let Some(role_arn) = self.inputs.env.text(ROLE_ARN).filter(|_| !is_named) else {
            return Err(self.wrong("it has web_identity_token_file and no role_arn", "add role_arn"));
        };
        if let Some(keys) = self.source_of_keys() {
            return Ok(keys);
        }
        self.inputs.pass_over(format!("profile '{}' has no role_arn, so {ROLE_ARN} names the role", self.name));
        self.web_identity(file, role_arn)
    }

    fn web_identity(&self, file: &str, role_arn: &str) -> Result<Source, Failure> {
        WebIdentity::in_profile(self, file, role_arn).map(Source::WebIdentity)
    }

    /// The source in the profile itself: keys, a sign-in, an `aws login` session or a process.
    fn own_source(&self, has_link: bool) -> Result<Option<Source>, Failure> {
        type InProfile = fn(&ProfileSection<'_>) -> Result<Option<Source>, Failure>;
        let kinds: [InProfile; 4] = [
            |section| Ok(section.source_of_keys()),
            |section| Ok(Sso::in_profile(section)?.map(Source::Sso)),
            |section| Ok(Login::in_profile(section)?.map(Source::Login)),
            |section| Ok(Process::in_profile(section).map(Source::Process)),
        ];
        for in_profile in kinds {
            if let Some(source) = in_profile(self)? {
                return Ok(Some(source));
            }
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
    fn source_of_keys(&self) -> Option<Source> {
        const OTHERS: [&str; 7] = [
            "sso_session",
            "sso_start_url",
            "sso_account_id",
            "login_session",
            "credential_process",
            "credential_source",
            "web_identity_token_file",
        ];
        let keys = StaticKeys::in_profile(self)?;
        if let Some(key) = OTHERS.into_iter().find(|key| self.get(key).is_some()) {
            self.inputs.pass_over(format!("{key} of profile '{}' is not used: the profile has keys", self.name));
        }
        Some(Source::Keys(keys))
    }

    fn named_source(&self, source: &str) -> Result<Source, Failure> {
        let inputs = self.inputs;
        let (found, what, hint) = match source.to_ascii_lowercase().as_str() {
            "environment" => (
                StaticKeys::in_environment(inputs)?.map(Source::Keys),
                "credential_source is Environment, and the environment has no keys",
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ),
            "ecscontainer" => (
                Container::in_environment(inputs, Container::IN_CREDENTIAL_SOURCE)?.map(Source::Container),
                "credential_source is EcsContainer, and this is no container of ECS or EKS",
                "use the profile in such a container, where AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set",
            ),
            "ec2instancemetadata" => return Instance::in_settings(inputs).map(Source::Instance),
            _ => (
                None,
                &*format!("credential_source is '{source}'"),
                "write Environment, Ec2InstanceMetadata or EcsContainer",
            ),
        };
        found.ok_or_else(|| self.wrong(what, hint))
    }
}
