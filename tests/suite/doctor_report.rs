//! The output of `doctor`: lines as soon as they are known, one for each registry, a verdict; JSON by its schema; checks of
//! images.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use docker_credential_ecr_login::code::Code;
use serde_json::{Value, json};

use crate::HOST;
use crate::doctor::{Healthy, PASSWORD, check, registry, report};
use crate::helper::{Helper, SECRET_KEY, lacks_kernel, limit, misuse};
use crate::namespace::skip;
use crate::support::aws::{Aws, Plan};

const OTHER: &str = "444455556666.dkr.ecr.us-east-1.amazonaws.com";
const FAR: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";

/// The last line.
fn verdict(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn with_an_endpoint_that_hangs_lines_appear_at_once_and_doctor_ends_in_time() {
    // Accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    let helper = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", &address);
    let started = Instant::now();
    let mut child =
        helper.command().args(["doctor", HOST, OTHER, FAR]).stdin(Stdio::null()).spawn().expect("the program starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut seen = Vec::new();
    for line in lines {
        seen.push((started.elapsed(), line.expect("a line")));
    }
    assert_eq!(child.wait().expect("an end").code(), Some(1));
    // The first two lines and the credentials, while the token is waited for.
    let (first, _) = &seen[1];
    let factor = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(*first < Duration::from_millis(200 * factor), "{seen:#?}");
    let credentials = seen.iter().find(|(_, line)| line.contains("credentials")).expect("a line");
    assert!(credentials.0 < Duration::from_secs(3), "{seen:#?}");
    assert!(started.elapsed() < limit(Duration::from_secs(15)), "{seen:#?}");
    let text = seen.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
    // Asked once, shown once.
    assert_eq!(text.matches("E-ENDPOINT-UNREACHABLE").count(), 1, "{text}");
    assert_eq!(verdict(&text), "2 ok, 5 failed", "{text}");
}

/// A TLS handshake or a proxy that hangs, for ECR and for STS. Each time limit has another part of the work end first.
#[test]
fn what_hangs_is_named_and_not_the_inside_of_a_library() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let (https, http) = (format!("https://{address}"), format!("http://{address}"));
    let aws = Aws::start();
    for limit in ["2s", "4s"] {
        for (variable, url) in [("AWS_ENDPOINT_URL", &https), ("AWS_ENDPOINT_URL_STS", &https), ("HTTPS_PROXY", &http)]
        {
            let helper = if variable == "HTTPS_PROXY" { Helper::bare() } else { Helper::of(&aws) };
            let helper = helper.var("AWS_ACCESS_KEY_ID", "AKIA").var("AWS_SECRET_ACCESS_KEY", "s");
            let ran = helper.var(variable, url).var("AWS_ECR_TIMEOUT", limit).run(&["doctor", HOST], "");
            let named = ran.stdout.lines().find(|line| line.contains("answer")).unwrap_or_default();
            assert!(named.contains(&address.to_string()) && named.contains("not answer"), "{variable}: {}", ran.stdout);
            assert!(!ran.stdout.contains("throughput"), "{variable}: {}", ran.stdout);
        }
    }
}

#[test]
fn a_healthy_registry_is_one_line_and_all_steps_are_for_those_who_ask() {
    if lacks_kernel("doctor of the program on the PATH") {
        return;
    }
    let Some(Healthy { aws, helper }) = Healthy::with("doctor's lines", &[HOST, OTHER, FAR], registry()) else {
        return;
    };
    let entries = [HOST, OTHER, FAR].map(|host| format!("\"{host}\": \"ecr-login\"")).join(", ");
    helper.write(".docker/config.json", &format!("{{\"credHelpers\": {{{entries}}}}}"));
    let ran = helper.run(&["doctor"], "");
    assert_eq!((ran.code, verdict(&ran.stdout)), (Some(0), "12 ok, 0 failed"), "{}", ran.stdout);
    for host in [HOST, OTHER, FAR] {
        let lines: Vec<&str> = ran.stdout.lines().filter(|line| line.contains(host)).collect();
        let [line] = lines[..] else { panic!("one line: {lines:?}") };
        assert!(
            line.starts_with(&format!("ok       {host}  token valid for 1")) && line.contains(", until 20"),
            "{line}"
        );
    }
    assert!(ran.stdout.contains("config.json names the helper for 3 registries"), "{}", ran.stdout);
    // Two registries share a region's token; the principal and the endpoint are asked for once a region.
    assert_eq!(aws.count_of("ecr"), 2);
    assert_eq!(ran.stdout.matches("\nok       token").count(), 2, "{}", ran.stdout);
    let all = helper.run(&["doctor", "-v"], "").stdout;
    assert!(all.matches("  ok       mapping").count() == 3 && all.contains("  ok       registry"), "{all}");
    // A bug report's block, without secrets.
    for words in [
        "For a bug report:",
        "docker-credential-ecr-login 0.1.0 (commit ",
        "x86_64",
        "C library ",
        "AWS_ENDPOINT_URL=http://127.0.0.1:8000",
        "AWS_SECRET_ACCESS_KEY (set)",
    ] {
        assert!(all.contains(words), "{words} in {all}");
    }
    assert!(!all.contains(SECRET_KEY) && !all.contains(PASSWORD), "{all}");
}

#[test]
fn without_any_set_up_it_examines_the_machine_and_the_identity() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let ran = helper.run(&["doctor"], "");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    for words in ["program", "E-CLIENT-NOT-SET-UP", "setup HOST", "credentials", "AKIAEXAMPLE", "principal", "cache"] {
        assert!(ran.stdout.contains(words), "{words} in {}", ran.stdout);
    }
    assert_eq!(aws.count_of("ecr"), 0);
    let ran = helper.run(&["doctor", "--json"], "");
    let all: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert!(all["registries"] == json!([]) && all["ok"] == json!(false), "{all:#}");
    valid(&all);
    // Every registry, by credsStore: nothing is wrong with docker.
    helper.write(".docker/config.json", r#"{"credsStore": "ecr-login"}"#);
    let text = helper.run(&["doctor"], "").stdout;
    assert!(text.contains("calls the helper for every registry: credsStore"), "{text}");
    // A broken file is named as the cause.
    helper.write(".docker/config.json", "{\"credHelpers\": {,}}");
    let text = helper.run(&["doctor"], "").stdout;
    assert!(text.contains("E-CLIENT-CONFIG-INVALID") && text.contains("line 1, column 18"), "{text}");
}

/// `sudo docker login` leaves a file of root's.
#[test]
fn a_file_of_roots_is_named_as_such() {
    if !nix::unistd::geteuid().is_root() {
        return skip("a file of root's", "only root can leave one");
    }
    let helper = Helper::of(&Aws::start());
    let config = helper.write(".docker/config.json", "{}");
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("a mode");
    };
    mode(&config, 0o600);
    mode(helper.home(), 0o755);
    std::os::unix::fs::chown(helper.home(), Some(65534), None).expect("an owner");
    let program = helper.home().join("docker-credential-ecr-login");
    crate::process::copy_program(&program);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(["doctor", "--json", HOST]);
    command.env_clear().envs(helper.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().expect("setpriv runs");
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let (status, what) = check(&all, "docker");
    assert!(
        status == "failure" && what.contains("E-CLIENT-CONFIG-UNREADABLE") && what.contains("sudo chown"),
        "{what}"
    );
}

/// By the schema that the program is built with.
#[track_caller]
fn valid(report: &Value) {
    let Some(python) =
        std::env::var_os("MOTO_SERVER").map(|moto| std::path::PathBuf::from(moto).with_file_name("python"))
    else {
        return skip("the schema of doctor's report", "tests/run sets up a validator");
    };
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("report.json");
    std::fs::write(&path, report.to_string()).expect("a file");
    let script = "import json, sys, jsonschema\n\
                  schema = json.load(open('src/commands/doctor/report.schema.json'))\n\
                  jsonschema.Draft202012Validator.check_schema(schema)\n\
                  jsonschema.Draft202012Validator(schema).validate(json.load(open(sys.argv[1])))";
    let output = Command::new(python).args(["-c", script]).arg(&path).output().expect("python runs");
    assert!(output.status.success(), "{}\n{report:#}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_json_report_matches_its_schema() {
    if lacks_kernel("doctor of the program on the PATH") {
        return;
    }
    let Some(Healthy { aws, helper }) = Healthy::start("doctor's JSON") else { return };
    let role = "arn:aws:iam::111122223333:role/Pull";
    let helper = helper.var("AWS_ECR_ROLE_ARN_111122223333", role);
    let (all, code) = report(&helper, &[HOST, "ghcr.io"]);
    valid(&all);
    assert_eq!(code, Some(1));
    let registry = &all["registries"][0];
    for (name, value) in [("host", HOST), ("account", "111122223333"), ("region", "us-east-1"), ("role", role)] {
        assert_eq!(registry[name], json!(value), "{registry:#}");
    }
    assert_eq!(registry["source"], json!("the environment (AWS_ACCESS_KEY_ID)"));
    assert!(registry["principal"].as_str().is_some_and(|arn| arn.starts_with("arn:aws:")), "{registry:#}");
    assert!(registry["expiry"].as_str().is_some_and(|at| at.ends_with('Z')), "{registry:#}");
    let unknown = &all["registries"][1]["checks"];
    assert!(unknown.as_array().expect("checks").iter().any(|check| check["code"] == "E-HOST-UNKNOWN"), "{all:#}");
    assert_eq!(all["summary"], json!({"ok": 9, "warnings": 0, "failed": 1}));
    // Nothing of that where nothing can be had.
    aws.change(|plan| {
        *plan = Plan { failures: usize::MAX, failure: (400, "AccessDeniedException", "no"), ..Plan::default() }
    });
    let (all, _) = report(&helper.var("AWS_ECR_ROLE_ARN_111122223333", ""), &[HOST]);
    valid(&all);
    assert!(check(&all, "token").1.contains("E-ECR-DENIED"), "{all:#}");
    assert_eq!(all["registries"][0]["expiry"], Value::Null);
}

/// A registry with images, which answers as ECR does.
pub fn images() -> Router {
    let manifest = |Path((repository, reference)): Path<(String, String)>, headers: HeaderMap| async move {
        use base64::Engine;
        let expected = format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("AWS:{PASSWORD}")));
        let accepts = headers
            .get("accept")
            .is_some_and(|accept| accept.to_str().is_ok_and(|text| text.contains("oci.image.index")));
        let error = |status, code: &str, message: &str| {
            (status, json!({"errors": [{"code": code, "message": message}]}).to_string()).into_response()
        };
        match (repository.as_str(), reference.as_str()) {
            _ if headers.get("authorization").is_none_or(|given| given.to_str().ok() != Some(&expected)) => {
                error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Not Authorized")
            }
            _ if !accepts => error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "no such format"),
            ("app", "1" | "latest") => StatusCode::OK.into_response(),
            ("app", tag) if tag.starts_with("sha256:") => StatusCode::OK.into_response(),
            ("app", _) => error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "Requested image not found"),
            ("secret", _) => error(
                StatusCode::FORBIDDEN,
                "DENIED",
                "User: arn:aws:iam::111122223333:user/me is not authorized to perform: ecr:BatchGetImage on resource: x",
            ),
            ("docker-hub", _) => error(
                StatusCode::FORBIDDEN,
                "DENIED",
                "User: arn:aws:iam::111122223333:user/me is not authorized to perform: ecr:BatchImportUpstreamImage on resource: x",
            ),
            _ => error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "The repository with name 'x' does not exist"),
        }
    };
    registry().route("/v2/{repository}/manifests/{reference}", get(manifest))
}

