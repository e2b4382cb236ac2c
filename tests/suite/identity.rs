//! Compares the cache key with the credential chain, under random settings (a "world").
//!
//! When two worlds have the same key, their chains lead to the same principal; and a manifest, which skips the settings, leads
//! to the same entry as the settings do.
//!
//! Each world differs from the previous one in a small change, since worlds with almost the same key are the critical pairs.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use docker_credential_ecr_login::config::Config;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::identity::{Identity, Observed, Source, Sso, issuer_and_subject, request_key};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::HOST;
use crate::helper::{Chance, Helper, Ran};
use crate::process::run;
use crate::sources::jwt;
use crate::support::aws::Aws;

const START_URL: &str = "https://corp.example/start";
const LOGIN: &str = "arn:aws:iam::111122223333:user/Somebody";

/// Variables and files; the paths of the files are relative to one root.
#[derive(Clone, PartialEq)]
struct World {
    vars: BTreeMap<&'static str, String>,
    config: Vec<String>,
    credentials: Vec<String>,
    files: BTreeMap<&'static str, String>,
}

/// Values that each variable may have; ROOT is replaced by the root. The empty value means set and empty.
const VARIABLES: &[(&str, &[&str])] = &[
    ("AWS_PROFILE", &["", "a", "b", "default", "missing", "a b", "\"a\""]),
    ("AWS_DEFAULT_PROFILE", &["", "a", "b"]),
    ("AWS_ACCESS_KEY_ID", &["", " ", "AKIAENV1", "AKIAENV2"]),
    ("AWS_SECRET_ACCESS_KEY", &["", "\t", "s1", "s2"]),
    ("AWS_SECRET_KEY", &["", "s3"]),
    ("AWS_SESSION_TOKEN", &["", "t1"]),
    ("AWS_ROLE_ARN", &["", "arn:aws:iam::111122223333:role/E1", "arn:aws:iam::111122223333:role/E2"]),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", &["", "ROOT/token1", "ROOT/token2", "ROOT/nothing"]),
    ("AWS_ROLE_SESSION_NAME", &["", "n1"]),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", &["", "/v2/1", "/v2/2"]),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &["", "http://127.0.0.1/f1", "http://127.0.0.1/f2"]),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", &["", "auth1", "auth2"]),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &["", "ROOT/token1", "ROOT/token2"]),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &["", "http://127.0.0.2", "http://127.0.0.3"]),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", &["", "IPv4", "IPv6"]),
    ("AWS_EC2_METADATA_DISABLED", &["", "true", "false"]),
    ("AWS_CONFIG_FILE", &["", "ROOT/other", "~/../other", "ROOT/nothing", "relative", "/dev/null"]),
    ("AWS_SHARED_CREDENTIALS_FILE", &["", "ROOT/other", "/dev/null"]),
    ("AWS_LOGIN_CACHE_DIRECTORY", &["", "ROOT/logins"]),
    ("HOME", &["", "ROOT/home", "ROOT/second", "relative", "."]),
    ("AWS_REGION", &["", "eu-west-1"]),
    ("AWS_PAGER", &["less"]),
];

/// Lines of the AWS files.
const LINES: &[&str] = &[
    "[default]",
    "[profile a]",
    "[profile b]",
    "[profile default]",
    "[profile  a]",
    "[profile \"a\"]",
    "[profile a b]",
    " [profile b]",
    "[profile a] ; comment",
    "[a]",
    "[b]",
    "[sso-session s]",
    "[services x]",
    "# aws_access_key_id = AKIACOMMENT",
    " # comment",
    "role_arn = arn:aws:iam::111122223333:role/P1",
    "role_arn = arn:aws:iam::111122223333:role/P2",
    "role_arn =",
    "external_id = x1",
    "external_id = x2",
    "role_session_name = n2",
    "source_profile = a",
    "source_profile = b",
    "source_profile = default",
    "source_profile = missing",
    "credential_source = Environment",
    "credential_source = EcsContainer",
    "credential_source = ec2instancemetadata",
    "credential_source = Ec2",
    "web_identity_token_file = ROOT/token1",
    "web_identity_token_file = ROOT/token2",
    "aws_access_key_id = AKIAFILE1",
    "AWS_ACCESS_KEY_ID = AKIAFILE2",
    "aws_access_key_id = AKIAFILE3 # comment",
    " aws_access_key_id = AKIAFILE4",
    "aws_access_key_id =",
    "aws_secret_access_key = s",
    "aws_session_token = t",
    "sso_session = s",
    "sso_account_id = 111122223333",
    "sso_role_name = R1",
    "sso_role_name = R2",
    "sso_region = eu-west-1",
    "sso_start_url = https://corp.example/start",
    "login_session = arn:aws:iam::111122223333:user/Somebody",
    "credential_process = /bin/sh ROOT/script",
    "credential_process = /bin/cat ROOT/link",
    "credential_process = /bin/cat <'ROOT/link'; true",
    "ec2_metadata_service_endpoint = http://127.0.0.4",
    "region = eu-west-1",
    "endpoint_url = http://127.0.0.9",
    "no property",
    "\u{a0}",
];

