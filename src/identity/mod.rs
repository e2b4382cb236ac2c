//! The identity: who would call AWS for a registry, and the cache key that follows from it.
//!
//! A cached token may be served only to the identity that it was issued to. Asking AWS for the identity would take the round
//! trip that the cache saves, so the key is a SHA-256 over everything that decides which credentials are used, read without
//! network or child process. In doubt the key differs: one more API call costs little, while serving another identity's
//! token is a security flaw. Secrets enter the key only through this hash, with the other parts, and cannot be recovered
//! from it.
//!
//! | module | what it does |
//! | --- | --- |
//! | `shared_file`, `ini`, `profiles` | read the AWS files once |
//! | `sources` | the kinds of sources: each finds its settings and holds what it read; [`Source`] says what proves whose credentials they are |
//! | `chain`, `link`, `inputs`, `selected`, `mfa` | decide on a source and the roles; report a missing or wrong profile |
//! | `observations`, `dependency`, `source_file`, `jwt`, `shell_words`, `word_paths`, `variables` | hash what the source depends on: files, claims, programs, this boot |
//! | `odd_values` | refuse or report values that are none of a setting's |
//! | `footprint`, `walk` | prove that nobody touched it while credentials were resolved |
//! | `cache_key`, `hash` | make the cache key |
//!
//! The settings are read once, and `aws` asks exactly the sources that were decided here. What a process reads itself is observed
//! again after it has ended, and the token is cached only when nothing has changed.
//!
//! Always in the key: service, region, FIPS, dual-stack and endpoint of the registry; the caller that the
//! configuration maps it to; every `AWS_*` variable except the helper's own and those in `IRRELEVANT`; the home directory;
//! the proxies (they see requests that are not encrypted); the AWS config and credentials files, with path, state and
//! content. So an edited file, another profile, another key, another endpoint or another home directory always change the
//! key at once. The rest depends on the source of the credentials:
//!
//! | source | also in the key | a change takes effect |
//! | --- | --- | --- |
//! | environment keys | id, secret and session token are `AWS_*` variables | at once |
//! | static profile | its keys are in the files | at once |
//! | roles on top of a source | ARN, external id and session name are in the files or the configuration | settings at once; changes in IAM behind the ARN at the next refresh |
//! | web identity, from environment or profile | path of the token file; the claims in it ([`jwt`]), or the whole token if it is not a JWT; this boot | at once; a rotated token is no change |
//! | keys of one account in `AWS_ECR_*` | id, secret and session token | at once |
//! | the token of a CI job in a variable | the variable's name; the claims in it, or the whole token if it is not a JWT; this boot | at once; a rotated token is no change |
//! | the token of a GitHub Actions job | the URL and the token of its request, which no other job has; this boot | at once; each job requests a token of its own |
//! | a kubelet's service account token | the claims in it, the role, the session name; this boot | at once; a rotated token is no change |
//! | SSO, `sso-session` or legacy | the whole session file, or that it is absent; this boot | at once; a refreshed sign-in costs no call to STS or ECR if it gives the same keys |
//! | `aws login` session | the whole session file, or that it is absent; this boot | at once; as for SSO |
//! | `credential_process` | the command; the current directory; shell and programs as the PATH resolves them; device, inode, size and change time of every path in its words, of the links on the way there, and of the AWS CLI's sessions; interpreters of scripts among them; the directories that have them; the whole environment except what is [made up](variables) for each run; this boot and sandbox; the user and groups of the process. Not cached when the helper does not understand the command ([`shell_words`]) | all this at once; anything else that the process reads, at the next refresh |
//! | ECS, EKS Pod Identity | the URI and token variables are `AWS_*`; the claims of the token file; without a token, this sandbox; this boot | at once; another role behind the same URI at the next refresh |
//! | instance role | this boot, sandbox and instance | another machine or container at once; another role of this instance at the next refresh |
//!
//! "This boot" prevents a home directory that machines share, or that is part of an image, from taking the token of one
//! machine to another. "This sandbox" does the same for containers of one machine, each of which may get a role of its own from
//! the same address. On a system that does not report them, tokens of such sources are not cached.
//!
//! A source that had to be asked may give the keys that it gave to another identity. So its tokens have a second key
//! ([`credentials_key`]): these keys, the roles, and where the services are asked. STS gives other keys for a role each time, which
//! are not in it. Keys in settings are part of the identity; a token that they requested is found by these keys where another source
//! was asked and gave them.
//!
//! Even this is too slow for a cache hit: parsing two hundred profiles takes as long as everything else. So the cache also
//! keeps the observations that led from a request to its key ([`Observed`]), under a name made from the environment and the
//! host ([`request_key`]), and a hit compares these observations without parsing any file. ccache does the same in its direct
//! mode (ccache manual, "The direct mode").

