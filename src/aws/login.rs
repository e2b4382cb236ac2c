//! `aws login` sessions: gets the keys that are in one, and renews it.
//!
//! The SDK's provider makes the request for a renewal, which is signed with the key of the session. Its answer does not reach the
//! provider, which would take a default for what is missing, and write it into the file whatever that holds by then: `renewal` does.

use std::sync::{Arc, OnceLock};

use aws_config::login::LoginCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::ProvideCredentials;
use http::StatusCode;
use zeroize::Zeroizing;

use super::context::Context;
use super::diagnose::{service_error, signed_out};
use super::sdk_error::Refusal;
use super::signing_keys::SigningKeys;
use crate::code::Code;
use crate::error::Failure;
use crate::identity::Login;
use crate::platform::aws_command;

/// The keys in the session.
pub(super) fn credentials(of: &Login) -> Result<SigningKeys, Failure> {
    let session = format!("the 'aws login' session of profile '{}'", of.profile);
    let command = aws_command("login", &of.profile);
    let Some(keys) = of.keys().filter(|keys| !keys.is_expired()) else {
        return Err(signed_out(Code::LoginExpired, &session, &of.file.path, &command));
    };
    let [id, secret, token] =
        ["accessKeyId", "secretAccessKey", "sessionToken"].map(|name| keys.text(name).unwrap_or_default());
    let invalid = |what| Failure::new(Code::CredentialsInvalid, format!("{session} {what}"), format!("run {command}"));
    SigningKeys::new(&id, &secret, Some(&token)).map_err(invalid)
}

/// Asks for a renewed session, and returns the new content of its file; `None` if the service refuses.
pub(super) async fn renewed(of: &Login, context: &Context) -> Result<Option<Zeroizing<String>>, Failure> {
    let content = Arc::new(OnceLock::new());
    let (session, answered) = (of.clone(), content.clone());
    let keep = move |answer: &[u8]| {
        let _ = answered.set(session.renewed(answer).ok_or("holds no valid session")?);
        Err("is kept from the provider")
    };
    let config = &context.config;
    let mut settings = ProviderConfig::without_region()
        .with_region(config.region().cloned())
        .with_use_fips(config.use_fips())
        .with_use_dual_stack(config.use_dual_stack())
        .with_behavior_version(config.behavior_version())
        .with_http_client(context.network.client_with(Arc::new(keep)));
    if let Some((retries, timeouts)) = config.retry_config().cloned().zip(config.timeout_config().cloned()) {
        settings = settings.with_retry_config(retries).with_timeout_config(timeouts);
    }
    let provider = LoginCredentialsProvider::builder(&of.arn).configure(&settings).build();
    let outcome = provider.provide_credentials().await;
    if let Some(content) = content.get() {
        return Ok(Some(content.clone()));
    }
    let failure = outcome.err().and_then(|error| {
        context.transport_failure(&error).or_else(|| {
            // The provider's error does not say what the service answered.
            let status = context.last.status().filter(StatusCode::is_server_error)?;
            let code = format!("HTTP {}", status.as_u16());
            Some(service_error("AWS Sign-In", &Refusal { code: &code, message: "", status: status.as_u16() }))
        })
    });
    failure.map_or(Ok(None), Err)
}
