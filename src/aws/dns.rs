//! How names become addresses.
//!
//! By the C library, except in a static program of glibc's. There the C library would load the modules that
//! `/etc/nsswitch.conf` names, built for whatever glibc the machine has, and may crash in them. So names are looked up
//! in Rust: the hosts file, then the servers, search domains and options of `/etc/resolv.conf`, systemd-resolved's
//! stub among them. Left out are sources that only nsswitch modules know, such as mDNS and LDAP; a dynamic build
//! has them.

pub(super) use system::Resolver;

#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
mod system {
    use std::net::ToSocketAddrs;

    use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};

    #[derive(Clone, Debug)]
    pub(in super::super) struct Resolver;

    impl Resolver {
        pub(in super::super) fn new() -> Self {
            Self
        }
    }

    impl ResolveDns for Resolver {
        fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
            let name = name.to_owned();
            // It blocks, so it gets a thread; the deadline does not wait for that.
            let found = tokio::task::spawn_blocking(move || (name, 0).to_socket_addrs());
            DnsFuture::new(async move {
                let addresses = found.await.map_err(ResolveDnsError::new)?.map_err(ResolveDnsError::new)?;
                Ok(addresses.map(|address| address.ip()).collect())
            })
        }
    }
}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
mod system {
    use std::sync::{Arc, OnceLock};

    use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
    use hickory_resolver::TokioResolver;

    /// Reads the system's settings when the first name is looked up.
    #[derive(Clone, Debug)]
    pub(in super::super) struct Resolver(Arc<OnceLock<TokioResolver>>);

    impl Resolver {
        pub(in super::super) fn new() -> Self {
            Self(Arc::default())
        }

        fn get(&self) -> Result<&TokioResolver, ResolveDnsError> {
            if let Some(resolver) = self.0.get() {
                return Ok(resolver);
            }
            let builder = TokioResolver::builder_tokio().map_err(ResolveDnsError::new)?;
            let resolver = builder.build().map_err(ResolveDnsError::new)?;
            Ok(self.0.get_or_init(|| resolver))
        }
    }

    impl ResolveDns for Resolver {
        fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
            DnsFuture::new(async move {
                let found = self.get()?.lookup_ip(name).await.map_err(ResolveDnsError::new)?;
                Ok(found.iter().collect())
            })
        }
    }
}
