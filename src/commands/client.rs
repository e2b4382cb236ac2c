//! The clients whose settings [`setup`](super::setup) changes and [`doctor`](super::doctor) checks: docker, and podman with
//! buildah and skopeo.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use crate::NAME;
use crate::client_config::{self, AuthFile, HELPER_NAME, Lookup};
use crate::code::Code;
use crate::containers::{self, Rules};
use crate::env::Env;
use crate::error::Failure;
use crate::platform::command;

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Docker,
    Podman,
}

impl Client {
    /// Returns the command's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// Returns the program, if it is on the PATH.
    pub(super) fn program(self, env: &Env) -> Option<PathBuf> {
        match self {
            Self::Docker => env.find_program("docker"),
            Self::Podman => containers::program(env),
        }
    }

    /// Returns the fix by a `setup` of this client with these arguments, each `{}` of which stands for a host.
    pub(super) fn fix(self, args: &str, hosts: &[&str]) -> String {
        let podman = if self == Self::Podman { " --podman" } else { "" };
        command(format!("{NAME} setup{podman} {args}").trim_end(), hosts)
            .map_or_else(|| "correct its name".to_owned(), |command| format!("run {command}"))
    }

    /// A failure with such a fix, or with what keeps `setup` from its file: the drop-in where no host is named.
    pub(super) fn failure(self, env: &Env, code: Code, what: impl Display, args: &str, hosts: &[&str]) -> Failure {
        let drop_in = || containers::own_drop_in(env, Rules::installed(env).era);
        let file = if hosts.is_empty() { drop_in() } else { self.entry_file(env) };
        let Some(file) = file else {
            return Failure::new(code, what.to_string(), format!("set {}, then {}", Env::HOME, self.fix(args, hosts)));
        };
        match client_config::obstacle(env, &file) {
            Some(obstacle) => Failure::new(code, format!("{what}, and {}", obstacle.what), obstacle.hint),
            None => Failure::new(code, what.to_string(), self.fix(args, hosts)),
        }
    }

    /// Returns the files that may hold passwords, in the order in which the client reads them.
    pub(super) fn auth_files(self, env: &Env) -> Vec<PathBuf> {
        match self {
            Self::Docker => client_config::docker_config(env).into_iter().collect(),
            Self::Podman => containers::auth_files(env, Rules::installed(env)),
        }
    }

    /// Reads those of these files that can be read.
    pub(super) fn read_auth_files(self, env: &Env) -> impl Iterator<Item = Arc<AuthFile>> {
        self.auth_files(env).into_iter().filter_map(|path| AuthFile::read(env, path).ok())
    }

    /// Returns the files from which `setup --remove` takes entries. podman also reads docker's file, which is not its own
    /// unless `DOCKER_CONFIG` makes it the only one.
    pub(super) fn own_auth_files(self, env: &Env) -> Vec<PathBuf> {
        let mut files = self.auth_files(env);
        if self == Self::Podman {
            let foreign = client_config::docker_config(env).filter(|path| Some(path) != self.entry_file(env).as_ref());
            files.retain(|path| Some(path) != foreign.as_ref());
        }
        files
    }

    /// Reports whether there are settings of this client alone.
    pub(super) fn has_own_settings(self, env: &Env) -> bool {
        let helpers = || containers::credential_helpers(env, Rules::installed(env)).unwrap_or_default();
        self.own_auth_files(env).iter().any(|path| path.exists())
            || (self == Self::Podman && helpers().iter().any(|helper| helper.name == HELPER_NAME))
    }

    /// Returns the file that gets new entries; `None` without a home directory.
    pub(super) fn entry_file(self, env: &Env) -> Option<PathBuf> {
        match self {
            Self::Docker => client_config::docker_config(env),
            Self::Podman => containers::lasting_auth_file(env),
        }
    }

    /// Returns a command that pulls from a registry of the helper, for a program that is on the PATH. podman and its kin read
    /// docker's settings too.
    pub(super) fn pull(self, env: &Env, host: &str) -> Option<String> {
        let calls_helper =
            |client: &Self| matches!(client.lookup(env, host), Ok(Lookup::Helper { name, .. }) if name == HELPER_NAME);
        let program = self.program(env).or_else(|| Some(Self::Podman).filter(calls_helper)?.program(env))?;
        match program.file_stem()?.to_str()? {
            "skopeo" => Some(format!("skopeo inspect docker://{host}/REPOSITORY:TAG")),
            name => Some(format!("{name} pull {host}/REPOSITORY:TAG")),
        }
    }

    /// Finds where the client gets the credentials of a host.
    pub(super) fn lookup(self, env: &Env, host: &str) -> Result<Lookup, Failure> {
        match self {
            Self::Docker => client_config::docker_lookup(env, host),
            Self::Podman => containers::lookup(env, Rules::installed(env), host),
        }
    }
}
