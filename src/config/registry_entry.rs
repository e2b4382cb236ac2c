//! A `[[registry]]` table of the configuration file: its keys, checked one by one, and the entry that they make.

use std::ops::Deref;

use glob::Pattern;
use serde::Deserialize;
use toml::Spanned;

use super::source_text::SourceText;
use super::target::{Caller, MappedProfile, Role, TokenOrigin, TokenProvider};
use super::values::{ACCOUNT, GITHUB, ROLE_ARN_FORM, ends_in_domain, is_role_arn, is_url, is_variable_name};
use super::{SESSION_NAME, invalid};
use crate::error::Failure;
use crate::registry::{Account, Registry};

/// The keys of a table, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(rename = "match")]
    pattern: Spanned<Text>,
    profile: Option<Spanned<Text>>,
    role_arn: Option<Spanned<Text>>,
    external_id: Option<Spanned<Text>>,
    role_session_name: Option<Spanned<Text>>,
    region: Option<Spanned<Text>>,
    web_identity: Option<Spanned<Text>>,
    web_identity_token_env: Option<Spanned<Text>>,
    registry: Option<Spanned<Text>>,
    endpoint_url: Option<Spanned<Text>>,
}

/// What is wrong with a blank value. Its fix is to leave the key out.
pub(super) const BLANK: &str = "the value is empty";

/// A value that is not blank.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Text(String);

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.trim().is_empty() { Err(BLANK) } else { Ok(Self(text)) }
    }
}

impl Deref for Text {
    type Target = String;

    fn deref(&self) -> &String {
        &self.0
    }
}

/// The fix for a pattern, for messages.
const GLOB: &str = "write the host, with * and ? for other characters";

/// What a table says about the registries that it matches.
#[derive(Debug)]
pub(super) struct RegistryEntry {
    /// Matches names of registries, which have a port unless it is HTTPS's own.
    pub(super) pattern: Pattern,
    pub(super) line: usize,
    /// The registry behind a custom domain.
    pub(super) registry: Option<Registry>,
    /// Who calls. The ARN of the role may be a template; see [`Self::caller_for`].
    caller: Caller,
    /// Where `role_arn` is, for messages.
    role_setting: String,
    pub(super) endpoint_url: Option<String>,
}

impl RegistryEntry {
    /// Checks the keys of a table.
    pub(super) fn new(table: Table, source: &SourceText) -> Result<Self, Failure> {
        table.refuse_keys_without_role(source)?;
        let web_identity = table.web_identity(source)?;
        let host = table.pattern.get_ref().to_ascii_lowercase();
        let pattern = table.glob(&host, source)?;
        table.check_role_arn(source)?;
        table.check_endpoint_url(source)?;
        let registry = table.registry(&pattern, source)?;
        table.refuse_template_for_public(registry.as_ref(), source)?;
        let role_line = table.role_arn.as_ref().map_or(source.line(), |arn| source.line_of(arn));
        let endpoint_url = table.endpoint_url.as_ref().map(|url| url.get_ref().to_string());
        Ok(Self {
            pattern,
            line: source.line(),
            registry,
            caller: table.into_caller(web_identity, source),
            role_setting: source.setting_in(role_line),
            endpoint_url,
        })
    }

    /// Whether the entry is for a registry of this name. Only a pattern that names a port matches one: whatever else listens
    /// on the host is not the registry.
    pub(super) fn matches(&self, host: &str) -> bool {
        (!host.contains(':') || self.pattern.as_str().contains(':')) && self.pattern.matches(host)
    }

    /// Who calls for `registry`: the account of the registry fills in the template of a role.
    pub(super) fn caller_for(&self, registry: &Registry) -> Result<Caller, Failure> {
        let mut caller = self.caller.clone();
        if let Some(role) = caller.role_mut().filter(|role| role.arn.contains(ACCOUNT)) {
            let Some(account) = registry.account() else {
                let (setting, host) = (&self.role_setting, registry.host());
                return Err(invalid(
                    format!("{setting}: role_arn: {host} is ECR Public, which has no account for {ACCOUNT}"),
                    "write the account, or add a [[registry]] table for this host before this one",
                ));
            };
            role.arn = role.arn.replace(ACCOUNT, &account.to_string());
        }
        Ok(caller)
    }
}

impl Table {
    fn refuse_keys_without_role(&self, source: &SourceText) -> Result<(), Failure> {
        if self.role_arn.is_some() {
            return Ok(());
        }
        let keys = [
            ("external_id", &self.external_id),
            ("role_session_name", &self.role_session_name),
            ("region", &self.region),
            ("web_identity", &self.web_identity),
            ("web_identity_token_env", &self.web_identity_token_env),
        ];
        match first_of(&keys) {
            None => Ok(()),
            Some((key, value)) => {
                let what = format!("{key}: requires role_arn in the same table");
                Err(source.failure(value, &what, "add role_arn, or remove the key"))
            }
        }
    }

    /// Parses the pattern of hosts, without the port that names of registries omit.
    fn glob(&self, host: &str, source: &SourceText) -> Result<Pattern, Failure> {
        match Pattern::new(host.strip_suffix(":443").unwrap_or(host)) {
            Ok(glob) if glob.as_str().is_empty() => {
                Err(source.failure(&self.pattern, "match: the pattern is empty", GLOB))
            }
            Ok(glob) => Ok(glob),
            Err(error) => Err(source.failure(&self.pattern, &format!("match: not a glob: {}", error.msg), GLOB)),
        }
    }

