//! The AWS settings mean what they mean to the AWS CLI and to the AWS SDK for Go: each test is a kind of settings that people
//! have for one of the two. Every machine here also has an instance role, which is the wrong answer in most of them.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use crate::HOST;
use crate::helper::{Helper, Ran};
use crate::issuers::{SSO, jwt, sign_in};
use crate::namespace::{Namespace, skip};
use crate::process::run;
use crate::settings::{ROLE, get_with, keys, on_an_instance, who};
use crate::support::aws::Aws;

const MAPPING: &str = "[[registry]]\nmatch = '1111*'\nprofile = 'a'\n";
const OWN_CONFIG: &str = ".config/docker-credential-ecr-login/config.toml";

/// A user with this config file, who has named profile a, on an instance with a role.
fn user(aws: &Aws, config: &str) -> Helper {
    let helper = on_an_instance(aws).var("AWS_PROFILE", "a").var("AWS_ECR_LOG_FILE", "~/log");
    helper.write(".aws/config", config);
    helper
}

/// The same user, whose credentials a process or a sign-in gives.
fn prints(helper: &Helper, id: &str) -> String {
    let script = format!("#!/bin/sh\necho '{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"s\"}}'\n");
    format!("credential_process = sh {}\n", helper.write("process", &script).display())
}

fn log(helper: &Helper) -> String {
    fs::read_to_string(helper.home().join("log")).unwrap_or_default()
}

/// Asserts that the config file leads to this access key.
#[track_caller]
fn leads(config: &str, id: &str) -> Helper {
    let aws = Aws::start();
    let helper = user(&aws, config);
    assert_eq!(who(&helper.get(HOST)), id, "{config}\n{}", log(&helper));
    helper
}

/// Asserts that the config file leads to a line with these words, and that nothing was asked.
#[track_caller]
fn refused(config: &str, words: &[&str]) {
    let aws = Aws::start();
    let ran = user(&aws, config).get(HOST);
    let line = ran.error();
    assert!(words.iter().all(|word| line.contains(word)), "{config}: {line}");
    assert_eq!(aws.count(), 0, "{:?}", aws.calls());
}

#[test]
fn a_named_profile_without_credentials_leads_on_to_the_machine() {
    for settings in
        ["region = eu-west-1\n", "output = json\n", "ca_bundle =\n", "s3 =\n  addressing_style = path\n", ""]
    {
        let helper = leads(&format!("[profile a]\n{settings}"), "ASIA-instance");
        let log = log(&helper);
        assert!(
            log.contains("the instance's role; profile 'a' (AWS_PROFILE) has no credentials of its own"),
            "{settings}: {log}"
        );
    }
    let foreign = leads("[profile a]\naccess_key = AKIA\nsecret_key = x\n", "ASIA-instance");
    let words =
        "the instance's role; in profile 'a', 'access_key' is not read: its name is aws_access_key_id; profile 'a'";
    assert!(log(&foreign).contains(words), "{}", log(&foreign));
    let aws = Aws::start();
    let url = format!("{}/v1/task", aws.url());
    let helper = user(&aws, "[profile a]\nregion = x\n").var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
    assert_eq!(who(&helper.get(HOST)), "ASIA-container-v1-task");
    // The default profile need not exist, also when a variable names it.
    let helper = on_an_instance(&aws).var("AWS_PROFILE", "default");
    assert_eq!(who(&helper.get(HOST)), "ASIA-instance");
    let report = helper.run(&["doctor", HOST], "").stdout;
    assert!(report.contains("profile 'default' (AWS_PROFILE) is in neither file"), "{report}");
    let report = user(&aws, "[profile a]\nregion = x\n").run(&["doctor", "--json", HOST], "").stdout;
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert!(report["registries"][0]["profile"].is_null(), "the instance's role is of no profile: {report:#}");
}

