//! The exchange: IAM credentials for an ECR token, through the AWS SDK. The only place that names `aws_*` crates and
//! the only asynchronous code; entered on a cache miss alone.
//!
//! A current-thread runtime runs one exchange under one budget. Credentials are resolved first and by themselves,
//! since inside an API call their failure would surface as one of the connection. No registry ids are sent: a token
//! is good for every registry that the principal can reach in the region (Amazon ECR API reference,
//! GetAuthorizationToken).

mod explain;
mod http;

pub use explain::Failure;

use std::time::{Duration, SystemTime};

use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_types::DateTime;
use aws_types::service_config::ServiceConfigKey;
use tracing::debug;

use crate::env::Env;
use crate::registry::Registry;
use crate::token::Token;

/// How long one connection attempt may take; what the other AWS SDKs use.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// How long a service may be silent before the attempt counts as failed: AWS answers within a second or not at all.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest pause before a retry; the SDK's 20 s would eat the whole budget.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3);

/// A token as AWS gave it out.
#[derive(Debug)]
pub struct Issued {
    /// What clients log in with.
    pub token: Token,
    /// When AWS says that it ends.
    pub expires_at: Option<SystemTime>,
}

/// Asks AWS for a token for `registry`, for at most `budget`.
pub fn request_token(env: &Env, registry: &Registry, budget: Duration) -> Result<Issued, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}"), "check the process and file limits"))?;
    let answer = runtime.block_on(async { tokio::time::timeout(budget, exchange(env, registry)).await });
    // A name look-up that hangs in the resolver's thread must not keep the process from ending.
    runtime.shutdown_background();
    answer.unwrap_or_else(|_| Err(Failure::timed_out(budget)))
}

async fn exchange(env: &Env, registry: &Registry) -> Result<Issued, Failure> {
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(registry.region.clone()))
        .http_client(http::client())
        .retry_config(retry_config(env))
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build())
        .app_name(AppName::new(crate::NAME).expect("the name has only characters that are allowed"))
        .load()
        .await;
    let provider = config.credentials_provider().expect("the default chain is never absent");
    let credentials = provider.provide_credentials().await.map_err(|error| explain::credentials(&error))?;
    debug!(registry = registry.host, region = registry.region, "credentials found, asking ECR for a token");
    let config = config.into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build();
    let (authorization_token, expires_at) = if registry.is_public() {
        ask_public(&config, registry).await?
    } else {
        ask_private(&config, registry).await?
    };
    let token = authorization_token.as_deref().and_then(Token::decode).ok_or_else(Failure::unreadable_token)?;
    Ok(Issued { token, expires_at: expires_at.and_then(|at| SystemTime::try_from(at).ok()) })
}

type Answer = (Option<String>, Option<DateTime>);

async fn ask_private(config: &SdkConfig, registry: &Registry) -> Result<Answer, Failure> {
    let mut builder = aws_sdk_ecr::config::Builder::from(config);
    if !has_custom_endpoint(config, "ECR") {
        builder.set_use_fips(registry.fips.then_some(true).or(config.use_fips()));
        builder.set_use_dual_stack(registry.dual_stack.then_some(true).or(config.use_dual_stack()));
    }
    let client = aws_sdk_ecr::Client::from_conf(builder.build());
    let output = client.get_authorization_token().send().await.map_err(|error| explain::service(&error))?;
    let data = output.authorization_data.and_then(|data| data.into_iter().next());
    Ok(data.map_or((None, None), |data| (data.authorization_token, data.expires_at)))
}

async fn ask_public(config: &SdkConfig, registry: &Registry) -> Result<Answer, Failure> {
    let mut builder = aws_sdk_ecrpublic::config::Builder::from(config);
    if !has_custom_endpoint(config, "ECR PUBLIC") {
        builder.set_use_dual_stack(registry.dual_stack.then_some(true).or(config.use_dual_stack()));
    }
    let client = aws_sdk_ecrpublic::Client::from_conf(builder.build());
    let output = client.get_authorization_token().send().await.map_err(|error| explain::service(&error))?;
    Ok(output.authorization_data.map_or((None, None), |data| (data.authorization_token, data.expires_at)))
}

/// Whether the user named the endpoint of a service. It then stands as it is: the SDK refuses to combine it with
/// FIPS or dual-stack, which here come from the spelling of the registry's host and not from a wish of the user.
fn has_custom_endpoint(config: &SdkConfig, service_id: &str) -> bool {
    let of_service = || {
        let key = ServiceConfigKey::builder()
            .service_id(service_id)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build()
            .expect("all three parts are set");
        config.service_config()?.load_config(key)
    };
    config.endpoint_url().is_some() || of_service().is_some()
}

/// Three attempts unless `AWS_MAX_ATTEMPTS` says otherwise. Set here because the SDK panics over a value that it
/// cannot read.
fn retry_config(env: &Env) -> RetryConfig {
    let attempts = env.text("AWS_MAX_ATTEMPTS").and_then(|value| value.parse().ok()).filter(|&attempts| attempts > 0);
    RetryConfig::standard().with_max_attempts(attempts.unwrap_or(3)).with_max_backoff(LONGEST_BACKOFF)
}
