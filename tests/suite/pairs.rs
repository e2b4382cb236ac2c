//! Two gets, and between them one change of anything that may decide whose token the second is given ([`scenes`](crate::scenes)).
//! A hit must serve what a get without cache would have got, as [`witness`](crate::witness) says of it, and a change of what
//! AWS never sees must leave a hit.
//!
//! `FULL=1` goes on for longer, `SEED=…` repeats or varies; without them each run is the same.
//!
//! Rules of the code that were broken on purpose, and the pair that showed it:
//!
//! | broken | seen by |
//! | --- | --- |
//! | the claim `aud`, or the tags, left out of the digest of a token | another `aud`, another `https://aws.amazon.com/tags`, sources container and variable |
//! | `exp` counted | another `exp`: no hit |
//! | pod and node counted for STS | another node, source web identity: no hit |
//! | pod and node not counted for the endpoint of a container | another pod, source container |
//! | what docker and CI systems make up counted | another made up for a run, source process: no hit |
//! | the AWS files not observed (profiles, `[services]`) | another endpoint, user, profile, and 60 more |
//! | the keys of an account left out of the key | another who in variables, every source |
//! | the pair of a GitHub job left out of the key | another who in variables, source github |
//! | the network left out of the sandbox | another network, source container |
//! | the role that a variable maps left out of the key | another mapping, source variable |
//! | the region left out of the key | another registry, every source |
//! | the boot left out of the sandbox | another boot, source instance |
//! | files that changed a moment ago taken as proof | `a_program_that_is_rewritten_within_a_tick_of_its_file_system_is_run_again` |

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::process::Command;
use std::time::{Duration, Instant};

use docker_credential_ecr_login::commands::docker::{self, Action};
use docker_credential_ecr_login::config::Config;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::identity::{Identity, Observed, request_key};
use serde_json::Value;

use crate::helper::{Chance, lacks_unix, program};
use crate::namespace::{Namespace, skip};
use crate::process::run;
use crate::scenes::{Ground, Scene};
use crate::witness::Witness;

/// What was wrong, each kind of change once, with the first pair that shows it.
#[derive(Default)]
struct Found(BTreeMap<(&'static str, &'static str), String>);

impl Found {
    fn add(&mut self, change: &'static str, scene: &Scene, what: &str) {
        self.0.entry((change, scene.source())).or_insert_with(|| format!("{what}\n  {scene:?}"));
    }

    #[track_caller]
    fn nothing(&self) {
        let all = self.0.iter().map(|((change, source), what)| format!("another {change}, source {source}: {what}"));
        let all: Vec<String> = all.collect();
        let first = &all[..all.len().min(20)];
        assert!(all.is_empty(), "{} kinds of pairs:\n{}", all.len(), first.join("\n"));
    }
}

fn rounds(usual: usize, full: usize) -> usize {
    if std::env::var_os("FULL").is_some() { full } else { usual }
}

/// The keys alone: what the cache would find for the second get, by the settings and by the manifest of an earlier get.
#[test]
fn in_twenty_thousand_pairs_no_key_stands_for_two_principals() {
    let root = tempfile::tempdir().expect("a directory");
    let mut ground = Ground::new(root.path().canonicalize().expect("a path"));
    let (mut chance, mut scene, mut found) = (Chance::with_seed(26), Scene::new(), Found::default());
    let url = "http://127.0.0.1:1";
    let mut entries: HashMap<String, String> = HashMap::new();
    let mut manifests: HashMap<String, (Vec<Observed>, String)> = HashMap::new();
    let pairs = rounds(20_000, 200_000);
    let (mut hits, mut by_manifest) = (0, 0);
    for round in 0..=pairs {
        let (change, must_hit) = if round == 0 {
            ("start", false)
        } else {
            scene.change(&mut chance, Scene::sources_in_any_directory(), &[])
        };
        ground.put(&scene, url, &mut chance);
        let env: Env = scene.vars(&ground.root, url).into_iter().collect();
        let deadline = Instant::now() + Duration::from_secs(30);
        let config = Config::load(&env, deadline).expect("a configuration");
        let target = config.target(&env, scene.host()).expect("settings").expect("a target");
        let identity =
            Identity::read(&env, &target, deadline).unwrap_or_else(|failure| panic!("{failure:?}: {scene:?}"));
        if identity.uncacheable.is_some() {
            found.add(change, &scene, "it is not cached");
            continue;
        }
        let (principal, request) = (scene.principal("here"), request_key(&env, scene.host()).to_string());
        let manifest = manifests.get(&request).filter(|(observed, _)| observed.iter().all(|one| one.holds(&env)));
        by_manifest += usize::from(manifest.is_some());
        let key = identity.key.to_string();
        let served = entries.get(manifest.map_or(&key, |(_, entry)| entry));
        match served {
            Some(of) if *of != principal => found.add(change, &scene, &format!("{principal} would get that of {of}")),
            None if must_hit => found.add(change, &scene, "no hit, and AWS sees the same"),
            _ => {}
        }
        hits += usize::from(served.is_some());
        entries.entry(key.clone()).or_insert(principal);
        let source = config.source.as_ref().map(|(path, reading)| Observed::configuration(path, &reading.content));
        manifests.insert(request, (source.into_iter().chain(identity.observed).collect(), key));
    }
    println!("{hits} hits of {pairs}, {by_manifest} by their manifest");
    found.nothing();
    assert!(hits > pairs / 3 && by_manifest > pairs / 4, "{hits} {by_manifest}");
}

