//! The exchange: IAM credentials for an ECR token, through the AWS SDK. The only place that names `aws_*` crates and
//! the only asynchronous code; entered on a cache miss alone.
//!
//! A current-thread runtime runs one exchange under one deadline, in a thread of its own: what blocks in there, a
//! token file on a dead file system or a resolver, cannot keep the program from answering. Credentials are resolved
//! first and by themselves, since inside an API call their failure would surface as one of the connection. No
//! registry ids are sent: a token is good for every registry that the principal can reach in the region (Amazon ECR
//! API reference, GetAuthorizationToken).

mod dns;
mod errors;
mod examine;
mod explain;
mod http;
mod tls;

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ::http::Uri;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_types::DateTime;
use aws_types::service_config::ServiceConfigKey;
use tracing::debug;

use crate::config::{ServiceAccount, Target};
use crate::env::Env;
use crate::error::Failure;
use crate::identity::{Profiles, Source};
use crate::platform;
use crate::token::Token;
pub use examine::{Route, route};
use explain::Context;
use http::Network;
use tls::Trust;

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

/// Asks ECR for a token for `target`, with the credentials that its settings lead to, by `deadline`.
pub fn request_token(env: &Env, target: &Target, source: &Source, deadline: Instant) -> Result<Issued, Failure> {
    let (env, target, of) = (env.clone(), target.clone(), source.clone());
    run(deadline, source, async move {
        let context = context(env, target, of)?;
        if !context.names_endpoint() {
            context.network.read_certificates().await;
        }
        let caller = Caller::new(context).await;
        caller.begin_connection().await;
        Box::pin(caller.credentials()).await?.ask().await
    })
}

/// Credentials that were resolved, and what to use them with.
#[derive(Clone)]
pub struct Session {
    config: SdkConfig,
    place: Place,
    credentials: Credentials,
    context: Arc<Context>,
}

impl Session {
    /// Resolves the credentials for `target`, by `deadline`, for those who want to know them before they ask.
    pub fn open(env: &Env, target: &Target, source: &Source, deadline: Instant) -> Result<Self, Failure> {
        let (env, target, of) = (env.clone(), target.clone(), source.clone());
        run(deadline, source, async move { Box::pin(Caller::new(context(env, target, of)?).await.credentials()).await })
    }

    /// The id of the access key that answered.
    pub fn access_key_id(&self) -> &str {
        self.credentials.access_key_id()
    }

    /// Asks ECR for the token, by `deadline`.
    pub fn request_token(self, deadline: Instant) -> Result<Issued, Failure> {
        let source = self.context.source.clone();
        run(deadline, &source, self.ask())
    }

    async fn ask(self) -> Result<Issued, Failure> {
        let Self { config, place, credentials, context } = self;
        let config = with_credentials(config, credentials);
        let (authorization_token, expires_at) = if context.target.registry.is_public() {
            ask_public(&config, place, &context).await?
        } else {
            ask_private(&config, place, &context).await?
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

fn with_credentials(config: SdkConfig, credentials: Credentials) -> SdkConfig {
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build()
}

/// Runs `work` in a thread and a runtime of its own, until `deadline` at the latest.
fn run<T: Send + 'static>(
    deadline: Instant,
    source: &Source,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    let (send, receive) = mpsc::sync_channel(1);
    let left = || deadline.saturating_duration_since(Instant::now());
    let budget = left();
    let worker = thread::Builder::new().spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return send.send(Some(Err(cannot_start(&error)))),
        };
        let answer = runtime.block_on(async { tokio::time::timeout(budget, work).await });
        let sent = send.send(answer.ok());
        runtime.shutdown_background();
        sent
    });
    match worker {
        Ok(_) => receive.recv_timeout(left() + GRACE).ok().flatten().unwrap_or_else(|| Err(timed_out(source))),
        Err(error) => Err(cannot_start(&error)),
    }
}

fn cannot_start(error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot start asking AWS: {error}"), "check the limits on processes and open files")
}

