//! Name resolution: by the hosts file and DNS as configured in /etc, and without modules of the C library in a static program.
//! dnsmasq is the server, in a network and with an /etc of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use tempfile::TempDir;

use crate::HOST;
use crate::helper::{Helper, Ran, program};
use crate::namespace::{Daemon, Namespace, missing, skip};
use crate::process::{best_of_three, output};
use crate::real_clients::shell;
use crate::support::aws::Aws;

const SERVER: &str = "nameserver 127.83.0.53\n";
/// A server that never answers.
const SILENT: &str = "nameserver 169.254.9.9\n";

pub struct Names {
    pub network: Rc<Namespace>,
    dir: TempDir,
    _aws: Aws,
    _server: Daemon,
}

impl Names {
    pub fn start(test: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip(test, "network namespaces need root");
            return None;
        }
        if let Some(program) = missing(&["dnsmasq", "ip"]) {
            skip(test, &format!("{program} is not installed"));
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let etc = dir.path().join("etc");
        shell(&format!("cp -a /etc {}", etc.display()));
        // On some machines it is a link to a file elsewhere.
        let _ = fs::remove_file(etc.join("resolv.conf"));
        let network = Rc::new(Namespace::of_network(&format!(
            "mount --bind {} /etc\nip link add silent type bridge\nip address add 169.254.1.1/16 dev silent\n\
             ip link set silent up",
            etc.display()
        )));
        let aws = Aws::start();
        crate::support::serve(network.listen("[::]:8123"), aws.app());
        let log = dir.path().join("queries");
        let mut server = network.command("dnsmasq");
        server.args(["--keep-in-foreground", "--user=root", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]);
        server.args(["--bind-interfaces", "--log-queries", &format!("--log-facility={}", log.display())]);
        // The usual file is one for all.
        server.arg(format!("--pid-file={}", dir.path().join("pid").display()));
        for address in ["127.83.0.53", "127.0.0.53", "127.0.0.1"] {
            server.arg(format!("--listen-address={address}"));
        }
        server.args([
            "--local=/test/",
            "--host-record=api.corp.test,127.83.0.1",
            "--host-record=api.eu.corp.test,127.83.0.1",
            "--address=/local_api.corp.test/127.83.0.1",
        ]);
        server.args(["--host-record=six.corp.test,::1", "--cname=alias.corp.test,other.corp.test,api.corp.test"]);
        let many: Vec<String> = (1..=120).map(|last| format!("--host-record=many.corp.test,127.84.0.{last}")).collect();
        server.args(many);
        let ready = || fs::read_to_string(&log).is_ok_and(|log| log.contains("started"));
        let server = Daemon::start(server, &dir.path().join("dnsmasq.out"), ready);
        let names = Self { network, dir, _aws: aws, _server: server };
        names.write("hosts", "127.0.0.1 localhost\n");
        names.write("nsswitch.conf", "passwd: files\nhosts: files dns\n");
        Some(names)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join("etc").join(name), text).expect("a write");
    }

    /// Runs a `get` without a cached token, from an endpoint of that name and with this resolv.conf.
    pub fn get(&self, name: &str, resolv_conf: &str) -> Ran {
        self.write("resolv.conf", resolv_conf);
        self.helper(name).get(HOST)
    }

    pub fn helper(&self, name: &str) -> Helper {
        let helper = Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_SECRET_ACCESS_KEY", "stand-in");
        helper.var("AWS_ENDPOINT_URL", &format!("http://{name}:8123")).inside(&self.network)
    }

    fn queries(&self) -> usize {
        self.count("query[")
    }

    /// How often this stands in the log of the server.
    fn count(&self, words: &str) -> usize {
        fs::read_to_string(self.dir.path().join("queries")).expect("a log").matches(words).count()
    }
}

/// Only a static program reads them itself.
#[test]
fn what_is_in_place_of_the_files_of_etc_is_neither_waited_for_nor_read_without_end() {
    if !is_static(&program()) {
        return skip("files of /etc", "this program is dynamic; packaging/build makes the static one");
    }
    let Some(names) = Names::start("files of /etc") else { return };
    let path = |name: &str| names.dir.path().join("etc").join(name);
    for name in ["hosts", "resolv.conf"] {
        for kind in ["pipe", "device", "huge"] {
            names.write("hosts", "127.83.0.1 listed.test\n");
            names.write("resolv.conf", SERVER);
            fs::remove_file(path(name)).expect("a file");
            match kind {
                "pipe" => nix::unistd::mkfifo(&path(name), nix::sys::stat::Mode::S_IRWXU).expect("a pipe"),
                "device" => std::os::unix::fs::symlink("/dev/zero", path(name)).expect("a link"),
                _ => fs::File::create(path(name)).and_then(|file| file.set_len(1 << 40)).expect("a file"),
            }
            let other = if name == "hosts" { "api.corp.test" } else { "listed.test" };
            names.helper(other).get(HOST).password_for(HOST);
            fs::remove_file(path(name)).expect("what is there");
        }
    }
}

