//! Sign-ins through IAM Identity Center: gets credentials for a sign-in, and renews it.
//!
//! The sign-in is the file that `aws sso login` writes, as it was read for the cache key. The SDK's own provider reads the file
//! and the environment a second time and writes a renewed sign-in in place, where another process may read half of it, so only
//! the SDK's clients are used. A renewal changes the file and with it the cache key: it is a step of its own, and its caller
//! starts over with the new settings. A sign-in without `sso-session` cannot be renewed (AWS SDKs and Tools reference, "IAM
//! Identity Center credential provider").

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sdk_sso::operation::get_role_credentials::GetRoleCredentialsError;
use aws_types::region::Region;
use log::{debug, warn};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::context::Context;
use super::sdk_error::{causes, refusal};
use crate::code::Code;
use crate::error::Failure;
use crate::identity::Sso;
use crate::platform::{Access, Destination, NewFile, shell_word};

/// A sign-in that expires within this time is renewed: the value of the SDKs.
const RENEWED_BEFORE: Duration = Duration::from_mins(5);

/// The content of a file that `aws sso login` wrote.
pub(super) struct SignIn(Map<String, Value>);

impl SignIn {
    /// Parses the file; `None` when it is not a sign-in.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let sign_in = Self(serde_json::from_slice(bytes).ok()?);
        (sign_in.text("accessToken").is_some() && sign_in.time("expiresAt").is_some()).then_some(sign_in)
    }

    /// Whether it expires soon and can be renewed.
    pub(super) fn needs_renewal(&self) -> bool {
        let can = ["clientId", "clientSecret", "refreshToken"].iter().all(|name| self.text(name).is_some());
        let registered = self.time("registrationExpiresAt").is_some_and(|at| at > OffsetDateTime::now_utc());
        can && registered && self.expires_by(OffsetDateTime::now_utc() + RENEWED_BEFORE)
    }

    fn expires_by(&self, time: OffsetDateTime) -> bool {
        self.time("expiresAt").is_none_or(|at| at <= time)
    }

    /// Names are matched without case, as the SDK does.
    fn text(&self, wanted: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        value.as_str().filter(|text| !text.is_empty())
    }

    fn time(&self, wanted: &str) -> Option<OffsetDateTime> {
        // Old versions of the AWS CLI wrote UTC for Z.
        OffsetDateTime::parse(&self.text(wanted)?.replace("UTC", "Z"), &Rfc3339).ok()
    }

    fn set(&mut self, wanted: &str, value: String) {
        let name = self.0.keys().find(|name| name.eq_ignore_ascii_case(wanted)).cloned();
        self.0.insert(name.unwrap_or_else(|| wanted.to_owned()), value.into());
    }
}

/// Gets the credentials of the role that the sign-in is for.
pub(super) async fn credentials(config: &SdkConfig, of: &Sso, context: &Context) -> Result<Credentials, Failure> {
    let sign_in = SignIn::read(&context.identity.held).filter(|sign_in| !sign_in.expires_by(OffsetDateTime::now_utc()));
    let Some(access_token) = sign_in.as_ref().and_then(|sign_in| sign_in.text("accessToken")) else {
        return Err(expired(of));
    };
    let client = aws_sdk_sso::Client::new(&in_region(config, of));
    let call = client.get_role_credentials().role_name(&of.role_name).account_id(&of.account_id);
    let answer = call.access_token(access_token).send().await.map_err(|error| {
        match refusal::<GetRoleCredentialsError>(&error) {
            Some(refusal) if refusal.code == "UnauthorizedException" => expired(of),
            Some(refusal) => context.common_refusal(&refusal, "SSO", &context.describe_source()).unwrap_or_else(|| {
                Failure::new(
                    Code::SsoDenied,
                    format!("SSO gives profile '{}' no credentials: {}", of.profile, refusal.describe()),
                    "check sso_account_id and sso_role_name, and that the role is assigned to you",
                )
                .refused(refusal.is_of_identity())
            }),
            None => context.service_failure("SSO", &error),
        }
    })?;
    let found = answer.role_credentials.and_then(|found| {
        let (id, secret) = (found.access_key_id?, found.secret_access_key?);
        // Without an expiry, since the credentials sign one request or two.
        Some(Credentials::new(id, secret, found.session_token, None, "SSO"))
    });
    found.ok_or_else(|| {
        Failure::new(
            Code::AnswerInvalid,
            "the answer of SSO holds no credentials",
            "check AWS_ENDPOINT_URL and the proxy",
        )
    })
}

