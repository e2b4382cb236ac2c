//! One AWS config or credentials file: reads it once, and reports why it cannot be used.
//!
//! The bytes that are parsed are the bytes that enter the cache key; nothing reads the file a second time.

use std::path::PathBuf;
use std::time::Instant;

use super::ini::{Defect, Ini, Section, without_quotes};
use super::source_file::SourceFile;
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::input::{self, Content};
use crate::platform;

/// Which of the two files it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Profiles are in sections `[profile x]`.
    Config,
    /// Profiles are in sections `[x]`.
    Credentials,
}

impl Kind {
    /// The variable that names the file.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Config => "AWS_CONFIG_FILE",
            Self::Credentials => "AWS_SHARED_CREDENTIALS_FILE",
        }
    }

    /// The path that its variable names, or else the one in the home directory.
    pub(super) fn path(self, env: &Env) -> Option<PathBuf> {
        let default = if self == Self::Config { "config" } else { "credentials" };
        let path = env.aws_file(self.variable()).or_else(|| Some(env.home()?.join(".aws").join(default)))?;
        (path.is_absolute() || env.home().is_some()).then_some(path)
    }
}

/// An AWS file with its sections.
#[derive(Clone)]
pub(super) struct SharedFile {
    kind: Kind,
    /// `None` when there is no absolute path.
    pub(super) file: Option<SourceFile>,
    /// Whether its variable names it.
    is_named: bool,
    ini: Ini,
    /// Why the file cannot be used.
    pub(super) problem: Option<Failure>,
}

impl SharedFile {
    /// Reads the file, by `deadline`. Fails when it cannot be read to its end.
    pub(super) fn read(kind: Kind, env: &Env, deadline: Instant) -> Result<Self, Failure> {
        let read = |path: PathBuf| {
            SourceFile::read_within(&path, input::LARGEST, deadline).map_err(|why| {
                let what = format!("the AWS file {} cannot be used: {why}", path.display());
                Failure::new(Code::AwsFileInvalid, what, "correct the file, or the variable that names it")
            })
        };
        let is_named = env.os(kind.variable()).is_some();
        let file = kind.path(env).map(read).transpose()?;
        // A home directory of another user that is closed to this one, e.g. that of root in a container, has no settings of this user.
        let is_of_other = || env.home().is_some_and(|home| platform::other_owner_of_home(&home).is_some());
        let is_absent = !is_named && file.as_ref().is_some_and(|file| file.content.is_out_of_sight()) && is_of_other();
        let shared = Self { is_named, ..Self::new(kind, file) };
        Ok(if is_absent { Self { problem: None, ..shared } } else { shared })
    }

    pub(super) fn new(kind: Kind, file: Option<SourceFile>) -> Self {
        let mut shared = Self { kind, file, is_named: false, ini: Ini::default(), problem: None };
        match shared.parse() {
            Ok(ini) => shared.ini = ini,
            Err((what, hint)) => {
                let what = format!("the AWS file {} {what}", shared.name());
                shared.problem = Some(Failure::new(Code::AwsFileInvalid, what, hint));
            }
        }
        shared
    }

    fn content(&self) -> &Content {
        self.file.as_ref().map_or(&Content::Absent, |file| &file.content)
    }

