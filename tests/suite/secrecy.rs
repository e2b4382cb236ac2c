//! The text of services and other programs, and the values of settings, reach no log and no file of the cache, and reach the answer
//! only with secrets masked. Files of other users keep their modes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::thread;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use serde_json::json;

use crate::HOST;
use crate::helper::Helper;
use crate::issuers::jwt;
use crate::namespace::{Namespace, missing, skip};
use crate::process::{best_of_three, settle};
use crate::real_clients::shell;
use crate::support::aws::{Aws, Plan};

/// Runs gets that fail, one alone and several at once. Returns their lines, the log, and the content of the cache.
fn failing(helper: &Helper) -> (String, String, String) {
    let line = helper.get(HOST).error().to_owned();
    let (runs, _) = crate::helper::many(helper, 4, HOST);
    let lines: String = runs.iter().map(|ran| ran.stdout.clone()).collect();
    let log = fs::read_to_string(helper.home().join("log")).expect("a log");
    let files = fs::read_dir(helper.cache_dir()).into_iter().flatten().flatten();
    let cache = files.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect();
    (line + &lines, log, cache)
}

fn logging(aws: &Aws) -> Helper {
    Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_LOG", "trace").var("AWS_ECR_LOG_FILE", "~/log")
}

#[test]
fn a_web_identity_token_that_sts_quotes() {
    let token = jwt("system:serviceaccount:team-a:builder", 1);
    // The stand-in's messages are static.
    let quoting: &'static str = format!("The token {token} (Bearer {token}) is not for us").leak();
    let failure = (400, "InvalidIdentityToken", quoting);
    let aws = Aws::with(Plan { service: "sts", failures: usize::MAX, failure, ..Plan::default() });
    for from_profile in [false, true] {
        let helper = logging(&aws);
        let (role, file) = ("arn:aws:iam::111122223333:role/R", helper.write("token", &format!("{token}\n")));
        let file = file.to_str().expect("UTF-8");
        let helper = if from_profile {
            helper.write(".aws/config", &format!("[default]\nrole_arn = {role}\nweb_identity_token_file = {file}\n"));
            helper
        } else {
            helper.var("AWS_ROLE_ARN", role).var("AWS_WEB_IDENTITY_TOKEN_FILE", file)
        };
        let (answers, log, cache) = failing(&helper);
        assert!(answers.contains("is not for us"), "{answers}");
        assert!(log.contains("InvalidIdentityToken") && !log.contains("is not for us"), "{log}");
        assert!(!cache.contains("is not for us"), "{cache}");
        for text in [answers, log, cache] {
            assert!(!text.contains(&token) && !text.contains(&token[..24]), "{text}");
        }
    }
}

/// It gets an access token, as STS does. ECR gets nothing that it could quote.
#[test]
fn what_sso_says_about_a_refusal() {
    let failure = (400, "ForbiddenException", "the token of Mallory may not do that");
    let aws = Aws::with(Plan { service: "sso", failures: usize::MAX, failure, ..Plan::default() });
    let helper = logging(&aws);
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    helper.write(".aws/config", &format!("[default]\nsso_session = corp\n{}{session}", crate::issuers::SSO));
    crate::issuers::sign_in(&helper, "corp", "2099-01-01T00:00:00Z");
    let (answers, log, cache) = failing(&helper);
    assert!(answers.contains("the token of Mallory"), "{answers}");
    assert!(log.contains("ForbiddenException") && !log.contains("Mallory"), "{log}");
    assert!(!cache.contains("Mallory"), "{cache}");
    // A failure that is no answer is logged.
    let image = serde_json::json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": "public.ecr.aws/x",
    });
    let image = image.to_string();
    let helper = helper.var("AWS_REGION", "us-east-1");
    for (args, input) in
        [(&["get"][..], "public.ecr.aws"), (&["kubelet"], &image), (&["list"], ""), (&["doctor", "-v"], "")]
    {
        fs::remove_file(helper.home().join("log")).expect("a log");
        crate::helper::outlive_failures(&helper);
        helper.run(args, input);
        let log = fs::read_to_string(helper.home().join("log")).expect("a log");
        assert!(log.contains("ForbiddenException") || args[0] == "doctor", "{args:?}: {log}");
        assert!(!log.contains("Mallory"), "{args:?}: {log}");
    }
    // Of a renewal it gets the refresh token and a secret.
    crate::issuers::sign_in(&helper, "corp", "2020-01-01T00:00:00Z");
    let as_code = &*"sso-refresh".repeat(10).leak();
    for code in ["InvalidGrantException", "InvalidClientException", "SlowDownException", as_code] {
        let failure = (400, code, "sso-refresh of sso-secret is over");
        aws.change(|plan| (plan.service, plan.failure) = ("sso-oidc", failure));
        let (answers, log, cache) = failing(&helper);
        assert!(!answers.contains("sso-refresh"), "{answers}");
        assert!(
            (code == as_code || log.contains("renew")) && !log.contains("sso-refresh") && !log.contains("sso-secret"),
            "{log}"
        );
        assert!(!cache.contains("sso-refresh") && !cache.contains("sso-secret"), "{cache}");
    }
}

