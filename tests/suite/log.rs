//! The log: off by default, private, and at level debug one line for each step with what was decided and why.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::HOST;
use crate::helper::{Helper, Ran, SECRET_KEY};
use crate::namespace::{missing, skip};
use crate::support::aws::Aws;

#[test]
fn the_debug_log_has_one_line_a_step_with_the_decision_and_its_reason() {
    let aws = Aws::start();
    let role = "arn:aws:iam::111122223333:role/Pull";
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "debug").var("AWS_ECR_ROLE_ARN_111122223333", role);
    let endpoint = aws.url().replace("http://", "");
    let (host, asked, answered) =
        (format!("host=\"{HOST}\""), format!("endpoint=\"{}", aws.url()), format!("endpoint=\"{endpoint}\""));
    let mapped = format!("role=\"{role}\"");
    let miss: [&[&str]; 10] = [
        &["registry recognized", &host, "account=\"111122223333\"", "region=\"us-east-1\""],
        &["this setting maps the registry", "setting=\"AWS_ECR_ROLE_ARN_111122223333\"", &mapped],
        &[
            "identity decided",
            "chosen_by=\"no setting: the default\"",
            "with the environment (AWS_ACCESS_KEY_ID)",
            "key=",
        ],
        &["no cached token", "dir="],
        &["ECR will be asked", &asked],
        &["assuming the role", role],
        &["credentials found", "took_ms="],
        &["ECR gave a token", &answered, "took_ms="],
        &["token requested and cached"],
        &["answered", "took_ms="],
    ];
    let hit: [&[&str]; 4] = [
        &["settings unchanged", "region=\"us-east-1\"", role, "chosen_by=\"AWS_ECR_ROLE_ARN_111122223333\""],
        &["cached token", "key=", "age=\"", "valid_for=\"1", "state=\"fresh\""],
        &["token served from the cache", HOST],
        &["answered", "took_ms="],
    ];
    for expected in [&miss[..], &hit[..]] {
        let log = helper.get(HOST).stderr;
        assert!(log.matches("credentials found").count() <= 1, "{log}");
        let mut lines = log.lines();
        for words in expected {
            let found = lines.any(|line| words.iter().all(|word| line.contains(word)));
            assert!(found, "{words:?}, in this order, in\n{log}");
        }
        for line in log.lines() {
            let (at, _) = line.split_once(' ').expect("a time");
            let at = OffsetDateTime::parse(at, &Rfc3339).expect("RFC 3339");
            assert!(at.offset() == UtcOffset::UTC && (OffsetDateTime::now_utc() - at).whole_minutes() == 0, "{line}");
        }
    }
    let helper = helper.var("AWS_ECR_ROLE_ARN_111122223333", "").var("AWS_PROFILE", "p");
    helper.write(".aws/credentials", "[p]\naws_access_key_id = AKIAP\naws_secret_access_key = s\n");
    let log = helper.without_keys().get(HOST).stderr;
    let decided = log.lines().find(|line| line.contains("identity decided")).expect("a line");
    for word in ["profile=\"p\"", "chosen_by=\"AWS_PROFILE\"", "credentials=\"profile 'p'\""] {
        assert!(decided.contains(word), "{word} in {decided}");
    }
}

#[test]
fn the_log_is_off_by_default_and_lists_the_steps_when_enabled() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    assert_eq!(helper.get(HOST).stderr, "");
    for (level, expected) in [("off", false), ("error", false), ("debug", true), ("TRACE", true), ("nonsense", true)] {
        let helper = Helper::of(&aws).var("AWS_ECR_LOG", level);
        let ran = helper.get(HOST);
        assert_eq!((ran.code, !ran.stderr.is_empty()), (Some(0), expected), "{level}: {ran:?}");
    }
}

#[test]
fn a_log_file_is_private_and_replaces_stderr() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "debug").var("AWS_ECR_LOG_FILE", "~/helper.log");
    let path = helper.write("helper.log", "before\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions");
    for _ in 0..2 {
        helper.get(HOST).password_for(HOST);
    }
    let log = fs::read_to_string(&path).expect("a log");
    assert!(log.starts_with("before\n") && log.contains("served from the cache"), "{log}");
    assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
}