/// A server may say the second time that the host of a container's endpoint, which was checked to be this machine, is another one.
#[test]
fn the_name_of_a_containers_endpoint_is_looked_up_once() {
    let Some(names) = Names::start("the name of a container's endpoint") else { return };
    names.write("resolv.conf", SERVER);
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", "http://127.83.0.1:8123").inside(&names.network);
    let url = "http://api.corp.test:8123/v1/credentials";
    helper.var("AWS_CONTAINER_CREDENTIALS_FULL_URI", url).get(HOST).password_for(HOST);
    assert_eq!(names.count("query[A] api.corp.test"), 1);
}

/// An interface VPC endpoint has an address in each zone: those of a zone that is down drop packets.
#[test]
fn addresses_that_do_not_answer_leave_time_for_the_others() {
    let Some(names) = Names::start("addresses that do not answer") else { return };
    let silent: Vec<String> = (1..=7).map(|last| format!("169.254.9.{last}")).collect();
    let neighbours: Vec<String> =
        silent.iter().map(|address| format!("ip neigh add {address} lladdr 02:00:00:00:00:01 dev silent")).collect();
    let ran = output(names.network.command("sh").args(["-ec", &neighbours.join("\n")]));
    assert!(ran.status.success(), "{ran:?}");
    let listed = |addresses: &[&str]| {
        let lines: Vec<String> = addresses.iter().map(|address| format!("{address} api.corp.test\n")).collect();
        names.write("hosts", &lines.concat());
        names.helper("api.corp.test").var("AWS_MAX_ATTEMPTS", "1")
    };
    let silent: Vec<&str> = silent.iter().map(String::as_str).collect();
    for count in [1, 7] {
        for good in ["127.83.0.1", "::1"] {
            best_of_three(Duration::from_secs(3), || {
                let ran = listed(&[&silent[..count], &[good]].concat()).get(HOST);
                ran.password_for(HOST);
                ran.took
            });
        }
    }
    // No route leads to the second.
    listed(&[silent[0], "10.255.255.1", "127.83.0.1"]).get(HOST).password_for(HOST);
    let ran = listed(&[silent[0]]).get(HOST);
    assert!(ran.error().contains("cannot reach api.corp.test:8123: it does not answer"), "{ran:?}");
    let ran = listed(&silent[..2]).get(HOST);
    assert!(
        ran.error().contains("cannot reach api.corp.test:8123: none of 2 addresses accepts a connection"),
        "{ran:?}"
    );
    // The same for a proxy.
    let ran = listed(&silent[..2]).var("HTTP_PROXY", "http://api.corp.test:8123");
    let ran = ran.var("AWS_ENDPOINT_URL", "http://other.test").get(HOST);
    assert!(ran.error().contains("none of 2 addresses accepts a connection"), "{ran:?}");
    let proxied = listed(&[silent[0], "127.83.0.1"]).var("HTTP_PROXY", "http://api.corp.test:8123");
    proxied.var("AWS_ENDPOINT_URL", "http://other.test").get(HOST).password_for(HOST);
}

