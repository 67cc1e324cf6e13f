//! Reads one record of a reply: the fields that have a column of `sequin_record`, and all others as JSON.

use std::borrow::Cow;

use super::timestamp::{self, Timestamp};
use crate::json::{self, Cursor};

/// A record with the columns of the SQL type `sequin_record`. `None` is NULL, and so is a JSON null.
///
/// If a value does not fit its column, the column is NULL and `extra` has the value under its own name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record<'a> {
    /// The API's own id of the record: a string, or the digits of a number.
    pub id: Option<Cow<'a, str>>,
    /// From `sync_id`, else from `id` within `sync`, else from `resource_id`.
    pub sync_id: Option<Cow<'a, str>>,
    /// The collection.
    pub collection_id: Option<Cow<'a, str>>,
    /// The record's id at the provider: a string, or the digits of a number.
    pub upstream_id: Option<Cow<'a, str>>,
    /// When the provider created the record.
    pub upstream_created_at: Option<Timestamp>,
    /// When the provider last changed the record.
    pub upstream_updated_at: Option<Timestamp>,
    /// When the API first stored the record: from `inserted_at`, else from `created_at`.
    pub inserted_at: Option<Timestamp>,
    /// The API's counter of changes.
    pub updated_idx: Option<i64>,
    /// Whether the record was deleted.
    pub deleted: Option<bool>,
    /// The provider's fields as JSON text, unchanged. Usually an object.
    pub data: Option<&'a str>,
    /// All fields that no column holds, unchanged, as the text of a JSON object. It always has `sync`, which holds more
    /// than an id.
    pub extra: Option<String>,
}

/// The name of a field whose value Postgres cannot store.
pub(super) type UnstorableField = &'static str;

/// The values, as JSON text, of the fields that fill columns. Of several equal names the last one wins.
#[derive(Default)]
struct RawFields<'a> {
    id: Option<&'a str>,
    sync_id: Option<&'a str>,
    resource_id: Option<&'a str>,
    collection_id: Option<&'a str>,
    upstream_id: Option<&'a str>,
    upstream_created_at: Option<&'a str>,
    upstream_updated_at: Option<&'a str>,
    inserted_at: Option<&'a str>,
    created_at: Option<&'a str>,
    updated_idx: Option<&'a str>,
    deleted: Option<&'a str>,
    data: Option<&'a str>,
    sync: Option<&'a str>,
}

impl<'a> RawFields<'a> {
    /// The member for a field name, which has its quotes and no escapes.
    fn slot(&mut self, key: &str) -> Option<&mut Option<&'a str>> {
        Some(match key {
            "\"id\"" => &mut self.id,
            "\"sync_id\"" => &mut self.sync_id,
            "\"resource_id\"" => &mut self.resource_id,
            "\"collection_id\"" => &mut self.collection_id,
            "\"upstream_id\"" => &mut self.upstream_id,
            "\"upstream_created_at\"" => &mut self.upstream_created_at,
            "\"upstream_updated_at\"" => &mut self.upstream_updated_at,
            "\"inserted_at\"" => &mut self.inserted_at,
            "\"created_at\"" => &mut self.created_at,
            "\"updated_idx\"" => &mut self.updated_idx,
            "\"deleted\"" => &mut self.deleted,
            "\"data\"" => &mut self.data,
            "\"sync\"" => &mut self.sync,
            _ => return None,
        })
    }
}

impl<'a> Record<'a> {
    /// Reads the object at the cursor and skips it.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Record<'a>, UnstorableField> {
        let mut raw = RawFields::default();
        let mut extra = Extra::default();
        cursor.enter();
        while let Some(key) = cursor.next_key() {
            let value = cursor.value();
            let slot = match raw.slot(key) {
                Some(slot) => Some(slot),
                None => raw.slot(&json::plain_key(key)),
            };
            match slot {
                Some(slot) => *slot = Some(value),
                None => extra.push(key, value),
            }
        }

