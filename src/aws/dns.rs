//! Resolves host names.
//!
//! The C library does so, except in a static program on Linux. A static program with glibc loads the modules that
//! `/etc/nsswitch.conf` names, which are built for the glibc of the machine, and may crash in them. musl asks all servers at once
//! and has its own rules for search domains, so it finds other addresses than glibc. A static program therefore resolves names
//! in Rust, the same with both C libraries: by the hosts file, then by the servers, search domains and options of
//! `/etc/resolv.conf`, e.g. the stub of systemd-resolved. It supports no source that is a module of nsswitch, such as mDNS and
//! LDAP; a dynamic build with glibc does.

use std::net::IpAddr;

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

pub(super) use system::Resolver;

/// The addresses of a host name.
pub(super) async fn look_up(name: &str) -> Result<Vec<IpAddr>, UnknownName> {
    let name: Name = name.parse().map_err(|_| UnknownName(format!("'{name}' is no host name")))?;
    Ok(Resolver::new().call(name).await?.map(|address| address.ip()).collect())
}

/// A name without an address. It is one of the causes of a connection error.
#[derive(Debug)]
pub(super) struct UnknownName(String);

impl std::fmt::Display for UnknownName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UnknownName {}

#[cfg(not(any(target_env = "musl", all(target_env = "gnu", target_feature = "crt-static"))))]
mod system {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
    use tower_service::Service;

    use super::UnknownName;

    /// The C library's resolver. It blocks a thread of its own, which no deadline waits for.
    #[derive(Clone, Debug)]
    pub(in super::super) struct Resolver(GaiResolver);

    impl Resolver {
        pub(in super::super) fn new() -> Self {
            Self(GaiResolver::new())
        }
    }

    impl Service<Name> for Resolver {
        type Response = GaiAddrs;
        type Error = UnknownName;
        type Future = Pin<Box<dyn Future<Output = Result<GaiAddrs, UnknownName>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UnknownName>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, name: Name) -> Self::Future {
            let found = self.0.call(name);
            Box::pin(async { found.await.map_err(|error| UnknownName(error.to_string())) })
        }
    }
}

#[cfg(any(target_env = "musl", all(target_env = "gnu", target_feature = "crt-static")))]
mod system {
    use std::fs::{self, File};
    use std::io::{self, BufRead, BufReader, ErrorKind};
    use std::net::{IpAddr, SocketAddr};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
    use hickory_resolver::net::NetError;
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::system_conf::parse_resolv_conf;
    use hyper_util::client::legacy::connect::dns::Name;
    use tower_service::Service;

    use super::UnknownName;

    /// The resolver in Rust. It reads the system's settings for each name: a process resolves one or two.
    #[derive(Clone, Debug)]
    pub(in super::super) struct Resolver;

    impl Resolver {
        pub(in super::super) fn new() -> Self {
            Self
        }
    }

    impl Service<Name> for Resolver {
        type Response = std::vec::IntoIter<SocketAddr>;
        type Error = UnknownName;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response, UnknownName>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UnknownName>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, name: Name) -> Self::Future {
            Box::pin(async move {
                let found = look_up(name.as_str()).await.map_err(|error| UnknownName(error.to_string()))?;
                Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter())
            })
        }
    }

    async fn look_up(name: &str) -> Result<Vec<IpAddr>, NetError> {
        // For a name in the hosts file, no server is queried, not even for the other kind of address: the name may be in the
        // file because no server can be reached.
        let listed = listed(name).unwrap_or_default();
        if !listed.is_empty() {
            return Ok(listed);
        }
        let (config, mut options) = servers()?;
        options.use_hosts_file = ResolveHosts::Never;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Ok(builder.with_options(options).build()?.lookup_ip(name).await?.iter().collect())
    }

    /// The addresses of a name in the hosts file, IPv4 first. Those that block advertisements have hundreds of thousands of lines,
    /// so that none is kept. A comment may have other characters than UTF-8.
    fn listed(name: &str) -> io::Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        for line in BufReader::new(File::open("/etc/hosts")?).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(line.split(|byte| *byte == b'#').next().unwrap_or_default());
            let mut words = line.split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
            if words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name.trim_end_matches('.'))) {
                found.push(address);
            }
        }
        found.sort_by_key(IpAddr::is_ipv6);
        Ok(found)
    }

    /// The servers and options of `/etc/resolv.conf`. Without the file or without a server in it, this machine is the server, as
    /// in the C library (resolv.conf(5)).
    fn servers() -> Result<(ResolverConfig, ResolverOpts), NetError> {
        let mut text = match fs::read("/etc/resolv.conf") {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            text => text?,
        };
        parse_resolv_conf(&text).or_else(|_| {
            text.extend_from_slice(b"\nnameserver 127.0.0.1\n");
            parse_resolv_conf(&text)
        })
    }
}
