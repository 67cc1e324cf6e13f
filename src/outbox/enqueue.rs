//! Writing records into the queue, as part of the caller's transaction.
//!
//! The records are read and converted with the caller's rights; only the writing is done as the owner of the queue,
//! which the caller may not touch. The statement that does it calls nothing but functions of pg_catalog.

use pgrx::pg_sys::Datum;

use crate::mutation::kind::Kind;
use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use crate::pg::{commit, relation, session};

/// What records that are enqueued together have in common.
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
pub struct Columns<'a> {
    pub ordering_keys: Vec<Option<&'a str>>,
    pub upstream_ids: Vec<Option<&'a str>>,
    /// jsonb datums.
    pub data: Vec<Option<Datum>>,
}

static INSERT: Statement = Statement::new(
    "INSERT INTO sequin.queue (server, id, key, role, kind, sync_id, collection_id, await_consumers, timeout_ms, \
     relation, ordering_key, upstream_id, data, enqueued_at) \
     SELECT $1, pg_catalog.nextval('sequin.outbox_id'), pg_catalog.gen_random_uuid(), $2, $3, $4, $5, $6, $7, \
     $8, r.ordering_key, r.upstream_id, r.data, pg_catalog.now() \
     FROM ROWS FROM (pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11)) \
     AS r(ordering_key, upstream_id, data) RETURNING id",
);

/// Writes the records, in their order, and gives their ids.
pub fn append(connection: &Connection, route: &Route<'_>, columns: &Columns<'_>) -> Vec<i64> {
    let role = session::current_role().to_u32();
    let values = [
        Value::Text(Some(route.server)),
        Value::Oid(role),
        Value::Text(Some(route.kind.as_str())),
        Value::Text(Some(route.sync_id)),
        Value::Text(Some(route.collection_id)),
        route.await_consumers.map_or(Value::NoTexts, Value::Texts),
        Value::Int4(route.timeout_ms),
        route.relation.map_or(Value::NoOid, Value::Oid),
        Value::Texts(&columns.ordering_keys),
        Value::Texts(&columns.upstream_ids),
        Value::JsonbDatums(&columns.data),
    ];
    let written = session::acting_as(relation::owner_of_queue(), || INSERT.run(connection, &values));
    let ids: Vec<i64> = (0..written.len()).filter_map(|row| written.int8(row, 1)).collect();
    written.free();
    if let Some(lowest) = ids.first() {
        commit::note_queued(*lowest);
    }
    ids
}
