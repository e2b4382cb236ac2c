//! Failures of calls to ECR, to other services, to GitHub and to the registry itself.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::context::Context;
use crate::aws::http::TransportError;
use crate::aws::sdk_error::Refusal;
use crate::code::Code;
use crate::error::Failure;

impl Context {
    /// Why ECR issued no token.
    pub(in crate::aws) fn ecr_failure<E>(&self, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        self.failure("ECR", &self.describe_caller(), None, error, |refusal| {
            if refusal.code.starts_with("AccessDenied") {
                return self.ecr_denied(refusal);
            }
            let what = format!("ECR {}: {}", refused_or_failed(refusal), refusal.describe());
            Failure::new(Code::ServiceError, what, advice(refusal))
        })
    }

    fn ecr_denied(&self, refusal: &Refusal) -> Failure {
        let actions = if self.target.registry.is_public() {
            "ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken"
        } else {
            "ecr:GetAuthorizationToken"
        };
        let hint = format!("allow this identity {actions} on resource *");
        let what = format!("ECR denies access to {}: {}", self.describe_caller(), refusal.describe());
        Failure::new(Code::EcrDenied, what, hint).refused(refusal.refuses_identity())
    }

    /// Why another service gave no result.
    pub(in crate::aws) fn service_failure<E>(&self, service: &'static str, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        self.failure(service, &self.describe_caller(), None, error, |refusal| service_error(service, refusal))
    }

    /// Why GitHub gave no identity token.
    pub(in crate::aws) fn github_failure(&self, error: &TransportError) -> Failure {
        let failure = self.no_answer_of(error, "check the network, HTTPS_PROXY and ACTIONS_ID_TOKEN_REQUEST_URL");
        failure.with_context("GitHub gives this job no identity token")
    }
}

/// An error of a service other than ECR that has no meaning of its own. The service got a secret, and may quote it.
pub(in crate::aws) fn service_error(service: &str, refusal: &Refusal) -> Failure {
    let what = format!("{service} {}: {}", refused_or_failed(refusal), refusal.name());
    let code = if refusal.is_of_setting() { Code::SettingInvalid } else { Code::ServiceError };
    let failure = Failure::new(code, what, advice(refusal)).quoting(&refusal.message);
    failure.refused(refusal.refuses_identity())
}

fn refused_or_failed(refusal: &Refusal) -> &'static str {
    if refusal.is_failure() { "failed" } else { "refused" }
}

fn advice(refusal: &Refusal) -> &'static str {
    if refusal.is_of_setting() {
        "correct the setting that STS names, e.g. role_arn, AWS_ROLE_ARN, role_session_name, AWS_ROLE_SESSION_NAME or external_id"
    } else if refusal.is_of_session_policy() {
        "shorten or correct the session policies and tags that come with the caller; the helper adds none"
    } else if refusal.is_of_provider() {
        "try again later: STS cannot reach the identity provider"
    } else if refusal.is_failure() {
        "the error is on the side of AWS: try again later, and see health.aws.amazon.com"
    } else {
        "try again; if the error persists, check the credentials and the endpoint settings"
    }
}
