//! The HTTP client under every request to AWS: STS, SSO, metadata services and ECR alike.
//!
//! TLS is rustls with ring: the SDK's default, aws-lc, gathers CPU-jitter entropy at start-up, 22 ms of CPU in a
//! process that lives for five. Three connectors, each built when a request first needs it, so that a request over
//! plain http never reads the system's certificates. Proxies come from the environment, as curl and the AWS CLI
//! read it, but never for loopback and the link-local addresses of metadata services: the SDK itself would send
//! those to the proxy, which answers for another machine or not at all.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder, Connector, ConnectorBuilder, tls};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// The client to give to the SDK.
pub(super) fn client() -> SharedHttpClient {
    let provider = || tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    SharedHttpClient::new(Client(Arc::new(Connectors {
        plain: Builder::new()
            .build_with_connector_fn(|settings, components| connector(settings, components).build_http()),
        tls: Builder::new().build_with_connector_fn(move |settings, components| {
            connector(settings, components).tls_provider(provider()).build()
        }),
        proxied: Builder::new().build_with_connector_fn(move |settings, components| {
            let builder = connector(settings, components).proxy_config(ProxyConfig::from_env());
            builder.tls_provider(provider()).build()
        }),
    })))
}

fn connector(settings: Option<&HttpConnectorSettings>, components: Option<&RuntimeComponents>) -> ConnectorBuilder {
    let mut builder = Connector::builder();
    builder.set_connector_settings(settings.cloned());
    builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
    builder
}

#[derive(Debug)]
struct Connectors {
    plain: SharedHttpClient,
    tls: SharedHttpClient,
    /// Goes through a proxy where the environment names one for the request, else directly.
    proxied: SharedHttpClient,
}

#[derive(Debug)]
struct Client(Arc<Connectors>);

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Router {
            connectors: self.0.clone(),
            settings: settings.clone(),
            components: components.clone(),
        })
    }
}

/// Chooses the connector for each request.
struct Router {
    connectors: Arc<Connectors>,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Router")
    }
}

impl HttpConnector for Router {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri();
        let (scheme, rest) = uri.split_once("://").unwrap_or(("https", uri));
        let client = match (is_local(authority_host(rest)), scheme) {
            (true, "http") => &self.connectors.plain,
            (true, _) => &self.connectors.tls,
            (false, _) => &self.connectors.proxied,
        };
        client.http_connector(&self.settings, &self.components).call(request)
    }
}

/// The host in `host:port/path`, without the brackets of an IPv6 address.
fn authority_host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or(authority),
    }
}

/// Loopback, the instance metadata service, and the credential endpoints of ECS and EKS.
fn is_local(host: &str) -> bool {
    const METADATA_V6: [Ipv6Addr; 2] =
        [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)];
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.octets()[..2] == Ipv4Addr::new(169, 254, 0, 0).octets()[..2]
        }
        Ok(IpAddr::V6(address)) => address.is_loopback() || METADATA_V6.contains(&address),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::{authority_host, is_local};

    #[test]
    fn metadata_and_loopback_are_local_and_nothing_else_is() {
        for local in [
            "127.0.0.1:80/x",
            "localhost:4566",
            "[::1]:8080/",
            "169.254.169.254/latest",
            "169.254.170.2",
            "169.254.170.23",
            "[fd00:ec2::254]",
            "[fd00:ec2::23]:80",
        ] {
            assert!(is_local(authority_host(local)), "{local}");
        }
        for other in ["api.ecr.us-east-1.amazonaws.com/", "10.0.0.1", "localhost.example", "[fd00:ec2::1]"] {
            assert!(!is_local(authority_host(other)), "{other}");
        }
    }
}
