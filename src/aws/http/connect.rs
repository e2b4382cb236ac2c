//! Opens connections: over TCP, with TLS, and through proxies.

use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Request, Uri};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::{Network, TransportError, host, is_https};

/// A connection over which requests can be sent.
pub(super) type Connection = SendRequest<SdkBody>;

impl Network {
    /// Opens a connection for requests to `uri`, through the proxy for it if there is one.
    #[cfg_attr(fuzzing, expect(unreachable_code, unused_variables, reason = "no fuzz target opens a socket"))]
    pub(super) async fn connect(&self, uri: &Uri, limit: Option<Duration>) -> Result<Connection, TransportError> {
        #[cfg(fuzzing)]
        return handshake(Box::new(super::in_memory::connection())).await;
        let proxy = self.0.proxies.proxy_for(uri)?;
        let connecting = async {
            let Some(proxy) = &proxy else { return handshake(self.open(uri).await?).await };
            let stream = self.open(proxy.uri()).await.map_err(|error| TransportError::NoProxy(Box::new(error)))?;
            if is_https(uri) { self.tunnel(stream, proxy, uri).await } else { handshake(stream).await }
        };
        within(limit, TransportError::SlowConnection, connecting).await.map_err(|error| {
            let name = host(proxy.as_ref().map_or(uri, Intercept::uri));
            let is_of_name =
                matches!(error, TransportError::SlowConnection) && self.0.last.resolver.is_waiting_for(name);
            if is_of_name { TransportError::SlowName } else { error }
        })
    }

    /// Connects to the host of `uri`, with TLS if its scheme says so.
    async fn open(&self, uri: &Uri) -> Result<Box<dyn Stream>, TransportError> {
        let tcp = async {
            let stream = self.0.tcp.clone().call(uri.clone()).await;
            Ok(Box::new(stream.map_err(|error| TransportError::from_connecting(&error))?.into_inner()))
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
