//! A role for a token of another identity provider: from a file, a CI system, or a kubelet. Its claims prove whose it is
//! (`jwt`).

use std::net::IpAddr;
use std::path::Path;

use super::super::dependency::{Dependency, GITHUB_TOKEN, GITHUB_URL};
use super::super::inputs::{Inputs, ProfileSection};
use super::super::jwt::{self, Acceptor};
use super::super::observations::Observations;
use super::super::source_file::SourceFile;
use crate::code::Code;
use crate::config::{Role, SESSION_NAME, ServiceAccount, TokenOrigin, TokenProvider, is_url};
use crate::error::Failure;
use crate::quote;
use crate::registry::{Region, Registry};
use crate::secret::Secret;

/// The variable with the path of a token file.
pub(in super::super) const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";

/// The variable with the role.
pub(in super::super) const ROLE_ARN: &str = "AWS_ROLE_ARN";

/// A role, and the token that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebIdentity {
    /// The token, or how to get it.
    pub token: IdentityToken,
    /// `arn:<partition>:iam::<account>:role/<name>`.
    pub role_arn: String,
    /// The session name that CloudTrail shows.
    pub session_name: String,
    /// The region of STS; `None` for the registry's.
    pub region: Option<Region>,
}

/// The token of another identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityToken {
    /// In a file, which is not empty, and UTF-8.
    File {
        /// The file.
        file: SourceFile,
        /// The setting that named the file, for messages.
        setting: String,
    },
    /// In a variable.
    Variable {
        /// Its name.
        name: String,
        /// The token.
        token: Secret,
    },
    /// From GitHub, which gives it to a job of GitHub Actions on request.
    GitHub {
        /// `ACTIONS_ID_TOKEN_REQUEST_URL`.
        url: String,
        /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
        bearer: Secret,
    },
    /// From a kubelet, for a service account.
    ServiceAccount(Secret),
}

impl WebIdentity {
    /// The web identity in the environment.
    pub(in super::super) fn in_environment(inputs: &Inputs<'_>) -> Result<Option<Self>, Failure> {
        let env = inputs.env;
        let (path, role_arn) = match (env.path_as_it_is(TOKEN_FILE), env.text(ROLE_ARN)) {
            (Some(path), Some(role_arn)) => (path, role_arn.to_owned()),
            (Some(_), None) => return Err(inputs.half(TOKEN_FILE, ROLE_ARN)),
            (None, _) => return Ok(None),
        };
        let session_name = env.text("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION_NAME).to_owned();
        let token = IdentityToken::in_file(&path, TOKEN_FILE.to_owned(), inputs)?;
        Ok(Some(Self { token, role_arn, session_name, region: None }))
    }

    /// The role for the token in the file that a profile names.
    pub(in super::super) fn in_profile(
        section: &ProfileSection<'_>,
        file: &str,
        role_arn: &str,
    ) -> Result<Self, Failure> {
        let setting = format!("web_identity_token_file of profile '{}'", section.name);
        let token = IdentityToken::in_file(Path::new(file), setting, section.inputs)?;
        Ok(Self { token, role_arn: role_arn.to_owned(), session_name: section.session_name(), region: None })
    }

    /// The role of a registry, for the token of a CI job.
    pub(in super::super) fn for_job(
        origin: &TokenOrigin,
        role: Option<&Role>,
        registry: &Registry,
        inputs: &Inputs<'_>,
    ) -> Result<Self, Failure> {
        let setting = &origin.setting;
        let Role { arn, session_name, region, .. } = role.cloned().ok_or_else(|| no_role(setting, registry))?;
        let token = match &origin.provider {
            TokenProvider::Variable(name) => IdentityToken::in_variable(name, setting, inputs)?,
            TokenProvider::GitHub => IdentityToken::from_github(setting, inputs)?,
        };
        Ok(Self { token, role_arn: arn, session_name, region })
    }

    /// The role of a service account, for the token that a kubelet sent.
    pub(in super::super) fn for_account(account: &ServiceAccount) -> Self {
        let ServiceAccount { token, role_arn, session_name } = account.clone();
        Self { token: IdentityToken::ServiceAccount(token), role_arn, session_name, region: None }
    }

    pub(super) fn describe(&self) -> String {
        match &self.token {
            IdentityToken::File { .. } => "the web identity".to_owned(),
            IdentityToken::Variable { name, .. } => format!("the web identity in {name}"),
            IdentityToken::GitHub { .. } => "the web identity of this GitHub Actions job".to_owned(),
            IdentityToken::ServiceAccount(_) => format!("the service account '{}'", self.session_name),
        }
    }

    pub(super) fn observe(&self, observations: &mut Observations<'_>) {
        match &self.token {
            IdentityToken::File { file, .. } => {
                observations.add_file(file, |path| Dependency::Token(path, Acceptor::Sts));
            }
            IdentityToken::Variable { name, .. } => observations.add(Dependency::TokenOfVariable(name.clone())),
            IdentityToken::GitHub { .. } => observations.add(Dependency::GitHubJob),
            // It comes with the request.
            IdentityToken::ServiceAccount(token) => {
                observations.key.add("claims", jwt::digest(token.expose().as_bytes(), Acceptor::Sts));
            }
        }
        observations.add(Dependency::Boot);
    }
}

impl IdentityToken {
    fn in_file(path: &Path, setting: String, inputs: &Inputs<'_>) -> Result<Self, Failure> {
        const NAME: &str = "web identity token file";
        let file = SourceFile::read_token(path, NAME, &setting, inputs.deadline)?;
        let why = match file.content.bytes().unwrap_or_default() {
            bytes if bytes.trim_ascii().is_empty() => "is empty",
            bytes if std::str::from_utf8(bytes).is_err() => "is not UTF-8",
            _ => return Ok(Self::File { file, setting }),
        };
        let what = format!("the {NAME} {} ({setting}) {why}", path.display());
        Err(Failure::new(Code::SourceFile, what, "check the program that writes the token"))
    }

