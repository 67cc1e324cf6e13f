//! Several changes of one record as one: an update is a PATCH, so what comes later wins, field by field.
//!
//! The data is jsonb as text, or as valid as that. It is cut, not parsed, so every digit is kept; and each text is read
//! once, however many changes of one record there are.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::json::{self, Cursor};

/// Merges the changes of each record, which are its upstream id and its data as JSON text, into the first of them. The
/// order is otherwise kept.
pub fn by_id(changes: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(changes.len());
    let mut records: Vec<(String, Vec<String>)> = Vec::with_capacity(changes.len());
    for (id, data) in changes {
        match places.get(&id) {
            Some(&place) => records[place].1.push(data),
            None => {
                places.insert(id.clone(), records.len());
                records.push((id, vec![data]));
            }
        }
    }
    records.into_iter().map(|(id, data)| (id, later_wins(data))).collect()
}

/// The union of the fields of JSON objects, given from the earliest to the latest. One alone passes byte for byte; of
/// several, whatever is no object has no fields.
pub fn later_wins(mut objects: Vec<String>) -> String {
    if objects.len() == 1
        && let Some(only) = objects.pop()
    {
        return only;
    }
    let mut fields = BTreeMap::new();
    for object in objects.iter().filter(|text| text.trim_start().starts_with('{')) {
        let mut cursor = Cursor::new(object);
        cursor.enter();
        while let Some(key) = cursor.next_key() {
            fields.insert(json::plain_key(key), (key, cursor.value()));
        }
    }
    written(&fields)
}

/// Names in their plain spelling, to tell which are the same; and as they were spelled, to be valid when written again.
type Fields<'a> = BTreeMap<Cow<'a, str>, (&'a str, &'a str)>;

fn written(fields: &Fields<'_>) -> String {
    let room = fields.values().map(|(key, value)| key.len() + value.len() + 2).sum::<usize>();
    let mut object = String::with_capacity(room + 2);
    object.push('{');
    for (key, value) in fields.values() {
        if object.len() > 1 {
            object.push(',');
        }
        object.extend([*key, ":", *value]);
    }
    object.push('}');
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_change_of_a_field_wins() {
        let change = |id: &str, data: &str| (id.to_owned(), data.to_owned());
        let changes = vec![
            change("a", r#"{"x":1.10,"y":null}"#),
            change("b", r#"{"x":1}"#),
            change("a", r#"{"y":[1, 2],"z":12345678901234567890.123}"#),
        ];
        let merged =
            vec![change("a", r#"{"x":1.10,"y":[1, 2],"z":12345678901234567890.123}"#), change("b", r#"{"x":1}"#)];
        assert_eq!(by_id(changes), merged);
    }

    #[test]
    fn objects_become_one() {
        let table: &[(&[&str], &str)] = &[
            // One alone is not even read.
            (&[" { \"x\" :  1.10}"], " { \"x\" :  1.10}"),
            (&["{}", "{}"], "{}"),
            (&["{}", r#"{"x": 1}"#], r#"{"x":1}"#),
            (&[r#"{"x": 1}"#, "{}"], r#"{"x":1}"#),
            (&[r#"{"x": {"a": 1, "b": 2}}"#, r#"{"x": {"a": 3}}"#], r#"{"x":{"a": 3}}"#),
            (&[r#"{"x": 1}"#, r#"{"x": null}"#], r#"{"x":null}"#),
            (&[r#"{"x": 1e400}"#, r#"{"x": -0.0}"#, r#"{"x": 0.10, "x": 0.100}"#], r#"{"x":0.100}"#),
            (&[r#"{"x": "1"}"#, r#"{"\u0078": "2"}"#], r#"{"\u0078":"2"}"#),
            (&[r#"{"a\"b": 1, "a\\": 2}"#, r#"{"a\"b": "}"}"#], r#"{"a\"b":"}","a\\":2}"#),
            (&["null", r#"{"x": 1}"#, "[2]", ""], r#"{"x":1}"#),
            (&[], "{}"),
        ];
        for (objects, expected) in table {
            let merged = later_wins(objects.iter().map(|&text| text.to_owned()).collect());
            assert_eq!(merged, *expected, "{objects:?}");
        }
    }

    #[test]
    fn what_is_written_is_the_union_that_a_parser_sees() {
        let objects = [r#"{"é\n": "\ud83d\ude00", "": [], "b": {"c": [{}, "]"]}}"#, r#"{"b": true, "t\t": "\\"}"#];
        let merged = later_wins(objects.map(str::to_owned).into());
        let merged: serde_json::Value = serde_json::from_str(&merged).unwrap();
        assert_eq!(merged, serde_json::json!({"é\n": "😀", "": [], "b": true, "t\t": "\\"}));
    }
}
