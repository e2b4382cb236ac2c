//! What decides about credentials: the environment, the AWS files, and the profile that applies.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::profiles::{Profile, Profiles};
use super::selected::Selected;
use crate::code::Code;
use crate::config::{Keys, Role, SESSION_NAME};
use crate::env::Env;
use crate::error::Failure;

/// The settings of one request.
pub(super) struct Inputs<'a> {
    pub(super) env: &'a Env,
    pub(super) profiles: &'a Profiles,
    pub(super) selected: &'a Selected,
    /// When reading what the settings name has to end.
    pub(super) deadline: Instant,
    /// Whether to look for the profile that is meant where one is missing: in all of them.
    pub(super) guesses: bool,
    /// Settings that were passed over, a clause each.
    pub(super) passed_over: RefCell<Vec<String>>,
}

/// A profile, with what its settings refer to.
pub(super) struct ProfileSection<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) profile: Profile<'a>,
    pub(super) name: &'a str,
    /// Whether another profile names it as its `source_profile`.
    pub(super) is_source: bool,
    /// The keys in it.
    pub(super) keys: Option<Keys>,
}

impl<'a> Inputs<'a> {
    pub(super) fn new(env: &'a Env, profiles: &'a Profiles, selected: &'a Selected, deadline: Instant) -> Self {
        Self { env, profiles, selected, deadline, guesses: true, passed_over: RefCell::default() }
    }

    /// Notes a setting that was passed over.
    pub(super) fn pass_over(&self, clause: String) {
        self.passed_over.borrow_mut().push(clause);
    }

    /// A setting by its variable, or else by its key in the selected profile, with the name by which it was found.
    pub(super) fn setting(&self, variable: &'static str, key: &'static str) -> Option<(&'a str, &'static str)> {
        let in_profile = || Some((self.profiles.profile(self.selected.name())?.get(key)?, key));
        self.env.text(variable).map(|value| (value, variable)).or_else(in_profile)
    }

    /// The failure for a variable that is set without the one that belongs to it.
    pub(super) fn half(&self, set: &str, missing: &str) -> Failure {
        let is_blank = self.env.is_empty(missing) || self.env.text(missing).is_some();
        let state = if is_blank { "empty" } else { "not set" };
        Failure::new(
            Code::SettingInvalid,
            format!("{set} is set, and {missing} is {state}"),
            format!("set {missing}, or unset {set}"),
        )
    }
}

impl ProfileSection<'_> {
    /// The value of a setting; an empty one counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.profile.get(key)
    }

    /// The role of the profile.
    pub(super) fn role(&self) -> Option<Role> {
        Some(Role {
            arn: self.get("role_arn")?.to_owned(),
            external_id: self.get("external_id").map(str::to_owned),
            session_name: self.session_name(),
            region: None,
            mfa_serial: self.get("mfa_serial").map(str::to_owned),
        })
    }

    /// Reads the keys. A pair is in one file; half of a pair is an error.
    pub(super) fn read_keys(&self) -> Result<Option<Keys>, Failure> {
        const ID: &str = "aws_access_key_id";
        const SECRET: &str = "aws_secret_access_key";
        let mut files = self.profile.sections();
        while let Some(file) = files.next() {
            let missing = |key: &str, other: &str| {
                let what = format!("it has {other} without {key} beside it in the same file");
                self.wrong(&what, &format!("add {key}, or remove {other}"))
            };
            let (id, secret) = match (file.get(ID), file.get(SECRET)) {
                (Some(id), Some(secret)) => (id.to_owned(), secret.to_owned().into()),
                (Some(_), None) => return Err(missing(SECRET, ID)),
                (None, Some(_)) => return Err(missing(ID, SECRET)),
                (None, None) => continue,
            };
            // As in the SDK for Go, the token of keys in the credentials file may be in the config file.
            let files: Vec<_> = std::iter::once(file).chain(files).collect();
            let token = ["aws_session_token", "aws_security_token"]
                .into_iter()
                .find_map(|key| files.iter().find_map(|file| file.get(key)));
            return Ok(Some(Keys { id, secret, token: token.map(|token| token.to_owned().into()) }));
        }
        Ok(None)
    }

    pub(super) fn session_name(&self) -> String {
        self.get("role_session_name").unwrap_or(SESSION_NAME).to_owned()
    }

    /// The failure for a profile with a mistake.
    pub(super) fn wrong(&self, what: &str, hint: &str) -> Failure {
        let file = self.inputs.profiles.file_of(self.name);
        Failure::new(
            Code::ProfileInvalid,
            format!("the profile '{}' in {file} cannot be used: {what}", self.name),
            hint,
        )
    }

    /// The file of this name below `.aws` in the home directory, in which the AWS CLI keeps `what`.
    pub(super) fn session_file(&self, below: impl AsRef<Path>, what: &str) -> Result<PathBuf, Failure> {
        let home = self.inputs.env.home().ok_or_else(|| {
            self.wrong(
                &format!("there is no home directory for {what}: {} is unset or not an absolute path", Env::HOME),
                &format!("set {} to the home directory of the user who signed in", Env::HOME),
            )
        })?;
        Ok(home.join(".aws").join(below))
    }
}
