//! Who would call AWS, told from settings alone: the cache key.
//!
//! A cached token may be served only to the identity that got it. Asking AWS who that is would cost the round trip
//! that the cache saves, so the key is a SHA-256 over everything that decides which credentials the AWS SDK would
//! use, read without network, SDK or child process:
//!
//! | part | why |
//! | --- | --- |
//! | region, FIPS, dual-stack, ECR Public or not | a token is good for one region of one service |
//! | every `AWS_*` variable but those named in `IRRELEVANT` | keys, profile, role, container and endpoint settings |
//! | `SECRET_ACCESS_KEY`, home directory, proxies | an old name the SDK reads; where the files are; who vouches over http |
//! | the AWS config and credentials files: path, state, content | profiles, with all their rules, without copying those rules |
//!
//! It errs towards a miss. Secrets enter only through the hash, together with the rest.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::env::Env;
use crate::registry::Registry;

/// `AWS_*` variables that cannot change who calls or whom.
const IRRELEVANT: &[&str] = &[
    "AWS_ECR_CACHE_DIR",
    "AWS_ECR_DISABLE_CACHE",
    "AWS_ECR_IGNORE_CREDS_STORAGE",
    "AWS_ECR_LOG",
    "AWS_ECR_LOG_FILE",
    "AWS_MAX_ATTEMPTS",
    "AWS_RETRY_MODE",
    "AWS_PAGER",
    "AWS_EXECUTION_ENV",
];

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

/// Names the cache entry of one identity in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of the identity that would ask for a token of `registry` under these settings.
    pub fn new(env: &Env, registry: &Registry) -> Self {
        let mut parts = Parts::default();
        parts.add("service", if registry.is_public() { "ecr-public" } else { "ecr" });
        parts.add("region", &registry.region);
        parts.add("fips", if registry.fips { "1" } else { "0" });
        parts.add("dual-stack", if registry.dual_stack { "1" } else { "0" });
        for (name, value) in env.iter().filter(|(name, _)| matters(name)) {
            parts.add_bytes(name.as_encoded_bytes(), value.as_encoded_bytes());
        }
        for (variable, default) in [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")] {
            let path = env.path(variable).or_else(|| Some(home(env)?.join(".aws").join(default)));
            parts.add_file(variable, path);
        }
        Self(parts.0.finalize().into())
    }

    /// A key for tests of code that only passes keys on.
    #[cfg(test)]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn matters(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return true };
    RELEVANT.contains(&name) || (name.starts_with("AWS_") && !IRRELEVANT.contains(&name))
}

/// The home directory as the SDK finds it.
fn home(env: &Env) -> Option<PathBuf> {
    env.os("HOME").or_else(|| env.os("USERPROFILE")).map(PathBuf::from)
}

/// The hash in the making. Every name and value enters with its length, so that no two lists of parts look alike.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, name: &str, value: &str) {
        self.add_bytes(name.as_bytes(), value.as_bytes());
    }

    fn add_bytes(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, value] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    /// The SDK takes a file that is absent or unreadable for empty, but it may turn readable.
    fn add_file(&mut self, name: &str, path: Option<PathBuf>) {
        let Some(path) = path else { return self.add(name, "no path") };
        self.add_bytes(name.as_bytes(), path.as_os_str().as_encoded_bytes());
        match fs::read(&path) {
            Ok(content) => self.add_bytes(b"content", &content),
            Err(error) => self.add("unreadable", &error.kind().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Key;
    use crate::env::Env;
    use crate::registry::Registry;

    fn key(host: &str, vars: &[(&str, &str)]) -> Key {
        let env = vars.iter().copied().chain([("HOME", "/nonexistent")]).collect::<Env>();
        Key::new(&env, &Registry::parse(host).expect("a registry"))
    }

    #[test]
    fn differs_when_the_caller_may_differ_and_only_then() {
        let host = "111122223333.dkr.ecr.us-east-1.amazonaws.com";
        let plain = key(host, &[]);
        assert_eq!(plain, key(host, &[]));
        assert_eq!(plain, key("444455556666.dkr.ecr.us-east-1.amazonaws.com", &[]), "one token for a region");
        assert_eq!(plain, key(host, &[("AWS_ECR_LOG", "debug"), ("TERM", "xterm")]));
        for other in [
            key("111122223333.dkr.ecr.us-east-2.amazonaws.com", &[]),
            key("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", &[]),
            key("public.ecr.aws", &[]),
            key(host, &[("AWS_PROFILE", "a")]),
            key(host, &[("AWS_ACCESS_KEY_ID", "a")]),
            key(host, &[("AWS_SOMETHING_NEW", "a")]),
            key(host, &[("AWS_CONFIG_FILE", "/elsewhere")]),
        ] {
            assert_ne!(plain, other);
        }
    }
}
