//! Quotes words of commands that messages show for copying.

use std::borrow::Cow;
use std::path::Path;

/// Quotes a word of a command that a message shows for copying. Uses double quotes, since the message has the command in
/// single quotes.
pub fn shell_word(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "@%+=:,./_-".contains(c);
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

/// A fix with the command for it, unless that could not be copied as it is shown: because of characters that act on a terminal
/// and are not shown, that end the quotes around the command, or that a shell expands in quotes; or where a path looks like an option.
pub fn with_command(fix: &str, command: &str, paths: &[&Path]) -> String {
    let is_shown = |c: char| c.is_alphanumeric() || (c.is_ascii_graphic() && !matches!(c, '\'' | '!')) || c == ' ';
    let paths: Option<Vec<&str>> = paths.iter().map(|path| path.to_str()).collect();
    match paths.filter(|paths| paths.iter().all(|path| path.chars().all(is_shown) && !path.starts_with('-'))) {
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
        for path in ["/a\nb", "/a\u{1b}b", "/a\u{202e}b", "/a\tb", "/a'b", "/a!b", "-n"] {
            assert_eq!(fix(path), "remove it", "{path:?}");
        }
    }

    #[test]
    fn words_of_commands_are_quoted_where_a_shell_would_split_or_expand_them() {
        for (word, expected) in [
            ("dev-1", "dev-1"),
            ("/home/me/.aws/config", "/home/me/.aws/config"),
            ("my profile", "\"my profile\""),
            ("a$(b)`c`\"d", r#""a\$(b)\`c\`\"d""#),
            ("", "\"\""),
        ] {
            assert_eq!(shell_word(word), expected);
        }
    }
}
