//! The credential helper protocol of docker-credential-helpers (`credentials/credentials.go` in that repository): the
//! argument names an action, standard input has its payload, and answers and errors go to standard output.
//!
//! A successful action prints one JSON object and a newline, or nothing. It prints nothing to standard error, which docker passes
//! through to the terminal and some clients merge into the answer. A failed action prints one line;
//! [`answer`] repeats it on standard error.
//!
//! [`bazel`] handles a `get` whose input is a request of Bazel's protocol.
//!
//! The [`fallback`] helper, if one is configured, gets the requests for hosts that are neither ECR's nor named in the
//! configuration, and for server URLs that the helper cannot parse.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::Instant;

use log::{debug, warn};
use serde::Serialize;
use zeroize::Zeroizing;

use super::bazel;
use crate::answer;
use crate::client_config::Members;
use crate::code::Code;
use crate::config::{self, Config, Target};
use crate::env::Env;
use crate::error::{Error, NOT_FOUND, printable_json};
use crate::fallback::{self, Answer};
use crate::registry::Registry;
use crate::secret::Secret;
use crate::token::Token;
use crate::token_provider::{self, IssuedToken};

/// An action of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads a server URL and prints its credential.
    Get,
    /// Reads a credential and stores nothing, since tokens come from AWS.
    Store,
    /// Reads a server URL and removes its cached token.
    Erase,
    /// Prints the hosts for which `get` has an answer.
    List,
}

/// The largest request, in bytes. Bounds how much of an endless input is read.
const LONGEST_INPUT: u64 = 4 * 1024 * 1024;

/// The answer to `get`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Credential<'a> {
    /// As in the request, since clients may compare them.
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a Secret,
}

/// The helper that answers a request.
#[expect(clippy::large_enum_variant, reason = "a process has one")]
enum Destination {
    /// This helper, with this configuration, by this deadline.
    Here(Config, Target, Instant),
    /// The fallback helper of this name, by this deadline.
    Fallback(String, Instant),
    /// No helper: no credentials are found.
    None,
}

/// Performs `action`. The exit code is that of the helper that answered.
pub fn serve(action: Action, env: &Env, input: impl Read, mut output: impl Write) -> Result<u8, Error> {
    let started = Instant::now();
    let Answer { output: answer, code } = match action {
        Action::Get => get(env, request(input, action)?, started)?,
        Action::Store => store(env, request(input, action)?, started)?,
        Action::Erase => erase(env, request(input, action)?, started)?,
        // The input is the word `unused` or nothing, and is not read: on a terminal that would wait.
        Action::List => list(env, started)?,
    };
    output.write_all(&answer).and_then(|()| output.flush()).map_err(|error| Error::unanswered(&error))?;
    // A fallback helper's failure goes to standard error too, since many clients show nothing else.
    if code != 0 && answer.trim_ascii() != NOT_FOUND.as_bytes() {
        let _ = io::stderr().write_all(&answer);
    }
    debug!(took_ms = started.elapsed().as_millis(); "answered");
    Ok(code)
}

