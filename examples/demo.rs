//! Demonstrates the helper without an AWS account, docker or root: stand-ins for AWS and for a registry listen on loopback, and a
//! real OCI client pulls through the helper, which a docker `config.json` names.
//!
//! `cargo run --example demo`
//!
//! Under the helper's name, this program is the helper itself, so that one build is enough; `HELPER` names another build.

#![expect(clippy::disallowed_methods, reason = "the demo sets up the helper's environment")]

#[path = "../tests/support/oci.rs"]
mod oci;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use docker_credential::DockerCredential;
use docker_credential_ecr_login::{NAME, cli};
use oci_client::client::{Certificate, CertificateEncoding, Client, ClientConfig, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, manifest};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::aws::{Aws, Plan};
use support::tls::Authority;

const HOST: &str = "111122223333.dkr.ecr.us-east-1.amazonaws.com";
const IMAGE: &str = "demo/hello:1";
const PASSWORD: &str = "a-password-that-only-aws-and-the-registry-know";
/// The response time of the stand-in for AWS, as from a nearby region.
const DELAY: Duration = Duration::from_millis(40);
/// A sign-in through IAM Identity Center, as `aws configure sso` writes it; nobody has signed in.
const SSO: &str = "[profile dev]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Developer\n\n\
                   [sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.awsapps.com/start\n";

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if program.file_stem().is_some_and(|name| name == NAME) {
        return cli::run(std::env::args_os());
    }
    let shown = match std::env::args().nth(1).as_deref() {
        None => Demo::start().and_then(|demo| demo.show()),
        Some(action) => client(action),
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("the demo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The machine of a user, with the stand-ins that it reaches.
struct Demo {
    home: TempDir,
    aws: Aws,
    authority: Authority,
    proxy: SocketAddr,
}

impl Demo {
    fn start() -> Result<Self, Failure> {
        let home = tempfile::tempdir()?;
        std::fs::create_dir(home.path().join("bin"))?;
        let helper = std::env::var_os("HELPER").map_or_else(std::env::current_exe, |path| Ok(path.into()))?;
        std::fs::copy(helper, program(home.path()))?;
        let authority = Authority::for_names(&[HOST]);
        let registry = std::net::TcpListener::bind("127.0.0.1:0")?;
        let proxy = proxy_to(registry.local_addr()?)?;
        authority.serve(registry, oci::registry("AWS", PASSWORD));
        let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), delay: DELAY, ..Plan::default() });
        Ok(Self { home, aws, authority, proxy })
    }

    fn show(&self) -> Result<(), Failure> {
        println!(
            "A Docker credential helper turns AWS credentials into the password of an ECR registry whenever docker needs it. \
             Here it works on stand-ins for AWS and for the registry, with a home directory of its own: nothing of this machine \
             is changed."
        );
        title("Setup: tell docker to call the helper");
        self.helper(&["setup", HOST])?;
        let config = self.home.path().join(".docker/config.json");
        println!("$ cat ~/.docker/config.json\n{}", std::fs::read_to_string(config)?.trim_end());

        title("Push, then pull, with an OCI client that reads config.json as docker does");
        self.client("anonymous")?;
        self.client("push")?;
        self.helper(&["logout", HOST])?;
        self.client("pull")?;
        self.client("pull")?;
        self.client("pull")?;
        println!("(AWS takes {} ms to answer here; these three made one request)", DELAY.as_millis());

        title("Fifty pulls at once, with an empty cache");
        self.helper(&["logout", HOST])?;
        let (before, started) = (self.aws.count(), Instant::now());
        let mut helpers = Vec::new();
        for _ in 0..50 {
            helpers.push(asked(&mut self.command(program(self.home.path())))?);
        }
        for helper in helpers {
            let output = helper.wait_with_output()?;
            if !output.status.success() || !String::from_utf8_lossy(&output.stdout).contains(PASSWORD) {
                return Err(format!("no password: {output:?}").into());
            }
        }
        let calls = self.aws.count() - before;
        println!("50 passwords in {} ms, calls to AWS: {calls}", started.elapsed().as_millis());
        if calls != 1 {
            return Err("one call was to be enough".into());
        }

        title("An expired sign-in: the line that docker passes on");
        std::fs::create_dir(self.home.path().join(".aws"))?;
        std::fs::write(self.home.path().join(".aws/config"), SSO)?;
        let mut helper = self.command(program(self.home.path()));
        helper.env("AWS_PROFILE", "dev").env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        let output = asked(&mut helper)?.wait_with_output()?;
        let line = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if output.status.success() || !line.contains("aws sso login --profile dev") {
            return Err(format!("another failure was expected: {line}").into());
        }
        println!("$ echo {HOST} | AWS_PROFILE=dev {NAME} get\n{line}");

        title("Checking everything a pull depends on");
        self.helper(&["doctor", &format!("{HOST}/{IMAGE}")])?;

        title("For real");
        println!("Put {NAME} on your PATH, and run:\n{NAME} setup <account>.dkr.ecr.<region>.amazonaws.com");
        Ok(())
    }

    /// A program in the user's environment and no other.
    fn command(&self, program: PathBuf) -> Command {
        let home = self.home.path();
        let mut command = Command::new(program);
        command.env_clear().env("PATH", home.join("bin")).env("HOME", home).env("USERPROFILE", home);
        command.env("AWS_ACCESS_KEY_ID", "AKIADEMO").env("AWS_SECRET_ACCESS_KEY", "of-the-demo");
        command.env("AWS_ENDPOINT_URL", self.aws.url()).env("AWS_CA_BUNDLE", self.authority.bundle());
        command.env("HTTPS_PROXY", format!("http://{}", self.proxy)).env("NO_PROXY", "127.0.0.1");
        // The directory that Windows and macOS have for caches is outside of this home.
        command.env("AWS_ECR_CACHE_DIR", home.join("cache"));
        // Without these no program of Windows has a network.
        command.envs(["SystemRoot", "SystemDrive"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command
    }

    /// Runs a command of the helper, and shows it with what it prints.
    fn helper(&self, args: &[&str]) -> Result<(), Failure> {
        println!("$ {NAME} {}", args.join(" "));
        let status = self.command(program(self.home.path())).args(args).stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("{args:?}: {status}").into()) }
    }

    /// Runs the OCI client.
    fn client(&self, action: &str) -> Result<(), Failure> {
        let status = self.command(std::env::current_exe()?).arg(action).status()?;
        if status.success() { Ok(()) } else { Err(format!("the client: {status}").into()) }
    }
}

