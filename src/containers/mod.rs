//! Where podman, buildah and skopeo get the credentials of a registry, read from their settings. This module writes nothing;
//! see [`setup`](crate::commands::setup).
//!
//! These programs call the helpers that `credential-helpers` in registries.conf and its drop-ins names, in order. The default
//! is `containers-auth.json`, which stands for several files in a fixed order, docker's last. In each file they read
//! `credHelpers`, then `auths`; they ignore `credsStore` (containers-auth.json(5), containers-registries.conf(5)).
//!
//! `REGISTRY_AUTH_FILE`, or `DOCKER_CONFIG`, names the only file with passwords; up to podman 4.3 it names the first one. Where that
//! does not exist, buildah and podman up to 4.3 refuse every pull.
//!
//! [`registries_conf`] finds the settings, by rules that depend on the version ([`programs`]). `tests/suite/containers.rs` compares all
//! of this with the programs themselves.

mod conf_values;
mod programs;
mod registries_conf;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use crate::client_config::{self, AuthFile, DOCKERCFG, HELPER_NAME, Lookup, Members, invalid};
use crate::env::Env;
use crate::error::Failure;
use crate::input::closed_dir;
use crate::platform;
use crate::registry::{Host, Registry};
pub use programs::{Era, Program, Rules, program, skopeo_ignores_variable, version, version_output};
pub(crate) use registries_conf::LARGEST;
pub use registries_conf::{
    CredentialHelper, KEY, REGISTRIES_CONF, credential_helpers, credential_helpers_without, misspelt_key,
    overrides_drop_in, own_drop_in,
};

/// The helper that stands for the files with passwords.
pub const AUTH_FILES: &str = "containers-auth.json";

/// Finds where these programs get the credentials of `host`.
pub fn lookup(env: &Env, rules: Rules, host: &str) -> Result<Lookup, Failure> {
    let mut unusable = None;
    for CredentialHelper { name, file } in credential_helpers(env, rules)? {
        if name == AUTH_FILES {
            match auth_file_lookup(env, rules, host) {
                Ok(Lookup::Nothing) => {}
                // Another helper may still answer.
                Err(failure) => unusable = Some(failure),
                found => return found,
            }
        } else if name == HELPER_NAME {
            return Ok(Lookup::Helper { name, setting: "credential-helpers", file });
        }
        // The answer of any other helper is unknown here.
    }
    unusable.map_or(Ok(Lookup::Nothing), Err)
}

fn auth_file_lookup(env: &Env, rules: Rules, host: &str) -> Result<Lookup, Failure> {
    for path in auth_files(env, rules) {
        let file = read(env, path)?;
        if file.names_no_helper(host) {
            let what = format!("credHelpers in {} has {host} without the name of a helper", file.path.display());
            return Err(invalid(env, &file.path, what));
        }
        if let Some(name) = file.helper(host) {
            return Ok(Lookup::Helper { name: name.to_owned(), setting: "credHelpers", file: file.path.clone() });
        }
        if file.passwords_for(host).iter().any(|key| repository(key).is_none()) {
            return Ok(Lookup::Password(file.path.clone()));
        }
    }
    Ok(Lookup::Nothing)
}

/// Returns the repository, or the prefix of repositories, that a key of `auths` is for; `None` for a whole registry. Only
/// logins of docker write a URL, and its path means nothing.
pub fn repository(key: &str) -> Option<&str> {
    if key.contains("://") {
        return None;
    }
    let (_, repository) = key.split_once('/')?;
    (!repository.is_empty()).then_some(key)
}

/// Reports whether the programs read the files with passwords and `credHelpers`: `credential-helpers` may leave them out.
pub fn reads_auth_files(env: &Env) -> bool {
    credential_helpers(env, Rules::installed(env))
        .is_ok_and(|helpers| helpers.iter().any(|helper| helper.name == AUTH_FILES))
}

/// Reads a file with passwords. Unlike docker, these programs fail on a file that exists and is blank, and on text behind the object.
pub fn read(env: &Env, path: PathBuf) -> Result<Arc<AuthFile>, Failure> {
    let file = AuthFile::read(env, path)?;
    let shown = file.path.display();
    let what = match &file.text_behind {
        Some(what) => format!("{shown}: {what}"),
        None if file.is_blank && file.path.is_file() => format!("{shown} is empty, which is not JSON"),
        None => return Ok(file),
    };
    Err(invalid(env, &file.path, what))
}

