//! Takes apart the SDK's errors: a service's refusal, the chain of causes, and their texts.

use std::borrow::Cow;
use std::error::Error;
use std::io;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::http::LastRequest;
use crate::error::Failure;
use crate::quote::without_secrets;

/// The length of an error's name, in bytes.
const LONGEST_NAME: usize = 80;

/// A service's refusal, or its word that it failed.
pub(super) struct Refusal<'a> {
    /// The [name of the error](error_name); empty if it gave none.
    pub(super) code: &'a str,
    /// Without what was sent: a quote of it may be cut within a token.
    pub(super) message: String,
    /// The HTTP status.
    pub(super) status: u16,
}

impl Refusal<'_> {
    /// Whether the service rejects a session token or an identity token because it has expired.
    pub(super) fn is_expired_token(&self) -> bool {
        self.code.starts_with("ExpiredToken")
    }

    /// Whether the service failed, or what it asks itself, which says nothing about what it was asked.
    pub(super) fn is_failure(&self) -> bool {
        self.status >= 500 || is_outage(self.code) || self.is_of_provider()
    }

    /// Whether the provider of a web identity did not answer STS.
    pub(super) fn is_of_provider(&self) -> bool {
        self.code == "IDPCommunicationError"
    }

    /// Whether a setting does not have the form that the service requires.
    pub(super) fn is_of_setting(&self) -> bool {
        self.code == "ValidationError"
    }

    /// Whether the session policies and tags that come with the caller are too large or damaged. The helper sends none.
    pub(super) fn is_of_session_policy(&self) -> bool {
        matches!(self.code, "PackedPolicyTooLarge" | "MalformedPolicyDocument")
    }

    /// Whether nothing was decided about the caller: the service failed, or does not take the request as it is.
    pub(super) fn decides_nothing(&self) -> bool {
        self.is_failure() || self.is_of_setting() || self.is_of_session_policy()
    }

    /// The failure with the fix for the policy that denied access, if AWS's message names its kind. Any other fix would change nothing.
    pub(super) fn with_policy(&self, mut failure: Failure) -> Failure {
        if let Some(fix) = policy_fix(&self.message).filter(|_| self.refuses_identity()) {
            failure.hint = fix;
        }
        failure
    }

    /// Whether the service refuses this identity itself, so that trying again cannot help and its earlier tokens must not be used
    /// either. SSO calls it `ForbiddenException`.
    pub(super) fn refuses_identity(&self) -> bool {
        let is_denied = self.code.starts_with("AccessDenied") || self.code == "ForbiddenException";
        is_refusing(self.status) && !self.is_failure() && (is_denied || self.is_unknown_key())
    }

    /// Whether the service does not know the access key.
    pub(super) fn is_unknown_key(&self) -> bool {
        matches!(self.code, "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId")
    }

    /// What the service calls the error, or else the status.
    pub(super) fn name(&self) -> Cow<'_, str> {
        if self.code.is_empty() { format!("HTTP status {}", self.status).into() } else { self.code.into() }
    }

    pub(super) fn describe(&self) -> String {
        let (name, message) = (self.name(), without_secrets(&self.message));
        let message = message.trim_end_matches('.');
        if message.is_empty() { name.into_owned() } else { format!("{name}: {message}") }
    }
}

/// The fix for the policy that denied access, if AWS's message names its kind (IAM User Guide, "Troubleshoot access denied error messages").
pub(super) fn policy_fix(message: &str) -> Option<String> {
    let policies = [
        ("service control policy", "the organization's service control policy"),
        ("resource control policy", "the organization's resource control policy"),
        ("VPC endpoint policy", "the policy of the VPC endpoint"),
        ("permissions boundary", "the permissions boundary"),
        ("session policy", "the session policy"),
        // Where these only lack a permission, it has to be added.
        ("explicit deny in an identity-based policy", "the identity's policy"),
        ("explicit deny in a resource-based policy", "the resource's policy"),
        ("explicit deny", "the policy with the explicit deny"),
    ];
    let (_, policy) = policies.into_iter().find(|(kind, _)| message.contains(kind))?;
    Some(format!("change {policy}, which denies the request"))
}

