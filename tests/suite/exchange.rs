//! Requests to AWS, and how its answers are used.

use std::time::Duration;

use crate::helper::Helper;
use crate::support::aws::{Aws, Plan};
use crate::{HOST, NOT_FOUND};

#[test]
fn the_request_is_signed_for_the_region_and_names_no_registry() {
    let aws = Aws::start();
    let password = Helper::of(&aws).var("AWS_REGION", "ap-south-1").get(HOST).password_for(HOST);
    let calls = aws.calls();
    let [call] = calls.as_slice() else { panic!("one call: {calls:?}") };
    assert_eq!(
        (call.operation.as_str(), call.service.as_str(), call.region.as_str(), call.access_key.as_str()),
        ("GetAuthorizationToken", "ecr", "us-east-1", "AKIAEXAMPLE")
    );
    assert_eq!(call.body, "{}");
    assert_eq!(password, "AKIAEXAMPLE.us-east-1.1");
}

#[test]
fn endpoint_settings_of_the_sdk_are_respected() {
    let (all, only_ecr) = (Aws::start(), Aws::start());
    Helper::of(&all).var("AWS_ENDPOINT_URL_ECR", &only_ecr.url()).get(HOST).password_for(HOST);
    assert_eq!((all.count(), only_ecr.count()), (0, 1));
    let helper = Helper::of(&all).var("AWS_ENDPOINT_URL", "").var("AWS_PROFILE", "here");
    let services = format!("services = mine\n\n[services mine]\necr =\n  endpoint_url = {}\n", only_ecr.url());
    helper.write(".aws/config", &format!("[profile here]\nregion = eu-west-1\n{services}"));
    helper.get(HOST).password_for(HOST);
    assert_eq!((all.count(), only_ecr.count()), (0, 2));
}

#[test]
fn ecr_public_without_credentials_is_left_to_anonymous_pulls() {
    let aws = Aws::start();
    for host in ["public.ecr.aws", "ecr-public.aws.com", "https://public.ecr.aws/docker/library/alpine"] {
        assert_eq!(Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).get(host).error(), NOT_FOUND);
    }
    assert_eq!(aws.count(), 0);
}

#[test]
fn ecr_public_stays_open_to_anonymous_pulls_when_the_exchange_fails() {
    let aws = Aws::with(Plan { failures: 100, failure: (400, "AccessDeniedException", "no"), ..Plan::default() });
    assert_eq!(Helper::of(&aws).get("public.ecr.aws").error(), NOT_FOUND);
}

#[test]
fn throttling_and_server_errors_are_retried() {
    for failure in [(400, "ThrottlingException", "slow down"), (503, "ServiceUnavailable", "come back")] {
        let aws = Aws::with(Plan { failures: 2, failure, ..Plan::default() });
        Helper::of(&aws).get(HOST).password_for(HOST);
        assert_eq!(aws.count(), 3);
    }
}

#[test]
fn unreadable_answers_are_failures_not_tokens() {
    for junk in [
        "",
        "not json",
        "{}",
        r#"{"authorizationData":[]}"#,
        r#"{"authorizationData":[{"authorizationToken":"%%%"}]}"#,
        r#"{"authorizationData":[{"authorizationToken":"bm9jb2xvbg=="}]}"#,
        // <token>:secret, which clients would use as an identity token.
        r#"{"authorizationData":[{"authorizationToken":"PHRva2VuPjpzZWNyZXQ="}]}"#,
    ] {
        let aws = Aws::with(Plan { junk: Some(junk), ..Plan::default() });
        let helper = Helper::of(&aws);
        let ran = helper.get(HOST);
        assert!(ran.error().contains(HOST), "{junk}: {ran:?}");
        assert!(helper.entries().is_empty());
    }
}

#[test]
fn a_token_that_comes_expired_is_handed_out_and_not_cached() {
    let aws = Aws::with(Plan { life: -3600, ..Plan::default() });
    let helper = Helper::of(&aws);
    for number in 1..=2 {
        assert_eq!(helper.get(HOST).password_for(HOST), format!("AKIAEXAMPLE.us-east-1.{number}"));
    }
    assert!(helper.entries().is_empty());
}

#[test]
fn a_service_that_never_answers_does_not_hang_the_pull() {
    let aws = Aws::with(Plan { delay: Duration::from_mins(10), ..Plan::default() });
    let ran = Helper::of(&aws).get(HOST);
    assert!(ran.took < Duration::from_secs(40), "{:?}", ran.took);
    assert!(ran.error().contains(HOST), "{ran:?}");
}

#[test]
fn a_bad_retry_setting_does_not_stop_the_program() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_MAX_ATTEMPTS", "many").var("AWS_RETRY_MODE", "eager");
    helper.get(HOST).password_for(HOST);
}
