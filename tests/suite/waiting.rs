//! A `get` ends at its deadline, even if something hangs, and leaves no process behind.

use std::fs;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::HOST;
use crate::helper::{Helper, limit};
use crate::namespace::{Namespace, skip};
use crate::process::{SOON, best_of_three, end, settle, wait_until};
use crate::support::aws::{Aws, Plan};

/// Creates a network that drops packets to the metadata addresses.
fn silent_network(test: &str) -> Option<Rc<Namespace>> {
    if !nix::unistd::geteuid().is_root() {
        skip(test, "network namespaces need root");
        return None;
    }
    // A bridge without a port drops packets to a neighbour with a static entry.
    let setup = "ip link add silent type bridge\nip address add 169.254.1.1/16 dev silent\nip link set silent up\n\
                 ip neigh add 169.254.169.254 lladdr 02:00:00:00:00:01 dev silent\n";
    Some(Rc::new(Namespace::of_network(setup)))
}

#[test]
fn without_credentials_and_without_an_answer_from_the_metadata_service() {
    let Some(network) = silent_network("dropped packets") else { return };
    best_of_three(Duration::from_millis(2500), || {
        let ran = Helper::bare().inside(&network).get(HOST);
        assert!(ran.took > Duration::from_millis(500), "the packets were dropped: {:?}", ran.took);
        let line = ran.error();
        assert!(line.contains("no AWS credentials found") && line.contains("an instance role"), "{line}");
        assert!(!line.contains("hop limit"), "{line}");
        ran.took
    });
}

#[test]
fn a_metadata_service_behind_a_hop_limit_of_one() {
    // The service accepts the connection and sends no answer.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let helper =
        Helper::bare().var("AWS_EC2_METADATA_DISABLED", "").var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint);
    best_of_three(Duration::from_millis(2500), || {
        let ran = helper.get(HOST);
        assert!(ran.error().contains("hop limit"), "{ran:?}");
        ran.took
    });
}

#[test]
fn the_deadline_comes_from_the_environment_before_the_file() {
    let aws = Aws::with(Plan { delay: Duration::from_mins(10), ..Plan::default() });
    let helper = Helper::of(&aws);
    helper.write(".config/docker-credential-ecr-login/config.toml", "timeout = '1s'\n");
    for (setting, millis) in [("", 1000), ("500ms", 500), ("2", 2000)] {
        let helper = Helper::of(&aws).var("AWS_ECR_TIMEOUT", setting);
        helper.write(".config/docker-credential-ecr-login/config.toml", "timeout = '1s'\n");
        let deadline = Duration::from_millis(millis);
        best_of_three(deadline + Duration::from_millis(700), || {
            let ran = helper.get(HOST);
            assert!(ran.took >= deadline, "{setting}: {:?}", ran.took);
            assert!(ran.error().contains("AWS_ECR_TIMEOUT"), "{ran:?}");
            ran.took
        });
    }
    assert!(helper.var("AWS_ECR_TIMEOUT", "soon").get(HOST).error().contains("AWS_ECR_TIMEOUT"));
}

#[test]
fn a_process_that_asks_for_something_is_stopped_and_not_left_behind() {
    let helper = Helper::bare().var("AWS_ECR_TIMEOUT", "700ms");
    // The SDK's shell starts another shell, as it does for real commands.
    let script = helper.write("ask", "echo $$ > \"$HOME/pid\"\nsleep 300\necho never\n");
    helper.write(".aws/config", &format!("[default]\ncredential_process = sh {}; true\n", script.display()));
    let ran = helper.get(HOST);
    // The process itself runs for five minutes.
    assert!(ran.took < Duration::from_secs(10), "{:?}", ran.took);
    let line = ran.error();
    assert!(line.contains("credential_process of profile 'default'") && line.contains("stopped"), "{line}");
    let pid = fs::read_to_string(helper.home().join("pid")).expect("it ran");
    let alive = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // A killed process is a zombie until its parent waits for it.
        !stat.is_empty() && !stat.contains(") Z ")
    };
    wait_until("the child process ends", SOON, || !alive());
}

