//! The cache: one API call for many gets, freshness, refresh, separate identities, damaged entries, and a cache that cannot be
//! used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::HOST;
use crate::helper::{Helper, SECRET_KEY, instant, lacks_unix, limit, make_older, many};
use crate::process::{best_of_three, run};
use crate::support::aws::{Aws, Plan};

#[test]
fn a_second_get_asks_aws_nothing() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let first = helper.get(HOST).password_for(HOST);
    for _ in 0..3 {
        assert_eq!(helper.get(HOST).password_for(HOST), first);
    }
    assert_eq!(aws.count(), 1);
}

#[test]
fn files_are_private_and_hold_no_credentials_of_iam() {
    if lacks_unix("modes of files") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(&helper.cache_dir()), 0o700);
    assert_eq!(mode(helper.cache_dir().parent().expect("a parent")), 0o700);
    assert_eq!(helper.entries().len(), 1);
    for file in fs::read_dir(helper.cache_dir()).expect("the cache").flatten() {
        assert_eq!(mode(&file.path()), 0o600, "{file:?}");
        let content = fs::read_to_string(file.path()).expect("text");
        assert!(!content.contains(SECRET_KEY) && !content.contains("AKIAEXAMPLE\""), "{content}");
    }
}

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
    aws.change(|plan| (plan.failures, plan.failure) = (usize::MAX, (400, "AccessDeniedException", "no more")));
    make_older(&helper, Duration::from_mins(719));
    assert_eq!(helper.get(HOST).password_for(HOST), first);
    assert_eq!(aws.count(), 2, "it did ask");
    make_older(&helper, Duration::from_hours(12));
    assert!(helper.get(HOST).error().contains("AccessDeniedException"));
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

/// Returns a helper whose token is stale and whose refresh has failed once, and the file that holds the time of the next one.
fn failed_once(aws: &Aws) -> (Helper, std::path::PathBuf) {
    let helper = Helper::of(aws);
    helper.get(HOST).password_for(HOST);
    aws.change(|plan| (plan.failures, plan.failure) = (1, (400, "AccessDeniedException", "not now")));
    make_older(&helper, Duration::from_hours(7));
    helper.get(HOST).password_for(HOST);
    let mut files = fs::read_dir(helper.cache_dir()).expect("a cache").flatten().map(|file| file.path());
    let note = files.find(|path| path.extension().is_some_and(|ending| ending == "postponed")).expect("a note");
    (helper, note)
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
    // Several times: a failure that is not recent does not count.
    for _ in 0..5 {
        let at = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
        let report = format!(r#"{{"at":"{at}","code":"E-ECR-DENIED","what":"denied","hint":"allow it"}}"#);
        fs::write(&failure, report).expect("a write");
        fs::copy(&failure, entry.with_extension("failure")).expect("a copy");
        assert_eq!(helper.get(HOST).password_for(HOST), first);
    }
    assert_eq!(aws.count(), 1, "the other process holds the lock");
}

#[test]
fn the_next_refresh_after_a_failed_one_is_due_in_five_to_ten_minutes() {
    let (_helper, note) = failed_once(&Aws::start());
    let until = instant(&fs::read_to_string(note).expect("a note").into());
    let now = OffsetDateTime::now_utc();
    let seconds = (until - now).whole_seconds();
    assert!((240..=600).contains(&seconds), "{until} {now}");
}

#[test]
fn a_postponed_refresh_is_tried_when_it_is_due_and_when_its_time_is_impossible() {
    let aws = Aws::start();
    let (helper, postponed) = failed_once(&aws);
    let now = OffsetDateTime::now_utc();
    for seconds in [-1, 100_000] {
        let time = (now + time::Duration::seconds(seconds)).format(&Rfc3339).expect("a time");
        fs::write(&postponed, &time).expect("a write");
        make_older(&helper, Duration::from_hours(7));
        let calls = aws.count();
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), calls + 1, "{time}");
    }
}

#[test]
fn in_the_last_tenth_of_a_tokens_lifetime_each_get_tries_to_refresh_it() {
    let aws = Aws::start();
    let (helper, postponed) = failed_once(&aws);
    let later = (OffsetDateTime::now_utc() + Duration::from_mins(5)).format(&Rfc3339).expect("a time");
    fs::write(&postponed, later).expect("a write");
    make_older(&helper, Duration::from_hours(11));
    let calls = aws.count();
    helper.get(HOST).password_for(HOST);
    assert_eq!(aws.count(), calls + 1);
}

