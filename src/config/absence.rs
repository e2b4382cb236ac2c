//! Tells a configuration that does not exist from one that cannot be reached, which may map a registry to another identity.

use std::io;
use std::path::Path;

use super::invalid;
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::platform;

/// What is at the path of the configuration.
pub(super) enum Place {
    /// A file or something else.
    Taken,
    /// Nothing.
    Empty,
    /// A home directory of another user that this one cannot enter, e.g. that of root in a container with another user. What may be in
    /// there is not meant for this user, and counts as absent.
    InClosedHome(Failure),
}

/// Whether the default configuration counts as absent.
pub(crate) fn is_absent(path: &Path, env: &Env) -> bool {
    matches!(follow(path, &env.home().unwrap_or_default()), Ok(Place::Empty | Place::InClosedHome(_)))
}

/// Follows the path of the configuration. Fails where something is in the way: a directory that cannot be entered, a link that leads
/// nowhere.
pub(super) fn look(path: &Path, env: &Env) -> Result<Place, Failure> {
    let place = follow(path, &env.home().unwrap_or_default())?;
    // The home directory, or one above it, may be such a link too.
    match (&place, platform::dangling_link(path)) {
        (Place::Empty, Some(link)) => Err(leads_nowhere(path, link, &io::ErrorKind::NotFound.into())),
        _ => Ok(place),
    }
}

/// Follows the path below the home directory if it is there.
fn follow(path: &Path, home: &Path) -> Result<Place, Failure> {
    let steps: Vec<&Path> = path.ancestors().take_while(|step| !home.starts_with(step)).collect();
    for step in steps.into_iter().rev() {
        let there = match step.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::Empty),
            Err(error) if step.parent() == Some(home) && is_no_home_of_own(home, &error) => {
                return Ok(Place::InClosedHome(closed(home, &error)));
            }
            Err(error) => {
                let dir = step.parent().unwrap_or(step).display();
                return Err(blocked(
                    path,
                    &format!("the directory {dir} cannot be entered: {error}"),
                    "let this user enter it",
                ));
            }
            Ok(link) if link.is_symlink() => step.metadata().map_err(|error| leads_nowhere(path, step, &error))?,
            Ok(there) => there,
        };
        if step != path && !there.is_dir() {
            return Err(blocked(path, &format!("{} is no directory", step.display()), "correct the path"));
        }
    }
    Ok(Place::Taken)
}

/// Whether a home directory that cannot be entered is not this user's: it is another user's, or none, e.g. /dev/null.
fn is_no_home_of_own(home: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory || platform::other_owner_of_home(home).is_some()
}

fn leads_nowhere(path: &Path, link: &Path, error: &io::Error) -> Failure {
    let what = format!("the symbolic link {} leads nowhere: {error}", link.display());
    blocked(path, &what, "correct the link")
}

fn blocked(path: &Path, what: &str, hint: &str) -> Failure {
    let elsewhere = "point AWS_ECR_CONFIG_FILE elsewhere, e.g. to /dev/null to have none";
    invalid(format!("cannot read the configuration {}: {what}", path.display()), format!("{hint}, or {elsewhere}"))
}

fn closed(home: &Path, error: &io::Error) -> Failure {
    let what = format!(
        "the home directory {} cannot be entered ({error}): a configuration there does not count",
        home.display()
    );
    let hint = format!("set {} to the home directory of the user who runs this", Env::HOME);
    Failure::new(Code::SettingPassedOver, what, hint)
}
