//! The counters of requests, for the views, and their reset.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::pg_sys::{Oid, panic::ErrorReport};
use pgrx::{name, pg_extern};

use crate::call::stats::{self, Statistics};

/// The counters of each server that the current role may see, in the order of the columns of `sequin.stat_servers`. Without
/// database and server: of the servers for which there was no room.
#[allow(clippy::type_complexity, reason = "they are the columns of the SQL function")]
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn server_statistics() -> TableIterator<
    'static,
    (
        name!(database, Option<Oid>),
        name!(server, Option<Oid>),
        name!(stats_reset, TimestampWithTimeZone),
        name!(calls, Vec<i64>),
        name!(call_waits, Vec<i64>),
        name!(outbox, Vec<i64>),
        name!(outbox_waits, Vec<i64>),
    ),
> {
    let row = |statistics: Statistics| {
        let Statistics { owner, reset_at, calls, outbox, call_waits, outbox_waits } = statistics;
        let (database, server) = owner.map(|(database, server)| (Oid::from(database), Oid::from(server))).unzip();
        let reset_at = TimestampWithTimeZone::try_from(reset_at).expect("the clock shows a time that Postgres has");
        (database, server, reset_at, calls, call_waits, outbox, outbox_waits)
    };
    TableIterator::new(stats::statistics().into_iter().map(row))
}

#[pg_extern(volatile, parallel_unsafe)]
fn sequin_stat_reset() -> Result<(), ErrorReport> {
    stats::reset();
    Ok(())
}
