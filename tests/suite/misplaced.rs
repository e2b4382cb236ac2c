//! A token or a secret key in a setting that is meant for something else is shown, logged and stored nowhere.

use std::fs;
use std::path::Path;

use crate::HOST;
use crate::helper::Helper;
use crate::issuers::jwt_of;

const ROLE: &str = "arn:aws:iam::111122223333:role/R";
const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzz9KEYa+1";

const SESSION: &str = "[sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";

/// As GitLab makes one for a job.
fn token() -> String {
    let claims =
        r#"{"iss":"https://gitlab.example","sub":"project_path:team/app:ref_type:branch:ref:main","exp":1700000000}"#;
    jwt_of(claims).replacen("e30", "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0", 1)
}

/// The content of the log and of every file of the cache.
fn files(dir: &Path) -> String {
    let found = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    found.map(|path| if path.is_dir() { files(&path) } else { text(&path) }).collect()
}

fn is_hidden(what: &str, helper: Helper, secret: &str) {
    let helper = helper.var("AWS_ECR_LOG", "trace").var("AWS_ECR_LOG_FILE", "~/log/log");
    fs::create_dir_all(helper.home().join("log")).expect("a directory");
    let is_in = |text: &str| text.contains(&secret[secret.len() - 30..]);
    for args in [
        &["get"][..],
        &["doctor", "-v", HOST],
        &["doctor", "--json", HOST],
        &["login", HOST],
        &["setup", "--dry-run", "--profiles"],
        &["list"],
    ] {
        let ran = helper.run(args, HOST);
        assert!(!is_in(&ran.stdout) && !is_in(&ran.stderr), "{what} {args:?}: {ran:?}");
    }
    let log = files(&helper.home().join("log"));
    assert!(!is_in(&log), "{what}: {log}");
    let cache = files(&helper.cache_dir());
    assert!(!is_in(&cache), "{what}: {cache}");
}

#[test]
fn a_token_or_a_key_in_a_variable_that_is_meant_for_something_else() {
    let token = token();
    let keys = || Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_SECRET_ACCESS_KEY", "s");
    let session = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJI".repeat(4);
    for secret in [&*token, KEY, &session] {
        for (name, value) in [
            ("AWS_PROFILE", secret),
            ("AWS_ECR_PROFILE_111122223333", secret),
            ("AWS_ECR_ROLE_ARN", secret),
            ("AWS_ECR_ROLE_ARN_111122223333", secret),
            ("AWS_ENDPOINT_URL_ECR", &format!("https://{secret}")),
            ("AWS_CA_BUNDLE", secret),
            ("AWS_ECR_IGNORE_CREDS_STORAGE", secret),
            ("AWS_ECR_TIMEOUT", secret),
            ("AWS_ECR_MAX_AGE", secret),
            ("AWS_MAX_ATTEMPTS", secret),
            ("AWS_USE_FIPS_ENDPOINT", secret),
            ("AWS_ECR_LOG", secret),
            ("HTTPS_PROXY", secret),
        ] {
            let helper = keys().var("AWS_ENDPOINT_URL_ECR", "http://127.0.0.1:1").var("AWS_MAX_ATTEMPTS", "1");
            is_hidden(name, helper.var(name, value), secret);
        }
        let bare = || Helper::bare().var("AWS_ENDPOINT_URL", "http://127.0.0.1:1").var("AWS_MAX_ATTEMPTS", "1");
        let web = bare();
        let file = web.write("token", "t0k3n").display().to_string();
        is_hidden("role", web.var("AWS_WEB_IDENTITY_TOKEN_FILE", &file).var("AWS_ROLE_ARN", secret), secret);
        let uri = format!("http://{secret}");
        is_hidden("container", bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri), secret);
    }
}

#[test]
fn a_token_or_a_key_in_a_profile_or_in_the_configuration_that_is_meant_for_something_else() {
    let token = token();
    for secret in [&*token, KEY] {
        for lines in [
            format!(
                "role_arn = {secret}\nsource_profile = k\n[profile k]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = s\n"
            ),
            format!("role_arn = {ROLE}\nsource_profile = {secret}\n"),
            format!("role_arn = {ROLE}\ncredential_source = {secret}\n"),
            format!("sso_session = {secret}\nsso_account_id = 111122223333\nsso_role_name = R\n"),
            format!("sso_session = s\nsso_account_id = {secret}\nsso_role_name = R\n{SESSION}"),
            format!("ca_bundle = {secret}\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = s\n"),
            format!("services = {secret}\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = s\n"),
            format!("login_session = {secret}\n"),
            format!("{secret}\n"),
        ] {
            let helper = Helper::bare().var("AWS_ENDPOINT_URL", "http://127.0.0.1:1").var("AWS_MAX_ATTEMPTS", "1");
            helper.write(".aws/config", &format!("[default]\nregion = us-east-1\n{lines}"));
            is_hidden(&lines, helper, secret);
        }
        for lines in [
            format!("[[registry]]\nmatch = '*'\nprofile = '{secret}'\n"),
            format!("[[registry]]\nmatch = '*'\nrole_arn = '{secret}'\n"),
            format!("[[registry]]\nmatch = '*'\nrole_arn = '{ROLE}'\nsts_region = '{secret}'\n"),
            format!("[[registry]]\nmatch = '{secret}'\nprofile = 'p'\n"),
            format!("timeout = '{secret}'\n"),
            format!("fallback = '{secret}'\n"),
        ] {
            let helper = Helper::bare();
            helper.write(".config/docker-credential-ecr-login/config.toml", &lines);
            is_hidden(&lines, helper, secret);
        }
    }
}

/// The form of a token and of a key alone counts.
#[test]
fn what_looks_like_neither_is_named_in_full() {
    for profile in [
        "AdministratorAccess-123456789012-ForProduction",
        // What IAM Identity Center calls its roles, in as many characters as a secret key has.
        "AWSReservedSSO_ReadOnly_1a2b3c4d5e6f7a8b",
        "111122223333/PlatformAdministratorAccess",
        &"a1B2/".repeat(7),
        "eyJvc2UtcHJvZmlsZQ",
        &"0a9f".repeat(16),
    ] {
        let line = Helper::bare().var("AWS_PROFILE", profile).get(HOST).error().to_owned();
        assert!(line.contains(&format!("the profile '{profile}'")), "{line}");
    }
    let bundle = format!("/nowhere/{KEY}/Bundle2.pem");
    let helper = Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_SECRET_ACCESS_KEY", "s");
    let line = helper.var("AWS_CA_BUNDLE", &bundle).get(HOST).error().to_owned();
    assert!(line.contains(&bundle), "{line}");
}
