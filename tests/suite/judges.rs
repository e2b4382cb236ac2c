//! The judges of whose credentials the settings lead to: botocore, which reads them for the AWS CLI, and the SDK for Go in AWS
//! Labs' helper.
//!
//! They get random settings ([`worlds`](crate::worlds)), and say for each whose access key they take. A difference fails the test
//! unless it is on a list, with the rule that it follows. A difference in how a text is *read* counts as known only if the judge
//! agrees once the same settings are written so that both read them alike; a difference in what they *mean* is matched by what
//! is in the world and by both answers. An entry that covers no world of a run is out of date and fails the test as well.
//!
//! What the judges find when the code is broken there, in 1,500 worlds of botocore and 150 of AWS Labs' helper:
//!
//! | rule in the code | found by |
//! | --- | --- |
//! | the web identity of the environment comes before the profile | both |
//! | `AWS_WEB_IDENTITY_TOKEN_FILE` without `AWS_ROLE_ARN` is an error | both |
//! | half of a pair in the environment is an error | both |
//! | `AWS_PROFILE` comes before `AWS_DEFAULT_PROFILE` | both |
//! | keys come before all else in a profile | both |
//! | a profile without credentials goes on to the machine | both |
//! | `key: value` and text behind `]` are read | both |
//! | an empty value counts as absent; names in quotes | both |
//! | `AWS_ACCESS_KEY` and `AWS_SECRET_KEY` are read | both |
//! | indented sections and settings are read | botocore |
//! | an `sso_session` may have the same sign-in beside it | botocore |
//! | a container's variable that is set and empty is unset | botocore |
//! | `role_arn` without a source is assumed with the credentials of the profile or the machine | AWS Labs' helper |
//! | values in quotes are read without them | AWS Labs' helper |
//! | a comment behind a value is no part of it | neither: the unit tests of `identity::ini` have it |
//!
//! The worlds are always the same; `SEED=…` and `FULL=1` judge others, `WORLDS=…` another number.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use docker_credential_ecr_login::config::Config;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::identity::{Identity, Profiles, Selected, paths};
use serde_json::Value;

use crate::HOST;
use crate::helper::{Chance, program};
use crate::namespace::{Namespace, missing, skip};
use crate::process::run;
use crate::sites::{Site, in_short, metadata_service, principal};
use crate::support::aws::Aws;
use crate::support::tls::Authority;
use crate::worlds::World;

/// What somebody makes of a world.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// This principal's access key.
    Key(String),
    /// No credentials, with the message if there is one.
    None(String),
}

impl Verdict {
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(one), Self::Key(other)) => one == other,
            (Self::None(_), Self::None(_)) => true,
            _ => false,
        }
    }

    /// Whether it is a key that begins so.
    fn takes(&self, start: &str) -> bool {
        matches!(self, Self::Key(key) if key.starts_with(start))
    }

    /// Whether it is a key with this in it.
    fn contains(&self, part: &str) -> bool {
        matches!(self, Self::Key(key) if key.contains(part))
    }

    /// Whether it is none, with this in the message.
    fn says(&self, text: &str) -> bool {
        matches!(self, Self::None(message) if message.contains(text))
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::None(_))
    }
}

/// The settings of a world, and what the helper and a judge make of them.
struct Case<'a> {
    world: &'a World,
    settings: &'a Settings,
    helper: &'a Verdict,
    judge: &'a Verdict,
}

impl Case<'_> {
    /// Whether a variable has a value.
    fn has(&self, name: &str) -> bool {
        self.world.var(name).is_some_and(|value| !value.trim().is_empty())
    }

    /// Whether the helper gives up where half of a pair is set.
    fn is_refused_half(&self) -> bool {
        let id = self.has("AWS_ACCESS_KEY_ID") || self.has("AWS_ACCESS_KEY");
        let secret = self.has("AWS_SECRET_ACCESS_KEY") || self.has("AWS_SECRET_KEY");
        let lacks_role = self.has("AWS_WEB_IDENTITY_TOKEN_FILE") && !self.has("AWS_ROLE_ARN");
        self.helper.is_none() && (id != secret || lacks_role || self.settings.has_half())
    }

    fn has_web_identity(&self) -> bool {
        self.has("AWS_ROLE_ARN") && self.has("AWS_WEB_IDENTITY_TOKEN_FILE")
    }
}

