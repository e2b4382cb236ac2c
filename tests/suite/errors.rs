//! Each cause of a failure has a message of its own, with the fix and without a secret.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use rcgen::KeyPair;
use serde_json::Value;

use docker_credential_ecr_login::code::Code;

use crate::HOST;
use crate::codes::INTERNALS;
use crate::helper::{Helper, SECRET_KEY, program};
use crate::process::run;
use crate::support::aws::{Aws, Plan};
use crate::support::tls::Authority;

/// The text that distinguishes each cause. A message has exactly one of them.
const MARKS: &[&str] = &[
    "no AWS credentials found",
    "aws sso login",
    "is in neither",
    "may not assume",
    "requires an MFA code",
    "ECR denies access",
    "clock is",
    "cannot reach",
    "is not trusted",
    "the proxy",
    "is not enabled",
    "is throttling",
    "the credential_process of",
    "has expired; sign in again",
    "does not know the access key",
    "secret key of",
    "no credentials; add",
    "accept the web identity token",
    "hop limit",
    "in time;",
    "PEM certificates",
    "the TLS connection",
];

/// Asserts that a failing `get` and `doctor` report this cause and no other.
#[track_caller]
fn fails(helper: &Helper, mark: &str, words: &[&str]) {
    let code = get_fails(helper, mark, words);
    assert_eq!(doctor_fails(helper, mark), code);
}

/// Asserts that the failed checks of `doctor` report this cause and no other. Returns its code.
#[track_caller]
fn doctor_fails(helper: &Helper, mark: &str) -> String {
    let ran = helper.run(&["doctor", "--json", HOST], "");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    crate::fixes::has_only_tried_commands(&report);
    let checks = report["registries"][0]["checks"].as_array().expect("checks");
    let failed = checks.iter().filter(|check| check["status"] == "failure");
    let text = |check: &Value| {
        let [what, fix, code] = ["what", "fix", "code"].map(|member| check[member].as_str().expect("a text"));
        format!("{what}; {fix} [{code}]")
    };
    let of_clients = |check: &&Value| ["program", "docker", "podman"].iter().any(|name| check["check"] == *name);
    let failed: Vec<String> = failed.filter(|check| !of_clients(check)).map(text).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    for other in MARKS {
        assert_eq!(failed[0].contains(other), *other == mark, "'{other}' in {failed:?}");
    }
    for secret in SECRETS {
        assert!(!ran.stdout.contains(secret), "{}", ran.stdout);
    }
    for internal in INTERNALS {
        assert!(!failed[0].contains(internal), "{internal} in {failed:?}");
    }
    code_of(&failed[0])
}

/// The code at the end of a failure's line.
#[track_caller]
fn code_of(line: &str) -> String {
    let (_, code) = line.strip_suffix(']').and_then(|line| line.rsplit_once(" [")).expect(line);
    assert!(Code::named(code).is_some(), "{line}");
    code.to_owned()
}

const SECRETS: &[&str] = &[SECRET_KEY, "hunter2", "session-secret"];

/// Asserts that the message of a failing `get` has this mark and no other, and these words. Returns its code.
#[track_caller]
fn get_fails(helper: &Helper, mark: &str, words: &[&str]) -> String {
    let ran = helper.get(HOST);
    let line = ran.error();
    assert!(MARKS.contains(&mark), "{mark}");
    for other in MARKS {
        let expected = *other == mark;
        assert_eq!(line.contains(other), expected, "'{other}' in {line}");
    }
    for word in [HOST, "us-east-1"].iter().chain(words) {
        assert!(line.contains(word), "'{word}' in {line}");
    }
    for secret in SECRETS {
        assert!(!line.contains(secret), "{line}");
    }
    // An error as a library prints it for itself.
    for internal in INTERNALS {
        assert!(!line.contains(internal), "{internal} in {line}");
    }
    code_of(line)
}

#[test]
fn a_failure_has_its_code_in_the_answer_and_in_the_log() {
    let aws = Aws::start();
    let helper = || Helper::of(&aws).var("AWS_ECR_LOG_FILE", "~/helper.log");
    for (name, value, code) in [
        ("AWS_ECR_PROFILE_111122223333", "gone", "E-PROFILE-MISSING"),
        ("AWS_ECR_TIMEOUT", "soon", "E-CONFIG-INVALID"),
        ("AWS_ECR_CONFIG_FILE", "/nonexistent/c.toml", "E-CONFIG-INVALID"),
    ] {
        let helper = helper().var(name, value);
        let ran = helper.get(HOST);
        assert_eq!(code_of(ran.error()), code);
        let log = std::fs::read_to_string(helper.home().join("helper.log")).expect("a log");
        let line = log.lines().last().expect("a line");
        assert!(line.contains(" ERROR ") && line.ends_with(&format!("[{code}]")), "{log}");
    }
    // A mistake in the file has the fix of its key, in doctor too.
    let helper = helper();
    helper.write("c.toml", "\n[[registry]]\nmatch = '1*'\nprofile = ''\n");
    let ran = helper.var("AWS_ECR_CONFIG_FILE", "~/c.toml").run(&["doctor", HOST], "");
    assert!(ran.stdout.contains("c.toml, line 4: the value is empty [E-CONFIG-INVALID]"), "{ran:?}");
    assert!(ran.stdout.contains("fix: remove the key instead\n"), "{ran:?}");
}

