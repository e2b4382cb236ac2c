//! Resolves host names.
//!
//! The C library does so, except in a static program on Linux. A static program with glibc loads the modules that
//! `/etc/nsswitch.conf` names, which are built for the glibc of the machine, and may crash in them. musl asks all servers at once
//! and has its own rules for search domains, so it finds other addresses than glibc. A static program therefore resolves names
//! in Rust, the same with both C libraries: by the hosts file, then by the servers, search domains and options of
//! `/etc/resolv.conf`, e.g. the stub of systemd-resolved. It supports no source that is a module of nsswitch, such as mDNS and
//! LDAP; a dynamic build with glibc does.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_smithy_runtime_api::client::dns::ResolveDnsError;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

/// The addresses of a host name, with any port.
pub(super) async fn look_up(name: &str) -> Result<Vec<SocketAddr>, ResolveDnsError> {
    system::look_up(name).await.map_err(ResolveDnsError::new)
}

/// The resolver of hyper-util's connector.
#[derive(Clone, Debug)]
pub(super) struct Resolver;

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveDnsError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveDnsError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveDnsError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move { Ok(look_up(name.as_str()).await?.into_iter()) })
    }
}

#[cfg(not(any(target_env = "musl", all(target_env = "gnu", target_feature = "crt-static"))))]
mod system {
    use std::io;
    use std::net::SocketAddr;

    /// By the C library, which blocks a thread of its own, for which no deadline waits.
    pub(super) async fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.collect())
    }
}

#[cfg(any(target_env = "musl", all(target_env = "gnu", target_feature = "crt-static")))]
mod system {
    use std::io::{self, BufRead, BufReader, Read};
    use std::net::{IpAddr, SocketAddr};
    use std::path::Path;

    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
    use hickory_resolver::net::NetError;
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::system_conf::parse_resolv_conf;

    use crate::input;
    use crate::platform;

    /// As much of the hosts file is read.
    const MOST_OF_HOSTS: u64 = 64 * 1024 * 1024;

    /// The longest line of it.
    const LONGEST_LINE: u64 = 64 * 1024;

    /// In Rust. The system's settings are read for each name: a process resolves one or two.
    pub(super) async fn look_up(name: &str) -> Result<Vec<SocketAddr>, NetError> {
        // For a name in the hosts file, no server is queried, not even for the other kind of address: the name may be in the
        // file because no server can be reached.
        let mut found = listed(name).unwrap_or_default();
        if found.is_empty() {
            let (config, mut options) = servers()?;
            options.use_hosts_file = ResolveHosts::Never;
            let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            found = builder.with_options(options).build()?.lookup_ip(name).await?.iter().collect();
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }

    /// The addresses of a name in the hosts file, IPv4 first. Those that block advertisements have hundreds of thousands of lines,
    /// so that none is kept. A comment may have other characters than UTF-8. What is there in place of a file is not waited for.
    fn listed(name: &str) -> io::Result<Vec<IpAddr>> {
        let (mut found, mut line) = (Vec::new(), Vec::new());
        let file = platform::open_without_waiting(Path::new("/etc/hosts"))?;
        let is_file = file.metadata()?.is_file();
        let mut lines = BufReader::new(file.take(if is_file { MOST_OF_HOSTS } else { 0 }));
        while lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
            let line = std::mem::take(&mut line);
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

    /// The servers and options of `/etc/resolv.conf`. Without a file that can be read or without a server in it, this machine is the server, as
    /// in the C library (resolv.conf(5)).
    fn servers() -> Result<(ResolverConfig, ResolverOpts), NetError> {
        let reading = input::regular_file(Path::new("/etc/resolv.conf"), input::LARGEST_TOKEN);
        let reading = reading.map_err(|why| format!("/etc/resolv.conf cannot be read: {why}"))?;
        let mut text = reading.as_ref().and_then(|reading| reading.content.bytes()).unwrap_or_default().to_vec();
        parse_resolv_conf(&text).or_else(|_| {
            text.extend_from_slice(b"\nnameserver 127.0.0.1\n");
            parse_resolv_conf(&text)
        })
    }
}
