//! Mistakes in the AWS settings, and what the cache key follows from: every machine here also has an instance role, which the
//! helper must not use. `drop_in` has what the settings mean.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::HOST;
use crate::helper::{Helper, Ran};
use crate::issuers::{jwt, sign_in};
use crate::process::{SOON, end, run, start, wait_until};
use crate::support::aws::Aws;

/// A user without settings, on an instance with a role.
pub fn on_an_instance(aws: &Aws) -> Helper {
    Helper::bare()
        .var("AWS_ENDPOINT_URL", &aws.url())
        .var("AWS_EC2_METADATA_DISABLED", "")
        .var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &aws.url())
}

/// Runs `get` with more variables, which may be empty, in a directory.
pub fn get_with(helper: &Helper, vars: &[(&str, &str)], dir: &Path) -> Ran {
    run(helper.command().arg("get").current_dir(dir).envs(vars.iter().copied()), HOST)
}

/// The access key that requested the token.
#[track_caller]
pub fn who(ran: &Ran) -> String {
    let password = ran.password_for(HOST);
    password.split(".us-east-1.").next().expect("a caller").to_owned()
}

pub fn keys(id: &str) -> String {
    format!("aws_access_key_id = {id}\naws_secret_access_key = s\n")
}

pub const ROLE: &str = "role_arn = arn:aws:iam::111122223333:role/R\n";

#[test]
fn every_mistake_in_a_named_profile_is_reported_and_the_instance_is_not_asked() {
    let aws = Aws::start();
    let a = |rest: &str| format!("[profile a]\n{rest}");
    for (config, words) in [
        (String::new(), &["'a'", "is in neither", ".aws/config", ".aws/credentials"][..]),
        (format!("[a]\n{}", keys("AKIABARE")), &["[a]", "line 1", ".aws/config", "write [profile a]"]),
        (format!("[profile b]\nregion = x\n [profile a]\n{}", keys("AKIAINDENTED")), &["'a'", "is in neither"]),
        (
            a(&format!("{ROLE}source_profile = b\n")),
            &["'b'", "profile 'a' names as its source_profile", "is in neither"],
        ),
        (a(&format!("{ROLE}source_profile = b\n[profile b]\nregion = x\n")), &["'b'", "no credentials"]),
        (a(&format!("{ROLE}source_profile = a\n")), &["'a'", "no credentials"]),
        (a(&format!("{ROLE}source_profile = b\n[profile b]\n{ROLE}source_profile = a\n")), &["'a'", "leads back"]),
        (
            a(&format!("{ROLE}source_profile = a\ncredential_source = Environment\n")),
            &["'a'", "both source_profile and credential_source"],
        ),
        (
            a(&format!("{ROLE}credential_source = Ec2InstanceMetdata\n")),
            &["'a'", "credential_source is 'Ec2InstanceMetdata'", "Ec2InstanceMetadata"],
        ),
        (a("credential_source = EC2\n"), &["'a'", "credential_source and no role_arn"]),
        (a(&format!("{ROLE}credential_source = Environment\n")), &["'a'", "the environment has no keys"]),
        (a(&format!("{ROLE}credential_source = EcsContainer\n")), &["'a'", "no container"]),
        (a("aws_access_key_id = AKIAHALF\n"), &["'a'", "aws_access_key_id without aws_secret_access_key"]),
        (
            a(&format!(
                "{ROLE}source_profile = b\naws_access_key_id = AKIAHALF\n\
                 [profile b]\naws_access_key_id = AKIAB\naws_secret_access_key = s\n"
            )),
            &["'a'", "aws_access_key_id without aws_secret_access_key"],
        ),
        (
            a("aws_access_key_id =\naws_secret_access_key = s\n"),
            &["'a'", "aws_secret_access_key without aws_access_key_id"],
        ),
        (a("sso_session = corp\nsso_role_name = Dev\nsso_account_id = 111122223333\n"), &["'a'", "[sso-session corp]"]),
        (
            a("sso_session = corp\nsso_role_name = Dev\n[sso-session corp]\nsso_region = r\nsso_start_url = u\n"),
            &["'a'", "sso_account_id is missing"],
        ),
        (a("sso_start_url = u\nsso_region = r\nsso_account_id = 111122223333\n"), &["'a'", "sso_role_name is missing"]),
        (a("sso_start_url = u\nsso_region = eu\nsso_account_id = 1\nsso_role_name = D\n"), &["'a'", "the region 'eu'"]),
        (
            a("sso_start_url = u\nsso_role_name = Dev\nsso_account_id = 111122223333\n"),
            &["'a'", "sso_region is missing"],
        ),
        (
            a(
                "sso_session = corp\nsso_region = r\nsso_role_name = Dev\nsso_account_id = 1\n[sso-session corp]\nsso_start_url = u\n",
            ),
            &["sso_region is missing in [sso-session corp]"],
        ),
        (
            a(&format!("{ROLE}web_identity_token_file = /nowhere/token\n")),
            &["/nowhere/token", "web_identity_token_file of profile 'a'", "does not exist"],
        ),
        (a("web_identity_token_file = /nowhere/token\n"), &["'a'", "no role_arn"]),
    ] {
        let mapping = "[[registry]]\nmatch = '1111*'\nprofile = 'a'\n";
        for named in ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "a mapping"] {
            let helper = on_an_instance(&aws);
            helper.write(".aws/config", &config);
            let helper = if named == "a mapping" {
                helper.write(".config/docker-credential-ecr-login/config.toml", mapping);
                helper
            } else {
                helper.var(named, "a")
            };
            let line = helper.get(HOST).error().to_owned();
            for word in words {
                assert!(line.contains(word), "{named}, {config}: '{word}' in {line}");
            }
            assert!(line.contains("; ") && line.contains(HOST), "{line}");
        }
    }
    let helper = on_an_instance(&aws).var("AWS_PROFILE", " a");
    helper.write(".aws/config", &a(&keys("AKIAA")));
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains("remove the blanks from the name") && line.contains("' a'"), "{line}");
    let endpoint = format!("{}/v1/credentials", aws.url());
    let helper = on_an_instance(&aws).var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &endpoint);
    let line = helper.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere/token").get(HOST).error().to_owned();
    assert!(line.contains("/nowhere/token (AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)"), "{line}");
    for (bytes, words) in [
        (&b"[profile a]\nregion = caf\xe9\n"[..], "is not UTF-8 in line 2"),
        (b"\xff\xfe[\0", "is UTF-16"),
        (b"\xef\xbb\xbf[profile a]\n", "begins with a byte-order mark"),
    ] {
        for named in ["AWS_PROFILE", "AWS_ECR_PROFILE_111122223333"] {
            let helper = on_an_instance(&aws).var(named, "a");
            fs::write(helper.write(".aws/config", ""), bytes).expect("a write");
            helper.write(".aws/credentials", &format!("[a]\n{}", keys("AKIACREDENTIALS")));
            let line = helper.get(HOST).error().to_owned();
            assert!(line.contains(words) && line.contains(".aws/config"), "{named}: {line}");
        }
    }
    assert_eq!(aws.count(), 0, "{:?}", aws.calls());
    assert_eq!(who(&on_an_instance(&aws).get(HOST)), "ASIA-instance");
}

