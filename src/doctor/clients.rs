//! Whether docker and podman would call us for a host, and find us when they do.

use std::path::PathBuf;

use super::{Check, Status};
use crate::clients::{self, OURS, Way};
use crate::env::Env;
use crate::{NAME, registry};

/// Every registry that some client's settings give to us by name; `Err` says why there is none.
pub(super) fn hosts(env: &Env) -> Result<Vec<String>, String> {
    let hosts = clients::hosts(env);
    if !hosts.is_empty() {
        return Ok(hosts);
    }
    Err(match clients::asks_for_all(env) {
        Some(path) => format!(
            "{} has us asked for every registry and names none; run '{NAME} doctor HOST' for one of them",
            path.display()
        ),
        None => format!(
            "neither docker nor podman is set up to ask for a registry here; run '{NAME} setup HOST', or name a registry"
        ),
    })
}

/// The checks before we are called.
pub(super) fn examine(env: &Env, host: &str) -> Vec<Check> {
    let mut checks = vec![program(env)];
    checks.extend(sudo(env));
    let host = registry::host(host).unwrap_or_else(|| host.to_owned());
    let docker = client("docker", clients::on_path(env, "docker"), clients::docker(env, &host), &host);
    let podman = ["podman", "buildah", "skopeo"].iter().find_map(|name| clients::on_path(env, name));
    let podman = client("podman", podman, clients::podman(env, &host), &host);
    let mut found: Vec<Check> = [docker, podman].into_iter().flatten().collect();
    if found.is_empty() {
        found.push(Check::warning(
            "docker",
            "neither docker nor podman is on the PATH, and there are no settings of theirs",
            "if another program pulls here, see its manual for credential helpers",
        ));
    }
    // One that works is what most machines have; the other is told of and does not count.
    if found.iter().any(|check| check.status == Status::Ok) {
        for check in found.iter_mut().filter(|check| check.status == Status::Failure) {
            check.status = Status::Warning;
        }
    }
    checks.extend(found);
    checks
}

/// What one client does for the host; `None` when it is neither installed nor set up.
fn client(name: &'static str, program: Option<PathBuf>, way: Result<Way, String>, host: &str) -> Option<Check> {
    let setup = format!("run '{NAME} setup{} {host}", if name == "podman" { " --podman" } else { "" });
    Some(match way {
        Err(what) => Check::failure(name, what, "correct or remove the file"),
        Ok(Way::Helper(helper, setting, path)) if helper == OURS => {
            Check::ok(name, format!("asks us: {setting} in {}", path.display()))
        }
        Ok(Way::Helper(helper, setting, path)) => Check::failure(
            name,
            format!("asks docker-credential-{helper} and not us: {setting} in {}", path.display()),
            format!("{setup} --force'"),
        ),
        Ok(Way::Password(path)) => Check::failure(
            name,
            format!("uses a password that an earlier login left in {}, and does not ask us", path.display()),
            format!("{setup} --remove-auths'"),
        ),
        Ok(Way::Nothing) => {
            program?;
            Check::failure(name, "asks nobody for this host's credentials", setup + "'")
        }
    })
}

/// Clients look for us on their PATH, by our name.
fn program(env: &Env) -> Check {
    let us = std::env::current_exe().ok().and_then(|path| path.canonicalize().ok());
    let here = us.as_ref().map(|us| us.display().to_string()).unwrap_or_default();
    match clients::on_path(env, NAME) {
        None => Check::failure(
            "program",
            format!("{NAME} is not on the PATH, so no client finds it"),
            format!("copy {here} into a directory of the PATH, such as /usr/local/bin"),
        ),
        Some(path) if path.canonicalize().ok() == us => {
            Check::ok("program", format!("{} {}", path.display(), crate::VERSION))
        }
        Some(path) => Check::warning(
            "program",
            format!("clients find {} first, and this is {here}", path.display()),
            "remove the other one, or change the order of the PATH",
        ),
    }
}

/// Under sudo, settings and credentials are those of the other user.
fn sudo(env: &Env) -> Option<Check> {
    let user = env.text("SUDO_USER").filter(|user| *user != "root")?;
    let home = env.home().unwrap_or_default();
    Some(Check::warning(
        "user",
        format!("running under sudo: settings and credentials are those in {}, not {user}'s", home.display()),
        "set docker up for that user too, or let the user run docker without sudo",
    ))
}
