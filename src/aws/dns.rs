//! Resolves host names.
//!
//! The C library does so, except in a static program on Linux. A static program with glibc loads the modules that
//! `/etc/nsswitch.conf` names, which are built for the glibc of the machine, and may crash in them. musl asks all servers at once
//! and has its own rules for search domains, so it finds other addresses than glibc. A static program therefore resolves names
//! in Rust, the same with both C libraries: by the hosts file, then by the servers in their order, search domains and options of
//! `/etc/resolv.conf`, e.g. the stub of systemd-resolved. Of an answer it uses the addresses of the name that was asked for, or of the
//! one that this is an alias of in the same answer. It supports no source that is a module of nsswitch, such as mDNS and
//! LDAP; a dynamic build with glibc does.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// The resolver for connections. Clones share what it knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolver(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    /// Those that it waits for.
    waiting: BTreeSet<String>,
    /// The one whose addresses were checked, and these: another look could find others.
    checked: Option<(String, Vec<SocketAddr>)>,
}

impl Resolver {
    /// Whether a name is not resolved yet, or was not when nobody waited any longer.
    pub(super) fn is_waiting_for(&self, name: &str) -> bool {
        self.names().waiting.contains(name)
    }

    /// Looks up a name whose addresses the caller checks. The connections that follow go to these.
    pub(super) async fn look_up_once(&self, name: &str) -> Result<Vec<SocketAddr>, NameError> {
        let found = self.look_up(name).await?;
        self.names().checked = Some((name.to_owned(), found.clone()));
        Ok(found)
    }

    pub(super) async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, NameError> {
        if let Some((_, addresses)) = self.names().checked.as_ref().filter(|(checked, _)| checked == name) {
            return Ok(addresses.clone());
        }
        self.names().waiting.insert(name.to_owned());
        let found = look_up(name).await;
        self.names().waiting.remove(name);
        found
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::iter;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::path::Path;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
    use hickory_resolver::net::{DnsError, NetError, NoRecords};
    use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
    use hickory_resolver::proto::rr::{Name, RData, RecordType};
    use hickory_resolver::system_conf::parse_resolv_conf;
    use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
    use log::warn;

    use super::NameError;
    use crate::input;
    use crate::platform;

    /// As much of the hosts file is read.
    const MOST_OF_HOSTS: u64 = 64 * 1024 * 1024;

    /// The longest line of it.
    const LONGEST_LINE: u64 = 64 * 1024;

    type Server = NameServerPool<TokioRuntimeProvider>;

    /// The addresses, at least one.
    type Found = Result<Vec<IpAddr>, NetError>;

    /// The shortest time of a server, as in glibc.
    const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);

    /// So long is the other kind of address waited for. RFC 8305 (resolution delay) has 50 ms, for a browser that may do without IPv6;
    /// in a second a query that was lost is repeated, and a server has asked others.
    const OTHER_KIND: Duration = Duration::from_secs(1);

    /// The server to ask first, counted over their end. One that did not answer is the last for the next look-ups of this process.
    static FIRST: AtomicUsize = AtomicUsize::new(0);

    /// A query to the server of this number. A connection that is not open in time ends the look-up, often before the server's time is
    /// over (5 s unless `/etc/resolv.conf` has another): the next attempt to connect then begins with the next server.
    struct Asking(usize, Instant);

    impl Drop for Asking {
        fn drop(&mut self) {
            if self.1.elapsed() >= SHORTEST_TIMEOUT {
                FIRST.store(self.0 + 1, Ordering::Relaxed);
            }
        }
    }

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

