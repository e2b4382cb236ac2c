//! Parts that several fuzz targets share: an environment without network access, and a directory for settings.

use std::fs;
use std::path::PathBuf;

use docker_credential_ecr_login::env::Env;

/// An ECR registry, which the seeds name too.
pub const HOST: &str = "111122223333.dkr.ecr.us-east-1.amazonaws.com";

/// An environment in which every request to AWS fails before it opens a socket: the profile does not exist, and the file with
/// the trusted certificates cannot be read.
pub fn offline<'a>(more: impl IntoIterator<Item = (&'a str, String)>) -> Env {
    let settings = [
        ("HOME", "/dev/null"),
        ("AWS_ECR_CONFIG_FILE", "/dev/null"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_PROFILE", "absent"),
        ("AWS_CA_BUNDLE", "/dev/null/absent"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
    ];
    more.into_iter().chain(settings.map(|(name, value)| (name, value.to_owned()))).collect()
}

/// A directory of this process alone, below the one that `fuzz/run` removes at its end.
pub fn scratch(target: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("ecr-login-fuzz-{target}-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("the directory for temporary files is writable");
    dir
}
