//! Checks each registry, and once what several registries share.

use std::sync::mpsc::Sender;
use std::thread;

use super::access::Access;
use super::report::{Check, Name, RegistryReport};
use super::shared::{Endpoint, Places, Results};
use super::{Checker, Event, Subject, access, clients, image, target};
use crate::platform;

/// Registries that get the same token.
struct Group {
    places: Places,
    access: Access,
    members: Vec<Member>,
}

/// A registry, with its index among the arguments.
struct Member {
    index: usize,
    subject: Subject,
    report: RegistryReport,
}

/// An endpoint and the groups that ask it.
struct EndpointGroups {
    endpoint: Endpoint,
    groups: Vec<Group>,
}

/// Checks all subjects and sends the results to `events`.
pub(super) fn check_all(checker: Checker, subjects: Vec<Subject>, machine: &[Check], events: &Sender<Event>) {
    let send = |event| {
        // The receiver is gone if the report cannot be written.
        let _ = events.send(event);
    };
    if subjects.is_empty() {
        for check in access::check_without_registry(checker) {
            send(Event::Shared { check: check.at(0), index: 0 });
        }
        return;
    }
    let mut endpoints = group(checker, subjects, machine, &send);
    thread::scope(|scope| {
        for EndpointGroups { endpoint, groups } in &mut endpoints {
            let (endpoint, send) = (&*endpoint, &send);
            for group in groups.drain(..) {
                platform::spawn_scoped(scope, move || check_group(checker, group, endpoint, send));
            }
        }
    });
}

/// Reads the settings for each subject, and groups those that share an endpoint and a token. Sends the reports of those that
/// get no token.
fn group(checker: Checker, subjects: Vec<Subject>, machine: &[Check], send: &impl Fn(Event)) -> Vec<EndpointGroups> {
    let mut endpoints: Vec<EndpointGroups> = Vec::new();
    for (index, subject) in subjects.into_iter().enumerate() {
        let mut report = RegistryReport::new(&subject.host, subject.image.as_deref());
        match access(checker, &subject, machine, &mut report) {
            Some(access) => {
                let credentials = endpoints
                    .iter()
                    .flat_map(|one| &one.groups)
                    .find(|group| group.access.has_same_credentials(&access))
                    .map_or(index, |group| group.places.credentials);
                let route = access.route(checker);
                let at = endpoints.iter().position(|one| one.endpoint.is_at(&route)).unwrap_or_else(|| {
                    endpoints.push(EndpointGroups { endpoint: Endpoint::new(route), groups: Vec::new() });
                    endpoints.len() - 1
                });
                let groups = &mut endpoints[at].groups;
                let member = Member { index, subject, report };
                if let Some(group) = groups.iter_mut().find(|group| group.access.gives_same_token(&access)) {
                    group.members.push(member);
                } else {
                    let endpoint = groups.first().map_or(index, |group| group.places.endpoint);
                    let places = Places { endpoint, credentials, token: index };
                    groups.push(Group { places, access, members: vec![member] });
                }
            }
            None => send(Event::Registry(index, Box::new(report.finish()))),
        }
    }
    endpoints
}

/// Checks what needs no request: the configuration for the host, the clients, and the settings of its credentials.
fn access(checker: Checker, subject: &Subject, machine: &[Check], report: &mut RegistryReport) -> Option<Access> {
    let of_machine = machine.iter().filter(|check| !matches!(check.name, Name::Docker | Name::Podman));
    report.checks.extend(of_machine.cloned());
    let target = target::check(checker, &subject.host, report);
    if target.is_some() || checker.config.is_err() {
        report.checks.extend(clients::check_all(checker.env, &subject.host, machine));
    }
    match Access::new(checker, target?, report) {
        Ok(access) => Some(access),
        Err(check) => {
            report.checks.push(check);
            None
        }
    }
}

/// Checks what the registries of a group share, then each registry.
fn check_group(mut checker: Checker, mut group: Group, endpoint: &Endpoint, send: &(impl Fn(Event) + Sync)) {
    let mut results = Results::new(group.places, send);
    results.add(endpoint.check().at(group.places.endpoint));
    if endpoint.is_reachable() {
        group.access.check(&mut checker, endpoint, &mut results);
    }
    let shared = results.into_checks();
    let access = &group.access;
    thread::scope(|scope| {
        for Member { index, subject, mut report } in group.members {
            access.describe(&mut report);
            report.checks.extend(shared.iter().cloned().map(Check::shown));
            platform::spawn_scoped(scope, move || {
                if report.is_ok() {
                    send(Event::Waiting(format!("the registry {}", subject.host)));
                    let image = subject.image.as_deref();
                    report.checks.push(image::check_all(checker, access, &subject.host, image));
                }
                send(Event::Registry(index, Box::new(report.finish())));
            });
        }
    });
}
