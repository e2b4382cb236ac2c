//! Faulty disks and other users: the pull works, one line in the log reports why the token is not cached, and no secret leaks. Each
//! test that injects a fault checks that the fault happened.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use time::macros::datetime;

use crate::HOST;
use crate::helper::{
    Helper, Ran, complaint, entries, instant, lacks_kernel, limit, make_older, many, program, set_times,
};
use crate::namespace::{Namespace, missing, skip};
use crate::process::{SOON, best_of_three, end, run, wait_until};
use crate::support::aws::{Aws, Plan};

/// Asserts that `get` works without caching the token, and logs one line about it with these words.
#[track_caller]
fn works_uncached(aws: &Aws, helper: &Helper, words: &[&str]) {
    let helper_log = helper.home().join("log");
    let before = aws.count();
    for _ in 0..2 {
        let _ = fs::remove_file(&helper_log);
        helper.get(HOST).password_for(HOST);
        let log = fs::read_to_string(&helper_log).expect("a log");
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("not cached")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        for word in words {
            assert!(lines[0].contains(word), "{word} in {log}");
        }
    }
    assert_eq!(aws.count(), before + 2);
}

fn logging(aws: &Aws) -> Helper {
    Helper::of(aws).var("AWS_ECR_LOG_FILE", "~/log").var("AWS_ECR_LOG", "warn")
}

fn needs_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(test, "mounts and other users need root");
    }
    !root
}

#[test]
fn full_and_read_only_disks() {
    if needs_root("full disk") {
        return;
    }
    let aws = Aws::start();
    let mount = tempfile::tempdir().expect("a directory");
    let at = mount.path().display();
    let namespace = std::rc::Rc::new(Namespace::of_mounts(&format!(
        "mkdir {at}/full {at}/fixed\nmount -t tmpfs -o size=16k tmpfs {at}/full\n\
         mount -t tmpfs -o ro tmpfs {at}/fixed\nmkdir -m 700 {at}/full/cache\n\
         ! head -c 1000000 /dev/zero > {at}/full/filler\n! touch {at}/fixed/x 2>/dev/null"
    )));
    // The setup of the namespace fails unless both writes fail.
    for (dir, words) in [("full/cache", "No space left"), ("fixed/cache", "Read-only file system")] {
        let helper = logging(&aws).inside(&namespace).var("AWS_ECR_CACHE_DIR", &format!("{at}/{dir}"));
        works_uncached(&aws, &helper, &[words, dir]);
    }
    let helper = Helper::of(&aws).inside(&namespace).var("DOCKER_CONFIG", &format!("{at}/full/docker"));
    for helper in [helper, Helper::of(&aws).inside(&namespace).var("DOCKER_CONFIG", &format!("{at}/full"))] {
        let ran = helper.run(&["setup", HOST], "");
        assert!(complaint(&ran).contains("No space left on device (os error 28); free space on its disk"), "{ran:?}");
    }
    // A home directory on a read-only file system.
    let home = format!("{at}/fixed");
    let helper = logging(&aws).inside(&namespace);
    let log = helper.home().join("log");
    let helper = helper.var("HOME", &home).var("AWS_ECR_LOG_FILE", log.to_str().expect("UTF-8"));
    works_uncached(&aws, &helper, &["Read-only file system"]);
}

/// Nobody can share a token that is not saved, so nobody waits for it.
#[test]
fn on_a_full_disk_all_ask_at_once() {
    if needs_root("many gets on a full disk") {
        return;
    }
    let aws = Aws::with(Plan { delay: Duration::from_secs(2), ..Plan::default() });
    let mount = tempfile::tempdir().expect("a directory");
    let at = mount.path().display();
    let namespace = std::rc::Rc::new(Namespace::of_mounts(&format!(
        "mount -t tmpfs -o size=4k,mode=700 tmpfs {at}\nhead -c 4096 /dev/zero > {at}/filler"
    )));
    let helper = Helper::of(&aws).inside(&namespace).var("AWS_EC2_METADATA_DISABLED", "true");
    let helper = helper.var("AWS_ECR_CACHE_DIR", &at.to_string()).var("AWS_ECR_TIMEOUT", "20s");
    for ran in many(&helper, 20, HOST).0 {
        ran.password_for(HOST);
    }
    assert_eq!(aws.count(), 20);
}

#[test]
fn no_home_and_no_cache_directory() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("HOME", "/dev/null");
    helper.get(HOST).password_for(HOST);
    let helper = logging(&aws);
    let log_here = helper.home().join("log");
    let helper = helper.var("HOME", "relative").var("AWS_ECR_LOG_FILE", log_here.to_str().expect("UTF-8"));
    works_uncached(&aws, &helper, &["no home directory", "AWS_ECR_CACHE_DIR"]);
}

/// What is longer than any path of the system is no reason to take long.
#[test]
fn a_path_of_a_hundred_thousand_bytes_is_refused_at_once() {
    let aws = Aws::start();
    for variable in ["HOME", "XDG_CONFIG_HOME", "AWS_ECR_CONFIG_FILE"] {
        let helper = Helper::of(&aws);
        let path = format!("{}{}", helper.home().display(), "/a".repeat(50_000));
        let ran = helper.var(variable, &path).get(HOST);
        assert!(ran.error().contains("E-CONFIG-INVALID"), "{variable}");
        assert!(ran.took < limit(Duration::from_secs(8)), "{variable}: {:?}", ran.took);
    }
}

