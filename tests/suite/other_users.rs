//! Links, files and directories that another user has put on the way to a file: nothing is written through them. root in the
//! home directory of another user, as under `sudo -E` and in container jobs, leaves everything there as it is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, RenameFlags};

use crate::HOST;
use crate::helper::{Helper, complaint, entries, program};
use crate::issuers::{SSO, sign_in};
use crate::namespace::{Namespace, missing, note, skip};
use crate::support::aws::Aws;

/// The user whose files they are, and the group.
const OTHER: (u32, u32) = (12345, 54321);

fn needs_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(test, "only root can give a file to another user");
    }
    !root
}

fn give(path: &Path) {
    lchown(path, Some(OTHER.0), Some(OTHER.1)).expect("an owner");
}

fn link_of_other(to: &Path, at: &Path) {
    symlink(to, at).expect("a link");
    give(at);
}

fn dir(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).expect("a directory");
    path
}

/// Every path below a directory with owner, group, mode and content, or the target of a link.
fn tree(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()) {
            let metadata = fs::symlink_metadata(&path).expect("metadata");
            let content = if metadata.is_symlink() {
                fs::read_link(&path).expect("a link").display().to_string()
            } else if metadata.is_dir() {
                dirs.push(path.clone());
                String::new()
            } else {
                fs::read_to_string(&path).expect("a file")
            };
            let (owner, group, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
            all.insert(path, format!("{owner} {group} {mode:o} {content}"));
        }
    }
    all
}

#[test]
fn the_log_is_written_to_a_file_that_nobody_else_could_have_chosen() {
    if needs_root("logs of others") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "debug");
    let (own, theirs) = (dir(helper.home().join("own")), dir(helper.home().join("theirs")));
    let precious = helper.write("own/precious", "precious\n");
    link_of_other(&own, &theirs.join("way"));
    symlink(theirs.join("way"), own.join("way")).expect("a link of this user");
    fs::hard_link(&precious, theirs.join("name")).expect("a second name");
    give(&theirs);
    // Whoever owns the directory has moved it there.
    helper.write("theirs/moved", "precious\n");
    let before = (tree(&own), tree(&theirs));
    for path in ["theirs/way/log", "own/way/log", "theirs/name", "theirs/log", "theirs/moved", "own/precious"] {
        let log = helper.home().join(path).display().to_string();
        let mut command = helper.command();
        let ran = crate::process::run(command.arg("get").env("AWS_ECR_LOG_FILE", log), HOST);
        ran.password_for(HOST);
        assert_eq!((tree(&own), tree(&theirs)), before, "{path}");
    }
    // A link of this user to a directory is followed.
    symlink(&own, helper.home().join("link")).expect("a link");
    let helper = helper.var("AWS_ECR_LOG_FILE", "~/link/log");
    helper.get(HOST).password_for(HOST);
    assert!(fs::read_to_string(own.join("log")).expect("a log").contains("answered"));
}

/// Who may rename files in a directory, as a group in one that it shares, may give the name of the log to another file of this user.
#[test]
fn what_is_no_log_stays_as_it_is_where_the_log_should_be() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "debug");
    let shared = dir(helper.home().join("shared"));
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    mode(&shared, 0o2777);
    let helper = helper.var("AWS_ECR_LOG_FILE", shared.join("log").to_str().expect("UTF-8"));
    let large = format!("#!/bin/sh\n{}", "# precious\n".repeat(200_000));
    for script in ["#!/bin/sh\n", "precious", " 2026-12-01T00:00:00Z", &large] {
        helper.write("shared/log", script);
        mode(&shared.join("log"), 0o755);
        let before = tree(&shared);
        helper.get(HOST).password_for(HOST);
        assert_eq!(tree(&shared), before, "{script:.30}");
        let warned = helper.run(&["doctor"], "").stdout;
        assert!(warned.contains("W-LOG-UNUSED") && warned.contains("it is another file of this user"), "{warned}");
    }
    fs::remove_file(shared.join("log")).expect("a file");
    for _ in 0..2 {
        helper.get(HOST).password_for(HOST);
    }
    let log = fs::read_to_string(shared.join("log")).expect("a log");
    assert!(log.matches("answered").count() == 2, "a file of its own, also in a directory of others: {log}");
}