    /// The sections, or what is wrong with the file.
    fn parse(&self) -> Result<Ini, Defect> {
        let bytes = match self.content() {
            Content::Unreadable(why) if why == input::DIRECTORY => return Ok(Ini::default()),
            Content::Unreadable(_) => {
                let obstacle = self.file.as_ref().map(|file| input::obstacle(&file.path)).unwrap_or_default();
                return Err((format!("cannot be read{obstacle}"), "let this user read it"));
            }
            Content::Absent => return Ok(Ini::default()),
            Content::Bytes(bytes) => bytes.as_slice(),
        };
        if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            return Err((
                "begins with a byte-order mark".to_owned(),
                "save it as UTF-8 without a byte-order mark (BOM)",
            ));
        }
        if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'[' | b'#', ..] | [b'[' | b'#', 0, ..]) {
            return Err((
                "is UTF-16".to_owned(),
                "save it as UTF-8; in Windows PowerShell, with 'Out-File -Encoding ascii'",
            ));
        }
        Ini::parse(bytes)
    }

    /// The path, or a description when there is none.
    pub(super) fn name(&self) -> String {
        let variable = self.kind.variable();
        match &self.file {
            None => format!("the file that {variable} would name (there is no home directory)"),
            Some(SourceFile { path, content: Content::Unreadable(why), .. }) => format!("{} ({why})", path.display()),
            Some(SourceFile { path, .. }) => match input::file_on_the_way(path) {
                Some(file) => format!("{} ({} is a file)", path.display(), file.display()),
                None => path.display().to_string(),
            },
        }
    }

    /// The section of a profile. In the config file `[profile default]` replaces `[default]`.
    pub(super) fn profile(&self, name: &str) -> Option<Section<'_>> {
        match self.kind {
            Kind::Config => {
                self.named("profile", name).or_else(|| (name == "default").then(|| self.ini.section(name))?)
            }
            Kind::Credentials => self.ini.section(name),
        }
    }

    /// The section with a header of this kind and name. The AWS CLI reads a name in quotes as the name without them, the SDK
    /// for Go as the name with them.
    pub(super) fn named(&self, kind: &str, name: &str) -> Option<Section<'_>> {
        // Quotes that the name itself has would end it before its end.
        let quoted =
            |quote: &str| self.ini.section(&format!("{kind} {quote}{name}{quote}")).filter(|_| !name.contains(quote));
        let first_quoted = || [quoted("'"), quoted("\"")].into_iter().flatten().min_by_key(|section| section.line);
        self.ini.section(&format!("{kind} {name}")).or_else(first_quoted)
    }

    /// The names of all profiles.
    pub(super) fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.ini.sections().filter_map(|Section { header, .. }| match (self.kind, header.split_once(' ')) {
            (Kind::Config, Some(("profile", name))) => Some(without_quotes(name)),
            (Kind::Config, _) => (header == "default").then_some(header),
            (Kind::Credentials, Some(("profile" | "sso-session" | "services", _))) => None,
            (Kind::Credentials, _) => Some(header).filter(|header| !header.is_empty()),
        })
    }

    /// The failure for a section that seems to be meant for this profile, and is no section of a profile.
    pub(super) fn misspelt(&self, profile: &str) -> Option<Failure> {
        let right = match self.kind {
            Kind::Config => format!("[profile {profile}]"),
            Kind::Credentials => format!("[{profile}]"),
        };
        let meant = |Section { header, .. }: &Section<'_>| {
            meant_name(header).eq_ignore_ascii_case(without_quotes(profile.trim()))
        };
        let Section { header, line, .. } = self.ini.sections().filter(meant).min_by_key(|section| section.line)?;
        let hint = if profile.trim() == profile {
            format!("write {right}")
        } else {
            format!("remove the blanks from the name in the setting that names it: it is '{profile}'")
        };
        Some(Failure::new(
            Code::ProfileMissing,
            format!("[{header}] in line {line} of {} is not the section of profile '{profile}'", self.name()),
            hint,
        ))
    }

    /// The names of the profiles that the sections with one of these keys seem to be meant for.
    pub(super) fn names_with(&self, keys: &[&str]) -> impl Iterator<Item = &str> {
        let has = |section: &Section<'_>| keys.iter().any(|key| section.has(key));
        self.ini.sections().filter(has).map(|section| meant_name(section.header))
    }

    /// The whole file, for people, where it is a directory or below a file, or is named and does not exist.
    pub(super) fn missing(&self) -> Option<String> {
        match self.content() {
            Content::Absent if self.file.as_ref().is_some_and(|file| input::file_on_the_way(&file.path).is_some()) => {
                Some(self.name())
            }
            Content::Absent if self.is_named => {
                Some(format!("{} ({}), which does not exist", self.name(), self.kind.variable()))
            }
            Content::Unreadable(why) if why == input::DIRECTORY => Some(self.name()),
            _ => None,
        }
    }

    /// What was passed over, for people: lines, a section, or the whole file.
    pub(super) fn passed_over(&self) -> impl Iterator<Item = String> {
        let replaced = (self.kind == Kind::Config && self.named("profile", "default").is_some())
            .then(|| self.ini.section("default"))
            .flatten();
        let replaced = replaced
            .map(|default| format!("{}, line {}: [profile default] replaces [default]", self.name(), default.line));
        let lines =
            self.ini.passed_over.iter().map(|passed| format!("{}, line {}: {}", self.name(), passed.line, passed.why));
        self.missing().into_iter().chain(replaced).chain(lines)
    }
}

/// The name of the profile that a header seems to be meant for, in either file and in any case.
fn meant_name(header: &str) -> &str {
    let is_profile = header.get(..8).is_some_and(|kind| kind.eq_ignore_ascii_case("profile "));
    without_quotes(if is_profile { &header[8..] } else { header }).trim()
}
