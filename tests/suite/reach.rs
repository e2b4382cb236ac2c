//! Files that are there and that this user cannot reach or read: those of another user, and those in a directory that is closed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::HOST;
use crate::helper::{Helper, Ran};
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
        fs::copy(crate::helper::program(), dir.path().join("program")).expect("a copy");
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
        let mut command = self.helper.tool(&self.path("program"));
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
    // A variable that names the same file means that file.
    let ran = somebody.run(&["get"], &[("AWS_CONFIG_FILE", &home.join(".aws/config"))]);
    assert!(ran.error().contains(&format!("the directory {} cannot be entered", home.display())), "{ran:?}");
}
