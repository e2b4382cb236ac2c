//! The programs that the helper starts: their limits, their end, and that nothing else ends with them.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::HOST;
use crate::helper::{Helper, Ran, lacks_kernel, limit, program};
use crate::namespace::{Namespace, missing, skip};
use crate::process::{SOON, end, send, start, stop, wait_until};
use crate::support::aws::Aws;

/// A helper whose `credential_process` is this script.
fn with_process(helper: Helper, script: &str) -> Helper {
    let path = helper.write("process", script);
    helper.write(".aws/config", &format!("[default]\ncredential_process = sh {}\n", path.display()));
    helper
}

/// The same with a fallback helper.
fn with_program(helper: Helper, kind: &str, script: &str) -> Helper {
    if kind == "process" {
        return with_process(helper, script);
    }
    helper.write(".config/docker-credential-ecr-login/config.toml", "fallback = 'fake'");
    crate::fallback::install_as(&helper, "fake", script);
    let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
    helper.var("PATH", &path)
}

/// Whether there is such a process, other than a zombie.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn pid_in(helper: &Helper, file: &str) -> String {
    fs::read_to_string(helper.home().join(file)).expect("it ran").trim().to_owned()
}

#[test]
fn output_without_end_is_read_up_to_its_limit() {
    if lacks_kernel("a limit on memory") {
        return;
    }
    for (script, stream) in [("exec yes", "standard output"), ("exec yes >&2", "standard error")] {
        let helper = with_process(Helper::bare(), script);
        let mut command = helper.tool("sh");
        // With little memory.
        command.args(["-c", "ulimit -v 400000; exec \"$0\" get"]).arg(program());
        let ran = crate::process::run(&mut command, HOST);
        let line = ran.error();
        let words = ["the credential_process of profile 'default'", "more than 1 MiB", stream];
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
        assert!(ran.took < limit(Duration::from_secs(10)), "{:?}", ran.took);
    }
}

/// The heartbeat of each request went on for half a second, and so did its thread.
#[test]
fn many_requests_leave_no_threads_behind() {
    if lacks_kernel("the threads of a process") {
        return;
    }
    let aws = Aws::start();
    // The shell that runs it may be between it and the helper.
    let script = "above=$(sed -n 's/^PPid:.//p' /proc/$PPID/status)\n\
        cat /proc/$PPID/status /proc/$above/status | sed -n 's/^Threads:.//p' | sort -n | tail -n 1 >>\"$HOME/threads\"\n\
        echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'";
    let helper = with_process(Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()), script);
    let regions =
        ["eu-west-1", "eu-west-2", "eu-west-3", "eu-north-1", "eu-south-1", "us-east-1", "us-east-2", "us-west-1"];
    let hosts = regions.map(|region| format!("111122223333.dkr.ecr.{region}.amazonaws.com"));
    let args: Vec<&str> = std::iter::once("export").chain(hosts.iter().map(String::as_str)).collect();
    let ran = helper.run(&args, "");
    let threads = fs::read_to_string(helper.home().join("threads")).expect("it ran");
    let threads: Vec<u32> = threads.lines().map(|count| count.parse().expect("a number")).collect();
    assert!(ran.code == Some(0) && threads.len() == hosts.len(), "{threads:?} {ran:?}");
    assert!(threads[hosts.len() - 1] <= threads[0] + 2, "{threads:?}");
}

#[test]
fn a_process_has_no_standard_input_and_shows_the_end_of_standard_error() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let script = "[ -z \"$(cat)\" ] && echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'";
    assert!(with_process(helper, script).get(HOST).password_for(HOST).starts_with("AKIAP."));
    let script =
        "i=0; while [ $i -lt 300 ]; do echo starting >&2; i=$((i + 1)); done; echo vault is sealed >&2; exit 3";
    let line = with_process(Helper::bare(), script).get(HOST).error().to_owned();
    assert!(line.contains("exit status: 3: …") && line.contains("starting vault is sealed"), "{line}");
}

/// E.g. an agent that is started for the next time.
#[test]
fn a_daemon_that_holds_standard_error_delays_no_answer() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_TIMEOUT", "60s");
    let script = "sleep 300 >/dev/null & echo $! >\"$HOME/daemon\"\n\
                  echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'";
    let helper = with_process(helper, script);
    let ran = helper.get(HOST);
    let daemon = pid_in(&helper, "daemon");
    assert!(runs(&daemon), "{ran:?}");
    shell(&format!("kill {daemon}"));
    assert!(ran.password_for(HOST).starts_with("AKIAP."));
    assert!(ran.took < limit(Duration::from_secs(10)), "{:?}", ran.took);
    // What the program says itself is shown.
    let script = "sleep 300 >/dev/null & echo $! >\"$HOME/daemon\"; echo vault is sealed >&2; exit 3";
    let helper = with_process(helper, script);
    let ran = helper.get(HOST);
    shell(&format!("kill {}", pid_in(&helper, "daemon")));
    assert!(ran.error().contains("exit status: 3: vault is sealed"), "{ran:?}");
}

/// Perl's `$SIG{CHLD} = 'IGNORE'`, and a shell's trap, are passed on to the programs that they start.
#[test]
fn programs_are_run_for_a_caller_that_ignores_the_ends_of_its_children() {
    if lacks_kernel("signals that are ignored") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    helper.write(".config/docker-credential-ecr-login/config.toml", "fallback = 'fake'");
    crate::fallback::install_as(&helper, "fake", "echo '{\"Username\":\"u\",\"Secret\":\"s\"}'");
    let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
    let script = "grep SigIgn /proc/self/status >\"$HOME/ignored\"\n\
                  echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'";
    let helper = with_process(helper.var("PATH", &path), script);
    for host in [HOST, "ghcr.io"] {
        let mut command = helper.tool("env");
        command.args(["--ignore-signal=CHLD"]).arg(program()).arg("get");
        let ran = crate::process::run(&mut command, host);
        assert!(ran.code == Some(0) && ran.stdout.contains("Secret"), "{host}: {ran:?}");
    }
    // What it starts has the signal as it usually is.
    let ignored = pid_in(&helper, "ignored");
    let ignored = u64::from_str_radix(ignored.trim_start_matches("SigIgn:").trim(), 16).expect("a mask");
    assert_eq!(ignored & 1 << (Signal::SIGCHLD as u32 - 1), 0, "{ignored:x}");
}

/// E.g. a chroot, or an image with nothing but the helper and a shell.
#[test]
fn programs_start_where_there_is_no_dev_null() {
    if !nix::unistd::geteuid().is_root() || missing(&["unshare", "nsenter"]).is_some() {
        return skip("no /dev/null", "mounts need root");
    }
    let aws = Aws::start();
    let empty = Rc::new(Namespace::of_mounts("mount -t tmpfs tmpfs /dev"));
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).inside(&empty);
    let script = "read line || echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'";
    assert!(with_process(helper, script).get(HOST).password_for(HOST).starts_with("AKIAP."));
}

