//! What a server URL says: which ECR registry, in which region and partition, over which kind of endpoint.
//!
//! Pure: no I/O, no environment. Private registries are
//! `<account>.dkr.ecr[-fips].<region>.<suffix>`, dual-stack ones `<account>.dkr-ecr[-fips].<region>.on.<…>`
//! (Amazon ECR user guide, "Private registries" and "Making requests over IPv6"; AWS General Reference, "Amazon
//! ECR endpoints"). ECR Public has two names. Regions are checked against their partition by the patterns of the
//! SDKs' `partitions.json`, so a new region of a known partition needs no release, while a host that pairs a
//! region with another partition's suffix is nobody's registry and gets no token.

/// One partition: its regions are `<prefix>-<word>-<number>`.
struct Partition {
    prefixes: &'static [&'static str],
    /// Those of its regions that exist today. Others of this form are served too: see [`is_known_region`].
    regions: &'static [&'static str],
    /// Suffix of its registry hosts.
    suffix: &'static str,
    /// Suffix of its dual-stack registry hosts, where it has any.
    dual_stack_suffix: Option<&'static str>,
}

impl Partition {
    /// What follows the region in hosts of `service`; `None` when the partition has no such hosts.
    fn suffix_for(&self, service: &Service) -> Option<&'static str> {
        if service.dual_stack { self.dual_stack_suffix } else { Some(self.suffix) }
    }
}

const PARTITIONS: &[Partition] = &[
    Partition {
        prefixes: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
        regions: &[
            "af-south-1",
            "ap-east-1",
            "ap-east-2",
            "ap-northeast-1",
            "ap-northeast-2",
            "ap-northeast-3",
            "ap-south-1",
            "ap-south-2",
            "ap-southeast-1",
            "ap-southeast-2",
            "ap-southeast-3",
            "ap-southeast-4",
            "ap-southeast-5",
            "ap-southeast-6",
            "ap-southeast-7",
            "ca-central-1",
            "ca-west-1",
            "eu-central-1",
            "eu-central-2",
            "eu-north-1",
            "eu-south-1",
            "eu-south-2",
            "eu-west-1",
            "eu-west-2",
            "eu-west-3",
            "il-central-1",
            "me-central-1",
            "me-south-1",
            "mx-central-1",
            "sa-east-1",
            "us-east-1",
            "us-east-2",
            "us-west-1",
            "us-west-2",
        ],
        suffix: "amazonaws.com",
        dual_stack_suffix: Some("on.aws"),
    },
    Partition {
        prefixes: &["us-gov"],
        regions: &["us-gov-east-1", "us-gov-west-1"],
        suffix: "amazonaws.com",
        dual_stack_suffix: Some("on.aws"),
    },
    Partition {
        prefixes: &["cn"],
        regions: &["cn-north-1", "cn-northwest-1"],
        suffix: "amazonaws.com.cn",
        dual_stack_suffix: Some("on.amazonwebservices.com.cn"),
    },
    Partition {
        prefixes: &["eusc-de"],
        regions: &["eusc-de-east-1"],
        suffix: "amazonaws.eu",
        dual_stack_suffix: Some("on.amazonwebservices.eu"),
    },
    Partition {
        prefixes: &["us-iso"],
        regions: &["us-iso-east-1", "us-iso-west-1"],
        suffix: "c2s.ic.gov",
        dual_stack_suffix: None,
    },
    Partition {
        prefixes: &["us-isob"],
        regions: &["us-isob-east-1", "us-isob-west-1"],
        suffix: "sc2s.sgov.gov",
        dual_stack_suffix: None,
    },
    Partition {
        prefixes: &["eu-isoe"],
        regions: &["eu-isoe-west-1"],
        suffix: "cloud.adc-e.uk",
        dual_stack_suffix: None,
    },
    Partition {
        prefixes: &["us-isof"],
        regions: &["us-isof-east-1", "us-isof-south-1"],
        suffix: "csp.hci.ic.gov",
        dual_stack_suffix: None,
    },
];

/// What stands between account and region in a private registry's host.
struct Service {
    labels: &'static str,
    fips: bool,
    dual_stack: bool,
}

const SERVICES: &[Service] = &[
    Service { labels: "dkr.ecr", fips: false, dual_stack: false },
    Service { labels: "dkr.ecr-fips", fips: true, dual_stack: false },
    Service { labels: "dkr-ecr", fips: false, dual_stack: true },
    Service { labels: "dkr-ecr-fips", fips: true, dual_stack: true },
];

impl Service {
    /// The service that what follows the account in a host begins with, and the rest.
    fn split(host: &str) -> Option<(&'static Self, &str)> {
        SERVICES.iter().find_map(|service| Some((service, host.strip_prefix(service.labels)?.strip_prefix('.')?)))
    }
}

/// The hosts of ECR Public, and whether each is a dual-stack one.
const PUBLIC_HOSTS: &[(&str, bool)] = &[("public.ecr.aws", false), ("ecr-public.aws.com", true)];

/// ECR Public is served from one region ("Amazon ECR Public endpoints", AWS General Reference).
const PUBLIC_REGION: &str = "us-east-1";

/// Stands for every account of a region in hosts that are composed from a region alone; no account has this number.
pub const ANY_ACCOUNT: &str = "000000000000";

/// Longer input is no server URL: a host name has at most 253 characters and a repository name 255.
const LONGEST: usize = 2048;

