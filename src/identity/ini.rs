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
//!
//! A file may be a few bytes longer than a line repeated for ever, and a container may have little memory: the texts lie one after
//! another in one buffer, sections and settings are positions in it, and the lines and their length are limited.

use std::borrow::Cow;
use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// The most lines of a file: tens of thousands of profiles have less.
const MOST_LINES: usize = 128 * 1024;

/// The longest line that is not a comment, and the longest value of several lines, in bytes. No program takes a longer argument.
const LONGEST: usize = 64 * 1024;

/// The sections of a file, and the lines that were passed over.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Ini {
    /// The headers, keys and values.
    text: Zeroizing<String>,
    /// Ordered by header, each once.
    headers: Vec<Header>,
    /// Ordered as by [`Setting::position`], each once.
    settings: Vec<Setting>,
    pub(super) passed_over: Vec<PassedOver>,
}

/// A section of a file.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    ini: &'a Ini,
    /// The text between the brackets, with one space behind the first word.
    pub(super) header: &'a str,
    /// The line of its first header.
    pub(super) line: u32,
}

/// A line that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PassedOver {
    pub(super) line: u32,
    pub(super) why: &'static str,
}

/// What is wrong with a text, and the fix.
pub(super) type Defect = (String, &'static str);

/// A part of the buffer.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug))]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug))]
struct Header {
    text: Span,
    line: u32,
}

#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug))]
struct Setting {
    /// The line of the section's first header.
    section: u32,
    /// The line of the setting that it is nested in; 0 if it is not.
    outer: u32,
    line: u32,
    key: Span,
    value: Span,
}

impl Span {
    fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

impl Setting {
    fn position<'a>(&self, text: &'a str) -> (u32, u32, &'a str) {
        (self.section, self.outer, self.key.of(text))
    }
}

/// What an indented line belongs to.
enum Current {
    /// Nothing, since the line follows a header.
    Header,
    /// A line that was passed over.
    PassedOver,
    /// The setting with this index.
    Setting(usize),
}

struct Parser {
    ini: Ini,
    /// The line of the section's header; `None` outside of sections.
    section: Option<u32>,
    current: Current,
    /// The indentation of the last line that continued no other.
    indent: usize,
}

impl<'a> Section<'a> {
    /// The value of a setting; `None` when it is absent or empty.
    pub(super) fn get(self, key: &str) -> Option<&'a str> {
        self.value(self.setting(0, key)?)
    }

    /// Whether it has the setting, with or without a value.
    pub(super) fn has(self, key: &str) -> bool {
        self.setting(0, key).is_some()
    }

    /// The value of a setting that is nested in another one.
    pub(super) fn nested(self, outer: &str, key: &str) -> Option<&'a str> {
        self.value(self.setting(self.setting(0, outer)?.line, key)?)
    }

    fn setting(self, outer: u32, key: &str) -> Option<&'a Setting> {
        let Ini { text, settings, .. } = self.ini;
        let found = settings.binary_search_by(|setting| setting.position(text).cmp(&(self.line, outer, key)));
        settings.get(found.ok()?)
    }

    fn value(self, setting: &Setting) -> Option<&'a str> {
        Some(setting.value.of(&self.ini.text)).filter(|text| !text.is_empty())
    }
}

impl Ini {
    /// Reads a text. A comment need not be UTF-8.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        let text = Zeroizing::new(String::with_capacity(bytes.len()));
        let ini = Self { text, ..Self::default() };
        let mut parser = Parser { ini, section: None, current: Current::Header, indent: 0 };
        for (number, line) in (1..).zip(lines(bytes)) {
            if number as usize > MOST_LINES {
                return Err((format!("has more than {MOST_LINES} lines, the limit"), "remove what nobody uses"));
            }
            let text = String::from_utf8_lossy(line);
            if matches!(text, Cow::Owned(_)) && without_comment(&text).contains('\u{fffd}') {
                let what = format!("is not UTF-8 in line {number}: it may be in an older encoding such as Latin-1");
                return Err((what, "save it as UTF-8"));
            }
            parser.read(number, &text).ok_or_else(|| {
                let what = format!("has more than {} KiB in line {number} or up to it, the limit", LONGEST / 1024);
                (what, "check whether it is an AWS file")
            })?;
        }
        Ok(parser.finish())
    }

    /// The sections, ordered by header.
    pub(super) fn sections(&self) -> impl Iterator<Item = Section<'_>> {
        self.headers.iter().map(|header| self.section_of(header))
    }

    /// The section with this header.
    pub(super) fn section(&self, header: &str) -> Option<Section<'_>> {
        let found = self.headers.binary_search_by(|one| one.text.of(&self.text).cmp(header));
        Some(self.section_of(&self.headers[found.ok()?]))
    }

    fn section_of(&self, header: &Header) -> Section<'_> {
        Section { ini: self, header: header.text.of(&self.text), line: header.line }
    }

    /// Adds a text to the buffer.
    fn push(&mut self, text: &str) -> Span {
        let start = self.end();
        self.text.push_str(text);
        Span { start, end: self.end() }
    }

    fn end(&self) -> u32 {
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }
}

