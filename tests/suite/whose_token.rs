//! Whose token: worlds in which another identity's token was once served from the cache, and what a cache may still save there.

use std::fs;

use crate::HOST;
use crate::helper::Helper;
use crate::sources::sign_in;
use crate::support::aws::Aws;

fn profile(id: &str) -> String {
    format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s\n")
}

/// A helper whose credentials a process prints by this command line, which notes each of its runs.
fn with_process(aws: &Aws, command: &str) -> Helper {
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    helper.write(
        "process",
        "#!/bin/sh\necho run >> \"$HOME/runs\"\n\
         echo '{\"Version\":1,\"AccessKeyId\":\"AKIAPROCESS\",\"SecretAccessKey\":\"s\"}'\n",
    );
    let script = helper.home().join("process");
    let command = command.replace("SCRIPT", script.to_str().expect("UTF-8"));
    helper.write(".aws/config", &format!("[default]\ncredential_process = {command}\n"));
    helper
}

/// How often the process ran.
fn runs(helper: &Helper) -> usize {
    fs::read_to_string(helper.home().join("runs")).expect("runs").lines().count()
}

#[test]
fn logout_leaves_no_token_of_keys_that_were_replaced() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    helper.write(".aws/credentials", &profile("AKIAOLD"));
    let old = helper.get(HOST).password_for(HOST);
    helper.write(".aws/credentials", &profile("AKIANEW"));
    helper.get(HOST).password_for(HOST);
    let elsewhere = "444455556666.dkr.ecr.eu-west-1.amazonaws.com";
    let kept = helper.get(elsewhere).password_for(elsewhere);
    assert_eq!(
        helper.run(&["logout", HOST], "").stdout,
        format!("logged out of {HOST}: its 2 cached tokens are removed\n")
    );
    assert_eq!(helper.get(elsewhere).password_for(elsewhere), kept, "it opens other registries");
    helper.write(".aws/credentials", &profile("AKIAOLD"));
    assert_ne!(helper.get(HOST).password_for(HOST), old);
}

#[test]
fn a_process_that_prints_the_same_keys_again_costs_no_call_to_ecr() {
    let aws = Aws::start();
    let helper = with_process(&aws, "sh SCRIPT $NOTHING");
    let first = helper.get(HOST).password_for(HOST);
    assert_eq!(helper.get(HOST).password_for(HOST), first);
    assert_eq!((runs(&helper), aws.count()), (2, 1), "no hash describes the command, so it runs");
    assert!(helper.run(&["logout", HOST], "").stdout.contains("its cached token is removed"));
    assert_ne!(helper.get(HOST).password_for(HOST), first);
    let script = fs::read_to_string(helper.home().join("process")).expect("a script");
    for (from, to) in [("\"s\"", "\"another\""), ("AKIAPROCESS", "AKIAOTHER")] {
        helper.write("process", &script.replace(from, to));
        let before = aws.count();
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), before + 1, "other credentials: {to}");
    }
    let far = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
    assert!(helper.get(far).password_for(far).contains(".eu-west-1."), "another region");
}

#[test]
fn one_token_of_a_source_that_was_asked_is_listed_once_and_erased_at_once() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let config = format!("[default]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::sources::SSO);
    helper.write(".aws/config", &config);
    sign_in(&helper, "u", "2099-01-01T00:00:00Z");
    let first = helper.get(HOST).password_for(HOST);
    let rows: serde_json::Value =
        serde_json::from_str(&helper.run(&["cache", "--json"], "").stdout).expect("a list of tokens");
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    helper.run(&["erase"], HOST).silent();
    assert!(helper.entries().is_empty());
    assert_ne!(helper.get(HOST).password_for(HOST), first);
    assert!(helper.run(&["cache", "clear"], "").stdout.starts_with("removed 1 token from "));
}
