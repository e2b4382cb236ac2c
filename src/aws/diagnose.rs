//! From the SDK's errors to sentences for people: what happened, to whom, and what to do hint.
//!
//! Classes are told apart by types and error codes where the SDK shows them, by its texts only where it does not.
//! Nothing here quotes a request, a response body or a credential; what other programs printed is cut short.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_sdk_sts::operation::get_session_token::GetSessionTokenError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use rustls::CertificateError;

use super::Asked;
use super::http::{Network, TransportError, is_local};
use super::sdk_error::{Refusal, causes, chain, is_silence, refusal};
use crate::code::Code;
use crate::config::{Role, ServiceAccount, Target};
use crate::env::Env;
use crate::error::{Failure, one_line};
use crate::identity::{Identity, IdentityToken, Selected, Source, WebIdentity};
use crate::platform::shell_word;
use crate::secret::Secret;

/// What explanations are made from besides the error.
pub(super) struct Context {
    pub(super) target: Target,
    pub(super) identity: Arc<Identity>,
    pub(super) network: Network,
    pub(super) asked: Asked,
    pub(super) deadline: Instant,
}

impl Context {
    pub(super) fn env(&self) -> &Env {
        &self.identity.env
    }

    pub(super) fn source(&self) -> &Source {
        self.identity.source()
    }

    /// Whether the environment or the configuration say where a service is: then it may be one without TLS.
    pub(super) fn names_endpoint(&self) -> bool {
        let by_variable = |name: &OsStr| name.as_encoded_bytes().starts_with(b"AWS_ENDPOINT_URL");
        let set = self.env().iter().any(|(name, value)| by_variable(name) && !value.is_empty());
        self.target.endpoint_url.is_some() || set
    }

    /// Why no credentials could be had from the source.
    pub(super) fn credentials(&self, error: &CredentialsError) -> Failure {
        if let CredentialsError::CredentialsNotLoaded(_) = error {
            return self.nothing_found(error);
        }
        if let (Some(refusal), Some(account)) =
            (chain(error).find_map(refusal::<AssumeRoleWithWebIdentityError>), &self.target.service_account)
        {
            return self.service_account_denied(account, &refusal);
        }
        if let Some(failure) = self.network(error) {
            return failure;
        }
        let text = one_line(&causes(error));
        match self.source() {
            Source::Login { profile, .. } => Failure::new(
                Code::LoginExpired,
                format!("the 'aws login' session of profile '{profile}' has expired or is gone"),
                format!("run 'aws login --profile {}'", shell_word(profile)),
            ),
            Source::Process { profile, .. } => {
                // The SDK's only account of it is a text: "… exited with code <status>. Stderr: <text>".
                let (what, said) =
                    match text.split_once("exited with code ").map(|(_, rest)| rest.split_once(". Stderr:")) {
                        Some(Some((status, "" | " "))) => (format!("{status}, and nothing on standard error"), ""),
                        Some(Some((status, stderr))) => (status.to_owned(), stderr),
                        _ => ("it printed no credentials that can be read".to_owned(), ""),
                    };
                Failure::new(Code::CredentialProcess,
                    format!("the credential_process of profile '{profile}' failed: {what}"),
                    "run it by hand in the same environment; it must print JSON with Version, AccessKeyId and SecretAccessKey",
                )
                .quoting(said)
            }
            // On machines of others something else may answer at the metadata service's address.
            Source::Instance(_) => Failure::new(
                Code::CredentialsMissing,
                "no AWS credentials found; what answers as the instance metadata service gives none",
                "set AWS_PROFILE, run 'aws configure' or 'aws configure sso', or give this machine a role",
            )
            .quoting(&text),
            _ => Failure::new(
                Code::CredentialsInvalid,
                format!("the AWS credentials of {} cannot be used", self.who()),
                "check them with 'aws sts get-caller-identity' in the same environment",
            )
            .quoting(&text),
        }
    }