mod cache_key;
mod chain;
mod dependency;
mod footprint;
mod hash;
mod ini;
mod inputs;
mod jwt;
mod link;
mod mfa;
mod observations;
mod odd_values;
mod profiles;
mod selected;
mod shared_file;
mod shell_words;
mod source_file;
mod sources;
mod variables;
mod walk;
mod ways;
mod word_paths;

pub use cache_key::{credentials_key, request_key};
pub use chain::{CredentialChain, LONGEST_CHAIN, profile_failure};
pub use dependency::Observed;
pub use footprint::Watch;
pub use hash::CacheKey;
pub use jwt::{Acceptor, form_hint, issuer_and_subject};
pub use mfa::MfaDevice;
pub use profiles::{Profile, Profiles, paths};
pub use selected::Selected;
pub use source_file::SourceFile;
pub use sources::{Container, IdentityToken, Instance, Login, Process, SignIn, Source, Sso, StaticKeys, WebIdentity};

use std::time::Instant;

use crate::code::Code;
use crate::config::Target;
use crate::env::Env;
use crate::error::Failure;
use dependency::Dependency;
use inputs::Inputs;
use observations::Observations;

/// Who would call AWS for a target, and the settings that decided it.
#[derive(Clone)]
pub struct Identity {
    /// Names the cache entry.
    pub key: CacheKey,
    /// The environment that was read.
    pub env: Env,
    /// The source of the credentials, and the roles.
    pub chain: CredentialChain,
    /// The profile that applies.
    pub selected: Selected,
    /// The AWS files, as they were read.
    pub profiles: Profiles,
    /// What a later `get` must find unchanged.
    pub observed: Vec<Observed>,
    /// Why tokens of this identity are not cached; `None` when they are.
    pub uncacheable: Option<Failure>,
}

impl Identity {
    /// Reads the settings, by `deadline`. Fails when it is certain that they lead to no credentials; see [`chain`].
    pub fn read(env: &Env, target: &Target, deadline: Instant) -> Result<Self, Failure> {
        refuse_unreadable(env)?;
        odd_values::refuse(env)?;
        let selected = Selected::new(env, target.caller.profile());
        let profiles = Profiles::read(env, deadline)?;
        let mut chain = CredentialChain::decide(target, &Inputs::new(env, &profiles, &selected, deadline))?;
        chain.passed_over.extend(odd_values::passed_over(env, &profiles, &selected));
        let mut observations = Observations::new(env, cache_key::identity_key(env, target));
        profiles.files().for_each(|file| observations.add_file(file, Dependency::File));
        chain.source.observe(&mut observations);
        let Observations { env, key, all: observed, uncacheable } = observations;
        Ok(Self { key: key.into_key(), env: env.clone(), chain, selected, profiles, observed, uncacheable })
    }

    /// A setting that has a variable and a key in the profile. A variable that is set and empty counts as unset.
    pub fn setting(&self, variable: &str, key: &str) -> Option<&str> {
        self.env.text(variable).or_else(|| self.profiles.profile(self.selected.name())?.get(key))
    }

    /// Whether everything that it was derived from is unchanged.
    pub fn holds(&self) -> bool {
        self.observed.iter().all(|observed| observed.holds(&self.env))
    }

    /// The MFA devices of which the chain requires codes: those of its roles, or, without any, the device of the profile
    /// with the keys, for a session of its user.
    pub fn mfa_devices(&self) -> Vec<MfaDevice> {
        mfa::devices(&self.chain, &self.profiles)
    }

    /// The deadline of a request as this identity that should end by `deadline`: later where a program may ask a person.
    pub fn deadline(&self, target: &Target, deadline: Instant) -> Instant {
        if self.source().may_ask_person() { deadline + target.time_for_person } else { deadline }
    }

    /// The source of the first credentials.
    pub fn source(&self) -> &Source {
        &self.chain.source
    }
}

/// Refuses variables that are not UTF-8, which the SDK treats as unset, to the surprise of users. Paths may be any bytes.
fn refuse_unreadable(env: &Env) -> Result<(), Failure> {
    const PATHS: &[&str] =
        &["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE"];
    let unreadable = env.iter().find_map(|(name, value)| {
        let name = name.to_str().filter(|name| name.starts_with("AWS_") && !PATHS.contains(name))?;
        // The SDK sends this one in a header.
        let is_header = name == "AWS_EXECUTION_ENV";
        let is_readable =
            value.to_str().is_some_and(|text| !is_header || text.bytes().all(|c| (b' '..=b'~').contains(&c)));
        (!is_readable).then_some((name, if is_header { "printable ASCII" } else { "UTF-8" }))
    });
    match unreadable {
        None => Ok(()),
        Some((name, what)) => Err(Failure::new(
            Code::SettingInvalid,
            format!("{name} is not {what}"),
            format!("set {name} again, or unset it"),
        )),
    }
}
