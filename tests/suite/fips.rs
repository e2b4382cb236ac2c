//! The cryptography of TLS: ring, or in the program of `packaging/build --fips` the FIPS module of AWS-LC with post-quantum key
//! exchange. `./tests/run --fips` runs these tests against that program too, and then sets `FIPS`.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::HOST;
use crate::helper::{Helper, program};
use crate::namespace::newer;
use crate::process::{self, stop, wait_until};
use crate::support::aws::Aws;
use crate::support::tls::Authority;

/// The code point of X25519MLKEM768.
const POST_QUANTUM: u16 = 0x11ec;
/// A constant that the module tests itself with.
const OF_MODULE: &[u8] = b"FIPS self test";

/// Whether the program under test is the one of `packaging/build --fips`.
fn is_fips() -> bool {
    std::env::var_os("FIPS").is_some()
}

/// A user of `https://localhost:PORT` as the endpoint of everything, who trusts this authority.
fn user(port: u16, authority: &Authority) -> Helper {
    let helper = Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_SECRET_ACCESS_KEY", "stand-in");
    let helper = helper.var("AWS_ENDPOINT_URL", &format!("https://localhost:{port}"));
    helper.var("AWS_CA_BUNDLE", authority.bundle().to_str().expect("UTF-8")).var("AWS_MAX_ATTEMPTS", "1")
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

#[test]
fn version_doctor_and_its_report_name_the_cryptography() {
    let aws = Aws::start();
    let helper = Helper::without_registry(&aws);
    let verbose = helper.run(&["version", "--verbose"], "").stdout;
    let tls = verbose.lines().find_map(|line| line.strip_prefix("TLS ")).expect("a line");
    if is_fips() {
        let version = tls
            .strip_prefix("rustls with AWS-LC FIPS ")
            .and_then(|rest| rest.strip_suffix(", X25519MLKEM768 preferred"));
        assert!(version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())), "{tls}");
    } else {
        assert_eq!(tls, "rustls with ring");
    }
    let lines = helper.run(&["doctor"], "").stdout;
    assert!(lines.contains(&format!("\n  TLS {tls}\n")), "{lines}");
    let report: Value = serde_json::from_str(&helper.run(&["doctor", "--json"], "").stdout).expect("JSON");
    assert_eq!(report["environment"]["tls"], tls);
}

/// With FIPS, the server has to choose a curve, since the stand-in has no post-quantum key exchange.
#[test]
fn a_get_over_tls() {
    let aws = Aws::start();
    let authority = Authority::for_names(&["localhost"]);
    let (listener, port) = listener();
    authority.serve(listener, aws.app());
    user(port, &authority).get(HOST).password_for(HOST);
    assert_eq!(aws.count(), 1);
}

#[test]
fn a_post_quantum_key_share_is_offered_first_with_fips_alone() {
    let authority = Authority::for_names(&["localhost"]);
    let (listener, port) = listener();
    let hello = thread::spawn(move || {
        let mut stream = listener.accept().expect("a connection").0;
        let mut header = [0; 5];
        stream.read_exact(&mut header).expect("a record");
        let mut record = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        stream.read_exact(&mut record).expect("a whole record");
        assert_eq!(header[0], 22, "a handshake");
        record
    });
    user(port, &authority).get(HOST).error();
    let offer = Offer::of_client_hello(&hello.join().expect("a client hello"));
    if is_fips() {
        assert_eq!(offer.groups.first(), Some(&POST_QUANTUM), "{offer:?}");
        assert_eq!(offer.shares.first(), Some(&POST_QUANTUM), "{offer:?}");
        // secp256r1 and secp384r1; x25519 by itself is not approved.
        assert_eq!(offer.groups[1..], [0x17, 0x18], "{offer:?}");
    } else {
        assert!(!offer.groups.contains(&POST_QUANTUM) && !offer.shares.contains(&POST_QUANTUM), "{offer:?}");
        assert!(!offer.shares.is_empty(), "{offer:?}");
    }
}

/// The groups for key exchange that a client supports, and those that it sends a key share of.
#[derive(Debug, Default)]
struct Offer {
    groups: Vec<u16>,
    shares: Vec<u16>,
}

