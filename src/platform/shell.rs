//! Quotes words of commands that messages show for copying.

use std::borrow::Cow;
use std::path::Path;

use crate::text::acts_on_terminal;

/// Quotes a word of a command that a message shows for copying. Uses double quotes, since the message has the command in
/// single quotes.
pub fn shell_word(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| is_letter(c) || "@%+=:,./_-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    let mut quoted = String::from('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

/// Whether it is a letter or a digit that is shown: fillers of Hangul are letters too, and messages have a blank in their place.
fn is_letter(c: char) -> bool {
    c.is_alphanumeric() && !acts_on_terminal(c)
}

/// A fix with the command for it, unless that could not be copied as it is shown: because of characters that act on a terminal
/// and are not shown, of blanks that a message makes one, of characters that end the quotes around the command, or that a shell expands
/// in quotes; or where a path looks like an option.
pub fn with_command(fix: &str, command: &str, paths: &[&Path]) -> String {
    let is_shown = |c: char| is_letter(c) || (c.is_ascii_graphic() && !matches!(c, '\'' | '!')) || c == ' ';
    let is_copied = |path: &&str| path.chars().all(is_shown) && !path.contains("  ") && !path.starts_with('-');
    let paths: Option<Vec<&str>> = paths.iter().map(|path| path.to_str().filter(is_copied)).collect();
    match paths {
        Some(paths) => {
            format!("{fix}: '{command} {}'", paths.into_iter().map(shell_word).collect::<Vec<_>>().join(" "))
        }
        None => fix.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{shell_word, with_command};

    #[test]
    fn a_command_that_cannot_be_copied_is_left_out() {
        let fix = |path: &str| with_command("remove it", "rmdir", &[Path::new(path)]);
        assert_eq!(fix("/a/b c$"), "remove it: 'rmdir \"/a/b c\\$\"'");
        assert_eq!(fix("/été"), "remove it: 'rmdir /été'");
        for path in ["/a\nb", "/a\u{1b}b", "/a\u{202e}b", "/a\tb", "/a  b", "/a'b", "/a!b", "-n"] {
            assert_eq!(fix(path), "remove it", "{path:?}");
        }
        // Letters and other characters that have no glyph, or a blank one.
        for c in "\u{115f}\u{1160}\u{3164}\u{ffa0}\u{17b4}\u{2800}\u{3000}\u{13441}\u{1d159}\u{e0100}".chars() {
            assert_eq!(fix(&format!("/a{c}/etc")), "remove it", "{c:?}");
        }
    }

    #[test]
    fn words_of_commands_are_quoted_where_a_shell_would_split_or_expand_them() {
        for (word, expected) in [
            ("dev-1", "dev-1"),
            ("/home/me/.aws/config", "/home/me/.aws/config"),
            ("my profile", "\"my profile\""),
            ("a$(b)`c`\"d", r#""a\$(b)\`c\`\"d""#),
            ("a\u{3164}/etc", "\"a\u{3164}/etc\""),
            ("", "\"\""),
        ] {
            assert_eq!(shell_word(word), expected);
        }
    }
}
