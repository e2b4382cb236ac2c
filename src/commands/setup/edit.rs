//! Changes to docker's JSON settings. What they do not change stays byte for byte ([`json`](super::json)).
//!
//! docker and podman refuse comments and commas after the last member, and read nothing from a text that has them. [`check`]
//! refuses such a text too.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Map, Value};

use super::json::{DOCKER, Layout, Member, Splice, mask_strings, members, quoted, removals, spliced, string};
use crate::code::Code;
use crate::error::Failure;

/// A text after an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The new text.
    pub text: String,
    /// The number of members, by their names, that the edit has added, changed or removed.
    pub count: usize,
}

/// Sets the members `names` of the object `parent` in the object `text` to the string `value`. Missing members are added in
/// the layout of the text.
pub fn set(text: &str, parent: &str, names: &[&str], value: &str) -> Result<Edited, Failure> {
    let new = quoted(value);
    let new_text = || format!("{{{}\n}}", DOCKER.member(parent, &DOCKER.object(names, &new)));
    if text.trim().is_empty() {
        return Ok(Edited { text: new_text() + "\n", count: names.len() });
    }
    let Document { root, members: all } = Document::parse(text)?;
    let Some(last) = all.last() else {
        return Ok(Edited { text: spliced(text, vec![(root, new_text())]), count: names.len() });
    };
    let layout = Layout::read(text, last);
    // Go's decoder uses the last one of this name, else of this name in another case.
    let mut same = all.iter().rev().filter(|member| member.name.eq_ignore_ascii_case(parent));
    let found = same.clone().find(|member| member.name == parent).or_else(|| same.next());
    let known = match found {
        Some(member) if !is_null(text, member) => object(text, member)?,
        _ => Vec::new(),
    };
    let splices = match (found, known.last()) {
        (_, Some(last)) => set_members(text, &known, last, names, value),
        (Some(member), None) => vec![(member.value.clone(), layout.object(names, &new))],
        (None, None) => vec![append(last, &layout.member(parent, &layout.object(names, &new)))],
    };
    let count = if known.is_empty() { names.len() } else { splices.len() };
    Ok(Edited { text: spliced(text, splices), count })
}

fn append(last: &Member, new: &str) -> Splice {
    (last.value.end..last.value.end, format!(",{new}"))
}

/// Sets members of an object that has some, a splice for each that it changes or adds.
fn set_members(text: &str, known: &[Member], last: &Member, names: &[&str], value: &str) -> Vec<Splice> {
    let (layout, new) = (Layout::read(text, last), quoted(value));
    let splice = |name: &&str| match known.iter().rfind(|member| member.name == *name) {
        None => Some(append(last, &layout.member(name, &new))),
        Some(member) if string(text, &member.value).as_deref() != Some(value) => {
            Some((member.value.clone(), new.clone()))
        }
        Some(_) => None,
    };
    names.iter().filter_map(splice).collect()
}

/// Removes from the objects called `parent` the members that `selects` selects by their name and, where it is a string, their
/// value. `emptied` decides what happens to an object that loses its last member.
pub fn cut(
    text: &str,
    parent: &str,
    emptied: Emptied,
    selects: impl Fn(&str, Option<&str>) -> bool,
) -> Result<Edited, Failure> {
    if text.trim().is_empty() {
        return Ok(Edited { text: text.to_owned(), count: 0 });
    }
    let Document { root, members: all } = Document::parse(text)?;
    let (mut names, mut splices, mut parents) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    // Go's decoder merges the values of all that have this name in some case.
    let of_parent = |member: &Member| member.name.eq_ignore_ascii_case(parent) && !is_null(text, member);
    for (index, member) in all.iter().enumerate().filter(|(_, member)| of_parent(member)) {
        let known = object(text, member)?;
        let is_selected = |known: &Member| selects(&known.name, string(text, &known.value).as_deref());
        let selected: BTreeSet<usize> = (0..known.len()).filter(|index| is_selected(&known[*index])).collect();
        names.extend(selected.iter().map(|index| known[*index].name.clone()));
        if !selected.is_empty() && selected.len() == known.len() && matches!(emptied, Emptied::Removed) {
            parents.insert(index);
        } else {
            splices.extend(removals(&member.value, &spans(&known), |index| selected.contains(&index)));
        }
    }
    splices.extend(removals(&root, &spans(&all), |index| parents.contains(&index)));
    Ok(Edited { text: spliced(text, splices), count: names.len() })
}

/// Replaces the string `old` by `new` where the member `name` of the object `text` has it.
pub fn replace(text: &str, name: &str, old: &str, new: &str) -> Result<String, Failure> {
    if text.trim().is_empty() {
        return Ok(text.to_owned());
    }
    let is_meant =
        |member: &Member| member.name.eq_ignore_ascii_case(name) && string(text, &member.value).as_deref() == Some(old);
    let members = Document::parse(text)?.members.into_iter().filter(is_meant);
    Ok(spliced(text, members.map(|member| (member.value, quoted(new))).collect()))
}