        let mut sync_id = extra.text("sync_id", raw.sync_id)?;
        if sync_id.is_none() {
            sync_id = id_within(raw.sync)?;
        }
        extra.keep("sync", raw.sync);
        match sync_id {
            Some(_) => extra.keep("resource_id", raw.resource_id),
            None => sync_id = extra.text("resource_id", raw.resource_id)?,
        }
        let mut inserted_at = extra.fit("inserted_at", raw.inserted_at, timestamp::from_json);
        match inserted_at {
            Some(_) => extra.keep("created_at", raw.created_at),
            None => inserted_at = extra.fit("created_at", raw.created_at, timestamp::from_json),
        }
        let data = raw.data.filter(|data| *data != "null");
        if data.is_some_and(|data| !json::is_storable(data)) {
            return Err("data");
        }
        Ok(Record {
            id: extra.id("id", raw.id)?,
            sync_id,
            collection_id: extra.text("collection_id", raw.collection_id)?,
            upstream_id: extra.id("upstream_id", raw.upstream_id)?,
            upstream_created_at: extra.fit("upstream_created_at", raw.upstream_created_at, timestamp::from_json),
            upstream_updated_at: extra.fit("upstream_updated_at", raw.upstream_updated_at, timestamp::from_json),
            inserted_at,
            updated_idx: extra.fit("updated_idx", raw.updated_idx, |digits| digits.parse().ok()),
            deleted: extra.fit("deleted", raw.deleted, |word| word.parse().ok()),
            data,
            extra: extra.finish()?,
        })
    }
}

/// The digits of a JSON number, as they are spelled. `None` for any other value.
pub(super) fn digits(value: &str) -> Option<&str> {
    value.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then_some(value)
}

/// The `id` of the object `sync`.
fn id_within(sync: Option<&str>) -> Result<Option<Cow<'_, str>>, UnstorableField> {
    let mut cursor = Cursor::new(sync.unwrap_or_default());
    let mut id = None;
    if cursor.peek() == Some(b'{') {
        cursor.enter();
        while let Some(key) = cursor.next_key() {
            let value = cursor.value();
            if json::plain_key(key) == "\"id\"" {
                id = Some(value);
            }
        }
    }
    // An id of another type is not lost: the whole object goes to `extra`.
    Extra::default().text("sync", id)
}

/// The column `extra` while it is written.
#[derive(Default)]
struct Extra {
    json: String,
}

impl Extra {
    /// Adds a field. `key` has its quotes.
    fn push(&mut self, key: &str, value: &str) {
        // Enough for the extra fields of most replies.
        self.json.reserve(if self.json.is_empty() { 256 } else { 0 });
        self.json.push(if self.json.is_empty() { '{' } else { ',' });
        self.json.push_str(key);
        self.json.push(':');
        self.json.push_str(value);
    }

    /// Adds a field by its name without quotes, if it has a value.
    fn keep(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.push(&format!("\"{name}\""), value);
        }
    }

    /// Converts a value with `read`. A value that is not null and cannot be converted is kept here.
    fn fit<'a, T>(&mut self, name: &str, value: Option<&'a str>, read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let fitting = value.filter(|value| *value != "null").map(read)?;
        if fitting.is_none() {
            self.keep(name, value);
        }
        fitting
    }

    /// The content of a string. A value of another type is kept here. A string that Postgres text cannot hold is an error,
    /// since jsonb could not hold it either.
    fn text<'a>(
        &mut self,
        name: &'static str,
        value: Option<&'a str>,
    ) -> Result<Option<Cow<'a, str>>, UnstorableField> {
        match value {
            None | Some("null") => Ok(None),
            Some(value) if value.starts_with('"') => match json::unquote(value) {
                Some(Cow::Borrowed(text)) => Ok(Some(Cow::Borrowed(text))),
                Some(Cow::Owned(text)) if !text.contains('\0') => Ok(Some(Cow::Owned(text))),
                _ => Err(name),
            },
            misfit => {
                self.keep(name, misfit);
                Ok(None)
            }
        }
    }

    /// The content of an id, which may also be a number: then its digits.
    fn id<'a>(&mut self, name: &'static str, value: Option<&'a str>) -> Result<Option<Cow<'a, str>>, UnstorableField> {
        match value.and_then(digits) {
            Some(digits) => Ok(Some(Cow::Borrowed(digits))),
            None => self.text(name, value),
        }
    }

    fn finish(mut self) -> Result<Option<String>, UnstorableField> {
        if self.json.is_empty() {
            return Ok(None);
        }
        if !json::is_storable(&self.json) {
            return Err("extra");
        }
        self.json.push('}');
        Ok(Some(self.json))
    }
}