/// Starts an ECR that answers with this error.
fn refusing(code: &'static str, message: &'static str) -> Aws {
    Aws::with(Plan { failures: usize::MAX, failure: (400, code, message), ..Plan::default() })
}

/// Starts an STS that answers with this error, and returns a helper whose profile `role` assumes a role.
fn role_refused(code: &'static str, message: &'static str, more: &str) -> (Aws, Helper) {
    let aws =
        Aws::with(Plan { service: "sts", failures: usize::MAX, failure: (403, code, message), ..Plan::default() });
    let helper = Helper::of(&aws).without_keys().var("AWS_PROFILE", "role");
    let role = "[profile role]\nrole_arn = arn:aws:iam::111122223333:role/Pull\nsource_profile = base\n";
    let base = format!("[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = {SECRET_KEY}\n");
    helper.write(".aws/config", &format!("{role}{more}\n{base}"));
    (aws, helper)
}

#[test]
fn no_credentials_anywhere() {
    let words =
        ["environment variables", "profile 'default'", "web identity", "container", "AWS_EC2_METADATA_DISABLED"];
    fails(&Helper::bare(), "no AWS credentials found", &words);
}

#[test]
fn a_profile_that_does_not_exist_is_not_replaced_by_another_identity() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).without_keys().var("AWS_PROFILE", "prdo");
    helper.write(".aws/config", "[profile prod]\naws_access_key_id = k\naws_secret_access_key = s\n");
    fails(&helper, "is in neither", &["'prdo'", "AWS_PROFILE", ".aws/config", ".aws/credentials"]);
    let helper = Helper::of(&aws).var("AWS_ECR_PROFILE_111122223333", "prdo");
    fails(&helper, "is in neither", &["'prdo'", "AWS_ECR_PROFILE_111122223333 names"]);
    assert_eq!(aws.count(), 0);
}

#[test]
fn a_mapped_profile_without_credentials() {
    let helper = Helper::bare().var("AWS_ECR_PROFILE_111122223333", "empty");
    helper.write(".aws/config", "[profile empty]\nregion = eu-west-1\n");
    fails(&helper, "no credentials; add", &["'empty'"]);
}

#[test]
fn an_sso_sign_in_that_is_over() {
    let config = "[profile dev]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = R\n\
                  [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    let legacy = "[profile dev]\nsso_start_url = https://corp.example/start\nsso_region = eu-west-1\n\
                  sso_account_id = 111122223333\nsso_role_name = R\n";
    let aws = Aws::with(Plan {
        service: "sso",
        failures: usize::MAX,
        failure: (401, "UnauthorizedException", "Session token not found or invalid"),
        ..Plan::default()
    });
    for (config, file) in [(config, "corp"), (legacy, "https://corp.example/start")] {
        for content in [
            "",
            r#"{"accessToken":"session-secret","expiresAt":"2020-01-01T00:00:00Z"}"#,
            r#"{"accessToken":"session-secret","expiresAt":"2099-01-01T00:00:00Z"}"#,
        ] {
            let helper = Helper::bare().var("AWS_PROFILE", "dev").var("AWS_ENDPOINT_URL", &aws.url());
            helper.write(".aws/config", config);
            if !content.is_empty() {
                use sha1::{Digest, Sha1};
                helper.write(&format!(".aws/sso/cache/{:x}.json", Sha1::digest(file)), content);
            }
            fails(&helper, "aws sso login", &["aws sso login --profile dev"]);
        }
    }
}

#[test]
fn a_role_that_may_not_be_assumed() {
    let message = "User: arn:aws:iam::1:user/me is not authorized to perform: sts:AssumeRole";
    let (_aws, helper) = role_refused("AccessDenied", message, "");
    fails(&helper, "may not assume", &["role/Pull", "user/me", "sts:AssumeRole", "profile 'base'"]);
    let aws = Aws::with(Plan {
        service: "sts",
        failures: usize::MAX,
        failure: (403, "AccessDenied", message),
        ..Plan::default()
    });
    let mapped = Helper::of(&aws).var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/Mapped");
    fails(&mapped, "may not assume", &["role/Mapped", "the environment"]);
}

