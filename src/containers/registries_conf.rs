//! registries.conf and its drop-ins, in which `credential-helpers` names the helpers. A later file overrides an earlier one, and an
//! empty list means the default.
//!
//! podman 6, buildah 1.44 and skopeo 1.23 changed where these programs look for registries.conf (containers-config(5)):
//!
//! | | up to podman 5 | from podman 6 on |
//! | --- | --- | --- |
//! | the user's directory | `~/.config/containers` | `$XDG_CONFIG_HOME/containers`, else `~/.config/containers` |
//! | registries.conf | the first of the user's file and /etc's | the first of the user's file, /etc's and /usr/share's |
//! | drop-ins | those in /etc, or the user's if the user has a registries.conf | those in /usr/share, /etc and the user's directory, sorted together by base name; of two with one name the user's applies, then /etc's; both system directories may also have `registries.rootful.conf.d`, or `registries.rootless.conf.d` and below it one named after the user's id |
//! | a directory of drop-ins that is a link or a file | not read | a link is followed, a file refused |
//! | a drop-in that is a link to nothing | refused before podman 5.4 | not read |
//! | `CONTAINERS_REGISTRIES_CONF` | read by podman alone: replaces registries.conf, and adds the drop-ins of /etc and the user | replaces registries.conf and all drop-ins |
//! | `CONTAINERS_REGISTRIES_CONF_OVERRIDE` | | read last |

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use super::conf_values::KEY;
use super::conf_values::{self, Version1};
use super::programs::{Era, Program, Rules, program};
use super::{AUTH_FILES, user_config};
use crate::client_config::{invalid, unreadable};
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::input::{self, Content};
use crate::platform;
use crate::toml_text;

/// The size limit of one of the files, whose parser takes up to 120 times as much memory.
pub(crate) const LARGEST: u64 = 256 * 1024;

/// The variable that names registries.conf.
pub const REGISTRIES_CONF: &str = "CONTAINERS_REGISTRIES_CONF";

/// The variable of podman 6 that names a file to read last.
const REGISTRIES_CONF_OVERRIDE: &str = "CONTAINERS_REGISTRIES_CONF_OVERRIDE";

/// Returns the user's directory with registries.conf.
fn user_dir(env: &Env, era: Era) -> Option<PathBuf> {
    match era {
        // The programs take an empty value for a relative path.
        Era::From6 if env.is_empty("XDG_CONFIG_HOME") => None,
        Era::From6 => user_config(env),
        _ => Some(env.home()?.join(".config/containers")),
    }
}

/// Returns the file with the policy for signatures, if there is one.
pub(super) fn policy(env: &Env, era: Era) -> Option<PathBuf> {
    let shared = (era == Era::From6).then_some(SHARED);
    let dirs = user_dir(env, era).into_iter().chain([SYSTEM].into_iter().chain(shared).map(PathBuf::from));
    dirs.map(|dir| dir.join("policy.json")).find(|path| path.exists())
}

/// Returns the drop-in of the user that setup writes.
pub fn own_drop_in(env: &Env, era: Era) -> Option<PathBuf> {
    Some(user_dir(env, era)?.join("registries.conf.d/ecr-login.conf"))
}

/// A helper that `credential-helpers` names.
#[derive(Debug)]
pub struct CredentialHelper {
    /// The helper's name, without `docker-credential-`.
    pub name: String,
    /// The file that names it; empty for the default.
    pub file: PathBuf,
}

/// Returns the effective `credential-helpers` of registries.conf and its drop-ins.
pub fn credential_helpers(env: &Env, rules: Rules) -> Result<Vec<CredentialHelper>, Failure> {
    credential_helpers_without(env, rules, Path::new(""))
}

/// Returns what `credential-helpers` would be without one of these files.
pub fn credential_helpers_without(env: &Env, rules: Rules, without: &Path) -> Result<Vec<CredentialHelper>, Failure> {
    let mut helpers = Vec::new();
    for path in registries_conf(env, rules)?.into_iter().filter(|path| path != without) {
        if let Some((_, names)) = read(env, &path)?.iter().find(|(key, _)| key.eq_ignore_ascii_case(KEY)) {
            let names = names.as_array().into_iter().flatten().filter_map(toml::Value::as_str);
            helpers = names.map(|name| CredentialHelper { name: name.to_owned(), file: path.clone() }).collect();
        }
    }
    if helpers.is_empty() {
        helpers.push(CredentialHelper { name: AUTH_FILES.to_owned(), file: PathBuf::new() });
    }
    Ok(helpers)
}

