//! `setup`: has docker or podman ask us for registries, by changing their settings.
//!
//! docker gets `credHelpers` entries in its config.json, podman, buildah and skopeo in the auth.json that outlives the
//! machine's next start, or, without any registry named, an addition to registries.conf that makes us one of the helpers
//! for all. Nothing else in these files changes ([`edit`]), whoever else changes them at the same time ([`file`]).
//! Entries of other helpers stay unless `--force` is given, passwords of earlier logins unless `--remove-auths` is.
//! `--remove` takes out what names us, and nothing else. What cannot be understood is left alone.
//!
//! kubelet gets an entry in the configuration of its image credential providers ([`kubelet`]).

mod edit;
mod file;
mod kubelet;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use diffy::DiffOptions;

use crate::client_config::{self, AuthFile, OURS, Way};
use crate::env::Env;
use crate::error::{Error, one_line};
use crate::registry::{self, Registry};
use crate::{NAME, login};

/// Arguments of `setup`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
pub struct Setup {
    /// Registries; with --remove and without any, all that are ours
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
    /// The registries of this account in each --region; may be repeated
    #[arg(long, value_name = "N", requires = "region")]
    account: Vec<String>,
    /// The registries of each --account in this region; may be repeated
    #[arg(long, value_name = "R", requires = "account")]
    region: Vec<String>,
    /// ECR Public too: public.ecr.aws
    #[arg(long)]
    public: bool,
    /// Set up podman, buildah and skopeo instead of docker; without registries, for all that are ECR's
    #[arg(long)]
    podman: bool,
    /// Add this program to kubelet's configuration of image credential providers, a file in JSON as on EKS
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["hosts", "account", "region", "public", "podman", "force", "remove_auths"])]
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

impl Setup {
    /// Makes the changes, and says which.
    pub fn run(&self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let lines = self.apply(env).map_err(|what| Error::failed(format!("ecr-login: {what}")))?;
        let written = writeln!(output, "{}", lines.join("\n")).and_then(|()| output.flush());
        written.map_err(|error| Error::failed(format!("ecr-login: cannot write what was done: {error}")))?;
        Ok(ExitCode::SUCCESS)
    }

    fn apply(&self, env: &Env) -> Result<Vec<String>, String> {
        if let Some(path) = &self.kubelet {
            return self.provider(path);
        }
        let hosts = self.registries(env)?;
        if hosts.is_empty() && !self.remove && !self.podman {
            return Err("name a registry, or --account and --region, or --public".to_owned());
        }
        let mut edits: BTreeMap<PathBuf, Vec<Edit>> = BTreeMap::new();
        for (path, edit) in self.changes(env, &hosts)? {
            edits.entry(path).or_default().push(edit);
        }
        let all = |edits: &[Edit], text: &str| edits.iter().try_fold(text.to_owned(), |text, edit| edit(&text));
        // All are tried before any is made, so that a file that cannot be understood leaves every other as it was.
        let mut lines = Vec::new();
        for (path, edits) in &edits {
            let old = client_config::text(path)?;
            let new = all(edits, &old)?;
            if new != old {
                let toml = path.extension().is_some_and(|ending| ending == "conf");
                let shown = if toml { str::to_owned } else { edit::masked };
                lines.push(if self.dry_run { diff(path, &old, &new, shown) } else { changed(path) });
            }
        }
        if !self.dry_run {
            for (path, edits) in &edits {
                file::change(path, |text| all(edits, text))?;
            }
        }
        if lines.is_empty() {
            lines.push(UNCHANGED.to_owned());
        }
        for warning in self.warnings(env, &hosts) {
            let _ = writeln!(io::stderr(), "ecr-login: warning: {}", one_line(&warning));
        }
        Ok(lines)
    }

