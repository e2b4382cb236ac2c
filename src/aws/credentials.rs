//! Resolves the credentials of a [`CredentialChain`](crate::identity::CredentialChain): asks its source and no other, then assumes its roles.
//!
//! A source holds what was read for the cache key, and nothing is read again. [`process`], [`container`], [`instance`] and [`sso`]
//! get credentials from their sources; an `aws login` session goes through the SDK's provider.
//!
//! To add a source: add its type in `identity::sources`, which says what proves it, and its variant to [`Source`]; choose it in
//! `identity::chain` or `identity::link`, resolve it in [`from_source`], and add its test to `tests/suite/sources.rs`.

use std::time::Instant;

use aws_config::SdkConfig;
use aws_config::login::LoginCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_types::region::Region;
use http::StatusCode;
use log::debug;

use super::context::Context;
use super::diagnose::{service_error, signed_out, without_credentials};
use super::fields::Fields;
use super::sdk_config::with_credentials;
use super::sdk_error::Refusal;
use super::{container, github, instance, process, sso};
use crate::code::Code;
use crate::config::{Keys, Role};
use crate::error::Failure;
use crate::identity::{IdentityToken, Login, MfaDevice, Source, StaticKeys, WebIdentity};
use crate::platform::shell_word;
use crate::secret::Secret;

/// A code that a person read from an MFA device.
#[derive(Clone, Debug)]
pub struct MfaCode {
    device: MfaDevice,
    digits: Secret,
}

impl MfaCode {
    /// The code that `device` shows.
    pub fn new(device: MfaDevice, digits: &str) -> Self {
        Self { device, digits: digits.to_owned().into() }
    }
}

/// Resolves the credentials of the identity in `context`: those of its source, then those of its roles.
pub(super) async fn resolve(codes: &[MfaCode], context: &Context) -> Result<Credentials, Failure> {
    let sts = sts_config(context);
    let credentials = from_source(&sts, context).await?;
    check_header_values(&credentials, context.source())?;
    context.within_time_of_services(Box::pin(assume_roles(&sts, credentials, codes, context))).await
}

/// The configuration of STS. For a dual-stack registry STS is asked at its dual-stack name too, since the network may have no
/// IPv4, unless a setting names its URL, which the SDK does not combine with that.
fn sts_config(context: &Context) -> SdkConfig {
    let config = &context.config;
    let has_url = context.identity.endpoint_url("STS").is_some();
    if !context.target.registry.dual_stack() || config.use_dual_stack().is_some() || has_url {
        return config.clone();
    }
    config.to_builder().use_dual_stack(true).build()
}

/// Gets a session with MFA if there is a code for the user, and assumes the roles.
async fn assume_roles(
    config: &SdkConfig,
    mut credentials: Credentials,
    codes: &[MfaCode],
    context: &Context,
) -> Result<Credentials, Failure> {
    if let Some(code) = codes.iter().find(|code| code.device.role.is_none()) {
        credentials = user_session(config, credentials, code, context).await?;
    }
    for (index, role) in context.identity.chain.roles.iter().enumerate() {
        let code = codes.iter().find(|code| code.device.role == Some(index));
        credentials = assume(config, credentials, role, code, context).await?;
    }
    Ok(credentials)
}

async fn from_source(sts: &SdkConfig, context: &Context) -> Result<Credentials, Failure> {
    match context.source() {
        Source::Keys(StaticKeys { keys: Keys { id, secret, token }, .. }) => {
            let token = token.as_ref().map(|token| token.expose().to_owned());
            Ok(Credentials::new(id, secret.expose(), token, None, "settings"))
        }
        Source::Sso(sso) => sso::credentials(sso, context).await,
        Source::Login(login) => from_login(login, context).await,
        Source::Process(process) => process::credentials(process, context).await,
        Source::WebIdentity(of) => from_web_identity(sts, of, context).await,
        Source::Container(container) => container::credentials(container, context).await,
        Source::Instance(instance) => instance::credentials(&instance.endpoint, context).await,
    }
}

/// Gets the keys of an `aws login` session from the SDK's provider, which renews it.
async fn from_login(Login { profile, arn, file }: &Login, context: &Context) -> Result<Credentials, Failure> {
    let config = &context.config;
    let mut settings = ProviderConfig::without_region()
        .with_region(config.region().cloned())
        .with_use_fips(config.use_fips())
        .with_use_dual_stack(config.use_dual_stack())
        .with_behavior_version(config.behavior_version())
        .with_http_client(context.network.client_with(check_renewed_login));
    if let Some((retries, timeouts)) = config.retry_config().cloned().zip(config.timeout_config().cloned()) {
        settings = settings.with_retry_config(retries).with_timeout_config(timeouts);
    }
    let provider = LoginCredentialsProvider::builder(arn).configure(&settings).build();
    provider.provide_credentials().await.map_err(|error| {
        context.transport_failure(&error).unwrap_or_else(|| {
            // The provider's error does not say what the service answered.
            if let Some(status) = context.last.status().filter(StatusCode::is_server_error) {
                let code = format!("HTTP {}", status.as_u16());
                return service_error("AWS Sign-In", &Refusal { code: &code, message: "", status: status.as_u16() });
            }
            let session = format!("the 'aws login' session of profile '{profile}'");
            signed_out(Code::LoginExpired, &session, file, &format!("aws login --profile {}", shell_word(profile)))
        })
    })
}

