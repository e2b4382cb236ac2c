//! Checks whether docker and podman call the helper for a host.

use std::sync::Arc;

use super::check::{Check, Name, Place, Status};
use crate::client_config::{self, AuthFile, HELPER_NAME};
use crate::code::Code;
use crate::commands::client::Client;
use crate::commands::findings;
use crate::env::Env;
use crate::registry::Registry;

/// The checks of one host. Those that fail as one of the machine did have its place: they are about the same file.
pub(super) fn check_all(env: &Env, host: &str, machine: &[Arc<Check>]) -> Vec<Check> {
    let password = findings::environment_password(env, host);
    let docker = match &password {
        Some(password) if password.is_used_by_docker => Some(Check::failed(Name::Docker, password.failure.clone())),
        _ => check_client(Client::Docker, env, host),
    };
    let mut checks = one_is_enough(docker.into_iter().chain(check_client(Client::Podman, env, host)).collect());
    checks.extend(leftover(env, host));
    checks.extend(findings::repository_password(env, host).map(|failure| Check::warned(Name::Podman, failure)));
    let unused = password.filter(|password| !password.is_used_by_docker);
    checks.extend(unused.map(|password| Check::warned(Name::Docker, password.failure)));
    for check in checks.iter_mut().filter(|check| check.code.is_some()) {
        let is_same =
            |above: &&Arc<Check>| (above.name, above.status, above.code) == (check.name, check.status, check.code);
        check.place = machine.iter().find(is_same).map_or(Place::Registry, |above| above.place);
    }
    checks
}

/// Downgrades the failure of one client to a warning if the other works, since most machines use one.
pub(super) fn one_is_enough(mut checks: Vec<Check>) -> Vec<Check> {
    if checks.iter().any(|check| check.status == Status::Ok) {
        // Settings that a client cannot read are no choice of another client.
        let lasts =
            [Code::DockerAuthConfig, Code::ClientConfigInvalid, Code::ClientConfigUnreadable, Code::ClientHelperName];
        let counts = |check: &&mut Check| {
            check.status == Status::Failure && check.code.is_none_or(|code| !lasts.contains(&code))
        };
        for check in checks.iter_mut().filter(counts) {
            check.status = Status::Warning;
        }
    }
    checks
}

/// The name of the checks of a client.
pub(super) fn name(client: Client) -> Name {
    match client {
        Client::Docker => Name::Docker,
        Client::Podman => Name::Podman,
    }
}

/// Checks one client for the host; `None` if it is not installed and has no settings of its own.
fn check_client(client: Client, env: &Env, host: &str) -> Option<Check> {
    let found = findings::calls_helper(env, client, host);
    if client.program(env).is_none() && !client.has_own_settings(env) {
        return None;
    }
    if found.as_ref().is_err_and(|failure| failure.code == Code::ClientNotSetUp) {
        client.program(env)?;
        if Registry::parse(host).is_some_and(|registry| registry.is_public()) {
            let anonymous = "calls no helper for this host: images of ECR Public are pulled anonymously";
            return Some(Check::ok(name(client), anonymous));
        }
    }
    Some(Check::of(name(client), found))
}

/// Reports a password in docker's settings that docker does not use.
fn leftover(env: &Env, host: &str) -> Option<Check> {
    let file = AuthFile::read(env, client_config::docker_config(env)?).ok()?;
    let failures = findings::leftover_passwords(env, Client::Docker, |known| **known == *host);
    let unused = failures.into_iter().find(|_| file.helper(host) == Some(HELPER_NAME))?;
    Some(Check::warned(Name::Docker, unused))
}
