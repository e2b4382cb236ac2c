//! One exchange with AWS: all its steps run on one [worker](super::worker), over one set of connections.
//!
//! The renewal of a sign-in, the credentials, the token and what `doctor` asks are steps, each with a deadline.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use aws_credential_types::Credentials;
use log::debug;

use super::context::Context;
use super::credentials::{self, MfaCode};
use super::endpoint::Endpoint;
use super::http::Network;
use super::pending::PendingRequest;
use super::sdk_setup::SdkSetup;
use super::session::Session;
use super::settings::Settings;
use super::sso::{self, Renewal};
use super::tls::Trust;
use super::worker::Worker;
use crate::config::Target;
use crate::error::Failure;
use crate::identity::{CacheKey, Identity, Source, credentials_key};

/// The steps towards a token. Clones share the worker and its connections.
#[derive(Clone, Default)]
pub struct Exchange {
    worker: Worker,
    network: Arc<Mutex<Option<Network>>>,
    pending: PendingRequest,
    is_single: bool,
}

impl Exchange {
    /// An exchange that repeats no failed request.
    pub fn without_retries() -> Self {
        Self { is_single: true, ..Self::default() }
    }

    /// An exchange on the same worker, over connections of its own, for a target with other settings.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { worker: self.worker.clone(), is_single: self.is_single, ..Self::default() }
    }

    /// Renews the sign-in of `identity`, if it has one.
    pub fn renew_sign_in(
        &self,
        target: &Target,
        identity: &Arc<Identity>,
        deadline: Instant,
    ) -> Result<Renewal, Failure> {
        let Source::Sso(sso) = identity.source() else { return Ok(Renewal::Unchanged) };
        let sso = sso.clone();
        self.step(target, identity, deadline, |context| async move {
            let setup = SdkSetup::new(context);
            sso::renew(&setup.config, &sso, &setup.context).await
        })
    }

    /// Opens a connection to ECR, while credentials are resolved.
    pub fn preconnect(&self, target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<(), Failure> {
        self.step(target, identity, deadline, |context| async move {
            if !context.names_endpoint() {
                context.network.read_certificates().await;
            }
            SdkSetup::new(context).preconnect().await;
            Ok(())
        })
    }

    /// Resolves the credentials of `identity`, with the codes of MFA devices.
    pub fn open_session(
        &self,
        target: &Target,
        identity: &Arc<Identity>,
        codes: &[MfaCode],
        deadline: Instant,
    ) -> Result<Session, Failure> {
        let (worker, codes) = (self.worker.clone(), codes.to_vec());
        self.step(target, identity, deadline, |context| async move {
            Box::pin(open_session(SdkSetup::new(context), &codes, worker)).await
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
        self.worker.run(identity, &self.pending, deadline, async move {
            Settings::new(&shared).check_endpoints(&target)?;
            let network = exchange.network(&target, &shared, deadline)?;
            let Self { pending, is_single, .. } = exchange;
            let asked_until = OnceLock::new();
            work(Context { target, identity: shared, network, pending, is_single, deadline, asked_until }).await
        })
    }

    /// The connections, by the settings of the first step.
    fn network(&self, target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<Network, Failure> {
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = &*network {
            return Ok(network.clone());
        }
        let trust = Trust::new(target, identity, deadline)?;
        Ok(network.insert(Network::new(&identity.env, trust, self.pending.clone())).clone())
    }
}

/// Resolves the credentials, with the codes of MFA devices.
async fn open_session(setup: SdkSetup, codes: &[MfaCode], worker: Worker) -> Result<Session, Failure> {
    let SdkSetup { config, provider_config, endpoint, context } = setup;
    let started = Instant::now();
    let credentials = Box::pin(credentials::resolve(&config, &provider_config, codes, &context)).await?;
    let took_ms = started.elapsed().as_millis();
    debug!(credentials = context.describe_caller(), took_ms; "credentials found");
    let cache_key = cache_key(&endpoint, &credentials, &context).await;
    Ok(Session { worker, config, endpoint, credentials, context: Arc::new(context), cache_key })
}

/// The key of the token that these credentials request, if other settings may lead to them too.
async fn cache_key(endpoint: &Endpoint, credentials: &Credentials, context: &Context) -> Option<CacheKey> {
    if !context.identity.may_give_same_credentials() {
        return None;
    }
    let uri = endpoint.resolve(&context.target).await?;
    let token = credentials.session_token().unwrap_or_default();
    let parts = [credentials.access_key_id(), credentials.secret_access_key(), token];
    let proxy = context.network.proxy_for(&uri);
    Some(credentials_key(&context.target.registry, &uri.to_string(), proxy.as_deref(), parts))
}
