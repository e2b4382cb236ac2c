//! Random settings ("worlds"): an environment and files, from a grammar that reaches every kind of setting.
//!
//! A world is made of everyday settings ([`World::new`]) and differs from the next one in small changes ([`World::change`]),
//! since worlds that are almost the same are the critical pairs. [`sites`](crate::sites) puts it on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::helper::Chance;
use crate::issuers::jwt;
use crate::sites::{INSTANCE, INSTANCE_403, INSTANCE_404, INSTANCE_405, Site};

const START_URL: &str = "https://corp.example/start";
const LOGIN: &str = "arn:aws:iam::111122223333:user/Somebody";

/// Variables and files; the paths of the files are relative to one root.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    pub vars: BTreeMap<&'static str, String>,
    pub config: Vec<String>,
    pub credentials: Vec<String>,
    pub files: BTreeMap<&'static str, String>,
}

/// Values that each variable may have; ROOT is replaced by the root. The empty value means set and empty.
const VARIABLES: &[(&str, &[&str])] = &[
    ("AWS_PROFILE", &["", "a", "b", "default", "missing", "a b", "\"a\""]),
    ("AWS_DEFAULT_PROFILE", &["", "a", "b"]),
    ("AWS_ACCESS_KEY_ID", &["", " ", "AKIAENV1", "AKIAENV2"]),
    ("AWS_ACCESS_KEY", &["", "AKIAENV3"]),
    ("AWS_SECRET_KEY", &["", "s4"]),
    ("AWS_SECURITY_TOKEN", &["", "t2"]),
    ("AWS_SECRET_ACCESS_KEY", &["", "\t", "s1", "s2"]),
    ("SECRET_ACCESS_KEY", &["", "s3"]),
    ("AWS_SESSION_TOKEN", &["", "t1"]),
    ("AWS_ROLE_ARN", &["", "arn:aws:iam::111122223333:role/E1", "arn:aws:iam::111122223333:role/E2"]),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", &["", "ROOT/token1", "ROOT/token2", "ROOT/nothing"]),
    ("AWS_ROLE_SESSION_NAME", &["", "n1"]),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", &["", "/v2/1", "/v2/2"]),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &["", "http://127.0.0.1/f1", "http://127.0.0.1/f2"]),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", &["", "auth1", "auth2"]),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &["", "ROOT/token1", "ROOT/token2"]),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &["", INSTANCE, INSTANCE_403, INSTANCE_404, INSTANCE_405]),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", &["", "IPv4", "IPv6"]),
    ("AWS_EC2_METADATA_DISABLED", &["", "true", "false"]),
    ("AWS_EC2_METADATA_V1_DISABLED", &["", "true", "false"]),
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
    "    [profile b]",
    "[profile \"a b\"]",
    "[profile ü(!)]",
    "[profile a] trailing",
    "aws_access_key_id: AKIACOLON",
    "aws_secret_access_key: s",
    "aws_access_key_id = \"AKIAQUOTED\"",
    "aws_security_token = t",
    "mfa_serial =",
    "external_id =",
    "credential_process =",
    "source_profile =",
    "sso_start_url = https://other.example/start",
    "output = json",
    "s3 =",
    "  max_concurrent_requests = 2",
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
    "ec2_metadata_service_endpoint = http://127.0.0.2",
    "ec2_metadata_v1_disabled = true",
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
    &[
        "sso_session = s",
        "sso_start_url = https://corp.example/start",
        "sso_region = eu-west-1",
        "sso_account_id = 111122223333",
        "sso_role_name = R1",
    ],
    &["role_arn = arn:aws:iam::111122223333:role/P1", "aws_access_key_id = AKIAFILE1", "aws_secret_access_key = s"],
    &["login_session = arn:aws:iam::111122223333:user/Somebody"],
    &["credential_process = /bin/sh ROOT/script"],
    &["credential_process = /bin/cat ROOT/link"],
    &["credential_process = /bin/cat <'ROOT/link'; true"],
    &["aws_access_key_id = \"AKIAQUOTED\"", "aws_secret_access_key = s"],
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

/// Lines that every profile may have, and that decide nothing.
const HARMLESS: &[&str] = &[
    "",
    "# comment",
    "    # indented comment",
    "; comment",
    "region = eu-west-1",
    "output = json",
    "cli_pager =",
    "mfa_serial =",
    "external_id =",
    "role_arn =",
    "credential_process =",
    "s3 =\n  max_concurrent_requests = 2",
];

/// How people write a section of the config file, by the name of its profile.
fn header(name: &str, chance: &mut Chance) -> String {
    let plain = if name == "default" { "[default]".to_owned() } else { format!("[profile {name}]") };
    if name.contains([' ', '(']) {
        return format!("[profile \"{name}\"]");
    }
    match chance.below(8) {
        0 => format!("[profile \"{name}\"]"),
        1 => format!("{plain} ; comment"),
        2 => format!("{plain}trailing"),
        3 => format!("[profile {name}]"),
        _ => plain,
    }
}

impl World {
    /// Everyday settings.
    pub fn new(chance: &mut Chance) -> Self {
        let name = *chance.of(&["default", "default", "a", "a", "a", "a b", "ü(!)"]);
        let mut lines: Vec<String> = chance.of(PROFILES).iter().map(|line| (*line).to_owned()).collect();
        if chance.below(4) == 0 {
            lines.extend(chance.of(PROFILES).iter().map(|line| (*line).to_owned()));
        }
        for _ in 0..chance.below(3) {
            let at = usize::try_from(chance.below(lines.len() as u64 + 1)).expect("an index");
            lines.insert(at, (*chance.of(HARMLESS)).to_owned());
        }
        lines.insert(0, header(name, chance));
        lines.push("[profile b]".to_owned());
        lines.extend(["aws_access_key_id = AKIAFILE5", "aws_secret_access_key = s"].map(str::to_owned));
        let session = ["[sso-session s]", "sso_region = eu-west-1", "sso_start_url = https://corp.example/start"];
        lines.extend(session.map(str::to_owned));
        match chance.below(10) {
            // A whole file that is indented, e.g. from a script.
            0 => lines.iter_mut().for_each(|line| *line = format!("    {}", line.replace('\n', "\n    "))),
            1 => lines.iter_mut().for_each(|line| *line = line.replacen(" = ", ": ", 1)),
            2 => lines.iter_mut().for_each(|line| *line = line.replacen(" = ", "=", 1)),
            _ => {}
        }
        let credentials = match chance.below(5) {
            0 => vec![
                format!("[{name}]"),
                "aws_access_key_id = AKIACRED1".to_owned(),
                "aws_secret_access_key = s".to_owned(),
            ],
            _ => Vec::new(),
        };
        let files = FILES.iter().map(|(name, contents)| (*name, contents[0].to_owned())).collect();
        Self { vars: variables(name, chance), config: lines, credentials, files }
    }

    /// Becomes other everyday settings, or these with a change.
    pub fn next(&mut self, chance: &mut Chance) {
        match chance.below(2) {
            0 => *self = Self::new(chance),
            _ => self.change(chance),
        }
    }

    /// Makes one small change or none.
    pub fn change(&mut self, chance: &mut Chance) {
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

    fn contents(&self, site: &Site) -> BTreeMap<PathBuf, Vec<u8>> {
        let text = |lines: &[String]| site.place(&lines.join("\n")).into_bytes();
        let root = &site.root;
        let mut all: BTreeMap<PathBuf, Vec<u8>> =
            self.files.iter().map(|(name, content)| (file_path(root, name), file_content(content))).collect();
        all.insert(root.join("home/.aws/config"), text(&self.config));
        if !self.credentials.is_empty() {
            all.insert(root.join("home/.aws/credentials"), text(&self.credentials));
        }
        all
    }

    /// Writes the files that differ from the previous world.
    pub fn write(&self, site: &mut Site) {
        let now = self.contents(site);
        for path in site.on_disk.keys().filter(|path| !now.contains_key(*path)) {
            fs::remove_file(path).expect("a file");
        }
        for (path, content) in now.iter().filter(|(path, content)| site.on_disk.get(*path) != Some(content)) {
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            if let Some(target) = content.strip_prefix(b"-> ") {
                let _ = fs::remove_file(path);
                let target = site.root.join(std::str::from_utf8(target).expect("UTF-8"));
                std::os::unix::fs::symlink(target, path).expect("a link");
            } else {
                fs::write(path, content).expect("a write");
            }
        }
        site.on_disk = now;
    }

    pub fn vars(&self, site: &Site) -> Vec<(&'static str, String)> {
        self.vars.iter().map(|(name, value)| (*name, site.place(value))).collect()
    }

    /// The value of a variable, unless it is empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn show(&self, site: &Site) -> String {
        let file = |path: &str| {
            let path = site.root.join(path);
            format!("{}:\n{}\n", path.display(), String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()))
        };
        let (config, credentials) = (file("home/.aws/config"), file("home/.aws/credentials"));
        format!("{:?}\n{config}{credentials}{:?}", self.vars(site), self.files)
    }
}

