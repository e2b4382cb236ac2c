//! The settings that the SDK's clients look up: the environment and the selected profile, as they were read for the identity.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use super::http::LastRequest;
use crate::code::Code;
use crate::config::{Target, is_url};
use crate::error::Failure;
use crate::identity::Identity;

/// Names a file with the hosts of all services. The SDK reads it behind the back of [`Env`](crate::env::Env) and of the cache key, and
/// panics if it cannot.
const PARTITIONS: &str = "SMITHY_CLIENT_SDK_CUSTOM_PARTITION";

/// The services whose URLs a setting may set, by their ids in the SDKs.
const SERVICES: [&str; 6] = ["ECR", "ECR PUBLIC", "STS", "SSO", "SSO OIDC", "Signin"];

impl Identity {
    /// A setting of one service: the variable for the service and the one for all, then the profile's services section, then
    /// the profile itself.
    fn of_service(&self, service: &str, variable: &str, key: &str) -> Option<&str> {
        let Self { env, profiles, selected, .. } = self;
        let of_section =
            || profiles.service_setting(selected.name(), &service.to_ascii_lowercase().replace(' ', "_"), key);
        env.text(&variable_of(variable, service))
            .or_else(|| env.text(variable))
            .or_else(of_section)
            .or_else(|| self.setting(variable, key))
    }

    /// The URL that is set for one service, unless the settings are to be ignored.
    pub(super) fn endpoint_url(&self, service: &str) -> Option<&str> {
        let ignored = self.flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls");
        if ignored == Some(true) { None } else { self.of_service(service, "AWS_ENDPOINT_URL", "endpoint_url") }
    }

    /// Rejects an invalid URL of a service that `target` needs, and [`PARTITIONS`]. The SDK's own error quotes the URL, which may hold a
    /// password.
    pub(super) fn check_endpoints(&self, target: &Target) -> Result<(), Failure> {
        if self.env.os(PARTITIONS).is_some() || self.env.is_empty(PARTITIONS) {
            let what = format!("{PARTITIONS} is set, by which the AWS SDK sends its own tests to other hosts");
            // Others, without it, have the same key.
            return Err(Failure::new(Code::SettingInvalid, what, format!("unset {PARTITIONS}")).own(true));
        }
        let of_roles: &[&str] = if self.chain.roles.is_empty() { &[] } else { &["STS"] };
        let own: &[&str] = if target.endpoint_url.is_some() { &[] } else { &[service_id(target)] };
        let all = own.iter().chain(self.source().services()).chain(of_roles);
        all.copied().try_for_each(|service| self.check_endpoint(service))
    }

    /// Rejects an invalid URL of one service.
    pub(super) fn check_endpoint(&self, service: &str) -> Result<(), Failure> {
        let Some(url) = self.endpoint_url(service).filter(|url| !is_url(url)) else { return Ok(()) };
        let setting = self.endpoint_setting(service);
        let unset = if setting.starts_with("AWS_") { format!("unset {setting}") } else { "remove it".to_owned() };
        let kind = if url.contains("://") { "is not an HTTP URL with a host" } else { "is not a URL" };
        Err(Failure::new(
            Code::SettingInvalid,
            format!("{setting} {kind}"),
            format!("correct it, e.g. https://host or http://127.0.0.1:4566, or {unset}"),
        ))
    }

    /// The setting that the URL of a service comes from.
    fn endpoint_setting(&self, service: &str) -> String {
        self.endpoint_variable(service).unwrap_or_else(|| self.endpoint_of_profile(service))
    }

    /// The variable that the URL of a service comes from.
    fn endpoint_variable(&self, service: &str) -> Option<String> {
        let names = [variable_of("AWS_ENDPOINT_URL", service), "AWS_ENDPOINT_URL".to_owned()];
        names.into_iter().find(|name| self.env.text(name).is_some())
    }

    /// The setting of the profile for these services.
    fn endpoint_of_profile(&self, services: &str) -> String {
        let profile = self.selected.name();
        format!("the endpoint_url for {services} of profile '{profile}' in {}", self.profiles.file_of(profile))
    }

    /// The settings that the last request may come from, each once, if one names where it went.
    pub(super) fn setting_of_endpoint(&self, target: &Target, last: &LastRequest) -> Option<String> {
        let authority = last.authority();
        let leads_there = |url: Option<&str>| url.is_some_and(|url| url.contains(&authority));
        if leads_there(target.endpoint_url.as_deref()) {
            return Some("endpoint_url in the configuration file, or --endpoint-url".to_owned());
        }
        let source = self.source();
        let is_asked = |service: &&str| match *service {
            "STS" => !self.chain.roles.is_empty() || source.services().contains(service) || last.is_of(service),
            "SSO" => source.services().contains(service),
            "SSO OIDC" | "Signin" => source.services().contains(service) && source.needs_renewal(),
            _ => *service == service_id(target),
        };
        let (mut settings, mut of_profile) = (BTreeSet::new(), Vec::new());
        for service in SERVICES.into_iter().filter(is_asked).filter(|service| leads_there(self.endpoint_url(service))) {
            match self.endpoint_variable(service) {
                Some(variable) => drop(settings.insert(variable)),
                None => of_profile.push(service),
            }
        }
        if !of_profile.is_empty() {
            settings.insert(self.endpoint_of_profile(&of_profile.join(" and ")));
        }
        (!settings.is_empty()).then(|| settings.into_iter().collect::<Vec<_>>().join(" or "))
    }

    pub(super) fn flag(&self, variable: &str, key: &str) -> Option<bool> {
        match self.setting(variable, key)?.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

/// The settings of an identity for the clients.
pub(super) struct ServiceSettings(pub(super) Arc<Identity>);

impl fmt::Debug for ServiceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceSettings")
    }
}

impl LoadServiceConfig for ServiceSettings {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        if key.env() == "AWS_ENDPOINT_URL" {
            return self.0.endpoint_url(key.service_id()).map(str::to_owned);
        }
        self.0.of_service(key.service_id(), key.env(), key.profile()).map(str::to_owned)
    }
}

/// The id of the service in the SDKs that issues tokens for `target`.
pub(super) fn service_id(target: &Target) -> &'static str {
    if target.registry.is_public() { "ECR PUBLIC" } else { "ECR" }
}

/// The name of a variable for one service, by the id of the service in the SDKs.
fn variable_of(variable: &str, service: &str) -> String {
    format!("{variable}_{}", service.to_ascii_uppercase().replace(' ', "_"))
}
