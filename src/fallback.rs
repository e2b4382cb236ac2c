//! Calls another credential helper for the registries that are not ECR's: `fallback = "NAME"` in the configuration.
//!
//! `docker-credential-NAME` from the PATH gets the request unchanged. Its credentials are passed on byte for byte, once they are of a
//! form that every client reads in the same way, and its exit code as it is, as if the client had called it; other text that it
//! prints is cleaned, since clients show it. When it cannot answer
//! within the limits of time and size, the answer is one line of error that names it, never "not found", which would turn a broken
//! setup into an anonymous pull. It may wait for a person, so its standard error is passed on, cleaned, as it comes.
//! [`run_child`] keeps the limits.
//!
//! A variable in its environment marks the call: a helper that was called with it and would call a fallback again is in a loop.
//! Where a wrapper clears the environment, [`run_child`] finds the loop.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use log::debug;
use zeroize::Zeroizing;

use crate::client_config::Members;
use crate::code::Code;
use crate::env::Env;
use crate::error::{Error, Failure, NOT_FOUND, acts_on_terminal, one_line, printable, system_limit};
use crate::platform::{ChildError, Finished, Relay, run_child};

/// The variable that marks the call, with the name of the other helper.
const MARKER: &str = "DOCKER_CREDENTIAL_ECR_LOGIN_FALLBACK";

/// The answer of the other helper.
pub struct Answer {
    /// Its standard output.
    pub output: Zeroizing<Vec<u8>>,
    /// Its exit code.
    pub code: u8,
}

/// Calls `docker-credential-<name>` for `action` with `input`, and returns its answer by `deadline`.
pub fn ask(env: &Env, name: &str, action: &str, input: Zeroizing<Vec<u8>>, deadline: Instant) -> Result<Answer, Error> {
    refuse_loop(env)?;
    let program = program(name);
    // A file that is not executable is started too, so that the message can say so.
    let any_file = || env.search_path().map(|directory| directory.join(&program)).find(|path| path.is_file());
    let mut command = Command::new(find(env, name).or_else(|missing| any_file().ok_or(missing))?);
    env.give_to(&mut command).arg(action).env(MARKER, name);
    let finished = run_child(command, Some(input), Some(relay()), deadline);
    let Finished { output, errors, status } = finished.map_err(|error| no_answer(&program, &error))?;
    debug!(program, action, status:%; "the fallback helper answered");
    let Some(code) = status.code() else {
        return Err(failed(&program, format!("was killed ({status})"), BY_HAND).into());
    };
    let output = match (code, action) {
        (0, "get") => {
            check_credential(&output).map_err(|what| failed(&program, what, "correct what it has stored"))?;
            output
        }
        // The caller reads it.
        (0, "list") => output,
        (0, _) => line(&output),
        _ if output.trim_ascii() == NOT_FOUND.as_bytes() => output,
        _ => {
            let line = line(&output);
            if line.is_empty() { silent_failure(&program, code, &errors) } else { line }
        }
    };
    // Codes beyond a byte exist on Windows alone, and none of them is a success.
    Ok(Answer { output, code: u8::try_from(code).unwrap_or(1) })
}

/// Writes cleaned pieces of standard error to that of this process.
fn relay() -> Relay {
    let mut pending = Vec::new();
    Box::new(move |piece| {
        pending.extend_from_slice(piece);
        let text = pending.drain(..pending.len() - begun_character(&pending)).collect::<Vec<_>>();
        let _ = io::stderr().write_all(printable(&String::from_utf8_lossy(&text)).as_bytes());
    })
}

/// How many bytes at the end are the beginning of a character whose other bytes are still to come.
fn begun_character(bytes: &[u8]) -> usize {
    let end = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let is_begun = str::from_utf8(end).is_err_and(|error| error.error_len().is_none());
    if is_begun { end.len() } else { 0 }
}

