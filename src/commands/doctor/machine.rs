//! Checks what all registries share: the helper on the PATH, the variables, the configuration, the settings of clients, and the
//! clock.

use std::sync::Arc;
use std::time::Duration;

use super::check::{Check, Name, Place};
use super::{Checker, Event, clients};
use crate::code::Code;
use crate::commands::client::Client;
use crate::commands::findings;
use crate::config::Config;
use crate::display_time::describe_duration;
use crate::env::Env;
use crate::error::Failure;
use crate::fallback;
use crate::identity::{self, Profiles};
use crate::input::Content;
use crate::log;
use crate::platform;

/// The time limit for the AWS files.
const AWS_FILES: Duration = Duration::from_secs(3);

/// A clock difference that is not worth a number.
const UNNOTICED: Duration = Duration::from_secs(2);

/// The largest clock difference without a warning. From five minutes on, AWS rejects signatures.
const TOLERATED: Duration = Duration::from_mins(4);

/// What the arguments and the settings of clients name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Registries, each of which has a check of its clients.
    Registries,
    /// No registry.
    Machine,
}

/// Sends the result of each check as soon as it is known, since podman takes a while to print its version. Returns all.
pub(super) fn check_all(checker: Checker, scope: Scope) -> Vec<Arc<Check>> {
    let env = checker.env;
    let mut machine: Vec<Arc<Check>> = Vec::new();
    let mut add = |check: Check| {
        let check = Arc::new(check.at(Place::Machine(machine.len())));
        checker.send(Event::Shared(0, check.clone()));
        machine.push(check);
    };
    add(check_program(env));
    let misspelt =
        env.misspelt().map(|what| Check::warned(Name::Variables, Failure::usual(Code::VariableMisspelt, what)));
    let log = log::unwritable(env).map(|(path, error)| {
        let (what, other) =
            (format!("no log is written to {}", path.display()), "name another file with AWS_ECR_LOG_FILE");
        Check::warned(Name::Variables, Failure::unwritable(Code::LogUnused, what, &error, other))
    });
    let user = findings::sudo(env).map(|failure| Check::warned(Name::User, failure));
    user.into_iter().chain(misspelt).chain(log).chain(check_configuration(checker)).for_each(&mut add);
    check_aws_files(checker).into_iter().for_each(&mut add);
    check_owners(env).for_each(&mut add);
    check_clients(env, scope).into_iter().for_each(&mut add);
    machine
}

/// Checks that clients find the helper on their PATH.
fn check_program(env: &Env) -> Check {
    match findings::program(env) {
        Err(failure) if failure.code == Code::ProgramShadowed => Check::warned(Name::Program, failure),
        found => Check::of(Name::Program, found.map(|path| format!("{} {}", path.display(), crate::VERSION))),
    }
}

fn check_configuration(checker: Checker) -> Option<Check> {
    match checker.config {
        Err(failure) => Some(Check::failed(Name::Configuration, failure.clone())),
        Ok(config) => {
            if let Some(why) = &config.passed_over {
                return Some(Check::warned(Name::Configuration, why.clone()));
            }
            if let Some(Err(failure)) = config.fallback.as_ref().map(|name| fallback::find(checker.env, name)) {
                return Some(Check::failed(Name::Configuration, failure));
            }
            let (path, reading) = config.source.as_ref()?;
            matches!(reading.content, Content::Bytes(_))
                .then(|| Check::ok(Name::Configuration, path.display().to_string()))
        }
    }
}

/// Warns of lines of the AWS files that are no settings.
fn check_aws_files(checker: Checker) -> Option<Check> {
    const SHOWN: usize = 3;
    let profiles = Profiles::read(checker.env, checker.until(AWS_FILES)).ok()?;
    let mut lines = profiles.passed_over();
    let shown: Vec<String> = lines.by_ref().take(SHOWN).collect();
    let more = Some(lines.count()).filter(|more| *more > 0).map(|more| format!("; and {more} more"));
    let what = format!("passed over {}{}", shown.join("; "), more.unwrap_or_default());
    let failure =
        Failure::new(Code::SettingPassedOver, what, "correct or remove them, or the variable that names the file");
    (!shown.is_empty()).then(|| Check::warned(Name::Profiles, failure))
}

/// Warns of settings of the helper and of AWS that another user may have put there.
fn check_owners(env: &Env) -> impl Iterator<Item = Check> {
    let own = Config::path(env).map(|path| (Name::Configuration, path));
    let of_aws = identity::paths(env).into_iter().flatten().map(|path| (Name::Profiles, path));
    own.into_iter().chain(of_aws).filter_map(|(name, path)| {
        let owner = platform::planted_by(&path)?;
        let path = path.display();
        let what = format!("{path} belongs to another user, {owner}, who can change which credentials are used");
        Some(Check::warned(name, Failure::usual(Code::SettingsOwner, what)))
    })
}

/// Checks the settings of docker and podman.
fn check_clients(env: &Env, scope: Scope) -> Vec<Check> {
    let clients = [Client::Docker, Client::Podman];
    let warned = |name| move |failure| Check::warned(name, failure);
    let mut found: Vec<Check> = findings::refused_environment(env).map(warned(Name::Docker)).into_iter().collect();
    found.extend(clients.into_iter().filter_map(|client| check_client(env, client, scope)));
    let of_skopeo = [findings::skopeo_variable(env), findings::skopeo_logins(env)];
    found.extend(of_skopeo.into_iter().flatten().map(warned(Name::Skopeo)));
    found.extend(findings::snap(env).map(warned(Name::Docker)));
    found.extend(findings::relative(env).map(warned(Name::Clients)));
    for client in clients {
        found.extend(findings::unread_members(env, client).into_iter().map(warned(clients::name(client))));
    }
    if found.is_empty() && clients.iter().all(|client| client.program(env).is_none()) {
        let what = "neither docker nor podman is on the PATH, and neither has settings";
        found.push(Check::warned(Name::Clients, Failure::usual(Code::NoClient, what)));
    }
    clients::one_is_enough(found)
}

/// Checks the settings of a client; `None` if it is neither installed nor set up, or where each registry has a check of its own.
fn check_client(env: &Env, client: Client, scope: Scope) -> Option<Check> {
    let has_own_settings = client.has_own_settings(env);
    let is_there = client.program(env).is_some() || (client == Client::Docker && has_own_settings);
    let result = match findings::named_registries(env, client).transpose() {
        None if scope == Scope::Registries || !is_there => return None,
        None => Err(findings::names_no_registry(env, client)),
        Some(Err(failure)) if scope == Scope::Registries && failure.code == Code::ClientHelperName => return None,
        // No registry depends on settings that no program here reads.
        Some(Err(_)) if !is_there && !has_own_settings => return None,
        Some(found) => found,
    };
    Some(Check::of(clients::name(client), result))
}

/// Checks the machine's clock, which is ahead of AWS's by these seconds.
pub(super) fn check_clock(ahead: i64) -> Check {
    let difference = Duration::from_secs(ahead.unsigned_abs());
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let what = format!("{} {side} AWS's", describe_duration(difference));
    if difference > TOLERATED {
        return Check::warned(Name::Clock, Failure::usual(Code::ClockOff, what));
    }
    Check::ok(Name::Clock, if difference > UNNOTICED { what } else { "agrees with AWS's".to_owned() })
}
