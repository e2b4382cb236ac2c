//! The mapping of registries to profiles and roles, custom domains, and one token for all registries of a region.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use crate::helper::{Helper, Ran};
use crate::process::{self, end, start};
use crate::support::aws::{Aws, Plan};
use crate::{HOST, NOT_FOUND};

const CONFIG: &str = ".config/docker-credential-ecr-login/config.toml";
const PROFILES: &str = "[profile a]\naws_access_key_id = AKIAPROFILEA\naws_secret_access_key = a\n\
                        [profile b]\naws_access_key_id = AKIAPROFILEB\naws_secret_access_key = b\n";
const OTHER: &str = "444455556666.dkr.ecr.us-east-1.amazonaws.com";

#[track_caller]
fn gets_as(helper: &Helper, host: &str, who: &str) -> String {
    let password = helper.get(host).password_for(host);
    assert!(password.starts_with(&format!("{who}.")), "{password} for {who}");
    password
}

#[test]
fn a_mapped_profile_wins_over_keys_in_the_environment() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.write(".aws/config", PROFILES);
    helper.write(CONFIG, "[[registry]]\nmatch = '111122223333.dkr.ecr.*.amazonaws.com'\nprofile = 'a'\n");
    for _ in 0..2 {
        gets_as(&helper, HOST, "AKIAPROFILEA");
        gets_as(&helper, OTHER, "AKIAEXAMPLE");
    }
    assert_eq!(aws.count(), 2);
    helper.write(CONFIG, "[[registry]]\nmatch = '1111*'\nprofile = 'b'\n");
    gets_as(&helper, HOST, "AKIAPROFILEB");
}

#[test]
fn a_mapped_role_is_assumed_once_with_all_its_settings() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.write(
        CONFIG,
        "[[registry]]\nmatch = '111122223333.*'\nrole_arn = 'arn:aws:iam::111122223333:role/team/EcrPull'\n\
         external_id = 'ticket-7'\nregion = 'eu-west-1'\n",
    );
    let first = gets_as(&helper, HOST, "ASIA-EcrPull-by-AKIAEXAMPLE");
    assert_eq!(gets_as(&helper, HOST, "ASIA-EcrPull-by-AKIAEXAMPLE"), first);
    let calls = aws.calls();
    let [sts, ecr] = calls.as_slice() else { panic!("two calls: {calls:?}") };
    assert_eq!((sts.service.as_str(), sts.region.as_str(), ecr.region.as_str()), ("sts", "eu-west-1", "us-east-1"));
    for field in ["ExternalId=ticket-7", "RoleSessionName=docker-credential-ecr-login", "role%2Fteam%2FEcrPull"] {
        assert!(sts.body.contains(field), "{field} in {}", sts.body);
    }
}

#[test]
fn a_template_of_a_role_takes_the_account_of_each_registry() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.write(CONFIG, "[[registry]]\nmatch = '*'\nrole_arn = 'arn:aws:iam::{account}:role/Pull-{account}'\n");
    gets_as(&helper, HOST, "ASIA-Pull-111122223333-by-AKIAEXAMPLE");
    gets_as(&helper, OTHER, "ASIA-Pull-444455556666-by-AKIAEXAMPLE");
    let roles: Vec<String> =
        aws.calls().into_iter().filter(|call| call.service == "sts").map(|call| call.body).collect();
    for (role, account) in roles.iter().zip(["111122223333", "444455556666"]) {
        assert!(role.contains(&format!("RoleArn=arn%3Aaws%3Aiam%3A%3A{account}%3Arole%2FPull-{account}")), "{role}");
    }
    let ran = helper.get("public.ecr.aws");
    for word in ["config.toml, line 3", "role_arn", "public.ecr.aws", "{account}"] {
        assert!(ran.error().contains(word), "{word} in {ran:?}");
    }
}

