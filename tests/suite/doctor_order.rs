//! The report of `doctor` says the same of one world each time, but for times, in whatever order its requests end.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use serde_json::Value;

use crate::HOST;
use crate::helper::{Chance, Helper, SECRET_KEY};
use crate::support::aws::Aws;
use crate::support::serve;

/// The report without its times: durations, and the time at which a token expires.
fn without_times(text: &str) -> String {
    let masked = |line: &str| {
        line.chars().fold(String::new(), |mut masked, c| {
            if !(c.is_ascii_digit() && masked.ends_with('0')) {
                masked.push(if c.is_ascii_digit() { '0' } else { c });
            }
            masked
        })
    };
    let lines = text.lines().map(|line| match line.split_once("\"expiry\"") {
        Some((before, _)) => before.to_owned(),
        None if line.contains(" ms") || line.contains("valid for") => masked(line),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// AWS behind a delay of up to 80 ms that differs for each request. It denies the access key `AKIADENIED`.
fn uneven(aws: &Aws) -> String {
    let chance = Arc::new(Mutex::new(Chance::new()));
    let answer = move |request: Request, next: Next| {
        let delay = chance.lock().expect("numbers").below(80);
        async move {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let signed = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            if signed.is_some_and(|text| text.contains("AKIADENIED") && text.contains("/ecr/")) {
                let error = r#"{"__type":"AccessDeniedException","message":"User: x is not authorized"}"#;
                return (StatusCode::BAD_REQUEST, error).into_response();
            }
            next.run(request).await
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let app: Router = aws.app().layer(middleware::from_fn(answer));
    serve(listener, app);
    url
}

/// Profiles with keys of their own, one with a role, and one whose keys ECR denies.
fn profiles() -> String {
    let mut config =
        String::from("[profile role]\nrole_arn = arn:aws:iam::333344445555:role/Pull\nsource_profile = p0\n");
    for (name, key) in [("p0", "AKIA0"), ("p1", "AKIA1"), ("p2", "AKIA2"), ("p3", "AKIA3"), ("denied", "AKIADENIED")] {
        let _ = writeln!(config, "[profile {name}]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET_KEY}");
    }
    config
}

/// A machine with a profile for each of these accounts.
fn machine(aws: &Aws, accounts: &[(&str, &str)]) -> Helper {
    let mut helper = Helper::without_registry(aws).without_keys();
    helper.write(".aws/config", &profiles());
    for (account, profile) in accounts {
        helper.set(&format!("AWS_ECR_PROFILE_{account}"), profile);
    }
    helper
}

fn report(helper: &Helper, hosts: &[&str]) -> String {
    helper.run(&[&["doctor", "--json"], hosts].concat(), "").stdout
}

/// How many shared checks there are of each of these names, whatever their status.
fn counts<const N: usize>(report: &str, names: [&str; N]) -> [usize; N] {
    let report: Value = serde_json::from_str(report).expect("JSON");
    let checks = report["checks"].as_array().expect("checks").clone();
    names.map(|name| checks.iter().filter(|check| check["check"] == name).count())
}

#[test]
fn four_accounts_have_the_same_report_each_time() {
    let aws = Aws::start();
    let accounts = [("001122223333", "p0"), ("111122223333", "p1"), ("221122223333", "p2"), ("331122223333", "p3")];
    let mut helper = machine(&aws, &accounts);
    let hosts = accounts.map(|(account, _)| format!("{account}.dkr.ecr.us-east-1.amazonaws.com"));
    let hosts = hosts.each_ref().map(String::as_str);
    helper.set("AWS_ENDPOINT_URL", &uneven(&aws));
    let first = report(&helper, &hosts);
    let names = ["endpoint", "credentials", "principal", "token", "clock"];
    assert_eq!(counts(&first, names), [1, 4, 4, 4, 1], "each account has its own: {first}");
    for _ in 0..6 {
        assert_eq!(without_times(&report(&helper, &hosts)), without_times(&first));
    }
    // The same when the endpoint is silent: whichever account asks first.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    helper.set("AWS_ENDPOINT_URL", &format!("http://{}", silent.local_addr().expect("an address")));
    helper.set("AWS_ECR_TIMEOUT", "1s");
    let first = without_times(&report(&helper, &hosts));
    assert_eq!(counts(&first, ["token", "principal"]), [1, 0], "{first}");
    assert_eq!(without_times(&report(&helper, &hosts)), first);
}

#[test]
fn failures_roles_regions_and_images_side_by_side_have_the_same_report_each_time() {
    let aws = Aws::start();
    let accounts = [
        ("001122223333", "p0"),
        ("111122223333", "p1"),
        ("222233334444", "denied"),
        ("333344445555", "role"),
        ("444455556666", "gone"),
    ];
    let mut helper = machine(&aws, &accounts);
    helper.set("AWS_ENDPOINT_URL", &uneven(&aws));
    let image = format!("{HOST}/team/app:1");
    let hosts = [
        "222233334444.dkr.ecr.us-east-1.amazonaws.com",
        HOST,
        "001122223333.dkr.ecr.us-east-1.amazonaws.com",
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com",
        image.as_str(),
        "333344445555.dkr.ecr.us-east-1.amazonaws.com",
        "444455556666.dkr.ecr.us-east-1.amazonaws.com",
        "ghcr.io",
    ];
    let first = report(&helper, &hosts);
    // Two of the tokens are for the same account, in two regions; the host and the image in it share one.
    assert_eq!(counts(&first, ["credentials", "principal", "token"]), [4, 4, 5], "{first}");
    for words in ["E-ECR-DENIED", "E-PROFILE-MISSING", "E-HOST-UNKNOWN", "role/Pull"] {
        assert!(first.contains(words), "{words} in {first}");
    }
    for _ in 0..8 {
        assert_eq!(without_times(&report(&helper, &hosts)), without_times(&first));
    }
}
