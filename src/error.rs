//! Errors: [`Error`] is the answer of a command that fails, [`Failure`] is a cause with its fix.
//!
//! Clients read errors from standard output: docker shows the text to its user, and compares it with one exact line to decide
//! between an anonymous request and a failure (docker-credential-helpers, `credentials/error.go`). Each error prints as one
//! line.

use std::fmt;
use std::io::{self, Write as _};

use crate::code::Code;
pub use crate::text::{acts_on_terminal, one_line, printable, printable_json};
use crate::text::{beginning, words};

/// Why a command fails.
#[derive(Debug)]
pub enum Error {
    /// No credentials for this registry: the client goes on without credentials or asks its next helper.
    NotFound,
    /// The client stops and shows what happened, with which registry, and the fix. It prints after the [`PREFIX`].
    Failed(Failure),
    /// A line of the protocol that clients may compare with. It prints without the [`PREFIX`].
    Protocol(String),
    /// The arguments contradict each other, or a value can never be right: exit code 2, as for what clap refuses.
    Usage(String),
    /// The reader of standard output has closed it, e.g. in `doctor | head -1`. Prints nothing.
    ReaderGone,
}

/// The exit code of wrong usage, as from clap.
pub const WRONG_USAGE: u8 = 2;

/// Prints clap's message about wrong arguments, on standard error.
pub fn print_usage_error(lines: &str) {
    let _ = write!(io::stderr(), "{PREFIX}{}", printable(lines.strip_prefix("error: ").unwrap_or(lines)));
}

/// The prefix of every message. It names the helper among the programs that print during a pull.
const PREFIX: &str = "ecr-login: ";

/// Prints a message that is no answer, such as a warning, on standard error. Ignores a closed standard error.
pub fn print_notice(message: &str) {
    let _ = writeln!(io::stderr(), "{PREFIX}{}", one_line(message));
}

/// Why something failed, and the fix, in a message that does not name the registry yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its stable code.
    pub code: Code,
    /// What happened, with which identity. Holds no secret.
    pub what: String,
    /// What a service said about it, with secrets masked, or what the user's own program printed. Only the user sees it:
    /// neither the log nor another process gets it.
    pub quote: Option<String>,
    /// The fix. Holds no secret.
    pub hint: String,
    /// Whether AWS refused this identity, so that a token that was issued to it before must not be served either.
    pub is_refusal: bool,
}

impl Failure {
    /// A failure: what happened, and the fix. A setting or an answer of any length may be part of both.
    pub fn new(code: Code, what: impl Into<String>, hint: impl Into<String>) -> Self {
        let text = |text: String| beginning(&text, LONGEST_TEXT).into_owned();
        Self { code, what: text(what.into()), quote: None, hint: text(hint.into()), is_refusal: false }
    }

    /// What cannot be written, with another way out. An error of this program ends in a fix of its own, which comes first.
    pub fn unwritable(code: Code, what: impl fmt::Display, error: &io::Error, other: &str) -> Self {
        let text = error.to_string();
        let (why, hint) = match text.rsplit_once("; ") {
            Some((why, fix)) if error.raw_os_error().is_none() => (why, format!("{fix}, or {other}")),
            _ => (text.as_str(), other.to_owned()),
        };
        Self::new(code, format!("{what}: {why}"), hint)
    }

    /// Adds what another program or a service printed, with secrets masked.
    #[must_use]
    pub fn quoting(mut self, text: &str) -> Self {
        self.quote = Some(without_secrets(text)).filter(|text| !text.is_empty());
        self
    }

    /// Adds the end of what the user's own program printed to standard error, as it is but for characters that act on a
    /// terminal: a mask could hide the cause, and the program prints it to the same person without the helper.
    #[must_use]
    pub fn quoting_program(mut self, text: &str) -> Self {
        let text = one_line(text);
        let start = text.char_indices().rev().nth(LONGEST_QUOTE - 1).map_or(0, |(start, _)| start);
        let cut = if start > 0 { "…" } else { "" };
        self.quote = Some(format!("{cut}{}", &text[start..])).filter(|text| !text.is_empty());
        self
    }

