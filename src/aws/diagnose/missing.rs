//! No credentials at all: the machine has no role, or is not an EC2 instance.

use aws_credential_types::provider::error::CredentialsError;

use crate::aws::context::Context;
use crate::aws::sdk_error::{chain, is_slow_answer};
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
    pub(super) fn no_credentials(&self, error: &CredentialsError) -> Failure {
        let mut what = format!("no AWS credentials found; {}", self.describe_search());
        what.extend(half_set_pairs(self.env()));
        if chain(error).any(is_slow_answer) {
            return Failure::new(
                Code::CredentialsMissing,
                format!("{what}; the instance metadata service accepts connections but does not answer"),
                "in a container, raise the instance's metadata hop limit to 2: \
                 'aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2'",
            );
        }
        Failure::new(
            Code::CredentialsMissing,
            what,
            "set AWS_PROFILE, run 'aws configure' or 'aws configure sso', or give this machine a role",
        )
    }

    /// Describes where credentials were looked for.
    fn describe_search(&self) -> String {
        let name = self.identity.selected.name();
        let disabled = self.env().text("AWS_EC2_METADATA_DISABLED");
        let is_disabled = disabled.is_some_and(|value| value.eq_ignore_ascii_case("true"));
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
