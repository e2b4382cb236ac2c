//! TLS with rustls, and the certificates that it trusts.
//!
//! The cryptography is a feature of the crate: `ring`, the default, or `fips`, which applies if both are enabled. With `fips` it is
//! the FIPS module of AWS-LC, which prefers X25519MLKEM768, and no connection is opened with settings that rustls does not call
//! FIPS. SECURITY.md compares both with AWS-LC without FIPS, and explains the default.
//!
//! The roots are those of `AWS_CA_BUNDLE`, else of the profile's `ca_bundle`, as in the AWS CLI; without either, those of
//! `SSL_CERT_FILE` and `SSL_CERT_DIR`, else the system's. The SDK supports neither of the first two. What a setting names
//! is read at once. A mistake in one of the first two is an error; in the others only for TLS, since machines set them
//! without need. Either may hold the certificate of a server itself ([`Verifier`]). The system's are read once, for the first
//! connection with TLS, in another thread while it connects.

use std::fmt::Display;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
#[cfg(feature = "fips")]
use rustls::crypto::aws_lc_rs as cryptography;
#[cfg(all(feature = "ring", not(feature = "fips")))]
use rustls::crypto::ring as cryptography;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::load_native_certs;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::verifier::{Trusted, Verifier};
use crate::code::Code;
use crate::config::Target;
use crate::error::Failure;
use crate::identity::Identity;
use crate::input::{self, Content, ReadError};

/// The files in which Linux distributions have all certificates. rustls-native-certs would also read the directory that
/// holds the same certificates one by one, which takes 2 ms more, and would read a file of any size.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
    "/opt/etc/ssl/certs/ca-certificates.crt",
];

/// The directories in which they have them one by one.
const DIRS: &[&str] = &["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// The certificates that are trusted.
#[derive(Debug)]
pub(super) struct Trust {
    /// Names them, as the object of a sentence.
    description: String,
    /// Those that a setting names, which were read already; without one, those of the system are trusted.
    named: Option<Roots>,
    loaded: OnceCell<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ClientConfig>,
    /// Why there is no certificate, if there is none.
    failure: Option<Failure>,
}

/// Certificates, or why there are none.
type Roots = Result<Arc<Trusted>, Failure>;

impl Trust {
    /// Reads the CA bundle, if one is set, for the profile that is in use.
    pub(super) fn new(target: &Target, identity: &Identity, deadline: Instant) -> Result<Self, Failure> {
        let (env, profile) = (&identity.env, identity.selected.name());
        let of_profile = || identity.profiles.profile(profile)?.get("ca_bundle");
        let bundle = match (&target.ca_bundle, env.path_as_it_is("AWS_CA_BUNDLE")) {
            (Some(path), _) => Some((path.clone(), "--ca-bundle".to_owned())),
            (None, Some(path)) => Some((path, "AWS_CA_BUNDLE".to_owned())),
            (None, None) => of_profile().map(|path| (PathBuf::from(path), format!("ca_bundle of profile '{profile}'"))),
        };
        let ssl_cert = |setting: &str| Some((env.path_as_it_is(setting)?, setting.to_owned()));
        let ssl_cert: Vec<_> = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(ssl_cert).collect();
        let name = |(path, setting): &(PathBuf, String)| format!("{} ({setting})", path.display());
        let (description, named) = match bundle {
            Some(bundle) => (name(&bundle), Some(Ok(read_bundle(&bundle, deadline)?))),
            None if ssl_cert.is_empty() => ("the system's certificates".to_owned(), None),
            None => {
                let description = ssl_cert.iter().map(name).collect::<Vec<_>>().join(" and ");
                (description, Some(read_ssl_cert(&ssl_cert, deadline)?))
            }
        };
        Ok(Self { description, named, loaded: OnceCell::new() })
    }

    /// Names the certificates, as the object of a sentence.
    pub(super) fn describe(&self) -> &str {
        &self.description
    }

    /// Why no server can be trusted, once the certificates were read: there are none.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.loaded.get()?.failure.clone()
    }

    /// The configuration of TLS connections. The first call reads the certificates.
    pub(super) async fn config(&self) -> Arc<ClientConfig> {
        let loaded = self.loaded.get_or_init(|| async {
            let named = self.named.clone();
            let load = move || {
                let roots = named.unwrap_or_else(of_system_lately);
                let failure = roots.as_ref().err().cloned();
                let trusted = roots.unwrap_or_else(|_| of_setting(Vec::new()));
                Loaded { failure, config: Arc::new(client_config(trusted)) }
            };
            tokio::task::spawn_blocking(load).await.expect("reading certificates does not panic")
        });
        loaded.await.config.clone()
    }
}

