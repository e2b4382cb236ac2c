//! Parses TOML, after a look at what the parser has no limit for.
//!
//! The parser limits the keys of one table and the tables of one value, each to 80, so a few kilobytes may nest thousands of
//! tables. What is nested is read and dropped by recursion, and a stack that overflows ends the process without a word.

use serde::de::DeserializeOwned;

/// As many tokens may be in a file; ten thousand tables have 240,000. The parser's list of them grows by copies, which do
/// not fit into 64 MiB for the smallest tokens that a file can hold.
const MOST_TOKENS: usize = 400_000;

/// What is wrong with a text of more than [`MOST_TOKENS`].
pub const TOO_LONG: &str = "more than 400000 words and marks up to here";

/// As deep may tables and lists be in each other. Those of the helper and of podman have 4 levels.
const DEEPEST: usize = 20;

/// What is wrong with a text.
pub struct Mistake {
    /// Where, in bytes.
    pub offset: usize,
    /// What, in one line.
    pub what: String,
}

/// Parses a text.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    if let Some(offset) = starts_of_tokens(text).nth(MOST_TOKENS) {
        return Err(Mistake { offset, what: TOO_LONG.to_owned() });
    }
    if let Some(offset) = too_deep(text) {
        return Err(Mistake { offset, what: format!("more than {DEEPEST} tables or lists in each other") });
    }
    toml::from_str(text).map_err(|error| {
        // The error's own Display also draws the line, over several lines.
        Mistake { offset: error.span().map_or(0, |span| span.start), what: error.message().to_owned() }
    })
}

/// Where the tokens of a text start, roughly: words, runs of blanks, and all other characters one by one.
fn starts_of_tokens(text: &str) -> impl Iterator<Item = usize> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"_-".contains(&byte);
    let is_blank = |byte: u8| b" \t".contains(&byte);
    let bytes = text.as_bytes();
    (0..bytes.len()).filter(move |&at| {
        let continues = |is: &dyn Fn(u8) -> bool| at > 0 && is(bytes[at]) && is(bytes[at - 1]);
        !continues(&is_word) && !continues(&is_blank)
    })
}

/// Where a text is nested deeper than [`DEEPEST`]: by open brackets, and by the dots in the keys on the way to them. In a text with
/// mistakes it may be too strict, and never looser than the parser, which reads on after a mistake.
fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    // For each open bracket, the one that closes it, and the depth outside of it.
    let mut open: Vec<(u8, usize)> = Vec::new();
    let (mut depth, mut at) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'[' | b'{' => {
                open.push((if byte == b'[' { b']' } else { b'}' }, depth));
                depth += 1;
            }
            b']' | b'}' => {
                if let Some((_, outside)) = open.pop_if(|(closing, _)| *closing == byte) {
                    depth = outside;
                }
            }
            b'.' => depth += 1,
            b',' => depth = open.last().map_or(0, |(_, outside)| outside + 1),
            b'\n' if open.is_empty() => depth = 0,
            b'#' => at = end(bytes, at, |byte| byte == b'\n'),
            b'"' | b'\'' => at = end_of_string(bytes, start),
            b'=' | b' ' | b'\t' | b'\r' | b'\n' => {}
            // A word. A quotation mark inside it opens no string.
            _ => at = end(bytes, at, |byte| b".=,[]{} \t#\r\n".contains(&byte)),
        }
        if depth > DEEPEST {
            return Some(start);
        }
    }
    None
}

/// Where the first byte from `at` on is that ends something, or the text.
fn end(bytes: &[u8], at: usize, ends: impl Fn(u8) -> bool) -> usize {
    bytes[at..].iter().position(|byte| ends(*byte)).map_or(bytes.len(), |length| at + length)
}

/// Where the string ends that begins at `start`. One without three quotation marks ends with the line at the latest.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let three = [quote; 3];
    let is_long = bytes[start..].starts_with(&three);
    let mut at = start + if is_long { 3 } else { 1 };
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if quote == b'"' => {
                let is_escaped = matches!(bytes.get(at + 1), Some(b'\\' | b'"'));
                at += if is_escaped { 2 } else { 1 };
            }
            b'\n' if !is_long => return at,
            _ if is_long && bytes[at..].starts_with(&three) => {
                // Up to two marks before the last three belong to the text.
                let more = bytes[at + 3..].iter().take(2).take_while(|byte| **byte == quote).count();
                return at + 3 + more;
            }
            _ if byte == quote && !is_long => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::{DEEPEST, parse};

    fn is_refused(text: &str) -> bool {
        parse::<toml::Table>(text).is_err_and(|mistake| mistake.what.contains("in each other"))
    }

    /// `text` with its `@` replaced by itself, `depth` times.
    fn nested(text: &str, depth: usize) -> String {
        (0..depth).fold("1".to_owned(), |inner, _| text.replace('@', &inner))
    }

    #[test]
    fn ten_thousand_tables_of_registries_are_far_below_the_limit() {
        let table = |number| format!("[[registry]]\nmatch = '{number:012}.*'\nprofile = 'p{number}'\n");
        let tables: String = (0..10_000).map(table).collect();
        assert_eq!(super::starts_of_tokens(&tables).count(), 240_000);
        assert!(parse::<toml::Table>(&tables).is_ok());
    }

    #[test]
    fn tables_and_lists_nest_up_to_a_limit_in_every_form() {
        for (text, levels) in [
            ("a = {a = @}", 1),
            ("a = [@]", 1),
            ("a = {a.a.a = @}", 3),
            ("a = {a.a = [@]}", 3),
            ("a = {\n  x = \"]\", # }\n  a = @,\n}", 1),
            ("a = {x = ']', '''\n]]''' = 1, a = @}", 1),
            ("a = {x = \"\"\"\n\\\"\"\"]\\\\\"\"\", \"\\\"}\" = 1, a = @}", 1),
        ] {
            let nested = |depth: usize| format!("a = {}", nested(&text[4..], depth));
            assert!(!is_refused(&nested(DEEPEST / levels)), "{}", nested(DEEPEST / levels));
            assert!(is_refused(&nested(DEEPEST / levels + 1)), "{}", nested(DEEPEST / levels + 1));
        }
        for text in [format!("{}a = 1", "a.".repeat(DEEPEST + 1)), format!("[{}a]", "a.".repeat(DEEPEST))] {
            assert!(is_refused(&text), "{text}");
        }
    }

    #[test]
    fn what_follows_each_other_is_not_nested() {
        for line in ["a0.b.c = 1.5\n", "[[a0.b]]\nc.d = [1.5, 2.5, {e.f = 1, g.h = 2}]\n", "a0 = '[{.'\n", "# [{.\n"] {
            let text: String = (0..100).map(|number| line.replace("a0", &format!("a{number}"))).collect();
            assert!(parse::<toml::Table>(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_mistake_hides_no_depth() {
        let deep = format!("a = {}", nested("{a.a.a = @}", DEEPEST));
        for mistake in
            ["a = \"\n", "a = '\n", "a = b\"\n", "a = \"\\\n", "a = ]\n", "[\"\n", "a = \"x\"y\"\n", "a = 1 '''\r"]
        {
            // What the mark of a string of several lines hides is hidden from the parser too.
            assert!(mistake.contains("'''") || is_refused(&format!("{mistake}{deep}")), "{mistake}");
        }
    }
}
