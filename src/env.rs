//! Reads the environment variables and the user's directories; no other module does.
//!
//! The environment is copied once at the start, so that every decision of a run follows from the same settings.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::{platform, spelling};

/// The variables of the helper and their descriptions, for the help text and the README.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        "AWS_ECR_ACCESS_KEY_ID_<account>",
        "access key for this account's registries, set with the next two; takes precedence over all other credentials",
    ),
    ("AWS_ECR_SECRET_ACCESS_KEY_<account>", "secret key that belongs to AWS_ECR_ACCESS_KEY_ID_<account>"),
    (
        "AWS_ECR_SESSION_TOKEN_<account>",
        "session token that belongs to AWS_ECR_ACCESS_KEY_ID_<account>, for temporary keys",
    ),
    ("AWS_ECR_CACHE_DIR", "directory of the token cache, instead of the platform's cache directory"),
    (
        "AWS_ECR_CONFIG_FILE",
        "configuration file of the helper, instead of the one in the platform's configuration directory",
    ),
    ("AWS_ECR_DISABLE_CACHE", "any value: neither read nor write the cache"),
    (
        "AWS_ECR_IGNORE_CREDS_STORAGE",
        "true: `store` and `erase` succeed and change nothing, for any host that has no fallback helper",
    ),
    ("AWS_ECR_LOG", "log to standard error: off, error, warn, info, debug or trace (default off)"),
    ("AWS_ECR_LOG_FILE", "log to this file (mode 0600) instead of standard error; alone it means level info"),
    (
        "AWS_ECR_MAX_AGE",
        "serve no cached token that was issued longer ago than this, e.g. 30m, 1h (default: until it expires)",
    ),
    ("AWS_ECR_PROFILE_<account>", "AWS profile for the registries of this account"),
    (
        "AWS_ECR_ROLE_ARN",
        "role for `AWS_ECR_WEB_IDENTITY` and for service account tokens of kubelets, if no other role is configured",
    ),
    ("AWS_ECR_ROLE_ARN_<account>", "role to assume for the registries of this account"),
    (
        "AWS_ECR_TIMEOUT",
        "time limit for one request, in seconds or with units, e.g. 500ms, 20s, 1m30s (default 20s, 2m where a program may ask a person)",
    ),
    (
        "AWS_ECR_WEB_IDENTITY",
        "github, or env:NAME: assume the role with the identity token of the GitHub Actions job, or in variable NAME",
    ),
];

/// The directory of caches below the home directory, on macOS the second.
const CACHES: [&str; 2] = [".cache", "Library/Caches"];

/// A copy of the process environment.
#[derive(Clone, Default)]
pub struct Env {
    variables: BTreeMap<OsString, OsString>,
    /// Variables whose value comes from an option of the command line, and the option.
    options: BTreeMap<&'static str, &'static str>,
    /// The home directory in the user database, for an environment that names none.
    home_of_user: Option<PathBuf>,
}

impl Env {
    /// The environment of this process.
    #[expect(clippy::disallowed_methods, reason = "no other function reads the environment")]
    pub fn of_process() -> Self {
        let env: Self = std::env::vars_os().collect();
        let home_of_user =
            if cfg!(unix) && env.os("HOME").is_none() { platform::home_without_variable() } else { None };
        Self { home_of_user, ..env }
    }

    /// The value of `name` when it is set and not empty. The helper takes an empty variable for unset, as the AWS SDKs do.
    pub fn os(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The value as text; a value that is not UTF-8 counts as unset.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.os(name)?.to_str()
    }

    /// Sets a variable to the value of an option of the command line.
    #[must_use]
    pub fn with_option(mut self, option: &'static str, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self.options.insert(name, option);
        self
    }

    /// The setting that set the variable `name`, for messages: an option of the command line, or the variable itself.
    pub fn setting<'a>(&'a self, name: &'a str) -> &'a str {
        self.options.get(name).copied().unwrap_or(name)
    }

