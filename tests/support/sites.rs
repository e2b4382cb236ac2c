//! Where [`worlds`](crate::worlds) are put, what answers there, and the principal that a credential chain leads to.
//!
//! What issues credentials spells out the request in the access key, so that the key names the principal.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use docker_credential_ecr_login::identity::{
    Container, Identity, IdentityToken, Instance, Process, Source, Sso, WebIdentity, issuer_and_subject,
};
use serde_json::{Value, json};

use crate::worlds::World;

/// The addresses in worlds: of a container's endpoint, and of instance metadata services, of which some have no version 2.
pub const CONTAINER: &str = "http://127.0.0.1/";
pub const INSTANCE: &str = "http://127.0.0.2";
pub const INSTANCE_403: &str = "http://127.0.0.3";
pub const INSTANCE_404: &str = "http://127.0.0.4";
pub const INSTANCE_405: &str = "http://127.0.0.5";

/// Where worlds are put: a directory, and what answers at their addresses.
pub struct Site {
    pub root: PathBuf,
    /// Replaces each address of a world.
    addresses: Vec<(&'static str, String)>,
    /// What is there now.
    pub on_disk: BTreeMap<PathBuf, Vec<u8>>,
}

impl Site {
    /// A site in `root` where one server, at `url`, answers at all addresses.
    pub fn with_server(root: PathBuf, url: &str) -> Self {
        let addresses = [INSTANCE, INSTANCE_403, INSTANCE_404, INSTANCE_405].map(|address| (address, url.to_owned()));
        let addresses = addresses.into_iter().chain([(CONTAINER, format!("{url}/"))]).collect();
        Self { root, addresses, on_disk: BTreeMap::new() }
    }

    /// A site in `root` with stand-ins that spell out the requests to them.
    pub fn with_stand_ins(root: PathBuf) -> Self {
        let url = |status| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            metadata_service(listener, status);
            url
        };
        let addresses = vec![
            (CONTAINER, format!("{}/", url(StatusCode::OK))),
            (INSTANCE, url(StatusCode::OK)),
            (INSTANCE_403, url(StatusCode::FORBIDDEN)),
            (INSTANCE_404, url(StatusCode::NOT_FOUND)),
            (INSTANCE_405, url(StatusCode::METHOD_NOT_ALLOWED)),
        ];
        Self { root, addresses, on_disk: BTreeMap::new() }
    }

    /// A site in `root` whose addresses are what worlds say, for a network that has them.
    pub fn with_literal_addresses(root: PathBuf) -> Self {
        let addresses = [CONTAINER, INSTANCE, INSTANCE_403, INSTANCE_404, INSTANCE_405];
        let addresses = addresses.into_iter().map(|address| (address, address.to_owned())).collect();
        Self { root, addresses, on_disk: BTreeMap::new() }
    }

    /// The address and the port of what answers for the fixed addresses of AWS.
    pub fn fixed(&self) -> &str {
        self.address(INSTANCE).strip_prefix("http://").expect("a URL")
    }

    /// What answers at an address of a world.
    pub fn address(&self, address: &str) -> &str {
        self.addresses.iter().find(|(known, _)| *known == address).map(|(_, url)| url.as_str()).expect("an address")
    }

    /// A text of a world with the paths and addresses of the site.
    pub fn place(&self, text: &str) -> String {
        let text = text.replace("ROOT", self.root.to_str().expect("UTF-8"));
        self.addresses.iter().fold(text, |text, (address, url)| text.replace(address, url))
    }

    /// Whether an instance metadata service has version 1 alone.
    fn has_version_1_alone(&self, url: &str) -> bool {
        [INSTANCE_403, INSTANCE_404, INSTANCE_405].iter().any(|address| self.address(address) == url)
    }
}

/// Serves containers and instances, and answers requests for the session of version 2 with this status.
pub fn metadata_service(listener: TcpListener, version_2: StatusCode) {
    crate::support::serve(listener, axum::Router::new().fallback(answer).with_state(version_2));
}

