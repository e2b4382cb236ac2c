//! `login`, `logout` and `cache`: tokens that a person requests, removes and lists.
//!
//! A credential helper cannot prompt, since docker gives it no terminal. `login` prompts in advance for the code of an MFA
//! device where a role or a user requires one, and runs `aws sso login` or `aws login` where the sign-in has expired. Then
//! it requests an ECR token and caches it under the key that a `get` with the same settings looks up, so that docker works
//! until the token expires.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, Subcommand};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::NAME;
use crate::aws::{self, MfaCode, Renewal, Session};
use crate::cache::{Cache, Freshness};
use crate::client_config::on_path;
use crate::code::Code;
use crate::config::{Config, Target};
use crate::display_time::{LocalTime, describe_duration};
use crate::env::Env;
use crate::error::{Error, Failure, one_line, print_notice, printable, printable_json};
use crate::identity::{Identity, MfaDevice, Source};
use crate::platform::shell_word;
use crate::{terminal, token_provider};

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
        let (identity, session) = open_session(env, &config, &target)?;
        let failed = |failure| token_provider::in_context(&target, failure);
        let issued = session.request_token(Instant::now() + config.timeout()).map_err(failed)?;
        let expires_at = issued.valid_for.and_then(|life| OffsetDateTime::now_utc().checked_add(life.try_into().ok()?));
        token_provider::keep(env, &config, &target, &identity, &issued).map_err(|why| {
            why.with_context(format!("AWS gave a token for {}, but it cannot be cached", target.host))
        })?;
        let until = expires_at.map(|at| format!(", until {}", local_time.show(at))).unwrap_or_default();
        let valid = issued.valid_for.map(describe_duration).unwrap_or_default();
        print(output, &format!("logged in to {}: the cached token is valid for {valid}{until}", target.host))
    }
}

/// Resolves the credentials, with MFA codes and sign-ins where needed.
fn open_session(env: &Env, config: &Config, target: &Target) -> Result<(Arc<Identity>, Session), Error> {
    let failed = |failure| token_provider::in_context(target, failure);
    let deadline = || Instant::now() + config.timeout();
    let (mut signed_in, mut renewed, mut codes_asked) = (false, false, 0);
    loop {
        let identity = Arc::new(Identity::of(env, target, deadline()).map_err(failed)?);
        // A service may give a sign-in that expires at once.
        if !renewed && aws::renew_sign_in(target, &identity, deadline()).map_err(failed)? == Renewal::Renewed {
            renewed = true;
            continue;
        }
        // A code is valid once.
        token_provider::writable_cache(env, &identity)
            .map_err(|why| why.with_context(format!("a token for {} cannot be cached", target.host)))?;
        let codes = ask_for_codes(&identity.mfa_devices(), &target.host)?;
        codes_asked += 1;
        match Session::open_with(target, &identity, &codes, identity.deadline(target, deadline())) {
            Ok(session) => return Ok((identity, session)),
            Err(failure) if is_expired(failure.code) && !signed_in => {
                sign_in(env, &identity, &failure)?;
                signed_in = true;
            }
            Err(failure) if failure.code == Code::MfaRequired && !codes.is_empty() && codes_asked < MOST_CODES => {
                print_notice(&failure.what);
            }
            Err(failure) => return Err(failed(failure).into()),
        }
    }
}

fn is_expired(code: Code) -> bool {
    matches!(code, Code::SsoExpired | Code::LoginExpired)
}

/// Prompts for one code for each device, on the terminal, even if standard input is redirected.
fn ask_for_codes(devices: &[MfaDevice], host: &str) -> Result<Vec<MfaCode>, Error> {
    devices.iter().map(|device| ask_for_code(device, host)).collect()
}

fn ask_for_code(device: &MfaDevice, host: &str) -> Result<MfaCode, Error> {
    let serial = device.serial();
    for _ in 0..MOST_CODES {
        let typed = terminal::ask(&format!("MFA code of {serial}: ")).map_err(|error| {
            let what = format!("cannot prompt for the MFA code of {serial}: {error}");
            Error::failed(Code::Unanswered, what, format!("run '{NAME} login {host}' on a terminal"))
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
    let (args, profile): (&[&str], &str) = match identity.source() {
        Source::Sso(sso) => (&["sso", "login"], &sso.profile),
        Source::Login { profile, .. } => (&["login"], profile),
        _ => return Err(failure.clone().into()),
    };
    let command = format!("aws {} --profile {}", args.join(" "), shell_word(profile));
    let Some(program) = on_path(env, "aws") else {
        let what = format!("{}, and the AWS CLI is not on the PATH", failure.what);
        return Err(Error::failed(failure.code, what, format!("install it: '{command}' renews the sign-in")));
    };
    print_notice(&format!("{}; running '{command}'", failure.what));
    let status = Command::new(program)
        .args(args)
        .args(["--profile", profile])
        .env_clear()
        .envs(env.iter())
        // Standard output is reserved for the result of this command.
        .stdout(Stdio::from(std::io::stderr()))
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::failed(failure.code, format!("'{command}' failed: {status}"), "try again")),
        Err(error) => {
            let what = format!("'{command}' cannot be run: {error}");
            Err(Error::failed(failure.code, what, "check the AWS CLI on the PATH"))
        }
    }
}

/// Arguments of `logout`.
#[derive(Args, Debug)]
#[command(
    override_usage = "docker-credential-ecr-login logout <HOST>\n       docker-credential-ecr-login logout --all"
)]
pub struct Logout {
    /// A registry; removes every token that opens it
    #[arg(value_name = "HOST", required_unless_present = "all", conflicts_with = "all")]
    host: Option<String>,
    /// Remove all cached tokens
    #[arg(long)]
    all: bool,
}

