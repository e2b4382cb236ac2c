//! A JSON object as Go's decoder reads it, which all clients use: it matches names without case, takes the values of all members of a
//! name one after the other, and refuses other types than it expects.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in their order, each of a name that is there twice too. Their values are text, which takes a hundredth
/// of the memory that small values take when they are parsed.
pub struct Members<'a, Name = String>(pub Vec<(Name, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Returns an object: each value adds its members, and null removes those before it.
    pub fn object<T: Deserialize<'a>>(&self, name: &str, kind: &str) -> Result<BTreeMap<String, T>, String> {
        self.fold(name, kind, |all: &mut BTreeMap<_, _>, value| match value {
            Some(members) => all.extend::<BTreeMap<_, _>>(members),
            None => all.clear(),
        })
    }

    /// Returns a text: the last one that is not null.
    pub fn text(&self, name: &str) -> Result<String, String> {
        self.fold(name, "a string", |text, value| *text = value.unwrap_or(std::mem::take(text)))
    }

    fn fold<T: Deserialize<'a> + Default>(
        &self,
        name: &str,
        kind: &str,
        add: impl Fn(&mut T, Option<T>),
    ) -> Result<T, String> {
        let mut all = T::default();
        for (key, value) in self.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)) {
            add(&mut all, serde_json::from_str(value.get()).map_err(|_| format!("{key} is not {kind}"))?);
        }
        Ok(all)
    }
}

impl<'de, Name: Deserialize<'de>> Deserialize<'de> for Members<'de, Name> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<Name>(PhantomData<Name>);
        impl<'de, Name: Deserialize<'de>> Visitor<'de> for InOrder<Name> {
            type Value = Members<'de, Name>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                std::iter::from_fn(|| map.next_entry().transpose()).collect::<Result<_, _>>().map(Members)
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}
