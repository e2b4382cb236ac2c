//! The fallback helper for registries that are not ECR's: its requests and credentials byte for byte, its cleaned texts, and
//! helpers that misbehave.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::helper::{Helper, lacks_kernel, program};
use crate::process::{SOON, end, run, wait_until};
use crate::support::aws::{Aws, Plan};
use crate::{HOST, NOT_FOUND};

/// A helper that stores credentials in files of `~/kept`, like `pass` but without encryption.
pub const KEEPER: &str = r#"#!/bin/sh
set -e
mkdir -p "$HOME/kept"
request="$(cat)"
case "$1" in
store) name="$(printf %s "$request" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/')" ;;
*) name="$request" ;;
esac
file="$HOME/kept/$(printf %s "$name" | tr / +)"
case "$1" in
store) printf %s "$request" >"$file" ;;
get) cat "$file" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) rm "$file" ;;
list)
    cd "$HOME/kept"
    printf '{'
    for file in *; do printf '%s"%s":"me"' "$comma" "$(printf %s "$file" | tr + /)"; comma=,; done
    printf '}'
    ;;
esac
"#;

/// A helper that records its argument and input, and answers with the contents of two files.
const RECORDER: &str = r#"printf %s "$1" >"$HOME/action"
cat >"$HOME/input"
cat "$HOME/output"
exit "$(cat "$HOME/code")""#;

const STORED: &str = r#"{"ServerURL":"ghcr.io","Username":"me","Secret":"hunter2"}"#;

/// Configures `fake` as the fallback and installs `script` as `docker-credential-fake`.
fn with(helper: Helper, script: &str) -> Helper {
    helper.write(".config/docker-credential-ecr-login/config.toml", "fallback = 'fake'");
    install(&helper, script);
    let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin", helper.home().display());
    helper.var("PATH", &path)
}

/// Installs the script by another process: a descriptor that a fork of this process inherits would make it "busy".
fn install(helper: &Helper, script: &str) {
    install_as(helper, "fake", script);
}

/// Installs it as `docker-credential-<name>`.
pub fn install_as(helper: &Helper, name: &str, script: &str) {
    let script = if script.starts_with("#!") { script.to_owned() } else { format!("#!/bin/sh\n{script}\n") };
    helper.write_program(&format!("bin/docker-credential-{name}"), &script);
}

fn output(helper: &Helper, action: &str, input: &[u8]) -> Output {
    end(helper.start(&[action], input))
}

#[test]
fn requests_and_credentials_pass_byte_for_byte_and_other_text_as_one_line() {
    let helper = with(Helper::bare(), RECORDER);
    let long = format!("ghcr.io{}", "/".repeat(900_000));
    let hosts: [&[u8]; 9] = [
        b"ghcr.io",
        b" ghcr.io \r\n",
        b"https://index.docker.io/v1/\n",
        b"ftp://ghcr.io",
        b"user@111122223333.dkr.ecr.us-east-1.amazonaws.com",
        b"gh\xff\xfecr.io\n",
        b"[::1]:5000",
        b"a\0b",
        long.as_bytes(),
    ];
    let credentials: [&[u8]; 4] = [
        STORED.as_bytes(),
        b" { \"serverurl\" : \"https://index.docker.io/v1/\", \"Username\": \"me\", \"More\": [1] }\r\n",
        b"{\"ServerURL\":\"not a URL\",\"Username\":\"\",\"Secret\":\"\"}",
        b"{\"ServerURL\":\"ghcr.io\",\"Username\":\"me\",\"Secret\":\"\xff\xfe\"}\n",
    ];
    let line = |text: &str| format!("{text}\n").into_bytes();
    let json = r#"{"ServerURL":"ghcr.io","Username":"me","Secret":"s"}"#;
    // What it prints, what is passed on unless that is an answer to `get`, and its code.
    let outputs: [(&[u8], Vec<u8>, u8); 6] = [
        (b"{}", line("{}"), 0),
        (json.as_bytes(), line(json), 0),
        (b" {\"Secret\" : \"s\"}\r\n\n", line("{\"Secret\" : \"s\"}"), 0),
        (b"credentials not found in native keychain\n", line(NOT_FOUND), 1),
        (b"\xff\xfe\0\x1b[31m", line("\u{fffd}\u{fffd} [31m"), 2),
        (long.as_bytes(), line(&long), 255),
    ];
    for (action, inputs) in [("get", &hosts[..]), ("erase", &hosts), ("store", &credentials)] {
        for (number, input) in inputs.iter().enumerate() {
            let (said, shown, code) = &outputs[number % outputs.len()];
            let shown = if action == "get" && *code == 0 { said } else { shown.as_slice() };
            fs::write(helper.home().join("output"), said).expect("a write");
            fs::write(helper.home().join("code"), code.to_string()).expect("a write");
            let answer = output(&helper, action, input);
            let got = |name: &str| fs::read(helper.home().join(name)).expect("the fallback was called");
            let text = String::from_utf8_lossy(&input[..input.len().min(80)]);
            assert_eq!(got("action"), action.as_bytes(), "{text}");
            assert!(got("input") == *input, "{action} {text}");
            assert!(answer.stdout == shown, "{action} {text}: {answer:?}");
            // A failure is also one line on standard error.
            let lines = String::from_utf8_lossy(&answer.stderr).lines().count();
            let is_not_found = said.trim_ascii() == NOT_FOUND.as_bytes();
            assert_eq!(lines, usize::from(*code != 0 && !is_not_found), "{action} {text}: {answer:?}");
            assert_eq!(answer.status.code(), Some(i32::from(*code)), "{action} {text}");
            fs::remove_file(helper.home().join("input")).expect("a file");
        }
    }
}

