//! The cache: one API call for many gets, freshness, refresh, separate identities, damaged entries, and a cache that cannot be
//! used.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::HOST;
use crate::helper::{Helper, SECRET_KEY, instant, is_on_windows, lacks_unix, limit, make_older, many};
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
    ] {
        let aws = Aws::start();
        let mut helper = Helper::of(&aws);
        match service {
            "sts" => helper.set(role.0, role.1),
            "sso" => {
                helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
                let config = format!("[default]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
                helper.write(".aws/config", &config);
                crate::issuers::sign_in(&helper, "u", "2099-01-01T00:00:00Z");
            }
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

#[test]
fn a_cache_that_the_helper_creates_is_kept_out_of_backups() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let tag = fs::read_to_string(helper.cache_dir().join("CACHEDIR.TAG")).expect("a tag");
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"), "{tag}");
    // A directory with other files is not the helper's to tag.
    let helper = Helper::of(&aws).var("AWS_ECR_CACHE_DIR", "~/mine");
    let other = helper.write("mine/thesis", "");
    fs::set_permissions(other.parent().expect("a parent"), fs::Permissions::from_mode(0o700)).expect("a mode");
    helper.get(HOST).password_for(HOST);
    assert!(!other.with_file_name("CACHEDIR.TAG").exists());
}

#[test]
fn six_hundred_jobs_leave_no_more_than_their_entries_and_manifests() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let jobs = if std::env::var_os("FULL").is_some() { 600 } else { 60 };
    for job in 0..jobs {
        run(helper.command().arg("get").env("AWS_ACCESS_KEY_ID", format!("AKIA{job}")), HOST).password_for(HOST);
    }
    let files = fs::read_dir(helper.cache_dir()).expect("a cache").count();
    // On Windows the two locks of a request stay until a later one sweeps them: a removed file would keep its name from others.
    let locks = if is_on_windows() { 2 } else { 0 };
    let and_the_tag = 2 * jobs + 1;
    assert_eq!(helper.entries().len(), jobs);
    assert!((and_the_tag..=and_the_tag + locks).contains(&files), "{files}");
}

/// A manifest that is gone is written anew when a request needs it, so an old one is of a request that nobody makes.
#[test]
fn manifests_of_requests_that_nobody_makes_go_within_days() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let manifests = || {
        let files = fs::read_dir(helper.cache_dir()).expect("a cache").flatten().map(|file| file.path());
        files.filter(|path| path.extension().is_some_and(|ending| ending == "manifest")).collect::<Vec<_>>()
    };
    for account in 0..5 {
        helper.get(format!("11112222333{account}.dkr.ecr.us-east-1.amazonaws.com"));
    }
    assert_eq!((manifests().len(), helper.entries().len()), (5, 1));
    let then = std::time::SystemTime::now() - Duration::from_hours(50);
    for path in manifests() {
        fs::File::options().write(true).open(path).and_then(|file| file.set_modified(then)).expect("a time");
    }
    helper.get("public.ecr.aws").password_for("public.ecr.aws");
    assert_eq!(manifests().len(), 1, "that of the last request");
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