#[test]
fn wrong_answers_of_a_process_are_told_apart() {
    for (answer, words) in [
        ("hunter2", "is not a JSON object"),
        (r#"{"AccessKeyId":"A","SecretAccessKey":"s"}"#, "does not have Version 1"),
        (r#"{"Version":2,"AccessKeyId":"A","SecretAccessKey":"s"}"#, "does not have Version 1"),
        (r#"{"Version":1,"SecretAccessKey":"s"}"#, "has no AccessKeyId"),
        (r#"{"Version":1,"AccessKeyId":"A"}"#, "has no SecretAccessKey"),
        (
            r#"{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s","Expiration":"soon"}"#,
            "has an Expiration that is no time",
        ),
        (
            r#"{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s","Expiration":"2020-01-01T00:00:00Z"}"#,
            "have expired",
        ),
    ] {
        let helper = with_process(Helper::bare(), &format!("cat <<'E'\n{answer}\nE\n"));
        let line = helper.get(HOST).error().to_owned();
        assert!(line.contains("the credential_process of profile 'default'") && line.contains(words), "{line}");
        assert!(!line.contains("hunter2") && !line.contains('{'), "{line}");
    }
}

/// The descendants of a process that hangs: a child, one whose parent has ended, one in a session of its own.
#[test]
fn a_process_that_hangs_ends_with_all_its_descendants() {
    let hang = "echo $$ >\"$HOME/own\"\n\
                sleep 300 & echo $! >\"$HOME/child\"\n\
                sh -c 'sleep 300 & echo $! >\"$HOME/orphan\"'\n\
                setsid sh -c 'echo $$ >\"$HOME/session\"; exec sleep 300' &\n\
                sleep 300\n";
    let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "1500ms"), hang);
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains("in time and was stopped"), "{line}");
    for name in ["own", "child", "orphan", "session"] {
        let pid = pid_in(&helper, name);
        wait_until(&format!("{name} ({pid}) ends"), SOON, || !runs(&pid));
    }
}

/// As by Ctrl-Z at the process's prompt. AWS was asked nothing.
#[test]
fn a_process_that_hangs_is_named_also_by_a_helper_that_was_stopped_at_the_time_limit() {
    for _ in 0..3 {
        let helper =
            with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "1500ms"), ": >\"$HOME/own\"\nexec sleep 300\n");
        let limit = Instant::now() + Duration::from_secs(3);
        let mut command = helper.command();
        let child = start(command.arg("get"), HOST);
        wait_until("the process runs", SOON, || helper.home().join("own").exists());
        send(child.id(), Signal::SIGSTOP);
        wait_until("the time limit passes", SOON, || Instant::now() > limit);
        send(child.id(), Signal::SIGCONT);
        let output = end(child);
        let line = String::from_utf8_lossy(&output.stdout);
        assert!(line.contains("the credential_process") && line.contains("run it by hand"), "{line}");
    }
}

/// Each of its processes starts the next one and ends, as fast as it can, so that a look at all of them never comes to an end.
#[test]
fn a_process_that_forks_without_end_is_stopped_in_time() {
    let script = "echo $$ >\"$HOME/own\"\nf() { [ -e \"$HOME/own\" ] && f & exit; }\nf &\nf &\nsleep 300\n";
    let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "1500ms"), script);
    let line = helper.get(HOST).error().to_owned();
    assert!(line.contains("in time and was stopped"), "{line}");
    let pid = pid_in(&helper, "own");
    wait_until(&format!("{pid} ends"), SOON, || !runs(&pid));
}

/// A client that is interrupted, or a job that is cancelled, ends the helper.
#[test]
fn a_signal_ends_the_helper_with_the_process_that_it_runs() {
    if lacks_kernel("signals that are ignored") {
        return;
    }
    let hang = "sh -c 'sleep 300 & echo $! >\"$HOME/orphan\"'\n\
                setsid sh -c 'echo $$ >\"$HOME/session\"; exec sleep 300' &\n\
                while [ ! -s \"$HOME/session\" ]; do sleep 0.01; done\n\
                echo $$ >\"$HOME/own\"\nsleep 300\n";
    let password = ["get-login-password", "--region", "us-east-1"];
    for (args, signal) in [
        (&["get"][..], Signal::SIGTERM),
        (&password, Signal::SIGINT),
        (&["doctor", HOST], Signal::SIGHUP),
        (&["export", HOST, "--output", "/dev/shm/none/none", "--every", "1h"], Signal::SIGHUP),
        (&["get"], Signal::SIGQUIT),
        (&["get"], Signal::SIGUSR1),
        (&password, Signal::SIGUSR2),
        (&["get"], Signal::SIGALRM),
        (&["get"], Signal::SIGABRT),
        (&["get"], Signal::SIGXCPU),
    ] {
        let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "60s"), hang);
        let output = helper.home().join("output").display().to_string();
        let args: Vec<&str> = args.iter().map(|arg| if arg.starts_with("/dev") { &output } else { *arg }).collect();
        // A shell's background job, as a test run may be one, ignores SIGINT and passes that on.
        let mut command = helper.tool("env");
        let child = start(command.arg("--default-signal").arg(program()).args(&args), HOST);
        wait_until("the process runs", SOON, || {
            fs::read_to_string(helper.home().join("own")).is_ok_and(|own| own.ends_with('\n'))
        });
        send(child.id(), signal);
        let status = end(child).status;
        assert_eq!(status.signal(), Some(signal as i32), "{args:?}: {status}");
        for name in ["own", "orphan", "session"] {
            let pid = pid_in(&helper, name);
            wait_until(&format!("{name} ({pid}) of {args:?} ends"), SOON, || !runs(&pid));
        }
    }
    // Under nohup, neither ends.
    let script = "while [ ! -e \"$HOME/sent\" ]; do : >\"$HOME/own\"; sleep 0.01; done; sleep 0.5; exit 3";
    let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "60s"), script);
    let mut command = helper.tool("sh");
    let child = start(command.args(["-c", "trap '' HUP; exec \"$0\" get"]).arg(program()), HOST);
    wait_until("the process runs", SOON, || helper.home().join("own").exists());
    send(child.id(), Signal::SIGHUP);
    helper.write("sent", "");
    let output = end(child);
    assert!(String::from_utf8_lossy(&output.stdout).contains("exit status: 3"), "{output:?}");
}

