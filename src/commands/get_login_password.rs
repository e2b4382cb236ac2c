//! `get-login-password`: prints the password alone, as a replacement for the AWS CLI's commands of that name.
//!
//! A script that calls `aws ecr get-login-password` or `aws ecr-public get-login-password` works with the helper's name in
//! place of `aws` or of `aws ecr`. The command therefore takes the options of both major versions of the AWS CLI, before and
//! after its name ([`AwsCli`] sorts them). Options that do not change the AWS CLI's output are accepted and ignored, and all
//! others are refused. Wrong usage ends with exit code 2, where version 2 of the AWS CLI has
//! 252; every other failure ends with 1, where it has 253, 254 or 255.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use ::log::LevelFilter;
use clap::Args;

use crate::code::Code;
use crate::commands::export::{check_streams, mask_if_shown_later, print_secret};
use crate::config::{self, MappedProfile, is_url};
use crate::env::Env;
use crate::error::Error;
use crate::identity::{Profiles, Selected};
use crate::registry::{Account, Region, Registry};
use crate::{log, token_provider};

/// The command's name, as in the AWS CLI.
pub const COMMAND: &str = "get-login-password";

/// The service of which the command is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// No service is named: the registry decides.
    Any,
    /// `ecr get-login-password`
    Ecr,
    /// `ecr-public get-login-password`
    EcrPublic,
}

/// A command line of the AWS CLI for this command.
#[derive(Debug)]
pub enum AwsCli {
    /// The service that is named, and the arguments in the order of clap, which requires the command first.
    GetLoginPassword(Service, Vec<OsString>),
    /// Print the version.
    Version,
}

impl AwsCli {
    /// Sorts the arguments of this command: the AWS CLI takes options before, between and after the words of a command.
    /// Returns `None` for the commands of the helper. There is an argument.
    pub fn parse(args: &[OsString]) -> Result<Option<Self>, Error> {
        // Clap refuses what is not UTF-8.
        let Some(args) = args.iter().map(|arg| arg.to_str()).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let is_service = ["ecr", "ecr-public"].contains(&args[0]);
        if is_service && !args.contains(&COMMAND) {
            return Err(Error::usage(format!("of the commands of 'aws {}', the helper has {COMMAND} alone", args[0])));
        }
        if !args.contains(&COMMAND) || !(is_service || args[0].starts_with('-') || args[0] == COMMAND) {
            return Ok(None);
        }
        let (mut words, mut rest) = (Vec::new(), vec![COMMAND]);
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let is_complete = words.last() == Some(&COMMAND);
            match arg {
                "--version" => return Ok(Some(Self::Version)),
                // As in `aws ecr get-login-password help`.
                "help" if is_complete => rest.push("--help"),
                word if !word.starts_with('-') && !is_complete => words.push(word),
                "-h" | "--help" => rest.push(arg),
                value if !value.starts_with('-') => rest.push(value),
                option => {
                    let takes_value = takes_value(option).ok_or_else(|| refusal(option))?;
                    rest.push(option);
                    if takes_value && !option.contains('=') {
                        rest.extend(args.next());
                    }
                }
            }
        }
        let service = match words[..] {
            [COMMAND] => Service::Any,
            ["ecr", COMMAND] => Service::Ecr,
            ["ecr-public", COMMAND] => Service::EcrPublic,
            _ => return Ok(None),
        };
        Ok(Some(Self::GetLoginPassword(service, rest.into_iter().map(OsString::from).collect())))
    }
}

fn refusal(option: &str) -> Error {
    Error::usage(format!(
        "{} is not supported; leave it out: the output is the password alone, for every registry of the region, and \
         --ca-bundle FILE names certificates to trust",
        option.split('=').next().unwrap_or_default()
    ))
}

/// Whether an option has a value; `None` for an unknown one. As in the AWS CLI, an option may be abbreviated.
fn takes_value(option: &str) -> Option<bool> {
    let name = option.strip_prefix("--")?.split('=').next().filter(|name| !name.is_empty())?;
    let definition = GetLoginPassword::augment_args(clap::Command::new(COMMAND));
    let mut known = definition.get_arguments();
    let known = known.find(|known| {
        let aliases = known.get_all_aliases().unwrap_or_default();
        known.get_long().into_iter().chain(aliases).any(|long| long.starts_with(name))
    })?;
    Some(known.get_action().takes_values())
}

/// Arguments of `get-login-password`: those of the AWS CLI and a registry.
#[derive(Args, Debug)]
pub struct GetLoginPassword {
    /// Registry host; if omitted, the password works for every registry in the region that the caller may access
    host: Option<String>,
    /// The region; default as in the AWS CLI
    #[arg(long)]
    region: Option<Region>,
    /// The AWS profile, instead of that of the configuration or the environment
    #[arg(long)]
    profile: Option<String>,
    /// URL of the ECR API
    #[arg(long)]
    endpoint_url: Option<String>,
    /// PEM file with the certificates to trust
    #[arg(long)]
    ca_bundle: Option<String>,
    /// Log to standard error at level debug, unless AWS_ECR_LOG is set
    #[arg(long)]
    debug: bool,
    #[command(flatten)]
    ignored: Ignored,
}

