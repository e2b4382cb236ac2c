//! Checks the credentials of a registry and requests a token with them, as a `get` without the cache does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Checker;
use super::report::{Check, Name, RegistryReport};
use super::shared::{Endpoint, EndpointState, Results};
use crate::aws::{Exchange, Issued, RegistryAnswer, Route, Session};
use crate::cache::{Entry, Freshness};
use crate::code::Code;
use crate::config::{Config, Target};
use crate::display_time::{LocalTime, describe_duration};
use crate::error::Failure;
use crate::identity::{CredentialChain, Identity, IdentityToken, Source, WebIdentity};
use crate::registry::{Account, Host, Region, Registry};
use crate::token::Token;
use crate::token_provider::{self, Authenticator, Stored};

/// The time limits for the token and for the principal. Credentials have the time limit of a `get`, since a
/// `credential_process` may be slow, and the longer one of a program that may ask a person.
const TOKEN: Duration = Duration::from_secs(11);
const PRINCIPAL: Duration = Duration::from_secs(3);

/// The largest clock difference without a warning. From five minutes on, AWS rejects signatures.
const TOLERATED: Duration = Duration::from_mins(4);

/// How one target gets its token.
pub(super) struct Access {
    target: Target,
    identity: Arc<Identity>,
    exchange: Exchange,
    token: Option<Token>,
    principal: Option<String>,
    expires_at: Option<OffsetDateTime>,
    local_time: LocalTime,
}

/// The answer to the request for a token, and how long it took.
struct Answer {
    issued: Result<Issued, Failure>,
    took: String,
    /// The seconds by which the clock of this machine is ahead of AWS's.
    clock_ahead: i64,
}

impl Access {
    /// Reads the settings for `target`.
    pub(super) fn new(checker: Checker, target: Target, report: &mut RegistryReport) -> Result<Self, Check> {
        let failed = |failure| Check::failed(Name::Credentials, failure);
        let exchange = checker.exchange.beside();
        let identity = identity(checker, &target, &exchange).map_err(failed)?;
        report.source = Some(identity.source().to_string());
        report.role = match (identity.chain.roles.last(), identity.source()) {
            (Some(role), _) => Some(role.arn.clone()),
            (None, Source::WebIdentity(WebIdentity { role_arn, .. })) => Some(role_arn.clone()),
            (None, _) => None,
        };
        report.profile = profile(&identity);
        report.checks.push(cache(checker, &target, &identity));
        report.checks.extend(passed_over(&identity));
        let local_time = checker.local_time;
        Ok(Self { target, identity, exchange, token: None, principal: None, expires_at: None, local_time })
    }

    /// The route to the endpoint of the ECR API.
    pub(super) fn route(&self, checker: Checker) -> Result<Route, Failure> {
        self.exchange.route(&self.target, &self.identity, checker.until(TOKEN))
    }

    /// Whether both request the same token.
    pub(super) fn gives_same_token(&self, other: &Self) -> bool {
        self.identity.key == other.identity.key
    }

    /// Whether both have the same credentials.
    pub(super) fn has_same_credentials(&self, other: &Self) -> bool {
        self.identity.chain == other.identity.chain
    }

    /// Asks the registry of a host that gets the same token, as a client does.
    pub(super) fn ask(&self, target: &Target, path: &str, deadline: Instant) -> Result<RegistryAnswer, Failure> {
        self.exchange.ask_registry(target, &self.identity, self.token.as_ref(), path, deadline)
    }

    /// The token, after a successful check.
    pub(super) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The target for another host that gets the same token.
    pub(super) fn target_of(&self, host: &str) -> Target {
        let host = Host::parse(host).unwrap_or_else(|| self.target.host.clone());
        Target { host, ..self.target.clone() }
    }

    /// Resolves the credentials and requests a token.
    pub(super) fn check(&mut self, checker: &mut Checker, endpoint: &Endpoint, results: &mut Results) {
        let started = Instant::now();
        let Some(session) = self.check_credentials(*checker, results) else { return };
        // A program may have waited for a person, and the other steps get their time after it.
        if matches!(self.identity.source(), Source::Process { .. }) {
            checker.deadline += started.elapsed();
        }
        let checker = *checker;
        let Some(answer) = request_token(checker, &session, endpoint, results) else { return };
        if !answer.issued.as_ref().is_err_and(|failure| failure.code.is_of_network()) {
            results.wait("the principal from STS");
            let principal = principal(checker, &session);
            self.principal = principal.as_ref().ok().cloned();
            results.add(principal_check(principal).at(results.places.credentials));
        }
        match answer.issued {
            Ok(issued) => {
                results.add(self.token_check(&issued, &answer.took).at(results.places.token));
                // The machine has one clock, so its check has no place of a registry.
                results.add(clock(answer.clock_ahead));
                self.token = Some(issued.token);
            }
            Err(failure) => {
                // An endpoint that does not answer is silent for all.
                let place = if failure.code.is_of_network() { results.places.endpoint } else { results.places.token };
                results.add(Check::failed(Name::Token, failure).at(place));
            }
        }
    }

