//! The configuration file: read, or refused in one line.
#![no_main]

use docker_credential_ecr_login::config::Config;
use docker_credential_ecr_login::env::Env;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Config::read(text, "/config.toml".as_ref()) {
        Ok(config) => {
            let _ = config.target(&Env::default(), "111122223333.dkr.ecr.us-east-1.amazonaws.com");
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
