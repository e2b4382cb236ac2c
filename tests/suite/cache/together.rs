//! Processes that need the same token at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::HOST;
use crate::helper::{Helper, Ran, lacks_unix, limit, make_older, many, printed};
use crate::process::{self, wait_until};
use crate::support::aws::{Aws, Plan};

#[test]
fn fifty_at_once_make_one_call() {
    for delay in [0, 50] {
        let aws = Aws::with(Plan { delay: Duration::from_millis(delay), ..Plan::default() });
        let helper = Helper::of(&aws);
        for ran in many(&helper, 50, HOST).0 {
            assert_eq!(ran.password_for(HOST), "AKIAEXAMPLE.us-east-1.1");
        }
        assert_eq!(aws.count(), 1);
    }
}

/// The other process writes its failure before it releases the lock. A get that comes in between has a valid token to serve.
#[test]
fn a_valid_token_is_served_while_the_refresh_of_another_process_fails() {
    // This process would hold a lock of another kind.
    if lacks_unix("a valid token while the refresh of another process fails") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let first = helper.get(HOST).password_for(HOST);
    make_older(&helper, Duration::from_hours(7));
    let [entry] = helper.entries().try_into().expect("one entry");
    let lock = fs::File::create(entry.with_extension("lock")).expect("a lock file");
    fs::set_permissions(entry.with_extension("lock"), fs::Permissions::from_mode(0o600)).expect("a mode");
    lock.lock().expect("a lock");
    let failure = helper.write("failure", "");
    fs::set_permissions(&failure, fs::Permissions::from_mode(0o600)).expect("a mode");
    // Several times: the report of an earlier failure does not count.
    for _ in 0..5 {
        let at = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
        let report = format!(
            r#"{{"at":"{at}","is_refusal":false,"code":"E-THROTTLED","what":"too many","hint":"wait","refresh_after":null}}"#
        );
        fs::write(&failure, report).expect("a write");
        fs::copy(&failure, entry.with_extension("failure")).expect("a copy");
        assert_eq!(helper.get(HOST).password_for(HOST), first);
    }
    assert_eq!(aws.count(), 1, "the other process holds the lock");
}

/// A service that takes its time, and a user of it.
fn slow() -> (Aws, Helper) {
    let aws = Aws::with(Plan { delay: Duration::from_secs(2), ..Plan::default() });
    let helper = Helper::of(&aws);
    (aws, helper)
}

fn until_asked(aws: &Aws, times: usize) {
    wait_until("a request", limit(Duration::from_secs(10)), || aws.count() == times);
}

fn ended(child: Child) -> Ran {
    Ran::new(process::end(child), Duration::ZERO)
}

/// Whatever needs a token takes the same way to it.
#[test]
fn every_command_waits_for_the_request_of_another_one() {
    for first in [&["get"][..], &["login", HOST], &["export", HOST]] {
        let (aws, helper) = slow();
        let kubelet = json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "kind": "CredentialProviderRequest",
            "image": format!("{HOST}/team/app:1"),
        });
        let leader = helper.start(first, HOST.as_bytes());
        until_asked(&aws, 1);
        let others = [
            (&["get"][..], HOST.to_owned()),
            (&["get-login-password", "--region", "us-east-1"], String::new()),
            (&["export", HOST], String::new()),
            (&["kubelet"], kubelet.to_string()),
        ];
        let others = others.map(|(args, input)| helper.start(args, input.as_bytes()));
        for child in others.into_iter().chain([leader]) {
            let ran = ended(child);
            assert_eq!(ran.code, Some(0), "{first:?}: {ran:?}");
        }
        assert_eq!(aws.count(), 1, "{first:?}");
    }
}

/// A person has just signed in: the token of a request that began before does not count, nor does it replace the new one.
#[test]
fn a_login_waits_for_the_request_of_another_process_and_then_asks_itself() {
    let (aws, helper) = slow();
    let get = helper.start(&["get"], HOST.as_bytes());
    until_asked(&aws, 1);
    let login = helper.run(&["login", HOST], "");
    assert!(printed(&login).starts_with("logged in"), "{login:?}");
    assert!(ended(get).password_for(HOST).ends_with(".1"));
    assert!(helper.get(HOST).password_for(HOST).ends_with(".2"), "that of the login");
    assert_eq!(aws.count(), 2);
}

#[test]
fn an_erasure_wins_over_a_login_that_began_before() {
    let (aws, helper) = slow();
    let login = helper.start(&["login", HOST], b"");
    until_asked(&aws, 1);
    helper.run(&["erase"], HOST).silent();
    let login = ended(login);
    assert!(login.code == Some(1) && login.stderr.contains("erased meanwhile"), "{login:?}");
    assert!(helper.entries().is_empty());
}

/// The lock of a leader that was stopped is free once it dies, while its successor asks.
#[test]
fn one_process_asks_after_a_leader_was_stopped_and_killed() {
    if lacks_unix("a leader that is stopped") {
        return;
    }
    let aws = Aws::with(Plan { delay: Duration::from_secs(4), ..Plan::default() });
    let helper = Helper::of(&aws);
    let mut leader = helper.start(&["get"], HOST.as_bytes());
    until_asked(&aws, 1);
    kill(Pid::from_raw(leader.id().cast_signed()), Signal::SIGSTOP).expect("a signal");
    let successor = helper.start(&["get"], HOST.as_bytes());
    until_asked(&aws, 2);
    leader.kill().and_then(|()| leader.wait()).expect("an end");
    let later = helper.start(&["get"], HOST.as_bytes());
    for child in [successor, later] {
        assert!(ended(child).password_for(HOST).ends_with(".2"));
    }
    assert_eq!(aws.count(), 2);
}
