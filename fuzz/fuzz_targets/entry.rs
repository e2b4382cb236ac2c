//! Cache entries: whatever is read can be asked for its age and written again.
#![no_main]

use docker_credential_ecr_login::cache::Entry;
use libfuzzer_sys::fuzz_target;

const KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fuzz_target!(|bytes: &[u8]| {
    let key = KEY.parse().expect("a key");
    if let Some(entry) = Entry::decode(bytes, &key) {
        let _ = (entry.freshness(), entry.remaining());
        assert_eq!(Entry::decode(&entry.encode(), &key), Some(entry));
    }
});
