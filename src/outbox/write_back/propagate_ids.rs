//! Storing upstream ids in the changes that were queued before their row had one.

use crate::outbox::store::upstream_ids::{self, WaitingChange};
use crate::pg::spi::Connection;
use crate::pg::transaction::{self, Cause};

/// Locks the changes that wait for the pending ids of these creates, until commit. Returns false if another session has
/// locked one, because it settles or defers that change. It may wait for this session, so this session does not wait.
pub fn lock_waiting_changes(connection: &Connection, creates: &[i64]) -> bool {
    let changes = upstream_ids::waiting_changes(connection, creates);
    if changes.is_empty() {
        return true;
    }
    let ids: Vec<i64> = changes.iter().map(|change| change.id).collect();
    let servers: Vec<&str> = changes.iter().map(|change| change.server.as_str()).collect();
    match transaction::try_to(|| upstream_ids::lock_changes(connection, &ids, &servers)) {
        Ok(()) => true,
        Err(failure) if failure.cause() == Cause::Surroundings => false,
        Err(failure) => failure.raise(),
    }
}

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
