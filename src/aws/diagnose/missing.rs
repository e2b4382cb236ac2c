//! No credentials at all: the machine has no role, or is not an EC2 instance.

use crate::aws::context::Context;
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::identity::Selected;

/// Variables that have an effect only together.
const PAIRS: [[&str; 2]; 3] = [
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
    ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"],
    ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"],
];

impl Context {
    /// The failure when the last source has none, for this reason and with this fix, if they are known.
    pub(in crate::aws) fn no_credentials(&self, why: &str, hint: Option<&str>) -> Failure {
        let mut what = format!("no AWS credentials found; {}", self.describe_search());
        what.extend(half_set_pairs(self.env()));
        if !why.is_empty() {
            what = format!("{what}; {why}");
        }
        let hint = hint.map_or_else(
            || "set AWS_PROFILE, run 'aws configure' or 'aws configure sso', or give this machine a role".to_owned(),
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
        match (&self.identity.selected, is_disabled) {
            (Selected::Default, _) => format!(
                "tried environment variables, profile '{name}' in the AWS config files, a web identity token, \
                 a container endpoint, {}",
                if is_disabled {
                    "not the instance role, since AWS_EC2_METADATA_DISABLED is set"
                } else {
                    "an instance role"
                }
            ),
            (_, true) => format!("profile '{name}' uses the instance's role, but AWS_EC2_METADATA_DISABLED is set"),
            (_, false) => format!("profile '{name}' uses the instance's role, which gives none"),
        }
    }
}

/// Describes each variable that is set without the one that it needs.
fn half_set_pairs(env: &Env) -> impl Iterator<Item = String> {
    let half_set = PAIRS.into_iter().filter(|[set, missing]| env.os(set).is_some() && env.os(missing).is_none());
    half_set.map(|[set, missing]| format!("; {set} is set, but {missing} is not"))
}
