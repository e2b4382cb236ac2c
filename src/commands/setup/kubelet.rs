//! The helper's entry in kubelet's `CredentialProviderConfig` in JSON, as EKS writes it.
//!
//! The entry is the first in the list: kubelet asks every provider that an image matches, and tries their passwords in this
//! order. Nothing else in the text changes, and removing the entry restores the text. An existing entry of the helper stays
//! as it is, since somebody may have changed it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::value::RawValue;

use super::edit::Edited;
use crate::code::Code;
use crate::env::Env;
use crate::error::Failure;
use crate::registry::host_patterns;
use crate::{NAME, platform};

const GROUP: &str = "kubelet.config.k8s.io/";
const KIND: &str = "CredentialProviderConfig";

/// The part of the configuration that this module reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProviderConfig<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    providers: Option<&'a RawValue>,
}

/// The part of a provider that this module reads.
#[derive(Deserialize)]
struct Provider<'a> {
    #[serde(default)]
    name: String,
    #[serde(borrow)]
    env: Option<&'a RawValue>,
}

/// The entry of the helper, in the usual order of its keys.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HelperEntry {
    name: &'static str,
    match_images: Vec<String>,
    /// Required by kubelet, and unused, since each response has its own duration.
    default_cache_duration: &'static str,
    api_version: String,
    args: [&'static str; 1],
    env: [Variable; 1],
}

