//! One request: its arguments checked, its body written, before a single byte goes out.
//!
//! The API names neither the element that it refuses nor what it wanted instead; a call that is refused here costs
//! nothing and has certainly changed nothing. The records pass byte for byte.
//!
//! The records are written straight behind the body's head ([`Draft::records_mut`]) and checked where they stand, so
//! that a request of any size exists once in memory.

mod error;
pub mod limits;
mod records;
mod validate;

use std::time::Duration;

use super::json;
use super::kind::Kind;

pub use error::{Invalid, Problem};
pub use records::{Element, elements};

/// How long the API waits for consumers when it is not told.
const DEFAULT_AWAIT: Duration = Duration::from_secs(30);

/// The arguments that all verbs share, as SQL gives them: `None` is NULL.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arguments<'a> {
    pub sync_id: Option<&'a str>,
    pub collection_id: Option<&'a str>,
    /// The consumers to wait for. An empty array waits for nobody, like NULL: that is what a query that gathers no
    /// consumer gives.
    pub await_consumers: Option<&'a [Option<&'a str>]>,
    /// Milliseconds, passed to the API as they are; 0 is a timeout, NULL leaves the field out. Without consumers the
    /// API has nothing to time and ignores it, so it is passed as well: a wrapper with a fixed timeout keeps working.
    pub timeout_ms: Option<i32>,
}

/// A checked request.
#[derive(Debug)]
pub struct Request<'a> {
    kind: Kind,
    sync_id: &'a str,
    collection_id: &'a str,
    records: usize,
    awaits: Option<Duration>,
    body: Vec<u8>,
}

/// A request whose records are still to be written.
#[derive(Debug)]
pub struct Draft<'a> {
    kind: Kind,
    sync_id: &'a str,
    collection_id: &'a str,
    awaits: Option<Duration>,
    body: Vec<u8>,
    /// Where the records begin.
    head: usize,
}

impl<'a> Request<'a> {
    /// Begins a request from everything but its records.
    pub fn draft(kind: Option<&str>, arguments: &Arguments<'a>) -> Result<Draft<'a>, Invalid> {
        let kind = kind.ok_or(Invalid::Null("kind"))?.parse()?;
        Draft::begin(kind, arguments, 0)
    }

    /// The request of `sequin_mutate`. `records` is a jsonb as text: an array, or one element that counts as one.
    pub fn from_records(
        kind: Option<&str>,
        arguments: &Arguments<'a>,
        records: Option<&str>,
    ) -> Result<Request<'a>, Invalid> {
        let kind = kind.ok_or(Invalid::Null("kind"))?.parse()?;
        let room = records.map_or(0, str::len);
        let mut draft = Draft::begin(kind, arguments, room)?;
        draft.records_mut().extend_from_slice(records.ok_or(Invalid::Null("records"))?.as_bytes());
        draft.finish()
    }

    /// A create of one record. `data` is a jsonb as text.
    pub fn create_one(arguments: &Arguments<'a>, data: Option<&str>) -> Result<Request<'a>, Invalid> {
        Self::one(Kind::Create, arguments, None, data)
    }

    /// An update of one record. `upstream_id` is plain text, `data` a jsonb as text.
    pub fn update_one(
        arguments: &Arguments<'a>,
        upstream_id: Option<&str>,
        data: Option<&str>,
    ) -> Result<Request<'a>, Invalid> {
        Self::one(Kind::Update, arguments, Some(filled("upstream_id", upstream_id)?), data)
    }

    /// A delete of one record. `upstream_id` is plain text.
    pub fn delete_one(arguments: &Arguments<'a>, upstream_id: Option<&str>) -> Result<Request<'a>, Invalid> {
        let upstream_id = filled("upstream_id", upstream_id)?;
        let mut draft = Draft::begin(Kind::Delete, arguments, upstream_id.len() + 4)?;
        draft.body.push(b'[');
        json::push_string(&mut draft.body, upstream_id);
        draft.body.push(b']');
        Ok(draft.close(1))
    }

    fn one(
        kind: Kind,
        arguments: &Arguments<'a>,
        upstream_id: Option<&str>,
        data: Option<&str>,
    ) -> Result<Request<'a>, Invalid> {
        let data = data.ok_or(Invalid::Null("data"))?;
        if !data.trim_start().starts_with('{') {
            return Err(Invalid::DataIsNoObject { found: json::type_of(data) });
        }
        let mut draft = Draft::begin(kind, arguments, data.len() + upstream_id.map_or(0, str::len) + 40)?;
        draft.body.extend_from_slice(b"[{");
        if let Some(upstream_id) = upstream_id {
            draft.body.extend_from_slice(b"\"upstream_id\":");
            json::push_string(&mut draft.body, upstream_id);
            draft.body.push(b',');
        }
        draft.body.extend_from_slice(b"\"data\":");
        draft.body.extend_from_slice(data.as_bytes());
        draft.body.extend_from_slice(b"}]");
        Ok(draft.close(1))
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn sync_id(&self) -> &'a str {
        self.sync_id
    }

