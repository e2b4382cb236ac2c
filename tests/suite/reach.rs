//! Files that are there and that this user cannot reach or read: those of another user, and those in a directory that is closed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::HOST;
use crate::helper::{Helper, Ran};
use crate::issuers::{LOGIN, SSO, log_in, sign_in};
use crate::settings::{keys, on_an_instance, who};
use crate::support::aws::Aws;

/// A user that is not root.
const SOMEBODY: u32 = 12345;

/// The helper as it is run by that user, and a directory for files, below which the user has a home.
struct AsSomebody {
    helper: Helper,
    dir: tempfile::TempDir,
}

impl AsSomebody {
    /// `None` where the tests are not root's.
    fn new(helper: Helper) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            crate::namespace::skip("files out of reach", "being another user needs root");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        crate::process::copy_program(dir.path().join("program"));
        let somebody = Self { helper, dir };
        for own in ["home", "cache"] {
            let path = somebody.dir(own, 0o700);
            chown(path, Some(SOMEBODY), Some(SOMEBODY)).expect("an owner");
        }
        Some(somebody)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn dir(&self, below: &str, mode: u32) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(&path).expect("a directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        path
    }

    fn write(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, text).expect("a file");
        path
    }

    fn run(&self, args: &[&str], vars: &[(&str, &Path)]) -> Ran {
        let mut command = self.helper.tool(self.path("program"));
        command.args(args).env("HOME", self.path("home")).env("AWS_ECR_CACHE_DIR", self.path("cache"));
        command.envs(vars.iter().copied()).current_dir("/").uid(SOMEBODY).gid(SOMEBODY);
        crate::process::run(&mut command, HOST)
    }
}

#[test]
fn what_a_setting_names_in_a_directory_that_is_closed_is_no_absent_file() {
    let aws = Aws::start();
    let Some(somebody) = AsSomebody::new(on_an_instance(&aws)) else { return };
    let closed = somebody.dir("closed", 0o700);
    let role = Path::new("arn:aws:iam::111122223333:role/R");
    let url = aws.url() + "/v1/credentials";
    for below in ["file", ".aws/file", "a/b/c/file"] {
        let file = somebody.write(&format!("closed/{below}"), &format!("[default]\n{}", keys("AKIACLOSED")));
        let linked = somebody.path(&format!("link-{}", below.len()));
        symlink(file.parent().expect("a directory"), &linked).expect("a link");
        for (code, vars) in [
            ("E-AWS-FILE-INVALID", &[("AWS_CONFIG_FILE", &*file)][..]),
            ("E-AWS-FILE-INVALID", &[("AWS_SHARED_CREDENTIALS_FILE", &file)]),
            ("E-AWS-FILE-INVALID", &[("AWS_CONFIG_FILE", &file), ("AWS_PROFILE", Path::new("default"))]),
            ("E-SOURCE-FILE", &[("AWS_WEB_IDENTITY_TOKEN_FILE", &file), ("AWS_ROLE_ARN", role)]),
            (
                "E-SOURCE-FILE",
                &[
                    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file),
                    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", Path::new(&url)),
                ],
            ),
            ("E-CA-BUNDLE", &[("AWS_CA_BUNDLE", &file)]),
            ("E-CONFIG-INVALID", &[("AWS_ECR_CONFIG_FILE", &file)]),
        ] {
            let ran = somebody.run(&["get"], vars);
            let line = ran.error();
            for words in [code, "Permission denied", &format!("the directory {} cannot be entered", closed.display())] {
                assert!(line.contains(words), "{vars:?}: {words} in {line}");
            }
            assert!(!line.contains("does not exist"), "{line}");
            let report = somebody.run(&["doctor", HOST], vars).stdout;
            assert!(report.contains("Permission denied") && !report.contains("does not exist"), "{vars:?}: {report}");
        }
        let through_link = linked.join("file");
        let ran = somebody.run(&["get"], &[("AWS_CONFIG_FILE", &through_link)]);
        assert!(ran.error().contains("Permission denied"), "{ran:?}");
    }
    assert_eq!(aws.count(), 0, "nobody else's credentials are asked for");
}