#[test]
fn a_page_of_a_proxy_is_no_answer_of_a_registry() {
    let blocked = Arc::new(Mutex::new(StatusCode::OK));
    let status = blocked.clone();
    let page = move || {
        let status = *status.lock().expect("no panic");
        async move { (status, [("content-type", "Text/HTML; charset=utf-8")], "<html>blocked by policy</html>") }
    };
    let old = || async { ([("content-type", "text/html"), ("docker-distribution-api-version", "registry/2.0")], "{}") };
    let Some(Healthy { helper, .. }) = Healthy::with("doctor behind a portal", &[HOST], Router::new().fallback(page))
    else {
        return;
    };
    for status in [200, 401, 403, 404] {
        *blocked.lock().expect("no panic") = StatusCode::from_u16(status).expect("a status");
        for (named, name) in [(HOST.to_owned(), "registry"), (format!("{HOST}/app:1"), "image")] {
            let (all, code) = report(&helper, &[&named]);
            let (result, what) = check(&all, name);
            assert!(result == "failure" && what.contains("answers with a page of HTML"), "{status}: {what}");
            assert!(code == Some(1) && all.to_string().contains("E-REGISTRY-ANSWER"), "{status}: {all:#}");
        }
    }
    // The load balancer of a registry that fails or limits the rate sends such a page too.
    for (status, words) in [(503, "answers 503 Service Unavailable"), (429, "limits the rate of requests")] {
        *blocked.lock().expect("no panic") = StatusCode::from_u16(status).expect("a status");
        let what = check(&report(&helper, &[&format!("{HOST}/app:1")]).0, "image").1;
        assert!(what.contains(words), "{status}: {what}");
    }
    let Some(Healthy { helper, .. }) =
        Healthy::with("a registry with an odd type", &[HOST], Router::new().route("/v2/", get(old)))
    else {
        return;
    };
    assert_eq!(check(&report(&helper, &[HOST]).0, "registry").0, "ok");
}