#[test]
fn hosts_file_dns_search_domains_and_the_stub_of_systemd_resolved() {
    let Some(names) = Names::start("names") else { return };
    names.write("hosts", "127.0.0.1 localhost\n127.83.0.1 listed.corp.test short # a comment\n::1 listed6.test\n");
    let latin = [b"# B\xfcro\n127.0.0.1 localhost\n127.83.0.1 latin.corp.test # K\xf6ln\n".as_slice()].concat();
    fs::write(names.dir.path().join("etc/hosts"), latin).expect("a write");
    names.get("latin.corp.test", SILENT).password_for(HOST);
    names.write("hosts", "127.0.0.1 localhost\n127.83.0.1 listed.corp.test short # a comment\n::1 listed6.test\n");
    for name in ["listed.corp.test", "LISTED.corp.TEST", "short", "listed6.test", "localhost", "127.83.0.1", "[::1]"] {
        names.get(name, SILENT).password_for(HOST);
    }
    // The C library reads no further.
    names.write("hosts", "127.83.0.1 listed.corp.test\0\n");
    names.get("listed.corp.test", SILENT).password_for(HOST);
    assert_eq!(names.queries(), 0, "nobody was asked");
    for (name, resolv_conf) in [
        ("api.corp.test", SERVER.to_owned()),
        ("api.corp.test.", SERVER.to_owned()),
        ("six.corp.test", SERVER.to_owned()),
        ("alias.corp.test", SERVER.to_owned()),
        ("many.corp.test", SERVER.to_owned()),
        ("many.corp.test", format!("options edns0\n{SERVER}")),
        ("api", format!("search elsewhere.test corp.test\n{SERVER}")),
        ("api", format!("domain corp.test\n{SERVER}")),
        ("api.eu", format!("{SERVER}search corp.test\noptions ndots:2\n")),
        ("api.eu", format!("{SERVER}search corp.test\n")),
        ("api.corp.test", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n".to_owned()),
        (
            "api.corp.test",
            format!("# a comment\n; another\n\n{SERVER}options timeout:1 attempts:2 rotate single-request\n"),
        ),
        ("api.corp.test", format!("{SERVER}options use-vc\n")),
        ("api.corp.test", format!("{SERVER}options something-new:7\nsortlist 127.0.0.0\nnonsense\n")),
        ("api.corp.test", format!("{SERVER}options timeout:0\n")),
        ("local_api.corp.test", SERVER.to_owned()),
        ("local_api", format!("search corp.test\n{SERVER}")),
        // For a name with a dot, what is no domain has no effect.
        ("api.corp.test", format!("search a..b -c.test {}.test\n{SERVER}", "e".repeat(64))),
        ("api.corp.test", format!("{SERVER}search \"d.test\" caf\u{e9}.test\n")),
        ("api.corp.test", format!("{SERVER}domain ..\n")),
    ] {
        let before = names.queries();
        let ran = names.get(name, &resolv_conf);
        assert_eq!(ran.code, Some(0), "{name} by {resolv_conf:?}: {ran:?}");
        assert!(names.queries() > before, "{name} was asked for");
    }
    // glibc looks no further than the first, and the second ends its process.
    if is_static(&program()) {
        names.get("api", &format!("search a..b corp.test\n{SERVER}")).password_for(HOST);
        names.get("api", &format!("search {} corp.test\n{SERVER}", "a.".repeat(130))).password_for(HOST);
        names.write("resolv.conf", &format!("search a..b corp.test # a comment\n{SERVER}"));
        let ran = names.helper("api").var("AWS_ECR_LOG", "warn").get(HOST);
        assert!(ran.code == Some(0) && ran.stderr.contains("words=\"a..b\""), "{ran:?}");
    }
    let asked = names.count("query[A] many.corp.test");
    assert!(asked >= 4, "what does not fit a packet is asked for again over TCP, twice here: {asked}");
}

#[test]
fn bad_servers_and_files_cost_time_at_most() {
    let Some(names) = Names::start("bad names") else { return };
    // The second server gets its query well before the deadline of twenty seconds.
    best_of_three(Duration::from_secs(10), || {
        let ran = names.get("api.corp.test", &format!("{SILENT}{SERVER}"));
        ran.password_for(HOST);
        ran.took
    });
    for (name, resolv_conf) in [("gone.corp.test", SERVER), ("gone", "search corp.test\nnameserver 127.83.0.53\n")] {
        let ran = names.get(name, resolv_conf);
        let line = ran.error();
        assert!(line.contains(name) && line.contains(HOST), "{line}");
        assert!(ran.took < Duration::from_secs(15), "before the deadline: {:?}", ran.took);
    }
    names.write("resolv.conf", SILENT);
    let ran = names.helper("api.corp.test").var("AWS_ECR_TIMEOUT", "3s").get(HOST);
    assert!(ran.error().contains(HOST) && ran.took < Duration::from_secs(10), "{ran:?}");
    assert!(
        ran.error().contains("the name api.corp.test could not be resolved in time; check the name servers"),
        "{ran:?}"
    );
    let container = |timeout: &str| {
        let helper = Helper::bare().var("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://api.other.example/keys");
        helper.var("AWS_ECR_TIMEOUT", timeout).inside(&names.network).get(HOST)
    };
    let ran = container("3s");
    assert!(ran.error().contains("the name api.other.example could not be resolved in time; check the name servers"));
    names.write("resolv.conf", SERVER);
    let ran = container("20s");
    let words = "'api.other.example' in AWS_CONTAINER_CREDENTIALS_FULL_URI has no address as far as is known: ";
    assert!(ran.error().contains(words) && ran.error().contains("check the name servers"), "{ran:?}");
    // It has no server to ask for what is not below test, and refuses.
    let ran = names.get("api.other.example", SERVER);
    assert!(ran.error().contains("cannot reach api.other.example:8123: the name server failed"), "{ran:?}");
    assert!(ran.error().contains("check the name servers") && !ran.error().contains("unknown"), "{ran:?}");
    assert!(names.get("gone.corp.test", SERVER).error().contains("unknown host name"));

    // Without servers the C library asks 127.0.0.1, and so does the helper.
    names.get("api.corp.test", "").password_for(HOST);
    names.get("api.corp.test", "# nothing\n").password_for(HOST);
    names.write("hosts", "127.83.0.1 listed.corp.test\n");
    fs::remove_file(names.dir.path().join("etc/resolv.conf")).expect("a file");
    names.helper("listed.corp.test").get(HOST).password_for(HOST);
    names.helper("api.corp.test").get(HOST).password_for(HOST);
    fs::remove_file(names.dir.path().join("etc/hosts")).expect("a file");
    names.get("api.corp.test", SERVER).password_for(HOST);
}

/// Files that block advertisements have hundreds of thousands of lines.
#[test]
fn a_hosts_file_of_many_lines_does_not_cost_the_deadline() {
    if !is_static(&program()) {
        return skip(
            "a hosts file of many lines",
            "the C library reads it; packaging/build makes the program that does so itself",
        );
    }
    let Some(names) = Names::start("a hosts file of many lines") else { return };
    let blocked: Vec<String> = (0..250_000).map(|number| format!("0.0.0.0 ad{number}.tracker.test")).collect();
    names.write(
        "hosts",
        &format!("127.0.0.1 localhost\n{}\n::2 two.test\n127.83.0.1 a.test Two.TEST. b.test\n", blocked.join("\n")),
    );
    for name in ["two.test", "b.test", "A.TEST."] {
        names.helper(name).var("AWS_ECR_TIMEOUT", "3s").get(HOST).password_for(HOST);
    }
    names.write("resolv.conf", SERVER);
    names.helper("api.corp.test").var("AWS_ECR_TIMEOUT", "3s").get(HOST).password_for(HOST);
}

/// A module that was built for another C library can crash the process that loads it. This one ends it.
#[test]
fn modules_of_nsswitch_cannot_crash_a_static_program() {
    if !is_static(&program()) {
        return skip("nsswitch", "this program is dynamic; packaging/build makes the static one");
    }
    let Some(names) = Names::start("nsswitch") else { return };
    let path = |name: &str| names.dir.path().join(name).display().to_string();
    fs::write(
        path("evil.c"),
        "#include <stdlib.h>\n__attribute__((constructor)) static void evil(void) { abort(); }\n",
    )
    .expect("a write");
    shell(&format!("cc -shared -fPIC -o {} {}", path("libnss_evil.so.2"), path("evil.c")));
    names.write("nsswitch.conf", "passwd: evil\ngroup: evil\nhosts: evil\n");
    names.write("resolv.conf", SERVER);
    let libraries = names.dir.path().display().to_string();
    let mut getent = names.network.command("getent");
    getent.args(["hosts", "api.corp.test"]).env("LD_LIBRARY_PATH", &libraries);
    let crashed = output(&mut getent).status;
    assert!(!crashed.success() && crashed.code() != Some(2), "the module ends its process: {crashed}");
    let helper = names.helper("api.corp.test").var("LD_LIBRARY_PATH", &libraries);
    helper.get(HOST).password_for(HOST);
    let homeless = names.helper("api.corp.test").var("LD_LIBRARY_PATH", &libraries).var("HOME", "");
    let homeless = homeless.var("AWS_ECR_DISABLE_CACHE", "1");
    homeless.get(HOST).password_for(HOST);
}

/// Whether a program has no interpreter.
pub fn is_static(program: &Path) -> bool {
    let output = output(Command::new("readelf").arg("-lW").arg(program));
    output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("INTERP")
}