/// One cleaned line; nothing for white space.
fn line(output: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut line = Zeroizing::new(one_line(&String::from_utf8_lossy(output)).into_bytes());
    if !line.is_empty() {
        line.push(b'\n');
    }
    line
}

/// The answer of a program that says on standard error alone why it failed.
fn silent_failure(program: &str, code: i32, errors: &[u8]) -> Zeroizing<Vec<u8>> {
    let failure = failed(program, format!("failed with exit code {code} and printed nothing"), BY_HAND);
    let error = Error::from(failure.quoting_program(&String::from_utf8_lossy(errors)));
    Zeroizing::new(format!("{error}\n").into_bytes())
}

/// Refuses what is no credentials, or what a terminal would take for something else. A user or secret that is null or missing is an empty
/// one for docker (the client of docker-credential-helpers), so that it passes. Go's decoder, which most clients use, knows a name in
/// any letters, ſ for s too, and of two values takes the last that is not null.
fn check_credential(output: &[u8]) -> Result<(), String> {
    let is_white = |c: char| matches!(c, '\n' | '\r' | '\t');
    let Members(fields) = str::from_utf8(output)
        .ok()
        .filter(|text| !text.contains(|c| acts_on_terminal(c) && !is_white(c)))
        .and_then(|text| serde_json::from_str::<Members>(text).ok())
        .ok_or("printed no credentials in JSON")?;
    let mut seen = Vec::new();
    for (name, value) in &fields {
        let mut known = ["ServerURL", "Username", "Secret"].into_iter();
        let known = known.find(|known| name.to_uppercase() == known.to_uppercase());
        let text = serde_json::from_str::<Option<String>>(value.get());
        if let Some(known) = known {
            if seen.contains(&known) {
                return Err(format!("printed two values of {known}"));
            }
            if text.is_err() {
                return Err(format!("printed a {known} that is no text"));
            }
            seen.push(known);
        }
        // The key of a service account of Google is a password of several lines.
        let is_bad = |c: char| acts_on_terminal(c) && !(known == Some("Secret") && is_white(c));
        if text.is_ok_and(|text| text.is_some_and(|text| text.contains(is_bad))) {
            return Err(format!("printed a {} with control or invisible characters", one_line(name)));
        }
    }
    Ok(())
}

/// Fails when this process was itself called by [`ask`].
pub fn refuse_loop(env: &Env) -> Result<(), Error> {
    let Some(name) = env.os(MARKER) else { return Ok(()) };
    Err(no_answer(&program(&name.to_string_lossy()), &ChildError::Loop).into())
}

/// Finds the program on the PATH.
pub fn find(env: &Env, name: &str) -> Result<PathBuf, Failure> {
    let missing = || format!("the fallback helper {} is not on the PATH", program(name));
    env.find_program(&program(name)).ok_or_else(|| Failure::usual(Code::FallbackMissing, missing()))
}

fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

fn no_answer(program: &str, error: &ChildError) -> Failure {
    if let Some(failure) = system_limit(&error.to_string()) {
        return failure.with_context(format!("cannot run the fallback helper {program}"));
    }
    let hint = match error {
        ChildError::NotStarted(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = "cannot be started: the interpreter in its first line does not exist";
            return failed(program, what, "install the interpreter, or replace the helper");
        }
        ChildError::Loop => "name another one in the configuration",
        ChildError::NotStarted(_) => "correct its mode or replace it, or remove 'fallback' from the configuration",
        ChildError::TimedOut(_) => "run it by hand to see why, or raise AWS_ECR_TIMEOUT",
        ChildError::TooMuchOutput(..) | ChildError::Unreadable(_) => "run it by hand to see what it prints",
    };
    failed(program, error, hint)
}

const BY_HAND: &str = "run it by hand to see why";

fn failed(program: &str, what: impl Display, hint: &str) -> Failure {
    Failure::new(Code::FallbackFailed, format!("the fallback helper {program} {what}"), hint)
}
