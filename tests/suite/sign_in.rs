//! `login`, `logout` and `cache`: MFA codes and sign-ins, for which a credential helper cannot prompt, and the cached
//! tokens.

use std::time::Duration;

use serde_json::Value;

use crate::HOST;
use crate::helper::{Helper, SECRET_KEY, make_older, program};
use crate::namespace::{missing, skip};
use crate::process::{end, output, run, settle, start};
use crate::support::aws::{Aws, Plan};

const FAR: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
const SERIAL: &str = "arn:aws:iam::111122223333:mfa/me";

/// STS that wants the code 123456.
fn with_mfa() -> Aws {
    Aws::with(Plan { mfa_code: Some("123456"), ..Plan::default() })
}

fn with_profile(aws: &Aws, config: &str) -> Helper {
    let helper = Helper::of(aws).without_keys().var("AWS_PROFILE", "dev");
    helper.write(".aws/config", config);
    helper
}

fn role() -> String {
    format!(
        "[profile dev]\nrole_arn = arn:aws:iam::111122223333:role/Pull\nsource_profile = base\nmfa_serial = {SERIAL}\n\
         [profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = {SECRET_KEY}\n"
    )
}

#[test]
fn login_asks_for_the_code_of_a_role_and_docker_then_works_for_hours() {
    if missing(&["script"]).is_some() {
        return skip("login with MFA", "script is not installed");
    }
    let aws = with_mfa();
    let helper = with_profile(&aws, &role());
    let ran = helper.get(HOST);
    for words in ["requires an MFA code", &format!("run 'docker-credential-ecr-login login {HOST}'")] {
        assert!(ran.error().contains(words), "{words} in {ran:?}");
    }
    // The first code is a slip, the second is no code, and the third comes in two groups, as apps show it.
    let image = format!("docker://{HOST}/team/app:1");
    let (screen, code) = helper.on_terminal(&["login", &image], "654321\n12345\n123 456\n");
    assert_eq!(code, Some(0), "{screen}");
    for words in [
        &format!("MFA code of {SERIAL}: "),
        "AWS does not accept the MFA code",
        &format!("logged in to {HOST}: the cached token is valid for 1"),
        ", until 20",
    ] {
        assert!(screen.contains(words), "{words} in {screen}");
    }
    let calls = aws.count();
    let password = helper.get(HOST).password_for(HOST);
    assert!(password.starts_with("ASIA-Pull-by-AKIABASE"), "{password}");
    // Half a life later its refresh fails, for want of a code, and the token goes on.
    make_older(&helper, Duration::from_hours(7));
    assert_eq!(helper.get(HOST).password_for(HOST), password);
    assert!(aws.count() <= calls + 1);
    make_older(&helper, Duration::from_hours(13));
    assert!(helper.get(HOST).error().contains("login"));
}

/// A key of a terminal in Latin-1 is a slip too, and the end of the input is none of a missing terminal.
#[test]
fn login_asks_again_after_what_is_no_text_and_knows_its_terminal_at_the_end_of_the_input() {
    if missing(&["script"]).is_some() {
        return skip("login with MFA", "script is not installed");
    }
    let helper = with_profile(&with_mfa(), &role());
    // What is shown has the byte too.
    let mut command = helper.tool("script");
    command.args(["-qec", &format!("{} login {HOST}", program().display()), "/dev/null"]);
    let ended = end(start(&mut command, b"12\xe43456\n123456\n"));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    let (screen, code) = helper.on_terminal(&["login", HOST], "\x04");
    assert!(code != Some(0) && screen.contains("the input ended before an answer; run this again: "), "{screen}");
}

