//! What `setup` says: the changes to a file in the words of that file, or a diff without the secrets in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use diffy::DiffOptions;

use super::{Kind, edit, kubelet, profiles};
use crate::NAME;
use crate::client_config::HELPER_NAME;

/// What was done to a file, in its own words.
pub(super) fn describe(path: &Path, kind: Kind, old: &str, new: &str) -> Vec<String> {
    let path = path.display();
    match kind {
        _ if old == new => Vec::new(),
        Kind::RegistriesConf if new.is_empty() => vec![format!("removed {path}")],
        Kind::RegistriesConf => vec![format!("added credential-helpers to {path}")],
        Kind::Providers if old.contains(NAME) => vec![format!("removed 1 provider from {path}")],
        Kind::Providers => vec![format!("added 1 provider to {path}")],
        Kind::Configuration => {
            let count = profiles::count(new) - profiles::count(old);
            vec![format!("added {} to {path}", number(count, "[[registry]] table", "s"))]
        }
        Kind::Auths => {
            let helpers = |text: &str| {
                let mut helpers = edit::members(text, "credHelpers");
                helpers.retain(|_, name| name.as_deref() == Some(HELPER_NAME));
                helpers.into_keys().collect::<BTreeSet<_>>()
            };
            let auths = |text: &str| edit::members(text, "auths").into_keys().collect::<BTreeSet<_>>();
            let less = |one: BTreeSet<String>, other: BTreeSet<String>| one.difference(&other).count();
            let counts = [
                (less(helpers(new), helpers(old)), "added", "to", "credHelper", "s"),
                (less(helpers(old), helpers(new)), "removed", "from", "credHelper", "s"),
                (less(auths(old), auths(new)), "removed", "from", "auth", "s"),
            ];
            let lines = counts.into_iter().filter(|(count, ..)| *count > 0);
            let lines =
                lines.map(|(count, what, to, noun, end)| format!("{what} {} {to} {path}", number(count, noun, end)));
            let lines: Vec<String> = lines.collect();
            // One of two members of the same name was set, say.
            if lines.is_empty() { vec![format!("changed {path}")] } else { lines }
        }
    }
}

fn number(count: usize, noun: &str, plural: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}{plural}") }
}

/// Names the files that are there, else the first that would be.
pub(super) fn nothing_to_change<'a>(files: impl Iterator<Item = &'a PathBuf>) -> String {
    let all: Vec<&PathBuf> = files.collect();
    let there: Vec<String> = all.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
    match (there.as_slice(), all.first()) {
        ([], Some(first)) => format!("nothing to change in {}", first.display()),
        _ => format!("nothing to change in {}", there.join(", ")),
    }
}

/// What a change does to a file, without the secrets in it.
pub(super) fn diff(path: &Path, kind: Kind, old: &str, new: &str) -> String {
    let shown = |text: &str| match kind {
        Kind::Auths => edit::masked(text),
        Kind::Providers => kubelet::masked(text),
        Kind::RegistriesConf | Kind::Configuration => text.to_owned(),
    };
    let name = path.display().to_string();
    let was = if old.is_empty() { "/dev/null" } else { &name };
    let (old, new) = (shown(old), shown(new));
    let mut options = DiffOptions::new();
    options.set_original_filename(was.to_owned()).set_modified_filename(name.clone());
    options.create_patch(&old, &new).to_string().trim_end().to_owned()
}