/// No keys of an `aws login` session are valid for longer, in seconds (AWS CLI User Guide, "Sign in through the AWS CLI").
const LONGEST_LOGIN: u32 = 12 * 60 * 60;

/// Checks the answer to a renewal before the SDK's provider sees it, which takes a default for what is missing, and stores what no
/// request can hold in place of the user's session.
fn check_renewed_login(answer: &[u8]) -> Result<(), &'static str> {
    let is_token = |text: String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_valid = || {
        let answer = Fields::parse(answer)?;
        let keys: Fields = answer.exact("accessToken")?;
        let names = ["accessKeyId", "secretAccessKey", "sessionToken"];
        let has_keys = names.into_iter().all(|name| keys.exact(name).is_some_and(is_token));
        let life = answer.exact::<u32>("expiresIn")?;
        Some(has_keys && answer.exact("refreshToken").is_some_and(is_token) && (1..=LONGEST_LOGIN).contains(&life))
    };
    if is_valid() == Some(true) { Ok(()) } else { Err("holds no valid session") }
}

/// Gets a session for the user of the keys, with the code of an MFA device.
async fn user_session(
    config: &SdkConfig,
    credentials: Credentials,
    code: &MfaCode,
    context: &Context,
) -> Result<Credentials, Failure> {
    let call = aws_sdk_sts::Client::new(&with_credentials(config, credentials)).get_session_token();
    let call = call.serial_number(&code.device.serial).token_code(code.digits.expose());
    from_sts(call.send().await.map_err(|error| context.user_session_failure(&error))?.credentials)
}

fn from_sts(answer: Option<aws_sdk_sts::types::Credentials>) -> Result<Credentials, Failure> {
    let answer = answer.ok_or_else(|| without_credentials("STS"))?;
    let (id, secret, token) = (answer.access_key_id, answer.secret_access_key, Some(answer.session_token));
    // Without an expiry, since the credentials sign one request or two.
    Ok(Credentials::new(id, secret, token, None, "STS"))
}

/// Rejects an access key or a session token that is no valid header value: the SDK panics over one.
fn check_header_values(credentials: &Credentials, source: &Source) -> Result<(), Failure> {
    let is_valid = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_valid(credentials.access_key_id()) && credentials.session_token().is_none_or(is_valid) {
        return Ok(());
    }
    let hint = match source {
        // They are in the file of the session, which no person edits.
        Source::Login(Login { profile, .. }) => format!("run 'aws login --profile {}'", shell_word(profile)),
        _ => "correct it at its source; in an AWS file, a line that begins with a blank continues the value before it"
            .to_owned(),
    };
    let what = format!("the access key or the session token of {source} holds invalid characters");
    Err(Failure::new(Code::CredentialsInvalid, what, hint))
}

/// Assumes the role of a web identity, with the token that was read for the cache key or that GitHub issues now.
async fn from_web_identity(config: &SdkConfig, of: &WebIdentity, context: &Context) -> Result<Credentials, Failure> {
    let token = match &of.token {
        IdentityToken::GitHub { url, bearer } => github::token(url, bearer, context).await?,
        IdentityToken::Variable { token, .. } | IdentityToken::ServiceAccount(token) => token.clone(),
        IdentityToken::File { file, .. } => {
            Secret::from(String::from_utf8_lossy(file.content.bytes().unwrap_or_default()).into_owned())
        }
    };
    let role = context.source().role_arn();
    debug!(role; "assuming the role");
    context.last.set_role(role);
    // STS requires no signature for this call.
    let call = sts_client(config, of.region.as_deref()).assume_role_with_web_identity();
    let call = call.role_arn(&of.role_arn).role_session_name(&of.session_name).web_identity_token(token.expose());
    let answer = call.send().await;
    context.last.set_role(None);
    from_sts(answer.map_err(|error| context.web_identity_failure(&error, of, &token))?.credentials)
}

/// Assumes a role, with the code of an MFA device where there is one. The SDK's provider sends no code.
async fn assume(
    config: &SdkConfig,
    credentials: Credentials,
    role: &Role,
    code: Option<&MfaCode>,
    context: &Context,
) -> Result<Credentials, Failure> {
    debug!(role = role.arn; "assuming the role");
    let started = Instant::now();
    context.last.set_role(Some(&role.arn));
    let call = sts_client(&with_credentials(config, credentials), role.region.as_deref()).assume_role();
    let call = call.role_arn(&role.arn).role_session_name(&role.session_name).set_external_id(role.external_id.clone());
    let call = call.set_serial_number(code.map(|code| code.device.serial.clone()));
    let call = call.set_token_code(code.map(|code| code.digits.expose().to_owned()));
    let answer = call.send().await.map_err(|error| context.role_failure(&error, role))?;
    context.last.set_role(None);
    let (endpoint, took_ms) = (context.last.authority(), started.elapsed().as_millis());
    debug!(role = role.arn, endpoint, took_ms; "STS gave credentials of the role");
    from_sts(answer.credentials)
}

fn sts_client(config: &SdkConfig, region: Option<&str>) -> aws_sdk_sts::Client {
    let region = region.map(|region| Region::new(region.to_owned())).or_else(|| config.region().cloned());
    aws_sdk_sts::Client::new(&config.to_builder().region(region).build())
}
