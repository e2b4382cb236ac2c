//! Each stable code is held by a test: most are provoked here, once, the others where the list at the end says.

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use docker_credential_ecr_login::code::Code;
use sha1::{Digest, Sha1};

use crate::HOST;
use crate::doctor::Healthy;
use crate::helper::{Helper, SECRET_KEY};
use crate::namespace::{Namespace, skip};
use crate::process::{stop, wait_until};
use crate::support::aws::{Aws, Plan};
use crate::support::tls::Authority;

/// What libraries print of themselves, and no person reads.
pub const INTERNALS: &[&str] = &["{", "Some(", "SdkBody", "Os {", "Error(", "Err(", "kind:"];

/// Asserts that a line for people ends with this code, and shows no value as a library prints it.
#[track_caller]
fn has(line: &str, code: &str) {
    assert!(line.trim_end().ends_with(&format!("[{code}]")), "{code}: {line}");
    for internal in INTERNALS {
        assert!(!line.contains(internal), "{internal} in {line}");
    }
}

/// Asserts that `get` fails with this code.
#[track_caller]
fn get(helper: &Helper, code: &str) {
    has(helper.get(HOST).error(), code);
}

/// Asserts that `doctor` has a line with this code.
#[track_caller]
fn doctor(helper: &Helper, hosts: &[&str], code: &str) {
    let text = helper.run(&[&["doctor"], hosts].concat(), "").stdout;
    let end = format!("[{code}]");
    has(text.lines().find(|line| line.ends_with(&end)).unwrap_or_else(|| panic!("{code}: {text}")), code);
}

/// A helper with keys whose requests of this service fail like this.
fn failing(service: &'static str, failure: (u16, &'static str, &'static str)) -> (Aws, Helper) {
    let aws = Aws::with(Plan { service, failures: usize::MAX, failure, ..Plan::default() });
    let helper = Helper::of(&aws);
    (aws, helper)
}

/// A helper with this AWS config file.
fn with_config(config: &str) -> Helper {
    let helper = Helper::bare();
    helper.write(".aws/config", config);
    helper
}