/// E.g. of an organization: what is allowed in IAM then changes nothing.
#[test]
fn the_policy_that_denies_an_image_is_the_one_to_change() {
    let said = Arc::new(Mutex::new(String::new()));
    let message = said.clone();
    let denied = move || {
        let error = json!({"errors": [{"code": "DENIED", "message": *message.lock().expect("no panic")}]});
        async move { (StatusCode::FORBIDDEN, error.to_string()) }
    };
    let registry = Router::new().fallback(denied);
    let Some(Healthy { helper, .. }) = Healthy::with("doctor of denying policies", &[HOST], registry) else { return };
    for (action, why, policy) in [
        ("BatchGetImage", "with an explicit deny in a service control policy", "organization's service control policy"),
        ("BatchGetImage", "because no VPC endpoint policy allows it", "policy of the VPC endpoint"),
        ("BatchImportUpstreamImage", "because no permissions boundary allows it", "permissions boundary"),
    ] {
        *said.lock().expect("no panic") =
            format!("User: x is not authorized to perform: ecr:{action} on resource: y {why}");
        for target in [HOST.to_owned(), format!("{HOST}/app:1")] {
            let text = helper.run(&["doctor", &target], "").stdout;
            let fix = format!("fix: change the {policy}, which denies the request");
            assert!(text.contains(&fix), "{target}: {text}");
        }
    }
}

