//! Exchanges AWS credentials for an ECR token, through the AWS SDK.
//!
//! `aws_*` crates appear in this module alone, except for the parser of the AWS files in [`identity`](crate::identity), and so does
//! asynchronous code, except for the wait for signals in [`platform`](crate::platform). Only a cache miss enters the module.
//!
//! A current-thread runtime ([`runtime`]) runs one exchange under one deadline, in a thread of its own, so that a blocked system
//! call, such as a read from a file system that hangs, does not delay the answer. [`credentials`] are resolved before
//! the call to ECR ([`session`]): inside an API call, the SDK reports their failure as one of the connection. The call sends
//! no registry ids: a token is valid for every registry that the principal can reach in the region (Amazon ECR API
//! reference, GetAuthorizationToken). [`diagnose`] makes messages from the SDK's errors.

mod container;
mod context;
mod credentials;
mod diagnose;
mod dns;
mod endpoint;
mod github;
mod http;
mod instance;
mod key_document;
mod probe;
mod process;
mod runtime;
mod sdk_error;
mod sdk_setup;
mod session;
mod settings;
mod sso;
mod tls;

use std::sync::Arc;
use std::time::Instant;

use crate::config::Target;
use crate::error::Failure;
use crate::identity::{Identity, Source};
use context::run_with_context;
pub use credentials::MfaCode;
pub use probe::{RegistryAnswer, Route, ask_registry, route};
use sdk_setup::SdkSetup;
pub use session::{Issued, Session};
pub use sso::Renewal;
use sso::SignIn;

/// Requests a token for `target` from ECR, with the credentials of `identity`, by `deadline`.
pub fn request_token(target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<Issued, Failure> {
    run_with_context(target, identity, deadline, |context| async move {
        if !context.names_endpoint() {
            context.network.read_certificates().await;
        }
        let setup = SdkSetup::new(context);
        setup.preconnect().await;
        Box::pin(setup.open_session(&[])).await?.ecr_token().await
    })
}

/// Renews the sign-in of `identity` if it has one that expires soon.
pub fn renew_sign_in(target: &Target, identity: &Arc<Identity>, deadline: Instant) -> Result<Renewal, Failure> {
    let Source::Sso(sso) = identity.source() else { return Ok(Renewal::Unchanged) };
    if !SignIn::read(&identity.held).is_some_and(|sign_in| sign_in.needs_renewal()) {
        return Ok(Renewal::Unchanged);
    }
    let sso = sso.clone();
    run_with_context(target, identity, deadline, |context| async move {
        let setup = SdkSetup::new(context);
        sso::renew(&setup.config, &sso, &setup.context).await
    })
}
