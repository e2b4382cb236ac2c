//! The fix for what a service refuses: the policy that AWS names, a region of STS that is disabled, the setting of the endpoint.

use crate::HOST;
use crate::helper::{Helper, SECRET_KEY};
use crate::issuers::{SSO, sign_in};
use crate::namespace::{missing, skip};
use crate::support::aws::{Aws, Plan};

const ROLE: &str = "arn:aws:iam::111122223333:role/Pull";
const FILE: &str = ".config/docker-credential-ecr-login/config.toml";

/// AWS, whose `service` refuses everything with this code and message.
fn refusing(service: &'static str, code: &'static str, message: &'static str) -> Aws {
    Aws::with(Plan { service, failures: usize::MAX, failure: (403, code, message), ..Plan::default() })
}

/// A helper whose profile `a` has a role, for which profile `b` has the keys.
fn with_role(aws: &Aws) -> Helper {
    let helper = Helper::of(aws).without_keys().var("AWS_PROFILE", "a");
    let (a, b) = (format!("[profile a]\nrole_arn = {ROLE}\nsource_profile = b\n"), keys("profile b"));
    helper.write(".aws/config", &format!("{a}{b}"));
    helper
}

fn keys(section: &str) -> String {
    format!("[{section}]\naws_access_key_id = AKIABASE\naws_secret_access_key = {SECRET_KEY}\n")
}

