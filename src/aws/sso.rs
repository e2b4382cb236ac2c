//! Sign-ins through IAM Identity Center: gets credentials for a sign-in, and renews it.
//!
//! The sign-in is the file that `aws sso login` writes, as it was read for the cache key. The SDK's own provider reads the file
//! and the environment a second time, so only the SDK's clients are used. A sign-in without `sso-session` cannot be renewed (AWS SDKs
//! and Tools reference, "IAM Identity Center credential provider").

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sso::types::RoleCredentials;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::region::Region;
use log::debug;
use zeroize::Zeroizing;

use super::context::Context;
use super::diagnose::{service_error, signed_out};
use super::sdk_config::without_repeats;
use super::sdk_error::{is_refusing, refusal};
use super::signing_keys::SigningKeys;
use crate::code::Code;
use crate::error::Failure;
use crate::fields::Fields;
use crate::identity::Sso;
use crate::platform::aws_command;

/// Gets the credentials of the role that the sign-in is for.
pub(super) async fn credentials(of: &Sso, context: &Context) -> Result<SigningKeys, Failure> {
    let Some(sign_in) = of.sign_in().filter(|sign_in| !sign_in.is_expired()) else { return Err(expired(of)) };
    context.last.set_service("SSO", None);
    let client = aws_sdk_sso::Client::new(&in_region(of, &context.config));
    let call = client.get_role_credentials().role_name(&of.role_name).account_id(&of.account_id);
    let call = call.set_access_token(sign_in.token("accessToken"));
    let answer = call.send().await.map_err(|error| {
        context.failure("SSO", &context.source().to_string(), None, &error, |refusal| {
            // The account or the role is gone.
            let is_gone = refusal.code == "ResourceNotFoundException";
            let is_gone = is_gone && (refusal.status == 404 || is_refusing(refusal.status));
            let is_refused = is_gone || refusal.refuses_identity();
            // With this status a sign-in has ended, whatever the error is called.
            if refusal.code == "UnauthorizedException" || (is_refused && refusal.status == 401) {
                return expired(of);
            }
            if refusal.is_failure() {
                return service_error("SSO", refusal);
            }
            Failure::new(
                Code::SsoDenied,
                format!("SSO gives profile '{}' no credentials: {}", of.profile, refusal.name()),
                "check sso_account_id and sso_role_name, and that the role is assigned to you",
            )
            .quoting(&refusal.message)
            .refused(is_refused)
        })
    })?;
    let found = answer.role_credentials.unwrap_or_else(|| RoleCredentials::builder().build());
    let [id, secret, token] =
        [found.access_key_id(), found.secret_access_key(), found.session_token()].map(Option::unwrap_or_default);
    SigningKeys::new(id, secret, Some(token)).map_err(|what| context.unusable_answer("SSO", what))
}

/// Asks for a renewed sign-in, and returns the new content of its file; `None` if the service refuses.
pub(super) async fn renewed(of: &Sso, context: &Context) -> Result<Option<Zeroizing<String>>, Failure> {
    let Some(sign_in) = of.sign_in() else { return Ok(None) };
    let field = |name: &str| sign_in.token(name).unwrap_or_default();
    context.last.set_service("SSO", None);
    let client = aws_sdk_ssooidc::Client::new(&in_region(of, &without_repeats(&context.config, context.deadline)));
    let call = client.create_token().grant_type("refresh_token").refresh_token(field("refreshToken"));
    let answer = match call.client_id(field("clientId")).client_secret(field("clientSecret")).send().await {
        Ok(answer) => answer,
        Err(error) => {
            let Some(name) = refusal_by_name(&error, context) else {
                return Err(context.service_failure("SSO", &error));
            };
            // Its message may quote the token.
            debug!(name; "the service refuses to renew the sign-in");
            // The others are about a sign-in that has ended by time.
            return if name == DENIED { Err(denied(of)) } else { Ok(None) };
        }
    };
    let life = Duration::from_secs(u64::try_from(answer.expires_in).unwrap_or_default());
    // A sign-in that no request can hold would be in the way of every other until its time.
    let refresh_token = answer.refresh_token.filter(|token| !token.is_empty());
    let content = answer.access_token.and_then(|token| of.renewed(&token, life, refresh_token.as_deref()));
    content.map(Some).ok_or_else(|| context.unusable_answer("SSO", "holds no valid sign-in"))
}

/// The user has no access any more.
const DENIED: &str = "accessdenied";

/// The errors of a service that refuses the refresh token or the client (RFC 6749, section 5.2), in the letters of their names.
const REFUSALS: [&str; 5] = [DENIED, "expiredtoken", "invalidclient", "invalidgrant", "unauthorizedclient"];

/// The error of a service that refuses the refresh token or the client, rather than that it fails or something else answers. AWS names
/// its exception, e.g. `InvalidGrantException`, and in the body the error of OAuth, e.g. `invalid_grant`.
fn refusal_by_name<E: ProvideErrorMetadata>(
    error: &SdkError<E, HttpResponse>,
    context: &Context,
) -> Option<&'static str> {
    let among = |name: &str| {
        let name = name.replace('_', "").to_ascii_lowercase();
        REFUSALS.into_iter().find(|refusal| *refusal == name.trim_end_matches("exception"))
    };
    let answer = error.raw_response().filter(|answer| is_refusing(answer.status().as_u16()))?;
    let body = answer.body().bytes().and_then(Fields::parse);
    let of_oauth = body.and_then(|body| among(&body.text("error")?));
    of_oauth.or_else(|| among(refusal(error, &context.last)?.code))
}

fn in_region(of: &Sso, config: &SdkConfig) -> SdkConfig {
    config.to_builder().region(Region::new(of.region.to_string())).build()
}

fn expired(of: &Sso) -> Failure {
    signed_out(Code::SsoExpired, &describe(of), &of.file.path, &command(of))
}

fn denied(of: &Sso) -> Failure {
    let what = format!("SSO refuses to renew {}: access is denied", describe(of));
    let hint = format!("run {}; if that is refused too, ask for access in IAM Identity Center", command(of));
    Failure::new(Code::SsoExpired, what, hint).refused(true)
}

fn describe(of: &Sso) -> String {
    let session = of.session.as_ref().map_or(String::new(), |session| format!(" (session '{session}')"));
    format!("the SSO sign-in of profile '{}'{session}", of.profile)
}

fn command(of: &Sso) -> String {
    aws_command("sso login", &of.profile)
}
