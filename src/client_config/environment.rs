//! The passwords in `DOCKER_AUTH_CONFIG`, which docker 28.3 and later use before they read their file (docker CLI,
//! `cli/config/configfile/file.go`).

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::env::Env;

/// The variable.
pub const DOCKER_AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";

/// Returns the hosts that the variable has a password for, as docker looks them up. `None` if docker complains about the variable
/// with every command, and goes on as if it were not set.
///
/// Go's decoder takes null for an empty object, and ignores the case of names; docker has it refuse other names.
pub fn hosts_of_environment(env: &Env) -> Option<BTreeSet<String>> {
    let Some(text) = env.text(DOCKER_AUTH_CONFIG) else { return Some(BTreeSet::new()) };
    let content: Option<Map<String, Value>> = serde_json::from_str(text).ok()?;
    let mut hosts = BTreeSet::new();
    for (name, auths) in content.unwrap_or_default() {
        if !name.eq_ignore_ascii_case("auths") {
            return None;
        }
        let auths: Option<Map<String, Value>> = serde_json::from_value(auths).ok()?;
        for (host, entry) in auths.unwrap_or_default() {
            let members = entry.as_object().filter(|members| members.len() == 1)?;
            let (_, auth) = members.iter().next().filter(|(name, _)| name.eq_ignore_ascii_case("auth"))?;
            let decoded = Zeroizing::new(BASE64_STANDARD.decode(auth.as_str()?).ok()?);
            // There has to be a user.
            decoded.iter().position(|byte| *byte == b':').filter(|end| *end > 0)?;
            hosts.insert(host);
        }
    }
    Some(hosts)
}
