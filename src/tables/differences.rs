//! What a row that came back has in another way than the rows that were deleted in the same transaction.
//!
//! Everything here is a value: rows are the JSON objects of their fields, all printed in the same way.

use std::collections::HashMap;

use crate::mutation::json::Cursor;

/// The fields of `row` that are not the same in each of `deleted`, as a JSON object; None if all are.
pub fn of_row(row: &str, deleted: &[String]) -> Option<String> {
    let deleted: Vec<HashMap<&str, &str>> = deleted.iter().map(|object| fields(object).collect()).collect();
    let is_other = |name, value| deleted.iter().any(|object| object.get(name) != Some(&value));
    let others = fields(row).filter(|(name, value)| is_other(*name, *value));
    let others: Vec<String> = others.map(|(name, value)| [name, ":", value].concat()).collect();
    (!others.is_empty()).then(|| format!("{{{}}}", others.join(",")))
}

/// The names and values of a JSON object, as they are written.
fn fields(object: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut cursor = Cursor::new(object);
    cursor.enter();
    std::iter::from_fn(move || cursor.next_key().map(|name| (name, cursor.value())))
}

#[cfg(test)]
mod tests {
    use super::of_row;

    #[test]
    fn a_field_is_sent_if_it_differs_from_one_of_the_deleted_rows() {
        let row = r#"{"a":1,"b":{"x":[1,2]},"c\"":"z"}"#;
        let cases = [
            (vec![row], None),
            (vec![row, row], None),
            (vec![], None),
            (vec![r#"{"a":2,"b":{"x":[1,2]},"c\"":"z"}"#, row], Some(r#"{"a":1}"#)),
            (vec![row, r#"{"a":2,"b":{"x":[1,2]},"c\"":"z"}"#], Some(r#"{"a":1}"#)),
            (vec![r#"{"a":2,"b":{"x":[1,2]},"c\"":"z"}"#, r#"{"a":1,"b":{"x":[1,2]}}"#], Some(r#"{"a":1,"c\"":"z"}"#)),
            (vec!["{}"], Some(row)),
            (vec!["null"], Some(row)),
        ];
        for (deleted, differing) in cases {
            let deleted: Vec<String> = deleted.into_iter().map(str::to_owned).collect();
            assert_eq!(of_row(row, &deleted).as_deref(), differing, "{deleted:?}");
        }
    }
}
