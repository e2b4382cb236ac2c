//! The request of a `login`, which takes part in the single flight of its identity: the processes that need the token meanwhile
//! wait for it.

use std::io;
use std::time::Instant;

use super::authenticator::Resolved;
use super::in_context;
use super::stored::{new_entry, open_cache_for, save_manifest, unwritable};
use crate::aws::Issued;
use crate::cache::{Entry, Flight, Freshness, Need, Outcome, Stop, busy};
use crate::code::Code;
use crate::config::{Config, Target};
use crate::env::Env;
use crate::error::Failure;
use crate::identity::{CacheKey, Identity};

/// Requests a token for a `login`, until `deadline`, and caches it, so that the next `get` finds it. A failure names the registry.
pub fn log_in(
    env: &Env,
    config: &Config,
    target: &Target,
    identity: &Identity,
    Resolved { session, key }: Resolved,
    deadline: Instant,
) -> Result<Issued, Failure> {
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
            let entry = login_entry(identity, key, target, &issued);
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

fn login_entry(identity: &Identity, key: Option<CacheKey>, target: &Target, issued: &Issued) -> Result<Entry, Failure> {
    let entry = new_entry(identity, target, issued).ok_or_else(|| {
        let what = "it came expired or without an expiry time";
        Failure::new(Code::TokenUncacheable, what, "check AWS_ENDPOINT_URL and the clock")
    })?;
    key.map(|key| entry.under(&key)).ok_or_else(|| {
        let what = "the settings changed while the credentials were resolved";
        Failure::new(Code::CacheUnused, what, "run the command again")
    })
}
