//! Moving what is done from the queue to the history.
//!
//! This is most of what a delivered record costs, so the rows are taken out along the index, and appended as COPY does
//! it, their values as they are.

use pgrx::pg_sys::Datum;

use crate::pg::bulk_delete::delete_by_ids;
use crate::pg::bulk_insert::RowInserter;
use crate::pg::memory_context::ScratchContext;
use crate::pg::spi::{Connection, QueryRows};
use crate::pg::statement::{Statement, Value};
use crate::pg::text::{is_text, to_text_datum};
use crate::pg::{relation, session};
use contract::kind::Kind;

use crate::outbox::guard::guarded;

/// The columns of `sequin.queue`, of which `sequin.deferred` and `sequin.history` have more.
const COLUMNS: usize = 14;

/// The places among them of the kind, the upstream id and the data.
const KIND: usize = 4;
const UPSTREAM_ID: usize = 11;
const DATA: usize = 12;

/// What [`take`] has left: a row that somebody else has changed at that moment is found as it is now.
static TAKE: Statement = Statement::new(
    "DELETE FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.=) ANY ($2) \
     RETURNING q.*",
);

static TAKE_PARKED: Statement = Statement::new(
    "DELETE FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) ANY ($1) RETURNING p.server, p.id, p.key, p.role, \
     p.kind, p.sync_id, p.collection_id, p.await_consumers, p.timeout_ms, p.relation, p.ordering_key, p.upstream_id, \
     p.data, p.enqueued_at",
);

/// Without the data; and without any text, of which one may be damaged, if `$3` is false.
macro_rules! move_in_part {
    ($from:literal) => {
        concat!(
            "WITH gone AS (DELETE FROM ",
            $from,
            " g WHERE g.server OPERATOR(pg_catalog.=) $1 AND g.id OPERATOR(pg_catalog.=) $2 RETURNING g.id, g.key, g.role, \
             g.kind, g.sync_id, g.collection_id, g.relation, g.ordering_key, g.upstream_id, g.enqueued_at) \
             INSERT INTO sequin.history (server, id, key, role, kind, sync_id, collection_id, relation, ordering_key, \
             upstream_id, enqueued_at, delivered_at, outcome) SELECT $1, g.id, g.key, g.role, g.kind, \
             CASE WHEN $3 THEN g.sync_id ELSE '' END, CASE WHEN $3 THEN g.collection_id ELSE '' END, g.relation, \
             CASE WHEN $3 THEN g.ordering_key END, COALESCE($4, CASE WHEN $3 THEN g.upstream_id END), g.enqueued_at, \
             pg_catalog.clock_timestamp(), $5 FROM gone g"
        )
    };
}

static MOVE_IN_PART: Statement = Statement::new(move_in_part!("sequin.queue"));
static MOVE_PARKED_IN_PART: Statement = Statement::new(move_in_part!("sequin.deferred"));

/// A record that is done.
pub struct Finished<'a> {
    pub id: i64,
    pub outcome: &'a str,
    /// If it is known now and was not before.
    pub upstream_id: Option<&'a str>,
    /// The record of the reply, JSON text.
    pub record: Option<&'a str>,
    /// The record that it was sent as a part of.
    pub sent_with: Option<i64>,
}

/// Moves the records of a server to the history. Those that are not there any more are left out.
pub fn finish(connection: &Connection, server: &str, mut finished: Vec<Finished<'_>>) {
    if finished.is_empty() {
        return;
    }
    finished.sort_unstable_by_key(|finished| finished.id);
    let ids: Vec<i64> = finished.iter().map(|finished| finished.id).collect();
    let scratch = ScratchContext::enter();
    let table = RowInserter::open(relation::of_outbox(c"history"));
    let mut history = History { table, now: session::now(), finished: &finished };
    let left = delete_by_ids(relation::of_outbox(c"queue"), server, &ids, |id, columns| history.append(id, columns));
    let mut taken = Vec::new();
    if !left.is_empty() {
        let parked = TAKE_PARKED.run(connection, &[Value::Int8s(&left)]);
        if parked.len() < left.len() {
            taken.push(TAKE.run(connection, &[Value::Text(Some(server)), Value::Int8s(&left)]));
        }
        taken.push(parked);
    }
    for rows in &taken {
        for row in 0..rows.len() {
            history.append(rows.int8(row, 2).unwrap_or_default(), rows.columns(row));
        }
    }
    // It still reads what was taken.
    history.table.finish();
    taken.into_iter().for_each(QueryRows::free);
    scratch.leave();
}

/// Moves one record that [`finish`] has failed with to the history, with as much of it as the history takes. False if
/// that is nothing.
pub fn finish_in_part(connection: &Connection, server: &str, finished: &Finished<'_>) -> bool {
    [true, false].into_iter().any(|keeps_texts| {
        let values = [
            Value::Text(Some(server)),
            Value::Int8(finished.id),
            Value::Bool(keeps_texts),
            Value::Text(finished.upstream_id),
            Value::Text(Some(finished.outcome)),
        ];
        guarded(|| {
            MOVE_IN_PART.run(connection, &values).free();
            MOVE_PARKED_IN_PART.run(connection, &values).free();
        })
        .is_ok()
    })
}

struct History<'a> {
    table: RowInserter,
    now: i64,
    /// By id.
    finished: &'a [Finished<'a>],
}

impl History<'_> {
    fn append(&mut self, id: i64, mut columns: [Option<Datum>; COLUMNS]) {
        let Ok(place) = self.finished.binary_search_by_key(&id, |finished| finished.id) else { return };
        let finished = &self.finished[place];
        if let Some(upstream_id) = finished.upstream_id {
            columns[UPSTREAM_ID] = Some(to_text_datum(upstream_id));
        }
        // The fields of a row that was deleted are not kept for longer than the delete takes.
        if columns[KIND].is_some_and(|kind| is_text(kind, Kind::Delete.as_str())) {
            columns[DATA] = None;
        }
        let mut all = [None; COLUMNS + 4];
        all[..COLUMNS].copy_from_slice(&columns);
        all[COLUMNS] = Some(Datum::from(self.now));
        all[COLUMNS + 1] = Some(to_text_datum(finished.outcome));
        all[COLUMNS + 2] = finished.sent_with.map(Datum::from);
        // A json is stored as its text is, and this text was read as JSON already.
        all[COLUMNS + 3] = finished.record.map(to_text_datum);
        self.table.append(all);
    }
}