#[test]
fn a_default_profile_that_cannot_be_used_is_no_reason_to_take_the_instances_role() {
    let aws = Aws::start();
    for config in [
        format!("[default]\n{ROLE}source_profile = missing\n"),
        format!("[default]\n{ROLE}credential_source = Typo\n"),
        "[default]\nsso_start_url = u\nsso_account_id = 111122223333\nsso_role_name = Dev\n".to_owned(),
        "[default]\naws_access_key_id = AKIAHALF\n".to_owned(),
    ] {
        let helper = on_an_instance(&aws);
        helper.write(".aws/config", &config);
        assert!(helper.get(HOST).error().contains('\''), "{config}");
    }
    assert_eq!(aws.count(), 0);
    let helper = on_an_instance(&aws);
    helper.write(".aws/config", "[default]\nregion = eu-west-1\n");
    assert_eq!(who(&helper.get(HOST)), "ASIA-instance", "settings without credentials are fine");
}

#[test]
fn variables_that_are_set_and_empty_are_unset() {
    let aws = Aws::start();
    let helper = Helper::bare();
    helper.write(".aws/config", &format!("[default]\n{}", keys("AKIADEFAULT")));
    let url = aws.url();
    let endpoints = [("AWS_ENDPOINT_URL_ECR", url.as_str()), ("AWS_ENDPOINT_URL_STS", &url)];
    for name in [
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CA_BUNDLE",
        "AWS_REGION",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_MAX_ATTEMPTS",
        "AWS_RETRY_MODE",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_STS_REGIONAL_ENDPOINTS",
        "AWS_LOGIN_CACHE_DIRECTORY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
    ] {
        let vars: Vec<_> = endpoints.iter().copied().chain([(name, "")]).collect();
        assert_eq!(who(&get_with(&helper, &vars, helper.home())), "AKIADEFAULT", "{name}");
    }
}