async fn answer(State(version_2): State<StatusCode>, request: Request) -> Response {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let path = request.uri().path();
    let flat = |id: &str| {
        json!({"Code": "Success", "AccessKeyId": id, "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"})
            .to_string()
            .into_response()
    };
    match path.strip_prefix("/latest/") {
        Some("api/token") if version_2 == StatusCode::OK => {
            ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "t").into_response()
        }
        Some("api/token") => version_2.into_response(),
        Some(_) if version_2 == StatusCode::OK && header("x-aws-ec2-metadata-token").is_empty() => {
            StatusCode::UNAUTHORIZED.into_response()
        }
        Some("meta-data/iam/security-credentials/") => "role".into_response(),
        Some(_) => flat(&of_instance(header("host"))),
        None => flat(&of_container(path, header("authorization").as_bytes())),
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

/// The principal that the chain of an identity leads to; `None` where its source gives nothing.
pub fn principal(identity: &Identity, world: &World, site: &Site) -> Option<String> {
    let vars = world.vars(site);
    let var = |wanted: &str| {
        vars.iter().find(|(name, value)| *name == wanted && !value.is_empty()).map(|(_, value)| value.as_str())
    };
    let json = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok();
    let mut caller = match identity.source() {
        Source::Keys(keys) => keys.keys.id.clone(),
        Source::Sso(Sso { account_id, role_name, file, .. }) => {
            let sign_in = json(&file.path)?;
            if sign_in["expiresAt"].as_str()?.starts_with("2020") {
                return None;
            }
            by_sso(account_id, role_name, sign_in["accessToken"].as_str()?)
        }
        Source::Login(login) => json(&login.file.path)?["accessToken"]["accessKeyId"].as_str()?.to_owned(),
        Source::WebIdentity(WebIdentity { token: IdentityToken::File { file, .. }, role_arn, .. }) => {
            let token = fs::read(&file.path).ok().filter(|token| !token.is_empty())?;
            with_token(role_arn, &token)
        }
        Source::Container(Container { url, .. }) => {
            let hosts = [site.address(CONTAINER).to_owned(), "http://169.254.170.2".to_owned()];
            let url = url.to_string();
            let path = hosts.iter().find_map(|host| url.strip_prefix(host.trim_end_matches('/')))?;
            let authorization = match var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
                Some(file) => fs::read(file).ok()?,
                None => var("AWS_CONTAINER_AUTHORIZATION_TOKEN").unwrap_or_default().as_bytes().to_vec(),
            };
            of_container(path, &authorization)
        }
        Source::Instance(Instance { endpoint: url }) => {
            let is_true = |name: &str| var(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
            let profile = identity.profiles.profile(identity.selected.name());
            let version_1_disabled = is_true("AWS_EC2_METADATA_V1_DISABLED")
                || profile.is_some_and(|profile| profile.get("ec2_metadata_v1_disabled") == Some("true"));
            if is_true("AWS_EC2_METADATA_DISABLED") || (version_1_disabled && site.has_version_1_alone(url)) {
                return None;
            }
            of_instance(url.strip_prefix("http://").expect("a URL"))
        }
        Source::Process(Process { command, .. }) => {
            let mut shell = std::process::Command::new("/bin/sh");
            shell.args(["-c", command]).env_clear().envs(vars.clone()).stdin(std::process::Stdio::null());
            let output = shell.output().expect("a shell");
            if !output.status.success() {
                return None;
            }
            let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
            answer["AccessKeyId"].as_str()?.to_owned()
        }
        Source::WebIdentity(_) => return None,
    };
    for role in &identity.chain.roles {
        caller = by_role(&role.arn, role.external_id.as_deref(), &caller);
    }
    Some(caller)
}

/// What the principal's access key is where STS and sign-ins are those of `tests/support`, which spell out less.
pub fn in_short(principal: &str) -> String {
    match principal.split_once('-') {
        Some(("R", rest)) => {
            let (role, caller) = rest.split_once("-by-").expect("a caller");
            let role = role.split_once('-').map_or(role, |(role, _)| role);
            format!("ASIA-{role}-by-{}", in_short(caller))
        }
        Some(("W", rest)) => format!("ASIA-{}-by-jwt", rest.split_once('-').map_or(rest, |(role, _)| role)),
        Some(("S", rest)) => format!("ASIA-sso-{}", rest.split('-').nth(1).unwrap_or_default()),
        _ => principal.to_owned(),
    }
}
