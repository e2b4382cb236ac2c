//! Checks each registry, and once what several registries share; without any, the default credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use super::access::Access;
use super::check::{Check, Name, Place};
use super::report::RegistryReport;
use super::{Checker, Event, clients, image, settings};
use crate::code::Code;
use crate::identity::Selected;
use crate::platform;
use crate::registry::{Account, Region, Registry};
use crate::token_provider::default_region;

/// Registries that get the same token.
struct Group {
    access: Access,
    /// Each with its index among the arguments.
    members: Vec<(usize, Box<RegistryReport>)>,
}

/// Checks all registries and sends the results.
pub(super) fn check_all(checker: Checker, reports: impl Iterator<Item = RegistryReport>, machine: &[Arc<Check>]) {
    let started = Instant::now();
    let groups = group(checker, reports, machine);
    platform::for_each(groups, |group| check_group(checker.waiting_since(started), group));
}

/// Reads the settings for each registry, and groups those that share a token. Sends the reports of those that get none.
fn group(checker: Checker, reports: impl Iterator<Item = RegistryReport>, machine: &[Arc<Check>]) -> Vec<Group> {
    let started = Instant::now();
    let mut groups: Vec<Group> = Vec::new();
    let mut before = Vec::new();
    for (index, mut report) in reports.enumerate() {
        let checker = checker.waiting_since(started);
        let access = access(checker, index, machine, &mut report);
        report.share(&before);
        before.clone_from(&report.checks);
        let Some(access) = access else {
            checker.send(Event::Registry(index, Box::new(report.finish())));
            continue;
        };
        let members = vec![(index, Box::new(report))];
        match groups.iter_mut().find(|group| group.access.gives_same_token(&access)) {
            Some(group) => group.members.extend(members),
            None => groups.push(Group { access: access.sharing(groups.iter().map(|group| &group.access)), members }),
        }
    }
    groups
}

/// Checks what needs no request: the configuration for the host, the clients, and the settings of its credentials.
fn access(checker: Checker, index: usize, machine: &[Arc<Check>], report: &mut RegistryReport) -> Option<Access> {
    let is_of_client = |check: &&Arc<Check>| matches!(check.name, Name::Docker | Name::Podman);
    report.checks.extend(machine.iter().filter(|check| !is_of_client(check)).cloned());
    let target = settings::check_mapping(checker, report);
    if target.is_some() || checker.config.is_err() {
        report.checks.extend(clients::check_all(checker.env, &report.host, machine).into_iter().map(Arc::new));
    }
    let target = target?;
    match settings::check_identity(checker, &target, report) {
        Ok((exchange, identity)) => Some(Access::new(checker, index, target, identity, exchange)),
        Err(failure) => {
            report.add(Check::failed(Name::Credentials, failure));
            None
        }
    }
}

/// Checks what the registries of a group share, then each registry.
fn check_group(mut checker: Checker, Group { mut access, members }: Group) {
    access.check(&mut checker);
    let (started, is_one_silent) = (Instant::now(), AtomicBool::new(false));
    platform::for_each(members, |(index, mut report)| {
        access.describe(checker, &mut report);
        if report.can_go_on() {
            // As long as all have answered, the others get their time too, however many they are.
            let checker = if is_one_silent.load(Relaxed) { checker } else { checker.waiting_since(started) };
            checker.send(Event::Waiting(format!("the registry {}", report.host)));
            let check = image::check(checker, &access, &report);
            is_one_silent.fetch_or(check.code.is_some_and(Code::is_of_network), Relaxed);
            report.add(check);
        }
        checker.send(Event::Registry(index, Box::new(report.finish())));
    });
}

/// Checks the default credentials. Requests no token.
pub(super) fn check_without_registry(mut checker: Checker) {
    let Ok(config) = checker.config else { return };
    let region = default_region(checker.env, &Selected::new(checker.env, None), checker.for_credentials());
    let region = region.ok().flatten().unwrap_or_else(Region::public);
    let host = Registry::private(Account::ANY, region).host();
    let Ok(Some(target)) = config.target(checker.env, &host) else { return };
    let mut report = RegistryReport::default();
    let access = settings::check_identity(checker, &target, &mut report)
        .map(|(exchange, identity)| Access::new(checker, 0, target, identity, exchange))
        .map_err(|failure| report.add(Check::failed(Name::Credentials, failure)));
    let screen = checker;
    let send = |check: Check| screen.send(Event::Shared(0, Arc::new(check.at(Place::Shared(0)))));
    for check in report.checks.into_iter().filter(|check| check.name != Name::Cache) {
        send(Check::clone(&check));
    }
    let Ok(mut access) = access else { return };
    if let Some(session) = access.check_credentials(&mut checker) {
        access.check_principal(checker, &session);
    }
    // A refusal removes what was there.
    send(access.check_cache(checker));
}
