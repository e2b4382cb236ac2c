//! A check of `doctor`, with a name and a [`Place`] of its own in the report.

use serde::{Serialize, Serializer};

use crate::code::Code;
use crate::error::Failure;
use crate::quote::hide_tokens;

/// What is checked, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Name {
    Program,
    User,
    Variables,
    Configuration,
    Profiles,
    Docker,
    Podman,
    Skopeo,
    Clients,
    Host,
    Mapping,
    Cache,
    Endpoint,
    Credentials,
    Principal,
    Token,
    Clock,
    Registry,
    Image,
}

impl Name {
    /// The name as printed: that of the variant.
    pub(super) fn text(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Where a check stands in the report, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Among the checks of the machine, which have numbers.
    Machine(usize),
    /// After them: the first answer of AWS tells how late the machine's clock is.
    Clock,
    /// Among the checks that registries share, at the index of the first registry that shares it.
    Shared(usize),
    /// In the report of one registry.
    Registry,
}

/// One step.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    #[serde(rename = "check")]
    pub(super) name: Name,
    pub(super) status: Status,
    #[serde(serialize_with = "name_of")]
    pub(super) code: Option<Code>,
    pub(super) what: String,
    pub(super) fix: Option<String>,
    #[serde(skip)]
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Warning,
    Failure,
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde's interface")]
fn name_of<S: Serializer>(code: &Option<Code>, serializer: S) -> Result<S::Ok, S::Error> {
    code.map(Code::name).serialize(serializer)
}

impl Check {
    pub(super) fn ok(name: Name, what: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            code: None,
            what: hide_tokens(&what.into()),
            fix: None,
            place: Place::Registry,
        }
    }

    pub(super) fn failed(name: Name, failure: Failure) -> Self {
        let what = failure.whole();
        let (status, code, fix) = (Status::Failure, Some(failure.code), Some(failure.hint));
        Self { name, status, code, what, fix, place: Place::Registry }
    }

    pub(super) fn warned(name: Name, failure: Failure) -> Self {
        Self { status: Status::Warning, ..Self::failed(name, failure) }
    }

    /// The check with this result.
    pub(super) fn of(name: Name, result: Result<String, Failure>) -> Self {
        result.map_or_else(|failure| Self::failed(name, failure), |what| Self::ok(name, what))
    }

    /// The same check at another place.
    pub(super) fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// Whether it is shown with a registry, and not above it.
    pub(super) fn is_own(&self) -> bool {
        self.place == Place::Registry
    }
}
