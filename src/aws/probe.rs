//! Requests of `doctor`, and of `setup` for the account: the route to the API, the principal, the clock, the registry itself.

use std::sync::Arc;
use std::time::Instant;

use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityOutput;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, StatusCode};
use zeroize::Zeroizing;

use super::context::Context;
use super::exchange::Exchange;
use super::http::{Answer, Limits, secret_value};
use super::sdk_config::{CONNECT_TIMEOUT, READ_TIMEOUT};
use super::sdk_error::policy_fix;
use super::session::Session;
use crate::code::Code;
use crate::config::Target;
use crate::error::Failure;
use crate::fields::Fields;
use crate::identity::Identity;
use crate::quote::{without_path, without_secrets};
use crate::token::Token;

/// The route to the ECR API.
#[derive(Debug)]
pub struct Route {
    /// Scheme, host and port of its URL.
    pub endpoint: String,
    /// Host and port of the proxy that the request goes through.
    pub proxy: Option<String>,
    /// Which certificates are trusted.
    pub roots: String,
}

impl Exchange {
    /// The route of a request for `target`. Sends nothing.
    pub fn route(&self, target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<Route, Failure> {
        self.step(target, identity, deadline, |context| async move {
            let uri = context.endpoint.resolve(&context.target).await.ok_or_else(|| context.no_endpoint())?;
            if uri.scheme_str() == Some("https") {
                context.network.read_certificates().await;
                context.network.trust_failure().map_or(Ok(()), Err)?;
            }
            let proxy = context.network.proxy_for(&uri).map_err(|error| context.no_answer(&error))?;
            Ok(Route {
                endpoint: without_path(&uri.to_string()),
                proxy,
                roots: context.network.describe_roots().to_owned(),
            })
        })
    }

    /// Requests `path`, e.g. `/v2/`, from the registry of `target` as a client does: with the token if there is one, or with the
    /// bearer token that a registry such as ECR Public issues for it.
    pub fn ask_registry(
        &self,
        target: &Target,
        identity: &Arc<Identity>,
        token: Option<&Token>,
        path: &str,
        deadline: Instant,
    ) -> Result<RegistryAnswer, Failure> {
        let path = path.to_owned();
        let authorization = token.and_then(|token| {
            let pair = Zeroizing::new(format!("{}:{}", token.username, token.password.expose()));
            secret_value(Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes()))).as_bytes())
        });
        self.beside().step(target, identity, deadline, |context| async move {
            context.last.set_service("the registry", None);
            let url = format!("https://{}{path}", context.target.host);
            let mut client = RegistryClient { context, authorization };
            let mut answer = client.send(Method::HEAD, &url).await?;
            if let Some(token_url) = token_url(&answer, &client.context.target.host) {
                client.authorize(&token_url).await?;
                answer = client.send(Method::HEAD, &url).await?;
            }
            // An answer to HEAD has no body, and only the body describes an error. One without it is an answer too: a proxy may
            // end the connection within the body.
            if answer.status() != StatusCode::OK
                && let Ok(described) = client.send(Method::GET, &url).await
            {
                answer = described;
            }
            if is_page(&answer) {
                return Err(wrong_answer(&format!("{url} answers with a page of HTML, so no registry answers there")));
            }
            Ok(registry_answer(&answer))
        })
    }
}

impl Session {
    /// The ARN of the principal.
    pub fn principal(&self, deadline: Instant) -> Result<String, Failure> {
        Ok(self.context.last.without_tokens(self.caller_identity(deadline)?.arn.unwrap_or_default()))
    }

    /// The account of the principal.
    pub fn account(&self, deadline: Instant) -> Result<String, Failure> {
        Ok(self.caller_identity(deadline)?.account.unwrap_or_default())
    }

    /// STS GetCallerIdentity, which needs no permission (AWS STS API reference): that STS denies it says nothing about other requests, and
    /// that it does not know the key is a refusal.
    fn caller_identity(&self, deadline: Instant) -> Result<GetCallerIdentityOutput, Failure> {
        let (context, keys) = (self.context.clone(), self.keys.clone());
        self.step(deadline, async move {
            context.identity.check_endpoint("STS")?;
            context.last.set_service("STS", None);
            let client = aws_sdk_sts::Client::new(&keys.added_to(&context.config));
            client.get_caller_identity().send().await.map_err(|error| {
                let failure = context.service_failure("STS", &error);
                let is_of_key = failure.is_refusal && failure.code == Code::CredentialsInvalid;
                failure.refused(is_of_key)
            })
        })
    }

    /// How many seconds the clock of this machine was ahead of the clock of AWS at the last answer.
    pub fn clock_ahead(&self) -> i64 {
        self.context.last.clock_ahead()
    }
}