fn get(env: &Env, input: Zeroizing<Vec<u8>>, started: Instant) -> Result<Answer, Error> {
    let by_bazel = bazel::Request::read(&input);
    if by_bazel.is_some() {
        answer::fail_on_standard_error();
    }
    let server_url = by_bazel.as_ref().map_or_else(|| server_url(&input), |request| Ok(request.server_url()))?;
    let answer = |token: &Token, issued: Option<&IssuedToken>| {
        let (server_url, username) = (server_url.unwrap_or_default(), &*token.username);
        Ok(success(match &by_bazel {
            Some(request) => answer::line(&bazel::Response::new(request, token, issued))?,
            None => answer::line(&Credential { server_url, username, secret: &token.password })?,
        }))
    };
    config::timeout(env)?;
    if let Some(issued) = server_url.and_then(|url| token_provider::cached_answer(env, url)) {
        return answer(&issued.token, Some(&issued));
    }
    let found = match route(env, server_url, started)? {
        Destination::Here(config, target, deadline) => {
            // After a panic during the refresh, the valid token can still be served.
            let hold = |token: &Token| {
                if let Ok(answer) = answer(token, None) {
                    answer::set_answer_on_panic(answer.output);
                }
            };
            let issued = token_provider::get(env, &config, &target, deadline, &hold);
            issued.and_then(|issued| answer(&issued.token, Some(&issued)))
        }
        Destination::Fallback(name, deadline) if by_bazel.is_none() => forward(env, &name, "get", input, deadline),
        Destination::Fallback(..) | Destination::None => Err(Error::NotFound),
    };
    match found {
        // Bazel goes on without headers.
        Err(Error::NotFound) if by_bazel.is_some() => Ok(success(answer::line(&bazel::Response::default())?)),
        found => found,
    }
}

fn store(env: &Env, input: Zeroizing<Vec<u8>>, started: Instant) -> Result<Answer, Error> {
    let stored = read_stored(&input);
    let server_url = stored.as_ref().ok().map(|(server_url, _)| server_url.trim()).filter(|url| !url.is_empty());
    let route = route(env, server_url, started);
    if let (Some(_), Ok(Destination::Fallback(name, deadline))) = (server_url, &route) {
        return forward(env, name, "store", input, *deadline);
    }
    if env.ignores_storage() {
        return Ok(empty());
    }
    let (server_url, username) = stored?;
    if server_url.is_empty() {
        return Err(Error::Protocol(NO_SERVER_URL.to_owned()));
    }
    if username.is_empty() {
        return Err(Error::Protocol("no credentials username".to_owned()));
    }
    if let Destination::Here(..) = route? {
        return Ok(empty());
    }
    let what = "the helper stores no passwords and serves only Amazon ECR registries";
    let fix = "give this registry another credential helper, or name one as 'fallback' in the configuration";
    Err(Error::failed(Code::HostUnknown, what, fix))
}

fn erase(env: &Env, input: Zeroizing<Vec<u8>>, started: Instant) -> Result<Answer, Error> {
    let route = server_url(&input).and_then(|url| route(env, url, started));
    match route {
        Ok(Destination::Fallback(name, deadline)) => forward(env, &name, "erase", input, deadline),
        _ if env.ignores_storage() => Ok(empty()),
        Ok(Destination::Here(_, target, deadline)) => token_provider::erase(env, &target, deadline).map(|()| empty()),
        Ok(Destination::None) => Err(Error::NotFound),
        Err(error) => Err(error),
    }
}

/// Lists the hosts of this helper and of the fallback helper. If the fallback helper fails, the failure is logged and the
/// list lacks its hosts: docker's classic builder calls `list` first, ignores an error and continues without any
/// credentials.
fn list(env: &Env, started: Instant) -> Result<Answer, Error> {
    let config = Config::load(env, config::deadline(env, started))?;
    let mut hosts: BTreeMap<String, String> = BTreeMap::new();
    if let Some(name) = &config.fallback {
        fallback::refuse_loop(env)?;
        let input = Zeroizing::new(b"unused".to_vec());
        match fallback::ask(env, name, "list", input, started + config.timeout_with_person()) {
            // Go encodes an empty map as `null`.
            Ok(Answer { output, code: 0 }) => match serde_json::from_slice::<Option<_>>(&output) {
                Ok(others) => hosts = others.unwrap_or_default(),
                Err(error) => {
                    let (line, column) = (error.line(), error.column());
                    warn!(name; "the fallback helper's list is not one of user names: line {line} column {column}");
                }
            },
            Ok(Answer { code, .. }) => warn!(name, code; "the fallback helper has no list"),
            Err(error) => warn!("{error}"),
        }
    }
    // The fallback helper may have waited for a person.
    let deadline = Instant::now() + config.timeout();
    hosts.extend(token_provider::list(env, &config, deadline));
    // Names of the fallback helper and of cached tokens may hold anything.
    let list = serde_json::to_string(&hosts).map_err(|error| Error::unanswered(&error.into()))?;
    Ok(success(Zeroizing::new(format!("{}\n", printable_json(&list)).into_bytes())))
}

