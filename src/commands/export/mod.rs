//! `export`: passwords for programs that read a file or variables and call no helper.
//!
//! The passwords come from the token cache, or from AWS where it has none. `export` prints them, or writes them atomically to a
//! private file ([`mod@file`]), in one of several formats ([`mod@format`]). With `--every` the process keeps running and writes the file
//! again, with passwords that last until the next time ([`refresh`]). A password is valid for up to twelve hours, so `export`
//! warns before it prints one on a terminal.

mod ci_files;
mod file;
mod format;
mod refresh;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use crate::config::{Config, Target};
use crate::display_time::rfc3339;
use crate::env::Env;
use crate::error::{Error, print_notice};
use crate::platform;
use crate::registry::Host;
use crate::token_provider::{self, IssuedToken};
pub(crate) use ci_files::{check_streams, mask_if_shown_later};
use file::OutputFile;
use format::{Format, Password, SecretName};

/// Arguments of `export`.
#[derive(Args, Debug)]
pub struct Export {
    /// Registries
    #[arg(required = true, value_name = "HOST")]
    hosts: Vec<String>,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::DockerConfig)]
    format: Format,
    /// Write to this file, atomically and readable for its owner only (mode 0600); - means standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the file again at this interval, in seconds or with units, from 1s to 11h, e.g. 30m or 1h30m, until SIGTERM or SIGINT ends the command
    /// with exit code 0
    #[arg(long, value_name = "DURATION", requires = "output", value_parser = refresh::interval)]
    every: Option<Duration>,
    #[command(flatten)]
    secret: SecretName,
}

impl Export {
    /// Prints or writes the passwords: those of all registries, or none.
    pub fn run(self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let at = |path: PathBuf| OutputFile { path: env.expand(&path), home: env.home() };
        let file = self.output.clone().filter(|path| path != Path::new("-")).map(at);
        self.check(env, file.as_ref())?;
        let Some(file) = file else {
            let passwords = self.fetch(env)?;
            let text = self.format.render(&passwords, &self.secret)?;
            self.warn(&passwords);
            return print_secret(output, &text);
        };
        if let Some(every) = self.every {
            return refresh::run(&self, env, &file, every);
        }
        if let Some(kaniko) = env.kaniko_dir().filter(|kaniko| !platform::is_below(&file.path, kaniko)) {
            print_notice(&format!(
                "warning: kaniko pushes {} as part of the image that it builds, unless it lies in {}",
                file.path.display(),
                kaniko.display()
            ));
        }
        let passwords = self.fetch(env)?;
        ci_files::check_unpublished(env, &file.path)?;
        file.write(&self.format.render(&passwords, &self.secret)?)?;
        self.warn(&passwords);
        Ok(ExitCode::SUCCESS)
    }

    /// Checks the arguments before the first request to AWS.
    fn check(&self, env: &Env, file: Option<&OutputFile>) -> Result<(), Error> {
        if !self.format.is_manifest() && (self.secret.name.is_some() || self.secret.namespace.is_some()) {
            let what = "--name and --namespace require --format kubernetes-secret or --format argocd-repository";
            return Err(Error::usage(what));
        }
        if let Some(file) = file {
            ci_files::check_unpublished(env, &file.path)?;
            ci_files::check_kept(env, &file.path, self.format.is_variables())?;
            file.check()?;
        } else if self.every.is_some() {
            return Err(Error::usage("--every cannot keep standard output fresh; name a file with --output"));
        } else {
            ci_files::check_standard_output(env)?;
            if let Some(name) = ci_files::appended_output(env).filter(|_| !self.format.is_variables()) {
                let format = if name == ci_files::OF_A_SHELL { "env" } else { "dotenv" };
                let what = format!("standard output is ${name}, which takes variables; use --format {format}");
                return Err(Error::usage(what));
            }
        }
        if self.is_masked(env) {
            ci_files::check_standard_error(env)?;
        }
        let targets = self.targets(env)?;
        if self.format == Format::UserPassword && targets.len() > 1 {
            let count = targets.len();
            let fix = "run the command once for each";
            return Err(Error::usage(format!("--format user-password takes one registry, not {count}; {fix}")));
        }
        Ok(())
    }

    /// Returns the registries, each once, with the settings for them.
    fn targets(&self, env: &Env) -> Result<BTreeMap<Host, (Config, Target)>, Error> {
        let named = |host: &String| {
            let (config, target) = token_provider::named_target(env, host, Instant::now())?;
            Ok((target.host.clone(), (config, target)))
        };
        self.hosts.iter().map(named).collect()
    }

    fn fetch(&self, env: &Env) -> Result<Vec<Password>, Error> {
        let targets = self.targets(env)?;
        let passwords =
            targets.values().map(|(config, target)| Ok(Password::new(target, request(env, config, target)?)));
        let passwords = passwords.collect::<Result<Vec<_>, Error>>()?;
        self.mask(env, &passwords)?;
        Ok(passwords)
    }

    /// Has a runner of GitHub Actions mask the passwords, before anything is written that this step or a later one could print.
    fn mask(&self, env: &Env, passwords: &[Password]) -> Result<(), Error> {
        if self.is_masked(env) {
            io::stderr().write_all(self.format.mask_commands(passwords).as_bytes()).map_err(Error::unwritten)?;
        }
        Ok(())
    }

    fn is_masked(&self, env: &Env) -> bool {
        self.format != Format::DockerConfig && ci_files::has_runner(env)
    }

    /// Warns of the effect that the variables have on docker.
    fn warn(&self, passwords: &[Password]) {
        if !self.format.is_variables() {
            return;
        }
        let expiry = format::earliest_expiry(passwords);
        let at = expiry.map(|expiry| format!(" at {}", rfc3339(expiry))).unwrap_or_default();
        print_notice(&format!(
            "warning: docker 28.3 and later takes passwords from DOCKER_AUTH_CONFIG and does not call the helper, \
             whatever 'setup' has written; unset the variable before the password in it expires{at}"
        ));
    }
}

/// Requests a token, through the cache unless `env` disables it.
fn request(env: &Env, config: &Config, target: &Target) -> Result<IssuedToken, Error> {
    Ok(token_provider::issue(env, target, Instant::now() + config.timeout())?)
}

/// Prints a secret and a newline.
pub(crate) fn print_secret(output: &mut impl Write, secret: &str) -> Result<ExitCode, Error> {
    if io::stdout().is_terminal() {
        print_notice("warning: the output that follows is a secret, and this terminal shows it");
    }
    let written = writeln!(output, "{secret}").and_then(|()| output.flush());
    written.map_err(Error::unwritten)?;
    Ok(ExitCode::SUCCESS)
}
