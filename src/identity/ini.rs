//! Reads the text of an AWS config or credentials file: sections, settings, and the lines that are neither.
//!
//! The AWS CLI (Python's configparser) and the AWS SDK for Go read these files in different ways, and people write them for
//! either. A text is read as the one that accepts it reads it, and where both accept it and differ, as the SDK for Go does:
//!
//! | text | read as |
//! | --- | --- |
//! | lines that end with LF, CR and LF, or CR | lines |
//! | `key = value`, `key: value` | a setting; the key in any case |
//! | lines that begin with `#` or `;`, also after blanks; text after a blank and one of them | comments |
//! | indented sections and settings | themselves, unless the setting before them is indented less |
//! | lines that are indented more than the setting before them | its nested settings when it has no value; otherwise more of its value, unless they look like settings, which are passed over |
//! | text behind `]` | passed over without a word |
//! | a section or a key that is there twice | one section; the later value; reported |
//! | a value in quotes | the value without them; reported |
//! | text before the first section, lines that are no setting, a header without `]` and what follows it | passed over, and reported |
//!
//! The reports have no text of the file, which may hold secrets.

use std::collections::BTreeMap;

/// The sections of a file, and the lines that were passed over.
#[derive(Clone, Debug, Default)]
pub(super) struct Ini {
    pub(super) sections: Vec<Section>,
    pub(super) passed_over: Vec<PassedOver>,
}

/// A section of a file.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// The text between the brackets, with one space behind the first word.
    pub(super) header: String,
    /// The line of its first header.
    pub(super) line: usize,
    settings: BTreeMap<String, Value>,
}

/// A line that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PassedOver {
    pub(super) line: usize,
    pub(super) why: &'static str,
}

/// The value of a setting.
#[derive(Clone, Debug, Default)]
struct Value {
    text: String,
    nested: BTreeMap<String, String>,
}

/// What an indented line belongs to.
enum Current {
    /// Nothing, since the line follows a header.
    Header,
    /// A line that was passed over.
    PassedOver,
    /// The setting with this key.
    Setting(String),
}

struct Parser {
    ini: Ini,
    /// The index of the section; `None` outside of sections.
    section: Option<usize>,
    current: Current,
    /// The indentation of the last line that continued no other.
    indent: usize,
}

impl Section {
    /// The value of a setting; `None` when it is absent or empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(|value| value.text.as_str()).filter(|text| !text.is_empty())
    }

    /// Whether it has the setting, with or without a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.settings.contains_key(key)
    }

    /// The value of a setting that is nested in another one.
    pub(super) fn nested(&self, outer: &str, key: &str) -> Option<&str> {
        self.settings.get(outer)?.nested.get(key).map(String::as_str).filter(|text| !text.is_empty())
    }
}

impl Ini {
    /// Reads a text. Every text has a reading.
    pub(super) fn parse(text: &str) -> Self {
        let mut parser = Parser { ini: Self::default(), section: None, current: Current::Header, indent: 0 };
        for (index, line) in lines(text).enumerate() {
            parser.read(index + 1, line);
        }
        parser.ini
    }

    /// The section with this header.
    pub(super) fn section(&self, header: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.header == header)
    }
}

