//! Splits the command line of a `credential_process` into words, as the shell that runs it does.
//!
//! Only words and quotes are understood, and a `~` before a slash. With anything else that has a meaning for a shell, it may use
//! other words than these.

use std::path::Path;

use crate::env::Env;

/// Characters with a meaning for a shell outside of quotes. A `#` has one where a word begins, and braces have one for some shells.
const SPECIAL: &[char] = &['$', '`', '(', ')', '{', '}', '*', '?', '[', ']', ';', '&', '|', '<', '>', '\n', '\r'];

/// The same for `cmd.exe`, wherever they stand.
const SPECIAL_FOR_CMD: &[char] = &['%', '^', '&', '|', '<', '>', '(', ')', '!', '\n', '\r'];

/// Words with which no program begins: a shell runs what follows them, or runs them itself.
const RESERVED: &[&str] = &[
    "!", ".", "alias", "builtin", "case", "cd", "command", "coproc", "eval", "exec", "export", "for", "function", "if",
    "select", "source", "time", "trap", "until", "while",
];

/// The words of a command line. Fails with the reason why they are unknown.
pub(super) fn split(command: &str, env: &Env) -> Result<Vec<String>, String> {
    if cfg!(windows) { split_for_cmd(command) } else { split_for_posix(command, env) }
}

/// The words for a POSIX shell (POSIX.1-2017, "Shell Command Language", 2.2 and 2.6.1).
fn split_for_posix(command: &str, env: &Env) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut rest = command.chars().peekable();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '~') if word.is_none() => {
                let (Some('/'), Some(home)) = (rest.peek(), env.home()) else {
                    return Err("it begins a word with '~'".to_owned());
                };
                word = Some(home.to_string_lossy().into_owned());
            }
            (None | Some('"'), '\\') if rest.peek() == Some(&'\n') => {
                return Err("it continues on another line".to_owned());
            }
            (None, '\\') => word.get_or_insert_default().push(rest.next().ok_or("it ends in a backslash")?),
            (Some('"'), '\\') if matches!(rest.peek(), Some('"' | '\\' | '$' | '`')) => {
                word.get_or_insert_default().extend(rest.next());
            }
            (None, '#') if word.is_none() => return Err("it has a comment".to_owned()),
            (None, c) if SPECIAL.contains(&c) => return Err(format!("it has {c:?}")),
            (Some('"'), '$' | '`') => return Err(format!("it has {c:?}")),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("it has a quote that is not closed".to_owned());
    }
    words.extend(word);
    match words.first() {
        Some(first) if RESERVED.contains(&first.as_str()) || is_assignment(first) => {
            Err("it begins with a word of the shell, or with an assignment".to_owned())
        }
        _ => Ok(words),
    }
}

/// Whether a word sets a variable, or adds to one.
fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name.strip_suffix('+').unwrap_or(name));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

