//! Every source of credentials: its identity gets the token, and a second process makes no request at all.
//!
//! The stand-in's tokens begin with the access key that requested them, and its access keys name the request for them, e.g.
//! `ASIA-<role>-by-<access key>`.
//!
//! To add a source: write its settings with a [`Helper`] that has no other credentials ([`helper`]), have
//! `tests/support/aws.rs` and `tests/support/credentials.rs` answer its requests, and call [`cached_as`] with the access key
//! that the stand-in issues. Then change everything that decides the identity, and call it again. `identity.rs` checks
//! that one key means one principal.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::HOST;
use crate::helper::{Helper, Ran, lacks_unix, make_older};
use crate::issuers::{INSIDE, LOGIN, SSO, jwt, log_in, metadata_network, sign_in};
use crate::process::{end, settle, start, wait_until};
use crate::real_clients::finish;
use crate::support::aws::{Aws, Plan};

const BASE: &str = "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = b\n";

/// A helper without credentials, with `aws` as the endpoint of all services.
fn helper(aws: &Aws) -> Helper {
    Helper::bare().var("AWS_ENDPOINT_URL", &aws.url())
}

/// Asserts that a first `get` requests the token as `who`, and that a second one makes no request.
#[track_caller]
fn cached_as(aws: &Aws, helper: &Helper, who: &str) {
    let password = helper.get(HOST).password_for(HOST);
    assert!(password.starts_with(&format!("{who}.us-east-1.")), "{password} for {who}");
    let before = aws.count();
    assert_eq!(helper.get(HOST).password_for(HOST), password);
    assert_eq!(aws.count(), before, "{:?}", aws.calls().split_off(before));
}

#[test]
fn static_profile() {
    let aws = Aws::start();
    let helper = helper(&aws).var("AWS_PROFILE", "base");
    helper.write(".aws/config", BASE);
    cached_as(&aws, &helper, "AKIABASE");
    helper.write(".aws/config", &BASE.replace("AKIABASE", "AKIAEDITED"));
    cached_as(&aws, &helper, "AKIAEDITED");
}

#[test]
fn source_profile_chain() {
    let aws = Aws::start();
    let helper = helper(&aws).var("AWS_PROFILE", "top");
    let chain = "[profile top]\nrole_arn = arn:aws:iam::111122223333:role/Top\nsource_profile = middle\n\
                 [profile middle]\nrole_arn = arn:aws:iam::111122223333:role/Middle\nsource_profile = base\n";
    helper.write(".aws/config", &format!("{chain}{BASE}"));
    cached_as(&aws, &helper, "ASIA-Top-by-ASIA-Middle-by-AKIABASE");
    assert_eq!(aws.count_of("sts"), 2);
}

#[test]
fn credential_source_environment() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.write(
        ".config/docker-credential-ecr-login/config.toml",
        "[[registry]]\nmatch = '111122223333.*'\nprofile = 'role'\n",
    );
    let role = "[profile role]\nrole_arn = arn:aws:iam::111122223333:role/R\ncredential_source = Environment\n";
    helper.write(".aws/config", role);
    cached_as(&aws, &helper, "ASIA-R-by-AKIAEXAMPLE");
    let other = helper.var("AWS_ACCESS_KEY_ID", "AKIAOTHER");
    cached_as(&aws, &other, "ASIA-R-by-AKIAOTHER");
}

