//! Checks the credentials of a registry and requests a token with them, as a `get` without the cache does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::report::{Check, RegistryReport};
use super::shared::EndpointState;
use super::{Checker, Event};
use crate::aws::{self, Issued, Renewal, Route, Session};
use crate::cache::{Entry, Freshness};
use crate::client_config;
use crate::code::Code;
use crate::config::{Caller, Config, Target, TokenOrigin, TokenProvider};
use crate::display_time::{LocalTime, describe_duration};
use crate::env::Env;
use crate::error::{Error, Failure, mask_user_info};
use crate::identity::{Identity, IdentityToken, Selected, Source, WebIdentity};
use crate::registry::{ANY_ACCOUNT, Registry};
use crate::token::Token;
use crate::token_provider::{self, Stored};

/// The time limits for the token and for the principal. Credentials have the time limit of a `get`, since a
/// `credential_process` may be slow.
const TOKEN: Duration = Duration::from_secs(11);
const PRINCIPAL: Duration = Duration::from_secs(3);

/// The largest clock difference without a warning. From five minutes on, AWS rejects signatures.
const TOLERATED: Duration = Duration::from_mins(4);

/// Applies the configuration to a host; `None` if there is nothing more to check.
pub(super) fn target(checker: Checker, host: &str, report: &mut RegistryReport) -> Option<Target> {
    let config = match checker.config {
        Ok(config) => config,
        // Already reported with the machine.
        Err(what) => {
            let check = Check::failure("mapping", Code::ConfigInvalid, what, "correct the configuration");
            report.checks.push(check.shown());
            return None;
        }
    };
    match config.target(checker.env, host) {
        Ok(target) => {
            report.account.clone_from(&target.registry.account);
            report.region = Some(target.registry.region.clone());
            report.checks.push(Check::ok("host", understood(&target)));
            report.checks.push(Check::ok("mapping", mapping(checker.env, config, &target)));
            Some(target)
        }
        Err(error) => {
            report.checks.push(not_served(checker.env, config, host, error));
            None
        }
    }
}

/// How one target gets its token.
pub(super) struct Access {
    target: Target,
    identity: Arc<Identity>,
    route: Result<Route, Failure>,
    session: Option<Session>,
    token: Option<Token>,
    principal: Option<String>,
    expires_at: Option<OffsetDateTime>,
    local_time: LocalTime,
}

impl Access {
    /// Reads the settings for `target`.
    pub(super) fn new(checker: Checker, target: Target, report: &mut RegistryReport) -> Result<Self, Check> {
        let failed = |failure| Check::failed("credentials", failure);
        let identity = identity(checker, &target).map_err(failed)?;
        report.source = Some(identity.source().to_string());
        report.role = match (identity.chain.roles.last(), identity.source()) {
            (Some(role), _) => Some(role.arn.clone()),
            (None, Source::WebIdentity(WebIdentity { role_arn, .. })) => Some(role_arn.clone()),
            (None, _) => None,
        };
        report.profile = profile(&identity);
        report.checks.push(cache(checker, &target, &identity));
        let route = aws::route(&target, &identity, checker.until(TOKEN));
        let local_time = checker.local_time;
        Ok(Self { target, identity, route, session: None, token: None, principal: None, expires_at: None, local_time })
    }

    /// The endpoint of the ECR API.
    pub(super) fn endpoint(&self) -> &str {
        self.route.as_ref().map(|route| route.endpoint.as_str()).unwrap_or_default()
    }

    pub(super) fn gives_same_token(&self, other: &Self) -> bool {
        self.identity.key == other.identity.key
    }

    pub(super) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// The token, after a successful check.
    pub(super) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The target for another host that gets the same token.
    pub(super) fn target_of(&self, host: &str) -> Target {
        Target { host: host.to_owned(), ..self.target.clone() }
    }

