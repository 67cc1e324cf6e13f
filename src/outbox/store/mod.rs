//! All SQL of the outbox, one verb a file. Policy is elsewhere: these functions take values and return rows.
//!
//! - [`append`] writes records into the queue;
//! - [`scan`] reads the queue and the deferred records that a worker may send;
//! - [`claim`] stores requests in flight, and ends them;
//! - [`defer`] moves records from the queue to `sequin.deferred`, and [`requeue`] makes deferred records due;
//! - [`archive`] moves settled records to the history, and deletes them after the retention; [`merged`] finds and deletes
//!   the records that such a row stands for;
//! - [`state`] holds pauses and backoffs of servers, [`origin`] the identity of the database;
//! - [`upstream_ids`] holds the ids that are to be written into rows of attached tables;
//! - [`counts`] counts open records;
//! - [`row`] finds single records by their ids.

/// The servers that records in the queue name, each found by one step in the index, which begins with the server. With
/// these in front, a query finds a record by its id.
macro_rules! named_servers {
    () => {
        "WITH RECURSIVE named(server) AS ( \
           (SELECT q.server FROM sequin.queue q ORDER BY q.server, q.id LIMIT 1) UNION ALL \
           (SELECT (SELECT q.server FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.>) n.server \
                    ORDER BY q.server, q.id LIMIT 1) FROM named n WHERE n.server IS NOT NULL)) "
    };
}

/// The place of a row, found by its server and its id: `$1` and `s.id`. The LIMIT keeps the planner from any other plan.
macro_rules! row_by_id {
    ($table:literal) => {
        concat!(
            "SELECT k.ctid AS place FROM ",
            $table,
            " k WHERE k.server OPERATOR(pg_catalog.=) $1 AND k.id OPERATOR(pg_catalog.=) s.id LIMIT 1"
        )
    };
}

/// The hash of an ordering key, as the indexes have it: a key may be longer than an index entry.
macro_rules! key_hash {
    ($key:literal) => {
        concat!("pg_catalog.hashtextextended(", $key, " COLLATE pg_catalog.\"C\", 0)")
    };
}

/// Whether the ordering key of `$row` is in the array `$keys`. The hashes come first, for the index.
macro_rules! has_key_of {
    ($row:literal, $keys:literal) => {
        concat!(
            key_hash!($row),
            " OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT ",
            key_hash!("wanted.key"),
            " FROM pg_catalog.unnest(",
            $keys,
            ") AS wanted(key))) AND ",
            $row,
            " OPERATOR(pg_catalog.=) ANY (",
            $keys,
            ")"
        )
    };
}

/// Whether two ordering keys are equal. Their hashes come first, for the index.
macro_rules! same_key {
    ($one:literal, $other:literal) => {
        concat!(
            key_hash!($one),
            " OPERATOR(pg_catalog.=) ",
            key_hash!($other),
            " AND ",
            $one,
            " OPERATOR(pg_catalog.=) ",
            $other
        )
    };
}

pub mod append;
pub mod archive;
pub mod claim;
pub mod counts;
pub mod defer;
pub mod merged;
pub mod origin;
pub mod requeue;
pub mod row;
pub mod scan;
pub mod state;
pub mod upstream_ids;

use std::time::Duration;

use contract::reply::Timestamp;

use crate::pg::session;
use crate::pg::spi::QueryRows;

/// The time of a record that is not sent by itself.
pub const NEVER: Timestamp = Timestamp(i64::MAX);

/// The time after `delay`.
pub fn after(delay: Duration) -> Timestamp {
    let micros = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
    Timestamp(session::now().saturating_add(micros))
}

/// The bigints of a query's only column.
fn ids(rows: QueryRows<'_>) -> Vec<i64> {
    let ids = rows.iter::<(i64,)>().map(|(id,)| id).collect();
    rows.free();
    ids
}

/// The remaining time, given in milliseconds; zero for a time in the past.
fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
