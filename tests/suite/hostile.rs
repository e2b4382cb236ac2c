//! Values from outside that no calendar, header or stack has: each leads to an answer, none to the end of the program.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;
use sha1::{Digest, Sha1};

use crate::HOST;
use crate::doctor::{Healthy, check, report};
use crate::helper::{Helper, Ran, lacks_kernel, program};
use crate::issuers::{LOGIN, log_in};
use crate::namespace::{Namespace, missing, skip};
use crate::process::run;
use crate::support::aws::{Aws, Plan};

/// Starts an AWS that answers every request with this text.
fn answering(text: String) -> String {
    answering_with(StatusCode::OK, text)
}

/// The same with a status.
pub fn answering_with(status: StatusCode, text: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = move |_: Request| std::future::ready((status, text.clone()));
    crate::support::serve(listener, Router::new().fallback(answer));
    url
}

/// Runs everything that shows a time.
fn survives(helper: &Helper, what: &str) {
    let bazel = format!("{{\"uri\":\"https://{HOST}/v2/\"}}");
    for (args, input) in [
        (&["get"][..], bazel.as_str()),
        (&["get"], HOST),
        (&["login", HOST], ""),
        (&["doctor", HOST], ""),
        (&["doctor", "--json", HOST], ""),
        (&["cache", "list"], ""),
        (&["list"], ""),
        (&["export", "--format", "dotenv", HOST], ""),
    ] {
        let ran = helper.run(args, input);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!said.contains("internal error") && ran.code.is_some(), "{what}: {args:?}: {said}");
    }
}

#[test]
fn times_of_services_that_no_calendar_has() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let milliseconds = format!("{}", (now + 43200) * 1000);
    for time in [&milliseconds, "1e15", "1e300", "-1e300", "9223372036854775807", "0", "-1", "1e18", "253402300800"] {
        let token =
            r#"{"authorizationData":[{"authorizationToken":"QVdTOnBhc3M=","expiresAt":TIME,"proxyEndpoint":"x"}]}"#;
        let url = answering(token.replace("TIME", time));
        let helper = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", &url).var("HTTPS_PROXY", "http://127.0.0.1:1");
        survives(&helper, time);
    }
    // A token that is said to live for thousands of years is cached like any other, and no longer.
    let token = r#"{"authorizationData":[{"authorizationToken":"QVdTOnBhc3M=","expiresAt":TIME,"proxyEndpoint":"x"}]}"#;
    let url = answering(token.replace("TIME", &milliseconds));
    let helper = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", &url);
    helper.get(HOST).password_for(HOST);
    assert_eq!(helper.entries().len(), 1);
    assert!(helper.run(&["login", HOST], "").stdout.contains("valid for 12 h"));
}

#[test]
fn times_in_the_answers_of_sts_sso_and_a_process() {
    for time in ["9999-12-31T23:59:59Z", "99999-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "-1", "1e300"] {
        let aws = Aws::start();
        let role = answering(format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s\
             </SecretAccessKey><SessionToken>t</SessionToken><Expiration>{time}</Expiration></Credentials>\
             </AssumeRoleResult></AssumeRoleResponse>"
        ));
        let helper = Helper::of(&aws).var("AWS_ENDPOINT_URL_STS", &role).var("HTTPS_PROXY", "http://127.0.0.1:1");
        survives(&helper.var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/R"), time);
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("HTTPS_PROXY", "http://127.0.0.1:1");
        let keys = format!(r#"{{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s","Expiration":"{time}"}}"#);
        let script = helper.write("process", &format!("cat <<'E'\n{keys}\nE\n"));
        helper.write(".aws/config", &format!("[default]\ncredential_process = sh {}\n", script.display()));
        survives(&helper, time);
    }
    for number in ["1e300", "9223372036854775807", "0"] {
        let sso = answering(format!(
            r#"{{"roleCredentials":{{"accessKeyId":"A","secretAccessKey":"s","sessionToken":"t","expiration":{number}}},
                "accessToken":"new","expiresIn":{number},"refreshToken":"again"}}"#
        ));
        for expires_at in ["2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"] {
            let aws = Aws::start();
            let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ENDPOINT_URL_SSO", &sso);
            let helper = helper.var("AWS_ENDPOINT_URL_SSO_OIDC", &sso).var("HTTPS_PROXY", "http://127.0.0.1:1");
            let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
            helper.write(".aws/config", &format!("[default]\nsso_session = corp\n{}{session}", crate::issuers::SSO));
            crate::issuers::sign_in(&helper, "corp", expires_at);
            survives(&helper, number);
        }
    }
}

