//! The HTTP client under every request to AWS: STS, SSO, metadata services and ECR alike.
//!
//! hyper and rustls, put together for a process that makes a few requests and ends: HTTP/1.1, no pool. The connection of
//! the last answer is kept for the next request to the same place, such as the three to an instance's metadata service. The SDK's own client has all that a server wants; here its start-up would be a third of the CPU
//! time of a cold answer, and it panics over a certificate that it cannot read. A connection can be begun before there
//! is a request for it, so that it comes about while credentials are asked for elsewhere.
//!
//! Proxies come from the environment, as curl and the AWS CLI read it, but never for loopback and the link-local
//! addresses of metadata services: the SDK itself would send those to the proxy, which answers for another machine
//! or not at all.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::Format;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Limited;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::Asked;
use super::dns::{Resolver, UnknownName};
use super::tls::Trust;
use crate::env::Env;

/// The longest answer that is read, of AWS and of whatever answers in its place. The longest real one has some 4 KiB.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Where proxies are named.
const PROXIES: &[&str] = &["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// The way to AWS, and what explanations want to know about it.
#[derive(Clone, Debug)]
pub(super) struct Network(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    trust: Trust,
    tcp: Tcp<Resolver>,
    /// `None` when the environment names no proxy.
    proxies: Option<Matcher>,
    /// The variables that name the proxies for HTTPS and for HTTP.
    proxy_variables: [Option<&'static str>; 2],
    asked: Asked,
    begun: Mutex<Option<Preconnect>>,
    kept: Mutex<Option<Kept>>,
    seen: Mutex<Seen>,
}

/// The connection of the last answer.
#[derive(Debug)]
struct Kept {
    scheme: Option<Scheme>,
    endpoint: String,
    connection: SendRequest<SdkBody>,
}

/// A connection that was begun early.
#[derive(Debug)]
struct Preconnect {
    scheme: Option<Scheme>,
    endpoint: String,
    connection: JoinHandle<Result<SendRequest<SdkBody>, TransportError>>,
}

/// Of the last request.
#[derive(Debug, Default)]
struct Seen {
    /// Host and port.
    endpoint: String,
    /// Host and port of the proxy that it went through, and the variable that names it.
    proxy: Option<(String, &'static str)>,
    /// The `Date` of the answer: what time it is at AWS.
    date: Option<SystemTime>,
}

/// Why a request got no answer.
#[derive(Debug)]
pub(super) enum TransportError {
    /// The host's name has no address.
    UnknownName,
    /// No connection: refused, reset, no route.
    Connect(io::Error),
    /// No connection in time.
    SlowConnection,
    /// A connection, and no answer in time.
    SlowAnswer,
    /// The other side's certificate or its TLS is not right.
    Tls(rustls::Error),
    /// The proxy refuses to connect.
    RefusedByProxy(StatusCode),
    /// There is no way to the proxy.
    NoProxy(Box<TransportError>),
    /// Not HTTP, or it broke off.
    Http(hyper::Error),
}

impl Network {
    /// By the proxies of `env`.
    pub(super) fn new(env: &Env, trust: Trust, asked: Asked) -> Self {
        let has_proxies = PROXIES.iter().any(|name| env.os(name).is_some());
        let mut tcp = Tcp::new_with_resolver(Resolver::new());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let proxies = has_proxies.then(Matcher::from_env);
        // In the order in which the matcher takes them.
        let first = |names: [&'static str; 4]| names.into_iter().find(|name| env.os(name).is_some());
        let proxy_variables = [
            first(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
            first(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
        ];
        let (begun, kept, seen) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { trust, tcp, proxies, proxy_variables, asked, begun, kept, seen }))
    }

    /// Begins to read the certificates that connections will need.
    pub(super) async fn read_certificates(&self) {
        let network = self.clone();
        tokio::spawn(async move { network.0.trust.config().await });
        tokio::task::yield_now().await;
    }

    /// Begins a connection to where a request will go.
    pub(super) async fn begin(&self, uri: Uri, limit: Duration) {
        let (scheme, endpoint) = (uri.scheme().cloned(), endpoint(&uri));
        let network = self.clone();
        let connecting =
            async move { within(Some(limit), TransportError::SlowConnection, network.connect(&uri)).await };
        let begun = Preconnect { scheme, endpoint, connection: tokio::spawn(connecting) };
        *self.0.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        // Or it would begin no earlier than the caller first waits for something else.
        tokio::task::yield_now().await;
    }

    /// The connection that was begun to this place, once and while it lasts; else a new one.
    async fn begun_or_new(&self, uri: &Uri) -> Result<SendRequest<SdkBody>, TransportError> {
        let is_there =
            |begun: &mut Preconnect| begun.scheme.as_ref() == uri.scheme() && begun.endpoint == endpoint(uri);
        let begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner).take_if(is_there);
        match begun {
            Some(begun) => match begun.connection.await {
                Ok(Ok(connection)) if connection.is_closed() => self.connect(uri).await,
                Ok(result) => result,
                Err(_) => self.connect(uri).await,
            },
            None => self.connect(uri).await,
        }
    }

    /// The connection of the last answer, if it was to this place, lasts and was read to its end.
    async fn kept(&self, uri: &Uri) -> Option<SendRequest<SdkBody>> {
        let is_there = |kept: &mut Kept| kept.scheme.as_ref() == uri.scheme() && kept.endpoint == endpoint(uri);
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).take_if(is_there)?;
        // The task of the connection notices the end of an answer after whoever reads it.
        tokio::task::yield_now().await;
        kept.connection.is_ready().then_some(kept.connection)
    }

    fn keep(&self, uri: &Uri, connection: SendRequest<SdkBody>) {
        let kept = Kept { scheme: uri.scheme().cloned(), endpoint: endpoint(uri), connection };
        *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    /// The client to give to the SDK.
    pub(super) fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// Whose certificates are trusted, in words.
    pub(super) fn roots(&self) -> String {
        self.0.trust.describe()
    }

    /// Host and port of the proxy that a request to `uri` would go through.
    pub(super) fn proxy_for(&self, uri: &Uri) -> Option<String> {
        self.proxy(uri).map(|proxy| endpoint(proxy.uri()))
    }

    /// The host and port that the last request went to; empty before the first.
    pub(super) fn last_endpoint(&self) -> String {
        self.seen().endpoint.clone()
    }

    /// Host and port of the proxy that the last request went through, and the variable that names it.
    pub(super) fn last_proxy(&self) -> Option<(String, &'static str)> {
        self.seen().proxy.clone()
    }

    /// The time at AWS when it last answered; by the local clock when it did not say.
    pub(super) fn time_at_aws(&self) -> SystemTime {
        self.seen().date.unwrap_or_else(SystemTime::now)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proxy for `uri`, if there is one.
    fn proxy(&self, uri: &Uri) -> Option<Intercept> {
        self.0.proxies.as_ref().filter(|_| !is_local(host(uri)))?.intercept(uri)
    }

    /// One request and its answer.
    pub(super) async fn exchange(
        &self,
        mut request: Request<SdkBody>,
        settings: &HttpConnectorSettings,
    ) -> Result<HttpResponse, ConnectorError> {
        let uri = request.uri().clone();
        let endpoint = endpoint(&uri);
        let named = HeaderValue::from_str(&endpoint).map_err(|error| ConnectorError::user(error.into()))?;
        request.headers_mut().entry(HOST).or_insert(named);
        self.0.asked.host(&endpoint);
        let [for_https, for_http] = self.0.proxy_variables;
        let variable = if uri.scheme() == Some(&Scheme::HTTPS) { for_https } else { for_http };
        let proxy = self.proxy_for(&uri).map(|proxy| (proxy, variable.unwrap_or("HTTPS_PROXY")));
        *self.seen() = Seen { endpoint, proxy, date: None };
        if let Some(proxy) = self.proxy(&uri).filter(|_| uri.scheme() == Some(&Scheme::HTTP)) {
            // A proxy is asked for the whole URL.
            let password = proxy.basic_auth().cloned().map(|password| (PROXY_AUTHORIZATION, password));
            request.headers_mut().extend(password);
        } else {
            let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
            *request.uri_mut() = path.into();
        }
        let asking = async |connection: &mut SendRequest<SdkBody>, request| {
            let asking = async { connection.send_request(request).await.map_err(TransportError::Http) };
            within(settings.read_timeout(), TransportError::SlowAnswer, asking).await
        };
        // Whoever is at the other end may have closed a kept connection a moment ago: then the request goes by a new one.
        let mut answered = None;
        if let Some(mut connection) = self.kept(&uri).await
            && let Some(copy) = copy_of(&request)
        {
            match asking(&mut connection, copy).await {
                Err(TransportError::Http(error))
                    if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => {}
                answer => answered = Some((answer?, connection)),
            }
        }
        let (answer, connection) = if let Some(answered) = answered {
            answered
        } else {
            let connecting =
                within(settings.connect_timeout(), TransportError::SlowConnection, self.begun_or_new(&uri));
            let mut connection = connecting.await?;
            (asking(&mut connection, request).await?, connection)
        };
        self.keep(&uri, connection);
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        self.seen().date = date.and_then(|date| SystemTime::try_from(date).ok());
        HttpResponse::try_from(answer.map(|body| SdkBody::from_body_1_x(Limited::new(body, LARGEST_ANSWER))))
            .map_err(|error| ConnectorError::other(error.into(), None))
    }

    async fn connect(&self, uri: &Uri) -> Result<SendRequest<SdkBody>, TransportError> {
        let https = uri.scheme() == Some(&Scheme::HTTPS);
        match self.proxy(uri) {
            None if https => converse(self.connect_tls(uri).await?).await,
            None => converse(self.connect_tcp(uri).await?).await,
            Some(proxy) if proxy.uri().scheme() == Some(&Scheme::HTTPS) => {
                let stream = self.connect_tls(proxy.uri()).await.map_err(TransportError::of_proxy)?;
                if https { self.tunnel(stream, &proxy, uri).await } else { converse(stream).await }
            }
            Some(proxy) => {
                let stream = self.connect_tcp(proxy.uri()).await.map_err(TransportError::of_proxy)?;
                if https { self.tunnel(stream, &proxy, uri).await } else { converse(stream).await }
            }
        }
    }

    async fn connect_tcp(&self, uri: &Uri) -> Result<TcpStream, TransportError> {
        match self.0.tcp.clone().call(uri.clone()).await {
            Ok(stream) => Ok(stream.into_inner()),
            Err(error) => Err(TransportError::from_connecting(&error)),
        }
    }

    async fn connect_tls(&self, uri: &Uri) -> Result<TlsStream<TcpStream>, TransportError> {
        // The certificates are read while the connection comes about.
        let (stream, _) = tokio::join!(self.connect_tcp(uri), self.0.trust.config());
        self.secure(stream?, uri).await
    }

    async fn secure<S: Stream>(&self, stream: S, uri: &Uri) -> Result<TlsStream<S>, TransportError> {
        let no_name = |_| TransportError::Tls(rustls::Error::General("the host's name is not one for TLS".to_owned()));
        let name = ServerName::try_from(host(uri).to_owned()).map_err(no_name)?;
        let connector = TlsConnector::from(self.0.trust.config().await);
        connector.connect(name, stream).await.map_err(TransportError::from_io)
    }

    /// A connection to `uri` through the proxy at the other end of `stream` (RFC 9110, section 9.3.6).
    async fn tunnel<S: Stream>(
        &self,
        stream: S,
        proxy: &Intercept,
        uri: &Uri,
    ) -> Result<SendRequest<SdkBody>, TransportError> {
        let to = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
        let mut request =
            Request::connect(&to).header(HOST, &to).body(SdkBody::empty()).expect("made of a URL's parts");
        request.headers_mut().extend(proxy.basic_auth().cloned().map(|password| (PROXY_AUTHORIZATION, password)));
        let answer = converse(stream).await?.send_request(request).await.map_err(TransportError::Http)?;
        if !answer.status().is_success() {
            return Err(TransportError::RefusedByProxy(answer.status()));
        }
        let tunnel = hyper::upgrade::on(answer).await.map_err(TransportError::Http)?;
        converse(self.secure(TokioIo::new(tunnel), uri).await?).await
    }
}

/// The same request once more; `None` where its body can be read only once.
fn copy_of(request: &Request<SdkBody>) -> Option<Request<SdkBody>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// What bytes go through.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Speaks HTTP on `stream`, in a task of its own that ends with the sender or the answer.
async fn converse<S: Stream>(stream: S) -> Result<SendRequest<SdkBody>, TransportError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(TransportError::Http)?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

async fn within<T>(
    limit: Option<Duration>,
    late: TransportError,
    work: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    match limit {
        Some(limit) => timeout(limit, work).await.unwrap_or(Err(late)),
        None => work.await,
    }
}

impl TransportError {
    /// hyper-util tells what went wrong by what it was caused by.
    fn from_connecting(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        for cause in causes {
            if cause.is::<UnknownName>() {
                return Self::UnknownName;
            }
            if let Some(error) = cause.downcast_ref::<io::Error>() {
                return Self::Connect(io::Error::new(error.kind(), error.to_string()));
            }
        }
        Self::Connect(io::Error::other(error.to_string()))
    }

    fn of_proxy(self) -> Self {
        Self::NoProxy(Box::new(self))
    }

    /// tokio-rustls puts its errors into those of input and output.
    fn from_io(error: io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(error) => Self::Tls(error),
            Err(error) => Self::Connect(error),
        }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName => f.write_str("its name is not known"),
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("connection refused")
            }
            Self::Connect(error) => error.fmt(f),
            Self::SlowConnection | Self::SlowAnswer => f.write_str("it does not answer"),
            Self::Tls(error) => error.fmt(f),
            Self::RefusedByProxy(status) => status.fmt(f),
            Self::NoProxy(trouble) => trouble.fmt(f),
            Self::Http(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TransportError {}

impl From<TransportError> for ConnectorError {
    /// Tells the SDK what is worth another try: neither certificates nor proxies change their mind.
    fn from(trouble: TransportError) -> Self {
        match trouble {
            TransportError::SlowConnection | TransportError::SlowAnswer => Self::timeout(trouble.into()),
            TransportError::Tls(_) | TransportError::RefusedByProxy(_) => Self::other(trouble.into(), None),
            TransportError::UnknownName
            | TransportError::Connect(_)
            | TransportError::NoProxy(_)
            | TransportError::Http(_) => Self::io(trouble.into()),
        }
    }
}

impl HttpClient for Network {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector { network: self.clone(), settings: settings.clone() })
    }
}

/// The network under the time limits of one of the SDK's clients.
#[derive(Debug)]
struct Connector {
    network: Network,
    settings: HttpConnectorSettings,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (network, settings) = (self.network.clone(), self.settings.clone());
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            network.exchange(request, &settings).await
        })
    }
}

