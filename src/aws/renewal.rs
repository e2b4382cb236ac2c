//! Renews a sign-in in the file of the AWS CLI that holds it.
//!
//! The file is as it was read for the cache key. The SDK's own providers write a renewed sign-in in place, where another process may
//! read half of it, and over one that a person has made meanwhile. A renewal changes the file and with it the cache key: it is a step
//! of its own, and its caller starts over with the new settings.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use log::{debug, warn};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::context::Context;
use super::worker::time_left;
use super::{login, sso};
use crate::code::Code;
use crate::error::Failure;
use crate::identity::Source;
use crate::platform::{Access, Destination, NewFile};

/// The time that is enough for a renewal, as a rule. One that is cut off has used up the refresh token.
const USUAL: Duration = Duration::from_secs(4);

/// Whether a sign-in was renewed, so that the settings have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The file is another one, which holds a new sign-in.
    Renewed,
    /// The file is as it was.
    Unchanged,
}

/// Renews the sign-in in its file. When that fails, the old sign-in is used until it expires.
pub(super) async fn renew(context: &Context) -> Result<Renewal, Failure> {
    let Some(file) = context.source().sign_in_file() else { return Ok(Renewal::Unchanged) };
    let (path, Some(old)) = (&file.path, file.content.bytes()) else { return Ok(Renewal::Unchanged) };
    // Another process may renew it at this moment, for another profile or region. Without the lock, which some file systems lack, the
    // service refuses one of them.
    let longest = time_left(context.deadline) / 2;
    let locked = path.clone();
    let lock = spawn_blocking(move || Destination::behind(&locked).ok()?.lock_dir(longest)).await;
    // Before the request, which uses up the refresh token: without its answer in the file, the user would have to sign in again.
    match may_be_replaced(path, old) {
        Ok(true) => {}
        Ok(false) => return Ok(Renewal::Renewed),
        Err(error) => {
            warn!(file:% = path.display(), error:%; "the sign-in is not renewed, since its file cannot be written");
            return Ok(Renewal::Unchanged);
        }
    }
    let is_expired = context.source().is_expired();
    let renewed = async {
        match context.source() {
            Source::Sso(of) => sso::renewed(of, context).await,
            Source::Login(of) => login::renewed(of, context).await,
            _ => Ok(None),
        }
    };
    let mut limit = time_left(context.deadline);
    if !is_expired {
        // The old one is used while there is time to.
        limit = limit.min(USUAL.max(limit / 2));
    }
    let text = match timeout(limit, renewed).await.unwrap_or_else(|_| Err(context.last.timed_out())) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(Renewal::Unchanged),
        Err(failure) if is_expired => return Err(failure),
        Err(failure) => {
            debug!(why = failure.what; "the sign-in cannot be renewed");
            return Ok(Renewal::Unchanged);
        }
    };
    let written = write(path, old, text.as_bytes());
    drop(lock);
    match written {
        Ok(()) => Ok(Renewal::Renewed),
        Err(error) if is_expired => {
            let what = format!("the sign-in was renewed, and its file {} cannot be written", path.display());
            Err(Failure::unwritable(Code::SourceFile, what, &error, "sign in again"))
        }
        Err(error) => {
            // The service may reject the old refresh token from now on, but the old access token is still valid.
            warn!(file:% = path.display(), error:%; "the renewed sign-in cannot be written");
            Ok(Renewal::Unchanged)
        }
    }
}

/// The failure of credentials, with what has kept their sign-in from being renewed, if that is here.
pub(super) fn explain(failure: Failure, context: &Context) -> Failure {
    let is_over = matches!(failure.code, Code::SsoExpired | Code::LoginExpired) && context.source().needs_renewal();
    let Some(file) = context.source().sign_in_file().filter(|_| is_over) else { return failure };
    let Some(Err(error)) = file.content.bytes().map(|old| may_be_replaced(&file.path, old)) else { return failure };
    let of_system = error.raw_os_error().map_or("", |_| "let this user write to its directory, or ");
    let what = format!("{}, and its file {} cannot be written to renew it", failure.what, file.path.display());
    Failure::unwritable(failure.code, what, &error, &format!("{of_system}{}", failure.hint))
}

/// Creates the file that is to replace the sign-in, or the target of a link. Owner, group and mode stay as they are: under
/// `sudo -E`, the sign-in is another user's. `None` if it is not the sign-in any more that is renewed: one that was read through a link
/// that is gone by now is not for the owner of this file.
fn replacement(path: &Path, old: &[u8]) -> io::Result<Option<NewFile>> {
    let new = Destination::behind(path)?.create(Access::AsBefore)?;
    new.keep_owner_and_mode()?;
    Ok(if new.replaces(old)? { Some(new) } else { None })
}

/// Whether the file holds the old sign-in, and may be replaced. There has to be space for a somewhat larger one.
fn may_be_replaced(path: &Path, old: &[u8]) -> io::Result<bool> {
    let Some(mut new) = replacement(path, old)? else { return Ok(false) };
    new.file().write_all(&vec![b' '; 2 * old.len() + 4096])?;
    Ok(true)
}

/// Writes the renewed sign-in, unless the file is another one by now.
fn write(path: &Path, old: &[u8], bytes: &[u8]) -> io::Result<()> {
    let Some(mut new) = replacement(path, old)? else { return Ok(()) };
    new.file().write_all(bytes)?;
    new.put()
}