#[test]
fn a_directory_that_vanishes_half_way() {
    let aws = Aws::with(Plan { delay: Duration::from_secs(1), ..Plan::default() });
    let helper = Helper::of(&aws);
    let child = helper.start(&["get"], HOST.as_bytes());
    wait_until("the program asks AWS", SOON, || aws.count() > 0);
    fs::remove_dir_all(helper.cache_dir()).expect("the directory was there");
    Ran::new(end(child), Duration::ZERO).password_for(HOST);
    // Who removes the cache removes what is being saved, too.
    assert!(helper.entries().is_empty());
    helper.get(HOST).password_for(HOST);
    helper.get(HOST).password_for(HOST);
    assert_eq!(aws.count(), 2, "it was made again");
}

/// Runs the program under strace, which injects `fault`, and returns the trace.
fn with_fault(helper: &Helper, fault: &str) -> (Ran, String) {
    helper.traced(HOST, &["-e", &format!("inject={fault}")])
}

#[test]
fn locks_that_are_not_supported_and_quotas() {
    if missing(&["strace"]).is_some() {
        return skip("injected faults", "strace is not installed");
    }
    let aws = Aws::start();
    for error in ["ENOLCK", "EOPNOTSUPP"] {
        let helper = logging(&aws);
        let before = aws.count();
        let (ran, trace) = with_fault(&helper, &format!("flock:error={error}"));
        ran.password_for(HOST);
        assert!(trace.contains("INJECTED"), "{trace}");
        // An entry is written whole without a lock, so the token is cached.
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), before + 1);
        assert_eq!(files_with(&helper, "lock"), Vec::<std::path::PathBuf>::new());
    }
    let helper = logging(&aws);
    let (ran, trace) = with_fault(&helper, "rename,renameat,renameat2:error=EDQUOT");
    ran.password_for(HOST);
    assert!(trace.contains("INJECTED"), "{trace}");
    let log = fs::read_to_string(helper.home().join("log")).expect("a log");
    assert!(log.contains("not cached") && log.contains("os error 122"), "{log}");
    assert!(helper.entries().is_empty());
    assert_eq!(files_with(&helper, "tmp"), Vec::<std::path::PathBuf>::new());
}

/// Locks whose check by path fails for good do not work there: no process waits for itself, with whatever time limit.
#[test]
fn a_lock_whose_path_cannot_be_checked_costs_the_cache_and_no_time() {
    let aws = Aws::start();
    // A path that the system takes step by step and not as a whole, and one that leaves no room for the name of a file.
    for length in [5000, 4050] {
        let helper = logging(&aws).var("AWS_ECR_TIMEOUT", "2");
        let mut dir = helper.home().display().to_string();
        while dir.len() < length {
            dir = format!("{dir}/{}", "b".repeat(200.min(length - dir.len() - 1).max(1)));
        }
        let helper = helper.var("AWS_ECR_CACHE_DIR", &dir);
        works_uncached(&aws, &helper, &["File name too long"]);
        assert_eq!(fs::read_dir(helper.home()).expect("the home").count(), 1, "{length}: nothing but the log is made");
    }
    if missing(&["strace"]).is_some() {
        return skip("a lock whose path cannot be checked", "strace is not installed");
    }
    let helper = Helper::of(&aws).var("AWS_ECR_TIMEOUT", "2");
    helper.get(HOST).password_for(HOST);
    let entry = helper.entries().pop().expect("an entry");
    for error in ["EIO", "EACCES", "ENAMETOOLONG"] {
        fs::remove_file(&entry).expect("it was there");
        let lock = entry.with_extension("lock");
        let fault = format!("inject=statx,newfstatat,lstat,stat:error={error}");
        let (ran, trace) = helper.traced(HOST, &["-P", lock.to_str().expect("UTF-8"), "-e", &fault]);
        ran.password_for(HOST);
        assert!(trace.contains("INJECTED"), "{trace}");
    }
}

/// The files of the cache with this extension.
fn files_with(helper: &Helper, extension: &str) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(helper.cache_dir()).into_iter().flatten().flatten().map(|file| file.path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == extension)).collect()
}

#[test]
fn memory_is_kept_out_of_core_dumps() {
    if missing(&["strace"]).is_some() {
        return skip("core dumps", "strace is not installed");
    }
    let (ran, trace) = Helper::of(&Aws::start()).traced(HOST, &[]);
    ran.password_for(HOST);
    assert!(trace.contains("PR_SET_DUMPABLE, SUID_DUMP_DISABLE"), "{trace}");
}

#[test]
fn nothing_waits_for_a_disk_that_is_slow_to_flush() {
    if missing(&["strace"]).is_some() {
        return skip("a slow disk", "strace is not installed");
    }
    let (ran, trace) = Helper::of(&Aws::start()).traced(HOST, &[]);
    ran.password_for(HOST);
    assert!(!trace.contains("fsync(") && !trace.contains("fdatasync("), "{trace}");
}

