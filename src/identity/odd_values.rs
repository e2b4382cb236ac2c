//! Settings of AWS with values that are none of theirs.
//!
//! The SDK for Go refuses a variable that is neither true nor false, while the AWS CLI takes it for false: requests would go to other
//! endpoints than those that were asked for. In a profile, both take any other value for false, and a wrong duration for none.

use super::profiles::Profiles;
use super::selected::Selected;
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;

/// The variables that are true or false, and their keys in a profile.
const BOOLEANS: [(&str, &str); 4] = [
    ("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
    ("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
    ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls"),
    ("AWS_EC2_METADATA_V1_DISABLED", "ec2_metadata_v1_disabled"),
];

/// The variable of which the SDK for Go, too, takes any other value for false.
const LENIENT: &str = "AWS_EC2_METADATA_DISABLED";

/// The variables that are numbers, without which the usual ones count.
const NUMBERS: [&str; 3] = ["AWS_MAX_ATTEMPTS", "AWS_METADATA_SERVICE_TIMEOUT", "AWS_METADATA_SERVICE_NUM_ATTEMPTS"];

/// The longest value that is shown, in bytes: a longer one may be a secret in the wrong place.
const LONGEST: usize = 5;

/// Refuses the variables that the SDK for Go refuses.
pub(super) fn refuse(env: &Env) -> Result<(), Failure> {
    let wrong = BOOLEANS.iter().find_map(|(name, _)| Some((name, not_boolean(name, env.text(name)?)?)));
    wrong.map_or(Ok(()), |(name, what)| {
        Err(Failure::new(Code::SettingInvalid, what, format!("set {name} to true or false, or unset it")))
    })
}

/// The settings that have no effect, a clause each.
pub(super) fn passed_over(env: &Env, profiles: &Profiles, selected: &Selected) -> Vec<String> {
    let variable = env.text(LENIENT).and_then(|value| not_boolean(LENIENT, value.trim()));
    let setting = |key: &str| {
        let value = profiles.profile(selected.name())?.get(key)?;
        Some((format!("{key} of profile '{}'", selected.name()), value))
    };
    let keys = BOOLEANS.iter().filter(|(variable, _)| env.text(variable).is_none()).filter_map(|(_, key)| {
        let (place, value) = setting(key)?;
        not_boolean(&place, value)
    });
    let duration = setting("duration_seconds").filter(|(_, value)| value.parse::<u32>().is_err());
    let duration = duration.map(|(place, value)| describe(&place, value, "no number"));
    let numbers = NUMBERS.iter().filter_map(|name| {
        let value = env.text(name).filter(|value| !value.trim().parse().is_ok_and(|number: f64| number > 0.0))?;
        Some(describe(name, value, "no number above 0"))
    });
    let clauses = variable.into_iter().chain(numbers).chain(keys).chain(duration);
    clauses.map(|clause| format!("{clause}, and has no effect")).collect()
}

fn not_boolean(place: &str, value: &str) -> Option<String> {
    let is_boolean = ["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word));
    (!is_boolean).then(|| describe(place, value, "neither true nor false"))
}

fn describe(place: &str, value: &str, what: &str) -> String {
    let value = if value.len() <= LONGEST { format!("'{value}', ") } else { String::new() };
    format!("{place} is {value}{what}")
}
