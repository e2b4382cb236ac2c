//! Splits the command line of a `credential_process` into words, as the shell that runs it does.
//!
//! Only words and quotes are understood, and a `~` before a slash. With anything else that has a meaning for a shell, it may use
//! other words than these.

use std::path::Path;

use crate::env::Env;

/// Characters with a meaning for a shell, wherever they stand: a quoted one may belong to a script for another shell.
const SPECIAL: &[char] =
    &['$', '`', '(', ')', '{', '}', '*', '?', '[', ']', '!', '#', ';', '&', '|', '<', '>', '\n', '\r'];

/// The same for `cmd.exe`.
const SPECIAL_FOR_CMD: &[char] = &['%', '^', '&', '|', '<', '>', '(', ')', '!', '\n', '\r'];

/// Words with which no program begins: a shell runs what follows them, or runs them itself.
const RESERVED: &[&str] = &[
    ".", "alias", "builtin", "case", "cd", "command", "eval", "exec", "export", "for", "function", "if", "source",
    "time", "until", "while",
];

/// A shell, for the differences that matter here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shell {
    /// A POSIX shell (POSIX.1-2017, "Shell Command Language", 2.2 and 2.6.1).
    Posix,
    /// `cmd.exe`, and the way in which most programs split the line that it passes on: quotes may stand anywhere in a word.
    Cmd,
}

/// The words of a command line. Fails with the reason why they are unknown.
pub(super) fn split(command: &str, env: &Env) -> Result<Vec<String>, String> {
    split_for(if cfg!(windows) { Shell::Cmd } else { Shell::Posix }, command, env)
}

fn split_for(shell: Shell, command: &str, env: &Env) -> Result<Vec<String>, String> {
    let is_posix = shell == Shell::Posix;
    let special = if is_posix { SPECIAL } else { SPECIAL_FOR_CMD };
    if let Some(c) = command.chars().find(|c| special.contains(c)) {
        return Err(format!("it has {c:?}"));
    }
    // For some programs of Windows it begins or ends a quotation, for others not.
    if !is_posix && command.contains("\\\"") {
        return Err("it has a quote after a backslash".to_owned());
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut rest = command.chars().peekable();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') if is_posix || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '~') if is_posix && word.is_none() => {
                let (Some('/'), Some(home)) = (rest.peek(), env.home()) else {
                    return Err("it begins a word with '~'".to_owned());
                };
                word = Some(home.to_string_lossy().into_owned());
            }
            (None, '\\') if is_posix => {
                word.get_or_insert_default().push(rest.next().ok_or("it ends in a backslash")?);
            }
            (Some('"'), '\\') if is_posix && matches!(rest.peek(), Some('"' | '\\')) => {
                word.get_or_insert_default().extend(rest.next());
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if is_posix && quote.is_some() {
        return Err("it has a quote that is not closed".to_owned());
    }
    words.extend(word);
    let is_assignment = |word: &str| word.contains('=') && !word.contains('/');
    match words.first() {
        Some(first) if is_posix && (RESERVED.contains(&first.as_str()) || is_assignment(first)) => {
            Err("it begins with a word of the shell, or with an assignment".to_owned())
        }
        _ => Ok(words),
    }
}

/// Whether a quoted word may be the script of an interpreter: it has blanks, and no file has this name.
pub(super) fn may_be_script(word: &str) -> bool {
    word.contains([' ', '\t']) && !Path::new(word).exists()
}

#[cfg(all(test, unix))]
mod tests {
    use super::{Shell, split, split_for};
    use crate::env::Env;

    #[test]
    fn words_are_those_of_a_posix_shell() {
        let env = [("HOME", "/h")].into_iter().collect::<Env>();
        for (command, expected) in [
            ("/bin/a b  c", &["/bin/a", "b", "c"][..]),
            ("'/a b/c' \"d\\\"e\"f g\\ h", &["/a b/c", "d\"ef", "g h"]),
            ("~/bin/a x~", &["/h/bin/a", "x~"]),
            ("a '' b=c 'd\\e' \"f\\g\"", &["a", "", "b=c", "d\\e", "f\\g"]),
        ] {
            assert_eq!(split(command, &env).expect(command), expected, "{command}");
        }
        for command in [
            "a $HOME", "a `b`", "a \"$b\"", "a *", "a &", "a | b", "a; b", "a >b", "a <b", "A=b c", "cd x", ". a",
            "exec a", "a 'b", "a \"b", "(a)", "{ a", "a # b", "~other/a", "a ~", "a\nb", "a \\",
        ] {
            assert!(split(command, &env).is_err(), "{command}");
        }
    }

    #[test]
    fn words_for_windows_may_have_quotes_anywhere() {
        let split = |command: &str| split_for(Shell::Cmd, command, &Env::default());
        for (command, expected) in [
            (r"C:\a.exe  b", &[r"C:\a.exe", "b"][..]),
            (r#""C:\a b\c.exe" d"#, &[r"C:\a b\c.exe", "d"]),
            (r#""C:\a b"\c.json --x="d e".json"#, &[r"C:\a b\c.json", "--x=d e.json"]),
        ] {
            assert_eq!(split(command).expect(command), expected, "{command}");
        }
        assert!(split(r#"a \"b c\""#).is_err());
    }
}
