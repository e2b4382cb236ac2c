//! The environment: variables, the directories of the user, the programs on the PATH. No other module asks the system for them.
//!
//! The variables are copied once at the start, so that every decision of a run follows from the same settings. Nothing changes the
//! copy: an option of a command is a parameter of what it is for.

mod variables;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::platform;
pub use variables::VARIABLES;
use variables::misspelt;

/// Has `store` and `erase` do nothing.
const IGNORE_STORAGE: &str = "AWS_ECR_IGNORE_CREDS_STORAGE";

/// The directory of caches below the home directory, on macOS the second.
const CACHES: [&str; 2] = [".cache", "Library/Caches"];

/// Where programs are without a PATH, as dash has it.
const SYSTEM_PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A copy of the process environment.
#[derive(Clone, Default)]
pub struct Env {
    variables: BTreeMap<OsString, OsString>,
    /// The home directory in the user database, for an environment that names none.
    home_of_user: Option<PathBuf>,
}

impl Env {
    /// The environment of this process.
    #[expect(clippy::disallowed_methods, reason = "no other function reads the environment")]
    pub fn capture() -> Self {
        let env: Self = std::env::vars_os().collect();
        // On macOS the C library has to be asked, which without HOME asks Directory Services for the accounts of people.
        let ask = if cfg!(target_os = "macos") { dirs::home_dir } else { platform::home_in_user_database };
        let home_of_user = if cfg!(unix) && env.os("HOME").is_none() { ask() } else { None };
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

    /// The same for a setting of the helper: one that is blank counts as unset too.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|value| !value.trim().is_empty())
    }

    /// Whether `name` is set and empty. The helper and the AWS CLI take it for unset; some parts of the AWS SDK, which read
    /// the process environment themselves, do not.
    pub fn is_empty(&self, name: &str) -> bool {
        self.variables.get(OsStr::new(name)).is_some_and(|value| value.is_empty())
    }

    /// The value as it is, as the path of a variable that other programs read too, which replace no `~` in it. That of an AWS file
    /// differs, see [`Self::aws_file`].
    pub fn path_as_it_is(&self, name: &str) -> Option<PathBuf> {
        self.os(name).map(PathBuf::from)
    }

    /// The value as the path of one of the helper's own variables, with a leading `~` component replaced by the home directory: no
    /// shell expands the values in env files and CI settings.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.expand(Path::new(self.os(name)?)))
    }

    /// The value as the path of an AWS file or of the sessions of `aws login`, in which the AWS CLI also replaces `$NAME` and `${NAME}`:
    /// not in that of a token or of authorities (botocore, `configloader.py`, `utils.py`).
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

    /// Finds a program on the PATH.
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        self.program_with_metadata(name).map(|(path, _)| path)
    }

    /// The same, with the metadata of the file.
    pub fn program_with_metadata(&self, name: &str) -> Option<(PathBuf, Metadata)> {
        self.search_path().find_map(|dir| self.program_in(&dir, name))
    }

    /// Finds a program in a directory. On Windows its name may have one of the endings in PATHEXT.
    pub fn program_in(&self, dir: &Path, name: &str) -> Option<(PathBuf, Metadata)> {
        let endings = if cfg!(windows) { self.text("PATHEXT").unwrap_or(".COM;.EXE;.BAT;.CMD") } else { "" };
        let endings = endings.split(';').filter(|ending| ending.len() > 1 && ending.starts_with('.'));
        platform::executable(&dir.join(name), &endings.map(str::to_lowercase).collect::<Vec<_>>())
    }

    /// Gives a command this environment, of a variable that is set twice the first value, and a PATH with the directories of
    /// [`Self::search_path`] alone.
    pub fn give_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::join_paths(self.search_path()).unwrap_or_default();
        command.env_clear().envs(self.iter()).env("PATH", path)
    }

    /// The file of this program, if the system tells it.
    pub fn this_program() -> Option<PathBuf> {
        std::env::current_exe().ok()
    }

    /// The current directory, which this process never changes.
    pub fn current_dir() -> Option<PathBuf> {
        std::env::current_dir().ok()
    }

    /// The directories of the PATH. Leaves out relative and empty ones: a program there would come from the client's current
    /// directory, which another user may control. Docker's own look-ups refuse it too. Without any, those of the system: a shell has
    /// a PATH of its own then, which may end with the current directory.
    pub fn search_path(&self) -> impl Iterator<Item = PathBuf> {
        let system: &[&str] = if cfg!(unix) && !self.has_path() { &SYSTEM_PATH } else { &[] };
        self.absolute_path().chain(system.iter().map(PathBuf::from))
    }

    /// Whether the PATH has a directory in which clients look for programs.
    pub fn has_path(&self) -> bool {
        self.absolute_path().next().is_some()
    }

    fn absolute_path(&self) -> impl Iterator<Item = PathBuf> {
        let directories = self.os("PATH").into_iter().flat_map(std::env::split_paths);
        directories.filter(|directory| directory.is_absolute())
    }

    /// Messages about variables that look like misspelt ones of the helper, and about values with another effect than they seem to have.
    pub fn misspelt(&self) -> impl Iterator<Item = String> {
        let value = self.text(IGNORE_STORAGE).filter(|value| !["true", "false"].contains(value));
        let value = value.map(|value| format!("{IGNORE_STORAGE} has no effect with '{value}': it must be 'true'"));
        let dir = self.path("AWS_ECR_CACHE_DIR").filter(|dir| dir.is_relative() && !self.disables_cache());
        let dir = dir.map(|dir| {
            let dir = dir.display();
            format!("AWS_ECR_CACHE_DIR is '{dir}', which is a relative path: tokens are left in whatever directory is current")
        });
        self.variables.keys().filter_map(|name| name.to_str()).filter_map(misspelt).chain(value).chain(dir)
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The directory of the token cache; `None` when the user disabled the cache or the platform has no directory for it.
    pub fn cache_dir(&self) -> Option<PathBuf> {
        if self.disables_cache() { None } else { self.dir_of_tokens() }
    }

    /// The same for what removes tokens: those from before the cache was disabled are served again once it is not.
    pub fn dir_of_tokens(&self) -> Option<PathBuf> {
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
        let named = self.path_as_it_is("KANIKO_DIR").filter(|dir| dir.is_absolute());
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
            let named = self.path_as_it_is(xdg).filter(|dir| dir.is_absolute());
            named.or_else(|| Some(self.home()?.join(unix)))?
        };
        Some(base.join(crate::NAME)).filter(|dir| dir.is_absolute())
    }

    /// Whether `store` and `erase` do nothing. amazon-ecr-credential-helper has the same variable with the same value.
    pub fn ignores_storage(&self) -> bool {
        self.text(IGNORE_STORAGE) == Some("true")
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        // Windows ignores the case of names and keeps it as first written.
        let name = |name: OsString| if cfg!(windows) { name.to_ascii_uppercase() } else { name };
        let mut variables = BTreeMap::new();
        for (key, value) in vars {
            // The first one of a variable that is set twice, as for getenv.
            variables.entry(name(key.into())).or_insert_with(|| value.into());
        }
        Self { variables, home_of_user: None }
    }
}