/// The AWS files of a world.
struct Settings {
    /// The config and the credentials file, with their profiles and as text.
    files: [(Profiles, String); 2],
    both: Profiles,
    /// The selected profile and those that it leads to.
    chain: Vec<String>,
}

/// The settings of profiles that decide on credentials.
const KEYS: [&str; 19] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_security_token",
    "role_arn",
    "external_id",
    "source_profile",
    "credential_source",
    "web_identity_token_file",
    "mfa_serial",
    "sso_session",
    "sso_start_url",
    "sso_region",
    "sso_account_id",
    "sso_role_name",
    "login_session",
    "credential_process",
    "ec2_metadata_service_endpoint",
    "ec2_metadata_v1_disabled",
];

/// Other sources of credentials than keys.
const OTHER_SOURCES: [&str; 7] = [
    "sso_session",
    "sso_account_id",
    "sso_role_name",
    "login_session",
    "credential_process",
    "credential_source",
    "web_identity_token_file",
];

impl Settings {
    fn read(env: &Env) -> Self {
        let bytes = paths(env).map(|path| path.and_then(|path| std::fs::read(path).ok()).unwrap_or_default());
        let [config, credentials] = &bytes;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let both = Profiles::from_bytes(config, credentials);
        let mut chain = vec![Selected::new(env, None).name().to_owned()];
        while let Some(next) = both.profile(&chain[chain.len() - 1]).and_then(|profile| profile.get("source_profile"))
            && !chain.iter().any(|known| known == next)
        {
            chain.push(next.to_owned());
        }
        let files = [
            (Profiles::from_bytes(config, b""), text(config)),
            (Profiles::from_bytes(b"", credentials), text(credentials)),
        ];
        Self { files, both, chain }
    }

    /// The value of a setting of one of the profiles on the chain.
    fn has(&self, key: &str) -> bool {
        self.chain.iter().any(|name| self.both.profile(name).is_some_and(|profile| profile.get(key).is_some()))
    }

    /// Whether a profile on the chain has a setting, and one of these too.
    fn has_beside(&self, key: &str, others: &[&str]) -> bool {
        self.chain
            .iter()
            .filter_map(|name| self.both.profile(name))
            .any(|profile| profile.get(key).is_some() && others.iter().any(|other| profile.get(other).is_some()))
    }

    /// Whether a profile on the chain has half a pair of keys in one file, or what only has a meaning with a role.
    fn has_half(&self) -> bool {
        let is_half = |file: &Profiles, name: &String| {
            file.profile(name).is_some_and(|profile| {
                profile.get("aws_access_key_id").is_some() != profile.get("aws_secret_access_key").is_some()
            })
        };
        let lacks_role = |name: &String| {
            self.both.profile(name).is_some_and(|profile| {
                let of_role = ["web_identity_token_file", "source_profile", "credential_source"];
                profile.get("role_arn").is_none() && of_role.iter().any(|key| profile.get(key).is_some())
            })
        };
        self.chain.iter().any(|name| self.files.iter().any(|(file, _)| is_half(file, name)) || lacks_role(name))
    }

    /// Whether a line of the files is so.
    fn any_line(&self, is_so: impl Fn(&str) -> bool) -> bool {
        self.files.iter().any(|(_, text)| text.lines().any(&is_so))
    }

    /// Whether two headers of the config file mean one profile, or one has a name with a blank that is not in quotes.
    fn has_two_spellings(&self) -> bool {
        let (_, text) = &self.files[0];
        let names = text.lines().filter_map(|line| {
            let (header, _) = line.trim().strip_prefix('[')?.split_once(']')?;
            Some(header.trim_start_matches("profile").trim().replace('"', ""))
        });
        let names: Vec<_> = names.collect();
        names.iter().collect::<BTreeSet<_>>().len() < names.len() || text.contains("[profile a b]")
    }

