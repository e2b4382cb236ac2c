//! Resolves a [`Chain`](crate::identity::Chain): asks its source, and nobody else, then assumes its roles.
//!
//! Keys and web identity tokens come with the identity, as they were read for the key. Processes, containers, instances and
//! `aws login` sessions are the SDK's providers, each told what to ask.

use std::time::{Instant, SystemTime};

use aws_config::SdkConfig;
use aws_config::credential_process::CredentialProcessProvider;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::{self, credentials::ImdsCredentialsProvider};
use aws_config::login::LoginCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials};
use aws_types::region::Region;
use tracing::debug;

use super::diagnose::Context;
use super::dns::Resolver;
use super::{github, sso, with_credentials};
use crate::code::Code;
use crate::config::{AccountKeys, Keys, Role};
use crate::error::Failure;
use crate::identity::{IdentityToken, MfaDevice, Source, WebIdentity};
use crate::platform;
use crate::secret::Secret;

/// What a person read off an MFA device.
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

/// The credentials of the identity in `context`.
pub(super) async fn resolve(
    config: &SdkConfig,
    for_providers: &ProviderConfig,
    codes: &[MfaCode],
    context: &Context,
) -> Result<Credentials, Failure> {
    let source = context.source();
    if let Source::WebIdentity(of) = source {
        let credentials = of_web_identity(config, of, context).await?;
        return assume_all(credentials, codes, config, context).await;
    }
    let found = match source {
        Source::Sso(of) => {
            return assume_all(sso::credentials(config, of, context).await?, codes, config, context).await;
        }
        Source::Environment(keys) | Source::Account(AccountKeys { keys, .. }) | Source::Profile(_, keys) => {
            Ok(of_keys(keys))
        }
        Source::ServiceAccount => match &context.target.service_account {
            Some(account) => {
                let token = account.token.expose().to_owned();
                with_token(config, &account.role_arn, &account.session_name, token).await
            }
            None => Err(CredentialsError::unhandled("there is no service account")),
        },
        Source::WebIdentity(_) => Err(CredentialsError::unhandled("web identities are resolved before")),
        Source::Login { arn, .. } => {
            LoginCredentialsProvider::builder(arn).configure(for_providers).build().provide_credentials().await
        }
        Source::Process { command, .. } => {
            platform::gather_descendants();
            CredentialProcessProvider::new(command.clone()).provide_credentials().await
        }
        Source::Container => {
            let provider = EcsCredentialsProvider::builder().configure(for_providers).dns(Resolver::new());
            provider.build().provide_credentials().await
        }
        Source::Instance(endpoint) => of_instance(endpoint, for_providers).await,
    };
    let credentials = found.map_err(|error| context.credentials(&error))?;
    context.asked.role(None);
    refuse_what_no_header_holds(&credentials, source)?;
    let credentials = match codes.iter().find(|code| code.device.is_for(None)) {
        Some(code) => with_code(config, credentials, code).await.map_err(|error| context.user_session(&error))?,
        None => credentials,
    };
    assume_all(credentials, codes, config, context).await
}

/// A session of the user whose keys these are, proven by the code of an MFA device.
async fn with_code(config: &SdkConfig, credentials: Credentials, code: &MfaCode) -> provider::Result {
    let config = with_credentials(config.clone(), credentials);
    let call = aws_sdk_sts::Client::new(&config).get_session_token();
    let call = call.serial_number(code.device.serial()).token_code(code.digits.expose());
    let answer = call.send().await.map_err(CredentialsError::provider_error)?.credentials;
    of_sts(answer, "session token")
}

/// The credentials of a role, proven by the code of an MFA device besides the caller's own.
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
    of_sts(answer, "role with MFA")
}

fn of_sts(answer: Option<aws_sdk_sts::types::Credentials>, provider: &'static str) -> provider::Result {
    let answer = answer.ok_or_else(|| CredentialsError::unhandled("the answer of STS holds no credentials"))?;
    let expiry = SystemTime::try_from(answer.expiration).ok();
    let (id, secret, token) = (answer.access_key_id, answer.secret_access_key, Some(answer.session_token));
    Ok(Credentials::new(id, secret, token, expiry, provider))
}

