//! Parses the JSON documents in which programs and endpoints give access keys.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A JSON object with an access key. Names are matched without case where none is the same, as by the Go SDK.
pub(super) struct KeyDocument(Map<String, Value>);

impl KeyDocument {
    /// Parses a document. `None` when it is not a JSON object.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }

    /// The keys; the session token, if any, is in the field `token`. The error completes a sentence about the document.
    pub(super) fn credentials(&self, token: &str, provider: &'static str) -> Result<Credentials, &'static str> {
        let id = self.text("AccessKeyId").ok_or("has no AccessKeyId")?;
        let secret = self.text("SecretAccessKey").ok_or("has no SecretAccessKey")?;
        // Without an expiry, since the keys sign one request or two.
        Ok(Credentials::new(id, secret, self.text(token).map(str::to_owned), None, provider))
    }

    /// Whether the keys have expired. A document without a time does not expire. The error completes a sentence about the
    /// document.
    pub(super) fn is_expired(&self) -> Result<bool, &'static str> {
        let Some(text) = self.text("Expiration") else { return Ok(false) };
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "has an Expiration that is no time in RFC 3339")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i128::from(at.unix_timestamp()) <= i128::from(now.as_secs()))
    }

    /// The text in a field; `None` when it is absent, null or empty.
    pub(super) fn text(&self, wanted: &str) -> Option<&str> {
        self.get(wanted)?.as_str().filter(|text| !text.is_empty())
    }

    /// The value of a field.
    pub(super) fn get(&self, wanted: &str) -> Option<&Value> {
        let similar = || self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value);
        self.0.get(wanted).or_else(similar)
    }
}
