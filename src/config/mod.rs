//! The configuration file and its twin in the environment: whose token a registry gets.
//!
//! TOML at `AWS_ECR_CONFIG_FILE`, else `docker-credential-ecr-login/config.toml` in the platform's configuration
//! directory. `[[registry]]` tables are tried in order, and the first whose glob matches the host applies.
//! `AWS_ECR_PROFILE_<account>` and `AWS_ECR_ROLE_ARN_<account>` say the same for one account without a file; where
//! either is set, it decides alone who calls, and the file's profile and role for that account do not count.
//!
//! `AWS_ECR_ACCESS_KEY_ID_<account>` and its companions are keys for one account, and come before all else for it.
//! `web_identity` and `web_identity_token_env` assume a table's role with the identity token of a CI job;
//! `AWS_ECR_WEB_IDENTITY` does so for every registry that no profile is named for.
//!
//! `{account}` in `role_arn` stands for the account of the registry, so that one table serves many accounts.
//!
//! A mistake in the file fails every request with one line that names file, line and key: going on would mean to
//! guess whose credentials to use.

mod file;
mod keys;
mod variables;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use glob::Pattern;
use tracing::{Level, debug, enabled};

use file::ACCOUNT;
pub(crate) use file::{ROLE_ARN_FORM, is_role_arn, is_url};
pub use keys::{ConfigKey, KEYS, REGISTRY_KEYS, sample};
use variables::OfAccount;

use file::duration;

use crate::env::Env;
use crate::error::Error;
use crate::input::{self, Content};
use crate::registry::{self, Registry};
use crate::secret::Secret;

/// The whole of one `get` when nothing else is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// The session name of roles that we assume, as CloudTrail shows it.
pub(crate) const SESSION_NAME: &str = crate::NAME;

/// What a registry's token is asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host that the client named.
    pub host: String,
    /// The ECR registry behind it: the same, or what the file says of a custom domain.
    pub registry: Registry,
    /// Instead of the default credential chain.
    pub profile: Option<String>,
    /// The setting that names the profile, for messages.
    pub profile_setting: String,
    /// To be assumed with the credentials of the profile or of the chain.
    pub role: Option<Role>,
    /// What the profile and the chain give way to.
    pub origin: Origin,
    /// Calls instead of profile, role and chain.
    pub service_account: Option<ServiceAccount>,
    /// Of the ECR API, instead of the one that the registry's host implies.
    pub endpoint_url: Option<String>,
}

/// Where the first credentials come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The profile, or the default chain of the AWS SDKs.
    #[default]
    AwsSettings,
    /// The keys that variables hold for the account of the registry.
    AccountKeys(AccountKeys),
    /// The identity token of a CI job, with which the role is assumed.
    WebIdentity(TokenOrigin),
}

/// Keys for the registries of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountKeys {
    /// The account that the variables name.
    pub account: String,
    /// Their values.
    pub keys: Keys,
}

/// An access key with its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: Secret,
    /// The session token, if the keys are temporary.
    pub token: Option<Secret>,
}

/// Where the identity token of a CI job comes from, and the setting that says so, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOrigin {
    /// Gives the token.
    pub provider: TokenProvider,
    /// `AWS_ECR_WEB_IDENTITY`, or file, line and key.
    pub setting: String,
}

/// Gives the identity token of a CI job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenProvider {
    /// GitHub, on request.
    GitHub,
    /// The variable of this name, which the CI system sets for the job.
    Variable(String),
}

/// A role for STS AssumeRole or AssumeRoleWithWebIdentity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// `arn:<partition>:iam::<account>:role/<name>`.
    pub arn: String,
    /// What the role's trust policy may ask for.
    pub external_id: Option<String>,
    /// Shown in CloudTrail.
    pub session_name: String,
    /// Of STS; the registry's when unset.
    pub region: Option<String>,
    /// The device whose code `login` asks for.
    pub mfa_serial: Option<String>,
}