fn program(home: &Path) -> PathBuf {
    home.join("bin").join(NAME).with_extension(std::env::consts::EXE_EXTENSION)
}

/// Starts the helper as docker does: the host goes to its standard input.
fn asked(helper: &mut Command) -> Result<Child, Failure> {
    let mut child = helper.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("a pipe")?.write_all(HOST.as_bytes())?;
    Ok(child)
}

/// The OCI client as a process of its own, in the place of docker.
fn client(action: &str) -> Result<(), Failure> {
    // The helper brings its own TLS.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "TLS is set up once")?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(act(action))
}

async fn act(action: &str) -> Result<(), Failure> {
    let ca = std::env::var_os("AWS_CA_BUNDLE").ok_or("no AWS_CA_BUNDLE")?;
    let ca = Certificate { encoding: CertificateEncoding::Pem, data: std::fs::read(ca)? };
    let client = Client::new(ClientConfig {
        tls_certs_only: vec![ca],
        https_proxy: Some(std::env::var("HTTPS_PROXY")?),
        ..ClientConfig::default()
    });
    let image: Reference = format!("{HOST}/{IMAGE}").parse()?;
    let layer = b"hello from a layer".to_vec();
    let layers = [ImageLayer::oci_v1(layer.clone(), None)];
    let config = Config::oci_v1(b"{}".to_vec(), None);
    match action {
        "anonymous" => match client.push(&image, &layers, config, &RegistryAuth::Anonymous, None).await {
            Ok(_) => Err("the registry let somebody in without a password".into()),
            Err(error) => {
                println!("without credentials: {}", error.to_string().split(", message").next().unwrap_or_default());
                Ok(())
            }
        },
        "push" => {
            client.push(&image, &layers, config, &login()?, None).await?;
            println!("pushed {image}");
            Ok(())
        }
        _ => {
            let started = Instant::now();
            let login = login()?;
            let asked = started.elapsed();
            let pulled = client.pull(&image, &login, vec![manifest::IMAGE_LAYER_MEDIA_TYPE]).await?;
            if pulled.layers.iter().flat_map(|layer| layer.data.to_vec()).collect::<Vec<_>>() != layer {
                return Err("what was pulled is not what was pushed".into());
            }
            let (all, asked) = (started.elapsed().as_millis(), asked.as_millis());
            println!("pulled {image} in {all} ms, {asked} ms of them for the password");
            Ok(())
        }
    }
}

/// As docker does it: config.json names the helper, and the helper has the password.
fn login() -> Result<RegistryAuth, Failure> {
    match docker_credential::get_credential(HOST)? {
        DockerCredential::UsernamePassword(username, password) => Ok(RegistryAuth::Basic(username, password)),
        DockerCredential::IdentityToken(_) => Err("an identity token was not expected".into()),
    }
}

/// A proxy that leads every connection to `registry`, whatever host was asked for.
fn proxy_to(registry: SocketAddr) -> Result<SocketAddr, Failure> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (client, _) = listener.accept().await?;
                tokio::spawn(lead(client, registry));
            }
            #[expect(unreachable_code, reason = "for the type of errors")]
            std::io::Result::Ok(())
        })
    });
    Ok(address)
}

async fn lead(mut client: TcpStream, registry: SocketAddr) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let mut registry = TcpStream::connect(registry).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut registry).await.map(drop)
}

fn title(text: &str) {
    println!("\n== {text}");
}
