//! Changes to docker's JSON settings that keep key order, white space, the spelling of numbers and unknown members.
//!
//! The concrete syntax tree of `jsonc-parser` holds every byte of the text and makes the changes. It would also accept
//! comments and trailing commas, which Go's decoder and so docker and podman refuse. [`check`] refuses such a text too, since
//! docker reads nothing from it until somebody corrects it.
//!
//! The tree spreads an object over several lines before it adds a member. [`Layout`] puts an object that was on one line back
//! on one line.

use std::collections::{BTreeSet, HashMap};

use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstObjectProp, CstRootNode, ObjectPropName};
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::{Map, Value};

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
    let all = |text: String| Ok(Edited { text, count: names.len() });
    if text.trim().is_empty() {
        return all(new_text(parent, names, value) + "\n");
    }
    let document = Document::parse(text)?;
    let root = &document.object;
    if root.properties().is_empty() {
        return all(text.replacen(root.to_string().as_str(), &new_text(parent, names, value), 1));
    }
    let layout = Layout::of(root);
    let members = || names.iter().map(|name| ((*name).to_owned(), CstInputValue::from(value)));
    match document.member(parent) {
        None => {
            layout.append(root, [(parent.to_owned(), CstInputValue::Object(members().collect()))]);
            all(layout.with_root_end(document.root.to_string()))
        }
        Some(member) if is_null(&member) => {
            member.set_value(CstInputValue::Object(members().collect()));
            layout.apply_to_value(&member);
            all(document.root.to_string())
        }
        Some(member) => {
            let object = object_of(&member)?;
            let known: HashMap<String, CstObjectProp> =
                object.properties().into_iter().filter_map(|member| Some((member.decoded_name()?, member))).collect();
            let layout = if known.is_empty() { layout } else { Layout::of(&object) };
            let (present, missing): (Vec<_>, Vec<_>) = members().partition(|(name, _)| known.contains_key(name));
            let mut count = missing.len();
            for (name, new) in present {
                count += usize::from(text_value(&known[&name]).as_deref() != Some(value));
                known[&name].set_value(new);
            }
            layout.append(&object, missing);
            Ok(Edited { text: document.root.to_string(), count })
        }
    }
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
    let document = Document::parse(text)?;
    let mut names = BTreeSet::new();
    for member in document.members(parent).into_iter().filter(|member| !is_null(member)) {
        let object = object_of(&member)?;
        let is_selected = |known: &CstObjectProp| {
            known.decoded_name().is_some_and(|name| selects(&name, text_value(known).as_deref()))
        };
        let found: Vec<CstObjectProp> = object.properties().into_iter().filter(is_selected).collect();
        if found.is_empty() {
            continue;
        }
        names.extend(found.iter().filter_map(CstObjectProp::decoded_name));
        if found.len() == object.properties().len() && matches!(emptied, Emptied::Removed) {
            member.remove();
        } else {
            found.into_iter().for_each(CstObjectProp::remove);
        }
    }
    Ok(Edited { text: document.root.to_string(), count: names.len() })
}

/// Replaces the string `old` by `new` where the member `name` of the object `text` has it.
pub fn replace(text: &str, name: &str, old: &str, new: &str) -> Result<String, Failure> {
    if text.trim().is_empty() {
        return Ok(text.to_owned());
    }
    let document = Document::parse(text)?;
    for member in document.members(name).iter().filter(|member| text_value(member).as_deref() == Some(old)) {
        member.set_value(CstInputValue::from(new));
    }
    Ok(document.root.to_string())
}

/// What happens to an object that loses its last member.
#[derive(Clone, Copy)]
pub enum Emptied {
    Kept,
    Removed,
}

/// Returns the text for people to see: without its strings, since some are secrets, except those in `credHelpers`.
pub fn masked(text: &str) -> String {
    let Ok(document) = Document::parse(text) else { return String::new() };
    for member in document.object.properties() {
        let shown = member.decoded_name().is_some_and(|name| name.eq_ignore_ascii_case("credHelpers"));
        if let (false, Some(value)) = (shown, member.value()) {
            mask(&value);
        }
    }
    document.root.to_string()
}

/// Refuses a text that docker does not read. The failure names the position and quotes nothing, since the text may hold
/// passwords.
pub fn check(text: &str) -> Result<(), Failure> {
    let Err(error) = serde_json::from_str::<Map<String, Value>>(text) else { return Ok(()) };
    if error.is_data() {
        return Err(not_an_object());
    }
    let position = format!("line {}, column {}", error.line(), error.column());
    let strict = ParseOptions { allow_comments: false, allow_trailing_commas: false, ..ParseOptions::default() };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &strict);
    let extension = match parsed.as_ref().err().map(jsonc_parser::errors::ParseError::kind) {
        Some(ParseErrorKind::CommentsNotAllowed) => "a comment",
        Some(ParseErrorKind::TrailingCommasNotAllowed) => "a comma after the last member",
        _ => return Err(invalid(format!("{position}: not JSON"))),
    };
    Err(invalid(format!("{position}: not JSON: {extension}, which docker does not read")))
}

fn invalid(what: String) -> Failure {
    Failure::new(Code::ClientConfigInvalid, what, "correct it; setup left the file unchanged")
}

fn not_an_object() -> Failure {
    invalid("not a JSON object".to_owned())
}

/// A text that is one JSON object. The nodes of the tree are valid only as long as its root.
struct Document {
    root: CstRootNode,
    object: CstObject,
}

impl Document {
    fn parse(text: &str) -> Result<Self, Failure> {
        check(text)?;
        let root = CstRootNode::parse(text, &ParseOptions::default()).map_err(|error| {
            invalid(format!("line {}, column {}: not JSON", error.line_display(), error.column_display()))
        })?;
        let object = root.object_value().ok_or_else(not_an_object)?;
        Ok(Self { root, object })
    }

