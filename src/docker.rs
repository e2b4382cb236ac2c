//! The credential helper protocol of docker-credential-helpers (`credentials/credentials.go` there): one action as
//! the argument, its payload on standard input, answers and errors alike on standard output.
//!
//! Docker passes standard error through to the terminal and some clients merge it into the answer, so nothing is
//! ever written there. A success is one JSON object and a newline, or nothing; an error is one line.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::Serialize;
use zeroize::Zeroizing;

use crate::env::Env;
use crate::error::Error;
use crate::login;
use crate::secret::Secret;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A server URL in, a credential out.
    Get,
    /// A credential in. Nothing is kept: tokens come from AWS alone.
    Store,
    /// A server URL in; its cached token is dropped.
    Erase,
    /// The hosts in the cache out.
    List,
}

/// More is no request; reading stops there, so that endless input ends.
const LONGEST_INPUT: u64 = 4 * 1024 * 1024;

/// The credential as clients send it to `store`.
struct Stored {
    server_url: String,
    username: String,
}

/// The answer to `get`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Credential<'a> {
    /// As it was asked for: clients may compare.
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a Secret,
}

/// Does what `action` asks for.
pub fn serve(action: Action, env: &Env, input: impl Read, mut output: impl Write) -> Result<(), Error> {
    let answer = match action {
        Action::Get => get(env, &read(input)?)?,
        Action::Store => return store(env, &read(input)?),
        Action::Erase => return erase(env, &read(input)?),
        // Its input is the word `unused`, or nothing; a terminal must not make it wait.
        Action::List => list(env)?,
    };
    output
        .write_all(&answer)
        .and_then(|()| output.flush())
        .map_err(|error| Error::failed(format!("cannot write the answer: {error}")))
}

fn get(env: &Env, input: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let server_url = server_url(input)?;
    let token = login::get(env, server_url)?;
    line(&Credential { server_url, username: &token.username, secret: &token.password })
}

fn store(env: &Env, input: &[u8]) -> Result<(), Error> {
    if env.ignores_storage() {
        return Ok(());
    }
    let stored = read_stored(input)?;
    if stored.server_url.is_empty() {
        return Err(Error::failed(NO_SERVER_URL));
    }
    if stored.username.is_empty() {
        return Err(Error::failed("no credentials username"));
    }
    if !login::serves(env, stored.server_url.trim())? {
        return Err(Error::failed(
            "ecr-login keeps no passwords: it serves only Amazon ECR registries; give this one another credential helper",
        ));
    }
    Ok(())
}

fn erase(env: &Env, input: &[u8]) -> Result<(), Error> {
    if env.ignores_storage() {
        return Ok(());
    }
    login::forget(env, server_url(input)?)
}

fn list(env: &Env) -> Result<Zeroizing<Vec<u8>>, Error> {
    line(&login::list(env)?.into_iter().collect::<BTreeMap<_, _>>())
}

const NO_SERVER_URL: &str = "no credentials server URL";

/// The request without the white space around it. What is not text names no server.
fn server_url(input: &[u8]) -> Result<&str, Error> {
    match str::from_utf8(input.trim_ascii()) {
        Ok("") => Err(Error::failed(NO_SERVER_URL)),
        Ok(text) => Ok(text),
        Err(_) => Err(Error::NotFound),
    }
}

/// Field names are matched without case, as Go's decoder does.
fn read_stored(input: &[u8]) -> Result<Stored, Error> {
    let unreadable = |error| Error::failed(format!("the credentials on standard input cannot be read: {error}"));
    let fields: BTreeMap<String, serde_json::Value> = serde_json::from_slice(input).map_err(|error| {
        // The error's own text may quote the input, which holds a password.
        unreadable(format!("not a JSON object at line {} column {}", error.line(), error.column()))
    })?;
    let field = |wanted: &str| match fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)) {
        None | Some((_, serde_json::Value::Null)) => Ok(String::new()),
        Some((_, serde_json::Value::String(text))) => Ok(text.clone()),
        Some(_) => Err(unreadable(format!("{wanted} is not a string"))),
    };
    Ok(Stored { server_url: field("ServerURL")?, username: field("Username")? })
}

fn read(input: impl Read) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(Vec::new());
    match input.take(LONGEST_INPUT).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Error::failed(format!("cannot read standard input: {error}"))),
    }
}

fn line(answer: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
    serde_json::to_writer(&mut *bytes, answer)
        .map_err(io::Error::from)
        .and_then(|()| bytes.write_all(b"\n"))
        .map_err(|error| Error::failed(format!("cannot write the answer: {error}")))?;
    Ok(bytes)
}
