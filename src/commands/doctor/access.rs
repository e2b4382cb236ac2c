//! Resolves the credentials of registries and requests their token, as a `get` without the cache does, and asks STS for the principal.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::check::{Check, Name, Place, Status};
use super::report::RegistryReport;
use super::{Checker, Event, machine, settings};
use crate::aws::{Exchange, IssuedToken, RegistryAnswer, Route, Session, SourceKeys};
use crate::cache::Freshness;
use crate::code::Code;
use crate::config::Target;
use crate::display_time::describe_duration;
use crate::error::Failure;
use crate::identity::{CacheKey, Identity};
use crate::quote::access_key_id;
use crate::registry::Host;
use crate::text::beginning;
use crate::token::Token;
use crate::token_provider;

/// The time limits for the files that the route depends on, for the token and for the principal. Credentials have the time limit of a `get`, since a
/// `credential_process` may be slow, and the longer one of a program that may ask a person.
const ROUTE: Duration = Duration::from_secs(3);
const TOKEN: Duration = Duration::from_secs(11);
const PRINCIPAL: Duration = Duration::from_secs(3);

/// How registries that share a token get it.
pub(super) struct Access {
    /// The index of the first of these registries.
    index: usize,
    target: Target,
    identity: Arc<Identity>,
    exchange: Exchange,
    endpoint: Arc<Endpoint>,
    principal: Arc<Principal>,
    token: Option<Token>,
    expires_at: Option<OffsetDateTime>,
    /// Whether AWS refused the identity, so that its token is no longer in the cache.
    has_removed_token: bool,
    checks: Vec<Arc<Check>>,
}

/// An endpoint of the ECR API.
struct Endpoint {
    /// The index of the first registry that uses it.
    index: usize,
    route: Result<Route, Failure>,
    /// Why it does not answer, once one request was made. `None` if it answers, even with an error.
    silence: OnceLock<Option<Failure>>,
}

/// The principal of credentials.
struct Principal {
    /// The index of the first registry with these credentials.
    index: usize,
    /// Its ARN, or why STS did not report one, once it was asked.
    arn: OnceLock<Result<String, Failure>>,
}

/// The answer to the request for a token, and how long it took.
struct Answer {
    issued: Result<IssuedToken, Failure>,
    took: String,
    /// The seconds by which the clock of this machine is ahead of AWS's.
    clock_ahead: i64,
}

impl Access {
    /// The way of a target to its token. The registry has this index among the arguments.
    pub(super) fn new(
        checker: Checker,
        index: usize,
        target: Target,
        identity: Arc<Identity>,
        exchange: Exchange,
    ) -> Self {
        let route = exchange.route(&target, &identity, checker.for_credentials().min(checker.until(ROUTE)));
        let endpoint = Arc::new(Endpoint { index, route, silence: OnceLock::new() });
        let principal = Arc::new(Principal { index, arn: OnceLock::new() });
        let checks = Vec::new();
        let (token, expires_at, has_removed_token) = (None, None, false);
        Self { index, target, identity, exchange, endpoint, principal, token, expires_at, has_removed_token, checks }
    }

    /// Whether both request the same token.
    pub(super) fn gives_same_token(&self, other: &Self) -> bool {
        self.identity.key == other.identity.key
    }

