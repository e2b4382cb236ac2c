//! Words of commands that are shown for copying.

use std::borrow::Cow;

/// `word` as a part of a command that is shown for copying: in double quotes where a shell would take it for something else,
/// since the command itself stands in single ones.
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

#[cfg(test)]
mod tests {
    use super::shell_word;

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