    /// Whether `name` is set and empty. The helper and the AWS CLI take it for unset; some parts of the AWS SDK, which read
    /// the process environment themselves, do not.
    pub fn is_empty(&self, name: &str) -> bool {
        self.variables.get(OsStr::new(name)).is_some_and(|value| value.is_empty())
    }

    /// The value as a path, with a leading `~` component replaced by the home directory: no shell expands the values in env
    /// files and CI settings.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.expand(Path::new(self.os(name)?)))
    }

    /// The value as the path of an AWS file, in which the AWS CLI also replaces `$NAME` and `${NAME}`.
    pub fn aws_file(&self, name: &str) -> Option<PathBuf> {
        let value = self.os(name)?;
        let expanded = value.to_str().map(|text| PathBuf::from(self.expand_variables(text)));
        Some(self.expand(&expanded.unwrap_or_else(|| value.into())))
    }

    /// `text` with the values of `$NAME` and `${NAME}`. What is not set stays as it is.
    fn expand_variables(&self, text: &str) -> OsString {
        let mut expanded = OsString::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            expanded.push(before);
            let (name, after) = match behind.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
                Some(braced) => braced,
                None => behind
                    .split_at(behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(behind.len())),
            };
            match self.variables.get(OsStr::new(name)) {
                Some(value) => expanded.push(value),
                None => expanded.push(&rest[before.len()..rest.len() - after.len()]),
            }
            rest = after;
        }
        expanded.push(rest);
        expanded
    }

    /// `path` with a leading `~` component replaced by the home directory, if there is one.
    pub fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }

    /// The home directory; the one in the user database when HOME is unset or empty, as for docker and the AWS CLI: systemd and
    /// cron start programs so. A relative path is ignored: it would refer to settings in the client's current directory, which
    /// another user may control. On Windows USERPROFILE comes first, as for docker and the AWS CLI, since Unix shells set HOME
    /// to a directory of their own.
    pub fn home(&self) -> Option<PathBuf> {
        let drive_and_path = || {
            let mut home = self.os("HOMEDRIVE")?.to_owned();
            home.push(self.os("HOMEPATH")?);
            Some(home)
        };
        let of_user = || self.home_of_user.clone().map(PathBuf::into_os_string);
        let home = || self.os("HOME").map(OsStr::to_owned).or_else(of_user);
        let home = if cfg!(windows) {
            self.os("USERPROFILE").map(OsStr::to_owned).or_else(drive_and_path).or_else(home)
        } else {
            home()
        };
        home.map(PathBuf::from).filter(|home| home.is_absolute())
    }

    /// The variable that names the home directory, for messages.
    pub const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };

    /// The endings of program names in the order of the search: those in PATHEXT on Windows, none elsewhere.
    pub fn program_endings(&self) -> Vec<String> {
        if !cfg!(windows) {
            return Vec::new();
        }
        let endings = self.text("PATHEXT").unwrap_or(".COM;.EXE;.BAT;.CMD").split(';');
        endings.filter(|ending| ending.len() > 1 && ending.starts_with('.')).map(str::to_lowercase).collect()
    }

    /// Finds a program on the PATH.
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        let endings = self.program_endings();
        self.search_path().map(|dir| dir.join(name)).find_map(|path| platform::executable(&path, &endings))
    }

    /// The directories of the PATH. Leaves out relative and empty ones: a program there would come from the client's current
    /// directory, which another user may control. Docker's own look-ups refuse it too.
    pub fn search_path(&self) -> impl Iterator<Item = PathBuf> {
        let directories = self.os("PATH").into_iter().flat_map(std::env::split_paths);
        directories.filter(|directory| directory.is_absolute())
    }

    /// Messages about variables that look like misspelt ones of the helper.
    pub fn misspelt(&self) -> impl Iterator<Item = String> {
        self.variables.keys().filter_map(|name| name.to_str()).filter_map(misspelt)
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The directory of the token cache; `None` when the user disabled the cache or the platform has no directory for it.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        if self.disables_cache() {
            return None;
        }
        self.path("AWS_ECR_CACHE_DIR").or_else(|| {
            let dir = self.own_dir("XDG_CACHE_HOME", CACHES, dirs::cache_dir)?;
            let whose = self.home().filter(|home| dir.starts_with(home));
            if platform::is_root_elsewhere(whose.as_deref().unwrap_or(&dir)) {
                Self::cache_dir_of_root()
            } else {
                Some(dir)
            }
        })
    }

    /// root's own cache directory, where the environment leads to that of another user, who could not use what root creates
    /// there.
    fn cache_dir_of_root() -> Option<PathBuf> {
        let [unix, macos] = CACHES;
        let caches = if cfg!(target_os = "macos") { macos } else { unix };
        Some(platform::home_in_user_database()?.join(caches).join(crate::NAME))
    }

    /// Whether the user disabled the cache.
    pub fn disables_cache(&self) -> bool {
        self.os("AWS_ECR_DISABLE_CACHE").is_some()
    }

    /// kaniko's own directory, when this process runs inside kaniko. kaniko pushes all other changes in the root file system
    /// as part of the image that it builds.
    pub fn kaniko_dir(&self) -> Option<PathBuf> {
        let named = self.path("KANIKO_DIR").filter(|dir| dir.is_absolute());
        [named, Some(PathBuf::from("/kaniko"))].into_iter().flatten().find(|dir| dir.is_dir())
    }

    /// The directory of the helper's configuration.
    pub fn config_dir(&self) -> Option<PathBuf> {
        self.own_dir("XDG_CONFIG_HOME", [".config", "Library/Application Support"], dirs::config_dir)
    }

    /// The helper's directory below a directory of the platform: the one that `xdg` names or the first of
    /// `below_home`, on macOS the second, and on Windows a known folder, which `find` returns and no variable names.
    fn own_dir(&self, xdg: &str, below_home: [&str; 2], find: fn() -> Option<PathBuf>) -> Option<PathBuf> {
        let [unix, macos] = below_home;
        let base = if cfg!(windows) {
            find()?
        } else if cfg!(target_os = "macos") {
            self.home()?.join(macos)
        } else {
            let named = self.os(xdg).map(PathBuf::from).filter(|dir| dir.is_absolute());
            named.or_else(|| Some(self.home()?.join(unix)))?
        };
        Some(base.join(crate::NAME)).filter(|dir| dir.is_absolute())
    }

    /// Whether `store` and `erase` do nothing. amazon-ecr-credential-helper has the same variable with the same value.
    pub fn ignores_storage(&self) -> bool {
        self.text("AWS_ECR_IGNORE_CREDS_STORAGE") == Some("true")
    }
}

