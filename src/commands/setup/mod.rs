//! `setup`: has docker or podman ask this helper for registries, by changing their settings.
//!
//! docker gets `credHelpers` entries in its config.json, podman, buildah and skopeo in the auth.json that outlives the
//! machine's next start, or, without any registry named, an addition to registries.conf that makes the helper one of those
//! for all. Nothing else in these files changes ([`edit`]), whoever else changes them at the same time ([`file`]).
//! Entries of other helpers stay unless `--force` is given, passwords of earlier logins unless `--remove-auths` is.
//! `--remove` takes out what names the helper, and nothing else. What cannot be understood is left alone.
//!
//! `--profiles` maps accounts to AWS profiles in the helper's own configuration ([`profiles`]). All edits are tried, and
//! all questions asked, before the first file changes.
//!
//! kubelet gets an entry in the configuration of its image credential providers ([`kubelet`]).

mod edit;
mod file;
mod hosts;
mod kubelet;
mod profiles;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use crate::NAME;
use crate::client_config::{self, AuthFile, HELPER_NAME, Lookup};
use crate::config::{self, Config};
use crate::containers::{self, Era, Rules};
use crate::env::Env;
use crate::error::{Error, print_notice};
use crate::registry::{self, Registry};
use edit::Emptied;
use profiles::Accounts;

/// Arguments of `setup`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
pub struct Setup {
    /// Registries, or images in them; with --remove and without any, all that name this program
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
    /// The registries of this account in each --region; may be repeated
    #[arg(long, value_name = "N", requires = "region")]
    account: Vec<String>,
    /// The registries of each --account in this region, without one of the account that AWS STS tells; may be repeated
    #[arg(long, value_name = "R")]
    region: Vec<String>,
    /// ECR Public too: public.ecr.aws
    #[arg(long)]
    public: bool,
    /// Set up podman, buildah and skopeo instead of docker; without registries, for all that are ECR's
    #[arg(long)]
    podman: bool,
    /// Map each account that a profile in ~/.aws/config names to that profile, in this program's own configuration file
    #[arg(long, conflicts_with = "remove")]
    profiles: bool,
    /// The profile to choose where several fit one account, may be repeated; or the profile whose account --region means
    #[arg(long, value_name = "NAME", conflicts_with = "remove")]
    profile: Vec<String>,
    /// Add this program to kubelet's configuration of image credential providers, a file in JSON as on EKS
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["hosts", "account", "region", "public", "podman", "force", "remove_auths", "profiles", "profile"])]
    kubelet: Option<PathBuf>,
    /// Take entries out that name this program
    #[arg(long)]
    remove: bool,
    /// Take registries over from other helpers
    #[arg(long, conflicts_with = "remove")]
    force: bool,
    /// Remove passwords that earlier logins have left for the same registries
    #[arg(long)]
    remove_auths: bool,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A change to the text of a file; `Err` says why it cannot be made.
type Edit<'a> = Box<dyn Fn(&str) -> Result<String, String> + 'a>;

/// The kinds of files that are changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// docker's config.json or podman's auth.json.
    Auths,
    /// The addition to registries.conf.
    RegistriesConf,
    /// The helper's own configuration.
    Configuration,
    /// kubelet's configuration of image credential providers.
    Providers,
}

/// One change to one file.
struct Change<'a> {
    path: PathBuf,
    kind: Kind,
    edit: Edit<'a>,
}

/// Whose settings lead to what.
struct Settings<'a> {
    env: &'a Env,
    /// When what is asked of files and services is due.
    deadline: Instant,
    /// The helper's own.
    config: Config,
    hosts: BTreeSet<String>,
}

impl Setup {
    /// Makes the changes, and says which.
    pub fn run(&self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let lines = self.apply(env).map_err(Error::failed)?;
        let written = writeln!(output, "{}", lines.join("\n")).and_then(|()| output.flush());
        written.map_err(Error::unwritten)?;
        Ok(ExitCode::SUCCESS)
    }