/// A Kubernetes service account with a role of its own, for STS AssumeRoleWithWebIdentity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// A JWT that tells who it is.
    pub token: Secret,
    /// The cluster, from the token.
    pub issuer: String,
    /// The service account, from the token.
    pub subject: String,
    /// `arn:<partition>:iam::<account>:role/<name>`.
    pub role_arn: String,
    /// Shown in CloudTrail.
    pub session_name: String,
}

/// All settings of one run that are ours.
#[derive(Debug)]
pub struct Config {
    timeout: Duration,
    fallback: Option<String>,
    registries: Vec<Entry>,
    path: PathBuf,
    /// What was read, and whether another reading may be relied on to give the same; `None` when no file was looked for.
    source: Option<(Content, bool)>,
}

#[derive(Debug)]
struct Entry {
    pattern: Pattern,
    /// The pattern has no port, so it is for every port.
    any_port: bool,
    line: usize,
    registry: Option<Registry>,
    profile: Option<String>,
    /// Its ARN may be a template.
    role: Option<Role>,
    /// Of `role_arn`.
    role_line: usize,
    web_identity: Option<TokenProvider>,
    /// Of `web_identity` or `web_identity_token_env`.
    web_identity_line: usize,
    endpoint_url: Option<String>,
}

impl Entry {
    /// Whether the entry is for a registry of this name.
    fn matches(&self, host: &str) -> bool {
        let host = if self.any_port { registry::without_port(host) } else { host };
        self.pattern.matches(host)
    }

    fn has_external_id(&self) -> bool {
        self.role.as_ref().is_some_and(|role| role.external_id.is_some())
    }
}

impl Config {
    /// Reads the settings, by `deadline`. A file that was named must exist; the one in the default place need not.
    pub fn load(env: &Env, deadline: Instant) -> Result<Self, Error> {
        let named = env.path("AWS_ECR_CONFIG_FILE");
        let mut config = match Self::path(env) {
            None => Self::empty(PathBuf::new()),
            Some(path) => {
                let unreadable = |why: String| {
                    let path = path.display();
                    Error::failed(format!(
                        "cannot read the configuration {path}: {why}; fix or remove it, \
                         or point AWS_ECR_CONFIG_FILE elsewhere"
                    ))
                };
                let reading = input::file(&path, deadline).map_err(unreadable)?;
                let mut config = match &reading.content {
                    Content::Bytes(bytes) => {
                        let text = std::str::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
                        Self::read(text, path.clone())?
                    }
                    // Nobody asked for this file, and it is not there.
                    Content::Absent if named.is_none() => Self::empty(path.clone()),
                    Content::Absent => {
                        let path = path.display();
                        return Err(Error::failed(format!(
                            "the configuration file {path}, which AWS_ECR_CONFIG_FILE names, does not exist; \
                             create it, or correct or unset AWS_ECR_CONFIG_FILE"
                        )));
                    }
                    Content::Unreadable(why) => return Err(unreadable(why.clone())),
                };
                config.source = Some((reading.content, reading.unsteady.is_none()));
                config
            }
        };
        if let Some(timeout) = timeout(env)? {
            config.timeout = timeout;
        }
        Ok(config)
    }

    /// Where the file is, or would be; `None` when there is no home for it.
    pub fn path(env: &Env) -> Option<PathBuf> {
        env.path("AWS_ECR_CONFIG_FILE").or_else(|| Some(env.config_dir()?.join("config.toml")))
    }

    fn empty(path: PathBuf) -> Self {
        Self { timeout: DEFAULT_TIMEOUT, fallback: None, registries: Vec::new(), path, source: None }
    }

    /// The file that was read, or looked for; `None` when there was none to look for.
    pub fn source(&self) -> Option<(&Path, &Content)> {
        self.source.as_ref().map(|(content, _)| (self.path.as_path(), content))
    }

