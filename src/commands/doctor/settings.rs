//! What the settings decide about a host: whether the helper serves it, whose token it gets, and what the cache holds for it.

use std::sync::Arc;

use super::Checker;
use super::check::{Check, Name, Place};
use super::report::RegistryReport;
use crate::aws::Exchange;
use crate::cache::{Entry, Freshness};
use crate::code::Code;
use crate::commands::findings;
use crate::config::{Caller, Config, Target, TokenOrigin, TokenProvider};
use crate::display_time::describe_duration;
use crate::env::Env;
use crate::error::Failure;
use crate::fallback;
use crate::identity::{Identity, IdentityToken, Source};
use crate::quote::{self, without_path};
use crate::registry;
use crate::token_provider::{self, Authenticator};

/// Applies the configuration to the host; `None` if there is nothing more to check.
pub(super) fn check_mapping(checker: Checker, report: &mut RegistryReport) -> Option<Target> {
    let config = match checker.config {
        Ok(config) => config,
        // Already reported with the machine.
        Err(failure) => {
            report.add(Check::failed(Name::Mapping, failure.clone()).at(Place::Machine(0)));
            return None;
        }
    };
    match config.target(checker.env, &report.host) {
        Ok(Some(target)) => {
            report.account = target.registry.account().map(|account| account.to_string());
            report.region = Some(target.registry.region().to_string());
            report.add(match findings::unknown_region(&report.host) {
                Some(failure) => Check::warned(Name::Host, failure),
                None => Check::ok(Name::Host, describe_registry(&target)),
            });
            report.add(Check::ok(Name::Mapping, describe_mapping(&target)));
            Some(target)
        }
        Ok(None) => {
            report.add(Check::of(Name::Host, describe_other(checker.env, config, &report.host)));
            None
        }
        Err(failure) => {
            report.add(Check::failed(Name::Mapping, failure));
            None
        }
    }
}

/// Describes who serves a host that is no registry of ECR.
fn describe_other(env: &Env, config: &Config, host: &str) -> Result<String, Failure> {
    if let Some(name) = &config.fallback {
        fallback::find(env, name)?;
        return Ok(format!("not an ECR registry; docker-credential-{name}, the fallback helper, serves it"));
    }
    if host.contains('*') {
        let what = "a pattern, and clients look for the host itself in credHelpers";
        let fix = "replace it by one entry for each registry, which setup writes";
        return Err(Failure::new(Code::HostUnknown, what, fix));
    }
    let what = registry::wrong_part(host).map_or_else(
        || "not an ECR registry, and the configuration does not name it: clients get no credentials for it".to_owned(),
        |wrong| format!("not an ECR registry: {wrong}"),
    );
    Err(Failure::usual(Code::HostUnknown, what))
}

fn describe_registry(Target { host, registry, .. }: &Target) -> String {
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

fn describe_mapping(target: &Target) -> String {
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
            parts.push(format!("the web identity in {}", quote::variable(name)));
        }
    }
    parts.extend(target.endpoint_url.iter().map(|url| format!("endpoint {}", without_path(url))));
    match &target.chosen_by {
        Some(by) if parts.is_empty() => format!("by {by}: the AWS settings decide"),
        Some(by) => format!("by {by}: {}", parts.join(", ")),
        None => "none: the AWS settings decide".to_owned(),
    }
}

/// Reads whose token a target gets. Its requests are steps of the exchange that is returned too.
pub(super) fn check_identity(
    checker: Checker,
    target: &Target,
    report: &mut RegistryReport,
) -> Result<(Exchange, Arc<Identity>), Failure> {
    let exchange = checker.exchange.beside();
    let deadline = checker.for_credentials();
    let identity = Authenticator::new(checker.env, target, exchange.clone()).identity(deadline)?;
    report.source = Some(identity.source().to_string());
    report.role = identity.chain.role_arn().map(str::to_owned);
    report.profile = profile(&identity);
    report.add(check_cache(checker, target, &identity));
    if !identity.chain.passed_over.is_empty() {
        // Whether the machine has a role is not known yet.
        let what = match identity.source() {
            Source::Instance(_) => identity.chain.passed_over.join("; "),
            _ => format!("from {}", identity.chain.with_passed_over()),
        };
        let hint = "unset or remove what should not count, or add what is missing";
        report.add(Check::warned(Name::Credentials, Failure::new(Code::SettingPassedOver, what, hint)));
    }
    Ok((exchange, identity))
}

/// The profile of the credentials, if they come from one.
fn profile(identity: &Identity) -> Option<String> {
    const ENVIRONMENT: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
    let selected = || identity.profiles.profile(identity.selected.name());
    match identity.source() {
        Source::Keys(keys) if keys.profile.is_none() => None,
        Source::WebIdentity(of) if !matches!(&of.token, IdentityToken::File { setting, .. } if setting != ENVIRONMENT) => {
            None
        }
        // A profile leads to the machine by a role alone.
        Source::Container(_) | Source::Instance(_) if selected()?.get("role_arn").is_none() => None,
        _ => Some(identity.selected.name().to_owned()),
    }
}

const UNUSED: &str = "not used, so every get calls AWS";

pub(super) fn check_cache(checker: Checker, target: &Target, identity: &Identity) -> Check {
    let warned = |how: &str, mut failure: Failure| {
        failure.what = format!("{how}: {}", failure.what);
        Check::warned(Name::Cache, failure)
    };
    match token_provider::inspect_cache(checker.env, identity) {
        Err(failure) => warned(UNUSED, failure),
        Ok((_, entry, Some(failure))) => {
            let is_served = entry.is_some_and(|entry| entry.freshness_within(target.max_age) != Freshness::Expired);
            let kept = "not written to, so every get calls AWS once the token in it has expired";
            warned(if is_served { kept } else { UNUSED }, failure)
        }
        Ok((dir, entry, None)) => {
            let state = entry.map(|entry| describe_entry(checker, target, &entry));
            let state = state.unwrap_or_else(|| "nothing for this identity yet".to_owned());
            Check::ok(Name::Cache, format!("{}: {state}", dir.display()))
        }
    }
}

fn describe_entry(checker: Checker, target: &Target, entry: &Entry) -> String {
    let (age, until) = (describe_duration(entry.age()), checker.local_time.show(entry.expires_at));
    let state = match entry.freshness_within(target.max_age) {
        Freshness::Fresh => {
            let refreshed = entry.remaining().saturating_sub(entry.age()) / 2;
            format!("refreshed in {}, valid until {until}", describe_duration(refreshed))
        }
        Freshness::Stale | Freshness::ExpiresSoon => format!("refreshed by the next get, valid until {until}"),
        Freshness::Expired => "expired, or older than max_age; the next get requests a new one".to_owned(),
    };
    format!("a token {age} old, {state}")
}
