//! How the configuration describes a collection of a REST service: the tables as they are written. `compile` checks
//! them.
//!
//! Texts keep their place in the file, so that a fault can name its line.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;

/// `[sync.NAME.collection.NAME]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Description {
    pub create: Option<Spanned<Action>>,
    pub update: Option<Spanned<Action>>,
    pub delete: Option<Spanned<Action>>,
    /// Reads one record, where the reply to a write has less than the record.
    pub read: Option<Spanned<Action>>,
    /// Where replies to all actions have what is wanted of them.
    pub reply: Option<Reply>,
    /// Pointers to the words of an error. The first that finds something counts.
    pub error: Option<Vec<Spanned<String>>>,
    /// Replies which say that nothing was applied and a later attempt may succeed. Left out: 423 and 429.
    pub limited: Option<Vec<Spanned<When>>>,
    /// Replies which say that nothing was applied, beside 4xx.
    pub rejected: Option<Vec<Spanned<When>>>,
    pub replay: Option<Spanned<Replay>>,
}

/// One kind of request, and what its replies mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Action {
    pub method: Spanned<String>,
    /// A template: follows the base URL.
    pub path: Spanned<String>,
    /// Of a create: the slot of the key in path or body that is the new record's id. Left out: the slot at the path's
    /// end.
    pub id: Option<Spanned<String>>,
    /// Their values are templates.
    #[serde(default)]
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
    /// JSON whose texts are templates.
    pub body: Option<Spanned<toml::Value>>,
    /// `json` or `form`.
    pub encoding: Option<Spanned<String>>,
    /// Left out: 200, 201 and 204.
    pub applied: Option<Vec<Spanned<When>>>,
    /// Of a create: a record with this key exists, so an earlier attempt made it.
    pub already: Option<Vec<Spanned<When>>>,
    /// Of an update or a delete: there is no such record.
    pub gone: Option<Vec<Spanned<When>>>,
    /// Instead of the collection's.
    pub reply: Option<Reply>,
    /// Where an `already` reply has the record that exists.
    pub existing: Option<Reply>,
    /// The status decides, whatever the body is. Left out: a body that is neither empty nor JSON leaves the outcome
    /// unknown.
    #[serde(default)]
    pub any_body: bool,
}

/// Pointers into a reply.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Reply {
    pub upstream_id: Option<Spanned<String>>,
    /// A header whose last path segment is the id: `location`.
    pub upstream_id_header: Option<Spanned<String>>,
    pub created_at: Option<Spanned<Time>>,
    pub updated_at: Option<Spanned<Time>>,
    /// The record's fields: a pointer to an object.
    pub data: Option<Spanned<String>>,
}

/// A time: a pointer to ISO 8601 text, or `{ at = POINTER, unit = "s" }` for a number since 1970.
#[derive(Clone, Debug)]
pub struct Time {
    pub at: String,
    /// `s` or `ms`.
    pub unit: Option<String>,
}

/// Which replies a rule is about: a status, or `{ status, at, equals }`.
#[derive(Clone, Debug)]
pub struct When {
    pub status: u16,
    /// A pointer into the body, to a value that is not null, and fits what else is asked of it.
    pub at: Option<String>,
    /// A text, a whole number, true or false.
    pub equals: Option<toml::Value>,
    /// A part of a text.
    pub contains: Option<String>,
    /// There must be no such value, or null.
    pub absent: bool,
}

/// What makes a second create harmless.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Replay {
    /// `key_header`, `unique_id`, `upsert` or `none`.
    pub kind: Spanned<String>,
    /// Of `key_header`: the header that has the key.
    pub header: Option<Spanned<String>>,
    /// Of `key_header`: how long the service knows a key, such as `24h`.
    pub window: Option<Spanned<String>>,
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<When, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            status: u16,
            at: Option<String>,
            equals: Option<toml::Value>,
            contains: Option<String>,
            #[serde(default)]
            absent: bool,
        }
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = When;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a status, or a table { status, at, equals | contains | absent }")
            }

            fn visit_i64<E: serde::de::Error>(self, status: i64) -> Result<When, E> {
                let status = u16::try_from(status).map_err(|_| E::custom("is no HTTP status"))?;
                Ok(When { status, at: None, equals: None, contains: None, absent: false })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<When, A::Error> {
                let Table { status, at, equals, contains, absent } =
                    Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(When { status, at, equals, contains, absent })
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            at: String,
            unit: String,
        }
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a pointer, or a table { at, unit }")
            }

            fn visit_str<E: serde::de::Error>(self, at: &str) -> Result<Time, E> {
                Ok(Time { at: at.to_owned(), unit: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Time, A::Error> {
                let Table { at, unit } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Time { at, unit: Some(unit) })
            }
        }
        deserializer.deserialize_any(Read)
    }
}
