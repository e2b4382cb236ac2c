//! Bazel's credential helper protocol: the headers of a request.

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::HOST;
use crate::helper::{Helper, Ran, instant, make_older, printed};
use crate::support::aws::{Aws, Plan};

fn ask(helper: &Helper, uri: &str) -> Ran {
    helper.get(json!({ "uri": uri }).to_string())
}

#[track_caller]
fn answer(ran: &Ran) -> Value {
    serde_json::from_str(printed(ran)).expect("JSON")
}

fn with_password() -> (Aws, Helper, String) {
    let aws = Aws::with(Plan { password: Some("hunter2".to_owned()), ..Plan::default() });
    let helper = Helper::of(&aws);
    (aws, helper, "QVdTOmh1bnRlcjI=".to_owned())
}

#[test]
fn a_uri_of_ecr_gets_the_header_and_its_expiry_from_the_cache_of_all() {
    let (aws, helper, token) = with_password();
    for uri in [
        format!("https://{HOST}/v2/team/app/blobs/sha256:{}", "a".repeat(64)),
        format!("HTTPS://{}:443/v2/", HOST.to_uppercase()),
        HOST.to_owned(),
    ] {
        let answer = answer(&ask(&helper, &uri));
        assert_eq!(answer["headers"], json!({"Authorization": [format!("Basic {token}")]}), "{uri}");
        let left = instant(&answer["expires"]) - OffsetDateTime::now_utc();
        assert!((43190..=43200).contains(&left.whole_seconds()), "{left}");
    }
    helper.get(HOST).password_for(HOST);
    assert_eq!(aws.count(), 1);
    make_older(&helper, Duration::from_hours(2));
    let left = instant(&answer(&ask(&helper, HOST))["expires"]) - OffsetDateTime::now_utc();
    assert!((35990..=36000).contains(&left.whole_seconds()), "what is left of it: {left}");
    // More fields, and white space around it.
    let request = format!("\n {{\"uri\": \"https://{HOST}/v2/\", \"later\": 1}} \n");
    assert_eq!(answer(&helper.get(request))["headers"]["Authorization"][0], format!("Basic {token}"));
}

#[test]
fn ecr_public_takes_the_token_as_a_bearer_where_images_are() {
    let (_aws, helper, token) = with_password();
    for (uri, scheme) in [
        ("https://public.ecr.aws/v2/docker/library/busybox/manifests/latest", "Bearer"),
        ("https://public.ecr.aws/token/?service=public.ecr.aws", "Basic"),
        ("public.ecr.aws", "Basic"),
    ] {
        assert_eq!(
            answer(&ask(&helper, uri))["headers"],
            json!({"Authorization": [format!("{scheme} {token}")]}),
            "{uri}"
        );
    }
    assert_eq!(answer(&ask(&Helper::bare(), "https://public.ecr.aws/v2/")), json!({"headers": {}}), "anonymously");
}

#[test]
fn other_hosts_and_plain_http_get_no_header_and_ask_nobody() {
    let (aws, helper, _) = with_password();
    let host = format!("http://{HOST}/v2/");
    for uri in [
        "https://prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com/a?X-Amz-Signature=b",
        "https://ghcr.io/v2/",
        "grpcs://remote.example.com/Service/Method",
        "https://user@evil.example/v2/",
        &format!("https://{HOST}.evil.example/"),
        &host,
        "",
    ] {
        assert_eq!(answer(&ask(&helper, uri)), json!({"headers": {}}), "{uri}");
    }
    assert_eq!(aws.count(), 0);
}

#[test]
fn a_failure_is_on_standard_error_alone() {
    let uri = format!("https://{HOST}/v2/");
    let ran = ask(&Helper::bare(), &uri);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains("no AWS credentials") && ran.stderr.contains(HOST), "{ran:?}");
    let ran = ask(&Helper::bare().var("AWS_ECR_TIMEOUT", "soon"), &uri);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
}

#[test]
fn a_token_without_an_expiry_has_none_in_the_answer() {
    let aws = Aws::with(Plan { life: -1, ..Plan::default() });
    let answer = answer(&ask(&Helper::of(&aws), HOST));
    assert!(answer["headers"]["Authorization"][0].is_string() && answer.get("expires").is_none(), "{answer}");
}

#[test]
fn json_that_names_no_uri_is_none_of_its_requests() {
    let helper = Helper::bare();
    for input in ["{}", "{", r#"{"uri": 1}"#, r#"{"ServerURL": "public.ecr.aws"}"#, "[]"] {
        assert_eq!(helper.get(input).error(), crate::NOT_FOUND, "{input}");
    }
}
