//! What keeps clients from calling the helper. [`doctor`](super::doctor) and [`setup`](super::setup) judge by this module, so
//! that both say the same.

mod host;

use std::io;
use std::path::{Path, PathBuf};

use super::client::Client;
use crate::NAME;
use crate::client_config::{self, AuthFile, HELPER_NAME};
use crate::code::Code;
use crate::containers::{self, Era, REGISTRIES_CONF, Rules};
use crate::env::Env;
use crate::error::Failure;
use crate::platform::{self, with_command};
pub(super) use host::{
    calls_helper, environment_password, leftover_passwords, refusal_of_all, repository_password, unknown_region,
};

/// Where programs for all users are put, the best place first.
const PLACES: [&str; 3] =
    ["/usr/local/bin", if cfg!(target_os = "macos") { "/opt/homebrew/bin" } else { "/usr/bin" }, "/bin"];

/// The helper as clients find it on their PATH, or why they find none or another program.
pub(super) fn program(env: &Env) -> Result<PathBuf, Failure> {
    // In a root without /proc, the system does not tell it.
    let this = Env::this_program().and_then(|path| path.canonicalize().ok());
    // Few programs on Windows accept a canonical path.
    let named = if cfg!(windows) { Env::this_program() } else { this.clone() };
    let here = named.map(|path| path.display().to_string());
    match env.find_program(NAME).filter(|_| env.has_path()) {
        None => {
            let sudo = if platform::own_id() == 0 { "" } else { "sudo " };
            let is_searched =
                |place: &&Path| place.is_dir() && env.has_path() && env.search_path().any(|dir| dir == **place);
            let place = PLACES.iter().map(Path::new).find(is_searched).filter(|_| !cfg!(windows));
            // No program that others may exchange gets into a directory for all users, and none there is replaced.
            let there = place.map(|place| place.join(NAME)).filter(|there| there.symlink_metadata().is_err());
            let hint = match (here, there) {
                (Some(here), Some(there)) if platform::is_out_of_reach_of_others(Path::new(&here)) => with_command(
                    "copy it into a directory of the PATH",
                    &format!("{sudo}install -m 755 {{}} {{}}"),
                    &[Path::new(&here), &there],
                ),
                (here, _) => {
                    let here = here.as_deref().unwrap_or("this program");
                    format!("copy {here} into a directory of the PATH, or add its directory to the PATH")
                }
            };
            let what = format!("{NAME} is not on the PATH, so no client finds it");
            Err(Failure::new(Code::ProgramNotOnPath, what, hint))
        }
        Some(path) => match here {
            Some(here) if path.canonicalize().ok() != this => {
                let what = format!("clients find {} first, not {here}", path.display());
                Err(Failure::usual(Code::ProgramShadowed, what))
            }
            _ => Ok(path),
        },
    }
}

/// Under sudo, settings and credentials are those of another user, unless the home directory stays.
pub(super) fn sudo(env: &Env) -> Option<Failure> {
    let user = env.text("SUDO_USER").filter(|user| *user != "root")?;
    let home = env.home().unwrap_or_default();
    let owner = platform::other_owner(&home).unwrap_or_else(platform::own_id);
    if env.text("SUDO_UID").is_some_and(|id| id == owner.to_string()) {
        return None;
    }
    let what = format!("running under sudo: settings and credentials are those in {}, not {user}'s", home.display());
    Some(Failure::usual(Code::Sudo, what))
}

/// A `DOCKER_AUTH_CONFIG` that docker rejects.
pub(super) fn refused_environment(env: &Env) -> Option<Failure> {
    let what = "DOCKER_AUTH_CONFIG is not an object with 'auths' as its only member and one 'auth' for each host, so docker \
                28.3 and later warns with every command";
    client_config::hosts_of_environment(env).is_none().then(|| Failure::usual(Code::DockerAuthConfig, what))
}

