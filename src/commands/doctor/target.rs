//! Checks whether the helper serves a host, and which settings decide about it.

use super::Checker;
use super::report::{Check, Name, RegistryReport};
use crate::code::Code;
use crate::config::{Caller, Config, Target, TokenOrigin, TokenProvider};
use crate::env::Env;
use crate::error::{Error, without_path};
use crate::registry;

/// Applies the configuration to a host; `None` if there is nothing more to check.
pub(super) fn check(checker: Checker, host: &str, report: &mut RegistryReport) -> Option<Target> {
    let config = match checker.config {
        Ok(config) => config,
        // Already reported with the machine.
        Err(failure) => {
            report.checks.push(Check::failed(Name::Mapping, failure.clone()).shown());
            return None;
        }
    };
    match config.target(checker.env, host) {
        Ok(target) => {
            report.account = target.registry.account().map(|account| account.to_string());
            report.region = Some(target.registry.region().to_string());
            report.checks.push(Check::ok(Name::Host, understood(&target)));
            report.checks.push(Check::ok(Name::Mapping, mapping(&target)));
            Some(target)
        }
        Err(error) => {
            report.checks.push(not_served(checker.env, config, host, error));
            None
        }
    }
}

/// Reports why the helper does not serve a host.
fn not_served(env: &Env, config: &Config, host: &str, error: Error) -> Check {
    let fallback = config.fallback().map(|name| format!("docker-credential-{name}"));
    match (error, fallback) {
        (Error::NotFound, Some(program)) if env.find_program(&program).is_some() => {
            Check::ok(Name::Host, format!("not an ECR registry; {program}, the fallback helper, serves it"))
        }
        (Error::NotFound, Some(program)) => Check::failure(
            Name::Host,
            Code::FallbackMissing,
            format!("not an ECR registry, and {program}, the fallback helper, is not on the PATH"),
            "install it, or remove 'fallback' from the configuration",
        ),
        (Error::NotFound, None) if host.contains('*') => Check::failure(
            Name::Host,
            Code::HostUnknown,
            "a pattern, and clients look for the host itself in credHelpers",
            "replace it by one entry for each registry, which setup writes",
        ),
        (Error::NotFound, None) => Check::failure(
            Name::Host,
            Code::HostUnknown,
            match registry::wrong_part(host) {
                Some(wrong) => format!("not an ECR registry: {wrong}"),
                None => {
                    "not an ECR registry, and the configuration does not name it: clients get no credentials for it"
                        .to_owned()
                }
            },
            "correct the host, e.g. 111122223333.dkr.ecr.us-east-1.amazonaws.com; a custom domain requires a \
             [[registry]] entry with 'registry'",
        ),
        (Error::Failed(failure), _) => Check::failed(Name::Mapping, failure),
        (error, _) => Check::failure(Name::Mapping, Code::Internal, error.to_string(), "please report it"),
    }
}

fn understood(target: &Target) -> String {
    let Target { host, registry, .. } = target;
    let kind = match (registry.fips(), registry.dual_stack()) {
        (true, true) => ", FIPS and dual-stack",
        (true, false) => ", FIPS",
        (false, true) => ", dual-stack",
        (false, false) => "",
    };
    let (own, region) = (registry.host(), registry.region());
    let behind = if *host == own { String::new() } else { format!("in front of {own}: ") };
    match registry.account() {
        Some(account) => format!("{behind}account {account}, region {region}{kind}"),
        None => format!("{behind}ECR Public, tokens from {region}{kind}"),
    }
}

fn mapping(target: &Target) -> String {
    let caller = &target.caller;
    let mut parts: Vec<String> = caller.profile().iter().map(|profile| format!("profile '{}'", profile.name)).collect();
    parts.extend(caller.role().iter().map(|role| format!("role {}", role.arn)));
    match caller {
        Caller::AwsSettings { .. } | Caller::ServiceAccount(_) => {}
        Caller::AccountKeys { .. } => parts.push("the keys for this account".to_owned()),
        Caller::WebIdentity { token: TokenOrigin { provider: TokenProvider::GitHub, .. }, .. } => {
            parts.push("the web identity of the GitHub Actions job".to_owned());
        }
        Caller::WebIdentity { token: TokenOrigin { provider: TokenProvider::Variable(name), .. }, .. } => {
            parts.push(format!("the web identity in {name}"));
        }
    }
    parts.extend(target.endpoint_url.iter().map(|url| format!("endpoint {}", without_path(url))));
    match &target.chosen_by {
        Some(by) if parts.is_empty() => format!("by {by}: the AWS settings decide"),
        Some(by) => format!("by {by}: {}", parts.join(", ")),
        None => "none: the AWS settings decide".to_owned(),
    }
}
