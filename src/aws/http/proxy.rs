//! Chooses the proxy for a request: by the variables that Go programs and the AWS CLI read, as Go reads them, but never for a
//! local address. `ALL_PROXY` is none of them.

use std::net::{IpAddr, Ipv6Addr};

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::{authority, host, is_https};
use crate::env::Env;

/// The proxies that the environment names.
#[derive(Debug)]
pub(super) struct Proxies {
    matcher: Matcher,
    bypassed: Vec<Bypass>,
    https_variable: &'static str,
    http_variable: &'static str,
}

/// A proxy, for messages.
#[derive(Clone, Debug)]
pub(in crate::aws) struct NamedProxy {
    /// Its host and port.
    pub(in crate::aws) authority: String,
    /// The variable that names it.
    pub(in crate::aws) variable: &'static str,
}

impl Proxies {
    pub(super) fn from_env(env: &Env) -> Self {
        // A CGI server puts the client's header `Proxy` into HTTP_PROXY.
        let is_cgi = env.os("REQUEST_METHOD").is_some();
        let first = |names: [&'static str; 2]| names.into_iter().find(|name| !is_cgi && env.text(name).is_some());
        let value = |name: Option<&str>| name.and_then(|name| env.text(name)).unwrap_or_default();
        let https = first(["HTTPS_PROXY", "https_proxy"]);
        let http = first(["HTTP_PROXY", "http_proxy"]);
        let no = first(["NO_PROXY", "no_proxy"]);
        let matcher = Matcher::builder().https(value(https)).http(value(http)).build();
        let bypassed = value(no).split(',').filter_map(Bypass::parse).collect();
        let (https_variable, http_variable) = (https.unwrap_or("HTTPS_PROXY"), http.unwrap_or("HTTP_PROXY"));
        Self { matcher, bypassed, https_variable, http_variable }
    }

    /// The proxy for a request to `uri`, if there is one. The SDK itself would send requests for the metadata services to the
    /// proxy, which answers for another machine or not at all.
    pub(super) fn proxy_for(&self, uri: &Uri) -> Option<Intercept> {
        let host = host(uri).trim_end_matches('.').to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 });
        let is_direct = is_local(&host) || self.bypassed.iter().any(|bypass| bypass.includes(&host, port));
        if is_direct { None } else { self.matcher.intercept(uri) }
    }

    /// The same proxy, for messages.
    pub(super) fn named_proxy_for(&self, uri: &Uri) -> Option<NamedProxy> {
        let variable = if is_https(uri) { self.https_variable } else { self.http_variable };
        self.proxy_for(uri).map(|proxy| NamedProxy { authority: authority(proxy.uri()), variable })
    }
}

/// An entry of `NO_PROXY`: what is reached without a proxy.
#[derive(Debug)]
enum Bypass {
    /// `*`
    All,
    /// The addresses that have these first bits, e.g. 10.0.0.0/8.
    Network(IpAddr, u8),
    /// An address, with a port or with every port.
    Address(IpAddr, Option<u16>),
    /// The hosts below a domain, e.g. `.example.com` or `*.example.com`; without the leading dot, the domain too.
    Domain { suffix: String, itself: bool, port: Option<u16> },
}

impl Bypass {
    /// Parses an entry; `None` when it has no meaning.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
            let longest = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= longest).then_some(Self::Network(address, bits));
        }
        if let Ok(address) = entry.parse() {
            return Some(Self::Address(address, None));
        }
        let (host, port) = match entry.rsplit_once(':').filter(|_| !entry.ends_with(']')) {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry.as_str(), None),
        };
        let host = host.trim_matches(['[', ']']);
        if let Ok(address) = host.parse() {
            return Some(Self::Address(address, port));
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let itself = !host.starts_with('.');
        let suffix = if itself { format!(".{host}") } else { host.to_owned() };
        (suffix.len() > 1).then_some(Self::Domain { suffix, itself, port })
    }

    fn includes(&self, host: &str, port: u16) -> bool {
        let is_port = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::All => true,
            Self::Network(network, bits) => host.parse().is_ok_and(|address| shares_bits(*network, address, *bits)),
            Self::Address(wanted, port) => {
                host.parse().is_ok_and(|address: IpAddr| address == *wanted) && is_port(port)
            }
            Self::Domain { suffix, itself, port } => {
                (host.ends_with(suffix.as_str()) || (*itself && host == &suffix[1..])) && is_port(port)
            }
        }
    }
}

