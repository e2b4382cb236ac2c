//! Parses server URLs: which ECR registry, in which region and partition, with which kind of endpoint.
//!
//! This module does no I/O and reads no environment. The hosts of private registries are
//! `<account>.dkr.ecr[-fips].<region>.<suffix>`, or `<account>.dkr-ecr[-fips].<region>.on.<…>` for dual-stack (Amazon ECR
//! user guide, "Private registries" and "Making requests over IPv6"; AWS General Reference, "Amazon ECR endpoints"). ECR
//! Public has two hosts. `partitions` has the regions and the suffix of each partition: a host that combines a region with
//! the suffix of another partition is no registry and gets no token.

/// Text that only its parser makes, and that reads like any other.
macro_rules! parsed_text {
    ($name:ident) => {
        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl log::kv::ToValue for $name {
            fn to_value(&self) -> log::kv::Value<'_> {
                log::kv::Value::from(&*self.0)
            }
        }
    };
}

mod account;
mod host;
mod partitions;

use std::fmt;

pub use account::Account;
pub use host::{Host, typed};
pub use partitions::Region;
use partitions::{PARTITIONS, Service};

/// The hosts of ECR Public: the one with IPv4 alone, and the dual-stack one.
const PUBLIC_HOSTS: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];

/// A registry that ECR serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registry {
    /// The registry of an account in a region.
    Private {
        /// The account that owns it.
        account: Account,
        /// Its region, whose API issues its tokens.
        region: Region,
        /// Whether the host is a FIPS one, which requires the API's FIPS endpoint.
        fips: bool,
        /// Whether the host is a dual-stack one, which requires the API's dual-stack endpoint.
        dual_stack: bool,
    },
    /// ECR Public, whose images need no credentials.
    Public {
        /// The same as for a private registry.
        dual_stack: bool,
    },
}

impl Registry {
    /// ECR Public by the host that its images are named with.
    pub const PUBLIC: Self = Self::Public { dual_stack: false };

    /// Parses a server URL in any form that clients send: a host, with or without a scheme, a port, a path, upper case or a
    /// trailing dot. `None` when it names no ECR registry.
    pub fn parse(server_url: &str) -> Option<Self> {
        Self::from_host(&host::host_and_port(server_url)?.0)
    }

    /// The registry of `account` in `region`.
    pub fn private(account: Account, region: Region) -> Self {
        Self::Private { account, region, fips: false, dual_stack: false }
    }

    /// The hosts of `account` in every known region, in each form.
    pub fn all_hosts(account: Account) -> impl Iterator<Item = Host> {
        Region::all_known().flat_map(move |region| {
            let services = region.partition().services();
            services.map(move |Service { fips, dual_stack, .. }| {
                let (region, fips, dual_stack) = (region.clone(), *fips, *dual_stack);
                Self::Private { account, region, fips, dual_stack }.host()
            })
        })
    }

    /// The host, as clients look it up.
    pub fn host(&self) -> Host {
        match self {
            Self::Private { account, region, fips, dual_stack } => {
                let (service, partition) = (Service::new(*fips, *dual_stack), region.partition());
                let suffix = partition.suffix_for(service).unwrap_or(partition.suffix);
                Host::new(format!("{account}.{}.{region}.{suffix}", service.labels))
            }
            Self::Public { dual_stack } => Host::new(PUBLIC_HOSTS[usize::from(*dual_stack)].to_owned()),
        }
    }

    /// The account; `None` for ECR Public, which has none.
    pub fn account(&self) -> Option<Account> {
        match self {
            Self::Private { account, .. } => Some(*account),
            Self::Public { .. } => None,
        }
    }

    /// The region of the API that issues tokens.
    pub fn region(&self) -> Region {
        match self {
            Self::Private { region, .. } => region.clone(),
            Self::Public { .. } => Region::public(),
        }
    }

    /// Whether the host is a FIPS one; see [`Self::Private`].
    pub fn fips(&self) -> bool {
        matches!(self, Self::Private { fips: true, .. })
    }

    /// Whether the host is a dual-stack one; see [`Self::Private`].
    pub fn dual_stack(&self) -> bool {
        matches!(self, Self::Private { dual_stack: true, .. } | Self::Public { dual_stack: true })
    }

    /// Whether this is ECR Public.
    pub fn is_public(&self) -> bool {
        matches!(self, Self::Public { .. })
    }

    /// The same for an account that stands for every one: all registries of a region have the same tokens.
    #[must_use]
    pub fn without_account(self) -> Self {
        match self {
            Self::Private { region, fips, dual_stack, .. } => {
                Self::Private { account: Account::ANY, region, fips, dual_stack }
            }
            public @ Self::Public { .. } => public,
        }
    }

    /// Whether it stands for every registry of its region.
    pub fn names_region_alone(&self) -> bool {
        self.account() == Some(Account::ANY)
    }