/// Sets of lines that are valid together.
const PROFILES: &[&[&str]] = &[
    &["aws_access_key_id = AKIAFILE1", "aws_secret_access_key = s"],
    &["role_arn = arn:aws:iam::111122223333:role/P1", "source_profile = b"],
    &[
        "role_arn = arn:aws:iam::111122223333:role/P1",
        "source_profile = a",
        "aws_access_key_id = AKIAFILE1",
        "aws_secret_access_key = s",
    ],
    &["role_arn = arn:aws:iam::111122223333:role/P1", "credential_source = Environment"],
    &["role_arn = arn:aws:iam::111122223333:role/P1", "credential_source = EcsContainer"],
    &["role_arn = arn:aws:iam::111122223333:role/P1", "credential_source = Ec2InstanceMetadata"],
    &["role_arn = arn:aws:iam::111122223333:role/P1", "web_identity_token_file = ROOT/token1"],
    &["sso_session = s", "sso_account_id = 111122223333", "sso_role_name = R1"],
    &[
        "sso_start_url = https://corp.example/start",
        "sso_region = eu-west-1",
        "sso_account_id = 111122223333",
        "sso_role_name = R1",
    ],
    &["login_session = arn:aws:iam::111122223333:user/Somebody"],
    &["credential_process = /bin/sh ROOT/script"],
    &["credential_process = /bin/cat ROOT/link"],
    &["credential_process = /bin/cat <'ROOT/link'; true"],
    &["region = eu-west-1"],
    &[],
];

/// The contents that each file may have. SSO1 and SSO2 are sign-ins, LOGIN1 and LOGIN2 sessions, KEYS1 and KEYS2 outputs of a
/// process.
const FILES: &[(&str, &[&str])] = &[
    ("token1", &["JWT a 1", "JWT a 2", "JWT b 1", "opaque1", "opaque2", ""]),
    ("token2", &["JWT a 1", "JWT c 1", "opaque1"]),
    (
        "other",
        &[
            "[default]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s\n",
            "[profile a]\n",
            "\u{feff}[default]\n",
            "LATIN1",
        ],
    ),
    ("second/.aws/config", &["[default]\naws_access_key_id = AKIASECOND\naws_secret_access_key = s\n"]),
    ("SESSION", &["SSO1", "SSO2", "{}", "{", "SSOEXPIRED"]),
    ("LEGACY", &["SSO1", "SSO2"]),
    ("LOGIN", &["LOGIN1", "LOGIN2", "{}"]),
    ("logins/LOGIN", &["LOGIN1", "LOGIN2"]),
    ("script", &["SCRIPT1", "SCRIPT2", "exit 1"]),
    ("keys1", &["KEYS1", "KEYS3"]),
    ("keys2", &["KEYS2"]),
    ("link", &["-> keys1", "-> keys2"]),
];

fn file_path(root: &Path, name: &str) -> PathBuf {
    root.join(match name {
        "SESSION" => format!("home/.aws/sso/cache/{:x}.json", Sha1::digest("s")),
        "LEGACY" => format!("home/.aws/sso/cache/{:x}.json", Sha1::digest(START_URL)),
        "LOGIN" => format!("home/.aws/login/cache/{:x}.json", Sha256::digest(LOGIN)),
        "logins/LOGIN" => format!("logins/{:x}.json", Sha256::digest(LOGIN)),
        name => name.to_owned(),
    })
}