impl Parser {
    fn read(&mut self, line: usize, text: &str) {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            return;
        }
        let indent = text.chars().take_while(|c| c.is_whitespace()).count();
        if indent > self.indent && !matches!(self.current, Current::Header) {
            return self.read_indented(line, trimmed);
        }
        self.indent = indent;
        if trimmed.starts_with('[') {
            self.read_header(line, trimmed);
        } else {
            self.read_setting(line, trimmed);
        }
    }

    fn read_header(&mut self, line: usize, text: &str) {
        self.current = Current::Header;
        let Some(header) = header(text) else {
            self.section = None;
            return self.pass_over(line, "a header without ']'; the settings below it belong to no section");
        };
        let sections = &mut self.ini.sections;
        let known = sections.iter().position(|section| section.header == header);
        if known.is_some() {
            self.ini.passed_over.push(PassedOver { line, why: "a header that is there before: one section" });
        }
        let sections = &mut self.ini.sections;
        self.section = Some(known.unwrap_or_else(|| {
            sections.push(Section { header, line, settings: BTreeMap::new() });
            sections.len() - 1
        }));
    }

    fn read_setting(&mut self, line: usize, text: &str) {
        let Some((key, value)) = setting(without_comment(text)) else {
            self.current = Current::PassedOver;
            return self.pass_over(line, "not a setting");
        };
        let Some(section) = self.section else {
            self.current = Current::PassedOver;
            return self.pass_over(line, "a setting outside of every section");
        };
        let inside = without_quotes(value);
        if inside != value {
            self.pass_over(line, "the quotes around the value");
        }
        let value = Value { text: inside.to_owned(), nested: BTreeMap::new() };
        if self.ini.sections[section].settings.insert(key.clone(), value).is_some() {
            self.pass_over(line, "it replaces the same setting in a line before");
        }
        self.current = Current::Setting(key);
    }

    fn read_indented(&mut self, line: usize, text: &str) {
        let (Current::Setting(key), Some(section)) = (&self.current, self.section) else {
            return self.pass_over(line, "it belongs to a line that was passed over");
        };
        let Some(value) = self.ini.sections[section].settings.get_mut(key) else { return };
        match (value.text.is_empty(), setting(text)) {
            (true, Some((key, nested))) => {
                value.nested.insert(key, without_quotes(nested).to_owned());
            }
            (true, None) => self.pass_over(line, "not a nested setting"),
            (false, Some((key, _))) if is_word(&key) => {
                self.pass_over(line, "it is indented more than the setting before it");
            }
            (false, _) => {
                // The AWS CLI takes a command apart at blanks and line ends alike; a shell does not.
                value.text.push(if key == "credential_process" { ' ' } else { '\n' });
                value.text.push_str(text);
                if text.starts_with('[') {
                    self.pass_over(
                        line,
                        "a header that is indented more than the setting before it continues its value",
                    );
                }
            }
        }
    }

    fn pass_over(&mut self, line: usize, why: &'static str) {
        self.ini.passed_over.push(PassedOver { line, why });
    }
}

/// The lines of a text, which end as on any system: with LF, CR and LF, or CR.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// The text between the brackets, with one space behind the first word. Text behind them is passed over.
fn header(text: &str) -> Option<String> {
    let before_comment = text.split(['#', ';']).next().unwrap_or_default();
    let end = before_comment.rfind(']').or_else(|| text.rfind(']'))?;
    let inside = text[1..end].trim();
    Some(match inside.split_once(char::is_whitespace) {
        Some((kind, name)) => format!("{kind} {}", name.trim_start()),
        None => inside.to_owned(),
    })
}

/// The key and the value of a setting.
fn setting(text: &str) -> Option<(String, &str)> {
    let (key, value) = text.split_once(['=', ':'])?;
    let key = key.trim_end().to_lowercase();
    (!key.is_empty()).then(|| (key, value.trim()))
}

