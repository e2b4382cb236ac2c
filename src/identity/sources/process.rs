//! A `credential_process`, and what its output depends on.
//!
//! The command runs in the current directory, by `sh -c` (on Windows by `cmd.exe /C`), with the whole environment. So the key
//! holds that directory and environment, the shell and every program that a word can name, as the PATH resolves them, the state
//! of every path in the words, and the files in which the AWS CLI keeps sessions, since many of these programs ask the AWS
//! CLI. Only words and quotes are understood. With any other syntax the output is not cached: an expansion, a script inside a
//! word or a directory could refer to any file. A change of anything else that a program reads takes effect at the next
//! refresh.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::dependency::{Dependency, name_digest};
use super::super::inputs::ProfileSection;
use super::super::observations::Observations;
use super::super::shell_words::{may_be_script, parts, split};
use super::super::variables::made_up_in;
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;

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
        match dependencies(&self.command, observations.env) {
            Ok(dependencies) => dependencies.into_iter().for_each(|dependency| observations.add(dependency)),
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
fn dependencies(command: &str, env: &Env) -> Result<Vec<Dependency>, String> {
    let shell = if cfg!(windows) { "cmd.exe" } else { "sh" };
    let always = [Dependency::Environment, Dependency::Directory, Dependency::Program(shell.to_owned())];
    let mut found = Found { env, known: always.into(), absent: BTreeMap::new() };
    let sessions = SESSIONS.iter().filter_map(|below| Some(env.home()?.join(below)));
    found.known.extend(sessions.chain(env.aws_file("AWS_LOGIN_CACHE_DIRECTORY")).map(Dependency::Folder));
    found.known.extend(made_up_in(command).map(|name| Dependency::MadeUp(name.to_owned())));
    let words = split(command, env)?;
    let joining = words.iter().map(|word| 1 + word.matches(JOINING).count());
    if joining.sum::<usize>() > MOST_PARTS {
        return Err("it has too many words to look for files in".to_owned());
    }
    let before = std::iter::once("").chain(words.iter().map(String::as_str));
    for (word, before) in words.iter().zip(before) {
        found.add_word(word, before)?;
    }
    let absent = found.absent.into_iter();
    found.known.extend(absent.map(|(dir, names)| Dependency::Absent(dir, names.into_iter().collect())));
    Ok(found.known.into_iter().collect())
}

/// The dependencies that were found. A word of the command may be a password, and the cache stores what a token depends on: so a
/// path that does not exist is a hash of its name, and a program that the PATH does not have is left out.
struct Found<'a> {
    env: &'a Env,
    known: BTreeSet<Dependency>,
    /// Hashes of the names of what does not exist, by directory.
    absent: BTreeMap<PathBuf, BTreeSet<String>>,
}

impl Found<'_> {
    /// Adds what a word may name that comes after another one.
    fn add_word(&mut self, text: &str, before: &str) -> Result<(), String> {
        if may_be_script(text, before, self.env) {
            return Err("one of its words may be a script".to_owned());
        }
        // The PATH has the program, whatever the current directory holds.
        let is_program = before.is_empty() && !text.contains(['/', '\\']);
        let is_directory = |part: &str| {
            let after_letter = part.strip_prefix('-').and_then(|rest| rest.get(1..)).unwrap_or_default();
            !is_program && (Path::new(part).is_dir() || Path::new(after_letter).is_dir())
        };
        let parts: Vec<&str> = std::iter::once(text).chain(parts(text)).collect();
        if parts.iter().flat_map(|part| std::iter::once(*part).chain(part.split(JOINING))).any(is_directory) {
            return Err("one of its words is a directory, and changes in it cannot be detected".to_owned());
        }
        if text.contains("file:") && text.contains(['%', '{', '[']) {
            return Err("one of its words is a URL of a file with other characters than those of its path".to_owned());
        }
        let mut files: Vec<PathBuf> = parts.into_iter().flat_map(paths).collect();
        // Programs replace a `~` that the shell leaves.
        let in_home: Vec<_> =
            files.iter().filter(|file| file.starts_with("~")).map(|file| self.env.expand(file)).collect();
        files.extend(in_home);
        if !text.contains(['/', '\\']) {
            files.extend(self.add_program(text));
        }
        for word in files.iter().flat_map(|file| interpreter(file)) {
            if word.contains('/') {
                self.add_path(Path::new(&word));
            } else {
                self.add_program(&word);
            }
        }
        for file in &files {
            self.add_path(file);
        }
        Ok(())
    }

    /// Adds a program that the PATH has, and returns its path.
    fn add_program(&mut self, name: &str) -> Option<PathBuf> {
        let path = self.env.find_program(name)?;
        self.known.insert(Dependency::Program(name.to_owned()));
        Some(path)
    }

    fn add_path(&mut self, path: &Path) {
        if path.symlink_metadata().is_ok() {
            self.known.insert(Dependency::Path(path.to_owned()));
        } else if let Some((existing, name)) = first_absent(path) {
            if existing.is_dir() {
                self.absent.entry(existing).or_default().insert(name_digest(&name));
            } else {
                self.known.insert(Dependency::Path(existing));
            }
        }
    }
}

