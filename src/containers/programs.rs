//! podman, buildah and skopeo, and the rules by which their versions find settings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::env::Env;
use crate::platform;
use crate::text::one_line;

/// The time limit for a program that prints its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);
/// How many characters of a version are taken.
const LONGEST_VERSION: usize = 200;
/// The variable that marks the call of a program for its version.
const ASKED: &str = "DOCKER_CREDENTIAL_ECR_LOGIN_VERSION";

/// The rules by which a program finds its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The generation of the rules.
    pub era: Era,
    /// The program, since only podman read `CONTAINERS_REGISTRIES_CONF` before podman 6.
    pub program: Program,
}

/// A program that reads the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// podman.
    Podman,
    /// buildah or skopeo.
    Other,
}

/// The generations of the rules, by podman's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// The rules up to podman 4.3, e.g. in Debian 12.
    UpTo43,
    /// The rules up to podman 5.3, e.g. in Ubuntu 24.04.
    UpTo53,
    /// The rules up to podman 5.
    UpTo5,
    /// The rules from podman 6 on.
    From6,
}

/// A major and a minor version.
pub type Version = [u32; 2];

/// A program that may be installed, with the first versions that follow newer rules.
struct Known {
    name: &'static str,
    program: Program,
    /// The first versions after [`Era::UpTo43`], [`Era::UpTo53`] and [`Era::UpTo5`].
    newer: [Version; 3],
}

const PODMAN: Known = Known { name: "podman", program: Program::Podman, newer: [[4, 4], [5, 4], [6, 0]] };
const BUILDAH: Known = Known { name: "buildah", program: Program::Other, newer: [[1, 29], [1, 39], [1, 44]] };
const SKOPEO: Known = Known { name: "skopeo", program: Program::Other, newer: [[1, 11], [1, 18], [1, 23]] };

/// Finds the first of podman, buildah and skopeo on the PATH.
pub fn program(env: &Env) -> Option<PathBuf> {
    first(env).map(|(_, path)| path)
}

fn first(env: &Env) -> Option<(&'static Known, PathBuf)> {
    [&PODMAN, &BUILDAH, &SKOPEO].into_iter().find_map(|known| Some((known, env.find_program(known.name)?)))
}

impl Known {
    /// The rules of this version; the newest without one.
    fn era(&self, version: Option<Version>) -> Era {
        let eras = [Era::UpTo43, Era::UpTo53, Era::UpTo5].into_iter().zip(self.newer);
        let mut fitting = eras.filter(|(_, first)| version.is_some_and(|version| version < *first));
        fitting.next().map_or(Era::From6, |(era, _)| era)
    }
}

impl Rules {
    /// The newest rules.
    pub const NEWEST: Self = Self { era: Era::From6, program: Program::Podman };

    /// Returns the rules of the first program on the PATH, by the version that it prints; without any, or with a version that
    /// cannot be parsed, the newest rules. The program runs once per process.
    pub fn installed(env: &Env) -> Self {
        static FOUND: OnceLock<Rules> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let rules =
                |(known, path): (&Known, PathBuf)| Self { era: known.era(version(env, &path)), program: known.program };
            first(env).map_or(Self::NEWEST, rules)
        })
    }
}

/// Reports whether the installed podman or buildah refuses every pull where the file that a variable names does not exist.
pub(super) fn requires_named_file(env: &Env) -> bool {
    first(env).is_some_and(|(known, _)| match known.name {
        "podman" => Rules::installed(env).era == Era::UpTo43,
        name => name == BUILDAH.name,
    })
}

/// Reports whether the installed skopeo does not read `CONTAINERS_REGISTRIES_CONF`, while another program here may.
pub fn skopeo_ignores_variable(env: &Env) -> bool {
    let skopeo = || env.find_program(SKOPEO.name);
    Rules::installed(env).program == Program::Podman
        && skopeo().is_some_and(|path| SKOPEO.era(version(env, &path)) != Era::From6)
}

/// Returns the version that a program prints; `None` if it prints none within the time limit.
pub fn version(env: &Env, program: &Path) -> Option<Version> {
    parse_version(&version_output(env, program)?)
}

/// Returns what a program prints for `--version`, in one short line; `None` if it prints nothing within the time limit, or if this
/// process was itself started for a version: a wrapper may call the helper, which would ask again.
pub fn version_output(env: &Env, program: &Path) -> Option<String> {
    if env.os(ASKED).is_some() || platform::ancestors_with_this_program() > 0 {
        return None;
    }
    let mut command = Command::new(program);
    env.give_to(&mut command).arg("--version").env(ASKED, "1");
    let finished = platform::run_child(command, None, None, Instant::now() + VERSION_TIMEOUT).ok()?;
    let line = one_line(&String::from_utf8_lossy(&finished.output));
    Some(line.chars().take(LONGEST_VERSION).collect())
}

/// Parses the first two numbers of a version, e.g. of "podman version 5.8.6".
fn parse_version(text: &str) -> Option<Version> {
    let word = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_parsed_as_the_programs_print_them() {
        for (text, expected) in [
            ("podman version 5.8.6", Some([5, 8])),
            ("podman version 6.1.1-dev\n", Some([6, 1])),
            ("buildah version 1.45.0 (image-spec 1.1.1, runtime-spec 1.2.1)", Some([1, 45])),
            ("skopeo version 1.9.3 commit: x", Some([1, 9])),
            ("", None),
            ("podman", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }
}