#[test]
fn entries_of_every_bad_kind_are_replaced() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let [path] = helper.entries().try_into().expect("one entry");
    let good = fs::read_to_string(&path).expect("an entry");
    let edit = |field: &str, value: serde_json::Value| {
        let mut entry: serde_json::Value = serde_json::from_str(&good).expect("JSON");
        match field {
            "username" | "password" => entry["token"][field] = value,
            _ => entry[field] = value,
        }
        entry.to_string()
    };
    let year_9999 = "9999-12-31T23:59:59Z";
    let cases = [
        String::new(),
        "garbage".to_owned(),
        "[".repeat(200_000),
        "{\"a\":".repeat(50_000),
        good[..good.len() - 1].to_owned(),
        format!("{good}{good}"),
        edit("format", 1.into()),
        edit("format", "1".into()),
        edit("expires_at", year_9999.into()),
        edit("expires_at", 0.into()),
        edit("expires_at", "1970-01-01T00:00:00Z".into()),
        edit("expires_at", "tomorrow".into()),
        edit("expires_at", "9999-12-31T23:59:59-23:59".into()),
        edit("created_at", year_9999.into()),
        edit("created_at", "0000-01-01T00:00:00+23:59".into()),
        edit("created_at", "2026-02-30T00:00:00Z".into()),
        edit("created_at", (-1).into()),
        edit("created_at", 1e300.into()),
        edit("expires_at", serde_json::Value::Null),
        edit("username", "".into()),
        edit("username", "<token>".into()),
        edit("password", "".into()),
        edit("password", 7.into()),
        edit("access_key", 1.into()),
        edit("key", "0".repeat(64).into()),
        edit("surplus", 1.into()),
    ];
    for bad in cases {
        fs::write(&path, &bad).expect("a write");
        let before = aws.count();
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), before + 1, "{bad:.60}");
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), before + 1, "replaced: {bad:.60}");
    }
}

#[test]
fn what_is_no_regular_file_or_has_gigabytes_is_no_entry() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let [path] = helper.entries().try_into().expect("one entry");
    for kind in ["gigabytes", "pipe", "directory"] {
        fs::remove_file(&path).expect("an entry");
        match kind {
            "gigabytes" => fs::File::create(&path).and_then(|file| file.set_len(8 << 30)).expect("a sparse file"),
            "pipe" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe"),
            _ => fs::create_dir(&path).expect("a directory"),
        }
        // The helper does not wait for a pipe, and does not read gigabytes.
        let ran = helper.get(HOST);
        ran.password_for(HOST);
        assert!(ran.took < Duration::from_secs(10), "{kind}: {:?}", ran.took);
    }
}

/// A directory cannot be replaced by a file. It goes if it is empty, and is moved aside if not, so that the cache works again.
#[test]
fn a_directory_in_the_place_of_a_file_of_the_cache_is_moved_aside() {
    let aws = Aws::start();
    for ending in ["json", "manifest", "failure", "lock"] {
        for content in ["", "thesis", "again"] {
            let helper = Helper::of(&aws);
            helper.get(HOST).password_for(HOST);
            helper.run(&["erase"], HOST).silent();
            let manifest = fs::read_dir(helper.cache_dir()).expect("a cache").flatten().map(|file| file.path());
            let manifest =
                manifest.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "manifest"));
            let manifest = manifest.expect("a manifest");
            let json: serde_json::Value = serde_json::from_slice(&fs::read(&manifest).expect("a file")).expect("JSON");
            let path = match ending {
                "manifest" => manifest,
                _ => helper.cache_dir().join(format!("{}.{ending}", json["entry"].as_str().expect("a key"))),
            };
            let _ = fs::remove_file(&path);
            fs::create_dir(&path).expect("a directory");
            if !content.is_empty() {
                fs::write(path.join(content), "precious").expect("a file");
            }
            let moved = path.with_extension(format!("{ending}.moved"));
            if content == "again" {
                fs::create_dir(&moved)
                    .and_then(|()| fs::write(moved.join("earlier"), "precious"))
                    .expect("a directory");
            }
            if ending == "failure" {
                aws.change(|plan| (plan.failures, plan.failure) = (1, (400, "AccessDeniedException", "not yet")));
                helper.get(HOST).error();
                helper.run(&["erase"], HOST).silent();
            }
            let before = aws.count();
            for _ in 0..2 {
                helper.get(HOST).password_for(HOST);
            }
            assert_eq!(aws.count(), before + 1, "{ending} {content}");
            assert!(!path.is_dir(), "{ending} {content}");
            let files = fs::read_dir(helper.cache_dir()).expect("a cache").flatten().map(|file| file.path());
            let aside = files.filter(|file| file.to_string_lossy().starts_with(&*moved.to_string_lossy()));
            let kept = aside.filter(|aside| aside.join(content).exists()).count();
            assert_eq!(kept, usize::from(!content.is_empty()), "{ending} {content}");
            assert_eq!(moved.join("earlier").exists(), content == "again", "{ending} {content}");
        }
    }
}

/// Everything else that is no file of this user is removed, and what a link leads to stays.
#[test]
fn a_pipe_a_socket_and_a_link_in_the_place_of_a_file_of_the_cache_are_removed() {
    let aws = Aws::start();
    for ending in ["json", "manifest", "lock", "failure"] {
        for kind in ["pipe", "socket", "link", "dangling link", "link to a device", "second name"] {
            let helper = Helper::of(&aws);
            helper.get(HOST).password_for(HOST);
            let entry = helper.entries().remove(0);
            let mut files = fs::read_dir(helper.cache_dir()).expect("a cache").flatten().map(|file| file.path());
            let manifest = files.find(|path| path.extension().is_some_and(|ending| ending == "manifest"));
            let path = if ending == "manifest" { manifest.expect("a manifest") } else { entry.with_extension(ending) };
            helper.run(&["erase"], HOST).silent();
            let target = helper.write("target", "precious");
            let squat = || {
                let _ = fs::remove_file(&path);
                match kind {
                    "pipe" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe"),
                    "socket" => {
                        let short = helper.home().join("s");
                        std::os::unix::net::UnixListener::bind(&short).expect("a socket");
                        fs::rename(short, &path).expect("a move");
                    }
                    "link" => symlink(&target, &path).expect("a link"),
                    "dangling link" => symlink("/nowhere/at/all", &path).expect("a link"),
                    "second name" => fs::hard_link(&target, &path).expect("a second name"),
                    _ => symlink("/dev/null", &path).expect("a link"),
                }
            };
            squat();
            if ending == "failure" {
                aws.change(|plan| (plan.failures, plan.failure) = (1, (400, "AccessDeniedException", "not yet")));
                helper.get(HOST).error();
                assert!(fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()), "{kind}");
                helper.run(&["erase"], HOST).silent();
            }
            let before = aws.count();
            for _ in 0..2 {
                helper.get(HOST).password_for(HOST);
            }
            assert_eq!(aws.count(), before + 1, "{ending}: {kind}");
            squat();
            assert_eq!(helper.run(&["logout", "--all"], "").code, Some(0), "{ending}: {kind}");
            assert!(fs::symlink_metadata(&path).is_err(), "logout leaves .{ending}: {kind}");
            assert_eq!(fs::read_to_string(target).expect("a file"), "precious");
        }
    }
}

