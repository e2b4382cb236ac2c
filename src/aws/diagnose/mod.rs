//! Makes messages from the SDK's errors: what happened, with which identity, and the fix.
//!
//! Types and error codes distinguish the causes where the SDK provides them, the SDK's texts only where it does not. A
//! message quotes no request, no response body and no credential. The text of other programs and services is masked and
//! truncated.
//!
//! | module | failures |
//! | --- | --- |
//! | here | of the source of the credentials, and of the roles assumed with it |
//! | [`service`] | of ECR, of another service, of GitHub, of the registry |
//! | [`mod@refusal`] | refusals that mean the same from every service |
//! | [`transport`] | requests that got no answer |
//! | [`missing`] | no credentials at all |

mod missing;
mod refusal;
mod service;
mod transport;

pub(super) use missing::signed_out;
pub(super) use service::service_error;
use std::error::Error;

use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_sdk_sts::operation::get_session_token::GetSessionTokenError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::context::Context;
use super::sdk_error::{Refusal, causes, chain, refusal};
use crate::code::Code;
use crate::config::Role;
use crate::error::{Failure, one_line};
use crate::identity::{Acceptor, IdentityToken, WebIdentity, form_hint};
use crate::registry::Region;
use crate::secret::Secret;

impl Context {
    /// The failure for an error of `service`: one that means the same from every call, or for another refusal what `of_call` says.
    /// `caller` describes the credentials that signed the request, `role_region` is the region that the settings of a role name for STS.
    pub(super) fn failure<E>(
        &self,
        service: &'static str,
        caller: &str,
        role_region: Option<&Region>,
        error: &SdkError<E, HttpResponse>,
        of_call: impl FnOnce(&Refusal) -> Failure,
    ) -> Failure
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        match refusal(error, &self.last) {
            Some(refusal) => {
                let common = self.common_refusal(&refusal, service, caller, role_region);
                refusal.with_policy(common.unwrap_or_else(|| of_call(&refusal)))
            }
            None => self.no_refusal(service, is_asked(error), error),
        }
    }

    /// The failure for an error that is no refusal. Compiled once, and not for the errors of each call.
    fn no_refusal(&self, service: &str, is_asked: bool, error: &(dyn Error + 'static)) -> Failure {
        let unreadable = || self.unreadable_answer(&format!("{service}'s answer"), is_asked, error);
        self.transport_failure(error).unwrap_or_else(unreadable)
    }

    /// Why STS gave no credentials for a web identity.
    pub(super) fn web_identity_failure(
        &self,
        error: &SdkError<AssumeRoleWithWebIdentityError, HttpResponse>,
        of: &WebIdentity,
        token: &Secret,
    ) -> Failure {
        let denied = |refusal: &Refusal| self.web_identity_denied(of, refusal, token);
        // The common message would be that a session has expired, with the advice to sign in.
        let Some(refusal) = refusal(error, &self.last).filter(Refusal::is_expired_token) else {
            return self.failure("STS", &self.source().to_string(), of.region.as_ref(), error, denied);
        };
        match &of.token {
            IdentityToken::Variable { name, .. } => Failure::new(
                Code::CredentialsExpired,
                format!("the web identity token in {name} has expired"),
                "get a new one from the CI system, or have it issue a token that is valid for the whole job",
            ),
            IdentityToken::ServiceAccount(_) => denied(&refusal),
            IdentityToken::File { .. } | IdentityToken::GitHub { .. } => {
                let role = &of.role_arn;
                let what = format!("STS gives no credentials for the role {role}: the web identity token has expired");
                let hint =
                    "check the program that renews the token, and that the settings name the file that it writes";
                Failure::new(Code::WebIdentityDenied, what, hint).quoting(&refusal.message)
            }
        }
    }

    fn web_identity_denied(&self, of: &WebIdentity, refusal: &Refusal, token: &Secret) -> Failure {
        let (token_name, hint) = match &of.token {
            IdentityToken::File { .. } => (
                "the web identity token".to_owned(),
                "check the role's trust policy, the token's audience and AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(),
            ),
            IdentityToken::Variable { name, .. } => (
                self.source().to_string(),
                format!(
                    "check that the role's trust policy trusts the issuer of the token in {name}, and its audience"
                ),
            ),
            IdentityToken::GitHub { .. } => (
                self.source().to_string(),
                "check that the role's trust policy trusts token.actions.githubusercontent.com \
                 for this repository and ref, with the audience sts.amazonaws.com"
                    .to_owned(),
            ),
            IdentityToken::ServiceAccount(_) => (
                format!("the token of {}", self.source()),
                "check the role that eks.amazonaws.com/ecr-role-arn or AWS_ECR_ROLE_ARN names, its trust policy, \
                 and the token's audience"
                    .to_owned(),
            ),
        };
        // Of what STS has read, the form may be odd and not the cause.
        let has_read = refusal.refuses_identity()
            || ["audience", "OpenIDConnect"].into_iter().any(|word| refusal.message.contains(word));
        let hint = match form_hint(token.expose().as_bytes(), Acceptor::Sts) {
            Some(of_form) if has_read => format!("{hint}; {of_form}"),
            Some(of_form) => of_form,
            None => hint,
        };
        // STS quotes invalid parameters.
        let mut quote = refusal.message.replace(token.expose().trim(), "…");
        let mut role = String::new();
        match self.source().role_arn() {
            Some(arn) => role = format!(" for the role {arn}"),
            None => quote = quote.replace(&of.role_arn, "…"),
        }
        if refusal.decides_nothing() {
            return service_error("STS", &Refusal { message: quote, ..*refusal })
                .with_context(format!("no credentials of {}", self.source()));
        }
        let what = format!("STS does not accept {token_name}{role}: {}", refusal.name());
        Failure::new(Code::WebIdentityDenied, what, hint).quoting(&quote).refused(refusal.refuses_identity())
    }

    /// Why STS gave no credentials for a role, with this code of its MFA device.
    pub(super) fn role_failure(
        &self,
        error: &SdkError<AssumeRoleError, HttpResponse>,
        role: &Role,
        code: Option<&Secret>,
    ) -> Failure {
        if let Some(refusal) = refusal(error, &self.last) {
            let of_sts = || refusal.decides_nothing().then(|| service_error("STS", &refusal));
            return self
                .common_refusal(&refusal, "STS", &self.describe_caller_of(role), role.region.as_ref())
                .or_else(of_sts)
                .map_or_else(
                    || self.role_denied(&refusal, role, code),
                    |failure| failure.with_context(format!("the role {} cannot be assumed", role.arn)),
                );
        }
        match self.transport_failure(error) {
            Some(failure) => failure.with_context(format!("cannot request the role {} from STS", role.arn)),
            None => {
                self.unreadable_answer(&format!("STS's answer about the role {}", role.arn), is_asked(error), error)
            }
        }
    }

    fn role_denied(&self, refusal: &Refusal, role: &Role, code: Option<&Secret>) -> Failure {
        let requires_mfa = role.mfa_serial.is_some() && code.is_none();
        let (arn, caller) = (&role.arn, self.describe_caller_of(role));
        if refusal.message.contains(WRONG_CODE) {
            return wrong_code();
        }
        if requires_mfa || refusal.message.contains("MultiFactor") {
            return Failure::new(
                Code::MfaRequired,
                format!("{arn} requires an MFA code, for which a credential helper cannot prompt"),
                format!(
                    "run '{} login {}' on a terminal: it prompts for the code, and pulls work until the token expires",
                    crate::NAME,
                    self.target.host
                ),
            );
        }
        let failure = Failure::new(
            Code::RoleDenied,
            format!("{caller} may not assume {arn}: {}", refusal.name()),
            "check the role's trust policy, its external id, and the caller's permission for sts:AssumeRole",
        );
        refusal.with_policy(failure.quoting(&refusal.message).refused(refusal.refuses_identity()))
    }

    /// Why STS gave a user no session for the code of an MFA device.
    pub(super) fn user_session_failure(&self, error: &SdkError<GetSessionTokenError, HttpResponse>) -> Failure {
        let user = self.source().to_string();
        self.failure("STS", &user, None, error, |refusal| {
            if refusal.message.contains(WRONG_CODE) {
                return wrong_code();
            }
            if refusal.is_failure() {
                return service_error("STS", refusal);
            }
            Failure::new(
                Code::MfaRequired,
                format!("STS gives {user} no session with MFA: {}", refusal.name()),
                "check mfa_serial in the profile, and that the device belongs to this user",
            )
            .quoting(&refusal.message)
        })
    }

    /// An answer with what no request can use; `what` completes a sentence about it.
    pub(super) fn unusable_answer(&self, service: &str, what: &str) -> Failure {
        let what = format!("the answer of {service} {what}");
        Failure::new(Code::AnswerInvalid, what, self.check(PORTAL))
    }

    /// An answer of AWS that is neither a result nor a refusal. What the SDK says about a request that it could not even make is
    /// about its own code.
    fn unreadable_answer(&self, answer: &str, is_asked: bool, error: &(dyn Error + 'static)) -> Failure {
        if !is_asked {
            return Failure::new(
                Code::CredentialsInvalid,
                format!("{answer} was not asked for: no request can hold one of the credentials or settings"),
                "sign in again, and check the profile for characters that do not belong there",
            );
        }
        if self.last.authority().is_empty() {
            let why = chain(error).last().map(ToString::to_string).unwrap_or_default();
            return self.no_endpoint().quoting(&one_line(&why));
        }
        Failure::new(Code::AnswerInvalid, format!("{answer} cannot be read"), self.check(PORTAL))
            .quoting(&one_line(&causes(error)))
    }

    /// The failure for settings that lead to no endpoint, e.g. FIPS beside a URL.
    pub(super) fn no_endpoint(&self) -> Failure {
        Failure::new(
            Code::NoEndpoint,
            format!("there is no endpoint for these settings in {}", self.target.registry.region()),
            "check AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT and the endpoint URL that is set",
        )
    }

    /// The advice to check `rest`, and the setting that the endpoint of the last request comes from, if one does.
    pub(super) fn check(&self, rest: &str) -> String {
        match self.identity.setting_of_endpoint(&self.target, &self.last) {
            Some(setting) => format!("check {setting}, and {rest}"),
            None => format!("check {rest}"),
        }
    }
}

/// Whether the SDK could make the request.
fn is_asked<E>(error: &SdkError<E, HttpResponse>) -> bool {
    !matches!(error, SdkError::ConstructionFailure(_))
}

/// What to check where something else than AWS seems to answer.
pub(super) const PORTAL: &str = "whether a proxy or a captive portal answers";

/// A part of the message of STS about an MFA code that is wrong or was used before.
const WRONG_CODE: &str = "invalid MFA one time pass code";

fn wrong_code() -> Failure {
    Failure::new(
        Code::MfaRequired,
        "AWS does not accept the MFA code",
        "try again with the next code; AWS accepts each code once",
    )
}
