//! The AWS config and credentials files, read once and parsed by the SDK's own parser.
//!
//! The bytes that are parsed are the bytes that enter the cache key; nothing reads the files a second time. Where the SDK
//! goes on with a log line (a file that is not UTF-8 counts as empty, a section with a name that it does not like is
//! dropped), there is a [`Failure`] here for whoever depends on that file or section: to go on would mean to take another
//! identity (AWS SDKs and Tools reference, "Shared config and credentials files").

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_runtime::env_config::section::{EnvConfigSections, Profile, SsoSession};
use aws_runtime::env_config::source;
use aws_types::os_shim_internal::{Env as NoEnv, Fs as NoFiles};
use zeroize::Zeroizing;

use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::input::{self, Content};

/// What both files say, with one profile selected.
#[derive(Clone)]
pub struct Profiles {
    files: [AwsFile; 2],
    sections: EnvConfigSections,
    problem: Option<Failure>,
}

/// One of the two files.
#[derive(Clone)]
struct AwsFile {
    kind: EnvConfigFileKind,
    variable: &'static str,
    /// `None` when no absolute path leads to it.
    path: Option<PathBuf>,
    content: Content,
    unsteady: Option<&'static str>,
}

/// Where the config and the credentials file are. `None` when that is below no home, or in the current directory for
/// want of one.
pub fn paths(env: &Env) -> [Option<PathBuf>; 2] {
    [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")].map(|(variable, name)| {
        let path = match env.path(variable) {
            Some(named) => named,
            None => env.home()?.join(".aws").join(name),
        };
        (path.is_absolute() || env.home().is_some()).then_some(path)
    })
}

impl Profiles {
    /// Reads the files that `env` names, by `deadline`. Fails when one of them has no end.
    pub fn read(env: &Env, selected: &str, deadline: Instant) -> Result<Self, Failure> {
        let kinds = [
            (EnvConfigFileKind::Config, "AWS_CONFIG_FILE"),
            (EnvConfigFileKind::Credentials, "AWS_SHARED_CREDENTIALS_FILE"),
        ];
        let [config, credentials] = paths(env).map(|path| {
            let Some(path) = path else { return Ok((None, Content::Absent, None)) };
            match input::file(&path, deadline) {
                Ok(reading) => Ok((Some(path), reading.content, reading.unsteady)),
                Err(why) => Err(Failure::new(
                    Code::AwsFileInvalid,
                    format!("the AWS file {} cannot be used: {why}", path.display()),
                    "correct the file, or the variable that names it",
                )),
            }
        });
        let file = |(kind, variable), (path, content, unsteady)| AwsFile { kind, variable, path, content, unsteady };
        Ok(Self::new([file(kinds[0], config?), file(kinds[1], credentials?)], selected))
    }

    fn new(files: [AwsFile; 2], selected: &str) -> Self {
        let problem = files.iter().find_map(AwsFile::problem);
        let parsed = parse([files[0].text(), files[1].text()], selected);
        let (sections, problem) = match (parsed, problem) {
            (Ok(sections), problem) => (sections, problem),
            (Err(_), Some(problem)) => (EnvConfigSections::default(), Some(problem)),
            (Err(error), None) => (EnvConfigSections::default(), Some(syntax_error(&files, &error))),
        };
        Self { files, sections, problem }
    }

    /// Why no profile can be told for sure: a file is there that the SDK's parser does not read.
    pub fn problem(&self) -> Option<&Failure> {
        self.problem.as_ref()
    }

    /// Why another reading of the same files might differ.
    pub fn unsteady(&self) -> Option<String> {
        let of_file = |file: &AwsFile| {
            let why = file.unsteady?;
            Some(format!("{}: {why}", file.name()))
        };
        let of_section = || {
            let (first, second) = self.files.iter().flat_map(AwsFile::ambiguous).next()?;
            Some(format!("a section is spelled in two ways, [{first}] and [{second}]"))
        };
        self.files.iter().find_map(of_file).or_else(of_section)
    }

    /// Path and content of each file.
    pub fn contents(&self) -> impl Iterator<Item = (&PathBuf, &Content)> {
        self.files.iter().filter_map(|file| Some((file.path.as_ref()?, &file.content)))
    }

    /// All sections, for the SDK's look-ups in the selected profile.
    pub fn sections(&self) -> &EnvConfigSections {
        &self.sections
    }

