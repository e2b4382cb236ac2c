//! Resolves the credentials of a [`Chain`](crate::identity::Chain): asks its source and no other, then assumes its roles.
//!
//! Keys and tokens are part of the identity, as they were read for the cache key. [`process`], [`container`], [`instance`]
//! and [`sso`] get credentials from their sources; an `aws login` session and roles go through the SDK's providers, each configured
//! to ask this one source.
//!
//! To add a source: add a variant to [`Source`], choose it in [`identity`](crate::identity), resolve it in [`from_source`], and
//! add its test to `tests/suite/sources.rs`.

use std::time::Instant;

use aws_config::SdkConfig;
use aws_config::login::LoginCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials};
use aws_types::region::Region;
use aws_types::service_config::ServiceConfigKey;
use log::debug;

use super::context::Context;
use super::sdk_setup::with_credentials;
use super::{container, github, instance, process, sso};
use crate::code::Code;
use crate::config::{AccountKeys, Keys, Role};
use crate::error::Failure;
use crate::identity::{IdentityToken, MfaDevice, Source, WebIdentity};
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
pub(super) async fn resolve(
    config: &SdkConfig,
    provider_config: &ProviderConfig,
    codes: &[MfaCode],
    context: &Context,
) -> Result<Credentials, Failure> {
    let sts = sts_config(config, context);
    let credentials = from_source(config, &sts, provider_config, context).await?;
    context.pending.set_role(None);
    check_header_values(&credentials, context.source())?;
    let assumed = Box::pin(assume_roles(&sts, credentials, codes, context));
    context.within_time_of_services(assumed).await
}

