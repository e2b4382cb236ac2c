//! Service accounts that pull with a role of their own, by the token that kubelet sends for them.

use std::os::unix::process::CommandExt;

use crate::HOST;
use crate::helper::{Helper, Ran, SECRET_KEY};
use crate::issuers::{jwt, jwt_by};
use crate::kubelet::{HOUR, ROLE, V1, ask, ask_for, bare, credential, error, image, is_about, request_for};
use crate::network::noting_proxy;
use crate::process::run;
use crate::support::aws::{Aws, Plan};

#[test]
fn a_service_account_pulls_with_its_own_role() {
    let aws = Aws::start();
    // A node whose own identity would be answered too.
    let helper = Helper::of(&aws);
    let node = helper.get(HOST).password_for(HOST);
    let token = |subject: &str, nonce| jwt(&format!("system:serviceaccount:{subject}"), nonce);
    let asked = |subject: &str, nonce: u32, role: &str| {
        let before = (aws.count_of("sts"), aws.count_of("ecr"));
        let ran = ask_for(&helper, &image(), &token(subject, nonce), Some(role));
        let (password, keep) = credential(&ran, V1, HOST);
        is_about(keep, 6 * HOUR);
        let asked = (aws.count_of("sts") - before.0, aws.count_of("ecr") - before.1);
        assert!(asked == (1, 1) || asked == (0, 0), "{asked:?}");
        (password, asked.0 == 1)
    };
    let (first, cold) = asked("team-a:builder", 1, ROLE);
    assert!(cold && first.starts_with("ASIA-TeamA-by-jwt.us-east-1."), "{first}");
    let sts = aws.calls().into_iter().find(|call| call.service == "sts").expect("a call");
    let token = token("team-a:builder", 1);
    for field in [&format!("WebIdentityToken={token}"), "RoleSessionName=team-a.builder", "role%2Fpull%2FTeamA"] {
        assert!(sts.body.split('&').any(|pair| pair.ends_with(field)), "{field} in {}", sts.body);
    }
    assert_eq!((sts.operation.as_str(), sts.access_key.as_str()), ("AssumeRoleWithWebIdentity", ""), "not signed");

    assert_eq!(asked("team-a:builder", 1, ROLE), (first.clone(), false));
    assert_eq!(asked("team-a:builder", 2, ROLE), (first.clone(), false), "a rotated token");
    let mut passwords = vec![first.clone(), node.clone()];
    for (subject, role) in [
        ("team-a:other", ROLE),
        ("team-b:builder", ROLE),
        ("team-a:builder", "arn:aws:iam::111122223333:role/Other"),
        ("team-a:builder", "arn:aws:iam::444455556666:role/pull/TeamA"),
    ] {
        let (password, cold) = asked(subject, 1, role);
        assert!(cold && !passwords.contains(&password), "{subject} {role}");
        passwords.push(password);
    }
    assert_eq!(helper.get(HOST).password_for(HOST), node, "the node keeps its own");
    assert_eq!(credential(&ask(&helper, &image()), V1, HOST).0, node);
    assert_eq!(asked("team-a:builder", 3, ROLE), (first, false));
}

#[test]
fn accounts_are_distinguished_by_cluster_and_full_name() {
    let aws = Aws::start();
    let helper = bare(&aws);
    let long = |end| format!("system:serviceaccount:{}:{}{end}", "n".repeat(63), "a".repeat(200));
    let tokens = [
        jwt_by("https://one.example", &long("x"), 1),
        jwt_by("https://one.example", &long("y"), 1),
        jwt_by("https://two.example", &long("x"), 1),
    ];
    let ask = |token: &String| credential(&ask_for(&helper, &image(), token, Some(ROLE)), V1, HOST).0;
    let mut passwords: Vec<String> = tokens.iter().chain(&tokens).map(ask).collect();
    assert_eq!(passwords[..3], passwords[3..]);
    passwords.sort();
    passwords.dedup();
    assert_eq!((passwords.len(), aws.count_of("sts")), (3, 3));
}