#[test]
fn the_environment_maps_an_account_without_a_file_and_wins_over_it() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_PROFILE_111122223333", "b");
    helper.write(".aws/config", PROFILES);
    gets_as(&helper, HOST, "AKIAPROFILEB");
    gets_as(&helper, OTHER, "AKIAEXAMPLE");
    helper.write(CONFIG, "[[registry]]\nmatch = '*'\nprofile = 'a'\n");
    gets_as(&helper, HOST, "AKIAPROFILEB");
    gets_as(&helper, OTHER, "AKIAPROFILEA");
    let helper = helper
        .var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/Ci")
        .var("AWS_ECR_PROFILE_111122223333", "");
    gets_as(&helper, HOST, "ASIA-Ci-by-AKIAEXAMPLE");
    let helper = helper.var("AWS_ECR_PROFILE_111122223333", "b");
    gets_as(&helper, HOST, "ASIA-Ci-by-AKIAPROFILEB");
}

#[test]
fn a_custom_domain_gets_the_token_of_the_registry_behind_it() {
    let (aws, endpoint) = (Aws::start(), Aws::start());
    let helper = Helper::of(&aws);
    let behind = "333344445555.dkr.ecr.eu-west-1.amazonaws.com";
    helper.write(
        CONFIG,
        &format!(
            "[[registry]]\nmatch = 'images.example.com'\nregistry = '{behind}'\nendpoint_url = '{}'\n",
            endpoint.url()
        ),
    );
    let url = "https://images.example.com/v2/";
    helper.get(url).password_for(url);
    assert_eq!((aws.count(), endpoint.count()), (0, 1));
    assert_eq!(endpoint.calls()[0].region, "eu-west-1");
    let credential = r#"{"ServerURL":"images.example.com","Username":"AWS","Secret":"x"}"#;
    helper.run(&["store"], credential).silent();
    assert_eq!(helper.run(&["list"], "").stdout, "{\"images.example.com\":\"AWS\"}\n");
    for other in ["example.com", "images.example.com.evil.example", "x.images.example.com"] {
        assert_eq!(helper.get(other).error(), NOT_FOUND, "{other}");
    }
    helper.run(&["erase"], url).silent();
    assert!(helper.entries().is_empty());
}

#[test]
fn a_custom_domain_is_served_on_port_443_with_https_unless_its_entry_names_a_port() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.write(
        CONFIG,
        &format!(
            "[[registry]]\nmatch = 'images.example.com'\nregistry = '{HOST}'\n\
             [[registry]]\nmatch = 'own.example.com:5000'\nregistry = '{HOST}'\n\
             [[registry]]\nmatch = 'plain.example.com:80'\nregistry = '{HOST}'\n"
        ),
    );
    for url in [
        "images.example.com",
        "https://images.example.com",
        "images.example.com:443",
        "HTTPS://images.example.com.:443/v2/",
        "own.example.com:5000",
        "http://own.example.com:5000",
        "http://plain.example.com",
    ] {
        helper.get(url).password_for(url);
    }
    for url in [
        "http://images.example.com",
        "HTTP://images.example.com/v2/",
        "http://images.example.com:80",
        "http://images.example.com:443",
        "images.example.com:80",
        "https://images.example.com:8443",
        "own.example.com",
        "own.example.com:443",
    ] {
        assert_eq!(helper.get(url).error(), NOT_FOUND, "{url}");
    }
    let bazel = helper.get(r#"{"uri":"http://images.example.com/v2/"}"#);
    assert!(!bazel.stdout.contains("AKIAEXAMPLE"), "{bazel:?}");
    assert_eq!(aws.count(), 1);
}

#[test]
fn a_mistake_fails_the_pull_with_file_line_and_key() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let path = helper.write(CONFIG, "timeout = '5s'\n[[registry]]\nmatch = '*'\nprofil = 'a'\n");
    for ran in [helper.get(HOST), helper.run(&["list"], "")] {
        let line = ran.error();
        for word in [path.to_str().expect("UTF-8"), "line 4", "profil"] {
            assert!(line.contains(word), "{word} in {line}");
        }
    }
    let elsewhere = helper.write("other.toml", "[[registry]]\nmatch = '*'\nprofile = 'gone'\n");
    let helper = helper.var("AWS_ECR_CONFIG_FILE", elsewhere.to_str().expect("UTF-8"));
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains("'gone'") && line.contains(".aws/config"), "{line}");
    let helper = helper.var("AWS_ECR_CONFIG_FILE", "/nonexistent/config.toml");
    assert!(helper.get(HOST).error().contains("/nonexistent/config.toml"));
    assert_eq!(aws.count(), 0, "no call is made with the wrong identity");
}

