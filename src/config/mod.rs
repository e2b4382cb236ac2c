//! The configuration: which identity a registry gets.
//!
//! The configuration file is TOML at `AWS_ECR_CONFIG_FILE`, or by default `docker-credential-ecr-login/config.toml` in the
//! platform's configuration directory. Its `[[registry]]` tables are tried in order; the first whose glob matches the
//! host applies.
//!
//! Variables override the file for one account: `AWS_ECR_PROFILE_<account>` and `AWS_ECR_ROLE_ARN_<account>` replace the
//! profile and the role of a table, and `AWS_ECR_ACCESS_KEY_ID_<account>` with its companions replaces all other
//! credentials.
//!
//! `web_identity` and `web_identity_token_env` assume the role of a table with the identity token of a CI job;
//! `AWS_ECR_WEB_IDENTITY` does so for every registry without a mapped profile. `{account}` in `role_arn` is replaced by
//! the account of the registry, so that one table serves many accounts.
//!
//! A mistake in the file fails every request, with one line that names the file, the line and the key: the helper does not
//! guess whose credentials to use.
//!
//! | module | what it does |
//! | --- | --- |
//! | `file`, `registry_entry`, `source_text` | parse and check the file, and name the lines of mistakes |
//! | `absence` | tells a file that does not exist from one that cannot be reached |
//! | `variables` | reads the variables for one account and for CI jobs |
//! | `mapping` | resolves a server URL to its [`Target`] |
//! | `target` | defines [`Target`] and its [`Caller`] |
//! | `values` | checks the formats of values |
//! | `keys` | describes every key for the manual page |

mod absence;
mod file;
mod keys;
mod mapping;
mod registry_entry;
mod source_text;
mod target;
mod values;
mod variables;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::warn;

pub(crate) use absence::is_absent;
pub use keys::{ConfigKey, KEYS, REGISTRY_KEYS, sample};
pub use target::{Caller, Keys, MappedProfile, Role, ServiceAccount, Target, TokenOrigin, TokenProvider};
pub(crate) use values::{ROLE_ARN_FORM, duration, is_of_session_name, is_role_arn, is_url};
pub(crate) use variables::{WEB_IDENTITY, token_provider};

use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::input::{self, Content, Reading};
use absence::Place;
use registry_entry::RegistryEntry;
use values::{age, time_limit};

/// The time limit of one `get` when no setting changes it.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// The same where a program may ask a person: a fallback helper that unlocks a keychain, or a `credential_process` that opens a
/// browser.
const DEFAULT_TIMEOUT_WITH_PERSON: Duration = Duration::from_mins(2);

/// The default session name of assumed roles, which CloudTrail shows.
pub(crate) const SESSION_NAME: &str = crate::NAME;

/// The settings of the helper for one run.
#[derive(Debug, Default)]
pub struct Config {
    /// `None` when no setting changes it.
    timeout: Option<Duration>,
    /// How old a cached token may be; `None` when no setting limits it.
    pub max_age: Option<Duration>,
    /// The helper for registries that are not ECR's: `docker-credential-<name>`.
    pub fallback: Option<String>,
    registries: Vec<RegistryEntry>,
    /// The path of the file, and how it was read; `None` when the platform has no path for it.
    pub source: Option<(PathBuf, Reading)>,
    /// Why what may be in the file does not count, if it is so.
    pub passed_over: Option<Failure>,
}

impl Config {
    /// Reads the settings, by `deadline`. A file that `AWS_ECR_CONFIG_FILE` names must exist; the default one need not.
    pub fn load(env: &Env, deadline: Instant) -> Result<Self, Failure> {
        let mut config = match Self::path(env) {
            None => Self::default(),
            Some(path) => Self::load_file(path, env, deadline)?,
        };
        config.timeout = timeout(env)?.or(config.timeout);
        config.max_age = time(env, "AWS_ECR_MAX_AGE", age, "no age", AGE_FORM)?.or(config.max_age);
        Ok(config)
    }

    fn load_file(path: PathBuf, env: &Env, deadline: Instant) -> Result<Self, Failure> {
        let is_named = env.path("AWS_ECR_CONFIG_FILE").is_some();
        let mut reading =
            input::file(&path, input::LARGEST_SETTINGS, deadline).map_err(|why| unreadable(&path, why))?;
        let config = match &reading.content {
            Content::Bytes(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|_| unreadable(&path, "it is not UTF-8"))?;
                Self::read(text, &path)?
            }
            content => match (content, absence::look(&path, env)?) {
                (Content::Absent, _) if is_named => {
                    let what = format!(
                        "the configuration file {}, which AWS_ECR_CONFIG_FILE names, does not exist",
                        path.display()
                    );
                    return Err(invalid(what, "create it, or correct or unset AWS_ECR_CONFIG_FILE"));
                }
                (_, Place::InClosedHome(why)) if !is_named => {
                    warn!("{why}");
                    reading.content = Content::Absent;
                    Self { passed_over: Some(why), ..Self::default() }
                }
                (Content::Unreadable(why), _) => {
                    return Err(unreadable(&path, format!("{why}{}", input::obstacle(&path))));
                }
                _ => Self::default(),
            },
        };
        Ok(Self { source: Some((path, reading)), ..config })
    }

    /// The path of the file, whether or not it exists; `None` when the platform has none.
    pub fn path(env: &Env) -> Option<PathBuf> {
        env.path("AWS_ECR_CONFIG_FILE").or_else(|| Some(env.config_dir()?.join("config.toml")))
    }

    /// The time limit of one `get`.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// The same where a program may ask a person. A limit that a setting sets applies to all.
    pub fn timeout_with_person(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT_WITH_PERSON)
    }
}

/// The failure for a mistake in the file or in a variable of the helper.
fn invalid(what: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::new(Code::ConfigInvalid, what, hint)
}

fn unreadable(path: &Path, why: impl fmt::Display) -> Failure {
    let what = format!("cannot read the configuration {}: {why}", path.display());
    invalid(what, "correct it, or point AWS_ECR_CONFIG_FILE elsewhere")
}

/// The values that a time limit may have, for messages.
const TIME_LIMIT_FORM: &str = "write more than zero and at most an hour, e.g. 20, 500ms, 1m30s";

/// The values that an age may have, for messages.
const AGE_FORM: &str = "write a time of more than zero, e.g. 30m, 1h";

/// Parses `AWS_ECR_TIMEOUT`; `None` when it is unset.
pub fn timeout(env: &Env) -> Result<Option<Duration>, Failure> {
    time(env, "AWS_ECR_TIMEOUT", time_limit, "no time limit", TIME_LIMIT_FORM)
}

/// Parses a variable with a time; `None` when it is unset.
fn time(
    env: &Env,
    name: &str,
    parse: fn(&str) -> Option<Duration>,
    wrong: &str,
    form: &str,
) -> Result<Option<Duration>, Failure> {
    let Some(text) = env.setting(name) else { return Ok(None) };
    parse(text).map(Some).ok_or_else(|| invalid(format!("{name} is '{text}', which is {wrong}"), form))
}

/// The deadline of an answer by the environment alone, before the configuration file is read.
pub fn deadline(env: &Env, started: Instant) -> Instant {
    started + timeout(env).ok().flatten().unwrap_or(DEFAULT_TIMEOUT)
}
