//! Checks the rules that CONTRIBUTING states about the source, and the words of the output.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of `src` with their text, tests and comments left out.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut dirs = vec![PathBuf::from("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                dirs.push(entry);
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&entry).expect("a source file");
                let text = text.split("\nmod tests {").next().expect("a first part");
                let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
                files.push((entry, code.join("\n")));
            }
        }
    }
    assert!(files.len() > 60, "{files:?}");
    files
}

/// The top-level module of a file.
fn module(file: &Path) -> String {
    let below = file.strip_prefix("src").expect("below src");
    let first = below.components().next().expect("a component");
    Path::new(first.as_os_str()).with_extension("").display().to_string()
}

/// The modules that a file imports from the crate.
fn imports(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().expect("a first part"),
            None => rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().expect("a first part"),
        };
        all.extend(list.split(',').map(|name| name.trim().split("::").next().expect("a name").to_owned()));
    }
    all
}

#[test]
fn imports_go_downward_only() {
    let text = fs::read_to_string("src/lib.rs").expect("the crate");
    let rows = text.lines().filter(|line| line.starts_with("//! | ["));
    // Modules in one row are of one rank, and may use each other.
    let ranks: Vec<(usize, &str)> = rows
        .enumerate()
        .flat_map(|(rank, row)| row.split('`').skip(1).step_by(2).map(move |name| (rank, name)))
        .filter(|(_, name)| text.contains(&format!("pub mod {name};")))
        .collect();
    let rank = |name: &str| ranks.iter().find(|(_, known)| *known == name).map(|(rank, _)| *rank);
    assert_eq!(text.matches("\npub mod ").count(), ranks.len(), "each module has its row: {ranks:?}");
    for (file, code) in sources() {
        let own = module(&file);
        let Some(own_rank) = rank(&own) else { continue };
        for import in imports(&code) {
            // Constants of the crate have no rank.
            if let Some(other) = rank(&import) {
                assert!(import == own || other >= own_rank, "{}: {own} imports {import}", file.display());
            }
        }
    }
}

/// The files that a file names in its imports, as far as they are below `src`. Re-exports of a parent lead to the parent.
fn imported_files(file: &Path, code: &str) -> Vec<PathBuf> {
    let is_parent = file.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs");
    let dir = if is_parent { file.parent().expect("a directory").to_owned() } else { file.with_extension("") };
    let mut all = Vec::new();
    for statement in code.split(';').filter_map(|text| text.split_once("use ").map(|(_, path)| path.trim())) {
        let (head, names) = match statement.split_once('{') {
            Some((head, names)) => (head.trim_end_matches("::"), names.trim_end_matches('}').split(',').collect()),
            None => (statement, vec![""]),
        };
        for name in names {
            let path = format!("{head}::{}", name.trim());
            let mut at = dir.clone();
            let mut found = None;
            for part in path.split("::") {
                match part {
                    "crate" => at = PathBuf::from("src"),
                    "super" => at = at.parent().expect("a directory").to_owned(),
                    "self" => {}
                    part => at = at.join(part),
                }
                let candidates = [at.with_extension("rs"), at.join("mod.rs")];
                found = candidates.into_iter().find(|candidate| candidate.exists()).or(found);
            }
            // A module's own file declares those below it, and names what they show to others.
            let is_child = |found: &Path| is_parent && found.starts_with(&dir);
            all.extend(found.filter(|found| found != file && !is_child(found)));
        }
    }
    all.sort();
    all.dedup();
    all
}

/// A reader can begin with any file and never comes back to it.
#[test]
fn no_two_files_import_each_other() {
    let graph: BTreeMap<PathBuf, Vec<PathBuf>> =
        sources().into_iter().map(|(file, code)| (file.clone(), imported_files(&file, &code))).collect();
    assert!(graph.values().map(Vec::len).sum::<usize>() > 200, "the imports are found: {graph:?}");
    let mut left: BTreeSet<&PathBuf> = graph.keys().collect();
    // Takes away the files whose imports are all taken away.
    loop {
        let done: Vec<&PathBuf> =
            left.iter().filter(|file| !graph[**file].iter().any(|other| left.contains(other))).copied().collect();
        if done.is_empty() {
            break;
        }
        left.retain(|file| !done.contains(file));
    }
    // What only leads into a circle is not in it.
    loop {
        let imported: BTreeSet<&PathBuf> = left.iter().flat_map(|file| &graph[*file]).collect();
        let before = left.len();
        left.retain(|file| imported.contains(file));
        if left.len() == before {
            break;
        }
    }
    let edges = left
        .iter()
        .flat_map(|file| graph[*file].iter().filter(|other| left.contains(other)).map(move |other| (file, other)));
    let edges: Vec<String> = edges.map(|(file, other)| format!("{} -> {}", file.display(), other.display())).collect();
    assert!(edges.is_empty(), "{edges:#?}");
}

#[test]
fn the_sdk_is_used_in_aws_alone() {
    for (file, code) in sources().into_iter().filter(|(file, _)| module(file) != "aws") {
        for (at, _) in code.match_indices("aws_") {
            let name = code[at..].split(|c: char| !(c.is_alphanumeric() || c == '_')).next().expect("a name");
            let is_crate = code[at + name.len()..].starts_with("::");
            assert!(!is_crate, "{}: {name}", file.display());
        }
    }
}

/// The one that has limits.
#[test]
fn toml_is_parsed_in_one_module() {
    for (file, code) in sources().into_iter().filter(|(file, _)| module(file) != "toml_text") {
        let production = code.split("#[cfg(test)]").next().expect("a part");
        assert!(!production.contains("toml::from_"), "{}", file.display());
    }
}

