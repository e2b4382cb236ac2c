//! No credentials at all: the machine has no role, or is not an EC2 instance; a sign-in is over, or out of reach.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use crate::aws::context::Context;
use crate::code::Code;
use crate::error::Failure;
use crate::identity::{Identity, LONGEST_CHAIN};
use crate::input;
use crate::platform::{self, aws_command};

/// The failure for a sign-in in this file that gives no credentials, which this command of the AWS CLI renews. A file that this user may
/// not use is in the way of that command, too, e.g. the one that `sudo -E aws sso login` leaves.
pub(in crate::aws) fn signed_out(code: Code, sign_in: &str, file: &Path, command: &str) -> Failure {
    let failed = |why: String, hint: String| {
        let what = format!("{sign_in} cannot be read: its file {} {why}", file.display());
        Failure::new(Code::SourceFile, what, hint)
    };
    let out_of_reach = |why, fix: &str| failed(why, format!("{fix}, and run {command} if it has expired"));
    let below_file = || Some(format!("is below {}, which is a file", input::file_on_the_way(file)?.display()));
    if let Some(why) = file.is_dir().then(|| "is a directory".to_owned()).or_else(below_file) {
        return failed(why, format!("remove it, and run {command}"));
    }
    if let Some(dir) = input::closed_dir(file) {
        return out_of_reach(
            format!("is below {}, which this user cannot enter", dir.display()),
            "let this user enter it",
        );
    }
    let is_closed = File::open(file).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    match platform::other_owner(file).filter(|_| platform::own_id() != 0) {
        Some(owner) if is_closed => {
            let fix = "let that user give it to this one";
            out_of_reach(format!("belongs to another user, {owner}"), fix)
        }
        None if is_closed => out_of_reach("is closed to this user".to_owned(), "correct its mode"),
        owner => {
            let by_owner =
                |owner| format!(" as user {owner}, whose file {} is, or give it to this user", file.display());
            let hint = format!("run {command}{}", owner.map_or_else(String::new, by_owner));
            Failure::new(code, format!("{sign_in} has expired or is gone"), hint)
        }
    }
}

impl Context {
    /// The failure when the last source has none, for this reason and with this fix, if they are known.
    pub(in crate::aws) fn no_credentials(&self, why: &str, hint: Option<&str>) -> Failure {
        let mut what = format!("no AWS credentials found; {}", self.describe_search());
        what.extend(self.identity.chain.passed_over.iter().map(|clause| format!("; {clause}")));
        for file in self.identity.profiles.missing().into_iter().flatten() {
            what = format!("{what}; {file}");
        }
        if !why.is_empty() {
            what = format!("{what}; {why}");
        }
        let selected = &self.identity.selected;
        let configure = |words: &str| {
            if selected.is_default() { format!("'aws {words}'") } else { aws_command(words, selected.name()) }
        };
        let hint = hint.map_or_else(
            || {
                if self.names_instance().is_some() && self.metadata_is_disabled() {
                    return "unset AWS_EC2_METADATA_DISABLED, or correct credential_source".to_owned();
                }
                let (keys, sso) = (configure("configure"), configure("configure sso"));
                format!("set AWS_PROFILE, run {keys} or {sso}, or give this machine a role")
            },
            |hint| format!("{hint}, or set AWS_PROFILE"),
        );
        Failure::new(Code::CredentialsMissing, what, hint)
    }

    /// Whether the settings disable the instance metadata service.
    pub(in crate::aws) fn metadata_is_disabled(&self) -> bool {
        self.env().text("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// The profile that names the instance's role as its source.
    fn names_instance(&self) -> Option<&str> {
        let Identity { profiles, selected, .. } = &*self.identity;
        let source_of = |name: &&str| profiles.profile(name)?.get("source_profile").filter(|next| next != name);
        let name = std::iter::successors(Some(selected.name()), source_of).take(LONGEST_CHAIN).last()?;
        let source = profiles.profile(name)?.get("credential_source")?;
        source.eq_ignore_ascii_case("Ec2InstanceMetadata").then_some(name)
    }

    /// Describes where credentials were looked for.
    fn describe_search(&self) -> String {
        let is_disabled = self.metadata_is_disabled();
        match (self.names_instance(), is_disabled) {
            (None, _) => format!(
                "tried environment variables, profile '{}' in the AWS config files, a web identity token, \
                 a container endpoint, {}",
                self.identity.selected.name(),
                if is_disabled {
                    "not the instance role, since AWS_EC2_METADATA_DISABLED is set"
                } else {
                    "an instance role"
                }
            ),
            (Some(name), true) => {
                format!("profile '{name}' uses the instance's role, but AWS_EC2_METADATA_DISABLED is set")
            }
            (Some(name), false) => format!("profile '{name}' uses the instance's role, which gives none"),
        }
    }
}