#[test]
fn logout_from_all_removes_links_to_directories_and_empty_directories() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let entry = helper.entries().remove(0);
    let (link, empty, full) =
        (entry.with_extension("lock"), entry.with_extension("lock2"), entry.with_extension("failure"));
    symlink(helper.home(), &link).and_then(|()| fs::create_dir(&empty)).expect("a link");
    fs::create_dir_all(full.join("thesis")).expect("a directory");
    fs::create_dir_all(helper.cache_dir().join(".ecr-login-dir/thesis")).expect("a directory");
    assert_eq!(helper.run(&["logout", "--all"], "").code, Some(0));
    for path in [&link, &empty, &entry] {
        assert!(fs::symlink_metadata(path).is_err(), "{}", path.display());
    }
    assert!(full.join("thesis").exists());
}

/// A directory that the user names may hold other files, e.g. ones that are named by the SHA-256 of their content.
#[test]
fn files_of_others_in_the_directory_of_the_cache_stay_whatever_their_names() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let (hash, random) = ("a".repeat(64), "0".repeat(16));
    let ends = ["", ".tar.gz", ".pem", ".key", ".txt", ".json.bak", ".JSON", ".lock3", ".json.lock", ".failure~", ".d"];
    let mut names: Vec<String> = ends.iter().map(|end| format!("{hash}{end}")).collect();
    names.extend([
        format!(".ecr-login-{random}"),
        format!(".ecr-login-{random}.tmp.bak"),
        ".ecr-login-notes.tmp".to_owned(),
        ".ecr-login-".to_owned(),
        format!(".ecr-login-{hash}-{random}0.tmp"),
        format!(".ecr-login-{}-{random}.tmp", &hash[1..]),
    ]);
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(24 * 400);
    for name in &names {
        let path = helper.cache_dir().join(name);
        if path.extension() == Some("d".as_ref()) {
            // Empty, as one that is waiting for a file.
            fs::create_dir(path).expect("a directory");
        } else {
            fs::write(&path, "precious").expect("a file");
            fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(long_ago)).expect("a time");
        }
    }
    let gone = || names.iter().filter(|name| !helper.cache_dir().join(name).exists()).collect::<Vec<_>>();
    helper.run(&["erase"], HOST).silent();
    helper.get(HOST).password_for(HOST);
    assert_eq!(gone(), [""; 0], "a get that writes an entry");
    for args in [&["logout", HOST][..], &["logout", "--all"]] {
        assert_eq!(helper.run(args, "").code, Some(0), "{args:?}");
        assert_eq!(gone(), [""; 0], "{args:?}");
    }
    assert!(helper.entries().is_empty());
}

#[test]
fn two_hundred_thousand_foreign_files_delay_a_write_by_a_moment() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let count = if std::env::var_os("FULL").is_some() { 200_000 } else { 40_000 };
    for number in 0..count {
        fs::write(helper.cache_dir().join(format!("{number}.foreign")), "").expect("a file");
    }
    best_of_three(Duration::from_secs(1), || {
        helper.run(&["erase"], HOST).silent();
        let ran = helper.get(HOST);
        ran.password_for(HOST);
        ran.took
    });
}

#[test]
fn clocks_that_are_a_day_off_neither_serve_expired_tokens_nor_ask_each_time() {
    for ahead in [-86_400, 86_400] {
        let aws = Aws::with(Plan { ahead, ..Plan::default() });
        let helper = Helper::of(&aws);
        for _ in 0..3 {
            helper.get(HOST).password_for(HOST);
        }
        assert_eq!(aws.count(), 1, "AWS's clock is {ahead} s ahead");
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    // The entry was created tomorrow: the clock was set back afterwards.
    let path = helper.entries().remove(0);
    let mut entry: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("an entry")).expect("JSON");
    let day = Duration::from_hours(24);
    let (created, expires) = (instant(&entry["created_at"]) + day, instant(&entry["expires_at"]) + day);
    set_times(&mut entry, created, expires);
    fs::write(&path, entry.to_string()).expect("a write");
    for _ in 0..3 {
        helper.get(HOST).password_for(HOST);
    }
    assert_eq!(aws.count(), 2);
}

#[test]
fn what_others_could_have_written_is_ignored() {
    let aws = Aws::start();
    let helper = logging(&aws);
    helper.get(HOST).password_for(HOST);
    let dir = helper.cache_dir();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    for open in [0o770, 0o777, 0o720] {
        mode(&dir, open);
        works_uncached(&aws, &helper, &["not trusted", "chmod 700"]);
    }
    mode(&dir, 0o700);
    let elsewhere = helper.home().join("elsewhere");
    fs::rename(&dir, &elsewhere).expect("a move");
    symlink(&elsewhere, &dir).expect("a link");
    works_uncached(&aws, &helper, &["not trusted", "symbolic link"]);
    fs::remove_file(&dir).expect("the link");
    fs::rename(&elsewhere, &dir).expect("a move");
}

