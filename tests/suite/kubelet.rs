//! The image credential provider: requests as kubelet writes them, answers as it decodes them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::HOST;
use crate::helper::{Helper, Ran, make_older};
use crate::issuers::jwt;
use crate::process::{end, run};
use crate::support::aws::{Aws, Plan};

pub const V1: &str = "credentialprovider.kubelet.k8s.io/v1";
const VERSIONS: [&str; 3] =
    [V1, "credentialprovider.kubelet.k8s.io/v1beta1", "credentialprovider.kubelet.k8s.io/v1alpha1"];
pub const ROLE: &str = "arn:aws:iam::111122223333:role/pull/TeamA";
const CONFIG: &str = ".config/docker-credential-ecr-login/config.toml";

/// `CredentialProviderResponse`; the three versions have the same fields. Like kubelet's decoder it takes no others.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Response {
    api_version: String,
    kind: String,
    cache_key_type: CacheKeyType,
    cache_duration: String,
    auth: BTreeMap<String, AuthConfig>,
}

#[derive(Debug, Deserialize, PartialEq)]
enum CacheKeyType {
    Image,
    Registry,
    Global,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthConfig {
    username: String,
    password: String,
}

/// Go's `time.ParseDuration`, without fractions and signs.
fn go_duration(text: &str) -> Duration {
    let mut seconds = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit()).expect(text);
        let number: u64 = rest[..unit].parse().expect(text);
        let end = rest[unit..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |length| unit + length);
        seconds += number
            * match &rest[unit..end] {
                "h" => 3600,
                "m" => 60,
                "s" => 1,
                _ => panic!("{text}"),
            };
        rest = &rest[end..];
    }
    assert!(!text.is_empty());
    Duration::from_secs(seconds)
}

/// The answer, decoded and checked for all that is the same in each.
#[track_caller]
fn decode(ran: &Ran, version: &str) -> Response {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let response: Response = serde_json::from_str(&ran.stdout).expect("a response");
    let Response { api_version, kind, cache_key_type, .. } = &response;
    assert_eq!((api_version.as_str(), kind.as_str()), (version, "CredentialProviderResponse"));
    assert_eq!(*cache_key_type, CacheKeyType::Registry);
    response
}

/// The password for `registry`, and how long kubelet may keep it.
#[track_caller]
pub fn credential(ran: &Ran, version: &str, registry: &str) -> (String, Duration) {
    let Response { cache_duration, mut auth, .. } = decode(ran, version);
    let AuthConfig { username, password } = auth.remove(registry).expect(registry);
    assert!(auth.is_empty() && username == "AWS");
    (password, go_duration(&cache_duration))
}

/// An answer without a credential, which kubelet shall not keep.
#[track_caller]
fn empty(ran: &Ran) {
    let Response { cache_duration, auth, .. } = decode(ran, V1);
    assert_eq!((cache_duration.as_str(), auth.len()), ("0s", 0));
}

/// The line that kubelet logs.
#[track_caller]
pub fn error(ran: &Ran) -> &str {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    let line = ran.stderr.strip_suffix('\n').expect("a line");
    assert!(line.starts_with("ecr-login: ") && !line.contains('\n'), "{line:?}");
    line
}

fn request(version: &str, image: &str) -> Value {
    json!({"kind": "CredentialProviderRequest", "apiVersion": version, "image": image})
}

pub fn ask(helper: &Helper, image: &str) -> Ran {
    helper.run(&["kubelet"], request(V1, image).to_string())
}

/// A request for a service account, with its annotation if `role` is given.
pub fn request_for(image: &str, token: &str, role: Option<&str>) -> Value {
    let mut request = request(V1, image);
    request["serviceAccountToken"] = token.into();
    if let Some(role) = role {
        request["serviceAccountAnnotations"] = json!({ "eks.amazonaws.com/ecr-role-arn": role });
    }
    request
}

pub fn ask_for(helper: &Helper, image: &str, token: &str, role: Option<&str>) -> Ran {
    helper.run(&["kubelet"], request_for(image, token, role).to_string())
}

pub fn image() -> String {
    format!("{HOST}/team/app")
}

/// A node without credentials of its own.
pub fn bare(aws: &Aws) -> Helper {
    Helper::bare().var("AWS_ENDPOINT_URL", &aws.url())
}

pub const HOUR: Duration = Duration::from_hours(1);

#[track_caller]
pub fn is_about(duration: Duration, expected: Duration) {
    assert!(duration <= expected && duration + Duration::from_mins(1) > expected, "{duration:?}, not {expected:?}");
}

#[test]
fn every_version_from_the_cache_that_get_uses() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let mut passwords = vec![helper.get(HOST).password_for(HOST)];
    for version in VERSIONS {
        let ran = helper.run(&["kubelet"], request(version, &image()).to_string());
        let (password, keep) = credential(&ran, version, HOST);
        is_about(keep, 6 * HOUR);
        passwords.push(password);
    }
    passwords.dedup();
    assert_eq!((passwords.len(), aws.count()), (1, 1), "one token");

    make_older(&helper, 4 * HOUR);
    let (_, keep) = credential(&ask(&helper, &image()), V1, HOST);
    is_about(keep, 4 * HOUR);
    let other = Aws::start();
    let helper = Helper::of(&other);
    let (password, _) = credential(&ask(&helper, &image()), V1, HOST);
    assert_eq!(helper.get(HOST).password_for(HOST), password);
    assert_eq!(other.count(), 1, "and get uses what kubelet asked for");
}

