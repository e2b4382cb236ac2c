//! What keeps clients from calling the helper. [`doctor`](super::doctor) and [`setup`](super::setup) judge by this module, so
//! that both say the same.

use std::path::{Path, PathBuf};

use super::client::Client;
use crate::NAME;
use crate::client_config::{self, AuthFile, DOCKERCFG, EnvironmentPasswords, HELPER_NAME, Lookup};
use crate::code::Code;
use crate::containers::{self, Rules};
use crate::env::Env;
use crate::error::Failure;
use crate::platform::{self, shell_word};
use crate::registry::Host;

/// The helper as clients find it on their PATH, or why they find none or another program.
pub(super) fn program(env: &Env) -> Result<PathBuf, Failure> {
    // In a root without /proc, the system does not tell it.
    let this = std::env::current_exe().ok().and_then(|path| path.canonicalize().ok());
    // Few programs on Windows accept a canonical path.
    let named = if cfg!(windows) { std::env::current_exe().ok() } else { this.clone() };
    let here = named.map(|path| path.display().to_string());
    match env.find_program(NAME) {
        None => {
            let sudo = if platform::user_id() == Some(0) { "" } else { "sudo " };
            let hint = match here {
                Some(here) if !cfg!(windows) => {
                    format!("run '{sudo}cp {} /usr/local/bin/{NAME}'", shell_word(&here))
                }
                here => {
                    let here = here.as_deref().unwrap_or("this program");
                    format!("copy {here} into a directory of the PATH, or add its directory to the PATH")
                }
            };
            let what = format!("{NAME} is not on the PATH, so no client finds it");
            Err(Failure::new(Code::ProgramNotOnPath, what, hint))
        }
        Some(path) => match here {
            Some(here) if path.canonicalize().ok() != this => Err(Failure::new(
                Code::ProgramShadowed,
                format!("clients find {} first, not {here}", path.display()),
                "remove the program that clients find, or change the order of the PATH",
            )),
            _ => Ok(path),
        },
    }
}

/// Under sudo, settings and credentials are those of another user.
pub(super) fn sudo(env: &Env) -> Option<Failure> {
    let user = env.text("SUDO_USER").filter(|user| *user != "root")?;
    let home = env.home().unwrap_or_default();
    Some(Failure::new(
        Code::Sudo,
        format!("running under sudo: settings and credentials are those in {}, not {user}'s", home.display()),
        "set docker up for that user too, or let the user run docker without sudo",
    ))
}

/// A `DOCKER_AUTH_CONFIG` that docker rejects.
pub(super) fn refused_environment(env: &Env) -> Option<Failure> {
    (EnvironmentPasswords::read(env) == EnvironmentPasswords::Refused).then(|| {
        Failure::new(
            Code::DockerAuthConfig,
            "DOCKER_AUTH_CONFIG is not an object with 'auths' as its only member and one 'auth' for each host, so docker 28.3 \
             and later warns with every command",
            "unset DOCKER_AUTH_CONFIG for docker; set it for the GitLab runner alone",
        )
    })
}

/// A docker from the snap store, whose home directory is another one.
pub(super) fn snap(env: &Env) -> Option<Failure> {
    let program = env.find_program("docker").filter(|path| path.ends_with("snap/bin/docker"))?;
    let dir = env.home()?.join("snap/docker/current/.docker");
    let path = client_config::docker_config(env).filter(|path| path.parent() != Some(&dir))?;
    let (program, dir) = (program.display(), dir.display());
    Some(Failure::new(
        Code::ClientConfigInvalid,
        format!("{program} is a snap, which reads {dir}/config.json and not {}", path.display()),
        format!(
            "set DOCKER_CONFIG to {dir} for setup and doctor, or install docker from a package that is not confined"
        ),
    ))
}

/// Members of a client's files that no client reads, since their names are misspelt.
pub(super) fn misspelt_members(env: &Env, client: Client) -> Vec<Failure> {
    let finding = |path| {
        let file = AuthFile::read(path).ok()?;
        let (member, meant) = file.misspelt_member()?;
        let what = format!("{} has '{member}', which no client reads", file.path.display());
        Some(Failure::new(Code::ClientConfigInvalid, what, format!("rename it to '{meant}'")))
    };
    client.own_auth_files(env).into_iter().filter_map(finding).collect()
}

/// A password in `DOCKER_AUTH_CONFIG`, which some client uses in place of a helper.
pub(super) enum EnvironmentPassword {
    /// The installed docker uses it.
    ByDocker(Failure),
    /// The installed docker is older and ignores it. Programs with newer code of docker do not.
    ByOthers(Failure),
}

/// Finds a password for the host in `DOCKER_AUTH_CONFIG`.
pub(super) fn environment_password(env: &Env, host: &str) -> Option<EnvironmentPassword> {
    if !EnvironmentPasswords::read(env).have(host) {
        return None;
    }
    let failure = |who: &str| {
        let what = format!("DOCKER_AUTH_CONFIG has a password for {host}; {who}");
        Failure::new(Code::DockerAuthConfig, what, "unset DOCKER_AUTH_CONFIG for docker")
    };
    // An unknown version may read it.
    let docker = Client::Docker.program(env).and_then(|program| containers::version_output(env, &program));
    let version = docker.and_then(|text| containers::parse_version(&text));
    Some(if version.is_none_or(|version| version >= [28, 3]) {
        EnvironmentPassword::ByDocker(failure(
            "docker 28.3 and later, docker compose and cosign use it and call no helper",
        ))
    } else {
        EnvironmentPassword::ByOthers(failure("this docker ignores it, but docker compose and cosign may use it"))
    })
}

