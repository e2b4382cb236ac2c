//! Chooses the proxy for a request: by the variables that curl and the AWS CLI read, but never for a local address.

use std::net::{IpAddr, Ipv6Addr};

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::{authority, host};
use crate::env::Env;

/// The proxies that the environment names.
#[derive(Debug)]
pub(super) struct Proxies {
    matcher: Matcher,
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
        let all = first(["ALL_PROXY", "all_proxy"]);
        let https = first(["HTTPS_PROXY", "https_proxy"]);
        let http = first(["HTTP_PROXY", "http_proxy"]);
        let no = first(["NO_PROXY", "no_proxy"]);
        let matcher = Matcher::builder().all(value(all)).https(value(https)).http(value(http)).no(value(no)).build();
        let https_variable = https.or(all).unwrap_or("HTTPS_PROXY");
        let http_variable = http.or(all).unwrap_or("HTTP_PROXY");
        Self { matcher, https_variable, http_variable }
    }

    /// The proxy for a request to `uri`, if there is one. The SDK itself would send requests for the metadata services to the
    /// proxy, which answers for another machine or not at all.
    pub(super) fn proxy_for(&self, uri: &Uri) -> Option<Intercept> {
        if is_local(host(uri)) { None } else { self.matcher.intercept(uri) }
    }

    /// The same proxy, for messages.
    pub(super) fn named_proxy_for(&self, uri: &Uri) -> Option<NamedProxy> {
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let variable = if is_https { self.https_variable } else { self.http_variable };
        self.proxy_for(uri).map(|proxy| NamedProxy { authority: authority(proxy.uri()), variable })
    }
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
        assert_eq!(chosen(&[("ALL_PROXY", p), ("HTTPS_PROXY", "http://q.test")], &http), proxy("ALL_PROXY"));
        assert_eq!(chosen(&[("HTTPS_PROXY", p), ("NO_PROXY", ".test")], &https), None);
        assert_eq!(chosen(&[("HTTPS_PROXY", p), ("REQUEST_METHOD", "GET")], &https), None);
        assert_eq!(chosen(&[("HTTPS_PROXY", p)], &Uri::from_static("https://127.0.0.1")), None);
    }
}
