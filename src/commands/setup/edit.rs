//! Changes to docker's JSON settings that keep key order, white space, the spelling of numbers and unknown members.
//!
//! The concrete syntax tree of `jsonc-parser` holds every byte of the text and makes the changes. It would also take
//! comments and trailing commas, which Go's decoder and so docker and podman refuse: such a text is refused here too,
//! since docker does not read it before somebody corrects it.
//!
//! The tree spreads an object over several lines before it adds a member. An object on one line is put back on it.

use std::collections::{BTreeMap, HashMap};

use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstObjectProp, CstRootNode, ObjectPropName};
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::{Map, Value};

/// Sets the members `dns` of the object `parent` in the object `text` to the string `value`. What is missing is added
/// in the layout that the text has.
pub(super) fn set(text: &str, parent: &str, names: &[&str], value: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok(first(parent, names, value) + "\n");
    }
    let document = Document::parse(text)?;
    let root = &document.object;
    if root.properties().is_empty() {
        return Ok(text.replacen(root.to_string().as_str(), &first(parent, names, value), 1));
    }
    let layout = Layout::of(root);
    let members = || names.iter().map(|name| ((*name).to_owned(), CstInputValue::from(value)));
    match document.member(parent) {
        None => layout.append(root, [(parent.to_owned(), CstInputValue::Object(members().collect()))]),
        Some(member) if is_null(&member) => {
            member.set_value(CstInputValue::Object(members().collect()));
            layout.apply_to_value(&member);
        }
        Some(member) => {
            let object = object_of(&member)?;
            let known: HashMap<String, CstObjectProp> =
                object.properties().into_iter().filter_map(|member| Some((member.decoded_name()?, member))).collect();
            let layout = if known.is_empty() { layout } else { Layout::of(&object) };
            let (there, missing): (Vec<_>, Vec<_>) = members().partition(|(name, _)| known.contains_key(name));
            for (name, value) in there {
                known[&name].set_value(value);
            }
            layout.append(&object, missing);
        }
    }
    Ok(document.root.to_string())
}

/// Cuts those members out of the objects called `parent` for which `which` is true of the name and of the value where
/// that is a string. An object that loses its last member goes too when `emptied` says so.
pub(super) fn cut(
    text: &str,
    parent: &str,
    emptied: Emptied,
    which: impl Fn(&str, Option<&str>) -> bool,
) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok(text.to_owned());
    }
    let document = Document::parse(text)?;
    for member in document.members(parent).into_iter().filter(|member| !is_null(member)) {
        let object = object_of(&member)?;
        let meant =
            |known: &CstObjectProp| known.decoded_name().is_some_and(|name| which(&name, text_value(known).as_deref()));
        let found: Vec<CstObjectProp> = object.properties().into_iter().filter(meant).collect();
        if found.is_empty() {
            continue;
        }
        if found.len() == object.properties().len() && matches!(emptied, Emptied::Goes) {
            member.remove();
        } else {
            found.into_iter().for_each(CstObjectProp::remove);
        }
    }
    Ok(document.root.to_string())
}

/// The members of the objects called `parent`, with the values that are strings.
pub(super) fn members(text: &str, parent: &str) -> BTreeMap<String, Option<String>> {
    let Ok(document) = Document::parse(text) else { return BTreeMap::new() };
    let objects = document.members(parent).into_iter().filter_map(|member| member.object_value());
    let members = objects.flat_map(|object| object.properties());
    members.filter_map(|member| Some((member.decoded_name()?, text_value(&member)))).collect()
}

/// What becomes of an object without members.
#[derive(Clone, Copy)]
pub(super) enum Emptied {
    Stays,
    Goes,
}

/// The text for people to see: strings are left out except in `credHelpers`, since some are secrets.
pub(super) fn masked(text: &str) -> String {
    let Ok(document) = Document::parse(text) else { return String::new() };
    for member in document.object.properties() {
        let shown = member.decoded_name().is_some_and(|name| name.eq_ignore_ascii_case("credHelpers"));
        if let (false, Some(value)) = (shown, member.value()) {
            mask(&value);
        }
    }
    document.root.to_string()
}

