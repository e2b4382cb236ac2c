//! Which tokens of a `credential_process` are cached, and what makes it another identity.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::HOST;
use crate::helper::{Helper, Ran};
use crate::process::{run, settle};
use crate::support::aws::Aws;

/// Runs `get` with more variables, which may be empty, in a directory.
fn get_with(helper: &Helper, vars: &[(&str, &str)], dir: &Path) -> Ran {
    run(helper.command().arg("get").current_dir(dir).envs(vars.iter().copied()), HOST)
}

/// The access key that requested the token.
#[track_caller]
fn who(ran: &Ran) -> String {
    let password = ran.password_for(HOST);
    password.split(".us-east-1.").next().expect("a caller").to_owned()
}

/// Writes a program that prints keys.
fn program(path: &Path, id: &str) {
    let text = format!("#!/bin/sh\necho '{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"s\"}}'\n");
    crate::process::write_program(path, text);
}

/// Prints the files that its arguments name.
const SHOW: &str =
    "#!/bin/sh\nfor word; do word=${word#-f}; word=${word%%:*}; [ -f \"$word\" ] && cat \"$word\"; done\n";

/// A user whose credentials a process prints, with directories of the home on the PATH.
struct Printing {
    helper: Helper,
    _aws: Aws,
    path: String,
}

impl Printing {
    fn new() -> Self {
        let aws = Aws::start();
        let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url());
        let path = format!("{0}/first:{0}/second:/usr/bin:/bin", helper.home().display());
        // What a get makes in the home would count as a change around the files of the command.
        for dir in ["logs", ".cache"] {
            fs::create_dir(helper.home().join(dir)).expect("a directory");
        }
        Self { helper, _aws: aws, path }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.helper.home().join(path)
    }

    /// The access key that this command gives in a directory, and whether the next `get` answers from the cache.
    #[track_caller]
    fn run(&self, command: &str, dir: &Path) -> (String, bool) {
        let config = self.helper.write(".aws/config", &format!("[default]\ncredential_process = {command}\n"));
        settle(&[&config]);
        let log = self.at("logs/log");
        let _ = fs::remove_file(&log);
        let vars = [("PATH", self.path.as_str()), ("AWS_ECR_LOG", "debug"), ("AWS_ECR_LOG_FILE", "~/logs/log")];
        let get = || get_with(&self.helper, &vars, dir);
        let who = self::who(&get());
        assert_eq!(self::who(&get()), who);
        let before = fs::read_to_string(&log).expect("a log").len();
        assert_eq!(self::who(&get()), who);
        (who, fs::read_to_string(&log).expect("a log")[before..].contains("token served from the cache"))
    }

    /// Asserts that the command gives this access key, and that the next `get` answers from the cache.
    #[track_caller]
    fn expect_in(&self, dir: &Path, command: &str, id: &str) {
        let (who, cached) = self.run(command, dir);
        assert_eq!(who, id, "{command}");
        assert!(cached, "{command}: hits run no process");
    }

    #[track_caller]
    fn expect(&self, command: &str, id: &str) {
        self.expect_in(self.helper.home(), command, id);
    }
}

/// The other program has the same size and time.
#[test]
fn a_process_is_another_when_a_link_leads_elsewhere() {
    let user = Printing::new();
    let at = |path: &str| user.at(path);
    program(&at("v1"), "AKIALINK1");
    program(&at("v2"), "AKIALINK2");
    let now = std::time::SystemTime::now();
    for version in ["v1", "v2"] {
        fs::File::options().write(true).open(at(version)).and_then(|file| file.set_modified(now)).expect("a time");
    }
    symlink(at("v1"), at("current")).expect("a link");
    for command in
        [at("current").display().to_string(), "~/current".to_owned(), format!("\"{}\"", at("current").display())]
    {
        fs::remove_file(at("current")).and_then(|()| symlink(at("v1"), at("current"))).expect("a link");
        user.expect(&command, "AKIALINK1");
        fs::remove_file(at("current")).and_then(|()| symlink(at("v2"), at("current"))).expect("a link");
        user.expect(&command, "AKIALINK2");
    }
}

