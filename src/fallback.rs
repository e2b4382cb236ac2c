//! Calls another credential helper for the registries that are not ECR's: `fallback = "NAME"` in the configuration.
//!
//! `docker-credential-NAME` from the PATH gets the request unchanged, and its output and exit code are passed on byte for byte,
//! as if the client had called it. When it cannot answer within the limits of time and size, the answer is one line of error that
//! names it, never "not found", which would turn a broken setup into an anonymous pull. It inherits standard error, for messages
//! to the user, and may wait for a person. [`run_child`] keeps the limits.
//!
//! A variable in its environment marks the call: a helper that was called with it and would call a fallback again is in a loop.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use log::debug;
use zeroize::Zeroizing;

use crate::code::Code;
use crate::env::Env;
use crate::error::Error;
use crate::platform::{ChildError, Finished, run_child};

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
    let program = format!("docker-credential-{name}");
    let mut command = Command::new(find(env, &program)?);
    // Of a variable that is set twice, the first value.
    command.env_clear().envs(env.iter());
    command.arg(action).env(MARKER, name);
    let finished = run_child(command, Some(input), deadline).map_err(|error| no_answer(&program, &error))?;
    let Finished { output, status, .. } = finished;
    debug!(program, action, status:%; "the fallback helper answered");
    match status.code() {
        // Codes beyond a byte exist on Windows alone, and none of them is a success.
        Some(code) => Ok(Answer { output, code: u8::try_from(code).unwrap_or(1) }),
        None => Err(failed(&program, format!("was killed ({status})"), "run it by hand to see why")),
    }
}
/// Fails when this process was itself called by [`ask`].
pub fn refuse_loop(env: &Env) -> Result<(), Error> {
    match env.os(MARKER) {
        None => Ok(()),
        Some(name) => Err(failed(
            &format!("docker-credential-{}", name.to_string_lossy()),
            "leads back to ecr-login",
            "name another one in the configuration",
        )),
    }
}

/// Finds the program on the PATH. A file that is not executable is found too, so that the message can say so.
fn find(env: &Env, program: &str) -> Result<PathBuf, Error> {
    let any_file = || env.search_path().map(|directory| directory.join(program)).find(|path| path.is_file());
    env.find_program(program).or_else(any_file).ok_or_else(|| {
        let what = format!("the fallback helper {program} is not on the PATH");
        Error::failed(Code::FallbackMissing, what, "install it, or remove 'fallback' from the configuration")
    })
}

fn no_answer(program: &str, error: &ChildError) -> Error {
    let hint = match error {
        ChildError::NotStarted(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = "cannot be started: the interpreter in its first line does not exist";
            return failed(program, what, "install the interpreter, or replace the helper");
        }
        ChildError::NotStarted(_) => "correct its mode or replace it, or remove 'fallback' from the configuration",
        ChildError::TimedOut => "run it by hand to see why, or raise AWS_ECR_TIMEOUT",
        ChildError::TooMuchOutput(_) | ChildError::Unreadable(_) => "run it by hand to see what it prints",
    };
    failed(program, error, hint)
}

fn failed(program: &str, what: impl Display, hint: &str) -> Error {
    Error::failed(Code::FallbackFailed, format!("the fallback helper {program} {what}"), hint)
}
