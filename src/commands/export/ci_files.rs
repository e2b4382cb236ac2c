//! The files to which the steps of a CI job append, and what a password in one of them would become.
//!
//! What a step of GitHub Actions appends to `$GITHUB_ENV` and `$GITHUB_OUTPUT` becomes variables and outputs of later steps, whose log
//! shows them unless the runner was told to mask them. It reads the commands for that from what a step prints, on
//! standard error too, and from no file. The others are published as they are, or are read for something else.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::format;
use crate::env::Env;
use crate::error::Error;
use crate::platform::{self, Stream};
use crate::token::Token;

/// The variable by which CircleCI names a file that the shell of each later step reads.
pub(super) const OF_A_SHELL: &str = "BASH_ENV";

/// The variables by which CI systems name files of variables that every step appends to.
const APPENDED: [&str; 3] = ["GITHUB_ENV", "GITHUB_OUTPUT", OF_A_SHELL];

/// The variables by which GitHub Actions names files whose lines everybody may read who can read the repository, or other steps get for
/// something else.
const PUBLISHED: [&str; 3] = ["GITHUB_PATH", "GITHUB_STEP_SUMMARY", "GITHUB_STATE"];

/// The fix where a file is not for a password.
const OTHER_FILE: &str = "name another file, e.g. in $RUNNER_TEMP";

/// Whether a runner of GitHub Actions reads what is printed.
pub(super) fn has_runner(env: &Env) -> bool {
    env.text("GITHUB_ACTIONS") == Some("true")
}

/// Refuses a file that GitHub publishes. A link may lead to another one after each write.
pub(super) fn check_unpublished(env: &Env, path: &Path) -> Result<(), Error> {
    let Some(name) = PUBLISHED.into_iter().find(|name| is_named_by(env, name, path)) else { return Ok(()) };
    Err(Error::usage(format!("--output ${name} would publish the password; {OTHER_FILE}")))
}

/// Refuses a file that holds the lines of earlier steps.
pub(super) fn check_kept(env: &Env, path: &Path, is_variables: bool) -> Result<(), Error> {
    let Some(name) = APPENDED.into_iter().find(|name| is_named_by(env, name, path)) else { return Ok(()) };
    let append = || format!("append instead: leave --output out and write >> \"${name}\"");
    let fix = if is_variables { append() } else { OTHER_FILE.to_owned() };
    Err(Error::usage(format!("--output replaces ${name} and would lose the lines of earlier steps; {fix}")))
}

/// Refuses a standard output that goes to a file that GitHub publishes.
pub(super) fn check_standard_output(env: &Env) -> Result<(), Error> {
    let Some(name) = goes_to(env, Stream::Output, &PUBLISHED) else { return Ok(()) };
    Err(Error::usage(format!("standard output is ${name}, which would publish the password; {OTHER_FILE}")))
}

/// Returns the variable that names the file of variables to which standard output goes.
pub(super) fn appended_output(env: &Env) -> Option<&'static str> {
    goes_to(env, Stream::Output, &APPENDED)
}

/// Refuses a standard error in which a command to mask a password would itself be published.
pub(super) fn check_standard_error(env: &Env) -> Result<(), Error> {
    let name = goes_to(env, Stream::Error, &PUBLISHED).or_else(|| goes_to(env, Stream::Error, &APPENDED));
    let Some(name) = name else { return Ok(()) };
    Err(Error::usage(format!(
        "standard error is ${name}, where the runner reads no command to mask the password; leave it to the log, without 2>"
    )))
}

/// Checks both streams of a command that prints a password alone.
pub(crate) fn check_streams(env: &Env) -> Result<(), Error> {
    check_standard_output(env)?;
    if is_shown_later(env) { check_standard_error(env) } else { Ok(()) }
}

/// Has a runner mask the password that such a command prints, if it becomes a variable or an output.
pub(crate) fn mask_if_shown_later(env: &Env, token: &Token) -> Result<(), Error> {
    if is_shown_later(env) {
        io::stderr().write_all(format::mask_commands(token).as_bytes()).map_err(Error::unwritten)?;
    }
    Ok(())
}

fn is_shown_later(env: &Env) -> bool {
    has_runner(env) && appended_output(env).is_some()
}

/// Returns which of these variables names the file that a stream goes to.
fn goes_to(env: &Env, stream: Stream, variables: &[&'static str]) -> Option<&'static str> {
    let is_file = |name: &&str| env.os(name).is_some_and(|path| platform::goes_to(stream, Path::new(path)));
    variables.iter().copied().find(is_file)
}

/// Whether a variable names this file, by this path or another one, whether it exists or not.
fn is_named_by(env: &Env, variable: &str, path: &Path) -> bool {
    let Some(named) = env.os(variable).map(Path::new) else { return false };
    platform::are_same_file(named, path) || real_path(named).is_some_and(|named| real_path(path) == Some(named))
}

/// The path of a file without links, of which the file itself need not exist.
fn real_path(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Ok(real) = fs::canonicalize(&path) {
            return Some(real);
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match fs::read_link(&path) {
            Ok(target) => path = dir.join(target),
            Err(_) => return Some(fs::canonicalize(dir).ok()?.join(path.file_name()?)),
        }
    }
    None
}

/// As many links to each other are followed, as by Linux (path_resolution(7)).
const MOST_LINKS: usize = 40;