#[test]
fn credential_process() {
    if lacks_unix("credential_process by a shell") {
        return;
    }
    let aws = Aws::start();
    let helper = helper(&aws).var("WHO", "one");
    let script = helper.write(
        "process",
        "#!/bin/sh\necho run >> \"$HOME/runs\"\n\
         echo \"{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"AKIAPROCESS-$WHO\\\",\\\"SecretAccessKey\\\":\\\"s\\\"}\"\n",
    );
    let config = format!("[default]\ncredential_process = sh {}\n", script.display());
    helper.write(".aws/config", &config);
    let runs = |helper: &Helper| fs::read_to_string(helper.home().join("runs")).expect("runs").lines().count();
    settle(&[&helper.home().join(".aws/config"), &script]);
    cached_as(&aws, &helper, "AKIAPROCESS-one");
    assert_eq!(runs(&helper), 1);
    // Variables that a shell counts for itself change nothing; a variable that the process may read does.
    let helper = helper.var("SHLVL", "7").var("PWD", "/elsewhere");
    cached_as(&aws, &helper, "AKIAPROCESS-one");
    assert_eq!(runs(&helper), 1);
    let helper = helper.var("WHO", "two");
    cached_as(&aws, &helper, "AKIAPROCESS-two");
    let text = fs::read_to_string(&script).expect("the script");
    fs::write(&script, text.replace("AKIAPROCESS", "AKIAREWRITTEN")).expect("a write");
    cached_as(&aws, &helper, "AKIAREWRITTEN-two");
}

#[test]
fn web_identity_from_environment_and_profile() {
    let aws = Aws::start();
    for from_profile in [false, true] {
        let helper = helper(&aws);
        let file = helper.write("token", &jwt("pod-a", 1));
        let (role, path) = ("arn:aws:iam::111122223333:role/Irsa", file.to_str().expect("UTF-8"));
        let helper = if from_profile {
            helper.write(".aws/config", &format!("[default]\nrole_arn = {role}\nweb_identity_token_file = {path}\n"));
            helper
        } else {
            helper.var("AWS_ROLE_ARN", role).var("AWS_WEB_IDENTITY_TOKEN_FILE", path)
        };
        cached_as(&aws, &helper, "ASIA-Irsa-by-jwt");
        let calls = aws.count();
        helper.write("token", &jwt("pod-a", 2));
        cached_as(&aws, &helper, "ASIA-Irsa-by-jwt");
        assert_eq!(aws.count(), calls, "a rotated token is the same identity");
        helper.write("token", &jwt("pod-b", 1));
        cached_as(&aws, &helper, "ASIA-Irsa-by-jwt");
        assert_eq!(aws.count(), calls + 2, "another subject is another identity");
    }
}

const SESSION: &str = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";

#[test]
fn sso_in_both_forms_and_not_after_the_log_out() {
    let aws = Aws::start();
    let legacy = "[profile dev]\nsso_start_url = https://corp.example/start\nsso_region = eu-west-1\n".to_owned() + SSO;
    let session = format!("[profile dev]\nsso_session = corp\n{SSO}{SESSION}");
    for (config, file) in [(&legacy, "https://corp.example/start"), (&session, "corp")] {
        let helper = helper(&aws).var("AWS_PROFILE", "dev");
        helper.write(".aws/config", config);
        let file = sign_in(&helper, file, "2099-01-01T00:00:00Z");
        cached_as(&aws, &helper, "ASIA-sso-Developer");

        fs::remove_file(&file).expect("the log-out");
        let calls = aws.count();
        let line = helper.get(HOST).error().to_owned();
        assert!(line.contains("aws sso login --profile dev"), "{line}");
        assert_eq!(aws.count(), calls);

        // Another person may sign in next, so no earlier token is served.
        let name = if *config == legacy { "https://corp.example/start" } else { "corp" };
        let file = sign_in(&helper, name, "2099-01-01T00:00:00Z");
        let other = fs::read_to_string(&file).expect("a sign-in").replace("sso-access", "of-another-person");
        fs::write(&file, other).expect("a write");
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), calls + 2, "SSO and ECR");
    }
}

#[test]
fn sso_session_that_is_refreshed_on_the_way() {
    let aws = Aws::start();
    let helper = helper(&aws).var("AWS_PROFILE", "dev");
    helper.write(".aws/config", &format!("[profile dev]\nsso_session = corp\n{SSO}{SESSION}"));
    sign_in(&helper, "corp", "2020-01-01T00:00:00Z");
    cached_as(&aws, &helper, "ASIA-sso-Developer");
    assert_eq!(aws.count_of("sso-oidc"), 1);
}

