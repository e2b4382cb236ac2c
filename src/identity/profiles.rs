//! The profiles in the AWS config and credentials files, as the two were read once.
//!
//! A profile may be in both files: a setting in the credentials file replaces the one in the config file, also by an empty
//! value. [`ini`](super::ini) says how a file is read.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use zeroize::Zeroizing;

use super::ini::Section;
use super::shared_file::{Kind, SharedFile};
use super::source_file::SourceFile;
use crate::env::Env;
use crate::error::Failure;
use crate::input::Content;

/// The content of both files.
#[derive(Clone)]
pub struct Profiles {
    /// The config file, then the credentials file.
    files: [SharedFile; 2],
}

/// A profile: its sections in the two files.
#[derive(Clone, Copy)]
pub struct Profile<'a> {
    config: Option<Section<'a>>,
    credentials: Option<Section<'a>>,
}

/// The paths of the config and the credentials file; `None` for a path that would need a home directory when there is
/// none.
pub fn paths(env: &Env) -> [Option<PathBuf>; 2] {
    [Kind::Config, Kind::Credentials].map(|kind| kind.path(env))
}

impl Profiles {
    /// Reads the files that `env` names, by `deadline`. Fails when one of them cannot be read to its end.
    pub fn read(env: &Env, deadline: Instant) -> Result<Self, Failure> {
        let read = |kind| SharedFile::read(kind, env, deadline);
        Ok(Self { files: [read(Kind::Config)?, read(Kind::Credentials)?] })
    }

    /// The profiles in these contents of a config and a credentials file.
    pub fn from_bytes(config: &[u8], credentials: &[u8]) -> Self {
        let file = |kind, path: &str, bytes: &[u8]| {
            let content = Content::Bytes(Zeroizing::new(bytes.to_vec()));
            SharedFile::new(kind, Some(SourceFile { path: path.into(), content, unsteady: None }))
        };
        Self { files: [file(Kind::Config, "/config", config), file(Kind::Credentials, "/credentials", credentials)] }
    }

    /// Why no profile can be trusted to be missing: a file that exists cannot be used.
    pub fn problem(&self) -> Option<&Failure> {
        self.files.iter().find_map(|file| file.problem.as_ref())
    }

    /// Both files, as far as they have a path.
    pub(super) fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter_map(|file| file.file.as_ref())
    }

    /// A profile by its name.
    pub fn profile(&self, name: &str) -> Option<Profile<'_>> {
        self.in_both(|file| file.profile(name))
    }

    fn in_both<'a>(&'a self, section: impl Fn(&'a SharedFile) -> Option<Section<'a>>) -> Option<Profile<'a>> {
        let [config, credentials] = self.files.each_ref().map(section);
        (config.is_some() || credentials.is_some()).then_some(Profile { config, credentials })
    }

    /// The names of all profiles, sorted.
    pub fn names(&self) -> BTreeSet<&str> {
        self.files.iter().flat_map(SharedFile::profile_names).collect()
    }

    /// A setting in the `[sso-session …]` section with this name; `None` when there is no such section.
    pub(super) fn sso_session(&self, name: &str) -> Option<Profile<'_>> {
        self.in_both(|file| file.named("sso-session", name.trim()))
    }

    /// The credentials file, where it alone has the `[sso-session …]` section with this name.
    pub(super) fn misplaced_sso_session(&self, name: &str) -> Option<String> {
        let [config, credentials] = &self.files;
        let has = |file: &SharedFile| file.named("sso-session", name.trim()).is_some();
        (has(credentials) && !has(config)).then(|| credentials.name())
    }

    /// A setting for a service in the `[services …]` section that a profile names.
    pub fn service_setting(&self, profile: &str, service: &str, key: &str) -> Option<&str> {
        let services = self.profile(profile)?.get("services")?;
        self.files.iter().find_map(|file| file.named("services", services)?.nested(service, key))
    }

    /// The file or files that have a profile, for messages.
    pub fn file_of(&self, profile: &str) -> String {
        let names: Vec<String> =
            self.files.iter().filter(|file| file.profile(profile).is_some()).map(SharedFile::name).collect();
        names.join(" and ")
    }

    /// Both files, as the object of "is in neither".
    pub fn neither(&self) -> String {
        let [config, credentials] = &self.files;
        format!("{} nor {}", config.name(), credentials.name())
    }

    /// The failure for a section that seems to be meant for this profile, and is not its section.
    pub fn misspelt(&self, profile: &str) -> Option<Failure> {
        self.files.iter().find_map(|file| file.misspelt(profile))
    }

    /// The same for any section that has one of these keys and is no profile's.
    pub fn misspelt_with(&self, keys: &[&str]) -> Option<Failure> {
        let names = self.files.iter().flat_map(|file| file.names_with(keys));
        names.filter(|name| self.profile(name).is_none()).find_map(|name| self.misspelt(name))
    }

    /// The files that are passed over as a whole, with the reason.
    pub fn missing(&self) -> [Option<String>; 2] {
        self.files.each_ref().map(SharedFile::missing)
    }

    /// What was passed over in both files, with the reason.
    pub fn passed_over(&self) -> impl Iterator<Item = String> {
        self.files.iter().flat_map(SharedFile::passed_over)
    }
}