    fn apply(&self, env: &Env) -> Result<Vec<String>, String> {
        if let Some(path) = &self.kubelet {
            return self.provider(env, path);
        }
        let settings = self.settings(env)?;
        let hosts = &settings.hosts;
        if hosts.is_empty() && !self.remove && !self.podman && !self.profiles {
            return Err("name a registry, or --region with or without --account, or --public".to_owned());
        }
        let mut lines = Vec::new();
        let mut files: BTreeMap<PathBuf, (Kind, Vec<Edit>)> = BTreeMap::new();
        let mut changes = self.changes(env, hosts)?;
        if self.profiles {
            changes.push(self.mappings(&settings, &mut lines)?);
        }
        for Change { path, kind, edit } in changes {
            files.entry(path).or_insert((kind, Vec::new())).1.push(edit);
        }
        let done = self.make(&files)?;
        let is_done = !done.is_empty();
        lines.splice(0..0, done);
        if !is_done {
            lines.insert(0, report::nothing_to_change(files.keys()));
        }
        let warnings = self.warnings(env, hosts);
        if !self.dry_run && !self.remove {
            lines.push(self.next(&settings, is_done && warnings.is_empty()));
            lines.extend(self.proposal(&settings));
        }
        for warning in warnings {
            print_notice(&format!("warning: {warning}"));
        }
        Ok(lines)
    }

