//! Moving settled records to the history, and deleting them after the retention.
//!
//! A record and the records that were merged into it become one row: one request stood for all of them. The statements
//! fire the triggers of the tables, so a copy that triggers keep stays equal. A trigger may also keep a row where it is.
//! That is an error here: the record would be sent again.

use std::collections::HashSet;

use crate::outbox::disposition::SettledAs;
use crate::outbox::guard::guarded;
use crate::outbox::store::{self, merged};
use crate::pg::memory_context::ScratchContext;
use crate::pg::param::{JsonArray, JsonbArray};
use crate::pg::session;
use crate::pg::spi::Connection;
use crate::pg::statement::Statement;
use contract::reply::Timestamp;

/// A settled record.
pub struct Settled<'a> {
    pub id: i64,
    pub settled_as: SettledAs,
    /// None: as it was enqueued.
    pub upstream_id: Option<&'a str>,
    /// The fields that were sent, JSON text. None: as they were enqueued.
    pub data: Option<&'a str>,
    /// The record of the reply, JSON text.
    pub record: Option<&'a str>,
    /// The ids of the records that were merged into it, which rise.
    pub merged: &'a [i64],
}

impl<'a> Settled<'a> {
    /// A record that was settled without a reply.
    pub fn without_reply(id: i64, settled_as: SettledAs) -> Settled<'a> {
        Settled { id, settled_as, upstream_id: None, data: None, record: None, merged: &[] }
    }
}

/// The parameters of [`move_from`], of which the arrays from the second to the ninth have an element for each record.
type Values<'a> = (
    &'a str,
    &'a [i64],
    &'a [&'a str],
    &'a [Option<&'a str>],
    JsonArray<'a>,
    JsonbArray<'a>,
    &'a [i64],
    &'a [i64],
    &'a [i64],
    &'a [i64],
    Timestamp,
);

/// Moves rows of one table. `$merged` are the ids that the row of the table stands for already.
///
/// Each row is found by its key and deleted by its place, whatever the planner believes about the size of the table: a
/// plan made while the table was empty would read the whole table later.
///
/// A delete holds digests of the row's fields until it is sent, and no longer.
macro_rules! move_from {
    ($table:literal, $merged:literal) => {
        concat!(
            "WITH gone AS (DELETE FROM ",
            $table,
            " q USING (SELECT s.id, s.outcome, s.upstream_id, s.record, s.data, s.first, s.low, s.high, t.place \
               FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
               pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9)) \
               AS s(id, outcome, upstream_id, record, data, first, low, high), LATERAL (",
            row_by_id!($table),
            ") t) s WHERE q.ctid OPERATOR(pg_catalog.=) s.place \
               RETURNING q.server, q.id, q.key, q.role, q.kind, q.sync_id, q.collection_id, q.await_consumers, q.timeout_ms, \
               q.relation, q.ordering_key, COALESCE(s.upstream_id, q.upstream_id) AS upstream_id, \
               CASE WHEN q.kind OPERATOR(pg_catalog.<>) 'delete' THEN COALESCE(s.data, q.data) END AS data, \
               LEAST(q.enqueued_at, CASE WHEN s.first OPERATOR(pg_catalog.<>) s.id THEN COALESCE( \
                 (SELECT f.enqueued_at FROM sequin.queue f WHERE f.server OPERATOR(pg_catalog.=) $1 \
                  AND f.id OPERATOR(pg_catalog.=) s.first), \
                 (SELECT f.enqueued_at FROM sequin.deferred f WHERE f.id OPERATOR(pg_catalog.=) s.first)) END) AS enqueued_at, \
               s.outcome, CASE WHEN s.low OPERATOR(pg_catalog.<=) s.high \
                 THEN ($10)[s.low::pg_catalog.int4:s.high::pg_catalog.int4] ELSE ",
            $merged,
            " END AS merged_ids, s.record), \
             kept AS (INSERT INTO sequin.history (server, id, key, role, kind, sync_id, collection_id, await_consumers, \
               timeout_ms, relation, ordering_key, upstream_id, data, enqueued_at, delivered_at, outcome, merged_ids, record) \
               SELECT g.server, g.id, g.key, g.role, g.kind, g.sync_id, g.collection_id, g.await_consumers, g.timeout_ms, \
               g.relation, g.ordering_key, g.upstream_id, g.data, g.enqueued_at, $11, g.outcome, g.merged_ids, g.record \
               FROM gone g) \
             SELECT g.id FROM gone g"
        )
    };
}

