//! The last request and its answer, which messages name.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use http::{Request, Uri};

use super::{CHECK_NAME_SERVERS, NamedProxy, TransportError, authority, host, host_of, is_https, locked};
use crate::aws::dns::Resolver;
use crate::code::Code;
use crate::error::Failure;
use crate::fields::Fields;
use crate::secret::Secret;

/// The last request and its answer. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::aws) struct LastRequest {
    last: Arc<Mutex<Last>>,
    /// Knows which names it still waits for.
    pub(super) resolver: Resolver,
}

#[derive(Debug, Default)]
struct Last {
    /// Host and port that it went to; empty before the first request.
    authority: String,
    proxy: Option<NamedProxy>,
    /// Whether it is sent in TLS, through a tunnel if there is a proxy.
    is_tls: bool,
    /// Whether there is a connection for it.
    is_connected: bool,
    /// The service that is asked, and the role that is requested from it.
    service: Option<&'static str>,
    role: Option<String>,
    /// How its session token does not fit its access key.
    wrong_token: Option<WrongToken>,
    /// The `Date` header of the answer.
    date: Option<DateTime>,
    /// The tokens that it sent in headers, without the scheme before them, and its body.
    sent: Vec<Secret>,
}

/// How a session token does not fit the id of an access key (IAM User Guide, "IAM identifiers").
#[derive(Clone, Copy, Debug)]
pub(in crate::aws) enum WrongToken {
    /// A temporary key has none.
    Missing,
    /// A lasting key has that of another one.
    OfAnother,
}

/// The headers that hold a token.
const TOKENS: [&str; 4] =
    ["authorization", "x-amz-security-token", "x-amz-sso_bearer_token", "x-aws-ec2-metadata-token"];

/// The fields of a body that hold a secret, when a sign-in is renewed.
const SECRET_FIELDS: [&str; 2] = ["clientSecret", "refreshToken"];

/// Services that are none of AWS's on the network.
pub(in crate::aws) const CONTAINER: &str = "the container's endpoint";
pub(in crate::aws) const INSTANCE: &str = "the instance metadata service";
/// What takes the time although nothing is asked over the network.
pub(in crate::aws) const PROCESS: &str = "the credential_process";

/// The fix where it does not answer.
pub(in crate::aws) const RUN_BY_HAND: &str =
    "run it by hand to see what it waits for (it can ask at the terminal, and has no standard input)";

/// The fix where a container's endpoint does not answer.
pub(in crate::aws) const CHECK_CONTAINER: &str = "check that the endpoint is running, and the URI that names it";

/// The shortest token that is hidden, in bytes: a shorter one is part of many words.
const SHORTEST_TOKEN: usize = 4;

