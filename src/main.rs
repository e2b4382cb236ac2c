//! `docker-credential-ecr-login`: arguments in, one answer or one line of error out.

use std::io::{self, Write};
use std::process::ExitCode;

use docker_credential_ecr_login::cli::Command;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::{docker, log};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        // The place alone: a panic's text may hold data.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        answer(&format!("ecr-login: internal error at {place}; please report it"));
        std::process::exit(1);
    }));
    let succeeded = match Command::from_args(std::env::args_os().skip(1)) {
        Command::Print(text) => answer(&text),
        Command::Refuse(line) => answer(&docker_credential_ecr_login::error::one_line(&line)) && false,
        Command::Serve(action) => {
            let env = Env::of_process();
            log::start(&env);
            match docker::serve(action, &env, io::stdin().lock(), io::stdout().lock()) {
                Ok(()) => true,
                Err(error) => answer(&error.to_string()) && false,
            }
        }
    };
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a text and a newline; `false` when nobody reads it.
fn answer(text: &str) -> bool {
    writeln!(io::stdout(), "{text}").is_ok()
}
