//! Company networks: proxies, private authorities, and the endpoints that host names lead to.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::HOST;
use crate::helper::{Helper, SECRET_KEY, lacks_unix};
use crate::issuers::{LOGIN, log_in};
use crate::namespace::{Daemon, Namespace, missing, skip};
use crate::support::aws::Aws;
use crate::support::tls::Authority;

const API: &str = "api.ecr.us-east-1.amazonaws.com";

/// Starts a proxy that records each target of CONNECT, and refuses.
pub fn noting_proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let notes = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&notes);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let _ = reader.read_line(&mut line);
            let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
            kept.lock().expect("notes").push(target);
            let mut header = String::new();
            while reader.read_line(&mut header).is_ok_and(|length| length > 2) {
                header.clear();
            }
            let _ = (&stream).write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (url, notes)
}

fn with_keys() -> Helper {
    Helper::bare().var("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").var("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
}

/// As botocore does it: where the session was made, or else by the settings, whichever region or partition the registry is in.
#[test]
fn a_session_of_aws_login_is_renewed_in_its_own_region() {
    let host = "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn";
    for (made_in, vars, expected) in [
        (Some("us-west-2"), &[("AWS_REGION", "us-west-1")][..], "us-west-2"),
        (None, &[("AWS_REGION", "us-west-1"), ("AWS_DEFAULT_REGION", "us-east-2")], "us-west-1"),
        (None, &[("AWS_DEFAULT_REGION", "us-east-2")], "us-east-2"),
        (None, &[], "eu-west-1"),
    ] {
        let (proxy, notes) = noting_proxy();
        let mut helper = Helper::bare().var("HTTPS_PROXY", &proxy).var("AWS_MAX_ATTEMPTS", "1");
        for (name, value) in vars {
            helper.set(name, value);
        }
        let profile = format!("[default]\nregion = eu-west-1\nlogin_session = {LOGIN}\n");
        helper.write(".aws/config", &profile);
        let file = log_in(&helper, "ASIA-login", "2020-01-01T00:00:00Z");
        let member = made_in.map_or("{".to_owned(), |region| format!("{{\"signInRegion\":\"{region}\","));
        let session = fs::read_to_string(&file).expect("a session");
        fs::write(&file, session.replacen('{', &member, 1)).expect("a write");
        assert_eq!(helper.get(host).code, Some(1));
        let asked = notes.lock().expect("notes").clone();
        let at = format!("{expected}.signin.aws.amazon.com:443");
        assert!(asked.contains(&at) && !asked.iter().any(|host| host.contains("signin.amazonaws.cn")), "{asked:?}");
    }
}

#[test]
fn each_host_form_leads_to_its_endpoint() {
    let (proxy, notes) = noting_proxy();
    let asked = |helper: &Helper, host: &str| {
        notes.lock().expect("notes").clear();
        let line = helper.get(host).stdout;
        let mut endpoints = notes.lock().expect("notes").clone();
        endpoints.dedup();
        assert_eq!(endpoints.len(), 1, "{host}: {endpoints:?} {line}");
        endpoints.remove(0)
    };
    let helper = with_keys().var("HTTPS_PROXY", &proxy).var("AWS_MAX_ATTEMPTS", "1");
    for (host, endpoint) in [
        (HOST, "api.ecr.us-east-1.amazonaws.com"),
        ("111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com"),
        ("111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "api.ecr-fips.us-gov-west-1.amazonaws.com"),
        ("111122223333.dkr-ecr.eu-west-1.on.aws", "ecr.eu-west-1.api.aws"),
        ("111122223333.dkr-ecr-fips.us-west-2.on.aws", "ecr-fips.us-west-2.api.aws"),
        ("111122223333.dkr.ecr.us-gov-west-1.amazonaws.com", "api.ecr.us-gov-west-1.amazonaws.com"),
        ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn"),
        ("111122223333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "ecr.cn-north-1.api.amazonwebservices.com.cn"),
        ("111122223333.dkr.ecr.eusc-de-east-1.amazonaws.eu", "api.ecr.eusc-de-east-1.amazonaws.eu"),
        ("111122223333.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu", "ecr.eusc-de-east-1.api.amazonwebservices.eu"),
        ("111122223333.dkr.ecr.us-iso-east-1.c2s.ic.gov", "api.ecr.us-iso-east-1.c2s.ic.gov"),
        ("111122223333.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "api.ecr.us-isob-east-1.sc2s.sgov.gov"),
        ("111122223333.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "api.ecr.eu-isoe-west-1.cloud.adc-e.uk"),
        ("111122223333.dkr.ecr.us-isof-east-1.csp.hci.ic.gov", "api.ecr.us-isof-east-1.csp.hci.ic.gov"),
        ("111122223333.dkr.ecr.mx-somewhere-7.amazonaws.com", "api.ecr.mx-somewhere-7.amazonaws.com"),
        ("public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com"),
        ("ecr-public.aws.com", "ecr-public.us-east-1.api.aws"),
    ] {
        assert_eq!(asked(&helper, host), format!("{endpoint}:443"), "{host}");
    }
    let fips = with_keys().var("HTTPS_PROXY", &proxy).var("AWS_USE_FIPS_ENDPOINT", "true");
    assert_eq!(asked(&fips, HOST), "api.ecr-fips.us-east-1.amazonaws.com:443");
    let dual_stack = with_keys().var("HTTPS_PROXY", &proxy).var("AWS_USE_DUALSTACK_ENDPOINT", "true");
    assert_eq!(asked(&dual_stack, HOST), "ecr.us-east-1.api.aws:443");
}

/// The network may have no IPv4.
#[test]
fn the_role_of_a_dual_stack_registry_comes_from_the_dual_stack_name_of_sts() {
    let (proxy, notes) = noting_proxy();
    for (host, sts) in [
        ("111122223333.dkr-ecr.eu-west-1.on.aws", "sts.eu-west-1.api.aws:443"),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com:443"),
    ] {
        let helper = with_keys().var("HTTPS_PROXY", &proxy).var("AWS_MAX_ATTEMPTS", "1");
        let role = "arn:aws:iam::111122223333:role/R";
        helper.var("AWS_ECR_ROLE_ARN_111122223333", role).get(host).error();
        assert!(notes.lock().expect("notes").iter().any(|target| target == sts), "{host}: {notes:?}");
    }
    let aws = Aws::start();
    let helper = with_keys().var("AWS_ENDPOINT_URL", &aws.url());
    let helper = helper.var("AWS_ECR_ROLE_ARN_111122223333", "arn:aws:iam::111122223333:role/R");
    let host = "111122223333.dkr-ecr.us-east-1.on.aws";
    assert!(helper.get(host).password_for(host).starts_with("ASIA-R-by-"), "and a URL that is set stays");
}

#[test]
fn proxies_are_those_that_go_uses() {
    let (proxy, notes) = noting_proxy();
    // Nothing listens there: what goes without a proxy is refused.
    let without = |name: &str, value: &str| {
        notes.lock().expect("notes").clear();
        let helper = with_keys().var("AWS_ENDPOINT_URL", "https://127.83.9.9.example:1").var("AWS_MAX_ATTEMPTS", "1");
        helper.var("HTTPS_PROXY", &proxy).var(name, value).get(HOST).error();
        notes.lock().expect("notes").is_empty()
    };
    for value in ["*", "*.example", ".example", "example:1", "x,127.83.9.9.example"] {
        assert!(without("NO_PROXY", value), "{value}");
    }
    for value in ["example:443", "ample", "127.0.0.0/8"] {
        assert!(!without("NO_PROXY", value), "{value}");
    }
    notes.lock().expect("notes").clear();
    let all = with_keys().var("AWS_ENDPOINT_URL", "https://127.83.9.9.example:1").var("AWS_MAX_ATTEMPTS", "1");
    all.var("ALL_PROXY", &proxy).get(HOST).error();
    assert!(notes.lock().expect("notes").is_empty(), "ALL_PROXY is not used");
}

/// What is to go through a proxy does not go past it. The values are those of `aws::http::proxy`.
#[test]
fn a_value_that_names_no_proxy_fails_the_requests_that_would_use_it() {
    let aws = Aws::start();
    for (name, scheme, value, word) in [
        ("HTTPS_PROXY", "https", "http://user:48151/hunter@proxy.example:3128", "%2F for /"),
        ("https_proxy", "https", " ", "HTTP proxy"),
        ("HTTP_PROXY", "http", "http://user:hunter@127.0.0.1:99999", "HTTP proxy"),
        ("http_proxy", "http", "socks5h://user:hunter@127.0.0.1:1", "SOCKS"),
    ] {
        let user = || {
            let endpoint = format!("{scheme}://127.83.9.9.example:1");
            with_keys().var("AWS_ENDPOINT_URL", &endpoint).var("AWS_MAX_ATTEMPTS", "1").var(name, value)
        };
        let (get, doctor) = (user().get(HOST).error().to_owned(), user().run(&["doctor", HOST], "").stdout);
        for said in [get, doctor] {
            let is_told = said.contains("E-SETTING-INVALID") && said.contains(word) && said.contains(name);
            assert!(is_told && !said.contains("hunter") && !said.contains("48151"), "{value}: {said}");
        }
        assert!(user().var("NO_PROXY", "*").get(HOST).error().contains("E-ENDPOINT-UNREACHABLE"), "{value}");
        with_keys().var("AWS_ENDPOINT_URL", &aws.url()).var(name, value).get(HOST).password_for(HOST);
    }
}

#[test]
fn a_configured_endpoint_serves_hosts_of_every_kind() {
    let aws = Aws::start();
    for host in ["111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", "111122223333.dkr-ecr.us-east-1.on.aws"] {
        let helper = with_keys().var("AWS_ENDPOINT_URL_ECR", &aws.url());
        helper.get(host).password_for(host);
    }
}

/// A network in which `aws` serves the API's name with TLS, with a proxy that requires a password.
struct Company {
    network: Rc<Namespace>,
    authority: Authority,
    log: PathBuf,
    _proxy: Daemon,
    _dir: tempfile::TempDir,
}

const PROXY_PASSWORD: &str = "proxy-password";

impl Company {
    fn start(aws: &Aws, test: &str) -> Option<Self> {
        if lacks_unix(test) {
            return None;
        }
        if !nix::unistd::geteuid().is_root() {
            skip(test, "network namespaces need root");
            return None;
        }
        if let Some(program) = missing(&["tinyproxy", "ip"]) {
            skip(test, &format!("{program} is not installed"));
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("hosts"), format!("127.0.0.1 localhost\n127.83.0.1 {API}\n")).expect("a write");
        let log = path("proxy.log");
        let config = format!(
            "Port 8888\nListen 127.0.0.1\nTimeout 10\nLogFile \"{}\"\nLogLevel Info\nMaxClients 20\n\
             BasicAuth user {PROXY_PASSWORD}\nConnectPort 443\n",
            log.display()
        );
        fs::write(path("proxy.conf"), config).expect("a write");
        let setup =
            format!("mount --bind {} /etc/hosts\nip address add 169.254.169.254/32 dev lo\n", path("hosts").display());
        let network = Rc::new(Namespace::of_network(&setup));
        let authority = Authority::for_names(&[API]);
        authority.serve(network.listen("127.83.0.1:443"), aws.app());
        crate::support::serve(network.listen("169.254.169.254:80"), aws.app());
        let mut proxy = network.command("tinyproxy");
        proxy.args(["-d", "-c"]).arg(path("proxy.conf"));
        let ready = || fs::read_to_string(&log).is_ok_and(|log| log.contains("Accepting connections"));
        let proxy = Daemon::start(proxy, &path("proxy.out"), ready);
        Some(Self { network, authority, log, _proxy: proxy, _dir: dir })
    }

    fn user(&self) -> Helper {
        with_keys().inside(&self.network)
    }

    fn bundle(&self) -> String {
        self.authority.bundle().display().to_string()
    }

    fn connects(&self) -> usize {
        fs::read_to_string(&self.log).expect("a log").matches(": CONNECT ").count()
    }
}

#[test]
fn a_private_authority_is_trusted_in_three_ways_and_not_without() {
    let aws = Aws::start();
    let Some(company) = Company::start(&aws, "company network") else { return };
    let bundle = company.bundle();
    let line = company.user().get(HOST).error().to_owned();
    for word in [API, "not trusted", "the system's certificates", "AWS_CA_BUNDLE"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    company.user().var("AWS_CA_BUNDLE", &bundle).get(HOST).password_for(HOST);
    company.user().var("SSL_CERT_FILE", &bundle).get(HOST).password_for(HOST);
    let by_profile = company.user();
    by_profile.write(".aws/config", &format!("[default]\nca_bundle = {bundle}\n"));
    by_profile.get(HOST).password_for(HOST);
    let other = Authority::for_names(&["elsewhere.example"]);
    let wrong = company.user().var("AWS_CA_BUNDLE", other.bundle().to_str().expect("UTF-8"));
    assert!(wrong.get(HOST).error().contains("(AWS_CA_BUNDLE)"));
    for (name, content) in [("empty", ""), ("junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")] {
        let user = company.user();
        let file = user.write(name, content);
        let line = user.var("AWS_CA_BUNDLE", file.to_str().expect("UTF-8")).get(HOST).error().to_owned();
        assert!(line.contains("CA bundle") && line.contains(name), "{line}");
    }
    assert!(company.user().var("AWS_CA_BUNDLE", "/nonexistent").get(HOST).error().contains("/nonexistent"));
    assert_eq!(company.connects(), 0);
}

fn proxy() -> String {
    format!("http://user:{PROXY_PASSWORD}@127.0.0.1:8888")
}

/// The names of the variables are in upper and lower case, and the password is right or wrong.
#[test]
fn a_proxy_is_used_as_its_variables_say() {
    let aws = Aws::start();
    let Some(company) = Company::start(&aws, "proxies") else { return };
    let (bundle, url) = (company.bundle(), proxy());
    for (number, name) in ["HTTPS_PROXY", "https_proxy"].into_iter().enumerate() {
        let user = company.user().var("AWS_CA_BUNDLE", &bundle).var(name, &url);
        user.get(HOST).password_for(HOST);
        assert_eq!(company.connects(), number + 1, "{name}");
    }
    let refused = company.user().var("HTTPS_PROXY", &url.replace(PROXY_PASSWORD, "wrong-password"));
    let line = refused.get(HOST).error().to_owned();
    assert!(line.contains("the proxy 127.0.0.1:8888") && !line.contains("wrong-password"), "{line}");
    let before = company.connects();
    for name in ["NO_PROXY", "no_proxy"] {
        let direct = company.user().var("AWS_CA_BUNDLE", &bundle).var("HTTPS_PROXY", &url).var(name, ".amazonaws.com");
        direct.get(HOST).password_for(HOST);
    }
    assert_eq!(company.connects(), before);
}

#[test]
fn the_metadata_service_is_never_asked_through_a_proxy() {
    let aws = Aws::start();
    let Some(company) = Company::start(&aws, "the metadata service") else { return };
    let (bundle, url) = (company.bundle(), proxy());
    let role = company.user().without_keys();
    let role = role.var("AWS_CA_BUNDLE", &bundle).var("HTTP_PROXY", &url).var("HTTPS_PROXY", &url);
    assert!(role.get(HOST).password_for(HOST).starts_with("ASIA-instance."));
    let log = fs::read_to_string(&company.log).expect("a log");
    assert!(!log.contains("169.254"), "{log}");
}

/// A proxy that connects every tunnel to this address.
fn tunnelling_proxy(to: SocketAddr) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut reader = BufReader::new(client.try_clone().expect("a stream"));
            let mut header = String::new();
            while reader.read_line(&mut header).is_ok_and(|length| length > 2) {
                header.clear();
            }
            let server = TcpStream::connect(to).expect("a connection");
            let _ = (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            for (mut from, mut to) in [(&client, &server), (&server, &client)]
                .map(|(from, to)| (from.try_clone().expect("a stream"), to.try_clone().expect("a stream")))
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    address
}

/// The server closes the connection of a request whose handler panics.
async fn end_connection() {
    std::panic::resume_unwind(Box::new(()));
}

/// Once the proxy has connected, what fails is the service.
#[test]
fn a_service_that_closes_the_connection_behind_a_proxy_is_not_the_proxy_that_does_not_connect() {
    let authority = Authority::for_names(&[API, HOST]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = tunnelling_proxy(listener.local_addr().expect("an address"));
    authority.serve(listener, axum::Router::new().fallback(end_connection));
    let helper = with_keys().var("HTTPS_PROXY", &format!("http://{proxy}")).var("AWS_MAX_ATTEMPTS", "1");
    let helper = helper.var("AWS_CA_BUNDLE", authority.bundle().to_str().expect("UTF-8"));
    let line = helper.get(HOST).error().to_owned();
    let words = format!("cannot reach {API} through the proxy {proxy}: connection ");
    assert!(line.contains(&words) && line.contains("[E-ENDPOINT-UNREACHABLE]"), "{line}");

    let aws = Aws::start();
    let helper = helper.var("AWS_ENDPOINT_URL", &aws.url()).var("NO_PROXY", "127.0.0.1");
    let report = helper.run(&["doctor", HOST], "").stdout;
    let words = format!("cannot reach {HOST} through the proxy {proxy}: connection ");
    assert!(report.contains(&words) && !report.contains("does not connect"), "{report}");
}

/// A web server in the place of a proxy may answer anything with 200.
#[test]
fn what_speaks_no_tls_behind_a_proxy_is_not_the_service() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = tunnelling_proxy(listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"<html><body>It works!</body></html>");
        }
    });
    let helper = with_keys().var("HTTPS_PROXY", &format!("http://{proxy}")).var("AWS_MAX_ATTEMPTS", "1");
    let line = helper.get(HOST).error().to_owned();
    let words = format!("what answers for {API} through the proxy {proxy} does not speak TLS");
    assert!(line.contains(&words) && line.contains("HTTPS_PROXY") && !line.contains("http://"), "{line}");
}
