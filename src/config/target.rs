//! What a configuration decides about a registry: the registry itself, and who calls AWS for it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::registry::{Account, Host, Region, Registry};
use crate::secret::Secret;

/// A registry that a client named, and how its token is requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host that the client named.
    pub host: Host,
    /// The ECR registry behind the host: the host itself, or the one that the file names for a custom domain.
    pub registry: Registry,
    /// Requests the token.
    pub caller: Caller,
    /// The setting that chose the caller, for messages; `None` when the AWS settings alone decide.
    pub chosen_by: Option<String>,
    /// How much longer a program may take that asks a person for the credentials. Nothing when a setting sets the time limit.
    pub time_for_person: Duration,
    /// How long after its issue a cached token may be served; `None` until it expires.
    pub max_age: Option<Duration>,
    /// The endpoint of the ECR API; `None` for the one that the registry's host implies.
    pub endpoint_url: Option<String>,
    /// The file with the certificates to trust; `None` for those of the AWS settings.
    pub ca_bundle: Option<PathBuf>,
}

impl Target {
    /// Makes `caller` request the token, as `setting` says.
    pub fn call_as(&mut self, caller: Caller, setting: impl Into<String>) {
        (self.caller, self.chosen_by) = (caller, Some(setting.into()));
    }

    /// Makes the profile request the token, if an option names one.
    pub fn call_as_profile(&mut self, profile: Option<MappedProfile>) {
        if let Some(profile) = profile {
            let setting = profile.setting.clone();
            self.call_as(Caller::AwsSettings { profile: Some(profile), role: None }, setting);
        }
    }
}

/// Who calls AWS for a registry. Its serialization is part of the cache key: all that decides who calls, and no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Caller {
    /// The credentials that the AWS settings lead to.
    AwsSettings {
        /// The profile to use; `None` for the default chain of the AWS SDKs.
        profile: Option<MappedProfile>,
        /// The role to assume with these credentials.
        role: Option<Role>,
    },
    /// The keys that variables hold for the account of the registry.
    AccountKeys {
        /// The account in the names of the variables. The same keys may be set for several.
        #[serde(skip)]
        account: Account,
        /// The keys.
        keys: Keys,
        /// The role to assume with the keys.
        role: Option<Role>,
    },
    /// A role that the identity token of a CI job is exchanged for.
    WebIdentity {
        /// Where the token comes from.
        token: TokenOrigin,
        /// The role; `None` when no setting names one, which [`Identity::read`](crate::identity::Identity::read) reports.
        role: Option<Role>,
    },
    /// A Kubernetes service account, with a role of its own.
    ServiceAccount(ServiceAccount),
}

impl Default for Caller {
    fn default() -> Self {
        Self::AwsSettings { profile: None, role: None }
    }
}

impl Caller {
    /// The profile that the registry is mapped to.
    pub fn profile(&self) -> Option<&MappedProfile> {
        match self {
            Self::AwsSettings { profile, .. } => profile.as_ref(),
            Self::AccountKeys { .. } | Self::WebIdentity { .. } | Self::ServiceAccount(_) => None,
        }
    }

    /// The role that the registry is mapped to. That of a service account comes from Kubernetes.
    pub fn role(&self) -> Option<&Role> {
        match self {
            Self::AwsSettings { role, .. } | Self::AccountKeys { role, .. } | Self::WebIdentity { role, .. } => {
                role.as_ref()
            }
            Self::ServiceAccount(_) => None,
        }
    }
}

/// Who calls AWS, and the setting that says so.
#[derive(Default)]
pub(super) struct Choice {
    pub(super) caller: Caller,
    pub(super) setting: Option<String>,
}

/// A profile that a registry is mapped to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MappedProfile {
    /// The name of the profile.
    pub name: String,
    /// The setting that names it, for messages: a variable, an option, or file and line.
    #[serde(skip)]
    pub setting: String,
}

impl MappedProfile {
    /// The profile that the option `--profile` names.
    pub fn by_option(name: &str) -> Self {
        Self { name: name.to_owned(), setting: "--profile".to_owned() }
    }
}

/// An access key with its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: Secret,
    /// The session token, if the keys are temporary.
    pub token: Option<Secret>,
}

/// Where the identity token of a CI job comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenOrigin {
    /// Gives the token.
    pub provider: TokenProvider,
    /// The setting that names the provider, for messages: `AWS_ECR_WEB_IDENTITY`, or key, file and line.
    #[serde(skip)]
    pub setting: String,
}

/// Gives the identity token of a CI job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TokenProvider {
    /// GitHub, on request.
    GitHub,
    /// The variable of this name, which the CI system sets for the job.
    Variable(String),
}

/// A role for STS AssumeRole or AssumeRoleWithWebIdentity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Role {
    /// `arn:<partition>:iam::<account>:role/<name>`.
    pub arn: String,
    /// The external id that the role's trust policy may require.
    pub external_id: Option<String>,
    /// The session name that CloudTrail shows.
    pub session_name: String,
    /// The region of STS; `None` for the registry's.
    pub region: Option<Region>,
    /// The MFA device whose code `login` prompts for.
    pub mfa_serial: Option<String>,
}

/// A Kubernetes service account with a role of its own, for STS AssumeRoleWithWebIdentity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceAccount {
    /// The JWT that proves the account's identity. Its claims count, which are the same after a rotation.
    #[serde(skip)]
    pub token: Secret,
    /// `arn:<partition>:iam::<account>:role/<name>`.
    pub role_arn: String,
    /// The session name that CloudTrail shows.
    pub session_name: String,
}