/// As on a volume that is not mounted.
#[test]
fn a_cache_behind_a_link_to_nowhere_is_said_by_doctor() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let dir = helper.cache_dir();
    let above = dir.parent().expect("a directory");
    for target in [Path::new("gone"), above] {
        let _ = fs::remove_file(above);
        symlink(target, above).expect("a link");
        let report = helper.run(&["doctor"], "").stdout;
        let words = format!("the symbolic link {} leads nowhere", above.display());
        assert!(report.contains("every get calls AWS") && report.contains(&words), "{report}");
        assert!(report.contains("fix: mount or create what it leads to"), "{report}");
        let said = complaint(&helper.run(&["logout", "--all"], "")).to_owned();
        assert!(said.contains(&words) && said.contains("or remove it"), "{said}");
    }
}

/// Their tokens are served again once it can be trusted.
#[test]
fn a_cache_that_cannot_be_trusted_or_read_is_no_empty_one_for_who_logs_out() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let (dir, elsewhere) = (helper.cache_dir(), helper.home().join("elsewhere"));
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    let fails = |words: &[&str]| {
        for args in [&["logout", HOST][..], &["logout", "--all"], &["cache"], &["erase"]] {
            let ran = helper.run(args, HOST);
            let line = if args == ["erase"] { ran.error() } else { complaint(&ran) };
            assert!(words.iter().all(|word| line.contains(word)), "{args:?}: {ran:?}");
            let code = if args == ["cache"] { "W-CACHE-UNUSED" } else { "E-CACHE-NOT-CLEARED" };
            assert!(line.contains(code), "{args:?}: {ran:?}");
        }
    };
    mode(&dir, 0o777);
    fails(&["not trusted", "chmod 700"]);
    mode(&dir, 0o700);
    fs::rename(&dir, &elsewhere).expect("a move");
    symlink(&elsewhere, &dir).expect("a link");
    fails(&["not trusted", "symbolic link"]);
    fs::remove_file(&dir).and_then(|()| fs::rename(&elsewhere, &dir)).expect("a move");
    assert_eq!(helper.entries().len(), 1);
    // On a volume that is not mounted.
    let above = dir.parent().expect("a directory");
    fs::rename(above, &elsewhere).and_then(|()| symlink("gone", above)).expect("a link");
    fails(&[&format!("the symbolic link {} leads nowhere", above.display())]);
    fs::remove_file(above).and_then(|()| fs::rename(&elsewhere, above)).expect("a move");
    assert_eq!(helper.entries().len(), 1);
    // One that is not read by its mode is gone with those of the host.
    let path = helper.entries().remove(0);
    mode(&path, 0o644);
    helper.run(&["logout", HOST], "");
    assert_eq!(helper.entries(), Vec::<std::path::PathBuf>::new());
    helper.get(HOST).password_for(HOST);
    assert_eq!(aws.count(), 2);
}

#[test]
fn an_entry_that_others_may_read_is_replaced() {
    let aws = Aws::start();
    let helper = logging(&aws);
    helper.get(HOST).password_for(HOST);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    let path = helper.entries().remove(0);
    for open in [0o644, 0o660, 0o602] {
        mode(&path, open);
        let before = aws.count();
        helper.get(HOST).password_for(HOST);
        assert_eq!((aws.count(), fs::metadata(&path).expect("an entry").mode() & 0o777), (before + 1, 0o600));
    }
}

#[test]
fn links_instead_of_entries_locks_and_logs_are_not_followed() {
    let aws = Aws::start();
    let helper = logging(&aws);
    helper.get(HOST).password_for(HOST);
    let path = helper.entries().remove(0);
    let target = helper.write("target", "precious");
    for ending in ["json", "lock"] {
        helper.run(&["erase"], HOST).silent();
        let link = path.with_extension(ending);
        let _ = fs::remove_file(&link);
        symlink(&target, &link).expect("a link");
        helper.get(HOST).password_for(HOST);
        assert_eq!(fs::read_to_string(&target).expect("a file"), "precious");
        let _ = fs::remove_file(path.with_extension("lock"));
    }
    let log = fs::read_to_string(helper.home().join("log")).expect("a log");
    assert!(log.contains("cannot be read") && log.contains("it is a symbolic link"), "{log}");
    // The log is not written through a link either.
    let linked = Helper::of(&aws).var("AWS_ECR_LOG_FILE", "~/link").var("AWS_ECR_LOG", "trace");
    let target = linked.write("target", "precious");
    symlink(&target, linked.home().join("link")).expect("a link");
    linked.get(HOST).password_for(HOST);
    assert_eq!(fs::read_to_string(target).expect("a file"), "precious");
}

#[test]
fn modes_hold_under_any_umask() {
    let aws = Aws::start();
    let is_root = nix::unistd::geteuid().is_root();
    // root may enter a directory whatever its mode.
    let users = if is_root && missing(&["setpriv"]).is_none() { &[0, 65534][..] } else { &[0] };
    let umasks = ["0000", "0022", "0177", "0277", "0477", "0777"];
    for (umask, user) in umasks.iter().flat_map(|umask| users.iter().map(move |user| (umask, *user))) {
        let helper = Helper::of(&aws);
        let copy = helper.home().join("copy");
        crate::process::copy_program(&copy);
        let mut command = helper.tool("sh");
        if user > 0 {
            chown(helper.home(), Some(user), Some(user)).expect("an owner");
            command = helper.tool("setpriv");
            let id = user.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "sh"]);
        }
        let script = format!("umask {umask}; cd; ./copy get && ./copy setup {HOST} >&2 && ./copy generate a/man");
        let ran = run(command.args(["-c", &script]), HOST);
        assert!(ran.code == Some(0) && ran.stdout.contains("AKIAEXAMPLE"), "{umask} {user}: {ran:?}");
        let mode = |path: &Path| fs::metadata(path).expect("metadata").mode() & 0o777;
        for (dir, expected) in [(".cache", 0o700), (".docker", 0o700), ("a", 0o755), ("a/man", 0o755)] {
            assert_eq!(mode(&helper.home().join(dir)), expected, "{umask} {user}: {dir}");
        }
        assert_eq!(mode(&helper.cache_dir()), 0o700, "{umask} {user}");
        for file in fs::read_dir(helper.cache_dir()).expect("a cache").flatten() {
            assert_eq!(mode(&file.path()), 0o600, "{umask} {user} {file:?}");
        }
        assert_eq!(helper.entries().len(), 1, "{umask} {user}");
    }
}