#[test]
fn callers_are_kept_apart() {
    let aws = Aws::start();
    let mut helper = Helper::of(&aws);
    let config = "[profile a]\naws_access_key_id = AKIAPROFILEA\naws_secret_access_key = a\n";
    helper.write(".aws/config", config);
    helper.write(".aws/credentials", "[b]\naws_access_key_id = AKIAPROFILEB\naws_secret_access_key = b\n");
    let mut seen = |settings: &[(&str, &str)], who: &str| {
        for (name, value) in settings {
            helper.set(name, value);
        }
        let password = helper.get(HOST).password_for(HOST);
        assert!(password.starts_with(who), "{password} for {who}");
    };
    for _ in 0..2 {
        let keys = [("AWS_PROFILE", ""), ("AWS_ACCESS_KEY_ID", "AKIAONE"), ("AWS_SECRET_ACCESS_KEY", "x")];
        seen(&keys, "AKIAONE");
        seen(&[("AWS_ACCESS_KEY_ID", "AKIATWO")], "AKIATWO");
        seen(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_PROFILE", "a")], "AKIAPROFILEA");
        seen(&[("AWS_PROFILE", "b")], "AKIAPROFILEB");
    }
    assert_eq!(aws.count(), 4, "and each is cached");
}

#[test]
fn a_wrong_secret_does_not_get_the_token_of_the_right_one() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    helper.var("AWS_SECRET_ACCESS_KEY", "a guess").get(HOST).password_for(HOST);
    assert_eq!(aws.count(), 2);
}

#[test]
fn the_cache_can_be_moved_and_turned_off() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_CACHE_DIR", "~/elsewhere/deep");
    for _ in 0..2 {
        helper.get(HOST).password_for(HOST);
    }
    assert_eq!((aws.count(), helper.entries().len()), (1, 0));
    assert_eq!(crate::helper::entries(&helper.home().join("elsewhere/deep")).len(), 1);
    let helper = helper.var("AWS_ECR_DISABLE_CACHE", "false");
    for _ in 0..2 {
        helper.get(HOST).password_for(HOST);
    }
    assert_eq!(aws.count(), 3, "any value turns it off");
}

#[test]
fn a_damaged_or_foreign_entry_is_a_miss_and_is_replaced() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let [path] = helper.entries().try_into().expect("one entry");
    let good = fs::read_to_string(&path).expect("an entry");
    let far = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
    helper.get(far).password_for(far);
    let other = helper.entries().into_iter().find(|other| *other != path).expect("another entry");
    let foreign = fs::read_to_string(other).expect("an entry");
    for bad in ["", "{}", "null", &good[..good.len() / 2], &good.replace("\"format\":4", "\"format\":3"), &foreign] {
        fs::write(&path, bad).expect("a write");
        let before = aws.count();
        let password = helper.get(HOST).password_for(HOST);
        assert_eq!(password, format!("AKIAEXAMPLE.us-east-1.{}", before + 1), "{bad:.40}");
        assert_eq!(helper.get(HOST).password_for(HOST), password, "replaced");
    }
}

#[test]
fn a_cache_that_cannot_be_written_costs_a_note_in_the_log_and_not_the_pull() {
    if lacks_unix("a file where the cache would be") {
        return;
    }
    let aws = Aws::start();
    let log = tempfile::tempdir().expect("a directory");
    let log = log.path().join("log");
    let helper = Helper::of(&aws).var("AWS_ECR_LOG_FILE", log.to_str().expect("UTF-8"));
    let file = helper.write("a-file", "");
    for dir in [file.join("cache"), file] {
        let helper_there = dir.to_str().expect("UTF-8");
        let before = fs::read_to_string(&log).unwrap_or_default().len();
        run(helper.command().arg("get").env("AWS_ECR_CACHE_DIR", helper_there), HOST).password_for(HOST);
        let log = fs::read_to_string(&log).expect("a log");
        assert!(log[before..].contains(helper_there) && log[before..].contains("cache"), "{log}");
    }
}
