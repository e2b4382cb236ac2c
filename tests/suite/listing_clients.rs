//! Clients that ask for the list first, and use the helper only for what it names: docker's classic builder, docker-py and
//! testcontainers for Node.js. Each pulls with an empty cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::HOST;
use crate::namespace::skip;
use crate::real_clients::{ClientMachine, PASSWORD, finish, possible};
use crate::support::aws::{Aws, Plan};

/// A machine whose registry has an image that docker does not have, and the name of the image.
fn machine(aws: &Aws) -> (ClientMachine, String) {
    let site = ClientMachine::start(&aws.url());
    let image = format!("{HOST}/team/app:1");
    site.import(&image);
    site.docker(&["push", &image]);
    site.docker(&["rmi", &image]);
    (site, image)
}

/// Runs a client with these settings and an empty cache, and sees that it pulled the image after a list.
fn pulls(site: &ClientMachine, image: &str, settings: &serde_json::Value, client: &mut Command) {
    fs::write(site.home().join(".docker/config.json"), settings.to_string()).expect("a write");
    fs::remove_dir_all(site.cache()).expect("a cache");
    site.with_helper(|| finish(client.env("AWS_REGION", "us-east-1")));
    site.docker(&["image", "inspect", image]);
    site.docker(&["rmi", "--force", image]);
    assert_eq!(crate::helper::entries(&site.cache()).len(), 1, "one token");
}

/// The program of a Python environment or of Node.js, and a skip where it is missing.
fn installed(variable: &str, what: &str, path: impl Fn(PathBuf) -> PathBuf) -> Option<String> {
    let found = std::env::var_os(variable).map(|value| path(value.into())).filter(|path| path.exists());
    if found.is_none() {
        skip(what, &format!("{variable} does not say where tests/run has installed it"));
    }
    Some(found?.canonicalize().expect("a path").display().to_string())
}

#[test]
fn dockers_classic_builder_and_docker_py_pull_with_an_empty_cache() {
    let python = |moto: PathBuf| moto.parent().expect("a directory").canonicalize().unwrap_or_default().join("python3");
    if !possible("clients that list", &[]) || installed("MOTO_SERVER", "docker-py", python).is_none() {
        return;
    }
    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    let (site, image) = machine(&aws);
    let work = site.dir.path().join("work");
    fs::create_dir(&work).expect("a directory");
    fs::write(work.join("Dockerfile"), format!("FROM {image}\nLABEL made=here\n")).expect("a write");
    let before = aws.count();
    let store = json!({"credsStore": "ecr-login"});
    let mut build = site.command_in(&work, "/usr/bin/docker", &["build", "."]);
    pulls(&site, &image, &store, build.env("DOCKER_BUILDKIT", "0"));
    let script = "import docker, sys\nclient = docker.from_env()\nclient.images.build(path='.')\n";
    let python = python(std::env::var_os("MOTO_SERVER").expect("checked").into());
    let python = python.to_str().expect("UTF-8");
    pulls(&site, &image, &store, &mut site.command_in(&work, python, &["-c", script]));
    assert_eq!(aws.count() - before, 2, "the list's token is the one that get serves");
}

#[test]
fn testcontainers_for_nodejs_pulls_with_an_empty_cache() {
    let library = |dir: PathBuf| dir.join("node_modules/testcontainers/build");
    let Some(library) = installed("NODE_CLIENTS", "testcontainers", library) else { return };
    let Some(node) = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).map(|dir| dir.join("node")).find(|path| path.exists()))
    else {
        return skip("testcontainers", "node is not installed");
    };
    if !possible("testcontainers", &[]) {
        return;
    }
    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    let (site, image) = machine(&aws);
    // Its client for images, without the search for a runtime, which wants docker compose and networks too.
    let script = format!(
        "const {{ DockerImageClient }} = require('{library}/container-runtime/clients/image/docker-image-client.js');\n\
         const {{ ImageName }} = require('{library}/container-runtime/index.js');\n\
         const docker = new (require('{library}/../../dockerode'))();\n\
         new DockerImageClient(docker, 'https://index.docker.io/v1/').pull(ImageName.fromString('{image}'));"
    );
    let node = node.to_str().expect("UTF-8");
    for settings in [json!({"credHelpers": {HOST: "ecr-login"}}), json!({"credsStore": "ecr-login"})] {
        pulls(&site, &image, &settings, &mut site.command_in(Path::new("/"), node, &["-e", &script]));
    }
}