/// Two releases of a program have the same files, by hard links or by links to the same file, and another identity beside them.
#[test]
fn a_process_is_another_in_another_release_with_the_same_files() {
    let user = Printing::new();
    let at = |path: &str| user.at(path);
    let beside = |file: &str| format!("#!/bin/sh\ncat \"$(dirname \"{file}\")/id\"\n");
    crate::process::write_program(at("shared"), beside("$0"));
    crate::process::write_program(at("shared-pick"), beside("$1"));
    crate::process::write_program(at("real"), beside("$(readlink -f \"$0\")"));
    for release in ["r1", "r2"] {
        fs::create_dir(at(release)).expect("a directory");
        let keys =
            format!("{{\"Version\":1,\"AccessKeyId\":\"AKIA{}\",\"SecretAccessKey\":\"s\"}}", release.to_uppercase());
        fs::write(at(release).join("id"), keys).expect("keys");
        fs::hard_link(at("real"), at(release).join("keys")).expect("a second name");
        symlink(at("shared"), at(release).join("linked")).expect("a link");
    }
    let home = user.helper.home().display().to_string();
    crate::process::write_program(at("script"), format!("#!{home}/current/keys\n"));
    let lead = |link: &str, target: &str| {
        let _ = fs::remove_file(at(link));
        symlink(target, at(link)).expect("a link");
    };
    for (command, link, [one, two]) in [
        ("~/current/keys", "current", ["r1", "r2"]),
        ("~/current/linked", "current", ["r1", "r2"]),
        ("/usr/bin/env keys", "first", ["r1", "r2"]),
        ("~/script", "current", ["r1", "r2"]),
        ("~/keys", "keys", ["r1/keys", "r2/keys"]),
        ("~/shared-pick ~/current/absent", "current", ["r1", "r2"]),
    ] {
        lead(link, one);
        user.expect(command, "AKIAR1");
        lead(link, two);
        user.expect(command, "AKIAR2");
    }
    symlink("r1/keys", at("tool")).expect("a link");
    for command in ["~/r1/keys", "~/shared-pick ~/r1/absent", "~/tool"] {
        user.expect(command, "AKIAR1");
        fs::rename(at("r1"), at("away")).and_then(|()| fs::rename(at("r2"), at("r1"))).expect("directories");
        user.expect(command, "AKIAR2");
        fs::rename(at("r1"), at("r2")).and_then(|()| fs::rename(at("away"), at("r1"))).expect("directories");
    }
    // The release takes over the directory with the program.
    fs::create_dir(at("r1/bin")).expect("a directory");
    crate::process::write_program(at("r1/bin/keys"), beside("$(dirname \"$0\")"));
    user.expect("~/r1/bin/keys", "AKIAR1");
    fs::rename(at("r1/bin"), at("r2/bin")).and_then(|()| fs::rename(at("r1"), at("away"))).expect("directories");
    fs::rename(at("r2"), at("r1")).expect("a directory");
    user.expect("~/r1/bin/keys", "AKIAR2");
}

#[test]
fn a_process_is_another_when_the_path_has_another_program_first() {
    let user = Printing::new();
    let at = |path: &str| user.at(path);
    program(&at("second/creds"), "AKIASECOND");
    fs::create_dir_all(at("first")).expect("a directory");
    user.expect("creds --role x", "AKIASECOND");
    program(&at("first/creds"), "AKIAFIRST");
    user.expect("creds --role x", "AKIAFIRST");
    user.expect("/usr/bin/env creds", "AKIAFIRST");
    fs::remove_file(at("first/creds")).expect("a file");
    user.expect("/usr/bin/env creds", "AKIASECOND");
    // The same for the interpreter of a script.
    crate::process::write_program(at("script"), "#!/usr/bin/env creds\n");
    user.expect("~/script", "AKIASECOND");
    program(&at("first/creds"), "AKIAFIRST");
    user.expect("~/script", "AKIAFIRST");
}

#[test]
fn a_process_is_another_in_another_directory() {
    let user = Printing::new();
    let at = |path: &str| user.at(path);
    for (dir, id) in [("here", "AKIAHERE"), ("there", "AKIATHERE")] {
        program(&at(dir).join("run"), id);
        user.expect_in(&at(dir), "./run", id);
        user.expect_in(&at(dir), "sh run", id);
    }
}

