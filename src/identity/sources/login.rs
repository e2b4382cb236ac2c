//! An `aws login` session. The SDK's provider reads its file, and renews it.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::super::inputs::ProfileSection;
use super::super::source_file::unusable;
use crate::code::Code;
use crate::error::Failure;
use crate::input;

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The profile.
    pub profile: String,
    /// The ARN that names the session.
    pub arn: String,
    /// The file in which the AWS CLI keeps the session.
    pub file: PathBuf,
}

impl Login {
    /// The session of a profile.
    pub(in super::super) fn in_profile(section: &ProfileSection<'_>) -> Result<Option<Self>, Failure> {
        let Some(arn) = section.get("login_session") else { return Ok(None) };
        let invalid = |what: String, hint: &str| Err(Failure::new(Code::SettingInvalid, what, hint));
        let env = section.inputs.env;
        // The provider reads these variables itself.
        let read = ["AWS_LOGIN_CACHE_DIRECTORY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SIGNIN"];
        if let Some(name) = read.iter().find(|name| env.is_empty(name)) {
            let what = format!("{name} is set and empty, which the AWS SDK does not treat as unset");
            return invalid(what, &format!("unset {name}"));
        }
        let name = format!("{:x}.json", Sha256::digest(arn.trim()));
        let file = match env.os(read[0]).map(PathBuf::from) {
            // The AWS CLI replaces them (botocore, `get_login_token_cache_directory`), and the provider cannot be told another directory.
            dir if dir != env.aws_file(read[0]) => {
                let what = "AWS_LOGIN_CACHE_DIRECTORY has '~' or a variable, which the AWS SDK does not replace";
                return invalid(what.to_owned(), "write the whole path in AWS_LOGIN_CACHE_DIRECTORY");
            }
            Some(dir) if dir.is_absolute() => dir.join(name),
            Some(_) => {
                let hint = "set it to one, or unset AWS_LOGIN_CACHE_DIRECTORY";
                return invalid("AWS_LOGIN_CACHE_DIRECTORY is not an absolute path".to_owned(), hint);
            }
            None => section.session_file(PathBuf::from("login/cache").join(name), "the 'aws login' session")?,
        };
        // The provider reads the file without a time limit, so that only a regular file reaches it.
        match input::regular_file(&file, input::LARGEST_TOKEN) {
            Ok(Some(_)) => Ok(Some(Self { profile: section.name.to_owned(), arn: arn.to_owned(), file })),
            Ok(None) => Err(unusable(&file, "it is not a regular file")),
            Err(why) => Err(unusable(&file, why)),
        }
    }
}
