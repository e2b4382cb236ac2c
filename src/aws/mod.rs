//! Exchanges AWS credentials for an ECR token, through the AWS SDK.
//!
//! `aws_*` crates appear in this module alone, and so does asynchronous code, except for the wait for signals in
//! [`platform`](crate::platform). No cached `get` enters the module: it is for those that are not, and for commands that always ask AWS.
//!
//! One worker with a current-thread runtime takes every step of an [`exchange`]. The source of the [`credentials`] is asked first, then
//! the roles are assumed, then ECR is asked ([`session`]): inside an API call, the SDK reports a failure of the credentials as one of
//! the connection. The call sends no registry ids: a token is valid for every registry that the principal can reach in the region
//! (Amazon ECR API reference, GetAuthorizationToken). [`diagnose`] makes messages from the SDK's errors.

mod container;
mod context;
mod credentials;
mod diagnose;
mod dns;
mod endpoint;
mod exchange;
mod github;
mod http;
mod instance;
mod login;
mod probe;
mod process;
mod renewal;
mod sdk_config;
mod sdk_error;
mod session;
mod settings;
mod signing_keys;
mod sso;
mod tls;
mod verifier;
mod worker;

pub use credentials::MfaCode;
pub use exchange::Exchange;
#[cfg(fuzzing)]
pub use http::answer_with;
pub use probe::{RegistryAnswer, Route};
pub use renewal::Renewal;
pub use session::{IssuedToken, Session, SourceKeys};
