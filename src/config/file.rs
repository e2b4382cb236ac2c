//! Parses the text of the configuration file, with the line of every value for messages.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::registry_entry::{RegistryEntry, Table};
use super::source_text::SourceText;
use super::values::{BLANK, Text, age, is_helper_name, time_limit};
use super::{AGE_FORM, Config, TIME_LIMIT_FORM};
use crate::error::Failure;
use crate::toml_text::{self, Mistake, TOO_LONG};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    timeout: Option<Spanned<Text>>,
    max_age: Option<Spanned<Text>>,
    fallback: Option<Spanned<Text>>,
    #[serde(default)]
    registry: Vec<Spanned<Table>>,
}

impl Config {
    /// Parses the text of a file; `path` is for messages.
    pub fn read(text: &str, path: &Path) -> Result<Self, Failure> {
        let source = SourceText::new(text, path);
        let file: File = toml_text::parse(text).map_err(|Mistake { offset, what }| {
            let hint = match what.as_str() {
                BLANK => "remove the key instead",
                TOO_LONG => "remove what no registry needs",
                "invalid type: map, expected a sequence" => "write [[registry]], with two brackets",
                _ => "correct the line",
            };
            source.failure_at(offset, &what, hint)
        })?;
        let File { timeout, max_age, fallback, registry } = file;
        let timeout = source.parse(timeout.as_ref(), time_limit, "timeout: not a time limit", TIME_LIMIT_FORM)?;
        let max_age = source.parse(max_age.as_ref(), age, "max_age: not an age", AGE_FORM)?;
        let fallback = fallback.map(|name| helper(name, &source)).transpose()?;
        let registries = registries(registry, &source)?;
        Ok(Self { timeout, max_age, fallback, registries, ..Self::default() })
    }
}

fn helper(name: Spanned<Text>, source: &SourceText) -> Result<String, Failure> {
    let of_program = name.get_ref().strip_prefix("docker-credential-").filter(|rest| is_helper_name(rest));
    if of_program.is_some() || !is_helper_name(name.get_ref()) {
        let hint = of_program.map_or_else(|| "write e.g. 'desktop'".to_owned(), |rest| format!("write '{rest}'"));
        return Err(source.failure(&name, "fallback: not the name of a helper", &hint));
    }
    if **name.get_ref() == "ecr-login" {
        return Err(source.failure(&name, "fallback: ecr-login is this helper", "name another one"));
    }
    Ok(name.into_inner().0)
}

