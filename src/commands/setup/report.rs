//! What `setup` prints: the changes to a file in the terms of that file, or a diff without the secrets in it.

use std::path::{Path, PathBuf};

use diffy::DiffOptions;

use super::file::{Kind, TextChange};
use super::{edit, kubelet};

/// What an edit did to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Added this many entries.
    Added(usize, Entry),
    /// Removed this many entries.
    Removed(usize, Entry),
}

/// The kinds of entries in the files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
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
    fn name(self) -> &'static str {
        match self {
            Self::CredHelper => "credHelper",
            Self::Auth => "auth",
            Self::CredentialHelpers => "credential-helpers",
            Self::RegistryTable => "[[registry]] table",
            Self::Provider | Self::LastProvider => "provider",
        }
    }
}

/// Describes the change of a file, a line for each kind of entry; none for a file that stays as it is.
pub(super) fn describe(path: &Path, change: &TextChange, effects: &[Effect]) -> Vec<String> {
    if change.is_empty() {
        return Vec::new();
    }
    let path = path.display();
    if change.new.is_empty() {
        let was_last = effects.contains(&Effect::Removed(1, Entry::LastProvider));
        let why = if was_last { ", which had no other provider" } else { "" };
        return vec![format!("removed {path}{why}")];
    }
    let lines = effects.iter().filter_map(|effect| match effect {
        Effect::Added(0, _) | Effect::Removed(0, _) => None,
        Effect::Added(_, Entry::CredentialHelpers) => Some(format!("added credential-helpers to {path}")),
        Effect::Removed(_, Entry::CredentialHelpers) => Some(format!("removed credential-helpers from {path}")),
        Effect::Removed(_, Entry::LastProvider) => Some(format!(
            "removed 1 provider from {path}, which has no other: kubelet does not start with an empty list"
        )),
        Effect::Added(count, entry) => Some(format!("added {} to {path}", number(*count, entry.name()))),
        Effect::Removed(count, entry) => Some(format!("removed {} from {path}", number(*count, entry.name()))),
    });
    let lines: Vec<String> = lines.collect();
    // E.g. the value of credsStore was corrected.
    if lines.is_empty() { vec![format!("changed {path}")] } else { lines }
}

fn number(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Names the files that exist, else the first one that would be created.
pub(super) fn nothing_to_change<'a>(files: impl Iterator<Item = &'a PathBuf>) -> String {
    let all: Vec<&PathBuf> = files.collect();
    let existing: Vec<String> =
        all.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
    match (existing.as_slice(), all.first()) {
        ([], Some(first)) => format!("nothing to change in {}", first.display()),
        _ => format!("nothing to change in {}", existing.join(", ")),
    }
}

/// Returns the diff of a file, without the secrets in it.
pub(super) fn diff(path: &Path, kind: Kind, change: &TextChange) -> String {
    let masked = |text: &str| match kind {
        Kind::AuthFile => edit::masked(text),
        Kind::Providers => kubelet::masked(text),
        Kind::RegistriesConf | Kind::Configuration => text.to_owned(),
    };
    let name = path.display().to_string();
    let original = if change.old.is_empty() { "/dev/null" } else { &name };
    let mut options = DiffOptions::new();
    options.set_original_filename(original.to_owned()).set_modified_filename(name.clone());
    options.create_patch(&masked(&change.old), &masked(&change.new)).to_string().trim_end().to_owned()
}
