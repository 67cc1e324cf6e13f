//! Storing upstream ids in the changes that were queued before their row had one.

use crate::outbox::store::upstream_ids::{self, WaitingChange};
use crate::pg::spi::Connection;

/// Stores the pending ids of these creates in the changes of their rows.
pub fn propagate(connection: &Connection, creates: &[i64]) {
    let changes: Vec<WaitingChange> = upstream_ids::waiting_changes(connection, creates);
    if changes.is_empty() {
        return;
    }
    let ids: Vec<i64> = changes.iter().map(|change| change.id).collect();
    let servers: Vec<&str> = changes.iter().map(|change| change.server.as_str()).collect();
    let given: Vec<&str> = changes.iter().map(|change| change.upstream_id.as_str()).collect();
    upstream_ids::set(connection, &ids, &servers, &given);
}
