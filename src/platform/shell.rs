//! The commands that messages show for copying. Whoever follows a fix must lose nothing by it, and nobody else either:
//!
//! - Each word that comes from outside, e.g. from a file, a variable or an argument, is quoted by [`command`], or the command is left out.
//!   No other code puts such a word into a command.
//! - No command works on what is below a directory.
//! - "Remove it" is said only of what the helper itself makes, and of an empty directory in the place of a settings file. Everywhere else
//!   the fix is to name another file or directory.
//! - No command overwrites a file, or writes through a link. `setup` edits entries of a client's settings.
//! - The owner changes only of what is root's and [plain below the home directory](super::is_plain_below), and it and the mode only of
//!   what others [cannot exchange](super::is_out_of_reach_of_others) before the command is run.
//!
//! Where these leave no command, the fix says it in words.

use std::ffi::OsStr;

use crate::text::acts_on_terminal;

/// A command in single quotes, with the words in place of each `{}`. `None` where one could not be copied as it is shown: because of
/// characters that act on a terminal and are not shown, of blanks that a message makes one, of characters that end the quotes around the
/// command, or that a shell expands in quotes; or where it looks like an option, or like a home directory.
pub fn command<W: AsRef<OsStr>>(template: &str, words: &[W]) -> Option<String> {
    let is_shown = |c: char| is_letter(c) || (c.is_ascii_graphic() && !matches!(c, '\'' | '!')) || c == ' ';
    let is_copied = |word: &&str| word.chars().all(is_shown) && !word.contains("  ") && !word.starts_with(['-', '~']);
    let mut parts = template.split("{}");
    let mut command = format!("'{}", parts.next().unwrap_or_default());
    for (word, after) in words.iter().zip(parts) {
        command.push_str(&quoted(word.as_ref().to_str().filter(is_copied)?));
        command.push_str(after);
    }
    command.push('\'');
    Some(command)
}

/// A fix with the [`command`] for it, if there is one.
pub fn with_command<W: AsRef<OsStr>>(fix: &str, template: &str, words: &[W]) -> String {
    command(template, words).map_or_else(|| fix.to_owned(), |command| format!("{fix}: {command}"))
}

/// A command of the AWS CLI for a profile, in single quotes, or what to call it where the name cannot be copied.
pub fn aws_command(words: &str, profile: &str) -> String {
    command(&format!("aws {words} --profile {{}}"), &[profile])
        .unwrap_or_else(|| format!("aws {words} for this profile"))
}

/// Uses double quotes, since the message has the command in single quotes.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| is_letter(c) || "@%+:,./_-".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// Whether it is a letter or a digit that is shown: fillers of Hangul are letters too, and messages have a blank in their place.
fn is_letter(c: char) -> bool {
    c.is_alphanumeric() && !acts_on_terminal(c)
}

#[cfg(test)]
mod tests {
    use super::{aws_command, quoted, with_command};

    #[test]
    fn a_command_that_cannot_be_copied_is_left_out() {
        let fix = |path: &str| with_command("remove it", "rmdir {}", &[path]);
        assert_eq!(fix("/a/b c$"), "remove it: 'rmdir \"/a/b c\\$\"'");
        assert_eq!(fix("/été"), "remove it: 'rmdir /été'");
        for path in ["/a\nb", "/a\u{1b}b", "/a\u{202e}b", "/a\tb", "/a  b", "/a'b", "/a!b", "-n", "~/a"] {
            assert_eq!(fix(path), "remove it", "{path:?}");
        }
        // Letters and other characters that have no glyph, or a blank one.
        for c in "\u{115f}\u{1160}\u{3164}\u{ffa0}\u{17b4}\u{2800}\u{3000}\u{13441}\u{1d159}\u{e0100}".chars() {
            assert_eq!(fix(&format!("/a{c}/etc")), "remove it", "{c:?}");
        }
        assert_eq!(aws_command("sso login", "my team"), "'aws sso login --profile \"my team\"'");
        assert_eq!(aws_command("sso login", "-x"), "aws sso login for this profile");
    }

    #[test]
    fn words_of_commands_are_quoted_where_a_shell_would_split_or_expand_them() {
        for (word, expected) in [
            ("dev-1", "dev-1"),
            ("/home/me/.aws/config", "/home/me/.aws/config"),
            ("my profile", "\"my profile\""),
            ("a$(b)`c`\"d", r#""a\$(b)\`c\`\"d""#),
            ("=ls", "\"=ls\""),
            ("{a,b}", "\"{a,b}\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
