//! Whose token: worlds in which another identity's token was once served from the cache, and what a cache may still save there.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::HOST;
use crate::helper::{Helper, Ran, lacks_unix, make_older, many, outlive_failures, program};
use crate::issuers::{INSIDE, jwt_of, metadata_network, sign_in};
use crate::namespace::{Namespace, has_unique_mounts, note, skip};
use crate::process::{end, run, settle, start};
use crate::support::aws::{Aws, Plan};
use crate::support::tls::Authority;

const ROLE: &str = "arn:aws:iam::111122223333:role/Pull";

fn profile(id: &str) -> String {
    format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s\n")
}

/// A helper whose credentials a process prints by this command line, which notes each of its runs.
fn with_process(aws: &Aws, command: &str) -> Helper {
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    helper.write(
        "process",
        "#!/bin/sh\necho run >> \"$HOME/runs\"\n\
         echo '{\"Version\":1,\"AccessKeyId\":\"AKIAPROCESS\",\"SecretAccessKey\":\"s\"}'\n",
    );
    let script = helper.home().join("process");
    let command = command.replace("SCRIPT", script.to_str().expect("UTF-8"));
    helper.write(".aws/config", &format!("[default]\ncredential_process = {command}\n"));
    helper
}

/// How often the process ran.
fn runs(helper: &Helper) -> usize {
    fs::read_to_string(helper.home().join("runs")).expect("runs").lines().count()
}

#[test]
fn logout_leaves_no_token_of_keys_that_were_replaced() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    helper.write(".aws/credentials", &profile("AKIAOLD"));
    let old = helper.get(HOST).password_for(HOST);
    helper.write(".aws/credentials", &profile("AKIANEW"));
    helper.get(HOST).password_for(HOST);
    let elsewhere = "444455556666.dkr.ecr.eu-west-1.amazonaws.com";
    let kept = helper.get(elsewhere).password_for(elsewhere);
    assert_eq!(
        helper.run(&["logout", HOST], "").stdout,
        format!("logged out of {HOST}: its 2 cached tokens are removed\n")
    );
    assert_eq!(helper.get(elsewhere).password_for(elsewhere), kept, "it opens other registries");
    helper.write(".aws/credentials", &profile("AKIAOLD"));
    assert_ne!(helper.get(HOST).password_for(HOST), old);
}

/// Settings that change between a get and its logout.
#[test]
fn logout_removes_what_other_settings_cached_for_the_host() {
    let aws = Aws::start();
    let domain = "images.example.com";
    let map = |region: &str| {
        let registry = format!("111122223333.dkr.ecr.{region}.amazonaws.com");
        format!("[[registry]]\nmatch = \"{domain}\"\nregistry = \"{registry}\"\n")
    };
    let removed = |host: &str| format!("logged out of {host}: its cached token is removed\n");
    for (settings, disabled) in [(map("eu-west-1"), ""), (String::new(), ""), (map("us-east-1"), "1")] {
        let mut helper = Helper::of(&aws);
        helper.write(".config/docker-credential-ecr-login/config.toml", &map("us-east-1"));
        let first = helper.get(domain).password_for(domain);
        helper.write(".config/docker-credential-ecr-login/config.toml", &settings);
        helper.set("AWS_ECR_DISABLE_CACHE", disabled);
        let ran = helper.run(&["logout", domain], "");
        assert_eq!(ran.stdout, removed(domain), "{settings}{disabled}: {ran:?}");
        helper.write(".config/docker-credential-ecr-login/config.toml", &map("us-east-1"));
        helper.set("AWS_ECR_DISABLE_CACHE", "");
        assert_ne!(helper.get(domain).password_for(domain), first, "{settings}{disabled}");
    }
    let mut helper = Helper::of(&aws);
    for (args, input) in [(&["erase"][..], HOST), (&["logout", "--all"], "")] {
        let first = helper.get(HOST).password_for(HOST);
        helper.set("AWS_ECR_DISABLE_CACHE", "1");
        assert_eq!(helper.run(args, input).code, Some(0));
        helper.set("AWS_ECR_DISABLE_CACHE", "");
        assert_ne!(helper.get(HOST).password_for(HOST), first, "{args:?}");
    }
}

/// Each registry that a domain was mapped to, and none that it was not.
#[test]
fn logout_of_a_custom_domain_removes_the_tokens_of_its_earlier_registries() {
    let aws = Aws::start();
    let (domain, config) = ("images.example.com", ".config/docker-credential-ecr-login/config.toml");
    let in_region = |region: &str| format!("111122223333.dkr.ecr.{region}.amazonaws.com");
    let map = |region: &str| format!("[[registry]]\nmatch = '{domain}'\nregistry = '{}'\n", in_region(region));
    let helper = Helper::of(&aws);
    let other = in_region("eu-north-1");
    let kept = helper.get(&other).password_for(&other);
    let regions = ["us-east-1", "eu-west-1", "us-west-2", "eu-west-1"];
    let served = regions.map(|region| {
        helper.write(config, &map(region));
        helper.get(domain).password_for(domain)
    });
    assert_eq!(served[1], served[3], "{served:?}");
    let removed = format!("logged out of {domain}: its 3 cached tokens are removed\n");
    assert_eq!(helper.run(&["logout", domain], "").stdout, removed);
    for (region, before) in regions.into_iter().zip(served) {
        helper.write(config, &map(region));
        assert_ne!(helper.get(domain).password_for(domain), before, "{region}");
    }
    assert_eq!(helper.get(&other).password_for(&other), kept);
}

/// Nothing but its region says which registry a token opens that is found by its keys alone.
#[test]
fn logout_removes_tokens_that_are_found_by_their_keys_whatever_the_configuration_has_become() {
    let aws = Aws::start();
    let domain = "images.example.com";
    let config = ".config/docker-credential-ecr-login/config.toml";
    let mapping = format!("[[registry]]\nmatch = \"{domain}\"\nregistry = \"{HOST}\"\n");
    for (host, settings, of_file) in [
        (HOST, "[[registry]\n", true),
        (HOST, "[[registry]]\nmatch = \"*\"\nregistry = \"public.ecr.aws\"\n", true),
        (HOST, "", true),
        (domain, "", true),
        (domain, "[[registry]\n", true),
        (domain, &mapping.replace("us-east-1", "eu-west-1"), true),
        (domain, "", false),
        (domain, "[[registry]\n", false),
    ] {
        let mut helper = with_process(&aws, "sh SCRIPT $NOTHING");
        helper.write(config, &mapping);
        helper.write(".aws/credentials", "[file]\naws_access_key_id = AKIAFILE\naws_secret_access_key = s\n");
        let mut tokens = Vec::new();
        for profile in ["default", "file"].into_iter().take(1 + usize::from(of_file)) {
            helper.set("AWS_PROFILE", profile);
            tokens.push(helper.get(host).password_for(host));
        }
        if settings.is_empty() && host == HOST {
            helper.set("AWS_ECR_CONFIG_FILE", "/nonexistent");
        }
        helper.write(config, settings);
        let ran = helper.run(&["logout", host], "");
        if of_file {
            let removed = format!("logged out of {host}: its 2 cached tokens are removed\n");
            assert_eq!(ran.stdout, removed, "{settings}: {ran:?}");
        } else {
            let hint = "'docker-credential-ecr-login logout --all' removes every token";
            assert!(ran.code == Some(1) && ran.stderr.contains(hint), "{settings}: {ran:?}");
            assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
        }
    }
}

