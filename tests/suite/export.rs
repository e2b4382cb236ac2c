//! `export`: passwords in files and variables for programs that call no helper, written once or refreshed.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::HOST;
use crate::helper::{Helper, complaint, lacks_kernel, lacks_unix, make_older, misuse, printed, program};
use crate::namespace::{missing, skip};
use crate::process::{SOON, output, send, wait_until};
use crate::support::aws::{Aws, Plan};

const OTHER: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";

#[test]
fn a_docker_config_holds_the_passwords_of_all_hosts() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let ran = helper.run(&["export", &format!("https://{HOST}/v2/"), OTHER], "");
    let config: Value = serde_json::from_str(printed(&ran)).expect("JSON");
    for host in [HOST, OTHER] {
        let auth = config["auths"][host]["auth"].as_str().expect("an auth");
        let pair = BASE64_STANDARD.decode(auth).expect("base64");
        let password = helper.get(host).password_for(host);
        assert_eq!(String::from_utf8(pair).unwrap(), format!("AWS:{password}"));
    }
    assert_eq!(aws.count(), 2);
}

#[test]
fn a_file_that_every_step_appends_to_is_not_replaced() {
    let aws = Aws::start();
    for variable in ["GITHUB_ENV", "GITHUB_OUTPUT", "BASH_ENV"] {
        let mut helper = Helper::of(&aws);
        let file = helper.write("lines", "EARLIER=1\n");
        let link = helper.home().join("link");
        symlink(&file, &link).expect("a link");
        helper.set(variable, file.to_str().expect("UTF-8"));
        for path in [&file, &link] {
            let ran =
                helper.run(&["export", "--format", "dotenv", "--output", path.to_str().expect("UTF-8"), HOST], "");
            let said = misuse(&ran);
            assert!(said.contains(&format!(">> \"${variable}\"")), "{said}");
            let ran = helper.run(&["export", "--output", path.to_str().expect("UTF-8"), HOST], "");
            let said = misuse(&ran);
            assert!(said.contains("name another file") && !said.contains(">>"), "no lines of variables: {said}");
        }
        assert_eq!(fs::read_to_string(&file).expect("a file"), "EARLIER=1\n");
    }
    assert_eq!(aws.count(), 0, "refused before a token is asked for");
}

/// A summary is shown to everybody who may read the repository, and each later step gets the path and the state.
#[test]
fn a_file_that_github_publishes_gets_no_password() {
    let aws = Aws::start();
    for variable in ["GITHUB_PATH", "GITHUB_STEP_SUMMARY", "GITHUB_STATE"] {
        let mut helper = Helper::of(&aws);
        let file = helper.write("lines", "/opt/tool/bin\n").display().to_string();
        helper.set(variable, &file);
        for format in ["docker-config", "kubernetes-secret", "env", "dotenv", "user-password"] {
            for every in [&[][..], &["--every", "1h"]] {
                let ran = helper.run(&[&["export", HOST, "--format", format, "--output", &file], every].concat(), "");
                let said = misuse(&ran);
                assert!(said.contains(&format!("${variable}")) && !said.contains(">>"), "{said}");
                assert!(said.contains("would publish the password"), "{said}");
            }
        }
        assert_eq!(fs::read_to_string(&file).expect("a file"), "/opt/tool/bin\n");
    }
    // The file may be missing, and the path be another one to it.
    let mut helper = Helper::of(&aws);
    let place = helper.home().join("runner");
    fs::create_dir(&place).expect("a directory");
    helper.set("GITHUB_STEP_SUMMARY", &place.join("summary").display().to_string());
    let link = helper.home().join("link").display().to_string();
    #[cfg(unix)]
    std::os::unix::fs::symlink("runner/summary", &link).expect("a link");
    let beside = place.join("../runner/./summary").display().to_string();
    // As through another mount of the directory.
    let other = helper.home().join("other").display().to_string();
    for path in [&beside, &link, &other].into_iter().take(if cfg!(unix) { 3 } else { 1 }) {
        if *path == other {
            fs::write(place.join("summary"), "").expect("a file");
            fs::hard_link(place.join("summary"), &other).expect("a second name");
        }
        let ran = helper.run(&["export", HOST, "--output", path], "");
        let said = misuse(&ran);
        assert!(said.contains("would publish the password"), "{said}");
    }
    assert_eq!(aws.count(), 0, "refused before a token is asked for");
}

