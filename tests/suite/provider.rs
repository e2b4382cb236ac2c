//! `setup --kubelet`: the helper's entry in a configuration of image credential providers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use docker_credential_ecr_login::registry::host_patterns;
use serde_json::Value;

use crate::clusters::{Config, hosts};
use crate::helper::{Helper, Ran, program};
use crate::recipes::NAME;

/// As nodeadm writes it, which ends it without a line end.
const EKS: &str = r#"{
  "apiVersion": "kubelet.config.k8s.io/v1",
  "kind": "CredentialProviderConfig",
  "providers": [
    {
      "name": "ecr-credential-provider",
      "matchImages": [
        "*.dkr.ecr.*.amazonaws.com",
        "public.ecr.aws"
      ],
      "defaultCacheDuration": "12h0m0s",
      "apiVersion": "credentialprovider.kubelet.k8s.io/v1"
    }
  ]
}"#;

const CHANGED: &str = "next: restart kubelet";

/// A node with the program beside the configuration.
fn node(config: &str) -> Helper {
    let helper = Helper::bare();
    symlink(program(), helper.home().join(NAME)).expect("a link");
    helper.write("config.json", config);
    helper
}

fn setup(helper: &Helper, flags: &[&str]) -> Ran {
    let path = helper.home().join("config.json").display().to_string();
    helper.run(&[&["setup", "--kubelet", &path], flags].concat(), "")
}

fn read(helper: &Helper) -> String {
    fs::read_to_string(helper.home().join("config.json")).expect("a configuration")
}

/// What kubelet makes of it.
fn config(text: &str) -> Config {
    Config::read(serde_json::from_str(text).expect("JSON")).expect("a configuration")
}

#[test]
fn the_configuration_of_eks_gets_the_entry_first_and_is_restored() {
    let helper = node(EKS);
    let path = helper.home().join("config.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    let ran = setup(&helper, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.starts_with("added 1 provider to ") && ran.stdout.contains(CHANGED), "{ran:?}");
    let text = read(&helper);
    let config = config(&text);
    let names: Vec<&str> = config.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, [NAME, "ecr-credential-provider"]);
    assert_eq!(
        (&config.providers[0].match_images, &config.providers[0].args),
        (&host_patterns(), &vec!["kubelet".into()])
    );
    assert!(hosts().iter().all(|host| config.providers[0].is_asked_for(host)));
    // In the layout of the file: what was there is there, with the entry in one piece before it.
    let (before, after) = EKS.split_at(EKS.find("{\n      \"name\"").expect("an entry"));
    let entry = text.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).expect("the rest is as it was");
    assert!(
        entry.starts_with("{\n      \"name\": \"docker-credential-ecr-login\",\n      \"matchImages\": [\n        \"")
    );
    assert!(entry.ends_with("\n    },\n    "), "{entry}");
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o644);

    assert!(setup(&helper, &[]).stdout.starts_with("nothing to change in "));
    assert_eq!(read(&helper), text);
    // What somebody has added to the entry is not lost.
    let edited = text.replacen("\"0s\"", "\"5m0s\"", 1);
    fs::write(&path, &edited).expect("a write");
    assert!(setup(&helper, &[]).stdout.starts_with("nothing to change in "));
    assert_eq!(read(&helper), edited);

    let ran = setup(&helper, &["--remove"]);
    assert!(ran.stdout.contains(CHANGED), "{ran:?}");
    assert_eq!(read(&helper), EKS);
    assert!(setup(&helper, &["--remove"]).stdout.starts_with("nothing to change in "));
    assert_eq!(read(&helper), EKS);
}

#[test]
fn an_entry_is_reported_as_what_happened_to_it_whatever_else_names_the_helper() {
    let mentioned = EKS.replace("\"12h0m0s\"", "\"12h0m0s\", \"args\": [\"--beside=docker-credential-ecr-login\"]");
    let helper = node(&mentioned);
    let first = |flags: &[&str]| setup(&helper, flags).stdout.lines().next().unwrap_or_default().to_owned();
    assert!(first(&[]).starts_with("added 1 provider to "));
    assert!(first(&["--remove"]).starts_with("removed 1 provider from "));
    assert_eq!(read(&helper), mentioned);
}

