//! What credentials come from: STS, IAM Identity Center, the container endpoint and the instance metadata service.
//! The access keys that it issues name the request for them, and a token names the access key that requested it.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::aws::{Call, json};

/// Who answers a request that has no signature.
pub fn service(path: &str, body: &str) -> &'static str {
    if path.starts_with("/federation/credentials") {
        "sso"
    } else if path == "/token" {
        "sso-oidc"
    } else if path.starts_with("/latest/") {
        "imds"
    } else if body.contains("Action=AssumeRoleWithWebIdentity") {
        "sts"
    } else {
        "container"
    }
}

/// A refusal where STS wants the code of an MFA device, and the request has none or another.
pub fn check_mfa(call: &Call, code: Option<&str>) -> Option<Response> {
    let code = code?;
    if !matches!(call.operation.as_str(), "AssumeRole" | "GetSessionToken") {
        return None;
    }
    let has = |name: &str| call.body.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    let message = match (has("TokenCode"), has("SerialNumber")) {
        (Some(given), Some(_)) if given == code => return None,
        (Some(_), _) => "MultiFactorAuthentication failed with invalid MFA one time pass code.",
        (None, _) => "User: arn:aws:iam::111122223333:user/me is not authorized to perform: sts:AssumeRole",
    };
    let error = format!("<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>");
    Some((StatusCode::FORBIDDEN, format!("<ErrorResponse>{error}</ErrorResponse>")).into_response())
}

/// The answer, when the request is about credentials.
pub fn answer(call: &Call, session: &str) -> Option<Response> {
    let of_bearer = format!("{:x}", Sha256::digest(&call.bearer));
    let session = format!("{session}-{}", &of_bearer[..8]);
    let field = |text: &str, name: &str| {
        text.split(['&', '?']).find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
    };
    let expiration = DateTime::from(std::time::SystemTime::now() + std::time::Duration::from_hours(1));
    let milliseconds = expiration.to_millis().expect("a current time");
    let expiration = expiration.fmt(Format::DateTime).expect("a current time");
    let flat = |key: &str| {
        let body = format!(
            r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{key}","SecretAccessKey":"s","Token":"{session}","Expiration":"{expiration}"}}"#
        );
        json(StatusCode::OK, body)
    };
    Some(match (call.service.as_str(), call.operation.as_str(), call.path.as_str()) {
        ("sts", "GetCallerIdentity", _) => format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult>\
             <Arn>arn:aws:iam::111122223333:user/{}</Arn><UserId>i</UserId><Account>111122223333</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>",
            call.access_key
        )
        .into_response(),
        ("sts", operation, _) => {
            let role = field(&call.body, "RoleArn").unwrap_or_default();
            let role = role.rsplit("%2F").next().unwrap_or_default();
            let by = field(&call.body, "WebIdentityToken").map_or(call.access_key.clone(), |_| "jwt".to_owned());
            let credentials = format!(
                "<Credentials><AccessKeyId>ASIA-{role}-by-{by}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
                 <SessionToken>{session}</SessionToken><Expiration>{expiration}</Expiration></Credentials>\
                 <AssumedRoleUser><AssumedRoleId>i</AssumedRoleId>\
                 <Arn>arn:aws:sts::111122223333:assumed-role/{role}/s</Arn></AssumedRoleUser>"
            );
            format!("<{operation}Response><{operation}Result>{credentials}</{operation}Result></{operation}Response>")
                .into_response()
        }
        ("sso", ..) => {
            let role = field(&call.path, "role_name").unwrap_or_default();
            json(
                StatusCode::OK,
                format!(
                    r#"{{"roleCredentials":{{"accessKeyId":"ASIA-sso-{role}","secretAccessKey":"s","sessionToken":"{session}","expiration":{milliseconds}}}}}"#
                ),
            )
        }
        ("sso-oidc", ..) => json(
            StatusCode::OK,
            r#"{"accessToken":"refreshed","expiresIn":3600,"refreshToken":"again","tokenType":"Bearer"}"#.to_owned(),
        ),
        ("imds", _, "/latest/api/token") => {
            ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "imds-session").into_response()
        }
        ("imds", _, "/latest/meta-data/iam/security-credentials/") => "instance-role".into_response(),
        ("imds", ..) => flat("ASIA-instance"),
        ("container", _, path) => flat(&format!("ASIA-container{}", path.replace('/', "-"))),
        _ => return None,
    })
}
