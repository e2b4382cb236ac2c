//! Each fix fits its cause: it names the setting, the file or the service that is in the way, and nothing that is not set.

use std::fs;

use crate::HOST;
use crate::helper::Helper;
use crate::issuers::{LOGIN, SSO, log_in, sign_in};
use crate::support::aws::{Aws, Plan};

/// An `aws login` session that has expired, and whose file the AWS CLI did not write like this.
#[test]
fn a_damaged_session_of_aws_login_is_named_and_blamed_on_no_answer() {
    let aws = Aws::start();
    for (from, to) in [
        ("\"clientId\"", "\"client\""),
        ("\"refreshToken\"", "\"refresh\""),
        ("\"dpopKey\"", "\"key\""),
        ("\"accountId\"", "\"account\""),
        ("\"accessKeyId\"", "\"access\""),
        ("EC PRIVATE", "RSA PRIVATE"),
        ("MHcCAQ", "AHcCAQ"),
    ] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_PROFILE", "l");
        helper.write(".aws/config", &format!("[profile l]\nregion = us-east-1\nlogin_session = {LOGIN}\n"));
        let file = log_in(&helper, "ASIA-login", "2020-01-01T00:00:00Z");
        let session = fs::read_to_string(&file).expect("a session");
        assert!(session.contains(from), "{session}");
        fs::write(&file, session.replace(from, to)).expect("a write");
        let line = helper.get(HOST).error().to_owned();
        for words in ["its file ", "is damaged", "run 'aws login --profile l'", "[E-LOGIN-EXPIRED]"] {
            assert!(line.contains(words), "{words} in {line}");
        }
        assert!(!line.contains("HTTP") && !line.contains("AWS_ENDPOINT_URL"), "{line}");
    }
    assert_eq!(aws.count(), 0, "nothing is asked");
}

const ROLE: &str = "arn:aws:iam::111122223333:role/R";

/// STS that refuses everything, by this code and message.
fn refusing(code: &'static str, message: &'static str) -> Aws {
    let failure = (400, code, message);
    Aws::with(Plan { service: "sts", failures: usize::MAX, failure, ..Plan::default() })
}

/// The programs that write a token into a file, and the people who copy one, add to it.
#[test]
fn what_is_wrong_about_the_form_of_a_token_is_said_without_the_token() {
    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln";
    let forms = [
        ("\u{feff}@", "begins with a byte-order mark"),
        ("\"@\"", "is in quotes"),
        ("'@'", "is in quotes"),
        ("{\"value\":\"@\"}", "is JSON"),
        ("@ ", "ends in a blank"),
        ("@\r\n", "ends in a newline"),
        ("\n@", "begins with a blank"),
        (" @", "begins with a blank"),
        ("Bearer @", "begins with 'Bearer '"),
    ];
    let aws = refusing("InvalidIdentityToken", "The ID Token provided is not a valid JWT");
    let web = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ROLE_ARN", ROLE);
    let file = web.home().join("token");
    let web = web.var("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().expect("UTF-8"));
    for (form, words) in forms {
        web.write("token", &form.replace('@', JWT));
        let line = web.get(HOST).error().to_owned();
        assert!(line.contains(&format!("the token {words}")) && !line.contains("trust policy"), "{form:?}: {line}");
        assert!(!line.contains(JWT) && line.contains("[E-WEB-IDENTITY-DENIED]"), "{line}");
        crate::helper::outlive_failures(&web);
    }
    let variable = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_WEB_IDENTITY", "env:ID_TOKEN");
    let variable = variable.var("AWS_ECR_ROLE_ARN", ROLE).var("ID_TOKEN", &format!("\"{JWT}\""));
    let line = variable.get(HOST).error().to_owned();
    assert!(line.contains("the token is in quotes") && !line.contains(JWT), "{line}");

    let container = Aws::with(Plan {
        service: "container",
        failures: usize::MAX,
        failure: (401, "Unauthorized", "denied"),
        ..Plan::default()
    });
    let helper = Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/v1/c", container.url()));
    let helper = helper.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().expect("UTF-8"));
    let file = helper.write("token", JWT);
    let helper = helper.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().expect("UTF-8"));
    for (form, words) in forms {
        let is_sent = !form.contains(['\u{feff}', '\n']);
        helper.write("token", &form.replace('@', JWT));
        let before = container.count();
        let line = helper.get(HOST).error().to_owned();
        let words = if form.starts_with("Bearer") { "check the token in AWS_CONTAINER" } else { words };
        assert!(line.contains(words) && !line.contains(JWT), "{form:?}: {line}");
        assert_eq!(container.count() > before, is_sent, "{form:?}: {line}");
        crate::helper::outlive_failures(&helper);
    }
    helper.write("token", "b\u{e4}r");
    assert!(helper.get(HOST).error().contains("holds characters that are invalid in a token"));
}