/// Its trust policy has nothing to do with it.
#[test]
fn a_role_or_a_web_identity_for_which_sts_fails() {
    for (status, code) in [(503, "ServiceUnavailable"), (500, "InternalFailure"), (502, "AccessDenied")] {
        let failure = (status, code, "try later: hunter2");
        let aws = Aws::with(Plan { service: "sts", failures: usize::MAX, failure, ..Plan::default() });
        let role = Helper::of(&aws).var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/Mapped");
        let web = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        let token = web.write("token", "hunter2");
        let web = web
            .var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R")
            .var("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("UTF-8"));
        for (helper, hidden) in [(role, "trust policy"), (web, "hunter2")] {
            let line = helper.var("AWS_MAX_ATTEMPTS", "1").get(HOST).error().to_owned();
            let words = [&format!("STS failed: {code}"), "on the side of AWS", "[E-SERVICE-ERROR]"];
            assert!(words.iter().all(|words| line.contains(*words)), "{line}");
            assert!(!line.contains(hidden) && !line.contains("trust policy"), "{line}");
        }
    }
}

#[test]
fn a_role_that_wants_a_second_factor() {
    let (_aws, helper) = role_refused("AccessDenied", "no", "mfa_serial = arn:aws:iam::111122223333:mfa/me");
    fails(&helper, "requires an MFA code", &["role/Pull", "docker-credential-ecr-login login"]);
}

#[test]
fn a_web_identity_that_is_not_accepted() {
    let aws = Aws::with(Plan {
        service: "sts",
        failures: usize::MAX,
        failure: (400, "InvalidIdentityToken", "No OpenIDConnect provider found"),
        ..Plan::default()
    });
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let token = helper.write("token", "hunter2");
    let helper = helper
        .var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R")
        .var("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("UTF-8"));
    fails(&helper, "accept the web identity token", &["No OpenIDConnect provider", "trust policy"]);
}

#[test]
fn ecr_denies() {
    let aws = refusing("AccessDeniedException", "User: arn:aws:iam::1:user/me is not authorized");
    get_fails(&Helper::of(&aws), "ECR denies access", &["user/me", "ecr:GetAuthorizationToken"]);
    assert_eq!(aws.count(), 1, "no use in asking again");
    doctor_fails(&Helper::of(&aws), "ECR denies access");
}

#[test]
fn a_clock_that_is_wrong() {
    let aws = refusing("InvalidSignatureException", "Signature expired: 2026 is now earlier than 2026");
    for (ahead, words) in [(3600, "behind"), (-7200, "ahead of")] {
        aws.change(|plan| plan.ahead = ahead);
        let line = Helper::of(&aws).get(HOST).error().to_owned();
        let seconds: i64 =
            line.split("clock is ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap();
        assert!((seconds - ahead.abs()).abs() <= 5, "{line}");
        fails(&Helper::of(&aws), "clock is", &[words, "timedatectl"]);
    }
}

#[test]
fn keys_that_are_wrong_or_over() {
    let unknown = refusing("UnrecognizedClientException", "The security token included in the request is invalid");
    fails(&Helper::of(&unknown), "does not know the access key", &["the environment", "region is enabled"]);
    let secret = refusing("InvalidSignatureException", "The request signature we calculated does not match");
    fails(&Helper::of(&secret), "secret key of", &["the environment"]);
    let expired = refusing("ExpiredTokenException", "The security token included in the request is expired");
    fails(&Helper::of(&expired), "has expired; sign in again", &["the environment"]);
}

/// AWS refuses both with the error of an unknown key.
#[test]
fn an_access_key_without_its_session_token_or_with_that_of_another() {
    let ecr = refusing("UnrecognizedClientException", "The security token included in the request is invalid.");
    let old = refusing("ExpiredTokenException", "The security token included in the request is expired");
    let keys = |id: &str, more: &str| format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s\n{more}");
    let with = |aws: &Aws, variables: &[(&str, &str)], file: &str| {
        let helper =
            variables.iter().fold(Helper::of(aws).without_keys(), |helper, (name, value)| helper.var(name, value));
        helper.write(".aws/credentials", file);
        helper.get(HOST).error().to_owned()
    };
    let (id, secret) = ("AWS_ACCESS_KEY_ID", ("AWS_SECRET_ACCESS_KEY", SECRET_KEY));
    let own = "AWS_ECR_ACCESS_KEY_ID_111122223333";
    let own_secret = ("AWS_ECR_SECRET_ACCESS_KEY_111122223333", SECRET_KEY);
    let missing = "which is temporary (ASIA…), without its session token; set";
    for (variables, file, name) in [
        (&[(id, "ASIAEXAMPLE000000001"), secret][..], String::new(), "AWS_SESSION_TOKEN"),
        (&[(own, "ASIAEXAMPLE000000001"), own_secret], String::new(), "AWS_ECR_SESSION_TOKEN_111122223333"),
        (&[], keys("ASIAEXAMPLE000000001", ""), "aws_session_token of profile 'default'"),
    ] {
        let line = with(&ecr, variables, &file);
        assert!(line.contains(&format!("{missing} {name}: ")), "{line}");
        assert!(!line.contains("region is enabled") && line.contains("[E-CREDENTIALS-INVALID]"), "{line}");
    }
    let of_another = "which is a lasting one (AKIA…), with the session token of another key; remove";
    for aws in [&ecr, &old] {
        for (variables, file, name) in [
            (
                &[(id, "AKIAEXAMPLE000000001"), secret, ("AWS_SESSION_TOKEN", "t")][..],
                String::new(),
                "AWS_SESSION_TOKEN",
            ),
            (&[(id, "AKIAEXAMPLE000000001"), secret, ("AWS_SECURITY_TOKEN", "t")], String::new(), "AWS_SECURITY_TOKEN"),
            (&[], keys("AKIAEXAMPLE000000001", "aws_session_token = t\n"), "aws_session_token of profile 'default'"),
        ] {
            let line = with(aws, variables, &file);
            assert!(line.contains(&format!("{of_another} {name}: ")), "{line}");
        }
    }
    // A program that leaves it out.
    let helper = Helper::of(&ecr).without_keys();
    let answer = r#"{"Version":1,"AccessKeyId":"ASIAEXAMPLE000000001","SecretAccessKey":"s"}"#;
    helper.write(".aws/config", &format!("[default]\ncredential_process = echo '{answer}'\n"));
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains(&format!("{missing} SessionToken in the answer of the credential_process")), "{line}");
}

/// STS may be asked in another region than the registry's.
#[test]
fn the_region_of_sts_is_named_where_it_refuses() {
    for (code, words) in [
        ("RegionDisabledException", "the region eu-west-1 is not enabled"),
        ("InvalidClientTokenId", "STS in eu-west-1 does not know the access key"),
    ] {
        let plan = Plan { service: "sts", failures: usize::MAX, failure: (403, code, "no"), ..Plan::default() };
        let aws = Aws::with(plan);
        let role = "role_arn = 'arn:aws:iam::111122223333:role/R'\nregion = 'eu-west-1'\n";
        for more in ["", "web_identity_token_env = 'JOB_TOKEN'\n"] {
            let helper = Helper::of(&aws).var("AWS_ECR_CONFIG_FILE", "~/c.toml").var("JOB_TOKEN", "a.b.c");
            helper.write("c.toml", &format!("[[registry]]\nmatch = '1111*'\n{role}{more}"));
            let line = helper.get(HOST).error().to_owned();
            assert!(line.contains(words) && line.contains("enable eu-west-1 for"), "{line}");
            assert!(line.contains("correct 'region' beside role_arn") && !line.contains("registry's host"), "{line}");
        }
    }
}

/// The SDKs refuse FIPS beside a URL, and send nothing, so there is no answer either.
#[test]
fn settings_that_lead_to_no_endpoint() {
    let aws = Aws::start();
    for (name, host) in [("AWS_USE_FIPS_ENDPOINT", HOST), ("AWS_USE_DUALSTACK_ENDPOINT", HOST)] {
        let line = Helper::of(&aws).var(name, "true").get(host).error().to_owned();
        assert!(line.contains("there is no endpoint for these settings in us-east-1: Invalid Configuration"), "{line}");
        assert!(line.contains(name) && !line.contains("answer") && !line.contains("portal"), "{line}");
    }
    assert_eq!(aws.count(), 0);
}

#[test]
fn an_endpoint_that_cannot_be_reached() {
    let helper = Helper::of(&Aws::start());
    fails(&helper.var("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), "cannot reach", &["127.0.0.1:1", "refused"]);
    let unknown = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", "http://nowhere.invalid");
    fails(&unknown, "cannot reach", &["nowhere.invalid", "unknown host name", "region"]);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    let silent = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", &address).var("AWS_MAX_ATTEMPTS", "1");
    fails(&silent, "cannot reach", &["it does not answer"]);
}

#[test]
fn a_certificate_that_is_not_trusted() {
    let aws = Aws::start();
    let (server, other) = (Authority::for_names(&["localhost"]), Authority::for_names(&["localhost"]));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    server.serve(listener, aws.app());
    let with = |variable: &str, authority: &Authority| {
        let bundle = authority.bundle();
        Helper::of(&aws).var("AWS_ENDPOINT_URL", &url).var(variable, bundle.to_str().expect("UTF-8"))
    };
    with("AWS_CA_BUNDLE", &server).get(HOST).password_for(HOST);
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        fails(&with(variable, &other), "is not trusted", &["localhost:", &format!("({variable})")]);
    }
    let named = with("AWS_CA_BUNDLE", &server).var("AWS_ENDPOINT_URL", &url.replace("localhost", "127.0.0.1"));
    fails(&named, "is not trusted", &["127.0.0.1:"]);
}

/// As OpenSSL and Go read it. Whoever holds the key of an authority may sign what is valid for longer, but must do it.
#[test]
fn a_certificate_that_is_named_itself() {
    let aws = Aws::start();
    let [key, other_key] = [(); 2].map(|()| KeyPair::generate().expect("a key"));
    let valid = Authority::itself(&key, 2020..2100);
    let of = |server: &Authority, named: &Authority, variable: &str| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        server.serve(listener, aws.app());
        let helper = Helper::of(&aws).var("AWS_ENDPOINT_URL", &format!("https://localhost:{port}"));
        (helper.var(variable, named.bundle().to_str().expect("UTF-8")), port)
    };
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        of(&valid, &valid, variable).0.get(HOST).password_for(HOST);
    }
    let (helper, port) = of(&valid, &valid, "AWS_CA_BUNDLE");
    let by_address = helper.var("AWS_ENDPOINT_URL", &format!("https://127.0.0.1:{port}"));
    fails(&by_address, "is not trusted", &["it is for another host name", "check AWS_ENDPOINT_URL"]);
    for (years, why) in [(2020..2021, "it has expired"), (2090..2100, "it is not valid yet")] {
        let server = Authority::itself(&key, years);
        let ran = of(&server, &server, "AWS_CA_BUNDLE").0.get(HOST);
        assert!(ran.error().contains("is not trusted") && ran.error().contains(why), "{ran:?}");
    }
    for named in [Authority::itself(&key, 2020..2099), Authority::itself(&other_key, 2020..2100)] {
        fails(
            &of(&valid, &named, "AWS_CA_BUNDLE").0,
            "is not trusted",
            &["of an authority itself, and not one of these"],
        );
    }
}

/// With TLS 1.3 it says so in place of an answer.
#[test]
fn a_server_that_demands_a_certificate_of_its_client() {
    let (aws, server) = (Aws::start(), Authority::for_names(&["localhost"]));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
        server.serve_known(listener, aws.app(), version);
        let helper = Helper::of(&aws).var("AWS_CA_BUNDLE", server.bundle().to_str().expect("UTF-8"));
        fails(&helper.var("AWS_ENDPOINT_URL", &url), "the TLS connection", &["localhost:", "CertificateRequired"]);
    }
}

