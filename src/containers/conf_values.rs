//! What podman, buildah and skopeo refuse in a registries.conf: they then read no settings at all (containers/image,
//! `pkg/sysregistriesv2`). Messages quote no value, since a URL may hold a password.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::text::{beginning, one_line};

/// The key that names the helpers. Names are matched without case.
pub const KEY: &str = "credential-helpers";

/// The type of a value.
enum Type {
    String,
    Bool,
    Strings,
    /// A table of strings. The programs ignore a value that is no table.
    Aliases,
    Table(Keys),
    Tables(Keys),
}

/// The keys of a table, which are matched without case.
type Keys = &'static [(&'static str, Type)];

const FILE: Keys = &[
    (KEY, Type::Strings),
    (SEARCH, Type::Strings),
    ("short-name-mode", Type::String),
    ("aliases", Type::Aliases),
    ("registry", Type::Tables(REGISTRY)),
    ("registries", Type::Table(VERSION_1)),
];
const SEARCH: &str = "unqualified-search-registries";
const REGISTRY: Keys = &[
    ("location", Type::String),
    ("prefix", Type::String),
    ("insecure", Type::Bool),
    ("blocked", Type::Bool),
    ("pull-from-mirror", Type::String),
    ("mirror-by-digest-only", Type::Bool),
    ("mirror", Type::Tables(MIRROR)),
];
const MIRROR: Keys = &[("location", Type::String), ("insecure", Type::Bool), ("pull-from-mirror", Type::String)];
const VERSION_1: Keys = &[("search", Type::Table(LIST)), ("insecure", Type::Table(LIST)), ("block", Type::Table(LIST))];
/// The values of `pull-from-mirror`.
const PULLS: [&str; 4] = ["", "all", "digest-only", "tag-only"];
const LIST: Keys = &[("registries", Type::Strings)];

/// How a program treats the tables of version 1, e.g. `[registries.search]`, which exclude keys of version 2.
#[derive(Clone, Copy)]
pub struct Version1 {
    /// The program refuses them alone too.
    pub is_refused: bool,
    /// An empty list counts as well, as after podman 4.3.
    pub empty_counts: bool,
}

/// Describes what the programs refuse.
pub fn refused(conf: &Table, version_1: Version1) -> Option<String> {
    wrong_type(FILE, conf)
        .or_else(|| wrong_version(conf, version_1))
        .or_else(|| wrong_registry(conf))
        .or_else(|| wrong_search(conf))
        .or_else(|| wrong_short_names(conf))
}

/// Describes a value of another type than the programs expect.
fn wrong_type(keys: Keys, table: &Table) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let (_, expected) = keys.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        let all = |is: fn(&Value) -> bool| value.as_array().is_some_and(|values| values.iter().all(is));
        let (fits, kind) = match expected {
            Type::String => (value.is_str(), "a string"),
            Type::Bool => (value.is_bool(), "true or false"),
            Type::Strings => (all(Value::is_str), "a list of strings"),
            Type::Aliases => {
                (value.as_table().is_none_or(|aliases| aliases.values().all(Value::is_str)), "a table of strings")
            }
            Type::Table(_) => (value.is_table(), "a table"),
            Type::Tables(_) => (all(Value::is_table), "a list of tables"),
        };
        match expected {
            _ if !fits => Some(format!("{key} is not {kind}")),
            Type::Table(keys) | Type::Tables(keys) => tables(table, key).find_map(|table| wrong_type(keys, table)),
            _ => None,
        }
    })
}

fn wrong_version(conf: &Table, version_1: Version1) -> Option<String> {
    let is_set = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => version_1.empty_counts || !values.is_empty(),
        Value::Table(table) => version_1.empty_counts || !table.is_empty(),
        _ => false,
    };
    let has = |table: &Table, name: &str| get(table, name).is_some_and(is_set);
    let old =
        VERSION_1.iter().map(|(name, _)| *name).find(|name| lists(conf, name).any(|list| has(list, LIST[0].0)))?;
    let new = FILE.iter().map(|(name, _)| *name).find(|name| *name != "registries" && has(conf, name));
    match new {
        _ if version_1.is_refused => {
            Some(format!("[registries.{old}] is of version 1; this file requires {SEARCH} and [[registry]]"))
        }
        new => new.map(|new| format!("[registries.{old}] is of version 1, which excludes {new}")),
    }
}