/// The system gives process 1 of a container no signal that it has no handler for, whatever it waits for.
#[test]
fn a_signal_ends_the_first_process_whatever_it_waits_for() {
    if !nix::unistd::geteuid().is_root() || missing(&["unshare", "script"]).is_some() {
        return skip("the helper as process 1", "namespaces of processes need root and unshare");
    }
    // Accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    let keys = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = s\n";
    let mfa = format!("{keys}mfa_serial = arn:aws:iam::111122223333:mfa/me\n");
    let signed_out = format!("[profile dev]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
    let login = format!("login {HOST}");
    for (config, words, signal) in [
        (&*mfa, &*login, Signal::SIGINT),
        (&signed_out, &login, Signal::SIGHUP),
        (keys, &login, Signal::SIGQUIT),
        (keys, "get-login-password --region us-east-1", Signal::SIGTERM),
        (keys, &format!("doctor {HOST}"), Signal::SIGINT),
        (keys, "list", Signal::SIGUSR1),
    ] {
        let helper = Helper::bare().var("AWS_ECR_TIMEOUT", "100s").var("AWS_ENDPOINT_URL", &address);
        helper.write(".aws/config", config);
        if config == signed_out {
            crate::issuers::sign_in(&helper, "u", "2020-01-01T00:00:00Z");
        }
        helper.write_program("bin/aws", "#!/bin/sh\nexec sleep 300\n");
        let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
        let profile = if config == signed_out { "dev" } else { "default" };
        let helper = helper.var("PATH", &path).var("AWS_PROFILE", profile).var("AWS_REGION", "us-east-1");
        let number = signal as i32;
        let first = helper.write(
            "first",
            &format!(
                "(trap '' {number}\nuntil grep -q docker /proc/1/comm; do sleep 0.1; done\n\
                 while kill -{number} 1; do sleep 0.1; done) &\nexec env --default-signal {} {words}\n",
                program().display()
            ),
        );
        let as_first = "timeout --foreground -s KILL 30 unshare --pid --fork --mount-proc --kill-child";
        let mut command = helper.tool("script");
        command.args(["-qec", &format!("{as_first} sh {}", first.display()), "/dev/null"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script starts");
        // Nothing is typed.
        let _keyboard = child.stdin.take();
        let output = end(child);
        assert_eq!(output.status.code(), Some(128 + number), "{config}{words}: {output:?}");
    }
}

/// E.g. `docker run -i`, whose input stays open.
#[test]
fn a_signal_ends_the_first_process_that_waits_for_its_request() {
    if !nix::unistd::geteuid().is_root() || missing(&["unshare", "mkfifo"]).is_some() {
        return skip("the helper as process 1", "namespaces of processes need root and unshare");
    }
    let aws = Aws::start();
    let as_first = |words: &str, others: &str, helper: &Helper| {
        let first = format!("({others}) &\nexec env --default-signal {} {words}\n", program().display());
        let first = helper.write("first", &first);
        let mut command = helper.tool("timeout");
        command.args(["-s", "KILL", "30", "unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh"]);
        command.arg(first).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    };
    for (words, signal) in [
        ("get", Signal::SIGTERM),
        ("store", Signal::SIGINT),
        ("erase", Signal::SIGHUP),
        ("kubelet", Signal::SIGTERM),
        // It waits for its settings.
        ("list", Signal::SIGTERM),
    ] {
        let mut helper = Helper::of(&aws).var("AWS_ECR_TIMEOUT", "100s");
        if words == "list" {
            let fifo = helper.home().join("fifo");
            crate::process::output(Command::new("mkfifo").arg(&fifo));
            helper.set("AWS_ECR_CONFIG_FILE", fifo.to_str().expect("UTF-8"));
        }
        let number = signal as i32;
        let kill = format!(
            "trap '' {number}; until grep -q docker /proc/1/comm; do sleep 0.1; done\n\
             while kill -{number} 1; do sleep 0.1; done"
        );
        let mut child = as_first(words, &kill, &helper);
        let _open = child.stdin.take();
        let output = end(child);
        assert_eq!(output.status.code(), Some(128 + number), "{words}: {output:?}");
    }
    // A request that comes late is answered.
    let helper = Helper::of(&aws);
    let mut child = as_first("get", ":", &helper);
    let mut input = child.stdin.take().expect("a pipe");
    std::thread::sleep(Duration::from_millis(500));
    input.write_all(HOST.as_bytes()).expect("a write");
    drop(input);
    let output = end(child);
    assert!(String::from_utf8_lossy(&output.stdout).contains("AKIAEXAMPLE."), "{output:?}");
}

/// Who starts a program passes on the signals that it has blocked itself.
#[test]
fn a_signal_that_the_caller_has_blocked_ends_the_helper_with_the_process_that_it_runs() {
    if lacks_kernel("signals that are blocked") {
        return;
    }
    let hang = "grep SigBlk /proc/self/status >\"$HOME/blocked\"\necho $$ >\"$HOME/own\"\nsleep 300\n";
    let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "60s"), hang);
    let mut command = helper.tool("env");
    let child = start(command.args(["--default-signal", "--block-signal=TERM"]).arg(program()).arg("get"), HOST);
    wait_until("the process runs", SOON, || {
        fs::read_to_string(helper.home().join("own")).is_ok_and(|own| own.ends_with('\n'))
    });
    send(child.id(), Signal::SIGTERM);
    let status = end(child).status;
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32), "{status}");
    let pid = pid_in(&helper, "own");
    wait_until(&format!("{pid} ends"), SOON, || !runs(&pid));
    // What it starts could not be ended by others either.
    assert_eq!(pid_in(&helper, "blocked").trim_start_matches(['S', 'i', 'g', 'B', 'l', 'k', ':', '\t', '0']), "");
}

/// An entrypoint that starts a daemon and then becomes the helper: the daemon is a child of the helper. Its own child, whose parent
/// ends, becomes a child of the first process, which may be the helper.
#[test]
fn what_was_there_before_the_helper_survives_a_time_out() {
    if lacks_kernel("children of an entrypoint") {
        return;
    }
    let entrypoint = "sleep 300 >/dev/null & echo $! >\"$HOME/daemon\"\n\
                      (sh -c 'sleep 300 >/dev/null & echo $! >\"$HOME/later\"')\n\
                      exec \"$0\" get";
    for as_first in [false, true] {
        if as_first && (!nix::unistd::geteuid().is_root() || missing(&["unshare"]).is_some()) {
            skip("the helper as process 1", "namespaces of processes need root and unshare");
            continue;
        }
        for kind in ["process", "fallback"] {
            let helper = Helper::bare().var("AWS_ECR_TIMEOUT", "1s");
            let hang = "sleep 300 & echo $! >\"$HOME/child\"\nsleep 300\n";
            let helper = with_program(helper, kind, hang);
            let host = if kind == "process" { HOST } else { "ghcr.io" };
            let mut command = if as_first { helper.tool("unshare") } else { helper.tool("sh") };
            if as_first {
                // The processes end with the namespace, so they are looked at from inside: by a second reading of /proc.
                command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh"]);
            }
            let script = if as_first {
                // The first process stays, so that the namespace does, and is the parent of all orphans.
                entrypoint.replace(
                    "exec \"$0\" get",
                    "\"$0\" get; for name in daemon later child; do \
                     kill -0 \"$(cat \"$HOME/$name\")\" 2>/dev/null && touch \"$HOME/$name-runs\"; done; exit 1",
                )
            } else {
                entrypoint.to_owned()
            };
            command.args(["-c", &script]).arg(program()).stderr(Stdio::null());
            let output = {
                let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
                let _ = child.stdin.take().expect("a pipe").write_all(host.as_bytes());
                end(child)
            };
            let line = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(line.contains("in time and was stopped"), "{kind}: {line}");
            let survives = |name: &str| {
                let inside = helper.home().join(format!("{name}-runs")).exists();
                if as_first { inside } else { runs(&pid_in(&helper, name)) }
            };
            assert!(survives("daemon") && survives("later"), "{kind}, as the first process: {as_first}");
            if !as_first {
                let child = pid_in(&helper, "child");
                wait_until("the child ends", SOON, || !runs(&child));
                for name in ["daemon", "later"] {
                    shell(&format!("kill {}", pid_in(&helper, name)));
                }
            }
        }
    }
}

fn shell(script: &str) {
    assert!(Command::new("sh").args(["-c", script]).status().expect("a shell").success(), "{script}");
}

/// A program in the current directory may be another user's.
#[test]
fn programs_come_from_no_relative_component_of_the_path() {
    let aws = Aws::start();
    let dir = tempfile::tempdir().expect("a directory");
    let evil = |name: &str| {
        crate::process::write_program(dir.path().join(name), "#!/bin/sh\n: >\"$HOME/evil\"\n");
    };
    for name in ["sh", "docker-credential-fake", "get-keys"] {
        evil(name);
    }
    for path in [
        Some(".:/usr/bin:/bin"),
        Some(":/usr/bin:/bin"),
        Some("/usr/bin:/bin:"),
        Some("/usr/bin::/bin"),
        Some("./:/usr/bin:/bin"),
        Some("."),
        Some(""),
        Some("./:"),
        Some(":"),
        None,
    ] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        helper.write(".config/docker-credential-ecr-login/config.toml", "fallback = 'fake'");
        // bash has a PATH of its own where there is none, which may end with the current directory.
        for (process, host, words) in [
            ("get-keys", HOST, "credential_process"),
            ("bash -c 'echo PATH is $PATH >&2; get-keys'", HOST, "credential_process"),
            ("false", "ghcr.io", "is not on the PATH"),
        ] {
            helper.write(".aws/config", &format!("[default]\ncredential_process = {process}\n"));
            let mut command = helper.command();
            match path {
                Some(path) => command.env("PATH", path),
                None => command.env_remove("PATH"),
            };
            let ran = crate::process::run(command.current_dir(dir.path()).arg("get"), host);
            let line = ran.error();
            assert!(line.contains(words), "{path:?}: {line}");
            assert!(!helper.home().join("evil").exists(), "{path:?}: {process} {host}");
            if let Some((_, searched)) = line.split_once("PATH is ") {
                let searched = searched.split([' ', ';']).next().unwrap_or_default();
                let has_standard = searched.split(':').any(|dir| dir == "/usr/bin");
                assert!(has_standard && searched.split(':').all(|dir| dir.starts_with('/')), "{path:?}: {line}");
            }
        }
    }
}