/// The parser's own words for it are lines of the file as lists of numbers.
#[test]
fn a_bundle_with_a_broken_certificate() {
    let begin = "-----BEGIN CERTIFICATE-----\n";
    let end = "-----END CERTIFICATE-----\n";
    let authority = Authority::for_names(&["localhost"]);
    let good = std::fs::read_to_string(authority.bundle()).expect("a bundle");
    for (pem, why) in [
        (format!("{begin}AAAA\n"), "certificate number 1 has no line '-----END CERTIFICATE-----'"),
        (format!("{good}{begin}AAAA\n"), "certificate number 2 has no line"),
        (format!("-----BEGIN {}\nAAAA\n{end}", "A".repeat(9000)), "begins with a line that is not"),
        (format!("{begin}!!!!\n{end}"), "certificate number 1 is not base64"),
        (format!("{begin}AAAA\n{end}"), "certificate number 1 cannot be parsed"),
    ] {
        let helper = Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIA").var("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        let bundle = helper.write("ca.pem", &pem).display().to_string();
        let ran = helper.var("AWS_CA_BUNDLE", &bundle).get(HOST);
        let line = ran.error();
        assert!(line.contains(&format!("(AWS_CA_BUNDLE) cannot be used: its {why}")) || line.contains(why), "{line}");
        assert!(line.len() < 500 && !line.contains("[6") && !line.contains("Invalid"), "{line}");
    }
}