#[test]
fn a_mapped_profile_without_credentials_is_refused() {
    for config in ["[profile a]\nregion = x\n", &format!("[profile a]\n{ROLE}"), "[profile a]\nsso_start_url = u\n", ""]
    {
        let aws = Aws::start();
        let helper = on_an_instance(&aws);
        helper.write(".aws/config", config);
        helper.write(OWN_CONFIG, MAPPING);
        let line = helper.get(HOST).error().to_owned();
        assert!(line.contains("'a'") && line.contains("config.toml"), "{line}");
        assert_eq!(aws.count(), 0);
    }
}

#[test]
fn the_web_identity_of_the_environment_wins_over_any_profile() {
    let aws = Aws::start();
    let token = |helper: &Helper| helper.write("token", &jwt("pod", 1)).display().to_string();
    for (profile, config) in [
        ("a", format!("[profile a]\n{}", keys("AKIAA"))),
        ("a", format!("[profile a]\n{ROLE}credential_source = Ec2InstanceMetadata\n")),
        ("", format!("[default]\n{}", keys("AKIADEFAULT"))),
        ("missing", String::new()),
    ] {
        let helper = user(&aws, &config).var("AWS_PROFILE", profile);
        let file = token(&helper);
        let helper =
            helper.var("AWS_WEB_IDENTITY_TOKEN_FILE", &file).var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/Irsa");
        assert_eq!(who(&helper.get(HOST)), "ASIA-Irsa-by-jwt", "{config}");
        let missing = if profile == "missing" { " does not exist and" } else { "" };
        let words = format!("profile '{profile}' (AWS_PROFILE){missing} is not used");
        assert_eq!(log(&helper).contains(&words), !profile.is_empty(), "{}", log(&helper));
        let helper = helper.var("AWS_ACCESS_KEY_ID", "AKIAENV").var("AWS_SECRET_ACCESS_KEY", "s");
        assert_eq!(who(&helper.get(HOST)), "AKIAENV", "{config}");
    }
}

