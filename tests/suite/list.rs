//! `list`: what clients ask first, and which registries they then ask the helper for.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::identity::request_key;
use serde_json::{Value, json};

use crate::HOST;
use crate::helper::{Helper, Ran, make_older, printed};
use crate::process::{best_of, best_of_three, end, start, wait_until};
use crate::support::aws::{Aws, Plan};

const OWN: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";

/// The listed hosts, all with the user name of ECR.
#[track_caller]
fn listed(ran: &Ran) -> Vec<String> {
    let hosts: BTreeMap<String, String> = serde_json::from_str(printed(ran)).expect("JSON");
    assert!(hosts.values().all(|username| username == "AWS"), "{ran:?}");
    hosts.into_keys().collect()
}

fn list(helper: &Helper) -> Vec<String> {
    listed(&helper.run(&["list"], ""))
}

#[test]
fn with_an_empty_cache_the_callers_own_registry_is_listed_by_one_request() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_REGION", "eu-west-1");
    assert_eq!(list(&helper), [OWN]);
    assert_eq!(list(&helper), [OWN]);
    helper.get(OWN).password_for(OWN);
    assert_eq!(aws.count(), 1, "the token is cached like any other");
    helper.run(&["logout", "--all"], "");
    helper.run(&["get-login-password", "--region", "eu-west-1"], "");
    assert_eq!((list(&helper), aws.count()), (vec![OWN.to_owned()], 2), "and the list finds one that is cached");
}

