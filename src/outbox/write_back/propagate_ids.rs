//! Giving upstream ids to the changes that were queued before their row had one.
//!
//! Another worker may move such a change from the queue to the parked ones in the same moment. It moves that way only,
//! and so the two are written one after the other: each statement sees what was committed before it began.

use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};

/// The changes of one table's rows up to the first delete that does not know what it deletes: what it leaves behind is
/// another row.
macro_rules! without_id {
    ($table:literal) => {
        concat!(
            "SELECT q.id, q.server, c.id AS created, c.upstream_id FROM sequin.pending_upstream_ids c JOIN ",
            $table,
            " q ON q.relation OPERATOR(pg_catalog.=) c.relation AND ",
            same_key!("q.ordering_key", "c.ordering_key"),
            " AND q.upstream_id IS NULL ",
            "AND q.kind OPERATOR(pg_catalog.<>) 'create' AND q.id OPERATOR(pg_catalog.>) c.id ",
            "WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)",
            without_id!(no delete in "sequin.queue"),
            without_id!(no delete in "sequin.deferred")
        )
    };
    (no delete in $table:literal) => {
        concat!(
            " AND NOT EXISTS (SELECT FROM ",
            $table,
            " d WHERE d.relation OPERATOR(pg_catalog.=) c.relation AND ",
            same_key!("d.ordering_key", "c.ordering_key"),
            " AND d.upstream_id IS NULL ",
            "AND d.kind OPERATOR(pg_catalog.=) 'delete' AND d.id OPERATOR(pg_catalog.>) c.id ",
            "AND d.id OPERATOR(pg_catalog.<) q.id)"
        )
    };
}

static FIND: Statement = Statement::new(concat!(
    "SELECT DISTINCT ON (t.id) t.id, t.server, t.upstream_id FROM (",
    without_id!("sequin.queue"),
    " UNION ALL ",
    without_id!("sequin.deferred"),
    ") t ORDER BY t.id, t.created DESC"
));

static TELL_QUEUED: Statement = Statement::new(
    "UPDATE sequin.queue q SET upstream_id = t.upstream_id \
     FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS t(id, server, upstream_id) \
     WHERE q.server OPERATOR(pg_catalog.=) t.server AND q.id OPERATOR(pg_catalog.=) t.id AND q.upstream_id IS NULL",
);

static TELL_PARKED: Statement = Statement::new(
    "UPDATE sequin.deferred p SET upstream_id = t.upstream_id \
     FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS t(id, upstream_id) \
     WHERE p.id OPERATOR(pg_catalog.=) t.id AND p.upstream_id IS NULL",
);

/// Tells the changes of the rows of these creates, which are in `sequin.pending_upstream_ids`.
pub fn tell(connection: &Connection, creates: &[i64]) {
    let found = FIND.run(connection, &[Value::Int8s(creates)]);
    let (mut ids, mut servers, mut upstream_ids) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..found.len() {
        ids.extend(found.int8(row, 1));
        servers.push(found.text(row, 2));
        upstream_ids.push(found.text(row, 3));
    }
    found.free();
    if ids.is_empty() {
        return;
    }
    let servers: Vec<Option<&str>> = servers.iter().map(Option::as_deref).collect();
    let upstream_ids: Vec<Option<&str>> = upstream_ids.iter().map(Option::as_deref).collect();
    let values = [Value::Int8s(&ids), Value::Texts(&servers), Value::Texts(&upstream_ids)];
    TELL_QUEUED.run(connection, &values).free();
    TELL_PARKED.run(connection, &[Value::Int8s(&ids), Value::Texts(&upstream_ids)]).free();
}