/// Whether a key is a word, as the keys of all settings are, and not e.g. an option of a command.
fn is_word(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A line without the comment at its end, which begins after a blank and outside of quotes.
pub(super) fn without_comment(text: &str) -> &str {
    let (mut rest, mut after_blank) = (text, true);
    while let Some(c) = rest.chars().next() {
        if after_blank && ['#', ';'].contains(&c) {
            return text[..text.len() - rest.len()].trim_end();
        }
        rest = &rest[c.len_utf8()..];
        if ['"', '\''].contains(&c)
            && let Some(end) = rest.find(c)
        {
            rest = &rest[end + 1..];
        }
        after_blank = c.is_whitespace();
    }
    text
}

/// A text without the quotes around it. `"a" "b"` is two quoted words and stays.
pub(super) fn without_quotes(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote).filter(|inside| !inside.contains(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{Ini, PassedOver};
    use proptest::prelude::*;

    #[track_caller]
    fn get<'a>(ini: &'a Ini, header: &str, key: &str) -> Option<&'a str> {
        ini.section(header).unwrap_or_else(|| panic!("no [{header}]: {ini:?}")).get(key)
    }

    #[test]
    fn a_setting_is_read_in_every_form_that_one_of_the_two_readers_accepts() {
        for (text, value) in [
            ("[a]\nkey=value", Some("value")),
            ("[a]\nkey = value\r\n", Some("value")),
            ("[a]\nKEY: value", Some("value")),
            ("[a]\n  key = value", Some("value")),
            ("  [a]\n  key = value", Some("value")),
            ("[a]\n    other = 1\n  key = value", Some("value")),
            ("\t[a]\n\n\tother = 1\n\t# key = no\n\tkey = value", Some("value")),
            ("[a] text\nkey = value", Some("value")),
            ("[a] # [b]\nkey = value", Some("value")),
            ("[ a ];\nkey = value", Some("value")),
            ("[a]\nkey = value # comment", Some("value")),
            ("[a]\nkey = value ; comment", Some("value")),
            ("[a]\nkey = value#no;comment", Some("value#no;comment")),
            ("[a]\nkey = 'val # ue' x # comment", Some("'val # ue' x")),
            ("[a]\nkey = it's # comment", Some("it's")),
            ("[a]\nkey = \"value\"", Some("value")),
            ("[a]\nkey = 'value'", Some("value")),
            ("[a]\nkey = \"a\" \"b\"", Some("\"a\" \"b\"")),
            ("[a]\nkey = k=v:w", Some("k=v:w")),
            ("[a]\nkey = 1\n[b]\nkey = 2\n[a]\nkey = value", Some("value")),
            ("[a]\nkey =", None),
            ("[a]\nkey = # comment", None),
            ("[a]\nkey = \"\"", None),
            ("[a]\nkey = value\nkey =", None),
            ("[a]\nkey = value\n  more", Some("value\nmore")),
            ("[a]\nkey = value\n  --more=x", Some("value\n--more=x")),
            ("[a]\nkey = value\n\n  # comment\n  more", Some("value\nmore")),
            ("[a]\nkey = value\n  other = x", Some("value")),
        ] {
            assert_eq!(get(&Ini::parse(text), "a", "key"), value, "{text}");
        }
    }

    #[test]
    fn indented_lines_are_nested_in_a_setting_without_a_value() {
        let ini = Ini::parse("[services x]\necr =\n  endpoint_url = http://a # b\n\n  Region: c\nsts =\n  no\nkey = 1");
        let section = ini.section("services x").expect("a section");
        assert_eq!(section.nested("ecr", "endpoint_url"), Some("http://a # b"));
        assert_eq!(section.nested("ecr", "region"), Some("c"));
        assert_eq!((section.get("ecr"), section.get("key"), section.has("sts")), (None, Some("1"), true));
        assert_eq!(ini.passed_over.iter().map(|passed| passed.line).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn a_command_goes_on_in_the_next_line() {
        let ini = Ini::parse("[a]\ncredential_process = vault exec\n   --duration=1h\n   prod\n   region = x");
        assert_eq!(get(&ini, "a", "credential_process"), Some("vault exec --duration=1h prod"));
        assert_eq!(ini.passed_over.len(), 1);
    }

    #[test]
    fn lines_that_are_no_setting_are_reported_and_change_nothing() {
        for (text, lines) in [
            ("key = no\n[a]\nkey = value", &[1][..]),
            ("text\n[a]\nkey = value", &[1]),
            ("[a]\nkey = value\ntext\n  key = no", &[3, 4]),
            ("[a]\n= no\nkey = value", &[2]),
            ("[a]\nkey = value\n[b\nkey = no", &[3, 4]),
            ("[a]\nkey = value\n  [b]", &[3]),
        ] {
            let ini = Ini::parse(text);
            let found: Vec<usize> = ini.passed_over.iter().map(|PassedOver { line, .. }| *line).collect();
            assert_eq!(found, lines, "{text}");
            assert!(get(&ini, "a", "key").is_some_and(|value| value.starts_with("value")), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_text_has_a_reading_whose_lines_are_in_it(text in "([\\[\\]=:#;'\" a-c\\t\\r\\n]|é|\u{a0}){0,60}") {
            let ini = Ini::parse(&text);
            let lines = super::lines(&text).count();
            let reported = ini.passed_over.iter().map(|passed| passed.line);
            prop_assert!(reported.chain(ini.sections.iter().map(|section| section.line)).all(|line| (1..=lines).contains(&line)));
            // White space around the text means nothing, but for the indentation of its first line.
            prop_assert_eq!(format!("{ini:?}"), format!("{:?}", Ini::parse(&format!("{text}\n"))));
        }
    }
}
