//! The exchange: IAM credentials for an ECR token, through the AWS SDK. The only place that names `aws_*` crates and,
//! but for the wait for signals in [`platform`], the only asynchronous code; entered on a cache miss alone.
//!
//! A current-thread runtime runs one exchange under one deadline, in a thread of its own: what blocks in there, a
//! token file on a dead file system or a resolver, cannot keep the program from answering. Credentials are resolved
//! first and by themselves, since inside an API call their failure would surface as one of the connection. No
//! registry ids are sent: a token is good for every registry that the principal can reach in the region (Amazon ECR
//! API reference, GetAuthorizationToken).

mod credentials;
mod diagnose;
mod dns;
mod github;
mod http;
mod probe;
mod sdk_error;
mod settings;
mod sso;
mod tls;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ::http::Uri;
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_types::DateTime;
use aws_types::service_config::ServiceConfigKey;
use tracing::debug;

use crate::code::Code;
use crate::config::Target;
use crate::env::Env;
use crate::error::{Failure, mask_user_info};
use crate::identity::{Identity, IdentityToken, Source, WebIdentity};
use crate::platform;
use crate::secret::Secret;
use crate::token::Token;
pub use credentials::MfaCode;
use diagnose::Context;
use http::Network;
pub use probe::{RegistryAnswer, Route, ask_registry, route};
use settings::Settings;
use sso::SignIn;
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
    /// The id of the access key that asked for it.
    pub access_key_id: String,
    /// Whether the provider of credentials that answered is the one that the settings lead to.
    pub as_foreseen: bool,
}

