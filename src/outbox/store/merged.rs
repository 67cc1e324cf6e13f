//! Records that were merged into another record, whose row stands for them.

use pgrx::pg_sys::Oid;

use crate::outbox::store;
use crate::pg::elog;
use crate::pg::spi::Connection;
use crate::pg::statement::Statement;

/// Deletes merged records. Their ids are in the history already.
pub fn delete(connection: &Connection, server: &str, mut ids: Vec<i64>) {
    static QUEUED: Statement<(&str, &[i64], &[i64])> = Statement::new(
        "DELETE FROM sequin.queue q WHERE q.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT t.place \
         FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS s(low, high), \
         LATERAL (SELECT k.ctid AS place FROM sequin.queue k WHERE k.server OPERATOR(pg_catalog.=) $1 \
         AND k.id OPERATOR(pg_catalog.>=) s.low AND k.id OPERATOR(pg_catalog.<=) s.high OFFSET 0) t))",
    );
    static DEFERRED: Statement<(&str, &[i64])> = Statement::new(concat!(
        "DELETE FROM sequin.deferred q WHERE q.ctid OPERATOR(pg_catalog.=) ANY (ARRAY( \
         SELECT t.place FROM pg_catalog.unnest($2) AS s(id), LATERAL (",
        row_by_id!("sequin.deferred"),
        ") t))",
    ));
    if ids.is_empty() {
        return;
    }
    ids.sort_unstable();
    // Changes of one key often stand side by side: one descent of the index finds all of them.
    let runs = || ids.chunk_by(|one, next| one + 1 == *next);
    let lows: Vec<i64> = runs().map(|run| run[0]).collect();
    let highs: Vec<i64> = runs().map(|run| run[run.len() - 1]).collect();
    let mut deleted = 0;
    // The second round finds a row that another transaction has changed in the meantime.
    for _ in 0..2 {
        deleted += QUEUED.run(connection, (server, &lows, &highs)).changed();
        if deleted < ids.len() {
            deleted += DEFERRED.run(connection, (server, &ids)).changed();
        }
        if deleted == ids.len() {
            return;
        }
    }
    check_gone(connection, server, &ids);
}

/// Raises an error if a record is still queued or deferred.
pub fn check_gone(connection: &Connection, server: &str, ids: &[i64]) {
    static LEFT: Statement<(&str, &[i64])> = Statement::new(concat!(
        "SELECT s.id FROM pg_catalog.unnest($2) AS s(id), LATERAL (",
        row_by_id!("sequin.queue"),
        ") t UNION ALL SELECT s.id FROM pg_catalog.unnest($2) AS s(id), LATERAL (",
        row_by_id!("sequin.deferred"),
        ") t",
    ));
    if let Some(id) = store::ids(LEFT.run(connection, (server, ids))).first() {
        elog::internal_error(format!("a trigger keeps record {id} of the outbox where it is"));
    }
}

/// The record whose row stands for this one, if `role` may see it: an open one, or a settled one. It is the record itself
/// if it was not merged.
pub fn sent_with(connection: &Connection, id: i64, role: Oid) -> Option<i64> {
    static FIND: Statement<(i64, Oid)> = Statement::new(concat!(
        named_servers!(),
        "SELECT f.id FROM ( \
           SELECT h.id, h.role::pg_catalog.oid AS role FROM sequin.history h WHERE h.id OPERATOR(pg_catalog.=) $1 UNION ALL \
           SELECT q.id, q.role::pg_catalog.oid FROM named n JOIN sequin.queue q ON q.server OPERATOR(pg_catalog.=) n.server \
             WHERE q.id OPERATOR(pg_catalog.=) $1 UNION ALL \
           SELECT p.id, p.role::pg_catalog.oid FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) $1 UNION ALL \
           SELECT p.id, p.role::pg_catalog.oid FROM sequin.deferred p \
             WHERE p.merged_ids IS NOT NULL AND $1 OPERATOR(pg_catalog.=) ANY (p.merged_ids) UNION ALL \
           SELECT m.id, m.role FROM (SELECT h.id, h.role::pg_catalog.oid AS role FROM sequin.history h \
             WHERE h.merged_ids IS NOT NULL \
             AND h.merged_ids[pg_catalog.cardinality(h.merged_ids)] OPERATOR(pg_catalog.>=) $1 \
             AND h.merged_ids[1] OPERATOR(pg_catalog.<=) $1 AND $1 OPERATOR(pg_catalog.=) ANY (h.merged_ids) \
             ORDER BY h.merged_ids[pg_catalog.cardinality(h.merged_ids)] LIMIT 1) m) f \
         WHERE pg_catalog.pg_has_role($2, f.role, 'USAGE') LIMIT 1"
    ));
    FIND.run(connection, (id, role)).first::<(i64,)>().map(|(id,)| id)
}
