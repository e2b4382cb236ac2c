//! A Docker credential helper for Amazon ECR.
//!
//! Imports go downward only, in this order (`tests/suite/rules.rs` checks it):
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`cli`] | parses the arguments and runs the command |
//! | [`commands`] | the commands, a module each |
//! | [`fallback`] | calls another helper for the registries that are not ECR's |
//! | [`token_provider`] | the use case: a registry in, a token out |
//! | [`cache`] | tokens on disk, their age, and the single flight that makes one API call of many |
//! | [`aws`] | the exchange with AWS, and the messages for its failures |
//! | [`identity`] | who would call AWS, derived from settings: the profile, the source of credentials, the cache key |
//! | [`config`] | which identity a registry gets: the configuration file |
//! | [`containers`] | which credentials podman, buildah and skopeo use for a registry |
//! | [`client_config`] | which credentials docker uses for a registry |
//! | [`registry`] | parses server URLs and hosts |
//! | [`input`] | bounded reads of files |
//! | [`toml_text`], [`fields`] | bounded parsing of TOML, and of JSON objects with keys |
//! | [`display_time`] | times and durations for people |
//! | [`terminal`] | questions to the person at the terminal |
//! | [`answer`] | the one answer of the process |
//! | [`error`], [`code`] | failures, and their stable codes |
//! | [`token`], [`secret`] | what must not leak |
//! | [`log`], [`env`](mod@env) | the log, and the environment as captured at the start |
//! | [`spelling`] | guesses what a misspelt word means |
//! | [`quote`] | masks secrets in text of others, and tokens in settings |
//! | [`platform`] | code that differs between operating systems |
//! | [`text`] | cleans text of others for a terminal and for the log |
//!
//! A review of the core follows a token: [`commands::docker`] reads the request, [`config`] maps the registry, [`identity`]
//! decides who would call and makes the cache key, [`cache`] keeps tokens by this key, [`token_provider`] joins them, and
//! [`aws`] asks for a token. [`quote`], [`text`], [`secret`] and [`log`] decide what may be printed, [`platform`] whose files are read.
//!
//! The library exists for the program and its tests; its interface may change with any release.

#[cfg(not(any(feature = "ring", feature = "fips")))]
compile_error!("TLS needs the cryptography of the feature ring or fips");

pub mod answer;
pub mod aws;
pub mod cache;
pub mod cli;
pub mod client_config;
pub mod code;
pub mod commands;
pub mod config;
pub mod containers;
pub mod display_time;
pub mod env;
pub mod error;
pub mod fallback;
pub mod fields;
pub mod identity;
pub mod input;
pub mod log;
pub mod platform;
pub mod quote;
pub mod registry;
pub mod secret;
pub mod spelling;
pub mod terminal;
pub mod text;
pub mod token;
pub mod token_provider;
pub mod toml_text;

/// The name of the program, which clients look for on the PATH.
pub const NAME: &str = "docker-credential-ecr-login";

/// The version, from Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, if the build knew it; see build.rs.
pub const COMMIT: &str = env!("SOURCE_COMMIT");

/// The platform that it was built for, in Rust's terms.
pub const TARGET: &str = env!("BUILD_TARGET");

/// The TLS library and the cryptography under it; see [`aws`].
#[cfg(feature = "fips")]
pub const TLS: &str = concat!("rustls with AWS-LC FIPS ", env!("FIPS_MODULE"), ", X25519MLKEM768 preferred");
/// The TLS library and the cryptography under it; see [`aws`].
#[cfg(not(feature = "fips"))]
pub const TLS: &str = "rustls with ring";

/// The C library that it was built with and how it is linked, with the version where the build knew it; see build.rs.
#[cfg(target_feature = "crt-static")]
pub const C_LIBRARY: &str = concat!(env!("C_LIBRARY"), ", static");
/// The C library of the program, and how it is linked.
#[cfg(not(target_feature = "crt-static"))]
pub const C_LIBRARY: &str = concat!(env!("C_LIBRARY"), ", dynamic");