/// The host, and the port unless it is the scheme's own: what the SDK signs.
fn endpoint(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match (uri.port_u16(), uri.scheme_str()) {
        (None, _) | (Some(443), Some("https")) | (Some(80), Some("http")) => host.to_owned(),
        (Some(port), _) => format!("{host}:{port}"),
    }
}

/// The host without the brackets of an IPv6 address.
fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}

/// Loopback, the instance metadata service, and the credential endpoints of ECS and EKS.
pub(super) fn is_local(host: &str) -> bool {
    const METADATA_V6: [Ipv6Addr; 2] =
        [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)];
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || METADATA_V6.contains(&address),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::{host, is_local};

    #[test]
    fn metadata_and_loopback_are_local_and_nothing_else_is() {
        let local = |url: &str| is_local(host(&url.parse().expect("a URL")));
        for url in [
            "http://127.0.0.1:80/x",
            "http://localhost:4566",
            "http://[::1]:8080/",
            "http://169.254.169.254/latest",
            "http://169.254.170.2",
            "http://169.254.170.23",
            "http://[fd00:ec2::254]",
            "http://[fd00:ec2::23]:80",
        ] {
            assert!(local(url), "{url}");
        }
        for url in [
            "https://api.ecr.us-east-1.amazonaws.com/",
            "http://10.0.0.1",
            "http://localhost.example",
            "http://[fd00:ec2::1]",
        ] {
            assert!(!local(url), "{url}");
        }
    }
}