/// A provider of the SDK reads these variables itself, and differently.
#[test]
fn empty_variables_that_the_sdk_reads_differently_are_refused_by_name() {
    let aws = Aws::start();
    let bare = on_an_instance(&aws);
    let calls = aws.count();
    for name in ["AWS_LOGIN_CACHE_DIRECTORY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SIGNIN"] {
        bare.write(".aws/config", "[default]\nlogin_session = arn:aws:iam::111122223333:user/U\n");
        let ran = get_with(&bare, &[(name, "")], bare.home());
        assert!(ran.error().contains(&format!("{name} is set and empty")), "{ran:?}");
    }
    assert_eq!(aws.count(), calls);
}

/// A hook for the SDK's own tests reads it, and the file that it names may send requests elsewhere.
#[test]
fn a_file_of_partitions_for_the_sdk_is_refused_by_the_name_of_its_variable_while_tokens_are_served_and_removed() {
    let name = "SMITHY_CLIENT_SDK_CUSTOM_PARTITION";
    let aws = Aws::start();
    let bare = on_an_instance(&aws);
    let on_keys = Helper::of(&aws);
    let partitions = on_keys.write("partitions.json", "{\"version\":\"1.1\",\"partitions\":[]}");
    for helper in [&bare, &on_keys] {
        for value in ["1", "", "/dev/null", partitions.to_str().expect("UTF-8")] {
            let ran = get_with(helper, &[(name, value)], helper.home());
            assert!(ran.error().contains(&format!("unset {name} [E-SETTING-INVALID]")), "{value}: {ran:?}");
        }
        helper.get(HOST).password_for(HOST);
        get_with(helper, &[(name, "1")], helper.home()).password_for(HOST);
        assert_eq!(run(helper.command().arg("erase").env(name, "1"), HOST).code, Some(0));
        assert_eq!(helper.entries().len(), 0);
    }
}

/// The AWS CLI replaces what the SDK's provider, which reads the variable itself, does not.
#[test]
fn a_directory_of_sign_ins_that_the_aws_cli_reads_differently_is_refused_with_the_cause() {
    let aws = Aws::start();
    let bare = on_an_instance(&aws);
    bare.write(".aws/config", "[default]\nlogin_session = arn:aws:iam::111122223333:user/U\n");
    for (value, words) in [
        ("~/lc", "has '~' or a variable"),
        ("$HOME/lc", "has '~' or a variable"),
        ("/x/${HOME}", "has '~' or a variable"),
        ("lc", "is not an absolute path"),
        ("/none/$lc", "expired or is gone"),
    ] {
        let ran = get_with(&bare, &[("AWS_LOGIN_CACHE_DIRECTORY", value)], bare.home());
        assert!(ran.error().contains(words), "{value}: {ran:?}");
    }
}