fn timed_out(source: &Source) -> Failure {
    match (platform::kill_descendants(), source) {
        (true, Source::Process(profile)) => Failure::new(
            format!("the credential_process of profile '{profile}' did not finish in time and was stopped"),
            "run it by hand to see what it waits for: it cannot ask for anything here, \
             so sign in before, or raise AWS_ECR_TIMEOUT",
        ),
        _ => Failure::new(
            "AWS did not answer in time",
            "check the network, HTTPS_PROXY and a VPC endpoint if there is one, or raise AWS_ECR_TIMEOUT",
        ),
    }
}

fn context(env: Env, target: Target, source: Source) -> Result<Context, Failure> {
    let profiles = Profiles::load(&env);
    let profile = target.profile.as_deref().or(env.text("AWS_PROFILE")).unwrap_or("default");
    let network = Network::new(&env, Trust::new(&env, &profiles, profile)?);
    Ok(Context { env, profiles, target, source, network })
}

/// Everything for a call but the credentials.
struct Caller {
    config: SdkConfig,
    for_providers: ProviderConfig,
    place: Place,
    context: Context,
}

impl Caller {
    async fn new(context: Context) -> Self {
        let Context { env, target, network, .. } = &context;
        let region = Region::new(target.registry.region.clone());
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(region.clone())
            .http_client(network.client())
            .retry_config(retry_config(env))
            .timeout_config(timeouts.clone())
            .app_name(AppName::new(crate::NAME).expect("the name has only characters that are allowed"))
            .no_credentials();
        if let Some(profile) = &target.profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        let for_providers = ProviderConfig::without_region()
            .with_region(Some(region))
            .with_http_client(network.client())
            .with_retry_config(retry_config(env))
            .with_timeout_config(timeouts);
        let place = Place::new(&config, target);
        Self { config, for_providers, place, context }
    }

    /// Begins the connection to ECR, to have it when the credentials are there.
    async fn begin_connection(&self) {
        if let Some(uri) = self.place.resolve(&self.context.target).await {
            self.context.network.begin(uri, CONNECT_TIMEOUT).await;
        }
    }

    async fn credentials(self) -> Result<Session, Failure> {
        let Self { config, for_providers, place, context } = self;
        let found = match &context.target.service_account {
            Some(account) => Box::pin(credentials_of(account, &config)).await,
            None => Box::pin(base_credentials(&for_providers, &context)).await,
        };
        let mut credentials = found.map_err(|error| context.credentials(&error))?;
        if let Some(role) = &context.target.role {
            debug!(role = role.arn, "assuming the role");
            let mut builder =
                AssumeRoleProvider::builder(&role.arn).session_name(&role.session_name).configure(&config);
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
        Ok(Session { config, place, credentials, context: Arc::new(context) })
    }
}

/// The credentials of the service account's role. The token is the proof, so nothing signs this call.
async fn credentials_of(account: &ServiceAccount, config: &SdkConfig) -> provider::Result {
    let call = aws_sdk_sts::Client::new(config).assume_role_with_web_identity();
    let call = call.role_arn(&account.role_arn).role_session_name(&account.session_name);
    let answer = call.web_identity_token(account.token.expose()).send().await;
    let answer = answer.map_err(CredentialsError::provider_error)?.credentials;
    let answer = answer.ok_or_else(|| CredentialsError::unhandled("the answer of STS holds no credentials"))?;
    let expiry = SystemTime::try_from(answer.expiration).ok();
    let (id, secret, token) = (answer.access_key_id, answer.secret_access_key, Some(answer.session_token));
    Ok(Credentials::new(id, secret, token, expiry, "service account"))
}

/// The credentials of the mapped profile, else of the SDK's chain. Its first two links, environment and profile, are
/// tried by themselves when the answer is to be expected there: the whole chain also makes clients for STS and
/// metadata services, a tenth of the CPU time of a cold answer.
async fn base_credentials(config: &ProviderConfig, context: &Context) -> provider::Result {
    let of_profile = ProfileFileCredentialsProvider::builder().configure(config);
    if let Some(profile) = &context.target.profile {
        // Not the chain: it would prefer keys in the environment to the profile that was asked for.
        return of_profile.profile_name(profile).build().provide_credentials().await;
    }
    if !matches!(context.source, Source::WebIdentity | Source::Container | Source::Instance) {
        let first = CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new())
            .or_else("Profile", of_profile.build());
        let found = first.provide_credentials().await;
        if !matches!(found, Err(CredentialsError::CredentialsNotLoaded(_))) {
            return found;
        }
    }
    let region = Region::new(context.target.registry.region.clone());
    let chain = DefaultCredentialsChain::builder().configure(config.clone()).region(region).build().await;
    chain.provide_credentials().await
}

