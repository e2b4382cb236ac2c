//! The packages: the lines in the README build each and install it into a separate root directory, and the helper there answers
//! a `get` and serves a `docker pull`. This takes minutes, so only `./tests/run --packages` runs these tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
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
use crate::real_clients::{ClientMachine, PASSWORD, finish, possible, shell};
use crate::recipes::HOMEPAGE;
use crate::support::aws::{Aws, Plan};

const NAME: &str = "docker-credential-ecr-login";
const NOTICES: &str = "THIRD-PARTY-LICENSES";
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
        "lintian",
        "rpmlint",
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

    let package = install("packaging/deb/build", root.path());
    clean("lintian", &["--allow-root", "--display-info", "--fail-on", "error,warning,info"], &package);

    for (file, content) in conflicting {
        assert_eq!(fs::read_to_string(root.path().join("root").join(file)).expect("a file"), content, "{file}");
    }
    let expected = format!("{NAME} ({NAME}) {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(version().trim_end(), expected);
    shell(&format!(
        "! chroot {path} dpkg-query -W -f '${{Status}}' amazon-ecr-credential-helper | grep -q ' installed'"
    ));
    shell(&format!("test -z \"$(chroot {path} dpkg --verify {NAME})\""));
    holds(&root.path().join("usr"), ".gz", "zsh/vendor-completions", "doc");
    gets(root.path(), aws);
    root
}

/// The package in an empty root, where there is nothing that it could need.
fn rpm(aws: &Aws) -> TempDir {
    let root = tempfile::tempdir().expect("a directory");
    let package = install("packaging/rpm/build", root.path());
    let rpm = format!("rpm --root {} --dbpath /var/lib/rpm", root.path().display());
    shell(&format!("{rpm} -V {NAME}; {rpm} -q --whatprovides amazon-ecr-credential-helper"));
    let licences = text(Command::new("rpm").args(["-qp", "--licensefiles"]).arg(&package));
    assert!(licences.contains(&format!("/usr/share/licenses/{NAME}/{NOTICES}\n")), "{licences}");
    clean("rpmlint", &["-c", "packaging/rpm/rpmlint.toml"], &package);
    holds(&root.path().join("usr"), ".gz", "zsh/site-functions", "licenses");
    gets(root.path(), aws);
    root
}

/// The archive, right by its checksum, in a root whose directories stay as they are.
fn tarball(aws: &Aws) -> TempDir {
    let root = tempfile::tempdir().expect("a directory");
    let local = root.path().join("usr/local");
    fs::create_dir_all(local.join("bin")).expect("a directory");
    fs::set_permissions(local.join("bin"), fs::Permissions::from_mode(0o2775)).expect("a mode");
    let package = install("packaging/tarball/build", root.path());
    let (dir, name) =
        (package.parent().expect("a directory").display(), package.file_name().expect("a name").display());
    shell(&format!("cd {dir}; sha256sum --quiet -c {name}.sha256"));
    let mode = fs::metadata(local.join("bin")).expect("a directory").permissions().mode() & 0o7777;
    assert_eq!(mode, 0o2775, "the mode of the directory");
    holds(&local, "", "zsh/site-functions", "doc");
    // Where the other packages have it.
    fs::create_dir(root.path().join("usr/bin")).expect("a directory");
    std::os::unix::fs::symlink(format!("../local/bin/{NAME}"), root.path().join("usr/bin").join(NAME)).expect("a link");
    gets(root.path(), aws);
    root
}

