//! Reads the settings files of clients, and explains why one cannot be used.

use std::fs;
use std::io;
use std::path::Path;

use crate::code::Code;
use crate::error::Failure;
use crate::platform::{self, Destination, shell_word, with_command};

/// The size limit of a settings file, which has hundreds of passwords in that. An edit of it takes up to 32 times as much memory.
const LARGEST: u64 = 1024 * 1024;

/// Reads the text of a settings file. A file that does not exist counts as empty.
pub fn text(path: &Path) -> Result<String, Failure> {
    match fs::metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) => return Err(unreadable(path, &error)),
        Ok(metadata) if !metadata.is_file() => return Err(unusable(path, "it is not a regular file")),
        Ok(_) => {}
    }
    // Files of /proc may be longer than they say.
    let bytes = platform::open_without_waiting(path).and_then(|file| platform::read_within(&file, LARGEST));
    utf8(path, &bytes.map_err(|error| unread(path, &error))?)
}

/// Reads the text of the settings file at `path` where it is to be written. A file that does not exist counts as empty.
pub fn text_at(destination: &Destination, path: &Path) -> Result<String, Failure> {
    let bytes = destination.read(LARGEST).map_err(|error| unread(path, &error))?;
    utf8(path, &bytes.unwrap_or_default())
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::FileTooLarge => unusable(path, "it is larger than 1 MiB, the limit"),
        _ => unreadable(path, error),
    }
}

fn utf8(path: &Path, bytes: &[u8]) -> Result<String, Failure> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| unusable(path, "it is not UTF-8"))
}

/// The failure for a settings file that the system does not let this user read.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return unusable(path, &error.to_string());
    }
    let is_closed =
        |path: &Path| fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    if !is_closed(path) {
        let what = format!("{} belongs to another user, and this user has no permission to read it", path.display());
        return Failure::new(Code::ClientConfigUnreadable, what, give_back("", path));
    }
    // After 'sudo docker login' the directory may belong to root too, and then the file cannot even be looked up.
    let dir = path.ancestors().skip(1).find(|dir| !is_closed(dir)).unwrap_or(path);
    let what = format!("{} belongs to another user, and this user has no permission to enter it", dir.display());
    // podman's directory for users without a login session.
    let hint = if dir.starts_with("/run") {
        "set XDG_RUNTIME_DIR to a directory of this user, e.g. by logging in without su or sudo".to_owned()
    } else {
        give_back("-R ", dir)
    };
    Failure::new(Code::ClientConfigUnreadable, what, hint)
}

/// Describes how to make this user the owner again.
fn give_back(option: &str, path: &Path) -> String {
    if cfg!(windows) {
        let path = path.display().to_string();
        return format!("give it back as an administrator: 'icacls {} /reset'", shell_word(&path));
    }
    let chown = format!("sudo chown {option}\"$(id -un)\"");
    platform::detour(path).unwrap_or_else(|| with_command("change its owner", &chown, &[path]))
}

fn unusable(path: &Path, why: &str) -> Failure {
    invalid(path, format!("{} cannot be read: {why}", path.display()))
}

/// Returns the failure for a settings file whose content no client can use either.
pub(crate) fn invalid(path: &Path, what: String) -> Failure {
    let hint = match platform::detour(path).filter(|_| !path.is_file()) {
        Some(hint) => hint,
        None if path.is_dir() => with_command("remove it", "rmdir", &[path]),
        None => {
            let broken = path.with_extension("broken");
            with_command("correct it, or move it out of the way", "mv", &[path, &broken])
        }
    };
    Failure::new(Code::ClientConfigInvalid, what, hint)
}
