//! From the SDK's errors to sentences for people: what happened, and what to do next.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// Why AWS gave no token. Neither text holds a secret.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub what: String,
    /// What its reader should do next.
    pub next: String,
}

impl Failure {
    pub(super) fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }

    pub(super) fn timed_out(budget: Duration) -> Self {
        Self::new(
            format!("AWS did not answer within {} s", budget.as_secs().max(1)),
            "check the network, HTTPS_PROXY and a VPC endpoint if there is one",
        )
    }

    /// Another process has been asking for all the time that there was.
    pub fn busy(budget: Duration) -> Self {
        Self::new(
            format!("another process has been asking AWS for this token for {} s", budget.as_secs()),
            "try again; AWS_ECR_DISABLE_CACHE=1 asks without waiting",
        )
    }

    pub(super) fn unreadable_token() -> Self {
        Self::new("ECR's answer holds no token that can be read", "check AWS_ENDPOINT_URL and what answers there")
    }
}

/// Why no credentials could be had.
pub(super) fn credentials(error: &CredentialsError) -> Failure {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => Failure::new(
            "no AWS credentials found in the environment, the AWS config files, a container or an instance role",
            "set AWS_PROFILE, run 'aws configure' or 'aws sso login', or give this machine a role",
        ),
        _ => Failure::new(
            format!("the AWS credentials cannot be used: {}", causes(error)),
            "check them with 'aws sts get-caller-identity' in the same environment",
        ),
    }
}

/// Why ECR did not answer with a token.
pub(super) fn service<E, R>(error: &SdkError<E, R>) -> Failure
where
    E: Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    match error {
        SdkError::ServiceError(answer) => {
            let (code, message) = (answer.err().code().unwrap_or("an error"), answer.err().message().unwrap_or(""));
            let next = match code {
                "AccessDeniedException" => "allow ecr:GetAuthorizationToken on * to this identity",
                "ThrottlingException" | "TooManyRequestsException" => "wait a little and try again",
                "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidSignatureException" => {
                    "the access key is wrong, deleted or of another partition: check it with 'aws sts get-caller-identity'"
                }
                "ExpiredTokenException" | "ExpiredToken" => "get new session credentials",
                _ => "try again; if it stays, check the AWS health dashboard and AWS_ENDPOINT_URL",
            };
            Failure::new(format!("ECR answered {code}: {message}"), next)
        }
        _ => Failure::new(
            format!("ECR cannot be reached: {}", causes(error)),
            "check the network, HTTPS_PROXY, AWS_ENDPOINT_URL and the region",
        ),
    }
}

/// The texts of an error and its causes, each once.
fn causes(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}
