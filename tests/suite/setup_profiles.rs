//! `setup --profiles`: the tables that it writes for AWS profiles, and the questions that it asks.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::HOST;
use crate::helper::{Helper, SECRET_KEY};
use crate::namespace::{missing, skip};
use crate::setup::{CONFIG, NO_WARNING, OTHER, fails, home, read, refuses, setup, succeeds};
use crate::support::aws::Aws;

const TABLES: &str = ".config/docker-credential-ecr-login/config.toml";

/// Two accounts with one profile each.
const TWO: &str = "[default]\nregion = us-east-1\naws_access_key_id = AKIA\naws_secret_access_key = s\n\n\
    [profile prod]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = ReadOnly\n\n\
    [profile dev]\nrole_arn = arn:aws:iam::222233334444:role/Dev\nsource_profile = default\n\n\
    [sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = us-east-1\n";

/// Two accounts, the first with two profiles.
const BOTH: &str = "[profile reader]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = ReadOnly\n\
    [profile admin]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Administrator\n\
    [profile dev]\nrole_arn = arn:aws:iam::222233334444:role/Dev\nsource_profile = admin\n\
    [sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = us-east-1\n";

fn with_profiles(config: &str) -> Helper {
    let helper = home();
    helper.write(".aws/config", config);
    helper
}

fn table(account: &str, profile: &str) -> String {
    format!("[[registry]]\nmatch = \"{account}.dkr*\"\nprofile = \"{profile}\"\n")
}

#[test]
fn each_account_gets_the_profile_that_names_it() {
    let helper = with_profiles(TWO);
    let file = helper.home().join(TABLES);
    let expected = format!("{}\n{}", table("111122223333", "prod"), table("222233334444", "dev"));
    let shown = succeeds(&helper, "--profiles --dry-run", NO_WARNING);
    assert!(shown.starts_with("--- /dev/null\n") && shown.contains("+profile = \"prod\""), "{shown}");
    assert!(!file.exists());

    let printed = succeeds(&helper, &format!("{HOST} --profiles"), NO_WARNING);
    assert!(printed.contains(&format!("added 2 [[registry]] tables to {}\n", file.display())), "{printed}");
    assert!(printed.contains("added 1 credHelper to ") && printed.contains("next: docker pull "), "{printed}");
    assert_eq!(read(&helper, TABLES), expected);
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    assert!(read(&helper, CONFIG).contains(HOST));

    let again = succeeds(&helper, "--profiles", NO_WARNING);
    assert!(again.starts_with(&format!("nothing to change in {}\n", file.display())), "{again}");
    assert!(again.contains("left the account 111122223333 alone: line 1 of "), "{again}");
    assert!(again.contains("left the account 222233334444 alone: line 5 of "), "{again}");
    assert_eq!(read(&helper, TABLES), expected);
}

#[test]
fn the_tables_apply_to_every_form_of_host() {
    let aws = Aws::start();
    let keys =
        |account: &str, key: &str| format!("role_arn = arn:aws:iam::{account}:role/{key}\nsource_profile = base\n");
    let helper = with_profiles(&format!(
        "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = {SECRET_KEY}\n\
         [profile one]\n{}[profile two]\n{}",
        keys("111122223333", "One"),
        keys("222233334444", "Two")
    ));
    let helper = helper.var("AWS_ENDPOINT_URL", &aws.url());
    succeeds(&helper, "--profiles", NO_WARNING);
    for (host, role) in [
        (HOST, "One"),
        ("111122223333.dkr.ecr-fips.us-west-2.amazonaws.com", "One"),
        ("111122223333.dkr-ecr.eu-west-1.on.aws", "One"),
        ("111122223333.dkr-ecr-fips.us-east-2.on.aws", "One"),
        (OTHER, "Two"),
    ] {
        let password = helper.get(host).password_for(host);
        assert!(password.starts_with(&format!("ASIA-{role}-by-AKIABASE.")), "{host}: {password}");
    }
}

