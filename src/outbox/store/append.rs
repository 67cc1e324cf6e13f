//! Writing records into the queue.
//!
//! Most queues are plain tables, and rows are appended to them without the executor. A queue with a trigger, or with
//! columns of its user's, is written by an INSERT.

use std::convert::Infallible;
use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::outbox::enqueue::{RecordColumns, Route};
use crate::pg::bulk_insert::{RowInserter, random_uuids};
use crate::pg::param::{JsonbDatums, Param};
use crate::pg::spi;
use crate::pg::statement::Statement;
use crate::pg::text::to_text_datum;
use crate::pg::{relation, session};
use contract::reply::Timestamp;

/// The columns of `sequin.queue` with their types.
const COLUMNS: [(&CStr, Oid); 14] = [
    (c"server", pg_sys::TEXTOID),
    (c"id", pg_sys::INT8OID),
    (c"key", pg_sys::UUIDOID),
    (c"role", pg_sys::REGROLEOID),
    (c"kind", pg_sys::TEXTOID),
    (c"sync_id", pg_sys::TEXTOID),
    (c"collection_id", pg_sys::TEXTOID),
    (c"await_consumers", pg_sys::TEXTARRAYOID),
    (c"timeout_ms", pg_sys::INT4OID),
    (c"relation", pg_sys::REGCLASSOID),
    (c"ordering_key", pg_sys::TEXTOID),
    (c"upstream_id", pg_sys::TEXTOID),
    (c"data", pg_sys::JSONBOID),
    (c"enqueued_at", pg_sys::TIMESTAMPTZOID),
];

/// Writes the records in their order, under these ids. Returns the ids that the queue has for them: a trigger of its user
/// may leave records out.
pub fn append(ids: Vec<i64>, role: Oid, route: &Route<'_>, columns: &RecordColumns<'_>) -> Vec<i64> {
    match RowInserter::open(relation::of_outbox(c"queue"), &COLUMNS) {
        Some(queue) => {
            append_rows(queue, &ids, role, route, columns);
            ids
        }
        None => insert(&ids, role, route, columns),
    }
}

fn append_rows(
    mut queue: RowInserter<{ COLUMNS.len() }>,
    ids: &[i64],
    role: Oid,
    route: &Route<'_>,
    columns: &RecordColumns<'_>,
) {
    let text = |text: &str| Some(to_text_datum(text));
    let (server, kind) = (text(route.server), text(route.kind.as_str()));
    let (sync_id, collection_id) = (text(route.sync_id), text(route.collection_id));
    let await_consumers = route.await_consumers.and_then(<&[Option<&str>]>::datum);
    let timeout_ms = route.timeout_ms.map(Datum::from);
    let relation = route.relation.map(Datum::from);
    let now = session::transaction_start();
    for ((row, id), key) in ids.iter().enumerate().zip(random_uuids(ids.len())) {
        queue.append([
            server,
            Some(Datum::from(*id)),
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
    }
    queue.finish();
}

fn insert(ids: &[i64], role: Oid, route: &Route<'_>, columns: &RecordColumns<'_>) -> Vec<i64> {
    type Values<'a> = (
        &'a str,
        Oid,
        &'a str,
        &'a str,
        &'a str,
        Option<&'a [Option<&'a str>]>,
        Option<i32>,
        Option<Oid>,
        Timestamp,
        &'a [i64],
        &'a [Option<&'a str>],
        &'a [Option<&'a str>],
        JsonbDatums<'a>,
    );
    static INSERT: Statement<Values<'static>> = Statement::new(
        "INSERT INTO sequin.queue (server, id, key, role, kind, sync_id, collection_id, await_consumers, timeout_ms, \
         relation, ordering_key, upstream_id, data, enqueued_at) \
         SELECT $1, s.id, pg_catalog.gen_random_uuid(), $2, $3, $4, $5, $6, $7, $8, s.ordering_key, s.upstream_id, s.data, $9 \
         FROM ROWS FROM (pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), pg_catalog.unnest($13)) \
         AS s(id, ordering_key, upstream_id, data) RETURNING id::pg_catalog.int8",
    );
    let values = (
        route.server,
        role,
        route.kind.as_str(),
        route.sync_id,
        route.collection_id,
        route.await_consumers,
        route.timeout_ms,
        route.relation.map(Oid::from),
        Timestamp(session::transaction_start()),
        ids,
        &*columns.ordering_keys,
        &*columns.upstream_ids,
        JsonbDatums(&columns.data),
    );
    let inserted =
        spi::connected(|connection| -> Result<Vec<i64>, Infallible> { Ok(super::ids(INSERT.run(connection, values))) });
    let Ok(inserted) = inserted;
    inserted
}
