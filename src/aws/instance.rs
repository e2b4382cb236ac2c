//! The role of an EC2 instance, from the instance metadata service.
//!
//! Version 2 of the service requires a session token. When the request for it is refused or has no answer, version 1 is
//! asked without a token, unless the settings disable it; so do the AWS CLI and the Go SDK. Version 2 may give no answer in a
//! container: the instance drops the token on its way through another network where its hop limit is 1. A service without a
//! connection is asked no more, so that a machine outside of EC2 does not wait twice.
//!
//! The time limit of a request is one second, and a request without an answer is not repeated, unless
//! `AWS_METADATA_SERVICE_TIMEOUT` and `AWS_METADATA_SERVICE_NUM_ATTEMPTS` say otherwise, as for the AWS CLI.

use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode};
use log::debug;

use super::context::Context;
use super::http::{Answer, INSTANCE, Limits, TransportError, is_overloaded, secret_value};
use super::sdk_error::error_name;
use super::signing_keys::SigningKeys;
use super::worker::time_left;
use crate::code::Code;
use crate::error::{Failure, one_line};
use crate::fields::Fields;

/// The path with the name of the role, and below it the keys of the role.
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// The `Code` of an answer about a role that does not trust EC2 (EC2 User Guide, "Troubleshoot IAM roles").
const UNTRUSTED: &str = "AssumeRoleUnauthorizedAccess";

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// The attempts while the service is overloaded.
const ATTEMPTS: u32 = 3;

const CHECK_ENDPOINT: &str =
    "check AWS_EC2_METADATA_SERVICE_ENDPOINT, and whether another program answers at that address";
const CHECK_OPTIONS: &str = "check the instance's metadata options, and what guards the service on this node";

/// Why version 2 gave no session token.
#[derive(Clone, Copy, Debug)]
enum NoToken {
    /// The service answered with this status.
    Refused(StatusCode),
    /// The service accepted the connection, and sent no answer.
    NoAnswer,
}

/// A session of the service.
enum Session {
    Version2(HeaderValue),
    Version1(NoToken),
}

/// A metadata service.
struct Service<'a> {
    context: &'a Context,
    base: &'a str,
    limits: Limits,
}

/// Gets the keys of the instance's role from the metadata service at `endpoint`.
pub(super) async fn credentials(endpoint: &str, context: &Context) -> Result<SigningKeys, Failure> {
    if context.metadata_is_disabled() {
        return Err(context.no_credentials("", None));
    }
    context.last.set_service(INSTANCE, None);
    let service = Service { context, base: endpoint.trim_end_matches('/'), limits: limits(context) };
    let session = service.session().await?;
    let role = service.role(&session).await?;
    service.keys(&role, &session).await
}

fn limits(context: &Context) -> Limits {
    let number = |variable: &str, key: &str| -> Option<f64> {
        let number: f64 = context.identity.setting(variable, key)?.trim().parse().ok()?;
        (number > 0.0 && number <= 3600.0).then_some(number)
    };
    let timeout = number("AWS_METADATA_SERVICE_TIMEOUT", "metadata_service_timeout").unwrap_or(1.0);
    // Neither version of the service takes the time of the other.
    let timeout = Duration::from_secs_f64(timeout).min(time_left(context.deadline) / 2);
    let attempts = number("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "metadata_service_num_attempts");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 3600")]
    let attempts = attempts.map(|attempts| attempts.ceil() as u32);
    Limits {
        attempts: attempts.unwrap_or(ATTEMPTS),
        is_temporary: match attempts {
            Some(_) => |result| result.as_ref().map_or(true, is_overloaded),
            None => |result| result.as_ref().is_ok_and(is_overloaded),
        },
        ..context.limits(timeout, timeout)
    }
}

