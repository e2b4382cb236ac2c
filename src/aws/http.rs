//! The HTTP client under every request to AWS: STS, SSO, metadata services and ECR alike.
//!
//! TLS is rustls with ring: the SDK's default, aws-lc, gathers CPU-jitter entropy at start-up, 22 ms of CPU in a
//! process that lives for five. Three connectors, each built when a request first needs it, so that a request over
//! plain http never reads certificates.
//!
//! Roots are those of `AWS_CA_BUNDLE`, else of the profile's `ca_bundle`, as in the AWS CLI; without either,
//! `SSL_CERT_FILE` and `SSL_CERT_DIR`, else the system's bundle. The SDK knows neither of the first two.
//!
//! Proxies come from the environment, as curl and the AWS CLI read it, but never for loopback and the link-local
//! addresses of metadata services: the SDK itself would send those to the proxy, which answers for another machine
//! or not at all.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::dns::Resolver;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::Profiles;

/// Where proxies are named.
pub(super) const PROXIES: &[&str] =
    &["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// The way to AWS, and what explanations want to know about it.
#[derive(Clone, Debug)]
pub(super) struct Network {
    connectors: Arc<Connectors>,
    /// Whose certificates are trusted, in words.
    pub(super) roots: String,
}

#[derive(Debug)]
struct Connectors {
    /// Trusts no certificate, so it reads none.
    plain: SharedHttpClient,
    tls: SharedHttpClient,
    /// Goes through a proxy where the environment names one for the request, else directly.
    proxied: SharedHttpClient,
    /// Whether the environment names any.
    has_proxies: bool,
    seen: Mutex<Seen>,
}

/// Of the last request.
#[derive(Debug, Default)]
struct Seen {
    /// Host and port.
    endpoint: String,
    /// The `Date` of the answer: what time it is at AWS.
    date: Option<SystemTime>,
}

impl Network {
    /// Reads the CA bundle, if one is set, for the profile that is in use.
    pub(super) fn new(env: &Env, profiles: &Profiles, profile: &str) -> Result<Self, Failure> {
        let of_profile = || profiles.profile(profile)?.remove("ca_bundle").filter(|path| !path.is_empty());
        let bundle = match env.path("AWS_CA_BUNDLE") {
            Some(path) => Some((path, "AWS_CA_BUNDLE".to_owned())),
            None => of_profile().map(|path| (PathBuf::from(path), format!("ca_bundle of profile '{profile}'"))),
        };
        let (trusted, roots) = if let Some((path, setting)) = bundle {
            (Roots::These(trust(&path, &setting)?), format!("{} ({setting})", path.display()))
        } else {
            let set = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find_map(|name| Some((name, env.path(name)?)));
            let words = set.as_ref().map(|(name, path)| format!("{} ({name})", path.display()));
            let roots = if set.is_none() { Roots::System } else { Roots::These(TrustStore::default()) };
            (roots, words.unwrap_or_else(|| "the system's certificates".to_owned()))
        };
        let behind_proxy = trusted.clone();
        let connectors = Connectors {
            plain: Builder::new().build_with_connector_fn(move |settings, components| {
                let builder =
                    connector(settings, components).tls_provider(provider()).tls_context(trusting(TrustStore::empty()));
                builder.build_with_resolver(Resolver::new())
            }),
            tls: Builder::new().build_with_connector_fn(move |settings, components| {
                let builder =
                    connector(settings, components).tls_provider(provider()).tls_context(trusting(trusted.store()));
                builder.build_with_resolver(Resolver::new())
            }),
            proxied: Builder::new().build_with_connector_fn(move |settings, components| {
                let builder = connector(settings, components).proxy_config(ProxyConfig::from_env());
                let builder = builder.tls_provider(provider()).tls_context(trusting(behind_proxy.store()));
                builder.build_with_resolver(Resolver::new())
            }),
            has_proxies: PROXIES.iter().any(|name| env.os(name).is_some()),
            seen: Mutex::default(),
        };
        Ok(Self { connectors: Arc::new(connectors), roots })
    }

    /// The client to give to the SDK.
    pub(super) fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// The host and port that the last request went to; empty before the first.
    pub(super) fn last_endpoint(&self) -> String {
        self.connectors.seen().endpoint.clone()
    }

    /// The time at AWS when it last answered; by the local clock when it did not say.
    pub(super) fn time_at_aws(&self) -> SystemTime {
        self.connectors.seen().date.unwrap_or_else(SystemTime::now)
    }
}

impl Connectors {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn provider() -> tls::Provider {
    tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)
}

fn trusting(store: TrustStore) -> TlsContext {
    TlsContext::builder().with_trust_store(store).build().expect("nothing in it can be wrong")
}

/// Whose certificates are trusted.
#[derive(Clone, Debug)]
enum Roots {
    These(TrustStore),
    /// Read when the first connection with TLS is made.
    System,
}

impl Roots {
    fn store(&self) -> TrustStore {
        match self {
            Self::These(store) => store.clone(),
            Self::System => system_bundle().unwrap_or_default(),
        }
    }
}

/// The bundle file of a Linux system, where it has one that can be used whole. The same certificates also lie in a
/// directory, one each; reading that too, as is the default, takes 2 ms more of a cold start. `None` leaves it to the
/// default.
fn system_bundle() -> Option<TrustStore> {
    const BUNDLES: &[&str] = &[
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    if !cfg!(target_os = "linux") {
        return None;
    }
    let path = BUNDLES.iter().find(|path| std::path::Path::new(path).exists())?;
    trust(path.as_ref(), "the system's").ok()
}

/// A trust store of this file alone. Checked here, since the connector panics over what it cannot read.
fn trust(path: &std::path::Path, setting: &str) -> Result<TrustStore, Failure> {
    let unusable = |why: String| {
        let next = format!("correct or unset {setting}: it must be a file of PEM certificates");
        Failure::new(format!("the CA bundle {} ({setting}) cannot be used: {why}", path.display()), next)
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let mut store = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        store.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(unusable("no certificate in it".to_owned()));
    }
    Ok(TrustStore::empty().with_pem_certificate(pem))
}

fn connector(settings: Option<&HttpConnectorSettings>, components: Option<&RuntimeComponents>) -> ConnectorBuilder {
    let mut builder = Connector::builder();
    builder.set_connector_settings(settings.cloned());
    builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
    builder
}

impl HttpClient for Network {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Router {
            connectors: self.connectors.clone(),
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
        let authority = authority(rest);
        *self.connectors.seen() = Seen { endpoint: authority.to_owned(), date: None };
        let local = is_local(host(authority));
        let client = match scheme {
            _ if self.connectors.has_proxies && !local => &self.connectors.proxied,
            "http" => &self.connectors.plain,
            _ => &self.connectors.tls,
        };
        let answer = client.http_connector(&self.settings, &self.components).call(request);
        let connectors = self.connectors.clone();
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            let date = answer.headers().get("date").and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
            connectors.seen().date = date.and_then(|date| SystemTime::try_from(date).ok());
            Ok(answer)
        })
    }
}

/// `host:port` in `user@host:port/path`.
fn authority(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// The host in `host:port`, without the brackets of an IPv6 address.
fn host(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or(authority),
    }
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
    use super::{authority, host, is_local};

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
            assert!(is_local(host(authority(local))), "{local}");
        }
        for other in ["api.ecr.us-east-1.amazonaws.com/", "10.0.0.1", "localhost.example", "[fd00:ec2::1]"] {
            assert!(!is_local(host(authority(other))), "{other}");
        }
    }
}