    fn in_variable(name: &str, setting: &str, inputs: &Inputs<'_>) -> Result<Self, Failure> {
        let failed = |code, why: &str| {
            Err(Failure::new(
                code,
                format!(
                    "the variable {}, which {setting} names for the web identity token, {why}",
                    quote::variable(name)
                ),
                "have the CI system set it for this job: id_tokens in GitLab, 'buildkite-agent oidc request-token' in \
                 Buildkite, CIRCLE_OIDC_TOKEN_V2 in CircleCI",
            ))
        };
        let Some(value) = inputs.env.os(name).filter(|value| !value.as_encoded_bytes().trim_ascii().is_empty()) else {
            let is_blank = inputs.env.os(name).is_some() || inputs.env.is_empty(name);
            let why = if is_blank { "is not set to a token: it is empty" } else { "is not set" };
            return failed(Code::IdentityTokenMissing, why);
        };
        match value
            .to_str()
            .map(str::trim)
            .filter(|token| !token.is_empty() && token.bytes().all(|c| c.is_ascii_graphic()))
        {
            Some(token) => Ok(Self::Variable { name: name.to_owned(), token: token.to_owned().into() }),
            None => failed(Code::SettingInvalid, "holds characters that are invalid in a token"),
        }
    }

    fn from_github(setting: &str, inputs: &Inputs<'_>) -> Result<Self, Failure> {
        let get = |name| inputs.env.text(name).map(str::trim).filter(|value| !value.is_empty());
        let (Some(url), Some(bearer)) = (get(GITHUB_URL), get(GITHUB_TOKEN)) else {
            let what = if inputs.env.text("GITHUB_ACTIONS") == Some("true") {
                "this GitHub Actions job may not request its identity token"
            } else {
                "this is not a GitHub Actions job, or one that may not request its identity token"
            };
            return Err(Failure::new(
                Code::IdentityTokenMissing,
                format!("{what} ({setting}): {GITHUB_URL} and {GITHUB_TOKEN} are not both set"),
                "give the job 'permissions: id-token: write' (workflows from forks cannot have it), and pass both \
                 variables on to containers",
            ));
        };
        if !is_url(url) || !is_unseen_on_the_way(url) {
            return Err(Failure::new(
                Code::SettingInvalid,
                format!("{GITHUB_URL} is not a URL with https"),
                "do not change the value that GitHub Actions sets",
            ));
        }
        Ok(Self::GitHub { url: url.to_owned(), bearer: bearer.to_owned().into() })
    }
}

/// Whether nobody on the way sees a request to this URL.
fn is_unseen_on_the_way(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else { return false };
    let host = url.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    url.scheme_str() == Some("https") || host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The failure for a web identity without a role to assume.
fn no_role(setting: &str, registry: &Registry) -> Failure {
    let of_account = match registry.account() {
        Some(account) => format!("AWS_ECR_ROLE_ARN_{account}, or AWS_ECR_ROLE_ARN for all accounts,"),
        None => "AWS_ECR_ROLE_ARN".to_owned(),
    };
    Failure::new(
        Code::SettingInvalid,
        format!("{setting} is set, and no setting names the role to assume"),
        format!("set {of_account} to the ARN of the role that trusts the CI system"),
    )
}
