//! Finds the fields in which a reinserted row differs from the rows deleted earlier in the same transaction.
//!
//! A queued delete stores a digest of each field instead of the value. The value may be large, and it may be the very
//! data that the delete is meant to erase. The hash has a secret seed, so a digest does not let a reader test guesses of its value. The
//! seed belongs to the session: digests are only compared within the transaction that made them.
//!
//! A row is the JSON object of its fields. Both rows are printed by the same code, so equal values have equal text.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use crate::json::Cursor;

/// The digests of the fields of `row`, as a JSON object with the same field names. `row` is a JSON object as text.
pub fn digest_fields(row: &str) -> String {
    let digests: Vec<String> = members(row).map(|(name, value)| [name, ":", &digest(value)].concat()).collect();
    format!("{{{}}}", digests.join(","))
}

/// The fields of `row` that differ from at least one deleted row, as a JSON object. `None` if no field differs.
/// `deleted` holds the results of [`digest_fields`] for these rows.
pub fn changed_fields(row: &str, deleted: &[String]) -> Option<String> {
    let deleted: Vec<HashMap<&str, &str>> = deleted.iter().map(|digests| members(digests).collect()).collect();
    let differs = |name, value: &str| {
        let digest = digest(value);
        deleted.iter().any(|digests| digests.get(name) != Some(&digest.as_str()))
    };
    let changed = members(row).filter(|(name, value)| differs(*name, value));
    let changed: Vec<String> = changed.map(|(name, value)| [name, ":", value].concat()).collect();
    (!changed.is_empty()).then(|| format!("{{{}}}", changed.join(",")))
}

/// 128 bits as a JSON string of hexadecimal digits.
fn digest(value: &str) -> String {
    static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
    let [one, other] = KEYS.get_or_init(|| [RandomState::new(), RandomState::new()]);
    format!("\"{:016x}{:016x}\"", one.hash_one(value), other.hash_one(value))
}

/// The names, with their quotes, and the values of a JSON object, as they are spelled.
fn members(object: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut cursor = Cursor::new(object);
    cursor.enter();
    std::iter::from_fn(move || cursor.next_key().map(|name| (name, cursor.value())))
}

#[cfg(test)]
mod tests {
    use super::{changed_fields, digest_fields};

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
            let deleted: Vec<String> = deleted.into_iter().map(digest_fields).collect();
            assert_eq!(changed_fields(row, &deleted).as_deref(), differing, "{deleted:?}");
        }
    }

    #[test]
    fn a_digest_hides_its_field_and_has_a_fixed_size() {
        let object = digest_fields(&format!(r#"{{"name":"Paul","document":["{}"]}}"#, "x".repeat(10_000)));
        assert!(!object.contains("Paul") && object.len() < 100, "{object}");
        assert_eq!(digest_fields("{}"), "{}");
    }
}
