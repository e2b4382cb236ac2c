//! Resolves the credentials of a [`CredentialChain`](crate::identity::CredentialChain): asks its source and no other, then assumes its roles.
//!
//! A source holds what was read for the cache key, and nothing is read again. [`process`], [`container`], [`instance`], [`sso`] and
//! [`login`] get credentials from their sources.
//!
//! To add a source: add its type in `identity::sources`, which says what proves it, and its variant to [`Source`]; choose it in
//! `identity::chain` or `identity::link`, resolve it in [`from_source`], and add its test to `tests/suite/sources.rs`. Whatever gives
//! keys, they become [`SigningKeys`], which checks them.

use std::time::Instant;

use aws_config::SdkConfig;
use aws_sdk_sts::types::Credentials as StsCredentials;
use aws_types::region::Region;
use log::debug;

use super::context::Context;
use super::signing_keys::SigningKeys;
use super::{container, github, instance, login, process, sso};
use crate::code::Code;
use crate::config::{Keys, Role};
use crate::error::Failure;
use crate::identity::{IdentityToken, MfaDevice, Source, StaticKeys, WebIdentity};
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

/// The configuration of STS. For a dual-stack registry STS is asked at its dual-stack name too, since the network may have no
/// IPv4, unless a setting names its URL, which the SDK does not combine with that.
pub(super) fn sts_config(context: &Context) -> SdkConfig {
    let config = &context.config;
    let has_url = context.identity.endpoint_url("STS").is_some();
    if !context.target.registry.dual_stack() || config.use_dual_stack().is_some() || has_url {
        return config.clone();
    }
    config.to_builder().use_dual_stack(true).build()
}

/// Gets a session with MFA if there is a code for the user, and assumes the roles.
pub(super) async fn assume_roles(
    mut keys: SigningKeys,
    codes: &[MfaCode],
    context: &Context,
) -> Result<SigningKeys, Failure> {
    let config = sts_config(context);
    if let Some(code) = codes.iter().find(|code| code.device.role.is_none()) {
        keys = user_session(&config, &keys, code, context).await?;
    }
    for (index, role) in context.identity.chain.roles.iter().enumerate() {
        let code = codes.iter().find(|code| code.device.role == Some(index));
        keys = assume(&config, &keys, role, code, context).await?;
    }
    Ok(keys)
}

/// Asks the source of the identity in `context`, and no other.
pub(super) async fn from_source(context: &Context) -> Result<SigningKeys, Failure> {
    match context.source() {
        Source::Keys(of) => from_settings(of, context.source()),
        Source::Sso(sso) => sso::credentials(sso, context).await,
        Source::Login(of) => login::credentials(of),
        Source::Process(process) => process::credentials(process, context).await,
        Source::WebIdentity(of) => from_web_identity(&sts_config(context), of, context).await,
        Source::Container(container) => container::credentials(container, context).await,
        Source::Instance(instance) => instance::credentials(&instance.endpoint, context).await,
    }
}

fn from_settings(of: &StaticKeys, source: &Source) -> Result<SigningKeys, Failure> {
    let Keys { id, secret, token } = &of.keys;
    SigningKeys::new(id, secret.expose(), token.as_ref().map(Secret::expose)).map_err(|what| {
        let hint = match of.profile {
            Some(_) => "correct it; a line that begins with a blank continues the value before it",
            None => "correct it",
        };
        Failure::new(Code::CredentialsInvalid, format!("{source} {what}"), hint)
    })
}

/// Gets a session for the user of the keys, with the code of an MFA device.
async fn user_session(
    config: &SdkConfig,
    keys: &SigningKeys,
    code: &MfaCode,
    context: &Context,
) -> Result<SigningKeys, Failure> {
    context.last.set_service("STS", None);
    let call = aws_sdk_sts::Client::new(&keys.added_to(config)).get_session_token();
    let call = call.serial_number(&code.device.serial).token_code(code.digits.expose());
    from_sts(call.send().await.map_err(|error| context.user_session_failure(&error))?.credentials(), context)
}

fn from_sts(answer: Option<&StsCredentials>, context: &Context) -> Result<SigningKeys, Failure> {
    let found = answer.ok_or_else(|| context.unusable_answer("STS", "holds no credentials"))?;
    let keys = SigningKeys::new(found.access_key_id(), found.secret_access_key(), Some(found.session_token()));
    keys.map_err(|what| context.unusable_answer("STS", what))
}

/// Assumes the role of a web identity, with the token that was read for the cache key or that GitHub issues now.
async fn from_web_identity(config: &SdkConfig, of: &WebIdentity, context: &Context) -> Result<SigningKeys, Failure> {
    let token = match &of.token {
        IdentityToken::GitHub { url, bearer } => github::token(url, bearer, context).await?,
        IdentityToken::Variable { token, .. } | IdentityToken::ServiceAccount(token) => token.clone(),
        IdentityToken::File { file, .. } => {
            Secret::from(String::from_utf8_lossy(file.content.bytes().unwrap_or_default()).into_owned())
        }
    };
    let role = context.source().role_arn();
    debug!(role; "assuming the role");
    context.last.set_service("STS", role);
    // STS requires no signature for this call.
    let call = sts_client(config, of.region.as_deref()).assume_role_with_web_identity();
    let call = call.role_arn(&of.role_arn).role_session_name(&of.session_name).web_identity_token(token.expose());
    from_sts(
        call.send().await.map_err(|error| context.web_identity_failure(&error, of, &token))?.credentials(),
        context,
    )
}

/// Assumes a role, with the code of an MFA device where there is one. The SDK's provider sends no code.
async fn assume(
    config: &SdkConfig,
    keys: &SigningKeys,
    role: &Role,
    code: Option<&MfaCode>,
    context: &Context,
) -> Result<SigningKeys, Failure> {
    debug!(role = role.arn; "assuming the role");
    let started = Instant::now();
    context.last.set_service("STS", Some(&role.arn));
    let call = sts_client(&keys.added_to(config), role.region.as_deref()).assume_role();
    let call = call.role_arn(&role.arn).role_session_name(&role.session_name).set_external_id(role.external_id.clone());
    let call = call.set_serial_number(code.map(|code| code.device.serial.clone()));
    let call = call.set_token_code(code.map(|code| code.digits.expose().to_owned()));
    let answer =
        call.send().await.map_err(|error| context.role_failure(&error, role, code.map(|code| &code.digits)))?;
    let (endpoint, took_ms) = (context.last.authority(), started.elapsed().as_millis());
    debug!(role = role.arn, endpoint, took_ms; "STS gave credentials of the role");
    from_sts(answer.credentials(), context)
}

fn sts_client(config: &SdkConfig, region: Option<&str>) -> aws_sdk_sts::Client {
    let region = region.map(|region| Region::new(region.to_owned())).or_else(|| config.region().cloned());
    aws_sdk_sts::Client::new(&config.to_builder().region(region).build())
}
