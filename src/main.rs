//! `docker-credential-ecr-login`: arguments in, one answer or one line of error out.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use docker_credential_ecr_login::answer::{self, Output};
use docker_credential_ecr_login::cli::Command;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login::error::{self, Error};
use docker_credential_ecr_login::platform::{self, StandardInput};
use docker_credential_ecr_login::{config, docker, log};

/// The exit code of arguments that the program does not know, as from clap.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    answer::end_on_panic();
    let result = match Command::from_args(std::env::args_os()) {
        Command::Serve(action) => {
            answer::by_protocol();
            let started = Instant::now();
            let env = settings();
            let input = StandardInput::until(config::deadline(&env, started));
            docker::serve(action, &env, input, Output)
        }
        Command::Refuse(line) => {
            answer::by_protocol();
            Err(line)
        }
        Command::Help(text) => write!(Output, "{text}").map(|()| ExitCode::FAILURE).map_err(Error::unwritten),
        Command::Print(text) => writeln!(Output, "{text}").map(|()| ExitCode::SUCCESS).map_err(Error::unwritten),
        Command::Run(tool) => tool.run(settings()),
        Command::Explain(error) if error.use_stderr() => {
            error::print_usage_error(&error.to_string());
            Ok(ExitCode::from(WRONG_USAGE))
        }
        Command::Explain(error) => error.exit(),
    };
    result.unwrap_or_else(|error| {
        answer::fail(&error);
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
