//! TLS: rustls with ring or a FIPS module, and whose certificates are trusted.
//!
//! The cryptography is a feature of the crate: `ring`, the default, or `fips`, which wins where both are on. With `fips`, it is the
//! FIPS module of AWS-LC, X25519MLKEM768 is the preferred key exchange, and no connection is opened with settings that rustls does
//! not call FIPS. SECURITY.md has the figures of both, and of AWS-LC without FIPS, and says why ring is the default.
//!
//! Roots are those of `AWS_CA_BUNDLE`, else of the profile's `ca_bundle`, as in the AWS CLI; without either,
//! `SSL_CERT_FILE` and `SSL_CERT_DIR`, else the system's bundle. The SDK knows neither of the first two. They are
//! read once, when the first connection with TLS is wanted, in a thread beside the one that connects.

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
use crate::error::Failure;
use crate::identity::Identity;
use crate::input::{self, Content};

/// Where Linux systems keep all certificates in one file. The same ones also lie in a directory, one each; reading
/// that too, as rustls-native-certs does by itself, takes 2 ms more of a cold start.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whose certificates are trusted.
#[derive(Debug)]
pub(super) struct Trust {
    roots: Roots,
    config: OnceCell<Arc<ClientConfig>>,
}

#[derive(Clone, Debug)]
enum Roots {
    /// Of a file that the user named, and which setting named it.
    These(Arc<RootCertStore>, PathBuf, String),
    /// Of a file, of a directory or of both; the rest is the words for it.
    Among(Option<PathBuf>, Option<PathBuf>, String),
    System,
}

impl Trust {
    /// Reads the CA bundle, if one is set, for the profile that is in use.
    pub(super) fn new(identity: &Identity, deadline: Instant) -> Result<Self, Failure> {
        let (env, profile) = (&identity.env, identity.selected.name());
        let of_profile = || identity.profiles.profile(profile)?.get("ca_bundle").filter(|path| !path.is_empty());
        let bundle = match env.path("AWS_CA_BUNDLE") {
            Some(path) => Some((path, env.setting("AWS_CA_BUNDLE").to_owned())),
            None => of_profile().map(|path| (env.expand(Path::new(path)), format!("ca_bundle of profile '{profile}'"))),
        };
        let roots = match (bundle, env.path("SSL_CERT_FILE"), env.path("SSL_CERT_DIR")) {
            (Some((path, setting)), ..) => Roots::These(Arc::new(strictly(&path, &setting, deadline)?), path, setting),
            (None, None, None) => Roots::System,
            (None, file, dir) => {
                let words = file.iter().map(|file| format!("{} (SSL_CERT_FILE)", file.display()));
                let words = words.chain(dir.iter().map(|dir| format!("{} (SSL_CERT_DIR)", dir.display())));
                let words = words.collect::<Vec<_>>().join(" and ");
                Roots::Among(file, dir, words)
            }
        };
        Ok(Self { roots, config: OnceCell::new() })
    }

    /// In words, for explanations.
    pub(super) fn describe(&self) -> String {
        match &self.roots {
            Roots::These(_, path, setting) => format!("{} ({setting})", path.display()),
            Roots::Among(.., words) => words.clone(),
            Roots::System => "the system's certificates".to_owned(),
        }
    }

    /// What a connection is secured with.
    pub(super) async fn config(&self) -> Arc<ClientConfig> {
        let config = self.config.get_or_init(|| async {
            let roots = self.roots.clone();
            let loaded = tokio::task::spawn_blocking(move || client_config(roots.load())).await;
            Arc::new(loaded.expect("reading certificates does not panic"))
        });
        Arc::clone(config.await)
    }
}

impl Roots {
    fn load(self) -> Arc<RootCertStore> {
        let among = |file: Option<&Path>, dir: Option<&Path>| parsable(load_certs_from_paths(file, dir).certs);
        match self {
            Self::These(store, ..) => store,
            Self::Among(file, dir, _) => among(file.as_deref(), dir.as_deref()),
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

/// The system's certificates may hold some that rustls cannot read; the others are as good without them.
fn parsable(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    Arc::new(store)
}

/// What the user names must be right as a whole.
fn strictly(path: &Path, setting: &str, deadline: Instant) -> Result<RootCertStore, Failure> {
    let unusable = |why: String| {
        let hint = format!("correct or unset {setting}: it must be a file of PEM certificates");
        Failure::new(
            Code::CaBundle,
            format!("the CA bundle {} ({setting}) cannot be used: {why}", path.display()),
            hint,
        )
    };
    let pem = match input::file(path, deadline).map_err(|error| unusable(error.to_string()))?.content {
        Content::Bytes(pem) => pem,
        Content::Absent => return Err(unusable("it does not exist".to_owned())),
        Content::Unreadable(why) => return Err(unusable(why)),
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        store.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(unusable("no certificate in it".to_owned()));
    }
    Ok(store)
}

fn client_config(roots: Arc<RootCertStore>) -> ClientConfig {
    let provider = Arc::new(cryptography::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = versions.expect("every provider has both").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Nobody connects twice.
    config.resumption = Resumption::disabled();
    config
}