impl<'a> Profile<'a> {
    /// The value of a setting; `None` when it is absent or empty.
    pub fn get(self, key: &str) -> Option<&'a str> {
        match self.credentials {
            Some(section) if section.has(key) => section.get(key),
            _ => self.config?.get(key),
        }
    }

    /// A clause about a key that only other programs read in place of `aws_access_key_id` or `aws_secret_access_key`.
    pub(super) fn foreign_key(self) -> Option<String> {
        const NAMES: [&str; 6] =
            ["aws_access_key", "aws_secret_key", "access_key", "secret_key", "access_key_id", "secret_access_key"];
        let name = NAMES.into_iter().find(|name| self.sections().any(|section| section.has(name)))?;
        let (start, end) = if name.contains("secret") { ("secret_access", "") } else { ("access", "_id") };
        Some(format!("'{name}' is not read: its name is aws_{start}_key{end}"))
    }

    /// The sections that may hold its keys, in the order of precedence: a pair of keys is in one file.
    pub(super) fn sections(self) -> impl Iterator<Item = Section<'a>> {
        self.credentials.into_iter().chain(self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::Profiles;

    #[test]
    fn a_header_that_is_meant_for_a_profile_is_explained() {
        for (config, credentials, words) in [
            ("\n[a]\n", "", &["line 2 of /config", "write [profile a]"][..]),
            ("", "[profile a]\n", &["/credentials", "write [a]"]),
            ("[profile A]\n", "", &["write [profile a]"]),
            ("[Profile a]\n", "", &["write [profile a]"]),
        ] {
            let all = Profiles::from_bytes(config.as_bytes(), credentials.as_bytes());
            assert!(all.profile("a").is_none());
            let failure = all.misspelt("a").expect("an explanation");
            let text = format!("{}; {}", failure.what, failure.hint);
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }

    #[test]
    fn files_in_another_encoding_are_problems_and_comments_are_not() {
        for (config, credentials, words) in [
            (&b"[default]\nregion = caf\xe9\n"[..], &b""[..], "/config is not UTF-8 in line 2"),
            (b"[default]\n[caf\xe9]\n", b"", "/config is not UTF-8 in line 2"),
            (b"", b"\xff", "/credentials is not UTF-8 in line 1"),
            (b"\xef\xbb\xbf[default]\n", b"", "/config begins with a byte-order mark"),
            (b"\xff\xfe[\0d\0", b"", "/config is UTF-16"),
            (b"[\0d\0", b"", "/config is UTF-16"),
            (b"", b"\0[\0d", "/credentials is UTF-16"),
        ] {
            let all = Profiles::from_bytes(config, credentials);
            assert!(all.problem().expect(words).what.contains(words), "{:?}", all.problem());
        }
        let all = Profiles::from_bytes(b"[default]\n# caf\xe9\n\t;\xe9\nregion = x # caf\xe9\n", b"");
        assert!(all.problem().is_none());
        assert_eq!(all.profile("default").and_then(|profile| profile.get("region")), Some("x"));
    }

    #[test]
    fn any_name_in_a_header_is_a_name() {
        for name in ["a", "my prod", "größe", "(a)&!*,|\\", "a.b@c:d+e/f%", "a#b", "\"a\""] {
            let config = format!("[profile {name}]\nregion = x\n");
            let all = Profiles::from_bytes(config.as_bytes(), b"");
            assert_eq!(all.profile(name).and_then(|profile| profile.get("region")), Some("x"), "{name}");
            let all = Profiles::from_bytes(b"", config.replace("profile ", "").as_bytes());
            assert_eq!(all.profile(name).and_then(|profile| profile.get("region")), Some("x"), "{name}");
        }
        let all = Profiles::from_bytes(b"[profile \"a b\"]\nregion = x\n[profile 'c']\nregion = y\n[profile c]\n", b"");
        assert!(all.profile("a b").is_some_and(|profile| profile.get("region") == Some("x")));
        assert!(
            all.profile("c").is_some_and(|profile| profile.get("region").is_none()),
            "the name without quotes first"
        );
        assert_eq!(all.names().into_iter().collect::<Vec<_>>(), ["a b", "c"]);
    }

    #[test]
    fn the_credentials_file_replaces_settings_one_by_one() {
        let config = b"[default]\nregion = no\n[profile default]\na = 1\nb = 1\nc = 1\n";
        let all = Profiles::from_bytes(config, b"[default]\nb = 2\nc =\n");
        let profile = all.profile("default").expect("a profile");
        let values = ["a", "b", "c", "region"].map(|key| profile.get(key));
        assert_eq!(values, [Some("1"), Some("2"), None, None]);
    }
}