/// Who may rename files in a directory may move another link of this user to the name of what is written.
#[test]
fn no_link_is_followed_that_others_could_have_moved_there() {
    if needs_root("links that others have moved") || missing(&["setpriv"]).is_some() {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let copy = helper.home().join("copy");
    crate::process::copy_program(&copy);
    let (user, group) = (12346, OTHER.1);
    let run_as_user = |args: &[&str], vars: &[(&str, &str)]| {
        let mut setpriv = helper.tool("setpriv");
        setpriv.args([format!("--reuid={user}"), format!("--regid={user}"), format!("--groups={group}")]);
        crate::process::run(setpriv.arg(&copy).args(args).envs(vars.iter().copied()), HOST)
    };
    let (own, shared) = (helper.home().join("own"), dir(helper.home().join("shared")));
    let give_to_user = |path: &Path| lchown(path, Some(user), Some(user)).expect("an owner");
    let renew = |name: &str, content: &str| {
        let _ = fs::remove_dir_all(&own);
        let file = helper.write(&format!("own/{name}"), content);
        for path in [&own, &file] {
            give_to_user(path);
        }
        file
    };
    give_to_user(helper.home());
    symlink("../own/config.json", shared.join("file")).expect("a link");
    symlink("../own", shared.join("dir")).expect("a link");
    let at = |path: &str| shared.join(path).display().to_string();
    let [file, below, pages, config, log, cache] =
        ["file", "dir/config.json", "dir/man", "dir", "dir/log", "dir/cache"].map(at);
    let writers: [(&[&str], (&str, &str)); 7] = [
        (&["export", "--output", &file, HOST], ("UNUSED", "")),
        (&["export", "--output", &below, HOST], ("UNUSED", "")),
        (&["generate", &pages], ("UNUSED", "")),
        (&["setup", HOST], ("DOCKER_CONFIG", &config)),
        (&["setup", "--podman", HOST], ("REGISTRY_AUTH_FILE", &file)),
        (&["get"], ("AWS_ECR_LOG_FILE", &log)),
        (&["get"], ("AWS_ECR_CACHE_DIR", &cache)),
    ];
    for (owner, of_group, mode, list, is_shared) in [
        (0, 0, 0o777, None, true),
        (user, user, 0o777, None, true),
        (user, user, 0o707, None, true),
        (0, group, 0o2775, None, true),
        (user, group, 0o770, None, true),
        (user, 0, 0o775, None, true),
        (user, user, 0o770, Some(((2, 7, OTHER.0), 0, 7)), true),
        (user, user, 0o770, Some(((2, 2, OTHER.0), 5, 7)), true),
        (user, user, 0o770, Some(((8, 7, group), 5, 7)), true),
        (user, group, 0o770, Some(((2, 5, OTHER.0), 7, 7)), true),
        // A group with the number of its user has no other members.
        (user, user, 0o775, None, false),
        (user, user, 0o750, Some(((2, 5, OTHER.0), 0, 5)), false),
        // The mode shows the mask of an access list, which is nobody's right.
        (user, user, 0o770, Some(((2, 5, OTHER.0), 7, 7)), false),
        (user, user, 0o770, Some(((2, 7, OTHER.0), 7, 5)), false),
        (user, user, 0o770, Some(((2, 7, 0), 7, 7)), false),
        (user, user, 0o770, Some(((2, 7, user), 7, 7)), false),
        (user, group, 0o770, Some(((2, 7, user), 5, 7)), false),
        (user, user, 0o770, Some(((8, 5, group), 7, 7)), false),
        (0, group, 0o3777, None, false),
    ] {
        let case = format!("{owner}:{of_group} {mode:o} {list:?}");
        chown(&shared, Some(owner), Some(of_group)).expect("an owner");
        fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).expect("a mode");
        if !list.is_none_or(|(named, of_group, mask)| has_set_list(&shared, named, of_group, mask)) {
            note("links in a directory with an access list: there are none here");
            continue;
        }
        for (args, var) in writers {
            renew("config.json", "{}");
            let before = tree(&own);
            let ran = run_as_user(args, &[var]);
            assert_eq!(tree(&own) == before, is_shared, "{case} {args:?} {var:?}: {ran:?}");
            if args == ["get"] {
                ran.password_for(HOST);
            } else {
                let said = "others may write to the directory of the symbolic link";
                assert_eq!(ran.stderr.contains(said), is_shared, "{case} {args:?}: {ran:?}");
            }
        }
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::removexattr(&shared, OF_FILE);
    }
    // A directory of this user's that others may have moved, with a link in it.
    let precious = renew("log", "precious");
    symlink(&own, dir(shared.join("private")).join("way")).expect("a link");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("a mode");
    let log = at("private/way/log");
    run_as_user(&["get"], &[("AWS_ECR_LOG", "debug"), ("AWS_ECR_LOG_FILE", &log)]).password_for(HOST);
    assert_eq!(fs::read_to_string(precious).expect("a file"), "precious", "it is no log");
}

/// Whether the file system has given a directory an access list.
#[cfg(target_os = "linux")]
fn has_set_list(dir: &Path, named: (u16, u16, u32), of_group: u16, mask: u16) -> bool {
    let list = access_list(named, of_group, mask);
    rustix::fs::setxattr(dir, OF_FILE, &list, rustix::fs::XattrFlags::empty()).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn has_set_list(_dir: &Path, _named: (u16, u16, u32), _of_group: u16, _mask: u16) -> bool {
    false
}

/// Everything else that is written replaces the file at its path, so that another one that was moved there keeps its content and mode.
#[test]
fn what_replaces_a_file_leaves_one_that_others_have_moved_there_as_it_is() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let shared = dir(helper.home().join("shared"));
    let kept = dir(helper.home().join("kept"));
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775)).expect("a mode");
    let helper = helper.var("DOCKER_CONFIG", shared.to_str().expect("UTF-8"));
    let output = shared.join("config.json").display().to_string();
    for args in [&["export", "--output", &output, HOST][..], &["setup", HOST], &["setup", "--remove", HOST]] {
        let text = if args[0] == "setup" { r#"{"credHelpers":{"other.example":"x"}}"# } else { "precious" };
        let text = if args.contains(&"--remove") { text.replace("other.example", HOST) } else { text.to_owned() };
        let text = text.replace("\"x\"", "\"ecr-login\"");
        let moved = helper.write_program("kept/deploy.sh", &text);
        fs::hard_link(&moved, &output).expect("the file, which its second name shows");
        let before = tree(&kept);
        assert_eq!(helper.run(args, "").code, Some(0), "{args:?}");
        assert_eq!(tree(&kept), before, "{args:?}");
        assert_ne!(fs::read_to_string(&output).expect("a file"), text, "{args:?}");
        fs::remove_file(&output).expect("a file");
    }
}

#[test]
fn no_token_is_cached_below_a_link_or_a_directory_of_another_user() {
    if needs_root("caches of others") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "warn").var("AWS_ECR_LOG_FILE", "~/log");
    let (own, theirs) = (dir(helper.home().join("own")), dir(helper.home().join("theirs")));
    let cache = dir(own.join("cache"));
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).expect("a mode");
    link_of_other(&own, &theirs.join("way"));
    give(&theirs);
    let before = (tree(&own), tree(&theirs));
    for path in ["~/theirs/way/cache", "~/theirs/way/new", "~/theirs/new"] {
        let mut command = helper.command();
        let doctor = crate::process::run(command.args(["doctor", HOST]).env("AWS_ECR_CACHE_DIR", path), "").stdout;
        let is_told = |line: &str| line.contains(" cache ") && !line.contains("ok ");
        assert!(doctor.lines().any(is_told) && doctor.contains("belongs to another user"), "{path}: {doctor}");
        let mut command = helper.command();
        let calls = aws.count();
        crate::process::run(command.arg("get").env("AWS_ECR_CACHE_DIR", path), HOST).password_for(HOST);
        assert_eq!(aws.count(), calls + 1);
        assert_eq!((tree(&own), tree(&theirs)), before, "{path}");
        let log = fs::read_to_string(helper.home().join("log")).expect("a log");
        assert!(log.contains("not cached") && log.contains("belongs to another user"), "{path}: {log}");
        fs::remove_file(helper.home().join("log")).expect("a log");
    }
}

