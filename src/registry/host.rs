//! The name by which clients look up a registry.

use std::borrow::Borrow;

use serde::{Deserialize, Serialize};

use super::{Registry, Wrong};

/// Prefixes of image references: those of skopeo and podman, and of helm.
const TRANSPORTS: [&str; 2] = ["docker://", "oci://"];

/// The longest server URL: a host name has at most 253 characters and a repository name 255.
const LONGEST: usize = 2048;

/// The name of a registry: the host in lower case, without a trailing dot. The name of a registry that is not ECR's includes
/// the port, unless it is that of HTTPS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Host(String);

impl Host {
    /// The name of the registry in a server URL. `None` when the input is not the URL of a registry.
    pub fn parse(server_url: &str) -> Option<Self> {
        let (host, port) = host_and_port(server_url)?;
        let port = if is_plain(server_url) { port.or(Some(80)) } else { port.filter(|port| *port != 443) };
        match port {
            Some(port) if Registry::from_host(&host).is_none() => Some(Self(format!("{host}:{port}"))),
            _ => Some(Self(host)),
        }
    }

    /// The same in a request. `None` also for a registry of ECR without TLS: ECR has none, and the token would travel openly.
    pub fn requested(server_url: &str) -> Option<Self> {
        Self::parse(server_url).filter(|host| !is_plain(server_url) || Registry::from_host(host).is_none())
    }

    /// The name by which clients look up the registry of an image, or of a key: with each port that is written there.
    pub fn in_image(text: &str) -> Option<Self> {
        match host_and_port(text)? {
            (host, Some(port)) if !text.contains("://") => Some(Self(format!("{host}:{port}"))),
            _ => Self::parse(text),
        }
    }

    /// The host of a registry.
    pub(super) fn new(host: String) -> Self {
        Self(host)
    }
}

parsed_text!(Host);

impl Borrow<str> for Host {
    fn borrow(&self) -> &str {
        self
    }
}

impl TryFrom<String> for Host {
    type Error = Wrong;

    fn try_from(name: String) -> Result<Self, Wrong> {
        Self::parse(&name).filter(|host| **host == name).ok_or_else(|| Wrong("not the name of a registry".to_owned()))
    }
}

fn is_plain(server_url: &str) -> bool {
    server_url.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("http:"))
}

/// The server URL in what a person typed or pasted: a host, a URL, or an image as docker, podman, skopeo or helm write it.
pub fn typed(text: &str) -> &str {
    let text = text.trim();
    let is_prefix = |prefix: &&&str| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    TRANSPORTS.iter().find(is_prefix).map_or(text, |prefix| &text[prefix.len()..])
}

/// Splits a server URL into host and port. Refuses everything that other parsers of URLs may read differently.
pub(super) fn host_and_port(server_url: &str) -> Option<(String, Option<u16>)> {
    if server_url.len() > LONGEST || !server_url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let rest = match server_url.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => rest,
        Some(_) => return None,
        None => server_url,
    };
    let authority = rest.split('/').next()?;
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) if is_number(port) => (host, Some(port.parse().ok()?)),
        Some(_) => return None,
        None => (authority, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    (host.len() <= 253 && host.split('.').all(is_label)).then(|| (host.to_ascii_lowercase(), port))
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::Host;
    use crate::registry::Registry;

    #[test]
    fn the_shapes_that_clients_send() {
        let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        for url in [
            "https://123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "http://123456789012.dkr.ecr.us-east-1.amazonaws.com/",
            "HTTPS://123456789012.DKR.ECR.us-East-1.AmazonAWS.com/v2/team/app/manifests/latest",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/app@sha256:0123",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com:443",
            "https://123456789012.dkr.ecr.us-east-1.amazonaws.com.:443/v2/",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.",
        ] {
            assert_eq!(Registry::parse(url).map(|registry| registry.host()).as_deref(), Some(host), "{url}");
        }
    }

    #[test]
    fn everything_else_is_not_ecr() {
        for url in [
            "",
            "docker.io",
            "https://index.docker.io/v1/",
            "amazonaws.com",
            "12345678901.dkr.ecr.us-east-1.amazonaws.com",
            "1234567890123.dkr.ecr.us-east-1.amazonaws.com",
            "12345678901a.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.cn",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.on.aws",
            "123456789012.dkr-ecr.us-east-1.amazonaws.com",
            "123456789012.dkr-ecr.us-iso-east-1.on.c2s.ic.gov",
            "123456789012.dkr.ecr.us-gov-west-1.amazonaws.eu",
            "123456789012.dkr.ecr.us-isob-east-1.c2s.ic.gov",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.us-east.amazonaws.com",
            "123456789012.dkr.ecr.us-east-one.amazonaws.com",
            "123456789012.dkr.ecr.us-ea.st-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1/.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1%2f.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1\\.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com..",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com:",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com:+443",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com:65536",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com:443:443",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com?x",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com#x",
            "user@123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "https://user:pass@123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "https://evil.example/@123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "ftp://123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "oci://123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "//123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "https:///123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com\nevil.example",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com evil",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/a\0",
            "１23456789012.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-eаst-1.amazonaws.com",
            "xpublic.ecr.aws",
            "public.ecr.aws.example",
            "api.ecr.us-east-1.amazonaws.com",
        ] {
            assert_eq!(Registry::parse(url), None, "{url:?}");
        }
        let long = format!("123456789012.dkr.ecr.us-east-1.amazonaws.com{}", "/".repeat(1_000_000));
        assert_eq!(Registry::parse(&long), None);
    }

    #[test]
    fn the_port_is_part_of_the_name_of_a_registry_that_is_not_ecrs() {
        for (url, name) in [
            ("https://Images.Example.com:5000/v2/", "images.example.com:5000"),
            ("images.example.com:443", "images.example.com"),
            ("images.example.com", "images.example.com"),
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com:8443/x", "123456789012.dkr.ecr.us-east-1.amazonaws.com"),
        ] {
            assert_eq!(Host::parse(url).as_deref(), Some(name), "{url}");
        }
    }
}
