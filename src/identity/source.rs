//! The sources of credentials, in terms of the settings: [`chain`](super::chain) decides on one, and `aws` asks it.

use std::fmt;
use std::path::PathBuf;

use crate::config::{AccountKeys, Keys, MappedProfile, Role, ServiceAccount};
use crate::env::Env;
use crate::secret::Secret;

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

/// An MFA device, and the role or the user that its code is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MfaDevice {
    serial: String,
    /// The index of the role in the chain; `None` for the user that the keys of the source belong to.
    role: Option<usize>,
}

impl MfaDevice {
    pub(super) fn of_role(index: usize, serial: &str) -> Self {
        Self { serial: serial.to_owned(), role: Some(index) }
    }

    pub(super) fn of_user(serial: &str) -> Self {
        Self { serial: serial.to_owned(), role: None }
    }

    /// The ARN of the device, or the number of a hardware device.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Whether it is the device of this role of the chain, or of the user.
    pub fn is_for(&self, role: Option<usize>) -> bool {
        self.role == role
    }
}

/// The source of an identity's first credentials, before any role is assumed with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The variables with the keys, for messages, and the keys.
    Environment(String, Keys),
    /// Keys that variables hold for one account.
    Account(AccountKeys),
    /// Keys in a profile.
    Profile(String, Keys),
    /// A profile's sign-in through IAM Identity Center.
    Sso(Sso),
    /// A profile's `aws login` session.
    Login {
        /// The profile.
        profile: String,
        /// The ARN that names the session.
        arn: String,
        /// The file in which the AWS CLI keeps the session.
        file: PathBuf,
    },
    /// A profile's `credential_process`.
    Process {
        /// The profile.
        profile: String,
        /// The command line for the shell.
        command: String,
    },
    /// A role for a token of another identity provider.
    WebIdentity(WebIdentity),
    /// A service account, with the token that a kubelet sent for it.
    ServiceAccount(ServiceAccount),
    /// The endpoint of ECS or EKS, at this URL.
    Container(String),
    /// The role of the instance, from this endpoint.
    Instance(String),
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
    /// The account of the role.
    pub account_id: String,
    /// The role, a permission set.
    pub role_name: String,
    /// The file in which the AWS CLI keeps the sign-in.
    pub file: PathBuf,
}

/// A role for a token of another identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebIdentity {
    /// The location of the token.
    pub token: IdentityToken,
    /// `arn:<partition>:iam::<account>:role/<name>`.
    pub role_arn: String,
    /// The session name that CloudTrail shows.
    pub session_name: String,
    /// The region of STS; `None` for the registry's.
    pub region: Option<String>,
}

/// The location of another identity provider's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityToken {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// The setting that named the file, for messages.
        setting: String,
    },
    /// A variable.
    Variable {
        /// Its name.
        name: String,
        /// The setting that named the variable, for messages.
        setting: String,
    },
    /// GitHub, which gives the token to a job of GitHub Actions on request.
    GitHub(GitHubJob),
}

/// The variables with which a job of GitHub Actions requests its identity token.
pub(super) const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
pub(super) const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// The request of a GitHub Actions job for its identity token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHubJob {
    /// `ACTIONS_ID_TOKEN_REQUEST_URL`.
    pub url: String,
    /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    pub bearer: Secret,
}

impl CredentialChain {
    /// Describes it as the object of a sentence, and what was passed over on the way to it.
    pub fn with_passed_over(&self) -> String {
        std::iter::once(self.to_string()).chain(self.passed_over.iter().cloned()).collect::<Vec<_>>().join("; ")
    }

