//! Stands in for the program for Windows in tests: replaces itself by wine, in the root directory of another Debian that
//! holds it. Built by `tests/platforms/windows`.
//!
//! Paths in variables become those of Windows, below its drive Z:. wine keeps some variables from programs: PATH becomes what
//! wine adds to its own, and HOME becomes USERPROFILE, which `tool.rs` sets. The directories of the platform are those of
//! wine's user, so the cache is named, and the configuration where there is one.

use std::env::{args_os, current_dir, vars};
use std::fs;
use std::os::unix::fs::chroot;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "docker-credential-ecr-login";

fn main() {
    let mut args = args_os();
    let name = args.next().map(PathBuf::from).unwrap_or_default();
    let name = name.file_name().and_then(|name| name.to_str()).unwrap_or(NAME);
    let mut command = Command::new("/usr/lib/wine/wine64");
    command.args([windows(env!("TOOL")), "run".to_owned(), windows(&program(name))]).args(args).env_clear();
    for (name, value) in vars() {
        match name.as_str() {
            "PATH" => command.env("WINEPATH", value.split(':').map(windows).collect::<Vec<_>>().join(";")),
            "HOME" => command.env("WINDOWS_USERPROFILE", windows(&value)),
            name if value.starts_with('/') && !name.ends_with("RELATIVE_URI") => command.env(name, windows(&value)),
            name => command.env(name, value),
        };
    }
    let vars: Vec<(String, String)> = vars().collect();
    let var = |name: &str| vars.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if let Some(home) = var("HOME") {
        let config = format!("{home}/.config/{NAME}/config.toml");
        if var("AWS_ECR_CONFIG_FILE").is_none() && Path::new(&config).exists() {
            command.env("AWS_ECR_CONFIG_FILE", windows(&config));
        }
        if var("AWS_ECR_CACHE_DIR").is_none() {
            command.env("AWS_ECR_CACHE_DIR", windows(&format!("{home}/.cache/{NAME}")));
        }
    }
    command.env("HOME", "/root").env("PATH", "/usr/bin:/bin").env("WINEPREFIX", env!("PREFIX")).env("WINEDEBUG", "-all");
    let directory = current_dir().unwrap_or_default();
    let inside = chroot(env!("ROOT")).and_then(|()| std::env::set_current_dir(&directory));
    let error = inside.err().unwrap_or_else(|| command.exec());
    eprintln!("wine in {}: {error}", env!("ROOT"));
    std::process::exit(126);
}

/// The program, under the name that it was started by.
fn program(name: &str) -> String {
    let program = Path::new(env!("PROGRAM"));
    let named = program.with_file_name(format!("{}.exe", name.trim_end_matches(".exe").trim_end_matches(".EXE")));
    if !named.exists() {
        let _ = fs::hard_link(program, &named);
    }
    named.display().to_string()
}

fn windows(path: &str) -> String {
    format!("Z:{}", path.replace('/', "\\"))
}
