//! Every action of the credential helper protocol and every wrong request, byte for byte.

use crate::dns::is_static;
use crate::helper::{Helper, program};
use crate::process::end;
use crate::support::aws::Aws;
use crate::{HOST, NOT_FOUND};

const USAGE: &str = "Usage: docker-credential-ecr-login <store|get|erase|list|version>";

#[test]
fn wrong_arguments_print_the_usage_on_stdout_and_fail() {
    let helper = Helper::bare();
    for args in [&["get", "list"][..], &["--version", "x"], &["store", "", ""]] {
        assert_eq!(helper.run(args, HOST).error(), USAGE, "{args:?}");
    }
    let ran = helper.run(&["get", HOST], "");
    assert_eq!((ran.code, ran.stdout.trim_end()), (Some(1), USAGE), "{ran:?}");
    assert!(ran.stderr.contains("the host goes to standard input") && ran.stderr.contains(USAGE), "{ran:?}");
    let ran = helper.run(&[], HOST);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stdout.starts_with(USAGE) && ran.stdout.contains("Commands:"), "{ran:?}");
    for (arg, line) in [
        ("docter", "docker-credential-ecr-login: unknown action: docter; did you mean 'doctor'?"),
        ("frob", "docker-credential-ecr-login: unknown action: frob"),
        ("GET", "docker-credential-ecr-login: unknown action: GET"),
        ("--frob", "docker-credential-ecr-login: unknown action: --frob"),
        ("a\nb", "docker-credential-ecr-login: unknown action: a b"),
    ] {
        assert_eq!(helper.run(&[arg], "").error(), line);
    }
}

#[test]
fn version_and_help_succeed_in_every_spelling() {
    let helper = Helper::bare();
    let line = format!("docker-credential-ecr-login (docker-credential-ecr-login) {}\n", env!("CARGO_PKG_VERSION"));
    let ran = helper.run(&["version"], "");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), line.as_str(), ""));
    for arg in ["--version", "-v", "-V"] {
        let ran = helper.run(&[arg], "");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        assert!(ran.stdout.starts_with(&line), "{}", ran.stdout);
        // As published scripts read the output of AWS Labs' helper.
        let field = |name: &str| ran.stdout.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        assert_eq!(field("Version:"), Some(env!("CARGO_PKG_VERSION")));
        assert!(field("Git commit:").is_some_and(|commit| !commit.is_empty()), "{}", ran.stdout);
    }
    for arg in ["--help", "-h"] {
        let ran = helper.run(&[arg], "");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        let begin = format!("Docker credential helper for Amazon ECR\n\n{USAGE}");
        assert!(ran.stdout.starts_with(&begin), "{}", ran.stdout);
        for word in ["get", "store", "erase", "list", "version"] {
            assert!(ran.stdout.contains(&format!("\n  {word} ")), "{word} in {}", ran.stdout);
        }
    }
}

#[test]
fn an_unknown_option_is_answered_without_proposals_that_nobody_means() {
    let helper = Helper::bare();
    for (args, words, not) in [
        (&["setup", "--docker", HOST][..], "'--docker'", "force"),
        (&["setup", "--remove", "--all"], "'--all'", "as a value"),
        (&["login", "-u", "AWS", HOST], "'-u'", "as a value"),
        (&["login", "--profile", "x", HOST], "Usage: docker-credential-ecr-login login <HOST>", "as a value"),
        (&["setup", "--remov"], "'--remove'", "as a value"),
        (&["doctor", "--jsno"], "'--json'", "as a value"),
        (&["setup", "remove"], "did you mean '--remove'?", "[[registry]]"),
        (&["logout", "all"], "did you mean '--all'?", "[[registry]]"),
        (&["doctor", "verbose"], "did you mean '--verbose'?", "[[registry]]"),
        (&["setup", "--profile", "public"], "--profile has no effect here", "did you mean"),
    ] {
        let ran = helper.run(args, "");
        assert!(ran.code == Some(2) && ran.stderr.contains(words) && !ran.stderr.contains(not), "{ran:?}");
    }
}

