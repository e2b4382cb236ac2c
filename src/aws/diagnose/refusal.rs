//! Refusals that mean the same from every service: by their code, and by AWS's text where the code is the same for two causes.

use std::time::Duration;

use super::PORTAL;
use crate::aws::context::Context;
use crate::aws::http::WrongToken;
use crate::aws::sdk_error::Refusal;
use crate::code::Code;
use crate::config::{Caller, Target};
use crate::error::Failure;
use crate::identity::{Source, StaticKeys};
use crate::registry::Region;

/// The SDK and the services tolerate clocks that differ by some minutes. A smaller difference is not the cause of a refusal.
const TOLERATED: Duration = Duration::from_mins(4);

impl Context {
    /// The message for a refusal by `service`, unless its meaning depends on the call. `caller` describes the credentials
    /// that signed the request, `role_region` is the region that the settings of the role name for STS.
    pub(in crate::aws) fn common_refusal(
        &self,
        refusal: &Refusal,
        service: &'static str,
        caller: &str,
        role_region: Option<&Region>,
    ) -> Option<Failure> {
        let of_registry = self.target.registry.region();
        let (region, setting) = match (role_region, self.source()) {
            (Some(region), _) => (&**region, RegionSetting::Role),
            (None, Source::Sso(of)) if service == "SSO" => (&*of.region, RegionSetting::Sso),
            (None, _) if service == "STS" => (&*of_registry, RegionSetting::NoneOfSts(self.region_of_sts_hint())),
            (None, _) => (&*of_registry, RegionSetting::Registry),
        };
        clock_skew(refusal, service, self.last.clock_ahead())
            .or_else(|| self.wrong_token(refusal, service, region, caller))
            .or_else(|| by_code(refusal, service, caller, region, &setting))
            .or_else(|| self.answer_of_another(refusal))
    }

    /// How to have STS asked in another region where no setting names one, if that is possible. AWS accepts no signature for another
    /// region than the endpoint's, so the URL alone decides only for a request without one.
    fn region_of_sts_hint(&self) -> Option<String> {
        const BESIDE_ROLE: &str = "name another one for STS by 'region' beside role_arn in the helper's configuration";
        let Target { caller, chosen_by, .. } = &self.target;
        let variable = chosen_by.as_deref().filter(|setting| setting.starts_with("AWS_ECR_"));
        let is_in_file = caller.role().is_some() && variable.is_none();
        let role = match (&*self.identity.chain.roles, self.source(), caller) {
            ([], Source::WebIdentity(_), _) if is_in_file => return Some(BESIDE_ROLE.to_owned()),
            ([], Source::WebIdentity(_), _) => {
                let url = "the URL of STS in another region, e.g. https://sts.REGION.amazonaws.com";
                return Some(format!("set AWS_ENDPOINT_URL_STS to {url}"));
            }
            // The other roles, and the source itself, would still ask STS in this region. Keys of an account exclude the file,
            // which has no MFA device.
            (_, Source::WebIdentity(_), _) | (_, _, Caller::AccountKeys { .. }) => return None,
            ([role], _, _) if role.region.is_none() && role.mfa_serial.is_none() => role,
            _ => return None,
        };
        if is_in_file {
            return Some(BESIDE_ROLE.to_owned());
        }
        let of_profile = caller.role().is_none();
        let profile = if of_profile { self.source().profile() } else { caller.profile().map(|profile| &*profile.name) };
        if of_profile && profile.is_none() && caller.profile().is_some() {
            return None;
        }
        let profile = profile.map_or_else(String::new, |name| format!(" and profile = '{name}'"));
        let has_credential_source = || {
            let profile = self.identity.profiles.profile(self.identity.selected.name());
            profile.is_some_and(|profile| profile.get("credential_source").is_some())
        };
        let rest = match variable {
            Some(variable) if !of_profile && variable.starts_with("AWS_ECR_PROFILE_") => {
                format!(", and unset {variable} and {}", variable.replacen("PROFILE", "ROLE_ARN", 1))
            }
            Some(variable) => format!(", and unset {variable}"),
            None if has_credential_source() => ", and remove credential_source".to_owned(),
            None => String::new(),
        };
        let from = if of_profile { "the profile" } else { "the environment" };
        let with_id = if role.external_id.is_some() { " and external_id" } else { "" };
        Some(format!(
            "move role_arn{with_id} from {from} to the helper's configuration, beside 'region' for STS{profile}{rest}"
        ))
    }