#[test]
fn two_users_of_one_directory_get_nothing_of_each_other() {
    if needs_root("two users") {
        return;
    }
    let aws = Aws::start();
    let shared = tempfile::tempdir().expect("a directory");
    let copy = shared.path().join("docker-credential-ecr-login");
    crate::process::copy_program(&copy);
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    for (name, mode) in [("private", 0o700), ("open", 0o1777)] {
        let cache = shared.path().join(name);
        fs::create_dir(&cache).expect("a directory");
        fs::set_permissions(&cache, fs::Permissions::from_mode(mode)).expect("a mode");
        let before = aws.count();
        let mut passwords = Vec::new();
        let helper = Helper::of(&aws).var("AWS_ECR_CACHE_DIR", cache.to_str().expect("UTF-8"));
        for user in ["0", "65534", "0", "65534"] {
            let mut command = helper.tool("setpriv");
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(&copy).arg("get");
            passwords.push(run(&mut command, HOST).password_for(HOST));
        }
        let calls = aws.count() - before;
        if name == "private" {
            assert_eq!((calls, passwords[0] == passwords[2]), (3, true), "the owner's is cached, the other's is not");
        } else {
            assert_eq!(calls, 4, "nobody trusts a directory that all may write to");
        }
        assert!(passwords[0] != passwords[1] && passwords[1] != passwords[3]);
    }
}

#[test]
fn ten_thousand_expired_entries_cost_a_hit_nothing_and_are_pruned_by_some_hundred_writes() {
    if lacks_kernel("system calls of a hit among many entries") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let good = fs::read_to_string(helper.entries().remove(0)).expect("an entry");
    let mut entry: serde_json::Value = serde_json::from_str(&good).expect("JSON");
    set_times(&mut entry, datetime!(2020-09-13 12:00 UTC), datetime!(2020-09-14 00:00 UTC));
    for number in 0..10_000_u32 {
        let name = format!("{:064x}", u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        entry["key"] = name.clone().into();
        for (ending, content) in [("json", entry.to_string()), ("lock", String::new())] {
            let path = helper.cache_dir().join(format!("{name}.{ending}"));
            fs::write(&path, content).expect("a write");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        }
    }
    if missing(&["strace"]).is_some() {
        skip("a hit among ten thousand entries", "strace is not installed");
    } else {
        let small = Helper::of(&aws);
        small.get(HOST).password_for(HOST);
        let calls = |helper: &Helper| with_fault(helper, "sync:delay_enter=1").1.lines().count();
        assert_eq!(calls(&helper), calls(&small), "system calls of a hit");
    }
    let mut writes = 0;
    while entries(&helper.cache_dir()).len() > writes + 1 {
        writes += 1;
        // Each write has a limit on time for it, in which a busy machine does less.
        assert!(writes <= 800, "{} are left", entries(&helper.cache_dir()).len());
        run(helper.command().arg("get").env("AWS_ACCESS_KEY_ID", format!("AKIA{writes}")), HOST).password_for(HOST);
    }
    let files = fs::read_dir(helper.cache_dir()).expect("a cache").count();
    assert!(files <= 3 * (writes + 1), "the locks are gone too: {files} files");
}

#[test]
fn temporary_files_of_killed_processes_go_once_they_are_old() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    let [old, new] = ["0", "1"].map(|digit| helper.cache_dir().join(format!(".ecr-login-{}.tmp", digit.repeat(16))));
    for path in [&old, &new] {
        fs::write(path, "half").expect("a write");
    }
    let then = std::time::SystemTime::now() - Duration::from_hours(3);
    fs::File::options().write(true).open(&old).and_then(|file| file.set_modified(then)).expect("a time");
    helper.run(&["erase"], HOST).silent();
    helper.get(HOST).password_for(HOST);
    assert!(!old.exists() && new.exists(), "a new one may still be in use");
}

/// One that began later may still be in use, and so may one of a key whose lock is held.
#[test]
fn a_save_removes_the_temporary_files_of_processes_that_were_killed() {
    let aws = Aws::with(Plan { delay: Duration::from_mins(10), ..Plan::default() });
    let helper = Helper::of(&aws);
    for count in 1..=3 {
        let mut child = helper.start(&["get"], HOST.as_bytes());
        wait_until("the program asks AWS", SOON, || aws.count() == count);
        child.kill().and_then(|()| child.wait()).expect("an end");
    }
    assert_eq!(files_with(&helper, "tmp").len(), 3);
    aws.change(|plan| plan.delay = Duration::ZERO);
    let of_key = |digit: &str, age: Duration| {
        let path = helper.cache_dir().join(format!(".ecr-login-{}-{}.tmp", digit.repeat(64), "0".repeat(16)));
        fs::write(&path, "half").expect("a write");
        let then = std::time::SystemTime::now() - age;
        fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(then)).expect("a time");
        path
    };
    let (old, new, held) =
        (of_key("a", Duration::from_mins(5)), of_key("b", Duration::from_secs(5)), of_key("c", Duration::from_mins(5)));
    let lock = helper.cache_dir().join(format!("{}.lock", "c".repeat(64)));
    let lock = fs::File::create(lock).expect("a file");
    lock.set_permissions(fs::Permissions::from_mode(0o600))
        .and_then(|()| lock.try_lock().map_err(Into::into))
        .expect("a lock");
    helper.get(HOST).password_for(HOST);
    assert!(!old.exists() && new.exists() && held.exists());
    assert_eq!(files_with(&helper, "tmp").len(), 2);
    assert_eq!(files_with(&helper, "lock").len(), 1, "the one that is held");
}