/// A sign-in that expires in a few minutes, as the AWS CLI writes it.
fn sign_in_that_ends_soon(helper: &Helper) -> std::path::PathBuf {
    let soon = OffsetDateTime::now_utc().replace_nanosecond(0).expect("a second") + Duration::from_mins(3);
    sign_in(helper, "corp", &soon.format(&Rfc3339).expect("a time"))
}

/// The service gives each refresh token one successor, so that a renewal without its answer is the end of the sign-in.
#[test]
fn a_slow_renewal_is_not_cut_off_because_a_valid_token_is_cached() {
    let aws = Aws::start();
    let helper = helper(&aws).var("AWS_PROFILE", "dev").var("AWS_MAX_ATTEMPTS", "1");
    helper.write(".aws/config", &format!("[profile dev]\nsso_session = corp\n{SSO}{SESSION}"));
    let file = sign_in_that_ends_soon(&helper);
    aws.change(|plan| (plan.service, plan.failures) = ("sso-oidc", usize::MAX));
    let first = helper.get(HOST).password_for(HOST);
    make_older(&helper, Duration::from_hours(7));
    aws.change(|plan| (plan.failures, plan.delay) = (0, Duration::from_secs(3)));
    assert_ne!(helper.get(HOST).password_for(HOST), first);
    let renewed = fs::read_to_string(&file).expect("a sign-in");
    assert!(renewed.contains(r#""accessToken":"refreshed""#), "{renewed}");
}

/// The service accepts a refresh token once.
#[test]
fn many_profiles_of_one_session_renew_it_once() {
    let aws = Aws::start();
    let helper = helper(&aws);
    let account = |number: u8| SSO.replace("3333", &format!("333{number}"));
    let profile = |number: u8| format!("[profile p{number}]\nsso_session = corp\n{}", account(number));
    let profiles: Vec<String> = (0..6).map(profile).collect();
    helper.write(".aws/config", &format!("{}{SESSION}", profiles.concat()));
    for is_expired in [true, false] {
        if is_expired {
            sign_in(&helper, "corp", "2020-01-01T00:00:00Z");
        } else {
            sign_in_that_ends_soon(&helper);
        }
        let before = aws.count_of("sso-oidc");
        aws.change(|plan| (plan.service, plan.delay) = ("sso-oidc", Duration::from_secs(2)));
        let start = |number| {
            let mut command = helper.command();
            start(command.arg("get").env("AWS_PROFILE", format!("p{number}")), HOST)
        };
        let children: Vec<_> = (0..6).map(start).collect();
        for child in children {
            Ran::new(end(child), Duration::ZERO).password_for(HOST);
        }
        assert_eq!(aws.count_of("sso-oidc"), before + 1, "{is_expired}");
    }
}

/// As two processes of the AWS CLI do, and those of the helper where a lock is out of reach: the one that was first stores the sign-in
/// before the other one is refused, or a moment later.
#[test]
fn a_renewal_that_another_process_has_made_first_is_no_end_of_the_sign_in() {
    type SignIn = fn(&Helper, &str) -> std::path::PathBuf;
    let sso: SignIn = |helper, expires_at| sign_in(helper, "corp", expires_at);
    let login: SignIn = |helper, expires_at| log_in(helper, "ASIA-login", expires_at);
    let sso = (format!("sso_session = corp\n{SSO}{SESSION}"), sso, "sso-oidc", "ASIA-sso-Developer");
    let login = (format!("login_session = {LOGIN}\n"), login, "container", "ASIA-login");
    for (config, sign_in, service, who) in [sso, login] {
        for delay in [1000, 0] {
            let failure = (400, "InvalidGrantException", "");
            let delay = Duration::from_millis(delay);
            let aws = Aws::with(Plan { service, delay, failures: usize::MAX, failure, ..Plan::default() });
            let helper = helper(&aws).var("AWS_REGION", "us-east-1");
            helper.write(".aws/config", &format!("[default]\n{config}"));
            sign_in(&helper, "2020-01-01T00:00:00Z");
            let child = helper.start(&["get"], HOST.as_bytes());
            wait_until("the renewal", Duration::from_secs(20), || aws.count_of(service) > 0);
            sign_in(&helper, "2099-01-01T00:00:00Z");
            let password = Ran::new(end(child), Duration::ZERO).password_for(HOST);
            assert!(password.starts_with(who), "{password}");
            helper.get(HOST).password_for(HOST);
            assert_eq!((aws.count_of(service), aws.count_of("ecr")), (1, 1), "{service} {delay:?}");
        }
    }
}

/// Another program renews the sign-in, or a person signs in anew, while the service refuses what the sign-in was before: whatever it says,
/// and whichever command learns of it, that is about the old one.
#[test]
fn an_answer_to_an_old_refresh_token_says_nothing_about_the_sign_in_that_has_replaced_it() {
    let aws = Aws::start();
    let mut signed_in = Vec::new();
    for (kind, error) in [
        ("sso", "invalid_grant"),
        ("sso", "access_denied"),
        ("login", "TOKEN_EXPIRED"),
        ("login", "USER_CREDENTIALS_CHANGED"),
        ("login", "INSUFFICIENT_PERMISSIONS"),
    ] {
        for command in ["get", "doctor", "login"] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let service = format!("http://{}", listener.local_addr().expect("an address"));
            let helper = helper(&aws).var("AWS_REGION", "us-east-1").var("HTTPS_PROXY", "http://127.0.0.1:1");
            let helper = helper.var("AWS_ENDPOINT_URL_SIGNIN", &service).var("AWS_ENDPOINT_URL_SSO_OIDC", &service);
            let until = OffsetDateTime::now_utc() + Duration::from_secs(5);
            let write = |expires_at: &str| match kind {
                "sso" => sign_in(&helper, "corp", expires_at),
                _ => log_in(&helper, "ASIA-login", expires_at),
            };
            let new = fs::read_to_string(write("2099-01-01T00:00:00Z")).expect("a sign-in");
            let file = write(&until.format(&Rfc3339).expect("a time"));
            let config = match kind {
                "sso" => format!("sso_session = corp\n{SSO}{SESSION}"),
                _ => format!("login_session = {LOGIN}\n"),
            };
            helper.write(".aws/config", &format!("[default]\n{config}"));
            let is_replaced = Arc::new(AtomicBool::new(false));
            let (replaces, path) = (is_replaced.clone(), file.clone());
            let answer = move || {
                let (path, new) = (path.clone(), new.clone());
                if replaces.load(Relaxed) {
                    // A moment later, as the one that was given the next refresh token.
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(if error == "invalid_grant" { 200 } else { 0 }));
                        fs::write(&path, &new).expect("a write");
                    });
                }
                (axum::http::StatusCode::BAD_REQUEST, format!(r#"{{"error":"{error}","message":"no"}}"#))
            };
            crate::support::serve(listener, axum::Router::new().fallback(move || std::future::ready(answer())));
            helper.get(HOST).password_for(HOST);
            make_older(&helper, Duration::from_hours(7));
            signed_in.push((helper, command, until, is_replaced, format!("{kind} {error} {command}")));
        }
    }
    for (helper, command, until, is_replaced, what) in signed_in {
        while OffsetDateTime::now_utc() <= until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let before = helper.entries();
        is_replaced.store(true, Relaxed);
        let ran = match command {
            "get" => helper.get(HOST),
            "doctor" => helper.run(&["doctor", "-v", HOST], ""),
            _ => helper.run(&["login", HOST], ""),
        };
        let is_good = if command == "doctor" { ran.stdout.contains("AWS issued one") } else { ran.code == Some(0) };
        assert!(is_good, "{what}: {ran:?}");
        let left = helper.entries();
        assert!(before.iter().all(|entry| left.contains(entry)), "{what}");
    }
}

