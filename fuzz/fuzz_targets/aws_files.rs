//! The texts of the AWS config and credentials files, as any bytes: every profile that has a name is found by it, and what is
//! said about the files is text of one line. The two files are the halves of the input before and after its first NUL.
#![no_main]

use docker_credential_ecr_login::identity::Profiles;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (config, credentials) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    let profiles = Profiles::from_bytes(config, credentials);
    if let Some(problem) = profiles.problem() {
        assert!(!problem.to_string().contains('\n'));
    }
    for name in profiles.names() {
        let profile = profiles.profile(name).expect("a profile with this name");
        assert!(["region", "role_arn", "aws_access_key_id"].iter().all(|key| profile.get(key) != Some("")));
        assert!(!profiles.file_of(name).is_empty());
    }
    // The first NUL ends a line too, as a CR does. A line may be reported for more than one reason.
    let lines = bytes.split(|byte| matches!(*byte, b'\n' | b'\r' | 0)).count();
    assert!(profiles.passed_over().count() <= 3 * lines && profiles.passed_over().all(|line| !line.contains('\n')));
});