#[test]
fn what_a_process_prints_to_standard_error() {
    let aws = Aws::start();
    let helper = logging(&aws);
    let secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY";
    let script = helper.write(
        "script",
        &format!("echo 'vault: 403 for Authorization: Bearer hvs.CAESIJ0123456789abcdef, key {secret} password=hunter2' >&2\nexit 7\n"),
    );
    helper.write(".aws/config", &format!("[default]\ncredential_process = sh {}\n", script.display()));
    let (answers, log, cache) = failing(&helper);
    assert!(answers.contains("exit status: 7") && answers.contains("vault: 403"), "{answers}");
    assert!(log.contains("exit status: 7") && !log.contains("vault"), "{log}");
    assert!(!cache.contains("vault"), "{cache}");
    // The person sees it as it is, as without the helper; it stays nowhere else.
    for word in [secret, "hvs.CAESIJ", "hunter2"] {
        assert!(answers.contains(word), "{word} in {answers}");
        assert!(!log.contains(word) && !cache.contains(word), "{word} in {log}{cache}");
    }
}

/// What a word of the command may hold stays out of the cache. A file of that name that appears is noticed all the same.
#[test]
fn the_words_of_a_process_are_in_no_file_of_the_cache() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let script = helper.write(
        "script",
        "echo run >> \"$HOME/runs\"\n\
         echo '{\"Version\": 1, \"AccessKeyId\": \"AKIAPROCESS\", \"SecretAccessKey\": \"s\"}'\n",
    );
    let input = helper.write("input", "");
    let words =
        "--password=hunter1 -phunter2 hunter3 header:hunter4 @hunter5 /hunter6/x /etc/hunter7 a/hunter8 hunter9/b=/c";
    let command = format!("credential_process = sh {} {} {words}\n", script.display(), input.display());
    let config = helper.write(".aws/config", &format!("[default]\n{command}"));
    let dir = helper.home().join("dir");
    fs::create_dir(&dir).expect("a directory");
    settle(&[&config, &script, &input, &dir]);
    let runs = || fs::read_to_string(helper.home().join("runs")).unwrap_or_default().lines().count();
    let get = || crate::process::run(helper.command().arg("get").current_dir(&dir), HOST).password_for(HOST);
    for _ in 0..3 {
        get();
    }
    assert_eq!((runs(), aws.count()), (1, 1), "a hit runs nothing");
    let stored = |word: &str| {
        let files = fs::read_dir(helper.cache_dir()).expect("a cache").flatten();
        files.filter(|file| fs::read_to_string(file.path()).expect("a file").contains(word)).count()
    };
    assert_eq!(stored("hunter"), 0);
    assert!(stored(input.to_str().expect("UTF-8")) > 0, "a path that exists is no secret");
    for (number, name) in ["hunter1", "header:hunter4", "a"].iter().enumerate() {
        fs::write(dir.join(name), "").expect("a file");
        settle(&[&dir.join(name)]);
        for _ in 0..2 {
            get();
        }
        assert_eq!(runs(), number + 2, "{name}");
    }
    let log = helper.home().join("log");
    let mut command = helper.command();
    let quiet = command.arg("get").env("AWS_ECR_LOG", "trace").env("AWS_ECR_LOG_FILE", &log);
    crate::process::run(quiet.current_dir(helper.home()), HOST).password_for(HOST);
    assert!(!fs::read_to_string(log).expect("a log").contains("hunter"));
}

