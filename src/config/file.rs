//! The text of the configuration file: read with the place of every value, and checked, so that a mistake is named
//! with its line and key.

use std::path::PathBuf;
use std::time::Duration;

use glob::Pattern;
use serde::Deserialize;
use toml::Spanned;

use super::variables::{GITHUB, is_variable_name};
use super::{Config, DEFAULT_TIMEOUT, Entry, Role, SESSION_NAME, TokenProvider};
use crate::error::Error;
use crate::registry::{ANY_ACCOUNT, Registry};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    timeout: Option<Spanned<String>>,
    fallback: Option<Spanned<String>>,
    #[serde(default)]
    registry: Vec<Spanned<Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(rename = "match")]
    pattern: Spanned<String>,
    profile: Option<Spanned<String>>,
    role_arn: Option<Spanned<String>>,
    external_id: Option<Spanned<String>>,
    role_session_name: Option<Spanned<String>>,
    region: Option<Spanned<String>>,
    web_identity: Option<Spanned<String>>,
    web_identity_token_env: Option<Spanned<String>>,
    registry: Option<Spanned<String>>,
    endpoint_url: Option<Spanned<String>>,
}

impl Config {
    /// Reads the text of a file; `path` is for messages.
    pub fn read(text: &str, path: PathBuf) -> Result<Self, Error> {
        let at = |offset: usize, what: &str| {
            let line = line_of(text, offset);
            Error::failed(format!("{}, line {line}: {what}", path.display()))
        };
        let file: File = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            // Its own Display draws the line over several; this is the sentence alone.
            at(offset, error.message())
        })?;
        let timeout = match &file.timeout {
            None => DEFAULT_TIMEOUT,
            Some(value) => duration(value.get_ref()).ok_or_else(|| {
                at(value.span().start, "timeout: must be more than zero and at most an hour, e.g. 20s, 500ms, 1m")
            })?,
        };
        if let Some(name) = &file.fallback {
            if !is_helper_name(name.get_ref()) {
                return Err(at(name.span().start, "fallback: expected the name of a helper, as in 'desktop'"));
            }
            if name.get_ref() == "ecr-login" {
                return Err(at(name.span().start, "fallback: ecr-login is this helper; expected another one"));
            }
        }
        let mut registries: Vec<Entry> = Vec::new();
        // Lines are counted on from table to table, which many tables would notice.
        let (mut line, mut counted) = (1, 0);
        for table in file.registry {
            let start = table.span().start;
            line += line_of(&text[counted..], start - counted) - 1;
            counted = start;
            let line_of_key = |key: Option<&Spanned<String>>| {
                key.map_or(line, |key| line + line_of(&text[start..], key.span().start - start) - 1)
            };
            let Table { role_arn, web_identity, web_identity_token_env, .. } = table.get_ref();
            let role_line = line_of_key(role_arn.as_ref());
            let web_identity_line = line_of_key(web_identity.as_ref().or(web_identity_token_env.as_ref()));
            let mut entry = Entry::read(table.into_inner(), line, &at)?;
            (entry.role_line, entry.web_identity_line) = (role_line, web_identity_line);
            if registries.iter().any(|earlier| earlier.pattern == entry.pattern) {
                let what = format!("match: '{}' stands in an earlier entry, so this one never applies", entry.pattern);
                return Err(at(start, &what));
            }
            registries.push(entry);
        }
        let fallback = file.fallback.map(Spanned::into_inner);
        Ok(Self { timeout, fallback, registries, path, source: None })
    }
}

