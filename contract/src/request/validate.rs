//! Checks the records of a request in one pass over their text.
//!
//! Unknown keys are errors. The likeliest mistake is `{"Email": "x"}` for `{"data": {"Email": "x"}}`, and an API that
//! ignored the key would report success for an empty change.

use super::error::{InvalidRequest, RecordProblem};
use crate::json::{self, Cursor};
use crate::kind::Kind;
use crate::text;

/// Facts about valid records.
#[derive(Debug)]
pub(super) struct Checked {
    /// The number of records, at least 1.
    pub records: usize,
    /// The text is a single record without an array around it.
    pub is_bare: bool,
    /// For a delete with objects: the array of ids to send. `None` if the text itself can be sent.
    pub ids: Option<String>,
}

/// Checks `records`, which is valid JSON.
pub(super) fn check(kind: Kind, records: &str) -> Result<Checked, InvalidRequest> {
    let mut cursor = Cursor::new(records);
    match cursor.peek() {
        Some(b'[') => check_array(kind, &mut cursor),
        Some(b'{') => check_bare(kind, &mut cursor),
        Some(b'"') if kind == Kind::Delete => check_bare(kind, &mut cursor),
        _ => Err(InvalidRequest::NotRecords { kind, found: json::type_of(records) }),
    }
}

fn check_bare(kind: Kind, cursor: &mut Cursor<'_>) -> Result<Checked, InvalidRequest> {
    let is_wrapped_id = kind == Kind::Delete && cursor.peek() == Some(b'{');
    let id = record(kind, cursor).map_err(|problem| InvalidRequest::Record { kind, index: 0, problem })?;
    let ids = id.filter(|_| is_wrapped_id).map(|id| format!("[{id}]"));
    Ok(Checked { records: 1, is_bare: true, ids })
}

fn check_array(kind: Kind, cursor: &mut Cursor<'_>) -> Result<Checked, InvalidRequest> {
    let start = cursor.clone();
    let mut records = 0;
    let mut has_objects = false;
    cursor.enter();
    while cursor.next_element() {
        has_objects |= cursor.peek() == Some(b'{');
        record(kind, cursor).map_err(|problem| InvalidRequest::Record { kind, index: records, problem })?;
        records += 1;
    }
    if records == 0 {
        return Err(InvalidRequest::NoRecords);
    }
    let ids = (kind == Kind::Delete && has_objects).then(|| collect_ids(start));
    Ok(Checked { records, is_bare: false, ids })
}

/// Checks the record at the cursor, skips it, and returns its id, with quotes, if it has one.
fn record<'a>(kind: Kind, cursor: &mut Cursor<'a>) -> Result<Option<&'a str>, RecordProblem> {
    match cursor.peek() {
        Some(b'{') => object(kind, cursor),
        Some(b'"') if kind == Kind::Delete => upstream_id(cursor.value()).map(Some),
        _ => Err(RecordProblem::NotAnObject { found: json::type_of(cursor.value()) }),
    }
}

fn object<'a>(kind: Kind, cursor: &mut Cursor<'a>) -> Result<Option<&'a str>, RecordProblem> {
    let mut id = None;
    let mut has_data = false;
    cursor.enter();
    while let Some(key) = cursor.next_key() {
        match (key, kind) {
            ("\"data\"", Kind::Create | Kind::Update) => {
                let data = cursor.value();
                if !data.starts_with('{') {
                    return Err(RecordProblem::DataNotAnObject { found: json::type_of(data) });
                }
                has_data = true;
            }
            ("\"upstream_id\"", Kind::Update | Kind::Delete) => id = Some(upstream_id(cursor.value())?),
            ("\"data\"", Kind::Delete) => return Err(RecordProblem::DeleteWithData),
            ("\"upstream_id\"", Kind::Create) => return Err(RecordProblem::CreateWithId),
            _ => return Err(unknown_key(key)),
        }
    }
    if id.is_none() && kind != Kind::Create {
        return Err(RecordProblem::Missing("upstream_id"));
    }
    if !has_data && kind != Kind::Delete {
        return Err(RecordProblem::Missing("data"));
    }
    Ok(id)
}

/// Checks that a value is an id, a string that is not blank. Returns it with its quotes.
fn upstream_id(value: &str) -> Result<&str, RecordProblem> {
    if !value.starts_with('"') {
        return Err(RecordProblem::IdNotAString { found: json::type_of(value) });
    }
    // Decode the escapes first: a newline is spelled as one.
    match json::unquote(value) {
        Some(id) if id.trim().is_empty() => Err(RecordProblem::EmptyId),
        _ => Ok(value),
    }
}

fn unknown_key(key: &str) -> RecordProblem {
    let name = json::unquote(key).unwrap_or(key.into());
    RecordProblem::UnknownKey(text::printable(&name, text::NAME_CHARS))
}

/// The ids of a checked delete, some of whose records are objects, as a JSON array.
fn collect_ids(mut cursor: Cursor<'_>) -> String {
    let mut ids = String::from("[");
    cursor.enter();
    while cursor.next_element() {
        if let Ok(Some(id)) = record(Kind::Delete, &mut cursor) {
            if ids.len() > 1 {
                ids.push(',');
            }
            ids.push_str(id);
        }
    }
    ids.push(']');
    ids
}