impl LastRequest {
    /// Begins a request to `authority`.
    pub(super) fn begin(&self, authority: String, proxy: Option<NamedProxy>, request: &Request<SdkBody>) {
        let tokens = TOKENS.iter().filter_map(|name| request.headers().get(*name)?.to_str().ok()?.rsplit(' ').next());
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default());
        let fields = Fields::parse(body.as_bytes());
        let of_sign_in = SECRET_FIELDS.iter().filter_map(|name| Some(fields.as_ref()?.text(name)?.into()));
        let sent = tokens.chain([&*body]).map(|text| text.to_owned().into()).chain(of_sign_in).collect();
        let signed_with = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let begins = |id: &str| signed_with.is_some_and(|value| value.contains(&format!("Credential={id}")));
        let wrong_token = match request.headers().contains_key("x-amz-security-token") {
            false if begins("ASIA") => Some(WrongToken::Missing),
            true if begins("AKIA") => Some(WrongToken::OfAnother),
            _ => None,
        };
        let mut last = self.last();
        let (service, role) = (last.service, last.role.take());
        let is_tls = is_https(request.uri());
        *last = Last { authority, proxy, is_tls, is_connected: false, service, role, wrong_token, date: None, sent };
    }

    pub(super) fn set_connected(&self) {
        self.last().is_connected = true;
    }

    /// Whether the last request had this text in a token or in its body.
    pub(in crate::aws) fn has_sent(&self, text: &str) -> bool {
        self.last().sent.iter().any(|sent| sent.expose().contains(text))
    }

    /// Looks up the host of a request that is still to begin, which will go to no other address.
    pub(in crate::aws) async fn look_up(&self, uri: &Uri) -> Result<Vec<SocketAddr>, TransportError> {
        self.last().authority = authority(uri);
        self.resolver.look_up_once(host(uri)).await.map_err(TransportError::from_name)
    }

    /// Hides what the last request sent in a text that may quote the answer to it. A token that looks like a word is none that the
    /// mask of a quote takes for a secret.
    pub(in crate::aws) fn without_tokens(&self, text: String) -> String {
        let last = self.last();
        let tokens = last.sent.iter().map(Secret::expose).filter(|token| token.len() >= SHORTEST_TOKEN);
        tokens.fold(text, |text, token| text.replace(token, "…"))
    }

    /// How the session token of the last request did not fit its access key.
    pub(in crate::aws) fn wrong_token(&self) -> Option<WrongToken> {
        self.last().wrong_token
    }

    /// Sets the time that its answer says.
    pub(super) fn set_date(&self, date: Option<DateTime>) {
        self.last().date = date;
    }

    /// Sets the service that is asked next, and the role that is requested from it.
    pub(in crate::aws) fn set_service(&self, name: &'static str, role: Option<&str>) {
        let mut last = self.last();
        (last.service, last.role) = (Some(name), role.map(str::to_owned));
        last.authority.clear();
    }

    /// Whether this service is asked.
    pub(in crate::aws) fn is_of(&self, service: &str) -> bool {
        self.last().service == Some(service)
    }

    /// Host and port that the last request went to; empty before the first.
    pub(in crate::aws) fn authority(&self) -> String {
        self.last().authority.clone()
    }

    /// The proxy that the last request went through.
    pub(in crate::aws) fn proxy(&self) -> Option<NamedProxy> {
        self.last().proxy.clone()
    }

    /// Whether there was a connection to the service itself, whatever proxy is on the way.
    pub(in crate::aws) fn has_reached_service(&self) -> bool {
        let last = self.last();
        last.is_connected && (last.is_tls || last.proxy.is_none())
    }

    /// The time at AWS when it last answered; the local time when the answer had no date.
    pub(in crate::aws) fn time_at_aws(&self) -> DateTime {
        self.last().date.unwrap_or_else(|| SystemTime::now().into())
    }

    /// How many seconds the clock of this machine was ahead of the clock of AWS at the last answer.
    pub(in crate::aws) fn clock_ahead(&self) -> i64 {
        DateTime::from(SystemTime::now()).secs() - self.time_at_aws().secs()
    }

    /// The failure when the time is over, and the last request has no answer.
    pub(in crate::aws) fn timed_out(&self) -> Failure {
        let Last { authority, proxy, is_connected, service, role, .. } = &*self.last();
        let host = host_of(proxy.as_ref().map_or(authority, |proxy| &proxy.authority));
        if self.resolver.is_waiting_for(host) {
            let what = format!("the name {host} could not be resolved in time");
            return Failure::new(Code::Timeout, what, format!("{CHECK_NAME_SERVERS}, or raise AWS_ECR_TIMEOUT"));
        }
        if let (Some(proxy), false) = (proxy, is_connected) {
            let what = format!("there was no connection to {authority} through the proxy {} in time", proxy.authority);
            return Failure::new(Code::Timeout, what, format!("{}, or raise AWS_ECR_TIMEOUT", proxy.hint()));
        }
        let service = service.unwrap_or("AWS");
        let check = match service {
            CONTAINER => CHECK_CONTAINER,
            PROCESS => RUN_BY_HAND,
            INSTANCE => "check AWS_EC2_METADATA_SERVICE_ENDPOINT if it is set, and the instance's metadata hop limit",
            "GitHub" | "SSO" | "AWS Sign-In" => "check the network and HTTPS_PROXY",
            _ => "check the network, HTTPS_PROXY and a VPC endpoint if there is one",
        };
        let at = if authority.is_empty() { String::new() } else { format!(" at {authority}") };
        let of = role.as_ref().map_or_else(String::new, |role| format!(", asked for the role {role},"));
        let what = format!("{service}{at}{of} did not answer in time");
        Failure::new(Code::Timeout, what, format!("{check}, or raise AWS_ECR_TIMEOUT"))
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        locked(&self.last)
    }
}
