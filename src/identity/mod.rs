//! Who would call AWS: told from settings alone, and the cache key that follows from it.
//!
//! A cached token may be served only to the identity that got it. Asking AWS who that is would cost the round trip
//! that the cache saves, so the key is a SHA-256 over everything that decides which credentials are used, read without
//! network or child process. It errs towards a miss: one more API call is cheap, another's token is not. Secrets enter
//! only through hashes, together with the rest, and cannot be had back from them.
//!
//! There is one reading of the settings. Environment and files are read once ([`profiles`], by the SDK's own parser), the
//! source and the roles are decided once ([`chain`]), and `aws` asks exactly those. What a provider of the SDK reads for
//! itself (an `aws login` session, a container's token, all that a process does) is observed again after it has
//! answered, and the token is only kept when nothing has changed.
//!
//! Always in the key: service, region, FIPS, dual-stack and endpoint of the registry; the profile and role that the
//! configuration maps it to; every `AWS_*` variable but ours and those in `IRRELEVANT`; the home directory; proxies
//! (they see requests that are not encrypted); the AWS config and credentials files whole, with path and state. So
//! an edited file, another profile, another key, another endpoint or another home are always noticed at once. Then,
//! by the source that these settings lead to:
//!
//! | source | also in the key | a change is noticed |
//! | --- | --- | --- |
//! | environment keys | id, secret and session token are `AWS_*` | at once |
//! | static profile | its keys are in the files | at once |
//! | roles on top of a source | ARN, external id and session name are in the files or the configuration | settings at once; what IAM changes behind the ARN at the next refresh |
//! | web identity, from environment or profile | path of the token file; `iss` and `sub` in it, or all of it if it is no JWT; this boot | at once, a rotated token of the same subject is no change |
//! | keys of one account in `AWS_ECR_*` | id, secret and session token | at once |
//! | the token of a CI job in a variable | the variable's name; `iss` and `sub` in it, or all of it if it is no JWT; this boot | at once, another token of the same subject is no change |
//! | the token of a GitHub Actions job | `iss` and `sub` in it, where it was asked for; this boot | at once, the next job of the same subject is no change |
//! | a kubelet's service account token | `iss` and `sub` in it, the role, the session name; this boot | at once, a rotated token of the same subject is no change |
//! | SSO, `sso-session` or legacy | the session file whole, or that it is gone; this boot | at once; a refreshed sign-in costs one call |
//! | `aws login` session | the session file whole, or that it is gone; this boot | at once; a refreshed session costs one call |
//! | `credential_process` | the command; shell and programs as the PATH leads to them; device, inode, size and change time of every path in its words; the current directory unless all words are absolute paths; interpreters of scripts among them; the whole environment but what a shell counts for itself; this boot. Not cached when the command is not understood ([`command`]) | all this at once; what else it reads at the next refresh |
//! | ECS, EKS Pod Identity | the URI and token variables are `AWS_*`; token file as for web identity; this boot | at once; another role behind the same URI at the next refresh |
//! | instance role | this boot and instance | another machine at once; another role of this instance at the next refresh |
//!
//! A job of GitHub Actions cannot say who it is: variables such as `GITHUB_REPOSITORY` can be set by anybody, and the token that
//! it asks with names the job alone. The issuer and the subject are known once GitHub has given a token, so this is the one
//! key that takes a request, once a job. What proves the identity later in the job is the pair of
//! `ACTIONS_ID_TOKEN_REQUEST_URL` and `ACTIONS_ID_TOKEN_REQUEST_TOKEN`, a secret that no other job has: a note in the cache
//! leads from its hash to the hash of issuer and subject ([`Identity::unknown_job`]). The host that was asked is in the key too,
//! so that a job that asks a server of its own, which may say anything of its subject, gets nothing of others.
//!
//! "This boot" keeps a home directory that is shared by machines, or baked into an image, from carrying one machine's
//! token to another. Where the system does not tell its boot, tokens of such sources are not cached.
//!
//! On a hit even this would be much: two hundred profiles take as long to parse as all the rest. So the way from a
//! request to its key is kept with what it was told from ([`Observed`]), under a name that the environment alone gives
//! ([`request_key`]), and a hit observes the same things again without parsing any. ccache does the same in its direct
//! mode (ccache manual, "The direct mode").

mod chain;
mod command;
mod dependency;
mod key;
mod profiles;
mod section;
mod source;