/// What is stored over a sign-in would be in the way of every later one.
#[test]
fn nonsense_from_the_renewal_of_a_sign_in_is_said_and_not_stored() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_MAX_ATTEMPTS", "1");
    let helper = helper.var("AWS_ECR_DISABLE_CACHE", "1");
    let get_from = |url: &str| {
        let mut command = helper.command();
        run(command.arg("get").env("AWS_ENDPOINT_URL_SSO_OIDC", url), HOST)
    };
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    helper.write(".aws/config", &format!("[default]\nsso_session = corp\n{}{session}", crate::issuers::SSO));
    let renewal = |token: &str, life: &str, refresh: &str| {
        format!(r#"{{"accessToken":"{token}","expiresIn":{life},"refreshToken":"{refresh}"}}"#)
    };
    let soon = time::OffsetDateTime::now_utc() + time::Duration::minutes(2);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).expect("a time");
    for (status, text) in [
        (200, renewal("new\\nX: y", "3600", "again")),
        (200, renewal("n\u{e9}w", "3600", "again")),
        (200, renewal("", "3600", "again")),
        (200, renewal("new", "3600", "again\\u001b[2J")),
        (200, renewal("new", "0", "again")),
        (200, renewal("new", "-1", "again")),
        (200, renewal("new", "2147483647", "again")),
        (200, renewal("new", "1e300", "again")),
        (200, r#"{"expiresIn":3600}"#.to_owned()),
        (200, format!(r#"{{"accessToken":{}"#, "[".repeat(100_000))),
        (307, String::new()),
        (500, "<html>".to_owned()),
    ] {
        let what = format!("{status} {}", text.chars().take(80).collect::<String>());
        let url = answering_with(StatusCode::from_u16(status).expect("a status"), text);
        let file = crate::issuers::sign_in(&helper, "corp", "2020-01-01T00:00:00Z");
        let before = std::fs::read_to_string(&file).expect("a sign-in");
        let line = get_from(&url).error().to_owned();
        assert!(line.contains("[E-ANSWER-INVALID]") && !line.contains("Redacted"), "{what}: {line}");
        assert_eq!(std::fs::read_to_string(&file).expect("a sign-in"), before, "{what}");
        // Until it expires, the old one is used.
        crate::issuers::sign_in(&helper, "corp", &soon);
        get_from(&url).password_for(HOST);
        helper.get(HOST).password_for(HOST);
        assert!(std::fs::read_to_string(&file).expect("a sign-in").contains("refreshed"), "{what}");
    }
    let refused = answering_with(StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant"}"#.to_owned());
    crate::issuers::sign_in(&helper, "corp", "2020-01-01T00:00:00Z");
    assert!(get_from(&refused).error().contains("[E-SSO-EXPIRED]"));
    // One that another program has stored.
    let file = crate::issuers::sign_in(&helper, "corp", "2099-01-01T00:00:00Z");
    let text = std::fs::read_to_string(&file).expect("a sign-in").replace("sso-access", "a\\nX: y");
    std::fs::write(&file, text).expect("a sign-in");
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains("aws sso login") && !line.contains("Redacted"), "{line}");
}

/// A service that fails or is busy says nothing about the sign-in.
#[test]
fn services_of_a_sign_in_that_fail_are_told_from_those_that_refuse_it() {
    let aws = Aws::start();
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    let config = format!("[default]\nsso_session = corp\n{}{session}", crate::issuers::SSO);
    let cases = [
        ("SSO", 500, r#"{"__type":"InternalFailure"}"#, "E-SERVICE-ERROR", "on the side of AWS"),
        ("SSO", 502, r#"{"__type":"Foo","message":"bad day"}"#, "E-SERVICE-ERROR", "SSO failed: Foo: bad day"),
        ("SSO", 503, r#"{"__type":"ServiceUnavailable"}"#, "E-SERVICE-ERROR", "on the side of AWS"),
        ("SSO", 403, r#"{"__type":"ForbiddenException"}"#, "E-SSO-DENIED", "sso_account_id"),
        ("SSO", 200, "<html>", "E-ANSWER-INVALID", "an answer that cannot be read (HTTP 200)"),
        ("SSO_OIDC", 400, r#"{"__type":"SlowDownException","error":"slow_down"}"#, "E-THROTTLED", "try again later"),
        ("SSO_OIDC", 400, r#"{"__type":"Foo","error":"foo"}"#, "E-SERVICE-ERROR", "refused: Foo"),
        ("SSO_OIDC", 500, r#"{"__type":"InternalServerException"}"#, "E-SERVICE-ERROR", "on the side of AWS"),
        ("SSO_OIDC", 400, r#"{"__type":"InvalidGrantException"}"#, "E-SSO-EXPIRED", "aws sso login"),
        ("SSO_OIDC", 400, r#"{"error":"expired_token"}"#, "E-SSO-EXPIRED", "aws sso login"),
        ("SSO_OIDC", 401, r#"{"error":"invalid_client"}"#, "E-SSO-EXPIRED", "aws sso login"),
    ];
    for (service, status, body, code, words) in cases {
        let url = answering_with(StatusCode::from_u16(status).expect("a status"), body.to_owned());
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_MAX_ATTEMPTS", "1");
        let helper = helper.var(&format!("AWS_ENDPOINT_URL_{service}"), &url).var("AWS_ECR_LOG_FILE", "~/log");
        helper.write(".aws/config", &config);
        crate::issuers::sign_in(
            &helper,
            "corp",
            if service == "SSO" { "2099-01-01T00:00:00Z" } else { "2020-01-01T00:00:00Z" },
        );
        let ran = helper.get(HOST);
        let line = ran.error();
        assert!(line.contains(&format!("[{code}]")) && line.contains(words), "{service} {status} {body}: {line}");
        let log = std::fs::read_to_string(helper.home().join("log")).expect("a log");
        assert!(log.contains("refused") == line.contains("refused") && !log.contains("bad day"), "{body}: {log}");
    }
}

/// AWS redirects nobody; what does so may name an error of its own.
#[test]
fn a_redirect_is_no_refusal_of_the_service() {
    for (status, text) in
        [(302, ""), (301, "<html>"), (307, r#"{"message":"elsewhere"}"#), (308, r#"{"__type":"Moved"}"#)]
    {
        let url = answering_with(StatusCode::from_u16(status).expect("a status"), text.to_owned());
        let helper = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", &url);
        let role = helper.var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/R");
        let helper = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", &url);
        for helper in [helper, role] {
            let line = helper.get(HOST).error().to_owned();
            let words = format!("{} answered with a redirect (HTTP {status}); check AWS_ENDPOINT_URL", &url[7..]);
            assert!(line.contains(&words) && line.contains("[E-ANSWER-INVALID]"), "{line}");
        }
    }
}

/// With one file less than a connection needs, or with no memory for one thread more.
#[test]
fn a_limit_of_the_system_is_named_wherever_it_is_met() {
    if lacks_kernel("limits") {
        return;
    }
    let aws = Aws::start();
    let mut named = 0;
    let mut check = |helper: &Helper, limit: &str| {
        let script = format!("ulimit {limit}; exec \"$0\" get");
        let ran = run(helper.tool("sh").args(["-c", &script]).arg(program()), HOST);
        let line = ran.stdout.as_str();
        if line.starts_with("ecr-login: ") {
            assert!(line.contains("[E-SYSTEM-LIMITS]") && line.contains("ulimit"), "{limit}: {line}");
            named += 1;
        }
    };
    for files in 7..14 {
        let helper = Helper::of(&aws).var("AWS_ECR_DISABLE_CACHE", "1").var("AWS_MAX_ATTEMPTS", "1");
        check(&helper, &format!("-n {files}"));
        // The metadata service too.
        let helper =
            Helper::bare().var("AWS_EC2_METADATA_DISABLED", "").var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &aws.url());
        check(&helper.var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_DISABLE_CACHE", "1"), &format!("-n {files}"));
    }
    for kib in (3000..12_000).step_by(1000) {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        let keys = r#"echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s"}'"#;
        let script = helper.write("process", keys);
        helper.write(".aws/config", &format!("[default]\ncredential_process = sh {}\n", script.display()));
        check(&helper, &format!("-d {kib}"));
    }
    assert!(named > 4, "{named}");
}

/// A number of attempts without end costs no time.
#[test]
fn attempts_without_end_are_as_many_as_the_deadline_allows() {
    let helper = Helper::of(&Aws::start()).var("AWS_MAX_ATTEMPTS", "2147483647").var("AWS_ECR_TIMEOUT", "60s");
    let ran = helper.get(HOST);
    ran.password_for(HOST);
    assert!(ran.took < crate::helper::limit(std::time::Duration::from_secs(5)), "{:?}", ran.took);
}

/// The SDK corrects its clock by the date of an error, and states the corrected time in the retry.
#[test]
fn dates_of_answers_that_no_clock_shows() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let now = i64::try_from(now).expect("a time");
    // The last second of the year 9999, the first of 1, and one beyond a century from now.
    for date in [253_402_300_799, -62_135_596_800, now + 150 * 31_557_600, 7_258_118_400] {
        for (status, code) in [(503, "ServiceUnavailable"), (400, "InvalidSignatureException")] {
            for failures in [1, usize::MAX] {
                let failure = (status, code, "Signature expired");
                let aws = Aws::with(Plan { failures, failure, ahead: date - now, ..Plan::default() });
                let ran = Helper::of(&aws).var("AWS_ECR_TIMEOUT", "3s").get(HOST);
                let said = format!("{}{}", ran.stdout, ran.stderr);
                assert!(!said.contains("internal error") && matches!(ran.code, Some(0 | 1)), "{date}: {said}");
            }
        }
    }
}

/// The limit on the stacks of threads that a variable sets.
#[test]
fn small_stacks_of_threads_are_not_those_of_the_helper() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("RUST_MIN_STACK", "65536");
    helper.get(HOST).password_for(HOST);
    survives(&helper.var("HTTPS_PROXY", "http://127.0.0.1:1"), "RUST_MIN_STACK");
    let helper = Helper::bare().var("RUST_MIN_STACK", "65536").var("AWS_ENDPOINT_URL", &aws.url());
    let script = helper.write("process", "echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'");
    helper.write(".aws/config", &format!("[default]\ncredential_process = sh {}\n", script.display()));
    helper.get(HOST).password_for(HOST);
}

/// The limit on the stack of the first thread, for what needs more of it than an answer from the cache.
#[test]
fn a_small_stack_ends_no_command() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    for (args, code) in [
        (&["doctor", HOST][..], 1),
        (&["setup", "--dry-run", HOST], 0),
        (&["export", "--format", "env", HOST], 0),
        (&["get-login-password", "--region", "eu-central-1"], 0),
        (&["--help"], 0),
        (&["version"], 0),
    ] {
        let mut shell = helper.tool("sh");
        let ran = run(shell.args(["-c", "ulimit -s 64; exec \"$@\"", "sh"]).arg(program()).args(args), "");
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
    }
    let mut shell = helper.tool("sh");
    let ran = run(shell.args(["-c", "exec \"$0\" version >/dev/full"]).arg(program()), "");
    assert_eq!(ran.code, Some(1), "a failure after the first output ends the program: {ran:?}");
}

/// Ten kilobytes of tables in tables, each with a key of many parts: what the parser has no limit for.
#[test]
fn settings_nested_in_thousands_are_one_line_on_a_small_stack() {
    let keys = vec!["a"; 75].join(".");
    let deep = (0..70).fold("1".to_owned(), |inner, _| format!("{{{keys}={inner}}}"));
    let json = format!("{{\"auths\":{}0{}}}", "{\"h\":".repeat(120), "}".repeat(120));
    let on_small_stack = |helper: &Helper, args: &[&str], input: &str| {
        let mut shell = helper.tool("sh");
        run(shell.args(["-c", "ulimit -s 256; exec \"$@\"", "sh"]).arg(program()).args(args), input)
    };
    let aws = Aws::start();
    let own = Helper::of(&aws);
    own.write(".config/docker-credential-ecr-login/config.toml", &format!("a={deep}\n"));
    for (args, input) in [(&["get"][..], HOST), (&["list"], ""), (&["setup", HOST], "")] {
        let ran = on_small_stack(&own, args, input);
        let line =
            "config.toml, line 1: more than 20 tables or lists in each other; correct the line [E-CONFIG-INVALID]";
        assert!(ran.code == Some(1) && ran.stderr.contains(line), "{args:?}: {:?} {}", ran.code, ran.stderr);
    }
    let helper = Helper::of(&aws);
    helper.write(".config/containers/registries.conf", &format!("a={deep}\n"));
    let line = "registries.conf: more than 20 tables or lists in each other";
    for args in [&["setup", HOST][..], &["setup", "--podman", HOST], &["doctor", HOST]] {
        let ran = on_small_stack(&helper, args, "");
        let is_said = ran.stderr.contains(line) || !args.contains(&"--podman");
        assert!(matches!(ran.code, Some(0 | 1)) && is_said, "{args:?}: {ran:?}");
    }
    let helper = Helper::of(&aws);
    helper.write(".docker/config.json", &json);
    for args in [&["setup", HOST][..], &["doctor", HOST]] {
        let ran = on_small_stack(&helper, args, "");
        assert!(matches!(ran.code, Some(0 | 1)), "{args:?}: {ran:?}");
    }
}

/// Tokens that look like words.
#[test]
fn a_token_that_the_helper_sent_is_not_quoted() {
    let refusing = |code: &str, token: &str| {
        let text = format!(r#"{{"__type":"{code}","message":"nothing for {token} here"}}"#);
        answering_with(StatusCode::FORBIDDEN, text)
    };
    let aws = Aws::start();
    let container = Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &refusing("", "opensesame"));
    let sso = Helper::bare().var("AWS_ENDPOINT_URL_SSO", &refusing("ForbiddenException", "sso-access"));
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    sso.write(".aws/config", &format!("[default]\nsso_session = corp\n{}{session}", crate::issuers::SSO));
    crate::issuers::sign_in(&sso, "corp", "2099-01-01T00:00:00Z");
    let ecr = Helper::of(&aws).var("AWS_ENDPOINT_URL", &refusing("AccessDeniedException", "opensesame"));
    for helper in [
        container.var("AWS_CONTAINER_AUTHORIZATION_TOKEN", "opensesame"),
        sso,
        ecr.var("AWS_SESSION_TOKEN", "opensesame"),
    ] {
        let line = helper.get(HOST).error().to_owned();
        assert!(line.contains("nothing for … here"), "{line}");
        let doctor = helper.var("HTTPS_PROXY", "http://127.0.0.1:1").run(&["doctor", HOST], "").stdout;
        assert!(!doctor.contains("opensesame") && !doctor.contains("sso-access"), "{doctor}");
    }
}

/// Keys that a request cannot be signed with: whatever gives them is named, and ECR is not asked.
#[test]
fn keys_that_no_request_can_hold_are_refused_from_every_source() {
    const SESSION: &str = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    const ROLE: &str = "arn:aws:iam::111122223333:role/R";
    let aws = Aws::start();
    for (id, secret, token, words) in [
        ("ASIA\nX", "s", "t", "an access key id with invalid characters"),
        ("ASIA\u{e9}", "s", "t", "an access key id with invalid characters"),
        ("ASIA", "s", "t\nt", "a session token with invalid characters"),
        ("'AKIAX'", "s", "t", "an access key id in quotes"),
        ("", "s", "t", "no AccessKeyId"),
        ("ASIA", "", "t", "no SecretAccessKey"),
        ("ASIA", "s", "", "an empty session token"),
    ] {
        let keys =
            json!({"Version": 1, "AccessKeyId": id, "SecretAccessKey": secret, "SessionToken": token, "Token": token});
        let url = issuing(id, secret, token, keys.to_string());
        let bare = || Helper::bare().var("AWS_ENDPOINT_URL", &url).var("AWS_ENDPOINT_URL_ECR", &aws.url());
        let with = |config: &str| {
            let helper = bare();
            helper.write(".aws/config", config);
            crate::issuers::sign_in(&helper, "corp", "2099-01-01T00:00:00Z");
            helper.write("process", &format!("cat <<'E'\n{keys}\nE\n"));
            helper.write("token", "a.b.c");
            helper
        };
        let base = "[profile base]\naws_access_key_id = AKIA\naws_secret_access_key = s\n";
        let mut all = vec![
            with(base).var("AWS_PROFILE", "base").var("AWS_ECR_ROLE_ARN_111122223333", ROLE),
            with(&format!("[default]\nrole_arn = {ROLE}\nsource_profile = base\n{base}")),
            with(&format!("[default]\nsso_session = corp\n{}{SESSION}", crate::issuers::SSO)),
        ];
        let helper = with("");
        let token_file = helper.home().join("token").display().to_string();
        helper.write(".aws/config", &format!("[default]\nrole_arn = {ROLE}\nweb_identity_token_file = {token_file}\n"));
        all.push(helper);
        // Keys without a session token are long-lived ones.
        if !token.is_empty() {
            all.push(bare().var("AWS_EC2_METADATA_DISABLED", "").var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url));
            all.push(bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{url}/keys")));
            all.push(with("[default]\ncredential_process = sh -c '. \"$HOME/process\"'\n"));
        }
        for (number, helper) in all.iter().enumerate() {
            let line = helper.get(HOST).error().to_owned();
            assert!(line.contains(words), "{number}: {words} in {line}");
            for wrong in ["internal error", "dispatch", "continues the value"] {
                assert!(!line.contains(wrong), "{number}: {line}");
            }
        }
    }
    assert_eq!(aws.count(), 0);
}

/// Starts STS, SSO, a container's endpoint and a metadata service that give these keys; `flat` is what the last two answer.
fn issuing(id: &str, secret: &str, token: &str, flat: String) -> String {
    let sso = json!({"roleCredentials": {"accessKeyId": id, "secretAccessKey": secret, "sessionToken": token, "expiration": 4_000_000_000_000_i64}});
    let sts = format!(
        "<Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}\
         </SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
    );
    let answer = move |request: Request| {
        let (sso, sts, flat) = (sso.to_string(), sts.clone(), flat.clone());
        async move {
            let path = request.uri().path().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap_or_default();
            let body = String::from_utf8_lossy(&body);
            match body.split('&').find_map(|pair| pair.strip_prefix("Action=")) {
                Some(action) => format!("<{action}Response><{action}Result>{sts}</{action}Result></{action}Response>"),
                None if path.starts_with("/federation/") => sso,
                None if path == "/latest/api/token" || path.ends_with("/security-credentials/") => "word".to_owned(),
                None => flat,
            }
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    crate::support::serve(listener, Router::new().fallback(answer));
    url
}

/// A registry's challenge, and the bearer token of its token service, become headers and a URL of the next request.
#[test]
fn tokens_and_challenges_of_a_registry_that_fit_into_no_header() {
    const PUBLIC: &str = "public.ecr.aws";
    let challenge = |realm: &str| format!("Bearer realm=\"{realm}\",service=\"{PUBLIC}\",scope=\"aws\"").into_bytes();
    let own = challenge("https://public.ecr.aws/token/");
    let said = Arc::new(Mutex::new((own.clone(), String::new())));
    let (of_registry, of_service) = (said.clone(), said.clone());
    let refuse = move || async move {
        let challenge = of_registry.lock().expect("no panic").0.clone();
        let challenge = HeaderValue::from_bytes(&challenge).expect("bytes of a header");
        (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response()
    };
    let issue = move || async move { json!({"token": of_service.lock().expect("no panic").1}).to_string() };
    let router = Router::new().route("/v2/", get(refuse)).route("/token/", get(issue));
    let Some(Healthy { helper, .. }) = Healthy::with("tokens and challenges", &[PUBLIC], router) else { return };
    let tokens = ["a\nb", "a\r\nX-Y: z", "a\0b", "\u{1b}[2J", "\u{7f}", "é", "\u{202e}b"];
    let tokens = tokens.map(|token| (own.clone(), token, "gives a token with invalid characters"));
    let challenges = [
        (challenge("https://public.ecr.aws/to ken/"), "names a token service with an invalid URL"),
        (challenge("https://public.ecr.aws/\tken/"), "names a token service with an invalid URL"),
        (
            challenge(&format!("https://public.ecr.aws/{}", "x".repeat(70000))),
            "names a token service with an invalid URL",
        ),
        (challenge("https://public.ecr.aws/\u{e9}"), "rejects the token"),
        (challenge("https://public.ecr.aws\u{202e}/"), "rejects the token"),
        (challenge("https://other.test/"), "rejects the token"),
        (challenge("://"), "rejects the token"),
        (b"Bearer realm=\"".to_vec(), "rejects the token"),
        (b"Bearer \xff\xfe".to_vec(), "rejects the token"),
        (b"".to_vec(), "rejects the token"),
    ];
    for (challenge, token, words) in tokens.into_iter().chain(challenges.map(|(sent, words)| (sent, "good", words))) {
        *said.lock().expect("no panic") = (challenge, token.to_owned());
        let (all, code) = report(&helper, &[PUBLIC]);
        let (status, what) = check(&all, "registry");
        assert!((code, status.as_str()) == (Some(1), "failure") && what.contains(words), "{token:?}: {what}");
    }
}

/// An image without /dev: the packaged program gets random numbers from the system call.
#[test]
fn names_are_resolved_without_random_devices() {
    if !nix::unistd::geteuid().is_root() || missing(&["unshare", "nsenter"]).is_some() {
        return skip("no random devices", "mounts need root");
    }
    if !crate::dns::is_static(&program()) {
        return skip("no random devices", "this program is dynamic; packaging/build makes the static one");
    }
    let aws = Aws::start();
    let port = aws.url().rsplit(':').next().expect("a port").to_owned();
    let empty = Rc::new(Namespace::of_mounts("mount -t tmpfs tmpfs /dev"));
    let helper = Helper::of(&aws).inside(&empty).var("AWS_ENDPOINT_URL", &format!("http://nowhere.invalid:{port}"));
    let line = helper.var("AWS_ECR_TIMEOUT", "5s").get(HOST).error().to_owned();
    assert!(line.contains("nowhere.invalid") && !line.contains("internal error"), "{line}");
}

/// Runs `get` with 20 seconds of a processor and 64 MiB of memory: for everything that it writes to, and with the packaged program
/// also for all that it maps, as the stacks of threads and the program itself.
fn get_with_little_memory(helper: &Helper) -> Ran {
    with_little_memory(helper, &["get"], HOST)
}

fn with_little_memory(helper: &Helper, args: &[&str], input: &str) -> Ran {
    // A program for development alone has more.
    let mapped = if crate::dns::is_static(&program()) { "ulimit -v 65536; " } else { "" };
    let script = format!("ulimit -t 20; ulimit -d 65536; {mapped}exec \"$@\"");
    run(helper.tool("sh").args(["-c", &script, "sh"]).arg(program()).args(args), input)
}

/// An environment in which the file that the variable names is read.
fn naming(variable: &str) -> Helper {
    let helper = match variable {
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" => {
            Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")
        }
        "AWS_WEB_IDENTITY_TOKEN_FILE" => Helper::bare().var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R"),
        _ => Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIA").var("AWS_SECRET_ACCESS_KEY", "s"),
    };
    helper.var("AWS_ENDPOINT_URL", "https://127.0.0.1:1").var("AWS_MAX_ATTEMPTS", "1").var("AWS_ECR_TIMEOUT", "60s")
}

#[test]
fn files_without_end_and_large_ones_are_one_line_under_a_limit_on_memory() {
    if lacks_kernel("a limit on memory") {
        return;
    }
    for (variable, limit, kib) in [
        ("AWS_ECR_CONFIG_FILE", "512 KiB", 512),
        ("AWS_CONFIG_FILE", "8 MiB", 8 << 10),
        ("AWS_SHARED_CREDENTIALS_FILE", "8 MiB", 8 << 10),
        ("AWS_CA_BUNDLE", "8 MiB", 8 << 10),
        ("SSL_CERT_FILE", "8 MiB", 8 << 10),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "1 MiB", 1 << 10),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "1 MiB", 1 << 10),
    ] {
        let helper = naming(variable);
        // A file of a gigabyte that takes no room.
        let huge = helper.write("huge", "");
        File::options().write(true).open(&huge).and_then(|file| file.set_len(1 << 30)).expect("a size");
        for path in ["/dev/zero", huge.to_str().expect("UTF-8")] {
            let ran = get_with_little_memory(&naming(variable).var(variable, path));
            let line = ran.error();
            let words = format!("it is larger than {limit}, the limit");
            assert!(line.lines().count() == 1 && line.contains(&words), "{variable}={path}: {ran:?}");
        }
        for text in ["[", "[a]\n", "a=[", "-----BEGIN CERTIFICATE-----\n"] {
            let helper = naming(variable);
            let path = helper.write("full", &text.repeat((kib << 10) / text.len()));
            let ran = get_with_little_memory(&helper.var(variable, path.to_str().expect("UTF-8")));
            let line = ran.error();
            assert!(line.lines().count() == 1 && !line.contains("internal"), "{variable}: {text:?}: {ran:?}");
        }
    }
}

/// Files up to their limit whose parts are so small or so large that a copy of each would fill the memory, and a comparison of each
/// with all others would never end.
#[test]
fn aws_files_of_a_million_parts_are_one_line_under_limits_on_time_and_memory() {
    const LIMIT: usize = (8 << 20) - 100;
    if lacks_kernel("a limit on memory") {
        return;
    }
    let numbered = |head: &str, line: fn(usize) -> String| {
        let mut text = head.to_owned();
        for number in 0.. {
            let line = line(number);
            if text.len() + line.len() > LIMIT {
                break;
            }
            text += &line;
        }
        text
    };
    // Long enough that the limit on lines lets them through.
    let wide = "x".repeat(50);
    let repeated = |head: &str, line: &str| head.to_owned() + &line.repeat((LIMIT - head.len()) / line.len());
    for (what, text, words) in [
        ("one setting", repeated("[default]\n", "a=b\n"), "more than 131072 lines"),
        ("sections", numbered("", |number| format!("[profile x{number}]\n")), "more than 131072 lines"),
        (
            "wide sections",
            numbered("", |number| format!("[profile {}{number}]\n", "x".repeat(60))),
            "no AWS credentials",
        ),
        (
            "wide settings",
            numbered("[default]\n", |number| format!("{}{number}=y\n", "x".repeat(60))),
            "no AWS credentials",
        ),
        (
            "nested",
            numbered("[default]\ns3=\n", |number| format!(" {}{number}=y\n", "x".repeat(60))),
            "no AWS credentials",
        ),
        ("one wide setting", repeated("[default]\n", &format!("a={wide}{wide}\n")), "no AWS credentials"),
        ("a long value", repeated("[default]\ncredential_process = ", "x "), "more than 64 KiB in line 2"),
        (
            "a value of many lines",
            repeated("[default]\na = b\n", &format!(" {wide}{wide}\n")),
            "more than 64 KiB in line",
        ),
        (
            "a chain",
            numbered("[default]\nrole_arn = r\nsource_profile = x0\n", |number| {
                format!("[profile \"x{number}\"]\nrole_arn = {}\nsource_profile = x{}\n", "r".repeat(200), number + 1)
            }),
            "the 50th after 'default'",
        ),
        (
            "a name that is nearly all others",
            numbered(&format!("[default]\nrole_arn = r\nsource_profile = {}\n", "x".repeat(65000)), |number| {
                format!("[profile {}{number}]\n", "x".repeat(65000))
            }),
            "the profile 'xxxx",
        ),
    ] {
        for files in [&["AWS_CONFIG_FILE"][..], &["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"]] {
            let mut helper = Helper::bare().var("AWS_EC2_METADATA_DISABLED", "true").var("AWS_ECR_TIMEOUT", "60s");
            let path = helper.write("settings", &text);
            for variable in files {
                helper = helper.var(variable, path.to_str().expect("UTF-8"));
            }
            let ran = get_with_little_memory(&helper);
            let line = ran.error();
            assert!(line.lines().count() == 1 && line.contains(words), "{what}: {}", &line[..line.len().min(1000)]);
        }
    }
}

/// A JSON text of 1 MiB, the limit: `head`, as often as it fits, and `tail`.
fn full_of(head: &str, part: &str, tail: &str) -> String {
    let parts = vec![part; ((1 << 20) - head.len() - tail.len()) / (part.len() + 1)];
    format!("{head}{}{tail}", parts.join(","))
}

/// Settings of clients whose small parts take a hundred times the memory of their text when they are parsed into values.
#[test]
fn settings_of_a_million_parts_are_answered_under_limits_on_time_and_memory() {
    if lacks_kernel("a limit on memory") {
        return;
    }
    let deep = |start: &str, end: &str| start.repeat(100) + "0" + &end.repeat(100);
    for text in [
        full_of(r#"{"x":["#, "[0]", "]}"),
        full_of(r#"{"x":["#, r#"{"":0}"#, "]}"),
        full_of(r#"{"x":["#, r#""""#, "]}"),
        full_of(r#"{"x":["#, &deep("[", "]"), "]}"),
        full_of(r#"{"x":["#, &deep(r#"{"":"#, "}"), "]}"),
        full_of(r#"{"x":["#, "\n0", "]}"),
        full_of("{", r#""":0"#, "}"),
        full_of(r#"{"auths":{"h":{"auth":"a"},"i":{"x":["#, "[0]", "]}}}"),
        format!(r#"{{"x":{}0{}}}"#, "[".repeat(50_000), "]".repeat(50_000)),
        format!("{{{}}}", "\n".repeat(1_000_000)),
    ] {
        let helper = naming("AWS_CONFIG_FILE");
        helper.write(".docker/config.json", &text);
        helper.write("run/containers/auth.json", &text);
        let runtime = helper.home().join("run").display().to_string();
        let helper = helper.var("XDG_RUNTIME_DIR", &runtime);
        for args in ["HOST --remove-auths", "--remove", "--podman HOST"] {
            let args = format!("setup --dry-run {args}").replace("HOST", HOST);
            let ran = with_little_memory(&helper, &args.split(' ').collect::<Vec<_>>(), "");
            assert!(ran.code == Some(0), "{args}: {}: {:?} {}", &text[..50], ran.code, ran.stderr);
        }
        let ran = with_little_memory(&helper, &["doctor", HOST], "");
        assert!(ran.code == Some(1) && ran.stderr.is_empty(), "{}: {:?} {}", &text[..50], ran.code, ran.stderr);
    }
    let kubelet = r#"{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":["#;
    for part in ["{}", r#"{"name":"a"}"#, r#"{"env":0}"#] {
        let helper = naming("AWS_CONFIG_FILE");
        let file = helper.write("kubelet.json", &full_of(kubelet, part, "]}")).display().to_string();
        let ran = with_little_memory(&helper, &["setup", "--dry-run", "--kubelet", &file], "");
        assert!(ran.code == Some(0), "{part}: {:?} {}", ran.code, ran.stderr);
    }
    let helper = naming("AWS_CONFIG_FILE");
    helper.write(".config/containers/registries.conf", &full_of("a=[", "[0]", "]"));
    let ran = with_little_memory(&helper, &["setup", "--dry-run", "--podman"], "");
    let is_refused = ran.stderr.contains("registries.conf: it is larger than 256 KiB, the limit");
    assert!(ran.code == Some(1) && is_refused && ran.stderr.lines().count() == 1, "{ran:?}");
}

/// The same for the sign-in that a get reads.
#[test]
fn a_sign_in_of_a_million_parts_is_one_line_under_a_limit_on_memory() {
    if lacks_kernel("a limit on memory") {
        return;
    }
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", "https://127.0.0.1:1").var("AWS_MAX_ATTEMPTS", "1");
    let profile = "[default]\nsso_session=s\nsso_account_id=111122223333\nsso_role_name=r\n[sso-session s]\n";
    helper.write(".aws/config", &format!("{profile}sso_region=us-east-1\nsso_start_url=https://s.test\n"));
    let name = format!(".aws/sso/cache/{:x}.json", Sha1::digest("s"));
    let head = r#"{"accessToken":"a","expiresAt":"2100-01-01T00:00:00Z","x":["#;
    for part in ["[0]", r#"{"":0}"#] {
        helper.write(&name, &full_of(head, part, "]}"));
        let ran = get_with_little_memory(&helper);
        let line = ran.error();
        assert!(line.lines().count() == 1 && line.contains("127.0.0.1:1"), "{part}: {ran:?}");
    }
}

/// The answer to a renewal of an `aws login` session comes in place of the session.
#[test]
fn an_answer_that_is_no_session_leaves_that_of_aws_login_as_it_was() {
    let aws = Aws::start();
    let answer = |key: &str, session: &str, refresh: &str, seconds: i64| {
        let keys = json!({"accessKeyId": key, "secretAccessKey": "s", "sessionToken": session});
        json!({"accessToken": keys, "tokenType": "aws_sigv4", "refreshToken": refresh, "expiresIn": seconds})
            .to_string()
    };
    let invalid = Some("its answer holds no valid session");
    let no_session = |text: String| (StatusCode::OK, text, invalid);
    for (status, text, fails_with) in [
        (StatusCode::OK, answer("ASIA-new", "t", "r2", 900), None),
        no_session(answer("ASIA\nnew", "t", "r2", 900)),
        no_session(answer("ASIA-new", "", "r2", 900)),
        no_session(answer("ASIA-new", "t", "\u{1b}[2J", 900)),
        no_session(answer("ASIA-new", "t", "r2", -1)),
        no_session(answer("ASIA-new", "t", "r2", 2_000_000_000)),
        no_session("{}".to_owned()),
        no_session("<html>".to_owned()),
        (StatusCode::SERVICE_UNAVAILABLE, "{}".to_owned(), Some("an error that is not AWS's (HTTP 503)")),
        (StatusCode::BAD_REQUEST, "{}".to_owned(), Some("aws login")),
        (StatusCode::FORBIDDEN, "<html>".to_owned(), Some("an error that is not AWS's (HTTP 403)")),
        (StatusCode::FOUND, String::new(), Some("a redirect (HTTP 302)")),
        (StatusCode::TOO_MANY_REQUESTS, "{}".to_owned(), Some("throttling")),
        (
            StatusCode::FORBIDDEN,
            json!({"error": "INSUFFICIENT_PERMISSIONS"}).to_string(),
            Some("refused: INSUFFICIENT_PERMISSIONS"),
        ),
        no_session(answer("ASIA-new", &"t".repeat(900_000), "r2", 900)),
    ] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_REGION", "us-east-1");
        let helper = helper.var("AWS_MAX_ATTEMPTS", "1");
        let helper = helper.var("AWS_ENDPOINT_URL_SIGNIN", &answering_with(status, text.clone()));
        helper.write(".aws/config", &format!("[default]\nlogin_session = {LOGIN}\n"));
        let file = log_in(&helper, "ASIA-old", "2020-01-01T00:00:00Z");
        let old = std::fs::read_to_string(&file).expect("a file");
        let ran = helper.get(HOST);
        let now = std::fs::read_to_string(&file).expect("a file");
        let Some(words) = fails_with else {
            assert!(ran.password_for(HOST).starts_with("ASIA-new."), "{ran:?}");
            assert!(now.contains("ASIA-new") && now.contains("r2"), "{now}");
            continue;
        };
        assert_eq!(now, old, "{text}");
        assert!(ran.error().contains(words), "{text}: {ran:?}");
        // A session that another program has stored.
        log_in(&helper, "ASIA\nold", "2099-01-01T00:00:00Z");
        let line = helper.get(HOST).error().to_owned();
        let words = "has an access key id with invalid characters; run 'aws login --profile default'";
        assert!(line.contains(words), "{line}");
    }
}

/// The registries of a token are many, and each has its line; of the lines of a file that have no effect, the first are shown.
#[test]
fn doctor_reports_on_thousands_of_registries_and_lines_under_a_limit_on_memory() {
    const HOSTS: usize = 1500;
    if lacks_kernel("a limit on memory") {
        return;
    }
    let helper = naming("AWS_CONFIG_FILE");
    let hosts = (1..=HOSTS).map(|account| format!("{account:012}.dkr.ecr.us-east-1.amazonaws.com"));
    let entries: serde_json::Map<_, _> = hosts.map(|host| (host, json!("ecr-login"))).collect();
    helper.write(".docker/config.json", &json!({"credHelpers": entries}).to_string());
    let lines = format!("a = {}\n", "x".repeat(50)).repeat(130_000);
    let settings = helper.write("settings", &format!("[default]\n{lines}"));
    let ran = with_little_memory(&helper, &["doctor"], "");
    let registries = ran.stdout.lines().filter(|line| line.contains(".dkr.ecr.us-east-1.amazonaws.com  ")).count();
    assert_eq!((registries, ran.code, ran.stderr.as_str()), (HOSTS, Some(1), ""));
    let ran = with_little_memory(&helper, &["doctor", "--json"], "");
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(report["registries"].as_array().map(Vec::len), Some(HOSTS));

    let helper = helper.var("AWS_CONFIG_FILE", settings.to_str().expect("UTF-8"));
    let ran = with_little_memory(&helper, &["doctor", HOST], "");
    let is_told = ran.stdout.contains("and 129996 more") && ran.stdout.contains("For a bug report");
    assert!(is_told && ran.stderr.is_empty(), "{ran:?}");
}

/// Starts a server that answers every connection with `start`, and with `more` for ever.
fn endless(start: &'static str, more: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = connection.write_all(start.as_bytes());
                let block = more.repeat(1024);
                while connection.write_all(block.as_bytes()).is_ok() {}
            });
        }
    });
    url
}

/// Starts a server that answers every request with these bytes, head and body.
pub fn answering_with_bytes(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    url
}

/// Valid answers below the limit on answers whose parts are so many that a value for each would fill the memory.
#[test]
fn answers_of_many_parts_are_an_answer_under_a_limit_on_memory() {
    if lacks_kernel("a limit on memory") {
        return;
    }
    let answer = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\n\r\n{body}")
    };
    let tokens = r#"{"authorizationToken":"QVdTOmE=","expiresAt":4070908800},"#.repeat(15_000);
    let tokens = format!(r#"{{"authorizationData":[{}]}}"#, tokens.trim_end_matches(','));
    let objects: Vec<String> = (0..40_000).map(|number| format!(r#""k{number}":{{"a":[1,2]}}"#)).collect();
    let objects = format!("{{{}}}", objects.join(","));
    let ran = get_with_little_memory(
        &Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", &answering_with_bytes(answer("200 OK", &tokens))),
    );
    assert_eq!(ran.password_for(HOST), "a");
    let empty = format!(r#"{{"authorizationData":[{}{{}}]}}"#, "{},".repeat(300_000));
    let helper = Helper::of(&Aws::start()).var("AWS_MAX_ATTEMPTS", "1");
    let ran = get_with_little_memory(&helper.var("AWS_ENDPOINT_URL", &answering_with_bytes(answer("200 OK", &empty))));
    assert!(ran.error().lines().count() == 1 && ran.error().contains("[E-ANSWER-INVALID]"), "{ran:?}");
    let urls = [&tokens, &objects]
        .map(|body| ["200 OK", "400 Bad Request"].map(|status| answering_with_bytes(answer(status, body))));
    for url in urls.as_flattened() {
        for variable in
            ["AWS_ENDPOINT_URL_STS", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT"]
        {
            let helper = if variable == "AWS_ENDPOINT_URL_STS" {
                Helper::of(&Aws::start()).var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/R")
            } else {
                Helper::bare()
            };
            let helper = helper.var("AWS_MAX_ATTEMPTS", "1").var("AWS_EC2_METADATA_DISABLED", "");
            let ran = get_with_little_memory(&helper.var(variable, url));
            let line = ran.error();
            assert!(line.lines().count() == 1 && !line.contains("internal error"), "{variable}: {ran:?}");
        }
    }
    // The program of a profile, too.
    let helper = Helper::bare();
    let output = helper.write("output", &objects);
    helper.write(".aws/config", &format!("[default]\ncredential_process = cat {}\n", output.display()));
    let ran = get_with_little_memory(&helper);
    assert!(ran.error().contains("does not have Version 1"), "{ran:?}");
}

/// What a service says about an error, up to the limit on answers, and what is no HTTP.
#[test]
fn errors_of_a_megabyte_are_one_short_line_under_a_limit_on_memory() {
    if lacks_kernel("a limit on memory") {
        return;
    }
    let long = |text: &str| text.repeat(400_000 / text.len());
    let json = |code: &str, message: &str| {
        let body = format!(r#"{{"__type":"{code}","Code":"{code}","message":"{message}","Message":"{message}"}}"#);
        format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\n\r\n{body}"
        )
    };
    for (what, answer) in [
        ("a long message", json("AccessDenied", &long("y "))),
        ("a long word", json("AccessDenied", &long("secret0"))),
        ("a long code", json(&long("y"), "no")),
        ("a code of words", json(&long("y "), &long("\\u202e"))),
        ("no HTTP", "SSH-2.0-OpenSSH\r\n".to_owned()),
        ("no status", "HTTP/1.1 99 \u{1b}[2J\r\n\r\n".to_owned()),
        ("no size of a chunk", format!("{CHUNKED}-1\r\nxx")),
        ("no chunk of a gigabyte of gigabytes", format!("{CHUNKED}fffffffffffffffff\r\nxx")),
        ("no end", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n{}".to_owned()),
    ] {
        let url = answering_with_bytes(answer);
        for variable in ["AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT"]
        {
            let helper = if variable == "AWS_ENDPOINT_URL" { Helper::of(&Aws::start()) } else { Helper::bare() };
            let helper = helper.var("AWS_MAX_ATTEMPTS", "1").var("AWS_EC2_METADATA_DISABLED", "");
            let ran = get_with_little_memory(&helper.var(variable, &url));
            let line = ran.error();
            assert!(line.lines().count() == 1 && line.len() < 12_000, "{what} of {variable}: {} bytes", line.len());
            assert!(!line.contains("secret0") && !line.contains("internal error"), "{what} of {variable}: {line}");
            if variable == "AWS_ENDPOINT_URL" && what.starts_with("no ") {
                assert!(line.contains("cannot be read") && line.contains("AWS_ENDPOINT_URL"), "{what}: {line}");
            }
        }
    }
}

/// The head of an answer in chunks.
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn output_and_answers_without_end_are_one_line_under_a_limit_on_memory() {
    if lacks_kernel("a limit on memory") {
        return;
    }
    let is_one_line = |what: &str, helper: &Helper| {
        let ran = get_with_little_memory(helper);
        let line = ran.error();
        assert!(line.lines().count() == 1 && line.contains(HOST), "{what}: {ran:?}");
        assert!(!line.contains("internal error"), "{what}: {line}");
    };
    for script in ["exec yes", "exec yes >&2", "exec tr '\\0' x </dev/zero"] {
        let helper = Helper::bare().var("AWS_ECR_TIMEOUT", "20s");
        let path = helper.write("process", script);
        helper.write(".aws/config", &format!("[default]\ncredential_process = sh {}\n", path.display()));
        is_one_line(script, &helper);
        let accounts: Vec<String> = (1..=16).map(|account| format!("{account:012}")).collect();
        let mapping = |account| format!("[[registry]]\nmatch = '{account}.*'\nprofile = 'p{account}'\n");
        let profile = |account| format!("[profile p{account}]\ncredential_process = sh {} {account}\n", path.display());
        let own = ".config/docker-credential-ecr-login/config.toml";
        helper.write(own, &accounts.iter().map(mapping).collect::<String>());
        helper.write(".aws/config", &accounts.iter().map(profile).collect::<String>());
        let hosts: Vec<String> = accounts.iter().map(|of| format!("{of}.dkr.ecr.us-east-1.amazonaws.com")).collect();
        let args: Vec<&str> = std::iter::once("doctor").chain(hosts.iter().map(String::as_str)).collect();
        let ran = with_little_memory(&helper, &args, "");
        let told = ran.stdout.matches("printed more than 1 MiB").count();
        assert!(ran.code == Some(1) && told >= 16, "{script}: {told} {ran:?}");
    }
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
    let body = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{";
    let (byte, extension) = ("1\r\n \r\n", "1;a=b\r\n \r\n");
    for (start, more) in
        [(body, " "), (head, "a: b\r\n"), ("", "HTTP"), (head, "x"), (CHUNKED, byte), (CHUNKED, extension)]
    {
        let url = endless(start, more);
        for variable in [
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_STS",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        ] {
            let helper = match variable {
                "AWS_ENDPOINT_URL" => Helper::of(&Aws::start()),
                "AWS_ENDPOINT_URL_STS" => {
                    Helper::of(&Aws::start()).var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/R")
                }
                _ => Helper::bare(),
            };
            let helper = helper.var("AWS_MAX_ATTEMPTS", "1").var("AWS_EC2_METADATA_DISABLED", "");
            let helper = helper.var("AWS_ECR_TIMEOUT", "20s");
            is_one_line(&format!("{variable}: {start}{more}"), &helper.var(variable, &url));
        }
    }
}