/// The forms are those that botocore reads and that programs write, e.g. by `strftime` in Python.
#[test]
fn a_sign_in_counts_until_its_time_in_each_form_that_the_aws_cli_reads() {
    for (is_valid, expires_at) in [
        (true, "2099-01-01T00:00:00Z"),
        (true, "2099-01-01T00:00:00UTC"),
        (true, "2099-01-01T00:00:00+00:00"),
        (true, "2099-01-01T00:00:00+0000"),
        (true, "2099-01-01T00:00:00.123-0330"),
        (false, "2020-01-01T00:00:00+0000"),
        (false, "2099-01-01T00:00:00+9900"),
        (false, "2099-01-01T00:00:00+0ä00"),
        (false, "+0000"),
        (false, "2099-0000"),
    ] {
        let aws = Aws::with(Plan { service: "sso-oidc", failures: usize::MAX, ..Plan::default() });
        for is_sso in [true, false] {
            let helper =
                helper(&aws).var("AWS_REGION", "us-east-1").var("AWS_ENDPOINT_URL_SIGNIN", "http://127.0.0.1:1");
            let helper = helper.var("AWS_MAX_ATTEMPTS", "1");
            let config = if is_sso {
                sign_in(&helper, "corp", expires_at);
                format!("sso_session = corp\n{SSO}{SESSION}")
            } else {
                log_in(&helper, "ASIA-login", expires_at);
                format!("login_session = {LOGIN}\n")
            };
            helper.write(".aws/config", &format!("[default]\n{config}"));
            let ran = helper.get(HOST);
            assert_eq!(ran.code == Some(0), is_valid, "{expires_at}: {ran:?}");
        }
    }
}