    /// Changes kubelet's configuration.
    fn provider(&self, env: &Env, path: &Path) -> Result<Vec<String>, String> {
        // Else a slip in the path would make directories that kubelet never looks into.
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()) {
            let dir = dir.display();
            return Err(format!("{dir} is not a directory; name kubelet's --image-credential-provider-config"));
        }
        if let Some(dir) = kubelet::missing_program(env, path).filter(|_| !self.remove) {
            let dir = dir.display();
            print_notice(&format!(
                "warning: {NAME} is neither in {dir} nor in {dir}/bin, and kubelet does not start unless it is in its \
                 --image-credential-provider-bin-dir"
            ));
        }
        let edit: Edit = Box::new(move |text: &str| {
            let new = if self.remove { kubelet::remove(text) } else { kubelet::add(text) };
            new.map_err(|what| format!("{}: {what}; nothing was changed in it", path.display()))
        });
        let files = BTreeMap::from([(path.to_owned(), (Kind::Providers, vec![edit]))]);
        let mut lines = self.make(&files)?;
        if lines.is_empty() {
            lines.push(report::nothing_to_change(files.keys()));
        } else if !self.dry_run {
            lines.push("next: restart kubelet, or k3s or RKE2, which reads the file when it starts".to_owned());
        }
        Ok(lines)
    }

    /// Makes the changes, or shows them; returns a line for each. All are tried before any is made, so that a file that
    /// cannot be understood leaves every other as it was.
    fn make(&self, files: &BTreeMap<PathBuf, (Kind, Vec<Edit>)>) -> Result<Vec<String>, String> {
        let all = |edits: &[Edit], text: &str| edits.iter().try_fold(text.to_owned(), |text, edit| edit(&text));
        let mut lines = Vec::new();
        for (path, (kind, edits)) in files {
            let old = client_config::text(path)?;
            let new = all(edits, &old)?;
            if self.dry_run && new != old {
                lines.push(report::diff(path, *kind, &old, &new));
            }
        }
        if !self.dry_run {
            for (path, (kind, edits)) in files {
                let (old, new) = file::change(path, |text| all(edits, text))?;
                lines.extend(report::describe(path, *kind, &old, &new));
            }
        }
        Ok(lines)
    }

    /// Reads the configuration and the hosts that the arguments stand for.
    fn settings<'a>(&self, env: &'a Env) -> Result<Settings<'a>, String> {
        if !self.profile.is_empty() && !self.profiles && (self.region.is_empty() || !self.account.is_empty()) {
            return Err("--profile has no effect here; it goes with --profiles, or with --region alone".to_owned());
        }
        if !self.hosts.is_empty() && self.account.is_empty() && !self.region.is_empty() {
            return Err("--region beside a host requires --account, since the host names its own region".to_owned());
        }
        let deadline = config::deadline(env, Instant::now());
        let mut hosts = self.hosts.iter().map(|word| hosts::of_word(word)).collect::<Result<BTreeSet<_>, _>>()?;
        let config = self.config(env, deadline)?;
        if !self.remove {
            hosts.iter().try_for_each(|host| hosts::check(env, &config, host))?;
        }
        let mut accounts = self.account.clone();
        if let (true, Some(region)) = (accounts.is_empty(), self.region.first()) {
            let profile = self.profile.first().filter(|_| !self.profiles).map(String::as_str);
            accounts.push(hosts::account_of_caller(env, region, profile, deadline)?);
        }
        hosts.extend(hosts::of_accounts(&accounts, &self.region)?);
        if self.public {
            hosts.insert("public.ecr.aws".to_owned());
        }
        Ok(Settings { env, deadline, config, hosts })
    }

    /// The helper's configuration, where this command depends on it.
    fn config(&self, env: &Env, deadline: Instant) -> Result<Config, String> {
        let none = || Config::read("", PathBuf::new());
        let config = if self.profiles {
            // It need not exist, wherever it is: this command makes it.
            let path = Config::path(env).ok_or(HOMELESS)?;
            Config::read(&client_config::text(&path)?, path)
        } else if self.remove || (self.hosts.is_empty() && self.region.is_empty()) {
            none()
        } else {
            Config::load(env, deadline)
        };
        config.map_err(|error| error.message().to_owned())
    }

    /// The tables that map accounts to profiles. Accounts that have one already are named in `lines`.
    fn mappings(&self, settings: &Settings, lines: &mut Vec<String>) -> Result<Change<'static>, String> {
        let path = Config::path(settings.env).ok_or(HOMELESS)?;
        let mut accounts = Accounts::read(settings.env, settings.deadline)?;
        accounts.check(&self.profile)?;
        for (account, line) in accounts.take_matched(&settings.config) {
            lines.push(format!("left the account {account} alone: line {line} of {} matches it", path.display()));
        }
        let mappings = accounts.choose(&self.profile)?;
        let name = path.clone();
        let edit = Box::new(move |text: &str| profiles::add(text, &name, &mappings));
        Ok(Change { path, kind: Kind::Configuration, edit })
    }

    /// What to do next.
    fn next(&self, Settings { hosts, .. }: &Settings, is_ready: bool) -> String {
        let client = if self.podman { "podman" } else { "docker" };
        match hosts.first() {
            Some(host) if is_ready => format!("next: {client} pull {host}/REPOSITORY:TAG"),
            Some(host) => format!("check with: {NAME} doctor {host}"),
            None => format!("check with: {NAME} doctor HOST"),
        }
    }

    /// Tables for the accounts of these registries, where profiles fit them and no table does.
    fn proposal(&self, Settings { env, deadline, config, hosts }: &Settings) -> Option<String> {
        if self.profiles {
            return None;
        }
        let registries: Vec<Registry> = hosts.iter().filter_map(|host| Registry::parse(host)).collect();
        let accounts: Vec<&str> = registries.iter().filter_map(|registry| registry.account.as_deref()).collect();
        let path = Config::path(env)?;
        // What is wrong with the AWS files is for those who need them.
        let mut fitting = Accounts::read(env, *deadline).ok()?;
        fitting.take_matched(config);
        fitting.proposal(&accounts, &path)
    }

    /// The files in which passwords may lie.
    fn files(&self, env: &Env) -> Vec<PathBuf> {
        if self.podman {
            containers::auth_files(env, Rules::of_installed(env))
        } else {
            client_config::docker_config(env).into_iter().collect()
        }
    }

    fn changes<'a>(&self, env: &Env, hosts: &'a BTreeSet<String>) -> Result<Vec<Change<'a>>, String> {
        let mut changes = Vec::new();
        if self.podman && hosts.is_empty() {
            changes.extend(self.additions(env)?);
        }
        if self.remove {
            // podman's files are several, and docker's is not one of its own, unless DOCKER_CONFIG makes it the only one.
            let others = self.podman.then(|| client_config::docker_config(env)).flatten();
            let others = others.filter(|path| Some(path) != containers::lasting_auth_file(env).as_ref());
            let files = self.files(env).into_iter().filter(|path| Some(path) != others.as_ref());
            changes.extend(files.map(|path| without_entries(path, hosts)));
        } else if !hosts.is_empty() {
            changes.extend(self.entries(env, hosts)?);
        }
        if self.remove_auths {
            changes.extend(self.files(env).into_iter().map(|path| without_passwords(path, hosts)));
        }
        Ok(changes)
    }

    /// The new entries under `credHelpers`. podman reads other files before the one that gets them: what these give to
    /// other helpers is taken over there.
    fn entries<'a>(&self, env: &Env, hosts: &'a BTreeSet<String>) -> Result<Vec<Change<'a>>, String> {
        let path = if self.podman { containers::lasting_auth_file(env) } else { client_config::docker_config(env) };
        let path = path.ok_or(HOMELESS)?;
        let earlier = if self.podman { containers::auth_files(env, Rules::of_installed(env)) } else { Vec::new() };
        let earlier = earlier.into_iter().take_while(|file| *file != path);
        let mut changes = Vec::new();
        for file in earlier.chain([path.clone()]) {
            let text = client_config::text(&file)?;
            let name = file.display();
            if !text.trim().is_empty() {
                edit::check(&text).map_err(|what| format!("{name}: {what}; nothing was changed in it"))?;
            }
            let known = AuthFile::read(file.clone())?;
            let other = |host: &&str| known.helper(host).is_some_and(|helper| helper != HELPER_NAME);
            let others: Vec<&str> = hosts.iter().map(String::as_str).filter(other).collect();
            if let (Some(host), false) = (others.first(), self.force) {
                let other = known.helper(host).unwrap_or_default();
                return Err(format!("{name} gives {host} to docker-credential-{other}; --force takes it over"));
            }
            if file == path || !others.is_empty() {
                let names: Vec<&str> = if file == path { hosts.iter().map(String::as_str).collect() } else { others };
                changes.push(change(file, move |text| edit::set(text, "credHelpers", &names, HELPER_NAME)));
            }
        }
        Ok(changes)
    }

    /// The additions to registries.conf, in each directory that podman of some version reads; where the helper is among
    /// those that are asked already, nothing changes.
    fn additions(&self, env: &Env) -> Result<Vec<Change<'static>>, String> {
        let mut changes: Vec<Change> = Vec::new();
        let program = Rules::of_installed(env).program;
        for era in [Era::UpTo5, Era::From6] {
            let Some(dir) = containers::drop_ins(env, era) else { continue };
            let rules = Rules { era, program };
            let path = dir.join("ecr-login.conf");
            if changes.iter().all(|change| change.path != path) {
                changes.push(Change { path, kind: Kind::RegistriesConf, edit: self.addition(env, rules)? });
            }
        }
        if changes.is_empty() { Err(HOMELESS.to_owned()) } else { Ok(changes) }
    }

    fn addition(&self, env: &Env, rules: Rules) -> Result<Edit<'static>, String> {
        if self.remove {
            let edit = |text: &str| Ok(if text.starts_with(ADDITION) { String::new() } else { text.to_owned() });
            return Ok(Box::new(edit));
        }
        let helpers = containers::credential_helpers(env, rules)?;
        let mut names: Vec<String> = helpers.into_iter().map(|(name, _)| name).collect();
        if names.iter().any(|name| name == HELPER_NAME) {
            return Ok(Box::new(|text| Ok(text.to_owned())));
        }
        names.push(HELPER_NAME.to_owned());
        // An array of strings is written the same in JSON.
        let names = serde_json::Value::from(names);
        Ok(Box::new(move |_| Ok(format!("{ADDITION}\ncredential-helpers = {names}\n"))))
    }

    /// What stands in the way after all, or would after this change.
    fn warnings(&self, env: &Env, hosts: &BTreeSet<String>) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.remove_auths {
            for path in self.files(env) {
                let Ok(file) = AuthFile::read(path) else { continue };
                let path = file.path.display();
                warnings.extend(hosts.iter().filter(|host| file.has_password(host)).map(|host| {
                    format!("{path} still has a password of an earlier login for {host}; --remove-auths removes it")
                }));
            }
        }
        if self.remove {
            return warnings;
        }
        for host in hosts.iter().filter(|_| !self.dry_run) {
            let way = if self.podman {
                containers::way(env, Rules::of_installed(env), host)
            } else {
                client_config::docker(env, host)
            };
            match way {
                Ok(Lookup::Helper(name, _, path)) if name != HELPER_NAME => {
                    let path = path.display();
                    warnings.push(format!("{path} comes first and gives {host} to docker-credential-{name}"));
                }
                Ok(Lookup::Nothing) if self.podman => warnings.push(format!(
                    "credential-helpers in registries.conf leaves out containers-auth.json, so podman reads no entries; \
                     '{NAME} setup --podman' adds this helper to them"
                )),
                _ => {}
            }
        }
        for Registry { host, region, .. } in hosts.iter().filter_map(|host| Registry::parse(host)) {
            if !registry::is_known_region(&region) {
                warnings
                    .push(format!("the region '{region}' of {host} is not known to this version; check its spelling"));
            }
        }
        if self.podman && hosts.is_empty() && !self.dry_run {
            warnings.extend(overridden(env, Rules::of_installed(env)));
        }
        if client_config::on_path(env, NAME).is_none() {
            warnings.push(format!("{NAME} is not on the PATH, so no client finds it"));
        }
        if let Some(user) = env.text("SUDO_USER").filter(|user| *user != "root") {
            let home = env.home().unwrap_or_default();
            warnings.push(format!("running under sudo: these are the settings in {}, not {user}'s", home.display()));
        }
        warnings
    }
}

