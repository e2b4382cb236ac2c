//! Collects what an identity follows from: what a later `get` must find unchanged, which continues its key.

use std::path::PathBuf;

use super::dependency::{Dependency, Names, Observed};
use super::hash::KeyHasher;
use super::source_file::SourceFile;
use crate::code::Code;
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

    /// Adds the names in the current directory, which were read.
    pub(super) fn add_names(&mut self, names: &Names) {
        self.push(Observed::names(names));
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

    /// Notes why tokens are not cached.
    pub(super) fn refuse(&mut self, why: Failure) {
        self.uncacheable.get_or_insert(why);
    }
}
