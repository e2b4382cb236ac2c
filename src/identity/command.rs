//! What a `credential_process` depends on, as far as its command line tells.
//!
//! The command runs in the current directory, by `sh -c` (on Windows by `cmd.exe /C`), with the whole environment. So a key
//! for what it prints holds that environment, the shell and every program that a word can name, as the PATH leads to them,
//! the state of every path in its words, and the current directory unless all words are absolute paths. What a command
//! line can say beyond words, quotes, `~`, redirections and lists of commands is not understood, and then nothing is
//! cached: an expansion or a script inside a word could lead anywhere, and so could a directory. What a program reads
//! besides is not seen before the next refresh.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::dependency::Dependency;
use crate::client_config;
use crate::env::Env;

/// What the answer of `command` depends on; `Err` says what in it is not understood.
pub(super) fn dependencies(command: &str, env: &Env) -> Result<Vec<Dependency>, String> {
    let words = if cfg!(windows) { split_for_cmd(command)? } else { split(command)? };
    let shell = if cfg!(windows) { "cmd.exe" } else { "sh" };
    let mut all = vec![Dependency::Environment, Dependency::Program(shell.to_owned())];
    for Word { text, tilde } in words {
        let text = if tilde { env.expand(Path::new(&text)).to_string_lossy().into_owned() } else { text };
        let path = Path::new(&text);
        if text.contains(SCRIPT) && !path.exists() {
            return Err("one of its words may be a script of its own".to_owned());
        }
        if !path.is_absolute() {
            all.push(Dependency::Directory);
        }
        let mut files = paths(&text);
        let is_directory = |part: &str| part.contains(['/', '.']) && Path::new(part).is_dir();
        if std::iter::once(text.as_str()).chain(text.split(JOINING)).any(is_directory) {
            return Err("one of its words is a directory, and what is in it can change unseen".to_owned());
        }
        if !text.contains(['/', '\\']) {
            files.extend(client_config::on_path(env, &text));
            all.push(Dependency::Program(text.clone()));
        }
        for file in &files {
            for word in interpreter(file) {
                all.push(if word.contains('/') { Dependency::Path(word.into()) } else { Dependency::Program(word) });
            }
        }
        all.extend(files.into_iter().map(Dependency::Path));
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// The words of the `#!` line of a script: its interpreter, and what `env` looks up.
fn interpreter(file: &Path) -> Vec<String> {
    let mut line = Vec::new();
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let read = is_file.then(|| File::open(file).and_then(|file| file.take(LONGEST_LINE).read_to_end(&mut line)));
    let text = String::from_utf8_lossy(&line);
    match (read, text.lines().next().and_then(|line| line.strip_prefix("#!"))) {
        (Some(Ok(_)), Some(words)) => words.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// What the kernel reads of a `#!` line (execve(2)).
const LONGEST_LINE: u64 = 256;

/// What may join several paths, or a path and something else, into one word.
const JOINING: &[char] = &['=', ':', ',', '@', ';', '|', '+', '%', '#', '\'', '"'];

/// Every path that a word may hold: the word itself, what stands between characters that join several into one, what
/// follows an option's letter, and what begins with the first slash.
fn paths(word: &str) -> Vec<PathBuf> {
    let ends = word.char_indices().filter(|(_, c)| JOINING.contains(c)).map(|(at, _)| at);
    let mut found = vec![word];
    found.extend(ends.clone().flat_map(|at| [&word[..at], &word[at + 1..]]));
    found.extend(word.split(JOINING));
    for part in found.clone() {
        found.extend(part.find('/').map(|slash| &part[slash..]));
        // An option is a hyphen and a letter.
        found.extend(part.strip_prefix('-').and_then(|rest| rest.get(1..)));
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

/// What makes a word look like more than a word, had it been unquoted.
const SCRIPT: &[char] = &[' ', '\t', '\n', '$', '`', ';', '&', '|', '<', '>', '(', ')', '*', '?', '{', '}'];

/// What a shell expands or takes for syntax, and we do not follow.
const EXPANDED: &[char] = &['$', '`', '(', ')', '{', '}', '*', '?', '[', ']', '!', '\n'];

/// Words that change what the shell does with the next ones.
const RESERVED: &[&str] = &[
    ".", "alias", "builtin", "case", "cd", "command", "do", "done", "elif", "else", "esac", "eval", "exec", "exit",
    "export", "fi", "for", "function", "if", "read", "readonly", "return", "set", "shift", "source", "then", "time",
    "trap", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
];

#[derive(Debug, Default, PartialEq)]
struct Word {
    text: String,
    /// It begins with a `~` that stands for the home directory.
    tilde: bool,
}

enum Token {
    Word(Word),
    /// What follows is another command.
    Next,
    /// What follows is a file that is read.
    From,
    /// What follows is a file that is written.
    To,
}

/// The words of a command line for a POSIX shell (POSIX.1-2017, "Shell Command Language"), those behind input
/// redirections among them. What a command is redirected to is no part of what it answers from.
fn split(command: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut first = true;
    let mut tokens = tokens(command)?.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            Token::Next => first = true,
            Token::Word(word) => {
                if std::mem::take(&mut first) && !is_program(&word.text) {
                    return Err("one of its commands begins with a word of the shell, or with an assignment".to_owned());
                }
                words.push(word);
            }
            Token::From | Token::To => match tokens.next() {
                Some(Token::Word(word)) if matches!(token, Token::From) => words.push(word),
                Some(Token::Word(_)) => {}
                _ => return Err("a redirection leads nowhere".to_owned()),
            },
        }
    }
    Ok(words)
}

fn is_program(word: &str) -> bool {
    let is_assignment =
        word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    !RESERVED.contains(&word) && !is_assignment
}

fn tokens(command: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut word: Option<Word> = None;
    let mut rest = command.chars().peekable();
    while let Some(c) = rest.next() {
        if let (' ' | '\t' | ';' | '|' | '&' | '<' | '>', Some(word)) = (c, &mut word) {
            // Digits right before a redirection are a file descriptor.
            let descriptor = matches!(c, '<' | '>') && word.text.bytes().all(|byte| byte.is_ascii_digit());
            let word = std::mem::take(word);
            if !descriptor {
                tokens.push(Token::Word(word));
            }
        }
        if matches!(c, ' ' | '\t' | ';' | '|' | '&' | '<' | '>') {
            word = None;
        }
        match c {
            ' ' | '\t' => {}
            ';' => tokens.push(Token::Next),
            '|' => {
                rest.next_if_eq(&'|');
                tokens.push(Token::Next);
            }
            '&' => match rest.next() {
                Some('&') => tokens.push(Token::Next),
                _ => return Err("it runs something in the background".to_owned()),
            },
            '<' | '>' => {
                if c == '>' {
                    rest.next_if_eq(&'>');
                }
                if rest.next_if_eq(&'&').is_some() {
                    while rest.next_if(|c| c.is_ascii_digit() || *c == '-').is_some() {}
                } else if rest.peek().is_some_and(|c| "<>|".contains(*c)) {
                    return Err(format!("it has '{c}' with something behind it"));
                } else {
                    tokens.push(if c == '<' { Token::From } else { Token::To });
                }
            }
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or("a quote is not closed")? {
                        '\'' => break,
                        c => word.text.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match (rest.next().ok_or("a quote is not closed")?, rest.peek()) {
                        ('"', _) => break,
                        ('\\', Some('"' | '\\')) => word.text.extend(rest.next()),
                        ('$' | '`', _) | ('\\', Some('$' | '`' | '\n')) => return Err("it has '$' or '`'".to_owned()),
                        (c, _) => word.text.push(c),
                    }
                }
            }
            '\\' => match rest.next() {
                None | Some('\n') => return Err("it ends in a backslash".to_owned()),
                Some(c) => word.get_or_insert_default().text.push(c),
            },
            '#' if word.is_none() => return Err("it has a comment".to_owned()),
            '~' if word.is_none() => {
                if !matches!(rest.peek(), None | Some('/' | ' ' | '\t')) {
                    return Err("it has the home of another user".to_owned());
                }
                word = Some(Word { text: "~".to_owned(), tilde: true });
            }
            c if EXPANDED.contains(&c) => return Err(format!("it has {c:?}")),
            c => word.get_or_insert_default().text.push(c),
        }
    }
    tokens.extend(word.map(Token::Word));
    Ok(tokens)
}

/// The words of a command line for `cmd.exe`.
fn split_for_cmd(command: &str) -> Result<Vec<Word>, String> {
    if let Some(c) = command.chars().find(|c| "%^&|<>()!\n".contains(*c)) {
        return Err(format!("it has {c:?}"));
    }
    let mut words = Vec::new();
    for (number, part) in command.split('"').enumerate() {
        // What stands between quotes is one word.
        let parts: Vec<&str> = if number % 2 == 1 { vec![part] } else { part.split_whitespace().collect() };
        words.extend(parts.into_iter().map(|text| Word { text: text.to_owned(), tilde: false }));
    }
    Ok(words)
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::PathBuf;

    use super::{dependencies, paths, split};
    use crate::env::Env;
    use crate::identity::dependency::Dependency;

    fn words(command: &str) -> Option<Vec<String>> {
        Some(split(command).ok()?.into_iter().map(|word| word.text).collect())
    }

    #[test]
    fn words_are_told_as_a_shell_tells_them() {
        for (command, expected) in [
            ("/bin/a b  c", &["/bin/a", "b", "c"][..]),
            ("'/a b/c' \"d\\\"e\"f g\\ h", &["/a b/c", "d\"ef", "g h"]),
            ("~/bin/a ~", &["~/bin/a", "~"]),
            ("a </x/in 2>/x/err >>out 2>&1 b", &["a", "/x/in", "b"]),
            ("a;b&&c||d|e", &["a", "b", "c", "d", "e"]),
            ("a x2>y", &["a", "x2"]),
            ("a '' b=c", &["a", "", "b=c"]),
        ] {
            assert_eq!(
                words(command).as_deref(),
                Some(&expected.iter().map(|&w| w.to_owned()).collect::<Vec<_>>()[..]),
                "{command}"
            );
        }
        for command in [
            "a $HOME",
            "a `b`",
            "a $(b)",
            "a \"$b\"",
            "a *",
            "a &",
            "a <<b",
            "a <>b",
            "A=b c",
            "cd /x; a",
            ". a",
            "if a; then b; fi",
            "a 'b",
            "a \"b",
            "(a)",
            "{ a; }",
            "a # b",
            "~other/a",
            "a\nb",
            "a \\",
            "a >",
        ] {
            assert_eq!(words(command), None, "{command}");
        }
    }

    #[test]
    fn every_path_in_a_word_is_found() {
        for (word, expected) in [
            ("--file=/a/b", &["/a/b"][..]),
            ("-f/a/b", &["/a/b"]),
            ("-fa", &["a"]),
            ("/a/b:/c", &["/a/b", "/c"]),
            ("r/a/b", &["/a/b"]),
            ("file:///a/b", &["///a/b"]),
            ("@/a/b", &["/a/b"]),
            ("x=y/z,/c", &["y/z", "/c"]),
            ("a/b", &["a/b"]),
        ] {
            let found = paths(word);
            assert!(expected.iter().all(|path| found.contains(&PathBuf::from(path))), "{word}: {found:?}");
        }
    }

    #[test]
    fn a_command_of_absolute_paths_alone_does_not_depend_on_the_directory() {
        let env = [("HOME", "/h")].into_iter().collect::<Env>();
        let directory = |command| dependencies(command, &env).expect(command).contains(&Dependency::Directory);
        assert!(!directory("/bin/a /b ~/c"));
        assert!(directory("/bin/a b") && directory("a") && directory("/bin/a ./b"));
        let all = dependencies("a ~/b <c", &env).expect("an understood command");
        for path in ["/h/b", "c"] {
            assert!(all.contains(&Dependency::Path(path.into())), "{all:?}");
        }
        for program in ["sh", "a"] {
            assert!(all.contains(&Dependency::Program(program.to_owned())), "{all:?}");
        }
        assert!(dependencies("sh -c 'a; b'", &env).is_err() && dependencies("sh -c 'echo $X'", &env).is_err());
    }
}
