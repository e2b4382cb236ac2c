//! What keeps a client from calling the helper for one host.

use std::path::Path;
use std::sync::Arc;

use super::wrong_store;
use crate::NAME;
use crate::client_config::{self, AuthFile, DOCKERCFG, HELPER_NAME, Lookup};
use crate::code::Code;
use crate::commands::client::Client;
use crate::containers::{self, AUTH_FILES, KEY, Rules};
use crate::env::Env;
use crate::error::Failure;
use crate::registry::{Host, Registry};

/// A password in `DOCKER_AUTH_CONFIG`, which some client uses in place of a helper.
pub(in crate::commands) struct EnvironmentPassword {
    pub(in crate::commands) failure: Failure,
    /// Whether the installed docker uses it. An older one ignores it, and programs with newer code of docker do not.
    pub(in crate::commands) is_used_by_docker: bool,
}

/// Finds a password for the host in `DOCKER_AUTH_CONFIG`.
pub(in crate::commands) fn environment_password(env: &Env, host: &str) -> Option<EnvironmentPassword> {
    client_config::hosts_of_environment(env).filter(|hosts| hosts.contains(host))?;
    // An unknown version may read it.
    let version = Client::Docker.program(env).and_then(|program| containers::version(env, &program));
    let is_used_by_docker = version.is_none_or(|version| version >= [28, 3]);
    let who = if is_used_by_docker {
        "docker 28.3 and later, docker compose and cosign use it and call no helper"
    } else {
        "this docker ignores it, but docker compose and cosign may use it"
    };
    let what = format!("DOCKER_AUTH_CONFIG has a password for {host}; {who}");
    let failure = Failure::usual(Code::DockerAuthConfig, what);
    Some(EnvironmentPassword { failure, is_used_by_docker })
}

/// The passwords that earlier logins left in the files of a client for the hosts that are meant, whether or not it uses them.
pub(in crate::commands) fn leftover_passwords(
    env: &Env,
    client: Client,
    is_meant: impl Fn(&Host) -> bool,
) -> Vec<Failure> {
    let mut found = Vec::new();
    for file in client.read_auth_files(env) {
        for host in file.passwords.keys().filter(|host| is_meant(host)) {
            let use_ = if file.helper(host).is_some() { "; it is not used" } else { "" };
            let what = format!("an earlier login left a password for {host} in {}{use_}", file.path.display());
            found.push(with_password(env, client, Code::ClientLeftoverPassword, what, host, &file.path));
        }
    }
    found
}

/// A region that did not exist when this version was made.
pub(in crate::commands) fn unknown_region(host: &str) -> Option<Failure> {
    let region = Registry::parse(host)?.region();
    let what = format!("this version does not know the region '{region}' of {host}");
    (!region.is_known()).then(|| Failure::new(Code::RegionMissing, what, "check its spelling"))
}

/// A password that podman uses for some repository of the registry.
pub(in crate::commands) fn repository_password(env: &Env, host: &str) -> Option<Failure> {
    Client::Podman.program(env).filter(|_| containers::reads_auth_files(env))?;
    let mut files = Client::Podman.read_auth_files(env);
    let (key, path) = files.find_map(|file| {
        let key = file.passwords_for(host).iter().find(|key| containers::repository(key).is_some())?.clone();
        Some((key, file.path.clone()))
    })?;
    let what = format!("uses a password that an earlier login left in {} for {key}", path.display());
    let client = if Client::Podman.own_auth_files(env).contains(&path) { Client::Podman } else { Client::Docker };
    Some(with_password(env, client, Code::ClientLeftoverPassword, what, host, &path))
}

/// Describes the setting by which a client calls the helper for the host, or why it does not, with
/// [`Code::ClientNotSetUp`] if no setting is about the host.
pub(in crate::commands) fn calls_helper(env: &Env, client: Client, host: &str) -> Result<String, Failure> {
    refusal_of_all(env, client, host)?;
    Err(match client.lookup(env, host)? {
        Lookup::Helper { name, setting, file } if name == HELPER_NAME => {
            return Ok(format!("calls the helper: {setting} in {}", file.display()));
        }
        Lookup::Helper { name, setting, file } => other_helper(env, client, host, &name, setting, &file),
        Lookup::Password(path) => {
            let what = format!("uses a password that an earlier login left in {}, and calls no helper", path.display());
            with_password(env, client, Code::ClientPassword, what, host, &path)
        }
        Lookup::Nothing => without_setting(env, client, host),
    })
}

