//! A `[[registry]]` table of the configuration file: its keys, checked one by one, and the entry that they make.

use glob::Pattern;
use serde::Deserialize;
use toml::Spanned;

use super::source_text::SourceText;
use super::target::{Caller, MappedProfile, Role, TokenOrigin, TokenProvider};
use super::values::{
    ACCOUNT, GITHUB, ROLE_ARN_FORM, Text, ends_in_domain, is_role_arn, is_session_name, is_url, is_variable_name,
};
use super::{SESSION_NAME, invalid};
use crate::error::Failure;
use crate::registry::{self, Account, Region, Registry};

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
    region: Option<Spanned<Region>>,
    web_identity: Option<Spanned<Text>>,
    web_identity_token_env: Option<Spanned<Text>>,
    registry: Option<Spanned<Text>>,
    endpoint_url: Option<Spanned<Text>>,
}

/// The fix for a pattern, for messages.
const GLOB: &str = "write the host alone, with * and ? for other characters, e.g. 111122223333.*";

/// What a table says about the registries that it matches.
#[derive(Debug)]
pub(super) struct RegistryEntry {
    /// Matches names of registries, which have a port unless it is HTTPS's own.
    pub(super) pattern: Pattern,
    pub(super) line: usize,
    /// The file and the line, for messages.
    pub(super) setting: String,
    /// The registry behind a custom domain.
    pub(super) registry: Option<Registry>,
    profile: Option<MappedProfile>,
    /// The role, and where `role_arn` is, for messages. The ARN may be a template; see [`Self::caller_for`].
    role: Option<(Role, String)>,
    /// Where the token comes from that the role is assumed with; `None` for AWS credentials.
    token: Option<TokenOrigin>,
    pub(super) endpoint_url: Option<String>,
}

impl RegistryEntry {
    /// Checks the keys of a table.
    pub(super) fn new(table: Spanned<Table>, source: &SourceText) -> Result<Self, Failure> {
        let (line, setting) = (source.line_at(table.span().start), source.setting_of(&table));
        let table = table.into_inner();
        table.refuse_keys_without_role(source)?;
        let token = table.web_identity(source)?;
        let pattern = table.glob(source)?;
        table.check_role_arn(source)?;
        let url: fn(&str) -> Option<String> = |url| is_url(url).then(|| url.to_owned());
        let name: fn(&str) -> Option<String> = |name| is_session_name(name).then(|| name.to_owned());
        let form = "write e.g. https://host";
        let endpoint_url = source.parse(table.endpoint_url.as_ref(), url, "endpoint_url: not a URL", form)?;
        let session_name = source.parse(
            table.role_session_name.as_ref(),
            name,
            "role_session_name: not up to 64 letters, digits or +=,.@_-",
            "correct the name",
        )?;
        let registry = table.registry(&pattern, source)?;
        let profile = table.profile.map(|name| {
            let setting = source.setting_of(&name);
            MappedProfile { name: name.into_inner().0, setting }
        });
        let text = |value: Option<Spanned<Text>>| value.map(|value| value.into_inner().0);
        let role = table.role_arn.map(|arn| {
            let setting = source.setting_of(&arn);
            let role = Role {
                arn: arn.into_inner().0,
                external_id: text(table.external_id),
                session_name: session_name.unwrap_or_else(|| SESSION_NAME.to_owned()),
                region: table.region.map(Spanned::into_inner),
                mfa_serial: None,
            };
            (role, setting)
        });
        let entry = Self { pattern, line, setting, registry, profile, role, token, endpoint_url };
        if let Some(registry) = &entry.registry {
            entry.caller_for(registry)?;
        }
        Ok(entry)
    }

    /// Whether the entry is for a registry of this name. Only a pattern that names a port matches one: whatever else listens
    /// on the host is not the registry.
    pub(super) fn matches(&self, host: &str) -> bool {
        (!host.contains(':') || self.pattern.as_str().contains(':')) && self.pattern.matches(host)
    }

    /// Who calls for `registry`: the account of the registry fills in the template of a role.
    pub(super) fn caller_for(&self, registry: &Registry) -> Result<Caller, Failure> {
        let filled = |(role, setting): &(Role, String)| match registry.account() {
            None if role.arn.contains(ACCOUNT) => Err(invalid(
                format!("{setting}: role_arn: {} is ECR Public, which has no account for {ACCOUNT}", registry.host()),
                "write the account, or add a [[registry]] table for this host before this one",
            )),
            None => Ok(role.clone()),
            Some(account) => Ok(Role { arn: role.arn.replace(ACCOUNT, &account.to_string()), ..role.clone() }),
        };
        let role = self.role.as_ref().map(filled).transpose()?;
        Ok(match self.token.clone() {
            Some(token) => Caller::WebIdentity { token, role },
            None => Caller::AwsSettings { profile: self.profile.clone(), role },
        })
    }
}