    /// Marks a refusal of this identity by AWS, if it is one.
    #[must_use]
    pub fn refused(mut self, is_refusal: bool) -> Self {
        self.is_refusal = is_refusal;
        self
    }

    /// Prefixes what happened with what was being done.
    #[must_use]
    pub fn with_context(mut self, context: impl fmt::Display) -> Self {
        self.what = format!("{context}: {}", self.what);
        self
    }

    /// Removes the quote, for the log and for other processes.
    #[must_use]
    pub fn without_quote(mut self) -> Self {
        self.quote = None;
        self
    }

    /// What happened, and the quote.
    pub fn whole(&self) -> String {
        match &self.quote {
            Some(quote) => format!("{}: {quote}", self.what),
            None => self.what.clone(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Settings may span lines, and the log has one line a failure.
        write!(f, "{}; {} [{}]", one_line(&self.whole()), one_line(&self.hint), self.code)
    }
}

/// The failure for an error of the system, if it is about a limit. The text tells, since not every library keeps the error itself.
pub fn system_limit(error: &str) -> Option<Failure> {
    const OPEN_FILES: (&str, &str) = ("too many open files", "raise the limit ('ulimit -n'), or close some");
    const THREADS: (&str, &str) = (
        "no more threads or processes can be started",
        "raise the limit on them ('ulimit -u') or on memory ('ulimit -v', 'ulimit -d')",
    );
    const MEMORY: (&str, &str) = ("out of memory", "free some, or raise the limit ('ulimit -v')");
    let limits = [
        ("Too many open files", OPEN_FILES),
        // The text of musl.
        ("No file descriptors available", OPEN_FILES),
        ("Resource temporarily unavailable", THREADS),
        ("Cannot allocate memory", MEMORY),
        ("Out of memory", MEMORY),
    ];
    let (_, (cause, hint)) = limits.into_iter().find(|(text, _)| error.contains(text))?;
    Some(Failure::new(Code::SystemLimits, format!("the system's limits are too low: {cause}"), hint))
}

/// The line that clients compare for equality.
pub const NOT_FOUND: &str = "credentials not found in native keychain";

impl Error {
    /// A failure: its stable code, what happened, and the fix.
    pub fn failed(code: Code, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed(Failure::new(code, what, hint))
    }

    /// A file that cannot be written, with another way out.
    pub fn unwritable(what: impl fmt::Display, error: &io::Error, other: &str) -> Self {
        Self::Failed(Failure::unwritable(Code::WriteFailed, what, error, other))
    }

    /// Wrong arguments.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// The output of a command for people cannot be written.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub fn unwritten(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::unanswered(&error),
        }
    }

    /// The answer to a client cannot be written.
    pub fn unanswered(error: &io::Error) -> Self {
        let what = format!("cannot write to standard output: {error}");
        Self::failed(Code::WriteFailed, what, "check what reads the output, or the space on its disk")
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { WRONG_USAGE } else { 1 }
    }

