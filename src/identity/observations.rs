//! Collects what an identity follows from: what a later `get` must find unchanged, and the settings in its key.

use std::path::PathBuf;

use super::dependency::{Dependency, Observed};
use super::hash::KeyHasher;
use super::source_file::SourceFile;
use crate::code::Code;
use crate::config::Role;
use crate::env::Env;
use crate::error::Failure;

/// The observations of one identity.
pub struct Observations<'a> {
    pub(super) env: &'a Env,
    /// What a later `get` must find unchanged.
    pub(super) all: Vec<Observed>,
    /// Why tokens of the identity are not cached, if so: the first reason.
    pub(super) uncacheable: Option<Failure>,
    /// The key.
    pub(super) key: KeyHasher,
}

impl<'a> Observations<'a> {
    /// Continues `key` by what is observed.
    pub(super) fn new(env: &'a Env, key: KeyHasher) -> Self {
        Self { env, all: Vec::new(), uncacheable: None, key }
    }

    /// Observes a dependency now.
    pub(super) fn add(&mut self, dependency: Dependency) {
        let name = dependency.describe();
        match Observed::now(dependency, self.env) {
            Some(observed) => self.push(observed),
            None => self.refuse(Failure::new(
                Code::CacheUnused,
                format!("the helper cannot detect a change of {name} on this system"),
                "use another source of credentials, e.g. keys or a profile with them",
            )),
        }
    }

    /// Adds a file that was read, of which `dependency` says what counts.
    pub(super) fn add_file(&mut self, file: &SourceFile, dependency: impl FnOnce(PathBuf) -> Dependency) {
        file.unsteady.clone().into_iter().for_each(|why| self.refuse(why));
        self.push(Observed::read(dependency(file.path.clone()), &file.content));
    }

    fn push(&mut self, observed: Observed) {
        observed.add_to(&mut self.key);
        self.all.push(observed);
    }

    /// Adds a setting to the key alone.
    pub(super) fn add_setting(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.key.add(name, value);
    }

    /// Adds a role that is assumed.
    pub(super) fn add_role(&mut self, role: &Role) {
        let Role { arn, external_id, session_name, region, mfa_serial: _ } = role;
        self.add_setting("role", arn);
        self.add_setting("external id", external_id.as_deref().unwrap_or_default());
        self.add_setting("session name", session_name);
        self.add_setting("region of STS", region.as_deref().unwrap_or_default());
    }

    /// Notes why tokens are not cached.
    pub(super) fn refuse(&mut self, why: Failure) {
        self.uncacheable.get_or_insert(why);
    }
}