/// The configuration of STS. For a dual-stack registry STS is asked at its dual-stack name too, since the network may have no
/// IPv4, unless a setting names its URL, which the SDK does not combine with that.
fn sts_config(config: &SdkConfig, context: &Context) -> SdkConfig {
    let key = ServiceConfigKey::builder().service_id("STS").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let url = config.service_config().zip(key.ok()).and_then(|(settings, key)| settings.load_config(key));
    if !context.target.registry.dual_stack() || config.use_dual_stack().is_some() || url.is_some() {
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
    if let Some(code) = codes.iter().find(|code| code.device.is_for(None)) {
        let session = user_session(config, credentials, code).await;
        credentials = session.map_err(|error| context.user_session_failure(&error))?;
    }
    for (index, role) in context.identity.chain.roles.iter().enumerate() {
        let code = codes.iter().find(|code| code.device.is_for(Some(index)));
        credentials = assume(config, credentials, role, code, context).await?;
    }
    Ok(credentials)
}

async fn from_source(
    config: &SdkConfig,
    sts: &SdkConfig,
    provider_config: &ProviderConfig,
    context: &Context,
) -> Result<Credentials, Failure> {
    let resolved = match context.source() {
        Source::WebIdentity(of) => return from_web_identity(sts, of, context).await,
        Source::Sso(of) => return sso::credentials(config, of, context).await,
        Source::Environment(_, keys) | Source::Account(AccountKeys { keys, .. }) | Source::Profile(_, keys) => {
            Ok(from_keys(keys))
        }
        Source::ServiceAccount(account) => {
            let token = account.token.expose().to_owned();
            assume_with_token(sts, &account.role_arn, &account.session_name, token).await
        }
        Source::Login { arn, .. } => {
            LoginCredentialsProvider::builder(arn).configure(provider_config).build().provide_credentials().await
        }
        Source::Process { profile, command } => return process::credentials(profile, command, context).await,
        Source::Container(url) => return container::credentials(url, context).await,
        Source::Instance(endpoint) => return instance::credentials(endpoint, context).await,
    };
    resolved.map_err(|error| context.credentials_failure(&error))
}

/// Gets a session for the user of the keys, with the code of an MFA device.
async fn user_session(config: &SdkConfig, credentials: Credentials, code: &MfaCode) -> provider::Result {
    let config = with_credentials(config.clone(), credentials);
    let call = aws_sdk_sts::Client::new(&config).get_session_token();
    let call = call.serial_number(code.device.serial()).token_code(code.digits.expose());
    let answer = call.send().await.map_err(CredentialsError::provider_error)?.credentials;
    from_sts(answer, "session token")
}

/// Assumes a role with the code of an MFA device. The SDK's provider sends no code.
async fn assume_with_code(
    config: &SdkConfig,
    credentials: Credentials,
    role: &Role,
    code: &MfaCode,
) -> provider::Result {
    let mut config = with_credentials(config.clone(), credentials).into_builder();
    if let Some(region) = &role.region {
        config = config.region(Region::new(region.clone()));
    }
    let call = aws_sdk_sts::Client::new(&config.build()).assume_role();
    let call = call.role_arn(&role.arn).role_session_name(&role.session_name).set_external_id(role.external_id.clone());
    let call = call.serial_number(code.device.serial()).token_code(code.digits.expose());
    let answer = call.send().await.map_err(CredentialsError::provider_error)?.credentials;
    from_sts(answer, "role with MFA")
}

fn from_sts(answer: Option<aws_sdk_sts::types::Credentials>, provider: &'static str) -> provider::Result {
    let answer = answer.ok_or_else(|| CredentialsError::unhandled("the answer of STS holds no credentials"))?;
    let (id, secret, token) = (answer.access_key_id, answer.secret_access_key, Some(answer.session_token));
    // Without an expiry, since the credentials sign one request or two.
    Ok(Credentials::new(id, secret, token, None, provider))
}

/// Whether the provider of this source gave the credentials, by the feature that the SDK records in them.
pub(super) fn is_from_expected_provider(source: &Source, roles: &[Role], credentials: &Credentials) -> bool {
    let expected = match source {
        _ if !roles.is_empty() => AwsCredentialFeature::CredentialsStsAssumeRole,
        // Made here, or by a provider that records the same feature for two sources.
        _ => return true,
    };
    credentials.get_property::<Vec<AwsCredentialFeature>>().is_some_and(|features| features.contains(&expected))
}

/// Rejects an access key or a session token that is no valid header value: the SDK panics over one.
fn check_header_values(credentials: &Credentials, source: &Source) -> Result<(), Failure> {
    let is_valid = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_valid(credentials.access_key_id()) && credentials.session_token().is_none_or(is_valid) {
        return Ok(());
    }
    Err(Failure::new(
        Code::CredentialsInvalid,
        format!("the access key or the session token of {source} holds invalid characters"),
        "correct it at its source; in an AWS file, a line that begins with a blank continues the value before it",
    ))
}

fn from_keys(Keys { id, secret, token }: &Keys) -> Credentials {
    let token = token.as_ref().map(|token| token.expose().to_owned());
    Credentials::new(id, secret.expose(), token, None, "settings")
}

/// Assumes the role of a web identity, with the token that was read for the cache key or that GitHub issues now.
async fn from_web_identity(config: &SdkConfig, of: &WebIdentity, context: &Context) -> Result<Credentials, Failure> {
    let token = match &of.token {
        IdentityToken::GitHub(job) => github::token(job, context).await?,
        _ => Secret::from(String::from_utf8_lossy(&context.identity.held).into_owned()),
    };
    let in_region = of.region.as_ref().map(|region| config.to_builder().region(Region::new(region.clone())).build());
    let config = in_region.as_ref().unwrap_or(config);
    debug!(role = of.role_arn; "assuming the role");
    context.pending.set_role(Some(&of.role_arn));
    let assumed = assume_with_token(config, &of.role_arn, &of.session_name, token.expose().to_owned()).await;
    context.pending.set_role(None);
    assumed.map_err(|error| context.web_identity_failure(&error, of, &token))
}

/// Assumes a role with a token of another identity provider. STS requires no signature for this call.
async fn assume_with_token(config: &SdkConfig, role_arn: &str, session_name: &str, token: String) -> provider::Result {
    let call = aws_sdk_sts::Client::new(config).assume_role_with_web_identity();
    let call = call.role_arn(role_arn).role_session_name(session_name).web_identity_token(token);
    let answer = call.send().await.map_err(CredentialsError::provider_error)?.credentials;
    from_sts(answer, "web identity")
}

/// Assumes a role, with the code of an MFA device where there is one.
async fn assume(
    config: &SdkConfig,
    credentials: Credentials,
    role: &Role,
    code: Option<&MfaCode>,
    context: &Context,
) -> Result<Credentials, Failure> {
    debug!(role = role.arn; "assuming the role");
    let started = Instant::now();
    context.pending.set_role(Some(&role.arn));
    let assumed = match code {
        Some(code) => assume_with_code(config, credentials, role, code).await,
        None => assume_by_provider(config, credentials, role).await,
    };
    let credentials = assumed.map_err(|error| context.role_failure(&error, role))?;
    context.pending.set_role(None);
    let (endpoint, took_ms) = (context.network.last_authority(), started.elapsed().as_millis());
    debug!(role = role.arn, endpoint, took_ms; "STS gave credentials of the role");
    Ok(credentials)
}

async fn assume_by_provider(config: &SdkConfig, credentials: Credentials, role: &Role) -> provider::Result {
    let mut builder = AssumeRoleProvider::builder(&role.arn).session_name(&role.session_name).configure(config);
    if let Some(external_id) = &role.external_id {
        builder = builder.external_id(external_id);
    }
    if let Some(region) = &role.region {
        builder = builder.region(Region::new(region.clone()));
    }
    builder.build_from_provider(credentials).await.provide_credentials().await
}
