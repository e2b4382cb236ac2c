//! Compares the cache key with the principal that the settings lead to, under random settings ([`worlds`](crate::worlds)).
//!
//! When two worlds have the same key, the chain leads to the same principal in both; a manifest, which skips the settings, leads
//! to the same entry as the settings do; and what a `get` serves from the cache is what it would have got without one.
//! `judges` compares the chain itself with other programs.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use docker_credential_ecr_login::config::Config;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::identity::{Identity, Observed, Source, request_key};
use serde_json::Value;

use crate::HOST;
use crate::helper::{Chance, Helper, Ran};
use crate::process::run;
use crate::sites::{Site, principal};
use crate::support::aws::Aws;
use crate::worlds::World;

/// Counts each source, so that the test can check that the generator covers all of them.
type Tally = BTreeMap<&'static str, usize>;

fn kind(source: &Source) -> &'static str {
    match source {
        Source::Keys(keys) => keys.profile.as_ref().map_or("environment", |_| "profile"),
        Source::Sso(_) => "sso",
        Source::Login(_) => "login",
        Source::Process(_) => "process",
        Source::WebIdentity(_) => "web identity",
        Source::Container(_) => "container",
        Source::Instance(_) => "instance",
    }
}

#[test]
fn whenever_two_worlds_have_one_key_they_have_one_principal() {
    let pairs = if std::env::var_os("FULL").is_some() { 200_000 } else { 10_000 };
    let root = tempfile::tempdir().expect("a directory");
    let mut site = Site::with_stand_ins(root.path().canonicalize().expect("a path"));
    let mut chance = Chance::new();
    // The principal of each key, and the first world with the key.
    let mut known: HashMap<String, (String, String)> = HashMap::new();
    let mut before: Option<(String, Vec<Observed>, String)> = None;
    let (mut tally, mut compared, mut same, mut by_manifest) = (Tally::new(), 0, 0, 0);
    let mut world = World::new(&mut chance);
    let mut rounds = 0;
    while compared < pairs {
        rounds += 1;
        assert!(rounds < 100 * pairs, "{compared} pairs of {rounds} could be compared: {tally:?}");
        let last = world.clone();
        if chance.below(25) == 0 {
            world = World::new(&mut chance);
        } else {
            world.change(&mut chance);
        }
        world.write(&mut site);
        let vars = world.vars(&site);
        let own = ("AWS_ECR_CONFIG_FILE", "/dev/null");
        let env: Env = vars.iter().map(|(name, value)| (*name, value.as_str())).chain([own]).collect();
        let deadline = Instant::now() + Duration::from_secs(30);
        let config = Config::load(&env, deadline).expect("a configuration");
        let target = config.target(&env, HOST).expect("settings").expect("a target");
        let Ok(identity) = Identity::read(&env, &target, deadline) else {
            *tally.entry("refused").or_default() += 1;
            world = last;
            continue;
        };
        *tally.entry(kind(identity.source())).or_default() += 1;
        if identity.uncacheable.is_some() {
            before = None;
            continue;
        }
        let key = identity.key.to_string();
        let Some(principal) = principal(&identity, &world, &site) else { continue };
        let (first, there) = known.entry(key.clone()).or_insert_with(|| (principal.clone(), world.show(&site)));
        assert_eq!(*first, principal, "one key: {there}\n\nand {}\n{:?}", world.show(&site), identity.chain);
        let request = request_key(&env, HOST).to_string();
        if let Some((of, observed, led_to)) = &before {
            compared += 1;
            same += usize::from(*led_to == key);
            if *of == request && observed.iter().all(|observed| observed.holds(&env)) {
                by_manifest += 1;
                assert_eq!(*led_to, key, "what was observed holds, and the key is another: {}", world.show(&site));
            }
        }
        before = Some((request, identity.observed, key));
    }
    println!("{tally:?}, {same} pairs with one key, {by_manifest} by their manifest");
    for source in ["environment", "profile", "sso", "login", "process", "web identity", "container", "instance"] {
        assert!(tally.get(source).copied().unwrap_or(0) >= pairs / 200, "{source}: {tally:?}");
    }
    assert!(same >= pairs / 10 && by_manifest >= pairs / 10, "{same} {by_manifest}");
}

