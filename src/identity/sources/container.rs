//! The role of a container, from the endpoint that ECS, EKS Pod Identity or another agent sets in its variables.

use std::path::Path;

use http::Uri;

use super::super::dependency::Dependency;
use super::super::inputs::Inputs;
use super::super::jwt::Acceptor;
use super::super::observations::Observations;
use super::super::source_file::SourceFile;
use crate::code::Code;
use crate::config::is_url;
use crate::env::Env;
use crate::error::Failure;

/// The host of a relative URI (Amazon ECS developer guide, "Task IAM role").
const ECS: &str = "http://169.254.170.2";

/// The variables that ECS and EKS set for a container with a role.
const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The endpoint of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its URL.
    pub url: Uri,
    /// The file with the token for the request. Without one, the token may be in a variable.
    token_file: Option<SourceFile>,
}

impl Container {
    /// The full URI before the relative one, as in the chain of the SDK for Go. `credential_source` has them in the other order
    /// (`config/resolve_credentials.go` in aws-sdk-go-v2); no agent sets both.
    pub(in super::super) const IN_CHAIN: [&str; 2] = [FULL, RELATIVE];
    pub(in super::super) const IN_CREDENTIAL_SOURCE: [&str; 2] = [RELATIVE, FULL];

    /// The endpoint in the first of these variables that is set.
    pub(in super::super) fn in_environment(
        inputs: &Inputs<'_>,
        in_order: [&'static str; 2],
    ) -> Result<Option<Self>, Failure> {
        let env = inputs.env;
        let set = in_order.into_iter().find_map(|name| Some((name, env.text(name)?)));
        let Some((name, value)) = set else { return Ok(None) };
        let (url, form) = match name {
            RELATIVE => (value.starts_with('/').then(|| format!("{ECS}{value}")), "a path"),
            _ => (is_url(value).then(|| value.to_owned()), "a URL"),
        };
        let url = url.and_then(|url| url.parse().ok()).ok_or_else(|| {
            let what = format!("{name} is not {form}");
            Failure::new(Code::SettingInvalid, what, "correct or unset it: ECS and EKS set it themselves")
        })?;
        let token_file = env
            .os(TOKEN_FILE)
            .map(|path| SourceFile::read_token(Path::new(path), "token file", TOKEN_FILE, inputs.deadline));
        Ok(Some(Self { url, token_file: token_file.transpose()? }))
    }

    /// Whether the token is in a file.
    pub fn has_token_file(&self) -> bool {
        self.token_file.is_some()
    }

    /// The token for the request, and where it is, for messages.
    pub fn token<'a>(&'a self, env: &'a Env) -> Option<(&'a [u8], String)> {
        let in_file = self.token_file.as_ref().map(|file| {
            let place = format!("the token file {} ({TOKEN_FILE})", file.path.display());
            (file.content.bytes().unwrap_or_default(), place)
        });
        in_file.or_else(|| Some((token_in_variable(env)?, format!("the token in {TOKEN}"))))
    }

    pub(super) fn observe(&self, observations: &mut Observations<'_>) {
        match &self.token_file {
            Some(file) => observations.add_file(file, |path| Dependency::Token(path, Acceptor::Container)),
            // A token in a variable is in the key. Without a token, the endpoint gives each sandbox its own role.
            None if token_in_variable(observations.env).is_none() => return observations.add(Dependency::Sandbox),
            None => {}
        }
        observations.add(Dependency::Boot);
    }
}

/// A blank one is none: the endpoint gets a header without what surrounds its value.
fn token_in_variable(env: &Env) -> Option<&[u8]> {
    let token = env.os(TOKEN)?.as_encoded_bytes();
    (!token.iter().all(|byte| b" \t".contains(byte))).then_some(token)
}