#[test]
fn export_and_setup_refuse_what_another_user_has_put_behind_a_link_of_ones_own() {
    if needs_root("exports to others") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let (own, theirs) = (dir(helper.home().join("own")), dir(helper.home().join("theirs")));
    helper.write("own/config.json", "{}");
    helper.write("theirs/config.json", "{}");
    give(&theirs.join("config.json"));
    link_of_other(&own, &theirs.join("way"));
    symlink("config.json", theirs.join("root")).expect("a link of root");
    symlink(theirs.join("way/config.json"), own.join("behind")).expect("a link");
    symlink(theirs.join("config.json"), own.join("file")).expect("a link");
    symlink(theirs.join("way"), own.join("config")).expect("a link");
    give(&theirs);
    let before = (tree(&own), tree(&theirs));
    for path in ["own/behind", "own/file", "own/config/config.json", "theirs/root", "theirs/config.json"] {
        let ran = helper.run(&["export", "--output", helper.home().join(path).to_str().expect("UTF-8"), HOST], "");
        let why = if path == "theirs/root" { "others may write to the directory" } else { "belongs to another user" };
        assert!(complaint(&ran).contains(why), "{path}: {ran:?}");
        assert_eq!((tree(&own), tree(&theirs)), before, "{path}");
    }
    assert_eq!(aws.count(), 0, "it is refused before the request");
    let helper = helper.var("DOCKER_CONFIG", own.join("config").to_str().expect("UTF-8"));
    let ran = helper.run(&["setup", HOST], "");
    assert!(complaint(&ran).contains("belongs to another user"), "{ran:?}");
    assert_eq!((tree(&own), tree(&theirs)), before);
}

/// Another user could exchange every file in a directory of their own.
#[test]
fn nothing_is_written_into_a_directory_of_another_user() {
    if needs_root("directories of others") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let theirs = dir(helper.home().join("theirs"));
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o777)).expect("a mode");
    let kubelet = helper.write("theirs/kubelet.json", "{}");
    give(&kubelet);
    give(&theirs);
    let (theirs, before) = (theirs.display().to_string(), tree(&theirs));
    let expected =
        format!("the directory {theirs} belongs to another user, {}, who can run this command there", OTHER.0);
    let (output, pages) = (format!("{theirs}/new"), format!("{theirs}/pages/man"));
    let kubelet = kubelet.display().to_string();
    for args in [
        &["export", "--output", &output, HOST][..],
        &["export", "--output", &output, "--every", "1h", HOST],
        &["generate", &theirs],
        &["generate", &pages],
        &["setup", HOST],
        &["setup", "--kubelet", &kubelet],
    ] {
        for below in ["", "/.docker"] {
            let mut command = helper.command();
            command.args(args).env("DOCKER_CONFIG", format!("{theirs}{below}"));
            let ran = crate::process::run(&mut command, "");
            assert!(complaint(&ran).contains(&expected), "{args:?}: {ran:?}");
            assert_eq!(tree(Path::new(&theirs)), before, "{args:?}");
        }
    }
    assert_eq!(aws.count(), 0, "it is refused before the request");
    // A directory in which everybody may create files, and nobody may exchange those of others.
    let shared = dir(helper.home().join("shared"));
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).expect("a mode");
    helper.run(&["export", "--output", shared.join("new").to_str().expect("UTF-8"), HOST], "").silent();
}

/// In directories where others may create files: one of another user there is neither taken over nor replaced, nor removed.
#[test]
fn a_file_that_another_user_has_put_into_a_shared_directory_is_refused() {
    if needs_root("files of others") {
        return;
    }
    let helper = Helper::bare();
    let roles = "[profile dev]\nrole_arn = arn:aws:iam::222233334444:role/Dev\nsource_profile = keys\n\
                 [profile keys]\naws_access_key_id = a\naws_secret_access_key = b\n";
    helper.write(".aws/config", roles);
    let entry = format!(r#"{{"credHelpers":{{"{HOST}":"ecr-login"}}}}"#);
    let provider = r#"{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[]}"#;
    let shared = dir(helper.home().join("shared"));
    chown(&shared, Some(0), Some(OTHER.1)).expect("a group");
    let (at, dir) = (|name: &str| shared.join(name).display().to_string(), shared.display().to_string());
    let helper = helper.var("DOCKER_CONFIG", &dir).var("REGISTRY_AUTH_FILE", &at("auth.json"));
    for mode in [0o1777, 0o2775] {
        fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).expect("a mode");
        for (name, text, args) in [
            ("config.json", "{}", &["setup", HOST][..]),
            ("config.json", &entry, &["setup", "--remove", HOST]),
            ("auth.json", "{}", &["setup", "--podman", HOST]),
            ("auth.json", &entry, &["setup", "--podman", "--remove", HOST]),
            ("kubelet.json", provider, &["setup", "--kubelet", &at("kubelet.json")]),
            ("config.toml", "# mine", &["setup", "--profiles"]),
            ("docker-credential-ecr-login.1", "", &["generate", &dir]),
        ] {
            let file = helper.write(&format!("shared/{name}"), text);
            give(&file);
            let before = tree(&shared);
            let mut command = helper.command();
            command.args(args);
            if name == "config.toml" {
                command.env("AWS_ECR_CONFIG_FILE", &file);
            }
            let ran = crate::process::run(&mut command, "");
            let words = format!("it belongs to another user, {}; ", OTHER.0);
            assert!(complaint(&ran).contains(&words), "{args:?}: {ran:?}");
            assert_eq!(tree(&shared), before, "{args:?}");
            fs::remove_file(&file).expect("a file");
        }
    }
}