    /// Shares the endpoint and the principal of the first of `others` that has the same.
    pub(super) fn sharing<'a>(mut self, others: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let is_same = |other: &Endpoint| match (&self.endpoint.route, &other.route) {
            (Ok(own), Ok(other)) => own.endpoint == other.endpoint,
            (own, other) => own.as_ref().err() == other.as_ref().err(),
        };
        if let Some(endpoint) = others.clone().map(|other| &other.endpoint).find(|other| is_same(other)) {
            self.endpoint = endpoint.clone();
        }
        if let Some(other) = others.into_iter().find(|other| other.identity.chain == self.identity.chain) {
            self.principal = other.principal.clone();
        }
        self
    }

    /// The target, for the first of the registries.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether a token was issued.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks one of the registries, as a client does.
    pub(super) fn ask(&self, host: &str, path: &str, deadline: Instant) -> Result<RegistryAnswer, Failure> {
        let host = Host::parse(host).unwrap_or_else(|| self.target.host.clone());
        let target = Target { host, ..self.target.clone() };
        self.exchange.ask_registry(&target, &self.identity, self.token.as_ref(), path, deadline)
    }

    /// Resolves the credentials and requests a token. The time in which a program waited for a person, or the request for the
    /// answer to another one, is added to the deadline.
    pub(super) fn check(&mut self, checker: &mut Checker) {
        self.add(*checker, self.endpoint.index, describe_route(&self.endpoint.route));
        if self.endpoint.route.is_err() {
            return;
        }
        let Some(session) = self.check_credentials(checker) else { return };
        let Answer { issued, took, clock_ahead } = self.request_token(checker, &session);
        let is_silent = issued.as_ref().is_err_and(|failure| failure.code.is_of_network());
        if !is_silent {
            checker.send(Event::Waiting("the principal from STS".to_owned()));
            self.check_principal(*checker, &session);
        }
        match issued {
            Ok(issued) => {
                let check = self.describe_token(*checker, &issued, &took);
                self.add(*checker, self.index, check);
                self.send(*checker, machine::check_clock(clock_ahead).at(Place::Clock));
                self.token = Some(issued.token);
            }
            Err(failure) => {
                self.forget_if_refused(*checker, session.cache_key(), &failure);
                let index = if is_silent { self.endpoint.index } else { self.index };
                self.add(*checker, index, Check::failed(Name::Token, failure));
            }
        }
    }

    /// Adds a check that registries share from the one with this index on.
    fn add(&mut self, checker: Checker, index: usize, check: Check) {
        self.send(checker, check.at(Place::Shared(index)));
    }

    fn send(&mut self, checker: Checker, check: Check) {
        let check = Arc::new(check);
        checker.send(Event::Shared(self.index, check.clone()));
        self.checks.push(check);
    }

    /// Resolves the credentials; `None` if there is nothing more to check.
    pub(super) fn check_credentials(&mut self, checker: &mut Checker) -> Option<Session> {
        let source = self.identity.chain.to_string();
        checker.send(Event::Waiting(format!("credentials from {source}")));
        let started = Instant::now();
        let deadline = self.identity.deadline(&self.target, checker.for_credentials());
        let answer = self.exchange.ask_source(&self.target, &self.identity, deadline);
        let session = answer.as_ref().map_err(Clone::clone).and_then(|keys| keys.assume_roles(&[], deadline));
        let mut cached = None;
        let result = match &session {
            Ok(session) => Ok(format!("from {source}: {}, in {}", describe_key(session), took(started))),
            Err(failure) if self.target.registry.is_public() => {
                Ok(format!("none ({}): images of ECR Public are pulled anonymously", failure.what))
            }
            Err(failure) if failure.code == Code::MfaRequired => {
                cached = self.take_cached_token(*checker);
                let what = format!("an MFA code is required for {source}; 'login' has cached a token");
                cached.as_ref().map(|_| what).ok_or_else(|| failure.clone())
            }
            Err(failure) => {
                let credentials = answer.as_ref().ok().and_then(SourceKeys::cache_key);
                self.forget_if_refused(*checker, credentials, failure);
                Err(failure.clone())
            }
        };
        self.add(*checker, self.principal.index, Check::of(Name::Credentials, result));
        if let Some(valid) = cached {
            self.add(*checker, self.index, Check::ok(Name::Token, format!("in the cache, {valid}")));
        }
        if self.identity.source().may_ask_person() {
            checker.deadline += started.elapsed();
        }
        session.ok()
    }

    fn forget_if_refused(&mut self, checker: Checker, credentials: Option<&CacheKey>, failure: &Failure) {
        let was_there = token_provider::forget_if_refused(checker.env, &self.identity, credentials, failure);
        self.has_removed_token |= was_there;
    }

    /// What the cache holds by now.
    pub(super) fn check_cache(&self, checker: Checker) -> Check {
        let check = settings::check_cache(checker, &self.target, &self.identity);
        if self.has_removed_token && check.status == Status::Ok {
            return Check::ok(Name::Cache, "the token of this identity is removed, since AWS refuses the identity");
        }
        check
    }

    /// Uses the cached token, and returns how long it is valid; `None` if there is no valid one.
    fn take_cached_token(&mut self, checker: Checker) -> Option<String> {
        let (_, entry, _) = token_provider::inspect_cache(checker.env, &self.identity).ok()?;
        let entry = entry.filter(|entry| entry.freshness_within(self.target.max_age) != Freshness::Expired)?;
        self.expires_at = Some(entry.expires_at);
        self.token = Some(entry.token);
        Some(describe_expiry(checker, entry.expires_at))
    }

    /// Requests a token. Of the groups of one endpoint, the first one asks alone: if it gets no answer, the others do not ask,
    /// and fail like it.
    fn request_token(&self, checker: &mut Checker, session: &Session) -> Answer {
        let ask = |checker: Checker| {
            let url = self.endpoint.route.as_ref().map(|route| route.endpoint.as_str()).unwrap_or_default();
            checker.send(Event::Waiting(format!("a token from {url}")));
            let started = Instant::now();
            let issued = session.clone().request_token(checker.until(TOKEN));
            Answer { issued, took: took(started), clock_ahead: session.clock_ahead() }
        };
        let started = Instant::now();
        let mut first = None;
        let silence = self.endpoint.silence.get_or_init(|| {
            let answer = first.insert(ask(*checker));
            answer.issued.as_ref().err().filter(|failure| failure.code.is_of_network()).cloned()
        });
        if let Some(answer) = first {
            return answer;
        }
        // So that the result does not depend on which group asks first.
        checker.deadline += started.elapsed();
        match silence {
            Some(failure) => Answer { issued: Err(failure.clone()), took: took(started), clock_ahead: 0 },
            None => ask(*checker),
        }
    }

    /// Asks STS for the principal, once for registries with the same credentials.
    pub(super) fn check_principal(&mut self, checker: Checker, session: &Session) {
        let principal = self.principal.arn.get_or_init(|| session.principal(checker.until(PRINCIPAL))).clone();
        let check = match principal {
            Ok(arn) => Check::ok(Name::Principal, beginning(&arn, LONGEST_NAME)),
            Err(failure) => {
                self.forget_if_refused(checker, session.cache_key(), &failure);
                let failure = Failure { code: Code::PrincipalUnknown, ..failure.with_context("unknown") };
                Check::warned(Name::Principal, failure)
            }
        };
        self.add(checker, self.principal.index, check);
    }

    fn describe_token(&mut self, checker: Checker, issued: &IssuedToken, took: &str) -> Check {
        let what = format!("AWS issued one for {} in {took}", self.target.registry.region());
        let Some(life) = issued.valid_for else {
            let what = format!("{what}, but it came expired or without an expiry time, so it is never cached");
            return Check::warned(Name::Token, Failure::usual(Code::TokenUncacheable, what));
        };
        let expires_at = OffsetDateTime::now_utc() + life;
        self.expires_at = Some(expires_at);
        Check::ok(Name::Token, format!("{what}, {}", describe_expiry(checker, expires_at)))
    }

    /// Copies the results into the report of a registry.
    pub(super) fn describe(&self, checker: Checker, report: &mut RegistryReport) {
        let principal = self.checks.iter().find(|check| check.name == Name::Principal && check.status == Status::Ok);
        report.principal = principal.map(|check| check.what.clone());
        report.expiry = self.expires_at.and_then(|at| at.replace_nanosecond(0).ok()?.format(&Rfc3339).ok());
        report.valid = self.expires_at.map(|at| format!("token {}", describe_expiry(checker, at)));
        let mut of_cache = report.checks.iter_mut().filter(|check| self.has_removed_token && check.name == Name::Cache);
        if let Some(check) = of_cache.next() {
            *check = Arc::new(self.check_cache(checker));
        }
        report.checks.extend(self.checks.iter().cloned());
    }
}