/// Without /proc, or with that of other processes, nobody shows the descendants.
#[test]
fn a_process_that_hangs_ends_with_its_descendants_without_proc() {
    if !nix::unistd::geteuid().is_root() || missing(&["unshare", "umount"]).is_some() {
        return skip("a process without /proc", "mounts need root and unshare");
    }
    // The second is process 1 of a namespace, and its /proc shows the processes outside: their ids mean others inside.
    let foreign = ["--pid", "--fork", "--kill-child"];
    for (options, prepare) in [(&[][..], "umount -l /proc || exit 9"), (&foreign, ":")] {
        let hang = "sleep 300 & echo $! >\"$HOME/child\"\nsh -c 'sleep 300 & echo $! >\"$HOME/orphan\"'\nsleep 300\n";
        let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "1500ms"), hang);
        let script = format!(
            "{prepare}\n\"$0\" get\nmount -t proc proc /proc || exit 9\n\
             for name in child orphan; do cat \"/proc/$(cat \"$HOME/$name\")/stat\" >\"$HOME/$name-stat\" 2>/dev/null; done\n\
             exit 1"
        );
        let mut command = helper.tool("unshare");
        command.args(["--mount", "--propagation", "private"]).args(options).args(["sh", "-c", &script]).arg(program());
        let ran = crate::process::run(&mut command, HOST);
        assert!(ran.error().contains("in time and was stopped"), "{ran:?}");
        for name in ["child", "orphan"] {
            let stat = fs::read_to_string(helper.home().join(format!("{name}-stat"))).expect("it was looked at");
            assert!(
                !pid_in(&helper, name).is_empty() && (stat.is_empty() || stat.contains(") Z ")),
                "{options:?}: {stat}"
            );
        }
    }
}

/// As process 1 of a container, the helper becomes the parent of each orphan: of what it kills, and of what ends by itself.
#[test]
fn as_the_first_process_it_leaves_no_zombie() {
    if !nix::unistd::geteuid().is_root() || missing(&["unshare"]).is_some() {
        return skip("zombies of the first process", "namespaces of processes need root and unshare");
    }
    let hang = "sleep 300 & echo $! >>\"$HOME/pids\"\n(sleep 300 & echo $! >>\"$HOME/pids\")\nsleep 300\n";
    let fail = "(sleep 0.1 >\"$HOME/nothing\" 2>&1 & echo $! >>\"$HOME/pids\")\nexit 1\n";
    // Once the process is started again, all that an earlier time has left must be gone.
    for (process, earlier) in [(hang, 2), (fail, 1)] {
        let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "1s"), process);
        let script = format!(
            "(while [ \"$(cat \"$HOME/pids\" | wc -l)\" -lt 3 ]; do sleep 0.1; done 2>/dev/null\n\
             for pid in $(head -n {earlier} \"$HOME/pids\"); do [ ! -e /proc/$pid ] || cat /proc/$pid/stat; done >\"$HOME/left\"\n\
             kill 1) &\n\
             exec \"$0\" export {HOST} --every 1s --output \"$HOME/tokens\""
        );
        let mut command = helper.tool("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script]).arg(program());
        let ran = crate::process::run(&mut command, "");
        let left = fs::read_to_string(helper.home().join("left")).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        assert_eq!(left, "", "{process}: {ran:?}");
    }
}

/// What one run leaves behind ends while the next one is waited for.
#[test]
fn as_the_first_process_it_leaves_no_zombie_between_two_runs() {
    if !nix::unistd::geteuid().is_root() || missing(&["unshare"]).is_some() {
        return skip("zombies of the first process", "namespaces of processes need root and unshare");
    }
    let keys = r#"{"Version":1,"AccessKeyId":"AKIAP","SecretAccessKey":"s"}"#;
    let daemon = format!("(setsid sleep 1 >\"$HOME/nothing\" 2>&1 & echo $! >\"$HOME/pid\")\necho '{keys}'\n");
    let helper = with_process(Helper::bare().var("AWS_ENDPOINT_URL", &Aws::start().url()), &daemon);
    let script = format!(
        "(until [ -s \"$HOME/tokens\" ]; do sleep 0.1; done\n\
         for _ in $(seq 150); do [ -e \"$HOME/forgotten\" ] || sleep 0.1\n\
         [ -e /proc/$(cat \"$HOME/pid\") ] || : >\"$HOME/forgotten\"; done\n\
         kill 1) &\n\
         exec \"$0\" export {HOST} --every 1h --output \"$HOME/tokens\""
    );
    let mut command = helper.tool("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script]).arg(program());
    let ran = crate::process::run(&mut command, "");
    assert!(helper.home().join("forgotten").exists(), "{ran:?}");
}

/// A daemon with an environment of its own, which is started twice removed: nothing but its new parent shows whose it is.
#[test]
fn a_daemon_without_the_environment_ends_at_a_time_out() {
    if lacks_kernel("processes that are nobody's children") {
        return;
    }
    let hang = "( ( env -i setsid sleep 300 >/dev/null 2>&1 & echo $! >\"$HOME/daemon\" ) & )\n\
                while [ ! -s \"$HOME/daemon\" ]; do sleep 0.01; done\nsleep 300\n";
    let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "1500ms"), hang);
    let ran = helper.get(HOST);
    assert!(ran.error().contains("in time and was stopped"), "{ran:?}");
    let daemon = pid_in(&helper, "daemon");
    wait_until(&format!("the daemon ({daemon}) ends"), SOON, || !runs(&daemon));
}

/// A service that was there before starts a job for the program, in the environment of the program: at, tmux, D-Bus.
#[test]
fn a_job_of_a_service_survives_a_time_out() {
    if lacks_kernel("children of an entrypoint") {
        return;
    }
    // Orphans have the mark alone where the helper has another child.
    let hang = "(sleep 300 & echo $! >\"$HOME/orphan\")\n\
                env | sed -n 's/^DOCKER_CREDENTIAL_ECR_LOGIN_CHILD/export &/p' >\"$HOME/new\"\n\
                mv \"$HOME/new\" \"$HOME/order\"\nsleep 300\n";
    let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "1500ms"), hang);
    let serve = "until [ -e \"$HOME/order\" ]; do sleep 0.01; done; . \"$HOME/order\"\n\
                 sh -c 'echo $$ >\"$HOME/job\"; grep -zc ^DOCKER_CREDENTIAL /proc/self/environ >\"$HOME/marks\"; exec sleep 300' &\n\
                 wait\n";
    let mut service = helper.tool("sh").args(["-c", serve]).spawn().expect("it starts");
    let mut command = helper.tool("sh");
    command.args(["-c", "sleep 300 >/dev/null 2>&1 & echo $! >\"$HOME/daemon\"; exec \"$0\" get"]).arg(program());
    let ran = crate::process::run(&mut command, HOST);
    let [orphan, job, daemon] = ["orphan", "job", "daemon"].map(|name| pid_in(&helper, name));
    let survives = runs(&job) && runs(&daemon);
    stop(&mut service);
    let _ = Command::new("kill").args([&job, &daemon]).status();
    assert!(ran.error().contains("in time and was stopped"), "{ran:?}");
    assert_eq!(pid_in(&helper, "marks"), "1");
    assert!(survives, "{job} {daemon}");
    wait_until(&format!("the orphan ({orphan}) ends"), SOON, || !runs(&orphan));
}