impl Entry {
    fn read(table: Table, line: usize, at: &impl Fn(usize, &str) -> Error) -> Result<Self, Error> {
        // Every field by name, so that a new one cannot be forgotten here.
        let Table {
            pattern,
            profile,
            role_arn,
            external_id,
            role_session_name,
            region,
            web_identity,
            web_identity_token_env,
            registry,
            endpoint_url,
        } = table;
        let fields = [
            &profile,
            &role_arn,
            &external_id,
            &role_session_name,
            &region,
            &web_identity,
            &web_identity_token_env,
            &registry,
            &endpoint_url,
        ];
        if let Some(empty) = fields.into_iter().flatten().find(|field| field.get_ref().trim().is_empty()) {
            return Err(at(empty.span().start, "a value is empty: leave its key out instead"));
        }
        for (name, field) in [
            ("external_id", &external_id),
            ("role_session_name", &role_session_name),
            ("region", &region),
            ("web_identity", &web_identity),
            ("web_identity_token_env", &web_identity_token_env),
        ] {
            if let (Some(field), None) = (field, &role_arn) {
                return Err(at(field.span().start, &format!("{name}: requires role_arn in the same table")));
            }
        }
        let provider = token_provider(web_identity.as_ref(), web_identity_token_env.as_ref(), at)?;
        if let Some((name, _)) = &provider {
            refuse_beside(name, &[("profile", &profile), ("external_id", &external_id)], at)?;
        }
        let host = pattern.get_ref().to_ascii_lowercase();
        let glob = glob(&host).map_err(|why| at(pattern.span().start, &why))?;
        if let Some(arn) = &role_arn {
            // Any account does to see whether the template becomes an ARN.
            let filled = arn.get_ref().replace(ACCOUNT, ANY_ACCOUNT);
            if let Some(other) = filled.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
                let what = format!("role_arn: {{{}}} stands for nothing; {ACCOUNT} is the only template", other.0);
                return Err(at(arn.span().start, &what));
            }
            if !is_role_arn(&filled) {
                return Err(at(arn.span().start, &format!("role_arn: expected {ROLE_ARN_FORM}")));
            }
        }
        if let Some(url) = endpoint_url.as_ref().filter(|url| !is_url(url.get_ref())) {
            return Err(at(url.span().start, "endpoint_url: expected as in https://host"));
        }
        let behind = match &registry {
            None => None,
            Some(host) => Some(
                Registry::parse(host.get_ref())
                    .ok_or_else(|| at(host.span().start, "registry: not the host of an ECR registry"))?,
            ),
        };
        // A token must not go to whoever: with `registry`, the glob has to end in a domain that somebody chose.
        if let (Some(host), false) = (&registry, ends_in_domain(glob.as_str())) {
            let what = "registry: 'match' must end in a whole domain name here, or any host could get the token";
            return Err(at(host.span().start, what));
        }
        if let (Some(behind), Some(own), Some(host)) = (&behind, Registry::parse(glob.as_str()), &registry)
            && *behind != own
        {
            return Err(at(host.span().start, "registry: 'match' is an ECR registry itself, and another one"));
        }
        if let (Some(behind), Some(arn)) = (&behind, &role_arn)
            && behind.is_public()
            && arn.get_ref().contains(ACCOUNT)
        {
            let what = format!("role_arn: {} is ECR Public, which has no account for {ACCOUNT}", behind.host);
            return Err(at(arn.span().start, &what));
        }
        let text = |field: Option<Spanned<String>>| field.map(Spanned::into_inner);
        let web_identity = provider.map(|(_, provider)| provider);
        Ok(Self {
            pattern: glob,
            any_port: !host.contains(':'),
            line,
            registry: behind,
            profile: text(profile),
            role: text(role_arn).map(|arn| Role {
                arn,
                external_id: text(external_id),
                session_name: text(role_session_name).unwrap_or_else(|| SESSION_NAME.to_owned()),
                region: text(region),
                mfa_serial: None,
            }),
            role_line: line,
            web_identity,
            web_identity_line: line,
            endpoint_url: text(endpoint_url),
        })
    }
}

