//! The judge of whose credentials the settings lead to: botocore, which reads them for the AWS CLI.
//!
//! It gets random settings ([`worlds`](crate::worlds)), and says for each whose access key it takes. A difference fails the test unless it is
//! on the list, with the rule that it follows. `SEED=…` repeats a run, `WORLDS=…` sets the number of worlds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use docker_credential_ecr_login::config::Config;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::identity::Identity;
use serde_json::Value;

use crate::HOST;
use crate::helper::Chance;
use crate::namespace::skip;
use crate::worlds::{Site, World, principal};

/// What somebody makes of a world.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// This principal's access key.
    Key(String),
    /// No credentials, with the message if there is one.
    None(String),
}

/// A world, and what the helper and a judge make of it.
struct Case<'a> {
    world: &'a World,
    site: &'a Site,
    helper: &'a Verdict,
    judge: &'a Verdict,
}

impl Case<'_> {
    fn agree(&self) -> bool {
        match (self.helper, self.judge) {
            (Verdict::Key(one), Verdict::Key(other)) => one == other,
            (Verdict::None(_), Verdict::None(_)) => true,
            _ => false,
        }
    }

    /// Whether the judge gives up with this in its message, and the helper does not.
    fn judge_says(&self, text: &str) -> bool {
        matches!((self.helper, self.judge), (Verdict::Key(_), Verdict::None(message)) if message.contains(text))
    }

    /// Whether the helper gives up with this in its message, and the judge does not.
    fn helper_says(&self, text: &str) -> bool {
        matches!((self.helper, self.judge), (Verdict::None(message), Verdict::Key(_)) if message.contains(text))
    }

    /// Whether the helper takes a key that begins so.
    fn helper_takes(&self, start: &str) -> bool {
        matches!(self.helper, Verdict::Key(key) if key.starts_with(start))
    }

    /// Whether some line of the AWS files has this.
    fn has_line(&self, part: &str) -> bool {
        self.world.config.iter().chain(&self.world.credentials).any(|line| line.contains(part))
    }
}

/// A difference that is meant.
struct Difference {
    what: &'static str,
    /// One of the rules by which settings are read: what both accept alike is read alike (1), what one accepts is accepted (2), where
    /// both accept other callers AWS Labs' helper decides (3), what the helper adds is strict (4), half a pair is an error (5).
    rule: u8,
    is_it: fn(&Case) -> bool,
}

/// Counts agreement and each difference, and fails for a difference that is on no list.
#[derive(Default)]
struct Tally {
    agreed: usize,
    listed: BTreeMap<&'static str, usize>,
    others: BTreeMap<String, (usize, String)>,
}

impl Tally {
    fn count(&mut self, case: &Case, list: &[Difference]) {
        if case.agree() {
            self.agreed += 1;
        } else if let Some(known) = list.iter().find(|known| (known.is_it)(case)) {
            *self.listed.entry(known.what).or_default() += 1;
        } else {
            let root = case.site.root.to_str().expect("UTF-8");
            let short = |verdict: &Verdict| match verdict {
                Verdict::Key(key) => key.chars().take(30).collect::<String>(),
                Verdict::None(why) => format!("({:.110})", why.replace(root, "")),
            };
            let kind = format!("{} | {}", short(case.helper), short(case.judge));
            let example = format!("{:?}\n{:?}\n{}", case.helper, case.judge, case.world.show(case.site));
            self.others.entry(kind).or_insert((0, example)).0 += 1;
        }
    }

    fn finish(self, count: usize, list: &[Difference]) {
        println!("{count} worlds, {} agreed", self.agreed);
        for Difference { what, rule, .. } in list {
            println!("{:6} {what} (rule {rule})", self.listed.get(what).unwrap_or(&0));
        }
        let mut others: Vec<_> = self.others.into_iter().collect();
        others.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        for (kind, (count, _)) in others.iter().take(60) {
            println!("{count:6} {kind}");
        }
        assert!(
            others.is_empty(),
            "differences that are on no list, e.g. {}",
            others.iter().take(3).map(|(_, (_, example))| example.as_str()).collect::<Vec<_>>().join("\n\n")
        );
    }
}