#[test]
fn each_reason_why_an_image_cannot_be_pulled_has_its_own_code() {
    let Some(Healthy { helper, .. }) = Healthy::with("doctor of images", &[HOST], images()) else { return };
    let digest = format!("app@sha256:{}", "0".repeat(64));
    for (image, code) in [
        ("app:1", None),
        ("app", None),
        (digest.as_str(), None),
        ("app:2", Some("E-TAG-MISSING")),
        ("nothing:1", Some("E-REPOSITORY-MISSING")),
        ("secret:1", Some("E-IMAGE-DENIED")),
        ("docker-hub:1", Some("E-PULL-THROUGH-DENIED")),
        ("../app:1", Some("E-REPOSITORY-MISSING")),
    ] {
        let (all, exit) = report(&helper, &[&format!("{HOST}/{image}")]);
        let (status, what) = check(&all, "image");
        assert_eq!((status == "ok", exit == Some(0)), (code.is_none(), code.is_none()), "{image}: {what}");
        assert!(what.contains(code.unwrap_or("can be pulled")), "{image}: {what}");
        assert_eq!(all["registries"][0]["image"], json!(image));
        valid(&all);
    }
    let image = format!("{HOST}/app:1");
    let shown = helper.run(&["doctor", &image], "").stdout;
    assert!(shown.contains(&format!("ok       {image}  image can be pulled, token valid for ")), "{shown}");
    let typo = helper.run(&["doctor", "11112222333.dkr.ecr.us-east-1.amazonaws.com"], "").stdout;
    assert!(typo.contains("the account '11112222333' does not have 12 digits"), "{typo}");
    let empty = helper.run(&["setup", ""], "");
    assert!(misuse(&empty).contains("the host of the registry is empty"), "{empty:?}");
    let clear = helper.run(&["cache", "clear"], "");
    assert!(misuse(&clear).contains("'logout --all'"), "{clear:?}");
    // With a scheme, and as a client's server URL, which names no image.
    for text in [format!("docker://{HOST}/app:1"), format!("https://{HOST}/v2/")] {
        assert_eq!(report(&helper, &[&text]).1, Some(0), "{text}");
    }
}

