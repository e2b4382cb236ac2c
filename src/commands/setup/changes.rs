//! The changes that one run of `setup` makes, each an edit of one file's text.
//!
//! [`Changes::apply`] tries all edits before it changes the first file, so that a file that cannot be parsed or replaced leaves
//! every other file as it was, and a dry run fails as the run would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::effect::{Edited, Entry};
use super::file::{self, Edit, TextChange};
use super::{edit, no_home, report};
use crate::client_config::{self, AuthFile, HELPER_NAME};
use crate::code::Code;
use crate::commands::client::Client;
use crate::env::Env;
use crate::error::{Error, Failure, print_notice};
use crate::registry::Host;

/// One edit of one file.
pub(super) struct Change<'a> {
    pub(super) path: PathBuf,
    /// Returns the file's text without the secrets in it.
    pub(super) masked: fn(&str) -> String,
    pub(super) edit: Box<Edit<'a>>,
}

/// All edits, by file.
pub(super) struct Changes<'a>(BTreeMap<PathBuf, Vec<Change<'a>>>);

impl<'a> FromIterator<Change<'a>> for Changes<'a> {
    fn from_iter<I: IntoIterator<Item = Change<'a>>>(changes: I) -> Self {
        let mut files: BTreeMap<PathBuf, Vec<Change>> = BTreeMap::new();
        for change in changes {
            files.entry(change.path.clone()).or_default().push(change);
        }
        Self(files)
    }
}

impl Changes<'_> {
    /// Makes the changes, or shows them. Returns lines to print, none for files that stay as they are.
    pub(super) fn apply(&self, env: &Env, dry_run: bool) -> Result<Vec<String>, Error> {
        let mut diffs = Vec::new();
        for (path, changes) in &self.0 {
            let change = TextChange::read(env, path, &|text| edit_all(changes, text))?;
            if !change.is_empty() {
                client_config::check_replaceable(env, path)?;
                match change.check_size(path) {
                    // The diff shows what it is that takes the space.
                    Err(failure) if dry_run => print_notice(&format!("warning: setup would fail: {failure}")),
                    checked => checked?,
                }
            }
            if dry_run && !change.is_empty() {
                diffs.push(report::diff(path, changes[0].masked, &change));
            }
        }
        if dry_run {
            return Ok(diffs);
        }
        let mut lines = Vec::new();
        for (path, changes) in &self.0 {
            lines.extend(report::describe(path, &file::change(env, path, &|text| edit_all(changes, text))?));
        }
        Ok(lines)
    }

    /// Whether there is one of this file.
    pub(super) fn include(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// Says that none of the files changes.
    pub(super) fn nothing(&self) -> String {
        report::nothing_to_change(self.0.keys())
    }
}

/// Makes the edits of one file, one after the other.
fn edit_all(changes: &[Change<'_>], text: &str) -> Result<Edited, Error> {
    changes.iter().try_fold(Edited::new(text, []), |all, change| all.then(|text| (change.edit)(text)))
}

/// Returns the edits that add entries to `credHelpers`. podman reads some files before the one that gets new entries: there,
/// the entries that name other helpers are changed. Without `force`, such an entry is an error.
pub(super) fn add_entries<'a>(
    env: &Env,
    client: Client,
    hosts: &'a BTreeSet<Host>,
    force: bool,
) -> Result<Vec<Change<'a>>, Error> {
    let path = client.entry_file(env).ok_or_else(no_home)?;
    let earlier: Vec<PathBuf> = match client {
        Client::Docker => Vec::new(),
        Client::Podman => client.auth_files(env).into_iter().take_while(|file| *file != path).collect(),
    };
    let mut changes = Vec::new();
    for file in earlier {
        let others = entries_of_others(env, &file, hosts, force)?;
        if !others.is_empty() {
            changes.push(set_entries(file, others));
        }
    }
    entries_of_others(env, &path, hosts, force)?;
    changes.push(set_entries(path, hosts.iter().collect()));
    Ok(changes)
}

/// Returns the hosts for which a file names another helper.
fn entries_of_others<'a>(
    env: &Env,
    path: &Path,
    hosts: &'a BTreeSet<Host>,
    force: bool,
) -> Result<BTreeSet<&'a Host>, Error> {
    let known = AuthFile::read(env, path.to_owned())?;
    let mut others = BTreeSet::new();
    for host in hosts {
        let Some(other) = known.helper(host).filter(|helper| *helper != HELPER_NAME) else { continue };
        if !force {
            let what = format!("{} gives {host} to docker-credential-{other}", path.display());
            return Err(Error::failed(Code::ClientOtherHelper, what, "pass --force to take it over"));
        }
        others.insert(host);
    }
    Ok(others)
}

fn set_entries(path: PathBuf, hosts: BTreeSet<&Host>) -> Change<'_> {
    let names: Vec<&str> = hosts.iter().map(|host| &***host).collect();
    let is_misspelt = move |key: &str| client_config::misspelt_host(key).is_some_and(|host| hosts.contains(&host));
    auth_file_change(path, move |text| {
        let set = edit::set(text, &names)?.then(edit::correct_store)?;
        set.then(|text| edit::cut(text, Entry::CredHelper, |key, value| names_helper(value) && is_misspelt(key)))
    })
}

/// Reports whether the value of an entry names the helper, by its name or by that of the program.
fn names_helper(value: Option<&str>) -> bool {
    matches!(value, Some(HELPER_NAME | crate::NAME))
}

/// Returns the edit that removes the entries that name the helper: those for `hosts`, or all if there are none.
pub(super) fn remove_entries(path: PathBuf, hosts: &BTreeSet<Host>) -> Change<'_> {
    let is_meant = |key: &str| hosts.is_empty() || Host::parse(key.trim()).is_some_and(|host| hosts.contains(&host));
    auth_file_change(path, move |text| {
        edit::cut(text, Entry::CredHelper, |key, value| names_helper(value) && is_meant(key))
    })
}

/// Returns the edit that removes the passwords of earlier logins for `hosts`.
pub(super) fn remove_passwords(path: PathBuf, hosts: &BTreeSet<Host>) -> Change<'_> {
    let hosts: BTreeSet<Host> = hosts.iter().filter_map(|host| Host::parse(host)).collect();
    let is_meant = move |key: &str| Host::parse(key).is_some_and(|host| hosts.contains(&host));
    auth_file_change(path, move |text| edit::cut(text, Entry::Auth, |key, _| is_meant(key)))
}

fn auth_file_change<'a>(path: PathBuf, edit: impl Fn(&str) -> Result<Edited, Failure> + 'a) -> Change<'a> {
    let name = path.display().to_string();
    let edit = move |text: &str| edit(text).map_err(|failure| failure.with_context(&name).into());
    Change { path, masked: edit::masked, edit: Box::new(edit) }
}
