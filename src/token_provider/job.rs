//! Adds the issuer and subject of a GitHub Actions job to its identity.
//!
//! The cache key depends on them, and only the identity token that GitHub issues names them. One process requests the token and
//! records them in the cache; the others wait for the record.

use std::sync::Arc;
use std::time::Instant;

use log::debug;

use crate::aws;
use crate::cache::{Cache, Outcome};
use crate::config::Target;
use crate::error::Failure;
use crate::identity::{CacheKey, Identity};

/// Returns `identity` with the subject of its job, or unchanged if it is of no job or its subject is known.
pub(super) fn with_subject(
    cache: &Cache,
    target: &Target,
    identity: Arc<Identity>,
    deadline: Instant,
) -> Result<Arc<Identity>, Failure> {
    let Some(job) = identity.unknown_job().copied() else { return Ok(identity) };
    let with_recorded =
        |identity: Arc<Identity>, subject: &str| Arc::new(Arc::unwrap_or_clone(identity).with_subject(target, subject));
    let recorded = || cache.subject(&job);
    if let Some(subject) = recorded() {
        return Ok(with_recorded(identity, &subject));
    }
    let leader = match cache.single_flight(&job, Some(deadline), recorded) {
        Ok(Outcome::Found(subject)) => return Ok(with_recorded(identity, &subject)),
        Ok(Outcome::Failed(failure)) => return Err(failure),
        Ok(Outcome::Ask(leader)) => leader,
        Ok(Outcome::Busy) | Err(_) => None,
    };
    match aws::job_token(target, &identity, deadline) {
        Ok(Some(token)) => {
            let (identity, subject) = Arc::unwrap_or_clone(identity).with_token(target, &token);
            if let Err(error) = cache.save_subject(&job, &subject) {
                debug!(error:%; "the subject of this job cannot be recorded; each get asks GitHub");
            }
            Ok(Arc::new(identity))
        }
        Ok(None) => Ok(identity),
        Err(failure) => {
            if let Some(leader) = leader {
                leader.fail(&failure);
            }
            Err(failure)
        }
    }
}

/// The key of the identity's entry, with the subject of its job if the cache has a record of it.
pub(super) fn entry_key(cache: &Cache, target: &Target, identity: &Identity) -> CacheKey {
    let subject = identity.unknown_job().and_then(|job| cache.subject(job));
    subject.map_or(identity.key, |subject| identity.key_of(target, &subject))
}
