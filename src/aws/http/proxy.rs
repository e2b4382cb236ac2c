//! Chooses the proxy for a request: by the variables that Go programs and the AWS CLI read, as Go reads them, but never for a
//! local address. `ALL_PROXY` is none of them. Where the value that applies is no URL of an HTTP proxy, the request fails: it
//! must not go past the proxy.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv6Addr};

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::{TransportError, authority, host, is_https};
use crate::env::Env;

/// The variables that decide about proxies; the last one is that of a CGI server.
pub(in crate::aws) const VARIABLES: [&str; 7] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD"];

/// The proxies that the environment names.
#[derive(Debug)]
pub(super) struct Proxies {
    matcher: Matcher,
    bypassed: Vec<Bypass>,
    https: Setting,
    http: Setting,
}

/// The variable that names the proxy for a scheme.
#[derive(Debug)]
struct Setting {
    variable: &'static str,
    /// Why its value names none.
    wrong: Option<&'static str>,
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
        let [https, https_lower, http, http_lower, no, no_lower, method] = VARIABLES;
        // A CGI server puts the client's header `Proxy` into HTTP_PROXY.
        let is_cgi = env.os(method).is_some();
        let set = |names: [&'static str; 2]| {
            let set = names.into_iter().filter(|_| !is_cgi).find_map(|name| Some((name, env.os(name)?)));
            let (variable, url) = set.map_or((names[0], Ok(String::new())), |(name, value)| (name, proxy_url(value)));
            let wrong = url.as_ref().err().copied();
            // Nothing asks this host: it makes the matcher say where there is a proxy.
            (url.unwrap_or_else(|_| "none".to_owned()), Setting { variable, wrong })
        };
        let ((https_url, https), (http_url, http)) = (set([https, https_lower]), set([http, http_lower]));
        let no = [no, no_lower].into_iter().filter(|_| !is_cgi).find_map(|name| env.os(name)).unwrap_or_default();
        // One entry that is not UTF-8 is none of the others.
        let no = no.to_string_lossy();
        // hyper-util reads addresses and networks as Go does, and other entries in its own way.
        let is_address = |entry: &&str| entry.parse::<IpAddr>().is_ok() || entry.contains('/');
        let entries = no.split(',').map(str::trim);
        let (addresses, others): (Vec<&str>, Vec<&str>) = entries.partition(is_address);
        let matcher = Matcher::builder().https(https_url).http(http_url).no(addresses.join(",")).build();
        let bypassed = others.into_iter().filter_map(Bypass::parse).collect();
        Self { matcher, bypassed, https, http }
    }

    /// The proxy for a request to `uri`, if there is one. The SDK itself would send requests for the metadata services to the
    /// proxy, which answers for another machine or not at all.
    pub(super) fn proxy_for(&self, uri: &Uri) -> Result<Option<Intercept>, TransportError> {
        let host = canonical(host(uri).trim_end_matches('.'));
        let port = uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 });
        let is_direct = is_local(&host) || self.bypassed.iter().any(|bypass| bypass.includes(&host, port));
        let proxy = if is_direct { None } else { self.matcher.intercept(uri) };
        match *self.setting(uri) {
            Setting { variable, wrong: Some(wrong) } if proxy.is_some() => {
                Err(TransportError::BadProxy(variable, wrong))
            }
            _ => Ok(proxy),
        }
    }

    /// The same proxy, for messages.
    pub(super) fn named_proxy_for(&self, uri: &Uri) -> Result<Option<NamedProxy>, TransportError> {
        let variable = self.setting(uri).variable;
        Ok(self.proxy_for(uri)?.map(|proxy| NamedProxy { authority: authority(proxy.uri()), variable }))
    }

    fn setting(&self, uri: &Uri) -> &Setting {
        if is_https(uri) { &self.https } else { &self.http }
    }
}

/// The URL of a proxy for hyper-util, from a value as Go reads it: `http` when it has no scheme, and without its path. An error
/// says what the value is.
fn proxy_url(value: &OsStr) -> Result<String, &'static str> {
    const WRONG: &str = "is not the URL of an HTTP proxy";
    let value = value.to_str().ok_or(WRONG)?;
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let scheme = scheme.to_ascii_lowercase();
    if scheme.starts_with("socks") {
        return Err("names a SOCKS proxy, and the helper can use an HTTP proxy only");
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // Only the last one ends the password.
    let (user, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let at = if user.is_empty() { "" } else { "@" };
    let url = format!("{scheme}://{}{at}{address}/", user.replace('@', "%40"));
    let is_address = |host: &str| match address.strip_prefix(host).filter(|_| !host.is_empty()) {
        Some(after) => after.is_empty() || after.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()),
        None => false,
    };
    // One behind the path belongs to a password that begins with a port.
    let is_proxy = ["http", "https"].contains(&scheme.as_str()) && !path.contains('@');
    let is_proxy = is_proxy && url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(is_address));
    if is_proxy { Ok(url) } else { Err(WRONG) }
}

