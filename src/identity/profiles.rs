//! Reads the AWS config and credentials files once, and parses them with the SDK's own parser.
//!
//! The bytes that are parsed are the bytes that enter the cache key; nothing reads the files a second time. In some cases
//! the SDK writes a log line and continues: it treats a file that is not UTF-8 as empty, and drops a section with a name
//! that it does not accept. Here these are a [`Failure`] when the identity depends on that file or section, since the helper
//! would otherwise use another identity (AWS SDKs and Tools reference, "Shared config and credentials files").

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

use super::observations::unsteady;
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::input::{self, Content, Reading};

/// The content of both files, with one profile selected.
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
    /// `None` when there is no absolute path.
    path: Option<PathBuf>,
    content: Content,
    unsteady: Option<&'static str>,
}

/// The paths of the config and the credentials file; `None` for a path that would need a home directory when there is
/// none.
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
    /// Reads the files that `env` names, by `deadline`. Fails when one of them cannot be read to its end.
    pub fn read(env: &Env, selected: &str, deadline: Instant) -> Result<Self, Failure> {
        let [config, credentials] = paths(env);
        let files = [
            AwsFile::read(EnvConfigFileKind::Config, "AWS_CONFIG_FILE", config, deadline)?,
            AwsFile::read(EnvConfigFileKind::Credentials, "AWS_SHARED_CREDENTIALS_FILE", credentials, deadline)?,
        ];
        Ok(Self::new(files, selected))
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

    /// Why no profile can be trusted to be missing: the SDK's parser does not read a file that exists.
    pub fn problem(&self) -> Option<&Failure> {
        self.problem.as_ref()
    }

    /// Why another reading of the same files might give other profiles.
    pub fn unsteady(&self) -> Option<Failure> {
        let of_file = |file: &AwsFile| Some(unsteady(file.path.as_ref()?, file.unsteady?));
        let of_section = || {
            let (first, second) = self.files.iter().flat_map(AwsFile::ambiguous).next()?;
            let what = format!("a section is spelled in two ways, [{first}] and [{second}]");
            Some(Failure::new(Code::CacheUnused, what, "use one spelling"))
        };
        self.files.iter().find_map(of_file).or_else(of_section)
    }

    /// The path and the content of each file.
    pub fn contents(&self) -> impl Iterator<Item = (&PathBuf, &Content)> {
        self.files.iter().filter_map(|file| Some((file.path.as_ref()?, &file.content)))
    }

    /// All sections, for the SDK's lookups in the selected profile.
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

    /// The headers whose names the SDK drops, though they are meant for profiles.
    pub fn unreadable_names(&self) -> impl Iterator<Item = &str> {
        let is_profile = |file: &AwsFile, header: &str| {
            normal(header).starts_with("profile ") || !matches!(file.kind, EnvConfigFileKind::Config)
        };
        let name_of = |header: &str| normal(header).trim_start_matches("profile ").to_owned();
        let headers = self.files.iter().flat_map(move |file| {
            file.headers().map(|(_, header)| header).filter(move |header| is_profile(file, header))
        });
        headers.filter(move |header| self.profile(&name_of(header)).is_none())
    }

    /// The `[sso-session …]` section that a profile refers to.
    pub fn sso_session(&self, name: &str) -> Option<&SsoSession> {
        self.sections.sso_session(name)
    }

    /// The file or files that have a profile, for messages.
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

    /// The failure for a section that seems to be meant for this profile, and that the SDK drops because of its spelling.
    pub fn misspelt(&self, profile: &str) -> Option<Failure> {
        self.files.iter().find_map(|file| file.misspelt(profile))
    }

    /// The failure for a profile with a header in two spellings, of which the SDK chooses one at random.
    pub fn two_spellings(&self, profile: &str) -> Option<Failure> {
        let file = self
            .files
            .iter()
            .find(|file| file.ambiguous().any(|(first, _)| normal(first).trim_start_matches("profile ") == profile))?;
        Some(Failure::new(
            Code::ProfileInvalid,
            format!("the header of profile '{profile}' is spelled in two ways in {}", file.name()),
            "use one spelling, with one space: the AWS SDK chooses one of them at random",
        ))
    }
}

impl AwsFile {
    fn read(
        kind: EnvConfigFileKind,
        variable: &'static str,
        path: Option<PathBuf>,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self { kind, variable, path, content: Content::Absent, unsteady: None });
        };
        let Reading { content, unsteady } = input::file(&path, deadline).map_err(|why| {
            Failure::new(
                Code::AwsFileInvalid,
                format!("the AWS file {} cannot be used: {why}", path.display()),
                "correct the file, or the variable that names it",
            )
        })?;
        Ok(Self { kind, variable, path: Some(path), content, unsteady })
    }

    fn text(&self) -> &str {
        self.content.bytes().and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The path, or a description when there is none.
    fn name(&self) -> String {
        self.path.as_ref().map_or_else(
            || format!("the file that {} would name (there is no home directory)", self.variable),
            |path| match &self.content {
                Content::Unreadable(why) => format!("{} ({why})", path.display()),
                _ => path.display().to_string(),
            },
        )
    }

    /// The failure for a file that the SDK ignores with a log line.
    fn problem(&self) -> Option<Failure> {
        let (what, hint) = match &self.content {
            Content::Unreadable(why) if why == input::DIRECTORY => return None,
            Content::Unreadable(_) => ("cannot be read".to_owned(), "correct its owner or mode".to_owned()),
            Content::Absent => return None,
            Content::Bytes(bytes) => {
                let error = str::from_utf8(bytes).err()?;
                let line = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).matches('\n').count() + 1;
                (
                    format!("is not UTF-8 in line {line}"),
                    "save it as UTF-8: the AWS SDK ignores the whole file".to_owned(),
                )
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

    /// Pairs of headers that mean the same to the SDK and are spelled differently. The SDK merges them in the order of a
    /// hash map.
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
            format!("remove the blanks from the name in the setting that names it: it is '{profile}'")
        } else if is_valid_name(profile) {
            format!("write {right}")
        } else {
            "rename the profile: the AWS SDK accepts letters, digits and _-/.%@:+ in its name".to_owned()
        };
        Some(Failure::new(
            Code::ProfileMissing,
            format!("the AWS SDK does not accept [{header}] in line {line} of {} for profile '{profile}'", self.name()),
            hint,
        ))
    }
}

/// A header with its runs of white space replaced by one space.
fn normal(header: &str) -> String {
    header.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs the SDK's parser on the texts of the config and the credentials file.
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
        unreachable!("the contents are given, so nothing waits")
    };
    source.profile = selected.to_owned().into();
    EnvConfigSections::parse(source)
}

/// Adds the file to the SDK's error, which names only the line.
fn syntax_error(files: &[AwsFile; 2], error: &aws_runtime::env_config::parse::EnvConfigParseError) -> Failure {
    let in_config = parse([files[0].text(), ""], "default").is_err();
    let file = if in_config { &files[0] } else { &files[1] };
    let text = Zeroizing::new(error.to_string());
    let (line, what) = text.split_once("on line ").and_then(|(_, rest)| rest.split_once(':')).unwrap_or(("?", &text));
    Failure::new(
        Code::AwsFileInvalid,
        format!("{}, line {line}: {}", file.name(), what.trim()),
        "correct the AWS file: the AWS SDK reads none of it",
    )
}

/// Whether the AWS SDK accepts `name` as the name of a profile.
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
