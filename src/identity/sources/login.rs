//! An `aws login` session: the file that `aws login` writes.

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::inputs::ProfileSection;
use super::super::source_file::SourceFile;
use super::sign_in::SignIn;
use crate::code::Code;
use crate::error::Failure;

/// No keys of a session are valid for longer (AWS CLI User Guide, "Sign in through the AWS CLI").
const LONGEST_LIFE: Duration = Duration::from_hours(12);

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The profile.
    pub profile: String,
    /// The ARN that names the session.
    pub arn: String,
    /// The file in which the AWS CLI keeps the session.
    pub file: SourceFile,
}

impl Login {
    /// The session of a profile.
    pub(in super::super) fn in_profile(section: &ProfileSection<'_>) -> Result<Option<Self>, Failure> {
        let Some(arn) = section.get("login_session") else { return Ok(None) };
        let invalid = |what: String, hint: &str| Err(Failure::new(Code::SettingInvalid, what, hint));
        let env = section.inputs.env;
        // The SDK's provider, which renews the session, reads these variables itself.
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
        let file = SourceFile::read(&file, section.inputs.deadline)?;
        Ok(Some(Self { profile: section.name.to_owned(), arn: arn.to_owned(), file }))
    }

    /// The keys of the session, which say when they expire, as they were read; `None` when the file holds none.
    pub fn keys(&self) -> Option<SignIn> {
        let keys: SignIn = SignIn::parse(self.file.content.bytes()?)?.get("accessToken")?;
        keys.time("expiresAt").is_some().then_some(keys)
    }

    /// The region in which it was made, as newer versions of the AWS CLI write it.
    pub fn region(&self) -> Option<String> {
        SignIn::parse(self.file.content.bytes()?)?.token("signInRegion")
    }

    /// Whether it expires soon and can be renewed. The SDK's provider reads the file a second time for that, and without a time limit.
    pub(super) fn needs_renewal(&self) -> bool {
        self.file.unsteady.is_none() && self.keys().is_some_and(|keys| keys.expires_soon())
    }

    /// The content of the file after a renewal that the service answered; `None` if there is no valid session in the answer.
    pub fn renewed(&self, answer: &[u8]) -> Option<Zeroizing<String>> {
        let answer = SignIn::parse(answer)?;
        let given: SignIn = answer.get("accessToken")?;
        let mut session = SignIn::parse(self.file.content.bytes()?)?;
        let mut keys: SignIn = session.get("accessToken")?;
        for name in ["accessKeyId", "secretAccessKey", "sessionToken"] {
            keys.set_token(name, &given.text(name)?)?;
        }
        keys.set_life(Duration::from_secs(answer.get("expiresIn")?), LONGEST_LIFE)?;
        session.set("accessToken", &keys)?;
        session.set_token("refreshToken", &answer.text("refreshToken")?)?;
        session.to_json()
    }
}
