//! When a token is refreshed, and what is served when that fails.

use std::fs;
use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::HOST;
use crate::helper::{Helper, instant, limit, make_older, many};
use crate::process::{self, best_of_three};
use crate::support::aws::Aws;

#[test]
fn a_token_is_served_for_half_its_life_and_then_refreshed() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    for (age, password) in [(Duration::from_hours(5), ".1"), (Duration::from_hours(6), ".2")] {
        make_older(&helper, age);
        assert!(helper.get(HOST).password_for(HOST).ends_with(password), "{age:?}");
    }
}

#[test]
fn when_a_refresh_fails_a_valid_token_is_served_and_an_expired_one_never() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let first = helper.get(HOST).password_for(HOST);
    aws.change(|plan| (plan.failures, plan.failure) = (usize::MAX, (400, "InvalidParameterException", "no more")));
    make_older(&helper, Duration::from_mins(719));
    assert_eq!(helper.get(HOST).password_for(HOST), first);
    assert_eq!(aws.count(), 2, "it did ask");
    make_older(&helper, Duration::from_hours(12));
    assert!(helper.get(HOST).error().contains("InvalidParameterException"));
}

#[test]
fn a_service_that_hangs_does_not_keep_a_valid_token_back_for_long() {
    best_of_three(Duration::from_millis(2300), || {
        let aws = Aws::start();
        let helper = Helper::of(&aws);
        let first = helper.get(HOST).password_for(HOST);
        aws.change(|plan| plan.delay = Duration::from_mins(10));
        make_older(&helper, Duration::from_hours(7));
        let ran = helper.get(HOST);
        assert_eq!(ran.password_for(HOST), first);
        ran.took
    });
}

#[test]
fn after_a_failed_refresh_a_valid_token_is_served_at_once() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let first = helper.get(HOST).password_for(HOST);
    aws.change(|plan| plan.delay = Duration::from_mins(10));
    make_older(&helper, Duration::from_hours(7));
    // It would take half a minute if each get waited for AWS.
    let started = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(helper.get(HOST).password_for(HOST), first);
    }
    assert!(started.elapsed() < limit(Duration::from_secs(15)), "{:?}", started.elapsed());
    assert_eq!(aws.count(), 2, "one tried");
}

/// A refresh has a second or two, and the answer has its whole time where nothing valid is left by then.
#[test]
fn a_token_that_expires_during_its_refresh_is_replaced_by_one_that_takes_longer() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    make_older(&helper, Duration::from_hours(12) - Duration::from_secs(1));
    aws.change(|plan| plan.delay = Duration::from_secs(3));
    let (first, second) = (helper.start(&["get"], HOST.as_bytes()), helper.get(HOST));
    assert_eq!((second.code, process::end(first).status.code()), (Some(0), Some(0)), "{second:?}");
    aws.change(|plan| plan.delay = Duration::ZERO);
    let calls = aws.count();
    assert!(!helper.get(HOST).password_for(HOST).ends_with(".1"));
    assert_eq!(aws.count(), calls, "the second attempt was cached");
}

/// What AWS says when it refuses the identity itself: by ECR, by STS for a role, by SSO for a sign-in.
#[test]
fn a_refusal_at_a_refresh_removes_the_token_and_is_the_answer() {
    let role = ("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/Pull");
    for (service, code) in [
        ("ecr", "AccessDeniedException"),
        ("ecr", "UnrecognizedClientException"),
        ("sts", "AccessDenied"),
        ("sts", "InvalidClientTokenId"),
        ("sso", "ForbiddenException"),
        ("sso", "ResourceNotFoundException"),
    ] {
        let aws = Aws::start();
        let mut helper = Helper::of(&aws);
        match service {
            "sts" => helper.set(role.0, role.1),
            "sso" => helper = signed_in(&aws),
            _ => {}
        }
        helper.get(HOST).password_for(HOST);
        make_older(&helper, Duration::from_hours(7));
        aws.change(|plan| {
            (plan.failures, plan.failure, plan.service) = (usize::MAX, (403, code, "not any more"), service);
        });
        for _ in 0..2 {
            // The code, or what it means.
            let line = helper.get(HOST).error().to_owned();
            assert!(line.contains(code) || line.contains("does not know the access key"), "{service} {code}: {line}");
            assert!(helper.entries().is_empty(), "{service} {code}");
        }
    }
}

