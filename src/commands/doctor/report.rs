//! The results of `doctor`, as text and as JSON.

use std::io::{self, IsTerminal, Write};

use serde::{Serialize, Serializer};

use super::bug_report::BugReport;
use crate::VERSION;
use crate::code::Code;
use crate::env::Env;
use crate::error::{Error, Failure, acts_on_terminal, one_line, printable_json};

/// The whole report; `report.schema.json` describes its JSON.
#[derive(Serialize)]
pub(super) struct Report {
    schema: u32,
    version: &'static str,
    pub(super) ok: bool,
    summary: Summary,
    checks: Vec<Check>,
    registries: Vec<RegistryReport>,
    environment: BugReport,
}

/// How many shared checks and registries are ok.
#[derive(Serialize)]
struct Summary {
    ok: usize,
    warnings: usize,
    failed: usize,
}

/// The results for one registry.
#[derive(Clone, Serialize)]
pub(super) struct RegistryReport {
    pub(super) host: String,
    pub(super) image: Option<String>,
    ok: bool,
    pub(super) account: Option<String>,
    pub(super) region: Option<String>,
    /// The AWS profile that is used.
    pub(super) profile: Option<String>,
    /// The ARN of the role that is assumed last.
    pub(super) role: Option<String>,
    /// The ARN that STS reports.
    pub(super) principal: Option<String>,
    /// A description of the source of the credentials.
    pub(super) source: Option<String>,
    /// When the token expires, in RFC 3339.
    pub(super) expiry: Option<String>,
    /// How long the token is valid and until when, for people.
    #[serde(skip)]
    pub(super) valid: Option<String>,
    pub(super) checks: Vec<Check>,
}

/// What was checked, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Name {
    Program,
    User,
    Variables,
    Configuration,
    Profiles,
    Docker,
    Podman,
    Skopeo,
    Clients,
    Host,
    Mapping,
    Cache,
    Endpoint,
    Credentials,
    Principal,
    Token,
    Clock,
    Registry,
    Image,
}

impl Name {
    /// The name as printed: that of the variant.
    fn text(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Whether the check is of a client, on which no other check depends.
    fn is_of_client(self) -> bool {
        matches!(self, Self::Program | Self::Docker | Self::Podman)
    }
}

/// One step.
#[derive(Clone, Serialize)]
pub(super) struct Check {
    #[serde(rename = "check")]
    pub(super) name: Name,
    pub(super) status: Status,
    #[serde(serialize_with = "name_of")]
    pub(super) code: Option<Code>,
    pub(super) what: String,
    pub(super) fix: Option<String>,
    /// Among the checks that registries share: the first registry that it is for, as the index among the arguments. `None`
    /// for a check of the machine or of one registry alone.
    #[serde(skip)]
    pub(super) place: Option<usize>,
    /// Whether it has been shown already.
    #[serde(skip)]
    shown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Warning,
    Failure,
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde's interface")]
fn name_of<S: Serializer>(code: &Option<Code>, serializer: S) -> Result<S::Ok, S::Error> {
    code.map(Code::name).serialize(serializer)
}

impl Check {
    pub(super) fn ok(name: Name, what: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, code: None, what: what.into(), fix: None, place: None, shown: false }
    }

    pub(super) fn warning(name: Name, code: Code, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Warning, ..Self::failure(name, code, what, fix) }
    }

    pub(super) fn failure(name: Name, code: Code, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Failure, code: Some(code), fix: Some(fix.into()), ..Self::ok(name, what) }
    }

    pub(super) fn failed(name: Name, failure: Failure) -> Self {
        let what = failure.whole();
        Self::failure(name, failure.code, what, failure.hint)
    }

    pub(super) fn warned(name: Name, failure: Failure) -> Self {
        Self { status: Status::Warning, ..Self::failed(name, failure) }
    }

    /// The same check for the registry at this index and those that share it.
    pub(super) fn at(mut self, place: usize) -> Self {
        self.place = Some(place);
        self
    }

    /// Whether both are the same check with the same result. Their texts may differ: they have times and new access keys.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let of = |check: &Self| (check.name, check.place, check.status, check.code);
        of(self) == of(other)
    }

    /// The same check, marked as shown.
    pub(super) fn shown(mut self) -> Self {
        self.shown = true;
        self
    }
}

impl RegistryReport {
    pub(super) fn new(host: &str, image: Option<&str>) -> Self {
        Self {
            host: host.to_owned(),
            image: image.map(str::to_owned),
            ok: false,
            account: None,
            region: None,
            profile: None,
            role: None,
            principal: None,
            source: None,
            expiry: None,
            valid: None,
            checks: Vec::new(),
        }
    }