/// Puts a script on the PATH, which has nothing else.
fn with_program(helper: Helper, name: &str, script: &str) -> Helper {
    let path = helper.write_program(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
    let bin = path.parent().expect("a directory").display().to_string();
    helper.var("PATH", &bin)
}

#[test]
fn of_the_machine_and_its_clients() {
    doctor(&with_program(Helper::bare(), "docker-credential-ecr-login", "exit"), &[HOST], "W-PROGRAM-SHADOWED");
    doctor(&Helper::bare().var("SUDO_USER", "me"), &[HOST], "W-SUDO");
    doctor(&Helper::bare().var("AWS_ECR_TIMEOT", "1s"), &[HOST], "W-VARIABLE-MISSPELT");
    doctor(&Helper::bare().var("AWS_ECR_LOG_FILE", "~/missing/log"), &[HOST], "W-LOG-UNUSED");
    doctor(&Helper::bare().var("PATH", "/nonexistent"), &[], "W-NO-CLIENT");
    doctor(&Helper::bare().var("PATH", "/nonexistent"), &[], "E-PROGRAM-NOT-ON-PATH");
}

#[test]
fn of_the_settings() {
    get(&with_config(&"x".repeat(9 * 1024 * 1024)), "E-AWS-FILE-INVALID");
    let role = "[default]\nrole_arn = arn:aws:iam::111122223333:role/R\nsource_profile = b\n";
    get(&with_config(&format!("{role}[profile b]\nregion = us-east-1\n")), "E-PROFILE-INVALID");
    get(&Helper::bare().var("AWS_PROFILE", "gone"), "E-PROFILE-MISSING");
    get(&with_config("[default]\ncredential_process = false\n"), "E-CREDENTIAL-PROCESS");
    get(&with_config("[default]\nlogin_session = arn:aws:iam::111122223333:user/me\n"), "E-LOGIN-EXPIRED");
    get(&Helper::bare(), "E-CREDENTIALS-MISSING");
    // The SDK sends it in a header.
    get(&Helper::bare().var("AWS_EXECUTION_ENV", "a\nb"), "E-SETTING-INVALID");
    let token_file = Helper::bare().var("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent");
    get(&token_file.var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R"), "E-SOURCE-FILE");
    let job = Helper::bare();
    let table = "[[registry]]\nmatch = '*'\nrole_arn = 'arn:aws:iam::111122223333:role/R'\nweb_identity = 'github'\n";
    job.write(".config/docker-credential-ecr-login/config.toml", table);
    get(&job, "E-IDENTITY-TOKEN-MISSING");
    let aws = Aws::start();
    get(&Helper::of(&aws).var("AWS_CA_BUNDLE", "/nonexistent"), "E-CA-BUNDLE");
}

#[test]
fn of_a_sign_in_whose_role_is_denied() {
    let failure = (403, "ForbiddenException", "No access");
    let (_aws, helper) = failing("sso", failure);
    let helper = helper.without_keys();
    helper.write(
        ".aws/config",
        "[default]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = R\n\
         [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n",
    );
    let sign_in = r#"{"accessToken":"session-secret","expiresAt":"2099-01-01T00:00:00Z"}"#;
    helper.write(&format!(".aws/sso/cache/{:x}.json", Sha1::digest("corp")), sign_in);
    get(&helper, "E-SSO-DENIED");
}

#[test]
fn of_refusals_by_a_service() {
    for (failure, code) in [
        ((400, "UnrecognizedClientException", "invalid"), "E-CREDENTIALS-INVALID"),
        ((400, "ExpiredTokenException", "expired"), "E-CREDENTIALS-EXPIRED"),
        ((400, "InvalidSignatureException", "Signature expired: 2026 is now earlier than 2026"), "E-CLOCK-SKEW"),
        ((400, "SomethingException", "something"), "E-SERVICE-ERROR"),
        ((400, "ThrottlingException", "Rate exceeded"), "E-THROTTLED"),
        ((400, "AccessDeniedException", "User: x is not authorized"), "E-ECR-DENIED"),
    ] {
        let (_aws, helper) = failing("ecr", failure);
        get(&helper, code);
    }
    for (failure, code) in [
        ((403, "AccessDenied", "User: x is not authorized"), "E-ROLE-DENIED"),
        ((403, "RegionDisabledException", "STS is not activated in this region"), "E-REGION-DISABLED"),
    ] {
        let (_aws, helper) = failing("sts", failure);
        get(&helper.var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/R"), code);
    }
    let (_aws, helper) = failing("sts", (400, "InvalidIdentityToken", "No OpenIDConnect provider found"));
    let token = helper.write("token", "a.b.c");
    let helper = helper.without_keys().var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R");
    get(&helper.var("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("UTF-8")), "E-WEB-IDENTITY-DENIED");
    let (aws, helper) = failing("sts", (400, "SomethingException", "something"));
    let helper = helper.var("HTTPS_PROXY", "http://127.0.0.1:1");
    doctor(&helper, &[HOST], "W-PRINCIPAL-UNKNOWN");
    aws.change(|plan| plan.life = -1);
    doctor(&helper, &[HOST], "W-TOKEN-UNCACHEABLE");
}

#[test]
fn of_the_network() {
    let aws = Aws::start();
    let at = |url: &str| Helper::of(&aws).var("AWS_ENDPOINT_URL", url).var("AWS_MAX_ATTEMPTS", "1");
    get(&at("http://127.0.0.1:1"), "E-ENDPOINT-UNREACHABLE");
    get(&at("http://127.0.0.1:1").var("AWS_USE_FIPS_ENDPOINT", "true"), "E-NO-ENDPOINT");
    get(&at("").var("HTTPS_PROXY", "http://127.0.0.1:1"), "E-PROXY");
    get(&at(&aws.url().replace("http:", "https:")), "E-TLS-FAILED");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let (server, other) = (Authority::for_names(&["localhost"]), Authority::for_names(&["localhost"]));
    server.serve(listener, aws.app());
    get(&at(&url).var("AWS_CA_BUNDLE", other.bundle().to_str().expect("UTF-8")), "E-TLS-UNTRUSTED");
    aws.change(|plan| plan.junk = Some("{}"));
    get(&Helper::of(&aws), "E-ANSWER-INVALID");
}

#[test]
fn of_a_host_that_is_no_registry() {
    let Some(Healthy { aws: _aws, helper }) = Healthy::with("a host that is no registry", &[HOST], Router::new())
    else {
        return;
    };
    doctor(&helper, &[HOST], "E-REGISTRY-ANSWER");
}

#[test]
fn of_the_protocol_and_of_commands() {
    let helper = Helper::bare();
    has(helper.run(&["store"], "junk").stdout.trim_end(), "E-REQUEST-INVALID");
    let full = fs::File::options().write(true).open("/dev/full").expect("a device");
    for args in [&["list"][..], &["help"], &["help", "setup"], &["doctor", "--help"], &["version"]] {
        let mut command = helper.command();
        let full = full.try_clone().expect("a device");
        let output = command.args(args).stdin(Stdio::null()).stdout(full).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        has(&String::from_utf8_lossy(&output.stderr), "E-WRITE-FAILED");
    }
    let homeless = Helper::bare().var("HOME", "relative");
    has(&homeless.run(&["setup", HOST], "").stderr, "E-HOME-MISSING");
    has(&helper.run(&["get-login-password"], "").stderr, "E-REGION-MISSING");
    let mfa = "[default]\nrole_arn = arn:aws:iam::111122223333:role/R\nsource_profile = b\n\
               mfa_serial = arn:aws:iam::111122223333:mfa/me\n";
    let keys = format!("[profile b]\naws_access_key_id = AKIA\naws_secret_access_key = {SECRET_KEY}\n");
    let helper = with_config(&format!("{mfa}{keys}"));
    let mut command = helper.tool("setsid");
    let output =
        command.arg("--wait").arg(crate::helper::program()).args(["login", HOST]).output().expect("setsid runs");
    has(&String::from_utf8_lossy(&output.stderr), "E-UNANSWERED");
}

#[test]
fn of_the_fallback_helper() {
    let helper = Helper::bare();
    helper.write(".config/docker-credential-ecr-login/config.toml", "fallback = 'keeper'\n");
    has(helper.get("ghcr.io").error(), "E-FALLBACK-MISSING");
    let helper = with_program(helper, "docker-credential-keeper", "exit 1");
    has(helper.get("ghcr.io").error(), "E-FALLBACK-FAILED");
}

/// As many open files as the program starts with, and no more.
#[test]
fn of_limits() {
    let output = Helper::bare().under("prlimit", &["--nofile=6"], &[], HOST);
    has(&String::from_utf8_lossy(&output.stdout), "E-SYSTEM-LIMITS");
}

#[test]
fn of_a_process_that_waits_for_another() {
    let aws = Aws::with(Plan { delay: Duration::from_mins(1), ..Plan::default() });
    let mut helper = Helper::of(&aws);
    let mut first = helper.start(&["get"], HOST.as_bytes());
    wait_until("the first request", Duration::from_secs(20), || aws.count() == 1);
    helper.set("AWS_ECR_TIMEOUT", "500ms");
    get(&helper, "E-BUSY");
    stop(&mut first);
}

#[test]
fn of_a_cache_on_a_read_only_disk() {
    if !nix::unistd::geteuid().is_root() {
        return skip("the code of a cache that cannot be cleared", "mounts need root");
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let _ = helper.get(HOST).password_for(HOST);
    let dir = helper.cache_dir();
    let dir = dir.display();
    let namespace = Namespace::of_mounts(&format!("mount --bind {dir} {dir}\nmount -o remount,bind,ro {dir}"));
    let helper = helper.inside(&Rc::new(namespace));
    has(&helper.run(&["logout", HOST], "").stderr, "E-CACHE-NOT-CLEARED");
    has(&helper.run(&["logout", "--all"], "").stderr, "E-CACHE-NOT-CLEARED");
}

/// Codes that no line here or in another test of a process ends with, and why.
const ELSEWHERE: &[(Code, &str)] =
    &[(Code::Internal, "no input is known that leads to a defect; a test of src/error.rs prints it")];

#[test]
fn every_code_is_in_some_test() {
    let files = fs::read_dir("tests/suite").expect("the suite").map(|entry| entry.expect("an entry").path());
    let texts: String = files.filter_map(|path| fs::read_to_string(path).ok()).collect();
    for code in Code::ALL {
        let is_elsewhere = ELSEWHERE.iter().any(|(known, _)| known == code);
        assert_eq!(texts.contains(code.name()), !is_elsewhere, "{code}");
    }
}