/// The AWS files continue a value on lines that are indented; found by the fuzz target `aws_settings`.
#[test]
fn a_setting_of_two_lines_makes_no_second_line_in_the_log() {
    let helper = Helper::bare().var("AWS_ECR_LOG", "debug").var("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let helper = helper.var("AWS_MAX_ATTEMPTS", "1");
    helper.write(
        ".aws/config",
        "[default]\naws_access_key_id = A\naws_secret_access_key = s\nrole_arn = arn:aws:iam::111122223333:role/R\n  \
         second line\nsource_profile = default\n",
    );
    let ran = helper.get(HOST);
    assert!(ran.code == Some(1) && ran.stdout.contains("role/R second line"), "{ran:?}");
    let log: Vec<&str> = ran.stderr.lines().filter(|line| !line.starts_with("ecr-login: ")).collect();
    assert!(log.len() > 3 && log.iter().all(|line| line.starts_with("20")), "{log:#?}");
}

#[test]
fn no_secret_in_the_log_at_any_level() {
    let aws = Aws::start();
    let session_token = "stand-in-session-token";
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "trace").var("AWS_SESSION_TOKEN", session_token);
    for _ in 0..2 {
        let ran = helper.get(HOST);
        let password = serde_json::from_str::<serde_json::Value>(&ran.stdout).expect("JSON")["Secret"].to_string();
        assert!(!ran.stderr.is_empty());
        for secret in [SECRET_KEY, session_token, password.trim_matches('"')] {
            assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
        }
    }
}

#[test]
fn a_log_that_cannot_be_written_does_not_cost_the_pull() {
    let aws = Aws::start();
    for (path, why) in [
        ("~/missing/log", "there is no directory "),
        ("~", "it ends as a directory does"),
        ("/dev/zero", "it is not a file of this user with one name"),
        ("~/link", "it is a symbolic link"),
    ] {
        let helper = Helper::without_registry(&aws).var("AWS_ECR_LOG_FILE", path);
        std::os::unix::fs::symlink("log", helper.home().join("link")).expect("a link");
        helper.get(HOST).password_for(HOST);
        // Nothing else says why there is none.
        let doctor = helper.run(&["doctor"], "").stdout;
        let line = doctor.lines().find(|line| line.contains("no log is written to ")).unwrap_or_default();
        assert!(line.starts_with("warning") && line.contains(why) && line.ends_with("[W-LOG-UNUSED]"), "{doctor}");
    }
    for path in ["~/log", "/dev/null"] {
        let doctor = Helper::without_registry(&aws).var("AWS_ECR_LOG_FILE", path).run(&["doctor"], "").stdout;
        assert!(!doctor.contains("no log"), "{path}: {doctor}");
    }
}

#[test]
fn processes_that_move_a_large_log_aside_at_once_lose_no_line() {
    if missing(&["strace"]).is_some() {
        return skip("rotation of the log", "strace is not installed");
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "debug").var("AWS_ECR_LOG_FILE", "~/helper.log");
    helper.get(HOST).password_for(HOST);
    let large = "an old line\n".repeat(100_000);
    let (path, old) = (helper.write("helper.log", &large), helper.write("helper.log.old", "the log before\n"));
    // Each process examines the large file well before it moves it.
    let slowly = ["-e", "trace=renameat", "-e", "inject=renameat:delay_enter=50ms"];
    let trace = helper.home().join("trace").display().to_string();
    let start = |_| helper.start_under("strace", &["-f", "-o", &trace], &slowly, HOST);
    let running: Vec<_> = (0..3).map(start).collect();
    for child in running {
        Ran::new(child.wait_with_output().expect("an end"), Duration::ZERO).password_for(HOST);
    }
    let (old, new) = (fs::read_to_string(old).expect("a log"), fs::read_to_string(path).expect("a log"));
    assert!(old.starts_with(&large), "the large log is gone, and {} bytes are left", old.len());
    assert_eq!([old, new].concat().matches("answered").count(), 3);
}
