//! The AWS config and credentials files, read as far as it takes to see which profile leads where. The SDK's own reading
//! decides in the end; both files also enter the cache key whole, so a rule that is read differently here can cost
//! a miss and not a mix-up (AWS SDKs and Tools reference, "Shared config and credentials files").

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::env::Env;

/// The settings of one section, names in lower case.
pub type Section = BTreeMap<String, String>;

/// A file's bytes, or in a word why there are none. They may hold keys and are zeroed when dropped.
pub(super) type Content = Result<Zeroizing<Vec<u8>>, &'static str>;

/// A longer file is none that AWS tools write.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Reads a regular file. Nothing else: opening a pipe could wait for ever.
pub(super) fn content(path: &Path) -> Content {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err("absent"),
        Err(_) => return Err("unreadable"),
        Ok(metadata) if !metadata.is_file() => return Err("no file"),
        Ok(_) => {}
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|_| "unreadable")
}

/// Where the config and the credentials file are.
pub fn paths(env: &Env) -> [PathBuf; 2] {
    [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")].map(|(variable, name)| {
        env.path(variable).unwrap_or_else(|| env.home().unwrap_or_default().join(".aws").join(name))
    })
}

/// What both files say. Kept as they are and searched when asked: of two hundred profiles a run wants one or two.
#[derive(Default)]
pub struct Profiles {
    config: Zeroizing<String>,
    credentials: Zeroizing<String>,
}

impl Profiles {
    pub(super) fn new(config: &Content, credentials: &Content) -> Self {
        let text = |content: &Content| {
            Zeroizing::new(content.as_ref().map_or(String::new(), |bytes| String::from_utf8_lossy(bytes).into_owned()))
        };
        Self { config: text(config), credentials: text(credentials) }
    }

    /// Reads the files that `env` names.
    pub fn load(env: &Env) -> Self {
        let [config, credentials] = paths(env).map(|path| content(&path));
        Self::new(&config, &credentials)
    }

    /// A profile by its name; the credentials file overrides the other key by key.
    pub fn profile(&self, name: &str) -> Option<Section> {
        let of_config = section(&self.config, |header| match header.split_once(char::is_whitespace) {
            Some(("profile", quoted)) => unquote(quoted) == name,
            _ => header == "default" && name == "default",
        });
        let of_credentials = section(&self.credentials, |header| header == name);
        match (of_config, of_credentials) {
            (Some(mut profile), Some(over)) => {
                profile.extend(over);
                Some(profile)
            }
            (one, other) => one.or(other),
        }
    }

    /// The `[sso-session …]` section that a profile refers to.
    pub fn sso_session(&self, name: &str) -> Option<Section> {
        section(&self.config, |header| {
            header
                .split_once(char::is_whitespace)
                .is_some_and(|(kind, quoted)| kind == "sso-session" && unquote(quoted) == name)
        })
    }
}

/// The settings of all sections whose header is `wanted`; `None` when there is none.
fn section(text: &str, wanted: impl Fn(&str) -> bool) -> Option<Section> {
    let mut found: Option<Section> = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(inner) = trimmed.strip_prefix('[') {
            inside = wanted(inner.split(']').next().unwrap_or_default().trim());
            if inside {
                found.get_or_insert_default();
            }
            continue;
        }
        // What is indented belongs to the setting above it.
        let is_setting = inside && !trimmed.starts_with(['#', ';']) && !line.starts_with(char::is_whitespace);
        if let (true, Some((key, value)), Some(found)) = (is_setting, trimmed.split_once('='), &mut found) {
            let value = [" #", " ;", "\t#", "\t;"]
                .iter()
                .fold(value, |value, mark| value.split_once(mark).map_or(value, |(value, _comment)| value));
            found.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

fn unquote(name: &str) -> &str {
    let name = name.trim();
    let inner = ['"', '\''].iter().find_map(|&quote| name.strip_prefix(quote)?.strip_suffix(quote));
    inner.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::Profiles;
    use zeroize::Zeroizing;

    #[test]
    fn sections_are_named_and_merged_as_the_sdk_does() {
        let config = "[default]\nregion = x # not this\n[profile a]\nRole_ARN=r\nservices = s\n\
                      [profile \"b c\"]\n[sso-session s]\nsso_start_url = https://s # c\n[services s]\necr =\n  endpoint_url = u\n[d]\n";
        let credentials = "[a]\naws_access_key_id = k=1\nrole_arn = over\n";
        let all = Profiles::new(
            &Ok(Zeroizing::new(config.as_bytes().to_vec())),
            &Ok(Zeroizing::new(credentials.as_bytes().to_vec())),
        );
        let a = all.profile("a").expect("a");
        assert_eq!((a["role_arn"].as_str(), a["aws_access_key_id"].as_str()), ("over", "k=1"));
        assert_eq!(all.profile("default").expect("default")["region"], "x");
        assert_eq!(all.sso_session("s").expect("s")["sso_start_url"], "https://s");
        assert!(all.profile("b c").is_some() && all.profile("d").is_none());
    }
}
