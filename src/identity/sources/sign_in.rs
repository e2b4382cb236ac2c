//! The content of a file in which the AWS CLI keeps a sign-in, which is renewed in the same file.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::fields::Fields;

/// A sign-in that expires within this time is renewed: the value of the SDKs.
const RENEWED_BEFORE: Duration = Duration::from_mins(5);

/// No token is larger, in bytes. Servers accept headers of some KiB.
const LARGEST: usize = 32 * 1024;

/// Whether a request can hold it: a token is visible ASCII.
fn is_token(text: &str) -> bool {
    (1..=LARGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The fields of an object in such a file.
#[derive(Deserialize, Serialize)]
pub struct SignIn(Fields);

impl SignIn {
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        Fields::parse(json).map(Self)
    }

    /// The value of a field; `None` when it is absent or of another type.
    pub(super) fn get<T: DeserializeOwned>(&self, wanted: &str) -> Option<T> {
        self.0.get(wanted)
    }

    /// The text in a field; `None` when it is absent or empty.
    pub fn text(&self, wanted: &str) -> Option<String> {
        self.0.text(wanted)
    }

    /// The token or the secret in a field; `None` for one that no request can hold.
    pub fn token(&self, wanted: &str) -> Option<String> {
        self.text(wanted).filter(|text| is_token(text))
    }

    pub(super) fn time(&self, wanted: &str) -> Option<OffsetDateTime> {
        // Old versions of the AWS CLI wrote UTC for Z, and it reads an offset without a colon too.
        let mut text = self.text(wanted)?.replace("UTC", "Z");
        if let [.., b'+' | b'-', _, _, b'0'..=b'9', b'0'..=b'9'] = text.as_bytes() {
            text.insert(text.len() - 2, ':');
        }
        OffsetDateTime::parse(&text, &Rfc3339).ok()
    }

    /// Whether it has expired.
    pub fn is_expired(&self) -> bool {
        self.expires_by(OffsetDateTime::now_utc())
    }

    /// Whether it expires so soon that it should be renewed.
    pub(super) fn expires_soon(&self) -> bool {
        self.expires_by(OffsetDateTime::now_utc() + RENEWED_BEFORE)
    }

    fn expires_by(&self, time: OffsetDateTime) -> bool {
        self.time("expiresAt").is_none_or(|at| at <= time)
    }

    /// Sets it to expire after `life`. `None` if that is none, or more than `longest`.
    pub(super) fn set_life(&mut self, life: Duration, longest: Duration) -> Option<()> {
        let life = Some(life).filter(|life| !life.is_zero() && *life <= longest)?;
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).ok()?;
        self.set("expiresAt", &now.checked_add(life.try_into().ok()?)?.format(&Rfc3339).ok()?)
    }

    /// Sets a field to a token. `None` if it is none.
    pub(super) fn set_token(&mut self, wanted: &str, token: &str) -> Option<()> {
        self.set(wanted, Some(token).filter(|token| is_token(token))?)
    }

    pub(super) fn set(&mut self, wanted: &str, value: &(impl Serialize + ?Sized)) -> Option<()> {
        self.0.set(wanted, value)
    }

    pub(super) fn to_json(&self) -> Option<Zeroizing<String>> {
        Some(Zeroizing::new(serde_json::to_string(self).ok()?))
    }
}