    /// Returns the member that Go's decoder uses: the last one of this name, else of this name in another case.
    fn member(&self, name: &str) -> Option<CstObjectProp> {
        let same_name = |member: &CstObjectProp| member.decoded_name().as_deref() == Some(name);
        let members = self.members(name);
        members.iter().rev().find(|member| same_name(member)).or(members.last()).cloned()
    }

    /// Returns every member of this name in any case, since Go's decoder merges their values.
    fn members(&self, name: &str) -> Vec<CstObjectProp> {
        let mut members = self.object.properties();
        members.retain(|member| member.decoded_name().is_some_and(|known| known.eq_ignore_ascii_case(name)));
        members
    }
}

/// The white space between the members of an object.
struct Layout {
    /// The white space before each member of an object on one line; `None` for an object on several lines, whose indentation
    /// the tree handles.
    gaps: Option<Vec<String>>,
    /// The white space between the last member and the closing brace.
    end: String,
    /// The white space before and after a colon.
    colon: [String; 2],
}

impl Layout {
    fn of(object: &CstObject) -> Self {
        let members = object.properties();
        let one_line = !object.children().iter().any(CstNode::is_newline);
        let gaps = one_line.then(|| members.iter().map(|member| space(member.previous_sibling())).collect());
        let end = space(members.last().and_then(CstObjectProp::next_sibling));
        Self { gaps, end, colon: members.last().map(around_colon).unwrap_or_default() }
    }

    /// Adds members at the end of an object.
    fn append(&self, object: &CstObject, members: impl IntoIterator<Item = (String, CstInputValue)>) {
        let before = if object.properties().is_empty() { &[][..] } else { self.gaps.as_deref().unwrap_or_default() };
        let mut added = 0;
        for (name, value) in members {
            self.apply_to(&object.append(&name, value));
            added += 1;
        }
        if let (Some(gaps), 1..) = (&self.gaps, added) {
            let gap = gaps.last().map_or("", String::as_str);
            let end = if before.is_empty() { gap } else { &self.end };
            let gaps = before.iter().map(String::as_str).chain(std::iter::repeat_n(gap, added));
            join(object, gaps.chain([end]));
        }
    }

    /// Adds the white space before the closing brace of the root. The tree has none there to set, since it does not indent
    /// this brace.
    fn with_root_end(&self, mut text: String) -> String {
        if let (Some(_), Some(brace)) = (&self.gaps, text.rfind('}')) {
            text.insert_str(brace, &self.end);
        }
        text
    }

    /// Gives a new member the layout of the others.
    fn apply_to(&self, member: &CstObjectProp) {
        // The tree cannot put white space before a colon, so the name carries it.
        if let (Some(ObjectPropName::String(name)), false) = (member.name(), self.colon[0].is_empty()) {
            name.set_raw_value(name.raw_value() + &self.colon[0]);
        }
        if let Some(space) = member.children().iter().find_map(CstNode::as_whitespace) {
            space.set_value(self.colon[1].clone());
        }
        self.apply_to_value(member);
    }

    /// Gives the object in a new member the same layout.
    fn apply_to_value(&self, member: &CstObjectProp) {
        let Some(object) = member.object_value() else { return };
        object.properties().iter().for_each(|inner| self.apply_to(inner));
        if let Some(gaps) = &self.gaps {
            let gap = gaps.last().map_or("", String::as_str);
            join(&object, std::iter::repeat(gap));
        }
    }
}

/// The text of a node of white space; empty for any other node.
fn space(node: Option<CstNode>) -> String {
    node.filter(CstNode::is_whitespace).map_or_else(String::new, |node| node.to_string())
}

/// The white space before and after the colon of a member.
fn around_colon(member: &CstObjectProp) -> [String; 2] {
    let parts = member.children();
    let at = parts.iter().position(|part| part.token_char() == Some(':')).unwrap_or_default();
    [at.checked_sub(1), Some(at + 1)].map(|at| space(at.and_then(|at| parts.get(at)).cloned()))
}

/// Puts an object on one line, with these gaps before its members and its closing brace.
fn join<'a>(object: &CstObject, gaps: impl Iterator<Item = &'a str>) {
    let newlines = object.children().into_iter().filter_map(|node| node.as_newline());
    for (newline, gap) in newlines.zip(gaps) {
        if let Some(space) = newline.next_sibling().and_then(|node| node.as_whitespace()) {
            space.set_value(gap.to_owned());
        }
        newline.remove();
    }
}

/// Returns a new text in docker's layout.
fn new_text(parent: &str, names: &[&str], value: &str) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let members: Vec<String> = names.iter().map(|name| format!("\t\t{}: {}", quoted(name), quoted(value))).collect();
    format!("{{\n\t{}: {{\n{}\n\t}}\n}}", quoted(parent), members.join(",\n"))
}

fn object_of(member: &CstObjectProp) -> Result<CstObject, Failure> {
    let name = || member.decoded_name().unwrap_or_default();
    member.object_value().ok_or_else(|| invalid(format!("\"{}\" is not an object", name())))
}

fn text_value(member: &CstObjectProp) -> Option<String> {
    member.value()?.as_string_lit()?.decoded_value().ok()
}

fn is_null(member: &CstObjectProp) -> bool {
    member.value().is_some_and(|value| value.as_null_keyword().is_some())
}

fn mask(node: &CstNode) {
    if let Some(text) = node.as_string_lit() {
        text.set_raw_value("…".to_owned());
    }
    for child in node.children() {
        match child.as_object_prop() {
            Some(member) => member.value().iter().for_each(mask),
            None => mask(&child),
        }
    }
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