/// What keeps the addition to registries.conf from having an effect.
fn overridden(env: &Env, rules: Rules) -> Option<String> {
    let helpers = containers::credential_helpers(env, rules).ok()?;
    if helpers.iter().any(|(name, _)| name == HELPER_NAME) {
        return None;
    }
    let name = containers::REGISTRIES_CONF;
    if let (Some(path), Era::From6) = (env.text(name), rules.era) {
        return Some(format!(
            "{name} is set, with which podman from 6 on reads {path} and no other file; add ecr-login to \
             credential-helpers there"
        ));
    }
    let (_, path) = helpers.first()?;
    Some(format!("credential-helpers in {} overrides the new file; add ecr-login there", path.display()))
}

/// The first line of a file that is ours alone.
const ADDITION: &str = "# By docker-credential-ecr-login setup --podman, which with --remove takes it out again.";

const HOMELESS: &str = if cfg!(windows) {
    "there is no home directory to write settings in; set USERPROFILE"
} else {
    "there is no home directory to write settings in; set HOME"
};

fn change<'a>(path: PathBuf, edit: impl Fn(&str) -> Result<String, String> + 'a) -> Change<'a> {
    let name = path.display().to_string();
    let edit = move |text: &str| edit(text).map_err(|what| format!("{name}: {what}; nothing was changed in it"));
    Change { path, kind: Kind::Auths, edit: Box::new(edit) }
}

fn without_entries(path: PathBuf, hosts: &BTreeSet<String>) -> Change<'_> {
    let meant = |key: &str| hosts.is_empty() || registry::host(key).is_some_and(|host| hosts.contains(&host));
    change(path, move |text| {
        edit::cut(text, "credHelpers", Emptied::Goes, |key, value| value == Some(HELPER_NAME) && meant(key))
    })
}

fn without_passwords(path: PathBuf, hosts: &BTreeSet<String>) -> Change<'_> {
    let meant = |key: &str| registry::host(key).is_some_and(|host| hosts.contains(&host));
    change(path, move |text| edit::cut(text, "auths", Emptied::Stays, |key, _| meant(key)))
}
