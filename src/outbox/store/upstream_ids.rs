//! Upstream ids of delivered creates: those that wait to be written into rows of attached tables, and the changes that
//! need them.

use std::collections::BTreeSet;
use std::time::Duration;

use pgrx::pg_sys::Oid;

use crate::pg::column::row;
use crate::pg::spi::Connection;
use crate::pg::statement::Statement;
use contract::reply::Timestamp;

row! {
    /// An upstream id that is not in its row yet.
    pub struct PendingId {
        pub id: i64,
        pub relation: Oid,
        /// The row's primary key, a JSON array.
        pub row_key: String,
        pub upstream_id: String,
    }
}

/// Stores the upstream ids of delivered creates. Returns the creates that have a row.
pub fn note(connection: &Connection, creates: &[i64]) -> Vec<i64> {
    static NOTE: Statement<(&[i64],)> = Statement::new(
        "INSERT INTO sequin.pending_upstream_ids (id, server, relation, ordering_key, upstream_id, role) \
         SELECT h.id, h.server, h.relation, h.ordering_key, h.upstream_id, h.role FROM sequin.history h \
         WHERE h.id OPERATOR(pg_catalog.=) ANY ($1) AND h.relation IS NOT NULL AND h.upstream_id IS NOT NULL \
         AND h.ordering_key IS NOT NULL RETURNING id",
    );
    super::ids(NOTE.run(connection, (creates,)))
}

/// All creates whose upstream ids are pending.
pub fn all(connection: &Connection) -> Vec<i64> {
    static ALL: Statement<()> = Statement::new("SELECT c.id FROM sequin.pending_upstream_ids c ORDER BY c.id");
    super::ids(ALL.run(connection, ()))
}

/// The pending ids of these creates, table by table.
pub fn read(connection: &Connection, creates: &[i64]) -> Vec<PendingId> {
    static READ: Statement<(&[i64],)> = Statement::new(
        "SELECT c.id, c.relation::pg_catalog.oid, c.ordering_key, c.upstream_id FROM sequin.pending_upstream_ids c \
         WHERE c.id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY c.relation, c.id",
    );
    READ.run(connection, (creates,)).iter().collect()
}

/// Locks pending ids until commit, each with whether its table is in backoff. Skips those that another worker is writing:
/// it may be waiting for a trigger.
pub fn lock(connection: &Connection, creates: &[i64]) -> Vec<(i64, bool)> {
    static LOCK: Statement<(&[i64],)> = Statement::new(
        "SELECT c.id, c.next_attempt_at IS NOT NULL FROM sequin.pending_upstream_ids c \
         WHERE c.id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY c.id FOR UPDATE SKIP LOCKED",
    );
    LOCK.run(connection, (creates,)).iter().collect()
}