    /// Describes it as the object of a sentence. Keys from settings add the end of the access key, as in `aws configure
    /// list`, which distinguishes the keys of two people or programs.
    pub fn with_access_key(&self) -> String {
        match &self.source {
            Source::Environment(_, keys) | Source::Account(AccountKeys { keys, .. }) | Source::Profile(_, keys) => {
                let end = keys.id.char_indices().nth_back(3).filter(|(start, _)| *start >= 8);
                let end = end.map(|(start, _)| format!(", access key …{}", &keys.id[start..]));
                format!("{self}{}", end.unwrap_or_default())
            }
            _ => self.to_string(),
        }
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

impl Source {
    /// Whether it reads files itself when it is asked, so that these may be others than those in the cache key.
    pub fn reads_itself(&self) -> bool {
        matches!(self, Self::Login { .. } | Self::Process { .. })
    }
}

impl fmt::Display for Source {
    /// Describes it as the object of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(variables, _) => write!(f, "the environment ({variables})"),
            Self::Profile(profile, _)
            | Self::Sso(Sso { profile, .. })
            | Self::Login { profile, .. }
            | Self::Process { profile, .. } => write!(f, "profile '{profile}'"),
            Self::Account(AccountKeys { account, .. }) => write!(f, "AWS_ECR_ACCESS_KEY_ID_{account}"),
            Self::WebIdentity(WebIdentity { token, .. }) => token.fmt(f),
            Self::ServiceAccount(_) => f.write_str("the service account"),
            Self::Container(_) => f.write_str("the container's role"),
            Self::Instance(_) => f.write_str("the instance's role"),
        }
    }
}

impl fmt::Display for IdentityToken {
    /// Describes it as the object of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { .. } => f.write_str("the web identity"),
            Self::Variable { name, .. } => write!(f, "the web identity in {name}"),
            Self::GitHub(_) => f.write_str("the web identity of this GitHub Actions job"),
        }
    }
}

/// The variables that name a profile.
const PROFILE_VARIABLES: [&str; 2] = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"];

/// The profile that applies, and the setting that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// The configuration, a variable of the helper or an option maps the registry to this profile.
    Mapped(MappedProfile),
    /// This variable names this profile.
    Named(&'static str, String),
    /// No setting names a profile, so the profile `default` applies, which need not exist.
    Default,
}

impl Selected {
    /// Selects the mapped profile, or else the one in the variables, of which the SDK for Go prefers the first. The AWS CLI
    /// prefers the second.
    pub fn new(env: &Env, mapped: Option<&MappedProfile>) -> Self {
        if let Some(profile) = mapped {
            return Self::Mapped(profile.clone());
        }
        PROFILE_VARIABLES
            .into_iter()
            .find_map(|variable| Some(Self::Named(variable, env.text(variable)?.to_owned())))
            .unwrap_or(Self::Default)
    }

    /// The variable that names another profile than the selected one.
    pub(super) fn passed_over(&self, env: &Env) -> Option<String> {
        let [first, second] = PROFILE_VARIABLES;
        let other = env.text(second).filter(|other| self.setting() == first && *other != self.name())?;
        Some(format!("profile '{other}' ({second}) is not used: {first} has precedence"))
    }

    /// Whether it may be in neither file: the default profile of a person without files.
    pub(super) fn need_not_exist(&self) -> bool {
        !matches!(self, Self::Mapped(_)) && self.name() == "default"
    }

    /// The variable that names it, in brackets behind the name.
    pub(super) fn in_brackets(&self) -> String {
        match self {
            Self::Named(variable, _) => format!(" ({variable})"),
            Self::Mapped(_) | Self::Default => String::new(),
        }
    }

    /// The profile's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Mapped(MappedProfile { name, .. }) | Self::Named(_, name) => name,
            Self::Default => "default",
        }
    }

    /// The setting that names it, for messages.
    pub fn setting(&self) -> &str {
        match self {
            Self::Mapped(profile) => &profile.setting,
            Self::Named(variable, _) => variable,
            Self::Default => "no setting: the default",
        }
    }

    /// The setting that names the profile, as a relative clause.
    pub(super) fn named_by(&self) -> String {
        match self {
            Self::Mapped(profile) => format!(", which {} names,", profile.setting),
            Self::Named(variable, _) => format!(", which {variable} names,"),
            Self::Default => String::new(),
        }
    }
}