#[test]
fn a_token_file_that_never_yields_anything() {
    let helper = Helper::bare().var("AWS_ECR_TIMEOUT", "700ms").var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R");
    let pipe = helper.home().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let ran = helper.var("AWS_WEB_IDENTITY_TOKEN_FILE", pipe.to_str().expect("UTF-8")).get(HOST);
    assert!(ran.took < Duration::from_secs(10), "{:?}", ran.took);
    assert!(ran.error().contains("in time"), "{ran:?}");
}

/// Every step of it needs the certificates.
#[test]
fn doctor_waits_once_for_certificates_that_never_come() {
    let aws = Aws::start();
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let helper = Helper::of(&aws).var("AWS_ECR_TIMEOUT", "1s");
        let pipe = helper.home().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let helper = helper.var(variable, pipe.to_str().expect("UTF-8"));
        crate::process::best_of_three(Duration::from_secs(5), || {
            let ran = helper.run(&["doctor", HOST], "");
            assert!(ran.stdout.contains("it is not a regular file, and reading it did not end in time"), "{ran:?}");
            ran.took
        });
    }
}

#[test]
fn files_that_block_or_never_end_cost_no_more_than_the_deadline() {
    let aws = Aws::start();
    let setting = |name: &str, path: &str| match name {
        "web identity" => Helper::bare()
            .var("AWS_ENDPOINT_URL", &aws.url())
            .var("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/R")
            .var("AWS_WEB_IDENTITY_TOKEN_FILE", path),
        "container" => Helper::bare()
            .var("AWS_ENDPOINT_URL", &aws.url())
            .var("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/v1/c", aws.url()))
            .var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path),
        "SSO" => {
            let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
            let config = format!("[default]\nsso_start_url = u\nsso_region = eu-west-1\n{}", crate::issuers::SSO);
            helper.write(".aws/config", &config);
            let file = crate::issuers::sign_in(&helper, "u", "2099-01-01T00:00:00Z");
            fs::remove_file(&file).and_then(|()| std::os::unix::fs::symlink(path, &file)).expect("a link");
            helper
        }
        "AWS_CONFIG_FILE" => {
            let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
            helper.var("AWS_CONFIG_FILE", path).var("AWS_PROFILE", "a")
        }
        name => Helper::of(&aws).var(name, path),
    };
    for name in
        ["AWS_ECR_CONFIG_FILE", "AWS_CONFIG_FILE", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "web identity", "container", "SSO"]
    {
        for kind in ["pipe", "/dev/zero"] {
            let dir = tempfile::tempdir().expect("a directory");
            let mut path = kind.to_owned();
            if kind == "pipe" {
                path = dir.path().join("pipe").display().to_string();
                nix::unistd::mkfifo(path.as_str(), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
            }
            let timeout = format!("{}ms", limit(Duration::from_millis(900)).as_millis());
            let ran = setting(name, &path).var("AWS_ECR_TIMEOUT", &timeout).get(HOST);
            // The default deadline is twenty seconds.
            assert!(ran.took < limit(Duration::from_secs(4)), "{name} at {kind}: {:?}", ran.took);
            let line = ran.error();
            assert!(line.contains("in time") || line.contains("larger than") || line.contains("cannot be"), "{line}");
            if !["container", "SSO"].contains(&name) {
                assert!(line.contains(&path), "{line}");
            }
        }
    }
}

