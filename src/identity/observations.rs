//! Observes what the credentials of a source depend on, besides the environment and the AWS files.

use std::path::Path;
use std::time::Instant;

use zeroize::Zeroizing;

use super::command;
use super::dependency::{Dependency, Observed};
use super::jwt::Acceptor;
use super::source::{IdentityToken, Source};
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::input::{self, Content};

/// Collects the observations that an identity follows from.
pub(super) struct Observations<'a> {
    env: &'a Env,
    pub(super) all: Vec<Observed>,
    /// Why tokens of the identity are not cached, if so: the first reason.
    pub(super) uncacheable: Option<Failure>,
}

/// The variable with the path of a container's token file.
const CONTAINER_TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The variable with a container's token.
const CONTAINER_TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

impl<'a> Observations<'a> {
    pub(super) fn new(env: &'a Env, uncacheable: Option<Failure>) -> Self {
        Self { env, all: Vec::new(), uncacheable }
    }

    /// Adds what the source depends on. Returns the content of its file or variable, if the helper itself uses it.
    pub(super) fn of_source(&mut self, source: &Source, deadline: Instant) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut held = Zeroizing::default();
        match source {
            // The settings in the key prove the identity.
            Source::Environment(..) | Source::Account(_) | Source::Profile(..) => return Ok(held),
            Source::ServiceAccount(_) => {}
            Source::Instance(_) => {
                self.add(Dependency::Sandbox);
                return Ok(held);
            }
            Source::Sso(sso) => {
                if let Content::Bytes(bytes) = self.read(&sso.file, Observed::file, deadline)? {
                    held = bytes;
                }
            }
            Source::WebIdentity(of) => held = self.of_token(&of.token, deadline)?,
            Source::Login { file, .. } => {
                read_before_the_sdk(file)?;
                self.add(Dependency::File(file.clone()));
            }
            Source::Process { command, .. } => {
                self.of_process(command);
                self.add(Dependency::SandboxOfPrograms);
                return Ok(held);
            }
            Source::Container(_) => held = self.of_container(deadline)?,
        }
        self.add(Dependency::Boot);
        Ok(held)
    }

    fn of_token(&mut self, token: &IdentityToken, deadline: Instant) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match token {
            IdentityToken::File { path, setting } => self.token_file(path, setting, deadline),
            IdentityToken::Variable { name, setting } => self.token_variable(name, setting),
            IdentityToken::GitHub(_) => {
                self.add(Dependency::GitHubJob);
                Ok(Zeroizing::default())
            }
        }
    }

    fn of_process(&mut self, command: &str) {
        match command::dependencies(command, self.env) {
            Ok(dependencies) => dependencies.into_iter().for_each(|dependency| self.add(dependency)),
            Err(why) => self.refuse(Failure::new(
                Code::CacheUnused,
                format!("the helper does not understand the credential_process: {why}"),
                "write it as plain words, e.g. the path of a script and its arguments",
            )),
        }
    }

    fn of_container(&mut self, deadline: Instant) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let Some(file) = self.env.os(CONTAINER_TOKEN_FILE) else {
            // A token in a variable is in the key.
            if self.env.os(CONTAINER_TOKEN).is_none() {
                self.add(Dependency::Sandbox);
            }
            return Ok(Zeroizing::default());
        };
        let observed = |path: &Path, content: &Content| Observed::token(path, content, Acceptor::Container);
        match self.read(Path::new(file), observed, deadline)? {
            Content::Bytes(token) => Ok(token),
            Content::Absent | Content::Unreadable(_) => Err(Failure::new(
                Code::SourceFile,
                format!(
                    "the token file {} ({CONTAINER_TOKEN_FILE}) does not exist or cannot be read",
                    Path::new(file).display()
                ),
                "check its path, owner and mode, and that the token is mounted there",
            )),
        }
    }

    fn token_variable(&mut self, name: &str, setting: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let failed = |code, why: &str| {
            Err(Failure::new(
                code,
                format!("the variable {name}, which {setting} names for the web identity token, {why}"),
                "have the CI system set it for this job: id_tokens in GitLab, 'buildkite-agent oidc request-token' in \
                 Buildkite, CIRCLE_OIDC_TOKEN_V2 in CircleCI",
            ))
        };
        let Some(value) = self.env.os(name).filter(|value| !value.as_encoded_bytes().trim_ascii().is_empty()) else {
            return failed(Code::IdentityTokenMissing, "is not set");
        };
        let Some(token) = value.to_str().map(str::trim).filter(|token| token.bytes().all(|c| c.is_ascii_graphic()))
        else {
            return failed(Code::SettingInvalid, "holds characters that are invalid in a token");
        };
        self.add(Dependency::TokenOfVariable(name.to_owned()));
        Ok(Zeroizing::new(token.as_bytes().to_vec()))
    }

    fn token_file(
        &mut self,
        token_file: &Path,
        setting: &str,
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let wrong = |why: &str, hint: &str| {
            Err(Failure::new(
                Code::SourceFile,
                format!("the web identity token file {} ({setting}) {why}", token_file.display()),
                hint,
            ))
        };
        match self.read(token_file, |path, content| Observed::token(path, content, Acceptor::Sts), deadline)? {
            Content::Bytes(bytes) if bytes.is_empty() => wrong("is empty", "check the program that writes the token"),
            Content::Bytes(bytes) if std::str::from_utf8(&bytes).is_err() => {
                wrong("is not UTF-8", "check the program that writes the token")
            }
            Content::Bytes(bytes) => Ok(bytes),
            Content::Absent => {
                wrong("does not exist", "check its path, and that the token is mounted or written there")
            }
            Content::Unreadable(why) => wrong(&format!("cannot be read: {why}"), "check its owner, mode and kind"),
        }
    }

    fn read(
        &mut self,
        path: &Path,
        observed: fn(&Path, &Content) -> Observed,
        deadline: Instant,
    ) -> Result<Content, Failure> {
        let reading = input::file(path, input::LARGEST_TOKEN, deadline).map_err(|why| unusable(path, why))?;
        if let Some(why) = reading.unsteady {
            self.refuse(unsteady(path, why));
        }
        self.all.push(observed(path, &reading.content));
        Ok(reading.content)
    }

    fn add(&mut self, dependency: Dependency) {
        let name = dependency.to_string();
        match Observed::now(dependency, self.env) {
            Some(observed) => self.all.push(observed),
            None => self.refuse(Failure::new(
                Code::CacheUnused,
                format!("the helper cannot detect a change of {name} on this system"),
                "use another source of credentials, e.g. keys or a profile with them",
            )),
        }
    }

    fn refuse(&mut self, why: Failure) {
        self.uncacheable.get_or_insert(why);
    }
}

/// The reason not to cache a token that depends on a file of which another reading may differ.
pub(super) fn unsteady(path: &Path, why: &str) -> Failure {
    Failure::new(
        Code::CacheUnused,
        format!("{}: {why}", path.display()),
        "use a regular file, and write it by a rename",
    )
}

/// Reads a file that a provider of the SDK then reads again without a time limit, so that only a regular file reaches the
/// provider.
fn read_before_the_sdk(file: &Path) -> Result<Content, Failure> {
    match input::regular_file(file, input::LARGEST_TOKEN) {
        Ok(Some(reading)) => Ok(reading.content),
        Ok(None) => Err(unusable(file, "it is not a regular file")),
        Err(why) => Err(unusable(file, why)),
    }
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> Failure {
    let what = format!("the file {} cannot be used: {why}", path.display());
    Failure::new(Code::SourceFile, what, "correct the file, or the setting that names it")
}
