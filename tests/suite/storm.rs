//! A storm of gets while what decides on the identity flips under them: links, files, variables.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::HOST;
use crate::helper::{Chance, Helper, Ran, program};
use crate::issuers::jwt;
use crate::namespace::{missing, skip};
use crate::process::{SOON, run, wait_until};
use crate::support::aws::{Aws, Plan};
use crate::witness::Witness;

/// A user's home and AWS.
struct User<'a> {
    home: &'a Path,
    url: &'a str,
}

impl User<'_> {
    /// Whose token a get with these variables serves.
    fn caller(&self, vars: &[(&str, &str)]) -> String {
        let mut command = Command::new(program());
        command.arg("get").env_clear().env("HOME", self.home).env("PATH", "/usr/bin:/bin");
        command.env("AWS_ENDPOINT_URL", self.url).env("AWS_EC2_METADATA_DISABLED", "true").envs(vars.iter().copied());
        run(&mut command, HOST).password_for(HOST).split('.').next().unwrap_or_default().to_owned()
    }
}

/// Replaces the link and the file at once with those of one person.
fn flip(home: &Path, person: &str) {
    let new = home.join("new");
    symlink(home.join(format!("{person}.json")), &new).expect("a link");
    fs::rename(&new, home.join("link")).expect("a rename");
    fs::copy(home.join(format!("{person}.keys")), &new).expect("a copy");
    fs::rename(&new, home.join(".aws/credentials")).expect("a rename");
}

#[test]
fn no_get_serves_the_token_of_another_person_while_or_after_links_files_and_variables_flip() {
    let (epochs, rounds) = if std::env::var_os("FULL").is_some() { (60, 20) } else { (3, 5) };
    let aws = Aws::start();
    let helper = Helper::bare();
    let (home, url) = (helper.home(), aws.url());
    let user = User { home, url: &url };
    for person in ["AKIAONE", "AKIATWO"] {
        let json = format!(r#"{{"Version":1,"AccessKeyId":"{person}","SecretAccessKey":"s"}}"#);
        helper.write(&format!("{person}.json"), &json);
        let keys = format!("[file]\naws_access_key_id = {person}\naws_secret_access_key = s\n");
        helper.write(&format!("{person}.keys"), &keys);
    }
    let process = format!("[profile process]\ncredential_process = /bin/cat {}/link\n", home.display());
    helper.write(".aws/config", &process);
    let mut chance = Chance::new();
    let gets = AtomicUsize::new(0);
    for _ in 0..epochs {
        flip(home, "AKIAONE");
        // A failure ends the storm by this limit.
        let (is_over, started) = (AtomicBool::new(false), Instant::now());
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) && started.elapsed() < SOON {
                    flip(home, "AKIATWO");
                    flip(home, "AKIAONE");
                }
            });
            for worker in 0..4 {
                let (gets, is_over, user) = (&gets, &is_over, &user);
                scope.spawn(move || {
                    let own = if worker % 2 == 0 { "AKIAONE" } else { "AKIATWO" };
                    while !is_over.load(Ordering::Relaxed) && started.elapsed() < SOON {
                        for profile in ["process", "file"] {
                            let who = user.caller(&[("AWS_PROFILE", profile)]);
                            assert!(["AKIAONE", "AKIATWO"].contains(&who.as_str()), "{who}");
                        }
                        let keys = [("AWS_ACCESS_KEY_ID", own), ("AWS_SECRET_ACCESS_KEY", "s")];
                        assert_eq!(user.caller(&keys), own, "the keys of the environment");
                        gets.fetch_add(3, Ordering::Relaxed);
                    }
                });
            }
            let enough = gets.load(Ordering::Relaxed) + 12 * rounds;
            wait_until("the gets are served", SOON, || gets.load(Ordering::Relaxed) >= enough);
            is_over.store(true, Ordering::Relaxed);
        });
        // What the storm has left in the cache is nobody else's.
        for _ in 0..4 {
            let person = *chance.of(&["AKIAONE", "AKIATWO"]);
            flip(home, person);
            for profile in ["process", "file"] {
                assert_eq!(user.caller(&[("AWS_PROFILE", profile)]), person, "{profile} after the storm");
            }
        }
    }
    println!("{gets:?} gets, {} calls to ECR", aws.count_of("ecr"));
    assert!(gets.into_inner() > 20);
}

/// A holder of a web identity, and of a container's token.
const HOLDERS: [&str; 2] = ["system:serviceaccount:one:s", "system:serviceaccount:two:s"];

/// Who has the token of this get, in the words of the witness.
fn holder_of(witness: &Witness, ran: &Ran) -> String {
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    witness.text(answer["Secret"].as_str().expect("a secret"))
}

