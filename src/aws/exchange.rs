//! One exchange with AWS: all its steps run on one [worker](super::worker), over one set of connections.
//!
//! The renewal of a sign-in, the credentials, the token and what `doctor` asks are steps, each with a deadline.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use super::context::Context;
use super::credentials;
use super::endpoint::Endpoint;
use super::http::{LastRequest, Network, PROXY_VARIABLES};
use super::renewal::{self, Renewal};
use super::sdk_config::sdk_config;
use super::session::{Session, SourceKeys};
use super::signing_keys::SigningKeys;
use super::tls::Trust;
use super::worker::Worker;
use crate::config::Target;
use crate::error::Failure;
use crate::identity::{CacheKey, Identity, Source, credentials_key};

/// The steps towards a token. Clones share the worker and its connections.
#[derive(Clone, Default)]
pub struct Exchange {
    worker: Worker,
    network: Arc<Mutex<Option<Result<Network, Failure>>>>,
    last: LastRequest,
    /// How often a request is sent, if the settings do not decide it.
    attempts: Option<u32>,
}

impl Exchange {
    /// An exchange that repeats no failed request.
    pub fn without_retries() -> Self {
        Self { attempts: Some(1), ..Self::default() }
    }

    /// An exchange on the same worker, over connections of its own, for a target with other settings.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { worker: self.worker.clone(), attempts: self.attempts, ..Self::default() }
    }

    /// Renews the sign-in of `identity`, if it has one.
    pub fn renew_sign_in(
        &self,
        target: &Target,
        identity: &Arc<Identity>,
        deadline: Instant,
    ) -> Result<Renewal, Failure> {
        self.step(target, identity, deadline, |context| async move { renewal::renew(&context).await })
    }

    /// Opens a connection to ECR, while credentials are resolved.
    pub fn preconnect(&self, target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<(), Failure> {
        self.step(target, identity, deadline, |context| async move {
            context.preconnect().await;
            Ok(())
        })
    }

    /// Asks the source of `identity` for its keys.
    pub fn ask_source(
        &self,
        target: &Target,
        identity: &Arc<Identity>,
        deadline: Instant,
    ) -> Result<SourceKeys, Failure> {
        let worker = self.worker.clone();
        self.step(target, identity, deadline, |context| async move {
            let started = Instant::now();
            let keys = Box::pin(credentials::from_source(&context)).await;
            let keys = keys.map_err(|failure| renewal::explain(failure, &context))?;
            let took = started.elapsed();
            let key = cache_key(&keys, &context).await;
            let (cache_key, lasting_cache_key) = match context.source() {
                Source::Keys(_) => (None, key),
                source => (key.filter(|_| source.may_give_same_keys()), None),
            };
            let context = Arc::new(context);
            Ok(SourceKeys { session: Session { worker, keys, context, cache_key, lasting_cache_key }, took })
        })
    }

    /// Runs a step in a context for `target` and `identity`.
    pub(super) fn step<T, F>(
        &self,
        target: &Target,
        identity: &Arc<Identity>,
        deadline: Instant,
        work: impl FnOnce(Context) -> F + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let (exchange, target, shared) = (self.clone(), target.clone(), identity.clone());
        self.worker.run(&self.last, deadline, async move {
            shared.check_endpoints(&target)?;
            let network = exchange.network(&target, &shared, deadline)?;
            let config = sdk_config(&target, &shared, &network, exchange.attempts, deadline);
            let endpoint = Endpoint::new(&config, &shared, &target);
            let (identity, last, asked_until) = (shared, exchange.last, OnceLock::new());
            work(Context { target, identity, network, last, config, endpoint, deadline, asked_until }).await
        })
    }

    /// The connections, or why there are none, by the settings of the first step. What they name is read once: it may be a pipe,
    /// which gives its content once, or makes its reader wait until the deadline.
    fn network(&self, target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<Network, Failure> {
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = &*network {
            return network.clone();
        }
        let trust = Trust::new(target, identity, deadline);
        network.insert(trust.map(|trust| Network::new(&identity.env, trust, self.last.clone()))).clone()
    }
}

/// The key of the token that these keys of the source request by the roles.
async fn cache_key(keys: &SigningKeys, context: &Context) -> Option<CacheKey> {
    let Context { target, identity, network, .. } = context;
    let uri = context.endpoint.resolve(target).await?;
    let (endpoint, proxy, certificates) = (uri.to_string(), network.proxy_for(&uri).ok()?, network.describe_roots());
    let (roles, sts) = (&identity.chain.roles, credentials::sts_config(context));
    // STS may be reached by a proxy where ECR is not.
    let proxies = PROXY_VARIABLES.map(|name| context.env().text(name));
    let sts = (identity.endpoint_url("STS"), sts.use_fips(), sts.use_dual_stack(), proxies);
    Some(credentials_key(&target.registry, &endpoint, proxy.as_deref(), certificates, keys.parts(), roles, sts))
}
