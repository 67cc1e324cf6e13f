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
        /// The row's primary key, a JSON array.
        pub row_key: String,
        pub upstream_id: String,
    }
}

/// A create of an attached row that was applied.
pub struct Created<'a> {
    pub id: i64,
    pub relation: u32,
    /// The row's primary key, a JSON array.
    pub row_key: &'a str,
    pub upstream_id: &'a str,
    pub role: u32,
}

/// Stores the upstream ids of delivered creates, except of those that could not be settled. Returns the others.
///
/// It does not read them from the history: a trigger may keep a row out of it.
pub fn note(connection: &Connection, server: &str, creates: &[Created<'_>]) -> Vec<i64> {
    static NOTE: Statement<(&str, &[i64], &[i64], &[&str], &[&str], &[i64])> = Statement::new(concat!(
        "INSERT INTO sequin.pending_upstream_ids (id, server, relation, ordering_key, upstream_id, role) \
         SELECT s.id, $1, s.relation::pg_catalog.oid, s.row_key, s.upstream_id, s.role::pg_catalog.oid \
         FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), \
         pg_catalog.unnest($6)) AS s(id, relation, row_key, upstream_id, role) WHERE NOT EXISTS (",
        row_by_id!("sequin.queue"),
        ") AND NOT EXISTS (",
        row_by_id!("sequin.deferred"),
        ") RETURNING id",
    ));
    let ids: Vec<i64> = creates.iter().map(|create| create.id).collect();
    let relations: Vec<i64> = creates.iter().map(|create| create.relation.into()).collect();
    let row_keys: Vec<&str> = creates.iter().map(|create| create.row_key).collect();
    let upstream_ids: Vec<&str> = creates.iter().map(|create| create.upstream_id).collect();
    let roles: Vec<i64> = creates.iter().map(|create| create.role.into()).collect();
    super::ids(NOTE.run(connection, (server, &ids, &relations, &row_keys, &upstream_ids, &roles)))
}

/// Stores the upstream id of an unknown create that a person has found. Runs before the create is settled.
pub fn note_resolved(connection: &Connection, create: i64, upstream_id: &str) {
    static NOTE: Statement<(i64, &str)> = Statement::new(
        "INSERT INTO sequin.pending_upstream_ids (id, server, relation, ordering_key, upstream_id, role) \
         SELECT p.id, p.server, p.relation, p.ordering_key, $2, p.role FROM sequin.deferred p \
         WHERE p.id OPERATOR(pg_catalog.=) $1 AND p.relation IS NOT NULL AND p.ordering_key IS NOT NULL",
    );
    NOTE.run(connection, (create, upstream_id)).free();
}

/// Whether any upstream id is pending.
pub fn has_any(connection: &Connection) -> bool {
    static ANY: Statement<()> = Statement::new("SELECT FROM sequin.pending_upstream_ids LIMIT 1");
    ANY.run(connection, ()).len() > 0
}

row! {
    /// When a pending id may be written.
    pub struct PendingTime {
        pub id: i64,
        pub relation: Oid,
        pub failures: i32,
        /// The time to its next attempt, in milliseconds; None: now.
        pub millis: Option<i64>,
        /// The whole table waits for this attempt.
        pub holds_table: bool,
    }
}

impl PendingTime {
    pub fn delay(&self) -> Option<Duration> {
        self.millis.map(super::duration)
    }
}

/// The pending ids of the creates from the id `lowest` on.
pub fn since(connection: &Connection, lowest: i64) -> Vec<PendingTime> {
    static SINCE: Statement<(i64,)> = Statement::new(
        "SELECT c.id, c.relation::pg_catalog.oid, c.attempts, pg_catalog.ceil(EXTRACT(epoch FROM \
         c.next_attempt_at OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000)\
         ::pg_catalog.int8, c.holds_table FROM sequin.pending_upstream_ids c \
         WHERE c.id OPERATOR(pg_catalog.>=) $1 ORDER BY c.id",
    );
    let rows = SINCE.run(connection, (lowest,));
    let pending = rows.iter().collect();
    rows.free();
    pending
}

/// The time to the first attempt of any pending id; None if there is none.
pub fn next_attempt_in(connection: &Connection) -> Option<Duration> {
    static NEXT: Statement<()> = Statement::new(
        "SELECT pg_catalog.ceil(pg_catalog.min(COALESCE(EXTRACT(epoch FROM GREATEST(c.next_attempt_at, h.until) \
         OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp()), 0)) OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 \
         FROM sequin.pending_upstream_ids c LEFT JOIN (SELECT t.relation, pg_catalog.max(t.next_attempt_at) AS until \
         FROM sequin.pending_upstream_ids t WHERE t.holds_table GROUP BY t.relation) h \
         ON h.relation OPERATOR(pg_catalog.=) c.relation",
    );
    let rows = NEXT.run(connection, ());
    let (millis,) = rows.first::<(Option<i64>,)>()?;
    millis.map(super::duration)
}

/// The pending ids of these creates.
pub fn read(connection: &Connection, creates: &[i64]) -> Vec<PendingId> {
    static READ: Statement<(&[i64],)> = Statement::new(
        "SELECT c.id, c.ordering_key, c.upstream_id FROM sequin.pending_upstream_ids c \
         WHERE c.id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY c.id",
    );
    READ.run(connection, (creates,)).iter().collect()
}

/// Locks pending ids until commit. Skips those that another session has locked or deleted.
pub fn lock(connection: &Connection, creates: &[i64]) -> Vec<i64> {
    static LOCK: Statement<(&[i64],)> = Statement::new(
        "SELECT c.id FROM sequin.pending_upstream_ids c \
         WHERE c.id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY c.id FOR UPDATE SKIP LOCKED",
    );
    super::ids(LOCK.run(connection, (creates,)))
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

/// Locks changes until commit. Raises if another session has locked one: it settles or defers the change.
///
/// A change moves from the queue to the deferred records, and never back. So the tables are locked in this order, by
/// statements that each see all earlier commits.
pub fn lock_changes(connection: &Connection, ids: &[i64], servers: &[&str]) {
    static QUEUED: Statement<(&[i64], &[&str])> = Statement::new(
        "SELECT FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS t(id, server) JOIN sequin.queue q \
         ON q.server OPERATOR(pg_catalog.=) t.server AND q.id OPERATOR(pg_catalog.=) t.id FOR UPDATE OF q NOWAIT",
    );
    static DEFERRED: Statement<(&[i64],)> =
        Statement::new("SELECT FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.=) ANY ($1) FOR UPDATE NOWAIT");
    QUEUED.run(connection, (ids, servers)).free();
    DEFERRED.run(connection, (ids,)).free();
}

/// Stores upstream ids in changes that are [locked](lock_changes).
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

/// The pending ids among `$1` that no other session has locked.
macro_rules! unlocked {
    () => {
        "ARRAY(SELECT l.id FROM sequin.pending_upstream_ids l \
         WHERE l.id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY l.id FOR UPDATE SKIP LOCKED)"
    };
}

/// Stores a backoff of a table before a visit, which may end this process.
pub fn begin_visit(connection: &Connection, creates: &[i64], failures: i32, until: Timestamp) {
    static BEGIN: Statement<(&[i64], i32, Timestamp)> = Statement::new(concat!(
        "UPDATE sequin.pending_upstream_ids c SET attempts = $2, next_attempt_at = $3, holds_table = true \
         WHERE c.id OPERATOR(pg_catalog.=) ANY (",
        unlocked!(),
        ")"
    ));
    BEGIN.run(connection, (creates, failures, until)).free();
}

/// An attempt that has failed.
pub struct FailedAttempt<'a> {
    pub create: i64,
    pub error: &'a str,
    pub failures: i32,
    pub until: Timestamp,
    /// The whole table waits for the next attempt.
    pub holds_table: bool,
}

/// Stores the result of an attempt that has failed.
pub fn fail(connection: &Connection, failed: &FailedAttempt<'_>) {
    static FAIL: Statement<(&[i64], &str, i32, Timestamp, bool)> = Statement::new(concat!(
        "UPDATE sequin.pending_upstream_ids c SET error = $2, attempts = $3, next_attempt_at = $4, holds_table = $5 \
         WHERE c.id OPERATOR(pg_catalog.=) ANY (",
        unlocked!(),
        ")"
    ));
    let FailedAttempt { create, error, failures, until, holds_table } = *failed;
    FAIL.run(connection, (&[create], error, failures, until, holds_table)).free();
}

/// Ends the backoff that a visit began, for creates that it has neither written nor failed with.
pub fn end_visit(connection: &Connection, creates: &[i64]) {
    static CLEAR: Statement<(&[i64],)> = Statement::new(concat!(
        "UPDATE sequin.pending_upstream_ids c SET attempts = 0, next_attempt_at = NULL, holds_table = false \
         WHERE c.id OPERATOR(pg_catalog.=) ANY (",
        unlocked!(),
        ")"
    ));
    CLEAR.run(connection, (creates,)).free();
}

/// Ends the backoff of a table that could be written. Rows that have failed keep their own.
pub fn release_table(connection: &Connection, relation: Oid) {
    static RELEASE: Statement<(Oid,)> = Statement::new(
        "UPDATE sequin.pending_upstream_ids c SET holds_table = false WHERE c.id OPERATOR(pg_catalog.=) ANY (\
         ARRAY(SELECT l.id FROM sequin.pending_upstream_ids l WHERE l.relation OPERATOR(pg_catalog.=) $1 \
         AND l.holds_table ORDER BY l.id FOR UPDATE SKIP LOCKED))",
    );
    RELEASE.run(connection, (relation,)).free();
}
