//! `[[registry]]` tables of the helper's configuration file that map accounts to AWS profiles.
//!
//! A profile names its account in `sso_account_id` or in `role_arn`. Where several profiles fit one account, a person chooses:
//! on the terminal, or by `--profile`. Tables are appended, so every byte of the file stays and its earlier tables apply
//! first; an account that one of them matches gets no table.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Instant;

use super::effect::{Edited, Effect, Entry};
use super::json::quoted;
use crate::code::Code;
use crate::config::Config;
use crate::env::Env;
use crate::error::{Error, Failure, one_line};
use crate::identity::{Profiles, paths, profile_failure};
use crate::input;
use crate::platform;
use crate::registry::Account;
use crate::terminal;

/// How often a question is repeated after an unusable answer.
const MOST_QUESTIONS: usize = 3;

/// The limit on proposed tables and on accounts in a message, so that the rest of the output stays on the screen.
const MOST_PROPOSED: usize = 5;

/// The profiles of each account.
pub(super) struct Accounts {
    fitting: BTreeMap<Account, Vec<Fitting>>,
    names: Vec<String>,
    /// Why profiles that seem to name an account are left out, a line each.
    pub(super) left_out: Vec<String>,
    /// The files that were read, as the object of "is in neither".
    files: String,
    /// Why a section that names an account is no profile, where no profile fits any account.
    misspelt: Option<Failure>,
}

/// A profile that fits an account.
struct Fitting {
    profile: String,
    /// The role that it uses, shown for the choice.
    role: String,
}

/// The profile that each account gets.
pub(super) type Mappings = BTreeMap<Account, String>;

impl Accounts {
    /// Reads the AWS files, by `deadline`.
    pub(super) fn read(env: &Env, deadline: Instant) -> Result<Self, Failure> {
        refuse_links_of_others(env)?;
        let profiles = Profiles::read(env, deadline)?;
        if let Some(problem) = profiles.problem() {
            return Err(problem.clone());
        }
        let names: Vec<String> = profiles.names().into_iter().map(str::to_owned).collect();
        let mut fitting: BTreeMap<Account, Vec<Fitting>> = BTreeMap::new();
        let mut left_out = Vec::new();
        for name in &names {
            let get = |key: &str| profiles.profile(name)?.get(key);
            let of_role = || get("role_arn")?.split(':').nth(4);
            let Some(account) = get("sso_account_id").or_else(of_role) else { continue };
            if let Some(failure) = profile_failure(env, &profiles, name) {
                left_out.push(format!("left the profile '{name}' out: {}", failure.what));
                continue;
            }
            match account.parse() {
                Ok(account) => {
                    let role = get("sso_role_name").or_else(|| get("role_arn")).unwrap_or_default().to_owned();
                    fitting.entry(account).or_default().push(Fitting { profile: name.clone(), role });
                }
                Err(wrong) => left_out.push(format!("left the profile '{name}' out: {wrong}")),
            }
        }
        let files = profiles.neither();
        let misspelt = fitting.is_empty().then(|| profiles.misspelt_with(&["sso_account_id", "role_arn"])).flatten();
        Ok(Self { fitting, names, left_out, files, misspelt })
    }

    /// Removes the accounts that a table of the configuration matches, and returns them with the lines of these tables.
    pub(super) fn take_matched(&mut self, config: &Config) -> Vec<(Account, usize)> {
        let line = |account: &Account| Some((*account, config.line_for_account(*account)?));
        let matched: Vec<_> = self.fitting.keys().filter_map(line).collect();
        for (account, _) in &matched {
            self.fitting.remove(account);
        }
        matched
    }