    /// The config and the credentials file in a form that every reader reads alike: a setting once and in a line of its own,
    /// without empty values, quotes and other lines; names in quotes if `quoted`.
    fn plain(&self, quoted: bool) -> [String; 2] {
        let mut texts = [String::new(), String::new()];
        for (text, (file, _)) in texts.iter_mut().zip(&self.files) {
            let is_config = std::ptr::eq(file, &raw const self.files[0].0);
            for name in file.names() {
                let header = match (is_config, quoted) {
                    (true, _) if name == "default" => "default".to_owned(),
                    (true, true) => format!("profile '{name}'"),
                    (true, false) => format!("profile {name}"),
                    (false, _) => name.to_owned(),
                };
                text.extend([format!("[{header}]\n")]);
                let profile = file.profile(name).expect("a profile");
                for (key, value) in KEYS.iter().filter_map(|key| Some((key, profile.get(key)?))) {
                    // The second line of a value has to be indented.
                    text.extend([format!("{key} = {}\n", without_shell(value).replace('\n', "\n  "))]);
                }
            }
        }
        let (_, config) = &self.files[0];
        let sections = config.split("[sso-session s]").skip(1).map(|text| text.split('[').next().unwrap_or_default());
        let section: Vec<_> = sections.flat_map(str::lines).map(str::trim).collect();
        texts[0].push_str("[sso-session s]\n");
        for key in ["sso_start_url", "sso_region"] {
            let value =
                section.iter().rev().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(['=', ':']));
            texts[0].extend(value.map(|value| format!("{key} = {}\n", value.trim())));
        }
        texts
    }
}

/// A value of one line. A command is without what only a shell understands.
fn without_shell(value: &str) -> String {
    match value.split_once("<'") {
        Some((program, rest)) => format!("{program}{}", rest.split('\'').next().unwrap_or_default()),
        None => value.lines().next().unwrap_or_default().to_owned(),
    }
}

/// A difference that is meant.
struct Difference {
    what: &'static str,
    /// One of the rules by which settings are read: what both accept alike is read alike (1), what one accepts is accepted (2), where
    /// both accept other callers AWS Labs' helper decides (3), what the helper adds is strict (4), half a pair is an error (5). 0 where
    /// the judge is older than the rules, or for the reason that is given.
    rule: u8,
    kind: Kind,
    is_it: fn(&Case) -> bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The texts are read differently: in plain files the judge must agree, or the difference must be one of the others.
    Reading,
    Meaning,
}

/// Counts agreement and each difference, and fails for a difference that is on no list.
struct Tally {
    list: &'static [Difference],
    agreed: usize,
    listed: BTreeMap<&'static str, usize>,
    others: BTreeMap<String, (usize, String)>,
}

impl Tally {
    fn new(list: &'static [Difference]) -> Self {
        Self { list, agreed: 0, listed: BTreeMap::new(), others: BTreeMap::new() }
    }

    /// Compares two verdicts. `in_plain_files` gives the judge's for the same settings in plain files.
    fn count(&mut self, case: &Case, site: &Site, in_plain_files: impl FnOnce() -> Verdict) {
        if case.helper.agrees(case.judge) {
            self.agreed += 1;
            return;
        }
        let known = |case: &Case, kind| self.list.iter().find(|known| known.kind == kind && (known.is_it)(case));
        let in_plain;
        let mut case = Case { ..*case };
        if let Some(known) = known(&case, Kind::Reading) {
            *self.listed.entry(known.what).or_default() += 1;
            in_plain = in_plain_files();
            case.judge = &in_plain;
            if case.helper.agrees(case.judge) {
                return;
            }
        }
        if let Some(known) = self.list.iter().find(|known| known.kind == Kind::Meaning && (known.is_it)(&case)) {
            *self.listed.entry(known.what).or_default() += 1;
            return;
        }
        let root = site.root.to_str().expect("UTF-8");
        let short = |verdict: &Verdict| match verdict {
            Verdict::Key(key) => key.chars().take(30).collect::<String>(),
            Verdict::None(why) => format!("({:.110})", why.replace(root, "")),
        };
        let kind = format!("{} | {}", short(case.helper), short(case.judge));
        let example = format!("{:?}\n{:?}\n{}", case.helper, case.judge, case.world.show(site));
        self.others.entry(kind).or_insert((0, example)).0 += 1;
    }

