//! A machine for real clients: a registry with TLS under the name of an ECR registry, a docker daemon, and a user with the
//! helper on the PATH. Everything is in one directory and in namespaces. One such machine runs at a time, since all have the
//! same address.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use crate::HOST;
use crate::helper::program;
use crate::namespace::{Daemon, Namespace, missing, skip};
use crate::process;

/// What moto hands out: its own account's number and a suffix. The registry wants it.
pub const PASSWORD: &str = "123456789012-auth-token";
/// A loopback address that nothing else on the machine listens on.
pub const ADDRESS: &str = "127.83.67.82";
/// A registry that is not ECR's. On loopback docker does without TLS.
pub const OTHER: &str = "127.83.67.83:5000";

/// Whether a machine can be made here, besides the programs in `also`; says so where not.
pub fn possible(test: &str, also: &[&str]) -> bool {
    if !nix::unistd::geteuid().is_root() {
        skip(test, "mount namespaces and dockerd need root");
        return false;
    }
    let programs = ["dockerd", "docker", "podman", "buildah", "skopeo", "docker-registry", "htpasswd", "openssl"];
    if let Some(program) = missing(&[&programs[..], also].concat()) {
        skip(test, &format!("{program} is not installed"));
        return false;
    }
    true
}

/// The machine.
pub struct ClientMachine {
    pub endpoint: String,
    _daemons: Vec<Daemon>,
    pub namespace: Namespace,
    pub dir: TempDir,
    _serial: MutexGuard<'static, ()>,
}

static SERIAL: Mutex<()> = Mutex::new(());

impl ClientMachine {
    pub fn start(endpoint: &str) -> Self {
        Self::at(ADDRESS, endpoint, Namespace::of_mounts)
    }

    /// The same with the registry at another address of the namespaces that `namespace` makes.
    pub fn at(address: &str, endpoint: &str, namespace: impl FnOnce(&str) -> Namespace) -> Self {
        let serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let hosts = format!("127.0.0.1 localhost\n{address} {HOST}\n");
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
                 http: {{addr: \"{address}:443\", tls: {{certificate: {}, key: {}}}}}\n\
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

        let namespace = namespace(&format!("mount --bind {} /etc/hosts", path("hosts")));
        let mut registry = namespace.command("docker-registry");
        registry.args(["serve", &path("registry.yml")]);
        let connect = format!("exec 3<>/dev/tcp/{address}/443");
        let listens =
            || namespace.command("bash").args(["-c", &connect]).output().is_ok_and(|ran| ran.status.success());
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
        Self { endpoint: endpoint.to_owned(), _daemons: vec![dockerd, registry], namespace, dir, _serial: serial }
    }

    /// Installs this program as the helper of the clients, with an empty cache.
    pub fn install(&self, program: &Path) {
        let link = self.dir.path().join("bin/docker-credential-ecr-login");
        fs::remove_file(&link).expect("a link");
        symlink(program, link).expect("a link");
        let _ = fs::remove_dir_all(self.cache());
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn cache(&self) -> PathBuf {
        self.home().join(".cache/docker-credential-ecr-login")
    }

    pub fn log(&self) -> PathBuf {
        self.home().join("helper.log")
    }

    /// A client with the helper on its PATH and a user's settings.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        self.command_in(Path::new("/"), program, args)
    }

    /// The same in a directory.
    pub fn command_in(&self, dir: &Path, program: &str, args: &[&str]) -> Command {
        let mut command = self.namespace.command_in(dir, program);
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

    pub fn docker_in(&self, args: &[&str], input: &str) -> String {
        succeeded(&mut self.docker_command(args), input)
    }

    /// Gives docker an image of that name.
    pub fn import(&self, image: &str) {
        let rootfs = self.dir.path().join("rootfs.tar").display().to_string();
        shell(&format!("tar cf {rootfs} -C /etc hostname"));
        self.docker(&["import", &rootfs, image]);
    }

    /// Starts an ordinary registry, for the user `me` with the password `hunter2`.
    pub fn other_registry(&self) -> Daemon {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        shell(&format!("htpasswd -Bbn me hunter2 > {}", path("passwords")));
        let yaml = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"{OTHER}\"}}\nauth: {{htpasswd: {{realm: other, path: {}}}}}\n",
            path("others"),
            path("passwords")
        );
        fs::write(path("other.yml"), yaml).expect("a write");
        let mut registry = self.namespace.command("docker-registry");
        registry.args(["serve", &path("other.yml")]);
        Daemon::start(registry, Path::new(&path("other.log")), || TcpStream::connect(OTHER).is_ok())
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

/// What a client says that has to succeed.
#[track_caller]
pub fn finish(command: &mut Command) -> String {
    succeeded(command, "")
}

#[track_caller]
fn succeeded(command: &mut Command, input: &str) -> String {
    let output = process::end(process::start(command, input));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[track_caller]
pub fn shell(script: &str) {
    finish(Command::new("sh").args(["-ec", script]));
}
