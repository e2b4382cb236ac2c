//! Tokens for programs that do not speak the protocol: `get-login-password` and `export`.

use std::fs;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::HOST;
use crate::helper::{Helper, Ran, program};
use crate::support::aws::{Aws, Plan};

const OTHER: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";

/// What was printed, of a run that went well.
#[track_caller]
fn printed(ran: &Ran) -> &str {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    ran.stdout.strip_suffix('\n').expect("a line")
}

/// What a command for people says on standard error when it fails.
#[track_caller]
fn complaint(ran: &Ran) -> &str {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    ran.stderr.strip_suffix('\n').expect("a line")
}

#[test]
fn the_password_of_a_region_or_a_host_comes_from_one_cache() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let by_region = helper.run(&["get-login-password", "--region", "us-east-1"], "");
    let password = printed(&by_region).to_owned();
    assert_eq!(printed(&helper.run(&["get-login-password", HOST], "")), password);
    assert_eq!(helper.get(HOST).password_for(HOST), password);
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        let helper =
            Helper::of(&aws).var(name, "us-east-1").var("AWS_ECR_CACHE_DIR", helper.cache_dir().to_str().unwrap());
        assert!(printed(&helper.run(&["get-login-password"], "")).contains(".us-east-1."));
    }
    let listed = helper.run(&["list"], "").stdout;
    assert_eq!(listed, format!("{{\"{HOST}\":\"AWS\"}}\n"), "a region is no registry");
    let made_up = helper.run(&["get-login-password", "--region", "cn-north-1"], "");
    assert!(printed(&made_up).contains(".cn-north-1."));
    let public = helper.run(&["get-login-password", "public.ecr.aws"], "");
    assert_eq!((printed(&public).is_empty(), aws.calls().last().unwrap().service.as_str()), (false, "ecr-public"));
}

#[test]
fn the_region_comes_from_the_profile_as_in_the_aws_cli() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ACCESS_KEY_ID", "");
    let keys = "aws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n";
    helper.write(".aws/config", &format!("[profile p]\nregion = eu-west-1\n{keys}[profile none]\n{keys}"));
    let of_profile = helper.run(&["get-login-password", "--profile", "p"], "");
    assert!(printed(&of_profile).starts_with("AKIAPROFILE.eu-west-1."));
    let none = helper.run(&["get-login-password", "--profile", "none"], "");
    assert!(complaint(&none).contains("--region"), "{none:?}");
}

#[test]
fn a_profile_on_the_command_line_comes_before_mapping_and_environment() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/Mapped");
    helper.write(".aws/credentials", "[p]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n");
    assert!(printed(&helper.run(&["get-login-password", HOST], "")).starts_with("ASIA-Mapped-by-AKIAEXAMPLE."));
    let named = helper.run(&["get-login-password", "--profile", "p", HOST], "");
    assert!(printed(&named).starts_with("AKIAPROFILE."));
}

#[test]
fn the_flags_of_the_aws_cli_are_taken_and_those_that_would_lie_are_not() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let url = aws.url();
    let flags = [
        "get-login-password",
        "--region",
        "us-east-1",
        "--output",
        "text",
        "--no-cli-pager",
        "--color",
        "off",
        "--cli-read-timeout",
        "5",
        "--cli-connect-timeout=5",
        "--no-paginate",
        "--debug",
        "--no-cli-auto-prompt",
        "--endpoint-url",
        &url,
    ];
    assert!(printed(&helper.run(&flags, "")).contains(".us-east-1."));
    for flag in ["--no-verify-ssl", "--no-sign-request", "--query"] {
        let ran = helper.run(&["get-login-password", flag], "");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{flag}");
        assert!(ran.stderr.contains(flag), "{}", ran.stderr);
    }
}

#[test]
fn mistakes_are_told_on_standard_error() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    for (args, words) in [
        (&["get-login-password", "docker.io"][..], &["docker.io", "not an ECR registry"][..]),
        (&["get-login-password", "--region", "mars-1"], &["mars-1"]),
        (&["get-login-password", "--region", "eu-west-1", HOST], &["us-east-1", "--region"]),
        (&["get-login-password"], &["no region"]),
        (&["export", HOST, "docker.io"], &["docker.io"]),
    ] {
        let ran = helper.run(args, "");
        for word in words {
            assert!(complaint(&ran).contains(word), "{args:?}: {ran:?}");
        }
    }
    let denied =
        Aws::with(Plan { failures: usize::MAX, failure: (400, "AccessDeniedException", "no"), ..Plan::default() });
    for host in [HOST, "public.ecr.aws"] {
        let helper = if host == HOST { Helper::of(&denied) } else { Helper::bare() };
        let ran = helper.run(&["get-login-password", host], "");
        assert!(complaint(&ran).contains(host), "also for ECR Public: {ran:?}");
    }
}

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
fn a_kubernetes_secret_wraps_the_docker_config() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let ran = helper.run(&["export", HOST, "--format", "kubernetes-secret", "--name", "pull", "--namespace", "ci"], "");
    let secret: Value = serde_json::from_str(printed(&ran)).expect("JSON");
    let data = secret["data"][".dockerconfigjson"].as_str().expect("data");
    let config = String::from_utf8(BASE64_STANDARD.decode(data).expect("base64")).expect("UTF-8");
    assert_eq!(config, printed(&helper.run(&["export", HOST], "")));
    let rest = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "pull", "namespace": "ci"}, "data": secret["data"],
    });
    assert_eq!(secret, rest);
}

#[test]
fn shell_variables_survive_a_shell() {
    let password = "it's $HOME `id` \\ \"x\"";
    let aws = Aws::with(Plan { password: Some(password.to_owned()), ..Plan::default() });
    let helper = Helper::of(&aws);
    let script = format!(
        "eval \"$({} export --format env {HOST})\"; printf '%s\\n' \"$ECR_REGISTRY\" \"$ECR_USERNAME\" \"$ECR_PASSWORD\"; \
         printf '%s' \"$DOCKER_AUTH_CONFIG\" > config",
        program().display()
    );
    let command = helper.command();
    let mut shell = Command::new("sh");
    shell.args(["-ec", &script]).current_dir(helper.home()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.output().expect("a shell");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{HOST}\nAWS\n{password}\n"));
    let config: Value = serde_json::from_slice(&fs::read(helper.home().join("config")).unwrap()).expect("JSON");
    assert!(config["auths"][HOST]["auth"].is_string());
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

#[test]
fn what_was_asked_for_by_options_is_named_by_them() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let ran = helper.run(&["get-login-password", "--region", "us-east-1", "--profile", "prdo"], "");
    let line = complaint(&ran);
    assert!(
        line.contains("'prdo', which --profile names,") && line.contains("registries of region us-east-1"),
        "{line}"
    );
    assert!(!line.contains("000000000000"), "{line}");
    let ran = helper.run(&["get-login-password", "--region", "us-east-1", "--endpoint-url", "not-a-url"], "");
    assert!(complaint(&ran).contains("--endpoint-url is not a URL"), "{ran:?}");
}