    /// The message where an access key was refused that needs a session token, or that needs none.
    fn wrong_token(&self, refusal: &Refusal, service: &str, region: &str, caller: &str) -> Option<Failure> {
        let wrong = self.last.wrong_token().filter(|_| refusal.is_unknown_key() || refusal.is_expired_token())?;
        let place = match self.source() {
            Source::Keys(StaticKeys { profile: Some(profile), .. }) => {
                format!("aws_session_token of profile '{profile}'")
            }
            Source::Keys(_) => match (&self.target.caller, self.env().setting("AWS_SESSION_TOKEN")) {
                (Caller::AccountKeys { account, .. }, _) => format!("AWS_ECR_SESSION_TOKEN_{account}"),
                (_, None) if self.env().setting("AWS_SECURITY_TOKEN").is_some() => "AWS_SECURITY_TOKEN".to_owned(),
                _ => "AWS_SESSION_TOKEN".to_owned(),
            },
            Source::Process(_) => "SessionToken in the answer of the credential_process".to_owned(),
            _ => "the session token".to_owned(),
        };
        let (why, hint) = match wrong {
            WrongToken::Missing => (
                "which is temporary (ASIA…), without its session token",
                format!("set {place}: it comes with the access key and its secret"),
            ),
            WrongToken::OfAnother => (
                "which is a lasting one (AKIA…), with the session token of another key",
                format!("remove {place}: it belongs to other keys"),
            ),
        };
        let what = format!("{service} in {region} does not accept the access key of {caller}, {why}");
        Some(Failure::new(Code::CredentialsInvalid, what, hint).refused(refusal.refuses_identity()))
    }

    /// The message for a redirect, which AWS does not send, or an error without a code of AWS: a proxy, a captive portal or another
    /// server sent it.
    fn answer_of_another(&self, refusal: &Refusal) -> Option<Failure> {
        let (authority, status) = (self.last.authority(), refusal.status);
        let is_redirect = (300..400).contains(&status);
        if !refusal.code.is_empty() && !is_redirect {
            return None;
        }
        let what = match status {
            200..300 => format!("an answer that cannot be read (HTTP {status})"),
            _ if is_redirect => format!("a redirect (HTTP {status})"),
            _ => format!("an error that is not AWS's (HTTP {status})"),
        };
        if let Some(proxy) = self.last.proxy() {
            return Some(Failure::new(
                Code::Proxy,
                format!("the proxy {} answered for {authority} with {what}", proxy.authority),
                proxy.hint(),
            ));
        }
        (is_redirect || refusal.message.is_empty())
            .then(|| Failure::new(Code::AnswerInvalid, format!("{authority} answered with {what}"), self.check(PORTAL)))
    }
}

/// `ahead` says by how many seconds the local clock is ahead of the service's.
fn clock_skew(refusal: &Refusal, service: &str, ahead: i64) -> Option<Failure> {
    let Refusal { code, message, .. } = refusal;
    let is_about_time = || code.contains("Signature") || code.contains("Skewed") || code.starts_with("Request");
    let names_time = || {
        message.starts_with("Signature expired")
            || message.starts_with("Signature not yet current")
            || matches!(*code, "RequestExpired" | "RequestTimeTooSkewed")
    };
    let why = if ahead.unsigned_abs() > TOLERATED.as_secs() && is_about_time() {
        let side = if ahead > 0 { "ahead of" } else { "behind" };
        format!("this machine's clock is {} s {side} AWS's", ahead.unsigned_abs())
    } else if names_time() {
        "this machine's clock is wrong".to_owned()
    } else {
        return None;
    };
    Some(Failure::new(
        Code::ClockSkew,
        format!("{service} rejects the signature: {why}"),
        "set the clock: 'timedatectl set-ntp true', or restart a virtual machine that was suspended",
    ))
}

/// Where the region of a service comes from.
enum RegionSetting {
    /// The registry's host.
    Registry,
    /// The registry's host, for STS; how to have another region asked, if that is possible.
    NoneOfSts(Option<String>),
    /// `region` beside the role, for STS.
    Role,
    /// `sso_region`.
    Sso,
}

