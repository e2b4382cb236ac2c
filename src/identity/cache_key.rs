//! Makes the keys of the cache: the key of an identity's entry, and the key of a request.
//!
//! [`identity_key`] hashes everything that decides which token a registry gets; [`request_key`] hashes the version of
//! the helper, the environment and the host. The module [`identity`](super) describes both.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::hash::{CacheKey, KeyHasher};
use super::{profiles, variables};
use crate::config::{Role, Target};
use crate::env::Env;
use crate::registry::Registry;

/// The key of what the cache knows about a request, made from the environment and the host. Two processes with the
/// same environment that find everything [`Observed`](super::Observed) unchanged have the same identity.
pub fn request_key(env: &Env, host: &str) -> CacheKey {
    let mut parts = KeyHasher::default();
    parts.add("version", crate::VERSION);
    parts.add("host", host);
    add_home(&mut parts, env);
    parts.add_variables(variables::for_request(env));
    // Any variable may be a part of these paths.
    for path in profiles::paths(env) {
        parts.add("AWS file", path.unwrap_or_default().as_os_str().as_encoded_bytes());
    }
    parts.into_key()
}

/// Adds the home directory, which is not in the environment when it comes from the user database.
fn add_home(parts: &mut KeyHasher, env: &Env) {
    parts.add("home", env.home().unwrap_or_default().as_os_str().as_encoded_bytes());
}

/// Begins the key of an identity's cache entry, with all settings. What is observed for its source follows.
pub(super) fn identity_key(env: &Env, target: &Target) -> KeyHasher {
    let mut parts = KeyHasher::default();
    // Names every field, so that the compiler reports a new one. The hosts of a region share its token.
    let Target { host: _, registry, caller, chosen_by: _, time_for_person: _, max_age: _, endpoint_url, ca_bundle } =
        target;
    add_registry(&mut parts, registry);
    parts.add("endpoint", endpoint_url.as_deref().unwrap_or_default());
    if let Some(bundle) = ca_bundle {
        parts.add("CA bundle", bundle.as_os_str().as_encoded_bytes());
    }
    add_serialized(&mut parts, "caller", caller);
    add_home(&mut parts, env);
    parts.add_variables(variables::for_identity(env));
    parts
}

/// The key of the token that these very keys of a source request from the service at `endpoint`, by these roles, whatever settings
/// led to them. `sts` says which STS is asked, and by which proxies. Who trusts other certificates may not have a token, nor a failure,
/// of those who trust these.
pub fn credentials_key(
    registry: &Registry,
    endpoint: &str,
    proxy: Option<&str>,
    certificates: &str,
    [id, secret, token]: [&str; 3],
    roles: &[Role],
    sts: impl Serialize,
) -> CacheKey {
    let mut parts = KeyHasher::default();
    add_registry(&mut parts, registry);
    parts.add("resolved endpoint", endpoint);
    parts.add("proxy", proxy.unwrap_or_default());
    parts.add("certificates", certificates);
    parts.add("resolved access key id", id);
    parts.add("resolved secret access key", secret);
    parts.add("resolved session token", token);
    if !roles.is_empty() {
        add_serialized(&mut parts, "roles", &(roles, sts));
    }
    parts.into_key()
}

fn add_serialized(parts: &mut KeyHasher, name: &str, value: &impl Serialize) {
    let mut serialized = Sha256::new();
    serde_json::to_writer(&mut serialized, value).expect("a hash takes all bytes");
    parts.add(name, serialized.finalize());
}

