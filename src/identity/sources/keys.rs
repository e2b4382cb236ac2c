//! Keys in settings: in variables, or in a profile. The settings themselves prove whose they are.

use super::super::inputs::{Inputs, ProfileSection};
use crate::config::Keys;
use crate::error::Failure;
use crate::quote::access_key_id;
use crate::registry::Account;

/// Keys, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticKeys {
    /// Where they are, as the object of a sentence.
    pub(super) place: String,
    /// The profile that has them; `None` for variables.
    pub profile: Option<String>,
    /// The keys.
    pub keys: Keys,
}

impl StaticKeys {
    /// Keys in the environment; a blank value counts as unset. `AWS_ACCESS_KEY` and `AWS_SECRET_KEY` are names of the SDK for
    /// Go, `AWS_SECURITY_TOKEN` is one of the AWS CLI.
    pub(in super::super) fn in_environment(inputs: &Inputs<'_>) -> Result<Option<Self>, Failure> {
        const IDS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"];
        const SECRETS: [&str; 2] = ["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"];
        let env = inputs.env;
        let first = |names: [&'static str; 2]| {
            let set = |name| Some((name, env.text(name).filter(|value| !value.trim().is_empty())?));
            names.into_iter().find_map(set)
        };
        // Of two names, the one that is there without a value is the one that was meant.
        let meant = |names: [&'static str; 2]| {
            names.into_iter().find(|name| env.text(name).is_some() || env.is_empty(name)).unwrap_or(names[0])
        };
        let ((id_name, id), (secret_name, secret)) = match (first(IDS), first(SECRETS)) {
            (Some(id), Some(secret)) => (id, secret),
            (Some((id, _)), None) => return Err(inputs.half(id, meant(SECRETS))),
            (None, Some((secret, _))) => return Err(inputs.half(secret, meant(IDS))),
            (None, None) => return Ok(None),
        };
        let token = first(["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"]).map(|(_, token)| token.trim().to_owned().into());
        let names = if secret_name == SECRETS[0] { id_name.to_owned() } else { format!("{id_name}, {secret_name}") };
        let keys = Keys { id: id.to_owned(), secret: secret.to_owned().into(), token };
        Ok(Some(Self { place: format!("the environment ({names})"), profile: None, keys }))
    }

    /// Keys that variables hold for one account.
    pub(in super::super) fn for_account(account: Account, keys: &Keys) -> Self {
        Self { place: format!("AWS_ECR_ACCESS_KEY_ID_{account}"), profile: None, keys: keys.clone() }
    }

    /// The keys in a profile.
    pub(in super::super) fn in_profile(section: &ProfileSection<'_>) -> Option<Self> {
        let (place, profile) = (format!("profile '{}'", section.name), Some(section.name.to_owned()));
        section.keys.clone().map(|keys| Self { place, profile, keys })
    }

    /// The end of the access key, as in `aws configure list`, which distinguishes the keys of two people or programs.
    pub(in super::super) fn end_of_id(&self) -> Option<&str> {
        let id = access_key_id(&self.keys.id)?;
        let (start, _) = id.char_indices().nth_back(3).filter(|(start, _)| *start >= 8)?;
        Some(&id[start..])
    }
}