    /// Refuses profiles that cannot be chosen, and files in which no profile names an account.
    pub(super) fn check(&self, chosen: &[String]) -> Result<(), Error> {
        const KEYS: &str = "sso_account_id or role_arn";
        if self.fitting.is_empty() && !self.left_out.is_empty() {
            let what = format!("no profile that names an account can be used: {}", first(&self.left_out, "; "));
            return Err(Error::failed(Code::ProfileInvalid, what, "correct the profiles"));
        }
        if let (true, Some(failure)) = (self.fitting.is_empty(), &self.misspelt) {
            return Err(failure.clone().into());
        }
        if self.fitting.is_empty() {
            let what = format!("neither {} has a profile that names an account by {KEYS}", self.files);
            return Err(Error::failed(Code::ProfileMissing, what, "write the [[registry]] tables by hand"));
        }
        for name in chosen {
            if !self.names.contains(name) {
                let what = format!("the profile '{name}' is in neither {}", self.files);
                return Err(Error::failed(Code::ProfileMissing, what, "correct --profile"));
            }
            if !self.fitting.values().flatten().any(|one| one.profile == *name) {
                let what = format!("the profile '{name}' names no account by {KEYS}");
                return Err(Error::failed(Code::ProfileInvalid, what, "write its table by hand"));
            }
        }
        Ok(())
    }

    /// Chooses one profile for each account: the only one that fits, else one of the `chosen`, else the answer to a question.
    pub(super) fn choose(&self, chosen: &[String]) -> Result<Mappings, Error> {
        let mut mappings = Mappings::new();
        let mut undecided = Vec::new();
        for (account, fitting) in &self.fitting {
            let named: Vec<&Fitting> = fitting.iter().filter(|one| chosen.contains(&one.profile)).collect();
            match (fitting.as_slice(), named.as_slice()) {
                ([one], _) | (_, &[one]) => _ = mappings.insert(*account, one.profile.clone()),
                (_, []) => undecided.push((*account, fitting.as_slice())),
                _ => {
                    let profiles = list_profiles(named);
                    return Err(Error::usage(format!(
                        "--profile names {profiles} for the account {account}; name one"
                    )));
                }
            }
        }
        let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
        if !undecided.is_empty() && !can_ask {
            return Err(cannot_ask(&undecided));
        }
        for (account, fitting) in undecided {
            mappings.insert(account, ask(account, fitting)?);
        }
        Ok(mappings)
    }

    /// Returns tables to propose for these accounts, followed by those for other accounts; `None` if no profile fits any of
    /// these accounts.
    pub(super) fn proposal(&self, accounts: &[Account], path: &Path) -> Option<String> {
        if self.names.len() < 2 || !accounts.iter().any(|account| self.fitting.contains_key(account)) {
            return None;
        }
        let mut all: Vec<_> = self.fitting.iter().collect();
        all.sort_by_key(|(account, _)| !accounts.contains(account));
        let mut text =
            format!("there are several AWS profiles; '{} setup --profiles' adds to {}:\n", crate::NAME, path.display());
        let tables = all.iter().take(MOST_PROPOSED).map(|(account, fitting)| {
            let names: Vec<String> = fitting.iter().map(|one| quoted(&one.profile)).collect();
            let comment = if names.len() > 1 { format!("    # or {}", names[1..].join(", ")) } else { String::new() };
            format!("\n{}{comment}\n", table(**account, &fitting[0].profile))
        });
        text.extend(tables);
        if let Some(more) = all.len().checked_sub(MOST_PROPOSED).filter(|more| *more > 0) {
            let _ = write!(text, "\nand {more} more\n");
        }
        Some(text.trim_end().to_owned())
    }
}