/// A docker from the snap store: its home directory is another one, and it finds no helper on the PATH.
pub(super) fn snap(env: &Env) -> Option<Failure> {
    let program = env.find_program("docker").filter(|path| path.ends_with("snap/bin/docker"))?;
    let read = env.home()?.join("snap/docker/current/.docker/config.json");
    let reads = match client_config::docker_config(env).filter(|path| *path != read) {
        Some(path) => format!("reads {} and not {}, and ", read.display(), path.display()),
        None => String::new(),
    };
    let what = format!("{} is a snap, which {reads}calls no program outside of the snap", program.display());
    let hint = "install docker from a package that is not confined, e.g. that of the distribution";
    Some(Failure::new(Code::ClientConfigInvalid, what, hint))
}

/// A variable of clients with a relative path, e.g. since nothing has replaced a `~` or a variable at its beginning.
pub(super) fn relative(env: &Env) -> Option<Failure> {
    let value = |name| Some((name, env.path_as_it_is(name).filter(|path| path.is_relative())?));
    let (name, path) = ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME"].into_iter().find_map(value)?;
    let path = path.display();
    let what = format!("{name} is '{path}', a relative path, which clients look for in the current directory");
    Some(Failure::new(Code::ClientConfigInvalid, what, format!("write the whole path in {name}")))
}

/// Members of a client's files that no client reads, since their names are misspelt, or that docker does not, since they are of
/// another type.
pub(super) fn unread_members(env: &Env, client: Client) -> Vec<Failure> {
    let mut found = Vec::new();
    let mut add = |path: &Path, what: String, hint: String| {
        found.push(Failure::new(Code::ClientConfigInvalid, format!("{}{what}", path.display()), hint));
    };
    let unread = |name: &str| format!(" has '{name}', which no client reads");
    for file in client.own_auth_files(env).into_iter().filter_map(|path| AuthFile::read(env, path).ok()) {
        if let Some((member, meant)) = &file.misspelt_member {
            add(&file.path, unread(member), format!("rename it to '{meant}'"));
        }
        if let Some(what) = file.wrong_type.as_ref().filter(|_| client == Client::Docker) {
            let what = format!(": {what}, so docker warns with every command, and cosign stops");
            add(&file.path, what, "correct it".to_owned());
        }
    }
    if client == Client::Podman
        && let Some((key, path)) = containers::misspelt_key(env, Rules::installed(env))
    {
        add(&path, unread(&key), format!("write it as '{}', above the first table", containers::KEY));
    }
    found
}

/// skopeo before 1.23 does not read the file that a variable names.
pub(super) fn skopeo_variable(env: &Env) -> Option<Failure> {
    let path = env.text(REGISTRIES_CONF).filter(|_| containers::skopeo_ignores_variable(env))?;
    let what = format!("this skopeo does not read {path}, which {REGISTRIES_CONF} names");
    let hint = "for skopeo, name the helper in the registries.conf of the user or of /etc/containers too";
    Some(Failure::new(Code::ClientConfigInvalid, what, hint))
}

/// The directory that keeps skopeo, and not podman, from all credentials; where skopeo is alone, it is the failure of podman's check.
pub(super) fn skopeo_logins(env: &Env) -> Option<Failure> {
    let dir = containers::closed_login_dir(env).filter(|_| env.find_program("skopeo").is_some())?;
    Client::Podman.program(env).filter(|program| !program.ends_with("skopeo"))?;
    let failure = client_config::unreadable(env, &dir, &io::ErrorKind::PermissionDenied.into());
    Some(Failure { what: format!("{}, so skopeo finds no credentials", failure.what), ..failure })
}