/// A message about a variable that resembles one of [`VARIABLES`] and is none. Other programs have variables with the same
/// prefix, so other names are not reported.
fn misspelt(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let rest = upper.strip_prefix(PREFIX)?;
    if VARIABLES.iter().any(|(known, _)| *known == name) {
        return None;
    }
    for (of_account, _) in VARIABLES.iter().filter(|(known, _)| known.ends_with("<account>")) {
        let prefix = of_account.trim_end_matches("<account>");
        if let Some(account) = upper.strip_prefix(prefix) {
            let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
            return (!is_account || *name != upper)
                .then(|| format!("{name} has no effect: it must be {of_account} with the 12 digits of an account"));
        }
    }
    // The name may be a misspelt one of an account's variable.
    let (stem, account) = rest.split_at(rest.len() - rest.bytes().rev().take_while(u8::is_ascii_digit).count());
    if account.len() == 12 {
        let stems = VARIABLES.iter().filter_map(|(known, _)| known.strip_suffix("<account>"));
        let nearest = spelling::nearest(stem, stems.map(|known| known.trim_start_matches(PREFIX)))?;
        return Some(format!("{name} has no effect; is {PREFIX}{nearest}{account} meant?"));
    }
    let nearest = spelling::nearest(rest, VARIABLES.iter().map(|(known, _)| known.trim_start_matches(PREFIX)))?;
    let (nearest, _) = VARIABLES.iter().find(|(known, _)| known.ends_with(nearest))?;
    Some(format!("{name} has no effect; is {nearest} meant?"))
}