/// The SDK's own clients read the endpoint of a sign-in.
#[test]
fn an_empty_endpoint_is_none_for_an_sso_sign_in_too() {
    let aws = Aws::start();
    let url = aws.url();
    let sso = Helper::bare();
    sso.write(".aws/config", &format!("[default]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO));
    sign_in(&sso, "u", "2099-01-01T00:00:00Z");
    let endpoints = [("AWS_ENDPOINT_URL", ""), ("AWS_ENDPOINT_URL_ECR", &url), ("AWS_ENDPOINT_URL_SSO", &url)];
    assert_eq!(who(&get_with(&sso, &endpoints, sso.home())), "ASIA-sso-Developer");
}

/// Neither that of ECR nor, for doctor, that of STS.
#[test]
fn a_url_that_is_to_be_ignored_is_not_checked() {
    let aws = Aws::start();
    let helper = Helper::without_registry(&aws).var("AWS_ENDPOINT_URL", "no").var("AWS_MAX_ATTEMPTS", "1");
    let ran = helper.get(HOST);
    assert!(ran.error().contains("AWS_ENDPOINT_URL is not a URL"), "{ran:?}");
    let helper = helper.var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    let refused = |service| format!("the proxy 127.0.0.1:1 does not connect to {service}.us-east-1.amazonaws.com");
    let ran = helper.get(HOST);
    assert!(ran.error().contains(&refused("api.ecr")), "{ran:?}");
    let config = format!("[[registry]]\nmatch = \"*\"\nendpoint_url = \"{}\"\n", aws.url());
    helper.write(".config/docker-credential-ecr-login/config.toml", &config);
    let report = helper.run(&["doctor", HOST], "").stdout;
    assert!(report.contains(&refused("sts")), "{report}");
}

#[test]
fn keys_that_no_header_can_hold_cause_no_panic() {
    let aws = Aws::start();
    for (config, token) in [
        (format!("[default]\n{}aws_session_token = t\n more\n", keys("AKIAONE")), None),
        (format!("[default]\n{}", keys("AKIA\u{a0}ONE")), None),
        (String::new(), Some("one\ntwo")),
    ] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        helper.write(".aws/config", &config);
        let env = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let env = token.into_iter().flat_map(|token| env.into_iter().chain([("AWS_SESSION_TOKEN", token)]));
        let ran = get_with(&helper, &env.collect::<Vec<_>>(), helper.home());
        assert!(ran.error().contains("with invalid characters"), "{ran:?}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let aws = Aws::start();
    let helper = on_an_instance(&aws);
    for name in ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ROLE_ARN"] {
        let value = std::ffi::OsStr::from_bytes(b"prod\xff");
        let ran = run(helper.command().arg("get").env(name, value), HOST);
        assert!(ran.error().contains(&format!("{name} is not UTF-8")), "{ran:?}");
    }
    assert_eq!(aws.count(), 0);
}

#[test]
fn the_first_of_the_variables_for_a_profile_decides() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    helper.write(".aws/config", &format!("[profile a]\n{}[profile b]\n{}", keys("AKIAA"), keys("AKIAB")));
    for (vars, expected) in [
        (&[("AWS_PROFILE", "a")][..], "AKIAA"),
        (&[("AWS_DEFAULT_PROFILE", "b")], "AKIAB"),
        (&[("AWS_PROFILE", "a"), ("AWS_DEFAULT_PROFILE", "b")], "AKIAA"),
        (&[("AWS_PROFILE", "a"), ("AWS_DEFAULT_PROFILE", "")], "AKIAA"),
    ] {
        for _ in 0..2 {
            assert_eq!(who(&get_with(&helper, vars, helper.home())), expected, "{vars:?}");
        }
    }
}

#[test]
fn sections_are_merged_and_replaced() {
    let aws = Aws::start();
    for (config, profile, expected) in [
        // A line that begins with a blank continues the previous value.
        (format!("[profile a]\nregion = x\n [profile b]\n{}", keys("AKIACONTINUED")), "a", "AKIACONTINUED"),
        (format!("[profile a]\nregion = x\n # aws_access_key_id = AKIANO\n{}", keys("AKIAYES")), "a", "AKIAYES"),
        // The second value replaces the first.
        (
            format!(
                "[default]\naws_session_token = t\n{}[profile default]\n{}",
                keys("AKIABARE"),
                keys("AKIAPREFIXED")
            ),
            "",
            "AKIAPREFIXED",
        ),
        // In a source profile, keys have precedence over its source_profile.
        (
            format!("[profile a]\n{ROLE}source_profile = b\n[profile b]\n{ROLE}source_profile = c\n{}", keys("AKIAB")),
            "a",
            "ASIA-R-by-ASIA-R-by-AKIAB",
        ),
        ("[profile a]\nAWS_Access_Key_Id = AKIACASE\naws_secret_access_key=s\n".to_owned(), "a", "AKIACASE"),
    ] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_PROFILE", profile);
        helper.write(".aws/config", &config);
        for _ in 0..2 {
            assert_eq!(who(&helper.get(HOST)), expected, "{config}");
        }
    }
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_PROFILE", "a");
    helper.write(".aws/config", &format!("[profile a]\n{}[profile  a]\n{}", keys("AKIAONE"), keys("AKIATWO")));
    assert_eq!(who(&helper.get(HOST)), "AKIATWO", "one profile, and the later value");
}

#[test]
fn a_source_that_no_hash_describes_is_answered_without_the_cache() {
    let aws = Aws::start();
    let log = |helper: &Helper| fs::read_to_string(helper.home().join("log")).unwrap_or_default();
    // A FIFO gives its content once.
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_LOG_FILE", "~/log");
    let pipe = helper.home().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let helper = helper.var("AWS_CONFIG_FILE", pipe.to_str().expect("UTF-8"));
    for id in ["AKIAONE", "AKIATWO", "AKIATWO"] {
        let (pipe, text) = (pipe.clone(), format!("[default]\n{}", keys(id)));
        let writer = thread::spawn(move || fs::write(pipe, text));
        assert_eq!(who(&helper.get(HOST)), id);
        wait_until("the pipe is read to its end", SOON, || writer.is_finished());
        writer.join().expect("an end").expect("it was read to its end");
    }
    assert_eq!((aws.count(), helper.entries().len()), (3, 0));
    assert!(log(&helper).contains("not cached") && log(&helper).contains("not a regular file"), "{}", log(&helper));
}

