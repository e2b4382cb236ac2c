//! The formats of values that variables, options and the configuration file share.

use std::time::Duration;

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

/// Parses a duration in seconds, or with the unit `ms`, `s` or `m`: more than zero and at most an hour.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (text, millis) in [("20", 20_000), ("20s", 20_000), (" 1.5s ", 1500), ("250ms", 250), ("2m", 120_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "0", "-1", "1h", "2 weeks", "nan", "1e9", "61m"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