/// The answer of a registry.
#[derive(Debug)]
pub struct RegistryAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The code of the first error in the body (OCI distribution specification, "Error Codes"); empty without one.
    pub code: String,
    /// The message beside it, for people.
    pub message: String,
    /// The fix for the policy that denied the request, if the message names its kind.
    pub policy_fix: Option<String>,
}

/// Whether an answer is a page for people, as of a captive portal. A registry sends its version, a manifest's digest, or JSON.
fn is_page(answer: &Answer) -> bool {
    let headers = answer.headers();
    let is_of_registry =
        ["docker-distribution-api-version", "docker-content-digest"].iter().any(|name| headers.contains_key(*name));
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_html = kind.get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html"));
    let status = answer.status();
    // The load balancer of a registry sends one with these.
    let is_of_balancer = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    is_html && !is_of_registry && !is_of_balancer
}

/// The answer and, of an error, what the body says.
fn registry_answer(answer: &Answer) -> RegistryAnswer {
    let is_error = answer.status() != StatusCode::OK;
    let errors = is_error.then(|| Fields::parse(answer.body())?.get::<Vec<Fields>>("errors")).flatten();
    let error = errors.and_then(|errors| errors.into_iter().next());
    let text = |name: &str| error.as_ref().and_then(|error| error.text(name)).unwrap_or_default();
    let message = text("message");
    let policy_fix = policy_fix(&message);
    RegistryAnswer { status: answer.status(), code: text("code"), message: without_secrets(&message), policy_fix }
}

/// A client of a registry.
struct RegistryClient {
    context: Context,
    /// The value of the header with the token.
    authorization: Option<HeaderValue>,
}

impl RegistryClient {
    /// Exchanges the token for a bearer token. Where the token service rejects it, the registry will say so too.
    async fn authorize(&mut self, token_url: &str) -> Result<(), Failure> {
        let answer = self.send(Method::GET, token_url).await?;
        let (status, host) = (answer.status(), &self.context.target.host);
        if is_page(&answer) {
            return Err(wrong_answer(&format!("the token service of {host} answers with a page of HTML")));
        }
        let is_rejection = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if status != StatusCode::OK && !(is_rejection && self.authorization.is_some()) {
            let what = format!("the token service of {host} answers {status}");
            return Err(match status {
                StatusCode::TOO_MANY_REQUESTS => Failure::new(Code::Throttled, what, "try again later"),
                _ if status.is_server_error() => Failure::new(Code::ServiceError, what, "try again later"),
                _ => wrong_answer(&what),
            });
        }
        let issued = Fields::parse(answer.body());
        let bearer = issued.and_then(|issued| issued.text("token").or_else(|| issued.text("access_token")));
        let value = |bearer: &str| secret_value(Zeroizing::new(format!("Bearer {bearer}")).as_bytes());
        let invalid = || wrong_answer("the registry's token service gives a token with invalid characters");
        if bearer.is_none() && status == StatusCode::OK {
            return Err(wrong_answer(&format!("the token service of {host} gives no token")));
        }
        self.authorization =
            bearer.map(|bearer| value(&bearer).filter(|_| bearer.is_ascii()).ok_or_else(invalid)).transpose()?;
        Ok(())
    }

    async fn send(&self, method: Method, url: &str) -> Result<Answer, Failure> {
        let request = Request::builder().method(method).uri(url).header(ACCEPT, MANIFESTS).body(());
        let mut request =
            request.map_err(|_| wrong_answer("the registry names a token service with an invalid URL"))?;
        request.headers_mut().extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let limits = Limits { attempts: 1, ..self.context.limits(CONNECT_TIMEOUT, READ_TIMEOUT) };
        self.context.network.fetch(&request, &limits).await.map_err(|error| self.context.no_answer(&error))
    }
}

fn wrong_answer(what: &str) -> Failure {
    Failure::new(Code::RegistryAnswer, what, "check whether a proxy or a captive portal answers for the registry")
}

/// The URL of the token service that a `WWW-Authenticate` header names. `None` for a service on another host, which must not get
/// the registry's token.
fn token_url(answer: &Answer, host: &str) -> Option<String> {
    let challenge = answer.headers().get(WWW_AUTHENTICATE).filter(|_| answer.status() == StatusCode::UNAUTHORIZED)?;
    let parameters = challenge.to_str().ok()?.strip_prefix("Bearer ")?;
    let parameter = |name: &str| {
        let (_, rest) = parameters.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0)
    };
    let realm = parameter("realm")?;
    let own = realm.strip_prefix("https://")?.split(['/', '?']).next()? == host;
    let query = ["service", "scope"].into_iter().filter_map(|name| Some(format!("{name}={}", parameter(name)?)));
    own.then(|| format!("{realm}?{}", query.collect::<Vec<_>>().join("&")))
}

/// The media types of manifests that clients accept.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";