/// The passwords that earlier logins left for the host in the files of a client, whether or not it uses them.
pub(super) fn leftover_passwords(env: &Env, client: Client, host: &str) -> Vec<Failure> {
    let files = client.auth_files(env).into_iter().filter_map(|path| AuthFile::read(path).ok());
    let holders = files.filter(|file| file.has_password(host));
    holders.map(|file| leftover_password(client, host, &file)).collect()
}

fn leftover_password(client: Client, host: &str, file: &AuthFile) -> Failure {
    let use_ = if file.helper(host).is_some() { "; it is not used" } else { "" };
    Failure::new(
        Code::ClientLeftoverPassword,
        format!("an earlier login left a password for {host} in {}{use_}", file.path.display()),
        format!("run '{NAME} setup{} {host} --remove-auths'", client.option()),
    )
}

/// A password that podman uses for some repository of the registry.
pub(super) fn repository_password(env: &Env, host: &str) -> Option<Failure> {
    let rules = Rules::of_installed(env);
    containers::program(env).filter(|_| containers::reads_auth_files(env, rules))?;
    let is_of_repository =
        |key: &&str| containers::repository(key).is_some() && Host::parse(key).as_deref() == Some(host);
    let files = containers::auth_files(env, rules).into_iter().filter_map(|path| AuthFile::read(path).ok());
    let mut found = files.filter_map(|file| {
        let key = file.passwords().find(is_of_repository)?.to_owned();
        Some((key, file.path))
    });
    let (key, path) = found.next()?;
    Some(Failure::new(
        Code::ClientLeftoverPassword,
        format!("uses a password that an earlier login left in {} for {key}", path.display()),
        format!("log out of it with podman logout {key}"),
    ))
}

/// Describes the setting by which a client calls the helper for the host, or why it does not, with
/// [`Code::ClientNotSetUp`] if no setting is about the host.
pub(super) fn calls_helper(env: &Env, client: Client, host: &str) -> Result<String, Failure> {
    Err(match client.lookup(env, host)? {
        Lookup::Helper { name, setting, file } if name == HELPER_NAME => {
            return Ok(format!("calls the helper: {setting} in {}", file.display()));
        }
        Lookup::Helper { name, setting, file } => other_helper(client, host, &name, setting, &file),
        Lookup::Password(path) => password(client, host, &path),
        Lookup::Nothing => without_setting(env, client, host),
    })
}

fn other_helper(client: Client, host: &str, helper: &str, setting: &str, path: &Path) -> Failure {
    let (name, path_shown, option) = (client.name(), path.display(), client.option());
    match setting {
        "credsStore" if helper == NAME => wrong_store(path, host),
        _ if helper == NAME => Failure::new(
            Code::ClientHelperName,
            format!("{setting} in {path_shown} names '{NAME}', so {name} looks for docker-credential-{NAME}"),
            format!("run '{NAME} setup{option} {host} --force'"),
        ),
        _ => Failure::new(
            Code::ClientOtherHelper,
            format!("calls docker-credential-{helper}, not this helper: {setting} in {path_shown}"),
            format!("run '{NAME} setup{option} {host} --force'"),
        ),
    }
}

/// The program's whole name as `credsStore`.
pub(super) fn wrong_store(path: &Path, host: &str) -> Failure {
    Failure::new(
        Code::ClientHelperName,
        format!("credsStore in {} is '{NAME}', so docker looks for docker-credential-{NAME}", path.display()),
        format!("run '{NAME} setup {host}', which also corrects the value to {HELPER_NAME}"),
    )
}

fn password(client: Client, host: &str, path: &Path) -> Failure {
    if path.ends_with(DOCKERCFG) {
        return Failure::new(
            Code::ClientPassword,
            format!("uses a password in {}, and asks no helper", path.display()),
            "remove the entry of this host from the file, which docker has not read since version 1.7",
        );
    }
    Failure::new(
        Code::ClientPassword,
        format!("uses a password that an earlier login left in {}, and calls no helper", path.display()),
        format!("run '{NAME} setup{} {host} --remove-auths'", client.option()),
    )
}

/// The settings of the client name no helper for the host.
fn without_setting(env: &Env, client: Client, host: &str) -> Failure {
    let (name, option) = (client.name(), client.option());
    if client == Client::Podman && !containers::reads_auth_files(env, Rules::of_installed(env)) {
        let what = "credential-helpers in registries.conf names neither the helper nor containers-auth.json";
        return Failure::new(Code::ClientNotSetUp, what, format!("run '{NAME} setup --podman'"));
    }
    let hint = format!("run '{NAME} setup{option} {host}'");
    let files = client.auth_files(env).into_iter().filter_map(|path| AuthFile::read(path).ok());
    let mut misspelt = files.filter_map(|file| Some((file.misspelt_key(host)?.to_owned(), file.path)));
    if let Some((key, path)) = misspelt.next() {
        let what = format!("credHelpers in {} has the key '{key}', and {name} looks for '{host}'", path.display());
        return Failure::new(Code::ClientKeyScheme, what, hint);
    }
    Failure::new(Code::ClientNotSetUp, "names no credential helper for this host in its settings", hint)
}
