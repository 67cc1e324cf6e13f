//! Checks the arguments of a mutation and writes the request body, before anything is sent.
//!
//! The API does not say which record it refuses, nor why. An error raised here names the record, and has certainly changed
//! nothing. The records pass byte for byte.
//!
//! Callers write the records directly after the head of the body ([`Draft::records_mut`]), and they are checked in place.
//! So a request of any size exists only once in memory.

mod error;
mod records;
pub mod size_limits;
mod validate;

use std::borrow::Cow;
use std::time::Duration;

use super::json;
use super::kind::Kind;

pub use error::{InvalidRequest, RecordProblem};
pub use records::{RequestRecord, split_records};

/// How long the API waits for consumers if the request does not say. The API's contract documents it.
const DEFAULT_CONSUMER_WAIT: Duration = Duration::from_secs(30);

/// The arguments that all SQL functions share. `None` is NULL.
#[derive(Debug, Clone, Default)]
pub struct Arguments<'a> {
    /// The sync that the collection belongs to.
    pub sync_id: Option<&'a str>,
    /// The collection that the records belong to.
    pub collection_id: Option<&'a str>,
    /// The consumers to wait for. An empty array waits for none, like NULL: a query that gathers no consumers returns one.
    pub await_consumers: Option<Cow<'a, [Option<&'a str>]>>,
    /// The API's limit for the wait, in milliseconds. 0 is a limit too; NULL omits the field. It is passed even without
    /// consumers, where the API ignores it, so that a wrapper function can pass a constant.
    pub timeout_ms: Option<i32>,
}

/// A checked request.
#[derive(Debug)]
pub struct Request<'a> {
    kind: Kind,
    sync_id: &'a str,
    collection_id: &'a str,
    records: usize,
    consumer_wait: Option<Duration>,
    body: Vec<u8>,
}

/// A request whose records are not written yet.
#[derive(Debug)]
pub struct Draft<'a> {
    kind: Kind,
    sync_id: &'a str,
    collection_id: &'a str,
    consumer_wait: Option<Duration>,
    body: Vec<u8>,
    /// The length of the body's head. The records begin there.
    head: usize,
}

impl<'a> Request<'a> {
    /// Begins a request from its arguments, without the records.
    pub fn draft(kind: Option<&str>, arguments: &Arguments<'a>) -> Result<Draft<'a>, InvalidRequest> {
        let kind = kind.ok_or(InvalidRequest::Null("kind"))?.parse()?;
        Draft::begin(kind, arguments, 0)
    }

    /// The request of `sequin_mutate`. `records` is a jsonb as text: an array of records, or a single record.
    pub fn from_records(
        kind: Option<&str>,
        arguments: &Arguments<'a>,
        records: Option<&str>,
    ) -> Result<Request<'a>, InvalidRequest> {
        let kind = kind.ok_or(InvalidRequest::Null("kind"))?.parse()?;
        let room = records.map_or(0, str::len);
        let mut draft = Draft::begin(kind, arguments, room)?;
        draft.records_mut().extend_from_slice(records.ok_or(InvalidRequest::Null("records"))?.as_bytes());
        draft.finish()
    }

    /// A create of one record. `data` is a jsonb as text.
    pub fn create_one(arguments: &Arguments<'a>, data: Option<&str>) -> Result<Request<'a>, InvalidRequest> {
        Self::one(Kind::Create, arguments, None, data)
    }

    /// An update of one record. `upstream_id` is plain text, `data` a jsonb as text.
    pub fn update_one(
        arguments: &Arguments<'a>,
        upstream_id: Option<&str>,
        data: Option<&str>,
    ) -> Result<Request<'a>, InvalidRequest> {
        Self::one(Kind::Update, arguments, Some(filled("upstream_id", upstream_id)?), data)
    }

    /// A delete of one record. `upstream_id` is plain text.
    pub fn delete_one(arguments: &Arguments<'a>, upstream_id: Option<&str>) -> Result<Request<'a>, InvalidRequest> {
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
    ) -> Result<Request<'a>, InvalidRequest> {
        let data = data.ok_or(InvalidRequest::Null("data"))?;
        if !data.trim_start().starts_with('{') {
            return Err(InvalidRequest::DataNotAnObject { found: json::type_of(data) });
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

    /// The kind of the mutation.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sync that the collection belongs to.
    pub fn sync_id(&self) -> &'a str {
        self.sync_id
    }

    /// The collection that the records belong to.
    pub fn collection_id(&self) -> &'a str {
        self.collection_id
    }

