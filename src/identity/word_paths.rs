//! The paths and the names of programs that a word of a command may hold, by its text and the names in the current directory alone.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::dependency::Names;

/// How many letters of options are taken apart from the name of a program that follows them in a word.
const MOST_LETTERS: usize = 4;

/// Characters that may join several paths, or a path and something else, into one word.
pub(super) const JOINING: &[char] = &['=', ':', ',', '@', ';', '|', '+', '%', '#', '\'', '"'];

/// A path that a word may name.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) path: PathBuf,
    /// Whether it is a whole value: the word, a part of it between joining characters, or what follows the letters of options.
    pub(super) is_value: bool,
}

impl Named {
    /// `before` is what stands before the path in its part of the word.
    fn new(path: impl Into<PathBuf>, before: &str) -> Self {
        let letters = before.strip_prefix('-').unwrap_or_default();
        let is_value = before.is_empty() || !letters.is_empty() && letters.chars().all(|c| c.is_ascii_alphanumeric());
        Self { path: path.into(), is_value }
    }
}

/// The paths that a word may name wherever it is: the word itself, the parts between joining characters, the part from the first
/// slash on, and in a URL the part after the host.
pub(super) fn paths(word: &str) -> BTreeSet<Named> {
    let ends = word.char_indices().filter(|(_, c)| JOINING.contains(c)).map(|(at, _)| at);
    let mut parts = vec![word];
    parts.extend(ends.flat_map(|at| [&word[..at], &word[at + 1..]]));
    parts.extend(word.split(JOINING));
    let mut found = BTreeSet::new();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        found.insert(Named::new(part, ""));
        found.extend(part.find('/').map(|slash| Named::new(&part[slash..], &part[..slash])));
        let after_host = part.strip_prefix("//").and_then(|rest| Some(&rest[rest.find('/')?..]));
        found.extend(after_host.map(|path| Named::new(path, if word.contains("file:") { "" } else { "host" })));
    }
    found
}

/// A name, and without the letters of options that may stand before it.
pub(super) fn with_glued(part: &str) -> impl Iterator<Item = &str> {
    let letters = part.strip_prefix('-').filter(|rest| !rest.starts_with('-')).unwrap_or_default();
    std::iter::once(part).chain((1..=MOST_LETTERS).filter_map(move |count| letters.get(count..)))
}

/// The paths that a word may name from the current directory, which has these names, or from the home directory, whatever stands before
/// them. A file may have an ending that its word lacks, as a module of Python.
pub(super) fn paths_from(names: &Names, word: &str) -> Vec<Named> {
    let mut found = Vec::new();
    for (name, is_dir) in names.iter().chain([(".", true), ("~", true)]) {
        found.extend(mentions(word, name, name));
        let stem = name.split_once('.').map(|(stem, _)| stem).filter(|stem| !is_dir && !stem.is_empty());
        let by_stem = stem.into_iter().flat_map(|stem| mentions(word, stem, name));
        found.extend(by_stem);
    }
    found
}

/// What a word names by a text, if that is `name` or stands for it. Some file systems ignore the case.
fn mentions(word: &str, text: &str, name: &str) -> Vec<Named> {
    let mention = |at: usize| {
        let start = word[..at].rfind(JOINING).map_or(0, |joint| joint + 1);
        let rest = &word[at + text.len()..];
        if text == name && rest.starts_with(['/', '\\']) {
            let end = word.len() - rest.len() + rest.find(JOINING).unwrap_or(rest.len());
            return Some(Named::new(&word[at..end], &word[start..at]));
        }
        let named = Named::new(name, &word[start..at]);
        let is_meant = text == name || named.is_value || word[..at].ends_with('/');
        let goes_on = rest.starts_with('.') && !text.ends_with('.');
        let ends = rest.is_empty() || goes_on || rest.starts_with(JOINING);
        (ends && is_meant).then_some(named)
    };
    let found = word.to_ascii_lowercase();
    found.match_indices(&text.to_ascii_lowercase()).filter_map(|(at, _)| mention(at)).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use super::{mentions, paths};

    #[test]
    fn every_path_in_a_word_is_found() {
        for (word, expected) in [
            ("--file=/a/b", &["/a/b"][..]),
            ("-f/a/b", &["/a/b"]),
            ("file://localhost/a/b", &["/a/b"]),
            ("/a/b:/c", &["/a/b", "/c"]),
            ("r/a/b", &["/a/b"]),
            ("file:///a/b", &["///a/b"]),
            ("@/a/b", &["/a/b"]),
            ("x=y/z,/c", &["y/z", "/c"]),
            ("a/b", &["a/b"]),
        ] {
            let found = paths(word);
            let has = |path: &&str| found.iter().any(|named| named.path == Path::new(path));
            assert!(expected.iter().all(has), "{word}: {found:?}");
        }
    }

    #[test]
    fn a_name_in_the_current_directory_is_found_behind_anything_and_is_a_value_behind_letters_of_options() {
        for (word, name, expected) in [
            ("file://role.json", "role.json", Some(("role.json", false))),
            ("-aaaaaaaaaaafkey.json", "key.json", Some(("key.json", true))),
            ("1rKEY.json", "key.json", Some(("key.json", false))),
            ("fileb://sub/role.json,x", "sub", Some(("sub/role.json", false))),
            ("-vCsub", "sub", Some(("sub", true))),
            ("-smmypkg.sub", "mypkg", Some(("mypkg", true))),
            ("--dir=~/keys", "~", Some(("~/keys", true))),
            ("1r./bin", ".", Some(("./bin", false))),
            ("role/dev", "dev", Some(("dev", false))),
            ("export-dev", "dev", Some(("dev", false))),
            ("developer", "dev", None),
        ] {
            let found = mentions(word, name, name);
            let first = found.first().map(|named| (named.path.to_str().expect("UTF-8"), named.is_value));
            assert_eq!(first, expected, "{word} {name}");
        }
    }
}