#[test]
fn the_region_is_that_of_the_variables_or_of_the_profile() {
    let aws = Aws::start();
    for (vars, host) in [
        (&[("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "us-east-1")][..], OWN),
        (&[("AWS_DEFAULT_REGION", "eu-west-1")], OWN),
        (&[("AWS_PROFILE", "dev")], "111122223333.dkr.ecr.eu-central-1.amazonaws.com"),
    ] {
        let mut helper = Helper::of(&aws);
        helper.write(".aws/config", "[profile dev]\nregion = eu-central-1\n");
        for (name, value) in vars {
            helper.set(name, value);
        }
        assert_eq!(list(&helper), [host], "{vars:?}");
    }
    let calls = aws.count();
    for region in ["", "nowhere"] {
        assert_eq!(list(&Helper::of(&aws).var("AWS_REGION", region)), [""; 0], "{region:?}");
    }
    assert_eq!(aws.count(), calls, "without a region there is nothing to ask for");
}

#[test]
fn fifty_lists_at_once_make_one_request() {
    let aws = Aws::with(Plan { delay: Duration::from_millis(300), ..Plan::default() });
    let helper = Helper::of(&aws).var("AWS_REGION", "eu-west-1");
    let children: Vec<_> = (0..50).map(|_| helper.start(&["list"], b"")).collect();
    for child in children {
        assert_eq!(listed(&Ran::new(end(child), Duration::ZERO)), [OWN]);
    }
    assert_eq!(aws.count(), 1);
}

#[test]
fn when_aws_does_not_answer_the_list_is_there_within_three_seconds_and_the_next_one_at_once() {
    let aws = Aws::with(Plan { delay: Duration::from_mins(1), ..Plan::default() });
    best_of_three(Duration::from_secs(3), || {
        let helper = Helper::of(&aws).var("AWS_REGION", "eu-west-1").var("AWS_ECR_LOG_FILE", "~/log");
        helper.write(".config/docker-credential-ecr-login/config.toml", "[[registry]]\nmatch = 'public.ecr.aws'\n");
        let before = aws.count();
        let first = helper.run(&["list"], "");
        let log = fs::read_to_string(helper.home().join("log")).expect("a log");
        assert!(log.contains("did not answer in time") && log.contains("eu-west-1"), "{log}");
        let children: Vec<_> = (0..10).map(|_| helper.start(&["list"], b"")).collect();
        let others = children.into_iter().map(|child| Ran::new(end(child), Duration::ZERO));
        for ran in [&first].into_iter().chain(&others.collect::<Vec<_>>()) {
            assert_eq!(listed(ran), ["public.ecr.aws"]);
        }
        assert_eq!(aws.count(), before + 1, "no process asks again for some minutes");
        first.took
    });
}

#[test]
fn a_list_that_gives_up_takes_no_get_with_it() {
    let aws = Aws::with(Plan { delay: Duration::from_secs(4), ..Plan::default() });
    let helper = Helper::of(&aws).var("AWS_REGION", "eu-west-1");
    let list = helper.start(&["list"], b"");
    wait_until("the list asks AWS", Duration::from_secs(30), || aws.count() == 1);
    helper.get(OWN).password_for(OWN);
    assert_eq!(listed(&Ran::new(end(list), Duration::ZERO)), [""; 0]);
    aws.change(|plan| plan.delay = Duration::ZERO);
    assert_eq!(self::list(&helper), [OWN], "and finds its token later");
}

#[test]
fn a_refusal_or_missing_credentials_leave_the_list_empty_and_the_cause_in_the_log() {
    let denied =
        Aws::with(Plan { failures: usize::MAX, failure: (400, "AccessDeniedException", "no"), ..Plan::default() });
    let log = |helper: &Helper| fs::read_to_string(helper.home().join("log")).expect("a log");
    let helper = Helper::of(&denied).var("AWS_REGION", "eu-west-1").var("AWS_ECR_LOG_FILE", "~/log");
    assert_eq!(list(&helper), [""; 0]);
    assert!(
        log(&helper).contains("AccessDenied") || log(&helper).contains("ecr:GetAuthorizationToken"),
        "{}",
        log(&helper)
    );
    let helper = Helper::bare().var("AWS_REGION", "eu-west-1").var("AWS_ECR_LOG_FILE", "~/log");
    let helper = helper.var("AWS_PROFILE", "missing");
    assert_eq!(list(&helper), [""; 0]);
    assert!(log(&helper).contains("missing"), "{}", log(&helper));
}

#[test]
fn hosts_that_settings_name_are_listed_without_a_request() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_REGION", "eu-west-1").var("XDG_RUNTIME_DIR", "/nonexistent");
    let of_podman = "222233334444.dkr.ecr.us-east-1.amazonaws.com";
    helper.write(
        ".docker/config.json",
        &json!({"credHelpers": {
            HOST: "ecr-login",
            "public.ecr.aws": "ecr-login",
            "ghcr.io": "ecr-login",
            "333344445555.dkr.ecr.us-east-1.amazonaws.com": "other",
            "https://444455556666.dkr.ecr.us-east-1.amazonaws.com": "ecr-login",
        }})
        .to_string(),
    );
    helper.write(
        ".config/containers/auth.json",
        &json!({"credHelpers": {of_podman: "ecr-login"}, "auths": {"555566667777.dkr.ecr.us-east-1.amazonaws.com": {}}})
            .to_string(),
    );
    helper.write(
        ".config/docker-credential-ecr-login/config.toml",
        &format!(
            "[[registry]]\nmatch = 'images.example.com'\nregistry = '{HOST}'\n\
             [[registry]]\nmatch = 'images.example.org:5000'\nregistry = '{HOST}'\n\
             [[registry]]\nmatch = '666677778888.*'\nprofile = 'x'\n"
        ),
    );
    let expected = [HOST, of_podman, "images.example.com", "images.example.org:5000", "public.ecr.aws"];
    assert_eq!(list(&helper), expected);
    assert_eq!(aws.count(), 0);
}

#[test]
fn a_public_registry_alone_does_not_stand_for_the_callers_own() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_REGION", "eu-west-1");
    helper.get("public.ecr.aws").password_for("public.ecr.aws");
    assert_eq!(list(&helper), [OWN, "public.ecr.aws"]);
    assert_eq!((aws.count_of("ecr"), aws.count_of("ecr-public")), (1, 1));
}

#[test]
fn what_others_have_cached_is_not_listed() {
    let aws = Aws::start();
    let mut helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    assert_eq!(list(&helper), [HOST]);
    helper.set("AWS_ACCESS_KEY_ID", "AKIAOTHER");
    assert_eq!(list(&helper), [""; 0]);
    helper.set("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE");
    helper.write(".config/docker-credential-ecr-login/config.toml", "# a comment\n");
    assert_eq!(list(&helper), [HOST], "a get would find the entry under the changed settings, too");
}

/// Who cached the token, or asked for it last, may have accepted less than this caller does, or more.
#[test]
fn a_cached_token_is_listed_by_the_greatest_age_that_its_caller_accepts() {
    let aws = Aws::start();
    for is_of_strict in [true, false] {
        let helper = Helper::of(&aws);
        let strictly = |args: &[&str], input| {
            let mut command = helper.command();
            Ran::new(end(start(command.args(args).env("AWS_ECR_MAX_AGE", "1h"), input)), Duration::ZERO)
        };
        let cached = if is_of_strict { strictly(&["get"], HOST) } else { helper.get(HOST) };
        let password = cached.password_for(HOST);
        make_older(&helper, Duration::from_hours(2));
        assert_eq!(listed(&strictly(&["list"], "")), [""; 0], "{is_of_strict}");
        assert_eq!(list(&helper), [HOST], "{is_of_strict}");
        assert_eq!(helper.get(HOST).password_for(HOST), password, "{is_of_strict}");
    }
}

#[test]
fn ten_thousand_cached_registries_are_listed_within_fractions_of_a_second() {
    let aws = Aws::start();
    // An entry for each is twice the files: 120 ms and 200 ms on two processors with nothing else to do, and up to twice as much
    // beside other tests.
    for (own_entries, bound) in [(false, 400), (true, 600)] {
        // The development build takes some times as long.
        let bound = if std::env::var_os("HELPER").is_some() { bound } else { 10_000 };
        let helper = Helper::of(&aws);
        helper.get(HOST).password_for(HOST);
        let config = "[[registry]]\nmatch = '*'\nrole_arn = 'arn:aws:iam::{account}:role/pull'\n";
        if own_entries {
            helper.write(".config/docker-credential-ecr-login/config.toml", config);
            helper.get(HOST).password_for(HOST);
        }
        let expected = multiply(&helper, &aws, 10_000, own_entries);
        // Other tests use both processors of a small machine, so that more tries are needed than elsewhere.
        best_of(20, Duration::from_millis(bound), || {
            let started = Instant::now();
            let hosts = list(&helper);
            let took = started.elapsed();
            assert!(hosts == expected, "{} of {}", hosts.len(), expected.len());
            println!("{took:?}");
            took
        });
    }
}

/// Several threads read the manifests of many registries, and the settings since those have changed.
#[test]
fn a_long_list_has_threads_with_stacks_of_their_own_size() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    multiply(&helper, &aws, 1500, false);
    helper.write(".aws/config", "[default]\nregion = us-east-1\n");
    let expected = list(&helper);
    assert!(list(&helper.var("RUST_MIN_STACK", "16384")) == expected);
}

