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

/// Whether a character changes how others appear: a control character, or one of Unicode's format characters (category Cf) or of
/// those without a glyph (`Default_Ignorable_Code_Point`), which reorder a line (UAX 9) or hide in it, or one whose glyph is blank.
pub fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{13441}'..='\u{13442}'
            | '\u{16fe4}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
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
    use super::{one_line, printable, printable_json};

    #[test]
    fn lines_stay_and_what_acts_on_a_terminal_goes() {
        assert_eq!(printable("a\tb\u{1b}[2J\r\nc\u{200f}"), "a\tb\u{fffd}[2J\u{fffd}\nc\u{fffd}");
        let hidden = "\u{34f}\u{605}\u{6dd}\u{2800}\u{3164}\u{fe0f}\u{13441}\u{1bca0}\u{1d159}\u{1d17a}\u{e0100}";
        for hidden in hidden.chars() {
            assert_eq!(one_line(&format!("a{hidden}b")), "a b", "{hidden:?}");
        }
        assert_eq!(printable_json("{\n \"\u{9b}\u{e0041}é\"}"), "{\n \"\\u009b\\udb40\\udc41é\"}");
    }
}