/// The words for `cmd.exe`, and the way in which most programs split the line that it passes on: quotes may stand anywhere in a word.
fn split_for_cmd(command: &str) -> Result<Vec<String>, String> {
    if let Some(c) = command.chars().find(|c| SPECIAL_FOR_CMD.contains(c)) {
        return Err(format!("it has {c:?}"));
    }
    // For some programs of Windows it begins or ends a quotation, for others not.
    if command.contains("\\\"") {
        return Err("it has a quote after a backslash".to_owned());
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    for c in command.chars() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            ' ' | '\t' if !is_quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// What separates the words of a script, in a shell or in another language.
fn separates(c: char) -> bool {
    matches!(c, ' ' | '\t') || (cfg!(unix) && (SPECIAL.contains(&c) || ['\'', '"', '\\', '#', '!'].contains(&c)))
}

/// The words that a word may hold as a script: none if a file has this name.
pub(super) fn parts(word: &str) -> impl Iterator<Item = &str> {
    let may_have_some = word.contains(separates) && !Path::new(word).exists();
    may_have_some.then(|| word.split(separates)).into_iter().flatten().filter(|part| !part.is_empty())
}

/// Whether a word that comes after another one may be a script: what it reads is unknown. One of its words is a program or a word of
/// the shell, or an option takes it for a script.
pub(super) fn may_be_script(word: &str, before: &str, env: &Env) -> bool {
    let mut words = parts(word).peekable();
    let has_some = words.peek().is_some();
    if cfg!(windows) {
        return has_some;
    }
    let is_program = |name: &str| {
        RESERVED.contains(&name)
            || if name.contains('/') { env.expand(Path::new(name)).is_file() } else { env.find_program(name).is_some() }
    };
    let has_program = || words.flat_map(|part| part.split('=')).any(|name| !name.is_empty() && is_program(name));
    // A program takes the end of a short option for its value: `perl -e'…'`.
    let is_short_option = word.starts_with('-') && !word.starts_with("--");
    reads_profile(before)
        || takes_script(before) && (has_some || word.starts_with('~'))
        || has_some && (is_short_option || takes_script(word) || has_program())
}

/// Whether the options are those of a shell that reads the files of a person first, as in `bash -lc` and `sh -ic`.
fn reads_profile(options: &str) -> bool {
    let letters = options.strip_prefix('-').and_then(|letters| letters.strip_suffix('c')).unwrap_or_default();
    letters.contains(['i', 'l']) && letters.chars().all(|c| c.is_ascii_lowercase())
}

/// Whether an option takes a script, as in `sh -c`, `bash -lc`, `perl -ne`, `php -r`, `node -p`, `env -S`, `nix-shell --run`.
fn takes_script(option: &str) -> bool {
    const NAMES: &[&str] = &["command", "eval", "exec", "execute", "expression", "print", "run", "split-string"];
    let option = option.split('=').next().unwrap_or_default();
    let Some(name) = option.strip_prefix('-') else { return false };
    let is_short = name.chars().all(|c| c.is_ascii_alphanumeric());
    let ends_as_one = name.ends_with('c') || (name.len() <= 3 && name.ends_with(['e', 'E', 'p', 'r', 'S']));
    is_short && ends_as_one || NAMES.contains(&name.trim_start_matches('-').to_lowercase().as_str())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::Command;

    use proptest::prelude::*;

    use super::{may_be_script, split, split_for_cmd};
    use crate::env::Env;

    fn env() -> Env {
        [("HOME", "/h"), ("PATH", "/usr/bin:/bin")].into_iter().collect()
    }

    #[test]
    fn words_are_those_of_a_posix_shell() {
        for (command, expected) in [
            ("/bin/a b  c", &["/bin/a", "b", "c"][..]),
            ("'/a b/c' \"d\\\"e\"f g\\ h", &["/a b/c", "d\"ef", "g h"]),
            ("~/bin/a x~", &["/h/bin/a", "x~"]),
            ("a '' b=c 'd\\e' \"f\\g\"", &["a", "", "b=c", "d\\e", "f\\g"]),
            ("a b#c !d '#e' \\#f", &["a", "b#c", "!d", "#e", "#f"]),
            ("a '$b' \"\\$c\" '*' \\* \"*;&\"", &["a", "$b", "$c", "*", "*", "*;&"]),
            ("./a=b c", &["./a=b", "c"]),
        ] {
            assert_eq!(split(command, &env()).expect(command), expected, "{command}");
        }
        for command in [
            "a $HOME",
            "a `b`",
            "a \"$b\"",
            "a \"`b`\"",
            "a *",
            "a &",
            "a | b",
            "a; b",
            "a >b",
            "a <b",
            "A=b c",
            "A=/b c",
            "A+=/b c",
            "cd x",
            ". a",
            "exec a",
            "! a",
            "a 'b",
            "a \"b",
            "(a)",
            "{ a",
            "a # b",
            "#a",
            "~other/a",
            "a ~",
            "a\nb",
            "a \\",
            "a \\\nb",
            "a \"\\\nb\"",
        ] {
            assert!(split(command, &env()).is_err(), "{command}");
        }
    }

    /// The words that a shell passes on.
    fn passed(shell: &str, command: &str) -> Vec<String> {
        let script = format!("printf '%s\\0' {command}");
        let shell = Command::new(shell).arg0("sh").args(["-c", &script]).env("HOME", "/h").output().expect("a shell");
        let text = String::from_utf8(shell.stdout).expect("UTF-8");
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

        #[test]
        fn random_words_are_those_of_the_shells_of_this_system(
            pieces in prop::collection::vec(prop::sample::select(&[
                "a", "B1", "-", "=", ":", "/", ",", "@", "%", "^", "+", ".", "_", "ü", "~", "~/", "!", "#", " ", " ", "\t",
                "'", "'", "\"", "\"", "\\", "\\", "$", "`", "*", "?", "[", "]", "{", "}", "(", ";", "&", "|", "<", "\n", "\r",
                "'a b'", "\"a b\"", "'$x *'", "\"\\$x\"", "\\ ", "a=", "\"`", "'#'",
            ][..]), 0..14),
        ) {
            let command = format!("a {}", pieces.concat());
            if let Ok(words) = split(&command, &env()) {
                for shell in ["/bin/sh", "/bin/bash"].into_iter().filter(|shell| Path::new(shell).exists()) {
                    prop_assert_eq!(&passed(shell, &command), &words, "{} by {}", command, shell);
                }
            }
        }
    }

    #[test]
    fn a_word_may_be_a_script_after_an_option_for_one_or_with_a_program_in_it() {
        for (before, word) in [
            ("-c", "a b"),
            ("-lc", "$x"),
            ("-e", "do\"k\""),
            ("--run", "a b"),
            ("-c", "~/a"),
            ("-lc", "a"),
            ("-ic", "a"),
            ("x", "sh $HOME/a"),
            ("x", "$(cat k)"),
            ("x", "/bin/sh -x"),
            ("x", "y; . k"),
            ("x", "--with=sh a"),
            ("x", "-nea b"),
            ("x", "--eval=a b"),
            ("x", "A=b sh;"),
        ] {
            assert!(may_be_script(word, before, &env()), "{before} {word}");
        }
        for (before, word) in [
            ("--vault", "My Vault"),
            ("-v", "My Vault"),
            ("x", "$x"),
            ("x", "*"),
            ("x", "a#b"),
            ("-c", "a"),
            ("-c", "/a/b"),
            ("x", "op://My Vault/My Item"),
            ("-profile", "My Role"),
            ("x", "--vault=My Vault"),
        ] {
            assert!(!may_be_script(word, before, &env()), "{before} {word}");
        }
    }

    #[test]
    fn words_for_windows_may_have_quotes_anywhere() {
        for (command, expected) in [
            (r"C:\a.exe  b", &[r"C:\a.exe", "b"][..]),
            (r#""C:\a b\c.exe" d"#, &[r"C:\a b\c.exe", "d"]),
            (r#""C:\a b"\c.json --x="d e".json"#, &[r"C:\a b\c.json", "--x=d e.json"]),
        ] {
            assert_eq!(split_for_cmd(command).expect(command), expected, "{command}");
        }
        assert!(split_for_cmd(r#"a \"b c\""#).is_err());
    }
}
