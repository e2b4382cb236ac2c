//! Another credential helper, for the registries that are not ECR's: `fallback = "NAME"` in the configuration.
//!
//! `docker-credential-NAME` from the PATH gets the request as it came, and its output and exit code become ours, byte for
//! byte, so that the client might as well have called it. What it cannot answer in time or in bounds is one line of
//! error that names it, never "not found": that would turn a broken set-up into an anonymous pull. Its standard error
//! is ours, for what it has to say to a person.
//!
//! Two threads beside the waiting one write its input and read its output, since either may block. At the deadline it
//! is killed with all that it has started (on macOS alone without). A variable in its environment marks the call; who is called with it, and
//! would hand on again, is in a loop.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tracing::debug;
use zeroize::Zeroizing;

use crate::env::Env;
use crate::error::Error;
use crate::{client_config, platform};

/// Set for the other helper, to its name.
const MARKER: &str = "DOCKER_CREDENTIAL_ECR_LOGIN_FALLBACK";

/// More is no answer. The list of a thousand registries has a tenth of it.
const LONGEST_OUTPUT: usize = 1024 * 1024;

/// Between its last output and its end.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// What the other helper answered.
pub struct Answer {
    /// Its standard output.
    pub output: Zeroizing<Vec<u8>>,
    /// Its exit code.
    pub code: u8,
}

/// Has `docker-credential-<name>` do `action` with `input`, by `deadline`.
pub fn ask(env: &Env, name: &str, action: &str, input: Zeroizing<Vec<u8>>, deadline: Instant) -> Result<Answer, Error> {
    let program = format!("docker-credential-{name}");
    let failed = |what: &str| Error::failed(format!("the fallback helper {program} {what}"));
    refuse_loop(env)?;
    platform::gather_descendants();
    // The standard library looks for programs whose names end in .exe, and Windows has more endings.
    let path = if cfg!(windows) { client_config::on_path(env, &program) } else { None };
    let mut child = Command::new(path.as_deref().unwrap_or(Path::new(&program)))
        .arg(action)
        .env(MARKER, name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                failed("is not on the PATH; install it, or take 'fallback' out of the configuration")
            }
            _ => failed(&format!("cannot be started: {error}; fix that, or take 'fallback' out of the configuration")),
        })?;
    let result = converse(&mut child, input, deadline);
    if result.is_err() {
        platform::kill_descendants();
        // For the systems where the former finds nobody.
        let _ = child.kill();
    }
    let (output, status) = result.map_err(|what| failed(&what))?;
    debug!(program, action, %status, "handed on");
    match status.code() {
        // Codes beyond a byte exist on Windows alone, and none is a success.
        Some(code) => Ok(Answer { output, code: u8::try_from(code).unwrap_or(1) }),
        None => Err(failed(&format!("died ({status}); run it by hand to see why"))),
    }
}

/// A call that came from [`ask`] may not be handed on again.
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

/// Its whole output and how it ended, or what it did instead.
fn converse(
    child: &mut Child,
    input: Zeroizing<Vec<u8>>,
    deadline: Instant,
) -> Result<(Zeroizing<Vec<u8>>, ExitStatus), String> {
    let (mut to, from) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    // It may answer and end without reading all of its input.
    thread::spawn(move || to.write_all(&input));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = Zeroizing::new(Vec::with_capacity(64 * 1024));
        let read = from.take(LONGEST_OUTPUT as u64 + 1).read_to_end(&mut output);
        sender.send(read.map(|_| output))
    });
    let output = receiver
        .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        .map_err(|_| TOO_LONG.to_owned())?
        .map_err(|error| format!("cannot be read: {error}"))?;
    if output.len() > LONGEST_OUTPUT {
        return Err("printed more than 1 MiB, which is no answer; run it by hand to see what".to_owned());
    }
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok((output, status)),
            Ok(None) if Instant::now() < deadline => thread::sleep(BETWEEN_LOOKS),
            Ok(None) => return Err(TOO_LONG.to_owned()),
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
    }
}

const TOO_LONG: &str = "did not answer in time and was stopped; run it by hand to see why, or raise AWS_ECR_TIMEOUT";