    /// Resolves the credentials; `None` if there is nothing more to check.
    fn check_credentials(&mut self, checker: Checker, results: &mut Results) -> Option<Session> {
        let place = results.places.credentials;
        let source = self.identity.chain.to_string();
        results.wait(&format!("credentials from {source}"));
        let started = Instant::now();
        let deadline = self.identity.deadline(&self.target, for_credentials(checker));
        match self.exchange.open_session(&self.target, &self.identity, &[], deadline) {
            Ok(session) => {
                let what = format!("from {source}: access key {}, in {}", session.access_key_id(), took(started));
                results.add(Check::ok(Name::Credentials, what).at(place));
                return Some(session);
            }
            Err(failure) if self.target.registry.is_public() => {
                let what = format!("none ({}): images of ECR Public are pulled anonymously", failure.what);
                results.add(Check::ok(Name::Credentials, what).at(place));
            }
            Err(failure) if failure.code == Code::MfaRequired => match self.take_cached_token(checker) {
                Some(valid) => {
                    let what = format!("an MFA code is required for {source}; 'login' has cached a token");
                    results.add(Check::ok(Name::Credentials, what).at(place));
                    let token = Check::ok(Name::Token, format!("in the cache, {valid}"));
                    results.add(token.at(results.places.token));
                }
                None => results.add(Check::failed(Name::Credentials, failure).at(place)),
            },
            Err(failure) => results.add(Check::failed(Name::Credentials, failure).at(place)),
        }
        None
    }

    /// Uses the cached token, and returns how long it is valid; `None` if there is no valid one.
    fn take_cached_token(&mut self, checker: Checker) -> Option<String> {
        let stored = token_provider::cached(checker.env, &self.identity).ok()?;
        let entry = stored.entry.filter(|entry| entry.freshness_within(self.target.max_age) != Freshness::Expired)?;
        let expires_at = entry.expires_at();
        self.expires_at = Some(expires_at);
        self.token = Some(entry.into_token());
        Some(self.valid(expires_at))
    }

