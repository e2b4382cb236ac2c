//! Cleans the text of services, settings and other programs for a terminal and for the log.

use std::borrow::Cow;

/// Replaces each run of white space and of [characters that act on a terminal](acts_on_terminal) by one space. The text of other
/// programs may have several lines or terminal sequences, and an answer of the protocol is one line.
pub fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in words(text) {
        line.extend((!line.is_empty()).then_some(' '));
        line.push_str(word);
    }
    line
}

/// What is between white space and [characters that act on a terminal](acts_on_terminal).
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || acts_on_terminal(c)).filter(|word| !word.is_empty())
}

/// The first characters of a text, with an ellipsis for the others.
pub fn beginning(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// Whether a character changes how others appear: a control character, or one of Unicode's invisible format characters, which
/// reorder a line (UAX 9) or hide in it.
pub fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// JSON with an escape for each character that acts on a terminal, which its reader decodes to the same text.
pub fn printable_json(json: &str) -> String {
    let escape =
        |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat();
    json.chars().map(|c| if acts_on_terminal(c) && c != '\n' { escape(c) } else { c.to_string() }).collect()
}

/// Text of several lines with a `\u{fffd}` for each character that acts on a terminal, apart from newlines and tabs.
pub fn printable(text: &str) -> String {
    text.replace(|c| acts_on_terminal(c) && !matches!(c, '\n' | '\t'), "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::{printable, printable_json};

    #[test]
    fn lines_stay_and_what_acts_on_a_terminal_goes() {
        assert_eq!(printable("a\tb\u{1b}[2J\r\nc\u{200f}"), "a\tb\u{fffd}[2J\u{fffd}\nc\u{fffd}");
        assert_eq!(printable_json("{\n \"\u{9b}\u{e0041}é\"}"), "{\n \"\\u009b\\udb40\\udc41é\"}");
    }
}