#[test]
fn any_layout_is_kept() {
    let compact = serde_json::from_str::<Value>(EKS).expect("JSON").to_string();
    let v1beta1 = EKS.replace(".io/v1\"", ".io/v1beta1\"");
    for text in [
        compact.clone(),
        format!("{compact}\n"),
        EKS.replace("  ", "\t"),
        EKS.replace('\n', "\r\n"),
        EKS.replace("  ", "    "),
        EKS.replace("\"name\"", "\"futureField\": {\"providers\": []}, \"name\""),
        v1beta1.clone(),
    ] {
        let helper = node(&text);
        setup(&helper, &[]);
        let new = read(&helper);
        let document: Value = serde_json::from_str(&new).expect("JSON");
        let [first, second] = &document["providers"].as_array().expect("a list")[..] else { panic!("two: {new}") };
        assert_eq!((first["name"].as_str(), second["name"].as_str()), (Some(NAME), Some("ecr-credential-provider")));
        let version = if text == v1beta1 { "v1beta1" } else { "v1" };
        assert_eq!(first["apiVersion"], format!("credentialprovider.kubelet.k8s.io/{version}"));
        assert_eq!(new.contains('\n'), text.contains('\n') || text == v1beta1, "{new}");
        assert_eq!(new.matches("\r\n").count(), if text.contains('\r') { new.matches('\n').count() } else { 0 });
        assert_eq!(new.lines().any(|line| line.starts_with("\t\t{")), text.contains('\t'));
        setup(&helper, &["--remove"]);
        assert_eq!(read(&helper), text);
    }
    // Behind others too.
    let helper = node(EKS);
    setup(&helper, &[]);
    let mut document: Value = serde_json::from_str(&read(&helper)).expect("JSON");
    document["providers"].as_array_mut().expect("a list").reverse();
    helper.write("config.json", &document.to_string());
    setup(&helper, &["--remove"]);
    document["providers"].as_array_mut().expect("a list").pop();
    assert_eq!(read(&helper), document.to_string());
}

/// k3s and RKE2 look for a file that nobody has written yet.
#[test]
fn a_configuration_that_is_not_there_is_written_and_goes_again() {
    let helper = node("");
    let path = helper.home().join("config.json");
    for there in [true, false] {
        if !there {
            let _ = fs::remove_file(&path);
        }
        assert_eq!(setup(&helper, &[]).code, Some(0));
        let text = read(&helper);
        assert!(text.ends_with("}\n"));
        assert_eq!(config(&text).providers[0].name, NAME);
        assert!(setup(&helper, &[]).stdout.starts_with("nothing to change in "));
        assert!(setup(&helper, &["--remove"]).stdout.starts_with("removed "));
        assert!(!path.exists(), "kubelet does not start without a provider");
    }
    assert!(setup(&helper, &["--remove"]).stdout.starts_with("nothing to change in "));
    assert!(!path.exists());
}

/// A file of somebody else stays, whatever is left in it.
#[test]
fn a_configuration_of_somebody_else_is_never_removed() {
    let bare = r#"{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[]}"#;
    let helper = node(bare);
    setup(&helper, &[]);
    assert_eq!(config(&read(&helper)).providers[0].name, NAME);
    let ran = setup(&helper, &["--remove"]);
    assert_eq!(read(&helper), bare);
    assert!(ran.stdout.contains("which has no other"), "{ran:?}");
    // The entry of setup, with a change of somebody's.
    let helper = node("");
    setup(&helper, &[]);
    helper.write("config.json", &read(&helper).replace("\"0s\"", "\"5m0s\""));
    setup(&helper, &["--remove"]);
    assert!(read(&helper).contains("\"providers\": []"), "{}", read(&helper));
    // A path without a directory.
    let ran =
        crate::process::run(helper.command().current_dir(helper.home()).args(["setup", "--kubelet", "new.json"]), "");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}