    fn finish(self, count: usize) {
        println!("{count} worlds, {} agreed", self.agreed);
        for Difference { what, rule, .. } in self.list {
            println!("{:6} {what} (rule {rule})", self.listed.get(what).unwrap_or(&0));
        }
        let mut others: Vec<_> = self.others.into_iter().collect();
        others.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        for (kind, (count, example)) in others.iter().take(60) {
            println!("{count:6} {kind}");
            if std::env::var_os("SHOW").is_some() {
                println!("{example}\n");
            }
        }
        assert!(
            others.is_empty(),
            "differences that are on no list, e.g. {}",
            others.iter().take(3).map(|(_, (_, example))| example.as_str()).collect::<Vec<_>>().join("\n\n")
        );
        // Other worlds, or fewer, need not have all.
        let are_others = ["SEED", "WORLDS"].iter().any(|name| std::env::var_os(name).is_some());
        let unused = self.list.iter().map(|known| known.what).filter(|what| !self.listed.contains_key(what));
        let unused: Vec<_> = unused.collect();
        assert!(unused.is_empty() || are_others, "differences that no world has: {unused:?}");
    }
}

/// How many worlds to judge; `WORLDS` names another number.
fn worlds(usual: usize, full: usize) -> usize {
    let named = std::env::var("WORLDS").ok().map(|count| count.parse().expect("a number"));
    named.unwrap_or(if std::env::var_os("FULL").is_some() { full } else { usual })
}

const OF_BOTOCORE: &[Difference] = &[
    Difference {
        what: "botocore refuses a file with a line that is no setting, or with one that is there twice",
        rule: 2,
        kind: Kind::Reading,
        is_it: |case| case.judge.says("ConfigParseError"),
    },
    Difference {
        what: "an empty value in a file is one to botocore",
        rule: 2,
        kind: Kind::Reading,
        is_it: |case| case.settings.any_line(|line| line.trim_end().ends_with(['=', ':'])),
    },
    Difference {
        what: "the quotes of a value are a part of it to botocore",
        rule: 2,
        kind: Kind::Reading,
        is_it: |case| case.settings.any_line(|line| line.ends_with('"')),
    },
    Difference {
        what: "a setting that is indented more than the one before is a part of it to botocore",
        rule: 2,
        kind: Kind::Reading,
        is_it: |case| case.settings.both.passed_over().any(|line| line.contains("indented more")),
    },
    Difference {
        what: "of two sections of a profile in two spellings botocore takes the last, or none with a blank and no quotes",
        rule: 2,
        kind: Kind::Reading,
        is_it: |case| case.settings.has_two_spellings(),
    },
    Difference {
        what: "botocore runs a process without a shell",
        rule: 2,
        kind: Kind::Reading,
        is_it: |case| case.judge.says("custom-process") && case.settings.any_line(|line| line.contains("<'")),
    },
    Difference {
        what: "botocore assumes no role beside credentials in the same profile",
        rule: 2,
        kind: Kind::Meaning,
        is_it: |case| case.helper.takes("R-") && case.judge.says("Partial credentials found in assume-role"),
    },
    Difference {
        what: "botocore wants the profile that AWS_PROFILE names, whatever else is set",
        rule: 2,
        kind: Kind::Meaning,
        is_it: |case| {
            let has_keys = case.helper.takes("AKIAENV");
            case.judge.says("ProfileNotFound")
                && (has_keys || case.has_web_identity() || case.settings.chain[0] == "default")
        },
    },
    Difference {
        what: "a name that AWS_PROFILE has in quotes is none to botocore",
        rule: 2,
        kind: Kind::Meaning,
        is_it: |case| case.settings.chain[0].starts_with('"') && case.judge.says("ProfileNotFound"),
    },
    Difference {
        what: "botocore passes over half of a pair",
        rule: 5,
        kind: Kind::Meaning,
        is_it: |case| case.is_refused_half(),
    },
    Difference {
        what: "botocore assumes the role of a profile before the web identity of the environment",
        rule: 3,
        kind: Kind::Meaning,
        is_it: |case| {
            case.has_web_identity()
                && (case.helper.takes("W-E") || case.helper.is_none())
                && case.settings.has("role_arn")
        },
    },
    Difference {
        what: "botocore assumes the role of the environment with the token file of a profile",
        rule: 3,
        kind: Kind::Meaning,
        is_it: |case| case.has("AWS_ROLE_ARN") && case.helper.takes("W-P") && case.judge.takes("W-E"),
    },
    Difference {
        what: "botocore prefers a sign-in, a process, a web identity or a named source to the keys beside it",
        rule: 3,
        kind: Kind::Meaning,
        is_it: |case| case.settings.has_beside("aws_access_key_id", &OTHER_SOURCES) && case.helper.contains("AKIA"),
    },
    Difference {
        what: "botocore prefers AWS_CONTAINER_CREDENTIALS_RELATIVE_URI to the full one",
        rule: 3,
        kind: Kind::Meaning,
        is_it: |case| {
            let both = ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"];
            both.iter().all(|name| case.has(name)) && case.helper.contains("C-f") && case.judge.contains("C-v2")
        },
    },
];

