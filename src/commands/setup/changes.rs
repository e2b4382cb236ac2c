//! The changes that one run of `setup` makes, each an edit of one file's text.
//!
//! [`Changes::apply`] tries all edits before it changes the first file, so that a file that cannot be parsed leaves every
//! other file as it was.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::edit::{self, Emptied};
use super::effect::{Edited, Effect, Entry};
use super::file::{self, Kind, TextChange};
use super::{no_home, report};
use crate::client_config::{self, AuthFile, HELPER_NAME};
use crate::code::Code;
use crate::commands::client::Client;
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::registry::Host;

/// An edit of a file's text.
pub(super) type Edit<'a> = Box<dyn Fn(&str) -> Result<Edited, Error> + 'a>;

/// One edit of one file.
pub(super) struct Change<'a> {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) edit: Edit<'a>,
}

/// Whether `setup` changes the files, or shows what it would change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Write,
    DryRun,
}

/// All edits, by file.
pub(super) struct Changes<'a>(BTreeMap<PathBuf, FileEdits<'a>>);

struct FileEdits<'a> {
    kind: Kind,
    edits: Vec<Edit<'a>>,
}

impl FileEdits<'_> {
    fn edit(&self, text: &str) -> Result<Edited, Error> {
        self.edits.iter().try_fold(Edited::new(text, []), |mut all, edit| {
            let Edited { text, effects } = edit(&all.text)?;
            all.effects.extend(effects);
            Ok(Edited { text, ..all })
        })
    }
}

impl<'a> FromIterator<Change<'a>> for Changes<'a> {
    fn from_iter<I: IntoIterator<Item = Change<'a>>>(changes: I) -> Self {
        let mut files: BTreeMap<PathBuf, FileEdits> = BTreeMap::new();
        for Change { path, kind, edit } in changes {
            files.entry(path).or_insert_with(|| FileEdits { kind, edits: Vec::new() }).edits.push(edit);
        }
        Self(files)
    }
}

impl Changes<'_> {
    /// Returns the files to change.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// Makes or shows the changes. Returns lines to print, none for files that stay as they are.
    pub(super) fn apply(&self, mode: Mode) -> Result<Vec<String>, Error> {
        let mut lines = Vec::new();
        for (path, file) in &self.0 {
            let change = TextChange::read(path, |text| Ok(file.edit(text)?.text))?;
            if mode == Mode::DryRun && !change.is_empty() {
                lines.push(report::diff(path, file.kind, &change));
            }
        }
        if mode == Mode::Write {
            for (path, file) in &self.0 {
                // The edit is repeated if another program changes the file meanwhile: the last one counts.
                let effects = RefCell::default();
                let change = file::change(path, |text| {
                    let edited = file.edit(text)?;
                    effects.replace(edited.effects);
                    Ok(edited.text)
                })?;
                lines.extend(report::describe(path, &change, &effects.into_inner()));
            }
        }
        Ok(lines)
    }
}

/// Who may lose a registry to the helper.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takeover {
    /// Nobody: an entry that names another helper is an error.
    Refused,
    /// Any other helper.
    Forced,
}

/// Returns the edits that add entries to `credHelpers`. podman reads some files before the one that gets new entries: there,
/// the entries that name other helpers are changed.
pub(super) fn add_entries<'a>(
    env: &Env,
    client: Client,
    hosts: &'a BTreeSet<Host>,
    takeover: Takeover,
) -> Result<Vec<Change<'a>>, Error> {
    let path = client.entry_file(env).ok_or_else(no_home)?;
    let earlier: Vec<PathBuf> = match client {
        Client::Docker => Vec::new(),
        Client::Podman => client.auth_files(env).into_iter().take_while(|file| *file != path).collect(),
    };
    let mut changes = Vec::new();
    for file in earlier {
        let others = entries_of_others(&file, hosts, takeover)?;
        if !others.is_empty() {
            changes.push(set_entries(file, others));
        }
    }
    entries_of_others(&path, hosts, takeover)?;
    changes.push(set_entries(path, hosts.iter().map(|host| &**host).collect()));
    Ok(changes)
}

/// Returns the hosts for which a file names another helper.
fn entries_of_others<'a>(path: &Path, hosts: &'a BTreeSet<Host>, takeover: Takeover) -> Result<Vec<&'a str>, Error> {
    let name = path.display();
    let text = client_config::text(path)?;
    if !text.trim().is_empty() {
        edit::check(&text).map_err(|failure| failure.with_context(&name))?;
    }
    let known = AuthFile::read(path.to_owned())?;
    let other = |host: &str| known.helper(host).filter(|helper| *helper != HELPER_NAME);
    let others: Vec<&str> = hosts.iter().map(|host| &**host).filter(|host| other(host).is_some()).collect();
    match others.first().and_then(|host| Some((host, other(host)?))) {
        Some((host, other)) if takeover == Takeover::Refused => {
            let what = format!("{name} gives {host} to docker-credential-{other}");
            Err(Error::failed(Code::ClientOtherHelper, what, "pass --force to take it over"))
        }
        _ => Ok(others),
    }
}

fn set_entries(path: PathBuf, hosts: Vec<&str>) -> Change<'_> {
    auth_file_change(path, move |text| {
        let set = edit::set(text, "credHelpers", &hosts, HELPER_NAME)?;
        // With the program's whole name, docker finds no helper for any other registry.
        let text = edit::replace(&set.text, "credsStore", crate::NAME, HELPER_NAME)?;
        let cut = edit::cut(&text, "credHelpers", Emptied::Kept, |key, value| {
            names_helper(value) && hosts.iter().any(|host| client_config::is_misspelling(key, host))
        })?;
        let effects = [Effect::Added(set.count, Entry::CredHelper), Effect::Removed(cut.count, Entry::CredHelper)];
        Ok(Edited::new(cut.text, effects))
    })
}

/// Reports whether the value of an entry names the helper, by its name or by that of the program.
fn names_helper(value: Option<&str>) -> bool {
    matches!(value, Some(HELPER_NAME | crate::NAME))
}

/// Returns the edit that removes the entries that name the helper: those for `hosts`, or all if there are none.
pub(super) fn remove_entries(path: PathBuf, hosts: &BTreeSet<Host>) -> Change<'_> {
    let is_meant = |key: &str| hosts.is_empty() || Host::parse(key).is_some_and(|host| hosts.contains(&host));
    auth_file_change(path, move |text| {
        let cut = edit::cut(text, "credHelpers", Emptied::Removed, |key, value| names_helper(value) && is_meant(key))?;
        Ok(Edited::new(cut.text, [Effect::Removed(cut.count, Entry::CredHelper)]))
    })
}

/// Returns the edit that removes the passwords of earlier logins for `hosts`.
pub(super) fn remove_passwords(path: PathBuf, hosts: &BTreeSet<Host>) -> Change<'_> {
    let is_meant = |key: &str| Host::parse(key).is_some_and(|host| hosts.contains(&host));
    auth_file_change(path, move |text| {
        let cut = edit::cut(text, "auths", Emptied::Kept, |key, _| is_meant(key))?;
        Ok(Edited::new(cut.text, [Effect::Removed(cut.count, Entry::Auth)]))
    })
}

fn auth_file_change<'a>(path: PathBuf, edit: impl Fn(&str) -> Result<Edited, Failure> + 'a) -> Change<'a> {
    let name = path.display().to_string();
    let edit = move |text: &str| edit(text).map_err(|failure| failure.with_context(&name).into());
    Change { path, kind: Kind::AuthFile, edit: Box::new(edit) }
}
