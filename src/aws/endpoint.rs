//! The endpoint of ECR that a registry's token comes from.

use ::http::Uri;
use aws_config::SdkConfig;

use super::settings::service_id;
use crate::config::Target;
use crate::identity::Identity;

/// Which endpoint of the service is asked, in the terms of the SDK.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// The URL that the user set. FIPS and dual-stack then come from the user's settings alone: the SDK refuses to combine
    /// a URL with them, and the spelling of the registry's host is no such setting.
    pub(super) url: Option<String>,
    pub(super) fips: Option<bool>,
    pub(super) dual_stack: Option<bool>,
}

impl Endpoint {
    pub(super) fn new(config: &SdkConfig, identity: &Identity, target: &Target) -> Self {
        let Target { registry, endpoint_url, .. } = target;
        if endpoint_url.is_some() {
            return Self { url: endpoint_url.clone(), fips: None, dual_stack: None };
        }
        let url = identity.endpoint_url(service_id(target)).map(str::to_owned);
        let follows_host = url.is_none();
        let by_host = |is_in_host: bool| (follows_host && is_in_host).then_some(true);
        Self {
            url,
            fips: by_host(registry.fips()).or(config.use_fips()),
            dual_stack: by_host(registry.dual_stack()).or(config.use_dual_stack()),
        }
    }

    /// Resolves the URL by the SDK's rules; `None` where these have none.
    pub(super) async fn resolve(&self, target: &Target) -> Option<Uri> {
        let Self { url, fips, dual_stack } = self;
        let region = &*target.registry.region();
        let endpoint = if target.registry.is_public() {
            use aws_sdk_ecrpublic::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
            let params = Params::builder().region(region).set_endpoint(url.clone());
            let params = params.set_use_dual_stack(*dual_stack).build().ok()?;
            DefaultResolver::new().resolve_endpoint(&params).await.ok()?
        } else {
            use aws_sdk_ecr::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
            let params = Params::builder().region(region).set_endpoint(url.clone());
            let params = params.set_use_fips(*fips).set_use_dual_stack(*dual_stack).build().ok()?;
            DefaultResolver::new().resolve_endpoint(&params).await.ok()?
        };
        endpoint.url().parse().ok()
    }
}