#[test]
fn the_existing_configuration_stays_byte_for_byte() {
    for (before, separator) in [
        ("# mine\r\ntimeout = '5s'   # short\n\n", "\n"),
        ("timeout = '5s'", "\n\n"),
        ("[[registry]]\nmatch = \"222233334444.dkr.ecr.eu-west-1.amazonaws.com\"\nprofile = 'x'\n", "\n"),
    ] {
        let helper = with_profiles(TWO);
        helper.write(TABLES, before);
        let printed = succeeds(&helper, "--profiles", NO_WARNING);
        let mut expected = format!("{before}{separator}{}", table("111122223333", "prod"));
        if !before.contains("2222") {
            expected.extend(["\n".to_owned(), table("222233334444", "dev")]);
        }
        assert_eq!(read(&helper, TABLES), expected, "{printed}");
        let file = helper.home().join(TABLES).display().to_string();
        assert!(!before.contains("2222") || printed.contains(&format!("222233334444 alone: line 1 of {file}")));
    }
    for (text, named) in
        [("registry = [{match = '1*', profile = 'x'}]\n", "registry as a list"), ("timeot = 1\n", "line 1")]
    {
        let helper = with_profiles(TWO);
        helper.write(TABLES, text);
        let line = fails(&helper, &format!("{HOST} --profiles"));
        assert!(line.contains("config.toml") && line.contains(named), "{line}");
        assert_eq!((read(&helper, TABLES).as_str(), helper.home().join(CONFIG).exists()), (text, false));
    }
    // A file that a variable names is created, with its directory.
    let helper = with_profiles(TWO).var("AWS_ECR_CONFIG_FILE", "~/own/ecr.toml");
    succeeds(&helper, &format!("{HOST} --profiles"), NO_WARNING);
    assert!(read(&helper, "own/ecr.toml").contains("profile = \"dev\""));
}

