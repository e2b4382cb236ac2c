//! Requests of kubelets: an answer that kubelet can read, or an error of one line that has no token in it.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use docker_credential_ecr_login::config::Config;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::commands::kubelet::Kubelet;
use docker_credential_ecr_login_fuzz::offline;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static ENV: LazyLock<Env> = LazyLock::new(|| offline([("AWS_ECR_DISABLE_CACHE", "1".to_owned())]));

fuzz_target!(|input: &[u8]| {
    let config = Config::read("", "/config.toml".as_ref()).expect("an empty file is valid");
    let deadline = Instant::now() + Duration::from_secs(5);
    // What is no text is passed over where it is in fields that nobody reads.
    let request = serde_json::from_str(&String::from_utf8_lossy(input)).unwrap_or(Value::Null);
    match Kubelet::started_as("ecr-credential-provider").expect("its name").answer(&ENV, &config, input, deadline) {
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains('\n'));
            // A short one may be part of any sentence.
            let token = request["serviceAccountToken"].as_str().filter(|token| token.len() > 40);
            assert!(token.is_none_or(|token| !error.contains(token)));
        }
        Ok(answer) => {
            let answer: Value = serde_json::from_slice(&answer).expect("answers are JSON");
            assert_eq!(answer["apiVersion"], request["apiVersion"]);
            assert_eq!(answer["kind"], "CredentialProviderResponse");
            // Nobody has credentials here, and kubelet must ask again.
            assert_eq!((&answer["auth"], &answer["cacheDuration"]), (&Value::Object([].into_iter().collect()), &"0s".into()));
        }
    }
});
