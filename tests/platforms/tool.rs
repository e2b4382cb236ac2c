//! What starts the program for Windows in tests, and what it starts: a `credential_process`, a fallback helper. Built by `tests/platforms/windows`.

use std::env::{args, var, vars};
use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

fn main() {
    let args: Vec<String> = args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        // Waits for that many seconds.
        ["sleep", seconds] => sleep(Duration::from_secs(seconds.parse().expect("a number"))),
        // Leaves a process behind that waits, and writes down who it is.
        ["leave", seconds, file] => {
            let this = std::env::current_exe().expect("a path");
            let child = Command::new(this).args(["sleep", seconds]).spawn().expect("a process");
            std::fs::write(file, child.id().to_string()).expect("a write");
        }
        // Does so, and waits too.
        ["wait", seconds, file] => {
            let this = std::env::current_exe().expect("a path");
            let mut child = Command::new(this).args(["sleep", seconds]).spawn().expect("a process");
            std::fs::write(file, child.id().to_string()).expect("a write");
            child.wait().expect("an end");
        }
        // Prints credentials, and notes the call in a file that no argument names.
        ["credentials", ..] => {
            let file = var("TOOL_CALLS").expect("a path");
            let mut file = OpenOptions::new().append(true).create(true).open(file).expect("a file");
            file.write_all(b"x").expect("a write");
            print!(r#"{{"Version":1,"AccessKeyId":"AKIAPROCESS","SecretAccessKey":"s"}}"#);
        }
        // Runs a program with NAME set to what WINDOWS_NAME says.
        ["run", program, ref args @ ..] => {
            let set = vars().filter_map(|(name, value)| Some((name.strip_prefix("WINDOWS_")?.to_owned(), value)));
            let status = Command::new(program).args(args).envs(set).status().expect("a program");
            std::process::exit(status.code().unwrap_or(1));
        }
        _ => panic!("unknown arguments"),
    }
}