#[test]
fn it_keeps_what_docker_login_stores() {
    let helper = with(Helper::bare(), KEEPER);
    assert_eq!(helper.get("ghcr.io").error(), NOT_FOUND);
    helper.run(&["store"], STORED).silent();
    let hub = STORED.replace("ghcr.io", "https://index.docker.io/v1/");
    helper.run(&["store"], &hub).silent();
    assert_eq!(helper.get("ghcr.io").stdout, STORED);
    assert_eq!(helper.get("https://index.docker.io/v1/").stdout, hub);
    let listed = helper.run(&["list"], "");
    assert_eq!(listed.stdout, "{\"ghcr.io\":\"me\",\"https://index.docker.io/v1/\":\"me\"}\n");
    helper.run(&["erase"], "ghcr.io").silent();
    assert_eq!(helper.get("ghcr.io").error(), NOT_FOUND);
}

#[test]
fn one_that_cannot_answer_is_named_in_one_line() {
    if lacks_kernel("a fallback helper that cannot start") {
        return;
    }
    let helper = with(Helper::bare(), "");
    let path = helper.home().join("bin/docker-credential-fake");
    let named = |what: &str| {
        for (action, input) in [("get", "ghcr.io"), ("store", STORED), ("erase", "ghcr.io")] {
            let ran = helper.run(&[action], input);
            let line = ran.error();
            assert!(line.contains("docker-credential-fake") && line.contains(what), "{what} in {line}");
            assert!(!line.contains("hunter2"));
            assert!(!line.contains("in time"), "it ends before the deadline: {line}");
        }
    };
    install(&helper, "echo half; kill -9 $$");
    named("SIGKILL");
    for much in ["yes | head -c 3000000", "exec yes"] {
        install(&helper, much);
        named("more than 1 MiB");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions");
    named("ermission denied");
    install(&helper, "#!/nonexistent/interpreter\n");
    named("the interpreter in its first line does not exist");
    fs::remove_file(&path).expect("a file");
    named("not on the PATH");
}

#[test]
fn an_answer_without_credentials_is_a_failure() {
    let helper = with(Helper::bare(), "");
    for script in ["exit 0", "echo", "printf ' \\n\\t\\r\\n'", "echo no password"] {
        install(&helper, script);
        let ran = helper.get("ghcr.io");
        assert!(ran.error().contains("docker-credential-fake printed no credentials in JSON"), "{script}: {ran:?}");
    }
}

#[test]
fn its_standard_error_has_a_limit_and_does_not_act_on_the_terminal() {
    let helper = with(Helper::bare(), "");
    for script in ["exec yes >&2", "exec cat /dev/zero >&2"] {
        install(&helper, script);
        let answer = output(&helper, "get", b"ghcr.io");
        let line = String::from_utf8_lossy(&answer.stdout);
        assert!(line.contains("docker-credential-fake printed more than 1 MiB on standard error"), "{line}");
        assert!(answer.stderr.len() < 4 * 1024 * 1024, "{}", answer.stderr.len());
    }
    // A character in two pieces stays whole.
    install(
        &helper,
        r"printf 'E\033[31m\342\200\256x\302\233y\000 \303' >&2; sleep 0.1; printf '\251 \377\n' >&2; exit 3",
    );
    let ran = helper.run(&["get"], "ghcr.io");
    let shown = "E\u{fffd}[31m\u{fffd}x\u{fffd}y\u{fffd} é \u{fffd}\n";
    assert!(ran.code == Some(3) && ran.stderr.starts_with(shown), "{ran:?}");
    // It has said nothing else, so the answer says it.
    let line = ran.stdout.strip_suffix('\n').expect("a line");
    assert!(line.contains("docker-credential-fake failed with exit code 3") && line.contains("é"), "{line}");
    assert!(!line.contains(char::is_control) && !line.contains('\u{202e}'), "{line}");
    let list = helper.var("AWS_ECR_LOG", "debug").run(&["list"], "");
    assert_eq!(list.stderr.matches('é').count(), 1, "not in the log: {list:?}");
}

/// A person reads a question while the helper waits for the answer.
#[test]
fn its_standard_error_is_shown_as_it_comes() {
    let ask = "printf 'Code: ' >&2; while [ ! -e \"$HOME/answered\" ]; do sleep 0.05; done; echo '{\"Secret\":\"s\"}'";
    let helper = with(Helper::bare(), ask).var("AWS_ECR_TIMEOUT", "60s");
    let mut child = helper.start(&["get"], b"ghcr.io");
    let mut question = [0; 6];
    std::io::Read::read_exact(child.stderr.as_mut().expect("a pipe"), &mut question).expect("a question");
    assert_eq!(&question, b"Code: ");
    helper.write("answered", "");
    assert_eq!(end(child).stdout, b"{\"Secret\":\"s\"}\n");
}

#[test]
fn a_daemon_that_it_leaves_behind_delays_no_answer() {
    let script = "sleep 300 >/dev/null & echo $! >\"$HOME/daemon\"; echo '{\"Secret\":\"s\"}'";
    let helper = with(Helper::bare(), script).var("AWS_ECR_TIMEOUT", "60s");
    let ran = helper.run(&["get"], "ghcr.io");
    let daemon = fs::read_to_string(helper.home().join("daemon")).expect("it ran");
    let survives = runs(daemon.trim());
    run(Command::new("kill").arg(daemon.trim()), "");
    assert!(ran.stdout == "{\"Secret\":\"s\"}\n" && survives, "{ran:?}");
    assert!(ran.took < Duration::from_secs(30), "{:?}", ran.took);
}

#[test]
fn credentials_that_act_on_a_terminal_are_refused() {
    let helper = with(Helper::bare(), RECORDER);
    helper.write("code", "0");
    for bad in [
        r#"{"Username":"u\u001b]0;title\u0007","Secret":"hunter2"}"#,
        r#"{"username":"u\nv","Secret":"hunter2"}"#,
        r#"{"Username":"u","SECRET":"hunter2\u202e"}"#,
        r#"{"Username":"u","Secret":"hunter2\u0000"}"#,
        "{\"Username\":\"u\",\"Secret\":\"hunter2\u{202e}\"}",
        "{\"Username\":\"u\",\"Secret\":\"hunter2\",\"More\":[\"\u{9b}31m\"]}",
        "hunter2 \u{1b}[31m",
        "[]",
    ] {
        helper.write("output", bad);
        let ran = helper.run(&["get"], "ghcr.io");
        let line = ran.error();
        assert!(line.contains("docker-credential-fake printed") && !line.contains("hunter2"), "{bad}: {line}");
    }
    // The key of a Google service account has several lines.
    let key = r#"{"ServerURL":"gcr.io","Username":"_json_key","Secret":"{\n\t\"type\": \"service_account\"\r\n}"}"#;
    helper.write("output", key);
    assert_eq!(helper.run(&["get"], "gcr.io").stdout, key);
    helper.write("output", "{\"a\\u001b]0;x\u{202e}\":\"u\u{9b}\"}");
    assert_eq!(helper.run(&["list"], "").stdout, "{\"a\\u001b]0;x\\u202e\":\"u\\u009b\"}\n");
}

/// Clients take the last value of a name that is there twice, in whatever letters, or the last that is not null.
#[test]
fn credentials_that_a_client_may_read_in_another_way_are_refused() {
    let helper = with(Helper::bare(), RECORDER);
    helper.write("code", "0");
    for (bad, words) in [
        (r#"{"Username":"u\u001b","Secret":"hunter2","Username":null}"#, "a Username with control"),
        (r#"{"Username":"u","Secret":"hunter2","secret":"hunter2"}"#, "two values of Secret"),
        ("{\"Username\":\"u\",\"Secret\":\"hunter2\",\"\u{17f}ecret\":\"hunter2\"}", "two values of Secret"),
        (r#"{"ServerURL":"a","Username":"u","\u0053erverurl":"hunter2"}"#, "two values of ServerURL"),
        (r#"{"Username":"u","Secret":"hunter2","More":"\u001b"}"#, "a More with control"),
        (r#"{"ServerURL":1,"Username":2,"Secret":[]}"#, "a ServerURL that is no text"),
        (r#"{"Username":{"hunter2":1},"Secret":"hunter2"}"#, "a Username that is no text"),
        (r#"{"Username":"u","SECRET":["hunter2"]}"#, "a Secret that is no text"),
        (r#"{"Username":"u","Secret":"hunter2\ud800"}"#, "a Secret that is no text"),
    ] {
        helper.write("output", bad);
        let ran = helper.run(&["get"], "ghcr.io");
        let line = ran.error();
        assert!(line.contains("docker-credential-fake printed") && line.contains(words), "{bad}: {line}");
        assert!(!line.contains("hunter2"), "{bad}: {line}");
    }
    // What no client reads is no concern.
    for good in [r#"{"Username":null,"Secret":null}"#, r#"{"Secret":"s","More":[1],"more":2,"ServerURL":"x"}"#] {
        helper.write("output", good);
        assert_eq!(helper.run(&["get"], "ghcr.io").stdout, good);
    }
}

#[test]
fn one_that_hangs_is_stopped_with_its_children() {
    let helper = with(Helper::bare(), "").var("AWS_ECR_TIMEOUT", "500ms");
    for script in ["sleep 1000 & echo $! >>$HOME/pids; sleep 1000", "exec >&-; sleep 1000"] {
        install(&helper, &format!("echo $$ >>$HOME/pids; {script}"));
        for (action, input) in [("get", "ghcr.io"), ("store", STORED), ("erase", "ghcr.io")] {
            let ran = helper.run(&[action], input);
            assert!(ran.error().contains("docker-credential-fake did not answer in time"), "{ran:?}");
            assert!(ran.took < Duration::from_secs(10), "{:?}", ran.took);
        }
    }
    let pids = fs::read_to_string(helper.home().join("pids")).expect("it ran");
    assert_eq!(pids.lines().count(), 9);
    for pid in pids.lines() {
        wait_until(&format!("process {pid} ends"), SOON, || !runs(pid));
    }
}

/// Whether there is such a process, other than a zombie.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_fallback_that_leads_back_to_the_helper_is_refused() {
    let helper = with(Helper::bare(), "").var("AWS_ECR_TIMEOUT", "5s");
    let path = helper.home().join("bin/docker-credential-fake");
    fs::remove_file(&path).expect("a file");
    symlink(program(), &path).expect("a link");
    for (action, input) in [("get", "ghcr.io"), ("store", STORED), ("erase", "ghcr.io")] {
        let ran = helper.run(&[action], input);
        let line = ran.stdout.trim_end();
        assert!(ran.code == Some(1) && line.contains("docker-credential-fake leads back to ecr-login"), "{ran:?}");
        // Both processes print it.
        assert!(ran.stderr.lines().all(|other| other == line), "{ran:?}");
    }
    let listed = helper.run(&["list"], "");
    assert_eq!((listed.stdout.as_str(), listed.code), ("{}\n", Some(0)));
    helper.write(".config/docker-credential-ecr-login/config.toml", "\nfallback = 'ecr-login'");
    let ran = helper.get("ghcr.io");
    assert!(ran.error().contains("line 2: fallback"), "{ran:?}");
}

#[test]
fn nothing_about_ecr_reaches_it() {
    let aws = Aws::start();
    let denied =
        Aws::with(Plan { failures: usize::MAX, failure: (400, "AccessDeniedException", "no"), ..Plan::default() });
    let config = format!("fallback = 'fake'\n[[registry]]\nmatch = 'images.example.com'\nregistry = '{HOST}'\n");
    for (aws, works) in [(&aws, true), (&denied, false)] {
        let helper = with(Helper::of(aws), "touch $HOME/called");
        helper.write(".config/docker-credential-ecr-login/config.toml", &config);
        for host in [HOST, "images.example.com", "public.ecr.aws", "https://HOST.:443/v2/"] {
            let url = host.replace("HOST", HOST);
            let ran = helper.get(&url);
            assert_eq!(ran.code == Some(0), works, "{ran:?}");
            let stored = STORED.replace("ghcr.io", &url);
            helper.run(&["store"], stored).silent();
            helper.run(&["erase"], &url).silent();
        }
        for bad in ["", " \n", &format!("http://{HOST}")] {
            helper.get(bad).error();
        }
        helper.run(&["store"], "hunter2").error();
        helper.write(".config/docker-credential-ecr-login/config.toml", &format!("{config}\nwrong = 1"));
        helper.get("ghcr.io").error();
        assert!(!helper.home().join("called").exists(), "{works}");
        helper.write(".config/docker-credential-ecr-login/config.toml", &config);
        helper.get("ghcr.io").error();
        assert!(helper.home().join("called").exists(), "and it would have been seen");
    }
}

#[test]
fn lists_are_merged_and_the_ecr_hosts_survive_a_bad_one() {
    let aws = Aws::start();
    let helper = with(Helper::of(&aws), "").var("AWS_ECR_LOG", "warn").var("AWS_ECR_TIMEOUT", "2s");
    helper.get(HOST).password_for(HOST);
    let list = |script: &str| {
        install(&helper, script);
        let ran = helper.run(&["list"], "");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        (ran.stdout, ran.stderr)
    };
    let (both, log) = list(&format!(
        r#"[ "$(cat)" = unused ] && echo '{{"{HOST}":"other","https://index.docker.io/v1/":"me","A/é":"\u003ctoken\u003e"}}'"#
    ));
    let expected = format!("{{\"{HOST}\":\"AWS\",\"A/é\":\"<token>\",\"https://index.docker.io/v1/\":\"me\"}}\n");
    assert_eq!((both.as_str(), log.as_str()), (expected.as_str(), ""));
    let alone = format!("{{\"{HOST}\":\"AWS\"}}\n");
    assert_eq!(list("echo null"), (alone.clone(), String::new()));
    for bad in
        ["echo '{}'; exit 3", "echo hunter2", "", "echo '{\"hunter2\":[\"hunter2\"]}'", "exec yes", "exec sleep 1000"]
    {
        let (stdout, log) = list(bad);
        assert_eq!(stdout, alone, "{bad}");
        assert!(log.contains("WARN") && log.contains("fake") && !log.contains("hunter2"), "{bad}: {log}");
    }
}

#[test]
fn ignored_storage_is_for_what_it_does_not_serve() {
    let helper = with(Helper::bare(), KEEPER).var("AWS_ECR_IGNORE_CREDS_STORAGE", "true");
    helper.run(&["store"], STORED.replace("ghcr.io", HOST)).silent();
    helper.run(&["erase"], HOST).silent();
    assert!(!helper.home().join("kept").exists());
    helper.run(&["store"], STORED).silent();
    assert_eq!(helper.get("ghcr.io").stdout, STORED);
    helper.run(&["erase"], "ghcr.io").silent();
    assert_eq!(helper.get("ghcr.io").error(), NOT_FOUND);
}

#[test]
fn no_password_of_another_helper_in_the_log_at_any_level() {
    let helper = with(Helper::bare(), KEEPER).var("AWS_ECR_LOG", "trace");
    for (action, input) in [
        ("store", STORED),
        ("get", "ghcr.io"),
        ("get", "https://me:hunter2@ghcr.io"),
        ("list", ""),
        ("erase", "ghcr.io"),
    ] {
        let ran = helper.run(&[action], input);
        assert!(!ran.stderr.contains("hunter2"), "{action}: {}", ran.stderr);
        assert!(action == "list" || ran.stderr.contains("docker-credential-fake"), "{action}: {}", ran.stderr);
    }
}
