//! Which server URLs are ECR's, in which region their tokens are requested, and that hostile input is refused at once.

use std::time::Duration;

use crate::helper::Helper;
use crate::process::best_of_three;
use crate::support::aws::Aws;
use crate::{HOST, NOT_FOUND};

#[test]
fn each_form_of_host_requests_its_token_in_its_own_region() {
    let aws = Aws::start();
    for (host, service, region) in [
        (HOST, "ecr", "us-east-1"),
        ("111122223333.dkr.ecr-fips.us-west-2.amazonaws.com", "ecr", "us-west-2"),
        ("111122223333.dkr-ecr.eu-west-1.on.aws", "ecr", "eu-west-1"),
        ("111122223333.dkr-ecr-fips.us-east-2.on.aws", "ecr", "us-east-2"),
        ("111122223333.dkr.ecr.us-gov-west-1.amazonaws.com", "ecr", "us-gov-west-1"),
        ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", "ecr", "cn-north-1"),
        ("111122223333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "ecr", "cn-north-1"),
        ("111122223333.dkr.ecr.eusc-de-east-1.amazonaws.eu", "ecr", "eusc-de-east-1"),
        ("111122223333.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu", "ecr", "eusc-de-east-1"),
        ("111122223333.dkr.ecr.us-iso-east-1.c2s.ic.gov", "ecr", "us-iso-east-1"),
        ("111122223333.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "ecr", "us-isob-east-1"),
        ("111122223333.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "ecr", "eu-isoe-west-1"),
        ("111122223333.dkr.ecr.us-isof-east-1.csp.hci.ic.gov", "ecr", "us-isof-east-1"),
        ("111122223333.dkr.ecr.mx-somewhere-42.amazonaws.com", "ecr", "mx-somewhere-42"),
        ("public.ecr.aws", "ecr-public", "us-east-1"),
        ("ecr-public.aws.com", "ecr-public", "us-east-1"),
    ] {
        Helper::of(&aws).get(host).password_for(host);
        let call = aws.calls().pop().expect("a call");
        assert_eq!((call.service.as_str(), call.region.as_str()), (service, region), "{host}");
    }
}

#[test]
fn what_is_not_ecr_is_not_found_without_a_call_or_a_file() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    let long_path = format!("{HOST}{}", "/".repeat(1_000_000));
    for url in [
        "docker.io",
        "https://index.docker.io/v1/",
        "ghcr.io",
        "11112222333.dkr.ecr.us-east-1.amazonaws.com",
        "1111222233334.dkr.ecr.us-east-1.amazonaws.com",
        "111122223333.dkr.ecr.us-east-1.amazonaws.com.evil.example",
        "111122223333.dkr.ecr.cn-north-1.amazonaws.com",
        "111122223333.dkr.ecr.us-east-1.amazonaws.com.cn",
        "https://user:password@111122223333.dkr.ecr.us-east-1.amazonaws.com",
        "111122223333.dkr.ecr.us-east-1.evil.example/.amazonaws.com",
        "111122223333.dkr.ecr.us-east-1/../x.amazonaws.com",
        "ftp://111122223333.dkr.ecr.us-east-1.amazonaws.com",
        "111122223333.dkr.ecr.us-east-1.amazonaws.com\n444455556666.dkr.ecr.us-east-1.amazonaws.com",
        "111122223333.dkr.ecr.us-éast-1.amazonaws.com",
        "111122223333.dkr.ecr.us-east-1.amazonaws.com/\0",
        &long_path,
    ] {
        assert_eq!(helper.get(url).error(), NOT_FOUND, "{url:.80}");
    }
    assert_eq!(aws.count(), 0);
    assert_eq!(std::fs::read_dir(helper.home()).expect("a home").count(), 0);
}

#[test]
fn a_registry_of_ecr_without_tls_gets_no_token_and_people_are_told_so() {
    let aws = Aws::start();
    let helper = Helper::of(&aws);
    helper.get(HOST).password_for(HOST);
    for url in [
        "http://111122223333.dkr.ecr.us-east-1.amazonaws.com",
        "HTTP://111122223333.DKR.ecr.us-east-1.amazonaws.com/v2/",
        "http://111122223333.dkr.ecr.us-east-1.amazonaws.com:80",
        "http://111122223333.dkr.ecr.us-east-1.amazonaws.com:443",
        "http://public.ecr.aws",
    ] {
        assert_eq!(helper.get(url).error(), NOT_FOUND, "{url}");
        assert_eq!(helper.run(&["erase"], url).error(), NOT_FOUND, "{url}");
        for command in ["login", "logout", "export", "setup", "get-login-password", "doctor"] {
            let ran = helper.run(&[command, url], "");
            assert!(ran.code == Some(2) && ran.stderr.contains("leave 'http://' out"), "{command}: {ran:?}");
        }
    }
    helper.get(HOST).password_for(HOST);
    assert_eq!(aws.count(), 1);
}

#[test]
fn a_host_that_is_empty_is_called_empty() {
    for command in ["login", "logout", "export", "setup", "get-login-password", "doctor"] {
        for word in ["", " "] {
            let ran = Helper::bare().run(&[command, word], "");
            assert!(
                ran.code == Some(2) && ran.stderr.contains("the host of the registry is empty"),
                "{command}: {ran:?}"
            );
        }
    }
}

#[test]
fn hostile_input_is_answered_at_once() {
    let helper = Helper::bare();
    let cases: [Vec<u8>; 6] = [
        vec![b'a'; 1_000_000],
        vec![b'/'; 1_000_000],
        vec![b'.'; 1_000_000],
        [HOST.as_bytes(), &vec![b'x'; 1_000_000]].concat(),
        b"\0\0\0".to_vec(),
        [HOST.as_bytes(), b"/\xff\xfe"].concat(),
    ];
    for input in &cases {
        best_of_three(Duration::from_millis(200), || {
            let ran = helper.get(input);
            assert_eq!(ran.error(), NOT_FOUND);
            ran.took
        });
    }
    let many_lines = helper.run(&["erase"], vec![b'\n'; 1_000_000]);
    assert_eq!(many_lines.error(), "no credentials server URL");
}
