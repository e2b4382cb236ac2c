//! Asks the endpoint of a container for the keys of its role.
//!
//! The keys in the answer, and the token in the request, travel over plain HTTP only to this machine and to the addresses of ECS and
//! EKS. The token was read for the cache key, and is not read again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Request, Uri};

use super::context::Context;
use super::http::{Answer, CHECK_CONTAINER, CONTAINER, TransportError, host, secret_value};
use super::signing_keys::SigningKeys;
use crate::code::Code;
use crate::error::Failure;
use crate::fields::Fields;
use crate::identity::{Acceptor, Container, form_hint};

const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// The addresses of ECS and EKS, besides loopback.
const ADDRESSES: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];

/// How long a connection to the endpoint and its answer may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Gets the keys of the container's role.
pub(super) async fn credentials(container: &Container, context: &Context) -> Result<SigningKeys, Failure> {
    context.last.set_service(CONTAINER, None);
    check_host(&container.url, context).await?;
    let mut request = Request::get(&container.url).header(ACCEPT, "application/json").header(USER_AGENT, crate::NAME);
    if let Some(token) = authorization(container, context)? {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request.body(()).expect("made of valid parts");
    match context.network.fetch(&request, &context.limits(CONNECT_TIMEOUT, READ_TIMEOUT)).await {
        Ok(answer) => keys(&answer, container, context),
        Err(error) => {
            let failure = context.no_answer_of(&error, CHECK_CONTAINER);
            Err(failure.with_context(format!("no credentials of {CONTAINER}")))
        }
    }
}

/// Refuses an endpoint that would see the token, or send the keys, over a network without TLS.
async fn check_host(uri: &Uri, context: &Context) -> Result<(), Failure> {
    if uri.scheme_str() == Some("https") {
        return Ok(());
    }
    let name = host(uri);
    let addresses = match name.parse() {
        Ok(address) => vec![SocketAddr::new(address, 0)],
        Err(_) => match context.last.look_up(uri).await {
            Ok(addresses) => addresses,
            Err(TransportError::UnknownName) => Vec::new(),
            Err(cause) if cause.is_of_name_server() => {
                return Err(Failure::new(
                    Code::EndpointUnreachable,
                    format!("the host '{name}' in {FULL} has no address as far as is known: {cause}"),
                    "check the name servers of this machine, or name an address instead",
                ));
            }
            Err(cause) => return Err(context.no_answer(&cause)),
        },
    };
    if !addresses.is_empty() && addresses.iter().all(|address| is_allowed(address.ip())) {
        return Ok(());
    }
    let what = if addresses.is_empty() { "has no address" } else { "is another machine, and the URL is not https" };
    Err(Failure::new(
        Code::SettingInvalid,
        format!("the host '{name}' in {FULL} {what}"),
        "use https, a loopback address, or an address of ECS or EKS: 169.254.170.2, 169.254.170.23, fd00:ec2::23",
    ))
}

fn is_allowed(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || ADDRESSES.contains(&address)
}

/// The value of the header `Authorization`, if a setting has a token.
fn authorization(container: &Container, context: &Context) -> Result<Option<HeaderValue>, Failure> {
    let Some((token, place)) = container.token(context.env()) else { return Ok(None) };
    if let Some(value) = secret_value(token) {
        return Ok(Some(value));
    }
    let is_empty = token.trim_ascii().is_empty();
    let what = if is_empty { "is empty" } else { "holds characters that are invalid in a token" };
    let hint = form_hint(token, Acceptor::Container).filter(|_| !is_empty);
    let hint = hint.unwrap_or_else(|| "check the program that writes it".to_owned());
    Err(Failure::new(Code::SourceFile, format!("{place} {what}"), hint))
}

fn keys(answer: &Answer, container: &Container, context: &Context) -> Result<SigningKeys, Failure> {
    let endpoint = context.last.authority();
    let document = Fields::parse(answer.body());
    let status = answer.status().as_u16();
    if status != 200 {
        let (code, hint) = match status {
            401 | 403 if container.has_token_file() => {
                (Code::CredentialsInvalid, "check the token in AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
            }
            401 | 403 if container.token(context.env()).is_some() => {
                (Code::CredentialsInvalid, "check the token in AWS_CONTAINER_AUTHORIZATION_TOKEN")
            }
            429 => (Code::Throttled, "try again later"),
            500.. => (Code::ServiceError, "try again later, and check the agent on this node"),
            _ => (Code::CredentialsInvalid, "check the role of the task or pod, and the URI that names the endpoint"),
        };
        let what = format!("the container's endpoint {endpoint} gives no credentials: HTTP status {status}");
        let of_form = || form_hint(container.token(context.env())?.0, Acceptor::Container);
        let hint = matches!(status, 401 | 403).then(of_form).flatten().unwrap_or_else(|| hint.to_owned());
        let message = document.as_ref().and_then(|document| document.text("message"));
        return Err(Failure::new(code, what, hint).quoting(&message.unwrap_or_default()));
    }
    let unusable = |why: &str| {
        Failure::new(
            Code::AnswerInvalid,
            format!("the answer of the container's endpoint {endpoint} {why}"),
            "check the URI that names the endpoint, and the agent on this node",
        )
    };
    let document = document.ok_or_else(|| unusable("is not a JSON object"))?;
    SigningKeys::in_document(&document, "Token").map_err(unusable)
}
