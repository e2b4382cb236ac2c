//! Random scenes for `pairs`: everything at once that may decide whose token a get is given, in dimensions with a few values
//! each. A pair of gets differs in one dimension. [`Scene::principal`] says what [`Witness`](crate::witness::Witness) will say
//! of a get without cache, from the tables here alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::HOST;
use crate::helper::Chance;
use crate::issuers::jwt_of;
use crate::witness::{By, github_claims, holder, role_text};

/// Whether another value may make another principal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Maybe,
    /// Never: the second get is a hit.
    Never,
    /// Never, but a `credential_process` gets the variable.
    ForProcesses,
    /// What STS does not see of the tokens of service accounts.
    ForContainers,
}
use Counts::{ForContainers, ForProcesses, Maybe, Never};

struct Dimension {
    name: &'static str,
    values: &'static [&'static str],
    counts: Counts,
}

const fn dimension(name: &'static str, counts: Counts, values: &'static [&'static str]) -> Dimension {
    Dimension { name, values, counts }
}

/// The source of the credentials. The last ones depend on the process: on its own environment, and on its directory.
const SOURCES: &[&str] = &[
    "environment",
    "profile",
    "role",
    "web identity",
    "web identity of profile",
    "variable",
    "github",
    "container file",
    "container variable",
    "container",
    "instance",
    "sso",
    "process link",
    "process script",
    "login",
    "process in directory",
];

const DIMENSIONS: &[Dimension] = &[
    dimension("source", Maybe, SOURCES),
    dimension("user", Maybe, &["ALICE", "BOB"]),
    dimension("profile", Maybe, &["DEFAULT", "ONE", "TWO"]),
    // In files, and in the variables that a job, a container or a person sets.
    dimension("who", Maybe, &["A", "B"]),
    dimension("who in variables", Maybe, &["A", "B"]),
    dimension(
        "mapping",
        Maybe,
        &["", "profile in file", "other account in file", "profile variable", "role variable", "keys variable"],
    ),
    dimension("mapping of another account", ForProcesses, &["", "arn:aws:iam::555566667777:role/Other"]),
    dimension("external id", Maybe, &["x1", "x2"]),
    dimension("session name", Maybe, &["n1", "n2"]),
    dimension("endpoint", Maybe, &["plain", "services-one", "services-two", "variable", "file"]),
    dimension(
        "registry",
        Maybe,
        &[HOST, "111122223333.dkr.ecr.eu-west-1.amazonaws.com", "444455556666.dkr.ecr.us-east-1.amazonaws.com"],
    ),
    dimension("made up for a run", Never, &["1", "2", "3"]),
    dimension("pager", ForProcesses, &["", "less", "more"]),
    dimension("link to the token", Never, &["data0", "data1"]),
    dimension("link to the keys", Maybe, &["data0", "data1"]),
    dimension("directory", Maybe, &["data0", "data1"]),
    dimension("signature", Never, &["c2ln", "dHdv"]),
    // Claims, as JSON.
    dimension("iss", Maybe, &["\"https://one.example\"", "\"https://two.example\""]),
    dimension("sub", Maybe, &["\"system:serviceaccount:n:s\"", "\"repo:o/r:ref:refs/heads/main\"", "\"other\""]),
    dimension("aud", Maybe, &["\"a\"", "[\"a\"]", "[\"a\",\"b\"]", "\"b\"", ""]),
    dimension(
        "https://aws.amazon.com/tags",
        Maybe,
        &["", r#"{"principal_tags":{"team":["x"]}}"#, r#"{"principal_tags":{"team":["y"]}}"#],
    ),
    dimension("https://aws.amazon.com/source_identity", Maybe, &["", "\"me\"", "\"you\""]),
    dimension("amr", Maybe, &["", "[\"authenticated\"]", "[\"unauthenticated\"]"]),
    dimension("actor", Maybe, &["", "\"somebody\"", "\"another\""]),
    dimension("job_workflow_ref", Maybe, &["", "\"x\"", "\"y\""]),
    dimension("number", Maybe, &["", "100000000000000000001", "100000000000000000002"]),
    dimension("ref_protected", Maybe, &["", "\"true\"", "\"false\""]),
    dimension("account uid", Maybe, &["", "u1", "u2"]),
    dimension("pod", ForContainers, &["p1", "p2"]),
    dimension("node", ForContainers, &["n1", "n2"]),
    dimension("warnafter", Never, &["1", "2"]),
    dimension("exp", Never, &["1", "2"]),
    dimension("iat", Never, &["", "1", "2"]),
    dimension("nbf", Never, &["", "1", "2"]),
    dimension("auth_time", Never, &["", "1", "2"]),
    dimension("jti", Never, &["", "\"1\"", "\"2\""]),
];

const CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "https://aws.amazon.com/tags",
    "https://aws.amazon.com/source_identity",
    "amr",
    "actor",
    "job_workflow_ref",
    "number",
    "ref_protected",
    "exp",
    "iat",
    "nbf",
    "auth_time",
    "jti",
];

/// Of what docker, terminals and CI systems make up for each run.
const MADE_UP: &[&str] = &[
    "DOCKER_CLI_PLUGIN_SOCKET",
    "TMUX_PANE",
    "SSH_CONNECTION",
    "WINDOWID",
    "GITHUB_RUN_ID",
    "CI_JOB_ID",
    "BUILD_NUMBER",
];

const ROLE: &str = "arn:aws:iam::111122223333:role";
/// Of roles without a name for the session.
const SESSION: &str = "docker-credential-ecr-login";

/// A value of each dimension.
#[derive(Clone)]
pub struct Scene(BTreeMap<&'static str, &'static str>);

impl Scene {
    /// The first value of each dimension.
    pub fn new() -> Self {
        Self(DIMENSIONS.iter().map(|dimension| (dimension.name, dimension.values[0])).collect())
    }

    /// Gives one dimension another value, and the source a value among the first `sources`, every other time a favoured one.
    /// Returns the name, and whether the next get must be a hit.
    pub fn change(&mut self, chance: &mut Chance, sources: usize, favoured: &[&'static str]) -> (&'static str, bool) {
        // Every source is seen in many of the other dimensions.
        let dimension = if chance.below(8) == 0 { &DIMENSIONS[0] } else { chance.of(&DIMENSIONS[1..]) };
        let values = if dimension.name == "source" { &dimension.values[..sources] } else { dimension.values };
        let before = self.0[dimension.name];
        while self.0[dimension.name] == before {
            let is_favoured = dimension.name == "source" && !favoured.is_empty() && chance.below(2) == 0;
            let values = if is_favoured { favoured } else { values };
            self.0.insert(dimension.name, *chance.of(values));
        }
        let must_hit = match dimension.counts {
            Maybe => false,
            Never => true,
            ForProcesses => !self.source().starts_with("process"),
            ForContainers => self.at("sub").contains("serviceaccount") && self.source() != "container file",
        };
        (dimension.name, must_hit)
    }

    /// How many sources there are without those that depend on the process.
    pub fn sources_in_any_process() -> usize {
        SOURCES.len() - 2
    }

    /// The same without the one that depends on the directory.
    pub fn sources_in_any_directory() -> usize {
        SOURCES.len() - 1
    }

    /// How many sources there are.
    pub fn sources() -> usize {
        SOURCES.len()
    }

    fn at(&self, dimension: &str) -> &'static str {
        self.0[dimension]
    }

    pub fn source(&self) -> &'static str {
        self.at("source")
    }

    /// Whether the source reads files itself, so that those which changed a moment ago prove nothing.
    pub fn reads_itself(&self) -> bool {
        self.source() == "login" || self.source().starts_with("process")
    }

    /// The registry that is asked for.
    pub fn host(&self) -> &'static str {
        self.at("registry")
    }

    /// The directory in which the program runs.
    pub fn directory(&self, root: &Path) -> PathBuf {
        root.join("keys").join(self.at("directory"))
    }

    fn is_of_profile(&self) -> bool {
        matches!(self.source(), "profile" | "role" | "web identity of profile" | "sso" | "login")
            || self.source().starts_with("process")
    }

    fn token(&self) -> String {
        let claim =
            |name: &&str| Some(format!("\"{name}\":{}", Some(self.at(name)).filter(|value| !value.is_empty())?));
        let mut claims: Vec<String> = CLAIMS.iter().filter_map(claim).collect();
        let uid = self.at("account uid");
        if !uid.is_empty() {
            let (pod, node, after) = (self.at("pod"), self.at("node"), self.at("warnafter"));
            let account = json!({"namespace": "n", "serviceaccount": {"uid": uid}, "pod": {"uid": pod}, "node": {"uid": node},
                "warnafter": after});
            claims.push(format!("\"kubernetes.io\":{account}"));
        }
        let token = jwt_of(&format!("{{{}}}", claims.join(",")));
        let (unsigned, _) = token.rsplit_once('.').expect("a signature");
        format!("{unsigned}.{}", self.at("signature"))
    }

    fn is_mapped(&self, mapping: &str) -> bool {
        self.host().starts_with("111122223333") && self.at("mapping") == mapping
    }

    /// Whose token for what the witness issues to a get without cache, in this place.
    pub fn principal(&self, place: &str) -> String {
        let mapped_to_profile = self.is_mapped("profile in file") || self.is_mapped("profile variable");
        let role = self.is_mapped("role variable");
        let mut who = if self.is_mapped("keys variable") {
            format!("AKIAACCOUNT{}", self.at("who in variables"))
        } else if self.is_of_profile() {
            self.of_profile(if mapped_to_profile { "TWO" } else { self.at("profile") })
        } else if mapped_to_profile {
            format!("AKIA{}TWO", self.at("user"))
        } else {
            self.of_machine(place, if role { "Mapped" } else { "C" })
        };
        if role && !matches!(self.source(), "variable" | "github") {
            who = role_text(&format!("{ROLE}/Mapped"), SESSION, &format!("by {who} external "));
        }
        let region = self.host().split('.').nth(3).expect("a region");
        let endpoint = match self.at("endpoint") {
            "file" if !self.host().starts_with("111122223333") => "plain",
            endpoint => endpoint,
        };
        format!("{who} for {region} at /{endpoint}")
    }

    fn of_profile(&self, profile: &str) -> String {
        let [user, who] = ["user", "who"].map(|name| self.at(name));
        match self.source() {
            "profile" => format!("AKIA{user}{profile}{who}"),
            "role" => {
                let by = format!("by AKIA{user}BASE{who} external {}", self.at("external id"));
                role_text(&format!("{ROLE}/{profile}"), self.at("session name"), &by)
            }
            "web identity of profile" => {
                let by = format!("with {}", holder(&self.token(), By::Sts));
                role_text(&format!("{ROLE}/{profile}"), self.at("session name"), &by)
            }
            "sso" => format!("sso {profile} with {user}{who}"),
            "login" => format!("ASIALOGIN{user}{who}"),
            "process link" => format!("AKIAKEYS{}{who}", self.at("link to the keys")),
            "process script" => format!("AKIASCRIPT{who}{}", self.at("external id")),
            _ => format!("AKIAKEYS{}{who}", self.at("directory")),
        }
    }

    fn of_machine(&self, place: &str, role: &str) -> String {
        let who = self.at("who in variables");
        let by = |token: &str| format!("with {}", holder(token, By::Sts));
        match self.source() {
            "environment" => format!("AKIAENVIRONMENT{who}"),
            "web identity" => role_text(&format!("{ROLE}/W{who}"), self.at("session name"), &by(&self.token())),
            "variable" => role_text(&format!("{ROLE}/{role}"), SESSION, &by(&self.token())),
            "github" => {
                let claims = github_claims(&format!("?job={who}"), &format!("bearer of-{who}"));
                role_text(&format!("{ROLE}/{role}"), SESSION, &by(&jwt_of(&claims)))
            }
            "container file" => format!("the container /container/{who} with {}", holder(&self.token(), By::Container)),
            "container variable" => format!("the container /container/1 with opaque-{who}"),
            "container" => format!("the container /container/{who} in {place}"),
            _ => format!("the instance in {place}"),
        }
    }

    /// The environment, with the witness at `url`.
    pub fn vars(&self, root: &Path, url: &str) -> Vec<(String, String)> {
        let at = |path: &str| root.join(path).display().to_string();
        let (who, user) = (self.at("who in variables"), self.at("user"));
        let mut vars: Vec<(&str, String)> = vec![
            ("HOME", at(user)),
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("AWS_ECR_CACHE_DIR", at("cache")),
            ("AWS_ENDPOINT_URL_STS", url.to_owned()),
            ("AWS_ENDPOINT_URL_SSO", url.to_owned()),
            ("WHO", self.at("external id").to_owned()),
        ];
        vars.extend(MADE_UP.iter().map(|name| (*name, self.at("made up for a run").to_owned())));
        let mut set = |name: &'static str, value: &str| {
            if !value.is_empty() {
                vars.push((name, value.to_owned()));
            }
        };
        set("AWS_PAGER", self.at("pager"));
        set("AWS_ECR_ROLE_ARN_555566667777", self.at("mapping of another account"));
        if self.at("endpoint") == "variable" {
            set("AWS_ENDPOINT_URL_ECR", &format!("{url}/variable"));
        }
        match self.at("mapping") {
            "profile variable" => set("AWS_ECR_PROFILE_111122223333", "TWO"),
            "role variable" => set("AWS_ECR_ROLE_ARN_111122223333", &format!("{ROLE}/Mapped")),
            "keys variable" => {
                set("AWS_ECR_ACCESS_KEY_ID_111122223333", &format!("AKIAACCOUNT{who}"));
                set("AWS_ECR_SECRET_ACCESS_KEY_111122223333", "s");
            }
            _ => {}
        }
        if self.is_of_profile() && self.at("profile") != "DEFAULT" {
            set("AWS_PROFILE", self.at("profile"));
        }
        if self.source() == "instance" {
            set("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
        } else {
            set("AWS_EC2_METADATA_DISABLED", "true");
        }
        let token_file = at("tokens/link/token");
        match self.source() {
            "environment" => {
                set("AWS_ACCESS_KEY_ID", &format!("AKIAENVIRONMENT{who}"));
                set("AWS_SECRET_ACCESS_KEY", "s");
            }
            "web identity" => {
                set("AWS_ROLE_ARN", &format!("{ROLE}/W{who}"));
                set("AWS_WEB_IDENTITY_TOKEN_FILE", &token_file);
                set("AWS_ROLE_SESSION_NAME", self.at("session name"));
            }
            "variable" => {
                set("AWS_ECR_WEB_IDENTITY", "env:CI_TOKEN");
                set("AWS_ECR_ROLE_ARN", &format!("{ROLE}/C"));
                set("CI_TOKEN", &self.token());
            }
            "github" => {
                set("AWS_ECR_WEB_IDENTITY", "github");
                set("AWS_ECR_ROLE_ARN", &format!("{ROLE}/C"));
                set("ACTIONS_ID_TOKEN_REQUEST_URL", &format!("{url}/github?job={who}"));
                set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", &format!("of-{who}"));
            }
            "container variable" => {
                set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{url}/container/1"));
                set("AWS_CONTAINER_AUTHORIZATION_TOKEN", &format!("opaque-{who}"));
            }
            source if source.starts_with("container") => {
                set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{url}/container/{who}"));
                if source == "container file" {
                    set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token_file);
                }
            }
            _ => {}
        }
        vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The files below `root`, with the witness at `url`; of a link where it leads, behind `-> `.
    pub fn files(&self, root: &Path, url: &str) -> BTreeMap<PathBuf, String> {
        let who = self.at("who");
        let mut all = BTreeMap::new();
        let mut put = |path: String, text: String| all.insert(root.join(path), text);
        let keys = |id: &str| format!(r#"{{"Version":1,"AccessKeyId":"{id}","SecretAccessKey":"s"}}"#);
        for data in ["data0", "data1"] {
            put(format!("tokens/{data}/token"), self.token());
            put(format!("keys/{data}/keys"), keys(&format!("AKIAKEYS{data}{who}")));
        }
        put("tokens/link".to_owned(), format!("-> {}", self.at("link to the token")));
        put("keys/link".to_owned(), format!("-> {}", self.at("link to the keys")));
        put("script".to_owned(), format!("echo '{}'\n", keys(&format!("AKIASCRIPT{who}'$WHO'"))));
        put("relative".to_owned(), "cat keys\n".to_owned());
        for user in ["ALICE", "BOB"] {
            let login = "arn:aws:iam::111122223333:user/Somebody";
            put(format!("{user}/.aws/config"), self.config(user, root, url));
            put(
                format!("{user}/.aws/sso/cache/{:x}.json", Sha1::digest("s")),
                json!({"startUrl": "u", "region": "eu-west-1", "accessToken": format!("{user}{who}"), "expiresAt": "2099-01-01T00:00:00Z"})
                    .to_string(),
            );
            put(
                format!("{user}/.aws/login/cache/{:x}.json", Sha256::digest(login)),
                json!({"accessToken": {"accessKeyId": format!("ASIALOGIN{user}{who}"), "secretAccessKey": "s", "sessionToken": "t",
                    "accountId": "111122223333", "expiresAt": "2099-01-01T00:00:00Z"}, "tokenType": "aws_sigv4", "refreshToken": "r",
                    "clientId": "c", "dpopKey": "-----BEGIN EC PRIVATE KEY-----\nx\n-----END EC PRIVATE KEY-----\n"})
                .to_string(),
            );
            let entry = |account: &str, lines: &str| format!("[[registry]]\nmatch = '{account}.*'\n{lines}\n");
            let profile = if self.at("mapping") == "profile in file" { "profile = 'TWO'\n" } else { "" };
            let endpoint =
                if self.at("endpoint") == "file" { format!("endpoint_url = '{url}/file'\n") } else { String::new() };
            let own = [profile, endpoint.as_str()].concat();
            let mut text = if own.is_empty() { String::new() } else { entry("111122223333", &own) };
            if self.at("mapping") == "other account in file" {
                text += &entry("555566667777", "profile = 'TWO'");
            }
            put(format!("{user}/.config/docker-credential-ecr-login/config.toml"), text);
        }
        all
    }

    fn config(&self, user: &str, root: &Path, url: &str) -> String {
        let (who, at) = (self.at("who"), |path: &str| root.join(path).display().to_string());
        let session = self.at("session name");
        let keys = |id: &str| format!("aws_access_key_id = {id}\naws_secret_access_key = s\n");
        let section = |profile: &str| {
            let name = if profile == "DEFAULT" { "default".to_owned() } else { format!("profile {profile}") };
            let endpoint = match self.at("endpoint") {
                services if services.starts_with("services") => "services = local\n".to_owned(),
                _ => format!("endpoint_url = {url}/plain\n"),
            };
            let role = format!("role_arn = {ROLE}/{profile}\nrole_session_name = {session}\n");
            let source = match self.source() {
                "profile" => keys(&format!("AKIA{user}{profile}{who}")),
                "role" => format!("{role}source_profile = base\nexternal_id = {}\n", self.at("external id")),
                "web identity of profile" => format!("{role}web_identity_token_file = {}\n", at("tokens/link/token")),
                "sso" => format!("sso_session = s\nsso_account_id = 111122223333\nsso_role_name = {profile}\n"),
                "login" => "login_session = arn:aws:iam::111122223333:user/Somebody\n".to_owned(),
                "process link" => format!("credential_process = /bin/cat {}\n", at("keys/link/keys")),
                "process script" => format!("credential_process = /bin/sh {}\n", at("script")),
                "process in directory" => format!("credential_process = /bin/sh {}\n", at("relative")),
                _ if profile == "DEFAULT" => String::new(),
                _ => keys(&format!("AKIA{user}{profile}")),
            };
            format!("[{name}]\n{endpoint}{source}")
        };
        let text = ["DEFAULT", "ONE", "TWO"].map(section).concat();
        let sso = "[sso-session s]\nsso_region = eu-west-1\nsso_start_url = u\n";
        let base = keys(&format!("AKIA{user}BASE{who}"));
        format!(
            "{text}[profile base]\n{base}{sso}[services local]\necr =\n  endpoint_url = {url}/{}\n",
            self.at("endpoint")
        )
    }
}