#[derive(Serialize)]
struct Variable {
    name: &'static str,
    value: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewConfig {
    api_version: String,
    kind: &'static str,
    providers: [HelperEntry; 1],
}

impl HelperEntry {
    /// Returns the entry for a configuration of this version. The protocol has the same versions.
    fn new(version: &str) -> Self {
        Self {
            name: NAME,
            match_images: host_patterns(),
            default_cache_duration: "0s",
            api_version: format!("credentialprovider.kubelet.k8s.io/{version}"),
            args: ["kubelet"],
            // kubelet often has no HOME.
            env: [Variable { name: "AWS_ECR_CACHE_DIR", value: "/var/cache/docker-credential-ecr-login" }],
        }
    }
}

/// Adds the helper's entry.
pub fn add(text: &str) -> Result<Edited, Failure> {
    let added = |text| Ok(Edited { text, count: 1 });
    if text.trim().is_empty() {
        let config = NewConfig { api_version: format!("{GROUP}v1"), kind: KIND, providers: [HelperEntry::new("v1")] };
        return added(format!("{}\n", encode(&config, "  ")));
    }
    let Parsed { version, list, providers } = Parsed::of_text(text)?;
    if providers.iter().any(|(provider, _)| provider.name == NAME) {
        return Ok(Edited { text: text.to_owned(), count: 0 });
    }
    let entry = HelperEntry::new(&version);
    let Some((_, first)) = providers.first() else {
        let entry = encode(&entry, "  ").replace('\n', "\n    ");
        return added(replaced(text, list, &format!("[\n    {entry}\n  ]")));
    };
    // The new entry gets the layout of the existing list.
    let space = &text[list.start + 1..first.start];
    let entry = match space.rsplit_once('\n') {
        Some((before, indent)) => {
            let newline = if before.ends_with('\r') { "\r\n" } else { "\n" };
            encode(&entry, &indent[..indent.len() / 2]).replace('\n', &format!("{newline}{indent}"))
        }
        None => serde_json::to_string(&entry).unwrap_or_default(),
    };
    added(replaced(text, first.start..first.start, &format!("{entry},{space}")))
}

/// Removes the helper's entry, and the whole text if `setup` had created it.
pub fn remove(text: &str) -> Result<Edited, Failure> {
    let unchanged = || Ok(Edited { text: text.to_owned(), count: 0 });
    if text.trim().is_empty() {
        return unchanged();
    }
    let Parsed { list, providers, .. } = Parsed::of_text(text)?;
    let Some(index) = providers.iter().position(|(provider, _)| provider.name == NAME) else {
        return unchanged();
    };
    let removed = |text| Ok(Edited { text, count: 1 });
    let span = &providers[index].1;
    let cut = match (providers.get(index + 1), index.checked_sub(1)) {
        (Some((_, next)), _) => span.start..next.start,
        (None, Some(before)) => providers[before].1.end..span.end,
        // The file that `setup` had created.
        (None, None) if text == add("")?.text => return removed(String::new()),
        (None, None) => return removed(replaced(text, list, "[]")),
    };
    removed(replaced(text, cut, ""))
}

/// Reports whether a configuration has a provider.
pub fn has_providers(text: &str) -> bool {
    Parsed::of_text(text).is_ok_and(|parsed| !parsed.providers.is_empty())
}

/// Returns the text for people to see: without the variables of providers, since some are secrets.
pub fn masked(text: &str) -> String {
    let Ok(Parsed { providers, .. }) = Parsed::of_text(text) else { return String::new() };
    let variables = providers.iter().filter_map(|(provider, _)| provider.env);
    let spans: Vec<_> = variables.map(|raw| span(text, raw)).collect();
    spans.into_iter().rev().fold(text.to_owned(), |text, span| replaced(&text, span, "…"))
}

/// Returns the directory in which kubelet would not find the helper, if `path` is its configuration.
pub fn missing_program(env: &Env, path: &Path) -> Option<PathBuf> {
    let dir = path.parent().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?;
    let endings = env.program_endings();
    let here = |dir: PathBuf| platform::executable(&dir.join(NAME), &endings).is_some();
    // EKS has programs beside the configuration, k3s in `bin`.
    (!here(dir.to_owned()) && !here(dir.join("bin"))).then(|| dir.to_owned())
}

/// A configuration, with the positions of its parts in the text.
struct Parsed<'a> {
    /// The part of `apiVersion` after the group.
    version: String,
    list: Range<usize>,
    providers: Vec<(Provider<'a>, Range<usize>)>,
}

impl<'a> Parsed<'a> {
    fn of_text(text: &'a str) -> Result<Self, Failure> {
        // The message names the position alone, since the text may hold secrets.
        let wrong = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            let what = format!("line {line}, column {column}: not the JSON of kubelet's {KIND}");
            let fix = "correct it; the helper does not change YAML: add the entry of 'setup --kubelet NEW-FILE' there by hand";
            Failure::new(Code::ClientConfigInvalid, what, fix)
        };
        let config: ProviderConfig = serde_json::from_str(text).map_err(wrong)?;
        let version = config.api_version.strip_prefix(GROUP).filter(|_| config.kind == KIND);
        let version = version.ok_or_else(|| invalid(format!("not a {KIND} of {GROUP}")))?.to_owned();
        let Some(list) = config.providers else { return Err(invalid("it has no list of providers".to_owned())) };
        let raws: Vec<&'a RawValue> = serde_json::from_str(list.get()).map_err(wrong)?;
        let provider = |raw: &'a RawValue| Ok((serde_json::from_str(raw.get())?, span(text, raw)));
        let providers = raws.into_iter().map(provider).collect::<Result<_, _>>().map_err(wrong)?;
        Ok(Self { version, list: span(text, list), providers })
    }
}

fn invalid(what: String) -> Failure {
    Failure::new(Code::ClientConfigInvalid, what, "name kubelet's --image-credential-provider-config")
}

/// Returns the position in `text` of a value that was parsed from it.
fn span(text: &str, raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + raw.get().len()
}

fn encode(value: &impl Serialize, indent: &str) -> String {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(indent.as_bytes());
    // Writing strings to a vector cannot fail.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
    String::from_utf8(bytes).unwrap_or_default()
}

fn replaced(text: &str, span: Range<usize>, by: &str) -> String {
    [&text[..span.start], by, &text[span.end..]].concat()
}
