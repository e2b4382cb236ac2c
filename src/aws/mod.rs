//! The exchange: IAM credentials for an ECR token, through the AWS SDK. The only place that names `aws_*` crates and
//! the only asynchronous code; entered on a cache miss alone.
//!
//! A current-thread runtime runs one exchange under one deadline, in a thread of its own: what blocks in there, a
//! token file on a dead file system or a resolver, cannot keep the program from answering. Credentials are resolved
//! first and by themselves, since inside an API call their failure would surface as one of the connection. No
//! registry ids are sent: a token is good for every registry that the principal can reach in the region (Amazon ECR
//! API reference, GetAuthorizationToken).

mod dns;
mod explain;
mod http;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_types::DateTime;
use aws_types::service_config::ServiceConfigKey;
use tracing::debug;

use crate::config::Target;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::{Profiles, Source};
use crate::platform;
use crate::token::Token;
use explain::Context;
use http::Network;

/// How long one connection attempt may take; what the other AWS SDKs use.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// How long a service may be silent before the attempt counts as failed. Half of the default deadline, so that a
/// service that hangs is asked twice at the most.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause before a retry; the SDK's 20 s would eat the whole budget.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3);
/// What the exchange has to notice its deadline itself, before it is left to its fate.
const GRACE: Duration = Duration::from_millis(200);

/// A token as AWS gave it out.
#[derive(Debug)]
pub struct Issued {
    /// What clients log in with.
    pub token: Token,
    /// How long AWS says it lives on, by AWS's own clock, so that a wrong one here does no harm. `None` when it came
    /// expired, as those of emulators do, or without an expiry.
    pub life: Option<Duration>,
}

/// Credentials that were resolved, and what to use them with.
pub struct Session {
    config: SdkConfig,
    credentials: Credentials,
    context: Context,
}

impl Session {
    /// Resolves the credentials for `target`, by `deadline`.
    pub fn open(env: &Env, target: &Target, source: &Source, deadline: Instant) -> Result<Self, Failure> {
        let (env, target, source) = (env.clone(), target.clone(), source.clone());
        let process = if let Source::Process(profile) = &source { Some(profile.clone()) } else { None };
        run(deadline, async move { resolve(env, target, source).await }).unwrap_or_else(|| {
            Err(match (platform::kill_descendants(), process) {
                (true, Some(profile)) => Failure::new(
                    format!("the credential_process of profile '{profile}' did not finish in time and was stopped"),
                    "run it by hand to see what it waits for: it cannot ask for anything here, \
                     so sign in before, or raise AWS_ECR_TIMEOUT",
                ),
                _ => timed_out(),
            })
        })
    }

    /// The id of the access key that answered.
    pub fn access_key_id(&self) -> &str {
        self.credentials.access_key_id()
    }

    /// Asks ECR for the token, by `deadline`.
    pub fn request_token(self, deadline: Instant) -> Result<Issued, Failure> {
        run(deadline, async move { self.ask().await }).unwrap_or_else(|| Err(timed_out()))
    }

    async fn ask(self) -> Result<Issued, Failure> {
        let Self { config, credentials, context } = self;
        let config = config.into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build();
        let (authorization_token, expires_at) = if context.target.registry.is_public() {
            ask_public(&config, &context).await?
        } else {
            ask_private(&config, &context).await?
        };
        let token = authorization_token.as_deref().and_then(Token::decode).ok_or_else(|| {
            Failure::new(
                format!("the answer of {} holds no token that can be read", context.network.last_endpoint()),
                "check what answers there: AWS_ENDPOINT_URL, the proxy, a captive portal",
            )
        })?;
        let expires_at = expires_at.and_then(|at| SystemTime::try_from(at).ok());
        let life = expires_at.and_then(|at| at.duration_since(context.network.time_at_aws()).ok());
        Ok(Issued { token, life })
    }
}

/// Runs `work` in a thread and a runtime of its own; `None` when it is not done by `deadline`.
fn run<T: Send + 'static>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Option<Result<T, Failure>> {
    let (send, receive) = mpsc::sync_channel(1);
    let left = || deadline.saturating_duration_since(Instant::now());
    let budget = left();
    let worker = thread::Builder::new().spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return send.send(Some(Err(cannot_start(&error)))),
        };
        let answer = runtime.block_on(async { tokio::time::timeout(budget, work).await });
        runtime.shutdown_background();
        send.send(answer.ok())
    });
    match worker {
        Ok(_) => receive.recv_timeout(left() + GRACE).ok().flatten(),
        Err(error) => Some(Err(cannot_start(&error))),
    }
}

