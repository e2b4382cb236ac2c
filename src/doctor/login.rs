//! From the host to the registry's answer, as `get` goes, but past the cache.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::Check;
use crate::aws::{self, Route, Session};
use crate::cache::Age;
use crate::clients;
use crate::config::{self, Config, Target};
use crate::display_time::words;
use crate::env::Env;
use crate::error::{Error, Failure, mask_user_info};
use crate::identity::Identity;
use crate::login;

/// A clock that differs by more may make AWS refuse signatures; its limit is five minutes.
const TOLERATED: Duration = Duration::from_mins(4);

/// All checks from the host on, up to the first that the rest stands on.
pub(super) fn examine(env: &Env, host: &str) -> Vec<Check> {
    let mut checks = Vec::new();
    // The way ends where there is nothing to go on with.
    let _ = walk(env, host, &mut checks);
    checks
}

fn walk(env: &Env, host: &str, checks: &mut Vec<Check>) -> Option<()> {
    let (config, target) = match login::target(env, host, Instant::now()) {
        Ok(found) => found,
        Err(error) => {
            checks.push(refused(env, error));
            return None;
        }
    };
    checks.push(Check::ok("host", understood(&target)));
    checks.push(Check::ok("mapping", mapping(env, &config, &target)));
    let deadline = || Instant::now() + config.timeout();
    let identity = match identity(env, &target, deadline()) {
        Ok(identity) => identity,
        Err(failure) => {
            checks.push(Check::failed("credentials", failure));
            return None;
        }
    };
    checks.push(cache(env, &identity));
    match aws::route(&target, &identity, deadline()) {
        Ok(Route { endpoint, proxy, roots }) => {
            let proxy = proxy.map_or_else(|| "directly".to_owned(), |proxy| format!("through the proxy {proxy}"));
            checks.push(Check::ok("endpoint", format!("{endpoint} {proxy}, trusting {roots}")));
        }
        Err(failure) => {
            checks.push(Check::failed("endpoint", failure));
            return None;
        }
    }
    let started = Instant::now();
    let session = match Session::open(&target, &identity, deadline()) {
        Ok(session) => session,
        Err(failure) => {
            checks.push(Check::failed("credentials", failure));
            return None;
        }
    };
    let (source, key) = (&identity.chain, session.access_key_id());
    checks.push(Check::ok("credentials", format!("from {source}: access key {key}, in {}", took(started))));
    checks.push(match session.principal(deadline()) {
        Ok(arn) => Check::ok("principal", arn),
        // Not needed for a token: a network may let through ECR alone.
        Err(failure) => Check::warning("principal", format!("unknown: {}", failure.whole()), failure.next),
    });
    let started = Instant::now();
    let issued = match session.clone().request_token(deadline()) {
        Ok(issued) => issued,
        Err(failure) => {
            checks.push(Check::failed("token", failure));
            return None;
        }
    };
    let took = took(started);
    checks.push(match issued.life {
        Some(life) => Check::ok("token", format!("AWS gave one in {took}, good for {}", words(life))),
        None => Check::warning(
            "token",
            format!("AWS gave one in {took}, but it came expired or without an expiry, so it is never cached"),
            "an emulator does that; from AWS itself it should not happen",
        ),
    });
    checks.push(clock(session.clock_ahead()));
    checks.push(match session.check_registry(&issued.token, deadline()) {
        Ok(StatusCode::OK) => Check::ok("registry", format!("https://{}/v2/ accepts the token", target.host)),
        Ok(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => Check::failure(
            "registry",
            format!("https://{}/v2/ refuses the token: {status}", target.host),
            "check that the host is the registry itself and not a proxy in front of it, and the registry's policy",
        ),
        Ok(status) => Check::warning(
            "registry",
            format!("https://{}/v2/ answers {status}", target.host),
            "check what answers there: a proxy, a captive portal, the host's spelling",
        ),
        Err(failure) => Check::failed("registry", failure),
    });
    Some(())
}

/// Who would ask, with a sign-in that lasts.
fn identity(env: &Env, target: &Target, deadline: Instant) -> Result<Arc<Identity>, Failure> {
    let identity = Arc::new(Identity::of(env, target, deadline)?);
    if aws::renew_sign_in(target, &identity, deadline)? {
        return Identity::of(env, target, deadline).map(Arc::new);
    }
    Ok(identity)
}

fn refused(env: &Env, error: Error) -> Check {
    let fallback = Config::load(env, config::deadline(env, Instant::now()))
        .ok()
        .and_then(|config| config.fallback().map(|name| format!("docker-credential-{name}")));
    match (error, fallback) {
        (Error::NotFound, Some(program)) if clients::on_path(env, &program).is_some() => {
            Check::ok("host", format!("not an ECR registry; handed on to {program}, the fallback helper"))
        }
        (Error::NotFound, Some(program)) => Check::failure(
            "host",
            format!("not an ECR registry, and {program}, the fallback helper for such, is not on the PATH"),
            "install it, or take 'fallback' out of the configuration",
        ),
        (Error::NotFound, None) => Check::failure(
            "host",
            "not an ECR registry, and the configuration does not name it: clients get no credentials from us",
            "check the spelling, as in 111122223333.dkr.ecr.us-east-1.amazonaws.com; a custom domain needs a \
             [[registry]] entry with 'registry'",
        ),
        (Error::Failed(what), _) => Check::failure("mapping", what, "correct the configuration"),
    }
}

fn understood(target: &Target) -> String {
    let Target { host, registry, .. } = target;
    let kind = match (registry.fips, registry.dual_stack) {
        (true, true) => ", FIPS and dual-stack",
        (true, false) => ", FIPS",
        (false, true) => ", dual-stack",
        (false, false) => "",
    };
    let behind = if *host == registry.host { String::new() } else { format!("{} behind it: ", registry.host) };
    match &registry.account {
        Some(account) => format!("{behind}account {account}, region {}{kind}", registry.region),
        None => format!("{behind}ECR Public, whose tokens come from {}{kind}", registry.region),
    }
}

fn mapping(env: &Env, config: &Config, target: &Target) -> String {
    let decided = config.decision(env, target);
    let mut parts: Vec<String> = target.profile.iter().map(|profile| format!("profile '{profile}'")).collect();
    parts.extend(target.role.iter().map(|role| format!("role {}", role.arn)));
    parts.extend(target.endpoint_url.iter().map(|url| format!("endpoint {}", mask_user_info(url))));
    match decided {
        Some(by) if parts.is_empty() => format!("by {by}: the AWS settings as they are"),
        Some(by) => format!("by {by}: {}", parts.join(", ")),
        None => "none: the AWS settings as they are".to_owned(),
    }
}

fn cache(env: &Env, identity: &Identity) -> Check {
    match login::cached(env, identity) {
        Err(why) => Check::warning(
            "cache",
            format!("not used: {why}"),
            "every get asks AWS until that is mended; a damaged entry is replaced by the next one",
        ),
        Ok((dir, None)) => Check::ok("cache", format!("{}: nothing for this identity yet", dir.display())),
        Ok((dir, Some((age, entry)))) => {
            let (lived, left) = (entry.lived(), entry.left());
            let what = match age {
                Age::Fresh => format!("refreshed in {}", words(left.saturating_sub(lived) / 2)),
                Age::Stale => "refreshed with the next get".to_owned(),
                Age::Dead => "over; the next get asks AWS".to_owned(),
            };
            Check::ok("cache", format!("{}: a token {} old, {what}", dir.display(), words(lived)))
        }
    }
}

fn clock(ahead: i64) -> Check {
    let seconds = Duration::from_secs(ahead.unsigned_abs());
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    if seconds <= Duration::from_secs(2) {
        Check::ok("clock", "agrees with AWS's")
    } else if seconds <= TOLERATED {
        Check::ok("clock", format!("{} {side} AWS's", words(seconds)))
    } else {
        Check::warning(
            "clock",
            format!("{} {side} AWS's", words(seconds)),
            "set the clock: 'timedatectl set-ntp true', or restart a virtual machine that slept",
        )
    }
}

fn took(started: Instant) -> String {
    format!("{} ms", started.elapsed().as_millis())
}