    /// Resolves the credentials and requests a token. Of the groups of one endpoint, the first one asks alone: if it gets no answer,
    /// the others do not ask. Sends each check as soon as it is done, and returns all.
    pub(super) fn check_all(
        &mut self,
        checker: Checker,
        endpoint: &Mutex<EndpointState>,
        send: &impl Fn(Event),
    ) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut emit = |check: Check| {
            send(Event::Shared(check.clone()));
            checks.push(check);
        };
        match &self.route {
            Err(failure) => {
                emit(Check::failed("endpoint", failure.clone()));
                return checks;
            }
            Ok(route) => emit(Check::ok("endpoint", described(route))),
        }
        let source = self.identity.chain.to_string();
        send(Event::Waiting(format!("credentials from {source}")));
        let started = Instant::now();
        let session = match Session::open(&self.target, &self.identity, for_credentials(checker)) {
            Ok(session) => session,
            Err(failure) if self.target.registry.is_public() => {
                let what = format!("none ({}): images of ECR Public are pulled anonymously", failure.what);
                emit(Check::ok("credentials", what));
                return checks;
            }
            Err(failure) => {
                let cached = Some(failure.code).filter(|code| *code == Code::MfaRequired);
                match cached.and_then(|_| self.take_cached_token(checker)) {
                    Some(valid) => {
                        let what = format!("an MFA code is required for {source}; 'login' has cached a token");
                        emit(Check::ok("credentials", what));
                        emit(Check::ok("token", format!("in the cache, {valid}")));
                    }
                    None => emit(Check::failed("credentials", failure)),
                }
                return checks;
            }
        };
        emit(Check::ok(
            "credentials",
            format!("from {source}: access key {}, in {}", session.access_key_id(), took(started)),
        ));
        let state = endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let first = match &*state {
            EndpointState::Silent(failed) => {
                checks.push(failed.clone());
                return checks;
            }
            EndpointState::Unknown => Some(state),
            EndpointState::Answers => {
                drop(state);
                None
            }
        };
        send(Event::Waiting(format!("a token from {}", self.endpoint())));
        let started = Instant::now();
        let answer = session.clone().request_token(checker.until(TOKEN));
        let clock_ahead = session.clock_ahead();
        let took = took(started);
        let has_no_answer = answer.as_ref().is_err_and(|failure| failure.code.is_of_network());
        let failed = answer.as_ref().err().map(|failure| Check::failed("token", failure.clone()));
        // Releases the lock: STS is another endpoint, so the other groups do not wait for it.
        if let Some(mut state) = first {
            *state = match failed.clone().filter(|_| has_no_answer) {
                Some(failed) => EndpointState::Silent(failed),
                None => EndpointState::Answers,
            };
        }
        if !has_no_answer {
            send(Event::Waiting("the principal from STS".to_owned()));
            match checker.principals.of(&session, checker.until(PRINCIPAL)) {
                Ok(arn) => {
                    emit(Check::ok("principal", &arn));
                    self.principal = Some(arn);
                }
                Err(failure) => emit(Check::warning(
                    "principal",
                    Code::PrincipalUnknown,
                    format!("unknown: {}", failure.whole()),
                    failure.hint,
                )),
            }
        }
        match answer {
            Ok(issued) => {
                emit(self.token_check(&issued, &took));
                emit(clock(clock_ahead));
                self.token = Some(issued.token);
            }
            Err(_) => failed.into_iter().for_each(emit),
        }
        self.session = Some(session);
        checks
    }

    /// Uses the cached token, and returns how long it is valid; `None` if there is no valid one.
    fn take_cached_token(&mut self, checker: Checker) -> Option<String> {
        let stored = token_provider::cached(checker.env, &self.target, &self.identity).ok()?;
        let entry = stored.entry.filter(|entry| entry.freshness() != Freshness::Expired)?;
        let expires_at = entry.expires_at();
        self.expires_at = Some(expires_at);
        self.token = Some(entry.into_token());
        Some(self.valid(expires_at))
    }

    fn token_check(&mut self, issued: &Issued, took: &str) -> Check {
        let region = &self.target.registry.region;
        let Some(life) = issued.valid_for else {
            return Check::warning(
                "token",
                Code::TokenUncacheable,
                format!(
                    "AWS issued one for {region} in {took}, but it came expired or without an expiry time, so it is never \
                     cached"
                ),
                "ignore this with an emulator; with AWS itself, check AWS_ENDPOINT_URL and the clock",
            );
        };
        let expires_at = OffsetDateTime::now_utc() + life;
        self.expires_at = Some(expires_at);
        Check::ok("token", format!("AWS issued one for {region} in {took}, {}", self.valid(expires_at)))
    }

    fn valid(&self, expires_at: OffsetDateTime) -> String {
        let left = Duration::try_from(expires_at - OffsetDateTime::now_utc()).unwrap_or_default();
        // Rounds to the nearest second, since some milliseconds have passed.
        let left = describe_duration(Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX) + 500));
        format!("valid for {left}, until {}", self.local_time.show(expires_at))
    }

    /// Copies the results into the report of a registry.
    pub(super) fn describe(&self, report: &mut RegistryReport) {
        report.principal.clone_from(&self.principal);
        let expiry = self.expires_at.and_then(|at| at.replace_nanosecond(0).ok()?.format(&Rfc3339).ok());
        report.expiry = expiry;
        report.valid = self.expires_at.map(|at| format!("token {}", self.valid(at)));
    }
}

