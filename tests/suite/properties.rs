//! Properties of any input: hosts, cache entries, requests, configuration files. The same functions are fuzzed; see fuzz/.

use std::io::Cursor;
use std::time::{Duration, Instant};

use docker_credential_ecr_login::cache::{Entry, Freshness};
use docker_credential_ecr_login::commands::docker::{self, Action};
use docker_credential_ecr_login::config::Config;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::identity::Identity;
use docker_credential_ecr_login::registry::{Host, Registry};
use docker_credential_ecr_login::token::Token;
use proptest::prelude::*;
use serde_json::json;
use time::OffsetDateTime;

use crate::helper::set_times;

/// Settings without a home directory, a cache or AWS.
fn nowhere() -> Env {
    [
        ("HOME", "/dev/null"),
        ("AWS_ECR_DISABLE_CACHE", "1"),
        ("AWS_ECR_CONFIG_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
    ]
    .into_iter()
    .collect()
}

/// Text that resembles the host of a registry.
fn near_hosts() -> impl Strategy<Value = String> {
    let scheme = prop_oneof!["(https://|http://|HTTPS://)?", "ftp://", "//", "[a-z]{1,5}://"];
    let account = prop_oneof!["[0-9]{12}", "[0-9]{10,14}", "[0-9a-f]{12}"];
    let service = prop_oneof!["dkr.ecr", "dkr.ecr-fips", "dkr-ecr", "dkr-ecr-fips", "[a-z.-]{1,12}"];
    let region =
        prop_oneof!["us-east-1", "eu-[a-z]{1,9}-[0-9]{1,3}", "cn-north-1", "us-gov-west-1", "[a-z0-9./%-]{0,20}"];
    let suffix = prop_oneof![
        "amazonaws\\.com",
        "amazonaws\\.com\\.cn",
        "on\\.aws",
        "amazonaws\\.eu",
        "amazonaws\\.com\\.[a-z]{2,7}",
        "[a-z.]{1,15}"
    ];
    let rest =
        prop_oneof!["", "\\.", ":443", ":[0-9]{0,6}", "/v2/", "/.{0,20}", "@[a-z.]{1,9}", "[?#].{0,5}", "\n.{0,9}"];
    (scheme, account, service, region, suffix, rest).prop_map(|(scheme, account, service, region, suffix, rest)| {
        format!("{scheme}{account}.{service}.{region}.{suffix}{rest}")
    })
}

/// The host that parsers of the URL standard find, for input that they all parse alike.
fn naive_host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase()
}

proptest! {
    #[test]
    fn a_registry_is_exactly_the_host_that_was_asked_for(url in prop_oneof![near_hosts(), any::<String>()]) {
        if let Some(registry) = Registry::parse(&url) {
            prop_assert_eq!(&*registry.host(), &*naive_host(&url));
            prop_assert!(registry.host().split('.').next().is_some_and(|account| account.len() == 12) || registry.is_public());
            let region_is_a_label = registry.host().split('.').any(|label| *label == *registry.region());
            prop_assert!(registry.is_public() || region_is_a_label);
            prop_assert!(!registry.region().contains(['.', '/', '%', '@']));
            // Parsing is stable: the host parses as itself.
            prop_assert_eq!(Registry::parse(&registry.host()), Some(registry.clone()));
            prop_assert!(url.is_ascii() && !url.contains(['@', '\n', '\\', ' ']) || url.contains('/'));
        } else if let Some(host) = Host::parse(&url) {
            prop_assert!(host.len() <= 253 && host.is_ascii());
        }
    }

    #[test]
    fn no_bytes_are_an_entry_by_chance_and_none_make_it_panic(bytes: Vec<u8>, key in "[0-9a-f]{64}") {
        prop_assert!(Entry::decode(&bytes, &key.parse().expect("a key")).is_none());
    }

    #[test]
    fn an_entry_that_reads_back_is_never_served_after_its_life(
        created in 0_i64..1 << 37, life in 0_i64..1 << 20, now in 0_i64..1 << 37, key in "[0-9a-f]{64}"
    ) {
        let instant = |seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("before the year 10000");
        let mut entry = json!({
            "format": 4, "key": key, "is_public": false, "region": "us-east-1", "token": {"username": "AWS", "password": "p"},
            "credentials": null, "made_at_uptime": null,
        });
        set_times(&mut entry, instant(created), instant(created + life));
        let text = entry.to_string();
        let entry = Entry::decode(text.as_bytes(), &key.parse().expect("a key"));
        prop_assert_eq!(entry.is_some(), (1..=12 * 60 * 60).contains(&life));
        if let Some(entry) = entry {
            let age = entry.freshness_at(instant(now), None);
            prop_assert_eq!(age != Freshness::Expired, (created..created + life).contains(&now));
            prop_assert_eq!(age == Freshness::Fresh, now >= created && (now - created) * 2 < life);
        }
    }

    #[test]
    fn a_token_that_is_read_can_be_logged_in_with(text in prop_oneof![any::<String>(), "[A-Za-z0-9+/]{0,80}={0,2}"]) {
        if let Some(token) = Token::decode(&text) {
            prop_assert!(!token.username.is_empty() && token.username != "<token>" && !token.username.contains(':'));
            prop_assert!(!token.password.expose().is_empty());
        }
    }

    #[test]
    fn any_request_has_an_answer_of_one_line_that_repeats_no_secret(
        action in prop_oneof![Just(Action::Get), Just(Action::Store), Just(Action::Erase)],
        input in prop_oneof![
            any::<Vec<u8>>(),
            "[{\"]{0,3}(ServerURL|Username|Secret|hunter2|[\":,{}\\[\\] ]){0,12}".prop_map(String::into_bytes),
            "(docker\\.io|ghcr\\.io|hunter2)[^a-z]{0,9}".prop_map(String::into_bytes),
        ]
    ) {
        let mut output = Vec::new();
        if let Err(error) = docker::serve(action, &nowhere(), Cursor::new(&input), &mut output) {
            let line = error.to_string();
            prop_assert!(!line.is_empty() && !line.contains(['\n', '\r', '\0']));
            prop_assert!(!line.contains("hunter2"));
        }
        prop_assert!(output.is_empty(), "no request gets a token here");
    }

    #[test]
    fn any_configuration_is_read_or_refused_with_its_line(text in prop_oneof![
        any::<String>(),
        "(\\[\\[registry\\]\\]\n|match = \"[*a-z0-9.\\[]{0,9}\"\n|profile = \"[a-z]{0,3}\"\n|timeout = \"[0-9]{1,3}[a-z]{0,2}\"\n|registry = 'public.ecr.aws'\n){0,8}",
    ]) {
        match Config::read(&text, "/c.toml".as_ref()) {
            Ok(config) => {
                // Hosts that the configuration does not name get no token.
                for stranger in ["docker.io", "example.com", "amazonaws.com"] {
                    if !text.contains(stranger) && !text.contains('*') && !text.contains('[') {
                        prop_assert!(!matches!(config.target(&nowhere(), stranger), Ok(Some(_))));
                    }
                }
                if let Ok(Some(target)) = config.target(&nowhere(), "111122223333.dkr.ecr.us-east-1.amazonaws.com") {
                    let _ = Identity::read(&nowhere(), &target, Instant::now() + Duration::from_secs(9));
                }
            }
            Err(error) => {
                let line = error.to_string();
                prop_assert!(line.contains("/c.toml, line ") && !line.contains('\n'), "{}", line);
            }
        }
    }
}