#[test]
fn the_role_of_the_environment_is_for_accounts_without_one() {
    let aws = Aws::start();
    let helper = bare(&aws);
    let token = jwt("system:serviceaccount:team-a:builder", 1);
    for role in [None, Some("")] {
        let ran = ask_for(&helper, &image(), &token, role);
        let line = error(&ran);
        for word in ["'team-a.builder'", "eks.amazonaws.com/ecr-role-arn", "AWS_ECR_ROLE_ARN"] {
            assert!(line.contains(word), "{word} in {line}");
        }
    }
    assert_eq!(aws.count(), 0);
    let who = |ran: &Ran| credential(ran, V1, HOST).0.split('.').next().expect("a name").to_owned();
    let helper = helper.var("AWS_ECR_ROLE_ARN", "arn:aws:iam::111122223333:role/Default");
    assert_eq!(who(&ask_for(&helper, &image(), &token, None)), "ASIA-Default-by-jwt");
    assert_eq!(who(&ask_for(&helper, &image(), &token, Some(""))), "ASIA-Default-by-jwt");
    assert_eq!(who(&ask_for(&helper, &image(), &token, Some(ROLE))), "ASIA-TeamA-by-jwt");
    let calls = aws.count();
    error(&ask(&helper, &image()));
    assert_eq!(aws.count(), calls, "it is no role for the node");

    let wrong = "arn:aws:iam::111122223333:user/wrong";
    let ran = ask_for(&helper, &image(), &token, Some(wrong));
    let line = error(&ran);
    assert!(line.contains("eks.amazonaws.com/ecr-role-arn") && !line.contains(wrong), "{line}");
    let helper = helper.var("AWS_ECR_ROLE_ARN", "wrong");
    assert!(error(&ask_for(&helper, &image(), &token, None)).contains("from AWS_ECR_ROLE_ARN"));
}

/// kubelet sends the token of every pod's account when the configuration makes annotations optional, and the system's pods
/// have no role; the plugin that the helper replaces gives these the node's.
#[test]
fn under_the_replaced_plugins_name_an_account_without_a_role_gets_the_nodes() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let node = helper.get(HOST).password_for(HOST);
    let ask = |helper: &Helper, name: &str, token: &str, role: Option<&str>| {
        run(helper.command().arg0(name).arg("kubelet"), request_for(&image(), token, role).to_string())
    };
    let token = jwt("system:serviceaccount:kube-system:coredns", 1);
    for role in [None, Some("")] {
        for name in ["/opt/bin/ecr-credential-provider", "ecr-credential-provider-linux-amd64"] {
            assert_eq!(credential(&ask(&helper, name, &token, role), V1, HOST).0, node, "{name}");
        }
        let line = error(&ask(&helper, "/opt/bin/docker-credential-ecr-login", &token, role)).to_owned();
        assert!(line.contains("'kube-system.coredns'") && line.contains("ecr-credential-provider"), "{line}");
    }
    assert_eq!(aws.count_of("sts"), 0);

    // Whoever names a role gets that or nothing.
    let who = |ran: &Ran| credential(ran, V1, HOST).0.split('.').next().expect("a name").to_owned();
    assert_eq!(who(&ask(&helper, "ecr-credential-provider", &token, Some(ROLE))), "ASIA-TeamA-by-jwt");
    error(&ask(&helper, "ecr-credential-provider", &token, Some("wrong")));
    error(&ask(&helper, "ecr-credential-provider", "no JWT", Some(ROLE)));
    let helper = helper.var("AWS_ECR_ROLE_ARN", "arn:aws:iam::111122223333:role/Default");
    assert_eq!(who(&ask(&helper, "ecr-credential-provider", &token, None)), "ASIA-Default-by-jwt");

    let aws = Aws::with(Plan { service: "sts", failures: usize::MAX, ..Plan::default() });
    error(&ask(&Helper::of(&aws), "ecr-credential-provider", &token, Some(ROLE)));
    assert_eq!(aws.count_of("ecr"), 0, "a role that cannot be assumed is not answered with the node's");
}

#[test]
fn session_names_are_what_sts_allows() {
    let aws = Aws::start();
    let long = format!("system:serviceaccount:{}:{}", "n".repeat(63), "a".repeat(253));
    for (subject, name) in [
        ("system:serviceaccount:team-a:builder.v2", "team-a.builder.v2"),
        (long.as_str(), &format!("{}.", "n".repeat(63))),
        ("system:serviceaccount:a:b/c d:e", "a.b-c-d-e"),
        ("somebody", "docker-credential-ecr-login"),
    ] {
        credential(&ask_for(&bare(&aws), &image(), &jwt(subject, 1), Some(ROLE)), V1, HOST);
        let sts = aws.calls().into_iter().rfind(|call| call.service == "sts").expect("a call");
        let sent = sts.body.split('&').find_map(|pair| pair.strip_prefix("RoleSessionName=")).expect("a name");
        assert_eq!(sent, name);
    }
}