/// A shell opens it, as in `>> "$GITHUB_STEP_SUMMARY"`.
#[test]
fn a_standard_output_that_github_publishes_gets_no_password() {
    if lacks_unix("the file of standard output") {
        return;
    }
    let formats = ["docker-config", "kubernetes-secret", "argocd-repository", "env", "dotenv", "user-password"];
    let aws = Aws::start();
    let append = |variable: &str, args: &[&str]| {
        let helper = Helper::of(&aws);
        let file = helper.write("lines", "EARLIER=1\n");
        let output = fs::OpenOptions::new().append(true).open(&file).expect("a file");
        let mut command = helper.command();
        let child = command.args(args).env(variable, &file).stdin(Stdio::null()).stdout(output).spawn();
        let ended = child.expect("the program starts").wait_with_output().expect("an end");
        let said = String::from_utf8(ended.stderr).expect("UTF-8");
        (fs::read_to_string(file).expect("a file"), ended.status.code(), said)
    };
    for variable in ["GITHUB_PATH", "GITHUB_STEP_SUMMARY", "GITHUB_STATE", "GITHUB_ENV", "GITHUB_OUTPUT", "BASH_ENV"] {
        let is_of_variables = ["GITHUB_ENV", "GITHUB_OUTPUT", "BASH_ENV"].contains(&variable);
        for (format, output) in formats.into_iter().flat_map(|format| [(format, &[][..]), (format, &["--output", "-"])])
        {
            let (text, code, said) = append(variable, &[&["export", HOST, "--format", format], output].concat());
            if is_of_variables && ["env", "dotenv"].contains(&format) {
                assert!(code == Some(0) && text.contains("ECR_PASSWORD="), "{variable} {format}: {said}");
            } else {
                assert!(code == Some(2) && said.contains(&format!("${variable}")), "{variable} {format}: {said}");
                assert_eq!(text, "EARLIER=1\n", "{variable} {format}");
            }
        }
    }
    let (text, code, said) = append("GITHUB_STEP_SUMMARY", &["get-login-password", "--region", "us-east-1"]);
    assert!(code == Some(2) && said.contains("would publish") && text == "EARLIER=1\n", "{said}");
    // A job whose summary goes nowhere.
    let ran = Helper::of(&aws).var("GITHUB_STEP_SUMMARY", "/dev/null").run(&["export", HOST], "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// What `$GITHUB_ENV` and `$GITHUB_OUTPUT` get is shown by later steps. A runner reads the command that masks it from the log alone: in a
/// file, the command itself gives the password away.
#[test]
fn what_later_steps_show_is_masked_by_a_command_that_reaches_the_runner() {
    if lacks_unix("the files of the streams") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("GITHUB_ACTIONS", "true");
    let password = helper.get(HOST).password_for(HOST);
    let login = ["get-login-password", "--region", "us-east-1"];
    let dotenv = ["export", HOST, "--format", "dotenv"];
    let append = |variable: &str, args: &[&str], streams: &[&str]| {
        let file = helper.write("lines", "EARLIER=1\n");
        let open = || Stdio::from(fs::OpenOptions::new().append(true).open(&file).expect("a file"));
        let mut command = helper.command();
        command.args(args).env(variable, &file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for stream in streams {
            if *stream == "output" {
                command.stdout(open())
            } else {
                command.stderr(open())
            };
        }
        let ended = command.spawn().expect("the program starts").wait_with_output().expect("an end");
        let said = String::from_utf8(ended.stderr).expect("UTF-8");
        (fs::read_to_string(&file).expect("a file"), ended.status.code(), said)
    };
    for variable in ["GITHUB_ENV", "GITHUB_OUTPUT"] {
        let (text, code, said) = append(variable, &login, &["output"]);
        assert!(code == Some(0) && text == format!("EARLIER=1\n{password}\n"), "{said}");
        assert!(said.starts_with(&format!("::add-mask::{password}\n::add-mask::")), "{said}");
    }
    let (_, _, said) = append("GITHUB_ENV", &login, &[]);
    assert_eq!(said, "", "a pipe to docker is shown by nobody");
    for variable in ["GITHUB_PATH", "GITHUB_STEP_SUMMARY", "GITHUB_STATE", "GITHUB_ENV", "GITHUB_OUTPUT"] {
        let out = helper.home().join("out").display().to_string();
        let to_file = [&dotenv[..], &["--output", &out]].concat();
        let is_of_variables = ["GITHUB_ENV", "GITHUB_OUTPUT"].contains(&variable);
        for (args, streams) in [
            (&dotenv[..], &["error"][..]),
            (&to_file, &["error"]),
            (&dotenv, &["output", "error"]),
            (&login, &["output", "error"]),
        ] {
            let (text, code, _) = append(variable, args, streams);
            assert!(code == Some(2) && !text.contains(&password), "{variable} {args:?} {streams:?}: {text}");
            let names = format!("standard error is ${variable}, where the runner reads no command to mask");
            let is_said = text.contains(&names) || !is_of_variables && text.contains("would publish the password");
            assert!(is_said, "{text}");
        }
        // No password and no mask goes there.
        let (text, code, said) = append(variable, &login, &["error"]);
        assert!(code == Some(0) && text == "EARLIER=1\n", "{text} {said}");
        let (text, code, said) = append(variable, &["export", HOST], &["error"]);
        assert!(code == Some(0) && text == "EARLIER=1\n", "{text} {said}");
    }
    let (_, _, said) = append("GITHUB_ENV", &["export", HOST], &["output"]);
    assert!(said.ends_with("use --format dotenv\n"), "{said}");
    let (_, _, said) = append("BASH_ENV", &["export", HOST], &["output"]);
    assert!(said.ends_with("use --format env\n"), "{said}");
}

/// Docker's own settings would be lost.
#[test]
fn a_file_with_settings_is_not_replaced() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let login = |user: &str| json!({"auth": BASE64_STANDARD.encode(format!("{user}:p"))});
    let formats = ["docker-config", "kubernetes-secret", "argocd-repository", "env", "dotenv", "user-password"];
    for other in [
        json!({"credHelpers": {HOST: "ecr-login"}}).to_string(),
        json!({"auths": {HOST: login("AWS")}, "credsStore": "desktop"}).to_string(),
        json!({"auths": {HOST: login("AWS"), "https://index.docker.io/v1/": login("me")}}).to_string(),
        json!({"auths": {HOST: {"auth": login("AWS")["auth"], "identitytoken": "t"}}}).to_string(),
        "\u{feff}{\"credsStore\":\"x\"}".to_owned(),
        r#"{"credsStore":"x",}"#.to_owned(),
        "\u{0}".repeat(17 << 20),
    ] {
        let file = helper.write("file", &other);
        for format in formats {
            let ran = helper.run(&["export", "--format", format, "--output", file.to_str().expect("UTF-8"), HOST], "");
            let said = complaint(&ran);
            assert!(said.contains("it has settings or logins") && said.contains("name another file"), "{said}");
        }
        assert_eq!(fs::read_to_string(&file).expect("a file"), other);
    }
    assert_eq!(aws.count(), 0, "refused before a token is asked for");
    for own in ["", "a text", "[]", "{}", r#"{"auths":{}}"#, &json!({"auths": {HOST: login("AWS")}}).to_string()] {
        let file = helper.write("file", own);
        helper.run(&["export", "--output", file.to_str().expect("UTF-8"), HOST], "").silent();
    }
    // What it has written, in whichever format, and with several registries where it takes them.
    let file = helper.home().join("file").display().to_string();
    for format in formats.iter().chain(formats.iter().rev()) {
        let other = (*format != "user-password").then_some(OTHER);
        let args: Vec<&str> =
            ["export", "--format", format, "--output", &file, HOST].into_iter().chain(other).collect();
        let ran = helper.run(&args, "");
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

/// Parses a YAML document with an independent parser; `None` if none is installed.
fn yaml(text: &str, dir: &Path) -> Option<Value> {
    let file = dir.join("secret.yaml");
    fs::write(&file, text).expect("a write");
    let python = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let ruby = "require 'json'; require 'yaml'; puts YAML.load_file(ARGV[0]).to_json";
    [("python3", "-c", python), ("ruby", "-e", ruby)].into_iter().find_map(|(program, option, script)| {
        if missing(&[program]).is_some() {
            return None;
        }
        let output = output(Command::new(program).args([option, script]).arg(&file));
        serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())
    })
}

#[test]
fn a_kubernetes_secret_contains_the_docker_config_and_the_time_at_which_it_expires() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    printed(&helper.run(&["export", HOST], ""));
    // The second token is requested later and expires first.
    aws.change(|plan| plan.life = 3 * 60 * 60);
    let before = OffsetDateTime::now_utc();
    let args = ["export", HOST, OTHER, "--format", "kubernetes-secret", "--name", "pull.me", "--namespace", "ci"];
    let text = printed(&helper.run(&args, "")).to_owned();
    let Some(secret) = yaml(&text, helper.home()) else {
        return skip("YAML", "neither python3 with yaml nor ruby is installed");
    };
    let data = secret["data"][".dockerconfigjson"].as_str().expect("data");
    let config = String::from_utf8(BASE64_STANDARD.decode(data).expect("base64")).expect("UTF-8");
    assert_eq!(config, printed(&helper.run(&["export", HOST, OTHER], "")));
    let expiry = &secret["metadata"]["annotations"]["docker-credential-ecr-login/expires-at"];
    let expected = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {
            "name": "pull.me", "namespace": "ci",
            "labels": {"app.kubernetes.io/managed-by": "docker-credential-ecr-login"},
            "annotations": {"docker-credential-ecr-login/expires-at": expiry},
        },
        "data": secret["data"],
    });
    assert_eq!(secret, expected);
    let expiry = expiry.as_str().expect("a time");
    assert!(expiry.len() == "2026-11-25T16:20:32Z".len() && expiry.ends_with('Z'), "to the second: {expiry}");
    let left = OffsetDateTime::parse(expiry, &Rfc3339).expect("RFC 3339") - before;
    assert!((3 * 3600 - 5..=3 * 3600 + 60).contains(&left.whole_seconds()), "{left}");
    if missing(&["kubectl"]).is_none() {
        let mut kubectl = Command::new("kubectl");
        kubectl.args(["label", "--local", "-o", "name", "seen=yes", "-f"]).arg(helper.home().join("secret.yaml"));
        let output = output(kubectl.env("HOME", helper.home()));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "secret/pull.me\n", "{output:?}");
    }
    // Emulators issue tokens that have expired.
    aws.change(|plan| plan.life = -1);
    let public = printed(&helper.run(&["export", "public.ecr.aws", "--format", "kubernetes-secret"], "")).to_owned();
    assert!(public.contains("name: \"ecr-login\"") && !public.contains("annotations"), "{public}");
}