/// A container without root sees the machine's root, who owns /tmp, as a user from outside.
#[test]
fn a_sticky_directory_of_a_user_from_outside_a_container_takes_files() {
    if needs_root("user namespaces") {
        return;
    }
    let (aws, shared) = (Aws::start(), tempfile::tempdir().expect("a directory"));
    let (program, sticky) = (shared.path().join("docker-credential-ecr-login"), dir(shared.path().join("sticky")));
    crate::process::copy_program(&program);
    for (path, mode) in [(shared.path(), 0o755), (&sticky, 0o1777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let helper = Helper::of(&aws).var("AWS_ECR_DISABLE_CACHE", "1");
    let inside = |command: &[&str]| {
        let mut setpriv = helper.tool("setpriv");
        setpriv.args(["--reuid=1001", "--regid=1001", "--clear-groups", "unshare", "--map-root-user"]).args(command);
        crate::process::run(&mut setpriv, "")
    };
    if inside(&["true"]).code != Some(0) {
        return note("a container without root: ordinary users may not make user namespaces here");
    }
    let output = sticky.join("config.json");
    let program = program.display().to_string();
    inside(&[&program, "export", "--output", output.to_str().expect("UTF-8"), HOST]).silent();
    assert!(output.exists());
    // Of one that is not sticky, the owner is not the only one who could exchange the file.
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o777)).expect("a mode");
    let ran = inside(&[&program, "export", "--output", output.to_str().expect("UTF-8"), HOST]);
    assert!(complaint(&ran).contains("belongs to another user, 65534"), "{ran:?}");
}

#[test]
fn generate_creates_no_directory_behind_a_link_of_another_user() {
    if needs_root("links of others") {
        return;
    }
    let helper = Helper::bare();
    let (own, shared) = (dir(helper.home().join("own")), dir(helper.home().join("shared")));
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).expect("a mode");
    link_of_other(&own, &shared.join("man"));
    for path in ["man", "man/a", "man/a/b/c", "new/../man/a"] {
        let ran = helper.run(&["generate", shared.join(path).to_str().expect("UTF-8")], "");
        assert!(complaint(&ran).contains("man belongs to another user"), "{path}: {ran:?}");
        assert_eq!(tree(&own), BTreeMap::new(), "{path}");
    }
    // What it creates elsewhere is for everybody, like the pages themselves.
    let new = shared.join("a/b");
    helper.run(&["generate", new.to_str().expect("UTF-8")], "").silent();
    for made in tree(&shared.join("a")).into_keys().chain([shared.join("a")]) {
        let metadata = fs::metadata(&made).expect("metadata");
        let mode = if metadata.is_dir() { 0o755 } else { 0o644 };
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (0, mode), "{made:?}");
    }
}

/// Whoever swaps a directory for a link between two steps of the helper gets nothing written elsewhere.
#[test]
fn a_link_that_is_swapped_in_meanwhile_is_not_followed() {
    if needs_root("swapped links") {
        return;
    }
    let aws = Aws::start();
    let SudoE { helper, root: own } = SudoE::new(Helper::of(&aws));
    let theirs = helper.home().join("user");
    let precious = helper.write("root/config.json", "precious");
    let way = theirs.join("way");
    give(&dir(theirs.join("dir")));
    link_of_other(&own, &theirs.join("link"));
    symlink(theirs.join("dir"), &way).expect("a link");
    fs::remove_file(&way).expect("a link");
    fs::rename(theirs.join("dir"), &way).expect("a move");
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for (from, to) in [("way", "dir"), ("link", "way"), ("way", "link"), ("dir", "way")] {
                    fs::rename(theirs.join(from), theirs.join(to)).expect("a move");
                }
            }
        });
        let output = way.join("config.json").display().to_string();
        let mut written = 0;
        for _ in 0..100 {
            written += usize::from(helper.run(&["export", "--output", &output, HOST], "").code == Some(0));
        }
        ended.store(true, Ordering::Relaxed);
        assert!(written > 0, "the directory is there sometimes");
    });
    assert_eq!(fs::read_to_string(precious).expect("a file"), "precious");
    assert_eq!(fs::read_dir(own).expect("a directory").filter(|one| !is_cache(one)).count(), 1);
}

/// root's own cache.
fn is_cache(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().is_ok_and(|entry| entry.file_name() == ".cache")
}

/// Exchanges a directory of a user and a link, as fast as possible, until `work` has ended.
fn swapping(dirs: &Path, work: impl FnOnce()) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for _ in 0..2 {
                    let (way, link) = (dirs.join("way"), dirs.join("link"));
                    rustix::fs::renameat_with(CWD, way, CWD, link, RenameFlags::EXCHANGE).expect("an exchange");
                }
            }
        });
        let _end = End(&ended);
        work();
    });
}

/// Ends a thread, whatever happens.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What only root may read does not get into the file of the user who swaps the directory for a link to root's.
#[test]
fn setup_copies_nothing_that_it_read_through_a_link_that_is_swapped_in_meanwhile() {
    if needs_root("swapped links") {
        return;
    }
    let sudo = SudoE::new(Helper::bare());
    let secret = sudo.helper.write("root/config.json", "{\"secret\": 1}");
    let theirs = sudo.home();
    give(&dir(theirs.join("way")));
    link_of_other(&sudo.root, &theirs.join("link"));
    let helper = sudo.helper.var("DOCKER_CONFIG", theirs.join("way").to_str().expect("UTF-8"));
    swapping(&theirs, || {
        let done = (0..200).filter(|number| {
            let host = format!("{number:012}.dkr.ecr.us-east-1.amazonaws.com");
            helper.run(&["setup", &host], "").code == Some(0)
        });
        assert!(done.count() > 0, "the directory is there sometimes");
    });
    let text = fs::read_to_string(theirs.join("way/config.json")).expect("a file");
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(fs::read_to_string(secret).expect("a file"), "{\"secret\": 1}");
}

/// root with the environment of another user, whose home directory it is, and with a home directory of its own.
struct SudoE {
    helper: Helper,
    root: PathBuf,
}

impl SudoE {
    fn new(helper: Helper) -> Self {
        let root = dir(helper.home().join("root"));
        let passwd =
            helper.write("passwd", &format!("root:x:0:0::{}:/bin/sh\nuser:x:12345:1::/nowhere:\n", root.display()));
        let home = dir(helper.home().join("user"));
        give(&home);
        let users = Rc::new(Namespace::of_mounts(&format!("mount --bind {} /etc/passwd", passwd.display())));
        let helper = helper.inside(&users).var("AWS_EC2_METADATA_DISABLED", "true");
        let helper = helper.var("HOME", home.to_str().expect("UTF-8"));
        Self { helper, root }
    }

    fn home(&self) -> PathBuf {
        self.helper.home().join("user")
    }

