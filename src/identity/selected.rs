//! The profile that applies.

use crate::config::MappedProfile;
use crate::env::Env;

/// The variables that name a profile.
const PROFILE_VARIABLES: [&str; 2] = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"];

/// The profile that applies, and the setting that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    name: String,
    /// The setting that names it. Without one, the profile `default` applies, which need not exist.
    setting: Option<String>,
    /// Whether the configuration, a variable of the helper or an option maps the registry to it. Then nothing replaces it.
    pub(super) is_mapped: bool,
}

impl Selected {
    /// Selects the mapped profile, or else the one in the variables, of which the SDK for Go prefers the first. The AWS CLI
    /// prefers the second.
    pub fn new(env: &Env, mapped: Option<&MappedProfile>) -> Self {
        if let Some(MappedProfile { name, setting }) = mapped.cloned() {
            return Self { name, setting: Some(setting), is_mapped: true };
        }
        let named = PROFILE_VARIABLES.into_iter().find_map(|variable| Some((variable, env.text(variable)?)));
        let name = named.map_or("default", |(_, name)| name).to_owned();
        Self { name, setting: named.map(|(variable, _)| variable.to_owned()), is_mapped: false }
    }

    /// A profile that registries may be mapped to.
    pub(super) fn mapped(name: &str) -> Self {
        Self { name: name.to_owned(), setting: None, is_mapped: true }
    }

    /// The variable that names another profile than the selected one.
    pub(super) fn passed_over(&self, env: &Env) -> Option<String> {
        let [first, second] = PROFILE_VARIABLES;
        let other = env.text(second).filter(|other| self.variable() == Some(first) && *other != self.name)?;
        Some(format!("profile '{other}' ({second}) is not used: {first} has precedence"))
    }

    /// Whether it may be in neither file: the default profile of a person without files.
    pub(super) fn need_not_exist(&self) -> bool {
        !self.is_mapped && self.name == "default"
    }

    /// The profile's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether no setting names a profile.
    pub fn is_default(&self) -> bool {
        self.setting.is_none()
    }

    /// The setting that names it, for messages.
    pub fn setting(&self) -> &str {
        self.setting.as_deref().unwrap_or("no setting: the default")
    }

    /// The variable that names it.
    pub(super) fn variable(&self) -> Option<&str> {
        self.setting.as_deref().filter(|_| !self.is_mapped)
    }

    /// The setting that names the profile, as a relative clause.
    pub(super) fn named_by(&self) -> String {
        self.setting.as_ref().map_or_else(String::new, |setting| format!(", which {setting} names,"))
    }
}