/// As editors, PowerShell, YAML and variables of a shell make it of a certificate that anybody sees.
#[test]
fn a_bundle_in_another_form() {
    let aws = Aws::start();
    let server = Authority::for_names(&["localhost"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let pem = std::fs::read_to_string(server.bundle()).expect("a bundle");
    let other = std::fs::read_to_string(Authority::for_names(&["other"]).bundle()).expect("a bundle");
    server.serve(listener, aws.app());
    let utf_16 = |mark: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        format!("{mark}{pem}").encode_utf16().flat_map(bytes).collect()
    };
    let of_label = |label: &str| pem.replace("CERTIFICATE", label).into_bytes();
    let labels = "it has PEM, but no '-----BEGIN CERTIFICATE-----'";
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let run = |content: &[u8]| {
            let helper = Helper::of(&aws).var("AWS_ENDPOINT_URL", &url);
            let path = helper.write("ca.pem", "");
            std::fs::write(&path, content).expect("a file");
            helper.var(variable, &path.display().to_string())
        };
        // OpenSSL, and so the AWS CLI, reads over byte-order marks, also over one of a file that was appended.
        for content in [format!("\u{feff}{pem}"), format!("{other}\u{feff}{pem}")] {
            run(content.as_bytes()).get(HOST).password_for(HOST);
        }
        for (content, why) in [
            (utf_16("\u{feff}", u16::to_le_bytes), "it is UTF-16, and PEM is ASCII"),
            (utf_16("", u16::to_be_bytes), "it is UTF-16, and PEM is ASCII"),
            (format!("  {}", pem.replace('\n', "\n  ")).into_bytes(), "its lines are indented"),
            (format!("\"{}\"", pem.trim()).into_bytes(), "its certificate is in quotes"),
            (format!("ca: '{}'", pem.replace('\n', "\\n")).into_bytes(), "its certificate is in quotes"),
            (format!("ca: {pem}").into_bytes(), "it has text before '-----BEGIN CERTIFICATE-----' on the same line"),
            (of_label("TRUSTED CERTIFICATE"), labels),
            (of_label("PRIVATE KEY"), labels),
            (b"\x30\x82\x01\x02\x30".to_vec(), "it is DER, not PEM"),
        ] {
            let expected = format!("({variable}) cannot be used: {why}");
            fails(&run(&content), "PEM certificates", &[&expected]);
        }
    }
}

