//! Real clients: docker, podman, buildah and skopeo against Debian's docker-registry under an ECR host name, with TLS
//! and a password that only the API knows. Everything runs in a private mount namespace whose hosts file maps the
//! name to loopback; the machine's own files stay as they are.
//!
//! The API is our stand-in where calls are counted, and moto where an independent one is wanted.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use crate::HOST;
use crate::fallback::KEEPER;
use crate::helper::program;
use crate::namespace::{Daemon, Namespace, missing, skip};
use crate::support::aws::{Aws, Plan};

/// What moto hands out: its own account's number and a suffix.
pub const PASSWORD: &str = "123456789012-auth-token";
/// A loopback address that nothing else on the machine listens on.
const ADDRESS: &str = "127.83.67.82";
const MOTO: &str = "127.83.67.82:5000";
/// A registry that is not ECR's. On loopback docker does without TLS.
const OTHER: &str = "127.83.67.83:5000";

#[test]
fn real_clients_push_and_pull_through_the_helper() {
    let moto = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "target/venv/bin/moto_server".to_owned());
    let moto = fs::canonicalize(&moto).unwrap_or(PathBuf::from(moto));
    let programs = ["dockerd", "docker", "podman", "buildah", "skopeo", "docker-registry", "htpasswd", "openssl"];
    let needed = [&programs[..], &[moto.to_str().expect("UTF-8")]].concat();
    if !nix::unistd::geteuid().is_root() {
        return skip("clients", "mount namespaces and dockerd need root");
    }
    if let Some(program) = missing(&needed) {
        return skip("clients", &format!("{program} is not installed"));
    }

    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    let mut site = Site::start(&aws.url());
    let image = format!("{HOST}/team/app:1");

    // docker: the whole way, from an empty cache.
    let rootfs = site.dir.path().join("rootfs.tar");
    let tar = Command::new("tar").args(["cf", rootfs.to_str().unwrap(), "-C", "/etc", "hostname"]).status();
    assert!(tar.expect("tar runs").success());
    site.docker(&["import", rootfs.to_str().unwrap(), &image]);
    site.with_helper(|| site.docker(&["push", &image]));
    assert_eq!(aws.count(), 1, "one call for the push");
    site.docker(&["rmi", &image]);
    site.with_helper(|| site.docker(&["pull", &image]));
    site.with_helper(|| site.docker(&["manifest", "inspect", &image]));
    assert_eq!(aws.count(), 1, "the pull asks AWS nothing");

    let doctor = site.run("docker-credential-ecr-login", &["doctor"]);
    assert!(doctor.contains(HOST) && doctor.contains("accepts the token"), "{doctor}");
    assert!(!doctor.contains("warning") && !doctor.contains("failure"), "all is well: {doctor}");

    // docker login and logout, which the incumbent refuses; and that the password is really checked.
    let login = site.with_helper(|| site.docker(&["login", HOST]));
    assert!(login.contains("Login Succeeded"), "{login}");
    site.docker_in(&["login", "-u", "AWS", "--password-stdin", HOST], PASSWORD);
    let wrong = site.docker_command(&["login", "-u", "AWS", "-p", "wrong", HOST]).output().expect("docker runs");
    assert!(!wrong.status.success(), "the registry checks passwords");
    let logout = site.docker(&["logout", HOST]);
    assert!(!logout.contains("WARNING"), "{logout}");
    assert_eq!(crate::helper::entries(&site.cache()).len(), 0, "logout drops the token");
    let config = fs::read_to_string(site.home().join(".docker/config.json")).expect("a config");
    assert!(!config.contains("auth\""), "no password in {config}");

    // The others, each once to pull and once to push, all from one token.
    let calls = aws.count();
    let storage = |name: &str| site.dir.path().join(name).display().to_string();
    let (podman_root, podman_run) = (storage("podman"), storage("podman-run"));
    let podman = ["--root", &podman_root, "--runroot", &podman_run, "--storage-driver", "vfs"];
    let mine = format!("{HOST}/team/podman:1");
    site.with_helper(|| site.run("podman", &[&podman[..], &["pull", &image]].concat()));
    site.with_helper(|| site.run("podman", &[&podman[..], &["push", &image, &mine]].concat()));
    site.run("podman", &[&podman[..], &["rmi", &image]].concat());
    site.with_helper(|| site.run("podman", &[&podman[..], &["pull", &image]].concat()));

    let (buildah_root, buildah_run) = (storage("buildah"), storage("buildah-run"));
    let buildah = ["--root", &buildah_root, "--runroot", &buildah_run, "--storage-driver", "vfs"];
    let mine = format!("{HOST}/team/buildah:1");
    site.run("buildah", &[&buildah[..], &["from", "--name", "made", "scratch"]].concat());
    site.run("buildah", &[&buildah[..], &["config", "--label", "made=here", "made"]].concat());
    site.run("buildah", &[&buildah[..], &["commit", "made", &mine]].concat());
    site.with_helper(|| site.run("buildah", &[&buildah[..], &["push", &mine]].concat()));
    site.with_helper(|| site.run("buildah", &[&buildah[..], &["pull", "--policy", "always", &mine]].concat()));

    let copy = format!("docker://{HOST}/team/skopeo:1");
    let original = format!("docker://{image}");
    site.with_helper(|| site.run("skopeo", &["copy", &original, &copy]));
    let inspected = site.with_helper(|| site.run("skopeo", &["inspect", &copy]));
    assert!(inspected.contains(&format!("{HOST}/team/skopeo")), "{inspected}");
    assert_eq!(aws.count(), calls + 1, "one call for all of them");

    // The same with somebody else's idea of the API, whose tokens come expired: every pull asks anew.
    let mut command = site.namespace.command(&moto);
    command.args(["-H", ADDRESS, "-p", "5000"]);
    let _moto = Daemon::start(command, &site.dir.path().join("moto.log"), || TcpStream::connect(MOTO).is_ok());
    site.docker(&["logout", HOST]);
    site.endpoint = format!("http://{MOTO}");
    for _ in 0..2 {
        site.with_helper(|| site.docker(&["push", &image]));
        site.with_helper(|| site.docker(&["pull", &image]));
    }
    site.with_helper(|| site.run("skopeo", &["inspect", &original]));
    assert_eq!(crate::helper::entries(&site.cache()).len(), 0, "an expired token is not kept");

    site.endpoint = aws.url();
    one_store_serves_ecr_and_an_ordinary_registry(&site, &image);
}