    /// Whether all checks passed that later steps depend on. Checks of clients do not count.
    pub(super) fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.status != Status::Failure || check.name.is_of_client())
    }

    pub(super) fn finish(mut self) -> Self {
        self.ok = self.checks.iter().all(|check| check.status != Status::Failure);
        self
    }

    /// Whether the registry gave the manifest of the image.
    fn has_image(&self) -> bool {
        self.checks.iter().any(|check| check.name == Name::Image && check.status == Status::Ok)
    }

    /// Whether the registry has a warning of its own, not one of the machine.
    fn status(&self) -> Status {
        let warns = self.checks.iter().any(|check| check.status == Status::Warning && !check.shown);
        match self.ok {
            false => Status::Failure,
            true if warns => Status::Warning,
            true => Status::Ok,
        }
    }
}

/// The checks that registries share, each once.
#[derive(Default)]
pub(super) struct SharedChecks(Vec<(Check, usize)>);

impl SharedChecks {
    /// Adds a check of the machine.
    pub(super) fn push(&mut self, check: Check) {
        self.0.push((check, 0));
    }

    /// Adds a check that was made for the registry at this index. Returns whether it is new. Of checks that are the same, the one
    /// for the first registry remains, whichever is done first.
    pub(super) fn add(&mut self, check: Check, index: usize) -> bool {
        let Some(known) = self.0.iter_mut().find(|(known, _)| known.is_same(&check)) else {
            self.0.push((check, index));
            return true;
        };
        if index < known.1 {
            *known = (check, index);
        }
        false
    }

    /// The checks in the order of the report, whatever the order in which they were done.
    pub(super) fn in_order(mut self) -> Vec<Check> {
        self.0.sort_by_key(|(check, index)| (check.place, check.name, check.status, *index));
        self.0.into_iter().map(|(check, _)| check).collect()
    }
}

impl Report {
    pub(super) fn new(checks: Vec<Check>, registries: Vec<RegistryReport>, environment: BugReport) -> Self {
        let own = registries.iter().flat_map(|registry| &registry.checks).filter(|check| !check.shown);
        let warnings = checks.iter().chain(own).filter(|check| check.status == Status::Warning).count();
        let shared = |status| checks.iter().filter(|check| check.status == status).count();
        let of_registries = |ok: bool| registries.iter().filter(|registry| registry.ok == ok).count();
        let summary = Summary {
            ok: shared(Status::Ok) + of_registries(true),
            warnings,
            failed: shared(Status::Failure) + of_registries(false),
        };
        // A shared check counts if a registry depends on it.
        let ok = if registries.is_empty() { summary.failed == 0 } else { of_registries(false) == 0 };
        Self { schema: 1, version: VERSION, ok, summary, checks, registries, environment }
    }
}

/// The output format.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One object at the end.
    Json,
    /// Shared checks, one line for each registry, and its findings.
    Findings,
    /// The same with every step of each registry.
    EveryStep,
}

/// The capabilities of the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    /// A file, a pipe, or a dumb terminal.
    None,
    /// Lines can be overwritten.
    Plain,
    /// Lines can be overwritten, and colours are wanted.
    Coloured,
}

impl Terminal {
    /// Detects the terminal by `NO_COLOR` (<https://no-color.org>) and `TERM`.
    pub(super) fn of(env: &Env) -> Self {
        match io::stdout().is_terminal() && env.text("TERM").is_some_and(|term| term != "dumb") {
            false => Self::None,
            true if env.os("NO_COLOR").is_some() => Self::Plain,
            true => Self::Coloured,
        }
    }
}

/// Prints the report, line by line.
pub(super) struct Screen<'a, W> {
    output: &'a mut W,
    format: Format,
    terminal: Terminal,
    is_waiting: bool,
}

impl<'a, W: Write> Screen<'a, W> {
    pub(super) fn new(output: &'a mut W, format: Format, terminal: Terminal) -> Self {
        Self { output, format, terminal, is_waiting: false }
    }

    /// Prints a check that registries share.
    pub(super) fn check(&mut self, check: &Check) -> Result<(), Error> {
        let lines = self.lines(check, "");
        self.print(&lines)
    }

    /// Prints one registry: a line, and its findings or every step below it.
    pub(super) fn registry(&mut self, registry: &RegistryReport) -> Result<(), Error> {
        let name = match &registry.image {
            Some(image) => format!("{}/{image}", registry.host),
            None => registry.host.clone(),
        };
        let failed: Vec<String> = registry
            .checks
            .iter()
            .filter(|check| check.status == Status::Failure && check.shown)
            // Follows from the configuration.
            .filter(|check| check.name != Name::Mapping)
            .map(|check| check.name.text())
            .collect();
        let what = match (registry.status(), &registry.valid) {
            (Status::Failure, _) if !failed.is_empty() => format!("see {} above", failed.join(", ")),
            (Status::Failure, _) => String::new(),
            (_, Some(valid)) if registry.has_image() => format!("image can be pulled, {valid}"),
            (_, Some(valid)) => valid.clone(),
            (_, None) => registry.checks.last().map(|check| check.what.clone()).unwrap_or_default(),
        };
        let mut lines = self.line(registry.status(), &name, &what, None);
        for check in &registry.checks {
            if !check.shown && (self.format == Format::EveryStep || check.status != Status::Ok) {
                lines += &self.lines(check, "  ");
            }
        }
        self.print(&lines)
    }