/// It is not this user's home, e.g. that of root in a container with another user.
#[test]
fn what_is_below_a_closed_home_counts_as_absent_until_it_is_open() {
    let aws = Aws::start();
    let Some(somebody) = AsSomebody::new(on_an_instance(&aws)) else { return };
    let home = somebody.path("home");
    somebody.write("home/.aws/config", &format!("[default]\n{}", keys("AKIAHOME")));
    somebody.dir("home/.config/docker-credential-ecr-login", 0o755);
    chown(&home, Some(0), Some(0)).expect("an owner");
    let get = || somebody.run(&["get"], &[]);
    for _ in 0..2 {
        assert_eq!(who(&get()), "ASIA-instance");
    }
    assert_eq!(aws.count_of("ecr"), 1, "the second one hits");
    // A token of that time is not served where a directory of the user's own home is closed.
    for below in [".aws", ".config"] {
        somebody.dir("home", 0o755);
        somebody.dir(&format!("home/{below}"), 0o700);
        let ran = get();
        assert!(ran.error().contains("Permission denied"), "{below}: {ran:?}");
        somebody.dir(&format!("home/{below}"), 0o755);
        assert_eq!(who(&get()), "AKIAHOME");
        somebody.dir("home", 0o700);
        assert_eq!(who(&get()), "ASIA-instance");
    }
    // The user's own home directory that its mode closes has the user's settings.
    chown(&home, Some(SOMEBODY), Some(SOMEBODY)).expect("an owner");
    let calls = aws.count();
    for mode in [0o600, 0] {
        somebody.dir("home", mode);
        for (vars, code) in
            [(&[][..], "E-CONFIG-INVALID"), (&[("AWS_ECR_CONFIG_FILE", Path::new("/dev/null"))], "E-AWS-FILE-INVALID")]
        {
            let ran = somebody.run(&["get"], vars);
            let line = ran.error();
            let named = format!("the directory {} cannot be entered", home.display());
            assert!(line.contains(code) && line.contains(&named), "{mode:o}: {line}");
        }
    }
    assert_eq!(aws.count(), calls, "nobody else's credentials are asked for");
    chown(&home, Some(0), Some(0)).expect("an owner");
    // Nothing of this user can be in the cache of that time.
    let own_cache = home.join(".cache");
    for args in [&["logout", HOST][..], &["logout", "--all"], &["erase"]] {
        let ran = somebody.run(args, &[("AWS_ECR_CACHE_DIR", &own_cache)]);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    }
    // The user database may say that the home is this user's, whomever a server shows as its owner.
    let passwd = somebody.write("passwd", &format!("somebody:x:{SOMEBODY}:{SOMEBODY}::{}:/bin/sh\n", home.display()));
    let mount = format!("mount --bind {} /etc/passwd", passwd.display());
    let inside = crate::namespace::Namespace::of_mounts(&mount);
    let mut get = inside.command("/usr/bin/setpriv");
    get.args([format!("--reuid={SOMEBODY}"), format!("--regid={SOMEBODY}"), "--clear-groups".to_owned()]);
    let ran = crate::process::run(get.arg(somebody.path("program")).arg("get").env("HOME", &home), HOST);
    assert!(ran.error().contains("E-CONFIG-INVALID"), "{ran:?}");
    // A variable that names the same file means that file.
    let ran = somebody.run(&["get"], &[("AWS_CONFIG_FILE", &home.join(".aws/config"))]);
    assert!(ran.error().contains(&format!("the directory {} cannot be entered", home.display())), "{ran:?}");
}

/// Tokens in it are served again once it is open.
#[test]
fn a_cache_that_is_closed_by_its_mode_is_no_empty_one() {
    let aws = Aws::start();
    let Some(somebody) = AsSomebody::new(Helper::of(&aws)) else { return };
    let run = |args: &[&str]| somebody.run(args, &[]);
    run(&["get"]).password_for(HOST);
    for mode in [0o600, 0o400, 0o300, 0o200, 0o100, 0] {
        somebody.dir("cache", mode);
        for (args, code) in [
            (&["logout", "--all"][..], "E-CACHE-NOT-CLEARED"),
            (&["logout", HOST], "E-CACHE-NOT-CLEARED"),
            (&["cache"], "W-CACHE-UNUSED"),
        ] {
            let ran = run(args);
            let is_said = ran.stderr.contains("cannot be read: Permission denied") && ran.stderr.contains(code);
            assert!(ran.code == Some(1) && is_said, "{mode:o} {args:?}: {ran:?}");
        }
    }
    somebody.dir("cache", 0o700);
    assert!(run(&["logout", "--all"]).stdout.starts_with("removed 1 token from "));
    for args in [["logout", "--all"], ["logout", HOST]] {
        let nowhere = [("HOME", Path::new("relative")), ("AWS_ECR_CACHE_DIR", Path::new(""))];
        let ran = somebody.run(&args, &nowhere);
        assert!(
            ran.stderr.contains("there is no home directory") && ran.stderr.contains("E-CACHE-NOT-CLEARED"),
            "{ran:?}"
        );
    }
}

