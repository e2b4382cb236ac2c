//! The endpoints that give instances and containers their keys: both versions of the instance metadata service, each cause of a
//! failure by its name, and answers of agents that differ from those of AWS.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use crate::HOST;
use crate::helper::Helper;
use crate::support::aws::Aws;

const KEYS: &str = r#"{"Code":"Success","AccessKeyId":"ASIAROLE","SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#;

/// How an endpoint answers: by the number of the request, its method and its path, and whether it has a token. No answer never
/// comes.
type Plan = fn(usize, &str, &str, bool) -> Option<(u16, String)>;

/// An endpoint that notes its requests.
struct Endpoint {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    fn start(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&requests);
        let answer = move |request: Request| {
            let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
            let has_token =
                ["x-aws-ec2-metadata-token", "authorization"].iter().any(|name| request.headers().get(*name).is_some());
            let number = {
                let mut all = noted.lock().expect("requests");
                all.push(format!("{method} {path}"));
                all.len()
            };
            async move {
                match plan(number, &method, &path, has_token) {
                    Some((status, body)) => (StatusCode::from_u16(status).expect("a status"), body).into_response(),
                    None => std::future::pending().await,
                }
            }
        };
        crate::support::serve(listener, axum::Router::new().fallback(answer));
        Self { url, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("requests").clone()
    }

    /// A helper of this endpoint as the instance metadata service, with `aws` for ECR.
    fn instance(&self, aws: &Aws) -> Helper {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_EC2_METADATA_DISABLED", "");
        helper.var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.url)
    }

    /// The same for a container.
    fn container(&self, aws: &Aws) -> Helper {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        helper.var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/keys", self.url))
    }
}

fn role_or_keys(path: &str) -> (u16, String) {
    let text = if path.ends_with("/security-credentials/") { "Role" } else { KEYS };
    (200, text.to_owned())
}

/// No message shows an error as the libraries print it for themselves.
#[track_caller]
fn is_for_people(line: &str) {
    for internal in crate::codes::INTERNALS {
        assert!(!line.contains(internal), "{internal} in {line}");
    }
}

#[test]
fn version_1_is_asked_when_version_2_gives_no_token() {
    let aws = Aws::start();
    let plans: [Plan; 5] = [
        |_, method, path, _| if method == "PUT" { Some((403, String::new())) } else { Some(role_or_keys(path)) },
        |_, method, path, _| if method == "PUT" { Some((404, String::new())) } else { Some(role_or_keys(path)) },
        |_, method, path, _| if method == "PUT" { Some((405, String::new())) } else { Some(role_or_keys(path)) },
        |_, method, path, _| if method == "PUT" { Some((501, String::new())) } else { Some(role_or_keys(path)) },
        // A hop limit of 1: no answer.
        |_, method, path, _| (method != "PUT").then(|| role_or_keys(path)),
    ];
    for plan in plans {
        let endpoint = Endpoint::start(plan);
        let helper = endpoint.instance(&aws);
        assert!(helper.get(HOST).password_for(HOST).starts_with("ASIAROLE."));
        let refused = endpoint.instance(&aws).var("AWS_EC2_METADATA_V1_DISABLED", "true");
        let line = refused.get(HOST).error().to_owned();
        assert!(line.contains("version 1 is disabled by AWS_EC2_METADATA_V1_DISABLED"), "{line}");
        is_for_people(&line);
        let profile = endpoint.instance(&aws);
        profile.write(".aws/config", "[default]\nec2_metadata_v1_disabled = true\n");
        let before = endpoint.requests().len();
        profile.get(HOST).error();
        assert!(endpoint.requests()[before..].iter().all(|request| request.starts_with("PUT")));
    }
}

#[test]
fn a_service_with_version_2_gets_its_token_back() {
    let aws = Aws::start();
    let endpoint = Endpoint::start(|_, method, path, has_token| match (method, has_token) {
        ("PUT", _) => Some((200, "session".to_owned())),
        (_, true) => Some(role_or_keys(path)),
        (_, false) => Some((401, String::new())),
    });
    assert!(endpoint.instance(&aws).get(HOST).password_for(HOST).starts_with("ASIAROLE."));
    assert_eq!(endpoint.requests().len(), 3);
}

