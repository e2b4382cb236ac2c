//! A `credential_process`, and what its output depends on.
//!
//! The command runs in the current directory, by `sh -c` (on Windows by `cmd.exe /C`), with the whole environment. So the key
//! holds that directory and environment, the shell and every program that a word can name, as the PATH resolves them, the state
//! of every path in the words and the way there, and the files in which the AWS CLI keeps sessions, since many of these programs ask the AWS CLI.
//! Only words and quotes are understood. With any other syntax the output is not cached: an expansion, a script inside a word or
//! a directory could refer to any file, and programs that resolve `..` by its text (Go's `filepath.Clean`) miss a link before it.
//! A change of anything else that a program reads takes effect at the next refresh.
//!
//! What is relative to the current directory is not taken out of the words: the names that the directory has are looked for in
//! them, wherever they stand. So any other name there sends a later `get` through the settings again, to the same key if no word
//! means it. What is relative may also be beside a script of the command, since many go to their own directory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::dependency::{Dependency, Names, name_digest};
use super::super::inputs::ProfileSection;
use super::super::observations::Observations;
use super::super::shell_words::{may_be_script, parts, split};
use super::super::variables::made_up_in;
use super::super::ways::on_the_way;
use super::super::word_paths::{JOINING, Named, paths, paths_from, with_glued};
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::platform;

/// A profile with a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The profile.
    pub profile: String,
    /// The command line for the shell.
    pub command: String,
}

impl Process {
    /// The process of a profile.
    pub(in super::super) fn in_profile(section: &ProfileSection<'_>) -> Option<Self> {
        let command = section.get("credential_process")?.to_owned();
        Some(Self { profile: section.name.to_owned(), command })
    }

    pub(super) fn observe(&self, observations: &mut Observations<'_>) {
        let env = observations.env;
        if env.is_empty(Env::HOME) || env.home().is_none_or(|home| check_unambiguous(&home).is_err()) {
            observations.refuse(Failure::new(
                Code::CacheUnused,
                format!("{} is no absolute path without '..', so programs may find another home directory", Env::HOME),
                "set it to the path of the home directory",
            ));
        }
        match dependencies(&self.command, env) {
            Ok((dependencies, names)) => {
                for dependency in dependencies {
                    observations.add(dependency);
                }
                if let Some(names) = names {
                    observations.add_names(&names);
                }
            }
            Err(why) => observations.refuse(Failure::new(
                Code::CacheUnused,
                format!("the helper does not understand the credential_process: {why}"),
                "write it as plain words, e.g. the path of a script and its arguments",
            )),
        }
        observations.add(Dependency::SandboxOfPrograms);
    }
}

/// The directories below the home directory in which the AWS CLI keeps sessions.
const SESSIONS: [&str; 3] = [".aws/sso/cache", ".aws/login/cache", ".aws/cli/cache"];

/// What the output of `command` depends on. Fails with the reason why this is unknown.
fn dependencies(command: &str, env: &Env) -> Result<(Vec<Dependency>, Option<Names>), String> {
    let shell = if cfg!(windows) { "cmd.exe" } else { "sh" };
    let always = [Dependency::Environment, Dependency::Directory, Dependency::Program(shell.to_owned())];
    let mut found =
        Found { env, known: always.into(), absent: BTreeMap::new(), names: None, relative: BTreeSet::new() };
    let sessions = SESSIONS.iter().filter_map(|below| Some(env.home()?.join(below)));
    for folder in sessions.chain(env.aws_file("AWS_LOGIN_CACHE_DIRECTORY")) {
        check_unambiguous(&folder)?;
        found.known.insert(Dependency::Folder(folder));
    }
    found.add_made_up(command);
    let words = split(command, env)?;
    let joining = words.iter().map(|word| 1 + word.matches(JOINING).count());
    if joining.sum::<usize>() > MOST_PARTS {
        return Err("it has too many words to look for files in".to_owned());
    }
    let before = std::iter::once("").chain(words.iter().map(String::as_str));
    for (word, before) in words.iter().zip(before) {
        if may_be_script(word, before, env) {
            return Err("one of its words may be a script".to_owned());
        }
        // The PATH has the program, whatever the current directory holds.
        let is_program = before.is_empty() && !word.contains(['/', '\\']);
        for part in std::iter::once(word.as_str()).chain(parts(word)) {
            found.add_word(part, is_program, 0)?;
        }
    }
    found.add_beside_scripts()?;
    let absent = std::mem::take(&mut found.absent).into_iter();
    found.known.extend(absent.map(|(dir, names)| Dependency::Absent(dir, names.into_iter().collect())));
    let mut ways = on_the_way(&found.known, env);
    found.known.append(&mut ways);
    Ok((found.known.into_iter().collect(), found.names))
}