#[test]
fn half_of_a_pair_is_an_error_that_names_the_other_half() {
    let aws = Aws::start();
    for (vars, words) in [
        (&[("AWS_ACCESS_KEY_ID", "AKIA")][..], "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not set"),
        (
            &[("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "")],
            "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is empty",
        ),
        (&[("AWS_SECRET_ACCESS_KEY", "s")], "AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not set"),
        (&[("AWS_ACCESS_KEY", "AKIA")], "AWS_ACCESS_KEY is set, and AWS_SECRET_ACCESS_KEY is not set"),
        (&[("AWS_ACCESS_KEY", "AKIA"), ("AWS_SECRET_KEY", "")], "AWS_ACCESS_KEY is set, and AWS_SECRET_KEY is empty"),
        (
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")],
            "AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not set",
        ),
    ] {
        for config in ["", "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = s\n"] {
            let helper = on_an_instance(&aws);
            helper.write(".aws/config", config);
            let ran = get_with(&helper, vars, helper.home());
            assert!(ran.error().contains(words), "{ran:?}");
        }
    }
    for half in ["web_identity_token_file = /token\n", "source_profile = b\n", "credential_source = EcsContainer\n"] {
        let key = half.split(' ').next().expect("a key");
        refused(&format!("[profile a]\n{half}"), &["'a'", key, "no role_arn"]);
    }
    // A pair is in one file.
    let helper = user(&aws, &format!("[profile a]\n{}", keys("AKIACONFIG")));
    for half in [
        "aws_access_key_id = AKIAHALF\n",
        "aws_secret_access_key = s\n",
        "aws_access_key_id = A\naws_secret_access_key =\n",
    ] {
        helper.write(".aws/credentials", &format!("[a]\n{half}"));
        let ran = helper.get(HOST);
        assert!(ran.error().contains("without") && ran.error().contains(".aws/credentials"), "{ran:?}");
    }
    helper.write(".aws/credentials", &format!("[a]\n{}", keys("AKIACREDENTIALS")));
    assert_eq!(who(&helper.get(HOST)), "AKIACREDENTIALS");
}

/// A user database with this home directory for the user who runs the tests.
fn of_home(home: &Path) -> Option<Rc<Namespace>> {
    if !nix::unistd::geteuid().is_root() {
        skip("the home directory of the user database", "another user database needs root");
        return None;
    }
    let passwd = home.join("passwd");
    fs::write(&passwd, format!("daemon:x:1:1::/no:/no\nroot:x:0:0:root:{}:/bin/sh\n", home.display()))
        .expect("a write");
    Some(Rc::new(Namespace::of_mounts(&format!("mount --bind {} /etc/passwd", passwd.display()))))
}

#[test]
fn without_home_the_home_directory_is_that_of_the_user_database() {
    let aws = Aws::start();
    let helper = on_an_instance(&aws);
    let Some(namespace) = of_home(helper.home()) else { return };
    let helper = helper.inside(&namespace);
    helper.write(".aws/config", &format!("[default]\n{}", keys("AKIAHOME")));
    helper.write(".aws/credentials", &format!("[other]\n{}", keys("AKIAOTHER")));
    helper.write(OWN_CONFIG, "[[registry]]\nmatch = '2222*'\nprofile = 'other'\n");
    let get = |home: Option<&str>, host: &str| -> Ran {
        let mut command = helper.command();
        run(command.arg("get").env_remove("HOME").envs(home.map(|home| ("HOME", home))), host)
    };
    for home in [None, Some("")] {
        assert_eq!(who(&get(home, HOST)), "AKIAHOME", "{home:?}");
        let other = HOST.replace("1111", "2222");
        assert!(get(home, &other).stdout.contains("AKIAOTHER"), "the helper's own configuration, too");
    }
    assert!(!helper.entries().is_empty(), "and its cache");
    let calls = aws.count();
    assert_eq!(who(&get(None, HOST)), "AKIAHOME");
    assert_eq!(aws.count(), calls, "a hit");
    assert_eq!(who(&get(Some("relative"), HOST)), "ASIA-instance", "a relative one means none");
}

#[test]
fn keys_have_precedence_over_all_else_in_their_profile() {
    let aws = Aws::start();
    let helper = user(&aws, "");
    let process = prints(&helper, "AKIAPROCESS");
    for (other, noted) in [
        (process.as_str(), "credential_process of profile 'a' is not used"),
        ("login_session = arn:aws:iam::111122223333:user/U\n", "login_session of profile 'a' is not used"),
        ("sso_start_url = u\nsso_region = r\n", "sso_start_url of profile 'a' is not used"),
        (&format!("sso_start_url = u\nsso_region = r\n{SSO}"), "sso_start_url of profile 'a' is not used"),
        ("sso_session = missing\nsso_account_id = 111122223333\n", "sso_session of profile 'a' is not used"),
        ("credential_source = Environment\n", "credential_source of profile 'a' is not used"),
        ("source_profile = b\n", ""),
    ] {
        for in_credentials in [false, true] {
            let own = keys("AKIAKEYS");
            let config = if in_credentials { other.to_owned() } else { format!("{other}{own}") };
            helper.write(".aws/config", &format!("[profile a]\n{config}"));
            helper.write(".aws/credentials", &if in_credentials { format!("[a]\n{own}") } else { String::new() });
            let _ = fs::remove_file(helper.home().join("log"));
            assert_eq!(who(&helper.get(HOST)), "AKIAKEYS", "{other}");
            assert!(in_credentials || log(&helper).contains(noted), "{other}: {}", log(&helper));
        }
    }
    assert!(aws.calls().iter().all(|call| call.service == "ecr"), "{:?}", aws.calls());
}

#[test]
fn a_sign_in_without_account_and_role_is_passed_over() {
    for sign_in in ["sso_start_url = u\nsso_region = r\n", "sso_session = missing\n"] {
        let helper = leads(&format!("[profile a]\n{sign_in}"), "ASIA-instance");
        assert!(log(&helper).contains("there is no sso_account_id and no sso_role_name"), "{}", log(&helper));
    }
    let aws = Aws::start();
    let helper = user(&aws, "");
    let process = prints(&helper, "AKIAPROCESS");
    helper.write(".aws/config", &format!("[profile a]\nsso_start_url = u\nsso_region = r\n{process}"));
    assert_eq!(who(&helper.get(HOST)), "AKIAPROCESS");
    refused(
        "[profile a]\nsso_start_url = u\nsso_region = r\nsso_account_id = 111122223333\n",
        &["sso_role_name is missing"],
    );
}

#[test]
fn the_older_keys_beside_sso_session_must_be_equal_to_its_keys() {
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp\n";
    let profile = format!("[profile a]\nsso_session = corp\n{SSO}");
    for beside in
        ["sso_start_url = https://corp\nsso_region = eu-west-1\n", "sso_region = eu-west-1\n", "sso_region =\n"]
    {
        let aws = Aws::start();
        let helper = user(&aws, &format!("{profile}{beside}{session}"));
        sign_in(&helper, "corp", "2099-01-01T00:00:00Z");
        assert_eq!(who(&helper.get(HOST)), "ASIA-sso-Developer", "{beside}");
    }
    for (beside, word) in [("sso_start_url = https://other\n", "sso_start_url"), ("sso_region = other\n", "sso_region")]
    {
        refused(&format!("{profile}{beside}{session}"), &[word, "not that of [sso-session corp]"]);
    }
}

#[test]
fn a_file_may_be_indented() {
    let own = keys("AKIAINDENTED");
    let indented = |text: &str, by: &str| text.lines().map(|line| format!("{by}{line}")).collect::<Vec<_>>().join("\n");
    for config in [
        format!("[profile a]\n{}", indented(&own, "    ")),
        indented(&format!("[profile b]\nregion = x\n\n[profile a]\n# no\n{own}"), "\t"),
        format!("[profile a]\n{own}    # aws_access_key_id = AKIANO\n  ; no\n"),
        format!("[profile a]\nregion = x\n   # comment\n{own}"),
        format!("  [profile a]\n{own}"),
    ] {
        leads(&config, "AKIAINDENTED");
    }
}

#[test]
fn colons_text_behind_headers_and_empty_values_are_read() {
    let own = keys("AKIAREAD");
    for config in [
        "[profile a]\naws_access_key_id: AKIAREAD\naws_secret_access_key : s\n".to_owned(),
        format!("[profile a] production\n{own}"),
        format!("[profile a]# production\n{own}"),
        format!("[profile a]\nrole_arn =\ncredential_process =\nsource_profile =\n{own}"),
        format!("[profile a]\nlogin_session =\nsso_session =\nweb_identity_token_file =\ncredential_source = \n{own}"),
        format!("[profile a]\naws_session_token =\n{own}"),
    ] {
        leads(&config, "AKIAREAD");
    }
    let role = format!("[profile a]\n{ROLE}source_profile = b\nmfa_serial =\nexternal_id =\nrole_session_name =\n");
    leads(&format!("{role}[profile b]\n{own}"), "ASIA-R-by-AKIAREAD");
}

#[test]
fn a_profile_may_have_any_name() {
    let aws = Aws::start();
    for (header, name) in [
        ("my prod", "my prod"),
        ("größe", "größe"),
        ("(prod)", "(prod)"),
        ("a&b!*,|c", "a&b!*,|c"),
        ("corp\\prod", "corp\\prod"),
        ("\"prod\"", "prod"),
        ("'my prod'", "my prod"),
    ] {
        let helper = user(&aws, &format!("[profile {header}]\n{}", keys("AKIANAMED"))).var("AWS_PROFILE", name);
        assert_eq!(who(&helper.get(HOST)), "AKIANAMED", "{header}");
        let session = format!("[sso-session {header}]\nsso_region = eu-west-1\nsso_start_url = https://corp\n");
        let helper = user(&aws, &format!("[profile a]\nsso_session = {name}\n{SSO}{session}"));
        sign_in(&helper, name, "2099-01-01T00:00:00Z");
        assert_eq!(who(&helper.get(HOST)), "ASIA-sso-Developer", "{header}");
    }
    let helper = on_an_instance(&aws).var("AWS_PROFILE", "my prod");
    helper.write(".aws/credentials", &format!("[my prod]\n{}", keys("AKIANAMED")));
    assert_eq!(who(&helper.get(HOST)), "AKIANAMED");
}

#[test]
fn empty_variables_of_a_container_are_unset() {
    let aws = Aws::start();
    let full = format!("{}/v1/task", aws.url());
    let helper = on_an_instance(&aws);
    for vars in [
        &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")][..],
        &[("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")],
        &[("AWS_CONTAINER_AUTHORIZATION_TOKEN", " \t")],
        &[("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")],
        &[("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ""), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")],
    ] {
        let set = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", full.as_str())];
        let vars: Vec<_> = set.into_iter().chain(vars.iter().copied()).collect();
        assert_eq!(who(&get_with(&helper, &vars, helper.home())), "ASIA-container-v1-task", "{vars:?}");
    }
}

#[test]
fn the_other_names_of_keys_are_read() {
    let aws = Aws::start();
    let helper = on_an_instance(&aws);
    for vars in [
        &[("AWS_ACCESS_KEY", "AKIAENV"), ("AWS_SECRET_KEY", "s")][..],
        &[("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_KEY", "s")],
        &[("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_ACCESS_KEY", "AKIAOTHER"), ("AWS_SECRET_ACCESS_KEY", "s")],
        &[("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SECURITY_TOKEN", "t")],
    ] {
        assert_eq!(who(&get_with(&helper, vars, helper.home())), "AKIAENV", "{vars:?}");
    }
    // The stand-in notes what it was sent.
    let signed_with = |setting: &str| {
        let helper = user(&aws, &format!("[profile a]\n{}{setting}", keys("AKIATOKEN")));
        helper.get(HOST).password_for(HOST);
        aws.calls().last().expect("a call").session_token.clone()
    };
    assert_eq!(signed_with("aws_security_token = older\n"), "older");
    assert_eq!(signed_with("aws_security_token = older\naws_session_token = newer\n"), "newer");
    let vars = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s2"), ("AWS_SECURITY_TOKEN", "older")];
    get_with(&helper, &vars, helper.home()).password_for(HOST);
    assert_eq!(aws.calls().last().expect("a call").session_token, "older");
}

#[test]
fn of_the_two_variables_for_a_profile_the_first_decides() {
    let aws = Aws::start();
    let config = format!("[profile a]\n{}[profile b]\n{}", keys("AKIAA"), keys("AKIAB"));
    let helper = user(&aws, &config).var("AWS_DEFAULT_PROFILE", "b");
    assert_eq!(who(&helper.get(HOST)), "AKIAA");
    assert!(
        log(&helper).contains("profile 'b' (AWS_DEFAULT_PROFILE) is not used: AWS_PROFILE has precedence"),
        "{}",
        log(&helper)
    );
    let report = helper.run(&["doctor", HOST], "").stdout;
    assert!(report.contains("AWS_DEFAULT_PROFILE") && report.contains("W-SETTING-PASSED-OVER"), "{report}");
    let helper = helper.var("AWS_PROFILE", "");
    assert_eq!(who(&helper.get(HOST)), "AKIAB");
}

#[test]
fn a_role_without_a_source_is_assumed_with_what_there_is() {
    let aws = Aws::start();
    let helper = user(&aws, "");
    let process = prints(&helper, "AKIAPROCESS");
    sign_in(&helper, "u", "2099-01-01T00:00:00Z");
    for (own, by) in [
        (keys("AKIAKEYS"), "AKIAKEYS"),
        (process, "AKIAPROCESS"),
        (format!("sso_start_url = u\nsso_region = eu-west-1\n{SSO}"), "ASIA-sso-Developer"),
        (String::new(), "ASIA-instance"),
    ] {
        helper.write(".aws/config", &format!("[profile a]\n{ROLE}{own}"));
        assert_eq!(who(&helper.get(HOST)), format!("ASIA-R-by-{by}"), "{own}");
    }
    assert!(log(&helper).contains("its role is assumed with those of the machine"), "{}", log(&helper));
    let helper = on_an_instance(&aws);
    helper.write(".aws/config", &format!("[default]\n{ROLE}"));
    assert_eq!(who(&helper.get(HOST)), "ASIA-R-by-ASIA-instance");
    // In a source profile, keys are those of its own role.
    let other = "role_arn = arn:aws:iam::111122223333:role/B\nsource_profile = c\n";
    let config = format!("[profile a]\n{ROLE}source_profile = b\n[profile b]\n{other}{}", keys("AKIAB"));
    leads(&config, "ASIA-R-by-ASIA-B-by-AKIAB");
    refused(
        &format!("[profile a]\n{ROLE}source_profile = b\n[profile b]\n{other}[profile c]\n"),
        &["'c'", "no credentials"],
    );
}

#[test]
fn quotes_and_lines_that_are_no_settings_are_read_past() {
    for config in [
        "[profile a]\naws_access_key_id = \"AKIAREAD\"\naws_secret_access_key = 's'\n".to_owned(),
        format!("written by hand\n[profile a]\n{}", keys("AKIAREAD")),
        format!("region = x\n[profile a]\n{}", keys("AKIAREAD")),
        format!("[profile b]\nno setting\n[profile a]\n{}", keys("AKIAREAD")),
        format!("[profile a]\n{}no setting\n", keys("AKIAREAD")),
        format!("[profile b\n{}[profile a]\n{}", keys("AKIANO"), keys("AKIAREAD")),
        format!("[profile a]\ncredential_source = EcsContainer\n{}", keys("AKIAREAD")),
        format!("[profile a]\nsource_profile = b\n{}", keys("AKIAREAD")),
    ] {
        leads(&config, "AKIAREAD");
    }
    let helper = leads(&format!("[profile a]\n{}no setting\n", keys("AKIAREAD")), "AKIAREAD");
    assert!(log(&helper).contains(".aws/config, line 4: not a setting"), "{}", log(&helper));
    let report = helper.run(&["doctor", HOST], "").stdout;
    assert!(report.contains(".aws/config, line 4: not a setting"), "{report}");
    assert!(!log(&helper).contains("no setting\n") && !report.contains("'no setting'"), "no text of the file");
}

/// The AWS CLI takes each of the two settings from the environment, or else from the profile.
#[test]
fn a_token_file_of_the_profile_goes_with_the_role_of_the_environment() {
    let aws = Aws::start();
    let helper = user(&aws, "").var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/Irsa");
    let token = format!("web_identity_token_file = {}\n", helper.write("token", &jwt("pod", 1)).display());
    helper.write(".aws/config", &format!("[profile a]\n{token}"));
    assert_eq!(who(&helper.get(HOST)), "ASIA-Irsa-by-jwt");
    let text = log(&helper);
    assert!(text.contains("profile 'a' has no role_arn, so AWS_ROLE_ARN names the role"), "{text}");
    assert!(!text.contains("AWS_ROLE_ARN has no effect"), "{text}");
    helper.write(".aws/config", &format!("[profile a]\n{token}{}", keys("AKIAKEYS")));
    assert_eq!(who(&helper.get(HOST)), "AKIAKEYS", "as for the SDK for Go");
    helper.write(".aws/config", &format!("[profile a]\n{ROLE}{token}"));
    assert_eq!(who(&helper.get(HOST)), "ASIA-R-by-jwt", "the role of the profile, as for the SDK for Go");
    assert!(log(&helper).contains("AWS_ROLE_ARN has no effect"), "{}", log(&helper));
    // A profile that something names stands for itself.
    helper.write(".aws/config", &format!("[profile a]\n{ROLE}source_profile = b\n[profile b]\n{token}"));
    assert!(helper.get(HOST).error().contains("no role_arn"));
    helper.write(".aws/config", &format!("[profile a]\n{token}"));
    helper.write(OWN_CONFIG, MAPPING);
    assert!(helper.get(HOST).error().contains("no role_arn"));
}

#[test]
fn variables_in_the_paths_of_aws_files_are_replaced() {
    let aws = Aws::start();
    let mut helper = on_an_instance(&aws).var("TEAM", "one");
    for team in ["one", "two"] {
        helper.write(&format!("{team}/x"), &format!("[default]\n{}", keys(&format!("AKIA{team}"))));
    }
    helper.write("$NOTHING/${}", &format!("[default]\n{}", keys("AKIAplain")));
    let home = helper.home().display().to_string();
    for variable in ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"] {
        for (path, id) in [
            ("$HOME/one/x", "AKIAone"),
            ("${HOME}/$TEAM/x", "AKIAone"),
            ("~/${TEAM}/x", "AKIAone"),
            (&format!("{home}/$NOTHING/${{}}"), "AKIAplain"),
        ] {
            helper.set(variable, path);
            helper.set("TEAM", "one");
            assert_eq!(who(&helper.get(HOST)), id, "{variable}={path}");
            // A hit reads the same file.
            helper.set("TEAM", "two");
            let other = if path.contains("TEAM") { "AKIAtwo" } else { id };
            assert_eq!(who(&helper.get(HOST)), other, "{variable}={path}");
        }
        helper.set(variable, "");
    }
    // Those of other files are taken as they are.
    helper.set("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R");
    helper.write("token", "a.b.c");
    for variable in ["AWS_CA_BUNDLE", "AWS_WEB_IDENTITY_TOKEN_FILE"] {
        let mut command = helper.command();
        let ran = crate::process::run(command.arg("get").env(variable, "~/token").current_dir(helper.home()), HOST);
        assert!(ran.error().contains(" ~/token"), "{variable}: {ran:?}");
    }
}

#[test]
fn lines_may_end_as_on_any_system() {
    for end in ["\r", "\r\n"] {
        leads(&format!("# x\n[profile a]\n{}", keys("AKIAREAD")).replace('\n', end), "AKIAREAD");
    }
}

#[test]
fn what_is_passed_over_in_the_aws_files_is_said() {
    let aws = Aws::start();
    let own = keys("AKIAREAD");
    for (config, words) in [
        (
            format!("[default]\n[profile default]\n{own}[profile a]\n{own}"),
            "line 1: [profile default] replaces [default]",
        ),
        (format!("[profile a]\n{own}[profile a]\nregion = x\n"), "line 4: a header that is there before"),
        (format!("[profile a]\nregion = x\n{own}region = y\n"), "line 5: it replaces the same setting"),
        (format!("[profile a]\n{own}region = 'x'\n"), "line 4: the quotes around the value"),
        (format!("[profile a]\n{own}export AWS_REGION=\"x\"\n"), "line 4: a command of a shell"),
    ] {
        let helper = user(&aws, &config);
        assert_eq!(who(&helper.get(HOST)), "AKIAREAD", "{config}");
        assert!(log(&helper).contains(words), "{config}: {}", log(&helper));
        let report = helper.run(&["doctor", HOST], "").stdout;
        assert!(report.contains(words) && report.contains("W-SETTING-PASSED-OVER"), "{report}");
    }
    for variable in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
        let helper = on_an_instance(&aws).var("AWS_ECR_LOG_FILE", "~/log").var(variable, "~/none");
        assert_eq!(who(&helper.get(HOST)), "ASIA-instance");
        let words = format!("/none ({variable}), which does not exist");
        assert!(log(&helper).contains(&words), "{}", log(&helper));
        let report = helper.run(&["doctor", HOST], "").stdout;
        assert!(report.contains(&words) && report.contains("W-SETTING-PASSED-OVER"), "{report}");
    }
    let helper = on_an_instance(&aws).var("AWS_ECR_LOG_FILE", "~/log");
    let vars = [("AWS_ACCESS_KEY", "AKIAENV"), ("AWS_SECRET_KEY", "s")];
    assert_eq!(who(&get_with(&helper, &vars, helper.home())), "AKIAENV");
    assert!(log(&helper).contains("the environment (AWS_ACCESS_KEY, AWS_SECRET_KEY)"), "{}", log(&helper));
}