/// The system's certificates, as one of the many exchanges of a command has found them a moment ago. An `export` that goes on for days
/// reads them again.
fn of_system_lately() -> Roots {
    const MOMENT: Duration = Duration::from_mins(1);
    static FOUND: Mutex<Option<(Instant, Arc<Trusted>)>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, store)) = &*found
        && at.elapsed() < MOMENT
    {
        return Ok(store.clone());
    }
    let roots = of_system();
    *found = roots.as_ref().ok().map(|store| (Instant::now(), store.clone()));
    roots
}

/// The system's certificates: those of the first place that has any.
fn of_system() -> Roots {
    type Found = Result<Vec<CertificateDer<'static>>, String>;
    let found: Box<dyn Iterator<Item = Found>> = if cfg!(target_os = "linux") {
        let in_bundle: fn(&Path) -> Found = |path| Ok(in_pem(&regular_file(path)?).collect());
        let places = [(BUNDLES, in_bundle), (DIRS, in_dir)].into_iter().flat_map(|(paths, read)| {
            // What this user cannot see may be there.
            let are_there = paths.iter().map(Path::new).filter(|path| path.try_exists().unwrap_or(true));
            are_there.map(move |path| read(path).map_err(|why| format!("{}: {why}", path.display())))
        });
        Box::new(places)
    } else {
        let native = load_native_certs();
        Box::new(iter::once(Ok(native.certs)).chain(native.errors.into_iter().map(|error| Err(error.to_string()))))
    };
    let mut unread = None;
    for found in found {
        match found.map(parsable) {
            Ok(authorities) if !authorities.is_empty() => {
                return Ok(Arc::new(Trusted { authorities, named: Vec::new() }));
            }
            Ok(_) => {}
            Err(why) => unread = unread.or(Some(why)),
        }
    }
    let none = "install ca-certificates, mount /etc/ssl/certs/ca-certificates.crt into the container";
    let (what, fix) = unread.map_or(("hold no CA certificate at all".to_owned(), none), |why| {
        (format!("cannot be read: {why}"), "let this user read a regular file there")
    });
    let hint = format!("{fix}, or name a PEM file in AWS_CA_BUNDLE");
    Err(Failure::new(Code::TlsUntrusted, format!("the system's certificates {what}"), hint))
}

/// The certificates that rustls can parse. The system may have others.
fn parsable<'a>(certificates: impl IntoIterator<Item = CertificateDer<'a>>) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates);
    Arc::new(store)
}

fn in_pem(pem: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).flatten()
}

/// The certificates in the regular files of a directory, which together are as large as one bundle at most.
fn in_dir(dir: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let (mut certificates, mut left) = (Vec::new(), input::LARGEST);
    let files = std::fs::read_dir(dir).map_err(|error| error.to_string())?.flatten();
    for pem in files.filter_map(|file| regular_file(&file.path()).ok()) {
        left = left.checked_sub(pem.len() as u64).ok_or_else(|| ReadError::TooLarge(input::LARGEST).to_string())?;
        certificates.extend(in_pem(&pem));
    }
    Ok(certificates)
}

/// The content of a regular file that has a size of one bundle at most, or why there is none.
fn regular_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let reading = input::regular_file(path, input::LARGEST).map_err(|error| error.to_string())?;
    bytes(path, reading.ok_or("it is not a regular file")?.content)
}

fn of_setting(named: Vec<CertificateDer<'static>>) -> Arc<Trusted> {
    let authorities = parsable(named.iter().map(|certificate| certificate.as_ref().into()));
    Arc::new(Trusted { authorities, named })
}

/// Reads what `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
fn read_ssl_cert(set: &[(PathBuf, String)], deadline: Instant) -> Result<Roots, Failure> {
    let (mut certificates, mut failure) = (Vec::new(), None);
    for (path, setting) in set {
        let found = if setting == "SSL_CERT_DIR" {
            in_dir(path)
        } else {
            let reading = input::file(path, input::LARGEST, deadline);
            bytes(path, reading.map_err(|why| unusable(path, setting, &why))?.content).and_then(|pem| {
                let found: Vec<_> = in_pem(&pem).collect();
                if found.is_empty() { Err(no_certificate(&pem).to_owned()) } else { Ok(found) }
            })
        };
        match found {
            Ok(found) => certificates.extend(found),
            Err(why) => failure = failure.or_else(|| Some(unusable(path, setting, &why))),
        }
    }
    let trusted = of_setting(certificates);
    if !trusted.authorities.is_empty() {
        return Ok(Ok(trusted));
    }
    let empty = || set.first().map(|(path, setting)| unusable(path, setting, &NO_CERTIFICATE));
    Ok(failure.or_else(empty).map_or(Ok(trusted), Err))
}

