//! Upstream ids for changes that came too early to have them: their rows' creates have been delivered since.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use contract::kind::Kind;

use contract::batching::ordering_key::OrderingKey;
use contract::batching::plan::Change;

/// The upstream ids that records have been given since they were read.
static GIVEN: Statement = Statement::new(
    "SELECT q.id, q.upstream_id FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 \
     AND q.id OPERATOR(pg_catalog.=) ANY ($2) AND q.upstream_id IS NOT NULL UNION ALL \
     SELECT p.id, p.upstream_id FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) ANY ($2) \
     AND p.upstream_id IS NOT NULL",
);

static CREATED: Statement = Statement::new(concat!(
    "SELECT c.relation::pg_catalog.oid, c.ordering_key, c.upstream_id FROM sequin.pending_upstream_ids c WHERE ",
    has_key_of!("c.ordering_key", "$1"),
    " ORDER BY c.id",
));

/// Fills in the upstream ids that are known by now. `changes` are in the order of their ids.
pub fn fill_in(connection: &Connection, server: &str, changes: &mut [Change]) {
    let lacks = |change: &&mut Change| change.kind != Kind::Create && change.upstream_id.is_none();
    let keys: Vec<String> = changes
        .iter_mut()
        .filter(lacks)
        .filter_map(|change| change.ordering_key.as_deref().map(|key| key.text.clone()))
        .collect();
    if keys.is_empty() {
        return;
    }
    let keys: Vec<Option<&str>> = keys.iter().map(|key| Some(key.as_str())).collect();
    let rows = CREATED.run(connection, &[Value::Texts(&keys)]);
    let created: HashMap<(Option<u32>, Option<String>), Option<String>> =
        (0..rows.len()).map(|row| ((rows.oid_number(row, 1), rows.text(row, 2)), rows.text(row, 3))).collect();
    // What comes after a delete, or a create, of the same key is about another record.
    let mut ended: HashSet<Rc<OrderingKey>> = HashSet::new();
    let mut missing = Vec::new();
    for change in changes.iter_mut() {
        let Some(key) = change.ordering_key.clone() else { continue };
        let is_last = change.kind != Kind::Update;
        if change.kind != Kind::Create && change.upstream_id.is_none() && !ended.contains(&key) {
            let of = (key.relation, Some(key.text.clone()));
            change.upstream_id = created.get(&of).cloned().flatten();
            if change.upstream_id.is_none() {
                missing.push(change.id);
            }
        }
        if is_last {
            ended.insert(key);
        }
    }
    // Another worker may have written the id back after these records were read, and before `created` was.
    if !missing.is_empty() {
        let rows = GIVEN.run(connection, &[Value::Text(Some(server)), Value::Int8s(&missing)]);
        let given: HashMap<Option<i64>, Option<String>> =
            (0..rows.len()).map(|row| (rows.int8(row, 1), rows.text(row, 2))).collect();
        for change in changes.iter_mut().filter(|change| change.kind != Kind::Create) {
            if let Some(upstream_id) = given.get(&Some(change.id)) {
                change.upstream_id.clone_from(upstream_id);
            }
        }
    }
}