    /// A profile by its name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.sections.get_profile(name)
    }

    /// The names of all profiles.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sections.profiles()
    }

    /// The `[sso-session …]` section that a profile refers to.
    pub fn sso_session(&self, name: &str) -> Option<&SsoSession> {
        self.sections.sso_session(name)
    }

    /// The file that has a profile, for messages: the credentials file where both have it and that one has the key.
    pub fn file_of(&self, profile: &str) -> String {
        let has = |file: &&AwsFile| {
            let texts = self.files.each_ref().map(|other| if std::ptr::eq(other, *file) { file.text() } else { "" });
            parse(texts, profile).is_ok_and(|sections| sections.get_profile(profile).is_some())
        };
        let names: Vec<String> = self.files.iter().filter(has).map(AwsFile::name).collect();
        names.join(" and ")
    }

    /// Both files, as the object of "is in neither".
    pub fn neither(&self) -> String {
        let [config, credentials] = &self.files;
        format!("{} nor {}", config.name(), credentials.name())
    }

    /// A section that was meant to be this profile, and that the SDK drops for its spelling; what to do about it.
    pub fn misspelt(&self, profile: &str) -> Option<Failure> {
        self.files.iter().find_map(|file| file.misspelt(profile))
    }

    /// Two spellings of the header of this profile, of which the SDK takes the one or the other by chance.
    pub fn two_spellings(&self, profile: &str) -> Option<Failure> {
        let file = self
            .files
            .iter()
            .find(|file| file.ambiguous().any(|(first, _)| normal(first).trim_start_matches("profile ") == profile))?;
        Some(Failure::new(
            Code::ProfileInvalid,
            format!("the header of profile '{profile}' is spelled in two ways in {}", file.name()),
            "write it in one way, with one space: the AWS SDK takes the one or the other by chance",
        ))
    }
}

impl AwsFile {
    fn text(&self) -> &str {
        self.content.bytes().and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Its path, or the place where it is looked for.
    fn name(&self) -> String {
        self.path.as_ref().map_or_else(
            || format!("the file that {} would name (there is no home directory)", self.variable),
            |path| match &self.content {
                Content::Unreadable(why) => format!("{} ({why})", path.display()),
                _ => path.display().to_string(),
            },
        )
    }

    /// What the SDK passes over with a log line.
    fn problem(&self) -> Option<Failure> {
        let (what, hint) = match &self.content {
            Content::Unreadable(why) if why == "it is a directory" => return None,
            Content::Unreadable(_) => ("cannot be read".to_owned(), "correct its owner or mode".to_owned()),
            Content::Absent => return None,
            Content::Bytes(bytes) => {
                let error = str::from_utf8(bytes).err()?;
                let line = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).matches('\n').count() + 1;
                (format!("is not UTF-8 in line {line}"), "save it as UTF-8: the AWS SDK reads nothing of it".to_owned())
            }
        };
        Some(Failure::new(Code::AwsFileInvalid, format!("the AWS file {} {what}", self.name()), hint))
    }

    /// The text between the brackets of each header, with its line.
    fn headers(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text().lines().enumerate();
        lines.filter_map(|(line, text)| {
            let inside = text.strip_prefix('[')?;
            Some((line + 1, inside.split(']').next().unwrap_or(inside)))
        })
    }

    /// Headers that mean the same to the SDK and are spelled in different ways. It merges them in the order of a hash map.
    fn ambiguous(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        self.headers().filter_map(move |(_, header)| {
            let first = *seen.entry(normal(header)).or_insert(header);
            (first != header).then_some((first, header))
        })
    }

    fn misspelt(&self, profile: &str) -> Option<Failure> {
        let is_config = matches!(self.kind, EnvConfigFileKind::Config);
        let right = if is_config { format!("[profile {profile}]") } else { format!("[{profile}]") };
        let meant = |header: &str| {
            let header = normal(header);
            let name = header.strip_prefix("profile ").unwrap_or(&header).trim_matches(['"', '\'']).trim();
            name.eq_ignore_ascii_case(profile.trim()) || name == normal(profile)
        };
        let (line, header) = self.headers().find(|(_, header)| meant(header))?;
        let hint = if profile.trim() != profile {
            format!("take the blanks out of the name where it is chosen: it is '{profile}'")
        } else if is_valid_name(profile) {
            format!("write {right}")
        } else {
            "rename the profile: the AWS SDK takes letters, digits and _-/.%@:+ in its name".to_owned()
        };
        Some(Failure::new(
            Code::ProfileMissing,
            format!("the AWS SDK does not take [{header}] in line {line} of {} for profile '{profile}'", self.name()),
            hint,
        ))
    }
}

