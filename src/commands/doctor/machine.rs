//! Checks what all registries share: the helper on the PATH, the variables, the configuration and the settings of clients.

use std::time::Duration;

use super::report::{Check, Name};
use super::{Checker, clients};
use crate::NAME;
use crate::client_config::{self, AuthFile, HELPER_NAME};
use crate::code::Code;
use crate::commands::client::Client;
use crate::commands::findings;
use crate::containers::{self, Rules};
use crate::env::Env;
use crate::identity::Profiles;
use crate::input::Content;

/// The time limit for the AWS files.
const AWS_FILES: Duration = Duration::from_secs(3);

/// What the arguments and the settings of clients name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Registries, each of which has a check of its clients.
    Registries,
    /// No registry.
    Machine,
}

/// Returns the checks. Each runs when the iterator reaches it, so that the first lines appear before podman has printed its
/// version.
pub(super) fn check_all(checker: Checker<'_>, scope: Scope) -> impl Iterator<Item = Check> {
    let env = checker.env;
    let misspelt = env
        .misspelt()
        .map(|what| Check::warning(Name::Variables, Code::VariableMisspelt, what, "correct the name of the variable"));
    let own = std::iter::once_with(move || program(env))
        .chain(findings::sudo(env).map(|failure| Check::warned(Name::User, failure)))
        .chain(misspelt);
    let clients = std::iter::once_with(move || clients(env, scope)).flatten();
    own.chain(configuration(checker)).chain(std::iter::once_with(move || aws_files(checker)).flatten()).chain(clients)
}

/// Checks the settings of docker and podman.
fn clients(env: &Env, scope: Scope) -> Vec<Check> {
    let mut found: Vec<Check> = [docker(env, scope), podman(env, scope), skopeo(env)].into_iter().flatten().collect();
    found.extend(findings::snap(env).map(|failure| Check::warned(Name::Docker, failure)));
    for (client, name) in [(Client::Docker, Name::Docker), (Client::Podman, Name::Podman)] {
        found.extend(findings::misspelt_members(env, client).into_iter().map(|failure| Check::warned(name, failure)));
    }
    if found.is_empty() && clients::installed(env).is_empty() {
        found.push(Check::warning(
            Name::Clients,
            Code::NoClient,
            "neither docker nor podman is on the PATH, and neither has settings",
            "if another client pulls here, see its manual about credential helpers",
        ));
    }
    clients::one_is_enough(found)
}

/// Checks that clients find the helper on their PATH.
fn program(env: &Env) -> Check {
    match findings::program(env) {
        Ok(path) => Check::ok(Name::Program, format!("{} {}", path.display(), crate::VERSION)),
        Err(failure) if failure.code == Code::ProgramShadowed => Check::warned(Name::Program, failure),
        Err(failure) => Check::failed(Name::Program, failure),
    }
}

/// Warns of lines of the AWS files that are no settings.
fn aws_files(checker: Checker) -> Option<Check> {
    const SHOWN: usize = 3;
    let profiles = Profiles::read(checker.env, checker.until(AWS_FILES)).ok()?;
    let lines: Vec<String> = profiles.passed_over().collect();
    let more = if lines.len() > SHOWN { format!("; and {} more", lines.len() - SHOWN) } else { String::new() };
    let what = format!("passed over {}{more}", lines[..lines.len().min(SHOWN)].join("; "));
    (!lines.is_empty())
        .then(|| Check::warning(Name::Profiles, Code::SettingPassedOver, what, "correct or remove the lines"))
}

fn configuration(checker: Checker) -> Option<Check> {
    match checker.config {
        Err(failure) => Some(Check::failed(Name::Configuration, failure.clone())),
        Ok(config) => {
            let (path, content) = config.source()?;
            matches!(content, Content::Bytes(_)).then(|| Check::ok(Name::Configuration, path.display().to_string()))
        }
    }
}

