//! Merges several changes of one record into one. An update is a PATCH, so for each field the latest value wins.
//!
//! The data is valid JSON text, as jsonb prints it. The code cuts it without parsing values, so every digit survives. It
//! reads each text once, so many changes of one record cost no more than their total length.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::json::{self, Cursor};

/// Merges changes that share an upstream id. Each change is an upstream id and its data as JSON text. The result has one
/// change for each id, in the order in which the ids first appear.
pub fn by_id(changes: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut positions: HashMap<String, usize> = HashMap::with_capacity(changes.len());
    let mut records: Vec<(String, Vec<String>)> = Vec::with_capacity(changes.len());
    for (id, data) in changes {
        match positions.get(&id) {
            Some(&position) => records[position].1.push(data),
            None => {
                positions.insert(id.clone(), records.len());
                records.push((id, vec![data]));
            }
        }
    }
    records.into_iter().map(|(id, data)| (id, later_wins(data))).collect()
}

/// The union of the fields of JSON objects, ordered from the earliest to the latest. A single text is returned byte for
/// byte. Among several texts, a value that is not an object contributes no fields.
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
    to_object(&fields)
}

/// By unescaped field name, so that two spellings of a name are one field: the name as it was spelled, and its value.
type MergedFields<'a> = BTreeMap<Cow<'a, str>, (&'a str, &'a str)>;

fn to_object(fields: &MergedFields<'_>) -> String {
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
            // A single text is not read.
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
    fn a_parser_sees_the_union_of_the_fields() {
        let objects = [r#"{"é\n": "\ud83d\ude00", "": [], "b": {"c": [{}, "]"]}}"#, r#"{"b": true, "t\t": "\\"}"#];
        let merged = later_wins(objects.map(str::to_owned).into());
        let merged: serde_json::Value = serde_json::from_str(&merged).unwrap();
        assert_eq!(merged, serde_json::json!({"é\n": "😀", "": [], "b": true, "t\t": "\\"}));
    }
}
