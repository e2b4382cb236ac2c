//! The passwords in `DOCKER_AUTH_CONFIG`, which docker 28.3 and later use before they read their file (docker CLI,
//! `cli/config/configfile/file.go`).

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::members::Members;
use crate::env::Env;

/// The variable.
pub const DOCKER_AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";

/// Returns the hosts that the variable has a password for, as docker looks them up. `None` if docker complains about the variable
/// with every command, and goes on as if it were not set.
///
/// Go's decoder takes null for an empty object, and ignores the case of names; docker has it refuse other names.
pub fn hosts_of_environment(env: &Env) -> Option<BTreeSet<String>> {
    let Some(text) = env.text(DOCKER_AUTH_CONFIG) else { return Some(BTreeSet::new()) };
    let content: Option<Members> = serde_json::from_str(text).ok()?;
    let content = content.unwrap_or(Members(Vec::new()));
    if content.0.iter().any(|(name, _)| !name.eq_ignore_ascii_case("auths")) {
        return None;
    }
    let auths: BTreeMap<String, Map<String, Value>> = content.object("auths", "").ok()?;
    for entry in auths.values() {
        let (_, auth) =
            entry.iter().next().filter(|(name, _)| entry.len() == 1 && name.eq_ignore_ascii_case("auth"))?;
        Some(()).filter(|()| auth.as_str().is_some_and(is_login))?;
    }
    Some(auths.into_keys().collect())
}

/// Whether docker reads an `auth`: the base64 of a user, a colon and a password. Its decoder leaves out the ends of lines.
pub(super) fn is_login(auth: &str) -> bool {
    let auth = Zeroizing::new(auth.replace(['\r', '\n'], ""));
    let decoded = Zeroizing::new(BASE64_STANDARD.decode(auth.as_str()).unwrap_or_default());
    decoded.iter().position(|byte| *byte == b':').is_some_and(|end| end > 0)
}