/// Reads one of the files.
fn read(env: &Env, path: &Path) -> Result<toml::Table, Failure> {
    let wrong = |what: &dyn Display| invalid(env, path, format!("{}: {what}", path.display()));
    let reading = input::regular_file(path, LARGEST).map_err(|why| wrong(&why))?;
    let content = reading.ok_or_else(|| wrong(&"it is not a regular file"))?.content;
    let era = Rules::installed(env).era;
    match &content {
        Content::Unreadable(why) => return Err(wrong(why)),
        // A link among the drop-ins: registries.conf itself is not read then.
        Content::Absent if !ignores_absent(path, era) => {
            let what =
                format!("{} is a link that leads to no file, which podman, buildah and skopeo refuse", path.display());
            return Err(Failure::new(Code::ClientConfigInvalid, what, "remove it, or create what it leads to"));
        }
        Content::Bytes(bytes) if era == Era::UpTo43 && bytes.starts_with(BYTE_ORDER_MARK) => {
            return Err(wrong(&"it starts with a byte-order mark, which podman up to 4.3, buildah and skopeo refuse"));
        }
        _ => {}
    }
    let text = std::str::from_utf8(content.bytes().unwrap_or_default()).map_err(|_| wrong(&"it is not UTF-8"))?;
    let conf: toml::Table = toml_text::parse(text).map_err(|mistake| wrong(&mistake.what))?;
    conf_values::refused(&conf, version_1(env, path)).map_or(Ok(conf), |what| Err(wrong(&what)))
}

/// The byte-order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Whether the programs of an era ignore a drop-in that is not there when they open it.
fn ignores_absent(path: &Path, era: Era) -> bool {
    let is_below_file = || fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotADirectory);
    matches!(era, Era::UpTo5 | Era::From6) && !is_below_file()
}

/// How the installed program treats the format of version 1 in one of the files. Without a program, it may be an older one.
fn version_1(env: &Env, path: &Path) -> Version1 {
    let era = Rules::installed(env).era;
    let is_drop_in = path.parent().is_some_and(|dir| dir.ends_with("registries.conf.d"));
    let is_refused = is_drop_in || (era == Era::From6 && program(env).is_some());
    Version1 { is_refused, empty_counts: era != Era::UpTo43 }
}

/// Reports whether the programs read one of the files after the drop-in that setup writes, or do not read that.
pub fn overrides_drop_in(env: &Env, rules: Rules, file: &Path) -> bool {
    let Some(own) = own_drop_in(env, rules.era) else { return true };
    let is_of_variable = |name| env.os(name).is_some_and(|value| Path::new(value) == file);
    let (name, dir) = (file.file_name(), file.parent());
    if rules.era != Era::From6 {
        return dir == own.parent() && name > own.file_name();
    }
    let is_main = dir.is_some_and(|dir| dir.ends_with("containers"));
    [REGISTRIES_CONF, REGISTRIES_CONF_OVERRIDE].into_iter().any(is_of_variable) || (!is_main && name > own.file_name())
}

/// Returns a key that is meant for `credential-helpers`, and that the programs do not read: it is misspelt, or in a table.
pub fn misspelt_key(env: &Env, rules: Rules) -> Option<(String, PathBuf)> {
    let mut files = registries_conf(env, rules).unwrap_or_default().into_iter();
    files.find_map(|path| Some((misspelt(&read(env, &path).ok()?.into(), KEY)?, path)))
}

/// A key in a value or below it that resembles `credential-helpers` and is another one than `read`.
fn misspelt(value: &toml::Value, read: &str) -> Option<String> {
    match value {
        toml::Value::Array(values) => values.iter().find_map(|value| misspelt(value, "")),
        toml::Value::Table(table) => table.iter().find_map(|(key, value)| {
            let lower = key.to_ascii_lowercase();
            let is_meant = lower.starts_with("cred") && lower.contains("helper") && lower != read;
            if is_meant { Some(key.clone()) } else { misspelt(value, "") }
        }),
        _ => None,
    }
}

