//! `setup`: the hosts that its arguments name, and what it reports about them.

use docker_credential_ecr_login::registry;
use serde_json::{Value, json};

use crate::HOST;
use crate::helper::Helper;
use crate::setup::{AUTH, CONFIG, NO_WARNING, fails, home, read, refuses, setup, succeeds};
use crate::support::aws::{Aws, Plan};

/// Returns the entries of a file that name the helper, sorted.
fn entries(helper: &Helper, path: &str) -> Vec<String> {
    let config: Value = serde_json::from_str(&read(helper, path)).expect("JSON");
    let helpers = config["credHelpers"].as_object().cloned().unwrap_or_default();
    helpers.into_iter().filter(|(_, name)| name == "ecr-login").map(|(host, _)| host).collect()
}

#[test]
fn hosts_are_given_as_urls_images_accounts_and_regions() {
    let helper = home();
    let elsewhere = helper.home().join("elsewhere").display().to_string();
    let helper = helper.var("DOCKER_CONFIG", &elsewhere);
    let image = format!("https://{}/team/app", HOST.to_uppercase());
    succeeds(&helper, &format!("{image} --public"), NO_WARNING);
    let accounts = "--account 111122223333 --account 222233334444 --region eu-west-1 --region cn-north-1";
    succeeds(&helper, accounts, NO_WARNING);
    let config: Value = serde_json::from_str(&read(&helper, "elsewhere/config.json")).expect("JSON");
    let expected = json!({
        HOST: "ecr-login",
        "public.ecr.aws": "ecr-login",
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login",
        "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn": "ecr-login",
        "222233334444.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login",
        "222233334444.dkr.ecr.cn-north-1.amazonaws.com.cn": "ecr-login",
    });
    assert_eq!(config["credHelpers"], expected);

    for (args, named) in [
        ("", "name a registry"),
        ("ftp://x", "ftp://x is not"),
        ("https://me:c2VjcmV0@ghcr.io", "is not the host of a registry"),
        ("--account 1234 --region eu-west-1", "the account '1234' does not have 12 digits"),
        ("11112222333.dkr.ecr.us-east-1.amazonaws.com", "the account '11112222333' does not have 12 digits"),
        ("--account 111122223333 --region nowhere", "the region 'nowhere' does not have the form"),
        ("--account 111122223333 --region eu-west-1 --region xx-west-1", "the region 'xx-west-1'"),
        ("12345.dkr.ecr.us-east-1.amazonaws.com", "the account '12345' does not have 12 digits"),
        ("111122223333.dkr-ecr.us-east1.on.aws", "the region 'us-east1'"),
        ("111122223333.dkr.ecr.cn-north-1.amazonaws.com", "'amazonaws.com.cn'"),
    ] {
        let line = refuses(&helper, args);
        assert!(line.contains(named) && !line.contains("c2VjcmV0"), "{args}: {line}");
    }
    assert!(fails(&helper, "ghcr.io").contains("ghcr.io is not an ECR registry"));
    assert_eq!(setup(&helper, "--account 111122223333").code, Some(2), "an account without a region");
    helper.write(
        ".config/docker-credential-ecr-login/config.toml",
        &format!("[[registry]]\nmatch = 'images.example.com'\nregistry = '{HOST}'"),
    );
    succeeds(&helper, "images.example.com", NO_WARNING);
    assert!(read(&helper, "elsewhere/config.json").contains("\"images.example.com\": \"ecr-login\""));
}

#[test]
fn an_image_reference_names_its_registry() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for reference in [
        format!("docker://{HOST}/team/app:1"),
        format!("DOCKER://{HOST}/team/app"),
        format!("oci://{HOST}/charts/app"),
        format!("{HOST}/team/app:1"),
        format!("{HOST}/team/app@{digest}"),
        format!("docker://{HOST}/app:1@{digest}"),
        format!("{HOST}/"),
        format!("{}.", HOST.to_uppercase()),
    ] {
        let helper = home();
        succeeds(&helper, &reference, NO_WARNING);
        assert_eq!(entries(&helper, CONFIG), [HOST], "{reference}");
        succeeds(&helper, &format!("--remove {reference}"), NO_WARNING);
        assert_eq!(read(&helper, CONFIG), "{}\n", "{reference}");
    }
    for reference in ["docker://", "docker:///app", "docker-archive:app.tar", "oci-archive://x", "docker://docker://x"]
    {
        assert!(refuses(&home(), reference).contains("is not the host of a registry"), "{reference}");
    }
}

