//! Requests: an answer of one line, and no token without credentials.
#![no_main]

use docker_credential_ecr_login::commands::docker::{self, Action};
use docker_credential_ecr_login::env::Env;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let settings = [
        ("HOME", "/dev/null"),
        ("AWS_ECR_DISABLE_CACHE", "1"),
        ("AWS_ECR_CONFIG_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
    ];
    let env: Env = settings.into_iter().collect();
    for action in [Action::Get, Action::Store, Action::Erase] {
        let mut output = Vec::new();
        if let Err(error) = docker::serve(action, &env, input, &mut output) {
            assert!(!error.to_string().contains('\n'));
        }
        assert!(output.is_empty());
    }
});
