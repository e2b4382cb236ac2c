//! The packages: `packaging/*/build` builds each, a separate root directory gets it, and the helper there answers a `get`
//! and serves a `docker pull`. This takes minutes, so only `./tests/run --packages` runs these tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tempfile::TempDir;

use crate::HOST;
use crate::budgets::{assert_auditable, assert_hardened};
use crate::dns::is_static;
use crate::helper::{Ran, program};
use crate::namespace::{missing, skip};
use crate::real_clients::{ClientMachine, PASSWORD, possible, shell};
use crate::support::aws::{Aws, Plan};

const NAME: &str = "docker-credential-ecr-login";
/// All packages are laid out in the same place, so they are built one at a time.
static SERIAL: Mutex<()> = Mutex::new(());

#[test]
#[ignore = "takes minutes: ./tests/run --packages"]
fn every_package_installs_and_then_docker_pulls() {
    let programs = [
        "debootstrap",
        "dpkg",
        "rpm",
        "buildah",
        "skopeo",
        "dockerd",
        "docker",
        "docker-registry",
        "htpasswd",
        "readelf",
    ];
    if !nix::unistd::geteuid().is_root() {
        return skip("packages", "chroot and dockerd need root");
    }
    if let Some(program) = missing(&programs) {
        return skip("packages", &format!("{program} is not installed"));
    }
    let _serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    let debian = deb(&aws);
    let rpm = rpm(&aws);
    let tarball = tarball(&aws);

    let site = ClientMachine::start(&aws.url());
    let image = format!("{HOST}/team/app:1");
    let rootfs = site.home().join("rootfs.tar");
    shell(&format!("tar cf {} -C /etc hostname", rootfs.display()));
    site.docker(&["import", rootfs.to_str().unwrap(), &image]);
    site.with_helper(|| site.docker(&["push", &image]));
    let pull = |program: &Path| {
        site.install(program);
        let calls = aws.count();
        site.docker(&["rmi", &image]);
        site.with_helper(|| site.docker(&["pull", &image]));
        assert_eq!(aws.count(), calls + 1, "{} asked", program.display());
    };
    for root in [&debian, &rpm, &tarball] {
        let program = root.path().join("usr/bin").join(NAME);
        assert_hardened(&program);
        assert_auditable(&program);
        pull(&program);
    }
    // The image has the program itself.
    pull(&in_a_container(&site, &aws));
}

