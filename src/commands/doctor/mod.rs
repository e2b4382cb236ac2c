//! `doctor`: checks everything that a pull depends on, and reports what is wrong and how to fix it.
//!
//! [`machine`] checks what all registries share: the helper on the PATH, the variables, the configuration, and the settings
//! of docker and podman. For each registry ([`registries`]), [`settings`] finds out whose token it gets and what the cache holds,
//! [`clients`] checks whether clients call the helper, [`access`] resolves its credentials and requests a token, once for all
//! registries that share a token, and [`image`] tries the token on the registry, and on the image for `HOST/REPOSITORY:TAG`. Of the
//! registries of one endpoint, one requests a token first, and the others only once the endpoint has answered. Every step has a time
//! limit. `doctor` changes neither the settings of clients nor the entries of the cache, and prints no secret. It renews an SSO
//! sign-in that expires soon, as `get` does.
//!
//! The checks send their results ([`check`]) as events. [`screen`] prints each at once, and [`report`] collects them. Findings have a
//! stable [`Code`](crate::code::Code). A registry without findings takes one line. `--json` prints one report at the end, described
//! by `report.schema.json`. The exit code is 1 if a check failed.

mod access;
mod bug_report;
mod check;
mod clients;
mod image;
mod machine;
mod registries;
mod report;
mod screen;
mod settings;

use std::collections::HashSet;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::aws::Exchange;
use crate::config::Config;
use crate::display_time::LocalTime;
use crate::env::Env;
use crate::error::{Error, Failure};
use crate::{containers, platform, token_provider};
use bug_report::BugReport;
use check::Check;
use machine::Scope;
use report::{RegistryReport, Results};
use screen::{Format, Screen, Terminal};

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
    /// Runs every request of the checks.
    exchange: &'a Exchange,
    events: &'a Sender<Event>,
}

/// The progress of the checks.
enum Event {
    /// A check waits for this.
    Waiting(String),
    /// The result of a check that registries share, made for the one with this index among the arguments.
    Shared(usize, Arc<Check>),
    /// The results for one registry, with its index among the arguments.
    Registry(usize, Box<RegistryReport>),
}

impl Doctor {
    /// Runs the checks and prints the report.
    pub fn run(self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        self.hosts.iter().try_for_each(|host| token_provider::check_named(host))?;
        // Must come before other threads start.
        let local_time = LocalTime::of_process();
        let started = Instant::now();
        let format = match (self.json, self.verbose) {
            (true, _) => Format::Json,
            (false, true) => Format::EveryStep,
            (false, false) => Format::Findings,
        };
        let mut screen = Screen::new(output, format, Terminal::detect(env));
        let mut results = Results::default();
        let versions = bug_report::versions(env);
        thread::scope(|scope| {
            let (send, events) = mpsc::channel();
            let check = move || {
                let config = Config::load(env, started + Duration::from_secs(5));
                // A failed request is a finding.
                let (exchange, deadline) = (&Exchange::without_retries(), started + LONGEST);
                let checker = Checker { env, config: config.as_ref(), local_time, deadline, exchange, events: &send };
                self.check_all(checker);
            };
            platform::spawn_scoped(scope, check).expect("the system starts a thread");
            for event in events {
                match event {
                    Event::Waiting(what) => screen.waiting(&what)?,
                    Event::Shared(index, check) => {
                        if results.add_check(index, &check) {
                            screen.check(&check)?;
                        }
                    }
                    Event::Registry(index, report) => {
                        screen.registry(&report)?;
                        results.add_registry(index, *report);
                    }
                }
            }
            Ok::<_, Error>(())
        })?;
        let report = results.into_report(BugReport::new(env, versions));
        screen.end(&report)?;
        Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Checks the machine, and the registries that the arguments name, else those for which clients call the helper.
    fn check_all(&self, checker: Checker) {
        let found = if self.hosts.is_empty() { containers::hosts(checker.env) } else { Vec::new() };
        let mut names = HashSet::new();
        let reports = self.hosts.iter().chain(&found).map(|text| RegistryReport::new(text));
        let mut reports = reports.filter(move |report| names.insert(report.name())).peekable();
        let scope = if reports.peek().is_none() { Scope::Machine } else { Scope::Registries };
        let machine = machine::check_all(checker, scope);
        match scope {
            Scope::Machine => registries::check_without_registry(checker),
            Scope::Registries => registries::check_all(checker, reports, &machine),
        }
    }
}

impl Checker<'_> {
    /// The deadline of a step with this time limit.
    fn until(self, limit: Duration) -> Instant {
        self.deadline.min(Instant::now() + limit)
    }

    /// The same for a check that had to wait for others since `started`.
    fn waiting_since(self, started: Instant) -> Self {
        Self { deadline: self.deadline + started.elapsed(), ..self }
    }

    /// The deadline for credentials.
    fn for_credentials(self) -> Instant {
        self.until(self.config.map(Config::timeout).unwrap_or_default())
    }

    /// Sends an event. The receiver is gone if the report cannot be written.
    fn send(self, event: Event) {
        let _ = self.events.send(event);
    }
}
