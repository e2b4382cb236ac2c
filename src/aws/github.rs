//! Requests the identity token of a GitHub Actions job: a JWT that names the repository and ref of the job.
//!
//! The runner sets a URL and a bearer token for the request in each job with `permissions: id-token: write` (GitHub Docs,
//! "OpenID Connect reference").

use std::time::Instant;

use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::{Request, Uri};
use log::debug;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::context::Context;
use super::http::secret_value;
use super::sdk_config::{CONNECT_TIMEOUT, READ_TIMEOUT};
use crate::code::Code;
use crate::error::Failure;
use crate::secret::Secret;

/// The audience of the token, which STS checks.
const AUDIENCE: &str = "sts.amazonaws.com";

/// The part of GitHub's answer that is used.
#[derive(Deserialize)]
struct TokenAnswer {
    value: Secret,
}

/// Requests the token of the job from GitHub.
pub(super) async fn token(url: &str, bearer: &Secret, context: &Context) -> Result<Secret, Failure> {
    let separator = if url.contains('?') { '&' } else { '?' };
    let invalid = |what| Failure::new(Code::SettingInvalid, what, "leave it as GitHub Actions sets it");
    let uri: Uri = format!("{url}{separator}audience={AUDIENCE}")
        .parse()
        .map_err(|_| invalid("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL"))?;
    let bearer = Zeroizing::new(format!("bearer {}", bearer.expose()));
    let bearer = secret_value(bearer.as_bytes())
        .ok_or_else(|| invalid("ACTIONS_ID_TOKEN_REQUEST_TOKEN holds characters that are invalid in a token"))?;
    let started = Instant::now();
    context.last.set_service("GitHub", None);
    let request = Request::get(uri).header(AUTHORIZATION, bearer).header(ACCEPT, "application/json");
    let request = request.header(USER_AGENT, crate::NAME).body(()).expect("made of valid parts");
    let limits = context.limits(CONNECT_TIMEOUT, READ_TIMEOUT);
    let answer = context.network.fetch(&request, &limits).await.map_err(|error| context.github_failure(&error))?;
    let status = answer.status().as_u16();
    if status != 200 {
        let (code, hint) = match status {
            429 => (Code::Throttled, "try again later"),
            500.. => (Code::ServiceError, "try again later, and see githubstatus.com"),
            _ => (
                Code::WebIdentityDenied,
                "check 'permissions: id-token: write', and that the job still runs, or try again",
            ),
        };
        let what = format!("GitHub gives this job no identity token: HTTP status {status}");
        return Err(Failure::new(code, what, hint));
    }
    let answer: Option<TokenAnswer> = serde_json::from_slice(answer.body()).ok();
    let token = answer.map(|answer| answer.value).filter(|token| is_token(token.expose()));
    let (endpoint, took_ms) = (context.last.authority(), started.elapsed().as_millis());
    debug!(endpoint, took_ms; "requested the identity token of the job from GitHub");
    token.ok_or_else(|| {
        Failure::new(
            Code::AnswerInvalid,
            format!("the answer of {endpoint} holds no identity token"),
            "check whether a proxy or a captive portal answers",
        )
    })
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