/// The last part of a path that exists, and the name of the first one that does not.
fn first_absent(path: &Path) -> Option<(PathBuf, OsString)> {
    let existing = path.ancestors().skip(1).find(|above| above.as_os_str().is_empty() || above.metadata().is_ok())?;
    let name = path.strip_prefix(existing).ok()?.components().next()?.as_os_str().to_owned();
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    Some((existing.to_owned(), name))
}

/// The words of the `#!` line of a script: its interpreter, and the program that `env` looks up.
fn interpreter(file: &Path) -> Vec<String> {
    let mut line = Vec::new();
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let read = is_file.then(|| File::open(file).and_then(|file| file.take(LONGEST_LINE).read_to_end(&mut line)));
    let text = String::from_utf8_lossy(&line);
    match (read, text.lines().next().and_then(|line| line.strip_prefix("#!"))) {
        (Some(Ok(_)), Some(words)) => words.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The length of a `#!` line that the kernel reads (execve(2)).
const LONGEST_LINE: u64 = 256;

/// How many words and joined parts a command may have. Each may be several paths, which a hit looks at.
const MOST_PARTS: usize = 256;

/// How many letters of options are taken apart from what follows them in a word.
const MOST_LETTERS: usize = 4;

/// Characters that may join several paths, or a path and something else, into one word.
const JOINING: &[char] = &['=', ':', ',', '@', ';', '|', '+', '%', '#', '\'', '"'];

/// Every path that a word may hold: the word itself, the parts between joining characters, the part after the letters of options, the
/// part from the first slash on, and in a URL the part after the host.
fn paths(word: &str) -> Vec<PathBuf> {
    let ends = word.char_indices().filter(|(_, c)| JOINING.contains(c)).map(|(at, _)| at);
    let mut found = vec![word];
    found.extend(ends.clone().flat_map(|at| [&word[..at], &word[at + 1..]]));
    found.extend(word.split(JOINING));
    for part in found.clone() {
        found.extend(part.find('/').map(|slash| &part[slash..]));
        let after_host = part.strip_prefix("//").and_then(|rest| Some(&rest[rest.find('/')?..]));
        found.extend(after_host);
        // An option is a hyphen and a letter, and several may share the hyphen.
        let letters = part.strip_prefix('-').filter(|rest| !rest.starts_with('-')).unwrap_or_default();
        found.extend((1..=MOST_LETTERS).filter_map(|count| letters.get(count..)));
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::PathBuf;

    use super::{dependencies, paths};
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
    fn every_path_in_a_word_is_found() {
        for (word, expected) in [
            ("--file=/a/b", &["/a/b"][..]),
            ("-f/a/b", &["/a/b"]),
            ("-fa", &["a"]),
            ("-sfmk", &["mk"]),
            ("file://localhost/a/b", &["/a/b"]),
            ("/a/b:/c", &["/a/b", "/c"]),
            ("r/a/b", &["/a/b"]),
            ("file:///a/b", &["///a/b"]),
            ("@/a/b", &["/a/b"]),
            ("x=y/z,/c", &["y/z", "/c"]),
            ("a/b", &["a/b"]),
        ] {
            let found = paths(word);
            assert!(expected.iter().all(|path| found.contains(&PathBuf::from(path))), "{word}: {found:?}");
        }
    }

    #[test]
    fn the_directory_and_the_sessions_of_the_aws_cli_always_count() {
        let env = [("HOME", "/h")].into_iter().collect::<Env>();
        let all = dependencies("/bin/sh ~/b", &env).expect("an understood command");
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
