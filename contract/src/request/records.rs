//! The records of a request one by one, for those who keep them apart.

use crate::json::{self, Cursor};

/// One record of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Element<'a> {
    pub upstream_id: Option<String>,
    /// JSON text of an object; None of a delete.
    pub data: Option<&'a str>,
}

/// The elements of `records`, which a [`Request`](super::Request) was made of, so that their shape is known to be right.
pub fn elements(records: &str) -> Vec<Element<'_>> {
    let mut cursor = Cursor::new(records);
    if cursor.peek() != Some(b'[') {
        return vec![element(cursor.value())];
    }
    let mut all = Vec::new();
    cursor.enter();
    while cursor.next_element() {
        all.push(element(cursor.value()));
    }
    all
}

fn element(value: &str) -> Element<'_> {
    if value.starts_with('"') {
        return Element { upstream_id: json::unquote(value).map(String::from), data: None };
    }
    let [id, data] = json::fields(value, ["upstream_id", "data"]).unwrap_or_default();
    Element { upstream_id: id.and_then(json::unquote).map(String::from), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_element() {
        let element = |id: Option<&str>, data| Element { upstream_id: id.map(str::to_owned), data };
        assert_eq!(elements(r#"[{"data": {"a": 1.10}}]"#), [element(None, Some(r#"{"a": 1.10}"#))]);
        assert_eq!(
            elements(r#"[{"upstream_id": "x\u0041", "data": {}}, {"data": {}, "upstream_id": "y"}]"#),
            [element(Some("xA"), Some("{}")), element(Some("y"), Some("{}"))]
        );
        assert_eq!(elements(r#"["x", {"upstream_id": "y"}]"#), [element(Some("x"), None), element(Some("y"), None)]);
        assert_eq!(elements(r#""x""#), [element(Some("x"), None)]);
        assert_eq!(elements(r#"{"upstream_id": "y"}"#), [element(Some("y"), None)]);
    }
}
