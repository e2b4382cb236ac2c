//! Parses the JSON objects in which programs and endpoints give access keys and tokens.
//!
//! A field is parsed when it is asked for. What else is in an answer takes the memory of its text: as values, 1 MB of small objects
//! takes more than 64 MB.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::signing_keys::SigningKeys;

/// The fields of a JSON object. Names are matched without case where none is the same, as by the Go SDK.
#[derive(Deserialize)]
pub(super) struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// Parses a document. `None` when it is not a JSON object.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The keys; the session token, if any, is in the field `token`. The error completes a sentence about the document.
    pub(super) fn keys(&self, token: &str) -> Result<SigningKeys, &'static str> {
        let [id, secret] = ["AccessKeyId", "SecretAccessKey"].map(|name| self.text(name).unwrap_or_default());
        SigningKeys::new(&id, &secret, self.text(token).as_deref())
    }

    /// Whether the keys have expired. A document without a time does not expire. The error completes a sentence about the
    /// document.
    pub(super) fn is_expired(&self) -> Result<bool, &'static str> {
        let Some(text) = self.text("Expiration") else { return Ok(false) };
        let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| "has an Expiration that is no time in RFC 3339")?;
        Ok(at <= OffsetDateTime::now_utc())
    }

    /// The text in a field; `None` when it is absent, empty or no text.
    pub(super) fn text(&self, wanted: &str) -> Option<String> {
        self.get(wanted).filter(|text: &String| !text.is_empty())
    }

    /// The value of a field; `None` when it is absent or of another type.
    pub(super) fn get<T: DeserializeOwned>(&self, wanted: &str) -> Option<T> {
        let similar = || self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value);
        serde_json::from_str(self.0.get(wanted).or_else(similar)?.get()).ok()
    }
}