fn file_content(content: &str) -> Vec<u8> {
    let keys = |id: &str| format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"s"}}"#);
    let sso = |token: &str, year: u32| {
        format!(
            r#"{{"startUrl":"{START_URL}","region":"eu-west-1","accessToken":"{token}","expiresAt":"{year}-01-01T00:00:00Z"}}"#
        )
    };
    let login = |id: &str| {
        format!(
            r#"{{"accessToken":{{"accessKeyId":"{id}","secretAccessKey":"s","sessionToken":"t","accountId":"111122223333",
            "expiresAt":"2099-01-01T00:00:00Z"}},"tokenType":"aws_sigv4","refreshToken":"r","clientId":"c",
            "dpopKey":"-----BEGIN EC PRIVATE KEY-----\nx\n-----END EC PRIVATE KEY-----\n"}}"#
        )
    };
    let text = match content.split(' ').collect::<Vec<_>>()[..] {
        ["JWT", subject, nonce] => jwt(subject, nonce.parse().expect("a number")),
        ["SSO1"] => sso("one", 2099),
        ["SSO2"] => sso("two", 2099),
        ["SSOEXPIRED"] => sso("one", 2020),
        ["LOGIN1"] => login("ASIALOGIN1"),
        ["LOGIN2"] => login("ASIALOGIN2"),
        ["KEYS1"] => keys("AKIAKEYS1"),
        ["KEYS2"] => keys("AKIAKEYS2"),
        ["KEYS3"] => keys("AKIAKEYS3"),
        ["SCRIPT1"] => format!("echo '{}'", keys("AKIASCRIPT1")),
        ["SCRIPT2"] => format!("echo '{}'", keys("AKIASCRIPT2")),
        ["LATIN1"] => {
            return b"[default]\n# caf\xe9\naws_access_key_id = AKIALATIN1\naws_secret_access_key = s\n".to_vec();
        }
        _ => content.to_owned(),
    };
    text.into_bytes()
}

impl World {
    fn new(chance: &mut Chance) -> Self {
        let profile =
            |chance: &mut Chance| chance.of(PROFILES).iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let name = *chance.of(&["default", "a"]);
        let mut config = vec![if name == "a" { "[profile a]" } else { "[default]" }.to_owned()];
        config.extend(profile(chance));
        config.push("[profile b]".to_owned());
        config.extend(PROFILES[0].iter().map(|line| line.replace('1', "5")));
        config.extend(
            ["[sso-session s]", "sso_region = eu-west-1", "sso_start_url = https://corp.example/start"]
                .map(str::to_owned),
        );
        let mut vars = BTreeMap::from([("HOME", "ROOT/home".to_owned())]);
        if name == "a" || chance.below(3) == 0 {
            vars.insert("AWS_PROFILE", name.to_owned());
        }
        match chance.below(5) {
            0 => {
                vars.insert("AWS_ACCESS_KEY_ID", "AKIAENV1".to_owned());
                vars.insert("AWS_SECRET_ACCESS_KEY", "s1".to_owned());
            }
            1 => {
                vars.insert("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/E1".to_owned());
                vars.insert("AWS_WEB_IDENTITY_TOKEN_FILE", "ROOT/token1".to_owned());
            }
            2 => {
                vars.insert("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/f1".to_owned());
                vars.insert("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "ROOT/token1".to_owned());
            }
            _ => {}
        }
        let files = FILES.iter().map(|(name, contents)| (*name, contents[0].to_owned())).collect();
        let credentials = if chance.below(4) == 0 {
            ["[a]", "aws_access_key_id = AKIACRED1", "aws_secret_access_key = s"].map(str::to_owned).to_vec()
        } else {
            Vec::new()
        };
        Self { vars, config, credentials, files }
    }

    /// Makes one small change or none.
    fn change(&mut self, chance: &mut Chance) {
        match chance.below(12) {
            0..4 => {
                let (name, values) = *chance.of(VARIABLES);
                if chance.below(3) == 0 {
                    self.vars.remove(name);
                } else {
                    self.vars.insert(name, (*chance.of(values)).to_owned());
                }
            }
            4..8 => {
                let lines = if chance.below(4) == 0 { &mut self.credentials } else { &mut self.config };
                let at = usize::try_from(chance.below(lines.len() as u64 + 1)).expect("an index");
                let line = (*chance.of(LINES)).to_owned();
                match chance.below(3) {
                    0 if at < lines.len() => drop(lines.remove(at)),
                    1 if at < lines.len() => lines[at] = line,
                    _ => lines.insert(at, line),
                }
            }
            8..11 => {
                let (name, contents) = *chance.of(FILES);
                if chance.below(6) == 0 {
                    self.files.remove(name);
                } else {
                    self.files.insert(name, (*chance.of(contents)).to_owned());
                }
            }
            _ => {}
        }
    }

    fn contents(&self, root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let text = |lines: &[String]| lines.join("\n").replace("ROOT", root.to_str().expect("UTF-8")).into_bytes();
        let mut all: BTreeMap<PathBuf, Vec<u8>> =
            self.files.iter().map(|(name, content)| (file_path(root, name), file_content(content))).collect();
        all.insert(root.join("home/.aws/config"), text(&self.config));
        if !self.credentials.is_empty() {
            all.insert(root.join("home/.aws/credentials"), text(&self.credentials));
        }
        all
    }

    /// Writes the files that differ from the previous world.
    fn write(&self, root: &Path, before: &mut BTreeMap<PathBuf, Vec<u8>>) {
        let now = self.contents(root);
        for path in before.keys().filter(|path| !now.contains_key(*path)) {
            fs::remove_file(path).expect("a file");
        }
        for (path, content) in now.iter().filter(|(path, content)| before.get(*path) != Some(content)) {
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            if let Some(target) = content.strip_prefix(b"-> ") {
                let _ = fs::remove_file(path);
                let target = root.join(std::str::from_utf8(target).expect("UTF-8"));
                std::os::unix::fs::symlink(target, path).expect("a link");
            } else {
                fs::write(path, content).expect("a write");
            }
        }
        *before = now;
    }

    fn vars(&self, root: &Path) -> Vec<(&'static str, String)> {
        let root = root.to_str().expect("UTF-8");
        self.vars.iter().map(|(name, value)| (*name, value.replace("ROOT", root))).collect()
    }

    fn show(&self, root: &Path) -> String {
        let file = |path: PathBuf| {
            format!("{}:\n{}\n", path.display(), String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()))
        };
        format!(
            "{:?}\n{}{}{:?}",
            self.vars(root),
            file(root.join("home/.aws/config")),
            file(root.join("home/.aws/credentials")),
            self.files
        )
    }
}