    fn from_host(host: &str) -> Option<Self> {
        match PUBLIC_HOSTS.iter().position(|public| *public == host) {
            Some(index) => Some(Self::Public { dual_stack: index == 1 }),
            None => private(host)?.ok(),
        }
    }
}

/// Why a text is not what its type requires, as a clause.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// Whether the host of a registry may begin with the one text and end with the other.
pub fn may_begin_and_end(start: &str, end: &str) -> bool {
    let after_account = start.trim_start_matches(|c: char| c.is_ascii_digit());
    let has_account = start[..start.len() - after_account.len()].parse::<Account>().is_ok();
    let may = |service: &Service, suffix: &str| {
        let (middle, suffix) = (format!(".{}.", service.labels), format!(".{suffix}"));
        let may_begin = has_account && (middle.starts_with(after_account) || after_account.starts_with(&middle));
        (after_account.is_empty() || may_begin) && (suffix.ends_with(end) || end.ends_with(&suffix))
    };
    let mut partitions = PARTITIONS.iter();
    PUBLIC_HOSTS.iter().any(|host| host.starts_with(start) && host.ends_with(end))
        || partitions
            .any(|one| one.services().any(|service| one.suffix_for(service).is_some_and(|end| may(service, end))))
}

/// A pattern for every form of host that [`Registry::parse`] accepts, in which `*` matches one label: the account or the
/// region. These are the `matchImages` of kubelet's configuration, which compares label by label.
pub fn host_patterns() -> Vec<String> {
    let mut patterns: Vec<String> = PUBLIC_HOSTS.map(str::to_owned).to_vec();
    for partition in PARTITIONS {
        for service in partition.services() {
            let pattern = format!("*.{}.*.{}", service.labels, partition.suffix_for(service).unwrap_or_default());
            // Some partitions have the same suffix.
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
    }
    patterns
}

/// Describes the invalid part of a host in the form of a private registry; `None` for other hosts.
pub fn wrong_part(host: &str) -> Option<Wrong> {
    private(host)?.err()
}

/// The registry of a host in the form of a private one, or what is invalid in it; `None` for other hosts.
fn private(host: &str) -> Option<Result<Registry, Wrong>> {
    let (account, rest) = host.split_once('.')?;
    let (service, rest) = Service::split(rest)?;
    let (region, suffix) = rest.split_once('.').unwrap_or((rest, ""));
    let parse = || {
        let (account, region) = (account.parse()?, region.parse::<Region>()?);
        match region.partition().suffix_for(service) {
            Some(expected) if expected == suffix => {
                let Service { fips, dual_stack, .. } = *service;
                Ok(Registry::Private { account, region, fips, dual_stack })
            }
            Some(expected) => {
                Err(Wrong(format!("the host ends in '{suffix}'; registries in {region} end in '{expected}'")))
            }
            None => Err(Wrong(format!("the region '{region}' has no dual-stack hosts"))),
        }
    };
    Some(parse())
}

#[cfg(test)]
mod tests {
    use super::{Region, Registry, wrong_part};

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
                (&*registry.host(), &*registry.region(), registry.fips(), registry.dual_stack()),
                (host, region, fips, dual_stack)
            );
            assert_eq!(registry.account().map(|account| account.to_string()).as_deref(), Some("123456789012"));
        }
        for (host, dual_stack) in [("public.ecr.aws", false), ("ecr-public.aws.com", true)] {
            let registry = Registry::parse(host).expect("ECR Public");
            assert!(registry.is_public() && registry.dual_stack() == dual_stack && *registry.region() == *"us-east-1");
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
            assert!(wrong.to_string().contains(named), "{host}: {wrong}");
        }
        for host in ["ghcr.io", "localhost", "111122223333.dkr.ecr.us-newplace-1.amazonaws.com"] {
            assert_eq!(wrong_part(host), None, "{host}");
        }
        let is_known = |region: &str| region.parse::<Region>().is_ok_and(|region| region.is_known());
        assert!(is_known("eu-west-1") && !is_known("eu-wst-1"));
    }

    #[test]
    fn the_hosts_of_an_account_are_its_registries() {
        let hosts: Vec<_> = Registry::all_hosts("111122223333".parse().expect("an account")).collect();
        for host in &hosts {
            let registry = Registry::parse(host).unwrap_or_else(|| panic!("{host}"));
            assert_eq!(registry.host(), *host);
            assert!(registry.account().is_some_and(|account| account.to_string() == "111122223333"), "{host}");
        }
        for form in ["dkr.ecr.eu-west-1", "dkr.ecr-fips.us-gov-east-1", "dkr-ecr.cn-north-1", "dkr-ecr-fips.us-east-1"]
        {
            assert!(hosts.iter().any(|host| host.contains(&format!(".{form}."))), "{form}");
        }
    }
}