/// Who may not write it cannot lock it, and each process would ask AWS.
#[test]
fn a_lock_that_may_not_be_written_is_removed() {
    let aws = Aws::start();
    let Some(somebody) = AsSomebody::new(Helper::of(&aws)) else { return };
    let run = || somebody.run(&["get"], &[]);
    run().password_for(HOST);
    let files = fs::read_dir(somebody.path("cache")).expect("a cache").flatten().map(|file| file.path());
    let entry =
        files.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "json")).expect("an entry");
    for mode in [0, 0o400, 0o444] {
        fs::remove_file(&entry).expect("an entry");
        let lock = entry.with_extension("lock");
        fs::write(&lock, "").expect("a lock");
        fs::set_permissions(&lock, fs::Permissions::from_mode(mode)).expect("a mode");
        chown(&lock, Some(SOMEBODY), Some(SOMEBODY)).expect("an owner");
        run().password_for(HOST);
        assert!(!lock.exists(), "{mode:o}: it was taken, and removed by who had it");
    }
}

/// As `sudo -E aws sso login` leaves it. The AWS CLI could not write it as this user either.
#[test]
fn a_sign_in_that_cannot_be_read_is_said_to_be_of_another_user() {
    let aws = Aws::start();
    // A failure is the answer of the next process, too, which has the same key.
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_DISABLE_CACHE", "1");
    let Some(somebody) = AsSomebody::new(helper) else { return };
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    let arn = "arn:aws:iam::111122223333:user/Somebody";
    let sso = format!(".aws/sso/cache/{:x}.json", Sha1::digest("corp"));
    let login = format!(".aws/login/cache/{:x}.json", Sha256::digest(arn));
    for (settings, file, command, code) in [
        (format!("[default]\nsso_session = corp\n{SSO}{session}"), sso, "aws sso login", "E-SSO-EXPIRED"),
        (format!("[default]\nlogin_session = {arn}\n"), login, "aws login", "E-LOGIN-EXPIRED"),
    ] {
        somebody.write("home/.aws/config", &settings);
        let get = || somebody.run(&["get"], &[]).error().to_owned();
        let line = get();
        assert!(line.contains(code) && line.contains(command) && !line.contains("user "), "{line}");
        let path = somebody.write(&format!("home/{file}"), "{}");
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        mode(0o600);
        let line = get();
        for words in [
            "E-SOURCE-FILE",
            &path.display().to_string(),
            "belongs to another user, 0",
            "let that user give it",
            command,
        ] {
            assert!(line.contains(words), "{words} in {line}");
        }
        assert!(!line.contains("expired or is gone"), "{line}");
        let dir = path.parent().expect("a directory");
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("a mode");
        let line = get();
        let named = format!("below {}, which this user cannot enter", dir.display());
        assert!(line.contains("E-SOURCE-FILE") && line.contains(&named), "{line}");
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("a mode");
        // One that it may read and that holds nothing valid cannot be renewed as this user.
        mode(0o644);
        let line = get();
        assert!(line.contains(code) && line.contains("as user 0"), "{line}");
        chown(&path, Some(SOMEBODY), Some(SOMEBODY)).expect("an owner");
        mode(0);
        let line = get();
        assert!(line.contains("E-SOURCE-FILE") && line.contains("correct its mode"), "{line}");
    }
}

#[test]
fn a_directory_that_takes_no_renewed_sign_in_is_said_to_be_in_the_way() {
    let aws = Aws::start();
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ECR_DISABLE_CACHE", "1");
    let Some(somebody) = AsSomebody::new(helper) else { return };
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    let sso = sign_in(&somebody.helper, "corp", "2020-01-01T00:00:00Z");
    let login = log_in(&somebody.helper, "ASIA-login", "2020-01-01T00:00:00Z");
    for (config, made, code) in [
        (format!("sso_session = corp\n{SSO}{session}"), sso, "E-SSO-EXPIRED"),
        (format!("login_session = {LOGIN}\nregion = us-east-1\n"), login, "E-LOGIN-EXPIRED"),
    ] {
        somebody.write("home/.aws/config", &format!("[default]\n{config}"));
        let below = format!("home/{}", made.strip_prefix(somebody.helper.home()).expect("a file there").display());
        let file = somebody.write(&below, &fs::read_to_string(&made).expect("a sign-in"));
        let dir = file.parent().expect("a directory");
        for path in [&file, dir] {
            chown(path, Some(SOMEBODY), Some(SOMEBODY)).expect("an owner");
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o500)).expect("a mode");
        let line = somebody.run(&["get"], &[]).error().to_owned();
        let why = format!("its file {} cannot be written to renew it: Permission denied", file.display());
        let fix = "; let this user write to its directory, or run 'aws ";
        assert!(line.contains(&why) && line.contains(fix) && line.contains(code), "{line}");
        assert_eq!(aws.count(), 0, "a refresh token is not used up for nothing");
    }
}
