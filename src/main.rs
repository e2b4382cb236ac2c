//! `docker-credential-ecr-login`: arguments in, one answer or one line of error out.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use docker_credential_ecr_login::cli::Command;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::error::Error;
use docker_credential_ecr_login::platform::{self, StandardInput};
use docker_credential_ecr_login::{config, docker, log};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        // The place alone: a panic's text may hold data.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(io::stdout(), "ecr-login: internal error at {place}; please report it");
        std::process::exit(1);
    }));
    // Nobody is left to tell when an error cannot be written.
    let (result, mut errors): (_, Box<dyn Write>) = match Command::from_args(std::env::args_os()) {
        // To standard output, where clients of the protocol look for them.
        Command::Serve(action) => {
            let started = Instant::now();
            let env = settings();
            let input = StandardInput::until(config::deadline(&env, started));
            let served = docker::serve(action, &env, input, io::stdout().lock());
            (served, Box::new(io::stdout()))
        }
        Command::Refuse(line) => (Err(Error::failed(line)), Box::new(io::stdout())),
        Command::Print(text) => {
            let printed = writeln!(io::stdout(), "{text}").map_err(|error| Error::failed(error.to_string()));
            (printed.map(|()| ExitCode::SUCCESS), Box::new(io::stdout()))
        }
        Command::Run(tool) => (tool.run(settings()), Box::new(io::stderr())),
        Command::Explain(error) => error.exit(),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(errors, "{error}");
        ExitCode::FAILURE
    })
}

/// The environment, once the memory that secrets will lie in is closed to others and the log is open.
fn settings() -> Env {
    platform::hide_memory();
    let env = Env::of_process();
    log::start(&env);
    env
}