#[test]
fn twenty_accounts_in_a_region_make_one_call_and_four_regions_four() {
    let aws = Aws::with(Plan { delay: Duration::from_millis(50), ..Plan::default() });
    let helper = Helper::of(&aws);
    for regions in [&["us-east-1"][..], &["eu-west-1", "eu-west-2", "eu-west-3", "eu-north-1"]] {
        let before = aws.count();
        let hosts: Vec<String> = (0..20)
            .map(|n| format!("{:012}.dkr.ecr.{}.amazonaws.com", 100_000_000_000_usize + n, regions[n % regions.len()]))
            .collect();
        let children: Vec<_> = hosts.iter().map(|host| helper.start(&["get"], host.as_bytes())).collect();
        let mut passwords = BTreeSet::new();
        for (child, host) in children.into_iter().zip(&hosts) {
            let ran = Ran::new(end(child), Duration::ZERO);
            passwords.insert(ran.password_for(host));
        }
        assert_eq!((aws.count() - before, passwords.len()), (regions.len(), regions.len()));
        for host in &hosts {
            helper.get(host).password_for(host);
        }
        assert_eq!(aws.count() - before, regions.len(), "all later ones come from the cache");
        let listed = helper.run(&["list"], "").stdout;
        assert!(hosts.iter().all(|host| listed.contains(host.as_str())), "{listed}");
    }
}

#[test]
fn identities_in_parallel_are_never_mixed_up() {
    let aws = Aws::with(Plan { delay: Duration::from_millis(20), ..Plan::default() });
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    helper.write(".aws/config", PROFILES);
    let role = "arn:aws:iam::111122223333:role/";
    let identities: [(&[(&str, &str)], &str); 6] = [
        (&[("AWS_PROFILE", "a")], "AKIAPROFILEA."),
        (&[("AWS_PROFILE", "b")], "AKIAPROFILEB."),
        (&[("AWS_ACCESS_KEY_ID", "AKIAKEY"), ("AWS_SECRET_ACCESS_KEY", "k")], "AKIAKEY."),
        (&[("AWS_ECR_PROFILE_111122223333", "a")], "AKIAPROFILEA."),
        (&[("AWS_PROFILE", "a"), ("AWS_ECR_ROLE_ARN_111122223333", "X")], "ASIA-X-by-AKIAPROFILEA."),
        (&[("AWS_PROFILE", "b"), ("AWS_ECR_ROLE_ARN_111122223333", "Y")], "ASIA-Y-by-AKIAPROFILEB."),
    ];
    for _ in 0..2 {
        let mut children = Vec::new();
        for _ in 0..5 {
            for (settings, who) in &identities {
                let mut command = helper.command();
                for (name, value) in *settings {
                    let role = if name.contains("ROLE") { format!("{role}{value}") } else { (*value).to_owned() };
                    command.env(name, role);
                }
                children.push((start(command.arg("get"), HOST), *who));
            }
        }
        for (child, who) in children {
            let password = Ran::new(end(child), Duration::ZERO).password_for(HOST);
            assert!(password.starts_with(who), "{password} for {who}");
        }
    }
    assert_eq!(aws.count_of("ecr"), identities.len());
}