/// The dependencies that were found. A word of the command may be a password, and the cache stores what a token depends on: so a
/// path that does not exist is a hash of its name, and a program that the PATH does not have is left out.
struct Found<'a> {
    env: &'a Env,
    known: BTreeSet<Dependency>,
    /// Hashes of the names of what does not exist, by directory.
    absent: BTreeMap<PathBuf, BTreeSet<String>>,
    /// The names in the current directory, once a word may be relative to it.
    names: Option<Names>,
    /// The paths in words that are relative to a directory.
    relative: BTreeSet<PathBuf>,
}

impl Found<'_> {
    /// Adds what a word may name, and what the words in the first line of a script do. `depth` counts such lines.
    fn add_word(&mut self, word: &str, is_program: bool, depth: usize) -> Result<(), String> {
        if word.contains("file:") && word.contains(['%', '{', '[']) {
            return Err("one of its words is a URL of a file with other characters than those of its path".to_owned());
        }
        if word.contains('$') && word.contains('/') {
            return Err("one of its words is a path with a variable, which the program may expand".to_owned());
        }
        self.add_made_up(word);
        self.add_programs(word, depth)?;
        // An ARN is no path.
        let word = word.split("arn:").next().unwrap_or_default();
        if is_program || word.is_empty() {
            return Ok(());
        }
        let is_absolute = word.starts_with('/') && !word.contains(JOINING);
        if !is_absolute && self.names.is_none() {
            self.names = Some(Names::here().ok_or("the current directory has too many names")?);
        }
        let mut all = paths(word);
        if let Some(names) = self.names.as_ref().filter(|_| !is_absolute) {
            all.extend(paths_from(names, word));
        }
        for Named { path, is_value } in all {
            let expanded = self.env.expand(&path);
            if is_value && expanded.is_dir() {
                return Err("one of its words is a directory, and changes in it cannot be detected".to_owned());
            }
            // Programs replace a `~` that the shell leaves.
            for path in BTreeSet::from([path, expanded]) {
                self.add_path(&path, depth)?;
                self.relative.extend(Some(path).filter(|path| path.is_relative()));
            }
        }
        Ok(())
    }

    /// Adds the files of words beside the scripts that have them: many scripts go to their own directory.
    fn add_beside_scripts(&mut self) -> Result<(), String> {
        let paths = self.known.iter().filter_map(|dependency| match dependency {
            Dependency::Path(path) if first_line(path).is_some() => path.parent(),
            _ => None,
        });
        let dirs: BTreeSet<PathBuf> = paths.map(Path::to_owned).collect();
        let words = std::mem::take(&mut self.relative);
        for beside in dirs.iter().flat_map(|dir| words.iter().map(|path| dir.join(path))) {
            if beside.is_file() {
                self.add_path(&beside, 0)?;
            }
        }
        Ok(())
    }

    fn add_made_up(&mut self, text: &str) {
        self.known.extend(made_up_in(text).map(|name| Dependency::MadeUp(name.to_owned())));
    }

    /// Adds the programs that the PATH has under a name in a word, and the file that a shell finds there as a script.
    fn add_programs(&mut self, word: &str, depth: usize) -> Result<(), String> {
        let names = std::iter::once(word).chain(word.split(JOINING)).flat_map(with_glued);
        for name in names.filter(|name| !name.is_empty() && !name.contains(['/', '\\'])) {
            let program = self.env.find_program(name);
            self.known.extend(program.iter().map(|_| Dependency::Program(name.to_owned())));
            let script = self.env.search_path().map(|dir| dir.join(name)).find(|path| path.is_file());
            for path in BTreeSet::from([program, script]).into_iter().flatten() {
                self.add_path(&path, depth)?;
            }
        }
        Ok(())
    }

    fn add_path(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        check_unambiguous(path)?;
        if path.is_dir() {
            return Ok(());
        }
        if path.metadata().is_ok_and(|metadata| platform::is_channel(&metadata)) {
            return Err("one of its words is a FIFO or a socket, whose content cannot be compared".to_owned());
        }
        if path.symlink_metadata().is_ok() {
            if self.known.insert(Dependency::Path(path.to_owned())) {
                self.add_interpreter(path, depth + 1)?;
            }
        } else if let Some((existing, name)) = first_absent(path) {
            // The names in the current directory count in any case.
            if existing == Path::new(".") {
                return Ok(());
            }
            if existing.is_dir() {
                self.absent.entry(existing).or_default().insert(name_digest(&name));
            } else {
                self.known.insert(Dependency::Path(existing));
            }
        }
        Ok(())
    }

    /// Adds the words of the `#!` line of a script, whose interpreter may be one itself.
    fn add_interpreter(&mut self, file: &Path, depth: usize) -> Result<(), String> {
        let Some(line) = first_line(file).filter(|_| depth <= MOST_SCRIPTS) else { return Ok(()) };
        if line.contains(['"', '\'', '\\', '$']) {
            return Err("a script of it has quotes or variables in its first line".to_owned());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let by_env = words.first().is_some_and(|program| program.ends_with("/env"));
        for (at, word) in words.iter().enumerate() {
            // The PATH has what env looks up.
            let is_program = by_env && at == 1 && !word.contains(['/', '-', '=']);
            self.add_word(word, is_program, depth)?;
        }
        Ok(())
    }
}

