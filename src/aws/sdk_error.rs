//! Takes apart the SDK's errors: a service's refusal, the chain of causes, and their texts.

use std::error::Error;
use std::io;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::error::one_line;
use crate::quote::without_secrets;

/// The length of an error's name, in bytes.
const LONGEST_CODE: usize = 80;

/// A service's refusal, or its word that it failed.
pub(super) struct Refusal<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    /// The HTTP status.
    pub(super) status: u16,
}

impl Refusal<'_> {
    /// Whether the service rejects a session token or an identity token because it has expired.
    pub(super) fn is_expired_token(&self) -> bool {
        self.code.starts_with("ExpiredToken")
    }

    /// Whether the service failed, which says nothing about what it was asked.
    pub(super) fn is_failure(&self) -> bool {
        self.status >= 500
    }

    /// Whether the service refuses this identity itself, so that trying again cannot help and its earlier tokens must not be used
    /// either. SSO calls it `ForbiddenException`.
    pub(super) fn refuses_identity(&self) -> bool {
        let is_denied = self.code.starts_with("AccessDenied") || self.code == "ForbiddenException";
        !self.is_failure()
            && (is_denied
                || matches!(self.code, "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId"))
    }

    pub(super) fn describe(&self) -> String {
        let (code, message) = (one_line(self.code), without_secrets(self.message));
        let message = message.trim_end_matches('.');
        if message.is_empty() { code } else { format!("{code}: {message}") }
    }
}

/// The refusal in an error of the SDK, if it is one.
pub(super) fn refusal<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<Refusal<'_>> {
    let SdkError::ServiceError(answer) = error else { return None };
    // No name of AWS is longer: it may be a secret that the service was sent.
    let code = answer.err().code().filter(|code| code.len() <= LONGEST_CODE).unwrap_or_default();
    let message = answer.err().message().unwrap_or_default();
    Some(Refusal { code, message, status: answer.raw().status().as_u16() })
}

/// An error and its causes. `source` of an `io::Error` leaves out its payload.
pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// The texts of an error and its causes, each once.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in chain(error).map(ToString::to_string) {
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}