/// The package in a fresh Debian, in the place of the incumbent.
fn deb(aws: &Aws) -> TempDir {
    let package = build("deb");
    let root = debian();
    let path = root.path().display();
    let version = || text(chroot(root.path(), aws).arg("version"));
    let before = version();
    assert!(!before.is_empty() && !before.contains(NAME), "the incumbent is there: {before}");
    // What its user has written and what it has left behind.
    let conflicting =
        [(".docker/config.json", "{\"credsStore\":\"ecr-login\"}"), (".ecr/cache.json", "{\"Registries\":{}}")];
    for (file, content) in conflicting {
        let file = root.path().join("root").join(file);
        fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs::write(file, content).expect("a write");
    }

    shell(&format!("cp {} {path}/new.deb; chroot {path} dpkg -i /new.deb", package.display()));

    for (file, content) in conflicting {
        assert_eq!(fs::read_to_string(root.path().join("root").join(file)).expect("a file"), content, "{file}");
    }
    let expected = format!("{NAME} ({NAME}) {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(version().trim_end(), expected);
    shell(&format!(
        "! chroot {path} dpkg-query -W -f '${{Status}}' amazon-ecr-credential-helper | grep -q ' installed'"
    ));
    shell(&format!("test -z \"$(chroot {path} dpkg --verify {NAME})\""));
    holds(&root.path().join("usr"), ".gz", "zsh/vendor-completions");
    gets(root.path(), aws);
    root
}

/// The package in an empty root, where there is nothing that it could need.
fn rpm(aws: &Aws) -> TempDir {
    let package = build("rpm");
    let root = tempfile::tempdir().expect("a directory");
    let rpm = format!("rpm --root {} --dbpath /var/lib/rpm", root.path().display());
    shell(&format!(
        "{rpm} -i {}; {rpm} -V {NAME}; {rpm} -q --whatprovides amazon-ecr-credential-helper",
        package.display()
    ));
    holds(&root.path().join("usr"), "", "zsh/site-functions");
    gets(root.path(), aws);
    root
}

/// The archive, unpacked as its README says, and right by its checksum.
fn tarball(aws: &Aws) -> TempDir {
    let package = build("tarball");
    let root = tempfile::tempdir().expect("a directory");
    let (dir, name) =
        (package.parent().expect("a directory").display(), package.file_name().expect("a name").display());
    shell(&format!(
        "cd {dir}; sha256sum --quiet -c {name}.sha256; tar -x -C {} --strip-components 1 -f {name}",
        root.path().display()
    ));
    holds(root.path(), "", "zsh/site-functions");
    // An empty root again: /usr is the archive.
    std::os::unix::fs::symlink(".", root.path().join("usr")).expect("a link");
    gets(root.path(), aws);
    root
}

/// The image in docker; first by itself, then behind a script that makes it the helper.
fn in_a_container(site: &ClientMachine, aws: &Aws) -> PathBuf {
    let archive = build("image");
    let home = site.home();
    load(site, &archive, "ecr-login:test");
    let settings = "-e AWS_ENDPOINT_URL -e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY";
    let run = format!("run --rm -i --pull never --network host {settings} ecr-login:test get");
    let args: Vec<_> = run.split(' ').collect();
    let input = home.join("host");
    fs::write(&input, HOST).expect("a write");
    let calls = aws.count();
    let output =
        site.docker_command(&args).stdin(fs::File::open(input).expect("a file")).output().expect("docker runs");
    assert_eq!(Ran::new(output, std::time::Duration::ZERO).password_for(HOST), PASSWORD);
    assert_eq!(aws.count(), calls + 1);

    // What `COPY --from` and the DaemonSet take.
    let copy = home.join("copy");
    let container = site.docker(&["create", "ecr-login:test"]);
    site.docker(&["cp", &format!("{}:/usr/bin/{NAME}", container.trim()), copy.to_str().unwrap()]);
    assert!(fs::read(copy).expect("a copy") == fs::read(program()).expect("a program"), "the program itself");

    let script = home.join("in-a-container");
    let text = format!(
        "#!/bin/sh\nexec docker run --rm -i --pull never --network host {settings} -e AWS_ECR_LOG -e \
         AWS_ECR_LOG_FILE=/home/helper.log -v {}:/home --user 0:0 ecr-login:test \"$@\"\n",
        home.display()
    );
    fs::write(&script, text).expect("a write");
    shell(&format!("chmod 755 {}", script.display()));
    script
}

/// docker's command line and the helper in one image, and the ways to fill a volume with the program.
#[test]
#[ignore = "takes minutes: ./tests/run --packages"]
fn the_images_serve_jobs_and_fill_volumes() {
    let programs = ["buildah", "skopeo", "busybox"];
    if !possible("images", &programs) {
        return;
    }
    let _serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    let aws = Aws::with(Plan { password: Some(PASSWORD.to_owned()), ..Plan::default() });
    let site = ClientMachine::start(&aws.url());
    load(&site, &build("image"), "ecr-login:test");
    load(&site, &build_with("image", &["--with-docker"]), "ecr-login:test-docker");
    let image = format!("{HOST}/team/app:1");
    site.import(&image);
    site.with_helper(|| site.docker(&["push", &image]));
    let run = |args: &str| {
        let run =
            "run --rm --pull never --network host -e AWS_ENDPOINT_URL -e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY";
        site.docker(&run.split(' ').chain(args.split(' ')).collect::<Vec<_>>())
    };

    // A job: docker's socket is the machine's, and everything else the image's.
    site.docker(&["rmi", &image]);
    let calls = aws.count();
    let job = site.home().join("job");
    let script = format!("docker-credential-ecr-login setup {HOST}\ndocker pull {image}\ndocker push {image}\n");
    fs::write(&job, script).expect("a write");
    let (socket, job) = (site.dir.path().join("socket"), job.display());
    run(&format!("-v {}:/var/run/docker.sock -v {job}:/job ecr-login:test-docker sh -eu /job", socket.display()));
    assert_eq!(aws.count(), calls + 1, "one token for both");

    // A new volume takes what the image has where it is mounted; and then other images have the program too, here one
    // without a single program of its own.
    let uses = |volume: &str| {
        let calls = aws.count();
        let input = site.home().join("host");
        fs::write(&input, HOST).expect("a write");
        let args = format!(
            "run --rm -i --pull never --network host -e AWS_ENDPOINT_URL -e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY \
             -v {volume}:/helper:ro --entrypoint /helper/{NAME} {image} get"
        );
        let mut docker = site.docker_command(&args.split(' ').collect::<Vec<_>>());
        let output = docker.stdin(fs::File::open(input).expect("a file")).output().expect("docker runs");
        assert_eq!(Ran::new(output, std::time::Duration::ZERO).password_for(HOST), PASSWORD);
        assert_eq!(aws.count(), calls + 1);
    };
    let version = run("-v filled:/usr/bin ecr-login:test version");
    assert!(version.starts_with(NAME), "{version}");
    uses("filled");
    // One that is there already, by the image that has a shell.
    site.docker(&["volume", "create", "copied"]);
    for _ in 0..2 {
        run(&format!("-v copied:/to ecr-login:test-docker cp -f /usr/bin/{NAME} /to/"));
        uses("copied");
    }
}

/// What scanners go by, which know nothing of the C library in the program from its packages.
#[test]
#[ignore = "takes minutes: ./tests/run --packages"]
fn the_list_of_what_is_inside_names_crates_and_the_c_library() {
    let _serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    let text = fs::read_to_string(build("sbom")).expect("a list");
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let version = Command::new(program()).args(["version", "--verbose"]).output().expect("it runs").stdout;
    let library =
        String::from_utf8_lossy(&version).lines().find_map(|line| line.strip_prefix("C library ").map(str::to_owned));
    let library = library.expect("a line");
    let components = list["components"].as_array().expect("components");
    let named = |name: &str| {
        let found = components.iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {text}"))["version"].as_str().unwrap_or_default().to_owned()
    };
    assert!(!named("rustls").is_empty() && !named("aws-sdk-ecr").is_empty());
    let name = library.split([' ', ',']).next().expect("a name");
    assert!(library.contains(&named(name)) && (named(name).is_empty() != is_static(&program())), "{library}");
    assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "no path of this machine");
}

