//! Splits the command line of a `credential_process` into words, as the shell that runs it does.
//!
//! Syntax that could make the shell use other words than these is [`Unsupported`].

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// A word of a command line.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) start: Start,
}

/// The first character of a word.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Start {
    /// It is a character like the others.
    #[default]
    Literal,
    /// It is a `~` that the shell replaces by the home directory.
    Home,
}

/// Why the words of a command line are unknown.
#[derive(Debug)]
pub(super) enum Unsupported {
    /// A description of the syntax.
    Syntax(&'static str),
    /// A character that the shell expands or that has another meaning.
    Character(char),
    /// A redirection with another operator after this character.
    Redirection(char),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(what) => f.write_str(what),
            Self::Character(c) => write!(f, "it has {c:?}"),
            Self::Redirection(c) => write!(f, "it has '{c}' with another operator after it"),
        }
    }
}

/// Characters that a shell expands or takes for syntax.
const EXPANDED: &[char] = &['$', '`', '(', ')', '{', '}', '*', '?', '[', ']', '!', '\n'];

/// Characters that end a word.
const ENDS: &[char] = &[' ', '\t', ';', '|', '&', '<', '>'];

/// Words that change what the shell does with the next ones.
const RESERVED: &[&str] = &[
    ".", "alias", "builtin", "case", "cd", "command", "do", "done", "elif", "else", "esac", "eval", "exec", "exit",
    "export", "fi", "for", "function", "if", "read", "readonly", "return", "set", "shift", "source", "then", "time",
    "trap", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
];

/// The words of a command line for a POSIX shell (POSIX.1-2017, "Shell Command Language"), including the files of input
/// redirections. The output does not depend on the files of output redirections.
pub(super) fn split(command: &str) -> Result<Vec<Word>, Unsupported> {
    let mut words = Vec::new();
    let mut is_first = true;
    let mut tokens = Lexer::new(command).tokens()?.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            ShellToken::Next => is_first = true,
            ShellToken::Word(word) => {
                if std::mem::take(&mut is_first) && !is_program(&word.text) {
                    let what = "one of its commands begins with a word of the shell, or with an assignment";
                    return Err(Unsupported::Syntax(what));
                }
                words.push(word);
            }
            ShellToken::From | ShellToken::To => match tokens.next() {
                Some(ShellToken::Word(word)) if matches!(token, ShellToken::From) => words.push(word),
                Some(ShellToken::Word(_)) => {}
                _ => return Err(Unsupported::Syntax("a redirection has no file")),
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

enum ShellToken {
    Word(Word),
    /// The next word begins another command.
    Next,
    /// The next word is a file that is read.
    From,
    /// The next word is a file that is written.
    To,
}

/// Reads the tokens of a command line.
struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    tokens: Vec<ShellToken>,
    /// The word so far; `None` between words.
    word: Option<Word>,
}

impl<'a> Lexer<'a> {
    fn new(command: &'a str) -> Self {
        Self { rest: command.chars().peekable(), tokens: Vec::new(), word: None }
    }

    fn tokens(mut self) -> Result<Vec<ShellToken>, Unsupported> {
        while let Some(c) = self.rest.next() {
            if ENDS.contains(&c) {
                self.end_word(c);
                self.operator(c)?;
            } else {
                self.character(c)?;
            }
        }
        self.tokens.extend(self.word.map(ShellToken::Word));
        Ok(self.tokens)
    }

    /// Ends the word before `c`. Digits right before a redirection are a file descriptor.
    fn end_word(&mut self, c: char) {
        let Some(word) = self.word.take() else { return };
        let is_descriptor = matches!(c, '<' | '>') && word.text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_descriptor {
            self.tokens.push(ShellToken::Word(word));
        }
    }

    /// Reads a blank or an operator, whose first character is `c`.
    fn operator(&mut self, c: char) -> Result<(), Unsupported> {
        match c {
            ';' => self.tokens.push(ShellToken::Next),
            '|' => {
                self.rest.next_if_eq(&'|');
                self.tokens.push(ShellToken::Next);
            }
            '&' if self.rest.next_if_eq(&'&').is_some() => self.tokens.push(ShellToken::Next),
            '&' => return Err(Unsupported::Syntax("it runs a command in the background")),
            '<' | '>' => return self.redirection(c),
            _ => {}
        }
        Ok(())
    }

    fn redirection(&mut self, c: char) -> Result<(), Unsupported> {
        if c == '>' {
            self.rest.next_if_eq(&'>');
        }
        if self.rest.next_if_eq(&'&').is_some() {
            while self.rest.next_if(|c| c.is_ascii_digit() || *c == '-').is_some() {}
        } else if self.rest.peek().is_some_and(|c| "<>|".contains(*c)) {
            return Err(Unsupported::Redirection(c));
        } else {
            self.tokens.push(if c == '<' { ShellToken::From } else { ShellToken::To });
        }
        Ok(())
    }

    /// Reads a part of a word, whose first character is `c`.
    fn character(&mut self, c: char) -> Result<(), Unsupported> {
        match c {
            '\'' => return self.single_quoted(),
            '"' => return self.double_quoted(),
            '\\' => match self.rest.next() {
                None | Some('\n') => return Err(Unsupported::Syntax("it ends in a backslash")),
                Some(c) => self.push(c),
            },
            '#' if self.word.is_none() => return Err(Unsupported::Syntax("it has a comment")),
            '~' if self.word.is_none() => {
                if !matches!(self.rest.peek(), None | Some('/' | ' ' | '\t')) {
                    return Err(Unsupported::Syntax("it has the home directory of another user"));
                }
                self.word = Some(Word { text: "~".to_owned(), start: Start::Home });
            }
            c if EXPANDED.contains(&c) => return Err(Unsupported::Character(c)),
            c => self.push(c),
        }
        Ok(())
    }

    fn single_quoted(&mut self) -> Result<(), Unsupported> {
        self.word.get_or_insert_default();
        loop {
            match self.quoted()? {
                '\'' => return Ok(()),
                c => self.push(c),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<(), Unsupported> {
        self.word.get_or_insert_default();
        loop {
            match (self.quoted()?, self.rest.peek()) {
                ('"', _) => return Ok(()),
                ('\\', Some(&c @ ('"' | '\\'))) => {
                    self.rest.next();
                    self.push(c);
                }
                ('$' | '`', _) | ('\\', Some('$' | '`' | '\n')) => {
                    return Err(Unsupported::Syntax("it has '$' or '`'"));
                }
                (c, _) => self.push(c),
            }
        }
    }

    /// The next character inside quotes.
    fn quoted(&mut self) -> Result<char, Unsupported> {
        self.rest.next().ok_or(Unsupported::Syntax("it has a quote that is not closed"))
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().text.push(c);
    }
}

/// The words of a command line for `cmd.exe`.
pub(super) fn split_for_cmd(command: &str) -> Result<Vec<Word>, Unsupported> {
    if let Some(c) = command.chars().find(|c| "%^&|<>()!\n".contains(*c)) {
        return Err(Unsupported::Character(c));
    }
    let mut words = Vec::new();
    for (number, part) in command.split('"').enumerate() {
        // Every second part is between quotes, which make it one word.
        let parts: Vec<&str> = if number % 2 == 1 { vec![part] } else { part.split_whitespace().collect() };
        words.extend(parts.into_iter().map(|text| Word { text: text.to_owned(), start: Start::Literal }));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    fn words(command: &str) -> Option<Vec<String>> {
        Some(split(command).ok()?.into_iter().map(|word| word.text).collect())
    }

    #[test]
    fn words_are_those_of_a_posix_shell() {
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
}
