//! The sources that the environment and the machine give: keys in variables, the role of a container, the role of the instance.

use super::profiles::Profiles;
use super::source::{Selected, Source};
use crate::code::Code;
use crate::config::{Keys, is_url};
use crate::env::Env;
use crate::error::Failure;
use crate::secret::Secret;

/// The variables that ECS and EKS set for a container with a role.
/// The host of a relative URI (Amazon ECS developer guide, "Task IAM role").
const ECS: &str = "http://169.254.170.2";

pub(super) const CONTAINER_URIS: [&str; 2] =
    ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

/// The variable with the role of a web identity.
pub(super) const ROLE_ARN: &str = "AWS_ROLE_ARN";

/// Decides the chain.
pub(super) struct Resolver<'a> {
    pub(super) env: &'a Env,
    pub(super) profiles: &'a Profiles,
    pub(super) selected: &'a Selected,
}

impl Resolver<'_> {
    /// Keys in the environment; a blank value counts as unset. `AWS_ACCESS_KEY` and `AWS_SECRET_KEY` are names of the SDK for
    /// Go, `AWS_SECURITY_TOKEN` is one of the AWS CLI.
    pub(super) fn environment(&self) -> Result<Option<Source>, Failure> {
        const IDS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"];
        const SECRETS: [&str; 2] = ["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"];
        let first = |names: [&'static str; 2]| {
            let set = |name| Some((name, self.env.text(name).filter(|value| !value.trim().is_empty())?));
            names.into_iter().find_map(set)
        };
        // Of two names, the one that is there without a value is the one that was meant.
        let meant = |names: [&'static str; 2]| {
            names.into_iter().find(|name| self.env.text(name).is_some() || self.env.is_empty(name)).unwrap_or(names[0])
        };
        let ((id_name, id), (secret_name, secret)) = match (first(IDS), first(SECRETS)) {
            (Some(id), Some(secret)) => (id, secret),
            (Some((id, _)), None) => return Err(self.half(id, meant(SECRETS))),
            (None, Some((secret, _))) => return Err(self.half(secret, meant(IDS))),
            (None, None) => return Ok(None),
        };
        let token = first(["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"]);
        let token = token.map(|(_, token)| Secret::from(token.trim().to_owned()));
        let variables =
            if secret_name == SECRETS[0] { id_name.to_owned() } else { format!("{id_name}, {secret_name}") };
        Ok(Some(Source::Environment(variables, Keys { id: id.to_owned(), secret: secret.to_owned().into(), token })))
    }

    /// The failure for a variable that is set without the one that belongs to it.
    pub(super) fn half(&self, set: &str, missing: &str) -> Failure {
        let is_blank = self.env.is_empty(missing) || self.env.text(missing).is_some();
        let state = if is_blank { "empty" } else { "not set" };
        Failure::new(
            Code::SettingInvalid,
            format!("{set} is set, and {missing} is {state}"),
            format!("set {missing}, or unset {set}"),
        )
    }

    /// The role of the container or of the instance.
    pub(super) fn machine(&self) -> Result<Source, Failure> {
        let [relative, full] = CONTAINER_URIS;
        let is_container = CONTAINER_URIS.iter().any(|name| self.env.os(name).is_some());
        if is_container { self.container([full, relative]) } else { self.instance() }
    }

    /// The role of the container, from the URI in the first of the variables that is set. It is checked here, and asked in `aws`.
    /// The chain of the SDK for Go prefers the full URI, and `credential_source` the relative one (`config/resolve_credentials.go`
    /// in aws-sdk-go-v2); no agent sets both.
    pub(super) fn container(&self, in_order: [&'static str; 2]) -> Result<Source, Failure> {
        let wrong = |name: &str, form: &str| {
            Err(Failure::new(
                Code::SettingInvalid,
                format!("{name} is not {form}"),
                "correct or unset it: ECS and EKS set it themselves",
            ))
        };
        let set = in_order.into_iter().find_map(|name| Some((name, self.env.text(name)?)));
        let (name, value) = set.unwrap_or_default();
        if name == CONTAINER_URIS[0] {
            let is_path = value.starts_with('/') && value.parse::<http::Uri>().is_ok();
            return if is_path { Ok(Source::Container(format!("{ECS}{value}"))) } else { wrong(name, "a path") };
        }
        if is_url(value) { Ok(Source::Container(value.to_owned())) } else { wrong(name, "a URL") }
    }

    /// The role of the instance, from the endpoint in the order of the SDK's client: variable, profile, mode.
    pub(super) fn instance(&self) -> Result<Source, Failure> {
        let setting = |variable: &'static str, key: &'static str| {
            let of_profile = || Some((self.profiles.profile(self.selected.name())?.get(key)?, key));
            self.env.text(variable).map(|value| (value, variable)).or_else(of_profile)
        };
        if let Some((url, name)) = setting("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint") {
            if is_url(url) {
                return Ok(Source::Instance(url.to_owned()));
            }
            return Err(Failure::new(
                Code::SettingInvalid,
                format!("{name} is not a URL"),
                format!("correct it, or unset {name} for the default address"),
            ));
        }
        match setting("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode") {
            Some((mode, _)) if mode.eq_ignore_ascii_case("ipv6") => {
                Ok(Source::Instance("http://[fd00:ec2::254]".to_owned()))
            }
            Some((mode, name)) if !mode.eq_ignore_ascii_case("ipv4") => Err(Failure::new(
                Code::SettingInvalid,
                format!("{name} is neither IPv4 nor IPv6"),
                format!("correct or unset {name}"),
            )),
            _ => Ok(Source::Instance("http://169.254.169.254".to_owned())),
        }
    }

    /// Refuses variables that are set and empty and that a provider of the SDK reads itself, since it does not treat them as
    /// unset.
    pub(super) fn refuse_empty(&self, variables: &[&str]) -> Result<(), Failure> {
        match variables.iter().find(|name| self.env.is_empty(name)) {
            None => Ok(()),
            Some(name) => Err(Failure::new(
                Code::SettingInvalid,
                format!("{name} is set and empty, which the AWS SDK does not treat as unset"),
                format!("unset {name}"),
            )),
        }
    }
}
