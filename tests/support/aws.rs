//! A stand-in for AWS over real HTTP: answers `GetAuthorizationToken` of ECR and ECR Public, and what credentials come
//! from (see `credentials`); notes every request, and misbehaves on demand.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::credentials;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation, such as `GetAuthorizationToken`.
    pub operation: String,
    /// The service in the signature's scope, such as `ecr`; for requests without a signature what answers them.
    pub service: String,
    /// The region in the signature's scope.
    pub region: String,
    /// Who signed it.
    pub access_key: String,
    /// The session token beside the signature.
    pub session_token: String,
    /// What authorizes a request without a signature.
    pub bearer: String,
    /// Path and query.
    pub path: String,
    /// The whole body.
    pub body: String,
}

/// How the stand-in answers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Before any answer.
    pub delay: Duration,
    /// The service that delay, failures, junk and date are for.
    pub service: &'static str,
    /// How many of its next requests are answered with `failure`.
    pub failures: usize,
    /// Status, error code and message.
    pub failure: (u16, &'static str, &'static str),
    /// Instead of any answer of the API.
    pub junk: Option<&'static str>,
    /// How long the tokens live, in seconds; negative for tokens that come expired.
    pub life: i64,
    /// How far the clock of this AWS is ahead, in seconds.
    pub ahead: i64,
    /// The code of everybody's MFA device: then a role, or a session of a user, is only given for it.
    pub mfa_code: Option<&'static str>,
    /// What the session tokens that it issues begin with. Those for another bearer token are others.
    pub session: &'static str,
    /// The password of all tokens; without one each has its own, which names caller and region.
    pub password: Option<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            service: "ecr",
            failures: 0,
            failure: (500, "ServerException", "stand-in failure"),
            junk: None,
            life: 12 * 60 * 60,
            ahead: 0,
            mfa_code: None,
            session: "t",
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
        let aws = Self { shared, address };
        crate::support::serve(listener, aws.app());
        aws
    }

    /// What answers, to be served elsewhere too.
    pub fn app(&self) -> axum::Router {
        axum::Router::new().fallback(answer).with_state(self.shared.clone())
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

    /// How many requests of `service` there were so far.
    pub fn count_of(&self, service: &str) -> usize {
        self.calls().iter().filter(|call| call.service == service).count()
    }

    /// Changes how it answers.
    pub fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.shared.plan.lock().expect("plan"));
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let call = read(&head, &body);
    let (plan, number, failing) = {
        let mut calls = shared.calls.lock().expect("calls");
        calls.push(call.clone());
        let mut plan = shared.plan.lock().expect("plan");
        let meant = call.service.starts_with(plan.service);
        let failing = plan.failures > 0 && meant;
        plan.failures -= usize::from(failing);
        let delay = if meant { plan.delay } else { Duration::ZERO };
        let junk = if meant { plan.junk } else { None };
        (Plan { delay, junk, ..plan.clone() }, calls.len(), failing)
    };
    // A pause of nothing would still last until the timer's next millisecond.
    if !plan.delay.is_zero() {
        tokio::time::sleep(plan.delay).await;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a current time")]
    let date = DateTime::from_secs((now + plan.ahead as f64) as i64).fmt(Format::HttpDate).expect("a date");
    if let Some(junk) = plan.junk {
        return json(StatusCode::OK, junk.to_owned());
    }
    if failing {
        let (status, code, message) = plan.failure;
        let status = StatusCode::from_u16(status).expect("a status");
        let mut response = if call.service == "sts" {
            let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
            (status, format!("<ErrorResponse>{error}</ErrorResponse>")).into_response()
        } else {
            json(status, format!(r#"{{"__type":"{code}","message":"{message}"}}"#))
        };
        response.headers_mut().insert(header::DATE, date.parse().expect("a header"));
        return response;
    }
    if let Some(response) = credentials::check_mfa(&call, plan.mfa_code) {
        return response;
    }
    if let Some(response) = credentials::answer(&call, plan.session) {
        return response;
    }
    if call.operation != "GetAuthorizationToken" {
        return json(StatusCode::BAD_REQUEST, r#"{"__type":"UnknownOperationException"}"#.to_owned());
    }
    let password = plan.password.unwrap_or_else(|| format!("{}.{}.{number}", call.access_key, call.region));
    let token = BASE64_STANDARD.encode(format!("AWS:{password}"));
    #[expect(clippy::cast_precision_loss, reason = "lives are small numbers")]
    let expires = now + (plan.life + plan.ahead) as f64;
    let proxy = format!("https://111122223333.dkr.ecr.{}.amazonaws.com", call.region);
    let token = format!(r#"{{"authorizationToken":"{token}","expiresAt":{expires:.3},"proxyEndpoint":"{proxy}"}}"#);
    let token = if call.service == "ecr-public" { token } else { format!("[{token}]") };
    let mut response = json(StatusCode::OK, format!(r#"{{"authorizationData":{token}}}"#));
    response.headers_mut().insert(header::DATE, date.parse().expect("a header"));
    response
}

pub(super) fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body).into_response()
}

fn read(head: &Parts, body: &Bytes) -> Call {
    let header =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    // AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …
    let authorization = header("authorization");
    let is_signed = authorization.contains("Credential=");
    let scope = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
    let mut scope = scope.split(',').next().unwrap_or_default().split('/');
    let access_key = scope.next().unwrap_or_default().to_owned();
    let (_date, region) = (scope.next(), scope.next().unwrap_or_default().to_owned());
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let body = String::from_utf8_lossy(body).into_owned();
    let action = body.split('&').find_map(|pair| pair.strip_prefix("Action=")).map(str::to_owned);
    let service = match scope.next() {
        Some(service) => service,
        None => credentials::service(&path, &body),
    };
    Call {
        operation: action.unwrap_or_else(|| header("x-amz-target").rsplit('.').next().unwrap_or_default().to_owned()),
        service: service.to_owned(),
        region,
        access_key,
        session_token: header("x-amz-security-token"),
        bearer: if is_signed { String::new() } else { authorization + &header("x-amz-sso_bearer_token") },
        path,
        body,
    }
}