fn name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

fn subject(token: &[u8]) -> String {
    match issuer_and_subject(token) {
        Some((_, subject)) => subject,
        None => String::from_utf8_lossy(token).into_owned(),
    }
}

fn with_token(role: &str, token: &[u8]) -> String {
    format!("W-{}-{}", name(role), subject(token))
}

fn by_role(role: &str, external_id: Option<&str>, caller: &str) -> String {
    format!("R-{}-{}-by-{caller}", name(role), external_id.unwrap_or("none"))
}

fn by_sso(account: &str, role: &str, token: &str) -> String {
    format!("S-{account}-{role}-{token}")
}

fn of_container(path: &str, authorization: &[u8]) -> String {
    format!("C-{}-{}", path.trim_start_matches('/').replace('/', "."), subject(authorization))
}

fn of_instance(host: &str) -> String {
    format!("I-{host}")
}

/// The principal that the chain of an identity leads to; `None` when only a process or the helper itself can answer.
fn foreseen(identity: &Identity, vars: &[(&'static str, String)]) -> Option<String> {
    let var = |wanted: &str| {
        vars.iter().find(|(name, value)| *name == wanted && !value.is_empty()).map(|(_, value)| value.as_str())
    };
    let held = || serde_json::from_slice::<Value>(&identity.held).ok();
    let mut caller = match identity.source() {
        Source::Environment(keys) | Source::Profile(_, keys) => keys.id.clone(),
        Source::Sso(Sso { account_id, role_name, .. }) => {
            by_sso(account_id, role_name, held()?["accessToken"].as_str()?)
        }
        Source::Login { file, .. } => {
            let session: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
            session["accessToken"]["accessKeyId"].as_str()?.to_owned()
        }
        Source::WebIdentity(of) => with_token(&of.role_arn, &identity.held),
        Source::Container => {
            let path = var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").or_else(|| {
                Some(var("AWS_CONTAINER_CREDENTIALS_FULL_URI")?.strip_prefix("http://127.0.0.1").expect("a path"))
            })?;
            let file = var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(fs::read);
            let authorization = match file {
                Some(file) => file.ok()?,
                None => var("AWS_CONTAINER_AUTHORIZATION_TOKEN").unwrap_or_default().as_bytes().to_vec(),
            };
            of_container(path, &authorization)
        }
        Source::Instance(endpoint) => of_instance(endpoint.strip_prefix("http://").expect("a URL")),
        Source::Process { .. } | Source::ServiceAccount(_) | Source::Account(_) => return None,
    };
    for role in &identity.chain.roles {
        caller = by_role(&role.arn, role.external_id.as_deref(), &caller);
    }
    Some(caller)
}

