//! Manifests of the cache: whatever is read can be compared with the present and written again.
#![no_main]

use std::sync::LazyLock;

use docker_credential_ecr_login::cache::Manifest;
use docker_credential_ecr_login::env::Env;
use docker_credential_ecr_login_fuzz::offline;
use libfuzzer_sys::fuzz_target;

const REQUEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

static ENV: LazyLock<Env> = LazyLock::new(|| offline([]));

fuzz_target!(|bytes: &[u8]| {
    let request = REQUEST.parse().expect("a key");
    if let Some(manifest) = Manifest::decode(bytes, &request) {
        let _ = manifest.holds(&ENV);
        let written = manifest.encode().expect("what came from text is text");
        assert_eq!(Manifest::decode(&written, &request), Some(manifest));
    }
});