/// Whatever else is in the directory.
#[cfg(unix)]
#[test]
fn a_directory_of_certificates_is_read_up_to_a_limit() {
    let aws = Aws::start();
    let server = Authority::for_names(&["localhost"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let certificate = std::fs::read_to_string(server.bundle()).expect("a bundle");
    server.serve(listener, aws.app());
    let helper = Helper::of(&aws).var("AWS_ENDPOINT_URL", &url);
    let certs = helper.home().join("certs");
    let helper = helper.var("SSL_CERT_DIR", certs.to_str().expect("UTF-8"));
    helper.write("certs/a.pem", &format!("-----BEGIN CERTIFICATE-----\nAAAA\n{certificate}"));
    helper.write("certs/b.pem", &certificate);
    let in_dir = |name: &str| certs.join(name);
    nix::unistd::mkfifo(&in_dir("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    std::os::unix::fs::symlink("/dev/zero", in_dir("device")).expect("a link");
    let huge = std::fs::File::create(in_dir("huge")).expect("a file");
    huge.set_len(1 << 40).expect("a size");
    helper.get(HOST).password_for(HOST);
    let helper = helper.var("AWS_ECR_DISABLE_CACHE", "1");
    for number in 0..9 {
        let file = std::fs::File::create(in_dir(&number.to_string())).expect("a file");
        file.set_len(1 << 20).expect("a size");
    }
    let why = "certs (SSL_CERT_DIR) cannot be used: it is larger than 8 MiB, the limit";
    fails(&helper, "PEM certificates", &[why, "it must be a directory"]);
}

#[test]
fn certificates_that_are_not_where_a_variable_says() {
    let aws = Aws::start();
    let server = Authority::for_names(&["localhost"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    server.serve(listener, aws.app());
    for (variable, path, why) in [
        ("SSL_CERT_FILE", "/nonexistent/file", "it does not exist"),
        ("SSL_CERT_FILE", "/", "it is a directory"),
        ("SSL_CERT_FILE", "/dev/null", "it contains no certificate"),
        ("SSL_CERT_DIR", "/nonexistent/dir", "No such file"),
    ] {
        let helper = Helper::of(&aws).var(variable, path);
        // Machines have these variables without need.
        helper.get(HOST).password_for(HOST);
        let expected = format!("{path} ({variable}) cannot be used: {why}");
        fails(&Helper::of(&aws).var("AWS_ENDPOINT_URL", &url).var(variable, path), "PEM certificates", &[&expected]);
    }
}

/// The failure of a process is the answer of others that start within a second, but not with other certificates.
#[test]
fn certificates_that_are_named_at_once() {
    let aws = Aws::start();
    let server = Authority::for_names(&["localhost"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let bundle = server.bundle();
    server.serve(listener, aws.app());
    let dir = bundle.parent().expect("a directory");
    for (variable, path) in [("SSL_CERT_FILE", bundle.as_path()), ("SSL_CERT_DIR", dir)] {
        let mut helper = Helper::of(&aws).var("AWS_ENDPOINT_URL", &url);
        helper.get(HOST).error();
        helper.set(variable, path.to_str().expect("UTF-8"));
        helper.get(HOST).password_for(HOST);
    }
}

#[test]
fn a_proxy_that_refuses() {
    let refusing = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = refusing.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut stream in refusing.incoming().flatten() {
            use std::io::{Read, Write};
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
        }
    });
    for proxy in [address.as_str(), "127.0.0.1:1"] {
        let helper = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", "");
        let helper = helper.var("HTTPS_PROXY", &format!("http://me:hunter2@{proxy}"));
        fails(&helper, "the proxy", &[proxy, "api.ecr.us-east-1.amazonaws.com", "NO_PROXY"]);
    }
}

/// A port of SOCKS, SSH or TLS, or a proxy that opens no tunnel.
#[test]
fn what_is_no_proxy_is_named_by_its_variable() {
    use std::io::{Read, Write};
    let answers: [&'static [u8]; 5] = [
        b"\x05\xff",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\0\x02\x02\x46",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    ];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer);
            }
        });
        let helper = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", "").var("AWS_MAX_ATTEMPTS", "1");
        let helper = helper.var("HTTPS_PROXY", &format!("http://{address}"));
        let line = helper.get(HOST).error().to_owned();
        assert!(
            line.contains(&format!("the proxy {address} does not connect")) && line.contains("[E-PROXY]"),
            "{line}"
        );
        assert!(
            line.contains("HTTPS_PROXY") && !line.contains("AWS_ENDPOINT_URL") && !line.contains("upgrade"),
            "{line}"
        );
    }
}

#[test]
fn a_region_that_is_disabled() {
    let (_aws, helper) = role_refused("RegionDisabledException", "STS is not activated in this region", "");
    fails(&helper, "is not enabled", &["enable us-east-1"]);
}

#[test]
fn too_many_requests() {
    let aws = refusing("ThrottlingException", "Rate exceeded");
    get_fails(&Helper::of(&aws), "is throttling", &["ECR"]);
    assert_eq!(aws.count(), 3, "it was tried again");
    doctor_fails(&Helper::of(&aws), "is throttling");
}

#[test]
fn a_credential_process_that_fails() {
    for (script, words) in [
        ("echo 'vault is sealed' >&2; exit 3", &["vault is sealed", "exit status: 3"][..]),
        ("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", &["xxx", "…"]),
        ("exit 4", &["exit status: 4", "nothing on standard error"]),
        ("echo hunter2", &["printed no valid credentials"]),
    ] {
        let helper = Helper::bare().var("AWS_PROFILE", "p");
        let path = helper.write("process", script);
        helper.write(".aws/config", &format!("[profile p]\ncredential_process = sh {}\n", path.display()));
        fails(&helper, "the credential_process of", &[&["profile 'p'"], words].concat());
        assert!(helper.get(HOST).stdout.len() < 1200);
    }
}

#[test]
fn nothing_that_answers() {
    let aws = Aws::with(Plan { delay: Duration::from_mins(10), ..Plan::default() });
    let helper = Helper::of(&aws).var("AWS_ECR_TIMEOUT", "300ms");
    get_fails(&helper, "in time;", &["AWS_ECR_TIMEOUT"]);
    // Before that, it has the time to resolve the credentials.
    doctor_fails(&helper, "cannot reach");
}

/// The deadline falls into the pause before another attempt.
#[test]
fn the_last_thing_that_happened_is_the_cause_when_time_is_short() {
    let short = |helper: Helper| helper.var("AWS_ECR_TIMEOUT", "500ms");
    let throttling = refusing("ThrottlingException", "Rate exceeded");
    let broken = Aws::with(Plan { failures: usize::MAX, ..Plan::default() });
    let role = "arn:aws:iam::111122223333:role/R";
    let (_sts, throttled_role) = role_refused("Throttling", "Rate exceeded", "");
    let throttled_role = short(throttled_role);
    for _ in 0..6 {
        let refused = short(Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", "http://127.0.0.1:1"));
        get_fails(&refused, "cannot reach", &["127.0.0.1:1", "refused"]);
        get_fails(&refused.var("AWS_ECR_ROLE_ARN_111122223333", role), "cannot reach", &["127.0.0.1:1", "refused"]);
        get_fails(&short(Helper::of(&throttling)), "is throttling", &["ECR"]);
        get_fails(&throttled_role, "is throttling", &["STS"]);
        let line = short(Helper::of(&broken)).get(HOST).error().to_owned();
        assert!(line.contains("ECR failed: ServerException"), "{line}");
        let container = Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/keys");
        get_fails(&short(container), "cannot reach", &["127.0.0.1:1", "refused"]);
    }
}

#[test]
fn no_certificates_at_all_and_those_that_cannot_be_read_are_told_apart() {
    use crate::namespace::{missing, skip};
    if !nix::unistd::geteuid().is_root() || missing(&["unshare", "setpriv"]).is_some() {
        return skip("no certificates", "mounts need root");
    }
    let aws = Aws::start();
    let server = Authority::for_names(&["localhost"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    server.serve(listener, aws.app());
    let helper = Helper::of(&aws).var("AWS_ENDPOINT_URL", &url).var("AWS_ECR_DISABLE_CACHE", "1");
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    for (setup, words) in [
        ("", "hold no CA certificate at all; install ca-certificates, "),
        ("ln -s /gone BUNDLE", "hold no CA certificate at all; install ca-certificates, "),
        ("echo text >BUNDLE", "hold no CA certificate at all; install ca-certificates, "),
        ("echo >BUNDLE; chmod 0 BUNDLE", "cannot be read: BUNDLE: Permission denied (os error 13); "),
        ("mkfifo BUNDLE", "cannot be read: BUNDLE: it is not a regular file; "),
        ("mkdir BUNDLE", "cannot be read: BUNDLE: it is a directory; "),
        ("truncate -s 9M BUNDLE", "cannot be read: BUNDLE: it is larger than 8 MiB, the limit; "),
        ("chmod 0 /etc/ssl/certs", "the directory /etc/ssl/certs cannot be entered; "),
        ("chmod 311 /etc/ssl/certs", "cannot be read: /etc/ssl/certs: Permission denied (os error 13); "),
    ] {
        let ran = |args: &str| {
            let setup = setup.replace("BUNDLE", bundle);
            let capabilities = "-dac_override,-dac_read_search";
            let script = format!(
                "mount -t tmpfs tmpfs /etc/ssl; mkdir /etc/ssl/certs; {setup}\n\
                 exec setpriv --bounding-set={capabilities} --inh-caps={capabilities} \"$0\" {args}"
            );
            let mut inside = helper.tool("unshare");
            inside.args(["--mount", "--propagation", "private", "sh", "-ec", &script]).arg(program());
            run(&mut inside, HOST)
        };
        let words = words.replace("BUNDLE", bundle);
        let (get, doctor) = (ran("get"), ran(&format!("doctor {HOST}")).stdout);
        let line = get.error();
        assert!(line.contains(&words) && line.contains("AWS_CA_BUNDLE [E-TLS-UNTRUSTED]"), "{setup}: {line}");
        assert_eq!(line.contains("install"), words.contains("install"), "{setup}: {line}");
        let what = words.split("; ").next().expect("a cause");
        let is_told = doctor.lines().any(|line| line.contains("endpoint") && line.contains(what));
        assert!(is_told && !doctor.contains("trusting"), "{setup}: {doctor}");
    }
}

#[test]
fn a_config_file_that_cannot_be_parsed() {
    let helper = Helper::bare();
    helper.write(".aws/config", "[default\nregion=x\n");
    assert!(Path::new(&helper.home().join(".aws/config")).exists());
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains(HOST) && line.contains("config"), "{line}");
}

#[test]
fn the_proxy_that_was_used_is_named_and_not_another() {
    let helper = Helper::bare()
        .var("AWS_ACCESS_KEY_ID", "AKIA")
        .var("AWS_SECRET_ACCESS_KEY", "s")
        .var("AWS_MAX_ATTEMPTS", "1")
        .var("HTTP_PROXY", "http://127.0.0.1:1")
        .var("ALL_PROXY", "http://127.0.0.1:2")
        .var("https_proxy", "http://me:hunter2@127.0.0.1:3");
    get_fails(&helper, "the proxy", &["127.0.0.1:3", "api.ecr.us-east-1.amazonaws.com"]);
    assert!(!helper.get(HOST).error().contains("127.0.0.1:1"));
}

#[test]
fn an_endpoint_on_loopback_by_either_protocol_needs_no_vpc_endpoint() {
    for url in ["http://[::1]:1", "http://127.0.0.1:1", "http://localhost:1"] {
        let helper = Helper::bare()
            .var("AWS_ACCESS_KEY_ID", "AKIA")
            .var("AWS_SECRET_ACCESS_KEY", "s")
            .var("AWS_MAX_ATTEMPTS", "1")
            .var("AWS_ENDPOINT_URL", url);
        get_fails(&helper, "cannot reach", &[&url[7..], "check that the service there is running"]);
        assert!(!helper.get(HOST).error().contains("VPC"), "{url}");
    }
}

#[test]
fn sts_is_named_when_it_was_sts_with_the_role() {
    let aws = Aws::start();
    let helper = Helper::of(&aws)
        .var("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
        .var("AWS_MAX_ATTEMPTS", "1")
        .var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::444455556666:role/Pull");
    get_fails(&helper, "cannot reach", &["STS", "arn:aws:iam::444455556666:role/Pull", "127.0.0.1:1"]);
    assert_eq!(aws.count(), 0);
}

#[test]
fn an_expired_signature_is_a_matter_of_the_clock_even_where_the_answer_has_no_date() {
    for message in ["Signature expired: 20261124T000000Z is now earlier than", "Signature not yet current: 20261125T"] {
        let aws = refusing("InvalidSignatureException", message);
        let line = Helper::of(&aws).get(HOST).error().to_owned();
        assert!(line.contains("clock is wrong") && line.contains("set-ntp") && !line.contains("secret key"), "{line}");
    }
}
