//! Reads the reply to an applied mutation: its records, one at a time.
//!
//! The provider has already applied the mutation, so the reader is lenient. Fields may be missing or unknown, and a value
//! that does not fit its column goes to `extra` unchanged. Only a value that Postgres cannot store is an error. The caller
//! must report it as "applied, reply lost": a caller who believed that a create had failed would repeat it.
//!
//! [`parse`] checks the whole body once. [`ReplyRecords`] then cuts one record after another out of it, so memory holds the
//! body and one record, however many there are.

mod canonical;
pub mod matching;
pub mod pairing;
mod record;
mod timestamp;

use std::borrow::Cow;
use std::str;

use serde_json::error::Category;

use super::json::{self, Cursor};

pub use record::Record;
pub use timestamp::Timestamp;

/// Why a reply gives no records, or no further ones. The text completes a message such as `its reply cannot be read: ...`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(
    missing_docs,
    reason = "line and column count from 1, as serde_json does; index is a position in records, from 0"
)]
pub enum ReplyError {
    /// Nothing but white space.
    #[error("its body is empty")]
    Empty,
    /// The body is not UTF-8, which JSON requires.
    #[error("its body is not UTF-8")]
    NotUtf8,
    /// The body is not JSON from this position on.
    #[error("its body is not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    /// The body is valid JSON up to its end, but incomplete.
    #[error("its body is incomplete JSON")]
    Incomplete,
    /// The body is a JSON value of another type.
    #[error("its body is not a JSON object")]
    NotAnObject,
    /// `records` is absent, or not an array.
    #[error("its body has no array \"records\"")]
    NoRecords,
    /// The body has an `error` that is not null, so it does not say that the mutation was applied.
    #[error("its body has an \"error\"")]
    HasError,
    /// This element of `records` is not an object.
    #[error("records[{index}] is not an object")]
    RecordNotAnObject { index: usize },
    /// A string in this field has `\u0000` or half of a surrogate pair, which Postgres cannot store.
    #[error(
        "records[{index}] has a string in \"{field}\" that Postgres cannot store (\\u0000 or half a surrogate pair)"
    )]
    NotStorable { index: usize, field: &'static str },
}

/// Why a caller cannot use the records of a reply. The text completes the outcome's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnusableReply {
    /// Applied, but the records cannot be read, stored, or matched to the sent ones: [`Outcome::reply_lost`].
    ///
    /// [`Outcome::reply_lost`]: crate::outcome::Outcome::reply_lost
    Unreadable(String),
    /// A sent record is not in the reply, so it may not be applied: [`Outcome::missing`].
    ///
    /// [`Outcome::missing`]: crate::outcome::Outcome::missing
    Missing(String),
}

impl From<String> for UnusableReply {
    fn from(reason: String) -> Self {
        UnusableReply::Unreadable(reason)
    }
}

/// `body` without the UTF-8 byte order mark that some servers send.
pub(super) fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Checks that `body` is a reply and returns its records. Other fields beside `records` are ignored, except `error`.
pub fn parse(body: &[u8]) -> Result<ReplyRecords<'_>, ReplyError> {
    let text = str::from_utf8(without_byte_order_mark(body)).map_err(|_| ReplyError::NotUtf8)?;
    if text.trim_start().is_empty() {
        return Err(ReplyError::Empty);
    }
    // serde's own message could repeat parts of the body.
    let [records, error] = json::select_fields(text, ["records", "error"]).map_err(|error| match error.classify() {
        Category::Data => ReplyError::NotAnObject,
        Category::Eof => ReplyError::Incomplete,
        _ => ReplyError::NotJson { line: error.line(), column: error.column() },
    })?;
    match records {
        _ if error.is_some_and(|error| error != "null") => Err(ReplyError::HasError),
        Some(array) if array.starts_with('[') => Ok(ReplyRecords::new(array)),
        _ => Err(ReplyError::NoRecords),
    }
}

