//! Demonstrates the helper without an AWS account, docker or root: stand-ins for AWS and for a registry listen on loopback, and a
//! client pulls through the helper, which a docker `config.json` names. How docker reads that file and calls a helper, it has from the
//! crate `docker_credential`; the rest of a push and a pull are seven requests.
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
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use docker_credential::DockerCredential;
use docker_credential_ecr_login::{NAME, cli};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use support::aws::{Aws, Plan};
use support::tls::Authority;

const HOST: &str = "111122223333.dkr.ecr.us-east-1.amazonaws.com";
const REPOSITORY: &str = "demo/hello";
const TAG: &str = "1";
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
    registry: SocketAddr,
    proxy: SocketAddr,
}

impl Demo {
    fn start() -> Result<Self, Failure> {
        let home = tempfile::tempdir()?;
        std::fs::create_dir(home.path().join("bin"))?;
        let helper = std::env::var_os("HELPER").map_or_else(std::env::current_exe, |path| Ok(path.into()))?;
        std::fs::copy(helper, program(home.path()))?;
        let authority = Authority::for_names(&[HOST]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let registry = listener.local_addr()?;
        let proxy = proxy_to(registry)?;
        authority.serve(listener, oci::registry("AWS", PASSWORD));
        let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), delay: DELAY, ..Plan::default() });
        Ok(Self { home, aws, authority, registry, proxy })
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

        title("Push, then pull, with a client that reads config.json as docker does");
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
        self.helper(&["doctor", &format!("{HOST}/{REPOSITORY}:{TAG}")])?;

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

    /// Runs the client.
    fn client(&self, action: &str) -> Result<(), Failure> {
        let mut client = self.command(std::env::current_exe()?);
        let status = client.arg(action).env(REGISTRY, self.registry.to_string()).status()?;
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

/// The variable that tells the client where the registry listens.
const REGISTRY: &str = "DEMO_REGISTRY";
const LAYER: &[u8] = b"hello from a layer";

/// The client as a process of its own, in the place of docker.
fn client(action: &str) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(act(action))
}

async fn act(action: &str) -> Result<(), Failure> {
    let image = format!("{HOST}/{REPOSITORY}:{TAG}");
    let started = Instant::now();
    if action == "anonymous" {
        let status = Client::connect(None).await?.send(Method::GET, "/v2/", &[]).await?.0;
        println!("without credentials: {status}");
        return if status.is_success() {
            Err("the registry let somebody in without a password".into())
        } else {
            Ok(())
        };
    }
    let mut client = Client::connect(Some(login()?)).await?;
    let asked = started.elapsed().as_millis();
    if action == "push" {
        client.push().await?;
        println!("pushed {image}");
    } else if client.pull().await? == LAYER {
        let all = started.elapsed().as_millis();
        println!("pulled {image} in {all} ms, {asked} ms of them for the password");
    } else {
        return Err("what was pulled is not what was pushed".into());
    }
    Ok(())
}

/// A connection to the registry. The requests are those of the OCI distribution specification.
struct Client {
    connection: SendRequest<Full<Bytes>>,
    /// User and password.
    login: Option<String>,
}

impl Client {
    async fn connect(login: Option<String>) -> Result<Self, Failure> {
        let ca = CertificateDer::from_pem_file(std::env::var_os("AWS_CA_BUNDLE").ok_or("no AWS_CA_BUNDLE")?)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca)?;
        let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
        let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(std::env::var(REGISTRY)?).await?;
        let stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(HOST)?, stream).await?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(Self { connection, login })
    }

    async fn push(&mut self) -> Result<(), Failure> {
        let layer = self.upload(LAYER).await?;
        let config = self.upload(b"{}").await?;
        let described = |kind: &str, digest: &str, size: usize| {
            format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#)
        };
        let (config, layer) = (described("config.v1+json", &config, 2), described("layer.v1.tar", &layer, LAYER.len()));
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
        self.ask(Method::PUT, &format!("/v2/{REPOSITORY}/manifests/{TAG}"), manifest.as_bytes()).await?;
        Ok(())
    }

    /// Uploads a blob, and returns its digest.
    async fn upload(&mut self, blob: &[u8]) -> Result<String, Failure> {
        let digest = format!("sha256:{:x}", Sha256::digest(blob));
        let (place, _) = self.ask(Method::POST, &format!("/v2/{REPOSITORY}/blobs/uploads/"), &[]).await?;
        self.ask(Method::PUT, &format!("{place}?digest={digest}"), blob).await?;
        Ok(digest)
    }

    async fn pull(&mut self) -> Result<Vec<u8>, Failure> {
        let (_, manifest) = self.ask(Method::GET, &format!("/v2/{REPOSITORY}/manifests/{TAG}"), &[]).await?;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
        let digest = manifest["layers"][0]["digest"].as_str().ok_or("a manifest without a layer")?;
        Ok(self.ask(Method::GET, &format!("/v2/{REPOSITORY}/blobs/{digest}"), &[]).await?.1.to_vec())
    }

    /// Sends a request that must succeed. The location in the answer comes back, and its body.
    async fn ask(&mut self, method: Method, path: &str, body: &[u8]) -> Result<(String, Bytes), Failure> {
        let (status, location, body) = self.send(method, path, body).await?;
        if status.is_success() { Ok((location, body)) } else { Err(format!("{path}: {status}").into()) }
    }

    async fn send(&mut self, method: Method, path: &str, body: &[u8]) -> Result<(StatusCode, String, Bytes), Failure> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, HOST);
        if let Some(login) = &self.login {
            request = request.header(header::AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(login)));
        }
        let (head, answer) = self.connection.send_request(request.body(Full::from(body.to_vec()))?).await?.into_parts();
        let location = head.headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok((head.status, location.to_owned(), answer.collect().await?.to_bytes()))
    }
}

/// As docker does it: config.json names the helper, and the helper has the password.
fn login() -> Result<String, Failure> {
    match docker_credential::get_credential(HOST)? {
        DockerCredential::UsernamePassword(username, password) => Ok(format!("{username}:{password}")),
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
