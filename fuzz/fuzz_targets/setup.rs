//! Edits of docker's and kubelet's settings: they change what they should and nothing else, and can be taken back.
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;

use docker_credential_ecr_login::NAME;
use docker_credential_ecr_login::commands::setup::effect::{Edited, Entry};
use docker_credential_ecr_login::commands::setup::{edit, kubelet};
use docker_credential_ecr_login_fuzz::HOST;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

const HELPERS: &str = "credHelpers";

fuzz_target!(|text: &str| {
    docker(text);
    providers(text);
});

fn docker(text: &str) {
    let others = |text: &str| -> Map<String, Value> {
        let mut all: Map<String, Value> = serde_json::from_str(text).expect("the edited text is a JSON object");
        all.retain(|name, _| !name.eq_ignore_ascii_case(HELPERS));
        all
    };
    let is_empty = text.trim().is_empty();
    let held = members(text);
    match edit::set(text, &[HOST]) {
        Err(why) => assert!(!why.to_string().contains('\n'), "{why}"),
        Ok(Edited { text: new, .. }) => {
            let mut expected = held.clone();
            expected.insert(HOST.to_owned(), Some("ecr-login".to_owned()));
            assert_eq!(members(&new), expected);
            assert!(others(&new) == if is_empty { Map::new() } else { others(text) });
            assert_eq!(edit::set(&new, &[HOST]), Ok(Edited { text: new.clone(), effects: Vec::new() }));
            let Edited { text: cut, .. } =
                edit::cut(&new, Entry::CredHelper, |name, _| name == HOST).expect("it was read before");
            expected.remove(HOST);
            assert_eq!(members(&cut), expected);
            assert!(others(&cut) == others(&new));
        }
    }
    if let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) {
        let masked = edit::masked(text);
        let mut shown = Vec::new();
        let mut hidden = Vec::new();
        for (name, value) in &object {
            shown.push(name.clone());
            strings(value, &mut shown, &mut hidden);
            if name.eq_ignore_ascii_case(HELPERS) {
                shown.push(value.to_string());
            }
        }
        let hidden = hidden.iter().filter(|text| text.len() > 8 && !shown.iter().any(|shown| shown.contains(*text)));
        for secret in hidden {
            assert!(!masked.contains(secret), "{masked}");
        }
    }
}

/// The members of all objects of the name, with the values that are strings.
fn members(text: &str) -> BTreeMap<String, Option<String>> {
    let found = RefCell::default();
    let _ = edit::cut(text, Entry::CredHelper, |name, value| {
        BTreeMap::insert(&mut found.borrow_mut(), name.to_owned(), value.map(str::to_owned));
        false
    });
    found.into_inner()
}

/// The names and the strings of a value.
fn strings(value: &Value, names: &mut Vec<String>, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| strings(value, names, texts)),
        Value::Object(members) => {
            for (name, value) in members {
                names.push(name.clone());
                strings(value, names, texts);
            }
        }
        other => names.push(other.to_string()),
    }
}

fn providers(text: &str) {
    let _ = kubelet::masked(text);
    match kubelet::add(text) {
        Err(why) => assert!(!why.to_string().contains('\n'), "{why}"),
        Ok(Edited { text: new, .. }) => {
            assert_eq!(kubelet::add(&new), Ok(Edited { text: new.clone(), effects: Vec::new() }));
            let config: Value = serde_json::from_str(&new).expect("the edited text is JSON");
            let list = config["providers"].as_array().expect("it has a list");
            assert!(list.iter().any(|provider| provider["name"] == NAME));
            if new != text {
                let Edited { text: removed, .. } = kubelet::remove(&new).expect("it was read before");
                assert!(removed == text || list.len() == 1 && removed.is_empty());
            }
        }
    }
}