#[test]
fn empty_input_is_named() {
    let helper = Helper::bare();
    for action in ["get", "erase"] {
        for input in ["", "\n", " \r\n\t "] {
            assert_eq!(helper.run(&[action], input).error(), "no credentials server URL");
        }
    }
}

#[test]
fn get_answers_with_the_trimmed_input_verbatim() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    for (input, url) in [
        (HOST.to_owned(), HOST.to_owned()),
        (format!("{HOST}\n"), HOST.to_owned()),
        (format!(" {HOST} \r\n"), HOST.to_owned()),
        (format!("https://{HOST}/v2/"), format!("https://{HOST}/v2/")),
        (HOST.to_uppercase(), HOST.to_uppercase()),
        (format!("{HOST}.:443/a/b\n"), format!("{HOST}.:443/a/b")),
    ] {
        helper.get(&input).password_for(&url);
    }
    assert_eq!(aws.count(), 1);
}

#[test]
fn store_for_ecr_succeeds_and_keeps_nothing() {
    let helper = Helper::bare();
    for body in [
        format!(r#"{{"ServerURL":"{HOST}","Username":"AWS","Secret":"hunter2"}}"#),
        format!(r#"{{"serverurl":"https://{HOST}","USERNAME":"AWS","secret":"hunter2","Extra":[1]}}"#),
        r#"{"ServerURL":"public.ecr.aws","Username":"AWS","Secret":""}"#.to_owned(),
    ] {
        helper.run(&["store"], body).silent();
    }
    assert_eq!(std::fs::read_dir(helper.home()).expect("a home").count(), 0, "nothing is written");
}

#[test]
fn store_refuses_what_it_cannot_serve_and_never_repeats_it() {
    let helper = Helper::bare();
    let run = |body: &str| helper.run(&["store"], body).error().to_owned();
    assert_eq!(run(r#"{"ServerURL":"","Username":"AWS","Secret":"hunter2"}"#), "no credentials server URL");
    assert_eq!(run(r#"{"Username":"AWS","Secret":"hunter2"}"#), "no credentials server URL");
    assert_eq!(run(&format!(r#"{{"ServerURL":"{HOST}","Secret":"hunter2"}}"#)), "no credentials username");
    assert_eq!(run(&format!(r#"{{"ServerURL":"{HOST}","Username":null}}"#)), "no credentials username");
    let other = run(r#"{"ServerURL":"docker.io","Username":"me","Secret":"hunter2"}"#);
    assert!(other.contains("only Amazon ECR"), "{other}");
    for body in ["", "hunter2", "{\"Secret\":\"hunter2\"", r#"{"ServerURL":["hunter2"]}"#, "[\"hunter2\"]", "\0"] {
        let line = run(body);
        assert!(!line.contains("hunter2") && line.contains("standard input"), "{body:?}: {line}");
    }
}

#[test]
fn storage_can_be_ignored_as_in_the_incumbent() {
    let ignoring = Helper::bare().var("AWS_ECR_IGNORE_CREDS_STORAGE", "true");
    let docker_io = r#"{"ServerURL":"docker.io","Username":"me","Secret":"hunter2"}"#;
    ignoring.run(&["store"], docker_io).silent();
    ignoring.run(&["erase"], "docker.io").silent();
    ignoring.run(&["erase"], HOST).silent();
    let not = Helper::bare().var("AWS_ECR_IGNORE_CREDS_STORAGE", "false");
    not.run(&["store"], docker_io).error();
}

#[test]
fn erase_drops_the_cached_token_and_succeeds_twice() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let first = helper.get(HOST).password_for(HOST);
    helper.run(&["erase"], format!("https://{HOST}\n")).silent();
    assert!(helper.entries().is_empty());
    helper.run(&["erase"], HOST).silent();
    assert_ne!(helper.get(HOST).password_for(HOST), first);
    assert_eq!(aws.count(), 2);
    assert_eq!(helper.run(&["erase"], "docker.io").error(), NOT_FOUND);
}

#[test]
fn list_answers_from_the_cache_alone() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let list = |helper: &Helper| {
        let ran = helper.run(&["list"], "unused");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        ran.stdout
    };
    assert_eq!(list(&helper), "{}\n");
    let other = "444455556666.dkr.ecr.us-east-1.amazonaws.com";
    let far = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
    for url in [&format!("https://{HOST}/v2/"), other, far, HOST, other] {
        helper.get(url).password_for(url);
    }
    let calls = aws.count();
    assert_eq!(list(&helper), format!("{{\"{far}\":\"AWS\",\"{HOST}\":\"AWS\",\"{other}\":\"AWS\"}}\n"));
    assert_eq!(aws.count(), calls);
    let helper = helper.var("AWS_ACCESS_KEY_ID", "AKIASOMEONEELSE");
    assert_eq!(list(&helper), "{}\n", "tokens of another caller are not listed");
    let helper = helper.var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_ECR_DISABLE_CACHE", "1");
    assert_eq!(list(&helper), "{}\n");
}

#[test]
fn list_does_not_wait_for_its_input() {
    let helper = Helper::bare();
    let mut child = helper.command().arg("list").spawn().expect("the program starts");
    // It ends while its input is open.
    let open_input = child.stdin.take();
    let output = end(child);
    assert_eq!(output.stdout, b"{}\n");
    drop(open_input);
}

#[test]
fn every_command_has_help_and_a_mistyped_one_is_an_error() {
    let helper = Helper::bare();
    let help = helper.run(&["help"], "");
    assert_eq!((help.code, &help.stdout), (Some(0), &helper.run(&["--help"], "").stdout));
    assert!(help.stdout.contains("Docker credential helper for Amazon ECR"), "{}", help.stdout);
    let (_, rest) = help.stdout.split_once("Commands:\n").expect("commands");
    let commands: Vec<&str> = rest
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 12, "{commands:?}");
    for command in commands {
        let long = helper.run(&[command, "--help"], "");
        assert!(
            long.code == Some(0) && long.stdout.contains("Usage:") && long.stderr.is_empty(),
            "{command}: {long:?}"
        );
        assert_eq!(helper.run(&[command, "-h"], "").code, Some(0), "{command}");
        assert_eq!(helper.run(&["help", command], "").stdout, long.stdout, "{command}");
    }
    for words in [&["ecr", "help"][..], &["cache", "help"], &["help", "help"], &["help", "cache"]] {
        let ran = helper.run(words, "");
        assert!(ran.code == Some(0) && ran.stdout.contains("Usage:") && ran.stderr.is_empty(), "{words:?}: {ran:?}");
    }
    let other = helper.run(&["configure", HOST], "");
    assert!(other.code == Some(2) && other.stderr.contains("did you mean 'setup'?"), "{other:?}");
    let slip = helper.run(&["docter", HOST], "");
    assert_eq!((slip.code, slip.stdout.as_str()), (Some(2), ""), "{slip:?}");
    assert!(slip.stderr.contains("did you mean 'doctor'?"), "{slip:?}");
    let slip = helper.run(&["doctor", "--jsn"], "");
    assert!(slip.code == Some(2) && slip.stderr.contains("--json"), "{slip:?}");
}

#[test]
fn the_verbose_version_has_commit_platform_and_c_library() {
    let helper = Helper::bare();
    let plain = helper.run(&["version"], "").stdout;
    let verbose = helper.run(&["version", "--verbose"], "");
    assert!(verbose.code == Some(0) && verbose.stdout.starts_with(&plain), "{verbose:?}");
    for words in ["\ncommit ", "\ntarget "] {
        assert!(verbose.stdout.contains(words), "{verbose:?}");
    }
    let library = verbose.stdout.lines().find_map(|line| line.strip_prefix("C library ")).expect("a line");
    if is_static(&program()) {
        // packaging/build names the version of the glibc that it linked; the builds for other platforms are cargo's alone.
        let version = library.strip_prefix("glibc ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        assert!(
            (version || std::env::var_os("TEST_PLATFORM").is_some() || library.starts_with("musl"))
                && library.ends_with(", static"),
            "{library}"
        );
    } else {
        assert!(library.ends_with(", dynamic"), "{library}");
    }
}