/// An id may go to another process between a look at the first one and the signal; a handle (pidfd) does not.
#[test]
fn a_time_out_ends_the_descendants_by_handles_where_the_system_has_them() {
    if missing(&["strace"]).is_some() {
        return skip("handles of processes", "strace is missing");
    }
    let hang = "sleep 30 & echo $! >\"$HOME/child\"\n\
                sh -c 'setsid sleep 30 & echo $! >\"$HOME/orphan\"'\nsleep 30\n";
    // Older kernels have none, and some container engines forbid the call.
    for failure in [None, Some("ENOSYS"), Some("EPERM")] {
        let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "2s"), hang);
        let trace = helper.home().join("trace").display().to_string();
        let fail = format!("inject=pidfd_open:error={}", failure.unwrap_or_default());
        let more = ["-e", &fail][..2 * usize::from(failure.is_some())].to_vec();
        let calls = ["-f", "--seccomp-bpf", "-qq", "-o", &trace, "-e", "trace=kill,pidfd_open,pidfd_send_signal"];
        let ran = Ran::new(end(helper.start_under("strace", &calls, &more, HOST)), Duration::ZERO);
        assert!(ran.error().contains("did not answer in time and was stopped"), "{ran:?}");
        let trace = fs::read_to_string(trace).expect("a trace");
        for name in ["child", "orphan"] {
            let pid = pid_in(&helper, name);
            wait_until(&format!("{name} ({pid}) ends, {failure:?}"), SOON, || !runs(&pid));
            let is_killed_by_id = trace.contains(&format!("kill({pid}, SIGKILL"));
            assert_eq!(is_killed_by_id, failure.is_some(), "{name} ({pid}): {trace}");
            if failure.is_none() {
                let (_, rest) = trace
                    .split_once(&format!("pidfd_open({pid},"))
                    .unwrap_or_else(|| panic!("a handle of {name} ({pid}): {trace}"));
                assert!(rest.contains("pidfd_send_signal("), "{name} ({pid}): {trace}");
            }
        }
    }
}

/// Each look at one takes time and opens files.
#[test]
fn many_descendants_end_at_a_time_out_or_the_answer_says_that_some_go_on() {
    if missing(&["python3"]).is_some() {
        return skip("many descendants", "python3 is missing");
    }
    for (count, files) in [(600, None), (20, Some(22)), (20, Some(23)), (20, Some(24))] {
        let helper = Helper::bare().var("AWS_ECR_TIMEOUT", "6s");
        let fork = "import os, signal, sys\nfor _ in range(int(sys.argv[1])):\n if not os.fork(): signal.pause()\n\
                    open(os.environ['HOME'] + '/group', 'w').write(str(os.getpgrp()))\nsignal.pause()\n";
        let fork = helper.write("fork.py", fork);
        let helper = with_process(helper, &format!("exec setsid python3 {} {count}\n", fork.display()));
        let limits = files.map_or(String::new(), |files| format!("ulimit -n {files}; "));
        let mut command = helper.tool("sh");
        command.args(["-c", &format!("{limits}exec \"$0\" get")]).arg(program());
        let ran = crate::process::run(&mut command, HOST);
        let error = ran.error();
        // What else is open, such as a pipe of a build, counts too.
        if files.is_some() && error.contains("E-SYSTEM-LIMITS") {
            continue;
        }
        assert!(error.contains("' did not answer in time and was stopped"), "{count} {files:?}: {ran:?}");
        let group = pid_in(&helper, "group");
        let lives =
            || Command::new("pgrep").args(["-g", &group]).stdout(Stdio::null()).status().expect("pgrep").success();
        if error.contains("may go on") {
            assert!(files.is_none(), "{ran:?}");
            let group = nix::unistd::Pid::from_raw(group.trim().parse().expect("a group"));
            let _ = nix::sys::signal::killpg(group, Signal::SIGKILL);
        }
        wait_until(&format!("{count} descendants with {files:?} files end"), SOON, || !lives());
    }
}

/// The system shows a process whose first thread has ended like one that has ended.
#[test]
fn a_descendant_that_goes_on_in_its_other_threads_ends_at_a_time_out() {
    if lacks_kernel("threads of a descendant") || missing(&["python3"]).is_some() {
        return skip("a descendant without its first thread", "python3 is missing");
    }
    let script = "import ctypes, os, sys, threading, time\n\
        if len(sys.argv) > 1 and os.fork(): os._exit(0)\n\
        threading.Thread(target=lambda: time.sleep(300)).start()\n\
        open(os.environ['HOME'] + '/pid', 'w').write(str(os.getpid()) + '\\n')\n\
        ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)\n";
    for (is_orphan, before) in [("", ""), ("orphan", ""), ("orphan", "sleep 300 >/dev/null 2>&1 & ")] {
        let helper = Helper::bare().var("AWS_ECR_TIMEOUT", "2500ms");
        let threads = helper.write("threads.py", script);
        let helper = with_process(helper, &format!("python3 {} {is_orphan} &\nsleep 300\n", threads.display()));
        let mut command = helper.tool("sh");
        command.args(["-c", &format!("{before}echo $! >\"$HOME/daemon\"; exec \"$0\" get")]).arg(program());
        let ran = crate::process::run(&mut command, HOST);
        let _ = Command::new("kill").arg(pid_in(&helper, "daemon")).stderr(Stdio::null()).status();
        assert!(ran.error().contains("in time and was stopped"), "{ran:?}");
        let pid = pid_in(&helper, "pid");
        let threads = || fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        wait_until(&format!("{pid} ({is_orphan} {before}) ends"), SOON, || threads() < 2);
    }
}

/// What it has left in the background, e.g. an agent, holds its output.
#[test]
fn a_program_that_has_ended_is_not_waited_for_and_its_job_goes_on() {
    let aws = Aws::start();
    let keys = "echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'";
    let secret = "echo '{\"Secret\":\"s\"}'";
    let job = "sleep 300 & echo $! >\"$HOME/job\"";
    for (kind, script, code, words) in [
        ("process", format!("{job}\n{keys}\n"), 0, "AKIAP."),
        ("process", format!("setsid {job}\n{keys}\n"), 0, "AKIAP."),
        ("process", format!("{job}\necho vault is sealed >&2; exit 3\n"), 1, "exit status: 3: vault is sealed"),
        ("process", format!("{job}\nkill -KILL $$\n"), 1, "exit status: 137"),
        // What comes later is of a part of it that goes on.
        ("process", format!("{job}\n(sleep 3; {keys}) &\n"), 0, "AKIAP."),
        ("process", format!("{job}\n{{ sleep 0.2; {keys}; }} | cat\n"), 0, "AKIAP."),
        ("fallback", format!("{job}\n{secret}\n"), 0, "{\"Secret\":\"s\"}\n"),
        ("fallback", format!("{job}\necho locked; exit 3\n"), 3, "locked\n"),
    ] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_TIMEOUT", "60s");
        let helper = with_program(helper, kind, &script);
        let ran = helper.get(if kind == "process" { HOST } else { "ghcr.io" });
        let job = pid_in(&helper, "job");
        let goes_on = runs(&job);
        let _ = Command::new("kill").arg(job).stderr(Stdio::null()).status();
        assert!(goes_on && ran.code == Some(code) && ran.stdout.contains(words), "{script}: {ran:?}");
        assert!(ran.took < limit(Duration::from_secs(10)), "{script}: {:?}", ran.took);
    }
}