const OF_INCUMBENT: &[Difference] = &[
    Difference {
        what: "version 0.6.0 takes the quotes of a name as a part of it",
        rule: 0,
        kind: Kind::Reading,
        is_it: |case| case.settings.any_line(|line| line.trim_start().starts_with('[') && line.contains('"')),
    },
    Difference {
        what: "version 0.6.0 passes over indented sections and settings",
        rule: 0,
        kind: Kind::Reading,
        is_it: |case| case.settings.any_line(|line| line.starts_with(' ') && !line.trim().is_empty()),
    },
    Difference {
        what: "version 0.6.0 passes over a setting without a value, also where it is there twice",
        rule: 0,
        kind: Kind::Reading,
        is_it: |case| case.settings.any_line(|line| line.trim_end().ends_with(['=', ':'])),
    },
    Difference {
        what: "version 0.6.0 knows no [sso-session]",
        rule: 0,
        kind: Kind::Meaning,
        is_it: |case| {
            let helper = case.helper.contains("ASIA-sso") || case.helper.is_none();
            case.settings.has("sso_session") && (helper || case.judge.says("SSO"))
        },
    },
    Difference {
        what: "version 0.6.0 knows no login_session",
        rule: 0,
        kind: Kind::Meaning,
        is_it: |case| case.helper.contains("ASIALOGIN"),
    },
    Difference {
        what: "version 0.6.0 goes on where the profile is in neither file",
        rule: 0,
        kind: Kind::Meaning,
        is_it: |case| case.helper.is_none() && case.settings.both.profile(&case.settings.chain[0]).is_none(),
    },
    Difference {
        what: "the SDK for Go refuses a profile with two sources of credentials",
        rule: 2,
        kind: Kind::Meaning,
        is_it: |case| case.judge.says("only one credential type may be specified"),
    },
    Difference {
        what: "the SDK for Go refuses a source_profile or a credential_source without role_arn beside credentials",
        rule: 2,
        kind: Kind::Meaning,
        is_it: |case| case.judge.says("requires role_arn") && !case.helper.is_none(),
    },
    Difference {
        what: "the SDK for Go refuses a wrong profile where the environment has credentials",
        rule: 2,
        kind: Kind::Meaning,
        is_it: |case| case.judge.says("panic: ") && (case.helper.takes("AKIAENV") || case.helper.takes("ASIA-E")),
    },
    Difference {
        what: "version 0.6.0 always takes version 1 of the instance metadata service, and no endpoint_url of a profile",
        rule: 0,
        kind: Kind::Meaning,
        is_it: |case| {
            let is_disabled = case.has("AWS_EC2_METADATA_V1_DISABLED") || case.settings.has("ec2_metadata_v1_disabled");
            let is_elsewhere = case.helper.says("cannot reach 127.0.0.9");
            (is_disabled || is_elsewhere) && case.helper.is_none() && case.judge.contains("I-")
        },
    },
    Difference {
        what: "version 0.6.0 takes AWS_CONTAINER_CREDENTIALS_RELATIVE_URI alone for EcsContainer",
        rule: 2,
        kind: Kind::Meaning,
        is_it: |case| case.judge.says("EcsContainer was specified") && case.helper.contains("C-f"),
    },
    Difference {
        what: "a name that AWS_PROFILE has in quotes is another one in plain files",
        rule: 2,
        kind: Kind::Meaning,
        is_it: |case| case.settings.chain[0].starts_with('"'),
    },
    Difference {
        what: "the SDK for Go passes over half of a pair",
        rule: 5,
        kind: Kind::Meaning,
        is_it: |case| case.is_refused_half(),
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

/// The variables of a world with other files.
fn with_plain_files(
    mut vars: Vec<(&'static str, String)>,
    files: &[String; 2],
    site: &Site,
) -> Vec<(&'static str, String)> {
    for (name, text) in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"].into_iter().zip(files) {
        let path = site.root.join(name);
        std::fs::write(&path, text).expect("a write");
        vars.retain(|(known, _)| *known != name);
        vars.push((name, path.display().to_string()));
    }
    vars
}

/// The verdict of the helper's own reading.
fn of_helper(world: &World, site: &Site) -> Verdict {
    let vars = world.vars(site);
    let own = ("AWS_ECR_CONFIG_FILE", "/dev/null");
    let env: Env = vars.iter().map(|(name, value)| (*name, value.as_str())).chain([own]).collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    let config = Config::load(&env, deadline).expect("a configuration");
    let target = config.target(&env, HOST).expect("settings").expect("a target");
    match Identity::read(&env, &target, deadline) {
        Ok(identity) => principal(&identity, world, site)
            .map_or_else(|| Verdict::None(format!("nothing from {}", identity.chain)), Verdict::Key),
        Err(failure) => Verdict::None(failure.to_string()),
    }
}

/// The variables by the names and values that botocore knows: of an empty one, or of the names that the Go SDK alone has, it makes
/// something else, and of two profiles it takes the other one (rules 2 and 3).
fn for_botocore(mut vars: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    vars.retain(|(name, value)| !value.trim().is_empty() || *name == "AWS_LOGIN_CACHE_DIRECTORY");
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
    let mut tally = Tally::new(OF_BOTOCORE);
    let mut chance = Chance::with_seed(1);
    let mut world = World::new(&mut chance);
    for _ in 0..count {
        world.next(&mut chance);
        world.write(&mut site);
        let vars = world.vars(&site);
        let (helper, judge) = (of_helper(&world, &site), botocore.judge(&for_botocore(vars.clone())));
        let settings = Settings::read(&vars.iter().map(|(name, value)| (*name, value.as_str())).collect());
        let case = Case { world: &world, settings: &settings, helper: &helper, judge: &judge };
        tally.count(&case, &site, || {
            botocore.judge(&for_botocore(with_plain_files(vars, &settings.plain(true), &site)))
        });
    }
    tally.finish(count);
}

/// The variables by the names that the SDK for Go of 2021 knows.
fn for_incumbent(mut vars: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    vars.retain(|(_, value)| !value.trim().is_empty());
    vars
}

/// The endpoints of AWS that a world may lead to.
const ENDPOINTS: &[&str] = &[
    "api.ecr.us-east-1.amazonaws.com",
    "sts.us-east-1.amazonaws.com",
    "sts.eu-west-1.amazonaws.com",
    "sts.amazonaws.com",
    "portal.sso.eu-west-1.amazonaws.com",
];

/// A network in which the endpoints of AWS are stand-ins, for programs that know no other addresses.
struct Cloud {
    network: Namespace,
    authority: Authority,
    /// The files that the network's mounts come from.
    _dir: tempfile::TempDir,
    _aws: Aws,
}

impl Cloud {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let hosts = ENDPOINTS
            .iter()
            .fold("127.0.0.1 localhost\n".to_owned(), |hosts, name| format!("{hosts}127.83.0.1 {name}\n"));
        std::fs::write(dir.path().join("hosts"), hosts).expect("a write");
        let network = Namespace::of_network(&format!(
            "mount --bind {}/hosts /etc/hosts\nfor address in 169.254.169.254 169.254.170.2; do ip address add $address/32 dev lo; done\n\
             ip -6 address add fd00:ec2::254/128 dev lo",
            dir.path().display()
        ));
        let (aws, authority) = (Aws::start(), Authority::for_names(ENDPOINTS));
        authority.serve(network.listen("127.83.0.1:443"), aws.app());
        for (address, status) in [
            ("127.0.0.1:80", StatusCode::OK),
            ("127.0.0.2:80", StatusCode::OK),
            ("127.0.0.3:80", StatusCode::FORBIDDEN),
            ("127.0.0.4:80", StatusCode::NOT_FOUND),
            ("127.0.0.5:80", StatusCode::METHOD_NOT_ALLOWED),
            ("169.254.169.254:80", StatusCode::OK),
            ("169.254.170.2:80", StatusCode::OK),
            ("[fd00:ec2::254]:80", StatusCode::OK),
        ] {
            metadata_service(network.listen(address), status);
        }
        Self { network, authority, _dir: dir, _aws: aws }
    }

    /// The verdict of a helper, which is in the password of the stand-in.
    fn judge(&self, program: &Path, vars: Vec<(&'static str, String)>, site: &Site) -> Verdict {
        let mut command = self.network.command_in(&site.root, program);
        command.env_clear().env("PATH", "/usr/bin:/bin").envs(vars);
        command.env("SSL_CERT_FILE", self.authority.bundle()).env("AWS_ECR_DISABLE_CACHE", "1");
        let ran = run(command.arg("get"), HOST);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        match answer["Secret"].as_str().and_then(|password| password.rsplitn(3, '.').nth(2)) {
            Some(key) => Verdict::Key(key.to_owned()),
            None => Verdict::None(format!("{} {}", ran.stdout.trim(), ran.stderr.trim())),
        }
    }
}

#[test]
fn aws_labs_helper_takes_the_same_credentials_but_for_the_listed_differences() {
    const TEST: &str = "the judgement of AWS Labs' helper";
    let Some(incumbent) = std::env::var_os("INCUMBENT").map(PathBuf::from).filter(|path| path.exists()) else {
        return skip(TEST, "INCUMBENT does not say where tests/run has unpacked it");
    };
    if !nix::unistd::geteuid().is_root() || missing(&["ip"]).is_some() {
        return skip(TEST, "network namespaces need root and iproute2");
    }
    let count = worlds(600, 5_000);
    let root = tempfile::tempdir().expect("a directory");
    let mut site = Site::with_literal_addresses(root.path().canonicalize().expect("a path"));
    let cloud = Cloud::start();
    let mut tally = Tally::new(OF_INCUMBENT);
    let mut chance = Chance::with_seed(1);
    let mut world = World::new(&mut chance);
    for _ in 0..count {
        world.next(&mut chance);
        world.write(&mut site);
        let vars = world.vars(&site);
        let of_program = cloud.judge(&program(), vars.clone(), &site);
        let judge = cloud.judge(&incumbent, for_incumbent(vars.clone()), &site);
        // What botocore judges is what the program does.
        if let (Verdict::Key(reading), Verdict::Key(key)) = (of_helper(&world, &site), &of_program) {
            assert_eq!(in_short(&reading), *key, "{}", world.show(&site));
        }
        let settings = Settings::read(&vars.iter().map(|(name, value)| (*name, value.as_str())).collect());
        let case = Case { world: &world, settings: &settings, helper: &of_program, judge: &judge };
        let in_plain_files = || {
            let vars = with_plain_files(vars, &settings.plain(false), &site);
            cloud.judge(&incumbent, for_incumbent(vars), &site)
        };
        tally.count(&case, &site, in_plain_files);
    }
    tally.finish(count);
}