impl Table {
    fn refuse_keys_without_role(&self, source: &SourceText) -> Result<(), Failure> {
        if self.role_arn.is_some() {
            return Ok(());
        }
        let keys = [
            ("external_id", place(self.external_id.as_ref())),
            ("role_session_name", place(self.role_session_name.as_ref())),
            ("region", place(self.region.as_ref())),
            ("web_identity", place(self.web_identity.as_ref())),
            ("web_identity_token_env", place(self.web_identity_token_env.as_ref())),
        ];
        first_of(&keys).map_or(Ok(()), |(key, place)| {
            let what = format!("{key}: requires role_arn in the same table");
            Err(source.failure_at(place, &what, "add role_arn, or remove the key"))
        })
    }

    /// Parses the pattern of hosts, without the port that names of registries omit. Refuses one that cannot match: its
    /// registry would get the default identity without a word.
    fn glob(&self, source: &SourceText) -> Result<Pattern, Failure> {
        let wrong = |what: &str, hint: &str| Err(source.failure(&self.pattern, &format!("match: {what}"), hint));
        let text = self.pattern.get_ref().to_ascii_lowercase();
        if let Some(other) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"-.:*?[!]".contains(*c)) {
            let hint = if "{},".contains(other) { "write a table for each of the hosts" } else { GLOB };
            return wrong(&format!("no host has '{other}' in it"), hint);
        }
        let pattern = match Pattern::new(text.strip_suffix(":443").unwrap_or(&text)) {
            Ok(pattern) => pattern,
            Err(error) => return wrong(&format!("not a glob: {}", error.msg), GLOB),
        };
        let (host, port) =
            pattern.as_str().split_once(':').map_or((pattern.as_str(), None), |(host, port)| (host, Some(port)));
        let account = host.split('.').next().unwrap_or_default();
        let is_literal = |text: &str| !text.contains(['*', '?', '[']);
        if host.split('.').any(str::is_empty) {
            return wrong("a part of the host is empty", "remove the dot at its end, or the one too many");
        }
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return wrong("the port is not a number of at most 65535", "write the number, or leave it out for 443");
        }
        if self.registry.is_some() {
            return Ok(pattern);
        }
        if port.is_some() {
            return wrong("a registry of ECR has no port of its own", "leave the port out, or add 'registry'");
        }
        if is_literal(host) && Registry::parse(host).is_none() {
            let why = registry::wrong_part(host).map(|why| format!(": {why}")).unwrap_or_default();
            return wrong(
                &format!("not the host of an ECR registry{why}"),
                "correct it, or add 'registry' for a custom domain",
            );
        }
        if let (Err(why), true) = (account.parse::<Account>(), is_literal(account))
            && !["public", "ecr-public"].contains(&account)
        {
            return wrong(&why.to_string(), GLOB);
        }
        let start = host.split(['*', '?', '[']).next().unwrap_or_default();
        let end = host.rsplit(['*', '?', ']']).next().unwrap_or_default();
        if !registry::may_begin_and_end(start, end) {
            return wrong(
                "no host of ECR begins and ends like this",
                "correct it, or add 'registry' for a custom domain",
            );
        }
        Ok(pattern)
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
        let others = [("profile", place(self.profile.as_ref())), ("external_id", place(self.external_id.as_ref()))];
        if let Some((other, place)) = first_of(&others) {
            return Err(source.failure_at(place, &format!("{other}: contradicts {key}"), "remove one of the two"));
        }
        let setting = format!("{key} in {}", source.setting_of(value));
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

    /// The registry behind a custom domain.
    fn registry(&self, pattern: &Pattern, source: &SourceText) -> Result<Option<Registry>, Failure> {
        let what = "registry: not the host of an ECR registry";
        let registry = source.parse(self.registry.as_ref(), Registry::parse, what, "correct the host")?;
        let (Some(host), Some(registry)) = (&self.registry, registry) else { return Ok(None) };
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
}

/// Where a value stands in the text, if the table has it.
fn place<T>(value: Option<&Spanned<T>>) -> Option<usize> {
    value.map(|value| value.span().start)
}

/// The first of these keys that the table has, and the place of its value.
fn first_of(keys: &[(&'static str, Option<usize>)]) -> Option<(&'static str, usize)> {
    keys.iter().find_map(|(key, place)| Some((*key, (*place)?)))
}
