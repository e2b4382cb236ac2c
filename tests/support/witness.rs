//! A stand-in for AWS whose tokens tell who asked for them. Each access key and each password that it issues stands for a text
//! that spells out the request, as far as AWS sees it; what AWS does not see is left out of the text.

use std::collections::{BTreeMap, HashMap};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::issuers::jwt_of;

/// The witness. Its clones know the same.
#[derive(Clone, Default)]
pub struct Witness {
    known: Arc<Mutex<Known>>,
    /// Where it listens: the endpoints of machines give each place an identity of its own.
    place: Arc<Mutex<String>>,
}

#[derive(Default)]
struct Known {
    texts: HashMap<String, String>,
    /// The tokens of ECR so far.
    tokens: usize,
}

/// Who accepts a token of another identity provider.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    Sts,
    /// The endpoint of a container.
    Container,
}

impl Witness {
    /// One that knows the same, and listens elsewhere.
    pub fn elsewhere(&self) -> Self {
        Self { known: self.known.clone(), place: Arc::default() }
    }

    /// Listens on loopback; the URL comes back.
    pub fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        self.listen(listener);
        url
    }

    /// Listens on a socket of its place.
    pub fn listen(&self, listener: TcpListener) {
        crate::support::serve(listener, Router::new().fallback(answer).with_state(self.clone()));
    }

    /// From now on it is at this place.
    pub fn move_to(&self, place: &str) {
        place.clone_into(&mut self.place.lock().expect("no panic"));
    }

    /// Where it is.
    pub fn place(&self) -> String {
        self.place.lock().expect("no panic").clone()
    }

    /// How many tokens of ECR it issued so far.
    pub fn tokens(&self) -> usize {
        self.known.lock().expect("no panic").tokens
    }

    /// What a password or an access key stands for: itself, if it was not issued here.
    pub fn text(&self, issued: &str) -> String {
        self.known.lock().expect("no panic").texts.get(issued).cloned().unwrap_or_else(|| issued.to_owned())
    }

    fn issue(&self, text: String) -> String {
        let id = format!("ASIA{}", &format!("{:X}", Sha256::digest(&text))[..24]);
        self.known.lock().expect("no panic").texts.insert(id.clone(), text);
        id
    }
}

/// The holder of a token, as far as who accepts it can tell. IAM never sees when the token was made and its number, nor of
/// Kubernetes' tokens the pod and the node (`whose_token` has the sources).
pub fn holder(token: &str, by: By) -> String {
    let payload = token.trim().split('.').nth(1).and_then(|payload| BASE64_URL_SAFE_NO_PAD.decode(payload).ok());
    let Some(mut claims) = payload.and_then(|payload| serde_json::from_slice::<Claims>(&payload).ok()) else {
        return token.to_owned();
    };
    claims.retain(|name, _| !["exp", "iat", "nbf", "auth_time", "jti"].contains(&name.as_str()));
    let text = |(name, value): (String, Box<RawValue>)| {
        let value = match (name.as_str(), value.get()) {
            ("aud", one) if one.starts_with('"') => format!("[{one}]"),
            ("kubernetes.io", account) => {
                let mut account: Claims = serde_json::from_str(account).expect("an object");
                account.remove("warnafter");
                account.retain(|name, _| by == By::Container || (name != "pod" && name != "node"));
                format!("{account:?}")
            }
            (_, value) => value.to_owned(),
        };
        format!("{name} {value}")
    };
    claims.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

/// With their values as they are written.
type Claims = BTreeMap<String, Box<RawValue>>;

async fn answer(State(witness): State<Witness>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let header = |name: &str| text_of(&head.headers, name);
    let keys = |text: String| {
        let id = witness.issue(text);
        json!({"Code": "Success", "AccessKeyId": id, "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"})
            .to_string()
            .into_response()
    };
    let place = witness.place();
    if header("x-amz-target").ends_with("GetAuthorizationToken") {
        return token(&witness, &path, &header("authorization"));
    }
    match path.split(['?', '/']).nth(1).unwrap_or_default() {
        "latest" if path.ends_with("/api/token") => {
            ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "session").into_response()
        }
        "latest" if path.ends_with("/security-credentials/") => "role".into_response(),
        "latest" => keys(format!("the instance in {place}")),
        "container" => {
            let by = match header("authorization") {
                token if token.is_empty() => format!("in {place}"),
                token => format!("with {}", holder(&token, By::Container)),
            };
            keys(format!("the container {path} {by}"))
        }
        "github" => {
            json!({"value": jwt_of(&github_claims(&path, &header("authorization")))}).to_string().into_response()
        }
        "federation" => {
            let role = field(&path, "role_name");
            let id = witness.issue(format!("sso {role} with {}", header("x-amz-sso_bearer_token")));
            json!({"roleCredentials": {"accessKeyId": id, "secretAccessKey": "s", "sessionToken": "t", "expiration": 4_070_908_800_000_u64}})
                .to_string()
                .into_response()
        }
        _ if body.contains("Action=AssumeRole") => {
            let role = field(&body, "RoleArn").replace("%3A", ":").replace("%2F", "/");
            let web_identity = field(&body, "WebIdentityToken");
            let by = if web_identity.is_empty() {
                let external = field(&body, "ExternalId");
                format!("by {} external {external}", witness.text(&signer(&header("authorization"))))
            } else {
                format!("with {}", holder(&web_identity, By::Sts))
            };
            let id = witness.issue(role_text(&role, &field(&body, "RoleSessionName"), &by));
            let operation = if web_identity.is_empty() { "AssumeRole" } else { "AssumeRoleWithWebIdentity" };
            format!(
                "<{operation}Response><{operation}Result><Credentials><AccessKeyId>{id}</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                 <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>i\
                 </AssumedRoleId><Arn>{role}/s</Arn></AssumedRoleUser></{operation}Result></{operation}Response>"
            )
            .into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The token of a role, or of a job of GitHub.
pub fn role_text(role: &str, session: &str, by: &str) -> String {
    format!("{role} as {session} {by}")
}

/// The claims of the token that GitHub gives a job: its request is all that tells jobs apart.
pub fn github_claims(path: &str, bearer: &str) -> String {
    json!({"iss": "https://github.example", "sub": format!("{} {bearer}", field(path, "job"))}).to_string()
}

fn token(witness: &Witness, path: &str, authorization: &str) -> Response {
    let region = authorization.split('/').nth(2).unwrap_or_default();
    let at = path.trim_matches('/');
    let text = format!("{} for {region} at /{at}", witness.text(&signer(authorization)));
    let password = witness.issue(text);
    witness.known.lock().expect("no panic").tokens += 1;
    let token = BASE64_STANDARD.encode(format!("AWS:{password}"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let data =
        json!([{"authorizationToken": token, "expiresAt": now + 12 * 60 * 60, "proxyEndpoint": "https://example"}]);
    json!({"authorizationData": data}).to_string().into_response()
}

/// The access key in a signature.
fn signer(authorization: &str) -> String {
    let scope = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
    scope.split('/').next().unwrap_or_default().to_owned()
}

fn field(text: &str, name: &str) -> String {
    let mut pairs = text.split(['&', '?']);
    pairs.find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap_or_default().to_owned()
}

fn text_of(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