/// docker with us as `credsStore`, and a fallback helper that keeps the passwords of everything else.
fn one_store_serves_ecr_and_an_ordinary_registry(site: &Site, image: &str) {
    let path = |name: &str| site.dir.path().join(name).display().to_string();
    shell(&format!("htpasswd -Bbn me hunter2 > {}", path("passwords")));
    let yaml = format!(
        "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: \"{OTHER}\"}}\nauth: {{htpasswd: {{realm: other, path: {}}}}}\n",
        path("others"),
        path("passwords")
    );
    fs::write(path("other.yml"), yaml).expect("a write");
    let mut registry = site.namespace.command("docker-registry");
    registry.args(["serve", &path("other.yml")]);
    let _registry = Daemon::start(registry, Path::new(&path("other.log")), || TcpStream::connect(OTHER).is_ok());

    let docker_config = site.home().join(".docker/config.json");
    fs::write(&docker_config, "{\"credsStore\":\"ecr-login\"}").expect("a write");
    let ours = site.home().join(".config/docker-credential-ecr-login");
    fs::create_dir_all(&ours).expect("a directory");
    fs::write(ours.join("config.toml"), "fallback = 'keeper'").expect("a write");
    let keeper = path("bin/docker-credential-keeper");
    fs::write(&keeper, KEEPER).expect("a write");
    shell(&format!("chmod 755 {keeper}"));

    let theirs = format!("{OTHER}/team/app:1");
    let fails = |args: &[&str]| !site.docker_command(args).output().expect("docker runs").status.success();
    site.docker(&["tag", image, &theirs]);
    assert!(fails(&["push", &theirs]), "it wants a password");
    assert!(fails(&["login", "-u", "me", "-p", "wrong", OTHER]), "and the right one");
    let login = site.docker_in(&["login", "-u", "me", "--password-stdin", OTHER], "hunter2");
    assert!(login.contains("Login Succeeded"), "{login}");
    site.with_helper(|| site.docker(&["login", HOST]));
    let config = fs::read_to_string(&docker_config).expect("a config");
    assert!(!config.contains("auth\""), "no password in {config}");
    for _ in 0..2 {
        site.docker(&["push", &theirs]);
        site.with_helper(|| site.docker(&["push", image]));
        site.docker(&["rmi", &theirs, image]);
        site.docker(&["pull", &theirs]);
        site.with_helper(|| site.docker(&["pull", image]));
    }
    let listed = site.run("docker-credential-ecr-login", &["list"]);
    assert_eq!(listed, format!("{{\"{HOST}\":\"AWS\",\"{OTHER}\":\"me\"}}\n"));
    site.docker(&["logout", OTHER]);
    assert!(fails(&["push", &theirs]), "logout reaches the fallback");
    site.with_helper(|| site.docker(&["push", image]));
}