/// Checks docker's settings; `None` if docker is neither installed nor set up.
fn docker(env: &Env, scope: Scope) -> Option<Check> {
    if let Some(failure) = findings::refused_environment(env) {
        return Some(Check::warned(Name::Docker, failure));
    }
    let path = client_config::docker_config(env)?;
    let file = match AuthFile::read(path.clone()) {
        Ok(file) => file,
        Err(failure) => return Some(Check::failed(Name::Docker, failure)),
    };
    if file.store() == Some(NAME) && scope == Scope::Machine {
        return Some(Check::failed(Name::Docker, findings::wrong_store(&path, "HOST")));
    }
    let is_there = env.find_program("docker").is_some() || path.exists();
    let all = file.store() == Some(HELPER_NAME);
    let count = file.hosts().count();
    match (all, count) {
        (true, _) => Some(Check::ok(
            Name::Docker,
            format!("calls the helper for every registry: credsStore in {}", path.display()),
        )),
        (false, 1..) => {
            Some(Check::ok(Name::Docker, format!("{} names the helper for {}", path.display(), registries(count))))
        }
        _ if scope == Scope::Registries || !is_there => None,
        _ => Some(Check::failure(
            Name::Docker,
            Code::ClientNotSetUp,
            format!("{} names the helper for no registry", path.display()),
            format!("run '{NAME} setup HOST' for each registry"),
        )),
    }
}

/// Checks podman's settings; `None` if podman is neither installed nor set up.
fn podman(env: &Env, scope: Scope) -> Option<Check> {
    let helpers = match containers::credential_helpers(env, Rules::of_installed(env)) {
        Ok(helpers) => helpers,
        Err(failure) => return Some(Check::failed(Name::Podman, failure)),
    };
    if let Some(helper) = helpers.iter().find(|helper| helper.name == HELPER_NAME) {
        let what = format!("calls the helper for every registry: credential-helpers in {}", helper.file.display());
        return Some(Check::ok(Name::Podman, what));
    }
    let of_docker = client_config::docker_config(env);
    let mut count = 0;
    if !containers::reads_auth_files(env, Rules::of_installed(env)) {
        return not_set_up(env, scope);
    }
    for path in containers::auth_files(env, Rules::of_installed(env))
        .into_iter()
        .filter(|path| Some(path) != of_docker.as_ref())
    {
        match AuthFile::read(path) {
            Ok(file) => count += file.hosts().count(),
            Err(failure) => return Some(Check::failed(Name::Podman, failure)),
        }
    }
    if count > 0 {
        let path = containers::lasting_auth_file(env).unwrap_or_default();
        return Some(Check::ok(Name::Podman, format!("{} names the helper for {}", path.display(), registries(count))));
    }
    let of_docker = of_docker.and_then(|path| AuthFile::read(path).ok());
    if of_docker.is_some_and(|file| file.hosts().next().is_some()) && containers::program(env).is_some() {
        return Some(Check::ok(Name::Podman, "reads docker's settings"));
    }
    not_set_up(env, scope)
}

/// Reports that podman does not call the helper; `None` where each named registry has its own checks of clients.
fn not_set_up(env: &Env, scope: Scope) -> Option<Check> {
    if scope == Scope::Registries || containers::program(env).is_none() {
        return None;
    }
    Some(Check::failure(
        Name::Podman,
        Code::ClientNotSetUp,
        "its settings name the helper for no registry",
        format!("run '{NAME} setup --podman'"),
    ))
}

/// Warns that skopeo before 1.23 does not read the file that a variable names.
fn skopeo(env: &Env) -> Option<Check> {
    let path = env.text(containers::REGISTRIES_CONF).filter(|_| containers::skopeo_ignores_variable(env))?;
    Some(Check::warning(
        Name::Skopeo,
        Code::ClientConfigInvalid,
        format!("this skopeo does not read {path}, which {} names", containers::REGISTRIES_CONF),
        "for skopeo, name the helper in the registries.conf of the user or of /etc/containers too",
    ))
}

fn registries(count: usize) -> String {
    if count == 1 { "1 registry".to_owned() } else { format!("{count} registries") }
}
