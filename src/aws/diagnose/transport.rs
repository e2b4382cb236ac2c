//! Requests that got no answer: no connection, no trust in a certificate, a proxy that refuses.

use std::error::Error;

use rustls::CertificateError;

use super::PORTAL;
use crate::aws::context::Context;
use crate::aws::http::{CHECK_NAME_SERVERS, NamedProxy, TransportError, host_of, is_local};
use crate::aws::sdk_error::chain;
use crate::aws::verifier::is_authority_itself;
use crate::code::Code;
use crate::error::{Failure, system_limit};

impl NamedProxy {
    /// The fix for a failure of this proxy.
    pub(in crate::aws) fn hint(&self) -> String {
        format!("check {} and its user and password, or add the host to NO_PROXY", self.variable)
    }
}

impl Context {
    /// The message for an error that a [`TransportError`] caused; `None` for others.
    pub(in crate::aws) fn transport_failure(&self, error: &(dyn Error + 'static)) -> Option<Failure> {
        chain(error).find_map(|error| error.downcast_ref::<TransportError>()).map(|cause| self.no_answer(cause))
    }

    /// The message for a request to what is no service of AWS, with what to check where nothing answers, or nothing that can be read.
    pub(in crate::aws) fn no_answer_of(&self, cause: &TransportError, hint: &str) -> Failure {
        let mut failure = self.no_answer(cause);
        if matches!(failure.code, Code::EndpointUnreachable | Code::AnswerInvalid) {
            hint.clone_into(&mut failure.hint);
        }
        failure
    }

    /// The message for a request that got no answer.
    pub(in crate::aws) fn no_answer(&self, cause: &TransportError) -> Failure {
        let authority = self.last.authority();
        if let Some(failure) = system_limit(&cause.to_string()) {
            return failure.with_context(format!("no connection to {authority}"));
        }
        match (cause, self.last.proxy()) {
            (TransportError::Tls(rustls::Error::InvalidCertificate(reason)), _) => {
                if let Some(failure) = self.network.trust_failure() {
                    return failure.with_context(format!("the certificate of {authority} cannot be checked"));
                }
                let (roots, why) = (self.network.describe_roots(), describe_certificate_error(reason));
                let hint = match reason {
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                        self.check("that DNS and the proxies on the way lead to the host of this name")
                    }
                    _ => {
                        "if a proxy or firewall replaces the certificate, name a PEM file with its CA in AWS_CA_BUNDLE"
                            .to_owned()
                    }
                };
                let what = format!("the certificate of {authority} is not trusted by {roots}: {why}");
                Failure::new(Code::TlsUntrusted, what, hint)
            }
            (TransportError::Tls(rustls::Error::InvalidMessage(_)), Some(proxy)) => Failure::new(
                Code::TlsFailed,
                format!("what answers for {authority} through the proxy {} does not speak TLS", proxy.authority),
                proxy.hint(),
            ),
            (TransportError::Tls(_), _) => Failure::new(
                Code::TlsFailed,
                format!("the TLS connection with {authority} failed: {cause}"),
                self.check("the proxies and firewalls on the way"),
            ),
            (TransportError::BadProxy(variable, _), _) => Failure::new(
                Code::SettingInvalid,
                cause.to_string(),
                format!(
                    "set {variable} e.g. to http://USER:PASSWORD@HOST:3128, with %2F for / in the password and the like, or unset it"
                ),
            ),
            (TransportError::NotFips, _) => Failure::new(
                Code::TlsFailed,
                format!("no TLS connection to {authority}: {cause}"),
                "build the program again with packaging/build --fips, and report this if that does not help",
            ),
            _ if cause.is_of_answer() => Failure::new(
                Code::AnswerInvalid,
                format!("what {authority} answers cannot be read: {cause}"),
                self.check(PORTAL),
            ),
            (_, Some(proxy)) if !self.last.has_reached_service() => Failure::new(
                Code::Proxy,
                format!("the proxy {} does not connect to {authority}: {cause}", proxy.authority),
                proxy.hint(),
            ),
            (_, proxy) => {
                let hint = if cause.is_of_name_server() {
                    CHECK_NAME_SERVERS.to_owned()
                } else if is_local(host_of(&authority)) {
                    "check that the service there is running".to_owned()
                } else {
                    self.check("the network, HTTPS_PROXY, a VPC endpoint if there is one, and the region")
                };
                let through = proxy.map_or_else(String::new, |proxy| format!(" through the proxy {}", proxy.authority));
                Failure::new(Code::EndpointUnreachable, format!("cannot reach {authority}{through}: {cause}"), hint)
            }
        }
    }
}

fn describe_certificate_error(error: &CertificateError) -> &'static str {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => "its issuer is unknown (UnknownIssuer)",
        E::Expired | E::ExpiredContext { .. } => "it has expired, or this machine's clock is wrong",
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet, or this machine's clock is wrong",
        E::NotValidForName | E::NotValidForNameContext { .. } => "it is for another host name",
        E::Revoked => "it is revoked",
        E::BadEncoding | E::BadSignature => "it is damaged",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "it is not a server certificate",
        _ if is_authority_itself(error) => "it is that of an authority itself, and not one of these",
        _ => "it does not pass verification",
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::describe_certificate_error;

    #[test]
    fn a_certificate_is_described_by_what_a_person_can_change() {
        for (error, words) in [
            (CertificateError::Expired, "clock is wrong"),
            (CertificateError::NotValidYet, "clock is wrong"),
            (CertificateError::NotValidForName, "another host name"),
            (CertificateError::UnknownIssuer, "issuer is unknown"),
            (CertificateError::ApplicationVerificationFailure, "does not pass"),
        ] {
            assert!(describe_certificate_error(&error).contains(words), "{error:?}");
        }
    }
}
