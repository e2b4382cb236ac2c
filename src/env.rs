//! The only reader of environment variables and of the user's directories.
//!
//! The environment is copied once at the start, so that every decision of a run is made from the same settings
//! and [`VARIABLES`] can be held against what the code asks for.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Our own variables and what they do, as the help text and the README show them.
pub const VARIABLES: &[(&str, &str)] = &[
    ("AWS_ECR_CACHE_DIR", "directory of the token cache, instead of the platform's cache directory"),
    ("AWS_ECR_CONFIG_FILE", "our configuration file, instead of the one in the platform's configuration directory"),
    ("AWS_ECR_DISABLE_CACHE", "any value: neither read nor write the cache"),
    (
        "AWS_ECR_IGNORE_CREDS_STORAGE",
        "true: `store` and `erase` succeed and change nothing, for any host that has no fallback helper",
    ),
    ("AWS_ECR_LOG", "log to standard error: off, error, warn, info, debug or trace (default off)"),
    ("AWS_ECR_LOG_FILE", "log to this file (mode 0600) instead of standard error; alone it means level info"),
    ("AWS_ECR_PROFILE_<account>", "AWS profile for the registries of this account"),
    ("AWS_ECR_ROLE_ARN", "role for service account tokens of kubelets whose service account names none"),
    ("AWS_ECR_ROLE_ARN_<account>", "role to assume for the registries of this account"),
    ("AWS_ECR_TIMEOUT", "longest time for one answer, in seconds or as in 500ms, 20s, 1m (default 20s)"),
    ("AWS_ECR_VERIFY_IDENTITY", "1: resolve the AWS credentials before a cached token is served"),
];

/// A copy of the process environment.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<OsString, OsString>);

impl Env {
    /// The environment of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of `name` when it is set and not empty: an empty variable means unset everywhere here, as it
    /// does in the AWS SDKs.
    pub fn os(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The same as text; a value that is not UTF-8 counts as unset.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.os(name)?.to_str()
    }

    /// The same with one more variable, or another value for it. The AWS SDK reads the real environment, so this is for
    /// what only we read.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Whether `name` is set to nothing. That means unset here and in the AWS CLI, and something else to some parts of
    /// the AWS SDK, which read the process environment themselves.
    pub fn is_empty(&self, name: &str) -> bool {
        self.0.get(OsStr::new(name)).is_some_and(|value| value.is_empty())
    }

    /// A path, with a leading `~` component replaced by the home directory, since env files and CI settings
    /// reach us without a shell that would do it.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.expand(Path::new(self.os(name)?)))
    }

    /// `path` with a leading `~` component replaced by the home directory, if there is one.
    pub fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }

    /// The home directory, from the environment alone, as the AWS SDK finds it, but never a relative one: settings out
    /// of whatever directory a client runs in could be anybody's. The user database is not asked: that could load
    /// modules of another C library into a static program, and wait for a server.
    pub fn home(&self) -> Option<PathBuf> {
        let drive_and_path = || {
            let mut home = self.os("HOMEDRIVE")?.to_owned();
            home.push(self.os("HOMEPATH")?);
            Some(home)
        };
        let mut home = self.os("HOME").map(OsStr::to_owned);
        if cfg!(windows) {
            home = home.or_else(|| self.os("USERPROFILE").map(OsStr::to_owned)).or_else(drive_and_path);
        }
        home.map(PathBuf::from).filter(|home| home.is_absolute())
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// Where tokens are kept; `None` when the user turned the cache off or the platform names no place for it.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        if self.os("AWS_ECR_DISABLE_CACHE").is_some() {
            return None;
        }
        self.path("AWS_ECR_CACHE_DIR").or_else(|| self.own_dir("XDG_CACHE_HOME", dirs::cache_dir))
    }

    /// The directory of our configuration.
    pub fn config_dir(&self) -> Option<PathBuf> {
        self.own_dir("XDG_CONFIG_HOME", dirs::config_dir)
    }

    /// Ours below the platform's directory for something. Without a home it would ask the user database for one.
    fn own_dir(&self, xdg: &str, find: fn() -> Option<PathBuf>) -> Option<PathBuf> {
        let has_xdg = || self.os(xdg).is_some_and(|dir| Path::new(dir).is_absolute());
        let known = cfg!(windows) || self.home().is_some() || has_xdg();
        Some(known.then(find)??.join(crate::NAME)).filter(|dir| dir.is_absolute())
    }

    /// Whether cached tokens are served only after AWS credentials were resolved.
    pub fn verifies_identity(&self) -> bool {
        self.os("AWS_ECR_VERIFY_IDENTITY").is_some_and(|value| value != "0" && value != "false")
    }

    /// Whether `store` and `erase` are to be ignored: the incumbent's variable, with its exact value.
    pub fn ignores_storage(&self) -> bool {
        self.text("AWS_ECR_IGNORE_CREDS_STORAGE") == Some("true")
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        // Windows ignores the case of names and keeps it as first written.
        let name = |name: OsString| if cfg!(windows) { name.to_ascii_uppercase() } else { name };
        Self(vars.into_iter().map(|(k, v)| (name(k.into()), v.into())).collect())
    }
}
