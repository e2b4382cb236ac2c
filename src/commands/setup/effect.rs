//! What an edit did, which every edit returns with the new text.

/// A file's text after an edit, and what the edit did.
#[derive(Debug, PartialEq, Eq)]
pub struct Edited {
    /// The new text.
    pub text: String,
    /// What the edit did; nothing if the text is as before.
    pub effects: Vec<Effect>,
}

impl Edited {
    /// The result of an edit, without the effects on no entry.
    pub(super) fn new(text: impl Into<String>, effects: impl IntoIterator<Item = Effect>) -> Self {
        let is_real = |effect: &Effect| !matches!(effect, Effect::Added(0, _) | Effect::Removed(0, _));
        Self { text: text.into(), effects: effects.into_iter().filter(is_real).collect() }
    }

    /// The result of this edit and another one after it.
    pub(super) fn then<E>(self, edit: impl FnOnce(&str) -> Result<Self, E>) -> Result<Self, E> {
        let Self { text, effects } = edit(&self.text)?;
        Ok(Self { text, effects: [self.effects, effects].concat() })
    }
}

/// What an edit did to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Added this many entries.
    Added(usize, Entry),
    /// Removed this many entries.
    Removed(usize, Entry),
}

/// The kinds of entries in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A registry that docker or podman gives to the helper.
    CredHelper,
    /// The password of an earlier login.
    Auth,
    /// The list of helpers for all registries.
    CredentialHelpers,
    /// A table of the helper's configuration.
    RegistryTable,
    /// A provider of kubelet.
    Provider,
    /// The last provider of kubelet: its list is empty now.
    LastProvider,
}

impl Entry {
    /// Returns this many entries, in words.
    pub(super) fn counted(self, count: usize) -> String {
        let name = match self {
            // The key of a list.
            Self::CredentialHelpers => return "credential-helpers".to_owned(),
            Self::CredHelper => "credHelper",
            Self::Auth => "auth",
            Self::RegistryTable => "[[registry]] table",
            Self::Provider | Self::LastProvider => "provider",
        };
        format!("{count} {name}{}", if count == 1 { "" } else { "s" })
    }
}
