//! Bazel's credential helper protocol: `get` reads a URI as JSON from standard input and prints the headers for a request to it
//! (EngFlow's credential-helper-spec, `spec.md`).
//!
//! The word `get` is also an action of docker's protocol. The input decides, since no server URL is a JSON object. rules_img
//! uses Bazel's protocol too, with a bare host as the URI.
//!
//! The scope of `--credential_helper` is a domain with its subdomains, or everything, so the helper is also asked about hosts
//! that are not ECR's, among them those of S3 that ECR sends clients to. An error would fail these downloads, and the
//! specification's answer for "no credentials are needed" lets them go on. It is also the answer for a URI without TLS.
//!
//! ECR takes its token as `Basic`. ECR Public takes that only where it gives out tokens for single requests, and for the
//! requests themselves the same text as `Bearer` (Amazon ECR Public user guide, "Registry authentication").
//!
//! An error goes to standard error alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::display_time::rfc3339;
use crate::registry::Registry;
use crate::secret::Secret;
use crate::token::Token;
use crate::token_provider::IssuedToken;

/// A request. Unknown fields of later versions are ignored.
#[derive(Deserialize)]
pub struct Request {
    uri: String,
}

/// The response.
#[derive(Default, Serialize)]
pub struct Response {
    headers: BTreeMap<&'static str, [Secret; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

impl Request {
    /// Parses a request; `None` for anything else, e.g. a request of docker's protocol.
    pub fn read(input: &[u8]) -> Option<Self> {
        // A host starts with another byte; skips the parser for it.
        if input.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        serde_json::from_str(str::from_utf8(input).ok()?).ok()
    }

    /// The URI as the server URL of a registry; `None` where a token would travel without TLS.
    pub fn server_url(&self) -> Option<&str> {
        let uri = self.uri.trim();
        match uri.split_once("://") {
            Some((scheme, _)) if !scheme.eq_ignore_ascii_case("https") => None,
            _ => Some(uri),
        }
    }
}

impl Response {
    /// The headers for a request, with the token that its registry takes.
    pub fn new(request: &Request, token: &Token, issued: Option<&IssuedToken>) -> Self {
        let public = Registry::parse(&request.uri).is_some_and(|registry| registry.is_public());
        let scheme = if public && request.uri.contains("/v2/") { "Bearer" } else { "Basic" };
        let value = Secret::from(format!("{scheme} {}", *token.encode()));
        let expires = issued.and_then(IssuedToken::expires_at).map(rfc3339);
        Self { headers: BTreeMap::from([("Authorization", [value])]), expires }
    }
}
