//! Calls another credential helper for the registries that are not ECR's: `fallback = "NAME"` in the configuration.
//!
//! `docker-credential-NAME` from the PATH gets the request unchanged, and its output and exit code are passed on byte for byte,
//! as if the client had called it. When it cannot answer within the limits of time and size, the answer is one line of error that
//! names it, never "not found", which would turn a broken setup into an anonymous pull. It inherits standard error, for messages
//! to the user.
//!
//! One thread writes its input and another one reads its output, since either may block. At the deadline it is killed together
//! with its descendants (on macOS without them). A variable in its environment marks the call: a helper that was called with
//! it and would call a fallback again is in a loop.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use log::debug;
use zeroize::Zeroizing;

use crate::env::Env;
use crate::error::Error;
use crate::{client_config, platform};

/// The variable that marks the call, with the name of the other helper.
const MARKER: &str = "DOCKER_CREDENTIAL_ECR_LOGIN_FALLBACK";

/// The size limit of the output, in bytes. The list of a thousand registries has a tenth of it.
const LONGEST_OUTPUT: usize = 1024 * 1024;

/// The pause between two checks whether the process has ended, after the end of its output.
const PAUSE: Duration = Duration::from_millis(1);

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
    platform::gather_descendants();
    let program = format!("docker-credential-{name}");
    let mut child = start(env, name, &program, action)?;
    let finished = converse(&mut child, &program, input, deadline).inspect_err(|_| {
        platform::kill_descendants();
        // For systems on which the former finds no process.
        let _ = child.kill();
    });
    let Finished { output, status } = finished?;
    debug!(program, action, status:%; "the fallback helper answered");
    match status.code() {
        // Codes beyond a byte exist on Windows alone, and none of them is a success.
        Some(code) => Ok(Answer { output, code: u8::try_from(code).unwrap_or(1) }),
        None => Err(failed(&program, &format!("was killed ({status}); run it by hand to see why"))),
    }
}

/// Fails when this process was itself called by [`ask`].
pub fn refuse_loop(env: &Env) -> Result<(), Error> {
    match env.os(MARKER) {
        None => Ok(()),
        Some(name) => Err(Error::failed(format!(
            "the fallback helper docker-credential-{} leads back to ecr-login; name another one in the \
             configuration",
            name.to_string_lossy()
        ))),
    }
}

fn start(env: &Env, name: &str, program: &str, action: &str) -> Result<Child, Error> {
    // On Windows, the standard library finds only programs with the ending .exe.
    let path = if cfg!(windows) { client_config::on_path(env, program) } else { None };
    let child = Command::new(path.as_deref().unwrap_or(Path::new(program)))
        .arg(action)
        .env(MARKER, name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    child.map_err(|error| {
        let problem = if error.kind() == io::ErrorKind::NotFound {
            "is not on the PATH; install it".to_owned()
        } else {
            format!("cannot be started: {error}; correct its mode or replace it")
        };
        failed(program, &format!("{problem}, or remove 'fallback' from the configuration"))
    })
}

/// The other helper's output and exit status.
struct Finished {
    output: Zeroizing<Vec<u8>>,
    status: ExitStatus,
}

fn converse(child: &mut Child, program: &str, input: Zeroizing<Vec<u8>>, deadline: Instant) -> Result<Finished, Error> {
    let (mut stdin, stdout) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    // A failed write is no error: the helper may answer without reading all of its input.
    thread::spawn(move || stdin.write_all(&input));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = Zeroizing::new(Vec::with_capacity(64 * 1024));
        let read = stdout.take(LONGEST_OUTPUT as u64 + 1).read_to_end(&mut output);
        sender.send(read.map(|_| output))
    });
    let output = receiver
        .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        .map_err(|_| timed_out(program))?
        .map_err(|error| failed(program, &format!("cannot be read: {error}")))?;
    if output.len() > LONGEST_OUTPUT {
        return Err(failed(
            program,
            "printed more than 1 MiB, the limit for an answer; run it by hand to see what it prints",
        ));
    }
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Finished { output, status }),
            Ok(None) if Instant::now() < deadline => thread::sleep(PAUSE),
            Ok(None) => return Err(timed_out(program)),
            Err(error) => return Err(failed(program, &format!("cannot be waited for: {error}"))),
        }
    }
}

fn failed(program: &str, what: &str) -> Error {
    Error::failed(format!("the fallback helper {program} {what}"))
}

fn timed_out(program: &str) -> Error {
    failed(program, "did not answer in time and was stopped; run it by hand to see why, or raise AWS_ECR_TIMEOUT")
}