    /// The failure, for use in a report or another message.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::NotFound | Self::Protocol(_) | Self::Usage(_) | Self::ReaderGone => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str(NOT_FOUND),
            Self::Failed(failure) => write!(f, "{PREFIX}{failure}"),
            Self::Usage(text) => write!(f, "{PREFIX}{}", one_line(text)),
            Self::Protocol(line) => f.write_str(&one_line(line)),
            Self::ReaderGone => f.write_str("standard output is closed"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The longest quote, in characters.
const LONGEST_QUOTE: usize = 400;

/// The longest text of a failure, in characters. Lists of many profiles have less.
const LONGEST_TEXT: usize = 10_000;

/// A word of this length or more that mixes letters and digits may be a key or a token.
const SHORTEST_SECRET: usize = 5;

/// The length of a secret access key of AWS.
const SECRET_KEY: usize = 40;

/// The text of another program in one line, cut short, with an ellipsis for each word that may be a secret: a word after
/// "password=" and the like, and a word of letters and digits that is neither a path, part of an ARN nor the id of a request, by
/// which the support of AWS finds it.
pub fn without_secrets(text: &str) -> String {
    let (mut quote, mut is_announced) = (String::new(), false);
    for word in words(text) {
        quote.extend((!quote.is_empty()).then_some(' '));
        quote.push_str(&match is_announced {
            true => "…".to_owned(),
            false if is_request_id(&quote, word) => word.to_owned(),
            false => mask(word),
        });
        // An answer of a megabyte may have half a million words.
        if quote.len() > LONGEST_QUOTE * 4 {
            break;
        }
        let lower = word.to_ascii_lowercase();
        is_announced = SECRETS.iter().any(|name| {
            lower.trim_end_matches([':', '=', '"', '\'']).ends_with(name)
                && (lower.ends_with([':', '=']) || lower.starts_with('-') || *name == "bearer" || *name == "basic")
        });
    }
    beginning(&quote, LONGEST_QUOTE).into_owned()
}

/// Names that come before a secret.
const SECRETS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "pass",
    "passphrase",
    "secret",
    "token",
    "bearer",
    "basic",
    "key",
    "credential",
    "authorization",
    "signature",
];

/// Whether a word is the id of a request, as errors of AWS give it.
fn is_request_id(before: &str, word: &str) -> bool {
    let is_announced = ["RequestId: ", "Request ID: ", "RequestID: "].iter().any(|name| before.ends_with(name));
    let id = word.trim_end_matches([';', ',', ')', '.']);
    let is_uuid = id.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    is_announced && is_uuid && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn mask(word: &str) -> String {
    let bare = word.trim_matches(|c: char| "\"'()[]{},.;:".contains(c));
    if bare.starts_with(['/', '~']) && !bare.contains('=') {
        return word.to_owned();
    }
    if let Some((scheme, rest)) = word.split_once("://") {
        // Presigned URLs have tokens in the query, services of companies also in the path.
        let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let path: String = path.split_inclusive('/').map(mask_segment).collect();
        let hidden = query.chars().next().map(|mark| format!("{mark}…")).unwrap_or_default();
        return mask_user_info(&format!("{scheme}://{authority}{path}{hidden}"));
    }
    word.split_inclusive([',', '&', ';']).map(mask_part).collect()
}

/// Masks a part of a path in a URL that may be a secret, or has encoded bytes as secrets in URLs do.
fn mask_segment(segment: &str) -> String {
    let (name, end) = segment.strip_suffix('/').map_or((segment, ""), |name| (name, "/"));
    let is_secret = name.contains('%') || name.split(['.', '~', ':', ',']).any(is_random);
    format!("{}{end}", if is_secret { "…" } else { name })
}

/// Masks one setting, or one word.
fn mask_part(word: &str) -> String {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        SECRETS.iter().any(|secret| name.ends_with(secret))
    };
    if let Some((name, value)) = word.split_once(['=', ':'])
        && is_secret(name)
        && !value.is_empty()
    {
        return format!("{name}=…");
    }
    if let Some((name, _)) = word.split_once('-')
        && name.eq_ignore_ascii_case("bearer")
    {
        return format!("{name}-…");
    }
    if let Some((before, arn)) = word.find("arn:aws").map(|start| word.split_at(start)) {
        let (arn, after) =
            arn.split_at(arn.find(['"', '\'', '(', ')', '[', ']', '{', '}', '<', '>']).unwrap_or(arn.len()));
        return format!("{}{arn}{}", mask_part(before), mask_part(after));
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+/=_.-~".contains(c);
    let mut masked = String::new();
    for part in word.split_inclusive(|c| !is_part(c)) {
        let (piece, end) = match part.chars().next_back() {
            Some(c) if !is_part(c) => part.split_at(part.len() - c.len_utf8()),
            _ => (part, ""),
        };
        masked.push_str(if is_random(piece) { "…" } else { piece });
        masked.push_str(end);
    }
    masked
}

/// Whether letters and digits are mixed as in a key or token, or it is as long as a secret key, which may have no digit. Names of
/// hosts, regions and files have lower-case letters, a dot or a hyphen, and few digits.
fn is_random(piece: &str) -> bool {
    let has = |test: fn(&u8) -> bool| piece.as_bytes().iter().any(test);
    let digits = piece.bytes().filter(u8::is_ascii_digit).count();
    let is_name = !has(u8::is_ascii_uppercase) && piece.contains(['.', '-']) && digits <= 4;
    let is_long = piece.len() >= SECRET_KEY && !piece.contains(['.', '-', '_']);
    piece.len() >= SHORTEST_SECRET && has(u8::is_ascii_alphabetic) && (is_long || (digits > 0 && !is_name))
}

/// Masks the user and password of a URL, or of the URL in a text.
pub fn mask_user_info(url: &str) -> String {
    let masked = || {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let (_, host) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://…@{host}{}", &rest[authority.len()..]))
    };
    masked().unwrap_or_else(|| url.to_owned())
}

/// Scheme, host and port of a URL. Its user, path and query may be secret; "/…" stands for the latter two.
pub fn without_path(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "…".to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let hidden = if rest[end..].trim_end_matches('/').is_empty() { "" } else { "/…" };
    mask_user_info(&format!("{scheme}://{}{hidden}", &rest[..end]))
}

#[cfg(test)]
mod tests {
    use super::{Code, Error, mask_user_info, without_secrets};

    #[test]
    fn quotes_hold_no_word_that_may_be_a_secret() {
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkIn0.c2lnbmF0dXJl";
        for (text, expected) in [
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
                "POST https://api.ecr.eu-west-1.amazonaws.com/?X-Amz-Security-Token=IQoJb3Jp%2Fabc failed".to_owned(),
                "POST https://api.ecr.eu-west-1.amazonaws.com/?… failed".to_owned(),
            ),
            (format!("see http://a.example/v1/{jwt}/x#{jwt}"), "see http://a.example/v1/…/x#…".to_owned()),
            ("at https://a.example/role/wJalr%2FK7MDENG".to_owned(), "at https://a.example/role/…".to_owned()),
            (
                "see https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors.html".to_owned(),
                "see https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors.html".to_owned(),
            ),
            (
                "User: arn:aws:sts::111122223333:assumed-role/TeamA/i-0123456789abcdef0 is not authorized".to_owned(),
                "User: arn:aws:sts::111122223333:assumed-role/TeamA/i-0123456789abcdef0 is not authorized".to_owned(),
            ),
            (
                "arn:aws:iam::111122223333:role/R'hunter2x {\"r\":\"arn:aws:ecr:x:1:a/b2\",\"n\":\"abc123\"}".to_owned(),
                "arn:aws:iam::111122223333:role/R'… {\"r\":\"arn:aws:ecr:x:1:a/b2\",\"n\":\"…\"}".to_owned(),
            ),
            ("got wJalrXUtnFEMI/KAMDENG/bPxRfiCYEXAMPLEKEY".to_owned(), "got …".to_owned()),
            ("user:me pwd:letmein passphrase: opensesame".to_owned(), "user:me pwd=… passphrase: …".to_owned()),
            (
                "(Request ID: 0b5bfd3e-8d4c-4a55-9e2a-7a3c1f5d9b10; Proxy: null) id 0b5bfd3e-8d4c-4a55-9e2a-7a3c1f5d9b10".to_owned(),
                "(Request ID: 0b5bfd3e-8d4c-4a55-9e2a-7a3c1f5d9b10; Proxy: null) id …".to_owned(),
            ),
            (
                "cannot open /home/me/.vault/session-0123456789".to_owned(),
                "cannot open /home/me/.vault/session-0123456789".to_owned(),
            ),
        ] {
            assert_eq!(without_secrets(&text), expected);
        }
        assert_eq!(without_secrets(&"a ".repeat(1000)).chars().count(), 401);
        assert_eq!(mask_user_info("https://a.example/@x"), "https://a.example/@x");
    }

    #[test]
    fn a_failure_is_one_line_without_control_characters() {
        let error =
            Error::failed(Code::Internal, " a\r\nb\u{1b}[31m\tc\0d\u{202e}e\u{9b}f\u{2066}\u{feff} ", " f\r\ng ");
        assert_eq!(error.to_string(), "ecr-login: a b [31m c d e f; f g [E-INTERNAL]");
    }
}
