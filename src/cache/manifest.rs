//! Maps a request to its entry: names the entry, and lists everything that its cache key was derived from.
//!
//! The cache has one manifest for each request, i.e. for a host in an environment. While everything that it lists is unchanged,
//! the entry is the right one, and a hit reads no settings. A manifest holds hashes
//! and paths that exist, and neither a token nor another word of a command.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::Env;
use crate::identity::{CacheKey, Observed};
use crate::registry::{Host, Region};

/// Raised when the meaning of a field or a digest changes; manifests of another format are misses.
const FORMAT: u32 = 4;

/// What one manifest file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The key of the request, which detects a copied or renamed file.
    pub request: CacheKey,
    /// The host that the request named.
    pub host: Host,
    /// What the log of a hit names, since a hit reads no settings.
    pub decided: Decided,
    /// The key of the entry.
    pub entry: CacheKey,
    /// Those of entries for other registries that the host was mapped to earlier, which a `logout` of it removes too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<CacheKey>,
    /// How old the entry may be for this request.
    pub max_age: Option<Duration>,
    /// What its entry depends on.
    pub observed: Vec<Observed>,
}

/// What followed from the settings when they were last read, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// The region of the registry.
    pub region: Region,
    /// A description of the credentials.
    pub credentials: String,
    /// The setting that chose them.
    pub chosen_by: String,
}

impl Manifest {
    /// The manifest that maps `request` for `host` to `entry`, of any age.
    pub fn new(request: CacheKey, host: &Host, decided: Decided, entry: CacheKey, observed: Vec<Observed>) -> Self {
        let host = host.clone();
        Self { format: FORMAT, request, host, decided, entry, earlier: Vec::new(), max_age: None, observed }
    }

    /// Reads the manifest of `request`; `None` for anything else.
    pub fn decode(bytes: &[u8], request: &CacheKey) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(bytes).ok()?;
        (manifest.format == FORMAT && manifest.request == *request).then_some(manifest)
    }

    /// The bytes to write; `None` when a path in it is not Unicode.
    pub fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    /// Whether everything that it lists is unchanged.
    pub fn holds(&self, env: &Env) -> bool {
        self.observed.iter().all(|observed| observed.holds(env))
    }
}