/// The prefix of the helper's variables.
const PREFIX: &str = "AWS_ECR_";

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        // Windows ignores the case of names and keeps it as first written.
        let name = |name: OsString| if cfg!(windows) { name.to_ascii_uppercase() } else { name };
        let mut variables = BTreeMap::new();
        for (key, value) in vars {
            // The first one of a variable that is set twice, as for getenv.
            variables.entry(name(key.into())).or_insert_with(|| value.into());
        }
        Self { variables, options: BTreeMap::new(), home_of_user: None }
    }
}

#[cfg(test)]
mod tests {
    use super::misspelt;

    #[test]
    fn misspelt_variables_are_reported_and_those_of_other_programs_are_not() {
        for (name, meant) in [
            ("AWS_ECR_CACHEDIR", "AWS_ECR_CACHE_DIR"),
            ("AWS_ECR_DISABLE_CACHES", "AWS_ECR_DISABLE_CACHE"),
            ("AWS_ECR_TIMOUT", "AWS_ECR_TIMEOUT"),
            ("aws_ecr_log", "AWS_ECR_LOG"),
            ("AWS_ECR_LOGFILE", "AWS_ECR_LOG_FILE"),
            ("AWS_ECR_LOG_LEVEL", "AWS_ECR_LOG"),
            ("AWS_ECR_CONFIG", "AWS_ECR_CONFIG_FILE"),
            ("AWS_ECR_PROFILE", "AWS_ECR_PROFILE_<account>"),
            ("AWS_ECR_PROFILE_1234", "AWS_ECR_PROFILE_<account>"),
            ("AWS_ECR_ROLE_ARN_prod", "AWS_ECR_ROLE_ARN_<account>"),
            ("AWS_ECR_ROLEARN_111122223333", "AWS_ECR_ROLE_ARN_111122223333"),
            ("AWS_ECR_ROLE_ARN111122223333", "AWS_ECR_ROLE_ARN_111122223333"),
            ("AWS_ECR_ROLE_111122223333", "AWS_ECR_ROLE_ARN_111122223333"),
            ("AWS_ECR_PROFILES_111122223333", "AWS_ECR_PROFILE_111122223333"),
            ("AWS_ECR_PROFIL_111122223333", "AWS_ECR_PROFILE_111122223333"),
            ("AWS_ECR_ACCESS_KEY_ID", "AWS_ECR_ACCESS_KEY_ID_<account>"),
            ("AWS_ECR_ACCESS_KEY_ID_prod", "AWS_ECR_ACCESS_KEY_ID_<account>"),
            ("AWS_ECR_SECRET_ACCES_KEY_111122223333", "AWS_ECR_SECRET_ACCESS_KEY_111122223333"),
            ("AWS_ECR_SESSION_TOKEN_1", "AWS_ECR_SESSION_TOKEN_<account>"),
            ("AWS_ECR_WEBIDENTITY", "AWS_ECR_WEB_IDENTITY"),
        ] {
            let found = misspelt(name).unwrap_or_default();
            assert!(found.contains(meant) && found.contains(name), "{name}: {found}");
        }
        for name in [
            "AWS_ECR_CACHE_DIR",
            "AWS_ECR_ROLE_ARN",
            "AWS_ECR_PROFILE_111122223333",
            "AWS_ECR_ACCESS_KEY_ID_111122223333",
            "AWS_ECR_SECRET_ACCESS_KEY_111122223333",
            "AWS_ECR_SESSION_TOKEN_111122223333",
            "AWS_ECR_REGION",
            "AWS_ECR_REGISTRY",
            "AWS_ECR_REGISTRY_ID",
            "AWS_ECR_ACCOUNT_URL",
            "AWS_ECR_REPOSITORY",
            "AWS_REGION",
        ] {
            assert_eq!(misspelt(name), None);
        }
    }
}
