//! What the checks of several registries share, so that nothing is requested twice: whether an endpoint answers, and the
//! principals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::Event;
use super::report::{Check, Name};
use crate::aws::{Route, Session};
use crate::error::Failure;

/// An endpoint of the ECR API, for the groups that use it.
pub(super) struct Endpoint {
    route: Result<Route, Failure>,
    state: Mutex<EndpointState>,
}

/// What is known of an endpoint.
#[derive(Default)]
pub(super) enum EndpointState {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// It answers, even with an error.
    Answers,
    /// It did not answer; the failed check.
    Silent(Check),
}

impl Endpoint {
    pub(super) fn new(route: Result<Route, Failure>) -> Self {
        Self { route, state: Mutex::default() }
    }

    /// Whether a request by this route goes to this endpoint.
    pub(super) fn is_at(&self, route: &Result<Route, Failure>) -> bool {
        match (&self.route, route) {
            (Ok(own), Ok(other)) => own.endpoint == other.endpoint,
            (Err(own), Err(other)) => own == other,
            _ => false,
        }
    }

    /// Whether the settings lead to it.
    pub(super) fn is_reachable(&self) -> bool {
        self.route.is_ok()
    }

    /// The URL; empty if the settings lead to none.
    pub(super) fn url(&self) -> &str {
        self.route.as_ref().map(|route| route.endpoint.as_str()).unwrap_or_default()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, EndpointState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Describes the way to the endpoint.
    pub(super) fn check(&self) -> Check {
        match &self.route {
            Err(failure) => Check::failed(Name::Endpoint, failure.clone()),
            Ok(Route { endpoint, proxy, roots }) => {
                let proxy =
                    proxy.as_ref().map_or_else(|| "directly".to_owned(), |proxy| format!("through the proxy {proxy}"));
                Check::ok(Name::Endpoint, format!("{endpoint} {proxy}, trusting {roots}"))
            }
        }
    }
}

/// The places of a group's checks: the first registries with the same endpoint, the same credentials and the same token.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) endpoint: usize,
    pub(super) credentials: usize,
    pub(super) token: usize,
}

/// The checks of a group, each sent as soon as it is done.
pub(super) struct Results<'a> {
    pub(super) places: Places,
    send: &'a (dyn Fn(Event) + Sync),
    checks: Vec<Check>,
}

impl<'a> Results<'a> {
    pub(super) fn new(places: Places, send: &'a (dyn Fn(Event) + Sync)) -> Self {
        Self { places, send, checks: Vec::new() }
    }

    pub(super) fn wait(&self, what: &str) {
        (self.send)(Event::Waiting(what.to_owned()));
    }

    pub(super) fn add(&mut self, check: Check) {
        (self.send)(Event::Shared { check: check.clone(), index: self.places.token });
        self.checks.push(check);
    }

    /// Adds a check that another group has sent.
    pub(super) fn add_shown(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// The checks, for the report of each registry.
    pub(super) fn into_checks(self) -> Vec<Check> {
        self.checks
    }
}

/// The principals that STS has reported, by access key, so that STS is asked once for each.
#[derive(Default)]
pub(super) struct Principals(Mutex<BTreeMap<String, Principal>>);

/// An ARN, or why STS did not report one, once it has answered.
type Principal = Arc<OnceLock<Result<String, Failure>>>;

impl Principals {
    pub(super) fn of(&self, session: &Session, deadline: Instant) -> Result<String, Failure> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = Arc::clone(all.entry(session.access_key_id().to_owned()).or_default());
        drop(all);
        known.get_or_init(|| session.principal(deadline)).clone()
    }
}
