//! Derives from the command line of a `credential_process` what its output depends on.
//!
//! The command runs in the current directory, by `sh -c` (on Windows by `cmd.exe /C`), with the whole environment. So the key
//! holds that environment, the shell and every program that a word can name, as the PATH resolves them, the state of every
//! path in the words, and the current directory unless all words are absolute paths. Only words, quotes, `~`, redirections
//! and lists of commands are supported. With any other syntax the output is not cached: an expansion, a script inside a word
//! or a directory could refer to any file. A change of anything else that a program reads takes effect at the next refresh.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::dependency::Dependency;
use super::shell_words::{Start, Unsupported, Word, split, split_for_cmd};
use crate::client_config;
use crate::env::Env;

/// What the output of `command` depends on.
pub(super) fn dependencies(command: &str, env: &Env) -> Result<Vec<Dependency>, Unsupported> {
    let words = if cfg!(windows) { split_for_cmd(command)? } else { split(command)? };
    let shell = if cfg!(windows) { "cmd.exe" } else { "sh" };
    let mut all = vec![Dependency::Environment, Dependency::Program(shell.to_owned())];
    for word in words {
        let text = match word {
            Word { text, start: Start::Home } => env.expand(Path::new(&text)).to_string_lossy().into_owned(),
            Word { text, start: Start::Literal } => text,
        };
        all.extend(dependencies_of_word(&text, env)?);
    }
    all.sort();
    all.dedup();
    Ok(all)
}

fn dependencies_of_word(text: &str, env: &Env) -> Result<Vec<Dependency>, Unsupported> {
    let path = Path::new(text);
    if text.contains(SCRIPT) && !path.exists() {
        return Err(Unsupported::Syntax("one of its words may be a script"));
    }
    let is_directory = |part: &str| part.contains(['/', '.']) && Path::new(part).is_dir();
    if std::iter::once(text).chain(text.split(JOINING)).any(is_directory) {
        return Err(Unsupported::Syntax("one of its words is a directory, and changes in it cannot be detected"));
    }
    let mut all = Vec::new();
    if !path.is_absolute() {
        all.push(Dependency::Directory);
    }
    let mut files = paths(text);
    if !text.contains(['/', '\\']) {
        files.extend(client_config::on_path(env, text));
        all.push(Dependency::Program(text.to_owned()));
    }
    for word in files.iter().flat_map(|file| interpreter(file)) {
        all.push(if word.contains('/') { Dependency::Path(word.into()) } else { Dependency::Program(word) });
    }
    all.extend(files.into_iter().map(Dependency::Path));
    Ok(all)
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

/// Characters that may join several paths, or a path and something else, into one word.
const JOINING: &[char] = &['=', ':', ',', '@', ';', '|', '+', '%', '#', '\'', '"'];

/// Every path that a word may hold: the word itself, the parts between joining characters, the part after an option's
/// letter, and the part from the first slash on.
fn paths(word: &str) -> Vec<PathBuf> {
    let ends = word.char_indices().filter(|(_, c)| JOINING.contains(c)).map(|(at, _)| at);
    let mut found = vec![word];
    found.extend(ends.clone().flat_map(|at| [&word[..at], &word[at + 1..]]));
    found.extend(word.split(JOINING));
    for part in found.clone() {
        found.extend(part.find('/').map(|slash| &part[slash..]));
        // An option is a hyphen and a letter.
        found.extend(part.strip_prefix('-').and_then(|rest| rest.get(1..)));
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

/// Characters that have a meaning for a shell: a quoted word with one of them may be a script.
const SCRIPT: &[char] = &[' ', '\t', '\n', '$', '`', ';', '&', '|', '<', '>', '(', ')', '*', '?', '{', '}'];

#[cfg(all(test, unix))]
mod tests {
    use std::path::PathBuf;

    use super::{dependencies, paths};
    use crate::env::Env;
    use crate::identity::dependency::Dependency;

    #[test]
    fn every_path_in_a_word_is_found() {
        for (word, expected) in [
            ("--file=/a/b", &["/a/b"][..]),
            ("-f/a/b", &["/a/b"]),
            ("-fa", &["a"]),
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
    fn a_command_of_absolute_paths_alone_does_not_depend_on_the_directory() {
        let env = [("HOME", "/h")].into_iter().collect::<Env>();
        let directory = |command| dependencies(command, &env).expect(command).contains(&Dependency::Directory);
        assert!(!directory("/bin/a /b ~/c"));
        assert!(directory("/bin/a b") && directory("a") && directory("/bin/a ./b"));
        let all = dependencies("a ~/b <c", &env).expect("an understood command");
        for path in ["/h/b", "c"] {
            assert!(all.contains(&Dependency::Path(path.into())), "{all:?}");
        }
        for program in ["sh", "a"] {
            assert!(all.contains(&Dependency::Program(program.to_owned())), "{all:?}");
        }
        assert!(dependencies("sh -c 'a; b'", &env).is_err() && dependencies("sh -c 'echo $X'", &env).is_err());
    }
}