/// An entry of `NO_PROXY` for hosts, or for an address with a port: what is reached without a proxy.
#[derive(Debug)]
struct Bypass {
    /// The end of the names, from a dot on. Empty for every host.
    suffix: String,
    /// Whether the domain itself is meant too, and not only the hosts below it.
    itself: bool,
    /// `None` for every port.
    port: Option<u16>,
}

impl Bypass {
    /// Parses an entry, e.g. `*`, `example.com`, `.example.com`, `*.example.com` or `example.com:443`; `None` when it has no
    /// meaning.
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self { suffix: String::new(), itself: false, port: None });
        }
        let (host, port) = match entry.rsplit_once(':').filter(|_| !entry.ends_with(']')) {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let host = canonical(host.trim_matches(['[', ']']));
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(&host);
        let itself = !host.starts_with('.');
        let suffix = if itself { format!(".{host}") } else { host.to_owned() };
        (suffix.len() > 1).then_some(Self { suffix, itself, port })
    }

    fn includes(&self, host: &str, port: u16) -> bool {
        let Self { suffix, itself, port: wanted } = self;
        let is_host = host.ends_with(suffix.as_str()) || (*itself && host == &suffix[1..]);
        is_host && wanted.is_none_or(|wanted| wanted == port)
    }
}

/// A host as it is compared: an address in its shortest form, a name in lower case.
fn canonical(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
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

    use super::{Proxies, is_local, proxy_url};
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
            let proxy = Proxies::from_env(&env).named_proxy_for(uri).expect("a proxy or none");
            proxy.map(|proxy| (proxy.authority, proxy.variable))
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
    fn a_value_is_the_url_of_a_proxy_as_for_go_or_none() {
        for (value, url) in [
            ("p.test", "http://p.test/"),
            ("p_x.test:3128", "http://p_x.test:3128/"),
            ("HTTP://P.test:3128/", "http://P.test:3128/"),
            ("https://p.test/path?a#b", "https://p.test/"),
            ("user:pw@p.test:80", "http://user:pw@p.test:80/"),
            ("http://user@p.test", "http://user@p.test/"),
            ("http://us%20er:%2F%3f%C3%A4@p.test:1", "http://us%20er:%2F%3f%C3%A4@p.test:1/"),
            ("http://u:p:w@x@p.test", "http://u:p:w%40x@p.test/"),
            ("http://u:!$&'()*+,;=~%@p.test", "http://u:!$&'()*+,;=~%@p.test/"),
            ("[::1]:3128", "http://[::1]:3128/"),
        ] {
            assert_eq!(proxy_url(value.as_ref()).as_deref(), Ok(url), "{value}");
        }
        let wrong = "http:/p.test:3128|http:p.test|//p.test|/| |http://|:3128|http://:3128|http://u@|http://u s:p@p.test\
             |http://p.test |\tp.test|p test|'http://p.test'|\"p.test\"|p.test:x|p.test:65536|p.test:-1|http://u:pä@p.test|http://pä.test\
             |http://[::1|::1|http://::1:80|[::1]80|http://u:12/w@p.test|http://u:12#w@p.test|http://u:12?w@p.test|http://u:w/w@p.test|http://u:\\@p.test|ftp://p.test|socks5://p.test:1080|SOCKS4a://p.test";
        for value in wrong.split('|') {
            assert!(proxy_url(value.as_ref()).is_err(), "{value}");
        }
    }

    #[test]
    fn no_proxy_is_read_as_by_go() {
        let is_direct = |no_proxy: &str, url: &str| {
            let variables =
                [("HTTPS_PROXY", "http://p.test:3128"), ("HTTP_PROXY", "http://p.test:3128"), ("NO_PROXY", no_proxy)];
            let env: Env = variables.into_iter().collect();
            Proxies::from_env(&env).proxy_for(&url.parse().expect("a URL")).expect("a proxy or none").is_none()
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
        for no_proxy in
            ["2001:db8::/32", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443", "[2001:DB8:0::1]:443", "::/0"]
        {
            assert!(is_direct(no_proxy, "https://[2001:db8::1]"), "{no_proxy}");
        }
        assert!(!is_direct("2001:db9::/32", "https://[2001:db8::1]"));
    }
}