/// Whether a service refuses with this status. With another one it fails or limits the rate of requests, or something else answers, e.g.
/// a proxy, whatever the error is called.
pub(super) fn is_refusing(status: u16) -> bool {
    matches!(status, 400 | 401 | 403)
}

/// Whether an error says by its name that the service failed, whatever the status. AWS Sign-In has the names of OAuth.
pub(super) fn is_outage(code: &str) -> bool {
    let code = code.replace('_', "").to_ascii_lowercase();
    ["internal", "serviceunavailable", "servererror", "serverexception", "requesttimeout"]
        .iter()
        .any(|name| code.starts_with(name))
}

/// What a service gives for the name of an error, if it is one: a short word of letters, dots and underscores, which is no part of the
/// last request. Anything else may be a secret that the service was sent, and counts as no name.
pub(super) fn error_name<'a>(code: &'a str, last: &LastRequest) -> Option<&'a str> {
    let is_word = code.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'.' | b'_'));
    let is_name = is_word && code.len() <= LONGEST_NAME && without_secrets(code) == code && !last.has_sent(code);
    is_name.then_some(code)
}

/// The refusal in an error of the SDK, if it is one, as the answer to the last request.
pub(super) fn refusal<'a, E: ProvideErrorMetadata>(
    error: &'a SdkError<E, HttpResponse>,
    last: &LastRequest,
) -> Option<Refusal<'a>> {
    let SdkError::ServiceError(answer) = error else { return None };
    let code = answer.err().code().and_then(|code| error_name(code, last)).unwrap_or_default();
    let message = last.without_tokens(answer.err().message().unwrap_or_default().to_owned());
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

#[cfg(test)]
mod tests {
    use super::{LastRequest, error_name, policy_fix};

    #[test]
    fn the_kind_of_the_policy_is_read_out_of_what_aws_says() {
        let message = |why: &str| format!("User: x is not authorized to perform: ecr:GetAuthorizationToken {why}");
        for (why, policy) in [
            ("with an explicit deny in a service control policy", Some("the organization's service control policy")),
            ("with an explicit deny in a VPC endpoint policy", Some("the policy of the VPC endpoint")),
            ("because no session policy allows it", Some("the session policy")),
            ("with an explicit deny in an identity-based policy: arn:x", Some("the identity's policy")),
            ("with an explicit deny in a resource-based policy", Some("the resource's policy")),
            ("with an explicit deny", Some("the policy with the explicit deny")),
            ("because no identity-based policy allows it", None),
            ("because no resource-based policy allows it", None),
        ] {
            let fix = policy.map(|policy| format!("change {policy}, which denies the request"));
            assert_eq!(policy_fix(&message(why)), fix);
        }
    }

    #[test]
    fn the_name_of_an_error_is_a_short_word() {
        let is_name = |code: &str| error_name(code, &LastRequest::default()) == Some(code);
        for name in [
            "AccessDenied",
            "AccessDeniedException",
            "AssumeRoleUnauthorizedAccess",
            "ExpiredTokenException",
            "IDPCommunicationError",
            "IDPRejectedClaim",
            "INSUFFICIENT_PERMISSIONS",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MalformedPolicyDocument",
            "MissingAuthenticationTokenException",
            "PackedPolicyTooLarge",
            "RegionDisabledException",
            "RequestLimitExceeded",
            "RequestTimeTooSkewed",
            "SlowDownException",
            "ThrottlingException",
            "TooManyRequestsException",
            "UnrecognizedClientException",
            "authorization_pending",
            "invalid_grant",
            "NAME_UNKNOWN",
            "com.amazonaws.sts.AccessDenied",
        ] {
            assert!(is_name(name), "{name}");
        }
        for other in [
            "two words",
            "a:b",
            "a-b",
            "hvs.CAESIJ0",
            "AKIA1",
            "wJalrXUtnFEMIKKMDENGxxbPxRfiCYEXAMPLEKEY",
            "Ä",
            "a\u{202e}",
        ] {
            assert!(!is_name(other), "{other}");
        }
        assert!(!is_name(&"a.".repeat(41)));
    }
}
