//! Configures the SDK's clients and credential providers from the settings that the identity was derived from.

use std::time::{Duration, Instant};

use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep, TokioSleep};
use aws_smithy_async::time::SystemTimeSource;
use log::debug;

use super::context::Context;
use super::endpoint::Endpoint;
use super::http::fitting;

use super::settings::Settings;
use super::worker::GRACE;
use crate::error::without_path;

/// How long one connection attempt may take: the value of the other AWS SDKs.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// How long a service may send nothing before the attempt fails. Half of the default deadline, so that a service that
/// hangs gets two requests at most.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause before a retry. The SDK's 20 s are as long as the default deadline.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3);

/// Everything that a call needs except the credentials.
pub(super) struct SdkSetup {
    pub(super) config: SdkConfig,
    pub(super) provider_config: ProviderConfig,
    pub(super) endpoint: Endpoint,
    pub(super) context: Context,
}

impl SdkSetup {
    /// Uses the settings that the identity was derived from. The SDK's own loader would read them a second time.
    pub(super) fn new(context: Context) -> Self {
        let Context { identity, target, network, .. } = &context;
        let settings = Settings::new(identity);
        let region = Region::new(target.registry.region().to_string());
        let timeouts = timeouts(&context);
        let fips = settings.flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint");
        let dual_stack = settings.flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint");
        let mut builder = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(region.clone())
            .http_client(network.client())
            .retry_config(retry_config(&context))
            .timeout_config(timeouts.clone())
            .sleep_impl(Pauses { deadline: context.deadline })
            .time_source(SystemTimeSource::new())
            .app_name(AppName::new(crate::NAME).expect("the name has only characters that are allowed"))
            .service_config(settings);
        builder.set_use_fips(fips).set_use_dual_stack(dual_stack);
        let config = builder.build();
        let provider_config = ProviderConfig::without_region()
            .with_region(Some(region))
            .with_use_fips(fips)
            .with_use_dual_stack(dual_stack)
            .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
            .with_http_client(network.client())
            .with_retry_config(retry_config(&context))
            .with_timeout_config(timeouts);
        let endpoint = Endpoint::new(&config, target);
        Self { config, provider_config, endpoint, context }
    }

    /// Begins the connection to ECR, so that it is open when the credentials are resolved.
    pub(super) async fn preconnect(&self) {
        if let Some(uri) = self.endpoint.resolve(&self.context.target).await {
            let endpoint = without_path(&uri.to_string());
            let proxy = self.context.network.proxy_for(&uri);
            debug!(endpoint, proxy; "ECR will be asked");
            self.context.network.preconnect(uri, CONNECT_TIMEOUT).await;
        }
    }
}

/// The pauses of the SDK's clients. A pause before another attempt is shortened where it would outlast the deadline, so that
/// the answer is the error of the last attempt, and not that time ran out.
#[derive(Debug)]
struct Pauses {
    deadline: Instant,
}

impl AsyncSleep for Pauses {
    fn sleep(&self, duration: Duration) -> Sleep {
        TokioSleep::new().sleep(fitting(duration, self.deadline))
    }
}

/// A single attempt ends before the deadline, so that its own error names what did not answer. With more attempts, a shorter
/// limit would only repeat the request within the same time.
fn timeouts(context: &Context) -> TimeoutConfig {
    let left = context.deadline.saturating_duration_since(Instant::now()).saturating_sub(GRACE);
    let is_single = retry_config(context).max_attempts() == 1;
    let read_timeout = if is_single { READ_TIMEOUT.min(left) } else { READ_TIMEOUT };
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(read_timeout).build()
}

/// Three attempts unless `AWS_MAX_ATTEMPTS` sets another number. The SDK itself panics over a value that it cannot parse.
pub(super) fn retry_config(context: &Context) -> RetryConfig {
    let attempts =
        context.env().text("AWS_MAX_ATTEMPTS").and_then(|value| value.parse().ok()).filter(|&attempts| attempts > 0);
    RetryConfig::standard()
        .with_max_attempts(if context.is_single { 1 } else { attempts.unwrap_or(3) })
        .with_max_backoff(LONGEST_BACKOFF)
}

pub(super) fn with_credentials(config: SdkConfig, credentials: Credentials) -> SdkConfig {
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build()
}
