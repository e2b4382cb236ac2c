//! Observes what an identity depends on outside of the environment, for the cache key and for the check of a hit.
//!
//! A [`Dependency`] names something; its digest is a hash of its present state. The digests enter the key. The cache also
//! keeps them beside the token, so that a later `get` compares them with new digests, without parsing any setting.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::hash::KeyHasher;
use super::jwt::{self, Acceptor};
use super::variables;
use crate::config;
use crate::env::Env;
use crate::input::{self, Content};
use crate::platform;

/// The variables with which a job of GitHub Actions requests its identity token.
pub(super) const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
pub(super) const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// Something that decides which credentials the SDK gets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Dependency {
    /// The content of a file, or that there is none.
    File(PathBuf),
    /// That there is no configuration of the helper at a path.
    NoConfiguration(PathBuf),
    /// The claims of the JWT in a file, which a rotation does not change; for other tokens, the whole token.
    Token(PathBuf, Acceptor),
    /// The same for a token in a variable.
    TokenOfVariable(String),
    /// The GitHub Actions job: the URL and the token of its request, which no other job has.
    GitHubJob,
    /// The state of a path: device, inode, size and change time.
    Path(PathBuf),
    /// The same of a link itself.
    Link(PathBuf),
    /// The device and the inode of a directory.
    Place(PathBuf),
    /// The path that the PATH resolves a program to, and its state.
    Program(String),
    /// That a directory has none of some names, which are hashes of words of a command; those with an ending after such a name, with
    /// their states.
    Absent(PathBuf, Vec<String>),
    /// The current directory, and a PWD that leads there through a link: a shell and Go's `os.Getwd` go by it.
    Directory,
    /// The names in the current directory. They do not change the key: of those that a command may mean, the files do.
    Names,
    /// The names and states of the files in a directory, without the [telemetry](TELEMETRY) of the AWS CLI.
    Folder(PathBuf),
    /// All variables except those that [count](variables::for_programs) only where a command names them.
    Environment,
    /// Such a variable, which the command names.
    MadeUp(String),
    /// This boot of this machine.
    Boot,
    /// This boot, and what tells this sandbox from its neighbours: the machine gives each of them its own identity.
    Sandbox,
    /// The same, and the user and groups of this process: they decide what a program sees.
    SandboxOfPrograms,
}

/// A dependency with its digest at the time of the observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    dependency: Dependency,
    digest: String,
}

/// The limit on the files of a [`Dependency::Folder`].
const MOST_FILES: usize = 1000;

/// Where the AWS CLI 2 counts its commands, below the home directory, and the files for that: an SQLite database, with what SQLite
/// puts beside it while it is open. Every command that makes a client writes it and holds no credentials in it (aws-cli,
/// `awscli/telemetry.py`).
const TELEMETRY_DIR: &str = ".aws/cli/cache";
const TELEMETRY: [&str; 4] = ["session.db", "session.db-journal", "session.db-shm", "session.db-wal"];

/// The limit on the names in a directory in which something is absent, and in the current one.
const MOST_NAMES: usize = 20_000;

impl Observed {
    /// Observes the dependency now. `None` when no hash describes it: e.g. the file is not a regular one, or the system does
    /// not report its boot.
    pub(super) fn now(dependency: Dependency, env: &Env) -> Option<Self> {
        let digest = dependency.digest(env)?;
        Some(Self { dependency, digest })
    }

    /// The observation of the helper's configuration, whose content was read already.
    pub fn configuration(path: &Path, content: &Content) -> Self {
        let dependency = if *content == Content::Absent { Dependency::NoConfiguration } else { Dependency::File };
        Self::read(dependency(path.to_owned()), content)
    }

    /// The observation of a file or a token whose content was read already.
    pub(super) fn read(dependency: Dependency, content: &Content) -> Self {
        Self { digest: dependency.digest_of(content), dependency }
    }

    /// The observation of the names in the current directory, which were read already.
    pub(super) fn names(names: &Names) -> Self {
        Self { dependency: Dependency::Names, digest: names.digest() }
    }

    /// Whether the dependency still has the same digest.
    pub fn holds(&self, env: &Env) -> bool {
        self.dependency.digest(env).as_ref() == Some(&self.digest)
    }

    /// The paths that the dependency is about: of a program, all that the PATH leads to until it is found.
    pub(super) fn paths(&self, env: &Env) -> Vec<PathBuf> {
        match &self.dependency {
            Dependency::Directory => Env::current_dir().into_iter().chain(env.path_as_it_is("PWD")).collect(),
            Dependency::Program(name) => {
                let mut paths = Vec::new();
                for dir in env.search_path() {
                    paths.push(dir.join(name));
                    if env.program_in(&dir, name).is_some() {
                        break;
                    }
                }
                paths
            }
            other => other.named_path().map(Path::to_owned).into_iter().collect(),
        }
    }

