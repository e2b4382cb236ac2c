//! `docker-credential-ecr-login`: arguments in, one answer or one line of error out.

use std::io::{self, Write};
use std::process::ExitCode;

use docker_credential_ecr_login::cli::Command;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::error::Error;
use docker_credential_ecr_login::{docker, log, platform};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        // The place alone: a panic's text may hold data.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(io::stdout(), "ecr-login: internal error at {place}; please report it");
        std::process::exit(1);
    }));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // To standard output, where clients look for it. Nobody is left to tell when that fails.
            let _ = writeln!(io::stdout(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    match Command::from_args(std::env::args_os().skip(1)) {
        Command::Print(text) => writeln!(io::stdout(), "{text}").map_err(|error| Error::failed(error.to_string())),
        Command::Refuse(line) => Err(Error::failed(line)),
        Command::Serve(action) => {
            platform::hide_memory();
            let env = Env::of_process();
            log::start(&env);
            docker::serve(action, &env, io::stdin().lock(), io::stdout().lock())
        }
    }
}
