//! What the arguments ask for, and the texts about it.

use std::ffi::OsString;

use crate::docker::Action;
use crate::env::VARIABLES;
use crate::{NAME, VERSION};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve a request of the credential helper protocol.
    Serve(Action),
    /// Print this text and succeed.
    Print(String),
    /// Print this line and fail.
    Refuse(String),
}

impl Command {
    /// Reads the arguments after the program's name: exactly one, as the protocol has it.
    pub fn from_args(mut args: impl Iterator<Item = OsString>) -> Self {
        let (Some(arg), None) = (args.next(), args.next()) else { return Self::Refuse(usage()) };
        match arg.to_str() {
            Some("get") => Self::Serve(Action::Get),
            Some("store") => Self::Serve(Action::Store),
            Some("erase") => Self::Serve(Action::Erase),
            Some("list") => Self::Serve(Action::List),
            Some("version" | "--version" | "-v") => Self::Print(format!("{NAME} ({PACKAGE}) {VERSION}")),
            Some("--help" | "-h") => Self::Print(help()),
            _ => Self::Refuse(format!("{NAME}: unknown action: {}", arg.to_string_lossy())),
        }
    }
}

const PACKAGE: &str = env!("CARGO_PKG_NAME");

const COMMANDS: &[(&str, &str)] = &[
    ("get", "read a registry's host on standard input, print its user name and password"),
    ("store", "accept and drop the password of an ECR registry, so that docker login works"),
    ("erase", "read a registry's host on standard input, drop its cached token"),
    ("list", "print the registries whose cached token is valid, without asking AWS"),
    ("version", "print the version; also -v, --version"),
];

fn usage() -> String {
    format!("Usage: {NAME} <store|get|erase|list|version>")
}

fn help() -> String {
    let width = VARIABLES.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let table = |rows: &[(&str, &str)]| {
        let lines: Vec<_> = rows.iter().map(|(name, what)| format!("  {name:width$}  {what}\n")).collect();
        lines.concat()
    };
    format!(
        "{}\n\n\
         Passwords for Amazon ECR, asked for by docker, podman and others. In ~/.docker/config.json:\n  \
         {{\"credHelpers\": {{\"<account>.dkr.ecr.<region>.amazonaws.com\": \"ecr-login\"}}}}\n\n\
         Commands:\n{}\n\
         Environment:\n{}  {:width$}  as in every AWS tool: credentials, profile, endpoints",
        usage(),
        table(COMMANDS),
        table(VARIABLES),
        "AWS_*"
    )
}
