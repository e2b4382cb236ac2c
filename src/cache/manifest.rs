//! The way from a request to its entry: what the request's key was told from, and the key.
//!
//! Beside the entries lies one manifest for each request, a host in an environment. It names the entry and lists what has
//! to be as it was for that entry to be the right one still. A hit that finds all of it unchanged reads no setting. A
//! manifest holds hashes and paths, and no token.

use serde::{Deserialize, Serialize};

use crate::env::Env;
use crate::identity::Observed;

/// Raised when the meaning of a field or a digest changes; manifests of another format are misses.
const FORMAT: u32 = 2;

/// What one manifest file holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The key of the request, so that a file copied or renamed to another's name is not that one's.
    request: String,
    /// The host that the request named.
    pub host: String,
    /// For the log of a hit, which reads no settings: the region, whose credentials answered, and what chose them.
    pub decided: Decided,
    /// The key of the entry.
    pub entry: String,
    observed: Vec<Observed>,
}

/// What was decided when the settings were read last, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// The region of the registry.
    pub region: String,
    /// Whose credentials are used.
    pub credentials: String,
    /// The setting that chose them.
    pub chosen_by: String,
}

impl Manifest {
    /// The way of `request` for `host` to `entry`.
    pub fn new(request: &str, host: &str, decided: Decided, entry: &str, observed: Vec<Observed>) -> Self {
        let (request, host, entry) = (request.to_owned(), host.to_owned(), entry.to_owned());
        Self { format: FORMAT, request, host, decided, entry, observed }
    }

    /// Reads the manifest of `request`; `None` for anything else.
    pub fn decode(bytes: &[u8], request: &str) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(bytes).ok()?;
        (manifest.format == FORMAT && manifest.request == request).then_some(manifest)
    }

    /// The bytes to write; `None` when a path in it is not Unicode.
    pub fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    /// Whether all that it was told from is as it was.
    pub fn holds(&self, env: &Env) -> bool {
        self.observed.iter().all(|observed| observed.holds(env))
    }
}
