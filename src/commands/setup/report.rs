//! What `setup` prints: the changes to a file in the terms of that file, or a diff without the secrets in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use diffy::DiffOptions;

use super::changes::Kind;
use super::file::TextChange;
use super::{edit, kubelet, profiles};
use crate::NAME;
use crate::client_config::HELPER_NAME;

/// Describes the change of a file, a line for each kind of entry; none for a file that stays as it is.
pub(super) fn describe(path: &Path, kind: Kind, change: &TextChange) -> Vec<String> {
    if change.is_empty() {
        return Vec::new();
    }
    let TextChange { old, new } = change;
    let path = path.display();
    match kind {
        Kind::RegistriesConf if new.is_empty() => vec![format!("removed {path}")],
        Kind::RegistriesConf => vec![format!("added credential-helpers to {path}")],
        Kind::Providers if new.is_empty() => vec![format!("removed {path}, which had no other provider")],
        Kind::Providers if kubelet::is_without_provider(new) => vec![format!(
            "removed 1 provider from {path}, which has no other: kubelet does not start with an empty list"
        )],
        Kind::Providers if old.contains(NAME) => vec![format!("removed 1 provider from {path}")],
        Kind::Providers => vec![format!("added 1 provider to {path}")],
        Kind::Configuration => {
            let count = profiles::count(new) - profiles::count(old);
            vec![format!("added {} to {path}", number(count, "[[registry]] table"))]
        }
        Kind::AuthFile => {
            let (before, after) = (AuthEntries::of(old), AuthEntries::of(new));
            let mut lines = Vec::new();
            let mut line = |count: usize, verb: &str, noun: &str, preposition: &str| {
                if count > 0 {
                    lines.push(format!("{verb} {} {preposition} {path}", number(count, noun)));
                }
            };
            line(missing(&after.helpers, &before.helpers), "added", "credHelper", "to");
            line(missing(&before.helpers, &after.helpers), "removed", "credHelper", "from");
            line(missing(&before.auths, &after.auths), "removed", "auth", "from");
            // E.g. the other one of two members of the same name was set.
            if lines.is_empty() { vec![format!("changed {path}")] } else { lines }
        }
    }
}

/// The hosts in a file of docker's format.
struct AuthEntries {
    /// Those that the file gives to the helper.
    helpers: BTreeSet<String>,
    /// Those that it has passwords for.
    auths: BTreeSet<String>,
}

impl AuthEntries {
    fn of(text: &str) -> Self {
        let mut helpers = edit::members(text, "credHelpers");
        helpers.retain(|_, name| name.as_deref() == Some(HELPER_NAME));
        let helpers = helpers.into_keys().collect();
        Self { helpers, auths: edit::members(text, "auths").into_keys().collect() }
    }
}

/// Counts what of `all` is missing in `other`.
fn missing(all: &BTreeSet<String>, other: &BTreeSet<String>) -> usize {
    all.difference(other).count()
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
