//! MFA devices whose codes a chain requires.

use super::chain::CredentialChain;
use super::profiles::Profiles;
use super::sources::Source;

/// An MFA device, and the role or the user that its code is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MfaDevice {
    /// The ARN of the device, or the number of a hardware device.
    pub serial: String,
    /// The index of the role in the chain; `None` for the user that the keys of the source belong to.
    pub role: Option<usize>,
}

/// The devices of the roles of a chain, or, without any, the device of the profile with the keys, for a session of its user.
pub(super) fn devices(chain: &CredentialChain, profiles: &Profiles) -> Vec<MfaDevice> {
    let device = |role, serial: &str| MfaDevice { serial: serial.to_owned(), role };
    let roles = chain.roles.iter().enumerate();
    let devices: Vec<_> =
        roles.filter_map(|(index, role)| Some(device(Some(index), role.mfa_serial.as_deref()?))).collect();
    let of_user = || match &chain.source {
        Source::Keys(keys) => profiles.profile(keys.profile.as_deref()?)?.get("mfa_serial"),
        _ => None,
    };
    if devices.is_empty() { of_user().map(|serial| device(None, serial)).into_iter().collect() } else { devices }
}