/// Stores the error that kept upstream ids from being written.
pub fn set_error(connection: &Connection, creates: &[i64], error: &str) {
    static SET: Statement<(&[i64], &str)> = Statement::new(
        "UPDATE sequin.pending_upstream_ids c SET error = $2 WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    SET.run(connection, (creates, error)).free();
}

/// Deletes pending ids that are written, or whose row is gone.
pub fn delete(connection: &Connection, creates: &[i64]) {
    static DELETE: Statement<(&[i64],)> =
        Statement::new("DELETE FROM sequin.pending_upstream_ids c WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)");
    DELETE.run(connection, (creates,)).free();
}

/// The rows, among those with these keys, that an unsent delete without an upstream id removes: a later row with the same
/// key is another row.
pub fn deleted_rows(connection: &Connection, relation: Oid, row_keys: &[&str]) -> BTreeSet<String> {
    static DELETED: Statement<(Oid, &[&str])> = Statement::new(concat!(
        "SELECT d.ordering_key FROM (SELECT q.ordering_key FROM sequin.queue q \
         WHERE q.relation OPERATOR(pg_catalog.=) $1 AND ",
        has_key_of!("q.ordering_key", "$2"),
        " AND q.upstream_id IS NULL AND q.kind OPERATOR(pg_catalog.=) 'delete' \
         UNION ALL SELECT p.ordering_key FROM sequin.deferred p WHERE p.relation OPERATOR(pg_catalog.=) $1 AND ",
        has_key_of!("p.ordering_key", "$2"),
        " AND p.upstream_id IS NULL AND p.kind OPERATOR(pg_catalog.=) 'delete') d",
    ));
    DELETED.run(connection, (relation, row_keys)).iter::<(String,)>().map(|(key,)| key).collect()
}

/// Deletes the pending ids of creates before delivered deletes of their rows.
pub fn delete_replaced(connection: &Connection, deletes: &[i64], relations: &[i64], row_keys: &[&str]) {
    static DELETE: Statement<(&[i64], &[i64], &[&str])> = Statement::new(concat!(
        "DELETE FROM sequin.pending_upstream_ids c \
         USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) \
         AS d(id, relation, ordering_key) WHERE c.relation OPERATOR(pg_catalog.=) d.relation::pg_catalog.oid AND ",
        same_key!("c.ordering_key", "d.ordering_key"),
        " AND c.id OPERATOR(pg_catalog.<) d.id",
    ));
    DELETE.run(connection, (deletes, relations, row_keys)).free();
}

row! {
    /// The upstream id from the create of a row.
    pub struct RowId {
        pub relation: Oid,
        pub row_key: String,
        pub upstream_id: String,
    }
}

/// The pending ids of rows with these keys, in the order of their creates.
pub fn of_rows(connection: &Connection, row_keys: &[&str]) -> Vec<RowId> {
    static OF_ROWS: Statement<(&[&str],)> = Statement::new(concat!(
        "SELECT c.relation::pg_catalog.oid, c.ordering_key, c.upstream_id FROM sequin.pending_upstream_ids c WHERE ",
        has_key_of!("c.ordering_key", "$1"),
        " ORDER BY c.id",
    ));
    OF_ROWS.run(connection, (row_keys,)).iter().collect()
}

/// The upstream ids that these records have by now.
pub fn of_records(connection: &Connection, server: &str, ids: &[i64]) -> Vec<(i64, String)> {
    static OF_RECORDS: Statement<(&str, &[i64])> = Statement::new(
        "SELECT q.id, q.upstream_id FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.=) $1 \
         AND q.id OPERATOR(pg_catalog.=) ANY ($2) AND q.upstream_id IS NOT NULL UNION ALL \
         SELECT p.id, p.upstream_id FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) ANY ($2) \
         AND p.upstream_id IS NOT NULL",
    );
    OF_RECORDS.run(connection, (server, ids)).iter().collect()
}

row! {
    /// A change without the upstream id that the create of its row has brought.
    pub struct WaitingChange {
        pub id: i64,
        pub server: String,
        pub upstream_id: String,
    }
}

/// The changes of one table's rows up to the first delete without an upstream id: a later row with the same key is another
/// row.
macro_rules! waiting_changes {
    ($table:literal) => {
        concat!(
            "SELECT q.id, q.server, c.id AS created, c.upstream_id FROM sequin.pending_upstream_ids c JOIN ",
            $table,
            " q ON q.relation OPERATOR(pg_catalog.=) c.relation AND ",
            same_key!("q.ordering_key", "c.ordering_key"),
            " AND q.upstream_id IS NULL ",
            "AND q.kind OPERATOR(pg_catalog.<>) 'create' AND q.id OPERATOR(pg_catalog.>) c.id ",
            "WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)",
            waiting_changes!(no delete in "sequin.queue"),
            waiting_changes!(no delete in "sequin.deferred")
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

/// The changes that lack the upstream ids of these creates.
pub fn waiting_changes(connection: &Connection, creates: &[i64]) -> Vec<WaitingChange> {
    static FIND: Statement<(&[i64],)> = Statement::new(concat!(
        "SELECT DISTINCT ON (t.id) t.id, t.server, t.upstream_id FROM (",
        waiting_changes!("sequin.queue"),
        " UNION ALL ",
        waiting_changes!("sequin.deferred"),
        ") t ORDER BY t.id, t.created DESC"
    ));
    let rows = FIND.run(connection, (creates,));
    let changes = rows.iter().collect();
    rows.free();
    changes
}

/// Stores upstream ids in changes.
///
/// Another worker may move a change from the queue to the deferred records at this moment, and never back. So the
/// tables are updated in this order, by statements that each see all earlier commits.
pub fn set(connection: &Connection, ids: &[i64], servers: &[&str], upstream_ids: &[&str]) {
    static QUEUED: Statement<(&[i64], &[&str], &[&str])> = Statement::new(
        "UPDATE sequin.queue q SET upstream_id = t.upstream_id \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS t(id, server, upstream_id) \
         WHERE q.server OPERATOR(pg_catalog.=) t.server AND q.id OPERATOR(pg_catalog.=) t.id AND q.upstream_id IS NULL",
    );
    static DEFERRED: Statement<(&[i64], &[&str])> = Statement::new(
        "UPDATE sequin.deferred p SET upstream_id = t.upstream_id \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS t(id, upstream_id) \
         WHERE p.id OPERATOR(pg_catalog.=) t.id AND p.upstream_id IS NULL",
    );
    QUEUED.run(connection, (ids, servers, upstream_ids)).free();
    DEFERRED.run(connection, (ids, upstream_ids)).free();
}

row! {
    /// A table in backoff, which workers do not write until it is over.
    pub struct TableBackoff {
        pub relation: Oid,
        pub failures: i32,
        pub millis: i64,
    }
}

impl TableBackoff {
    pub fn left(&self) -> Duration {
        super::duration(self.millis)
    }
}

pub fn table_backoffs(connection: &Connection) -> Vec<TableBackoff> {
    static READ: Statement<()> = Statement::new(
        "SELECT c.relation::pg_catalog.oid, pg_catalog.max(c.attempts), pg_catalog.ceil(EXTRACT(epoch FROM \
         pg_catalog.max(c.next_attempt_at) OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp()) \
         OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 FROM sequin.pending_upstream_ids c \
         WHERE c.next_attempt_at IS NOT NULL GROUP BY c.relation",
    );
    let rows = READ.run(connection, ());
    let backoffs = rows.iter().collect();
    rows.free();
    backoffs
}

/// Begins a backoff before a visit, which may end this process. Does not wait for ids that another worker is writing.
pub fn begin_visit(connection: &Connection, creates: &[i64], failures: i32, until: Timestamp) {
    static BEGIN: Statement<(&[i64], i32, Timestamp)> = Statement::new(
        "UPDATE sequin.pending_upstream_ids c SET attempts = $2, next_attempt_at = $3 \
         WHERE c.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT l.id FROM sequin.pending_upstream_ids l \
         WHERE l.id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY l.id FOR UPDATE SKIP LOCKED))",
    );
    BEGIN.run(connection, (creates, failures, until)).free();
}

/// Writes the backoff after a visit that failed.
pub fn back_off(connection: &Connection, creates: &[i64], failures: i32, until: Timestamp) {
    static FAIL: Statement<(&[i64], i32, Timestamp)> = Statement::new(
        "UPDATE sequin.pending_upstream_ids c SET attempts = $2, next_attempt_at = $3 \
         WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    FAIL.run(connection, (creates, failures, until)).free();
}

/// Ends the backoff that a visit began.
pub fn end_visit(connection: &Connection, creates: &[i64]) {
    static CLEAR: Statement<(&[i64],)> = Statement::new(
        "UPDATE sequin.pending_upstream_ids c SET attempts = 0, next_attempt_at = NULL \
         WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)",
    );
    CLEAR.run(connection, (creates,)).free();
}
