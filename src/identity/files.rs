//! The AWS config and credentials files, read as far as it takes to see which profile leads where. The SDK's own reading
//! decides in the end; both files also enter the cache key whole, so a rule that is read differently here can cost
//! a miss and not a mix-up (AWS SDKs and Tools reference, "Shared config and credentials files").

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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
    let length = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err("absent"),
        Err(_) => return Err("unreadable"),
        Ok(metadata) if !metadata.is_file() => return Err("no file"),
        Ok(metadata) => metadata.len().min(LARGEST),
    };
    // As long as it was a moment ago; what has been added since is for the next run. A buffer that grows would leave copies
    // that are not zeroed.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(length).map_err(|_| "unreadable")?]);
    let mut file = File::open(path).map_err(|_| "unreadable")?;
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err("unreadable"),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Where the config and the credentials file are.
pub fn paths(env: &Env) -> [PathBuf; 2] {
    [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")].map(|(variable, name)| {
        env.path(variable).unwrap_or_else(|| env.home().unwrap_or_default().join(".aws").join(name))
    })
}

/// What both files say. Searched when asked: of two hundred profiles a run wants one or two.
#[derive(Default)]
pub struct Profiles {
    config: Document,
    credentials: Document,
}

/// A file's text, and where its sections are, found out when one is first asked for.
#[derive(Default)]
struct Document {
    text: Zeroizing<String>,
    sections: OnceLock<Vec<(Range<usize>, Range<usize>)>>,
}

impl Profiles {
    pub(super) fn new(config: &Content, credentials: &Content) -> Self {
        Self { config: Document::new(config), credentials: Document::new(credentials) }
    }

    /// Reads the files that `env` names.
    pub fn load(env: &Env) -> Self {
        let [config, credentials] = paths(env).map(|path| content(&path));
        Self::new(&config, &credentials)
    }

    /// A profile by its name; the credentials file overrides the other key by key.
    pub fn profile(&self, name: &str) -> Option<Section> {
        let of_config = self.config.section(|header| match header.split_once(char::is_whitespace) {
            Some(("profile", quoted)) => unquote(quoted) == name,
            _ => header == "default" && name == "default",
        });
        let of_credentials = self.credentials.section(|header| header == name);
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
        self.config.section(|header| {
            header
                .split_once(char::is_whitespace)
                .is_some_and(|(kind, quoted)| kind == "sso-session" && unquote(quoted) == name)
        })
    }
}

impl Document {
    fn new(content: &Content) -> Self {
        let text = match content {
            Ok(bytes) => str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes).into(), str::to_owned),
            Err(_) => String::new(),
        };
        Self { text: Zeroizing::new(text), sections: OnceLock::new() }
    }

    /// Header and settings of each section. A header is a line that begins with a bracket, so brackets are what is looked
    /// for, of which there are fewer than lines.
    fn sections(&self) -> &[(Range<usize>, Range<usize>)] {
        self.sections.get_or_init(|| {
            let text = self.text.as_str();
            let mut sections: Vec<(Range<usize>, Range<usize>)> = Vec::new();
            for (bracket, _) in text.match_indices('[') {
                let line = text[..bracket].rfind('\n').map_or(0, |end| end + 1);
                if !text[line..bracket].chars().all(char::is_whitespace) {
                    continue;
                }
                let end = text[bracket..].find('\n').map_or(text.len(), |length| bracket + length);
                let header = text[bracket + 1..end].find(']').map_or(end, |length| bracket + 1 + length);
                if let Some((_, before)) = sections.last_mut() {
                    before.end = line;
                }
                sections.push((bracket + 1..header, end..text.len()));
            }
            sections
        })
    }

    /// The settings of all sections whose header is `wanted`; `None` when there is none.
    fn section(&self, wanted: impl Fn(&str) -> bool) -> Option<Section> {
        let found = self.sections().iter().filter(|(header, _)| wanted(self.text[header.clone()].trim()));
        found.fold(None, |section, (_, settings)| {
            let mut section = section.unwrap_or_default();
            read(&self.text[settings.clone()], &mut section);
            Some(section)
        })
    }
}

fn read(settings: &str, into: &mut Section) {
    for line in settings.lines() {
        // What is indented belongs to the setting above it.
        if line.starts_with(['#', ';']) || line.starts_with(char::is_whitespace) {
            continue;
        }
        if let Some((key, value)) = line.split_once('=') {
            let value = [" #", " ;", "\t#", "\t;"]
                .iter()
                .fold(value, |value, mark| value.split_once(mark).map_or(value, |(value, _comment)| value));
            into.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
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