#[test]
fn a_process_that_prints_the_same_keys_again_costs_no_call_to_ecr() {
    let aws = Aws::start();
    let helper = with_process(&aws, "sh SCRIPT $NOTHING");
    let first = helper.get(HOST).password_for(HOST);
    assert_eq!(helper.get(HOST).password_for(HOST), first);
    assert_eq!((runs(&helper), aws.count()), (2, 1), "no hash describes the command, so it runs");
    assert!(helper.run(&["logout", HOST], "").stdout.contains("its cached token is removed"));
    assert_ne!(helper.get(HOST).password_for(HOST), first);
    let script = fs::read_to_string(helper.home().join("process")).expect("a script");
    for (from, to) in [("\"s\"", "\"another\""), ("AKIAPROCESS", "AKIAOTHER")] {
        helper.write("process", &script.replace(from, to));
        let before = aws.count();
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), before + 1, "other credentials: {to}");
    }
    let far = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
    assert!(helper.get(far).password_for(far).contains(".eu-west-1."), "another region");
}

/// What a process gives may stand in other settings, too: there it needs no second entry.
#[test]
fn a_process_that_prints_keys_of_other_settings_costs_no_call() {
    let aws = Aws::start();
    let elsewhere = aws.url().replace("127.0.0.1", "localhost");
    for command in ["sh SCRIPT", "sh SCRIPT $NOTHING"] {
        // Other keys, another endpoint, a role: other tokens.
        for (line, name, value) in [
            ("", "AWS_REGION", "us-east-1"),
            ("aws_session_token = t\n", "AWS_REGION", "us-east-1"),
            ("", "AWS_ENDPOINT_URL_ECR", &*elsewhere),
            ("", "AWS_ECR_ROLE_ARN_111122223333", ROLE),
        ] {
            let is_same = line.is_empty() && name == "AWS_REGION";
            let mut helper = with_process(&aws, command);
            let keys = "[settings]\naws_access_key_id = AKIAPROCESS\naws_secret_access_key = s\n";
            helper.write(".aws/credentials", &format!("{keys}{line}"));
            helper.set("AWS_PROFILE", "settings");
            helper.set(name, value);
            let first = helper.get(HOST).password_for(HOST);
            assert_eq!(helper.entries().len(), 1, "{command} {name}");
            let calls = aws.count_of("ecr");
            helper.set("AWS_PROFILE", "");
            helper.set(name, "");
            assert_eq!(helper.get(HOST).password_for(HOST) == first, is_same, "{command} {name}{line}");
            assert_eq!(
                (runs(&helper), aws.count_of("ecr")),
                (1, calls + usize::from(!is_same)),
                "{command} {name}{line}"
            );
            assert!(helper.run(&["logout", HOST], "").stdout.contains("removed"));
            assert_ne!(helper.get(HOST).password_for(HOST), first, "{command} {name}{line}");
        }
    }
}

/// A token that is older than the caller accepts does not hide another one of the same keys.
#[test]
fn of_the_tokens_of_keys_in_settings_one_is_served_that_is_young_enough() {
    let aws = Aws::start();
    let mut helper = with_process(&aws, "sh SCRIPT").var("AWS_PROFILE", "settings");
    let cached = |number: usize| {
        let keys = "[settings]\naws_access_key_id = AKIAPROCESS\naws_secret_access_key = s\n";
        helper.write(".aws/credentials", &format!("# {number}\n{keys}"));
        helper.get(HOST).password_for(HOST)
    };
    let old: Vec<_> = (0..12).map(cached).collect();
    make_older(&helper, Duration::from_hours(2));
    let young = cached(old.len());
    assert_eq!(helper.entries().len(), 13, "each settings have their own");
    helper.set("AWS_PROFILE", "");
    helper.set("AWS_ECR_MAX_AGE", "1h");
    assert_eq!(helper.get(HOST).password_for(HOST), young);
}

/// Each directory is an identity of its own, since a process may look where it runs.
#[test]
fn many_identities_that_get_the_same_keys_at_once_make_one_call_to_ecr() {
    let aws = Aws::with(Plan { delay: Duration::from_millis(300), ..Plan::default() });
    for (command, role) in
        [("sh SCRIPT", ""), ("sh SCRIPT $NOTHING", ""), ("sh SCRIPT", ROLE), ("sh SCRIPT $NOTHING", ROLE)]
    {
        let helper = with_process(&aws, command).var("AWS_ECR_ROLE_ARN_111122223333", role);
        settle(&[&helper.home().join("process"), &helper.home().join(".aws/config")]);
        let calls = || (aws.count_of("sts"), aws.count_of("ecr"));
        let (roles, tokens) = calls();
        let expected = (roles + usize::from(!role.is_empty()), tokens + 1);
        let get_in = |number: usize| {
            let dir = helper.home().join(format!("work/{number}"));
            fs::create_dir_all(&dir).expect("a directory");
            start(helper.command().arg("get").current_dir(dir), HOST)
        };
        let passwords = |children: Vec<_>| -> BTreeSet<String> {
            children.into_iter().map(|child| Ran::new(end(child), Duration::ZERO).password_for(HOST)).collect()
        };
        let first = passwords((0..30).map(get_in).collect());
        assert_eq!((first.len(), calls(), runs(&helper)), (1, expected, 30), "{command} {role}");
        assert_eq!(passwords((0..30).map(get_in).collect()), first, "{command} {role}");
        assert_eq!(calls(), expected, "{command} {role}: nor later");
    }
}