/// Standard input stays open past the deadline, which is set or the default.
#[test]
fn a_request_that_does_not_end() {
    let aws = Aws::start();
    for (args, timeout, seconds) in [
        (&["get"][..], "1s", 1),
        (&["erase"], "1s", 1),
        (&["store"], "1s", 1),
        (&["kubelet"], "1s", 1),
        (&["get"], "", 20),
    ] {
        let helper = Helper::of(&aws).var("AWS_ECR_TIMEOUT", timeout);
        best_of_three(Duration::from_secs(seconds + 2), || {
            let started = Instant::now();
            let mut child = helper.command().args(args).spawn().expect("the program starts");
            let mut input = child.stdin.take().expect("a pipe");
            std::io::Write::write_all(&mut input, HOST.as_bytes()).expect("a write");
            let output = end(child);
            let took = started.elapsed();
            drop(input);
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(said.contains("did not end in time"), "{args:?}: {said}");
            assert!(took.as_secs() >= seconds, "{args:?}: {took:?}");
            took
        });
    }
}

/// Four waits of more than twenty seconds, at the same time.
#[test]
fn a_program_that_asks_a_person_gets_two_minutes_and_a_service_twenty_seconds() {
    let aws = Aws::start();
    let silent = Aws::with(Plan { delay: Duration::from_mins(10), ..Plan::default() });
    let process = |aws: &Aws, seconds: u32| {
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        let script = format!(
            "echo run >>\"$HOME/runs\"\nsleep {seconds}\n\
             echo '{{\"Version\":1,\"AccessKeyId\":\"AKIAPERSON\",\"SecretAccessKey\":\"s\"}}'\n"
        );
        let path = helper.write("process", &script);
        let config = helper.write(".aws/config", &format!("[default]\ncredential_process = sh {}\n", path.display()));
        crate::process::settle(&[&path, &config]);
        helper
    };
    std::thread::scope(|scope| {
        // Others wait for the process that asks.
        scope.spawn(|| {
            let helper = process(&aws, 22);
            settle(&[&helper.home().join(".aws/config"), &helper.home().join("process")]);
            for ran in crate::helper::many(&helper, 2, HOST).0 {
                assert!(ran.password_for(HOST).starts_with("AKIAPERSON."));
            }
            let runs = fs::read_to_string(helper.home().join("runs")).expect("it ran");
            assert_eq!(runs.lines().count(), 1, "one asks for all");
        });
        scope.spawn(|| {
            let helper = Helper::bare();
            helper.write(".config/docker-credential-ecr-login/config.toml", "fallback = 'slow'");
            crate::fallback::install_as(&helper, "slow", "sleep 22\necho '{\"Username\":\"u\",\"Secret\":\"s\"}'");
            let path = format!("{}/bin:/usr/bin:/bin", helper.home().display());
            let answer = helper.var("PATH", &path).get("ghcr.io").stdout;
            assert_eq!(answer, "{\"Username\":\"u\",\"Secret\":\"s\"}\n");
        });
        // doctor waits too, and the steps after it have their time.
        scope.spawn(|| {
            let helper = process(&aws, 22).var("HTTPS_PROXY", "http://127.0.0.1:1");
            let said = helper.run(&["doctor", "-v", HOST], "").stdout;
            assert!(said.contains("access key AKIAPERSON") && said.contains("AWS issued one"), "{said}");
            assert!(said.contains("arn:aws:") && !said.contains("in time"), "{said}");
        });
        scope.spawn(|| {
            let ran = process(&silent, 3).get(HOST);
            assert!(ran.error().contains("did not answer in time"), "{ran:?}");
            let took = ran.took.as_secs();
            assert!((22..limit(Duration::from_secs(32)).as_secs()).contains(&took), "{took} s");
        });
    });
    // A limit that a setting sets is one for all.
    let ran = process(&aws, 22).var("AWS_ECR_TIMEOUT", "1s").get(HOST);
    assert!(ran.error().contains("in time and was stopped") && ran.took < limit(Duration::from_secs(8)), "{ran:?}");
    let helper = process(&aws, 22);
    helper.write(".config/docker-credential-ecr-login/config.toml", "timeout = '1s'\n");
    let ran = helper.get(HOST);
    assert!(ran.error().contains("in time and was stopped") && ran.took < limit(Duration::from_secs(8)), "{ran:?}");
}
