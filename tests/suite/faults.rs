//! Every error of the kernel in every system call of a request, one at a time. None causes a crash, a wrong token, two lines or a
//! hang, and a `get` without errors afterwards gets the right token. strace injects the errors.
//!
//! The tests leave out the calls before the first step of the program itself: there the C library and Rust's standard library start
//! up, and end the process when they cannot. A refused allocation ends the process too.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::HOST;
use crate::helper::{Helper, Ran, make_older, outlive_failures, program};
use crate::namespace::{missing, skip};
use crate::support::aws::Aws;

/// The errors of each call by its manual page. Other calls fail with an input/output error.
const ERRORS: &[(&str, &[&str])] = &[
    ("openat", &["EMFILE", "EACCES", "EIO", "ELOOP"]),
    ("read", &["EIO", "EINTR"]),
    ("write", &["ENOSPC", "EPIPE", "EINTR"]),
    ("writev", &["EPIPE"]),
    ("statx", &["EACCES", "EIO"]),
    ("newfstatat", &["EACCES"]),
    ("clone3", &["EAGAIN"]),
    ("clone", &["EAGAIN"]),
    ("socket", &["EMFILE", "EAFNOSUPPORT"]),
    ("socketpair", &["EMFILE"]),
    ("pipe2", &["EMFILE"]),
    ("epoll_create1", &["EMFILE"]),
    ("epoll_ctl", &["ENOSPC"]),
    ("eventfd2", &["EMFILE"]),
    ("connect", &["ECONNREFUSED", "ENETUNREACH"]),
    ("sendto", &["ECONNRESET"]),
    ("recvfrom", &["ECONNRESET"]),
    ("flock", &["ENOLCK", "EINTR"]),
    ("rename", &["EIO", "ENOSPC"]),
    ("renameat2", &["EINVAL"]),
    ("mkdirat", &["ENOSPC", "EROFS"]),
    ("mkdir", &["ENOSPC", "EROFS"]),
    ("unlink", &["EROFS"]),
    ("ppoll", &["ENOMEM", "EINTR"]),
    ("getdents64", &["EIO"]),
    ("fcntl", &["EMFILE"]),
    ("getsockopt", &["ENOBUFS"]),
    ("setsockopt", &["ENOBUFS"]),
];

/// Calls that do not fail, calls after whose failure the standard library aborts, and calls that the program does not make itself.
const LEFT_OUT: &[&str] = &[
    "execve",
    "exit",
    "exit_group",
    "brk",
    "mmap",
    "munmap",
    "mprotect",
    "madvise",
    "mremap",
    "sigaltstack",
    "rt_sigprocmask",
    "rt_sigaction",
    "rt_sigreturn",
    "set_robust_list",
    "rseq",
    "gettid",
    "getpid",
    "geteuid",
    "getuid",
    "futex",
    "sched_yield",
    "restart_syscall",
    "clock_nanosleep",
    "nanosleep",
    "arch_prctl",
    "set_tid_address",
    "prlimit64",
    "sched_getaffinity",
    "getrandom",
    "clock_gettime",
    "epoll_wait",
    "epoll_pwait",
    "close",
    "umask",
];

/// The system calls of a run by name: the number before the first step of the program itself, and the number in its first thread.
fn calls(trace: &str) -> BTreeMap<String, (usize, usize)> {
    let mut calls: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let (mut own, mut first) = (false, None);
    for line in trace.lines() {
        let (thread, rest) = line.trim_start().split_once(' ').unwrap_or_default();
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        own |= rest.contains("PR_SET_DUMPABLE");
        let first = *first.get_or_insert(thread);
        let count = calls.entry(name.to_owned()).or_default();
        if thread == first {
            count.0 += usize::from(!own);
        }
        count.1 += 1;
    }
    calls
}

fn injected(helper: &Helper, args: &[&str], inject: &str) -> (Ran, String) {
    let trace = helper.home().join("trace");
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "20", "strace", "-f", "-o"]).arg(&trace);
    if !inject.is_empty() {
        command.args(["-e", &format!("inject={inject}")]);
    }
    command.arg(program()).args(args).env_clear();
    command.envs(helper.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let input = helper.write("input", HOST);
    command.stdin(fs::File::open(input).expect("a file"));
    let started = Instant::now();
    let output = command.output().expect("strace runs");
    (Ran::new(output, started.elapsed()), fs::read_to_string(trace).unwrap_or_default())
}

/// Calls that only a request to AWS makes. While a valid token is in the cache, their errors must not prevent the answer.
const OF_THE_NETWORK: &[&str] = &[
    "socket",
    "socketpair",
    "pipe2",
    "epoll_create1",
    "epoll_ctl",
    "eventfd2",
    "connect",
    "sendto",
    "recvfrom",
    "clone",
    "clone3",
    "getsockopt",
    "setsockopt",
];