/// A configuration that is out of reach may map the registry to another identity; only one that plainly does not exist maps it to none.
#[test]
fn a_configuration_that_cannot_be_reached_is_no_absent_one() {
    const SOMEBODY: u32 = 12345;
    if crate::helper::lacks_unix("a way to the configuration") {
        return;
    }
    let aws = Aws::start();
    let base = tempfile::tempdir().expect("a directory");
    fs::set_permissions(base.path(), Permissions::from_mode(0o755)).expect("a mode");
    let (program, home) = (base.path().join("program"), base.path().join("home"));
    crate::process::copy_program(&program);
    let (config, dir) = (home.join(".config"), home.join(CONFIG).parent().expect("a parent").to_owned());
    fs::create_dir_all(&dir).expect("a directory");
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        chown(&home, Some(SOMEBODY), Some(SOMEBODY)).expect("a home");
    } else {
        crate::namespace::note("closed directories of a configuration: being another user needs root");
    }
    let helper = Helper::of(&aws);
    let run = |args: &[&str], input: &str| {
        let mut command = helper.tool(&program);
        command.args(args).env("HOME", &home).current_dir("/");
        if is_root {
            command.uid(SOMEBODY).gid(SOMEBODY);
        }
        process::run(&mut command, input)
    };
    let is_default = |ran: Ran| assert!(ran.password_for(HOST).starts_with("AKIAEXAMPLE."), "{ran:?}");
    let close = |dir: &Path| fs::set_permissions(dir, Permissions::from_mode(0o700)).expect("a mode");
    let open = |dir: &Path| fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("a mode");
    let file = dir.join("config.toml");
    let expect_obstacle = |named: &Path, comes: &dyn Fn(), goes: &dyn Fn()| {
        is_default(run(&["get"], HOST));
        comes();
        let named = format!(" {} ", named.display());
        for args in [&["get"][..], &["login", HOST], &["export", HOST]] {
            let ran = run(args, HOST);
            for words in ["E-CONFIG-INVALID", &named, "config.toml", "AWS_ECR_CONFIG_FILE"] {
                assert!(ran.code == Some(1) && ran.stderr.contains(words), "{args:?}: {words} in {ran:?}");
            }
        }
        goes();
    };
    let remove = |path: &Path| fs::remove_file(path).expect("a file");
    if is_root {
        expect_obstacle(&config, &|| close(&config), &|| open(&config));
        expect_obstacle(&dir, &|| close(&dir), &|| open(&dir));
        // The user's own home directory, e.g. after `chmod -R 600`.
        let mode = |mode| fs::set_permissions(&home, Permissions::from_mode(mode)).expect("a mode");
        expect_obstacle(&home, &|| mode(0o600), &|| mode(0o755));
        expect_obstacle(&home, &|| mode(0), &|| mode(0o755));
    }
    expect_obstacle(&file, &|| symlink("gone", &file).expect("a link"), &|| remove(&file));
    let away = base.path().join("away");
    let replace = |by: &dyn Fn()| {
        fs::rename(&config, &away).expect("a move");
        by();
    };
    let restore = || {
        remove(&config);
        fs::rename(&away, &config).expect("a move");
    };
    expect_obstacle(&config, &|| replace(&|| fs::write(&config, "").expect("a file")), &restore);
    expect_obstacle(&config, &|| replace(&|| symlink("gone", &config).expect("a link")), &restore);
    expect_obstacle(&config, &|| replace(&|| symlink(&config, &config).expect("a link")), &restore);
    is_default(run(&["get"], HOST));
    assert_eq!(aws.count(), 1, "an absent configuration costs no hit");
    let nowhere = base.path().join("nowhere");
    symlink("gone", &nowhere).expect("a link");
    let mut get = helper.tool(&program);
    let ran = process::run(get.arg("get").env("HOME", &nowhere), HOST);
    assert!(ran.error().contains(&format!("the symbolic link {} leads nowhere", nowhere.display())), "{ran:?}");
    if is_root {
        // The home of another user.
        chown(&home, Some(0), Some(0)).expect("a home");
        fs::set_permissions(&home, Permissions::from_mode(0o700)).expect("a mode");
        is_default(run(&["get"], HOST));
        let report = run(&["doctor", HOST], "").stdout;
        assert!(report.contains("configuration") && report.contains("cannot be entered"), "{report}");
    }
}