impl Offer {
    /// Reads the message that begins a handshake (RFC 8446, section 4.1.2).
    fn of_client_hello(message: &[u8]) -> Self {
        assert_eq!(message[0], 1, "a client hello");
        // Type and length, version, random value.
        let mut rest = &message[4 + 2 + 32..];
        let _session_id = take(&mut rest, 1);
        let _cipher_suites = take(&mut rest, 2);
        let _compression = take(&mut rest, 1);
        let mut extensions = take(&mut rest, 2);
        let mut offer = Self::default();
        while !extensions.is_empty() {
            let kind = number(&mut extensions);
            let mut content = take(&mut extensions, 2);
            match kind {
                10 => {
                    let mut groups = take(&mut content, 2);
                    while !groups.is_empty() {
                        offer.groups.push(number(&mut groups));
                    }
                }
                51 => {
                    let mut shares = take(&mut content, 2);
                    while !shares.is_empty() {
                        offer.shares.push(number(&mut shares));
                        take(&mut shares, 2);
                    }
                }
                _ => {}
            }
        }
        offer
    }
}

fn number(bytes: &mut &[u8]) -> u16 {
    let (number, rest) = bytes.split_first_chunk().expect("two bytes");
    *bytes = rest;
    u16::from_be_bytes(*number)
}

/// What follows a length of `size` bytes.
fn take<'a>(bytes: &mut &'a [u8], size: usize) -> &'a [u8] {
    let (length, rest) = bytes.split_at(size);
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (content, rest) = rest.split_at(length);
    *bytes = rest;
    content
}

/// The server is OpenSSL, which here knows X25519MLKEM768 alone.
#[test]
fn a_get_with_post_quantum_key_exchange() {
    if !is_fips() {
        return;
    }
    let Some(openssl) = newer("openssl") else { return };
    let aws = Aws::start();
    let authority = Authority::for_names(&["localhost"]);
    let port = listener().1;
    let mut server = Command::new(openssl);
    server.args(["s_server", "-quiet", "-naccept", "1", "-tls1_3", "-groups", "X25519MLKEM768"]);
    server.args(["-accept", &format!("127.0.0.1:{port}")]);
    let file = |name: &str| authority.bundle().with_file_name(name);
    server.arg("-cert").arg(file("cert.pem")).arg("-key").arg(file("key.pem"));
    let mut server =
        server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let listening = format!("0100007F:{port:04X} 00000000:0000 0A");
    wait_until("openssl listens", Duration::from_secs(30), || {
        fs::read_to_string("/proc/net/tcp").expect("a table").contains(&listening)
    });
    // It prints what the client sends, and sends what it reads.
    let (mut to_client, mut of_client) = (server.stdin.take().expect("a pipe"), server.stdout.take().expect("a pipe"));
    let address = aws.url().strip_prefix("http://").expect("a URL").to_owned();
    let mut to_aws = TcpStream::connect(address).expect("the stand-in");
    let mut of_aws = to_aws.try_clone().expect("a socket");
    thread::spawn(move || io::copy(&mut of_client, &mut to_aws).and_then(|_| to_aws.shutdown(Shutdown::Write)));
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = of_aws.read(&mut buffer) {
            if to_client.write_all(&buffer[..length]).and_then(|()| to_client.flush()).is_err() {
                break;
            }
        }
    });
    user(port, &authority).get(HOST).password_for(HOST);
    assert_eq!(aws.count(), 1);
    stop(&mut server);
}

/// The module compares itself with the hash that it was built with, before anything else runs. The linker keeps that intact.
#[test]
fn a_damaged_module_does_not_start() {
    if !is_fips() {
        return;
    }
    let mut bytes = fs::read(program()).expect("a program");
    let at = bytes.windows(OF_MODULE.len()).position(|window| window == OF_MODULE).expect("a constant of the module");
    bytes[at] ^= 1;
    let dir = tempfile::tempdir().expect("a directory");
    let damaged = dir.path().join("damaged");
    crate::process::write_program(&damaged, bytes);
    let ran = process::run(Command::new(&damaged).arg("version"), "");
    assert_eq!((ran.code, ran.stdout.as_str()), (None, ""), "{ran:?}");
    assert!(ran.stderr.contains("FIPS integrity test failed"), "{ran:?}");
}
