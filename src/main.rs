//! `docker-credential-ecr-login`; see [`docker_credential_ecr_login::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    docker_credential_ecr_login::cli::run(std::env::args_os())
}