    /// Why a web identity has no credentials.
    pub(super) fn web_identity(&self, error: &CredentialsError, of: &WebIdentity, token: &Secret) -> Failure {
        let Some(refusal) = chain(error).find_map(refusal::<AssumeRoleWithWebIdentityError>) else {
            return self.credentials(error);
        };
        let hint = match &of.token {
            IdentityToken::File { .. } => {
                "check the role's trust policy, the token's audience and AWS_WEB_IDENTITY_TOKEN_FILE".to_owned()
            }
            IdentityToken::Variable { name, .. } => {
                format!("check that the role's trust policy trusts who issued the token in {name}, and its audience")
            }
            IdentityToken::GitHub(_) => {
                "check that the role's trust policy trusts token.actions.githubusercontent.com \
                 for this repository and ref, with the audience sts.amazonaws.com"
                    .to_owned()
            }
        };
        let role = &of.role_arn;
        // In common terms this would be a session's end.
        let expired = refusal.code.starts_with("ExpiredToken");
        if let (true, IdentityToken::Variable { name, .. }) = (expired, &of.token) {
            return Failure::new(
                Code::CredentialsExpired,
                format!("the web identity token in {name} has expired"),
                "get a new one from the CI system, or have it issue one that lasts for the whole job",
            );
        }
        if expired {
            return Failure::new(
                Code::WebIdentityDenied,
                format!("STS gives no credentials for the role {role}: the web identity token has expired"),
                "check what renews the token, and that the file it renews is the one that the settings name",
            )
            .quoting(refusal.message);
        }
        self.common(&refusal, "STS", &self.who()).unwrap_or_else(|| {
            // STS quotes parameters that it finds wrong.
            let said = refusal.message.replace(token.expose().trim(), "…");
            let what = match &of.token {
                IdentityToken::File { .. } => {
                    format!("STS does not accept the web identity token for the role {role}: {}", refusal.code)
                }
                _ => format!("STS does not accept {} for the role {role}: {}", self.who(), refusal.code),
            };
            Failure::new(Code::WebIdentityDenied, what, hint).quoting(&said)
        })
    }

    /// Why GitHub did not answer.
    pub(super) fn github(&self, error: &ConnectorError) -> Failure {
        let failure = self.network(error).unwrap_or_else(|| {
            Failure::new(Code::AnswerInvalid, "GitHub's answer cannot be read", "try again; check the network")
        });
        let what = format!("GitHub gives this job no identity token: {}", failure.what);
        let hint = match failure.code {
            Code::EndpointUnreachable => "check the network and HTTPS_PROXY".to_owned(),
            _ => failure.hint,
        };
        Failure { what, hint, ..failure }
    }

    /// Why a role could not be assumed.
    pub(super) fn role(&self, error: &CredentialsError, role: &Role) -> Failure {
        if let Some(refusal) = chain(error).find_map(refusal::<AssumeRoleError>) {
            return self.common(&refusal, "STS", &self.who_assumes(role)).map_or_else(
                || self.role_denied(&refusal, role),
                |Failure { code, what, quote, hint }| {
                    let what = format!("the role {} cannot be assumed: {what}", role.arn);
                    Failure { code, what, quote, hint }
                },
            );
        }
        if let Some(Failure { code, what, quote, hint }) = self.network(error) {
            return Failure {
                code,
                what: format!("STS cannot be asked for the role {}: {what}", role.arn),
                quote,
                hint,
            };
        }
        let what = format!("STS's answer about the role {} cannot be read", role.arn);
        Failure::new(Code::AnswerInvalid, what, "try again; check AWS_ENDPOINT_URL").quoting(&one_line(&causes(error)))
    }

    /// Why a user got no session for the code of an MFA device.
    pub(super) fn user_session(&self, error: &CredentialsError) -> Failure {
        let Some(refusal) = chain(error).find_map(refusal::<GetSessionTokenError>) else {
            return self.network(error).unwrap_or_else(|| {
                Failure::new(Code::AnswerInvalid, "STS's answer cannot be read", "try again; check AWS_ENDPOINT_URL")
                    .quoting(&one_line(&causes(error)))
            });
        };
        if refusal.message.contains(WRONG_CODE) {
            return wrong_code();
        }
        self.common(&refusal, "STS", &self.who()).unwrap_or_else(|| {
            Failure::new(
                Code::MfaRequired,
                format!("STS gives {} no session with MFA: {}", self.who(), refusal.code),
                "check mfa_serial in the profile, and that the device belongs to this user",
            )
            .quoting(refusal.message)
        })
    }