/// What acts on a terminal: clears it, hides or reorders text, or ends a line.
const ACTS: &[char] =
    &['\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\0', '\u{e0041}'];

#[track_caller]
fn is_clean(what: &str, ran: &crate::helper::Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains(ACTS), "{what}: {text:?}");
    }
}

#[test]
fn a_token_that_would_act_on_a_terminal_or_a_file_is_none() {
    for password in ["two\nlines", "x\u{1b}[2Jy", "x\0y", "x y", "x\u{202e}y", "x\u{7f}", "pässword", "x\u{9b}31m"] {
        let aws = Aws::with(Plan { password: Some(password.to_owned()), ..Plan::default() });
        let helper = Helper::of(&aws);
        let bazel = format!("{{\"uri\":\"https://{HOST}/v2/\"}}");
        let kubelet = serde_json::json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": HOST,
        });
        for (args, input) in [
            (&["get"][..], HOST),
            (&["get"], &bazel),
            (&["kubelet"], &kubelet.to_string()),
            (&["get-login-password", HOST], ""),
            (&["export", HOST], ""),
            (&["export", "--format", "env", HOST], ""),
            (&["export", "--format", "user-password", HOST], ""),
        ] {
            let ran = helper.run(args, input);
            assert!(![&ran.stdout, &ran.stderr].iter().any(|text| text.contains(password)), "{args:?}: {ran:?}");
            assert!(ran.code == Some(1) && ran.stderr.contains("token"), "{ran:?}");
            is_clean(&format!("{args:?}"), &ran);
        }
        assert!(helper.entries().is_empty());
    }
}

#[test]
fn texts_from_outside_reach_a_terminal_without_what_acts_on_it() {
    let bad: String = ACTS.iter().filter(|c| **c != '\0').collect();
    // What a service answers.
    let message: &'static str = format!("not{bad}you").leak();
    let failure = (400, "AccessDeniedException", message);
    let aws = Aws::with(Plan { failures: usize::MAX, failure, ..Plan::default() });
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "trace");
    for args in [&["get"][..], &["doctor", HOST], &["doctor", "--json", HOST], &["export", HOST]] {
        let ran = helper.run(args, HOST);
        assert!((ran.stdout.clone() + &ran.stderr).contains("not"), "{ran:?}");
        is_clean(&format!("{args:?}"), &ran);
    }
    // What a setting, an argument, a process or a file of docker's holds.
    let helper = Helper::bare().var("AWS_PROFILE", &format!("p{bad}q")).var("AWS_ECR_LOG", "trace");
    let script = helper.write("script", &format!("printf 'vault{bad}:%b' '\\033[2J denied' >&2; exit 1\n"));
    helper.write(".aws/config", &format!("[default]\ncredential_process = sh {}\n", script.display()));
    helper.write(
        ".docker/config.json",
        &format!("{{\n  \"credHelpers\": {{\n    \"x{bad}\": \"y{bad}\"\n  }}\n}}\n").replace('\u{1b}', "\\u001b"),
    );
    let process = || helper.command().env_remove("AWS_PROFILE").arg("get").output().is_ok();
    assert!(process());
    for args in [
        &["get"][..],
        &["doctor", HOST],
        &["doctor", "--json", HOST],
        &["setup", "--dry-run", HOST],
        &["export", &format!("{bad}.example")],
        &[&format!("a{bad}")],
        &["setup", &format!("--{bad}")],
    ] {
        is_clean(&format!("{args:?}"), &helper.run(args, HOST));
    }
    let ran = helper.var("AWS_PROFILE", "").get(HOST);
    assert!(ran.stdout.contains("vault") && ran.stdout.contains("[2J denied"), "{ran:?}");
    is_clean("the text of a process", &ran);
}