/// The file is named in quotes or to another program; the other content has the same size and time.
#[test]
fn a_process_is_another_when_a_file_in_its_command_line_has_other_content() {
    let user = Printing::new();
    let at = |path: &str| user.at(path);
    program(&at("print"), "AKIAPRINTED1");
    let file = at("print").display().to_string();
    for command in [format!("/bin/sh {file}"), format!("/bin/sh '{file}'"), format!("/usr/bin/env -S sh {file}")] {
        program(&at("print"), "AKIAPRINTED1");
        user.expect(&command, "AKIAPRINTED1");
        let before = fs::metadata(&file).and_then(|metadata| metadata.modified()).expect("a time");
        program(&at("print"), "AKIAPRINTED2");
        fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(before)).expect("a time");
        user.expect(&command, "AKIAPRINTED2");
    }
}

#[test]
fn a_process_is_another_when_any_path_in_its_command_line_resolves_to_another_file() {
    let user = Printing::new();
    let at = |path: &str| user.at(path);
    crate::process::write_program(at("bin/show"), SHOW);
    crate::process::write_program(at("bin/expand"), "#!/bin/sh\ncat ~/\"${1#--file=?/}\"\n");
    let printed = |id: &str| {
        let text = format!("{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"s\"}}\n");
        fs::write(at("k.json"), text).expect("a write");
    };
    fs::write(at("line"), "one\n").expect("a write");
    let here = user.helper.home().display().to_string();
    for command in [
        format!("{here}/bin/show -fk.json"),
        format!("{here}/bin/show {here}/k.json:/x"),
        format!("{here}/bin/show k.json:/x"),
        format!("/bin/sed -n 'r{here}/k.json' {here}/line"),
        format!("{here}/bin/expand --file=~/k.json"),
    ] {
        printed("AKIAFIRST1");
        user.expect(&command, "AKIAFIRST1");
        printed("AKIASECOND");
        user.expect(&command, "AKIASECOND");
    }
    // The output of a command that reads a directory is not cached, nor that of one whose words are no paths.
    fs::create_dir(at("sub")).expect("a directory");
    for word in [&format!("{here}/bin/"), "sub", "--store=sub", "-Csub", "file:///k%2Ejson", "'file:///k.{json}'"] {
        let (who, cached) = user.run(&format!("{here}/bin/show {word} {here}/k.json"), user.helper.home());
        assert!(!cached, "{word}: {who}");
    }
    fs::create_dir(at("cat")).expect("a directory");
    let (who, cached) = user.run(&format!("cat {here}/k.json"), user.helper.home());
    assert!(cached, "the program is no directory: {who}");
}

/// Does the same for each case at once, since each takes the seconds until its files are at rest.
fn each<T: Copy + Sync>(cases: &[T], check: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            let check = || check(*case);
            scope.spawn(check);
        }
    });
}

