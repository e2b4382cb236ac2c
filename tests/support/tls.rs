//! TLS in front of a stand-in, with a private authority.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A private authority and a certificate that it signed.
pub struct Authority {
    dir: tempfile::TempDir,
}

impl Authority {
    /// Makes both, for these names.
    pub fn for_names(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut of_authority = CertificateParams::default();
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        of_authority.distinguished_name.push(DnType::CommonName, "private authority");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(of_authority, key).expect("an authority");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut of_server = CertificateParams::new(names).expect("names");
        of_server.distinguished_name.push(DnType::CommonName, "server");
        let key = KeyPair::generate().expect("a key");
        let certificate = of_server.signed_by(&key, &authority).expect("a certificate");
        for (name, pem) in
            [("ca.pem", authority.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
        {
            std::fs::write(dir.path().join(name), pem).expect("a file");
        }
        Self { dir }
    }

    /// A server's certificate for `localhost` that is an authority of its own, valid in these years, as `openssl req -x509` makes it.
    pub fn itself(key: &KeyPair, years: std::ops::Range<i32>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        let pem = params.self_signed(key).expect("a certificate").pem();
        for (name, pem) in [("ca.pem", &pem), ("cert.pem", &pem), ("key.pem", &key.serialize_pem())] {
            std::fs::write(dir.path().join(name), pem).expect("a file");
        }
        Self { dir }
    }

    /// What its clients must trust.
    pub fn bundle(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Serves `app` over TLS on `listener`, until the process ends.
    pub fn serve(&self, listener: TcpListener, app: axum::Router) {
        let verifier = WebPkiClientVerifier::no_client_auth();
        self.serve_verified(listener, app, rustls::DEFAULT_VERSIONS, verifier);
    }

    /// The same in this version of TLS, for clients with a certificate that the authority signed.
    pub fn serve_known(&self, listener: TcpListener, app: axum::Router, version: &'static SupportedProtocolVersion) {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.bundle()).expect("a certificate");
        roots.add(authority).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        self.serve_verified(listener, app, &[version], verifier.expect("a verifier"));
    }

    fn serve_verified(
        &self,
        listener: TcpListener,
        app: axum::Router,
        versions: &[&'static SupportedProtocolVersion],
        verifier: Arc<dyn ClientCertVerifier>,
    ) {
        let read = |name: &str| std::fs::read(Path::new(self.dir.path()).join(name)).expect("a file");
        let certificate = CertificateDer::from_pem_slice(&read("cert.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(&read("key.pem")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate], key)
            .expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        listener.set_nonblocking(true).expect("a non-blocking listener");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(app.clone()));
                    tokio::spawn(async move {
                        // Or small writes would wait for each other, 40 ms at a time.
                        stream.set_nodelay(true).ok()?;
                        let secure = TokioIo::new(acceptor.accept(stream).await.ok()?);
                        http1::Builder::new().serve_connection(secure, service).await.ok()
                    });
                }
            });
        });
    }
}
