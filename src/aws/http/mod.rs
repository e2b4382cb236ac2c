//! The HTTP client under every request to AWS: STS, SSO, metadata services and ECR.
//!
//! It combines hyper and rustls for a process that makes a few requests and exits: HTTP/1.1, no pool. It keeps the
//! connection of the last answer for the next request to the same authority, e.g. for the three requests to an instance's
//! metadata service. [`Network::preconnect`] opens a connection before there is a request for it, while credentials are resolved
//! elsewhere. The SDK's own client cannot; CONTRIBUTING.md has the figures of both.

mod connect;
mod error;
mod fetch;
#[cfg(fuzzing)]
mod in_memory;
mod last_request;
mod proxy;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::Format;
use http::header::{DATE, HOST, PROXY_AUTHORIZATION};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::tls::Trust;
use crate::env::Env;
use crate::error::Failure;
use connect::{Connection, within};
pub(super) use error::TransportError;
pub(super) use fetch::{Answer, Limits, fitting, is_overloaded, is_temporary, secret_value};
#[cfg(fuzzing)]
pub use in_memory::answer_with;
pub(super) use last_request::{CHECK_CONTAINER, CONTAINER, INSTANCE, LastRequest, PROCESS, RUN_BY_HAND, WrongToken};
use proxy::Proxies;
pub(super) use proxy::VARIABLES as PROXY_VARIABLES;
pub(super) use proxy::{NamedProxy, is_local};

/// The size limit of an answer, in bytes.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// What the largest answers of AWS take, in bytes, so that no secret is left behind where a buffer was before it grew.
const USUAL_ANSWER: usize = 4 * 1024;

/// As many JSON objects may be in an answer. The SDK has a value for each in a list that grows by copies: a megabyte of empty ones takes
/// 57 MB.
const MOST_OBJECTS: usize = 100_000;

/// The times that are believed in an answer, in seconds since 1970: the years 2000 to 2199.
const DATES: std::ops::Range<i64> = 946_684_800..7_258_118_400;

/// The client. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Network(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    trust: Trust,
    proxies: Proxies,
    last: LastRequest,
    /// A connection that is opened before there is a request for it.
    preconnect: Mutex<Option<(Origin, Connecting)>>,
    /// The connection of the last answer.
    kept: Mutex<Option<(Origin, Connection)>>,
}

type Connecting = JoinHandle<Result<Connection, TransportError>>;

/// A check of an answer, by its status and its body.
type Check = Arc<dyn Fn(StatusCode, &[u8]) -> Result<(), &'static str> + Send + Sync>;

/// What connections lead to: the scheme, and the host and port.
type Origin = (Option<Scheme>, String);

