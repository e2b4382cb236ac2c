//! A small registry in memory: pushes and pulls by the OCI distribution specification, for one user and password.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

#[derive(Default)]
struct Content {
    /// Blobs and manifests by digest, manifests also by `name:tag`, each with its media type.
    stored: HashMap<String, (String, Vec<u8>)>,
    /// Bytes of uploads under way.
    uploads: HashMap<String, Vec<u8>>,
}

struct Shared {
    authorization: String,
    content: Mutex<Content>,
}

/// One that lets in who has this password.
pub fn registry(username: &str, password: &str) -> Router {
    let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")));
    let shared = Arc::new(Shared { authorization, content: Mutex::default() });
    Router::new().fallback(answer).with_state(shared)
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let sent = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if sent != Some(shared.authorization.as_str()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"registry\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    let body = to_bytes(body, 64 << 20).await.unwrap_or_default().to_vec();
    let mut content = shared.content.lock().expect("the content");
    let path = head.uri.path().trim_matches('/');
    let query = head.uri.query().unwrap_or_default().replace("%3A", ":");
    let asked_digest = query.split('&').find_map(|pair| pair.strip_prefix("digest="));
    let parts: Vec<&str> = path.split('/').collect();
    let read = head.method == Method::GET || head.method == Method::HEAD;
    match parts.as_slice() {
        ["v2"] => StatusCode::OK.into_response(),
        ["v2", .., "blobs", "uploads"] if head.method == Method::POST => {
            let id = content.uploads.len().to_string();
            content.uploads.insert(id.clone(), Vec::new());
            located(StatusCode::ACCEPTED, &format!("/{path}/{id}"))
        }
        ["v2", .., "blobs", "uploads", id] => {
            let Some(upload) = content.uploads.get_mut(*id) else { return StatusCode::NOT_FOUND.into_response() };
            upload.extend(body);
            let Some(wanted) = asked_digest else { return located(StatusCode::ACCEPTED, &format!("/{path}")) };
            let bytes = std::mem::take(upload);
            if digest(&bytes) != wanted {
                return StatusCode::BAD_REQUEST.into_response();
            }
            content.stored.insert(wanted.to_owned(), ("application/octet-stream".to_owned(), bytes));
            located(StatusCode::CREATED, &format!("/v2/blobs/{wanted}"))
        }
        ["v2", .., "blobs", digest] if read => found(content.stored.get(*digest)),
        ["v2", name @ .., "manifests", reference] => {
            let tag = format!("{}:{reference}", name.join("/"));
            if read {
                return found(content.stored.get(&tag).or_else(|| content.stored.get(*reference)));
            }
            let stored = (media_type(&head.headers), body);
            let digest = digest(&stored.1);
            content.stored.insert(tag, stored.clone());
            content.stored.insert(digest.clone(), stored);
            located(StatusCode::CREATED, &format!("/v2/{}/manifests/{digest}", name.join("/")))
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn located(status: StatusCode, location: &str) -> Response {
    (status, [(header::LOCATION, location)]).into_response()
}

fn found(stored: Option<&(String, Vec<u8>)>) -> Response {
    let Some((media_type, bytes)) = stored else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [("content-type", media_type.clone()), ("docker-content-digest", digest(bytes))];
    (StatusCode::OK, headers, bytes.clone()).into_response()
}

fn media_type(headers: &HeaderMap) -> String {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}
