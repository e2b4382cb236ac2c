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
use crate::commands::get_login_password::{AwsCli, COMMAND, GetLoginPassword, Service};
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
    match action(&args) {
        Some(action) => end(serve(action)),
        // Not for the protocol, whose hits start no thread.
        None => platform::with_enough_stack(|| end(run_arguments(&args))),
    }
}

/// The exit code of a result. Prints its error.
fn end(result: Result<ExitCode, Error>) -> ExitCode {
    result.unwrap_or_else(|error| {
        if let Error::Failed(failure) = &error {
            error!("{}", failure.clone().without_quote());
        }
        answer::fail(&error);
        // A program with thousands of descendants is still being killed after the deadline.
        platform::end_with_children(|| ());
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

#[derive(Parser)]
#[command(name = NAME, version, about = "Docker credential helper for Amazon ECR", after_help = notes(), disable_help_subcommand = true)]
#[command(override_usage = USAGES, help_template = "{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}\n")]
struct Arguments {
    #[command(subcommand)]
    command: AnyCommand,
}

/// All commands, for help, manual page and completions.
#[derive(Subcommand)]
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
#[derive(Subcommand)]
enum UserCommand {
    /// Check everything that a pull depends on, and report what is wrong and how to fix it
    Doctor(doctor::Doctor),
    /// Change the settings of docker, podman or kubelet so that they call the helper
    Setup(setup::Setup),
    /// Print only the password, like aws ecr get-login-password; 'ecr' or 'ecr-public' may precede it
    #[command(args_override_self = true, infer_long_args = true)]
    GetLoginPassword(GetLoginPassword),
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

impl UserCommand {
    /// Runs the command, for a service that the words of the AWS CLI name. Errors go to standard error.
    fn run(self, service: Service) -> Result<ExitCode, Error> {
        let env = &prepare_process();
        // Not for the protocol, whose hits write nothing and save the system calls.
        platform::survive_file_size_limit();
        let output = &mut io::stdout().lock();
        match self {
            Self::Doctor(options) => options.run(env, output),
            Self::Setup(options) => options.run(env, output),
            Self::GetLoginPassword(options) => options.run(service, env, output),
            Self::Export(options) => options.run(env, output),
            Self::Login(options) => options.run(env, output),
            Self::Logout(options) => options.run(env, output),
            Self::Cache(options) => options.run(env, output),
            Self::Kubelet(options) => options.run(env, output),
            Self::Generate(options) => options.run(env, &Arguments::command()),
        }
    }
}

/// Runs what the name of the program and the arguments after it ask for, which is no action of the protocol.
fn run_arguments(args: &[OsString]) -> Result<ExitCode, Error> {
    let Some((name, args)) = args.split_first() else { return run_arguments(&[OsString::new()]) };
    if let Some(plugin) = started_as_plugin(name) {
        return UserCommand::Kubelet(plugin).run(Service::Any);
    }
    match words(args)[..] {
        ["version"] => print(&version()),
        ["--version" | "-v" | "-V"] => print(&version_lines()),
        ["version" | "--version" | "-v" | "-V", "--verbose"] => {
            let about = format!("commit {COMMIT}\ntarget {TARGET}\nC library {C_LIBRARY}\nTLS {TLS}");
            print(&format!("{}\n{about}", version()))
        }
        [] => {
            print(&format!("{USAGE}\n\n{}", Arguments::command().render_help().to_string().trim_end()))?;
            Ok(ExitCode::FAILURE)
        }
        ["help"] | ["help", "help"] => show_help(&[]),
        [word @ ("get" | "store" | "erase" | "list" | "version"), "-h" | "--help"] => show_help(&[word]),
        ["ecr" | "ecr-public", "help" | "-h" | "--help"] => show_help(&[COMMAND]),
        [word, "help"] if is_known(word) => show_help(&[word]),
        ["help", word, ref more @ ..] if is_known(word) => show_help(&[&[word], more].concat()),
        ["get" | "store" | "erase" | "list" | "version", ref more @ ..] => {
            if more.first().is_some_and(|word| word.contains('.')) {
                error::print_notice("the host goes to standard input: echo HOST | docker-credential-ecr-login get");
            }
            wrong_usage(USAGE)
        }
        _ => match AwsCli::parse(args)? {
            None => run_command(args),
            Some(AwsCli::GetLoginPassword(service, sorted)) => parse(&sorted, service),
            Some(AwsCli::Version) => print(&version_lines()),
        },
    }
}

/// Serves a request of the credential helper protocol.
fn serve(action: Action) -> Result<ExitCode, Error> {
    answer::fail_on_both_streams();
    let started = Instant::now();
    let env = prepare_process();
    let input = StandardInput::until(config::deadline(&env, started));
    docker::serve(action, &env, input, Output).map(platform::end)
}

fn print(text: &str) -> Result<ExitCode, Error> {
    writeln!(Output, "{text}").map(|()| ExitCode::SUCCESS).map_err(Error::unwritten)
}

/// Fails with a line on both streams, as clients expect.
fn wrong_usage(line: impl Into<String>) -> Result<ExitCode, Error> {
    answer::fail_on_both_streams();
    Err(Error::Protocol(line.into()))
}

/// The arguments as text; empty for one that is not UTF-8.
fn words(args: &[OsString]) -> Vec<&str> {
    args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect()
}

/// Runs a command for people. A first word that is no command is a client's unknown action, or what a person mistyped.
fn run_command(args: &[OsString]) -> Result<ExitCode, Error> {
    let words = words(args);
    if is_known(words[0]) || words.iter().any(|word| matches!(*word, "--help" | "-h")) {
        return parse(args, Service::Any);
    }
    let word = if words[0] == "help" { words.get(1).copied().unwrap_or_default() } else { words[0] };
    let meant = meant(word).map(|name| format!("; did you mean '{name}'?")).unwrap_or_default();
    match (words.len(), words[0].starts_with('-')) {
        (1, _) => wrong_usage(format!("{NAME}: unknown action: {}{meant}", args[0].to_string_lossy())),
        (_, true) => wrong_usage(USAGE),
        (_, false) => Err(Error::usage(format!("'{word}' is not a command{meant} ('{NAME} help' lists them)"))),
    }
}

fn show_help(command: &[&str]) -> Result<ExitCode, Error> {
    let args: Vec<OsString> = command.iter().chain(&["--help"]).map(OsString::from).collect();
    parse(&args, Service::Any)
}

/// Has clap parse the arguments, and runs the command or prints what clap says.
fn parse(args: &[OsString], service: Service) -> Result<ExitCode, Error> {
    match Arguments::try_parse_from([&OsString::from(NAME)].into_iter().chain(args)) {
        Ok(Arguments { command: AnyCommand::User(command) }) => {
            refuse_without_dashes(&words(args))?;
            command.run(service)
        }
        Ok(_) => wrong_usage(USAGE),
        Err(error) if error.use_stderr() => {
            let missing = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            let missing = if missing { "a command is missing\n\n" } else { "" };
            error::print_usage_error(&format!("{missing}{}", without_wrong_tips(error)));
            Ok(ExitCode::from(WRONG_USAGE))
        }
        Err(help) => {
            help.print().and_then(|()| io::stdout().flush()).map_err(Error::unwritten)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Refuses an option of a command that was written without its dashes, and so as a host.
fn refuse_without_dashes(words: &[&str]) -> Result<(), Error> {
    let command = Arguments::command();
    let Some(command) = command.find_subcommand(words[0]) else { return Ok(()) };
    let is_option = |word: &str| command.get_arguments().any(|option| option.get_long() == Some(word));
    match words.windows(2).find(|pair| !pair[0].starts_with('-') && is_option(pair[1])) {
        Some(&[_, word]) => {
            Err(Error::usage(format!("'{word}' is not the host of a registry; did you mean '--{word}'?")))
        }
        _ => Ok(()),
    }
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
    let names = command.get_subcommands().map(clap::Command::get_name).chain(["help"]);
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