/// Checks the default credentials, without a registry.
pub(super) fn check_without_registry(checker: Checker) -> Vec<Check> {
    let Ok(config) = checker.config else { return Vec::new() };
    let region = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| checker.env.text(name));
    let registry = region.and_then(|region| Registry::of_account(ANY_ACCOUNT, region));
    let registry = registry.or_else(|| Registry::of_account(ANY_ACCOUNT, "us-east-1"));
    let host = registry.map(|registry| registry.host).unwrap_or_default();
    let Ok(target) = config.target(checker.env, &host) else { return Vec::new() };
    let identity = match identity(checker, &target) {
        Ok(identity) => identity,
        Err(failure) => return vec![Check::failed("credentials", failure)],
    };
    let mut checks = vec![cache(checker, &target, &identity)];
    match Session::open(&target, &identity, for_credentials(checker)) {
        Ok(session) => {
            let what = format!("from {}: access key {}", identity.chain, session.access_key_id());
            checks.push(Check::ok("credentials", what));
            checks.push(match checker.principals.of(&session, checker.until(PRINCIPAL)) {
                Ok(arn) => Check::ok("principal", arn),
                Err(failure) => {
                    let what = format!("unknown: {}", failure.whole());
                    Check::warning("principal", Code::PrincipalUnknown, what, failure.hint)
                }
            });
        }
        Err(failure) => checks.push(Check::failed("credentials", failure)),
    }
    checks
}

/// The identity, after renewing its sign-in where needed.
fn identity(checker: Checker, target: &Target) -> Result<Arc<Identity>, Failure> {
    let deadline = for_credentials(checker);
    let identity = Arc::new(Identity::of(checker.env, target, deadline)?);
    if aws::renew_sign_in(target, &identity, deadline)? == Renewal::Renewed {
        return Identity::of(checker.env, target, deadline).map(Arc::new);
    }
    Ok(identity)
}

fn for_credentials(checker: Checker) -> Instant {
    checker.until(checker.config.map(Config::timeout).unwrap_or_default())
}

/// The profile of the credentials, if they come from one.
fn profile(identity: &Identity) -> Option<String> {
    match identity.source() {
        Source::Environment(_) | Source::Account(_) | Source::ServiceAccount(_) => None,
        Source::WebIdentity(_) if matches!(identity.selected, Selected::Default) => None,
        Source::WebIdentity(of) if !matches!(of.token, IdentityToken::File { .. }) => None,
        Source::Container | Source::Instance(_) if identity.selected.name() == "default" => None,
        _ => Some(identity.selected.name().to_owned()),
    }
}

