//! Keys that sign requests: the only way into a client of the SDK, with the one check of the keys of every source.

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use crate::fields::Fields;

/// Keys that a request can be signed with. The SDK panics over an access key that is no header value.
#[derive(Clone)]
pub(super) struct SigningKeys(Credentials);

impl SigningKeys {
    /// Checks keys, of which a long-lived pair has no session token. The error completes a sentence about what gave them.
    pub(super) fn new(id: &str, secret: &str, token: Option<&str>) -> Result<Self, &'static str> {
        let fits_header = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        match token {
            _ if id.is_empty() => Err("has no AccessKeyId"),
            _ if secret.is_empty() => Err("has no SecretAccessKey"),
            Some("") => Err("has an empty session token"),
            _ if !fits_header(id) => Err("has an access key id with invalid characters"),
            // As an environment file of docker leaves them.
            _ if id.starts_with(['"', '\'']) => Err("has an access key id in quotes"),
            Some(token) if !fits_header(token) => Err("has a session token with invalid characters"),
            // Without an expiry, since the keys sign one request or two.
            _ => Ok(Self(Credentials::new(id, secret, token.map(str::to_owned), None, crate::NAME))),
        }
    }

    /// The keys in a document; the session token, if any, is in the field `token`.
    pub(super) fn in_document(document: &Fields, token: &str) -> Result<Self, &'static str> {
        let [id, secret] = ["AccessKeyId", "SecretAccessKey"].map(|name| document.text(name).unwrap_or_default());
        Self::new(&id, &secret, document.text(token).as_deref())
    }

    /// A client's configuration with which it signs by these keys.
    pub(super) fn added_to(&self, config: &SdkConfig) -> SdkConfig {
        config.to_builder().credentials_provider(SharedCredentialsProvider::new(self.0.clone())).build()
    }

    /// The id of the access key.
    pub(super) fn id(&self) -> &str {
        self.0.access_key_id()
    }

    /// The id, the secret and the session token, which is empty for long-lived keys.
    pub(super) fn parts(&self) -> [&str; 3] {
        [self.id(), self.0.secret_access_key(), self.0.session_token().unwrap_or_default()]
    }
}
