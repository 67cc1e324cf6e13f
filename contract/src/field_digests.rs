//! What a row that came back has in another way than the rows that were deleted in the same transaction.
//!
//! A queued delete holds a digest of each field that its row had. The field itself may be large, and it may be what the
//! delete is to erase. A digest is keyed, so that a value cannot be guessed from it. The key is the session's: the digests
//! are compared before the transaction ends.
//!
//! Everything here is a value: rows are the JSON objects of their fields, all printed in the same way.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use crate::json::Cursor;

/// The digests of the fields of `row`, as a JSON object with the same names.
pub fn digests(row: &str) -> String {
    let digests: Vec<String> = fields(row).map(|(name, value)| [name, ":", &digest(value)].concat()).collect();
    format!("{{{}}}", digests.join(","))
}

/// The fields of `row` that are not the same in each of the deleted rows, as a JSON object; None if all are. `deleted`
/// has the digests of these rows.
pub fn of_row(row: &str, deleted: &[String]) -> Option<String> {
    let deleted: Vec<HashMap<&str, &str>> = deleted.iter().map(|digests| fields(digests).collect()).collect();
    let is_other = |name, value: &str| {
        let digest = digest(value);
        deleted.iter().any(|digests| digests.get(name) != Some(&digest.as_str()))
    };
    let others = fields(row).filter(|(name, value)| is_other(*name, value));
    let others: Vec<String> = others.map(|(name, value)| [name, ":", value].concat()).collect();
    (!others.is_empty()).then(|| format!("{{{}}}", others.join(",")))
}

/// 128 bits as a JSON string.
fn digest(value: &str) -> String {
    static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
    let [one, other] = KEYS.get_or_init(|| [RandomState::new(), RandomState::new()]);
    format!("\"{:016x}{:016x}\"", one.hash_one(value), other.hash_one(value))
}

/// The names and values of a JSON object, as they are written.
fn fields(object: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut cursor = Cursor::new(object);
    cursor.enter();
    std::iter::from_fn(move || cursor.next_key().map(|name| (name, cursor.value())))
}

#[cfg(test)]
mod tests {
    use super::{digests, of_row};

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
        ];
        for (deleted, differing) in cases {
            let deleted: Vec<String> = deleted.into_iter().map(digests).collect();
            assert_eq!(of_row(row, &deleted).as_deref(), differing, "{deleted:?}");
        }
    }

    #[test]
    fn a_digest_shows_nothing_of_its_field_and_has_the_same_size() {
        let object = digests(&format!(r#"{{"name":"Paul","document":["{}"]}}"#, "x".repeat(10_000)));
        assert!(!object.contains("Paul") && object.len() < 100, "{object}");
        assert_eq!(digests("{}"), "{}");
    }
}
