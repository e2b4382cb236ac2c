//! Manual pages and completions: they agree with the program, and man and the shells accept them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use docker_credential_ecr_login::config::{Config, KEYS, REGISTRY_KEYS};
use docker_credential_ecr_login::env::VARIABLES;
use tempfile::TempDir;

use crate::helper::Helper;
use crate::namespace::{missing, skip};
use crate::process::output;

const PAGES: [&str; 2] = ["docker-credential-ecr-login.1", "docker-credential-ecr-login-config.5"];
const BASH: &str = "docker-credential-ecr-login.bash";
const ZSH: &str = "_docker-credential-ecr-login";
const FISH: &str = "docker-credential-ecr-login.fish";
const POWERSHELL: &str = "docker-credential-ecr-login.ps1";

/// The files that the program generates.
struct Generated(TempDir);

impl Generated {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let into = dir.path().join("not/yet");
        Helper::bare().run(&["generate", into.to_str().expect("UTF-8")], "").silent();
        let mut names: Vec<_> =
            fs::read_dir(&into).expect("files").map(|file| file.expect("a file").file_name()).collect();
        names.sort();
        let mut expected = [&PAGES[..], &[BASH, ZSH, FISH, POWERSHELL]].concat();
        expected.sort_unstable();
        assert_eq!(names, expected);
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("not/yet").join(name)
    }

    /// Returns a page without roff's escapes.
    fn page(&self, name: &str) -> String {
        let source = fs::read_to_string(self.path(name)).expect("a page");
        let plain = ["\\fB", "\\fI", "\\fR", "\\&"].iter().fold(source, |text, font| text.replace(font, ""));
        plain.replace("\\-", "-").replace("\\*(Aq", "'").replace("\\(aq", "'")
    }
}

/// Returns the commands that `--help` shows.
fn commands() -> Vec<String> {
    let help = Helper::bare().run(&["--help"], "").stdout;
    let (_, rest) = help.split_once("Commands:\n").expect("commands");
    let names = rest.lines().take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    let names: Vec<_> = names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    assert!(names.len() >= 7 && !names.contains(&"ecr".to_owned()), "{names:?}");
    names
}

/// Returns the long options that a command's help shows.
fn options(command: &str) -> Vec<String> {
    let ran = Helper::bare().run(&[command, "--help"], "");
    let of_line = |line: &str| {
        let start = line.find("--").filter(|_| line.trim_start().starts_with('-'))?;
        line[start..].split([' ', '=']).next().map(str::to_owned)
    };
    if ran.code == Some(0) { ran.stdout.lines().filter_map(of_line).collect() } else { Vec::new() }
}

#[test]
fn the_manual_has_every_command_option_and_variable() {
    let generated = Generated::new();
    let page = generated.page(PAGES[0]);
    let (_, rest) = page.split_once(".SH COMMANDS\n").expect("a section");
    let sections: Vec<_> = rest.split(".SH ").next().expect("a section").split(".SS ").skip(1).collect();
    let named: Vec<_> = sections.iter().map(|text| text.lines().next().expect("a name").trim_matches('"')).collect();
    assert_eq!(named, commands());
    let mut seen = 0;
    for (command, section) in named.iter().zip(sections) {
        assert!(!section.contains("--help"), "the synopsis has it: {section}");
        for option in options(command).iter().filter(|option| *option != "--help") {
            assert!(section.contains(option), "{option} of {command} in {section}");
            seen += 1;
        }
    }
    assert!(seen > 8, "{seen}");
    let (_, variables) = page.split_once(".SH ENVIRONMENT\n").expect("a section");
    for (name, what) in VARIABLES {
        assert!(variables.contains(&format!(".TP\n{name}\n{what}\n")), "{name}: {variables}");
    }
    for section in ["FILES", "\"EXIT STATUS\"", "EXAMPLES", "\"SEE ALSO\""] {
        assert!(page.contains(&format!(".SH {section}\n")), "{section}");
    }
}

#[test]
fn the_manual_and_the_readme_have_every_key_of_the_configuration() {
    let page = Generated::new().page(PAGES[1]);
    let readme = fs::read_to_string("README.md").expect("a readme");
    let example = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    Config::read(example, "README.md".as_ref()).expect("the example is good");
    for key in KEYS.iter().chain(REGISTRY_KEYS) {
        assert!(
            page.contains(&format!(".TP\n{}\n{}. Default: {}.\n", key.name, key.kind, key.default)),
            "{}",
            key.name
        );
        assert!(page.contains(key.what), "{}", key.name);
        assert!(example.lines().any(|line| line.starts_with(&format!("{} = ", key.name))), "{}", key.name);
    }
}

#[test]
fn man_renders_the_pages_without_warnings() {
    if missing(&["man"]).is_some() {
        return skip("pages", "man is not installed");
    }
    let generated = Generated::new();
    for name in PAGES {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l"]).arg(generated.path(name)).env("MANWIDTH", "100");
        let Output { status, stdout, stderr } = output(&mut man);
        assert!(status.success() && stderr.is_empty(), "{name}: {}", String::from_utf8_lossy(&stderr));
        assert!(String::from_utf8_lossy(&stdout).contains("SEE ALSO"), "{name}");
    }
}

#[test]
fn bash_completes_commands_and_their_options() {
    let generated = Generated::new();
    let complete = |words: &[&str]| {
        // As bash does, the script calls the registered function with the command, the word and the previous word.
        let script = r#"
            . "$0" || exit 3
            registered=$(complete -p docker-credential-ecr-login) || exit 4
            function=${registered##*-F }
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            "${function%% *}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", script]).arg(generated.path(BASH)).arg("docker-credential-ecr-login").args(words);
        let Output { status, stdout, stderr } = output(&mut bash);
        assert!(status.success() && stderr.is_empty(), "{status} {}", String::from_utf8_lossy(&stderr));
        let text = String::from_utf8(stdout).expect("UTF-8");
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["get-l"]), ["get-login-password"]);
    let offered: Vec<_> = complete(&[""]).into_iter().filter(|word| !word.starts_with('-')).collect();
    assert_eq!(offered, commands());
    assert_eq!(complete(&["get-login-password", "--reg"]), ["--region"]);
    assert_eq!(complete(&["export", "--format", "kub"]), ["kubernetes-secret"]);
    for command in commands() {
        let mut expected = options(&command);
        let mut offered: Vec<_> =
            complete(&[command.as_str(), "--"]).into_iter().filter(|word| word.starts_with("--")).collect();
        expected.sort();
        offered.sort();
        assert_eq!(offered, expected, "{command}");
    }
}

#[test]
fn powershell_gets_every_command() {
    let generated = Generated::new();
    let text = fs::read_to_string(generated.path(POWERSHELL)).expect("completions");
    assert!(text.contains("Register-ArgumentCompleter -Native -CommandName 'docker-credential-ecr-login'"), "{text}");
    for command in commands() {
        assert!(text.contains(&format!("[CompletionResult]::new('{command}', ")), "{command}: {text}");
    }
}

#[test]
fn the_shells_accept_their_completions() {
    let generated = Generated::new();
    for (shell, name) in [("bash", BASH), ("zsh", ZSH), ("fish", FISH)] {
        if missing(&[shell]).is_some() {
            skip("pages", &format!("{shell} is not installed"));
            continue;
        }
        let Output { status, stderr, .. } = output(Command::new(shell).arg("-n").arg(generated.path(name)));
        assert!(status.success() && stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&stderr));
    }
}