pub use dependency::{Observed, issuer_and_subject};
pub use key::CacheKey;
pub use profiles::{Profiles, paths};
pub use source::{CredentialChain, GitHubJob, IdentityToken, MfaDevice, Selected, Source, Sso, WebIdentity};

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use zeroize::Zeroizing;

use crate::code::Code;
use crate::config::{AccountKeys, Keys, Origin, Role, ServiceAccount, Target, TokenOrigin, TokenProvider};
use crate::env::Env;
use crate::error::Failure;
use crate::input::{self, Content};
use crate::secret::Secret;
use chain::{GITHUB_TOKEN, GITHUB_URL, Resolver};
use dependency::Dependency;
use key::KeyHasher;

/// `AWS_*` variables that cannot change who calls or whom.
const IRRELEVANT: &[&str] =
    &["AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE", "AWS_PAGER", "AWS_EXECUTION_ENV", "AWS_CLI_AUTO_PROMPT"];

/// Variables without the prefix that do matter.
const RELEVANT: &[&str] = &[
    "SECRET_ACCESS_KEY",
    "HOME",
    "USERPROFILE",
    "HOMEDRIVE",
    "HOMEPATH",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// Variables of this program that do not change whose token a registry gets.
const OWN_IRRELEVANT: &[&str] = &[
    "AWS_ECR_CACHE_DIR",
    "AWS_ECR_DISABLE_CACHE",
    "AWS_ECR_IGNORE_CREDS_STORAGE",
    "AWS_ECR_LOG",
    "AWS_ECR_LOG_FILE",
    "AWS_ECR_TIMEOUT",
    "AWS_ECR_VERIFY_IDENTITY",
];

/// Who would call AWS for a target, and all that this was told from.
#[derive(Clone)]
pub struct Identity {
    /// Names the cache entry.
    pub key: CacheKey,
    /// See [`Identity::unknown_job`].
    job: Option<CacheKey>,
    /// The environment that it was told from.
    pub env: Env,
    /// Whose credentials are asked for, and how.
    pub chain: CredentialChain,
    /// The profile that applies.
    pub selected: Selected,
    /// The AWS files, as they were read.
    pub profiles: Profiles,
    /// What the file of a sign-in or of a web identity token held.
    pub held: Zeroizing<Vec<u8>>,
    /// What a later `get` has to find unchanged.
    pub observed: Vec<Observed>,
    /// Why no token of this identity is cached, if so.
    pub uncacheable: Option<String>,
}

impl Identity {
    /// Reads the settings, by `deadline`. Fails when they lead to nobody for sure: see [`chain`].
    pub fn of(env: &Env, target: &Target, deadline: Instant) -> Result<Self, Failure> {
        refuse_unreadable(env)?;
        let mapped = target.profile.as_deref().map(|profile| (profile, target.profile_setting.as_str()));
        let selected = Selected::new(env, mapped);
        let profiles = Profiles::read(env, selected.name(), deadline)?;
        let chain = Resolver { env, profiles: &profiles, selected: &selected }.chain_for(target)?;
        let mut observed = Observations::new(env, profiles.unsteady());
        observed.all.extend(profiles.contents().map(|(path, content)| Observed::file(path, content)));
        let held = observed.of_source(&chain.source, deadline)?;
        let Observations { all: observed, uncacheable, .. } = observed;
        let key = key(env, target, &selected, &observed, None);
        let job = observed.iter().find(|observed| observed.is_of_job()).map(Observed::as_key);
        Ok(Self { key, job, env: env.clone(), chain, selected, profiles, held, observed, uncacheable })
    }

    /// Names the job of GitHub Actions that this is an identity of, as long as its issuer and subject are not known. The key
    /// is that of the job alone then.
    pub fn unknown_job(&self) -> Option<&CacheKey> {
        self.job.as_ref()
    }

    /// The identity of the job by the token that GitHub gave to it, and what to note of that for later in the job.
    #[must_use]
    pub fn with_token(self, target: &Target, token: &Secret) -> (Self, String) {
        let subject = dependency::subject_of_token(token.expose().as_bytes());
        let held = Zeroizing::new(token.expose().as_bytes().to_vec());
        (Self { held, ..self.with_subject(target, &subject) }, subject)
    }

    /// The identity of the job by what was noted of its token.
    #[must_use]
    pub fn with_subject(self, target: &Target, subject: &str) -> Self {
        Self { key: self.key_of(target, subject), job: None, ..self }
    }

    /// The key that follows from what was noted of the token of the job.
    pub fn key_of(&self, target: &Target, subject: &str) -> CacheKey {
        key(&self.env, target, &self.selected, &self.observed, Some(subject))
    }

    /// The MFA devices whose codes the chain wants: those of its roles; without any, that of the profile with the keys, for a
    /// session of its user.
    pub fn mfa_devices(&self) -> Vec<MfaDevice> {
        let of_role = |(index, role): (usize, &Role)| Some(MfaDevice::of_role(index, role.mfa_serial.as_deref()?));
        let devices: Vec<MfaDevice> = self.chain.roles.iter().enumerate().filter_map(of_role).collect();
        if !devices.is_empty() {
            return devices;
        }
        let Source::Profile(name, _) = self.source() else { return devices };
        let serial = self.profiles.profile(name).and_then(|profile| profile.get("mfa_serial"));
        serial.filter(|serial| !serial.is_empty()).map(MfaDevice::of_user).into_iter().collect()
    }

    /// Where the credentials come from first.
    pub fn source(&self) -> &Source {
        &self.chain.source
    }
}

/// Names what is known of the way from a host to its cache entry, from the environment alone. Whoever has the same
/// environment, and finds all that was [`Observed`] unchanged, is the same identity.
pub fn request_key(env: &Env, host: &str) -> CacheKey {
    let mut parts = KeyHasher::default();
    parts.add("version", crate::VERSION);
    parts.add("host", host);
    let is_own = |name: &OsStr| {
        let name = name.to_str().unwrap_or_default();
        ["XDG_CONFIG_HOME", GITHUB_URL, GITHUB_TOKEN].contains(&name)
            || (name.starts_with("AWS_ECR_") && !OWN_IRRELEVANT.contains(&name))
    };
    for (name, value) in env.iter().filter(|(name, _)| matters(name) || is_own(name)) {
        parts.add(name.as_encoded_bytes(), value.as_encoded_bytes());
    }
    parts.into_key()
}

/// `subject` is that of a job of GitHub Actions, once it is known.
fn key(env: &Env, target: &Target, selected: &Selected, observed: &[Observed], subject: Option<&str>) -> CacheKey {
    let mut parts = KeyHasher::default();
    // Every field by name, so that a new one cannot be forgotten here. The hosts of a region share its token.
    let Target { host: _, registry, profile, profile_setting: _, role, origin, service_account, endpoint_url } = target;
    parts.add("service", if registry.is_public() { "ecr-public" } else { "ecr" });
    parts.add("region", &registry.region);
    parts.add("fips", if registry.fips { "yes" } else { "no" });
    parts.add("dual-stack", if registry.dual_stack { "yes" } else { "no" });
    for (name, value) in [("endpoint", endpoint_url), ("mapped profile", profile)] {
        parts.add(name, value.as_deref().unwrap_or_default());
    }
    parts.add("profile", selected.name());
    if let Some(role) = role {
        parts.add("role", &role.arn);
        parts.add("external id", role.external_id.as_deref().unwrap_or_default());
        parts.add("session name", &role.session_name);
        parts.add("region of STS", role.region.as_deref().unwrap_or_default());
    }
    match origin {
        Origin::AwsSettings => {}
        Origin::AccountKeys(AccountKeys { account, keys: Keys { id, secret, token } }) => {
            parts.add("keys of account", account);
            parts.add("access key id", id);
            parts.add("secret access key", secret.expose());
            parts.add("session token", token.as_ref().map(Secret::expose).unwrap_or_default());
        }
        Origin::WebIdentity(TokenOrigin { provider, setting: _ }) => match provider {
            TokenProvider::Variable(name) => parts.add("web identity in variable", name),
            TokenProvider::GitHub => parts.add("web identity of GitHub at", github_host(env)),
        },
    }
    if let Some(account) = service_account {
        // Tokens of one subject take turns.
        let ServiceAccount { token: _, issuer, subject, role_arn, session_name } = account;
        parts.add("service account's issuer", issuer);
        parts.add("service account's subject", subject);
        parts.add("service account's role", role_arn);
        parts.add("service account's session name", session_name);
    }
    for (name, value) in env.iter().filter(|(name, _)| matters(name)) {
        parts.add(name.as_encoded_bytes(), value.as_encoded_bytes());
    }
    for one in observed.iter().filter(|one| subject.is_none() || !one.is_of_job()) {
        one.add_to(&mut parts);
    }
    if let Some(subject) = subject {
        parts.add("issuer and subject of the job", subject);
    }
    parts.into_key()
}

/// The host that vouches for the subject of a GitHub Actions job. Jobs of github.com are sent to many hosts of one domain.
fn github_host(env: &Env) -> String {
    const DOMAIN: &str = "https://*.actions.githubusercontent.com";
    let uri: http::Uri = env.text(GITHUB_URL).and_then(|url| url.trim().parse().ok()).unwrap_or_default();
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default().to_ascii_lowercase();
    match authority.split_once('.') {
        Some((label, domain))
            if scheme == "https" && !label.contains('@') && format!("https://*.{domain}") == DOMAIN =>
        {
            DOMAIN.to_owned()
        }
        _ => format!("{scheme}://{authority}"),
    }
}

/// Values that are no text: for the SDK these are unset, and whoever set them did not mean that. Paths may be any bytes.
fn refuse_unreadable(env: &Env) -> Result<(), Failure> {
    const PATHS: &[&str] =
        &["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE"];
    let unreadable = env.iter().find_map(|(name, value)| {
        let name = name.to_str().filter(|name| name.starts_with("AWS_") && !PATHS.contains(name))?;
        value.to_str().is_none().then_some(name)
    });
    match unreadable {
        None => Ok(()),
        Some(name) => Err(Failure::new(
            Code::SettingInvalid,
            format!("{name} is not UTF-8"),
            format!("set it anew, or unset {name}"),
        )),
    }
}

fn matters(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return true };
    RELEVANT.contains(&name)
        || (name.starts_with("AWS_") && !name.starts_with("AWS_ECR_") && !IRRELEVANT.contains(&name))
}

