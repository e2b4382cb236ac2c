//! Resolves host names.
//!
//! The C library does so, except in a static program on Linux. A static program with glibc loads the modules that
//! `/etc/nsswitch.conf` names, which are built for the glibc of the machine, and may crash in them. musl asks all servers at once
//! and has its own rules for search domains, so it finds other addresses than glibc. A static program therefore resolves names
//! in Rust, the same with both C libraries: by the hosts file, then by the servers, search domains and options of
//! `/etc/resolv.conf`, e.g. the stub of systemd-resolved. It supports no source that is a module of nsswitch, such as mDNS and
//! LDAP; a dynamic build with glibc does.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

/// The addresses of a host name, with any port.
pub(super) async fn look_up(name: &str) -> Result<Vec<SocketAddr>, NameError> {
    system::look_up(name).await
}

/// Why a name has no address.
#[derive(Debug)]
pub(super) enum NameError {
    /// It has none, as this text says.
    Unknown(String),
    /// What should know it failed, for this reason if any is known.
    Failed(String),
    /// No server answered in time.
    #[cfg_attr(
        not(any(target_env = "musl", all(target_env = "gnu", target_feature = "crt-static"))),
        expect(dead_code, reason = "the C library does not tell it from a failure")
    )]
    Late,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) | Self::Failed(why) => f.write_str(why),
            Self::Late => f.write_str("no name server answers"),
        }
    }
}

impl Error for NameError {}

/// The resolver of hyper-util's connector. Clones share the names that it waits for.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolver(Arc<Mutex<BTreeSet<String>>>);

impl Resolver {
    /// Whether a name is not resolved yet, or was not when nobody waited any longer.
    pub(super) fn is_waiting_for(&self, name: &str) -> bool {
        self.names(|names| names.contains(name))
    }

    fn names<T>(&self, work: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = NameError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NameError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NameError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            resolver.names(|names| names.insert(name.as_str().to_owned()));
            let found = look_up(name.as_str()).await;
            resolver.names(|names| names.remove(name.as_str()));
            Ok(found?.into_iter())
        })
    }
}

#[cfg(not(any(target_env = "musl", all(target_env = "gnu", target_feature = "crt-static"))))]
mod system {
    use std::net::SocketAddr;

    use super::NameError;

    /// What Windows says where a name server fails (WSATRY_AGAIN).
    const TRY_AGAIN: i32 = 11002;

    /// By the C library, which blocks a thread of its own, for which no deadline waits.
    pub(super) async fn look_up(name: &str) -> Result<Vec<SocketAddr>, NameError> {
        let found = tokio::net::lookup_host((name, 0)).await.map_err(|error| {
            // The standard library has no kind for it.
            let is_failure = cfg!(windows) && error.raw_os_error() == Some(TRY_AGAIN);
            if is_failure || error.to_string().contains("Temporary failure") {
                return NameError::Failed(String::new());
            }
            NameError::Unknown(error.to_string())
        })?;
        Ok(found.collect())
    }
}

#[cfg(any(target_env = "musl", all(target_env = "gnu", target_feature = "crt-static")))]
mod system {
    use std::io::{self, BufRead, BufReader, Read};
    use std::net::{IpAddr, SocketAddr};
    use std::path::Path;
    use std::time::Duration;

    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::net::{DnsError, NetError};
    use hickory_resolver::proto::op::ResponseCode;
    use hickory_resolver::proto::rr::Name;
    use hickory_resolver::system_conf::parse_resolv_conf;
    use log::warn;

    use super::NameError;
    use crate::input;
    use crate::platform;

    /// As much of the hosts file is read.
    const MOST_OF_HOSTS: u64 = 64 * 1024 * 1024;

    /// The longest line of it.
    const LONGEST_LINE: u64 = 64 * 1024;

    /// In Rust. The system's settings are read for each name: a process resolves one or two.
    pub(super) async fn look_up(name: &str) -> Result<Vec<SocketAddr>, NameError> {
        // For a name in the hosts file, no server is queried, not even for the other kind of address: the name may be in the
        // file because no server can be reached.
        let mut found = listed(name).unwrap_or_default();
        if found.is_empty() {
            let name = dns_name(name).ok_or_else(|| NameError::Unknown("no name for DNS".to_owned()))?;
            found = by_servers(name).await.map_err(name_error)?;
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, 0)).collect())
    }

    /// A name of DNS, which unlike that of a host may have a `_`, e.g. `my_mock.default`.
    fn dns_name(text: &str) -> Option<Name> {
        Name::from_str_relaxed(text).ok()
    }

    async fn by_servers(name: Name) -> Result<Vec<IpAddr>, NetError> {
        let (config, mut options) = servers()?;
        options.use_hosts_file = ResolveHosts::Never;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Ok(builder.with_options(options).build()?.lookup_ip(name).await?.iter().collect())
    }

    /// A server that answers with another error than that there is no such name does not know.
    fn name_error(error: NetError) -> NameError {
        match error {
            NetError::Timeout => NameError::Late,
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain | ResponseCode::NoError => NameError::Unknown("no such name".to_owned()),
                code => NameError::Failed(code.to_string()),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => NameError::Failed(code.to_string()),
            NetError::Io(error) => NameError::Failed(error.to_string()),
            NetError::Message(why) => NameError::Failed(why.to_owned()),
            NetError::Msg(why) => NameError::Failed(why),
            // What other errors say is about the resolver's own code.
            _ => NameError::Failed(String::new()),
        }
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
        let text =
            String::from_utf8_lossy(reading.as_ref().and_then(|reading| reading.content.bytes()).unwrap_or_default());
        let mut text: String = text.lines().map(usable).collect();
        let (config, mut options) = parse_resolv_conf(&text).or_else(|_| {
            text.push_str("nameserver 127.0.0.1\n");
            parse_resolv_conf(&text)
        })?;
        // As in glibc, which waits for a second at least.
        options.timeout = options.timeout.max(Duration::from_secs(1));
        Ok((config, options))
    }

    /// A line of `/etc/resolv.conf` without the search domains that are no names: the parser would fail, and no name could be resolved.
    fn usable(line: &str) -> String {
        let mut words = line.split([';', '#']).next().unwrap_or_default().split_whitespace();
        let keyword = words.next().filter(|keyword| matches!(*keyword, "search" | "domain"));
        let Some(keyword) = keyword else { return format!("{line}\n") };
        let (domains, others): (Vec<_>, Vec<_>) = words.partition(|word| dns_name(word).is_some());
        if !others.is_empty() {
            warn!(words = others.join(" "); "/etc/resolv.conf has search domains that are no names and are passed over");
        }
        format!("{keyword} {}\n", domains.join(" "))
    }
}
