//! The variables of the helper, and names that look like misspelt ones.

use crate::spelling;

/// The variables of the helper and their descriptions, for the help text and the README.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        "AWS_ECR_ACCESS_KEY_ID_<account>",
        "access key for this account's registries, set with the next two; takes precedence over all other credentials",
    ),
    ("AWS_ECR_SECRET_ACCESS_KEY_<account>", "secret key that belongs to AWS_ECR_ACCESS_KEY_ID_<account>"),
    (
        "AWS_ECR_SESSION_TOKEN_<account>",
        "session token that belongs to AWS_ECR_ACCESS_KEY_ID_<account>, for temporary keys",
    ),
    (
        "AWS_ECR_CACHE_DIR",
        "directory of the token cache, instead of the platform's cache directory; a relative path is one below the current directory",
    ),
    (
        "AWS_ECR_CONFIG_FILE",
        "configuration file of the helper, instead of the one in the platform's configuration directory",
    ),
    ("AWS_ECR_DISABLE_CACHE", "any value: neither read nor write the cache"),
    (
        "AWS_ECR_IGNORE_CREDS_STORAGE",
        "true: `store` and `erase` succeed and change nothing, for any host that has no fallback helper",
    ),
    ("AWS_ECR_LOG", "log to standard error: off, error, warn, info, debug or trace (default off)"),
    ("AWS_ECR_LOG_FILE", "log to this file (mode 0600) instead of standard error; alone it means level info"),
    (
        "AWS_ECR_MAX_AGE",
        "serve no cached token that was issued longer ago than this, e.g. 30m, 1h (default: until it expires)",
    ),
    ("AWS_ECR_PROFILE_<account>", "AWS profile for the registries of this account"),
    (
        "AWS_ECR_ROLE_ARN",
        "role for `AWS_ECR_WEB_IDENTITY` and for service account tokens of kubelets, if no other role is configured",
    ),
    ("AWS_ECR_ROLE_ARN_<account>", "role to assume for the registries of this account"),
    (
        "AWS_ECR_TIMEOUT",
        "time limit for one request, in seconds or with units, e.g. 500ms, 20s, 1m30s (default 20s, 2m where a program may ask a person)",
    ),
    (
        "AWS_ECR_WEB_IDENTITY",
        "github, or env:NAME: assume the role with the identity token of the GitHub Actions job, or in variable NAME",
    ),
];

/// The prefix of the helper's variables.
const PREFIX: &str = "AWS_ECR_";

/// A message about a variable that resembles one of [`VARIABLES`] and is none. Other programs have variables with the same
/// prefix, so other names are not reported.
pub(super) fn misspelt(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let rest = upper.strip_prefix(PREFIX)?;
    if VARIABLES.iter().any(|(known, _)| *known == name) {
        return None;
    }
    for (of_account, _) in VARIABLES.iter().filter(|(known, _)| known.ends_with("<account>")) {
        let prefix = of_account.trim_end_matches("<account>");
        if let Some(account) = upper.strip_prefix(prefix) {
            return (!is_account(account) || *name != upper)
                .then(|| format!("{name} has no effect: it must be {of_account} with the 12 digits of an account"));
        }
    }
    // The name may be a misspelt one of an account's variable.
    let (stem, account) = rest.split_at(rest.len() - rest.bytes().rev().take_while(u8::is_ascii_digit).count());
    if is_account(account) {
        let stems = VARIABLES.iter().filter_map(|(known, _)| known.strip_suffix("<account>"));
        let nearest = spelling::nearest(stem, stems.map(|known| known.trim_start_matches(PREFIX)))?;
        return Some(format!("{name} has no effect; did you mean {PREFIX}{nearest}{account}?"));
    }
    let nearest = spelling::nearest(rest, VARIABLES.iter().map(|(known, _)| known.trim_start_matches(PREFIX)))?;
    let (nearest, _) = VARIABLES.iter().find(|(known, _)| known.ends_with(nearest))?;
    Some(format!("{name} has no effect; did you mean {nearest}?"))
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::misspelt;

    #[test]
    fn misspelt_variables_are_reported_and_those_of_other_programs_are_not() {
        for (name, meant) in [
            ("AWS_ECR_CACHEDIR", "AWS_ECR_CACHE_DIR"),
            ("AWS_ECR_DISABLE_CACHES", "AWS_ECR_DISABLE_CACHE"),
            ("AWS_ECR_TIMOUT", "AWS_ECR_TIMEOUT"),
            ("aws_ecr_log", "AWS_ECR_LOG"),
            ("AWS_ECR_LOGFILE", "AWS_ECR_LOG_FILE"),
            ("AWS_ECR_LOG_LEVEL", "AWS_ECR_LOG"),
            ("AWS_ECR_CONFIG", "AWS_ECR_CONFIG_FILE"),
            ("AWS_ECR_PROFILE", "AWS_ECR_PROFILE_<account>"),
            ("AWS_ECR_PROFILE_1234", "AWS_ECR_PROFILE_<account>"),
            ("AWS_ECR_ROLE_ARN_prod", "AWS_ECR_ROLE_ARN_<account>"),
            ("AWS_ECR_ROLEARN_111122223333", "AWS_ECR_ROLE_ARN_111122223333"),
            ("AWS_ECR_ROLE_ARN111122223333", "AWS_ECR_ROLE_ARN_111122223333"),
            ("AWS_ECR_ROLE_111122223333", "AWS_ECR_ROLE_ARN_111122223333"),
            ("AWS_ECR_PROFILES_111122223333", "AWS_ECR_PROFILE_111122223333"),
            ("AWS_ECR_PROFIL_111122223333", "AWS_ECR_PROFILE_111122223333"),
            ("AWS_ECR_ACCESS_KEY_ID", "AWS_ECR_ACCESS_KEY_ID_<account>"),
            ("AWS_ECR_ACCESS_KEY_ID_prod", "AWS_ECR_ACCESS_KEY_ID_<account>"),
            ("AWS_ECR_SECRET_ACCES_KEY_111122223333", "AWS_ECR_SECRET_ACCESS_KEY_111122223333"),
            ("AWS_ECR_SESSION_TOKEN_1", "AWS_ECR_SESSION_TOKEN_<account>"),
            ("AWS_ECR_WEBIDENTITY", "AWS_ECR_WEB_IDENTITY"),
        ] {
            let found = misspelt(name).unwrap_or_default();
            assert!(found.contains(meant) && found.contains(name), "{name}: {found}");
        }
        for name in [
            "AWS_ECR_CACHE_DIR",
            "AWS_ECR_ROLE_ARN",
            "AWS_ECR_PROFILE_111122223333",
            "AWS_ECR_ACCESS_KEY_ID_111122223333",
            "AWS_ECR_SECRET_ACCESS_KEY_111122223333",
            "AWS_ECR_SESSION_TOKEN_111122223333",
            "AWS_ECR_REGION",
            "AWS_ECR_REGISTRY",
            "AWS_ECR_REGISTRY_ID",
            "AWS_ECR_ACCOUNT_URL",
            "AWS_ECR_REPOSITORY",
            "AWS_REGION",
        ] {
            assert_eq!(misspelt(name), None);
        }
    }
}