    /// Shows on a terminal what a check waits for, until the next line.
    pub(super) fn waiting(&mut self, what: &str) -> Result<(), Error> {
        if self.terminal == Terminal::None || self.format == Format::Json {
            return Ok(());
        }
        self.is_waiting = true;
        // Fits on one line of a narrow terminal.
        let what: String = one_line(what).chars().take(60).collect();
        let written = write!(self.output, "\r\x1b[Kwaiting for {what} …").and_then(|()| self.output.flush());
        written.map_err(Error::unwritten)
    }

    /// Prints the details for a bug report and the verdict, or the whole report as JSON.
    pub(super) fn end(&mut self, report: &Report) -> Result<(), Error> {
        if self.format == Format::Json {
            let text = serde_json::to_string_pretty(report).expect("texts always serialise");
            let text = printable_json(&text);
            return writeln!(self.output, "{text}").and_then(|()| self.output.flush()).map_err(Error::unwritten);
        }
        let Summary { ok, warnings, failed } = report.summary;
        let warnings = match warnings {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            count => format!(", {count} warnings"),
        };
        self.print(&format!("\n{}\n\n{ok} ok, {failed} failed{warnings}\n", report.environment))
    }

    fn lines(&self, check: &Check, indent: &str) -> String {
        let name = check.name.text();
        let mut lines = indent.to_owned() + &self.line(check.status, &format!("{name:11}"), &check.what, check.code);
        if let Some(fix) = &check.fix {
            lines.extend([indent, "         fix: ", one_line(fix).as_str(), "\n"]);
        }
        lines
    }

    fn line(&self, status: Status, name: &str, what: &str, code: Option<Code>) -> String {
        let (word, colour) = match status {
            Status::Ok => ("ok", "32"),
            Status::Warning => ("warning", "33"),
            Status::Failure => ("failed", "31"),
        };
        let word = if self.terminal == Terminal::Coloured {
            format!("\x1b[{colour}m{word:7}\x1b[0m")
        } else {
            format!("{word:7}")
        };
        let code = code.map(|code| format!(" [{code}]")).unwrap_or_default();
        // The name keeps its padding, which `one_line` would remove.
        let name = name.replace(acts_on_terminal, " ");
        format!("{word}  {name}  {}{code}", one_line(what)).trim_end().to_owned() + "\n"
    }

    fn print(&mut self, lines: &str) -> Result<(), Error> {
        if self.format == Format::Json {
            return Ok(());
        }
        let clear = if std::mem::take(&mut self.is_waiting) { "\r\x1b[K" } else { "" };
        write!(self.output, "{clear}{lines}").and_then(|()| self.output.flush()).map_err(Error::unwritten)
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, Name, SharedChecks, Status};
    use crate::code::Code;

    #[test]
    fn a_check_is_named_in_json_as_in_the_text_and_the_schema_knows_it() {
        let schema: serde_json::Value = serde_json::from_str(super::super::SCHEMA).expect("JSON");
        let known = schema["$defs"]["check"]["properties"]["check"]["enum"].as_array().expect("names").clone();
        // The last name ends the order, so that all have been compared.
        for name in [Name::Program, Name::Skopeo, Name::Clients, Name::Mapping, Name::Clock, Name::Image] {
            assert_eq!(serde_json::json!(name), name.text());
            assert!(known.contains(&name.text().into()), "{name:?}");
        }
    }

    #[test]
    fn shared_checks_are_the_same_in_any_order_of_their_ends() {
        let denied = |what: &str| Check::failure(Name::Token, Code::EcrDenied, what, "fix");
        let checks = [
            (Check::ok(Name::Endpoint, "x").at(0), 0),
            (Check::ok(Name::Token, "in 1 ms").at(0), 0),
            (Check::ok(Name::Credentials, "of the second, in 2 ms").at(0), 2),
            (Check::ok(Name::Credentials, "of the first, in 1 ms").at(0), 0),
            (Check::ok(Name::Token, "in 1 ms").at(1), 1),
            (denied("no").at(2), 2),
            (Check::ok(Name::Clock, "agrees"), 1),
        ];
        let report = |order: &mut dyn Iterator<Item = &(Check, usize)>| {
            let mut all = SharedChecks::default();
            let added = order.filter(|(check, index)| all.add(check.clone(), *index)).count();
            assert_eq!(added, 6);
            all.in_order().into_iter().map(|check| (check.name, check.status, check.what)).collect::<Vec<_>>()
        };
        let forward = report(&mut checks.iter());
        assert_eq!(forward, report(&mut checks.iter().rev()));
        assert_eq!(forward[0].0, Name::Clock);
        assert_eq!(forward[2].2, "of the first, in 1 ms");
        assert_eq!(forward[5].1, Status::Failure);
    }
}