impl Parser {
    /// Reads a line; `None` when it or its value is too long.
    fn read(&mut self, line: u32, text: &str) -> Option<()> {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            return Some(());
        }
        if trimmed.len() > LONGEST {
            return None;
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
        Some(())
    }

    fn read_header(&mut self, line: u32, text: &str) {
        self.current = Current::Header;
        self.section = header(text).map(|header| {
            let text = self.ini.push(&header);
            self.ini.headers.push(Header { text, line });
            line
        });
        if self.section.is_none() {
            self.pass_over(line, "a header without ']'; the settings below it belong to no section");
        }
    }

    fn read_setting(&mut self, line: u32, text: &str) {
        self.current = Current::PassedOver;
        let Some((key, value)) = setting(without_comment(text)) else { return self.pass_over(line, "not a setting") };
        let Some(section) = self.section else {
            return self.pass_over(line, "a setting outside of every section");
        };
        if key.starts_with("export ") {
            return self
                .pass_over(line, "a command of a shell, and not a setting: write it without 'export', in lower case");
        }
        let inside = without_quotes(value);
        if inside != value {
            self.pass_over(line, "the quotes around the value");
        }
        self.current = Current::Setting(self.ini.settings.len());
        self.add(section, 0, line, &key, inside);
    }

    fn add(&mut self, section: u32, outer: u32, line: u32, key: &str, value: &str) {
        let (key, value) = (self.ini.push(key), self.ini.push(value));
        self.ini.settings.push(Setting { section, outer, line, key, value });
    }

    fn read_indented(&mut self, line: u32, text: &str) -> Option<()> {
        let Current::Setting(index) = self.current else {
            self.pass_over(line, "it belongs to a line that was passed over");
            return Some(());
        };
        let Setting { section, line: outer, key, value, .. } = self.ini.settings[index];
        match (value.start == value.end, setting(text)) {
            (true, Some((key, nested))) => self.add(section, outer, line, &key, without_quotes(nested)),
            (true, None) => self.pass_over(line, "not a nested setting"),
            (false, Some((key, _))) if is_word(&key) => {
                self.pass_over(line, "it is indented more than the setting before it");
            }
            // Its value is the end of the buffer.
            (false, _) => {
                // The AWS CLI takes a command apart at blanks and line ends alike; a shell does not.
                let is_command = key.of(&self.ini.text) == "credential_process";
                self.ini.push(if is_command { " " } else { "\n" });
                self.ini.settings[index].value.end = self.ini.push(text).end;
                if text.starts_with('[') {
                    let why = "a header that is indented more than the setting before it continues its value";
                    self.pass_over(line, why);
                }
                return ((self.ini.end() - value.start) as usize <= LONGEST).then_some(());
            }
        }
        Some(())
    }

    fn pass_over(&mut self, line: u32, why: &'static str) {
        self.ini.passed_over.push(PassedOver { line, why });
    }

    /// Puts headers and settings in order. Of settings that are there twice, the last counts.
    fn finish(self) -> Ini {
        let Ini { text, mut headers, mut settings, mut passed_over } = self.ini;
        headers.sort_by(|one, other| one.text.of(&text).cmp(other.text.of(&text)));
        let mut first_of = BTreeMap::new();
        headers.dedup_by(|later, first| {
            let is_same = later.text.of(&text) == first.text.of(&text);
            if is_same {
                first_of.insert(later.line, first.line);
                let why = "a header that is there before: one section";
                passed_over.push(PassedOver { line: later.line, why });
            }
            is_same
        });
        for setting in &mut settings {
            setting.section = first_of.get(&setting.section).copied().unwrap_or(setting.section);
        }
        settings.sort_by(|one, other| one.position(&text).cmp(&other.position(&text)));
        settings.dedup_by(|later, earlier| {
            let is_same = later.position(&text) == earlier.position(&text);
            if is_same {
                let why = "it replaces the same setting in a line before";
                passed_over.push(PassedOver { line: later.line, why });
                *earlier = *later;
            }
            is_same
        });
        passed_over.sort_by_key(|passed| passed.line);
        Ini { text, headers, settings, passed_over }
    }
}