    /// Whether the times of a directory tell what happens to the files in it that count.
    pub(super) fn is_told_by_directory(&self) -> bool {
        match &self.dependency {
            Dependency::Absent(..) | Dependency::Names => true,
            Dependency::Folder(path) => !path.ends_with(TELEMETRY_DIR) || !path.join(TELEMETRY[0]).exists(),
            _ => false,
        }
    }

    /// The files in the directory that it is about that count.
    pub(super) fn files(&self) -> impl Iterator<Item = DirEntry> {
        let dir = if let Dependency::Folder(path) = &self.dependency { Some(path) } else { None };
        let files = dir.and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten().flatten();
        files.filter(move |file| dir.is_some_and(|dir| !is_telemetry(dir, &file.file_name())))
    }

    pub(super) fn add_to(&self, parts: &mut KeyHasher) {
        if self.dependency != Dependency::Names {
            parts.add(format!("{:?}", self.dependency), &self.digest);
        }
    }
}

impl Dependency {
    fn named_path(&self) -> Option<&Path> {
        match self {
            Self::File(path)
            | Self::NoConfiguration(path)
            | Self::Token(path, _)
            | Self::Path(path)
            | Self::Link(path)
            | Self::Place(path)
            | Self::Absent(path, _)
            | Self::Folder(path) => Some(path),
            Self::Names => Some(Path::new(".")),
            _ => None,
        }
    }

    /// Describes it, as far as a change of it may not be detectable.
    pub(super) fn describe(&self) -> String {
        match (self, self.named_path()) {
            (_, Some(path)) => path.display().to_string(),
            (Self::Directory, None) => "the current directory".to_owned(),
            (Self::Boot, None) => "this boot of the machine".to_owned(),
            (_, None) => "this boot and sandbox of the machine".to_owned(),
        }
    }

    fn digest(&self, env: &Env) -> Option<String> {
        match self {
            Self::File(path) => {
                let mut hash = Sha256::new();
                Some(match input::pieces(path, |piece| hash.update(piece))? {
                    Ok(()) => BASE64_STANDARD_NO_PAD.encode(hash.finalize()),
                    Err(content) => self.digest_of(&content),
                })
            }
            Self::NoConfiguration(path) => config::is_absent(path, env).then(|| self.digest_of(&Content::Absent)),
            Self::Token(path, _) => {
                let mut token = Zeroizing::default();
                let read = input::pieces(path, |piece| Vec::extend_from_slice(&mut token, piece))?;
                Some(self.digest_of(&read.err().unwrap_or(Content::Bytes(token))))
            }
            Self::TokenOfVariable(name) => Some(
                env.os(name)
                    .map_or_else(|| "absent".to_owned(), |token| jwt::digest(token.as_encoded_bytes(), Acceptor::Sts)),
            ),
            Self::GitHubJob => {
                let value = |name| env.os(name).unwrap_or_default().as_encoded_bytes();
                Some(KeyHasher::digest([GITHUB_URL, GITHUB_TOKEN].map(value)))
            }
            Self::Path(path) => Some(state(path.metadata(), state_of)),
            Self::Link(path) => {
                Some(state(path.symlink_metadata(), |link| format!("{:?}", platform::file_state(link))))
            }
            Self::Place(path) => Some(state(path.metadata(), inode)),
            Self::Program(name) => Some(env.program_with_metadata(name).map_or_else(
                || "none".to_owned(),
                |(path, metadata)| KeyHasher::digest([path_bytes(&path), state_of(&metadata).as_bytes()]),
            )),
            Self::Absent(dir, names) => listing(dir, MOST_NAMES, |file| {
                let name = file.file_name();
                let stem = Path::new(&name).file_stem().unwrap_or(&name);
                let counts = [&name, stem].into_iter().any(|name| names.contains(&name_digest(name)));
                counts.then(|| {
                    KeyHasher::digest([name.as_encoded_bytes(), state(file.path().metadata(), state_of).as_bytes()])
                })
            }),
            Self::Names => Names::here().map(|names| names.digest()),
            Self::Directory => {
                let directory = Env::current_dir()?;
                let here = inode(&Path::new(".").metadata().ok()?);
                let leads_here = |pwd: &Path| pwd.metadata().is_ok_and(|metadata| inode(&metadata) == here);
                let pwd = env.os("PWD").filter(|pwd| *pwd != directory.as_os_str()).map(Path::new);
                let pwd = pwd.filter(|pwd| pwd.is_absolute() && leads_here(pwd)).map(path_bytes);
                Some(KeyHasher::digest([path_bytes(&directory), here.as_bytes()].into_iter().chain(pwd)))
            }
            Self::Folder(path) => listing(path, MOST_FILES, |file| {
                let name = file.file_name();
                let counts = !is_telemetry(path, &name);
                counts.then(|| {
                    KeyHasher::digest([name.as_encoded_bytes(), state(file.path().metadata(), state_of).as_bytes()])
                })
            }),
            Self::Environment => {
                let mut parts = KeyHasher::default();
                parts.add_variables(variables::for_programs(env));
                Some(parts.into_key().to_string())
            }
            Self::MadeUp(name) => Some(match env.os(name) {
                Some(value) => KeyHasher::digest([value.as_encoded_bytes()]),
                None => if env.is_empty(name) { "empty" } else { "absent" }.to_owned(),
            }),
            Self::Boot => Some(KeyHasher::digest([platform::boot()?])),
            Self::Sandbox => Some(KeyHasher::digest([platform::sandbox()?])),
            Self::SandboxOfPrograms => Some(KeyHasher::digest([platform::sandbox_of_programs()?])),
        }
    }