/// What happens to an object that loses its last member.
#[derive(Clone, Copy)]
pub enum Emptied {
    Kept,
    Removed,
}

/// Returns the text for people to see: without its strings, since some are secrets, except those in `credHelpers`.
pub fn masked(text: &str) -> String {
    let Ok(Document { members, .. }) = Document::parse(text) else { return String::new() };
    let hidden = members.iter().filter(|member| !member.name.eq_ignore_ascii_case("credHelpers"));
    let mut splices = Vec::new();
    hidden.for_each(|member| mask_strings(text, &member.value, &mut splices));
    spliced(text, splices)
}

/// Refuses a text that docker does not read. The failure names the position and quotes nothing, since the text may hold
/// passwords.
pub fn check(text: &str) -> Result<(), Failure> {
    let Err(error) = serde_json::from_str::<Map<String, Value>>(text) else { return Ok(()) };
    if error.is_data() {
        return Err(invalid("not a JSON object".to_owned()));
    }
    let position = format!("line {}, column {}", error.line(), error.column());
    let line: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let (before, at) = text.split_at_checked(line + error.column().saturating_sub(1)).unwrap_or((text, ""));
    let why = if at.starts_with("//") || at.starts_with("/*") {
        ": a comment, which docker does not read"
    } else if at.starts_with(['}', ']']) && before.trim_end().ends_with(',') {
        ": a comma after the last member, which docker does not read"
    } else {
        ""
    };
    Err(invalid(format!("{position}: not JSON{why}")))
}

fn invalid(what: String) -> Failure {
    Failure::new(Code::ClientConfigInvalid, what, "correct it; setup left the file unchanged")
}

/// A text that is one JSON object.
struct Document {
    /// The place of the object.
    root: Range<usize>,
    members: Vec<Member>,
}

impl Document {
    fn parse(text: &str) -> Result<Self, Failure> {
        check(text)?;
        let start = text.len() - text.trim_start().len();
        let root = start..start + text.trim().len();
        Ok(Self { members: members(text, &root).unwrap_or_default(), root })
    }
}

fn spans(members: &[Member]) -> Vec<Range<usize>> {
    members.iter().map(Member::span).collect()
}

fn object(text: &str, member: &Member) -> Result<Vec<Member>, Failure> {
    members(text, &member.value).ok_or_else(|| invalid(format!("\"{}\" is not an object", member.name)))
}

fn is_null(text: &str, member: &Member) -> bool {
    text[member.value.clone()] == *"null"
}

#[cfg(test)]
mod tests {
    use super::{Emptied, check, cut, masked, set};

    fn set_one(text: &str) -> String {
        set(text, "credHelpers", &["h"], "v").expect("an object").text
    }

    fn cut_h(text: &str, emptied: Emptied) -> String {
        cut(text, "credHelpers", emptied, |name, value| name == "h" && value == Some("v")).expect("an object").text
    }