/// A registry that ECR serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The host alone, in lower case.
    pub host: String,
    /// Twelve digits; `None` for ECR Public.
    pub account: Option<String>,
    /// The region of the API that gives out tokens.
    pub region: String,
    /// The host is a FIPS one, so the API must be called on its FIPS endpoint.
    pub fips: bool,
    /// The host is a dual-stack one, so the API must be called on its dual-stack endpoint.
    pub dual_stack: bool,
}

impl Registry {
    /// Reads a server URL in any of the shapes that clients send: a host, with or without scheme, port, path,
    /// upper case, a trailing dot. `None` means that it names no ECR registry.
    pub fn parse(server_url: &str) -> Option<Self> {
        Self::from_host(&host_and_port(server_url)?.0)
    }

    /// The registry of `account` in `region`; `None` when there can be none.
    pub fn of_account(account: &str, region: &str) -> Option<Self> {
        let hosts = PARTITIONS.iter().map(|partition| format!("{account}.dkr.ecr.{region}.{}", partition.suffix));
        hosts.into_iter().find_map(|host| Self::from_host(&host))
    }

    /// The hosts of `account` in every region that [`is_known_region`], in each form.
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
        if let Some(&(_, dual_stack)) = PUBLIC_HOSTS.iter().find(|(public, _)| *public == host) {
            let (host, region) = (host.to_owned(), PUBLIC_REGION.to_owned());
            return Some(Self { host, account: None, region, fips: false, dual_stack });
        }
        let (account, rest) = host.split_once('.')?;
        if !is_account(account) {
            return None;
        }
        let (service, rest) = Service::split(rest)?;
        let (region, suffix) = rest.split_once('.')?;
        PARTITIONS.iter().find(|partition| {
            partition.suffix_for(service) == Some(suffix)
                && partition.prefixes.iter().any(|prefix| is_region(region, prefix))
        })?;
        Some(Self {
            host: host.to_owned(),
            account: Some(account.to_owned()),
            region: region.to_owned(),
            fips: service.fips,
            dual_stack: service.dual_stack,
        })
    }
}

/// A pattern for every form of host that [`Registry::parse`] accepts, in which `*` stands for one label: the account or
/// the region. These are the `matchImages` of kubelet's configuration, which compares label by label.
pub fn host_patterns() -> Vec<String> {
    let mut patterns: Vec<String> = PUBLIC_HOSTS.iter().map(|(host, _)| (*host).to_owned()).collect();
    for partition in PARTITIONS {
        for service in SERVICES {
            let Some(suffix) = partition.suffix_for(service) else { continue };
            let pattern = format!("*.{}.*.{suffix}", service.labels);
            // Partitions may share a suffix.
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
    }
    patterns
}

/// The name of the registry in a server URL: its host in lower case, without a trailing dot, and for other registries than
/// ECR's with the port, unless that is HTTPS's own. `None` when the input is not the URL of a registry at all.
pub fn host(server_url: &str) -> Option<String> {
    let (host, port) = host_and_port(server_url)?;
    match port {
        Some(port) if port != 443 && Registry::from_host(&host).is_none() => Some(format!("{host}:{port}")),
        _ => Some(host),
    }
}

/// A registry's name without the port.
pub fn without_port(host: &str) -> &str {
    host.split(':').next().unwrap_or(host)
}

/// Strict about everything that other readers of URLs might see differently.
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

/// Whether this is the number of an account.
pub fn is_account(account: &str) -> bool {
    account.len() == 12 && is_number(account)
}

/// Whether a region existed when this version was made. One that did not may be new, or misspelt.
pub fn is_known_region(region: &str) -> bool {
    PARTITIONS.iter().any(|partition| partition.regions.contains(&region))
}

/// Which part of a host is wrong, where it has the form of a private registry's; `None` for other hosts.
pub fn wrong_part(host: &str) -> Option<String> {
    let (account, rest) = host.split_once('.')?;
    let (service, rest) = Service::split(rest)?;
    let (region, suffix) = rest.split_once('.').unwrap_or((rest, ""));
    if let Some(wrong) = wrong_account(account).or_else(|| wrong_region(region)) {
        return Some(wrong);
    }
    let of_region = |partition: &&Partition| partition.prefixes.iter().any(|prefix| is_region(region, prefix));
    let partition = PARTITIONS.iter().find(of_region)?;
    match partition.suffix_for(service) {
        Some(expected) if expected != suffix => {
            Some(format!("the host ends in '{suffix}'; registries in {region} end in '{expected}'"))
        }
        Some(_) => None,
        None => Some(format!("the region '{region}' has no dual-stack hosts")),
    }
}

/// What is wrong with an account, if anything is.
pub fn wrong_account(account: &str) -> Option<String> {
    (!is_account(account)).then(|| format!("the account '{account}' does not have 12 digits"))
}

/// What is wrong with a region, if anything is. One that is not known may still be a new one.
pub fn wrong_region(region: &str) -> Option<String> {
    let known = PARTITIONS.iter().any(|partition| partition.prefixes.iter().any(|prefix| is_region(region, prefix)));
    (!known).then(|| format!("the region '{region}' does not have the form of one, e.g. eu-west-1"))
}

fn is_region(region: &str, prefix: &str) -> bool {
    let rest = region.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    rest.and_then(|rest| rest.split_once('-')).is_some_and(|(word, number)| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric()) && is_number(number)
    })
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