    /// Why ECR did not answer with a token.
    pub(super) fn service<E>(&self, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: Error + ProvideErrorMetadata + Debug + 'static,
    {
        let Some(refusal) = refusal::<E>(error) else {
            return self.network(error).unwrap_or_else(|| {
                Failure::new(Code::AnswerInvalid, "ECR's answer cannot be read", "try again; check AWS_ENDPOINT_URL")
                    .quoting(&one_line(&causes(error)))
            });
        };
        if let Some(failure) = self.common(&refusal, "ECR", &self.caller()) {
            return failure;
        }
        if refusal.code.starts_with("AccessDenied") {
            let public = self.target.registry.is_public();
            let action = if public { "ecr-public:GetAuthorizationToken" } else { "ecr:GetAuthorizationToken" };
            let more = if public { " and sts:GetServiceBearerToken" } else { "" };
            return Failure::new(
                Code::EcrDenied,
                format!("ECR denies access to {}: {}", self.caller(), refusal.describe()),
                denied_by(refusal.message, &format!("allow {action}{more} on resource * to this identity")),
            );
        }
        Failure::new(
            Code::ServiceError,
            format!("ECR refused: {}", refusal.describe()),
            if refusal.status >= 500 {
                "the fault is on AWS's side: try again, and see health.aws.amazon.com if it stays"
            } else {
                "try again; if it stays, check the endpoint settings"
            },
        )
    }

    /// Why another service did not answer.
    pub(super) fn other<E>(&self, service: &str, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: Error + ProvideErrorMetadata + Debug + 'static,
    {
        let refused = refusal::<E>(error).map(|refusal| {
            self.common(&refusal, service, &self.caller()).unwrap_or_else(|| {
                Failure::new(
                    Code::ServiceError,
                    format!("{service} refused: {}", refusal.code),
                    "check the credentials",
                )
                .quoting(refusal.message)
            })
        });
        refused.or_else(|| self.network(error)).unwrap_or_else(|| {
            Failure::new(
                Code::AnswerInvalid,
                format!("{service}'s answer cannot be read"),
                "try again; check AWS_ENDPOINT_URL",
            )
            .quoting(&one_line(&causes(error)))
        })
    }

    /// Why the registry itself did not answer.
    pub(super) fn registry(&self, error: &ConnectorError) -> Failure {
        self.network(error).unwrap_or_else(|| {
            Failure::new(Code::AnswerInvalid, "the registry's answer cannot be read", "try again; check the network")
                .quoting(&one_line(&causes(error)))
        })
    }

    /// Refusals that mean the same from every service; `caller` says in words whose credentials it was asked with.
    pub(super) fn common(&self, refusal: &Refusal, service: &str, caller: &str) -> Option<Failure> {
        const THROTTLED: &[&str] = &[
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestLimitExceeded",
            "TooManyRequestsException",
            "SlowDown",
        ];
        let Refusal { code, message, .. } = *refusal;
        let region = &self.target.registry.region;
        if let Some(skew) = refusal.skew
            && (code.contains("Signature") || code.contains("Skewed") || code.starts_with("Request"))
        {
            let (seconds, side) = (skew.unsigned_abs(), if skew > 0 { "ahead of" } else { "behind" });
            return Some(Failure::new(
                Code::ClockSkew,
                format!("{service} refuses the signature: this machine's clock is {seconds} s {side} AWS's"),
                "set the clock: 'timedatectl set-ntp true', or restart a virtual machine that slept",
            ));
        }
        if message.starts_with("Signature expired")
            || message.starts_with("Signature not yet current")
            || matches!(code, "RequestExpired" | "RequestTimeTooSkewed")
        {
            return Some(Failure::new(
                Code::ClockSkew,
                format!("{service} refuses the signature: by its time this machine's clock is wrong"),
                "set the clock: 'timedatectl set-ntp true', or restart a virtual machine that slept",
            ));
        }
        if THROTTLED.contains(&code) {
            return Some(Failure::new(
                Code::Throttled,
                format!("{service} is throttling this account's requests ({code})"),
                "wait a little and try again; jobs that share a cache directory make one request between them",
            ));
        }
        if code == "RegionDisabledException" || code.starts_with("OptInRequired") {
            return Some(Failure::new(
                Code::RegionDisabled,
                format!("the region {region} is disabled for this account ({code})"),
                format!("enable {region} for the account, or check the registry's host name"),
            ));
        }
        if code.starts_with("ExpiredToken") {
            return Some(Failure::new(
                Code::CredentialsExpired,
                format!("the session token of {caller} has expired"),
                "get new credentials: sign in again or refresh what sets them",
            ));
        }
        if matches!(code, "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId") {
            return Some(Failure::new(
                Code::CredentialsInvalid,
                format!("{service} in {region} does not know the access key of {caller}"),
                "check that the key exists, is of this partition, and that the account has the region enabled",
            ));
        }
        if code.contains("Signature") {
            return Some(Failure::new(
                Code::CredentialsInvalid,
                format!("{service} finds the secret key of {caller} wrong ({code})"),
                "check the secret access key that belongs to the access key id",
            ));
        }
        if code.is_empty()
            && let Some((proxy, variable)) = self.network.last_proxy()
        {
            return Some(Failure::new(
                Code::Proxy,
                format!(
                    "the proxy {proxy} answered for {} with an error that is not AWS's (HTTP {})",
                    self.network.last_endpoint(),
                    refusal.status
                ),
                format!("check {variable} and its user and password, or add the host to NO_PROXY"),
            ));
        }
        if message.is_empty() && code.is_empty() {
            return Some(Failure::new(
                Code::AnswerInvalid,
                format!(
                    "{} answered with an error that is not AWS's (HTTP {})",
                    self.network.last_endpoint(),
                    refusal.status
                ),
                "check what answers there: AWS_ENDPOINT_URL, the proxy, a captive portal",
            ));
        }
        None
    }

    fn service_account_denied(&self, account: &ServiceAccount, refusal: &Refusal) -> Failure {
        // In common terms this would be a session's end, and something to sign in to.
        let expired = refusal.code.starts_with("ExpiredToken");
        self.common(refusal, "STS", &self.who()).filter(|_| !expired).unwrap_or_else(|| {
            // STS quotes parameters that it finds wrong.
            let message = refusal.message.replace(account.token.expose(), "…").replace(&account.role_arn, "…");
            Failure::new(
                Code::WebIdentityDenied,
                format!("STS does not accept the token of {}: {}", self.who(), refusal.code),
                "check the role that eks.amazonaws.com/ecr-role-arn or AWS_ECR_ROLE_ARN names, its trust policy, \
                 and the token's audience",
            )
            .quoting(&message)
        })
    }

    fn role_denied(&self, refusal: &Refusal, role: &Role) -> Failure {
        let mfa = role.mfa_serial.is_some();
        let (role, who) = (&role.arn, self.who_assumes(role));
        if refusal.message.contains(WRONG_CODE) {
            return wrong_code();
        }
        if mfa || refusal.message.contains("MultiFactor") {
            return Failure::new(
                Code::MfaRequired,
                format!("{role} wants MFA, which a credential helper cannot ask for"),
                format!(
                    "run '{} login {}' on a terminal: it asks for the code, and pulls work until the token expires",
                    crate::NAME,
                    self.target.host
                ),
            );
        }
        Failure::new(
            Code::RoleDenied,
            format!("{who} may not assume {role}: {}", refusal.code),
            "check the role's trust policy, its external id, and that the caller is allowed sts:AssumeRole",
        )
        .quoting(refusal.message)
    }

    /// A request that got no answer.
    fn network(&self, error: &(dyn Error + 'static)) -> Option<Failure> {
        let trouble = chain(error).find_map(|error| error.downcast_ref::<TransportError>())?;
        let endpoint = self.network.last_endpoint();
        let proxy = self.network.last_proxy();
        Some(match (trouble, proxy) {
            (TransportError::Tls(rustls::Error::InvalidCertificate(reason)), _) => Failure::new(
                Code::TlsUntrusted,
                format!(
                    "the certificate of {endpoint} is not trusted by {}: {}",
                    self.network.roots(),
                    why_not(reason)
                ),
                "if a proxy or firewall signs for it, put its CA into a PEM file and name that in AWS_CA_BUNDLE",
            ),
            (TransportError::Tls(_), _) => Failure::new(
                Code::TlsFailed,
                format!("no TLS connection to {endpoint}: {trouble}"),
                "check AWS_ENDPOINT_URL, and what lies between",
            ),
            (_, Some((proxy, variable))) => Failure::new(
                Code::Proxy,
                format!("the proxy {proxy} does not connect to {endpoint}: {trouble}"),
                format!("check {variable} and its user and password, or add the host to NO_PROXY"),
            ),
            (_, None) => unreachable(&endpoint, &trouble.to_string()),
        })
    }

    /// There is no role on this instance, or this is no instance.
    fn nothing_found(&self, error: &CredentialsError) -> Failure {
        let disabled =
            self.env().text("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let name = self.identity.selected.name();
        let mut what = match (&self.identity.selected, disabled) {
            (Selected::Default, _) => format!(
                "no AWS credentials found; tried environment variables, profile '{name}' in the AWS config files, \
                 a web identity token, a container endpoint, {}",
                if disabled {
                    "not the instance role, since AWS_EC2_METADATA_DISABLED is set"
                } else {
                    "an instance role"
                }
            ),
            (_, true) => format!(
                "no AWS credentials found; profile '{name}' takes the instance's role, but AWS_EC2_METADATA_DISABLED is set"
            ),
            (_, false) => {
                format!("no AWS credentials found; profile '{name}' takes the instance's role, which gives none")
            }
        };
        for (set, missing) in
            [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")]
        {
            match (self.env().os(set).is_some(), self.env().os(missing).is_some()) {
                (true, false) => what.extend(["; ", set, " is set, but ", missing, " is not"]),
                (false, true) if set == "AWS_ACCESS_KEY_ID" => {
                    what.extend(["; ", missing, " is set, but ", set, " is not"]);
                }
                _ => {}
            }
        }
        if chain(error).any(is_silence) {
            return Failure::new(
                Code::CredentialsMissing,
                format!("{what}; the instance metadata service accepts connections but does not answer"),
                "in a container, raise the instance's metadata hop limit to 2: \
                 'aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2'",
            );
        }
        Failure::new(
            Code::CredentialsMissing,
            what,
            "set AWS_PROFILE, run 'aws configure' or 'aws configure sso', or give this machine a role",
        )
    }

    /// In words, who calls AWS in the end: the last role, or the source when there is none.
    pub(super) fn caller(&self) -> String {
        self.with_roles(self.identity.chain.roles.len())
    }

    /// In words, whose credentials this role is assumed with.
    fn who_assumes(&self, role: &Role) -> String {
        self.with_roles(self.identity.chain.roles.iter().position(|other| other == role).unwrap_or(0))
    }

    fn with_roles(&self, count: usize) -> String {
        match self.identity.chain.roles[..count].last() {
            Some(role) => format!("the role {}, assumed with {}", role.arn, self.who()),
            None => self.who(),
        }
    }

    /// The source of the credentials in words.
    pub(super) fn who(&self) -> String {
        match &self.target.service_account {
            Some(account) => format!("the service account '{}'", account.session_name),
            None => self.source().to_string(),
        }
    }
}

/// What to do about a denial, by the policy that AWS says it comes from.
fn denied_by(message: &str, otherwise: &str) -> String {
    for (words, policy) in [
        ("service control policy", "the organization's service control policy"),
        ("resource control policy", "the organization's resource control policy"),
        ("VPC endpoint policy", "the policy of the VPC endpoint"),
        ("permissions boundary", "the permissions boundary"),
        ("session policy", "the session policy"),
    ] {
        if message.contains(words) {
            return format!("the denial comes from {policy}: change it there");
        }
    }
    otherwise.to_owned()
}

/// What STS says of a code that is wrong or was used before.
const WRONG_CODE: &str = "invalid MFA one time pass code";

fn wrong_code() -> Failure {
    Failure::new(
        Code::MfaRequired,
        "AWS does not accept the MFA code",
        "wait for the hint code, since each is accepted once, and try again",
    )
}

/// Why a certificate is not trusted.
fn why_not(error: &CertificateError) -> String {
    use CertificateError as E;
    let known = match error {
        E::UnknownIssuer => "its issuer is unknown (UnknownIssuer)",
        E::Expired | E::ExpiredContext { .. } => "it has expired, or this machine's clock is wrong",
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet, or this machine's clock is wrong",
        E::NotValidForName | E::NotValidForNameContext { .. } => "it is for another host name",
        E::Revoked => "it is revoked",
        E::BadEncoding | E::BadSignature => "it is damaged",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "it is not one for servers",
        _ => return "it does not pass verification".to_owned(),
    };
    known.to_owned()
}

fn unreachable(endpoint: &str, what: &str) -> Failure {
    // Host and port, the host in brackets where it is an IPv6 address.
    let host = match endpoint.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => endpoint.split(':').next().unwrap_or_default(),
    };
    let local = is_local(host);
    let hint = if local {
        "check what is to answer there"
    } else {
        "check the network, HTTPS_PROXY, AWS_ENDPOINT_URL, a VPC endpoint if there is one, and the region"
    };
    Failure::new(Code::EndpointUnreachable, format!("cannot reach {endpoint}: {what}"), hint)
}
