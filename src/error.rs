//! What can go wrong, by what the caller does about it.
//!
//! Clients read errors from standard output: docker shows that text to its user and compares it with one exact
//! sentence to decide between an anonymous request and a failure (docker-credential-helpers,
//! `credentials/error.go`). Each error prints as one line.

use std::fmt;
use std::io::{self, Write as _};

use crate::code::Code;

/// Why a command has no answer.
#[derive(Debug)]
pub enum Error {
    /// Not ours, or nothing known: the client goes on without credentials or asks its next helper.
    NotFound,
    /// The client stops and shows this text: what happened, to which registry, and what to do next. It is printed
    /// after the [`PREFIX`].
    Failed(String),
    /// A sentence of the protocol that clients may compare with, printed as it is.
    Protocol(String),
}

/// Prints clap's lines on what is wrong with the arguments, on standard error.
pub fn print_usage_error(lines: &str) {
    let _ = write!(io::stderr(), "{PREFIX}{}", lines.strip_prefix("error: ").unwrap_or(lines));
}

/// What every message begins with, so that its reader knows which of the programs in a pull speaks.
const PREFIX: &str = "ecr-login: ";

/// Prints a message that is no answer, such as a warning, on standard error. That nobody may be left to read it is no
/// reason to fail.
pub fn print_notice(message: &str) {
    let _ = writeln!(io::stderr(), "{PREFIX}{}", one_line(message));
}

/// Why AWS gave no token, before it is known for which registry that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub code: Code,
    /// What happened, with which identity. Holds no secret.
    pub what: String,
    /// What another program or a service said of it, without what looks like a secret in it. For the person who waits alone:
    /// neither the log nor another process gets it.
    pub quote: Option<String>,
    /// What its reader should do next. Holds no secret.
    pub hint: String,
}

impl Failure {
    /// A failure in two halves of a sentence.
    pub fn new(code: Code, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, what: what.into(), quote: None, hint: hint.into() }
    }

    /// The same with what somebody else said of it.
    #[must_use]
    pub fn quoting(mut self, said: &str) -> Self {
        self.quote = Some(without_secrets(said)).filter(|said| !said.is_empty());
        self
    }

    /// The same for the log and for other processes.
    #[must_use]
    pub fn without_quote(mut self) -> Self {
        self.quote = None;
        self
    }

    /// What happened, and what was said of it.
    pub fn whole(&self) -> String {
        match &self.quote {
            Some(said) => format!("{}: {said}", self.what),
            None => self.what.clone(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.whole(), self.hint)
    }
}

/// The sentence that clients compare for equality.
pub const NOT_FOUND: &str = "credentials not found in native keychain";

impl Error {
    /// An error that the client shows to its user.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// Standard output does not take the answer.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub fn unwritten(error: io::Error) -> Self {
        Self::Failed(format!("cannot write to standard output: {error}"))
    }

    /// The message without the [`PREFIX`], to be part of another one.
    pub fn message(&self) -> &str {
        match self {
            Self::NotFound => NOT_FOUND,
            Self::Failed(text) | Self::Protocol(text) => text,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str(NOT_FOUND),
            Self::Failed(text) => write!(f, "{PREFIX}{}", one_line(text)),
            Self::Protocol(text) => f.write_str(&one_line(text)),
        }
    }
}

impl std::error::Error for Error {}

/// `text` with each run of white space and control characters replaced by one space: what other programs and
/// services say may span lines or carry terminal sequences, and an answer of the protocol is one line.
pub fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The most of a foreign text that is passed on, in characters.
const LONGEST_QUOTE: usize = 400;

/// A word of this length or more that mixes letters and digits may be a key or a token.
const SHORTEST_SECRET: usize = 5;