#[test]
fn the_log_stays_below_a_bound() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "debug").var("AWS_ECR_LOG_FILE", "~/log");
    let path = helper.write("log", &"x".repeat(3 << 20));
    for _ in 0..3 {
        helper.get(HOST).password_for(HOST);
    }
    assert!(fs::metadata(&path).expect("a log").len() < 1 << 20);
    assert_eq!(fs::metadata(helper.home().join("log.old")).expect("the one before").len(), 3 << 20);
}

/// With too few file descriptors a refresh fails, and the valid token is served.
#[test]
fn a_valid_token_is_served_whatever_its_refresh_runs_into() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let password = helper.get(HOST).password_for(HOST);
    for files in 5..14 {
        make_older(&helper, Duration::from_hours(7));
        let script = format!("ulimit -n {files}; exec \"$@\"");
        let output = helper.under("sh", &["-c", &script, "sh"], &[], HOST);
        let ran = Ran::new(output, Duration::ZERO);
        assert_eq!(ran.code, Some(0), "{files} files: {ran:?}");
        // The refresh may also have succeeded.
        let answer: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one answer");
        assert!(answer["Secret"].as_str().is_some_and(|secret| secret.starts_with("AKIAEXAMPLE")), "{ran:?}");
    }
    assert!(password.starts_with("AKIAEXAMPLE"));
}

/// Asks for a token, and makes the cache read-only.
fn with_read_only_cache(helper: Helper) -> Helper {
    helper.get(HOST).password_for(HOST);
    let dir = helper.cache_dir();
    let at = dir.display();
    let namespace =
        std::rc::Rc::new(Namespace::of_mounts(&format!("mount --bind {at} {at}\nmount -o remount,ro,bind {at}")));
    helper.inside(&namespace).var("AWS_EC2_METADATA_DISABLED", "true")
}

/// E.g. as a volume of a container. The service gives each refresh token one successor, and no token is requested in vain.
#[test]
fn a_file_that_is_a_mount_point_cannot_be_replaced_which_is_said_before_anything_is_lost() {
    if needs_root("files that are mount points") {
        return;
    }
    let aws = Aws::start();
    for (expires_in, args, file) in [
        (2, &["get"][..], ""),
        (-2, &["get"], ""),
        (2, &["setup", HOST], ".docker/config.json"),
        (2, &["setup", "--kubelet", "~/kubelet.json"], "kubelet.json"),
        (2, &["export", "--output", "~/password", HOST], "password"),
        (2, &["generate", "~/man"], "man/docker-credential-ecr-login.1"),
    ] {
        let helper = logging(&aws).without_keys();
        let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
        helper.write(".aws/config", &format!("[default]\nsso_session = corp\n{}{session}", crate::issuers::SSO));
        let until = time::OffsetDateTime::now_utc() + time::Duration::minutes(expires_in);
        let until = until.format(&time::format_description::well_known::Rfc3339).expect("a time");
        let sign_in = crate::issuers::sign_in(&helper, "corp", &until);
        let old = if args.contains(&"--kubelet") { "" } else { "{}" };
        let mounted = if file.is_empty() { sign_in } else { helper.write(file, old) };
        let (at, before) = (mounted.display(), fs::read_to_string(&mounted).expect("a file"));
        let namespace = std::rc::Rc::new(Namespace::of_mounts(&format!("mount --bind {at} {at}")));
        let helper = helper.inside(&namespace).var("AWS_EC2_METADATA_DISABLED", "true");
        let calls = aws.count();
        let ran = helper.run(args, HOST);
        let words = "it is a mount point by itself";
        if file.is_empty() {
            let log = fs::read_to_string(helper.home().join("log")).expect("a log");
            let line = log.lines().find(|line| line.contains("not renewed")).unwrap_or_default();
            assert!(line.contains(words), "{expires_in}: {log}");
            if expires_in > 0 {
                ran.password_for(HOST);
            } else {
                assert!(ran.error().contains("aws sso login"), "{ran:?}");
            }
            assert_eq!(aws.count_of("sso-oidc"), 0, "{expires_in}");
        } else {
            let said = complaint(&ran).lines().last().expect("a line");
            assert!(said.contains(words) && said.contains("mount its directory instead"), "{args:?}: {ran:?}");
            assert_eq!(aws.count(), calls, "{args:?}");
            if args[0] == "setup" {
                assert!(complaint(&helper.run(&[args, &["--dry-run"]].concat(), "")).ends_with(said), "{args:?}");
            }
            let said = helper.run(&["doctor", HOST], "").stdout;
            assert!(
                args[0] != "setup"
                    || args[1] != HOST
                    || said.contains(words) && !said.contains(&format!("setup {HOST}")),
                "{said}"
            );
        }
        assert_eq!(fs::read_to_string(&mounted).expect("a file"), before, "{args:?}");
    }
}