fn add_registry(parts: &mut KeyHasher, registry: &Registry) {
    parts.add("service", if registry.is_public() { "ecr-public" } else { "ecr" });
    parts.add("region", &*registry.region());
    parts.add("fips", if registry.fips() { "yes" } else { "no" });
    parts.add("dual-stack", if registry.dual_stack() { "yes" } else { "no" });
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::{Duration, Instant};

    use super::super::CacheKey;
    use super::credentials_key;
    use crate::config::{Config, Role};
    use crate::env::Env;
    use crate::identity::Identity;
    use crate::registry::Registry;

    fn key(host: &str, vars: &[(&str, &str)]) -> CacheKey {
        let none = [("HOME", "/nonexistent"), ("AWS_ECR_CONFIG_FILE", "/dev/null")];
        let env = vars.iter().copied().chain(none).collect::<Env>();
        let deadline = Instant::now() + Duration::from_secs(9);
        let target =
            Config::load(&env, deadline).expect("settings").target(&env, host).expect("settings").expect("a target");
        Identity::read(&env, &target, deadline).expect("an identity").key
    }

    #[test]
    fn the_key_of_credentials_differs_with_how_and_where_roles_are_assumed_and_without_roles_with_neither() {
        let registry = Registry::parse("111122223333.dkr.ecr.us-east-1.amazonaws.com").expect("a registry");
        let key = |roles: &[Role], sts| credentials_key(&registry, "e", None, "c", ["i", "s", "t"], roles, sts);
        let (default, fips, dual_stack) =
            ((None::<&str>, None, None), (None, Some(true), None), (None, None, Some(true)));
        let [arn, session_name] = ["arn:aws:iam::111122223333:role/a", "s"].map(str::to_owned);
        let role = [Role { arn, external_id: None, session_name, region: None, mfa_serial: None }];
        let with_mfa = [Role { mfa_serial: Some("m".to_owned()), ..role[0].clone() }];
        let of_role = [default, fips, dual_stack].map(|sts| key(&role, sts));
        let keys: HashSet<_> = of_role.into_iter().chain([key(&[], default), key(&with_mfa, default)]).collect();
        assert_eq!(keys.len(), 5);
        assert!(keys.contains(&key(&[], fips)));
    }

    #[test]
    fn the_key_differs_when_the_caller_may_differ_and_only_then() {
        let host = "111122223333.dkr.ecr.us-east-1.amazonaws.com";
        let plain = key(host, &[]);
        assert_eq!(plain, key(host, &[]));
        assert_eq!(plain, key("444455556666.dkr.ecr.us-east-1.amazonaws.com", &[]), "one token for a region");
        assert_eq!(plain, key(host, &[("AWS_ECR_LOG", "debug"), ("TERM", "xterm")]));
        let role = "arn:aws:iam::111122223333:role/a";
        assert_eq!(plain, key(host, &[("AWS_ECR_ROLE_ARN_444455556666", role)]), "another account's mapping");
        let keys_of = |account: &str, secret: &str| {
            let [id, secret_key] =
                ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY"].map(|name| format!("AWS_ECR_{name}_{account}"));
            key(&host.replace("111122223333", account), &[(&id, "a"), (&secret_key, secret)])
        };
        assert_eq!(keys_of("111122223333", "b"), keys_of("444455556666", "b"), "the same keys");
        assert_ne!(keys_of("111122223333", "b"), keys_of("111122223333", "c"));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, "[profile p]\naws_access_key_id = a\naws_secret_access_key = b\n").expect("a profile");
        let profile_of = |account: &str| {
            let file = ("AWS_CONFIG_FILE", file.path().to_str().expect("UTF-8"));
            key(&host.replace("111122223333", account), &[file, (&format!("AWS_ECR_PROFILE_{account}"), "p")])
        };
        assert_eq!(profile_of("111122223333"), profile_of("444455556666"), "the setting is for messages");
        for other in [
            keys_of("111122223333", "b"),
            key("111122223333.dkr.ecr.us-east-2.amazonaws.com", &[]),
            key("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", &[]),
            key("public.ecr.aws", &[]),
            key(host, &[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]),
            key(host, &[("AWS_SOMETHING_NEW", "a")]),
            key(host, &[("AWS_CONFIG_FILE", "/elsewhere")]),
            key(host, &[("AWS_ECR_ROLE_ARN_111122223333", role)]),
            key(host, &[("HOME", "/elsewhere")]),
        ] {
            assert_ne!(plain, other);
        }
    }
}
