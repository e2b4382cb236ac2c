//! Tokens for programs that do not speak the protocol: the password alone, as `aws ecr get-login-password` prints it,
//! or a file that holds it for several registries.
//!
//! From the same cache as everything else. What is printed is a secret that lives for up to twelve hours, so a
//! terminal gets a warning.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::config::{self, Config, Target, is_url};
use crate::env::Env;
use crate::error::Error;
use crate::identity::{Profiles, Selected};
use crate::login;
use crate::registry::{ANY_ACCOUNT, Registry};
use crate::token::Token;

/// Arguments of `get-login-password`: those of the AWS CLI's command of that name, and a registry.
#[derive(Args, Debug)]
pub struct LoginPassword {
    /// A registry; without one, the token of a region, which opens all its registries that the caller may use
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
    #[command(flatten)]
    ignored: OfAwsCli,
}

/// Options of the AWS CLI that change nothing here, so that its name can be replaced by ours in a script.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
struct OfAwsCli {
    #[arg(long, hide = true)]
    output: Option<String>,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(long, hide = true)]
    cli_read_timeout: Option<String>,
    #[arg(long, hide = true)]
    cli_connect_timeout: Option<String>,
    #[arg(long, hide = true)]
    cli_binary_format: Option<String>,
    #[arg(long, hide = true)]
    debug: bool,
    #[arg(long, hide = true)]
    no_paginate: bool,
    #[arg(long, hide = true)]
    no_cli_pager: bool,
    #[arg(long, hide = true)]
    no_cli_auto_prompt: bool,
}

impl LoginPassword {
    /// Prints the password and a newline.
    pub fn run(self, mut env: Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let started = Instant::now();
        let host = match (&self.host, &self.region) {
            (Some(host), None) => host.clone(),
            (Some(host), Some(region)) => {
                let other = Registry::parse(host).filter(|registry| registry.region != *region);
                if let Some(Registry { region: own, .. }) = other {
                    return Err(Error::failed(format!(
                        "ecr-login: {host} is in {own}, not in {region}: leave --region out"
                    )));
                }
                host.clone()
            }
            (None, Some(region)) => any_registry(region)?,
            (None, None) => any_registry(&default_region(&env, self.profile.as_deref(), started)?)?,
        };
        if let Some(bundle) = self.ca_bundle {
            env = env.with_option("--ca-bundle", "AWS_CA_BUNDLE", bundle);
        }
        let (config, mut target) = target(&env, &host, started)?;
        if let Some(profile) = self.profile {
            (target.profile, target.profile_setting, target.role) = (Some(profile), "--profile".to_owned(), None);
        }
        if self.endpoint_url.as_deref().is_some_and(|url| !is_url(url)) {
            return Err(Error::failed("ecr-login: --endpoint-url is not a URL: expected as in https://host"));
        }
        target.endpoint_url = self.endpoint_url.or(target.endpoint_url);
        let grant = login::grant(&env, &target, started + config.timeout());
        let grant = grant.map_err(|failure| Error::failed(login::sentence(&target, &failure)))?;
        print(output, grant.token.password.expose())
    }
}

/// Arguments of `export`.
#[derive(Args, Debug)]
pub struct Export {
    /// Registries
    #[arg(required = true, value_name = "HOST")]
    hosts: Vec<String>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::DockerConfig)]
    format: Format,
    /// Name of the Kubernetes secret
    #[arg(long, default_value = "ecr-login")]
    name: String,
    /// Namespace of the Kubernetes secret; default none, so that kubectl decides
    #[arg(long)]
    namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A config.json with the passwords in it, as kaniko and other builders read it
    DockerConfig,
    /// A secret of type kubernetes.io/dockerconfigjson, for kubectl apply -f -
    KubernetesSecret,
    /// Assignments for a shell: DOCKER_AUTH_CONFIG, and for a single registry ECR_REGISTRY, ECR_USERNAME, ECR_PASSWORD
    Env,
}