#[test]
fn names_that_kubernetes_refuses_are_refused_at_once() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let long = "a".repeat(64);
    let longer = [long.as_str(); 4].join(".");
    for (option, name) in [
        ("--name", "Pull"),
        ("--name", "pull_me"),
        ("--name", "pull..me"),
        ("--name", "-pull"),
        ("--name", ""),
        ("--name", "a\nb: c"),
        ("--name", &longer),
        ("--namespace", "a.b"),
        ("--namespace", "ci-"),
        ("--namespace", &long),
    ] {
        let ran = helper.run(&["export", HOST, "--format", "kubernetes-secret", &format!("{option}={name}")], "");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{name}");
        assert!(ran.stderr.contains(option) && ran.stderr.contains("Kubernetes accepts"), "{}", ran.stderr);
    }
    let ran = helper.run(&["export", HOST, "--name", "pull"], "");
    assert!(misuse(&ran).contains("--format kubernetes-secret"), "{ran:?}");
    assert_eq!(aws.count(), 0);
}

#[test]
fn shell_variables_survive_a_shell_and_reach_its_children() {
    let password = "it's$HOME`id`\\\"x\"";
    let aws = Aws::with(Plan { password: Some(password.to_owned()), ..Plan::default() });
    let helper = Helper::of(&aws);
    // A child process prints each.
    let script = format!(
        "eval \"$({} export --format env {HOST})\"; printenv ECR_REGISTRY ECR_USERNAME ECR_PASSWORD; \
         printenv DOCKER_AUTH_CONFIG > config",
        program().display()
    );
    let output = output(helper.tool("sh").args(["-ec", &script]).current_dir(helper.home()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{HOST}\nAWS\n{password}\n"));
    let config: Value = serde_json::from_slice(&fs::read(helper.home().join("config")).unwrap()).expect("JSON");
    assert!(config["auths"][HOST]["auth"].is_string());
}

#[test]
fn dotenv_lines_have_no_quotes() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let ran = helper.run(&["export", "--format", "dotenv", HOST], "");
    let password = helper.get(HOST).password_for(HOST);
    let auth = BASE64_STANDARD.encode(format!("AWS:{password}"));
    let config = format!("{{\"auths\":{{\"{HOST}\":{{\"auth\":\"{auth}\"}}}}}}");
    assert_eq!(
        ran.stdout,
        format!("DOCKER_AUTH_CONFIG={config}\nECR_REGISTRY={HOST}\nECR_USERNAME=AWS\nECR_PASSWORD={password}\n")
    );
    let two = helper.run(&["export", "--format", "dotenv", HOST, OTHER], "");
    assert!(two.stdout.starts_with("DOCKER_AUTH_CONFIG={") && two.stdout.lines().count() == 1, "{}", two.stdout);
}

/// What becomes a variable of a job is in the log of each later step, unless the runner masks it.
#[test]
fn a_github_job_is_told_to_mask_the_passwords_before_they_become_variables() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("GITHUB_ACTIONS", "true");
    let file = helper.home().join("variables").display().to_string();
    let auth = |password: &str| BASE64_STANDARD.encode(format!("AWS:{password}"));
    let masks = |host: &str| {
        let password = helper.get(host).password_for(host);
        format!("::add-mask::{password}\n::add-mask::{}\n", auth(&password))
    };
    for (args, hosts) in [
        (&["export", "--format", "dotenv", HOST][..], &[HOST][..]),
        (&["export", "--format", "env", HOST, OTHER], &[OTHER, HOST]),
        (&["export", "--format", "dotenv", HOST, "--output", &file], &[HOST]),
    ] {
        let ran = helper.run(args, "");
        let (commands, warning) = ran.stderr.split_at(ran.stderr.find("ecr-login: warning: ").expect("a warning"));
        assert_eq!(commands, hosts.iter().map(|host| masks(host)).collect::<String>(), "{args:?}");
        assert_eq!(warning.lines().count(), 1, "{warning}");
        // Each value that holds a password is masked in it.
        for line in ran.stdout.lines().filter(|line| line.contains("PASSWORD") || line.contains("auths")) {
            assert!(commands.lines().any(|mask| line.contains(&mask["::add-mask::".len()..])), "{line}");
        }
    }
    // What a runner would decode.
    let aws = Aws::with(Plan { password: Some("a%0Ab".to_owned()), ..Plan::default() });
    let ran = Helper::of(&aws).var("GITHUB_ACTIONS", "true").run(&["export", "--format", "dotenv", HOST], "");
    assert!(ran.stderr.starts_with("::add-mask::a%250Ab\n"), "{}", ran.stderr);
    // A file for programs is printed by none of them.
    assert_eq!(helper.run(&["export", HOST], "").stderr, "");
}

