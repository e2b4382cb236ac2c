//! What variables of the program say about who calls: for one account, and for all registries.

use super::{AccountKeys, Keys, ROLE_ARN_FORM, Role, SESSION_NAME, TokenOrigin, TokenProvider, is_role_arn};
use crate::env::Env;
use crate::error::Error;
use crate::secret::Secret;

/// Has roles assumed with the identity token of a CI job.
pub(super) const WEB_IDENTITY: &str = "AWS_ECR_WEB_IDENTITY";

/// Names the role where nothing names one for the account.
const ROLE_FOR_ALL: &str = "AWS_ECR_ROLE_ARN";

const PROFILE: &str = "AWS_ECR_PROFILE_";
const ROLE: &str = "AWS_ECR_ROLE_ARN_";
const KEY_ID: &str = "AWS_ECR_ACCESS_KEY_ID_";
const SECRET: &str = "AWS_ECR_SECRET_ACCESS_KEY_";
const SESSION_TOKEN: &str = "AWS_ECR_SESSION_TOKEN_";

/// Who calls for the registries of one account, and the role to assume then.
pub(super) struct OfAccount {
    pub(super) profile: Option<String>,
    pub(super) role: Option<Role>,
    pub(super) keys: Option<AccountKeys>,
}

/// The first variable that is set and decides who calls for an account.
pub(super) fn deciding(env: &Env, account: &str) -> Option<String> {
    let names = [KEY_ID, PROFILE, ROLE].map(|prefix| format!("{prefix}{account}"));
    names.into_iter().find(|name| env.text(name).is_some())
}

impl OfAccount {
    /// Reads the variables; `None` when there are none for the account.
    pub(super) fn read(env: &Env, account: &str) -> Result<Option<Self>, Error> {
        let get = |prefix: &str| env.text(&format!("{prefix}{account}")).map(str::to_owned);
        let (profile, keys) = (get(PROFILE), keys(env, account)?);
        let role = get(ROLE).map(|arn| role(&format!("{ROLE}{account}"), arn)).transpose()?;
        if keys.is_some() && profile.is_some() {
            return Err(Error::failed(format!(
                "{KEY_ID}{account} and {PROFILE}{account} are both set, and only one can decide who calls; \
                 unset one of them"
            )));
        }
        let is_set = profile.is_some() || role.is_some() || keys.is_some();
        Ok(is_set.then_some(Self { profile, role, keys }))
    }
}

/// The keys for an account. Blank values count as unset, as those of `AWS_ACCESS_KEY_ID` do.
fn keys(env: &Env, account: &str) -> Result<Option<AccountKeys>, Error> {
    let get = |prefix: &str| {
        let value = env.text(&format!("{prefix}{account}")).map(str::trim).filter(|value| !value.is_empty());
        value.map(|value| Secret::from(value.to_owned()))
    };
    let (id, secret, token) = (get(KEY_ID), get(SECRET), get(SESSION_TOKEN));
    let missing = |missing: &str| {
        let set = [(KEY_ID, &id), (SECRET, &secret), (SESSION_TOKEN, &token)];
        let set = set.into_iter().find(|(_, value)| value.is_some()).map_or(KEY_ID, |(name, _)| name);
        Err(Error::failed(format!(
            "{set}{account} is set and {missing}{account} is not; set {missing}{account} too, or unset \
             {set}{account}"
        )))
    };
    match (&id, &secret, &token) {
        (None, None, None) => Ok(None),
        (None, ..) => missing(KEY_ID),
        (_, None, _) => missing(SECRET),
        (Some(id), Some(secret), _) => {
            let keys = Keys { id: id.expose().to_owned(), secret: secret.clone(), token };
            Ok(Some(AccountKeys { account: account.to_owned(), keys }))
        }
    }
}

/// What `AWS_ECR_WEB_IDENTITY` says. Errors do not quote it: it may be a token that somebody took for its name.
pub(super) fn web_identity(env: &Env) -> Result<Option<TokenOrigin>, Error> {
    let Some(value) = env.text(WEB_IDENTITY) else { return Ok(None) };
    let provider = match value.split_once(':') {
        None if value == GITHUB => TokenProvider::GitHub,
        Some(("env", name)) if is_variable_name(name) => TokenProvider::Variable(name.to_owned()),
        _ => {
            return Err(Error::failed(format!(
                "{WEB_IDENTITY} has a value that means nothing: expected {GITHUB}, or env:NAME with the name \
                 of the variable that holds the token"
            )));
        }
    };
    Ok(Some(TokenOrigin { provider, setting: WEB_IDENTITY.to_owned() }))
}

/// The role for registries whose account has none of its own.
pub(super) fn role_for_all(env: &Env) -> Result<Option<Role>, Error> {
    env.text(ROLE_FOR_ALL).map(|arn| role(ROLE_FOR_ALL, arn.to_owned())).transpose()
}

fn role(name: &str, arn: String) -> Result<Role, Error> {
    if !is_role_arn(&arn) {
        return Err(Error::failed(format!("{name} is '{arn}': expected {ROLE_ARN_FORM}")));
    }
    Ok(Role { arn, external_id: None, session_name: SESSION_NAME.to_owned(), region: None, mfa_serial: None })
}

/// The only provider that has a name of its own.
pub(super) const GITHUB: &str = "github";

/// What the shell takes for the name of a variable.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