/// Fails where podman or buildah refuses every pull: its policy is none, or the file that a variable names does not exist.
pub(in crate::commands) fn refusal_of_all(env: &Env, client: Client, host: &str) -> Result<(), Failure> {
    if client == Client::Docker {
        return Ok(());
    }
    containers::check_policy(env)?;
    containers::missing_named_file(env).map_or(Ok(()), |(variable, path)| {
        let path = path.display();
        let what =
            format!("{path}, which {variable} names, does not exist, and podman and buildah then refuse every pull");
        let fix = format!("correct or unset {variable}, or {}, which creates the file", client.fix("{}", &[host]));
        Err(Failure::new(Code::ClientConfigInvalid, what, fix))
    })
}

fn other_helper(env: &Env, client: Client, host: &str, helper: &str, setting: &str, path: &Path) -> Failure {
    if (setting, helper) == ("credsStore", NAME) {
        return wrong_store(env, path, host);
    }
    let (name, path) = (client.name(), path.display());
    let (code, what) = if helper == NAME {
        let what = format!("{setting} in {path} names '{NAME}', so {name} looks for docker-credential-{NAME}");
        (Code::ClientHelperName, what)
    } else {
        let what = format!("calls docker-credential-{helper}, not this helper: {setting} in {path}");
        (Code::ClientOtherHelper, what)
    };
    client.failure(env, code, what, "{} --force", &[host])
}

/// A failure by a password in a file of a client. setup removes it, also where its key has a path, but from docker's old file.
fn with_password(env: &Env, client: Client, code: Code, what: String, host: &str, path: &Path) -> Failure {
    if path.ends_with(DOCKERCFG) {
        let fix = "remove the entry of this host from the file, which docker has not read since version 1.7";
        return Failure::new(code, what, fix);
    }
    client.failure(env, code, what, "{} --remove-auths", &[host])
}

/// The `credential-helpers` by which podman calls neither the helper nor reads files with passwords.
pub(super) fn other_helpers(env: &Env, client: Client) -> Option<Failure> {
    let rules = Rules::installed(env);
    let helpers = containers::credential_helpers(env, rules).ok().filter(|_| client == Client::Podman)?;
    if helpers.iter().any(|helper| [HELPER_NAME, AUTH_FILES].contains(&helper.name.as_str())) {
        return None;
    }
    let file = &helpers.first()?.file;
    let what = format!("{KEY} in {} names neither the helper nor {AUTH_FILES}", file.display());
    Some(if containers::overrides_drop_in(env, rules, file) {
        Failure::new(Code::ClientNotSetUp, what, format!("add {HELPER_NAME} to {KEY} in it"))
    } else {
        client.failure(env, Code::ClientNotSetUp, what, "", &[])
    })
}

/// The settings of the client name no helper for the host.
fn without_setting(env: &Env, client: Client, host: &str) -> Failure {
    if let Some(failure) = other_helpers(env, client) {
        return failure;
    }
    if let Some(file) = client.read_auth_files(env).find(|file| file.names_no_helper(host)) {
        let what = format!("credHelpers in {} has {host} without the name of a helper", file.path.display());
        return client.failure(env, Code::ClientNotSetUp, what, "{}", &[host]);
    }
    let misspelt = |file: Arc<AuthFile>| Some((file.misspelt_keys.get(host)?.clone(), file.path.clone()));
    if let Some((key, path)) = client.read_auth_files(env).find_map(misspelt) {
        let (path, name) = (path.display(), client.name());
        let what = format!("credHelpers in {path} has the key '{key}', and {name} looks for '{host}'");
        return client.failure(env, Code::ClientKeyScheme, what, "{}", &[host]);
    }
    let what = "names no credential helper for this host in its settings";
    client.failure(env, Code::ClientNotSetUp, what, "{}", &[host])
}

#[cfg(test)]
mod tests {
    use super::super::tests::Machine;
    use super::{Client, Code, calls_helper, environment_password, leftover_passwords};

    const HOST: &str = "111122223333.dkr.ecr.us-east-1.amazonaws.com";