#[test]
fn what_a_get_serves_from_the_cache_is_what_it_would_have_got_without_one() {
    let rounds = if std::env::var_os("FULL").is_some() { 20_000 } else { 600 };
    let aws = Aws::start();
    let helper = Helper::bare();
    let root = helper.home().canonicalize().expect("a path");
    let mut chance = Chance::new();
    let mut site = Site::with_server(root.clone(), &aws.url());
    let mut world = World::new(&mut chance);
    let (mut hits, mut answers) = (0, 0);
    for dir in ["bin1", "bin2", "dir1/.aws", "dir1/relative/.aws", "dir2/.aws", "dir2/relative/.aws", "home"] {
        fs::create_dir_all(root.join(dir)).expect("a directory");
        if dir.ends_with("aws") {
            let planted = "[default]\naws_access_key_id = AKIAPLANTED\naws_secret_access_key = s\n";
            fs::write(root.join(dir).join("config"), planted).expect("a write");
        }
    }
    let mut process = Process { command: 0, bins: [1, 0], dirs: [1, 2], here: 1, who: "one" };
    for _ in 0..rounds {
        let last = world.clone();
        if chance.below(20) == 0 {
            world = World::new(&mut chance);
            // A home directory that is the current directory, and no source with a precedence over its files.
            if chance.below(4) == 0 {
                world.vars = BTreeMap::from([("HOME", (*chance.of(&[".", "relative"])).to_owned())]);
                process.command = 0;
            }
        } else {
            world.change(&mut chance);
        }
        world.write(&mut site);
        process.change(&root, &mut chance);
        let get = |without: bool| {
            let mut command = helper.command();
            command.arg("get").env_clear().current_dir(root.join(format!("dir{}", process.here)));
            command.envs(world.vars(&site));
            command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_ECR_CACHE_DIR", root.join("cache"));
            command.env("PATH", format!("{0}/bin1:{0}/bin2:/usr/bin:/bin", root.display())).env("WHO", process.who);
            command.env("AWS_ECR_TIMEOUT", "10");
            if !world.vars.contains_key("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
                command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url());
            }
            if process.command > 0 {
                command.env("AWS_CONFIG_FILE", root.join("process-config")).env("AWS_PROFILE", "process");
                command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_DEFAULT_PROFILE");
            }
            if without {
                command.env("AWS_ECR_DISABLE_CACHE", "1");
            }
            run(&mut command, HOST)
        };
        let who = |ran: &Ran| {
            let answer: Option<Value> = serde_json::from_str(&ran.stdout).ok();
            let password = answer.as_ref().and_then(|answer| answer["Secret"].as_str().map(str::to_owned));
            password.map(|password| password.rsplit_once('.').expect("a number").0.to_owned())
        };
        let calls = aws.count_of("ecr");
        let with = get(false);
        let hit = aws.count_of("ecr") == calls && with.code == Some(0);
        let without = get(true);
        hits += usize::from(hit);
        answers += usize::from(with.code == Some(0));
        // A token that AWS accepts remains its owner's when the sign-in has expired.
        if without.code == Some(0) || !hit {
            assert_eq!(who(&with), who(&without), "{with:?}\n{without:?}\n{process:?}\n{}", world.show(&site));
        }
        assert!(!with.stdout.contains("AKIAPLANTED"), "out of the current directory: {}", world.show(&site));
        if without.code != Some(0) {
            world = last;
        }
    }
    println!("{hits} hits in {answers} answers of {rounds}");
    assert!(hits >= rounds / 8 && answers >= rounds / 3, "{hits} {answers}");
}

/// What the output of a process may depend on: its command, programs on the PATH, the directory, a variable.
#[derive(Debug)]
struct Process {
    command: usize,
    bins: [u8; 2],
    dirs: [u8; 2],
    here: u8,
    who: &'static str,
}

const COMMANDS: &[&str] =
    &["creds", "sh ./run", "/usr/bin/env creds", "sh <run", "true; sh run", "cat /dev/null && sh run"];

impl Process {
    fn change(&mut self, root: &Path, chance: &mut Chance) {
        match chance.below(8) {
            0 => self.command = usize::try_from(chance.below(COMMANDS.len() as u64 + 1)).expect("an index"),
            1 => self.bins[0] = u8::try_from(chance.below(3)).expect("a digit"),
            2 => self.bins[1] = u8::try_from(1 + chance.below(2)).expect("a digit"),
            3 => self.dirs[0] = u8::try_from(1 + chance.below(2)).expect("a digit"),
            4 => self.here = u8::try_from(1 + chance.below(2)).expect("a digit"),
            5 => self.who = if self.who == "one" { "two" } else { "one" },
            _ => return,
        }
        let script = |path: PathBuf, version: u8| {
            let text = format!(
                "#!/bin/sh\necho \"{{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"AKIA{version}$WHO$(cat id)\\\",\\\"SecretAccessKey\\\":\\\"s\\\"}}\"\n"
            );
            if fs::read_to_string(&path).is_ok_and(|there| there == text) {
                return;
            }
            crate::process::write_program(&path, text);
        };
        for (number, version) in self.bins.iter().enumerate() {
            let path = root.join(format!("bin{}/creds", number + 1));
            if *version == 0 {
                let _ = fs::remove_file(path);
            } else {
                script(path, *version + 10 * u8::try_from(number).expect("a digit"));
            }
        }
        for (number, version) in self.dirs.iter().enumerate() {
            script(root.join(format!("dir{}/run", number + 1)), *version + 20);
            fs::write(root.join(format!("dir{}/id", number + 1)), (number + 1).to_string()).expect("a write");
        }
        if self.command > 0 {
            let config = format!("[profile process]\ncredential_process = {}\n", COMMANDS[self.command - 1]);
            fs::write(root.join("process-config"), config).expect("a write");
        }
    }
}

/// Tools for sessions set some of them anew with each session of the same keys.
#[test]
fn variables_that_change_neither_the_caller_nor_the_endpoint_keep_a_hit() {
    let aws = Aws::start();
    let mut helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    for name in ["AWS_ACCOUNT_ID", "AWS_CREDENTIAL_EXPIRATION", "AWS_PAGER", "AWS_SDK_LOAD_CONFIG"] {
        helper.set(name, "1");
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), 1, "{name}");
    }
}
