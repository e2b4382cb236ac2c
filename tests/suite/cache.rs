//! The cache: freshness, refresh, processes at once, separate identities, damaged entries, and a cache that cannot be used.

mod refresh;
mod together;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::HOST;
use crate::helper::{Helper, SECRET_KEY, is_on_windows, lacks_unix};
use crate::process::run;
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
fn a_cache_of_the_helper_is_kept_out_of_backups() {
    let aws = Aws::start();
    let private = |dir: &Path| {
        fs::create_dir_all(dir).expect("a directory");
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("a mode");
    };
    for case in ["new", "made by somebody else", "without its tag", "elsewhere"] {
        let helper = Helper::of(&aws);
        let dir = if case == "elsewhere" { helper.home().join("elsewhere") } else { helper.cache_dir() };
        let helper = helper.var("AWS_ECR_CACHE_DIR", if case == "elsewhere" { "~/elsewhere" } else { "" });
        let tag = dir.join("CACHEDIR.TAG");
        if case == "made by somebody else" {
            private(&dir);
        } else if case == "without its tag" {
            helper.get(HOST).password_for(HOST);
            for file in [&tag, &helper.entries()[0]] {
                fs::remove_file(file).expect("a file");
            }
        }
        helper.get(HOST).password_for(HOST);
        let text = fs::read_to_string(tag).unwrap_or_default();
        assert!(text.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"), "{case}: {text}");
    }
    // Another directory may have other files, and is not the helper's to tag.
    let helper = Helper::of(&aws).var("AWS_ECR_CACHE_DIR", "~/mine");
    let other = helper.write("mine/thesis", "");
    private(&helper.home().join("mine"));
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

/// It would be written each time and never read.
#[test]
fn a_token_that_is_too_large_for_the_cache_is_served_and_not_kept() {
    let aws = Aws::with(Plan { password: Some("x".repeat(300_000)), ..Plan::default() });
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "warn");
    let ran = helper.get(HOST);
    assert_eq!((ran.code, ran.stdout.len() > 300_000), (Some(0), true), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("not cached") && ran.stderr.contains("larger than 256 KiB, the limit"),
        "{}",
        ran.stderr
    );
    assert_eq!(helper.entries(), [] as [std::path::PathBuf; 0]);
}
