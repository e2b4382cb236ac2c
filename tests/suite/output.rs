//! Messages for people: errors with their cause and fix, and the help text.

use std::fs;

use docker_credential_ecr_login::env::VARIABLES;
use serde_json::json;

use crate::HOST;
use crate::helper::Helper;
use crate::namespace::{missing, skip};
use crate::process::output;
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

/// Whatever the command and whichever part of it fails, its one message says which program speaks, once.
#[test]
fn every_message_begins_with_the_name_of_the_helper() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.write("file", "");
    let broken = Helper::of(&aws);
    broken.write(".config/docker-credential-ecr-login/config.toml", "timeout = 'soon'\n");
    broken.write(".docker/config.json", "{");
    for (helper, args, input) in [
        (&helper, &["store"][..], r#"{"ServerURL": "ghcr.io", "Username": "me", "Secret": "s"}"#),
        (&helper, &["store"], "{"),
        (&broken, &["get"], HOST),
        (&broken, &["list"], ""),
        (&broken, &["setup", HOST], ""),
        (&broken, &["setup"], ""),
        (&helper, &["setup", "1111.dkr.ecr.us-east-1.amazonaws.com"], ""),
        (&helper, &["setup", "--kubelet", "file/x"], ""),
        (&broken, &["export", HOST], ""),
        (&helper, &["export", HOST, "--output", "/nonexistent/dir/file"], ""),
        (&helper, &["export", HOST, "--every", "5h"], ""),
        (&helper, &["export", HOST, "--format", "yaml"], ""),
        (&helper, &["get-login-password"], ""),
        (&helper, &["get-login-password", "--query", "x"], ""),
        (&helper, &["ecr", "get-login-password", "--frob"], ""),
        (&helper, &["login", "ghcr.io"], ""),
        (&helper, &["login"], ""),
        (&helper, &["logout", "ghcr.io"], ""),
        (&helper, &["cache", "frob"], ""),
        (&helper, &["kubelet"], "{}"),
        (&helper, &["generate", "/proc/nonexistent"], ""),
        (&helper, &["docter", "x"], ""),
        (&helper, &["doctor", "--frob"], ""),
    ] {
        let ran = helper.run(args, input);
        assert!(matches!(ran.code, Some(1 | 2)), "{args:?}: {ran:?}");
        assert!(ran.stderr.starts_with("ecr-login: "), "{args:?}: {ran:?}");
        assert_eq!(ran.stderr.matches("ecr-login: ").count(), 1, "{args:?}: {ran:?}");
        assert!(!ran.stderr.contains("error: "), "{args:?}: {ran:?}");
    }
}

#[test]
fn the_help_names_every_variable_that_the_program_reads() {
    // Lines are cut to the width of a terminal.
    let help = Helper::bare().run(&["--help"], "").stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, what) in VARIABLES {
        assert!(help.contains(name) && help.contains(what), "{name}");
    }
    let sources = output(std::process::Command::new("find").args(["src", "-name", "*.rs"])).stdout;
    let sources = String::from_utf8(sources).expect("UTF-8");
    assert!(sources.lines().count() > 40, "{sources}");
    for source in sources.lines() {
        let text = fs::read_to_string(source).expect("a source file");
        let text = text.split("#[cfg(test)]").next().expect("a first part");
        for name in text.split(|c: char| !(c.is_ascii_uppercase() || c == '_')).filter(|w| w.starts_with("AWS_ECR_")) {
            assert!(help.contains(name.trim_end_matches('_')), "{name} of {source}");
        }
    }
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
        (&["setup", HOST], String::new(), "added 1 credHelper to "),
        (&["setup", "--remove"], String::new(), "removed 1 credHelper from "),
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
