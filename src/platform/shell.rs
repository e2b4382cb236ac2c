//! Quotes words of commands that messages show for copying.

use std::borrow::Cow;

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
