//! Reads the settings files of clients, and explains why one cannot be used.

use std::fs;
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use super::docker_config;
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::input;
use crate::platform::{self, Destination, is_out_of_reach_of_others, with_command};

/// The size limit of a settings file, which has hundreds of passwords in that. An edit of it takes up to 32 times as much memory.
pub(crate) const LARGEST: u64 = 1024 * 1024;

/// Reads the text of a settings file. A file that does not exist counts as empty.
pub fn text(env: &Env, path: &Path) -> Result<String, Failure> {
    utf8(env, path, &bytes(env, path)?)
}

/// Reads a settings file. A file that does not exist counts as empty.
pub fn bytes(env: &Env, path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Zeroizing::default()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let step = path.ancestors().find(|step| step.exists()).unwrap_or(path);
            let what = format!("{} cannot be read: {} is not a directory", path.display(), step.display());
            return Err(Failure::new(Code::ClientConfigInvalid, what, name_another(env, path)));
        }
        Err(error) => return Err(unreadable(env, path, &error)),
        Ok(metadata) if !metadata.is_file() => return Err(unusable(env, path, "it is not a regular file")),
        Ok(_) => {}
    }
    // Files of /proc may be longer than they say.
    let bytes = platform::open_without_waiting(path).and_then(|file| platform::read_within(&file, LARGEST));
    bytes.map_err(|error| unread(env, path, &error))
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
    // After 'sudo docker login' the directory may belong to root too, and then the file cannot even be looked up.
    let closed = input::closed_dir(path).unwrap_or(path);
    let act = if closed == path { "read" } else { "enter" };
    let whose = match platform::owner(closed) {
        Some(owner) if owner == platform::own_id() => "belongs to this user, who".to_owned(),
        Some(0) => "belongs to root, and this user".to_owned(),
        Some(owner) => format!("belongs to another user, {owner}, and this user"),
        None => "leads to a closed directory: this user".to_owned(),
    };
    let what = format!("{} {whose} has no permission to {act} it", closed.display());
    Failure::new(Code::ClientConfigUnreadable, what, open_up(env, path, closed))
}

/// Describes how this user can use the file at `path`, from which `closed` keeps it.
pub(crate) fn open_up(env: &Env, path: &Path, closed: &Path) -> String {
    let of_closed = |what: &str| format!("{what} of {}", closed.display());
    match platform::owner(closed) {
        _ if cfg!(windows) => "give this user the permission as an administrator".to_owned(),
        Some(owner) if owner == platform::own_id() && !closed.is_symlink() && is_out_of_reach_of_others(closed) => {
            let rights = if closed.is_dir() { "u+rwx" } else { "u+rw" };
            with_command(&of_closed("correct the mode"), &format!("chmod {rights} {{}}"), &[closed])
        }
        Some(0) if platform::is_plain_below(closed, env.home().as_deref()) => {
            with_command(&of_closed("change the owner"), "sudo chown \"$(id -un)\" {}", &[closed])
        }
        _ => name_another(env, path),
    }
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

/// How to have another file instead of one that may be another user's by right, or the system's.
pub(crate) fn name_another(env: &Env, path: &Path) -> String {
    let leads = |name: &&str| env.path(name).is_some_and(|value| path.starts_with(value));
    let home = env.home().filter(|home| path.starts_with(home));
    match LEADING.into_iter().find(leads) {
        Some(name) if name != RUNTIME_DIR => format!("correct {name}, which leads there"),
        // podman's directory for users without a login session, or that of the user before su.
        leading if leading.is_some() || path.starts_with("/run") => {
            format!("set {RUNTIME_DIR} to a directory of this user, e.g. by logging in without su or sudo")
        }
        _ if home.as_ref().is_some_and(|home| platform::owner(home) != Some(platform::own_id())) => {
            format!("set {} to the home directory of the user who runs this", Env::HOME)
        }
        _ if docker_config(env).is_some_and(|file| file == path) => {
            "set DOCKER_CONFIG to a directory of this user".to_owned()
        }
        _ if home.is_some() && path.ends_with("containers/auth.json") => {
            "set REGISTRY_AUTH_FILE to a file of this user".to_owned()
        }
        _ if home.is_some() && path.ends_with("docker-credential-ecr-login/config.toml") => {
            "set AWS_ECR_CONFIG_FILE to a file of this user".to_owned()
        }
        // podman reads this directory alone, and no variable names another.
        _ if home.is_some() && path.ends_with("registries.conf.d/ecr-login.conf") => {
            "put a directory of this user in place of the one that it leads to".to_owned()
        }
        _ => "name another file".to_owned(),
    }
}

/// Returns the failure for a path on which a link leads to nothing, e.g. to a volume that is not mounted: clients read no settings there.
fn leads_nowhere(env: &Env, path: &Path) -> Option<Failure> {
    let link = platform::dangling_link(path)?;
    let target = link.read_link().unwrap_or_default();
    let what = format!("{} is a link to {}, which cannot be found", link.display(), target.display());
    let fix = format!("mount or create that, or {}", name_another(env, path));
    Some(Failure::new(Code::ClientNotSetUp, what, fix))
}

/// Returns what keeps setup from the settings file at `path`: no message may lead there.
pub(crate) fn obstacle(env: &Env, path: &Path) -> Option<Failure> {
    check_replaceable(env, path).err().or_else(|| leads_nowhere(env, path))
}

/// Fails as the replacement of the settings file at `path` would, where that is known beforehand.
pub(crate) fn check_replaceable(env: &Env, path: &Path) -> Result<(), Failure> {
    Destination::check_replaceable(path, env.home().as_deref()).map_err(|error| unwritable(env, path, &error))
}

/// Returns the failure for a settings file that cannot be replaced.
pub(crate) fn unwritable(env: &Env, path: &Path, error: &io::Error) -> Failure {
    let what = format!("{} cannot be replaced", path.display());
    Failure::unwritable(Code::WriteFailed, what, error, &way_out(env, path, error))
}

fn way_out(env: &Env, path: &Path, error: &io::Error) -> String {
    let other = name_another(env, path);
    match error.kind() {
        // E.g. a link that home-manager has made into its read-only store. An error of the system has no fix of its own.
        kind @ (io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
            if error.raw_os_error().is_some() =>
        {
            if let Some(Failure { what, hint, .. }) = leads_nowhere(env, path) {
                return format!("{what}: {hint}");
            }
            match path.canonicalize() {
                Ok(target) if path.is_symlink() => format!(
                    "it is a link to {}, which this user cannot change: add the entry where that file is made, or {other}",
                    target.display()
                ),
                _ if kind == io::ErrorKind::ReadOnlyFilesystem => other,
                _ => {
                    let dir = path.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(path);
                    open_up(env, path, dir)
                }
            }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space on its disk".to_owned(),
        _ => other,
    }
}

fn unusable(env: &Env, path: &Path, why: &str) -> Failure {
    invalid(env, path, format!("{} cannot be read: {why}", path.display()))
}

/// Returns the failure for a settings file whose content no client can use either.
pub(crate) fn invalid(env: &Env, path: &Path, what: String) -> Failure {
    // As 'docker run -v' makes one where the file is missing.
    let is_empty_dir = fs::read_dir(path).is_ok_and(|mut files| files.next().is_none());
    let hint = if is_empty_dir && platform::is_plain_below(path, env.home().as_deref()) {
        with_command("remove it", "rmdir {}", &[path])
    } else {
        format!("correct it, or {}", name_another(env, path))
    };
    Failure::new(Code::ClientConfigInvalid, what, hint)
}
