//! What `setup` prints: the changes to a file in the terms of that file, or a diff without the secrets in it.

use std::path::{Path, PathBuf};

use diffy::DiffOptions;

use super::effect::{Effect, Entry};
use super::file::TextChange;

/// The limit on the lines of a diff: the time that it takes grows with their square.
const MOST_LINES: usize = 20_000;

/// Describes the change of a file, a line for each kind of entry; none for a file that stays as it is.
pub(super) fn describe(path: &Path, change: &TextChange) -> Vec<String> {
    if change.is_empty() {
        return Vec::new();
    }
    let path = path.display();
    if change.new.is_empty() {
        let was_last = change.effects.contains(&Effect::Removed(1, Entry::LastProvider));
        let why = if was_last { ", which had no other provider" } else { "" };
        return vec![format!("removed {path}{why}")];
    }
    let line = |effect: &Effect| match effect {
        Effect::Removed(_, Entry::LastProvider) => {
            format!("removed 1 provider from {path}, which has no other: kubelet does not start with an empty list")
        }
        Effect::Added(count, entry) => format!("added {} to {path}", entry.counted(*count)),
        Effect::Removed(count, entry) => format!("removed {} from {path}", entry.counted(*count)),
    };
    let lines: Vec<String> = change.effects.iter().map(line).collect();
    // E.g. the value of credsStore was corrected.
    if lines.is_empty() { vec![format!("changed {path}")] } else { lines }
}

/// Names the files that exist, else the first one that would be created.
pub(super) fn nothing_to_change<'a>(files: impl Iterator<Item = &'a PathBuf>) -> String {
    let (mut named, missing): (Vec<_>, Vec<_>) = files.partition(|path| path.exists());
    if named.is_empty() {
        named.extend(missing.first());
    }
    let named: Vec<String> = named.into_iter().map(|path| path.display().to_string()).collect();
    format!("nothing to change in {}", named.join(", "))
}

/// Returns the diff of a file, without the secrets in it.
pub(super) fn diff(path: &Path, masked: fn(&str) -> String, change: &TextChange) -> String {
    if [&change.old, &change.new].iter().any(|text| text.lines().count() > MOST_LINES) {
        return format!("too many lines for a diff; setup would have {}", describe(path, change).join(", "));
    }
    let name = path.display().to_string();
    let original = if change.old.is_empty() { "/dev/null" } else { &name };
    let mut options = DiffOptions::new();
    options.set_original_filename(original.to_owned()).set_modified_filename(name.clone());
    options.create_patch(&masked(&change.old), &masked(&change.new)).to_string().trim_end().to_owned()
}