#[test]
fn half_of_what_is_left_and_nothing_when_that_is_unknown() {
    let aws = Aws::with(Plan { life: -1, ..Plan::default() });
    let (_, keep) = credential(&ask(&Helper::of(&aws), &image()), V1, HOST);
    assert_eq!(keep, Duration::ZERO);
    for life in [91, 600, 3599] {
        let aws = Aws::with(Plan { life, ..Plan::default() });
        let (_, keep) = credential(&ask(&Helper::of(&aws), &image()), V1, HOST);
        let half = life.unsigned_abs() / 2;
        assert!((half - 5..=half).contains(&keep.as_secs()), "{keep:?} of {life} s");
    }
}

#[test]
fn the_key_is_the_registry_as_the_image_spells_it() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let shouted = HOST.to_ascii_uppercase();
    let (port, shouted_port) = (format!("{HOST}:443"), format!("{shouted}:443"));
    for registry in [HOST, &shouted, &port, &shouted_port] {
        for rest in ["app", "team/app", "app:1.2", &format!("team/app@{digest}"), &format!("app:1.2@{digest}")] {
            let ran = ask(&helper, &format!("{registry}/{rest}"));
            credential(&ran, V1, registry);
        }
    }
    assert_eq!(aws.count(), 1);
}

#[test]
fn hosts_that_are_not_ecr_get_nothing() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_ROLE_ARN", ROLE);
    for image in [
        "nginx",
        "nginx:1.27",
        "library/nginx",
        "docker.io/library/nginx",
        "localhost:5000/app",
        &format!("{HOST}.evil.example/app"),
        &format!("evil.example/{HOST}/app"),
        &format!("user@{HOST}/app"),
        &format!("https://{HOST}/app"),
        &format!("{HOST}:/app"),
        &format!(" {HOST}/app"),
        "/app",
        "\u{1F980}/app",
    ] {
        empty(&ask(&helper, image));
        empty(&ask_for(&helper, image, &jwt("system:serviceaccount:a:b", 1), Some(ROLE)));
    }
    assert_eq!(aws.count(), 0);
}

#[test]
fn a_custom_domain_gets_the_token_of_the_registry_behind_it() {
    let (aws, endpoint) = (Aws::start(), Aws::start());
    let helper = Helper::of(&aws);
    let mapping = format!(
        "[[registry]]\nmatch = 'images.example.com:5000'\nregistry = '333344445555.dkr.ecr.eu-west-1.amazonaws.com'\n\
         endpoint_url = '{}'\nrole_arn = 'arn:aws:iam::333344445555:role/Mapped'\n",
        endpoint.url()
    );
    helper.write(CONFIG, &mapping);
    let image = "images.example.com:5000/app";
    let (password, _) = credential(&ask(&helper, image), V1, "images.example.com:5000");
    assert!(password.starts_with("ASIA-Mapped-by-AKIAEXAMPLE.eu-west-1."), "{password}");

    // Beside a service account the mapping says where to ask, and not who asks.
    let ran = ask_for(&helper, image, &jwt("system:serviceaccount:a:b", 1), Some(ROLE));
    let (password, _) = credential(&ran, V1, "images.example.com:5000");
    assert!(password.starts_with("ASIA-TeamA-by-jwt.eu-west-1."), "{password}");
    assert_eq!((aws.count_of("ecr"), endpoint.count_of("ecr"), endpoint.count()), (0, 2, 2));
    empty(&ask(&helper, "other.example.com/app"));
    helper.write(CONFIG, "[[registry]]\nmatch = '*'\nprofile = 'gone'\n");
    let ran = ask_for(&helper, &self::image(), &jwt("system:serviceaccount:a:b", 1), Some(ROLE));
    credential(&ran, V1, HOST);
    assert!(error(&ask(&helper, &self::image())).contains("'gone'"));
}

#[test]
fn ecr_public_with_a_token_or_without() {
    let aws = Aws::with(Plan { service: "ecr-public", ..Plan::default() });
    let helper = Helper::of(&aws);
    for registry in ["public.ecr.aws", "ecr-public.aws.com"] {
        let (password, keep) = credential(&ask(&helper, &format!("{registry}/nginx/nginx:1")), V1, registry);
        assert!(password.starts_with("AKIAEXAMPLE.us-east-1."), "{password}");
        is_about(keep, 6 * HOUR);
    }
    let image = "public.ecr.aws/nginx/nginx";
    aws.change(|plan| {
        plan.failures = usize::MAX;
        plan.failure = (400, "AccessDeniedException", "stand-in says no");
    });
    let log = helper.home().join("log");
    let denied = Helper::of(&aws).var("AWS_ECR_LOG_FILE", log.to_str().expect("UTF-8"));
    empty(&ask(&denied, image));
    let logged = fs::read_to_string(&log).expect("a log");
    assert!(logged.contains("stand-in says no") && logged.contains("public.ecr.aws"), "{logged}");
    empty(&ask(&Helper::bare(), image));
    empty(&ask_for(&bare(&aws), image, &jwt("system:serviceaccount:a:b", 1), None));
    empty(&ask_for(&bare(&aws), image, "no JWT", Some(ROLE)));
}