/// A helper with a sign-in through IAM Identity Center.
fn signed_in(aws: &Aws) -> Helper {
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let config = format!("[default]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
    helper.write(".aws/config", &config);
    crate::issuers::sign_in(&helper, "u", "2099-01-01T00:00:00Z");
    helper
}

/// The service that renews a sign-in may refuse the user, and not only a session that has ended by time.
#[test]
fn a_refusal_of_the_user_at_the_renewal_of_a_sign_in_removes_the_token() {
    use crate::issuers::{LOGIN, SSO, log_in, sign_in};
    let kinds = [
        ("login", 403, "USER_CREDENTIALS_CHANGED", true, false),
        ("login", 403, "INSUFFICIENT_PERMISSIONS", true, false),
        ("login", 403, "INSUFFICIENT_PERMISSIONS", true, true),
        ("login", 403, "TOKEN_EXPIRED", false, false),
        ("sso", 403, "access_denied", true, false),
        ("sso", 403, "access_denied", true, true),
        ("sso", 403, "invalid_grant", false, false),
        // A proxy, a limit on the rate of requests, and an outage have the texts of others.
        ("login", 407, "USER_CREDENTIALS_CHANGED", false, false),
        ("login", 429, "INSUFFICIENT_PERMISSIONS", false, false),
        ("sso", 407, "access_denied", false, false),
        ("sso", 429, "access_denied", false, false),
        ("sso", 500, "access_denied", false, false),
        ("sso", 503, "access_denied", false, false),
    ];
    let signed_in: Vec<_> = kinds
        .into_iter()
        .map(|(kind, status, error, is_refusal, by_doctor)| {
            let aws = Aws::start();
            let refusal = format!(r#"{{"error":"{error}","message":"no"}}"#);
            let status = axum::http::StatusCode::from_u16(status).expect("a status");
            let service = crate::hostile::answering_with(status, refusal);
            let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_REGION", "us-east-1");
            let helper = helper.var("AWS_ENDPOINT_URL_SIGNIN", &service).var("AWS_ENDPOINT_URL_SSO_OIDC", &service);
            let until = OffsetDateTime::now_utc() + Duration::from_secs(5);
            let time = until.format(&Rfc3339).expect("a time");
            let profile = if kind == "login" {
                log_in(&helper, "ASIA-login", &time);
                format!("login_session = {LOGIN}\n")
            } else {
                sign_in(&helper, "corp", &time);
                format!("sso_session = corp\n{SSO}[sso-session corp]\nsso_start_url = u\nsso_region = eu-west-1\n")
            };
            helper.write(".aws/config", &format!("[default]\n{profile}"));
            let first = helper.get(HOST).password_for(HOST);
            make_older(&helper, Duration::from_hours(7));
            (aws, helper, until, first, format!("{status} {error}"), is_refusal, by_doctor)
        })
        .collect();
    for (_aws, helper, until, first, error, is_refusal, by_doctor) in signed_in {
        while OffsetDateTime::now_utc() <= until {
            std::thread::sleep(Duration::from_millis(20));
        }
        if by_doctor {
            helper.run(&["doctor", HOST], "");
            assert!(helper.entries().is_empty(), "{error}");
        }
        for _ in 0..2 {
            let ran = helper.get(HOST);
            if is_refusal {
                assert!(ran.error().contains("login") && helper.entries().is_empty(), "{error}: {ran:?}");
            } else {
                assert_eq!(ran.password_for(HOST), first, "{error}");
            }
        }
    }
}

/// A sign-in ends like credentials that expire, and the SDKs use the credentials of an instance without a role until they expire.
#[test]
fn a_sign_in_that_has_ended_and_an_instance_without_its_role_leave_a_valid_token() {
    for (service, failure) in [
        ("sso", (401, "UnauthorizedException", "Session token not found or invalid")),
        ("sso", (401, "ForbiddenException", "No access")),
        ("sso", (401, "AccessDeniedException", "No access")),
        ("sso", (401, "ResourceNotFoundException", "")),
        ("sso", (429, "ResourceNotFoundException", "")),
        ("imds", (404, "", "")),
    ] {
        let aws = Aws::start();
        let helper = match service {
            "sso" => signed_in(&aws),
            _ => Helper::bare()
                .var("AWS_ENDPOINT_URL", &aws.url())
                .var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &aws.url())
                .var("AWS_EC2_METADATA_DISABLED", ""),
        };
        let first = helper.get(HOST).password_for(HOST);
        make_older(&helper, Duration::from_hours(7));
        aws.change(|plan| (plan.failures, plan.failure, plan.service) = (usize::MAX, failure, service));
        let calls = aws.count();
        for _ in 0..2 {
            assert_eq!(helper.get(HOST).password_for(HOST), first, "{service}");
        }
        assert!(aws.count() > calls, "{service}: a refresh was tried");
        assert_eq!(aws.count_of("ecr"), 1, "{service}");
    }
}

/// Of processes that share the failure, each answers with it: none serves the token that AWS refused.
#[test]
fn no_process_serves_a_token_whose_refresh_was_refused() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    make_older(&helper, Duration::from_hours(7));
    aws.change(|plan| (plan.failures, plan.failure) = (usize::MAX, (400, "AccessDeniedException", "not any more")));
    helper.get(HOST).error();
    for ran in many(&helper, 20, HOST).0 {
        assert!(ran.error().contains("AccessDeniedException"), "{ran:?}");
    }
    assert!(helper.entries().is_empty());
}

