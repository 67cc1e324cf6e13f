//! Records that a scan of the queue steps over, because they wait and others do not.
//!
//! Otherwise the records of a role that waits could hide all others: a scan reads a part of the queue. The records stay in
//! the queue. As soon as a scope waits no longer, the next scan goes back to them.

use std::collections::HashSet;
use std::rc::Rc;

use super::{Caller, Scope};
use crate::batching::ordering_key::OrderingKey;
use crate::batching::plan::Change;
use crate::kind::Kind;

/// The records of one server's queue that scans have stepped over.
#[derive(Debug, Default)]
pub struct Stepping {
    /// The scopes that wait.
    scopes: Vec<Scope>,
    /// The lowest id.
    from: Option<i64>,
    /// Later records with these keys wait as well.
    keys: HashSet<Rc<OrderingKey>>,
}

impl Stepping {
    /// Begins a scan while these scopes wait. Returns the id that the scan must go back to, if they are not the same as in
    /// the scan before.
    pub fn begin(&mut self, scopes: Vec<Scope>) -> Option<i64> {
        if self.scopes == scopes {
            return None;
        }
        let from = self.from;
        *self = Stepping { scopes, ..Stepping::default() };
        from
    }

    /// The lowest id of the records that were stepped over.
    pub fn from(&self) -> Option<i64> {
        self.from
    }

    /// Whether there is nothing to step over.
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }

    /// Whether creates wait.
    pub fn creates_wait(&self) -> bool {
        self.scopes.contains(&Scope::Creates)
    }

    /// The callers that wait.
    pub fn callers(&self) -> impl Iterator<Item = &Caller> {
        self.scopes.iter().filter_map(|scope| if let Scope::Caller(caller) = scope { Some(caller) } else { None })
    }

    /// Whether the requests of a role, a sync and a kind wait.
    pub fn waits(&self, role: u32, sync_id: &str, is_create: bool) -> bool {
        self.scopes.iter().any(|scope| match scope {
            Scope::Server => true,
            Scope::Creates => is_create,
            Scope::Caller(caller) => caller.role == role && caller.sync_id == sync_id,
        })
    }

    /// Whether the records of a change wait.
    pub fn is_waiting(&self, change: &Change) -> bool {
        self.waits(change.batch_key.role, &change.batch_key.sync_id, change.kind == Kind::Create)
    }

    /// Whether the scan steps over a record of the queue: it waits, or an earlier one of its key does.
    pub fn steps_over(&mut self, change: &Change) -> bool {
        if self.is_empty() {
            return false;
        }
        let has_key = change.ordering_key.as_ref().is_some_and(|key| self.keys.contains(key));
        let steps_over = has_key || self.is_waiting(change);
        if steps_over {
            self.from = Some(self.from.map_or(change.id, |from| from.min(change.id)));
            self.keys.extend(change.ordering_key.clone());
        }
        steps_over
    }

    /// Whether an earlier record of this key was stepped over.
    pub fn has_key(&self, key: Option<&OrderingKey>) -> bool {
        !self.keys.is_empty() && key.is_some_and(|key| self.keys.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Caller;
    use super::super::tests::batch_key;
    use super::*;

    fn change(id: i64, role: u32, kind: Kind, key: &str) -> Change {
        Change {
            id,
            idempotency_key: String::new(),
            batch_key: Rc::new(batch_key(role, "s")),
            kind,
            ordering_key: (!key.is_empty()).then(|| OrderingKey::new("crm:contact", None, key)),
            upstream_id: None,
            data: None,
            attempts: 0,
            resend_verbatim: false,
            is_refused: false,
        }
    }

    fn of_role(role: u32) -> Scope {
        Scope::Caller(Caller { role, sync_id: "s".into() })
    }

    #[test]
    fn a_record_waits_with_its_role_its_kind_or_an_earlier_record_of_its_key() {
        let mut stepping = Stepping::default();
        assert!(!stepping.steps_over(&change(1, 1, Kind::Create, "a")));
        assert_eq!(stepping.begin(vec![Scope::Creates, of_role(1)]), None);
        for (id, role, kind, key, expected) in [
            (2, 2, Kind::Update, "a", false),
            (3, 1, Kind::Update, "a", true),
            (4, 2, Kind::Update, "a", true),
            (5, 2, Kind::Update, "b", false),
            (6, 2, Kind::Create, "b", true),
            (7, 2, Kind::Delete, "b", true),
            (8, 2, Kind::Delete, "", false),
            (9, 2, Kind::Create, "", true),
            (10, 2, Kind::Update, "", false),
        ] {
            assert_eq!(stepping.steps_over(&change(id, role, kind, key)), expected, "{id}");
        }
    }

    #[test]
    fn a_scan_goes_back_when_other_scopes_wait() {
        let mut stepping = Stepping::default();
        assert_eq!(stepping.begin(vec![of_role(1)]), None);
        assert!(stepping.steps_over(&change(7, 1, Kind::Update, "a")));
        assert!(stepping.steps_over(&change(5, 1, Kind::Update, "a")));
        assert_eq!(stepping.begin(vec![of_role(1)]), None);
        assert_eq!(stepping.begin(vec![of_role(2)]), Some(5));
        assert!(!stepping.steps_over(&change(8, 1, Kind::Update, "a")));
        assert_eq!(stepping.begin(vec![]), None);
    }
}