#[test]
fn each_refusal_of_the_metadata_service_has_its_own_words() {
    let aws = Aws::start();
    let plans: [(Plan, &str); 17] = [
        (|_, _, _, _| Some((400, String::new())), "does not understand the request (HTTP 400)"),
        (|_, _, _, _| None, "neither version of it answers"),
        (
            |_, method, _, _| Some(if method == "PUT" { (200, "t".into()) } else { (403, String::new()) }),
            "denies access (HTTP 403)",
        ),
        (
            |_, method, _, _| Some(if method == "PUT" { (200, "t".into()) } else { (404, String::new()) }),
            "no role of this instance",
        ),
        (
            |_, method, _, _| Some(if method == "PUT" { (200, "t".into()) } else { (200, String::new()) }),
            "no role of this instance",
        ),
        (
            |_, method, _, _| Some(if method == "PUT" { (200, "t".into()) } else { (405, String::new()) }),
            "does not support the request (HTTP 405)",
        ),
        (
            |_, method, _, _| Some(if method == "PUT" { (200, "t".into()) } else { (429, String::new()) }),
            "limits the rate of requests (HTTP 429)",
        ),
        (
            |_, method, _, _| Some(if method == "PUT" { (200, "t".into()) } else { (503, String::new()) }),
            "has an error of its own (HTTP 503)",
        ),
        // A role that was just exchanged, or whose credentials a proxy does not get: in both versions.
        (
            |_, method, path, _| match (method, path.ends_with("/security-credentials/")) {
                ("PUT", _) => Some((200, "t".into())),
                (_, true) => Some((200, "builders".into())),
                (_, false) => Some((404, String::new())),
            },
            "names the role builders, and has no credentials of it (HTTP 404); try again",
        ),
        (
            |_, _, path, _| {
                let is_list = path.ends_with("/security-credentials/");
                Some(if is_list { (200, "builders".into()) } else { (404, String::new()) })
            },
            "names the role builders, and has no credentials of it (HTTP 404); try again",
        ),
        // The service of another cloud.
        (|_, _, _, _| Some((404, String::new())), "no role of this instance; set AWS_PROFILE"),
        // The service of an instance that requires version 2, behind a hop limit of 1.
        (|_, method, _, _| (method != "PUT").then(|| (401, String::new())), "version 1 is refused (HTTP 401)"),
        (|_, _, _, _| Some((403, String::new())), "refuses to give a session token (HTTP 403)"),
        (|_, _, _, _| Some((200, "<html>a portal</html>\n".into())), "not a JSON object"),
        (
            |_, _, path, _| {
                let keys = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role"}"#;
                let name = if path.ends_with("/token") { "session" } else { "Role" };
                Some((200, if path.ends_with("/Role") { keys } else { name }.into()))
            },
            "AssumeRoleUnauthorizedAccess",
        ),
        (
            |_, method, _, _| (method == "PUT").then(|| (200, "t".into())),
            "gives a session token, and then does not answer; try again",
        ),
        (
            |_, method, _, _| (method == "PUT").then(|| (403, String::new())),
            "refuses to give a session token (HTTP 403), and version 1 does not answer",
        ),
    ];
    let mut lines = Vec::new();
    for (plan, words) in plans {
        let endpoint = Endpoint::start(plan);
        let line = endpoint.instance(&aws).get(HOST).error().to_owned();
        for word in ["no AWS credentials found", "instance metadata service", "AWS_PROFILE", words] {
            assert!(line.contains(word), "{word} in {line}");
        }
        assert_eq!(
            line.contains("hop limit"),
            words.contains("neither version") || words.contains("(HTTP 401)"),
            "{line}"
        );
        let has_role = words == "AssumeRoleUnauthorizedAccess";
        assert!(
            !has_role || line.contains("trust ec2.amazonaws.com") && !line.contains("give this machine a role"),
            "{line}"
        );
        is_for_people(&line);
        lines.push(line);
    }
    let gone = Helper::bare().var("AWS_EC2_METADATA_DISABLED", "");
    let gone = gone.var("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    let line = gone.get(HOST).error().to_owned();
    assert!(line.contains("no instance metadata service (127.0.0.1:1: connection refused)"), "{line}");
}

#[test]
fn an_overloaded_metadata_service_is_asked_again() {
    let aws = Aws::start();
    let plans: [Plan; 2] = [
        |number, _, path, _| Some(if number <= 2 { (429, String::new()) } else { role_or_keys(path) }),
        |number, method, path, _| match (number, method) {
            (1, _) => Some((200, "token".into())),
            (2, _) => Some((500, String::new())),
            _ => Some(role_or_keys(path)),
        },
    ];
    for plan in plans {
        let endpoint = Endpoint::start(plan);
        assert!(endpoint.instance(&aws).get(HOST).password_for(HOST).starts_with("ASIAROLE."));
    }
}

#[test]
fn the_limits_of_the_aws_cli_apply_to_the_metadata_service() {
    let aws = Aws::start();
    // The first request has no answer; a second one is sent only when the settings say so.
    let endpoint = Endpoint::start(|number, _, path, _| (number > 1).then(|| role_or_keys(path)));
    let helper = endpoint.instance(&aws).var("AWS_EC2_METADATA_V1_DISABLED", "true");
    let helper = helper.var("AWS_METADATA_SERVICE_TIMEOUT", "1").var("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "2");
    assert!(helper.get(HOST).password_for(HOST).starts_with("ASIAROLE."));
    assert_eq!(endpoint.requests()[..2], ["PUT /latest/api/token", "PUT /latest/api/token"]);
}

#[test]
fn an_overloaded_endpoint_of_a_container_is_asked_again() {
    let aws = Aws::start();
    let endpoint = Endpoint::start(|number, _, _, _| {
        Some(if number == 1 { (429, String::new()) } else { (200, KEYS.to_owned()) })
    });
    assert!(endpoint.container(&aws).get(HOST).password_for(HOST).starts_with("ASIAROLE."));
    let endpoint = Endpoint::start(|_, _, _, _| Some((429, String::new())));
    let line = endpoint.container(&aws).get(HOST).error().to_owned();
    assert!(line.contains("HTTP status 429") && endpoint.requests().len() == 3, "{line}");
    is_for_people(&line);
}

#[test]
fn static_keys_of_a_container_and_variables_without_a_value() {
    let aws = Aws::start();
    let endpoint =
        Endpoint::start(|_, _, _, _| Some((200, r#"{"AccessKeyId":"AKIASTATIC","SecretAccessKey":"s"}"#.to_owned())));
    let mut command = endpoint.container(&aws);
    assert!(command.get(HOST).password_for(HOST).starts_with("AKIASTATIC."));
    // An empty value cannot be set by `var`.
    command.set("AWS_ECR_DISABLE_CACHE", "1");
    let mut child = command.command();
    for name in [
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ] {
        child.env(name, "");
    }
    let ran = crate::process::run(child.arg("get"), HOST);
    assert!(ran.password_for(HOST).starts_with("AKIASTATIC."));
}

/// As the SDK for Go; the AWS CLI takes the other one.
#[test]
fn of_both_uris_of_a_container_the_full_one_is_asked() {
    let aws = Aws::start();
    let endpoint = Endpoint::start(|_, _, _, _| Some((200, KEYS.to_owned())));
    let helper = endpoint.container(&aws).var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/none");
    assert!(helper.get(HOST).password_for(HOST).starts_with("ASIAROLE."));
    let helper = helper.var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "no-path");
    assert!(helper.get(HOST).password_for(HOST).starts_with("ASIAROLE."), "it is not used");
}

#[test]
fn each_failure_of_a_container_endpoint_has_its_own_words() {
    let aws = Aws::start();
    let plans: [(Plan, &str); 5] = [
        (|_, _, _, _| Some((403, r#"{"message":"not for this pod"}"#.into())), "HTTP status 403: not for this pod"),
        (|_, _, _, _| Some((404, String::new())), "HTTP status 404"),
        (|_, _, _, _| Some((200, "<html></html>".into())), "is not a JSON object"),
        (|_, _, _, _| Some((200, r#"{"AccessKeyId":"A"}"#.into())), "has no SecretAccessKey"),
        (|_, _, _, _| Some((503, String::new())), "HTTP status 503"),
    ];
    for (plan, words) in plans {
        let endpoint = Endpoint::start(plan);
        let line = endpoint.container(&aws).get(HOST).error().to_owned();
        assert!(line.contains("container's endpoint 127.0.0.1") && line.contains(words), "{words} in {line}");
        is_for_people(&line);
    }
    // What nothing answers, or what is no HTTP, has nothing to do with the services of AWS or a proxy.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}/", silent.local_addr().expect("an address"));
    for url in [crate::hostile::answering_with_bytes("no HTTP\r\n\r\n".to_owned()), silent] {
        let line = Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url).get(HOST).error().to_owned();
        assert!(line.contains("container's endpoint: ") && line.contains("the URI that names it"), "{line}");
        is_for_people(&line);
        assert!(!line.contains("AWS_ENDPOINT_URL") && !line.contains("PROXY"), "{line}");
    }
}

#[test]
fn a_token_that_ends_in_a_newline_is_named_as_such() {
    let aws = Aws::start();
    let endpoint = Endpoint::start(|_, _, _, _| Some((200, KEYS.to_owned())));
    let helper = endpoint.container(&aws);
    let file = helper.write("token", "a token\n");
    let helper = helper.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().expect("UTF-8"));
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains("token") && line.contains("ends in a newline"), "{line}");
    for blank in ["", " ", "\t "] {
        helper.write("token", blank);
        let line = helper.get(HOST).error().to_owned();
        assert!(line.contains("(AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE) is empty"), "{line}");
    }
    helper.write("token", "a token");
    helper.get(HOST).password_for(HOST);
    let helper = endpoint.container(&aws).var("AWS_CONTAINER_AUTHORIZATION_TOKEN", "two\nlines");
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains("AWS_CONTAINER_AUTHORIZATION_TOKEN holds characters that are invalid"), "{line}");
}

#[test]
fn keys_of_a_container_come_over_plain_http_from_this_machine_alone() {
    for (url, words) in [
        ("http://10.0.0.1/keys", "is another machine"),
        ("http://169.254.169.254/keys", "is another machine"),
        ("http://[::ffff:10.0.0.1]/keys", "is another machine"),
        ("http://nowhere.invalid/keys", "has no address"),
    ] {
        let helper = Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", url).var("AWS_ECR_TIMEOUT", "5s");
        let line = helper.get(HOST).error().to_owned();
        assert!(line.contains(words) && line.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI"), "{line}");
    }
}

#[test]
fn answers_without_end_are_named_by_their_limit() {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
                while stream.write_all(&[b' '; 16384]).is_ok() {}
            });
        }
    });
    let keys = |helper: Helper| helper.var("AWS_ACCESS_KEY_ID", "AKIA").var("AWS_SECRET_ACCESS_KEY", "s");
    let helpers = [
        Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{url}/credentials")),
        Helper::bare().var("AWS_EC2_METADATA_DISABLED", "").var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url),
        keys(Helper::bare().var("AWS_ENDPOINT_URL", &url)),
        keys(Helper::bare().var("AWS_ENDPOINT_URL", &url))
            .var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/R"),
    ];
    for helper in helpers {
        let ran = helper.get(HOST);
        let line = ran.error();
        assert!(line.contains("larger than 1 MiB") && !line.contains("no instance metadata service"), "{line}");
        is_for_people(line);
        assert!(ran.took < crate::helper::limit(Duration::from_secs(15)), "{:?}", ran.took);
    }
}

/// No other place was asked, so no other one is named.
#[test]
fn a_profile_that_names_the_instance_is_named_where_it_gives_nothing() {
    let aws = Aws::start();
    let endpoint = Endpoint::start(|_, _, _, _| Some((404, String::new())));
    let role = "role_arn = arn:aws:iam::111122223333:role/R\n";
    let named = "credential_source = Ec2InstanceMetadata\n";
    for (config, profile, name) in [
        (format!("[default]\n{role}{named}"), "", "default"),
        (format!("[profile x]\n{role}{named}use_fips_endpoint = no\n"), "x", "x"),
        (format!("[profile y]\n{role}source_profile = x\n[profile x]\n{role}{named}"), "y", "x"),
    ] {
        let helper = || {
            let helper = endpoint.instance(&aws).var("AWS_PROFILE", profile);
            helper.write(".aws/config", &config);
            helper
        };
        let line = helper().get(HOST).error().to_owned();
        let words = format!("profile '{name}' uses the instance's role, which gives none");
        assert!(line.contains(&words) && !line.contains("tried"), "{line}");
        let line = helper().var("AWS_EC2_METADATA_DISABLED", "true").get(HOST).error().to_owned();
        assert!(line.contains("unset AWS_EC2_METADATA_DISABLED") && !line.contains("tried"), "{line}");
    }
}

/// A warning about settings says nothing about a role that nobody has asked for.
#[test]
fn doctor_warns_of_settings_without_a_role_that_it_has_not_found() {
    for (config, name, value) in [
        ("", "AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R"),
        ("[profile x]\nregion = us-east-1\n", "AWS_PROFILE", "x"),
    ] {
        let helper = Helper::bare().var(name, value);
        helper.write(".aws/config", config);
        let report = helper.run(&["doctor", HOST], "").stdout;
        assert!(report.contains("W-SETTING-PASSED-OVER") && !report.contains("from the instance's role"), "{report}");
    }
}
