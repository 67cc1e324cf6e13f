//! Moving settled records to the history, and deleting them after the retention.
//!
//! This is most of the cost of a delivered record. So rows are deleted along the index, and appended as COPY does it, with
//! their values as they are.

use std::ffi::CStr;

use pgrx::pg_sys::Datum;

use crate::outbox::disposition::SettledAs;
use crate::outbox::guard::guarded;
use crate::outbox::store::QUEUE_COLUMNS;
use crate::pg::bulk_delete::delete_by_ids;
use crate::pg::bulk_insert::RowInserter;
use crate::pg::memory_context::ScratchContext;
use crate::pg::spi::{Connection, QueryRows};
use crate::pg::statement::Statement;
use crate::pg::text::{is_text, to_text_datum};
use crate::pg::{relation, session};
use contract::kind::Kind;
use contract::reply::Timestamp;

/// The columns of the history alone.
const ADDED: [&CStr; 4] = [c"delivered_at", c"outcome", c"sent_with", c"record"];

/// Places in [`QUEUE_COLUMNS`], which the history takes over.
const KIND: usize = 4;
const UPSTREAM_ID: usize = 11;
const DATA: usize = 12;

/// The columns of [`QUEUE_COLUMNS`], of a row with the alias `$row`.
macro_rules! kept {
    ($row:literal) => {
        concat!(
            $row,
            ".server, ",
            $row,
            ".id, ",
            $row,
            ".key, ",
            $row,
            ".role, ",
            $row,
            ".kind, ",
            $row,
            ".sync_id, ",
            $row,
            ".collection_id, ",
            $row,
            ".await_consumers, ",
            $row,
            ".timeout_ms, ",
            $row,
            ".relation, ",
            $row,
            ".ordering_key, ",
            $row,
            ".upstream_id, ",
            $row,
            ".data, ",
            $row,
            ".enqueued_at"
        )
    };
}

/// A settled record.
pub struct Settled<'a> {
    pub id: i64,
    pub settled_as: SettledAs,
    /// None: as it was enqueued.
    pub upstream_id: Option<&'a str>,
    /// The record of the reply, JSON text.
    pub record: Option<&'a str>,
    /// The record that it was merged into.
    pub sent_with: Option<i64>,
}

impl<'a> Settled<'a> {
    /// A record that was settled without a reply.
    pub fn without_reply(id: i64, settled_as: SettledAs) -> Settled<'a> {
        Settled { id, settled_as, upstream_id: None, record: None, sent_with: None }
    }
}

/// Moves records of a server to the history. Skips records that no longer exist.
pub fn archive(connection: &Connection, server: &str, mut settled: Vec<Settled<'_>>) {
    /// Finds a queued row that [`delete_by_ids`] has left because another transaction was changing it.
    static TAKE_QUEUED: Statement<(&str, &[i64])> = Statement::new(concat!(
        "DELETE FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 AND q.id OPERATOR(pg_catalog.=) ANY ($2) \
         RETURNING ",
        kept!("q"),
    ));
    static TAKE_DEFERRED: Statement<(&[i64],)> = Statement::new(concat!(
        "DELETE FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) ANY ($1) RETURNING ",
        kept!("p"),
    ));
    if settled.is_empty() {
        return;
    }
    settled.sort_unstable_by_key(|settled| settled.id);
    let ids: Vec<i64> = settled.iter().map(|settled| settled.id).collect();
    let scratch = ScratchContext::enter();
    let table = RowInserter::open(relation::of_outbox(c"history"), &history_columns());
    let mut history = History { table, now: session::now(), settled: &settled };
    let left =
        delete_by_ids(relation::of_outbox(c"queue"), server, &ids, &QUEUE_COLUMNS, |id, row| history.append(id, row));
    let mut taken = Vec::new();
    if !left.is_empty() {
        let deferred = TAKE_DEFERRED.run(connection, (&left,));
        if deferred.len() < left.len() {
            taken.push(TAKE_QUEUED.run(connection, (server, &left)));
        }
        taken.push(deferred);
    }
    for rows in &taken {
        for row in 0..rows.len() {
            let columns: [Option<Datum>; QUEUE_COLUMNS.len()] = rows.columns(row);
            let id = columns[1].expect("id is NOT NULL").value() as i64;
            history.append(id, columns);
        }
    }
    // The insertion still reads the deleted rows.
    history.table.finish();
    taken.into_iter().for_each(QueryRows::free);
    scratch.leave();
}