impl RegionSetting {
    /// How to have another region asked, after other advice.
    fn hint(&self) -> String {
        let hint = match self {
            Self::Registry => "correct the registry's host",
            Self::NoneOfSts(Some(hint)) => hint,
            Self::NoneOfSts(None) => return String::new(),
            Self::Role => "correct 'region' beside role_arn in the helper's configuration",
            Self::Sso => "correct sso_region",
        };
        format!(", or {hint}")
    }
}

/// What a refusal means by its code alone.
fn by_code(refusal: &Refusal, service: &str, caller: &str, region: &str, setting: &RegionSetting) -> Option<Failure> {
    let failure = match refusal.code {
        code if is_throttled(code) => Failure::new(
            Code::Throttled,
            format!("{service} is throttling this account's requests ({code})"),
            "try again later; jobs that share a cache directory make one request together",
        ),
        code if code == "RegionDisabledException" || code.starts_with("OptInRequired") => Failure::new(
            Code::RegionDisabled,
            format!("the region {region} is not enabled for this account ({code})"),
            format!("enable {region} for the account{}", setting.hint()),
        ),
        _ if refusal.is_expired_token() => Failure::new(
            Code::CredentialsExpired,
            format!("the session token of {caller} has expired"),
            "sign in again, or refresh the credentials",
        ),
        _ if refusal.is_unknown_key() => Failure::new(
            Code::CredentialsInvalid,
            format!("{service} in {region} does not know the access key of {caller}"),
            match setting {
                RegionSetting::Role => {
                    format!(
                        "check that the key exists in this partition, enable {region} for its account{}",
                        setting.hint()
                    )
                }
                _ => "check that the key exists in this partition, and that the region is enabled for its account"
                    .to_owned(),
            },
        ),
        code if code.contains("Signature") => Failure::new(
            Code::CredentialsInvalid,
            format!("{service} rejects the secret key of {caller} ({code})"),
            "correct the secret access key; it must belong to the access key id",
        ),
        _ => return None,
    };
    Some(failure.refused(refusal.refuses_identity()))
}

/// Whether a service limits the rate of requests, e.g. by `ThrottledException` or `RequestThrottled`.
fn is_throttled(code: &str) -> bool {
    let has_name = matches!(code, "RequestLimitExceeded" | "TooManyRequestsException");
    has_name || code.contains("Throttl") || code.starts_with("SlowDown")
}

#[cfg(test)]
mod tests {
    use super::{RegionSetting, by_code, clock_skew};
    use crate::aws::sdk_error::Refusal;
    use crate::code::Code;

    fn refusal<'a>(code: &'a str, message: &str) -> Refusal<'a> {
        Refusal { code, message: message.to_owned(), status: 400 }
    }

    #[test]
    fn a_wrong_clock_is_told_by_its_distance_where_the_answer_says_it() {
        let what = |code, message, ahead| clock_skew(&refusal(code, message), "ECR", ahead).map(|failure| failure.what);
        let ahead = what("InvalidSignatureException", "Signature not yet current", 400).expect("a failure");
        assert!(ahead.contains("400 s ahead of"), "{ahead}");
        let behind = what("RequestTimeTooSkewed", "", -3600).expect("a failure");
        assert!(behind.contains("3600 s behind"), "{behind}");
        let unknown =
            what("SignatureDoesNotMatch", "Signature expired: 1 is now earlier than 2", 0).expect("a failure");
        assert!(unknown.ends_with("clock is wrong"), "{unknown}");
        // A clock that is wrong explains no refusal of another kind, and a right one no signature.
        assert_eq!(what("AccessDeniedException", "no", 400), None);
        assert_eq!(what("SignatureDoesNotMatch", "the secret key is another", 0), None);
    }

    #[test]
    fn throttling_is_told_by_its_code_alone() {
        let failure =
            |code| by_code(&refusal(code, "Rate exceeded"), "ECR", "the caller", "us-east-1", &RegionSetting::Registry);
        assert_eq!(failure("ThrottlingException").expect("a failure").code, Code::Throttled);
        assert!(failure("AccessDeniedException").is_none());
    }
}