/// Whether it was the provider of this source that gave the credentials, by what the SDK notes on them.
pub(super) fn is_foreseen(source: &Source, roles: &[Role], credentials: &Credentials) -> bool {
    let expected = match source {
        _ if !roles.is_empty() => AwsCredentialFeature::CredentialsStsAssumeRole,
        Source::Process { .. } => AwsCredentialFeature::CredentialsProcess,
        Source::Container => AwsCredentialFeature::CredentialsHttp,
        Source::Instance(_) => AwsCredentialFeature::CredentialsImds,
        // Made here, or by a provider that notes the same for two ways.
        _ => return true,
    };
    credentials.get_property::<Vec<AwsCredentialFeature>>().is_some_and(|noted| noted.contains(&expected))
}

/// The SDK panics over an access key or a session token that does not fit into a header.
fn refuse_what_no_header_holds(credentials: &Credentials, source: &Source) -> Result<(), Failure> {
    let fits = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits(credentials.access_key_id()) && credentials.session_token().is_none_or(fits) {
        return Ok(());
    }
    Err(Failure::new(
        Code::CredentialsInvalid,
        format!("the access key or the session token of {source} holds characters that none has"),
        "check where it comes from: a line that begins with a blank continues the value before it, for one",
    ))
}

fn of_keys(Keys { id, secret, token }: &Keys) -> Credentials {
    let token = token.as_ref().map(|token| token.expose().to_owned());
    Credentials::new(id, secret.expose(), token, None, "settings")
}

/// The credentials of a web identity's role, with the token that was read for the key or that GitHub gives now.
async fn of_web_identity(config: &SdkConfig, of: &WebIdentity, context: &Context) -> Result<Credentials, Failure> {
    let token = match &of.token {
        IdentityToken::GitHub(job) if context.identity.held.is_empty() => github::token(job, context).await?,
        _ => Secret::from(String::from_utf8_lossy(&context.identity.held).into_owned()),
    };
    let in_region = of.region.as_ref().map(|region| config.to_builder().region(Region::new(region.clone())).build());
    let config = in_region.as_ref().unwrap_or(config);
    debug!(role = of.role_arn, "assuming the role");
    context.asked.role(Some(&of.role_arn));
    let found = with_token(config, &of.role_arn, &of.session_name, token.expose().to_owned()).await;
    context.asked.role(None);
    found.map_err(|error| context.web_identity(&error, of, &token))
}

/// The credentials of a role for a token of another identity provider. The token is the proof, so nothing signs this call.
async fn with_token(config: &SdkConfig, role_arn: &str, session_name: &str, token: String) -> provider::Result {
    let call = aws_sdk_sts::Client::new(config).assume_role_with_web_identity();
    let call = call.role_arn(role_arn).role_session_name(session_name).web_identity_token(token);
    let answer = call.send().await.map_err(CredentialsError::provider_error)?.credentials;
    of_sts(answer, "web identity")
}

async fn of_instance(endpoint: &str, for_providers: &ProviderConfig) -> provider::Result {
    let client = imds::Client::builder().configure(for_providers).endpoint(endpoint);
    let client = client.map_err(CredentialsError::invalid_configuration)?.build();
    let provider = ImdsCredentialsProvider::builder().configure(for_providers).imds_client(client).build();
    provider.provide_credentials().await
}

async fn assume_all(
    mut credentials: Credentials,
    codes: &[MfaCode],
    config: &SdkConfig,
    context: &Context,
) -> Result<Credentials, Failure> {
    for (index, role) in context.identity.chain.roles.iter().enumerate() {
        debug!(role = role.arn, "assuming the role");
        let started = Instant::now();
        context.asked.role(Some(&role.arn));
        if let Some(code) = codes.iter().find(|code| code.device.is_for(Some(index))) {
            let assumed = assume_with_code(config, credentials, role, code).await;
            credentials = assumed.map_err(|error| context.role(&error, role))?;
            context.asked.role(None);
            continue;
        }
        let mut builder = AssumeRoleProvider::builder(&role.arn).session_name(&role.session_name).configure(config);
        if let Some(external_id) = &role.external_id {
            builder = builder.external_id(external_id);
        }
        if let Some(region) = &role.region {
            builder = builder.region(Region::new(region.clone()));
        }
        let provider = builder.build_from_provider(credentials).await;
        credentials = provider.provide_credentials().await.map_err(|error| context.role(&error, role))?;
        context.asked.role(None);
        let (endpoint, took_ms) = (context.network.last_endpoint(), started.elapsed().as_millis());
        debug!(role = role.arn, endpoint, took_ms, "STS gave credentials of the role");
    }
    Ok(credentials)
}