/// STS gives other keys each time, so the token is known by the keys that the roles are assumed with.
#[test]
fn a_role_on_the_same_keys_again_costs_no_call_to_sts_nor_ecr() {
    let aws = Aws::start();
    let process = r#"credential_process = sh -c "sh SCRIPT""#;
    for config in [
        format!("[default]\nrole_arn = {ROLE}\n{process}\n"),
        format!("[default]\nrole_arn = {ROLE}\nsource_profile = base\n[profile base]\n{process}\n"),
        format!(
            "[default]\nrole_arn = {ROLE}\nsource_profile = hub\n[profile hub]\nrole_arn = {ROLE}Hub\n\
             source_profile = base\n[profile base]\n{process}\n"
        ),
    ] {
        let helper = with_process(&aws, "");
        let script = helper.home().join("process");
        helper.write(".aws/config", &config.replace("SCRIPT", script.to_str().expect("UTF-8")));
        let (roles, tokens) = (aws.count_of("sts"), aws.count_of("ecr"));
        let passwords: BTreeSet<_> = (0..3).map(|_| helper.get(HOST).password_for(HOST)).collect();
        let calls = (aws.count_of("sts") - roles, aws.count_of("ecr") - tokens);
        let count = config.matches("role_arn").count();
        assert_eq!((passwords.len(), runs(&helper), calls), (1, 3, (count, 1)), "{config}");
    }
    for (name, value) in [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url()),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", aws.url())),
    ] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_ROLE_ARN_111122223333", ROLE);
        let helper = helper.var(name, &value).var("AWS_EC2_METADATA_DISABLED", "");
        let first = helper.get(HOST).password_for(HOST);
        let calls = (aws.count_of("sts"), aws.count_of("ecr"));
        if nix::unistd::geteuid().is_root() {
            let ran = Ran::new(helper.under("unshare", &["--mount"], &[], HOST), Duration::ZERO);
            assert_eq!(ran.password_for(HOST), first, "{name}: other mounts");
        }
        let helper = helper.var("AWS_SOMETHING_NEW", "1");
        assert_eq!(helper.get(HOST).password_for(HOST), first, "{name}: another variable");
        assert_eq!((aws.count_of("sts"), aws.count_of("ecr")), calls, "{name}");
    }
}

#[test]
fn a_token_of_a_role_is_for_the_same_keys_and_the_same_role_alone() {
    let aws = Aws::start();
    let mut helper = with_process(&aws, "sh SCRIPT $NOTHING");
    let script = fs::read_to_string(helper.home().join("process")).expect("a script");
    let mut get = |script: &str, sts: &str, role: &str, settings: &str| {
        helper.write("process", script);
        let entry = format!("[[registry]]\nmatch = \"*\"\nrole_arn = \"{role}\"\n{settings}\n");
        helper.write(".config/docker-credential-ecr-login/config.toml", &entry);
        helper.set("AWS_ENDPOINT_URL_STS", sts);
        helper.get(HOST).password_for(HOST)
    };
    let first = get(&script, "", ROLE, "");
    let mut known = BTreeSet::from([first.clone()]);
    let other_role = format!("{ROLE}Other");
    for (index, (script, sts, role, settings)) in [
        (script.replace("AKIAPROCESS", "AKIAOTHER"), "", ROLE, ""),
        (script.replace("\"s\"", "\"another\""), "", ROLE, ""),
        (script.replace("\"s\"}", "\"s\",\"SessionToken\":\"t\"}"), "", ROLE, ""),
        (script.clone(), "", &other_role, ""),
        (script.clone(), "", ROLE, "external_id = \"1\""),
        (script.clone(), "", ROLE, "external_id = \"2\""),
        (script.clone(), "", ROLE, "role_session_name = \"1\""),
        (script.clone(), "", ROLE, "region = \"eu-west-1\""),
        (script.clone(), &format!("{}/other", aws.url()), ROLE, ""),
    ]
    .into_iter()
    .enumerate()
    {
        let what = format!("{script} {sts} {role} {settings}");
        let password = get(&script, sts, role, settings);
        assert!(known.insert(password.clone()), "{what}");
        assert_eq!(get(&script, sts, role, settings), password, "{what}");
        assert_eq!((aws.count_of("sts"), aws.count_of("ecr")), (index + 2, index + 2), "{what}");
    }
    assert_eq!(get(&script, "", ROLE, ""), first);
    helper.set("NO_PROXY", "sts.example");
    assert_ne!(helper.get(HOST).password_for(HOST), first, "another proxy may lead to another STS");
}

/// What answers for one who trusts another authority may be an interceptor.
#[test]
fn who_trusts_other_certificates_gets_no_token_of_the_same_keys() {
    let (aws, authorities) = (Aws::start(), [(); 2].map(|()| Authority::for_names(&["localhost"])));
    let mut helper = with_process(&aws, "sh SCRIPT");
    settle(&[&helper.home().join("process"), &helper.home().join(".aws/config")]);
    for (index, authority) in authorities.iter().enumerate() {
        helper.set("AWS_CA_BUNDLE", authority.bundle().to_str().expect("UTF-8"));
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), index + 1);
    }
}

/// The settings are new, and the keys are those of a cached token, which is to be refreshed.
#[test]
fn in_an_outage_a_valid_token_of_the_same_keys_is_served_and_after_a_refusal_it_is_not() {
    for (command, service) in
        [("sh SCRIPT", "ecr"), ("sh SCRIPT $NOTHING", "ecr"), ("sh SCRIPT", "sts"), ("sh SCRIPT $NOTHING", "sts")]
    {
        let aws = Aws::with(Plan { service, ..Plan::default() });
        let role = if service == "sts" { ROLE } else { "" };
        let helper = with_process(&aws, command).var("AWS_ECR_ROLE_ARN_111122223333", role);
        let helper = helper.var("AWS_MAX_ATTEMPTS", "1");
        let script = helper.home().join("process");
        settle(&[&script, &helper.home().join(".aws/config")]);
        let first = helper.get(HOST).password_for(HOST);
        make_older(&helper, Duration::from_hours(7));
        let elsewhere = helper.var("A_NEW_VARIABLE", "1");
        aws.change(|plan| (plan.failures, plan.failure) = (usize::MAX, (500, "InternalFailure", "later")));
        for _ in 0..3 {
            assert_eq!(elsewhere.get(HOST).password_for(HOST), first, "{command} {service}");
            assert_eq!(aws.count_of(service), 2, "{command} {service}: the next refresh with these keys is postponed");
        }
        let aged = elsewhere.var("AWS_ECR_MAX_AGE", "6h");
        aged.get(HOST).error();
        let again = aged.var("AWS_ECR_MAX_AGE", "").var("A_NEW_VARIABLE", "2");
        outlive_failures(&again);
        aws.change(|plan| plan.failure = (400, "AccessDeniedException", "not any more"));
        assert!(again.get(HOST).error().contains("AccessDeniedException"), "{command} {service}");
        aws.change(|plan| plan.failure = (500, "InternalFailure", "later"));
        let last = again.var("A_NEW_VARIABLE", "3");
        outlive_failures(&last);
        assert!(
            last.get(HOST).error().contains("InternalFailure"),
            "{command} {service}: the token of the keys is gone"
        );
    }
}