/// Describes the first entry of `registry` that is refused, by its number.
fn wrong_registry(conf: &Table) -> Option<String> {
    let mut known = BTreeMap::new();
    tables(conf, "registry").zip(1..).find_map(|(registry, number)| {
        let [location, prefix] = ["location", "prefix"].map(|name| place(registry, name));
        let name = if prefix.is_empty() { location } else { prefix };
        let pull = text(registry, "pull-from-mirror");
        let mirrors: Vec<_> = tables(registry, "mirror")
            .map(|mirror| (place(mirror, "location"), text(mirror, "pull-from-mirror")))
            .collect();
        let any_location = |is: fn(&str) -> bool| mirrors.iter().any(|(location, _)| is(location));
        let any_pull = |is: fn(&str) -> bool| mirrors.iter().any(|(_, pull)| is(pull));
        let flags = ["insecure", "blocked"].map(|name| flag(registry, name));
        let first = *known.entry(if location.is_empty() { prefix } else { location }).or_insert(flags);
        let rules = [
            (name.is_empty(), "has neither a location nor a prefix"),
            (has_scheme(location) || has_scheme(prefix), "has a location or prefix with http:// or https://"),
            (location.is_empty() && !prefix.starts_with("*."), "has a prefix without *., and no location"),
            (name.starts_with("*.") && name.contains(['/', '@', ':']), "has a prefix with *. that is not a host"),
            (!pull.is_empty(), "has pull-from-mirror, which belongs into [[registry.mirror]]"),
            (any_location(str::is_empty), "has a mirror without location"),
            (any_location(has_scheme), "has a mirror with http:// or https://"),
            (
                any_pull(|pull| !PULLS.contains(&pull)),
                "has a mirror whose pull-from-mirror is not all, digest-only or tag-only",
            ),
            (
                flag(registry, "mirror-by-digest-only") && any_pull(|pull| !pull.is_empty()),
                "has mirror-by-digest-only, which excludes pull-from-mirror",
            ),
            (first != flags, "differs in insecure or blocked from an earlier one of the same location"),
        ];
        let (_, what) = rules.into_iter().find(|(applies, _)| *applies)?;
        Some(format!("[[registry]] number {number} {what}"))
    })
}

fn wrong_search(conf: &Table) -> Option<String> {
    let is_wrong = |entry: &str| !is_host(entry.trim_end_matches('/'));
    let of_version_1 = lists(conf, "search").flat_map(|list| strings(list, LIST[0].0));
    let position = strings(conf, SEARCH).chain(of_version_1).position(is_wrong)?;
    Some(format!("entry {} of {SEARCH} is not a host such as docker.io", position + 1))
}

fn wrong_short_names(conf: &Table) -> Option<String> {
    if !["", "enforcing", "permissive", "disabled"].contains(&text(conf, "short-name-mode")) {
        return Some("short-name-mode is not enforcing, permissive or disabled".to_owned());
    }
    let is_registry = |host: &str| host.contains(['.', ':']) || host == "localhost";
    tables(conf, "aliases").flatten().find_map(|(name, value)| {
        let shown = || one_line(&beginning(name, 60));
        if host_of(name).is_none_or(is_registry) {
            return Some(format!("the alias '{}' is not a name without registry and tag", shown()));
        }
        let value = value.as_str().filter(|value| !value.is_empty())?;
        let fits = host_of(value).is_some_and(is_registry);
        (!fits).then(|| format!("the alias '{}' does not stand for REGISTRY/REPOSITORY without a tag", shown()))
    })
}

fn get<'a>(table: &'a Table, name: &str) -> Option<&'a Value> {
    table.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn text<'a>(table: &'a Table, name: &str) -> &'a str {
    get(table, name).and_then(Value::as_str).unwrap_or_default()
}

fn flag(table: &Table, name: &str) -> bool {
    get(table, name).and_then(Value::as_bool).unwrap_or_default()
}

/// The table of this name, or those of a list.
fn tables<'a>(table: &'a Table, name: &str) -> impl Iterator<Item = &'a Table> {
    let value = get(table, name);
    let list = value.and_then(Value::as_array).into_iter().flatten();
    value.and_then(Value::as_table).into_iter().chain(list.filter_map(Value::as_table))
}

fn strings<'a>(table: &'a Table, name: &str) -> impl Iterator<Item = &'a str> {
    get(table, name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The table of version 1 with a list.
fn lists<'a>(conf: &'a Table, name: &str) -> impl Iterator<Item = &'a Table> {
    tables(conf, "registries").flat_map(move |table| tables(table, name))
}

fn place<'a>(table: &'a Table, name: &str) -> &'a str {
    text(table, name).trim_end_matches('/')
}

fn has_scheme(place: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| place.starts_with(scheme))
}

/// Returns the host of an image's name, empty without one. `None` for a name with a tag or a digest, and for what is no name.
fn host_of(name: &str) -> Option<&str> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separates = |between: &str| ["", ".", "_", "__"].contains(&between) || between.chars().all(|c| c == '-');
    let is_part =
        |part: &str| part.starts_with(is_word) && part.ends_with(is_word) && part.split(is_word).all(separates);
    match name.split_once('/') {
        Some((host, repository)) if is_host(host) && repository.split('/').all(is_part) => Some(host),
        _ => name.split('/').all(is_part).then_some(""),
    }
}

fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "0"));
    let is_label = |label: &str| {
        let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(is_inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.split('.').all(is_label) && !port.is_empty() && port.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Version1, refused};
    use crate::toml_text;

    #[test]
    fn a_name_of_many_lines_is_one_short_line() {
        let conf = format!("[aliases]\n\"a\\n{}\" = ''\n", "b".repeat(10_000));
        let version_1 = Version1 { is_refused: false, empty_counts: true };
        let conf = toml_text::parse(&conf).map_err(|mistake| mistake.what).expect("TOML");
        let what = refused(&conf, version_1).expect("it is refused");
        assert!(what.starts_with("the alias 'a bbb") && what.len() < 150 && !what.contains('\n'), "{what}");
    }
}