    #[test]
    fn what_docker_calls_for_a_host_has_a_code_for_each_obstacle() {
        for (config, code) in [
            (r#"{"credHelpers": {"HOST": "ecr-login"}}"#, None),
            (r#"{"credsStore": "ecr-login"}"#, None),
            (r#"{"credsStore": "desktop", "credHelpers": {"HOST": "ecr-login"}}"#, None),
            ("{}", Some(Code::ClientNotSetUp)),
            (r#"{"credsStore": "desktop"}"#, Some(Code::ClientOtherHelper)),
            (r#"{"credsStore": "ecr-login", "credHelpers": {"HOST": "gcloud"}}"#, Some(Code::ClientOtherHelper)),
            (r#"{"credsStore": "docker-credential-ecr-login"}"#, Some(Code::ClientHelperName)),
            (r#"{"credHelpers": {"HOST": "docker-credential-ecr-login"}}"#, Some(Code::ClientHelperName)),
            (r#"{"credHelpers": {"https://HOST": "ecr-login"}}"#, Some(Code::ClientKeyScheme)),
            (r#"{"auths": {"HOST": {"auth": "QVdTOmE="}}}"#, Some(Code::ClientPassword)),
            (r#"{"credHelpers": []}"#, Some(Code::ClientConfigInvalid)),
            (r#"{"credHelpers": {"HOST": "ecr-login"}, "auths": {"a": {"auth": 1}}}"#, Some(Code::ClientConfigInvalid)),
            (r#"{"credHelpers": {"HOST": "ecr-login"}, "auths": {"a": {"auth": null}, "b": null}}"#, None),
            // Members of one name, in any case, are one object, whose later entries count, and null empties it.
            (r#"{"credHelpers": {"HOST": "ecr-login"}, "credHelpers": {"gcr.io": "gcloud"}}"#, None),
            (r#"{"credHelpers": {"HOST": "ecr-login"}, "CredHelpers": {"gcr.io": "gcloud"}}"#, None),
            (r#"{"credHelpers": null, "CredHelpers": {"HOST": "ecr-login"}}"#, None),
            (r#"{"credHelpers": {"HOST": "ecr-login"}, "credHelpers": null}"#, Some(Code::ClientNotSetUp)),
            (
                r#"{"credHelpers": {"HOST": "ecr-login"}, "CREDHELPERS": {"HOST": "gcloud"}}"#,
                Some(Code::ClientOtherHelper),
            ),
            (r#"{"CREDHELPERS": {"HOST": "gcloud"}, "credHelpers": {"HOST": "ecr-login"}}"#, None),
            (r#"{"auths": {"HOST": {"Auth": "QVdTOmE="}}, "auths": {}}"#, Some(Code::ClientPassword)),
            (r#"{"auths": {"HOST": {"auth": "QVdTOmE="}}, "auths": {"HOST": {}}}"#, Some(Code::ClientNotSetUp)),
            // Of texts, the last one counts that is not null.
            (r#"{"credsStore": "desktop", "CREDSSTORE": "ecr-login", "credsStore": null}"#, None),
            (r#"{"CREDSSTORE": "ecr-login", "credsStore": "desktop"}"#, Some(Code::ClientOtherHelper)),
        ] {
            let machine = Machine::with(".docker/config.json", &config.replace("HOST", HOST));
            let found = calls_helper(&machine.env(&[]), Client::Docker, HOST);
            assert_eq!(found.as_ref().err().map(|failure| failure.code), code, "{config}: {found:?}");
        }
    }

    #[test]
    fn a_password_beside_an_entry_is_left_over_and_not_used() {
        let config = r#"{"credHelpers": {"HOST": "ecr-login"}, "auths": {"https://HOST": {"auth": "QVdTOmE="}}}"#;
        let machine = Machine::with(".docker/config.json", &config.replace("HOST", HOST));
        let env = machine.env(&[]);
        assert!(calls_helper(&env, Client::Docker, HOST).is_ok());
        let found = leftover_passwords(&env, Client::Docker, |host| **host == *HOST);
        let [failure] = &found[..] else { panic!("one: {found:?}") };
        assert_eq!(failure.code, Code::ClientLeftoverPassword);
        assert!(failure.what.ends_with("it is not used") && failure.hint.ends_with("--remove-auths'"), "{failure}");
        assert!(leftover_passwords(&env, Client::Docker, |host| **host != *HOST).is_empty());
    }

    #[test]
    fn a_password_in_the_environment_counts_for_the_exact_host() {
        let machine = Machine::with(".docker/config.json", "{}");
        let variable = format!(r#"{{"auths": {{"{HOST}": {{"auth": "QVdTOmE="}}}}}}"#);
        let env = machine.env(&[("DOCKER_AUTH_CONFIG", &variable)]);
        // Without a docker, it may be one of any version that pulls.
        let found = environment_password(&env, HOST).expect("a finding");
        assert_eq!((found.failure.code, found.is_used_by_docker), (Code::DockerAuthConfig, true));
        assert!(environment_password(&env, "other.example").is_none());
        let twice = format!(r#"{{"auths": {{"{HOST}": {{"auth": "QVdTOmE="}}}}, "auths": {{}}}}"#);
        assert!(environment_password(&machine.env(&[("DOCKER_AUTH_CONFIG", &twice)]), HOST).is_some());
    }
}