/// STS reads many a token with a newline: what it says then has another cause.
#[test]
fn what_sts_says_of_a_token_that_it_has_read_keeps_its_fix() {
    for (code, message) in [
        ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"),
        ("InvalidIdentityToken", "Incorrect token audience"),
        ("InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://issuer.example"),
    ] {
        let aws = refusing(code, message);
        let web = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ROLE_ARN", ROLE);
        let token = web.write("token", "a.b.c\n").display().to_string();
        let line = web.var("AWS_WEB_IDENTITY_TOKEN_FILE", &token).get(HOST).error().to_owned();
        assert!(line.contains("check the role's trust policy, the token's audience"), "{line}");
        assert!(line.contains("ends in a newline"), "{line}");
    }
}

/// Neither the token nor the trust policy is the cause.
#[test]
fn what_sts_says_about_its_peers_and_about_settings_is_no_denial_of_the_role() {
    let name = "1 validation error detected: Value 'my builds' at 'roleSessionName' failed to satisfy constraint";
    for (code, message, words) in [
        (
            "IDPCommunicationError",
            "The identity provider could not be reached",
            &["try again", "identity provider"][..],
        ),
        ("ValidationError", name, &["roleSessionName", "correct the setting that STS names", "role_session_name"]),
    ] {
        let aws = refusing(code, message);
        let helper = Helper::of(&aws).var("AWS_MAX_ATTEMPTS", "1").var("AWS_ECR_ROLE_ARN_111122223333", ROLE);
        let web = Helper::bare().var("AWS_MAX_ATTEMPTS", "1").var("AWS_ENDPOINT_URL", &aws.url());
        let token = web.write("token", "t0k3n").display().to_string();
        let web = web.var("AWS_ROLE_ARN", ROLE).var("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
        for helper in [helper, web] {
            let line = helper.get(HOST).error().to_owned();
            assert!(words.iter().chain([&code]).all(|words| line.contains(words)), "{line}");
            assert!(!line.contains("trust policy") && !line.contains("DENIED"), "{line}");
        }
    }
}

/// A proxy or a service in front of AWS may give an outage the status of a refusal.
#[test]
fn an_outage_is_known_by_its_code_whatever_the_status() {
    let failing = |service, status, code| {
        let failure = (status, code, "later");
        Aws::with(Plan { service, failures: usize::MAX, failure, ..Plan::default() })
    };
    for (status, code) in [
        (400, "ServiceUnavailable"),
        (403, "InternalFailure"),
        (400, "InternalError"),
        (403, "InternalServerException"),
        (400, "ServerException"),
        (400, "RequestTimeout"),
        (403, "Throttling"),
    ] {
        let words = if code == "Throttling" { "[E-THROTTLED]" } else { "[E-SERVICE-ERROR]" };
        for service in ["ecr", "sts", "web", "sso", "sso-oidc"] {
            let aws = failing(if service == "web" { "sts" } else { service }, status, code);
            let helper = match service {
                "ecr" => Helper::of(&aws),
                "sts" => Helper::of(&aws).var("AWS_ECR_ROLE_ARN_111122223333", ROLE),
                "web" => {
                    let web = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ROLE_ARN", ROLE);
                    let token = web.write("token", "t0k3n").display().to_string();
                    web.var("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
                }
                _ => {
                    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
                    let session = "[sso-session corp]\nsso_start_url = u\nsso_region = eu-west-1\n";
                    helper.write(".aws/config", &format!("[default]\nsso_session = corp\n{SSO}{session}"));
                    let year = if service == "sso" { 2099 } else { 2020 };
                    sign_in(&helper, "corp", &format!("{year}-01-01T00:00:00Z"));
                    helper
                }
            };
            let line = helper.var("AWS_MAX_ATTEMPTS", "1").get(HOST).error().to_owned();
            assert!(
                line.contains(code) && line.contains(words) && line.contains("try again later"),
                "{service}: {line}"
            );
        }
    }
    for (error, words) in [
        ("server_error", "AWS Sign-In failed: server_error"),
        ("service_unavailable", "AWS Sign-In failed: service_unavailable"),
        ("rate_exceeded", "[E-THROTTLED]"),
    ] {
        let body = format!(r#"{{"error":"{error}","message":"later"}}"#);
        let service = crate::hostile::answering_with(axum::http::StatusCode::BAD_REQUEST, body);
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &service).var("AWS_PROFILE", "l");
        helper.write(".aws/config", &format!("[profile l]\nregion = us-east-1\nlogin_session = {LOGIN}\n"));
        log_in(&helper, "ASIA-login", "2020-01-01T00:00:00Z");
        let line = helper.get(HOST).error().to_owned();
        assert!(line.contains(words) && line.contains("try again later"), "{line}");
    }
}

#[test]
fn a_role_session_name_that_sts_never_takes_is_refused_where_it_is_written() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let long = "x".repeat(65);
    for (name, is_one) in [("my builds", false), ("b\u{e4}r", false), (&*long, false), ("a_b+=,.@-", true)] {
        let table = format!("[[registry]]\nmatch = '*'\nrole_arn = '{ROLE}'\nrole_session_name = '{name}'\n");
        helper.write(".config/docker-credential-ecr-login/config.toml", &table);
        let ran = helper.get(HOST);
        let line = &ran.stdout;
        let is_refused =
            line.contains("config.toml, line 4: role_session_name: ") && line.contains("[E-CONFIG-INVALID]");
        assert_eq!((ran.code == Some(0), is_refused), (is_one, !is_one), "{name}: {line}");
    }
}

#[test]
fn the_fix_names_the_setting_that_the_endpoint_comes_from() {
    let portal = crate::hostile::answering_with(axum::http::StatusCode::OK, "<html>".to_owned());
    let own = || Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", "").var("AWS_MAX_ATTEMPTS", "1");
    let config = own();
    let table = format!("[[registry]]\nmatch = '*'\nendpoint_url = '{portal}'\n");
    config.write(".config/docker-credential-ecr-login/config.toml", &table);
    let profile = own();
    profile.write(".aws/config", &format!("[default]\nregion = us-east-1\nendpoint_url = {portal}\n"));
    let services = own();
    let section = format!("[default]\nservices = s\n[services s]\necr =\n  endpoint_url = {portal}\n");
    services.write(".aws/config", &section);
    let of_profile = "the endpoint_url for ECR of profile 'default' in ";
    for (helper, setting) in [
        (config, "endpoint_url in the configuration file"),
        (profile, of_profile),
        (services, of_profile),
        (own().var("AWS_ENDPOINT_URL_ECR", &portal), "AWS_ENDPOINT_URL_ECR"),
        (own().var("AWS_ENDPOINT_URL_STS", &portal).var("AWS_ECR_ROLE_ARN_111122223333", ROLE), "AWS_ENDPOINT_URL_STS"),
        (own().var("AWS_ENDPOINT_URL", &portal), "AWS_ENDPOINT_URL"),
    ] {
        let line = helper.get(HOST).error().to_owned();
        let hint = line.split("; ").find(|part| part.contains("check ")).unwrap_or_default();
        assert!(hint.contains(setting), "{setting} in {line}");
        assert_eq!(hint.contains("AWS_ENDPOINT_URL"), setting.contains("AWS_ENDPOINT_URL"), "{line}");
        assert_eq!(hint.contains("AWS_ENDPOINT_URL,"), setting == "AWS_ENDPOINT_URL", "{line}");
    }
    let args = ["get-login-password", "--endpoint-url", &portal, HOST];
    let ran = own().run(&args, "");
    assert!(ran.stderr.contains(" or --endpoint-url, and "), "{ran:?}");
}

#[test]
fn each_setting_that_leads_to_the_endpoint_is_named() {
    let portal = crate::hostile::answering_with_bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned());
    let keys = Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_SECRET_ACCESS_KEY", "s");
    let helper = keys.var("AWS_ENDPOINT_URL_STS", &portal).var("AWS_ENDPOINT_URL_ECR", &portal);
    let helper = helper.var("AWS_ENDPOINT_URL_ECR_PUBLIC", &portal);
    let line = helper.var("AWS_ECR_ROLE_ARN_111122223333", ROLE).get(HOST).error().to_owned();
    assert!(line.contains("check AWS_ENDPOINT_URL_ECR or AWS_ENDPOINT_URL_STS, and"), "{line}");
}