/// Fails where the programs refuse every image, since the policy for signatures (containers-policy.json(5)) is no policy.
pub fn check_policy(env: &Env) -> Result<(), Failure> {
    let Some(path) = program(env).and_then(|_| registries_conf::policy(env, Rules::installed(env).era)) else {
        return Ok(());
    };
    let text = client_config::text(env, &path)?;
    let has_default = |members: Members<'_>| members.0.iter().any(|(name, _)| name == "default");
    let why = match client_config::parse(&text).map(has_default) {
        Ok(true) => return Ok(()),
        Ok(false) => "it has no 'default'".to_owned(),
        Err(what) => what,
    };
    Err(invalid(env, &path, format!("{}: {why}, so podman and buildah refuse every image", path.display())))
}

/// Returns the hosts for which a client is to call the helper, by the files of all clients, sorted: those of the entries that name it,
/// and the ECR registries that have another entry or a password.
pub fn hosts(env: &Env) -> Vec<String> {
    let files = client_config::docker_config(env).into_iter().chain(auth_files(env, Rules::installed(env)));
    let files: Vec<_> = files.filter_map(|path| AuthFile::read(env, path).ok()).collect();
    let name = |key: &str| Host::in_image(key.trim()).map_or_else(|| key.to_owned(), |host| host.to_string());
    let private = |key: &&str| Registry::parse(key).is_some_and(|registry| !registry.is_public());
    let with_helper = files.iter().flat_map(|file| file.helpers.keys().map(String::as_str));
    let with_password = files.iter().flat_map(|file| file.passwords.keys().map(|host| &**host));
    let others = with_helper.chain(with_password).filter(private);
    let named = files.iter().flat_map(|file| file.helper_keys());
    let mut hosts: Vec<String> = named.chain(others).map(name).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Returns the files that `containers-auth.json` stands for, in order. With `DOCKER_CONFIG`, podman and buildah read docker's
/// file alone; skopeo does so only for its own login.
pub fn auth_files(env: &Env, rules: Rules) -> Vec<PathBuf> {
    let named = named_auth_file(env);
    if let Some(path) = named.as_ref().filter(|_| rules.era != Era::UpTo43) {
        return vec![path.clone()];
    }
    let config = user_config(env).map(|config| config.join("auth.json"));
    let old = env.home().map(|home| home.join(DOCKERCFG));
    let login = named.map_or_else(|| login_files(env), |file| vec![file]);
    login.into_iter().chain([config, client_config::docker_config(env), old].into_iter().flatten()).collect()
}

/// Returns the files in which these programs keep logins. For a user without a runtime directory, podman and buildah take one of
/// their own, and skopeo alone takes one for all users, which may be closed.
fn login_files(env: &Env) -> Vec<PathBuf> {
    let runtime = env.path_as_it_is(RUNTIME_DIR);
    let temporary = || env.path_as_it_is("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    let own = if runtime.is_none() { platform::podman_runtime_dir(&temporary()) } else { None };
    let common = platform::podman_login_dir(runtime.as_deref(), env.home().as_deref());
    let common =
        common.filter(|_| closed_login_dir(env).is_none() || program(env).is_some_and(|path| path.ends_with("skopeo")));
    own.map(|dir| dir.join("containers")).into_iter().chain(common).map(|dir| dir.join("auth.json")).collect()
}

/// Returns the closed directory that keeps skopeo from all credentials, and no other program.
pub fn closed_login_dir(env: &Env) -> Option<PathBuf> {
    let is_named = env.path_as_it_is(RUNTIME_DIR).is_some() || named_with_variable(env).is_some();
    let dir = if is_named { None } else { platform::podman_login_dir(None, env.home().as_deref()) };
    dir.filter(|dir| closed_dir(&dir.join("auth.json")).is_some())
}

const RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// Returns the one of these files that survives a reboot, so that entries belong into it.
pub fn lasting_auth_file(env: &Env) -> Option<PathBuf> {
    named_auth_file(env).or_else(|| Some(user_config(env)?.join("auth.json")))
}

/// Returns the file that a variable names instead of all others.
fn named_auth_file(env: &Env) -> Option<PathBuf> {
    named_with_variable(env).map(|(_, path)| path)
}

fn named_with_variable(env: &Env) -> Option<(&'static str, PathBuf)> {
    let [of_podman, of_docker] =
        ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG"].map(|name| Some((name, env.path_as_it_is(name)?)));
    of_podman.or_else(|| of_docker.map(|(name, dir)| (name, dir.join("config.json"))))
}

/// Returns the file that a variable names and that does not exist, with the variable, where the installed program then refuses every
/// pull.
pub fn missing_named_file(env: &Env) -> Option<(&'static str, PathBuf)> {
    let is_absent = |path: &PathBuf| path.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    named_with_variable(env).filter(|(_, path)| is_absent(path) && programs::requires_named_file(env))
}

fn user_config(env: &Env) -> Option<PathBuf> {
    let config = env.path_as_it_is("XDG_CONFIG_HOME").or_else(|| Some(env.home()?.join(".config")))?;
    Some(config.join("containers"))
}
