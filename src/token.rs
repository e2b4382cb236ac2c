//! The authorization token, as ECR issues it and as clients use it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A user name and password for a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The user name, which is `AWS`.
    pub username: String,
    /// The password. It is valid for every registry of the principal in one region, for up to 12 hours.
    pub password: Secret,
    /// The host of the caller's own registry in that region, if AWS named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
}

impl Token {
    /// Decodes `authorizationToken`: base64 of `user:password`, split at the first colon (Amazon ECR API reference,
    /// AuthorizationData). `None` when it is of another form or not [usable](Self::is_usable).
    pub fn decode(authorization_token: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(authorization_token.trim()).ok()?);
        let (username, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        let token = Self { username: username.to_owned(), password: password.to_owned().into(), registry: None };
        token.is_usable().then_some(token)
    }

    /// User name and password as `user:password`.
    pub fn pair(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.username, self.password.expose()))
    }

    /// The same in base64, as clients write it into files and send it in headers.
    pub fn encode(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(self.pair().as_bytes()))
    }

    /// Whether clients can log in with it: both parts are visible ASCII characters, as those of AWS are. Others would act on a
    /// terminal, end a line of an env file, or be sent in an HTTP header that no registry reads. Clients use the password of
    /// the user `<token>` as an OAuth identity token.
    pub fn is_usable(&self) -> bool {
        let is_visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_visible(&self.username) && is_visible(self.password.expose()) && self.username != "<token>"
    }
}

#[cfg(test)]
mod tests {
    use super::Token;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    #[test]
    fn splits_at_the_first_colon_and_rejects_what_clients_would_misread() {
        let decode = |text: &str| Token::decode(&BASE64_STANDARD.encode(text));
        let token = decode("AWS:a:b").expect("a token");
        assert_eq!((token.username.as_str(), token.password.expose()), ("AWS", "a:b"));
        for bad in [
            "AWS",
            "AWS:",
            ":secret",
            "<token>:secret",
            "",
            "AWS:a b",
            "AWS:a\n",
            "A\0:b",
            "AWS:\u{202e}",
            "AWS:a\x1b[2J",
        ] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
        assert_eq!(Token::decode("not base64!"), None);
    }
}
