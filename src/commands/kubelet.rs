//! The image credential provider of kubelets: reads an image from standard input and prints a credential for its registry, in
//! all versions of `credentialprovider.kubelet.k8s.io` (Kubernetes API reference, "Kubelet
//! CredentialProvider").
//!
//! kubelet writes the request and closes the pipe, refuses answers with a field that it does not know, shows standard error
//! when the exit code is not 0, and kills a plugin that runs for a minute. It compares the keys of `auth` with the image's
//! host and port letter by letter, so the key is the text in the image.
//!
//! Hosts that are neither ECR's nor configured, and ECR Public without a token, get a response without credentials: kubelet
//! then pulls anonymously. Such a response tells kubelet not to cache it: another request takes a millisecond, while a
//! cached response would outlast the setting or the outage that caused it by hours.
//!
//! A request with a service account's token is answered with the role of that account, so that the role alone decides who may
//! pull what. Under the helper's own name, an account without a role is refused and never gets the node's identity. Under the
//! name `ecr-credential-provider` it gets the node's identity, as from the plugin of that name: where the configuration makes
//! role and annotation optional, kubelet sends the token of every pod's account, and system pods have no role.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use log::info;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::docker::read_request;
use crate::answer;
use crate::code::Code;
use crate::config::{self, Caller, Config, ROLE_ARN_FORM, SESSION_NAME, ServiceAccount, is_role_arn};
use crate::env::Env;
use crate::error::Error;
use crate::identity::issuer_and_subject;
use crate::platform::StandardInput;
use crate::secret::Secret;
use crate::token_provider::{self, IssuedToken};

const VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];

/// Arguments of `kubelet`.
#[derive(Args, Debug)]
pub struct Kubelet {
    /// Whether a service account for which neither its annotation nor the environment names a role gets the node's identity,
    /// and no error.
    #[arg(skip)]
    roleless_as_node: bool,
}

/// The annotation with the role of a service account.
const ROLE_ANNOTATION: &str = "eks.amazonaws.com/ecr-role-arn";
/// The role of service accounts without the annotation.
const ROLE_VARIABLE: &str = "AWS_ECR_ROLE_ARN";

/// The largest request, in bytes. The annotations of a Kubernetes object have at most 256 KiB.
const LONGEST_INPUT: u64 = 1024 * 1024;

/// The longest session name that STS accepts.
const LONGEST_SESSION_NAME: usize = 64;

/// A request. Unknown fields of later versions are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    image: String,
    service_account_token: Option<Secret>,
    service_account_annotations: Option<BTreeMap<String, String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    api_version: &'a str,
    kind: &'static str,
    cache_key_type: &'static str,
    cache_duration: String,
    auth: BTreeMap<&'a str, Credential<'a>>,
}

#[derive(Serialize)]
struct Credential<'a> {
    username: &'a str,
    password: &'a Secret,
}

impl Kubelet {
    /// The plugin of cloud-provider-aws, which the helper replaces, if the program was started under its name. Its arguments are
    /// ignored. On Windows, file names are matched without case.
    pub fn started_as(name: &str) -> Option<Self> {
        let name = if cfg!(windows) { name.to_ascii_lowercase() } else { name.to_owned() };
        // The releases of that plugin have the platform in the names of their files.
        let rest = name.strip_suffix(".exe").unwrap_or(&name).strip_prefix("ecr-credential-provider")?;
        (rest.is_empty() || rest.starts_with('-')).then_some(Self { roleless_as_node: true })
    }

    /// Answers the request on standard input.
    pub fn run(&self, env: &Env, output: &mut impl Write) -> Result<ExitCode, Error> {
        let started = Instant::now();
        let config = Config::load(env, config::deadline(env, started))?;
        let deadline = started + config.timeout();
        let input = StandardInput::until(deadline).take(LONGEST_INPUT);
        let answer = self.answer(env, &config, &read_request(input, 64 * 1024, BY_KUBELET)?, deadline)?;
        output.write_all(&answer).and_then(|()| output.flush()).map_err(|error| Error::unanswered(&error))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Returns the answer to a request. Public for the fuzz target `kubelet`.
    #[doc(hidden)]
    pub fn answer(
        &self,
        env: &Env,
        config: &Config,
        input: &[u8],
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let request = Request::decode(input)?;
        let issued = self.token(env, config, &request, deadline)?;
        answer::line(&Response::new(&request, issued.as_ref()))
    }

    /// The token for the image; `None` if it is pulled anonymously.
    fn token(
        &self,
        env: &Env,
        config: &Config,
        request: &Request,
        deadline: Instant,
    ) -> Result<Option<IssuedToken>, Error> {
        let Some(mut target) = config.target(env, request.registry())? else { return Ok(None) };
        let issued = request.service_account(env, self.roleless_as_node).and_then(|account| {
            if let Some(account) = account {
                target.call_as(Caller::ServiceAccount(account), "the request of kubelet");
            }
            Ok(token_provider::issue(env, &target, deadline)?)
        });
        match issued {
            Err(Error::Failed(failure)) if target.registry.is_public() => {
                info!(error:% = failure.without_quote(); "answered without a token: images of ECR Public need none");
                Ok(None)
            }
            issued => issued.map(Some),
        }
    }
}

impl Request {
    fn decode(input: &[u8]) -> Result<Self, Error> {
        let request: Self = serde_json::from_slice(input).map_err(|error| {
            // The parser's message may quote the input, which may have a token.
            let (line, column) = (error.line(), error.column());
            wrong(format!("cannot be read: not a CredentialProviderRequest at line {line} column {column}"))
        })?;
        if request.kind != "CredentialProviderRequest" {
            return Err(wrong("has a kind that is not CredentialProviderRequest"));
        }
        if !VERSIONS.contains(&request.api_version.as_str()) {
            let known = VERSIONS.join(", ");
            return Err(wrong(format!("has an apiVersion that is none of {known}")));
        }
        if request.image.is_empty() {
            return Err(wrong("names no image"));
        }
        Ok(request)
    }