#[test]
fn two_profiles_for_one_account_are_a_choice() {
    let helper = with_profiles(BOTH);
    let line = fails(&helper, &format!("{HOST} --profiles"));
    for word in ["'reader'", "'admin'", "111122223333", "--profile NAME"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert!(!line.contains("'dev'"), "{line}");
    assert!(
        !helper.home().join(TABLES).exists() && !helper.home().join(CONFIG).exists(),
        "no file changes before every question has its answer"
    );
    for (args, words) in [
        ("--profiles --profile reader --profile admin", &["'reader'", "'admin'", "name one"][..]),
        ("--profile reader", &["--profile has no effect", "--profiles"]),
    ] {
        let line = refuses(&helper, args);
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    let line = fails(&helper, "--profiles --profile absent");
    assert!(line.contains("'absent'") && line.contains(".aws/config"), "{line}");
    succeeds(&helper, "--profiles --profile reader", NO_WARNING);
    let expected = format!("{}\n{}", table("111122223333", "reader"), table("222233334444", "dev"));
    assert_eq!(read(&helper, TABLES), expected);
    succeeds(&helper, "--profiles", NO_WARNING);
    assert_eq!(read(&helper, TABLES), expected, "an account that has a table is not asked about again");

    let helper = with_profiles("[profile keys]\naws_access_key_id = a\naws_secret_access_key = b\n");
    assert!(fails(&helper, "--profiles").contains("sso_account_id or role_arn"));
    assert!(fails(&home(), "--profiles").contains(".aws/config"));
    helper.write(".aws/config", "\u{feff}[profile x]\n");
    assert!(fails(&helper, "--profiles").contains(".aws/config begins with a byte-order mark"));
    assert_eq!(setup(&helper, "--profiles --remove").code, Some(2));
}

#[test]
fn a_choice_is_made_on_the_terminal() {
    if missing(&["script"]).is_some() {
        return skip("setup on a terminal", "script is not installed");
    }
    for (typed, chosen) in [("2\n", "reader"), ("9\nx\n1\n", "admin")] {
        let helper = with_profiles(BOTH);
        let (screen, code) = helper.on_terminal(&["setup", "--profiles"], typed);
        assert_eq!(code, Some(0), "{screen}");
        for shown in ["111122223333", "1) admin  Administrator", "2) reader  ReadOnly", "added 2 [[registry]] tables"] {
            assert!(screen.contains(shown), "{shown} in {screen}");
        }
        assert!(read(&helper, TABLES).starts_with(&table("111122223333", chosen)), "{screen}");
    }
    for typed in ["\n\n\n", "\x04"] {
        let helper = with_profiles(BOTH);
        let (screen, code) = helper.on_terminal(&["setup", HOST, "--profiles"], typed);
        assert!(code == Some(1) && screen.contains("--profile NAME"), "{screen}");
        assert!(!helper.home().join(TABLES).exists() && !helper.home().join(CONFIG).exists());
    }
}

#[test]
fn tables_are_proposed_where_they_would_help() {
    let helper = with_profiles(TWO);
    let printed = succeeds(&helper, HOST, NO_WARNING);
    let file = helper.home().join(TABLES);
    let proposed = format!("setup --profiles' adds to {}:\n\n{}", file.display(), table("111122223333", "prod"));
    assert!(printed.contains(&proposed) && printed.contains(&table("222233334444", "dev")), "{printed}");
    assert!(!file.exists());
    let both = with_profiles(BOTH);
    assert!(succeeds(&both, HOST, NO_WARNING).contains("profile = \"admin\"    # or \"reader\"\n"));
    for args in [format!("{HOST} --dry-run"), "--remove".to_owned(), "--public".to_owned(), "--podman".to_owned()] {
        assert!(!succeeds(&helper, &args, NO_WARNING).contains("[[registry]]"), "{args}");
    }
    succeeds(&helper, "--profiles", NO_WARNING);
    assert!(!succeeds(&helper, HOST, NO_WARNING).contains("[[registry]]"), "each account has its table");
    let one = with_profiles(
        "[profile prod]\nsso_start_url = u\nsso_region = r\nsso_account_id = 111122223333\nsso_role_name = ReadOnly\n",
    );
    assert!(!succeeds(&one, HOST, NO_WARNING).contains("[[registry]]"), "there is one profile");
    let broken = with_profiles("[profile prod\n");
    assert!(!succeeds(&broken, HOST, NO_WARNING).contains("[[registry]]"));
}

#[test]
fn profiles_that_are_left_out_are_named() {
    let of = |name: &str, account: &str| {
        format!("[profile {name}]\nsso_session = s\nsso_account_id = {account}\nsso_role_name = R\n")
    };
    let config = [
        of("good", "111122223333"),
        of("short", "12345"),
        of("\"with blanks\"", "222233334444"),
        "[profile half]\nsso_session = s\nsso_account_id = 333344445555\n".to_owned(),
        "[profile alone]\nrole_arn = arn:aws:iam::444455556666:role/R\n".to_owned(),
        "[profile far]\nrole_arn = arn:aws:iam::555566667777:role/R\nsource_profile = gone\n".to_owned(),
        "[sso-session s]\nsso_start_url = u\nsso_region = us-east-1\n".to_owned(),
    ];
    let helper = with_profiles(&config.concat());
    let printed = succeeds(&helper, "--profiles", NO_WARNING);
    // A get for a registry that is mapped to them would fail.
    for (name, why) in [("half", "sso_role_name is missing"), ("alone", "has no credentials"), ("far", "'gone'")] {
        let line = printed.lines().find(|line| line.starts_with(&format!("left the profile '{name}' out: ")));
        assert!(line.is_some_and(|line| line.contains(why)), "{name}: {printed}");
    }
    assert!(printed.contains("left the profile 'short' out: the account '12345'"), "{printed}");
    let tables = [table("111122223333", "good"), table("222233334444", "with blanks")];
    assert_eq!(read(&helper, TABLES), tables.join("\n"));
}

#[test]
fn where_no_profile_can_be_used_the_reason_is_said() {
    let config = "[profile dev]\nrole_arn = arn:aws:iam::222233334444:role/Dev\nsource_profile = gone\n";
    let helper = with_profiles(config);
    let line = crate::helper::complaint(&helper.run(&["setup", "--profiles", "--dry-run"], "")).to_owned();
    assert!(line.contains("left the profile 'dev' out: the profile 'gone', which profile 'dev' names"), "{line}");
    assert!(!line.contains("names an account by"), "{line}");
    for (config, words, not) in [
        ("[prod]\nrole_arn = arn:aws:iam::222233334444:role/Dev\n", "write [profile prod]", "by hand"),
        ("[profile dev]\nrole_arn = arn:aws:iam::222233334444:role/Dev\n", "the profile 'dev' in ", "[[registry]]"),
    ] {
        let line = fails(&with_profiles(config), "--profiles --dry-run");
        assert!(line.contains(words) && !line.contains(not), "{line}");
    }
}

/// A file that a program has made of all accounts of a company, without the profile with the keys.
#[test]
fn thousands_of_profiles_are_looked_at_in_a_moment() {
    let profile = |number: u64| {
        format!(
            "[profile account-{number}]\nrole_arn = arn:aws:iam::{number:012}:role/R\nsource_profile = gone-{number}\n"
        )
    };
    let helper = with_profiles(&(0..5000).map(profile).collect::<String>());
    crate::process::best_of_three(std::time::Duration::from_secs(30), || {
        let ran = helper.run(&["setup", "--profiles", "--dry-run"], "");
        assert!(crate::helper::complaint(&ran).contains("and so on for 4995 more"), "{ran:?}");
        ran.took
    });
}

/// Eight times as many take eight times as long, and not sixty times: with a sign-in each, with sections that are no profiles, and with
/// names in quotes.
#[test]
fn the_time_for_profiles_grows_with_their_number_alone() {
    const FEW: usize = 1000;
    let session = "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://x.awsapps.com/start\n";
    let profile = |form: &str, number: usize| form.replace('#', &format!("{number:012}"));
    for form in [
        "[profile p#]\nsso_session = s\nsso_account_id = #\nsso_role_name = Admin\n",
        "[profile 'p#']\nrole_arn = arn:aws:iam::#:role/r\nsource_profile = k\n",
        "[profile p#]\nrole_arn = arn:aws:iam::x:role/r\nsource_profile = none\n",
        "[profile]\n[x p#]\nrole_arn = arn:aws:iam::#:role/r\n",
    ] {
        let took = |count: usize| {
            let text: String = (0..count).map(|number| profile(form, number)).collect();
            let helper = with_profiles(&format!("{session}{text}"));
            (0..2).map(|_| helper.run(&["setup", crate::HOST], "").took).min().expect("two")
        };
        crate::process::best_of_three(took(FEW) * 16, || took(8 * FEW));
    }
}

/// The helper reads what setup has written, and another setup finds each account in it.
#[test]
fn thousands_of_accounts_are_mapped_as_far_as_the_file_may_grow() {
    let profile = |number: u64| {
        format!("[profile p{number}]\nrole_arn = arn:aws:iam::{number:012}:role/R\nsource_profile = keys\n")
    };
    let profiles = |count| {
        let keys = "[profile keys]\naws_access_key_id = AKIA\naws_secret_access_key = s\n";
        (1..=count).map(profile).collect::<String>() + keys
    };
    let helper = with_profiles(&profiles(5000));
    let added = setup(&helper, "--profiles").stdout;
    assert!(added.starts_with("added 5000 [[registry]] tables to "), "{added}");
    crate::process::best_of_three(std::time::Duration::from_secs(30), || {
        let ran = setup(&helper, "--profiles");
        assert!(ran.stdout.starts_with("nothing to change in "), "{}", &ran.stdout[..100]);
        ran.took
    });
    helper.write(".aws/config", &profiles(10_000));
    let line = fails(&helper, "--profiles --dry-run");
    assert!(line.contains("with 5000 more tables, ") && line.contains("would exceed 512 KiB, the limit"), "{line}");
}