    /// Writes a file of the user below the home directory.
    fn write(&self, path: &str, content: &str, mode: u32) -> PathBuf {
        let file = self.helper.write(&format!("user/{path}"), content);
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
        file.ancestors().take_while(|path| *path != self.home()).for_each(give);
        file
    }
}

#[test]
fn root_in_the_home_of_another_user_creates_nothing_there_and_hits() {
    if needs_root("root's own cache") {
        return;
    }
    let aws = Aws::start();
    for variable in ["", "XDG_CACHE_HOME"] {
        let SudoE { helper, root } = SudoE::new(Helper::without_registry(&aws));
        let home = helper.home().join("user");
        let caches = home.join("caches").display().to_string();
        let helper = helper.var("AWS_ECR_LOG_FILE", "~/log");
        let helper = if variable.is_empty() { helper } else { helper.var(variable, &caches) };
        let before = aws.count_of("ecr");
        for _ in 0..2 {
            helper.get(HOST).password_for(HOST);
        }
        let doctor = helper.run(&["doctor", "-v", HOST], "").stdout;
        let cache = root.join(".cache/docker-credential-ecr-login");
        assert!(doctor.contains(&format!("{}: a token", cache.display())), "{doctor}");
        let no_log = format!("no log is written to {}/log: its directory belongs to another user", home.display());
        assert!(doctor.contains(&no_log) && !doctor.contains("chmod"), "{doctor}");
        assert_eq!(aws.count_of("ecr"), before + 2, "one for the gets, and doctor's");
        assert_eq!((tree(&home), entries(&cache).len()), (BTreeMap::new(), 1));
    }
}

/// AWS's tools use them too, so `get` does.
#[test]
fn settings_that_another_user_has_put_into_a_shared_home_are_named_by_doctor() {
    const FILES: [&str; 3] = [".config/docker-credential-ecr-login/config.toml", ".aws/config", ".aws/credentials"];
    if needs_root("settings of others") {
        return;
    }
    for (mode, is_shared) in [(0o1777, true), (0o777, true), (0o770, true), (0o755, false)] {
        // Of a file alone, or with its directory.
        for with_dir in [false, true] {
            for file in FILES {
                let helper = Helper::bare();
                let path = helper.write(file, "");
                let dir = path.parent().expect("a directory");
                let open = if with_dir { helper.home() } else { dir };
                fs::set_permissions(open, fs::Permissions::from_mode(mode)).expect("a mode");
                path.ancestors().take_while(|dir| *dir != open).for_each(give);
                let said = helper.run(&["doctor", HOST], "").stdout;
                let finding = format!("{} belongs to another user, {}, ", path.display(), OTHER.0);
                let codes = said.matches("[W-SETTINGS-OWNER]").count();
                assert_eq!((said.contains(&finding), codes), (is_shared, usize::from(is_shared)), "{mode:o} {said}");
            }
        }
    }
}

#[test]
fn a_sign_in_that_root_renews_stays_its_users() {
    if needs_root("sign-ins of others") {
        return;
    }
    let aws = Aws::start();
    for linked in [false, true] {
        let sudo = SudoE::new(Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()));
        let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
        sudo.write(".aws/config", &format!("[default]\nsso_session = corp\n{SSO}{session}"), 0o644);
        // Made by the AWS CLI, for the path of another home.
        let soon = time::OffsetDateTime::now_utc() + time::Duration::minutes(2);
        let soon = soon.format(&time::format_description::well_known::Rfc3339).expect("a time");
        let made = sign_in(&sudo.helper, "corp", &soon);
        let text = fs::read_to_string(&made).expect("a sign-in");
        let name = made.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
        let file = sudo.write(&format!(".aws/sso/cache/{name}"), &text, 0o640);
        let victim = sudo.helper.write("root/victim", &text);
        if linked {
            fs::remove_file(&file).expect("a file");
            link_of_other(&victim, &file);
        }
        let before = tree(&sudo.home());
        sudo.helper.get(HOST).password_for(HOST);
        let metadata = fs::symlink_metadata(&file).expect("a file");
        assert_eq!((metadata.uid(), metadata.gid()), OTHER);
        assert_eq!(fs::read_to_string(&victim).expect("a file"), text, "no link of another user is followed");
        assert_eq!(tree(&sudo.home()).into_keys().collect::<Vec<_>>(), before.into_keys().collect::<Vec<_>>());
        if linked {
            assert_eq!(aws.count_of("sso-oidc"), 1, "a refresh token is not used up for nothing");
        } else {
            assert_eq!(metadata.mode() & 0o777, 0o640);
            assert_ne!(fs::read_to_string(&file).expect("a sign-in"), text, "it was renewed");
        }
    }
}

#[cfg(target_os = "linux")]
const OF_FILE: &str = "system.posix_acl_access";

/// Without the link, it would have been renewed.
#[test]
fn what_keeps_root_from_renewing_a_sign_in_of_another_user_is_said() {
    if needs_root("sign-ins of others") {
        return;
    }
    let aws = Aws::start();
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    for linked in [".aws/sso/cache/NAME", ".aws/sso/cache", ".aws/sso", ".aws"] {
        let sudo = SudoE::new(Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()));
        sudo.write(".aws/config", &format!("[default]\nsso_session = corp\n{SSO}{session}"), 0o644);
        let made = sign_in(&sudo.helper, "corp", "2020-01-01T00:00:00Z");
        let text = fs::read_to_string(&made).expect("a sign-in");
        let name = made.file_name().expect("a name").to_str().expect("UTF-8");
        let file = sudo.write(&format!(".aws/sso/cache/{name}"), &text, 0o600);
        let (link, elsewhere) = (sudo.home().join(linked.replace("NAME", name)), sudo.home().join("elsewhere"));
        fs::rename(&link, &elsewhere).expect("a move");
        link_of_other(&elsewhere, &link);
        let line = sudo.helper.get(HOST).error().to_owned();
        let cause = format!("is gone, and its file {} cannot be written to renew it: ", file.display());
        let link = format!("the symbolic link {} belongs to another user; run 'aws sso login ", link.display());
        for words in [&cause, &link, "[E-SSO-EXPIRED]"] {
            assert!(line.contains(words), "{linked}: {words} in {line}");
        }
    }
    assert_eq!(aws.count(), 0, "a refresh token is not used up for nothing");
}

