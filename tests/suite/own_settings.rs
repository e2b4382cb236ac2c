//! Mistakes in the helper's own settings: each error names the setting with the mistake.

use crate::HOST;
use crate::helper::{Helper, SECRET_KEY, outlive_failures};
use crate::process::run;
use crate::support::aws::{Aws, Plan};

#[test]
fn a_configuration_file_that_does_not_exist_is_reported_as_missing() {
    let helper = Helper::of(&Aws::start()).var("AWS_ECR_CONFIG_FILE", "/nonexistent/config.toml");
    let ran = helper.get(HOST);
    for words in ["/nonexistent/config.toml", "AWS_ECR_CONFIG_FILE", "does not exist", "create it"] {
        assert!(ran.error().contains(words), "{words} in {ran:?}");
    }
}

#[test]
fn the_error_about_a_timeout_out_of_bounds_names_the_bounds() {
    for value in ["0", "0s", "-1", "2h", "soon"] {
        let ran = Helper::of(&Aws::start()).var("AWS_ECR_TIMEOUT", value).get(HOST);
        let error = ran.error();
        assert!(error.contains(&format!("AWS_ECR_TIMEOUT is '{value}'")), "{ran:?}");
        assert!(error.contains("at most an hour") && error.ends_with(" [E-CONFIG-INVALID]"), "{ran:?}");
    }
}

#[test]
fn a_ca_bundle_is_named_by_the_option_or_the_variable_that_set_it() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let bundle = helper.write("empty.pem", "").display().to_string();
    let ran = helper.run(&["get-login-password", "--ca-bundle", &bundle, HOST], "");
    assert!(ran.stderr.contains("(--ca-bundle) cannot be used") && !ran.stderr.contains("AWS_CA_BUNDLE"), "{ran:?}");
    outlive_failures(&helper);
    let ran = helper.var("AWS_CA_BUNDLE", &bundle).get(HOST);
    assert!(ran.error().contains("(AWS_CA_BUNDLE) cannot be used"), "{ran:?}");
}

#[test]
fn a_port_in_match_is_for_that_port_alone_and_a_match_without_one_for_that_of_https() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let entry = |pattern: &str, profile: &str| {
        format!("[[registry]]\nmatch = '{pattern}'\nregistry = '{HOST}'\nprofile = '{profile}'\n")
    };
    let config = [
        entry("images.example.com:5000", "five"),
        entry("images.example.com", "any"),
        entry("tls.example.com:443", "tls"),
    ]
    .concat();
    helper.write(".config/docker-credential-ecr-login/config.toml", &config);
    let profile =
        |name: &str, key: &str| format!("[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET_KEY}\n");
    helper.write(
        ".aws/credentials",
        &[profile("five", "AKIAFIVE"), profile("any", "AKIAANY"), profile("tls", "AKIATLS")].concat(),
    );
    for _ in 0..2 {
        for (host, key) in [
            ("images.example.com:5000", "AKIAFIVE"),
            ("https://images.example.com:5000/v2/", "AKIAFIVE"),
            ("images.example.com", "AKIAANY"),
            ("tls.example.com", "AKIATLS"),
            ("tls.example.com:443", "AKIATLS"),
        ] {
            assert!(helper.get(host).password_for(host).starts_with(key), "{host}");
        }
        for host in ["tls.example.com:5000", "images.example.com:5001"] {
            assert_eq!(helper.get(host).error(), crate::NOT_FOUND, "{host}");
        }
    }
    assert_eq!(aws.count_of("ecr"), 3);
    let listed = helper.run(&["list"], "").stdout;
    assert!(listed.contains("\"images.example.com:5000\":\"AWS\""), "{listed}");
}

#[test]
fn misspelt_variables_are_reported_in_the_log() {
    let helper = Helper::of(&Aws::start()).var("AWS_ECR_LOG", "warn");
    assert_eq!(helper.get(HOST).stderr, "");
    let helper = helper.var("AWS_ECR_CACHEDIR", "/x").var("AWS_ECR_PROFILE_1234", "p").var("AWS_ECR_REGISTRY", HOST);
    let log = helper.get(HOST).stderr;
    assert!(log.contains("AWS_ECR_CACHEDIR has no effect; did you mean AWS_ECR_CACHE_DIR?"), "{log}");
    assert!(log.contains("AWS_ECR_PROFILE_1234 has no effect: it must be AWS_ECR_PROFILE_<account>"), "{log}");
    assert!(!log.contains("AWS_ECR_REGISTRY"), "{log}");
    for (value, warns) in [("yes", true), ("1", true), ("true", false), ("false", false)] {
        let helper = Helper::bare().var("AWS_ECR_IGNORE_CREDS_STORAGE", value);
        let report = helper.run(&["doctor"], "").stdout;
        assert_eq!(report.contains(&format!("has no effect with '{value}': it must be 'true'")), warns, "{report}");
    }
    // As in the AWS Labs helper, which uses it as it is too.
    for (value, warns) in [("cache", true), ("./a/b", true), ("$HOME/cache", true), ("~me/cache", true), ("~/a", false)]
    {
        let helper = Helper::bare().var("AWS_ECR_CACHE_DIR", value).var("AWS_ECR_LOG", "warn");
        let run = |helper: &Helper, word| run(helper.command().arg(word).current_dir(helper.home()), HOST);
        for text in [run(&helper, "doctor").stdout, run(&helper, "get").stderr] {
            let told = format!("AWS_ECR_CACHE_DIR is '{value}', which is a relative path");
            assert_eq!(text.contains(&told), warns, "{text}");
        }
        let disabled = run(&helper.var("AWS_ECR_DISABLE_CACHE", "1"), "doctor").stdout;
        assert!(!disabled.contains("a relative path"), "{disabled}");
    }
}

/// The error says whose key is unknown: with a role, it is not the key in the environment.
#[test]
fn a_mapped_role_is_named_when_its_credentials_are_refused() {
    let refused = (400, "UnrecognizedClientException", "The security token included in the request is invalid.");
    let aws = Aws::with(Plan { service: "ecr", failures: usize::MAX, failure: refused, ..Plan::default() });
    let role = "arn:aws:iam::111122223333:role/Pull";
    let helper = Helper::of(&aws).var("AWS_ECR_ROLE_ARN_111122223333", role);
    let ran = helper.get(HOST);
    let whose = format!("of the role {role}, assumed with the environment (AWS_ACCESS_KEY_ID)");
    assert!(ran.error().contains(&whose), "{ran:?}");
}
