//! The context of a request to AWS: for which registry and identity, over which network, until when.

use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use log::debug;

use super::endpoint::Endpoint;
use super::http::{LastRequest, Limits, Network, is_temporary};
use super::sdk_config::CONNECT_TIMEOUT;
use super::worker::time_left;
use crate::config::{DEFAULT_TIMEOUT, Role, Target};
use crate::env::Env;
use crate::error::Failure;
use crate::identity::{Identity, Source};
use crate::quote::without_path;

/// What a request depends on, and what the message about its failure names.
pub(super) struct Context {
    pub(super) target: Target,
    pub(super) identity: Arc<Identity>,
    pub(super) network: Network,
    pub(super) last: LastRequest,
    /// Everything that a client of the SDK needs except the credentials.
    pub(super) config: SdkConfig,
    pub(super) endpoint: Endpoint,
    pub(super) deadline: Instant,
    /// When the program that gave the credentials ended. It may have waited for a person, and services get their time after it.
    pub(super) asked_until: OnceLock<Instant>,
}

impl Context {
    /// Begins the connection to ECR, so that it is open when the credentials are resolved.
    pub(super) async fn preconnect(&self) {
        if !self.names_endpoint() {
            let network = self.network.clone();
            tokio::spawn(async move { network.read_certificates().await });
            tokio::task::yield_now().await;
        }
        if let Some(uri) = self.endpoint.resolve(&self.target).await {
            let endpoint = without_path(&uri.to_string());
            let proxy = self.network.proxy_for(&uri).ok().flatten();
            debug!(endpoint, proxy; "ECR will be asked");
            self.network.preconnect(uri, CONNECT_TIMEOUT).await;
        }
    }

    /// The limits of a request that is repeated as often as those of the SDK. It ends before the deadline, and its own error names what
    /// did not answer.
    pub(super) fn limits(&self, connect: Duration, read: Duration) -> Limits {
        let attempts = self.config.retry_config().map_or(1, RetryConfig::max_attempts);
        let left = time_left(self.deadline);
        let (connect, read) = (connect.min(left), read.min(left));
        let of_attempt = HttpConnectorSettings::builder().connect_timeout(connect).read_timeout(read).build();
        Limits { of_attempt, attempts, is_temporary, deadline: self.deadline }
    }

    /// Runs a part of the work that waits for services alone. After a person was asked, they have no more time than without one.
    pub(super) async fn within_time_of_services<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Some(ended) = self.asked_until.get().filter(|_| !self.target.time_for_person.is_zero()) else {
            return work.await;
        };
        let timed_out = |_| Err(self.last.timed_out());
        tokio::time::timeout_at((*ended + DEFAULT_TIMEOUT).into(), work).await.unwrap_or_else(timed_out)
    }

    pub(super) fn env(&self) -> &Env {
        &self.identity.env
    }

    pub(super) fn source(&self) -> &Source {
        self.identity.source()
    }

    /// Whether the environment or the configuration names the URL of a service. Such a URL may be one without TLS.
    fn names_endpoint(&self) -> bool {
        let by_variable = |name: &OsStr| name.as_encoded_bytes().starts_with(b"AWS_ENDPOINT_URL");
        let is_set = self.env().iter().any(|(name, value)| by_variable(name) && !value.is_empty());
        self.target.endpoint_url.is_some() || is_set
    }

    /// Describes the principal that calls ECR: the last role, or the source when there is no role.
    pub(super) fn describe_caller(&self) -> String {
        self.describe_after_roles(self.identity.chain.roles.len())
    }

    /// Describes the principal that assumes `role`.
    pub(super) fn describe_caller_of(&self, role: &Role) -> String {
        self.describe_after_roles(self.identity.chain.roles.iter().position(|other| other == role).unwrap_or(0))
    }

    fn describe_after_roles(&self, count: usize) -> String {
        match self.identity.chain.roles[..count].last() {
            Some(role) => format!("the role {}, assumed with {}", role.arn, self.source()),
            None => self.source().to_string(),
        }
    }
}
