//! The fields of a JSON object in which a program, an endpoint or a file gives keys and tokens.
//!
//! A field is parsed when it is asked for. What else is there takes the memory of its text: as values, 1 MB of small objects takes more
//! than 64 MB.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// The fields of an object. Names are matched without case where none is the same, as by the SDKs.
#[derive(Deserialize, Serialize)]
pub struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// Parses a document. `None` when it is not a JSON object.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The value of a field; `None` when it is absent or of another type.
    pub fn get<T: DeserializeOwned>(&self, wanted: &str) -> Option<T> {
        serde_json::from_str(self.0.get(self.name_of(wanted)?)?.get()).ok()
    }

    /// The text in a field; `None` when it is absent, empty or no text.
    pub fn text(&self, wanted: &str) -> Option<String> {
        self.get(wanted).filter(|text: &String| !text.is_empty())
    }

    /// Sets a field, in the letters of its name there. `None` if JSON has no such value.
    pub fn set(&mut self, wanted: &str, value: &(impl Serialize + ?Sized)) -> Option<()> {
        let name = self.name_of(wanted).unwrap_or(wanted).to_owned();
        self.0.insert(name, to_raw_value(value).ok()?);
        Some(())
    }

    /// The letters in which a name is there.
    fn name_of<'a>(&'a self, wanted: &'a str) -> Option<&'a str> {
        let similar = || self.0.keys().find(|name| name.eq_ignore_ascii_case(wanted)).map(String::as_str);
        self.0.contains_key(wanted).then_some(wanted).or_else(similar)
    }
}