/// What a get answered, in the words of the witness.
fn answered(witness: &Witness, answer: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    Some(witness.text(answer["Secret"].as_str()?))
}

/// The whole of a get, in this process.
#[test]
fn what_a_get_answers_is_the_token_of_its_principal_whatever_changed_since_the_last_one() {
    let root = tempfile::tempdir().expect("a directory");
    let mut ground = Ground::new(root.path().canonicalize().expect("a path"));
    let (mut chance, mut scene, mut found) = (Chance::with_seed(30), Scene::new(), Found::default());
    let witness = Witness::default();
    let url = witness.start();
    witness.move_to("here");
    let pairs = rounds(500, 10_000);
    let mut hits = 0;
    for round in 0..=pairs {
        let (change, must_hit) =
            if round == 0 { ("start", false) } else { scene.change(&mut chance, Scene::sources_in_any_process(), &[]) };
        ground.put(&scene, &url, &mut chance);
        let env: Env = scene.vars(&ground.root, &url).into_iter().collect();
        let (before, mut answer) = (witness.tokens(), Vec::new());
        let result = docker::serve(Action::Get, &env, Cursor::new(scene.host()), &mut answer);
        let is_hit = witness.tokens() == before;
        hits += usize::from(is_hit);
        let principal = scene.principal("here");
        match answered(&witness, &answer) {
            None => found.add(change, &scene, &format!("no answer: {result:?}")),
            Some(who) if who != principal => found.add(change, &scene, &format!("{principal} got that of {who}")),
            // A source whose files changed a moment ago is asked again, and a role that is assumed with its keys too.
            Some(_) if must_hit && !is_hit && !scene.reads_itself() => {
                found.add(change, &scene, "no hit, and AWS sees the same");
            }
            Some(_) => {}
        }
    }
    println!("{hits} hits of {pairs}");
    found.nothing();
    assert!(hits > pairs / 4, "{hits}");
}

/// A place where the program runs: a network and mounts of its own.
struct Place {
    namespace: Namespace,
    witness: Witness,
}

const INSIDE: &str = "http://127.0.0.1:8000";

impl Place {
    fn new(witness: &Witness, name: &str) -> Self {
        let (namespace, witness) = (Namespace::of_network(""), witness.elsewhere());
        witness.listen(namespace.listen("127.0.0.1:8000"));
        witness.move_to(name);
        Self { namespace, witness }
    }
}