/// A manifest or a pair that goes to standard output is in the log of the step, unless it is piped.
#[test]
fn a_github_job_is_told_to_mask_each_form_in_which_a_password_is_printed() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("GITHUB_ACTIONS", "true");
    let file = helper.home().join("out").display().to_string();
    for format in ["user-password", "kubernetes-secret", "argocd-repository"] {
        for output in ["-", &file] {
            let ran = helper.run(&["export", "--format", format, "--output", output, HOST], "");
            let text = if output == "-" { ran.stdout.clone() } else { fs::read_to_string(output).expect("a file") };
            let (mut rest, mut count) = (text, 0);
            for line in ran.stderr.lines() {
                let mask = line.strip_prefix("::add-mask::").expect("a command");
                count += rest.matches(mask).count();
                rest = rest.replace(mask, "***");
            }
            let password = helper.get(HOST).password_for(HOST);
            let config = helper.run(&["export", HOST], "").stdout;
            assert_eq!(count, 1, "{format}: {rest}");
            for form in [&password, &BASE64_STANDARD.encode(&password), &BASE64_STANDARD.encode(config.trim_end())] {
                assert!(!rest.contains(form), "{format}: {rest}");
            }
        }
    }
    let outside = Helper::of(&aws).run(&["export", "--format", "kubernetes-secret", HOST], "");
    assert_eq!(outside.stderr, "");
}

