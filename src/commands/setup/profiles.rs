//! `[[registry]]` tables of the helper's own configuration file that map accounts to AWS profiles.
//!
//! A profile names its account by `sso_account_id` or in `role_arn`. Where several fit one account, a person chooses:
//! on the terminal, or by `--profile`. Tables are appended, so that every byte of the file stays and its earlier tables
//! apply first; an account that one of them matches is left alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::env::Env;
use crate::error::one_line;
use crate::identity::{Profiles, Selected};
use crate::registry;

/// How long a question waits for its answer.
const LONGEST_ANSWER: Duration = Duration::from_mins(10);

/// How often a question is asked for an answer that can be used.
const MOST_QUESTIONS: usize = 3;

/// More tables would push what matters off the screen.
const MOST_PROPOSED: usize = 5;

/// The profiles of each account.
pub(super) struct Accounts {
    fitting: BTreeMap<String, Vec<Fitting>>,
    names: Vec<String>,
    /// Where the profiles were looked for, as the object of "is in neither".
    files: String,
}

/// A profile that fits an account.
struct Fitting {
    profile: String,
    /// What it would call as, to choose by.
    role: String,
}

/// The profile that an account gets.
pub(super) struct Mapping {
    account: String,
    profile: String,
}

impl Accounts {
    /// Reads the AWS files, by `deadline`.
    pub(super) fn read(env: &Env, deadline: Instant) -> Result<Self, String> {
        let profiles = Profiles::read(env, Selected::new(env, None).name(), deadline);
        let profiles = profiles.map_err(|failure| failure.to_string())?;
        if let Some(problem) = profiles.problem() {
            return Err(problem.to_string());
        }
        let mut names: Vec<String> = profiles.names().map(str::to_owned).collect();
        names.sort();
        let mut fitting: BTreeMap<String, Vec<Fitting>> = BTreeMap::new();
        for name in &names {
            let get = |key: &str| profiles.profile(name)?.get(key).map(str::trim).filter(|value| !value.is_empty());
            let of_role = || get("role_arn")?.split(':').nth(4);
            let Some(account) = get("sso_account_id").or_else(of_role) else { continue };
            if registry::is_account(account) {
                let role = get("sso_role_name").or_else(|| get("role_arn")).unwrap_or_default().to_owned();
                fitting.entry(account.to_owned()).or_default().push(Fitting { profile: name.clone(), role });
            }
        }
        Ok(Self { fitting, names, files: profiles.neither() })
    }

    /// Takes those out that a table of the configuration matches; returns them, each with the line of that table.
    pub(super) fn take_matched(&mut self, config: &Config) -> Vec<(String, usize)> {
        let mut matched = Vec::new();
        self.fitting.retain(|account, _| match config.line_for_account(account) {
            Some(line) => {
                matched.push((account.clone(), line));
                false
            }
            None => true,
        });
        matched
    }

    /// Refuses names of profiles that cannot be chosen, and files without any profile that names an account.
    pub(super) fn check(&self, chosen: &[String]) -> Result<(), String> {
        const KEYS: &str = "sso_account_id or role_arn";
        if self.fitting.is_empty() {
            return Err(format!(
                "neither {} has a profile that names an account by {KEYS}; write the [[registry]] tables by hand",
                self.files
            ));
        }
        for name in chosen {
            if !self.names.contains(name) {
                return Err(format!("the profile '{name}' is in neither {}; correct --profile", self.files));
            }
            if !self.fitting.values().flatten().any(|one| one.profile == *name) {
                return Err(format!("the profile '{name}' names no account by {KEYS}; write its table by hand"));
            }
        }
        Ok(())
    }

    /// One profile for each account: the only one that fits, else one of the `chosen`, else the answer to a question.
    pub(super) fn choose(&self, chosen: &[String]) -> Result<Vec<Mapping>, String> {
        let (mut mappings, mut open) = (Vec::new(), Vec::new());
        for (account, fitting) in &self.fitting {
            let named: Vec<&Fitting> = fitting.iter().filter(|one| chosen.contains(&one.profile)).collect();
            match (fitting.as_slice(), named.as_slice()) {
                ([one], _) | (_, &[one]) => {
                    mappings.push(Mapping { account: account.clone(), profile: one.profile.clone() });
                }
                (_, []) => open.push((account, fitting)),
                _ => return Err(format!("--profile names {} for the account {account}; name one", both(&named))),
            }
        }
        let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
        if !open.is_empty() && !can_ask {
            let texts = open.iter().map(|(account, fitting)| {
                format!("{} fit the account {account}", both(&fitting.iter().collect::<Vec<_>>()))
            });
            let texts = texts.collect::<Vec<_>>().join(", ");
            return Err(format!(
                "{texts}; choose with --profile NAME, once for each account, or run this on a terminal"
            ));
        }
        for (account, fitting) in open {
            let profile = ask(account, fitting)?;
            mappings.push(Mapping { account: account.clone(), profile });
        }
        mappings.sort_by(|one, other| one.account.cmp(&other.account));
        Ok(mappings)
    }

