//! The helper's entry in kubelet's `CredentialProviderConfig` in JSON, as EKS writes it.
//!
//! The entry is the first in the list: kubelet asks every provider that an image matches, and tries their passwords in this
//! order. Nothing else in the text changes, and removing the entry restores the text. An existing entry of the helper stays
//! as it is, since somebody may have changed it.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::effect::{Edited, Effect, Entry};
use super::json::{members, quoted, removals, span, spliced};
use crate::NAME;
use crate::code::Code;
use crate::error::Failure;
use crate::registry::host_patterns;

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
struct Provider {
    #[serde(default)]
    name: String,
}

/// The members of a configuration and of its providers that hold no secrets. Arguments and variables may.
const SHOWN: [&str; 6] = ["apiVersion", "kind", "providers", "name", "matchImages", "defaultCacheDuration"];

/// Returns the helper's entry for a configuration of this version, in the usual order of its keys: its lines with this unit of
/// indentation and with `newline` between them. The protocol has the same versions.
fn entry(version: &str, unit: &str, newline: &str) -> String {
    let images: Vec<String> = host_patterns().iter().map(|pattern| format!("    {}", quoted(pattern))).collect();
    let version = quoted(&format!("credentialprovider.kubelet.k8s.io/{version}"));
    // kubelet requires the duration, which is unused, since each response has its own, and often has no HOME.
    let entry = format!(
        r#"{{
  "name": "{NAME}",
  "matchImages": [
{}
  ],
  "defaultCacheDuration": "0s",
  "apiVersion": {version},
  "args": [
    "kubelet"
  ],
  "env": [
    {{
      "name": "AWS_ECR_CACHE_DIR",
      "value": "/var/cache/{NAME}"
    }}
  ]
}}"#,
        images.join(",\n")
    );
    let line = |line: &str| unit.repeat((line.len() - line.trim_start().len()) / 2) + line.trim_start();
    entry.lines().map(line).collect::<Vec<_>>().join(newline)
}

/// Adds the helper's entry.
pub fn add(text: &str) -> Result<Edited, Failure> {
    let added = |text| Ok(Edited::new(text, [Effect::Added(1, Entry::Provider)]));
    let replaced = |place, new| added(spliced(text, vec![(place, new)]));
    if text.trim().is_empty() {
        let entry = entry("v1", "  ", "\n    ");
        let list = format!("\"providers\": [\n    {entry}\n  ]");
        return added(format!("{{\n  \"apiVersion\": \"{GROUP}v1\",\n  \"kind\": \"{KIND}\",\n  {list}\n}}\n"));
    }
    let Parsed { version, list, providers, own, .. } = Parsed::parse(text)?;
    if own.is_some() {
        return Ok(Edited::new(text, []));
    }
    let Some(first) = providers.first() else {
        return replaced(list, format!("[\n    {}\n  ]", entry(&version, "  ", "\n    ")));
    };
    // The new entry gets the layout of the existing list.
    let space = &text[list.start + 1..first.start];
    let entry = match space.rsplit_once('\n') {
        Some((before, indent)) => {
            let newline = if before.ends_with('\r') { "\r\n" } else { "\n" };
            entry(&version, &indent[..indent.len() / 2], &format!("{newline}{indent}"))
        }
        None => entry(&version, "", ""),
    };
    replaced(first.start..first.start, format!("{entry},{space}"))
}

/// Removes the helper's entry, and the whole text if `setup` had created it.
pub fn remove(text: &str) -> Result<Edited, Failure> {
    let unchanged = || Ok(Edited::new(text, []));
    if text.trim().is_empty() {
        return unchanged();
    }
    let Parsed { list, providers, own: Some(index), .. } = Parsed::parse(text)? else { return unchanged() };
    let entry = if providers.len() == 1 { Entry::LastProvider } else { Entry::Provider };
    let removed = |text| Ok(Edited::new(text, [Effect::Removed(1, entry)]));
    // The file that `setup` had created.
    if text == add("")?.text {
        return removed(String::new());
    }
    removed(spliced(text, removals(&list, &providers, |removed| removed == index)))
}

/// Returns the text for people to see: with the values of the [`SHOWN`] members alone.
pub fn masked(text: &str) -> String {
    let Ok(Parsed { providers, .. }) = Parsed::parse(text) else { return String::new() };
    let objects = providers.into_iter().chain(std::iter::once(0..text.len()));
    let members = objects.flat_map(|place| members(text, &place).unwrap_or_default());
    let hidden = members.filter(|member| !SHOWN.contains(&member.name.as_str()));
    spliced(text, hidden.map(|member| (member.value, "…".to_owned())).collect())
}

/// A configuration, with the positions of its parts in the text.
struct Parsed {
    /// The part of `apiVersion` after the group.
    version: String,
    list: Range<usize>,
    providers: Vec<Range<usize>>,
    /// The index of the first provider that is the helper.
    own: Option<usize>,
}

impl Parsed {
    fn parse(text: &str) -> Result<Self, Failure> {
        // Messages name positions alone, since the text may hold secrets.
        let wrong = |what: String| {
            let fix = if text.trim_start().starts_with(['{', '[']) {
                "correct it"
            } else {
                "the helper does not change YAML: add its entry there, or remove it, by hand, as 'setup --kubelet NEW-FILE' writes it"
            };
            Failure::new(Code::ClientConfigInvalid, what, fix)
        };
        let config: ProviderConfig = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            wrong(format!("line {line}, column {column}: not the JSON of kubelet's {KIND}"))
        })?;
        let version = config.api_version.strip_prefix(GROUP).filter(|_| config.kind == KIND);
        let version = version.ok_or_else(|| invalid(format!("not a {KIND} of {GROUP}")))?.to_owned();
        let Some(list) = config.providers else { return Err(invalid("it has no list of providers".to_owned())) };
        let raws: Vec<&RawValue> =
            serde_json::from_str(list.get()).map_err(|_| wrong("its providers are no list".to_owned()))?;
        let mut own = None;
        for (index, raw) in raws.iter().enumerate() {
            let provider: Provider = serde_json::from_str(raw.get())
                .map_err(|_| wrong(format!("provider {} is no object with a name", index + 1)))?;
            own = own.or_else(|| (provider.name == NAME).then_some(index));
        }
        let providers = raws.into_iter().map(|raw| span(text, raw)).collect();
        Ok(Self { version, list: span(text, list), providers, own })
    }
}

fn invalid(what: String) -> Failure {
    Failure::new(Code::ClientConfigInvalid, what, "name kubelet's --image-credential-provider-config")
}
