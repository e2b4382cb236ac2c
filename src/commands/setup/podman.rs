//! The drop-in for registries.conf by which podman, buildah and skopeo call the helper for all registries. Behind its list is the one
//! that these programs read without it, so that `--remove` knows whether somebody has changed the list: that one may change meanwhile.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::changes::Change;
use super::effect::{Edited, Effect, Entry};
use super::file::{Edit, check_size};
use super::no_home;
use crate::client_config::HELPER_NAME;
use crate::code::Code;
use crate::containers::{self, AUTH_FILES, CredentialHelper, Era, Rules};
use crate::env::Env;
use crate::error::Error;
use crate::toml_text;

/// The first line of the drop-in, by which `--remove` recognizes it.
const FIRST_LINE: &str = "# By docker-credential-ecr-login setup --podman, which with --remove takes it out again.";

/// What comes before the list that was read without the drop-in.
const INSTEAD: &str = " # instead of ";

/// The drop-in, whose list somebody may have changed.
struct DropIn {
    /// The helpers in its list.
    names: Vec<String>,
    /// Those in the list that was read without it.
    instead: Vec<String>,
    /// The lines that somebody has added.
    others: String,
}

impl DropIn {
    /// Parses a text; `None` for a file of somebody else. An absent file is an empty text.
    fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Conf {
            credential_helpers: Option<Spanned<Vec<String>>>,
        }
        let without_list = |others: &str| Self { names: Vec::new(), instead: Vec::new(), others: others.to_owned() };
        if text.trim().is_empty() {
            return Some(without_list(""));
        }
        let (_, rest) = text.strip_prefix(FIRST_LINE)?.split_once('\n').unwrap_or_default();
        let Some(list) = toml_text::parse::<Conf>(rest).ok()?.credential_helpers else {
            return Some(without_list(rest));
        };
        // A list may span lines.
        let (before, after) = (&rest[..list.span().start], &rest[list.span().end..]);
        let before = before.rfind('\n').map_or("", |end| &before[..=end]);
        let (comment, after) = after.split_once('\n').unwrap_or((after, ""));
        let instead = comment.strip_prefix(INSTEAD).and_then(|list| serde_json::from_str(list).ok());
        Some(Self {
            names: list.into_inner(),
            instead: instead.unwrap_or_else(|| vec![AUTH_FILES.to_owned()]),
            others: format!("{before}{after}"),
        })
    }

    fn text(&self) -> String {
        // TOML and JSON write an array of strings alike.
        let [names, instead] = [&self.names, &self.instead].map(|names| serde_json::Value::from(names.as_slice()));
        format!("{FIRST_LINE}\ncredential-helpers = {names}{INSTEAD}{instead}\n{}", self.others)
    }
}

/// Returns the edits that add the helper to `credential-helpers`, in each directory that some version of podman reads. Where
/// the helper is named already, nothing changes.
pub(super) fn add_drop_ins(env: &Env) -> Result<Vec<Change<'static>>, Error> {
    change_drop_ins(env, |rules, path| {
        let mut names = names(containers::credential_helpers(env, rules)?);
        if names.iter().any(|name| name == HELPER_NAME) {
            return Ok(Box::new(|text| Ok(Edited::new(text, []))));
        }
        names.push(HELPER_NAME.to_owned());
        let instead = self::names(containers::credential_helpers_without(env, rules, path)?);
        let name = path.display().to_string();
        Ok(Box::new(move |text| {
            let drop_in = DropIn::parse(text).ok_or_else(|| {
                let hint = format!("add {HELPER_NAME} to credential-helpers in it by hand, or rename it");
                Error::failed(Code::ClientConfigInvalid, format!("{name} is not by setup"), hint)
            })?;
            let text = DropIn { names: names.clone(), instead: instead.clone(), ..drop_in }.text();
            check_size(Path::new(&name), &text, containers::LARGEST)?;
            Ok(Edited::new(text, [Effect::Added(1, Entry::CredentialHelpers)]))
        }))
    })
}

/// Returns the edits that take the helper out of these drop-ins, with the list unless somebody has added a helper to it.
pub(super) fn remove_drop_ins(env: &Env) -> Result<Vec<Change<'static>>, Error> {
    change_drop_ins(env, |_, _| {
        Ok(Box::new(|text| {
            let Some(mut drop_in) = DropIn::parse(text).filter(|drop_in| !drop_in.names.is_empty()) else {
                return Ok(Edited::new(text, []));
            };
            drop_in.names.retain(|name| name != HELPER_NAME);
            if drop_in.names.is_empty() || drop_in.names == drop_in.instead {
                return Ok(Edited::new(drop_in.others, [Effect::Removed(1, Entry::CredentialHelpers)]));
            }
            Ok(Edited::new(drop_in.text(), []))
        }))
    })
}

fn names(helpers: Vec<CredentialHelper>) -> Vec<String> {
    helpers.into_iter().map(|helper| helper.name).collect()
}

/// Returns the edit of the drop-in in each directory that some version of podman reads, by the first rules that read it.
fn change_drop_ins(
    env: &Env,
    edit: impl Fn(Rules, &PathBuf) -> Result<Box<Edit<'static>>, Error>,
) -> Result<Vec<Change<'static>>, Error> {
    let program = Rules::installed(env).program;
    let mut changes: Vec<Change> = Vec::new();
    for era in [Era::UpTo5, Era::From6] {
        let Some(path) = containers::own_drop_in(env, era) else { continue };
        if changes.iter().all(|change| change.path != path) {
            let edit = edit(Rules { era, program }, &path)?;
            changes.push(Change { path, masked: str::to_owned, edit });
        }
    }
    if changes.is_empty() { Err(no_home()) } else { Ok(changes) }
}
