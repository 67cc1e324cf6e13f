//! Two changes of one record as one: an update is a PATCH, so what comes later wins, field by field.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;

/// Merges the changes of each record, which are its upstream id and its data as JSON text, into the first of them. The
/// order is otherwise kept, and so is every digit.
pub fn by_id(changes: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(changes.len());
    let mut merged: Vec<(String, String)> = Vec::with_capacity(changes.len());
    for (id, data) in changes {
        match places.get(&id) {
            Some(&place) => merged[place].1 = later_wins(&merged[place].1, &data),
            None => {
                places.insert(id.clone(), merged.len());
                merged.push((id, data));
            }
        }
    }
    merged
}

fn later_wins(earlier: &str, later: &str) -> String {
    let fields = |data| serde_json::from_str::<BTreeMap<String, &RawValue>>(data).unwrap_or_default();
    let mut all = fields(earlier);
    all.extend(fields(later));
    serde_json::to_string(&all).expect("JSON texts can be written")
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
}
