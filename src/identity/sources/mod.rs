//! The sources of credentials. Each kind is one type that finds its settings, holds what it read, and says what proves whose
//! credentials they are ([`Kind`]). `chain` decides on one, and `aws` has one resolver for each, which asks it.

mod container;
mod instance;
mod keys;
mod kind;
mod login;
mod process;
mod sso;
mod web_identity;

use std::fmt;
use std::ops::Deref;

pub use container::Container;
pub use instance::Instance;
pub use keys::StaticKeys;
pub use kind::Kind;
pub use login::Login;
pub use process::Process;
pub use sso::{SignIn, Sso};
pub use web_identity::{IdentityToken, WebIdentity};
pub(super) use web_identity::{ROLE_ARN, TOKEN_FILE};

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

impl Deref for Source {
    type Target = dyn Kind;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Keys(kind) => kind,
            Self::Sso(kind) => kind,
            Self::Login(kind) => kind,
            Self::Process(kind) => kind,
            Self::WebIdentity(kind) => kind,
            Self::Container(kind) => kind,
            Self::Instance(kind) => kind,
        }
    }
}

impl fmt::Display for Source {
    /// Describes it as the object of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}