/// Files of /proc have the size 0. This one is the environment of another process.
#[test]
fn a_file_is_read_to_its_end_whatever_its_reported_size() {
    let aws = Aws::start();
    let mut other = std::process::Command::new("/bin/sleep");
    other.env_clear().env("\n[default]\naws_secret_access_key", " s\naws_access_key_id = AKIAPROC\nx = y").arg("100");
    let mut other = other.spawn().expect("sleep runs");
    let environ = format!("/proc/{}/environ", other.id());
    wait_until("sleep has its environment", SOON, || {
        fs::read(&environ).is_ok_and(|bytes| bytes.starts_with(b"\n[default]"))
    });
    assert_eq!(fs::metadata(&environ).expect("metadata").size(), 0);
    let ran = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_CONFIG_FILE", &environ).get(HOST);
    other.kill().and_then(|()| other.wait()).expect("an end");
    assert_eq!(who(&ran), "AKIAPROC");
}

#[test]
fn a_large_file_counts_to_its_end_and_an_endless_one_is_refused() {
    let aws = Aws::start();
    // A longer time limit than the default, since a program that is not optimised reads so much slowly.
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_TIMEOUT", "4m");
    let filler = format!("# {}\n", "filler ".repeat(10)).repeat(100 * 1024);
    for id in ["AKIALARGE1", "AKIALARGE2"] {
        helper.write(".aws/config", &format!("{filler}[default]\n{}", keys(id)));
        assert_eq!(who(&helper.get(HOST)), id);
    }
    let ran = helper.var("AWS_CONFIG_FILE", "/dev/zero").get(HOST);
    assert!(ran.error().contains("/dev/zero") && ran.error().contains("larger than"), "{ran:?}");
}

#[test]
fn a_token_is_not_cached_when_its_settings_changed_during_the_request() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let config = helper.home().join(".aws/config");
    let print = r#"{"Version":1,"AccessKeyId":"AKIABEFORE","SecretAccessKey":"s"}"#;
    let after = format!("[default]\n{}", keys("AKIAAFTER"));
    let body =
        format!("#!/bin/sh\nprintf '{}' > {}\nprintf '{print}\\n'\n", after.replace('\n', "\\n"), config.display());
    let script = helper.write("script", &body);
    helper.write(".aws/config", &format!("[default]\ncredential_process = /bin/sh {}\n", script.display()));
    let before = fs::read(&config).expect("a file");
    assert_eq!(who(&helper.get(HOST)), "AKIABEFORE");
    assert_eq!(who(&helper.get(HOST)), "AKIAAFTER");
    fs::write(&config, before).expect("a write");
    assert_eq!(who(&helper.get(HOST)), "AKIABEFORE");
    assert_eq!(fs::read_to_string(&config).expect("a file"), after, "the process ran again");
}

#[test]
fn no_settings_are_read_from_the_current_directory() {
    let aws = Aws::start();
    let helper = on_an_instance(&aws);
    let checkout = helper.home().join("checkout");
    let planted = format!("[default]\n{}", keys("AKIAPLANTED"));
    for dir in ["", "~", "rel"] {
        let dir = checkout.join(dir).join(".aws");
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("config"), &planted).expect("a write");
        fs::write(dir.join("credentials"), &planted).expect("a write");
    }
    let planted = "[[registry]]\nmatch = '1*'\nprofile = 'planted'\n";
    for dir in [".config", "rel/.config"] {
        let dir = checkout.join(dir).join("docker-credential-ecr-login");
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("config.toml"), planted).expect("a write");
    }
    let named = helper.write("named", &format!("[default]\n{}", keys("AKIANAMED")));
    let named = named.to_str().expect("UTF-8");
    for home in [".", "rel", "~"] {
        let run = |vars: &[(&str, &str)]| {
            let mut command = helper.command();
            command.arg("get").current_dir(&checkout).env("HOME", home);
            self::run(command.envs(vars.iter().copied()), HOST)
        };
        assert_eq!(who(&run(&[])), "ASIA-instance", "{home:?}");
        assert_eq!(who(&run(&[("AWS_CONFIG_FILE", ".aws/config")])), "ASIA-instance", "{home:?}");
        assert_eq!(who(&run(&[("AWS_CONFIG_FILE", "~/.aws/config")])), "ASIA-instance", "{home:?}");
        assert_eq!(who(&run(&[("AWS_CONFIG_FILE", named)])), "AKIANAMED", "{home:?}");
        let line = run(&[("AWS_PROFILE", "absent")]).error().to_owned();
        assert!(line.contains("is in neither") && line.contains("no home directory"), "{line}");
        let left: Vec<_> =
            fs::read_dir(&checkout).expect("a directory").flatten().map(|file| file.file_name()).collect();
        assert_eq!(left.len(), 4, "{left:?}");
    }
}

