//! A sign-in through IAM Identity Center: the file that `aws sso login` writes.

use std::path::Path;
use std::time::Duration;

use sha1::{Digest, Sha1};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::super::inputs::ProfileSection;
use super::super::profiles::Profile;
use super::super::source_file::SourceFile;
use super::sign_in::SignIn;
use crate::error::Failure;
use crate::input::Content;
use crate::platform::aws_command;
use crate::registry::Region;

/// No sign-in is valid for longer (IAM Identity Center User Guide, "Configure session duration").
const LONGEST_LIFE: Duration = Duration::from_hours(90 * 24);

/// A sign-in, and the role that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sso {
    /// The profile that refers to it.
    pub profile: String,
    /// The name of the `[sso-session …]`; `None` in the legacy form.
    pub session: Option<String>,
    /// The region of the service.
    pub region: Region,
    /// The account of the role.
    pub account_id: String,
    /// The role, a permission set.
    pub role_name: String,
    /// The file in which the AWS CLI keeps the sign-in.
    pub file: SourceFile,
}

impl Sso {
    /// The sign-in of a profile. Without account and role it is one for other programs, and passed over.
    pub(in super::super) fn in_profile(section: &ProfileSection<'_>) -> Result<Option<Self>, Failure> {
        let [account_id, role_name] = [section.get("sso_account_id"), section.get("sso_role_name")];
        let own = format!("profile '{}'", section.name);
        if account_id.is_none() && role_name.is_none() {
            let key = ["sso_session", "sso_start_url", "sso_region"].into_iter().find(|key| section.get(key).is_some());
            if let Some(key) = key {
                let why = "there is no sso_account_id and no sso_role_name";
                section.inputs.pass_over(format!("{key} of {own} is not used: {why}"));
            }
            return Ok(None);
        }
        // The legacy form has the keys in the profile itself.
        let session = section.get("sso_session");
        let (found, place) = match session {
            Some(session) => (sso_session(section, session)?, format!("[sso-session {session}]")),
            None => (section.profile, own.clone()),
        };
        let required = |key: &str, value: Option<&str>, place: &str| {
            let hint = || format!("add it, or run {}", aws_command("configure sso", section.name));
            value.map(str::to_owned).ok_or_else(|| section.wrong(&format!("{key} is missing in {place}"), &hint()))
        };
        let account_id = required("sso_account_id", account_id, &own)?;
        let role_name = required("sso_role_name", role_name, &own)?;
        let region = required("sso_region", found.get("sso_region"), &place)?;
        let region = region.parse().map_err(|wrong| section.wrong(&format!("sso_region: {wrong}"), "correct it"))?;
        let start_url = required("sso_start_url", found.get("sso_start_url"), &place)?;
        // The AWS CLI names the file by the SHA-1 of the session's name; in the legacy form, of the start URL.
        let name = format!("{:x}.json", Sha1::digest(session.unwrap_or(&start_url)));
        let path = section.session_file(Path::new("sso/cache").join(name), "the sign-in")?;
        let file = SourceFile::read(&path, section.inputs.deadline)?;
        if let Some(other) = session.and_then(|session| section.inputs.profiles.misplaced_sso_session(session)) {
            let what = format!("{place} is in {other}, where the AWS CLI does not read it");
            if matches!(file.content, Content::Absent) {
                let sign_in = aws_command("sso login", section.name);
                return Err(section.wrong(&what, &format!("move it to the config file, and run {sign_in}")));
            }
            section.inputs.pass_over(what);
        }
        let (profile, session) = (section.name.to_owned(), session.map(str::to_owned));
        Ok(Some(Self { profile, session, region, account_id, role_name, file }))
    }

    /// The sign-in, as it was read; `None` when the file holds none.
    pub fn sign_in(&self) -> Option<SignIn> {
        let sign_in = SignIn::parse(self.file.content.bytes()?)?;
        (sign_in.token("accessToken").is_some() && sign_in.time("expiresAt").is_some()).then_some(sign_in)
    }

    /// Whether it expires soon and can be renewed.
    pub(super) fn needs_renewal(&self) -> bool {
        let Some(sign_in) = self.sign_in() else { return false };
        let can = ["clientId", "clientSecret", "refreshToken"].iter().all(|name| sign_in.token(name).is_some());
        let registered = sign_in.time("registrationExpiresAt").is_some_and(|at| at > OffsetDateTime::now_utc());
        can && registered && sign_in.expires_soon()
    }

    /// The content of the file after a renewal: a token that is valid for `life`, and the token of the next renewal, if it is
    /// another one. `None` if one of them is no token, or the time none of a sign-in.
    pub fn renewed(
        &self,
        access_token: &str,
        life: Duration,
        refresh_token: Option<&str>,
    ) -> Option<Zeroizing<String>> {
        let mut sign_in = self.sign_in()?;
        sign_in.set_token("accessToken", access_token)?;
        sign_in.set_life(life, LONGEST_LIFE)?;
        if let Some(refresh_token) = refresh_token {
            sign_in.set_token("refreshToken", refresh_token)?;
        }
        sign_in.to_json()
    }
}

/// The `[sso-session …]` that a profile refers to.
fn sso_session<'a>(section: &ProfileSection<'a>, session: &str) -> Result<Profile<'a>, Failure> {
    let found = section.inputs.profiles.sso_session(session).ok_or_else(|| {
        section.wrong(
            &format!("the config file has no section [sso-session {session}]"),
            "add it with 'aws configure sso-session', or correct sso_session",
        )
    })?;
    // 'aws configure sso' leaves the keys of the older form beside sso_session.
    for key in ["sso_start_url", "sso_region"] {
        if let (Some(own), Some(other)) = (section.get(key), found.get(key))
            && own != other
        {
            let what = format!("its {key} is not that of [sso-session {session}]");
            return Err(section.wrong(&what, &format!("remove {key} from the profile, or correct it")));
        }
    }
    Ok(found)
}
