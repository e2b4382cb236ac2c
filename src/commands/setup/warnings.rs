//! What keeps a client from calling the helper, before or after the change, by the findings of
//! [`doctor`](crate::commands::doctor).

use std::collections::BTreeSet;

use super::{Setup, podman};
use crate::code::Code;
use crate::commands::client::Client;
use crate::commands::findings::{self, EnvironmentPassword};
use crate::env::Env;
use crate::registry::{Host, Registry};

impl Setup {
    /// Returns the warnings to print after the changes.
    pub(super) fn warnings(&self, env: &Env, hosts: &BTreeSet<Host>) -> Vec<String> {
        let client = self.client();
        let mut warnings = Vec::new();
        if !self.remove_auths {
            let all = if client == Client::Podman && hosts.is_empty() { &ecr_hosts(env, client) } else { hosts };
            let leftover = all.iter().flat_map(|host| findings::leftover_passwords(env, client, host));
            warnings.extend(leftover.map(|failure| failure.to_string()));
        }
        if self.remove {
            let any = BTreeSet::from([Registry::PUBLIC.host()]);
            let left = if hosts.is_empty() { &any } else { hosts }.iter().filter(|_| !self.dry_run);
            // E.g. by credsStore, which setup does not write.
            let still = left.filter_map(|host| findings::calls_helper(env, client, host).ok());
            warnings.extend(still.map(|how| format!("{} still {how}; remove it there", client.name())));
            return warnings;
        }
        if client == Client::Docker {
            let passwords = hosts.iter().filter_map(|host| findings::environment_password(env, host));
            warnings.extend(passwords.map(|found| match found {
                EnvironmentPassword::ByDocker(failure) | EnvironmentPassword::ByOthers(failure) => failure.to_string(),
            }));
        }
        if !self.dry_run {
            warnings.extend(hosts.iter().filter_map(|host| unused_entry(env, client, host)));
        }
        warnings.extend(hosts.iter().filter_map(|host| unknown_region(host)));
        if client == Client::Podman && hosts.is_empty() && !self.dry_run {
            warnings.extend(podman::overridden(env));
        }
        let not_found = findings::program(env).err().filter(|failure| failure.code == Code::ProgramNotOnPath);
        let snap = findings::snap(env).filter(|_| client == Client::Docker);
        warnings
            .extend(not_found.into_iter().chain(findings::sudo(env)).chain(snap).map(|failure| failure.to_string()));
        warnings
    }
}

/// Returns the ECR registries for which the files of a client have passwords.
fn ecr_hosts(env: &Env, client: Client) -> BTreeSet<Host> {
    let keys = client.read_auth_files(env).flat_map(|file| file.passwords().map(str::to_owned).collect::<Vec<_>>());
    keys.filter_map(|key| Registry::parse(&key).map(|registry| registry.host())).collect()
}

/// Returns why a client does not use the entry of a host, if so. Passwords have their own warning.
fn unused_entry(env: &Env, client: Client, host: &str) -> Option<String> {
    let failure = findings::calls_helper(env, client, host).err()?;
    (failure.code != Code::ClientPassword)
        .then(|| failure.with_context(format!("{} for {host}", client.name())).to_string())
}

fn unknown_region(host: &str) -> Option<String> {
    let region = Registry::parse(host)?.region();
    (!region.is_known())
        .then(|| format!("this version does not know the region '{region}' of {host}; check its spelling"))
}
