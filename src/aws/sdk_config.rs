//! Configures the SDK's clients from the settings that the identity was derived from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep, TokioSleep};
use aws_smithy_async::time::SystemTimeSource;

use super::http::{Network, fitting};
use super::settings::ServiceSettings;
use super::worker::time_left;
use crate::config::Target;
use crate::identity::Identity;

/// How long one connection attempt may take: the value of the other AWS SDKs.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// How long a service may send nothing before the attempt fails. Half of the default deadline, so that a service that
/// hangs gets two requests at most.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause before a retry. The SDK's 20 s are as long as the default deadline.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3);

/// The most attempts. The SDK works out all pauses up to the last attempt beforehand, and no deadline leaves time for as many.
const MOST_ATTEMPTS: u32 = 100;

/// Everything that a client needs except the credentials, by the settings that the identity was derived from. The SDK's own loader
/// would read them a second time. `attempts` overrides their number of attempts.
pub(super) fn sdk_config(
    target: &Target,
    identity: &Arc<Identity>,
    network: &Network,
    attempts: Option<u32>,
    deadline: Instant,
) -> SdkConfig {
    // Three attempts unless the setting has another number. The SDK itself panics over a value that it cannot parse.
    let by_setting = || identity.env.text("AWS_MAX_ATTEMPTS")?.parse().ok().filter(|&attempts| attempts > 0);
    let attempts = attempts.or_else(by_setting).unwrap_or(3).min(MOST_ATTEMPTS);
    let mut builder = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(target.registry.region().to_string()))
        .http_client(network.client())
        .retry_config(RetryConfig::standard().with_max_attempts(attempts).with_max_backoff(LONGEST_BACKOFF))
        .timeout_config(timeouts(attempts, deadline))
        .sleep_impl(Pauses { deadline })
        // It takes a name server or a proxy that hangs for a slow upload. The time limits are enough.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .time_source(SystemTimeSource::new())
        .app_name(AppName::new(crate::NAME).expect("the name has only characters that are allowed"));
    builder.set_use_fips(identity.flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"));
    builder.set_use_dual_stack(identity.flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"));
    builder.service_config(ServiceSettings(identity.clone())).build()
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

/// The configuration of a request that is not sent a second time while the first one is without an answer: it may have used up what it
/// gives, such as a refresh token.
pub(super) fn without_repeats(config: &SdkConfig, deadline: Instant) -> SdkConfig {
    let limits = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(time_left(deadline));
    config.to_builder().timeout_config(limits.build()).build()
}

/// A single attempt ends before the deadline, so that its own error names what did not answer. With more attempts, a shorter
/// limit would only repeat the request within the same time.
fn timeouts(attempts: u32, deadline: Instant) -> TimeoutConfig {
    let read_timeout = if attempts == 1 { READ_TIMEOUT.min(time_left(deadline)) } else { READ_TIMEOUT };
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(read_timeout).build()
}