/// Asks ECR for a token for `target`, with the credentials of `identity`, by `deadline`.
pub fn request_token(target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<Issued, Failure> {
    let (target, of, asked) = (target.clone(), identity.clone(), Asked::default());
    run(deadline, identity, &asked.clone(), async move {
        let context = context(target, of, asked, deadline)?;
        if !context.names_endpoint() {
            context.network.read_certificates().await;
        }
        let caller = SdkSetup::new(context);
        caller.begin_connection().await;
        Box::pin(caller.credentials(&[])).await?.ask().await
    })
}

/// Renews the sign-in of `identity`, if it has one that is about to end; whether its file is another now.
pub fn renew_sign_in(target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<bool, Failure> {
    let Source::Sso(sso) = identity.source() else { return Ok(false) };
    if !SignIn::read(&identity.held).is_some_and(|sign_in| sign_in.wants_renewal()) {
        return Ok(false);
    }
    let (target, of, sso, asked) = (target.clone(), identity.clone(), sso.clone(), Asked::default());
    run(deadline, identity, &asked.clone(), async move {
        let caller = SdkSetup::new(context(target, of, asked, deadline)?);
        sso::renew(&caller.config, &sso, &caller.context).await
    })
}

/// Asks GitHub for the identity token of the job that `identity` is of, if it is of one.
pub fn job_token(target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<Option<Secret>, Failure> {
    let Source::WebIdentity(WebIdentity { token: IdentityToken::GitHub(job), .. }) = identity.source() else {
        return Ok(None);
    };
    let (target, of, job, asked) = (target.clone(), identity.clone(), job.clone(), Asked::default());
    run(deadline, identity, &asked.clone(), async move {
        github::token(&job, &context(target, of, asked, deadline)?).await.map(Some)
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
    /// Resolves the credentials of `identity`, by `deadline`, for those who want to know them before they ask.
    pub fn open(target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<Self, Failure> {
        Self::open_with(target, identity, &[], deadline)
    }

    /// The same with the codes of MFA devices.
    pub fn open_with(
        target: &Target,
        identity: &Arc<Identity>,
        codes: &[MfaCode],
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let (target, of, codes, asked) = (target.clone(), identity.clone(), codes.to_vec(), Asked::default());
        run(deadline, identity, &asked.clone(), async move {
            Box::pin(SdkSetup::new(context(target, of, asked, deadline)?).credentials(&codes)).await
        })
    }

    /// The id of the access key that answered.
    pub fn access_key_id(&self) -> &str {
        self.credentials.access_key_id()
    }

    /// Asks ECR for the token, by `deadline`.
    pub fn request_token(self, deadline: Instant) -> Result<Issued, Failure> {
        let (identity, asked) = (self.context.identity.clone(), self.context.asked.clone());
        run(deadline, &identity, &asked, self.ask())
    }

    async fn ask(self) -> Result<Issued, Failure> {
        let Self { config, place, credentials, context } = self;
        let access_key_id = credentials.access_key_id().to_owned();
        let as_foreseen = credentials::is_foreseen(context.source(), &context.identity.chain.roles, &credentials);
        let config = with_credentials(config, credentials);
        let started = Instant::now();
        let (authorization_token, expires_at) = if context.target.registry.is_public() {
            ask_public(&config, place, &context).await?
        } else {
            ask_private(&config, place, &context).await?
        };
        let token = authorization_token.as_deref().and_then(Token::decode).ok_or_else(|| {
            Failure::new(
                Code::AnswerInvalid,
                format!("the answer of {} holds no token that can be read", context.network.last_endpoint()),
                "check what answers there: AWS_ENDPOINT_URL, the proxy, a captive portal",
            )
        })?;
        let (endpoint, took_ms) = (context.network.last_endpoint(), started.elapsed().as_millis());
        debug!(endpoint, took_ms, "ECR gave a token");
        let expires_at = expires_at.and_then(|at| SystemTime::try_from(at).ok());
        let life = expires_at.and_then(|at| at.duration_since(context.network.time_at_aws()).ok());
        Ok(Issued { token, life, access_key_id, as_foreseen })
    }
}

fn with_credentials(config: SdkConfig, credentials: Credentials) -> SdkConfig {
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build()
}

/// What was asked last, for the case that nobody answers: the host, and the role that it was asked for.
#[derive(Clone, Debug, Default)]
struct Asked(Arc<Mutex<(String, Option<String>)>>);

impl Asked {
    fn host(&self, host: &str) {
        host.clone_into(&mut self.lock().0);
    }

    fn role(&self, arn: Option<&str>) {
        self.lock().1 = arn.map(str::to_owned);
    }

    fn lock(&self) -> MutexGuard<'_, (String, Option<String>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.lock() {
            (host, _) if host.is_empty() => f.write_str("AWS"),
            (host, Some(role)) => write!(f, "STS at {host}, asked for the role {role},"),
            (host, None) => write!(f, "AWS at {host}"),
        }
    }
}

/// Runs `work` in a thread and a runtime of its own, until `deadline` at the latest.
fn run<T: Send + 'static>(
    deadline: Instant,
    identity: &Identity,
    asked: &Asked,
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
        Ok(_) => receive
            .recv_timeout(left() + GRACE)
            .ok()
            .flatten()
            .unwrap_or_else(|| Err(timed_out(identity.source(), asked))),
        Err(error) => Err(cannot_start(&error)),
    }
}

fn cannot_start(error: &std::io::Error) -> Failure {
    Failure::new(
        Code::SystemLimits,
        format!("cannot start asking AWS: {error}"),
        "check the limits on processes and open files",
    )
}

fn timed_out(source: &Source, asked: &Asked) -> Failure {
    match (platform::kill_descendants(), source) {
        (true, Source::Process { profile, .. }) => Failure::new(
            Code::CredentialProcess,
            format!("the credential_process of profile '{profile}' did not finish in time and was stopped"),
            "run it by hand to see what it waits for: it cannot ask for anything here, \
             so sign in before, or raise AWS_ECR_TIMEOUT",
        ),
        (_, Source::WebIdentity(WebIdentity { token: IdentityToken::GitHub(_), .. })) => Failure::new(
            Code::Timeout,
            "GitHub and AWS did not answer in time",
            "check the network and HTTPS_PROXY, or raise AWS_ECR_TIMEOUT",
        ),
        _ => Failure::new(
            Code::Timeout,
            format!("{asked} did not answer in time"),
            "check the network, HTTPS_PROXY and a VPC endpoint if there is one, or raise AWS_ECR_TIMEOUT",
        ),
    }
}

fn context(target: Target, identity: Arc<Identity>, asked: Asked, deadline: Instant) -> Result<Context, Failure> {
    Settings::new(&identity).check_endpoints(&target)?;
    let network = Network::new(&identity.env, Trust::new(&identity, deadline)?, asked.clone());
    Ok(Context { target, identity, network, asked, deadline })
}

/// Everything for a call but the credentials.
struct SdkSetup {
    config: SdkConfig,
    for_providers: ProviderConfig,
    place: Place,
    context: Context,
}

impl SdkSetup {
    /// Made from the settings that the identity was told from. The SDK's own loader would read them once more.
    fn new(context: Context) -> Self {
        let Context { identity, target, network, deadline, .. } = &context;
        let settings = Settings::new(identity);
        let region = Region::new(target.registry.region.clone());
        // A single attempt ends before the deadline, so that its own error tells what did not answer. With more attempts, a
        // shorter limit would only mean to ask twice in the same time.
        let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(GRACE);
        let is_single = retry_config(&identity.env).max_attempts() == 1;
        let read_timeout = if is_single { READ_TIMEOUT.min(left) } else { READ_TIMEOUT };
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(read_timeout);
        let timeouts = timeouts.build();
        let (fips, dual_stack) = (
            settings.flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
            settings.flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
        );
        let mut builder = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(region.clone())
            .http_client(network.client())
            .retry_config(retry_config(&identity.env))
            .timeout_config(timeouts.clone())
            .sleep_impl(TokioSleep::new())
            .time_source(SystemTimeSource::new())
            .app_name(AppName::new(crate::NAME).expect("the name has only characters that are allowed"))
            .service_config(settings);
        builder.set_use_fips(fips).set_use_dual_stack(dual_stack);
        let config = builder.build();
        let for_providers = ProviderConfig::without_region()
            .with_region(Some(region))
            .with_use_fips(fips)
            .with_use_dual_stack(dual_stack)
            .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
            .with_http_client(network.client())
            .with_retry_config(retry_config(&identity.env))
            .with_timeout_config(timeouts);
        let place = Place::new(&config, target);
        Self { config, for_providers, place, context }
    }

    /// Begins the connection to ECR, to have it when the credentials are there.
    async fn begin_connection(&self) {
        if let Some(uri) = self.place.resolve(&self.context.target).await {
            let endpoint = mask_user_info(&uri.to_string());
            let proxy = self.context.network.proxy_for(&uri);
            debug!(endpoint, proxy, "ECR will be asked");
            self.context.network.begin(uri, CONNECT_TIMEOUT).await;
        }
    }

    async fn credentials(self, codes: &[MfaCode]) -> Result<Session, Failure> {
        let Self { config, for_providers, place, context } = self;
        let started = Instant::now();
        let credentials = Box::pin(credentials::resolve(&config, &for_providers, codes, &context)).await?;
        debug!(credentials = context.caller(), took_ms = started.elapsed().as_millis(), "credentials found");
        Ok(Session { config, place, credentials, context: Arc::new(context) })
    }
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
