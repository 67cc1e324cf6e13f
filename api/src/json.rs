//! Objects whose values stay text. A provider's data passes digit for digit and at any depth.
//! `RawValue` skips values without recursion, so serde_json's limit of 128 levels does not apply to them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// The top-level fields of an object, in their order. Repeated keys are kept.
pub struct Fields<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// None: not an object.
    pub fn parse(raw: &'a RawValue) -> Option<Fields<'a>> {
        serde_json::from_str(raw.get()).ok()
    }

    /// The last one counts, as in Postgres' jsonb.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, value)| *value)
    }
}

/// A PATCH of top-level keys: keys in the request change, the others stay. Null is a value, not a removal.
pub fn patch(base: &RawValue, change: &RawValue) -> Box<RawValue> {
    let (Some(base), Some(change)) = (Fields::parse(base), Fields::parse(change)) else {
        // Validation accepts only objects.
        return change.to_owned();
    };
    let mut merged = Fields(Vec::with_capacity(base.0.len() + change.0.len()));
    for (key, value) in &base.0 {
        let value = change.get(key).unwrap_or(value);
        merged.0.push((Cow::Borrowed(key), value));
    }
    for (at, (key, value)) in change.0.iter().enumerate() {
        let repeated = change.0[at + 1..].iter().any(|(k, _)| k == key);
        if !repeated && base.get(key).is_none() {
            merged.0.push((Cow::Borrowed(key), value));
        }
    }
    to_raw_value(&merged).unwrap_or_default()
}

/// Whether a value is an object. It is JSON already, so its first character says it.
pub fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Text(key), value)) = map.next_entry()? {
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// serde borrows a `Cow` only with this attribute.
#[derive(Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A whole number from 0 to [`Whole::MAX`]. JSON has one kind of number, in which `5.0` and `5e0` are 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole(pub u64);

impl Whole {
    /// Up to here all JSON parsers read whole numbers exactly (RFC 8259).
    pub const MAX: u64 = (1 << 53) - 1;
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a whole number from 0 to {}", Whole::MAX)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                match number <= Whole::MAX {
                    true => Ok(Whole(number)),
                    false => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                match number.fract() == 0.0 && (0.0..=Whole::MAX as f64).contains(&number) {
                    true => Ok(Whole(number as u64)),
                    false => Err(E::invalid_value(de::Unexpected::Float(number), &self)),
                }
            }
        }
        deserializer.deserialize_u64(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    #[test]
    fn a_patch_changes_what_is_sent_and_keeps_every_digit() {
        for (base, change, want) in [
            (r#"{"a":1.10,"b":2}"#, r#"{"b":12345678901234567890.123}"#, r#"{"a":1.10,"b":12345678901234567890.123}"#),
            (r#"{"a":1}"#, r#"{"b":null,"a":{"x": [1.0]}}"#, r#"{"a":{"x": [1.0]},"b":null}"#),
            (r#"{}"#, r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"é\n":1}"#, r#"{"\u00e9\u000a":2}"#, r#"{"é\n":2}"#),
            (r#"{"a":1}"#, r#"{}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(patch(&raw(base), &raw(change)).get(), want);
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_others() {
        for (text, whole) in [
            ("0", Some(0)),
            ("5", Some(5)),
            ("5.0", Some(5)),
            ("5e2", Some(500)),
            ("9007199254740991", Some(Whole::MAX)),
            ("900719925474099.0", Some(900_719_925_474_099)),
            ("9007199254740992", None),
            ("9007199254740992.0", None),
            ("18446744073709551616", None),
            ("1e400", None),
            ("5.5", None),
            ("-1", None),
            ("-1.0", None),
            ("\"5\"", None),
            ("null", None),
        ] {
            assert_eq!(serde_json::from_str(text).ok(), whole.map(Whole), "{text}");
        }
    }

    #[test]
    fn depth_is_not_limited() {
        let deep = format!(r#"{{"deep":{}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(patch(&raw("{}"), &raw(&deep)).get(), deep);
    }
}