/// Settings that accept no old token decide what they are served, and not how long a token lives that AWS refused.
#[test]
fn a_refusal_removes_the_token_for_everybody_whoever_learns_of_it() {
    let refuse = |aws: &Aws, service| {
        let failure = (403, "AccessDenied", "not any more");
        aws.change(|plan| (plan.failures, plan.failure, plan.service) = (usize::MAX, failure, service));
    };
    for (args, service) in [
        (&["get"][..], "ecr"),
        (&["get"], "sts"),
        (&["export", HOST], "ecr"),
        (&["login", HOST], "ecr"),
        (&["login", HOST], "sts"),
        (&["doctor", HOST], "ecr"),
        (&["doctor", HOST], "sts"),
        (&["get"], "sso"),
        (&["login", HOST], "sso"),
        (&["doctor", HOST], "sso"),
        (&["setup", "--region", "us-east-1"], "sso"),
        (&["setup", "--region", "us-east-1"], "role"),
    ] {
        let aws = Aws::start();
        let mut helper = Helper::without_registry(&aws);
        match service {
            "sts" => helper.set("AWS_ECR_ROLE_ARN_111122223333", ROLE),
            "sso" => {
                helper = helper.without_keys();
                let config = format!("[default]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
                helper.write(".aws/config", &config);
                sign_in(&helper, "u", "2099-01-01T00:00:00Z");
            }
            "role" => {
                helper = helper.without_keys();
                helper.write(".aws/config", &format!("[default]\nrole_arn = {ROLE}\nsource_profile = b\n"));
                helper.write(".aws/credentials", &profile("AKIAB").replace("default", "b"));
            }
            _ => {}
        }
        helper.get(HOST).password_for(HOST);
        make_older(&helper, Duration::from_hours(1));
        refuse(&aws, if service == "role" { "sts" } else { service });
        let helper = helper.var("AWS_ECR_MAX_AGE", "30m");
        let ran = helper.run(args, HOST);
        assert_eq!(ran.code, Some(1), "{args:?} {service}");
        assert!(helper.entries().is_empty(), "{args:?} {service}: {ran:?}");
    }
}

/// STS may be the one to say that a key is gone, also where ECR still accepts it. That it denies this one request is another matter.
#[test]
fn a_key_that_sts_does_not_know_is_refused_whoever_asks_for_the_principal() {
    for args in [&["doctor"][..], &["doctor", HOST], &["setup", "--region", "us-east-1"]] {
        for (code, is_gone) in [("InvalidClientTokenId", true), ("AccessDenied", false)] {
            let aws = Aws::start();
            let helper = Helper::without_registry(&aws).var("AWS_REGION", "us-east-1");
            helper.get(HOST).password_for(HOST);
            aws.change(|plan| (plan.failures, plan.failure, plan.service) = (usize::MAX, (403, code, "no"), "sts"));
            let ran = helper.run(args, "");
            assert!(ran.stdout.contains("principal") || ran.stderr.contains("the account of the caller"), "{ran:?}");
            assert_eq!(helper.entries().is_empty(), is_gone, "{args:?} {code}: {ran:?}");
        }
    }
}

/// The same keys have an entry for each directory in which their process ran, and so have the same keys with the same role.
#[test]
fn a_refusal_of_credentials_removes_their_token_from_every_identity() {
    let aws = Aws::start();
    let commands = [&["get"][..], &["login", HOST], &["doctor", HOST]];
    for (args, service) in commands.iter().flat_map(|args| [(args, "ecr"), (args, "sts")]) {
        let mut helper = with_process(&aws, "sh SCRIPT").var("HTTPS_PROXY", "http://127.0.0.1:1");
        let script = helper.home().join("process");
        let mut others = Vec::new();
        if service == "sts" {
            settle(&[&script, &helper.home().join(".aws/config")]);
            helper.set("AWS_ECR_ROLE_ARN_111122223333", &format!("{ROLE}Other"));
            helper.get(HOST).password_for(HOST);
            others = helper.entries();
            helper.set("AWS_ECR_ROLE_ARN_111122223333", ROLE);
        }
        for name in ["1", "2", "3"] {
            settle(&[&script, &helper.home().join(".aws/config")]);
            helper.set("A_NEW_VARIABLE", name);
            helper.get(HOST).password_for(HOST);
        }
        assert_eq!(helper.entries().len() - others.len(), 4, "three identities and the keys");
        make_older(&helper, Duration::from_hours(7));
        let failure = if service == "sts" { "AccessDenied" } else { "UnrecognizedClientException" };
        aws.change(|plan| {
            (plan.failures, plan.failure, plan.service) = (usize::MAX, (400, failure, "not any more"), service);
        });
        helper.set("A_NEW_VARIABLE", "4");
        assert_eq!(helper.run(args, HOST).code, Some(1), "{args:?} {service}");
        let left: BTreeSet<_> = helper.entries().into_iter().collect();
        assert_eq!(left, others.into_iter().collect(), "{args:?} {service}: those of another role stay");
        aws.change(|plan| plan.failures = 0);
    }
}

#[test]
fn one_token_of_a_source_that_was_asked_is_listed_once_and_erased_at_once() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let config = format!("[default]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
    helper.write(".aws/config", &config);
    sign_in(&helper, "u", "2099-01-01T00:00:00Z");
    let first = helper.get(HOST).password_for(HOST);
    let rows: serde_json::Value =
        serde_json::from_str(&helper.run(&["cache", "--json"], "").stdout).expect("a list of tokens");
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    helper.run(&["erase"], HOST).silent();
    assert!(helper.entries().is_empty());
    assert_ne!(helper.get(HOST).password_for(HOST), first);
    assert!(helper.run(&["logout", "--all"], "").stdout.starts_with("removed 1 token from "));
}

/// kube2iam and kiam answer each container by its address.
#[test]
fn two_containers_of_a_machine_get_the_roles_that_the_same_address_gives_them() {
    let (one, two) = (Aws::start(), Aws::start());
    two.change(|plan| plan.session = "of-the-second");
    let (Some(first), Some(second)) = (metadata_network(&one, "two containers"), metadata_network(&two, "two")) else {
        return;
    };
    for vars in [&[][..], &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:8000/v1/sidecar")]] {
        let mut helper = Helper::bare().inside(&first).var("AWS_ENDPOINT_URL", INSIDE);
        for (name, value) in vars {
            helper.set(name, value);
        }
        let (before_one, before_two) = (one.count_of("ecr"), two.count_of("ecr"));
        helper.get(HOST).password_for(HOST);
        let mut elsewhere = helper.inside(&second);
        elsewhere.get(HOST).password_for(HOST);
        assert_eq!((one.count_of("ecr"), two.count_of("ecr")), (before_one + 1, before_two + 1), "{vars:?}");
        // Each hits again.
        let all = (one.count(), two.count());
        elsewhere.get(HOST).password_for(HOST);
        elsewhere = elsewhere.inside(&first);
        elsewhere.get(HOST).password_for(HOST);
        assert_eq!((one.count(), two.count()), all, "{vars:?}");
    }
}

#[test]
fn a_container_with_processes_of_its_own_is_another_sandbox() {
    if lacks_unix("namespaces") || !nix::unistd::geteuid().is_root() {
        skip("containers with processes of their own", "namespaces need root");
        return;
    }
    let aws = Aws::start();
    let url = format!("{}/v1/sidecar", aws.url());
    // A blank token tells no containers apart: it arrives as none.
    for token in ["", " ", " \t"] {
        aws.change(|plan| plan.session = "of-the-machine");
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
        let helper = helper.var("AWS_CONTAINER_AUTHORIZATION_TOKEN", token);
        let here = helper.get(HOST).password_for(HOST);
        assert_eq!(helper.get(HOST).password_for(HOST), here);
        aws.change(|plan| plan.session = "of-the-container");
        let inside = helper.under("unshare", &["--pid", "--fork", "--mount-proc"], &[], HOST);
        let inside = String::from_utf8(inside.stdout).expect("UTF-8");
        assert!(inside.contains("Secret") && !inside.contains(&here), "{token:?}: {inside}");
    }
}

/// One after the other, each with the numbers of namespaces of the one before, and none of them with a view of its own processes.
#[test]
fn containers_with_the_list_of_processes_of_the_machine_are_other_sandboxes() {
    if lacks_unix("namespaces") || !nix::unistd::geteuid().is_root() {
        skip("containers with the machine's /proc", "namespaces need root");
        return;
    }
    if !has_unique_mounts() {
        return note("containers with the machine's /proc: this Linux has no ids of mounts that it never gives again");
    }
    let aws = Aws::start();
    let url = format!("{}/v1/sidecar", aws.url());
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
    for (index, session) in ["of-one", "of-two", "of-three", "of-four"].into_iter().enumerate() {
        aws.change(|plan| plan.session = session);
        let inside = helper.under("unshare", &["--pid", "--fork", "--mount"], &[], HOST);
        assert!(String::from_utf8_lossy(&inside.stdout).contains("Secret"), "{inside:?}");
        assert_eq!(aws.count_of("ecr"), index + 1, "{session}");
    }
}

/// One after the other, each with the number of the one before. The process reads a file that its command does not name.
#[test]
fn a_process_is_asked_again_in_mounts_that_have_the_number_of_earlier_ones() {
    if lacks_unix("namespaces") || !nix::unistd::geteuid().is_root() {
        skip("mounts one after the other", "namespaces need root");
        return;
    }
    if !has_unique_mounts() {
        return note("mounts one after the other: this Linux has no ids of mounts that it never gives again");
    }
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    for id in ["AKIAONE", "AKIATWO"] {
        let keys = format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"s"}}"#);
        helper.write(&format!("{id}/keys"), &keys);
    }
    helper.write("mounted/keys", "");
    let script = helper.write("script", "cat ~/mounted/keys\n").display().to_string();
    let config = helper.write(".aws/config", &format!("[default]\ncredential_process = /bin/sh {script}\n"));
    settle(&[&config]);
    for id in ["AKIAONE", "AKIATWO", "AKIAONE", "AKIATWO"] {
        let mount = format!("mount --bind ~/{id} ~/mounted && exec \"$@\"");
        let ran = helper.under("unshare", &["--mount", "sh", "-c", &mount, "sh"], &[], HOST);
        let answer = String::from_utf8_lossy(&ran.stdout);
        assert!(answer.contains(&format!("\"Secret\":\"{id}.")), "{id}: {answer}");
    }
}