    async fn by_servers(name: Name) -> Found {
        // RFC 6761: no server is asked for it.
        if name.is_localhost() {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let (config, options) = servers()?;
        let mut names = candidates(&name, &config, options.ndots);
        // As in glibc, which asks each server up to five times.
        let rounds = options.attempts.clamp(1, 5);
        let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
        // A pool for each server: a pool of all would ask several at the same time, or none but the first that does not answer.
        let servers = config.name_servers().iter().map(|server| {
            NameServerPool::from_config([server.clone()], Arc::clone(&context), TokioRuntimeProvider::default())
        });
        let servers: Vec<_> = servers.collect();
        let mut found = Err(NetError::Timeout);
        while let Some(name) = names.pop().filter(|_| found.is_err()) {
            found = ask(&servers, rounds, &name).await;
        }
        found
    }

    /// The names to ask for, the last one first: the name itself, and with each search domain.
    fn candidates(name: &Name, config: &ResolverConfig, ndots: usize) -> Vec<Name> {
        let mut itself = name.clone();
        itself.set_fqdn(true);
        if name.is_fqdn() {
            return vec![itself];
        }
        let mut names = Vec::new();
        for domain in config.search().iter().rev().chain(config.domain()) {
            let longer = name.clone().append_domain(domain);
            names.extend(longer.ok().filter(|longer| !names.contains(longer)));
        }
        let is_first = usize::from(name.num_labels()) > ndots;
        names.insert(if is_first { names.len() } else { 0 }, itself);
        names
    }

    /// The addresses of a name, IPv4 first, by the servers one after the other as in the C library, since the first may know names
    /// that the others do not: the next is asked when one fails or does not answer in time, not when it says that there is no such
    /// name or no such address. What one server says is not mixed with what another does.
    async fn ask(servers: &[Server], rounds: usize, name: &Name) -> Found {
        let first = FIRST.load(Ordering::Relaxed);
        let mut failure = NetError::Timeout;
        for number in first..first + servers.len() * rounds {
            let asking = Asking(number, Instant::now());
            let found = of_both_kinds(&servers[number % servers.len()], name).await;
            if let (Err(NetError::Timeout), Err(_)) = found {
                continue;
            }
            std::mem::forget(asking);
            match found {
                (Err(error @ NetError::Dns(DnsError::NoRecordsFound(_))), Err(_)) => return Err(error),
                (Err(error), Err(_)) => failure = error,
                (four, six) => return Ok(four.into_iter().chain(six).flatten().collect()),
            }
        }
        Err(failure)
    }

    /// The IPv4 and the IPv6 addresses. Once those of one kind are known, or that there is no such name, the other kind does not delay
    /// the answer for long: some firewalls drop each query for IPv6.
    async fn of_both_kinds(server: &Server, name: &Name) -> (Found, Found) {
        let mut four = pin!(of_one_kind(server, name, RecordType::A));
        let mut six = pin!(of_one_kind(server, name, RecordType::AAAA));
        tokio::select! {
            found = &mut four => {
                let is_enough = found.as_ref().map_or_else(is_no_name, |_| true);
                (found, soon(is_enough, six).await)
            }
            // Some servers say that there is no such name where it has no address for IPv6.
            found = &mut six => (soon(found.is_ok(), four).await, found),
        }
    }

    async fn of_one_kind(server: &Server, name: &Name, kind: RecordType) -> Found {
        let mut options = DnsRequestOptions::default();
        options.use_edns = server.context().options.edns0;
        let answer = server.lookup(Query::query(name.clone(), kind), options).first_answer().await?;
        let records = &answer.answers;
        let target = |alias: &&Name| {
            records.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == **alias => Some(&target.0),
                _ => None,
            })
        };
        let owner = iter::successors(Some(name), target).take(records.len() + 1).last();
        let belonging = records.iter().filter(|record| Some(&record.name) == owner);
        let found: Vec<_> = belonging.filter_map(|record| record.data.ip_addr()).collect();
        // What it is an alias of has no such address.
        if found.is_empty() { Err(NoRecords::new(Query::new(), ResponseCode::NoError).into()) } else { Ok(found) }
    }

    /// What is found, within `OTHER_KIND` if what is known is enough.
    async fn soon(is_enough: bool, found: impl Future<Output = Found>) -> Found {
        if !is_enough {
            return found.await;
        }
        tokio::time::timeout(OTHER_KIND, found).await.unwrap_or(Err(NetError::Timeout))
    }

    fn is_no_name(error: &NetError) -> bool {
        matches!(error, NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain)
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
    /// so that none is kept. A comment may have other characters than UTF-8. A NUL ends a
    /// line, as in the C library. What is there in place of a file is not waited for.
    fn listed(name: &str) -> io::Result<Vec<IpAddr>> {
        let (mut found, mut line) = (Vec::new(), Vec::new());
        let file = platform::open_without_waiting(Path::new("/etc/hosts"))?;
        let is_file = file.metadata()?.is_file();
        let mut lines = BufReader::new(file.take(if is_file { MOST_OF_HOSTS } else { 0 }));
        while lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
            let line = std::mem::take(&mut line);
            let line = String::from_utf8_lossy(line.split(|byte| b"#\0".contains(byte)).next().unwrap_or_default());
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
        let (mut config, mut options) = parse_resolv_conf(&text).or_else(|_| {
            text.push_str("nameserver 127.0.0.1\n");
            parse_resolv_conf(&text)
        })?;
        options.timeout = options.timeout.max(SHORTEST_TIMEOUT);
        let has = |option: &str| {
            text.lines()
                .map(str::split_whitespace)
                .any(|mut words| words.next() == Some("options") && words.any(|word| word == option))
        };
        if has("use-vc") {
            let by_tcp = config.name_servers().iter().map(|server| NameServerConfig::tcp(server.ip)).collect();
            config = ResolverConfig::from_parts(config.domain().cloned(), config.search().to_vec(), by_tcp);
        }
        if has("rotate") {
            let any = usize::try_from(std::process::id()).unwrap_or_default();
            let _ = FIRST.compare_exchange(0, any, Ordering::Relaxed, Ordering::Relaxed);
        }
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