    #[test]
    fn an_edit_counts_the_members_that_it_changes() {
        for (text, count) in [
            ("", 2),
            ("{}", 2),
            (r#"{"credHelpers":null}"#, 2),
            (r#"{"a":1}"#, 2),
            (r#"{"credHelpers":{"h":"v"}}"#, 1),
            (r#"{"credHelpers":{"h":"w"}}"#, 2),
            (r#"{"credHelpers":{"h":"v","i":"v"}}"#, 0),
        ] {
            assert_eq!(set(text, "credHelpers", &["h", "i"], "v").expect("an object").count, count, "{text}");
        }
        for (text, count) in [
            ("", 0),
            (r#"{"credHelpers":{"h":"v","i":"w"}}"#, 1),
            (r#"{"credHelpers":{"h":"v"},"CredHelpers":{"h":"v","i":"v"}}"#, 2),
        ] {
            let cut = cut(text, "credHelpers", Emptied::Removed, |_, value| value == Some("v"));
            assert_eq!(cut.expect("an object").count, count, "{text}");
        }
    }

    #[test]
    fn a_new_member_has_the_layout_of_its_object() {
        for (before, after) in [
            ("", "{\n\t\"credHelpers\": {\n\t\t\"h\": \"v\"\n\t}\n}\n"),
            (r#"{"a":1}"#, r#"{"a":1,"credHelpers":{"h":"v"}}"#),
            (r#"{ "a" : 1.50e3 }"#, r#"{ "a" : 1.50e3, "credHelpers" : { "h" : "v" } }"#),
            (r#"{"credHelpers": {"b": "w"}}"#, r#"{"credHelpers": {"b": "w","h": "v"}}"#),
            ("{\n  \"a\": 1\n}", "{\n  \"a\": 1,\n  \"credHelpers\": {\n    \"h\": \"v\"\n  }\n}"),
            (
                "{\r\n\t\"credHelpers\": {\r\n\t\t\"b\": \"w\"\r\n\t}\r\n}",
                "{\r\n\t\"credHelpers\": {\r\n\t\t\"b\": \"w\",\r\n\t\t\"h\": \"v\"\r\n\t}\r\n}",
            ),
            (r#"{"credHelpers": null}"#, r#"{"credHelpers": {"h": "v"}}"#),
        ] {
            assert_eq!(set_one(before), after, "{before}");
        }
    }

    #[test]
    fn the_member_that_gos_decoder_uses_is_set() {
        for (before, after) in [
            (r#"{"credHelpers":{"h":"x"}}"#, r#"{"credHelpers":{"h":"v"}}"#),
            (r#"{"CREDHELPERS":{"h":"x"}}"#, r#"{"CREDHELPERS":{"h":"v"}}"#),
            (r#"{"credHelpers":{"h":"x"},"CredHelpers":{}}"#, r#"{"credHelpers":{"h":"v"},"CredHelpers":{}}"#),
            (r#"{"credHelpers":{},"credHelpers":{"h":"x"}}"#, r#"{"credHelpers":{},"credHelpers":{"h":"v"}}"#),
            (r#"{"credHelpers":{"\u0068":"x"}}"#, r#"{"credHelpers":{"\u0068":"v"}}"#),
        ] {
            assert_eq!(set_one(before), after, "{before}");
        }
    }

    #[test]
    fn cut_restores_the_text_from_before_set() {
        for text in [
            r#"{"a":1}"#,
            r#"{ "a" : {}, "b":[1,  2] }"#,
            "{\n  \"a\": 12345678901234567890123\n}\n\n",
            "{\r\n\t\"a\": \"\\u00e9\"\r\n}",
        ] {
            assert_eq!(cut_h(&set_one(text), Emptied::Removed), text);
        }
    }

    #[test]
    fn cut_removes_the_selected_members_alone() {
        for (emptied, before, after) in [
            (Emptied::Removed, r#"{"a":1,"credHelpers":{"h":"v"}}"#, r#"{"a":1}"#),
            (Emptied::Kept, r#"{"a":1,"credHelpers":{"h":"v"}}"#, r#"{"a":1,"credHelpers":{}}"#),
            (Emptied::Removed, r#"{"credHelpers":{"h":"v","b":"v"}}"#, r#"{"credHelpers":{"b":"v"}}"#),
            (Emptied::Removed, r#"{"credHelpers":{"h":"w"}}"#, r#"{"credHelpers":{"h":"w"}}"#),
            (Emptied::Removed, r#"{"credHelpers":{"h":1}}"#, r#"{"credHelpers":{"h":1}}"#),
            (Emptied::Removed, r#"{"credHelpers":{}}"#, r#"{"credHelpers":{}}"#),
            (Emptied::Removed, r#"{"credHelpers":null}"#, r#"{"credHelpers":null}"#),
            (Emptied::Removed, r#"{"credHelpers":{"h":"v"},"CredHelpers":{"h":"v"}}"#, "{}"),
            (Emptied::Removed, " \n", " \n"),
        ] {
            assert_eq!(cut_h(before, emptied), after, "{before}");
        }
    }

    #[test]
    fn a_text_that_docker_does_not_read_is_refused_with_its_position_and_without_its_content() {
        for (text, expected) in [
            ("[\"secret\"]", "not a JSON object"),
            ("{\"a\": secret}", "line 1, column 7: not JSON"),
            ("{} secret", "line 1, column 4: not JSON"),
            ("{\n // secret\n}", "line 2, column 2: not JSON: a comment, which docker does not read"),
            (
                "{\"a\": \"secret\",\n}",
                "line 2, column 1: not JSON: a comma after the last member, which docker does not read",
            ),
            ("\u{feff}{}", "line 1, column 1: not JSON"),
        ] {
            assert_eq!(check(text).expect_err("a refusal").what, expected, "{text}");
        }
        let failure = set(r#"{"credHelpers":["secret"]}"#, "credHelpers", &["h"], "v").expect_err("a refusal");
        assert_eq!(failure.what, "\"credHelpers\" is not an object");
    }

    #[test]
    fn masked_shows_no_string_but_the_names_of_helpers() {
        let text = r#"{"auths":{"h":{"auth":"secret"}},"x":["secret",1],"credHelpers":{"h":"v"}}"#;
        assert_eq!(masked(text), r#"{"auths":{"h":{"auth":…}},"x":[…,1],"credHelpers":{"h":"v"}}"#);
        assert_eq!(masked("secret"), "");
    }
}