fn origin(uri: &Uri) -> Origin {
    (uri.scheme().cloned(), authority(uri))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// A client that uses the proxies of `env`, and keeps account of its requests in `last`.
    pub(super) fn new(env: &Env, trust: Trust, last: LastRequest) -> Self {
        let (preconnect, kept) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { trust, proxies: Proxies::from_env(env), last, preconnect, kept }))
    }

    /// Reads the certificates that TLS connections will need.
    pub(super) async fn read_certificates(&self) {
        self.0.trust.config().await;
    }

    /// Starts to open a connection for a later request to `uri`.
    pub(super) async fn preconnect(&self, uri: Uri, limit: Duration) {
        let (network, origin) = (self.clone(), origin(&uri));
        let connecting = tokio::spawn(async move { network.connect(&uri, Some(limit)).await });
        *locked(&self.0.preconnect) = Some((origin, connecting));
        // Without this the task would not start before the caller waits for something else.
        tokio::task::yield_now().await;
    }

    /// The preconnected connection if it leads to `uri` and is still open, else a new one.
    async fn connection(&self, uri: &Uri, limit: Option<Duration>) -> Result<Connection, TransportError> {
        let preconnect = locked(&self.0.preconnect).take_if(|(to, _)| *to == origin(uri));
        if let Some((_, connecting)) = preconnect
            && let Ok(result) = connecting.await
            && !result.as_ref().is_ok_and(Connection::is_closed)
        {
            return result;
        }
        self.connect(uri, limit).await
    }

    /// The connection of the last answer, if it leads to `uri`, is open, and its answer was read to the end.
    async fn kept_connection(&self, uri: &Uri) -> Option<Connection> {
        let (_, connection) = locked(&self.0.kept).take_if(|(to, _)| *to == origin(uri))?;
        // The task of the connection notices the end of an answer after its reader does.
        tokio::task::yield_now().await;
        connection.is_ready().then_some(connection)
    }

    /// The client in the SDK's terms.
    pub(super) fn client(&self) -> SharedHttpClient {
        self.client_with(Arc::new(|_, _| Ok(())))
    }

    /// The same with a check of what a service answers. The error says what is wrong with it.
    pub(super) fn client_with(&self, check: Check) -> SharedHttpClient {
        let network = self.clone();
        http_client_fn(move |limits, _| {
            SharedHttpConnector::new(Connector {
                network: network.clone(),
                limits: limits.clone(),
                check: check.clone(),
            })
        })
    }

    /// Describes which certificates are trusted.
    pub(super) fn describe_roots(&self) -> &str {
        self.0.trust.describe()
    }

    /// Why no server can be trusted, where that is known: there are no certificates.
    pub(super) fn trust_failure(&self) -> Option<Failure> {
        self.0.trust.failure()
    }

    /// Host and port of the proxy that a request to `uri` would go through.
    pub(super) fn proxy_for(&self, uri: &Uri) -> Result<Option<String>, TransportError> {
        Ok(self.0.proxies.named_proxy_for(uri)?.map(|proxy| proxy.authority))
    }

    /// Sends one request and reads the whole answer, whose size has a limit.
    async fn exchange(
        &self,
        mut request: Request<SdkBody>,
        limits: &HttpConnectorSettings,
    ) -> Result<Answer, TransportError> {
        let uri = request.uri().clone();
        let authority = authority(&uri);
        let named = HeaderValue::from_str(&authority).map_err(|error| TransportError::BadRequest(error.into()))?;
        request.headers_mut().entry(HOST).or_insert(named);
        self.0.last.begin(authority, self.0.proxies.named_proxy_for(&uri)?, &request);
        self.set_request_target(&mut request)?;
        let (mut head, body) = Box::pin(self.send(request, &uri, limits)).await?.into_parts();
        let date = date(&head.headers);
        if date.is_none() {
            // The SDK would correct its clock by it, and panics over a time that a retry cannot state.
            head.headers.remove(DATE);
        }
        self.0.last.set_date(date);
        let body = within(limits.read_timeout(), TransportError::SlowAnswer, whole(body)).await?;
        Ok(Response::from_parts(head, body))
    }

    /// Sends a request over the kept connection, or over another if there is none or the server has just closed it.
    async fn send(
        &self,
        request: Request<SdkBody>,
        uri: &Uri,
        limits: &HttpConnectorSettings,
    ) -> Result<Response<Incoming>, TransportError> {
        let send_over = async |mut connection: Connection, request| {
            self.0.last.set_connected();
            let answer = async { connection.send_request(request).await.map_err(TransportError::from_http) };
            let answer = within(limits.read_timeout(), TransportError::SlowAnswer, answer).await?;
            *locked(&self.0.kept) = Some((origin(uri), connection));
            Ok(answer)
        };
        let (head, body) = request.into_parts();
        if let Some(connection) = self.kept_connection(uri).await
            && let Some(body) = body.try_clone()
        {
            match send_over(connection, Request::from_parts(head.clone(), body)).await {
                Err(TransportError::Http(error))
                    if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => {}
                answer => return answer,
            }
        }
        let connection = self.connection(uri, limits.connect_timeout()).await?;
        send_over(connection, Request::from_parts(head, body)).await
    }

    /// Reduces the request's URI to its path, except for a proxy without a tunnel, which needs the whole URI and its password
    /// (RFC 9112, section 3.2).
    fn set_request_target(&self, request: &mut Request<SdkBody>) -> Result<(), TransportError> {
        let uri = request.uri();
        if let Some(proxy) = self.0.proxies.proxy_for(uri)?.filter(|_| !is_https(uri)) {
            let password = proxy.basic_auth().cloned().map(|password| (PROXY_AUTHORIZATION, password));
            request.headers_mut().extend(password);
        } else {
            let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
            *request.uri_mut() = path.into();
        }
        Ok(())
    }
}

/// The client under the time limits of one of the SDK's clients.
#[derive(Clone)]
struct Connector {
    network: Network,
    limits: HttpConnectorSettings,
    check: Check,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { network, limits, check } = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let answer = network.exchange(request, &limits).await?;
            check(answer.status(), answer.body()).map_err(TransportError::Unusable)?;
            let answer = answer.map(|mut body| SdkBody::from(std::mem::take(&mut *body)));
            HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Reads a body to its end into one buffer. Its parts may be of one byte each, and are not kept.
async fn whole(mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, TransportError> {
    // One that says so itself may never come.
    if body.size_hint().lower() > LARGEST_ANSWER as u64 {
        return Err(TransportError::Unusable("is larger than 1 MiB, the limit"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(USUAL_ANSWER));
    while let Some(frame) = body.frame().await {
        bytes.extend(frame.map_err(TransportError::from_body)?.into_data().unwrap_or_default());
        if bytes.len() > LARGEST_ANSWER {
            return Err(TransportError::Unusable("is larger than 1 MiB, the limit"));
        }
    }
    if bytes.split(|byte| *byte == b'{').nth(MOST_OBJECTS + 1).is_some() {
        return Err(TransportError::Unusable("has more than 100,000 objects, the limit"));
    }
    Ok(bytes)
}

/// The `Date` header; `None` for a time that no clock of a service shows.
fn date(headers: &HeaderMap) -> Option<DateTime> {
    let date = DateTime::from_str(headers.get(DATE)?.to_str().ok()?, Format::HttpDate).ok()?;
    DATES.contains(&date.secs()).then_some(date)
}

/// The host, and the port unless it is the scheme's default: the value of the header `Host` that the SDK signs.
fn authority(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match (uri.port_u16(), uri.scheme_str()) {
        (None, _) | (Some(443), Some("https")) | (Some(80), Some("http")) => host.to_owned(),
        (Some(port), _) => format!("{host}:{port}"),
    }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

/// The fix where a name has no address because of what should resolve it.
pub(super) const CHECK_NAME_SERVERS: &str = "check the name servers of this machine, the network and HTTPS_PROXY";

/// The host of a host and port, without the brackets of an IPv6 address.
pub(super) fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// The host without the brackets of an IPv6 address.
pub(super) fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}
