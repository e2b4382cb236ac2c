//! The helper at work, without an AWS account: a stand-in for ECR's API and a small registry that wants the token
//! start on loopback, and a real OCI client pushes and pulls an image through the helper by way of a docker
//! `config.json`.
//!
//! `cargo run --release --example demo`

#![expect(clippy::disallowed_methods, reason = "the demo sets up the helper's environment")]

#[path = "../tests/support/oci.rs"]
mod oci;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use docker_credential::DockerCredential;
use oci_client::client::{Client, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, manifest};

use support::aws::{Aws, Plan};

const HOST: &str = "111122223333.dkr.ecr.us-east-1.amazonaws.com";
const PASSWORD: &str = "a-password-that-only-the-api-knows";

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let (bin, home) = (tempfile::tempdir()?, tempfile::tempdir()?);
    if std::env::var_os("DEMO_INSIDE").is_none() {
        return outside(bin.path(), home.path());
    }
    // Kept out of the way of the program's own TLS, which brings its own; this is for the client.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "TLS is set up once")?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(inside())
}

/// Builds the helper and starts this program again in an environment that has just what a user would have.
fn outside(bin: &Path, home: &Path) -> Result<(), Failure> {
    step("Building the helper as its users get it (packaging/build)");
    let build =
        Command::new("packaging/build").current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::piped()).output()?;
    let program = String::from_utf8(build.stdout)?.lines().last().unwrap_or_default().to_owned();
    if !build.status.success() {
        return Err(format!("the build failed: {}", String::from_utf8_lossy(&build.stderr)).into());
    }
    say(&format!("{program}, {} KiB", std::fs::metadata(&program)?.len() / 1024));
    std::fs::copy(program, bin.join("docker-credential-ecr-login"))?;

    step("A docker config.json with one entry");
    let config = format!("{{ \"credHelpers\": {{ \"{HOST}\": \"ecr-login\" }} }}");
    std::fs::write(home.join("config.json"), &config)?;
    say(&config);

    let aws =
        Aws::with(Plan { password: Some(PASSWORD.to_owned()), delay: Duration::from_millis(40), ..Plan::default() });
    let status = Command::new(std::env::current_exe()?)
        .env_clear()
        .env("DEMO_INSIDE", "1")
        .env("PATH", bin)
        .env("HOME", home)
        .env("DOCKER_CONFIG", home)
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("AWS_ACCESS_KEY_ID", "AKIADEMO")
        .env("AWS_SECRET_ACCESS_KEY", "stand-in")
        .status()?;
    if !status.success() {
        return Err("the demo failed".into());
    }
    step("What AWS was asked");
    let calls = aws.calls();
    for call in &calls {
        say(&format!("{} in {}, signed by {}", call.operation, call.region, call.access_key));
    }
    if calls.len() != 1 {
        return Err(format!("expected one call, saw {}", calls.len()).into());
    }
    say("1 API call in all: the first answer was cached, the rest came from disk");

    step("For real: put this into ~/.docker/config.json, and the program on your PATH");
    say("{ \"credHelpers\": { \"<account>.dkr.ecr.<region>.amazonaws.com\": \"ecr-login\" } }");
    say("then: docker pull <account>.dkr.ecr.<region>.amazonaws.com/<repository>:<tag>");
    Ok(())
}

async fn inside() -> Result<(), Failure> {
    step("The helper asked by hand, first with an empty cache, then again");
    for kind in ["cold", "cached", "cached"] {
        let started = Instant::now();
        let answer = ask_helper()?;
        let took = started.elapsed().as_secs_f64() * 1000.0;
        say(&format!("{kind:6} {took:6.1} ms  {}", shorten(&answer)));
    }
    say("(the stand-in takes 40 ms to answer, as AWS does from nearby)");

    let registry = oci::start("AWS", PASSWORD);
    let client = || {
        Client::new(ClientConfig {
            protocol: ClientProtocol::Http,
            // The registry answers as a proxy would, so that the host keeps its real name.
            http_proxy: Some(format!("http://{registry}")),
            ..ClientConfig::default()
        })
    };
    let image: Reference = format!("{HOST}/demo/hello:1").parse()?;
    let layer = b"hello from a layer".to_vec();
    let layers = [ImageLayer::oci_v1(layer.clone(), None)];

    step("Without credentials the registry refuses");
    let config = Config::oci_v1(b"{}".to_vec(), None);
    match client().push(&image, &layers, config.clone(), &RegistryAuth::Anonymous, None).await {
        Ok(_) => return Err("the registry let somebody in without a password".into()),
        Err(error) => say(&format!("refused: {}", error.to_string().split(", message").next().unwrap_or_default())),
    }

    step("Push and pull with what config.json leads to");
    let client = client();
    client.push(&image, &layers, config, &login()?, None).await?;
    say(&format!("pushed {image}"));
    let pulled = client.pull(&image, &login()?, vec![manifest::IMAGE_LAYER_MEDIA_TYPE]).await?;
    let bytes: Vec<u8> = pulled.layers.iter().flat_map(|layer| layer.data.to_vec()).collect();
    if bytes != layer {
        return Err("what was pulled is not what was pushed".into());
    }
    say(&format!("pulled {image}: {} bytes, as pushed", bytes.len()));
    Ok(())
}

/// As docker and others do it: config.json names the helper, the helper has the password.
fn login() -> Result<RegistryAuth, Failure> {
    match docker_credential::get_credential(HOST)? {
        DockerCredential::UsernamePassword(username, password) => Ok(RegistryAuth::Basic(username, password)),
        DockerCredential::IdentityToken(_) => Err("an identity token was not expected".into()),
    }
}

fn ask_helper() -> Result<String, Failure> {
    let mut child =
        Command::new("docker-credential-ecr-login").arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("a pipe")?.write_all(HOST.as_bytes())?;
    let output = child.wait_with_output()?;
    let answer = String::from_utf8(output.stdout)?.trim().to_owned();
    if output.status.success() { Ok(answer) } else { Err(answer.into()) }
}

fn shorten(answer: &str) -> String {
    answer.replace(PASSWORD, &format!("{}…", &PASSWORD[..4]))
}

fn step(text: &str) {
    println!("\n== {text}");
}

fn say(text: &str) {
    println!("   {text}");
}
