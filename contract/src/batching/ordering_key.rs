//! The ordering key: changes with the same one are delivered in order.

use std::rc::Rc;

/// A key as the application or an attached table gave it, within its collection and table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderingKey {
    pub collection_id: String,
    /// The oid of the attached table whose row the text names. `None`: the text was passed with the record.
    pub relation: Option<u32>,
    pub text: String,
}

impl OrderingKey {
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
