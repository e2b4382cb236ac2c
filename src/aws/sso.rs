//! Sign-ins through IAM Identity Center: gets credentials for a sign-in, and renews it.
//!
//! The sign-in is the file that `aws sso login` writes, as it was read for the cache key. The SDK's own provider reads the file
//! and the environment a second time and writes a renewed sign-in in place, where another process may read half of it, so only
//! the SDK's clients are used. A renewal changes the file and with it the cache key: it is a step of its own, and its caller
//! starts over with the new settings. A sign-in without `sso-session` cannot be renewed (AWS SDKs and Tools reference, "IAM
//! Identity Center credential provider").

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_sso::types::RoleCredentials;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::region::Region;
use log::{debug, warn};
use tokio::task::spawn_blocking;

use super::context::Context;
use super::diagnose::{service_error, signed_out, unusable_answer};
use super::fields::Fields;
use super::sdk_error::{causes, refusal};
use super::signing_keys::SigningKeys;
use crate::code::Code;
use crate::error::Failure;
use crate::identity::{Source, Sso};
use crate::platform::{Access, Destination, NewFile, aws_command};

/// Gets the credentials of the role that the sign-in is for.
pub(super) async fn credentials(of: &Sso, context: &Context) -> Result<SigningKeys, Failure> {
    let Some(sign_in) = of.sign_in().filter(|sign_in| !sign_in.is_expired()) else { return Err(expired(of)) };
    let client = aws_sdk_sso::Client::new(&in_region(of, context));
    let call = client.get_role_credentials().role_name(&of.role_name).account_id(&of.account_id);
    let call = call.set_access_token(sign_in.token("accessToken"));
    let answer = call.send().await.map_err(|error| {
        context.failure("SSO", &context.source().to_string(), &error, |refusal| {
            if refusal.code == "UnauthorizedException" {
                return expired(of);
            }
            if refusal.is_failure() {
                return service_error("SSO", refusal);
            }
            Failure::new(
                Code::SsoDenied,
                format!("SSO gives profile '{}' no credentials: {}", of.profile, refusal.code),
                "check sso_account_id and sso_role_name, and that the role is assigned to you",
            )
            .quoting(refusal.message)
            // The account or the role is gone.
            .refused(refusal.refuses_identity() || refusal.code == "ResourceNotFoundException")
        })
    })?;
    let found = answer.role_credentials.unwrap_or_else(|| RoleCredentials::builder().build());
    let [id, secret, token] =
        [found.access_key_id(), found.secret_access_key(), found.session_token()].map(Option::unwrap_or_default);
    SigningKeys::new(id, secret, Some(token)).map_err(|what| unusable_answer("SSO", what))
}

/// Whether a sign-in was renewed, so that the settings have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The file is another one, which holds a new sign-in.
    Renewed,
    /// The file is as it was.
    Unchanged,
}