impl Export {
    /// Prints the file. With several registries it is all or nothing.
    pub fn run(self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let mut tokens = BTreeMap::new();
        for host in &self.hosts {
            let started = Instant::now();
            let (config, target) = target(env, host, started)?;
            let grant = login::grant(env, &target, started + config.timeout());
            let grant = grant.map_err(|failure| Error::failed(login::sentence(&target, &failure)))?;
            tokens.insert(target.host, grant.token);
        }
        let config = docker_config(&tokens);
        let text = match self.format {
            Format::DockerConfig => config,
            Format::KubernetesSecret => {
                let mut secret = json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": self.name},
                    "type": "kubernetes.io/dockerconfigjson",
                    "data": {".dockerconfigjson": BASE64_STANDARD.encode(config.as_bytes())},
                });
                if let Some(namespace) = self.namespace {
                    secret["metadata"]["namespace"] = namespace.into();
                }
                Zeroizing::new(secret.to_string())
            }
            Format::Env => {
                let mut lines = Zeroizing::new(assignment("DOCKER_AUTH_CONFIG", &config));
                if let (1, Some((host, token))) = (tokens.len(), tokens.first_key_value()) {
                    let (user, password) = (&token.username, token.password.expose());
                    for (name, value) in
                        [("ECR_REGISTRY", host.as_str()), ("ECR_USERNAME", user), ("ECR_PASSWORD", password)]
                    {
                        lines.push('\n');
                        lines.push_str(&assignment(name, value));
                    }
                }
                lines
            }
        };
        print(output, &text)
    }
}

fn docker_config(tokens: &BTreeMap<String, Token>) -> Zeroizing<String> {
    let auth = |token: &Token| {
        let pair = Zeroizing::new(format!("{}:{}", token.username, token.password.expose()));
        json!({"auth": BASE64_STANDARD.encode(pair.as_bytes())})
    };
    let auths: serde_json::Map<String, Value> =
        tokens.iter().map(|(host, token)| (host.clone(), auth(token))).collect();
    Zeroizing::new(json!({ "auths": auths }).to_string())
}

/// For a POSIX shell.
fn assignment(name: &str, value: &str) -> String {
    format!("{name}='{}'", value.replace('\'', "'\\''"))
}

fn print(output: &mut impl Write, secret: &str) -> Result<ExitCode, Error> {
    if io::stdout().is_terminal() {
        let _ = writeln!(io::stderr(), "ecr-login: what follows is a secret; mind who sees this terminal");
    }
    let written = writeln!(output, "{secret}").and_then(|()| output.flush());
    written.map_err(|error| Error::failed(format!("ecr-login: cannot write the answer: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// The settings for a host that a person named: one that is not ours is a mistake.
fn target(env: &Env, host: &str, started: Instant) -> Result<(Config, Target), Error> {
    login::target(env, host, started).map_err(|error| match error {
        Error::NotFound => Error::failed(format!(
            "ecr-login: {host} is not an ECR registry, and the configuration does not name it; \
             expected as in 111122223333.dkr.ecr.us-east-1.amazonaws.com"
        )),
        error @ Error::Failed(_) => error,
    })
}

fn any_registry(region: &str) -> Result<String, Error> {
    Registry::of_account(ANY_ACCOUNT, region)
        .map(|registry| registry.host)
        .ok_or_else(|| Error::failed(format!("ecr-login: '{region}' is not an AWS region")))
}

/// The region in the order of the AWS CLI.
fn default_region(env: &Env, profile: Option<&str>, started: Instant) -> Result<String, Error> {
    let of_profile = || {
        let selected = Selected::new(env, profile.map(|profile| (profile, "--profile")));
        let profiles = Profiles::read(env, selected.name(), config::deadline(env, started)).ok()?;
        profiles.profile(selected.name())?.get("region").map(str::to_owned)
    };
    let of_environment = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| env.text(name));
    of_environment
        .map(str::to_owned)
        .or_else(of_profile)
        .filter(|region| !region.is_empty())
        .ok_or_else(|| Error::failed("ecr-login: no region: name one with --region or AWS_REGION, or name a registry"))
}
