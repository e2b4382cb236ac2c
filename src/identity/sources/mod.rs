//! The sources of credentials. Each kind is one type that finds its settings and holds what it read; [`Source::observe`] says what
//! proves whose credentials they are. `chain` decides on one, and `aws` has one resolver for each, which asks it.

mod container;
mod instance;
mod keys;
mod login;
mod process;
mod sign_in;
mod sso;
mod web_identity;

use std::fmt;

pub use container::Container;
pub use instance::Instance;
pub use keys::StaticKeys;
pub use login::Login;
pub use process::Process;
pub use sign_in::SignIn;
pub use sso::Sso;
pub use web_identity::{IdentityToken, WebIdentity};
pub(super) use web_identity::{ROLE_ARN, TOKEN_FILE};

use super::dependency::Dependency;
use super::observations::Observations;
use super::source_file::SourceFile;

/// The source of an identity's first credentials, before any role is assumed with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Keys in variables or in a profile.
    Keys(StaticKeys),
    /// A profile's sign-in through IAM Identity Center.
    Sso(Sso),
    /// A profile's `aws login` session.
    Login(Login),
    /// A profile's `credential_process`.
    Process(Process),
    /// A role for a token of another identity provider.
    WebIdentity(WebIdentity),
    /// The endpoint of ECS or EKS.
    Container(Container),
    /// The role of the instance.
    Instance(Instance),
}

impl Source {
    /// Adds what a later `get` must find unchanged, as it was read or as it is now, or why nothing proves it.
    pub(super) fn observe(&self, observations: &mut Observations<'_>) {
        match self {
            // The settings have them.
            Self::Keys(_) => {}
            Self::Sso(sso) => {
                observations.add_file(&sso.file, Dependency::File);
                observations.add(Dependency::Boot);
            }
            Self::Login(login) => {
                observations.add_file(&login.file, Dependency::File);
                observations.add(Dependency::Boot);
            }
            Self::Process(process) => process.observe(observations),
            Self::WebIdentity(web_identity) => web_identity.observe(observations),
            Self::Container(container) => container.observe(observations),
            Self::Instance(_) => observations.add(Dependency::Sandbox),
        }
    }

    /// Whether it reads files itself when it is asked. Then the observations prove something only if nobody touched the files from
    /// before it was asked to after it.
    pub fn reads_itself(&self) -> bool {
        matches!(self, Self::Process(_))
    }

    /// Whether it is a sign-in that expires soon and can be renewed.
    pub fn needs_renewal(&self) -> bool {
        match self {
            Self::Sso(sso) => sso.needs_renewal(),
            Self::Login(login) => login.needs_renewal(),
            _ => false,
        }
    }

    /// Whether it is a sign-in that has expired, or whose file holds none.
    pub fn is_expired(&self) -> bool {
        let sign_in = match self {
            Self::Sso(sso) => sso.sign_in(),
            Self::Login(login) => login.keys(),
            _ => return false,
        };
        sign_in.is_none_or(|sign_in| sign_in.is_expired())
    }

    /// The file of a sign-in, in which it is renewed.
    pub fn sign_in_file(&self) -> Option<&SourceFile> {
        match self {
            Self::Sso(Sso { file, .. }) | Self::Login(Login { file, .. }) => Some(file),
            _ => None,
        }
    }

    /// Whether it may give the same keys again under other settings, so that a token counts for them too. Keys in settings are
    /// part of the identity, and the role of a web identity is assumed anew each time.
    pub fn may_give_same_keys(&self) -> bool {
        !matches!(self, Self::Keys(_) | Self::WebIdentity(_))
    }

    /// Whether it may wait for a person.
    pub fn may_ask_person(&self) -> bool {
        matches!(self, Self::Process(_))
    }

    /// The services that it asks, by their ids in the SDKs.
    pub fn services(&self) -> &'static [&'static str] {
        match self {
            Self::Sso(_) => &["SSO", "SSO OIDC"],
            Self::Login(_) => &["Signin"],
            Self::WebIdentity(_) => &["STS"],
            Self::Keys(_) | Self::Process(_) | Self::Container(_) | Self::Instance(_) => &[],
        }
    }

    /// The role whose credentials it gives, where the settings name it and messages may: the log of a node is not for the roles of its
    /// pods.
    pub fn role_arn(&self) -> Option<&str> {
        match self {
            Self::WebIdentity(WebIdentity { token: IdentityToken::ServiceAccount(_), .. }) => None,
            Self::WebIdentity(web_identity) => Some(&web_identity.role_arn),
            _ => None,
        }
    }

    /// The profile that has the credentials.
    pub fn profile(&self) -> Option<&str> {
        match self {
            Self::Keys(keys) => keys.profile.as_deref(),
            Self::Sso(Sso { profile, .. })
            | Self::Login(Login { profile, .. })
            | Self::Process(Process { profile, .. }) => Some(profile),
            Self::WebIdentity(_) | Self::Container(_) | Self::Instance(_) => None,
        }
    }

    /// The command of the AWS CLI that signs in, and its profile.
    pub fn sign_in_command(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Sso(sso) => Some(("sso login", &sso.profile)),
            Self::Login(login) => Some(("login", &login.profile)),
            _ => None,
        }
    }
}

impl fmt::Display for Source {
    /// Describes it as the object of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => f.write_str(&keys.place),
            Self::Sso(Sso { profile, .. })
            | Self::Login(Login { profile, .. })
            | Self::Process(Process { profile, .. }) => {
                write!(f, "profile '{profile}'")
            }
            Self::WebIdentity(web_identity) => f.write_str(&web_identity.describe()),
            Self::Container(_) => f.write_str("the container's role"),
            Self::Instance(_) => f.write_str("the instance's role"),
        }
    }
}
