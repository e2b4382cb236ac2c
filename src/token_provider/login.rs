//! The request of a `login`, which takes part in the single flight of its identity: the processes that need the token meanwhile
//! wait for it.

use std::io;
use std::time::Instant;

use super::authenticator::Resolved;
use super::in_context;
use super::stored::{open_cache_for, save_manifest, unwritable};
use crate::aws::IssuedToken;
use crate::cache::{Flight, Freshness, Need, Outcome, Stop, busy};
use crate::code::Code;
use crate::config::{Config, Target};
use crate::env::Env;
use crate::error::Failure;
use crate::identity::Identity;

/// Requests a token for a `login`, until `deadline`, and caches it, so that the next `get` finds it. A failure names the registry.
pub fn log_in(
    env: &Env,
    config: &Config,
    target: &Target,
    identity: &Identity,
    resolved: &Resolved,
    deadline: Instant,
) -> Result<IssuedToken, Failure> {
    let session = &resolved.session;
    let cache = open_cache_for(env, identity)?;
    let outcome = cache.single_flight(Flight {
        key: &identity.key,
        saved_for: &identity.key,
        deadline,
        need: Need::Login,
        // The protocol asks for it after a refusal alone, which ends any token.
        look_up: &|| cache.look_up(&identity.key).map(|_| (Freshness::Stale, None)),
        request: &mut |deadline| {
            let issued = session.request_token(deadline).inspect_err(|failure| {
                if let (true, Some(key)) = (failure.is_refusal, session.cache_key()) {
                    cache.remove_refused(key);
                }
            })?;
            let entry = resolved.new_entry(target, &issued);
            Ok((Some((issued, entry.as_ref().err().cloned())), entry.ok()))
        },
    });
    let why = match outcome {
        Ok(Outcome::Issued(Some((issued, None)), Ok(()))) => {
            save_manifest(env, config, target, identity);
            return Ok(issued);
        }
        Ok(Outcome::Issued(Some((_, Some(why))), _)) => why,
        Ok(Outcome::Issued(_, Err(error))) if error.kind() == io::ErrorKind::NotFound => {
            let what = "the token of this identity was replaced or erased meanwhile";
            Failure::new(Code::CacheUnused, what, "run the command again")
        }
        Ok(Outcome::Issued(_, Err(error))) => unwritable(&cache, &error),
        Err(Stop::Failed(failure)) => return Err(in_context(target, failure)),
        _ => return Err(in_context(target, busy())),
    };
    Err(why.with_context(format!("AWS gave a token for {}, but it cannot be cached", target.host)))
}