/// Decides which helper answers a request for `server_url`, which is `None` if it is not UTF-8.
fn route(env: &Env, server_url: Option<&str>, started: Instant) -> Result<Destination, Error> {
    let config = Config::load(env, config::deadline(env, started))?;
    let deadline = started + config.timeout();
    if let Some(target) = server_url.map_or(Ok(None), |url| config.target(env, url))? {
        return Ok(Destination::Here(config, target, deadline));
    }
    // ECR without TLS is no concern of another helper either.
    if server_url.is_some_and(|url| Registry::parse(url).is_some()) {
        return Ok(Destination::None);
    }
    let deadline = started + config.timeout_with_person();
    Ok(config.fallback.map_or(Destination::None, |name| Destination::Fallback(name, deadline)))
}

fn forward(env: &Env, name: &str, action: &str, input: Zeroizing<Vec<u8>>, deadline: Instant) -> Result<Answer, Error> {
    if input.len() as u64 == LONGEST_INPUT {
        return Err(Error::failed(Code::RequestInvalid, "the request exceeds the limit of 4 MiB", BY_PROTOCOL));
    }
    fallback::ask(env, name, action, input, deadline)
}

fn success(output: Zeroizing<Vec<u8>>) -> Answer {
    Answer { output, code: 0 }
}

/// Success without output.
fn empty() -> Answer {
    success(Zeroizing::default())
}

/// The fix for a request of another form.
const BY_PROTOCOL: &str = "send a server URL or credentials in JSON";

const NO_SERVER_URL: &str = "no credentials server URL";

fn request(input: impl Read, action: Action) -> Result<Zeroizing<Vec<u8>>, Error> {
    // All of it is zeroed twice. Only credentials to store have a password.
    let capacity = if action == Action::Store { 8 * 1024 } else { 1024 };
    read_request(input.take(LONGEST_INPUT), capacity, BY_PROTOCOL)
}

/// Reads a request to its end. `capacity` is enough for any, since growing would leave copies of a password in freed memory.
pub(super) fn read_request(mut input: impl Read, capacity: usize, hint: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    let failed =
        |what: String, hint| Error::failed(Code::RequestInvalid, format!("the request on standard input {what}"), hint);
    match input.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(failed("did not end in time".to_owned(), "close it after the request, or raise AWS_ECR_TIMEOUT"))
        }
        Err(error) => Err(failed(format!("cannot be read: {error}"), hint)),
    }
}

/// The request without surrounding white space; `None` if it is not UTF-8.
fn server_url(input: &[u8]) -> Result<Option<&str>, Error> {
    match str::from_utf8(input.trim_ascii()) {
        Ok("") => Err(Error::Protocol(NO_SERVER_URL.to_owned())),
        text => Ok(text.ok()),
    }
}

/// Returns the server URL and the user of a credential to store. Replaces what is not UTF-8, as Go's decoder does.
fn read_stored(input: &[u8]) -> Result<(String, String), Error> {
    let unreadable = |error| {
        let what = format!("the credentials on standard input cannot be read: {error}");
        Error::failed(Code::RequestInvalid, what, BY_PROTOCOL)
    };
    let text = Zeroizing::new(String::from_utf8_lossy(input).into_owned());
    let members: Members = serde_json::from_str(&text).map_err(|error| {
        // The parser's message may quote the input, which has a password.
        unreadable(format!("not a JSON object at line {} column {}", error.line(), error.column()))
    })?;
    let text = |name| members.text(name).map_err(unreadable);
    Ok((text("ServerURL")?, text("Username")?))
}