#[test]
#[ignore = "builds the program once more: ./tests/run --packages"]
fn two_builds_are_the_same_byte_for_byte() {
    let _serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new("packaging/reproduce").env("HELPER", program()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
}

/// Builds a package of the program under test.
fn build(format: &str) -> PathBuf {
    build_with(format, &[])
}

fn build_with(format: &str, flags: &[&str]) -> PathBuf {
    let mut command = Command::new(format!("packaging/{format}/build"));
    let output = command.args(flags).env("HELPER", program()).output().expect("it runs");
    assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").lines().next_back().expect("a path"))
}

/// Gives docker the image in an OCI archive.
fn load(site: &ClientMachine, archive: &Path, name: &str) {
    let file = site.home().join("image.tar");
    let _ = fs::remove_file(&file);
    let to = format!("docker-archive:{}:{name}", file.display());
    site.run("skopeo", &["copy", "--quiet", &format!("oci-archive:{}", archive.display()), &to]);
    site.docker(&["load", "-i", file.to_str().expect("UTF-8")]);
}

/// A copy of a minimal Debian with the incumbent, which is made once and kept below `target`.
fn debian() -> TempDir {
    // A mirror that does not answer is a failure after ten minutes, with debootstrap's own words above it.
    shell(
        "cd target; test -d debian || { rm -rf debian.new; \
         timeout 600 debootstrap --variant=minbase --include=ca-certificates,amazon-ecr-credential-helper bookworm debian.new >&2; \
         mv debian.new debian; }",
    );
    let root = tempfile::tempdir().expect("a directory");
    shell(&format!("cp -a target/debian/. {}", root.path().display()));
    root
}

/// What is in every package beside the program.
fn holds(usr: &Path, packed: &str, zsh: &str) {
    for file in [
        format!("man/man1/{NAME}.1{packed}"),
        format!("man/man5/{NAME}-config.5{packed}"),
        format!("bash-completion/completions/{NAME}"),
        format!("{zsh}/_{NAME}"),
        format!("fish/vendor_completions.d/{NAME}.fish"),
        format!("doc/{NAME}/LICENSE-MIT"),
        format!("doc/{NAME}/LICENSE-APACHE"),
        format!("doc/{NAME}/doctor-report.schema.json"),
    ] {
        let file = usr.join("share").join(file);
        assert!(fs::metadata(&file).is_ok_and(|there| there.len() > 0), "{}", file.display());
    }
}

/// The installed program, with the root as its whole file system.
fn chroot(root: &Path, aws: &Aws) -> Command {
    let mut command = Command::new("/usr/sbin/chroot");
    command.arg(root).arg(format!("/usr/bin/{NAME}")).env_clear().env("HOME", "/root");
    command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE");
    command.env("AWS_SECRET_ACCESS_KEY", "stand-in");
    command
}

/// It asks AWS once, and then has its answer from the cache.
fn gets(root: &Path, aws: &Aws) {
    let input = root.join("host");
    fs::write(&input, HOST).expect("a write");
    let calls = aws.count();
    for _ in 0..2 {
        let input = Stdio::from(fs::File::open(&input).expect("a file"));
        let output = chroot(root, aws).arg("get").stdin(input).output().expect("it runs");
        assert_eq!(Ran::new(output, std::time::Duration::ZERO).password_for(HOST), PASSWORD);
    }
    assert_eq!(aws.count(), calls + 1, "in {}", root.display());
}

fn text(command: &mut Command) -> String {
    String::from_utf8(command.output().expect("it runs").stdout).expect("UTF-8")
}
