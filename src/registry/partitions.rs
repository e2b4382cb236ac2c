//! The partitions of AWS, with their regions and the suffixes of their registry hosts.
//!
//! The forms of regions are the patterns of the SDKs' `partitions.json`, so that a new region of a known partition needs no
//! release. `tests/suite/manifest.rs` compares the known regions with the SDK's.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Wrong;
use super::host::is_number;
use crate::quote::may_hold_token;

/// A region: one that is known, or another name of the same form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Region(String);

impl Region {
    /// The region that serves ECR Public ("Amazon ECR Public endpoints", AWS General Reference).
    pub fn public() -> Self {
        Self("us-east-1".to_owned())
    }

    /// Every region that existed when this version was made.
    pub(super) fn all_known() -> impl Iterator<Item = Self> {
        PARTITIONS.iter().flat_map(|partition| partition.regions.split(' ')).map(|region| Self(region.to_owned()))
    }

    /// Whether it existed when this version was made. Another one may be new or misspelt.
    pub fn is_known(&self) -> bool {
        Self::all_known().any(|known| known == *self)
    }

    /// The partition that it belongs to by its form.
    pub(super) fn partition(&self) -> &'static Partition {
        Partition::find(&self.0).expect("checked by the parser")
    }
}

impl FromStr for Region {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || {
            let shown = if may_hold_token(text) { "…" } else { text };
            Wrong(format!("the region '{shown}' does not have the form of one, e.g. eu-west-1"))
        };
        Partition::find(text).map(|_| Self(text.to_owned())).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Region {
    type Error = Wrong;

    fn try_from(text: String) -> Result<Self, Wrong> {
        text.parse()
    }
}

parsed_text!(Region);

/// A partition. The names of its regions are `<prefix>-<word>-<number>`.
pub(super) struct Partition {
    prefixes: &'static [&'static str],
    /// The regions that existed when this version was made, with blanks between them. The helper also serves others of this
    /// form.
    regions: &'static str,
    /// The suffix of the registry hosts.
    pub(super) suffix: &'static str,
    /// The suffix of the dual-stack registry hosts; `None` when the partition has none.
    dual_stack_suffix: Option<&'static str>,
}

impl Partition {
    /// The partition that a region belongs to, by the form of its name.
    fn find(region: &str) -> Option<&'static Self> {
        PARTITIONS.iter().find(|partition| partition.prefixes.iter().any(|prefix| is_region(region, prefix)))
    }

    /// The services of which it has hosts.
    pub(super) fn services(&self) -> impl Iterator<Item = &'static Service> {
        SERVICES.iter().filter(|service| self.suffix_for(service).is_some())
    }

    /// The part of a host after the region; `None` when the partition has no hosts of this service.
    pub(super) fn suffix_for(&self, service: &Service) -> Option<&'static str> {
        if service.dual_stack { self.dual_stack_suffix } else { Some(self.suffix) }
    }
}

pub(super) const PARTITIONS: &[Partition] = &[
    Partition {
        prefixes: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
        regions: "af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 \
                  ap-south-2 ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 \
                  ap-southeast-6 ap-southeast-7 ca-central-1 ca-west-1 eu-central-1 eu-central-2 \
                  eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 il-central-1 me-central-1 \
                  me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2",
        suffix: "amazonaws.com",
        dual_stack_suffix: Some("on.aws"),
    },
    Partition {
        prefixes: &["us-gov"],
        regions: "us-gov-east-1 us-gov-west-1",
        suffix: "amazonaws.com",
        dual_stack_suffix: Some("on.aws"),
    },
    Partition {
        prefixes: &["cn"],
        regions: "cn-north-1 cn-northwest-1",
        suffix: "amazonaws.com.cn",
        dual_stack_suffix: Some("on.amazonwebservices.com.cn"),
    },
    Partition {
        prefixes: &["eusc-de"],
        regions: "eusc-de-east-1",
        suffix: "amazonaws.eu",
        dual_stack_suffix: Some("on.amazonwebservices.eu"),
    },
    Partition {
        prefixes: &["us-iso"],
        regions: "us-iso-east-1 us-iso-west-1",
        suffix: "c2s.ic.gov",
        dual_stack_suffix: None,
    },
    Partition {
        prefixes: &["us-isob"],
        regions: "us-isob-east-1 us-isob-west-1",
        suffix: "sc2s.sgov.gov",
        dual_stack_suffix: None,
    },
    Partition { prefixes: &["eu-isoe"], regions: "eu-isoe-west-1", suffix: "cloud.adc-e.uk", dual_stack_suffix: None },
    Partition {
        prefixes: &["us-isof"],
        regions: "us-isof-east-1 us-isof-south-1",
        suffix: "csp.hci.ic.gov",
        dual_stack_suffix: None,
    },
];

/// A kind of endpoint, as the host of a private registry names it.
pub(super) struct Service {
    /// The labels between account and region.
    pub(super) labels: &'static str,
    pub(super) fips: bool,
    pub(super) dual_stack: bool,
}

const SERVICES: &[Service] = &[
    Service { labels: "dkr.ecr", fips: false, dual_stack: false },
    Service { labels: "dkr.ecr-fips", fips: true, dual_stack: false },
    Service { labels: "dkr-ecr", fips: false, dual_stack: true },
    Service { labels: "dkr-ecr-fips", fips: true, dual_stack: true },
];

impl Service {
    pub(super) fn new(fips: bool, dual_stack: bool) -> &'static Self {
        &SERVICES[usize::from(fips) + 2 * usize::from(dual_stack)]
    }

    /// Splits the part of a host after the account into the service and the rest.
    pub(super) fn split(host: &str) -> Option<(&'static Self, &str)> {
        SERVICES.iter().find_map(|service| Some((service, host.strip_prefix(service.labels)?.strip_prefix('.')?)))
    }
}

/// Whether the name of a region has the form of a partition's, with this prefix.
fn is_region(region: &str, prefix: &str) -> bool {
    let rest = region.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    rest.and_then(|rest| rest.split_once('-')).is_some_and(|(word, number)| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric()) && is_number(number)
    })
}