/// A token that stands where the path of its file or its name should is a secret all the same.
#[test]
fn a_token_in_the_place_of_its_file_or_of_its_variable_is_shown_nowhere() {
    let token = crate::issuers::jwt("system:serviceaccount:team:builder", 1_700_000_000);
    for (name, value) in [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.clone()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.clone()),
        ("AWS_ECR_WEB_IDENTITY", token.clone()),
        ("AWS_ECR_WEB_IDENTITY", format!("env:{token}")),
        ("AWS_REGION", token.clone()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", format!("file://{token}")),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", format!(" '{token}'")),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", format!("file://{token}")),
        ("AWS_ECR_WEB_IDENTITY", GITHUB_TOKEN.to_owned()),
        ("AWS_ECR_WEB_IDENTITY", format!("env:{GITHUB_TOKEN}")),
        ("AWS_ECR_WEB_IDENTITY", format!("file:{GITHUB_TOKEN}")),
    ] {
        let secret = if value.contains(GITHUB_TOKEN) { GITHUB_TOKEN } else { &token };
        let helper = Helper::bare().var("AWS_ROLE_ARN", ROLE).var("AWS_ECR_ROLE_ARN", ROLE).var(name, &value);
        let helper =
            helper.var("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/").var("AWS_ECR_LOG", "trace");
        for args in [&["get"][..], &["doctor", HOST], &["doctor", "--json", HOST], &["list"], &["login", HOST]] {
            let ran = helper.run(args, HOST);
            assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(secret), "{name} {args:?}: {ran:?}");
        }
    }
    let table = |key: &str, value: &str| {
        format!("[[registry]]\nmatch = \"111122223333.*\"\nrole_arn = \"{ROLE}\"\n{key} = \"{value}\"\n")
    };
    for (config, profile, secret) in [
        (table("web_identity_token_env", GITHUB_TOKEN), "", GITHUB_TOKEN),
        (String::new(), &*format!("[default]\nrole_arn = {ROLE}\nweb_identity_token_file = file://{token}\n"), &*token),
    ] {
        let helper = Helper::bare();
        helper.write(".config/docker-credential-ecr-login/config.toml", &config);
        helper.write(".aws/config", profile);
        for args in [&["get"][..], &["doctor", "-v", HOST], &["doctor", "--json", HOST]] {
            let ran = helper.run(args, HOST);
            assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(secret), "{args:?}: {ran:?}");
        }
    }
    let named =
        |name: &str| Helper::bare().var("AWS_ECR_ROLE_ARN", ROLE).var("AWS_ECR_WEB_IDENTITY", &format!("env:{name}"));
    for name in ["CIRCLE_OIDC_TOKEN_V2", "ecr_id_token_111122223333", "idTokenForAccount2", "token123456789012345"] {
        let line = named(name).get(HOST).error().to_owned();
        assert!(line.contains(&format!("the variable {name},")), "the name of a variable: {line}");
        let report = named(name).run(&["doctor", "-v", HOST], "").stdout;
        assert!(report.contains(&format!("AWS_ECR_WEB_IDENTITY=env:{name}")), "{report}");
    }
}

