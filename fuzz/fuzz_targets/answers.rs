//! What services answer, from the status line on: a token that clients can use, or a failure of one line. The first byte chooses
//! the source of credentials and the registry, and each connection gets a part of the rest, up to the next NUL.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use docker_credential_ecr_login::aws::{Exchange, MfaCode, answer_with};
use docker_credential_ecr_login::config::Config;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::error::{Failure, acts_on_terminal};
use docker_credential_ecr_login::identity::Identity;
use docker_credential_ecr_login::token::Token;
use docker_credential_ecr_login_fuzz::{HOST, scratch};
use libfuzzer_sys::fuzz_target;

/// The sources, by the first byte from `a` on, and from `A` on for ECR Public.
const SOURCES: [&[(&str, &str)]; 9] = [
    &[("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "secret-0")],
    &[("AWS_PROFILE", "role")],
    &[("AWS_PROFILE", "mfa")],
    &[("AWS_PROFILE", "sso")],
    &[("AWS_PROFILE", "renewed")],
    &[("AWS_PROFILE", "web")],
    &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1"), ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "1")],
    &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/")],
    &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/"), ("AWS_EC2_METADATA_V1_DISABLED", "true")],
];

const CONFIG: &str = "[profile keys]\naws_access_key_id = AKIA\naws_secret_access_key = secret-0\n\
    [profile role]\nrole_arn = arn:aws:iam::111122223333:role/R\nsource_profile = keys\n\
    [profile mfa]\nrole_arn = arn:aws:iam::111122223333:role/R\nsource_profile = keys\nmfa_serial = arn:aws:iam::111122223333:mfa/m\n\
    [profile web]\nrole_arn = arn:aws:iam::111122223333:role/R\nweb_identity_token_file = FILE\n\
    [profile sso]\nsso_session = a\nsso_account_id = 111122223333\nsso_role_name = R\n\
    [profile renewed]\nsso_session = b\nsso_account_id = 111122223333\nsso_role_name = R\n\
    [sso-session a]\nsso_region = us-east-1\nsso_start_url = https://e.awsapps.com/start\n\
    [sso-session b]\nsso_region = us-east-1\nsso_start_url = https://e.awsapps.com/start\n";

/// The files of the sign-ins, which have the SHA-1 of the session's name, and their times of expiry.
const SIGN_INS: [(&str, &str); 2] = [
    ("86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", "2099-01-01T00:00:00Z"),
    ("e9d71f5ee7c92d6dc9e92ffdad17b8bd49418f98", "2020-01-01T00:00:00Z"),
];

static HOME: LazyLock<PathBuf> = LazyLock::new(|| {
    let home = scratch("answers");
    fs::create_dir_all(home.join(".aws/sso/cache")).expect("the directory is writable");
    let file = home.join(".aws/config");
    // No program replaces a `~` in the name of a token file.
    let config = CONFIG.replace("FILE", file.to_str().expect("UTF-8"));
    fs::write(&file, config).expect("the directory is writable");
    home
});

fn env(source: usize) -> Env {
    let fixed = [("HOME", HOME.to_str().expect("UTF-8")), ("AWS_ECR_CONFIG_FILE", "/dev/null"), ("AWS_MAX_ATTEMPTS", "1")];
    SOURCES[source].iter().copied().chain(fixed).collect()
}

fuzz_target!(|input: &[u8]| {
    let Some((first, answers)) = input.split_first() else { return };
    let source = usize::from(first.to_ascii_lowercase().wrapping_sub(b'a')) % SOURCES.len();
    let host = if first.is_ascii_uppercase() { "public.ecr.aws" } else { HOST };
    for (file, expires_at) in SIGN_INS {
        let sign_in = format!(
            r#"{{"accessToken":"t","expiresAt":"{expires_at}","clientId":"c","clientSecret":"s","refreshToken":"r",
            "registrationExpiresAt":"2099-01-01T00:00:00Z"}}"#
        );
        fs::write(HOME.join(format!(".aws/sso/cache/{file}.json")), sign_in).expect("the directory is writable");
    }
    let env = env(source);
    let config = Config::read("", "/config.toml".as_ref()).expect("an empty file is valid");
    let target = config.target(&env, host).ok().flatten().expect("it is a registry of ECR");
    let deadline = Instant::now() + Duration::from_secs(5);
    let identity = Arc::new(Identity::read(&env, &target, deadline).expect("settings that lead to credentials"));
    let exchange = Exchange::default();
    let codes: Vec<MfaCode> = identity.mfa_devices().into_iter().map(|device| MfaCode::new(device, "123456")).collect();
    answer_with(answers.split(|byte| *byte == 0));
    if let Err(failure) = exchange.renew_sign_in(&target, &identity, deadline) {
        check(&failure);
    }
    let source = exchange.ask_source(&target, &identity, deadline);
    let session = source.and_then(|source| source.assume_roles(&codes, deadline));
    let issued = session.and_then(|session| {
        let token = session.clone().request_token(deadline);
        let _ = session.clock_ahead();
        if let Err(failure) = session.principal(deadline) {
            check(&failure);
        }
        token
    });
    let token = match issued {
        Ok(issued) => {
            assert!(issued.token.is_usable() && issued.valid_for.is_none_or(|life| life <= Duration::from_secs(43200)));
            issued.token
        }
        Err(failure) => {
            check(&failure);
            Token { username: "AWS".to_owned(), password: "secret-1".to_owned().into(), registry: None }
        }
    };
    answer_with(answers.split(|byte| *byte == 0));
    match exchange.ask_registry(&target, &identity, Some(&token), "/v2/", deadline) {
        Ok(answer) => assert!(!answer.message.contains(acts_on_terminal)),
        Err(failure) => check(&failure),
    }
});

/// A failure is one line, does nothing to a terminal, and names no secret.
fn check(failure: &Failure) {
    let text = failure.to_string();
    assert!(!text.contains('\n') && !text.contains(acts_on_terminal), "{text}");
    assert!(!text.contains("secret-"), "{text}");
    assert_ne!(failure.code.to_string(), "E-TIMEOUT", "{text}");
}