/// How many worlds to judge; `WORLDS` names another number.
fn worlds(usual: usize, full: usize) -> usize {
    let named = std::env::var("WORLDS").ok().map(|count| count.parse().expect("a number"));
    named.unwrap_or(if std::env::var_os("FULL").is_some() { full } else { usual })
}

const OF_BOTOCORE: &[Difference] = &[
    Difference {
        what: "of two sections of a profile in two spellings botocore takes the last, or none with a blank and no quotes",
        rule: 2,
        is_it: |case| {
            let names = case.world.config.iter().filter_map(|line| {
                let (header, _) = line.trim().strip_prefix('[')?.split_once(']')?;
                Some(header.trim_start_matches("profile").trim().replace('"', ""))
            });
            let mut names: Vec<_> = names.collect();
            names.sort();
            names.windows(2).any(|pair| pair[0] == pair[1])
        },
    },
    Difference {
        what: "the quotes of a value are a part of it to botocore",
        rule: 2,
        is_it: |case| matches!((case.helper, case.judge), (Verdict::Key(one), Verdict::Key(other)) if *one == other.replace('"', "")),
    },
    Difference {
        what: "botocore passes an empty web identity token to STS, or over it",
        rule: 4,
        is_it: |case| case.helper_says("is empty; check the program"),
    },
    Difference {
        what: "botocore refuses a file with a line that is no setting",
        rule: 2,
        is_it: |case| case.judge_says("ConfigParseError"),
    },
    Difference {
        what: "botocore runs a process without a shell",
        rule: 2,
        is_it: |case| case.judge_says("custom-process") && case.has_line("<'ROOT"),
    },
    Difference {
        what: "an empty value in a file is one to botocore",
        rule: 2,
        is_it: |case| {
            let is_empty = |line: &String| line.trim_end().ends_with(['=', ':']);
            let differs_in_external_id = matches!((case.helper, case.judge), (Verdict::Key(one), Verdict::Key(other)) if *one == other.replace("--by-", "-none-by-"));
            case.world.config.iter().any(is_empty)
                && (differs_in_external_id
                    || ["MFA device", "IndexError", "source_profile", "configured to assume role"]
                        .iter()
                        .any(|text| case.judge_says(text)))
        },
    },
    Difference {
        what: "botocore assumes no role beside credentials in the same profile",
        rule: 2,
        is_it: |case| case.judge_says("Partial credentials found in assume-role"),
    },
    Difference {
        what: "botocore wants the profile that AWS_PROFILE names, whatever else is set",
        rule: 2,
        is_it: |case| case.judge_says("ProfileNotFound"),
    },
    Difference {
        what: "botocore passes over half of a pair",
        rule: 5,
        is_it: |case| case.helper_says(" is set, and ") || case.helper_says("it has "),
    },
    Difference {
        what: "botocore assumes the role of a profile before the web identity of the environment",
        rule: 3,
        is_it: |case| case.helper_takes("W-E"),
    },
    Difference {
        what: "botocore assumes the role of the environment with the token file of a profile",
        rule: 3,
        is_it: |case| {
            case.world.var("AWS_ROLE_ARN").is_some()
                && matches!((case.helper, case.judge), (Verdict::Key(one), Verdict::Key(other)) if one.starts_with("W-P") && other.starts_with("W-E"))
        },
    },
    Difference {
        what: "botocore prefers a sign-in, a process, a web identity or a named source to the keys beside it",
        rule: 3,
        is_it: |case| {
            let takes_keys = matches!(case.helper, Verdict::Key(key) if key.contains("AKIA") && !["ENV", "KEYS", "SCRIPT"].iter().any(|kind| key.contains(kind)));
            let others = ["S-", "W-", "AKIAKEYS", "AKIASCRIPT", "ASIALOGIN", "-by-I-", "-by-C-", "-by-AKIAENV"];
            takes_keys
                && match case.judge {
                    Verdict::Key(key) => others.iter().any(|other| key.starts_with(other) || key.contains(other)),
                    Verdict::None(why) => {
                        ["retriev", "SSO", "Token", "custom-process", "credential source", "InvalidConfig"]
                            .iter()
                            .any(|part| why.contains(part))
                    }
                }
        },
    },
];