/// Runs the README's line that begins with this build. `sudo` installs into `root`; the package's path comes back.
fn install(build: &str, root: &Path) -> PathBuf {
    let readme = fs::read_to_string("README.md").expect("a readme");
    let line = readme.split('`').find(|code| code.contains(&format!("\"$({build})\" && sudo "))).expect(build);
    let bin = tempfile::tempdir().expect("a directory");
    let (sudo, installed) = (bin.path().join("sudo"), bin.path().join("installed"));
    let at = root.display();
    let script = format!(
        "#!/bin/sh -e\ncase $1 in\napt) file=$3; cp \"$file\" {at}/new.deb; chroot {at} dpkg -i /new.deb;;\n\
         rpm) file=$3; rpm --root {at} --dbpath /var/lib/rpm \"$2\" \"$file\";;\n\
         tar) file=$3; test \"$6 $7\" = '-C /usr/local'; tar \"$2\" \"$file\" \"$4\" \"$5\" -C {at}/usr/local;;\nesac >&2\necho \"$file\" >{}\n",
        installed.display()
    );
    crate::process::write_program(&sudo, script);
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").expect("a path"));
    let run = |helper: &Path| {
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", line]).env("HELPER", helper).env("PATH", &path).output().expect("bash runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (succeeded, said) = run(Path::new("/bin/false"));
    assert!(!succeeded && !installed.exists(), "a build that fails installs nothing: {said}");
    let (succeeded, said) = run(&program());
    assert!(succeeded, "{line}: {said}");
    PathBuf::from(fs::read_to_string(installed).expect("a path").trim_end())
}

/// A linter finds nothing in a package but for what is explained beside its build.
fn clean(linter: &str, args: &[&str], package: &Path) {
    let output = Command::new(linter).args(args).arg(package).output().expect(linter);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let found = said.lines().find(|line| line.contains("W: ") || line.contains("E: "));
    assert!(output.status.success() && found.is_none(), "{linter}: {said}");
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
    let notices = home.join(NOTICES);
    let inside = format!("{}:/usr/share/doc/{NAME}/{NOTICES}", container.trim());
    site.docker(&["cp", &inside, notices.to_str().unwrap()]);
    names_the_licence_of_every_crate(&notices);
    let labels = site.docker(&["inspect", "--format", "{{json .Config.Labels}}", "ecr-login:test"]);
    let labels: Value = serde_json::from_str(&labels).expect("JSON");
    let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default().to_owned();
    assert_eq!((label("source"), label("description").as_str()), (HOMEPAGE.to_owned(), env!("CARGO_PKG_DESCRIPTION")));
    assert!(text(Command::new(program()).args(["version", "--verbose"])).contains(&label("revision")));
    assert!(label("revision").len() >= 7 && label("licenses").contains("LGPL-2.1-or-later"), "{labels}");

    let script = home.join("in-a-container");
    let text = format!(
        "#!/bin/sh\nexec docker run --rm -i --pull never --network host {settings} -e AWS_ECR_LOG -e \
         AWS_ECR_LOG_FILE=/home/helper.log -v {}:/home --user 0:0 ecr-login:test \"$@\"\n",
        home.display()
    );
    crate::process::write_program(&script, text);
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

#[test]
#[ignore = "takes minutes: ./tests/run --packages"]
fn the_templates_are_rendered_without_a_release() {
    let _serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    let readme = fs::read_to_string("packaging/kubelet/README.md").expect("a readme");
    let line = readme.split("\n```sh\n").nth(1).and_then(|rest| rest.lines().next()).expect("a line");
    assert!(line.starts_with("packaging/render-local "), "{line}");
    let said = text(Command::new("bash").args(["-ec", line]).env("HELPER", program()));
    let dir = Path::new(said.trim_end());
    let data = fs::read_to_string(dir.join("eks-user-data.txt")).expect("user data");
    let archive = dir.join(format!("{NAME}-{}-linux-x86_64.tar.gz", env!("CARGO_PKG_VERSION")));
    assert!(data.contains(&crate::recipes::sum(&archive)), "the archive's checksum");
    for file in ["daemonset.yaml", "kustomization.yaml", "pull-secret.yaml", "docker-credential-ecr-login.rb"] {
        let text = fs::read_to_string(dir.join(file)).expect(file);
        assert!(!text.contains('@') || text.contains("@sha256:"), "{file}");
    }
}

/// Builds a package of the program under test.
fn build(format: &str) -> PathBuf {
    build_with(format, &[])
}

fn build_with(format: &str, flags: &[&str]) -> PathBuf {
    let mut command = Command::new(format!("packaging/{format}/build"));
    command.args(flags).env("HELPER", program()).env("HOMEPAGE", HOMEPAGE);
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
    // For `package="$(packaging/deb/build)"`.
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(said.lines().count(), 1, "the path alone: {said}");
    PathBuf::from(said.trim_end())
}

/// Gives docker the image in an OCI archive, by the lines of the README.
fn load(site: &ClientMachine, archive: &Path, name: &str) {
    let readme = fs::read_to_string("packaging/image/README.md").expect("a readme");
    let lines = readme.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("lines");
    assert!(lines.contains("$(packaging/image/build)"), "{lines}");
    let lines =
        lines.replace("$(packaging/image/build)", &archive.display().to_string()).replace("ecr-login:local", name);
    finish(&mut site.command_in(&site.home(), "bash", &["-ec", &lines]));
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
fn holds(usr: &Path, packed: &str, zsh: &str, licences: &str) {
    for file in [
        format!("man/man1/{NAME}.1{packed}"),
        format!("man/man5/{NAME}-config.5{packed}"),
        format!("bash-completion/completions/{NAME}"),
        format!("{zsh}/_{NAME}"),
        format!("fish/vendor_completions.d/{NAME}.fish"),
        format!("{licences}/{NAME}/LICENSE-MIT"),
        format!("{licences}/{NAME}/LICENSE-APACHE"),
        format!("doc/{NAME}/doctor-report.schema.json"),
    ] {
        let file = usr.join("share").join(file);
        assert!(fs::metadata(&file).is_ok_and(|there| there.len() > 0), "{}", file.display());
    }
    names_the_licence_of_every_crate(&usr.join(format!("share/{licences}/{NAME}/{NOTICES}")));
}

/// A reader of the package finds the licence of each crate that the program itself says it holds, and its text.
fn names_the_licence_of_every_crate(notices: &Path) {
    let notices = fs::read_to_string(notices).unwrap_or_else(|error| panic!("{}: {error}", notices.display()));
    let (parts, texts) = notices.split_once("\nTEXTS\n").expect("texts");
    let list = "import json, subprocess, sys, tempfile, zlib
with tempfile.NamedTemporaryFile() as file:
    subprocess.run(['objcopy', f'--dump-section=.dep-v0={file.name}', sys.argv[1], '/dev/null'], check=True)
    inside = json.loads(zlib.decompress(file.read()))
for one in inside['packages']:
    if one.get('kind') != 'build' and not one.get('root'):
        print(one['name'], one['version'])";
    let output = Command::new("python3").args(["-c", list]).arg(program()).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(crates.lines().count() > 150, "{crates}");
    let library = if is_static(&program()) { "\nglibc " } else { "" };
    for name in crates.lines().chain(["Rust standard library"]) {
        let part = parts.split(&format!("\n{name}")).nth(1).unwrap_or_else(|| panic!("{name} is not named"));
        let mut lines = part.lines().skip(1);
        let licence = lines.next().expect("a licence");
        assert!(licence.contains("https://") && licence.trim_start().len() > 10, "{name}: {licence}");
        let numbers: Vec<_> = lines.next().expect("numbers").split_whitespace().collect();
        assert!(!numbers.is_empty(), "{name}");
        for number in numbers {
            let shown = texts.split(&format!("\n{number} ---")).nth(1).unwrap_or_default();
            assert!(shown.len() > 400, "{name}: text {number}");
        }
    }
    assert!(parts.contains(library) && (library.is_empty() || texts.contains("GNU LESSER GENERAL PUBLIC LICENSE")));
}

/// A crate whose source has no text of its licence is an error of the build, not a gap in a list.
#[test]
fn a_crate_without_a_licence_stops_the_build() {
    let dir = tempfile::tempdir().expect("a directory");
    for crates in ["option-ext 0.2.0", "made-up 1.0.0"] {
        let (name, version) = crates.split_once(' ').expect("two words");
        let source = dir.path().join(name);
        fs::create_dir(&source).expect("a directory");
        if name == "option-ext" {
            fs::write(source.join("LICENSE.txt"), "Its text").expect("a write");
        }
        let cargo = dir.path().join("cargo");
        let metadata = serde_json::json!({
            "packages": [{
                "id": name, "name": name, "version": version, "license": "MPL-2.0", "authors": [],
                "manifest_path": source.join("Cargo.toml"),
            }],
            "resolve": {"root": name, "nodes": [{"id": name, "deps": []}]},
        });
        let script = format!("#!/bin/sh\ncat <<'END'\n{metadata}\nEND\n");
        crate::process::write_program(&cargo, script);
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").expect("a path"));
        let mut notices = Command::new("packaging/notices");
        notices.arg(program()).arg("x86_64-unknown-linux-gnu").arg(dir.path()).env("PATH", path);
        let output = notices.output().expect("python3 runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), name == "option-ext", "{said}");
        assert_eq!(said.contains("made-up 1.0.0 (MPL-2.0) has no text of its licence"), name == "made-up", "{said}");
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

/// A build by hand has no address of the project; a release has.
#[test]
fn the_workflow_of_a_release_gives_images_the_address_of_the_project() {
    let workflow = fs::read_to_string(".github/workflows/release.yml").expect("a workflow");
    let step = workflow.split("\n      - ").find(|step| step.contains("packaging/image/build")).expect("a step");
    assert!(step.contains("HOMEPAGE: ${{ github.server_url }}/${{ github.repository }}"), "{step}");
}
