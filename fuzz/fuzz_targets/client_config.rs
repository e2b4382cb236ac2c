//! The settings of docker and podman: where they lead for a registry, or what is wrong with them in one line. The two files
//! are the halves of the input before and after its first NUL.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use docker_credential_ecr_login::client_config::{self, AuthFile};
use docker_credential_ecr_login::containers::{self, Era, Program, Rules};
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login_fuzz::{HOST, scratch};
use libfuzzer_sys::fuzz_target;

static DIR: LazyLock<String> = LazyLock::new(|| scratch("client-config").display().to_string());

static ENV: LazyLock<Env> = LazyLock::new(|| {
    let conf = format!("{}/registries.conf", *DIR);
    // No programs are run for their versions: the signal handlers that this needs end the process at libFuzzer's timer (SIGALRM).
    let none = [("HOME", "/dev/null"), ("PATH", "/dev/null")];
    none.into_iter().chain([("DOCKER_CONFIG", DIR.as_str()), (containers::REGISTRIES_CONF, &conf)]).collect()
});

fuzz_target!(|text: &str| {
    let (docker, conf) = text.split_once('\0').unwrap_or((text, ""));
    fs::write(format!("{}/config.json", *DIR), docker).expect("the directory is writable");
    fs::write(format!("{}/registries.conf", *DIR), conf).expect("the directory is writable");
    let of_docker = client_config::docker_lookup(&ENV, HOST);
    let eras = [Era::UpTo43, Era::UpTo5, Era::From6].map(|era| Rules { era, program: Program::Podman });
    let of_podman = eras.map(|rules| containers::lookup(&ENV, rules, HOST));
    for broken in of_podman.into_iter().chain([of_docker]).filter_map(Result::err) {
        assert!(!broken.what.contains('\n'), "{}", broken.what);
    }
    if let Ok(file) = AuthFile::read(&ENV, format!("{}/config.json", *DIR).into()) {
        assert!(file.hosts().all(|host| file.helper(host) == Some(client_config::HELPER_NAME)));
        let _ = (file.passwords_for(HOST), file.helper_keys().count());
    }
    let env: Env = [(client_config::DOCKER_AUTH_CONFIG, docker)].into_iter().collect();
    let _ = client_config::hosts_of_environment(&env);
});