/// What the beginning of a truncated body shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyPrefix {
    /// The array `records` has begun, and no `error` came before it: the body is a reply.
    Reply,
    /// The body may still be a reply.
    Undecided,
    /// The body is not a reply.
    Other,
}

/// Classifies a body of which only the beginning is known.
pub fn classify_prefix(body: &[u8]) -> ReplyPrefix {
    let body = without_byte_order_mark(body);
    let text = match str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut cursor = Cursor::new(text);
    match cursor.peek() {
        // The body begins with bytes that are not UTF-8, so it is not JSON.
        None if text.len() < body.len() => return ReplyPrefix::Other,
        None => return ReplyPrefix::Undecided,
        Some(b'{') => cursor.enter(),
        Some(_) => return ReplyPrefix::Other,
    }
    while let Some(key) = cursor.next_key() {
        let value = cursor.peek();
        match (&*json::plain_key(key), value) {
            ("\"records\"", Some(b'[')) => return ReplyPrefix::Reply,
            ("\"records\"" | "\"error\"", None) => return ReplyPrefix::Undecided,
            ("\"records\"", _) => return ReplyPrefix::Other,
            ("\"error\"", Some(first)) if first != b'n' => return ReplyPrefix::Other,
            (key, _) if !key.starts_with('"') => return ReplyPrefix::Other,
            _ => {
                cursor.value();
            }
        }
    }
    ReplyPrefix::Undecided
}

/// Iterates over the records of a reply, in its order. The iteration ends after the first error.
#[derive(Debug, Clone)]
pub struct ReplyRecords<'a> {
    cursor: Cursor<'a>,
    next: usize,
    is_done: bool,
}

impl<'a> ReplyRecords<'a> {
    fn new(array: &'a str) -> ReplyRecords<'a> {
        let mut cursor = Cursor::new(array);
        cursor.enter();
        ReplyRecords { cursor, next: 0, is_done: false }
    }
}

/// A record as JSON text, for callers that store it unparsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// The record, a JSON object, as the reply spells it.
    pub text: &'a str,
    /// The content of `upstream_id`, or the digits of a number. `None` if it is absent, of another type, or cannot be
    /// stored by Postgres.
    pub upstream_id: Option<Cow<'a, str>>,
    /// The value of `data` as JSON text.
    pub data: Option<&'a str>,
}

impl<'a> ReplyRecords<'a> {
    /// The remaining records as text. It stops before the first element that is not an object.
    pub fn raw_records(&self) -> Vec<RawRecord<'a>> {
        let mut cursor = self.cursor.clone();
        let mut all = Vec::new();
        while cursor.next_element() {
            let text = cursor.value();
            let Ok([id, data]) = json::select_fields(text, ["upstream_id", "data"]) else { break };
            let id = id.and_then(|id| record::digits(id).map(Cow::Borrowed).or_else(|| json::unquote(id)));
            all.push(RawRecord { text, upstream_id: id.filter(|id| !id.contains('\0')), data });
        }
        all
    }

    /// The number of remaining elements of `records`, whether they are readable or not.
    pub fn element_count(&self) -> usize {
        let mut cursor = self.cursor.clone();
        let mut length = 0;
        while cursor.next_element() {
            cursor.value();
            length += 1;
        }
        length
    }
}

impl<'a> Iterator for ReplyRecords<'a> {
    type Item = Result<Record<'a>, ReplyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done || !self.cursor.next_element() {
            self.is_done = true;
            return None;
        }
        let index = self.next;
        self.next += 1;
        let record = if self.cursor.peek() == Some(b'{') {
            Record::read(&mut self.cursor).map_err(|field| ReplyError::NotStorable { index, field })
        } else {
            Err(ReplyError::RecordNotAnObject { index })
        };
        self.is_done = record.is_err();
        Some(record)
    }
}

#[cfg(test)]
mod tests;