    /// Where the token comes from that the role is assumed with. Refuses keys that contradict it.
    fn web_identity(&self, source: &SourceText) -> Result<Option<TokenOrigin>, Failure> {
        let (key, value, provider) = match (&self.web_identity, &self.web_identity_token_env) {
            (None, None) => return Ok(None),
            (Some(_), Some(name)) => {
                let what = "web_identity_token_env: contradicts web_identity";
                return Err(source.failure(name, what, "remove one of the two"));
            }
            (Some(provider), None) if **provider.get_ref() == GITHUB => {
                ("web_identity", provider, TokenProvider::GitHub)
            }
            (Some(provider), None) => {
                let hint = "write 'github'; for other CI systems, name the variable with their token in \
                            web_identity_token_env";
                return Err(source.failure(provider, "web_identity: not a known CI system", hint));
            }
            (None, Some(name)) if is_variable_name(name.get_ref()) => {
                ("web_identity_token_env", name, TokenProvider::Variable(name.get_ref().to_string()))
            }
            // The message does not quote the value, which may be the token itself.
            (None, Some(name)) => {
                let what = "web_identity_token_env: not the name of a variable";
                return Err(source.failure(name, what, "write e.g. ECR_ID_TOKEN"));
            }
        };
        if let Some((other, value)) = first_of(&[("profile", &self.profile), ("external_id", &self.external_id)]) {
            return Err(source.failure(value, &format!("{other}: contradicts {key}"), "remove one of the two"));
        }
        let setting = format!("{key} in {}", source.setting_in(source.line_of(value)));
        Ok(Some(TokenOrigin { provider, setting }))
    }

    fn check_role_arn(&self, source: &SourceText) -> Result<(), Failure> {
        let Some(arn) = &self.role_arn else { return Ok(()) };
        // Any account shows whether the template becomes an ARN.
        let filled = arn.get_ref().replace(ACCOUNT, &Account::ANY.to_string());
        if let Some((other, _)) = filled.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
            let what = format!("role_arn: {{{other}}} is unknown");
            return Err(source.failure(arn, &what, &format!("use {ACCOUNT}, the only placeholder")));
        }
        if !is_role_arn(&filled) {
            return Err(source.failure(arn, "role_arn: not the ARN of a role", &format!("write {ROLE_ARN_FORM}")));
        }
        Ok(())
    }

    fn check_endpoint_url(&self, source: &SourceText) -> Result<(), Failure> {
        match self.endpoint_url.as_ref().filter(|url| !is_url(url.get_ref())) {
            None => Ok(()),
            Some(url) => Err(source.failure(url, "endpoint_url: not a URL", "write e.g. https://host")),
        }
    }

    /// The registry behind a custom domain.
    fn registry(&self, pattern: &Pattern, source: &SourceText) -> Result<Option<Registry>, Failure> {
        let Some(host) = &self.registry else { return Ok(None) };
        let registry = Registry::parse(host.get_ref())
            .ok_or_else(|| source.failure(host, "registry: not the host of an ECR registry", "correct the host"))?;
        // Only hosts below a domain that the user chose may get the token.
        if !ends_in_domain(pattern.as_str()) {
            let what = "registry: any host that 'match' matches could get the token";
            return Err(source.failure(host, what, "let 'match' end in a complete domain name"));
        }
        if Registry::parse(pattern.as_str()).is_some_and(|own| own != registry) {
            return Err(source.failure(
                host,
                "registry: contradicts 'match', which is another ECR registry",
                "remove the key",
            ));
        }
        Ok(Some(registry))
    }

    fn refuse_template_for_public(&self, registry: Option<&Registry>, source: &SourceText) -> Result<(), Failure> {
        match (registry, &self.role_arn) {
            (Some(registry), Some(arn)) if registry.is_public() && arn.get_ref().contains(ACCOUNT) => {
                let what = format!("role_arn: {} is ECR Public, which has no account for {ACCOUNT}", registry.host());
                Err(source.failure(arn, &what, "write the account"))
            }
            _ => Ok(()),
        }
    }

    fn into_caller(self, web_identity: Option<TokenOrigin>, source: &SourceText) -> Caller {
        let text = |value: Option<Spanned<Text>>| value.map(|value| value.into_inner().0);
        let profile = self.profile.map(|name| {
            let setting = source.setting_in(source.line_of(&name));
            MappedProfile { name: name.into_inner().0, setting }
        });
        let role = text(self.role_arn).map(|arn| Role {
            arn,
            external_id: text(self.external_id),
            session_name: text(self.role_session_name).unwrap_or_else(|| SESSION_NAME.to_owned()),
            region: text(self.region),
            mfa_serial: None,
        });
        match web_identity {
            None => Caller::AwsSettings { profile, role },
            Some(token) => Caller::WebIdentity { token, role },
        }
    }
}

/// The first of these keys that the table has.
fn first_of<'a>(keys: &[(&'static str, &'a Option<Spanned<Text>>)]) -> Option<(&'static str, &'a Spanned<Text>)> {
    keys.iter().find_map(|(key, value)| Some((*key, value.as_ref()?)))
}
