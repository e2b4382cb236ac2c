//! `setup`: makes docker or podman call the helper for registries, by changing their settings.
//!
//! docker gets `credHelpers` entries in its config.json; podman, buildah and skopeo get them in the auth.json that survives a
//! reboot, or, without any registry named, a drop-in for registries.conf that adds the helper for all registries ([`podman`]).
//! Everything else in these files stays byte for byte ([`edit`], [`json`]), even when other programs change them at the same time
//! ([`mod@file`]). Entries of other helpers stay unless `--force` is given, passwords of earlier logins unless `--remove-auths`
//! is given. `--remove` removes the entries that name the helper, and nothing else; it says where the files of the other client have
//! some too. A file that cannot be parsed is an error.
//!
//! `--profiles` maps accounts to AWS profiles in the helper's own configuration ([`profiles`]). All edits are tried, and
//! all questions asked, before the first file changes ([`changes`]).
//!
//! kubelet gets an entry in the configuration of its image credential providers ([`kubelet`]).

mod changes;
// Public for the fuzz target `setup`.
#[doc(hidden)]
pub mod edit;
#[doc(hidden)]
pub mod effect;
mod file;
mod hosts;
mod json;
#[doc(hidden)]
pub mod kubelet;
mod podman;
mod profiles;
mod report;
mod warnings;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::NAME;
use crate::client_config;
use crate::code::Code;
use crate::commands::cached_tokens::print_line;
use crate::commands::client::Client;
use crate::config::{self, Config};
use crate::env::Env;
use crate::error::{Error, Failure, print_notice};
use crate::registry::{self, Account, Host, Region, Registry};
use crate::token_provider;
use changes::{Change, Changes};
use profiles::Accounts;

/// Arguments of `setup`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
pub struct Setup {
    /// Registries, or images in them; --remove without any removes all entries that name the helper
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
    /// The registries of this account in each --region; may be repeated
    #[arg(long, value_name = "N", requires = "region")]
    account: Vec<Account>,
    /// Region of the registries to add; without --account, uses the caller's account as AWS STS reports it; may be repeated
    #[arg(long, value_name = "R")]
    region: Vec<Region>,
    /// Add ECR Public: public.ecr.aws
    #[arg(long)]
    public: bool,
    /// Set up podman, buildah and skopeo instead of docker; without registries, for all ECR registries
    #[arg(long)]
    podman: bool,
    /// Map each account that a profile in ~/.aws/config names to that profile, in the helper's own configuration file
    #[arg(long, conflicts_with = "remove")]
    profiles: bool,
    /// With --profiles: the profile to use if several match an account, may be repeated. With --region alone: use this profile's
    /// account
    #[arg(long, value_name = "NAME", conflicts_with = "remove")]
    profile: Vec<String>,
    /// Add the helper to kubelet's configuration of image credential providers (JSON, the format that EKS uses)
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["hosts", "account", "region", "public", "podman", "force", "remove_auths", "profiles", "profile"])]
    kubelet: Option<PathBuf>,
    /// Remove the entries that name the helper
    #[arg(long)]
    remove: bool,
    /// Replace entries that name another helper
    #[arg(long, conflicts_with = "remove")]
    force: bool,
    /// Remove passwords that earlier logins left for the same registries
    #[arg(long)]
    remove_auths: bool,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// The input of one run: the arguments, resolved.
struct Request {
    /// The deadline for files and services.
    deadline: Instant,
    /// The helper's configuration.
    config: Config,
    hosts: BTreeSet<Host>,
}

impl Setup {
    /// Makes the changes and prints them.
    pub fn run(&self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let lines = match &self.kubelet {
            Some(path) => self.set_up_kubelet(env, &env.expand(path))?,
            None => self.set_up_client(env)?,
        };
        print_line(output, &lines.join("\n"))
    }

    fn client(&self) -> Client {
        if self.podman { Client::Podman } else { Client::Docker }
    }

