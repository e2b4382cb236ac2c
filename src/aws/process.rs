//! Runs a `credential_process` and reads the keys that it prints (AWS SDKs and Tools reference, "Process credential provider").

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Instant;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::context::Context;
use super::http::{PROCESS, RUN_BY_HAND};
use super::signing_keys::SigningKeys;
use super::worker::GRACE;
use crate::code::Code;
use crate::env::Env;
use crate::error::{Failure, system_limit};
use crate::fields::Fields;
use crate::identity::Process;
use crate::platform::{ChildError, Finished, Kill, run_child};

/// The version of the document that is defined.
const VERSION: u64 = 1;

/// Gets the keys that the `credential_process` of a profile prints.
pub(super) async fn credentials(process: &Process, context: &Context) -> Result<SigningKeys, Failure> {
    let Process { profile, command: line } = process;
    context.last.set_service(PROCESS, None);
    let command = command(line, context.env());
    // Before the deadline of the whole request, so that the message is about the process.
    let deadline = context.deadline.checked_sub(GRACE).unwrap_or(context.deadline);
    let run = timeout(
        (deadline + GRACE * 9 / 10).saturating_duration_since(Instant::now()),
        spawn_blocking(move || run_child(command, None, None, deadline)),
    );
    // To find thousands of descendants takes longer than there is.
    let run = run.await.unwrap_or(Ok(Err(ChildError::TimedOut(Kill::Part))));
    let _ = context.asked_until.set(Instant::now());
    match run.expect("running a process does not panic") {
        Ok(finished) => keys(profile, &finished),
        Err(error) => Err(no_answer(profile, &error)),
    }
}

/// The command, by the platform's shell. Like the shell itself, the programs that it names come from no relative directory.
fn command(line: &str, env: &Env) -> Command {
    let (shell, option) = if cfg!(windows) { ("cmd.exe", "/C") } else { ("sh", "-c") };
    let default = if cfg!(windows) { PathBuf::from(shell) } else { Path::new("/bin").join(shell) };
    let mut command = Command::new(env.find_program(shell).unwrap_or(default));
    // The environment that the identity was derived from.
    env.give_to(&mut command).arg(option).arg(line);
    command
}

fn keys(profile: &str, finished: &Finished) -> Result<SigningKeys, Failure> {
    let Finished { output, errors, status } = finished;
    if !status.success() {
        let errors = String::from_utf8_lossy(errors);
        let nothing = if errors.trim().is_empty() { ", and nothing on standard error" } else { "" };
        let failure = failed(profile, &format!("{status}{nothing}"));
        return Err(failure.own(was_ended(*status) || system_limit(&errors).is_some()).quoting_program(&errors));
    }
    let invalid = |why: &str| failed(profile, &format!("it printed no valid credentials: its output {why}"));
    let document = Fields::parse(output).ok_or_else(|| invalid("is not a JSON object"))?;
    if document.get("Version") != Some(VERSION) {
        return Err(invalid("does not have Version 1"));
    }
    let keys = SigningKeys::in_document(&document, "SessionToken").map_err(invalid)?;
    if is_expired(&document).map_err(invalid)? {
        return Err(Failure::new(
            Code::CredentialProcess,
            format!("the credential_process of profile '{profile}' printed credentials that have expired"),
            "sign in again with the program that it calls, or check this machine's clock",
        ));
    }
    Ok(keys)
}

/// Whether the keys have expired. A document without a time does not expire. The error completes a sentence about it.
fn is_expired(document: &Fields) -> Result<bool, &'static str> {
    let Some(text) = document.text("Expiration") else { return Ok(false) };
    let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| "has an Expiration that is no time in RFC 3339")?;
    Ok(at <= OffsetDateTime::now_utc())
}

/// Whether a signal ended the program, or what a shell ran for it: that of a person or of a job, which means this run alone.
fn was_ended(status: ExitStatus) -> bool {
    // A shell adds the number of the signal.
    const SHELL: std::ops::RangeInclusive<i32> = 129..=159;
    status.code().is_none_or(|code| SHELL.contains(&code))
}

fn failed(profile: &str, what: &str) -> Failure {
    Failure::new(
        Code::CredentialProcess,
        format!("the credential_process of profile '{profile}' failed: {what}"),
        "run it by hand in the same environment; it must print JSON with Version, AccessKeyId and SecretAccessKey",
    )
}

fn no_answer(profile: &str, error: &ChildError) -> Failure {
    if let Some(failure) = system_limit(&error.to_string()) {
        return failure.with_context(format!("cannot run the credential_process of profile '{profile}'"));
    }
    let hint = match error {
        ChildError::TimedOut(_) => &format!("{RUN_BY_HAND}, or raise AWS_ECR_TIMEOUT"),
        ChildError::Loop => "name a program that prints the keys without this helper",
        ChildError::NotStarted(_) => "check the shell, which runs it, and the limits on processes",
        ChildError::TooMuchOutput(..) | ChildError::Unreadable(_) => "run it by hand to see what it prints",
    };
    let what = format!("the credential_process of profile '{profile}' {error}");
    Failure::new(Code::CredentialProcess, what, hint)
}
