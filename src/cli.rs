//! Parses the arguments and runs the command.
//!
//! The actions of the protocol are single words, matched by a table. A message about their wrong usage goes to standard
//! output, with exit code 1, as clients expect. A single unknown word may be a new action, and has the same answer.
//! clap parses all other commands: help goes to standard output, wrong usage to standard error with exit code 2. [`generate`]
//! makes the manual pages and the shell completions from the definitions in this module.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use ::log::error;

use crate::answer::{self, Output};
use crate::commands::docker::{self, Action};
use crate::commands::get_login_password::{AwsCli, GetLoginPassword, Service};
use crate::commands::{cached_tokens, doctor, export, generate, kubelet, setup, sign_in};
use crate::env::{Env, VARIABLES};
use crate::error::{self, Error, WRONG_USAGE};
use crate::platform::{self, StandardInput};
use crate::{C_LIBRARY, COMMIT, NAME, TARGET, TLS, VERSION, config, log, spelling};

/// Runs the command that the arguments name; the first argument is the name of the program. Prints one answer or one line of
/// error.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    answer::end_on_panic();
    let args: Vec<OsString> = args.collect();
    let Some(action) = action(&args) else {
        // Not for the protocol, whose hits start no thread.
        return platform::with_enough_stack(|| end(Invocation::from_args(&args).run()));
    };
    answer::fail_on_both_streams();
    let started = Instant::now();
    let env = prepare_process();
    let input = StandardInput::until(config::deadline(&env, started));
    end(docker::serve(action, &env, input, Output).map(platform::end))
}

/// The exit code of a result. Prints its error.
fn end(result: Result<ExitCode, Error>) -> ExitCode {
    result.unwrap_or_else(|error| {
        if let Some(failure) = error.failure() {
            error!("{}", failure.clone().without_quote());
        }
        answer::fail(&error);
        ExitCode::from(error.exit_code())
    })
}

/// The action of the protocol that the name of the program and the arguments after it ask for.
fn action(args: &[OsString]) -> Option<Action> {
    let [name, word] = args else { return None };
    let action = match word.to_str()? {
        "get" => Action::Get,
        "store" => Action::Store,
        "erase" => Action::Erase,
        "list" => Action::List,
        _ => return None,
    };
    started_as_plugin(name).is_none().then_some(action)
}

/// The kubelet's plugin, if the program has its name.
fn started_as_plugin(name: &OsStr) -> Option<kubelet::Kubelet> {
    kubelet::Kubelet::started_as(Path::new(name).file_name()?.to_str()?)
}

/// Protects the process's memory and streams, captures the environment and opens the log.
fn prepare_process() -> Env {
    platform::disable_core_dumps();
    platform::keep_streams();
    let env = Env::capture();
    log::start(&env, None);
    env
}

/// The meaning of the arguments that are no action of the protocol.
#[derive(Debug)]
enum Invocation {
    /// Print this text and succeed.
    Print(String),
    /// Print this line and fail; the notice is for people.
    WrongUsage(Error, Option<&'static str>),
    /// Print this help and fail: there were no arguments.
    Help(String),
    /// Run a command for people.
    User(UserCommand),
    /// Print clap's help, or its message about wrong usage.
    FromClap(clap::Error),
}

#[derive(Parser)]
#[command(name = NAME, version, about = "Docker credential helper for Amazon ECR", after_help = notes(), disable_help_subcommand = true)]
#[command(override_usage = USAGES, help_template = "{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}\n")]
struct Arguments {
    #[command(subcommand)]
    command: AnyCommand,
}

/// All commands, for help, manual page and completions.
#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "a process has one")]
enum AnyCommand {
    /// Read a registry's host from standard input and print its credentials (docker's or Bazel's protocol)
    Get,
    /// Accept and discard the password of an ECR registry, so that docker login works
    Store,
    /// Read a registry's host from standard input and remove its cached token
    Erase,
    /// Print the registries with a valid cached token and those that settings name, or else the caller's own
    List,
    /// Print the version; also -v, --version
    Version {
        /// Print the commit, the platform, the C library and the cryptography of TLS too
        #[arg(long)]
        verbose: bool,
    },
    #[command(flatten)]
    User(UserCommand),
}

/// The commands for people and clusters.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Check everything that a pull depends on, and report what is wrong and how to fix it
    Doctor(doctor::Doctor),
    /// Change the settings of docker, podman or kubelet so that they call the helper
    Setup(setup::Setup),
    /// Print only the password, like aws ecr get-login-password; 'ecr' or 'ecr-public' may precede it
    #[command(args_override_self = true, infer_long_args = true)]
    GetLoginPassword(GetLoginPassword),
    /// For scripts that call aws ecr
    #[command(hide = true, disable_help_subcommand = true)]
    #[command(subcommand)]
    Ecr(ServiceCommand),
    /// For scripts that call aws ecr-public
    #[command(hide = true, disable_help_subcommand = true)]
    #[command(subcommand)]
    EcrPublic(ServiceCommand),
    /// Write a config.json, a Kubernetes Secret, variables or a password for programs that call no helper
    Export(export::Export),
    /// Ask for an MFA code or renew a sign-in where needed, and cache a token
    Login(sign_in::Login),
    /// Remove the cached tokens of a registry, or all
    Logout(cached_tokens::Logout),
    /// List the cached tokens
    Cache(cached_tokens::Tokens),
    /// Run as a kubelet image credential provider, also when started as ecr-credential-provider
    Kubelet(kubelet::Kubelet),
    /// Write the manual pages and the completions for bash, zsh, fish and PowerShell into a directory
    Generate(generate::Generate),
}

