//! `doctor`: checks everything that a pull depends on, and reports what is wrong and how to fix it.
//!
//! [`machine`] checks what all registries share: the helper on the PATH, the variables, the configuration, and the settings
//! of docker and podman. For each registry ([`registries`]), [`target`] applies the configuration, [`clients`] checks whether
//! clients call the helper, [`access`] resolves its credentials and requests a token, once for all registries that share a
//! token, and [`image`] tries the token on the registry, and on the image for `HOST/REPOSITORY:TAG`. Of the registries of one
//! endpoint, one requests a token first, and the others only once the endpoint has answered. Every step has a time limit.
//! `doctor` changes neither the settings of clients nor the entries of the cache, and prints no secret. It renews an SSO sign-in
//! that expires soon, as `get` does.
//!
//! Findings have a stable [`Code`](crate::code::Code). Lines appear as soon as they are known; a registry without findings
//! takes one line. `--json` prints one report at the end, described by `report.schema.json`. The exit code is 1 if a check
//! failed.

mod access;
mod bug_report;
mod clients;
mod image;
mod machine;
mod registries;
mod report;
mod shared;
mod target;

use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::aws::Exchange;
use crate::config::Config;
use crate::display_time::LocalTime;
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::platform;
use crate::registry::{self, Host};
use bug_report::BugReport;
use machine::Scope;
use report::{Check, Format, RegistryReport, Report, Screen, SharedChecks, Terminal};
use shared::Principals;

/// The time limit for all network requests together. A `credential_process`, which may ask a person, has its own.
const LONGEST: Duration = Duration::from_secs(14);

/// The schema of the JSON report.
pub const SCHEMA: &str = include_str!("report.schema.json");

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Registries, or images such as HOST/REPOSITORY:TAG; without any, every registry for which docker or podman calls the
    /// helper
    #[arg(value_name = "HOST[/REPOSITORY[:TAG]]")]
    hosts: Vec<String>,
    /// Show every step, not only what is wrong
    #[arg(long, short)]
    verbose: bool,
    /// Print a report in JSON
    #[arg(long)]
    json: bool,
}

/// What all checks need.
#[derive(Clone, Copy)]
struct Checker<'a> {
    env: &'a Env,
    /// The configuration, or why it cannot be used.
    config: Result<&'a Config, &'a Failure>,
    local_time: LocalTime,
    deadline: Instant,
    principals: &'a Principals,
    /// Runs every request of the checks.
    exchange: &'a Exchange,
}

/// The progress of the checks.
enum Event {
    /// A check waits for this.
    Waiting(String),
    /// The result of a check that registries share, made for the one with this index among the arguments.
    Shared { check: Check, index: usize },
    /// The results for one registry, with its index among the arguments.
    Registry(usize, Box<RegistryReport>),
}

/// A registry that the user named, with an image if there was one.
#[derive(PartialEq, Eq)]
struct Subject {
    host: String,
    image: Option<String>,
}

impl Doctor {
    /// Runs the checks and prints the report.
    pub fn run(self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        // Must come before other threads start.
        let local_time = LocalTime::of_process();
        let started = Instant::now();
        let config = Config::load(env, started + Duration::from_secs(5));
        // No retries: a failed request is a finding.
        let once = env.clone().with_option("doctor", "AWS_MAX_ATTEMPTS", "1");
        let (principals, exchange) = (Principals::default(), Exchange::default());
        let checker = Checker {
            env: &once,
            config: config.as_ref(),
            local_time,
            deadline: started + LONGEST,
            principals: &principals,
            exchange: &exchange,
        };
        let format = match (self.json, self.verbose) {
            (true, _) => Format::Json,
            (false, true) => Format::EveryStep,
            (false, false) => Format::Findings,
        };
        let mut screen = Screen::new(output, format, Terminal::of(env));
        let subjects = self.subjects(env);
        let versions = bug_report::versions(env);
        let mut shared = SharedChecks::default();
        let mut machine = Vec::new();
        let scope = if subjects.is_empty() { Scope::Machine } else { Scope::Registries };
        for check in machine::check_all(checker, scope) {
            screen.check(&check)?;
            machine.push(check.clone().shown());
            shared.push(check);
        }
        let mut reports: Vec<Option<RegistryReport>> = subjects.iter().map(|_| None).collect();
        thread::scope(|scope| {
            let (send, events) = mpsc::channel();
            platform::spawn_scoped(scope, move || registries::check_all(checker, subjects, &machine, &send));
            for event in events {
                match event {
                    Event::Waiting(what) => screen.waiting(&what)?,
                    Event::Shared { check, index } => {
                        if shared.add(check.clone(), index) {
                            screen.check(&check)?;
                        }
                    }
                    Event::Registry(index, report) => {
                        screen.registry(&report)?;
                        reports[index] = Some(*report);
                    }
                }
            }
            Ok::<_, Error>(())
        })?;
        let reports = reports.into_iter().flatten().collect();
        let report = Report::new(shared.in_order(), reports, BugReport::new(env, &versions));
        screen.end(&report)?;
        Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The registries to check: the arguments, else those for which clients call the helper.
    fn subjects(&self, env: &Env) -> Vec<Subject> {
        let hosts = if self.hosts.is_empty() { crate::containers::hosts(env) } else { self.hosts.clone() };
        let mut subjects: Vec<Subject> = Vec::new();
        for subject in hosts.iter().map(|text| Subject::parse(text)) {
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
        subjects
    }
}

impl Subject {
    fn parse(text: &str) -> Self {
        let text = registry::typed(text);
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        let image = bare.split_once('/').map(|(_, image)| image.to_owned());
        // The path of a server URL such as https://HOST/v2/ is not an image.
        let image = image.filter(|image| !image.is_empty() && !matches!(image.trim_end_matches('/'), "v1" | "v2"));
        let host = Host::parse(text)
            .map_or_else(|| bare.split('/').next().unwrap_or(bare).to_owned(), |host| host.to_string());
        Self { host, image }
    }
}

impl Checker<'_> {
    /// The deadline of a step with this time limit.
    fn until(self, limit: Duration) -> Instant {
        self.deadline.min(Instant::now() + limit)
    }
}