/// Reads a CA bundle. Rejects a file with a certificate that cannot be parsed.
fn read_bundle((path, setting): &(PathBuf, String), deadline: Instant) -> Result<Arc<Trusted>, Failure> {
    let read = || -> Result<Vec<CertificateDer<'static>>, String> {
        let pem = bytes(path, input::file(path, input::LARGEST, deadline).map_err(|error| error.to_string())?.content)?;
        let mut certificates = Vec::new();
        for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(&pem)) {
            let wrong = |what: &str| format!("its certificate number {number} {what}");
            let certificate = certificate.map_err(|error| wrong(describe_pem_error(&error)))?;
            let is_parsed = RootCertStore::empty().add(certificate.as_ref().into());
            is_parsed.map_err(|_| wrong("cannot be parsed"))?;
            certificates.push(certificate);
        }
        if certificates.is_empty() { Err(no_certificate(&pem).to_owned()) } else { Ok(certificates) }
    };
    read().map(of_setting).map_err(|why| unusable(path, setting, &why))
}

/// The parser's own texts hold lines of the file, as numbers.
fn describe_pem_error(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "has no line '-----END CERTIFICATE-----'",
        pem::Error::IllegalSectionStart { .. } => "begins with a line that is not '-----BEGIN CERTIFICATE-----'",
        pem::Error::Base64Decode(_) => "is not base64",
        _ => "cannot be read",
    }
}

const NO_CERTIFICATE: &str = "it contains no certificate";

/// What a file without any certificate holds in its place.
fn no_certificate(content: &[u8]) -> &'static str {
    let at = |text: &str| content.windows(text.len()).position(|window| window == text.as_bytes());
    let before = at("-----BEGIN CERTIFICATE-----").and_then(|at| content[..at].rsplit(|byte| *byte == b'\n').next());
    match (content, before) {
        ([0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'-', ..] | [b'-', 0, ..], _) => "it is UTF-16, and PEM is ASCII",
        ([0x30, 0x80..=0x84, ..], None) => "it is DER, not PEM",
        (_, Some([.., b'"' | b'\''])) => "its certificate is in quotes",
        (_, Some(before @ [_, ..])) if before.trim_ascii().is_empty() => "its lines are indented",
        (_, Some([_, ..])) => "it has text before '-----BEGIN CERTIFICATE-----' on the same line",
        (_, None) if at("-----BEGIN ").is_some() => "it has PEM, but no '-----BEGIN CERTIFICATE-----'",
        _ => NO_CERTIFICATE,
    }
}

/// The bytes of what was read, or why there are none. OpenSSL reads over a byte-order mark before a line, and the parser here does not.
fn bytes(path: &Path, content: Content) -> Result<Zeroizing<Vec<u8>>, String> {
    match content {
        Content::Bytes(mut pem) => {
            for at in 0..pem.len() {
                if pem[at..].starts_with("\u{feff}".as_bytes()) {
                    pem[at..at + 3].fill(b'\n');
                }
            }
            Ok(pem)
        }
        Content::Absent => Err("it does not exist".to_owned()),
        Content::Unreadable(why) => Err(format!("{why}{}", input::obstacle(path))),
    }
}

fn unusable(path: &Path, setting: &str, why: &dyn Display) -> Failure {
    let (kind, form) = match setting {
        "SSL_CERT_DIR" => ("directory of CA certificates", "a directory of files of PEM certificates"),
        _ => ("CA bundle", "a file of PEM certificates"),
    };
    let what = format!("the {kind} {} ({setting}) cannot be used: {why}", path.display());
    Failure::new(Code::CaBundle, what, format!("correct or unset {setting}: it must be {form}"))
}

fn client_config(trusted: Arc<Trusted>) -> ClientConfig {
    let provider = cryptography::default_provider();
    let algorithms = provider.signature_verification_algorithms;
    let versions = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let builder = versions.expect("every provider has TLS 1.2 and 1.3").dangerous();
    let verifier = Arc::new(Verifier { trusted, algorithms });
    let mut config = builder.with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // The process is too short-lived to resume a session.
    config.resumption = Resumption::disabled();
    config
}