/// The environment of a world whose settings are in the profile `name`.
fn variables(name: &str, chance: &mut Chance) -> BTreeMap<&'static str, String> {
    let mut vars = vec![("HOME", "ROOT/home")];
    match chance.below(8) {
        0 => vars.push(("AWS_DEFAULT_PROFILE", name)),
        1 => vars.extend([("AWS_PROFILE", name), ("AWS_DEFAULT_PROFILE", "b")]),
        2 | 3 if name == "default" => {}
        _ => vars.push(("AWS_PROFILE", name)),
    }
    match chance.below(20) {
        0 => vars.extend([("AWS_ACCESS_KEY_ID", "AKIAENV1"), ("AWS_SECRET_ACCESS_KEY", "s1")]),
        1 => vars.extend([("AWS_ACCESS_KEY", "AKIAENV3"), ("AWS_SECRET_KEY", "s4"), ("AWS_SECURITY_TOKEN", "t2")]),
        2 => vars.push(("AWS_ACCESS_KEY_ID", "AKIAENV1")),
        3 => vars.push(("AWS_SECRET_ACCESS_KEY", "s1")),
        4 | 5 => vars.extend([
            ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/E1"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "ROOT/token1"),
        ]),
        6 => vars.push(("AWS_WEB_IDENTITY_TOKEN_FILE", "ROOT/token1")),
        7 => vars.push(("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/E1")),
        8 | 9 => vars.extend([
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/f1"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "auth1"),
        ]),
        10 => vars
            .extend([("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/1"), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")]),
        11 => vars.extend([
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", ""),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/f2"),
        ]),
        12 => vars.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", INSTANCE_403)),
        13 => {
            vars.extend([
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", INSTANCE_404),
                ("AWS_EC2_METADATA_V1_DISABLED", "true"),
            ]);
        }
        14 => vars.push(("AWS_EC2_METADATA_DISABLED", "true")),
        15 => vars.extend([
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/1"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/f2"),
        ]),
        16 => vars.push(("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")),
        _ => {}
    }
    vars.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}
