//! Writing records into the queue, as part of the caller's transaction.
//!
//! The caller's rights apply while records are read and converted. Only the rows are written as the owner of the queue, and
//! no code of other roles runs then. Triggers of the queue are its owner's code.

use pgrx::pg_sys::Datum;

use crate::pg::bulk_insert::next_value;
use crate::pg::memory_context::ScratchContext;
use crate::pg::{relation, security_context, session};
use contract::kind::Kind;

use super::store::append;
use super::worker::{identity, wake_at_commit};

/// The values that records share when they are enqueued together.
pub struct Route<'a> {
    pub server: &'a str,
    pub kind: Kind,
    pub sync_id: &'a str,
    pub collection_id: &'a str,
    pub await_consumers: Option<&'a [Option<&'a str>]>,
    pub timeout_ms: Option<i32>,
    /// The oid of the attached table that the records come from.
    pub relation: Option<u32>,
}

/// The records, column by column, all equally long.
pub struct RecordColumns<'a> {
    pub ordering_keys: Vec<Option<&'a str>>,
    pub upstream_ids: Vec<Option<&'a str>>,
    /// jsonb datums.
    pub data: Vec<Option<Datum>>,
}

/// Writes the records in their order, and gives their ids.
pub fn append(route: &Route<'_>, columns: &RecordColumns<'_>) -> Vec<i64> {
    let scratch = ScratchContext::enter();
    let role = session::current_role();
    let ids = security_context::as_queue_owner(|| {
        let sequence = relation::of_outbox(c"outbox_id");
        let ids = columns.data.iter().map(|_| next_value(sequence)).collect();
        let ids = append::append(ids, role, route, columns);
        if let Some(first) = ids.iter().min() {
            identity::note_enqueued(*first);
        }
        ids
    });
    scratch.leave();
    if let Some(lowest) = ids.iter().min() {
        wake_at_commit::note_queued(*lowest);
    }
    ids
}
