//! Server URLs: what is read as a registry reads as the same registry again.
#![no_main]

use docker_credential_ecr_login::registry::Registry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|url: &str| {
    if let Some(registry) = Registry::parse(url) {
        assert_eq!(Registry::parse(&registry.host()), Some(registry));
    }
});