impl Logout {
    /// Removes tokens and prints how many.
    pub fn run(&self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let Some(host) = &self.host else { return clear(env, false, output) };
        let (_, target) = token_provider::named_target(env, host, Instant::now())?;
        let count = token_provider::erase_of_everyone(env, &target)?;
        let host = &target.host;
        print(
            output,
            &match count {
                0 => format!("no cached token for {host}"),
                1 => format!("logged out of {host}: its cached token is removed"),
                _ => format!("logged out of {host}: its {count} cached tokens are removed"),
            },
        )
    }
}

/// Arguments of `cache`.
#[derive(Args, Debug)]
pub struct Tokens {
    #[command(subcommand)]
    action: Option<CacheAction>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum CacheAction {
    /// List the cached tokens (default)
    List,
    /// Remove all of them
    Clear,
}

/// One cached token.
#[derive(Serialize)]
struct Row {
    registries: Vec<String>,
    /// A description of the identity.
    identity: Option<String>,
    /// In RFC 3339.
    expiry: String,
    expired: bool,
    /// In bytes.
    size: u64,
}

impl Tokens {
    /// Lists or removes the tokens.
    pub fn run(&self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let local_time = LocalTime::of_process();
        if let Some(CacheAction::Clear) = self.action {
            return clear(env, self.json, output);
        }
        let cache = open(env)?;
        let manifests: Vec<_> = cache.manifests().collect();
        let mut rows = Vec::new();
        let mut lines = Vec::new();
        for (entry, size) in cache.tokens() {
            let of_entry = || manifests.iter().filter(|manifest| manifest.entry == entry.key());
            let mut registries: Vec<String> = of_entry().map(|manifest| manifest.host.clone()).collect();
            registries.sort();
            registries.dedup();
            let identity = of_entry().map(|manifest| manifest.decided.credentials.clone()).next();
            let expired = entry.freshness() == Freshness::Expired;
            let expires = if expired {
                "expired".to_owned()
            } else {
                format!("{} ({})", local_time.show(entry.expires_at()), describe_duration(entry.remaining()))
            };
            let named = if registries.is_empty() { "-".to_owned() } else { registries.join(", ") };
            let described = identity.as_deref().map_or_else(|| "-".to_owned(), one_line);
            lines.push([one_line(&named), described, expires, format!("{size} B")]);
            let expiry = entry.expires_at().format(&Rfc3339).unwrap_or_default();
            rows.push(Row { registries, identity, expiry, expired, size });
        }
        if self.json {
            let text = serde_json::to_string_pretty(&rows).expect("texts always serialise");
            return print(output, &printable_json(&text));
        }
        if lines.is_empty() {
            return print(output, &format!("no cached tokens in {}", cache.dir().display()));
        }
        lines.sort();
        lines.insert(0, ["REGISTRY", "IDENTITY", "EXPIRES", "SIZE"].map(str::to_owned));
        print(output, &table(&lines))
    }
}

/// Aligns the columns.
fn table(lines: &[[String; 4]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let line = |[a, b, c, d]: &[String; 4]| format!("{a:0$}  {b:1$}  {c:2$}  {d}", widths[0], widths[1], widths[2]);
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn clear(env: &Env, json: bool, output: &mut impl Write) -> Result<ExitCode, Error> {
    let cache = open(env)?;
    let count = cache.clear().map_err(|error| {
        let what = format!("{} cannot be cleared: {error}", cache.dir().display());
        Error::failed(Code::CacheNotCleared, what, "remove it by hand")
    })?;
    if json {
        return print(output, &serde_json::json!({ "removed": count }).to_string());
    }
    let tokens = if count == 1 { "1 token".to_owned() } else { format!("{count} tokens") };
    print(output, &format!("removed {tokens} from {}", cache.dir().display()))
}

fn open(env: &Env) -> Result<Cache, Error> {
    Ok(Cache::open(Cache::dir_of(env)?)?)
}

fn print(output: &mut impl Write, text: &str) -> Result<ExitCode, Error> {
    let written = writeln!(output, "{}", printable(text)).and_then(|()| output.flush());
    written.map_err(Error::unwritten)?;
    Ok(ExitCode::SUCCESS)
}