/// Containers with the processes of the machine, one after the other, whose network has the number of the one before.
#[test]
fn a_container_with_another_root_is_another_sandbox() {
    const ROOT: &str = "PATH=$PATH:/usr/sbin:/sbin; mkdir -p ROOT; mount -t tmpfs tmpfs ROOT; cd ROOT; mkdir upper work root\n\
        mount -t overlay overlay -o lowerdir=/,upperdir=ROOT/upper,workdir=ROOT/work root\n\
        mount -t proc proc root/proc\n\
        for dir in HOME PROGRAM; do mkdir -p root$dir; mount --bind $dir root$dir; done\n";
    if lacks_unix("namespaces") || !nix::unistd::geteuid().is_root() {
        skip("containers with roots of their own", "namespaces need root");
        return;
    }
    let aws = Aws::start();
    let url = format!("{}/v1/sidecar", aws.url());
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
    let roots = tempfile::tempdir().expect("a directory");
    let start = |name: &str| {
        let root = roots.path().join(name).display().to_string();
        let program_dir = program().parent().expect("a directory").display().to_string();
        let setup = ROOT.replace("HOME", &helper.home().display().to_string()).replace("PROGRAM", &program_dir);
        (Namespace::of_mounts(&setup.replace("ROOT", &root)), format!("{root}/root"))
    };
    let get_in = |(container, root): &(Namespace, String), session: &'static str| {
        aws.change(|plan| plan.session = session);
        let mut command = container.command("/usr/sbin/chroot");
        command.arg(root).arg(program()).arg("get");
        command.envs(helper.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(&mut command, HOST).password_for(HOST)
    };
    let (one, two) = (start("one"), start("two"));
    let first = get_in(&one, "of-the-first");
    let second = get_in(&two, "of-the-second");
    assert!(first != second && aws.count_of("ecr") == 2, "{first}");
    assert_eq!((get_in(&one, "none"), get_in(&two, "none")), (first, second), "each hits again");
    assert_eq!(aws.count_of("ecr"), 2);
}