/// Whether a sign-in was renewed, so that the settings have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The file holds a new sign-in.
    Renewed,
    /// The file is as it was.
    Unchanged,
}

/// Renews the sign-in in its file. When the service refuses, the old sign-in is used until it expires.
pub(super) async fn renew(config: &SdkConfig, of: &Sso, context: &Context) -> Result<Renewal, Failure> {
    let Some(mut sign_in) = SignIn::read(&context.identity.held) else { return Ok(Renewal::Unchanged) };
    // Before the request, which uses up the refresh token: without its answer in the file, the user would have to sign in again.
    if let Err(error) = replacement(&of.file, &context.identity.held) {
        warn!(file:% = of.file.display(), error:%; "the sign-in is not renewed, since its file cannot be written");
        return Ok(Renewal::Unchanged);
    }
    let field = |name: &str| sign_in.text(name).unwrap_or_default().to_owned();
    let client = aws_sdk_ssooidc::Client::new(&in_region(config, of));
    let call = client.create_token().grant_type("refresh_token").refresh_token(field("refreshToken"));
    let answer = call.client_id(field("clientId")).client_secret(field("clientSecret")).send().await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if sign_in.expires_by(OffsetDateTime::now_utc()) && error.as_service_error().is_none() => {
            return Err(context.service_failure("SSO", &error));
        }
        Err(error) => {
            debug!(why = causes(&error); "the sign-in cannot be renewed");
            return Ok(Renewal::Unchanged);
        }
    };
    let Some(access_token) = answer.access_token else { return Ok(Renewal::Unchanged) };
    let life = Duration::from_secs(u64::try_from(answer.expires_in).unwrap_or_default());
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).ok();
    let expires_at = now.and_then(|now| now.checked_add(life.try_into().ok()?)?.format(&Rfc3339).ok());
    sign_in.set("accessToken", access_token);
    sign_in.set("expiresAt", expires_at.unwrap_or_default());
    if let Some(refresh_token) = answer.refresh_token {
        sign_in.set("refreshToken", refresh_token);
    }
    let text = Zeroizing::new(Value::Object(sign_in.0).to_string());
    match write(&of.file, &context.identity.held, text.as_bytes()) {
        Ok(()) => Ok(Renewal::Renewed),
        Err(error) => {
            // The service may reject the old refresh token from now on, but the old access token is still valid.
            warn!(file:% = of.file.display(), error:%; "the renewed sign-in cannot be written");
            Ok(Renewal::Unchanged)
        }
    }
}

/// Creates the file that is to replace the sign-in, or the target of a link. Owner, group and mode stay as they are: under
/// `sudo -E`, the sign-in is another user's. It must still be the sign-in that is renewed: one that was read through a link that
/// is gone by now is not for the owner of this file.
fn replacement(path: &Path, old: &[u8]) -> io::Result<NewFile> {
    let new = Destination::behind(path)?.create(Access::AsBefore)?;
    if new.replaces(old)? { Ok(new) } else { Err(io::Error::other("it has changed since it was read")) }
}

fn write(path: &Path, old: &[u8], bytes: &[u8]) -> io::Result<()> {
    let mut new = replacement(path, old)?;
    new.file().write_all(bytes)?;
    new.put()
}

fn in_region(config: &SdkConfig, of: &Sso) -> SdkConfig {
    config.to_builder().region(Region::new(of.region.clone())).build()
}

fn expired(of: &Sso) -> Failure {
    let session = of.session.as_ref().map_or(String::new(), |session| format!(" (session '{session}')"));
    Failure::new(
        Code::SsoExpired,
        format!("the SSO sign-in of profile '{}'{session} has expired or is gone", of.profile),
        format!("run 'aws sso login --profile {}'", shell_word(&of.profile)),
    )
}
