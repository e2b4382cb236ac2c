//! `generate`: writes the manual pages and the completions of shells, for packages and for people who installed none.
//!
//! They are made from the definitions that the program itself uses: commands and options from clap's, variables from
//! [`VARIABLES`], keys from [`KEYS`] and [`REGISTRY_KEYS`]. This module holds the text that only the manual has.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::code::Code;
use crate::config::{ConfigKey, KEYS, REGISTRY_KEYS, sample};
use crate::env::{Env, VARIABLES};
use crate::error::Error;
use crate::platform::{Access, Destination};
use crate::{NAME, VERSION};

/// Arguments of `generate`.
#[derive(Args, Debug)]
pub struct Generate {
    /// Directory for the files, created if it is missing
    dir: PathBuf,
}

impl Generate {
    /// Writes all files. `command` defines the whole program.
    pub fn run(&self, env: &Env, command: &Command) -> Result<ExitCode, Error> {
        let failed_at = |path: &Path, error: io::Error| {
            Error::unwritable(format_args!("cannot write to {}", path.display()), &error, "name another directory")
        };
        let failed = |error| failed_at(&self.dir, error);
        let home = env.home();
        for (name, text) in [
            (format!("{NAME}.1"), program_page(command).map_err(failed)?),
            (format!("{NAME}-config.5"), configuration_page().map_err(failed)?),
            (format!("{NAME}.bash"), completions(Shell::Bash, command)),
            (format!("_{NAME}"), completions(Shell::Zsh, command)),
            (format!("{NAME}.fish"), completions(Shell::Fish, command)),
            (format!("{NAME}.ps1"), completions(Shell::PowerShell, command)),
        ] {
            let path = env.expand(&self.dir).join(name);
            write(&path, home.as_deref(), &text).map_err(|error| failed_at(&path, error))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn completions(shell: Shell, command: &Command) -> Vec<u8> {
    let mut shown = shown(command).version(VERSION).disable_help_subcommand(true);
    let mut text = Vec::new();
    generate(shell, &mut shown, NAME, &mut text);
    if shell == Shell::Bash {
        // clap_complete 4.6 writes a name with hyphens in two ways, one for the command and one for its options
        // (clap-rs/clap#6421), so bash would offer no options.
        let found = NAME.replace('-', "__subcmd__");
        text = String::from_utf8_lossy(&text).replace(&found, &NAME.replace('-', "__")).into_bytes();
    }
    text
}

/// Returns the commands with the options that help shows: clap_complete would also offer the hidden ones.
fn shown(command: &Command) -> Command {
    // clap requires static names, and the process ends soon.
    let name: &'static str = command.get_name().to_owned().leak();
    Command::new(name)
        .about(command.get_about().cloned().unwrap_or_default())
        .disable_help_flag(command.is_disable_help_flag_set())
        .args(command.get_arguments().filter(|one| !one.is_hide_set()))
        .subcommands(command.get_subcommands().map(shown))
}

/// Writes a file atomically.
fn write(path: &Path, home: Option<&Path>, text: &[u8]) -> io::Result<()> {
    let mut new = Destination::asked_for_public(path, home)?.create(Access::Public)?;
    new.file().write_all(text)?;
    new.replace()
}

/// Returns the page of the program, in section 1.
fn program_page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    head(&mut page, NAME, "1", &about)?;
    Man::new(command.clone()).render_synopsis_section(&mut page)?;
    let mut roff = Roff::new();
    section(&mut roff, "DESCRIPTION");
    let [what, others] = DESCRIPTION;
    roff.text([roman(what)]);
    roff.control("PP", []);
    roff.text([roman(others)]);
    roff.to_writer(&mut page)?;
    commands(&mut page, command)?;
    let mut roff = Roff::new();
    entries(&mut roff, "ENVIRONMENT", VARIABLES);
    entry(&mut roff, "AWS_*", [roman("The variables of the AWS SDKs: credentials, profile, region, endpoints.")]);
    entries(&mut roff, "FILES", FILES);
    entries(&mut roff, "EXIT STATUS", EXIT_STATUS);
    codes(&mut roff);
    section(&mut roff, "EXAMPLES");
    for (what, text) in EXAMPLES {
        example(&mut roff, what, text);
    }
    section(&mut roff, "SEE ALSO");
    roff.text([bold("docker-credential-ecr-login-config"), roman("(5), "), bold("docker-login"), roman("(1)")]);
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// Writes the commands with their options.
fn commands(page: &mut Vec<u8>, command: &Command) -> io::Result<()> {
    let mut roff = Roff::new();
    section(&mut roff, "COMMANDS");
    roff.to_writer(page)?;
    for subcommand in command.get_subcommands() {
        let about = subcommand.get_long_about().or_else(|| subcommand.get_about());
        let about = about.map(ToString::to_string).unwrap_or_default();
        let mut roff = Roff::new();
        roff.control("SS", [subcommand.get_name()]);
        roff.text([roman(format!("{about}."))]);
        roff.to_writer(page)?;
        let mut options = Vec::new();
        // Every command has --help, which the synopsis names.
        Man::new(subcommand.clone().disable_help_flag(true)).render_options_section(&mut options)?;
        // The heading above replaces the section's own.
        page.extend(options.split_inclusive(|&byte| byte == b'\n').filter(|line| !line.starts_with(b".SH")).flatten());
    }
    Ok(())
}

fn codes(roff: &mut Roff) {
    section(roff, "CODES");
    roff.text([roman(CODES)]);
    for code in Code::ALL {
        entry(roff, code.name(), [roman(format!("{} {}", code.cause(), code.fix()))]);
    }
    section(roff, "REPORT OF DOCTOR IN JSON");
    roff.text([roman(REPORT)]);
}

const DESCRIPTION: [&str; 2] = [
    "A credential helper for Amazon ECR. Clients find it on the PATH by the name ecr-login in their configuration, and call it \
     with one argument and a request on standard input. It exchanges AWS credentials for an ECR token, stores the token in a \
     cache that only its user can read, and returns it until half of its lifetime has passed.",
    "For registries other than ECR's it reports that credentials are not found, or calls another helper: see fallback in \
     docker-credential-ecr-login-config(5).",
];

const FILES: &[(&str, &str)] = &[
    ("~/.docker/config.json", "The settings in which docker and other clients find the name of a helper."),
    (
        "~/.config/docker-credential-ecr-login/config.toml",
        "The identity for each registry: docker-credential-ecr-login-config(5). Systems other than Linux have it in their \
         directory for configuration.",
    ),
    ("~/.cache/docker-credential-ecr-login", "The token cache. Other systems have it in their directory for caches."),
];

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "Success."),
    (
        "1",
        "Failure, with one line that names the cause: for get, store, erase and list on standard output, as clients expect, \
         else on standard error.",
    ),
    ("2", "Wrong options of the other commands."),
    ("other", "The exit status of a fallback helper."),
];

const CODES: &str = "The line of a failure ends with its code in brackets, in the answer and in the log; doctor shows a code beside each \
                     finding, in brackets and in JSON. Codes stay the same from version to version; E marks a problem that fails a \
                     pull, W one that does not. A finding about one client is a warning while another client calls the helper, \
                     unless the client cannot read its settings.";

const REPORT: &str = "doctor --json prints one object. Its schema, in JSON Schema, is doctor-report.schema.json beside this program's \
                      README: schema, version, ok, summary (ok, warnings, failed), checks, registries and environment. A check has \
                      check, status (ok, warning or failure), code, what and fix; a registry has host, image, ok, account, region, \
                      profile, role, principal, source, expiry (RFC 3339) and checks. Texts may change, and members may be added.";

const EXAMPLES: &[(&str, &str)] = &[
    (
        "Make docker call the helper for a registry:",
        "docker-credential-ecr-login setup 111122223333.dkr.ecr.eu-west-1.amazonaws.com",
    ),
    (
        "which writes to ~/.docker/config.json:",
        "{\"credHelpers\": {\"111122223333.dkr.ecr.eu-west-1.amazonaws.com\": \"ecr-login\"}}",
    ),
    ("Check everything a pull depends on:", "docker-credential-ecr-login doctor"),
    (
        "In ~/.docker/config.json, with a fallback helper in config.toml, for all registries:",
        "{\"credsStore\": \"ecr-login\"}",
    ),
    (
        "Print the answer that docker would get, with a log on standard error:",
        "echo 111122223333.dkr.ecr.eu-west-1.amazonaws.com | AWS_ECR_LOG=debug docker-credential-ecr-login get",
    ),
];

/// Returns the page of the configuration file, in section 5.
fn configuration_page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    head(&mut page, &format!("{NAME}-config"), "5", "the identity for each registry")?;
    let mut roff = Roff::new();
    section(&mut roff, "SYNOPSIS");
    entry(&mut roff, "$AWS_ECR_CONFIG_FILE", [roman("or, if that is not set,")]);
    entry(
        &mut roff,
        "~/.config/docker-credential-ecr-login/config.toml",
        [roman("or the same file in the system's directory for configuration.")],
    );
    section(&mut roff, "DESCRIPTION");
    roff.text([roman(
        "A TOML file. Without it, the helper uses for every registry of Amazon ECR the identity that the AWS CLI would use. \
         A mistake in it fails every request, with a message that names the file, the line and the key.",
    )]);
    for (title, keys) in [("KEYS", KEYS), ("KEYS OF A [[REGISTRY]] TABLE", REGISTRY_KEYS)] {
        section(&mut roff, title);
        for ConfigKey { name, kind, default, what, example } in keys {
            entry(&mut roff, name, [italic(*kind), roman(". Default: "), roman(*default), roman(".")]);
            roff.control("IP", []);
            roff.text([roman(*what)]);
            roff.control("IP", []);
            roff.text([roman(format!("{name} = {example}"))]);
        }
    }
    section(&mut roff, "EXAMPLE");
    example(&mut roff, "Every key at once:", &sample());
    section(&mut roff, "SEE ALSO");
    roff.text([bold(NAME), roman("(1)")]);
    roff.to_writer(&mut page)?;
    Ok(page)
}

fn head(page: &mut Vec<u8>, name: &str, number: &str, what: &str) -> io::Result<()> {
    // By hand, because `Roff` leaves out empty arguments. No date, so that two builds of one version make the same page.
    writeln!(page, ".TH {} {number} \"\" \"{NAME} {VERSION}\" \"\"", name.to_uppercase())?;
    let mut roff = Roff::new();
    section(&mut roff, "NAME");
    roff.text([roman(format!("{name} - {what}"))]);
    roff.to_writer(page)
}

fn section(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

/// Writes a section of names with their explanations.
fn entries(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    section(roff, title);
    for (name, what) in entries {
        entry(roff, name, [roman(*what)]);
    }
}

fn entry(roff: &mut Roff, name: &str, what: impl Into<Vec<Inline>>) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text(what);
}

fn example(roff: &mut Roff, what: &str, text: &str) {
    roff.text([roman(what)]);
    roff.control("PP", []);
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("sp", []);
}