/// Returns registries.conf and its drop-ins, in the order in which a program reads them.
fn registries_conf(env: &Env, rules: Rules) -> Result<Vec<PathBuf>, Failure> {
    let user = user_dir(env, rules.era);
    match rules {
        Rules { era: Era::From6, .. } => files_from_6(env, user),
        Rules { program: Program::Podman, .. } => files_up_to_5(env, user, file_from_variable(env, REGISTRIES_CONF)?),
        Rules { program: Program::Other, .. } => files_up_to_5(env, user, None),
    }
}

const SYSTEM: &str = "/etc/containers";
const SHARED: &str = "/usr/share/containers";

fn files_up_to_5(env: &Env, user: Option<PathBuf>, named: Option<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let system = PathBuf::from(SYSTEM);
    let user_conf = user.as_ref().and_then(|dir| first_conf(&[dir]));
    let has_user_conf = named.is_none() && user_conf.is_some();
    let conf = named.or(user_conf).or_else(|| first_conf(&[&system]));
    let dirs = (!has_user_conf).then_some(system).into_iter().chain(user);
    let mut files: Vec<PathBuf> = conf.into_iter().collect();
    for dir in dirs.map(|dir| dir.join("registries.conf.d")) {
        // These programs do not follow a link here, and ignore a file.
        if dir.symlink_metadata().map_or_else(|error| error.kind() != ErrorKind::NotFound, |dir| dir.is_dir()) {
            files.extend(conf_files(env, &dir)?.into_values());
        }
    }
    Ok(files)
}

fn files_from_6(env: &Env, user: Option<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    if let Some(named) = file_from_variable(env, REGISTRIES_CONF)? {
        files.push(named);
    } else {
        let [shared, system] = [SHARED, SYSTEM].map(PathBuf::from);
        let dirs: Vec<&PathBuf> = user.iter().chain([&system, &shared]).collect();
        files.extend(first_conf(&dirs));
        let of_system = [&shared, &system].into_iter().flat_map(|dir| system_drop_ins(dir));
        let dirs = of_system.chain(user.map(|dir| dir.join("registries.conf.d")));
        // A later file replaces an earlier one of the same name.
        let mut by_name = BTreeMap::new();
        for dir in dirs {
            by_name.extend(conf_files(env, &dir)?);
        }
        files.extend(by_name.into_values());
    }
    files.extend(file_from_variable(env, REGISTRIES_CONF_OVERRIDE)?);
    Ok(files)
}

/// Returns the first registries.conf that exists in these directories.
fn first_conf(dirs: &[&PathBuf]) -> Option<PathBuf> {
    dirs.iter().map(|dir| dir.join("registries.conf")).find(|path| path.exists())
}

/// Returns the file that a variable names. The file has to exist.
fn file_from_variable(env: &Env, variable: &str) -> Result<Option<PathBuf>, Failure> {
    match env.os(variable).map(PathBuf::from) {
        Some(path) if !path.exists() => {
            let hidden =
                input::closed_dir(&path).map(|dir| format!("is below {}, which cannot be entered", dir.display()));
            let why = hidden.unwrap_or_else(|| "does not exist".to_owned());
            let what = format!("{}, which {variable} names, {why}", path.display());
            Err(Failure::new(Code::ClientConfigInvalid, what, format!("correct or unset {variable}")))
        }
        path => Ok(path),
    }
}

/// Returns the directories of drop-ins below a directory of the system.
fn system_drop_ins(dir: &Path) -> Vec<PathBuf> {
    let mut dirs = vec![dir.join("registries.conf.d")];
    match platform::own_id() {
        0 => dirs.push(dir.join("registries.rootful.conf.d")),
        user => {
            let rootless = dir.join("registries.rootless.conf.d");
            dirs.push(rootless.clone());
            dirs.push(rootless.join(user.to_string()));
        }
    }
    dirs
}

/// Returns the drop-ins of a directory by their base names.
fn conf_files(env: &Env, dir: &Path) -> Result<BTreeMap<OsString, PathBuf>, Failure> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(unreadable(env, dir, &error)),
        entries => entries.into_iter().flatten().flatten(),
    };
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let named = files.map(|entry| (entry.file_name(), entry.path()));
    Ok(named.filter(|(name, _)| name.as_encoded_bytes().ends_with(b".conf")).collect())
}