#[test]
fn a_provider_dry_run_shows_the_entry_and_no_secret_of_another() {
    let secret = "stand-in-secret";
    let with = |before: &str, member: &str| EKS.replacen(before, &format!("{member}, {before}"), 1);
    let env = with("\"name\"", &format!("\"env\": [{{\"name\": \"TOKEN\", \"value\": \"{secret}\"}}]"));
    for text in [
        env.replace('\n', ""),
        env,
        with("\"name\"", &format!("\"args\": [\n\"--password\",\n\"{secret}\"]")),
        with("\"name\"", &format!("\"Args\": [\"{secret}\"], \"other\": {{\"a\": \"{secret}\"}}")),
        with("\"providers\"", &format!("\"password\": \"{secret}\"")),
    ] {
        let helper = node(&text);
        let ran = setup(&helper, &["--dry-run"]);
        assert!(ran.stdout.contains("+++ ") && ran.stdout.contains(NAME) && !ran.stdout.contains(secret), "{ran:?}");
        assert_eq!(read(&helper), text);
        setup(&helper, &[]);
        let ran = setup(&helper, &["--dry-run"]);
        assert!(ran.stdout.starts_with("nothing to change in "), "{ran:?}");
        let ran = setup(&helper, &["--dry-run", "--remove"]);
        assert!(ran.stdout.contains("--- ") && !ran.stdout.contains(secret), "{ran:?}");
    }
}

#[test]
fn kubelet_would_not_start_without_the_program() {
    let helper = node(EKS);
    fs::remove_file(helper.home().join(NAME)).expect("a link");
    let ran = setup(&helper, &[]);
    let home = helper.home().display().to_string();
    assert_eq!(ran.code, Some(0));
    for words in ["warning", NAME, &home, "--image-credential-provider-bin-dir"] {
        assert!(ran.stderr.contains(words), "{words} in {}", ran.stderr);
    }
    helper.write("bin/x", "");
    symlink(program(), helper.home().join("bin").join(NAME)).expect("a link");
    assert_eq!(setup(&helper, &[]).stderr, "");
}

#[test]
fn what_is_no_configuration_of_kubelet_is_left_alone() {
    let secret = "stand-in-secret";
    for (text, words) in [
        (&format!("apiVersion: kubelet.config.k8s.io/v1\nkind: {secret}\n")[..], "line 1"),
        ("# JSON\napiVersion: kubelet.config.k8s.io/v1\n", "YAML: add its entry there, or remove it, by hand"),
        (&EKS.replace("\"12h0m0s\",", &format!("\"{secret}\"")), "line 12"),
        (
            &EKS.replace("\"name\": \"ecr-credential-provider\"", "\"name\": 7"),
            "provider 1 is no object with a name; correct it",
        ),
        (&EKS.replace("\"providers\": [", &format!("\"providers\": [\"{secret}\",")), "provider 1 is no object"),
        (&EKS.replace("\"providers\": [", "\"providers\": 7, \"x\": ["), "its providers are no list; correct it"),
        (&EKS.replace("CredentialProviderConfig", "KubeletConfiguration"), "CredentialProviderConfig"),
        (&EKS.replace("kubelet.config.k8s.io", "example.com"), "kubelet.config.k8s.io"),
        (&EKS.replace("\"providers\"", "\"Providers\""), "providers"),
        (&format!("{{\"credsStore\": \"{secret}\"}}"), "CredentialProviderConfig"),
        ("[]", "line 1"),
    ] {
        let helper = node(text);
        for flags in [&[][..], &["--remove"], &["--dry-run"]] {
            let ran = setup(&helper, flags);
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
            assert!(ran.stderr.contains(words) && ran.stderr.contains("config.json"), "{words} in {}", ran.stderr);
            assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
            assert_eq!(ran.stderr.contains("YAML"), !text.starts_with(['{', '[']), "{}", ran.stderr);
            assert_eq!(read(&helper), text);
        }
    }
    let helper = node(EKS);
    let elsewhere = helper.home().join("a-slip/config.json").display().to_string();
    let ran = helper.run(&["setup", "--kubelet", &elsewhere], "");
    assert!(ran.code == Some(1) && ran.stderr.contains("a-slip does not exist"), "{ran:?}");
    assert!(!helper.home().join("a-slip").exists());
    for flags in [&[crate::HOST][..], &["--podman"], &["--public"], &["--force"], &["--remove-auths"]] {
        assert_eq!(setup(&helper, flags).code, Some(2), "{flags:?}");
    }
    assert_eq!(read(&helper), EKS);
}
