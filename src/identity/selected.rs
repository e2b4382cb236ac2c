//! The profile that applies.

use crate::config::MappedProfile;
use crate::env::Env;

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