/// Which has the guard against those that lead back to this one.
#[test]
fn programs_are_started_in_one_module() {
    let has_command = |code: &str| code.contains("process::Command") || code.contains("process::{Command");
    let others = sources().into_iter().filter(|(file, _)| !["platform", "build"].contains(&&*module(file)));
    for (file, code) in others.filter(|(_, code)| has_command(code)) {
        let start = [".spawn()", ".output()", ".status()"].into_iter().find(|start| code.contains(start));
        assert!(start.is_none(), "{}: {start:?}", file.display());
    }
}

#[test]
fn the_environment_is_read_in_one_module() {
    const READS: [&str; 7] = [
        "env::var",
        "env::current_",
        "env::temp_dir",
        "env::home_dir",
        "env::split_paths",
        "env::join_paths",
        "dirs::",
    ];
    for (file, code) in sources().into_iter().filter(|(file, _)| !["env", "build"].contains(&&*module(file))) {
        let read = READS.into_iter().find(|read| code.contains(read));
        assert!(read.is_none(), "{}: {read:?}", file.display());
    }
}

/// A message made of a value's `Debug` shows the code's names to people. Where one is made, it is hashed, escaped or a name.
#[test]
fn no_message_shows_a_value_as_code_has_it() {
    let allowed = ["identity/dependency", "identity/shell_words", "platform/machine", "commands/doctor/check", "log"];
    let allowed = allowed.map(|name| PathBuf::from(format!("src/{name}.rs")));
    for (file, code) in sources().into_iter().filter(|(file, _)| !allowed.contains(file)) {
        assert!(![":?}", ":#?}"].iter().any(|debug| code.contains(debug)), "{}", file.display());
    }
}

/// Messages name "the helper" and use standard verbs.
#[test]
fn no_output_uses_we_or_nonstandard_verbs() {
    for (file, code) in sources() {
        for text in code.split('"').skip(1).step_by(2) {
            let mut words = text.split(|c: char| !c.is_alphanumeric());
            let word = words.find(|word| ["we", "us", "our", "ours", "mend", "mended"].contains(word));
            // us-east-1 and the like.
            let is_region = |word: &str| text == word || text.contains(&format!("{word}-"));
            assert!(word.is_none_or(is_region), "{}: {text}", file.display());
        }
    }
}

#[test]
fn each_test_that_the_scripts_for_other_platforms_name_exists() {
    let mut count = 0;
    for script in fs::read_dir("tests/platforms").expect("a directory").map(|entry| entry.expect("an entry").path()) {
        let text = fs::read_to_string(&script).expect("a script");
        for word in text.split_whitespace().filter(|_| script.extension().is_none()) {
            // A test by its module and the start of its name, or a whole module.
            let is_module = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let Some((module, name)) = word.split_once("::").filter(|(module, _)| is_module(module)) else { continue };
            let tests = fs::read_to_string(format!("tests/suite/{module}.rs"))
                .or_else(|_| fs::read_to_string(format!("tests/suite/{module}/mod.rs")));
            let is_there = tests.is_ok_and(|text| name.is_empty() || text.contains(&format!("\nfn {name}")));
            assert!(is_there, "{} names {word}, and no test is called so", script.display());
            count += 1;
        }
    }
    assert!(count > 20, "{count} names");
}

/// A file without its line in the index is compiled by nobody, and none of its tests runs. Fixtures are in `tests/support`.
#[test]
fn every_file_of_the_suite_is_one_of_its_modules_and_has_tests() {
    let index = fs::read_to_string("tests/suite/main.rs").expect("the index");
    let stand_ins = fs::read_to_string("tests/support/mod.rs").expect("their index");
    for dir in ["tests/suite", "tests/support"] {
        for path in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("a file").path()) {
            let name = path.with_extension("").file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
            let is_stand_in = dir == "tests/support"
                && (name == "mod" || name == "oci" || stand_ins.contains(&format!("mod {name};")));
            let is_listed = index.contains(&format!("\nmod {name};\n")) && index.contains(&format!("`{name}`"));
            assert!(name == "main" || is_stand_in || is_listed, "{name} is in no list");
            if name != "main" && path.is_file() {
                let text = fs::read_to_string(&path).expect("a file");
                let has_tests = text.contains("#[test]\n") || text.contains("proptest! {");
                assert_eq!(has_tests, dir == "tests/suite", "{}: tests and fixtures are apart", path.display());
            }
        }
    }
}

/// By the rules in the head of `src/platform/shell.rs`.
#[test]
fn a_suggested_command_has_no_word_from_outside_that_is_not_quoted_and_takes_nothing_away() {
    const PROGRAMS: [&str; 9] = ["aws", "sudo", "chmod", "mkdir", "rmdir", "docker", "podman", "install", "{NAME}"];
    // The words of the AWS CLI's commands, and an argument that is quoted as it is.
    const OTHERS: [&str; 2] = ["aws {words}", "aws {}"];
    for (file, code) in sources() {
        for program in PROGRAMS {
            for (at, _) in code.match_indices(&format!("'{program} ")) {
                let command = code[at + 1..].split('\'').next().expect("a first part");
                let outside = command.replace("{{}}", "").replace("{NAME}", "").contains('{');
                assert!(!outside || OTHERS.contains(&command), "{file:?}: '{command}'");
            }
        }
        for harmful in
            ["chown -", "chmod -", "'rm ", "\"rm ", "'mv ", "\"mv ", "'cp ", "\"cp ", "sudo cp", "sudo mv", "tee "]
        {
            assert!(!code.contains(harmful), "{file:?}: {harmful}");
        }
    }
}