/// Renews the sign-in in its file. When the service refuses, the old sign-in is used until it expires.
pub(super) async fn renew(context: &Context) -> Result<Renewal, Failure> {
    let Source::Sso(of) = context.source() else { return Ok(Renewal::Unchanged) };
    let (Some(sign_in), Some(old)) = (of.sign_in(), of.file.content.bytes()) else { return Ok(Renewal::Unchanged) };
    let path = &of.file.path;
    // Another process may renew it at this moment, for another profile of the session. Without the lock, which some file systems lack, the
    // service refuses one of them.
    let longest = (context.deadline.saturating_duration_since(Instant::now()) / 2).min(LONGEST_LOCK);
    let locked = path.clone();
    let lock = spawn_blocking(move || Destination::behind(&locked).ok()?.lock_dir(longest)).await;
    // Before the request, which uses up the refresh token: without its answer in the file, the user would have to sign in again.
    match replacement(path, old) {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(Renewal::Renewed),
        Err(error) => {
            warn!(file:% = path.display(), error:%; "the sign-in is not renewed, since its file cannot be written");
            return Ok(Renewal::Unchanged);
        }
    }
    let field = |name: &str| sign_in.token(name).unwrap_or_default();
    let client = aws_sdk_ssooidc::Client::new(&in_region(of, context));
    let call = client.create_token().grant_type("refresh_token").refresh_token(field("refreshToken"));
    let answer = call.client_id(field("clientId")).client_secret(field("clientSecret")).send().await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if sign_in.is_expired() && !is_refusal(&error) => {
            return Err(context.service_failure("SSO", &error));
        }
        Err(error) => {
            debug!(why = causes(&error); "the sign-in cannot be renewed");
            return Ok(Renewal::Unchanged);
        }
    };
    let life = Duration::from_secs(u64::try_from(answer.expires_in).unwrap_or_default());
    // A sign-in that no request can hold would be in the way of every other until its time.
    let is_expired = sign_in.is_expired();
    let renewed = answer.access_token.and_then(|token| sign_in.renewed(&token, life, answer.refresh_token.as_deref()));
    let Some(text) = renewed else {
        debug!("the answer to the renewal holds no valid sign-in");
        return if is_expired { Err(unusable_answer("SSO", "holds no valid sign-in")) } else { Ok(Renewal::Unchanged) };
    };
    let written = write(path, old, text.as_bytes());
    drop(lock);
    match written {
        Ok(()) => Ok(Renewal::Renewed),
        Err(error) => {
            // The service may reject the old refresh token from now on, but the old access token is still valid.
            warn!(file:% = path.display(), error:%; "the renewed sign-in cannot be written");
            Ok(Renewal::Unchanged)
        }
    }
}

/// For another process that renews the same sign-in, and that may have been stopped: as long as a renewal may last.
const LONGEST_LOCK: Duration = Duration::from_secs(5);

/// The errors of a service that refuses the refresh token or the client (RFC 6749, section 5.2), in the letters of their names.
const REFUSALS: [&str; 5] = ["accessdenied", "expiredtoken", "invalidclient", "invalidgrant", "unauthorizedclient"];

/// Whether the service refuses the refresh token or the client, rather than that it fails or something else answers. AWS names its
/// exception, e.g. `InvalidGrantException`, and in the body the error of OAuth, e.g. `invalid_grant`.
fn is_refusal<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let names_refusal = |name: &str| {
        let name = name.replace('_', "").to_ascii_lowercase();
        REFUSALS.contains(&name.trim_end_matches("exception"))
    };
    let body = error.raw_response().and_then(|answer| Fields::parse(answer.body().bytes()?));
    body.and_then(|body| body.text("error")).is_some_and(|error| names_refusal(&error))
        || refusal(error).is_some_and(|refusal| names_refusal(refusal.code))
}

/// Creates the file that is to replace the sign-in, or the target of a link. Owner, group and mode stay as they are: under
/// `sudo -E`, the sign-in is another user's. `None` if it is not the sign-in any more that is renewed: one that was read through a link
/// that is gone by now is not for the owner of this file.
fn replacement(path: &Path, old: &[u8]) -> io::Result<Option<NewFile>> {
    let new = Destination::behind(path)?.create(Access::AsBefore)?;
    new.keep_owner_and_mode()?;
    Ok(if new.replaces(old)? { Some(new) } else { None })
}

/// Writes the renewed sign-in, unless the file is another one by now.
fn write(path: &Path, old: &[u8], bytes: &[u8]) -> io::Result<()> {
    let Some(mut new) = replacement(path, old)? else { return Ok(()) };
    new.file().write_all(bytes)?;
    new.put()
}

fn in_region(of: &Sso, context: &Context) -> SdkConfig {
    context.config.to_builder().region(Region::new(of.region.to_string())).build()
}

fn expired(of: &Sso) -> Failure {
    let session = of.session.as_ref().map_or(String::new(), |session| format!(" (session '{session}')"));
    let sign_in = format!("the SSO sign-in of profile '{}'{session}", of.profile);
    signed_out(Code::SsoExpired, &sign_in, &of.file.path, &aws_command("sso login", &of.profile))
}