/// A header with one space wherever there is some.
fn normal(header: &str) -> String {
    header.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The SDK's parser on the texts of config and credentials file.
fn parse(
    [config, credentials]: [&str; 2],
    selected: &str,
) -> Result<EnvConfigSections, aws_runtime::env_config::parse::EnvConfigParseError> {
    let files = EnvConfigFiles::builder()
        .with_contents(EnvConfigFileKind::Config, config)
        .with_contents(EnvConfigFileKind::Credentials, credentials)
        .build();
    let (env, fs) = (NoEnv::from_slice(&[]), NoFiles::from_slice(&[]));
    let loaded = pin!(source::load(&env, &fs, &files));
    let Poll::Ready(Ok(mut source)) = loaded.poll(&mut Context::from_waker(Waker::noop())) else {
        unreachable!("there is nothing to wait for: the contents are given")
    };
    source.profile = selected.to_owned().into();
    EnvConfigSections::parse(source)
}

/// The SDK's error with the file that it is about, which it cannot know.
fn syntax_error(files: &[AwsFile; 2], error: &aws_runtime::env_config::parse::EnvConfigParseError) -> Failure {
    let in_config = parse([files[0].text(), ""], "default").is_err();
    let file = if in_config { &files[0] } else { &files[1] };
    let text = Zeroizing::new(error.to_string());
    let (line, what) = text.split_once("on line ").and_then(|(_, rest)| rest.split_once(':')).unwrap_or(("?", &text));
    Failure::new(
        Code::AwsFileInvalid,
        format!("{}, line {line}: {}", file.name(), what.trim()),
        "correct the AWS file: nothing of it can be read",
    )
}

/// Whether the AWS SDK takes `name` for a profile's.
pub(super) fn is_valid_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "_-/.%@:+".contains(c))
}

#[cfg(test)]
mod tests {
    use super::{AwsFile, Content, Profiles};
    use aws_runtime::env_config::file::EnvConfigFileKind::{Config, Credentials};
    use zeroize::Zeroizing;

    fn profiles(config: &[u8], credentials: &[u8]) -> Profiles {
        let file = |kind, variable, bytes: &[u8]| AwsFile {
            kind,
            variable,
            path: Some(format!("/{variable}").into()),
            content: Content::Bytes(Zeroizing::new(bytes.to_vec())),
            unsteady: None,
        };
        Profiles::new([file(Config, "config", config), file(Credentials, "credentials", credentials)], "default")
    }

    #[test]
    fn what_the_sdk_drops_is_explained() {
        for (config, credentials, words) in [
            ("[profile \"a\"]\n", "", &["line 1 of /config", "[profile a]"][..]),
            ("\n[a]\n", "", &["line 2 of /config", "[profile a]"]),
            ("", "[profile a]\n", &["/credentials", "write [a]"]),
            ("[profile A]\n", "", &["write [profile a]"]),
        ] {
            let all = profiles(config.as_bytes(), credentials.as_bytes());
            assert!(all.profile("a").is_none());
            let failure = all.misspelt("a").expect("an explanation");
            let text = format!("{}; {}", failure.what, failure.hint);
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
        let all = profiles(b"[profile my prod]\n", b"");
        assert!(all.misspelt("my prod").expect("an explanation").hint.contains("rename"));
    }

    #[test]
    fn files_that_the_sdk_does_not_read_are_problems_with_their_line() {
        for (config, credentials, words) in [
            (&b"[default]\n# caf\xe9\n"[..], &b""[..], "/config is not UTF-8 in line 2"),
            (b"", b"\xff", "/credentials is not UTF-8 in line 1"),
            (b"a = b\n", b"", "/config, line 1"),
            (b"[default]\n", b"[a]\nb\n", "/credentials, line 2"),
        ] {
            let all = profiles(config, credentials);
            assert!(all.problem().expect(words).what.contains(words), "{:?}", all.problem());
        }
        assert!(profiles(b"[default]\nregion = x # y\n", b"").problem().is_none());
    }

    #[test]
    fn one_header_in_two_spellings_is_noticed() {
        let all = profiles(b"[profile a]\nx = 1\n[profile  a]\nx = 2\n", b"");
        assert!(all.unsteady().is_some() && all.two_spellings("a").is_some() && all.two_spellings("b").is_none());
        assert!(profiles(b"[profile a]\n[profile a]\n[default]\n[profile default]\n", b"").unsteady().is_none());
    }
}