/// The program prints one file, whatever its words are: these alone tell the helper that it does.
#[test]
fn a_file_of_the_directory_counts_wherever_its_name_stands_in_a_word() {
    let user = || {
        let user = Printing::new();
        crate::process::write_program(user.at("bin/show"), "#!/bin/sh\ncat ~/work/k.json\n");
        // Beside the script.
        user.helper.write("bin/conf.json", "x");
        for dir in ["work/sub", "work/pkg"] {
            fs::create_dir_all(user.at(dir)).expect("a directory");
        }
        user
    };
    let prints = |user: &Printing, id: &str| {
        let text = format!("{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"s\"}}\n");
        fs::write(user.at("work/k.json"), text).expect("a write");
    };
    let counts = [
        "file://k.json",
        "fileb://./k.json",
        "file://~/work/k.json",
        "-aaaaaaaaaaaafk.json",
        "1rk.json",
        "K.json",
        "-m k",
        "-xk.json:y",
        "'a k.json'",
        "./k",
        "-r./k",
        "~/work/k",
    ];
    each(&counts, |word| {
        let user = user();
        for id in ["AKIAFIRST1", "AKIASECOND"] {
            prints(&user, id);
            user.expect_in(&user.at("work"), &format!("~/bin/show {word}"), id);
        }
    });
    each(
        &[
            "fifo",
            "--from=fifo",
            "~/work/to-fifo",
            "-vCsub",
            "-vC../work",
            "-sC..",
            "../bin/late",
            "--cli-input-json=file://sub/../k.json",
            "--dir=~/work",
            "-I~/work",
            "-m pkg.sub",
            "-smpkg",
            "'$X/k.json'",
        ],
        |word| {
            let user = user();
            nix::unistd::mkfifo(&user.at("work/fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
            symlink("fifo", user.at("work/to-fifo")).expect("a link");
            prints(&user, "AKIAFIRST1");
            let (who, cached) = user.run(&format!("~/bin/show {word}"), &user.at("work"));
            assert!(!cached, "{word}: {who}");
        },
    );
    // A name counts from when it appears if a word means it.
    let appear = [
        ("new", "export-pkg arn:aws:iam::111122223333:role/pkg --profile sub1", "AKIAFIRST1"),
        ("new", "--role=arn:pkg:iam::111122223333:role/dev", "AKIAFIRST1"),
        ("late.js", "./late", "AKIASECOND"),
        ("../bin/late.js", "~/bin/late", "AKIASECOND"),
        ("../bin/conf.json", "--conf=conf.json", "AKIASECOND"),
        ("new", "https://host.test/tmp", "AKIAFIRST1"),
        ("new", "--role=new", "AKIASECOND"),
        ("late.json", "x file://late.json", "AKIASECOND"),
    ];
    each(&appear, |(name, words, expected)| {
        let user = user();
        let command = format!("~/bin/show {words}");
        prints(&user, "AKIAFIRST1");
        user.expect_in(&user.at("work"), &command, "AKIAFIRST1");
        prints(&user, "AKIASECOND");
        fs::write(user.at("work").join(name), "").expect("a write");
        user.expect_in(&user.at("work"), &command, expected);
    });
}

/// What Python's `abspath` and Go's `filepath.Clean` do: the kernel finds another file, or none.
#[test]
fn a_path_that_leads_upwards_is_not_cached_since_programs_may_resolve_it_by_its_text() {
    let words = [
        "HOME/current/../k.json",
        "HOME/absent/../k.json",
        "HOME/line/../k.json",
        "--file=~/absent/../k.json",
        "--file=absent/../../k.json",
    ];
    each(&words, |word| {
        let user = Printing::new();
        let show = "#!/bin/sh\nword=${1#--file=}\ncase $word in '~'*) word=$HOME${word#?};; esac\n\
             cat \"$(realpath -sm \"$word\")\"\n";
        crate::process::write_program(user.at("bin/show"), show);
        for file in ["releases/k.json", "releases/7/x", "line", "work/x"] {
            user.helper.write(file, "x");
        }
        symlink("releases/7", user.at("current")).expect("a link");
        let home = user.helper.home().display().to_string();
        for id in ["AKIAFIRST1", "AKIASECOND"] {
            let keys = format!("{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"s\"}}\n");
            user.helper.write("k.json", &keys);
            let (who, cached) = user.run(&format!("~/bin/show {}", word.replace("HOME", &home)), &user.at("work"));
            assert!(who == id && !cached, "{word}: {who}");
        }
    });
}

/// A shell believes a PWD that leads to the current directory, and goes on from there by `cd ..`.
#[test]
fn a_process_is_another_where_another_link_leads_to_the_current_directory() {
    let user = Printing::new();
    let keys = r#"{\"Version\":1,\"AccessKeyId\":\"AKIA$(basename $PWD)\",\"SecretAccessKey\":\"s\"}"#;
    // The helper does not know the file from which the script takes its steps.
    crate::process::write_program(user.at("bin/up"), "#!/bin/sh\necho run >> ~/logs/runs\n. ~/kept/steps\n");
    let up = format!("cd ..\necho \"{keys}\"\n");
    user.helper.write("kept/steps", &up);
    let config = user.helper.write(".aws/config", "[default]\ncredential_process = ~/bin/up\n");
    for dir in ["REAL1/work", "LINK1", "LINK2", "FLIPS"] {
        fs::create_dir_all(user.at(dir)).expect("a directory");
    }
    symlink("../LINK1", user.at("FLIPS/work")).expect("a link");
    for link in ["LINK1/work", "LINK2/work"] {
        symlink("../REAL1/work", user.at(link)).expect("a link");
    }
    settle(&[&config, &user.at("bin/up"), &user.at("LINK2/work")]);
    let home = user.helper.home().display().to_string();
    let get = |pwd: &str| {
        let pwd = pwd.replace("HOME", &home);
        let ran = get_with(&user.helper, &[("PWD", &pwd), ("OLDPWD", &pwd)], &user.at("REAL1/work"));
        let runs = fs::read_to_string(user.at("logs/runs")).expect("runs");
        (who(&ran), runs.lines().count())
    };
    for (pwd, id, runs) in [
        ("HOME/REAL1/work", "AKIAREAL1", 1),
        ("HOME/LINK1/work", "AKIALINK1", 2),
        ("HOME/LINK2/work", "AKIALINK2", 3),
        ("HOME/LINK1/work", "AKIALINK1", 3),
        ("HOME/REAL1/work", "AKIAREAL1", 3),
        ("HOME/LINK1", "AKIAREAL1", 3),
        ("HOME/absent", "AKIAREAL1", 3),
        (".", "AKIAREAL1", 3),
        ("", "AKIAREAL1", 3),
    ] {
        assert_eq!(get(pwd), (id.to_owned(), runs), "{pwd}");
    }
    // A link that leads there only while the process runs.
    crate::process::write_program(user.at("bin/up"), "#!/bin/sh\necho run >> ~/logs/runs\n. ~/kept/steps\n");
    settle(&[&user.at("bin/up"), &user.at("FLIPS/work")]);
    let there = format!("ln -sfn ../REAL1/work ~/FLIPS/work\ncd ~/FLIPS/work\n{up}ln -sfn ../LINK1 ~/FLIPS/work\n");
    user.helper.write("kept/steps", &there);
    assert_eq!(get("HOME/FLIPS/work"), ("AKIAFLIPS".to_owned(), 4));
    user.helper.write("kept/steps", &up);
    assert_eq!(get("HOME/FLIPS/work"), ("AKIAREAL1".to_owned(), 5));
}

/// Programs may find sessions of the AWS CLI elsewhere than the helper, which takes no home directory from a relative path.
#[test]
fn a_process_with_an_uncertain_home_directory_is_not_cached() {
    let user = Printing::new();
    let at = |path: &str| user.at(path);
    let session = |id: &str| {
        let keys = format!("{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"s\"}}\n");
        user.helper.write("home/.aws/sso/cache/keys", &keys)
    };
    let show = format!("#!/bin/sh\ncat {}/home/.aws/sso/cache/keys\n", at("").display());
    crate::process::write_program(at("bin/show"), show);
    let config = format!("[default]\ncredential_process = {}\n", at("bin/show").display());
    let config = user.helper.write("config", &config).display().to_string();
    fs::create_dir(at("other")).and_then(|()| symlink("other", at("link"))).expect("a link");
    let [plain, upwards] = ["home", "link/../home"].map(|home| at(home).display().to_string());
    let logins = at("link/../logins").display().to_string();
    for (home, logins, is_cached) in [
        ("home", "", false),
        ("", "", false),
        (upwards.as_str(), "", false),
        (plain.as_str(), logins.as_str(), false),
        (plain.as_str(), "", true),
    ] {
        let log = at("logs/log");
        let _ = fs::remove_file(&log);
        let cache = at(".cache").display().to_string();
        let vars = [
            ("HOME", home),
            ("AWS_LOGIN_CACHE_DIRECTORY", logins),
            ("AWS_CONFIG_FILE", &config),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_ECR_CACHE_DIR", &cache),
            ("AWS_ECR_LOG", "debug"),
            ("AWS_ECR_LOG_FILE", log.to_str().expect("UTF-8")),
        ];
        for id in ["AKIAFIRST1", "AKIASECOND"] {
            settle(&[&session(id), &at("home/.aws/sso/cache")]);
            for _ in 0..2 {
                assert_eq!(who(&get_with(&user.helper, &vars, user.helper.home())), id, "HOME={home}");
            }
        }
        let log = fs::read_to_string(&log).expect("a log");
        assert_eq!(log.contains("token served from the cache"), is_cached, "HOME={home}: {log}");
        assert_eq!(log.contains("HOME is no absolute path"), home != plain, "HOME={home}: {log}");
    }
}

#[test]
fn a_process_is_another_when_what_its_scripts_run_by_changes() {
    let script = |user: &Printing, path: &str, text: &str| {
        let home = user.helper.home().display().to_string();
        crate::process::write_program(user.at(path), text.replace("HOME", &home));
    };
    let user = |line: &str| {
        let user = Printing::new();
        script(&user, "second/outer", "#!HOME/second/inner\n");
        script(&user, "second/data", "#!/bin/sh\ncat \"${1#--file=}\"\n");
        script(&user, "script", &format!("#!{line}\n"));
        user
    };
    let prints = |user: &Printing, id: &str| {
        let text = format!("{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"s\"}}");
        fs::write(user.at("printed"), &text).expect("a write");
        script(user, "second/inner", &format!("#!/bin/sh\necho '{text}'\n"));
        // A shell looks on the PATH for scripts that nobody may execute, too.
        fs::write(user.at("second/plain"), format!("echo '{text}'\n")).expect("a write");
    };
    let lines = [
        ("HOME/second/inner", "~/script"),
        ("HOME/second/outer", "~/script"),
        ("/usr/bin/env outer", "~/script"),
        ("/usr/bin/env -Sinner", "~/script"),
        ("/usr/bin/env --split-string=inner", "~/script"),
        ("/usr/bin/env -S data --file=HOME/printed", "~/script"),
        ("/usr/bin/env -S bash plain", "~/script"),
        ("/bin/false", "bash plain"),
    ];
    each(&lines, |(line, command)| {
        let user = user(line);
        for id in ["AKIAINNER1", "AKIAINNER2"] {
            prints(&user, id);
            user.expect(command, id);
        }
    });
    each(&["data HOME/printed HOME/second", "data \"HOME/printed\""], |words| {
        let user = user(&format!("/usr/bin/env -S {words}"));
        prints(&user, "AKIAINNER1");
        let (who, cached) = user.run("~/script", user.helper.home());
        assert!(!cached, "{words}: {who}");
    });
}

/// The process itself has a file appear that is absent before and after. Only the time of a directory, or of the file's mode, tells.
#[test]
fn what_appears_while_a_process_runs_and_goes_again_leaves_no_token_behind() {
    const CASES: [(&str, &str, &str); 8] = [
        (".aws/credentials", "", ""),
        (".aws/cli/cache/a.json", "", ""),
        (".aws/sso/cache/b.json", "", ""),
        ("words/absent", "HOME/words/absent", ""),
        ("words/absent/below", "HOME/words/absent/below", ""),
        ("target/of-link", "HOME/words/link", ""),
        ("first/creds", "creds", ""),
        ("first/creds", "creds", "chmod +x ~/first/creds"),
    ];
    let worlds = CASES.map(|(appears, word, instead)| {
        let user = Printing::new();
        let at = |path: &str| user.at(path);
        let print = |id: &str| format!("{{\"Version\":1,\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"s\"}}\n");
        user.helper.write("kept/usual", &print("AKIAUSUAL1"));
        user.helper.write("kept/other", &print("AKIAOTHER1"));
        program(&at("second/creds"), "AKIANONE");
        for dir in [".aws/sso/cache", "words", "target", "first", "work"] {
            user.helper.write(&format!("{dir}/is-there"), "");
        }
        symlink("../target/of-link", at("words/link")).expect("a link");
        let dir = Path::new(appears).parent().expect("a parent").display();
        let flip = if instead.is_empty() {
            format!(
                "mkdir -p ~/{dir}; mv ~/kept/other ~/{appears}; cat ~/{appears}; mv ~/{appears} ~/kept/other\n\
                 rmdir -p ~/{dir} 2>/dev/null || true\n"
            )
        } else {
            user.helper.write(appears, "");
            format!("{instead}; cat ~/kept/other; chmod -x ~/{appears}\n")
        };
        // The helper does not know the file from which the script takes its steps.
        user.helper.write("kept/steps", &flip);
        let script = user.helper.write("script", "echo run >> ~/kept/runs\n. ~/kept/steps\n").display().to_string();
        let word = word.replace("HOME", &user.helper.home().display().to_string());
        let command = format!("/bin/sh {script} {word}");
        let config = user.helper.write(".aws/config", &format!("[default]\ncredential_process = {command}\n"));
        (appears, user, config)
    });
    settle(&worlds.each_ref().map(|(.., config)| config.as_path()));
    let get = |user: &Printing| {
        let ran = get_with(&user.helper, &[("PATH", &user.path)], &user.at("work"));
        let runs = fs::read_to_string(user.at("kept/runs")).expect("runs");
        (who(&ran), runs.lines().count())
    };
    for (appears, user, _) in &worlds {
        assert_eq!(get(user), ("AKIAOTHER1".to_owned(), 1), "{appears}");
        user.helper.write("kept/steps", "cat ~/kept/usual\n");
        assert_eq!(get(user), ("AKIAUSUAL1".to_owned(), 2), "{appears}: it runs again");
    }
    let watched = ["", ".aws", ".aws/sso/cache", "words", "target", "first", "first/creds"];
    let at_rest: Vec<PathBuf> = worlds.iter().flat_map(|(_, user, _)| watched.map(|path| user.at(path))).collect();
    settle(&at_rest.iter().map(PathBuf::as_path).filter(|path| path.exists()).collect::<Vec<_>>());
    for (appears, user, _) in &worlds {
        for _ in 0..2 {
            assert_eq!(get(user), ("AKIAUSUAL1".to_owned(), 3), "{appears}: hits, when the directories are at rest");
        }
    }
}

/// What every command of the AWS CLI 2 that makes a client does among its sessions, for its telemetry.
const TELEMETRY: &str = "cd ~/.aws/cli/cache; touch session.db-wal session.db-shm; echo x >> session.db\n\
     rm session.db-wal session.db-shm; cd - >/dev/null\n";

#[test]
fn commands_of_the_aws_cli_leave_a_hit_that_follows_from_its_sessions() {
    let user = Printing::new();
    let at = |path: &str| user.at(path);
    // New keys at each run, as of a role.
    let print = "echo run >> ~/logs/runs; n=$(wc -l < ~/logs/runs)\n\
         echo '{\"Version\":1,\"AccessKeyId\":\"ASIARUN'$n'\",\"SecretAccessKey\":\"s\"}'\n";
    let script = user.helper.write("script", &format!("{TELEMETRY}{print}"));
    let command = format!("/bin/sh {}", script.display());
    let config = user.helper.write(".aws/config", &format!("[default]\ncredential_process = {command}\n"));
    let database = user.helper.write(".aws/cli/cache/session.db", "x");
    settle(&[&script, &config, &database, &at(".aws/cli/cache")]);
    let get = || who(&get_with(&user.helper, &[], user.helper.home()));
    let counts = || {
        let ran = run(std::process::Command::new("sh").args(["-c", TELEMETRY]).env("HOME", at("")), "");
        assert_eq!(ran.code, Some(0), "{ran:?}");
    };
    for _ in 0..3 {
        assert_eq!(get(), "ASIARUN1");
        counts();
    }
    for (session, id) in [(".aws/cli/cache/role.json", "ASIARUN2"), (".aws/sso/cache/session.db", "ASIARUN3")] {
        let session = user.helper.write(session, "{}");
        settle(&[&session, session.parent().expect("a directory")]);
        counts();
        assert_eq!((get(), get()), (id.to_owned(), id.to_owned()), "{}", session.display());
    }
    // One that is being written as the process runs.
    user.helper.write(".aws/cli/cache/role.json", "{ }");
    assert_eq!((get(), get()), ("ASIARUN4".to_owned(), "ASIARUN5".to_owned()));
}

#[test]
fn a_process_with_an_unsupported_command_line_is_not_cached() {
    let user = Printing::new();
    let at = |path: &str| user.at(path);
    program(&at("print"), "AKIAPRINTED1");
    for command in [
        "sh $HOME/print",
        "sh -c 'sh $HOME/print; true'",
        "sh `echo ~/print`",
        "sh ~/prin?",
        "(sh ~/print)",
        "sh ~/print | cat",
        "true; sh ~/print",
        "sh <~/print",
    ] {
        let (who, cached) = user.run(command, user.helper.home());
        assert!(who == "AKIAPRINTED1" && !cached, "{command}");
    }
}
