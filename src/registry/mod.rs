//! Parses server URLs: which ECR registry, in which region and partition, with which kind of endpoint.
//!
//! This module does no I/O and reads no environment. The hosts of private registries are
//! `<account>.dkr.ecr[-fips].<region>.<suffix>`, or `<account>.dkr-ecr[-fips].<region>.on.<…>` for dual-stack (Amazon ECR
//! user guide, "Private registries" and "Making requests over IPv6"; AWS General Reference, "Amazon ECR endpoints"). ECR
//! Public has two hosts. `partitions` has the regions and the suffix of each partition: a host that combines a region with
//! the suffix of another partition is no registry and gets no token.

mod partitions;

pub use partitions::is_known_region;
use partitions::{PARTITIONS, Partition, SERVICES, Service};

/// A host of ECR Public.
struct PublicHost {
    name: &'static str,
    dual_stack: bool,
}

const PUBLIC_HOSTS: &[PublicHost] =
    &[PublicHost { name: PUBLIC_HOST, dual_stack: false }, PublicHost { name: "ecr-public.aws.com", dual_stack: true }];

/// The host of ECR Public.
pub const PUBLIC_HOST: &str = "public.ecr.aws";

/// The region that serves ECR Public ("Amazon ECR Public endpoints", AWS General Reference).
const PUBLIC_REGION: &str = "us-east-1";

/// The account in hosts that the helper makes from a region alone; no account has this number.
pub const ANY_ACCOUNT: &str = "000000000000";

/// Prefixes of image references: those of skopeo and podman, and of helm.
const TRANSPORTS: [&str; 2] = ["docker://", "oci://"];

/// The longest server URL: a host name has at most 253 characters and a repository name 255.
const LONGEST: usize = 2048;

/// A registry that ECR serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The host alone, in lower case.
    pub host: String,
    /// The account, with 12 digits; `None` for ECR Public.
    pub account: Option<String>,
    /// The region of the API that issues tokens.
    pub region: String,
    /// Whether the host is a FIPS one, which requires the API's FIPS endpoint.
    pub fips: bool,
    /// Whether the host is a dual-stack one, which requires the API's dual-stack endpoint.
    pub dual_stack: bool,
}

impl Registry {
    /// Parses a server URL in any form that clients send: a host, with or without a scheme, a port, a path, upper case or a
    /// trailing dot. `None` when it names no ECR registry.
    pub fn parse(server_url: &str) -> Option<Self> {
        Self::from_host(&host_and_port(server_url)?.0)
    }

    /// The registry of `account` in `region`; `None` when one of the two is invalid.
    pub fn of_account(account: &str, region: &str) -> Option<Self> {
        let hosts = PARTITIONS.iter().map(|partition| format!("{account}.dkr.ecr.{region}.{}", partition.suffix));
        hosts.into_iter().find_map(|host| Self::from_host(&host))
    }

    /// The hosts of `account` in every known region, in each form.
    pub fn hosts_of_account(account: &str) -> Vec<String> {
        let mut hosts = Vec::new();
        for partition in PARTITIONS {
            for service in SERVICES {
                let Some(suffix) = partition.suffix_for(service) else { continue };
                let host = |region| format!("{account}.{}.{region}.{suffix}", service.labels);
                hosts.extend(partition.regions.iter().map(host));
            }
        }
        hosts
    }

    /// Whether this is ECR Public, whose images need no credentials.
    pub fn is_public(&self) -> bool {
        self.account.is_none()
    }

    fn from_host(host: &str) -> Option<Self> {
        if let Some(public) = PUBLIC_HOSTS.iter().find(|public| public.name == host) {
            let (host, region) = (host.to_owned(), PUBLIC_REGION.to_owned());
            return Some(Self { host, account: None, region, fips: false, dual_stack: public.dual_stack });
        }
        let (account, rest) = host.split_once('.')?;
        if !is_account(account) {
            return None;
        }
        let (service, rest) = Service::split(rest)?;
        let (region, suffix) = rest.split_once('.')?;
        Partition::all_of(region).find(|partition| partition.suffix_for(service) == Some(suffix))?;
        Some(Self {
            host: host.to_owned(),
            account: Some(account.to_owned()),
            region: region.to_owned(),
            fips: service.fips,
            dual_stack: service.dual_stack,
        })
    }
}

/// A pattern for every form of host that [`Registry::parse`] accepts, in which `*` matches one label: the account or the
/// region. These are the `matchImages` of kubelet's configuration, which compares label by label.
pub fn host_patterns() -> Vec<String> {
    let mut patterns: Vec<String> = PUBLIC_HOSTS.iter().map(|host| host.name.to_owned()).collect();
    for partition in PARTITIONS {
        for service in SERVICES {
            let Some(suffix) = partition.suffix_for(service) else { continue };
            let pattern = format!("*.{}.*.{suffix}", service.labels);
            // Some partitions have the same suffix.
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
    }
    patterns
}

/// The name of the registry in a server URL: the host in lower case, without a trailing dot. The name of a registry that is
/// not ECR's includes the port, unless it is that of HTTPS. `None` when the input is not the URL of a registry.
pub fn host(server_url: &str) -> Option<String> {
    let (host, port) = host_and_port(server_url)?;
    let is_plain = server_url.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("http:"));
    let port = if is_plain { port.or(Some(80)) } else { port.filter(|port| *port != 443) };
    match port {
        Some(port) if Registry::from_host(&host).is_none() => Some(format!("{host}:{port}")),
        _ => Some(host),
    }
}

/// The server URL in what a person typed or pasted: a host, a URL, or an image as docker, podman, skopeo or helm write it.
pub fn typed(text: &str) -> &str {
    let text = text.trim();
    let is_prefix = |prefix: &&&str| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    TRANSPORTS.iter().find(is_prefix).map_or(text, |prefix| &text[prefix.len()..])
}

