//! What can go wrong, by what the caller does about it.
//!
//! Clients read errors from standard output: docker shows that text to its user and compares it with one exact
//! sentence to decide between an anonymous request and a failure (docker-credential-helpers,
//! `credentials/error.go`). So there are two variants, and each prints as one line.

use std::fmt;

/// Why a command has no answer.
#[derive(Debug)]
pub enum Error {
    /// Not ours, or nothing known: the client goes on without credentials or asks its next helper.
    NotFound,
    /// The client stops and shows this text: what happened, to which registry, and what to do next.
    Failed(String),
}

/// Why AWS gave no token, before it is known for which registry that was. Neither text holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened, with which identity.
    pub what: String,
    /// What its reader should do next.
    pub next: String,
}

impl Failure {
    /// A failure in two halves of a sentence.
    pub fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }
}

/// The sentence that clients compare for equality.
pub const NOT_FOUND: &str = "credentials not found in native keychain";

impl Error {
    /// An error that the client shows to its user.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str(NOT_FOUND),
            Self::Failed(text) => f.write_str(&one_line(text)),
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

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn a_failure_is_one_line_without_control_characters() {
        let error = Error::failed(" a\r\nb\u{1b}[31m\tc\0d ");
        assert_eq!(error.to_string(), "a b [31m c d");
    }
}
