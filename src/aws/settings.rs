//! The settings that the SDK's clients look up: the environment and the selected profile, as they were read for the identity.

use std::fmt;
use std::sync::Arc;

use aws_runtime::env_config::EnvConfigValue;
use aws_types::os_shim_internal;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::code::Code;
use crate::config::{Target, is_url};
use crate::error::Failure;
use crate::identity::{Identity, Source};

/// The settings of one identity.
pub(super) struct Settings {
    env: os_shim_internal::Env,
    identity: Arc<Identity>,
}

impl Settings {
    /// The settings of `identity`. A variable that is set and empty counts as unset.
    pub(super) fn new(identity: &Arc<Identity>) -> Self {
        let set = identity.env.iter().filter(|(_, value)| !value.is_empty());
        let texts = set.filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())));
        let env = texts.collect::<std::collections::HashMap<_, _>>().into();
        Self { env, identity: identity.clone() }
    }

    fn load(&self, value: &EnvConfigValue) -> Option<String> {
        let (value, _) = value.load(&self.env, Some(self.identity.profiles.sections()))?;
        Some(value.into_owned()).filter(|value| !value.is_empty())
    }

    /// Rejects an invalid URL of a service that `target` needs. The SDK's own error quotes the URL, which may hold a password.
    pub(super) fn check_endpoints(&self, target: &Target) -> Result<(), Failure> {
        let ignored = self.flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls");
        if ignored == Some(true) {
            return Ok(());
        }
        let ecr = if target.registry.is_public() { "ECR PUBLIC" } else { "ECR" };
        let of_source: &[&str] = match self.identity.source() {
            Source::Sso(_) => &["SSO", "SSO OIDC"],
            Source::Login { .. } => &["Signin"],
            Source::WebIdentity(_) | Source::ServiceAccount(_) => &["STS"],
            _ => &[],
        };
        let of_roles: &[&str] = if self.identity.chain.roles.is_empty() { &[] } else { &["STS"] };
        let own: &[&str] = if target.endpoint_url.is_some() { &[] } else { &[ecr] };
        own.iter().chain(of_source).chain(of_roles).try_for_each(|service| self.check_endpoint(service))
    }

    /// Rejects an invalid URL of one service.
    pub(super) fn check_endpoint(&self, service: &'static str) -> Result<(), Failure> {
        let value = EnvConfigValue::new().env("AWS_ENDPOINT_URL").profile("endpoint_url").service_id(service);
        let Some(url) = self.load(&value).filter(|url| !is_url(url)) else { return Ok(()) };
        let own = format!("AWS_ENDPOINT_URL_{}", service.to_ascii_uppercase().replace(' ', "_"));
        let set = [own.as_str(), "AWS_ENDPOINT_URL"].into_iter().find(|name| self.env.get(name).is_ok());
        let profile = self.identity.selected.name();
        let setting = set.map_or_else(
            || {
                format!(
                    "the endpoint_url for {service} of profile '{profile}' in {}",
                    self.identity.profiles.file_of(profile)
                )
            },
            str::to_owned,
        );
        let unset = set.map_or_else(|| "remove it".to_owned(), |name| format!("unset {name}"));
        let kind = if url.contains("://") { "is not an HTTP URL with a host" } else { "is not a URL" };
        Err(Failure::new(
            Code::SettingInvalid,
            format!("{setting} {kind}"),
            format!("correct it, e.g. https://host or http://127.0.0.1:4566, or {unset}"),
        ))
    }

    pub(super) fn flag(&self, variable: &str, key: &str) -> Option<bool> {
        match self.load(&EnvConfigValue::new().env(variable).profile(key))?.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}

impl LoadServiceConfig for Settings {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let ignored = || self.flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls");
        if key.env() == "AWS_ENDPOINT_URL" && ignored() == Some(true) {
            return None;
        }
        self.load(&EnvConfigValue::new().env(key.env()).profile(key.profile()).service_id(key.service_id()))
    }
}