    fn token_check(&mut self, issued: &Issued, took: &str) -> Check {
        let region = self.target.registry.region();
        let Some(life) = issued.valid_for else {
            return Check::warning(
                Name::Token,
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
        Check::ok(Name::Token, format!("AWS issued one for {region} in {took}, {}", self.valid(expires_at)))
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

/// Requests a token. Of the groups of one endpoint, the first one asks alone: if it gets no answer, the others do not ask,
/// and get its check.
fn request_token(checker: Checker, session: &Session, endpoint: &Endpoint, results: &mut Results) -> Option<Answer> {
    let state = endpoint.state();
    let first = match &*state {
        EndpointState::Silent(failed) => {
            results.add_shown(failed.clone());
            return None;
        }
        EndpointState::Unknown => Some(state),
        EndpointState::Answers => {
            drop(state);
            None
        }
    };
    results.wait(&format!("a token from {}", endpoint.url()));
    let started = Instant::now();
    let issued = session.clone().request_token(checker.until(TOKEN));
    let clock_ahead = session.clock_ahead();
    let took = took(started);
    // Releases the lock: STS is another endpoint, so the other groups do not wait for it.
    if let Some(mut state) = first {
        *state = match &issued {
            Err(failure) if failure.code.is_of_network() => {
                EndpointState::Silent(Check::failed(Name::Token, failure.clone()))
            }
            _ => EndpointState::Answers,
        };
    }
    Some(Answer { issued, took, clock_ahead })
}

/// Checks the default credentials, without a registry.
pub(super) fn check_without_registry(checker: Checker) -> Vec<Check> {
    let Ok(config) = checker.config else { return Vec::new() };
    let region = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| checker.env.text(name));
    let region = region.and_then(|region| region.parse().ok()).unwrap_or_else(Region::of_public);
    let Ok(target) = config.target(checker.env, &Registry::private(Account::ANY, region).host()) else {
        return Vec::new();
    };
    let identity = match identity(checker, &target, checker.exchange) {
        Ok(identity) => identity,
        Err(failure) => return vec![Check::failed(Name::Credentials, failure)],
    };
    let mut checks = vec![cache(checker, &target, &identity)];
    let deadline = identity.deadline(&target, for_credentials(checker));
    match checker.exchange.open_session(&target, &identity, &[], deadline) {
        Ok(session) => {
            let what = format!("from {}: access key {}", identity.chain, session.access_key_id());
            checks.push(Check::ok(Name::Credentials, what));
            // Its time begins anew: a program may have waited for a person.
            let checker = Checker { deadline: Instant::now() + PRINCIPAL, ..checker };
            checks.push(principal_check(principal(checker, &session)));
        }
        Err(failure) => checks.push(Check::failed(Name::Credentials, failure)),
    }
    checks
}

/// Asks STS for the principal, once for each access key.
fn principal(checker: Checker, session: &Session) -> Result<String, Failure> {
    checker.principals.of(session, checker.until(PRINCIPAL))
}

fn principal_check(principal: Result<String, Failure>) -> Check {
    match principal {
        Ok(arn) => Check::ok(Name::Principal, arn),
        Err(failure) => {
            let what = format!("unknown: {}", failure.whole());
            Check::warning(Name::Principal, Code::PrincipalUnknown, what, failure.hint)
        }
    }
}

/// The identity, after renewing its sign-in where needed.
fn identity(checker: Checker, target: &Target, exchange: &Exchange) -> Result<Arc<Identity>, Failure> {
    Authenticator::new(checker.env, target, exchange.clone()).identity(for_credentials(checker))
}

fn for_credentials(checker: Checker) -> Instant {
    checker.until(checker.config.map(Config::timeout).unwrap_or_default())
}

/// Warns of settings that seem to name credentials and do not.
fn passed_over(identity: &Identity) -> Option<Check> {
    let CredentialChain { passed_over, .. } = &identity.chain;
    let what = format!("from {}", identity.chain.with_passed_over());
    let fix = "unset or remove what should not count, or add what is missing";
    (!passed_over.is_empty()).then(|| Check::warning(Name::Credentials, Code::SettingPassedOver, what, fix))
}

/// The profile of the credentials, if they come from one.
fn profile(identity: &Identity) -> Option<String> {
    const ENVIRONMENT: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
    let selected = || identity.profiles.profile(identity.selected.name());
    match identity.source() {
        Source::Environment(..) | Source::Account(_) | Source::ServiceAccount(_) => None,
        Source::WebIdentity(of) if !matches!(&of.token, IdentityToken::File { setting, .. } if setting != ENVIRONMENT) => {
            None
        }
        // A profile leads to the machine by a role alone.
        Source::Container(_) | Source::Instance(_) if selected()?.get("role_arn").is_none() => None,
        _ => Some(identity.selected.name().to_owned()),
    }
}

fn cache(checker: Checker, target: &Target, identity: &Identity) -> Check {
    match token_provider::cached(checker.env, identity) {
        Err(Failure { code, what, hint, .. }) => {
            Check::warning(Name::Cache, code, format!("not used, so every get calls AWS: {what}"), hint)
        }
        Ok(Stored { dir, entry: None }) => {
            Check::ok(Name::Cache, format!("{}: nothing for this identity yet", dir.display()))
        }
        Ok(Stored { dir, entry: Some(entry) }) => {
            let (dir, age) = (dir.display(), describe_duration(entry.age()));
            Check::ok(Name::Cache, format!("{dir}: a token {age} old, {}", state(checker, target, &entry)))
        }
    }
}

fn state(checker: Checker, target: &Target, entry: &Entry) -> String {
    let until = checker.local_time.show(entry.expires_at());
    match entry.freshness_within(target.max_age) {
        Freshness::Fresh => {
            let refreshed = entry.remaining().saturating_sub(entry.age()) / 2;
            format!("refreshed in {}, valid until {until}", describe_duration(refreshed))
        }
        Freshness::Stale => format!("refreshed by the next get, valid until {until}"),
        Freshness::Expired => "expired, or older than max_age; the next get requests a new one".to_owned(),
    }
}

fn clock(ahead: i64) -> Check {
    let seconds = Duration::from_secs(ahead.unsigned_abs());
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    if seconds <= Duration::from_secs(2) {
        Check::ok(Name::Clock, "agrees with AWS's")
    } else if seconds <= TOLERATED {
        Check::ok(Name::Clock, format!("{} {side} AWS's", describe_duration(seconds)))
    } else {
        Check::warning(
            Name::Clock,
            Code::ClockOff,
            format!("{} {side} AWS's", describe_duration(seconds)),
            "set the clock: 'timedatectl set-ntp true', or restart a virtual machine that was suspended",
        )
    }
}

fn took(started: Instant) -> String {
    format!("{} ms", started.elapsed().as_millis())
}
