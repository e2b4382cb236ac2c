//! Changes to docker's JSON settings. What they do not change stays byte for byte ([`json`](super::json)).
//!
//! docker and podman refuse comments and commas after the last member, and read nothing from a text that has them. An edit
//! refuses such a text too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::effect::{Edited, Effect, Entry};
use super::json::{DOCKER, Layout, Member, Splice, masked_strings, members, quoted, removals, spliced, string};
use crate::client_config::{self, HELPER_NAME};
use crate::code::Code;
use crate::error::Failure;

const HELPERS: &str = "credHelpers";

/// Gives the registries `names` to the helper, in `credHelpers`. Missing members are added in the layout of the text.
pub fn set(text: &str, names: &[&str]) -> Result<Edited, Failure> {
    let value = quoted(HELPER_NAME);
    let added = |splices, count| Ok(Edited::new(spliced(text, splices), [Effect::Added(count, Entry::CredHelper)]));
    let Document { root, members: all } = Document::parse(text)?;
    let Some(last) = all.last() else {
        let new = format!("{{{}\n}}", DOCKER.member(HELPERS, &DOCKER.object(names, &value)));
        let splice = if root.is_empty() { (0..text.len(), new + "\n") } else { (root, new) };
        return added(vec![splice], names.len());
    };
    let layout = Layout::read(text, last);
    // Go's decoder adds the entries of the last one of this name, in any case, to those of the others.
    let found = all.iter().rev().find(|member| member.name.eq_ignore_ascii_case(HELPERS));
    let known = match found {
        Some(member) if !is_null(text, member) => object(text, member)?,
        _ => Vec::new(),
    };
    match (found, known.last()) {
        (_, Some(last)) => {
            let splices = set_members(text, &known, last, names, &value);
            let count = splices.len();
            added(splices, count)
        }
        (Some(member), None) => added(vec![(member.value.clone(), layout.object(names, &value))], names.len()),
        (None, None) => added(vec![append(last, &layout.member(HELPERS, &layout.object(names, &value)))], names.len()),
    }
}

fn append(last: &Member, new: &str) -> Splice {
    (last.value.end..last.value.end, format!(",{new}"))
}

/// Sets members of an object that has some, a splice for each that it changes or adds.
fn set_members(text: &str, known: &[Member], last: &Member, names: &[&str], value: &str) -> Vec<Splice> {
    let layout = Layout::read(text, last);
    // Of two members of one name, Go's decoder uses the last.
    let known: BTreeMap<&str, &Member> = known.iter().map(|member| (member.name.as_str(), member)).collect();
    let splice = |name: &&str| match known.get(name) {
        None => Some(append(last, &layout.member(name, value))),
        Some(member) if string(text, &member.value).as_deref() == Some(HELPER_NAME) => None,
        Some(member) => Some((member.value.clone(), value.to_owned())),
    };
    names.iter().filter_map(splice).collect()
}

/// Removes the entries of one kind that `selects` selects by their name and, where it is a string, their value. `credHelpers`
/// goes with its last entry; `auths` stays, as docker itself leaves it.
pub fn cut(text: &str, entry: Entry, selects: impl Fn(&str, Option<&str>) -> bool) -> Result<Edited, Failure> {
    let parent = if entry == Entry::Auth { "auths" } else { HELPERS };
    let Document { root, members: all } = Document::parse(text)?;
    let (mut names, mut splices, mut parents) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    // Go's decoder merges the values of all that have this name in some case.
    let of_parent = |member: &Member| member.name.eq_ignore_ascii_case(parent) && !is_null(text, member);
    for (index, member) in all.iter().enumerate().filter(|(_, member)| of_parent(member)) {
        let known = object(text, member)?;
        let is_selected = |known: &Member| selects(&known.name, string(text, &known.value).as_deref());
        let selected: BTreeSet<usize> = (0..known.len()).filter(|index| is_selected(&known[*index])).collect();
        names.extend(selected.iter().map(|index| known[*index].name.clone()));
        if !selected.is_empty() && selected.len() == known.len() && entry != Entry::Auth {
            parents.insert(index);
        } else {
            splices.extend(removals(&member.value, &spans(&known), |index| selected.contains(&index)));
        }
    }
    splices.extend(removals(&root, &spans(&all), |index| parents.contains(&index)));
    Ok(Edited::new(spliced(text, splices), [Effect::Removed(names.len(), entry)]))
}

/// Corrects `credsStore` where it has the program's whole name: docker would find no helper for any other registry.
pub fn correct_store(text: &str) -> Result<Edited, Failure> {
    let is_wrong = |member: &Member| {
        member.name.eq_ignore_ascii_case("credsStore") && string(text, &member.value).as_deref() == Some(crate::NAME)
    };
    let members = Document::parse(text)?.members.into_iter().filter(is_wrong);
    Ok(Edited::new(spliced(text, members.map(|member| (member.value, quoted(HELPER_NAME))).collect()), []))
}

/// Returns the text for people to see: without its strings, since some are secrets, except those in `credHelpers`.
pub fn masked(text: &str) -> String {
    let Ok(Document { members, .. }) = Document::parse(text) else { return String::new() };
    let hidden = members.iter().filter(|member| !member.name.eq_ignore_ascii_case(HELPERS));
    spliced(text, hidden.map(|member| (member.value.clone(), masked_strings(&text[member.value.clone()]))).collect())
}

