//! A stand-in for AWS over real HTTP: answers `GetAuthorizationToken` of ECR and ECR Public, notes every request,
//! and misbehaves on demand.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation, such as `GetAuthorizationToken`.
    pub operation: String,
    /// The service in the signature's scope: `ecr` or `ecr-public`.
    pub service: String,
    /// The region in the signature's scope.
    pub region: String,
    /// Who signed it.
    pub access_key: String,
    /// The whole body.
    pub body: String,
}

/// How the stand-in answers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Before any answer.
    pub delay: Duration,
    /// How many of the next requests are answered with `failure`.
    pub failures: usize,
    /// Status, error code and message.
    pub failure: (u16, &'static str, &'static str),
    /// Instead of any answer of the API.
    pub junk: Option<&'static str>,
    /// How long the tokens live, in seconds; negative for tokens that come expired.
    pub life: i64,
    /// The password of all tokens; without one each has its own, which names caller and region.
    pub password: Option<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            failures: 0,
            failure: (500, "ServerException", "stand-in failure"),
            junk: None,
            life: 12 * 60 * 60,
            password: None,
        }
    }
}

#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    plan: Mutex<Plan>,
}

/// A running stand-in; it ends with the process.
pub struct Aws {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Aws {
    /// Starts one on a free port of loopback.
    pub fn start() -> Self {
        Self::with(Plan::default())
    }

    /// Starts one that answers by `plan`.
    pub fn with(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared { calls: Mutex::default(), plan: Mutex::new(plan) });
        let app = axum::Router::new().fallback(answer).with_state(shared.clone());
        crate::support::serve(listener, app);
        Self { shared, address }
    }

    /// For `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().expect("calls").clone()
    }

    /// How many requests there were so far.
    pub fn count(&self) -> usize {
        self.shared.calls.lock().expect("calls").len()
    }

    /// Changes how it answers.
    pub fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.shared.plan.lock().expect("plan"));
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let call = read(&head.headers, &body);
    let (plan, number, failing) = {
        let mut calls = shared.calls.lock().expect("calls");
        calls.push(call.clone());
        let mut plan = shared.plan.lock().expect("plan");
        let failing = plan.failures > 0;
        plan.failures = plan.failures.saturating_sub(1);
        (plan.clone(), calls.len(), failing)
    };
    tokio::time::sleep(plan.delay).await;
    if let Some(junk) = plan.junk {
        return json(StatusCode::OK, junk.to_owned());
    }
    if failing {
        let (status, code, message) = plan.failure;
        let status = StatusCode::from_u16(status).expect("a status");
        return json(status, format!(r#"{{"__type":"{code}","message":"{message}"}}"#));
    }
    if call.operation != "GetAuthorizationToken" {
        return json(StatusCode::BAD_REQUEST, r#"{"__type":"UnknownOperationException"}"#.to_owned());
    }
    let password = plan.password.unwrap_or_else(|| format!("{}.{}.{number}", call.access_key, call.region));
    let token = BASE64_STANDARD.encode(format!("AWS:{password}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "lives are small numbers")]
    let expires = now + plan.life as f64;
    let data = format!(r#"{{"authorizationToken":"{token}","expiresAt":{expires:.3}}}"#);
    let data = if call.service == "ecr-public" { data } else { format!("[{data}]") };
    json(StatusCode::OK, format!(r#"{{"authorizationData":{data}}}"#))
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body).into_response()
}

fn read(headers: &HeaderMap, body: &Bytes) -> Call {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    // AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …
    let authorization = header("authorization");
    let scope = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
    let mut scope = scope.split(',').next().unwrap_or_default().split('/');
    let access_key = scope.next().unwrap_or_default().to_owned();
    let (_date, region) = (scope.next(), scope.next().unwrap_or_default().to_owned());
    Call {
        operation: header("x-amz-target").rsplit('.').next().unwrap_or_default().to_owned(),
        service: scope.next().unwrap_or_default().to_owned(),
        region,
        access_key,
        body: String::from_utf8_lossy(body).into_owned(),
    }
}