#[test]
fn aws_login_session() {
    let aws = Aws::start();
    let helper = helper(&aws);
    helper.write(".aws/config", &format!("[default]\nlogin_session = {LOGIN}\n"));
    let file = log_in(&helper, "ASIA-login", "2099-01-01T00:00:00Z");
    cached_as(&aws, &helper, "ASIA-login");
    fs::remove_file(file).expect("the log-out");
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains("aws login --profile default"), "{line}");
}

/// While the service answers a request for a renewal, a person signs in anew, or out. What a renewal replaces keeps its mode and what else
/// it holds.
#[test]
fn the_renewal_of_an_aws_login_session_is_written_over_no_other_one() {
    let aws = Aws::start();
    for (change, expected) in [(None, "ASIA-renewed"), (Some("ASIA-new"), "ASIA-new"), (Some(""), "")] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let helper = helper(&aws).var("AWS_REGION", "us-east-1").var("AWS_ENDPOINT_URL_SIGNIN", &url);
        helper.write(".aws/config", &format!("[default]\nlogin_session = {LOGIN}\n"));
        let new = change.filter(|id| !id.is_empty()).map(|id| {
            let file = log_in(&helper, id, "2099-01-01T00:00:00Z");
            fs::read_to_string(file).expect("a session")
        });
        let file = log_in(&helper, "ASIA-old", "2020-01-01T00:00:00Z");
        let old = fs::read_to_string(&file).expect("a session").replace("{\"access", "{\"other\":[1],\"access");
        fs::write(&file, old).expect("a write");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).expect("a mode");
        let path = file.clone();
        let answer = move || {
            match (change, &new) {
                (None, _) => {}
                (Some(_), Some(new)) => fs::write(&path, new).expect("a write"),
                (Some(_), None) => fs::remove_file(&path).expect("a file"),
            }
            r#"{"accessToken":{"accessKeyId":"ASIA-renewed","secretAccessKey":"s","sessionToken":"t"},
                "tokenType":"aws_sigv4","expiresIn":900,"refreshToken":"r2"}"#
        };
        crate::support::serve(listener, axum::Router::new().fallback(move || std::future::ready(answer())));
        let ran = helper.get(HOST);
        if expected.is_empty() {
            assert!(ran.error().contains("aws login") && !file.exists(), "{ran:?}");
            continue;
        }
        assert!(ran.password_for(HOST).starts_with(expected), "{ran:?}");
        let now = fs::read_to_string(&file).expect("a session");
        assert!(now.contains(expected) && now.contains("\"other\":[1]") == change.is_none(), "{now}");
        let mode = fs::metadata(&file).expect("a file").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o640);
    }
}