/// Splits a server URL into host and port. Refuses everything that other parsers of URLs may read differently.
fn host_and_port(server_url: &str) -> Option<(String, Option<u16>)> {
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

/// Whether `account` is the number of an account.
pub fn is_account(account: &str) -> bool {
    account.len() == 12 && is_number(account)
}

/// Describes the invalid part of a host in the form of a private registry; `None` for other hosts.
pub fn wrong_part(host: &str) -> Option<String> {
    let (account, rest) = host.split_once('.')?;
    let (service, rest) = Service::split(rest)?;
    let (region, suffix) = rest.split_once('.').unwrap_or((rest, ""));
    if let Some(wrong) = wrong_account(account).or_else(|| wrong_region(region)) {
        return Some(wrong);
    }
    let partition = Partition::all_of(region).next()?;
    match partition.suffix_for(service) {
        Some(expected) if expected != suffix => {
            Some(format!("the host ends in '{suffix}'; registries in {region} end in '{expected}'"))
        }
        Some(_) => None,
        None => Some(format!("the region '{region}' has no dual-stack hosts")),
    }
}

/// Describes an invalid account; `None` for a valid one.
pub fn wrong_account(account: &str) -> Option<String> {
    (!is_account(account)).then(|| format!("the account '{account}' does not have 12 digits"))
}

/// Describes an invalid region; `None` for one that is known or that may be new.
pub fn wrong_region(region: &str) -> Option<String> {
    Partition::all_of(region)
        .next()
        .is_none()
        .then(|| format!("the region '{region}' does not have the form of one, e.g. eu-west-1"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Registry, host, is_known_region, wrong_part};

    #[test]
    fn every_partition_and_form() {
        for (host, region, fips, dual_stack) in [
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "us-east-1", false, false),
            ("123456789012.dkr.ecr-fips.us-west-2.amazonaws.com", "us-west-2", true, false),
            ("123456789012.dkr-ecr.eu-central-1.on.aws", "eu-central-1", false, true),
            ("123456789012.dkr-ecr-fips.us-east-2.on.aws", "us-east-2", true, true),
            ("123456789012.dkr.ecr.mx-newplace-17.amazonaws.com", "mx-newplace-17", false, false),
            ("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com", "us-gov-west-1", false, false),
            ("123456789012.dkr-ecr-fips.us-gov-east-1.on.aws", "us-gov-east-1", true, true),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", false, false),
            ("123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn", "cn-northwest-1", false, true),
            ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", false, false),
            ("123456789012.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu", "eusc-de-east-1", false, true),
            ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1", false, false),
            ("123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1", false, false),
            ("123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "eu-isoe-west-1", false, false),
            ("123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "us-isof-south-1", false, false),
        ] {
            let registry = Registry::parse(host).unwrap_or_else(|| panic!("{host} is a registry"));
            assert_eq!(
                (registry.host.as_str(), registry.region.as_str(), registry.fips, registry.dual_stack),
                (host, region, fips, dual_stack)
            );
            assert_eq!(registry.account.as_deref(), Some("123456789012"));
        }
        for (host, dual_stack) in [("public.ecr.aws", false), ("ecr-public.aws.com", true)] {
            let registry = Registry::parse(host).expect("ECR Public");
            assert!(registry.is_public() && registry.dual_stack == dual_stack && registry.region == "us-east-1");
        }
    }

    #[test]
    fn the_wrong_part_of_a_host_is_named() {
        for (host, named) in [
            ("12345.dkr.ecr.us-east-1.amazonaws.com", "'12345' does not have 12 digits"),
            ("11112222333x.dkr-ecr.us-east-1.on.aws", "'11112222333x'"),
            ("111122223333.dkr.ecr.us-east1.amazonaws.com", "'us-east1'"),
            ("111122223333.dkr.ecr-fips.xx-east-1.amazonaws.com", "'xx-east-1'"),
            ("111122223333.dkr.ecr.us-east-1", "''"),
            ("111122223333.dkr.ecr.cn-north-1.amazonaws.com", "'amazonaws.com.cn'"),
            ("111122223333.dkr-ecr.us-east-1.amazonaws.com", "'on.aws'"),
            ("111122223333.dkr-ecr.us-iso-east-1.on.c2s.ic.gov", "no dual-stack"),
        ] {
            let wrong = wrong_part(host).unwrap_or_else(|| panic!("{host}"));
            assert!(wrong.contains(named), "{host}: {wrong}");
        }
        for host in ["ghcr.io", "localhost", "111122223333.dkr.ecr.us-newplace-1.amazonaws.com"] {
            assert_eq!(wrong_part(host), None, "{host}");
        }
        assert!(is_known_region("eu-west-1") && !is_known_region("eu-wst-1"));
    }

    #[test]
    fn the_hosts_of_an_account_are_its_registries() {
        let hosts = Registry::hosts_of_account("111122223333");
        for host in &hosts {
            let registry = Registry::parse(host).unwrap_or_else(|| panic!("{host}"));
            assert!(registry.account.as_deref() == Some("111122223333") && is_known_region(&registry.region), "{host}");
        }
        for form in ["dkr.ecr.eu-west-1", "dkr.ecr-fips.us-gov-east-1", "dkr-ecr.cn-north-1", "dkr-ecr-fips.us-east-1"]
        {
            assert!(hosts.iter().any(|host| host.contains(&format!(".{form}."))), "{form}");
        }
    }

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
            assert_eq!(Registry::parse(url).map(|registry| registry.host).as_deref(), Some(host), "{url}");
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
            assert_eq!(host(url).as_deref(), Some(name), "{url}");
        }
    }
}
