//! The last request and its answer, which messages name.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use http::Request;

use super::{CHECK_NAME_SERVERS, NamedProxy, host_of, locked};
use crate::aws::dns::Resolver;
use crate::code::Code;
use crate::error::Failure;
use crate::identity::Source;
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
    /// Whether there is a connection for it.
    is_connected: bool,
    /// The role that is requested from STS.
    role: Option<String>,
    /// The `Date` header of the answer.
    date: Option<DateTime>,
    /// The tokens that it sent in headers, without the scheme before them, and its body.
    sent: Vec<Secret>,
}

/// The headers that hold a token.
const TOKENS: [&str; 4] =
    ["authorization", "x-amz-security-token", "x-amz-sso_bearer_token", "x-aws-ec2-metadata-token"];

/// The shortest token that is hidden, in bytes: a shorter one is part of many words.
const SHORTEST_TOKEN: usize = 4;

impl LastRequest {
    /// Begins a request to `authority`.
    pub(super) fn begin(&self, authority: String, proxy: Option<NamedProxy>, request: &Request<SdkBody>) {
        let role = self.last().role.take();
        let tokens = TOKENS.iter().filter_map(|name| request.headers().get(*name)?.to_str().ok()?.rsplit(' ').next());
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default());
        let sent = tokens.chain([&*body]).map(|text| text.to_owned().into()).collect();
        *self.last() = Last { authority, proxy, is_connected: false, role, date: None, sent };
    }

    pub(super) fn set_connected(&self) {
        self.last().is_connected = true;
    }

    /// Whether the last request had this text in a token or in its body.
    pub(in crate::aws) fn has_sent(&self, text: &str) -> bool {
        self.last().sent.iter().any(|sent| sent.expose().contains(text))
    }

    /// Hides what the last request sent in a text that may quote the answer to it. A token that looks like a word is none that the
    /// mask of a quote takes for a secret.
    pub(in crate::aws) fn without_tokens(&self, text: String) -> String {
        let last = self.last();
        let tokens = last.sent.iter().map(Secret::expose).filter(|token| token.len() >= SHORTEST_TOKEN);
        tokens.fold(text, |text, token| text.replace(token, "…"))
    }

    /// Sets the time that its answer says.
    pub(super) fn set_date(&self, date: Option<DateTime>) {
        self.last().date = date;
    }

    /// Sets the role that is requested next.
    pub(in crate::aws) fn set_role(&self, arn: Option<&str>) {
        self.last().role = arn.map(str::to_owned);
    }

    /// Host and port that the last request went to; empty before the first.
    pub(in crate::aws) fn authority(&self) -> String {
        self.last().authority.clone()
    }

    /// The proxy that the last request went through.
    pub(in crate::aws) fn proxy(&self) -> Option<NamedProxy> {
        self.last().proxy.clone()
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
    pub(in crate::aws) fn timed_out(&self, source: &Source) -> Failure {
        let Last { authority, proxy, is_connected, role, .. } = &*self.last();
        let host = host_of(proxy.as_ref().map_or(authority, |proxy| &proxy.authority));
        if self.resolver.is_waiting_for(host) {
            let what = format!("the name {host} could not be resolved in time");
            return Failure::new(Code::Timeout, what, format!("{CHECK_NAME_SERVERS}, or raise AWS_ECR_TIMEOUT"));
        }
        if let (Some(proxy), false) = (proxy, is_connected) {
            let what = format!("there was no connection to {authority} through the proxy {} in time", proxy.authority);
            return Failure::new(Code::Timeout, what, format!("{}, or raise AWS_ECR_TIMEOUT", proxy.hint()));
        }
        let first = source.asks_before_aws();
        let who = match (first, role) {
            (Some(service), _) => format!("{service} and AWS"),
            (None, _) if authority.is_empty() => "AWS".to_owned(),
            (None, Some(role)) => format!("STS at {authority}, asked for the role {role},"),
            (None, None) => format!("AWS at {authority}"),
        };
        let check = match first {
            Some(_) => "the network and HTTPS_PROXY",
            None => "the network, HTTPS_PROXY and a VPC endpoint if there is one",
        };
        let hint = format!("check {check}, or raise AWS_ECR_TIMEOUT");
        Failure::new(Code::Timeout, format!("{who} did not answer in time"), hint)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        locked(&self.last)
    }
}