/// Every claim may decide in a trust policy or enter the session.
#[test]
fn every_claim_of_a_token_counts_except_when_and_under_which_number_it_was_made() {
    let aws = Aws::start();
    let same = [
        r#","aud":"a","iat":1,"exp":2,"nbf":3,"auth_time":4,"jti":"5""#,
        r#","aud":["a"],"iat":6,"exp":7"#,
        r#","aud":"a""#,
    ];
    let others = [
        r#","aud":"b""#,
        r#","aud":["a","b"]"#,
        r#","aud":"a","https://aws.amazon.com/tags":{"principal_tags":{"team":["x"]}}"#,
        r#","aud":"a","https://aws.amazon.com/source_identity":"me""#,
        r#","aud":"a","amr":["authenticated"]"#,
        r#","aud":"a","actor":"somebody""#,
        r#","aud":"a","job_workflow_ref":"x""#,
        r#","aud":"a","ref_protected":"true""#,
        r#","aud":"a","kubernetes.io":{"serviceaccount":{"uid":"u"}}"#,
    ];
    let token = |claims: &str| jwt_of(&format!(r#"{{"iss":"https://i.example","sub":"s"{claims}}}"#));
    let role = "arn:aws:iam::111122223333:role/R";
    let by_file =
        |helper: Helper, path: &str| helper.var("AWS_ROLE_ARN", role).var("AWS_WEB_IDENTITY_TOKEN_FILE", path);
    let by_container = |helper: Helper, path: &str| {
        helper
            .var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/v1/c", aws.url()))
            .var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path)
    };
    let by_variable =
        |helper: Helper| helper.var("AWS_ECR_WEB_IDENTITY", "env:CI_TOKEN").var("AWS_ECR_ROLE_ARN_111122223333", role);
    for number in 0..3 {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        let path = helper.home().join("token");
        let named = path.to_str().expect("UTF-8");
        let mut helper = match number {
            0 => by_file(helper, named),
            1 => by_container(helper, named),
            _ => by_variable(helper),
        };
        let mut get = |claims: &str| {
            let token = token(claims);
            fs::write(&path, &token).expect("a write");
            helper.set("CI_TOKEN", &token);
            helper.get(HOST).password_for(HOST)
        };
        let first = get(same[0]);
        for claims in same {
            assert_eq!(get(claims), first, "{number}: {claims}");
        }
        let mut seen = vec![first];
        for claims in others {
            let password = get(claims);
            assert!(!seen.contains(&password), "{number}: {claims}");
            seen.push(password);
        }
    }
}

/// IAM does not see to which pod and node a token is bound. EKS Pod Identity tags the session with them.
#[test]
fn a_token_of_another_pod_is_another_identity_for_pod_identity_alone() {
    let aws = Aws::start();
    let token = |pod: &str| {
        let account = format!(r#"{{"namespace":"n","serviceaccount":{{"uid":"u"}},"pod":{{"uid":"{pod}"}}}}"#);
        jwt_of(&format!(r#"{{"iss":"i","sub":"system:serviceaccount:n:s","kubernetes.io":{account}}}"#))
    };
    for is_pod_identity in [false, true] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        let path = helper.write("token", &token("one"));
        let path = path.to_str().expect("UTF-8");
        let helper = if is_pod_identity {
            let url = format!("{}/v1/c", aws.url());
            helper.var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url).var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path)
        } else {
            helper.var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R").var("AWS_WEB_IDENTITY_TOKEN_FILE", path)
        };
        let one = helper.get(HOST).password_for(HOST);
        helper.write("token", &token("two"));
        assert_eq!(helper.get(HOST).password_for(HOST) != one, is_pod_identity);
    }
}

/// The process itself changes a link and changes it back. The content is the same before and after.
#[test]
fn a_link_that_flips_while_a_process_reads_it_leaves_no_token_under_the_first_content() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let print = |id: &str| format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"s"}}"#);
    let at = |path: &str| helper.home().join(path);
    helper.write("one/keys", &print("AKIAFIRST1"));
    helper.write("two/keys", &print("AKIASECOND"));
    symlink("one", at("current")).expect("a link");
    let flip = "echo run >> ~/runs\nln -sfn two ~/current\ncat \"$1\"\nln -sfn one ~/current\n";
    let script = helper.write("script", flip);
    let keys = at("current/keys");
    let command = format!("/bin/sh {} {}", script.display(), keys.display());
    let config = helper.write(".aws/config", &format!("[default]\ncredential_process = {command}\n"));
    settle(&[&script, &config, &at("current"), &at("one/keys")]);
    assert!(helper.get(HOST).password_for(HOST).starts_with("AKIASECOND."));
    helper.write("script", "echo run >> ~/runs\ncat \"$1\"\n");
    assert!(helper.get(HOST).password_for(HOST).starts_with("AKIAFIRST1."), "the process runs again");
    assert_eq!(runs(&helper), 2);
}

/// Nothing but the change time of the directories tells. That of the one that was moved is overwritten where its content changes after
/// that.
#[test]
fn a_directory_that_is_exchanged_and_back_while_a_process_reads_leaves_no_token_under_the_first_content() {
    let aws = Aws::start();
    for end in ["", "; touch ~/current/beside"] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        let print = |id: &str| format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"s"}}"#);
        let at = |path: &str| helper.home().join(path);
        helper.write("current/keys", &print("AKIAFIRST1"));
        let last = helper.write("other/keys", &print("AKIASECOND"));
        helper.write("runs", "");
        // The script takes its steps from a file that the helper does not know.
        let exchange = "mv ~/current ~/x; mv ~/other ~/current; cat \"$1\"; mv ~/current ~/other; mv ~/x ~/current";
        helper.write("steps/exchange", &format!("{exchange}{end}\n"));
        let script = helper.write("script", "echo run >> ~/runs\n. ~/steps/now\n");
        symlink("exchange", at("steps/now")).expect("a link");
        let command = format!("/bin/sh {} {}", script.display(), at("current/keys").display());
        let config = helper.write(".aws/config", &format!("[default]\ncredential_process = {command}\n"));
        settle(&[&script, &config, &last, &at("current"), &at("other")]);
        assert!(helper.get(HOST).password_for(HOST).starts_with("AKIASECOND."));
        helper.write("steps/exchange", "cat \"$1\"\n");
        assert!(helper.get(HOST).password_for(HOST).starts_with("AKIAFIRST1."), "the process runs again: {end}");
        settle(&[&at("current"), helper.home()]);
        for _ in 0..3 {
            helper.get(HOST).password_for(HOST);
        }
        assert!(runs(&helper) <= 3, "hits, when the directories are at rest: {end}");
    }
}

/// A program may read any file, as this user and in these mounts.
#[test]
fn a_process_is_asked_again_in_other_mounts_and_as_another_user_or_group_or_with_other_capabilities() {
    if lacks_unix("namespaces") || !nix::unistd::geteuid().is_root() {
        skip("processes in other mounts and groups", "namespaces need root");
        return;
    }
    let aws = Aws::start();
    let helper = with_process(&aws, "sh SCRIPT");
    settle(&[&helper.home().join(".aws/config"), &helper.home().join("process")]);
    for _ in 0..2 {
        helper.get(HOST).password_for(HOST);
    }
    assert_eq!(runs(&helper), 1);
    let ways: [(&str, &[&str]); 5] = [
        ("unshare", &["--mount"]),
        ("setpriv", &["--regid", "1", "--clear-groups"]),
        ("setpriv", &["--groups", "1"]),
        ("unshare", &["--user", "--map-root-user"]),
        // Root that may read no file of another user.
        ("setpriv", &["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]),
    ];
    for (index, (program, words)) in ways.into_iter().enumerate() {
        let ran = helper.under(program, words, &[], HOST);
        assert!(String::from_utf8_lossy(&ran.stdout).contains("Secret"), "{ran:?}");
        assert_eq!(runs(&helper), index + 2, "{program} {words:?}");
    }
    helper.get(HOST).password_for(HOST);
    assert_eq!((runs(&helper), aws.count()), (6, 1), "here it is a hit, and everywhere the keys are the same");
    // More groups than one read takes.
    let groups = (2_000_000_000..2_000_000_700_u32).map(|group| group.to_string()).collect::<Vec<_>>().join(",");
    for (last, expected) in [("3000000001", 7), ("3000000001", 7), ("3000000002", 8)] {
        helper.under("setpriv", &["--groups", &format!("{groups},{last}")], &[], HOST);
        assert_eq!(runs(&helper), expected, "{last}");
    }
}

/// A file system that counts in seconds gives a program that is rewritten at once the same time.
#[test]
fn a_program_that_changed_a_moment_ago_proves_nothing() {
    let aws = Aws::start();
    let helper = with_process(&aws, "sh SCRIPT");
    let script = helper.home().join("process");
    settle(&[&helper.home().join(".aws/config")]);
    helper.write("process", &fs::read_to_string(&script).expect("a script"));
    for _ in 0..2 {
        helper.get(HOST).password_for(HOST);
    }
    assert_eq!((runs(&helper), aws.count()), (2, 1), "it runs, and the token of its keys is served");
    settle(&[&script]);
    for _ in 0..3 {
        helper.get(HOST).password_for(HOST);
    }
    assert_eq!((runs(&helper), aws.count()), (3, 1));
}

#[test]
fn a_process_is_asked_again_in_another_directory_and_with_another_session_of_the_aws_cli() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let helper = helper.var("AWS_LOGIN_CACHE_DIRECTORY", "$HOME/logins");
    let print = |id: &str| format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"s"}}"#);
    let script =
        helper.write("script", "cat keys 2>/dev/null || cat ~/logins/keys 2>/dev/null || cat ~/.aws/cli/cache/keys\n");
    let config = format!("[default]\ncredential_process = /bin/sh {}\n", script.display());
    let config = helper.write(".aws/config", &config);
    let mut last = config.clone();
    for (dir, id) in [("here", "AKIAHERE"), ("there", "AKIATHERE")] {
        last = helper.write(&format!("{dir}/keys"), &print(id));
    }
    fs::create_dir(helper.home().join("nowhere")).expect("a directory");
    let get =
        |dir: &str| run(helper.command().arg("get").current_dir(helper.home().join(dir)), HOST).password_for(HOST);
    settle(&[&script, &config, &last]);
    for (dir, id) in [("here", "AKIAHERE"), ("there", "AKIATHERE"), ("here", "AKIAHERE")] {
        assert!(get(dir).starts_with(id), "{id}");
    }
    for (dir, id) in [
        (".aws/cli/cache", "AKIASESSION1"),
        (".aws/cli/cache", "AKIASESSION2"),
        ("logins", "AKIALOGIN1"),
        ("logins", "AKIALOGIN2"),
    ] {
        let session = helper.write(&format!("{dir}/keys"), &print(id));
        settle(&[&session]);
        let first = get("nowhere");
        assert!(first.starts_with(id), "{first}");
        assert_eq!(get("nowhere"), first);
    }
}

