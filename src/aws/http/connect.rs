//! Opens connections: over TCP, with TLS, and through proxies.
//!
//! An address of a name may not answer, e.g. that of a VPC endpoint in a zone that is down. As in RFC 8305 (happy eyeballs), the
//! next address is tried as well after a quarter of a second, and the first connection is used. hyper-util's connector waits for one
//! IPv4 address before it tries the next, so the first may take all the time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{io, iter, mem};

use aws_smithy_types::body::SdkBody;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Request, Uri};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Network, TransportError, host, is_https};

/// So long is an address tried alone: the connection attempt delay of RFC 8305.
const ALONE: Duration = Duration::from_millis(250);

/// A connection over which requests can be sent.
pub(super) type Connection = SendRequest<SdkBody>;

impl Network {
    /// Opens a connection for requests to `uri`, through the proxy for it if there is one.
    #[cfg_attr(fuzzing, expect(unreachable_code, unused_variables, reason = "no fuzz target opens a socket"))]
    pub(super) async fn connect(&self, uri: &Uri, limit: Option<Duration>) -> Result<Connection, TransportError> {
        #[cfg(fuzzing)]
        return handshake(Box::new(super::in_memory::connection())).await;
        let proxy = self.0.proxies.proxy_for(uri)?;
        let tried = AtomicUsize::new(0);
        let connecting = async {
            let Some(proxy) = &proxy else { return handshake(self.open(uri, &tried).await?).await };
            let stream = self.open(proxy.uri(), &tried).await;
            let stream = stream.map_err(|error| TransportError::NoProxy(Box::new(error)))?;
            if is_https(uri) { self.tunnel(stream, proxy, uri).await } else { handshake(stream).await }
        };
        within(limit, TransportError::SlowConnection(0), connecting).await.map_err(|error| match error {
            TransportError::SlowConnection(_) => {
                let name = host(proxy.as_ref().map_or(uri, Intercept::uri));
                let is_of_name = self.0.last.resolver.is_waiting_for(name);
                let slow = TransportError::SlowConnection(tried.load(Ordering::Relaxed));
                if is_of_name { TransportError::SlowName } else { slow }
            }
            error => error,
        })
    }

    /// Connects to the host of `uri`, with TLS if its scheme says so. `tried` counts the addresses until one accepts.
    async fn open(&self, uri: &Uri, tried: &AtomicUsize) -> Result<Box<dyn Stream>, TransportError> {
        let tcp = async {
            let port = uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 });
            let addresses = match host(uri).parse() {
                Ok(address) => vec![SocketAddr::new(address, port)],
                Err(_) => self.0.last.resolver.look_up(host(uri)).await.map_err(TransportError::from_name)?,
            };
            let stream = connect_to_any(addresses, port, tried).await.map_err(TransportError::Connect)?;
            tried.store(0, Ordering::Relaxed);
            Ok(Box::new(stream))
        };
        if !is_https(uri) {
            return Ok(tcp.await?);
        }
        // Reads the certificates while the connection is opened.
        let (stream, _) = tokio::join!(tcp, self.0.trust.config());
        self.secure(stream?, uri).await
    }

    async fn secure(&self, stream: Box<dyn Stream>, uri: &Uri) -> Result<Box<dyn Stream>, TransportError> {
        let no_name = |_| TransportError::Tls(rustls::Error::General("the host's name is not one for TLS".to_owned()));
        let name = ServerName::try_from(host(uri).to_owned()).map_err(no_name)?;
        let config = self.0.trust.config().await;
        if cfg!(feature = "fips") && !config.fips() {
            return Err(TransportError::NotFips);
        }
        let stream = TlsConnector::from(config).connect(name, stream).await;
        Ok(Box::new(stream.map_err(TransportError::from_io)?))
    }

    /// Opens a connection to `uri` through the proxy at the other end of `stream` (RFC 9110, section 9.3.6).
    async fn tunnel(
        &self,
        stream: Box<dyn Stream>,
        proxy: &Intercept,
        uri: &Uri,
    ) -> Result<Connection, TransportError> {
        let to = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
        let mut request =
            Request::connect(&to).header(HOST, &to).body(SdkBody::empty()).expect("made of a URL's parts");
        request.headers_mut().extend(proxy.basic_auth().cloned().map(|password| (PROXY_AUTHORIZATION, password)));
        // What answers may be no proxy.
        let not_http = |error| TransportError::NoProxy(Box::new(TransportError::from_http(error)));
        let answer = handshake(stream).await?.send_request(request).await.map_err(not_http)?;
        let status = answer.status();
        let tunnel = hyper::upgrade::on(answer).await.map_err(|_| TransportError::RefusedByProxy(status))?;
        handshake(self.secure(Box::new(TokioIo::new(tunnel)), uri).await?).await
    }
}

/// Connects to the first of these addresses that accepts. The error is the first one.
async fn connect_to_any(addresses: Vec<SocketAddr>, port: u16, tried: &AtomicUsize) -> io::Result<TcpStream> {
    let (mut connecting, mut failure) = (JoinSet::new(), None);
    let mut addresses = alternating(addresses);
    loop {
        let next = addresses.next();
        if let Some(mut address) = next {
            address.set_port(port);
            tried.fetch_add(1, Ordering::Relaxed);
            connecting.spawn(TcpStream::connect(address));
        }
        let limit = next.map_or(Duration::MAX, |_| ALONE);
        match timeout(limit, connecting.join_next()).await {
            Err(_) => {}
            Ok(None) => return Err(failure.unwrap_or_else(|| io::ErrorKind::NotConnected.into())),
            Ok(Some(result)) => match result.map_err(io::Error::from).flatten() {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => failure = failure.or(Some(error)),
            },
        }
    }
}

/// The addresses in their order, but IPv4 and IPv6 in turn while there are both.
fn alternating(addresses: Vec<SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let is_six = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (now, then): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == is_six);
    let (mut now, mut then) = (now.into_iter(), then.into_iter());
    iter::from_fn(move || {
        mem::swap(&mut now, &mut then);
        then.next().or_else(|| now.next())
    })
}

/// A stream of bytes: a TCP connection, TLS over one, or a tunnel.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Begins HTTP/1.1 on `stream`. A task drives the connection until the sender or the answer is dropped.
async fn handshake(stream: Box<dyn Stream>) -> Result<Connection, TransportError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(TransportError::from_http)?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

/// Runs `work`, and returns `late` if it takes longer than `limit`.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    late: TransportError,
    work: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    match limit {
        Some(limit) => timeout(limit, work).await.unwrap_or(Err(late)),
        None => work.await,
    }
}