    /// Whether what the file held can be relied on to be there once more.
    pub fn is_steady(&self) -> bool {
        self.source.as_ref().is_none_or(|(_, steady)| *steady)
    }

    /// The helper for registries that are not ours: `docker-credential-<name>`.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// The whole of one `get`.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What decided about `target`, in words; `None` when nothing did but the AWS settings.
    pub fn decision(&self, env: &Env, target: &Target) -> Option<String> {
        if let Some(account) = &target.registry.account
            && let Some(name) = variables::deciding(env, account)
        {
            return Some(name);
        }
        if let Origin::WebIdentity(TokenOrigin { setting, .. }) = &target.origin
            && setting == variables::WEB_IDENTITY
        {
            return Some(setting.clone());
        }
        let entry = self.registries.iter().find(|entry| entry.matches(&target.host))?;
        Some(format!("{}, line {} ('{}')", self.path.display(), entry.line, entry.pattern))
    }

    /// The line of the first table that applies to some registry of `account`, in whatever region and form.
    pub fn line_for_account(&self, account: &str) -> Option<usize> {
        let hosts = Registry::hosts_of_account(account);
        let applies = |entry: &&Entry| hosts.iter().any(|host| entry.pattern.matches(host));
        self.registries.iter().find(applies).map(|entry| entry.line)
    }

    /// Whose token the server at `server_url` gets. [`Error::NotFound`] for what is neither an ECR host nor named in
    /// the file.
    pub fn target(&self, env: &Env, server_url: &str) -> Result<Target, Error> {
        let host = registry::host(server_url).ok_or(Error::NotFound)?;
        let own = Registry::parse(server_url);
        let entry = self.registries.iter().find(|entry| entry.matches(&host));
        let registry = match (own, entry) {
            (Some(own), Some(Entry { registry: Some(other), line, .. })) if own != *other => {
                return Err(Error::failed(format!(
                    "{}, line {line}: this entry gives '{host}' the token of '{}', but it is an ECR \
                     registry itself; make 'match' narrower",
                    self.path.display(),
                    other.host
                )));
            }
            (Some(own), _) => own,
            (None, Some(Entry { registry: Some(behind), .. })) => behind.clone(),
            (None, _) => return Err(Error::NotFound),
        };
        let mut target = Target {
            host,
            registry,
            profile: entry.and_then(|entry| entry.profile.clone()),
            profile_setting: entry
                .map_or_else(String::new, |entry| format!("{}, line {},", self.path.display(), entry.line)),
            role: None,
            origin: Origin::AwsSettings,
            service_account: None,
            endpoint_url: entry.and_then(|entry| entry.endpoint_url.clone()),
        };
        if let Some(entry) = entry {
            target.role = self.role(entry, &target.registry)?;
            target.origin = self.web_identity(entry).map_or(Origin::AwsSettings, Origin::WebIdentity);
        }
        let of_account = match &target.registry.account {
            Some(account) => OfAccount::read(env, account)?,
            None => None,
        };
        let decides_alone = of_account.is_some();
        if let (Some(OfAccount { profile, role, keys }), Some(account)) = (of_account, &target.registry.account) {
            (target.profile, target.profile_setting) = (profile, format!("AWS_ECR_PROFILE_{account}"));
            target.role = role;
            target.origin = keys.map_or(Origin::AwsSettings, Origin::AccountKeys);
        }
        if target.profile.is_none()
            && target.origin == Origin::AwsSettings
            && let Some(token) = variables::web_identity(env)?
        {
            if let Some(entry) = entry.filter(|entry| !decides_alone && entry.has_external_id()) {
                return Err(Error::failed(format!(
                    "AWS_ECR_WEB_IDENTITY is set, and {}, line {} has external_id, which no web identity \
                     has; take it out, or unset AWS_ECR_WEB_IDENTITY",
                    self.path.display(),
                    entry.line
                )));
            }
            if target.role.is_none() {
                target.role = variables::role_for_all(env)?;
            }
            target.origin = Origin::WebIdentity(token);
        }
        self.log(env, &target);
        Ok(target)
    }

