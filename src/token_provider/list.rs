//! The hosts that `list` names: those for which a `get` would have an answer.
//!
//! Docker's classic builder, docker-py and testcontainers call `list` first and use the helper only for the hosts in the
//! answer, so an empty list means a build without credentials. The list holds
//!
//! - the hosts with a valid cached token of the caller's, not older than the caller accepts;
//! - the hosts that the settings of docker or podman give to the helper by name;
//! - the hosts that the configuration names without a pattern;
//! - if none of these is a private registry and a region is configured, the caller's own registry in that region. Only AWS
//!   knows its account, so this takes one request for a token, which is cached like any other. After a failed request, no
//!   process makes one for some minutes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::{Purpose, fetch, in_context, stored};
use crate::cache::{Cache, Freshness, Manifest};
use crate::client_config::{self, AuthFile};
use crate::config::{Config, Target};
use crate::containers::{self, Rules};
use crate::env::Env;
use crate::identity::{CacheKey, Identity, Profiles, Selected, request_key};
use crate::platform;
use crate::registry::{Account, Host, Region, Registry, Wrong};

/// The time limit of the request for the caller's own registry.
const OWN_REGISTRY_TIMEOUT: Duration = Duration::from_millis(2500);

/// Fewer manifests than these are read by one thread.
const FEWEST: usize = 500;

/// The user name of every token.
const USERNAME: &str = "AWS";

/// The hosts for which a `get` would have an answer, each with its user name. What fails is logged.
pub fn list(env: &Env, config: &Config, deadline: Instant) -> BTreeMap<String, String> {
    let named = config.named_hosts().map(str::to_owned).chain(hosts_of_clients(env));
    let is_served = |host: &String| match config.target(env, host) {
        Ok(target) => target.is_some(),
        // A `get` of this host fails in the same way.
        Err(error) => {
            warn!(host; "left out of the list: {error}");
            false
        }
    };
    let mut hosts: BTreeMap<_, _> = named.filter(is_served).map(|host| (host, USERNAME.to_owned())).collect();
    hosts.extend(cached_hosts(env, config, deadline));
    let target = |host: &str| config.target(env, host).ok().flatten();
    let is_private = |host: &String| target(host).is_some_and(|target| !target.registry.is_public());
    if !hosts.keys().any(is_private) {
        hosts.extend(own_registry(env, config, deadline).map(|host| (host, USERNAME.to_owned())));
    }
    hosts
}

/// The default region of the AWS settings, by the order of the AWS CLI.
pub fn default_region(env: &Env, selected: &Selected, deadline: Instant) -> Result<Option<Region>, Wrong> {
    let of_environment = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| env.text(name));
    let of_profile = || {
        let profiles = Profiles::read(env, deadline).ok()?;
        profiles.profile(selected.name())?.get("region").map(str::to_owned)
    };
    let named = of_environment.map(str::to_owned).or_else(of_profile).filter(|region| !region.is_empty());
    named.map(|region| region.parse()).transpose()
}

/// The hosts for which the files of docker and of podman name the helper.
fn hosts_of_clients(env: &Env) -> Vec<String> {
    // Of the rules, the newest: to ask an installed podman for its version takes too long.
    let files = client_config::docker_config(env).into_iter().chain(containers::auth_files(env, Rules::NEWEST));
    let files: Vec<_> = files.filter_map(|path| AuthFile::read(env, path).ok()).collect();
    files.iter().flat_map(|file| file.hosts()).map(str::to_owned).collect()
}