fn invalid(what: String) -> Failure {
    Failure::new(Code::ClientConfigInvalid, what, "correct it; setup left the file unchanged")
}

/// A text that is one JSON object, null, or blank.
struct Document {
    /// The place of the object; empty in a blank text.
    root: Range<usize>,
    members: Vec<Member>,
}

impl Document {
    fn parse(text: &str) -> Result<Self, Failure> {
        client_config::parse(text).map_err(invalid)?;
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
    use super::{cut, masked, set};
    use crate::commands::setup::effect::{Effect, Entry};

    fn set_one(text: &str) -> String {
        // The helper's name is short here.
        let (short, long) = ("\"v\"", "\"ecr-login\"");
        set(&text.replace(short, long), &["h"]).expect("an object").text.replace(long, short)
    }

    fn cut_h(text: &str, entry: Entry) -> String {
        cut(text, entry, |name, value| name == "h" && value == Some("v")).expect("an object").text
    }

    #[test]
    fn an_edit_counts_the_members_that_it_changes() {
        for (text, count) in [
            ("", 2),
            ("{}", 2),
            (r#"{"credHelpers":null}"#, 2),
            ("null\n", 2),
            (r#"{"a":1}"#, 2),
            (r#"{"credHelpers":{"h":"v"}}"#, 1),
            (r#"{"credHelpers":{"h":"w"}}"#, 2),
            (r#"{"credHelpers":{"h":"v","i":"v"}}"#, 0),
        ] {
            let set = set(&text.replace("\"v\"", "\"ecr-login\""), &["h", "i"]).expect("an object");
            let added = (count > 0).then_some(Effect::Added(count, Entry::CredHelper));
            assert_eq!(set.effects, Vec::from_iter(added), "{text}");
        }
        for (text, count) in [
            ("", 0),
            (r#"{"credHelpers":{"h":"v","i":"w"}}"#, 1),
            (r#"{"credHelpers":{"h":"v"},"CredHelpers":{"h":"v","i":"v"}}"#, 2),
        ] {
            let cut = cut(text, Entry::CredHelper, |_, value| value == Some("v")).expect("an object");
            let removed = (count > 0).then_some(Effect::Removed(count, Entry::CredHelper));
            assert_eq!(cut.effects, Vec::from_iter(removed), "{text}");
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
            (r#"{"credHelpers":{"h":"x"},"CredHelpers":{}}"#, r#"{"credHelpers":{"h":"x"},"CredHelpers":{"h":"v"}}"#),
            (r#"{"credHelpers":{},"CredHelpers":{"h":"x"}}"#, r#"{"credHelpers":{},"CredHelpers":{"h":"v"}}"#),
            (r#"{"credHelpers":{"h":"v"},"CredHelpers":null}"#, r#"{"credHelpers":{"h":"v"},"CredHelpers":{"h":"v"}}"#),
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
            assert_eq!(cut_h(&set_one(text), Entry::CredHelper), text);
        }
    }

    #[test]
    fn cut_removes_the_selected_members_alone() {
        for (entry, before, after) in [
            (Entry::CredHelper, r#"{"a":1,"credHelpers":{"h":"v"}}"#, r#"{"a":1}"#),
            (Entry::Auth, r#"{"a":1,"auths":{"h":"v"}}"#, r#"{"a":1,"auths":{}}"#),
            (Entry::CredHelper, r#"{"credHelpers":{"h":"v","b":"v"}}"#, r#"{"credHelpers":{"b":"v"}}"#),
            (Entry::CredHelper, r#"{"credHelpers":{"h":"w"}}"#, r#"{"credHelpers":{"h":"w"}}"#),
            (Entry::CredHelper, r#"{"credHelpers":{"h":1}}"#, r#"{"credHelpers":{"h":1}}"#),
            (Entry::CredHelper, r#"{"credHelpers":{}}"#, r#"{"credHelpers":{}}"#),
            (Entry::CredHelper, r#"{"credHelpers":null}"#, r#"{"credHelpers":null}"#),
            (Entry::CredHelper, r#"{"credHelpers":{"h":"v"},"CredHelpers":{"h":"v"}}"#, "{}"),
            (Entry::CredHelper, " \n", " \n"),
        ] {
            assert_eq!(cut_h(before, entry), after, "{before}");
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
            (r#"{"\ud800": "secret"}"#, "line 1, column 9: not JSON"),
            ("\u{feff}{}", "line 1, column 1: not JSON: a byte-order mark, which docker does not read"),
        ] {
            assert_eq!(set(text, &["h"]).expect_err("a refusal").what, expected, "{text}");
        }
        let failure = set(r#"{"credHelpers":["secret"]}"#, &["h"]).expect_err("a refusal");
        assert_eq!(failure.what, "\"credHelpers\" is not an object");
    }

    #[test]
    fn masked_shows_no_string_but_the_names_of_helpers() {
        let text =
            r#"{"auths":{"h":{"auth":"secret"}},"x":["se\"cr\\",{"\"":"et"},1],"credHelpers":{"h":"v"},"y":"z"}"#;
        assert_eq!(masked(text), r#"{"auths":{"h":{"auth":…}},"x":[…,{"\"":…},1],"credHelpers":{"h":"v"},"y":…}"#);
        assert_eq!(masked("secret"), "");
    }
}