/// Reports why the helper does not serve a host.
fn not_served(env: &Env, config: &Config, host: &str, error: Error) -> Check {
    let fallback = config.fallback().map(|name| format!("docker-credential-{name}"));
    match (error, fallback) {
        (Error::NotFound, Some(program)) if client_config::on_path(env, &program).is_some() => {
            Check::ok("host", format!("not an ECR registry; {program}, the fallback helper, serves it"))
        }
        (Error::NotFound, Some(program)) => Check::failure(
            "host",
            Code::FallbackMissing,
            format!("not an ECR registry, and {program}, the fallback helper, is not on the PATH"),
            "install it, or remove 'fallback' from the configuration",
        ),
        (Error::NotFound, None) if host.contains('*') => Check::failure(
            "host",
            Code::HostUnknown,
            "a pattern, and clients look for the host itself in credHelpers",
            "replace it by one entry for each registry, which setup writes",
        ),
        (Error::NotFound, None) => Check::failure(
            "host",
            Code::HostUnknown,
            "not an ECR registry, and the configuration does not name it: clients get no credentials for it",
            "correct the host, e.g. 111122223333.dkr.ecr.us-east-1.amazonaws.com; a custom domain requires a \
             [[registry]] entry with 'registry'",
        ),
        (error, _) => Check::failure("mapping", Code::ConfigInvalid, error.message(), "correct the configuration"),
    }
}

fn described(Route { endpoint, proxy, roots }: &Route) -> String {
    let proxy = proxy.as_ref().map_or_else(|| "directly".to_owned(), |proxy| format!("through the proxy {proxy}"));
    format!("{endpoint} {proxy}, trusting {roots}")
}

fn understood(target: &Target) -> String {
    let Target { host, registry, .. } = target;
    let kind = match (registry.fips, registry.dual_stack) {
        (true, true) => ", FIPS and dual-stack",
        (true, false) => ", FIPS",
        (false, true) => ", dual-stack",
        (false, false) => "",
    };
    let behind = if *host == registry.host { String::new() } else { format!("in front of {}: ", registry.host) };
    match &registry.account {
        Some(account) => format!("{behind}account {account}, region {}{kind}", registry.region),
        None => format!("{behind}ECR Public, tokens from {}{kind}", registry.region),
    }
}

fn mapping(env: &Env, config: &Config, target: &Target) -> String {
    let decided = config.decision(env, target);
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
    parts.extend(target.endpoint_url.iter().map(|url| format!("endpoint {}", mask_user_info(url))));
    match decided {
        Some(by) if parts.is_empty() => format!("by {by}: the AWS settings decide"),
        Some(by) => format!("by {by}: {}", parts.join(", ")),
        None => "none: the AWS settings decide".to_owned(),
    }
}

fn cache(checker: Checker, target: &Target, identity: &Identity) -> Check {
    match token_provider::cached(checker.env, target, identity) {
        Err(Failure { code, what, hint, .. }) => {
            Check::warning("cache", code, format!("not used, so every get calls AWS: {what}"), hint)
        }
        Ok(Stored { dir, entry: None }) => {
            Check::ok("cache", format!("{}: nothing for this identity yet", dir.display()))
        }
        Ok(Stored { dir, entry: Some(entry) }) => {
            let (dir, age) = (dir.display(), describe_duration(entry.age()));
            Check::ok("cache", format!("{dir}: a token {age} old, {}", state(checker, &entry)))
        }
    }
}

fn state(checker: Checker, entry: &Entry) -> String {
    let until = checker.local_time.show(entry.expires_at());
    match entry.freshness() {
        Freshness::Fresh => {
            let refreshed = entry.remaining().saturating_sub(entry.age()) / 2;
            format!("refreshed in {}, valid until {until}", describe_duration(refreshed))
        }
        Freshness::Stale => format!("refreshed by the next get, valid until {until}"),
        Freshness::Expired => "expired; the next get requests a new one".to_owned(),
    }
}

fn clock(ahead: i64) -> Check {
    let seconds = Duration::from_secs(ahead.unsigned_abs());
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    if seconds <= Duration::from_secs(2) {
        Check::ok("clock", "agrees with AWS's")
    } else if seconds <= TOLERATED {
        Check::ok("clock", format!("{} {side} AWS's", describe_duration(seconds)))
    } else {
        Check::warning(
            "clock",
            Code::ClockOff,
            format!("{} {side} AWS's", describe_duration(seconds)),
            "set the clock: 'timedatectl set-ntp true', or restart a virtual machine that was suspended",
        )
    }
}

fn took(started: Instant) -> String {
    format!("{} ms", started.elapsed().as_millis())
}
