//! `get-login-password`: the password alone, as a replacement for the AWS CLI's command of that name.

use crate::HOST;
use crate::helper::{Helper, complaint, misuse, printed};
use crate::support::aws::{Aws, Plan};

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
    let helper = Helper::of(&aws).without_keys();
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

/// The options of both versions of the AWS CLI that do not change the output.
const OPTIONS: [&[&str]; 19] = [
    &["--output", "text"],
    &["--output=yaml-stream"],
    &["--no-cli-pager"],
    &["--color", "off"],
    &["--cli-read-timeout", "0"],
    &["--cli-connect-timeout=5"],
    &["--cli-binary-format", "raw-in-base64-out"],
    &["--cli-error-format", "json"],
    &["--no-paginate"],
    &["--no-cli-auto-prompt"],
    &["--v2-debug"],
    &["--profile", ""],
    &["--profile="],
    &["--ca-bundle", ""],
    &["--endpoint-url", ""],
    &["--region", "eu-west-1", "--region", "us-east-1"],
    // Abbreviated options.
    &["--out", "json"],
    &["--reg=us-east-1"],
    &["--cli-r", "60"],
];

#[test]
fn the_options_of_the_aws_cli_are_taken_before_between_and_after_its_words() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_REGION", "us-east-1");
    let password = printed(&helper.run(&["get-login-password"], "")).to_owned();
    let public = printed(&helper.run(&["get-login-password", "public.ecr.aws"], "")).to_owned();
    for words in [&["get-login-password"][..], &["ecr", "get-login-password"], &["ecr-public", "get-login-password"]] {
        let expected = if words[0] == "ecr-public" { &public } else { &password };
        let all = OPTIONS.concat();
        let options = OPTIONS.iter().copied().chain([&all[..]]);
        for options in options {
            for place in 0..=words.len() {
                let args = [&words[..place], options, &words[place..]].concat();
                // The last of several regions applies.
                assert_eq!(printed(&helper.run(&args, "")), expected, "{args:?}");
            }
        }
    }
    assert_eq!(aws.count(), 2);
    let url = aws.url();
    let elsewhere = Helper::of(&aws).var("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let args = ["--endpoint-url", &url, "ecr", "get-login-password", "--region", "us-east-1"];
    assert!(printed(&elsewhere.run(&args, "")).contains(".us-east-1."));
}

#[test]
fn unsupported_options_of_the_aws_cli_are_refused_with_the_fix() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_REGION", "us-east-1");
    for (option, instead) in [
        (&["--no-verify-ssl"][..], "--ca-bundle"),
        (&["--no-sign-request"], "leave it out"),
        (&["--query", "authorizationData[0]"], "leave it out"),
        (&["--query=x"], "leave it out"),
        (&["--cli-input-json", "{}"], "leave it out"),
        (&["--cli-input-yaml", "file://x"], "leave it out"),
        (&["--generate-cli-skeleton"], "leave it out"),
        (&["--generate-cli-skeleton", "output"], "leave it out"),
        (&["--cli-auto-prompt"], "leave it out"),
        (&["--registry-ids", "111122223333"], "leave it out"),
    ] {
        let name = option[0].split('=').next().expect("a name");
        for args in [[&["ecr", "get-login-password"][..], option].concat(), [option, &["get-login-password"]].concat()]
        {
            let ran = helper.run(&args, "");
            assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (Some(2), "", 1), "{ran:?}");
            assert!(ran.stderr.contains(&format!("{name} is not supported; ")), "{ran:?}");
            assert!(ran.stderr.contains(instead), "{ran:?}");
        }
    }
    for args in [
        &["ecr", "get-login-password", "--output", "xml"][..],
        &["ecr", "get-login-password", "--cli-read-timeout", "soon"],
        &["ecr", "get-login-password", "--bogus"],
        &["ecr", "get-login", "--no-include-email"],
        &["ecr-public", "describe-registries"],
        &["ecr"],
    ] {
        let ran = helper.run(args, "");
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{args:?}");
    }
    assert_eq!(aws.count(), 0);
}

#[test]
fn debug_version_and_help_work_as_in_the_aws_cli() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_REGION", "us-east-1");
    let ran = helper.run(&["--debug", "ecr", "get-login-password"], "");
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.contains("DEBUG") && !ran.stderr.contains(ran.stdout.trim()), "{ran:?}");
    let quiet = Helper::of(&aws).var("AWS_REGION", "us-east-1").var("AWS_ECR_LOG", "off");
    printed(&quiet.run(&["ecr", "get-login-password", "--debug"], ""));
    let version = helper.run(&["--version"], "").stdout;
    assert_eq!(printed(&helper.run(&["ecr", "--version", "get-login-password"], "")), version.trim_end());
    for help in ["help", "--help", "-h"] {
        let ran = helper.run(&["ecr", "get-login-password", help], "");
        assert!(printed(&ran).contains("--endpoint-url"), "{ran:?}");
    }
}

#[test]
fn ecr_public_issues_passwords_in_one_region() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_REGION", "eu-west-1");
    for args in
        [&["ecr-public", "get-login-password"][..], &["--region", "us-east-1", "ecr-public", "get-login-password"]]
    {
        assert!(printed(&helper.run(args, "")).contains(".us-east-1."));
    }
    assert_eq!((aws.count(), aws.count_of("ecr-public")), (1, 1));
    for (args, words) in [
        (&["ecr-public", "get-login-password", "--region", "eu-west-1"][..], &["eu-west-1", "--region us-east-1"][..]),
        (&["ecr-public", "get-login-password", HOST], &[HOST, "'ecr get-login-password'"]),
        (&["ecr", "get-login-password", "public.ecr.aws"], &["public.ecr.aws", "'ecr-public get-login-password'"]),
    ] {
        let ran = helper.run(args, "");
        for word in words {
            assert!(misuse(&ran).contains(word), "{args:?}: {ran:?}");
        }
    }
    assert_eq!(aws.count(), 1);
}

#[test]
fn errors_go_to_standard_error() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    for (args, words) in [
        (&["get-login-password", "docker.io"][..], &["docker.io", "not an ECR registry"][..]),
        (&["get-login-password"], &["no region"]),
    ] {
        let ran = helper.run(args, "");
        for word in words {
            assert!(complaint(&ran).contains(word), "{args:?}: {ran:?}");
        }
    }
    for (args, words) in [
        (&["get-login-password", "--region", "mars-1"][..], &["mars-1"][..]),
        (&["get-login-password", "--region", "eu-west-1", HOST], &["us-east-1", "--region"]),
    ] {
        let ran = helper.run(args, "");
        for word in words {
            assert!(misuse(&ran).contains(word), "{args:?}: {ran:?}");
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
fn errors_name_the_options_that_cause_them() {
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
