//! TLS with rustls, and the certificates that it trusts.
//!
//! The cryptography is a feature of the crate: `ring`, the default, or `fips`, which applies if both are enabled. With `fips` it is
//! the FIPS module of AWS-LC, which prefers X25519MLKEM768, and no connection is opened with settings that rustls does not call
//! FIPS. SECURITY.md compares both with AWS-LC without FIPS, and explains the default.
//!
//! The roots are those of `AWS_CA_BUNDLE`, else of the profile's `ca_bundle`, as in the AWS CLI; without either, those of
//! `SSL_CERT_FILE` and `SSL_CERT_DIR`, else the system's. The SDK supports neither of the first two. A file that one of
//! these two names is read at once, so that a mistake in it is an error; the others are read once, for the first connection
//! with TLS, in another thread while it connects.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustls::client::Resumption;
#[cfg(feature = "fips")]
use rustls::crypto::aws_lc_rs as cryptography;
#[cfg(all(feature = "ring", not(feature = "fips")))]
use rustls::crypto::ring as cryptography;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{load_certs_from_paths, load_native_certs};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::OnceCell;

use crate::code::Code;
use crate::config::Target;
use crate::error::Failure;
use crate::identity::Identity;
use crate::input::{self, Content};

/// The files in which Linux distributions have all certificates. rustls-native-certs would also read the directory that
/// holds the same certificates one by one, which takes 2 ms more.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The certificates that are trusted.
#[derive(Debug)]
pub(super) struct Trust {
    /// Names them, as the object of a sentence.
    description: String,
    roots: Roots,
    loaded: OnceCell<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ClientConfig>,
    /// Whether there is no certificate.
    is_empty: bool,
}

#[derive(Clone, Debug)]
enum Roots {
    /// Those of a CA bundle that was read already.
    Bundle(Arc<RootCertStore>),
    /// Those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, one of which is set.
    SslCert {
        file: Option<PathBuf>,
        dir: Option<PathBuf>,
    },
    System,
}

impl Trust {
    /// Reads the CA bundle, if one is set, for the profile that is in use.
    pub(super) fn new(target: &Target, identity: &Identity, deadline: Instant) -> Result<Self, Failure> {
        let (env, profile) = (&identity.env, identity.selected.name());
        let of_profile = || identity.profiles.profile(profile)?.get("ca_bundle");
        let bundle = match (&target.ca_bundle, env.path("AWS_CA_BUNDLE")) {
            (Some(path), _) => Some((path.clone(), "--ca-bundle".to_owned())),
            (None, Some(path)) => Some((path, "AWS_CA_BUNDLE".to_owned())),
            (None, None) => {
                of_profile().map(|path| (env.expand(Path::new(path)), format!("ca_bundle of profile '{profile}'")))
            }
        };
        let named = |(path, setting): &(PathBuf, String)| format!("{} ({setting})", path.display());
        let (description, roots) = match (bundle, env.path("SSL_CERT_FILE"), env.path("SSL_CERT_DIR")) {
            (Some(bundle), ..) => {
                let store = read_bundle(&bundle, deadline)?;
                (named(&bundle), Roots::Bundle(Arc::new(store)))
            }
            (None, None, None) => ("the system's certificates".to_owned(), Roots::System),
            (None, file, dir) => {
                let set = [("SSL_CERT_FILE", &file), ("SSL_CERT_DIR", &dir)].into_iter();
                let set = set.filter_map(|(setting, path)| Some(named(&(path.clone()?, setting.to_owned()))));
                (set.collect::<Vec<_>>().join(" and "), Roots::SslCert { file, dir })
            }
        };
        Ok(Self { description, roots, loaded: OnceCell::new() })
    }

    /// Names the certificates, as the object of a sentence.
    pub(super) fn describe(&self) -> &str {
        &self.description
    }

    /// Whether there are no certificates at all, as in an empty image.
    pub(super) fn is_empty(&self) -> bool {
        self.loaded.get().is_some_and(|loaded| loaded.is_empty)
    }

    /// The configuration of TLS connections. The first call reads the certificates.
    pub(super) async fn config(&self) -> Arc<ClientConfig> {
        let loaded = self.loaded.get_or_init(|| async {
            let roots = self.roots.clone();
            let load = move || {
                let store = roots.load();
                Loaded { is_empty: store.is_empty(), config: Arc::new(client_config(store)) }
            };
            tokio::task::spawn_blocking(load).await.expect("reading certificates does not panic")
        });
        loaded.await.config.clone()
    }
}

impl Roots {
    fn load(self) -> Arc<RootCertStore> {
        match self {
            Self::Bundle(store) => store,
            Self::SslCert { file, dir } => parsable(load_certs_from_paths(file.as_deref(), dir.as_deref()).certs),
            Self::System => {
                let bundle = BUNDLES.iter().map(Path::new).find(|path| cfg!(target_os = "linux") && path.exists());
                let pem = bundle.and_then(|bundle| std::fs::read(bundle).ok()).unwrap_or_default();
                let store = parsable(CertificateDer::pem_slice_iter(&pem).flatten());
                let store = Some(store).filter(|store| !store.is_empty());
                store.unwrap_or_else(|| parsable(load_native_certs().certs))
            }
        }
    }
}

/// The certificates that rustls can parse. The system may have others.
fn parsable(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    Arc::new(store)
}

/// Reads a CA bundle. Rejects a file with a certificate that cannot be parsed.
fn read_bundle((path, setting): &(PathBuf, String), deadline: Instant) -> Result<RootCertStore, Failure> {
    let read = || -> Result<RootCertStore, Box<dyn Error>> {
        let file = input::file(path, input::LARGEST, deadline).map_err(|error| error.to_string())?;
        let pem = match file.content {
            Content::Bytes(pem) => pem,
            Content::Absent => return Err("it does not exist".into()),
            Content::Unreadable(why) => return Err(why.into()),
        };
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            store.add(certificate?)?;
        }
        if store.is_empty() { Err("it contains no certificate".into()) } else { Ok(store) }
    };
    read().map_err(|why| {
        let what = format!("the CA bundle {} ({setting}) cannot be used: {why}", path.display());
        let hint = format!("correct or unset {setting}: it must be a file of PEM certificates");
        Failure::new(Code::CaBundle, what, hint)
    })
}

fn client_config(roots: Arc<RootCertStore>) -> ClientConfig {
    let provider = Arc::new(cryptography::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        versions.expect("every provider has TLS 1.2 and 1.3").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // The process is too short-lived to resume a session.
    config.resumption = Resumption::disabled();
    config
}
