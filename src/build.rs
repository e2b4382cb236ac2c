//! Embeds the commit, the target, the C library and the version of the FIPS module, for `version --verbose` and bug reports.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script what it has to know by variables")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rustc-env=BUILD_TARGET={}", var("TARGET"));
    println!("cargo::rustc-env=C_LIBRARY={}", c_library());
    if !var("CARGO_FEATURE_FIPS").is_empty() {
        println!("cargo::rustc-env=FIPS_MODULE={}", fips_module().expect("aws-lc-fips-sys says where its headers are"));
    }
    println!("cargo::rerun-if-env-changed=C_LIBRARY");
    println!("cargo::rerun-if-env-changed=SOURCE_COMMIT");
    // Changes with every commit and checkout. Without this line cargo would watch the whole package.
    println!("cargo::rerun-if-changed=src/build.rs");
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
    let given = Some(var("SOURCE_COMMIT")).filter(|commit| !commit.is_empty());
    let commit = given.or_else(of_git).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=SOURCE_COMMIT={commit}");
}

fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The C library with its version as packaging/build reports it, else derived from the target. Scanners need this for a static
/// one, since no installed package represents it.
fn c_library() -> String {
    let kind = match (var("CARGO_CFG_TARGET_ENV").as_str(), var("CARGO_CFG_TARGET_OS").as_str()) {
        ("gnu", "linux") => "glibc",
        ("musl", _) => "musl",
        _ => "of the system",
    };
    Some(var("C_LIBRARY")).filter(|name| !name.is_empty()).unwrap_or_else(|| kind.to_owned())
}

/// The version of the FIPS module, from the headers that aws-lc-fips-sys has built it with.
fn fips_module() -> Option<String> {
    let is_path = |name: &str| name.starts_with("DEP_AWS_LC_FIPS_") && name.ends_with("_INCLUDE");
    let (_, paths) = std::env::vars().find(|(name, _)| is_path(name))?;
    let headers = std::env::split_paths(&paths).map(|path| path.join("openssl/base.h"));
    let text = headers.flat_map(std::fs::read_to_string).next()?;
    let version = text.split("#define AWSLC_VERSION_NUMBER_STRING \"").nth(1)?.split('"').next()?;
    Some(version.to_owned())
}

/// The commit of this package's own repository; none if a vendored copy is inside another repository.
fn of_git() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "src/build.rs"])?;
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
