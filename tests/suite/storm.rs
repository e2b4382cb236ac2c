//! A storm of gets while what decides on the identity flips under them: links, files, variables.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::HOST;
use crate::helper::{Chance, Helper, program};
use crate::process::{SOON, run, wait_until};
use crate::support::aws::Aws;

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