/// The last part of a path that exists, and the name of the first one that does not.
fn first_absent(path: &Path) -> Option<(PathBuf, OsString)> {
    let existing = path.ancestors().skip(1).find(|above| above.as_os_str().is_empty() || above.metadata().is_ok())?;
    let name = path.strip_prefix(existing).ok()?.components().next()?.as_os_str().to_owned();
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    Some((existing.to_owned(), name))
}

/// Fails when programs may take a path for another one than the kernel does.
fn check_unambiguous(path: &Path) -> Result<(), String> {
    let is_ambiguous = path.to_string_lossy().contains("..");
    if is_ambiguous { Err("a path has '..', which some programs resolve by its text alone".to_owned()) } else { Ok(()) }
}

/// What the `#!` line of a script says: its interpreter, and an argument for that.
fn first_line(file: &Path) -> Option<String> {
    let mut line = Vec::new();
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let read = is_file.then(|| File::open(file).and_then(|file| file.take(LONGEST_LINE).read_to_end(&mut line)));
    read?.ok()?;
    Some(String::from_utf8_lossy(line.strip_prefix(b"#!")?).lines().next()?.to_owned())
}

/// The length of a `#!` line that the kernel reads (execve(2)).
const LONGEST_LINE: u64 = 256;

/// How many words and joined parts a command may have. Each may be several paths, which a hit looks at.
const MOST_PARTS: usize = 256;

/// How many scripts may be one another's interpreters (Linux, `fs/exec.c`).
const MOST_SCRIPTS: usize = 5;

#[cfg(all(test, unix))]
mod tests {
    use super::dependencies;
    use crate::env::Env;
    use crate::identity::dependency::{Dependency, name_digest};

    #[test]
    fn a_command_of_many_parts_is_not_searched() {
        for many in [",".repeat(60_000), "a ".repeat(30_000), "/a=b:".repeat(10_000)] {
            let found = dependencies(&format!("keys {many}"), &Env::default());
            assert_eq!(found.map(drop), Err("it has too many words to look for files in".to_owned()));
        }
    }

    #[test]
    fn the_directory_and_the_sessions_of_the_aws_cli_always_count() {
        let env = [("HOME", "/h")].into_iter().collect::<Env>();
        let (all, _) = dependencies("/bin/sh ~/b", &env).expect("an understood command");
        for one in [
            Dependency::Directory,
            Dependency::Environment,
            Dependency::Path("/bin/sh".into()),
            Dependency::Absent("/".into(), vec![name_digest("h".as_ref())]),
            Dependency::Program("sh".to_owned()),
            Dependency::Folder("/h/.aws/cli/cache".into()),
        ] {
            assert!(all.contains(&one), "{one:?} in {all:?}");
        }
        assert!(dependencies("sh -c 'a b'", &env).is_err() && dependencies("sh -c 'echo $X'", &env).is_err());
    }
}