/// As GitHub makes them for a job.
const GITHUB_TOKEN: &str = "ghs_16C7e42F292c6912E7710c838347Ae178B4a";

#[test]
fn a_blank_token_and_a_token_that_the_endpoint_refuses_are_named_by_where_they_are() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ROLE_ARN", ROLE);
    let file = helper.write("token", " \n").display().to_string();
    let line = helper.var("AWS_WEB_IDENTITY_TOKEN_FILE", &file).get(HOST).error().to_owned();
    assert!(line.contains("is empty") && aws.count() == 0, "{line}");
    let refusing = crate::hostile::answering_with(axum::http::StatusCode::FORBIDDEN, "{}".to_owned());
    let container = || Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &refusing);
    for (name, value, hint) in [
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t", "check the token in AWS_CONTAINER_AUTHORIZATION_TOKEN ["),
        ("AWS_REGION", "us-east-1", "check the role of the task or pod"),
    ] {
        let line = container().var(name, value).get(HOST).error().to_owned();
        assert!(line.contains(hint), "{line}");
    }
}

/// A limit that is shorter than those of a request.
#[test]
fn what_was_waited_for_is_named_when_the_time_is_over() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}", silent.local_addr().expect("an address"));
    let container = Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &silent).var("AWS_ECR_TIMEOUT", "1s");
    let line = container.get(HOST).error().to_owned();
    assert!(line.contains("the container's endpoint: ") && line.contains("the URI that names it"), "{line}");
    let proxy = Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_SECRET_ACCESS_KEY", "s");
    let line = proxy.var("HTTPS_PROXY", &silent).var("AWS_ECR_TIMEOUT", "1s").get(HOST).error().to_owned();
    let words = format!("no connection to api.ecr.us-east-1.amazonaws.com through the proxy {} in time", &silent[7..]);
    assert!(line.contains(&words) && line.contains("check HTTPS_PROXY") && !line.contains("VPC"), "{line}");
}

