//! Observes what an identity depends on outside of the environment, for the cache key and for the check of a hit.
//!
//! A [`Dependency`] names something; its digest is a hash of its present state. The digests enter the key. The cache also
//! keeps them beside the token, so that a later `get` compares them with new digests, without parsing any setting.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::cache_key::{CacheKey, KeyHasher, OWN_IRRELEVANT};
use super::chain::{GITHUB_TOKEN, GITHUB_URL};
use crate::env::Env;
use crate::input::{self, Content};
use crate::{client_config, platform};

/// Something that decides which credentials the SDK gets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Dependency {
    /// The content of a file, or that there is none.
    File(PathBuf),
    /// The issuer and the subject of the JWT in a file, which a rotation does not change; for other tokens, the whole token.
    Subject(PathBuf),
    /// The same for a token in a variable.
    SubjectOfVariable(String),
    /// The GitHub Actions job: the URL and the token of its request, which no other job has.
    GitHubJob,
    /// The state of a path: device, inode, size and change time.
    Path(PathBuf),
    /// The path that the PATH resolves a program to, and the state of that path.
    Program(String),
    /// The current directory.
    Directory,
    /// All variables except those in [`BOOKKEEPING`] and those of the helper that do not change which token a registry gets.
    Environment,
    /// This boot of this machine.
    Boot,
}

/// A dependency with its digest at the time of the observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    dependency: Dependency,
    digest: String,
}

/// Variables that a shell updates for itself from one command to the next.
const BOOKKEEPING: &[&str] = &["_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES"];

impl Observed {
    /// Observes the dependency now. `None` when no hash describes it: e.g. the file is not a regular one, or the system does
    /// not report its boot.
    pub(super) fn now(dependency: Dependency, env: &Env) -> Option<Self> {
        let digest = dependency.digest(env)?;
        Some(Self { dependency, digest })
    }

    /// The observation of a file whose content was read already.
    pub fn file(path: &Path, content: &Content) -> Self {
        Self { dependency: Dependency::File(path.to_owned()), digest: digest_of(content) }
    }

    /// The observation of a token file whose content was read already.
    pub(super) fn subject(path: &Path, content: &Content) -> Self {
        Self { dependency: Dependency::Subject(path.to_owned()), digest: subject_of(content) }
    }

    /// Whether the dependency still has the same digest.
    pub fn holds(&self, env: &Env) -> bool {
        self.dependency.digest(env).as_ref() == Some(&self.digest)
    }

    /// Whether this observes a GitHub Actions job, which differs for each job of one identity.
    pub(super) fn is_of_job(&self) -> bool {
        self.dependency == Dependency::GitHubJob
    }

    /// A key that names this observation.
    pub(super) fn as_key(&self) -> CacheKey {
        let mut parts = KeyHasher::default();
        self.add_to(&mut parts);
        parts.into_key()
    }

    pub(super) fn add_to(&self, parts: &mut KeyHasher) {
        parts.add(format!("{:?}", self.dependency), &self.digest);
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Subject(path) | Self::Path(path) => write!(f, "{}", path.display()),
            Self::SubjectOfVariable(name) => write!(f, "the token in {name}"),
            Self::GitHubJob => f.write_str("the GitHub Actions job"),
            Self::Program(name) => write!(f, "the program '{name}'"),
            Self::Directory => f.write_str("the current directory"),
            Self::Environment => f.write_str("the environment"),
            Self::Boot => f.write_str("this boot of the machine"),
        }
    }
}

impl Dependency {
    fn digest(&self, env: &Env) -> Option<String> {
        match self {
            Self::File(path) => {
                let mut hash = Sha256::new();
                Some(match input::pieces(path, |piece| hash.update(piece))? {
                    Ok(()) => BASE64_STANDARD_NO_PAD.encode(hash.finalize()),
                    Err(content) => digest_of(&content),
                })
            }
            Self::Subject(path) => Some(subject_of(&input::regular_file(path).ok()??.content)),
            Self::SubjectOfVariable(name) => Some(
                env.os(name).map_or_else(|| "absent".to_owned(), |token| subject_of_token(token.as_encoded_bytes())),
            ),
            Self::GitHubJob => {
                let texts = [GITHUB_URL, GITHUB_TOKEN].map(|name| env.os(name).unwrap_or_default().as_encoded_bytes());
                Some(text_digest(&texts))
            }
            Self::Path(path) => Some(state(path)),
            Self::Program(name) => match client_config::on_path(env, name) {
                Some(path) => Some(text_digest(&[path.as_os_str().as_encoded_bytes(), state(&path).as_bytes()])),
                None => Some("none".to_owned()),
            },
            Self::Directory => {
                let directory = std::env::current_dir().ok()?;
                Some(text_digest(&[directory.as_os_str().as_encoded_bytes(), inode(&directory).as_bytes()]))
            }
            Self::Environment => {
                let mut parts = KeyHasher::default();
                for (name, value) in env.iter() {
                    let text = name.to_str();
                    let is_irrelevant = |name: &str| {
                        BOOKKEEPING.contains(&name)
                            || OWN_IRRELEVANT.contains(&name)
                            || name.starts_with(platform::MARK)
                    };
                    if !text.is_some_and(is_irrelevant) {
                        parts.add(name.as_encoded_bytes(), value.as_encoded_bytes());
                    }
                }
                Some(parts.into_key().to_string())
            }
            Self::Boot => platform::boot().map(|boot| text_digest(&[boot.as_bytes()])),
        }
    }
}

fn subject_of(content: &Content) -> String {
    match content {
        Content::Bytes(token) => subject_of_token(token),
        _ => digest_of(content),
    }
}

/// The digest of a token: the same for all JWTs of one issuer and subject, and another for each other token.
pub(super) fn subject_of_token(token: &[u8]) -> String {
    match issuer_and_subject(token) {
        Some((issuer, subject)) => text_digest(&[b"jwt", issuer.as_bytes(), subject.as_bytes()]),
        None => text_digest(&[b"token", token]),
    }
}

/// The issuer and the subject that a JWT claims.
pub fn issuer_and_subject(token: &[u8]) -> Option<(String, String)> {
    let payload = std::str::from_utf8(token).ok()?.trim().split('.').nth(1)?;
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?).ok()?;
    Some((claims["iss"].as_str()?.to_owned(), claims["sub"].as_str()?.to_owned()))
}

fn digest_of(content: &Content) -> String {
    match content {
        Content::Bytes(bytes) => BASE64_STANDARD_NO_PAD.encode(Sha256::digest(bytes)),
        Content::Absent => "absent".to_owned(),
        Content::Unreadable(why) => format!("unreadable: {why}"),
    }
}

fn text_digest(texts: &[&[u8]]) -> String {
    let mut parts = KeyHasher::default();
    for text in texts {
        parts.add("", text);
    }
    parts.into_key().to_string()
}

/// The device, inode, size and change time of a path. For device files only the first two, since each use changes the change
/// time.
fn state(path: &Path) -> String {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() || metadata.is_dir() => format!("{:?}", platform::file_state(&metadata)),
        Ok(metadata) => format!("{:?}", &platform::file_state(&metadata)[..2]),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn inode(path: &Path) -> String {
    path.metadata().map_or_else(|_| String::new(), |metadata| format!("{:?}", &platform::file_state(&metadata)[..2]))
}
