//! `get-login-password`: the password alone, in place of the AWS CLI's commands of that name.
//!
//! `aws ecr get-login-password` and `aws ecr-public get-login-password` become this command when a script replaces `aws`, or
//! `aws ecr`, by the name of the helper. It therefore takes the options of both major versions of the AWS CLI, before and
//! after the command ([`cli`](crate::cli) sorts them). Options that change nothing in the AWS CLI's output are accepted and
//! ignored; [`UNSUPPORTED`] lists those that the helper refuses. Wrong usage ends with exit code 2, where version 2 of the
//! AWS CLI has 252; every other failure ends with 1, where it has 253, 254 or 255.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use crate::commands::export::print_secret;
use crate::config::{self, Caller, is_url};
use crate::env::Env;
use crate::error::Error;
use crate::identity::{Profiles, Selected};
use crate::registry::{ANY_ACCOUNT, Registry};
use crate::{log, token_provider};

/// The command's name, as in the AWS CLI.
pub const COMMAND: &str = "get-login-password";

/// Options of the AWS CLI that the helper refuses, each with what to do instead.
pub const UNSUPPORTED: &[(&str, &str)] = &[
    ("--no-verify-ssl", "name the certificates to trust with --ca-bundle FILE"),
    ("--no-sign-request", "ECR answers signed requests only, so leave it out"),
    ("--query", "the output is the password alone, so leave it out"),
    ("--cli-input-json", "pass the options themselves"),
    ("--cli-input-yaml", "pass the options themselves"),
    ("--generate-cli-skeleton", "leave it out"),
    ("--cli-auto-prompt", "leave it out"),
    ("--registry-ids", "a password is valid for every registry in its region, so leave it out"),
];

/// The one region of ECR Public's API that gives out passwords (Amazon ECR Public user guide, "Registry authentication").
const PUBLIC_REGION: &str = "us-east-1";

/// The host of ECR Public.
const PUBLIC_HOST: &str = "public.ecr.aws";

/// The service that the command was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// None was named: the registry decides.
    Any,
    /// `ecr get-login-password`
    Ecr,
    /// `ecr-public get-login-password`
    EcrPublic,
}

/// Arguments of `get-login-password`: those of the AWS CLI, and a registry.
#[derive(Args, Debug)]
pub struct GetLoginPassword {
    /// A registry; without one, the password is for all registries of a region that the caller may use
    host: Option<String>,
    /// The region; default as in the AWS CLI
    #[arg(long)]
    region: Option<String>,
    /// The AWS profile, instead of what the configuration or the environment say
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

/// Options of the AWS CLI that have no effect here.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
struct Ignored {
    #[arg(long, hide = true, value_parser = ["json", "text", "table", "yaml", "yaml-stream", "off"])]
    output: Option<String>,
    #[arg(long, hide = true, value_parser = ["on", "off", "auto"])]
    color: Option<String>,
    #[arg(long, hide = true)]
    cli_read_timeout: Option<u64>,
    #[arg(long, hide = true)]
    cli_connect_timeout: Option<u64>,
    #[arg(long, hide = true)]
    cli_binary_format: Option<String>,
    #[arg(long, hide = true)]
    cli_error_format: Option<String>,
    #[arg(long, hide = true)]
    no_paginate: bool,
    #[arg(long, hide = true)]
    no_cli_pager: bool,
    #[arg(long, hide = true)]
    no_cli_auto_prompt: bool,
    #[arg(long, hide = true)]
    v2_debug: bool,
}

impl GetLoginPassword {
    /// Prints the password and a newline.
    pub fn run(mut self, service: Service, mut env: Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let started = Instant::now();
        // The AWS CLI takes these for absent when they are empty, as scripts pass them from variables that are not set.
        for option in [&mut self.profile, &mut self.endpoint_url, &mut self.ca_bundle] {
            option.take_if(|value| value.is_empty());
        }
        if self.debug && env.text("AWS_ECR_LOG").is_none() {
            log::start(&env.clone().with_option("--debug", "AWS_ECR_LOG", "debug"));
        }
        if self.endpoint_url.as_deref().is_some_and(|url| !is_url(url)) {
            return Err(Error::failed("--endpoint-url is not a URL: expected as in https://host"));
        }
        let host = self.registry(service, &env, started)?;
        if let Some(bundle) = self.ca_bundle {
            env = env.with_option("--ca-bundle", "AWS_CA_BUNDLE", bundle);
        }
        let (config, mut target) = token_provider::named_target(&env, &host, started)?;
        match (service, target.registry.is_public()) {
            (Service::Ecr, true) => {
                return Err(Error::failed(format!("{host} is a registry of ECR Public; use 'ecr-public {COMMAND}'")));
            }
            (Service::EcrPublic, false) => {
                return Err(Error::failed(format!("{host} is not a registry of ECR Public; use 'ecr {COMMAND}'")));
            }
            _ => {}
        }
        if let Some(profile) = self.profile {
            target.caller = Caller::of_profile(Some(&profile), "--profile");
        }
        target.endpoint_url = self.endpoint_url.or(target.endpoint_url);
        let grant = token_provider::issue(&env, &target, started + config.timeout());
        let grant = grant.map_err(|failure| Error::failed(token_provider::describe_failure(&target, &failure)))?;
        print_secret(output, grant.token.password.expose())
    }

    /// The host of the registry that the arguments name or stand for.
    fn registry(&self, service: Service, env: &Env, started: Instant) -> Result<String, Error> {
        let Self { host, region, .. } = self;
        if let (Service::EcrPublic, Some(region)) = (service, region)
            && region != PUBLIC_REGION
        {
            return Err(Error::failed(format!(
                "ECR Public gives out passwords in {PUBLIC_REGION} only, not in '{region}'; pass --region \
                 {PUBLIC_REGION} or leave --region out"
            )));
        }
        match (host, region) {
            (Some(host), region) => {
                let other =
                    Registry::parse(host).filter(|registry| region.as_ref().is_some_and(|it| registry.region != *it));
                if let (Some(Registry { region: own, .. }), Some(region)) = (other, region) {
                    return Err(Error::failed(format!("{host} is in {own}, not in {region}: leave --region out")));
                }
                Ok(host.clone())
            }
            (None, _) if service == Service::EcrPublic => Ok(PUBLIC_HOST.to_owned()),
            (None, Some(region)) => any_registry(region),
            (None, None) => any_registry(&default_region(env, self.profile.as_deref(), started)?),
        }
    }
}

fn any_registry(region: &str) -> Result<String, Error> {
    Registry::of_account(ANY_ACCOUNT, region)
        .map(|registry| registry.host)
        .ok_or_else(|| Error::failed(format!("'{region}' is not an AWS region")))
}

/// The region in the order of the AWS CLI.
fn default_region(env: &Env, profile: Option<&str>, started: Instant) -> Result<String, Error> {
    let of_profile = || {
        let caller = Caller::of_profile(profile, "--profile");
        let selected = Selected::new(env, caller.profile());
        let profiles = Profiles::read(env, selected.name(), config::deadline(env, started)).ok()?;
        profiles.profile(selected.name())?.get("region").map(str::to_owned)
    };
    let of_environment = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| env.text(name));
    of_environment
        .map(str::to_owned)
        .or_else(of_profile)
        .filter(|region| !region.is_empty())
        .ok_or_else(|| Error::failed("no region: name one with --region or AWS_REGION, or name a registry"))
}
