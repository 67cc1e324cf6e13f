//! A reply to a mutation that was applied: its records, one at a time.
//!
//! The effect exists by now, so this is no place to be strict. A field may be missing, unknown ones may appear, and a
//! value that does not fit its column goes to `extra` as it came. Only what no database could hold makes an error,
//! and that error must be told as "applied, reply lost", never as a failure.
//!
//! [`parse`] checks the whole body once and keeps no list; [`Records`] then cuts one record after another out of it.
//! Memory is the body and one record, whatever their number.

mod canonical;
pub mod pairing;
pub mod presence;
mod record;
mod timestamp;

use std::borrow::Cow;
use std::str;

use serde_json::error::Category;

use super::json::{self, Cursor};

pub use record::Record;
pub use timestamp::Timestamp;

/// Why a body cannot be given out as records. Its text ends a sentence that begins with what happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAReply {
    #[error("its body is empty")]
    Empty,
    #[error("its body is not UTF-8")]
    NotUtf8,
    #[error("its body is not JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    /// JSON as far as it goes.
    #[error("its body is not JSON (it ends too early)")]
    NoEnd,
    #[error("its body is not a JSON object")]
    NotAnObject,
    #[error("its body has no array \"records\"")]
    NoRecords,
    #[error("its body has an \"error\"")]
    HasError,
    /// `index` begins at 0.
    #[error("records[{index}] is not an object")]
    RecordIsNoObject { index: usize },
    /// A text with `\u0000` or half of a surrogate pair, which Postgres has no way to store. `index` begins at 0.
    #[error("records[{index}] has a text in \"{field}\" that Postgres cannot store (\\u0000 or half a surrogate pair)")]
    NotStorable { index: usize, field: &'static str },
}

/// Why the records of a reply do not give their caller what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lacking {
    /// They cannot be read or stored, or it is not known which is whose.
    Unreadable(String),
    /// What was sent is not among them.
    Missing(String),
}

impl From<String> for Lacking {
    fn from(reason: String) -> Self {
        Lacking::Unreadable(reason)
    }
}

/// A body without the byte order mark that some servers begin it with.
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Checks that `body` is a reply and returns its records. What else stands beside `records` is ignored, but for an error.
pub fn parse(body: &[u8]) -> Result<Records<'_>, NotAReply> {
    let text = str::from_utf8(without_mark(body)).map_err(|_| NotAReply::NotUtf8)?;
    if text.trim_start().is_empty() {
        return Err(NotAReply::Empty);
    }
    // serde's own message would repeat parts of the body.
    let [records, error] = json::fields(text, ["records", "error"]).map_err(|error| match error.classify() {
        Category::Data => NotAReply::NotAnObject,
        Category::Eof => NotAReply::NoEnd,
        _ => NotAReply::NotJson { line: error.line(), column: error.column() },
    })?;
    match records {
        _ if error.is_some_and(|error| error != "null") => Err(NotAReply::HasError),
        Some(array) if array.starts_with('[') => Ok(Records::new(array)),
        _ => Err(NotAReply::NoRecords),
    }
}

/// What the beginning of a body that cannot be read as a whole says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The array `records` has begun, and no error came before it: it is a reply.
    OfReply,
    /// It can still become one.
    Open,
    /// It is something else.
    OfOther,
}

/// Looks at the beginning of a body.
pub fn beginning(body: &[u8]) -> Beginning {
    let body = without_mark(body);
    let text = match str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut cursor = Cursor::new(text);
    match cursor.peek() {
        // What begins with bytes that are no text is no JSON.
        None if text.len() < body.len() => return Beginning::OfOther,
        None => return Beginning::Open,
        Some(b'{') => cursor.enter(),
        Some(_) => return Beginning::OfOther,
    }
    while let Some(key) = cursor.next_key() {
        let value = cursor.peek();
        match (&*json::plain_key(key), value) {
            ("\"records\"", Some(b'[')) => return Beginning::OfReply,
            ("\"records\"" | "\"error\"", None) => return Beginning::Open,
            ("\"records\"", _) => return Beginning::OfOther,
            ("\"error\"", Some(first)) if first != b'n' => return Beginning::OfOther,
            (key, _) if !key.starts_with('"') => return Beginning::OfOther,
            _ => {
                cursor.value();
            }
        }
    }
    Beginning::Open
}

/// The records of a reply, in its order.
///
/// An error ends them: nothing follows it.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    cursor: Cursor<'a>,
    next: usize,
    is_done: bool,
}

impl<'a> Records<'a> {
    fn new(array: &'a str) -> Records<'a> {
        let mut cursor = Cursor::new(array);
        cursor.enter();
        Records { cursor, next: 0, is_done: false }
    }
}

/// A record as its text, for those who keep it whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole<'a> {
    /// JSON text of an object, as the reply has it.
    pub text: &'a str,
    /// None also if Postgres could not store it.
    pub upstream_id: Option<Cow<'a, str>>,
    /// JSON text.
    pub data: Option<&'a str>,
}

impl<'a> Records<'a> {
    /// The records as they are. One that is no object, and what follows it, is left out.
    pub fn whole(&self) -> Vec<Whole<'a>> {
        let mut cursor = self.cursor.clone();
        let mut all = Vec::new();
        while cursor.next_element() {
            let text = cursor.value();
            let Ok([id, data]) = json::fields(text, ["upstream_id", "data"]) else { break };
            let id = id.and_then(|id| record::digits(id).map(Cow::Borrowed).or_else(|| json::unquote(id)));
            all.push(Whole { text, upstream_id: id.filter(|id| !id.contains('\0')), data });
        }
        all
    }

    /// How many there are, readable or not.
    pub fn length(&self) -> usize {
        let mut cursor = self.cursor.clone();
        let mut length = 0;
        while cursor.next_element() {
            cursor.value();
            length += 1;
        }
        length
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, NotAReply>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done || !self.cursor.next_element() {
            self.is_done = true;
            return None;
        }
        let index = self.next;
        self.next += 1;
        let record = if self.cursor.peek() == Some(b'{') {
            Record::read(&mut self.cursor).map_err(|field| NotAReply::NotStorable { index, field })
        } else {
            Err(NotAReply::RecordIsNoObject { index })
        };
        self.is_done = record.is_err();
        Some(record)
    }
}

#[cfg(test)]
mod tests;
