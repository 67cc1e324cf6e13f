//! Upstream ids for changes that were queued before their row had one: the create of the row was delivered since.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::Change;
use contract::kind::Kind;

use crate::outbox::store::upstream_ids;
use crate::pg::spi::Connection;

/// Fills in the upstream ids that are known by now. `changes` are in the order of their ids.
pub fn fill_in(connection: &Connection, server: &str, changes: &mut [Change]) {
    let lacks_id = |change: &Change| change.kind != Kind::Create && change.upstream_id.is_none();
    let keys: Vec<Rc<OrderingKey>> =
        changes.iter().filter(|change| lacks_id(change)).filter_map(|change| change.ordering_key.clone()).collect();
    if keys.is_empty() {
        return;
    }
    let row_keys: Vec<&str> = keys.iter().map(|key| key.text.as_str()).collect();
    let known: HashMap<(u32, String), String> = upstream_ids::of_rows(connection, &row_keys)
        .into_iter()
        .map(|row| ((row.relation.to_u32(), row.row_key), row.upstream_id))
        .collect();
    // A change after a delete or a create of the same key belongs to another record.
    let mut ended: HashSet<Rc<OrderingKey>> = HashSet::new();
    let mut missing = Vec::new();
    for change in changes.iter_mut() {
        let Some(key) = change.ordering_key.clone() else { continue };
        if lacks_id(change) && !ended.contains(&key) {
            let id = key.relation.and_then(|relation| known.get(&(relation, key.text.clone())));
            change.upstream_id = id.cloned();
            missing.extend(id.is_none().then_some(change.id));
        }
        if change.kind != Kind::Update {
            ended.insert(key);
        }
    }
    // Another worker may have written an id into its row after these records were read, and before the pending ids were.
    if !missing.is_empty() {
        let given: HashMap<i64, String> = upstream_ids::of_records(connection, server, &missing).into_iter().collect();
        for change in changes.iter_mut().filter(|change| change.kind != Kind::Create) {
            if let Some(upstream_id) = given.get(&change.id) {
                change.upstream_id = Some(upstream_id.clone());
            }
        }
    }
}
