//! The drop-in for registries.conf by which podman, buildah and skopeo call the helper for all registries.

use std::path::PathBuf;

use super::changes::{Change, Edit};
use super::effect::{Edited, Effect, Entry};
use super::file::Kind;
use super::no_home;
use crate::client_config::HELPER_NAME;
use crate::code::Code;
use crate::containers::{self, Era, Rules};
use crate::env::Env;
use crate::error::Error;

/// The first line of the drop-in, by which `--remove` recognizes it.
const FIRST_LINE: &str = "# By docker-credential-ecr-login setup --podman, which with --remove takes it out again.";

/// Returns the edits that add the helper to `credential-helpers`, in each directory that some version of podman reads. Where
/// the helper is named already, nothing changes.
pub(super) fn add_drop_ins(env: &Env) -> Result<Vec<Change<'static>>, Error> {
    let add = |rules, path: PathBuf| -> Result<Edit<'static>, Error> {
        let helpers = containers::credential_helpers(env, rules)?;
        let mut names: Vec<String> = helpers.into_iter().map(|helper| helper.name).collect();
        if names.iter().any(|name| name == HELPER_NAME) {
            return Ok(Box::new(|text| Ok(Edited::new(text, []))));
        }
        names.push(HELPER_NAME.to_owned());
        // TOML and JSON write an array of strings alike.
        let names = serde_json::Value::from(names);
        Ok(Box::new(move |text| {
            let rest = foreign_lines(text).ok_or_else(|| {
                let hint = format!("add {HELPER_NAME} to credential-helpers in it by hand, or rename it");
                Error::failed(Code::ClientConfigInvalid, format!("{} is not by setup", path.display()), hint)
            })?;
            let text = format!("{FIRST_LINE}\ncredential-helpers = {names}\n{rest}");
            Ok(Edited::new(text, [Effect::Added(1, Entry::CredentialHelpers)]))
        }))
    };
    let changes = drop_ins(env).into_iter().map(|(rules, path)| {
        let edit = add(rules, path.clone())?;
        Ok(Change { path, kind: Kind::RegistriesConf, edit })
    });
    some_of(changes.collect::<Result<_, Error>>()?)
}

/// Returns the edits that remove these drop-ins.
pub(super) fn remove_drop_ins(env: &Env) -> Result<Vec<Change<'static>>, Error> {
    let remove = |text: &str| {
        Ok(match foreign_lines(text) {
            Some(rest) if rest != text => Edited::new(rest, [Effect::Removed(1, Entry::CredentialHelpers)]),
            _ => Edited::new(text, []),
        })
    };
    let changes = drop_ins(env).into_iter().map(|(_, path)| {
        let edit: Edit = Box::new(remove);
        Change { path, kind: Kind::RegistriesConf, edit }
    });
    some_of(changes.collect())
}

/// Returns the lines that somebody has added to a drop-in of setup's; `None` for a file of somebody else.
fn foreign_lines(text: &str) -> Option<String> {
    if text.trim().is_empty() {
        return Some(String::new());
    }
    let rest = text.strip_prefix(FIRST_LINE)?;
    let lines = rest.split_inclusive('\n').skip(1);
    Some(lines.filter(|line| !line.starts_with("credential-helpers")).collect())
}

fn some_of(changes: Vec<Change<'static>>) -> Result<Vec<Change<'static>>, Error> {
    if changes.is_empty() { Err(no_home()) } else { Ok(changes) }
}

/// Returns the paths of the drop-in, each with the first rules by which a program reads it.
fn drop_ins(env: &Env) -> Vec<(Rules, PathBuf)> {
    let program = Rules::installed(env).program;
    let mut paths: Vec<(Rules, PathBuf)> = Vec::new();
    for era in [Era::UpTo5, Era::From6] {
        let Some(dir) = containers::user_drop_ins(env, era) else { continue };
        let path = dir.join("ecr-login.conf");
        if paths.iter().all(|(_, known)| *known != path) {
            paths.push((Rules { era, program }, path));
        }
    }
    paths
}

/// Reports what keeps the drop-in from having an effect, if anything does.
pub(super) fn overridden(env: &Env) -> Option<String> {
    let rules = Rules::installed(env);
    let helpers = containers::credential_helpers(env, rules).ok()?;
    if helpers.iter().any(|helper| helper.name == HELPER_NAME) {
        return None;
    }
    let variable = containers::REGISTRIES_CONF;
    if let (Some(path), Era::From6) = (env.text(variable), rules.era) {
        return Some(format!(
            "{variable} is set, so podman 6 and later reads {path} and no other file; add ecr-login to \
             credential-helpers there"
        ));
    }
    let file = helpers.first()?.file.display();
    Some(format!("credential-helpers in {file} overrides the new file; add ecr-login there"))
}
