//! What people are told: errors that name the cause and the next step, the help text, the log.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use docker_credential_ecr_login::env::VARIABLES;
use serde_json::json;

use crate::HOST;
use crate::helper::{Helper, SECRET_KEY};
use crate::namespace::{missing, skip};
use crate::support::aws::{Aws, Plan};

#[test]
fn a_failure_says_what_happened_where_and_what_to_do() {
    let nobody = "http://127.0.0.1:1";
    let denied = Aws::with(Plan {
        failures: usize::MAX,
        failure: (400, "AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized"),
        ..Plan::default()
    });
    for (helper, words) in [
        (Helper::bare(), &["no AWS credentials", "AWS_PROFILE"][..]),
        (Helper::of(&denied), &["AccessDeniedException", "user/x", "ecr:GetAuthorizationToken"]),
        (Helper::of(&denied).var("AWS_ENDPOINT_URL", nobody), &["cannot reach 127.0.0.1:1", "connection refused"]),
    ] {
        let ran = helper.get(HOST);
        let line = ran.error();
        for word in [HOST, "us-east-1"].iter().chain(words) {
            assert!(line.contains(word), "{word} in {line}");
        }
    }
}

#[test]
fn the_help_names_every_variable_that_the_program_reads() {
    let help = Helper::bare().run(&["--help"], "").stdout;
    for (name, what) in VARIABLES {
        assert!(help.contains(name) && help.contains(what), "{name}");
    }
    let sources = std::process::Command::new("find").args(["src", "-name", "*.rs"]).output().expect("find runs").stdout;
    let sources = String::from_utf8(sources).expect("UTF-8");
    assert!(sources.lines().count() > 40, "{sources}");
    for source in sources.lines() {
        let text = fs::read_to_string(source).expect("a source file");
        for name in text.split(|c: char| !(c.is_ascii_uppercase() || c == '_')).filter(|w| w.starts_with("AWS_ECR_")) {
            assert!(help.contains(name.trim_end_matches('_')), "{name} of {source}");
        }
    }
}

#[test]
fn the_log_is_off_by_default_and_says_what_was_done_when_asked() {
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
fn a_log_file_is_private_and_takes_the_place_of_stderr() {
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
    Helper::of(&aws).var("AWS_ECR_LOG_FILE", "/nonexistent/log").get(HOST).password_for(HOST);
}

/// Whoever types a command sees what a pipe gets, ends input with Ctrl-D, and waits for nothing else.
#[test]
fn every_command_on_a_terminal() {
    if missing(&["script"]).is_some() {
        return skip("terminals", "script is not installed");
    }
    let aws = Aws::start();
    let helper = Helper::without_registry(&aws);
    let image = format!("{HOST}/team/app:1");
    let request = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": image,
    });
    let login = json!({"ServerURL": HOST, "Username": "AWS", "Secret": "s"});
    let pages = helper.home().join("pages").display().to_string();
    for (args, typed, shown) in [
        (&["get"][..], format!("{HOST}\n\x04"), "\"Username\":\"AWS\""),
        (&["list"], String::new(), "\"AWS\"}"),
        (&["store"], format!("{login}\n\x04"), ""),
        (&["kubelet"], format!("{request}\n\x04"), "CredentialProviderResponse"),
        (&["setup", HOST, "--dry-run"], String::new(), "+++ "),
        (&["setup", HOST], String::new(), "changed "),
        (&["setup", "--remove"], String::new(), "changed "),
        (&["doctor", "--json", HOST], String::new(), "\"schema\": 1"),
        (&["get-login-password", HOST], String::new(), "AKIAEXAMPLE.us-east-1"),
        (&["export", "--format", "env", HOST], String::new(), "ECR_PASSWORD="),
        (&["generate", &pages], String::new(), ""),
        (&["erase"], format!("{HOST}\n\x04"), ""),
        (&["version"], String::new(), "docker-credential-ecr-login"),
        (&["--help"], String::new(), "Commands:"),
        (&["setup", "--help"], String::new(), "--dry-run"),
    ] {
        let (screen, code) = helper.on_terminal(args, &typed);
        // The registry cannot be reached.
        let expected = i32::from(args[0] == "doctor");
        assert_eq!(code, Some(expected), "{args:?}: {screen}");
        assert!(screen.contains(shown) && !screen.contains('\x1b'), "{args:?}: {screen}");
    }
    assert_eq!(aws.count_of("ecr"), 2, "one for all, and doctor's own");
}
