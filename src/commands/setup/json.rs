//! The places of the parts of a JSON text, so that an edit changes these parts and leaves every other byte as it is: key order,
//! white space, the spelling of numbers, unknown members.

use std::ops::Range;

use serde_json::value::RawValue;

use crate::client_config::Members;

/// A member of an object.
pub(super) struct Member {
    pub(super) name: String,
    key: Range<usize>,
    pub(super) value: Range<usize>,
}

impl Member {
    pub(super) fn span(&self) -> Range<usize> {
        self.key.start..self.value.end
    }

    /// The white space before it, with the other members of its object for comparison.
    fn space_before<'a>(&self, text: &'a str) -> &'a str {
        let before = &text[..self.key.start];
        &before[before.trim_end_matches([' ', '\t', '\r', '\n']).len()..]
    }
}

/// The members of the object at a place of the text; `None` for another value.
pub(super) fn members(text: &str, at: &Range<usize>) -> Option<Vec<Member>> {
    let Members(members) = serde_json::from_str(&text[at.clone()]).ok()?;
    let member = |(key, value): (&RawValue, &RawValue)| {
        Some(Member { name: serde_json::from_str(key.get()).ok()?, key: span(text, key), value: span(text, value) })
    };
    members.into_iter().map(member).collect()
}

/// The string at a place of the text; `None` for another value.
pub(super) fn string(text: &str, at: &Range<usize>) -> Option<String> {
    serde_json::from_str(&text[at.clone()]).ok()
}

/// The place in `text` of a value that was parsed from it.
pub(super) fn span(text: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + value.get().len()
}

/// How the members of an object are laid out: like its last one.
pub(super) struct Layout<'a> {
    /// The white space before a member.
    gap: &'a str,
    /// The white space that one more level adds: the last line of the gap, on several lines.
    indent: &'a str,
    /// From a key to its value.
    colon: &'a str,
}

/// The layout in which docker writes.
pub(super) const DOCKER: Layout = Layout { gap: "\n\t", indent: "\t", colon: ": " };

impl<'a> Layout<'a> {
    pub(super) fn read(text: &'a str, last: &Member) -> Self {
        let gap = last.space_before(text);
        let indent = gap.rsplit_once('\n').map_or("", |(_, indent)| indent);
        // Not the empty lines that may precede the member.
        let newline = if gap.contains("\r\n") { 2 } else { usize::from(gap.contains('\n')) };
        let gap = if newline == 0 { gap } else { &gap[gap.len() - indent.len() - newline..] };
        Self { gap, indent, colon: &text[last.key.end..last.value.start] }
    }

    /// A new member.
    pub(super) fn member(&self, name: &str, value: &str) -> String {
        format!("{}{}{}{value}", self.gap, quoted(name), self.colon)
    }

    /// A new object one level below, whose members all have this value.
    pub(super) fn object(&self, names: &[&str], value: &str) -> String {
        let Self { gap, indent, colon } = self;
        let member = |name: &&str| format!("{gap}{indent}{}{colon}{value}", quoted(name));
        format!("{{{}{gap}}}", names.iter().map(member).collect::<Vec<_>>().join(","))
    }
}

/// A text as JSON writes it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What replaces a place of the text.
pub(super) type Splice = (Range<usize>, String);

/// Removes some of the items of an object or a list, with the commas and the white space before them.
pub(super) fn removals(
    container: &Range<usize>,
    items: &[Range<usize>],
    is_removed: impl Fn(usize) -> bool,
) -> Vec<Splice> {
    let (removed, kept): (Vec<usize>, Vec<usize>) = (0..items.len()).partition(|index| is_removed(*index));
    let place = |index: usize| match kept.first() {
        None => container.start + 1..container.end - 1,
        Some(first) if index > *first => items[index - 1].end..items[index].end,
        Some(_) => items[index].start..items[index + 1].start,
    };
    let mut places: Vec<_> = removed.into_iter().map(place).collect();
    places.dedup();
    places.into_iter().map(|place| (place, String::new())).collect()
}

/// Replaces places that do not overlap.
pub(super) fn spliced(text: &str, mut splices: Vec<Splice>) -> String {
    splices.sort_by_key(|(place, _)| place.start);
    let (mut result, mut end) = (String::with_capacity(text.len()), 0);
    for (place, new) in splices {
        result += &text[end..place.start];
        result += &new;
        end = place.end;
    }
    result + &text[end..]
}

/// Masks the strings in the text of a value, except the names of members. Not by recursion: a value may be nested as deeply as it is
/// long.
pub(super) fn masked_strings(value: &str) -> String {
    let (mut masked, mut rest) = (String::with_capacity(value.len()), value);
    while let Some((before, string)) = rest.split_once('"') {
        let (string, after) = string.split_at(string_end(string));
        let is_name = after.trim_start().starts_with(':');
        masked.extend(if is_name { [before, "\"", string] } else { [before, "…", ""] });
        rest = after;
    }
    masked + rest
}

/// Where a string ends, from behind its first quotation mark to behind its last.
fn string_end(text: &str) -> usize {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