#[test]
fn variables_come_with_a_warning_that_docker_reads_one_before_it_calls_the_helper() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let file = helper.home().join("variables").display().to_string();
    for args in [
        &["export", "--format", "env", HOST][..],
        &["export", "--format", "dotenv", HOST],
        &["export", "--format", "env", HOST, "--output", &file],
    ] {
        let ran = helper.run(args, "");
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{ran:?}");
        for word in ["warning", "DOCKER_AUTH_CONFIG", "'setup'", "unset", "expires at 2"] {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
        assert!(!ran.stdout.contains("warning"), "{}", ran.stdout);
    }
}

#[test]
fn a_user_and_password_are_of_one_registry() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let pair = helper.run(&["export", "--format", "user-password", HOST, &format!("https://{HOST}")], "");
    assert_eq!(printed(&pair), format!("AWS:{}", helper.get(HOST).password_for(HOST)));
    let calls = aws.count();
    let two = helper.run(&["export", "--format", "user-password", HOST, OTHER], "");
    assert!(misuse(&two).contains("takes one registry, not 2"), "{two:?}");
    assert_eq!(aws.count(), calls, "that is known before AWS is asked");
}

/// The next run would take it for a file with settings, and not replace it.
#[test]
fn a_file_that_would_exceed_the_limit_is_not_written() {
    let aws = Aws::with(Plan { password: Some("x".repeat(700_000)), ..Plan::default() });
    let helper = Helper::of(&aws);
    let file = helper.write("auth.json", "{}");
    let hosts: Vec<String> = (0..18).map(|n| format!("1111222233{n:02}.dkr.ecr.us-east-1.amazonaws.com")).collect();
    let mut args = vec!["export", "--output", file.to_str().expect("UTF-8")];
    args.extend(hosts.iter().map(String::as_str));
    let ran = helper.run(&args, "");
    assert!(ran.code == Some(1) && ran.stderr.contains("would exceed 16 MiB, the limit"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(&file).expect("a file"), "{}");
    // What a run has written, the next one replaces.
    for _ in 0..2 {
        let ran = helper.run(&args[..20], "");
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
}

/// Returns the files in a directory, including hidden ones.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o7777
}

#[test]
fn an_output_file_is_private_whatever_was_there_and_whatever_the_umask() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let text = printed(&helper.run(&["export", HOST], "")).to_owned() + "\n";
    for umask in ["000", "077", "777"] {
        for old in [None, Some(0o644), Some(0o400)] {
            let dir = tempfile::tempdir().expect("a directory");
            let file = dir.path().join("config.json");
            if let Some(old) = old {
                fs::write(&file, "old").expect("a write");
                fs::set_permissions(&file, fs::Permissions::from_mode(old)).expect("a mode");
            }
            let script = format!("umask {umask}; exec {} export --output config.json {HOST}", program().display());
            let output = output(helper.tool("sh").args(["-c", &script]).current_dir(dir.path()));
            assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
            assert_eq!((fs::read_to_string(&file).expect("a file"), mode(&file)), (text.clone(), 0o600), "{umask}");
            assert_eq!(names(dir.path()), ["config.json"]);
        }
    }
    assert_eq!(helper.run(&["export", "--output", "-", HOST], "").stdout, text, "- is standard output");
}

#[test]
fn a_reader_sees_a_whole_output_file_while_it_is_replaced() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let file = helper.home().join("config.json");
    let args = ["export", "--output", file.to_str().expect("UTF-8"), HOST];
    helper.run(&args, "").silent();
    let first = fs::File::open(&file).expect("a file");
    let text = fs::read_to_string(&file).expect("a file");
    helper.run(&args, "").silent();
    assert_ne!(first.metadata().expect("metadata").ino(), fs::metadata(&file).expect("metadata").ino());
    assert_eq!(std::io::read_to_string(first).expect("a read"), text, "the open one is as it was");
}

#[test]
fn a_failure_leaves_the_old_file_and_nothing_beside_it() {
    let aws =
        Aws::with(Plan { failures: usize::MAX, failure: (400, "AccessDeniedException", "no"), ..Plan::default() });
    let helper = Helper::of(&aws);
    let file = helper.write("out/config.json", "old");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
    let ran = helper.run(&["export", "--output", file.to_str().expect("UTF-8"), HOST], "");
    assert!(complaint(&ran).contains("AccessDeniedException"), "{ran:?}");
    assert_eq!((fs::read_to_string(&file).expect("a file").as_str(), mode(&file)), ("old", 0o640));
    assert_eq!(names(file.parent().expect("a directory")), ["config.json"]);
}