/// The registry, the docker daemon and the user who talks to them. There is one at a time: all have the same address.
pub struct Site {
    endpoint: String,
    _daemons: Vec<Daemon>,
    namespace: Namespace,
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Site {
    pub fn start(endpoint: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let hosts = format!("127.0.0.1 localhost\n{ADDRESS} {HOST}\n");
        fs::write(path("hosts"), hosts).expect("a write");
        shell(&format!(
            "cd {}; openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=ecr \
             -addext subjectAltName=DNS:{HOST} -addext basicConstraints=critical,CA:FALSE 2>/dev/null; htpasswd -Bbn AWS {PASSWORD} > htpasswd",
            dir.path().display()
        ));
        fs::write(
            path("registry.yml"),
            format!(
                "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http: {{addr: \"{ADDRESS}:443\", tls: {{certificate: {}, key: {}}}}}\n\
                 auth: {{htpasswd: {{realm: ecr, path: {}}}}}\n",
                path("images"),
                path("cert.pem"),
                path("key.pem"),
                path("htpasswd")
            ),
        )
        .expect("a write");
        fs::create_dir_all(path("home/.docker")).expect("a directory");
        let config = format!("{{\"credHelpers\":{{\"{HOST}\":\"ecr-login\"}}}}");
        fs::write(path("home/.docker/config.json"), config).expect("a write");
        fs::create_dir(path("bin")).expect("a directory");
        symlink(program(), path("bin/docker-credential-ecr-login")).expect("a link");

        let namespace = Namespace::of_mounts(&format!("mount --bind {} /etc/hosts", path("hosts")));
        let mut registry = namespace.command("docker-registry");
        registry.args(["serve", &path("registry.yml")]);
        let listens = || TcpStream::connect((ADDRESS, 443)).is_ok();
        let registry = Daemon::start(registry, Path::new(&path("registry.log")), listens);
        let mut dockerd = namespace.command("dockerd");
        dockerd.args(["--bridge", "none", "--iptables=false", "--storage-driver", "vfs"]);
        for (flag, file) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            dockerd.args([flag, &path(file)]);
        }
        dockerd.args(["-H", &format!("unix://{}", path("socket"))]);
        dockerd.env("SSL_CERT_FILE", path("cert.pem"));
        let socket = path("socket");
        let answers = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        let dockerd = Daemon::start(dockerd, Path::new(&path("dockerd.log")), answers);
        Self { endpoint: endpoint.to_owned(), _daemons: vec![dockerd, registry], namespace, dir, _turn: turn }
    }

    /// Has clients use this program from now on, with an empty cache.
    pub fn install(&self, program: &Path) {
        let link = self.dir.path().join("bin/docker-credential-ecr-login");
        fs::remove_file(&link).expect("a link");
        symlink(program, link).expect("a link");
        let _ = fs::remove_dir_all(self.cache());
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn cache(&self) -> PathBuf {
        self.home().join(".cache/docker-credential-ecr-login")
    }

    fn log(&self) -> PathBuf {
        self.home().join("helper.log")
    }

    /// A client with the helper on its PATH and a user's settings.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.namespace.command(program);
        command
            .args(args)
            .env("PATH", format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.dir.path().display()))
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.home())
            .env("SSL_CERT_FILE", self.dir.path().join("cert.pem"))
            .env("DOCKER_HOST", format!("unix://{}/socket", self.dir.path().display()))
            .env("DOCKER_CLI_EXPERIMENTAL", "enabled")
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "stand-in")
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ECR_LOG", "debug")
            .env("AWS_ECR_LOG_FILE", self.log())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, program: &str, args: &[&str]) -> String {
        finish(&mut self.command(program, args))
    }

    pub fn docker_command(&self, args: &[&str]) -> Command {
        self.command("/usr/bin/docker", args)
    }

    pub fn docker(&self, args: &[&str]) -> String {
        finish(&mut self.docker_command(args))
    }

    fn docker_in(&self, args: &[&str], input: &str) -> String {
        let file = self.home().join("input");
        fs::write(&file, input).expect("a write");
        finish(self.docker_command(args).stdin(fs::File::open(file).expect("a file")))
    }

    /// Runs a client and sees in the helper's log that it got its token there.
    pub fn with_helper(&self, client: impl FnOnce() -> String) -> String {
        let _ = fs::remove_file(self.log());
        let output = client();
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        assert!(log.contains("token") && log.contains(HOST), "the helper was asked: {log}\n{output}");
        output
    }
}

fn finish(command: &mut Command) -> String {
    let output = command.output().expect("the client runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

pub fn shell(script: &str) {
    assert!(Command::new("sh").args(["-ec", script]).status().expect("a shell").success(), "{script}");
}
