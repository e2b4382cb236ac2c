//! Who would call AWS, told from settings alone: the cache key.
//!
//! A cached token may be served only to the identity that got it. Asking AWS who that is would cost the round trip
//! that the cache saves, so the key is a SHA-256 over everything that decides which credentials the SDK would use,
//! read without network, SDK or child process. It errs towards a miss: one more API call is cheap, another's token
//! is not. Secrets enter only through the hash, together with the rest, and cannot be had back from it.
//!
//! Always in the key: service, region, FIPS, dual-stack and endpoint of the registry; the profile and role that the
//! configuration maps it to; every `AWS_*` variable but ours and those in `IRRELEVANT`; the home directory; proxies
//! (they see requests that are not encrypted); the AWS config and credentials files whole, with path and state. So
//! an edited file, another profile, another key, another endpoint or another home are always noticed at once. Then,
//! by the source that these settings lead to:
//!
//! | source | also in the key | a change is noticed |
//! | --- | --- | --- |
//! | environment keys | id, secret and session token are `AWS_*` | at once |
//! | static profile | its keys are in the files | at once |
//! | `role_arn` with `source_profile` | what its source adds, along the chain | settings at once; what IAM changes behind the ARN at the next refresh |
//! | web identity, from environment or profile | path of the token file; `iss` and `sub` in it, or all of it if it is no JWT | at once, a rotated token of the same subject is no change |
//! | a kubelet's service account token | `iss` and `sub` in it, the role, the session name | at once, a rotated token of the same subject is no change |
//! | SSO, `sso-session` or legacy | the session file's `clientId`, `registrationExpiresAt`, `startUrl`, `region`, or that it is gone; entries older than the file's last change are not served | log-out and log-in at once |
//! | `aws login` session | the session file's `clientId` and `dpopKey`, or that it is gone; entries older than its last change are not served | log-out and log-in at once |
//! | `credential_process` | the command; size and change time of every absolute path in it; the whole environment but terminal and shell bookkeeping; this boot | all this at once; what else it reads at the next refresh |
//! | ECS, EKS Pod Identity | the URI and token variables are `AWS_*`; token file as for web identity; this boot | at once; another role behind the same URI at the next refresh |
//! | instance role | this boot and instance | another machine at once; another role of this instance at the next refresh |
//!
//! "This boot" keeps a home directory that is shared by machines, or baked into an image, from carrying one machine's
//! token to another. Where the system does not tell its boot, tokens of such sources are not cached.

mod files;
mod key;
mod sources;

pub use files::{Profiles, paths};
pub use key::Key;
pub use sources::{Source, issuer_and_subject, sso_session_file};

use std::ffi::OsStr;
use std::time::SystemTime;

use crate::config::{ServiceAccount, Target};
use crate::env::Env;
use crate::error::Failure;
use key::Parts;
use sources::Walk;

/// `AWS_*` variables that cannot change who calls or whom.
const IRRELEVANT: &[&str] =
    &["AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE", "AWS_PAGER", "AWS_EXECUTION_ENV", "AWS_CLI_AUTO_PROMPT"];

