//! Stands in for a program of another processor in tests: replaces itself by the emulator, which gets the name that this
//! program was started by. A shell script would lose that name. Built by `tests/platforms/aarch64`.

use std::env::args_os;
use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    let mut args = args_os();
    let name = args.next().unwrap_or_default();
    let error = Command::new(env!("EMULATOR")).arg("-0").arg(name).arg(env!("PROGRAM")).args(args).exec();
    eprintln!("{}: {error}", env!("EMULATOR"));
    std::process::exit(126);
}