/// Each directory is an identity of its own. The token of the person's login counts for the same keys and the same role.
#[test]
fn a_login_with_the_code_of_a_role_counts_for_the_same_keys_in_every_directory() {
    if missing(&["script"]).is_some() {
        return skip("login with MFA and a process", "script is not installed");
    }
    let aws = with_mfa();
    let helper = with_profile(&aws, "");
    let script = helper.write(
        "process",
        r#"echo '{"Version":1,"AccessKeyId":"AKIAPROCESS","SecretAccessKey":"s","SessionToken":"t"}'"#,
    );
    let process = format!("credential_process = /bin/sh {}\n", script.display());
    let keys = format!("aws_access_key_id = AKIABASE\naws_secret_access_key = {SECRET_KEY}\n");
    let config = helper.write(".aws/config", &role().replace(&keys, &process));
    settle(&[&script, &config]);
    assert!(helper.get(HOST).error().contains("requires an MFA code"));
    let (screen, code) = helper.on_terminal(&["login", HOST], "123456\n");
    assert_eq!(code, Some(0), "{screen}");
    let calls = aws.count();
    let other = helper.home().join("other");
    std::fs::create_dir(&other).expect("a directory");
    let elsewhere = |host| run(helper.command().arg("get").current_dir(&other), host);
    let password = elsewhere(HOST).password_for(HOST);
    assert!(password.starts_with("ASIA-Pull-by-AKIAPROCESS"), "{password}");
    assert_eq!(aws.count(), calls);
    assert!(elsewhere(FAR).error().contains("requires an MFA code"), "another region");
}

#[test]
fn login_asks_for_the_code_of_a_user() {
    if missing(&["script"]).is_some() {
        return skip("login of a user with MFA", "script is not installed");
    }
    let aws = with_mfa();
    let helper = with_profile(
        &aws,
        &format!("[profile dev]\nmfa_serial = {SERIAL}\naws_access_key_id = AKIAUSER\naws_secret_access_key = s\n"),
    );
    let (screen, code) = helper.on_terminal(&["login", HOST], "123456\n");
    assert_eq!(code, Some(0), "{screen}");
    assert!(helper.get(HOST).password_for(HOST).starts_with("ASIA--by-AKIAUSER"));
    let session = aws.calls().into_iter().find(|call| call.operation == "GetSessionToken").expect("a session");
    assert!(session.body.contains("TokenCode=123456") && session.body.contains("mfa%2Fme"), "{}", session.body);
}

