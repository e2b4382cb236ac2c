//! What keeps a client from calling the helper, before or after the change, by the findings of
//! [`doctor`](crate::commands::doctor).

use std::collections::{BTreeMap, BTreeSet};

use super::Setup;
use crate::code::Code;
use crate::commands::client::Client;
use crate::commands::findings;
use crate::env::Env;
use crate::error::Failure;
use crate::registry::{Host, Registry};

/// The limit on warnings of one kind, so that others stay on the screen.
const MOST_OF_A_KIND: usize = 5;

impl Setup {
    /// Returns the warnings to print after the changes.
    pub(super) fn warnings(&self, env: &Env, hosts: &BTreeSet<Host>) -> Vec<String> {
        let client = self.client();
        let for_all = client == Client::Podman && hosts.is_empty();
        let mut found: Vec<_> = findings::relative(env).into_iter().collect();
        if !self.remove_auths {
            let is_ecr = |host: &Host| Registry::parse(host).is_some();
            let named: BTreeSet<Host> = hosts.iter().filter_map(|host| Host::parse(host)).collect();
            let is_meant = |host: &Host| if for_all { is_ecr(host) } else { named.contains(host) };
            found.extend(findings::leftover_passwords(env, client, is_meant));
        }
        if self.remove {
            let any = BTreeSet::from([Registry::PUBLIC.host()]);
            let left = if hosts.is_empty() { &any } else { hosts }.iter().filter(|_| !self.dry_run);
            // E.g. by credsStore, which setup does not write.
            let still = left.filter_map(|host| findings::calls_helper(env, client, host).ok());
            let still = still.map(|how| format!("{} still {how}; remove it there", client.name()));
            return shortened(&found).into_iter().chain(still).collect();
        }
        if client == Client::Docker {
            let passwords = hosts.iter().filter_map(|host| findings::environment_password(env, host));
            found.extend(passwords.map(|password| password.failure));
            found.extend(findings::snap(env));
        }
        if !self.dry_run {
            found.extend(hosts.iter().filter_map(|host| unused_entry(env, client, host)));
            if for_all {
                found.extend(findings::overridden(env));
                found.extend(findings::refusal_of_all(env, client, "HOST").err());
            }
        }
        found.extend(hosts.iter().filter_map(|host| findings::unknown_region(host)));
        found.extend(findings::program(env).err().filter(|failure| failure.code == Code::ProgramNotOnPath));
        found.extend(findings::sudo(env));
        shortened(&found)
    }
}

/// The first of each kind in words, and how many more there are: a file may have thousands.
fn shortened(found: &[Failure]) -> Vec<String> {
    let (mut texts, mut counts) = (Vec::new(), BTreeMap::<Code, usize>::new());
    for failure in found {
        let count = counts.entry(failure.code).or_default();
        *count += 1;
        texts.extend((*count <= MOST_OF_A_KIND).then(|| failure.to_string()));
    }
    let more = counts.into_iter().filter(|(_, count)| *count > MOST_OF_A_KIND);
    texts.extend(more.map(|(code, count)| format!("and {} more like that [{code}]", count - MOST_OF_A_KIND)));
    texts
}

/// Returns why a client does not use the entry of a host, if so. Passwords have their own warning.
fn unused_entry(env: &Env, client: Client, host: &str) -> Option<Failure> {
    let failure = findings::calls_helper(env, client, host).err()?;
    (failure.code != Code::ClientPassword).then(|| failure.with_context(format!("{} for {host}", client.name())))
}