/// Counts each source, so that the test can check that the generator covers all of them.
type Tally = BTreeMap<&'static str, usize>;

fn kind(source: &Source) -> &'static str {
    match source {
        Source::Environment(_) => "environment",
        Source::Profile(..) => "profile",
        Source::Sso(_) => "sso",
        Source::Login { .. } => "login",
        Source::Process { .. } => "process",
        Source::WebIdentity(_) => "web identity",
        Source::ServiceAccount(_) => "service account",
        Source::Account(_) => "account",
        Source::Container => "container",
        Source::Instance(_) => "instance",
    }
}

#[test]
fn whenever_two_worlds_have_one_key_they_have_one_principal() {
    let pairs = if std::env::var_os("FULL").is_some() { 200_000 } else { 10_000 };
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path().canonicalize().expect("a path");
    let mut chance = Chance::new();
    let mut on_disk = BTreeMap::new();
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
        world.write(&root, &mut on_disk);
        let vars = world.vars(&root);
        let own = ("AWS_ECR_CONFIG_FILE", "/dev/null");
        let env: Env = vars.iter().map(|(name, value)| (*name, value.as_str())).chain([own]).collect();
        let deadline = Instant::now() + Duration::from_secs(30);
        let config = Config::load(&env, deadline).expect("a configuration");
        let target = config.target(&env, HOST).expect("a target");
        let Ok(identity) = Identity::of(&env, &target, deadline) else {
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
        // A process alone knows its principal.
        let principal = foreseen(&identity, &vars).unwrap_or_else(|| identity.chain.to_string());
        let (first, there) = known.entry(key.clone()).or_insert_with(|| (principal.clone(), world.show(&root)));
        assert_eq!(*first, principal, "one key: {there}\n\nand {}\n{:?}", world.show(&root), identity.chain);
        let request = request_key(&env, HOST).to_string();
        if let Some((of, observed, led_to)) = &before {
            compared += 1;
            same += usize::from(*led_to == key);
            if *of == request && observed.iter().all(|observed| observed.holds(&env)) {
                by_manifest += 1;
                assert_eq!(*led_to, key, "what was observed holds, and the key is another: {}", world.show(&root));
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
    let mut on_disk = BTreeMap::new();
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
        world.write(&root, &mut on_disk);
        process.change(&root, &mut chance);
        let get = |without: bool| {
            let mut command = helper.command();
            command.arg("get").env_clear().current_dir(root.join(format!("dir{}", process.here)));
            command.envs(world.vars(&root).into_iter().map(|(name, value)| (name, of_stand_in(&value, &aws))));
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
            assert_eq!(who(&with), who(&without), "{with:?}\n{without:?}\n{process:?}\n{}", world.show(&root));
        }
        assert!(!with.stdout.contains("AKIAPLANTED"), "out of the current directory: {}", world.show(&root));
        if without.code != Some(0) {
            world = last;
        }
    }
    println!("{hits} hits in {answers} answers of {rounds}");
    assert!(hits >= rounds / 8 && answers >= rounds / 3, "{hits} {answers}");
}

/// Replaces the addresses in a world by that of the stand-in.
fn of_stand_in(value: &str, aws: &Aws) -> String {
    let mut value = value.to_owned();
    for address in ["http://127.0.0.1/", "http://127.0.0.2", "http://127.0.0.3"] {
        if let Some(rest) = value.strip_prefix(address) {
            value = format!("{}/{}", aws.url(), rest.trim_start_matches('/'));
            break;
        }
    }
    value
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
            fs::write(&path, text).expect("a write");
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
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