#[test]
fn the_role_is_assumed_in_the_region_of_the_image() {
    let (proxy, notes) = noting_proxy();
    let helper = Helper::bare().var("HTTPS_PROXY", &proxy).var("AWS_MAX_ATTEMPTS", "1").var("AWS_REGION", "us-west-2");
    let image = "111122223333.dkr.ecr.eu-north-1.amazonaws.com/app";
    let ran = ask_for(&helper, image, &jwt("system:serviceaccount:a:b", 1), Some(ROLE));
    assert!(error(&ran).contains("sts.eu-north-1.amazonaws.com"), "{ran:?}");
    assert!(notes.lock().expect("notes").contains(&"sts.eu-north-1.amazonaws.com:443".to_owned()));
}

#[test]
fn a_refusal_of_sts_is_explained_without_what_it_quotes() {
    let token = jwt("system:serviceaccount:team-a:builder", 1);
    // The stand-in's messages are texts that last.
    let quoting: &'static str = format!("Value '{token}' at 'webIdentityToken' for {ROLE} is wrong").leak();
    for (code, message, words) in [
        ("InvalidIdentityToken", "No OpenIDConnect provider found", &["OpenIDConnect", "trust policy"][..]),
        ("ExpiredTokenException", "Token expired: it is late", &["it is late", "does not accept the token"]),
        ("AccessDenied", "Not authorized", &["AccessDenied", "trust policy"]),
        ("ValidationError", quoting, &["ValidationError", "webIdentityToken"]),
        ("Throttling", "Rate exceeded", &["STS is throttling"]),
    ] {
        let failure = (400, code, message);
        let aws = Aws::with(Plan { service: "sts", failures: usize::MAX, failure, ..Plan::default() });
        let ran = ask_for(&Helper::of(&aws), &image(), &token, Some(ROLE));
        let line = error(&ran);
        for word in words {
            assert!(line.contains(word), "{word} in {line}");
        }
        assert!(code == "Throttling" || line.contains("'team-a.builder'"), "{line}");
        assert!(!line.contains(&token) && !line.contains(ROLE), "{line}");
        assert_eq!(aws.count_of("ecr"), 0, "the node's identity is not asked instead");
    }
}

#[test]
fn no_secret_in_the_log_at_any_level() {
    let token = jwt("system:serviceaccount:team-a:builder", 1);
    let quoting: &'static str = format!("Value '{token}' for {ROLE} is wrong").leak();
    let refusing = Plan {
        service: "sts",
        failures: usize::MAX,
        failure: (400, "ValidationError", quoting),
        password: Some("stand-in-password".to_owned()),
        ..Plan::default()
    };
    for plan in [Plan { failures: 0, ..refusing.clone() }, refusing] {
        let aws = Aws::with(plan);
        let helper = Helper::of(&aws).var("AWS_ECR_LOG", "trace");
        let mut said = String::new();
        for _ in 0..2 {
            said += &ask_for(&helper, &image(), &token, Some(ROLE)).stderr;
            said += &ask_for(&helper, &image(), &token, Some("wrong-stand-in-role")).stderr;
            said += &ask_for(&helper, "public.ecr.aws/a/b", &token, Some(ROLE)).stderr;
            said += &ask(&helper, &image()).stderr;
        }
        assert!(said.contains("token"), "{said}");
        for secret in [&token[..20], ROLE, "wrong-stand-in-role", "stand-in-password", SECRET_KEY] {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
    }
}

#[test]
fn a_role_without_a_token_is_refused_and_not_answered_with_the_nodes() {
    let aws = Aws::start();
    for token in ["", "absent"] {
        let mut request = serde_json::json!({
            "apiVersion": V1,
            "kind": "CredentialProviderRequest",
            "image": image(),
            "serviceAccountAnnotations": {"eks.amazonaws.com/ecr-role-arn": ROLE},
        });
        if token.is_empty() {
            request["serviceAccountToken"] = token.into();
        }
        let ran = Helper::of(&aws).run(&["kubelet"], request.to_string());
        assert!(error(&ran).contains("no service account token"), "{ran:?}");
    }
    assert_eq!(aws.count(), 0);
}
