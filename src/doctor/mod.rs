//! `doctor`: what would happen for a registry and why, step by step.
//!
//! Every step is a [`Check`]: ok, a warning or a failure with what to do about it. The steps follow a pull: which
//! clients would call us ([`clients`]), how the host is understood and what the configuration says of it, whose
//! credentials answer, the way to AWS, the clock, the cache, and at last a real token and a look at the registry with
//! it ([`login`]). What stands on a failed step is left out. Nothing is changed, no cache entry either, and no secret is
//! printed.
//!
//! For machines, `--json` prints `{"schema": 1, "version": VERSION, "ok": BOOL, "registries": [{"host": HOST, "ok":
//! BOOL, "checks": [{"check": NAME, "status": "ok"|"warning"|"failure", "what": TEXT, "fix": TEXT or null}]}]}`.
//! Names of checks and statuses stay; texts may change; fields may be added. The exit code is 1 when anything failed.

mod clients;
mod login;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::VERSION;
use crate::env::Env;
use crate::error::{Error, Failure, one_line};

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// A registry; without one, every registry that docker or podman would ask us for
    host: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    version: &'static str,
    ok: bool,
    registries: Vec<Registry>,
}

/// What was found out for one registry.
#[derive(Serialize)]
struct Registry {
    host: String,
    ok: bool,
    checks: Vec<Check>,
}

/// One step.
#[derive(Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    status: Status,
    what: String,
    fix: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warning,
    Failure,
}

impl Check {
    fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, what: what.into(), fix: None }
    }

    fn warning(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Warning, what: what.into(), fix: Some(fix.into()) }
    }

    fn failure(name: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, status: Status::Failure, what: what.into(), fix: Some(fix.into()) }
    }

    fn failed(name: &'static str, failure: Failure) -> Self {
        Self::failure(name, failure.whole(), failure.next)
    }
}

impl Doctor {
    /// Examines and prints.
    pub fn run(self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let hosts = match self.host {
            Some(host) => vec![host],
            None => clients::hosts(env).map_err(|what| Error::failed(format!("ecr-login: {what}")))?,
        };
        let registries: Vec<Registry> = hosts.into_iter().map(|host| examine(env, host)).collect();
        let ok = registries.iter().all(|registry| registry.ok);
        let report = Report { schema: 1, version: VERSION, ok, registries };
        let text = if self.json {
            serde_json::to_string_pretty(&report).expect("texts always serialise")
        } else {
            let colour = io::stdout().is_terminal() && env.os("NO_COLOR").is_none() && env.text("TERM") != Some("dumb");
            report.text(colour)
        };
        let written = writeln!(output, "{text}").and_then(|()| output.flush());
        written.map_err(|error| Error::failed(format!("ecr-login: cannot write the report: {error}")))?;
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn examine(env: &Env, host: String) -> Registry {
    let mut checks = clients::examine(env, &host);
    checks.extend(login::examine(env, &host));
    let ok = checks.iter().all(|check| check.status != Status::Failure);
    Registry { host, ok, checks }
}

impl Report {
    fn text(&self, colour: bool) -> String {
        let mut lines = Vec::new();
        for Registry { host, checks, .. } in &self.registries {
            lines.push(one_line(host));
            for Check { name, status, what, fix } in checks {
                let word = match (status, colour) {
                    (Status::Ok, true) => "\x1b[32mok     \x1b[0m",
                    (Status::Warning, true) => "\x1b[33mwarning\x1b[0m",
                    (Status::Failure, true) => "\x1b[31mfailure\x1b[0m",
                    (Status::Ok, false) => "ok     ",
                    (Status::Warning, false) => "warning",
                    (Status::Failure, false) => "failure",
                };
                lines.push(format!("  {word}  {name:<11}  {}", one_line(what)));
                lines.extend(fix.iter().map(|fix| format!("{:24}fix: {}", "", one_line(fix))));
            }
        }
        lines.join("\n")
    }
}