/// What keeps podman from reading the drop-in that names the helper for all registries.
pub(super) fn overridden(env: &Env) -> Option<Failure> {
    let rules = Rules::installed(env);
    let helpers = containers::credential_helpers(env, rules).ok()?;
    if helpers.iter().any(|helper| helper.name == HELPER_NAME) {
        return None;
    }
    let (what, file) = if let (Some(path), Era::From6) = (env.text(REGISTRIES_CONF), rules.era) {
        (format!("{REGISTRIES_CONF} is set, so podman 6 and later reads {path} and no other file"), path.to_owned())
    } else {
        let file = helpers.first()?.file.display().to_string();
        (format!("credential-helpers in {file} overrides the new file"), file)
    };
    Some(Failure::new(Code::ClientConfigInvalid, what, format!("add {HELPER_NAME} to credential-helpers in {file}")))
}

/// Describes for which registries the settings of a client name the helper; `None` if for no registry.
pub(super) fn named_registries(env: &Env, client: Client) -> Result<Option<String>, Failure> {
    match client {
        Client::Docker => registries_of_docker(env),
        Client::Podman => registries_of_podman(env),
    }
}

fn registries_of_docker(env: &Env) -> Result<Option<String>, Failure> {
    let Some(path) = client_config::docker_config(env) else { return Ok(None) };
    let file = client_config::docker_file(env, path)?;
    let shown = file.path.display();
    Ok(match file.store() {
        Some(NAME) => return Err(wrong_store(env, &file.path, "HOST")),
        Some(HELPER_NAME) => {
            let but = match file.helpers.len() - file.helper_keys().count() {
                0 => String::new(),
                others => format!(" but {others}, which credHelpers gives to other helpers"),
            };
            Some(format!("calls the helper for every registry{but}: credsStore in {shown}"))
        }
        _ => names(&file),
    })
}

fn registries_of_podman(env: &Env) -> Result<Option<String>, Failure> {
    refusal_of_all(env, Client::Podman, "HOST")?;
    let helpers = containers::credential_helpers(env, Rules::installed(env))?;
    if let Some(helper) = helpers.iter().find(|helper| helper.name == HELPER_NAME) {
        let file = helper.file.display();
        return Ok(Some(format!("calls the helper for every registry: credential-helpers in {file}")));
    }
    if !containers::reads_auth_files(env) {
        return Ok(None);
    }
    let own = Client::Podman.own_auth_files(env);
    let docker = client_config::docker_config(env).filter(|_| Client::Podman.program(env).is_some());
    // The programs read no file behind the one that names the helper.
    for path in Client::Podman.auth_files(env) {
        if own.contains(&path) {
            if let Some(what) = names(containers::read(env, path)?.as_ref()) {
                return Ok(Some(what));
            }
        } else if docker.as_ref() == Some(&path)
            && AuthFile::read(env, path).is_ok_and(|file| file.hosts().next().is_some())
        {
            return Ok(Some("reads docker's settings".to_owned()));
        }
    }
    Ok(None)
}

/// Describes for how many registries a file names the helper, if for any.
fn names(file: &AuthFile) -> Option<String> {
    let count = Some(file.hosts().count()).filter(|count| *count > 0)?;
    Some(format!("{} names the helper for {}", file.path.display(), registries(count)))
}

fn registries(count: usize) -> String {
    if count == 1 { "1 registry".to_owned() } else { format!("{count} registries") }
}

/// The settings of a client name the helper for no registry.
pub(super) fn names_no_registry(env: &Env, client: Client) -> Failure {
    if let Some(failure) = host::other_helpers(env, client) {
        return failure;
    }
    let what = format!("{} names the helper for no registry", client.entry_file(env).unwrap_or_default().display());
    let hosts: &[&str] = if client == Client::Docker { &["HOST"] } else { &[] };
    client.failure(env, Code::ClientNotSetUp, what, &"{}".repeat(hosts.len()), hosts)
}