/// The program itself, in sandboxes of one machine that share a home and a cache: two networks, containers with processes of
/// their own, and a machine that boots again. All have the same addresses and variables.
#[test]
fn programs_in_sandboxes_that_share_a_cache_get_the_tokens_of_their_own_principals() {
    if lacks_unix("pairs in sandboxes") {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        skip("pairs in sandboxes", "namespaces need root");
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let mut ground = Ground::new(root.path().canonicalize().expect("a path"));
    let (mut chance, mut scene, mut found) = (Chance::with_seed(8), Scene::new(), Found::default());
    let witness = Witness::default();
    let places = ["first", "second"].map(|name| Place::new(&witness, name));
    let boot = root.path().join("boot");
    let (mut at, mut boots, mut containers, mut hits) = (0, 0, 0, 0);
    let mut was_container = true;
    let pairs = rounds(300, 3000);
    for round in 0..pairs {
        let is_elsewhere = chance.below(3) == 0;
        let (change, must_hit) = match chance.below(12) {
            _ if !is_elsewhere && round > 0 => scene.change(&mut chance, Scene::sources(), &["container", "instance"]),
            0 => {
                // It boots again: what it gives its containers and programs is another machine's.
                boots += 1;
                std::fs::write(&boot, format!("{boots:08}-2222-3333-4444-555555555555\n")).expect("a write");
                if boots == 1 {
                    let mut mount = places[1].namespace.command("mount");
                    let path = boot.to_str().expect("UTF-8");
                    run(mount.args(["--bind", path, "/proc/sys/kernel/random/boot_id"]), "").silent();
                }
                places[1].witness.move_to(&format!("second after boot {boots}"));
                at = 1;
                ("boot", false)
            }
            _ => {
                at = 1 - at;
                ("network", false)
            }
        };
        ground.put(&scene, INSIDE, &mut chance);
        let place = &places[at];
        // Those whose machine gives the identity are asked most often.
        let is_container = chance.below(8) == 0;
        let usual = place.witness.place();
        let mut command = if is_container {
            containers += 1;
            place.witness.move_to(&format!("container {containers}"));
            let mut command = place.namespace.command_in(&scene.directory(&ground.root), "/usr/bin/unshare");
            command.args(["--pid", "--fork", "--mount-proc"]).arg(program());
            command
        } else {
            place.namespace.command_in(&scene.directory(&ground.root), program())
        };
        command.envs(scene.vars(&ground.root, INSIDE)).arg("get");
        let (before, principal) = (witness.tokens(), scene.principal(&place.witness.place()));
        let ran = run(&mut command, scene.host());
        let is_hit = witness.tokens() == before;
        hits += usize::from(is_hit);
        match answered(&witness, ran.stdout.as_bytes()) {
            None => found.add(change, &scene, &format!("no answer: {ran:?}")),
            Some(who) if who != principal => {
                let container = if is_container { ", in a container" } else { "" };
                found.add(change, &scene, &format!("{principal} got that of {who}{container}"));
            }
            Some(_) if must_hit && !is_hit && !is_container && !was_container && !scene.reads_itself() => {
                found.add(change, &scene, "no hit, and AWS sees the same");
            }
            Some(_) => {}
        }
        place.witness.move_to(&usual);
        was_container = is_container;
    }
    println!("{hits} hits of {pairs}, {boots} boots, {containers} containers");
    found.nothing();
    assert!(hits > pairs / 6 && boots > 1 && containers > 10, "{hits} {boots} {containers}");
}

/// ext4 with inodes of 128 bytes counts in seconds, so that a file that is rewritten at once has the same state.
#[test]
fn a_program_that_is_rewritten_within_a_tick_of_its_file_system_is_run_again() {
    if lacks_unix("a file system that counts in seconds") {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        skip("a file system that counts in seconds", "mounts need root");
        return;
    }
    if let Some(program) = crate::namespace::missing(&["mkfs.ext4", "mount"]) {
        skip("a file system that counts in seconds", &format!("{program} is not installed"));
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    let (image, dir) = (root.path().join("image"), root.path().join("mounted"));
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::File::create(&image).and_then(|file| file.set_len(4 << 20)).expect("an image");
    let made = crate::process::output(Command::new("mkfs.ext4").args(["-q", "-I", "128", "-b", "1024"]).arg(&image));
    assert!(made.status.success(), "{made:?}");
    // Loop devices may be missing in containers.
    let setup = format!("mount -o loop {} {} || true", image.display(), dir.display());
    let namespace = Namespace::of_mounts(&setup);
    let witness = Witness::default();
    let url = witness.start();
    let config = "[default]\ncredential_process = /bin/sh DIR/script\n".replace("DIR", dir.to_str().expect("UTF-8"));
    std::fs::create_dir(root.path().join(".aws")).expect("a directory");
    std::fs::write(root.path().join(".aws/config"), config).expect("a write");
    // The change time of the file tells whether it is the file system of the image.
    let write = |id: &str| {
        let script = format!("echo '{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"s\"}}'");
        let mut command = namespace.command("sh");
        let file = dir.join("script");
        run(command.args(["-c", "cat > \"$0\" && stat -c %z \"$0\""]).arg(&file), script).stdout
    };
    if !write("AKIANONE").contains(".000000000 ") {
        skip("a file system that counts in seconds", "no loop device could be mounted");
        return;
    }
    let mut in_one_tick = 0;
    let mut last = String::new();
    for round in 0..40 {
        let id = format!("AKIA{}", round % 2);
        let changed_at = write(&id);
        in_one_tick += usize::from(changed_at == last);
        last = changed_at;
        let mut command = namespace.command(program());
        command.arg("get").env("HOME", root.path()).env("AWS_ENDPOINT_URL", &url);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        let ran = run(&mut command, crate::HOST);
        let who = answered(&witness, ran.stdout.as_bytes());
        assert_eq!(who.as_deref(), Some(format!("{id} for us-east-1 at /").as_str()), "{ran:?}");
    }
    assert!(in_one_tick > 5, "{in_one_tick} rewrites within a second");
}