/// The commands below `ecr` and `ecr-public`, as in the AWS CLI.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Print the password alone
    #[command(args_override_self = true, infer_long_args = true)]
    GetLoginPassword(GetLoginPassword),
}

impl UserCommand {
    /// Runs the command. Errors go to standard error.
    pub fn run(self, env: &Env) -> Result<ExitCode, Error> {
        let output = &mut io::stdout().lock();
        match self {
            Self::Doctor(options) => options.run(env, output),
            Self::Setup(options) => options.run(env, output),
            Self::GetLoginPassword(options) => options.run(Service::Any, env, output),
            Self::Ecr(ServiceCommand::GetLoginPassword(options)) => options.run(Service::Ecr, env, output),
            Self::EcrPublic(ServiceCommand::GetLoginPassword(options)) => options.run(Service::EcrPublic, env, output),
            Self::Export(options) => options.run(env, output),
            Self::Login(options) => options.run(env, output),
            Self::Logout(options) => options.run(env, output),
            Self::Cache(options) => options.run(env, output),
            Self::Kubelet(options) => options.run(env, output),
            Self::Generate(options) => options.run(env, &Arguments::command()),
        }
    }
}

impl Invocation {
    /// Does what was asked for.
    fn run(self) -> Result<ExitCode, Error> {
        match self {
            Self::WrongUsage(line, notice) => {
                answer::fail_on_both_streams();
                notice.into_iter().for_each(error::print_notice);
                Err(line)
            }
            Self::Help(text) => write!(Output, "{text}").map(|()| ExitCode::FAILURE).map_err(Error::unwritten),
            Self::Print(text) => writeln!(Output, "{text}").map(|()| ExitCode::SUCCESS).map_err(Error::unwritten),
            Self::User(command) => {
                let env = prepare_process();
                // Not for the protocol, whose hits write nothing and save the system calls.
                platform::survive_file_size_limit();
                command.run(&env)
            }
            Self::FromClap(error) if error.use_stderr() => {
                let missing = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
                let missing = if missing { "a command is missing\n\n" } else { "" };
                error::print_usage_error(&format!("{missing}{error}"));
                Ok(ExitCode::from(WRONG_USAGE))
            }
            Self::FromClap(error) => error.exit(),
        }
    }

    /// Parses the name of the program and the arguments after it, which are no action of the protocol.
    fn from_args(args: &[OsString]) -> Self {
        let Some((name, args)) = args.split_first() else { return Self::from_args(&[OsString::new()]) };
        if let Some(plugin) = started_as_plugin(name) {
            return Self::User(UserCommand::Kubelet(plugin));
        }
        let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
        match words[..] {
            ["version"] => return Self::Print(version()),
            ["--version" | "-v" | "-V"] => return Self::Print(version_lines()),
            ["version" | "--version" | "-v" | "-V", "--verbose"] => {
                let about = format!("commit {COMMIT}\ntarget {TARGET}\nC library {C_LIBRARY}\nTLS {TLS}");
                return Self::Print(format!("{}\n{about}", version()));
            }
            [] => return Self::Help(format!("{USAGE}\n\n{}", Arguments::command().render_help())),
            ["help"] | ["help", "help"] => return Self::help_of(&[]),
            [word @ ("get" | "store" | "erase" | "list" | "version"), "-h" | "--help"] => {
                return Self::help_of(&[word]);
            }
            [word, "help"] if is_known(word) => return Self::help_of(&[word]),
            ["help", word, ref more @ ..] if is_known(word) => return Self::help_of(&[&[word], more].concat()),
            ["get" | "store" | "erase" | "list" | "version", ref more @ ..] => {
                let notice = "the host goes to standard input: echo HOST | docker-credential-ecr-login get";
                let notice = more.first().filter(|word| word.contains('.')).map(|_| notice);
                return Self::WrongUsage(Error::Protocol(USAGE.to_owned()), notice);
            }
            _ => {}
        }
        let args = match AwsCli::parse(args) {
            None => args.to_vec(),
            Some(AwsCli::GetLoginPassword(sorted)) => sorted,
            Some(AwsCli::Version) => return Self::Print(version_lines()),
            Some(AwsCli::Unsupported(error)) => {
                return Self::FromClap(clap::Error::raw(ErrorKind::UnknownArgument, error));
            }
        };
        let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
        if is_known(words[0]) || words.iter().any(|word| matches!(*word, "--help" | "-h")) {
            return Self::parse(args);
        }
        Self::refuse(&words, &args[0].to_string_lossy())
    }