#[test]
fn two_users_of_one_sign_in_file_are_distinguished_by_its_content() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    helper.write(
        ".aws/config",
        &format!("[default]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO),
    );
    let file = sign_in(&helper, "u", "2099-01-01T00:00:00Z");
    let text = fs::read_to_string(&file).expect("a sign-in");
    let other = text.replace("sso-access", "SSO-access");
    let old = fs::metadata(&file).and_then(|metadata| metadata.modified()).expect("a time") - Duration::from_hours(3);
    let mut passwords = Vec::new();
    for content in [&text, &other, &text] {
        fs::write(&file, content).expect("a write");
        fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(old)).expect("a time");
        passwords.push(helper.get(HOST).password_for(HOST));
    }
    assert_ne!(passwords[0], passwords[1], "another person's token");
    assert_eq!(passwords[0], passwords[2]);
    assert_eq!(aws.count_of("ecr"), 2);
}

#[test]
fn a_sign_in_that_gives_the_same_keys_again_costs_no_call_to_sts_nor_ecr() {
    for role in ["", "arn:aws:iam::111122223333:role/Pull"] {
        let aws = Aws::start();
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_ROLE_ARN_111122223333", role);
        helper.write(
            ".aws/config",
            &format!("[default]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO),
        );
        for expires_at in ["2099-01-01T00:00:00Z", "2099-01-01T01:00:00Z", "2099-01-01T02:00:00Z"] {
            sign_in(&helper, "u", expires_at);
            for _ in 0..3 {
                helper.get(HOST).password_for(HOST);
            }
        }
        let calls = ["sso", "sts", "ecr"].map(|service| aws.count_of(service));
        assert_eq!(calls, [3, usize::from(!role.is_empty()), 1], "{role}");
    }
}

#[test]
fn a_pods_token_distinguishes_it_from_the_previous_pod() {
    let aws = Aws::start();
    let helper = Helper::bare()
        .var("AWS_ENDPOINT_URL", &aws.url())
        .var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/v1/credentials", aws.url()));
    let [one, other] = ["one", "other"].map(|token| {
        let token = [("AWS_CONTAINER_AUTHORIZATION_TOKEN", token)];
        get_with(&helper, &token, helper.home()).password_for(HOST)
    });
    assert_ne!(one, other);
    let file = helper.write("token", &jwt("system:serviceaccount:a:pod", 1));
    let with_file = [("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().expect("UTF-8"))];
    let get = || get_with(&helper, &with_file, helper.home()).password_for(HOST);
    let first = get();
    helper.write("token", &jwt("system:serviceaccount:a:pod", 2));
    assert_eq!(get(), first, "the same pod's rotated token");
    helper.write("token", &jwt("system:serviceaccount:a:other", 2));
    assert_ne!(get(), first);
    helper.write("token", "no JWT");
    let opaque = get();
    helper.write("token", "another");
    assert_ne!(get(), opaque);
}

#[test]
fn an_edit_without_effect_costs_at_most_one_call_and_a_new_time_none() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let text = format!("[default]\n{}", keys("AKIASTATIC"));
    helper.write(".aws/config", &text);
    let first = helper.get(HOST).password_for(HOST);
    helper.write(".aws/config", &text);
    helper.write(".config/docker-credential-ecr-login/config.toml", "timeout = '19s'\n");
    assert_eq!(helper.get(HOST).password_for(HOST), first, "another change time, and a setting of the helper");
    assert_eq!(aws.count_of("ecr"), 1);
}

#[test]
fn a_directory_of_aws_files_that_is_closed_to_the_user_is_no_absent_one() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    const SOMEBODY: u32 = 12345;
    if !nix::unistd::geteuid().is_root() {
        return crate::namespace::skip("closed directories", "being another user needs root");
    }
    let aws = Aws::start();
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let (program, home) = (dir.path().join("program"), dir.path().join("home"));
    crate::process::copy_program(&program);
    fs::create_dir_all(home.join(".aws")).expect("a directory");
    fs::write(home.join(".aws/config"), format!("[default]\n{}", keys("AKIACLOSED"))).expect("a write");
    chown(&home, Some(SOMEBODY), Some(SOMEBODY)).expect("a home");
    let helper = on_an_instance(&aws);
    let get = |mode: u32, name: &str, value: &str| {
        fs::set_permissions(home.join(".aws"), fs::Permissions::from_mode(mode)).expect("a mode");
        let mut command = helper.tool(&program);
        command.arg("get").env("HOME", &home).env(name, value).current_dir("/");
        run(command.uid(SOMEBODY).gid(SOMEBODY), HOST)
    };
    for (name, value) in [("AWS_PROFILE", "default"), ("AWS_REGION", "us-east-1")] {
        let line = get(0o700, name, value).error().to_owned();
        assert!(line.contains(".aws/config (Permission denied") && line.contains("cannot be read"), "{line}");
    }
    assert_eq!(who(&get(0o755, "AWS_REGION", "us-east-1")), "AKIACLOSED");
    // A home directory that the user cannot enter counts as empty, e.g. that of root in a container with another user.
    chown(&home, Some(0), Some(0)).expect("a home");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("a mode");
    assert_eq!(who(&get(0o755, "AWS_REGION", "us-east-1")), "ASIA-instance");
}

/// strace stops the helper after its first read of the file until the test has changed the file.
#[test]
fn a_file_that_changes_while_it_is_read_is_answered_without_the_cache() {
    if crate::namespace::missing(&["strace"]).is_some() {
        return crate::namespace::skip("a change while reading", "strace is not installed");
    }
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_LOG_FILE", "~/log");
    let config = helper.write(".aws/config", &format!("[default]\n{}", keys("AKIAFIRST")));
    let mut strace = helper.tool("strace");
    strace.args(["-f", "-o", "/dev/null", "-P"]).arg(&config);
    strace.args(["-e", "trace=read", "-e", "inject=read:delay_exit=3000000:when=1"]);
    let strace = start(strace.arg(crate::helper::program()).arg("get"), HOST);
    wait_until("the program opens its settings", SOON, || is_open_in_a_child(strace.id(), &config));
    fs::write(&config, format!("[default]\n{}", keys("AKIASECOND"))).expect("a write");
    let output = end(strace);
    let answer = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(answer.contains("AKIAFIRST.") || answer.contains("AKIASECOND."), "{answer}");
    let log = fs::read_to_string(helper.home().join("log")).expect("a log");
    assert!(log.contains("not cached") && log.contains("changed while it was read"), "{log}");
    assert!(helper.entries().is_empty());
    assert_eq!(who(&helper.get(HOST)), "AKIASECOND");
}

/// Whether a child of a process has the file open.
fn is_open_in_a_child(process: u32, path: &Path) -> bool {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let files = |child: &str| fs::read_dir(format!("/proc/{child}/fd")).into_iter().flatten().flatten();
    let mut files = children.split_whitespace().flat_map(files);
    files.any(|file| fs::read_link(file.path()).is_ok_and(|target| target == path))
}

/// The SDK for Go refuses them, and the AWS CLI takes them for false: the request would go to an endpoint that is not FIPS.
#[test]
fn a_variable_that_is_neither_true_nor_false_is_refused() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    for (name, value) in [
        ("AWS_USE_FIPS_ENDPOINT", "yes"),
        ("AWS_USE_FIPS_ENDPOINT", "1"),
        ("AWS_USE_FIPS_ENDPOINT", "true "),
        ("AWS_USE_DUALSTACK_ENDPOINT", "on"),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "1"),
        ("AWS_EC2_METADATA_V1_DISABLED", "no"),
    ] {
        let line = get_with(&helper, &[(name, value)], helper.home()).error().to_owned();
        assert!(line.contains(&format!("{name} is '{value}', neither true nor false")), "{line}");
        assert!(
            line.contains(&format!("set {name} to true or false")) && line.contains("[E-SETTING-INVALID]"),
            "{line}"
        );
        assert_eq!(aws.count(), 0, "{name}={value}");
    }
    let secret = get_with(&helper, &[("AWS_USE_FIPS_ENDPOINT", "hunter2pass")], helper.home()).error().to_owned();
    assert!(secret.contains("AWS_USE_FIPS_ENDPOINT is neither") && !secret.contains("hunter2"), "{secret}");
    for value in ["true", "TRUE", "False"] {
        get_with(&helper, &[("AWS_EC2_METADATA_V1_DISABLED", value)], helper.home()).password_for(HOST);
    }
}

