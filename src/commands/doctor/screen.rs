//! Prints the results of `doctor`: as lines for people, each as soon as it is known, or as JSON at the end.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::Arc;

use super::check::{Check, Name, Status};
use super::report::{RegistryReport, Report};
use crate::code::Code;
use crate::env::Env;
use crate::error::{Error, acts_on_terminal, one_line, printable_json};

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
    pub(super) fn detect(env: &Env) -> Self {
        match io::stdout().is_terminal() && env.text("TERM").is_some_and(|term| term != "dumb") {
            false => Self::None,
            true if env.os("NO_COLOR").is_some() => Self::Plain,
            true => Self::Coloured,
        }
    }
}

/// Returns to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// Prints the results.
pub(super) struct Screen<W> {
    output: W,
    format: Format,
    terminal: Terminal,
    is_waiting: bool,
}

impl<W: Write> Screen<W> {
    pub(super) fn new(output: W, format: Format, terminal: Terminal) -> Self {
        Self { output, format, terminal, is_waiting: false }
    }

    /// Prints a check that registries share.
    pub(super) fn check(&mut self, check: &Check) -> Result<(), Error> {
        let lines = self.lines(check, "");
        self.print(&lines)
    }

    /// Prints one registry: a line, and its findings or every step below it.
    pub(super) fn registry(&mut self, registry: &RegistryReport) -> Result<(), Error> {
        let status = registry.status();
        let mut lines = self.line(status, &registry.name(), &conclusion(registry, status), None);
        for check in registry.checks.iter().filter(|check| check.is_own()) {
            if self.format == Format::EveryStep || check.status != Status::Ok {
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
        self.write(&format!("{CLEAR}waiting for {what} …"))
    }

    /// Prints the details for a bug report and the verdict, or the whole report as JSON.
    pub(super) fn end(&mut self, report: &Report) -> Result<(), Error> {
        if self.format == Format::Json {
            // The report of thousands of registries takes much memory as one text.
            let mut output = BufWriter::new(Printable(&mut self.output));
            let written = serde_json::to_writer_pretty(&mut output, report).map_err(io::Error::from);
            return written.and_then(|()| writeln!(output)).and_then(|()| output.flush()).map_err(Error::unwritten);
        }
        self.print(&format!("\n{}\n\n{}\n", report.environment, report.summary))
    }

    fn lines(&self, check: &Check, indent: &str) -> String {
        let line = self.line(check.status, &format!("{:11}", check.name.text()), &check.what, check.code);
        let fix = check.fix.as_ref().map(|fix| format!("{indent}         fix: {}\n", one_line(fix)));
        format!("{indent}{line}{}", fix.unwrap_or_default())
    }

    fn line(&self, status: Status, name: &str, what: &str, code: Option<Code>) -> String {
        let (word, colour) = match status {
            Status::Ok => ("ok", "32"),
            Status::Warning => ("warning", "33"),
            Status::Failure => ("failed", "31"),
        };
        let word = match self.terminal {
            Terminal::Coloured => format!("\x1b[{colour}m{word:7}\x1b[0m"),
            _ => format!("{word:7}"),
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
        let clear = if std::mem::take(&mut self.is_waiting) { CLEAR } else { "" };
        self.write(&format!("{clear}{lines}"))
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        write!(self.output, "{text}").and_then(|()| self.output.flush()).map_err(Error::unwritten)
    }
}

/// Gets JSON in pieces of whole characters, and writes it as [`printable_json`].
struct Printable<W>(W);

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(piece).map_err(io::Error::other)?;
        self.0.write_all(printable_json(text).as_bytes())?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The words beside the name of a registry.
fn conclusion(registry: &RegistryReport, status: Status) -> String {
    // A mapping that failed follows from the configuration.
    let is_above =
        |check: &&Arc<Check>| check.status == Status::Failure && !check.is_own() && check.name != Name::Mapping;
    let has_image = registry.checks.iter().any(|check| check.name == Name::Image && check.status == Status::Ok);
    match (status, &registry.valid) {
        (Status::Failure, _) => {
            let names: Vec<String> = registry.checks.iter().filter(is_above).map(|check| check.name.text()).collect();
            if names.is_empty() { String::new() } else { format!("see {} above", names.join(", ")) }
        }
        (_, Some(valid)) if has_image => format!("image can be pulled, {valid}"),
        (_, Some(valid)) => valid.clone(),
        (_, None) => registry.checks.last().map(|check| check.what.clone()).unwrap_or_default(),
    }
}