/// The protocol wants no output of these two.
#[test]
fn a_fallback_helper_that_leaves_a_job_and_prints_nothing_is_not_waited_for() {
    let helper = Helper::bare().var("AWS_ECR_TIMEOUT", "60s");
    let helper = with_program(helper, "fallback", "sleep 300 & echo $! >\"$HOME/job\"\n");
    let credential = r#"{"ServerURL":"ghcr.io","Username":"u","Secret":"s"}"#;
    for (action, input) in [("store", credential), ("erase", "ghcr.io")] {
        let ran = helper.run(&[action], input);
        let _ = Command::new("kill").arg(pid_in(&helper, "job")).stderr(Stdio::null()).status();
        assert!(ran.code == Some(0) && ran.took < limit(Duration::from_secs(10)), "{action}: {ran:?}");
    }
}

/// What a program leaves running may print without end.
#[test]
fn output_that_goes_on_after_the_end_of_the_program_has_limits() {
    let keys = r#"{"Version":1,"AccessKeyId":"AKIAP","SecretAccessKey":"s"}"#;
    let aws = Aws::start();
    let too_much = "printed more than 1 MiB on standard output, the limit";
    for (script, words) in [
        (format!("yes &\necho '{keys}'\n"), too_much),
        ("sleep 8 &\n".to_owned(), "printed no valid credentials"),
        ("while sleep 0.2; do echo x; done &\n".to_owned(), "printed no valid credentials"),
        (format!("echo '{keys}'\nwhile sleep 0.2; do echo; done &\n"), "AKIAP."),
    ] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_TIMEOUT", "5s");
        let helper = with_process(helper, &script);
        let ran = helper.get(HOST);
        assert!(ran.stdout.contains(words), "{script}: {ran:?}");
        assert!(ran.took < limit(Duration::from_secs(20)), "{script}: {:?}", ran.took);
    }
}

/// What a run that ended by itself left behind goes on when a later one is stopped, and what ends of it is no zombie.
#[test]
fn a_daemon_of_an_earlier_run_survives_a_time_out() {
    if lacks_kernel("processes that are nobody's children") {
        return;
    }
    let process = "if [ -e \"$HOME/daemon\" ]; then\n\
                   echo $$ >\"$HOME/hangs\"; sleep 300\n\
                   fi 2>/dev/null\n\
                   (env -i sleep 0.1 >/dev/null 2>&1 & echo $! >\"$HOME/short\")\n\
                   (env -i setsid sleep 300 >/dev/null 2>&1 & echo $! >\"$HOME/daemon\")\n\
                   exit 1\n";
    let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "1s"), process);
    let tokens = helper.home().join("tokens").display().to_string();
    let mut child = helper.start(&["export", HOST, "--every", "1s", "--output", &tokens], b"");
    let hangs = helper.home().join("hangs");
    wait_until("the second run hangs", SOON, || fs::read_to_string(&hangs).is_ok_and(|pid| pid.ends_with('\n')));
    let (short, daemon) = (pid_in(&helper, "short"), pid_in(&helper, "daemon"));
    wait_until("the second run is stopped", SOON, || !runs(&pid_in(&helper, "hangs")));
    wait_until("what ended is forgotten", SOON, || !Path::new("/proc").join(&short).exists());
    let survives = runs(&daemon);
    stop(&mut child);
    let _ = Command::new("kill").arg(&daemon).status();
    assert!(survives, "{daemon}");
}

#[test]
fn what_runs_as_another_user_is_not_called_stopped() {
    use std::os::unix::fs::PermissionsExt as _;
    if !nix::unistd::geteuid().is_root() || missing(&["setpriv"]).is_some() {
        return skip("a process of another user", "only root makes a program like sudo");
    }
    let hang = "echo $$ >\"$HOME/own\"\n\"$HOME/sudo\" --reuid=0 --regid=0 --clear-groups sh -c 'echo $$; exec sleep 300' >\"$HOME/root\"\n";
    let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "1s"), hang);
    let [own, sudo] =
        [(program(), "helper", 0o755), ("/usr/bin/setpriv".into(), "sudo", 0o4755)].map(|(from, to, mode)| {
            let copy = helper.home().join(to);
            crate::process::write_program(&copy, fs::read(from).expect("a program"));
            fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).expect("a mode");
            copy
        });
    fs::set_permissions(helper.home(), fs::Permissions::from_mode(0o777)).expect("a mode");
    let mut command = helper.tool("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(own).arg("get");
    let ran = crate::process::run(&mut command, HOST);
    let root = pid_in(&helper, "root");
    if root.is_empty() {
        return skip("a process of another user", "this file system has no programs like sudo");
    }
    let goes_on = runs(&root);
    shell(&format!("kill {root}"));
    assert!(goes_on && sudo.exists());
    assert!(ran.stdout.contains("what it runs as another user cannot be stopped and goes on"), "{ran:?}");
    let own = pid_in(&helper, "own");
    wait_until("what runs as this user ends", SOON, || !runs(&own));
}

