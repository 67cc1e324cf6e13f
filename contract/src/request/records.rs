//! Splits the records of a request, for the outbox, which stores each record in its own row.

use crate::json::{self, Cursor};

/// One record of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestRecord<'a> {
    /// The upstream id. `None` for a create.
    pub upstream_id: Option<String>,
    /// The fields, a JSON object as text. `None` for a delete.
    pub data: Option<&'a str>,
}

/// Splits `records`, a jsonb as text. It must have passed [`Request::from_records`](super::Request::from_records).
pub fn split_records(records: &str) -> Vec<RequestRecord<'_>> {
    let mut cursor = Cursor::new(records);
    if cursor.peek() != Some(b'[') {
        return vec![record(cursor.value())];
    }
    let mut all = Vec::new();
    cursor.enter();
    while cursor.next_element() {
        all.push(record(cursor.value()));
    }
    all
}

fn record(value: &str) -> RequestRecord<'_> {
    if value.starts_with('"') {
        return RequestRecord { upstream_id: json::unquote(value).map(String::from), data: None };
    }
    let [id, data] = json::select_fields(value, ["upstream_id", "data"]).unwrap_or_default();
    RequestRecord { upstream_id: id.and_then(json::unquote).map(String::from), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_each_kind() {
        let record = |id: Option<&str>, data| RequestRecord { upstream_id: id.map(str::to_owned), data };
        assert_eq!(split_records(r#"[{"data": {"a": 1.10}}]"#), [record(None, Some(r#"{"a": 1.10}"#))]);
        assert_eq!(
            split_records(r#"[{"upstream_id": "x\u0041", "data": {}}, {"data": {}, "upstream_id": "y"}]"#),
            [record(Some("xA"), Some("{}")), record(Some("y"), Some("{}"))]
        );
        assert_eq!(split_records(r#"["x", {"upstream_id": "y"}]"#), [record(Some("x"), None), record(Some("y"), None)]);
        assert_eq!(split_records(r#""x""#), [record(Some("x"), None)]);
        assert_eq!(split_records(r#"{"upstream_id": "y"}"#), [record(Some("y"), None)]);
    }
}