    /// The answer to a first word that is no command: a client's unknown action, or what a person mistyped.
    fn refuse(words: &[&str], first: &str) -> Self {
        let word = if words[0] == "help" { words.get(1).copied().unwrap_or_default() } else { words[0] };
        let meant = meant(word).map(|name| format!("; did you mean '{name}'?")).unwrap_or_default();
        match (words.len(), words[0].starts_with('-')) {
            (1, _) => Self::WrongUsage(Error::Protocol(format!("{NAME}: unknown action: {first}{meant}")), None),
            (_, true) => Self::WrongUsage(Error::Protocol(USAGE.to_owned()), None),
            (_, false) => {
                let error = format!("'{word}' is not a command{meant} ('{NAME} help' lists them)\n");
                Self::FromClap(clap::Error::raw(ErrorKind::InvalidSubcommand, error))
            }
        }
    }

    fn help_of(command: &[&str]) -> Self {
        Self::parse(command.iter().chain(&["--help"]).map(OsString::from))
    }

    fn parse(args: impl IntoIterator<Item = OsString>) -> Self {
        let args: Vec<OsString> = std::iter::once(OsString::from(NAME)).chain(args).collect();
        match Arguments::try_parse_from(&args) {
            Ok(Arguments { command: AnyCommand::User(command) }) => match without_dashes(&args) {
                Some(error) => Self::FromClap(error),
                None => Self::User(command),
            },
            Ok(_) => Self::WrongUsage(Error::Protocol(USAGE.to_owned()), None),
            Err(error) => Self::FromClap(without_wrong_tips(error)),
        }
    }
}

/// The error for an option of a command that was written without its dashes, and so as a host.
fn without_dashes(args: &[OsString]) -> Option<clap::Error> {
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    let command = Arguments::command();
    let command = command.find_subcommand(words[1])?;
    let is_option = |word: &str| command.get_arguments().any(|option| option.get_long() == Some(word));
    let word = words[1..].windows(2).find(|pair| !pair[0].starts_with('-') && is_option(pair[1]))?[1];
    let error = format!("'{word}' is not the host of a registry; did you mean '--{word}'?\n");
    Some(clap::Error::raw(ErrorKind::UnknownArgument, error))
}

/// Removes what clap proposes for an unknown option and nobody means: to pass it as a host, or an option that is hardly similar.
fn without_wrong_tips(mut error: clap::Error) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.trim_start_matches('-').to_owned(),
        _ => String::new(),
    };
    let (unknown, similar) = (text(ContextKind::InvalidArg), text(ContextKind::SuggestedArg));
    error.remove(ContextKind::Suggested);
    if !similar.is_empty() && spelling::nearest(&unknown, std::iter::once(&*similar)).is_none() {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::Usage);
    }
    error
}

fn is_known(word: &str) -> bool {
    Arguments::command().get_subcommands().any(|command| command.get_name() == word)
}

/// The command that a mistyped word means, or that has this name in other programs.
fn meant(word: &str) -> Option<String> {
    let of_others = match word {
        "config" | "configure" | "init" | "install" => Some("setup".to_owned()),
        "check" | "status" | "whoami" => Some("doctor".to_owned()),
        _ => None,
    };
    let command = Arguments::command();
    let names =
        command.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name).chain(["help"]);
    of_others.or_else(|| spelling::nearest(word, names).map(str::to_owned))
}

fn version() -> String {
    format!("{NAME} ({}) {VERSION}", env!("CARGO_PKG_NAME"))
}

/// What the options print: the lines after the first are those of AWS Labs' helper, in which scripts look for `Version:`.
fn version_lines() -> String {
    format!("{}\nVersion:    {VERSION}\nGit commit: {COMMIT}", version())
}

const USAGES: &str = "docker-credential-ecr-login <store|get|erase|list|version>
       docker-credential-ecr-login <command> [options]";

const USAGE: &str = "Usage: docker-credential-ecr-login <store|get|erase|list|version>";

fn notes() -> String {
    let lines = VARIABLES.iter().map(|(name, what)| format!("  {name}\n      {what}\n")).collect::<Vec<_>>().concat();
    format!(
        "'{NAME} help COMMAND' shows the options of a command.\n\n\
         In ~/.docker/config.json:\n  \
         {{\"credHelpers\": {{\"<account>.dkr.ecr.<region>.amazonaws.com\": \"ecr-login\"}}}}\n\n\
         Environment:\n{lines}  AWS_*\n      the variables of the AWS SDKs: credentials, profile, region, endpoints"
    )
}