/// The owner of the new file would be who renews it, and the group has no right to a file that it does not keep.
#[test]
fn a_sign_in_that_a_group_shares_is_renewed_by_who_signed_in_alone() {
    if needs_root("sign-ins of others") || missing(&["setpriv"]).is_some() {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_DISABLE_CACHE", "1");
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    helper.write(".aws/config", &format!("[default]\nsso_session = corp\n{SSO}{session}"));
    let copy = helper.home().join("copy");
    crate::process::copy_program(&copy);
    let (user, group) = (12346, OTHER.1);
    chown(helper.home(), Some(user), Some(user)).expect("an owner");
    let get_as = |user: u32| {
        let mut setpriv = helper.tool("setpriv");
        setpriv.args([format!("--reuid={user}"), format!("--regid={user}"), format!("--groups={group}")]);
        crate::process::run(setpriv.arg(&copy).arg("get"), HOST)
    };
    let soon = time::OffsetDateTime::now_utc() + time::Duration::minutes(2);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).expect("a time");
    for (owner_of_dir, owner) in [(OTHER.0, OTHER.0), (user, 0), (user, user)] {
        for expires_at in ["2020-01-01T00:00:00Z", &soon] {
            let file = sign_in(&helper, "corp", expires_at);
            let dir = file.parent().expect("a directory");
            for (path, owner, mode) in [(dir, owner_of_dir, 0o2770), (&file, owner, 0o660)] {
                chown(path, Some(owner), Some(group)).expect("an owner");
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
            }
            let (before, calls) = (tree(dir), aws.count_of("sso-oidc"));
            let ran = get_as(user);
            let is_renewed = owner == user;
            assert_eq!(aws.count_of("sso-oidc") - calls, usize::from(is_renewed), "{owner}, {expires_at}: {ran:?}");
            assert_eq!(tree(dir) == before, !is_renewed, "{owner}, {expires_at}: {ran:?}");
            if is_renewed || expires_at == soon {
                ran.password_for(HOST);
            } else {
                let line = ran.error();
                let cause = format!("its file {} cannot be written to renew it: it belongs to", file.display());
                let whose = format!("another user, {owner}; run 'aws sso login ");
                assert!(line.contains(&format!("{cause} {whose}")), "{line}");
            }
        }
    }
}

/// An access list in the form of the kernel (`linux/posix_acl_xattr.h`): the tag, the rights and the number of a named user or group,
/// the rights of the group of the file, and the mask.
#[cfg(target_os = "linux")]
fn access_list(named: (u16, u16, u32), of_group: u16, mask: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let mut entries = [(1, 7, NOBODY), named, (4, of_group, NOBODY), (0x10, mask, NOBODY), (0x20, 0, NOBODY)];
    entries.sort_unstable();
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, right, id) in entries {
        list.extend(u16::to_le_bytes(tag).into_iter().chain(right.to_le_bytes()).chain(id.to_le_bytes()));
    }
    list
}

#[cfg(target_os = "linux")]
#[test]
fn an_access_list_stays_with_the_file_that_is_replaced_and_none_is_inherited_from_the_directory() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let set = |path: &Path, name: &str, list: &[u8]| setxattr(path, name, list, XattrFlags::empty());
    // It grants a second user a right that the group has not.
    let access_list = |right| access_list((2, right, OTHER.0), 0, right);
    let state = |path: &Path| {
        let mut list = Vec::with_capacity(1024);
        let found = getxattr(path, OF_FILE, rustix::buffer::spare_capacity(&mut list));
        (found.map(|_| list), fs::metadata(path).expect("metadata").mode() & 0o777)
    };
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    helper.write(".aws/config", &format!("[default]\nsso_session = corp\n{SSO}{session}"));
    let soon = time::OffsetDateTime::now_utc() + time::Duration::minutes(2);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).expect("a time");
    let signed_in = || sign_in(&helper, "corp", &soon);
    let set_up = || helper.write(".docker/config.json", "{\"auths\": {}}");
    let cases: [(&dyn Fn() -> PathBuf, &[&str]); 2] = [(&signed_in, &["get"]), (&set_up, &["setup", HOST])];
    for (create, args) in cases {
        for (list, is_inherited) in [(Some(4), false), (None, true), (Some(4), true), (Some(6), true), (None, false)] {
            let path = create();
            let dir = path.parent().expect("a directory");
            let _ = rustix::fs::removexattr(dir, "system.posix_acl_default");
            fs::remove_file(&path).expect("a file");
            create();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
            if let Err(error) = list.map_or(Ok(()), |right| set(&path, OF_FILE, &access_list(right))) {
                return skip("access lists", &format!("the file system has none: {error}"));
            }
            if is_inherited {
                set(dir, "system.posix_acl_default", &access_list(7)).expect("a list");
            }
            let (before, content) = (state(&path), fs::read(&path).expect("a file"));
            assert_eq!(helper.run(args, HOST).code, Some(0), "{args:?}");
            assert_eq!(state(&path), before, "{args:?}, {list:?}, {is_inherited}");
            assert_ne!(fs::read(&path).expect("a file"), content, "it was replaced");
            assert_eq!(helper.run(&["logout", "--all"], "").code, Some(0));
        }
    }
    // Those of new files.
    let none = || Err(rustix::io::Errno::NODATA);
    set(helper.home(), "system.posix_acl_default", &access_list(7)).expect("a list");
    let [settings, password, pages] = ["new/config.json", "password", "man"].map(|name| helper.home().join(name));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let ran = crate::process::run(
        helper.command().args(["setup", HOST]).env("DOCKER_CONFIG", settings.parent().expect("a directory")),
        "",
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    helper.run(&["export", "--output", &text(&password), HOST], "").silent();
    helper.run(&["generate", &text(&pages)], "").silent();
    let log = helper.home().join("log");
    let ran = crate::process::run(helper.command().arg("get").env("AWS_ECR_LOG_FILE", &log), HOST);
    ran.password_for(HOST);
    let page = pages.join("docker-credential-ecr-login.1");
    for (path, mode) in [(settings.clone(), 0o600), (password, 0o600), (page, 0o644), (log, 0o600)] {
        assert_eq!(state(&path), (none(), mode), "{path:?}");
    }
    let cache = helper.cache_dir();
    let caches = cache.parent().expect("a directory").to_owned();
    for (dir, mode) in [(pages, 0o755), (settings.with_file_name(""), 0o700), (caches, 0o700), (cache, 0o700)] {
        let inherited = getxattr(&dir, "system.posix_acl_default", &mut [0; 1024]);
        assert_eq!((state(&dir), inherited), ((none(), mode), Err(rustix::io::Errno::NODATA)), "{dir:?}");
    }
}

