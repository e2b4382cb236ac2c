//! Compares Cargo.toml, README.md and the other documents with the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::output;
use docker_credential_ecr_login::env::VARIABLES;
use docker_credential_ecr_login::registry::Region;
use serde_json::Value;

/// The tables of dependencies in Cargo.toml, those of one platform included: normal ones or those for tests.
fn dependencies(kind: &str) -> BTreeSet<String> {
    let manifest: toml::Table = fs::read_to_string("Cargo.toml").expect("a manifest").parse().expect("TOML");
    let targets = manifest["target"].as_table().expect("targets").values().filter_map(toml::Value::as_table);
    let tables = std::iter::once(&manifest).chain(targets).filter_map(|table| table.get(kind)?.as_table());
    tables.flat_map(toml::Table::keys).cloned().collect()
}

#[test]
fn every_dependency_is_explained() {
    let text = fs::read_to_string("CONTRIBUTING.md").expect("a document");
    let section = text.split("## Dependencies").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let explained: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    let needed = dependencies("dependencies");
    assert_eq!(explained, needed);
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        assert!(row.split('|').filter(|cell| cell.trim().len() > 2).count() == 3, "a cell lacks its words: {row}");
    }
    for name in dependencies("dev-dependencies").difference(&needed) {
        assert!(section.contains(&format!("`{name}`")), "{name}");
    }
}

/// The crates of the program that cargo builds with these flags. Cargo downloads those that no build on this machine has needed.
fn crates(flags: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{lib}"]);
    let output = output(cargo.args(flags));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

#[test]
fn the_ordinary_program_has_no_aws_lc_and_that_for_fips_no_ring() {
    let has = |crates: &BTreeSet<String>| ["ring", "aws_lc_rs", "aws_lc_fips_sys"].map(|name| crates.contains(name));
    assert_eq!(has(&crates(&[])), [true, false, false]);
    assert_eq!(has(&crates(&["--no-default-features", "--features", "fips"])), [false, true, true]);
}

/// Or bindgen, which the FIPS module is built with, does not compile; cargo may change it with any other dependency.
#[test]
fn bindgen_and_prettyplease_have_one_syn() {
    let lock: toml::Table = fs::read_to_string("Cargo.lock").expect("a lock file").parse().expect("TOML");
    let packages = lock["package"].as_array().expect("packages");
    let syn = |name: &str| {
        let package = packages.iter().find(|package| package["name"].as_str() == Some(name)).expect(name);
        let needed = package["dependencies"].as_array().expect("dependencies").iter().filter_map(toml::Value::as_str);
        needed.filter(|needed| needed.starts_with("syn")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(syn("bindgen"), syn("prettyplease"));
}

/// A crate whose features differ would be built twice, and with it all that depends on it.
#[test]
fn cargo_build_and_cargo_test_share_one_build() {
    let crates = |edges: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["tree", "--locked", "--prefix", "none", "--format", "{p} with {f}", "--edges", edges]);
        let output = output(&mut cargo);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect::<BTreeSet<_>>()
    };
    let (program, with_tests) = (crates("normal,build"), crates("normal,build,dev"));
    let other: Vec<_> = program.difference(&with_tests).collect();
    assert!(program.len() > 100 && other.is_empty(), "name the features of these in Cargo.toml: {other:#?}");
}

/// The output of `cargo metadata`, which downloads what no build on this machine has needed.
fn metadata(manifest: &str) -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = output(&mut cargo);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The fuzz targets are a workspace of their own, with a lock file that no other build looks at.
#[test]
fn the_fuzz_targets_are_built_with_the_dependencies_of_the_program() {
    let versions = |manifest: &str| {
        let metadata = metadata(manifest);
        let packages = metadata["packages"].as_array().expect("packages").iter();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        packages.map(|package| (text(&package["name"]), text(&package["version"]))).collect::<BTreeSet<_>>()
    };
    let (own, fuzzed) = (versions("Cargo.toml"), versions("fuzz/Cargo.toml"));
    let other: Vec<_> = fuzzed.difference(&own).filter(|(name, _)| own.iter().any(|(own, _)| own == name)).collect();
    assert!(
        fuzzed.len() > 100 && other.is_empty(),
        "copy their versions from Cargo.lock to fuzz/Cargo.lock: {other:?}"
    );
}

#[test]
fn the_rust_version_is_the_lowest_that_the_dependencies_allow() {
    let metadata = metadata("Cargo.toml");
    let packages = metadata["packages"].as_array().expect("packages");
    let own = |package: &&Value| package["name"] == env!("CARGO_PKG_NAME");
    let version = |package: &Value| {
        let text = package["rust_version"].as_str().unwrap_or("0");
        text.split('.').map(|number| number.parse().expect("a number")).collect::<Vec<u32>>()
    };
    let lowest = packages.iter().find(own).map(version).expect("this package");
    let highest = packages.iter().filter(|package| !own(package)).map(version).max().expect("dependencies");
    assert_eq!(lowest, highest);
}

/// The helper would report a region that AWS has opened and that src/registry/partitions.rs lacks as misspelt.
#[test]
fn every_region_of_the_sdk_is_known() {
    let metadata = metadata("Cargo.toml");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == "aws-sdk-ecr").expect("the SDK");
    let dir = Path::new(package["manifest_path"].as_str().expect("a path")).with_file_name("src");
    let source = fs::read_to_string(dir.join("endpoint_lib.rs")).expect("the SDK's partitions");
    let table = source.lines().find(|line| line.contains("regionRegex")).expect("a table").replace('\\', "");
    let ends = table.split(r#"":{"description":"#).filter_map(|part| part.rsplit('"').next());
    let regions: Vec<&str> = ends.filter(|name| name.ends_with(|c: char| c.is_ascii_digit())).collect();
    assert!(regions.len() > 40, "{regions:?}");
    for region in regions {
        assert!(region.parse::<Region>().is_ok_and(|region| region.is_known()), "{region}");
    }
}

#[test]
fn the_tests_that_the_documents_name_exist() {
    for document in ["SECURITY.md", "tests/README.md"] {
        let text = fs::read_to_string(document).expect(document);
        let mut named = 0;
        for name in text.split('`').filter(|word| word.contains("::") && !word.contains([' ', '='])) {
            let Some((module, test)) = name.rsplit_once("::").filter(|(_, test)| *test != "test") else { continue };
            let source = fs::read_to_string(format!("tests/suite/{}.rs", module.replace("::", "/"))).expect(name);
            assert!(source.contains(&format!("fn {test}(")), "{name}");
            named += 1;
        }
        assert!(named > 10, "{named}");
    }
}

#[test]
fn the_readme_has_every_variable_in_the_words_of_the_help() {
    let readme = fs::read_to_string("README.md").expect("a readme");
    for (name, what) in VARIABLES {
        assert!(readme.contains(&format!("| `{name}` | {what} |")), "{name}: {what}");
    }
}
