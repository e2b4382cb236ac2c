//! Resolves a server URL to its [`Target`]: the first `[[registry]]` table that matches, and the variables that override it.

use log::{Level, debug, log_enabled};

use super::registry_entry::RegistryEntry;
use super::target::{Caller, Choice, Target};
use super::{Config, invalid, variables};
use crate::env::Env;
use crate::error::Failure;
use crate::registry::{Account, Host, Registry};

impl Config {
    /// The target for the server at `server_url`; `None` for a host that is neither an ECR registry nor named in the file.
    pub fn target(&self, env: &Env, server_url: &str) -> Result<Option<Target>, Failure> {
        let Some(host) = Host::requested(server_url) else { return Ok(None) };
        let entry = self.entry_for(&host);
        let Some(registry) = registry_of(&host, Registry::parse(server_url), entry)? else { return Ok(None) };
        let Choice { caller, setting } = choose(env, entry, &registry)?;
        let endpoint_url = entry.and_then(|entry| entry.endpoint_url.clone());
        let time_for_person = self.timeout_with_person().saturating_sub(self.timeout());
        let (max_age, chosen_by) = (self.max_age, setting);
        let target =
            Target { host, registry, caller, chosen_by, time_for_person, max_age, endpoint_url, ca_bundle: None };
        log(&target);
        Ok(Some(target))
    }

    /// The line of the first table that applies to some registry of `account`, in any region and form.
    pub fn line_for_account(&self, account: Account) -> Option<usize> {
        let account_number = account.to_string();
        // Thousands of tables may each be for another account. The first comparison is hundreds of times as fast as the second.
        let applies = |entry: &&RegistryEntry| {
            let literal = entry.pattern.as_str().bytes().take_while(|byte| !b"*?[".contains(byte));
            literal.zip(account_number.bytes()).all(|(one, other)| one == other)
                && Registry::all_hosts(account).any(|host| entry.pattern.matches(&host))
        };
        self.registries.iter().find(applies).map(|entry| entry.line)
    }

    /// The hosts that the tables name without a pattern.
    pub fn named_hosts(&self) -> impl Iterator<Item = &str> {
        let patterns = self.registries.iter().map(|entry| entry.pattern.as_str());
        patterns.filter(|pattern| Host::parse(pattern).as_deref() == Some(*pattern))
    }

    fn entry_for(&self, host: &str) -> Option<&RegistryEntry> {
        self.registries.iter().find(|entry| entry.matches(host))
    }
}

/// The registry behind a host: `own` when the host is an ECR registry itself, or the one in its entry.
fn registry_of(host: &str, own: Option<Registry>, entry: Option<&RegistryEntry>) -> Result<Option<Registry>, Failure> {
    let behind = entry.and_then(|entry| Some((entry, entry.registry.as_ref()?)));
    match (own, behind) {
        (Some(own), Some((entry, other))) if own != *other => {
            let (setting, other) = (&entry.setting, other.host());
            let what = format!(
                "{setting}: this entry gives '{host}' the token of '{other}', but it is an ECR registry itself"
            );
            Err(invalid(what, "make 'match' narrower"))
        }
        (own, behind) => Ok(own.or_else(|| behind.map(|(_, other)| other.clone()))),
    }
}

/// Who calls for a registry: the variables of its account decide before its entry, and a CI job's identity before the AWS
/// settings.
fn choose(env: &Env, entry: Option<&RegistryEntry>, registry: &Registry) -> Result<Choice, Failure> {
    let of_entry = |entry: &RegistryEntry| {
        let setting = format!("{} ('{}')", entry.setting, entry.pattern);
        Ok(Choice { caller: entry.caller_for(registry)?, setting: Some(setting) })
    };
    let mapped = entry.map(of_entry).transpose()?;
    let of_account = match registry.account() {
        Some(account) => variables::choice_for_account(env, account)?,
        None => None,
    };
    let choice = of_account.or(mapped).unwrap_or_default();
    let Caller::AwsSettings { profile: None, role } = &choice.caller else { return Ok(choice) };
    let Some(token) = variables::web_identity(env)? else { return Ok(choice) };
    if let (Some(entry), true) = (entry, role.as_ref().is_some_and(|role| role.external_id.is_some())) {
        let (variable, setting) = (variables::WEB_IDENTITY, &entry.setting);
        let what =
            format!("{variable} is set, and {setting} has external_id, which AssumeRoleWithWebIdentity does not take");
        return Err(invalid(what, format!("remove external_id, or unset {variable}")));
    }
    // The role decides who calls, whatever names the token that it is assumed with.
    let (role, setting) = match role {
        Some(role) => (Some(role.clone()), choice.setting),
        None => (variables::role_for_all(env)?, Some(token.setting.clone())),
    };
    Ok(Choice { caller: Caller::WebIdentity { token, role }, setting })
}

