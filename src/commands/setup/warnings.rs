//! What keeps a client from calling the helper, before or after the change.

use std::collections::BTreeSet;

use super::client::Client;
use super::{Setup, podman};
use crate::NAME;
use crate::client_config::{self, AuthFile, EnvironmentPasswords, HELPER_NAME, Lookup};
use crate::env::Env;
use crate::registry::{self, Registry};

impl Setup {
    /// Returns the warnings to print after the changes.
    pub(super) fn warnings(&self, env: &Env, hosts: &BTreeSet<String>) -> Vec<String> {
        let client = self.client();
        let mut warnings = Vec::new();
        if !self.remove_auths {
            warnings.extend(leftover_passwords(env, client, hosts));
        }
        if self.remove {
            warnings.extend(podman::still_named(env).filter(|_| client == Client::Podman && hosts.is_empty()));
            return warnings;
        }
        if client == Client::Docker {
            let of_environment = EnvironmentPasswords::read(env);
            warnings.extend(hosts.iter().filter(|host| of_environment.have(host)).map(|host| {
                format!(
                    "DOCKER_AUTH_CONFIG has a password for {host}, which docker 28.3 and later, docker compose and cosign \
                     use instead of a helper; unset it"
                )
            }));
        }
        if !self.dry_run {
            warnings.extend(hosts.iter().filter_map(|host| ineffective_entry(env, client, host)));
        }
        warnings.extend(hosts.iter().filter_map(|host| unknown_region(host)));
        if client == Client::Podman && hosts.is_empty() && !self.dry_run {
            warnings.extend(podman::overridden(env));
        }
        if client_config::on_path(env, NAME).is_none() {
            warnings.push(format!("{NAME} is not on the PATH, so no client finds it"));
        }
        warnings.extend(sudo(env));
        warnings
    }
}

fn leftover_passwords(env: &Env, client: Client, hosts: &BTreeSet<String>) -> Vec<String> {
    let mut warnings = Vec::new();
    for file in client.auth_files(env).into_iter().filter_map(|path| AuthFile::read(path).ok()) {
        let path = file.path.display();
        let ecr = |key: &&str| hosts.is_empty() && client == Client::Podman && Registry::parse(key).is_some();
        warnings.extend(file.passwords().filter(ecr).map(|key| {
            format!(
                "{path} still has a password of an earlier login for {key}, which podman uses instead of the helper"
            )
        }));
        warnings.extend(hosts.iter().filter(|host| file.has_password(host)).map(|host| {
            format!("{path} still has a password of an earlier login for {host}; --remove-auths removes it")
        }));
    }
    warnings
}

/// Reports why a client does not use the entry of a host, if so.
fn ineffective_entry(env: &Env, client: Client, host: &str) -> Option<String> {
    match client.lookup(env, host) {
        Ok(Lookup::Helper { name, file, .. }) if name != HELPER_NAME => {
            Some(format!("{} comes first and gives {host} to docker-credential-{name}", file.display()))
        }
        Ok(Lookup::Nothing) if client == Client::Podman => Some(format!(
            "credential-helpers in registries.conf leaves out containers-auth.json, so podman reads no entries; \
             '{NAME} setup --podman' adds this helper to them"
        )),
        Err(failure) => Some(failure.to_string()),
        _ => None,
    }
}

fn unknown_region(host: &str) -> Option<String> {
    let Registry { host, region, .. } = Registry::parse(host)?;
    (!registry::is_known_region(&region))
        .then(|| format!("this version does not know the region '{region}' of {host}; check its spelling"))
}

fn sudo(env: &Env) -> Option<String> {
    let user = env.text("SUDO_USER").filter(|user| *user != "root")?;
    let home = env.home().unwrap_or_default();
    Some(format!("running under sudo: these are the settings in {}, not {user}'s", home.display()))
}
