//! The ordering key: the outbox delivers changes with the same key in order.

use std::rc::Rc;

/// An ordering key. The text comes from the application or from an attached table, and is unique only within its
/// collection and table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderingKey {
    /// The collection of the change.
    pub collection_id: String,
    /// The oid of the attached table whose row the text identifies. `None` if the application passed the text.
    pub relation: Option<u32>,
    /// The argument `ordering_key`, or the primary key of a row as a JSON array.
    pub text: String,
}

impl OrderingKey {
    /// A key that changes can share.
    pub fn new(collection_id: &str, relation: Option<u32>, text: &str) -> Rc<OrderingKey> {
        Rc::new(OrderingKey { collection_id: collection_id.to_owned(), relation, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_do_not_make_different_keys_equal() {
        let keys = [
            OrderingKey::new("crm", None, "1 2"),
            OrderingKey::new("crm 1", None, "2"),
            OrderingKey::new("crm", Some(1), "2"),
            OrderingKey::new("crm 1 2", None, ""),
        ];
        for (place, key) in keys.iter().enumerate() {
            assert!(keys[place + 1..].iter().all(|other| other != key), "{key:?}");
        }
    }
}
