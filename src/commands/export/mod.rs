//! `export`: passwords for programs that read a file or variables and ask no helper.
//!
//! The passwords come from the same cache as everything else. They are printed, or written to a file that appears as a whole
//! and that its owner alone can read ([`file`]), in one of several formats ([`format`]). With `--every` the process stays
//! and keeps the file fresh ([`keep`]). A password is valid for up to twelve hours, so a terminal that shows one gets a
//! warning.

mod file;
mod format;
mod keep;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use zeroize::Zeroizing;

use crate::config::{Config, Target};
use crate::env::Env;
use crate::error::{Error, print_notice};
use crate::token_provider::{self, IssuedToken};
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
    /// Write to this file, which is replaced as a whole and which its owner alone can read (mode 0600); - means standard
    /// output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the file again at this interval, from 1s to 11h as in 30m, 5h or 1h30m, until SIGTERM or SIGINT ends the command
    /// with exit code 0
    #[arg(long, value_name = "DURATION", requires = "output", value_parser = keep::interval)]
    every: Option<Duration>,
    /// Name of the Kubernetes secret [default: ecr-login]
    #[arg(long, value_parser = format::secret_name)]
    name: Option<String>,
    /// Namespace of the Kubernetes secret; without it kubectl decides
    #[arg(long, value_parser = format::namespace)]
    namespace: Option<String>,
}

impl Export {
    /// Prints or writes the passwords. With several registries it is all or nothing.
    pub fn run(self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let file = self.output.as_deref().filter(|path| *path != Path::new("-")).map(OutputFile::new);
        self.check(env, file.as_ref())?;
        let Some(file) = file else {
            let passwords = self.fetch(env)?;
            let text = self.text(&passwords)?;
            self.warn(&passwords);
            return print_secret(output, &text);
        };
        if let Some(every) = self.every {
            return keep::keep_fresh(&self, env, &file, every);
        }
        let passwords = self.fetch(env)?;
        file.write(&self.text(&passwords)?)?;
        self.warn(&passwords);
        Ok(ExitCode::SUCCESS)
    }

    /// Finds what is wrong with the arguments before AWS is asked for anything.
    fn check(&self, env: &Env, file: Option<&OutputFile>) -> Result<(), Error> {
        if self.format != Format::KubernetesSecret && (self.name.is_some() || self.namespace.is_some()) {
            return Err(Error::failed("--name and --namespace need --format kubernetes-secret"));
        }
        if let Some(file) = file {
            file.check()?;
        } else if self.every.is_some() {
            return Err(Error::failed("--every cannot keep standard output fresh; name a file with --output"));
        }
        let targets = self.targets(env)?;
        if self.format == Format::UserPassword && targets.len() > 1 {
            return Err(Error::failed(format!(
                "--format user-password takes one registry, not {}; run the command once for each",
                targets.len()
            )));
        }
        Ok(())
    }

    /// The registries, each once, with the settings for them.
    fn targets(&self, env: &Env) -> Result<BTreeMap<String, (Config, Target)>, Error> {
        let named = |host: &String| {
            let (config, target) = token_provider::named_target(env, host, Instant::now())?;
            Ok((target.host.clone(), (config, target)))
        };
        self.hosts.iter().map(named).collect()
    }

    fn fetch(&self, env: &Env) -> Result<Vec<Password>, Error> {
        let targets = self.targets(env)?;
        targets.values().map(|(config, target)| Ok(Password::new(target, request(env, config, target)?))).collect()
    }

    /// The passwords in the format that was asked for.
    fn text(&self, passwords: &[Password]) -> Result<Zeroizing<String>, Error> {
        let name = self.name.as_deref().unwrap_or("ecr-login");
        self.format.render(passwords, &SecretName { name, namespace: self.namespace.as_deref() })
    }

    /// Says what the variables do to docker.
    fn warn(&self, passwords: &[Password]) {
        if !matches!(self.format, Format::Env | Format::Dotenv) {
            return;
        }
        let expiry = format::earliest_expiry(passwords);
        let at = expiry.map(|expiry| format!(" at {}", format::rfc3339(expiry))).unwrap_or_default();
        print_notice(&format!(
            "warning: docker 28.3 and later takes passwords from DOCKER_AUTH_CONFIG and does not ask the helper, \
             whatever 'setup' has written; unset the variable before the password in it expires{at}"
        ));
    }
}

/// Asks for a token, through the cache unless `env` turns it off.
fn request(env: &Env, config: &Config, target: &Target) -> Result<IssuedToken, Error> {
    let grant = token_provider::issue(env, target, Instant::now() + config.timeout());
    grant.map_err(|failure| Error::failed(token_provider::describe_failure(target, &failure)))
}

/// Prints a secret and a newline.
pub(crate) fn print_secret(output: &mut impl Write, secret: &str) -> Result<ExitCode, Error> {
    if io::stdout().is_terminal() {
        print_notice("what follows is a secret; mind who sees this terminal");
    }
    let written = writeln!(output, "{secret}").and_then(|()| output.flush());
    written.map_err(Error::unwritten)?;
    Ok(ExitCode::SUCCESS)
}