/// Both programs take such a value in a profile for false.
#[test]
fn values_of_a_profile_that_have_no_effect_are_said() {
    let aws = Aws::start();
    for (key, value, words) in [
        ("use_fips_endpoint", "yes", "is 'yes', neither true nor false, and has no effect"),
        ("use_dualstack_endpoint", "1", "is '1', neither true nor false, and has no effect"),
        ("ec2_metadata_v1_disabled", "on", "is 'on', neither true nor false, and has no effect"),
        ("ignore_configured_endpoint_urls", "1", "is '1', neither true nor false, and has no effect"),
        ("duration_seconds", "1h", "is '1h', no number, and has no effect"),
    ] {
        let helper =
            Helper::of(&aws).without_keys().var("AWS_ECR_LOG_FILE", "~/log").var("HTTPS_PROXY", "http://127.0.0.1:1");
        helper.write(".aws/config", &format!("[default]\n{}{key} = {value}\n", keys("AKIAREAD")));
        let words = format!("{key} of profile 'default' {words}");
        assert_eq!(who(&helper.get(HOST)), "AKIAREAD");
        let log = fs::read_to_string(helper.home().join("log")).expect("a log");
        assert!(log.contains(&words), "{log}");
        let report = helper.run(&["doctor", HOST], "").stdout;
        assert!(report.contains(&words) && report.contains("W-SETTING-PASSED-OVER"), "{report}");
    }
    for (name, value, words) in [
        ("AWS_EC2_METADATA_DISABLED", "1", "is '1', neither true nor false, and has no effect"),
        ("AWS_MAX_ATTEMPTS", "two", "is 'two', no number above 0, and has no effect"),
        ("AWS_METADATA_SERVICE_TIMEOUT", "5s", "is '5s', no number above 0, and has no effect"),
    ] {
        let report = Helper::without_registry(&aws).var(name, value).run(&["doctor", HOST], "").stdout;
        assert!(report.contains(&format!("{name} {words}")), "{report}");
    }
}

