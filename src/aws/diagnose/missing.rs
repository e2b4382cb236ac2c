//! No credentials at all: the machine has no role, or is not an EC2 instance.

use crate::aws::context::Context;
use crate::code::Code;
use crate::error::Failure;
use crate::platform::shell_word;

impl Context {
    /// The failure when the last source has none, for this reason and with this fix, if they are known.
    pub(in crate::aws) fn no_credentials(&self, why: &str, hint: Option<&str>) -> Failure {
        let mut what = format!("no AWS credentials found; {}", self.describe_search());
        what.extend(self.identity.chain.passed_over.iter().map(|clause| format!("; {clause}")));
        if !why.is_empty() {
            what = format!("{what}; {why}");
        }
        let selected = &self.identity.selected;
        let profile =
            if selected.is_default() { String::new() } else { format!(" --profile {}", shell_word(selected.name())) };
        let hint = hint.map_or_else(
            || {
                format!(
                    "set AWS_PROFILE, run 'aws configure{profile}' or 'aws configure sso{profile}', or give this machine a role"
                )
            },
            |hint| format!("{hint}, or set AWS_PROFILE"),
        );
        Failure::new(Code::CredentialsMissing, what, hint)
    }

    /// Whether the settings disable the instance metadata service.
    pub(in crate::aws) fn metadata_is_disabled(&self) -> bool {
        self.env().text("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// Describes where credentials were looked for.
    fn describe_search(&self) -> String {
        let name = self.identity.selected.name();
        let is_disabled = self.metadata_is_disabled();
        // Settings that were passed over led on to the machine.
        let is_search = self.identity.selected.is_default() || !self.identity.chain.passed_over.is_empty();
        match (is_search, is_disabled) {
            (true, _) => format!(
                "tried environment variables, profile '{name}' in the AWS config files, a web identity token, \
                 a container endpoint, {}",
                if is_disabled {
                    "not the instance role, since AWS_EC2_METADATA_DISABLED is set"
                } else {
                    "an instance role"
                }
            ),
            (false, true) => format!("profile '{name}' uses the instance's role, but AWS_EC2_METADATA_DISABLED is set"),
            (false, false) => format!("profile '{name}' uses the instance's role, which gives none"),
        }
    }
}