/// Why docker does not read a text, if so. It says where in the text, and quotes nothing of it: passwords may be there.
pub(super) fn check(text: &str) -> Result<(), String> {
    let Err(error) = serde_json::from_str::<Map<String, Value>>(text) else { return Ok(()) };
    if error.is_data() {
        return Err("not a JSON object".to_owned());
    }
    let place = format!("line {}, column {}", error.line(), error.column());
    let strict = ParseOptions { allow_comments: false, allow_trailing_commas: false, ..ParseOptions::default() };
    let kind = parse_to_ast(text, &CollectOptions::default(), &strict).err().map(|error| match error.kind() {
        ParseErrorKind::CommentsNotAllowed => "a comment",
        ParseErrorKind::TrailingCommasNotAllowed => "a comma after the last member",
        _ => "",
    });
    match kind.filter(|kind| !kind.is_empty()) {
        Some(kind) => Err(format!("{place}: not JSON: {kind}, which docker does not read; remove it")),
        None => Err(format!("{place}: not JSON")),
    }
}

/// A text that is one JSON object. The root has to live as long as anything below it is used.
struct Document {
    root: CstRootNode,
    object: CstObject,
}

impl Document {
    fn parse(text: &str) -> Result<Self, String> {
        check(text)?;
        let root = CstRootNode::parse(text, &ParseOptions::default())
            .map_err(|error| format!("line {}, column {}: not JSON", error.line_display(), error.column_display()))?;
        let object = root.object_value().ok_or("not a JSON object")?;
        Ok(Self { root, object })
    }

    /// The member that Go's decoder takes: the last of this name, else of this name in another case.
    fn member(&self, name: &str) -> Option<CstObjectProp> {
        let same_name = |member: &CstObjectProp| member.decoded_name().as_deref() == Some(name);
        let members = self.members(name);
        members.iter().rev().find(|member| same_name(member)).or(members.last()).cloned()
    }

    /// Every member of this name in any case: Go's decoder merges what several of them hold.
    fn members(&self, name: &str) -> Vec<CstObjectProp> {
        let mut members = self.object.properties();
        members.retain(|member| member.decoded_name().is_some_and(|known| known.eq_ignore_ascii_case(name)));
        members
    }
}

/// How the members of an object are laid out.
struct Layout {
    /// The white space before each member; `None` for an object of several lines, whose indentation the tree knows.
    gaps: Option<Vec<String>>,
    /// The white space between the last member and the closing brace.
    end: String,
    /// The white space before and after a colon.
    colon: [String; 2],
}

impl Layout {
    fn of(object: &CstObject) -> Self {
        let members = object.properties();
        let before = |node: Option<CstNode>| {
            node.filter(CstNode::is_whitespace).map_or_else(String::new, |node| node.to_string())
        };
        let one_line = !object.children().iter().any(CstNode::is_newline);
        let gaps = one_line.then(|| members.iter().map(|member| before(member.previous_sibling())).collect());
        let end = before(members.last().and_then(CstObjectProp::next_sibling));
        let parts = members.last().map(CstObjectProp::children).unwrap_or_default();
        let at = parts.iter().position(|part| part.token_char() == Some(':')).unwrap_or_default();
        let colon =
            [at.checked_sub(1).and_then(|at| parts.get(at)), parts.get(at + 1)].map(|part| before(part.cloned()));
        Self { gaps, end, colon }
    }

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

    /// Gives a new member the layout of the others.
    fn apply_to(&self, member: &CstObjectProp) {
        // The tree gives a colon no white space before it; a name may have some behind it.
        if let (Some(ObjectPropName::String(name)), false) = (member.name(), self.colon[0].is_empty()) {
            name.set_raw_value(name.raw_value() + &self.colon[0]);
        }
        if let Some(space) = member.children().iter().find_map(CstNode::as_whitespace) {
            space.set_value(self.colon[1].clone());
        }
        self.apply_to_value(member);
    }

    fn apply_to_value(&self, member: &CstObjectProp) {
        let Some(object) = member.object_value() else { return };
        object.properties().iter().for_each(|inner| self.apply_to(inner));
        if let Some(gaps) = &self.gaps {
            let gap = gaps.last().map_or("", String::as_str);
            join(&object, std::iter::repeat(gap));
        }
    }
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

/// docker's own layout, for a file that has none.
fn first(parent: &str, names: &[&str], value: &str) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let members: Vec<String> = names.iter().map(|name| format!("\t\t{}: {}", quoted(name), quoted(value))).collect();
    format!("{{\n\t{}: {{\n{}\n\t}}\n}}", quoted(parent), members.join(",\n"))
}

fn object_of(member: &CstObjectProp) -> Result<CstObject, String> {
    member.object_value().ok_or_else(|| format!("\"{}\" is not an object", member.decoded_name().unwrap_or_default()))
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