/// Variables without the prefix that do matter.
const RELEVANT: &[&str] = &[
    "SECRET_ACCESS_KEY",
    "HOME",
    "USERPROFILE",
    "HOMEDRIVE",
    "HOMEPATH",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// Who would call AWS for a target.
#[derive(Debug)]
pub struct Identity {
    /// Names the cache entry.
    pub key: Key,
    /// Entries from before are another session's.
    pub not_before: Option<SystemTime>,
    /// `false` when nothing local binds the identity to this machine.
    pub cacheable: bool,
    /// Where its credentials come from, for explanations.
    pub source: Source,
}

impl Identity {
    /// Reads the settings. Fails when they name a profile that does not exist: the SDK would go on to the next source,
    /// and with that to another identity.
    pub fn of(env: &Env, target: &Target) -> Result<Self, Failure> {
        let mut parts = Parts::default();
        // Every field by name, so that a new one cannot be forgotten here. The hosts of a region share its token.
        let Target { host: _, registry, profile, role, service_account, endpoint_url } = target;
        parts.add("service", if registry.is_public() { "ecr-public" } else { "ecr" });
        parts.add("region", &registry.region);
        parts.add("fips", if registry.fips { "yes" } else { "no" });
        parts.add("dual-stack", if registry.dual_stack { "yes" } else { "no" });
        for (name, value) in [("endpoint", endpoint_url), ("profile", profile)] {
            parts.add(name, value.as_deref().unwrap_or_default());
        }
        if let Some(role) = role {
            parts.add("role", &role.arn);
            parts.add("external id", role.external_id.as_deref().unwrap_or_default());
            parts.add("session name", &role.session_name);
            parts.add("region of STS", role.region.as_deref().unwrap_or_default());
        }
        for (name, value) in env.iter().filter(|(name, _)| matters(name)) {
            parts.add(name.as_encoded_bytes(), value.as_encoded_bytes());
        }
        let [config, credentials] = paths(env).map(|path| parts.add_file("aws file", &path));
        if let Some(account) = service_account {
            // Tokens of one subject take turns.
            let ServiceAccount { token: _, issuer, subject, role_arn, session_name } = account;
            parts.add("service account's issuer", issuer);
            parts.add("service account's subject", subject);
            parts.add("service account's role", role_arn);
            parts.add("service account's session name", session_name);
            let (key, source) = (parts.into_key(), Source::ServiceAccount);
            return Ok(Self { key, not_before: None, cacheable: true, source });
        }
        let profiles = Profiles::new(&config, &credentials);
        let mut walk = Walk::new(env, &profiles, parts);
        let source = walk.start(profile.as_deref())?;
        let Walk { parts, not_before, machine, .. } = walk;
        Ok(Self { key: parts.into_key(), not_before, cacheable: machine != sources::Machine::Unknown, source })
    }
}

fn matters(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return true };
    RELEVANT.contains(&name)
        || (name.starts_with("AWS_") && !name.starts_with("AWS_ECR_") && !IRRELEVANT.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::{Identity, Key};
    use crate::config::Config;
    use crate::env::Env;

    fn key(host: &str, vars: &[(&str, &str)]) -> Key {
        let none = [("HOME", "/nonexistent"), ("AWS_ECR_CONFIG_FILE", "/dev/null")];
        let env = none.into_iter().chain(vars.iter().copied()).collect::<Env>();
        let target = Config::load(&env).and_then(|config| config.target(&env, host)).expect("a target");
        Identity::of(&env, &target).expect("an identity").key
    }

    #[test]
    fn differs_when_the_caller_may_differ_and_only_then() {
        let host = "111122223333.dkr.ecr.us-east-1.amazonaws.com";
        let plain = key(host, &[]);
        assert_eq!(plain, key(host, &[]));
        assert_eq!(plain, key("444455556666.dkr.ecr.us-east-1.amazonaws.com", &[]), "one token for a region");
        assert_eq!(plain, key(host, &[("AWS_ECR_LOG", "debug"), ("TERM", "xterm")]));
        let role = "arn:aws:iam::111122223333:role/a";
        assert_eq!(plain, key(host, &[("AWS_ECR_ROLE_ARN_444455556666", role)]), "another account's mapping");
        for other in [
            key("111122223333.dkr.ecr.us-east-2.amazonaws.com", &[]),
            key("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", &[]),
            key("public.ecr.aws", &[]),
            key(host, &[("AWS_ACCESS_KEY_ID", "a")]),
            key(host, &[("AWS_SOMETHING_NEW", "a")]),
            key(host, &[("AWS_CONFIG_FILE", "/elsewhere")]),
            key(host, &[("AWS_ECR_ROLE_ARN_111122223333", role)]),
            key(host, &[("HOME", "/elsewhere")]),
        ] {
            assert_ne!(plain, other);
        }
    }
}
