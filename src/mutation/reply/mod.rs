//! A reply to a mutation that was applied: its records, one at a time.
//!
//! The effect exists by now, so this is no place to be strict. A field may be missing, unknown ones may appear, and a
//! value that does not fit its column goes to `extra` as it came. Only what no database could hold makes an error,
//! and that error must be told as "applied, reply lost", never as a failure.
//!
//! [`parse`] checks the whole body once and keeps no list; [`Records`] then cuts one record after another out of it.
//! Memory is the body and one record, whatever their number.

mod record;
pub(super) mod timestamp;

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
    #[error("its body is not a JSON object")]
    NotAnObject,
    #[error("its body has no array \"records\"")]
    NoRecords,
    /// `index` begins at 0.
    #[error("records[{index}] is not an object")]
    RecordIsNoObject { index: usize },
    /// A text with `\u0000` or half of a surrogate pair, which Postgres has no way to store. `index` begins at 0.
    #[error("records[{index}] has a text in \"{field}\" that Postgres cannot store (\\u0000 or half a surrogate pair)")]
    NotStorable { index: usize, field: &'static str },
}

/// Checks that `body` is a reply and returns its records. What else stands beside `records` is ignored.
pub fn parse(body: &[u8]) -> Result<Records<'_>, NotAReply> {
    let text = str::from_utf8(body).map_err(|_| NotAReply::NotUtf8)?;
    if text.trim_start().is_empty() {
        return Err(NotAReply::Empty);
    }
    // serde's own message would repeat parts of the body.
    let [records] = json::fields(text, ["records"]).map_err(|error| match error.classify() {
        Category::Data => NotAReply::NotAnObject,
        _ => NotAReply::NotJson { line: error.line(), column: error.column() },
    })?;
    match records {
        Some(array) if array.starts_with('[') => Ok(Records::new(array)),
        _ => Err(NotAReply::NoRecords),
    }
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
    pub fn whole(self) -> Vec<Whole<'a>> {
        let mut cursor = self.cursor;
        let mut all = Vec::new();
        while cursor.next_element() {
            let text = cursor.value();
            let Ok([id, data]) = json::fields(text, ["upstream_id", "data"]) else { break };
            all.push(Whole { text, upstream_id: id.and_then(json::unquote).filter(|id| !id.contains('\0')), data });
        }
        all
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
