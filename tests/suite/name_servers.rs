//! Several name servers in `/etc/resolv.conf`, and servers that do not answer for each kind of address.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::dns::{Names, is_static};
use crate::helper::program;
use crate::process::best_of_three;
use crate::{HOST, namespace};

const A: u16 = 1;
const SERVFAIL: Reply = Reply::Code(2);
const NO_SUCH_NAME: Reply = Reply::Code(3);
const NO_ADDRESS: Reply = Reply::Code(0);

/// The addresses at which the stand-in for AWS listens.
const FOUR: Reply = Reply::Address("127.83.0.1");
const SIX: Reply = Reply::Address("::1");

#[derive(Clone, Copy)]
enum Reply {
    Silence,
    Code(u8),
    Address(&'static str),
    /// The address of another name.
    Foreign(&'static str),
    Later(Duration, &'static str),
}

/// A name server, which counts the queries.
struct Server(Arc<AtomicUsize>);

impl Server {
    fn start(names: &Names, address: &str, reply: impl Fn(&str, u16) -> Reply + Send + 'static) -> Self {
        let socket = names.network.datagrams(&format!("{address}:53"));
        let queries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&queries);
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::SeqCst);
                let query = buffer[..length].to_vec();
                let (name, question) = question(&query);
                let kind = u16::from_be_bytes([query[question - 4], query[question - 3]]);
                let (delay, code, owner, address) = match reply(&name, kind) {
                    Reply::Silence => continue,
                    Reply::Code(code) => (Duration::ZERO, code, ASKED, None),
                    Reply::Address(address) => (Duration::ZERO, 0, ASKED, Some(address)),
                    Reply::Foreign(address) => (Duration::ZERO, 0, b"\x05other\x04test\0".as_slice(), Some(address)),
                    Reply::Later(delay, address) => (delay, 0, ASKED, Some(address)),
                };
                let answer = answer(&query[..question], code, owner, address);
                let socket = socket.try_clone().expect("a socket");
                thread::spawn(move || {
                    thread::sleep(delay);
                    socket.send_to(&answer, client)
                });
            }
        });
        Self(queries)
    }

    fn queries(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// The name that a query is for, and where its question ends.
fn question(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    (labels.join("."), at + 5)
}

/// The name of the question.
const ASKED: &[u8] = &[0xc0, 12];

/// The answer to a query that ends with its question: an address of this name.
fn answer(query: &[u8], code: u8, owner: &[u8], address: Option<&str>) -> Vec<u8> {
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    answer.extend(&query[12..]);
    if let Some(address) = address {
        let address = match address.parse().expect("an address") {
            IpAddr::V4(four) => four.octets().to_vec(),
            IpAddr::V6(six) => six.octets().to_vec(),
        };
        // The kind and class of the question, a minute.
        answer.extend(owner.iter().chain(&query[query.len() - 4..]).chain(&[0, 0, 0, 60]));
        answer.extend([0, u8::try_from(address.len()).expect("a length")]);
        answer.extend(address);
    }
    answer
}

fn by_kind(four: Reply, six: Reply) -> impl Fn(&str, u16) -> Reply {
    move |_: &str, kind| if kind == A { four } else { six }
}

/// With two networks, e.g. that of a company and the Internet, the first server often knows names that the second does not.
#[test]
fn name_servers_are_asked_in_their_order_and_the_next_when_one_fails() {
    let Some(names) = Names::start("several name servers") else { return };
    let knows = |name: &str, kind| match (name, kind) {
        ("api.corp.test", A) => FOUR,
        ("api.corp.test", _) => NO_ADDRESS,
        _ => NO_SUCH_NAME,
    };
    let inside = Server::start(&names, "127.83.1.1", knows);
    let outside = Server::start(&names, "127.83.1.2", |_, _| NO_SUCH_NAME);
    let two = |first: &str, second: &str| format!("nameserver 127.83.1.{first}\nnameserver 127.83.1.{second}\n");
    for _ in 0..5 {
        names.get("api.corp.test", &two("1", "2")).password_for(HOST);
        names.get("api", &format!("{}search eu.test corp.test\n", two("1", "2"))).password_for(HOST);
    }
    assert!(inside.queries() > 0 && outside.queries() == 0, "the first knows all of them");
    let ran = names.get("api.corp.test", &two("2", "1"));
    assert!(ran.error().contains("unknown host name"), "that there is no such name is an answer: {ran:?}");
    assert!(outside.queries() > 0 && inside.queries() == 0);

    for (last, reply) in [("3", SERVFAIL), ("4", Reply::Code(4)), ("5", Reply::Code(5)), ("6", Reply::Silence)] {
        let failing = Server::start(&names, &format!("127.83.1.{last}"), by_kind(reply, reply));
        names.get("api.corp.test", &format!("{}options timeout:1\n", two(last, "1"))).password_for(HOST);
        assert!(failing.queries() > 0 && inside.queries() > 0, "the first, then the second");
        names.get("api.corp.test", &format!("{}options timeout:1 rotate\n", two(last, "1"))).password_for(HOST);
    }
    if is_static(&program()) {
        // One that does not answer costs seconds once, not for each search domain, and not the deadline.
        let _silent = Server::start(&names, "127.83.1.7", by_kind(Reply::Silence, Reply::Silence));
        best_of_three(Duration::from_secs(10), || {
            let ran = names.get("api", &format!("{}search a.test b.test c.test d.test corp.test\n", two("7", "1")));
            ran.password_for(HOST);
            ran.took
        });
        let _silent = Server::start(&names, "127.83.1.8", by_kind(Reply::Silence, Reply::Silence));
        names.get("api.corp.test", &format!("nameserver 127.83.1.7\n{}", two("8", "1"))).password_for(HOST);
    }
}

/// Firewalls and routers that drop queries for IPv6 addresses are common.
#[test]
fn addresses_of_one_kind_do_not_wait_long_for_the_other() {
    if !is_static(&program()) {
        let reason = "this program is dynamic, and the C library waits for both; packaging/build makes the static one";
        return namespace::skip("addresses of one kind", reason);
    }
    let Some(names) = Names::start("addresses of one kind") else { return };
    for (last, four, six) in [(1, FOUR, Reply::Silence), (2, Reply::Silence, SIX)] {
        let _server = Server::start(&names, &format!("127.83.2.{last}"), by_kind(four, six));
        best_of_three(Duration::from_secs(3), || {
            let ran = names.get("api.corp.test", &format!("nameserver 127.83.2.{last}\n"));
            ran.password_for(HOST);
            ran.took
        });
    }
    let _absent = Server::start(&names, "127.83.2.3", by_kind(NO_SUCH_NAME, Reply::Silence));
    names.write("resolv.conf", "nameserver 127.83.2.3\n");
    let ran = names.helper("api.corp.test").var("AWS_MAX_ATTEMPTS", "1").get(HOST);
    assert!(ran.error().contains("unknown host name") && ran.took < Duration::from_secs(5), "{ran:?}");

    // Nothing listens at that address: only with the other one, which comes a little later, is there a token.
    let other = Reply::Later(Duration::from_millis(300), "::1");
    let _both = Server::start(&names, "127.83.2.4", by_kind(Reply::Address("10.255.255.1"), other));
    names.get("api.corp.test", "nameserver 127.83.2.4\n").password_for(HOST);
    // Without an address of one kind there is more time for the other.
    let late = Reply::Later(Duration::from_secs(2), "::1");
    let _late = Server::start(&names, "127.83.2.5", by_kind(NO_ADDRESS, late));
    names.get("api.corp.test", "nameserver 127.83.2.5\n").password_for(HOST);
}

/// Some networks let nothing else through to a server.
#[test]
fn the_option_use_vc_asks_by_tcp() {
    let Some(names) = Names::start("name servers by TCP") else { return };
    let listener = names.network.listen("127.83.4.1:53");
    let datagrams = Server::start(&names, "127.83.4.1", by_kind(NO_SUCH_NAME, NO_SUCH_NAME));
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            thread::spawn(move || {
                let (mut length, mut query) = ([0; 2], [0; 512]);
                while connection.read_exact(&mut length).is_ok() {
                    let query = &mut query[..usize::from(u16::from_be_bytes(length))];
                    connection.read_exact(query).expect("a query");
                    let (_, question) = question(query);
                    let is_four = query[question - 3] == 1;
                    let answer = answer(&query[..question], 0, ASKED, is_four.then_some("127.83.0.1"));
                    let length = u16::try_from(answer.len()).expect("a length").to_be_bytes();
                    connection.write_all(&[&length[..], &answer].concat()).expect("a write");
                }
            });
        }
    });
    for options in ["options use-vc", "options ndots:1 use-vc edns0"] {
        names.get("api.corp.test", &format!("nameserver 127.83.4.1\n{options}\n")).password_for(HOST);
    }
    assert_eq!(datagrams.queries(), 0);
    let ran = names.get("api.corp.test", "nameserver 127.83.4.1\n# options use-vc\n");
    assert!(ran.error().contains("unknown host name") && datagrams.queries() > 0, "a comment: {ran:?}");
}

#[test]
fn addresses_of_another_name_than_the_one_asked_for_are_not_used() {
    let Some(names) = Names::start("addresses of another name") else { return };
    let foreign = |address| Reply::Foreign(address);
    let _server = Server::start(&names, "127.83.5.1", by_kind(foreign("127.83.0.1"), foreign("::1")));
    let ran = names.get("api.corp.test", "nameserver 127.83.5.1\n");
    assert!(ran.error().contains("unknown host name"), "{ran:?}");
    // What belongs to it is.
    let _server = Server::start(&names, "127.83.5.2", by_kind(FOUR, foreign("::1")));
    names.get("api.corp.test", "nameserver 127.83.5.2\n").password_for(HOST);
}