    /// Tables that would help with these accounts, and others on the way; `None` where none would.
    pub(super) fn proposal(&self, accounts: &[&str], path: &Path) -> Option<String> {
        if self.names.len() < 2 || !accounts.iter().any(|account| self.fitting.contains_key(*account)) {
            return None;
        }
        let mut all: Vec<_> = self.fitting.iter().collect();
        all.sort_by_key(|(account, _)| !accounts.contains(&account.as_str()));
        let mut text =
            format!("there are several AWS profiles; '{} setup --profiles' adds to {}:\n", crate::NAME, path.display());
        let tables = all.iter().take(MOST_PROPOSED).map(|(account, fitting)| {
            let names: Vec<String> = fitting.iter().map(|one| quoted(&one.profile)).collect();
            let comment = if names.len() > 1 { format!("    # or {}", names[1..].join(", ")) } else { String::new() };
            format!("\n{}{comment}\n", table(account, &fitting[0].profile))
        });
        text.extend(tables);
        if let Some(more) = all.len().checked_sub(MOST_PROPOSED).filter(|more| *more > 0) {
            let _ = write!(text, "\nand {more} more\n");
        }
        Some(text.trim_end().to_owned())
    }
}

/// The text of the configuration with a table for each mapping that it has none for.
pub(super) fn add(text: &str, path: &Path, mappings: &[Mapping]) -> Result<String, String> {
    let read = |text: &str| Config::read(text, PathBuf::from(path)).map_err(|error| error.message().to_owned());
    let config = read(text)?;
    let mut new = text.to_owned();
    for Mapping { account, profile } in mappings.iter().filter(|one| config.line_for_account(&one.account).is_none()) {
        if !new.is_empty() {
            new += if new.ends_with('\n') { "\n" } else { "\n\n" };
        }
        new += &(table(account, profile) + "\n");
    }
    read(&new).map_err(|_| {
        let path = path.display();
        format!("{path} writes registry as a list, which no table can follow; write its entries as [[registry]] tables")
    })?;
    Ok(new)
}

/// The number of tables in a text.
pub(super) fn count(text: &str) -> usize {
    text.lines().filter(|line| line.trim_start().starts_with("[[registry]]")).count()
}

/// The glob takes in the hosts of every form: dkr.ecr, dkr.ecr-fips, dkr-ecr and dkr-ecr-fips.
fn table(account: &str, profile: &str) -> String {
    format!("[[registry]]\nmatch = \"{account}.dkr*\"\nprofile = {}", quoted(profile))
}

/// A basic string of TOML, which is written like one of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn both(fitting: &[&Fitting]) -> String {
    let names: Vec<String> = fitting.iter().map(|one| format!("'{}'", one.profile)).collect();
    let (last, others) = names.split_last().expect("there are several");
    format!("the profiles {} and {last}", others.join(", "))
}

/// Asks which profile an account gets.
fn ask(account: &str, fitting: &[Fitting]) -> Result<String, String> {
    let mut terminal = io::stderr();
    let mut question = format!("Which profile is for the account {account}?\n");
    for (index, Fitting { profile, role }) in fitting.iter().enumerate() {
        let _ = writeln!(question, "  {}) {profile}  {}", index + 1, one_line(role));
    }
    for _ in 0..MOST_QUESTIONS {
        let _ = write!(terminal, "{question}Number (1-{}): ", fitting.len()).and_then(|()| terminal.flush());
        let answer = line_from_terminal()?;
        let number = answer.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        if let Some(one) = number.and_then(|index| fitting.get(index)) {
            return Ok(one.profile.clone());
        }
    }
    Err(format!("no profile was chosen for the account {account}; choose with --profile NAME"))
}

/// A thread reads it, so that the wait has an end on every system.
fn line_from_terminal() -> Result<String, String> {
    let (send, receive) = mpsc::sync_channel(1);
    let read = move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        let _ = send.send(read.map(|count| (count > 0).then_some(line)));
    };
    thread::Builder::new().spawn(read).map_err(|error| error.to_string())?;
    match receive.recv_timeout(LONGEST_ANSWER) {
        Ok(Ok(Some(line))) => Ok(line),
        Ok(Ok(None)) => Err("the input ended before an answer; choose with --profile NAME".to_owned()),
        Ok(Err(error)) => Err(format!("the terminal cannot be read: {error}; choose with --profile NAME")),
        Err(_) => Err("there was no answer; choose with --profile NAME".to_owned()),
    }
}