/// A token file that reads one, then the other for the exchange, then the one again. kubelet exchanges the link `..data`.
#[test]
fn no_token_is_cached_for_another_holder_while_token_files_and_their_links_flip() {
    let rounds = if std::env::var_os("FULL").is_some() { 200 } else { 6 };
    let witness = Witness::default();
    let url = witness.start();
    let helper = Helper::bare();
    let home = helper.home();
    for (number, holder) in HOLDERS.iter().enumerate() {
        helper.write(&format!("data{number}/token"), &jwt(holder, 1));
    }
    // The link of a directory, and the file itself.
    let to = |number: usize| {
        symlink(format!("data{number}"), home.join("link.new")).expect("a link");
        fs::rename(home.join("link.new"), home.join("link")).expect("a rename");
        fs::copy(home.join(format!("data{number}/token")), home.join("file.new")).expect("a copy");
        fs::rename(home.join("file.new"), home.join("file")).expect("a rename");
    };
    to(0);
    let ways = ["link/token", "file"].map(|path| home.join(path).display().to_string());
    let get = |cache: &str, file: &str, is_container: bool| {
        let mut command = Command::new(program());
        command.arg("get").env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin");
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_ECR_CACHE_DIR", home.join(cache));
        command.env("AWS_ENDPOINT_URL", &url);
        if is_container {
            command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/container/1"));
            command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file);
        } else {
            command.env("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R").env("AWS_WEB_IDENTITY_TOKEN_FILE", file);
        }
        holder_of(&witness, &run(&mut command, HOST))
    };
    let all: Vec<(String, &String, bool)> = (0..rounds)
        .flat_map(|round| ways.iter().flat_map(move |way| [false, true].map(|kind| (round, way, kind))))
        .map(|(round, way, is_container)| (format!("cache{round}-{}", way.len()), way, is_container))
        .collect();
    let (is_over, started) = (AtomicBool::new(false), Instant::now());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) && started.elapsed() < 2 * SOON {
                to(1);
                to(0);
            }
        });
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (all, get) = (&all, &get);
                scope.spawn(move || {
                    for (cache, file, is_container) in all {
                        let text = get(cache, file, *is_container);
                        assert!(HOLDERS.iter().any(|holder| text.contains(holder)), "{text}");
                    }
                })
            })
            .collect();
        let ended: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        for result in ended {
            result.expect("no wrong answer");
        }
    });
    for (number, holder) in HOLDERS.iter().enumerate() {
        to(number);
        for (cache, file, is_container) in &all {
            let text = get(cache, file, *is_container);
            assert!(text.contains(holder), "{text} for {holder} by {file}, container: {is_container}");
        }
    }
}

/// A terminal on which `login` waits for the code of an MFA device.
fn at_the_prompt(helper: &Helper, meanwhile: impl FnOnce()) -> String {
    let mut command = helper.tool("script");
    command.args(["-qefc", &format!("{} login {HOST}", program().display()), "/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("script runs");
    let mut screen = child.stdout.take().expect("a screen");
    let (mut shown, mut byte) = (Vec::new(), [0]);
    // It ends, or waits for the code.
    while !String::from_utf8_lossy(&shown).contains("MFA code of") && screen.read(&mut byte).is_ok_and(|read| read == 1)
    {
        shown.push(byte[0]);
    }
    meanwhile();
    child.stdin.take().expect("a keyboard").write_all(b"123456\n").expect("a code");
    screen.read_to_end(&mut shown).expect("an end");
    child.wait().expect("an end");
    String::from_utf8_lossy(&shown).into_owned()
}

/// A person takes half a minute for a code. What decides on the identity may change and change back meanwhile, also while the
/// process runs behind it.
#[test]
fn login_leaves_no_token_of_another_person_when_keys_files_and_links_flip_at_its_prompt() {
    if let Some(program) = missing(&["script"]) {
        return skip("flips at the prompt of login", &format!("{program} is not installed"));
    }
    let aws = Aws::with(Plan { mfa_code: Some("123456"), ..Plan::default() });
    for source in ["keys", "process", "process that flips"] {
        for back in [false, true] {
            let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_PROFILE", "dev");
            let home = helper.home();
            for person in ["AKIAONE", "AKIATWO"] {
                let json = format!(r#"{{"Version":1,"AccessKeyId":"{person}","SecretAccessKey":"s"}}"#);
                helper.write(&format!("{person}.json"), &json);
                helper.write(
                    &format!("{person}.keys"),
                    &format!("[base]\naws_access_key_id = {person}\naws_secret_access_key = s\n"),
                );
            }
            let flips = "ln -sfn ~/AKIATWO.json ~/link; cat ~/link; ln -sfn ~/AKIAONE.json ~/link\n";
            let script = helper.write("script", if source == "process that flips" { flips } else { "cat \"$1\"\n" });
            let process = match source {
                "keys" => String::new(),
                _ => format!("credential_process = /bin/sh {} {}/link\n", script.display(), home.display()),
            };
            helper.write(
                ".aws/config",
                &format!(
                    "[profile dev]\nrole_arn = arn:aws:iam::111122223333:role/Pull\nsource_profile = base\n\
                     mfa_serial = arn:aws:iam::111122223333:mfa/me\n[profile base]\n{process}"
                ),
            );
            let to = |person: &str| {
                flip(home, person);
                if source != "keys" {
                    fs::remove_file(home.join(".aws/credentials")).expect("no keys");
                }
            };
            to("AKIAONE");
            let screen = at_the_prompt(&helper, || {
                to("AKIATWO");
                if back {
                    to("AKIAONE");
                }
            });
            assert!(screen.contains("MFA code of"), "{screen}");
            for person in ["AKIAONE", "AKIATWO", "AKIAONE"] {
                to(person);
                let ran = helper.get(HOST);
                // Wherever the link leads, this one prints the keys of the other person.
                let person = if source == "process that flips" { "AKIATWO" } else { person };
                let is_right =
                    ran.stdout.contains(&format!("by-{person}")) || ran.stdout.contains("requires an MFA code");
                assert!(is_right, "{source}, {back}: {ran:?} for {person}\n{screen}");
            }
        }
    }
}
