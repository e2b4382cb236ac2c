//! `logout` and `cache`: cached tokens, removed and listed by a person.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use crate::cache::{Cache, Freshness};
use crate::display_time::{LocalTime, describe_duration};
use crate::env::Env;
use crate::error::{Error, one_line, printable, printable_json};
use crate::quote::hide_tokens;
use crate::token_provider;

/// Arguments of `logout`.
#[derive(Args, Debug)]
#[command(
    override_usage = "docker-credential-ecr-login logout <HOST>\n       docker-credential-ecr-login logout --all"
)]
pub struct Logout {
    /// A registry; removes every token that opens it
    #[arg(value_name = "HOST", required_unless_present = "all", conflicts_with = "all")]
    host: Option<String>,
    /// Remove all cached tokens
    #[arg(long)]
    all: bool,
}

impl Logout {
    /// Removes tokens and prints how many.
    pub fn run(&self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let Some(host) = &self.host else {
            let (dir, count) = token_provider::erase_all(env)?;
            let tokens = if count == 1 { "1 token".to_owned() } else { format!("{count} tokens") };
            return print_line(output, &format!("removed {tokens} from {}", dir.display()));
        };
        let (host, dir, count) = token_provider::erase_of_everyone(env, host)?;
        print_line(
            output,
            &match count {
                0 => format!("no cached token for {host} in {}", dir.display()),
                1 => format!("logged out of {host}: its cached token is removed"),
                _ => format!("logged out of {host}: its {count} cached tokens are removed"),
            },
        )
    }
}

/// Arguments of `cache`.
#[derive(Args, Debug)]
pub struct Tokens {
    /// The same as nothing
    #[arg(hide = true, value_parser = action)]
    action: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Accepts `list`; a person who types another word mostly wants to remove tokens.
fn action(word: &str) -> Result<String, &'static str> {
    if word == "list" {
        Ok(word.to_owned())
    } else {
        Err("cache only lists; 'logout --all' and 'logout HOST' remove tokens")
    }
}

/// One cached token.
#[derive(Serialize)]
struct Row {
    registries: Vec<String>,
    /// A description of the identity.
    identity: Option<String>,
    /// In RFC 3339.
    expiry: String,
    expired: bool,
    /// In bytes.
    size: u64,
}

impl Tokens {
    /// Lists the tokens.
    pub fn run(&self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let local_time = LocalTime::of_process();
        let cache = Cache::open_whole(env, Cache::dir_of(env)?)?;
        let manifests: Vec<_> = cache.manifest_files().iter().filter_map(|path| Cache::manifest_in(path)).collect();
        let mut rows = Vec::new();
        let mut lines = Vec::new();
        for (entry, size) in cache.tokens() {
            let of_entry = || manifests.iter().filter(|manifest| manifest.entry == entry.key);
            let mut registries: Vec<String> = of_entry().map(|manifest| manifest.host.to_string()).collect();
            registries.sort();
            registries.dedup();
            let identity = of_entry().map(|manifest| manifest.decided.credentials.clone()).next();
            let expired = entry.freshness() == Freshness::Expired;
            let expires = if expired {
                "expired".to_owned()
            } else {
                format!("{} ({})", local_time.show(entry.expires_at), describe_duration(entry.remaining()))
            };
            // A token that was not asked for by a registry's host, e.g. by get-login-password.
            let named = if registries.is_empty() { "no registry yet".to_owned() } else { registries.join(", ") };
            let described = identity.as_deref().map_or_else(|| "not recorded".to_owned(), one_line);
            lines.push([one_line(&named), described, expires, format!("{size} B")]);
            let expiry = entry.expires_at.format(&Rfc3339).unwrap_or_default();
            rows.push(Row { registries, identity, expiry, expired, size });
        }
        if self.json {
            let text = serde_json::to_string_pretty(&rows).expect("texts always serialise");
            return print_line(output, &printable_json(&text));
        }
        if lines.is_empty() {
            return print_line(output, &format!("no cached tokens in {}", cache.dir().display()));
        }
        lines.sort();
        lines.insert(0, ["REGISTRY", "IDENTITY", "EXPIRES", "SIZE"].map(str::to_owned));
        print_line(output, &table(&lines))
    }
}

/// Aligns the columns.
fn table(lines: &[[String; 4]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let line = |[a, b, c, d]: &[String; 4]| format!("{a:0$}  {b:1$}  {c:2$}  {d}", widths[0], widths[1], widths[2]);
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Prints the result of a command.
pub(super) fn print_line(output: &mut impl Write, text: &str) -> Result<ExitCode, Error> {
    let written = writeln!(output, "{}", printable(&hide_tokens(text))).and_then(|()| output.flush());
    written.map_err(Error::unwritten)?;
    Ok(ExitCode::SUCCESS)
}