/// A helper with a web identity in the environment.
fn with_token(aws: &Aws) -> Helper {
    let helper = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("AWS_ROLE_ARN", ROLE);
    let token = helper.write("token", "a.b.c");
    helper.var("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("UTF-8"))
}

#[test]
fn the_policy_that_aws_names_is_the_fix_whatever_service_names_it() {
    for (why, policy) in [
        (
            "x is not authorized to perform: y with an explicit deny in a service control policy",
            "service control policy",
        ),
        (
            "x is not authorized to perform: y with an explicit deny in a resource control policy",
            "resource control policy",
        ),
        (
            "x is not authorized to perform: y because no permissions boundary allows the y action",
            "permissions boundary",
        ),
        ("x is not authorized to perform: y because no session policy allows the y action", "session policy"),
        (
            "x is not authorized to perform: y because no VPC endpoint policy allows the y action",
            "policy of the VPC endpoint",
        ),
        // No permission that is added prevails over it.
        (
            "x is not authorized to perform: y with an explicit deny in an identity-based policy: arn:aws:iam::1:policy/P",
            "the identity's policy",
        ),
        ("x is not authorized to perform: y with an explicit deny in a resource-based policy", "the resource's policy"),
    ] {
        let sts = refusing("sts", "AccessDenied", why);
        let sso = refusing("sso", "ForbiddenException", why);
        let signed_in = Helper::bare().var("AWS_ENDPOINT_URL", &sso.url());
        let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
        signed_in.write(".aws/config", &format!("[default]\nsso_session = corp\n{SSO}{session}"));
        sign_in(&signed_in, "corp", "2099-01-01T00:00:00Z");
        for (helper, code) in [
            (with_role(&sts), "E-ROLE-DENIED"),
            (with_token(&sts), "E-WEB-IDENTITY-DENIED"),
            (signed_in, "E-SSO-DENIED"),
            (Helper::of(&refusing("ecr", "AccessDeniedException", why)), "E-ECR-DENIED"),
        ] {
            let line = helper.get(HOST).error().to_owned();
            assert!(line.contains(&format!("{policy}, which denies the request [{code}]")), "{line}");
            assert!(!line.contains("trust policy") && !line.contains("check "), "{line}");
        }
    }
    // A policy of the caller itself.
    let why = "x is not authorized to perform: sts:AssumeRole because no identity-based policy allows the action";
    let line = with_role(&refusing("sts", "AccessDenied", why)).get(HOST).error().to_owned();
    assert!(line.contains("the caller's permission for sts:AssumeRole"), "{line}");
}

/// Another code would change nothing.
#[test]
fn login_names_the_cause_when_a_role_is_denied_with_a_code() {
    if missing(&["script"]).is_some() {
        return skip("login with MFA that is denied", "script is not installed");
    }
    for (why, fix) in [
        ("x is not authorized to perform: y", "check the role's trust policy, "),
        (
            "x is not authorized to perform: y with an explicit deny in a service control policy",
            "change the organization's",
        ),
    ] {
        let aws = refusing("sts", "AccessDenied", why);
        let helper = with_role(&aws);
        let with_mfa =
            format!("[profile a]\nrole_arn = {ROLE}\nsource_profile = b\nmfa_serial = arn:aws:iam::1:mfa/me\n");
        helper.write(".aws/config", &format!("{with_mfa}{}", keys("profile b")));
        let (screen, code) = helper.on_terminal(&["login", HOST], "123456\n");
        assert!(code != Some(0) && screen.contains("may not assume") && screen.contains(fix), "{screen}");
        assert!(!screen.contains("requires an MFA code"), "{screen}");
        // Without a code, the policy may deny only that.
        assert!(helper.get(HOST).error().contains("requires an MFA code"));
    }
}

/// The helper sends no policy.
#[test]
fn session_policies_that_sts_does_not_take_are_blamed_on_no_trust_policy() {
    for code in ["PackedPolicyTooLarge", "MalformedPolicyDocument"] {
        let sts = refusing("sts", code, "no");
        for helper in [with_role(&sts), with_token(&sts)] {
            let line = helper.get(HOST).error().to_owned();
            assert!(
                line.contains(&format!("STS refused: {code}: no; shorten or correct the session policies")),
                "{line}"
            );
            assert!(!line.contains("trust policy") && !line.contains("may not assume"), "{line}");
        }
    }
}

/// STS whose region `us-east-1` is disabled.
fn disabled() -> Aws {
    refusing("sts", "RegionDisabledException", "STS is not activated in this region")
}

/// Asserts that the fix for a disabled region ends in this, and that STS is asked in another region after `follow`.
#[track_caller]
fn moves_to_another_region(aws: &Aws, helper: &Helper, fix: &str) {
    let table = format!("[[registry]]\nmatch = \"111122223333.*\"\nrole_arn = \"{ROLE}\"\nregion = \"eu-west-1\"\n");
    let line = helper.get(HOST).error().to_owned();
    assert!(line.ends_with(&format!("enable us-east-1 for the account{fix} [E-REGION-DISABLED]")), "{line}");
    let profile = fix.split_once("profile = '").and_then(|(_, rest)| rest.split_once('\''));
    let profile = profile.map_or_else(String::new, |(name, _)| format!("profile = \"{name}\"\n"));
    helper.write(FILE, &format!("{table}{profile}"));
    aws.change(|plan| plan.failures = 0);
}

#[track_caller]
fn asks_in_other_region(aws: &Aws, helper: &Helper) {
    helper.get(HOST).password_for(HOST);
    let call = aws.calls().into_iter().rfind(|call| call.operation == "AssumeRole").expect("a role");
    assert_eq!(call.region, "eu-west-1");
}

#[test]
fn the_fix_for_a_disabled_region_of_sts_can_be_followed() {
    let moved = ", or move role_arn from the profile to the helper's configuration, beside 'region' for STS";
    let aws = disabled();
    let helper = with_role(&aws);
    moves_to_another_region(&aws, &helper, &format!("{moved} and profile = 'b'"));
    asks_in_other_region(&aws, &helper);
    // A profile with keys of its own.
    let aws = disabled();
    let helper = Helper::of(&aws).without_keys().var("AWS_PROFILE", "a");
    helper.write(".aws/config", &format!("{}role_arn = {ROLE}\nsource_profile = a\n", keys("profile a")));
    moves_to_another_region(&aws, &helper, &format!("{moved} and profile = 'a'"));
    helper.write(".aws/config", &format!("{}source_profile = a\n", keys("profile a")));
    asks_in_other_region(&aws, &helper);
    // A profile that the helper's own settings name.
    let aws = disabled();
    let variable = "AWS_ECR_PROFILE_111122223333";
    let helper = with_role(&aws).var(variable, "a");
    moves_to_another_region(&aws, &helper, &format!("{moved} and profile = 'b', and unset {variable}"));
    asks_in_other_region(&aws, &helper.var(variable, ""));
    // The role of the instance as the source.
    let aws = disabled();
    let helper = Helper::of(&aws).without_keys().var("AWS_PROFILE", "a").var("AWS_EC2_METADATA_DISABLED", "");
    let helper = helper.var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &aws.url());
    let source = "credential_source = Ec2InstanceMetadata\n";
    helper.write(".aws/config", &format!("[profile a]\nrole_arn = {ROLE}\nexternal_id = x\n{source}"));
    let with_id = moved.replace("role_arn", "role_arn and external_id");
    moves_to_another_region(&aws, &helper, &format!("{with_id}, and remove credential_source"));
    helper.write(".aws/config", "[profile a]\n");
    asks_in_other_region(&aws, &helper);
    // The same by a profile that names no source.
    let aws = disabled();
    let helper = Helper::of(&aws).without_keys().var("AWS_PROFILE", "a").var("AWS_EC2_METADATA_DISABLED", "");
    let helper = helper.var("AWS_EC2_METADATA_SERVICE_ENDPOINT", &aws.url());
    helper.write(".aws/config", &format!("[profile a]\nrole_arn = {ROLE}\n"));
    moves_to_another_region(&aws, &helper, moved);
    // A role in a variable, with and without a profile in another.
    let of_variable = ", or move role_arn from the environment to the helper's configuration, beside 'region' for STS";
    let role = "AWS_ECR_ROLE_ARN_111122223333";
    let aws = disabled();
    let helper = Helper::of(&aws).without_keys().var(role, ROLE);
    helper.write(".aws/config", &keys("default"));
    moves_to_another_region(&aws, &helper, &format!("{of_variable}, and unset {role}"));
    asks_in_other_region(&aws, &helper.var(role, ""));
    let aws = disabled();
    let helper = Helper::of(&aws).without_keys().var(role, ROLE).var(variable, "b");
    helper.write(".aws/config", &keys("profile b"));
    let fix = format!("{of_variable} and profile = 'b', and unset {variable} and {role}");
    moves_to_another_region(&aws, &helper, &fix);
    asks_in_other_region(&aws, &helper.var(role, "").var(variable, ""));
}