/// What somebody else said, in one line, cut short, with an ellipsis for each word that may be a secret: what stands behind
/// "password=" and the like, and long words of letters and digits that are neither a path nor part of an ARN.
pub fn without_secrets(said: &str) -> String {
    let mut words = Vec::new();
    let mut named = false;
    for word in one_line(said).split(' ') {
        words.push(if named { "…".to_owned() } else { mask(word) });
        let lower = word.to_ascii_lowercase();
        named = SECRETS.iter().any(|name| {
            lower.trim_end_matches([':', '=', '"', '\'']).ends_with(name)
                && (lower.ends_with([':', '=']) || lower.starts_with('-') || *name == "bearer" || *name == "basic")
        });
    }
    let text = words.join(" ");
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Names that announce a secret.
const SECRETS: &[&str] =
    &["password", "passwd", "secret", "token", "bearer", "basic", "key", "credential", "authorization", "signature"];

fn mask(word: &str) -> String {
    let bare = word.trim_matches(|c: char| "\"'()[]{},.;:".contains(c));
    if bare.contains("arn:aws") || (bare.starts_with(['/', '~']) && !bare.contains('=')) {
        return word.to_owned();
    }
    if word.contains("://") {
        return mask_user_info(word);
    }
    word.split_inclusive([',', '&', ';']).map(mask_part).collect()
}

/// One setting, or one piece of text.
fn mask_part(word: &str) -> String {
    let announces = |name: &str| {
        let name = name.to_ascii_lowercase();
        let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        SECRETS.iter().any(|secret| name.ends_with(secret))
    };
    if let Some((name, value)) = word.split_once(['=', ':'])
        && announces(name)
        && !value.is_empty()
    {
        return format!("{name}=…");
    }
    if let Some((name, _)) = word.split_once('-')
        && name.eq_ignore_ascii_case("bearer")
    {
        return format!("{name}-…");
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+/=_.-~".contains(c);
    let mut masked = String::new();
    for part in word.split_inclusive(|c| !is_part(c)) {
        let (piece, end) = match part.chars().next_back() {
            Some(c) if !is_part(c) => part.split_at(part.len() - c.len_utf8()),
            _ => (part, ""),
        };
        masked.push_str(if is_made_up(piece) { "…" } else { piece });
        masked.push_str(end);
    }
    masked
}

/// Whether letters and digits are mixed as in no word and in no name of a host, region or file: those have small letters, a
/// dot or a hyphen, and few digits.
fn is_made_up(piece: &str) -> bool {
    let has = |test: fn(&u8) -> bool| piece.as_bytes().iter().any(test);
    let digits = piece.bytes().filter(u8::is_ascii_digit).count();
    let is_name = !has(u8::is_ascii_uppercase) && piece.contains(['.', '-']) && digits <= 4;
    piece.len() >= SHORTEST_SECRET && digits > 0 && has(u8::is_ascii_alphabetic) && !is_name
}

/// A URL, or a text with one, without the user and password in it.
pub fn mask_user_info(url: &str) -> String {
    let masked = || {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let (_, host) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://…@{host}{}", &rest[authority.len()..]))
    };
    masked().unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Error, mask_user_info, without_secrets};

    #[test]
    fn what_others_say_is_passed_on_without_what_may_be_a_secret() {
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkIn0.c2lnbmF0dXJl";
        for (said, expected) in [
            (
                format!("Value '{jwt}' at 'webIdentityToken' failed"),
                "Value '…' at 'webIdentityToken' failed".to_owned(),
            ),
            (format!("error: Bearer {jwt}"), "error: Bearer …".to_owned()),
            ("Authorization: Bearer short".to_owned(), "Authorization: … …".to_owned()),
            (
                r#"{"error":"x","access_token":"abcdefghij"} bearer-SECRET hunter2"#.to_owned(),
                r#"{"error":"x","access_token"=… bearer-… …"#.to_owned(),
            ),
            ("password=hunter2 token: abc".to_owned(), "password=… token: …".to_owned()),
            (
                "--password hunter2 for hvs.Abc4567 in eu-west-1".to_owned(),
                "--password … for … in eu-west-1".to_owned(),
            ),
            ("key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY, too".to_owned(), "key …, too".to_owned()),
            ("at http://me:pass@proxy:3128/x".to_owned(), "at http://…@proxy:3128/x".to_owned()),
            (
                "User: arn:aws:sts::111122223333:assumed-role/TeamA/i-0123456789abcdef0 is not authorized".to_owned(),
                "User: arn:aws:sts::111122223333:assumed-role/TeamA/i-0123456789abcdef0 is not authorized".to_owned(),
            ),
            (
                "cannot open /home/me/.vault/session-0123456789".to_owned(),
                "cannot open /home/me/.vault/session-0123456789".to_owned(),
            ),
        ] {
            assert_eq!(without_secrets(&said), expected);
        }
        assert_eq!(without_secrets(&"a ".repeat(1000)).chars().count(), 401);
        assert_eq!(mask_user_info("https://a.example/@x"), "https://a.example/@x");
    }

    #[test]
    fn a_failure_is_one_line_without_control_characters() {
        let error = Error::failed(" a\r\nb\u{1b}[31m\tc\0d ");
        assert_eq!(error.to_string(), "ecr-login: a b [31m c d");
    }
}
