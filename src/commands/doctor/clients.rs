//! Checks whether docker and podman call the helper for a host.

use std::path::{Path, PathBuf};

use super::report::{Check, Status};
use crate::NAME;
use crate::client_config::{self, AuthFile, DOCKERCFG, EnvironmentPasswords, HELPER_NAME, Lookup};
use crate::code::Code;
use crate::containers::{self, Rules};
use crate::env::Env;
use crate::registry::{self, Registry};

/// The checks of one host.
pub(super) fn check_all(env: &Env, host: &str) -> Vec<Check> {
    let docker = client(Client::Docker, env, host);
    let podman = client(Client::Podman, env, host);
    let mut checks = one_is_enough([docker, podman].into_iter().flatten().collect());
    checks.extend(leftover(env, host));
    checks.extend(passwords_of_repositories(env, host));
    checks.extend(auth_config_of_others(env, host));
    checks
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    Docker,
    Podman,
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

/// The clients that are on the PATH.
pub(super) fn installed(env: &Env) -> Vec<PathBuf> {
    client_config::on_path(env, "docker").into_iter().chain(containers::program(env)).collect()
}

/// Checks one client for the host; `None` if it is neither installed nor set up.
fn client(client: Client, env: &Env, host: &str) -> Option<Check> {
    let (name, program, lookup, option) = match client {
        Client::Docker => {
            ("docker", client_config::on_path(env, "docker"), client_config::docker_lookup(env, host), "")
        }
        Client::Podman => {
            let lookup = containers::lookup(env, Rules::of_installed(env), host);
            ("podman", containers::program(env), lookup, " --podman")
        }
    };
    let setup = |more: &str| format!("run '{NAME} setup{option} {host}{more}'");
    if client == Client::Docker && EnvironmentPasswords::read(env).have(host) && reads_auth_config(env) {
        return Some(Check::failure(
            name,
            Code::DockerAuthConfig,
            "DOCKER_AUTH_CONFIG has a password for this host; docker 28.3 and later uses it and calls no helper",
            "unset DOCKER_AUTH_CONFIG for docker",
        ));
    }
    let lookup = match lookup {
        Ok(lookup) => lookup,
        Err(failure) => return Some(Check::failed(name, failure)),
    };
    Some(match lookup {
        Lookup::Helper { name: helper, setting, file: path } if helper == HELPER_NAME => {
            Check::ok(name, format!("calls the helper: {setting} in {}", path.display()))
        }
        Lookup::Helper { name: helper, setting: "credsStore", file: path } if helper == NAME => {
            wrong_store(&path, host)
        }
        Lookup::Helper { name: helper, setting, file: path } if helper == NAME => Check::failure(
            name,
            Code::ClientHelperName,
            format!("{setting} in {} names '{NAME}', so {name} looks for docker-credential-{NAME}", path.display()),
            setup(" --force"),
        ),
        Lookup::Helper { name: helper, setting, file: path } => Check::failure(
            name,
            Code::ClientOtherHelper,
            format!("calls docker-credential-{helper}, not this helper: {setting} in {}", path.display()),
            setup(" --force"),
        ),
        Lookup::Password(path) if path.ends_with(DOCKERCFG) => Check::failure(
            name,
            Code::ClientPassword,
            format!("uses a password in {}, and asks no helper", path.display()),
            "remove the entry of this host from the file, which docker has not read since version 1.7",
        ),
        Lookup::Password(path) => Check::failure(
            name,
            Code::ClientPassword,
            format!("uses a password that an earlier login left in {}, and calls no helper", path.display()),
            setup(" --remove-auths"),
        ),
        Lookup::Nothing if client == Client::Podman && !containers::reads_auth_files(env, Rules::of_installed(env)) => {
            program?;
            let what = "credential-helpers in registries.conf names neither the helper nor containers-auth.json";
            Check::failure(name, Code::ClientNotSetUp, what, format!("run '{NAME} setup --podman'"))
        }
        Lookup::Nothing => {
            let files = match client {
                Client::Docker => client_config::docker_config(env).into_iter().collect(),
                Client::Podman => containers::auth_files(env, Rules::of_installed(env)),
            };
            let spelling = files
                .into_iter()
                .filter_map(|path| AuthFile::read(path).ok())
                .find_map(|file| file.misspelt_key(host).map(|key| (key.to_owned(), file.path.display().to_string())));
            if let Some((key, path)) = spelling {
                return Some(Check::failure(
                    name,
                    Code::ClientKeyScheme,
                    format!("credHelpers in {path} has the key '{key}', and {name} looks for '{host}'"),
                    setup(""),
                ));
            }
            program?;
            if Registry::parse(host).is_some_and(|registry| registry.is_public()) {
                return Some(Check::ok(
                    name,
                    "calls no helper for this host: images of ECR Public are pulled anonymously",
                ));
            }
            let what = "names no credential helper for this host in its settings";
            Check::failure(name, Code::ClientNotSetUp, what, setup(""))
        }
    })
}

/// Reports the program's whole name as `credsStore`.
pub(super) fn wrong_store(path: &Path, host: &str) -> Check {
    Check::failure(
        "docker",
        Code::ClientHelperName,
        format!("credsStore in {} is '{NAME}', so docker looks for docker-credential-{NAME}", path.display()),
        format!("run '{NAME} setup {host}', which also corrects the value to {HELPER_NAME}"),
    )
}

/// Whether the installed docker reads `DOCKER_AUTH_CONFIG`: version 28.3 and later does, and an unknown version may.
fn reads_auth_config(env: &Env) -> bool {
    let printed = client_config::on_path(env, "docker").and_then(|program| containers::version_output(env, &program));
    printed.and_then(|text| containers::parse_version(&text)).is_none_or(|version| version >= [28, 3])
}

/// Reports a password in `DOCKER_AUTH_CONFIG` that an older docker does not use. Programs with newer code of docker do.
fn auth_config_of_others(env: &Env, host: &str) -> Option<Check> {
    (EnvironmentPasswords::read(env).have(host) && !reads_auth_config(env)).then(|| {
        Check::warning(
            "docker",
            Code::DockerAuthConfig,
            "DOCKER_AUTH_CONFIG has a password for this host; this docker ignores it, but docker compose and cosign may use it",
            "unset DOCKER_AUTH_CONFIG for docker",
        )
    })
}

/// Reports passwords that podman uses for some repositories of the registry.
fn passwords_of_repositories(env: &Env, host: &str) -> Option<Check> {
    let rules = Rules::of_installed(env);
    containers::program(env).filter(|_| containers::reads_auth_files(env, rules))?;
    let is_of_repository =
        |key: &&str| containers::repository(key).is_some() && registry::host(key).as_deref() == Some(host);
    let files = containers::auth_files(env, rules).into_iter().filter_map(|path| AuthFile::read(path).ok());
    let mut found = files.filter_map(|file| {
        let key = file.passwords().find(is_of_repository)?.to_owned();
        Some((key, file.path))
    });
    let (key, path) = found.next()?;
    Some(Check::warning(
        "podman",
        Code::ClientLeftoverPassword,
        format!("uses a password that an earlier login left in {} for {key}", path.display()),
        format!("log out of it with podman logout {key}"),
    ))
}

/// Reports a password in docker's settings that docker does not use.
fn leftover(env: &Env, host: &str) -> Option<Check> {
    let file = AuthFile::read(client_config::docker_config(env)?).ok()?;
    (file.helper(host) == Some(HELPER_NAME) && file.has_password(host)).then(|| {
        Check::warning(
            "docker",
            Code::ClientLeftoverPassword,
            format!("an earlier login left a password for this host in {}; it is not used", file.path.display()),
            format!("run '{NAME} setup {host} --remove-auths'"),
        )
    })
}