    pub fn collection_id(&self) -> &'a str {
        self.collection_id
    }

    /// The number of records, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a request is never empty")]
    pub fn len(&self) -> usize {
        self.records
    }

    /// How much longer than usual the reply may take, because the API waits for consumers after the provider has
    /// answered; `None` if it waits for nobody.
    pub fn awaits(&self) -> Option<Duration> {
        self.awaits
    }

    /// The JSON text to send.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl<'a> Draft<'a> {
    fn begin(kind: Kind, arguments: &Arguments<'a>, room: usize) -> Result<Draft<'a>, Invalid> {
        let sync_id = filled("sync_id", arguments.sync_id)?;
        let collection_id = filled("collection_id", arguments.collection_id)?;
        let consumers = arguments.await_consumers.filter(|consumers| !consumers.is_empty());
        let timeout_ms = match arguments.timeout_ms {
            Some(ms) => Some(u32::try_from(ms).map_err(|_| Invalid::NegativeTimeout(ms))?),
            None => None,
        };

        let consumer_bytes: usize = consumers.unwrap_or_default().iter().flatten().map(|id| id.len() + 3).sum();
        let head_bytes = 160 + sync_id.len() + collection_id.len() + consumer_bytes;
        let mut body = Vec::with_capacity(head_bytes + room);
        body.extend_from_slice(b"{\"kind\":");
        json::push_string(&mut body, kind.as_str());
        body.extend_from_slice(b",\"sync_id\":");
        json::push_string(&mut body, sync_id);
        body.extend_from_slice(b",\"collection_id\":");
        json::push_string(&mut body, collection_id);
        if let Some(consumers) = consumers {
            body.extend_from_slice(b",\"await_consumer_ids\":");
            push_consumers(&mut body, consumers)?;
        }
        if let Some(ms) = timeout_ms {
            body.extend_from_slice(format!(",\"await_consumers_timeout\":{ms}").as_bytes());
        }
        // Last, because they are written by somebody else and may be large.
        body.extend_from_slice(match kind {
            Kind::Create | Kind::Update => b",\"records\":",
            Kind::Delete => b",\"upstream_ids\":",
        });

        let told = timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        let awaits = consumers.map(|_| told.unwrap_or(DEFAULT_AWAIT));
        let head = body.len();
        Ok(Draft { kind, sync_id, collection_id, awaits, body, head })
    }

    /// Writes `records`, each a JSON text, as the array of the request.
    pub fn write_records(&mut self, records: impl IntoIterator<Item = String>) {
        for (i, record) in records.into_iter().enumerate() {
            self.body.push(if i == 0 { b'[' } else { b',' });
            self.body.extend_from_slice(record.as_bytes());
        }
        self.body.push(b']');
    }

    /// The body so far. Append the records, a jsonb as text, and change nothing before them; a spare capacity of two
    /// bytes more saves [`finish`](Self::finish) from moving it all.
    pub fn records_mut(&mut self) -> &mut Vec<u8> {
        &mut self.body
    }

    /// Checks the records and closes the body.
    pub fn finish(mut self) -> Result<Request<'a>, Invalid> {
        let records = self.body.get(self.head..).unwrap_or_default();
        let records = std::str::from_utf8(records).map_err(|_| Invalid::NotUtf8)?;
        let shape = validate::check(self.kind, records)?;
        if let Some(ids) = shape.ids {
            self.body.truncate(self.head);
            self.body.extend_from_slice(ids.as_bytes());
        } else if shape.is_bare {
            self.body.insert(self.head, b'[');
            self.body.push(b']');
        }
        Ok(self.close(shape.records))
    }

    fn close(mut self, records: usize) -> Request<'a> {
        self.body.push(b'}');
        let Draft { kind, sync_id, collection_id, awaits, body, head: _ } = self;
        Request { kind, sync_id, collection_id, records, awaits, body }
    }
}

/// The text of an argument that must be there and must not be blank.
fn filled<'a>(name: &'static str, value: Option<&'a str>) -> Result<&'a str, Invalid> {
    match value {
        None => Err(Invalid::Null(name)),
        Some(text) if text.trim().is_empty() => Err(Invalid::Empty(name)),
        Some(text) => Ok(text),
    }
}

fn push_consumers(body: &mut Vec<u8>, consumers: &[Option<&str>]) -> Result<(), Invalid> {
    for (index, consumer) in consumers.iter().enumerate() {
        // Subscripts of an SQL array begin at 1.
        let subscript = index + 1;
        let id = consumer.ok_or(Invalid::NullConsumer(subscript))?;
        if id.trim().is_empty() {
            return Err(Invalid::EmptyConsumer(subscript));
        }
        body.push(if index == 0 { b'[' } else { b',' });
        json::push_string(body, id);
    }
    body.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests;
