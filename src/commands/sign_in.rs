//! `login`: a token that a person requests.
//!
//! A credential helper cannot prompt, since docker gives it no terminal. `login` prompts in advance for the code of an MFA
//! device where a role or a user requires one, and runs `aws sso login` or `aws login` where the sign-in has expired. Then
//! it requests an ECR token and caches it under the key that a `get` with the same settings looks up, so that docker works
//! until the token expires.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use crate::NAME;
use crate::aws::{Exchange, MfaCode};
use crate::code::Code;
use crate::commands::cached_tokens::print_line;
use crate::config::{Config, Target};
use crate::display_time::{LocalTime, describe_duration};
use crate::env::Env;
use crate::error::{Error, Failure, print_notice};
use crate::identity::{Identity, MfaDevice, Watch};
use crate::platform::{aws_command, run_for_person, with_command};
use crate::terminal;
use crate::token_provider::{self, Authenticator, MOST_CHANGES, Resolved, Stop};

/// How often the user may try another MFA code.
const MOST_CODES: usize = 3;

/// Arguments of `login`.
#[derive(Args, Debug)]
pub struct Login {
    /// A registry
    #[arg(value_name = "HOST")]
    host: String,
}

impl Login {
    /// Prompts for codes, signs in where needed, requests a token and caches it.
    pub fn run(&self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let local_time = LocalTime::of_process();
        let (config, target) = token_provider::named_target(env, &self.host, Instant::now())?;
        let (identity, resolved) = open_session(env, &config, &target)?;
        let deadline = Instant::now() + config.timeout();
        let issued = token_provider::log_in(env, &config, &target, &identity, &resolved, deadline)?;
        let until = issued.expires_at().map(|at| format!(", until {}", local_time.show(at))).unwrap_or_default();
        let valid = issued.valid_for.map(describe_duration).unwrap_or_default();
        let line = format!("logged in to {}: the cached token is valid for {valid}{until}", target.host);
        print_line(output, &line)
    }
}

/// Resolves the credentials, with MFA codes and sign-ins where needed.
fn open_session(env: &Env, config: &Config, target: &Target) -> Result<(Arc<Identity>, Resolved), Error> {
    let failed = |failure| token_provider::in_context(target, failure);
    let deadline = || Instant::now() + config.timeout();
    let authenticator = Authenticator::new(env, target, Exchange::default());
    let (mut signed_in, mut codes_asked, mut changes) = (false, 0, 0);
    loop {
        let identity = match authenticator.identity(deadline()) {
            Err(failure) if is_signed_out(&failure) && !signed_in => {
                sign_in(env, &Identity::read(env, target, deadline()).map_err(failed)?, &failure)?;
                signed_in = true;
                continue;
            }
            identity => identity.map_err(failed)?,
        };
        // A code is valid once.
        token_provider::writable_cache(env, &identity)
            .map_err(|why| why.with_context(format!("a token for {} cannot be cached", target.host)))?;
        Watch::wait_until_settled(&identity);
        let devices = identity.mfa_devices();
        let codes = devices.iter().map(|device| ask_for_code(device, &target.host)).collect::<Result<Vec<_>, _>>()?;
        codes_asked += 1;
        match authenticator.resolve(&identity, &codes, identity.deadline(target, deadline())) {
            Ok(resolved) => return Ok((identity, resolved)),
            Err(Stop::SettingsChanged) if changes < MOST_CHANGES => changes += 1,
            Err(Stop::SettingsChanged) => return Err(failed(token_provider::unsettled()).into()),
            Err(Stop::Failed(failure)) if is_signed_out(&failure) && !signed_in => {
                sign_in(env, &identity, &failure)?;
                signed_in = true;
            }
            Err(Stop::Failed(failure))
                if failure.code == Code::MfaRequired && !codes.is_empty() && codes_asked < MOST_CODES =>
            {
                print_notice(&failure.what);
            }
            Err(Stop::Failed(failure)) => return Err(failed(failure).into()),
        }
    }
}

fn is_signed_out(failure: &Failure) -> bool {
    matches!(failure.code, Code::SsoExpired | Code::LoginExpired)
}

/// Prompts for a code on the terminal, even if standard input is redirected.
fn ask_for_code(device: &MfaDevice, host: &str) -> Result<MfaCode, Error> {
    let serial = &device.serial;
    for _ in 0..MOST_CODES {
        let typed = terminal::ask(&format!("MFA code of {serial}: ")).map_err(|error| {
            let what = format!("cannot prompt for the MFA code of {serial}: {error}");
            let how = if terminal::is_there() { "run this again" } else { "run this on a terminal" };
            Error::failed(Code::Unanswered, what, with_command(how, &format!("{NAME} login {{}}"), &[host]))
        })?;
        // Authenticator apps show a code in two groups.
        let code: String = typed.split_whitespace().collect();
        if code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(MfaCode::new(device.clone(), &code));
        }
        print_notice("an MFA code has 6 digits");
    }
    Err(Error::failed(Code::Unanswered, format!("no MFA code of {serial}"), "run the command again"))
}

/// Runs the AWS CLI to sign in, on this terminal.
fn sign_in(env: &Env, identity: &Identity, failure: &Failure) -> Result<(), Error> {
    let Some((words, profile)) = identity.source().sign_in_command() else { return Err(failure.clone().into()) };
    let command = aws_command(words, profile);
    let Some(program) = env.find_program("aws") else {
        let what = format!("{}, and the AWS CLI is not on the PATH", failure.what);
        return Err(Error::failed(failure.code, what, format!("install it: {command} renews the sign-in")));
    };
    print_notice(&format!("{}; running {command}", failure.what));
    let mut start = Command::new(program);
    env.give_to(&mut start).args(words.split(' ')).args(["--profile", profile]);
    match run_for_person(start) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::failed(failure.code, format!("{command} failed: {status}"), "try again")),
        Err(error) => Err(Error::failed(failure.code, format!("{command} {error}"), "check the AWS CLI on the PATH")),
    }
}
