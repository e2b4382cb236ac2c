//! Describes every key of the configuration file, for the manual page. `file.rs` and `registry_entry.rs` parse the keys; the
//! tests here compare the two.

/// A key and its description.
pub struct ConfigKey {
    /// The name in the file.
    pub name: &'static str,
    /// The type and the format of the value.
    pub kind: &'static str,
    /// The value when the key is absent.
    pub default: &'static str,
    /// The effect.
    pub what: &'static str,
    /// A value in TOML.
    pub example: &'static str,
}

/// Keys of the whole file.
pub const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "timeout",
        kind: "string: a number of seconds, or with units, e.g. 500ms, 20s, 1m30s",
        default: "20s",
        what: "The time limit for one request. AWS_ECR_TIMEOUT overrides it. Unless one of them is set, a fallback helper or a \
               credential_process may take 2m, since it may ask a person.",
        example: "\"20s\"",
    },
    ConfigKey {
        name: "max_age",
        kind: "string: a number of seconds, or with units, e.g. 30m, 1h",
        default: "none: until the token expires",
        what: "No cached token is served that was issued longer ago than this. A token outlives the credentials that requested it, \
               so this limits how long after they have ended. AWS_ECR_MAX_AGE overrides it.",
        example: "\"1h\"",
    },
    ConfigKey {
        name: "fallback",
        kind: "string: NAME of a program docker-credential-NAME on the PATH",
        default: "none: other registries are not found",
        what: "The credential helper for all registries that are neither Amazon ECR's nor named in this file. It gets their \
               requests and answers them as if the client had called it.",
        example: "\"desktop\"",
    },
];

/// Keys of a `[[registry]]` table.
pub const REGISTRY_KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "match",
        kind: "string: a glob over the host, in which * also matches dots; a custom domain is served on port 443 with https, \
               unless the glob names a port, e.g. images.example.com:5000",
        default: "required",
        what: "The registries that the table applies to. Of several tables, the first that matches applies.",
        example: "\"images.example.com\"",
    },
    ConfigKey {
        name: "profile",
        kind: "string",
        default: "the default credentials of the AWS SDK",
        what: "The AWS profile that asks for the token. AWS_ECR_PROFILE_<account>, AWS_ECR_ROLE_ARN_<account> and \
               AWS_ECR_ACCESS_KEY_ID_<account> override it.",
        example: "\"prod\"",
    },
    ConfigKey {
        name: "role_arn",
        kind: "string: arn:<partition>:iam::<account>:role/<name>",
        default: "none",
        what: "The role to assume, with the profile's or the default credentials. {account} in it is replaced by the \
               account of the registry, so that one table serves many accounts; ECR Public has no account. AWS_ECR_PROFILE_<account>, \
               AWS_ECR_ROLE_ARN_<account> and AWS_ECR_ACCESS_KEY_ID_<account> override it.",
        example: "\"arn:aws:iam::{account}:role/EcrPull\"",
    },
    ConfigKey {
        name: "external_id",
        kind: "string",
        default: "none",
        what: "The external id that the role's trust policy requires. Requires role_arn. Excludes a web identity.",
        example: "\"ticket-7\"",
    },
    ConfigKey {
        name: "role_session_name",
        kind: "string",
        default: "docker-credential-ecr-login",
        what: "The session name that CloudTrail shows: 2 to 64 letters, digits or +=,.@_-. Requires role_arn.",
        example: "\"builds\"",
    },
    ConfigKey {
        name: "region",
        kind: "string",
        default: "the region of the registry",
        what: "The region of STS. Requires role_arn.",
        example: "\"eu-west-1\"",
    },
    ConfigKey {
        name: "web_identity",
        kind: "string: github",
        default: "none: the role is assumed with AWS credentials",
        what: "Assumes the role with the identity token that GitHub gives to the job, which needs the permission \
               id-token: write. Requires role_arn. Excludes profile and external_id.",
        example: "\"github\"",
    },
    ConfigKey {
        name: "web_identity_token_env",
        kind: "string: the name of a variable",
        default: "none",
        what: "The same with the identity token in this variable, as GitLab, Buildkite and CircleCI provide it. Excludes \
               web_identity.",
        example: "\"ECR_ID_TOKEN\"",
    },
    ConfigKey {
        name: "registry",
        kind: "string: the host of an ECR registry",
        default: "the host itself",
        what: "The registry behind a custom domain or a mirror. The match must end in a complete domain name.",
        example: "\"333344445555.dkr.ecr.eu-west-1.amazonaws.com\"",
    },
    ConfigKey {
        name: "endpoint_url",
        kind: "string: a URL",
        default: "the one that the registry's host implies",
        what: "The endpoint of the ECR API.",
        example: "\"https://vpce-0a1b.api.ecr.eu-west-1.vpce.amazonaws.com\"",
    },
];

/// A file with every key in it. Keys that contradict each other are in tables of their own.
pub fn sample() -> String {
    let line = |ConfigKey { name, example, .. }: &ConfigKey| format!("{name} = {example}\n");
    let (with_token, others): (Vec<&ConfigKey>, Vec<&ConfigKey>) =
        REGISTRY_KEYS.iter().partition(|key| key.name.starts_with("web_identity"));
    let table = |key: &ConfigKey, account: &str| {
        let arn = format!("arn:aws:iam::{account}:role/EcrPull");
        format!("\n[[registry]]\nmatch = \"{account}.*\"\nrole_arn = \"{arn}\"\n{}", line(key))
    };
    let first = others.into_iter().map(line).collect::<String>();
    let more = with_token.into_iter().zip(["444455556666", "555566667777"]).map(|(key, account)| table(key, account));
    format!("{}\n[[registry]]\n{first}{}", KEYS.iter().map(line).collect::<String>(), more.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{ConfigKey, KEYS, REGISTRY_KEYS, sample};
    use crate::config::Config;

    fn error_of(text: &str) -> String {
        Config::read(text, Path::new("/c.toml")).expect_err(text).to_string()
    }

    fn names(keys: &[ConfigKey]) -> Vec<&str> {
        keys.iter().map(|key| key.name).collect()
    }

    #[test]
    fn the_keys_are_those_that_the_file_accepts() {
        for (text, expected) in [
            ("wrong = 1", [names(KEYS), vec!["registry"]].concat()),
            ("[[registry]]\nmatch = 'a.example'\nwrong = 1", names(REGISTRY_KEYS)),
        ] {
            let error = error_of(text);
            let listed: Vec<_> = error.split('`').skip(1).step_by(2).filter(|name| *name != "wrong").collect();
            assert_eq!(listed, expected, "{error}");
        }
    }

    #[test]
    fn each_key_accepts_its_example_and_no_other_type() {
        let text = sample();
        Config::read(&text, Path::new("/c.toml")).expect(&text);
        for key in KEYS.iter().chain(REGISTRY_KEYS) {
            let line = text.lines().position(|line| line.starts_with(&format!("{} = ", key.name))).expect("a line") + 1;
            let wrong = text.replace(&format!("{} = {}", key.name, key.example), &format!("{} = 1", key.name));
            assert!(error_of(&wrong).contains(&format!("line {line}:")), "{}", key.name);
        }
    }
}
