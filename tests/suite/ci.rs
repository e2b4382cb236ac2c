//! The identities of CI jobs: GitHub's token on request, the token that other CI systems set in a variable, and keys for one
//! account.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::HOST;
use crate::helper::{Helper, Ran, SECRET_KEY, many, outlive_failures};
use crate::issuers::{jwt, jwt_by};
use crate::support::aws::{Aws, Plan};

const CONFIG: &str = ".config/docker-credential-ecr-login/config.toml";
const ROLE: &str = "arn:aws:iam::111122223333:role/team/Deploy";
const OTHER: &str = "444455556666.dkr.ecr.us-east-1.amazonaws.com";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

#[derive(Default)]
struct Shared {
    /// The subject of each job, by the bearer token of its requests.
    jobs: BTreeMap<String, String>,
    /// The number of the next requests that fail, and their status.
    failing: (usize, u16),
    /// Path and query of each request.
    asked: Vec<String>,
}

/// A stand-in for the service that gives jobs of GitHub Actions their identity tokens.
struct GitHub {
    shared: Arc<Mutex<Shared>>,
    url: String,
}

impl GitHub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Mutex::new(Shared::default()));
        crate::support::serve(listener, axum::Router::new().fallback(answer).with_state(shared.clone()));
        Self { shared, url }
    }

    /// The environment of a new job, with the subject of its tokens.
    fn job(&self, helper: Helper, bearer: &str, subject: &str) -> Helper {
        self.shared.lock().expect("it").jobs.insert(bearer.to_owned(), subject.to_owned());
        helper
            .var("GITHUB_ACTIONS", "true")
            .var("ACTIONS_ID_TOKEN_REQUEST_URL", &format!("{}/idtoken/{bearer}?api-version=2.0", self.url))
            .var("ACTIONS_ID_TOKEN_REQUEST_TOKEN", bearer)
    }

    fn asked(&self) -> Vec<String> {
        self.shared.lock().expect("it").asked.clone()
    }

    fn fail(&self, times: usize, status: u16) {
        self.shared.lock().expect("it").failing = (times, status);
    }
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let mut shared = shared.lock().expect("it");
    shared.asked.push(request.uri().to_string());
    if shared.failing.0 > 0 {
        shared.failing.0 -= 1;
        return (StatusCode::from_u16(shared.failing.1).expect("a status"), "secret-of-the-answer").into_response();
    }
    let sent = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let number = u32::try_from(shared.asked.len()).expect("a number");
    match sent.and_then(|sent| shared.jobs.get(sent.strip_prefix("bearer ")?)) {
        Some(subject) => json!({"count": 1, "value": jwt_by(ISSUER, subject, number)}).to_string().into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

/// A helper without credentials, with `AWS_ECR_WEB_IDENTITY` set to `wish` and a role for one account.
fn helper(aws: &Aws, wish: &str) -> Helper {
    Helper::bare()
        .var("AWS_ENDPOINT_URL", &aws.url())
        .var("AWS_ECR_WEB_IDENTITY", wish)
        .var("AWS_ECR_ROLE_ARN_111122223333", ROLE)
}

#[track_caller]
fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn a_github_job_assumes_the_role_with_the_token_that_github_gives_it() {
    let (aws, github) = (Aws::start(), GitHub::start());
    for by_file in [false, true] {
        let (calls, asked) = (aws.count(), github.asked().len());
        let mut helper = github.job(helper(&aws, "github"), "job-1", "repo:team/app:ref:refs/heads/main");
        if by_file {
            helper.set("AWS_ECR_WEB_IDENTITY", "");
            helper.set("AWS_ECR_ROLE_ARN_111122223333", "");
            helper.write(
                CONFIG,
                &format!(
                    "[[registry]]\nmatch = '*'\nweb_identity = 'github'\nrole_arn = '{}'\nrole_session_name = 'builds'\n",
                    ROLE.replace("111122223333", "{account}")
                ),
            );
        }
        let password = helper.get(HOST).password_for(HOST);
        assert!(password.starts_with("ASIA-Deploy-by-jwt.us-east-1."), "{password}");
        assert_eq!(github.asked()[asked..], ["/idtoken/job-1?api-version=2.0&audience=sts.amazonaws.com"]);
        let sts = aws.calls().split_off(calls).remove(0);
        assert_eq!((sts.operation.as_str(), sts.access_key.as_str()), ("AssumeRoleWithWebIdentity", ""));
        let session = if by_file { "builds" } else { "docker-credential-ecr-login" };
        let token = jwt_by(ISSUER, "repo:team/app:ref:refs/heads/main", u32::try_from(asked).expect("a number") + 1);
        contains(&sts.body, &["111122223333%3Arole%2Fteam%2FDeploy", &format!("WebIdentityToken={token}"), session]);
        for _ in 0..2 {
            assert_eq!(helper.get(HOST).password_for(HOST), password);
        }
        assert_eq!(helper.run(&["list"], "").stdout, format!("{{\"{HOST}\":\"AWS\"}}\n"));
        assert_eq!((aws.count(), github.asked().len()), (calls + 2, asked + 1), "later ones come from the cache");
        helper.run(&["erase"], HOST).silent();
        assert!(helper.entries().is_empty());
    }
}

/// The secret of a job tells it from all others. The variables that describe it prove nothing, nor does a token of the same
/// subject: trust policies test more claims than that.
#[test]
fn each_job_gets_a_token_of_its_own_and_hits_the_cache_within_it() {
    let (aws, github) = (Aws::start(), GitHub::start());
    let helper = github.job(helper(&aws, "github"), "job-1", "repo:team/app:ref:refs/heads/main");
    let helper = helper.var("GITHUB_REPOSITORY", "team/app").var("GITHUB_REF", "refs/heads/main");
    let first = helper.get(HOST).password_for(HOST);
    let helper = github.job(helper, "job-2", "repo:team/app:ref:refs/heads/main");
    let second = helper.get(HOST).password_for(HOST);
    assert_ne!(second, first);
    assert_eq!(helper.get(HOST).password_for(HOST), second);
    assert_eq!((aws.count(), github.asked().len()), (4, 2));
    let helper = helper.var("AWS_ECR_ROLE_ARN_111122223333", &ROLE.replace("Deploy", "Read"));
    assert!(helper.get(HOST).password_for(HOST).starts_with("ASIA-Read-by-jwt."));
    // This job asks a server of its own, with the secret of another.
    let forged = GitHub::start();
    let helper = helper.var("AWS_ECR_ROLE_ARN_111122223333", ROLE);
    let helper = forged.job(helper, "job-2", "repo:team/app:ref:refs/heads/main");
    assert_ne!(helper.get(HOST).password_for(HOST), second);
}

#[test]
fn jobs_of_one_runner_leave_no_more_files_than_their_entries_and_one_manifest() {
    let (aws, github) = (Aws::start(), GitHub::start());
    let mut helper = helper(&aws, "github");
    for number in 0..20 {
        helper = github.job(helper, &format!("job-{number}"), "repo:team/app");
        helper.get(HOST).password_for(HOST);
    }
    let files = fs::read_dir(helper.cache_dir()).expect("a cache").flatten().map(|file| file.path());
    let others: Vec<_> = files.filter(|file| file.extension().is_none_or(|ending| ending != "json")).collect();
    let manifests = others.iter().filter(|file| file.extension().is_some_and(|ending| ending == "manifest"));
    assert_eq!((helper.entries().len(), manifests.count()), (20, 1), "{others:?}");
}

#[test]
fn many_at_once_in_a_job_ask_github_and_aws_once() {
    let aws = Aws::with(Plan { delay: std::time::Duration::from_millis(100), ..Plan::default() });
    let github = GitHub::start();
    let helper = github.job(helper(&aws, "github"), "job-1", "repo:team/app");
    let (runs, _) = many(&helper, 20, HOST);
    let passwords: Vec<_> = runs.iter().map(|ran| ran.password_for(HOST)).collect();
    assert!(passwords.iter().all(|password| *password == passwords[0]), "{passwords:?}");
    assert_eq!((aws.count_of("sts"), aws.count_of("ecr")), (1, 1));
    assert_eq!(github.asked().len(), 1);
}

#[test]
fn the_error_for_a_job_without_the_permission_names_it() {
    let aws = Aws::start();
    for (variable, words) in [
        ("GITHUB_ACTIONS", &["this GitHub Actions job may not request"][..]),
        ("X", &["this is not a GitHub Actions job"]),
    ] {
        let ran = helper(&aws, "github").var(variable, "true").get(HOST);
        contains(ran.error(), words);
        contains(
            ran.error(),
            &["permissions: id-token: write", "ACTIONS_ID_TOKEN_REQUEST_URL", "AWS_ECR_WEB_IDENTITY"],
        );
    }
    assert_eq!(aws.count(), 0);
}

/// The request carries a token that stands for the job.
#[test]
fn github_is_not_asked_without_tls() {
    let aws = Aws::start();
    let mut helper = helper(&aws, "github").var("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job-1");
    for url in ["http://github.example/token", "http://10.0.0.1/token"] {
        helper.set("ACTIONS_ID_TOKEN_REQUEST_URL", url);
        let ran = helper.get(HOST);
        contains(ran.error(), &["ACTIONS_ID_TOKEN_REQUEST_URL is not a URL with https"]);
    }
}

#[test]
fn an_error_of_github_is_reported_and_a_temporary_one_is_retried() {
    let (aws, github) = (Aws::start(), GitHub::start());
    let helper = github.job(helper(&aws, "github"), "job-1", "repo:team/app");
    github.fail(usize::MAX, 403);
    let ran = helper.get(HOST);
    contains(ran.error(), &["GitHub gives this job no identity token: HTTP status 403", "id-token: write"]);
    assert!(!ran.stdout.contains("secret-of-the-answer"), "{ran:?}");
    assert_eq!((aws.count(), github.asked().len()), (0, 1));
    github.fail(usize::MAX, 500);
    outlive_failures(&helper);
    let ran = helper.get(HOST);
    contains(ran.error(), &["GitHub gives this job no identity token: HTTP status 500", "try again later"]);
    assert!(!ran.error().contains("permissions"), "{ran:?}");
    github.fail(usize::MAX, 429);
    outlive_failures(&helper);
    let ran = helper.get(HOST);
    contains(ran.error(), &["HTTP status 429", "try again later", "[E-THROTTLED]"]);
    github.fail(2, 503);
    outlive_failures(&helper);
    helper.get(HOST).password_for(HOST);
    let nobody = helper.var("ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1:1/x").var("AWS_MAX_ATTEMPTS", "1");
    contains(nobody.get(HOST).error(), &["GitHub gives this job no identity token: cannot reach 127.0.0.1:1"]);
}

#[test]
fn a_token_in_a_variable_is_identified_by_its_claims() {
    let aws = Aws::start();
    for by_file in [false, true] {
        let mut helper = helper(&aws, "env:ECR_ID_TOKEN").var("ECR_ID_TOKEN", &jwt("project:a", 1));
        if by_file {
            helper.set("AWS_ECR_WEB_IDENTITY", "");
            helper.set("AWS_ECR_ROLE_ARN_111122223333", "");
            let table =
                format!("[[registry]]\nmatch = '1*'\nrole_arn = '{ROLE}'\nweb_identity_token_env = 'ECR_ID_TOKEN'\n");
            helper.write(CONFIG, &(table + "region = 'eu-west-1'\n"));
        }
        let calls = aws.count();
        let first = helper.get(HOST).password_for(HOST);
        assert!(first.starts_with("ASIA-Deploy-by-jwt."), "{first}");
        assert!(aws.calls()[calls].body.contains(&format!("WebIdentityToken={}", jwt("project:a", 1))));
        let helper = helper.var("ECR_ID_TOKEN", &format!("{}\n", jwt("project:a", 2)));
        assert_eq!(helper.get(HOST).password_for(HOST), first, "another token with the same claims");
        assert_eq!(aws.count(), calls + 2);
        let others = [
            helper.var("ECR_ID_TOKEN", &jwt("project:b", 1)).get(HOST).password_for(HOST),
            self::helper(&aws, "env:ECR_ID_TOKEN")
                .var("ECR_ID_TOKEN", &jwt_by("https://gitlab.example", "project:a", 1))
                .get(HOST)
                .password_for(HOST),
        ];
        assert!(!others.contains(&first) && others[0] != others[1]);
    }
}

#[test]
fn a_variable_without_a_token_is_named() {
    let aws = Aws::start();
    for value in ["", " \n"] {
        let ran = helper(&aws, "env:ECR_ID_TOKEN").var("ECR_ID_TOKEN", value).get(HOST);
        contains(ran.error(), &["ECR_ID_TOKEN", "AWS_ECR_WEB_IDENTITY", "is not set", "id_tokens"]);
    }
    let mut command = helper(&aws, "env:ECR_ID_TOKEN").command();
    let ran = crate::process::run(command.arg("get").env("ECR_ID_TOKEN", ""), HOST);
    contains(ran.error(), &["the variable ECR_ID_TOKEN", "it is empty"]);
    let helper = Helper::of(&aws);
    helper.write(
        CONFIG,
        &format!("[[registry]]\nmatch='1*'\nrole_arn='{ROLE}'\nweb_identity_token_env='ECR_ID_TOKEN'\n"),
    );
    contains(helper.get(HOST).error(), &["ECR_ID_TOKEN", "config.toml, line 4", "is not set"]);
    let spaced = helper.var("ECR_ID_TOKEN", "two words");
    let ran = spaced.get(HOST);
    assert!(ran.error().contains("holds characters") && !ran.stdout.contains("two words"), "{ran:?}");
    assert_eq!(aws.count(), 0, "keys in the environment are not used instead");
}

#[test]
fn the_error_for_a_web_identity_without_a_role_names_the_setting() {
    let aws = Aws::start();
    let helper = helper(&aws, "env:ECR_ID_TOKEN").var("ECR_ID_TOKEN", &jwt("a", 1));
    contains(
        helper.get(OTHER).error(),
        &["AWS_ECR_WEB_IDENTITY", "AWS_ECR_ROLE_ARN_444455556666", "AWS_ECR_ROLE_ARN for"],
    );
    assert_eq!(helper.get("public.ecr.aws").error(), crate::NOT_FOUND, "pulled anonymously");
    assert_eq!(aws.count(), 0);
    let helper = helper.var("AWS_ECR_ROLE_ARN", &ROLE.replace("Deploy", "ForAll"));
    assert!(helper.get(OTHER).password_for(OTHER).starts_with("ASIA-ForAll-by-jwt."));
    assert!(helper.get(HOST).password_for(HOST).starts_with("ASIA-Deploy-by-jwt."));
    assert!(helper.get("public.ecr.aws").password_for("public.ecr.aws").starts_with("ASIA-ForAll-by-jwt."));
    // A profile for the account has precedence over the role for all accounts.
    helper.write(".aws/config", "[profile a]\naws_access_key_id = AKIAPROFILEA\naws_secret_access_key = a\n");
    let helper = helper.var("AWS_ECR_PROFILE_444455556666", "a");
    assert!(helper.get(OTHER).password_for(OTHER).starts_with("AKIAPROFILEA."));
    for wrong in ["GitLab", "env:", "env:A-B", &jwt("a", 1)] {
        let ran = self::helper(&aws, wrong).get(HOST);
        contains(ran.error(), &["AWS_ECR_WEB_IDENTITY", "github", "env:NAME"]);
        assert!(!ran.stdout.contains(&jwt("a", 1)), "it may be a token: {ran:?}");
    }
}

#[test]
fn contradictions_in_the_file_are_named_with_line_and_key() {
    let helper = Helper::bare();
    let role = format!("role_arn = '{ROLE}'");
    for (lines, words) in [
        (&["web_identity = 'github'"][..], &["line 3", "web_identity", "role_arn"][..]),
        (&["web_identity_token_env = 'A'"], &["line 3", "web_identity_token_env", "role_arn"]),
        (&[&role, "web_identity = 'gitlab'"], &["line 4", "web_identity", "'github'", "web_identity_token_env"]),
        (&[&role, "web_identity_token_env = 'A B'"], &["line 4", "web_identity_token_env", "name of a variable"]),
        (&[&role, "web_identity = 'github'", "web_identity_token_env = 'A'"], &["line 5", "contradicts web_identity"]),
        (&[&role, "web_identity = 'github'", "profile = 'a'"], &["line 5", "profile", "contradicts web_identity"]),
        (
            &[&role, "external_id = 'x'", "web_identity_token_env = 'A'"],
            &["line 4", "external_id", "web_identity_token_env"],
        ),
    ] {
        helper.write(CONFIG, &format!("[[registry]]\nmatch = '*'\n{}\n", lines.join("\n")));
        contains(helper.get(HOST).error(), words);
    }
}

#[test]
fn a_refusal_of_sts_names_the_token_and_what_trusts_it() {
    for (wish, code, words) in [
        ("env:ECR_ID_TOKEN", "AccessDenied", &["in ECR_ID_TOKEN", "trust policy", ROLE][..]),
        ("env:ECR_ID_TOKEN", "ExpiredTokenException", &["the web identity token in ECR_ID_TOKEN has expired"]),
        ("github", "AccessDenied", &["GitHub Actions job", "token.actions.githubusercontent.com", ROLE]),
    ] {
        let (token, github) = (jwt("a", 1), GitHub::start());
        let quoting: &'static str = format!("Not authorized: {token}, {}", jwt_by(ISSUER, "repo:a", 1)).leak();
        let aws =
            Aws::with(Plan { service: "sts", failures: usize::MAX, failure: (403, code, quoting), ..Plan::default() });
        let ran = github.job(helper(&aws, wish), "job", "repo:a").var("ECR_ID_TOKEN", &token).get(HOST);
        contains(ran.error(), words);
        assert!(!ran.stdout.contains(&token) && !ran.stdout.contains(&jwt_by(ISSUER, "repo:a", 1)), "{ran:?}");
        assert_eq!(aws.count_of("ecr"), 0);
    }
}

#[test]
fn keys_of_an_account_come_before_everything_else_for_it_alone() {
    let aws = Aws::start();
    let helper = Helper::of(&aws)
        .var("AWS_ECR_ACCESS_KEY_ID_111122223333", "AKIAONE")
        .var("AWS_ECR_SECRET_ACCESS_KEY_111122223333", "one")
        .var("AWS_PROFILE", "missing")
        .var("AWS_ECR_WEB_IDENTITY", "github")
        .var("AWS_ECR_PROFILE_444455556666", "b");
    helper.write(".aws/config", "[profile b]\naws_access_key_id = AKIAPROFILEB\naws_secret_access_key = b\n");
    helper.write(CONFIG, "[[registry]]\nmatch = '*'\nprofile = 'b'\n");
    let one = helper.get(HOST).password_for(HOST);
    assert!(one.starts_with("AKIAONE."), "{one}");
    assert!(helper.get(OTHER).password_for(OTHER).starts_with("AKIAPROFILEB."));
    assert_eq!(helper.get(HOST).password_for(HOST), one);
    assert_eq!(aws.count(), 2);
    // Another secret or session token is another identity.
    let helper = helper.var("AWS_ECR_SECRET_ACCESS_KEY_111122223333", "two");
    assert_ne!(helper.get(HOST).password_for(HOST), one);
    let helper = helper.var("AWS_ECR_SESSION_TOKEN_111122223333", "session");
    helper.get(HOST).password_for(HOST);
    assert_eq!(aws.count(), 4);
    let helper = helper.var("AWS_ECR_ROLE_ARN_111122223333", ROLE);
    assert!(helper.get(HOST).password_for(HOST).starts_with("ASIA-Deploy-by-AKIAONE."), "the role with the keys");
    let ran = helper.var("AWS_ECR_PROFILE_111122223333", "b").get(HOST);
    contains(ran.error(), &["AWS_ECR_ACCESS_KEY_ID_111122223333", "AWS_ECR_PROFILE_111122223333", "unset one"]);
}

#[test]
fn keys_of_two_accounts_never_share_a_token() {
    let aws = Aws::start();
    let helper = ["111122223333", "444455556666"].into_iter().fold(Helper::bare(), |helper, account| {
        helper
            .var("AWS_ENDPOINT_URL", &aws.url())
            .var(&format!("AWS_ECR_ACCESS_KEY_ID_{account}"), &format!("AKIA{account}"))
            .var(&format!("AWS_ECR_SECRET_ACCESS_KEY_{account}"), "s")
    });
    for _ in 0..2 {
        for host in [HOST, OTHER] {
            let password = helper.get(host).password_for(host);
            assert!(password.starts_with(&format!("AKIA{}.", &host[..12])), "{password} for {host}");
        }
    }
    assert_eq!(aws.count(), 2);
}

#[test]
fn half_a_pair_of_keys_is_an_error_that_names_the_other_half() {
    let aws = Aws::start();
    for (set, missing) in [
        ("AWS_ECR_ACCESS_KEY_ID_111122223333", "AWS_ECR_SECRET_ACCESS_KEY_111122223333"),
        ("AWS_ECR_SECRET_ACCESS_KEY_111122223333", "AWS_ECR_ACCESS_KEY_ID_111122223333"),
        ("AWS_ECR_SESSION_TOKEN_111122223333", "AWS_ECR_ACCESS_KEY_ID_111122223333"),
    ] {
        let ran = Helper::of(&aws).var(set, "half-of-a-pair").var(missing, " ").get(HOST);
        contains(ran.error(), &[set, &format!("{missing} is not")]);
        assert!(!ran.stdout.contains("half-of-a-pair"), "{ran:?}");
    }
    assert_eq!(aws.count(), 0);
}

#[test]
fn no_secret_in_logs_reports_or_files_of_the_cache() {
    let (aws, github) = (Aws::start(), GitHub::start());
    let token = jwt("project:a", 7);
    let logged = |helper: Helper| helper.var("AWS_ECR_LOG", "trace").var("HTTPS_PROXY", "http://127.0.0.1:1");
    let keys = Helper::without_registry(&aws)
        .var("AWS_ECR_ACCESS_KEY_ID_111122223333", "AKIAONE")
        .var("AWS_ECR_SECRET_ACCESS_KEY_111122223333", "stand-in-secret")
        .var("AWS_ECR_SESSION_TOKEN_111122223333", "stand-in-session");
    for helper in [
        logged(keys),
        logged(github.job(helper(&aws, "github"), "stand-in-bearer", "repo:secret/app")),
        logged(helper(&aws, "env:AWS_CI_JWT").var("AWS_CI_JWT", &token)),
    ] {
        let runs: [Ran; 3] = [helper.get(HOST), helper.get(HOST), helper.run(&["doctor", HOST], "")];
        let mut said: String = runs[..2].iter().map(|ran| ran.stderr.clone()).collect();
        said += &[runs[2].stdout.as_str(), runs[2].stderr.as_str()].concat();
        for file in fs::read_dir(helper.cache_dir()).expect("a cache").flatten() {
            said += &fs::read_to_string(file.path()).unwrap_or_default();
        }
        assert!(runs[0].stdout.contains("Secret") && said.contains("credentials"), "{said}");
        let payload = token.split('.').nth(1).expect("claims");
        for secret in ["stand-in-secret", "stand-in-session", "stand-in-bearer", "secret/app", payload, SECRET_KEY] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
}

#[test]
fn doctor_reports_the_identity_of_each_registry() {
    let (aws, github) = (Aws::start(), GitHub::start());
    let helper = github.job(helper(&aws, "github"), "job-1", "repo:team/app").var("HTTPS_PROXY", "http://127.0.0.1:1");
    let report = helper.run(&["doctor", "--json", HOST], "").stdout;
    contains(
        &report,
        &["by AWS_ECR_ROLE_ARN_111122223333", "the web identity of this GitHub Actions job", "ASIA-Deploy"],
    );
    helper.get(HOST).password_for(HOST);
    contains(&helper.run(&["doctor", "--json", HOST], "").stdout, &["refreshed in"]);
}