#[test]
fn a_service_that_does_not_answer_in_time_is_named_as_what_it_is() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}", silent.local_addr().expect("an address"));
    let bare = || Helper::bare().var("AWS_ENDPOINT_URL", &silent).var("AWS_ECR_TIMEOUT", "1s");
    let keys = || bare().var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_SECRET_ACCESS_KEY", "s");
    let instance = || {
        let helper = bare().var("AWS_EC2_METADATA_DISABLED", "");
        helper.var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &silent)
    };
    let sso = |year: u32| {
        let helper = bare();
        let session = "[sso-session corp]\nsso_start_url = u\nsso_region = eu-west-1\n";
        helper.write(".aws/config", &format!("[default]\nsso_session = corp\n{SSO}{session}"));
        sign_in(&helper, "corp", &format!("{year}-01-01T00:00:00Z"));
        helper
    };
    let login = bare();
    login.write(".aws/config", &format!("[default]\nlogin_session = {LOGIN}\n"));
    log_in(&login, "ASIA-login", "2020-01-01T00:00:00Z");
    let web = bare().var("AWS_ROLE_ARN", ROLE);
    let token = web.write("token", "t0k3n").display().to_string();
    let github = bare().var("AWS_ECR_WEB_IDENTITY", "github").var("AWS_ECR_ROLE_ARN", ROLE);
    let github = github.var("ACTIONS_ID_TOKEN_REQUEST_URL", &silent).var("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t");
    let repeated = instance().var("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "9");
    for (helper, name, hint) in [
        (instance(), "the instance metadata service accepts connections but does not answer", "hop limit"),
        (instance().var("AWS_ECR_TIMEOUT", ""), "the instance metadata service accepts connections", "hop limit"),
        (repeated, "the instance metadata service at 127.0.0.1:", "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        (
            bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &silent),
            "the container's endpoint",
            "the URI that names it",
        ),
        (sso(2099), "SSO at 127.0.0.1:", "check the network and HTTPS_PROXY, or raise"),
        (sso(2020), "SSO at 127.0.0.1:", "check the network and HTTPS_PROXY, or raise"),
        (login, "AWS Sign-In at 127.0.0.1:", "check the network and HTTPS_PROXY, or raise"),
        (web.var("AWS_WEB_IDENTITY_TOKEN_FILE", &token), "STS at 127.0.0.1:", "VPC endpoint"),
        (keys().var("AWS_ECR_ROLE_ARN_111122223333", ROLE), "asked for the role arn:", "VPC endpoint"),
        (keys(), "ECR at 127.0.0.1:", "VPC endpoint"),
        (github, "GitHub gives this job no identity token", "ACTIONS_ID_TOKEN_REQUEST_URL"),
    ] {
        let line = helper.get(HOST).error().to_owned();
        assert!(line.contains(name) && line.contains(hint) && !line.contains(" AWS at"), "{name}: {line}");
    }
}

#[test]
fn an_answer_that_was_cut_off_or_that_is_no_tls_was_reached() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{".to_owned();
    let url = crate::hostile::answering_with_bytes(head);
    let line = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", &url).get(HOST).error().to_owned();
    assert!(line.contains("its answer was cut off") && line.contains("[E-ANSWER-INVALID]"), "{line}");
    let plain = Aws::start().url().replace("http:", "https:");
    let helper = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", &plain);
    let proxy = Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_SECRET_ACCESS_KEY", "s");
    for helper in [helper, proxy.var("HTTPS_PROXY", &plain)] {
        let line = helper.var("AWS_MAX_ATTEMPTS", "1").get(HOST).error().to_owned();
        assert!(line.contains("does not speak TLS; its URL may have to begin with http://"), "{line}");
        assert!(!line.contains("InvalidContentType"), "{line}");
    }
}