fn cannot_start(error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot start asking AWS: {error}"), "check the limits on processes and open files")
}

fn timed_out() -> Failure {
    Failure::new(
        "AWS did not answer in time",
        "check the network, HTTPS_PROXY and a VPC endpoint if there is one, or raise AWS_ECR_TIMEOUT",
    )
}

async fn resolve(env: Env, target: Target, source: Source) -> Result<Session, Failure> {
    let profiles = Profiles::load(&env);
    let profile = target.profile.as_deref().or(env.text("AWS_PROFILE")).unwrap_or("default");
    let network = Network::new(&env, &profiles, profile)?;
    let region = Region::new(target.registry.region.clone());
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(region.clone())
        .http_client(network.client())
        .retry_config(retry_config(&env))
        .timeout_config(timeouts.clone())
        .app_name(AppName::new(crate::NAME).expect("the name has only characters that are allowed"));
    if let Some(profile) = &target.profile {
        // Not the chain: it would prefer keys in the environment to the profile that was asked for.
        let config = ProviderConfig::without_region()
            .with_region(Some(region))
            .with_http_client(network.client())
            .with_retry_config(retry_config(&env))
            .with_timeout_config(timeouts);
        let provider = ProfileFileCredentialsProvider::builder().profile_name(profile).configure(&config).build();
        loader = loader.profile_name(profile).credentials_provider(provider);
    }
    let config = loader.load().await;
    let context = Context { env, profiles, target, source, network };
    let base = config.credentials_provider().expect("a chain or a profile was set");
    let mut credentials = base.provide_credentials().await.map_err(|error| context.credentials(&error))?;
    if let Some(role) = &context.target.role {
        debug!(role = role.arn, "assuming the role");
        let mut builder = AssumeRoleProvider::builder(&role.arn).session_name(&role.session_name).configure(&config);
        if let Some(external_id) = &role.external_id {
            builder = builder.external_id(external_id);
        }
        if let Some(region) = &role.region {
            builder = builder.region(Region::new(region.clone()));
        }
        let provider = builder.build_from_provider(credentials).await;
        credentials = provider.provide_credentials().await.map_err(|error| context.credentials(&error))?;
    }
    debug!(source = ?context.source, "credentials found");
    Ok(Session { config, credentials, context })
}

type Answer = (Option<String>, Option<DateTime>);

async fn ask_private(config: &SdkConfig, context: &Context) -> Result<Answer, Failure> {
    let Target { registry, endpoint_url, .. } = &context.target;
    let mut builder = aws_sdk_ecr::config::Builder::from(config);
    if let Some(url) = endpoint_url {
        builder.set_endpoint_url(Some(url.clone()));
        builder.set_use_fips(None);
        builder.set_use_dual_stack(None);
    } else if !has_custom_endpoint(config, "ECR") {
        builder.set_use_fips(registry.fips.then_some(true).or(config.use_fips()));
        builder.set_use_dual_stack(registry.dual_stack.then_some(true).or(config.use_dual_stack()));
    }
    let client = aws_sdk_ecr::Client::from_conf(builder.build());
    let output = client.get_authorization_token().send().await.map_err(|error| context.service(&error))?;
    let data = output.authorization_data.and_then(|data| data.into_iter().next());
    Ok(data.map_or((None, None), |data| (data.authorization_token, data.expires_at)))
}

async fn ask_public(config: &SdkConfig, context: &Context) -> Result<Answer, Failure> {
    let Target { registry, endpoint_url, .. } = &context.target;
    let mut builder = aws_sdk_ecrpublic::config::Builder::from(config);
    if let Some(url) = endpoint_url {
        builder.set_endpoint_url(Some(url.clone()));
    } else if !has_custom_endpoint(config, "ECR PUBLIC") {
        builder.set_use_dual_stack(registry.dual_stack.then_some(true).or(config.use_dual_stack()));
    }
    let client = aws_sdk_ecrpublic::Client::from_conf(builder.build());
    let output = client.get_authorization_token().send().await.map_err(|error| context.service(&error))?;
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