#[test]
fn container_full_uri_with_a_token_file() {
    let aws = Aws::start();
    let helper = helper(&aws).var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/v1/credentials", aws.url()));
    let file = helper.write("token", &jwt("system:serviceaccount:a:pod", 1));
    let helper = helper.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().expect("UTF-8"));
    cached_as(&aws, &helper, "ASIA-container-v1-credentials");
    let calls = aws.count();
    helper.write("token", &jwt("system:serviceaccount:a:pod", 2));
    cached_as(&aws, &helper, "ASIA-container-v1-credentials");
    assert_eq!(aws.count(), calls, "a rotated token is the same pod");
    helper.write("token", &jwt("system:serviceaccount:b:pod", 1));
    cached_as(&aws, &helper, "ASIA-container-v1-credentials");
    assert_eq!(aws.count(), calls + 2, "another service account");
}

#[test]
fn ecs_eks_and_instance_roles_at_their_fixed_addresses() {
    let aws = Aws::start();
    let Some(network) = metadata_network(&aws, "fixed addresses") else { return };
    let inside = || Helper::bare().inside(&network).var("AWS_ENDPOINT_URL", INSIDE);
    let task = inside().var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/task-1");
    cached_as(&aws, &task, "ASIA-container-v2-credentials-task-1");
    let task = task.var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/task-2");
    cached_as(&aws, &task, "ASIA-container-v2-credentials-task-2");

    let pod = inside().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
    let file = pod.write("token", "no JWT but a token");
    let pod = pod.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().expect("UTF-8"));
    cached_as(&aws, &pod, "ASIA-container-v1-credentials");
    assert_eq!(aws.count_of("imds"), 0);

    let instance = inside();
    cached_as(&aws, &instance, "ASIA-instance");
    assert!(aws.count_of("imds") > 0);

    for (source, who) in
        [("Ec2InstanceMetadata", "ASIA-R-by-ASIA-instance"), ("EcsContainer", "ASIA-R-by-ASIA-container-v2-c")]
    {
        let role = inside().var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/c");
        let config = format!("[default]\nrole_arn = arn:aws:iam::111122223333:role/R\ncredential_source = {source}\n");
        role.write(".aws/config", &config);
        cached_as(&aws, &role, who);
    }
}

#[test]
fn a_metadata_service_that_denies_access_is_named() {
    let plan = Plan { service: "imds", failures: usize::MAX, failure: (403, "Forbidden", "no"), ..Plan::default() };
    let aws = Aws::with(plan);
    let Some(network) = metadata_network(&aws, "forbidden metadata") else { return };
    let ran = Helper::bare().inside(&network).var("AWS_ENDPOINT_URL", INSIDE).get(HOST);
    for word in ["no AWS credentials found", "instance metadata service", "AWS_PROFILE"] {
        assert!(ran.error().contains(word), "{word} in {ran:?}");
    }
}

#[test]
fn a_home_directory_carries_no_instance_token_to_another_machine() {
    let aws = Aws::start();
    let Some(network) = metadata_network(&aws, "another machine") else { return };
    let helper = Helper::bare().inside(&network).var("AWS_ENDPOINT_URL", INSIDE);
    cached_as(&aws, &helper, "ASIA-instance");
    let boot = helper.write("boot", "11111111-2222-3333-4444-555555555555\n");
    let mut mount = network.command("mount");
    finish(mount.args(["--bind", boot.to_str().expect("UTF-8"), "/proc/sys/kernel/random/boot_id"]));
    aws.change(|plan| plan.session = "of-the-other-machine");
    let calls = aws.count_of("ecr");
    cached_as(&aws, &helper, "ASIA-instance");
    assert_eq!(aws.count_of("ecr"), calls + 1, "the other machine requests its own token");
}
