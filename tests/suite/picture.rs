//! The picture in the README, from what real programs print: docker with an expired sign-in, once with the AWS Labs helper and once
//! with this one, and a healthy `doctor`.
//!
//! `HELPER=$(packaging/build) INCUMBENT=/path/of/it cargo test --test suite -- --ignored picture::`

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::HOST;
use crate::helper::program;
use crate::namespace::Namespace;
use crate::real_clients::{ClientMachine, PASSWORD, possible};
use crate::support::aws::{Aws, Plan};

const FILE: &str = "packaging/picture.svg";
/// In characters.
const WIDTH: usize = 104;

#[test]
#[ignore = "draws packaging/picture.svg; INCUMBENT names the other helper"]
fn draw() {
    let incumbent = env::var("INCUMBENT").expect("INCUMBENT names the AWS Labs helper");
    assert!(possible("picture", &[]));
    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    // On loopback docker goes on without TLS and says something else.
    let site = ClientMachine::at("10.83.67.82", "http://127.0.0.1:8000", |setup| {
        Namespace::of_network(&format!("{setup}\nip address add 10.83.67.82 dev lo"))
    });
    crate::support::serve(site.namespace.listen("127.0.0.1:8000"), aws.app());
    let image = format!("{HOST}/team/app:1");
    site.import(&image);
    site.docker(&["push", &image]);
    let doctor = site.run("docker-credential-ecr-login", &["doctor", &image]);
    let doctor = doctor.split("\nFor a bug report").next().expect("a first part").trim_end();
    let verdict = site.run("docker-credential-ecr-login", &["doctor", &image]);
    let verdict = verdict.trim_end().lines().last().expect("a verdict").to_owned();

    fs::create_dir(site.home().join(".aws")).expect("a directory");
    fs::write(
        site.home().join(".aws/config"),
        "[profile dev]\nsso_region = us-east-1\nsso_start_url = https://corp.awsapps.com/start\n\
         sso_account_id = 111122223333\nsso_role_name = Developer\n",
    )
    .expect("a file");
    let pull = || {
        let mut command = site.docker_command(&["pull", &image]);
        command.env("AWS_PROFILE", "dev").env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        let output = command.env("AWS_EC2_METADATA_DISABLED", "true").output().expect("docker runs");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    site.install(Path::new(&incumbent));
    let incumbent = pull();
    site.install(&program());
    let helper = pull();
    assert!(
        incumbent.contains("no basic auth credentials") && helper.contains("aws sso login --profile dev"),
        "{incumbent}\n{helper}"
    );

    let home = site.home().display().to_string();
    // What a reader's machine would show: AWS and the certificates of its system instead of the stand-ins of this one.
    let tidy = |text: &str| {
        let text = text.replace(&home, "~").replace("http://127.0.0.1:8000", "https://api.ecr.us-east-1.amazonaws.com");
        let trusting = format!("{} (SSL_CERT_FILE)", site.dir.path().join("cert.pem").display());
        let text = text.replace(&trusting, "the system's certificates");
        let text = text.replace(&site.dir.path().display().to_string(), "/opt");
        assert!(!text.contains("127.0.0.1"), "{text}");
        text
    };
    let command = format!("$ AWS_PROFILE=dev docker pull {image}");
    let doctor = format!("$ docker-credential-ecr-login doctor {image}\n{doctor}\n{verdict}");
    let texts = [
        ("An expired sign-in, with the AWS Labs helper", format!("{command}\n{incumbent}")),
        ("An expired sign-in, with this helper", format!("{command}\n{helper}")),
        ("A healthy machine", doctor),
    ];
    fs::write(FILE, svg(&texts.map(|(title, text)| (title, tidy(&text))))).expect("a picture");
}

fn svg(panels: &[(&str, String)]) -> String {
    let (mut body, mut y) = (String::new(), 0);
    for (title, text) in panels {
        let lines: Vec<String> = text.trim_end().lines().flat_map(wrapped).collect();
        let height = lines.len() * 18 + 20;
        let _ = writeln!(body, "<text class=\"title\" x=\"4\" y=\"{}\">{}</text>", y + 18, escaped(title));
        let _ = writeln!(body, "<rect x=\"0\" y=\"{}\" width=\"100%\" height=\"{height}\" rx=\"6\"/>", y + 28);
        for (number, line) in lines.iter().enumerate() {
            let class = match line {
                line if line.starts_with('$') => "command",
                line if line.starts_with("ok") || line.ends_with("0 failed") => "ok",
                _ => "plain",
            };
            let y = y + 28 + 22 + number * 18;
            let _ = writeln!(body, "<text class=\"{class}\" x=\"12\" y=\"{y}\">{}</text>", escaped(line));
        }
        y += 28 + height + 16;
    }
    let width = WIDTH * 8 + 24;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {y}\" width=\"{width}\" height=\"{y}\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, monospace\" font-size=\"13\" xml:space=\"preserve\">\n\
         <style>rect {{ fill: #1b1f24 }} .title {{ fill: #808890; font-family: system-ui, sans-serif; font-weight: 600 }} \
         .plain {{ fill: #e6edf3 }} .command {{ fill: #79b8ff }} .ok {{ fill: #7ee787 }}</style>\n{body}</svg>\n"
    )
}

/// A line in pieces of at most [`WIDTH`] characters, broken at blanks where there are any.
fn wrapped(line: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in line.split_inclusive(' ') {
        let last = pieces.last_mut().expect("a piece");
        if last.chars().count() + word.trim_end().chars().count() > WIDTH && !last.is_empty() {
            pieces.push(format!("  {word}"));
        } else {
            last.push_str(word);
        }
    }
    pieces
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