    /// The digest of the content of its file.
    fn digest_of(&self, content: &Content) -> String {
        match (self, content) {
            (Self::Token(_, acceptor), Content::Bytes(token)) => jwt::digest(token, *acceptor),
            (_, Content::Bytes(bytes)) => BASE64_STANDARD_NO_PAD.encode(Sha256::digest(bytes)),
            (_, Content::Absent) => "absent".to_owned(),
            (_, Content::Unreadable(why)) => format!("unreadable: {why}"),
        }
    }
}

/// The names in the current directory, each with whether it is a directory.
#[derive(Debug)]
pub(super) struct Names(BTreeMap<OsString, bool>);

impl Names {
    /// Reads them; `None` when they are too many. Where this user may not read them there are none: a program finds there what it
    /// knows, and that is looked at in any case.
    pub(super) fn here() -> Option<Self> {
        let files = std::fs::read_dir(".").into_iter().flatten().flatten().take(MOST_NAMES + 1);
        let is_dir = |file: &DirEntry| file.file_type().is_ok_and(|kind| kind.is_dir());
        let names: BTreeMap<_, _> = files.map(|file| (file.file_name(), is_dir(&file))).collect();
        (names.len() <= MOST_NAMES).then_some(Self(names))
    }

    /// Those that a word can hold.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().filter_map(|(name, is_dir)| Some((name.to_str()?, *is_dir)))
    }

    fn digest(&self) -> String {
        let parts =
            self.0.iter().flat_map(|(name, is_dir)| [name.as_encoded_bytes(), if *is_dir { b"d" } else { b"" }]);
        KeyHasher::digest(parts)
    }
}

fn is_telemetry(dir: &Path, name: &OsStr) -> bool {
    dir.ends_with(TELEMETRY_DIR) && TELEMETRY.iter().any(|telemetry| name == *telemetry)
}

/// A digest of what `describe` says about the files in a directory; `None` when there are more than `most`.
fn listing(dir: &Path, most: usize, describe: impl Fn(&DirEntry) -> Option<String>) -> Option<String> {
    let files = match std::fs::read_dir(dir) {
        Ok(files) => files.flatten().take(most + 1),
        Err(error) => return Some(format!("{:?}", error.kind())),
    };
    let mut count = 0;
    let mut described: Vec<String> = files.inspect(|_| count += 1).filter_map(|file| describe(&file)).collect();
    described.sort();
    (count <= most).then(|| KeyHasher::digest(described))
}

/// A hash of the name of a file, without its case, which some file systems ignore.
pub(super) fn name_digest(name: &OsStr) -> String {
    KeyHasher::digest([&b"name"[..], &name.as_encoded_bytes().to_ascii_lowercase()])
}

fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// What `describe` says of a path, or why it has no metadata.
fn state(metadata: io::Result<Metadata>, describe: impl Fn(&Metadata) -> String) -> String {
    metadata.map_or_else(|error| format!("{:?}", error.kind()), |metadata| describe(&metadata))
}

/// The device, inode, size and change time. For device files only the first two, since each use changes the change time.
fn state_of(metadata: &Metadata) -> String {
    let is_device = !metadata.is_file() && !metadata.is_dir();
    if is_device { inode(metadata) } else { format!("{:?}", platform::file_state(metadata)) }
}

/// The device and the inode.
fn inode(metadata: &Metadata) -> String {
    format!("{:?}", &platform::file_state(metadata)[..2])
}