/// Of several files, none is changed then.
#[test]
fn settings_on_a_read_only_file_system_stay_as_they_are_which_a_dry_run_says_too() {
    if needs_root("settings on a read-only file system") {
        return;
    }
    let entry = format!(r#"{{"credHelpers": {{"{HOST}": "ecr-login"}}}}"#);
    let docker = &[".docker/config.json"][..];
    let podman = &[".config/containers/auth.json", "run/containers/auth.json"][..];
    for (files, read_only, args) in [
        (docker, "", &["--remove"][..]),
        (docker, ".docker", &["--remove", HOST]),
        (docker, ".docker", &["111122223333.dkr.ecr.eu-west-1.amazonaws.com"]),
        (&[], "", &[HOST]),
        (&[], "", &["--podman"]),
        (&[], "", &["--podman", HOST]),
        (podman, "run", &["--podman", "--remove", HOST]),
    ] {
        let helper = Helper::bare();
        let files: Vec<_> = files.iter().map(|file| helper.write(file, &entry)).collect();
        let at = helper.home().join(read_only).display().to_string();
        let runtime = helper.home().join("run").display().to_string();
        let mount = format!("mount --bind {at} {at}\nmount -o remount,ro,bind {at}");
        let helper = helper.inside(&std::rc::Rc::new(Namespace::of_mounts(&mount))).var("XDG_RUNTIME_DIR", &runtime);
        let [foretold, ran] =
            [&["--dry-run"][..], &[]].map(|dry_run| helper.run(&[&["setup"], args, dry_run].concat(), ""));
        assert_eq!(complaint(&foretold), complaint(&ran), "{args:?}");
        assert!(complaint(&ran).contains("Read-only file system"), "{args:?}: {ran:?}");
        for file in files {
            assert_eq!(fs::read_to_string(&file).expect("a file"), entry, "{args:?}: {}", file.display());
        }
    }
}

/// No other token will be there when it expires.
#[test]
fn a_cache_that_cannot_be_written_does_not_keep_a_token_from_its_refresh_until_it_expires() {
    if needs_root("a refresh beside a cache that cannot be written") {
        return;
    }
    let aws = Aws::start();
    let helper = with_read_only_cache(Helper::of(&aws)).var("AWS_MAX_ATTEMPTS", "1");
    make_older(&helper, Duration::from_mins(11 * 60 + 30));
    for number in [2, 3] {
        assert!(helper.get(HOST).password_for(HOST).ends_with(&format!(".{number}")), "each get asks");
    }
    aws.change(|plan| (plan.failures, plan.failure) = (usize::MAX, (500, "InternalFailure", "later")));
    assert!(helper.get(HOST).password_for(HOST).ends_with(".1"));
    aws.change(|plan| plan.failure = (400, "AccessDeniedException", "not any more"));
    assert!(helper.get(HOST).error().contains("AccessDeniedException"));
}

/// A read-only cache cannot record that a refresh failed. Until the last tenth of its life, the token is served without a try each time.
#[test]
fn a_cache_that_cannot_be_written_costs_a_valid_token_no_wait() {
    if !nix::unistd::geteuid().is_root() {
        return skip("a cache that cannot be written", "mounts need root");
    }
    let aws = Aws::start();
    let helper = with_read_only_cache(Helper::of(&aws));
    let report = helper.run(&["doctor"], "").stdout;
    assert!(report.contains("not written to, so every get calls AWS once the token in it has expired"), "{report}");
    make_older(&helper, Duration::from_hours(7));
    aws.change(|plan| plan.delay = Duration::from_mins(10));
    // Each refresh would delay the token by a second and a half.
    best_of_three(Duration::from_secs(5), || {
        let started = Instant::now();
        for _ in 0..5 {
            helper.get(HOST).password_for(HOST);
        }
        started.elapsed()
    });
}

#[test]
fn a_limit_on_the_size_of_files_costs_the_cache_and_not_the_pull() {
    if lacks_kernel("a limit on the size of files") {
        return;
    }
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let limited = |helper: &Helper| {
        Ran::new(helper.under("sh", &["-c", "ulimit -f 0; exec \"$@\"", "sh"], &[], HOST), Duration::ZERO)
    };
    limited(&helper).password_for(HOST);
    assert!(helper.entries().is_empty());
    // A log file at the limit does not fail a hit.
    helper.get(HOST).password_for(HOST);
    let log = helper.write("log", &"x".repeat(4096));
    let helper = helper.var("AWS_ECR_LOG_FILE", log.to_str().expect("UTF-8")).var("AWS_ECR_LOG", "debug");
    let ran = limited(&helper);
    assert!(ran.code == Some(0) && ran.stdout.contains("AKIAEXAMPLE"), "{ran:?}");
    // The commands for people say what they could not write.
    let helper = Helper::of(&aws).var("HTTPS_PROXY", "http://127.0.0.1:1");
    let pages = helper.home().join("pages").display().to_string();
    fs::create_dir(&pages).expect("a directory");
    let config = helper.home().join("c.json").display().to_string();
    for command in [
        &["login", HOST][..],
        &["setup", HOST],
        &["doctor", HOST],
        &["generate", &pages],
        &["export", "--output", &config, HOST],
        &["logout", HOST],
        &["cache"],
    ] {
        let mut shell = helper.tool("sh");
        shell.args(["-c", "ulimit -f 0; exec \"$@\"", "sh"]).arg(program()).args(command);
        let ran = run(&mut shell, "");
        assert!(ran.code.is_some() && !format!("{}{}", ran.stdout, ran.stderr).is_empty(), "{command:?}: {ran:?}");
    }
}