/// Logs what was recognized and decided.
fn log(target: &Target) {
    if !log_enabled!(Level::Debug) {
        return;
    }
    let Target { host, registry, caller, chosen_by, .. } = target;
    let account = registry.account().map_or_else(|| "ECR Public".to_owned(), |account| account.to_string());
    debug!(host, account, region = registry.region(), registry = registry.host(); "registry recognized");
    if let Some(setting) = chosen_by {
        let profile = caller.profile().map(|profile| profile.name.as_str());
        let role = caller.role().map(|role| role.arn.as_str());
        debug!(host, setting, profile, role; "this setting maps the registry");
    } else {
        debug!(host; "no setting maps the registry: the AWS settings decide");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Caller, Config, Target};
    use crate::env::Env;
    use crate::error::Failure;

    const ONE: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";

    fn read(text: &str) -> Result<Config, Failure> {
        Config::read(text, Path::new("/c.toml"))
    }

    fn mapped(text: &str, vars: &[(&str, &str)], host: &str) -> Result<Option<Target>, Failure> {
        read(text).expect("a good file").target(&vars.iter().copied().collect::<Env>(), host)
    }

    fn target(text: &str, vars: &[(&str, &str)], host: &str) -> Result<Target, Failure> {
        mapped(text, vars, host).map(|target| target.expect("a host that is served"))
    }

    fn profile(target: &Target) -> Option<&str> {
        target.caller.profile().map(|profile| profile.name.as_str())
    }

    #[test]
    fn the_first_match_wins_and_globs_cross_dots() {
        let text = r#"
            [[registry]]
            match = "111122223333.dkr.ecr.*.amazonaws.com"
            profile = "prod"
            [[registry]]
            match = "1111*"
            profile = "other"
            [[registry]]
            match = "222233334444.*"
            role_arn = "arn:aws:iam::222233334444:role/path/EcrPull"
            external_id = "x"
            region = "eu-west-1"
        "#;
        assert_eq!(profile(&target(text, &[], ONE).unwrap()), Some("prod"));
        let dual_stack = target(text, &[], "https://111122223333.dkr-ecr.eu-west-1.on.aws/v2/").unwrap();
        assert_eq!(profile(&dual_stack), Some("other"));
        let mapped = target(text, &[], "222233334444.DKR.ECR.eu-west-1.amazonaws.com").unwrap();
        let role = mapped.caller.role().unwrap();
        assert_eq!((role.session_name.as_str(), role.external_id.as_deref()), (crate::NAME, Some("x")));
        let none = target(text, &[], "999999999999.dkr.ecr.eu-west-1.amazonaws.com").unwrap();
        assert_eq!(none.caller, Caller::default());
    }

    #[test]
    fn a_template_of_a_role_takes_the_account_of_the_registry() {
        let text = format!(
            "[[registry]]\nmatch = 'images.example.com'\nregistry = '{ONE}'\nrole_arn = \"arn:aws:iam::{{account}}:role/a\"\n\
             [[registry]]\nmatch = '*'\nrole_arn = 'arn:aws:iam::{{account}}:role/path/{{account}}-pull'\nexternal_id = 'x'"
        );
        for (host, arn) in [
            (ONE, "arn:aws:iam::111122223333:role/path/111122223333-pull"),
            ("222233334444.dkr-ecr.us-east-1.on.aws", "arn:aws:iam::222233334444:role/path/222233334444-pull"),
            ("images.example.com", "arn:aws:iam::111122223333:role/a"),
        ] {
            assert_eq!(target(&text, &[], host).unwrap().caller.role().unwrap().arn, arn);
        }
        for host in ["public.ecr.aws", "ecr-public.aws.com"] {
            let error = target(&text, &[], host).expect_err(host).to_string();
            for word in ["/c.toml", "line 7", "role_arn", host, "{account}"] {
                assert!(error.contains(word), "{word} in {error}");
            }
        }
        let mapped = target(&text, &[("AWS_ECR_PROFILE_111122223333", "ci")], ONE).unwrap();
        assert_eq!(mapped.caller.role(), None);
    }

    #[test]
    fn an_account_is_matched_by_whatever_table_applies_to_a_registry_of_it() {
        let line = |glob: &str| {
            let text = format!("\n[[registry]]\nmatch = '{glob}'\nprofile = 'x'");
            read(&text).expect("a good file").line_for_account("111122223333".parse().expect("an account"))
        };
        for glob in ["*", "111122223333.*", ONE, "*.dkr-ecr-fips.us-gov-west-1.on.aws", "1111*.cn"] {
            assert_eq!(line(glob), Some(2), "{glob}");
        }
        for glob in ["222233334444.*", "222233334444*.com", "public.ecr.aws"] {
            assert_eq!(line(glob), None, "{glob}");
        }
    }

    #[test]
    fn the_environment_decides_alone_for_its_account() {
        let text = "[[registry]]\nmatch = '111122223333.*'\nprofile = 'file'\nendpoint_url = 'https://e.example'";
        let arn = "arn:aws:iam::111122223333:role/ci";
        let mapped = target(text, &[("AWS_ECR_ROLE_ARN_111122223333", arn)], ONE).unwrap();
        assert_eq!((profile(&mapped), mapped.caller.role().unwrap().arn.as_str()), (None, arn));
        assert_eq!(mapped.endpoint_url.as_deref(), Some("https://e.example"));
        let mapped = target(text, &[("AWS_ECR_PROFILE_111122223333", "ci")], ONE).unwrap();
        assert_eq!((profile(&mapped), mapped.caller.role()), (Some("ci"), None));
        let other = target(text, &[("AWS_ECR_PROFILE_999999999999", "ci")], ONE).unwrap();
        assert_eq!(profile(&other), Some("file"));
        assert!(target(text, &[("AWS_ECR_ROLE_ARN_111122223333", "EcrPull")], ONE).is_err());
    }

    #[test]
    fn the_setting_that_chose_the_caller_is_named_and_a_blank_one_chose_nothing() {
        let text = "[[registry]]\nmatch = '111122223333.*'\n\nprofile = 'file'";
        let role = "arn:aws:iam::111122223333:role/ci";
        let keys =
            [("AWS_ECR_ACCESS_KEY_ID_111122223333", "AKIA"), ("AWS_ECR_SECRET_ACCESS_KEY_111122223333", "secret")];
        let blank = [("AWS_ECR_ACCESS_KEY_ID_111122223333", " "), ("AWS_ECR_SECRET_ACCESS_KEY_111122223333", " ")];
        for (text, vars, setting) in [
            (text, &[][..], Some("/c.toml, line 1 ('111122223333.*')")),
            (text, &keys[..], Some("AWS_ECR_ACCESS_KEY_ID_111122223333")),
            (text, &blank[..], Some("/c.toml, line 1 ('111122223333.*')")),
            (text, &[("AWS_ECR_WEB_IDENTITY", "github")], Some("/c.toml, line 1 ('111122223333.*')")),
            ("", &blank[..], None),
            (text, &[("AWS_ECR_PROFILE_111122223333", " ")], Some("/c.toml, line 1 ('111122223333.*')")),
            ("", &[("AWS_ECR_WEB_IDENTITY", " "), ("AWS_ECR_ROLE_ARN_111122223333", "\t")], None),
            ("", &[("AWS_ECR_WEB_IDENTITY", "github")], Some("AWS_ECR_WEB_IDENTITY")),
            (
                "",
                &[("AWS_ECR_WEB_IDENTITY", "github"), ("AWS_ECR_ROLE_ARN_111122223333", role)],
                Some("AWS_ECR_ROLE_ARN_111122223333"),
            ),
        ] {
            assert_eq!(target(text, vars, ONE).unwrap().chosen_by.as_deref(), setting, "{vars:?}");
        }
        let mapped = target(text, &[], ONE).unwrap();
        assert_eq!(mapped.caller.profile().unwrap().setting, "/c.toml, line 4", "the line of the profile");
    }

    #[test]
    fn only_named_hosts_beside_ecr_get_a_token() {
        let text = format!("[[registry]]\nmatch = '*.images.example.com'\nregistry = '{ONE}'");
        let custom = target(&text, &[], "https://eu.images.example.com/v2/").unwrap();
        assert_eq!((&*custom.host, &*custom.registry.host()), ("eu.images.example.com", ONE));
        for host in [
            "images.example.com.evil.example",
            "docker.io",
            "user@eu.images.example.com",
            "http://eu.images.example.com",
            "http://eu.images.example.com:443",
            "eu.images.example.com:8080",
        ] {
            assert_eq!(mapped(&text, &[], host), Ok(None), "{host}");
        }
        let no_registry = "[[registry]]\nmatch = '*'\nprofile = 'all'";
        assert_eq!(mapped(no_registry, &[], "docker.io"), Ok(None));
        assert_eq!(profile(&target(no_registry, &[], ONE).unwrap()), Some("all"));
    }
}