/// Starts a service that refuses with this status and gives `code` for the error's name in every form that there is. As the metadata
/// service of an instance it gives `token` for its session and `role` for the role; as GitHub, `token` for the job.
fn naming_errors(status: u16, code: &str, token: &str, role: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let refused = StatusCode::from_u16(status).expect("a status");
    let fields = ["__type", "code", "Code", "error"].map(|name| (name.to_owned(), json!(code)));
    let fields = json!(serde_json::Map::from_iter(fields)).to_string();
    let xml = format!("<ErrorResponse><Error><Code>{code}</Code><Message>see it</Message></Error></ErrorResponse>");
    let value = json!({"value": token}).to_string();
    let (token, role) = (token.to_owned(), role.to_owned());
    let answer = move |request: Request| {
        let answer = match request.uri().path() {
            "/latest/api/token" => (StatusCode::OK, token.clone()),
            "/latest/meta-data/iam/security-credentials/" => (StatusCode::OK, role.clone()),
            path if path.starts_with("/latest/") => (StatusCode::OK, fields.clone()),
            "/idtoken" => (StatusCode::OK, value.clone()),
            path if path.starts_with("/sts") => (refused, xml.clone()),
            _ => (refused, fields.clone()),
        };
        std::future::ready(answer)
    };
    crate::support::serve(listener, axum::Router::new().fallback(answer));
    url
}

/// What a service calls an error is printed, logged and cached only where that is the name of one.
#[test]
fn a_secret_that_a_service_repeats_as_the_name_of_an_error() {
    let role = "arn:aws:iam::111122223333:role/R";
    let from_keys = |token: &str| {
        let helper = Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIA").var("AWS_SECRET_ACCESS_KEY", "s");
        helper.var("AWS_SESSION_TOKEN", token)
    };
    let put = |path: &std::path::Path, old: &str, new: &str| {
        fs::write(path, fs::read_to_string(path).expect("a file").replacen(old, new, 1)).expect("a file");
    };
    let signed_in = |expires_at: &str, old: &str, new: &str| {
        let helper = Helper::bare();
        let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
        helper.write(".aws/config", &format!("[default]\nsso_session = corp\n{}{session}", crate::issuers::SSO));
        put(&crate::issuers::sign_in(&helper, "corp", expires_at), old, new);
        helper
    };
    let start = |service: &str, secret: &str| match service {
        "ecr" => from_keys(secret),
        "a role" => from_keys(secret).var("AWS_ECR_ROLE_ARN_111122223333", role),
        "a web identity" => {
            let helper = Helper::bare().var("AWS_ROLE_ARN", role);
            let token = helper.write("token", secret);
            helper.var("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("UTF-8"))
        }
        "a token in a variable" => {
            let helper = Helper::bare().var("AWS_ECR_WEB_IDENTITY", "env:ID_TOKEN").var("ID_TOKEN", secret);
            helper.var("AWS_ECR_ROLE_ARN_111122223333", role)
        }
        "GitHub" => {
            let helper = Helper::bare().var("AWS_ECR_WEB_IDENTITY", "github").var("GITHUB_ACTIONS", "true");
            let helper = helper.var("ACTIONS_ID_TOKEN_REQUEST_TOKEN", secret);
            helper.var("AWS_ECR_ROLE_ARN_111122223333", role)
        }
        "a renewal" => signed_in("2020-01-01T00:00:00Z", "sso-refresh", secret),
        "a client of a renewal" => signed_in("2020-01-01T00:00:00Z", "sso-secret", secret),
        "SSO" => signed_in("2099-01-01T00:00:00Z", "sso-access", secret),
        "aws login" => {
            let helper = Helper::bare().var("AWS_REGION", "us-east-1");
            helper.write(".aws/config", &format!("[default]\nlogin_session = {}\n", crate::issuers::LOGIN));
            let session = crate::issuers::log_in(&helper, "ASIA", "2020-01-01T00:00:00Z");
            put(&session, r#""refreshToken":"r""#, &format!(r#""refreshToken":"{secret}""#));
            helper
        }
        "a container" => Helper::bare().var("AWS_CONTAINER_AUTHORIZATION_TOKEN", secret),
        "an instance" => Helper::bare().var("AWS_EC2_METADATA_DISABLED", ""),
        other => panic!("{other}"),
    };
    let services = [
        "ecr",
        "a role",
        "a web identity",
        "a token in a variable",
        "GitHub",
        "a renewal",
        "a client of a renewal",
        "SSO",
        "aws login",
        "a container",
        "an instance",
    ];
    let random = format!("{}.Zx9", jwt("system:serviceaccount:team-a:builder", 1));
    // A secret may look like a word, also where the SDK cuts it.
    let secrets = [random.as_str(), "Abcdefgh.Ijklmnop_Qrst", "AoaAbcdefgh:MGUCMQabcdefgh"];
    for service in services {
        for (status, secret) in [400, 500].into_iter().flat_map(|status| secrets.map(|secret| (status, secret))) {
            let acting = "Evil\u{202e}\u{9b}31m\u{2066}";
            for (code, role) in [(secret, "R"), ("AccessDenied", secret), (acting, acting)] {
                let url = naming_errors(status, code, secret, role);
                let helper = start(service, secret)
                    .var("AWS_ENDPOINT_URL", &url)
                    .var("AWS_ENDPOINT_URL_STS", &format!("{url}/sts"))
                    .var("AWS_ENDPOINT_URL_SIGNIN", &url)
                    .var("AWS_MAX_ATTEMPTS", "1")
                    .var("AWS_ECR_LOG", "trace")
                    .var("AWS_ECR_LOG_FILE", "~/log");
                let helper = match service {
                    "GitHub" => helper.var("ACTIONS_ID_TOKEN_REQUEST_URL", &format!("{url}/idtoken")),
                    "a container" => helper.var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
                    "an instance" => helper.var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url),
                    _ => helper,
                };
                let ran = helper.get(HOST);
                let line = ran.error();
                let log = fs::read_to_string(helper.home().join("log")).expect("a log");
                let files = fs::read_dir(helper.cache_dir()).into_iter().flatten().flatten();
                let cache: String = files.map(|file| fs::read_to_string(file.path()).expect("a file")).collect();
                for text in [line, &log, &cache] {
                    for part in secret.split(':') {
                        assert!(!text.contains(part), "{service}, {status}: {part} in {text}");
                    }
                    assert!(!text.contains(ACTS), "{service}, {status}: {text:?}");
                }
                // The metadata service answers with status 200, and a session of aws login that cannot be renewed is over.
                let is_other = service == "an instance" || (service == "aws login" && status == 400);
                assert!(is_other || code == "AccessDenied" || line.contains("HTTP"), "{service}, {status}: {line}");
            }
        }
    }
}

/// What was sent is hidden as it was sent, whatever it looks like.
#[test]
fn a_refresh_token_of_letters_that_sso_repeats() {
    let (token, secret) = ("RefreshTokenOfLettersAlone", "ClientSecretOfLettersAlone");
    for field in ["message", "error_description"] {
        let said = format!("bad refresh token {token} of client {secret}, see there");
        let body = json!({"__type": "SomethingException", "error": "something", field: said}).to_string();
        let helper =
            Helper::bare().var("AWS_ENDPOINT_URL", &crate::hostile::answering_with(StatusCode::BAD_REQUEST, body));
        let helper = helper.var("AWS_MAX_ATTEMPTS", "1").var("AWS_ECR_LOG", "trace").var("AWS_ECR_LOG_FILE", "~/log");
        let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
        helper.write(".aws/config", &format!("[default]\nsso_session = corp\n{}{session}", crate::issuers::SSO));
        let file = crate::issuers::sign_in(&helper, "corp", "2020-01-01T00:00:00Z");
        let mut sign_in: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).expect("a sign-in")).expect("JSON");
        (sign_in["refreshToken"], sign_in["clientSecret"]) = (json!(token), json!(secret));
        fs::write(&file, sign_in.to_string()).expect("a sign-in");
        let ran = helper.get(HOST);
        assert!(ran.error().contains("SomethingException"), "{ran:?}");
        let text = ran.stdout + &fs::read_to_string(helper.home().join("log")).expect("a log");
        assert!(!text.contains(token) && !text.contains(secret), "{field}: {text}");
    }
}