/// Its request has no signature, which would hold the region.
#[test]
fn a_web_identity_in_a_disabled_region_follows_the_url_of_sts() {
    let (aws, other) = (disabled(), Aws::start());
    let job = Helper::bare().var("AWS_ENDPOINT_URL", &aws.url()).var("JOB", "a.b.c");
    let job = job.var("AWS_ECR_WEB_IDENTITY", "env:JOB").var("AWS_ECR_ROLE_ARN", ROLE);
    for helper in [with_token(&aws), job] {
        let line = helper.get(HOST).error().to_owned();
        assert!(
            line.contains("; enable us-east-1 for the account, or set AWS_ENDPOINT_URL_STS to the URL of STS"),
            "{line}"
        );
        helper.var("AWS_ENDPOINT_URL_STS", &other.url()).get(HOST).password_for(HOST);
        assert_eq!(other.calls().last().expect("a call").operation, "AssumeRoleWithWebIdentity");
    }
}

/// The first role would ask STS in the same region wherever the second one stands, keys of an account exclude the file, and the file
/// has no MFA device.
#[test]
fn where_no_setting_leads_to_another_region_of_sts_none_is_named() {
    let aws = disabled();
    let chain = with_role(&aws).var("AWS_ECR_PROFILE_111122223333", "a").var("AWS_ECR_ROLE_ARN_111122223333", ROLE);
    let of_account = Helper::of(&aws).var("AWS_ECR_ROLE_ARN_111122223333", ROLE);
    let of_account = of_account.var("AWS_ECR_ACCESS_KEY_ID_111122223333", "AKIABASE");
    let of_account = of_account.var("AWS_ECR_SECRET_ACCESS_KEY_111122223333", SECRET_KEY);
    let with_mfa = with_role(&aws);
    let mfa = "mfa_serial = arn:aws:iam::111122223333:mfa/me\n";
    let role = format!("[profile a]\nrole_arn = {ROLE}\nsource_profile = b\n{mfa}");
    with_mfa.write(".aws/config", &format!("{role}{}", keys("profile b")));
    for helper in [chain, of_account, with_mfa] {
        let line = helper.get(HOST).error().to_owned();
        assert!(line.ends_with("; enable us-east-1 for the account [E-REGION-DISABLED]"), "{line}");
    }
}

#[test]
fn one_endpoint_url_of_a_profile_is_named_once_and_for_what_is_asked() {
    let portal = crate::hostile::answering_with(axum::http::StatusCode::OK, "<html>".to_owned());
    let helper = |more: &str| {
        let helper = Helper::of(&Aws::start()).without_keys().var("AWS_ENDPOINT_URL", "").var("AWS_MAX_ATTEMPTS", "1");
        helper.write(".aws/config", &format!("{}endpoint_url = {portal}\n{more}", keys("default")));
        helper
    };
    for (more, services) in
        [(String::new(), "ECR"), (format!("role_arn = {ROLE}\nsource_profile = default\n"), "ECR and STS")]
    {
        let line = helper(&more).get(HOST).error().to_owned();
        let words = format!("; check the endpoint_url for {services} of profile 'default' in ");
        assert!(line.contains(&words) && line.matches("endpoint_url").count() == 1, "{line}");
    }
}