#[test]
fn a_file_that_cannot_keep_its_group_or_owner_gives_nobody_else_their_rights() {
    if needs_root("a group that its user is not in") || missing(&["setpriv"]).is_some() {
        return;
    }
    let helper = Helper::bare();
    let copy = helper.home().join("copy");
    crate::process::copy_program(&copy);
    let (user, group) = (OTHER.0.to_string(), "12345");
    let cases = [
        ((OTHER.0, OTHER.1), 0o640, 0o600),
        ((OTHER.0, OTHER.1), 0o666, 0o600),
        ((0, OTHER.1), 0o644, 0o600),
        ((OTHER.0, 12345), 0o664, 0o664),
    ];
    for ((owner, of_group), mode, expected) in cases {
        let file = helper.write(".docker/config.json", "{\"a\": 1}");
        for dir in [helper.home(), &helper.home().join(".docker")] {
            chown(dir, Some(OTHER.0), Some(12345)).expect("an owner");
        }
        chown(&file, Some(owner), Some(of_group)).expect("an owner");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
        let mut setpriv = helper.tool("setpriv");
        setpriv.args(["--reuid", &user, "--regid", group, "--clear-groups"]).arg(&copy).args(["setup", HOST]);
        let ran = crate::process::run(&mut setpriv, "");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let metadata = fs::metadata(&file).expect("a file");
        let came = (metadata.uid(), metadata.gid(), metadata.mode() & 0o777);
        assert_eq!(came, (OTHER.0, 12345, expected), "{owner}, {of_group}, {mode:o}");
    }
}

/// Its directory would lock the user out.
#[test]
fn root_that_may_give_nothing_away_leaves_no_directory_in_the_home_of_another_user() {
    if needs_root("a home of another user") || missing(&["setpriv"]).is_some() {
        return;
    }
    let sudo = SudoE::new(Helper::bare());
    for args in [&["setup", HOST][..], &["setup", "--podman"]] {
        let mut setpriv = sudo.helper.tool("setpriv");
        setpriv.args(["--bounding-set", "-chown", "--inh-caps", "-chown"]).arg(program()).args(args);
        let ran = crate::process::run(&mut setpriv, "");
        assert_eq!(ran.code, Some(1), "{ran:?}");
        for dir in [".docker", ".config"] {
            assert!(!sudo.home().join(dir).exists(), "{args:?}: {dir}");
        }
    }
}