/// The lines of a text, which end as on any system: with LF, CR and LF, or CR.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .flat_map(|line| line.strip_suffix(b"\r").unwrap_or(line).split(|byte| *byte == b'\r'))
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
fn without_comment(text: &str) -> &str {
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
    use super::{Ini, LONGEST, MOST_LINES, PassedOver};
    use proptest::prelude::*;

    #[track_caller]
    fn get<'a>(ini: &'a Ini, header: &str, key: &str) -> Option<&'a str> {
        ini.section(header).unwrap_or_else(|| panic!("no [{header}]: {ini:?}")).get(key)
    }

    fn parse(text: &str) -> Ini {
        Ini::parse(text.as_bytes()).expect("UTF-8 of few lines")
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
            assert_eq!(get(&parse(text), "a", "key"), value, "{text}");
        }
    }

    #[test]
    fn indented_lines_are_nested_in_a_setting_without_a_value() {
        let ini = parse("[services x]\necr =\n  endpoint_url = http://a # b\n\n  Region: c\nsts =\n  no\nkey = 1");
        let section = ini.section("services x").expect("a section");
        assert_eq!(section.nested("ecr", "endpoint_url"), Some("http://a # b"));
        assert_eq!(section.nested("ecr", "region"), Some("c"));
        assert_eq!((section.get("ecr"), section.get("key"), section.has("sts")), (None, Some("1"), true));
        assert_eq!(ini.passed_over.iter().map(|passed| passed.line).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn a_command_goes_on_in_the_next_line() {
        let ini = parse("[a]\ncredential_process = vault exec\n   --duration=1h\n   prod\n   region = x");
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
            let ini = parse(text);
            let found: Vec<u32> = ini.passed_over.iter().map(|PassedOver { line, .. }| *line).collect();
            assert_eq!(found, lines, "{text}");
            assert!(get(&ini, "a", "key").is_some_and(|value| value.starts_with("value")), "{text}");
        }
    }

    #[test]
    fn a_setting_that_is_there_again_replaces_what_is_nested_in_the_first() {
        let ini = parse("[a]\necr =\n  region = x\n  other = 1\n[b]\n[a]\necr =\n  region = y\n  region = z\n");
        let section = ini.section("a").expect("a section");
        assert_eq!((section.nested("ecr", "region"), section.nested("ecr", "other")), (Some("z"), None));
        assert_eq!(ini.passed_over.iter().map(|passed| passed.line).collect::<Vec<_>>(), [6, 7, 9]);
    }

    #[test]
    fn lines_and_values_have_limits() {
        let defect = |text: String| Ini::parse(text.as_bytes()).err().map(|(what, _)| what).unwrap_or_default();
        assert!(defect("\n".repeat(MOST_LINES)).contains("more than 131072 lines"));
        assert!(defect(format!("[a]\nkey = {}", "x".repeat(LONGEST))).contains("more than 64 KiB in line 2"));
        assert!(defect(format!("[a]\nkey = x\n{}", "  more\n".repeat(LONGEST))).contains("more than 64 KiB in line"));
        assert_eq!(defect(format!("[a]\n# {}\n", "x".repeat(LONGEST))), "");
        assert_eq!(defect("\n".repeat(MOST_LINES - 1)), "");
    }

    proptest! {
        #[test]
        fn every_text_has_a_reading_whose_lines_are_in_it(text in "([\\[\\]=:#;'\" a-c\\t\\r\\n]|é|\u{a0}){0,60}") {
            let ini = parse(&text);
            let lines = super::lines(text.as_bytes()).count();
            let reported = ini.passed_over.iter().map(|passed| passed.line);
            prop_assert!(reported.chain(ini.sections().map(|section| section.line)).all(|line| (1..=lines).contains(&(line as usize))));
            // White space around the text means nothing, but for the indentation of its first line.
            prop_assert_eq!(format!("{ini:?}"), format!("{:?}", parse(&format!("{text}\n"))));
        }
    }
}