    /// The change to kubelet's configuration.
    fn provider(&self, path: &Path) -> Result<Vec<String>, String> {
        let edit = |text: &str| {
            let new = if self.remove { kubelet::remove(text) } else { kubelet::add(text) };
            new.map_err(|what| format!("{}: {what}; nothing was changed in it", path.display()))
        };
        // Else a slip in the path would make directories that kubelet never looks into.
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()) {
            return Err(format!(
                "{} is not a directory; name kubelet's --image-credential-provider-config",
                dir.display()
            ));
        }
        if let Some(dir) = kubelet::missing_program(path).filter(|_| !self.remove) {
            let dir = dir.display();
            let _ = writeln!(
                io::stderr(),
                "ecr-login: warning: {NAME} is neither in {dir} nor in {dir}/bin, and kubelet does not start unless it is in its \
                 --image-credential-provider-bin-dir"
            );
        }
        if self.dry_run {
            let old = client_config::text(path)?;
            let new = edit(&old)?;
            return Ok(vec![if new == old { UNCHANGED.to_owned() } else { diff(path, &old, &new, kubelet::masked) }]);
        }
        if !file::change(path, edit)? {
            return Ok(vec![UNCHANGED.to_owned()]);
        }
        Ok(vec![changed(path), "kubelet reads it when it starts: restart kubelet, or k3s or RKE2".to_owned()])
    }

    /// The hosts that the arguments stand for, as clients look them up.
    fn registries(&self, env: &Env) -> Result<BTreeSet<String>, String> {
        let mut hosts = BTreeSet::new();
        for url in &self.hosts {
            let host = registry::host(url).ok_or_else(|| format!("{url} is not the host of a registry"))?;
            let ours = login::target(env, &host, Instant::now());
            match ours {
                Err(Error::NotFound) if !self.remove => {
                    return Err(format!(
                        "{host} is not an ECR registry, and the configuration does not name it; expected as in \
                         111122223333.dkr.ecr.us-east-1.amazonaws.com"
                    ));
                }
                Err(Error::Failed(what)) if !self.remove => return Err(what),
                _ => {}
            }
            hosts.insert(host);
        }
        for account in &self.account {
            for region in &self.region {
                let registry = Registry::of_account(account, region)
                    .ok_or_else(|| format!("there is no account '{account}' with a region '{region}'"))?;
                hosts.insert(registry.host);
            }
        }
        if self.public {
            hosts.insert("public.ecr.aws".to_owned());
        }
        Ok(hosts)
    }

    /// The files in which passwords may lie.
    fn files(&self, env: &Env) -> Vec<PathBuf> {
        if self.podman {
            client_config::podman_files(env)
        } else {
            client_config::docker_config(env).into_iter().collect()
        }
    }

    fn changes<'a>(&self, env: &Env, hosts: &'a BTreeSet<String>) -> Result<Vec<(PathBuf, Edit<'a>)>, String> {
        let mut changes = Vec::new();
        if self.podman && hosts.is_empty() {
            changes.extend(self.addition(env)?);
        }
        if self.remove {
            // podman's files are several, and docker's is not one of its own.
            let others = self.podman.then(|| client_config::docker_config(env)).flatten();
            let files = self.files(env).into_iter().filter(|path| Some(path) != others.as_ref());
            changes.extend(files.map(|path| without_entries(path, hosts)));
        } else if !hosts.is_empty() {
            changes.push(self.entries(env, hosts)?);
        }
        if self.remove_auths {
            changes.extend(self.files(env).into_iter().map(|path| without_passwords(path, hosts)));
        }
        Ok(changes)
    }

    /// The new entries under `credHelpers`.
    fn entries<'a>(&self, env: &Env, hosts: &'a BTreeSet<String>) -> Result<(PathBuf, Edit<'a>), String> {
        let path = if self.podman { client_config::podman_config(env) } else { client_config::docker_config(env) };
        let path = path.ok_or(HOMELESS)?;
        let file = AuthFile::read(path.clone())?;
        for host in hosts {
            if let Some(other) = file.helper(host).filter(|name| *name != OURS && !self.force) {
                let path = path.display();
                return Err(format!("{path} gives {host} to docker-credential-{other}; --force takes it over"));
            }
        }
        Ok(change(path, |text| {
            hosts.iter().try_fold(text.to_owned(), |text, host| edit::set(&text, "credHelpers", host, OURS))
        }))
    }

    /// The addition to registries.conf; none where we are among the helpers already.
    fn addition(&self, env: &Env) -> Result<Option<(PathBuf, Edit<'static>)>, String> {
        let path = client_config::registries_conf_d(env).ok_or(HOMELESS)?.join("ecr-login.conf");
        if self.remove {
            let edit = |text: &str| Ok(if text.starts_with(ADDITION) { String::new() } else { text.to_owned() });
            return Ok(Some((path, Box::new(edit))));
        }
        let mut names: Vec<String> =
            client_config::credential_helpers(env)?.into_iter().map(|(name, _)| name).collect();
        if names.iter().any(|name| name == OURS) {
            return Ok(None);
        }
        names.push(OURS.to_owned());
        // An array of strings is written the same in JSON.
        let names = serde_json::Value::from(names);
        let edit = move |_: &str| Ok(format!("{ADDITION}\ncredential-helpers = {names}\n"));
        Ok(Some((path, Box::new(edit))))
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
            let way = if self.podman { client_config::podman(env, host) } else { client_config::docker(env, host) };
            if let Ok(Way::Helper(name, _, path)) = way
                && name != OURS
            {
                warnings.push(format!("{} comes first and gives {host} to docker-credential-{name}", path.display()));
            }
        }
        if self.podman && hosts.is_empty() && !self.dry_run {
            let helpers = client_config::credential_helpers(env).unwrap_or_default();
            if let Some((_, path)) = helpers.first().filter(|_| helpers.iter().all(|(name, _)| name != OURS)) {
                warnings.push(format!("credential-helpers in {} overrides the new file", path.display()));
            }
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

/// The first line of a file that is ours alone.
const ADDITION: &str = "# By docker-credential-ecr-login setup --podman, which with --remove takes it out again.";

const HOMELESS: &str = "there is no home directory to write settings in; set HOME";

fn change<'a>(path: PathBuf, edit: impl Fn(&str) -> Result<String, String> + 'a) -> (PathBuf, Edit<'a>) {
    let name = path.display().to_string();
    let edit = move |text: &str| edit(text).map_err(|what| format!("{name}: {what}; nothing was changed in it"));
    (path, Box::new(edit))
}

