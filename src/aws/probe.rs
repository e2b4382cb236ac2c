//! What `doctor` asks beside a token: the way to the API, the principal, the clock, the registry itself.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityOutput;
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT, AUTHORIZATION};

use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use zeroize::Zeroizing;

use super::diagnose::Context;
use super::settings::Settings;
use super::{Asked, CONNECT_TIMEOUT, READ_TIMEOUT, SdkSetup, Session, context, run, with_credentials};
use crate::code::Code;
use crate::config::Target;
use crate::error::{Failure, mask_user_info, without_secrets};
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
    let (target, of, asked) = (target.clone(), identity.clone(), Asked::default());
    run(deadline, identity, &asked.clone(), async move {
        let SdkSetup { place, context, .. } = SdkSetup::new(context(target, of, asked, deadline)?);
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
    /// The ARN of the principal.
    pub fn principal(&self, deadline: Instant) -> Result<String, Failure> {
        Ok(self.caller_identity(deadline)?.arn.unwrap_or_default())
    }

    /// The account of the principal.
    pub fn account(&self, deadline: Instant) -> Result<String, Failure> {
        Ok(self.caller_identity(deadline)?.account.unwrap_or_default())
    }

    /// STS GetCallerIdentity, which needs no permission (AWS STS API reference).
    fn caller_identity(&self, deadline: Instant) -> Result<GetCallerIdentityOutput, Failure> {
        let Self { config, credentials, context, .. } = self.clone();
        let (identity, asked) = (context.identity.clone(), context.asked.clone());
        run(deadline, &identity, &asked, async move {
            Settings::new(&context.identity).check_endpoint("STS")?;
            let client = aws_sdk_sts::Client::new(&with_credentials(config, credentials));
            client.get_caller_identity().send().await.map_err(|error| context.other("STS", &error))
        })
    }

    /// By how many seconds this machine's clock is ahead of AWS's, by the last answer.
    pub fn clock_ahead(&self) -> i64 {
        let (here, there) = (SystemTime::now(), self.context.network.time_at_aws());
        let seconds = |ahead: std::time::Duration| i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX);
        here.duration_since(there).map_or_else(|behind| -seconds(behind.duration()), seconds)
    }
}

/// What a registry answered.
#[derive(Debug)]
pub struct RegistryAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The code of the first error in the body (OCI distribution specification, "Error Codes"); empty without one.
    pub code: String,
    /// The message beside it, for people.
    pub message: String,
}

/// Asks the registry of `target` for `path`, e.g. `/v2/`, as a client would: with the token if there is one, and where the
/// registry wants a bearer token, as ECR Public does, with one that it gives out for that.
pub fn ask_registry(
    target: &Target,
    identity: &Arc<Identity>,
    token: Option<&Token>,
    path: &str,
    deadline: Instant,
) -> Result<RegistryAnswer, Failure> {
    let (target, of, path, asked) = (target.clone(), identity.clone(), path.to_owned(), Asked::default());
    let basic = token.map(|token| {
        let pair = Zeroizing::new(format!("{}:{}", token.username, token.password.expose()));
        Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())))
    });
    run(deadline, identity, &asked.clone(), async move {
        let context = context(target, of, asked, deadline)?;
        let url = format!("https://{}{path}", context.target.host);
        let mut authorization = basic.clone();
        let mut answer = send(&context, Method::HEAD, &url, basic.as_deref()).await?;
        let challenge = answer.headers().get("www-authenticate");
        if let Some(token_url) = challenge.and_then(|value| token_url(value, &context.target.host))
            && answer.status().as_u16() == 401
        {
            let given = send(&context, Method::GET, &token_url, basic.as_deref()).await?;
            let given: Value = serde_json::from_slice(&body(given, &context).await?).unwrap_or_default();
            let bearer = given["token"].as_str().or_else(|| given["access_token"].as_str());
            authorization = bearer.map(|bearer| Zeroizing::new(format!("Bearer {bearer}")));
            answer = send(&context, Method::HEAD, &url, authorization.as_deref()).await?;
        }
        // The answer to HEAD has no body, and only that says what is wrong.
        if answer.status().as_u16() != 200 {
            answer = send(&context, Method::GET, &url, authorization.as_deref()).await?;
        }
        let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or_default();
        let answer: Value = match status {
            StatusCode::OK => Value::Null,
            _ => serde_json::from_slice(&body(answer, &context).await?).unwrap_or_default(),
        };
        let error = answer.pointer("/errors/0").unwrap_or(&Value::Null);
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        Ok(RegistryAnswer { status, code: text("code"), message: without_secrets(&text("message")) })
    })
}

async fn send(
    context: &Context,
    method: Method,
    url: &str,
    authorization: Option<&String>,
) -> Result<HttpResponse, Failure> {
    let mut request =
        Request::builder().method(method).uri(url).header(ACCEPT, MANIFESTS).body(SdkBody::empty()).map_err(|_| {
            Failure::new(Code::RegistryAnswer, "the registry names a URL that is none", "check what answers there")
        })?;
    if let Some(authorization) = authorization {
        let mut value = HeaderValue::from_str(authorization).expect("a token fits into a header");
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
    context.network.exchange(request, &settings).await.map_err(|error| context.registry(&error))
}

async fn body(answer: HttpResponse, context: &Context) -> Result<Vec<u8>, Failure> {
    let collected = answer.into_body().collect().await;
    let unreadable = |_| {
        let what = format!("the answer of {} cannot be read", context.target.host);
        Failure::new(Code::RegistryAnswer, what, "try again; check the network")
    };
    Ok(collected.map_err(unreadable)?.to_bytes().to_vec())
}

/// Where a bearer token is given out, from a `WWW-Authenticate` header. Only the registry's own host is sent its token.
fn token_url(header: &str, host: &str) -> Option<String> {
    let parameters = header.strip_prefix("Bearer ")?;
    let parameter = |name: &str| {
        let (_, rest) = parameters.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0)
    };
    let realm = parameter("realm")?;
    let own = realm.strip_prefix("https://")?.split(['/', '?']).next()? == host;
    let query = ["service", "scope"].into_iter().filter_map(|name| Some(format!("{name}={}", parameter(name)?)));
    own.then(|| format!("{realm}?{}", query.collect::<Vec<_>>().join("&")))
}

/// The formats of manifests that clients ask for.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";