/// The hosts with a cached token that would be served now, each with its user name.
fn cached_hosts(env: &Env, config: &Config, deadline: Instant) -> Vec<(String, String)> {
    let Some(cache) = stored::trusted_cache(env) else { return Vec::new() };
    let files = cache.manifest_files();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let hosts = Mutex::new(Vec::new());
    let of_part = |files: &[PathBuf]| {
        let manifests = files.iter().filter_map(|path| Cache::manifest_in(path));
        let check = Check { env, config, deadline, manifests: Vec::new(), targets: Vec::new() };
        let found = hosts_of(&cache, manifests, check);
        hosts.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
    };
    platform::for_each(files.chunks(files.len().div_ceil(threads).max(FEWEST)).collect(), of_part);
    hosts.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The hosts of these manifests, each with its user name.
fn hosts_of(cache: &Cache, manifests: impl Iterator<Item = Manifest>, mut check: Check) -> Vec<(String, String)> {
    let mut entries = HashMap::new();
    let mut hosts = Vec::new();
    let names_region = |host: &Host| Registry::parse(host).is_some_and(|registry| registry.names_region_alone());
    for manifest in manifests.filter(|manifest| !names_region(&manifest.host)) {
        // The hosts of a region share a token.
        let username = entries.entry(manifest.entry).or_insert_with(|| {
            let entry = cache.look_up(&manifest.entry)?;
            (entry.freshness_within(check.config.max_age) != Freshness::Expired).then_some(entry.token.username)
        });
        if let Some(username) = username.clone()
            && check.leads_to_entry(&manifest)
        {
            hosts.push((manifest.host.to_string(), username));
        }
    }
    hosts
}

/// Checks that entries are the caller's. What many manifests have in common is read once.
struct Check<'a> {
    env: &'a Env,
    config: &'a Config,
    deadline: Instant,
    /// Manifests that differ in what they list, and whether it is unchanged.
    manifests: Vec<(Manifest, bool)>,
    /// Targets without their hosts, and the keys of their entries.
    targets: Vec<(Target, Option<CacheKey>)>,
}

impl Check<'_> {
    /// Whether the settings lead to the entry that the manifest names.
    fn leads_to_entry(&mut self, manifest: &Manifest) -> bool {
        if manifest.request == request_key(self.env, &manifest.host) && self.is_unchanged(manifest) {
            return true;
        }
        let target = self.config.target(self.env, &manifest.host).ok().flatten();
        target.is_some_and(|target| self.key_of(target) == Some(manifest.entry))
    }

    fn is_unchanged(&mut self, manifest: &Manifest) -> bool {
        if let Some((_, holds)) = self.manifests.iter().rev().find(|(known, _)| known.observed == manifest.observed) {
            return *holds;
        }
        let holds = manifest.holds(self.env);
        self.manifests.push((manifest.clone(), holds));
        holds
    }

    /// The key of a target's entry, which does not depend on the host.
    fn key_of(&mut self, mut target: Target) -> Option<CacheKey> {
        target.registry = target.registry.without_account();
        target.host = target.registry.host();
        if let Some((_, key)) = self.targets.iter().find(|(known, _)| *known == target) {
            return *key;
        }
        let identity = Identity::read(self.env, &target, self.deadline).ok();
        let key = identity.map(|identity| identity.key);
        self.targets.push((target, key));
        key
    }
}

/// The caller's own registry in the default region.
fn own_registry(env: &Env, config: &Config, deadline: Instant) -> Option<String> {
    let region = default_region(env, &Selected::new(env, None), deadline);
    let region =
        region.inspect_err(|wrong| warn!("{wrong}; AWS cannot be asked for the caller's own registry")).ok()?;
    let Some(region) = region else {
        debug!("no registry is known, and no region is configured in which to ask AWS for the caller's own");
        return None;
    };
    let host = Registry::private(Account::ANY, region.clone()).host();
    let target = config.target(env, &host).inspect_err(|failure| warn!("{failure}")).ok()??;
    if target.caller.role().is_some_and(|role| role.arn.contains(&Account::ANY.to_string())) {
        debug!(region; "the role of a registry depends on its account; AWS cannot be asked for the caller's own registry");
        return None;
    }
    let deadline = deadline.min(Instant::now() + OWN_REGISTRY_TIMEOUT);
    let fetched = fetch(env, &target, deadline, Purpose::List);
    let fetched = fetched.map_err(|failure| in_context(&target, failure).without_quote());
    let (token, identity) = fetched.inspect_err(|failure| warn!("{failure}")).ok()?;
    let host = token.token.registry?;
    // The next `get` of this host finds the token without a look at the settings.
    let own = config.target(env, &host).ok()??;
    if own.caller == target.caller {
        stored::save_manifest(env, config, &own, &identity);
    }
    Some(host)
}