    fn set_up_client(&self, env: &Env) -> Result<Vec<String>, Error> {
        let request = self.request(env)?;
        let hosts = &request.hosts;
        if hosts.is_empty() && !self.remove && !self.podman && !self.profiles {
            return Err(Error::usage("name a registry, or --region with or without --account, or --public"));
        }
        let mut changes = self.client_changes(env, hosts)?;
        let mut kept = Vec::new();
        if self.profiles {
            let (change, lines) = self.map_profiles(env, &request)?;
            changes.push(change);
            kept = lines;
        }
        let changes: Changes = changes.into_iter().collect();
        let mut lines = changes.apply(env, self.dry_run)?;
        let warnings = self.warnings(env, hosts);
        let works = !lines.is_empty() && warnings.is_empty();
        let pull = hosts.first().filter(|_| works).and_then(|host| self.client().pull(env, host));
        let doctor = || format!("check with: {NAME} doctor {}", hosts.first().map_or("HOST", |host| host));
        let next = pull.map_or_else(doctor, |pull| format!("next: {pull}"));
        if lines.is_empty() {
            lines.push(changes.nothing());
        }
        lines.extend(kept);
        if self.remove {
            lines.extend(self.entries_of_other_client(env, hosts, &changes));
        } else if !self.dry_run {
            lines.push(next);
            lines.extend(self.proposal(env, &request));
        }
        for warning in warnings {
            print_notice(&format!("warning: {warning}"));
        }
        Ok(lines)
    }

