//! The AWS config and credentials files: they lead to an identity that another reading leads to as well, or to a failure of one
//! line. The two files are the halves of the input before and after its first NUL.
#![no_main]

use std::fs;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use docker_credential_ecr_login::config::Config;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::identity::Identity;
use docker_credential_ecr_login_fuzz::{HOST, scratch};
use libfuzzer_sys::fuzz_target;

/// Two environments, which differ in the profile.
static ENVS: LazyLock<[Env; 2]> = LazyLock::new(|| {
    let dir = scratch("aws-settings").display().to_string();
    ["default", "a"].map(|profile| {
        let (config, credentials) = (format!("{dir}/config"), format!("{dir}/credentials"));
        let settings = [
            ("HOME", "/dev/null"),
            ("AWS_CONFIG_FILE", &config),
            ("AWS_SHARED_CREDENTIALS_FILE", &credentials),
            ("AWS_PROFILE", profile),
        ];
        settings.into_iter().collect()
    })
});

fuzz_target!(|text: &str| {
    let (config, credentials) = text.split_once('\0').unwrap_or((text, ""));
    let own = Config::read("", "/config.toml".as_ref()).expect("an empty file is valid");
    for env in &*ENVS {
        let write = |variable, text| fs::write(env.path(variable).expect("it is set"), text);
        write("AWS_CONFIG_FILE", config).expect("the directory is writable");
        write("AWS_SHARED_CREDENTIALS_FILE", credentials).expect("the directory is writable");
        let target = own.target(env, HOST).ok().flatten().expect("it is a registry of ECR");
        let identity = || Identity::read(env, &target, Instant::now() + Duration::from_secs(5));
        match identity() {
            Ok(first) => {
                let _ = (first.chain.to_string(), first.mfa_devices());
                assert!(identity().is_ok_and(|second| second.key == first.key || first.uncacheable.is_some()));
            }
            Err(failure) => assert!(!failure.to_string().contains('\n')),
        }
    }
});
