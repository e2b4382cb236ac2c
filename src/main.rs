//! `docker-credential-ecr-login`; see [`docker_credential_ecr_login::cli`].

use std::process::ExitCode;

/// One heap for all threads. The C library's makes one for each thread, in 64 MB of addresses; where those are limited (`ulimit -v`),
/// each of its allocations there takes a page and a mapping of its own, and a large answer ends the process.
#[cfg(target_os = "linux")]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    docker_credential_ecr_login::cli::run(std::env::args_os())
}