/// The program's whole name as `credsStore`.
pub(super) fn wrong_store(env: &Env, path: &Path, host: &str) -> Failure {
    let path = path.display();
    let what = format!(
        "credsStore in {path} is '{NAME}' and not '{HELPER_NAME}', so docker looks for docker-credential-{NAME}"
    );
    Client::Docker.failure(env, Code::ClientHelperName, what, "{}", &[host])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::{
        Client, Code, Env, named_registries, names_no_registry, platform, program, refused_environment, sudo,
        unread_members,
    };

    /// A home directory, without any program.
    pub(super) struct Machine(TempDir);

    impl Machine {
        pub(super) fn with(path: &str, content: &str) -> Self {
            let home = tempfile::tempdir().expect("a directory");
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, content).expect("a file");
            Self(home)
        }

        pub(super) fn env(&self, variables: &[(&str, &str)]) -> Env {
            let home = self.0.path().to_str().expect("UTF-8");
            variables.iter().chain(&[(Env::HOME, home), ("PATH", "/nonexistent")]).copied().collect()
        }
    }

    #[test]
    fn the_registries_that_docker_gives_to_the_helper_are_counted() {
        for (config, expected) in [
            ("{}", None),
            (r#"{"credHelpers": {"a.example": "gcloud"}}"#, None),
            (r#"{"credHelpers": {"a.example": "ecr-login"}}"#, Some("names the helper for 1 registry")),
            (r#"{"credHelpers": {"a": "ecr-login", "b": "ecr-login"}}"#, Some("names the helper for 2 registries")),
            (r#"{"credsStore": "ecr-login"}"#, Some("calls the helper for every registry: credsStore in ")),
            (
                r#"{"credsStore": "ecr-login", "credHelpers": {"a": "gcloud", "b": "ecr-login"}}"#,
                Some("every registry but 1, which credHelpers gives to other helpers: credsStore in "),
            ),
        ] {
            let machine = Machine::with(".docker/config.json", config);
            let found = named_registries(&machine.env(&[]), Client::Docker).expect("a readable file");
            let is_expected = match (&found, expected) {
                (Some(found), Some(expected)) => found.contains(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_expected, "{config}: {found:?}");
        }
        let machine = Machine::with(".docker/config.json", r#"{"credsStore": "docker-credential-ecr-login"}"#);
        let failure = named_registries(&machine.env(&[]), Client::Docker).expect_err("no such helper");
        assert_eq!(failure.code, Code::ClientHelperName);
    }

    #[test]
    fn the_file_of_podman_that_names_the_helper_is_the_one_that_is_shown() {
        let machine = Machine::with("run/containers/auth.json", r#"{"credHelpers": {"a": "ecr-login"}}"#);
        let run = machine.0.path().join("run");
        let env = machine.env(&[("XDG_RUNTIME_DIR", run.to_str().expect("UTF-8"))]);
        let found = named_registries(&env, Client::Podman).expect("readable files").expect("an entry");
        assert!(found.contains("run/containers/auth.json names the helper for 1 registry"), "{found}");
        let none = names_no_registry(&env, Client::Podman);
        assert!(none.code == Code::ClientNotSetUp && none.hint.contains("setup --podman"), "{none}");
    }

    #[test]
    fn what_the_machine_has_against_the_helper_has_a_code() {
        let machine = Machine::with(".docker/config.json", r#"{"credStore": "ecr-login", "credsHelpers": {}}"#);
        assert_eq!(program(&machine.env(&[])).expect_err("an empty PATH").code, Code::ProgramNotOnPath);
        let misspelt = unread_members(&machine.env(&[]), Client::Docker);
        let [failure] = &misspelt[..] else { panic!("the first: {misspelt:?}") };
        assert!(failure.code == Code::ClientConfigInvalid && failure.hint == "rename it to 'credsStore'", "{failure}");
        for (config, what) in [
            (r#"{"experimental": true}"#, "experimental is not a string"),
            (r#"{"HttpHeaders": {"a": ["b"]}}"#, "HttpHeaders is not an object of strings"),
            (r#"{"proxies": {"httpProxy": "http://a"}}"#, "proxies is not an object of objects of strings"),
            (r#"{"proxies": {"default": {"noProxy": ["a"]}}}"#, "proxies is not an object of objects of strings"),
            (r#"{"plugins": {"a": {"b": true}}, "psFormat": "a"}"#, "plugins is not an object of objects of strings"),
            (r#"{"features": {"buildkit": true}}"#, "features is not an object of strings"),
            (r#"{"cliPluginsExtraDirs": "/opt/plugins"}"#, "cliPluginsExtraDirs is not a list of strings"),
            (r#"{"pruneFilters": [1]}"#, "pruneFilters is not a list of strings"),
            (r#"{"NetworksFormat": 1}"#, "NetworksFormat is not a string"),
            (r#"{"credsStore": 5}"#, "credsStore is not a string"),
            (r#"{"auths": {"a.example": {"username": 1}}}"#, "in auths, username is not a string"),
            (
                r#"{"auths": {"a.example": {"auth": "user:password"}}}"#,
                "in auths, auth is not the base64 of USER:PASSWORD",
            ),
        ] {
            let wrong = unread_members(&Machine::with(".docker/config.json", config).env(&[]), Client::Docker);
            let expected = format!("config.json: {what}, so docker warns with every command, and cosign stops");
            assert!(matches!(&wrong[..], [failure] if failure.what.ends_with(&expected)), "{config}: {wrong:?}");
        }
        for config in [
            r#"{"experimental": "enabled", "plugins": {"a": {"b": "true"}, "c": null}}"#,
            r#"{"filename": 1}"#,
            r#"{"pruneFilters": ["a"], "features": null, "auths": {"a": {"auth": "YTpi\n", "x": 1}, "b": {"auth": ""}}}"#,
        ] {
            let none = unread_members(&Machine::with(".docker/config.json", config).env(&[]), Client::Docker);
            assert!(none.is_empty(), "{config}: {none:?}");
        }
        for (config, key) in [
            ("credential_helpers = ['ecr-login']", Some("credential_helpers")),
            ("credHelpers = ['ecr-login']", Some("credHelpers")),
            ("[registries]\ncredential-helpers = ['ecr-login']", Some("credential-helpers")),
            ("[[registry]]\nlocation = 'a'\ncredential-helpers = ['ecr-login']", Some("credential-helpers")),
            ("credential-helpers = ['ecr-login']", None),
            ("Credential-Helpers = ['ecr-login']", None),
            ("additional-layer-store-auth-helper = 'a'", None),
        ] {
            let machine = Machine::with(".config/containers/registries.conf", config);
            let found = unread_members(&machine.env(&[]), Client::Podman);
            let hint = "write it as 'credential-helpers', above the first table";
            let is_found = |key| matches!(&found[..], [failure] if failure.what.contains(&format!("'{key}'")) && failure.hint == hint);
            assert!(key.map_or(found.is_empty(), is_found), "{config}: {found:?}");
        }
        assert!(sudo(&machine.env(&[])).is_none());
        let found = |id: u32| sudo(&machine.env(&[("SUDO_USER", "me"), ("SUDO_UID", &id.to_string())]));
        assert_eq!(sudo(&machine.env(&[("SUDO_USER", "me")])).expect("a finding").code, Code::Sudo);
        assert_eq!(found(platform::own_id() + 1).expect("a finding").code, Code::Sudo);
        // E.g. by sudo -E, or as the same user.
        assert!(found(platform::own_id()).is_none());
        assert!(refused_environment(&machine.env(&[("DOCKER_AUTH_CONFIG", "null")])).is_none());
        let refused = refused_environment(&machine.env(&[("DOCKER_AUTH_CONFIG", r#"{"credHelpers": {}}"#)]));
        assert_eq!(refused.expect("a finding").code, Code::DockerAuthConfig);
    }
}
