//! Writing records into the queue, as part of the caller's transaction.
//!
//! The caller's rights apply while records are read and converted. Only the rows are written as the owner of the queue, and
//! no code of other roles runs then.

use pgrx::pg_sys::Datum;

use crate::pg::bulk_insert::{RowInserter, next_value, random_uuids};
use crate::pg::memory_context::ScratchContext;
use crate::pg::param::Param;
use crate::pg::text::to_text_datum;
use crate::pg::{relation, security_context, session};
use contract::kind::Kind;

use super::store::QUEUE_COLUMNS;
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

/// Writes the records in their order, and gives their ids. The CHECK constraint of the queue holds without being evaluated:
/// the kind is a [`Kind`].
pub fn append(route: &Route<'_>, columns: &RecordColumns<'_>) -> Vec<i64> {
    let count = columns.data.len();
    let scratch = ScratchContext::enter();
    let role = session::current_role();
    let text = |text: &str| Some(to_text_datum(text));
    let (server, kind) = (text(route.server), text(route.kind.as_str()));
    let (sync_id, collection_id) = (text(route.sync_id), text(route.collection_id));
    let await_consumers = route.await_consumers.and_then(<&[Option<&str>]>::datum);
    let timeout_ms = route.timeout_ms.map(Datum::from);
    let relation = route.relation.map(Datum::from);
    let ids = security_context::as_queue_owner(|| {
        let sequence = relation::of_outbox(c"outbox_id");
        let now = session::transaction_start();
        let mut queue = RowInserter::open(relation::of_outbox(c"queue"), &QUEUE_COLUMNS);
        let mut ids = Vec::with_capacity(count);
        for (row, key) in random_uuids(count).into_iter().enumerate() {
            let id = next_value(sequence);
            queue.append([
                server,
                Some(Datum::from(id)),
                Some(key),
                Some(Datum::from(role)),
                kind,
                sync_id,
                collection_id,
                await_consumers,
                timeout_ms,
                relation,
                columns.ordering_keys[row].map(to_text_datum),
                columns.upstream_ids[row].map(to_text_datum),
                columns.data[row],
                Some(Datum::from(now)),
            ]);
            ids.push(id);
        }
        queue.finish();
        if let Some(first) = ids.first() {
            identity::note_enqueued(*first);
        }
        ids
    });
    scratch.leave();
    if let Some(lowest) = ids.first() {
        wake_at_commit::note_queued(*lowest);
    }
    ids
}