#[test]
fn failures_are_for_standard_error() {
    let denied = Aws::with(Plan {
        failures: usize::MAX,
        failure: (400, "AccessDeniedException", "stand-in says no"),
        ..Plan::default()
    });
    let helper = Helper::of(&denied);
    let ran = ask(&helper, &image());
    let line = error(&ran);
    for word in [HOST, "us-east-1", "stand-in says no", "ecr:GetAuthorizationToken"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    helper.write(CONFIG, "timeout = 'soon'\n");
    assert!(error(&ask(&helper, &image())).contains("line 1"));
}

#[test]
fn what_is_no_request_is_refused() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let secret = "stand-in-token-in-the-wrong-place";
    let with = |field: &str, value: Value| {
        let mut request = request(V1, &image());
        request[field] = value;
        request.to_string()
    };
    let long = with("image", format!("{HOST}/{}", "a".repeat(2 * 1024 * 1024)).into());
    let good = request(V1, &image()).to_string();
    for (input, word) in [
        ("", "line 1"),
        ("null", "line 1"),
        ("[]", "cannot be read"),
        (&good[..good.len() - 1], "line 1"),
        (&format!("{good}{secret}"), "line 1"),
        ("{\"image\":\n\"a\",", "line 2"),
        (&long, "cannot be read"),
        ("{}", "kind"),
        (&with("kind", "CredentialProviderResponse".into()), "kind"),
        (&with("apiVersion", "credentialprovider.kubelet.k8s.io/v2".into()), "apiVersion"),
        (&with("apiVersion", "v1".into()), "apiVersion"),
        (&with("apiVersion", Value::Null), "cannot be read"),
        (&with("image", "".into()), "no image"),
        (&with("image", 7.into()), "cannot be read"),
        (&with("serviceAccountToken", json!([secret])), "cannot be read"),
        (&with("serviceAccountToken", secret.into()), "not a JWT"),
        (&with("serviceAccountAnnotations", secret.into()), "cannot be read"),
    ] {
        let ran = helper.run(&["kubelet"], input);
        let line = error(&ran);
        assert!(line.contains(word) && !line.contains(secret), "{word} in {line}");
    }
    assert_eq!(aws.count(), 0);
    // Of a version to come; and what Go leaves out or writes for nothing.
    credential(&helper.run(&["kubelet"], with("podName", "a".into())), V1, HOST);
    credential(&helper.run(&["kubelet"], with("serviceAccountToken", "".into())), V1, HOST);
    credential(&helper.run(&["kubelet"], with("serviceAccountAnnotations", Value::Null)), V1, HOST);
}

/// What a deadline of 700 ms may take. The usual one is twenty seconds.
const BOUND: std::ops::Range<Duration> = Duration::from_millis(700)..Duration::from_secs(10);

#[test]
fn an_aws_that_does_not_answer_is_waited_for_until_the_deadline() {
    let aws = Aws::with(Plan { delay: Duration::from_mins(10), ..Plan::default() });
    let ran = ask(&Helper::of(&aws).var("AWS_ECR_TIMEOUT", "700ms"), &image());
    assert!(BOUND.contains(&ran.took), "{:?}", ran.took);
    assert!(error(&ran).contains("in time"));
}

#[test]
fn a_request_that_does_not_end_is_waited_for_until_the_deadline() {
    let helper = Helper::of(&Aws::start()).var("AWS_ECR_TIMEOUT", "700ms");
    let started = Instant::now();
    let mut child = helper.command().arg("kubelet").spawn().expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(&request(V1, &image()).to_string().as_bytes()[..20]).expect("a write");
    let ran = Ran::new(end(child), started.elapsed());
    drop(input);
    assert!(BOUND.contains(&ran.took), "{:?}", ran.took);
    assert!(error(&ran).contains("standard input did not end in time"));
}

#[test]
fn under_the_name_of_the_plugin_that_it_replaces() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let input = request(V1, &image()).to_string();
    for name in ["ecr-credential-provider", "/opt/bin/ecr-credential-provider", "ecr-credential-provider.exe"] {
        for args in [&[][..], &["get-credentials"], &["get-credentials", "--v=3"], &["get"], &["--help"]] {
            credential(&run(helper.command().arg0(name).args(args), &input), V1, HOST);
        }
    }
    let ran = run(helper.command().arg0("my-ecr-credential-provider").arg("version"), "");
    assert!(ran.stdout.starts_with("docker-credential-ecr-login"));
}
