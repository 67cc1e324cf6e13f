//! The shape of the records that each kind takes, checked in one pass over their text.
//!
//! Unknown keys are refused, not dropped: `{"Email": "x"}` instead of `{"data": {"Email": "x"}}` is the likeliest
//! mistake, and an API that ignored the key would answer that an empty change went well.

use super::error::{Invalid, Problem};
use crate::json::{self, Cursor};
use crate::kind::Kind;
use crate::text;

/// What the records are, once they are known to be right.
#[derive(Debug)]
pub(super) struct Shape {
    /// How many, at least 1.
    pub records: usize,
    /// One element stands without an array around it.
    pub is_bare: bool,
    /// The array of ids to send in place of a delete's text; `None` if the text will do.
    pub ids: Option<String>,
}

/// Checks `records`, which is valid JSON.
pub(super) fn check(kind: Kind, records: &str) -> Result<Shape, Invalid> {
    let mut cursor = Cursor::new(records);
    match cursor.peek() {
        Some(b'[') => check_array(kind, &mut cursor),
        Some(b'{') => check_bare(kind, &mut cursor),
        Some(b'"') if kind == Kind::Delete => check_bare(kind, &mut cursor),
        _ => Err(Invalid::NotRecords { kind, found: json::type_of(records) }),
    }
}

fn check_bare(kind: Kind, cursor: &mut Cursor<'_>) -> Result<Shape, Invalid> {
    let is_wrapped_id = kind == Kind::Delete && cursor.peek() == Some(b'{');
    let id = element(kind, cursor).map_err(|problem| Invalid::Element { kind, index: 0, problem })?;
    let ids = id.filter(|_| is_wrapped_id).map(|id| format!("[{id}]"));
    Ok(Shape { records: 1, is_bare: true, ids })
}

fn check_array(kind: Kind, cursor: &mut Cursor<'_>) -> Result<Shape, Invalid> {
    let start = cursor.clone();
    let mut records = 0;
    let mut has_objects = false;
    cursor.enter();
    while cursor.next_element() {
        has_objects |= cursor.peek() == Some(b'{');
        element(kind, cursor).map_err(|problem| Invalid::Element { kind, index: records, problem })?;
        records += 1;
    }
    if records == 0 {
        return Err(Invalid::NoRecords);
    }
    let ids = (kind == Kind::Delete && has_objects).then(|| collect_ids(start));
    Ok(Shape { records, is_bare: false, ids })
}

/// Checks the element at the cursor, steps over it and returns its id, in quotes, if it has one.
fn element<'a>(kind: Kind, cursor: &mut Cursor<'a>) -> Result<Option<&'a str>, Problem> {
    match cursor.peek() {
        Some(b'{') => object(kind, cursor),
        Some(b'"') if kind == Kind::Delete => upstream_id(cursor.value()).map(Some),
        _ => Err(Problem::NotAnObject { found: json::type_of(cursor.value()) }),
    }
}

fn object<'a>(kind: Kind, cursor: &mut Cursor<'a>) -> Result<Option<&'a str>, Problem> {
    let mut id = None;
    let mut has_data = false;
    cursor.enter();
    while let Some(key) = cursor.next_key() {
        match (key, kind) {
            ("\"data\"", Kind::Create | Kind::Update) => {
                let data = cursor.value();
                if !data.starts_with('{') {
                    return Err(Problem::DataIsNoObject { found: json::type_of(data) });
                }
                has_data = true;
            }
            ("\"upstream_id\"", Kind::Update | Kind::Delete) => id = Some(upstream_id(cursor.value())?),
            ("\"data\"", Kind::Delete) => return Err(Problem::DeleteWithData),
            ("\"upstream_id\"", Kind::Create) => return Err(Problem::CreateWithId),
            _ => return Err(unknown_key(key)),
        }
    }
    if id.is_none() && kind != Kind::Create {
        return Err(Problem::Missing("upstream_id"));
    }
    if !has_data && kind != Kind::Delete {
        return Err(Problem::Missing("data"));
    }
    Ok(id)
}

/// A value that must be an id: a string that is not blank. It keeps its quotes.
fn upstream_id(value: &str) -> Result<&str, Problem> {
    if !value.starts_with('"') {
        return Err(Problem::IdIsNoString { found: json::type_of(value) });
    }
    // Without the quotes and escapes, since a line's end is written as one.
    match json::unquote(value) {
        Some(id) if id.trim().is_empty() => Err(Problem::EmptyId),
        _ => Ok(value),
    }
}

fn unknown_key(key: &str) -> Problem {
    let name = json::unquote(key).unwrap_or(key.into());
    Problem::UnknownKey(text::printable(&name, text::NAME_CHARS))
}

/// The array of ids of a delete whose elements passed, some of them as objects.
fn collect_ids(mut cursor: Cursor<'_>) -> String {
    let mut ids = String::from("[");
    cursor.enter();
    while cursor.next_element() {
        if let Ok(Some(id)) = element(Kind::Delete, &mut cursor) {
            if ids.len() > 1 {
                ids.push(',');
            }
            ids.push_str(id);
        }
    }
    ids.push(']');
    ids
}
