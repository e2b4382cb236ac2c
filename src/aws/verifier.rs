//! Verifies the certificate of a server.
//!
//! As rustls's own verifier does without revocation lists, by the same functions. It also accepts an authority's own certificate where a
//! setting names that very certificate, as OpenSSL and Go do: `openssl req -x509` makes such ones for servers. A named certificate is
//! an authority as well, whatever it says of itself.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// What a server's certificate is verified by.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) authorities: Arc<RootCertStore>,
    /// The certificates that a setting names, each of which may also be that of a server.
    pub(super) named: Vec<CertificateDer<'static>>,
}

/// The verifier of every connection. A named authority is accepted only after the check of its validity.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trusted: Arc<Trusted>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trusted { authorities, named } = &*self.trusted;
        let parsed = ParsedCertificate::try_from(certificate)?;
        match verify_server_cert_signed_by_trust_anchor(&parsed, authorities, others, now, self.algorithms.all) {
            Err(rustls::Error::InvalidCertificate(why)) if is_authority_itself(&why) && named.contains(certificate) => {
            }
            signed => signed?,
        }
        verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a certificate is refused for nothing but that it is one of an authority. rustls has the error of its parser in a box.
pub(super) fn is_authority_itself(why: &CertificateError) -> bool {
    matches!(why, CertificateError::Other(why) if why.to_string() == "CaUsedAsEndEntity")
}
