//! Reads the settings files of clients, and explains why one cannot be used.

use std::fs;
use std::io;
use std::path::Path;

use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::platform::{self, Destination, with_command};

/// The size limit of a settings file, which has hundreds of passwords in that. An edit of it takes up to 32 times as much memory.
const LARGEST: u64 = 1024 * 1024;

/// Reads the text of a settings file. A file that does not exist counts as empty.
pub fn text(env: &Env, path: &Path) -> Result<String, Failure> {
    match fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) => return Err(unreadable(env, path, &error)),
        Ok(metadata) if !metadata.is_file() => return Err(unusable(env, path, "it is not a regular file")),
        Ok(_) => {}
    }
    // Files of /proc may be longer than they say.
    let bytes = platform::open_without_waiting(path).and_then(|file| platform::read_within(&file, LARGEST));
    utf8(env, path, &bytes.map_err(|error| unread(env, path, &error))?)
}

/// Reads the text of the settings file at `path` where it is to be written. A file that does not exist counts as empty.
pub fn text_at(env: &Env, destination: &Destination, path: &Path) -> Result<String, Failure> {
    let bytes = destination.read(LARGEST).map_err(|error| unread(env, path, &error))?;
    utf8(env, path, &bytes.unwrap_or_default())
}

fn unread(env: &Env, path: &Path, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::FileTooLarge => unusable(env, path, "it is larger than 1 MiB, the limit"),
        _ => unreadable(env, path, error),
    }
}

fn utf8(env: &Env, path: &Path, bytes: &[u8]) -> Result<String, Failure> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| unusable(env, path, "it is not UTF-8"))
}

/// The failure for a settings file that the system does not let this user read.
pub(crate) fn unreadable(env: &Env, path: &Path, error: &io::Error) -> Failure {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return unusable(env, path, &error.to_string());
    }
    let is_closed =
        |path: &Path| fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    if !is_closed(path) {
        let what = format!("{} belongs to another user, and this user has no permission to read it", path.display());
        return Failure::new(Code::ClientConfigUnreadable, what, give_back(env, path, "", path));
    }
    // After 'sudo docker login' the directory may belong to root too, and then the file cannot even be looked up.
    let dir = path.ancestors().skip(1).find(|dir| !is_closed(dir)).unwrap_or(path);
    let what = format!("{} belongs to another user, and this user has no permission to enter it", dir.display());
    Failure::new(Code::ClientConfigUnreadable, what, give_back(env, path, "-R ", dir))
}

/// Describes how to make this user the owner of what keeps it from the file at `path` again.
fn give_back(env: &Env, path: &Path, option: &str, closed: &Path) -> String {
    if let Some(hint) = platform::detour(closed) {
        return hint;
    }
    if !platform::is_in_own_home(closed, env.home().as_deref()) {
        return name_another(env, path);
    }
    if cfg!(windows) {
        return "give this user the permission as an administrator".to_owned();
    }
    with_command("change its owner", &format!("sudo chown {option}\"$(id -un)\" {{}}"), &[closed])
}

/// The variables that lead to a settings file, first those that name the file itself.
const LEADING: [&str; 7] = [
    "REGISTRY_AUTH_FILE",
    "CONTAINERS_REGISTRIES_CONF",
    "CONTAINERS_REGISTRIES_CONF_OVERRIDE",
    "AWS_ECR_CONFIG_FILE",
    "DOCKER_CONFIG",
    "XDG_CONFIG_HOME",
    RUNTIME_DIR,
];

const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// What to do about a file outside of this user's home directory, which may be another user's by right, or the system's.
fn name_another(env: &Env, path: &Path) -> String {
    let leads = |name: &&str| env.path(name).is_some_and(|value| path.starts_with(value));
    match LEADING.into_iter().find(leads) {
        Some(name) if name != RUNTIME_DIR => format!("correct {name}, which leads there"),
        // podman's directory for users without a login session, or that of the user before su.
        leading if leading.is_some() || path.starts_with("/run") => {
            format!("set {RUNTIME_DIR} to a directory of this user, e.g. by logging in without su or sudo")
        }
        _ if env.home().is_some_and(|home| path.starts_with(home)) => {
            format!("set {} to the home directory of the user who runs this", Env::HOME)
        }
        _ => "name another file".to_owned(),
    }
}

fn unusable(env: &Env, path: &Path, why: &str) -> Failure {
    invalid(env, path, format!("{} cannot be read: {why}", path.display()))
}

/// Returns the failure for a settings file whose content no client can use either.
pub(crate) fn invalid(env: &Env, path: &Path, what: String) -> Failure {
    let hint = match platform::detour(path).filter(|_| !path.is_file()) {
        Some(hint) => hint,
        None if !platform::is_in_own_home(path, env.home().as_deref()) => {
            format!("correct it, or {}", name_another(env, path))
        }
        None if path.is_dir() => with_command("remove it", "rmdir {}", &[path]),
        None => {
            let broken = path.with_extension("broken");
            with_command("correct it, or move it out of the way", "mv {} {}", &[path, &broken])
        }
    };
    Failure::new(Code::ClientConfigInvalid, what, hint)
}