fn registries(tables: Vec<Spanned<Table>>, source: &SourceText) -> Result<Vec<RegistryEntry>, Failure> {
    let mut entries: Vec<RegistryEntry> = Vec::new();
    let mut patterns = HashSet::new();
    for table in tables {
        let start = table.span().start;
        let entry = RegistryEntry::new(table, source)?;
        if !patterns.insert(entry.pattern.clone()) {
            let what =
                format!("match: an earlier entry has the same pattern '{}', so this one never applies", entry.pattern);
            return Err(source.failure_at(start, &what, "remove one of the two"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;
    use crate::error::Failure;

    const ONE: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";

    fn read(text: &str) -> Result<Config, Failure> {
        Config::read(text, Path::new("/c.toml"))
    }

    #[test]
    fn half_a_million_marks_are_not_read() {
        let failure = read(&format!("[[registry]]\n{}", "[ ".repeat(250_000))).expect_err("too many");
        assert!(failure.what.contains("line 2") && failure.what.contains("more than 400000"), "{failure:?}");
    }

    #[test]
    fn mistakes_are_named_with_file_line_and_key() {
        for (text, words) in [
            ("timeout = 'soon'", &["line 1", "timeout"][..]),
            ("\ntimeot = '1s'", &["line 2", "timeot"]),
            ("fallback = '../x'", &["line 1", "fallback"]),
            ("\nfallback = 'ecr-login'", &["line 2", "fallback"]),
            ("[[registry]]\nmatch = '1*'\nprofil = 'x'", &["line 3", "profil"]),
            ("[[registry]]\nprofile = 'x'", &["line 1", "match"]),
            ("[[registry]]\nmatch = 'a[b'\nprofile = 'x'", &["line 2", "match"]),
            ("[[registry]]\nmatch = '1***'", &["line 2", "match"]),
            ("[[registry]]\nmatch = '1*'\nprofile = ' '", &["line 3", "empty"]),
            ("[[registry]]\nmatch = '1*'\nexternal_id = 'x'", &["line 3", "external_id", "role_arn"]),
            ("[[registry]]\nmatch = '1*'\nrole_arn = 'EcrPull'", &["line 3", "role_arn"]),
            (
                "[[registry]]\nmatch = '1*'\nrole_arn = 'arn:aws:iam::111122223333:role/a'\nregion = 'eu-west'",
                &["line 4", "the region 'eu-west'"],
            ),
            (
                "[[registry]]\nmatch = '1*'\nrole_arn = 'arn:aws:iam::{acount}:role/a'",
                &["line 3", "role_arn", "{acount}", "{account}"],
            ),
            ("[[registry]]\nmatch = '1*'\nrole_arn = 'arn:aws:iam::{account:role/a'", &["line 3", "role_arn"]),
            (
                "[[registry]]\nmatch = '1*'\nrole_arn = 'arn:aws:iam::{account}{account}:role/a'",
                &["line 3", "role_arn"],
            ),
            (
                "[[registry]]\nmatch = 'a.example'\nregistry = 'public.ecr.aws'\nrole_arn = 'arn:aws:iam::{account}:role/a'",
                &["line 4", "role_arn", "ECR Public"],
            ),
            ("[[registry]]\nmatch = '1*'\nendpoint_url = 'vpce'", &["line 3", "endpoint_url"]),
            ("[[registry]]\nmatch = 'a.example'\nregistry = 'docker.io'", &["line 3", "registry"]),
            ("[[registry]]\nmatch = '1*'\n[[registry]]\nmatch = '1*'", &["line 3", "match"]),
            ("[[registry]\n", &["line 1"]),
            ("[registry]\nmatch = '1*'", &["line 1", "write [[registry]]"]),
            ("fallback = 'docker-credential-desktop'", &["line 1", "write 'desktop'"]),
        ] {
            let error = read(text).expect_err(text).to_string();
            for word in ["/c.toml", "[E-CONFIG-INVALID]"].iter().chain(words) {
                assert!(error.contains(word), "{word} in {error}");
            }
        }
        for (glob, words) in [
            ("https://ONE", &["'/'", "the host alone"][..]),
            ("ONE/team", &["'/'"]),
            ("ONE/*", &["'/'"]),
            (" ONE", &["' '"]),
            ("ONE ", &["' '"]),
            ("ONE.", &["the dot"]),
            ("1111..*", &["the dot"]),
            ("ONE:443*", &["the port"]),
            ("ONE:5000", &["leave the port out"]),
            ("*.amazonaws.com:5000", &["leave the port out"]),
            ("111122223333.dkr.ecr.{us-east-1,eu-west-1}.amazonaws.com", &["'{'", "a table for each"]),
            ("ONE,ONE", &["','", "a table for each"]),
            ("111122223333\\..*", &["'\\'"]),
            ("111122223333", &["not the host of an ECR registry", "'registry'"]),
            ("111122223333.dkr.ecr.eu-west-1.amazonaws.com.cn", &["registries in eu-west-1 end in"]),
            ("docker.io", &["not the host of an ECR registry", "'registry'"]),
            ("1111-2222-3333.*", &["12 digits"]),
            ("11112222333.*", &["'11112222333'", "12 digits"]),
            ("111122223333.dkr.ecr.*.amazonaws.co", &["begins and ends"]),
            ("111122223333.drk.ecr.*.amazonaws.com", &["begins and ends"]),
            ("111122223333.ecr.*.amazonaws.com", &["begins and ends"]),
            ("*.dkr.ecr.us-east-1.amazonaw.com", &["begins and ends"]),
            ("*.dkr.ecr.us-east-1.amazonaws.com.evil", &["begins and ends"]),
            ("111122223333*docker.io", &["begins and ends"]),
            ("*.example.com", &["begins and ends"]),
        ] {
            let text = format!("[[registry]]\nmatch = '{}'\nprofile = 'x'", glob.replace("ONE", ONE));
            let error = read(&text).expect_err(glob).to_string();
            assert!(error.contains("line 2: match: "), "{error}");
            assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
        }
        for glob in ["http://a.example", "a.example:99999", "a.example:*", "a.example:", "a.example."] {
            let text = format!("[[registry]]\nmatch = '{glob}'\nregistry = '{ONE}'");
            assert!(read(&text).expect_err(glob).to_string().contains("line 2: match: "), "{glob}");
        }
        for glob in [
            "*",
            "1*",
            "?1*",
            "1111222233[34]*.*",
            "3*.dkr*",
            "*.dkr.ecr.*.amazonaws.com",
            "111122223333.dkr-ecr.*.on.aws",
            "111122223333.dkr.ecr*",
            "*.us-east-1.*",
            "*amazonaws.com.cn",
            "public.*",
            "ecr-public.aws.com",
        ] {
            let upper = glob.to_ascii_uppercase();
            for glob in [glob, &upper] {
                read(&format!("[[registry]]\nmatch = '{glob}'\nprofile = 'x'")).expect(glob);
            }
        }
        read(&format!("[[registry]]\nmatch = '{ONE}:443'\nprofile = 'x'")).expect("the port of HTTPS");
        for glob in ["*", "images.*", "*.com", "?xample.com"] {
            let text = format!("[[registry]]\nmatch = '{glob}'\nregistry = '{ONE}'");
            assert!(read(&text).expect_err(glob).to_string().contains("line 3: registry"), "{glob}");
        }
    }
}
