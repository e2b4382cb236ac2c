//! Requests of docker and Bazel: one line as an answer or an error, and a token only for the registry that has one in the cache.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use docker_credential_ecr_login::cache::{Cache, Decided, Entry, Manifest};
use docker_credential_ecr_login::commands::bazel::Request;
use docker_credential_ecr_login::commands::docker::{self, Action};
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::identity::request_key;
use docker_credential_ecr_login::registry::Registry;
use docker_credential_ecr_login::token::Token;
use docker_credential_ecr_login_fuzz::{HOST, offline, scratch};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use time::OffsetDateTime;

const PASSWORD: &str = "the-password-in-the-cache";

/// The environment, with a token for [`HOST`] in its cache.
static ENV: LazyLock<Env> = LazyLock::new(|| {
    let dir = scratch("protocol");
    let env = offline([("AWS_ECR_CACHE_DIR", dir.display().to_string())]);
    let cache = Cache::open(env.cache_dir().expect("it is set")).expect("a directory of this process alone");
    // Any key will do.
    let key = request_key(&env, "an identity");
    let token = Token { username: "AWS".to_owned(), password: PASSWORD.to_owned().into(), registry: None };
    let registry = Registry::parse(HOST).expect("a registry");
    let life = Duration::from_secs(12 * 3600);
    let entry = Entry::new(&key, &registry, token, life, OffsetDateTime::now_utc()).expect("it is valid for hours");
    cache.save(&entry).expect("the cache is writable");
    let arbitrary_text = || String::from("x");
    let decided = Decided { region: registry.region(), credentials: arbitrary_text(), chosen_by: arbitrary_text() };
    let request = request_key(&env, HOST);
    let manifest = Manifest::new(request, &registry.host(), decided, key, Vec::new());
    cache.save_manifest(&request, &manifest).expect("the cache is writable");
    env
});

fuzz_target!(|input: &[u8]| {
    for action in [Action::Get, Action::Store, Action::Erase] {
        let mut output = Vec::new();
        let result = docker::serve(action, &ENV, input, &mut output);
        let output = str::from_utf8(&output).expect("answers are text");
        match result {
            Err(error) => {
                assert!(output.is_empty());
                assert!(!error.to_string().contains('\n'));
            }
            Ok(_) if action != Action::Get => assert!(output.is_empty()),
            Ok(_) => {
                assert!(output.ends_with('\n') && output.matches('\n').count() == 1);
                check(input, &serde_json::from_str(output).expect("answers are JSON"));
            }
        }
    }
});

/// Either Bazel's headers, or docker's credential with the server URL as it was asked for.
fn check(input: &[u8], answer: &Value) {
    if answer.get("headers").is_some() {
        let request = Request::read(input).expect("only Bazel's requests are answered so");
        let is_of_host = request.server_url().is_some_and(|url| url.to_ascii_lowercase().contains(HOST));
        assert!(answer["headers"].as_object().is_some_and(|headers| headers.is_empty()) || is_of_host);
        return;
    }
    let asked = str::from_utf8(input).expect("only text is answered so").trim_ascii();
    assert_eq!(answer["ServerURL"], asked);
    assert!(asked.to_ascii_lowercase().contains(HOST));
    assert_eq!((&answer["Username"], &answer["Secret"]), (&"AWS".into(), &PASSWORD.into()));
}