#[test]
fn an_outage_throttling_an_expired_session_or_a_wrong_clock_leave_a_valid_token() {
    for failure in [
        (503, "ServiceUnavailableException", "later"),
        (400, "ThrottlingException", "Rate exceeded"),
        (400, "ExpiredTokenException", "The security token included in the request is expired"),
        (403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large"),
        (403, "InvalidSignatureException", "Signature expired: 20200101T000000Z is now earlier than 20200101T010000Z"),
        (500, "AccessDeniedException", "an error of AWS"),
        (407, "AccessDeniedException", "an error of a proxy"),
        (429, "UnrecognizedClientException", "too many requests"),
    ] {
        let aws = Aws::start();
        let helper = Helper::of(&aws).var("AWS_MAX_ATTEMPTS", "1");
        let first = helper.get(HOST).password_for(HOST);
        make_older(&helper, Duration::from_hours(7));
        aws.change(|plan| (plan.failures, plan.failure) = (usize::MAX, failure));
        assert_eq!(helper.get(HOST).password_for(HOST), first, "{failure:?}");
        assert_eq!((aws.count(), helper.entries().len()), (2, 1), "{failure:?}");
    }
}

/// Returns a helper whose token is stale and whose refresh has failed once, and the report of that failure.
fn failed_once(aws: &Aws) -> (Helper, std::path::PathBuf) {
    let helper = Helper::of(aws);
    helper.get(HOST).password_for(HOST);
    aws.change(|plan| (plan.failures, plan.failure) = (usize::MAX, (400, "InvalidParameterException", "not now")));
    make_older(&helper, Duration::from_hours(7));
    helper.get(HOST).password_for(HOST);
    let [entry] = helper.entries().try_into().expect("one entry");
    (helper, entry.with_extension("failure"))
}

/// Sets the report's time to a minute ago, when it counts for no process that starts now, and the time of the next refresh.
fn postpone(report: &Path, refresh_after: OffsetDateTime) {
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
    let text = |time: OffsetDateTime| time.format(&Rfc3339).expect("a time");
    json["at"] = text(OffsetDateTime::now_utc() - Duration::from_mins(1)).into();
    json["refresh_after"] = text(refresh_after).into();
    fs::write(report, json.to_string()).expect("a write");
}

#[test]
fn the_next_refresh_after_a_failed_one_is_due_in_five_to_ten_minutes() {
    let (_helper, report) = failed_once(&Aws::start());
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
    let until = instant(&report["refresh_after"]);
    let now = OffsetDateTime::now_utc();
    let seconds = (until - now).whole_seconds();
    assert!((240..=600).contains(&seconds), "{until} {now}");
}

#[test]
fn a_postponed_refresh_is_tried_when_it_is_due_and_when_its_time_is_impossible() {
    let aws = Aws::start();
    let (helper, report) = failed_once(&aws);
    for seconds in [-1, 100_000] {
        let time = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        postpone(&report, time);
        make_older(&helper, Duration::from_hours(7));
        let calls = aws.count();
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), calls + 1, "{time}");
    }
}

#[test]
fn in_the_last_tenth_of_a_tokens_lifetime_each_get_tries_to_refresh_it() {
    let aws = Aws::start();
    let (helper, report) = failed_once(&aws);
    postpone(&report, OffsetDateTime::now_utc() + Duration::from_mins(5));
    make_older(&helper, Duration::from_hours(11));
    let calls = aws.count();
    helper.get(HOST).password_for(HOST);
    assert_eq!(aws.count(), calls + 1);
}
