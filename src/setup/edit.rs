//! Changes to a JSON text that leave every other byte of it alone: key order, white space, the spelling of numbers and
//! members that nobody here knows. Values are found with serde_json, and only the text of a member is put in or cut
//! out.

use std::ops::Range;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Sets the member `name` of the object `parent` in the object `text` to the string `value`. What is missing is added
/// in the layout that the text has.
pub(super) fn set(text: &str, parent: &str, name: &str, value: &str) -> Result<String, String> {
    let (name, value) = (quoted(name), quoted(value));
    if text.trim().is_empty() {
        return Ok(format!("{{\n\t{}: {{\n\t\t{name}: {value}\n\t}}\n}}\n", quoted(parent)));
    }
    let root = Object::of_text(text)?;
    let outer = root.space();
    let unit = outer.rsplit_once('\n').map_or("", |(_, unit)| unit);
    let inner = format!("{outer}{unit}");
    let Some(member) = root.member(parent) else {
        let object = format!("{{{inner}{name}{}{value}{outer}}}", root.colon());
        return Ok(root.with(&quoted(parent), &object));
    };
    if text[member.value.clone()] == *"null" {
        let object = format!("{{{inner}{name}{}{value}{outer}}}", root.colon());
        return Ok(replaced(text, member.value.clone(), &object));
    }
    let object = root.object(member)?;
    let known = object.members.iter().rev().find(|known| quoted(&known.name) == name);
    Ok(match known {
        Some(known) => replaced(text, known.value.clone(), &value),
        None if object.members.is_empty() => {
            replaced(text, object.span, &format!("{{{inner}{name}{}{value}{outer}}}", root.colon()))
        }
        None => object.with(&name, &value),
    })
}

/// Cuts those members out of the object `parent` for which `which` is true of name and value. An object that loses its
/// last one goes too if `drop_empty` says so.
pub(super) fn cut(
    text: &str,
    parent: &str,
    drop_empty: bool,
    which: impl Fn(&str, &str) -> bool,
) -> Result<String, String> {
    let mut text = text.to_owned();
    if text.trim().is_empty() {
        return Ok(text);
    }
    loop {
        let root = Object::of_text(&text)?;
        let Some(member) = root.member(parent).filter(|member| text[member.value.clone()] != *"null") else {
            return Ok(text);
        };
        let object = root.object(member)?;
        let found = object.members.iter().position(|member| which(&member.name, &text[member.value.clone()]));
        let Some(index) = found else { return Ok(text) };
        let name = &member.name;
        let next = match root.members.iter().position(|member| member.name == *name) {
            Some(outer) if drop_empty && object.members.len() == 1 => root.without(outer),
            _ => object.without(index),
        };
        text = next;
    }
}

/// The text for people to see: strings are left out except in `credHelpers`, since some are secrets.
pub(super) fn masked(text: &str) -> String {
    match Object::of_text(text) {
        Ok(root) => root.masked(&|name| name.eq_ignore_ascii_case("credHelpers")),
        Err(_) => String::new(),
    }
}

/// Where an object and its members lie in a text.
struct Object<'a> {
    text: &'a str,
    /// From brace to brace, both included.
    span: Range<usize>,
    members: Vec<Member>,
}

struct Member {
    name: String,
    /// Of the quote before the name.
    start: usize,
    value: Range<usize>,
}

impl<'a> Object<'a> {
    /// Where in the text it stops being one is all that an error says, since the text may hold passwords.
    fn of_text(text: &'a str) -> Result<Self, String> {
        let start = text.len() - text.trim_start().len();
        Self::at(text, start..text.trim_end().len()).map_err(|error| {
            let lines_before = text[..start].matches('\n').count();
            if error.is_data() {
                return "not a JSON object".to_owned();
            }
            format!("line {}, column {}: not JSON", lines_before + error.line(), error.column())
        })
    }

    fn at(text: &'a str, span: Range<usize>) -> serde_json::Result<Self> {
        let members: Members = serde_json::from_str(&text[span.clone()])?;
        let mut end = span.start + 1;
        let members = members.0.into_iter().map(|(name, value)| {
            let from = value.get().as_ptr().addr() - text.as_ptr().addr();
            let start = end + text[end..from].find('"').unwrap_or(0);
            end = from + value.get().len();
            Member { name, start, value: from..end }
        });
        let members = members.collect();
        Ok(Self { text, span, members })
    }

    fn object(&self, member: &Member) -> Result<Self, String> {
        Self::at(self.text, member.value.clone()).map_err(|_| format!("{} is not an object", quoted(&member.name)))
    }

    /// As Go's decoder finds it: by its name, else in another case; the last of several.
    fn member(&self, name: &str) -> Option<&Member> {
        let find = |same: &dyn Fn(&str) -> bool| self.members.iter().rev().find(|member| same(&member.name));
        find(&|known| known == name).or_else(|| find(&|known| known.eq_ignore_ascii_case(name)))
    }

    /// The white space before a member.
    fn space(&self) -> &'a str {
        let Some(last) = self.members.last() else { return "\n\t" };
        let before = &self.text[..last.start];
        &before[before.trim_end_matches([' ', '\t', '\r', '\n']).len()..]
    }

    /// What is between a name and its value.
    fn colon(&self) -> &'a str {
        let Some(last) = self.members.last() else { return ": " };
        let before = &self.text[last.start..last.value.start];
        before.rfind('"').map_or(": ", |quote| &before[quote + 1..])
    }

    /// The text with one more member at the end of this object.
    fn with(&self, name: &str, value: &str) -> String {
        let (space, colon) = (self.space(), self.colon());
        match self.members.last() {
            Some(last) => {
                let end = last.value.end;
                replaced(self.text, end..end, &format!(",{space}{name}{colon}{value}"))
            }
            None => replaced(self.text, self.span.clone(), &format!("{{{space}{name}{colon}{value}\n}}")),
        }
    }

    /// The text without the member at `index`.
    fn without(&self, index: usize) -> String {
        let member = &self.members[index];
        let cut = match (index.checked_sub(1), self.members.get(index + 1)) {
            (Some(before), _) => self.members[before].value.end..member.value.end,
            (None, Some(next)) => member.start..next.start,
            (None, None) => self.span.start + 1..self.span.end - 1,
        };
        replaced(self.text, cut, "")
    }

    fn masked(&self, shown: &dyn Fn(&str) -> bool) -> String {
        let mut masked = String::new();
        let mut end = self.span.start;
        for member in &self.members {
            masked.push_str(&self.text[end..member.value.start]);
            let value = &self.text[member.value.clone()];
            let inner = Self::at(self.text, member.value.clone());
            match inner {
                _ if shown(&member.name) => masked.push_str(value),
                Ok(object) => masked.push_str(&object.masked(&|_| false)),
                Err(_) if value.starts_with(['"', '[']) => masked.push('…'),
                Err(_) => masked.push_str(value),
            }
            end = member.value.end;
        }
        masked + &self.text[end..self.span.end]
    }
}

/// Names and values of an object in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn replaced(text: &str, span: Range<usize>, by: &str) -> String {
    [&text[..span.start], by, &text[span.end..]].concat()
}
