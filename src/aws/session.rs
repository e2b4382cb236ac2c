//! Resolved credentials: the keys of the source, those of the roles that are assumed with them, and the call to ECR that exchanges
//! the last ones for a token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_ecr::types::AuthorizationData;
use log::debug;

use super::context::Context;
use super::credentials::{self, MfaCode};
use super::diagnose::PORTAL;
use super::endpoint::Endpoint;
use super::signing_keys::SigningKeys;
use super::worker::Worker;
use crate::code::Code;
use crate::error::Failure;
use crate::identity::CacheKey;
use crate::registry::Registry;
use crate::token::Token;

/// A token and its remaining lifetime.
#[derive(Debug)]
pub struct IssuedToken {
    /// What clients log in with.
    pub token: Token,
    /// How much longer AWS accepts it, by the clock of AWS, so that a wrong local clock has no effect, or the settings let anybody use
    /// it. `None` when it came expired or without an expiry time, like the tokens of emulators.
    pub valid_for: Option<Duration>,
}

/// Resolved credentials, with everything that a call with them needs.
#[derive(Clone)]
pub struct Session {
    pub(super) worker: Worker,
    pub(super) keys: SigningKeys,
    pub(super) context: Arc<Context>,
    pub(super) cache_key: Option<CacheKey>,
    pub(super) lasting_cache_key: Option<CacheKey>,
}

/// The keys of a source, with which the roles are to be assumed before anything is requested.
pub struct SourceKeys {
    pub(super) session: Session,
    /// How long the source took.
    pub(super) took: Duration,
}

impl SourceKeys {
    /// The key of the token that these very keys request by the roles, whatever settings led to them. `None` when no other settings
    /// could lead to them.
    pub fn cache_key(&self) -> Option<&CacheKey> {
        self.session.cache_key()
    }

    /// Assumes the roles, with the codes of MFA devices, by `deadline`.
    pub fn assume_roles(&self, codes: &[MfaCode], deadline: Instant) -> Result<Session, Failure> {
        let (session, codes, source_took) = (self.session.clone(), codes.to_vec(), self.took);
        self.session.step(deadline, async move {
            let started = Instant::now();
            let roles = credentials::assume_roles(session.keys, &codes, &session.context);
            let keys = session.context.within_time_of_services(Box::pin(roles)).await?;
            let took_ms = (source_took + started.elapsed()).as_millis();
            debug!(credentials = session.context.describe_caller(), took_ms; "credentials found");
            Ok(Session { keys, ..session })
        })
    }
}

/// No token is valid for longer (Amazon ECR API reference, GetAuthorizationToken). An emulator may answer with milliseconds or with
/// a time that no calendar has.
const LONGEST_LIFE: Duration = Duration::from_hours(12);

impl Session {
    /// The id of the access key that was resolved.
    pub fn access_key_id(&self) -> &str {
        self.keys.id()
    }

    /// The key of the [`SourceKeys`] that it began as.
    pub fn cache_key(&self) -> Option<&CacheKey> {
        self.cache_key.as_ref()
    }

    /// The same where these keys stand in the settings.
    pub fn lasting_cache_key(&self) -> Option<&CacheKey> {
        self.lasting_cache_key.as_ref()
    }

    /// Requests the token from ECR, by `deadline`.
    pub fn request_token(&self, deadline: Instant) -> Result<IssuedToken, Failure> {
        self.step(deadline, self.clone().ecr_token())
    }

    /// Runs a call with these credentials.
    pub(super) fn step<T: Send + 'static>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        self.worker.run(&self.context.last, deadline, call)
    }

    async fn ecr_token(self) -> Result<IssuedToken, Failure> {
        let Self { keys, context, .. } = self;
        let config = keys.added_to(&context.config);
        let started = Instant::now();
        context.last.set_service("ECR", None);
        let authorization = async {
            if context.target.registry.is_public() {
                public_authorization(&config, &context).await
            } else {
                private_authorization(&config, &context).await
            }
        };
        let data = context.within_time_of_services(authorization).await?;
        let answered_by = context.last.authority();
        let mut token = data.authorization_token.as_deref().and_then(Token::decode).ok_or_else(|| {
            Failure::new(
                Code::AnswerInvalid,
                format!("the answer of {answered_by} holds no valid token"),
                context.check(PORTAL),
            )
        })?;
        token.registry =
            data.proxy_endpoint.and_then(|url| Registry::parse(&url)).map(|registry| registry.host().to_string());
        debug!(endpoint = answered_by, took_ms = started.elapsed().as_millis(); "ECR gave a token");
        // What ends before it begins has no duration.
        let seconds = data.expires_at.map(|at| at.as_secs_f64() - context.last.time_at_aws().as_secs_f64());
        let valid_for = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(IssuedToken { token, valid_for: valid_for.map(|life| life.min(LONGEST_LIFE)) })
    }
}

async fn private_authorization(config: &SdkConfig, context: &Context) -> Result<AuthorizationData, Failure> {
    let Endpoint { url, fips, dual_stack } = context.endpoint.clone();
    let mut builder = aws_sdk_ecr::config::Builder::from(config);
    builder.set_endpoint_url(url).set_use_fips(fips).set_use_dual_stack(dual_stack);
    let client = aws_sdk_ecr::Client::from_conf(builder.build());
    let output = client.get_authorization_token().send().await.map_err(|error| context.ecr_failure(&error))?;
    Ok(output.authorization_data.unwrap_or_default().pop().unwrap_or_else(|| AuthorizationData::builder().build()))
}

/// The answer of ECR Public in the terms of ECR. It names no registry.
async fn public_authorization(config: &SdkConfig, context: &Context) -> Result<AuthorizationData, Failure> {
    let Endpoint { url, dual_stack, .. } = context.endpoint.clone();
    let mut builder = aws_sdk_ecrpublic::config::Builder::from(config);
    builder.set_endpoint_url(url).set_use_dual_stack(dual_stack);
    let client = aws_sdk_ecrpublic::Client::from_conf(builder.build());
    let output = client.get_authorization_token().send().await.map_err(|error| context.ecr_failure(&error))?;
    let (token, expires_at) = output.authorization_data.map(|data| (data.authorization_token, data.expires_at)).unzip();
    let data = AuthorizationData::builder().set_authorization_token(token.flatten());
    Ok(data.set_expires_at(expires_at.flatten()).build())
}