/// Describes the way to an endpoint.
fn describe_route(route: &Result<Route, Failure>) -> Check {
    let describe = |Route { endpoint, proxy, roots }: &Route| {
        let proxy = proxy.as_ref().map_or_else(|| "directly".to_owned(), |proxy| format!("through the proxy {proxy}"));
        format!("{endpoint} {proxy}, trusting {roots}")
    };
    Check::of(Name::Endpoint, route.as_ref().map(describe).map_err(Clone::clone))
}

/// How much of an ARN is shown, in characters. Those of AWS are shorter; other services may give any text.
const LONGEST_NAME: usize = 1000;

/// Names a lasting access key. A temporary one is another one each time.
fn describe_key(session: &Session) -> String {
    match session.access_key_id() {
        id if id.starts_with("ASIA") => "a temporary access key".to_owned(),
        id => match access_key_id(id) {
            Some(id) => format!("access key {id}"),
            None => "an access key id that has not the form of one (was it exchanged with the secret key?)".to_owned(),
        },
    }
}

fn describe_expiry(checker: Checker, expires_at: OffsetDateTime) -> String {
    let left = Duration::try_from(expires_at - OffsetDateTime::now_utc()).unwrap_or_default();
    // Rounds to the nearest second, since some milliseconds have passed.
    let left = describe_duration(left + Duration::from_millis(500));
    format!("valid for {left}, until {}", checker.local_time.show(expires_at))
}

fn took(started: Instant) -> String {
    format!("{} ms", started.elapsed().as_millis())
}
