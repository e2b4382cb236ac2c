//! What `doctor` asks beside a token: the way to the API, the principal, the clock, the registry itself.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use aws_smithy_types::body::SdkBody;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, StatusCode};
use zeroize::Zeroizing;

use super::{CONNECT_TIMEOUT, Caller, READ_TIMEOUT, Session, context, run, with_credentials};
use crate::code::Code;
use crate::config::Target;
use crate::error::{Failure, mask_user_info};
use crate::identity::Identity;
use crate::token::Token;

/// The way to the ECR API.
#[derive(Debug)]
pub struct Route {
    /// Its URL.
    pub endpoint: String,
    /// Host and port of the proxy that the request goes through.
    pub proxy: Option<String>,
    /// Whose certificates are trusted.
    pub roots: String,
}

/// The way that a request for `target` would take. Nothing is sent.
pub fn route(target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<Route, Failure> {
    let (target, of) = (target.clone(), identity.clone());
    run(deadline, identity, async move {
        let Caller { place, context, .. } = Caller::new(context(target, of, deadline)?);
        let uri = place.resolve(&context.target).await.ok_or_else(|| {
            Failure::new(
                Code::NoEndpoint,
                format!("there is no endpoint for these settings in {}", context.target.registry.region),
                "check AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT and the endpoint URL that is set",
            )
        })?;
        let proxy = context.network.proxy_for(&uri);
        Ok(Route { endpoint: mask_user_info(&uri.to_string()), proxy, roots: context.network.roots() })
    })
}

impl Session {
    /// The ARN of the principal, from STS GetCallerIdentity, which needs no permission (AWS STS API reference).
    pub fn principal(&self, deadline: Instant) -> Result<String, Failure> {
        let Self { config, credentials, context, .. } = self.clone();
        let identity = context.identity.clone();
        run(deadline, &identity, async move {
            let client = aws_sdk_sts::Client::new(&with_credentials(config, credentials));
            let answer = client.get_caller_identity().send().await.map_err(|error| context.other("STS", &error))?;
            Ok(answer.arn.unwrap_or_default())
        })
    }

    /// By how many seconds this machine's clock is ahead of AWS's, by the last answer.
    pub fn clock_ahead(&self) -> i64 {
        let (here, there) = (SystemTime::now(), self.context.network.time_at_aws());
        let seconds = |ahead: std::time::Duration| i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX);
        here.duration_since(there).map_or_else(|behind| -seconds(behind.duration()), seconds)
    }

    /// What the registry says to the token at `/v2/` (OCI distribution specification, "Determining support").
    pub fn check_registry(&self, token: &Token, deadline: Instant) -> Result<StatusCode, Failure> {
        let context = self.context.clone();
        let pair = Zeroizing::new(format!("{}:{}", token.username, token.password.expose()));
        let basic = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
        let identity = context.identity.clone();
        run(deadline, &identity, async move {
            let request = Request::get(format!("https://{}/v2/", context.target.host)).body(SdkBody::empty());
            let mut request = request.expect("a host makes a URL");
            let mut basic = HeaderValue::from_str(&basic).expect("base64 fits into a header");
            basic.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, basic);
            let settings = HttpConnectorSettings::builder();
            let settings = settings.connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
            let answer =
                context.network.exchange(request, &settings).await.map_err(|error| context.registry(&error))?;
            Ok(StatusCode::from_u16(answer.status().as_u16()).unwrap_or_default())
        })
    }
}