/// Injects every error into every call of `args`. `prepare` creates the same state each time.
fn every_error(args: &[&str], prepare: impl Fn() -> (Aws, Helper)) -> usize {
    every_error_but(args, &[], prepare)
}

/// Does the same, and asserts that errors in the calls `harmless` do not prevent the answer.
fn every_error_but(args: &[&str], harmless: &[&str], prepare: impl Fn() -> (Aws, Helper)) -> usize {
    let (_aws, helper) = prepare();
    let (ran, trace) = injected(&helper, args, "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut count = 0;
    for (name, (before, all)) in calls(&trace) {
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let errors = ERRORS.iter().find(|(known, _)| *known == name).map_or(&["EIO"][..], |(_, errors)| errors);
        for error in errors {
            for number in before + 1..=all {
                let (aws, helper) = prepare();
                let inject = format!("{name}:error={error}:when={number}");
                let (ran, trace) = injected(&helper, args, &inject);
                let lines: Vec<&str> = trace.lines().filter(|line| line.contains("INJECTED")).collect();
                // A write of one to an eventfd does not fail. strace may show a call in two lines.
                let to_eventfd = |line: &str| line.contains(r"\1\0\0\0\0\0\0\0");
                let in_two_lines = lines.iter().any(|line| line.contains("write resumed"))
                    && trace.lines().any(|line| to_eventfd(line) && line.contains("unfinished"));
                if lines.is_empty() || in_two_lines || lines.iter().any(|line| to_eventfd(line)) {
                    continue;
                }
                count += 1;
                let shown = || format!("{args:?} {inject}: {ran:?}\n{trace}");
                assert!(matches!(ran.code, Some(0 | 1)), "{}", shown());
                assert!(ran.code == Some(0) || !harmless.contains(&name.as_str()), "{}", shown());
                assert!(ran.took < Duration::from_secs(8), "{}", shown());
                assert!(ran.stdout.matches('\n').count() <= 1 && ran.stderr.matches('\n').count() <= 1, "{}", shown());
                assert!(
                    !ran.stdout.contains("internal error") && !ran.stderr.contains("internal error"),
                    "{}",
                    shown()
                );
                if ran.code == Some(1) && !trace.contains("write(1") {
                    assert!(!ran.stderr.is_empty(), "{}", shown());
                }
                if ran.code == Some(0) && args == ["get"] {
                    assert!(ran.stdout.contains("\"AKIAEXAMPLE.us-east-1."), "{}", shown());
                }
                // As after a second, when a failure counts for nobody any more.
                outlive_failures(&helper);
                let password = helper.get(HOST).password_for(HOST);
                assert!(password.starts_with("AKIAEXAMPLE.us-east-1."), "{}", shown());
                drop(aws);
            }
        }
    }
    count
}

/// Starts a stand-in for AWS, and a helper with a home directory of its own.
fn user() -> (Aws, Helper) {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_TIMEOUT", "5").var("AWS_MAX_ATTEMPTS", "1");
    (aws, helper)
}

fn user_with_a_token() -> (Aws, Helper) {
    let (aws, helper) = user();
    helper.get(HOST).password_for(HOST);
    (aws, helper)
}

#[test]
fn no_error_of_the_kernel_makes_a_cached_get_crash_hang_or_print_a_wrong_token() {
    if missing(&["strace"]).is_some() {
        return skip("faults", "strace is not installed");
    }
    let count = every_error(&["get"], user_with_a_token);
    assert!(count > 20, "{count}");
}

#[test]
fn no_error_of_the_kernel_makes_a_cold_get_crash_hang_or_print_a_wrong_token() {
    if missing(&["strace"]).is_some() {
        return skip("faults", "strace is not installed");
    }
    let count = every_error(&["get"], user);
    assert!(count > 60, "{count}");
}

#[test]
fn no_error_of_the_kernel_makes_a_refresh_crash_hang_or_lose_a_valid_token() {
    if missing(&["strace"]).is_some() {
        return skip("faults", "strace is not installed");
    }
    let count = every_error_but(&["get"], OF_THE_NETWORK, || {
        let (aws, helper) = user_with_a_token();
        make_older(&helper, Duration::from_hours(7));
        (aws, helper)
    });
    assert!(count > 60, "{count}");
}

#[test]
fn no_error_of_the_kernel_makes_erase_or_list_crash_hang_or_print_a_wrong_answer() {
    if missing(&["strace"]).is_some() {
        return skip("faults", "strace is not installed");
    }
    for action in ["erase", "list"] {
        let count = every_error(&[action], user_with_a_token);
        // musl makes fewer calls than glibc.
        assert!(count > 10, "{action}: {count}");
    }
}