/// Whether two addresses of one kind have the same first bits.
fn shares_bits(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let (one, other, length) = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    (one ^ other).checked_shr(length - u32::from(bits)).unwrap_or(0) == 0
}

/// Whether `host` is loopback, the instance metadata service, or a credential endpoint of ECS or EKS.
pub(in crate::aws) fn is_local(host: &str) -> bool {
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
    use http::Uri;

    use super::{Proxies, is_local};
    use crate::aws::http::host;
    use crate::env::Env;

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

    #[test]
    fn a_message_names_the_variable_that_the_proxy_came_from() {
        let (https, http) = (Uri::from_static("https://aws.test"), Uri::from_static("http://aws.test"));
        let chosen = |variables: &[(&str, &str)], uri: &Uri| {
            let env: Env = variables.iter().copied().collect();
            Proxies::from_env(&env).named_proxy_for(uri).map(|proxy| (proxy.authority, proxy.variable))
        };
        let proxy = |variable| Some(("p.test:3128".to_owned(), variable));
        let p = "http://p.test:3128";
        assert_eq!(chosen(&[("https_proxy", p)], &https), proxy("https_proxy"));
        assert_eq!(chosen(&[("https_proxy", p)], &http), None);
        assert_eq!(chosen(&[("HTTPS_PROXY", p), ("https_proxy", "http://q.test")], &https), proxy("HTTPS_PROXY"));
        assert_eq!(chosen(&[("HTTPS_PROXY", ""), ("https_proxy", p)], &https), proxy("https_proxy"));
        assert_eq!(chosen(&[("ALL_PROXY", p), ("all_proxy", p)], &https), None);
        assert_eq!(chosen(&[("HTTPS_PROXY", p), ("NO_PROXY", ".test")], &https), None);
        assert_eq!(chosen(&[("HTTPS_PROXY", p), ("REQUEST_METHOD", "GET")], &https), None);
        assert_eq!(chosen(&[("HTTPS_PROXY", p)], &Uri::from_static("https://127.0.0.1")), None);
    }

    #[test]
    fn no_proxy_is_read_as_by_go() {
        let is_direct = |no_proxy: &str, url: &str| {
            let variables =
                [("HTTPS_PROXY", "http://p.test:3128"), ("HTTP_PROXY", "http://p.test:3128"), ("NO_PROXY", no_proxy)];
            let env: Env = variables.into_iter().collect();
            Proxies::from_env(&env).proxy_for(&url.parse().expect("a URL")).is_none()
        };
        let (host, ecr) = ("https://amazonaws.com", "https://api.ecr.us-east-1.amazonaws.com");
        for no_proxy in
            ["*", ".amazonaws.com", "*.amazonaws.com", "amazonaws.com", "x, *.AMAZONAWS.com ", "amazonaws.com:443"]
        {
            assert!(is_direct(no_proxy, ecr), "{no_proxy}");
        }
        for no_proxy in
            ["", "aws.com", "*amazonaws.com", "amazonaws.com:80", "api.ecr.us-east-1", "/", ",", "amazonaws.com:x"]
        {
            assert!(!is_direct(no_proxy, ecr), "{no_proxy}");
        }
        assert!(
            is_direct("amazonaws.com", host)
                && !is_direct(".amazonaws.com", host)
                && !is_direct("*.amazonaws.com", host)
        );
        for no_proxy in ["10.0.0.0/8", "10.1.2.3", "10.1.2.3:443", "10.1.2.3/32", "0.0.0.0/0"] {
            assert!(is_direct(no_proxy, "https://10.1.2.3"), "{no_proxy}");
        }
        for no_proxy in ["10.0.0.0/16", "10.1.2.4", "10.1.2.3:80", "10.0.0.0/33", "::/0", "10.1.2."] {
            assert!(!is_direct(no_proxy, "https://10.1.2.3"), "{no_proxy}");
        }
        for no_proxy in ["2001:db8::/32", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443", "::/0"] {
            assert!(is_direct(no_proxy, "https://[2001:db8::1]"), "{no_proxy}");
        }
        assert!(!is_direct("2001:db9::/32", "https://[2001:db8::1]"));
    }
}