/// A signal at the prompt would leave the terminal as the program has set it.
#[test]
fn login_does_not_change_the_terminal() {
    if missing(&["script", "strace"]).is_some() {
        return skip("the settings of the terminal", "script or strace is not installed");
    }
    let aws = with_mfa();
    let helper = with_profile(&aws, &role());
    let trace = helper.home().join("trace");
    let traced = format!("strace -f -e trace=ioctl -o '{}' '{}'", trace.display(), crate::helper::program().display());
    let mut command = helper.tool("script");
    command.args(["-qec", &format!("{traced} login {HOST}"), "/dev/null"]);
    let ran = crate::process::run(&mut command, "123456\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let trace = std::fs::read_to_string(trace).expect("a trace");
    assert!(trace.contains("exited with 0") && !trace.contains("TCSET"), "{trace}");
}

/// It has no time to put back what it has set when a signal ends it.
#[test]
fn login_puts_the_terminal_back_that_the_aws_cli_has_left_without_echo() {
    if missing(&["script", "stty"]).is_some() {
        return skip("the settings of the terminal", "script or stty is not installed");
    }
    let aws = Aws::start();
    let config = format!("[profile dev]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
    for end in ["kill -KILL $$", "kill -TERM $$", "exit 1", "exit 0"] {
        let helper = with_profile(&aws, &config);
        helper.write_program("bin/aws", &format!("#!/bin/sh\nstty -echo -icanon </dev/tty\n{end}\n"));
        let helper = helper.var("PATH", "/usr/bin:/bin");
        let run = format!(
            "stty -a >\"$HOME/before\"\nPATH=\"$HOME/bin:$PATH\" {} login {HOST}\nstty -a >\"$HOME/after\"\n",
            crate::helper::program().display()
        );
        let run = helper.write("run", &run);
        let mut command = helper.tool("script");
        let ran = crate::process::run(command.args(["-qc", &format!("sh {}", run.display()), "/dev/null"]), "");
        let settings = |name| std::fs::read_to_string(helper.home().join(name)).expect("settings");
        assert!(ran.stdout.contains("running 'aws sso login"), "{end}: {ran:?}");
        assert_eq!(settings("after"), settings("before"), "{end}: {ran:?}");
    }
}

/// A code is valid once, so it is not asked for in vain.
#[test]
fn login_says_that_it_cannot_cache_before_it_asks() {
    let aws = with_mfa();
    let helper = with_profile(&aws, &role()).var("AWS_ECR_DISABLE_CACHE", "1");
    let ran = helper.run(&["login", HOST], "");
    assert!(ran.code == Some(1) && ran.stderr.contains("AWS_ECR_DISABLE_CACHE"), "{ran:?}");
    let ran = with_profile(&aws, &role()).var("AWS_ECR_CACHE_DIR", "/proc/none").run(&["login", HOST], "");
    let fix = "name another directory with AWS_ECR_CACHE_DIR";
    assert!(ran.code == Some(1) && ran.stderr.contains(fix), "{ran:?}");
    assert_eq!(aws.count(), 0);
}

#[test]
fn without_a_terminal_login_fails_and_never_reads_standard_input() {
    if missing(&["setsid"]).is_some() {
        return skip("login without a terminal", "setsid is not installed");
    }
    let aws = with_mfa();
    let helper = with_profile(&aws, &role());
    let mut command = helper.tool("setsid");
    let output = output(command.arg("--wait").arg(crate::helper::program()).args(["login", HOST]));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && text.contains("there is no terminal") && text.contains("on a terminal"),
        "{text}"
    );
    assert_eq!(aws.count(), 0);
}

#[test]
fn a_sign_in_that_has_expired_is_renewed_by_the_aws_cli() {
    let aws = Aws::start();
    let config = format!("[profile dev]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
    let helper = with_profile(&aws, &config);
    // What `aws sso login` leaves behind.
    let sign_in = crate::issuers::sign_in(&helper, "u", "2099-01-01T00:00:00Z");
    let content = std::fs::read_to_string(&sign_in).expect("a sign-in");
    std::fs::remove_file(&sign_in).expect("a file");
    let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
    let ran = helper.run(&["login", HOST], "");
    assert!(ran.code == Some(1) && ran.stderr.contains("the AWS CLI is not on the PATH"), "{ran:?}");
    helper.write("content", &content);
    helper.write_program(
        "bin/aws",
        &format!(
            "#!/bin/sh\necho \"$@\" >> \"$HOME/asked\"\necho signed in\ncp \"$HOME/content\" '{}'\n",
            sign_in.display()
        ),
    );
    let helper = helper.var("PATH", &path);
    let ran = helper.run(&["login", HOST], "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stderr.contains("running 'aws sso login --profile dev'") && ran.stderr.contains("signed in"),
        "{ran:?}"
    );
    assert!(ran.stdout.starts_with(&format!("logged in to {HOST}")), "{ran:?}");
    let asked = std::fs::read_to_string(helper.home().join("asked")).expect("calls");
    assert_eq!(asked, "sso login --profile dev\n");
    let calls = aws.count();
    helper.get(HOST).password_for(HOST);
    assert_eq!(aws.count(), calls);
}

/// The service says that the user has no access: a new sign-in may have it again.
#[test]
fn a_sign_in_that_sso_refuses_to_renew_is_made_anew_by_the_aws_cli() {
    let aws = Aws::start();
    for (refusal, cause) in [
        (r#"{"__type":"AccessDeniedException","error":"access_denied"}"#, "SSO refuses to renew the SSO sign-in"),
        (r#"{"error":"invalid_grant"}"#, "has expired or is gone"),
    ] {
        let refusing = crate::hostile::answering_with(axum::http::StatusCode::BAD_REQUEST, refusal.to_owned());
        let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
        let config = format!("[profile dev]\nsso_session = corp\n{}{session}", crate::issuers::SSO);
        let helper = with_profile(&aws, &config).var("AWS_ENDPOINT_URL_SSO_OIDC", &refusing);
        let sign_in = crate::issuers::sign_in(&helper, "corp", "2099-01-01T00:00:00Z");
        helper.write("content", &std::fs::read_to_string(&sign_in).expect("a sign-in"));
        crate::issuers::sign_in(&helper, "corp", "2020-01-01T00:00:00Z");
        let line = helper.get(HOST).error().to_owned();
        for words in [cause, "of profile 'dev' (session 'corp')", "aws sso login --profile dev", "[E-SSO-EXPIRED]"] {
            assert!(line.contains(words), "{words}: {line}");
        }
        let copy = format!("#!/bin/sh\ncp \"$HOME/content\" '{}'\n", sign_in.display());
        helper.write_program("bin/aws", &copy);
        let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
        let helper = helper.var("PATH", &path);
        let ran = helper.run(&["login", HOST], "");
        assert!(ran.code == Some(0) && ran.stderr.contains("running 'aws sso login --profile dev'"), "{ran:?}");
        helper.get(HOST).password_for(HOST);
    }
}

#[test]
fn logout_drops_a_token_or_all_and_the_cache_lists_them() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    assert!(helper.run(&["cache"], "").stdout.starts_with("no cached tokens in "));
    for host in [HOST, FAR] {
        helper.get(host).password_for(host);
    }
    let listed = helper.run(&["cache"], "").stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    for words in ["REGISTRY", HOST, FAR, "the environment (AWS_ACCESS_KEY_ID)", "(11 h 59 min)", " B"] {
        assert!(listed.contains(words) || words.starts_with('('), "{words} in {listed}");
    }
    assert_eq!(helper.run(&["cache", "list"], "").stdout, listed);
    let json: Value = serde_json::from_str(&helper.run(&["cache", "--json"], "").stdout).expect("JSON");
    assert_eq!(json.as_array().expect("rows").len(), 2);
    assert!(json[0]["expiry"].as_str().is_some_and(|at| at.ends_with('Z')) && json[0]["expired"] == false, "{json:#}");
    assert!(!listed.contains("AKIAEXAMPLE.us") && !json.to_string().contains("AKIAEXAMPLE.us"), "no password");
    let image = format!("oci://{HOST}/team/app:1");
    let ran = helper.run(&["logout", &image], "");
    assert_eq!(ran.stdout, format!("logged out of {HOST}: its cached token is removed\n"));
    let none = format!("no cached token for {HOST} in {}/", helper.home().display());
    assert!(helper.run(&["logout", HOST], "").stdout.starts_with(&none));
    let calls = aws.count();
    helper.get(HOST).password_for(HOST);
    assert_eq!(aws.count(), calls + 1);
    let ran = helper.run(&["logout", "--all"], "");
    assert!(ran.stdout.starts_with("removed 2 tokens from "), "{ran:?}");
    let left = std::fs::read_dir(helper.cache_dir()).expect("a cache").flatten().map(|file| file.file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["CACHEDIR.TAG"]);
    helper.get(HOST).password_for(HOST);
    assert!(helper.run(&["logout", "--all"], "").stdout.starts_with("removed 1 token from "));
    assert_eq!(helper.run(&["cache", "list", "--json"], "").stdout, "[]\n");
    for args in [&["logout"][..], &["logout", "--all", HOST], &["login"]] {
        assert_eq!(helper.run(args, "").code, Some(2), "{args:?}");
    }
    let ran = helper.run(&["login", "ghcr.io"], "");
    assert!(ran.code == Some(1) && ran.stderr.contains("not an ECR registry"), "{ran:?}");
    let ran = helper.run(&["login", "a b"], "");
    assert!(ran.code == Some(2) && ran.stderr.contains("not the host of a registry"), "{ran:?}");
}

#[test]
fn the_list_distinguishes_two_access_keys_and_logout_removes_the_tokens_of_both() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE");
    helper.get(HOST).password_for(HOST);
    let helper = helper.var("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7SECOND");
    helper.get(HOST).password_for(HOST);
    let listed = helper.run(&["cache"], "").stdout;
    for words in ["(AWS_ACCESS_KEY_ID), access key …MPLE", "(AWS_ACCESS_KEY_ID), access key …COND"] {
        assert!(listed.contains(words), "{words} in {listed}");
    }
    assert!(!listed.contains("AKIAIOSFODNN7SECOND"), "{listed}");
    let helper = helper.var("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7NOTHING");
    let ran = helper.run(&["logout", HOST], "");
    assert_eq!(ran.stdout, format!("logged out of {HOST}: its 2 cached tokens are removed\n"));
    assert!(helper.run(&["cache"], "").stdout.starts_with("no cached tokens"));
}
