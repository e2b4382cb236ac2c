//! The formats of values that variables, options and the configuration file share.

use std::ops::Deref;
use std::time::Duration;

use serde::Deserialize;

/// What is wrong with a blank value. Its fix is to leave the key out.
pub(super) const BLANK: &str = "the value is empty";

/// A value that is not blank.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Text(pub(super) String);

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

/// The name of the one provider of CI tokens that is no variable.
pub(super) const GITHUB: &str = "github";

/// The placeholder for the registry's account in a role's ARN.
pub(super) const ACCOUNT: &str = "{account}";

/// The form that [`is_role_arn`] accepts, for messages.
pub(crate) const ROLE_ARN_FORM: &str = "arn:<partition>:iam::<account>:role/<name>";

/// Whether `arn` is the ARN of an IAM role.
pub(crate) fn is_role_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    matches!(parts.as_slice(), ["arn", partition, "iam", "", account, resource]
        if partition.starts_with("aws")
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty()))
}

/// Whether the name of a role's session may have this character.
pub(crate) fn is_of_session_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

/// Whether STS takes `name` for the session of a role.
pub(super) fn is_session_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(is_of_session_name)
}

/// Whether a setting is the URL of a service. Errors do not quote it: there may be a password in it.
pub(crate) fn is_url(url: &str) -> bool {
    let is_http = |uri: &http::Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    // What follows the host must be a port: it may be a password that has a slash in it.
    let has_port = |uri: &http::Uri| {
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let host = uri.host().unwrap_or_default();
        let rest = authority.rsplit('@').next().and_then(|rest| rest.strip_prefix(host)).unwrap_or(authority);
        !host.is_empty() && (rest.is_empty() || uri.port_u16().is_some())
    };
    url.parse().is_ok_and(|uri: http::Uri| is_http(&uri) && has_port(&uri))
}

/// Whether a POSIX shell accepts `name` as the name of a variable.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether `name` can be part of the program name `docker-credential-<name>`.
pub(super) fn is_helper_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether the last two labels of a glob are literal.
pub(super) fn ends_in_domain(glob: &str) -> bool {
    let literal = |label: &str| !label.is_empty() && !label.contains(['*', '?', '[', ']']);
    let mut labels = glob.rsplit('.');
    labels.next().is_some_and(literal) && labels.next().is_some_and(literal)
}

/// Parses a duration: a number of seconds, or numbers with the units `h`, `m`, `s` and `ms`, e.g. `90`, `1m30s`, `1.5h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if let Some(seconds) = number(rest) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let after = rest[end..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |length| end + length);
        let unit = match &rest[end..after] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number(&rest[..end])? * unit;
        rest = &rest[after..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// A decimal number without a sign.
fn number(text: &str) -> Option<f64> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_decimal)
}

/// Parses a time limit: at least a millisecond, at most an hour.
pub(super) fn time_limit(text: &str) -> Option<Duration> {
    duration(text).filter(|limit| (Duration::from_millis(1)..=Duration::from_hours(1)).contains(limit))
}

/// The greatest age of a cached token.
pub(super) fn age(text: &str) -> Option<Duration> {
    duration(text).filter(|age| !age.is_zero())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, time_limit};

    #[test]
    fn durations_are_seconds_or_have_units() {
        for (text, millis) in [
            ("20", 20_000),
            ("20s", 20_000),
            (" 1.5s ", 1500),
            ("250ms", 250),
            ("2m", 120_000),
            ("1m30s", 90_000),
            ("90", 90_000),
            ("1.5h", 5_400_000),
            ("1h30m", 5_400_000),
            ("1s500ms", 1500),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "+1", "2 weeks", "nan", "inf", "1e9", "1d", "1h5", "5.m.", "1é", "m1", "1M"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration(&"9".repeat(40)), None);
        for (text, is_limit) in [("1ms", true), ("1h", true), ("0", false), ("61m", false)] {
            assert_eq!(time_limit(text).is_some(), is_limit, "{text}");
        }
    }
}