    /// What was understood and decided, for the log.
    fn log(&self, env: &Env, target: &Target) {
        if enabled!(Level::DEBUG) {
            let Target { host, registry, profile, role, .. } = target;
            let (account, region) = (registry.account.as_deref().unwrap_or("ECR Public"), &registry.region);
            debug!(host, account, region, registry = registry.host, "registry recognized");
            if let Some(setting) = self.decision(env, target) {
                let (profile, role) = (profile.as_deref(), role.as_ref().map(|role| role.arn.as_str()));
                debug!(host, setting, profile, role, "this setting maps the registry");
            } else {
                debug!(host, "no setting maps the registry: the AWS settings decide");
            }
        }
    }

    /// Whose identity token the role of a table is assumed with.
    fn web_identity(&self, entry: &Entry) -> Option<TokenOrigin> {
        let provider = entry.web_identity.clone()?;
        let key = match provider {
            TokenProvider::GitHub => "web_identity",
            TokenProvider::Variable(_) => "web_identity_token_env",
        };
        let setting = format!("{key} in {}, line {}", self.path.display(), entry.web_identity_line);
        Some(TokenOrigin { provider, setting })
    }

    /// The role of a table for a registry.
    fn role(&self, entry: &Entry, registry: &Registry) -> Result<Option<Role>, Error> {
        let Some(mut role) = entry.role.clone() else { return Ok(None) };
        if role.arn.contains(ACCOUNT) {
            let Some(account) = &registry.account else {
                return Err(Error::failed(format!(
                    "{}, line {}: role_arn: {} is ECR Public, which has no account for {ACCOUNT}; \
                     write the account, or give it a [[registry]] table of its own before this one",
                    self.path.display(),
                    entry.role_line,
                    registry.host
                )));
            };
            role.arn = role.arn.replace(ACCOUNT, account);
        }
        Ok(Some(role))
    }
}

/// What `AWS_ECR_TIMEOUT` says.
pub fn timeout(env: &Env) -> Result<Option<Duration>, Error> {
    let Some(text) = env.text("AWS_ECR_TIMEOUT") else { return Ok(None) };
    duration(text).map(Some).ok_or_else(|| {
        Error::failed(format!(
            "AWS_ECR_TIMEOUT is '{text}': it must be more than zero and at most an hour, e.g. 20, 500ms, 20s, 1m"
        ))
    })
}