/// It ends the connection within the body of what it answers.
#[test]
fn a_registry_whose_answer_breaks_off_has_answered() {
    use axum::body::{Body, Bytes};
    use futures_util::stream::{self, StreamExt};
    let half = || async {
        let first = stream::once(async { Ok(Bytes::from_static(b"{")) });
        let then = stream::once(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(std::io::Error::other("the end"))
        });
        (StatusCode::UNAUTHORIZED, Body::from_stream(first.chain(then)))
    };
    let registry = Router::new().fallback(half);
    let Some(Healthy { helper, aws: _aws }) = Healthy::with("doctor of half an answer", &[HOST], registry) else {
        return;
    };
    for (name, target) in [("registry", HOST.to_owned()), ("image", format!("{HOST}/app:1"))] {
        let (status, what) = check(&report(&helper, &[&target]).0, name);
        assert!(status == "failure" && what.contains("401") && !what.contains("cannot reach"), "{what}");
    }
}

#[test]
fn what_docker_takes_before_it_asks_a_helper_is_named() {
    let Some(Healthy { helper, aws: _aws }) = Healthy::start("doctor of DOCKER_AUTH_CONFIG") else { return };
    let with_password = format!(r#"{{"auths": {{"{HOST}": {{"auth": "QVdTOmE="}}}}}}"#);
    let docker = |helper: &Helper, version: &str| {
        let script = format!("#!/bin/sh\necho Docker version {version}, build x\n");
        helper.write_program("bin/docker", &script);
    };
    docker(&helper, "28.2.2");
    let helper = helper.var("DOCKER_AUTH_CONFIG", &with_password);
    let (all, code) = report(&helper, &[HOST]);
    assert_eq!((check(&all, "docker").0, code), ("ok".into(), Some(0)), "older versions do not know the variable");
    assert!(all.to_string().contains("docker compose and cosign may use it"), "{all:#}");
    docker(&helper, "28.5.2");
    let (all, code) = report(&helper, &[HOST]);
    let (status, what) = check(&all, "docker");
    // Whatever podman, which does not know the variable, does.
    assert!(code == Some(1) && status == "failure" && what.contains("E-DOCKER-AUTH-CONFIG"), "{what}");
    let mut helper = helper;
    for (variable, status) in [
        // Other spellings of the host are never looked up.
        (format!(r#"{{"auths": {{"https://{HOST}": {{"auth": "QVdTOmE="}}}}}}"#), "ok"),
        ("null".to_owned(), "ok"),
        (format!(r#"{{"Auths": {{"{HOST}": {{"auth": "QVdTOmE="}}}}}}"#), "failure"),
        (format!(r#"{{"auths": {{"{HOST}": {{"username": "AWS", "password": "a"}}}}}}"#), "warning"),
        (format!(r#"{{"auths": {{"{HOST}": {{"auth": "QVdTOmE="}}, "other": {{}}}}}}"#), "warning"),
        (r#"{"auths": 5}"#.to_owned(), "warning"),
    ] {
        helper.set("DOCKER_AUTH_CONFIG", &variable);
        let all = report(&helper, &[HOST]).0;
        let of_machine = all["checks"].as_array().expect("checks").iter().find(|check| check["check"] == "docker");
        let mut found = vec![check(&all, "docker").0];
        found.extend(of_machine.map(|check| check["status"].as_str().expect("a text").to_owned()));
        found.retain(|status| status != "ok");
        let expected = if status == "ok" { vec![] } else { vec![status.to_owned()] };
        assert_eq!(found, expected, "{variable}");
    }
    let of_runner = format!(r#"{{"credHelpers": {{"{HOST}": "ecr-login"}}}}"#);
    let text = helper.var("DOCKER_AUTH_CONFIG", &of_runner).run(&["doctor", HOST], "").stdout;
    assert!(text.contains("'auths' as its only member") && text.contains("GitLab runner"), "{text}");
}

/// Checks that registries share are shown once, and every reference to one is to a line on the screen.
#[test]
fn what_registries_of_several_regions_share_is_shown_once() {
    let aws = Aws::start();
    let helper = Helper::without_registry(&aws);
    let far = HOST.replace("us-east-1", "eu-west-1");
    let text = helper.run(&["doctor", HOST, &far, "public.ecr.aws"], "").stdout;
    for name in ["credentials", "principal", "clock"] {
        assert_eq!(text.matches(&format!("ok       {name} ")).count(), 1, "{name} in {text}");
    }
    assert!(text.contains("one for us-east-1 in") && text.contains("one for eu-west-1 in"), "{text}");
    // A settings file that only one of the clients reads, and a configuration that cannot be used.
    let broken = Helper::without_registry(&aws);
    broken.write(".docker/config.json", "[]");
    let path = format!("{}/bin:/usr/bin:/bin", broken.home().display());
    let broken = broken.var("PATH", &path);
    for helper in [broken, Helper::without_registry(&aws).var("AWS_ECR_TIMEOUT", "abc")] {
        let text = helper.run(&["doctor", HOST], "").stdout;
        for line in text.lines() {
            let Some((_, names)) = line.split_once("  see ") else { continue };
            for name in names.trim_end_matches(" above").split(", ") {
                let own = |line: &str| line.split_whitespace().nth(1) == Some(name);
                assert!(text.lines().any(own), "no line of {name} in {text}");
            }
        }
    }
}

#[test]
fn a_slow_process_for_one_registry_keeps_the_others_not_waiting_and_has_the_limit_that_is_set() {
    let aws = Aws::start();
    let helper = Helper::without_registry(&aws).var("AWS_ECR_PROFILE_222233334444", "slow");
    helper.write(".aws/config", "[profile slow]\ncredential_process = sleep 100\n");
    // Without a limit it has two minutes, since it may ask a person.
    let helper = helper.var("AWS_ECR_TIMEOUT", "10s");
    let other = HOST.replace("111122223333", "222233334444");
    let started = Instant::now();
    let text = helper.run(&["doctor", &other, HOST], "").stdout;
    assert!(started.elapsed() < crate::helper::limit(Duration::from_secs(15)), "{:?}", started.elapsed());
    let (before, after) = text.split_once("credential_process").expect("a finding");
    assert!(before.contains("AWS issued one") && after.contains(&other), "{text}");
}

#[test]
fn a_bug_report_has_no_value_of_a_variable_that_is_not_known() {
    let helper = Helper::bare().var("AWS_PRIVATE_KEY", "hunter2").var("AWS_WEBHOOK_URL", "https://h.example/hunter2");
    let helper = helper.var("AWS_REGION", "eu-west-1");
    for args in [&["doctor", HOST][..], &["doctor", "--json", HOST]] {
        let text = helper.run(args, "").stdout;
        assert!(!text.contains("hunter2") && text.contains("AWS_PRIVATE_KEY (set)"), "{text}");
        assert!(text.contains("AWS_REGION=eu-west-1"), "{text}");
    }
}

#[test]
fn a_leftover_password_is_a_warning_with_a_fix_that_works() {
    if lacks_kernel("doctor of the program on the PATH") {
        return;
    }
    let Some(healthy) = Healthy::start("doctor of leftovers") else { return };
    healthy.docker(&format!(
        r#"{{"credHelpers": {{"{HOST}": "ecr-login"}}, "auths": {{"{HOST}": {{"auth": "QVdTOmE="}}}}}}"#
    ));
    let text = healthy.helper.run(&["doctor", HOST], "").stdout;
    assert!(text.contains("W-CLIENT-LEFTOVER-PASSWORD") && verdict(&text) == "9 ok, 0 failed, 1 warning", "{text}");
    let (_, fix) = text.split_once("fix: run 'docker-credential-ecr-login ").expect("a fix");
    let args: Vec<&str> = fix.split('\'').next().expect("a command").split(' ').collect();
    assert_eq!(healthy.helper.run(&args, "").code, Some(0), "{args:?}");
    let text = healthy.helper.run(&["doctor", HOST], "").stdout;
    assert_eq!(verdict(&text), "9 ok, 0 failed", "{text}");
}

#[test]
fn ecr_public_without_credentials_is_pulled_anonymously() {
    let public = "public.ecr.aws";
    let anonymous = |headers: HeaderMap| async move {
        if headers.get("authorization").is_some_and(|given| given == "Bearer anonymous") {
            StatusCode::OK.into_response()
        } else {
            let challenge = "Bearer realm=\"https://public.ecr.aws/token/\",service=\"public.ecr.aws\",scope=\"aws\"";
            (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response()
        }
    };
    let router = Router::new()
        .route("/v2/", get(anonymous))
        .route("/token/", get(|| async { json!({"token": "anonymous"}).to_string() }));
    let Some(Healthy { aws, helper }) = Healthy::with("doctor of ECR Public", &[public], router) else { return };
    let helper = helper.without_keys();
    let (all, _) = report(&helper, &[public]);
    let (status, what) = check(&all, "credentials");
    assert!(status == "ok" && what.contains("anonymously"), "{what}");
    assert_eq!(check(&all, "registry").0, "ok", "{all:#}");
    assert_eq!(aws.count(), 0);
}

/// Nothing is known about the token of a registry whose token service has given none.
#[test]
fn a_token_service_that_gives_no_token_is_named_and_not_the_registry() {
    const PAGE: &str = "<html>blocked by policy</html>";
    let public = "public.ecr.aws";
    let said = Arc::new(Mutex::new((StatusCode::OK, "{}")));
    let answer = said.clone();
    let issue = move || {
        let (status, body) = *answer.lock().expect("no panic");
        let kind = if body == PAGE { "text/html" } else { "text/plain" };
        async move { (status, [("location", "https://other.test/"), ("content-type", kind)], body) }
    };
    let refuse = || async {
        let challenge = "Bearer realm=\"https://public.ecr.aws/token/\",service=\"public.ecr.aws\",scope=\"aws\"";
        (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)])
    };
    let router = Router::new().fallback(get(refuse)).route("/token/", get(issue));
    let Some(Healthy { helper, .. }) = Healthy::with("a token service that fails", &[public], router) else { return };
    *said.lock().expect("no panic") = (StatusCode::FORBIDDEN, PAGE);
    let text = helper.run(&["doctor", public], "").stdout;
    let words = format!("the token service of {public} answers with a page of HTML [E-REGISTRY-ANSWER]");
    assert!(text.contains(&words) && !text.contains("rejects"), "{text}");
    let helper = helper.without_keys();
    for (status, body, words, code) in [
        (500, "{}", "answers 500 Internal Server Error", "E-SERVICE-ERROR"),
        (429, "{}", "answers 429 Too Many Requests", "E-THROTTLED"),
        (403, "{}", "answers 403 Forbidden", "E-REGISTRY-ANSWER"),
        (302, "", "answers 302 Found", "E-REGISTRY-ANSWER"),
        (200, "<html>", "gives no token", "E-REGISTRY-ANSWER"),
        (200, "{}", "gives no token", "E-REGISTRY-ANSWER"),
    ] {
        *said.lock().expect("no panic") = (StatusCode::from_u16(status).expect("a status"), body);
        for target in [public, "public.ecr.aws/nginx/nginx:1"] {
            let text = helper.run(&["doctor", target], "").stdout;
            let words = format!("the token service of {public} {words} [{code}]");
            assert!(text.contains(&words) && !text.contains("rejects"), "{status} {body}: {text}");
        }
    }
    *said.lock().expect("no panic") = (StatusCode::OK, r#"{"token": "anonymous"}"#);
    let text = helper.run(&["doctor", public], "").stdout;
    assert!(text.contains("/v2/ rejects anonymous requests: 401"), "{text}");
}

#[test]
fn a_terminal_shows_what_doctor_waits_for() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    let helper = Helper::of(&Aws::start()).var("AWS_ENDPOINT_URL", &address).var("TERM", "xterm");
    let (screen, code) = helper.on_terminal(&["doctor", HOST], "");
    assert_eq!(code, Some(1));
    assert!(screen.contains(&format!("waiting for a token from {address}")), "{screen}");
    let (json, _) = helper.on_terminal(&["doctor", "--json", HOST], "");
    assert!(!json.contains("waiting") && !json.contains('\x1b'), "{json}");
}

#[test]
fn the_manual_lists_every_code_with_cause_and_fix() {
    let helper = Helper::bare();
    let dir = helper.home().join("pages");
    helper.run(&["generate", dir.to_str().expect("UTF-8")], "").silent();
    let page = std::fs::read_to_string(dir.join("docker-credential-ecr-login.1")).expect("a page");
    let page = page.replace("\\-", "-").replace("\\*(Aq", "'").replace("\\(aq", "'");
    for code in Code::ALL {
        assert!(page.contains(code.name()) && page.contains(code.cause()) && page.contains(code.fix()), "{code}");
    }
}

#[test]
fn codes_are_distinct_and_of_one_form() {
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "{name}");
        let words = name.strip_prefix("E-").or_else(|| name.strip_prefix("W-")).expect("E or W");
        assert!(words.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-'), "{name}");
    }
    for code in Code::ALL {
        assert!(code.cause().ends_with('.') && code.fix().ends_with('.'), "{code}");
        assert_eq!(Code::named(code.name()), Some(*code));
    }
}

/// Registries of one endpoint with identities of their own, each of which takes a while.
#[test]
fn registries_of_one_endpoint_are_examined_side_by_side() {
    let aws = Aws::with(Plan { delay: Duration::from_secs(2), ..Plan::default() });
    let helper = Helper::without_registry(&aws).without_keys();
    let (mut config, mut hosts) = (String::new(), Vec::new());
    for number in 0..6 {
        let _ = write!(
            config,
            "[profile p{number}]\naws_access_key_id = AKIA{number}\naws_secret_access_key = {SECRET_KEY}\n"
        );
        hosts.push(format!("{number}{number}1122223333.dkr.ecr.us-east-1.amazonaws.com"));
    }
    helper.write(".aws/config", &config);
    let mut helper = helper;
    for number in 0..6 {
        helper.set(&format!("AWS_ECR_PROFILE_{number}{number}1122223333"), &format!("p{number}"));
    }
    let args: Vec<&str> = ["doctor", "--json"].into_iter().chain(hosts.iter().map(String::as_str)).collect();
    let ran = helper.run(&args, "");
    assert!(!ran.stdout.contains("E-TIMEOUT"), "{ran:?}");
    assert!(ran.took < limit(Duration::from_secs(12)), "{:?}", ran.took);
}

#[test]
fn a_bug_report_shows_the_values_of_known_variables_alone() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_CREDS", "hunter2").var("AWS_ECR_TIMEOUT", "9s");
    let text = helper.run(&["doctor", HOST], "").stdout;
    assert!(text.contains("AWS_ECR_CREDS (set)") && text.contains("AWS_ECR_TIMEOUT=9s"), "{text}");
}

/// A token that has expired is no matter of permissions, and a failure of the registry none of the host's name.
#[test]
fn a_registry_that_takes_the_token_for_expired_or_that_fails() {
    const EXPIRED: &str = "Your authorization token has expired. Reauthenticate and try again.";
    type Said = Arc<Mutex<(StatusCode, &'static str, &'static str)>>;
    let said: Said = Arc::new(Mutex::new((StatusCode::OK, "", "")));
    let answer = {
        let said = said.clone();
        move || {
            let (status, code, message) = *said.lock().expect("no panic");
            async move { (status, json!({"errors": [{"code": code, "message": message}]}).to_string()) }
        }
    };
    let router = Router::new().fallback(get(answer));
    let Some(Healthy { helper, .. }) = Healthy::with("a registry that fails", &[HOST], router) else { return };
    for (status, denial, message, code) in [
        (401, "DENIED", EXPIRED, "E-REGISTRY-DENIED"),
        (403, "DENIED", EXPIRED, "E-REGISTRY-DENIED"),
        (401, "UNAUTHORIZED", "Not Authorized", "E-REGISTRY-DENIED"),
        (503, "UNAVAILABLE", "service unavailable", "E-SERVICE-ERROR"),
        (500, "DENIED", "internal", "E-SERVICE-ERROR"),
    ] {
        *said.lock().expect("no panic") = (StatusCode::from_u16(status).expect("a status"), denial, message);
        for (target, name) in [(HOST.to_owned(), "registry"), (format!("{HOST}/app:1"), "image")] {
            let (status, what) = check(&report(&helper, &[&target]).0, name);
            assert!(status == "failure" && what.contains(code) && what.contains(message), "{what}");
            assert!(!what.contains("BatchGetImage") && !what.contains("spelling"), "{what}");
            assert_eq!(what.contains("takes the token for expired"), message == EXPIRED, "{what}");
            assert_eq!(what.contains("try again later"), code == "E-SERVICE-ERROR", "{what}");
        }
    }
}
