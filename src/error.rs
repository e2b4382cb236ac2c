//! Errors: [`Error`] is the answer of a command that fails, [`Failure`] is a cause with its fix.
//!
//! Clients read errors from standard output: docker shows the text to its user, and compares it with one exact line to decide
//! between an anonymous request and a failure (docker-credential-helpers, `credentials/error.go`). Each error prints as one
//! line.

use std::fmt;
use std::io::{self, Write as _};

use crate::code::Code;
use crate::quote::{LONGEST_QUOTE, hide_tokens, without_secrets};
use crate::text::beginning;
pub use crate::text::{acts_on_terminal, one_line, printable, printable_json};

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
    let _ = write!(io::stderr(), "{PREFIX}{}", printable(&hide_tokens(lines.strip_prefix("error: ").unwrap_or(lines))));
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
    /// Whether it says nothing about other processes, which may succeed at the same time: this one has met a limit of its own, or
    /// was interrupted.
    pub is_own: bool,
}

impl Failure {
    /// A failure: what happened, and the fix. A setting or an answer of any length and content may be part of both.
    pub fn new(code: Code, what: impl Into<String>, hint: impl Into<String>) -> Self {
        let text = |text: String| beginning(&hide_tokens(&text), LONGEST_TEXT).into_owned();
        Self {
            code,
            what: text(what.into()),
            quote: None,
            hint: text(hint.into()),
            is_refusal: false,
            is_own: code == Code::SystemLimits,
        }
    }

    /// A failure with the fix that its code usually has.
    pub fn usual(code: Code, what: impl Into<String>) -> Self {
        let (first, rest) = code.fix().trim_end_matches('.').split_at(1);
        Self::new(code, what, first.to_lowercase() + rest)
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

    /// Marks a failure of this process alone, if it is one.
    #[must_use]
    pub fn own(mut self, is_own: bool) -> Self {
        self.is_own |= is_own;
        self
    }

    /// Prefixes what happened with what was being done.
    #[must_use]
    pub fn with_context(mut self, context: impl fmt::Display) -> Self {
        self.what = hide_tokens(&format!("{context}: {}", self.what));
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
        Self::Usage(hide_tokens(&text.into()))
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

/// The longest text of a failure, in characters. Lists of many profiles have less.
const LONGEST_TEXT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::{Code, Error};

    #[test]
    fn a_failure_is_one_line_without_control_characters() {
        let error =
            Error::failed(Code::Internal, " a\r\nb\u{1b}[31m\tc\0d\u{202e}e\u{9b}f\u{2066}\u{feff} ", " f\r\ng ");
        assert_eq!(error.to_string(), "ecr-login: a b [31m c d e f; f g [E-INTERNAL]");
    }
}