fn history_columns() -> [&'static CStr; QUEUE_COLUMNS.len() + ADDED.len()] {
    std::array::from_fn(|place| {
        if place < QUEUE_COLUMNS.len() { QUEUE_COLUMNS[place] } else { ADDED[place - QUEUE_COLUMNS.len()] }
    })
}

struct History<'a> {
    table: RowInserter<{ QUEUE_COLUMNS.len() + ADDED.len() }>,
    now: i64,
    /// By id.
    settled: &'a [Settled<'a>],
}

impl History<'_> {
    fn append(&mut self, id: i64, mut kept: [Option<Datum>; QUEUE_COLUMNS.len()]) {
        let Ok(place) = self.settled.binary_search_by_key(&id, |settled| settled.id) else { return };
        let settled = &self.settled[place];
        if let Some(upstream_id) = settled.upstream_id {
            kept[UPSTREAM_ID] = Some(to_text_datum(upstream_id));
        }
        // A delete holds digests of the row's fields until it is sent, and no longer.
        if kept[KIND].is_some_and(|kind| is_text(kind, Kind::Delete.as_str())) {
            kept[DATA] = None;
        }
        let mut row = [None; QUEUE_COLUMNS.len() + ADDED.len()];
        row[..QUEUE_COLUMNS.len()].copy_from_slice(&kept);
        row[QUEUE_COLUMNS.len()..].copy_from_slice(&[
            Some(Datum::from(self.now)),
            Some(to_text_datum(settled.settled_as.as_str())),
            settled.sent_with.map(Datum::from),
            // A json is stored as its text, and this text was parsed as JSON already.
            settled.record.map(to_text_datum),
        ]);
        self.table.append(row);
    }
}

/// Without the data, and if `$3` is false without any text: a text may be damaged.
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

/// Moves one record that [`archive`] has failed with to the history, with as much of it as the history accepts. Returns
/// false if the history accepts nothing.
pub fn archive_in_part(connection: &Connection, server: &str, settled: &Settled<'_>) -> bool {
    static QUEUED: Statement<(&str, i64, bool, Option<&str>, &str)> = Statement::new(move_in_part!("sequin.queue"));
    static DEFERRED: Statement<(&str, i64, bool, Option<&str>, &str)> =
        Statement::new(move_in_part!("sequin.deferred"));
    [true, false].into_iter().any(|keeps_texts| {
        let values = (server, settled.id, keeps_texts, settled.upstream_id, settled.settled_as.as_str());
        guarded(|| {
            QUEUED.run(connection, values).free();
            DEFERRED.run(connection, values).free();
        })
        .is_ok()
    })
}

/// Deletes records from the history that were settled from `from` to before `until`. Gives their number.
pub fn delete_old(connection: &Connection, from: Timestamp, until: Timestamp, most: usize) -> usize {
    static DELETE: Statement<(Timestamp, Timestamp, i64)> = Statement::new(
        "DELETE FROM sequin.history h WHERE h.ctid OPERATOR(pg_catalog.=) ANY (ARRAY( \
         SELECT o.ctid FROM sequin.history o WHERE o.delivered_at OPERATOR(pg_catalog.>=) $1 \
         AND o.delivered_at OPERATOR(pg_catalog.<) $2 ORDER BY o.delivered_at LIMIT $3)) RETURNING 1",
    );
    DELETE.run(connection, (from, until, most as i64)).len()
}

/// The records that [`delete_old`] deletes.
pub fn old(connection: &Connection, from: Timestamp, until: Timestamp, most: usize) -> Vec<i64> {
    static OLD: Statement<(Timestamp, Timestamp, i64)> = Statement::new(
        "SELECT o.id FROM sequin.history o WHERE o.delivered_at OPERATOR(pg_catalog.>=) $1 \
         AND o.delivered_at OPERATOR(pg_catalog.<) $2 ORDER BY o.delivered_at LIMIT $3",
    );
    super::ids(OLD.run(connection, (from, until, most as i64)))
}

/// Deletes records from the history.
pub fn delete(connection: &Connection, ids: &[i64]) {
    static DELETE: Statement<(&[i64],)> =
        Statement::new("DELETE FROM sequin.history h WHERE h.id OPERATOR(pg_catalog.=) ANY ($1)");
    DELETE.run(connection, (ids,)).free();
}