/// Moves records of a server to the history. Skips records that no longer exist.
pub fn archive(connection: &Connection, server: &str, mut settled: Vec<Settled<'_>>) {
    static QUEUED: Statement<Values<'static>> = Statement::new(move_from!("sequin.queue", "NULL::pg_catalog.int8[]"));
    static DEFERRED: Statement<Values<'static>> = Statement::new(move_from!("sequin.deferred", "q.merged_ids"));
    if settled.is_empty() {
        return;
    }
    settled.sort_unstable_by_key(|settled| settled.id);
    let mut stood_for = Vec::new();
    let mut left: Vec<&Settled<'_>> = settled.iter().collect();
    // Another transaction may move a record to the deferred ones in the meantime, and never back. A row that it only
    // changes is found by the second round.
    for statement in [&QUEUED, &DEFERRED, &QUEUED, &DEFERRED] {
        if left.is_empty() {
            break;
        }
        let moved = move_from(connection, statement, server, &left);
        left.retain(|settled| {
            let is_moved = moved.contains(&settled.id);
            if is_moved {
                stood_for.extend(settled.merged);
            }
            !is_moved
        });
    }
    merged::delete(connection, server, stood_for);
    if !left.is_empty() {
        merged::check_gone(connection, server, &left.iter().map(|settled| settled.id).collect::<Vec<_>>());
        // Records whose head no longer exists are kept by themselves.
        let alone = |settled: &&Settled<'_>| {
            let settled_as = settled.settled_as;
            settled.merged.iter().map(move |id| Settled::without_reply(*id, settled_as)).collect::<Vec<_>>()
        };
        archive(connection, server, left.iter().flat_map(alone).collect());
    }
}

/// Moves records to the history. Returns the ids of those that the statement's table had.
fn move_from(
    connection: &Connection,
    statement: &Statement<Values<'static>>,
    server: &str,
    settled: &[&Settled<'_>],
) -> HashSet<i64> {
    let scratch = ScratchContext::enter();
    let ids: Vec<i64> = settled.iter().map(|settled| settled.id).collect();
    let outcomes: Vec<&str> = settled.iter().map(|settled| settled.settled_as.as_str()).collect();
    let upstream_ids: Vec<Option<&str>> = settled.iter().map(|settled| settled.upstream_id).collect();
    let records: Vec<Option<&str>> = settled.iter().map(|settled| settled.record).collect();
    let data: Vec<Option<&str>> = settled.iter().map(|settled| settled.data).collect();
    let first = |settled: &&Settled<'_>| settled.merged.first().map_or(settled.id, |merged| settled.id.min(*merged));
    let firsts: Vec<i64> = settled.iter().map(first).collect();
    // All merged ids in one array, and the part of each record.
    let (mut merged, mut lows, mut highs) = (Vec::new(), Vec::new(), Vec::new());
    for settled in settled {
        lows.push(merged.len() as i64 + 1);
        merged.extend(settled.merged);
        highs.push(merged.len() as i64);
    }
    let values = (
        server,
        &*ids,
        &*outcomes,
        &*upstream_ids,
        JsonArray(&records),
        JsonbArray(&data),
        &*firsts,
        &*lows,
        &*highs,
        &*merged,
        Timestamp(session::now()),
    );
    let moved = store::ids(statement.run(connection, values)).into_iter().collect();
    scratch.leave();
    moved
}

/// Without the data, and if `$3` is false without any text: a text may be damaged.
macro_rules! move_in_part {
    ($from:literal, $merged:literal) => {
        concat!(
            "WITH gone AS (DELETE FROM ",
            $from,
            " g WHERE g.server OPERATOR(pg_catalog.=) $1 AND g.id OPERATOR(pg_catalog.=) $2 RETURNING g.id, g.key, g.role, \
             g.kind, g.sync_id, g.collection_id, g.relation, g.ordering_key, g.upstream_id, g.enqueued_at, \
             COALESCE($6, ",
            $merged,
            ") AS merged_ids) \
             INSERT INTO sequin.history (server, id, key, role, kind, sync_id, collection_id, relation, ordering_key, \
             upstream_id, enqueued_at, delivered_at, outcome, merged_ids) SELECT $1, g.id, g.key, g.role, g.kind, \
             CASE WHEN $3 THEN g.sync_id ELSE '' END, CASE WHEN $3 THEN g.collection_id ELSE '' END, g.relation, \
             CASE WHEN $3 THEN g.ordering_key END, COALESCE($4, CASE WHEN $3 THEN g.upstream_id END), g.enqueued_at, \
             pg_catalog.clock_timestamp(), $5, g.merged_ids FROM gone g"
        )
    };
}

/// Moves one record that [`archive`] has failed with to the history, with as much of it as the history accepts. Returns
/// false if the history accepts nothing.
pub fn archive_in_part(connection: &Connection, server: &str, settled: &Settled<'_>) -> bool {
    type Parts = (&'static str, i64, bool, Option<&'static str>, &'static str, Option<&'static [i64]>);
    static QUEUED: Statement<Parts> = Statement::new(move_in_part!("sequin.queue", "NULL::pg_catalog.int8[]"));
    static DEFERRED: Statement<Parts> = Statement::new(move_in_part!("sequin.deferred", "g.merged_ids"));
    let Settled { id, settled_as, upstream_id, merged, .. } = settled;
    let merged_ids = (!merged.is_empty()).then_some(*merged);
    [true, false].into_iter().any(|keeps_texts| {
        let values = (server, *id, keeps_texts, *upstream_id, settled_as.as_str(), merged_ids);
        guarded(|| {
            QUEUED.run(connection, values).free();
            DEFERRED.run(connection, values).free();
            merged::delete(connection, server, merged.to_vec());
            merged::check_gone(connection, server, &[*id]);
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