    fn set_up_kubelet(&self, env: &Env, path: &Path) -> Result<Vec<String>, Error> {
        let fix = "name kubelet's --image-credential-provider-config";
        if path.is_dir() {
            return Err(Error::usage(format!("{} is a directory; {fix}", path.display())));
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A typing error in the path would otherwise create directories that kubelet never reads.
        if !dir.is_dir() {
            let what = if dir.exists() { "is not a directory" } else { "does not exist" };
            return Err(Error::failed(Code::WriteFailed, format!("{} {what}", dir.display()), fix));
        }
        // EKS has programs beside the configuration, k3s in `bin`.
        let bin = dir.join("bin");
        if !self.remove && [dir, &bin].iter().all(|dir| env.program_in(dir, NAME).is_none()) {
            print_notice(&format!(
                "warning: {NAME} is neither in {} nor in {}, and kubelet does not start unless it is in its \
                 --image-credential-provider-bin-dir",
                dir.display(),
                bin.display()
            ));
        }
        let edit = Box::new(|text: &str| {
            let edited = if self.remove { kubelet::remove(text) } else { kubelet::add(text) };
            Ok(edited.map_err(|failure| failure.with_context(path.display()))?)
        });
        let change = Change { path: path.to_owned(), masked: kubelet::masked, edit };
        let changes = Changes::from_iter([change]);
        let mut lines = changes.apply(env, self.dry_run)?;
        if lines.is_empty() {
            lines.push(changes.nothing());
        } else if !self.dry_run {
            lines.push("next: restart kubelet, or k3s or RKE2, which reads the file when it starts".to_owned());
        }
        Ok(lines)
    }

    /// Checks the arguments, reads the configuration and resolves the hosts that the arguments name.
    fn request(&self, env: &Env) -> Result<Request, Error> {
        if !self.profile.is_empty() && !self.profiles && (self.region.is_empty() || !self.account.is_empty()) {
            return Err(Error::usage("--profile has no effect here; use it with --profiles, or with --region alone"));
        }
        if !self.hosts.is_empty() && self.account.is_empty() && !self.region.is_empty() {
            return Err(Error::usage("--region beside a host requires --account, since the host names its own region"));
        }
        let deadline = config::deadline(env, Instant::now());
        let name = |word: &String| {
            let host = token_provider::named_host(word)?;
            // An entry counts for the name in images alone; a removal means each spelling of it.
            let in_image = Host::in_image(registry::typed(word)).filter(|_| !self.remove);
            Ok::<_, Error>(in_image.unwrap_or(host))
        };
        let mut hosts = self.hosts.iter().map(name).collect::<Result<BTreeSet<_>, _>>()?;
        let config = self.config(env, deadline)?;
        if !self.remove {
            hosts.iter().try_for_each(|host| hosts::check(env, &config, host))?;
        }
        let mut accounts = self.account.clone();
        if let (true, Some(region)) = (accounts.is_empty(), self.region.first().cloned()) {
            let profile = self.profile.first().filter(|_| !self.profiles).map(String::as_str);
            accounts.push(hosts::account_of_caller(env, region, profile, deadline)?);
        }
        for region in &self.region {
            hosts.extend(accounts.iter().map(|account| Registry::private(*account, region.clone()).host()));
        }
        if self.public {
            hosts.insert(Registry::PUBLIC.host());
        }
        Ok(Request { deadline, config, hosts })
    }

    /// Reads the helper's configuration if the command depends on it.
    fn config(&self, env: &Env, deadline: Instant) -> Result<Config, Error> {
        if self.profiles {
            // The file need not exist, wherever it is: this command creates it.
            let path = config_path(env)?;
            Ok(Config::read(&client_config::text(env, &path)?, &path)?)
        } else if self.remove || (self.hosts.is_empty() && self.region.is_empty()) {
            Ok(Config::default())
        } else {
            Ok(Config::load(env, deadline)?)
        }
    }

    fn client_changes<'a>(&self, env: &Env, hosts: &'a BTreeSet<Host>) -> Result<Vec<Change<'a>>, Error> {
        let client = self.client();
        let mut changes = if self.remove {
            removals(env, client, hosts)?
        } else if !hosts.is_empty() {
            changes::add_entries(env, client, hosts, self.force)?
        } else if client == Client::Podman {
            podman::add_drop_ins(env)?
        } else {
            Vec::new()
        };
        if self.remove_auths {
            let files = client.auth_files(env).into_iter();
            changes.extend(files.map(|path| changes::remove_passwords(path, hosts)));
        }
        Ok(changes)
    }

    /// Names the removal of the same entries from the files of the other client that `own` leaves alone, if it would change them, or why
    /// that is not known.
    fn entries_of_other_client(&self, env: &Env, hosts: &BTreeSet<Host>, own: &Changes<'_>) -> Option<String> {
        let other = if self.podman { Client::Docker } else { Client::Podman };
        let others = removals(env, other, hosts).ok()?.into_iter();
        let others: Changes = others.filter(|change| !own.include(&change.path)).collect();
        let (args, hosts): (_, Vec<&str>) = (" {}".repeat(hosts.len()), hosts.iter().map(|host| &**host).collect());
        let fix = other.fix(&format!("--remove{args}"), &hosts);
        let whether = match others.apply(env, true) {
            Ok(left) if left.is_empty() => return None,
            Err(Error::Failed(Failure { what, hint, .. })) => format!("may stay: {what}; {hint}; then {fix}"),
            _ => format!("stay: {fix}"),
        };
        Some(format!("{}'s entries {whether}", other.name()))
    }

    /// Maps accounts to profiles in the helper's configuration. Returns the change, and a line for each account that a table
    /// matched already and for each profile that was left out.
    fn map_profiles(&self, env: &Env, request: &Request) -> Result<(Change<'static>, Vec<String>), Error> {
        let path = config_path(env)?;
        let mut accounts = Accounts::read(env, request.deadline)?;
        accounts.check(&self.profile)?;
        let left =
            |(account, line)| format!("left the account {account} alone: line {line} of {} matches it", path.display());
        let kept = accounts.take_matched(&request.config).into_iter().map(left);
        let kept = kept.chain(accounts.left_out.iter().cloned()).collect();
        let mappings = accounts.choose(&self.profile)?;
        let name = path.clone();
        let edit = Box::new(move |text: &str| profiles::add(text, &name, &mappings));
        Ok((Change { path, masked: str::to_owned, edit }, kept))
    }

    /// Returns tables for the accounts of these registries, if profiles fit them and no table matches them.
    fn proposal(&self, env: &Env, Request { deadline, config, hosts }: &Request) -> Option<String> {
        if self.profiles {
            return None;
        }
        let accounts: Vec<Account> = hosts.iter().filter_map(|host| Registry::parse(host)?.account()).collect();
        let path = Config::path(env)?;
        // A mistake in the AWS files is reported by the commands that need them. A proposal is not worth a wait.
        let mut fitting = Accounts::read(env, (*deadline).min(Instant::now() + Duration::from_secs(2))).ok()?;
        fitting.take_matched(config);
        fitting.proposal(&accounts, &path)
    }
}

/// Returns the edits that remove the entries that name the helper from the files of a client: those for `hosts`, or all if there
/// are none.
fn removals<'a>(env: &Env, client: Client, hosts: &'a BTreeSet<Host>) -> Result<Vec<Change<'a>>, Error> {
    let for_all = client == Client::Podman && hosts.is_empty();
    let mut changes = if for_all { podman::remove_drop_ins(env)? } else { Vec::new() };
    changes.extend(client.own_auth_files(env).into_iter().map(|path| changes::remove_entries(path, hosts)));
    Ok(changes)
}

fn config_path(env: &Env) -> Result<PathBuf, Error> {
    Config::path(env).ok_or_else(no_home)
}

fn no_home() -> Error {
    let what = "there is no home directory to write settings in";
    Error::failed(Code::HomeMissing, what, format!("set {}", Env::HOME))
}
