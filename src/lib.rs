//! A Docker credential helper for Amazon ECR.
//!
//! Imports go downward only, in this order:
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`cli`] | what the arguments ask for |
//! | [`pages`] | manual pages and completions, from the definitions |
//! | [`docker`] | the credential helper protocol over a reader and a writer |
//! | [`bazel`] | the same word in Bazel's protocol |
//! | [`doctor`] | what would happen for a registry, and what to mend |
//! | [`setup`] | has docker or podman ask us for a registry |
//! | [`get_login_password`] | the password alone, as the AWS CLI prints it |
//! | [`export`] | passwords in files and variables, for programs that ask no helper |
//! | [`sign_in`] | tokens that a person asks for, drops and looks at |
//! | [`fallback`] | another helper, for the registries that are not ECR's |
//! | [`kubelet`] | the image credential provider of kubelets |
//! | [`login`] | the use case: a registry in, a token out |
//! | [`cache`] | tokens on disk, and the lock that makes one API call of many |
//! | [`aws`] | the exchange with AWS; asynchronous, as is nothing else but the wait for signals |
//! | [`identity`] | who would call AWS, told from settings: the cache key |
//! | [`config`] | whose token a registry gets: the configuration file |
//! | [`containers`] | what podman, buildah and skopeo do for a registry |
//! | [`client_config`] | what docker does for a registry |
//! | [`registry`] | what a server URL says |
//! | [`input`] | bounded reading of standard input and files |
//! | [`display_time`] | times and durations as people read them |
//! | [`answer`] | the one answer of the process |
//! | [`code`] | stable codes for what can be wrong |
//! | [`answer`] | the one answer of the process |
//! | [`token`], [`secret`], [`error`], [`env`](mod@env), [`log`] | what the others share |
//! | [`platform`] | what differs between operating systems |
//!
//! The library exists for the program and its tests; its interface may change with any release.

pub mod answer;
pub mod aws;
pub mod bazel;
pub mod cache;
pub mod cli;
pub mod client_config;
pub mod code;
pub mod config;
pub mod containers;
pub mod display_time;
pub mod docker;
pub mod doctor;
pub mod env;
pub mod error;
pub mod export;
pub mod fallback;
pub mod get_login_password;
pub mod identity;
pub mod input;
pub mod kubelet;
pub mod log;
pub mod login;
pub mod pages;
pub mod platform;
pub mod registry;
pub mod secret;
pub mod setup;
pub mod sign_in;
pub mod token;

/// The program's name, as clients look for it on the PATH.
pub const NAME: &str = "docker-credential-ecr-login";

/// The version, from Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, as far as the build knew; see build.rs.
pub const COMMIT: &str = env!("SOURCE_COMMIT");

/// The platform that it was built for, in Rust's terms.
pub const TARGET: &str = env!("BUILD_TARGET");

/// The C library that it was built with and how it is linked, with the version where the build knew it; see build.rs.
pub const C_LIBRARY: &str = env!("C_LIBRARY");
