//! The outer shape of a mutation's body, read in one pass: megabytes of records, each looked at once. Nothing is judged here
//! but that it is JSON: what is wrong with a field is for `request` to say, and it must be able to say it of every field.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::Text;

#[derive(Default)]
pub struct Body<'a> {
    /// Of all fields, as often as they were sent.
    pub names: Vec<Cow<'a, str>>,
    /// All but `records`.
    pub fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    pub records: Option<Elements<'a>>,
}

/// None: not an array.
pub struct Elements<'a>(pub Option<Vec<Element<'a>>>);

pub enum Element<'a> {
    Object {
        data: Option<&'a RawValue>,
        upstream_id: Option<&'a RawValue>,
        /// A key that no PartialRecord has, or one that was sent before.
        stray: Option<Cow<'a, str>>,
    },
    Other,
}

impl<'de> Deserialize<'de> for Body<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Body<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut body = Body::default();
                while let Some(Text(name)) = map.next_key()? {
                    match &*name {
                        "records" => body.records = Some(map.next_value()?),
                        _ => body.fields.push((name.clone(), map.next_value()?)),
                    }
                    body.names.push(name);
                }
                Ok(body)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A visitor that takes anything, and has no use for what is neither an array nor an object.
macro_rules! otherwise {
    ($other:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("any JSON")
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Elements<'de>;
            otherwise!(Elements(None));

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Elements(Some(elements)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Elements(None))
            }
        }
        deserializer.deserialize_any(Array)
    }
}

impl<'de> Deserialize<'de> for Element<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Element<'de>;
            otherwise!(Element::Other);

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Element::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut data, mut upstream_id, mut stray) = (None, None, None);
                while let Some((Text(name), value)) = map.next_entry()? {
                    match &*name {
                        "data" if data.is_none() => data = Some(value),
                        "upstream_id" if upstream_id.is_none() => upstream_id = Some(value),
                        _ => stray = Some(name),
                    }
                }
                Ok(Element::Object { data, upstream_id, stray })
            }
        }
        deserializer.deserialize_any(Any)
    }
}