/// The pattern over hosts, without the port that names of registries leave out.
fn glob(host: &str) -> Result<Pattern, String> {
    match Pattern::new(host.strip_suffix(":443").unwrap_or(host)) {
        Ok(glob) if glob.as_str().is_empty() => Err("match: empty".to_owned()),
        Ok(glob) => Ok(glob),
        Err(error) => Err(format!("match: not a glob: {}", error.msg)),
    }
}

/// Refuses keys that mean nothing beside a web identity.
fn refuse_beside(
    web_identity: &str,
    keys: &[(&str, &Option<Spanned<String>>)],
    at: &impl Fn(usize, &str) -> Error,
) -> Result<(), Error> {
    match keys.iter().find_map(|(key, value)| Some((key, value.as_ref()?))) {
        None => Ok(()),
        Some((key, value)) => {
            let what = format!("{key}: contradicts {web_identity}, which needs no {key}; take one of them out");
            Err(at(value.span().start, &what))
        }
    }
}

/// Whose identity token a role is assumed with, and the key that says so.
fn token_provider(
    web_identity: Option<&Spanned<String>>,
    token_env: Option<&Spanned<String>>,
    at: &impl Fn(usize, &str) -> Error,
) -> Result<Option<(&'static str, TokenProvider)>, Error> {
    match (web_identity, token_env) {
        (None, None) => Ok(None),
        (Some(_), Some(name)) => {
            let what = "web_identity_token_env: contradicts web_identity; take one of them out";
            Err(at(name.span().start, what))
        }
        (Some(provider), None) if provider.get_ref() == GITHUB => Ok(Some(("web_identity", TokenProvider::GitHub))),
        (Some(provider), None) => {
            let what = "web_identity: expected 'github'; for other CI systems, name the variable with their token in \
                        web_identity_token_env";
            Err(at(provider.span().start, what))
        }
        (None, Some(name)) if is_variable_name(name.get_ref()) => {
            Ok(Some(("web_identity_token_env", TokenProvider::Variable(name.get_ref().clone()))))
        }
        // It may be the token itself.
        (None, Some(name)) => {
            let what = "web_identity_token_env: expected the name of a variable, e.g. ECR_ID_TOKEN";
            Err(at(name.span().start, what))
        }
    }
}

/// What the account of the registry takes the place of in a role's ARN.
pub(super) const ACCOUNT: &str = "{account}";

pub(crate) const ROLE_ARN_FORM: &str = "arn:<partition>:iam::<account>:role/<name>";

pub(crate) fn is_role_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    matches!(parts.as_slice(), ["arn", partition, "iam", "", account, resource]
        if partition.starts_with("aws")
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty()))
}

/// Whether a setting is the URL of a service. Errors do not quote it: there may be a password in it.
pub(crate) fn is_url(url: &str) -> bool {
    let is_http = |uri: &http::Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    // What stands for a port has to be one: it may be a password that has a slash in it.
    let has_port = |uri: &http::Uri| {
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let host = uri.host().unwrap_or_default();
        let rest = authority.rsplit('@').next().and_then(|rest| rest.strip_prefix(host)).unwrap_or(authority);
        !host.is_empty() && (rest.is_empty() || uri.port_u16().is_some())
    };
    url.parse().is_ok_and(|uri: http::Uri| is_http(&uri) && has_port(&uri))
}

/// What `docker-credential-<name>` may be called.
fn is_helper_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether the last two labels of a glob are literal.
fn ends_in_domain(glob: &str) -> bool {
    let literal = |label: &str| !label.is_empty() && !label.contains(['*', '?', '[', ']']);
    let mut labels = glob.rsplit('.');
    labels.next().is_some_and(literal) && labels.next().is_some_and(literal)
}

/// Seconds, or a number with `ms`, `s` or `m`. Neither nothing nor more than an hour.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.trim_end().parse().ok()?;
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    let duration = Duration::try_from_secs_f64(number * unit).ok()?;
    (Duration::from_millis(1)..=Duration::from_hours(1)).contains(&duration).then_some(duration)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}