/// What an identity depends on, gathered.
struct Observations<'a> {
    env: &'a Env,
    all: Vec<Observed>,
    uncacheable: Option<String>,
}

impl<'a> Observations<'a> {
    fn new(env: &'a Env, uncacheable: Option<String>) -> Self {
        Self { env, all: Vec::new(), uncacheable }
    }

    /// Adds what the source depends on. Returns what its file holds, where this program reads it.
    fn of_source(&mut self, source: &Source, deadline: Instant) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut held = Zeroizing::default();
        match source {
            // Proven by what is in the key already.
            Source::Environment(_) | Source::Account(_) | Source::Profile(..) => return Ok(held),
            Source::ServiceAccount | Source::Instance(_) => {}
            Source::Sso(sso) => {
                if let Content::Bytes(bytes) = self.read(&sso.file, Observed::file, deadline)? {
                    held = bytes;
                }
            }
            Source::WebIdentity(WebIdentity { token, .. }) => match token {
                IdentityToken::File { path, setting } => held = self.token_file(path, setting, deadline)?,
                IdentityToken::Variable { name, setting } => held = self.token_variable(name, setting)?,
                IdentityToken::GitHub(_) => self.add(Dependency::GitHubJob),
            },
            Source::Login { file, .. } => {
                Self::what_the_sdk_can_finish(file)?;
                self.add(Dependency::File(file.clone()));
            }
            Source::Process { command, .. } => match command::dependencies(command, self.env) {
                Ok(dependencies) => dependencies.into_iter().for_each(|dependency| self.add(dependency)),
                Err(why) => self.refuse(format!("the credential_process is not understood: {why}")),
            },
            Source::Container => {
                if let Some(file) = self.env.os("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
                    let variable = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
                    if let Content::Absent | Content::Unreadable(_) = Self::what_the_sdk_can_finish(Path::new(file))? {
                        let file = Path::new(file).display();
                        return Err(Failure::new(
                            Code::SourceFile,
                            format!("the token file {file} ({variable}) is not there, or cannot be read"),
                            "check the path, its owner and mode, and that the token is mounted there",
                        ));
                    }
                    self.add(Dependency::Subject(PathBuf::from(file)));
                }
            }
        }
        self.add(Dependency::Boot);
        Ok(held)
    }

    fn token_variable(&mut self, name: &str, setting: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let failed = |code, why: &str| {
            Err(Failure::new(
                code,
                format!("the variable {name}, which {setting} names for the web identity token, {why}"),
                "have the CI system set it for this job: id_tokens in GitLab, 'buildkite-agent oidc request-token' in \
                 Buildkite, CIRCLE_OIDC_TOKEN_V2 in CircleCI",
            ))
        };
        let Some(value) = self.env.os(name).filter(|value| !value.as_encoded_bytes().trim_ascii().is_empty()) else {
            return failed(Code::IdentityTokenMissing, "is not set");
        };
        let Some(token) = value.to_str().map(str::trim).filter(|token| token.bytes().all(|c| c.is_ascii_graphic()))
        else {
            return failed(Code::SettingInvalid, "holds characters that no token has");
        };
        self.add(Dependency::SubjectOfVariable(name.to_owned()));
        Ok(Zeroizing::new(token.as_bytes().to_vec()))
    }

    fn token_file(
        &mut self,
        token_file: &Path,
        setting: &str,
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let subject = |path: &Path, content: &Content| Observed::subject(path, content);
        let wrong = |why: &str, hint: &str| {
            Err(Failure::new(
                Code::SourceFile,
                format!("the web identity token file {} ({setting}) {why}", token_file.display()),
                hint,
            ))
        };
        match self.read(token_file, subject, deadline)? {
            Content::Bytes(bytes) if bytes.is_empty() => wrong("is empty", "check what writes the token"),
            Content::Bytes(bytes) if std::str::from_utf8(&bytes).is_err() => {
                wrong("is not UTF-8", "check what writes the token")
            }
            Content::Bytes(bytes) => Ok(bytes),
            Content::Absent => wrong("is not there", "check the path, and that the token is mounted or written there"),
            Content::Unreadable(why) => wrong(&format!("cannot be read: {why}"), "check its owner, mode and kind"),
        }
    }

    /// A provider of the SDK reads this file itself, to its end if it has one.
    fn what_the_sdk_can_finish(file: &Path) -> Result<Content, Failure> {
        let why = match input::regular_file(file) {
            Ok(Some(reading)) => return Ok(reading.content),
            Ok(None) => "it is no regular file".to_owned(),
            Err(why) => why,
        };
        let what = format!("the file {} cannot be used: {why}", file.display());
        Err(Failure::new(Code::SourceFile, what, "correct the file, or the setting that names it"))
    }

    fn read(
        &mut self,
        path: &Path,
        observed: impl Fn(&Path, &Content) -> Observed,
        deadline: Instant,
    ) -> Result<Content, Failure> {
        let reading = input::file(path, deadline).map_err(|why| {
            let what = format!("the file {} cannot be used: {why}", path.display());
            Failure::new(Code::SourceFile, what, "correct the file, or the setting that names it")
        })?;
        if let Some(why) = reading.unsteady {
            self.refuse(format!("{}: {why}", path.display()));
        }
        self.all.push(observed(path, &reading.content));
        Ok(reading.content)
    }

    fn add(&mut self, dependency: Dependency) {
        let name = dependency.to_string();
        match Observed::now(dependency, self.env) {
            Some(observed) => self.all.push(observed),
            None => self.refuse(format!("nothing here describes {name} for sure")),
        }
    }

    fn refuse(&mut self, why: String) {
        self.uncacheable.get_or_insert(why);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{CacheKey, Identity};
    use crate::config::Config;
    use crate::env::Env;

    fn key(host: &str, vars: &[(&str, &str)]) -> CacheKey {
        let none = [("HOME", "/nonexistent"), ("AWS_ECR_CONFIG_FILE", "/dev/null")];
        let env = none.into_iter().chain(vars.iter().copied()).collect::<Env>();
        let deadline = Instant::now() + Duration::from_secs(9);
        let target = Config::load(&env, deadline).and_then(|config| config.target(&env, host)).expect("a target");
        Identity::of(&env, &target, deadline).expect("an identity").key
    }

    #[test]
    fn differs_when_the_caller_may_differ_and_only_then() {
        let host = "111122223333.dkr.ecr.us-east-1.amazonaws.com";
        let plain = key(host, &[]);
        assert_eq!(plain, key(host, &[]));
        assert_eq!(plain, key("444455556666.dkr.ecr.us-east-1.amazonaws.com", &[]), "one token for a region");
        assert_eq!(plain, key(host, &[("AWS_ECR_LOG", "debug"), ("TERM", "xterm")]));
        let role = "arn:aws:iam::111122223333:role/a";
        assert_eq!(plain, key(host, &[("AWS_ECR_ROLE_ARN_444455556666", role)]), "another account's mapping");
        for other in [
            key("111122223333.dkr.ecr.us-east-2.amazonaws.com", &[]),
            key("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", &[]),
            key("public.ecr.aws", &[]),
            key(host, &[("AWS_ACCESS_KEY_ID", "a")]),
            key(host, &[("AWS_SOMETHING_NEW", "a")]),
            key(host, &[("AWS_CONFIG_FILE", "/elsewhere")]),
            key(host, &[("AWS_ECR_ROLE_ARN_111122223333", role)]),
            key(host, &[("HOME", "/elsewhere")]),
        ] {
            assert_ne!(plain, other);
        }
    }
}