/// Options of the AWS CLI that have no effect here, each with the others that take the same values.
#[derive(Args, Debug)]
struct Ignored {
    #[arg(long, hide = true, value_parser = ["json", "text", "table", "yaml", "yaml-stream", "off"])]
    output: Option<String>,
    #[arg(long, hide = true, alias = "cli-connect-timeout")]
    cli_read_timeout: Option<u64>,
    #[arg(long, hide = true, aliases = ["cli-error-format", "color"])]
    cli_binary_format: Option<String>,
    #[arg(long, hide = true, aliases = ["no-cli-pager", "no-cli-auto-prompt", "v2-debug"])]
    no_paginate: bool,
}

impl GetLoginPassword {
    /// Prints the password and a newline.
    pub fn run(mut self, service: Service, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let started = Instant::now();
        // The AWS CLI ignores these when they are empty, as scripts pass them from variables that are not set.
        for option in [&mut self.profile, &mut self.endpoint_url, &mut self.ca_bundle] {
            option.take_if(|value| value.is_empty());
        }
        if self.debug && env.text("AWS_ECR_LOG").is_none() {
            log::start(env, Some(LevelFilter::Debug));
        }
        if self.endpoint_url.as_deref().is_some_and(|url| !is_url(url)) {
            return Err(Error::failed(Code::SettingInvalid, "--endpoint-url is not a URL", "pass e.g. https://host"));
        }
        check_streams(env)?;
        let host = self.registry(service, env, started)?;
        let (config, mut target) = token_provider::named_target(env, &host, started)?;
        service.check(&target.registry, &host)?;
        target.call_as_profile(self.profile.as_deref().map(MappedProfile::by_option));
        target.endpoint_url = self.endpoint_url.or(target.endpoint_url);
        target.ca_bundle = self.ca_bundle.map(|bundle| env.expand(Path::new(&bundle)));
        let issued = token_provider::issue(env, &target, started + config.timeout())?;
        mask_if_shown_later(env, &issued.token)?;
        print_secret(output, issued.token.password.expose())
    }

    /// Returns the host of the registry that the arguments name or imply.
    fn registry(&self, service: Service, env: &Env, started: Instant) -> Result<String, Error> {
        // The only region in which ECR Public's API issues passwords (Amazon ECR Public user guide, "Registry authentication").
        let public = Region::public();
        match (&self.host, &self.region) {
            (_, Some(region)) if service == Service::EcrPublic && *region != public => Err(Error::usage(format!(
                "ECR Public issues passwords in {public} only, not in '{region}'; pass --region {public} or leave --region out"
            ))),
            (Some(host), region) => {
                let own = Registry::parse(host).map(|registry| registry.region());
                match own.zip(region.as_ref()).filter(|(own, region)| own != *region) {
                    Some((own, region)) => {
                        Err(Error::usage(format!("{host} is in {own}, not in {region}; leave --region out")))
                    }
                    None => Ok(host.clone()),
                }
            }
            (None, _) if service == Service::EcrPublic => Ok(Registry::PUBLIC.host().to_string()),
            (None, Some(region)) => Ok(any_in(region.clone())),
            (None, None) => default_region(env, self.profile.as_deref(), started).map(any_in),
        }
    }
}

impl Service {
    /// Refuses a registry of the other service.
    fn check(self, registry: &Registry, host: &str) -> Result<(), Error> {
        match (self, registry.is_public()) {
            (Self::Ecr, true) => {
                Err(Error::usage(format!("{host} is a registry of ECR Public; use 'ecr-public {COMMAND}'")))
            }
            (Self::EcrPublic, false) => {
                Err(Error::usage(format!("{host} is not a registry of ECR Public; use 'ecr {COMMAND}'")))
            }
            _ => Ok(()),
        }
    }
}

/// The host that stands for all registries of a region.
fn any_in(region: Region) -> String {
    Registry::private(Account::ANY, region).host().to_string()
}

/// Returns the default region, by the order of the AWS CLI.
fn default_region(env: &Env, profile: Option<&str>, started: Instant) -> Result<Region, Error> {
    let named = profile.map(MappedProfile::by_option);
    if let Some(MappedProfile { name, .. }) = &named {
        let profiles = Profiles::read(env, config::deadline(env, started))?;
        if profiles.problem().is_none() && profiles.profile(name).is_none() {
            let what = format!("the profile '{name}', which --profile names, is in neither {}", profiles.neither());
            return Err(Error::failed(Code::ProfileMissing, what, "correct the name"));
        }
    }
    let missing = |what: String| {
        Error::failed(Code::RegionMissing, what, "name one with --region or AWS_REGION, or name a registry")
    };
    let region =
        token_provider::default_region(env, &Selected::new(env, named.as_ref()), config::deadline(env, started));
    region.map_err(|wrong| missing(wrong.to_string()))?.ok_or_else(|| missing("no region is set".to_owned()))
}
