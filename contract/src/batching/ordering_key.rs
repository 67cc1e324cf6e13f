//! What order is kept by, as one text: the collection, the attached table, and the ordering key within them.

use std::rc::Rc;

/// What order is kept by: the key as it was given is one of a table's rows, or of a collection's records.
pub fn key(collection_id: &str, relation: Option<u32>, ordering_key: &str) -> Rc<str> {
    let relation = relation.unwrap_or_default();
    format!("{collection_id} {relation} {ordering_key}").into()
}

/// A collection's name holds no space.
pub fn ordering_key(key: &str) -> &str {
    key.splitn(3, ' ').nth(2).unwrap_or_default()
}

/// The table whose row it is, 0 if it is of none.
pub fn relation(key: &str) -> Option<u32> {
    key.split(' ').nth(1)?.parse().ok()
}