/// Adds a table for each mapping whose account no table matches.
pub(super) fn add(text: &str, path: &Path, mappings: &Mappings) -> Result<Edited, Error> {
    let read = |text: &str| Config::read(text, Path::new(path));
    let config = read(text)?;
    let (mut new, mut count) = (text.to_owned(), 0);
    for (account, profile) in mappings.iter().filter(|(account, _)| config.line_for_account(**account).is_none()) {
        count += 1;
        if !new.is_empty() {
            new += if new.ends_with('\n') { "\n" } else { "\n\n" };
        }
        new += &(table(*account, profile) + "\n");
    }
    if count > 0 && new.len() as u64 > input::LARGEST_SETTINGS {
        let (path, limit) = (path.display(), input::LARGEST_SETTINGS / 1024);
        let what = format!("with {count} more tables, {path} would exceed {limit} KiB, the limit");
        let hint = "write one table for many accounts: with a pattern as 'match', and '{account}' in 'role_arn'";
        return Err(Error::failed(Code::ConfigInvalid, what, hint));
    }
    read(&new).map_err(|_| {
        let what = format!("{} writes registry as a list, which no table can follow", path.display());
        Error::failed(Code::ConfigInvalid, what, "write its entries as [[registry]] tables")
    })?;
    Ok(Edited::new(new, [Effect::Added(count, Entry::RegistryTable)]))
}

/// Returns a table whose glob matches the hosts of every form: dkr.ecr, dkr.ecr-fips, dkr-ecr and dkr-ecr-fips.
fn table(account: Account, profile: &str) -> String {
    // A basic string of TOML has the syntax of a JSON string.
    format!("[[registry]]\nmatch = \"{account}.dkr*\"\nprofile = {}", quoted(profile))
}

/// Refuses links on the way to the AWS files in another user's home directory: what root reads there gets into a file of that
/// user, who may not be allowed to read what a link leads to.
fn refuse_links_of_others(env: &Env) -> Result<(), Failure> {
    let Some(home) = env.home().filter(|home| platform::is_root_elsewhere(home)) else { return Ok(()) };
    for file in paths(env).into_iter().flatten() {
        let mut below = file.ancestors().take_while(|path| path.starts_with(&home) && *path != home);
        if let Some(link) = below.find(|path| path.is_symlink()) {
            let what = format!("{} is a symbolic link of another user, which root does not follow", link.display());
            return Err(Failure::new(Code::AwsFileInvalid, what, "run setup as that user"));
        }
    }
    Ok(())
}

fn list_profiles<'a>(fitting: impl IntoIterator<Item = &'a Fitting>) -> String {
    let names: Vec<String> = fitting.into_iter().map(|one| format!("'{}'", one.profile)).collect();
    let (last, others) = names.split_last().expect("several profiles");
    format!("the profiles {} and {last}", others.join(", "))
}

/// The first texts, and how many there are more.
fn first(texts: &[String], separator: &str) -> String {
    let mut first = texts[..texts.len().min(MOST_PROPOSED)].join(separator);
    if let Some(more) = texts.len().checked_sub(MOST_PROPOSED).filter(|more| *more > 0) {
        let _ = write!(first, "{separator}and so on for {more} more");
    }
    first
}

fn cannot_ask(undecided: &[(Account, &[Fitting])]) -> Error {
    let text = |(account, fitting): &(_, _)| format!("{} fit the account {account}", list_profiles(*fitting));
    let texts: Vec<String> = undecided.iter().map(text).collect();
    let hint = "choose with --profile NAME, once for each account, or run this on a terminal";
    Error::failed(Code::Unanswered, first(&texts, ", "), hint)
}

/// Asks which profile an account gets.
fn ask(account: Account, fitting: &[Fitting]) -> Result<String, Error> {
    let mut question = format!("Which profile is for the account {account}?\n");
    for (index, Fitting { profile, role }) in fitting.iter().enumerate() {
        let _ = writeln!(question, "  {}) {profile}  {}", index + 1, one_line(role));
    }
    for _ in 0..MOST_QUESTIONS {
        let answer = terminal::ask(&format!("{question}Number (1-{}): ", fitting.len())).map_err(unanswered)?;
        let number = answer.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        if let Some(one) = number.and_then(|index| fitting.get(index)) {
            return Ok(one.profile.clone());
        }
    }
    Err(unanswered(format!("no profile was chosen for the account {account}")))
}

fn unanswered(what: impl Display) -> Error {
    Error::failed(Code::Unanswered, what.to_string(), "choose with --profile NAME")
}