#[test]
fn a_path_that_cannot_be_written_is_refused_before_the_first_request() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let file = helper.write("file", "");
    let path = |name: &str| helper.home().join(name).display().to_string();
    nix::unistd::mkfifo(path("pipe").as_str(), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    symlink("circle", path("circle")).expect("a link");
    for (path, words) in [
        (
            path("no/such/file"),
            &["there is no directory", "; create it: 'mkdir -p ", "', or name another file with --output"][..],
        ),
        (path("file/config.json"), &["is not a directory"]),
        (helper.home().display().to_string(), &["it is a directory"]),
        (path("pipe"), &["not a regular file", "--output -"]),
        (path("circle"), &["too many symbolic links"]),
        (path("new/"), &["it ends as a directory does; name a file in it"]),
        (path("new/."), &["it ends as a directory does; name a file in it"]),
        (path("file/"), &["it ends as a directory does; name a file in it"]),
    ] {
        let ran = helper.run(&["export", "--output", &path, HOST], "");
        for word in words.iter().chain([&path.as_str()]) {
            assert!(complaint(&ran).contains(word), "{word}: {ran:?}");
        }
    }
    assert_eq!(aws.count(), 0);
    assert!(fs::metadata(path("pipe")).expect("metadata").file_type().is_fifo(), "it is still there");
    assert_eq!(fs::read_to_string(file).expect("a file"), "");
    assert!(!helper.home().join("new").exists());
}

#[test]
fn a_link_at_the_path_stays_and_the_file_behind_it_is_replaced() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let text = printed(&helper.run(&["export", HOST], "")).to_owned() + "\n";
    let path = |name: &str| helper.home().join(name);
    helper.write("real/config.json", "old");
    for (link, to) in [("link", "real/config.json"), ("link-to-link", "link"), ("to-nothing-yet", "real/new.json")] {
        symlink(to, path(link)).expect("a link");
        helper.run(&["export", "--output", path(link).to_str().expect("UTF-8"), HOST], "").silent();
        assert_eq!(fs::read_link(path(link)).expect("still a link"), PathBuf::from(to));
        assert_eq!((fs::read_to_string(path(link)).expect("a file"), mode(&path(link))), (text.clone(), 0o600));
    }
    assert_eq!(names(&path("real")), ["config.json", "new.json"]);
}

/// A typing error is no service that seems to work.
#[test]
fn settings_that_lead_to_no_identity_end_the_command() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).without_keys().var("AWS_PROFILE", "nope");
    let file = helper.home().join("file").display().to_string();
    let ran = helper.run(&["export", HOST, "--every", "5h", "--output", &file], "");
    assert!(complaint(&ran).contains("'nope'"), "{ran:?}");
}

#[test]
fn a_link_that_another_user_has_planted_is_not_followed() {
    if !nix::unistd::geteuid().is_root() {
        return skip("planted links", "only root can give a link to another user");
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let mine = helper.write("mine", "precious");
    let shared = helper.home().join("shared");
    fs::create_dir(&shared).expect("a directory");
    let link = shared.join("config.json");
    symlink(&mine, &link).expect("a link");
    let way = shared.join("way");
    symlink(helper.home(), &way).expect("a link");
    for link in [&link, &way] {
        lchown(link, Some(65534), None).expect("an owner");
    }
    // As in /tmp, where everybody may write, and in a directory of the other user's.
    for (mode, owner) in [(0o1777, 0), (0o777, 0), (0o755, 65534)] {
        fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).expect("a mode");
        lchown(&shared, Some(owner), None).expect("an owner");
        for path in [&link, &way.join("mine")] {
            let ran = helper.run(&["export", "--output", path.to_str().expect("UTF-8"), HOST], "");
            assert!(complaint(&ran).contains("belongs to another user"), "{mode:o}: {ran:?}");
            assert_eq!(fs::read_to_string(&mine).expect("a file"), "precious");
        }
    }
}

/// `export --every` in the background, until the test ends.
struct Kept {
    child: Child,
    dir: PathBuf,
}

impl Kept {
    fn start(helper: &Helper, every: &str, more: &[&str]) -> Self {
        let dir = helper.home().join("kept");
        fs::create_dir_all(&dir).expect("a directory");
        let errors = fs::File::create(helper.home().join("errors")).expect("a file");
        let mut command = helper.command();
        command.args(["export", HOST, "--every", every, "--output"]).arg(dir.join("file")).args(more);
        let child = command.stdin(Stdio::null()).stderr(errors).spawn().expect("the program starts");
        Self { child, dir }
    }