/// Of what a run meets alone, others do not hear: a signal from a terminal or a job, limits of the machine for it.
#[test]
fn an_interrupted_process_fails_for_nobody_else() {
    if lacks_kernel("signals that are ignored") {
        return;
    }
    let aws = Aws::start();
    for (end_of_first, runs) in [
        ("sleep 300", 2),
        ("kill -TERM $$", 2),
        ("exit 143", 2),
        ("echo 'Cannot fork: Resource temporarily unavailable' >&2; exit 2", 2),
        ("exit 3", 1),
    ] {
        let script = format!(
            "echo run >>\"$HOME/runs\"\n[ \"$(wc -l <\"$HOME/runs\")\" -gt 1 ] || {{ {end_of_first}; }}\n\
             echo '{{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}}'"
        );
        let helper =
            with_process(Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_TIMEOUT", "60s"), &script);
        let mut command = helper.tool("setsid");
        let first = start(command.args(["env", "--default-signal"]).arg(program()).arg("get"), HOST);
        if end_of_first == "sleep 300" {
            wait_until("the process runs", SOON, || {
                fs::read_to_string(helper.home().join("runs")).is_ok_and(|runs| runs.ends_with('\n'))
            });
            let group = nix::unistd::Pid::from_raw(first.id().try_into().expect("a process id"));
            nix::sys::signal::killpg(group, Signal::SIGINT).expect("a signal");
        }
        let first = end(first);
        assert!(!first.status.success(), "{end_of_first}: {first:?}");
        let second = helper.get(HOST);
        let ran = fs::read_to_string(helper.home().join("runs")).expect("it ran").lines().count();
        assert_eq!((ran, second.code == Some(0)), (runs, runs == 2), "{end_of_first}: {second:?}");
    }
}

/// An executable script in `bin` below the home, which comes first on the PATH then.
fn install(helper: Helper, name: &str, script: &str) -> Helper {
    helper.write_program(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}"));
    let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
    helper.var("PATH", &path)
}

/// A wrapper that calls the helper again, as `sudo` would, without the variables by which the helper knows its own. It gives up
/// after 30 calls, so that a loop ends here.
fn wrapper(environment: &str, args: &str) -> String {
    format!(
        "echo call >>\"$HOME/calls\"\n[ \"$(wc -l <\"$HOME/calls\")\" -lt 30 ] || exit 9\n\
         exec env {environment} HOME=\"$HOME\" PATH=\"$PATH\" AWS_EC2_METADATA_DISABLED=true AWS_ECR_DISABLE_CACHE=1 \
         AWS_ECR_TIMEOUT=10s {} {args}\n",
        program().display()
    )
}

fn calls(helper: &Helper) -> usize {
    fs::read_to_string(helper.home().join("calls")).unwrap_or_default().lines().count()
}

#[test]
fn a_loop_that_clears_the_environment_ends() {
    if lacks_kernel("the ancestors of a process") {
        return;
    }
    let helper = install(Helper::bare(), "docker-credential-fake", &wrapper("-i", "\"$@\""));
    helper.write(".config/docker-credential-ecr-login/config.toml", "fallback = 'fake'");
    let ran = helper.get("ghcr.io");
    assert!(ran.stdout.contains("docker-credential-fake leads back to ecr-login"), "{ran:?}");
    assert!(calls(&helper) <= 5, "{} calls", calls(&helper));
    let again = wrapper("-i", &format!("get <<E\n{HOST}\nE"));
    let helper = Helper::bare().var("AWS_ECR_DISABLE_CACHE", "1").var("AWS_ECR_TIMEOUT", "10s");
    let helper = with_process(helper, &again);
    let ran = helper.get(HOST);
    assert!(ran.stdout.contains("the credential_process of profile 'default' failed: exit status: 1"), "{ran:?}");
    assert!(calls(&helper) <= 5, "{} calls", calls(&helper));
    // The AWS CLI, which `login` runs for a sign-in.
    for environment in ["-i", ""] {
        let again = wrapper(environment, &format!("login {HOST}")).replace("AWS_ECR_DISABLE_CACHE=1 ", "");
        let helper = install(Helper::bare(), "aws", &again);
        let session = "sso_session = s\n[sso-session s]\nsso_region = eu-west-1\nsso_start_url = u\n";
        helper.write(".aws/config", &format!("[default]\n{}{session}", crate::issuers::SSO));
        let ran = helper.run(&["login", HOST], "");
        assert!(ran.stderr.contains("'aws sso login --profile default' leads back to ecr-login"), "{ran:?}");
        assert!(calls(&helper) <= 5, "{} calls", calls(&helper));
    }
}

/// Wrappers of docker, which `doctor` asks for its version.
#[test]
fn a_client_that_calls_doctor_is_asked_for_its_version_once() {
    for environment in ["", "-i"] {
        if environment == "-i" && lacks_kernel("the ancestors of a process") {
            continue;
        }
        let helper = install(Helper::bare(), "docker", &wrapper(environment, "doctor"));
        let ran = helper.run(&["doctor", "-v"], "");
        // Each question of doctor's own is one.
        assert!((1..=4).contains(&calls(&helper)), "{} calls: {ran:?}", calls(&helper));
        assert!(ran.took < limit(Duration::from_secs(20)), "{:?}", ran.took);
    }
}

#[test]
fn a_version_is_one_short_line() {
    let version = "echo 'Docker version 28.0.1,'; echo build; head -c 900000 /dev/zero | tr '\\0' 9";
    let helper = install(Helper::bare(), "docker", version);
    let ran = helper.run(&["doctor", "-v"], "");
    let line = ran.stdout.lines().find(|line| line.contains("Docker version")).unwrap_or_else(|| panic!("{ran:?}"));
    assert!(line.contains("28.0.1, build 9999") && line.chars().count() < 220, "{line}");
}

/// What asks for a password without echo cannot put the terminal back when it is killed.
#[test]
fn a_program_that_is_killed_leaves_the_terminal_as_it_was() {
    if lacks_kernel("terminals") || missing(&["script", "stty"]).is_some() {
        return skip("the settings of the terminal", "script or stty is missing");
    }
    let hide = "trap '' TERM\nstty -echo -icanon </dev/tty\n: >\"$HOME/asks\"\n";
    // It hangs, prints without end, or goes on while the helper is ended.
    for (kind, host, then, timeout) in [
        ("process", HOST, "sleep 300", "1500ms"),
        ("process", HOST, "exec yes", "60s"),
        ("process", HOST, "while sleep 1; do :; done", "60s"),
        ("fallback", "images.example.com", "sleep 300", "1500ms"),
    ] {
        let helper = Helper::bare().var("AWS_ECR_TIMEOUT", timeout);
        let script = format!("{hide}{then}\n");
        let helper = with_program(helper, kind, &script);
        let is_ended = then.starts_with("while");
        let stop = "(until [ -e \"$HOME/asks\" ]; do sleep 0.1; done; kill $(cat \"$HOME/own\")) &\n";
        let run = format!(
            "{}stty -a >\"$HOME/before\"\necho {host} | sh -c 'echo $$ >\"$HOME/own\"; exec {} get'\nstty -a >\"$HOME/after\"\n",
            if is_ended { stop } else { "" },
            program().display()
        );
        let run = helper.write("run", &run);
        let mut command = helper.tool("script");
        let ran = crate::process::run(command.args(["-qc", &format!("sh {}", run.display()), "/dev/null"]), "");
        assert!(helper.home().join("asks").exists(), "{kind} {then}: {ran:?}");
        let settings = |name| fs::read_to_string(helper.home().join(name)).expect("settings");
        assert_eq!(settings("after"), settings("before"), "{kind} {then}: {ran:?}");
    }
}

#[test]
fn a_program_that_fails_leaves_the_terminal_as_it_was() {
    if lacks_kernel("terminals") || missing(&["script", "stty"]).is_some() {
        return skip("the settings of the terminal", "script or stty is missing");
    }
    let aws = Aws::start();
    let keys = "echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'";
    for (kind, host, then, is_restored) in [
        ("process", HOST, "kill -SEGV $$", true),
        ("process", HOST, "sh -c 'kill -KILL $$'; exit", true),
        ("process", HOST, "exit 1", true),
        ("fallback", "images.example.com", "exit 1", true),
        // It has put them back itself, or another one has changed them.
        ("process", HOST, keys, false),
    ] {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        let helper = with_program(helper, kind, &format!("stty -echo </dev/tty\n{then}\n"));
        let run =
            format!("stty -a >\"$HOME/before\"\necho {host} | {} get\nstty -a >\"$HOME/after\"\n", program().display());
        let run = helper.write("run", &run);
        let mut command = helper.tool("script");
        let ran = crate::process::run(command.args(["-qc", &format!("sh {}", run.display()), "/dev/null"]), "");
        let settings = |name| fs::read_to_string(helper.home().join(name)).expect("settings");
        assert_eq!(settings("after") == settings("before"), is_restored, "{kind} {then}: {ran:?}");
    }
}

/// The second one finds the terminal without echo, since the first one asks.
#[test]
fn two_prompts_of_which_neither_is_answered_leave_the_terminal_as_it_was() {
    if lacks_kernel("terminals") || missing(&["script", "stty"]).is_some() {
        return skip("the settings of the terminal", "script or stty is missing");
    }
    for (first, second) in [("2s", "4s"), ("5s", "2s")] {
        let helper = Helper::bare();
        // Processes of their own: the second get would wait for the first one.
        let profile = |name: &str| {
            let ask = format!("stty -echo </dev/tty\n: >\"$HOME/asks{name}\"\nsleep 30\n");
            let path = helper.write(name, &ask);
            format!("[profile {name}]\ncredential_process = sh {}\n", path.display())
        };
        helper.write(".aws/config", &[first, second].map(profile).concat());
        let host = helper.write("host", HOST);
        let get = |time: &str| {
            let (program, host) = (program(), host.display());
            let get = format!("AWS_PROFILE={time} AWS_ECR_TIMEOUT={time} {} get <{host}", program.display());
            format!("{get} >\"$HOME/answer{time}\" &\nuntil [ -e \"$HOME/asks{time}\" ]; do sleep 0.01; done\n")
        };
        let settings = |name| format!("stty -a >\"$HOME/{name}\"\n");
        let run = [settings("before"), get(first), get(second), "wait\n".to_owned(), settings("after")].concat();
        let run = helper.write("run", &run);
        let mut command = helper.tool("timeout");
        let ran = crate::process::run(
            command.args(["30", "script", "-qc", &format!("sh {}", run.display()), "/dev/null"]),
            "",
        );
        for time in [first, second] {
            assert!(pid_in(&helper, &format!("answer{time}")).contains("was stopped"), "{ran:?}");
        }
        assert_eq!(pid_in(&helper, "after"), pid_in(&helper, "before"), "{first} {second}: {ran:?}");
    }
}

/// An interactive shell, and what is written like one, takes the terminal for its own process group.
#[test]
fn a_terminal_that_a_dead_program_has_taken_goes_back_to_the_caller() {
    if lacks_kernel("terminals") || missing(&["script", "stty", "perl", "bash", "ps"]).is_some() {
        return skip("the terminal's process group", "script, stty, perl, bash or ps is missing");
    }
    let take = |then: &str| {
        format!(
            "exec perl -MPOSIX -e '$SIG{{TTOU}} = \"IGNORE\"; setpgid(0, 0); open(T, \"+<\", \"/dev/tty\");\n\
             tcsetpgrp(fileno(T), getpgrp()) or die; system(\"stty -echo </dev/tty; : >$ENV{{HOME}}/asks\"); {then}'\n"
        )
    };
    let shell_asks = "exec bash --norc -ic ': >\"$HOME/asks\"; read -s x </dev/tty'\n".to_owned();
    let shell_runs = "exec bash --norc -ic 'stty -echo </dev/tty; : >\"$HOME/asks\"; sleep 300'\n".to_owned();
    let leave =
        take("if (!fork()) { open(STDOUT, \">/dev/null\"); open(STDERR, \">&STDOUT\"); exec qw(sleep 30) } exit 1");
    for (script, run, goes_back) in [
        (&shell_asks, "GET", true),
        (&shell_runs, "GET", true),
        (&take("sleep 300"), "GET", true),
        (&take("kill 9, $$"), "GET", true),
        (&take("system(\"stty echo </dev/tty\")"), "GET", true),
        // In the background, where the system stops what sets the terminal.
        (&take("sleep 300"), "perl -e 'setpgrp; exec @ARGV' GET", true),
        // With another child, e.g. of an entrypoint.
        (&take("sleep 300"), "sh -c 'sleep 30 >/dev/null 2>&1 & exec GET'", true),
        // What lives there keeps it.
        (&leave, "GET", false),
    ] {
        let helper = with_process(Helper::bare().var("AWS_ECR_TIMEOUT", "2s"), script);
        let host = helper.write("host", HOST);
        let run = run.replace("GET", &format!("{} get <{}", program().display(), host.display()));
        let see = "{ ps -o tpgid= -p $$; stty -a; }";
        let run = helper.write("run", &format!("{see} >\"$HOME/before\"\n{run}\n{see} >\"$HOME/after\"\n"));
        let mut command = helper.tool("script");
        let ran = crate::process::run(command.args(["-qc", &format!("sh {}", run.display()), "/dev/null"]), "");
        assert!(helper.home().join("asks").exists(), "{script}: {ran:?}");
        let [before, after] =
            ["before", "after"].map(|name| fs::read_to_string(helper.home().join(name)).expect("settings"));
        assert_eq!(after == before, goes_back, "{script}: {before}{after}{ran:?}");
    }
}

/// In the background, where the system would stop what sets the terminal.
#[test]
fn a_program_that_ends_in_the_background_leaves_the_terminal_alone() {
    if lacks_kernel("terminals") || missing(&["script", "stty", "perl"]).is_some() {
        return skip("the settings of the terminal", "script, stty or perl is missing");
    }
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    // The person in the foreground hides what is typed meanwhile.
    let wait = ": >\"$HOME/runs\"\nuntil [ -e \"$HOME/hidden\" ]; do sleep 0.01; done\n\
                echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'\n";
    let helper = with_process(helper, wait);
    let host = helper.write("host", HOST);
    let run = helper.write(
        "run",
        &format!(
            "perl -e 'setpgrp; exec @ARGV' {} get <{} >\"$HOME/answer\" &\n\
             until [ -e \"$HOME/runs\" ]; do sleep 0.01; done\nstty -echo\n: >\"$HOME/hidden\"\n\
             wait\nstty -a >\"$HOME/after\"\n",
            program().display(),
            host.display()
        ),
    );
    let mut command = helper.tool("script");
    let ran = crate::process::run(command.args(["-qc", &format!("sh {}", run.display()), "/dev/null"]), "");
    assert!(pid_in(&helper, "answer").contains("AKIAP"), "{ran:?}");
    assert!(pid_in(&helper, "after").contains(" -echo "), "{ran:?}");
}

/// Pulls at the same time run a helper each, and one of them may ask for a password.
#[test]
fn a_program_that_answers_leaves_the_prompt_of_another_without_echo() {
    if lacks_kernel("terminals") || missing(&["script", "stty"]).is_some() {
        return skip("the settings of the terminal", "script or stty is missing");
    }
    let aws = Aws::start();
    let keys = "echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'";
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let until = |file: &str| format!("until [ -e \"$HOME/{file}\" ]; do sleep 0.01; done\n");
    let quiet = format!(": >\"$HOME/quiet\"\n{}{keys}\n", until("asks"));
    let prompt = format!(
        "stty -echo </dev/tty\n: >\"$HOME/asks\"\n{}stty -a </dev/tty >\"$HOME/during\"\nstty echo </dev/tty\n{keys}\n",
        until("answered")
    );
    let profile = |(name, script): (&str, String)| {
        let path = helper.write(name, &script);
        format!("[profile {name}]\ncredential_process = sh {}\n", path.display())
    };
    helper.write(".aws/config", &[("quiet", quiet), ("prompt", prompt)].map(profile).concat());
    let host = helper.write("host", HOST);
    let get = |profile: &str| format!("AWS_PROFILE={profile} {} get <{}", program().display(), host.display());
    let run = format!(
        "stty -a >\"$HOME/before\"\n({} >\"$HOME/answer\"; : >\"$HOME/answered\") &\n{}{}\nwait\nstty -a >\"$HOME/after\"\n",
        get("quiet"),
        until("quiet"),
        get("prompt")
    );
    let run = helper.write("run", &run);
    let mut command = helper.tool("script");
    let ran = crate::process::run(command.args(["-qc", &format!("sh {}", run.display()), "/dev/null"]), "");
    assert!(pid_in(&helper, "answer").contains("AKIAP") && ran.stdout.contains("AKIAP"), "{ran:?}");
    assert!(pid_in(&helper, "during").contains(" -echo "), "{ran:?}");
    assert_eq!(pid_in(&helper, "after"), pid_in(&helper, "before"), "{ran:?}");
}

/// Who can answer its question does not get the failure of one who could not.
#[test]
fn a_process_that_lacked_a_terminal_runs_again_at_one() {
    if lacks_kernel("terminals") || missing(&["script"]).is_some() {
        return skip("a process that asks", "script is missing");
    }
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let ask = "echo run >>\"$HOME/runs\"\n{ read answer; } </dev/tty || exit 1\n\
               echo '{\"Version\":1,\"AccessKeyId\":\"AKIAP\",\"SecretAccessKey\":\"s\"}'";
    let helper = with_process(helper, ask);
    for _ in 0..2 {
        let mut command = helper.tool("setsid");
        let ran = crate::process::run(command.arg(program()).args(["get-login-password", "--region", "us-east-1"]), "");
        assert!(!ran.stdout.contains("AKIAP") && ran.code != Some(0), "{ran:?}");
    }
    let runs = fs::read_to_string(helper.home().join("runs")).expect("it ran");
    assert_eq!(runs.lines().count(), 1, "the second has no terminal either");
    let (shown, code) = helper.on_terminal(&["get-login-password", "--region", "us-east-1"], "yes\n");
    assert!(code == Some(0) && shown.contains("AKIAP"), "{shown}");
}