/// Copies the newest manifest for other accounts, each with the same entry or with one of its own. Returns the hosts.
fn multiply(helper: &Helper, aws: &Aws, count: u64, own_entries: bool) -> Vec<String> {
    let env: Env = [
        ("HOME", helper.home().to_str().expect("UTF-8")),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL", &aws.url()),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", crate::helper::SECRET_KEY),
    ]
    .into_iter()
    .collect();
    let dir = helper.cache_dir();
    let read = |path: String| fs::read_to_string(dir.join(path)).expect("a file");
    let manifest: Value = serde_json::from_str(&read(format!("{}.manifest", request_key(&env, HOST)))).expect("JSON");
    let entry: Value =
        serde_json::from_str(&read(format!("{}.json", manifest["entry"].as_str().expect("a key")))).expect("JSON");
    let write = |path: String, content: Value| {
        use std::os::unix::fs::OpenOptionsExt;
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(path)).expect("a file");
        std::io::Write::write_all(&mut file, content.to_string().as_bytes()).expect("a write");
    };
    let mut hosts = vec![HOST.to_owned()];
    for number in 1..count {
        let host = format!("{number:012}.dkr.ecr.us-east-1.amazonaws.com");
        let (mut manifest, mut entry) = (manifest.clone(), entry.clone());
        let request = request_key(&env, &host).to_string();
        (manifest["host"], manifest["request"]) = (host.clone().into(), request.clone().into());
        if own_entries {
            let key = format!("{number:064x}");
            (manifest["entry"], entry["key"]) = (key.clone().into(), key.clone().into());
            write(format!("{key}.json"), entry);
        }
        write(format!("{request}.manifest"), manifest);
        hosts.push(host);
    }
    hosts.sort();
    hosts
}

#[test]
fn a_host_that_a_mistake_in_the_settings_keeps_off_the_list_is_in_the_log() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_WEB_IDENTITY", "gitlab").var("AWS_ECR_LOG", "warn");
    helper.write(".docker/config.json", &format!(r#"{{"credHelpers": {{"{HOST}": "ecr-login"}}}}"#));
    let ran = helper.run(&["list"], "");
    assert!(ran.stderr.contains(HOST) && ran.stderr.contains("AWS_ECR_WEB_IDENTITY has an unknown value"), "{ran:?}");
}