    fn text(&self) -> String {
        fs::read_to_string(self.dir.join("file")).unwrap_or_default()
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.dir.parent().expect("a home").join("errors")).expect("a file")
    }

    /// Waits until a condition holds, and fails after a time limit.
    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        wait_until(what, SOON, || {
            let ended = self.child.try_wait().expect("a state");
            assert!(ended.is_none(), "{what}: {ended:?} {}", self.errors());
            holds(self)
        });
    }

    /// Counts the open files between two requests to AWS, if the system shows them.
    fn open_files(&self) -> Option<usize> {
        let count = || Some(fs::read_dir(format!("/proc/{}/fd", self.child.id())).ok()?.count());
        let pause = || std::thread::sleep(Duration::from_millis(10));
        (0..50).map(|_| count().inspect(|_| pause())).min().flatten()
    }

    /// Ends the process, and expects exit code 0 and no other file in the directory.
    #[track_caller]
    fn end(mut self, signal: Signal) {
        send(self.child.id(), signal);
        wait_until("the signal ends it", SOON, || self.child.try_wait().expect("a state").is_some());
        assert_eq!(self.child.wait().expect("an end").code(), Some(0));
        assert_eq!(names(&self.dir), ["file"]);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_file_is_refreshed_through_failures_until_a_signal() {
    // AWS fails at first; then it issues tokens that are valid for three seconds.
    let failure = (400, "AccessDeniedException", "no");
    let aws = Aws::with(Plan { failures: 1, failure, life: 3, ..Plan::default() });
    let helper = Helper::of(&aws);
    let mut kept = Kept::start(&helper, "1s", &["--format", "user-password"]);
    kept.until("a failure at the start is tried again", |kept| !kept.text().is_empty());
    assert!(kept.errors().contains("AccessDeniedException"), "{}", kept.errors());
    assert_eq!(mode(&kept.dir.join("file")), 0o600);
    let first = kept.text();
    kept.until("it is written again", |kept| kept.text() != first);
    let files = kept.open_files();

    aws.change(|plan| plan.failures = usize::MAX);
    kept.until("a failure is reported", |kept| kept.errors().matches("trying again in 0.5 s").count() > 1);
    kept.until("so is a password that expired", |kept| kept.errors().contains(" expired at 2"));
    let (before, calls) = (kept.text(), aws.count());
    kept.until("it goes on asking", |_| aws.count() > calls);
    assert!(!before.is_empty() && kept.text() == before, "the old file stays");
    for line in kept.errors().lines() {
        for word in [HOST, "AccessDeniedException", "kept/file", "trying again in"] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }

    aws.change(|plan| plan.failures = 0);
    kept.until("it recovers", |kept| kept.text() != before);
    let calls = aws.count();
    kept.until("it goes on", |_| aws.count() > calls + 1);
    assert_eq!(kept.open_files(), files, "no file is left open");
    kept.end(Signal::SIGTERM);
}

/// Who starts a program passes on the signals that it has blocked itself, as some supervisors do.
#[test]
fn a_signal_that_the_caller_has_blocked_ends_the_refreshes() {
    if lacks_kernel("signals that are blocked") {
        return;
    }
    let aws = Aws::start();
    for (signal, code) in [(Signal::SIGTERM, Some(0)), (Signal::SIGINT, Some(0)), (Signal::SIGHUP, None)] {
        let helper = Helper::of(&aws);
        let file = helper.home().join("file");
        let mut command = helper.tool("env");
        command.args(["--default-signal", "--block-signal=TERM,INT,HUP"]).arg(program());
        command.args(["export", HOST, "--every", "1h", "--output"]).arg(&file);
        let child = crate::process::start(&mut command, "");
        wait_until("it is written", SOON, || file.exists());
        send(child.id(), signal);
        let mut kept = Kept { child, dir: helper.home().to_owned() };
        wait_until(&format!("{signal} ends it"), SOON, || kept.child.try_wait().expect("a state").is_some());
        assert_eq!(kept.child.wait().expect("an end").code(), code, "{signal}");
    }
}

/// `nohup`, and a job that a script starts with `&`: what is typed at the terminal is not for it.
#[test]
fn a_signal_that_the_caller_ignores_does_not_end_the_refreshes() {
    if lacks_kernel("signals that are ignored") {
        return;
    }
    let aws = Aws::start();
    let keys = "echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'";
    for (signal, name) in
        [(Signal::SIGHUP, "HUP"), (Signal::SIGINT, "INT"), (Signal::SIGQUIT, "QUIT"), (Signal::SIGTERM, "TERM")]
    {
        // Nor what it starts.
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        let process = helper.write("process", &format!("grep SigIgn /proc/$$/status >\"$HOME/ignored\"\n{keys}\n"));
        helper.write(".aws/config", &format!("[default]\ncredential_process = sh {}\n", process.display()));
        let mut command = helper.tool("env");
        command.args(["--default-signal", &format!("--ignore-signal={name}"), &format!("--block-signal={name}")]);
        command.arg(program()).args(["export", HOST, "--every", "1s", "--output"]).arg(helper.home().join("file"));
        let mut kept = Kept { child: crate::process::start(&mut command, ""), dir: helper.home().to_owned() };
        let when = |kept: &Kept| fs::metadata(kept.dir.join("file")).and_then(|file| file.modified()).ok();
        wait_until("it is written", SOON, || when(&kept).is_some());
        let ignored = fs::read_to_string(helper.home().join("ignored")).expect("its child ran");
        let ignored = u64::from_str_radix(ignored.trim_start_matches("SigIgn:").trim(), 16).expect("a number");
        // Without those that the C library keeps for itself.
        assert_eq!(ignored & 0x7fff_ffff, 1 << (signal as u64 - 1), "{name}");
        send(kept.child.id(), signal);
        let before = when(&kept);
        wait_until("it is written again", SOON, || when(&kept) != before);
        assert!(kept.child.try_wait().expect("a state").is_none(), "{name}");
    }
}

/// A failed refresh postpones the next one by minutes, and that ends with the token.
#[test]
fn a_token_that_expires_while_its_refresh_is_postponed_is_renewed_at_once() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_MAX_ATTEMPTS", "1");
    let cached = helper.get(HOST).password_for(HOST);
    make_older(&helper, Duration::from_hours(7));
    aws.change(|plan| plan.failures = usize::MAX);
    assert_eq!((helper.get(HOST).password_for(HOST), aws.count()), (cached.clone(), 2), "the refresh fails");
    let helper = helper.var("AWS_ECR_LOG", "info");
    let mut kept = Kept::start(&helper, "1s", &["--format", "user-password"]);
    kept.until("it is written again and again", |kept| kept.errors().matches("written").count() > 1);
    assert_eq!((kept.text(), aws.count()), (format!("AWS:{cached}\n"), 2), "without another request");

    make_older(&helper, Duration::from_hours(13));
    kept.until("AWS is asked", |kept| aws.count() > 3 && kept.errors().contains("trying again in"));
    assert_eq!(kept.text(), format!("AWS:{cached}\n"), "the old file stays");
    aws.change(|plan| plan.failures = 0);
    kept.until("it recovers", |kept| !kept.text().contains(&cached));
    kept.end(Signal::SIGTERM);
}