/// The group is none of the user namespace's, as in a container without root.
#[test]
fn a_file_whose_group_has_no_number_here_is_replaced_for_its_owner_alone() {
    if needs_root("a group that a user namespace lacks") || missing(&["unshare", "setpriv"]).is_some() {
        return;
    }
    let helper = Helper::bare();
    let copy = helper.home().join("copy");
    crate::process::copy_program(&copy);
    let file = helper.write(".docker/config.json", "{\"a\": 1}");
    for path in [helper.home(), &helper.home().join(".docker"), &file] {
        chown(path, Some(OTHER.0), Some(12345)).expect("an owner");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
    let (user, group) = (OTHER.0.to_string(), OTHER.1.to_string());
    let mut setpriv = helper.tool("setpriv");
    setpriv.args(["--reuid", &user, "--regid", &group, "--clear-groups", "unshare", "--user", "--map-root-user"]);
    let ran = crate::process::run(setpriv.arg(&copy).args(["setup", HOST]), "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fs::metadata(&file).expect("a file").mode() & 0o777, 0o600);
}

#[test]
fn what_root_sets_up_in_the_home_of_another_user_is_that_users() {
    if needs_root("settings of others") {
        return;
    }
    let sudo = SudoE::new(Helper::bare());
    let ran = sudo.helper.run(&["setup", HOST], "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let file = sudo.home().join(".docker/config.json");
    for (path, mode) in [(file.clone(), 0o600), (sudo.home().join(".docker"), 0o700)] {
        let metadata = fs::metadata(&path).expect("metadata");
        assert_eq!(((metadata.uid(), metadata.gid()), metadata.mode() & 0o777), (OTHER, mode), "{path:?}");
    }
    chown(&file, Some(12346), Some(54322)).expect("an owner");
    let before = tree(&sudo.home());
    assert!(complaint(&sudo.helper.run(&["setup", "--remove", HOST], "")).contains("another user, 12346"));
    assert_eq!(tree(&sudo.home()), before, "it is a third user's");
    give(&file);
    // In a directory of root, which another command under sudo may have made.
    chown(sudo.home().join(".docker"), Some(0), Some(0)).expect("an owner");
    assert_eq!(sudo.helper.run(&["setup", "--remove", HOST], "").code, Some(0));
    give(&sudo.home().join(".docker"));
    sudo.write(".docker/config.json", "{\"a\": 1}", 0o664);
    assert_eq!(sudo.helper.run(&["setup", HOST], "").code, Some(0));
    let metadata = fs::metadata(&file).expect("metadata");
    assert_eq!(((metadata.uid(), metadata.gid()), metadata.mode() & 0o777), (OTHER, 0o664));
}

#[test]
fn what_root_writes_below_its_home_is_that_of_the_user_whose_home_it_is() {
    if needs_root("homes of others") {
        return;
    }
    let aws = Aws::start();
    let sudo = SudoE::new(Helper::of(&aws));
    let at = |path: &str| sudo.home().join(path).display().to_string();
    let owner_and_mode = |path: &str| {
        let metadata = fs::symlink_metadata(path).expect("metadata");
        ((metadata.uid(), metadata.gid()), metadata.mode() & 0o777)
    };
    // As in a job of GitHub Actions in a container. The second time replaces a file of the user.
    for _ in 0..2 {
        sudo.helper.run(&["export", "--output", &at("password"), HOST], "").silent();
        assert_eq!(owner_and_mode(&at("password")), (OTHER, 0o600));
    }
    sudo.helper.run(&["generate", &at("a/man")], "").silent();
    for made in ["a", "a/man"] {
        assert_eq!(owner_and_mode(&at(made)), (OTHER, 0o755), "{made}");
    }
    assert_eq!(owner_and_mode(&at("a/man/docker-credential-ecr-login.1")), (OTHER, 0o644));
    // Directories of that user elsewhere, and of a third user below the home directory, are others'.
    let elsewhere = dir(sudo.helper.home().join("elsewhere"));
    give(&elsewhere);
    let third = dir(sudo.home().join("third"));
    chown(&third, Some(12346), Some(54322)).expect("an owner");
    link_of_other(&sudo.root, &sudo.home().join("link"));
    for path in [elsewhere.join("f"), third.join("f"), sudo.home().join("link/f"), sudo.home().join("../elsewhere/f")] {
        let ran = sudo.helper.run(&["export", "--output", path.to_str().expect("UTF-8"), HOST], "");
        assert!(complaint(&ran).contains("belongs to another user"), "{path:?}: {ran:?}");
        assert!(!path.exists(), "{path:?}");
    }
    let mut command = sudo.helper.command();
    let ran = crate::process::run(command.args(["setup", HOST]).env("DOCKER_CONFIG", &elsewhere), "");
    assert!(complaint(&ran).contains("belongs to another user"), "{ran:?}");
}

#[test]
fn setup_follows_no_link_of_the_user_whose_home_it_is() {
    if needs_root("links of others") {
        return;
    }
    let sudo = SudoE::new(Helper::bare());
    let file = sudo.write(".docker/config.json", "{}", 0o600);
    // A link of the user's could lead anywhere.
    let victim = sudo.helper.write("root/victim", "{}");
    fs::remove_file(&file).expect("a file");
    link_of_other(&victim, &file);
    assert!(complaint(&sudo.helper.run(&["setup", HOST], "")).contains("belongs to another user"));
    assert_eq!(fs::read_to_string(victim).expect("a file"), "{}");
}

#[test]
fn root_proposes_no_profiles_from_behind_a_link_of_another_user() {
    if needs_root("AWS files of others") {
        return;
    }
    let sudo = SudoE::new(Helper::bare());
    let profile = "[profile secret]\nrole_arn = arn:aws:iam::111122223333:role/R\nsource_profile = keys\n\
                   [profile keys]\naws_access_key_id = a\naws_secret_access_key = b\n";
    let victim = sudo.helper.write("root/victim", profile);
    let file = sudo.write(".aws/config", profile, 0o600);
    let shown = |path: &Path| {
        let ran = sudo.helper.run(&["setup", "--profiles", "--dry-run"], "");
        (ran.code, format!("{}{}", ran.stdout, ran.stderr).contains("secret"), path.is_symlink())
    };
    assert_eq!(shown(&file), (Some(0), true, false), "the user's own file");
    fs::remove_file(&file).expect("a file");
    link_of_other(&victim, &file);
    let refused = shown(&file);
    assert_ne!(refused.0, Some(0));
    assert!(!refused.1, "the link is not followed");
}

/// E.g. with the directory of the machine's user in a container for development. A fix that names setup would lead there and back.
#[test]
fn what_keeps_setup_from_a_file_is_what_doctor_says() {
    if needs_root("settings of others in root's home directory") {
        return;
    }
    let closed = "mkdir .docker; echo '{}' > .docker/config.json; chown -R 12345 .docker";
    let with =
        |members: &str| format!("mkdir .docker; echo '{{{members}}}' > .docker/config.json; chown -R 12345 .docker");
    let other = with(&format!(r#""credHelpers": {{"{HOST}": "gcloud"}}"#));
    let login = with(&format!(r#""auths": {{"{HOST}": {{"auth": "QVdTOmE="}}}}"#));
    let named = with(r#""credsStore": "docker-credential-ecr-login""#);
    let shared = "mkdir -m 777 shared; echo '{}' > shared/config.json; chown 12345 shared/config.json";
    let podmans = "mkdir .config; chown 12345 .config; ";
    for (world, config, args, doctor) in [
        (closed, "", &["setup", HOST][..], &["doctor", HOST][..]),
        (closed, "", &["setup", HOST], &["doctor"]),
        (&other, "", &["setup", "--force", HOST], &["doctor", HOST]),
        (&login, "", &["setup", "--remove-auths", HOST], &["doctor", HOST]),
        (&named, "", &["setup", HOST], &["doctor"]),
        ("mkdir theirs; chown 12345 theirs", "theirs/new/settings", &["setup", HOST], &["doctor", HOST]),
        ("mkdir theirs; chown 12345 theirs; ln -s theirs/new .docker", "", &["setup", HOST], &["doctor", HOST]),
        (shared, "shared", &["setup", HOST], &["doctor", HOST]),
        ("true", "$HOME/.docker", &["setup", HOST], &["doctor", HOST]),
        (podmans, "", &["setup", "--podman", HOST], &["doctor", HOST]),
        (podmans, "", &["setup", "--podman"], &["doctor"]),
    ] {
        let helper = Helper::bare();
        let path = helper.home().join("bin").display().to_string();
        let client = if args.contains(&"--podman") { "podman" } else { "docker" };
        helper.write_program(&format!("bin/{client}"), "#!/bin/sh\necho podman version 4.9.3\n");
        let run = |args: &[&str]| {
            let mut command = helper.command();
            command.args(args).env("PATH", &path).env("DOCKER_CONFIG", config).current_dir(helper.home());
            crate::process::run(&mut command, "")
        };
        let mut shell = helper.tool("sh");
        crate::process::run(shell.args(["-ec", world]).current_dir(helper.home()), "").silent();
        let foretold = run(&[args, &["--dry-run"]].concat());
        let ran = run(args);
        assert_eq!(complaint(&foretold), complaint(&ran), "{world}");
        let (cause, _) = complaint(&ran).rsplit_once(" [").expect("a code");
        let (cause, fix) = cause.strip_prefix("ecr-login: ").and_then(|text| text.split_once("; ")).expect("a fix");
        let said = run(doctor).stdout;
        assert!(said.contains(cause) && said.contains(fix), "{world}: {cause}; {fix} in {said}");
        assert!(!said.contains("ecr-login setup"), "{world}: {said}");
    }
}