    /// Host and port as the image spells them.
    fn registry(&self) -> &str {
        self.image.split_once('/').map_or(self.image.as_str(), |(registry, _)| registry)
    }

    /// The service account that pulls; `None` for the node. Errors contain neither the token nor the annotations.
    fn service_account(&self, env: &Env, roleless_as_node: bool) -> Result<Option<ServiceAccount>, Error> {
        let annotations = self.service_account_annotations.as_ref();
        let annotation = annotations.and_then(|all| all.get(ROLE_ANNOTATION)).filter(|arn| !arn.is_empty());
        let Some(token) = self.service_account_token.as_ref().filter(|token| !token.expose().is_empty()) else {
            // Otherwise the node's identity would answer a request for a service account.
            if annotation.is_none() {
                return Ok(None);
            }
            let what = format!("the request has {ROLE_ANNOTATION} and no service account token");
            let fix = "let kubelet send one (tokenAttributes.serviceAccountTokenAudience)";
            return Err(Error::failed(Code::RequestInvalid, what, fix));
        };
        let by_variable = || Some((ROLE_VARIABLE, env.setting(ROLE_VARIABLE)?));
        let role = annotation.map(|arn| (ROLE_ANNOTATION, arn.as_str())).or_else(by_variable);
        if role.is_none() && roleless_as_node {
            info!("the service account names no role in {ROLE_ANNOTATION}; answering with the node's identity");
            return Ok(None);
        }
        let (_, subject) = issuer_and_subject(token.expose().as_bytes())
            .ok_or_else(|| wrong("has a service account token that is not a JWT with an issuer and a subject"))?;
        let session_name = session_name(&subject);
        let Some((setting, arn)) = role else {
            let hint = format!(
                "annotate it with {ROLE_ANNOTATION} and let kubelet pass that on \
                 (tokenAttributes.optionalServiceAccountAnnotationKeys), set {ROLE_VARIABLE} for all, or name the \
                 provider ecr-credential-provider for the node's role"
            );
            let what = format!("no role for the service account '{session_name}'");
            return Err(Error::failed(Code::SettingInvalid, what, hint));
        };
        if !is_role_arn(arn) {
            let what =
                format!("the role of the service account '{session_name}', from {setting}, is not the ARN of a role");
            return Err(Error::failed(Code::SettingInvalid, what, format!("write {ROLE_ARN_FORM}")));
        }
        let (token, role_arn) = (token.clone(), arn.to_owned());
        Ok(Some(ServiceAccount { token, role_arn, session_name }))
    }
}

/// The fix for a request of another form.
const BY_KUBELET: &str = "let kubelet call the helper, or send a CredentialProviderRequest";

/// The error for a request that kubelet would not send.
fn wrong(what: impl std::fmt::Display) -> Error {
    let what = format!("the request on standard input {what}");
    Error::failed(Code::RequestInvalid, what, BY_KUBELET)
}

/// `<namespace>.<name>` in the characters that STS allows; a namespace has no dots.
fn session_name(subject: &str) -> String {
    let Some((namespace, name)) = subject.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
    else {
        return SESSION_NAME.to_owned();
    };
    let allowed = |c: char| if config::is_of_session_name(c) { c } else { '-' };
    format!("{namespace}.{name}").chars().map(allowed).take(LONGEST_SESSION_NAME).collect()
}

impl<'a> Response<'a> {
    fn new(request: &'a Request, issued: Option<&'a IssuedToken>) -> Self {
        let auth = |IssuedToken { token, .. }: &'a IssuedToken| {
            (request.registry(), Credential { username: &token.username, password: &token.password })
        };
        let keeps_for = issued.and_then(|issued| issued.valid_for).unwrap_or_default() / 2;
        Self {
            api_version: &request.api_version,
            kind: "CredentialProviderResponse",
            cache_key_type: "Registry",
            cache_duration: format!("{}s", keeps_for.as_secs()),
            auth: issued.map(auth).into_iter().collect(),
        }
    }
}