/// As docker makes one for a mount whose source is absent. It counts as an absent file, as for the AWS CLI.
#[test]
fn a_directory_in_the_place_of_an_aws_file_is_named() {
    for (path, variable) in [
        (".aws/credentials", None),
        (".aws/config", None),
        ("d", Some("AWS_SHARED_CREDENTIALS_FILE")),
        ("d", Some("AWS_CONFIG_FILE")),
    ] {
        let mut helper = Helper::bare();
        let dir = helper.home().join(path);
        fs::create_dir_all(&dir).expect("a directory");
        if let Some(variable) = variable {
            helper.set(variable, dir.to_str().expect("UTF-8"));
        }
        let name = format!("{} (it is a directory)", dir.display());
        let line = helper.get(HOST).error().to_owned();
        assert!(line.contains("no AWS credentials found") && line.contains(&name), "{line}");
        let report = helper.run(&["doctor", HOST], "").stdout;
        assert!(
            report.contains(&format!("passed over {name}")) && report.contains("W-SETTING-PASSED-OVER"),
            "{report}"
        );
        assert!(report.contains("variable that names"), "{report}");
        helper.set("AWS_ECR_LOG", "info");
        crate::helper::outlive_failures(&helper);
        let log = helper.get(HOST).stderr;
        assert!(log.contains("passed over") && log.contains(&name), "{log}");
    }
}

#[test]
fn a_directory_in_the_place_of_a_sign_in_or_of_a_token_and_a_file_in_that_of_a_directory_are_named() {
    let profile = |helper: &Helper, kind: &str| {
        let session = "[sso-session corp]\nsso_start_url = u\nsso_region = eu-west-1\n";
        let config = match kind {
            "sso" => format!("[default]\nsso_session = corp\n{SSO}{session}"),
            _ => format!("[default]\nlogin_session = {LOGIN}\n"),
        };
        helper.write(".aws/config", &config);
        match kind {
            "sso" => sign_in(helper, "corp", "2099-01-01T00:00:00Z"),
            _ => log_in(helper, "ASIA-login", "2099-01-01T00:00:00Z"),
        }
    };
    for (kind, command) in [("sso", "'aws sso login --profile default'"), ("login", "'aws login --profile default'")] {
        let helper = Helper::bare();
        let file = profile(&helper, kind);
        fs::remove_file(&file).and_then(|()| fs::create_dir(&file)).expect("a directory");
        let line = helper.get(HOST).error().to_owned();
        let words = format!("its file {} is a directory; remove it, and run {command} [E-SOURCE-FILE]", file.display());
        assert!(line.contains(&words), "{words} in {line}");
        fs::remove_dir(&file).expect("no directory");
        let dir = file.parent().expect("a directory");
        fs::remove_dir(dir).and_then(|()| fs::write(dir, "x")).expect("a file");
        crate::helper::outlive_failures(&helper);
        let line = helper.get(HOST).error().to_owned();
        let words = format!("is below {}, which is a file; remove it, and run {command}", dir.display());
        assert!(line.contains(&words), "{words} in {line}");
    }
    let helper = Helper::bare();
    let file = helper.write(".aws", "x").display().to_string();
    let line = helper.get(HOST).error().to_owned();
    assert!(
        line.contains(&format!("{file}/config ({file} is a file)").replace('/', std::path::MAIN_SEPARATOR_STR)),
        "{line}"
    );
    let line = helper.var("AWS_PROFILE", "dev").get(HOST).error().to_owned();
    assert!(line.contains("'dev'") && line.contains(&format!("({file} is a file)")), "{line}");
    let named = Helper::bare().var("AWS_CONFIG_FILE", "~/file/config");
    let file = named.write("file", "x").display().to_string();
    let line = named.get(HOST).error().to_owned();
    assert!(line.contains(&format!("({file} is a file)")), "{line}");
    for variable in ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] {
        let helper = Helper::bare().var("AWS_ROLE_ARN", ROLE);
        let dir = helper.home().join("token");
        fs::create_dir(&dir).expect("a directory");
        let container = if variable.contains("CONTAINER") { "http://127.0.0.1:1/" } else { "" };
        let helper = helper.var("AWS_CONTAINER_CREDENTIALS_FULL_URI", container);
        let line = helper.var(variable, dir.to_str().expect("UTF-8")).get(HOST).error().to_owned();
        let words = format!("{} ({variable}) cannot be read: it is a directory", dir.display());
        assert!(line.contains(&words), "{words} in {line}");
    }
}