/// Which endpoint of the service is asked, in the terms of the SDK.
#[derive(Clone)]
struct Place {
    /// As the user named it. It then stands as it is: the SDK refuses to combine it with FIPS or dual-stack where
    /// these come from the spelling of the registry's host and not from a wish of the user.
    url: Option<String>,
    fips: Option<bool>,
    dual_stack: Option<bool>,
}

impl Place {
    fn new(config: &SdkConfig, target: &Target) -> Self {
        let Target { registry, endpoint_url, .. } = target;
        if endpoint_url.is_some() {
            return Self { url: endpoint_url.clone(), fips: None, dual_stack: None };
        }
        let service_id = if registry.is_public() { "ECR PUBLIC" } else { "ECR" };
        let key =
            ServiceConfigKey::builder().service_id(service_id).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
        let key = key.expect("all three parts are set");
        let url = config.service_config().and_then(|settings| settings.load_config(key));
        let url = url.or_else(|| config.endpoint_url().map(str::to_owned));
        let spelled = url.is_none();
        let wish = |of_host: bool| (spelled && of_host).then_some(true);
        Self {
            url,
            fips: wish(registry.fips).or(config.use_fips()),
            dual_stack: wish(registry.dual_stack).or(config.use_dual_stack()),
        }
    }

    /// Its URL by the SDK's rules; `None` where these have none.
    async fn resolve(&self, target: &Target) -> Option<Uri> {
        let Self { url, fips, dual_stack } = self;
        let region = target.registry.region.as_str();
        let endpoint = if target.registry.is_public() {
            use aws_sdk_ecrpublic::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
            let params = Params::builder().region(region).set_endpoint(url.clone());
            let params = params.set_use_dual_stack(*dual_stack).build().ok()?;
            DefaultResolver::new().resolve_endpoint(&params).await.ok()?
        } else {
            use aws_sdk_ecr::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
            let params = Params::builder().region(region).set_endpoint(url.clone());
            let params = params.set_use_fips(*fips).set_use_dual_stack(*dual_stack).build().ok()?;
            DefaultResolver::new().resolve_endpoint(&params).await.ok()?
        };
        endpoint.url().parse().ok()
    }
}

type Answer = (Option<String>, Option<DateTime>);

async fn ask_private(config: &SdkConfig, place: Place, context: &Context) -> Result<Answer, Failure> {
    let mut builder = aws_sdk_ecr::config::Builder::from(config);
    builder.set_endpoint_url(place.url).set_use_fips(place.fips).set_use_dual_stack(place.dual_stack);
    let client = aws_sdk_ecr::Client::from_conf(builder.build());
    let output = client.get_authorization_token().send().await.map_err(|error| context.service(&error))?;
    let data = output.authorization_data.and_then(|data| data.into_iter().next());
    Ok(data.map_or((None, None), |data| (data.authorization_token, data.expires_at)))
}

async fn ask_public(config: &SdkConfig, place: Place, context: &Context) -> Result<Answer, Failure> {
    let mut builder = aws_sdk_ecrpublic::config::Builder::from(config);
    builder.set_endpoint_url(place.url).set_use_dual_stack(place.dual_stack);
    let client = aws_sdk_ecrpublic::Client::from_conf(builder.build());
    let output = client.get_authorization_token().send().await.map_err(|error| context.service(&error))?;
    Ok(output.authorization_data.map_or((None, None), |data| (data.authorization_token, data.expires_at)))
}

/// Three attempts unless `AWS_MAX_ATTEMPTS` says otherwise. Set here because the SDK panics over a value that it
/// cannot read.
fn retry_config(env: &Env) -> RetryConfig {
    let attempts = env.text("AWS_MAX_ATTEMPTS").and_then(|value| value.parse().ok()).filter(|&attempts| attempts > 0);
    RetryConfig::standard().with_max_attempts(attempts.unwrap_or(3)).with_max_backoff(LONGEST_BACKOFF)
}