/// docker gives each plugin a socket with a random name, terminals, editors and CI systems number their runs.
#[test]
fn what_docker_and_terminals_make_up_for_each_run_does_not_run_a_process_again() {
    const NAMES: &str = "DOCKER_CLI_PLUGIN_SOCKET OTEL_RESOURCE_ATTRIBUTES BUILDX_BUILDER TMUX_PANE SSH_CONNECTION CI_JOB_ID GITHUB_RUN_ID RUNNER_TRACKING_ID \
         SYSTEM_TASKINSTANCEID SYSTEM_PLANID SYSTEM_JOBID SYSTEM_TIMELINEID TRAVIS_BUILD_ID TRAVIS_JOB_ID TRAVIS_TIMER_ID \
         BITBUCKET_PIPELINE_UUID BITBUCKET_STEP_UUID BITBUCKET_BUILD_NUMBER DRONE_BUILD_NUMBER DRONE_BUILD_STARTED \
         SEMAPHORE_JOB_ID SEMAPHORE_WORKFLOW_ID BUILDKITE_STEP_ID BUILDKITE_AGENT_PID KITTY_LISTEN_ON KITTY_PUBLIC_KEY \
         KITTY_PID TERMINATOR_UUID VSCODE_PID VSCODE_IPC_HOOK VSCODE_GIT_IPC_HANDLE VSCODE_GIT_IPC_AUTH_TOKEN NVIM \
         WARP_SESSION_ID WSL_INTEROP SUDO_COMMAND GUAKE_TAB_UUID GHOSTTY_SURFACE_ID STARSHIP_SESSION_KEY ATUIN_SESSION \
         ATUIN_HISTORY_ID ATUIN_SHLVL";
    let aws = Aws::start();
    let mut helper = with_process(&aws, "sh SCRIPT");
    settle(&[&helper.home().join(".aws/config"), &helper.home().join("process")]);
    for number in 0..3 {
        for name in NAMES.split_whitespace() {
            helper.set(name, &format!("@docker_cli_{number}"));
        }
        helper.get(HOST).password_for(HOST);
    }
    assert_eq!((runs(&helper), aws.count()), (1, 1));
    // A token that a CI system gives the job may be what the process signs in with. A branch or a role may choose an identity.
    for (number, name) in ["CI_JOB_JWT", "DRONE_BRANCH", "MY_ROLE"].into_iter().enumerate() {
        helper.set(name, "another");
        helper.get(HOST).password_for(HOST);
        assert_eq!((runs(&helper), aws.count()), (number + 2, 1), "{name}");
    }
}

/// Its program may read the variable that it gets by name: one that is made up for each run, and one of the helper's own.
#[test]
fn a_variable_that_counts_for_no_process_counts_where_the_command_names_it() {
    let aws = Aws::start();
    for (words, name, values) in [
        ("BUILD_TAG", "BUILD_TAG", ["1", "2"]),
        ("--env=BUILD_TAG", "BUILD_TAG", ["1", "2"]),
        ("-eBUILD_TAG", "BUILD_TAG", ["1", "2"]),
        ("'BUILD_TAG'", "BUILD_TAG", ["1", "2"]),
        ("printenv BUILD_TAG,PATH", "BUILD_TAG", ["1", "2"]),
        ("AWS_ECR_LOG", "AWS_ECR_LOG", ["off", "error"]),
        ("AWS_ECR_LOG_FILE", "AWS_ECR_LOG_FILE", ["/dev/null", "/dev/stderr"]),
        ("AWS_ECR_TIMEOUT", "AWS_ECR_TIMEOUT", ["9s", "8s"]),
        ("--by=AWS_ECR_IGNORE_CREDS_STORAGE", "AWS_ECR_IGNORE_CREDS_STORAGE", ["true", "false"]),
    ] {
        let mut helper = with_process(&aws, &format!("sh SCRIPT {words}"));
        settle(&[&helper.home().join(".aws/config"), &helper.home().join("process")]);
        let [one, two] = values;
        for (value, expected) in [(one, 1), (one, 1), (two, 2), (two, 2), ("", 3), (one, 3)] {
            helper.set(name, value);
            helper.set("BUILD_NUMBER", &expected.to_string());
            helper.get(HOST).password_for(HOST);
            assert_eq!(runs(&helper), expected, "{words} with '{value}'");
        }
    }
}

/// `getenv` gives the first value.
/// ECR has no endpoints by account, the helper reads the config file in any case, and AWS alone says whether keys have expired.
#[test]
fn variables_that_change_nothing_for_ecr_leave_a_hit() {
    let aws = Aws::start();
    let mut helper = Helper::of(&aws);
    for (name, value) in [
        ("AWS_ECR_LOG", "off"),
        ("AWS_ACCOUNT_ID", "444455556666"),
        ("AWS_SDK_LOAD_CONFIG", "1"),
        ("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z"),
    ] {
        helper.set(name, value);
        helper.get(HOST).password_for(HOST);
        assert_eq!((aws.count(), helper.entries().len()), (1, 1), "{name}");
    }
}