/// A key with a scheme, a path or capital letters has no effect, and a key with a port has one.
#[test]
fn a_key_that_no_client_looks_up_is_replaced() {
    let helper = home();
    let keys = [format!("https://{HOST}"), format!("{HOST}/v2/"), HOST.to_uppercase(), format!("{HOST}:443")];
    let before: serde_json::Map<String, serde_json::Value> =
        keys.iter().map(|key| (key.clone(), "ecr-login".into())).collect();
    helper.write(CONFIG, &json!({"credHelpers": before, "other": 1}).to_string());
    succeeds(&helper, &format!(" {HOST} "), NO_WARNING);
    assert_eq!(entries(&helper, CONFIG), [HOST, &format!("{HOST}:443")]);
}

/// Clients look up the host with the port that the image's name has.
#[test]
fn the_port_in_the_name_of_an_image_is_part_of_its_key() {
    let (with_port, image) = (format!("{HOST}:443"), format!("docker://{HOST}:443/team/app:1"));
    let says = |helper: &Helper, named: &str| {
        let ran = helper.run(&["doctor", "--json", named], "");
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        let checks = report["registries"][0]["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|check| check["check"] == "docker").expect("a check")["status"] == "ok"
    };
    for named in [&with_port, &image] {
        let helper = home();
        helper.write(CONFIG, &json!({"auths": {&with_port: {"auth": "QVdTOmE="}}}).to_string());
        succeeds(&helper, &format!("--remove-auths {named}"), NO_WARNING);
        assert_eq!(entries(&helper, CONFIG), [with_port.as_str()]);
        assert!(!read(&helper, CONFIG).contains("QVdTOmE="));
        assert!(says(&helper, &with_port) && says(&helper, &image) && !says(&helper, HOST));
        let found = helper.run(&["doctor"], "").stdout;
        assert!(found.contains(&with_port) && !found.contains("names no credential helper"), "{found}");
        succeeds(&helper, &format!("--remove {named}"), NO_WARNING);
        assert!(entries(&helper, CONFIG).is_empty());
    }
    let helper = home();
    succeeds(&helper, &format!("https://{with_port}/v2/"), NO_WARNING);
    assert_eq!(entries(&helper, CONFIG), [HOST]);
    assert!(says(&helper, HOST) && !says(&helper, &with_port));
}

#[test]
fn an_unknown_region_is_a_warning() {
    let typo = "111122223333.dkr.ecr.eu-wst-1.amazonaws.com";
    for args in [typo.to_owned(), "--account 111122223333 --region eu-wst-1".to_owned(), format!("--podman {typo}")] {
        let helper = home();
        let ran = setup(&helper, &args);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{ran:?}");
        assert!(ran.stderr.contains("the region 'eu-wst-1'") && ran.stderr.contains("spelling"), "{ran:?}");
        assert!(ran.stdout.contains(&format!("check with: docker-credential-ecr-login doctor {typo}")), "{ran:?}");
        let file = if args.contains("podman") { AUTH } else { CONFIG };
        assert_eq!(entries(&helper, file), [typo]);
        let doctor = helper.run(&["doctor", typo], "").stdout;
        assert!(doctor.contains("warning  host         this version does not know the region 'eu-wst-1'"), "{doctor}");
        succeeds(&helper, &format!("--remove {args}"), NO_WARNING);
    }
}

#[test]
fn a_region_alone_means_the_account_of_the_caller() {
    let aws = Aws::start();
    let with_keys = |helper: Helper| {
        let helper = helper.var("AWS_ENDPOINT_URL", &aws.url());
        helper.var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_SECRET_ACCESS_KEY", "s")
    };
    let helper = with_keys(home());
    let printed = succeeds(&helper, "--region us-east-1 --region eu-west-1", NO_WARNING);
    assert!(printed.starts_with("added 2 credHelpers to "), "{printed}");
    assert_eq!(entries(&helper, CONFIG), ["111122223333.dkr.ecr.eu-west-1.amazonaws.com", HOST]);
    let calls = aws.calls();
    let [call] = calls.as_slice() else { panic!("one call: {calls:?}") };
    assert_eq!(
        (call.operation.as_str(), call.region.as_str(), call.access_key.as_str()),
        ("GetCallerIdentity", "us-east-1", "AKIAEXAMPLE")
    );
    succeeds(&helper, "--remove --region us-east-1", NO_WARNING);
    assert_eq!(entries(&helper, CONFIG), ["111122223333.dkr.ecr.eu-west-1.amazonaws.com"]);

    // --profile overrides the tables of the configuration and the environment.
    helper.write(".config/docker-credential-ecr-login/config.toml", "[[registry]]\nmatch = '*'\nprofile = 'absent'");
    succeeds(&helper, "--region us-east-1", NO_WARNING);
    helper.write(".aws/config", "[profile mine]\naws_access_key_id = AKIAMINE\naws_secret_access_key = s\n");
    succeeds(&helper, "--region us-east-1 --profile mine", NO_WARNING);
    assert_eq!(aws.calls().last().expect("a call").access_key, "AKIAMINE");

    let unsigned = home().var("AWS_ENDPOINT_URL", &aws.url());
    let before = aws.count();
    for (args, words) in [
        ("--region us-east-1", &["no AWS credentials found", "AWS_PROFILE", "--account"][..]),
        ("--region us-east-1 --profile absent", &["'absent'", "--profile"]),
    ] {
        let line = fails(&unsigned, args);
        assert!(words.iter().all(|word| line.contains(word)), "{args}: {line}");
    }
    for (args, words) in [
        ("--region us-east1", &["the region 'us-east1'"][..]),
        ("--account 111122223333 --region us-east-1 --profile x", &["--profile has no effect"]),
        ("HOST --region us-east-1", &["--region", "requires --account"]),
    ] {
        let line = refuses(&unsigned, &args.replace("HOST", HOST));
        assert!(words.iter().all(|word| line.contains(word)), "{args}: {line}");
        assert!(!unsigned.home().join(".docker").exists(), "{args}");
    }
    assert_eq!(aws.count(), before, "no request without credentials");
    let denied = Plan { service: "sts", failures: 9, failure: (403, "InvalidClientTokenId", "no"), ..Plan::default() };
    let denied = Aws::with(denied);
    let line = fails(&with_keys(home()).var("AWS_ENDPOINT_URL", &denied.url()), "--region us-east-1");
    assert!(line.contains("the account of the caller is unknown: STS"), "{line}");
}

/// Runs the commands that doctor prints, for every form of host. Afterwards docker and podman call the helper.
#[test]
fn the_commands_that_doctor_prints_make_clients_call_the_helper() {
    let tables = format!("[[registry]]\nmatch = '*.example.com'\nregistry = '{HOST}'");
    for host in [
        HOST,
        "111122223333.dkr.ecr-fips.us-east-1.amazonaws.com",
        "111122223333.dkr-ecr.us-east-1.on.aws",
        "111122223333.dkr-ecr-fips.us-gov-west-1.on.aws",
        "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "public.ecr.aws",
        "ecr-public.aws.com",
        "images.example.com",
    ] {
        let other = json!({"credHelpers": {host: "pass"}}).to_string();
        let login = json!({"auths": {host: {"auth": "YTpi"}}}).to_string();
        for (files, client) in [
            (&[][..], "docker"),
            (&[], "podman"),
            (&[(CONFIG, r#"{"credsStore":"desktop"}"#)], "docker"),
            (&[(CONFIG, &other)], "docker"),
            (&[(CONFIG, &other)], "podman"),
            (&[("run/containers/auth.json", &other)], "podman"),
            (&[(AUTH, &other)], "podman"),
            (&[(CONFIG, &login)], "docker"),
            (&[(CONFIG, &login)], "podman"),
            (&[("run/containers/auth.json", &login)], "podman"),
        ] {
            let helper = home();
            helper.write(".config/docker-credential-ecr-login/config.toml", &tables);
            for (path, text) in files {
                helper.write(path, text);
            }
            // doctor does not report a client that is neither installed nor set up.
            helper.write_program(&format!("bin/{client}"), "");
            let check = || {
                let ran = helper.run(&["doctor", "--json", host], "");
                let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
                let checks = report["registries"][0]["checks"].as_array().expect("checks").clone();
                let check = checks.into_iter().find(|check| check["check"] == client);
                check.unwrap_or_else(|| panic!("{client}: {}", ran.stdout))
            };
            if registry::Registry::parse(host).is_some_and(|registry| registry.is_public()) && check()["status"] == "ok"
            {
                // Without a setting, images of ECR Public are pulled anonymously.
                continue;
            }
            let fix = check()["fix"].as_str().unwrap_or_else(|| panic!("{files:?}")).to_owned();
            let command =
                fix.split('\'').nth(1).and_then(|words| words.strip_prefix("docker-credential-ecr-login setup"));
            let command = command.unwrap_or_else(|| panic!("{fix}"));
            succeeds(&helper, command, NO_WARNING);
            assert_eq!(check()["status"], "ok", "{host}, {client}, {files:?}: {fix}");
        }
    }
}