/// The quote ends within the token, which is longer, in the place of a name.
#[test]
fn a_long_session_token_that_ecr_repeats() {
    let token = "IQoJb3JpZ2luX2VjEJr/abc+".repeat(20);
    for message in
        ["no '{}' here", "no /{} here", "User: arn:aws:sts::111122223333:assumed-role/{}/i is not authorized"]
    {
        let plan = Plan { failures: usize::MAX, failure: (400, "AccessDeniedException", ""), ..Plan::default() };
        let text = message.replace("{}", &token);
        let aws = Aws::with(Plan { failure: (400, "AccessDeniedException", Box::leak(text.into_boxed_str())), ..plan });
        let keys = [("AWS_ACCESS_KEY_ID", "ASIA"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", &token)];
        let helper = keys.into_iter().fold(logging(&aws), |helper, (name, value)| helper.var(name, value));
        let (lines, log, cache) = failing(&helper);
        for text in [lines, log, cache] {
            assert!(!text.contains("IQoJb3JpZ2luX2Vj") && !text.contains("abc+IQo"), "{message}: {text}");
        }
    }
}

/// The report of doctor is made to be shown.
#[test]
fn a_session_token_that_sts_repeats_as_the_principal() {
    let aws = Aws::start();
    for (token, arn) in [
        ("IQoJb3JpZ2lu+abc/def==", "{}"),
        ("IQoJb3JpZ2lu+abc/def==", "arn:aws:sts::111122223333:assumed-role/{}/i"),
        ("Looks.like_words", "Looks.like_words of 111122223333"),
    ] {
        let xml = format!("<GetCallerIdentityResult><Arn>{}</Arn></GetCallerIdentityResult>", arn.replace("{}", token));
        let xml = format!("<GetCallerIdentityResponse>{xml}</GetCallerIdentityResponse>");
        let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{xml}");
        let helper = Helper::of(&aws).var("AWS_SESSION_TOKEN", token).var("AWS_ECR_LOG", "trace");
        let helper = helper.var("AWS_ENDPOINT_URL_STS", &crate::hostile::answering_with_bytes(answer));
        for args in [&["doctor", "-v", HOST][..], &["doctor", "--json", HOST]] {
            let ran = helper.run(args, "");
            assert!(ran.stdout.contains("principal") && ran.stdout.contains('…'), "{ran:?}");
            assert!(!ran.stdout.contains(token) && !ran.stderr.contains(token), "{ran:?}");
        }
    }
}

/// A token may be part of a path or a query, such as that of a container's endpoint.
#[test]
fn doctor_names_the_host_of_a_url_and_not_what_follows_it() {
    let helper = Helper::bare()
        .var("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/v1/hunter2")
        .var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
        .var("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1/x?hunter2")
        .var("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1/hunter2/")
        .var("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:1#hunter2");
    for args in [&["doctor", "-v", HOST][..], &["doctor", HOST], &["doctor", "--json", HOST]] {
        let ran = helper.run(args, "");
        assert!(ran.stdout.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1/…"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
    }
    let relative = Helper::bare().var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/hunter2");
    let ran = relative.run(&["doctor", "-v", HOST], "");
    assert!(ran.stdout.contains("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI (set)"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
}

/// The halves of a pair that were exchanged: the secret key stands where doctor, `cache` and the log name the key.
#[test]
fn a_secret_in_the_place_of_an_access_key_id_is_not_shown() {
    let (secret, id) = ("wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY1", "AKIAIOSFODNN7EXAMPLE");
    let aws = Aws::start();
    // STS names the principal by the id here. With one, it is not asked.
    let bare = || logging(&aws).var("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1");
    let in_variables = bare().var("AWS_ACCESS_KEY_ID", secret).var("AWS_SECRET_ACCESS_KEY", id);
    let in_profile = bare();
    let keys = format!("aws_access_key_id = {secret}\naws_secret_access_key = {id}\n");
    in_profile.write(".aws/credentials", &format!("[default]\n{keys}"));
    let by_process = bare();
    let keys = format!(r#"{{"Version":1,"AccessKeyId":"{secret}","SecretAccessKey":"{id}","SessionToken":"t"}}"#);
    let script = by_process.write("process", &format!("echo '{keys}'\n"));
    let config = by_process.write(".aws/config", &format!("[default]\ncredential_process = sh {}\n", script.display()));
    settle(&[&script, &config]);
    for (source, helper) in [("variables", in_variables), ("a profile", in_profile), ("a process", by_process)] {
        for args in [&["doctor", HOST][..], &["doctor", "-v", HOST], &["doctor", "--json", HOST]] {
            let ran = helper.run(args, "");
            assert!(ran.stdout.contains("exchanged with the secret key?"), "{source}: {}", ran.stdout);
            assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{source}: {ran:?}");
        }
        helper.get(HOST).password_for(HOST);
        let listed = helper.run(&["cache"], "").stdout;
        assert!(listed.contains(HOST) && !listed.contains("KEY1"), "{source}: {listed}");
        let log = fs::read_to_string(helper.home().join("log")).expect("a log");
        assert!(!log.contains(secret), "{source}: {log}");
    }
    // Emulators of AWS are satisfied with a word.
    for (id, is_shown) in [("test", true), (id, true), ("hunter2", false), ("correct-horse-battery-staple", false)] {
        let helper = bare().var("AWS_ACCESS_KEY_ID", id).var("AWS_SECRET_ACCESS_KEY", secret);
        let ran = helper.run(&["doctor", "-v", HOST], "");
        assert_eq!(ran.stdout.contains(&format!("access key {id}")), is_shown, "{id}: {}", ran.stdout);
    }
}

/// IAM's ids begin with four letters that say what they are the id of, and emulators of AWS have such letters of their own.
#[test]
fn capitals_and_digits_that_are_no_access_key_id_are_not_shown() {
    let aws = Aws::start();
    for (id, is_shown) in [
        ("AKIAIOSFODNN7EXAMPLE", true),
        ("LKIAQAAAAAAAFP5YH2SQ", true),
        ("AKIAEXAMPLE", true),
        ("AKIDEXAMPLE", true),
        ("AKIA1", false),
        ("AKIAhunter", false),
        ("HUNTER2", false),
        ("PASSWORD", false),
        ("SECRETAKID", false),
        ("secret", false),
        ("minioadmin", false),
        ("CORRECTHORSEBATTERYSTAPLE", false),
        ("JBSWY3DPEHPK3PXPJBSWY3DP", false),
        ("AROAIOSFODNN7EXAMPLE", false),
        ("AKIAIOSFODNN7example", false),
    ] {
        let bare = || logging(&aws).var("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1");
        let helper = bare().var("AWS_ACCESS_KEY_ID", id).var("AWS_SECRET_ACCESS_KEY", "s");
        let ran = helper.run(&["doctor", "-v", HOST], "");
        assert_eq!(ran.stdout.contains(&format!("access key {id}")), is_shown, "{id}: {}", ran.stdout);
        assert_eq!(ran.stdout.contains("has not the form of one"), !is_shown, "{id}: {}", ran.stdout);
        helper.get(HOST).password_for(HOST);
        let listed = helper.run(&["cache"], "").stdout;
        let end = &id[id.len() - 4..];
        assert!(listed.contains(HOST) && (is_shown || !listed.contains(end)), "{id}: {listed}");
    }
}

#[test]
fn passwords_in_the_urls_of_endpoints() {
    let secret = "hunter2";
    let url = "http://me:hunter2@127.0.0.1:1/hunter2?hunter2";
    let registry = format!("[[registry]]\nmatch = '1111*'\nendpoint_url = '{url}'\n");
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECR", "a registry's"] {
        let helper = Helper::bare()
            .var("AWS_ACCESS_KEY_ID", "AKIA")
            .var("AWS_SECRET_ACCESS_KEY", "s")
            .var("AWS_ECR_LOG", "trace")
            .var("AWS_ECR_LOG_FILE", "~/log")
            .var("AWS_MAX_ATTEMPTS", "1");
        let helper = if variable == "a registry's" {
            helper.write(".config/docker-credential-ecr-login/config.toml", &registry);
            helper
        } else {
            helper.var(variable, url)
        };
        let line = helper.get(HOST).error().to_owned();
        assert!(line.contains("127.0.0.1:1") && !line.contains(secret), "{line}");
        let report = helper.run(&["doctor", "-v", HOST], "").stdout;
        assert!(report.contains("127.0.0.1:1") && !report.contains(secret), "{report}");
        let log = fs::read_to_string(helper.home().join("log")).expect("a log");
        assert!(!log.contains(secret), "{log}");
    }
}

/// The message about an invalid URL quotes no part of it.
#[test]
fn passwords_in_what_is_meant_for_a_url() {
    let secret = "hunter2";
    for variable in
        ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "an AWS file", "a registry"]
    {
        for url in [
            "me:hunter2@127.0.0.1",
            "//me:hunter2@127.0.0.1:1",
            "http:me:hunter2@127.0.0.1:1",
            "http://me:x/hunter2@127.0.0.1:1",
            "http://me:x#hunter2@127.0.0.1",
        ] {
            let helper = Helper::bare().var("AWS_ECR_LOG", "trace").var("AWS_ECR_LOG_FILE", "~/log");
            let helper = match variable {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI" => helper,
                _ => helper.var("AWS_ACCESS_KEY_ID", "AKIA").var("AWS_SECRET_ACCESS_KEY", "s"),
            };
            let helper = match variable {
                "an AWS file" => {
                    helper.write(".aws/config", &format!("[default]\nendpoint_url = {url}\n"));
                    helper
                }
                "a registry" => {
                    let registry = format!("[[registry]]\nmatch = '1111*'\nendpoint_url = '{url}'\n");
                    helper.write(".config/docker-credential-ecr-login/config.toml", &registry);
                    helper
                }
                // Only a role makes a request to STS.
                "AWS_ENDPOINT_URL_STS" => {
                    let role = "arn:aws:iam::111122223333:role/Pull";
                    helper.var(variable, url).var("AWS_ECR_ROLE_ARN_111122223333", role)
                }
                _ => helper.var(variable, url),
            };
            let line = helper.get(HOST).error().to_owned();
            assert!(!line.contains(secret) && !line.contains("Request {"), "{variable} {url}: {line}");
            assert!(line.contains("URL") || line.contains("https://host"), "{variable} {url}: {line}");
            assert!(!variable.starts_with("AWS") || line.contains(variable), "{variable} {url}: {line}");
            let log = fs::read_to_string(helper.home().join("log")).unwrap_or_default();
            let report = helper.run(&["doctor", HOST], "").stdout;
            assert!(!log.contains(secret) && !report.contains(secret), "{log}{report}");
        }
    }
}

#[test]
fn only_a_regular_file_of_ones_own_is_a_log() {
    if !nix::unistd::geteuid().is_root() {
        return skip("logs of others", "making devices and giving files away need root");
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "debug");
    // A log that changes the mode of any file would change /dev/null for all users.
    let device = helper.home().join("null");
    shell(&format!("mknod -m 666 {} c 1 3", device.display()));
    let helper = helper.var("AWS_ECR_LOG_FILE", device.to_str().expect("UTF-8"));
    helper.get(HOST).password_for(HOST);
    assert_eq!(fs::metadata(&device).expect("metadata").mode() & 0o777, 0o666);
    // A file of another user.
    let others = helper.write("others.log", "theirs\n");
    fs::set_permissions(&others, fs::Permissions::from_mode(0o644)).expect("a mode");
    chown(&others, Some(12345), Some(12345)).expect("a file of somebody else");
    let helper = helper.var("AWS_ECR_LOG_FILE", others.to_str().expect("UTF-8"));
    helper.get(HOST).password_for(HOST);
    let metadata = fs::metadata(&others).expect("metadata");
    assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o644, 12345));
    assert_eq!(fs::read_to_string(&others).expect("a file"), "theirs\n");
}

#[test]
fn an_endless_answer_of_a_credential_endpoint_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let head =
                    "HTTP/1.1 200 OK\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(head.as_bytes());
                while stream.write_all(&[b' '; 16384]).is_ok() {}
            });
        }
    });
    let container = Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{url}/credentials"));
    let instance = Helper::bare().var("AWS_EC2_METADATA_DISABLED", "").var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url);
    for helper in [container, instance] {
        // The helper stops reading at the limit, well before the deadline.
        best_of_three(Duration::from_secs(8), || {
            let ran = helper.get(HOST);
            assert!(ran.error().contains(HOST), "{ran:?}");
            ran.took
        });
    }
}

#[test]
fn the_name_of_a_container_endpoint_is_looked_up_like_any_other() {
    if !nix::unistd::geteuid().is_root() || missing(&["unshare"]).is_some() {
        return skip("names of container endpoints", "a hosts file of one's own needs root");
    }
    let aws = Aws::start();
    let dir = tempfile::tempdir().expect("a directory");
    let hosts = dir.path().join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost creds.test\n").expect("a write");
    let names = std::rc::Rc::new(Namespace::of_mounts(&format!("mount --bind {} /etc/hosts", hosts.display())));
    let port = aws.url().rsplit(':').next().expect("a port").to_owned();
    let helper = Helper::bare().inside(&names).var("AWS_ENDPOINT_URL", &aws.url());
    let uri = format!("http://creds.test:{port}/v1/credentials");
    let helper = helper.var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri);
    assert!(helper.get(HOST).password_for(HOST).starts_with("ASIA-container-v1-credentials."));
}
