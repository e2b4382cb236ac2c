//! The entry of the helper in kubelet's `CredentialProviderConfig`, where that is JSON, as on EKS.
//!
//! The entry comes first: kubelet asks every provider that an image matches, and tries their passwords in this order.
//! Nothing else in the text changes, and removing the entry leaves the text as it was before. An entry that is there
//! already stays as it is, since somebody may have added to it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::value::RawValue;

use crate::env::Env;
use crate::registry::host_patterns;
use crate::{NAME, platform};

const GROUP: &str = "kubelet.config.k8s.io/";
const KIND: &str = "CredentialProviderConfig";

/// What is read of the configuration.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    providers: Option<&'a RawValue>,
}

/// What is read of a provider.
#[derive(Deserialize)]
struct Provider<'a> {
    #[serde(default)]
    name: String,
    #[serde(borrow)]
    env: Option<&'a RawValue>,
}

/// The helper's entry, in the order in which people write it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: &'static str,
    match_images: Vec<String>,
    /// Not used, since each answer says how long it is valid, and required all the same.
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
    providers: [Entry; 1],
}

impl Entry {
    /// For a kubelet whose configuration is of this version; the protocol has the same versions.
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

/// The text with the helper's entry.
pub(super) fn add(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        let config = NewConfig { api_version: format!("{GROUP}v1"), kind: KIND, providers: [Entry::new("v1")] };
        return Ok(format!("{}\n", encode(&config, "  ")));
    }
    let Parsed { version, list, providers } = Parsed::of_text(text)?;
    if providers.iter().any(|(provider, _)| provider.name == NAME) {
        return Ok(text.to_owned());
    }
    let entry = Entry::new(&version);
    let Some((_, first)) = providers.first() else {
        let entry = encode(&entry, "  ").replace('\n', "\n    ");
        return Ok(replaced(text, list, &format!("[\n    {entry}\n  ]")));
    };
    // The layout of the list that is there.
    let space = &text[list.start + 1..first.start];
    let entry = match space.rsplit_once('\n') {
        Some((before, indent)) => {
            let newline = if before.ends_with('\r') { "\r\n" } else { "\n" };
            encode(&entry, &indent[..indent.len() / 2]).replace('\n', &format!("{newline}{indent}"))
        }
        None => serde_json::to_string(&entry).map_err(|error| error.to_string())?,
    };
    Ok(replaced(text, first.start..first.start, &format!("{entry},{space}")))
}

/// The text without the helper's entry. One that has no other is empty, as it was before the entry was added.
pub(super) fn remove(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok(text.to_owned());
    }
    let Parsed { providers, .. } = Parsed::of_text(text)?;
    let Some(index) = providers.iter().position(|(provider, _)| provider.name == NAME) else {
        return Ok(text.to_owned());
    };
    let span = &providers[index].1;
    let cut = match (providers.get(index + 1), index.checked_sub(1)) {
        (Some((_, next)), _) => span.start..next.start,
        (None, Some(before)) => providers[before].1.end..span.end,
        (None, None) => return Ok(String::new()),
    };
    Ok(replaced(text, cut, ""))
}

/// The text for people to see: the variables of providers are left out, since some are secrets.
pub(super) fn masked(text: &str) -> String {
    let Ok(Parsed { providers, .. }) = Parsed::of_text(text) else { return String::new() };
    let variables = providers.iter().filter_map(|(provider, _)| provider.env);
    let spans: Vec<_> = variables.map(|raw| span(text, raw)).collect();
    spans.into_iter().rev().fold(text.to_owned(), |text, span| replaced(&text, span, "…"))
}

/// Where kubelet would look for the program, if its configuration is `path`; `None` when it is there.
pub(super) fn missing_program(env: &Env, path: &Path) -> Option<PathBuf> {
    let dir = path.parent()?;
    let endings = env.program_endings();
    let here = |dir: PathBuf| platform::executable(&dir.join(NAME), &endings).is_some();
    // Beside the configuration, as on EKS, or in a directory of its own, as with k3s.
    (!here(dir.to_owned()) && !here(dir.join("bin"))).then(|| dir.to_owned())
}

/// A configuration and where in the text its parts lie.
struct Parsed<'a> {
    /// What follows the group in `apiVersion`.
    version: String,
    list: Range<usize>,
    providers: Vec<(Provider<'a>, Range<usize>)>,
}

impl<'a> Parsed<'a> {
    fn of_text(text: &'a str) -> Result<Self, String> {
        // Only where it is wrong, since the text may hold secrets.
        let wrong = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            format!("line {line}, column {column}: not kubelet's {KIND} in JSON; in YAML, add the entry by hand")
        };
        let config: Config = serde_json::from_str(text).map_err(wrong)?;
        let version = config.api_version.strip_prefix(GROUP).filter(|_| config.kind == KIND);
        let version = version.ok_or_else(|| format!("not a {KIND} of {GROUP}"))?.to_owned();
        let Some(list) = config.providers else { return Err("it has no list of providers".to_owned()) };
        let raws: Vec<&'a RawValue> = serde_json::from_str(list.get()).map_err(wrong)?;
        let provider = |raw: &'a RawValue| Ok((serde_json::from_str(raw.get())?, span(text, raw)));
        let providers = raws.into_iter().map(provider).collect::<Result<_, _>>().map_err(wrong)?;
        Ok(Self { version, list: span(text, list), providers })
    }
}

/// Where in `text` a value lies that was parsed from it.
fn span(text: &str, raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + raw.get().len()
}

fn encode(value: &impl Serialize, indent: &str) -> String {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(indent.as_bytes());
    // Neither strings nor a vector can fail to be written.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
    String::from_utf8(bytes).unwrap_or_default()
}

fn replaced(text: &str, span: Range<usize>, by: &str) -> String {
    [&text[..span.start], by, &text[span.end..]].concat()
}