/// The cached token would not last until the next write, and the request for another one tells that AWS refuses the identity.
#[test]
fn a_refusal_between_two_writes_ends_the_cached_token() {
    let aws = Aws::with(Plan { life: 60, ..Plan::default() });
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    aws.change(|plan| (plan.failures, plan.failure) = (usize::MAX, (400, "AccessDeniedException", "not any more")));
    let mut kept = Kept::start(&helper, "5m", &["--format", "user-password"]);
    kept.until("the refusal is reported", |kept| kept.errors().contains("AccessDeniedException"));
    assert!(helper.entries().is_empty() && kept.text().is_empty(), "{}", kept.errors());
}

/// `max_age` ends before the token does.
#[test]
fn a_password_that_has_reached_the_greatest_age_is_not_said_to_have_expired() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_MAX_AGE", "2s");
    let mut kept = Kept::start(&helper, "1s", &["--format", "user-password"]);
    kept.until("it is written at once", |kept| !kept.text().is_empty());
    aws.change(|plan| plan.failures = usize::MAX);
    kept.until("its age is reported", |kept| kept.errors().contains(" expired or reached max_age at 2"));
    kept.end(Signal::SIGTERM);
}

#[test]
fn a_refreshed_password_outlives_the_interval() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let cached = helper.get(HOST).password_for(HOST);
    make_older(&helper, Duration::from_hours(4));
    // The cached token is valid for eight more hours.
    let mut kept = Kept::start(&helper, "5h", &["--format", "user-password"]);
    kept.until("it is written at once", |kept| !kept.text().is_empty());
    assert_eq!((kept.text(), aws.count()), (format!("AWS:{cached}\n"), 1));
    kept.end(Signal::SIGTERM);

    fs::remove_file(helper.home().join("kept/file")).expect("a file");
    let mut kept = Kept::start(&helper, "10h", &["--format", "kubernetes-secret"]);
    kept.until("it is written at once", |kept| !kept.text().is_empty());
    assert_eq!(aws.count(), 2, "for a token that outlives ten hours");
    let (_, expiry) =
        kept.text().split_once("expires-at: \"").map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a time");
    let expiry = OffsetDateTime::parse(&expiry[.."2026-11-25T16:20:32Z".len()], &Rfc3339).expect("RFC 3339");
    assert!(expiry - OffsetDateTime::from(SystemTime::now()) > Duration::from_hours(11), "{expiry}");
    assert_eq!(kept.errors(), "");
    kept.end(Signal::SIGTERM);
    assert_eq!(helper.get(HOST).password_for(HOST), cached, "the others keep the cached one");
}

#[test]
fn a_refresh_that_can_never_succeed_fails_at_once() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let file = helper.home().join("file").display().to_string();
    for (args, code, word) in [
        (&["--every", "5h"][..], 2, "--output"),
        (&["--every", "5h", "--output", "-"], 2, "--output"),
        (&["--every", "12h", "--output", &file], 2, "11h"),
        (&["--every", "0s", "--output", &file], 2, "1s"),
        (&["--every", "often", "--output", &file], 2, "1h30m"),
        (&["--every", "5h", "--output", &file, "docker.io"], 1, "docker.io"),
        (&["--every", "5h", "--output", "/no/such/directory/file"], 1, "mkdir -p"),
    ] {
        let ran = helper.run(&[&["export", HOST], args].concat(), "");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
        assert!(ran.stderr.contains(word), "{word}: {ran:?}");
    }
    assert_eq!(aws.count(), 0);
}

#[test]
fn a_terminal_is_warned_that_it_shows_a_secret() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    for args in [["get-login-password", HOST], ["export", HOST]] {
        let (shown, code) = helper.on_terminal(&args, "");
        assert!(code == Some(0) && shown.contains("secret"), "{shown}");
    }
}