fn without_entries(path: PathBuf, hosts: &BTreeSet<String>) -> (PathBuf, Edit<'_>) {
    let ours = format!("\"{OURS}\"");
    let meant = |key: &str| hosts.is_empty() || registry::host(key).is_some_and(|host| hosts.contains(&host));
    change(path, move |text| edit::cut(text, "credHelpers", true, |key, value| value == ours && meant(key)))
}

fn without_passwords(path: PathBuf, hosts: &BTreeSet<String>) -> (PathBuf, Edit<'_>) {
    let meant = |key: &str| registry::host(key).is_some_and(|host| hosts.contains(&host));
    change(path, move |text| edit::cut(text, "auths", false, |key, _| meant(key)))
}

const UNCHANGED: &str = "nothing to change";

fn changed(path: &Path) -> String {
    format!("changed {}", path.display())
}

/// What a change does to a file, in the texts that `shown` makes of it, without the secrets in it.
fn diff(path: &Path, old: &str, new: &str, shown: fn(&str) -> String) -> String {
    let name = path.display().to_string();
    let was = if old.is_empty() { "/dev/null" } else { &name };
    let (old, new) = (shown(old), shown(new));
    let mut options = DiffOptions::new();
    options.set_original_filename(was.to_owned()).set_modified_filename(name.clone());
    options.create_patch(&old, &new).to_string().trim_end().to_owned()
}