/// Without the dimensions that have their first value.
impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = DIMENSIONS.iter().filter(|dimension| self.at(dimension.name) != dimension.values[0]);
        f.debug_map().entries(others.map(|dimension| (dimension.name, self.at(dimension.name)))).finish()
    }
}

/// Where scenes are put.
pub struct Ground {
    pub root: PathBuf,
    on_disk: BTreeMap<PathBuf, String>,
}

impl Ground {
    pub fn new(root: PathBuf) -> Self {
        Self { root, on_disk: BTreeMap::new() }
    }

    /// Writes what is another than before: into the file, by a new one in its place, or by another directory in the place of
    /// the one around it.
    pub fn put(&mut self, scene: &Scene, url: &str, chance: &mut Chance) {
        let files = scene.files(&self.root, url);
        for (path, text) in files.iter().filter(|(path, text)| self.on_disk.get(*path) != Some(text)) {
            let dir = path.parent().expect("a parent");
            fs::create_dir_all(dir).expect("a directory");
            let new = path.with_extension("new");
            match (text.strip_prefix("-> "), chance.below(3)) {
                (Some(target), _) => {
                    std::os::unix::fs::symlink(target, &new).and_then(|()| fs::rename(&new, path)).expect("a link");
                }
                (None, 0) => fs::write(path, text).expect("a write"),
                (None, 1) if dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("data")) => {
                    let (other, old) = (dir.with_extension("new"), dir.with_extension("old"));
                    fs::create_dir(&other).expect("a directory");
                    fs::write(other.join(path.file_name().expect("a name")), text).expect("a write");
                    fs::rename(dir, &old).and_then(|()| fs::rename(&other, dir)).expect("an exchange");
                    fs::remove_dir_all(&old).expect("a removal");
                }
                (None, _) => fs::write(&new, text).and_then(|()| fs::rename(&new, path)).expect("a new file"),
            }
        }
        self.on_disk = files;
    }
}