#[test]
fn a_variable_that_is_set_twice_has_its_first_value() {
    if lacks_unix("an environment with a variable set twice") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let first = helper.get(HOST).password_for(HOST);
    let text = |text: &str| CString::new(text).expect("no NUL");
    let own = [
        format!("HOME={}", helper.home().display()),
        format!("AWS_ENDPOINT_URL={}", aws.url()),
        "AWS_ACCESS_KEY_ID=AKIASECOND".to_owned(),
        "AWS_ACCESS_KEY_ID=AKIAEXAMPLE".to_owned(),
        format!("AWS_SECRET_ACCESS_KEY={}", crate::helper::SECRET_KEY),
        "AWS_EC2_METADATA_DISABLED=true".to_owned(),
        "PATH=/usr/local/bin:/usr/bin:/bin".to_owned(),
    ];
    let (input, output) = (helper.write("input", HOST), helper.home().join("output"));
    let mut actions = nix::spawn::PosixSpawnFileActions::init().expect("actions");
    let (read, written) = (fs::File::open(&input).expect("an input"), fs::File::create(&output).expect("an output"));
    for (file, number) in [(&read, 0), (&written, 1)] {
        actions.add_dup2(file.as_raw_fd(), number).expect("an action");
    }
    let attributes = nix::spawn::PosixSpawnAttr::init().expect("attributes");
    let words = [text("helper"), text("get")];
    let child = nix::spawn::posix_spawn(&program(), &actions, &attributes, &words, &own.map(|pair| text(&pair)));
    nix::sys::wait::waitpid(child.expect("a process"), None).expect("an end");
    let answer = fs::read_to_string(output).expect("an answer");
    assert!(answer.contains("AKIASECOND.") && !answer.contains(&first), "{answer}");
}

/// A token outlives the credentials that requested it; a person may accept less of that.
#[test]
fn no_token_is_served_that_is_older_than_the_greatest_age() {
    let aws = Aws::start();
    let configuration = ".config/docker-credential-ecr-login/config.toml";
    for by_variable in [false, true] {
        let mut helper = Helper::of(&aws);
        if by_variable {
            helper.set("AWS_ECR_MAX_AGE", "1h");
        } else {
            helper.write(configuration, "max_age = '1h'\n");
        }
        let first = helper.get(HOST).password_for(HOST);
        make_older(&helper, Duration::from_mins(59));
        assert_eq!(helper.get(HOST).password_for(HOST), first);
        make_older(&helper, Duration::from_mins(61));
        assert_ne!(helper.get(HOST).password_for(HOST), first, "{by_variable}");
        // It is not served either when no other one can be had.
        make_older(&helper, Duration::from_mins(61));
        let dead = helper.var("AWS_ENDPOINT_URL", "http://127.0.0.1:1").var("AWS_MAX_ATTEMPTS", "1");
        assert!(dead.get(HOST).error().contains("127.0.0.1:1"));
    }
    let wrong = Helper::of(&aws).var("AWS_ECR_MAX_AGE", "soon").get(HOST);
    assert!(wrong.error().contains("AWS_ECR_MAX_AGE is 'soon'"), "{wrong:?}");
}

/// It once asked AWS in each `get` who calls, and a role has another access key each time.
#[test]
fn a_role_has_its_hits_whatever_a_former_variable_says() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/Pull");
    let first = helper.get(HOST).password_for(HOST);
    let calls = aws.count();
    let helper = helper.var("AWS_ECR_VERIFY_IDENTITY", "1");
    for _ in 0..2 {
        assert_eq!(helper.get(HOST).password_for(HOST), first);
    }
    assert_eq!(aws.count(), calls, "{:?}", aws.calls());
}

/// Bazel and kubelet keep what they are given.
#[test]
fn clients_that_keep_a_token_are_told_no_more_than_the_greatest_age() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_MAX_AGE", "1h");
    let lives_for = || {
        let ran = helper.get(format!(r#"{{"uri":"https://{HOST}/v2/"}}"#));
        let answer: serde_json::Value = serde_json::from_str(&ran.stdout).expect("Bazel's answer");
        crate::helper::instant(&answer["expires"]) - time::OffsetDateTime::now_utc()
    };
    for (age, most) in [(0, 60), (50, 10)] {
        if age > 0 {
            make_older(&helper, Duration::from_mins(age));
        }
        // Of AWS or by the settings, and by the manifest.
        for _ in 0..2 {
            let left = lives_for();
            assert!(left <= time::Duration::minutes(most) && left > time::Duration::minutes(most - 2), "{left}");
        }
    }
    let request = format!(
        r#"{{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"{HOST}/a:1"}}"#
    );
    let ran = helper.run(&["kubelet"], request);
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).expect("kubelet's answer");
    let duration = answer["cacheDuration"].as_str().expect("a duration");
    let seconds: u64 = duration.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).expect(duration);
    assert!((240..360).contains(&seconds), "{duration}");
}

/// With the mount option hidepid a user sees no process of others, the first one neither.
#[test]
fn a_machine_that_hides_the_processes_of_others_keeps_its_hits() {
    let aws = Aws::start();
    let Some(network) = metadata_network(&aws, "hidden processes") else { return };
    if fs::read_link("/proc/self/ns/pid").is_ok_and(|processes| processes.as_os_str() != "pid:[4026531836]") {
        return note("hidden processes: this is a container with processes of its own");
    }
    let mut mount = network.command("mount");
    run(mount.args(["-t", "proc", "-o", "hidepid=2", "proc", "/proc"]), "").silent();
    let home = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::chown(home.path(), Some(65534), Some(65534)).expect("root");
    let get = || {
        let mut command = network.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program()).arg("get");
        command.env("HOME", home.path()).env("AWS_ENDPOINT_URL", INSIDE);
        run(&mut command, HOST).password_for(HOST)
    };
    let (first, calls) = (get(), aws.count());
    assert_eq!(get(), first);
    assert_eq!(aws.count(), calls, "the instance is not asked again");
}

#[test]
fn a_storm_of_gets_while_a_link_flips_leaves_no_wrong_token() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let home = helper.home().to_owned();
    let at = |path: &str| home.join(path);
    for id in ["AKIAONE", "AKIATWO"] {
        let keys = format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"s"}}"#);
        helper.write(&format!("{id}/keys"), &keys);
    }
    let point_to = |id: &str| {
        symlink(id, at("next")).and_then(|()| fs::rename(at("next"), at("current"))).expect("a link");
    };
    point_to("AKIAONE");
    let script = helper.write("script", "cat \"$1\"\n");
    let command = format!("/bin/sh {} {}", script.display(), at("current/keys").display());
    let config = helper.write(".aws/config", &format!("[default]\ncredential_process = {command}\n"));
    settle(&[&script, &config, &at("AKIATWO/keys")]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in ["AKIATWO", "AKIAONE"].into_iter().cycle() {
                point_to(id);
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for _ in 0..20 {
            for ran in many(&helper, 8, HOST).0 {
                assert!(ran.password_for(HOST).starts_with("AKIA"));
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    for id in ["AKIAONE", "AKIATWO", "AKIAONE"] {
        point_to(id);
        for _ in 0..2 {
            let password = helper.get(HOST).password_for(HOST);
            assert!(password.starts_with(&format!("{id}.")), "{password} for {id}");
        }
    }
}
