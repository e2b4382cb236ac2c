//! The role of an EC2 instance, from its metadata service.

use super::super::inputs::Inputs;
use crate::code::Code;
use crate::config::is_url;
use crate::error::Failure;

/// The metadata service of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The URL of the service.
    pub endpoint: String,
}

impl Instance {
    /// The service, by the settings in the order of the SDK's client: variable, profile, mode.
    pub(in super::super) fn in_settings(inputs: &Inputs<'_>) -> Result<Self, Failure> {
        let at = |endpoint: &str| Ok(Self { endpoint: endpoint.to_owned() });
        let url = inputs.setting("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
        let mode = inputs.setting("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode");
        let (name, wrong) = match (url, mode) {
            (Some((url, _)), _) if is_url(url) => return at(url),
            (Some((_, name)), _) => (name, "is not a URL"),
            (None, Some((mode, _))) if mode.eq_ignore_ascii_case("ipv6") => return at("http://[fd00:ec2::254]"),
            (None, Some((mode, name))) if !mode.eq_ignore_ascii_case("ipv4") => (name, "is neither IPv4 nor IPv6"),
            (None, _) => return at("http://169.254.169.254"),
        };
        let hint = format!("correct it, or unset {name} for the default address");
        Err(Failure::new(Code::SettingInvalid, format!("{name} {wrong}"), hint))
    }
}