/// It is for the tokens of CI jobs and service accounts alone.
#[test]
fn a_role_for_all_accounts_that_is_not_assumed_is_said() {
    let aws = Aws::start();
    let helper = |role: &str| {
        let helper = Helper::without_registry(&aws).var("AWS_ECR_ROLE_ARN", role);
        helper.run(&["doctor", HOST], "").stdout
    };
    let words =
        "AWS_ECR_ROLE_ARN has no effect without AWS_ECR_WEB_IDENTITY: AWS_ECR_ROLE_ARN_111122223333 names the role";
    let report = helper("arn:aws:iam::111122223333:role/R");
    assert!(report.contains(words) && report.contains("W-SETTING-PASSED-OVER"), "{report}");
    assert!(!helper("").contains("AWS_ECR_ROLE_ARN"));
}

/// The SDK for Go reads it there, but `aws sso login` does not.
#[test]
fn a_section_of_a_sign_in_in_the_credentials_file_is_named() {
    let aws = Aws::start();
    let session = "[sso-session corp]\nsso_start_url = u\nsso_region = eu-west-1\n";
    let profile = "[default]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Pull\n";
    let helper = || {
        let helper = Helper::of(&aws).without_keys().var("HTTPS_PROXY", "http://127.0.0.1:1");
        helper.write(".aws/config", profile);
        helper.write(".aws/credentials", session);
        helper
    };
    let line = helper().get(HOST).error().to_owned();
    let words = "[sso-session corp] is in ";
    assert!(line.contains(words) && line.contains("/.aws/credentials, where the AWS CLI does not read it"), "{line}");
    assert!(line.contains("move it to the config file, and run 'aws sso login"), "{line}");
    let signed_in = helper();
    sign_in(&signed_in, "corp", "2099-01-01T00:00:00Z");
    signed_in.get(HOST).password_for(HOST);
    let report = signed_in.run(&["doctor", HOST], "").stdout;
    assert!(report.contains(words) && report.contains("W-SETTING-PASSED-OVER"), "{report}");
}