/// When the answer is due, as far as the environment alone tells.
pub fn deadline(env: &Env, started: Instant) -> Instant {
    started + timeout(env).ok().flatten().unwrap_or(DEFAULT_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::file::duration;
    use super::{Config, Target};
    use crate::env::Env;
    use crate::error::Error;

    fn read(text: &str) -> Result<Config, Error> {
        Config::read(text, PathBuf::from("/c.toml"))
    }

    fn target(text: &str, vars: &[(&str, &str)], host: &str) -> Result<Target, Error> {
        read(text).expect("a good file").target(&vars.iter().copied().collect::<Env>(), host)
    }

    const ONE: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";

    #[test]
    fn the_first_match_wins_and_globs_cross_dots() {
        let text = r#"
            [[registry]]
            match = "111122223333.dkr.ecr.*.amazonaws.com"
            profile = "prod"
            [[registry]]
            match = "1111*"
            profile = "other"
            [[registry]]
            match = "222233334444.*"
            role_arn = "arn:aws:iam::222233334444:role/path/EcrPull"
            external_id = "x"
            region = "eu-west-1"
        "#;
        assert_eq!(target(text, &[], ONE).unwrap().profile.as_deref(), Some("prod"));
        let dual_stack = target(text, &[], "https://111122223333.dkr-ecr.eu-west-1.on.aws/v2/").unwrap();
        assert_eq!(dual_stack.profile.as_deref(), Some("other"));
        let role = target(text, &[], "222233334444.DKR.ECR.eu-west-1.amazonaws.com").unwrap().role.unwrap();
        assert_eq!((role.session_name.as_str(), role.external_id.as_deref()), (crate::NAME, Some("x")));
        let none = target(text, &[], "999999999999.dkr.ecr.eu-west-1.amazonaws.com").unwrap();
        assert_eq!((none.profile, none.role), (None, None));
    }

    #[test]
    fn a_template_of_a_role_takes_the_account_of_the_registry() {
        let text = format!(
            "[[registry]]\nmatch = 'images.example.com'\nregistry = '{ONE}'\nrole_arn = \"arn:aws:iam::{{account}}:role/a\"\n\
             [[registry]]\nmatch = '*'\nrole_arn = 'arn:aws:iam::{{account}}:role/path/{{account}}-pull'\nexternal_id = 'x'"
        );
        for (host, arn) in [
            (ONE, "arn:aws:iam::111122223333:role/path/111122223333-pull"),
            ("222233334444.dkr-ecr.us-east-1.on.aws", "arn:aws:iam::222233334444:role/path/222233334444-pull"),
            ("images.example.com", "arn:aws:iam::111122223333:role/a"),
        ] {
            assert_eq!(target(&text, &[], host).unwrap().role.unwrap().arn, arn);
        }
        for host in ["public.ecr.aws", "ecr-public.aws.com"] {
            let error = target(&text, &[], host).expect_err(host).to_string();
            for word in ["/c.toml", "line 7", "role_arn", host, "{account}"] {
                assert!(error.contains(word), "{word} in {error}");
            }
        }
        let mapped = target(&text, &[("AWS_ECR_PROFILE_111122223333", "ci")], ONE).unwrap();
        assert_eq!(mapped.role, None);
    }

    #[test]
    fn an_account_is_matched_by_whatever_table_applies_to_a_registry_of_it() {
        let line = |glob: &str| {
            let text = format!("\n[[registry]]\nmatch = '{glob}'\nprofile = 'x'");
            read(&text).expect("a good file").line_for_account("111122223333")
        };
        for glob in ["*", "111122223333.*", ONE, "*.dkr-ecr-fips.us-gov-west-1.on.aws", "1111*.cn"] {
            assert_eq!(line(glob), Some(2), "{glob}");
        }
        for glob in ["222233334444.*", "images.example.com", "public.ecr.aws"] {
            assert_eq!(line(glob), None, "{glob}");
        }
    }

    #[test]
    fn the_environment_decides_alone_for_its_account() {
        let text = "[[registry]]\nmatch = '111122223333.*'\nprofile = 'file'\nendpoint_url = 'https://e.example'";
        let arn = "arn:aws:iam::111122223333:role/ci";
        let mapped = target(text, &[("AWS_ECR_ROLE_ARN_111122223333", arn)], ONE).unwrap();
        assert_eq!((mapped.profile, mapped.role.unwrap().arn.as_str()), (None, arn));
        assert_eq!(mapped.endpoint_url.as_deref(), Some("https://e.example"));
        let mapped = target(text, &[("AWS_ECR_PROFILE_111122223333", "ci")], ONE).unwrap();
        assert_eq!((mapped.profile.as_deref(), mapped.role), (Some("ci"), None));
        let other = target(text, &[("AWS_ECR_PROFILE_999999999999", "ci")], ONE).unwrap();
        assert_eq!(other.profile.as_deref(), Some("file"));
        assert!(target(text, &[("AWS_ECR_ROLE_ARN_111122223333", "EcrPull")], ONE).is_err());
    }

    #[test]
    fn only_named_hosts_beside_ecr_get_a_token() {
        let text = format!("[[registry]]\nmatch = '*.images.example.com'\nregistry = '{ONE}'");
        let custom = target(&text, &[], "https://eu.images.example.com/v2/").unwrap();
        assert_eq!((custom.host.as_str(), custom.registry.host.as_str()), ("eu.images.example.com", ONE));
        for host in ["images.example.com.evil.example", "docker.io", "user@eu.images.example.com"] {
            assert!(matches!(target(&text, &[], host), Err(Error::NotFound)), "{host}");
        }
        let no_registry = "[[registry]]\nmatch = '*'\nprofile = 'all'";
        assert!(matches!(target(no_registry, &[], "docker.io"), Err(Error::NotFound)));
        assert_eq!(target(no_registry, &[], ONE).unwrap().profile.as_deref(), Some("all"));
    }

    #[test]
    fn mistakes_are_named_with_file_line_and_key() {
        for (text, words) in [
            ("timeout = 'soon'", &["line 1", "timeout"][..]),
            ("\ntimeot = '1s'", &["line 2", "timeot"]),
            ("fallback = '../x'", &["line 1", "fallback"]),
            ("\nfallback = 'ecr-login'", &["line 2", "fallback"]),
            ("[[registry]]\nmatch = '1*'\nprofil = 'x'", &["line 3", "profil"]),
            ("[[registry]]\nprofile = 'x'", &["line 1", "match"]),
            ("[[registry]]\nmatch = 'a[b'\nprofile = 'x'", &["line 2", "match"]),
            ("[[registry]]\nmatch = '1***'", &["line 2", "match"]),
            ("[[registry]]\nmatch = '1*'\nprofile = ' '", &["line 3", "empty"]),
            ("[[registry]]\nmatch = '1*'\nexternal_id = 'x'", &["line 3", "external_id", "role_arn"]),
            ("[[registry]]\nmatch = '1*'\nrole_arn = 'EcrPull'", &["line 3", "role_arn"]),
            (
                "[[registry]]\nmatch = '1*'\nrole_arn = 'arn:aws:iam::{acount}:role/a'",
                &["line 3", "role_arn", "{acount}", "{account}"],
            ),
            ("[[registry]]\nmatch = '1*'\nrole_arn = 'arn:aws:iam::{account:role/a'", &["line 3", "role_arn"]),
            (
                "[[registry]]\nmatch = '1*'\nrole_arn = 'arn:aws:iam::{account}{account}:role/a'",
                &["line 3", "role_arn"],
            ),
            (
                "[[registry]]\nmatch = 'a.example'\nregistry = 'public.ecr.aws'\nrole_arn = 'arn:aws:iam::{account}:role/a'",
                &["line 4", "role_arn", "ECR Public"],
            ),
            ("[[registry]]\nmatch = '1*'\nendpoint_url = 'vpce'", &["line 3", "endpoint_url"]),
            ("[[registry]]\nmatch = 'a.example'\nregistry = 'docker.io'", &["line 3", "registry"]),
            ("[[registry]]\nmatch = '1*'\n[[registry]]\nmatch = '1*'", &["line 3", "match"]),
            ("[[registry]\n", &["line 1"]),
        ] {
            let error = read(text).expect_err(text).to_string();
            for word in ["/c.toml", "ecr-login"].iter().chain(words) {
                assert!(error.contains(word), "{word} in {error}");
            }
        }
        for glob in ["*", "images.*", "*.com", "?xample.com"] {
            let text = format!("[[registry]]\nmatch = '{glob}'\nregistry = '{ONE}'");
            assert!(read(&text).expect_err(glob).to_string().contains("line 3: registry"), "{glob}");
        }
    }

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (text, millis) in [("20", 20_000), ("20s", 20_000), (" 1.5s ", 1500), ("250ms", 250), ("2m", 120_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "0", "-1", "1h", "2 weeks", "nan", "1e9", "61m"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