    /// The number of records, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a request is never empty")]
    pub fn len(&self) -> usize {
        self.records
    }

    /// The time that the API may add to a reply, because it waits for consumers after the provider has answered. `None` if
    /// the request names no consumers.
    pub fn consumer_wait(&self) -> Option<Duration> {
        self.consumer_wait
    }

    /// The body to send, as JSON text.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as JSON text, without a copy.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}

impl<'a> Draft<'a> {
    fn begin(kind: Kind, arguments: &Arguments<'a>, room: usize) -> Result<Draft<'a>, InvalidRequest> {
        let sync_id = filled("sync_id", arguments.sync_id)?;
        let collection_id = filled("collection_id", arguments.collection_id)?;
        let consumers = arguments.await_consumers.as_deref().filter(|consumers| !consumers.is_empty());
        let timeout_ms = match arguments.timeout_ms {
            Some(ms) => Some(u32::try_from(ms).map_err(|_| InvalidRequest::NegativeTimeout(ms))?),
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
        // The records come last: the caller appends them, and they may be large.
        body.extend_from_slice(match kind {
            Kind::Create | Kind::Update => b",\"records\":",
            Kind::Delete => b",\"upstream_ids\":",
        });

        let timeout = timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        let consumer_wait = consumers.map(|_| timeout.unwrap_or(DEFAULT_CONSUMER_WAIT));
        let head = body.len();
        Ok(Draft { kind, sync_id, collection_id, consumer_wait, body, head })
    }

    /// Writes `records`, each a JSON text, as the array of the request.
    pub fn write_records(&mut self, records: impl IntoIterator<Item = String>) {
        for (i, record) in records.into_iter().enumerate() {
            self.body.push(if i == 0 { b'[' } else { b',' });
            self.body.extend_from_slice(record.as_bytes());
        }
        self.body.push(b']');
    }

    /// The unfinished body. Append the records, a jsonb as text, and change nothing before them. Two bytes of spare
    /// capacity save [`finish`](Self::finish) from a reallocation.
    pub fn records_mut(&mut self) -> &mut Vec<u8> {
        &mut self.body
    }

    /// Checks the records and completes the body.
    pub fn finish(mut self) -> Result<Request<'a>, InvalidRequest> {
        let records = self.body.get(self.head..).unwrap_or_default();
        let records = std::str::from_utf8(records).map_err(|_| InvalidRequest::NotUtf8)?;
        let checked = validate::check(self.kind, records)?;
        if let Some(ids) = checked.ids {
            self.body.truncate(self.head);
            self.body.extend_from_slice(ids.as_bytes());
        } else if checked.is_bare {
            self.body.insert(self.head, b'[');
            self.body.push(b']');
        }
        Ok(self.close(checked.records))
    }

    fn close(mut self, records: usize) -> Request<'a> {
        self.body.push(b'}');
        let Draft { kind, sync_id, collection_id, consumer_wait, body, head: _ } = self;
        Request { kind, sync_id, collection_id, records, consumer_wait, body }
    }
}

/// The text of an argument that must be neither NULL nor blank.
fn filled<'a>(name: &'static str, value: Option<&'a str>) -> Result<&'a str, InvalidRequest> {
    match value {
        None => Err(InvalidRequest::Null(name)),
        Some(text) if text.trim().is_empty() => Err(InvalidRequest::Empty(name)),
        Some(text) => Ok(text),
    }
}

fn push_consumers(body: &mut Vec<u8>, consumers: &[Option<&str>]) -> Result<(), InvalidRequest> {
    for (index, consumer) in consumers.iter().enumerate() {
        // Subscripts of an SQL array count from 1.
        let subscript = index + 1;
        let id = consumer.ok_or(InvalidRequest::NullConsumer(subscript))?;
        if id.trim().is_empty() {
            return Err(InvalidRequest::EmptyConsumer(subscript));
        }
        body.push(if index == 0 { b'[' } else { b',' });
        json::push_string(body, id);
    }
    body.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests;