/// The process that answers for botocore.
struct Botocore {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Botocore {
    /// Starts it; `None` where the Python environment of `tests/run` is missing.
    fn start(site: &Site) -> Option<Self> {
        let Ok(moto) = std::env::var("MOTO_SERVER") else {
            skip("the judgement of botocore", "MOTO_SERVER does not say where tests/run has installed it");
            return None;
        };
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges/botocore_judge.py");
        let mut command = Command::new(PathBuf::from(moto).with_file_name("python"));
        command.args([program, site.fixed()]).current_dir(&site.root);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Some(Self { child, input, output: BufReader::new(output) })
    }

    fn judge(&mut self, vars: &[(&'static str, String)]) -> Verdict {
        let vars: BTreeMap<_, _> = vars.iter().map(|(name, value)| (*name, value)).collect();
        writeln!(self.input, "{}", serde_json::to_string(&vars).expect("JSON")).expect("a write");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        match answer["key"].as_str() {
            Some(key) => Verdict::Key(key.to_owned()),
            None => Verdict::None(answer["error"].as_str().unwrap_or_default().to_owned()),
        }
    }
}

impl Drop for Botocore {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The verdict of the helper's own reading.
fn of_helper(world: &World, site: &Site) -> Verdict {
    let vars = world.vars(site);
    let own = ("AWS_ECR_CONFIG_FILE", "/dev/null");
    let env: Env = vars.iter().map(|(name, value)| (*name, value.as_str())).chain([own]).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    let config = Config::load(&env, deadline).expect("a configuration");
    let target = config.target(&env, HOST).expect("a target");
    match Identity::of(&env, &target, deadline) {
        Ok(identity) => principal(&identity, world, site)
            .map_or_else(|| Verdict::None(format!("nothing from {}", identity.chain)), Verdict::Key),
        Err(failure) => Verdict::None(failure.to_string()),
    }
}

/// The variables by the names and values that botocore knows: of an empty one, or of the names that the Go SDK alone has, it makes
/// something else, and of two profiles it takes the other one (rules 2 and 3).
fn for_botocore(mut vars: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    vars.retain(|(_, value)| !value.trim().is_empty());
    let has = |vars: &[(&str, String)], wanted: &str| vars.iter().any(|(name, _)| *name == wanted);
    if has(&vars, "AWS_PROFILE") {
        vars.retain(|(name, _)| *name != "AWS_DEFAULT_PROFILE");
    }
    for (known, of_go) in [("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY")] {
        if !has(&vars, known) {
            vars.iter_mut().filter(|(name, _)| *name == of_go).for_each(|(name, _)| *name = known);
        }
    }
    vars
}

#[test]
fn botocore_takes_the_same_credentials_but_for_the_listed_differences() {
    let count = worlds(10_000, 100_000);
    let root = tempfile::tempdir().expect("a directory");
    let mut site = Site::with_stand_ins(root.path().canonicalize().expect("a path"));
    let Some(mut botocore) = Botocore::start(&site) else { return };
    let mut tally = Tally::default();
    let mut chance = Chance::new();
    let mut world = World::new(&mut chance);
    for _ in 0..count {
        world.next(&mut chance);
        world.write(&mut site);
        let (helper, judge) = (of_helper(&world, &site), botocore.judge(&for_botocore(world.vars(&site))));
        tally.count(&Case { world: &world, site: &site, helper: &helper, judge: &judge }, OF_BOTOCORE);
    }
    tally.finish(count, OF_BOTOCORE);
}