impl Service<'_> {
    /// Requests a session token.
    async fn session(&self) -> Result<Session, Failure> {
        let no_token = match self.send(Method::PUT, "/latest/api/token", (TOKEN_TTL, "21600")).await {
            Ok(answer) if answer.status() == StatusCode::OK => {
                let token = secret_value(answer.body().trim_ascii());
                let invalid = || no_keys("its session token holds invalid characters");
                return token.map(Session::Version2).ok_or_else(invalid);
            }
            Ok(answer) if answer.status() == StatusCode::BAD_REQUEST => {
                return Err(self.refused(answer.status(), None, None));
            }
            Ok(answer) => NoToken::Refused(answer.status()),
            Err(TransportError::SlowAnswer) => NoToken::NoAnswer,
            Err(error) => return Err(self.unreachable(&error)),
        };
        let disabled = self.context.identity.setting("AWS_EC2_METADATA_V1_DISABLED", "ec2_metadata_v1_disabled");
        if disabled.is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
            return Err(self.without_token(no_token, "version 1 is disabled by AWS_EC2_METADATA_V1_DISABLED"));
        }
        debug!(why:? = no_token; "no session token of the instance metadata service; asking its version 1");
        Ok(Session::Version1(no_token))
    }

    /// The name of the instance's role.
    async fn role(&self, session: &Session) -> Result<String, Failure> {
        let answer = self.get(None, session).await?;
        let text = String::from_utf8_lossy(&answer);
        let role = text.lines().next().map(str::trim).filter(|role| !role.is_empty());
        role.map(str::to_owned).ok_or_else(|| self.refused(StatusCode::NOT_FOUND, None, None))
    }

    async fn keys(&self, role: &str, session: &Session) -> Result<SigningKeys, Failure> {
        let answer = self.get(Some(role), session).await?;
        let document = Fields::parse(&answer).ok_or_else(|| no_keys("its answer is not a JSON object"))?;
        let code = document.text("Code").unwrap_or_default();
        SigningKeys::in_document(&document, "Token").map_err(|why| match error_name(&code, &self.context.last) {
            Some(UNTRUSTED) => {
                let what = format!("EC2 may not assume this machine's role {}: {UNTRUSTED}", one_line(role));
                let hint = "let the role's trust policy trust ec2.amazonaws.com, or set AWS_PROFILE";
                let what = format!("no AWS credentials found by the instance metadata service: {what}");
                Failure::new(Code::CredentialsMissing, what, hint)
                    .quoting(&document.text("Message").unwrap_or_default())
            }
            Some(code) if !matches!(code, "" | "Success") => {
                let why = format!("for the role {}, it answers {code}", one_line(role));
                no_keys(&why).quoting(&document.text("Message").unwrap_or_default())
            }
            _ => no_keys(&format!("its answer {why}")),
        })
    }

    /// The keys of a role, or else the name of the instance's role.
    async fn get(&self, role: Option<&str>, session: &Session) -> Result<Vec<u8>, Failure> {
        let path = format!("{ROLES}{}", role.unwrap_or_default());
        let (header, no_token) = match session {
            Session::Version2(token) => ((TOKEN, token.clone()), None),
            Session::Version1(no_token) => (("accept", HeaderValue::from_static("*/*")), Some(*no_token)),
        };
        match self.send(Method::GET, &path, header).await {
            Ok(answer) if answer.status() == StatusCode::OK => Ok(answer.body().to_vec()),
            Ok(answer) => Err(self.refused(answer.status(), no_token, role)),
            Err(TransportError::SlowAnswer) => Err(match no_token {
                Some(no_token @ NoToken::NoAnswer) => self.without_token(no_token, "neither version of it answers"),
                Some(no_token) => self.without_token(no_token, "version 1 does not answer"),
                None => {
                    let what = "the instance metadata service gives a session token, and then does not answer";
                    self.context
                        .no_credentials(what, Some("try again later, or check what guards the service on this node"))
                }
            }),
            Err(TransportError::BadRequest(_)) => Err(no_keys("its answer names no role, and is not a JSON object")),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    async fn send<V>(&self, method: Method, path: &str, (name, value): (&str, V)) -> Result<Answer, TransportError>
    where
        HeaderValue: TryFrom<V, Error: Into<http::Error>>,
    {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base)).header(name, value);
        let request = request.body(()).map_err(TransportError::BadRequest)?;
        self.context.network.fetch(&request, &self.limits).await
    }

    fn unreachable(&self, error: &TransportError) -> Failure {
        if error.is_of_answer() {
            return no_keys(&error.to_string());
        }
        let failure = self.context.no_answer(error);
        if failure.code == Code::SystemLimits {
            return failure;
        }
        let at = self.context.last.authority();
        let why = match error {
            TransportError::SlowConnection(_) => format!("nothing answers at {at}"),
            error => format!("{at}: {error}"),
        };
        self.context.no_credentials(&format!("no instance metadata service ({why})"), None)
    }

    /// The failure for an answer with this status; `no_token` for a request without a session token, `role` for one for its keys.
    fn refused(&self, status: StatusCode, no_token: Option<NoToken>, role: Option<&str>) -> Failure {
        let number = status.as_u16();
        if let (404, Some(role)) = (number, role) {
            let role = one_line(role);
            let what =
                format!("the instance metadata service names the role {role}, and has no credentials of it (HTTP 404)");
            let hint = "try again in a minute if it was attached just now, check that the role exists, \
                        and the pod's role where a proxy such as kube2iam answers";
            return self.context.no_credentials(&what, Some(hint));
        }
        let (what, hint) = match (number, no_token) {
            (401 | 403, Some(no_token)) => {
                return self.without_token(no_token, &format!("version 1 is refused (HTTP {number})"));
            }
            (404, _) => {
                let what = "the instance metadata service knows no role of this instance";
                let hint = "attach a role to the instance: 'aws ec2 associate-iam-instance-profile'";
                // The service of another cloud has neither path.
                let is_of_ec2 = !matches!(no_token, Some(NoToken::Refused(StatusCode::NOT_FOUND)));
                return self.context.no_credentials(what, is_of_ec2.then_some(hint));
            }
            (400, _) => ("does not understand the request", CHECK_ENDPOINT),
            (401, None) => ("rejects its own session token", "try again"),
            (403, None) => ("denies access", CHECK_OPTIONS),
            (405, _) => ("does not support the request", CHECK_ENDPOINT),
            (429, _) => ("limits the rate of requests", "try again later"),
            (500.., _) => ("has an error of its own", "try again later"),
            _ => ("gives none", CHECK_ENDPOINT),
        };
        self.context.no_credentials(&format!("the instance metadata service {what} (HTTP {number})"), Some(hint))
    }

    /// The failure when version 2 gave no token and version 1 no answer, for this reason.
    fn without_token(&self, no_token: NoToken, version_1: &str) -> Failure {
        let (what, hint) = match no_token {
            NoToken::Refused(status) => {
                (format!("refuses to give a session token (HTTP {})", status.as_u16()), CHECK_OPTIONS)
            }
            NoToken::NoAnswer => (
                "accepts connections but does not answer".to_owned(),
                "in a container, raise the instance's metadata hop limit to 2: \
                 'aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2'",
            ),
        };
        let what = format!("the instance metadata service {what}, and {version_1}");
        self.context.no_credentials(&what, Some(hint))
    }
}

/// The failure for an answer without keys. Outside of AWS, another program may answer at the service's address.
fn no_keys(why: &str) -> Failure {
    let what = "no AWS credentials found: the answer at the address of the instance metadata service holds none";
    let hint = "set AWS_PROFILE, run 'aws configure' or 'aws configure sso', or give this machine a role";
    Failure::new(Code::CredentialsMissing, format!("{what} ({why})"), hint)
}
