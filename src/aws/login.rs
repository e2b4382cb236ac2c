//! `aws login` sessions: gets the keys that are in one, and renews it.
//!
//! The SDK's provider makes the request for a renewal, which is signed with the key of the session. Its answer does not reach the
//! provider, which would take a default for what is missing, and write it into the file whatever that holds by then: `renewal` does.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_config::login::LoginCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_types::region::Region;
use http::StatusCode;
use zeroize::Zeroizing;

use super::context::Context;
use super::diagnose::{service_error, signed_out};
use super::sdk_config::without_repeats;
use super::sdk_error::{Refusal, error_name, is_outage, is_refusing};
use super::signing_keys::SigningKeys;
use crate::code::Code;
use crate::error::Failure;
use crate::fields::Fields;
use crate::identity::Login;
use crate::platform::aws_command;

/// The error of a service that limits the rate of requests.
const RATE_EXCEEDED: &str = "rate_exceeded";

/// What errors mean that refuse the user, and what to do before the next `aws login`; the others are about a session that has ended
/// by time (AWS Sign-In API reference, `OAuth2ErrorCode`).
fn ended(error: &str) -> Option<(&'static str, &'static str)> {
    match error {
        "USER_CREDENTIALS_CHANGED" => Some(("the user has another password", "")),
        "INSUFFICIENT_PERMISSIONS" => {
            Some(("the user may not have a session", "allow this user signin:CreateOAuth2Token, then "))
        }
        _ => None,
    }
}

/// The keys in the session.
pub(super) fn credentials(of: &Login) -> Result<SigningKeys, Failure> {
    let session = describe(of);
    let command = aws_command("login", &of.profile);
    let Some(keys) = of.keys().filter(|keys| !keys.is_expired()) else {
        return Err(signed_out(Code::LoginExpired, &session, &of.file.path, &command));
    };
    let [id, secret, token] =
        ["accessKeyId", "secretAccessKey", "sessionToken"].map(|name| keys.text(name).unwrap_or_default());
    let invalid = |what| Failure::new(Code::CredentialsInvalid, format!("{session} {what}"), format!("run {command}"));
    SigningKeys::new(&id, &secret, Some(&token)).map_err(invalid)
}

fn describe(of: &Login) -> String {
    format!("the 'aws login' session of profile '{}'", of.profile)
}

/// Asks for a renewed session, and returns the new content of its file; `None` if the service refuses.
pub(super) async fn renewed(of: &Login, context: &Context) -> Result<Option<Zeroizing<String>>, Failure> {
    let (content, refusal) = (Arc::new(OnceLock::new()), Arc::new(Mutex::new(None)));
    let (session, answered, refused) = (of.clone(), content.clone(), refusal.clone());
    let keep = move |status: StatusCode, answer: &[u8]| {
        if status.is_success() {
            let _ = answered.set(session.renewed(answer).ok_or("holds no valid session")?);
            return Err("is kept from the provider");
        }
        let error = Fields::parse(answer).map(|body| body.text("error").unwrap_or_default());
        *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((status, error));
        Ok(())
    };
    let config = without_repeats(&context.config, context.deadline);
    // As botocore does: where the session was made, or else by the settings, whatever the registry's region is.
    let configured = || {
        let named = context.env().text("AWS_REGION");
        named.or_else(|| context.identity.setting("AWS_DEFAULT_REGION", "region")).map(str::to_owned)
    };
    let region = of.region().or_else(configured).map(Region::new).or_else(|| config.region().cloned());
    let mut settings = ProviderConfig::without_region()
        .with_region(region)
        .with_use_fips(config.use_fips())
        .with_use_dual_stack(config.use_dual_stack())
        .with_behavior_version(config.behavior_version())
        .with_http_client(context.network.client_with(Arc::new(keep)));
    if let Some((retries, timeouts)) = config.retry_config().cloned().zip(config.timeout_config().cloned()) {
        settings = settings.with_retry_config(retries).with_timeout_config(timeouts);
    }
    let provider = LoginCredentialsProvider::builder(&of.arn).configure(&settings).build();
    let (service, caller) = ("AWS Sign-In", context.source().to_string());
    context.last.set_service(service, None);
    let outcome = provider.provide_credentials().await;
    if let Some(content) = content.get() {
        return Ok(Some(content.clone()));
    }
    if let Some(failure) = outcome.err().and_then(|error| context.transport_failure(&error)) {
        return Err(failure);
    }
    // The provider's error does not say what the service answered, or that it could make no request.
    let Some((status, error)) = refusal.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        let what = format!("{} cannot be renewed: its file {} is damaged", describe(of), of.file.path.display());
        return Err(Failure::new(Code::LoginExpired, what, format!("run {}", aws_command("login", &of.profile))));
    };
    let code = match error {
        // Something else answers with another document than an object of JSON.
        Some(error) if is_refusing(status.as_u16()) && error != RATE_EXCEEDED && !is_outage(&error) => {
            let Some((what, hint)) = ended(&error) else { return Ok(None) };
            let hint = format!("{hint}run {}", aws_command("login", &of.profile));
            let what = format!("AWS Sign-In refused: {error}: {what}");
            return Err(Failure::new(Code::LoginExpired, what, hint).refused(true));
        }
        error if status == StatusCode::TOO_MANY_REQUESTS || error.as_deref() == Some(RATE_EXCEEDED) => {
            "TooManyRequestsException".to_owned()
        }
        error => error.unwrap_or_default(),
    };
    let code = error_name(&code, &context.last).unwrap_or_default();
    let refusal = Refusal { code, message: String::new(), status: status.as_u16() };
    Err(context.common_refusal(&refusal, service, &caller, None).unwrap_or_else(|| service_error(service, &refusal)))
}
